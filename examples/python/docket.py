"""A small client of Docket: what a program has to get right, and no more.

It has no generated files. The server tells its contract by reflection, so that this is never older than the server; a
program that would rather have types generates them with grpcio-tools from proto/proto/docket/v1, and keeps the rest.
"""

import random
import time
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

# After these nobody knows whether it was done, or nothing was: under the same request id it may always be sent again.
REPEATABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
CALL_S = 10
TRIES = 6
PAUSE_S, PAUSE_MAX_S = 0.05, 2.0


class Refused(Exception):
    """A call that was not done, by the reason that programs go by."""

    def __init__(self, code, reason, message):
        super().__init__(f"{message} ({code.name}, {reason})")
        self.code, self.reason = code, reason


class Docket:
    """Calls any method by its name, with requests and replies as dictionaries."""

    def __init__(self, address, key):
        self.channel = grpc.insecure_channel(address)
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self.metadata = [("x-api-key", key)]

    def call(self, service, method, **request):
        """One call, repeated while that is safe and of use.

        Whatever changes something has a request id, which is made before the first try and is the same in each: the
        server does it once, and answers the repeat as it did the first.
        """
        found, asked, answered = self._method(service, method)
        if "request_id" in asked.DESCRIPTOR.fields_by_name:
            request.setdefault("request_id", str(uuid.uuid4()))
        stub = self.channel.unary_unary(
            f"/{found.containing_service.full_name}/{method}",
            request_serializer=asked.SerializeToString,
            response_deserializer=answered.FromString,
        )
        message = ParseDict(request, asked())
        for attempt in range(TRIES):
            try:
                reply = stub(message, timeout=CALL_S, metadata=self.metadata)
                return MessageToDict(
                    reply, preserving_proto_field_name=True, **_ALL_FIELDS
                )
            except grpc.RpcError as error:
                if error.code() not in REPEATABLE or attempt + 1 == TRIES:
                    raise _refused(error) from error
                # By chance, so that not everybody who was refused comes back in the same moment.
                pause = min(PAUSE_S * 2**attempt, PAUSE_MAX_S)
                time.sleep(pause * random.uniform(0.5, 1.5))
        raise AssertionError("the last try has returned or raised")

    def watch(self, resume_token="", **request):
        """The messages of a watch, from behind the token on. It ends with the connection: go on with the last token."""
        found, asked, answered = self._method("OrderService", "WatchOrders")
        stub = self.channel.unary_stream(
            f"/{found.containing_service.full_name}/WatchOrders",
            request_serializer=asked.SerializeToString,
            response_deserializer=answered.FromString,
        )
        message = ParseDict({"resume_token": resume_token, **request}, asked())
        stream = stub(message, metadata=self.metadata)
        try:
            for reply in stream:
                yield MessageToDict(reply, preserving_proto_field_name=True)
        except grpc.RpcError as error:
            raise _refused(error) from error
        finally:
            stream.cancel()

    def _method(self, service, method):
        found = self.pool.FindServiceByName(f"docket.v1.{service}").FindMethodByName(method)
        asked = message_factory.GetMessageClass(found.input_type)
        answered = message_factory.GetMessageClass(found.output_type)
        return found, asked, answered


def _all_fields():
    # What is 0 or empty is there, too; how to ask for that was renamed in protobuf 5.
    names = MessageToDict.__code__.co_varnames
    new = "always_print_fields_with_no_presence"
    return {new if new in names else "including_default_value_fields": True}


_ALL_FIELDS = _all_fields()


def _refused(error):
    reason = ""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            reason = _reason(value)
    return Refused(error.code(), reason, error.details())


def _reason(status):
    """`ErrorInfo.reason` in a google.rpc.Status, read by the wire format: its classes are not needed for that."""
    for any_ in _fields(status, 3):
        if next(_fields(any_, 1)).endswith(b"google.rpc.ErrorInfo"):
            return next(_fields(next(_fields(any_, 2)), 1)).decode()
    return ""


def _fields(message, number):
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            if tag >> 3 == number:
                yield message[at : at + value]
            at += value
        elif tag & 7 != 0:
            raise ValueError(f"wire type {tag & 7}")


def _varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at

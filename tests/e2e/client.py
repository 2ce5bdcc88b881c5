"""A client of Docket with no generated code: it learns the contract from server reflection.

    pip install grpcio grpcio-reflection
    python3 client.py 127.0.0.1:7070 "$(cat docket-data/admin.key)"

Seeds a customer and an item, places an order, reads it back, sends it again, has orders refused, and calls with a wrong
key. Ends with exit code 0 if all of it went as it should.
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

TIMEOUT_S = 30


class Client:
    """Calls any method by its name, with requests and replies as dictionaries."""

    def __init__(self, address, key):
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.metadata = [("x-api-key", key)] if key else []

    def services(self):
        return sorted(self.database.get_services())

    def call(self, service, method, request):
        found = self.pool.FindServiceByName(f"docket.v1.{service}").FindMethodByName(method)
        asked = message_factory.GetMessageClass(found.input_type)
        answered = message_factory.GetMessageClass(found.output_type)
        unary = self.channel.unary_unary(
            f"/docket.v1.{service}/{method}",
            request_serializer=asked.SerializeToString,
            response_deserializer=answered.FromString,
        )
        reply = unary(ParseDict(request, asked()), timeout=TIMEOUT_S, metadata=self.metadata)
        return MessageToDict(reply, preserving_proto_field_name=True)


def details(error):
    """The google.rpc details of a refusal, by their type."""
    # google.rpc.Status and its details, read field by field: their classes are not needed for that.
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return {
                text(any_, 1).rsplit(".", 1)[-1]: field(any_, 2)
                for any_ in fields(value, 3)
            }
    return {}


def fields(message, number):
    """Every length-delimited field of this number, by the wire format."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        if tag & 7 == 0:
            _, at = varint(message, at)
        elif tag & 7 == 2:
            length, at = varint(message, at)
            if tag >> 3 == number:
                yield message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {tag & 7}")


def field(message, number):
    return next(fields(message, number), b"")


def text(message, number):
    return field(message, number).decode()


def varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: expected {expected!r}, found {found!r}")
    print(f"{what}: {found}")


def refused(client, service, method, request):
    """Code, ErrorInfo.reason and ErrorInfo.domain of a call that must not succeed."""
    try:
        reply = client.call(service, method, request)
    except grpc.RpcError as error:
        info = details(error)["ErrorInfo"]
        return error.code().name, text(info, 1), text(info, 2)
    sys.exit(f"{service}.{method} was not refused: {reply}")


def order(request_id, quantity, unit_price="250"):
    return {
        "request_id": request_id,
        "customer": "customers/acme",
        "currency_code": "EUR",
        "lines": [{"item": "items/tea", "quantity": str(quantity), "unit_price": unit_price}],
    }


def main(address, key):
    client = Client(address, key)
    services = client.services()
    for service in ("OrderService", "CustomerService", "ItemService", "AuthService", "NodeService"):
        if f"docket.v1.{service}" not in services:
            sys.exit(f"reflection does not list {service}: {services}")
    print(f"reflection lists {len(services)} services")

    client.call(
        "CustomerService",
        "CreateCustomer",
        {"customer_id": "acme", "customer": {"currency_code": "EUR", "credit_limit": "10000"}},
    )
    client.call(
        "ItemService",
        "CreateItem",
        {"sku": "tea", "item": {"currency_code": "EUR", "unit_price": "250", "on_hand": "20"}},
    )
    placed = client.call("OrderService", "PlaceOrder", order("r-1", 4))
    check("placed", (placed["state"], placed["total"]), ("CONFIRMED", "1000"))
    found = client.call("OrderService", "GetOrder", {"name": placed["name"]})
    check("read back", found == placed, True)
    again = client.call("OrderService", "PlaceOrder", order("r-1", 4))
    check("sent again, the same order", again == placed, True)
    listed = client.call("OrderService", "ListOrders", {"customer": "customers/acme"})
    check("listed once", [one["name"] for one in listed["orders"]] == [placed["name"]], True)

    def refusal(what, request, code, reason):
        found = refused(client, "OrderService", "PlaceOrder", request)
        check(what, found, (code, reason, "docket"))

    refusal("the id with another order", order("r-1", 5), "ALREADY_EXISTS", "REQUEST_ID_REUSED")
    refusal("too many", order("r-2", 17), "FAILED_PRECONDITION", "INSUFFICIENT_STOCK")
    refusal("an old price", order("r-3", 1, "240"), "FAILED_PRECONDITION", "PRICE_CHANGED")
    refusal("no quantity", order("r-4", 0), "INVALID_ARGUMENT", "INVALID_ARGUMENT")
    item = client.call("ItemService", "GetItem", {"name": "items/tea"})
    check("stock", (item["on_hand"], item["reserved"], item["available"]), ("20", "4", "16"))

    cancelled = client.call("OrderService", "CancelOrder", {"name": placed["name"]})
    check("cancelled", cancelled["state"], "CANCELLED")
    customer = client.call("CustomerService", "GetCustomer", {"name": "customers/acme"})
    check("all credit is back", customer["available"], "10000")

    name = {"name": placed["name"]}
    wrong = refused(Client(address, "dk_wrong"), "OrderService", "GetOrder", name)
    check("a wrong key", wrong, ("UNAUTHENTICATED", "CREDENTIALS_INVALID", "docket"))
    missing = refused(Client(address, None), "OrderService", "GetOrder", name)
    check("no key", missing, ("UNAUTHENTICATED", "CREDENTIALS_MISSING", "docket"))
    print("all as it should be")


if __name__ == "__main__":
    main(*sys.argv[1:])

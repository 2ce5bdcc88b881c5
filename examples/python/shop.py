"""An order's whole life, by gRPC.

    pip install -r requirements.txt
    python3 shop.py 127.0.0.1:7070 docket-data/admin.key

Makes a customer and an item of its own, so that it may be run again and again. Ends with exit code 0 if all went as it
should.
"""

import sys
import uuid
from pathlib import Path

from docket import Docket, Refused


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: expected {expected!r}, found {found!r}")
    print(f"{what}: {found}")


def refusal(call, *args, **request):
    """The reason of a call that must not succeed."""
    try:
        reply = call(*args, **request)
    except Refused as error:
        return error.reason
    sys.exit(f"this was not refused: {args}: {reply}")


def kinds(message):
    return [change["kind"] for change in message.get("changes", [])]


def main(address, key_file):
    docket = Docket(address, Path(key_file).read_text().strip())
    own = uuid.uuid4().hex[:8]
    customer, sku = f"python-{own}", f"tea-{own}"

    docket.call(
        "CustomerService",
        "CreateCustomer",
        customer_id=customer,
        customer={"currency_code": "EUR", "credit_limit": "50000"},
    )
    docket.call(
        "ItemService",
        "CreateItem",
        sku=sku,
        item={"currency_code": "EUR", "unit_price": "450", "on_hand": "100"},
    )
    order = {
        "customer": f"customers/{customer}",
        "currency_code": "EUR",
        "lines": [{"item": f"items/{sku}", "quantity": "3", "unit_price": "450"}],
    }

    # A repeat under the same id is the same order; other content under it is refused.
    request_id = str(uuid.uuid4())
    placed = docket.call("OrderService", "PlaceOrder", request_id=request_id, **order)
    check("placed", (placed["state"], placed["total"]), ("CONFIRMED", "1350"))
    again = docket.call("OrderService", "PlaceOrder", request_id=request_id, **order)
    check("sent again", again["name"] == placed["name"], True)
    other = dict(order, lines=[dict(order["lines"][0], quantity="4")])
    reason = refusal(docket.call, "OrderService", "PlaceOrder", request_id=request_id, **other)
    check("another under that id", reason, "REQUEST_ID_REUSED")
    cheap = dict(order, lines=[dict(order["lines"][0], unit_price="400")])
    check("an old price", refusal(docket.call, "OrderService", "PlaceOrder", **cheap), "PRICE_CHANGED")

    # The beginning of its history, from a watch that is broken off behind the first message with a change.
    watched = {"customer": f"customers/{customer}", "start": "OLDEST"}
    seen, token = [], ""
    for message in docket.watch(**watched):
        seen += kinds(message)
        token = message["resume_token"]
        if seen:
            break

    name = placed["name"]

    def orders(method, **request):
        return docket.call("OrderService", method, name=name, **request)

    orders("HoldOrder", reason="ADDRESS", note="no such street")
    check("held, nothing is shipped", refusal(orders, "ShipOrder"), "ORDER_HELD")
    orders("ReleaseOrderHold", reason="ADDRESS")
    shipped = orders("ShipOrder", lines=[{"line": 0, "quantity": "2"}], carrier="DHL", tracking_code="JD014")
    check("shipped", (shipped["state"], shipped["payment"]["captured"]), ("PARTIALLY_FULFILLED", "900"))
    orders("DeliverFulfilment", fulfilment=1)
    orders("RequestReturn", lines=[{"line": 0, "quantity": "1"}], note="broken")
    orders("ResolveReturn", return_number=1, approve=True)
    orders("ReceiveReturn", return_number=1, restock=True)
    orders("CloseReturn", return_number=1)
    refunded = orders("RefundOrder", amount="450", note="broken")
    check("refunded", refunded["payment"]["refunded"], "450")
    cancelled = orders("CancelOrder")
    check("the rest is cancelled", cancelled["payment"]["voided"], "450")
    stale = refusal(orders, "CancelOrder", etag="v1")
    check("a stale etag", stale, "STALE_ETAG")

    # The rest of its history: from the last token on nothing is missed, and nothing is told twice.
    for message in docket.watch(resume_token=token, **watched):
        seen += kinds(message)
        if "REFUNDED" in seen and not message.get("changes"):
            break
    once = ["PLACED", "HELD", "HOLD_RELEASED", "SHIPPED", "DELIVERED", "RETURN_REQUESTED", "RETURN_APPROVED"]
    once += ["RETURN_RECEIVED", "RETURN_CLOSED", "REFUNDED", "LINES_CANCELLED"]
    # Two orders were placed: the one with the old price was recorded, and refused.
    check("told of", [kind for kind in once if kind not in seen], [])
    check("told twice", [kind for kind in once[1:] if seen.count(kind) > 1], [])

    page = docket.call("OrderService", "ListOrders", customer=f"customers/{customer}")
    states = [one["state"] for one in page["orders"]]
    check("listed, newest first", states, ["REJECTED", cancelled["state"]])
    print("all as it should be")


if __name__ == "__main__":
    main(*sys.argv[1:])

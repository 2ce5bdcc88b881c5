//! What a run met, and what it must have met to have shown anything.

use std::{collections::BTreeMap, fmt};

/// Every rejection that the node can give, by the method that gives it, and every transition. ORDER_PENDING and ITEM_FAILED
/// are missing: `show::rejected` says why.
const MUST_BE_REACHED: [&str; 116] = [
    "AMOUNT_OVERFLOW in AdjustStock",
    "AMOUNT_OVERFLOW in CreditAccount",
    "AMOUNT_OVERFLOW in PlaceOrder",
    "AMOUNT_OVERFLOW in PlaceOrder, of its lines",
    "BALANCE_HELD in CreditAccount",
    "CURRENCY_MISMATCH in PlaceOrder, an item's",
    "CURRENCY_MISMATCH in PlaceOrder, the customer's",
    "CUSTOMER_EXISTS in CreateCustomer",
    "CUSTOMER_NOT_FOUND in CreditAccount",
    "CUSTOMER_NOT_FOUND in GetCustomer",
    "CUSTOMER_NOT_FOUND in PlaceOrder",
    "CUSTOMER_NOT_FOUND in UpdateCustomer",
    "FULFILMENT_NOT_FOUND in DeliverFulfilment",
    "HOLD_EXISTS in HoldOrder",
    "HOLD_NOT_FOUND in ReleaseOrderHold",
    "INSUFFICIENT_CREDIT in PlaceOrder",
    "INSUFFICIENT_STOCK in PlaceOrder",
    "ITEM_EXISTS in CreateItem",
    "ITEM_NOT_FOUND in AdjustStock",
    "ITEM_NOT_FOUND in GetItem",
    "ITEM_NOT_FOUND in PlaceOrder",
    "ITEM_NOT_FOUND in UpdateItem",
    "LINE_NOT_FOUND in CancelOrderLines",
    "LINE_NOT_FOUND in ShipOrder",
    "NOT_CANCELLABLE in CancelOrder",
    "NOT_CANCELLABLE in CancelOrderLines",
    "NOT_HOLDABLE in HoldOrder",
    "NOT_HOLDABLE in ReleaseOrderHold",
    "NOT_SHIPPABLE in ShipOrder",
    "ORDER_HELD in ShipOrder",
    "ORDER_NOT_FOUND in CancelOrder",
    "ORDER_NOT_FOUND in CancelOrderLines",
    "ORDER_NOT_FOUND in DeliverFulfilment",
    "ORDER_NOT_FOUND in GetOrder",
    "ORDER_NOT_FOUND in HoldOrder",
    "ORDER_NOT_FOUND in ReleaseOrderHold",
    "ORDER_NOT_FOUND in ShipOrder",
    "PRICE_CHANGED in PlaceOrder",
    "QUANTITY_NOT_OPEN in CancelOrderLines",
    "QUANTITY_NOT_OPEN in ShipOrder",
    "REQUEST_ID_REUSED in AdjustStock",
    "REQUEST_ID_REUSED in CancelOrder",
    "REQUEST_ID_REUSED in CancelOrderLines",
    "REQUEST_ID_REUSED in CreateCustomer",
    "REQUEST_ID_REUSED in CreateItem",
    "REQUEST_ID_REUSED in CreditAccount",
    "REQUEST_ID_REUSED in DeliverFulfilment",
    "REQUEST_ID_REUSED in HoldOrder",
    "REQUEST_ID_REUSED in PlaceOrder",
    "REQUEST_ID_REUSED in ReleaseOrderHold",
    "REQUEST_ID_REUSED in ShipOrder",
    "REQUEST_ID_REUSED in UpdateCustomer",
    "REQUEST_ID_REUSED in UpdateItem",
    "STALE_ETAG in AdjustStock",
    "STALE_ETAG in CancelOrder",
    "STALE_ETAG in CancelOrderLines",
    "STALE_ETAG in CreditAccount",
    "STALE_ETAG in DeliverFulfilment",
    "STALE_ETAG in HoldOrder",
    "STALE_ETAG in ReleaseOrderHold",
    "STALE_ETAG in ShipOrder",
    "STALE_ETAG in UpdateCustomer",
    "STALE_ETAG in UpdateItem",
    "STOCK_RESERVED in AdjustStock",
    "TOO_MANY_FULFILMENTS in CancelOrderLines",
    "TOO_MANY_FULFILMENTS in ShipOrder",
    "TOO_MANY_HOLDS in HoldOrder",
    "a kill and a start",
    "a request that left nothing, decided anew",
    "a stop and a start",
    "an item on several lines",
    "changed since: CancelOrderLines",
    "changed since: DeliverFulfilment",
    "changed since: HoldOrder",
    "changed since: PlaceOrder, accepted",
    "changed since: ReleaseOrderHold",
    "changed since: ShipOrder",
    "nothing changed by CancelOrder",
    "nothing changed by DeliverFulfilment",
    "nothing changed by UpdateCustomer",
    "nothing changed by UpdateItem",
    "order: CONFIRMED to CANCELLED by CancelOrder",
    "order: CONFIRMED to CANCELLED by CancelOrderLines",
    "order: CONFIRMED to CONFIRMED by CancelOrderLines",
    "order: CONFIRMED to CONFIRMED by HoldOrder",
    "order: CONFIRMED to CONFIRMED by ReleaseOrderHold",
    "order: CONFIRMED to FULFILLED by ShipOrder",
    "order: CONFIRMED to PARTIALLY_FULFILLED by ShipOrder",
    "order: FULFILLED to FULFILLED by DeliverFulfilment",
    "order: PARTIALLY_FULFILLED to FULFILLED by CancelOrder",
    "order: PARTIALLY_FULFILLED to FULFILLED by CancelOrderLines",
    "order: PARTIALLY_FULFILLED to FULFILLED by ShipOrder",
    "order: PARTIALLY_FULFILLED to PARTIALLY_FULFILLED by CancelOrderLines",
    "order: PARTIALLY_FULFILLED to PARTIALLY_FULFILLED by DeliverFulfilment",
    "order: PARTIALLY_FULFILLED to PARTIALLY_FULFILLED by HoldOrder",
    "order: PARTIALLY_FULFILLED to PARTIALLY_FULFILLED by ReleaseOrderHold",
    "order: PARTIALLY_FULFILLED to PARTIALLY_FULFILLED by ShipOrder",
    "order: held to CANCELLED by CancelOrder",
    "order: held to FULFILLED by CancelOrder",
    "order: none to CONFIRMED",
    "order: none to REJECTED by an item, none reserved",
    "order: none to REJECTED by an item, others released",
    "order: none to REJECTED by its customer",
    "sent on credit",
    "the same again: AdjustStock",
    "the same again: CancelOrder",
    "the same again: CancelOrderLines",
    "the same again: CreateCustomer",
    "the same again: CreateItem",
    "the same again: CreditAccount",
    "the same again: DeliverFulfilment",
    "the same again: HoldOrder",
    "the same again: PlaceOrder, accepted",
    "the same again: PlaceOrder, refused",
    "the same again: ReleaseOrderHold",
    "the same again: ShipOrder",
];

/// How often what was met.
#[derive(Debug, Default)]
pub struct Reached(BTreeMap<String, u64>);

impl Reached {
    pub fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// What was not met yet.
    pub fn missed(&self) -> Vec<&'static str> {
        let missed = MUST_BE_REACHED.iter().copied();
        missed.filter(|what| !self.0.contains_key(*what)).collect()
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:8}  {what}")?;
        }
        Ok(())
    }
}

//! What a run met, and what it must have met to have shown anything.

use std::{collections::BTreeMap, fmt};

/// Every rejection that the node can give, by the method that gives it, and every transition. ORDER_PENDING and ITEM_FAILED
/// are missing: `show::rejected` says why.
const MUST_BE_REACHED: [&str; 56] = [
    "AMOUNT_OVERFLOW in AdjustStock",
    "AMOUNT_OVERFLOW in CreditAccount",
    "AMOUNT_OVERFLOW in PlaceOrder",
    "BALANCE_HELD in CreditAccount",
    "CURRENCY_MISMATCH in PlaceOrder, the customer's",
    "CURRENCY_MISMATCH in PlaceOrder, an item's",
    "CUSTOMER_EXISTS in CreateCustomer",
    "CUSTOMER_NOT_FOUND in CreditAccount",
    "CUSTOMER_NOT_FOUND in GetCustomer",
    "CUSTOMER_NOT_FOUND in PlaceOrder",
    "CUSTOMER_NOT_FOUND in UpdateCustomer",
    "INSUFFICIENT_CREDIT in PlaceOrder",
    "INSUFFICIENT_STOCK in PlaceOrder",
    "AMOUNT_OVERFLOW in PlaceOrder, of its lines",
    "ITEM_EXISTS in CreateItem",
    "ITEM_NOT_FOUND in AdjustStock",
    "ITEM_NOT_FOUND in GetItem",
    "ITEM_NOT_FOUND in PlaceOrder",
    "ITEM_NOT_FOUND in UpdateItem",
    "NOT_CANCELLABLE in CancelOrder",
    "ORDER_NOT_FOUND in CancelOrder",
    "ORDER_NOT_FOUND in GetOrder",
    "PRICE_CHANGED in PlaceOrder",
    "REQUEST_ID_REUSED in AdjustStock",
    "REQUEST_ID_REUSED in CancelOrder",
    "REQUEST_ID_REUSED in CreateCustomer",
    "REQUEST_ID_REUSED in CreateItem",
    "REQUEST_ID_REUSED in CreditAccount",
    "REQUEST_ID_REUSED in PlaceOrder",
    "REQUEST_ID_REUSED in UpdateCustomer",
    "REQUEST_ID_REUSED in UpdateItem",
    "STALE_ETAG in AdjustStock",
    "STALE_ETAG in CancelOrder",
    "STALE_ETAG in CreditAccount",
    "STALE_ETAG in UpdateCustomer",
    "STALE_ETAG in UpdateItem",
    "STOCK_RESERVED in AdjustStock",
    "a kill and a start",
    "a request that left nothing, decided anew",
    "a stop and a start",
    "an item on several lines",
    "nothing changed by CancelOrder",
    "nothing changed by UpdateCustomer",
    "nothing changed by UpdateItem",
    "order: CONFIRMED to CANCELLED",
    "order: none to CONFIRMED",
    "order: none to REJECTED by an item, none reserved",
    "order: none to REJECTED by an item, others released",
    "order: none to REJECTED by its customer",
    "the same again: AdjustStock",
    "the same again: CancelOrder",
    "the same again: CreateCustomer",
    "the same again: CreateItem",
    "the same again: CreditAccount",
    "the same again: PlaceOrder, accepted",
    "the same again: PlaceOrder, refused",
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

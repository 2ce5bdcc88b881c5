//! Requests of `OrderService` for several orders: lists, and batches by name.
//!
//! Where a list goes on is an id, below which everything is still to be listed, and for each shard that was left out, because it could
//! not be read, an id of its own:
//!
//! ```text
//!   id ( "," shard ":" id )*
//! ```
//!
//! The first id is 0 where only these shards are left.

use std::{collections::BTreeMap, fmt::Write as _};

use docket_engine::{BATCH_ORDERS_MAX, HoldReason, OrderFilter, OrderId, OrderState, PaymentState};
use prost_types::Timestamp;

use super::{
    check::{Check, Checked, PAGE_SIZE_DEFAULT},
    names::{parse_customer_name, parse_item_name, parse_order_name},
    page_token::{LEFT_OUT_MAX, page_token},
    show::{hold_reason_of, payment_state_of, payment_state_to_proto, state_of, time_of},
};
use crate::v1;

/// A `ListOrdersRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrders {
    /// Which orders: what it names several of, each once and in order.
    pub filter: OrderFilter,
    /// Where the page before ended.
    pub from: ListFrom,
    /// At most this many.
    pub limit: usize,
    /// Whether shards that cannot be read are left out.
    pub partial: bool,
}

/// Where a list goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFrom {
    /// Only orders with an id below this one; all when `None`.
    pub before: Option<OrderId>,
    /// The shards that were left out, and below which id each of them goes on when the others are at their end: 0 to [`LEFT_OUT_MAX`].
    pub left_out: BTreeMap<u16, OrderId>,
}

/// Takes a `ListOrdersRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_orders(request: &v1::ListOrdersRequest) -> Checked<ListOrders> {
    let mut check = Check::default();
    let customer = check.optional_name("customer", &request.customer, parse_customer_name);
    let states = states(&mut check, &request.states);
    let item = check.optional_name("item", &request.item, parse_item_name);
    let holds = hold_reasons(&mut check, &request.hold_reasons);
    let payments = payment_states(&mut check, &request.payment_states);
    let mut time = |field, at: &Option<Timestamp>| match at {
        None => Some(None),
        Some(at) => {
            let time = time_of(at).ok_or("must be a point in time");
            check.ok(field, time).map(Some)
        }
    };
    let placed_from = time("create_time_from", &request.create_time_from);
    let placed_before = time("create_time_to", &request.create_time_to);
    let planned_before = time("open_fulfilment_before", &request.open_fulfilment_before);
    if let (Some(Some(from)), Some(Some(before))) = (placed_from, placed_before)
        && from > before
    {
        check.violation("create_time_to", "must not be before create_time_from");
    }
    let limit = check.page_size(request.page_size);
    let list = || {
        Some(ListOrders {
            filter: OrderFilter {
                customer: customer?,
                states: states?,
                placed_from: placed_from?,
                placed_before: placed_before?,
                item: item?,
                holds: holds?,
                payments: payments?,
                planned_before: planned_before?,
            },
            from: ListFrom::default(),
            // Page tokens do not depend on it, so that a wrong size does not hide a wrong token.
            limit: limit.unwrap_or(PAGE_SIZE_DEFAULT),
            partial: request.return_partial_success,
        })
    };
    let list = list().and_then(|mut list| {
        let from = check.page_token(&list.token_query(), &request.page_token, ListFrom::parse)?;
        list.from = from.unwrap_or_default();
        Some(list)
    });
    check.done(list)
}

/// Takes a `BatchGetOrdersRequest` apart: its orders, as they are named.
///
/// # Errors
/// Everything that is wrong with it.
pub fn batch_get_orders(request: &v1::BatchGetOrdersRequest) -> Checked<Vec<OrderId>> {
    let mut check = Check::default();
    let names = &request.names;
    if names.is_empty() || names.len() > BATCH_ORDERS_MAX {
        check.violation("names", format!("must be 1 to {BATCH_ORDERS_MAX} names"));
        return check.done(None);
    }
    let mut orders = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let id = parse_order_name(name);
        orders.extend(id.map_err(|error| check.violation(format!("names[{i}]"), error)));
    }
    check.done(Some(orders))
}

pub(super) fn states(check: &mut Check, numbers: &[i32]) -> Option<Vec<OrderState>> {
    let rule = "must be PENDING, CONFIRMED, PARTIALLY_FULFILLED, FULFILLED, CANCELLED, REJECTED or EXPIRED";
    let state = |number| v1::order::State::try_from(number).ok().and_then(state_of);
    let mut states = each_once(check, ("states", rule), numbers, state)?;
    // What waits for its provider is shown as PENDING, too.
    if states.contains(&OrderState::Pending) {
        states.push(OrderState::Authorizing);
        states.sort_unstable();
    }
    Some(states)
}

fn hold_reasons(check: &mut Check, numbers: &[i32]) -> Option<Vec<HoldReason>> {
    let rule = "must be FRAUD_REVIEW, ADDRESS, STOCK, PAYMENT or OPERATOR";
    let reason = |number| {
        let reason = v1::order_hold::Reason::try_from(number).ok();
        reason.and_then(hold_reason_of)
    };
    each_once(check, ("hold_reasons", rule), numbers, reason)
}

fn payment_states(check: &mut Check, numbers: &[i32]) -> Option<Vec<PaymentState>> {
    let state = |number| {
        let state = v1::order_payment::State::try_from(number).ok();
        state.and_then(payment_state_of)
    };
    let rule = "must be a state of an order's payment";
    each_once(check, ("payment_states", rule), numbers, state)
}

/// What these numbers mean, each once and in order.
fn each_once<T: Ord>(
    check: &mut Check,
    (field, rule): (&str, &str),
    numbers: &[i32],
    meaning: impl Fn(i32) -> Option<T>,
) -> Option<Vec<T>> {
    /// Far more than any field has values.
    const VALUES_MAX: usize = 32;
    if numbers.len() > VALUES_MAX {
        check.violation(field, "must name each value at most once");
        return None;
    }
    let mut found = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        match meaning(*number) {
            Some(one) => found.push(one),
            None => check.violation(format!("{field}[{i}]"), rule),
        }
    }
    if found.len() < numbers.len() {
        return None;
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

impl ListOrders {
    /// The token of the page that begins there.
    pub fn next_page_token(&self, from: &ListFrom) -> String {
        page_token(&self.token_query(), &from.text())
    }

    /// What a page token must have in common with its query. The page's size may change from page to page.
    fn token_query(&self) -> String {
        let filter = &self.filter;
        let customer = filter.customer.as_ref().map_or("", |customer| customer.as_str());
        let mut states: Vec<String> = filter.states.iter().map(ToString::to_string).collect();
        // Two of them have one name.
        states.dedup();
        let mut query = format!("orders?{customer}&{}", states.join(","));
        if filter.is_detailed() {
            let item = filter.item.as_ref().map_or("", |sku| sku.as_str());
            let holds: Vec<&str> = filter.holds.iter().map(|reason| reason.as_str()).collect();
            let payments = filter.payments.iter();
            let payments: Vec<&str> = payments
                .map(|state| payment_state_to_proto(*state).as_str_name())
                .collect();
            let time =
                |time: Option<docket_engine::Time>| time.map_or_else(String::new, |at| at.0.to_string());
            let (from, before) = (time(filter.placed_from), time(filter.placed_before));
            let (holds, payments) = (holds.join(","), payments.join(","));
            // Writing to a string does not fail.
            let _ = write!(query, "&{item}&{holds}&{payments}&{from}&{before}");
            if filter.planned_before.is_some() {
                let _ = write!(query, "&{}", time(filter.planned_before));
            }
        }
        query
    }
}

impl ListFrom {
    fn text(&self) -> String {
        let mut text = self.before.unwrap_or(OrderId(u128::MAX)).to_string();
        for (shard, before) in &self.left_out {
            // As above.
            let _ = write!(text, ",{shard}:{before}");
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let before = parts.next()?.parse().ok()?;
        let mut left_out = BTreeMap::new();
        for part in parts {
            let (shard, before) = part.split_once(':')?;
            left_out.insert(shard.parse().ok()?, before.parse().ok()?);
        }
        (left_out.len() <= LEFT_OUT_MAX).then_some(Self {
            before: Some(before),
            left_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_list_goes_on_is_read_as_it_was_written() {
        let left_out: BTreeMap<_, _> = (0..LEFT_OUT_MAX as u16)
            .map(|shard| (u16::MAX - shard, OrderId(u128::from(shard))))
            .collect();
        for (before, left_out) in [
            (OrderId(7), BTreeMap::new()),
            (OrderId(0), BTreeMap::from([(0, OrderId(u128::MAX))])),
            (OrderId(u128::MAX), left_out),
        ] {
            let from = ListFrom {
                before: Some(before),
                left_out,
            };
            let list = ListOrders {
                filter: OrderFilter::default(),
                from: from.clone(),
                limit: 1,
                partial: true,
            };
            let request = v1::ListOrdersRequest {
                page_token: list.next_page_token(&from),
                page_size: 1,
                return_partial_success: true,
                ..Default::default()
            };
            assert_eq!(list_orders(&request), Ok(list));
        }
        assert_eq!(ListFrom::parse("7"), None);
        assert_eq!(ListFrom::parse(&format!("{},x:{}", OrderId(1), OrderId(1))), None);
    }
}

//! What happened to an order: requests of `ListOrderEvents`, and its answers.

use docket_engine::{Currency, OrderChange, OrderId, Situation, Version};

use super::{
    check::{Check, Checked, PAGE_SIZE_DEFAULT},
    feed::kind_to_proto,
    names::{etag, parse_order_name},
    page_token::page_token,
    show::{
        figures_to_proto, hold_reason_to_proto, line_quantity_to_proto, rejection_to_proto, state_to_proto,
        timestamp,
    },
};
use crate::v1;

/// A `ListOrderEventsRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrderEvents {
    /// The order.
    pub order: OrderId,
    /// Only what came behind this version of it: where the page before ended. 0: all.
    pub behind: Version,
    /// At most this many.
    pub limit: usize,
}

/// Takes a `ListOrderEventsRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_order_events(request: &v1::ListOrderEventsRequest) -> Checked<ListOrderEvents> {
    let mut check = Check::default();
    let order = check.ok("parent", parse_order_name(&request.parent));
    let limit = check.page_size(request.page_size);
    let list = order.and_then(|order| {
        let query = token_query(order);
        let behind = check.page_token(&query, &request.page_token, |last| last.parse().ok())?;
        Some(ListOrderEvents {
            order,
            behind: Version(behind.unwrap_or_default()),
            limit: limit.unwrap_or(PAGE_SIZE_DEFAULT),
        })
    });
    check.done(list)
}

impl ListOrderEvents {
    /// The token of the page behind this version.
    pub fn next_page_token(&self, last: Version) -> String {
        page_token(&token_query(self.order), &last.0.to_string())
    }
}

fn token_query(order: OrderId) -> String {
    format!("orders/{order}/events")
}

/// A change of an order as the API shows it; the currency is the order's.
pub fn event_to_proto(change: &OrderChange, currency: Currency) -> v1::OrderEvent {
    let (origin, details) = (&change.origin, &change.details);
    let number = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok());
    v1::OrderEvent {
        kind: kind_to_proto(change.kind).into(),
        etag: etag(change.version.0),
        event_time: change.at.map(timestamp),
        requested_by: origin.by.as_ref().map_or("", |by| by.as_str()).to_owned(),
        request_id: origin.request_id.as_deref().unwrap_or_default().to_owned(),
        trace_id: origin.trace.map(|trace| trace.to_string()).unwrap_or_default(),
        before: change.before.as_ref().map(situation_to_proto),
        after: Some(situation_to_proto(&change.after)),
        lines: details.lines.iter().map(line_quantity_to_proto).collect(),
        hold_reason: details
            .hold
            .map_or(v1::order_hold::Reason::Unspecified, hold_reason_to_proto)
            .into(),
        fulfilment: number(details.fulfilment).unwrap_or_default(),
        return_number: number(details.return_number).unwrap_or_default(),
        restock: details.restock,
        amount: details.amount.map_or(0, |amount| amount.0),
        note: details.note.as_deref().unwrap_or_default().to_owned(),
        rejection: details.rejection.as_deref().map(rejection_to_proto),
        currency_code: currency.as_str().to_owned(),
    }
}

fn situation_to_proto(situation: &Situation) -> v1::OrderSituation {
    let lines = situation.lines.iter();
    v1::OrderSituation {
        state: state_to_proto(situation.state).into(),
        payment: Some(figures_to_proto(&situation.payment)),
        lines: lines
            .map(|(open, fulfilled, cancelled)| v1::LineSituation {
                open_quantity: open.0,
                fulfilled_quantity: fulfilled.0,
                cancelled_quantity: cancelled.0,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_events_goes_on_only_with_its_own_order() {
        let (order, other) = (OrderId(7 << 80), OrderId(8 << 80));
        let ask = |order: OrderId, page_size, page_token: String| {
            list_order_events(&v1::ListOrderEventsRequest {
                parent: format!("orders/{order}"),
                page_size,
                page_token,
            })
        };
        let first = ask(order, 0, String::new()).unwrap();
        assert_eq!((first.order, first.behind, first.limit), (order, Version(0), 50));
        let token = first.next_page_token(Version(50));
        let next = ask(order, 7, token.clone()).unwrap();
        assert_eq!((next.behind, next.limit), (Version(50), 7));
        let refused = ask(other, 7, token).unwrap_err();
        assert_eq!(refused[0].field, "page_token");
        let refused = list_order_events(&v1::ListOrderEventsRequest::default()).unwrap_err();
        assert_eq!(refused[0].field, "parent");
    }
}

//! What happened to an order: requests of `ListOrderEvents`, and its answers.

use docket_engine::{Broken, Currency, Order, OrderChange, OrderId, Situation, Version};
use prost::Message as _;

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

/// A page ends with the event that has it pass this: an event says of each line how that stood before and after. Clients of gRPC take 4 MiB by
/// default.
pub const EVENTS_BYTES_MAX: usize = 2 << 20;

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
    /// The events of that page, which ends with the one that has it pass so many bytes, and behind which version there are more, if there are.
    ///
    /// # Errors
    /// The order does not tell what happened to it.
    pub fn page(
        &self,
        order: &Order,
        bytes_max: usize,
    ) -> Result<(Vec<v1::OrderEvent>, Option<Version>), Broken> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        let changes = order.changes_while(self.behind, |change| {
            let event = event_to_proto(change, order.currency);
            bytes += event.encoded_len();
            events.push(event);
            events.len() < self.limit && bytes <= bytes_max
        })?;
        let last = changes.last().map(|last| last.version);
        Ok((events, last.filter(|last| *last < order.version)))
    }

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
    use docket_engine::{
        Amount, CustomerId, HoldReason, Line, OrderEvent, Quantity, Sku, Time, access::Username,
    };

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

    /// An order of a hundred lines, held and released so often.
    fn held(times: usize) -> Order {
        let line = |n: usize| Line {
            sku: Sku::new(&format!("i{n}")).unwrap(),
            quantity: Quantity(1_000_000),
            unit_price: Amount(1),
        };
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: (0..100).map(line).collect(),
            provider: None,
        };
        let mut order = Order::create(OrderId(7 << 80), &placed, Time(1)).unwrap();
        order.evolve(&OrderEvent::Confirmed, Time(1)).unwrap();
        let (reason, by) = (HoldReason::Stock, Username::new("shop").unwrap());
        for _ in 0..times {
            let held = OrderEvent::Held {
                reason,
                note: "".into(),
                by: by.clone(),
            };
            let released = OrderEvent::HoldReleased {
                reason,
                by: by.clone(),
            };
            order.evolve(&held, Time(2)).unwrap();
            order.evolve(&released, Time(2)).unwrap();
        }
        order
    }

    #[test]
    fn a_page_ends_with_the_event_that_has_it_pass_its_bytes_and_the_next_goes_on_behind_it() {
        let order = held(20);
        let pages = |bytes_max: usize| {
            let (mut behind, mut pages) = (Version(0), Vec::new());
            loop {
                let ask = ListOrderEvents {
                    order: order.id,
                    behind,
                    limit: 1_000,
                };
                let (events, more) = ask.page(&order, bytes_max).unwrap();
                pages.push(events);
                match more {
                    Some(last) => behind = last,
                    None => return pages,
                }
            }
        };
        let whole = pages(EVENTS_BYTES_MAX);
        assert_eq!((whole.len(), whole[0].len()), (1, 42));
        let bytes = |events: &[v1::OrderEvent]| events.iter().map(prost::Message::encoded_len).sum::<usize>();
        let bytes_max = 10_000;
        assert!(bytes(&whole[0]) > 4 * bytes_max);
        let parts = pages(bytes_max);
        for part in &parts {
            let (_, before) = part.split_last().unwrap();
            assert!(bytes(before) <= bytes_max, "{} bytes", bytes(before));
        }
        assert!(parts.len() > 4);
        assert_eq!(parts.concat(), whole[0]);
        // However little there is room for, a page has something.
        assert_eq!(pages(0).concat(), whole[0]);
    }
}

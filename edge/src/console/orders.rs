//! What the console asks about orders.

use std::collections::BTreeSet;

use docket_proto::v1::{self, order::State, order_hold::Reason, order_payment::State as Payment};
use futures::{StreamExt, stream};
use prost_types::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;

use super::{Asking, Refused, now_ms, show};
use crate::errors::Refusal;

/// Orders of a page.
const ORDERS_MAX: i32 = 50;
/// Events of a page.
const EVENTS_MAX: i32 = 200;
/// Items of an order whose stock is shown, and how many of them are asked for at a time.
const ITEMS_MAX: usize = 20;
const ITEMS_AT_A_TIME: usize = 4;
/// An order that has been pending for so long, in seconds, has not been forgotten by its client only.
const PENDING_S: i64 = 30;
/// What somebody took upon itself, and has not sent for so long, in seconds.
const PLANNED_S: i64 = 24 * 60 * 60;

/// Which orders are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    /// A state's name.
    state: String,
    /// A customer's id.
    customer: String,
    /// An item's sku.
    item: String,
    /// What is stuck: `pending`, `held`, `unpaid` or `planned`.
    stuck: String,
    page_token: String,
    /// Up to when a list of what is stuck looks, in seconds since 1970: a later page looks no further than the first.
    until_s: Option<i64>,
}

pub(super) async fn list(asking: &Asking<'_>, asked: Asked) -> Result<Value, Refused> {
    let now_s = i64::try_from(now_ms() / 1_000).unwrap_or(i64::MAX);
    let until_s = asked.until_s.unwrap_or(now_s).min(now_s);
    let request = request(&asked, until_s)?;
    let path = "/docket.v1.OrderService/ListOrders";
    let found: v1::ListOrdersResponse = asking.ask(path, &request).await?;
    Ok(json!({
        "orders": found.orders.iter().map(show::row).collect::<Vec<_>>(),
        "next_page_token": found.next_page_token,
        "unreachable": found.unreachable,
        "until_s": until_s,
        "now_ms": now_ms(),
    }))
}

fn request(asked: &Asked, until_s: i64) -> Result<v1::ListOrdersRequest, Refused> {
    let invalid = |field, why| Refused::from(Refusal::invalid([(field, why)]));
    let named = |kind: &str, id: &str| match id.is_empty() {
        true => String::new(),
        false => format!("{kind}/{id}"),
    };
    let mut request = v1::ListOrdersRequest {
        customer: named("customers", &asked.customer),
        item: named("items", &asked.item),
        page_size: ORDERS_MAX,
        page_token: asked.page_token.clone(),
        // What can be read is shown, and what cannot is named.
        return_partial_success: true,
        ..Default::default()
    };
    if !asked.state.is_empty() {
        let state = State::from_str_name(&asked.state).filter(|state| *state != State::Unspecified);
        let state = state.ok_or_else(|| invalid("state", "is no state of an order"))?;
        request.states.push(state.into());
    }
    let before = |age_s: i64| {
        Some(Timestamp {
            seconds: until_s.saturating_sub(age_s).max(0),
            nanos: 0,
        })
    };
    match asked.stuck.as_str() {
        "" => {}
        "pending" => {
            request.states = vec![State::Pending.into()];
            request.create_time_to = before(PENDING_S);
        }
        "held" => {
            let reasons = [
                Reason::FraudReview,
                Reason::Address,
                Reason::Stock,
                Reason::Payment,
                Reason::Operator,
            ];
            request.hold_reasons = reasons.map(i32::from).into();
        }
        "unpaid" => {
            request.payment_states = vec![Payment::Failed.into()];
            // What was refused for want of money is settled.
            let states = [
                State::Pending,
                State::Confirmed,
                State::PartiallyFulfilled,
                State::Fulfilled,
                State::Cancelled,
            ];
            request.states = states.map(i32::from).into();
        }
        "planned" => request.open_fulfilment_before = before(PLANNED_S),
        _ => {
            return Err(invalid(
                "stuck",
                "must be `pending`, `held`, `unpaid` or `planned`",
            ));
        }
    }
    Ok(request)
}

/// An order, its customer's account, and the stock of its items; what of those cannot be read says why.
pub(super) async fn one(asking: &Asking<'_>, id: &str) -> Result<Value, Refused> {
    let name = format!("orders/{id}");
    let order: v1::Order = asking
        .ask("/docket.v1.OrderService/GetOrder", &v1::GetOrderRequest { name })
        .await?;
    let asked = v1::GetCustomerRequest {
        name: order.customer.clone(),
    };
    let customer: Result<v1::Customer, _> =
        asking.ask("/docket.v1.CustomerService/GetCustomer", &asked).await;
    let names: BTreeSet<String> = order.lines.iter().map(|line| line.item.clone()).collect();
    let items: Vec<_> = stream::iter(names.into_iter().take(ITEMS_MAX))
        .map(|name| async move {
            let asked = v1::GetItemRequest { name: name.clone() };
            let found: Result<v1::Item, _> = asking.ask("/docket.v1.ItemService/GetItem", &asked).await;
            json!({"name": name, "item": or_why(found.map(|item| show::item(&item)))})
        })
        .buffered(ITEMS_AT_A_TIME)
        .collect()
        .await;
    Ok(json!({
        "order": show::order(&order),
        "customer": or_why(customer.map(|customer| show::customer(&customer))),
        "items": items,
        "items_max": ITEMS_MAX,
        "now_ms": now_ms(),
    }))
}

/// What was found, or why not.
fn or_why(found: Result<Value, Status>) -> Value {
    found.unwrap_or_else(|status| Refused::from(status).json())
}

/// A page of what happened to an order.
pub(super) async fn events(asking: &Asking<'_>, id: &str, page_token: String) -> Result<Value, Refused> {
    let asked = v1::ListOrderEventsRequest {
        parent: format!("orders/{id}"),
        page_size: EVENTS_MAX,
        page_token,
    };
    let path = "/docket.v1.OrderService/ListOrderEvents";
    let found: v1::ListOrderEventsResponse = asking.ask(path, &asked).await?;
    Ok(json!({
        "events": found.events.iter().map(show::event).collect::<Vec<_>>(),
        "next_page_token": found.next_page_token,
    }))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_is_asked_for_is_asked_of_the_service() {
        let of = |asked: Asked| request(&asked, 1_000_000).map_err(|refused| refused.0.code());
        let held = of(Asked {
            stuck: "held".into(),
            customer: "ada".into(),
            ..Asked::default()
        })
        .unwrap();
        assert_eq!(
            (held.customer.as_str(), held.hold_reasons.len()),
            ("customers/ada", 5)
        );
        let pending = of(Asked {
            stuck: "pending".into(),
            ..Asked::default()
        })
        .unwrap();
        assert_eq!(pending.create_time_to.unwrap().seconds, 1_000_000 - PENDING_S);
        let state = |state: &str| Asked {
            state: state.into(),
            ..Asked::default()
        };
        assert_eq!(of(state("CONFIRMED")).unwrap().states, [State::Confirmed as i32]);
        for wrong in ["confirmed", "STATE_UNSPECIFIED"] {
            assert_eq!(of(state(wrong)).unwrap_err(), Code::InvalidArgument);
        }
    }

    #[test]
    fn every_reason_of_a_hold_is_looked_for() {
        let held = request(
            &Asked {
                stuck: "held".into(),
                ..Asked::default()
            },
            0,
        );
        let asked = held.map_err(|_| ()).unwrap().hold_reasons;
        let all = (1..).take_while(|n| Reason::try_from(*n).is_ok());
        assert_eq!(asked, all.collect::<Vec<_>>());
    }
}

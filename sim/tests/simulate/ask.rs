//! What clients ask, put to a node as its edge does: taken apart by the contract's rules, done where it is led, told in the contract's words.

use std::time::{Duration, Instant};

use docket_actors::{Call, CallError, Docket, Key, ListOrders, Place, PlaceOrder};
use docket_edge::Refusal;
use docket_proto::{
    api::{
        Checked, customers, items, listing, orders,
        show::{customer_to_proto, item_to_proto, order_to_proto},
    },
    v1,
};
use docket_soak::{
    CURRENCY,
    history::{
        Ask, Outcome, Reply,
        clients::{deeds::Message, outcome, seen},
    },
};
use tonic::Status;

use crate::ask_order;

/// A node gives up a call after this long.
const DEADLINE: Duration = Duration::from_secs(4);
/// How many of a customer's newest orders are listed.
const PAGE: i32 = 10;

/// What a node says.
pub enum Told {
    /// It was asked the right node.
    Outcome(Outcome),
    /// Another node leads that: its number.
    Elsewhere(u64),
}

/// Asks a node. What it does not lead it does not do.
pub async fn ask(docket: Docket, ask: Ask) -> Told {
    if let Some(key) = key(&ask) {
        match docket.place_of(&key) {
            Place::Here => {}
            Place::Node(node) => return Told::Elsewhere(node),
            Place::Unknown => return Told::Outcome(Outcome::Failed("nobody leads it".into())),
        }
    }
    Told::Outcome(match done(&docket, ask).await {
        Ok(reply) => Outcome::Ok(reply),
        Err(error) => outcome(&Status::from(Refusal::from(error))),
    })
}

/// What a command is about; `None` for what is read, which any node does.
fn key(ask: &Ask) -> Option<Key> {
    Some(match ask.clone() {
        Ask::Place { customer, .. } | Ask::Credit { customer, .. } => Key::Customer(customer_id(&customer)),
        Ask::Cancel { order, .. } | Ask::Do { order, .. } => {
            Key::Order(good(orders::get_order(&v1::GetOrderRequest { name: order })))
        }
        Ask::Adjust { item, .. } => Key::Item(sku(&item)),
        _ => return None,
    })
}

fn sku(name: &str) -> docket_engine::Sku {
    good(items::get_item(&v1::GetItemRequest { name: name.into() }))
}

fn customer_id(name: &str) -> docket_engine::CustomerId {
    good(customers::get_customer(&v1::GetCustomerRequest {
        name: name.into(),
    }))
}

/// What the simulation asks is well formed.
pub fn good<T>(checked: Checked<T>) -> T {
    match checked {
        Ok(taken) => taken,
        Err(violations) => panic!("the simulation asks what is malformed: {violations:?}"),
    }
}

pub fn call(request_id: &str) -> Call {
    Call {
        deadline: Some(Instant::now() + DEADLINE),
        request_id: (!request_id.is_empty()).then(|| request_id.to_owned()),
        ..Call::default()
    }
}

/// More items, and customers, than a simulation has.
const LISTED_MAX: usize = 1_000;

async fn done(docket: &Docket, ask: Ask) -> Result<Reply, CallError> {
    let order = |order: std::sync::Arc<_>| Reply::Order(Box::new(seen::order(order_to_proto(&order))));
    Ok(match ask {
        Ask::Place {
            request_id,
            customer,
            lines,
        } => {
            let line = |line: docket_soak::history::Line| v1::OrderLine {
                item: line.item,
                quantity: line.quantity,
                unit_price: line.unit_price,
                ..v1::OrderLine::default()
            };
            let request = v1::PlaceOrderRequest {
                request_id: request_id.clone(),
                customer,
                currency_code: CURRENCY.into(),
                lines: lines.into_iter().map(line).collect(),
                payment_method: String::new(),
            };
            let asked = good(orders::place_order(&(&request).into(), &docket_proto::NoIntern));
            let place = PlaceOrder {
                customer: asked.customer,
                currency: asked.currency,
                lines: asked.lines,
                provider: None,
            };
            order(docket.place_order(call(&request_id), place).await?)
        }
        Ask::Cancel {
            request_id,
            order: name,
            etag,
        } => {
            let request = v1::CancelOrderRequest {
                name,
                request_id: request_id.clone(),
                etag,
            };
            let asked = good(orders::cancel_order(&request));
            order(
                docket
                    .cancel_order(call(&request_id), asked.order, asked.expected)
                    .await?,
            )
        }
        Ask::Do {
            request_id,
            order: name,
            deed,
            etag,
        } => {
            let asked = Message::new(name, request_id.clone(), etag, &deed);
            order(ask_order::done(docket, call(&request_id), asked).await?)
        }
        Ask::Adjust {
            request_id,
            item,
            delta,
        } => {
            let delta = docket_engine::Quantity(delta);
            let item = docket
                .adjust_stock(call(&request_id), sku(&item), delta, None)
                .await?;
            Reply::Item(seen::item(item_to_proto(&item)))
        }
        Ask::Credit {
            request_id,
            customer,
            amount,
        } => {
            let (id, amount) = (customer_id(&customer), docket_engine::Amount(amount));
            let customer = docket.credit_account(call(&request_id), id, amount, None).await?;
            Reply::Customer(seen::customer(customer_to_proto(&customer)))
        }
        Ask::GetOrder { order: name } => {
            let id = good(orders::get_order(&v1::GetOrderRequest { name }));
            order(docket.get_order(call(""), id).await?)
        }
        Ask::GetItem { item } => {
            let item = docket.get_item(call(""), sku(&item)).await?;
            Reply::Item(seen::item(item_to_proto(&item)))
        }
        Ask::GetCustomer { customer } => {
            let customer = docket.get_customer(call(""), customer_id(&customer)).await?;
            Reply::Customer(seen::customer(customer_to_proto(&customer)))
        }
        Ask::ListItems => {
            let page = docket.list_items(call(""), None, LISTED_MAX).await?;
            let shown = page.iter().map(|item| seen::item(item_to_proto(item)));
            Reply::Items(shown.collect())
        }
        Ask::ListCustomers => {
            let page = docket.list_customers(call(""), None, LISTED_MAX).await?;
            let shown = page
                .iter()
                .map(|customer| seen::customer(customer_to_proto(customer)));
            Reply::Customers(shown.collect())
        }
        Ask::ListOrders { customer } => {
            let asked = good(listing::list_orders(&v1::ListOrdersRequest {
                customer,
                page_size: PAGE,
                ..v1::ListOrdersRequest::default()
            }));
            let query = ListOrders {
                filter: asked.filter,
                before: asked.from.before,
                left_out: asked.from.left_out,
                limit: asked.limit,
                partial: asked.partial,
            };
            let page = docket.list_orders(call(""), query).await?;
            let shown = page.orders.iter().map(|order| seen::order(order_to_proto(order)));
            Reply::Orders {
                complete: page.next.is_none(),
                orders: shown.collect(),
            }
        }
    })
}

//! What comes back of an order that was shipped: returns, and money.

use docket_engine::{OrderId, ReturnState, ReturnStep};
use docket_proto::v1;

use super::{
    commands::{Ask, Entity},
    draw::Commands,
    oracle::Oracle,
    reference::{Order, Return},
    show::{ADMIN, Texts, small},
};
use crate::{
    api::Api,
    server::{LOOK_AGAIN, PATIENCE},
};

impl Commands {
    pub(super) fn request_return(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| !order.shipments.is_empty());
        let there = oracle.model.orders.get(&order).map(Order::returnable);
        Ask::RequestReturn {
            order,
            lines: self.meant(there.as_deref()),
            note: self.one_of(&["", "too many"]).to_string(),
            etag: self.version(oracle, order),
        }
    }

    /// Mostly what can become of a return that there is.
    pub(super) fn move_return(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| order.returns.iter().any(is_on_its_way));
        let returns = oracle.model.orders.get(&order);
        let returns = returns.map_or(&[][..], |order| &order.returns);
        let open = (1..).zip(returns).filter(|(_, it)| is_on_its_way(it));
        let open: Vec<u32> = open.map(|(number, _)| number).collect();
        let number = match self.random.below(4) {
            // Or one that nobody has asked for.
            0 => 1 + self.random.below(returns.len() as u64 + 1) as u32,
            _ if open.is_empty() => 1,
            _ => *self.one_of(&open),
        };
        let state = returns.get(number as usize - 1);
        let steps = [
            ReturnStep::Approve,
            ReturnStep::Decline {
                note: (*self.one_of(&["", "worn"])).into(),
            },
            ReturnStep::Receive { restock: true },
            ReturnStep::Receive { restock: false },
            ReturnStep::Close,
        ];
        let fitting = match (state.map(|it| it.state), self.random.below(4)) {
            (None, _) | (_, 0) => 0..steps.len(),
            (Some(ReturnState::Requested), which) => match which {
                1 => 1..2,
                _ => 0..1,
            },
            (Some(ReturnState::Approved), _) => 2..steps.len(),
            (Some(_), _) => 4..steps.len(),
        };
        Ask::MoveReturn {
            order,
            number,
            step: self.one_of(&steps[fitting]).clone(),
            etag: self.version(oracle, order),
        }
    }

    pub(super) fn refund(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| order.taken() > order.refunded());
        let there = oracle.model.orders.get(&order);
        let there = there.map_or(0, |order| small(order.taken() - order.refunded()));
        let amount = match self.random.below(9) {
            0 => there.saturating_add(1),
            1 | 2 => there,
            3..6 => there / 2,
            _ => 1,
        };
        Ask::RefundOrder {
            order,
            amount: amount.max(1),
            note: self.one_of(&["", "sorry"]).to_string(),
            etag: self.version(oracle, order),
        }
    }
}

impl Oracle {
    /// Every item puts back on its stock what came back, and the order hears of it, behind the answer.
    pub(super) fn put_back(&mut self, id: OrderId) {
        let restocking = match self.model.orders.get(&id) {
            Some(order) => order.restocking.clone(),
            None => return,
        };
        for (number, sku) in restocking {
            let order = &self.model.orders[&id];
            if order.put_back(&sku) > order.of_return(number, &sku) {
                self.reached.add("an item comes back again");
            }
            // Where there would be more than can be counted the item stays as it is.
            if self.model.restock(id, number, &sku).is_err() {
                self.reached
                    .add("AMOUNT_OVERFLOW of an item's stock, by a return");
            }
        }
        if self.model.restocked(id) {
            self.reached.add("a return is back on the stock");
        }
    }

    /// Waits until the node has done that too, and what else follows behind an answer.
    pub(super) async fn until_done_behind(&self, api: &Api, ask: &Ask) {
        let id = match (ask, ask.entity()) {
            (_, Entity::Order(id)) => Some(id),
            (Ask::PlaceOrder { .. }, _) => self.placed.last().copied(),
            _ => None,
        };
        let goes_on = matches!(
            ask,
            Ask::EditOrder { .. }
                | Ask::MoveReturn {
                    step: ReturnStep::Receive { restock: true },
                    ..
                }
        );
        let there = id.and_then(|id| Some((id, self.model.orders.get(&id)?)));
        let Some((order, is)) = there.filter(|(_, is)| goes_on || is.steps.is_some()) else {
            return;
        };
        let wanted = is.version;
        let wait = async {
            let name = format!("orders/{order}");
            loop {
                let request = v1::GetOrderRequest { name: name.clone() };
                let found = api.orders().get_order(request).await.unwrap().into_inner();
                if found.etag == format!("v{wanted}") {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_elapsed| panic!("{ask:?} is not done to its end: {order}"));
    }
}

/// Whether something may still become of it.
fn is_on_its_way(it: &Return) -> bool {
    !matches!(it.state, ReturnState::Declined | ReturnState::Closed)
}

pub fn returns(order: &Order, texts: &Texts) -> Vec<v1::OrderReturn> {
    let numbered = (1..).zip(order.returns.iter().zip(&texts.returns));
    numbered
        .map(|(number, (it, texts))| show_return(number, it, texts))
        .collect()
}

fn show_return(number: i32, it: &Return, (note, decline_note): &(String, String)) -> v1::OrderReturn {
    use v1::order_return::State;
    let state = match it.state {
        ReturnState::Requested => State::Requested,
        ReturnState::Approved => State::Approved,
        ReturnState::Declined => State::Declined,
        ReturnState::Received => State::Received,
        ReturnState::Closed => State::Closed,
    };
    let lines = it.lines.iter().map(|(line, many)| v1::LineQuantity {
        line: i32::from(*line),
        quantity: small(*many),
    });
    v1::OrderReturn {
        number,
        state: state.into(),
        lines: lines.collect(),
        note: note.clone(),
        decline_note: decline_note.clone(),
        restocked: it.restocks,
        create_time: None,
        update_time: None,
        requested_by: ADMIN.into(),
    }
}

pub fn refunds(order: &Order, texts: &Texts) -> Vec<v1::OrderRefund> {
    let refunds = order.refunds.iter().zip(&texts.refunds);
    refunds
        .map(|(amount, note)| v1::OrderRefund {
            amount: small(*amount),
            note: note.clone(),
            create_time: None,
            refunded_by: ADMIN.into(),
        })
        .collect()
}

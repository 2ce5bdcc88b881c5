//! Orders, as a node carries them out: to their end before they are answered.

use std::collections::BTreeMap;

use docket_engine::{CustomerId, Line, OrderId, Rejection, ReturnStep, Sku};
use docket_proto::v1;

use super::{
    cards::{DECLINED, Payer},
    commands::Ask,
    oracle::{Expected, Oracle},
    reference::{Order, Outcome, first_lines},
    refused::rejected,
    send::Answer,
};
use crate::api::Api;

impl Oracle {
    /// The whole way of an order: the customer's hold, every item's answer, the settlement, and what is given back.
    pub(super) fn place(&mut self, ask: &Ask, given: Option<OrderId>, lines: &[Line]) -> Expected {
        let Ask::PlaceOrder {
            customer,
            currency,
            payer,
            ..
        } = ask
        else {
            panic!("no order: {ask:?}")
        };
        if first_lines(lines).len() < lines.len() {
            self.reached.add("an item on several lines");
        }
        let id = given.unwrap_or(OrderId(0));
        let placed = self
            .model
            .place_with(id, customer, *currency, lines, *payer == Payer::Cards);
        let recorded = self.model.orders.contains_key(&id);
        assert_eq!(
            given.is_some(),
            recorded,
            "{ask:?}: the node recorded an order, the model did"
        );
        if recorded {
            self.placed.push(id);
        }
        if let Err(rejection) = placed {
            let whose = match rejection {
                Rejection::CurrencyMismatch { .. } => ", the customer's",
                _ => "",
            };
            self.reached
                .add(format!("{} in PlaceOrder{whose}", rejection.reason()));
            if recorded {
                self.reached.add("order: none to REJECTED by its customer");
            }
            return Expected {
                answer: Answer::Refused(rejected("PlaceOrder", &rejection)),
                later: None,
                recorded,
            };
        }
        let answers: BTreeMap<Sku, _> = first_lines(lines)
            .into_keys()
            .map(|sku| (sku.clone(), self.model.reserve(id, &sku).map(|_| 0)))
            .collect();
        assert!(self.model.settle(id, &answers));
        self.hear_provider(id);
        let answer = match self.model.orders[&id].rejection.clone() {
            None => {
                self.reached.add(match self.model.orders[&id].steps {
                    None => "order: none to CONFIRMED",
                    Some(_) => "order: none to CONFIRMED, by a provider",
                });
                Answer::Order(Box::new(self.order(id)))
            }
            Some(rejection @ Rejection::PaymentDeclined { .. }) => {
                self.reached.add("PAYMENT_DECLINED in PlaceOrder");
                self.reached.add("order: none to REJECTED by its provider");
                Answer::Refused(rejected("PlaceOrder", &rejection))
            }
            Some(rejection) => {
                let whose = match rejection {
                    Rejection::CurrencyMismatch { .. } => ", an item's",
                    _ => "",
                };
                self.reached
                    .add(format!("{} in PlaceOrder{whose}", rejection.reason()));
                let released = self.give_back(id);
                self.reached.add(match released {
                    true => "order: none to REJECTED by an item, others released",
                    false => "order: none to REJECTED by an item, none reserved",
                });
                Answer::Refused(rejected("PlaceOrder", &rejection))
            }
        };
        Expected {
            answer,
            later: None,
            recorded,
        }
    }

    /// What an order that is there is asked, to its end: its items have given back or taken off their stock what they were told to.
    pub(super) fn of_order(&mut self, ask: &Ask, id: OrderId) -> Expected {
        let method = ask.method();
        let order = self.model.orders.get(&id);
        let edits = order.map(|order| order.edits);
        let before = order.map(|order| (order.state, is_held(order)));
        let outcome = match before {
            None => Err(Rejection::OrderNotFound { order: id }),
            Some(_) => self.carry_out(ask, id),
        };
        // An edit whose items refused it was recorded, and so is its answer.
        let is_refused_edit = outcome.is_err() && self.model.orders.get(&id).map(|it| it.edits) > edits;
        if let (Some((before, was_held)), Ok(true)) = (before, &outcome) {
            let order = &self.model.orders[&id];
            self.reached
                .add(format!("order: {before} to {} by {method}", order.state));
            if was_held && !is_held(order) {
                let after = order.state;
                self.reached.add(format!("order: held to {after} by {method}"));
            }
        }
        let mut expected = self.outcome(ask, outcome, |oracle| Answer::Order(Box::new(oracle.order(id))));
        expected.recorded |= is_refused_edit;
        self.put_back(id);
        if self.hear_provider(id) {
            expected.later = Some(Answer::Order(Box::new(self.order(id))));
        }
        expected
    }

    fn carry_out(&mut self, ask: &Ask, id: OrderId) -> Outcome {
        match ask {
            Ask::CancelOrder { etag, .. } => {
                let changed = self.model.cancel(id, *etag)?;
                assert_eq!(self.give_back(id), changed);
                Ok(changed)
            }
            Ask::CancelOrderLines { lines, etag, .. } => {
                let changed = self.model.cancel_lines(id, lines, *etag)?;
                assert_eq!(self.give_back(id), changed);
                Ok(changed)
            }
            Ask::EditOrder { lines, etag, .. } => {
                let changed = self.model.edit(id, lines, *etag, true)?;
                if changed && self.model.orders[&id].edit.is_none() {
                    self.reached.add("an edit that needs no item");
                }
                self.raise(id)?;
                if self.model.orders[&id].awaited.is_some() {
                    let done = self.model.orders[&id].books().authorized;
                    self.hear_provider(id);
                    if self.model.orders[&id].books().authorized == done {
                        assert!(self.give_back(id));
                        self.reached.add("an edit that its provider declined");
                        let reason = DECLINED.into();
                        return Err(Rejection::PaymentDeclined { reason });
                    }
                    self.reached.add("an edit that its provider authorised");
                }
                self.give_back(id);
                Ok(changed)
            }
            Ask::ShipOrder {
                lines,
                carrier,
                tracking,
                etag,
                ..
            } => {
                let changed = self.model.ship(id, lines, *etag)?;
                let texts = self.texts.entry(id).or_default();
                texts.shipments.push((carrier.clone(), tracking.clone()));
                self.take_off(id);
                Ok(changed)
            }
            Ask::OpenFulfilment { lines, etag, .. } => {
                let changed = self.model.plan(id, lines, *etag)?;
                let texts = self.texts.entry(id).or_default();
                texts.shipments.push(Default::default());
                Ok(changed)
            }
            Ask::ShipFulfilment {
                fulfilment,
                carrier,
                tracking,
                etag,
                ..
            } => {
                let changed = self.model.ship_plan(id, *fulfilment, *etag)?;
                let texts = self.texts.entry(id).or_default();
                texts.shipments[*fulfilment as usize - 1] = (carrier.clone(), tracking.clone());
                self.take_off(id);
                self.reached.add("sent as planned");
                Ok(changed)
            }
            Ask::CancelFulfilment { fulfilment, etag, .. } => self.model.unplan(id, *fulfilment, *etag),
            Ask::DeliverFulfilment { fulfilment, etag, .. } => self.model.deliver(id, *fulfilment, *etag),
            Ask::HoldOrder {
                reason, note, etag, ..
            } => {
                let changed = self.model.hold(id, *reason, *etag)?;
                self.texts.entry(id).or_default().notes.push(note.clone());
                Ok(changed)
            }
            Ask::ReleaseOrderHold { reason, etag, .. } => self.model.release_hold(id, *reason, *etag),
            Ask::RequestReturn {
                lines, note, etag, ..
            } => {
                let changed = self.model.request_return(id, lines, *etag)?;
                let texts = self.texts.entry(id).or_default();
                texts.returns.push((note.clone(), String::new()));
                Ok(changed)
            }
            Ask::MoveReturn {
                number, step, etag, ..
            } => {
                let changed = self.model.move_return(id, *number, step, *etag)?;
                if let (ReturnStep::Decline { note }, true) = (step, changed) {
                    let texts = self.texts.entry(id).or_default();
                    texts.returns[*number as usize - 1].1 = note.to_string();
                }
                Ok(changed)
            }
            Ask::RefundOrder {
                amount, note, etag, ..
            } => {
                let changed = self.model.refund(id, *amount, *etag)?;
                self.texts.entry(id).or_default().refunds.push(note.clone());
                Ok(changed)
            }
            Ask::RetryPayment { step, etag, .. } => self.model.retry(id, *step, *etag),
            _ => panic!("not of an order that is there: {ask:?}"),
        }
    }

    /// Every item that an open edit wants more of is asked for it, and the order hears what all of them say.
    fn raise(&mut self, id: OrderId) -> Result<(), Rejection> {
        let asked = self.model.orders[&id].raising();
        if asked.is_empty() {
            return Ok(());
        }
        let answers: BTreeMap<Sku, _> = asked
            .into_keys()
            .map(|sku| (sku.clone(), self.model.raise(id, &sku).map(|_| 0)))
            .collect();
        assert!(self.model.raised(id, &answers));
        let refusals = answers.into_values().filter_map(Result::err);
        match refusals.min_by_key(Rejection::line) {
            None => {
                self.reached.add("an edit that items agreed to");
                Ok(())
            }
            Some(refusal) => {
                if self.give_back(id) {
                    self.reached.add("an edit that an item refused");
                }
                Err(refusal)
            }
        }
    }

    /// Every item takes what was shipped off its stock, and the order hears of it.
    fn take_off(&mut self, id: OrderId) {
        for sku in self.model.orders[&id].consuming.clone() {
            let left = self.model.orders[&id].open_of(&sku);
            assert!(self.model.consume(id, &sku, left));
        }
        assert!(self.model.consumed(id));
        if self.model.customers[&self.model.orders[&id].customer].balance < 0 {
            self.reached.add("sent on credit");
        }
    }

    /// Every item releases, and the order hears of it; false where there was nothing to release.
    pub(super) fn give_back(&mut self, id: OrderId) -> bool {
        for sku in self.model.orders[&id].releasing.clone() {
            // An item that refused an edit has nothing to give back.
            self.model.release(id, &sku);
        }
        self.model.released(id)
    }

    /// The customer's newest order, where it is none that is known.
    pub(super) async fn new_order_of(&self, api: &Api, customer: &CustomerId) -> Option<OrderId> {
        let request = v1::ListOrdersRequest {
            customer: format!("customers/{customer}"),
            page_size: 1,
            ..Default::default()
        };
        let page = api.orders().list_orders(request).await.unwrap().into_inner();
        let newest = page.orders.first().map(|order| id_of(&order.name));
        newest.filter(|id| !self.model.orders.contains_key(id))
    }
}

fn is_held(order: &Order) -> bool {
    order.holds.iter().any(|(_, holds)| *holds)
}

pub fn id_of(name: &str) -> OrderId {
    let id = name.strip_prefix("orders/").and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("{name} names no order"))
}

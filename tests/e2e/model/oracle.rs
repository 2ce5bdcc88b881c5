//! Says what the node must answer, asks it, and compares. The reference model knows the entities; what is added here is
//! what a node has beside them: request ids, and orders that run to their end before they are answered.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{CustomerId, OrderId, OrderState, Rejection, Sku};
use docket_proto::v1;

use super::{
    cards::{Mishap, Payer, nobody_by_that_name},
    commands::{Ask, Command, Entity},
    compare::Times,
    orders::id_of,
    reached::Reached,
    reference::{Model, Outcome, cost},
    refused::rejected,
    send::{Answer, shown},
    show::{self, Texts},
};
use crate::api::Api;

/// Of an order of which nothing was shipped, and which was never held.
static NOTHING_WRITTEN: Texts = Texts {
    shipments: Vec::new(),
    notes: Vec::new(),
    returns: Vec::new(),
    refunds: Vec::new(),
};

/// What the node must be like.
#[derive(Default)]
pub struct Oracle {
    pub model: Model,
    /// All orders, oldest first.
    pub placed: Vec<OrderId>,
    pub reached: Reached,
    /// What was recorded under a request id.
    remembered: BTreeMap<(Entity, String), (Ask, Answer)>,
    /// Request ids under which something was asked and nothing recorded.
    forgotten: BTreeSet<(Entity, String)>,
    pub(super) texts: BTreeMap<OrderId, Texts>,
    /// What the provider does wrong at the first step that is due of this command.
    pub(super) mishap: Option<Mishap>,
    pub(super) times: Times,
}

/// What a command must be answered with, and whether that is remembered.
pub struct Expected {
    pub answer: Answer,
    /// The same when its provider has answered behind that: the answer may already have it.
    pub later: Option<Answer>,
    pub recorded: bool,
}

impl Oracle {
    /// An empty node; what others reached is added to.
    pub fn new(reached: Reached) -> Self {
        Self {
            reached,
            ..Self::default()
        }
    }

    /// The newest order that was not refused; one that is not there, where there is none.
    pub fn newest_accepted(&self) -> OrderId {
        let is_accepted = |id: &&OrderId| self.model.orders[*id].state != OrderState::Rejected;
        self.placed
            .iter()
            .rfind(is_accepted)
            .copied()
            .unwrap_or(OrderId(0))
    }

    /// Whether something was recorded under the command's request id.
    pub fn remembers(&self, command: &Command) -> bool {
        self.remembered
            .contains_key(&(command.ask.entity(), command.request_id.clone()))
    }

    /// Asks the node and compares its answer.
    pub async fn step(&mut self, api: &Api, command: &Command) {
        let Command {
            request_id,
            ask,
            mishap,
        } = command;
        self.mishap = *mishap;
        let given = command.send(api).await;
        let key = (ask.entity(), request_id.clone());
        let method = ask.method();
        if let Some((asked, answered)) = self.remembered.get(&key).cloned() {
            match asked.is_same(ask) {
                true => self.compare_repeated(command, &given, &answered),
                false => {
                    let reused = Answer::Refused(rejected(method, &Rejection::RequestIdReused));
                    assert_eq!(given, reused, "{command:?}");
                    self.reached.add(format!("REQUEST_ID_REUSED in {method}"));
                }
            }
            return;
        }
        let expected = self.expect(api, ask, &given).await;
        let answer = self.without_times(&given);
        if expected.later.as_ref() != Some(&answer) {
            assert_eq!(answer, expected.answer, "{command:?}");
        }
        if !request_id.is_empty() {
            if self.forgotten.contains(&key) {
                self.reached.add("a request that left nothing, decided anew");
            }
            if expected.recorded {
                self.remembered.insert(key, (ask.clone(), given));
            } else {
                self.forgotten.insert(key);
            }
        }
    }

    /// What was done is not done again. The repeat is answered as it was before; of an order that was there, with the order as it is now.
    fn compare_repeated(&mut self, command: &Command, given: &Answer, answered: &Answer) {
        let method = command.ask.method();
        let (how, has_changed) = match (command.ask.entity(), answered) {
            (Entity::Order(_), Answer::Refused(_)) => {
                assert_eq!(given, answered, "{command:?} was answered otherwise before");
                (", refused", false)
            }
            (Entity::Order(id), _) => {
                let now = Answer::Order(Box::new(self.order(id)));
                assert_eq!(self.without_times(given), now, "{command:?} was done before");
                ("", given != answered)
            }
            (Entity::Customer(_) | Entity::Item(_), _) => {
                assert_eq!(given, answered, "{command:?} was answered otherwise before");
                match (&command.ask, answered) {
                    (Ask::PlaceOrder { .. }, Answer::Order(order)) => {
                        let is_now = &self.model.orders[&id_of(&order.name)];
                        (", accepted", shown(Some(is_now.version)) != order.etag)
                    }
                    (Ask::PlaceOrder { .. }, _) => (", refused", false),
                    _ => ("", false),
                }
            }
        };
        self.reached.add(format!("the same again: {method}{how}"));
        if has_changed {
            self.reached.add(format!("changed since: {method}{how}"));
        }
    }

    /// Whether its lines add up to more than there can be, so that nobody is asked.
    fn is_invalid(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::PlaceOrder { lines, .. } if cost(lines) > i64::MAX.into())
    }

    /// Carries the command into the model. An order's id is the node's to choose: it is taken from what it gave.
    async fn expect(&mut self, api: &Api, ask: &Ask, given: &Answer) -> Expected {
        let name = |name: &Option<String>| name.clone();
        match ask {
            Ask::CreateCustomer {
                id,
                name,
                currency,
                limit,
            } => {
                let outcome = self.model.create_customer(id, name, *currency, *limit);
                self.of_customer(ask, id, outcome)
            }
            Ask::UpdateCustomer {
                id,
                name: changed,
                limit,
                etag,
            } => {
                let outcome = self
                    .model
                    .update_customer(id, name(changed).as_deref(), *limit, *etag);
                self.of_customer(ask, id, outcome)
            }
            Ask::CreditAccount { id, amount, etag } => {
                let outcome = self.model.credit(id, *amount, *etag);
                self.of_customer(ask, id, outcome)
            }
            Ask::CreateItem {
                sku,
                name,
                currency,
                price,
                on_hand,
            } => {
                let outcome = self.model.create_item(sku, name, *currency, *price, *on_hand);
                self.of_item(ask, sku, outcome)
            }
            Ask::UpdateItem {
                sku,
                name: changed,
                price,
                etag,
            } => {
                let outcome = self
                    .model
                    .update_item(sku, name(changed).as_deref(), *price, None, *etag);
                self.of_item(ask, sku, outcome)
            }
            Ask::AdjustStock { sku, delta, etag } => {
                let outcome = self.model.adjust(sku, *delta, *etag);
                self.of_item(ask, sku, outcome)
            }
            Ask::PlaceOrder {
                payer: Payer::Nobody, ..
            } => self.outcome(ask, Err(nobody_by_that_name()), |_| panic!("it was placed")),
            Ask::PlaceOrder { lines, .. } if self.is_invalid(ask) => {
                let too_much = |line: &usize| cost(&lines[..=*line]) > i64::MAX.into();
                let line = (0..lines.len()).find(too_much).map(|line| line as u16);
                self.reached.add("AMOUNT_OVERFLOW in PlaceOrder, of its lines");
                Expected {
                    answer: Answer::Refused(rejected("PlaceOrder", &Rejection::Overflow { line })),
                    later: None,
                    recorded: false,
                }
            }
            Ask::PlaceOrder { customer, lines, .. } => {
                let id = match given {
                    Answer::Order(order) => Some(id_of(&order.name)),
                    _ => self.new_order_of(api, customer).await,
                };
                self.place(ask, id, lines)
            }
            Ask::CancelOrder { order, .. }
            | Ask::CancelOrderLines { order, .. }
            | Ask::EditOrder { order, .. }
            | Ask::ShipOrder { order, .. }
            | Ask::OpenFulfilment { order, .. }
            | Ask::ShipFulfilment { order, .. }
            | Ask::CancelFulfilment { order, .. }
            | Ask::DeliverFulfilment { order, .. }
            | Ask::HoldOrder { order, .. }
            | Ask::ReleaseOrderHold { order, .. }
            | Ask::RequestReturn { order, .. }
            | Ask::MoveReturn { order, .. }
            | Ask::RefundOrder { order, .. }
            | Ask::RetryPayment { order, .. } => self.of_order(ask, *order),
        }
    }

    fn of_customer(&mut self, ask: &Ask, id: &CustomerId, outcome: Outcome) -> Expected {
        self.outcome(ask, outcome, |oracle| Answer::Customer(oracle.customer(id)))
    }

    fn of_item(&mut self, ask: &Ask, sku: &Sku, outcome: Outcome) -> Expected {
        self.outcome(ask, outcome, |oracle| Answer::Item(oracle.item(sku)))
    }

    pub(super) fn outcome(
        &mut self,
        ask: &Ask,
        outcome: Outcome,
        shown: impl Fn(&Self) -> Answer,
    ) -> Expected {
        let method = ask.method();
        match outcome {
            Ok(changed) => {
                if !changed {
                    self.reached.add(format!("nothing changed by {method}"));
                }
                Expected {
                    answer: shown(self),
                    later: None,
                    // Also that nothing changed is remembered.
                    recorded: true,
                }
            }
            Err(rejection) => {
                self.reached.add(format!("{} in {method}", rejection.reason()));
                Expected {
                    answer: Answer::Refused(rejected(method, &rejection)),
                    later: None,
                    recorded: false,
                }
            }
        }
    }

    pub(super) fn customer(&self, id: &CustomerId) -> v1::Customer {
        show::customer(id.as_str(), &self.model.customers[id], self.model.held(id))
    }

    pub(super) fn item(&self, sku: &Sku) -> v1::Item {
        show::item(sku.as_str(), &self.model.items[sku], self.model.reserved(sku))
    }

    pub(super) fn order(&self, id: OrderId) -> v1::Order {
        let texts = self.texts.get(&id).unwrap_or(&NOTHING_WRITTEN);
        show::order(&id.to_string(), &self.model.orders[&id], texts)
    }
}

//! Says what the node must answer, asks it, and compares. The reference model knows the entities; what is added here is
//! what a node has beside them: request ids, and orders that run to their end before they are answered.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{CustomerId, Line, OrderId, OrderState, Rejection, Sku};
use docket_persistence::mem::Seeded;
use docket_proto::v1;
use prost_types::Timestamp;

use super::{
    commands::{Ask, Command, Entity},
    reached::Reached,
    reference::{Model, Outcome, cost, first_lines},
    show::{self, Answer, refused, rejected},
};
use crate::api::Api;

/// The longest page that is asked for.
const PAGE_MAX: u64 = 60;

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
    /// When each resource was created and last changed, and its etag then.
    times: BTreeMap<String, Times>,
}

type Times = (Timestamp, Timestamp, String);

/// What a command must be answered with, and whether that is remembered.
struct Expected {
    answer: Answer,
    recorded: bool,
}

impl Oracle {
    /// An empty node; what others reached is added to.
    pub fn new(reached: Reached) -> Self {
        Self {
            reached,
            ..Self::default()
        }
    }

    /// Whether something was recorded under the command's request id.
    pub fn remembers(&self, command: &Command) -> bool {
        self.remembered
            .contains_key(&(command.ask.entity(), command.request_id.clone()))
    }

    /// Asks the node and compares its answer, and everything that the command was about.
    pub async fn step(&mut self, api: &Api, command: Command) {
        let Command { request_id, ask } = &command;
        let given = command.send(api).await;
        let key = (ask.entity(), request_id.clone());
        let method = ask.method();
        if let Some((asked, answered)) = self.remembered.get(&key) {
            if asked == ask {
                assert_eq!(given, *answered, "{command:?} was answered otherwise before");
                let how = match (ask, answered) {
                    (Ask::PlaceOrder { .. }, Answer::Refused(_)) => ", refused",
                    (Ask::PlaceOrder { .. }, _) => ", accepted",
                    _ => "",
                };
                self.reached.add(format!("the same again: {method}{how}"));
            } else {
                assert_eq!(
                    given,
                    Answer::Refused(rejected(method, &Rejection::RequestIdReused)),
                    "{command:?}"
                );
                self.reached.add(format!("REQUEST_ID_REUSED in {method}"));
            }
            return self.compare_touched(api, ask).await;
        }
        let expected = self.expect(api, ask, &given).await;
        assert_eq!(self.without_times(&given), expected.answer, "{command:?}");
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
        self.compare_touched(api, ask).await;
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
                    .update_item(sku, name(changed).as_deref(), *price, *etag);
                self.of_item(ask, sku, outcome)
            }
            Ask::AdjustStock { sku, delta, etag } => {
                let outcome = self.model.adjust(sku, *delta, *etag);
                self.of_item(ask, sku, outcome)
            }
            Ask::PlaceOrder { lines, .. } if self.is_invalid(ask) => {
                let too_much = |line: &usize| cost(&lines[..=*line]) > i64::MAX.into();
                let line = (0..lines.len()).find(too_much).map(|line| line as u16);
                self.reached.add("AMOUNT_OVERFLOW in PlaceOrder, of its lines");
                Expected {
                    answer: Answer::Refused(rejected("PlaceOrder", &Rejection::Overflow { line })),
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
            Ask::CancelOrder { order, etag } => self.cancel(*order, *etag),
        }
    }

    fn of_customer(&mut self, ask: &Ask, id: &CustomerId, outcome: Outcome) -> Expected {
        self.outcome(ask, outcome, |oracle| Answer::Customer(oracle.customer(id)))
    }

    fn of_item(&mut self, ask: &Ask, sku: &Sku, outcome: Outcome) -> Expected {
        self.outcome(ask, outcome, |oracle| Answer::Item(oracle.item(sku)))
    }

    fn outcome(&mut self, ask: &Ask, outcome: Outcome, shown: impl Fn(&Self) -> Answer) -> Expected {
        let method = ask.method();
        match outcome {
            Ok(changed) => {
                if !changed {
                    self.reached.add(format!("nothing changed by {method}"));
                }
                Expected {
                    answer: shown(self),
                    // Also that nothing changed is remembered.
                    recorded: true,
                }
            }
            Err(rejection) => {
                self.reached.add(format!("{} in {method}", rejection.reason()));
                Expected {
                    answer: Answer::Refused(rejected(method, &rejection)),
                    recorded: false,
                }
            }
        }
    }

    /// The whole way of an order: the customer's hold, every item's answer, the settlement, and what is given back.
    fn place(&mut self, ask: &Ask, given: Option<OrderId>, lines: &[Line]) -> Expected {
        let Ask::PlaceOrder {
            customer, currency, ..
        } = ask
        else {
            panic!("no order: {ask:?}")
        };
        if first_lines(lines).len() < lines.len() {
            self.reached.add("an item on several lines");
        }
        let id = given.unwrap_or(OrderId(0));
        let placed = self.model.place(id, customer, *currency, lines);
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
                recorded,
            };
        }
        let answers: BTreeMap<Sku, _> = first_lines(lines)
            .into_keys()
            .map(|sku| (sku.clone(), self.model.reserve(id, &sku).map(|_| ())))
            .collect();
        assert!(self.model.settle(id, &answers));
        let answer = match self.model.orders[&id].rejection.clone() {
            None => {
                self.reached.add("order: none to CONFIRMED");
                Answer::Order(self.order(id))
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
        Expected { answer, recorded }
    }

    fn cancel(&mut self, id: OrderId, etag: Option<u64>) -> Expected {
        let ask = Ask::CancelOrder { order: id, etag };
        let outcome = match self.model.orders.contains_key(&id) {
            true => self.model.cancel(id, etag),
            false => Err(Rejection::OrderNotFound { order: id }),
        };
        if outcome == Ok(true) {
            self.reached.add("order: CONFIRMED to CANCELLED");
            assert!(self.give_back(id));
        }
        self.outcome(&ask, outcome, |oracle| Answer::Order(oracle.order(id)))
    }

    /// Every item releases, and the order hears of it; false where there was nothing to release.
    fn give_back(&mut self, id: OrderId) -> bool {
        for sku in self.model.orders[&id].releasing.clone() {
            assert!(self.model.release(id, &sku));
        }
        self.model.released(id)
    }

    /// The customer's newest order, where it is none that is known.
    async fn new_order_of(&self, api: &Api, customer: &CustomerId) -> Option<OrderId> {
        let request = v1::ListOrdersRequest {
            customer: format!("customers/{customer}"),
            page_size: 1,
            ..Default::default()
        };
        let page = api.orders().list_orders(request).await.unwrap().into_inner();
        let newest = page.orders.first().map(|order| id_of(&order.name));
        newest.filter(|id| !self.model.orders.contains_key(id))
    }

    fn customer(&self, id: &CustomerId) -> v1::Customer {
        show::customer(id.as_str(), &self.model.customers[id], self.model.held(id))
    }

    fn item(&self, sku: &Sku) -> v1::Item {
        show::item(sku.as_str(), &self.model.items[sku], self.model.reserved(sku))
    }

    fn order(&self, id: OrderId) -> v1::Order {
        show::order(&id.to_string(), &self.model.orders[&id])
    }

    /// Takes the times off, after having compared them with what was seen before.
    fn without_times(&mut self, given: &Answer) -> Answer {
        let mut answer = given.clone();
        match &mut answer {
            Answer::Customer(it) => {
                self.check_times(&it.name, &it.etag, it.create_time.take(), it.update_time.take());
            }
            Answer::Item(it) => {
                self.check_times(&it.name, &it.etag, it.create_time.take(), it.update_time.take());
            }
            Answer::Order(it) => {
                self.check_times(&it.name, &it.etag, it.create_time.take(), it.update_time.take());
            }
            Answer::Refused(_) => {}
        }
        answer
    }

    /// The time of creation stays; that of the last change rises with the etag, and only with it.
    fn check_times(&mut self, name: &str, etag: &str, create: Option<Timestamp>, update: Option<Timestamp>) {
        let (create, update) = (create.unwrap(), update.unwrap());
        let order = |time: Timestamp| (time.seconds, time.nanos);
        assert!(order(update) >= order(create), "{name}");
        if let Some((created, updated, before)) = self.times.get(name) {
            assert_eq!(create, *created, "{name} was created twice");
            if before == etag {
                assert_eq!(update, *updated, "{name} at {etag}");
            } else {
                assert!(order(update) >= order(*updated), "{name} at {etag}");
            }
        }
        self.times
            .insert(name.to_owned(), (create, update, etag.to_owned()));
    }

    /// Reads what a command was about, and compares.
    async fn compare_touched(&mut self, api: &Api, ask: &Ask) {
        let (mut customers, mut items, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        match (ask.entity(), ask) {
            (Entity::Customer(id), Ask::PlaceOrder { lines, .. }) => {
                customers.push(id);
                items.extend(first_lines(lines).into_keys());
                orders.extend(self.placed.last().copied());
            }
            (Entity::Customer(id), _) => customers.push(id),
            (Entity::Item(sku), _) => items.push(sku),
            (Entity::Order(id), _) => {
                orders.push(id);
                if let Some(order) = self.model.orders.get(&id) {
                    customers.push(order.customer.clone());
                    items.extend(first_lines(&order.lines).into_keys());
                }
            }
        }
        for id in customers {
            let name = format!("customers/{id}");
            let found = api
                .customers()
                .get_customer(v1::GetCustomerRequest { name })
                .await;
            let found = found.map(|reply| Answer::Customer(reply.into_inner()));
            let expected = match self.model.customers.contains_key(&id) {
                true => Ok(Answer::Customer(self.customer(&id))),
                false => Err(Rejection::CustomerNotFound { customer: id }),
            };
            self.compare("GetCustomer", found, expected);
        }
        for sku in items {
            let name = format!("items/{sku}");
            let found = api.items().get_item(v1::GetItemRequest { name }).await;
            let found = found.map(|reply| Answer::Item(reply.into_inner()));
            let expected = match self.model.items.contains_key(&sku) {
                true => Ok(Answer::Item(self.item(&sku))),
                false => Err(Rejection::ItemNotFound { line: None, sku }),
            };
            self.compare("GetItem", found, expected);
        }
        for id in orders {
            let name = format!("orders/{id}");
            let found = api.orders().get_order(v1::GetOrderRequest { name }).await;
            let found = found.map(|reply| Answer::Order(reply.into_inner()));
            let expected = match self.model.orders.contains_key(&id) {
                true => Ok(Answer::Order(self.order(id))),
                false => Err(Rejection::OrderNotFound { order: id }),
            };
            self.compare("GetOrder", found, expected);
        }
    }

    fn compare(
        &mut self,
        method: &str,
        found: Result<Answer, tonic::Status>,
        expected: Result<Answer, Rejection>,
    ) {
        let found = found.unwrap_or_else(|status| Answer::Refused(refused(&status)));
        let found = self.without_times(&found);
        match expected {
            Ok(expected) => assert_eq!(found, expected, "{method}"),
            Err(rejection) => {
                assert_eq!(found, Answer::Refused(rejected(method, &rejection)), "{method}");
                self.reached.add(format!("{} in {method}", rejection.reason()));
            }
        }
    }

    /// Lists everything, in pages of some length, and some of it by customer and state.
    pub async fn compare_everything(&mut self, api: &Api, random: &mut Seeded) {
        let mut found = Vec::new();
        let mut request = v1::ListCustomersRequest {
            page_size: 1 + random.below(PAGE_MAX) as i32,
            ..Default::default()
        };
        loop {
            let page = api.customers().list_customers(request.clone()).await;
            let page = page.unwrap().into_inner();
            assert!(page.customers.len() <= request.page_size as usize);
            found.extend(page.customers.into_iter().map(Answer::Customer));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let customers = self.model.customers.keys();
        let expected: Vec<_> = customers.map(|id| Answer::Customer(self.customer(id))).collect();
        self.compare_lists("ListCustomers", &found, &expected);

        let mut found = Vec::new();
        let mut request = v1::ListItemsRequest {
            page_size: 1 + random.below(PAGE_MAX) as i32,
            ..Default::default()
        };
        loop {
            let page = api.items().list_items(request.clone()).await;
            let page = page.unwrap().into_inner();
            assert!(page.items.len() <= request.page_size as usize);
            found.extend(page.items.into_iter().map(Answer::Item));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let items = self.model.items.keys();
        let expected: Vec<_> = items.map(|sku| Answer::Item(self.item(sku))).collect();
        self.compare_lists("ListItems", &found, &expected);

        self.compare_orders(api, random, None, &[]).await;
        let customers = self.model.customers.len() as u64;
        if customers > 0 {
            let at = random.below(customers) as usize;
            let customer = self.model.customers.keys().nth(at).unwrap().clone();
            let states = [OrderState::Confirmed, OrderState::Cancelled, OrderState::Rejected];
            let states = &states[..random.below(3) as usize];
            self.compare_orders(api, random, Some(&customer), states).await;
        }
    }

    async fn compare_orders(
        &mut self,
        api: &Api,
        random: &mut Seeded,
        customer: Option<&CustomerId>,
        states: &[OrderState],
    ) {
        let mut found = Vec::new();
        let mut request = v1::ListOrdersRequest {
            customer: customer.map(|id| format!("customers/{id}")).unwrap_or_default(),
            states: states.iter().map(|state| show::state(*state).into()).collect(),
            page_size: 1 + random.below(PAGE_MAX) as i32,
            ..Default::default()
        };
        loop {
            let page = api.orders().list_orders(request.clone()).await;
            let page = page.unwrap().into_inner();
            assert!(page.orders.len() <= request.page_size as usize);
            found.extend(page.orders.into_iter().map(Answer::Order));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let wanted = self.model.orders.iter().rev().filter(|(_, order)| {
            customer.is_none_or(|id| *id == order.customer)
                && (states.is_empty() || states.contains(&order.state))
        });
        let expected: Vec<_> = wanted.map(|(id, _)| Answer::Order(self.order(*id))).collect();
        self.compare_lists("ListOrders", &found, &expected);
    }

    fn compare_lists(&mut self, method: &str, found: &[Answer], expected: &[Answer]) {
        let found: Vec<_> = found.iter().map(|answer| self.without_times(answer)).collect();
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected, "{method}");
        }
        assert_eq!(found.len(), expected.len(), "{method}");
        self.reached.add(method);
    }
}

fn id_of(name: &str) -> OrderId {
    let id = name.strip_prefix("orders/").and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("{name} names no order"))
}

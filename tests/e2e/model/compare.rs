//! Compares what is read with what must be there, and times with what was seen of them before.

use std::collections::BTreeMap;

use docket_engine::{CustomerId, OrderState, Rejection};
use docket_persistence::mem::Seeded;
use docket_proto::v1::{self, fulfilment::State as Fulfilment};
use prost_types::Timestamp;

use super::{
    commands::{Ask, Entity},
    oracle::Oracle,
    orders::id_of,
    reference::first_lines,
    refused::{refused, rejected},
    send::Answer,
    show,
};
use crate::api::Api;

/// The longest page that is asked for.
const PAGE_MAX: u64 = 60;

/// Those that an order may be in between two commands.
const STATES: [OrderState; 5] = [
    OrderState::Confirmed,
    OrderState::PartiallyFulfilled,
    OrderState::Fulfilled,
    OrderState::Cancelled,
    OrderState::Rejected,
];

/// The times that were seen.
#[derive(Default)]
pub struct Times {
    /// When each resource was created and last changed, and its etag then.
    resources: BTreeMap<String, (Timestamp, Timestamp, String)>,
    /// When each shipment was sent, and arrived, and each hold was placed.
    moments: BTreeMap<String, Timestamp>,
    /// How the provider names what it did.
    pub(super) references: BTreeMap<String, String>,
}

impl Times {
    /// The time of creation stays; that of the last change rises with the etag, and only with it.
    fn check(&mut self, name: &str, etag: &str, create: Option<Timestamp>, update: Option<Timestamp>) {
        let (create, update) = (create.unwrap(), update.unwrap());
        assert!(in_order(update) >= in_order(create), "{name}");
        if let Some((created, updated, before)) = self.resources.get(name) {
            assert_eq!(create, *created, "{name} was created twice");
            if before == etag {
                assert_eq!(update, *updated, "{name} at {etag}");
            } else {
                assert!(in_order(update) >= in_order(*updated), "{name} at {etag}");
            }
        }
        let times = (create, update, etag.to_owned());
        self.resources.insert(name.to_owned(), times);
    }

    /// It is always the same, and in the life of the order.
    pub(super) fn check_moment(&mut self, order: &v1::Order, what: String, moment: Timestamp) {
        let (create, update) = (order.create_time.unwrap(), order.update_time.unwrap());
        let life = in_order(create)..=in_order(update);
        assert!(life.contains(&in_order(moment)), "{what} at {moment}: {order:?}");
        let before = self.moments.entry(what).or_insert(moment);
        assert_eq!(*before, moment, "{order:?}");
    }
}

fn in_order(time: Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

impl Oracle {
    /// Takes the times off, after having compared them with what was seen before.
    pub(super) fn without_times(&mut self, given: &Answer) -> Answer {
        let mut answer = given.clone();
        match &mut answer {
            Answer::Customer(it) => {
                let (create, update) = (it.create_time.take(), it.update_time.take());
                self.times.check(&it.name, &it.etag, create, update);
            }
            Answer::Item(it) => {
                let (create, update) = (it.create_time.take(), it.update_time.take());
                self.times.check(&it.name, &it.etag, create, update);
            }
            Answer::Order(it) => {
                **it = self.without_moments(it);
                let (create, update) = (it.create_time.take(), it.update_time.take());
                self.times.check(&it.name, &it.etag, create, update);
            }
            Answer::Refused(_) => {}
        }
        answer
    }

    /// As [`Self::without_times`], of an order's shipments and holds.
    fn without_moments(&mut self, given: &v1::Order) -> v1::Order {
        let (mut order, name) = (given.clone(), &given.name);
        for it in &mut order.fulfilments {
            let number = it.number;
            let state = it.state();
            let is_one_of = |states: &[Fulfilment]| states.contains(&state);
            assert_eq!(
                it.ship_time.is_some(),
                is_one_of(&[Fulfilment::Shipped, Fulfilment::Delivered])
            );
            assert_eq!(it.deliver_time.is_some(), is_one_of(&[Fulfilment::Delivered]));
            assert_eq!(it.cancel_time.is_some(), is_one_of(&[Fulfilment::Cancelled]));
            assert!(it.open_time.is_some() || !is_one_of(&[Fulfilment::Open, Fulfilment::Cancelled]));
            // One after the other.
            let mut last = None;
            for (what, moment) in [
                ("planned", it.open_time.take()),
                ("sent", it.ship_time.take()),
                ("arrived", it.deliver_time.take()),
                ("given up", it.cancel_time.take()),
            ] {
                let Some(moment) = moment else { continue };
                assert!(Some(in_order(moment)) >= last, "{given:?}");
                last = Some(in_order(moment));
                self.times
                    .check_moment(given, format!("{name}, shipment {number} {what}"), moment);
            }
        }
        // A reason may come again: they are told apart by their place among all that there were.
        let holds = &self.model.orders[&id_of(name)].holds;
        let active = (0..holds.len()).filter(|n| holds[*n].1);
        for (n, it) in active.zip(&mut order.holds) {
            let placed = it.create_time.take().unwrap();
            self.times
                .check_moment(given, format!("{name}, hold {n} placed"), placed);
        }
        for it in &mut order.returns {
            let number = it.number;
            let (asked, last) = (it.create_time.take().unwrap(), it.update_time.take().unwrap());
            assert!(in_order(last) >= in_order(asked), "{given:?}");
            let state = it.state();
            for (what, moment) in [("asked for".to_owned(), asked), (format!("{state:?}"), last)] {
                self.times
                    .check_moment(given, format!("{name}, return {number} {what}"), moment);
            }
        }
        if let Some(payment) = &mut order.payment {
            self.without_answers(given, payment);
        }
        for (n, it) in order.refunds.iter_mut().enumerate() {
            let moment = it.create_time.take().unwrap();
            self.times
                .check_moment(given, format!("{name}, refund {n}"), moment);
        }
        order
    }

    /// Reads what a command was about, and compares.
    pub(super) async fn compare_touched(&mut self, api: &Api, ask: &Ask) {
        self.until_done_behind(api, ask).await;
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
            let found = found.map(|reply| Answer::Order(Box::new(reply.into_inner())));
            let expected = match self.model.orders.contains_key(&id) {
                true => Ok(Answer::Order(Box::new(self.order(id)))),
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
            let from = random.below(STATES.len() as u64) as usize;
            let to = STATES.len().min(from + random.below(3) as usize);
            self.compare_orders(api, random, Some(&customer), &STATES[from..to])
                .await;
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
            found.extend(
                page.orders
                    .into_iter()
                    .map(|order| Answer::Order(Box::new(order))),
            );
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let wanted = self.model.orders.iter().rev().filter(|(_, order)| {
            customer.is_none_or(|id| *id == order.customer)
                && (states.is_empty() || states.contains(&order.state))
        });
        let expected: Vec<_> = wanted
            .map(|(id, _)| Answer::Order(Box::new(self.order(*id))))
            .collect();
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

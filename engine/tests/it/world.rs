//! The engine with the least that it needs around it: states in maps, every event carried in as it is decided, every
//! invariant checked after each step. Beside the states it keeps books of its own: what came in, and what went.

use std::collections::BTreeMap;

use docket_engine::{
    Amount, Change, ChangeKind, Customer, CustomerCommand, CustomerEvent, CustomerId, Effect, Item,
    ItemCommand, ItemEvent, Order, OrderCommand, OrderEvent, OrderId, OrderState, PaymentKind, Quantity,
    Rejection, Sku, Time, Version, customer, item, order,
};

use crate::mint::Mint;

/// What an entity made of a command: the number of its events and its effects.
pub type Answer = Result<(usize, Vec<Effect>), Rejection>;

#[derive(Default)]
pub struct World {
    pub customers: BTreeMap<CustomerId, Customer>,
    pub items: BTreeMap<Sku, Item>,
    pub orders: BTreeMap<OrderId, Order>,
    pub reservations: BTreeMap<(Sku, OrderId), Quantity>,
    paid_in: BTreeMap<CustomerId, i128>,
    captured: BTreeMap<OrderId, i128>,
    put_in: BTreeMap<Sku, i128>,
    consumed: BTreeMap<(Sku, OrderId), i128>,
    refunded: BTreeMap<OrderId, i128>,
    pub restocked: BTreeMap<(Sku, OrderId), i128>,
    pub mint: Mint,
    /// Every order as it was after each of its events.
    past: BTreeMap<OrderId, Vec<(Change, Order)>>,
    now: i64,
}

impl World {
    pub fn ask_customer(&mut self, id: &CustomerId, command: &CustomerCommand) -> Answer {
        let decision = customer::decide(id, self.customers.get(id), command)?;
        for event in &decision.events {
            let at = self.tick();
            let before = self.customers.get(id).map_or(Version(0), |c| c.version);
            match self.customers.get_mut(id) {
                Some(customer) => {
                    let (revision, updated) = (customer.revision, customer.updated);
                    customer.evolve(event, at).unwrap();
                    let by_a_person = matches!(
                        event,
                        CustomerEvent::Updated { .. } | CustomerEvent::Credited { .. }
                    );
                    assert_eq!(customer.revision, revision + u64::from(by_a_person));
                    assert_eq!(customer.updated, if by_a_person { at } else { updated });
                }
                None => {
                    let customer = Customer::create(id.clone(), event, at).unwrap();
                    self.customers.insert(id.clone(), customer);
                }
            }
            match event {
                CustomerEvent::Credited { amount } => {
                    *self.paid_in.entry(id.clone()).or_default() += i128::from(amount.0);
                }
                CustomerEvent::Captured { order, amount } => {
                    *self.captured.entry(*order).or_default() += i128::from(amount.0);
                }
                CustomerEvent::Refunded { order, amount } => {
                    *self.refunded.entry(*order).or_default() += i128::from(amount.0);
                }
                _ => {}
            }
            let customer = &self.customers[id];
            assert_eq!(customer.version.0, before.0 + 1);
            customer.validate().unwrap();
        }
        Ok((decision.events.len(), decision.effects))
    }

    pub fn ask_item(&mut self, sku: &Sku, command: &ItemCommand) -> Answer {
        let asking = match command {
            ItemCommand::Reserve { order, .. }
            | ItemCommand::Release { order, .. }
            | ItemCommand::Raise { order, .. }
            | ItemCommand::Consume { order, .. } => Some(*order),
            _ => None,
        };
        let reservation = asking.and_then(|order| self.reservations.get(&(sku.clone(), order)).copied());
        let decision = item::decide(sku, self.items.get(sku), reservation, command)?;
        for event in &decision.events {
            let at = self.tick();
            let before = self.items.get(sku).map_or(Version(0), |i| i.version);
            match self.items.get_mut(sku) {
                Some(item) => {
                    let (revision, updated) = (item.revision, item.updated);
                    item.evolve(event, at).unwrap();
                    let by_a_person = matches!(event, ItemEvent::Updated { .. } | ItemEvent::Adjusted { .. });
                    assert_eq!(item.revision, revision + u64::from(by_a_person));
                    assert_eq!(item.updated, if by_a_person { at } else { updated });
                }
                None => {
                    let item = Item::create(sku.clone(), event, at).unwrap();
                    self.items.insert(sku.clone(), item);
                }
            }
            self.book(sku, event);
            let item = &self.items[sku];
            assert_eq!(item.version.0, before.0 + 1);
            item.validate().unwrap();
        }
        Ok((decision.events.len(), decision.effects))
    }

    fn book(&mut self, sku: &Sku, event: &ItemEvent) {
        let put_in = self.put_in.entry(sku.clone()).or_default();
        match event {
            ItemEvent::Created { on_hand, .. } => *put_in += i128::from(on_hand.0),
            ItemEvent::Adjusted { delta } => *put_in += i128::from(delta.0),
            ItemEvent::Updated { .. } => {}
            ItemEvent::Restocked { order, quantity } => {
                *self.restocked.entry((sku.clone(), *order)).or_default() += i128::from(quantity.0);
                let before = self.reservations.get(&(sku.clone(), *order)).copied();
                assert_eq!(
                    event.reserved_after(before),
                    before,
                    "what is open stays reserved"
                );
            }
            ItemEvent::Reserved { order, quantity } => {
                let before = self.reservations.insert((sku.clone(), *order), *quantity);
                assert_eq!(before, None, "{order} reserved {sku} twice");
                assert_eq!(event.reserved_after(before), Some(*quantity));
            }
            ItemEvent::Raised { order, quantity } => {
                let before = self.reservations.get(&(sku.clone(), *order)).copied();
                let after = before.unwrap_or_default().plus(*quantity);
                assert_eq!(event.reserved_after(before), after);
                self.reservations
                    .insert((sku.clone(), *order), after.unwrap_or_default());
            }
            ItemEvent::Released { order, quantity } | ItemEvent::Consumed { order, quantity } => {
                let key = (sku.clone(), *order);
                let before = self.reservations.remove(&key);
                let left = before.map_or(-1, |before| before.0 - quantity.0);
                assert!(left >= 0, "{order} takes or gives back what it had not reserved");
                if left > 0 {
                    self.reservations.insert(key.clone(), Quantity(left));
                }
                assert_eq!(event.reserved_after(before), self.reservations.get(&key).copied());
                if matches!(event, ItemEvent::Consumed { .. }) {
                    *self.consumed.entry(key).or_default() += i128::from(quantity.0);
                }
            }
        }
    }

    /// What an order's items say that it waits for.
    pub fn waiting_of(&self, id: OrderId) -> Vec<(Sku, Quantity)> {
        let items = order::skus(&self.orders[&id].lines).into_iter();
        let items = items.filter_map(|sku| self.items.get(&sku));
        items
            .map(|item| (item.sku.clone(), item.waiting_of(id)))
            .collect()
    }

    pub fn ask_order(&mut self, id: OrderId, command: &OrderCommand) -> Answer {
        let decision = order::decide(self.orders.get(&id), command)?;
        for event in &decision.events {
            let at = self.tick();
            let before = self.orders.get(&id).map_or(Version(0), |o| o.version);
            match self.orders.get_mut(&id) {
                Some(order) => order.evolve(event, at).unwrap(),
                None => {
                    self.orders.insert(id, Order::create(id, event, at).unwrap());
                }
            }
            let order = &self.orders[&id];
            assert_eq!(order.version.0, before.0 + 1);
            let recorded = matches!(event, OrderEvent::Confirmed | OrderEvent::Reserved);
            assert_eq!(order.updated, if recorded { order.created } else { at });
            let change = Change {
                kind: ChangeKind::of(event),
                version: order.version,
                at,
            };
            let then = (change, order.clone());
            self.past.entry(id).or_default().push(then);
        }
        if let Some(order) = self.orders.get(&id) {
            order.validate().unwrap();
        }
        Ok((decision.events.len(), decision.effects))
    }

    fn tick(&mut self) -> Time {
        self.now += 1;
        Time(self.now)
    }

    /// Nothing is held, reserved, taken or consumed but for an order, and everything that is belongs to one.
    pub fn check_conservation(&self) {
        for customer in self.customers.values() {
            // Nobody's account is charged for what a provider pays.
            let orders = || {
                let orders = self.orders.values();
                orders.filter(|o| o.customer == customer.id && o.provider.is_none())
            };
            let held: i128 = orders().map(|o| i128::from(o.held().0)).sum();
            assert_eq!(held, i128::from(customer.held.0), "held of {}", customer.id);
            let captured: i128 = orders().map(|o| i128::from(o.captured().0)).sum();
            let refunded: i128 = orders().map(|o| i128::from(o.refunded().0)).sum();
            let paid_in = self.paid_in.get(&customer.id).copied().unwrap_or(0);
            assert_eq!(
                i128::from(customer.balance.0),
                paid_in - captured + refunded,
                "balance of {}",
                customer.id
            );
        }
        for item in self.items.values() {
            let of_it = self.reservations.iter().filter(|((sku, _), _)| *sku == item.sku);
            let reserved: i128 = of_it.map(|(_, quantity)| i128::from(quantity.0)).sum();
            let promised = i128::from(item.reserved.0) + i128::from(item.backordered().0);
            assert_eq!(reserved, promised, "reserved of {}", item.sku);
            let consumed = self.consumed.iter().filter(|((sku, _), _)| *sku == item.sku);
            let consumed: i128 = consumed.map(|(_, quantity)| quantity).sum();
            let restocked = self.restocked.iter().filter(|((sku, _), _)| *sku == item.sku);
            let restocked: i128 = restocked.map(|(_, quantity)| quantity).sum();
            assert!(restocked <= consumed, "more of {} came back than went", item.sku);
            assert_eq!(
                i128::from(item.on_hand.0),
                self.put_in[&item.sku] - consumed + restocked,
                "on hand of {}",
                item.sku
            );
        }
        self.orders.values().for_each(|order| self.check_order(order));
        assert!(self.customers.values().all(|c| c.held >= Amount::ZERO));
    }

    /// What an order knows of its money is what its provider has done, or less: it may not have heard yet.
    fn check_provider(&self, order: &Order) {
        let id = order.id;
        let payment = order.payment();
        let known = [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
            payment.outstanding(),
        ];
        let [authorized, captured, voided, refunded, outstanding] = known.map(|it| i128::from(it.0));
        assert_eq!(authorized, captured + voided + outstanding, "the money of {id}");
        assert!(
            refunded <= captured && captured <= authorized && outstanding >= 0,
            "{id}"
        );
        let books = self.mint.books(id);
        assert!(books.refunded <= books.captured && books.captured + books.voided <= books.authorized);
        assert!(
            authorized <= books.authorized && captured <= books.captured,
            "{id}"
        );
        assert!(voided <= books.voided && refunded <= books.refunded, "{id}");
        for step in order
            .payment_steps()
            .iter()
            .filter(|it| it.kind == PaymentKind::Authorize)
        {
            let of = |kind| -> i128 {
                let steps = order.payment_steps().iter();
                let done = steps.filter(|it| it.payment == step.payment && it.kind == kind && it.is_done());
                done.map(|it| i128::from(it.amount.0)).sum()
            };
            let books = self.mint.books_of(id, step.payment);
            let [captured, refunded] = [PaymentKind::Capture, PaymentKind::Refund].map(of);
            assert!(books.refunded <= books.captured && books.captured + books.voided <= books.authorized);
            assert!(captured <= books.captured && refunded <= books.refunded, "{id}");
        }
    }

    /// Of every order as it is now it is told how it was after each of its changes, and which these were.
    pub fn check_past(&self) {
        for (id, past) in &self.past {
            let order = &self.orders[id];
            let history = order.history().unwrap();
            assert_eq!(past.len() as u64, order.version.0);
            for (change, then) in past {
                assert_eq!(history.kind(change.version), Some(change.kind), "{id}");
                let mut expected = then.clone();
                expected.releasing = Box::default();
                if let Some(life) = &mut expected.life {
                    life.consuming = Box::default();
                    life.restocking = Box::default();
                }
                assert_eq!(order.after(change), expected, "{change:?} of {id}");
                assert_eq!(order.state_after(change), then.state, "{change:?} of {id}");
            }
        }
    }

    fn check_order(&self, order: &Order) {
        let id = order.id;
        let sum = |of: &[Quantity]| of.iter().map(|it| i128::from(it.0)).collect::<Vec<_>>();
        let open = sum(&order.open_quantities());
        let fulfilled = sum(&order.fulfilled_quantities());
        let cancelled = sum(&order.cancelled_quantities());
        if !matches!(order.state, OrderState::Rejected | OrderState::Expired) {
            for (i, line) in order.lines.iter().enumerate() {
                let ordered = i128::from(line.quantity.0);
                assert_eq!(ordered, open[i] + fulfilled[i] + cancelled[i], "line {i} of {id}");
            }
        }
        let payment = order.payment();
        let [authorized, captured, voided, held] =
            [payment.authorized, payment.captured, payment.voided, order.held()].map(|it| i128::from(it.0));
        let refunded = i128::from(payment.refunded.0);
        let of_account = [&self.captured, &self.refunded].map(|it| it.get(&id).copied().unwrap_or(0));
        if order.provider.is_some() {
            self.check_provider(order);
            assert_eq!((held, of_account), (0, [0, 0]), "its customer's account: {id}");
        } else {
            assert_eq!(authorized, captured + voided + held, "the money of {id}");
            assert_eq!(payment.outstanding(), order.held(), "{id}");
            assert_eq!([captured, refunded], of_account, "{id}");
        }
        assert!(refunded <= captured, "{id} was paid back more than it paid");
        let returned = sum(&order.returned_quantities());
        assert!(
            returned.iter().zip(&fulfilled).all(|(back, sent)| back <= sent),
            "more of {id} comes back than was sent"
        );

        for line in order.lines.iter().filter(|_| order.is_settled()) {
            let of_item = |of: &[i128]| -> i128 {
                let lines = order.lines.iter().zip(of).filter(|(it, _)| it.sku == line.sku);
                lines.map(|(_, many)| many).sum()
            };
            let key = (line.sku.clone(), id);
            let reserved = self.reservations.get(&key).map_or(0, |it| i128::from(it.0));
            // An edit that waits for its provider has what it needs more of.
            match order.open_edit() {
                None => assert_eq!(reserved, of_item(&open), "{} of {id}", line.sku),
                Some(_) => assert!(reserved >= of_item(&open), "{} of {id}", line.sku),
            }
            assert_eq!(order.wants(&line.sku), reserved > 0, "{} of {id}", line.sku);
            let waiting = self.items.get(&line.sku).map(|item| item.waiting_of(id));
            let waiting = waiting.unwrap_or_default();
            assert!(i128::from(waiting.0) <= reserved, "{} of {id}", line.sku);
            let known = order.backordered_of(&line.sku);
            assert!(
                waiting <= known,
                "{id} believes more of {} to be there than there is",
                line.sku
            );
            let consumed = self.consumed.get(&key).copied().unwrap_or(0);
            assert_eq!(consumed, of_item(&fulfilled), "{} of {id}", line.sku);
        }
    }
}

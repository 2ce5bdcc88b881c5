//! The engine with the least that it needs around it: states in maps, every event carried in as it is decided, every
//! invariant checked after each step.

use std::collections::BTreeMap;

use docket_engine::{
    Amount, Customer, CustomerCommand, CustomerEvent, CustomerId, Effect, Item, ItemCommand, ItemEvent,
    Order, OrderCommand, OrderEvent, OrderId, OrderState, Quantity, Rejection, Sku, Time, Version, customer,
    item, order,
};

/// What an entity made of a command: the number of its events and its effects.
pub type Answer = Result<(usize, Vec<Effect>), Rejection>;

#[derive(Default)]
pub struct World {
    pub customers: BTreeMap<CustomerId, Customer>,
    pub items: BTreeMap<Sku, Item>,
    pub orders: BTreeMap<OrderId, Order>,
    pub reservations: BTreeMap<(Sku, OrderId), Quantity>,
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
            let customer = &self.customers[id];
            assert_eq!(customer.version.0, before.0 + 1);
            customer.validate().unwrap();
        }
        Ok((decision.events.len(), decision.effects))
    }

    pub fn ask_item(&mut self, sku: &Sku, command: &ItemCommand) -> Answer {
        let asking = match command {
            ItemCommand::Reserve { order, .. } | ItemCommand::Release { order } => Some(*order),
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
            match event {
                ItemEvent::Reserved { order, quantity } => {
                    let before = self.reservations.insert((sku.clone(), *order), *quantity);
                    assert_eq!(before, None, "{order} reserved {sku} twice");
                }
                ItemEvent::Released { order, quantity } => {
                    let before = self.reservations.remove(&(sku.clone(), *order));
                    assert_eq!(
                        before,
                        Some(*quantity),
                        "{order} released what it had not reserved"
                    );
                }
                _ => {}
            }
            let item = &self.items[sku];
            assert_eq!(item.version.0, before.0 + 1);
            item.validate().unwrap();
        }
        Ok((decision.events.len(), decision.effects))
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
            let recorded = matches!(event, OrderEvent::Confirmed);
            assert_eq!(order.updated, if recorded { order.created } else { at });
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

    /// Nothing is held or reserved but for an order, and everything that is belongs to one.
    pub fn check_conservation(&self) {
        for customer in self.customers.values() {
            let orders = self.orders.values().filter(|o| o.customer == customer.id);
            let held: i128 = orders.map(|o| i128::from(o.held().0)).sum();
            assert_eq!(held, i128::from(customer.held.0), "held of {}", customer.id);
        }
        for item in self.items.values() {
            let of_it = self.reservations.iter().filter(|((sku, _), _)| *sku == item.sku);
            let reserved: i128 = of_it.map(|(_, quantity)| i128::from(quantity.0)).sum();
            assert_eq!(reserved, i128::from(item.reserved.0), "reserved of {}", item.sku);
        }
        for order in self.orders.values().filter(|o| o.is_settled()) {
            for line in order.lines.iter() {
                let reserved = self.reservations.get(&(line.sku.clone(), order.id));
                let wanted: i64 = match order.state {
                    OrderState::Confirmed => {
                        let lines = order.lines.iter().filter(|l| l.sku == line.sku);
                        lines.map(|l| l.quantity.0).sum()
                    }
                    _ => 0,
                };
                assert_eq!(
                    reserved.map_or(0, |q| q.0),
                    wanted,
                    "{} of {}",
                    line.sku,
                    order.id
                );
                assert_eq!(order.wants(&line.sku), wanted > 0);
            }
        }
        assert!(self.customers.values().all(|c| c.held >= Amount::ZERO));
    }
}

//! What the shop does: step by step, each at a moment of its own.

use super::{super::*, Event, PAGE, Simulated, Way};
use crate::history::{ChangeKind, operation::by_item};

impl Simulated {
    pub fn list(&self, customer: &str) -> Outcome {
        let of_customer = self
            .orders
            .values()
            .rev()
            .filter(|order| order.customer == customer);
        let mut orders: Vec<OrderSeen> = of_customer.take(PAGE + 1).cloned().collect();
        let complete = orders.len() <= PAGE;
        orders.truncate(PAGE);
        Outcome::Ok(Reply::Orders { orders, complete })
    }

    pub fn adjust(&mut self, item: &str, delta: i64) -> Outcome {
        let item = self.items.get_mut(item).unwrap();
        if item.on_hand + delta < item.reserved {
            let figures = [
                ("on_hand", item.on_hand),
                ("reserved", item.reserved),
                ("wanted", -delta),
            ];
            return refused("STOCK_RESERVED", "", &figures);
        }
        item.on_hand += delta;
        item.available += delta;
        item.etag = next(&item.etag);
        Outcome::Ok(Reply::Item(item.clone()))
    }

    pub fn credit(&mut self, customer: &str, amount: i64) -> Outcome {
        let customer = self.customers.get_mut(customer).unwrap();
        let free = customer.available.min(customer.balance).max(0);
        if -amount > free {
            return refused("BALANCE_HELD", "", &[("available", free), ("wanted", -amount)]);
        }
        customer.balance += amount;
        customer.available += amount;
        customer.etag = next(&customer.etag);
        Outcome::Ok(Reply::Customer(customer.clone()))
    }

    pub fn place(&mut self, request_id: String, customer: String, lines: Vec<Line>) {
        let name = format!("orders/{:05}", self.orders.len());
        let total = Ask::total(&lines);
        let of = self.customers.get_mut(&customer).unwrap();
        let available = of.available;
        let phase = match total > available {
            true => Phase::Rejected,
            false => Phase::Pending,
        };
        if phase == Phase::Pending {
            of.held += total;
            of.available -= total;
        }
        let mut order = OrderSeen {
            name: name.clone(),
            customer,
            phase: Phase::Pending,
            lines,
            total,
            etag: "1".into(),
            created: self.now.into(),
            rejection: String::new(),
            life: Life::default(),
        };
        order.life = Life::of(&order.lines);
        self.tell(ChangeKind::Placed, &order);
        if phase == Phase::Rejected {
            order.phase = phase;
            order.etag = next(&order.etag);
            order.rejection = "INSUFFICIENT_CREDIT".into();
            self.tell(ChangeKind::Rejected, &order);
            let short = refused(
                "INSUFFICIENT_CREDIT",
                "",
                &[("needed", total), ("available", available)],
            );
            self.done(&request_id, short);
        } else {
            let items = by_item(&order.lines);
            let way = Way {
                waits_for: items.len(),
                request_id,
                ..Way::default()
            };
            self.ways.insert(name.clone(), way);
            for (item, _) in items {
                self.soon(Event::Reserve(name.clone(), item.to_owned()));
            }
        }
        self.orders.insert(name, order);
    }

    pub fn reserve(&mut self, order: String, item: &str) {
        let items = by_item(&self.orders[&order].lines);
        let (line, (_, wanted)) = items.iter().enumerate().find(|(_, (of, _))| *of == item).unwrap();
        let (line, wanted) = (line, *wanted);
        let (way, item) = (
            self.ways.get_mut(&order).unwrap(),
            self.items.get_mut(item).unwrap(),
        );
        if wanted <= item.available {
            item.reserved += wanted;
            item.available -= wanted;
            way.reserved.push(item.name.clone());
        } else if way.short.as_ref().is_none_or(|(other, ..)| line < *other) {
            way.short = Some((line, item.name.clone(), wanted, item.available));
        }
        way.waits_for -= 1;
        if way.waits_for == 0 {
            self.soon(Event::Settle(order));
        }
    }

    /// All items have answered; or all that were to give back have.
    pub fn settle(&mut self, name: &str) {
        let order = self.orders.get_mut(name).unwrap();
        let way = self.ways.get_mut(name).unwrap();
        if order.phase != Phase::Pending {
            if order.phase == Phase::Cancelled || !way.reserved.is_empty() {
                order.etag = next(&order.etag);
                let order = order.clone();
                self.tell(ChangeKind::Released, &order);
            }
            let (order, way) = (&self.orders[name], self.ways.get_mut(name).unwrap());
            let outcome = match way.short.take() {
                Some((_, item, wanted, available)) => refused(
                    "INSUFFICIENT_STOCK",
                    &item,
                    &[("wanted", wanted), ("available", available)],
                ),
                None => Outcome::Ok(Reply::Order(Box::new(order.clone()))),
            };
            let id = way.request_id.clone();
            self.done(&id, outcome);
            return;
        }
        order.etag = next(&order.etag);
        if way.short.is_some() {
            order.phase = Phase::Rejected;
            order.rejection = "INSUFFICIENT_STOCK".into();
            let order = order.clone();
            self.tell(ChangeKind::Rejected, &order);
            self.give_back(&order.customer, order.total);
            self.release_all(name);
        } else {
            order.phase = Phase::Confirmed;
            let (order, id) = (order.clone(), way.request_id.clone());
            self.tell(ChangeKind::Confirmed, &order);
            self.done(&id, Outcome::Ok(Reply::Order(Box::new(order))));
        }
    }

    fn give_back(&mut self, customer: &str, total: i64) {
        let customer = self.customers.get_mut(customer).unwrap();
        customer.held -= total;
        customer.available += total;
    }

    fn release_all(&mut self, name: &str) {
        let way = self.ways.get_mut(name).unwrap();
        way.waits_for = way.reserved.len();
        if way.waits_for == 0 {
            self.soon(Event::Settle(name.to_owned()));
        }
        for item in self.ways[name].reserved.clone() {
            self.soon(Event::Release(name.to_owned(), item));
        }
    }

    pub fn release(&mut self, order: String, item: &str) {
        let items = by_item(&self.orders[&order].lines);
        let amount = items.iter().find(|(of, _)| *of == item).unwrap().1;
        let item = self.items.get_mut(item).unwrap();
        item.reserved -= amount;
        item.available += amount;
        let way = self.ways.get_mut(&order).unwrap();
        way.waits_for -= 1;
        if way.waits_for == 0 {
            self.soon(Event::Settle(order));
        }
    }

    /// The answer, where it is known at once.
    pub fn cancel(&mut self, request_id: &str, name: String, call: usize) -> Option<Outcome> {
        let order = self.orders.get_mut(&name).unwrap();
        match order.phase {
            Phase::Pending => return Some(refused("ORDER_PENDING", "", &[])),
            Phase::Confirmed => {}
            phase => {
                let outcome = match phase {
                    Phase::Cancelled => Outcome::Ok(Reply::Order(Box::new(order.clone()))),
                    _ => refused("NOT_CANCELLABLE", "", &[]),
                };
                self.answers.insert(request_id.to_owned(), outcome.clone());
                return Some(outcome);
            }
        }
        order.phase = Phase::Cancelled;
        order.life = order.life.cancelled().unwrap();
        order.etag = next(&order.etag);
        let order = order.clone();
        self.tell(ChangeKind::Cancelled, &order);
        self.give_back(&order.customer, order.total);
        self.waiting.insert(request_id.to_owned(), vec![call]);
        self.ways.get_mut(&name).unwrap().request_id = request_id.to_owned();
        self.release_all(&name);
        None
    }
}

pub fn next(etag: &str) -> String {
    (etag.parse::<u64>().unwrap() + 1).to_string()
}

//! What the books must say, as sums.

use super::{Led, Round};
use crate::{Acknowledged, Basket, ON_HAND, Workload, history::Phase};

/// The id of the newest order of a customer that was checked.
pub(crate) type Newest = Option<[u8; Acknowledged::ID_BYTES]>;

/// What the books must say, in as much memory as there are customers and items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    customers: Vec<Account>,
    items: Vec<Stock>,
    /// Orders that were acknowledged.
    pub orders: u64,
    /// Of those, how many were cancelled.
    pub cancelled: u64,
}

/// A customer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub balance: i64,
    pub held: i64,
    /// No order up to this one is looked at again.
    pub newest: Newest,
}

/// An item's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stock {
    pub on_hand: i64,
    pub reserved: i64,
}

impl Accounts {
    /// Those of a shop that was just opened.
    pub fn opened(shop: &Workload) -> Self {
        let stock = Stock {
            on_hand: ON_HAND,
            reserved: 0,
        };
        Self {
            customers: vec![Account::default(); shop.shape().customers as usize],
            items: vec![stock; shop.shape().items as usize],
            orders: 0,
            cancelled: 0,
        }
    }

    /// Enters the orders of a round, those of them that were cancelled, and those that were led on.
    pub fn enter(&mut self, round: &Round) {
        for acknowledged in &round.ledger.acknowledged {
            self.orders += 1;
            if let Some(led) = round.led.get(&acknowledged.n) {
                self.post(led, 1);
                continue;
            }
            let basket = round.workload.basket(acknowledged.n);
            self.book(&basket, 1);
            if round.cancelled.contains(&acknowledged.n) {
                self.cancel(&basket);
            }
        }
    }

    /// Enters that an order was cancelled, which gives back what it holds.
    pub fn cancel(&mut self, basket: &Basket) {
        self.book(basket, -1);
        self.cancelled += 1;
    }

    /// Enters that an order that was entered before was led on.
    pub fn lead(&mut self, before: &Led, now: &Led) {
        self.post(before, -1);
        self.post(now, 1);
    }

    fn post(&mut self, led: &Led, sign: i64) {
        let (customer, posted) = (led.basket().customer, led.posted());
        let account = &mut self.customers[customer as usize];
        account.held += sign * posted.held;
        account.balance += sign * posted.balance;
        for (item, reserved, more) in posted.lines {
            let stock = &mut self.items[item as usize];
            stock.reserved += sign * reserved;
            stock.on_hand += sign * more;
        }
        if led.life.phase() == Phase::Cancelled {
            self.cancelled = self.cancelled.saturating_add_signed(sign);
        }
    }

    /// Enters that so many were added to an item's stock.
    pub fn adjust(&mut self, item: u64, delta: i64) {
        self.items[item as usize].on_hand += delta;
    }

    /// Enters that so much was paid in.
    pub fn credit(&mut self, customer: u64, amount: i64) {
        self.customers[customer as usize].balance += amount;
    }

    /// The orders of a round were checked: they are not looked at again.
    pub fn close(&mut self, round: &Round) {
        for acknowledged in &round.ledger.acknowledged {
            let customer = round.workload.basket(acknowledged.n).customer;
            let newest = &mut self.customers[customer as usize].newest;
            *newest = (*newest).max(Some(acknowledged.id));
        }
    }

    pub(crate) fn customer(&self, customer: u64) -> &Account {
        &self.customers[customer as usize]
    }

    pub(crate) fn item(&self, item: u64) -> &Stock {
        &self.items[item as usize]
    }

    fn book(&mut self, basket: &Basket, sign: i64) {
        self.customers[basket.customer as usize].held += sign * basket.total();
        for (item, quantity) in &basket.lines {
            self.items[*item as usize].reserved += sign * quantity;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{HashMap, HashSet},
        sync::Arc,
    };

    use super::*;
    use crate::{Ledger, Shape, history::life::Deed};

    #[test]
    fn what_is_cancelled_holds_nothing_and_what_was_checked_is_not_looked_at_again() {
        let workload = Workload::new(Shape::default()).unwrap();
        let mut accounts = Accounts::opened(&workload);
        let order = |n, name| Acknowledged::new(name, n).unwrap();
        let ledger = Ledger {
            acknowledged: vec![
                order(1, "orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q"),
                order(2, "orders/01KAVQX5C8R7ZJ3M9T2B4N6P8R"),
            ],
            ..Ledger::default()
        };
        let cancelled = HashSet::from([2]);
        let round = Round {
            workload: &workload,
            ledger: &ledger,
            cancelled: &cancelled,
            led: &HashMap::new(),
        };
        accounts.enter(&round);
        let (kept, given_back) = (workload.basket(1), workload.basket(2));
        let held = |customer| accounts.customer(customer).held;
        assert_eq!(held(kept.customer), kept.total());
        assert!(kept.customer == given_back.customer || held(given_back.customer) == 0);
        assert_eq!((accounts.orders, accounts.cancelled), (2, 1));
        accounts.close(&round);
        assert_eq!(
            accounts.customer(kept.customer).newest,
            Some(ledger.acknowledged[0].id)
        );
        accounts.adjust(3, -5);
        accounts.credit(4, 7);
        assert_eq!(
            (accounts.item(3).on_hand, accounts.customer(4).balance),
            (ON_HAND - 5, 7)
        );
    }

    #[test]
    fn what_is_led_on_is_entered_as_it_is_and_again_as_it_is_then() {
        let workload = Arc::new(Workload::new(Shape::default()).unwrap());
        let order = Acknowledged::new("orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q", 1).unwrap();
        let placed = Led::new(&workload, order, false);
        let (basket, prices) = (placed.basket(), placed.prices());
        let ((item, quantity), customer) = (basket.lines[0], basket.customer);
        let mut sent = placed.clone();
        let all_of_it = Deed::Ship(vec![(0, quantity)]);
        sent.life = sent.life.after(&all_of_it, &prices).unwrap();
        let mut accounts = Accounts::opened(&workload);
        accounts.enter(&Round {
            workload: &workload,
            ledger: &Ledger {
                acknowledged: vec![order],
                ..Ledger::default()
            },
            cancelled: &HashSet::new(),
            led: &HashMap::from([(1, sent.clone())]),
        });
        let taken = quantity * prices[0];
        let account = *accounts.customer(customer);
        assert_eq!((account.held, account.balance), (basket.total() - taken, -taken));
        let stock = *accounts.item(item);
        assert_eq!((stock.on_hand, stock.reserved), (ON_HAND - quantity, 0));
        let mut over = sent.clone();
        over.life = over.life.cancelled().unwrap();
        accounts.lead(&sent, &over);
        let account = *accounts.customer(customer);
        assert_eq!((account.held, account.balance), (0, -taken));
    }
}

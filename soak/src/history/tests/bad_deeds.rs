//! What no right server makes of an order behind its confirmation, one of every kind; and beside each what a right one may.

use super::*;
use crate::history::life::{Deed, Moved, Sent};

const OF: [(&str, i64); 1] = [(TEA, 4)];
const ORDER: &str = "orders/1";

/// An order of four, confirmed at etag 2, and what was done to it since.
struct Led {
    told: Told,
    seen: OrderSeen,
    at: Micros,
}

fn led() -> Led {
    let seen = order(ORDER, Phase::Confirmed, "2", &OF);
    Led {
        told: shop().then(
            (0, 1),
            place("r1", &OF),
            Outcome::Ok(Reply::Order(Box::new(seen.clone()))),
        ),
        seen,
        at: 2,
    }
}

fn does(id: &str, deed: &Deed, etag: &str) -> Ask {
    Ask::Do {
        request_id: id.into(),
        order: ORDER.into(),
        deed: deed.clone(),
        etag: etag.into(),
    }
}

fn shown(seen: &OrderSeen) -> Outcome {
    Outcome::Ok(Reply::Order(Box::new(seen.clone())))
}

/// An order behind something that was done to it.
fn after(seen: &OrderSeen, deed: &Deed) -> OrderSeen {
    let mut seen = seen.clone();
    seen.life = seen.life.after(deed, &[PRICE]).unwrap();
    for (line, of) in seen.lines.iter_mut().zip(&seen.life.lines) {
        line.quantity = of.ordered;
    }
    seen.total = Ask::total(&seen.lines);
    seen.phase = seen.life.phase();
    let etag: u64 = seen.etag.parse().unwrap();
    seen.etag = (etag + 1 + u64::from(deed.changes_behind())).to_string();
    seen
}

impl Led {
    /// It is done, and answered.
    fn done(mut self, deed: &Deed) -> Self {
        let next = after(&self.seen, deed);
        let ask = does(&format!("d{}", self.at), deed, &self.seen.etag);
        self.told = self.told.then((self.at, self.at + 1), ask, shown(&next));
        (self.seen, self.at) = (next, self.at + 2);
        self
    }

    fn then(mut self, ask: Ask, outcome: Outcome) -> Self {
        self.told = self.told.then((self.at, self.at + 1), ask, outcome);
        self.at += 2;
        self
    }

    /// The books at the end: tea on hand and reserved, what ann has and what is held of it.
    fn ends(self, tea: (i64, i64), ann: (i64, i64)) -> Told {
        let items = [item(TEA, tea.0, tea.1, "a"), item(CUP, 10, 0, "a")];
        self.told.books(&items, ann, &[self.seen])
    }
}

fn ship(many: i64) -> Deed {
    Deed::Ship(vec![(0, many)])
}

#[test]
fn the_whole_life_of_an_order_is_accepted() {
    led()
        .done(&Deed::Hold("STOCK".into()))
        .then(does("x", &ship(1), ""), refused("ORDER_HELD", "", &[]))
        .done(&Deed::Release("STOCK".into()))
        .done(&ship(2))
        .then(get_item(TEA), is_item(TEA, 8, 2, "a"))
        .then(get_ann(), is_ann(-20, 20, "a"))
        .done(&Deed::Deliver(1))
        .done(&Deed::Edit(vec![(0, 6)]))
        .done(&Deed::CancelLines(vec![(0, 1)]))
        .done(&Deed::Return(vec![(0, 2)]))
        .done(&Deed::Move(1, Moved::Approve))
        .done(&Deed::Move(1, Moved::Receive))
        .done(&Deed::Refund(15))
        .done(&ship(3))
        .then(does("y", &ship(1), ""), refused("NOT_SHIPPABLE", "", &[]))
        // Ten, less five that were sent, and two of them are back.
        .ends((7, 0), (-50 + 15, 0))
        .is_good();
}

#[test]
fn more_that_is_shipped_than_was_ordered_is_refused() {
    let mut led = led().done(&ship(3));
    // As if it had been open.
    let mut seen = led.seen.clone();
    seen.life.lines[0].shipped = 5;
    seen.life.shipments.push((vec![(0, 2)], Sent::Away));
    seen.phase = Phase::Shipped;
    seen.etag = "9".into();
    led = led.then(does("x", &ship(2), ""), shown(&seen));
    led.told.is_refused("orders/1 is not linearizable");
}

#[test]
fn an_acknowledged_shipment_that_is_not_there_is_refused() {
    let before = led();
    let seen = before.seen.clone();
    let mut led = before.done(&ship(1));
    led.seen = seen.clone();
    // Nobody reads it but at the end; and where there is no end, somebody does.
    let read = Led {
        told: Told(led.told.0.clone()),
        ..led
    };
    let read = read.then(get_order(ORDER), shown(&seen));
    read.told.is_refused("orders/1 is not linearizable");
    Led {
        at: 10,
        seen,
        told: led.told,
    }
    .ends((10, 4), (0, 40))
    .is_refused("orders/1 is not linearizable");
}

#[test]
fn a_shipment_that_takes_nothing_off_the_stock_is_refused() {
    let led = led().done(&ship(1));
    led.then(get_item(TEA), is_item(TEA, 10, 3, "a"))
        .told
        .is_refused("items/tea is not linearizable");
    self::led()
        .done(&ship(1))
        .ends((10, 3), (-10, 30))
        .is_refused("of items/tea there is 10 at the end");
}

#[test]
fn a_shipment_that_is_not_paid_is_refused() {
    led()
        .done(&ship(1))
        .then(get_ann(), is_ann(0, 30, "a"))
        .told
        .is_refused("customers/ann is not linearizable");
    led()
        .done(&ship(1))
        .ends((9, 3), (0, 30))
        .is_refused("of customers/ann there is 0 at the end");
}

#[test]
fn something_that_is_shipped_while_it_is_held_is_refused() {
    let led = led().done(&Deed::Hold("ADDRESS".into()));
    let mut seen = led.seen.clone();
    seen.life.lines[0].shipped = 1;
    seen.life.shipments.push((vec![(0, 1)], Sent::Away));
    (seen.phase, seen.etag) = (Phase::PartlyShipped, "5".into());
    led.then(does("x", &ship(1), ""), shown(&seen))
        .told
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn a_refund_above_what_was_captured_is_refused() {
    let led = led().done(&ship(1));
    let mut seen = led.seen.clone();
    seen.life.refunds.push(11);
    seen.etag = "5".into();
    led.then(does("x", &Deed::Refund(11), ""), shown(&seen))
        .told
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn a_refund_that_nobody_gets_is_refused() {
    led()
        .done(&ship(2))
        .done(&Deed::Refund(5))
        .ends((8, 2), (-20, 20))
        .is_refused("of customers/ann there is -20 at the end");
}

#[test]
fn an_edit_that_is_lost_is_refused() {
    let before = led();
    let seen = before.seen.clone();
    let led = before.done(&Deed::Edit(vec![(0, 6)]));
    led.then(get_order(ORDER), shown(&seen))
        .told
        .is_refused("orders/1 is not linearizable");
    // Reserved and held, and in no order.
    let mut led = self::led().done(&Deed::Edit(vec![(0, 6)]));
    led.seen = seen;
    led.ends((10, 6), (0, 60))
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn two_edits_of_one_etag_are_refused() {
    let led = led();
    let [one, two] = [5, 6].map(|many| Deed::Edit(vec![(0, many)]));
    let (first, mut second) = (after(&led.seen, &one), after(&led.seen, &two));
    second.etag = "9".into();
    let both = |second: Outcome| {
        shop()
            .then((0, 1), place("r1", &OF), shown(&led.seen))
            .by(1, (2, 10), does("a", &one, "2"), shown(&first))
            .by(2, (2, 10), does("b", &two, "2"), second)
    };
    both(refused("STALE_ETAG", "", &[])).is_good();
    both(shown(&second)).is_refused("orders/1 is not linearizable");
}

#[test]
fn an_etag_that_is_stale_and_was_never_left_is_refused() {
    led()
        .then(does("x", &ship(1), "2"), refused("STALE_ETAG", "", &[]))
        .told
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn an_edit_that_reserves_what_is_not_there_is_refused() {
    // There are ten.
    led()
        .done(&Deed::Edit(vec![(0, 11)]))
        .told
        .is_refused("items/tea is not linearizable");
}

#[test]
fn a_return_that_is_put_back_twice_is_refused() {
    let back = || {
        let led = led().done(&ship(2)).done(&Deed::Return(vec![(0, 2)]));
        led.done(&Deed::Move(1, Moved::Approve))
            .done(&Deed::Move(1, Moved::Receive))
    };
    back().ends((10, 2), (-20, 20)).is_good();
    back()
        .ends((12, 2), (-20, 20))
        .is_refused("of items/tea there is 12 at the end");
}

#[test]
fn more_that_comes_back_than_was_sent_is_refused() {
    let led = led().done(&ship(1)).done(&Deed::Return(vec![(0, 1)]));
    let mut seen = led.seen.clone();
    seen.life.returns.push(seen.life.returns[0].clone());
    seen.etag = "6".into();
    led.then(does("x", &Deed::Return(vec![(0, 1)]), ""), shown(&seen))
        .told
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn what_is_called_off_and_stays_reserved_is_refused() {
    led()
        .done(&Deed::CancelLines(vec![(0, 3)]))
        .ends((10, 4), (0, 10))
        .is_refused("of items/tea 4 is taken at the end, and its confirmed orders take 1");
}

#[test]
fn a_request_that_nobody_was_answered_may_be_done_or_not_and_not_in_half() {
    let lost = |seen: &OrderSeen, tea, ann| {
        let led = led().then(does("x", &ship(2), ""), unknown());
        Led {
            seen: seen.clone(),
            ..led
        }
        .ends(tea, ann)
    };
    let (none, all) = (led().seen, led().done(&ship(2)).seen);
    lost(&none, (10, 4), (0, 40)).is_good();
    lost(&all, (8, 2), (-20, 20)).is_good();
    let half = led().done(&ship(1)).seen;
    lost(&half, (9, 3), (-10, 30)).is_refused("orders/1 is not linearizable");
}

#[test]
fn a_refusal_for_a_reason_that_there_is_not_is_refused() {
    for (deed, reason) in [
        (ship(1), "ORDER_HELD"),
        (ship(1), "QUANTITY_NOT_OPEN"),
        (Deed::Hold("STOCK".into()), "HOLD_EXISTS"),
        (Deed::Edit(vec![(0, 3)]), "INSUFFICIENT_STOCK"),
        (Deed::Edit(vec![(0, 3)]), "NOT_EDITABLE"),
        (Deed::Deliver(1), "NOT_DELIVERABLE"),
    ] {
        led()
            .then(does("x", &deed, "2"), refused(reason, "", &[]))
            .told
            .is_refused("orders/1 is not linearizable");
    }
}

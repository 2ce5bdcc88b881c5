//! Engine and model must be in the same state.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{
    Effect, FulfilmentState, Order, OrderId, OrderState, PaymentKind, PaymentState, Quantity,
    ReservationState, ReturnStep, Sku, item::ReserveLine, order,
};

use super::Run;
use crate::model::{self, Plan};

impl Run {
    /// Engine and model are in the same state, and nothing got lost in either.
    pub(super) fn check(&self) {
        self.world.check_conservation();
        assert!(self.world.customers.keys().eq(self.model.customers.keys()));
        for (id, is) in &self.world.customers {
            let should = &self.model.customers[id];
            assert_eq!((&*is.display_name, is.currency), (&*should.name, should.currency));
            let numbers = [is.credit_limit, is.balance, is.held].map(|a| i128::from(a.0));
            assert_eq!(
                numbers,
                [should.limit, should.balance, self.model.held(id)],
                "{id}"
            );
            assert_eq!(
                (is.version.0, is.revision),
                (should.version, should.revision),
                "{id}"
            );
        }
        self.check_told_by_orders();
        assert!(self.world.items.keys().eq(self.model.items.keys()));
        for (sku, is) in &self.world.items {
            let should = &self.model.items[sku];
            assert_eq!((&*is.display_name, is.currency), (&*should.name, should.currency));
            let numbers = [is.unit_price.0, is.on_hand.0, is.reserved.0].map(i128::from);
            assert_eq!(
                numbers,
                [should.price, should.on_hand, self.model.reserved(sku)],
                "{sku}"
            );
            assert_eq!(i128::from(is.backorder_limit().0), should.limit, "{sku}");
            let row = is.backorders.iter().flat_map(|it| it.row());
            let row: Vec<_> = row.map(|it| (it.order, i128::from(it.quantity.0))).collect();
            // Two places of an order stay two where the one between them is given up: who comes when is the same.
            assert_eq!(in_one(&row), in_one(&should.row), "{sku}");
            assert_eq!(
                (is.version.0, is.revision),
                (should.version, should.revision),
                "{sku}"
            );
        }
        let reservations = self.world.reservations.iter();
        let reservations = reservations.map(|((sku, id), many)| ((*id, sku.clone()), i128::from(many.0)));
        assert_eq!(reservations.collect::<BTreeMap<_, _>>(), self.model.reservations);
        assert!(self.world.orders.keys().eq(self.model.orders.keys()));
        for (id, is) in &self.world.orders {
            self.check_order(*id, is);
        }
    }

    /// What orders tell of their history, and of others' books, is so.
    fn check_told_by_orders(&self) {
        let mut events: BTreeMap<_, u64> = BTreeMap::new();
        for (id, order) in &self.world.orders {
            let history = order.history().unwrap();
            assert_eq!(history.kind(order.version.next()), None, "{id}");
            *events.entry(&order.customer).or_default() += order.customer_events();
            for sku in order::skus(&order.lines) {
                let reserved = self.world.reservations.get(&(sku.clone(), *id)).copied();
                let wanted = order.wanted_of(&sku);
                assert!(
                    wanted.allows(reserved.unwrap_or_default()),
                    "{id}: {reserved:?}, {wanted:?}"
                );
            }
        }
        for (id, customer) in &self.world.customers {
            let of_orders = events.get(id).copied().unwrap_or_default();
            assert_eq!(customer.version.0 - customer.revision, of_orders, "{id}");
        }
    }

    fn check_order(&self, id: OrderId, is: &Order) {
        let should = &self.model.orders[&id];
        assert_eq!((&is.customer, is.currency), (&should.customer, should.currency));
        assert_eq!((*is.lines).to_vec(), should.lines);
        assert_eq!(i128::from(is.total.0), model::cost(&should.lines));
        assert_eq!((is.state, is.version.0), (should.state, should.version), "{id}");
        assert_eq!(is.rejection.as_deref(), should.rejection.as_ref(), "{id}");
        let releasing: BTreeSet<Sku> = is.releasing.iter().cloned().collect();
        assert_eq!(releasing.len(), is.releasing.len(), "{id} releases an item twice");
        assert_eq!(releasing, should.releasing, "{id}");

        let consuming: BTreeSet<Sku> = is.consuming().iter().cloned().collect();
        assert_eq!(consuming.len(), is.consuming().len(), "{id} takes an item twice");
        assert_eq!(consuming, should.consuming, "{id}");
        let restocking: BTreeSet<(u32, Sku)> = is.restocking().iter().cloned().collect();
        assert_eq!(
            restocking.len(),
            is.restocking().len(),
            "{id} puts an item back twice"
        );
        assert_eq!(restocking, should.restocking, "{id}");
        self.check_life(is, should);
        check_returns(is, should);
        self.check_stock_put_back(id, should);
        self.check_payment(is, should);
        check_effects(is, should);
    }

    fn check_life(&self, is: &Order, should: &model::Order) {
        let id = is.id;
        assert_eq!(wide(&is.open_quantities()), should.open, "{id}");
        let gone: Vec<(i128, i128)> = wide(&is.fulfilled_quantities())
            .into_iter()
            .zip(wide(&is.cancelled_quantities()))
            .collect();
        // Of what was refused nobody called anything off.
        assert_eq!(gone, should.gone, "{id}");
        let holds: Vec<_> = is
            .holds()
            .iter()
            .map(|hold| (hold.reason, hold.is_active()))
            .collect();
        assert_eq!(holds, should.holds, "{id}");
        assert_eq!(is.cancellations().len(), should.cancellations, "{id}");
        assert_eq!(is.fulfilments().len(), should.shipments.len(), "{id}");
        assert_eq!(wide(&is.planned_quantities()), should.planned(), "{id}");
        assert_eq!(wide(&is.free_quantities()), should.free(), "{id}");
        for (place, (is, (lines, has_arrived))) in is.fulfilments().iter().zip(&should.shipments).enumerate()
        {
            let sent: Vec<_> = is
                .lines
                .iter()
                .map(|it| (it.line, i128::from(it.quantity.0)))
                .collect();
            assert_eq!(sent, *lines, "{id}");
            assert_eq!(is.delivered.is_some(), *has_arrived, "{id}");
            let plan = should.plans.get(&place);
            assert_eq!(is.opened.is_some(), plan.is_some(), "{id}");
            let state = match (plan, has_arrived) {
                (Some(Plan::Open), _) => FulfilmentState::Open,
                (Some(Plan::Cancelled), _) => FulfilmentState::Cancelled,
                (_, true) => FulfilmentState::Delivered,
                (_, false) => FulfilmentState::Shipped,
            };
            assert_eq!(is.state(), state, "{id}");
            let cost = match is.was_shipped() {
                true => should.cost_of(lines.iter().map(|(line, many)| (line, many))),
                false => 0,
            };
            assert_eq!(i128::from(is.captured.0), cost, "{id}");
        }
        check_reservations(is, should);
    }

    /// Where a provider pays, what it has answered is what counts.
    fn check_payment_by_provider(&self, is: &Order, should: &model::Order) {
        let (id, payment, books) = (is.id, is.payment(), should.books());
        let amounts = [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
        ];
        let amounts = amounts.map(|it| i128::from(it.0));
        let expected = [books.authorized, books.captured, books.voided, books.refunded];
        assert_eq!(amounts, expected, "{id}");
        let is_left = books.authorized > books.captured + books.voided;
        let mut asked = should.steps.iter().flatten();
        let is_void_open = asked.any(|it| it.kind == PaymentKind::Void && it.answer.is_none());
        let state = match should.state {
            _ if !should.waiting().is_empty() => PaymentState::Failed,
            OrderState::Pending | OrderState::Authorizing => PaymentState::Required,
            OrderState::Rejected => PaymentState::Failed,
            _ if books.captured == 0 && is_left => PaymentState::Authorized,
            _ if books.authorized == 0 && is_void_open => PaymentState::Required,
            _ if books.captured == 0 => PaymentState::Voided,
            _ if books.refunded == books.captured && !is_left => PaymentState::Refunded,
            _ if books.refunded > 0 => PaymentState::PartiallyRefunded,
            _ if is_left => PaymentState::PartiallyCaptured,
            _ => PaymentState::Captured,
        };
        assert_eq!(payment.state, state, "{id}");
        let refundable = books.captured - should.refunded();
        assert_eq!(i128::from(is.refundable().0), refundable, "{id}");
        let steps = should.steps.as_ref().unwrap();
        assert_eq!(is.payment_steps().len(), steps.len(), "{id}");
        for (is, should) in is.payment_steps().iter().zip(steps) {
            assert_eq!((is.kind, i128::from(is.amount.0)), (should.kind, should.amount));
            assert_eq!(is.payment, should.payment, "{id}");
            assert_eq!((is.group, is.is_open()), (should.group, should.answer.is_none()));
            assert_eq!(is.is_done(), should.answer == Some(true), "{id}");
            assert_eq!(is.retried.is_some(), should.is_tried_again, "{id}");
        }
        let waiting: Vec<u32> = is.declined_payments().collect();
        assert_eq!(waiting, should.waiting(), "{id}");
        // The first that is not answered; but what was called off, or given up, is not to be authorised any more.
        let is_off = should.state != OrderState::Authorizing;
        let mut open = (1..).zip(steps).filter(|(_, it)| it.answer.is_none());
        let next = open.find(|(number, it)| match it.kind {
            PaymentKind::Authorize => *number == 1 && !is_off || should.awaited == Some(*number),
            _ => true,
        });
        let next = next.map(|(number, it)| (number, it.kind, it.group, it.amount));
        let asked = is
            .next_payment()
            .map(|it| (it.number, it.kind, it.group, i128::from(it.amount.0)));
        assert_eq!(asked, next, "{id}");
    }

    fn check_payment(&self, is: &Order, should: &model::Order) {
        let refunds: Vec<i128> = is.refunds().iter().map(|it| it.amount.0.into()).collect();
        assert_eq!(refunds, should.refunds, "{}", is.id);
        if should.is_to_be_authorized() {
            return self.check_payment_by_provider(is, should);
        }
        assert_eq!(
            (is.payment_steps(), is.next_payment()),
            (&[][..], None),
            "{}",
            is.id
        );
        let payment = is.payment();
        let (held, captured) = (should.held(), should.captured());
        let refunded = should.refunded();
        let (authorized, voided) = match self.unpaid.contains(&is.id) {
            true => (0, 0),
            false => {
                let open = should.edit.as_ref().map_or(0, |_| should.held_for_edit());
                let ever = should.first_cost + should.more + open;
                (ever, ever - held - captured)
            }
        };
        let is_over = matches!(should.state, OrderState::Cancelled | OrderState::Rejected);
        let state = match should.state {
            _ if self.unpaid.contains(&is.id) => PaymentState::Failed,
            _ if is_over => PaymentState::Voided,
            _ if refunded > 0 && refunded == captured && held == 0 => PaymentState::Refunded,
            _ if refunded > 0 => PaymentState::PartiallyRefunded,
            // Also where that is nothing.
            OrderState::Fulfilled | OrderState::Closed => PaymentState::Captured,
            // What is left to be sent may cost nothing.
            _ if captured > 0 && held == 0 => PaymentState::Captured,
            _ if captured > 0 => PaymentState::PartiallyCaptured,
            _ => PaymentState::Authorized,
        };
        assert_eq!(payment.state, state, "{}", is.id);
        let amounts = [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
        ];
        let amounts = amounts.map(|it| i128::from(it.0));
        assert_eq!(amounts, [authorized, captured, voided, refunded], "{}", is.id);
        assert_eq!(i128::from(is.refundable().0), captured - refunded, "{}", is.id);
    }

    /// What came back with each return is on the stock once, or still to be put there, or had no room.
    fn check_stock_put_back(&self, id: OrderId, should: &model::Order) {
        let mut put_back: BTreeMap<Sku, i128> = BTreeMap::new();
        for (number, it) in (1..).zip(&should.returns) {
            for sku in should.items_of(&it.lines) {
                let key = (id, number, sku.clone());
                let is_done = self.restocked.contains(&key);
                if is_done {
                    *put_back.entry(sku.clone()).or_default() += should.of_return(number, &sku);
                }
                let is_due = should.restocking.contains(&(number, sku));
                let is_known = is_done || is_due || self.no_room.contains(&key);
                assert_eq!(is_known, it.restocks, "return {number} of {id}");
            }
        }
        for sku in model::first_lines(&should.lines).into_keys() {
            let found = self.world.restocked.get(&(sku.clone(), id)).copied();
            let is_done = !should.is_busy() && self.no_room.iter().all(|(order, ..)| *order != id);
            if is_done {
                assert_eq!(found.unwrap_or(0), should.put_back(&sku), "{sku} of {id}");
            }
            assert_eq!(found, put_back.remove(&sku), "{sku} of {id}");
        }
        assert!(put_back.is_empty(), "{id}");
    }
}

fn check_returns(is: &Order, should: &model::Order) {
    let id = is.id;
    assert_eq!(wide(&is.returned_quantities()), should.returned(), "{id}");
    assert_eq!(wide(&is.returnable_quantities()), should.returnable(), "{id}");
    assert_eq!(is.returns().len(), should.returns.len(), "{id}");
    for (number, (is, should)) in (1..).zip(is.returns().iter().zip(&should.returns)) {
        let lines: Vec<_> = is
            .lines
            .iter()
            .map(|it| (it.line, i128::from(it.quantity.0)))
            .collect();
        assert_eq!(
            lines,
            Vec::from_iter(should.lines.clone()),
            "return {number} of {id}"
        );
        assert_eq!(is.state(), should.state, "return {number} of {id}");
        let arrival = is.steps.iter().find_map(|(step, _)| match step {
            ReturnStep::Receive { restock } => Some(*restock),
            _ => None,
        });
        let expected = should.has_arrived.then_some(should.restocks);
        assert_eq!(arrival, expected, "return {number} of {id}");
        assert_eq!(is.was_received(), should.has_arrived, "return {number} of {id}");
        assert_eq!(is.was_restocked(), should.restocks, "return {number} of {id}");
        let versions: Vec<_> = is.steps.iter().map(|(_, stamp)| stamp.version).collect();
        assert!(versions.is_sorted(), "return {number} of {id}");
    }
}

/// Who waits; what stands behind one another of one order is one.
fn in_one(row: &[(OrderId, i128)]) -> Vec<(OrderId, i128)> {
    let mut all: Vec<(OrderId, i128)> = Vec::new();
    for &(order, many) in row {
        match all.last_mut().filter(|last| last.0 == order) {
            Some(last) => last.1 += many,
            None => all.push((order, many)),
        }
    }
    all
}

fn wide(quantities: &[Quantity]) -> Vec<i128> {
    quantities.iter().map(|it| it.0.into()).collect()
}

/// What a step asks of an item: to reserve for lines, how many are to stay after a release or a consumption, or how many came back with
/// which return.
#[derive(Debug, PartialEq)]
enum Asked {
    Reserve(Vec<ReserveLine>),
    Raise(i128),
    Release(i128),
    Consume(i128),
    Restock(u32, i128),
}

fn check_effects(is: &Order, should: &model::Order) {
    let id = is.id;
    let mut open = BTreeMap::new();
    for effect in order::open_effects(is) {
        let (sku, asked) = match effect {
            Effect::ReserveStock { sku, currency, lines } => {
                assert_eq!(currency, should.currency);
                (sku, Asked::Reserve(lines))
            }
            Effect::RaiseStock { sku, quantity, .. } => (sku, Asked::Raise(quantity.0.into())),
            Effect::ReleaseStock { sku, remaining } => (sku, Asked::Release(remaining.0.into())),
            Effect::ConsumeStock { sku, remaining } => (sku, Asked::Consume(remaining.0.into())),
            Effect::RestockStock {
                sku,
                number,
                quantity,
            } => (sku, Asked::Restock(number, quantity.0.into())),
            other => panic!("{other:?} is never open"),
        };
        assert_eq!(open.insert(sku, asked), None, "{id} asks an item twice");
    }
    let mut expected: BTreeMap<Sku, Asked> = BTreeMap::new();
    if should.state == OrderState::Pending {
        let mut by_item: BTreeMap<Sku, Vec<ReserveLine>> = BTreeMap::new();
        for (line, ordered) in (0..).zip(&should.lines) {
            by_item.entry(ordered.sku.clone()).or_default().push(ReserveLine {
                line,
                quantity: ordered.quantity,
                unit_price: ordered.unit_price,
            });
        }
        expected.extend(
            by_item
                .into_iter()
                .map(|(sku, lines)| (sku, Asked::Reserve(lines))),
        );
    }
    let raising = should.raising().into_iter();
    expected.extend(raising.map(|(sku, many)| (sku, Asked::Raise(many))));
    let left = |sku: &Sku| should.open_of(sku);
    expected.extend(
        should
            .releasing
            .iter()
            .map(|sku| (sku.clone(), Asked::Release(left(sku)))),
    );
    expected.extend(
        should
            .consuming
            .iter()
            .map(|sku| (sku.clone(), Asked::Consume(left(sku)))),
    );
    expected.extend(should.restocking.iter().map(|(number, sku)| {
        let many = should.of_return(*number, sku);
        (sku.clone(), Asked::Restock(*number, many))
    }));
    assert_eq!(open, expected, "{id}");
}

/// What became of each line's stock.
fn check_reservations(is: &Order, should: &model::Order) {
    let all_in = match should.state {
        OrderState::Pending | OrderState::Authorizing => Some(ReservationState::Held),
        OrderState::Rejected => Some(ReservationState::Released),
        OrderState::Expired => Some(ReservationState::Expired),
        _ => None,
    };
    let (told, waiting) = (is.reservations(), should.backordered());
    assert_eq!(wide(&is.backordered_quantities()), waiting, "{}", is.id);
    assert_eq!(is.backorder_news().len(), should.heard, "{}", is.id);
    assert_eq!(told.len(), should.lines.len(), "{}", is.id);
    for (line, told) in told.iter().enumerate() {
        let (sent, called_off) = should.gone[line];
        let expected = match all_in {
            Some(ReservationState::Held) => vec![
                (ReservationState::Held, should.open[line] - waiting[line]),
                (ReservationState::Backordered, waiting[line]),
            ],
            Some(state) => vec![(state, i128::from(should.lines[line].quantity.0))],
            None => vec![
                (ReservationState::Committed, should.open[line] - waiting[line]),
                (ReservationState::Backordered, waiting[line]),
                (ReservationState::Consumed, sent),
                (ReservationState::Released, called_off),
            ],
        };
        let expected: Vec<_> = expected.into_iter().filter(|(_, many)| *many > 0).collect();
        let told: Vec<_> = told
            .iter()
            .map(|(state, many)| (*state, i128::from(many.0)))
            .collect();
        assert_eq!(told, expected, "{}", is.id);
    }
}

//! What becomes of an order's payment by a provider, for the [`Model`]: it is authorised or not, what its provider answers is heard, and what was
//! declined is tried again.

use std::sync::Arc;

use docket_engine::{HoldReason, OrderId, OrderState, PaymentKind, Rejection, ReturnState};

use super::{
    life::HOLDS_MAX,
    model::{Model, Order, Outcome, Return, Step, cost, first_lines},
};

/// So many payments one order has at its provider.
pub const PAYMENTS_MAX: usize = 16;
/// So often steps of one order are tried again.
pub const RETRIES_MAX: usize = 64;

/// What became of an order's money, as far as its provider has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    pub authorized: i128,
    pub captured: i128,
    pub voided: i128,
    pub refunded: i128,
}

impl Order {
    /// Of all its payments.
    pub fn books(&self) -> Books {
        let mut sums = Books::default();
        for payment in 1..=self.payments() {
            let of = self.books_of(payment);
            sums.authorized += of.authorized;
            sums.captured += of.captured;
            sums.voided += of.voided;
            sums.refunded += of.refunded;
        }
        sums
    }

    /// How many payments its provider was ever asked for.
    pub fn payments(&self) -> u8 {
        let steps = self.steps.iter().flatten();
        let begun = steps.filter(|it| it.kind == PaymentKind::Authorize).count();
        u8::try_from(begun).unwrap()
    }

    /// Of one payment, as far as its provider has said so.
    pub fn books_of(&self, payment: u8) -> Books {
        let steps = self.steps.as_deref().unwrap_or_default();
        let sum = |kind| -> i128 {
            let done = steps
                .iter()
                .filter(|it| it.payment == payment && it.kind == kind && it.answer == Some(true));
            done.map(|it| it.amount).sum()
        };
        let authorized = sum(PaymentKind::Authorize);
        let voided = sum(PaymentKind::Void);
        Books {
            authorized,
            captured: sum(PaymentKind::Capture),
            // Where it is not known to have been authorised, it is not known what was given back.
            voided: if authorized > 0 { voided } else { 0 },
            refunded: sum(PaymentKind::Refund),
        }
    }

    /// Of which payments so much is to be done, and how much of each: what is taken or given back of the oldest that has enough left, what is let go of
    /// the newest. What was declined is still to be done.
    pub fn parts(&self, kind: PaymentKind, amount: i128) -> Vec<(u8, i128)> {
        let asked = |payment: u8, kinds: &[PaymentKind]| -> i128 {
            let steps = self.steps.iter().flatten();
            let first = steps.filter(|it| it.payment == payment && it.group == 1 && kinds.contains(&it.kind));
            first.map(|it| it.amount).sum()
        };
        let left = |payment: u8| match kind {
            PaymentKind::Refund => self.books_of(payment).captured - asked(payment, &[PaymentKind::Refund]),
            _ => {
                let gone = asked(payment, &[PaymentKind::Capture, PaymentKind::Void]);
                self.books_of(payment).authorized - gone
            }
        };
        let mut payments: Vec<u8> = (1..=self.payments()).collect();
        if kind == PaymentKind::Void {
            payments.reverse();
        }
        let (mut parts, mut rest) = (Vec::new(), amount);
        for payment in payments {
            let part = left(payment).clamp(0, rest);
            rest -= part;
            parts.extend((part > 0).then_some((payment, part)));
        }
        // An order that was never authorised is let go whole.
        parts.extend((rest > 0).then_some((1, rest)));
        parts
    }

    /// Whether a provider has to authorise it: what costs nothing is not paid.
    pub fn is_to_be_authorized(&self) -> bool {
        self.steps.is_some() && self.first_cost > 0
    }

    /// Steps that wait for a person, by their numbers.
    pub fn waiting(&self) -> Vec<u32> {
        let steps = (1..).zip(self.steps.iter().flatten());
        let waits =
            |it: &Step| it.answer == Some(false) && !it.is_tried_again && it.kind != PaymentKind::Authorize;
        steps
            .filter(|(_, it)| waits(it))
            .map(|(number, _)| number)
            .collect()
    }

    pub fn retries(&self) -> usize {
        let steps = self.steps.iter().flatten();
        steps.filter(|it| it.is_tried_again).count()
    }
}

impl Model {
    /// Nothing is wanted of its items any more.
    fn give_up(&mut self, id: OrderId, state: OrderState, why: Rejection) {
        let order = self.orders.get_mut(&id).unwrap();
        order.state = state;
        order.rejection = Some(why);
        order.open.fill(0);
        order.releasing = first_lines(&order.lines).into_keys().collect();
        order.version += 1;
        self.customers.get_mut(&order.customer).unwrap().version += 1;
    }

    /// Its provider has answered about a step, numbered from 1. How much happened?
    pub fn paid(&mut self, id: OrderId, number: u32, is_done: bool, reason: &str) -> usize {
        let order = self.orders.get_mut(&id).unwrap();
        let state = order.state;
        let mut numbered = (1..).zip(order.steps.iter_mut().flatten());
        let Some((_, step)) = numbered.find(|(it, _)| *it == number) else {
            return 0;
        };
        if step.answer.is_some() {
            return 0;
        }
        if step.kind == PaymentKind::Authorize && number > 1 {
            if order.awaited != Some(number) {
                return 0;
            }
            step.answer = Some(is_done);
            order.end_edit(is_done);
            order.version += 2;
            self.customers.get_mut(&order.customer).unwrap().version += 1;
            return 2;
        }
        if step.kind == PaymentKind::Authorize {
            if state != OrderState::Authorizing {
                return 0;
            }
            step.answer = Some(is_done);
            if is_done {
                order.state = OrderState::Confirmed;
                order.version += 1;
            } else {
                let reason = Arc::from(reason);
                self.give_up(id, OrderState::Rejected, Rejection::PaymentDeclined { reason });
            }
            return 1;
        }
        step.answer = Some(is_done);
        let is_capture = step.kind == PaymentKind::Capture;
        order.version += 1;
        let goes_on = matches!(state, OrderState::Confirmed | OrderState::PartiallyFulfilled);
        let is_held = order.is_held_for(HoldReason::Payment) || order.holds.len() == HOLDS_MAX;
        if is_done || !is_capture || !goes_on || is_held {
            return 1;
        }
        order.holds.push((HoldReason::Payment, true));
        order.version += 1;
        2
    }

    /// It was not authorised in time, or what an edit has it cost more.
    pub fn expire(&mut self, id: OrderId) -> bool {
        let order = self.orders.get_mut(&id).unwrap();
        if let Some(number) = order.awaited {
            let step = &order.steps.as_ref().unwrap()[number as usize - 1];
            let (payment, amount) = (step.payment, step.amount);
            order.owe_of(payment, PaymentKind::Void, amount);
            order.end_edit(false);
            order.version += 1;
            self.customers.get_mut(&order.customer).unwrap().version += 1;
            return true;
        }
        if order.state != OrderState::Authorizing {
            return false;
        }
        order.owe(PaymentKind::Void, cost(&order.lines));
        self.give_up(id, OrderState::Expired, Rejection::PaymentExpired);
        true
    }

    /// Nothing came of it for long: an order of which all was sent, and nothing is under way or waits for somebody, takes nothing more.
    pub fn close(&mut self, id: OrderId) -> bool {
        use ReturnState::{Approved, Received, Requested};
        let order = self.orders.get_mut(&id).unwrap();
        let is_back = |it: &Return| !matches!(it.state, Requested | Approved | Received);
        let mut steps = order.steps.iter().flatten();
        // What an edit waited for in vain is not asked for any more.
        let all_answered = steps.all(|step| step.answer.is_some() || step.kind == PaymentKind::Authorize);
        let is_at_rest = order.state == OrderState::Fulfilled
            && !order.is_busy()
            && order.returns.iter().all(is_back)
            && all_answered
            && order.waiting().is_empty();
        if is_at_rest {
            order.state = OrderState::Closed;
            order.version += 1;
        }
        is_at_rest
    }

    /// A person has what was declined tried again.
    pub fn retry(&mut self, id: OrderId, number: u32, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        let there = order.steps.as_ref().map_or(0, Vec::len);
        if number == 0 || number as usize > there {
            return Err(Rejection::PaymentStepNotFound { number });
        }
        if !order.waiting().contains(&number) {
            return Err(Rejection::PaymentNotDeclined { number });
        }
        if order.retries() == RETRIES_MAX {
            return Err(Rejection::TooManyPayments);
        }
        let steps = order.steps.as_mut().unwrap();
        let step = &mut steps[number as usize - 1];
        step.is_tried_again = true;
        let again = Step {
            kind: step.kind,
            payment: step.payment,
            amount: step.amount,
            group: step.group + 1,
            answer: None,
            is_tried_again: false,
        };
        steps.push(again);
        order.version += 1;
        Ok(true)
    }
}

//! What of an order comes back: returns, and refunds.

use std::sync::Arc;

use super::{
    Effect, Order, OrderEvent, OrderState, check_version,
    life::{are_within, skus_of},
};
use crate::{
    Amount, Broken, Decision, LineQuantity, PaymentKind, Quantity, RETURNS_MAX, Refund, Rejection, Return,
    ReturnState, ReturnStep, Sku, Stamp, Time, Version, access::Username, few,
};

pub(super) fn request(
    order: &Order,
    lines: &[LineQuantity],
    note: &Arc<str>,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let returnable = order.returnable_quantities();
    if returnable.iter().all(|quantity| quantity.0 <= 0) {
        return match order.state {
            OrderState::Pending | OrderState::Authorizing => Err(Rejection::OrderPending),
            state => Err(Rejection::NotReturnable { state }),
        };
    }
    let lines = super::deciding::chosen(&returnable, lines, |line, wanted, returnable| {
        Rejection::QuantityNotReturnable {
            line,
            wanted,
            returnable,
        }
    })?;
    if order.returns().len() >= RETURNS_MAX {
        return Err(Rejection::TooManyReturns);
    }
    Ok(Decision::event(OrderEvent::ReturnRequested {
        lines,
        note: note.clone(),
        by: by.clone(),
    }))
}

pub(super) fn take_step(
    order: &Order,
    number: u32,
    step: &ReturnStep,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let found = order
        .return_of(number)
        .ok_or(Rejection::ReturnNotFound { number })?;
    let state = found.state();
    if state == step.leads_to() {
        return Ok(Decision::nothing());
    }
    if !step.follows(state) {
        return Err(Rejection::ReturnNotOpen { number, state });
    }
    // What it asked others before is not done yet.
    if matches!(step, ReturnStep::Receive { restock: true }) && !order.is_quiet() {
        return Err(Rejection::OrderPending);
    }
    Ok(Decision::event(OrderEvent::ReturnMoved {
        number,
        step: step.clone(),
        by: by.clone(),
    }))
}

pub(super) fn refund(
    order: &Order,
    amount: Amount,
    note: &Arc<str>,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let refundable = order.refundable();
    if amount > refundable || amount <= Amount::ZERO {
        return Err(Rejection::RefundTooLarge {
            wanted: amount,
            refundable,
        });
    }
    if order.refunds().len() >= RETURNS_MAX {
        return Err(Rejection::TooManyReturns);
    }
    // One thing at a time: its customer's account is changed in the same record.
    if !order.is_quiet() {
        return Err(Rejection::OrderPending);
    }
    Ok(Decision {
        events: vec![OrderEvent::Refunded {
            amount,
            note: note.clone(),
            by: by.clone(),
        }],
        effects: vec![Effect::RefundCredit {
            customer: order.customer.clone(),
            amount: order.on_account(amount),
        }],
    })
}

/// Which return's stock goes back, and how much of which item.
pub(super) fn restock_effects(order: &Order) -> impl Iterator<Item = Effect> {
    order.restocking().iter().filter_map(move |(number, sku)| {
        let lines = order.return_of(*number)?.lines.iter();
        let of_item = lines.filter(|of_line| {
            let line = order.lines.get(usize::from(of_line.line));
            line.is_some_and(|line| line.sku == *sku)
        });
        Some(Effect::RestockStock {
            sku: sku.clone(),
            number: *number,
            quantity: of_item.map(|of_line| of_line.quantity).sum(),
        })
    })
}

impl Order {
    /// Every return, in the order in which they were asked for.
    pub fn returns(&self) -> &[Return] {
        self.life.as_ref().map_or(&[], |life| &life.returns)
    }

    /// A return by its number, from 1.
    pub fn return_of(&self, number: u32) -> Option<&Return> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.returns().get(at)
    }

    /// Every refund.
    pub fn refunds(&self) -> &[Refund] {
        self.life.as_ref().map_or(&[], |life| &life.refunds)
    }

    /// The items that still have to take a return, by its number, back on their stock.
    pub fn restocking(&self) -> &[(u32, Sku)] {
        self.life.as_ref().map_or(&[], |life| &life.restocking)
    }

    /// What was given back of what was captured.
    pub fn refunded(&self) -> Amount {
        let refunded = self.refunds().iter().map(|it| it.amount.0);
        Amount(refunded.fold(0, i64::saturating_add))
    }

    /// What can still be given back of what was captured.
    pub fn refundable(&self) -> Amount {
        Amount(self.really_captured().0.saturating_sub(self.refunded().0))
    }

    /// How much of each line is in a return that was neither declined nor closed without having arrived.
    pub fn returned_quantities(&self) -> Vec<Quantity> {
        let mut returned = vec![Quantity::ZERO; self.lines.len()];
        let lines = self.returns().iter().filter(|it| it.counts());
        for of_line in lines.flat_map(|it| &it.lines) {
            if let Some(sum) = returned.get_mut(usize::from(of_line.line)) {
                *sum = Quantity(sum.0.saturating_add(of_line.quantity.0));
            }
        }
        returned
    }

    /// How much of each line was shipped and is in no return.
    pub fn returnable_quantities(&self) -> Vec<Quantity> {
        let fulfilled = self.fulfilled_quantities().into_iter();
        fulfilled
            .zip(self.returned_quantities())
            .map(|(fulfilled, returned)| Quantity(fulfilled.0.saturating_sub(returned.0)))
            .collect()
    }

    /// Carries an event about what comes back into the order; `None` where it is none that fits.
    pub(super) fn evolve_return(&mut self, event: &OrderEvent, at: Time) -> Option<()> {
        let version = self.version.next();
        let stamp = |by: &Username| Stamp {
            at,
            version,
            by: Some(by.clone()),
        };
        match event {
            OrderEvent::ReturnRequested { lines, note, by } => {
                are_within(lines, &self.returnable_quantities())?;
                let life = self.life.as_mut()?;
                if life.returns.len() >= RETURNS_MAX {
                    return None;
                }
                few::add(
                    &mut life.returns,
                    Return {
                        lines: lines.clone(),
                        note: note.clone(),
                        requested: stamp(by),
                        steps: Vec::new(),
                    },
                );
            }
            OrderEvent::ReturnMoved { number, step, by } => {
                let found = self.return_of(*number)?;
                if !step.follows(found.state()) {
                    return None;
                }
                let mut restocking = Vec::new();
                if matches!(step, ReturnStep::Receive { restock: true }) {
                    if !self.is_quiet() {
                        return None;
                    }
                    let skus = skus_of(&self.lines, &found.lines).into_vec();
                    restocking.extend(skus.into_iter().map(|sku| (*number, sku)));
                }
                let index = usize::try_from(*number).ok()?.checked_sub(1)?;
                let life = self.life.as_mut()?;
                let found = life.returns.get_mut(index)?;
                few::add(&mut found.steps, (step.clone(), stamp(by)));
                if !restocking.is_empty() {
                    life.restocking = restocking.into();
                }
            }
            OrderEvent::Restocked if !self.restocking().is_empty() => {
                self.life.as_mut()?.restocking = Box::default();
            }
            OrderEvent::Refunded { amount, note, by } => {
                let fits = *amount > Amount::ZERO && *amount <= self.refundable() && self.is_quiet();
                let life = self.life.as_mut().filter(|_| fits)?;
                if life.refunds.len() >= RETURNS_MAX {
                    return None;
                }
                few::add(
                    &mut life.refunds,
                    Refund {
                        amount: *amount,
                        note: note.clone(),
                        refunded: stamp(by),
                    },
                );
                self.owe(PaymentKind::Refund, *amount, stamp(by));
            }
            _ => return None,
        }
        Some(())
    }

    /// Checks the invariants of what came back.
    pub(super) fn validate_returns(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        if self.returns().len() > RETURNS_MAX || self.refunds().len() > RETURNS_MAX {
            return broken("it has too many returns or refunds");
        }
        if self.returns().is_empty() && self.refunds().is_empty() && self.restocking().is_empty() {
            return Ok(());
        }
        let fulfilled = self.fulfilled_quantities();
        let lines_are_right = |it: &Return| are_within(&it.lines, &fulfilled).is_some();
        if !self.returns().iter().all(lines_are_right) {
            return broken("a return is of lines that were not shipped so");
        }
        let follow = |it: &Return| {
            let mut state = ReturnState::Requested;
            it.steps.iter().all(|(step, _)| {
                let follows = step.follows(state);
                state = step.leads_to();
                follows
            })
        };
        if !self.returns().iter().all(follow) {
            return broken("what became of a return does not follow from what was before");
        }
        if self.refunds().iter().any(|it| it.amount <= Amount::ZERO) {
            return broken("less than something was refunded");
        }
        if !self.restocking().is_empty() && (!self.releasing.is_empty() || !self.consuming().is_empty()) {
            return broken("it restocks while its items do something else for it");
        }
        let returned = self.returned_quantities();
        let mut both = returned.iter().zip(&fulfilled);
        if both.any(|(returned, fulfilled)| returned > fulfilled) {
            return broken("more of a line is returned than was shipped");
        }
        if self.refunded() > self.captured() {
            return broken("more was refunded than was captured");
        }
        let is_due = |(number, sku): &(u32, Sku)| {
            let found = self.return_of(*number);
            found.is_some_and(|found| {
                found.was_restocked() && skus_of(&self.lines, &found.lines).contains(sku)
            })
        };
        match self.restocking().iter().all(is_due) {
            true => Ok(()),
            false => broken("it restocks what was not returned"),
        }
    }
}

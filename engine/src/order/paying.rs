//! The payment of an order by a provider: what is asked of it, and what follows from its answers.
//!
//! ```text
//!   PENDING ── all is reserved ──▶ (1 authorize) ── done ──▶ CONFIRMED ── each shipment: capture ── each refund: refund
//!                                     │  │                       └─────── what is cancelled, or edited away: void
//!                                     │  └── declined ──▶ REJECTED
//!                                     └── not in time, or cancelled ──▶ EXPIRED, CANCELLED: void, so that a late authorisation takes nothing
//!
//!   an edit that has it cost more:
//!   EDIT_BEGUN ── all is reserved ──▶ EDIT_RESERVED (authorize, a payment of its own) ── done ──▶ PAYMENT_DONE, EDITED
//!                                     │  └── declined ──▶ PAYMENT_DECLINED, EDIT_REFUSED
//!                                     └── not in time ──▶ EDIT_REFUSED: void of that payment, so that a late authorisation takes nothing
//! ```
//!
//! An order has one payment at its provider for what it cost when it was placed, and one more for each edit that had it cost more. What is shipped is
//! captured of the oldest that has something left, what is called off or edited away voided of the newest, and what is refunded given back of the
//! oldest of which more was captured than is given back: each by as many steps as that takes payments.
//!
//! Every step is recorded as due with the event that makes it so, and again with what came of it. Whoever leads the order's shard asks the provider for the
//! first step that is open. A step that was declined waits for a person; what comes behind it goes on.

use super::{
    Effect, Order, OrderEvent, OrderState, check_version, editing,
    payments::{FIRST, PAYMENT_RETRIES_MAX, ProviderPayment, step},
    skus,
};
use crate::{
    Amount, Decision, HELD_BY_ITSELF, HOLDS_MAX, HoldReason, PAYMENTS_MAX, Payment, PaymentKind,
    PaymentOutcome, PaymentRequest, PaymentState, PaymentStep, Rejection, Stamp, Time, Version,
    access::Username, few,
};

/// The authorisation of what an order cost when it was placed is the first step, and of the first payment.
const AUTHORIZE: u32 = 1;

/// What the provider's answer makes of an order. A repeat of one that was heard, and one that no longer matters, makes nothing.
pub(super) fn answered(order: &Order, number: u32, outcome: &PaymentOutcome) -> Decision<OrderEvent> {
    let Some(step) = order.payment_step(number).filter(|step| step.is_open()) else {
        return Decision::nothing();
    };
    if step.kind == PaymentKind::Authorize && number != AUTHORIZE {
        return editing::paid(order, number, outcome);
    }
    if step.kind == PaymentKind::Authorize {
        if order.state != OrderState::Authorizing {
            return Decision::nothing();
        }
        return match outcome {
            PaymentOutcome::Done { reference } => Decision::event(OrderEvent::Authorized {
                reference: reference.clone(),
            }),
            PaymentOutcome::Declined { reason } => Decision {
                events: vec![OrderEvent::Rejected {
                    rejection: Box::new(Rejection::PaymentDeclined {
                        reason: reason.clone(),
                    }),
                    release: skus(&order.lines).into(),
                }],
                effects: vec![release_nothing(order)],
            },
        };
    }
    let mut decision = Decision::event(OrderEvent::PaymentAnswered {
        number,
        outcome: outcome.clone(),
    });
    // Nothing more is sent of an order whose money is not taken, until a person has looked.
    if let PaymentOutcome::Declined { reason } = outcome
        && step.kind == PaymentKind::Capture
        && matches!(
            order.state,
            OrderState::Confirmed | OrderState::PartiallyFulfilled
        )
        && order
            .active_holds()
            .all(|hold| hold.reason != HoldReason::Payment)
        && order.holds().len() < HOLDS_MAX
        && let Ok(by) = Username::new(HELD_BY_ITSELF)
    {
        decision.events.push(OrderEvent::Held {
            reason: HoldReason::Payment,
            note: reason.clone(),
            by,
        });
    }
    decision
}

/// Has a declined step tried again, as another step under another key.
pub(super) fn retry(
    order: &Order,
    number: u32,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let step = order
        .payment_step(number)
        .ok_or(Rejection::PaymentStepNotFound { number })?;
    if !is_retriable(step) {
        return Err(Rejection::PaymentNotDeclined { number });
    }
    if order.payment_retries() >= PAYMENT_RETRIES_MAX {
        return Err(Rejection::TooManyPayments);
    }
    Ok(Decision::event(OrderEvent::PaymentRetried {
        number,
        by: by.clone(),
    }))
}

/// Gives up what waits for this authorisation: an order, or an edit of one. Where nothing does, nothing comes of it.
pub(super) fn expire(order: &Order, number: u32) -> Decision<OrderEvent> {
    let waits = order.awaits_authorization() == Some(number);
    match order.state {
        OrderState::Authorizing if waits => Decision {
            events: vec![OrderEvent::Expired],
            effects: vec![release_nothing(order)],
        },
        _ if waits => Decision {
            events: vec![OrderEvent::EditRefused {
                rejection: Box::new(Rejection::PaymentExpired),
            }],
            effects: vec![release_nothing(order)],
        },
        _ => Decision::nothing(),
    }
}

/// Its customer's account holds nothing for it, and is told so in one record with the order's end, as with any other.
pub(super) fn release_nothing(order: &Order) -> Effect {
    Effect::ReleaseCredit {
        customer: order.customer.clone(),
        amount: Amount::ZERO,
    }
}

/// An authorisation that was declined ended its order, or its edit.
fn is_retriable(step: &PaymentStep) -> bool {
    step.is_declined() && step.retried.is_none() && step.kind != PaymentKind::Authorize
}

impl Order {
    /// Whether a provider has to authorise its payment before it is confirmed, or had to. Where it cost nothing there was nothing to authorise.
    pub fn needs_authorization(&self) -> bool {
        let was_due = || !self.payment_steps().is_empty();
        self.provider.is_some() && (self.total > Amount::ZERO || was_due())
    }

    /// What its provider is to do, and has done.
    pub fn payment_steps(&self) -> &[PaymentStep] {
        self.provider.as_ref().map_or(&[], |provider| &provider.steps)
    }

    /// A step by its number, from 1.
    pub fn payment_step(&self, number: u32) -> Option<&PaymentStep> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.payment_steps().get(at)
    }

    /// What its provider is to be asked now: the first step that is open. An authorisation that was given up is not asked for: the void behind it is.
    pub fn next_payment(&self) -> Option<PaymentRequest> {
        let awaited = self.awaits_authorization();
        let mut steps = self.payment_steps().iter().zip(1..);
        let is_wanted = |(step, number): &(&PaymentStep, u32)| {
            step.is_open() && (step.kind != PaymentKind::Authorize || awaited == Some(*number))
        };
        let (step, number) = steps.find(is_wanted)?;
        let authorizations = self.provider.iter().flat_map(|it| it.authorizations());
        let authorized = authorizations.filter(|first| first.payment == step.payment);
        let authorization = authorized.into_iter().find_map(|first| match &first.outcome {
            Some((PaymentOutcome::Done { reference }, _)) => Some(reference.clone()),
            _ => None,
        });
        Some(PaymentRequest {
            order: self.id,
            customer: self.customer.clone(),
            currency: self.currency,
            number,
            kind: step.kind,
            payment: step.payment,
            group: step.group,
            amount: step.amount,
            authorization,
        })
    }

    /// The number of the authorisation for which it, or its edit, waits.
    pub fn awaits_authorization(&self) -> Option<u32> {
        let since = match self.state {
            OrderState::Authorizing => Version::default(),
            _ => self.open_edit()?.begun.version,
        };
        let steps = self.payment_steps().iter().zip(1..);
        let authorizations = steps.filter(|(step, _)| step.kind == PaymentKind::Authorize);
        let (step, number) = authorizations.last()?;
        // One of an earlier edit that was given up is open for ever.
        (step.is_open() && step.due.version > since).then_some(number)
    }

    /// Until when the authorisation for which it, or its edit, waits has to be there, where that may take so many microseconds.
    pub fn authorized_until(&self, authorize_within_us: i64) -> Option<Time> {
        let step = self.payment_step(self.awaits_authorization()?)?;
        Some(Time(step.due.at.0.saturating_add(authorize_within_us)))
    }

    /// The numbers of the steps that were declined and wait for a person.
    pub fn declined_payments(&self) -> impl Iterator<Item = u32> {
        let steps = self.payment_steps().iter().zip(1..);
        steps.filter_map(|(step, number)| is_retriable(step).then_some(number))
    }

    /// How often a person had a step tried again.
    pub(super) fn payment_retries(&self) -> usize {
        let retried = self.payment_steps().iter().filter(|step| step.retried.is_some());
        retried.count()
    }

    /// What its customer's account has to do with an amount of it: nothing, where a provider moves its money.
    pub(super) fn on_account(&self, amount: Amount) -> Amount {
        match self.provider {
            None => amount,
            Some(_) => Amount::ZERO,
        }
    }

    /// What became of its money, where a provider moves it: what it has answered, not what it was asked.
    pub(super) fn payment_by(&self, provider: &ProviderPayment) -> Payment {
        let done = |kind| provider.sum(kind, PaymentStep::is_done);
        let authorized = done(PaymentKind::Authorize);
        let captured = done(PaymentKind::Capture);
        // What was never authorised is not given back.
        let was_authorized = |payment: u8| {
            let mut all = provider.authorizations();
            all.any(|step| step.payment == payment && step.is_done())
        };
        let voided = provider.sum(PaymentKind::Void, |step| {
            step.is_done() && was_authorized(step.payment)
        });
        let refunded = done(PaymentKind::Refund);
        let payment = Payment {
            state: PaymentState::Authorized,
            authorized,
            captured,
            voided,
            refunded,
        };
        let is_open = payment.outstanding().0 > 0;
        let mut steps = provider.steps.iter();
        let mut is_void_open = || steps.any(|step| step.kind == PaymentKind::Void && step.is_open());
        let state = match (captured.0 > 0, is_open) {
            _ if self.declined_payments().next().is_some() => PaymentState::Failed,
            _ if matches!(self.state, OrderState::Pending | OrderState::Authorizing) => {
                PaymentState::Required
            }
            _ if authorized == Amount::ZERO => match self.state {
                OrderState::Rejected => PaymentState::Failed,
                // Nobody knows whether it was authorised, until its provider has barred it.
                _ if is_void_open() => PaymentState::Required,
                _ => PaymentState::Voided,
            },
            (true, false) if refunded == captured => PaymentState::Refunded,
            (true, _) if refunded.0 > 0 => PaymentState::PartiallyRefunded,
            (true, true) => PaymentState::PartiallyCaptured,
            (true, false) => PaymentState::Captured,
            (false, true) => PaymentState::Authorized,
            (false, false) => PaymentState::Voided,
        };
        Payment { state, ..payment }
    }

    /// What was captured of its money, and can be given back: of a provider only what it has said that it took.
    pub(super) fn really_captured(&self) -> Amount {
        match &self.provider {
            None => self.captured(),
            Some(provider) => provider.sum(PaymentKind::Capture, PaymentStep::is_done),
        }
    }

    /// What says that all of its stock is reserved.
    pub(super) fn all_reserved(&self) -> OrderEvent {
        match self.needs_authorization() {
            true => OrderEvent::Reserved,
            false => OrderEvent::Confirmed,
        }
    }

    /// Becomes what that makes it. It only records what is true already, so that what is due is so since the order was placed.
    pub(super) fn be_reserved(&mut self) {
        let (due, total) = (self.stamp(self.created, None), self.total);
        self.state = OrderState::Authorizing;
        if let Some(provider) = &mut self.provider {
            provider.push(PaymentKind::Authorize, FIRST, total, due);
        }
    }

    /// Its payment is not authorised any more, and its stock not wanted.
    pub(super) fn be_called_off(&mut self, expired: bool, at: Time) {
        let due = self.stamp(at, None);
        self.releasing = skus(&self.lines).into();
        if expired {
            self.state = OrderState::Expired;
            self.rejection = Some(Box::new(Rejection::PaymentExpired));
        } else {
            self.state = OrderState::Cancelled;
        }
        let total = self.total;
        if let Some(provider) = &mut self.provider {
            provider.push(PaymentKind::Void, FIRST, total, due);
        }
    }

    /// Its payment was declined; `None` where that is not why it is refused.
    pub(super) fn be_declined(&mut self, rejection: &Rejection, at: Time) -> Option<()> {
        let Rejection::PaymentDeclined { reason } = rejection else {
            return None;
        };
        let outcome = PaymentOutcome::Declined {
            reason: reason.clone(),
        };
        self.answer(AUTHORIZE, outcome, at)
    }

    /// The stamp of the event that is carried into it now.
    pub(super) fn stamp(&self, at: Time, by: Option<&Username>) -> Stamp {
        Stamp {
            at,
            version: self.version.next(),
            by: by.cloned(),
        }
    }

    /// Has its provider do something more with what it has authorised, if a provider moves its money, and it is something.
    pub(super) fn owe(&mut self, kind: PaymentKind, amount: Amount, due: Stamp) {
        if let Some(provider) = &mut self.provider
            && amount > Amount::ZERO
        {
            for (payment, share) in provider.shares(kind, amount) {
                provider.push(kind, payment, share, due.clone());
            }
        }
    }

    /// Has its provider authorise what an edit has it cost more, as a payment of its own; `None` where it has too many.
    pub(super) fn owe_more(&mut self, amount: Amount, due: Stamp) -> Option<()> {
        let provider = self.provider.as_mut()?;
        let payments = provider.payments();
        if payments == 0 || payments >= PAYMENTS_MAX || amount <= Amount::ZERO {
            return None;
        }
        let payment = u8::try_from(payments).ok()?.checked_add(1)?;
        provider.push(PaymentKind::Authorize, payment, amount, due);
        Some(())
    }

    /// Has its provider see to it that nothing is taken of the payment for which its edit has waited in vain.
    pub(super) fn void_awaited(&mut self, due: Stamp) -> Option<()> {
        let awaited = self.payment_step(self.awaits_authorization()?)?;
        let (payment, amount) = (awaited.payment, awaited.amount);
        let provider = self.provider.as_mut()?;
        provider.push(PaymentKind::Void, payment, amount, due);
        Some(())
    }

    fn answer(&mut self, number: u32, outcome: PaymentOutcome, at: Time) -> Option<()> {
        let stamp = self.stamp(at, None);
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let step = self.provider.as_mut()?.steps.get_mut(index)?;
        if !step.is_open() {
            return None;
        }
        step.outcome = Some((outcome, stamp));
        Some(())
    }

    /// Carries an event about its payment into the order; `None` where it is none that fits.
    pub(super) fn evolve_payment(&mut self, event: &OrderEvent, at: Time) -> Option<()> {
        match event {
            OrderEvent::Authorized { reference } if self.state == OrderState::Authorizing => {
                let outcome = PaymentOutcome::Done {
                    reference: reference.clone(),
                };
                self.answer(AUTHORIZE, outcome, at)?;
                self.state = OrderState::Confirmed;
            }
            OrderEvent::PaymentAnswered { number, outcome } => {
                // That of an edit is heard while that waits for it.
                let is_wanted = |step: &PaymentStep| {
                    let is_awaited = || *number != AUTHORIZE && self.awaits_authorization() == Some(*number);
                    step.kind != PaymentKind::Authorize || is_awaited()
                };
                self.payment_step(*number).filter(|step| is_wanted(step))?;
                self.answer(*number, outcome.clone(), at)?;
            }
            OrderEvent::PaymentRetried { number, by } => {
                if self.payment_retries() >= PAYMENT_RETRIES_MAX {
                    return None;
                }
                let stamp = self.stamp(at, Some(by));
                let index = usize::try_from(*number).ok()?.checked_sub(1)?;
                let provider = self.provider.as_mut()?;
                let declined = provider.steps.get_mut(index).filter(|step| is_retriable(step))?;
                declined.retried = Some(stamp.clone());
                let again = PaymentStep {
                    group: declined.group.saturating_add(1),
                    ..step(declined.kind, declined.payment, declined.amount, stamp)
                };
                few::add(&mut provider.steps, again);
            }
            _ => return None,
        }
        Some(())
    }
}

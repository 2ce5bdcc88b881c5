//! The payment of an order by a provider: what is asked of it, and what follows from its answers.
//!
//! ```text
//!   PENDING ── all is reserved ──▶ (1 authorize) ── done ──▶ CONFIRMED ── each shipment: capture ── each refund: refund
//!                                     │  │                       └─────── what is cancelled, or edited away: void
//!                                     │  └── declined ──▶ REJECTED
//!                                     └── not in time, or cancelled ──▶ EXPIRED, CANCELLED: void, so that a late authorisation takes nothing
//! ```
//!
//! Every step is recorded as due with the event that makes it so, and again with what came of it. Whoever leads the order's shard asks the provider for the
//! first step that is open. A step that was declined waits for a person; what comes behind it goes on.

use super::{Effect, Order, OrderEvent, OrderState, check_version, skus};
use crate::{
    Amount, Broken, Decision, HELD_BY_ITSELF, HOLDS_MAX, HoldReason, Payment, PaymentKind, PaymentOutcome,
    PaymentRequest, PaymentState, PaymentStep, ProviderName, Rejection, Stamp, Time, Version,
    access::Username, few,
};

/// How often steps of one order's payment may be tried again by a person: what is remembered of it must not grow without end.
pub const PAYMENT_RETRIES_MAX: usize = 64;
/// The authorisation is the first step.
const AUTHORIZE: u32 = 1;

/// Who moves an order's money, and what that came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPayment {
    /// Who.
    pub name: ProviderName,
    /// What it is to do, and has done, in the order in which it became due. Empty until all of the order's stock is reserved, and for an order
    /// that costs nothing.
    pub steps: Vec<PaymentStep>,
}

impl ProviderPayment {
    /// Nothing is due yet.
    pub(super) fn new(name: ProviderName) -> Self {
        Self {
            name,
            steps: Vec::new(),
        }
    }

    /// What there was of it at a version of its order.
    pub(crate) fn at(&self, version: Version) -> Self {
        let then = |step: &PaymentStep| PaymentStep {
            outcome: step.outcome.clone().filter(|(_, stamp)| stamp.version <= version),
            retried: step.retried.clone().filter(|stamp| stamp.version <= version),
            ..step.clone()
        };
        let steps = self.steps.iter().filter(|step| step.due.version <= version);
        Self {
            name: self.name.clone(),
            steps: steps.map(then).collect(),
        }
    }

    fn sum(&self, kind: PaymentKind, of: impl Fn(&PaymentStep) -> bool) -> Amount {
        let steps = self.steps.iter().filter(|step| step.kind == kind && of(step));
        Amount(steps.map(|step| step.amount.0).fold(0, i64::saturating_add))
    }

    /// The step that sees to it that nothing more is taken, of an order that was called off.
    pub(crate) fn last_void(&self) -> Option<&PaymentStep> {
        let is_first = |step: &&PaymentStep| step.kind == PaymentKind::Void && step.group == 1;
        self.steps.iter().rfind(is_first)
    }
}

/// What the provider's answer makes of an order. A repeat of one that was heard, and one that no longer matters, makes nothing.
pub(super) fn answered(order: &Order, number: u32, outcome: &PaymentOutcome) -> Decision<OrderEvent> {
    let Some(step) = order.payment_step(number).filter(|step| step.is_open()) else {
        return Decision::nothing();
    };
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

/// Gives up an order whose payment was not authorised; any other is left alone.
pub(super) fn expire(order: &Order) -> Decision<OrderEvent> {
    match order.state {
        OrderState::Authorizing => Decision {
            events: vec![OrderEvent::Expired],
            effects: vec![release_nothing(order)],
        },
        _ => Decision::nothing(),
    }
}

/// Its customer's account holds nothing for it, and is told so in one record with the order's end, as with any other.
fn release_nothing(order: &Order) -> Effect {
    Effect::ReleaseCredit {
        customer: order.customer.clone(),
        amount: Amount::ZERO,
    }
}

/// An authorisation that was declined ended its order.
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

    /// What its provider is to be asked now: the first step that is open. The authorisation of an order that was called off is not asked for: the void
    /// behind it is.
    pub fn next_payment(&self) -> Option<PaymentRequest> {
        let is_wanted =
            |step: &PaymentStep| step.kind != PaymentKind::Authorize || self.state == OrderState::Authorizing;
        let mut steps = self.payment_steps().iter().zip(1..);
        let (step, number) = steps.find(|(step, _)| step.is_open() && is_wanted(step))?;
        let authorization = self
            .payment_steps()
            .first()
            .and_then(|first| match &first.outcome {
                Some((PaymentOutcome::Done { reference }, _)) => Some(reference.clone()),
                _ => None,
            });
        Some(PaymentRequest {
            order: self.id,
            customer: self.customer.clone(),
            currency: self.currency,
            number,
            kind: step.kind,
            group: step.group,
            amount: step.amount,
            authorization,
        })
    }

    /// The numbers of the steps that were declined and wait for a person.
    pub fn declined_payments(&self) -> impl Iterator<Item = u32> {
        let steps = self.payment_steps().iter().zip(1..);
        steps.filter_map(|(step, number)| is_retriable(step).then_some(number))
    }

    /// How often a person had a step tried again.
    fn payment_retries(&self) -> usize {
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
        let voided = done(PaymentKind::Void).min(authorized);
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
            few::add(&mut provider.steps, step(PaymentKind::Authorize, total, 1, due));
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
        self.owe(PaymentKind::Void, self.total, due);
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

    /// Has its provider do something more, if a provider moves its money, and it is something.
    pub(super) fn owe(&mut self, kind: PaymentKind, amount: Amount, due: Stamp) {
        if let Some(provider) = &mut self.provider
            && amount > Amount::ZERO
        {
            few::add(&mut provider.steps, step(kind, amount, 1, due));
        }
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
                self.payment_step(*number)
                    .filter(|step| step.kind != PaymentKind::Authorize)?;
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
                let again = step(
                    declined.kind,
                    declined.amount,
                    declined.group.saturating_add(1),
                    stamp,
                );
                few::add(&mut provider.steps, again);
            }
            _ => return None,
        }
        Some(())
    }

    /// Checks the invariants of a payment by a provider.
    pub(super) fn validate_payment(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        let Some(provider) = &self.provider else {
            let needs_one = matches!(self.state, OrderState::Authorizing | OrderState::Expired);
            return match needs_one {
                true => broken("it waits for a provider that it does not have"),
                false => Ok(()),
            };
        };
        let steps = &provider.steps;
        let Some((first, later)) = steps.split_first() else {
            let may_have_none = match self.state {
                OrderState::Pending | OrderState::Rejected => true,
                OrderState::Authorizing | OrderState::Expired => false,
                _ => !self.needs_authorization(),
            };
            return match may_have_none {
                true => Ok(()),
                false => broken("it went on without its payment being authorised"),
            };
        };
        if !self.needs_authorization()
            || first.kind != PaymentKind::Authorize
            || first.amount != self.first_total()
        {
            return broken("its payment does not begin with the authorisation of its total");
        }
        if later.iter().any(|step| step.kind == PaymentKind::Authorize) {
            return broken("its payment is authorised twice");
        }
        let is_right = match self.state {
            OrderState::Pending => false,
            OrderState::Authorizing => first.is_open() && later.is_empty(),
            OrderState::Rejected => first.is_declined() && later.is_empty(),
            OrderState::Expired => first.is_open(),
            OrderState::Cancelled => !first.is_declined(),
            OrderState::Confirmed
            | OrderState::PartiallyFulfilled
            | OrderState::Fulfilled
            | OrderState::Closed => first.is_done(),
        };
        if !is_right {
            return broken("its state is not what follows from its authorisation");
        }
        if steps.iter().any(|step| step.amount <= Amount::ZERO) {
            return broken("a step of its payment is of nothing");
        }
        if steps
            .iter()
            .any(|step| step.retried.is_some() && !step.is_declined())
            || self.payment_retries() > PAYMENT_RETRIES_MAX
        {
            return broken("a step of its payment was tried again that was not declined, or too often");
        }
        self.validate_owed(provider)
    }

    /// Whether its provider is to do what follows from what was shipped, cancelled, edited and refunded, each once.
    fn validate_owed(&self, provider: &ProviderPayment) -> Result<(), Broken> {
        let due = |kind| provider.sum(kind, |step| step.group == 1);
        let is_off = matches!(self.state, OrderState::Cancelled | OrderState::Expired);
        let voided = self.cancellations().iter().map(|it| it.voided.0);
        let voided = voided.fold(0, i64::saturating_add);
        let void = match is_off {
            true => self.total.0.saturating_sub(self.captured().0),
            false => voided,
        };
        // An edit of an order by a provider never costs more.
        let void = void.saturating_add(self.first_total().0.saturating_sub(self.total.0));
        let expected = [
            (PaymentKind::Capture, self.captured()),
            (PaymentKind::Void, Amount(void)),
            (PaymentKind::Refund, self.refunded()),
        ];
        match expected.into_iter().all(|(kind, amount)| due(kind) == amount) {
            true => Ok(()),
            false => Err(Broken::new(
                self.id,
                "what its provider is to do is not what follows from what was shipped, cancelled, edited and refunded",
            )),
        }
    }
}

fn step(kind: PaymentKind, amount: Amount, group: u32, due: Stamp) -> PaymentStep {
    PaymentStep {
        kind,
        amount,
        group,
        due,
        outcome: None,
        retried: None,
    }
}

//! An order's payments at its provider: what it is to do of each, and whether that adds up.
//!
//! ```text
//!   payment 1: what it cost when it was placed   authorised = captured + voided + left,  refunded ≤ captured
//!   payment 2: what an edit had it cost more     the same
//!   …
//!   captures, refunds: oldest first ─▶    ◀─ newest first: voids
//! ```
//!
//! Each is a payment of its own also at the provider, so that the sums hold there for each, and a void of one that was not authorised in time
//! bars that one alone.

use super::{Order, OrderState};
use crate::{
    Amount, Broken, Edit, PAYMENTS_MAX, PaymentKind, PaymentStep, ProviderName, Rejection, Stamp, Version,
    few,
};

/// The payment of what an order cost when it was placed.
pub(super) const FIRST: u8 = 1;
/// How often steps of one order's payments may be tried again by a person: what is remembered of it must not grow without end.
pub const PAYMENT_RETRIES_MAX: usize = 64;

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

    /// Has one thing more done.
    pub(super) fn push(&mut self, kind: PaymentKind, payment: u8, amount: Amount, due: Stamp) {
        few::add(&mut self.steps, step(kind, payment, amount, due));
    }

    pub(super) fn sum(&self, kind: PaymentKind, of: impl Fn(&PaymentStep) -> bool) -> Amount {
        let steps = self.steps.iter().filter(|step| step.kind == kind && of(step));
        Amount(steps.map(|step| step.amount.0).fold(0, i64::saturating_add))
    }

    /// The authorisations, each of a payment of its own, in the order of these.
    pub(super) fn authorizations(&self) -> impl Iterator<Item = &PaymentStep> {
        let steps = self.steps.iter();
        steps.filter(|step| step.kind == PaymentKind::Authorize)
    }

    /// How many payments it has.
    pub(super) fn payments(&self) -> usize {
        self.authorizations().count()
    }

    /// What is done of one payment, by kind.
    fn done_of(&self, payment: u8, kind: PaymentKind) -> i64 {
        let sum = self.sum(kind, |step| step.payment == payment && step.is_done());
        sum.0
    }

    /// What is due of one payment, by kind, whether or not it is done: a step that is tried again counts once.
    fn due_of(&self, payment: u8, kind: PaymentKind) -> i64 {
        let sum = self.sum(kind, |step| step.payment == payment && step.group == 1);
        sum.0
    }

    /// How much more of a kind may become due of a payment.
    fn left_of(&self, payment: u8, kind: PaymentKind) -> Amount {
        let due = |kind| self.due_of(payment, kind);
        let left = match kind {
            PaymentKind::Authorize => 0,
            // What was declined is owed all the same.
            PaymentKind::Capture | PaymentKind::Void => self
                .done_of(payment, PaymentKind::Authorize)
                .saturating_sub(due(PaymentKind::Capture))
                .saturating_sub(due(PaymentKind::Void)),
            PaymentKind::Refund => self
                .done_of(payment, PaymentKind::Capture)
                .saturating_sub(due(PaymentKind::Refund)),
        };
        Amount(left.max(0))
    }

    /// Of which payments an amount becomes due, and how much of each. What none has is of the first one: [`Order::validate`] says so.
    pub(super) fn shares(&self, kind: PaymentKind, amount: Amount) -> Vec<(u8, Amount)> {
        let mut payments: Vec<u8> = self.authorizations().map(|step| step.payment).collect();
        // What is given back untaken is of the newest, so that the oldest, whose authorisations end first, are used up.
        if kind == PaymentKind::Void {
            payments.reverse();
        }
        let (mut shares, mut rest) = (Vec::with_capacity(1), amount);
        for payment in payments {
            let share = self.left_of(payment, kind).min(rest);
            if share > Amount::ZERO {
                shares.push((payment, share));
                rest = Amount(rest.0.saturating_sub(share.0));
            }
        }
        if rest > Amount::ZERO {
            shares.push((FIRST, rest));
        }
        shares
    }

    /// The step that sees to it that nothing more is taken, of an order that was called off.
    pub(crate) fn last_void(&self) -> Option<&PaymentStep> {
        let is_first = |step: &&PaymentStep| step.kind == PaymentKind::Void && step.group == 1;
        self.steps.iter().rfind(is_first)
    }
}

impl Order {
    /// How many payments it has at its provider.
    pub(super) fn payments(&self) -> usize {
        self.provider.as_ref().map_or(0, |provider| provider.payments())
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
        self.validate_payments(provider)?;
        self.validate_owed(provider)
    }

    /// Whether each payment adds up by itself, and belongs to what it was authorised for.
    fn validate_payments(&self, provider: &ProviderPayment) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        let payments = provider.payments();
        let are_numbered = || {
            let mut numbered = provider.authorizations().zip(1_usize..);
            numbered.all(|(step, number)| usize::from(step.payment) == number && step.group == 1)
        };
        if payments > PAYMENTS_MAX || !are_numbered() {
            return broken("it has too many payments, or two that are one");
        }
        let mut begun = 0;
        for step in &provider.steps {
            begun += usize::from(step.kind == PaymentKind::Authorize);
            if step.payment < FIRST || usize::from(step.payment) > begun {
                return broken("a step is of a payment that was not begun");
            }
        }
        for authorization in provider.authorizations() {
            let payment = authorization.payment;
            let of = |kind| provider.due_of(payment, kind);
            let (captured, voided) = (of(PaymentKind::Capture), of(PaymentKind::Void));
            let adds_up = match authorization.is_done() {
                true => captured.saturating_add(voided) <= authorization.amount.0,
                // Barred at most, where it was given up.
                false => captured == 0 && (voided == 0 || voided == authorization.amount.0),
            };
            if !adds_up {
                return broken("of a payment more is taken or given back than was authorised");
            }
            if of(PaymentKind::Refund) > provider.done_of(payment, PaymentKind::Capture) {
                return broken("of a payment more is refunded than was captured");
            }
        }
        self.validate_edit_payments(provider)
    }

    /// Whether each payment but the first is of one edit that had it cost more, and came to what became of that.
    fn validate_edit_payments(&self, provider: &ProviderPayment) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        let mut later = provider.authorizations().skip(1).peekable();
        for edit in self.edits() {
            let more = self.costs_more(edit);
            let ended = edit.ended.as_ref().map(|end| end.at.version);
            let is_of_it = |step: &PaymentStep| {
                step.due.version > edit.begun.version && ended.is_none_or(|ended| step.due.version < ended)
            };
            let Some(step) = later.next_if(|step| is_of_it(step)) else {
                // One that an item refused was never to be authorised.
                match more > Amount::ZERO && edit.is_done() {
                    true => return broken("it was edited without what it costs more being authorised"),
                    false => continue,
                }
            };
            let voided = provider.due_of(step.payment, PaymentKind::Void);
            let is_right = match (&edit.ended, edit.refusal()) {
                // (Whose answer is the event before its end.)
                (None, _) => voided == 0,
                (Some(_), None) => step.is_done(),
                (Some(_), Some(Rejection::PaymentDeclined { .. })) => step.is_declined() && voided == 0,
                (Some(_), Some(Rejection::PaymentExpired)) => step.is_open() && voided == step.amount.0,
                (Some(_), Some(_)) => false,
            };
            if step.amount != more || !is_right {
                return broken("what became of an edit is not what follows from its authorisation");
            }
        }
        match later.next() {
            None => Ok(()),
            Some(_) => broken("it has a payment that is of no edit"),
        }
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
        // What edits had it cost less, and what one was to have it cost more that was not authorised in time.
        let of_edit = |edit: &Edit| match edit.refusal() {
            None if edit.is_done() => self.costs_more(edit).0.saturating_neg().max(0),
            Some(Rejection::PaymentExpired) => self.costs_more(edit).0,
            _ => 0,
        };
        let void = self.edits().iter().map(of_edit).fold(void, i64::saturating_add);
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

pub(super) fn step(kind: PaymentKind, payment: u8, amount: Amount, due: Stamp) -> PaymentStep {
    PaymentStep {
        kind,
        payment,
        amount,
        group: 1,
        due,
        outcome: None,
        retried: None,
    }
}

//! What comes after an order was confirmed: it is held, shipped and delivered, and what was not shipped is called off.
//!
//! Of every line of an order that was confirmed (as it is ordered now: it may be edited), ordered = open + fulfilled + cancelled. What is open is reserved and held; what is fulfilled was consumed and captured;
//! what is cancelled was given back. The order's state follows from these ([`derived_state`]).

use super::{Line, Order, OrderEvent, OrderState, backordering, planning::standing, skus};
use crate::{
    Amount, BackorderNews, Broken, Edit, FULFILMENTS_MAX, Fulfilment, FulfilmentState, HOLDS_MAX, Hold,
    HoldEnd, LineCancellation, LineQuantity, Payment, PaymentKind, PaymentState, Quantity, Refund, Rejection,
    Return, Sku, Stamp, Time, Version, access::Username, few,
};

/// What came after an order was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderLife {
    /// Every hold that it ever had, in the order in which they were placed: at most [`HOLDS_MAX`].
    pub holds: Vec<Hold>,
    /// Every shipment and every plan of one, in the order in which they were planned or else sent: at most [`FULFILMENTS_MAX`], and one more of all
    /// that is left.
    pub fulfilments: Vec<Fulfilment>,
    /// Every cancellation of some lines, in their order: at most as many.
    pub cancellations: Vec<LineCancellation>,
    /// Every return, in the order in which they were asked for: at most [`crate::RETURNS_MAX`].
    pub returns: Vec<Return>,
    /// Every refund, in their order: at most [`crate::RETURNS_MAX`].
    pub refunds: Vec<Refund>,
    /// The items that still have to take what was shipped off their stock.
    pub consuming: Box<[Sku]>,
    /// The items that still have to take what was returned back on their stock, and the return's number.
    pub restocking: Box<[(u32, Sku)]>,
    /// Every edit, in the order in which they were asked for: at most [`crate::EDITS_MAX`].
    pub edits: Vec<Edit>,
    /// What it heard of what it waits for, also before it was confirmed, in that order: at most [`crate::BACKORDER_NEWS_MAX`].
    pub backorders: Vec<BackorderNews>,
}

impl OrderLife {
    fn is_empty(&self) -> bool {
        self.holds.is_empty()
            && self.fulfilments.is_empty()
            && self.cancellations.is_empty()
            && self.edits.is_empty()
            && self.backorders.is_empty()
    }

    /// Whether nothing of it, but for an edit, is left to be asked of items.
    pub(crate) fn is_done(&self) -> bool {
        self.consuming.is_empty() && self.restocking.is_empty()
    }

    /// What there was of it at a version of its order, without what was still to be asked of others.
    pub(crate) fn at(&self, version: Version) -> Option<Box<Self>> {
        let life = Self {
            holds: self.holds.iter().filter_map(|hold| hold.at(version)).collect(),
            fulfilments: self.fulfilments.iter().filter_map(|it| it.at(version)).collect(),
            cancellations: self
                .cancellations
                .iter()
                .filter(|it| it.cancelled.version <= version)
                .cloned()
                .collect(),
            returns: self.returns.iter().filter_map(|it| it.at(version)).collect(),
            refunds: self
                .refunds
                .iter()
                .filter(|it| it.refunded.version <= version)
                .cloned()
                .collect(),
            edits: self.edits.iter().filter_map(|edit| edit.at(version)).collect(),
            backorders: self.backorders.iter().filter_map(|it| it.at(version)).collect(),
            consuming: Box::default(),
            restocking: Box::default(),
        };
        (!life.is_empty()).then(|| Box::new(life))
    }
}

/// How much of each line is open, shipped and called off.
struct Quantities {
    open: Vec<Quantity>,
    fulfilled: Vec<Quantity>,
    cancelled: Vec<Quantity>,
}

impl Quantities {
    /// Of an order whose life went so far. Sums saturate: [`Order::validate`] says whether they are right.
    fn of(lines: &[Line], life: Option<&OrderLife>) -> Self {
        let none = vec![Quantity::ZERO; lines.len()];
        let mut fulfilled = none.clone();
        let mut cancelled = none;
        let add = |to: &mut [Quantity], lines: &[LineQuantity]| {
            for line in lines {
                if let Some(of_line) = to.get_mut(usize::from(line.line)) {
                    *of_line = Quantity(of_line.0.saturating_add(line.quantity.0));
                }
            }
        };
        if let Some(life) = life {
            let sent = life.fulfilments.iter().filter(|it| it.was_shipped());
            sent.for_each(|it| add(&mut fulfilled, &it.lines));
            life.cancellations
                .iter()
                .for_each(|it| add(&mut cancelled, &it.lines));
        }
        let open = |i: usize| {
            let gone = fulfilled[i].0.saturating_add(cancelled[i].0);
            Quantity(lines[i].quantity.0.saturating_sub(gone))
        };
        Self {
            open: (0..lines.len()).map(open).collect(),
            fulfilled,
            cancelled,
        }
    }

    /// The state that follows from them, of an order that was confirmed.
    fn state(&self) -> OrderState {
        let any = |of: &[Quantity]| of.iter().any(|quantity| quantity.0 > 0);
        match (any(&self.fulfilled), any(&self.open)) {
            (false, true) => OrderState::Confirmed,
            (true, true) => OrderState::PartiallyFulfilled,
            (true, false) => OrderState::Fulfilled,
            (false, false) => OrderState::Cancelled,
        }
    }
}

/// In which state an order is whose life, behind its confirmation, went so far, and that was not cancelled altogether.
pub(crate) fn derived_state(lines: &[Line], life: Option<&OrderLife>) -> OrderState {
    match life {
        None => OrderState::Confirmed,
        Some(life) => Quantities::of(lines, Some(life)).state(),
    }
}

/// Whether there are so many shipments, or cancellations, that one which leaves the order there is too many: one more than there may be
/// is taken where it is of all that is left.
fn is_one_too_many(count: usize, state: OrderState) -> bool {
    count > FULFILMENTS_MAX || count == FULFILMENTS_MAX && state != OrderState::Fulfilled
}

/// Whether some quantities are each of a line of its own, in their order, and no more than there is.
pub(super) fn are_within(lines: &[LineQuantity], there: &[Quantity]) -> Option<()> {
    let is_sorted = lines.windows(2).all(|two| two[0].line < two[1].line);
    let is_there = |it: &LineQuantity| {
        let there = there.get(usize::from(it.line));
        it.quantity.0 > 0 && there.is_some_and(|there| it.quantity <= *there)
    };
    (!lines.is_empty() && is_sorted && lines.iter().all(is_there)).then_some(())
}

/// What some quantities of an order's lines cost. `None` where a line is not there, or it overflows.
pub(super) fn value(lines: &[Line], of: &[LineQuantity]) -> Option<Amount> {
    of.iter().try_fold(Amount::ZERO, |sum, it| {
        let line = lines.get(usize::from(it.line))?;
        sum.plus(line.unit_price.times(it.quantity)?)
    })
}

/// The items of some lines, each once.
pub(super) fn skus_of(lines: &[Line], of: &[LineQuantity]) -> Box<[Sku]> {
    let lines: Vec<Line> = of
        .iter()
        .filter_map(|it| lines.get(usize::from(it.line)).cloned())
        .collect();
    skus(&lines).into()
}

impl Order {
    /// Every hold that it ever had, in the order in which they were placed.
    pub fn holds(&self) -> &[Hold] {
        self.life.as_ref().map_or(&[], |life| &life.holds)
    }

    /// What holds it now.
    pub fn active_holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds().iter().filter(|hold| hold.is_active())
    }

    /// Every shipment and every plan of one, in the order in which they were planned or else sent.
    pub fn fulfilments(&self) -> &[Fulfilment] {
        self.life.as_ref().map_or(&[], |life| &life.fulfilments)
    }

    /// A shipment, or the plan of one, by its number, from 1.
    pub fn fulfilment(&self, number: u32) -> Option<&Fulfilment> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.fulfilments().get(at)
    }

    /// Every cancellation of some of its lines.
    pub fn cancellations(&self) -> &[LineCancellation] {
        self.life.as_ref().map_or(&[], |life| &life.cancellations)
    }

    /// The items that still have to take what was shipped off their stock.
    pub fn consuming(&self) -> &[Sku] {
        self.life.as_ref().map_or(&[], |life| &life.consuming)
    }

    fn quantities(&self) -> Quantities {
        Quantities::of(&self.lines, self.life.as_deref())
    }

    /// How much of each line is neither shipped nor called off, planned or not. Of an order that was refused or cancelled altogether: nothing.
    pub fn open_quantities(&self) -> Vec<Quantity> {
        match self.state {
            OrderState::Cancelled | OrderState::Rejected | OrderState::Expired => {
                vec![Quantity::ZERO; self.lines.len()]
            }
            _ => self.quantities().open,
        }
    }

    /// How much of each line was shipped.
    pub fn fulfilled_quantities(&self) -> Vec<Quantity> {
        self.quantities().fulfilled
    }

    /// How much of each line was called off.
    pub fn cancelled_quantities(&self) -> Vec<Quantity> {
        let quantities = self.quantities();
        match self.state {
            // All that was left.
            OrderState::Cancelled => quantities
                .cancelled
                .iter()
                .zip(&quantities.open)
                .map(|(cancelled, open)| Quantity(cancelled.0.saturating_add(open.0)))
                .collect(),
            _ => quantities.cancelled,
        }
    }

    /// What an item must still have reserved for it.
    pub fn open_of(&self, sku: &Sku) -> Quantity {
        if self.life.is_none() && self.state == OrderState::Confirmed {
            let lines = self.lines.iter().filter(|line| line.sku == *sku);
            return lines.map(|line| line.quantity).sum();
        }
        let open = self.open_quantities();
        let of_it = self.lines.iter().zip(open).filter(|(line, _)| line.sku == *sku);
        of_it.map(|(_, open)| open).sum()
    }

    /// What was captured of its customer's money.
    pub fn captured(&self) -> Amount {
        let captured = self.fulfilments().iter().map(|it| it.captured.0);
        Amount(captured.fold(0, i64::saturating_add))
    }

    /// What its customer's account holds for it: what was held and is not captured or given back.
    pub fn held(&self) -> Amount {
        self.on_account(self.outstanding())
    }

    /// What of its money was to be held, and neither captured nor given back.
    pub(super) fn outstanding(&self) -> Amount {
        match self.state {
            OrderState::Cancelled | OrderState::Rejected | OrderState::Expired => Amount::ZERO,
            _ if self.life.is_none() => self.total,
            _ => {
                let voided = self.cancellations().iter().map(|it| it.voided.0);
                let voided = voided.fold(0, i64::saturating_add);
                let gone = voided.saturating_add(self.captured().0);
                let held = self.total.0.saturating_add(self.held_for_edit().0);
                Amount(held.saturating_sub(gone))
            }
        }
    }

    /// What became of its money.
    pub fn payment(&self) -> Payment {
        if let Some(provider) = &self.provider
            && self.needs_authorization()
        {
            return self.payment_by(provider);
        }
        let captured = self.captured();
        if self.never_held() {
            return Payment {
                state: PaymentState::Failed,
                authorized: Amount::ZERO,
                captured,
                voided: Amount::ZERO,
                refunded: Amount::ZERO,
            };
        }
        let outstanding = self.outstanding();
        let taken = captured.0.saturating_add(outstanding.0);
        let authorized = self.ever_held();
        let voided = Amount(authorized.0.saturating_sub(taken));
        let refunded = self.refunded();
        let state = match (captured.0 > 0, outstanding.0 > 0) {
            (true, false) if refunded == captured => PaymentState::Refunded,
            (true, _) if refunded.0 > 0 => PaymentState::PartiallyRefunded,
            (true, true) => PaymentState::PartiallyCaptured,
            (true, false) => PaymentState::Captured,
            (false, true) => PaymentState::Authorized,
            (false, false) => match self.state {
                OrderState::Cancelled | OrderState::Rejected | OrderState::Expired => PaymentState::Voided,
                // It costs nothing.
                OrderState::Pending
                | OrderState::Authorizing
                | OrderState::Confirmed
                | OrderState::PartiallyFulfilled => PaymentState::Authorized,
                OrderState::Fulfilled | OrderState::Closed => PaymentState::Captured,
            },
        };
        Payment {
            state,
            authorized,
            captured,
            voided,
            refunded,
        }
    }

    /// Whether its customer's account was never changed for it.
    pub(crate) fn never_held(&self) -> bool {
        matches!(
            self.rejection.as_deref(),
            Some(
                Rejection::InsufficientCredit { .. }
                    | Rejection::CurrencyMismatch { line: None, .. }
                    | Rejection::CustomerNotFound { .. }
                    | Rejection::Overflow { .. }
            )
        )
    }

    /// Carries an event that comes after the confirmation into the order; `None` where it is none that fits.
    pub(super) fn evolve_life(&mut self, event: &OrderEvent, at: Time) -> Option<()> {
        let is_open = matches!(self.state, OrderState::Confirmed | OrderState::PartiallyFulfilled);
        let version = self.version.next();
        let stamp = |by: &Username| Stamp {
            at,
            version,
            by: Some(by.clone()),
        };
        match event {
            OrderEvent::Held { reason, note, by }
                if is_open
                    && self.holds().len() < HOLDS_MAX
                    && self.active_holds().all(|hold| hold.reason != *reason) =>
            {
                few::add(
                    &mut self.life.get_or_insert_default().holds,
                    Hold {
                        reason: *reason,
                        note: note.clone(),
                        by: by.clone(),
                        since: at,
                        version,
                        ended: None,
                    },
                );
            }
            OrderEvent::HoldReleased { reason, by } if is_open => {
                let holds = self.life.iter_mut().flat_map(|life| &mut life.holds);
                let mut active = holds.filter(|hold| hold.is_active());
                let hold = active.find(|hold| hold.reason == *reason)?;
                hold.ended = Some(HoldEnd {
                    at,
                    version,
                    by: Some(by.clone()),
                });
            }
            OrderEvent::Shipped {
                lines,
                carrier,
                tracking,
                by,
            } if is_open && self.is_quiet() && self.active_holds().next().is_none() => {
                are_within(lines, &self.free_quantities())?;
                backordering::all_there(self, lines).ok()?;
                let fulfilment = Fulfilment {
                    lines: lines.clone(),
                    carrier: carrier.clone(),
                    tracking: tracking.clone(),
                    captured: value(&self.lines, lines)?,
                    opened: None,
                    shipped: Some(stamp(by)),
                    delivered: None,
                    cancelled: None,
                };
                let consuming = skus_of(&self.lines, lines);
                let mut life = self.life.clone().unwrap_or_default();
                let count = standing(&life.fulfilments);
                few::add(&mut life.fulfilments, fulfilment);
                life.consuming = consuming;
                let state = derived_state(&self.lines, Some(&life));
                if is_one_too_many(count, state) {
                    return None;
                }
                self.life = Some(life);
                self.state = state;
                self.owe(PaymentKind::Capture, value(&self.lines, lines)?, stamp(by));
            }
            OrderEvent::Delivered { fulfilment, by } => {
                let at = usize::try_from(*fulfilment).ok()?.checked_sub(1)?;
                let fulfilment = self.life.as_mut()?.fulfilments.get_mut(at)?;
                if fulfilment.state() != FulfilmentState::Shipped {
                    return None;
                }
                fulfilment.delivered = Some(stamp(by));
            }
            OrderEvent::LinesCancelled { lines, by } if is_open && self.is_quiet() => {
                are_within(lines, &self.free_quantities())?;
                let cancellation = LineCancellation {
                    lines: lines.clone(),
                    voided: value(&self.lines, lines)?,
                    cancelled: Stamp {
                        at,
                        version,
                        by: by.clone(),
                    },
                };
                let mut life = self.life.clone().unwrap_or_default();
                let count = life.cancellations.len();
                few::add(&mut life.cancellations, cancellation);
                let state = derived_state(&self.lines, Some(&life));
                if is_one_too_many(count, state) {
                    return None;
                }
                if state == OrderState::Cancelled {
                    // That has an event of its own.
                    return None;
                }
                self.life = Some(life);
                self.state = state;
                self.releasing = skus_of(&self.lines, lines);
                if state == OrderState::Fulfilled {
                    self.end_holds(at, version);
                }
                let due = self.stamp(at, by.as_ref());
                self.owe(PaymentKind::Void, value(&self.lines, lines)?, due);
            }
            OrderEvent::Consumed if !self.consuming().is_empty() => {
                self.life.as_mut()?.consuming = Box::default();
            }
            _ => return None,
        }
        Some(())
    }

    /// There is nothing left to hold up.
    pub(super) fn end_holds(&mut self, at: Time, version: Version) {
        let end = HoldEnd {
            at,
            version,
            by: None,
        };
        self.life
            .iter_mut()
            .flat_map(|life| &mut life.holds)
            .filter(|hold| hold.is_active())
            .for_each(|hold| hold.ended = Some(end.clone()));
    }

    /// Checks the invariants of what came after the confirmation.
    pub(super) fn validate_life(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        let is_live = matches!(
            self.state,
            OrderState::Confirmed
                | OrderState::PartiallyFulfilled
                | OrderState::Fulfilled
                | OrderState::Closed
        );
        // One that is closed was fulfilled, and is what it was.
        let derived = match self.state {
            OrderState::Closed => OrderState::Fulfilled,
            state => state,
        };
        if self.state == OrderState::Closed && !self.is_at_rest() {
            return broken("it is closed, and something of it is still to come");
        }
        if is_live && derived_state(&self.lines, self.life.as_deref()) != derived {
            return broken("its state is not what follows from what was shipped and cancelled");
        }
        let Some(life) = &self.life else { return Ok(()) };
        if life.is_empty() {
            return broken("it has a life in which nothing happened");
        }
        if life.holds.len() > HOLDS_MAX {
            return broken("it has had too many holds");
        }
        let may_be_held = matches!(self.state, OrderState::Confirmed | OrderState::PartiallyFulfilled);
        if !may_be_held && self.active_holds().next().is_some() {
            return broken("it is held, and there is nothing to hold up");
        }
        let is_twice = |hold: &Hold| self.active_holds().filter(|h| h.reason == hold.reason).count() > 1;
        if self.active_holds().any(is_twice) {
            return broken("it is held twice for one reason");
        }
        if standing(&life.fulfilments).max(life.cancellations.len()) > FULFILMENTS_MAX + 1 {
            return broken("it has too many shipments or cancellations");
        }
        if life.fulfilments.iter().any(Fulfilment::was_shipped) && !is_live {
            return broken("something of it was shipped that it does not have");
        }
        let Quantities {
            open,
            fulfilled,
            cancelled,
        } = self.quantities();
        for (i, line) in self.lines.iter().enumerate() {
            let sum = i128::from(open[i].0) + i128::from(fulfilled[i].0) + i128::from(cancelled[i].0);
            if open[i].0 < 0 || sum != i128::from(line.quantity.0) {
                return broken("more of a line was shipped or cancelled than was ordered");
            }
        }
        let sent = || life.fulfilments.iter().filter(|it| it.was_shipped());
        if life
            .fulfilments
            .iter()
            .any(|it| !it.was_shipped() && it.captured != Amount::ZERO)
        {
            return broken("something was captured for what was not sent");
        }
        let of_lines = sent().map(|it| (&it.lines, it.captured));
        let mut of_lines = of_lines.chain(life.cancellations.iter().map(|it| (&it.lines, it.voided)));
        if !of_lines.all(|(lines, amount)| value(&self.lines, lines) == Some(amount)) {
            return broken("what was captured or given back is not what it cost");
        }
        if self.outstanding() < Amount::ZERO {
            return broken("more was captured or given back than was held");
        }
        if !life.consuming.is_empty() && (sent().next().is_none() || !self.releasing.is_empty()) {
            return broken("it takes stock that was not shipped, or while it gives some back");
        }
        self.validate_plans()?;
        let is_of_it = |sku: &Sku| self.lines.iter().any(|line| line.sku == *sku);
        match life.consuming.iter().all(is_of_it) {
            true => self.validate_returns(),
            false => broken("it takes stock of an item that it never wanted"),
        }
    }
}

//! What a confirmed order makes of an edit.
//!
//! ```text
//!   no item is needed more of:  EDITED (its customer's hold is what it costs now)      ── RELEASED, where items have to give back
//!   one is:                     EDIT_BEGUN (what it costs more is held), items are asked
//!                                 ├── all agree ──▶ EDITED                             ── RELEASED, where others have to give back
//!                                 └── one refuses ▶ EDIT_REFUSED (all is as before)    ── RELEASED, since others may have agreed
//!   a provider pays, and it comes to cost more:
//!                               EDIT_BEGUN, items are asked, all agree
//!                                 └──▶ EDIT_RESERVED (its provider is to authorise what it costs more)
//!                                        ├── done ──────────────────▶ EDITED
//!                                        └── declined, or too late ─▶ EDIT_REFUSED     ── RELEASED
//! ```
//!
//! Until an edit that was begun has ended the order's lines are what they were, and nothing else is done that has to do with its items
//! or its money.

use std::sync::Arc;

use super::{
    Effect, Line, Order, OrderEvent, OrderState, backordering, check_version, life::value,
    lines::check_lines, paying::release_nothing, total,
};
use crate::{
    Amount, Broken, Decision, EDITS_MAX, Edit, EditEnd, LineQuantity, OrderLife, PAYMENTS_MAX, PaymentKind,
    PaymentOutcome, PaymentStep, Quantity, Rejection, Sku, Time, Version, access::Username, few,
    money::QUANTITY_MAX, order::derived_state,
};

pub(super) fn edit(
    order: &Order,
    lines: &[LineQuantity],
    by: &Username,
    (expected, may_authorize): (Option<Version>, bool),
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    match order.state {
        OrderState::Pending | OrderState::Authorizing => return Err(Rejection::OrderPending),
        OrderState::Confirmed | OrderState::PartiallyFulfilled => {}
        state @ (OrderState::Fulfilled
        | OrderState::Cancelled
        | OrderState::Rejected
        | OrderState::Expired
        | OrderState::Closed) => return Err(Rejection::NotEditable { state }),
    }
    // What it asked others before is not done yet.
    if !order.is_quiet() {
        return Err(Rejection::OrderPending);
    }
    let after = changed(order, lines)?;
    if after.is_empty() {
        return Ok(Decision::nothing());
    }
    if order.edits().len() >= EDITS_MAX {
        return Err(Rejection::TooManyEdits);
    }
    let new = with(&order.lines, &after);
    let costs = total(&new)?;
    let is_sent = order.fulfilled_quantities().iter().any(|sent| sent.0 > 0);
    // (With a life, as it will have one: without, what is ordered is not looked at.)
    let life = order.life.clone().unwrap_or_default();
    let is_gone = derived_state(&new, Some(&life)) == OrderState::Cancelled;
    if is_gone && !is_sent {
        return Err(Rejection::EditLeavesNothing);
    }
    let more = Amount(costs.0.saturating_sub(order.total.0));
    let is_to_be_authorized = more > Amount::ZERO && order.provider.is_some();
    // What cost nothing when it was placed was never authorised, and nothing is added to that.
    if is_to_be_authorized && (!may_authorize || order.payments() == 0) {
        return Err(Rejection::EditNeedsAuthorization { more });
    }
    if is_to_be_authorized && order.payments() >= PAYMENTS_MAX {
        return Err(Rejection::TooManyAuthorizations);
    }
    let before = before_of(&order.lines, &after);
    let is_at_once = raised(&order.lines, &before, &after).next().is_none();
    let (lines, by) = (after, by.clone());
    Ok(match is_at_once {
        true if is_to_be_authorized => Decision {
            events: vec![OrderEvent::EditBegun { lines, by }, OrderEvent::EditReserved],
            effects: vec![hold(order, Amount::ZERO)],
        },
        true => Decision {
            events: vec![OrderEvent::Edited { lines, by }],
            effects: vec![match more > Amount::ZERO {
                true => hold(order, more),
                false => release(order, Amount(more.0.saturating_neg())),
            }],
        },
        false => Decision {
            events: vec![OrderEvent::EditBegun { lines, by }],
            effects: vec![hold(order, more.max(Amount::ZERO))],
        },
    })
}

/// What the items' answers make of an order that is being edited.
pub(super) fn answered(
    order: &Order,
    answers: &[(Sku, Result<Quantity, Rejection>)],
) -> Decision<OrderEvent> {
    let Some(edit) = order.open_edit().filter(|_| order.edit_payment().is_none()) else {
        return Decision::nothing();
    };
    let refusals = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
    if let Some(refusal) = refusals.min_by_key(|refusal| refusal.line()) {
        return refused(order, refusal.clone());
    }
    // Nothing is done that an item has not agreed to.
    let has_agreed = |sku: &Sku| answers.iter().any(|(answered, _)| answered == sku);
    let mut raised = raised(&order.lines, &edit.before, &edit.after);
    match raised.all(|it| has_agreed(&it.sku)) {
        true if order.is_to_be_authorized(edit) => match promised_beyond(order, edit, answers) {
            Some(rejection) => refused(order, rejection),
            None => Decision::event(OrderEvent::EditReserved),
        },
        true => {
            let mut decision = done(order, edit);
            let waits = decision
                .events
                .last()
                .and_then(|edited| backordering::behind(order, edited, answers));
            decision.events.extend(waits);
            decision
        }
        false => Decision::nothing(),
    }
}

/// An item has not agreed: all is as it was.
fn refused(order: &Order, rejection: Rejection) -> Decision<OrderEvent> {
    Decision {
        events: vec![OrderEvent::EditRefused {
            rejection: Box::new(rejection),
        }],
        effects: vec![release(order, order.held_for_edit())],
    }
}

/// Why an edit that is to wait for its provider is not to: an item has promised to it what is not there, beyond what the order knows to wait anyway.
/// What waits is told behind the edit, and by then nobody may know it any more; an order must not believe more to be there than there is.
fn promised_beyond(
    order: &Order,
    edit: &Edit,
    answers: &[(Sku, Result<Quantity, Rejection>)],
) -> Option<Rejection> {
    raised(&order.lines, &edit.before, &edit.after).find_map(|OfItem { line, sku, more, .. }| {
        let (_, answer) = answers.iter().find(|(answered, _)| *answered == sku)?;
        let beyond = answer
            .as_ref()
            .ok()?
            .0
            .saturating_sub(order.backordered_of(&sku).0);
        (beyond > 0).then(|| Rejection::InsufficientStock {
            line,
            sku,
            wanted: Quantity(more),
            available: Quantity(more.saturating_sub(beyond).max(0)),
        })
    })
}

/// What its provider's answer makes of an order that is being edited, and waits for it.
pub(super) fn paid(order: &Order, number: u32, outcome: &PaymentOutcome) -> Decision<OrderEvent> {
    let Some(edit) = order
        .open_edit()
        .filter(|_| order.awaits_authorization() == Some(number))
    else {
        return Decision::nothing();
    };
    let mut decision = match outcome {
        PaymentOutcome::Done { .. } => done(order, edit),
        PaymentOutcome::Declined { reason } => Decision {
            events: vec![OrderEvent::EditRefused {
                rejection: Box::new(Rejection::PaymentDeclined {
                    reason: reason.clone(),
                }),
            }],
            effects: vec![release_nothing(order)],
        },
    };
    let answered = OrderEvent::PaymentAnswered {
        number,
        outcome: outcome.clone(),
    };
    decision.events.insert(0, answered);
    decision
}

/// All that it needs is there.
fn done(order: &Order, edit: &Edit) -> Decision<OrderEvent> {
    let Some(by) = &edit.begun.by else {
        return Decision::nothing();
    };
    Decision {
        events: vec![OrderEvent::Edited {
            lines: edit.after.clone(),
            by: by.clone(),
        }],
        effects: vec![release(
            order,
            Amount(more(&order.lines, edit).0.min(0).saturating_neg()),
        )],
    }
}

/// What an order that is being edited has to ask of items.
pub(super) fn raise_effects(order: &Order) -> impl Iterator<Item = Effect> {
    let edit = order.open_edit().filter(|_| order.edit_payment().is_none());
    let raised = edit.map(|edit| raised(&order.lines, &edit.before, &edit.after));
    raised.into_iter().flatten().map(|it| Effect::RaiseStock {
        quantity: Quantity(order.open_of(&it.sku).0.saturating_add(it.more)),
        sku: it.sku,
        line: it.line,
    })
}

fn hold(order: &Order, amount: Amount) -> Effect {
    Effect::HoldCredit {
        customer: order.customer.clone(),
        amount: order.on_account(amount),
    }
}

fn release(order: &Order, amount: Amount) -> Effect {
    Effect::ReleaseCredit {
        customer: order.customer.clone(),
        amount: order.on_account(amount),
    }
}

/// Those of some quantities that are not what the lines have already.
fn changed(order: &Order, lines: &[LineQuantity]) -> Result<Box<[LineQuantity]>, Rejection> {
    let mut lines = lines.to_vec();
    lines.sort_unstable();
    lines.dedup_by_key(|it| it.line);
    let (sent, called_off) = (order.fulfilled_quantities(), order.cancelled_quantities());
    let planned = order.planned_quantities();
    for &LineQuantity { line, quantity } in &lines {
        let at = usize::from(line);
        let (Some(sent), Some(called_off)) = (sent.get(at), called_off.get(at)) else {
            return Err(Rejection::LineNotFound { line });
        };
        let gone = Quantity(sent.0.saturating_add(called_off.0));
        if quantity < gone {
            return Err(Rejection::QuantityTooLow {
                line,
                wanted: quantity,
                gone,
            });
        }
        let planned = planned.get(at).copied().unwrap_or_default();
        if quantity.0 < gone.0.saturating_add(planned.0) {
            return Err(Rejection::QuantityPlanned { line, planned });
        }
        if quantity.0 > QUANTITY_MAX {
            return Err(Rejection::Overflow { line: Some(line) });
        }
    }
    let is_new = |it: &LineQuantity| {
        let line = order.lines.get(usize::from(it.line));
        line.is_some_and(|line| line.quantity != it.quantity)
    };
    Ok(lines.into_iter().filter(is_new).collect())
}

/// The lines with these quantities.
fn with(lines: &[Line], quantities: &[LineQuantity]) -> Arc<[Line]> {
    let mut lines = lines.to_vec();
    for it in quantities {
        if let Some(line) = lines.get_mut(usize::from(it.line)) {
            line.quantity = it.quantity;
        }
    }
    lines.into()
}

/// What the same lines have now.
fn before_of(lines: &[Line], after: &[LineQuantity]) -> Box<[LineQuantity]> {
    let now = |it: &LineQuantity| {
        let quantity = lines.get(usize::from(it.line))?.quantity;
        Some(LineQuantity {
            line: it.line,
            quantity,
        })
    };
    after.iter().filter_map(now).collect()
}

/// What an edit has an order cost more; less than 0 where it costs less.
fn more(lines: &[Line], edit: &Edit) -> Amount {
    // Both were part of a total.
    let cost = |of| value(lines, of).unwrap_or_default().0;
    Amount(cost(&edit.after).saturating_sub(cost(&edit.before)))
}

/// How much more of an item an edit wants.
struct OfItem {
    sku: Sku,
    /// The first of its lines that change.
    line: u16,
    /// Less than 0 where it wants less.
    more: i64,
}

/// How much more of each item an edit wants, in the order of their first lines that change.
fn of_items(lines: &[Line], before: &[LineQuantity], after: &[LineQuantity]) -> Vec<OfItem> {
    let mut items: Vec<OfItem> = Vec::new();
    for (before, after) in before.iter().zip(after) {
        let Some(line) = lines.get(usize::from(after.line)) else {
            continue;
        };
        let more = after.quantity.0.saturating_sub(before.quantity.0);
        match items.iter_mut().find(|it| it.sku == line.sku) {
            Some(of_item) => of_item.more = of_item.more.saturating_add(more),
            None => items.push(OfItem {
                sku: line.sku.clone(),
                line: after.line,
                more,
            }),
        }
    }
    items
}

/// The items that an edit asks for more, and that give back what they may have reserved where it is refused.
pub(crate) fn asks_any(lines: &[Line], edit: &Edit) -> bool {
    raised(lines, &edit.before, &edit.after).next().is_some()
}

/// The items that an edit wants more of.
fn raised(lines: &[Line], before: &[LineQuantity], after: &[LineQuantity]) -> impl Iterator<Item = OfItem> {
    of_items(lines, before, after)
        .into_iter()
        .filter(|it| it.more > 0)
}

/// The items that an edit wants less of.
pub(crate) fn lowered(lines: &[Line], edit: &Edit) -> Box<[Sku]> {
    let items = of_items(lines, &edit.before, &edit.after).into_iter();
    items.filter(|it| it.more < 0).map(|it| it.sku).collect()
}

/// The items that an edit wants less of, and how much less.
pub(super) fn less_of(lines: &[Line], edit: &Edit) -> impl Iterator<Item = (Sku, i64)> {
    let items = of_items(lines, &edit.before, &edit.after).into_iter();
    let less = items.filter(|it| it.more < 0);
    less.map(|it| (it.sku, it.more.saturating_neg()))
}

impl Order {
    /// Every edit, in the order in which they were asked for.
    pub fn edits(&self) -> &[Edit] {
        self.life.as_ref().map_or(&[], |life| &life.edits)
    }

    /// The edit for which items, or its provider, are asked now.
    pub fn open_edit(&self) -> Option<&Edit> {
        self.edits().last().filter(|edit| edit.is_open())
    }

    /// The edit that was asked for at a version: that its request was about.
    pub fn edit_asked_at(&self, version: Version) -> Option<&Edit> {
        let mut edits = self.edits().iter();
        edits.find(|edit| edit.begun.version == version.next())
    }

    /// What an edit has it cost more; less than 0 where it costs less.
    pub(super) fn costs_more(&self, edit: &Edit) -> Amount {
        more(&self.lines, edit)
    }

    /// Whether its provider has to authorise what an edit has it cost more.
    fn is_to_be_authorized(&self, edit: &Edit) -> bool {
        self.provider.is_some() && self.costs_more(edit) > Amount::ZERO
    }

    /// The authorisation of what the edit that is open has it cost more, from when its items have agreed.
    pub(super) fn edit_payment(&self) -> Option<&PaymentStep> {
        let begun = self.open_edit()?.begun.version;
        let authorizations = self.payment_steps().iter();
        let mut authorizations = authorizations.filter(|step| step.kind == PaymentKind::Authorize);
        authorizations.rfind(|step| step.due.version > begun)
    }

    /// Whether the edit that is open still has items to ask.
    pub(crate) fn asks_for_edit(&self) -> bool {
        self.open_edit().is_some() && self.edit_payment().is_none()
    }

    /// What an edit holds beyond what the order costs as it is, until it has ended.
    pub(super) fn held_for_edit(&self) -> Amount {
        let more = self.open_edit().map(|edit| more(&self.lines, edit));
        more.unwrap_or_default().max(Amount::ZERO)
    }

    /// All that its customer's account ever held for it, but for what edits that were refused did.
    pub(super) fn ever_held(&self) -> Amount {
        if self.edits().is_empty() {
            return self.total;
        }
        let counts = |edit: &&Edit| edit.is_open() || edit.is_done();
        let more = self
            .edits()
            .iter()
            .filter(counts)
            .map(|edit| more(&self.lines, edit));
        let more = more.map(|more| more.0.max(0)).fold(0, i64::saturating_add);
        Amount(self.first_total().0.saturating_add(more))
    }

    /// What it cost when it was placed.
    pub(super) fn first_total(&self) -> Amount {
        match self.edits().is_empty() {
            true => self.total,
            false => total(&self.lines_at(Version(1))).unwrap_or(self.total),
        }
    }

    /// How much of an item is to be reserved for it when its items have agreed to an edit that wants more of it.
    pub(crate) fn raised_of(&self, sku: &Sku) -> Option<Quantity> {
        let edit = self.open_edit()?;
        let of_item = raised(&self.lines, &edit.before, &edit.after).find(|it| it.sku == *sku)?;
        Some(Quantity(self.open_of(sku).0.saturating_add(of_item.more)))
    }

    /// Its lines as they were at a version.
    pub(crate) fn lines_at(&self, version: Version) -> Arc<[Line]> {
        let mut lines = self.lines.clone();
        for edit in self.edits().iter().rev() {
            let ended = edit.ended.as_ref().filter(|_| edit.is_done());
            if ended.is_some_and(|end| end.at.version > version) {
                lines = with(&lines, &edit.before);
            }
        }
        lines
    }

    /// An edit to these quantities, if it can be one now.
    fn begin_edit(&self, after: &[LineQuantity], by: &Username, at: Time) -> Option<Edit> {
        let is_open = matches!(self.state, OrderState::Confirmed | OrderState::PartiallyFulfilled);
        if !is_open || !self.is_quiet() || self.edits().len() >= EDITS_MAX {
            return None;
        }
        let is_sorted = after.windows(2).all(|two| two[0].line < two[1].line);
        let is_what_changes = changed(self, after).ok().as_deref() == Some(after);
        if after.is_empty() || !is_sorted || !is_what_changes {
            return None;
        }
        let edit = Edit {
            before: before_of(&self.lines, after),
            after: after.into(),
            begun: self.stamp(at, Some(by)),
            ended: None,
        };
        let may_be_paid = !self.is_to_be_authorized(&edit) || (1..PAYMENTS_MAX).contains(&self.payments());
        may_be_paid.then_some(edit)
    }

    /// Carries an event of an edit into the order; `None` where it is none that fits.
    pub(super) fn evolve_edit(&mut self, event: &OrderEvent, at: Time) -> Option<()> {
        match event {
            OrderEvent::EditBegun { lines, by } => {
                let edit = self.begin_edit(lines, by, at)?;
                if !asks_any(&self.lines, &edit) && !self.is_to_be_authorized(&edit) {
                    return None;
                }
                total(&with(&self.lines, lines)).ok()?;
                few::add(&mut self.life.get_or_insert_default().edits, edit);
            }
            OrderEvent::EditReserved => {
                let edit = self.open_edit().filter(|_| self.edit_payment().is_none())?;
                let (more, due) = (self.costs_more(edit), self.stamp(at, None));
                self.owe_more(more, due)?;
            }
            OrderEvent::Edited { lines, by } => {
                let mut life = self.life.clone().unwrap_or_default();
                let is_begun = life.edits.last().is_some_and(Edit::is_open);
                if is_begun {
                    let edit = life.edits.last()?;
                    let is_paid = || self.edit_payment().is_some_and(PaymentStep::is_done);
                    if edit.after != *lines
                        || edit.begun.by.as_ref() != Some(by)
                        || self.is_to_be_authorized(edit) && !is_paid()
                    {
                        return None;
                    }
                } else {
                    let edit = self.begin_edit(lines, by, at)?;
                    if asks_any(&self.lines, &edit) || self.is_to_be_authorized(&edit) {
                        return None;
                    }
                    few::add(&mut life.edits, edit);
                }
                let edit = life.edits.last_mut()?;
                edit.ended = Some(EditEnd {
                    at: self.stamp(at, Some(by)),
                    refused: None,
                });
                let less = Amount(more(&self.lines, edit).0.saturating_neg());
                let releasing = lowered(&self.lines, edit);
                self.be_edited(life, &with(&self.lines, lines), releasing, at)?;
                self.owe(PaymentKind::Void, less, self.stamp(at, Some(by)));
            }
            OrderEvent::EditRefused { rejection } => {
                let edit = self.open_edit()?;
                let raised = raised(&self.lines, &edit.before, &edit.after);
                let releasing = raised.map(|it| it.sku).collect();
                // Where its items have agreed only its provider, or that it is late, refuses it.
                let fits = match self.edit_payment() {
                    None => !matches!(**rejection, Rejection::PaymentExpired),
                    Some(step) if step.is_open() => matches!(**rejection, Rejection::PaymentExpired),
                    Some(step) => {
                        step.is_declined() && matches!(**rejection, Rejection::PaymentDeclined { .. })
                    }
                };
                if !fits {
                    return None;
                }
                if self.awaits_authorization().is_some() {
                    self.void_awaited(self.stamp(at, None))?;
                }
                let end = EditEnd {
                    at: self.stamp(at, None),
                    refused: Some(rejection.clone()),
                };
                self.life.as_mut()?.edits.last_mut()?.ended = Some(end);
                self.releasing = releasing;
            }
            _ => return None,
        }
        Some(())
    }

    /// Has these lines from now on; `None` where they cannot be.
    fn be_edited(
        &mut self,
        life: Box<OrderLife>,
        lines: &Arc<[Line]>,
        releasing: Box<[Sku]>,
        at: Time,
    ) -> Option<()> {
        let total = total(lines).ok()?;
        let state = derived_state(lines, Some(&life));
        if state == OrderState::Cancelled {
            // That has an event of its own.
            return None;
        }
        self.life = Some(life);
        self.lines = lines.clone();
        self.total = total;
        self.state = state;
        self.releasing = releasing;
        if state == OrderState::Fulfilled {
            self.end_holds(at, self.version.next());
        }
        Some(())
    }

    /// Checks the invariants of its lines, and of what edits made of them.
    pub(super) fn validate_lines(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        if let Err(why) = check_lines(&self.lines_at(Version(1)), 1) {
            return broken(why);
        }
        if total(&self.lines) != Ok(self.total) {
            return broken("its total is not the sum of its lines");
        }
        let edits = self.edits();
        let Some((_, earlier)) = edits.split_last() else {
            return Ok(());
        };
        if let Err(why) = check_lines(&self.lines, 0) {
            return broken(why);
        }
        if edits.len() > EDITS_MAX {
            return broken("it has too many edits");
        }
        if earlier.iter().any(Edit::is_open) {
            return broken("it is edited while another edit is open");
        }
        let mut lines = self.lines.clone();
        for edit in edits.iter().rev() {
            let is_same = |(before, after): (&LineQuantity, &LineQuantity)| before.line == after.line;
            let is_sorted = edit.after.windows(2).all(|two| two[0].line < two[1].line);
            let are_pairs = edit.before.iter().zip(&edit.after).all(is_same);
            if edit.after.is_empty() || edit.before.len() != edit.after.len() || !is_sorted || !are_pairs {
                return broken("an edit is not of lines, each once, before and after it");
            }
            let (there, back) = match edit.is_done() {
                true => (&edit.after, true),
                false => (&edit.before, false),
            };
            if before_of(&lines, &edit.after) != *there {
                return broken("its lines are not what an edit has left");
            }
            if back {
                lines = with(&lines, &edit.before);
            }
        }
        let is_open = matches!(self.state, OrderState::Confirmed | OrderState::PartiallyFulfilled);
        let Some(edit) = self.open_edit() else {
            return Ok(());
        };
        if !is_open
            || !self.releasing.is_empty()
            || !self.consuming().is_empty()
            || !self.restocking().is_empty()
        {
            return broken("it is edited while its items do something else for it");
        }
        // One that asks no item is begun for its provider's sake, whose turn comes with the next event, and ends with what that answers.
        let was_now = |version: Version| version == self.version;
        let is_next = match self.edit_payment() {
            None => asks_any(&self.lines, edit) || was_now(edit.begun.version),
            Some(step) => match &step.outcome {
                None => true,
                Some((_, answered)) => was_now(answered.version),
            },
        };
        match is_next {
            true => Ok(()),
            false => broken("it is edited, and asks nobody for anything"),
        }
    }
}

//! What an order's state tells of its history: which event made each of its versions.
//!
//! Nothing of an order is forgotten, so that its version is the number of the events that its state tells of:
//!
//! ```text
//!   1 PLACED ── 2 REJECTED ── (3 RELEASED, where an item had to give something back)
//!          └─── 2 CONFIRMED ── what has a stamp: HELD, HOLD_RELEASED, SHIPPED, DELIVERED, LINES_CANCELLED, RETURN_…, REFUNDED
//!                          │   EDIT_BEGUN, EDIT_RESERVED, EDITED, EDIT_REFUSED, FULFILMENT_OPENED, FULFILMENT_CANCELLED
//!                          └── what has none, and follows: CONSUMED behind each SHIPPED, RELEASED behind each LINES_CANCELLED, behind what an edit
//!                              has fewer of, and behind an edit that was refused, RESTOCKED
//!                              behind what was received for the stock, each before the next of these; CANCELLED, and the
//!                              RELEASED behind it, at the end; CLOSED, behind all else
//!
//!   what its items say of what it waits for (BACKORDERED, BACKORDER_FILLED) has a stamp, and comes anywhere behind CONFIRMED, or RESERVED, before its end
//!
//!   of an order that a provider is paid for:
//!   1 PLACED ── 2 RESERVED ── 3 CONFIRMED, or REJECTED, EXPIRED or CANCELLED and RELEASED ── PAYMENT_DONE, PAYMENT_DECLINED, PAYMENT_RETRIED, anywhere behind
//! ```

use std::collections::BTreeSet;

use crate::{
    Broken, ChangeKind, Line, Order, OrderLife, OrderState, PaymentKind, ReturnStep, Version,
    order::{asks_any, lowered},
};

/// The events that made an order, as its state tells of them. Made by [`Order::history`], which checks that they fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    state: OrderState,
    version: u64,
    /// Its second event says that its stock is reserved, and its provider is asked.
    is_reserved: bool,
    /// Of one that its provider declined: the version that says so.
    declined: Option<u64>,
    /// Versions whose events are known, by a stamp or as the last that asked something of items, in their order.
    stamped: Vec<Stamped>,
}

/// An event that is known by its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamped {
    version: u64,
    kind: ChangeKind,
    /// The event without a stamp that follows it, when the items have done what it asked of them.
    then: Option<ChangeKind>,
}

impl Order {
    /// The version in which an order that went on to be settled ended before it was fulfilled: it was cancelled, or its payment was not authorised in
    /// time. `None` for all others.
    pub(crate) fn ended(&self) -> Option<Version> {
        if !matches!(self.state, OrderState::Cancelled | OrderState::Expired) {
            return None;
        }
        let Some(provider) = self.provider.as_ref().filter(|_| self.needs_authorization()) else {
            return Some(Version(self.version.0 - u64::from(self.is_settled())));
        };
        // What it answers comes behind the end, also behind that all was released.
        let voided = self.cancellations().iter().map(|it| it.voided.0);
        if voided.fold(0, i64::saturating_add) < self.total.0 {
            return provider.last_void().map(|step| step.due.version);
        }
        // All that cost something was called off before: no void is of the end. But it is the last event without a stamp, or the one before
        // that all was released.
        let of_life = self.life.iter().flat_map(|life| stamped(life, &self.lines));
        let known = of_life.chain(self.payment_stamps()).map(|it| it.version);
        let known: BTreeSet<u64> = known.collect();
        let mut silent = (1..=self.version.0).rev().filter(|at| !known.contains(at));
        silent.nth(usize::from(self.is_settled())).map(Version)
    }

    /// The events that made it.
    ///
    /// # Errors
    /// Its version is not the number of them, or they cannot have come in that order.
    pub fn history(&self) -> Result<History, Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        let version = self.version.0;
        let mut history = History {
            state: self.state,
            version,
            is_reserved: !self.payment_steps().is_empty(),
            declined: None,
            stamped: Vec::new(),
        };
        let was_reserved = history.is_reserved;
        let heard = self.backorder_news().len() as u64;
        let is_version_right = match self.state {
            OrderState::Pending => version == 1,
            OrderState::Authorizing => version == 2 + heard,
            OrderState::Rejected if was_reserved => {
                version == 4 + heard - u64::from(!self.releasing.is_empty())
            }
            OrderState::Rejected => version == 2 || version == 3 && self.releasing.is_empty(),
            _ => version >= 2,
        };
        if !is_version_right {
            return broken("its version is not the number of its events");
        }
        let is_early = matches!(
            self.state,
            OrderState::Pending | OrderState::Authorizing | OrderState::Rejected
        );
        if let Some(life) = &self.life {
            history.stamped = stamped(life, &self.lines);
        }
        if is_early {
            // All that it can have heard of before is what it waits for.
            history.stamped.sort_unstable_by_key(|it| it.version);
            let is_heard =
                |(it, version): (&Stamped, u64)| it.kind.is_of_backorder() && it.version == version;
            if !history.stamped.iter().zip(3..).all(is_heard) {
                return broken("something came after its confirmation, and it was not confirmed");
            }
            let is_declined = was_reserved && self.state == OrderState::Rejected;
            history.declined = is_declined.then_some(3 + heard);
            return Ok(history);
        }
        history.stamped.extend(self.payment_stamps());
        let end = match self.state {
            OrderState::Expired => ChangeKind::Expired,
            _ => ChangeKind::Cancelled,
        };
        history.stamped.extend(self.ended().map(|ended| Stamped {
            version: ended.0,
            kind: end,
            then: Some(ChangeKind::Released),
        }));
        // Nothing comes behind that.
        history
            .stamped
            .extend((self.state == OrderState::Closed).then_some(Stamped {
                version,
                kind: ChangeKind::Closed,
                then: None,
            }));
        history.stamped.sort_unstable_by_key(|it| it.version);
        self.check_order_of(&history)
            .map_or(Ok(history), |why| Err(Broken::new(self.id, why)))
    }

    /// What its provider has answered, what was tried again, and what it was to authorise for edits.
    fn payment_stamps(&self) -> impl Iterator<Item = Stamped> {
        let event = |version: Version, kind| Stamped {
            version: version.0,
            kind,
            then: None,
        };
        self.payment_steps().iter().flat_map(move |step| {
            let is_of_edit = step.is_of_edit();
            let reserved = is_of_edit.then(|| event(step.due.version, ChangeKind::EditReserved));
            let answered = step.outcome.as_ref().map(|(outcome, stamp)| {
                let kind = match step.kind {
                    PaymentKind::Authorize if !is_of_edit => ChangeKind::Confirmed,
                    _ => ChangeKind::of_outcome(outcome),
                };
                event(stamp.version, kind)
            });
            let retried = step.retried.as_ref();
            let retried = retried.map(|stamp| event(stamp.version, ChangeKind::PaymentRetried));
            reserved.into_iter().chain(answered).chain(retried)
        })
    }

    /// Why the events of a confirmed order cannot have come so; `None` where they can.
    fn check_order_of(&self, history: &History) -> Option<&'static str> {
        const WRONG_NUMBER: &str = "its version is not the number of its events";
        let stamped = &history.stamped;
        if stamped.windows(2).any(|two| two[0].version >= two[1].version) {
            return Some("two of its events made the same version");
        }
        let ended = self.ended().map(|ended| ended.0);
        let is_misplaced = |it: &Stamped| {
            let is_behind = !it.kind.is_of_payment() && ended.is_some_and(|ended| it.version > ended);
            it.version <= 2 || it.version > history.version || is_behind
        };
        // Nothing comes between what was reserved and what its provider made of that, or who called it off.
        // (But for what is heard of what it waits for.)
        let first = stamped.iter().zip(3..).find(|(it, _)| !it.kind.is_of_backorder());
        let is_first_wrong = history.is_reserved
            && !first.is_some_and(|(first, version)| {
                first.version == version
                    && matches!(
                        first.kind,
                        ChangeKind::Confirmed | ChangeKind::Cancelled | ChangeKind::Expired
                    )
            });
        if stamped.iter().any(is_misplaced) || is_first_wrong {
            return Some("an event made a version that it cannot have made");
        }
        // Between the events that have a stamp are those that have none: one behind each that asked something of items.
        let (mut last, mut silent, mut asked) = (2, 0, None);
        for it in stamped {
            silent += it.version - last - 1;
            last = it.version;
            if it.then.is_some() {
                if silent != u64::from(asked.is_some()) {
                    return Some(WRONG_NUMBER);
                }
                (silent, asked) = (0, it.then);
            }
        }
        silent += history.version - last;
        // (What an open edit asks is told by its own events.)
        let is_done =
            self.releasing.is_empty() && self.consuming().is_empty() && self.restocking().is_empty();
        if silent != u64::from(asked.is_some() && is_done) {
            return Some(WRONG_NUMBER);
        }
        let may = |kind| asked == Some(kind);
        if !self.consuming().is_empty() && !may(ChangeKind::Consumed)
            || !self.restocking().is_empty() && !may(ChangeKind::Restocked)
            || !self.releasing.is_empty() && !may(ChangeKind::Released)
        {
            return Some("it asks of items what its last event did not ask of them");
        }
        let ended_with = match ended {
            Some(ended) => Some(ended),
            None if matches!(self.state, OrderState::Fulfilled | OrderState::Closed) => {
                let cancelled = self.cancellations().last().map(|last| last.cancelled.version.0);
                let edited = self.edits().iter().rfind(|edit| edit.is_done());
                let edited = edited.and_then(|edit| edit.ended.as_ref());
                cancelled.max(edited.map(|end| end.at.version.0))
            }
            None => None,
        };
        let ends = self.holds().iter().filter_map(|hold| hold.ended.as_ref());
        let mut ends = ends.filter(|end| end.by.is_none());
        if !ends.all(|end| Some(end.version.0) == ended_with) {
            return Some("a hold ended by itself where the order did not end");
        }
        None
    }

    /// How many events of its customer came with its own: the hold, and each release, capture and refund; of an edit one with each of its events.
    pub fn customer_events(&self) -> u64 {
        if self.state == OrderState::Rejected && self.never_held() {
            return 0;
        }
        let ended = matches!(
            self.state,
            OrderState::Cancelled | OrderState::Rejected | OrderState::Expired
        );
        let sent = self.fulfilments().iter().filter(|it| it.was_shipped()).count();
        let since = sent + self.cancellations().len() + self.refunds().len();
        let edits = self
            .edits()
            .iter()
            .map(|edit| match edit.is_open() || edit.is_at_once() {
                true => 1,
                false => 2,
            });
        1 + u64::from(ended) + since as u64 + edits.sum::<u64>()
    }
}

/// What has a stamp of what came after a confirmation. All of it is named here, so that what is added to it is not left out.
fn stamped(life: &OrderLife, lines: &[Line]) -> Vec<Stamped> {
    let OrderLife {
        holds,
        fulfilments,
        cancellations,
        returns,
        refunds,
        consuming: _,
        restocking: _,
        edits,
        backorders,
    } = life;
    let mut stamped = Vec::with_capacity(2 * (holds.len() + fulfilments.len()) + cancellations.len());
    let event = |version: Version, kind, then| Stamped {
        version: version.0,
        kind,
        then,
    };
    for hold in holds {
        stamped.push(event(hold.version, ChangeKind::Held, None));
        // One that ended with the order did so in the order's own event.
        let ended = hold.ended.as_ref().filter(|end| end.by.is_some());
        stamped.extend(ended.map(|end| event(end.version, ChangeKind::HoldReleased, None)));
    }
    for fulfilment in fulfilments {
        let steps = [
            (&fulfilment.opened, ChangeKind::FulfilmentOpened, None),
            (
                &fulfilment.shipped,
                ChangeKind::Shipped,
                Some(ChangeKind::Consumed),
            ),
            (&fulfilment.delivered, ChangeKind::Delivered, None),
            (&fulfilment.cancelled, ChangeKind::FulfilmentCancelled, None),
        ];
        let taken = steps
            .into_iter()
            .filter_map(|(stamp, kind, then)| Some((stamp.as_ref()?.version, kind, then)));
        stamped.extend(taken.map(|(version, kind, then)| event(version, kind, then)));
    }
    let cancelled = cancellations.iter().map(|it| it.cancelled.version);
    stamped.extend(
        cancelled.map(|version| event(version, ChangeKind::LinesCancelled, Some(ChangeKind::Released))),
    );
    for found in returns {
        stamped.push(event(found.requested.version, ChangeKind::ReturnRequested, None));
        stamped.extend(found.steps.iter().map(|(step, taken)| {
            let goes_back = matches!(step, ReturnStep::Receive { restock: true });
            let then = goes_back.then_some(ChangeKind::Restocked);
            event(taken.version, ChangeKind::of_step(step), then)
        }));
    }
    for edit in edits {
        if !edit.is_at_once() {
            stamped.push(event(edit.begun.version, ChangeKind::EditBegun, None));
        }
        stamped.extend(edit.ended.as_ref().map(|end| {
            let (kind, gives_back) = match end.refused {
                Some(_) => (ChangeKind::EditRefused, asks_any(lines, edit)),
                None => (ChangeKind::Edited, !lowered(lines, edit).is_empty()),
            };
            event(end.at.version, kind, gives_back.then_some(ChangeKind::Released))
        }));
    }
    stamped.extend(backorders.iter().map(|it| {
        let kind = match it.filled {
            true => ChangeKind::BackorderFilled,
            false => ChangeKind::Backordered,
        };
        event(it.heard.version, kind, None)
    }));
    let refunded = refunds.iter().map(|it| it.refunded.version);
    stamped.extend(refunded.map(|version| event(version, ChangeKind::Refunded, None)));
    stamped
}

impl History {
    /// What made a version; `None` where there is no such version.
    pub fn kind(&self, version: Version) -> Option<ChangeKind> {
        let at = version.0;
        if at == 0 || at > self.version {
            return None;
        }
        Some(match (at, self.state) {
            (1, _) => ChangeKind::Placed,
            (2, _) if self.is_reserved => ChangeKind::Reserved,
            (2, OrderState::Rejected) => ChangeKind::Rejected,
            (2, _) => ChangeKind::Confirmed,
            (_, OrderState::Rejected) if self.declined == Some(at) => ChangeKind::Rejected,
            (_, OrderState::Rejected) if self.declined.is_none_or(|declined| at > declined) => {
                ChangeKind::Released
            }
            _ => self.behind_confirmation(at)?,
        })
    }

    fn behind_confirmation(&self, at: u64) -> Option<ChangeKind> {
        let behind = self.stamped.partition_point(|it| it.version <= at);
        let until = &self.stamped[..behind];
        if let Some(last) = until.last()
            && last.version == at
        {
            return Some(last.kind);
        }
        until.iter().rev().find_map(|it| it.then)
    }
}

#[cfg(test)]
mod tests;

//! What happened to an order, change by change: what, when, who, by which request, and how the order stood before and after it. It is told
//! of the order as it is now ([`crate::history`]) and of what is kept of its changes ([`crate::trail`]).

use std::sync::Arc;

use crate::{
    Amount, Broken, Change, ChangeKind, HoldReason, LineQuantity, Order, OrderState, Origin, Payment,
    PaymentOutcome, Quantity, Rejection, ReturnStep, Stamp, Time, Version, access::Username,
};

/// One change of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderChange {
    /// What happened.
    pub kind: ChangeKind,
    /// The order's version after it.
    pub version: Version,
    /// When; `None` where that was not kept.
    pub at: Option<Time>,
    /// Where it comes from: nothing of what was not kept, or of what follows from another change.
    pub origin: Origin,
    /// How the order stood before it; `None` before the first.
    pub before: Option<Situation>,
    /// And after it.
    pub after: Situation,
    /// What was said with it.
    pub details: Details,
}

/// How an order stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// Its state.
    pub state: OrderState,
    /// Its money.
    pub payment: Payment,
    /// How much of each line was open, shipped and called off.
    pub lines: Vec<(Quantity, Quantity, Quantity)>,
}

/// What was said with a change, as far as its kind has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// How much of which lines.
    pub lines: Box<[LineQuantity]>,
    /// For which reason it is held, or is not any more.
    pub hold: Option<HoldReason>,
    /// Which shipment, from 1.
    pub fulfilment: Option<u32>,
    /// Which return, from 1.
    pub return_number: Option<u32>,
    /// Whether what came back goes on the stock.
    pub restock: bool,
    /// How much money.
    pub amount: Option<Amount>,
    /// In somebody's words.
    pub note: Option<Arc<str>>,
    /// Why it was refused.
    pub rejection: Option<Box<Rejection>>,
}

impl Situation {
    fn of(order: &Order) -> Self {
        let moved = order.fulfilled_quantities().into_iter();
        let moved = moved.zip(order.cancelled_quantities());
        let open = order.open_quantities().into_iter();
        Self {
            state: order.state,
            payment: order.payment(),
            lines: open
                .zip(moved)
                .map(|(open, (shipped, cancelled))| (open, shipped, cancelled))
                .collect(),
        }
    }
}

impl Order {
    /// Its changes behind this version (0: all), oldest first, at most so many.
    ///
    /// # Errors
    /// Its state does not tell what made it.
    pub fn changes(&self, behind: Version, most: usize) -> Result<Vec<OrderChange>, Broken> {
        let mut left = most;
        if left == 0 {
            return Ok(Vec::new());
        }
        self.changes_while(behind, |_| {
            left -= 1;
            left > 0
        })
    }

    /// Its changes behind this version (0: all), oldest first, up to the first behind which there are to be no `more`.
    ///
    /// # Errors
    /// Its state does not tell what made it.
    pub fn changes_while(
        &self,
        behind: Version,
        mut more: impl FnMut(&OrderChange) -> bool,
    ) -> Result<Vec<OrderChange>, Broken> {
        let history = self.history()?;
        let kept: Vec<_> = self.trail.entries(self.created).collect();
        let mut changes = Vec::new();
        let mut before = None;
        // The one before the first is looked at for how the order stood then.
        for version in behind.0.max(1)..=self.version.0 {
            let version = Version(version);
            let kind = history.kind(version);
            let kind = kind.ok_or_else(|| Broken::new(self.id, "nothing tells what made a version of it"))?;
            let (stamp, details) = self.details_of(version, kind);
            let place = kept.binary_search_by_key(&version, |entry| entry.version);
            let kept = place.ok().and_then(|place| kept.get(place));
            let at = kept.map(|entry| entry.at);
            let at = at.or(stamp.as_ref().map(|stamp| stamp.at)).or(match kind {
                ChangeKind::Placed | ChangeKind::Confirmed => Some(self.created),
                _ => (version == self.version).then_some(self.updated),
            });
            let mut origin = kept.and_then(|entry| entry.origin.clone()).unwrap_or_default();
            origin.by = origin.by.or_else(|| stamp.and_then(|stamp| stamp.by));
            let change = Change {
                kind,
                version,
                at: at.unwrap_or(self.created),
            };
            let after = Situation::of(&self.after(&change));
            if version > behind {
                let change = OrderChange {
                    kind,
                    version,
                    at,
                    origin,
                    before: before.take(),
                    after: after.clone(),
                    details,
                };
                let goes_on = more(&change);
                changes.push(change);
                if !goes_on {
                    break;
                }
            }
            before = Some(after);
        }
        Ok(changes)
    }

    /// What is stored of one of its changes in what it has led to.
    fn details_of(&self, version: Version, kind: ChangeKind) -> (Option<Stamp>, Details) {
        let mut details = Details::default();
        let stamped = |at: Time, by: Option<&Username>| Stamp {
            at,
            version,
            by: by.cloned(),
        };
        let stamp = match kind {
            ChangeKind::Rejected => {
                details.rejection = self.rejection.clone();
                None
            }
            ChangeKind::Held => self
                .holds()
                .iter()
                .find(|hold| hold.version == version)
                .map(|hold| {
                    details.hold = Some(hold.reason);
                    details.note = Some(hold.note.clone());
                    stamped(hold.since, Some(&hold.by))
                }),
            ChangeKind::HoldReleased => self.holds().iter().find_map(|hold| {
                let end = hold.ended.as_ref().filter(|end| end.version == version)?;
                details.hold = Some(hold.reason);
                Some(stamped(end.at, end.by.as_ref()))
            }),
            ChangeKind::Shipped => (1..).zip(self.fulfilments()).find_map(|(number, it)| {
                let shipped = it.shipped.as_ref().filter(|stamp| stamp.version == version)?;
                details.lines = it.lines.clone();
                details.fulfilment = Some(number);
                details.amount = Some(it.captured);
                Some(shipped.clone())
            }),
            ChangeKind::FulfilmentOpened => (1..).zip(self.fulfilments()).find_map(|(number, it)| {
                let opened = it.opened.as_ref().filter(|stamp| stamp.version == version)?;
                details.lines = it.lines.clone();
                details.fulfilment = Some(number);
                Some(opened.clone())
            }),
            ChangeKind::FulfilmentCancelled => (1..).zip(self.fulfilments()).find_map(|(number, it)| {
                let cancelled = it.cancelled.as_ref().filter(|stamp| stamp.version == version)?;
                details.lines = it.lines.clone();
                details.fulfilment = Some(number);
                Some(cancelled.clone())
            }),
            ChangeKind::Delivered => (1..).zip(self.fulfilments()).find_map(|(number, it)| {
                let delivered = it.delivered.as_ref().filter(|stamp| stamp.version == version)?;
                details.fulfilment = Some(number);
                Some(delivered.clone())
            }),
            ChangeKind::LinesCancelled => self.cancellations().iter().find_map(|it| {
                let cancelled = Some(&it.cancelled).filter(|stamp| stamp.version == version)?;
                details.lines = it.lines.clone();
                details.amount = Some(it.voided);
                Some(cancelled.clone())
            }),
            ChangeKind::ReturnRequested => (1..).zip(self.returns()).find_map(|(number, it)| {
                let requested = Some(&it.requested).filter(|stamp| stamp.version == version)?;
                details.lines = it.lines.clone();
                details.return_number = Some(number);
                details.note = Some(it.note.clone());
                Some(requested.clone())
            }),
            ChangeKind::ReturnApproved
            | ChangeKind::ReturnDeclined
            | ChangeKind::ReturnReceived
            | ChangeKind::ReturnClosed => (1..).zip(self.returns()).find_map(|(number, it)| {
                let (step, taken) = it.steps.iter().find(|(_, stamp)| stamp.version == version)?;
                details.return_number = Some(number);
                match step {
                    ReturnStep::Decline { note } => details.note = Some(note.clone()),
                    ReturnStep::Receive { restock } => details.restock = *restock,
                    ReturnStep::Approve | ReturnStep::Close => {}
                }
                Some(taken.clone())
            }),
            ChangeKind::Refunded => self.refunds().iter().find_map(|it| {
                let refunded = Some(&it.refunded).filter(|stamp| stamp.version == version)?;
                details.amount = Some(it.amount);
                details.note = Some(it.note.clone());
                Some(refunded.clone())
            }),
            ChangeKind::Confirmed | ChangeKind::PaymentDone | ChangeKind::PaymentDeclined => {
                let mut steps = self.payment_steps().iter();
                steps.find_map(|step| {
                    let (outcome, answered) = step.outcome.as_ref()?;
                    if answered.version != version {
                        return None;
                    }
                    let (PaymentOutcome::Done { reference: text }
                    | PaymentOutcome::Declined { reason: text }) = outcome;
                    details.amount = Some(step.amount);
                    details.note = Some(text.clone());
                    Some(answered.clone())
                })
            }
            ChangeKind::PaymentRetried => self.payment_steps().iter().find_map(|step| {
                let retried = step.retried.as_ref().filter(|stamp| stamp.version == version)?;
                details.amount = Some(step.amount);
                Some(retried.clone())
            }),
            ChangeKind::EditReserved => self.payment_steps().iter().find_map(|step| {
                let due = Some(&step.due).filter(|due| step.is_of_edit() && due.version == version)?;
                details.amount = Some(step.amount);
                Some(due.clone())
            }),
            ChangeKind::EditBegun => self.edits().iter().find_map(|edit| {
                let begun = Some(&edit.begun).filter(|stamp| stamp.version == version)?;
                details.lines = edit.after.clone();
                Some(begun.clone())
            }),
            ChangeKind::Edited | ChangeKind::EditRefused => self.edits().iter().find_map(|edit| {
                let end = edit.ended.as_ref().filter(|end| end.at.version == version)?;
                details.lines = edit.after.clone();
                details.rejection = end.refused.clone();
                Some(end.at.clone())
            }),
            ChangeKind::Backordered | ChangeKind::BackorderFilled => {
                let mut news = self.backorder_news().iter();
                news.find(|it| it.heard.version == version).map(|it| {
                    details.lines = it.lines.clone();
                    it.heard.clone()
                })
            }
            ChangeKind::Expired => {
                details.rejection = self.rejection.clone();
                None
            }
            ChangeKind::Placed
            | ChangeKind::Reserved
            | ChangeKind::Cancelled
            | ChangeKind::Closed
            | ChangeKind::Released
            | ChangeKind::Consumed
            | ChangeKind::Restocked => None,
        };
        (stamp, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CustomerId, Line, OrderEvent, OrderId, PackedOrigin, PaymentState, Sku, TraceId};

    fn by(name: &str) -> Username {
        Username::new(name).unwrap()
    }

    fn origin(name: &str, request_id: &str) -> Option<PackedOrigin> {
        PackedOrigin::of(Some(&by(name)), Some(request_id), Some(TraceId([1; 16])))
    }

    /// An order of four, of which one was cancelled and the rest shipped, held in between.
    fn life() -> Vec<(OrderEvent, Option<PackedOrigin>)> {
        let of = |quantity| -> Box<[LineQuantity]> {
            Box::new([LineQuantity {
                line: 0,
                quantity: Quantity(quantity),
            }])
        };
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(4),
                unit_price: Amount(350),
            }]),
            provider: None,
        };
        let held = OrderEvent::Held {
            reason: HoldReason::Address,
            note: "which street?".into(),
            by: by("ops"),
        };
        let freed = OrderEvent::HoldReleased {
            reason: HoldReason::Address,
            by: by("ops"),
        };
        let cancelled = OrderEvent::LinesCancelled {
            lines: of(1),
            by: Some(by("ada")),
        };
        let shipped = OrderEvent::Shipped {
            lines: of(3),
            carrier: "post".into(),
            tracking: "1".into(),
            by: by("depot"),
        };
        vec![
            (placed, origin("shop", "r-1")),
            (OrderEvent::Confirmed, None),
            (held, origin("ops", "r-2")),
            (freed, origin("ops", "r-3")),
            (cancelled, origin("ada", "r-4")),
            (OrderEvent::Released, None),
            (shipped, origin("depot", "r-5")),
            (OrderEvent::Consumed, None),
        ]
    }

    fn live(keeps: bool) -> Order {
        let mut order: Option<Order> = None;
        for ((event, origin), at) in life().iter().zip(1..) {
            match &mut order {
                None => order = Some(Order::create(OrderId(9), event, Time(at)).unwrap()),
                Some(order) => order.evolve(event, Time(at)).unwrap(),
            }
            if let (Some(order), true) = (&mut order, keeps) {
                order.note(event, Time(at), origin.as_ref());
            }
        }
        order.unwrap()
    }

    #[test]
    fn every_change_says_what_when_and_who_and_how_the_order_stood() {
        let order = live(true);
        order.validate().unwrap();
        let changes = order.changes(Version(0), usize::MAX).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|it| {
                let by = it.origin.by.as_ref().map_or("-", |by| by.as_str());
                let request_id = it.origin.request_id.as_deref().unwrap_or("-");
                let (open, shipped, cancelled) = it.after.lines[0];
                let at = it.at.map(|at| at.0);
                (
                    it.kind,
                    at,
                    by,
                    request_id,
                    it.after.payment.state,
                    (open.0, shipped.0, cancelled.0),
                )
            })
            .collect();
        use PaymentState::{Authorized, Captured};
        assert_eq!(
            told,
            [
                (ChangeKind::Placed, Some(1), "shop", "r-1", Authorized, (4, 0, 0)),
                // As old as the order: it only says what was true.
                (ChangeKind::Confirmed, Some(1), "-", "-", Authorized, (4, 0, 0)),
                (ChangeKind::Held, Some(3), "ops", "r-2", Authorized, (4, 0, 0)),
                (
                    ChangeKind::HoldReleased,
                    Some(4),
                    "ops",
                    "r-3",
                    Authorized,
                    (4, 0, 0)
                ),
                (
                    ChangeKind::LinesCancelled,
                    Some(5),
                    "ada",
                    "r-4",
                    Authorized,
                    (3, 0, 1)
                ),
                (ChangeKind::Released, Some(6), "-", "-", Authorized, (3, 0, 1)),
                (ChangeKind::Shipped, Some(7), "depot", "r-5", Captured, (0, 3, 1)),
                (ChangeKind::Consumed, Some(8), "-", "-", Captured, (0, 3, 1)),
            ]
        );
        assert_eq!(changes[0].before, None);
        let pairs = changes.windows(2);
        assert!(
            pairs
                .into_iter()
                .all(|two| two[1].before.as_ref() == Some(&two[0].after))
        );
        assert_eq!(changes[2].details.hold, Some(HoldReason::Address));
        assert_eq!(changes[2].details.note.as_deref(), Some("which street?"));
        assert_eq!(changes[6].details.amount, Some(Amount(1_050)));
        // Page by page it is the same.
        let mut paged = Vec::new();
        while let Some(page) = order
            .changes(
                paged.last().map_or(Version(0), |last: &OrderChange| last.version),
                3,
            )
            .ok()
            .filter(|page| !page.is_empty())
        {
            paged.extend(page);
        }
        assert_eq!(paged, changes);
    }

    #[test]
    fn of_an_order_of_which_nothing_was_kept_what_it_has_led_to_tells() {
        let order = live(false);
        assert!(order.trail.is_empty());
        let changes = order.changes(Version(0), usize::MAX).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|it| {
                (
                    it.at.map(|at| at.0),
                    it.origin.by.as_ref().map(|by| by.as_str().to_owned()),
                )
            })
            .collect();
        let by = |name: &str| Some(name.to_owned());
        assert_eq!(
            told,
            [
                (Some(1), None),
                (Some(1), None),
                (Some(3), by("ops")),
                (Some(4), by("ops")),
                (Some(5), by("ada")),
                // Nothing says when its item gave back what was cancelled.
                (None, None),
                (Some(7), by("depot")),
                (Some(8), None),
            ]
        );
    }

    #[test]
    fn an_order_that_is_not_begun_with_an_origin_keeps_none_of_what_follows_from_others() {
        let (events, mut order) = (life(), live(false));
        assert!(order.trail.is_empty());
        order.note(&events[7].0, Time(8), None);
        assert!(order.trail.is_empty());
        order.note(&events[7].0, Time(8), origin("ops", "r").as_ref());
        assert!(!order.trail.is_empty());
        // With an `Arc`'s counts it is of no other class of the allocator's than without the trail.
        assert!(size_of::<Order>() <= 144, "{}", size_of::<Order>());
    }
}

//! An order as whoever leads it knows it: what was asked of it and done. Nobody else asks anything of it, so that it is no other.

use std::collections::BTreeSet;

use docket_engine::{
    HoldReason, Line, LineQuantity, Order, OrderId, OrderState, Quantity, ReturnState, ReturnStep, Version,
};

/// How many of which lines.
pub type Named = Vec<(u16, i64)>;

/// What is asked of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Ship(Named),
    CancelLines(Named),
    CancelRest,
    Hold(HoldReason),
    Release(HoldReason),
    Deliver(u32),
    /// So many of these lines in all, at this version.
    Edit(Named, Version),
    Return(Named),
    Move(u32, ReturnStep),
    Refund(i64),
    Retry(u32),
}

/// What was sent, or is to come back, under the id of the request that said so.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub request_id: String,
    pub lines: Named,
}

/// An order, by what its keeper was told.
#[derive(Debug)]
pub struct Led {
    pub id: OrderId,
    pub customer: u64,
    pub is_by_provider: bool,
    pub lines: Vec<Line>,
    pub shipped: Vec<i64>,
    pub called_off: Vec<i64>,
    pub shipments: Vec<(Parcel, bool)>,
    pub holds: BTreeSet<HoldReason>,
    pub returns: Vec<(Parcel, ReturnState)>,
    /// Which of them went back on the stock, by their places.
    pub restocked: BTreeSet<usize>,
    pub refunds: Vec<(String, i64)>,
    pub version: Version,
}

impl Led {
    pub fn new(order: &Order, customer: u64) -> Self {
        let nothing = vec![0; order.lines.len()];
        Self {
            id: order.id,
            customer,
            is_by_provider: order.provider.is_some(),
            lines: order.lines.to_vec(),
            shipped: nothing.clone(),
            called_off: nothing,
            shipments: Vec::new(),
            holds: BTreeSet::new(),
            returns: Vec::new(),
            restocked: BTreeSet::new(),
            refunds: Vec::new(),
            version: order.version,
        }
    }

    pub fn open(&self) -> Vec<i64> {
        let gone = self.shipped.iter().zip(&self.called_off);
        let lines = self.lines.iter().zip(gone);
        lines
            .map(|(line, (sent, off))| line.quantity.0 - sent - off)
            .collect()
    }

    /// Whether nothing of it is open any more.
    pub fn is_over(&self) -> bool {
        self.open().iter().all(|open| *open == 0)
    }

    /// Of each line: how many were sent, and are in no return that may arrive or has.
    pub fn returnable(&self) -> Vec<i64> {
        let mut left = self.shipped.clone();
        // One that was closed before it arrived may come again.
        let counts = |state: &ReturnState| *state != ReturnState::Declined;
        for (parcel, _) in self.returns.iter().filter(|(_, state)| counts(state)) {
            for (line, many) in &parcel.lines {
                left[usize::from(*line)] -= many;
            }
        }
        left
    }

    /// What some of its lines cost.
    pub fn cost(&self, many: &[i64]) -> i64 {
        let costs = self.lines.iter().zip(many);
        costs.map(|(line, many)| line.unit_price.0 * many).sum()
    }

    /// What an edit would have it cost more.
    pub fn more(&self, edit: &Named) -> i64 {
        let more = edit.iter().map(|(line, many)| {
            let line = &self.lines[usize::from(*line)];
            line.unit_price.0 * (many - line.quantity.0)
        });
        more.sum()
    }

    pub fn captured(&self) -> i64 {
        self.cost(&self.shipped)
    }

    pub fn refunded(&self) -> i64 {
        self.refunds.iter().map(|(_, amount)| amount).sum()
    }

    /// How many of each line went back on the stock.
    pub fn put_back(&self) -> Vec<i64> {
        let mut back = vec![0; self.lines.len()];
        for at in &self.restocked {
            for (line, many) in &self.returns[*at].0.lines {
                back[usize::from(*line)] += many;
            }
        }
        back
    }

    /// It was done.
    pub fn apply(&mut self, deed: &Deed, request_id: &str) {
        let parcel = |lines: &Named| Parcel {
            request_id: request_id.to_owned(),
            lines: lines.clone(),
        };
        match deed {
            Deed::Ship(lines) => {
                for (line, many) in lines {
                    self.shipped[usize::from(*line)] += many;
                }
                self.shipments.push((parcel(lines), false));
            }
            Deed::CancelLines(lines) => {
                for (line, many) in lines {
                    self.called_off[usize::from(*line)] += many;
                }
            }
            Deed::CancelRest => {
                for (off, open) in self.open().into_iter().enumerate() {
                    self.called_off[off] += open;
                }
            }
            Deed::Hold(reason) => {
                self.holds.insert(*reason);
            }
            Deed::Release(reason) => {
                self.holds.remove(reason);
            }
            Deed::Deliver(number) => self.shipments[*number as usize - 1].1 = true,
            Deed::Edit(lines, _) => {
                for (line, many) in lines {
                    self.lines[usize::from(*line)].quantity = Quantity(*many);
                }
            }
            Deed::Return(lines) => self.returns.push((parcel(lines), ReturnState::Requested)),
            Deed::Move(number, step) => {
                let at = *number as usize - 1;
                self.returns[at].1 = step.leads_to();
                if *step == (ReturnStep::Receive { restock: true }) {
                    self.restocked.insert(at);
                }
            }
            Deed::Refund(amount) => self.refunds.push((request_id.to_owned(), *amount)),
            Deed::Retry(_) => {}
        }
        if self.is_over() {
            self.holds.clear();
        }
    }

    /// Whether it may be refused so, as far as its keeper knows.
    pub fn may_refuse(&self, deed: &Deed, reason: &str) -> bool {
        let open = self.open();
        let is_too_much = |lines: &Named| lines.iter().any(|(line, many)| open[usize::from(*line)] < *many);
        match (deed, reason) {
            // Its provider may have declined something.
            (Deed::Ship(_), "ORDER_HELD") => self.is_by_provider || !self.holds.is_empty(),
            (Deed::Ship(lines), "QUANTITY_NOT_OPEN") => is_too_much(lines),
            (Deed::Ship(_), "NOT_SHIPPABLE") => self.is_over(),
            (Deed::CancelLines(lines), "QUANTITY_NOT_OPEN") => is_too_much(lines),
            (Deed::CancelLines(_) | Deed::CancelRest, "NOT_CANCELLABLE") => self.is_over(),
            (Deed::Hold(reason), "HOLD_EXISTS") => self.holds.contains(reason),
            (Deed::Hold(_) | Deed::Release(_), "NOT_HOLDABLE") => self.is_over(),
            (Deed::Release(reason), "HOLD_NOT_FOUND") => !self.holds.contains(reason),
            (Deed::Edit(..), "NOT_EDITABLE") => self.is_over(),
            // Its items, its customer and its provider may have been quicker.
            (Deed::Edit(..), "STALE_ETAG") => true,
            (Deed::Edit(lines, _), "INSUFFICIENT_CREDIT") => !self.is_by_provider && self.more(lines) > 0,
            (Deed::Edit(lines, _), "PAYMENT_DECLINED" | "PAYMENT_EXPIRED" | "TOO_MANY_AUTHORIZATIONS") => {
                self.is_by_provider && self.more(lines) > 0
            }
            (Deed::Edit(lines, _), "INSUFFICIENT_STOCK") => {
                let wants_more =
                    |(line, many): &(u16, i64)| self.lines[usize::from(*line)].quantity.0 < *many;
                lines.iter().any(wants_more)
            }
            (Deed::Edit(lines, _), "EDIT_LEAVES_NOTHING") => {
                let left = |(line, open): (u16, i64)| {
                    let edit = lines.iter().find(|(other, _)| *other == line);
                    let now = self.lines[usize::from(line)].quantity.0;
                    open + edit.map_or(0, |(_, many)| many - now)
                };
                self.shipments.is_empty() && (0..).zip(open).all(|of| left(of) == 0)
            }
            (Deed::Return(lines), "QUANTITY_NOT_RETURNABLE" | "NOT_RETURNABLE") => {
                let there = self.returnable();
                lines.iter().any(|(line, many)| there[usize::from(*line)] < *many)
            }
            // Only what its provider has taken already can be given back.
            (Deed::Refund(amount), "REFUND_TOO_LARGE") => {
                self.is_by_provider || self.refunded() + amount > self.captured()
            }
            (Deed::Retry(_), "PAYMENT_NOT_DECLINED") => true,
            _ => false,
        }
    }

    /// What is not as its keeper was told; none where all is.
    pub fn differs(&self, order: &Order) -> Option<String> {
        let named =
            |lines: &[LineQuantity]| -> Named { lines.iter().map(|it| (it.line, it.quantity.0)).collect() };
        let plain = |many: Vec<Quantity>| -> Vec<i64> { many.into_iter().map(|it| it.0).collect() };
        let shipments = order.fulfilments().iter();
        let shipments: Vec<_> = shipments
            .map(|it| (it.tracking.to_string(), named(&it.lines), it.delivered.is_some()))
            .collect();
        let known = self.shipments.iter();
        let known: Vec<_> = known
            .map(|(parcel, arrived)| (parcel.request_id.clone(), parcel.lines.clone(), *arrived))
            .collect();
        let holds: BTreeSet<_> = order.active_holds().map(|hold| hold.reason).collect();
        let holds: BTreeSet<_> = holds
            .into_iter()
            .filter(|reason| *reason != HoldReason::Payment)
            .collect();
        let returns = order.returns().iter();
        let returns: Vec<_> = returns
            .map(|it| (it.note.to_string(), named(&it.lines), it.state()))
            .collect();
        let known_returns = self.returns.iter();
        let known_returns: Vec<_> = known_returns
            .map(|(parcel, state)| (parcel.request_id.clone(), parcel.lines.clone(), *state))
            .collect();
        let refunds = order.refunds().iter();
        let refunds: Vec<_> = refunds.map(|it| (it.note.to_string(), it.amount.0)).collect();
        let state = match (self.is_over(), self.shipments.is_empty()) {
            (true, true) => OrderState::Cancelled,
            (true, false) => OrderState::Fulfilled,
            (false, true) => OrderState::Confirmed,
            (false, false) => OrderState::PartiallyFulfilled,
        };
        let told = [
            ("lines", order.lines.to_vec() == self.lines),
            ("total", order.total.0 == self.cost(&self.quantities())),
            ("shipped", plain(order.fulfilled_quantities()) == self.shipped),
            (
                "called off",
                plain(order.cancelled_quantities()) == self.called_off,
            ),
            ("shipments", shipments == known),
            ("holds", holds == self.holds),
            ("returns", returns == known_returns),
            ("refunds", refunds == self.refunds),
            ("state", order.state == state),
        ];
        let wrong = told.iter().find(|(_, is_so)| !is_so)?;
        Some(format!("{} of {order:?}, and not of {self:?}", wrong.0))
    }

    fn quantities(&self) -> Vec<i64> {
        self.lines.iter().map(|line| line.quantity.0).collect()
    }
}

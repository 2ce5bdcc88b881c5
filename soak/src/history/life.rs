//! What becomes of an order behind its confirmation: what may be asked of it, and what each of that makes of it, as the contract has it.
//!
//! It is what a client sees of an order as well as what the model of an order is made of, so that what was seen need only be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::operation::{Line, Phase};

/// How many of which lines, each line once.
pub type Named = Vec<(usize, i64)>;

/// Something that is asked of an order that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// It is held for a reason, as the contract calls it.
    Hold(String),
    /// That reason is gone.
    Release(String),
    /// So many of these lines are sent.
    Ship(Named),
    /// Somebody is to send so many of these lines.
    Plan(Named),
    /// What was planned, by its number from 1, is sent.
    ShipPlanned(usize),
    /// Or it is not, by whoever was to do it.
    GiveUp(usize),
    /// And these are called off.
    CancelLines(Named),
    /// A shipment, by its number from 1, has arrived.
    Deliver(usize),
    /// So many of these lines in all.
    Edit(Named),
    /// So many of these lines are to come back.
    Return(Named),
    /// Something becomes of a return, by its number from 1.
    Move(usize, Moved),
    /// So much of what was taken is given back.
    Refund(i64),
}

/// What becomes of a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moved {
    /// It may come.
    Approve,
    /// It may not.
    Decline,
    /// It has arrived, and goes back on the stock.
    Receive,
    /// Nothing more becomes of it.
    Close,
}

/// Where a return stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnPhase {
    /// Somebody asked for it.
    Requested,
    /// It may come.
    Approved,
    /// It may not.
    Declined,
    /// It is there.
    Received,
    /// Nothing more becomes of it.
    Closed,
    /// None that the contract knows.
    Odd,
}

/// How far a shipment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Somebody is to send it.
    Planned,
    /// Nobody sends it.
    GivenUp,
    /// It is on its way.
    Away,
    /// It has arrived.
    There,
    /// None that the contract knows.
    Odd,
}

impl Sent {
    /// Whether it left the house.
    pub fn is_sent(self) -> bool {
        matches!(self, Self::Away | Self::There)
    }
}

/// One line of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OfLine {
    /// How many are ordered.
    pub ordered: i64,
    /// Of them were sent.
    pub shipped: i64,
    /// Of them were called off.
    pub cancelled: i64,
}

impl OfLine {
    /// How many are neither.
    pub fn open(self) -> i64 {
        self.ordered - self.shipped - self.cancelled
    }
}

/// What is to come back, or has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReturnSeen {
    /// How many of which lines.
    pub lines: Named,
    /// Where it stands.
    pub phase: ReturnPhase,
    /// Whether it has gone back on the stock, or will in a moment.
    pub restocked: bool,
}

/// What became of an order so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Life {
    /// Of each line.
    pub lines: Vec<OfLine>,
    /// Why it is held.
    pub holds: BTreeSet<String>,
    /// What was sent each time, or is to be, and how far that is.
    pub shipments: Vec<(Named, Sent)>,
    /// What is to come back.
    pub returns: Vec<ReturnSeen>,
    /// What was given back each time.
    pub refunds: Vec<i64>,
}

/// Why something is refused: `ErrorInfo.reason`.
pub type Reason = &'static str;

impl Life {
    /// Of an order that was just placed.
    pub fn of(lines: &[Line]) -> Self {
        let line = |line: &Line| OfLine {
            ordered: line.quantity,
            ..OfLine::default()
        };
        Self {
            lines: lines.iter().map(line).collect(),
            ..Self::default()
        }
    }

    /// Where an order that was confirmed stands.
    pub fn phase(&self) -> Phase {
        let is_open = self.lines.iter().any(|line| line.open() > 0);
        let is_sent = self.shipments.iter().any(|(_, sent)| sent.is_sent());
        match (is_open, is_sent) {
            (true, false) => Phase::Confirmed,
            (true, true) => Phase::PartlyShipped,
            (false, false) => Phase::Cancelled,
            (false, true) => Phase::Shipped,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase(), Phase::Cancelled | Phase::Shipped)
    }

    /// Of each line: how many somebody has taken upon itself to send.
    pub fn planned(&self) -> Vec<i64> {
        let mut planned = vec![0; self.lines.len()];
        let open = self.shipments.iter().filter(|(_, sent)| *sent == Sent::Planned);
        for (line, many) in open.flat_map(|(lines, _)| lines) {
            if let Some(planned) = planned.get_mut(*line) {
                *planned += many;
            }
        }
        planned
    }

    /// What was sent of it costs so much, with these prices of its lines.
    pub fn captured(&self, prices: &[i64]) -> i64 {
        let lines = self.lines.iter().zip(prices);
        lines.map(|(line, price)| line.shipped * price).sum()
    }

    /// What is open of it costs so much.
    pub fn held(&self, prices: &[i64]) -> i64 {
        let lines = self.lines.iter().zip(prices);
        lines.map(|(line, price)| line.open() * price).sum()
    }

    /// What was given back of that.
    pub fn refunded(&self) -> i64 {
        self.refunds.iter().sum()
    }

    /// Of each line: how many went back on the stock.
    pub fn put_back(&self) -> Vec<i64> {
        let mut back = vec![0; self.lines.len()];
        for (line, many) in self
            .returns
            .iter()
            .filter(|it| it.restocked)
            .flat_map(|it| &it.lines)
        {
            if let Some(back) = back.get_mut(*line) {
                *back += many;
            }
        }
        back
    }

    /// Of each line: how many were sent, and are in no return that may come or came.
    pub fn returnable(&self) -> Vec<i64> {
        let mut left: Vec<i64> = self.lines.iter().map(|line| line.shipped).collect();
        let counts = |it: &&ReturnSeen| {
            it.phase != ReturnPhase::Declined && (it.phase != ReturnPhase::Closed || it.restocked)
        };
        for (line, many) in self.returns.iter().filter(counts).flat_map(|it| &it.lines) {
            if let Some(left) = left.get_mut(*line) {
                *left -= many;
            }
        }
        left
    }

    /// All that is open is called off.
    pub fn cancelled(&self) -> Result<Self, Reason> {
        match self.phase() {
            Phase::Cancelled => Ok(self.clone()),
            Phase::Shipped => Err("NOT_CANCELLABLE"),
            _ if self.planned().iter().any(|many| *many > 0) => Err("QUANTITY_PLANNED"),
            _ => {
                let mut life = self.clone();
                for line in &mut life.lines {
                    line.cancelled += line.open();
                }
                Ok(life.without_holds_at_the_end())
            }
        }
    }

    /// What is made of it, or why that is refused; the same where nothing changes. Whether there is enough of items and money is not known here.
    ///
    /// # Errors
    /// The reason.
    pub fn after(&self, deed: &Deed, prices: &[i64]) -> Result<Self, Reason> {
        let mut life = self.clone();
        match deed {
            Deed::Hold(_) | Deed::Release(_) if self.is_over() => return Err("NOT_HOLDABLE"),
            Deed::Hold(reason) => match life.holds.insert(reason.clone()) {
                true => {}
                false => return Err("HOLD_EXISTS"),
            },
            Deed::Release(reason) => match life.holds.remove(reason) {
                true => {}
                false => return Err("HOLD_NOT_FOUND"),
            },
            Deed::Ship(_) | Deed::Plan(_) if self.is_over() => return Err("NOT_SHIPPABLE"),
            Deed::Ship(_) if !self.holds.is_empty() => return Err("ORDER_HELD"),
            Deed::Ship(lines) => {
                for (line, many) in lines {
                    life.free(*line, *many)?.shipped += many;
                }
                life.shipments.push((lines.clone(), Sent::Away));
            }
            Deed::Plan(lines) => {
                for (line, many) in lines {
                    life.free(*line, *many)?;
                }
                life.shipments.push((lines.clone(), Sent::Planned));
            }
            Deed::ShipPlanned(number) => {
                let (lines, sent) = life.shipment(*number)?;
                match sent {
                    Sent::Planned if !self.holds.is_empty() => return Err("ORDER_HELD"),
                    Sent::Planned => *sent = Sent::Away,
                    _ => return Err("FULFILMENT_NOT_OPEN"),
                }
                for (line, many) in lines.clone() {
                    life.open(line, many)?.shipped += many;
                }
            }
            Deed::GiveUp(number) => {
                let (_, sent) = life.shipment(*number)?;
                match sent {
                    Sent::Planned | Sent::GivenUp => *sent = Sent::GivenUp,
                    _ => return Err("FULFILMENT_NOT_OPEN"),
                }
            }
            Deed::CancelLines(_) if self.is_over() => return Err("NOT_CANCELLABLE"),
            Deed::CancelLines(lines) => {
                for (line, many) in lines {
                    life.free(*line, *many)?.cancelled += many;
                }
            }
            Deed::Deliver(number) => {
                let (_, sent) = life.shipment(*number)?;
                match sent.is_sent() {
                    true => *sent = Sent::There,
                    false => return Err("FULFILMENT_NOT_SHIPPED"),
                }
            }
            Deed::Edit(_) if self.is_over() => return Err("NOT_EDITABLE"),
            Deed::Edit(lines) => {
                let planned = self.planned();
                for (at, many) in lines {
                    let line = life.lines.get_mut(*at).ok_or("LINE_NOT_FOUND")?;
                    let gone = line.shipped + line.cancelled;
                    if *many < gone {
                        return Err("QUANTITY_TOO_LOW");
                    }
                    if *many < gone + planned.get(*at).copied().unwrap_or_default() {
                        return Err("QUANTITY_PLANNED");
                    }
                    line.ordered = *many;
                }
                if life.phase() == Phase::Cancelled {
                    return Err("EDIT_LEAVES_NOTHING");
                }
            }
            Deed::Return(lines) => {
                let there = self.returnable();
                if there.iter().all(|left| *left == 0) {
                    return Err("NOT_RETURNABLE");
                }
                for (line, many) in lines {
                    if there.get(*line).ok_or("LINE_NOT_FOUND")? < many {
                        return Err("QUANTITY_NOT_RETURNABLE");
                    }
                }
                life.returns.push(ReturnSeen {
                    lines: lines.clone(),
                    phase: ReturnPhase::Requested,
                    restocked: false,
                });
            }
            Deed::Move(number, moved) => {
                let found = number.checked_sub(1).and_then(|at| life.returns.get_mut(at));
                moved.on(found.ok_or("RETURN_NOT_FOUND")?)?;
            }
            Deed::Refund(amount) if self.refunded() + amount > self.captured(prices) => {
                return Err("REFUND_TOO_LARGE");
            }
            Deed::Refund(amount) => life.refunds.push(*amount),
        }
        Ok(life.without_holds_at_the_end())
    }

    /// A line of which so many are open.
    fn open(&mut self, line: usize, many: i64) -> Result<&mut OfLine, Reason> {
        let line = self.lines.get_mut(line).ok_or("LINE_NOT_FOUND")?;
        match line.open() >= many {
            true => Ok(line),
            false => Err("QUANTITY_NOT_OPEN"),
        }
    }

    /// The same, where nobody has taken them upon itself.
    fn free(&mut self, line: usize, many: i64) -> Result<&mut OfLine, Reason> {
        let planned = self.planned().get(line).copied().unwrap_or_default();
        let line = self.open(line, many)?;
        match line.open() - planned >= many {
            true => Ok(line),
            false => Err("QUANTITY_PLANNED"),
        }
    }

    /// A shipment by its number from 1.
    fn shipment(&mut self, number: usize) -> Result<&mut (Named, Sent), Reason> {
        let found = number.checked_sub(1).and_then(|at| self.shipments.get_mut(at));
        found.ok_or("FULFILMENT_NOT_FOUND")
    }

    fn without_holds_at_the_end(mut self) -> Self {
        if self.is_over() {
            self.holds.clear();
        }
        self
    }
}

impl Moved {
    fn on(self, found: &mut ReturnSeen) -> Result<(), Reason> {
        use ReturnPhase::{Approved, Closed, Declined, Received, Requested};
        found.phase = match (found.phase, self) {
            (Approved, Self::Approve)
            | (Declined, Self::Decline)
            | (Received, Self::Receive)
            | (Closed, Self::Close) => return Ok(()),
            (Requested, Self::Approve) => Approved,
            (Requested, Self::Decline) => Declined,
            (Approved, Self::Receive) => {
                found.restocked = true;
                Received
            }
            (Approved | Received, Self::Close) => Closed,
            _ => return Err("RETURN_NOT_OPEN"),
        };
        Ok(())
    }
}

impl Deed {
    /// What it is, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Ship(_) => "ship",
            Self::Plan(_) => "plan",
            Self::ShipPlanned(_) => "ship what was planned",
            Self::GiveUp(_) => "give a plan up",
            Self::CancelLines(_) => "cancel lines",
            Self::Deliver(_) => "deliver",
            Self::Edit(_) => "edit",
            Self::Return(_) => "return",
            Self::Move(_, moved) => match moved {
                Moved::Approve => "approve",
                Moved::Decline => "decline",
                Moved::Receive => "receive",
                Moved::Close => "close",
            },
            Self::Refund(_) => "refund",
        }
    }

    /// In what changes of the order, at most, it ends behind its own: its items have done what they were told to, which the order records.
    pub fn changes_behind(&self) -> u8 {
        match self {
            Self::Ship(_)
            | Self::ShipPlanned(_)
            | Self::CancelLines(_)
            | Self::Edit(_)
            | Self::Move(_, Moved::Receive) => 1,
            Self::Plan(_)
            | Self::GiveUp(_)
            | Self::Hold(_)
            | Self::Release(_)
            | Self::Deliver(_)
            | Self::Return(_)
            | Self::Move(..)
            | Self::Refund(_) => 0,
        }
    }
}

/// How many of each item lines are, with so many of each.
pub fn each_item(lines: &[Line], many: impl IntoIterator<Item = (usize, i64)>) -> BTreeMap<&str, i64> {
    let mut sums = BTreeMap::new();
    for (at, many) in many {
        if let Some(line) = lines.get(at) {
            *sums.entry(line.item.as_str()).or_default() += many;
        }
    }
    sums
}

/// What so many of each line cost.
pub fn cost(lines: &[Line], many: impl IntoIterator<Item = (usize, i64)>) -> i64 {
    let costs = many.into_iter().map(|(at, many)| {
        let price = lines.get(at).map_or(0, |line| line.unit_price);
        price * many
    });
    costs.sum()
}

//! What an order asks of an item that is led on another node, and the answer.

use bytes::Bytes;
use docket_engine::{Amount, Currency, OrderId, Quantity, Rejection, Sku, Time, item::ReserveLine};
use prost::Message;

use super::{BadCall, VERSION, known, malformed, put_order, take_order, take_sku};
use crate::{NoIntern, peer as pb, refusal};

/// What an order asks of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In which the item's shard is led by whom is asked.
    pub term: u64,
    /// The order.
    pub order: OrderId,
    /// The item.
    pub sku: Sku,
    /// How often the order was edited: what comes behind a later question is known by that.
    pub edits: u32,
    /// Who asks knows that what is reserved may have to wait.
    pub knows_waiting: bool,
    /// Nothing that is asked for is to wait.
    pub only_there: bool,
    /// What is asked.
    pub action: StepAction,
}

/// What an order may ask of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepAction {
    /// To reserve.
    Reserve {
        /// The order's.
        currency: Currency,
        /// At least one.
        lines: Vec<ReserveLine>,
    },
    /// To give back what is reserved beyond what is still wanted.
    Release {
        /// So many stay reserved: 0 or more.
        remaining: Quantity,
    },
    /// To take what is reserved beyond what is still wanted off the stock.
    Consume {
        /// So many stay reserved: 0 or more.
        remaining: Quantity,
    },
    /// To reserve more.
    Raise {
        /// The order's first line that wants it, from 0.
        line: u16,
        /// So many in all: 1 or more.
        quantity: Quantity,
    },
    /// To take a return back on the stock, once.
    Restock {
        /// The return's number in its order, from 1.
        number: u32,
        /// 1 or more.
        quantity: Quantity,
        /// When the return arrived.
        received: Time,
    },
    /// How much of what is reserved waits.
    Waiting,
    /// What there is of the order, after the item panicked over it.
    GiveUp {
        /// The order's first line of the item, from 0.
        line: u16,
    },
}

/// An item's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepAnswer {
    /// It is committed, and so much of what is reserved for the order waits.
    Done(Quantity),
    /// A domain answer, which rests on nothing that is not committed.
    Rejected(Rejection),
    /// There is none.
    Failed(pb::StepFailure),
}

impl Step {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::step_request::Action;
        let action = match &self.action {
            StepAction::Reserve { currency, lines } => Action::Reserve(pb::StepReserve {
                currency: currency.as_str().to_owned(),
                lines: lines.iter().map(put_line).collect(),
            }),
            StepAction::Release {
                remaining: Quantity::ZERO,
            } => Action::Release(pb::StepNothing {}),
            StepAction::Release { remaining } => Action::ReleaseSome(pb::StepRemaining {
                remaining: remaining.0,
            }),
            StepAction::Consume { remaining } => Action::Consume(pb::StepRemaining {
                remaining: remaining.0,
            }),
            StepAction::Raise { line, quantity } => Action::Raise(pb::StepRaise {
                line: u32::from(*line),
                quantity: quantity.0,
            }),
            StepAction::Restock {
                number,
                quantity,
                received,
            } => Action::Restock(pb::StepRestock {
                number: *number,
                quantity: quantity.0,
                received: received.0,
            }),
            StepAction::Waiting => Action::Waiting(pb::StepNothing {}),
            StepAction::GiveUp { line } => Action::GiveUp(pb::StepGiveUp {
                line: u32::from(*line),
            }),
        };
        let request = pb::StepRequest {
            version: VERSION,
            term: self.term,
            order: put_order(self.order),
            sku: self.sku.as_str().to_owned(),
            edits: self.edits,
            knows_waiting: self.knows_waiting,
            only_there: self.only_there,
            action: Some(action),
        };
        request.encode_to_vec().into()
    }

    /// The question in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::step_request::Action;
        let request = pb::StepRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        let action = match request.action.ok_or(BadCall::Field("action"))? {
            Action::Reserve(reserve) => StepAction::Reserve {
                currency: reserve.currency.parse().map_err(|_| BadCall::Field("currency"))?,
                lines: reserve
                    .lines
                    .iter()
                    .map(take_line)
                    .collect::<Result<Vec<_>, _>>()?,
            },
            Action::Release(_) => StepAction::Release {
                remaining: Quantity::ZERO,
            },
            Action::ReleaseSome(release) => StepAction::Release {
                remaining: remaining(&release)?,
            },
            Action::Consume(consume) => StepAction::Consume {
                remaining: remaining(&consume)?,
            },
            Action::Raise(raise) => StepAction::Raise {
                line: line(raise.line)?,
                quantity: match raise.quantity {
                    1.. => Quantity(raise.quantity),
                    _ => return Err(BadCall::Field("quantity")),
                },
            },
            Action::Restock(restock) => StepAction::Restock {
                number: restock.number,
                quantity: match restock.quantity {
                    1.. => Quantity(restock.quantity),
                    _ => return Err(BadCall::Field("quantity")),
                },
                received: Time(restock.received),
            },
            Action::Waiting(_) => StepAction::Waiting,
            Action::GiveUp(give_up) => StepAction::GiveUp {
                line: line(give_up.line)?,
            },
        };
        // What an actor is told has been checked: an order without lines of an item asks nothing of it.
        if matches!(&action, StepAction::Reserve { lines, .. } if lines.is_empty()) {
            return Err(BadCall::Field("lines"));
        }
        Ok(Self {
            term: request.term,
            order: take_order(&request.order)?,
            sku: take_sku(&request.sku)?,
            edits: request.edits,
            knows_waiting: request.knows_waiting,
            only_there: request.only_there,
            action,
        })
    }
}

fn remaining(asked: &pb::StepRemaining) -> Result<Quantity, BadCall> {
    match asked.remaining {
        0.. => Ok(Quantity(asked.remaining)),
        _ => Err(BadCall::Field("remaining")),
    }
}

impl StepAnswer {
    /// The answer's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::step_reply::Result as R;
        let result = match self {
            Self::Done(_) => R::Done(pb::StepNothing {}),
            Self::Rejected(rejection) => R::Rejected(refusal::encode(rejection).into()),
            Self::Failed(failure) => R::Failed((*failure).into()),
        };
        let waiting = match self {
            Self::Done(waiting) => waiting.0,
            Self::Rejected(_) | Self::Failed(_) => 0,
        };
        let reply = pb::StepReply {
            result: Some(result),
            waiting,
        };
        reply.encode_to_vec().into()
    }

    /// The answer in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::step_reply::Result as R;
        let reply = pb::StepReply::decode(body).map_err(malformed)?;
        Ok(match reply.result.ok_or(BadCall::Field("result"))? {
            R::Done(_) if reply.waiting < 0 => return Err(BadCall::Field("waiting")),
            R::Done(_) => Self::Done(Quantity(reply.waiting)),
            R::Rejected(bytes) => Self::Rejected(refusal::decode(&bytes, &NoIntern).map_err(malformed)?),
            // A failure that this version does not know is one whose outcome it does not know.
            R::Failed(failure) => Self::Failed(failure.try_into().unwrap_or_default()),
        })
    }
}

fn put_line(line: &ReserveLine) -> pb::StepLine {
    pb::StepLine {
        line: u32::from(line.line),
        quantity: line.quantity.0,
        unit_price: line.unit_price.0,
    }
}

fn take_line(taken: &pb::StepLine) -> Result<ReserveLine, BadCall> {
    if taken.quantity < 1 || taken.unit_price < 0 {
        return Err(BadCall::Field("quantity or price"));
    }
    Ok(ReserveLine {
        line: line(taken.line)?,
        quantity: Quantity(taken.quantity),
        unit_price: Amount(taken.unit_price),
    })
}

fn line(number: u32) -> Result<u16, BadCall> {
    u16::try_from(number).map_err(|_| BadCall::Field("line"))
}

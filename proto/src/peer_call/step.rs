//! What an order asks of an item that is led on another node, and the answer.

use bytes::Bytes;
use docket_engine::{Amount, Currency, OrderId, Quantity, Rejection, Sku, item::ReserveLine};
use prost::Message;

use super::{BadCall, VERSION, known, malformed, take_order, take_sku};
use crate::{NoIntern, peer as pb, refusal, wire};

/// What an order asks of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In which the item's shard is led by whom is asked.
    pub term: u64,
    /// The order.
    pub order: OrderId,
    /// The item.
    pub sku: Sku,
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
    /// To give back.
    Release,
    /// What there is of the order, after the item panicked over it.
    GiveUp {
        /// The order's first line of the item, from 0.
        line: u16,
    },
}

/// An item's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepAnswer {
    /// It is committed.
    Done,
    /// A domain answer, which rests on nothing that is not committed.
    Rejected(Rejection),
    /// There is none.
    Failed(pb::StepFailure),
}

impl Step {
    /// The question's bytes: a `StepRequest`, written at once, since most lines of a cluster's orders are asked for on another node.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(STEP_BYTES + self.sku.as_str().len());
        wire::number(&mut out, 1, u64::from(VERSION));
        wire::number(&mut out, 2, self.term);
        wire::bytes(&mut out, 3, &self.order.0.to_be_bytes());
        wire::text(&mut out, 4, self.sku.as_str());
        match &self.action {
            StepAction::Reserve { currency, lines } => wire::nested(&mut out, 5, |out| {
                wire::text(out, 1, currency.as_str());
                lines
                    .iter()
                    .for_each(|line| wire::nested(out, 2, |out| put_line(line, out)));
            }),
            StepAction::Release => wire::nested(&mut out, 6, |_| {}),
            StepAction::GiveUp { line } => {
                wire::nested(&mut out, 7, |out| wire::number(out, 1, u64::from(*line)));
            }
        }
        out.into()
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
            Action::Release(_) => StepAction::Release,
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
            action,
        })
    }
}

impl StepAnswer {
    /// The answer's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::step_reply::Result as R;
        if *self == Self::Done {
            return Bytes::from_static(DONE);
        }
        let result = match self {
            Self::Done => R::Done(pb::StepNothing {}),
            Self::Rejected(rejection) => R::Rejected(refusal::encode(rejection).into()),
            Self::Failed(failure) => R::Failed((*failure).into()),
        };
        let reply = pb::StepReply { result: Some(result) };
        reply.encode_to_vec().into()
    }

    /// The answer in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::step_reply::Result as R;
        if body == DONE {
            return Ok(Self::Done);
        }
        let reply = pb::StepReply::decode(body).map_err(malformed)?;
        Ok(match reply.result.ok_or(BadCall::Field("result"))? {
            R::Done(_) => Self::Done,
            R::Rejected(bytes) => Self::Rejected(refusal::decode(&bytes, &NoIntern).map_err(malformed)?),
            // A failure that this version does not know is one whose outcome it does not know.
            R::Failed(failure) => Self::Failed(failure.try_into().unwrap_or_default()),
        })
    }
}

/// What nearly every answer is: a reply whose field 1 is an empty message.
const DONE: &[u8] = b"\x0a\x00";

/// What a question about one line has beside its item, in bytes.
const STEP_BYTES: usize = 64;

fn put_line(line: &ReserveLine, out: &mut Vec<u8>) {
    wire::number(out, 1, u64::from(line.line));
    wire::signed(out, 2, line.quantity.0);
    wire::signed(out, 3, line.unit_price.0);
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

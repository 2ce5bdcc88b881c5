//! What a shard keeps of its orders' changes, in the bytes of its snapshots.
//!
//! Changes that are stored together are written as differences: a position has few bytes then, and a time hardly more.

use docket_engine::{Change, ChangeKind, OrderId, Time, Version};

use super::record;
use crate::{
    feed::FeedPosition,
    parts::{self, required},
    wire::{self, DecodeError, Field, fields},
};

/// What is kept of orders' changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStart {
    /// The entry of the log after the last one that is in the snapshot.
    pub next: u64,
    /// All changes from here on are kept.
    pub floor: FeedPosition,
}

/// A change of an order that is kept for the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptChange {
    /// Where it is.
    pub position: FeedPosition,
    /// The order.
    pub order: OrderId,
    /// What happened.
    pub change: Change,
}

/// Appends changes of orders to a chunk, which come in the order of their positions.
pub fn put_changes(changes: impl Iterator<Item = KeptChange>, chunk: &mut Vec<u8>) {
    record(chunk, 8, |out| {
        let mut before = None;
        for kept in changes {
            let KeptChange {
                position,
                order,
                change,
            } = kept;
            let (index, time) = *before.get_or_insert_with(|| {
                wire::number(out, 1, position.index);
                wire::signed(out, 2, change.at.0);
                (position.index, change.at.0)
            });
            wire::nested(out, 3, |out| {
                parts::put_order_id(out, 1, order);
                wire::number(out, 2, position.index.wrapping_sub(index));
                wire::number(out, 3, position.ordinal.into());
                wire::signed(out, 4, change.at.0.wrapping_sub(time));
                wire::number(out, 5, change.version.0);
                wire::number(out, 6, change.kind.number().into());
            });
            before = Some((position.index, change.at.0));
        }
    });
}

pub(super) fn start_fields(out: &mut Vec<u8>, start: &FeedStart) {
    wire::number(out, 1, start.next);
    wire::number(out, 2, start.floor.index);
    wire::number(out, 3, start.floor.ordinal.into());
}

pub(super) fn start(field: Field<'_>) -> Result<FeedStart, DecodeError> {
    let (mut next, mut floor) = (0, FeedPosition::default());
    for field in fields("FeedStart", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => next = field.number()?,
            2 => floor.index = field.number()?,
            3 => floor.ordinal = field.number32()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(FeedStart { next, floor })
}

pub(super) fn kept(field: Field<'_>) -> Result<Vec<KeptChange>, DecodeError> {
    let (mut index, mut time) = (0, 0);
    let mut changes = Vec::new();
    for field in fields("FeedChanges", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => index = field.number()?,
            2 => time = field.signed()?,
            3 => {
                let kept = change(field, index, time)?;
                (index, time) = (kept.position.index, kept.change.at.0);
                changes.push(kept);
            }
            _ => return Err(field.unknown()),
        }
    }
    Ok(changes)
}

fn change(field: Field<'_>, index: u64, time: i64) -> Result<KeptChange, DecodeError> {
    const MESSAGE: &str = "FeedChange";
    let mut position = FeedPosition { index, ordinal: 0 };
    let (mut order, mut kind) = (None, None);
    let (mut version, mut at) = (0, time);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => order = Some(parts::order_id(field)?),
            2 => position.index = index.wrapping_add(field.number()?),
            3 => position.ordinal = field.number32()?,
            4 => at = time.wrapping_add(field.signed()?),
            5 => version = field.number()?,
            6 => {
                let number = field.number()?;
                kind = Some(ChangeKind::from_number(number).ok_or_else(|| field.has_no_meaning(number))?);
            }
            _ => return Err(field.unknown()),
        }
    }
    Ok(KeptChange {
        position,
        order: required(MESSAGE, 1, order)?,
        change: Change {
            kind: required(MESSAGE, 6, kind)?,
            version: Version(version),
            at: Time(at),
        },
    })
}

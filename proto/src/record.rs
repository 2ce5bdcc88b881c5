//! Records in the bytes of the log: `docket.journal.v1.Batch`.
//!
//! A batch is its records one after the other, so that it is built by appending each with [`encode_record`] as it is
//! decided; [`decode_batch`] and [`records`] read it back. Nothing about these bytes may change: nodes read what older
//! versions wrote.

use docket_engine::{Decider, EntityId, Event, Record, Time, Unchanged, Version};

use crate::{
    fact,
    parts::{self, Intern, NoIntern},
    wire::{self, DecodeError, Field, fields},
};

/// Appends a record to a batch's bytes (an empty vector is an empty batch).
pub fn encode_record(record: &Record, batch: &mut Vec<u8>) {
    wire::nested(batch, 1, |out| {
        wire::signed(out, 1, record.time.0);
        for event in &record.events {
            wire::nested(out, 2, |out| {
                wire::number(out, 1, event.version.0);
                fact::put(out, &event.fact);
                wire::number(out, 17, event.decider.0.into());
            });
        }
        if let Some(request) = &record.request {
            parts::put_request(out, 3, request);
        }
        if let Some(unchanged) = &record.unchanged {
            wire::nested(out, 4, |out| put_unchanged(out, unchanged));
        }
        if let Some(origin) = &record.origin {
            wire::data(out, 5, origin.as_bytes());
        }
    });
}

fn put_unchanged(out: &mut Vec<u8>, unchanged: &Unchanged) {
    wire::number(out, 1, unchanged.version.0);
    match &unchanged.entity {
        EntityId::Order(id) => parts::put_order_id(out, 2, *id),
        EntityId::Customer(id) => wire::element(out, 3, id.as_str()),
        EntityId::Item(sku) => wire::element(out, 4, sku.as_str()),
    }
    wire::number(out, 5, unchanged.decider.0.into());
}

/// Appends the term in which a batch's proposer leads the shard.
pub fn encode_term(term: u64, batch: &mut Vec<u8>) {
    wire::number(batch, 2, term);
}

/// The term in which a batch's proposer led the shard; 0 where it does not say.
///
/// # Errors
/// Where the bytes are no batch.
pub fn decode_term(batch: &[u8]) -> Result<u64, DecodeError> {
    // Written first.
    match fields("Batch", batch).next().transpose()? {
        Some(field) if field.number == 2 => field.number(),
        _ => Ok(0),
    }
}

/// The newest time of a batch's records, without reading what else they say; `None` where there is no record.
///
/// # Errors
/// Where the bytes are no batch.
pub fn decode_newest_time(batch: &[u8]) -> Result<Option<Time>, DecodeError> {
    let mut newest = None;
    for field in fields("Batch", batch) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        // Written first, unless it is 0.
        let time = match fields("Record", field.bytes()?).next().transpose()? {
            Some(field) if field.number == 1 => parts::time(field)?,
            _ => Time(0),
        };
        newest = newest.max(Some(time));
    }
    Ok(newest)
}

/// The records of a batch.
///
/// # Errors
/// Where the bytes are no batch, or one of a newer version.
pub fn decode_batch(batch: &[u8]) -> Result<Vec<Record>, DecodeError> {
    decode_batch_with(batch, &NoIntern)
}

/// The records of a batch, with ids that `ids` makes.
///
/// # Errors
/// Where the bytes are no batch, or one of a newer version.
pub fn decode_batch_with(batch: &[u8], ids: &dyn Intern) -> Result<Vec<Record>, DecodeError> {
    records(batch, ids).collect()
}

/// The records of a batch, one at a time. After an error there are no more.
pub fn records<'a>(
    batch: &'a [u8],
    ids: &'a dyn Intern,
) -> impl Iterator<Item = Result<Record, DecodeError>> + 'a {
    fields("Batch", batch).filter_map(move |field| match field {
        Ok(field) => match field.number {
            1 => Some(record(field, ids)),
            2 => field.number().err().map(Err),
            _ => Some(Err(field.unknown())),
        },
        Err(error) => Some(Err(error)),
    })
}

fn record(field: Field<'_>, ids: &dyn Intern) -> Result<Record, DecodeError> {
    let mut record = Record {
        time: Time(0),
        events: Vec::new(),
        request: None,
        unchanged: None,
        origin: None,
    };
    for field in fields("Record", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => record.time = parts::time(field)?,
            2 => record.events.push(event(field, ids)?),
            3 => record.request = Some(parts::request(field)?),
            4 => record.unchanged = Some(unchanged(field, ids)?),
            5 => record.origin = Some(parts::origin(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(record)
}

fn unchanged(field: Field<'_>, ids: &dyn Intern) -> Result<Unchanged, DecodeError> {
    const MESSAGE: &str = "Unchanged";
    let (mut version, mut decider) = (0, 0);
    let mut entity = None;
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => version = field.number()?,
            2 => entity = Some(EntityId::Order(parts::order_id(field)?)),
            3 => {
                let id = parts::customer_id(MESSAGE, field.text()?, ids)?;
                entity = Some(EntityId::Customer(id));
            }
            4 => entity = Some(EntityId::Item(parts::sku(MESSAGE, field.text()?, ids)?)),
            5 => decider = field.number32()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(Unchanged {
        entity: parts::required(MESSAGE, 2, entity)?,
        version: Version(version),
        decider: Decider(decider),
    })
}

fn event(field: Field<'_>, ids: &dyn Intern) -> Result<Event, DecodeError> {
    let (mut version, mut decider) = (0, 0);
    let mut fact = None;
    for field in fields("Event", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => version = field.number()?,
            17 => decider = field.number32()?,
            _ => fact = Some(fact::get(field, ids)?),
        }
    }
    Ok(Event {
        version: Version(version),
        decider: Decider(decider),
        fact: parts::required("Event", 2, fact)?,
    })
}

//! The records and snapshot pieces of what is steered (feature flags, callers' own limits) as bytes, for the meta group's log.
//!
//! These bytes are on disk for ever. What is encoded decodes to the same; what cannot be decoded is named, never guessed.
//!
//! ```text
//!  record    magic "\0steered", 8 bytes | format, 1 byte | docket.journal.v1.SteeringRecord
//!  snapshot  pieces behind those of the webhooks (`docket.journal.v1.AccessSnapshotRecord`): head, then flags, then limits
//! ```
//!
//! Records of the access state begin with a protobuf tag, which is never a zero byte, and those of the webhooks with another magic: so they
//! are told apart.

use std::collections::BTreeSet;

use docket_engine::steering::{
    FlagEntry, FlagName, FlagRule, LimitEntry, Limited, RateLimit, Share, Steering, SteeringEvent,
    SteeringRecord,
};
use docket_engine::{Broken, CustomerId, Time, Version};
use prost::Message;

use crate::access::{AccessDecodeError, api_key_id, role, role_number, unknown, username};
use crate::journal::{
    self as wire, steering_event::Fact, steering_limited::Who, steering_snapshot_record::Entry,
};

/// What a record begins with.
const MAGIC: [u8; 8] = *b"\0steered";
/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;

/// One piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SteeringEntry {
    /// The first piece.
    Head {
        /// The state's version.
        version: Version,
        /// The time of its newest record.
        last_time: Time,
    },
    /// A flag that was set.
    Flag(FlagName, FlagEntry),
    /// A caller's own limit.
    Limit(Limited, LimitEntry),
}

/// Whether bytes of the meta group's log are a record of what is steered, of whatever format.
pub fn is_steering_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The bytes of a record.
pub fn encode_steering_record(record: &SteeringRecord) -> Vec<u8> {
    let message = wire::SteeringRecord {
        version: record.version.0,
        time: record.time.0,
        by: record.by.to_string(),
        events: record.events.iter().map(event_to_wire).collect(),
    };
    let mut bytes = MAGIC.to_vec();
    bytes.push(FORMAT);
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

/// The record of these bytes.
///
/// # Errors
/// Where they are none.
pub fn decode_steering_record(bytes: &[u8]) -> Result<SteeringRecord, AccessDecodeError> {
    let body = bytes.strip_prefix(&MAGIC).ok_or_else(|| unknown("magic"))?;
    let body = match body.split_first() {
        Some((&FORMAT, body)) => body,
        Some(_) => return Err(AccessDecodeError::Unknown),
        None => return Err(unknown("format")),
    };
    let message = wire::SteeringRecord::decode(body)?;
    // Leaving out a part of a fact would mean another state than the others have.
    if message.encode_to_vec() != body {
        return Err(AccessDecodeError::Unknown);
    }
    Ok(SteeringRecord {
        version: Version(message.version),
        time: Time(message.time),
        by: username(&message.by)?,
        events: message
            .events
            .into_iter()
            .map(event_of)
            .collect::<Result<_, _>>()?,
    })
}

/// The pieces of a snapshot of this state, in the order in which they are restored; none of a state that nothing was ever put into.
pub(crate) fn steering_pieces(state: &Steering) -> Vec<wire::SteeringSnapshotRecord> {
    if state.version() == Version::default() {
        return Vec::new();
    }
    let head = Entry::Head(wire::SteeringSnapshotHead {
        version: state.version().0,
        last_time: state.last_time().0,
    });
    let flags = state.flags().map(|(name, entry)| {
        Entry::Flag(wire::SteeringFlagAsOfNow {
            flag: Some(flag_to_wire(name, &entry.rule)),
            changed: Some(wire::SteeringChanged {
                revision: entry.revision,
                by: entry.by.to_string(),
                at: entry.at.0,
            }),
        })
    });
    let limits = state.limits(None).map(|(of, entry)| {
        Entry::Limit(wire::SteeringLimitAsOfNow {
            limit: Some(limit_to_wire(of, entry.limit)),
            changed: Some(wire::SteeringChanged {
                revision: entry.revision,
                by: entry.by.to_string(),
                at: entry.at.0,
            }),
        })
    });
    let piece = |entry| wire::SteeringSnapshotRecord { entry: Some(entry) };
    [head].into_iter().chain(flags).chain(limits).map(piece).collect()
}

/// What a piece says.
pub(crate) fn steering_entry(
    piece: wire::SteeringSnapshotRecord,
) -> Result<SteeringEntry, AccessDecodeError> {
    Ok(match piece.entry.ok_or_else(|| unknown("entry"))? {
        Entry::Head(head) => SteeringEntry::Head {
            version: Version(head.version),
            last_time: Time(head.last_time),
        },
        Entry::Flag(flag) => {
            let (name, rule) = flag_of(flag.flag.ok_or_else(|| unknown("flag"))?)?;
            let changed = flag.changed.ok_or_else(|| unknown("changed"))?;
            let entry = FlagEntry {
                rule,
                revision: changed.revision,
                by: username(&changed.by)?,
                at: Time(changed.at),
            };
            SteeringEntry::Flag(name, entry)
        }
        Entry::Limit(limit) => {
            let (of, rate) = limit_of(limit.limit.ok_or_else(|| unknown("limit"))?)?;
            let changed = limit.changed.ok_or_else(|| unknown("changed"))?;
            let entry = LimitEntry {
                limit: rate,
                revision: changed.revision,
                by: username(&changed.by)?,
                at: Time(changed.at),
            };
            SteeringEntry::Limit(of, entry)
        }
    })
}

/// Puts the pieces of a snapshot together.
#[derive(Default)]
pub struct SteeringRestore {
    state: Steering,
}

impl SteeringRestore {
    /// Takes the next piece.
    ///
    /// # Errors
    /// Where it does not fit those before.
    pub fn take(&mut self, entry: SteeringEntry) -> Result<(), Broken> {
        match entry {
            SteeringEntry::Head { version, last_time } => {
                if self.state != Steering::default() {
                    return Err(Broken {
                        entity: "the snapshot of what is steered".to_owned(),
                        why: "the head is not before all others",
                    });
                }
                self.state = Steering::restored(version, last_time);
                Ok(())
            }
            SteeringEntry::Flag(name, entry) => self.state.insert_flag(name, entry),
            SteeringEntry::Limit(of, entry) => self.state.insert_limit(of, entry),
        }
    }

    /// The state.
    ///
    /// # Errors
    /// Where an invariant does not hold.
    pub fn done(self) -> Result<Steering, Broken> {
        self.state.validate()?;
        Ok(self.state)
    }
}

fn event_to_wire(event: &SteeringEvent) -> wire::SteeringEvent {
    let fact = match event {
        SteeringEvent::FlagSet { flag, rule } => Fact::FlagSet(flag_to_wire(flag, rule)),
        SteeringEvent::FlagUnset { flag } => Fact::FlagUnset(wire::SteeringFlagUnset {
            name: flag.to_string(),
        }),
        SteeringEvent::LimitSet { of, limit } => Fact::LimitSet(limit_to_wire(of, *limit)),
        SteeringEvent::LimitUnset { of } => Fact::LimitUnset(limited_to_wire(of)),
    };
    wire::SteeringEvent { fact: Some(fact) }
}

fn event_of(event: wire::SteeringEvent) -> Result<SteeringEvent, AccessDecodeError> {
    Ok(match event.fact.ok_or_else(|| unknown("fact"))? {
        Fact::FlagSet(flag) => {
            let (flag, rule) = flag_of(flag)?;
            SteeringEvent::FlagSet { flag, rule }
        }
        Fact::FlagUnset(flag) => SteeringEvent::FlagUnset {
            flag: flag_name(&flag.name)?,
        },
        Fact::LimitSet(limit) => {
            let (of, limit) = limit_of(limit)?;
            SteeringEvent::LimitSet { of, limit }
        }
        Fact::LimitUnset(of) => SteeringEvent::LimitUnset { of: limited_of(of)? },
    })
}

fn flag_to_wire(name: &FlagName, rule: &FlagRule) -> wire::SteeringFlag {
    wire::SteeringFlag {
        name: name.to_string(),
        share: rule.share.hundredths().into(),
        customers: rule.customers.iter().map(ToString::to_string).collect(),
        roles: rule.roles.iter().map(|role| role_number(*role)).collect(),
    }
}

fn flag_of(flag: wire::SteeringFlag) -> Result<(FlagName, FlagRule), AccessDecodeError> {
    let customers = flag
        .customers
        .iter()
        .map(|id| CustomerId::new(id).map_err(|_| unknown("customers")));
    let roles = flag.roles.iter().map(|number| role(*number));
    let rule = FlagRule {
        share: Share::new(flag.share).ok_or_else(|| unknown("share"))?,
        customers: set(customers, "customers")?,
        roles: set(roles, "roles")?,
    };
    Ok((flag_name(&flag.name)?, rule))
}

/// A set that was written in its order.
fn set<T: Ord + Clone>(
    of: impl Iterator<Item = Result<T, AccessDecodeError>>,
    field: &'static str,
) -> Result<BTreeSet<T>, AccessDecodeError> {
    let mut all = BTreeSet::new();
    for one in of {
        let one = one?;
        if all.last().is_some_and(|last| one <= *last) {
            return Err(unknown(field));
        }
        all.insert(one);
    }
    Ok(all)
}

fn flag_name(text: &str) -> Result<FlagName, AccessDecodeError> {
    FlagName::new(text).map_err(|_| unknown("name"))
}

fn limit_to_wire(of: &Limited, limit: RateLimit) -> wire::SteeringLimit {
    wire::SteeringLimit {
        of: Some(limited_to_wire(of)),
        per_second: limit.per_second,
        burst: limit.burst,
    }
}

fn limit_of(limit: wire::SteeringLimit) -> Result<(Limited, RateLimit), AccessDecodeError> {
    let of = limited_of(limit.of.ok_or_else(|| unknown("of"))?)?;
    let limit = RateLimit {
        per_second: limit.per_second,
        burst: limit.burst,
    };
    Ok((of, limit))
}

fn limited_to_wire(of: &Limited) -> wire::SteeringLimited {
    let who = match of {
        Limited::Account(account) => Who::Account(account.to_string()),
        Limited::ApiKey(key) => Who::ApiKey(key.0.to_vec()),
    };
    wire::SteeringLimited { who: Some(who) }
}

fn limited_of(of: wire::SteeringLimited) -> Result<Limited, AccessDecodeError> {
    Ok(match of.who.ok_or_else(|| unknown("who"))? {
        Who::Account(account) => Limited::Account(username(&account)?),
        Who::ApiKey(key) => Limited::ApiKey(api_key_id(&key)?),
    })
}

//! The webhooks' records and snapshot pieces as bytes, for the meta group's log.
//!
//! These bytes are on disk for ever. What is encoded decodes to the same; what cannot be decoded is named, never guessed.
//!
//! ```text
//!  record    magic "\0webhook", 8 bytes | format, 1 byte | docket.journal.v1.WebhookRecord
//!  snapshot  pieces behind those of the access state (`docket.journal.v1.AccessSnapshotRecord`): head, then each webhook, what is
//!            deferred and dead of it, and the requests that are remembered
//! ```
//!
//! Records of the access state begin with a protobuf tag, which is never a zero byte: so the two are told apart.

mod event;
mod parts;

use docket_engine::webhook::{
    DeadLetter, Deferred, DeliveryId, Webhook, WebhookId, WebhookRecord, WebhookState,
};
use docket_engine::{Broken, Request, Time, Version};
use prost::Message;

use self::{
    event::{event_of, event_to_wire},
    parts::{
        dead_of, dead_to_wire, deferred_of, deferred_to_wire, mark_of, mark_to_wire, unknown, webhook_of,
        webhook_to_wire,
    },
};
use crate::{
    access::AccessDecodeError,
    journal::{self as wire, webhook_snapshot_record::Entry},
};

/// What a record begins with.
const MAGIC: [u8; 8] = *b"\0webhook";
/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;
/// Deliveries in one piece of a snapshot: some 80 bytes each.
const PIECE_MAX: usize = 256;

/// One piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEntry {
    /// The first piece.
    Head {
        /// The state's version.
        version: Version,
        /// The time of its newest record.
        last_time: Time,
    },
    /// A webhook, without what is deferred and dead of it.
    Webhook(Box<Webhook>),
    /// Some of that, of the webhook before it.
    Deliveries {
        /// What is tried again.
        deferred: Vec<(DeliveryId, Deferred)>,
        /// What was given up.
        dead: Vec<(DeliveryId, DeadLetter)>,
    },
    /// A request that was done.
    Request(Request, WebhookId, Time),
}

/// Whether bytes of the meta group's log are a record of the webhooks, of whatever format.
pub fn is_webhook_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The bytes of a record.
pub fn encode_webhook_record(record: &WebhookRecord) -> Vec<u8> {
    let message = wire::WebhookRecord {
        version: record.version.0,
        time: record.time.0,
        request: record
            .request
            .as_ref()
            .map(|(request, webhook)| mark_to_wire(request, *webhook, Time(0))),
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
pub fn decode_webhook_record(bytes: &[u8]) -> Result<WebhookRecord, AccessDecodeError> {
    let body = bytes.strip_prefix(&MAGIC).ok_or_else(|| unknown("magic"))?;
    let body = match body.split_first() {
        Some((&FORMAT, body)) => body,
        Some(_) => return Err(AccessDecodeError::Unknown),
        None => return Err(unknown("format")),
    };
    let message = wire::WebhookRecord::decode(body)?;
    // Leaving out a part of a fact would mean another state than the others have.
    if message.encode_to_vec() != body {
        return Err(AccessDecodeError::Unknown);
    }
    let request = message.request.map(|mark| {
        let (request, webhook, _) = mark_of(&mark)?;
        Ok::<_, AccessDecodeError>((request, webhook))
    });
    let events = message.events.into_iter().map(event_of);
    Ok(WebhookRecord {
        version: Version(message.version),
        time: Time(message.time),
        request: request.transpose()?,
        events: events.collect::<Result<_, _>>()?,
    })
}

/// The pieces of a snapshot of this state, in the order in which they are restored; none of a state that nothing was ever put into.
pub(crate) fn webhook_pieces(state: &WebhookState) -> Vec<wire::WebhookSnapshotRecord> {
    if state.version() == Version::default() {
        return Vec::new();
    }
    let head = wire::WebhookSnapshotHead {
        version: state.version().0,
        last_time: state.last_time().0,
    };
    let mut entries = vec![Entry::Head(head)];
    for webhook in state.webhooks() {
        entries.push(Entry::Webhook(webhook_to_wire(webhook)));
        let deferred: Vec<_> = webhook.deferred.iter().collect();
        entries.extend(deferred.chunks(PIECE_MAX).map(|some| {
            Entry::Piece(wire::WebhookPiece {
                deferred: some.iter().map(|(id, it)| deferred_to_wire(**id, it)).collect(),
                dead: Vec::new(),
            })
        }));
        let dead: Vec<_> = webhook.dead.iter().collect();
        entries.extend(dead.chunks(PIECE_MAX).map(|some| {
            Entry::Piece(wire::WebhookPiece {
                deferred: Vec::new(),
                dead: some.iter().map(|(id, it)| dead_to_wire(**id, it)).collect(),
            })
        }));
    }
    let requests = state
        .requests()
        .map(|(request, webhook, at)| Entry::Request(mark_to_wire(&request, webhook, at)));
    entries.extend(requests);
    let piece = |entry| wire::WebhookSnapshotRecord { entry: Some(entry) };
    entries.into_iter().map(piece).collect()
}

/// What a piece says.
pub(crate) fn webhook_entry(piece: wire::WebhookSnapshotRecord) -> Result<WebhookEntry, AccessDecodeError> {
    Ok(match piece.entry.ok_or_else(|| unknown("entry"))? {
        Entry::Head(head) => WebhookEntry::Head {
            version: Version(head.version),
            last_time: Time(head.last_time),
        },
        Entry::Webhook(webhook) => WebhookEntry::Webhook(Box::new(webhook_of(webhook)?)),
        Entry::Piece(piece) => WebhookEntry::Deliveries {
            deferred: piece
                .deferred
                .into_iter()
                .map(deferred_of)
                .collect::<Result<_, _>>()?,
            dead: piece.dead.into_iter().map(dead_of).collect::<Result<_, _>>()?,
        },
        Entry::Request(mark) => {
            let (request, webhook, at) = mark_of(&mark)?;
            WebhookEntry::Request(request, webhook, at)
        }
    })
}

/// Puts the pieces of a snapshot together.
#[derive(Default)]
pub struct WebhookRestore {
    state: WebhookState,
    /// The webhook whose deliveries come.
    open: Option<Webhook>,
}

impl WebhookRestore {
    /// Takes the next piece.
    ///
    /// # Errors
    /// Where it does not fit those before.
    pub fn take(&mut self, entry: WebhookEntry) -> Result<(), Broken> {
        match entry {
            WebhookEntry::Head { version, last_time } => {
                if self.open.is_some() || self.state != WebhookState::default() {
                    return Err(broken("the head is not before all others"));
                }
                self.state = WebhookState::restored(version, last_time);
            }
            WebhookEntry::Webhook(webhook) => {
                self.close()?;
                self.open = Some(*webhook);
            }
            WebhookEntry::Deliveries { deferred, dead } => {
                let webhook = self.open.as_mut();
                let webhook = webhook.ok_or_else(|| broken("deliveries are of no webhook"))?;
                webhook.deferred.extend(deferred);
                webhook.dead.extend(dead);
            }
            WebhookEntry::Request(request, webhook, at) => self.state.insert_request(request, webhook, at)?,
        }
        Ok(())
    }

    /// The state.
    ///
    /// # Errors
    /// Where an invariant does not hold.
    pub fn done(mut self) -> Result<WebhookState, Broken> {
        self.close()?;
        self.state.validate()?;
        Ok(self.state)
    }

    fn close(&mut self) -> Result<(), Broken> {
        self.open
            .take()
            .map_or(Ok(()), |webhook| self.state.insert(webhook))
    }
}

fn broken(why: &'static str) -> Broken {
    Broken {
        entity: "the snapshot of the webhooks".to_owned(),
        why,
    }
}

//! The state machine of a shard's log: decodes entries, applies their records to [`Committed`], and reads snapshots
//! (`snapshot/` writes them, and has their format).
//!
//! An entry is a `docket.journal.v1.Batch`; its answer has one byte per record: [`DONE`] or [`CONFLICT`].

use std::{io, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dashmap::DashSet;
use docket_cluster::{Capture, Entry, StateError, StateMachine};
use docket_engine::{CustomerId, IdError, Record, Sku};
use docket_proto::{
    Intern,
    record::{decode_batch, decode_term, encode_record, encode_term, records},
    snapshot::{self, FORMAT, FORMAT_OLDEST, SnapshotRecord, StoredReply},
};
use rapidhash::fast::RandomState;

use crate::{
    archive::Aside,
    committed::{Applied, Committed},
    decided::Decided,
    feed::AsFeed as _,
    remembered::{StoredRequest, Target},
    snapshot::View,
};

/// A record that was applied.
pub(crate) const DONE: u8 = 0;
/// A record that did not fit and changed nothing.
pub(crate) const CONFLICT: u8 = 1;

// Since which version of the peer protocol nodes read snapshots: since that of the same number as the snapshot's format.
const _: () = assert!(
    FORMAT == 7,
    "a new format of snapshots needs a new version of the peer protocol"
);

/// A larger piece is none of ours.
const PIECE_BYTES_MAX: usize = 16 << 20;

/// Begins an entry's payload, which is proposed by the leader of this term.
pub(crate) fn begin(term: u64, payload: &mut Vec<u8>) {
    payload.clear();
    encode_term(term, payload);
}

/// Appends a record to an entry's payload.
pub(crate) fn encode(record: &Record, payload: &mut Vec<u8>) {
    encode_record(record, payload);
}

/// One copy of every id that the node's shards hold, so that a million orders share the texts of their customers and
/// items. Grows with the ids that are stored, as the state itself does.
#[derive(Default)]
pub(crate) struct Ids {
    customers: DashSet<CustomerId, RandomState>,
    skus: DashSet<Sku, RandomState>,
}

impl Intern for Ids {
    fn customer(&self, text: &str) -> Result<CustomerId, IdError> {
        if let Some(id) = self.customers.get(text) {
            return Ok(id.clone());
        }
        let id = CustomerId::new(text)?;
        self.customers.insert(id.clone());
        Ok(id)
    }

    fn sku(&self, text: &str) -> Result<Sku, IdError> {
        if let Some(sku) = self.skus.get(text) {
            return Ok(sku.clone());
        }
        let sku = Sku::new(text)?;
        self.skus.insert(sku.clone());
        Ok(sku)
    }
}

/// The node's copies of ids, where it has them, and ids of their own where not: what a request names need not exist, and is not to be
/// remembered for having been named.
#[derive(Clone)]
pub struct KnownIds(pub(crate) Arc<Ids>);

impl Intern for KnownIds {
    fn customer(&self, text: &str) -> Result<CustomerId, IdError> {
        let known = self.0.customers.get(text).map(|id| id.clone());
        known.map_or_else(|| CustomerId::new(text), Ok)
    }

    fn sku(&self, text: &str) -> Result<Sku, IdError> {
        let known = self.0.skus.get(text).map(|sku| sku.clone());
        known.map_or_else(|| Sku::new(text), Ok)
    }
}

/// The state machine of a shard by itself, with nothing in it and no actor that decides over it: for benchmarks, and for tools that read
/// a snapshot.
pub fn shard_state_machine() -> Arc<dyn StateMachine> {
    Arc::new(ShardMachine::new(Arc::default(), Arc::default(), Arc::default()))
}

/// A shard's state machine.
pub(crate) struct ShardMachine {
    committed: Arc<Committed>,
    ids: Arc<Ids>,
    decided: Arc<Decided>,
}

impl ShardMachine {
    pub(crate) fn new(committed: Arc<Committed>, ids: Arc<Ids>, decided: Arc<Decided>) -> Self {
        Self {
            committed,
            ids,
            decided,
        }
    }

    /// Applies one record of an entry, which is `stale` where who proposed it led in another term.
    #[expect(
        clippy::panic,
        reason = "an entry that was committed and cannot be applied must stop the group"
    )]
    fn apply_record(&self, index: u64, stale: bool, record: &Record) -> u8 {
        if stale {
            self.committed.refuse(record);
            return CONFLICT;
        }
        match self.committed.apply(record) {
            Ok(Applied::Done) => DONE,
            Ok(Applied::Conflict) => CONFLICT,
            Err(broken) => panic!("entry {index} cannot be applied: {broken}"),
        }
    }
}

impl StateMachine for ShardMachine {
    #[expect(
        clippy::panic,
        reason = "an entry that was committed and cannot be read must stop the group"
    )]
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        let _entry = self.committed.between_entries();
        let mut outcomes = BytesMut::with_capacity(64);
        self.committed.effects.begin();
        // Proposed by who led in another term: what it believed may never have been committed.
        let stale = decode_term(entry.payload).is_ok_and(|term| term != entry.term);
        self.committed.feed().begin(entry.index);
        if let Some(decided) = self.decided.take(entry.payload) {
            // What every other replica reads.
            debug_assert_eq!(
                decode_batch(entry.payload).as_ref(),
                Ok(&decided),
                "an entry's bytes say something else than what was decided"
            );
            for record in &decided {
                outcomes.put_u8(self.apply_record(entry.index, stale, record));
            }
        } else {
            for record in records(entry.payload, &*self.ids) {
                match &record {
                    Ok(record) => outcomes.put_u8(self.apply_record(entry.index, stale, record)),
                    Err(error) => panic!("entry {} cannot be read: {error}", entry.index),
                }
            }
        }
        self.committed.set_applied_next(entry.index.saturating_add(1));
        self.committed.feed().end();
        outcomes.freeze()
    }

    fn effects(&self) -> u64 {
        self.committed.effects.get()
    }

    fn skip(&self, index: u64) {
        let _entry = self.committed.between_entries();
        self.committed.feed().begin(index);
        self.committed.set_applied_next(index.saturating_add(1));
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(View::of(&self.committed))
    }

    fn state_bytes(&self) -> u64 {
        self.committed.state_bytes()
    }

    fn snapshots_since(&self) -> u32 {
        self.committed.snapshot_format()
    }

    fn kept_aside(&self) -> u64 {
        self.committed.archive.count()
    }

    fn sync_aside(&self) -> Result<u64, StateError> {
        self.committed.archive.sync().map_err(StateError::new)
    }

    fn read_aside(&self, from: u64) -> Box<dyn Iterator<Item = io::Result<Bytes>> + Send> {
        Box::new(Aside::new(Arc::clone(&self.committed), from))
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        let _entry = self.committed.between_entries();
        // Whoever follows restores while others read.
        self.committed.begin_restoring();
        self.committed.clear();
        let mut pieces = Pieces {
            chunks,
            rest: BytesMut::new(),
        };
        let mut head = None;
        // The first of those that came beside it: what comes before was here, and durable, when it was sent.
        let mut beside: Option<u64> = None;
        while let Some(piece) = pieces.next_piece()? {
            for record in snapshot::records(&piece, &*self.ids) {
                let record = record.map_err(StateError::new)?;
                if head.is_none() && !matches!(record, SnapshotRecord::Head(_)) {
                    return Err(StateError::new("it does not begin with its head"));
                }
                match record {
                    SnapshotRecord::Head(found) if (FORMAT_OLDEST..=FORMAT).contains(&found.format) => {
                        if let Some(feed) = found.feed {
                            self.committed.feed().restore(feed);
                        }
                        head = Some(found);
                    }
                    SnapshotRecord::Head(found) => {
                        return Err(StateError::new(format_args!(
                            "its format is {}, and this version reads {FORMAT_OLDEST} to {FORMAT}",
                            found.format
                        )));
                    }
                    other => {
                        if let SnapshotRecord::Archived(number, _) = other {
                            beside = Some(beside.map_or(number, |least| least.min(number)));
                        }
                        self.put(other)?;
                    }
                }
            }
        }
        let head = head.ok_or_else(|| StateError::new("it is empty"))?;
        self.committed
            .archive
            .restore(head.archived, beside)
            .map_err(StateError::new)?;
        self.committed.set_last_time(head.last_time);
        if let Some(feed) = head.feed {
            self.committed.set_applied_next(feed.next);
        }
        self.committed.end_restoring();
        self.committed.feed().end();
        Ok(())
    }

    fn clear(&self) {
        let _entry = self.committed.between_entries();
        self.committed.begin_anew();
    }

    fn forget_aside(&self) {
        self.committed.archive.forget();
    }
}

impl ShardMachine {
    fn put(&self, record: SnapshotRecord) -> Result<(), StateError> {
        let committed = &self.committed;
        match record {
            SnapshotRecord::Head(_) => {}
            SnapshotRecord::Fence(decider, time) => {
                committed.fences.restore(decider, time);
            }
            SnapshotRecord::Changes(changes) => committed.feed().put(&changes),
            SnapshotRecord::Archived(number, order) => {
                committed
                    .archive
                    .put_as(number, &order)
                    .map_err(StateError::new)?;
            }
            SnapshotRecord::Customer(customer) => committed.insert_customer(Arc::new(customer)),
            SnapshotRecord::Item(item) => committed.insert_item(Arc::new(item)),
            SnapshotRecord::Order(order) => {
                committed.insert_order(Arc::new(order)).map_err(StateError::new)?
            }
            SnapshotRecord::Reservation(r) => {
                committed.reservations.insert(&r.sku, r.order, r.quantity);
            }
            SnapshotRecord::Request(stored) => {
                let target = match stored.reply {
                    Some(StoredReply::Order(id)) => Target::Order(id),
                    Some(StoredReply::OrderThen(then)) => {
                        let id = then.id;
                        committed.note_newest_of(&then);
                        committed.first_settled.insert(stored.time, then, None);
                        Target::Order(id)
                    }
                    Some(StoredReply::CustomerThen(customer)) => Target::Customer(customer),
                    Some(StoredReply::ItemThen(item)) => {
                        committed.note_newest(item.backorders.is_some());
                        Target::Item(item)
                    }
                    None => return Err(StateError::new("a request has no reply")),
                };
                let fingerprint = stored.request.fingerprint;
                committed.requests.insert(
                    stored.time,
                    stored.request.key,
                    StoredRequest { fingerprint, target },
                );
            }
        }
        Ok(())
    }
}

/// Puts pieces together again, however they were cut.
struct Pieces<'a> {
    chunks: &'a mut dyn Iterator<Item = io::Result<Bytes>>,
    rest: BytesMut,
}

impl Pieces<'_> {
    fn next_piece(&mut self) -> Result<Option<BytesMut>, StateError> {
        if !self.fill(4)? {
            return match self.rest.is_empty() {
                true => Ok(None),
                false => Err(StateError::new("it ends in the middle of a piece")),
            };
        }
        let length = self.rest.get_u32_le() as usize;
        if length > PIECE_BYTES_MAX {
            return Err(StateError::new("a piece has an impossible length"));
        }
        if !self.fill(length)? {
            return Err(StateError::new("it ends in the middle of a piece"));
        }
        Ok(Some(self.rest.split_to(length)))
    }

    fn fill(&mut self, bytes: usize) -> Result<bool, StateError> {
        while self.rest.len() < bytes {
            match self.chunks.next() {
                Some(chunk) => self.rest.extend_from_slice(&chunk.map_err(StateError::new)?),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Amount, CustomerEvent, Decider, Event, Fact, Time, Version};

    use super::*;

    /// A credit of a customer, decided by one life of its actor.
    fn credit(version: u64, decider: u32) -> Record {
        let event = match version {
            1 => CustomerEvent::Created {
                display_name: "Ada".into(),
                currency: "EUR".parse().unwrap(),
                credit_limit: Amount(1),
            },
            _ => CustomerEvent::Credited { amount: Amount(1) },
        };
        Record {
            time: Time(version as i64),
            events: vec![Event {
                version: Version(version),
                decider: Decider(decider),
                fact: Fact::Customer(CustomerId::new("ada").unwrap(), event),
            }],
            request: None,
            unchanged: None,
            origin: None,
        }
    }

    #[test]
    fn what_was_proposed_in_another_term_changes_nothing_nor_does_what_the_same_life_decided_behind_it() {
        let machine = ShardMachine::new(Arc::default(), Arc::default(), Arc::default());
        let mut index = 0;
        let mut apply = |proposed: u64, term: u64, record: Record| {
            let mut payload = Vec::new();
            begin(proposed, &mut payload);
            encode(&record, &mut payload);
            index += 1;
            let payload = Bytes::from(payload);
            let payload = &payload;
            machine.apply(Entry { index, term, payload })[0]
        };
        assert_eq!(apply(1, 1, credit(1, 1)), DONE);
        // Its leader lost the lead and has it again: what it believed may never have been committed, though it fits.
        assert_eq!(apply(1, 3, credit(2, 1)), CONFLICT);
        assert_eq!(apply(3, 3, credit(2, 1)), CONFLICT, "of a life that was refused");
        assert_eq!(apply(3, 3, credit(2, 2)), DONE);
        let balance = machine.committed.customers.get("ada").map(|ada| ada.balance);
        assert_eq!(balance, Some(Amount(1)));
    }
}

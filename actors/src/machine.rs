//! The state machine of a shard's log: decodes entries, applies their records to [`Committed`], and reads snapshots
//! (`snapshot/` writes them, and has their format).
//!
//! An entry is a `docket.journal.v1.Batch`; its answer has one byte per record: [`DONE`] or [`CONFLICT`].

use std::{io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use dashmap::DashSet;
use docket_cluster::{Capture, Entry, StateError, StateMachine};
use docket_engine::{CustomerId, IdError, Record, Sku};
use docket_proto::{
    Intern,
    record::{decode_term, encode_record, encode_term, records},
    snapshot::{self, FORMAT, FORMAT_OLDEST, SnapshotRecord, StoredReply},
};
use rapidhash::fast::RandomState;

use crate::{
    committed::{Applied, Committed},
    feed::AsFeed as _,
    remembered::{StoredRequest, Target},
    snapshot::View,
};

/// A record that was applied.
pub(crate) const DONE: u8 = 0;
/// A record that did not fit and changed nothing.
pub(crate) const CONFLICT: u8 = 1;

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

/// The state machine of a shard by itself, with nothing in it and no actor that decides over it: for benchmarks, and for tools that read
/// a snapshot.
pub fn shard_state_machine() -> Arc<dyn StateMachine> {
    Arc::new(ShardMachine::new(Arc::default(), Arc::default()))
}

/// A shard's state machine.
pub(crate) struct ShardMachine {
    committed: Arc<Committed>,
    ids: Arc<Ids>,
}

impl ShardMachine {
    pub(crate) fn new(committed: Arc<Committed>, ids: Arc<Ids>) -> Self {
        Self { committed, ids }
    }
}

impl StateMachine for ShardMachine {
    #[expect(
        clippy::panic,
        reason = "an entry that was committed and cannot be applied must stop the group"
    )]
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        let mut outcomes = BytesMut::with_capacity(64);
        self.committed.effects.begin();
        // Proposed by who led in another term: what it believed may never have been committed.
        let stale = decode_term(entry.payload).is_ok_and(|term| term != entry.term)
            && !docket_cluster::planted!(NoFence);
        self.committed.feed().begin(entry.index);
        for record in records(entry.payload, &*self.ids) {
            let applied = match &record {
                Ok(record) if stale => {
                    self.committed.refuse(record);
                    Ok(Applied::Conflict)
                }
                Ok(record) => self.committed.apply(record),
                Err(error) => panic!("entry {} cannot be read: {error}", entry.index),
            };
            let outcome = match applied {
                Ok(Applied::Done) => DONE,
                Ok(Applied::Conflict) => CONFLICT,
                Err(broken) => panic!("entry {} cannot be applied: {broken}", entry.index),
            };
            outcomes.extend_from_slice(&[outcome]);
        }
        self.committed.set_applied_next(entry.index.saturating_add(1));
        self.committed.feed().end();
        outcomes.freeze()
    }

    fn effects(&self) -> u64 {
        self.committed.effects.get()
    }

    fn skip(&self, index: u64) {
        self.committed.feed().begin(index);
        self.committed.set_applied_next(index.saturating_add(1));
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(View::of(&self.committed))
    }

    fn state_bytes(&self) -> u64 {
        self.committed.state_bytes()
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        // Whoever follows restores while others read.
        self.committed.begin_restoring();
        self.committed.clear();
        let mut pieces = Pieces {
            chunks,
            rest: BytesMut::new(),
        };
        let mut head = None;
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
                    other => self.put(other)?,
                }
            }
        }
        let head = head.ok_or_else(|| StateError::new("it is empty"))?;
        self.committed.set_last_time(head.last_time);
        if let Some(feed) = head.feed {
            self.committed.set_applied_next(feed.next);
        }
        self.committed.end_restoring();
        self.committed.feed().end();
        Ok(())
    }

    fn clear(&self) {
        self.committed.begin_anew();
    }
}

impl ShardMachine {
    fn put(&self, record: SnapshotRecord) -> Result<(), StateError> {
        let committed = &self.committed;
        match record {
            SnapshotRecord::Head(_) => {}
            SnapshotRecord::Fence(decider, time) => {
                committed.fences.lock().insert(decider, time);
            }
            SnapshotRecord::Changes(changes) => committed.feed().put(&changes),
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
                        committed.insert_first_settled(stored.time, then, None);
                        Target::Order(id)
                    }
                    Some(StoredReply::CustomerThen(customer)) => Target::Customer(customer),
                    Some(StoredReply::ItemThen(item)) => Target::Item(item),
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

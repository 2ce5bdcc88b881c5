//! The state machine of a shard's log: decodes entries, applies their records to [`Committed`], and writes and reads
//! snapshots.
//!
//! An entry is a `docket.journal.v1.Batch`; its answer has one byte per record: [`DONE`] or [`CONFLICT`].
//!
//! A snapshot is a sequence of pieces, each a length (u32, little-endian) and a `SnapshotChunk`; the first record of all
//! is its head:
//!
//! ```text
//!   ┌─────┬───────────────────────┬─────┬──────────────────┬───
//!   │ len │ head, customers …     │ len │ orders … changes │ …
//!   └─────┴───────────────────────┴─────┴──────────────────┴───
//! ```

use std::{io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use dashmap::DashSet;
use docket_cluster::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};
use docket_engine::{
    Customer, CustomerId, Decider, IdError, Item, Order, OrderId, Quantity, Record, Request, Sku, Time,
};
use docket_proto::{
    Intern,
    record::{decode_term, encode_record, encode_term, records},
    snapshot::{self, FORMAT, FORMAT_OLDEST, Head, SnapshotRecord, StoredReply},
};
use rapidhash::fast::RandomState;

use crate::{
    committed::{Applied, Committed},
    feed::{AsFeed as _, Captured},
    remembered::{StoredRequest, Target},
};

/// A record that was applied.
pub(crate) const DONE: u8 = 0;
/// A record that did not fit and changed nothing.
pub(crate) const CONFLICT: u8 = 1;

/// Since which version of the peer protocol nodes read snapshots of the format that is written.
const SNAPSHOTS_SINCE: u32 = 2;
const _: () = assert!(
    FORMAT == 2,
    "a new format of snapshots needs a new version of the peer protocol"
);

/// Pieces of a snapshot are cut at this size.
const PIECE_BYTES: usize = 64 << 10;
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
        let committed = &self.committed;
        Box::new(View {
            last_time: committed.last_time(),
            feed: committed.feed().capture(committed.applied_next()),
            customers: committed.customers.iter().map(|c| c.value().clone()).collect(),
            items: committed.items.iter().map(|i| i.value().clone()).collect(),
            orders: committed.orders.all(),
            reservations: committed.reservations.all(),
            fences: committed
                .fences
                .lock()
                .iter()
                .map(|(decider, time)| (*decider, *time))
                .collect(),
            requests: committed.requests.collect(|time, key, stored| {
                let reply = match &stored.target {
                    Target::Order(id) => match committed.first_settled.get(id) {
                        Some(then) => StoredReply::OrderThen(then.clone()),
                        None => StoredReply::Order(*id),
                    },
                    Target::Customer(customer) => StoredReply::CustomerThen(customer.clone()),
                    Target::Item(item) => StoredReply::ItemThen(item.clone()),
                };
                let request = Request {
                    key,
                    fingerprint: stored.fingerprint,
                };
                snapshot::StoredRequest {
                    request,
                    time,
                    reply: Some(reply),
                }
            }),
        })
    }

    fn state_bytes(&self) -> u64 {
        self.committed.state_bytes()
    }

    fn snapshots_since(&self) -> u32 {
        SNAPSHOTS_SINCE
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
                        committed.insert_first_settled(stored.time, then);
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

/// A shard's state at one point of its log.
struct View {
    last_time: Time,
    feed: Captured,
    customers: Vec<Arc<Customer>>,
    items: Vec<Arc<Item>>,
    orders: Vec<Arc<Order>>,
    reservations: Vec<(Sku, OrderId, Quantity)>,
    fences: Vec<(Decider, Time)>,
    requests: Vec<snapshot::StoredRequest>,
}

impl Capture for View {
    fn write(mut self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        // Orders in the order of their ids load faster: their indexes only grow at the end.
        self.orders.sort_unstable_by_key(|order| order.id);
        let mut piece = vec![0; 4];
        snapshot::put_head(
            &Head {
                format: FORMAT,
                last_time: self.last_time,
                feed: self.feed.start,
            },
            &mut piece,
        );
        for (decider, time) in self.fences.drain(..) {
            snapshot::put_fence(decider, time, &mut piece);
        }
        for customer in self.customers.drain(..) {
            snapshot::put_customer(&customer, &mut piece);
            flush(&mut piece, PIECE_BYTES, sink)?;
        }
        for item in self.items.drain(..) {
            snapshot::put_item(&item, &mut piece);
            flush(&mut piece, PIECE_BYTES, sink)?;
        }
        for order in self.orders.drain(..) {
            snapshot::put_order(&order, &mut piece);
            flush(&mut piece, PIECE_BYTES, sink)?;
        }
        for (sku, order, quantity) in self.reservations.drain(..) {
            snapshot::put_reservation(&sku, order, quantity, &mut piece);
            flush(&mut piece, PIECE_BYTES, sink)?;
        }
        for request in self.requests.drain(..) {
            snapshot::put_request(&request, &mut piece);
            flush(&mut piece, PIECE_BYTES, sink)?;
        }
        for changes in self.feed.chunks() {
            snapshot::put_changes(changes, &mut piece);
            flush(&mut piece, PIECE_BYTES, sink)?;
        }
        flush(&mut piece, 5, sink)
    }
}

/// Writes a piece that has reached this size, and begins the next.
fn flush(piece: &mut Vec<u8>, at: usize, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
    if piece.len() < at {
        return Ok(());
    }
    let length = (piece.len() - 4) as u32;
    piece[..4].copy_from_slice(&length.to_le_bytes());
    sink(piece)?;
    piece.clear();
    piece.extend_from_slice(&[0; 4]);
    Ok(())
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

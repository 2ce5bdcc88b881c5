//! A shard's snapshot, written while its log goes on being applied.
//!
//! A snapshot is a sequence of pieces, each a length (u32, little-endian) and a `SnapshotChunk`; the first record of all
//! is its head:
//!
//! ```text
//!   ┌─────┬───────────────────────┬─────┬──────────────────┬───
//!   │ len │ head, customers …     │ len │ orders … changes │ …
//!   └─────┴───────────────────────┴─────┴──────────────────┴───
//! ```
//!
//! Customers, items, orders and reservations come in the order of their keys, requests and changes in the order of the log. Replicas
//! that are equal write the same of the former; what is remembered of requests and changes, and where pieces are cut, may differ.
//!
//! Guarantees: all of it is of the entry that was applied last when the [`View`] was made, whatever is applied while it is written. To make
//! one takes microseconds and a pointer for every 512 requests. While it is written `apply` waits for one slice at most: see [`before`].

pub(crate) mod before;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use docket_cluster::{Capture, CaptureError, SnapshotSink};
use docket_engine::{Decider, OrderId, Quantity, Request, Sku, Time};
use docket_proto::snapshot::{self, Head, StoredReply};

use crate::{
    committed::Committed,
    feed::{AsFeed as _, Captured},
    remembered::{self, Target},
};
use before::Shown;

/// Pieces of a snapshot are cut at this size.
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 64 << 10 };
/// Entities of one slice: some tens of microseconds of them, and some hundreds where orders have as many lines as they may. In tests few,
/// so that there is much between two slices.
const SLICE: usize = if cfg!(test) { 3 } else { 128 };
/// Reservations of one slice. They are small.
/// Orders of one slice: one that has had all that may come after its confirmation has some 300 KB, and a piece at most 16 MiB.
const SLICE_ORDERS: usize = if cfg!(test) { SLICE } else { 32 };
const SLICE_RESERVATIONS: usize = 4 * SLICE;
/// Items of one slice whose reservations are looked at: most may have none.
const SLICE_ITEMS: usize = if cfg!(test) { 2 } else { 64 };

/// A shard's state at one point of its log.
pub(crate) struct View {
    committed: Arc<Committed>,
    /// The capture's number in [`Committed::captures`].
    capture: u64,
    /// The index after that of the last entry in it.
    next: u64,
    /// As [`Committed::restores`] has it.
    restores: Option<u64>,
    format: u32,
    last_time: Time,
    feed: Captured,
    /// How many orders are in the archive.
    archived: u64,
    fences: Vec<(Decider, Time)>,
    requests: remembered::Captured,
}

impl View {
    /// The state as it is now, between two entries.
    pub(crate) fn of(committed: &Arc<Committed>) -> Self {
        let next = committed.applied_next();
        committed.first_settled.hold();
        Self {
            committed: committed.clone(),
            capture: committed.begin_capture(),
            next,
            restores: committed.restores(),
            format: committed.snapshot_format(),
            last_time: committed.last_time(),
            feed: committed.feed().capture(next),
            archived: committed.archive.count(),
            fences: committed.fences.all(),
            requests: committed.requests.capture(),
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.committed.captures.end(self.capture);
        self.committed.first_settled.let_go();
    }
}

impl Capture for View {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        (*self).write_parts(sink, true)
    }
}

impl View {
    /// The changes that the feed keeps.
    pub(crate) fn feed(&self) -> &Captured {
        &self.feed
    }

    /// How many orders are in the archive.
    pub(crate) fn archived(&self) -> u64 {
        self.archived
    }

    /// The index after that of the last entry in it.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Writes the entities alone, each piece behind its length.
    ///
    /// # Errors
    /// As [`Capture::write`].
    pub(crate) fn write_entities(self, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        self.write_parts(sink, false)
    }

    /// Writes the entities, and what is remembered of requests and changes where that is wanted.
    fn write_parts(mut self, sink: &mut SnapshotSink<'_>, with_remembered: bool) -> Result<(), CaptureError> {
        let mut out = Pieces::new(sink);
        let head = Head {
            format: self.format,
            last_time: self.last_time,
            feed: self.feed.start,
            archived: self.archived,
        };
        snapshot::put_head(&head, &mut out.piece);
        for (decider, time) in self.fences.drain(..) {
            snapshot::put_fence(decider, time, &mut out.piece);
        }
        while self.put_customers(&mut out.piece)? {
            out.flush(PIECE_BYTES)?;
        }
        while self.put_items(&mut out.piece)? {
            out.flush(PIECE_BYTES)?;
        }
        let mut ids = Vec::with_capacity(2 * SLICE_ORDERS);
        while self.put_orders(&mut ids, &mut out.piece)? {
            out.flush(PIECE_BYTES)?;
        }
        let (mut item, mut reserved) = (None, Vec::with_capacity(SLICE_RESERVATIONS));
        while self.put_reservations(&mut item, &mut reserved, &mut out.piece)? {
            out.flush(PIECE_BYTES)?;
        }
        // What is left does not change any more, and nobody need keep anything for it.
        if !self.committed.captures.end(self.capture) {
            return Err(replaced());
        }
        if with_remembered {
            self.put_requests(&mut out)?;
            for changes in self.feed.chunks() {
                snapshot::put_changes(changes, &mut out.piece);
                out.flush(PIECE_BYTES)?;
            }
        }
        out.flush(Pieces::BEGUN)?;
        if with_remembered {
            // Those are not in here, and the log that brought them there may be cut behind this.
            self.committed.archive.sync().map_err(CaptureError::new)?;
        }
        match self.committed.restores() == self.restores {
            true => Ok(()),
            false => Err(replaced()),
        }
    }
}

/// Each writes one slice, and says whether more is to come.
impl View {
    fn put_customers(&self, piece: &mut Vec<u8>) -> Result<bool, CaptureError> {
        let committed = &self.committed;
        self.slice(|before| {
            let customers = &mut before.customers;
            let ids = after(&committed.customer_ids.read(), customers.done(), SLICE);
            let until = ids.last().filter(|_| ids.len() == SLICE).cloned();
            let live = ids.into_iter().map(|id| (id, ()));
            customers.slice(live, until, |id, shown| match shown {
                Shown::Now(()) => {
                    if let Some(customer) = committed.customers.get(id) {
                        snapshot::put_customer(&customer, piece);
                    }
                }
                Shown::Was(customer) => snapshot::put_customer(&customer, piece),
            })
        })
    }

    fn put_items(&self, piece: &mut Vec<u8>) -> Result<bool, CaptureError> {
        let committed = &self.committed;
        self.slice(|before| {
            let items = &mut before.items;
            let skus = after(&committed.skus.read(), items.done(), SLICE);
            let until = skus.last().filter(|_| skus.len() == SLICE).cloned();
            let live = skus.into_iter().map(|sku| (sku, ()));
            items.slice(live, until, |sku, shown| match shown {
                Shown::Now(()) => {
                    if let Some(item) = committed.items.get(sku) {
                        snapshot::put_item(&item, piece);
                    }
                }
                Shown::Was(item) => snapshot::put_item(&item, piece),
            })
        })
    }

    fn put_orders(&self, ids: &mut Vec<OrderId>, piece: &mut Vec<u8>) -> Result<bool, CaptureError> {
        let committed = &self.committed;
        self.slice(|before| {
            let (newest, orders) = (before.newest_order, &mut before.orders);
            ids.clear();
            committed
                .order_index
                .read()
                .above(orders.done().copied(), newest, SLICE_ORDERS, ids);
            let until = ids.last().filter(|_| ids.len() == SLICE_ORDERS).copied();
            let live = ids.iter().map(|id| (*id, ()));
            orders.slice(live, until, |id, shown| match shown {
                Shown::Now(()) => {
                    let put = |order: &_| snapshot::put_order(order, piece);
                    committed.orders.see(*id, put);
                }
                Shown::Was(order) => snapshot::put_order(&order, piece),
            })
        })
    }

    /// Those of `item`, from where the last slice ended, and of some items behind it.
    fn put_reservations(
        &self,
        item: &mut Option<Sku>,
        live: &mut Vec<(OrderId, Quantity)>,
        piece: &mut Vec<u8>,
    ) -> Result<bool, CaptureError> {
        let committed = &self.committed;
        self.slice(|before| {
            let mut left = SLICE_RESERVATIONS;
            for _ in 0..SLICE_ITEMS {
                let next = || next_sku(committed, before.reservations.done());
                let Some(sku) = item.take().or_else(next) else {
                    before.reservations.end();
                    return false;
                };
                let newest = before.newest_reserved;
                let of_item = before.reservations.of(&sku);
                live.clear();
                committed
                    .reservations
                    .above(&sku, of_item.done().copied(), newest, left, live);
                let until = live
                    .last()
                    .filter(|_| live.len() == left)
                    .map(|(order, _)| *order);
                let mut shown_of_item = 0;
                let more = of_item.slice(live.drain(..), until, |order, shown| match shown {
                    Shown::Now(quantity) | Shown::Was(quantity) => {
                        snapshot::put_reservation(&sku, *order, quantity, piece);
                        shown_of_item += 1;
                    }
                });
                if more {
                    *item = Some(sku);
                    return true;
                }
                before.reservations.end_item(sku);
                left = left.saturating_sub(shown_of_item);
                if left == 0 {
                    return true;
                }
            }
            true
        })
    }

    fn put_requests(&self, out: &mut Pieces<'_, '_>) -> Result<(), CaptureError> {
        let committed = &self.committed;
        // Where there is none now, none that comes is of an entry before this snapshot's end.
        let has_first_settled = !committed.first_settled.is_empty();
        let first_settled = |id| {
            let before = || committed.first_settled.before(id, self.next);
            has_first_settled.then(before).flatten()
        };
        for (time, key, stored) in self.requests.iter() {
            let reply = match &stored.target {
                Target::Order(id) => match first_settled(*id) {
                    Some(then) => StoredReply::OrderThen(then),
                    None => StoredReply::Order(*id),
                },
                Target::Customer(customer) => StoredReply::CustomerThen(customer.clone()),
                Target::Item(item) => StoredReply::ItemThen(item.clone()),
            };
            let fingerprint = stored.fingerprint;
            let stored = snapshot::StoredRequest {
                request: Request { key, fingerprint },
                time,
                reply: Some(reply),
            };
            snapshot::put_request(&stored, &mut out.piece);
            out.flush(PIECE_BYTES)?;
        }
        Ok(())
    }

    fn slice(&self, put: impl FnOnce(&mut before::Before) -> bool) -> Result<bool, CaptureError> {
        self.committed
            .captures
            .slice(self.capture, put)
            .ok_or_else(replaced)
    }
}

fn replaced() -> CaptureError {
    CaptureError::new("the state was replaced while its snapshot was written")
}

/// The next keys of a sorted set, at most so many.
fn after<K: Ord + Clone>(keys: &std::collections::BTreeSet<K>, done: Option<&K>, most: usize) -> Vec<K> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = done.map_or(Unbounded, Excluded);
    keys.range((from, Unbounded)).take(most).cloned().collect()
}

fn next_sku(committed: &Committed, done: Option<&Sku>) -> Option<Sku> {
    after(&committed.skus.read(), done, 1).pop()
}

/// Cuts a snapshot into pieces, in one buffer.
struct Pieces<'a, 'b> {
    piece: Vec<u8>,
    sink: &'a mut SnapshotSink<'b>,
}

impl<'a, 'b> Pieces<'a, 'b> {
    /// A piece with anything in it is longer than its length alone.
    const BEGUN: usize = 5;

    fn new(sink: &'a mut SnapshotSink<'b>) -> Self {
        let mut piece = Vec::with_capacity(2 * PIECE_BYTES);
        piece.extend_from_slice(&[0; 4]);
        Self { piece, sink }
    }

    /// Writes a piece that has reached this size, and begins the next.
    fn flush(&mut self, at: usize) -> Result<(), CaptureError> {
        if self.piece.len() < at {
            return Ok(());
        }
        let length = (self.piece.len() - 4) as u32;
        self.piece[..4].copy_from_slice(&length.to_le_bytes());
        (self.sink)(&self.piece)?;
        self.piece.truncate(4);
        Ok(())
    }
}

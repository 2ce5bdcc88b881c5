//! A shard's archive: orders that are over, on disk and out of memory, as they were.
//!
//! An order comes into it by an event in the log (`Fact::Archived`), on every replica at the same entry, and gets the next number there. How many
//! are in it is part of the shard's state, and so of its snapshots and of what replicas are held against each other by. What is on the shelf
//! under a higher number is of a future that was applied before a crash and is not yet again: it counts for nothing.
//!
//! ```text
//!   applied:  the shelf has it ──▶ it counts ──▶ it is out of memory      so whoever looks into memory first, and then here, never misses it
//!   durable:  the shelf is synced before a snapshot without the order may stand for the log
//! ```
//!
//! So after a crash an order is in memory again, by the log, or on the shelf, or both; never in neither. Nothing in the archive ever
//! changes, so that nobody who reads of it waits for anybody: what a replica has of it is right.
//!
//! To read it is to read the disk. Whoever is on a thread of the runtime has that done elsewhere ([`reading`]), or reads a few.

mod aside;
mod listing;
mod reading;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    fmt,
    ops::{ControlFlow, Range},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use docket_engine::{CustomerId, Order, OrderId, OrderState, Time};
use docket_persistence::{
    StoreError,
    archive::{Archive, ArchiveError, Found, Key, Put, Shelf},
    mem::MemKeyed,
    scrub::{Scrub, Shelved},
};
use docket_proto::{
    Intern,
    snapshot::{self, FORMAT, FORMAT_OLDEST, FORMAT_WITHOUT_BACKORDERS, SnapshotRecord},
};

use crate::{
    committed::weighing::format_of,
    machine::{Ids, KnownIds},
};

pub(crate) use aside::Aside;
pub(crate) use listing::newest;
pub(crate) use reading::Reads;

/// The index of a customer's orders.
const BY_CUSTOMER: u8 = 0;
/// The index of orders by their state, but for those that were closed: nearly all are.
const BY_STATE: u8 = 1;
/// So long after its id was chosen an order is placed at most, in milliseconds, and by far: an older id may be one that is here.
const NEW_FOR_MS: u64 = 60 * 60 * 1_000;

/// The archive cannot be read, or written.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable(Arc<str>);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ArchiveError> for Unreadable {
    fn from(error: ArchiveError) -> Self {
        Self(error.to_string().into())
    }
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string().into())
    }
}

fn unreadable(why: impl fmt::Display) -> Unreadable {
    Unreadable(format!("the archive: {why}").into())
}

/// The archive of one shard.
pub(crate) struct OrderArchive {
    archive: Archive,
    shelf: Shelf,
    ids: KnownIds,
    /// How many orders are in it.
    count: AtomicU64,
    /// So many of them are durable, at least.
    synced: AtomicU64,
    /// The number of the first that needs the newest format; above all numbers where none is known to. The shelf has it, too, and it may be of a future
    /// as all there may.
    newest_since: AtomicU64,
    /// How often it was begun anew, or became another's.
    replaced: AtomicU64,
}

impl Default for OrderArchive {
    /// One that is not kept: for tests and tools.
    fn default() -> Self {
        let archive = Archive::new(Arc::new(MemKeyed::new()));
        Self::new(archive, 0, Arc::new(Ids::default()))
    }
}

impl OrderArchive {
    pub(crate) fn of(archive: &Archive, shard: u16, ids: &Arc<Ids>) -> Self {
        Self::new(archive.clone(), shard, Arc::clone(ids))
    }

    fn new(archive: Archive, shard: u16, ids: Arc<Ids>) -> Self {
        Self {
            shelf: archive.shelf(shard),
            archive,
            ids: KnownIds(ids),
            count: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            newest_since: AtomicU64::new(u64::MAX),
            replaced: AtomicU64::new(0),
        }
    }

    /// How many orders are in it.
    pub(crate) fn count(&self) -> u64 {
        // Before this says so they are on the shelf.
        self.count.load(Ordering::Acquire)
    }

    /// The format of a snapshot that counts what is in it: the oldest that has a place for all of that.
    pub(crate) fn format(&self) -> u32 {
        match self.count() {
            0 => FORMAT_OLDEST,
            count if self.newest_since.load(Ordering::Acquire) < count => FORMAT,
            _ => FORMAT_WITHOUT_BACKORDERS,
        }
    }

    /// Puts an order in, and says its number.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn put(&self, order: &Order) -> Result<u64, Unreadable> {
        let number = self.count();
        self.put_as(number, order)?;
        self.count.store(number + 1, Ordering::Release);
        Ok(number)
    }

    /// Puts an order on the shelf under its number, which does not count yet.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn put_as(&self, number: u64, order: &Order) -> Result<(), Unreadable> {
        let mut value = Vec::with_capacity(512);
        let format = format_of(order);
        if format == FORMAT && number < self.newest_since.load(Ordering::Acquire) {
            // Before the order: none that needs it is there without. An earlier one may be known to the shelf alone.
            self.shelf.mark(FORMAT as u8, number)?;
            self.read_newest_since()?;
        }
        value.push(format as u8);
        snapshot::put_order(order, &mut value);
        let customer = by_customer(&order.customer);
        let state = by_state(order.state);
        let mut by: Vec<(u8, &[u8])> = vec![(BY_CUSTOMER, &customer)];
        by.extend(state.as_ref().map(|state| (BY_STATE, &state[..])));
        self.shelf.put(&Put {
            number,
            key: key_of(order.id),
            value: &value,
            by: &by,
        })?;
        Ok(())
    }

    fn read_newest_since(&self) -> Result<(), Unreadable> {
        // Nothing has the mark of what was put before there were any: that needs no newer format than the one before.
        let since = self.shelf.since(FORMAT as u8)?.unwrap_or(u64::MAX);
        self.newest_since.store(since, Ordering::Release);
        Ok(())
    }

    /// Whether an order that is placed at this time may have the id of one that is here. Nearly none is looked for here: its id is too new.
    pub(crate) fn may_be_taken(&self, id: OrderId, now: Time) -> bool {
        let now_ms = u64::try_from(now.0 / 1_000).unwrap_or_default();
        self.count() > 0 && id.time_ms().saturating_add(NEW_FOR_MS) < now_ms
    }

    /// An order.
    ///
    /// # Errors
    /// The disk's, or it is damaged.
    pub(crate) fn get(&self, id: OrderId) -> Result<Option<Arc<Order>>, Unreadable> {
        let count = self.count();
        if count == 0 {
            return Ok(None);
        }
        let found = self.shelf.get(&key_of(id))?.filter(|found| found.number < count);
        found.map(|found| self.order(&found)).transpose()
    }

    /// The order of a number; `None` where it is missing.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn numbered(&self, number: u64) -> Result<Option<Arc<Order>>, Unreadable> {
        let Some(key) = self.shelf.key_of(number)? else {
            return Ok(None);
        };
        let found = self.shelf.get(&key)?.filter(|found| found.number == number);
        found.map(|found| self.order(&found)).transpose()
    }

    /// A customer's newest orders below this one, at most so many.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn of_customer(
        &self,
        customer: &CustomerId,
        below: OrderId,
        most: usize,
    ) -> Result<Vec<Arc<Order>>, Unreadable> {
        let by = by_customer(customer);
        let stretch = self.stretch(Some((BY_CUSTOMER, &by)), &(OrderId(0)..below), most)?;
        Ok(stretch.orders)
    }

    /// Whether all that an order is to be found by finds it.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn is_indexed(&self, order: &Order) -> Result<bool, Unreadable> {
        let key = key_of(order.id);
        if let Some(state) = by_state(order.state)
            && !self.shelf.is_found_by((BY_STATE, &state), &key)?
        {
            return Ok(false);
        }
        let customer = by_customer(&order.customer);
        Ok(self.shelf.is_found_by((BY_CUSTOMER, &customer), &key)?)
    }

    /// The newest of an index, or of all, in a range of ids: at most so many are looked at.
    fn stretch(
        &self,
        by: Option<(u8, &[u8])>,
        ids: &Range<OrderId>,
        most: usize,
    ) -> Result<Stretch, Unreadable> {
        if ids.is_empty() {
            return Ok(Stretch::default());
        }
        let count = self.count();
        let (from, below) = (key_of(ids.start), key_of(ids.end));
        let found = match by {
            Some(by) => self.shelf.newest_by(by, &from, &below, most)?,
            None => self.shelf.newest(&from, &below, most)?,
        };
        let until = found.last().filter(|_| found.len() >= most);
        let until = until.map(|last| OrderId(u128::from_be_bytes(last.key)));
        let valid = found.iter().filter(|found| found.number < count);
        Ok(Stretch {
            orders: valid.map(|found| self.order(found)).collect::<Result<_, _>>()?,
            until,
        })
    }

    fn order(&self, found: &Found) -> Result<Arc<Order>, Unreadable> {
        let (format, chunk) = found
            .value
            .split_first()
            .ok_or_else(|| unreadable("an order has no bytes"))?;
        if !(FORMAT_OLDEST..=FORMAT).contains(&u32::from(*format)) {
            return Err(unreadable(format_args!(
                "an order is in format {format}, and this version reads {FORMAT_OLDEST} to {FORMAT}"
            )));
        }
        match snapshot::records(chunk, &self.ids as &dyn Intern).next() {
            Some(Ok(SnapshotRecord::Order(order))) if key_of(order.id) == found.key => Ok(Arc::new(order)),
            Some(Err(error)) => Err(unreadable(error)),
            _ => Err(unreadable("what is there is not the order that was put")),
        }
    }

    /// Makes all that is in it durable, and says how many that are: behind this a snapshot that says so many may stand for the log.
    ///
    /// # Errors
    /// The disk's: it fails for ever.
    pub(crate) fn sync(&self) -> Result<u64, Unreadable> {
        let count = self.count();
        if self.synced.load(Ordering::Acquire) < count {
            self.archive.sync()?;
            self.synced.fetch_max(count, Ordering::AcqRel);
        }
        Ok(count)
    }

    /// So many are in it, as a snapshot says, of which those from `beside` on came with it.
    ///
    /// # Errors
    /// The last of them is not there, or of those that were here before.
    pub(crate) fn restore(&self, count: u64, beside: Option<u64>) -> Result<(), Unreadable> {
        let last = [Some(count), beside.filter(|beside| *beside < count)];
        for number in last.into_iter().flatten().filter_map(|next| next.checked_sub(1)) {
            if self.numbered(number)?.is_none() {
                return Err(unreadable(format_args!(
                    "{count} orders left memory for it, and number {number} of them is not there: restore the whole data directory from a backup"
                )));
            }
        }
        self.read_newest_since()?;
        self.replaced.fetch_add(1, Ordering::AcqRel);
        // What came with the snapshot may be on its way to the disk still.
        self.synced.store(0, Ordering::Release);
        self.count.store(count, Ordering::Release);
        Ok(())
    }

    /// Reads every order that is in it once more, without looking at what it is, and tells which are not what was put. Blocks.
    pub(crate) fn scrub(&self, shard: u16, path: &Path, scrub: &mut dyn Scrub) -> ControlFlow<()> {
        let replaced = self.replaced.load(Ordering::Acquire);
        let shelved = Shelved {
            shelf: shard,
            count: self.count(),
            path,
        };
        let is_still = || self.replaced.load(Ordering::Acquire) == replaced;
        self.shelf.scrub(shelved, &is_still, scrub)
    }

    /// None is in it: the state is to be built anew. What is on the shelf stays, and is put there again, as it is: also of an earlier life of
    /// the replica it was committed.
    pub(crate) fn reset(&self) {
        self.replaced.fetch_add(1, Ordering::AcqRel);
        self.synced.store(0, Ordering::Release);
        self.count.store(0, Ordering::Release);
    }

    /// Forgets all of it: the replica was moved away, and counts none of it any more.
    pub(crate) fn forget(&self) {
        self.reset();
        self.newest_since.store(u64::MAX, Ordering::Release);
        if let Err(error) = self.shelf.clear() {
            // It counts for nothing, and would be put there again as it is.
            tracing::warn!(%error, "what a replica that was moved away had in its archive stays on the disk");
        }
    }
}

fn key_of(id: OrderId) -> Key {
    id.0.to_be_bytes()
}

/// No customer's id has a zero in it, so that none begins as another's.
fn by_customer(customer: &CustomerId) -> Vec<u8> {
    [customer.as_str().as_bytes(), &[0]].concat()
}

/// What orders in this state are found by, for ever; `None` where they have no index of their own.
fn by_state(state: OrderState) -> Option<[u8; 1]> {
    match state {
        OrderState::Cancelled => Some([3]),
        OrderState::Rejected => Some([4]),
        OrderState::Expired => Some([8]),
        _ => None,
    }
}

/// Some orders of an archive, newest first.
#[derive(Default)]
struct Stretch {
    orders: Vec<Arc<Order>>,
    /// All were looked at down to this one, and there may be more below; `None` where all were.
    until: Option<OrderId>,
}

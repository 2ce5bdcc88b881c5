//! The requests of a shard that were done, and what a repeat of each is answered.
//!
//! They are forgotten oldest first: after [`RETENTION_US`] of logged time, and where there are more than [`REQUESTS_MAX`].
//! Both are constants and not configured, since every replica, and every replay of the log, must forget the same at the
//! same entry: whether a request is known decides whether a record is taken.

//!
//! ```text
//!   entries  │ oldest │        │   …    │ newest │  56 bytes each, in the order in which they are forgotten
//!   index    key's hash ─▶ number of the entry        4 bytes and a byte each, and what a hash table leaves empty
//! ```

use std::{
    collections::VecDeque,
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use docket_engine::{Customer, Item, OrderId, Time};
use hashbrown::HashTable;
use parking_lot::RwLock;
use rapidhash::fast::RandomState;

use crate::uneven::Uneven;

/// How long a request is remembered, in microseconds of logged time: 24 hours.
pub(crate) const RETENTION_US: i64 = 24 * 60 * 60 * 1_000_000;

/// The most requests that one shard remembers: 67 million on a node of 8 shards, which is 776 a second for 24 hours.
pub(crate) const REQUESTS_MAX: usize = 1 << 23;

/// A request that was done, and what a repeat of it is answered.
#[derive(Debug, Clone)]
pub(crate) struct StoredRequest {
    /// Hash of the request's content.
    pub(crate) fingerprint: u64,
    /// What it was about.
    pub(crate) target: Target,
}

/// What a repeated request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// This order, as it was when it was first settled.
    Order(OrderId),
    /// This version of a customer.
    Customer(Arc<Customer>),
    /// This version of an item.
    Item(Arc<Item>),
}

/// The requests by their keys.
pub(crate) struct Remembered {
    requests: RwLock<Requests>,
    /// What was stored before this time is forgotten.
    horizon: AtomicI64,
    most: usize,
}

impl Default for Remembered {
    fn default() -> Self {
        Self::at_most(REQUESTS_MAX)
    }
}

impl Remembered {
    fn at_most(most: usize) -> Self {
        Self {
            requests: RwLock::default(),
            horizon: AtomicI64::new(i64::MIN),
            most,
        }
    }

    pub(crate) fn get(&self, key: u128) -> Option<StoredRequest> {
        let requests = self.requests.read();
        requests.find(key).map(|entry| entry.stored.clone())
    }

    pub(crate) fn contains_key(&self, key: u128) -> bool {
        self.requests.read().find(key).is_some()
    }

    /// Whether a request of this time that is not there may be forgotten.
    pub(crate) fn has_forgotten(&self, time: Time) -> bool {
        time.0 < self.horizon.load(Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.read().entries.len()
    }

    /// Remembers one more; it is the newest.
    pub(crate) fn insert(&self, time: Time, key: u128, stored: StoredRequest) {
        let key = Key(key);
        self.requests.write().push(Entry { time, key, stored });
    }

    /// Forgets what was stored before `oldest`, and the oldest where there are too many.
    pub(crate) fn forget_before(&self, oldest: Time) {
        // First: whoever does not find a request must know why.
        self.horizon.fetch_max(oldest.0, Relaxed);
        let mut requests = self.requests.write();
        while requests.entries.front().is_some_and(|entry| entry.time < oldest) {
            requests.pop();
        }
        let excess = requests.entries.len().saturating_sub(self.most);
        for _ in 0..excess {
            if let Some(entry) = requests.entries.front() {
                self.horizon.fetch_max(entry.time.0.saturating_add(1), Relaxed);
            }
            requests.pop();
        }
        if excess > 0 {
            metrics::counter!("docket_requests_forgotten_early_total").increment(excess as u64);
        }
    }

    /// All of them, unmoved by what comes: what is full is shared, and the rest is small.
    pub(crate) fn capture(&self) -> Captured {
        let entries = &self.requests.read().entries;
        Captured {
            full: entries.full.iter().cloned().collect(),
            tail: entries.tail.clone(),
            gone: entries.gone,
        }
    }

    pub(crate) fn clear(&self) {
        *self.requests.write() = Requests::default();
        self.horizon.store(i64::MIN, Relaxed);
    }
}

/// A request's key, not aligned to 16 bytes as `u128` is.
#[repr(Rust, packed(8))]
#[derive(Clone, Copy)]
struct Key(u128);

#[derive(Clone)]
struct Entry {
    time: Time,
    key: Key,
    stored: StoredRequest,
}

/// So many tables: one that grows keeps all others waiting, so each is small.
const TABLES: usize = 16;
static UNEVEN: Uneven<TABLES> = Uneven::new();

#[derive(Default)]
struct Requests {
    entries: Entries,
    /// The numbers of the entries, by their keys.
    index: [HashTable<u32>; TABLES],
    hasher: RandomState,
}

impl Requests {
    fn find(&self, key: u128) -> Option<&Entry> {
        let hash = self.hasher.hash_one(key);
        let is_it = |number: &u32| self.entries.get(*number).is_some_and(|entry| entry.key.0 == key);
        let number = self.index[UNEVEN.part_of(hash)].find(hash, is_it)?;
        self.entries.get(*number)
    }

    fn push(&mut self, entry: Entry) {
        let hash = self.hasher.hash_one(entry.key.0);
        let number = self.entries.push(entry);
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash_of = |number: &u32| {
            let key = entries.get(*number).map(|entry| entry.key.0);
            hasher.hash_one(key.unwrap_or_default())
        };
        self.index[UNEVEN.part_of(hash)].insert_unique(hash, number, hash_of);
    }

    /// Forgets the oldest.
    fn pop(&mut self) {
        let Some(entry) = self.entries.front() else {
            return;
        };
        let hash = self.hasher.hash_one(entry.key.0);
        let oldest = self.entries.first;
        if let Ok(found) = self.index[UNEVEN.part_of(hash)].find_entry(hash, |number| *number == oldest) {
            found.remove();
        }
        self.entries.pop();
    }
}

/// Entries in one piece of memory.
const PIECE_ENTRIES: usize = 512;

/// A queue in pieces of equal size, so that growing copies nothing and leaves no room for twice as many, and that what is full can be
/// shared with a snapshot. Entries are numbered as they come; the numbers begin again after 2³² of them, which is far more than there are
/// at a time.
#[derive(Default)]
struct Entries {
    full: VecDeque<Arc<Vec<Entry>>>,
    /// The newest ones, until there are enough for a piece.
    tail: Vec<Entry>,
    /// The number of the first one.
    first: u32,
    /// How many of the first piece are gone.
    gone: usize,
    count: usize,
}

const _: () = assert!(REQUESTS_MAX < u32::MAX as usize / 2);

impl Entries {
    fn len(&self) -> usize {
        self.count
    }

    fn front(&self) -> Option<&Entry> {
        self.get(self.first)
    }

    fn get(&self, number: u32) -> Option<&Entry> {
        let place = self.gone + number.wrapping_sub(self.first) as usize;
        let piece = self.full.get(place / PIECE_ENTRIES).map(|piece| &piece[..]);
        // Nothing is behind the tail.
        let tail = || (place / PIECE_ENTRIES == self.full.len()).then_some(&self.tail[..]);
        piece.or_else(tail)?.get(place % PIECE_ENTRIES)
    }

    /// Puts one at the end, and says its number.
    fn push(&mut self, entry: Entry) -> u32 {
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(PIECE_ENTRIES);
        }
        self.tail.push(entry);
        if self.tail.len() == PIECE_ENTRIES {
            self.full.push_back(Arc::new(std::mem::take(&mut self.tail)));
        }
        self.count += 1;
        self.first.wrapping_add(self.count as u32 - 1)
    }

    /// Takes the first one away. It is gone for good when the last of its piece is.
    fn pop(&mut self) {
        if self.count == 0 {
            return;
        }
        self.count -= 1;
        self.first = self.first.wrapping_add(1);
        self.gone += 1;
        if self.gone == PIECE_ENTRIES {
            self.gone = 0;
            self.full.pop_front();
        }
    }
}

/// The requests that were remembered at one point of the log.
pub(crate) struct Captured {
    full: Vec<Arc<Vec<Entry>>>,
    tail: Vec<Entry>,
    /// How many of the first piece were gone.
    gone: usize,
}

impl Captured {
    /// All of them, oldest first: when each was stored, its key, what is answered.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, u128, &StoredRequest)> {
        let pieces = self.full.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let entries = pieces.flatten().skip(self.gone);
        entries.map(|entry| (entry.time, entry.key.0, &entry.stored))
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Quantity, Record, Request};
    use docket_proto::snapshot::{self, StoredReply};

    use super::*;
    use crate::{Call, Docket, NewItem, Options};

    /// As many as are weighed.
    const MEASURED: usize = 1 << 21;

    fn about(order: u128) -> StoredRequest {
        StoredRequest {
            fingerprint: 7,
            target: Target::Order(OrderId(order)),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_when_their_time_has_passed_or_there_are_too_many() {
        let remembered = Remembered::at_most(3);
        // Keys fall while times rise: it is not the order of the keys that counts.
        for (time, key) in [(10, 9), (20, 8), (30, 7), (40, 6)] {
            remembered.insert(Time(time), key, about(1));
        }
        let keys = || {
            let captured = remembered.capture();
            captured
                .iter()
                .map(|(time, key, _)| (time.0, key))
                .collect::<Vec<_>>()
        };
        let table: [(i64, &[(i64, u128)]); 4] = [
            (0, &[(20, 8), (30, 7), (40, 6)]),
            (30, &[(30, 7), (40, 6)]),
            (30, &[(30, 7), (40, 6)]),
            (41, &[]),
        ];
        for (oldest, expected) in table {
            remembered.forget_before(Time(oldest));
            assert_eq!(keys(), expected, "before {oldest}");
            assert_eq!(remembered.len(), expected.len());
        }
        assert!(remembered.get(9).is_none() && !remembered.contains_key(6));
    }

    #[test]
    fn each_is_found_by_its_key_while_others_are_forgotten_and_numbers_begin_again() {
        let remembered = Remembered::at_most(3 * PIECE_ENTRIES);
        remembered.requests.write().entries.first = u32::MAX - PIECE_ENTRIES as u32;
        let key = |n: u128| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 7;
        let count = 10 * PIECE_ENTRIES as u128;
        for n in 0..count {
            remembered.insert(Time(n as i64), key(n), about(n));
            remembered.forget_before(Time(n as i64 / 2));
            assert!(remembered.contains_key(key(n)));
        }
        let kept = count - 3 * PIECE_ENTRIES as u128;
        for n in 0..count {
            let order = remembered.get(key(n)).map(|stored| match stored.target {
                Target::Order(id) => id,
                _ => OrderId(u128::MAX),
            });
            assert_eq!(order, (n >= kept).then_some(OrderId(n)), "{n}");
        }
        let requests = remembered.requests.read();
        assert!(requests.entries.full.len() <= 3);
        assert_eq!(
            requests.index.iter().map(HashTable::len).sum::<usize>(),
            3 * PIECE_ENTRIES
        );
    }

    #[test]
    fn what_was_captured_stays_while_requests_are_remembered_and_forgotten() {
        let remembered = Remembered::at_most(2 * PIECE_ENTRIES);
        let mut captured = Vec::new();
        for n in 0..6 * PIECE_ENTRIES as u128 {
            remembered.insert(Time(n as i64), n, about(n));
            remembered.forget_before(Time(n as i64 / 2));
            if n % 400 == 0 {
                captured.push((n, remembered.len(), remembered.capture()));
            }
        }
        for (n, len, captured) in captured {
            let first = n + 1 - len as u128;
            let keys = captured.iter().map(|(_, key, _)| key);
            assert!(keys.eq(first..=n), "when there were {n}");
        }
    }

    #[test]
    fn an_entry_has_no_byte_too_many() {
        assert_eq!(size_of::<Entry>(), 56);
    }

    #[test]
    fn it_is_known_how_far_requests_are_forgotten() {
        let remembered = Remembered::at_most(1);
        remembered.insert(Time(10), 9, about(1));
        remembered.insert(Time(20), 8, about(1));
        let check = |oldest, forgotten: bool, time| {
            remembered.forget_before(Time(oldest));
            assert_eq!(
                remembered.has_forgotten(Time(time)),
                forgotten,
                "{time} at {oldest}"
            );
        };
        assert!(!remembered.has_forgotten(Time(10)));
        // There were too many.
        check(0, true, 10);
        check(0, false, 11);
        // Their time has passed.
        check(21, true, 20);
        check(21, false, 21);
        remembered.clear();
        assert!(!remembered.has_forgotten(Time(10)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_that_was_forgotten_is_decided_anew_by_the_actor_that_decided_it_before() {
        let dir = tempfile::tempdir().unwrap();
        let docket = Docket::open(Options::new(dir.path())).await.unwrap();
        docket.ready().await;
        let sku = docket_engine::Sku::new("tea").unwrap();
        let item = NewItem {
            sku: sku.clone(),
            display_name: "Tea".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: docket_engine::Amount(1),
            on_hand: Quantity(10),
        };
        docket.create_item(Call::default(), item).await.unwrap();
        let add = async || {
            let call = Call {
                request_id: Some("more".into()),
                ..Call::default()
            };
            docket.adjust_stock(call, sku.clone(), Quantity(5), None).await
        };
        let first = add().await.unwrap();
        assert_eq!(add().await.unwrap(), first);
        let committed = docket.inner.router.of_key(sku.as_str()).committed();
        committed.requests.forget_before(Time(i64::MAX));
        assert_eq!(add().await.unwrap().on_hand, Quantity(20));
        docket.close(std::time::Duration::from_secs(5)).await.unwrap();
    }

    /// Figures, not assertions: `cargo test -p docket-actors --lib -- --ignored --exact --nocapture
    /// remembered::tests::what_a_remembered_request_weighs`.
    #[ignore = "it measures"]
    #[test]
    fn what_a_remembered_request_weighs() {
        // Keys are hashes.
        let key = |n: u64| xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes());
        let remembered = Remembered::default();
        let (before, mut least, mut most) = (resident_bytes(), f64::MAX, 0_f64);
        for n in 0..MEASURED as u64 {
            remembered.insert(Time(n as i64), key(n), about(key(n)));
            // While there are few, what else the process does weighs more than they do.
            if n >= 1 << 19 && n % 4_096 == 0 {
                let each = (resident_bytes() - before) / n as f64;
                (least, most) = (least.min(each), most.max(each));
            }
        }
        let each = (resident_bytes() - before) / remembered.len() as f64;
        println!(
            "memory: {each:.0} bytes each of {}; {least:.0} to {most:.0} on the way",
            remembered.len()
        );

        // An item's request keeps the item as it was, since the next change makes another.
        let item = docket_engine::ItemEvent::Created {
            display_name: "Darjeeling, first flush".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: docket_engine::Amount(350),
            on_hand: Quantity(1_000),
        };
        let item = Item::create(docket_engine::Sku::new("tea").unwrap(), &item, Time(1)).unwrap();
        let before = resident_bytes();
        let kept: Vec<_> = (0..MEASURED).map(|_| Arc::new(item.clone())).collect();
        let of_item = (resident_bytes() - before) / kept.len() as f64;
        println!("memory: {of_item:.0} bytes more where it is about an item");

        let order = OrderId(key(1));
        let request = Request {
            key: key(2),
            fingerprint: key(3) as u64,
        };
        let time = Time(1_795_000_000_000_000);
        let journal = |request| {
            let mut bytes = Vec::new();
            let record = Record {
                time,
                events: Vec::new(),
                request,
                unchanged: None,
                origin: None,
            };
            crate::machine::encode(&record, &mut bytes);
            bytes.len()
        };
        let mut chunk = Vec::new();
        let stored = snapshot::StoredRequest {
            request,
            time,
            reply: Some(StoredReply::Order(order)),
        };
        snapshot::put_request(&stored, &mut chunk);
        println!(
            "disk: {} bytes of a record in the journal, {} bytes in each snapshot",
            journal(Some(request)) - journal(None),
            chunk.len()
        );
    }

    /// See proc(5): the second field, in pages of 4 KiB.
    fn resident_bytes() -> f64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: f64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        pages * 4_096.0
    }
}

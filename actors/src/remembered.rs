//! The requests of a shard that were done, and what a repeat of each is answered.
//!
//! They are forgotten oldest first: after [`RETENTION_US`] of logged time, and where there are more than [`REQUESTS_MAX`].
//! Both are constants and not configured, since every replica, and every replay of the log, must forget the same at the
//! same entry: whether a request is known decides whether a record is taken.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, mapref::one::Ref};
use docket_engine::{Customer, Item, OrderId, Time};
use parking_lot::Mutex;
use rapidhash::fast::RandomState;

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
    by_key: DashMap<u128, StoredRequest, RandomState>,
    /// When each was stored, oldest first: the order in which they are forgotten.
    times: Mutex<VecDeque<(Time, u128)>>,
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
            by_key: DashMap::default(),
            times: Mutex::default(),
            horizon: AtomicI64::new(i64::MIN),
            most,
        }
    }

    pub(crate) fn get(&self, key: &u128) -> Option<Ref<'_, u128, StoredRequest>> {
        self.by_key.get(key)
    }

    pub(crate) fn contains_key(&self, key: &u128) -> bool {
        self.by_key.contains_key(key)
    }

    /// Whether a request of this time that is not there may be forgotten.
    pub(crate) fn has_forgotten(&self, time: Time) -> bool {
        time.0 < self.horizon.load(Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Remembers one more; it is the newest.
    pub(crate) fn insert(&self, time: Time, key: u128, stored: StoredRequest) {
        self.by_key.insert(key, stored);
        self.times.lock().push_back((time, key));
    }

    /// Forgets what was stored before `oldest`, and the oldest where there are too many.
    pub(crate) fn forget_before(&self, oldest: Time) {
        let mut times = self.times.lock();
        // First: whoever does not find a request must know why.
        self.horizon.fetch_max(oldest.0, Relaxed);
        while let Some((_, key)) = times.pop_front_if(|(time, _)| *time < oldest) {
            self.by_key.remove(&key);
        }
        let excess = times.len().saturating_sub(self.most);
        if excess > 0 {
            for (time, key) in times.drain(..excess) {
                self.horizon.fetch_max(time.0.saturating_add(1), Relaxed);
                self.by_key.remove(&key);
            }
            metrics::counter!("docket_requests_forgotten_early_total").increment(excess as u64);
        }
    }

    /// All of them, oldest first.
    pub(crate) fn collect<T>(&self, mut take: impl FnMut(Time, u128, &StoredRequest) -> T) -> Vec<T> {
        let times = self.times.lock();
        let known =
            |(time, key): &(Time, u128)| self.by_key.get(key).map(|stored| take(*time, *key, &stored));
        times.iter().filter_map(known).collect()
    }

    pub(crate) fn clear(&self) {
        self.by_key.clear();
        self.times.lock().clear();
        self.horizon.store(i64::MIN, Relaxed);
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
        let keys = || remembered.collect(|time, key, _| (time.0, key));
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
        assert!(remembered.get(&9).is_none() && !remembered.contains_key(&6));
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

//! A shard's snapshot: what it costs for each order in it, and how long nothing is applied for it.
//!
//! | measured | |
//! |---|---|
//! | `frozen` | the state is frozen, while its shard's `apply` waits |
//! | `encoded` | frozen, and its bytes made |
//! | `stored` | frozen, made, written and synced |
//! | `restored` | read, checked and made a state again, as at a start |
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;

use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{BenchmarkId, SamplingMode, Throughput};
use docket_actors::shard_state_machine;
use docket_cluster::{Entry, StateMachine};
use docket_engine::{
    Amount, CustomerEvent, CustomerId, Decider, Event, Fact, ItemEvent, Line, OrderEvent, OrderId, Quantity,
    Record, Request, Sku, Time, Version,
};
use docket_persistence::SnapshotStore;
use docket_proto::record::{encode_record, encode_term};

/// Orders in the state: usually, and in the short mode.
const ORDERS: (u64, u64) = (200_000, 2_000);
/// Customers, and as many items.
const NAMES: u64 = 1_000;
const LINES: u64 = 2;
const PRICE: Amount = Amount(250);
const LIMIT: i64 = 1 << 60;
/// Orders in an entry of the log.
const IN_ENTRY: u64 = 64;
const BEGUN: i64 = 1_795_000_000_000_000;
const GROUP: u32 = 1;

fn main() {
    let mut criterion = setting::criterion();
    let orders = setting::or_short(ORDERS.0, ORDERS.1);
    let state = State::with(orders);
    let machine = &state.machine;
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();

    let mut group = criterion.benchmark_group("snapshot");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(orders));
    group.bench_function(BenchmarkId::new("frozen", orders), |bench| {
        bench.iter_custom(|times| {
            // What is frozen goes again elsewhere.
            let frozen = (0..times).map(|_| {
                let started = Instant::now();
                let _capture = black_box(machine.capture());
                started.elapsed()
            });
            frozen.sum::<Duration>()
        });
    });
    group.bench_function(BenchmarkId::new("encoded", orders), |bench| {
        bench.iter(|| {
            let mut bytes = 0;
            let mut count = |piece: &[u8]| {
                bytes += black_box(piece).len();
                Ok(())
            };
            machine.capture().write(&mut count).unwrap();
            bytes
        });
    });
    group.bench_function(BenchmarkId::new("stored", orders), |bench| {
        bench.iter(|| {
            let mut writer = store.begin(GROUP, b"").unwrap();
            let mut write = |piece: &[u8]| {
                writer.write(piece).unwrap();
                Ok(())
            };
            machine.capture().write(&mut write).unwrap();
            writer.finish().unwrap()
        });
    });
    // There is one, though only some of these be asked for.
    let mut writer = store.begin(GROUP, b"").unwrap();
    let mut write = |piece: &[u8]| {
        writer.write(piece).unwrap();
        Ok(())
    };
    machine.capture().write(&mut write).unwrap();
    let info = writer.finish().unwrap();
    println!(
        "snapshot: {:.0} bytes of state and {:.0} on disk an order; {:.0} estimated",
        info.bytes as f64 / orders as f64,
        info.disk_bytes as f64 / orders as f64,
        machine.state_bytes() as f64 / orders as f64,
    );
    let restored = shard_state_machine();
    group.bench_function(BenchmarkId::new("restored", orders), |bench| {
        bench.iter(|| {
            let reader = store.latest(GROUP).unwrap().unwrap();
            let mut chunks = reader.map(|chunk| chunk.map_err(std::io::Error::other));
            restored.restore(&mut chunks).unwrap();
        });
    });
    group.finish();
    criterion.final_summary();
}

/// A shard's state, and the versions of its entities.
struct State {
    machine: Arc<dyn StateMachine>,
    versions: HashMap<String, u64>,
    records: u64,
    index: u64,
    payload: Vec<u8>,
}

impl State {
    /// Confirmed orders of [`LINES`] lines each, as they come in.
    fn with(orders: u64) -> Self {
        let mut state = Self {
            machine: shard_state_machine(),
            versions: HashMap::new(),
            records: 0,
            index: 0,
            payload: Vec::new(),
        };
        state.begin_entry();
        for n in 0..NAMES {
            state.open(n);
        }
        for n in 0..orders {
            state.order(n);
            if n % IN_ENTRY == 0 {
                state.apply();
            }
        }
        state.apply();
        state
    }

    fn begin_entry(&mut self) {
        self.payload.clear();
        encode_term(1, &mut self.payload);
    }

    fn apply(&mut self) {
        let payload = Bytes::copy_from_slice(&self.payload);
        let answers = self.machine.apply(Entry {
            index: self.index,
            term: 1,
            payload: &payload,
        });
        assert!(answers.iter().all(|answer| *answer == 0), "a record did not fit");
        self.index += 1;
        self.begin_entry();
    }

    fn open(&mut self, n: u64) {
        let currency = "EUR".parse().unwrap();
        let created = CustomerEvent::Created {
            display_name: format!("Customer {n}").as_str().into(),
            currency,
            credit_limit: Amount(LIMIT),
        };
        self.record(None, vec![Fact::Customer(customer(n), created)]);
        let created = ItemEvent::Created {
            display_name: format!("Item {n}").as_str().into(),
            currency,
            unit_price: PRICE,
            on_hand: Quantity(LIMIT),
        };
        self.record(None, vec![Fact::Item(sku(n), created)]);
    }

    fn order(&mut self, n: u64) {
        // As ids come: their times rise, the rest of them is chance.
        let chance = chance_of(n);
        let id = OrderId::compose(
            (BEGUN / 1_000) as u64 + n / 50,
            (chance % 4_096) as u16,
            chance.into(),
        );
        let (who, of) = (chance % NAMES, |line| (chance / NAMES + line) % NAMES);
        let line = |line| Line {
            sku: sku(of(line)),
            quantity: Quantity(2),
            unit_price: PRICE,
        };
        let placed = OrderEvent::Placed {
            customer: customer(who),
            currency: "EUR".parse().unwrap(),
            lines: (0..LINES).map(line).collect(),
            provider: None,
        };
        let held = CustomerEvent::Held {
            order: id,
            amount: Amount(2 * PRICE.0 * LINES as i64),
        };
        let request = Request {
            key: u128::from(chance) << 64 | u128::from(chance_of(!n)),
            fingerprint: chance,
        };
        let facts = vec![Fact::Order(id, placed), Fact::Customer(customer(who), held)];
        self.record(Some(request), facts);
        for line in 0..LINES {
            let reserved = ItemEvent::Reserved {
                order: id,
                quantity: Quantity(2),
            };
            self.record(None, vec![Fact::Item(sku(of(line)), reserved)]);
        }
        self.record(None, vec![Fact::Order(id, OrderEvent::Confirmed)]);
    }

    fn record(&mut self, request: Option<Request>, facts: Vec<Fact>) {
        self.records += 1;
        let event = |fact| {
            let name = match &fact {
                Fact::Order(id, _) | Fact::Archived(id) => id.to_string(),
                Fact::Customer(id, _) => id.to_string(),
                Fact::Item(sku, _) => sku.to_string(),
            };
            let version = self.versions.entry(name).or_default();
            *version += 1;
            Event {
                version: Version(*version),
                decider: Decider(1),
                fact,
            }
        };
        let record = Record {
            time: Time(BEGUN + self.records as i64),
            events: facts.into_iter().map(event).collect(),
            request,
            unchanged: None,
            origin: None,
        };
        encode_record(&record, &mut self.payload);
    }
}

fn customer(n: u64) -> CustomerId {
    CustomerId::new(&format!("c{n}")).unwrap()
}

fn sku(n: u64) -> Sku {
    Sku::new(&format!("i{n}")).unwrap()
}

/// A number that looks like chance (splitmix64).
fn chance_of(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

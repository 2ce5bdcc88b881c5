//! Snapshots of shards that go on meanwhile, from seeds. `DOCKET_SNAPSHOT_SEED` repeats one.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use docket_cluster::{Capture, CaptureError, Entry, StateMachine as _};
use docket_engine::{
    Amount, Customer, CustomerEvent, CustomerId, Decider, Edit, Effect, Event, Fact, FulfilmentState,
    HoldReason, Item, ItemEvent, Line, LineQuantity, Order, OrderCommand, OrderEvent, OrderId, OrderState,
    PackedOrigin, ProviderName, Quantity, Record, Rejection, Request, Sku, Time, Version, access::Username,
    order,
};
use docket_persistence::{archive::Archive, mem::MemKeyed};
use docket_proto::{
    NoIntern,
    snapshot::{self, SnapshotRecord},
};
use proptest::prelude::*;

use super::{
    SLICE_RESERVATIONS,
    before::{Kept, Shown},
};
use crate::{
    archive::OrderArchive,
    committed::Committed,
    feed::FeedLimits,
    machine::{self, ShardMachine},
};

/// Seeds of one run.
const SEEDS: u64 = 60;
/// Entries of one log.
const ENTRIES: usize = 300;

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

thread_local! {
    /// What the replicas of one log put into their archives: what each has put is of the future of those that have applied less.
    static SHELF: RefCell<Archive> = RefCell::new(Archive::new(Arc::new(MemKeyed::new())));
}

/// A replica, and what it has applied.
struct Replica {
    committed: Arc<Committed>,
    machine: ShardMachine,
}

impl Replica {
    fn new() -> Self {
        let shelf = SHELF.with_borrow(|archive| OrderArchive::of(archive, 0, &Arc::default()));
        let committed = Arc::new(Committed::new(FeedLimits::default(), shelf));
        let machine = ShardMachine::new(committed.clone(), Arc::default(), Arc::default());
        Self { committed, machine }
    }

    fn of(log: &[Bytes]) -> Self {
        let replica = Self::new();
        replica.apply(0, log);
        replica
    }

    fn apply(&self, from: usize, log: &[Bytes]) {
        for (at, payload) in log.iter().enumerate() {
            self.machine.apply(Entry {
                index: (from + at) as u64,
                term: 1,
                payload,
            });
        }
    }

    fn restored(snapshot: &[u8]) -> Self {
        let replica = Self::new();
        let chunk = Ok(Bytes::copy_from_slice(snapshot));
        replica.machine.restore(&mut std::iter::once(chunk)).unwrap();
        replica
    }

    fn snapshot(&self) -> Vec<u8> {
        written(self.machine.capture(), |_| {}).unwrap()
    }
}

/// What a capture writes, while something is done between its pieces.
fn written(capture: Box<dyn Capture>, mut meanwhile: impl FnMut(usize)) -> Result<Vec<u8>, CaptureError> {
    let (mut bytes, mut pieces) = (Vec::new(), 0);
    capture.write(&mut |piece| {
        bytes.extend_from_slice(piece);
        pieces += 1;
        meanwhile(pieces);
        Ok(())
    })?;
    Ok(bytes)
}

/// Makes a log, on a replica of its own.
struct Log {
    chance: Chance,
    replica: Replica,
    time: i64,
    records: u64,
    keeps_origins: bool,
    archives: bool,
    promises_more: bool,
    pays_more: bool,
    orders: Vec<OrderId>,
    entries: Vec<Bytes>,
}

impl Log {
    fn new(seed: u64) -> Self {
        SHELF.set(Archive::new(Arc::new(MemKeyed::new())));
        let mut log = Self {
            chance: Chance(seed),
            replica: Replica::new(),
            time: 1_000,
            records: 0,
            keeps_origins: seed.is_multiple_of(3),
            archives: seed.is_multiple_of(2),
            promises_more: seed.is_multiple_of(5),
            pays_more: seed.is_multiple_of(7),
            orders: Vec::new(),
            entries: Vec::new(),
        };
        for _ in 0..ENTRIES {
            log.entry();
        }
        log
    }

    fn entry(&mut self) {
        let mut payload = Vec::new();
        machine::begin(1, &mut payload);
        let record = match self.chance.below(20) {
            0..2 => self.open_customer(),
            2..4 => self.open_item(),
            4 => self.adjust(),
            5 => self.update(),
            6 => self.stale(),
            7..12 => self.place(),
            12..16 => self.reserve(),
            16..18 => self.confirm(),
            _ => self.cancel(),
        };
        for record in record {
            machine::encode(&record, &mut payload);
        }
        self.replica
            .apply(self.entries.len(), &[Bytes::from(payload.clone())]);
        self.entries.push(payload.into());
    }

    fn record(&mut self, facts: Vec<(u64, Fact)>, asked: bool) -> Vec<Record> {
        self.time += self.chance.below(2) as i64;
        self.records += 1;
        let event = |(version, fact)| Event {
            version: Version(version),
            decider: Decider(self.records as u32),
            fact,
        };
        let request = Request {
            key: self.records.into(),
            fingerprint: self.records,
        };
        vec![Record {
            time: Time(self.time),
            events: facts.into_iter().map(event).collect(),
            request: asked.then_some(request),
            unchanged: None,
            origin: self.origin(),
        }]
    }

    /// Of some records, where this log is of nodes that keep it.
    fn origin(&mut self) -> Option<PackedOrigin> {
        let is_kept = self.keeps_origins && self.chance.below(2) == 0;
        let request_id = format!("r-{}", self.records);
        let by = Username::new("shop").ok();
        PackedOrigin::of(by.as_ref(), Some(&request_id), None).filter(|_| is_kept)
    }

    fn a_customer(&mut self) -> Option<Arc<Customer>> {
        let ids = self.replica.committed.customer_ids.read();
        let id = ids.iter().nth(self.chance.below(ids.len()))?;
        self.replica.committed.customers.get(id).map(|it| it.clone())
    }

    fn an_item(&mut self) -> Option<Arc<Item>> {
        let skus = self.replica.committed.skus.read();
        let sku = skus.iter().nth(self.chance.below(skus.len()))?;
        self.replica.committed.items.get(sku).map(|it| it.clone())
    }

    fn an_order(&mut self) -> Option<Arc<Order>> {
        let id = self.orders.get(self.chance.below(self.orders.len()))?;
        self.replica.committed.orders.get(*id)
    }

    fn open_customer(&mut self) -> Vec<Record> {
        // Names come in any order.
        let id = CustomerId::new(&format!("c{}", self.chance.next())).unwrap();
        let created = CustomerEvent::Created {
            display_name: "".into(),
            currency: "EUR".parse().unwrap(),
            credit_limit: Amount(1 << 40),
        };
        self.record(vec![(1, Fact::Customer(id, created))], true)
    }

    fn open_item(&mut self) -> Vec<Record> {
        let sku = Sku::new(&format!("i{}", self.chance.next())).unwrap();
        let created = ItemEvent::Created {
            display_name: "".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(3),
            on_hand: Quantity(if self.promises_more { 3 } else { 1 << 40 }),
        };
        let mut facts = vec![(1, Fact::Item(sku.clone(), created))];
        if self.promises_more {
            let updated = ItemEvent::Updated {
                display_name: "".into(),
                unit_price: Amount(3),
                backorder_limit: Quantity(1 << 40),
            };
            facts.push((2, Fact::Item(sku, updated)));
        }
        self.record(facts, true)
    }

    fn adjust(&mut self) -> Vec<Record> {
        let Some(item) = self.an_item() else {
            return Vec::new();
        };
        let adjusted = ItemEvent::Adjusted { delta: Quantity(1) };
        self.record(
            vec![(item.version.0 + 1, Fact::Item(item.sku.clone(), adjusted))],
            true,
        )
    }

    fn update(&mut self) -> Vec<Record> {
        let Some(customer) = self.a_customer() else {
            return Vec::new();
        };
        let credited = CustomerEvent::Credited { amount: Amount(1) };
        let fact = Fact::Customer(customer.id.clone(), credited);
        self.record(vec![(customer.version.0 + 1, fact)], true)
    }

    /// What was decided on another state is refused, and its life with it.
    fn stale(&mut self) -> Vec<Record> {
        let Some(customer) = self.a_customer() else {
            return Vec::new();
        };
        let credited = CustomerEvent::Credited { amount: Amount(1) };
        let fact = Fact::Customer(customer.id.clone(), credited);
        self.record(vec![(customer.version.0 + 7, fact)], false)
    }

    fn place(&mut self) -> Vec<Record> {
        let (Some(customer), Some(item)) = (self.a_customer(), self.an_item()) else {
            return Vec::new();
        };
        // Nearly in order.
        let ms = 10 * self.entries.len() as u64 + self.chance.next() % 100;
        let id = OrderId::compose(ms, 7, self.chance.next().into());
        let lines = (0..=self.chance.below(3)).map(|_| Line {
            sku: item.sku.clone(),
            quantity: Quantity(1),
            unit_price: item.unit_price,
        });
        let placed = OrderEvent::Placed {
            customer: customer.id.clone(),
            currency: "EUR".parse().unwrap(),
            lines: lines.collect(),
            provider: self.provider(),
        };
        let order = Order::create(id, &placed, Time(0)).unwrap();
        let held = CustomerEvent::Held {
            order: id,
            amount: order.total,
        };
        self.orders.push(id);
        self.record(
            vec![
                (1, Fact::Order(id, placed)),
                (customer.version.0 + 1, Fact::Customer(customer.id.clone(), held)),
            ],
            true,
        )
    }

    /// Of some orders, where a provider pays in this log.
    fn provider(&mut self) -> Option<ProviderName> {
        let name = ProviderName::new("cards").ok();
        name.filter(|_| self.pays_more && self.chance.below(2) == 0)
    }

    /// Has an order's provider authorise it, and then an edit that has it cost more; some of these come to nothing.
    fn pay(&mut self, order: &Order) -> Vec<Record> {
        let by = Username::new("shop").unwrap();
        let reference = "pi".into();
        let events = match order.state {
            OrderState::Pending => vec![OrderEvent::Reserved],
            OrderState::Authorizing => vec![OrderEvent::Authorized { reference }],
            _ if order.edits().is_empty() => {
                let lines = (0..order.lines.len()).map(|line| LineQuantity {
                    line: line as u16,
                    quantity: Quantity(2),
                });
                let lines = lines.collect();
                vec![OrderEvent::EditBegun { lines, by }, OrderEvent::EditReserved]
            }
            _ if order.edits().iter().any(Edit::is_open) => {
                let rejection = Box::new(Rejection::PaymentExpired);
                vec![OrderEvent::EditRefused { rejection }]
            }
            _ if !order.is_settled() => vec![OrderEvent::Released],
            _ => Vec::new(),
        };
        let next = order.version.0 + 1..;
        let facts = next.zip(events);
        let facts = facts.map(|(version, event)| (version, Fact::Order(order.id, event)));
        self.record(facts.collect(), false)
    }

    fn reserve(&mut self) -> Vec<Record> {
        let Some(item) = self.an_item() else {
            return Vec::new();
        };
        let order = match self.an_order() {
            Some(order) if self.chance.below(2) == 0 => order.id,
            // Of another shard, whose clock is another.
            _ => OrderId::compose(self.chance.next() % 5_000, 9, self.chance.next().into()),
        };
        let fact = match self.replica.committed.reservations.get(&item.sku, order) {
            Some(quantity) => ItemEvent::Released { order, quantity },
            None => ItemEvent::Reserved {
                order,
                quantity: Quantity(2),
            },
        };
        self.record(
            vec![(item.version.0 + 1, Fact::Item(item.sku.clone(), fact))],
            false,
        )
    }

    fn confirm(&mut self) -> Vec<Record> {
        if self.pays_more && self.chance.below(3) > 0 {
            // Few, so that some come far.
            let orders = self
                .orders
                .iter()
                .filter_map(|id| self.replica.committed.orders.get(*id));
            let paying: Vec<_> = orders.filter(|order| order.provider.is_some()).take(3).collect();
            if let Some(order) = paying.get(self.chance.below(paying.len())) {
                return self.pay(order);
            }
        }
        match self.an_order() {
            Some(order) if order.provider.is_some() => self.pay(&order),
            Some(order) if order.state == OrderState::Pending => {
                let mut events = vec![(2, OrderEvent::Confirmed)];
                if self.promises_more && self.chance.below(2) == 0 {
                    let lines = Box::new([LineQuantity {
                        line: 0,
                        quantity: Quantity(1),
                    }]);
                    events.push((3, OrderEvent::Backordered { lines }));
                }
                let facts = events.into_iter();
                let facts = facts.map(|(version, event)| (version, Fact::Order(order.id, event)));
                self.record(facts.collect(), false)
            }
            Some(order) if order.is_backordered() && order.is_settled() => {
                let lines = Box::default();
                let filled = OrderEvent::BackorderFilled { lines };
                self.record(vec![(order.version.0 + 1, Fact::Order(order.id, filled))], false)
            }
            _ => self.reserve(),
        }
    }

    fn cancel(&mut self) -> Vec<Record> {
        let over = self.an_order().filter(|order| self.archives && order.is_over());
        if let Some(order) = over {
            return self.record(vec![(order.version.0 + 1, Fact::Archived(order.id))], false);
        }
        let is_taken = |order: &Arc<Order>| order.state != OrderState::Pending && order.provider.is_none();
        let Some(order) = self.an_order().filter(is_taken) else {
            return self.release();
        };
        let next = order.version.0 + 1;
        if !order.is_settled() {
            let done = match order.releasing.is_empty() {
                true => OrderEvent::Consumed,
                false => OrderEvent::Released,
            };
            return self.record(vec![(next, Fact::Order(order.id, done))], false);
        }
        match (order.state, self.chance.below(5)) {
            (OrderState::Confirmed | OrderState::PartiallyFulfilled, 0 | 1) => return self.hold(&order),
            (OrderState::Confirmed | OrderState::PartiallyFulfilled, 2 | 3) => return self.ship(&order),
            (OrderState::Confirmed, _) => {}
            (OrderState::PartiallyFulfilled | OrderState::Fulfilled, _) => return self.deliver(&order),
            _ => return self.release(),
        }
        let customer = self.replica.committed.customers.get(&order.customer);
        let version = customer.map_or(0, |customer| customer.version.0);
        let released = CustomerEvent::Released {
            order: order.id,
            amount: order.held(),
        };
        self.record(
            vec![
                (next, Fact::Order(order.id, OrderEvent::Cancelled)),
                (version + 1, Fact::Customer(order.customer.clone(), released)),
            ],
            true,
        )
    }

    /// Holds an order for one reason more, or one less.
    fn hold(&mut self, order: &Order) -> Vec<Record> {
        let reason = HoldReason::ALL[self.chance.below(HoldReason::ALL.len())];
        let by = Username::new("shop").unwrap();
        let event = match order.active_holds().any(|hold| hold.reason == reason) {
            true => OrderEvent::HoldReleased { reason, by },
            false => OrderEvent::Held {
                reason,
                note: "x".repeat(self.chance.below(9)).into(),
                by,
            },
        };
        self.record(vec![(order.version.0 + 1, Fact::Order(order.id, event))], true)
    }

    /// Ships one piece of an order, or calls one off.
    fn ship(&mut self, order: &Order) -> Vec<Record> {
        let by = Username::new("shop").unwrap();
        let open = order.open_quantities();
        let line = open.iter().position(|open| open.0 > 0).unwrap_or_default() as u16;
        let lines: Box<[_]> = Box::new([LineQuantity {
            line,
            quantity: Quantity(1),
        }]);
        let command = match self.chance.below(3) {
            0 => OrderCommand::Cancel {
                lines,
                by: None,
                expected: None,
            },
            _ => OrderCommand::Ship {
                lines,
                carrier: "x".repeat(self.chance.below(9)).into(),
                tracking: "".into(),
                by,
                expected: None,
            },
        };
        let Ok(decision) = order::decide(Some(order), &command) else {
            return self.hold(order);
        };
        let customer = self.replica.committed.customers.get(&order.customer);
        let version = customer.map_or(0, |customer| customer.version.0);
        let order_id = order.id;
        let of_customer = decision.effects.iter().find_map(|effect| match effect {
            Effect::CaptureCredit { amount, .. } => Some(CustomerEvent::Captured {
                order: order_id,
                amount: *amount,
            }),
            Effect::ReleaseCredit { amount, .. } => Some(CustomerEvent::Released {
                order: order_id,
                amount: *amount,
            }),
            _ => None,
        });
        let event = decision.events.into_iter().next().unwrap();
        self.record(
            vec![
                (order.version.0 + 1, Fact::Order(order_id, event)),
                (
                    version + 1,
                    Fact::Customer(order.customer.clone(), of_customer.unwrap()),
                ),
            ],
            true,
        )
    }

    /// Has one of an order's shipments arrive.
    fn deliver(&mut self, order: &Order) -> Vec<Record> {
        let by = Username::new("driver").unwrap();
        let mut numbered = (1..).zip(order.fulfilments());
        let to_come =
            numbered.find(|(_, it)| matches!(it.state(), FulfilmentState::Open | FulfilmentState::Shipped));
        let event = match to_come {
            Some((fulfilment, it)) if it.is_open() => OrderEvent::FulfilmentCancelled { fulfilment, by },
            Some((fulfilment, _)) => OrderEvent::Delivered { fulfilment, by },
            None => return self.plan(order),
        };
        self.record(vec![(order.version.0 + 1, Fact::Order(order.id, event))], true)
    }

    /// Has somebody take one piece of an order upon itself.
    fn plan(&mut self, order: &Order) -> Vec<Record> {
        // Seldom, so that there are logs without.
        let free = order.free_quantities();
        let line = free.iter().position(|free| free.0 > 0);
        let Some(line) = line.filter(|_| order.is_settled() && self.chance.below(40) == 0) else {
            return self.release();
        };
        let command = OrderCommand::OpenFulfilment {
            lines: Box::new([LineQuantity {
                line: line as u16,
                quantity: Quantity(1),
            }]),
            by: Username::new("depot").unwrap(),
            expected: None,
        };
        match order::decide(Some(order), &command) {
            Ok(decision) => {
                let event = decision.events.into_iter().next().unwrap();
                self.record(vec![(order.version.0 + 1, Fact::Order(order.id, event))], true)
            }
            Err(_) => self.release(),
        }
    }

    /// Takes any reservation back, or some of it off the stock.
    fn release(&mut self) -> Vec<Record> {
        let all = self.replica.committed.reservations.all();
        let Some((sku, order, quantity)) = all.get(self.chance.below(all.len())).cloned() else {
            return Vec::new();
        };
        let item = self.replica.committed.items.get(&sku).map(|item| item.clone());
        let version = item.as_ref().map_or(0, |item| item.version.0);
        // What waits is not taken.
        let waits = item.is_some_and(|item| item.waiting_of(order) == quantity);
        let released = match self.chance.below(2) {
            _ if waits => ItemEvent::Released { order, quantity },
            0 => ItemEvent::Released { order, quantity },
            _ => ItemEvent::Consumed {
                order,
                quantity: Quantity(1),
            },
        };
        self.record(vec![(version + 1, Fact::Item(sku, released))], false)
    }
}

#[track_caller]
fn check(snapshot: &[u8], expected: &[u8], what: &str) {
    // Where its pieces are cut depends on what was passed over.
    let (snapshot, expected) = (records(snapshot), records(expected));
    if snapshot == expected {
        return;
    }
    let differing = snapshot
        .iter()
        .zip(&expected)
        .find(|(record, expected)| record != expected);
    panic!(
        "{what}: {} records for {}; {differing:#?}",
        snapshot.len(),
        expected.len()
    );
}

/// The records of a snapshot, whatever its pieces.
fn records(mut snapshot: &[u8]) -> Vec<SnapshotRecord> {
    let mut all = Vec::new();
    while let Some((length, rest)) = snapshot.split_first_chunk::<4>() {
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        all.extend(snapshot::records(piece, &NoIntern).map(Result::unwrap));
        snapshot = rest;
    }
    all
}

fn seeds() -> Vec<u64> {
    let asked = std::env::var("DOCKET_SNAPSHOT_SEED").ok();
    match asked.and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..SEEDS).collect(),
    }
}

#[test]
fn a_snapshot_is_of_one_entry_whatever_is_applied_while_it_is_written() {
    for seed in seeds() {
        let log = Log::new(seed);
        let (log, mut chance) = (log.entries, log.chance);
        let at = chance.below(ENTRIES);
        let expected = Replica::of(&log[..at]).snapshot();
        let replica = Replica::of(&log[..at]);
        // Another one begins in the middle of it, and is written when that is.
        let (mut applied, mut second) = (at, None);
        let second_at = 2 + chance.below(20);
        let bytes = written(replica.machine.capture(), |pieces| {
            let more = chance.below(4).min(ENTRIES - applied);
            replica.apply(applied, &log[applied..applied + more]);
            applied += more;
            if pieces == second_at {
                second = Some((applied, replica.machine.capture()));
            }
        });
        let records = records(&expected);
        let has_life =
            |record: &SnapshotRecord| matches!(record, SnapshotRecord::Order(order) if order.life.is_some());
        let SnapshotRecord::Head(head) = &records[0] else {
            panic!("seed {seed}: a snapshot has a head");
        };
        let has_trail = |record: &SnapshotRecord| matches!(record, SnapshotRecord::Order(order) if !order.trail.is_empty() || order.provider.is_some());
        let has_plan = |record: &SnapshotRecord| match record {
            SnapshotRecord::Order(order) => order.fulfilments().iter().any(|it| it.opened.is_some()),
            _ => false,
        };
        let is_of_7 = |order: &Order| {
            let has_more = order.payment_steps().iter().any(|step| step.payment > 1);
            has_more || !order.backorder_news().is_empty()
        };
        let promises_more = |record: &SnapshotRecord| match record {
            SnapshotRecord::Item(item) => item.backorders.is_some(),
            SnapshotRecord::Order(order) => is_of_7(order),
            _ => false,
        };
        let numbered = |number| replica.committed.archive.numbered(number).unwrap().unwrap();
        let mut archived = (0..head.archived).map(numbered);
        let format = match (records.iter().any(has_trail), records.iter().any(has_life)) {
            _ if records.iter().any(promises_more) || archived.any(|order| is_of_7(&order)) => {
                snapshot::FORMAT
            }
            _ if records.iter().any(has_plan) || head.archived > 0 => snapshot::FORMAT_WITHOUT_BACKORDERS,
            (true, _) => snapshot::FORMAT_WITHOUT_CLOSED,
            (false, true) => snapshot::FORMAT_WITHOUT_TRAILS,
            (false, false) => snapshot::FORMAT_WITHOUT_LIFE,
        };
        assert_eq!(head.format, format, "seed {seed}");
        let what = format!("seed {seed}: not the state of entry {at}");
        check(&bytes.unwrap(), &expected, &what);
        if let Some((at, second)) = second {
            let expected = Replica::of(&log[..at]).snapshot();
            check(
                &written(second, |_| {}).unwrap(),
                &expected,
                &format!("seed {seed}: the second is not the state of entry {at}"),
            );
        }
        assert!(
            !replica.committed.captures.want_anything(),
            "seed {seed}: something is kept for nobody"
        );
        // And who goes on from it ends where everybody does.
        let restored = Replica::restored(&expected);
        restored.apply(at, &log[at..]);
        let what = format!("seed {seed}: restored at {at} it is another");
        check(&restored.snapshot(), &Replica::of(&log).snapshot(), &what);
    }
}

#[test]
fn many_pieces_are_written_so_that_much_is_applied_between_them() {
    let log = Log::new(7).entries;
    let mut pieces = 0;
    written(Replica::of(&log).machine.capture(), |_| pieces += 1).unwrap();
    assert!(pieces > 60, "{pieces}");
}

#[test]
fn a_snapshot_of_a_state_that_is_replaced_meanwhile_is_given_up() {
    let log = Log::new(3).entries;
    let snapshot = Replica::of(&log).snapshot();
    let pieces = {
        let mut pieces = 0;
        written(Replica::of(&log).machine.capture(), |_| pieces += 1).unwrap();
        pieces
    };
    for at in 1..pieces {
        let replica = Replica::of(&log);
        let result = written(replica.machine.capture(), |piece| {
            if piece == at {
                let chunk = Ok(Bytes::copy_from_slice(&snapshot));
                replica.machine.restore(&mut std::iter::once(chunk)).unwrap();
            }
        });
        let error = result.expect_err("the state was replaced").to_string();
        assert!(error.contains("replaced"), "at piece {at}: {error}");
    }
}

#[test]
fn nothing_is_kept_any_more_for_a_snapshot_that_is_given_up() {
    let replica = Replica::of(&Log::new(5).entries);
    drop(replica.machine.capture());
    assert!(!replica.committed.captures.want_anything());
    let failed = replica
        .machine
        .capture()
        .write(&mut |_| Err(CaptureError::new("the disk is full")));
    assert!(failed.is_err() && !replica.committed.captures.want_anything());
}

proptest! {
    /// Whatever is changed between the slices, what is shown is what was there at the beginning, in order.
    #[test]
    fn what_is_kept_and_what_is_there_are_together_what_was_there(
        begin in proptest::collection::btree_map(0..40_u8, 0..100_u8, 0..40),
        changes in proptest::collection::vec(
            proptest::collection::vec((0..40_u8, proptest::option::of(100..200_u8)), 0..6), 0..20),
        most in 1..6_usize,
    ) {
        let (mut now, mut kept, mut shown) = (begin.clone(), Kept::default(), Vec::new());
        for changes in changes.into_iter().chain(std::iter::repeat(Vec::new())) {
            for (key, value) in changes {
                kept.keep(&key, || now.get(&key).copied());
                match value {
                    Some(value) => now.insert(key, value),
                    None => now.remove(&key),
                };
            }
            let from = kept.done().map_or(0, |done| done + 1);
            let live: Vec<_> = now.range(from..).take(most).map(|(key, value)| (*key, *value)).collect();
            let until = live.last().filter(|_| live.len() == most).map(|(key, _)| *key);
            let more = kept.slice(live.into_iter(), until, |key, value| {
                let (Shown::Now(value) | Shown::Was(value)) = value;
                shown.push((*key, value));
            });
            if !more {
                break;
            }
        }
        prop_assert!(shown.into_iter().eq(begin));
    }
}

#[test]
fn what_was_kept_and_is_all_gone_is_shown_in_slices_too() {
    let (were, mut kept) = (0..1_000_u32, Kept::default());
    for key in were.clone() {
        kept.keep(&key, || Some(key));
    }
    let (mut shown, mut slices) = (Vec::new(), 0);
    loop {
        let before = shown.len();
        let more = kept.slice(std::iter::empty::<(u32, ())>(), None, |key, _| shown.push(*key));
        slices += 1;
        assert!(shown.len() - before <= SLICE_RESERVATIONS + 1);
        if !more {
            break;
        }
    }
    assert!(shown.into_iter().eq(were) && slices > 70);
}

//! `decide` and `evolve`, the pure engine: what an order costs before anything is stored, sent or synced.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput};
use docket_engine::{
    Amount, Currency, Customer, CustomerCommand, CustomerEvent, CustomerId, Decider, Event, Fact, Item,
    ItemCommand, ItemEvent, Line, Order, OrderCommand, OrderEvent, OrderId, Quantity, Record, Request, Sku,
    Time, Version, customer, item, item::ReserveLine, order,
};
use docket_proto::record;

const NOW: Time = Time(1_795_000_000_000);
const LIMIT: i64 = 1 << 60;

fn main() {
    let mut criterion = setting::criterion();
    entities(&mut criterion);
    records(&mut criterion);
    criterion.final_summary();
}

/// An order of two lines, its customer and its items.
struct Sample {
    id: OrderId,
    currency: Currency,
    lines: Arc<[Line]>,
    customer: Customer,
    items: [Item; 2],
}

impl Sample {
    fn new() -> Self {
        let currency: Currency = "EUR".parse().unwrap();
        let created = CustomerEvent::Created {
            display_name: "".into(),
            currency,
            credit_limit: Amount(LIMIT),
        };
        let customer = Customer::create(CustomerId::new("c500").unwrap(), &created, NOW).unwrap();
        let items = ["i500", "i501"].map(|sku| {
            let created = ItemEvent::Created {
                display_name: "".into(),
                currency,
                unit_price: Amount(250),
                on_hand: Quantity(LIMIT),
            };
            Item::create(Sku::new(sku).unwrap(), &created, NOW).unwrap()
        });
        let line = |item: &Item| Line {
            sku: item.sku.clone(),
            quantity: Quantity(2),
            unit_price: item.unit_price,
        };
        Self {
            id: OrderId::compose(1_795_000_000_000, 77, 1),
            currency,
            lines: items.iter().map(line).collect(),
            customer,
            items,
        }
    }

    fn place(&self) -> OrderCommand {
        OrderCommand::Place {
            customer: self.customer.id.clone(),
            currency: self.currency,
            lines: self.lines.clone(),
            provider: None,
        }
    }

    fn hold(&self) -> CustomerCommand {
        CustomerCommand::Hold {
            order: self.id,
            amount: Amount(1_000),
            currency: self.currency,
        }
    }

    fn reserve(&self, line: u16) -> ItemCommand {
        ItemCommand::Reserve {
            order: self.id,
            currency: self.currency,
            lines: vec![ReserveLine {
                line,
                quantity: Quantity(2),
                unit_price: Amount(250),
            }],
        }
    }

    fn settle(&self) -> OrderCommand {
        let agreed = |line: &Line| (line.sku.clone(), Ok(Quantity::ZERO));
        OrderCommand::Settle {
            answers: self.lines.iter().map(agreed).collect(),
        }
    }

    fn placed(&self) -> Order {
        let events = order::decide(None, &self.place()).unwrap().events;
        Order::create(self.id, &events[0], NOW).unwrap()
    }

    /// What a whole order makes of its three kinds of entities: decided and evolved five times.
    fn whole(&self, customer: &mut Customer, items: &mut [Item; 2]) -> Order {
        let mut order = self.placed();
        hold(customer, &self.hold());
        for (line, item) in (0..).zip(items) {
            reserve(item, &self.reserve(line));
        }
        settle(&mut order, &self.settle());
        order
    }

    fn record(&self) -> Record {
        let event = |fact| Event {
            version: Version(1),
            decider: Decider(0x1234_5678),
            fact,
        };
        let placed = order::decide(None, &self.place()).unwrap().events.remove(0);
        let held = CustomerEvent::Held {
            order: self.id,
            amount: Amount(1_000),
        };
        Record {
            time: NOW,
            events: vec![
                event(Fact::Order(self.id, placed)),
                event(Fact::Customer(self.customer.id.clone(), held)),
            ],
            request: Some(Request {
                key: u128::MAX / 3,
                fingerprint: u64::MAX / 5,
            }),
            unchanged: None,
            origin: None,
        }
    }
}

fn hold(customer: &mut Customer, command: &CustomerCommand) {
    let decision = customer::decide(&customer.id, Some(customer), command).unwrap();
    for event in &decision.events {
        customer.evolve(event, NOW).unwrap();
    }
}

fn reserve(item: &mut Item, command: &ItemCommand) {
    let decision = item::decide(&item.sku, Some(item), None, command).unwrap();
    for event in &decision.events {
        item.evolve(event, NOW).unwrap();
    }
}

fn settle(order: &mut Order, command: &OrderCommand) {
    let decision = order::decide(Some(order), command).unwrap();
    assert_eq!(decision.events, [OrderEvent::Confirmed]);
    for event in &decision.events {
        order.evolve(event, NOW).unwrap();
    }
}

fn entities(criterion: &mut Criterion) {
    let sample = Sample::new();
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    group.bench_function("order_placed", |bench| bench.iter(|| black_box(sample.placed())));
    let command = sample.settle();
    group.bench_function("order_settled", |bench| {
        bench.iter_batched_ref(
            || sample.placed(),
            |order| settle(order, black_box(&command)),
            BatchSize::SmallInput,
        );
    });
    // What is held and reserved grows from one to the next, and stays far below what there is.
    let (command, mut customer) = (sample.hold(), sample.customer.clone());
    group.bench_function("customer_held", |bench| {
        bench.iter(|| hold(&mut customer, black_box(&command)));
    });
    let (command, mut items) = (sample.reserve(0), sample.items.clone());
    group.bench_function("item_reserved", |bench| {
        bench.iter(|| reserve(&mut items[0], black_box(&command)));
    });
    group.bench_function("whole_order", |bench| {
        bench.iter(|| black_box(sample.whole(&mut customer, &mut items)));
    });
    group.finish();
    customer.validate().unwrap();
    items[0].validate().unwrap();
}

/// The bytes of the record that an order begins with.
fn records(criterion: &mut Criterion) {
    let original = Sample::new().record();
    let mut bytes = Vec::new();
    record::encode_record(&original, &mut bytes);
    assert_eq!(
        record::decode_batch(&bytes).unwrap(),
        std::slice::from_ref(&original)
    );
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    let mut batch = Vec::new();
    group.bench_function("encoded", |bench| {
        bench.iter(|| {
            batch.clear();
            record::encode_record(black_box(&original), &mut batch);
        });
    });
    group.bench_function("decoded", |bench| {
        bench.iter(|| record::decode_batch(black_box(&bytes)).unwrap());
    });
    group.finish();
}

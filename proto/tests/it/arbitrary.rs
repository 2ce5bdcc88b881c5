//! Any value that the journal may have to hold. Boxed: as one type of nested tuples they outgrow a test's stack.

use std::sync::Arc;

use docket_engine::{
    Amount, Backorder, BackorderNews, Backorders, Change, ChangeKind, Currency, Customer, CustomerEvent,
    CustomerId, Edit, EditEnd, EntityId, Event, Fact, Fulfilment, FulfilmentState, Hold, HoldEnd, HoldReason,
    Item, ItemEvent, Line, LineCancellation, LineQuantity, Order, OrderEvent, OrderId, OrderLife, OrderState,
    Origin, PaymentKind, PaymentOutcome, PaymentStep, ProviderName, ProviderPayment, Quantity, Record,
    Refund, Rejection, Request, Return, ReturnState, ReturnStep, Sku, Stamp, Time, TraceId, Trail,
    TrailEntry, Unchanged, Version, access::Username, order,
};
use docket_proto::feed::FeedPosition;
use docket_proto::snapshot::{
    FORMAT, FeedStart, Head, KeptChange, Reservation, SnapshotRecord, StoredReply, StoredRequest,
};
use proptest::{collection::vec, option, prelude::*};

/// Numbers with a liking for the edges.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(-1),
        Just(i64::MAX),
        Just(i64::MIN),
        -300..300i64,
        any::<i64>()
    ]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 1..1_000u64, any::<u64>()]
}

fn id_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zA-Z0-9._-]{1,12}", 1 => "[a-zA-Z0-9._-]{64}"]
}

fn customer_id() -> impl Strategy<Value = CustomerId> {
    id_text().prop_map(|text| CustomerId::new(&text).unwrap())
}

fn sku() -> impl Strategy<Value = Sku> {
    id_text().prop_map(|text| Sku::new(&text).unwrap())
}

fn order_id() -> impl Strategy<Value = OrderId> {
    prop_oneof![Just(0), Just(u128::MAX), any::<u128>()].prop_map(OrderId)
}

fn currency() -> impl Strategy<Value = Currency> {
    "[A-Z]{3}".prop_map(|code| code.parse().unwrap())
}

fn display_name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just(String::new()), ".{0,20}", "[a-zä€]{60,80}"].prop_map(Arc::from)
}

fn amount() -> impl Strategy<Value = Amount> {
    number().prop_map(Amount)
}

fn quantity() -> impl Strategy<Value = Quantity> {
    number().prop_map(Quantity)
}

fn time() -> impl Strategy<Value = Time> {
    number().prop_map(Time)
}

fn line() -> BoxedStrategy<Line> {
    (sku(), quantity(), amount())
        .prop_map(|(sku, quantity, unit_price)| Line {
            sku,
            quantity,
            unit_price,
        })
        .boxed()
}

fn state() -> impl Strategy<Value = OrderState> {
    prop_oneof![
        Just(OrderState::Pending),
        Just(OrderState::Confirmed),
        Just(OrderState::PartiallyFulfilled),
        Just(OrderState::Fulfilled),
        Just(OrderState::Cancelled),
        Just(OrderState::Rejected),
        Just(OrderState::Authorizing),
        Just(OrderState::Expired),
        Just(OrderState::Closed)
    ]
}

fn hold_reason() -> impl Strategy<Value = HoldReason> {
    prop::sample::select(HoldReason::ALL.to_vec())
}

fn username() -> impl Strategy<Value = Username> {
    "[a-zA-Z0-9._@-]{1,64}".prop_map(|text| Username::new(&text).unwrap())
}

fn hold() -> BoxedStrategy<Hold> {
    let end = (time(), 1..=u64::MAX, option::of(username())).prop_map(|(at, version, by)| HoldEnd {
        at,
        version: Version(version),
        by,
    });
    (
        hold_reason(),
        ".{0,20}",
        username(),
        time(),
        any::<u64>(),
        option::of(end),
    )
        .prop_map(|(reason, note, by, since, version, ended)| Hold {
            reason,
            note: note.into(),
            by,
            since,
            version: Version(version),
            ended,
        })
        .boxed()
}

fn skus() -> impl Strategy<Value = Box<[Sku]>> {
    vec(sku(), 0..4).prop_map(Into::into)
}

/// Of every kind.
pub fn rejection() -> BoxedStrategy<Rejection> {
    let line = || option::of(any::<u16>());
    prop_oneof![
        Just(Rejection::RequestIdReused),
        Just(Rejection::StaleEtag),
        line().prop_map(|line| Rejection::Overflow { line }),
        Just(Rejection::OrderPending),
        customer_id().prop_map(|customer| Rejection::CustomerNotFound { customer }),
        customer_id().prop_map(|customer| Rejection::CustomerExists { customer }),
        (line(), sku()).prop_map(|(line, sku)| Rejection::ItemNotFound { line, sku }),
        sku().prop_map(|sku| Rejection::ItemExists { sku }),
        order_id().prop_map(|order| Rejection::OrderNotFound { order }),
        state().prop_map(|state| Rejection::NotCancellable { state }),
        state().prop_map(|state| Rejection::NotHoldable { state }),
        hold_reason().prop_map(|reason| Rejection::HoldExists { reason }),
        hold_reason().prop_map(|reason| Rejection::HoldNotFound { reason }),
        Just(Rejection::TooManyHolds),
        state().prop_map(|state| Rejection::NotShippable { state }),
        hold_reason().prop_map(|reason| Rejection::OrderHeld { reason }),
        any::<u16>().prop_map(|line| Rejection::LineNotFound { line: line / 2 }),
        (any::<u16>(), quantity(), quantity()).prop_map(|(line, wanted, open)| Rejection::QuantityNotOpen {
            line: line / 2,
            wanted,
            open
        }),
        Just(Rejection::TooManyFulfilments),
        state().prop_map(|state| Rejection::NotReturnable { state }),
        (any::<u16>(), quantity(), quantity()).prop_map(|(line, wanted, returnable)| {
            Rejection::QuantityNotReturnable {
                line: line / 2,
                wanted,
                returnable,
            }
        }),
        any::<u32>().prop_map(|number| Rejection::ReturnNotFound { number }),
        (any::<u32>(), return_state()).prop_map(|(number, state)| Rejection::ReturnNotOpen { number, state }),
        Just(Rejection::TooManyReturns),
        ".{0,20}".prop_map(|reason| Rejection::PaymentDeclined {
            reason: reason.into()
        }),
        Just(Rejection::PaymentExpired),
        Just(Rejection::OrderClosed),
        provider().prop_map(|provider| Rejection::ProviderNotFound { provider }),
        any::<u32>().prop_map(|number| Rejection::PaymentStepNotFound { number }),
        any::<u32>().prop_map(|number| Rejection::PaymentNotDeclined { number }),
        Just(Rejection::TooManyPayments),
        state().prop_map(|state| Rejection::NotEditable { state }),
        (any::<u16>(), quantity(), quantity()).prop_map(|(line, wanted, gone)| Rejection::QuantityTooLow {
            line: line / 2,
            wanted,
            gone
        }),
        Just(Rejection::EditLeavesNothing),
        amount().prop_map(|more| Rejection::EditNeedsAuthorization { more }),
        Just(Rejection::TooManyEdits),
        Just(Rejection::TooManyAuthorizations),
        (amount(), amount())
            .prop_map(|(wanted, refundable)| Rejection::RefundTooLarge { wanted, refundable }),
        any::<u32>().prop_map(|fulfilment| Rejection::FulfilmentNotFound { fulfilment }),
        (any::<u16>(), quantity()).prop_map(|(line, planned)| Rejection::QuantityPlanned {
            line: line / 2,
            planned
        }),
        (any::<u16>(), quantity(), quantity()).prop_map(|(line, wanted, there)| {
            Rejection::QuantityBackordered {
                line: line / 2,
                wanted,
                there,
            }
        }),
        (any::<u32>(), fulfilment_state())
            .prop_map(|(fulfilment, state)| Rejection::FulfilmentNotOpen { fulfilment, state }),
        (any::<u32>(), fulfilment_state())
            .prop_map(|(fulfilment, state)| Rejection::FulfilmentNotShipped { fulfilment, state }),
        (line(), currency(), currency()).prop_map(|(line, ordered, expected)| Rejection::CurrencyMismatch {
            line,
            ordered,
            expected
        }),
        (amount(), amount())
            .prop_map(|(needed, available)| Rejection::InsufficientCredit { needed, available }),
        (any::<u16>(), sku(), amount(), amount()).prop_map(|(line, sku, offered, current)| {
            Rejection::PriceChanged {
                line,
                sku,
                offered,
                current,
            }
        }),
        (any::<u16>(), sku(), quantity(), quantity()).prop_map(|(line, sku, wanted, available)| {
            Rejection::InsufficientStock {
                line,
                sku,
                wanted,
                available,
            }
        }),
        (quantity(), quantity(), quantity()).prop_map(|(on_hand, reserved, wanted)| {
            Rejection::StockReserved {
                on_hand,
                reserved,
                wanted,
            }
        }),
        (amount(), amount()).prop_map(|(available, wanted)| Rejection::BalanceHeld { available, wanted }),
    ]
    .boxed()
}

fn line_quantities() -> BoxedStrategy<Box<[LineQuantity]>> {
    let of_line = (any::<u16>(), quantity()).prop_map(|(line, quantity)| LineQuantity { line, quantity });
    vec(of_line, 0..4).prop_map(Vec::into_boxed_slice).boxed()
}

fn stamp() -> BoxedStrategy<Stamp> {
    (time(), count(), option::of(username()))
        .prop_map(|(at, version, by)| Stamp {
            at,
            version: Version(version),
            by,
        })
        .boxed()
}

fn return_state() -> impl Strategy<Value = ReturnState> {
    prop::sample::select(ReturnState::ALL.to_vec())
}

fn return_step() -> BoxedStrategy<ReturnStep> {
    prop_oneof![
        Just(ReturnStep::Approve),
        ".{0,20}".prop_map(|note| ReturnStep::Decline { note: note.into() }),
        any::<bool>().prop_map(|restock| ReturnStep::Receive { restock }),
        Just(ReturnStep::Close),
    ]
    .boxed()
}

fn return_of() -> BoxedStrategy<Return> {
    (
        line_quantities(),
        ".{0,20}",
        stamp(),
        vec((return_step(), stamp()), 0..4),
    )
        .prop_map(|(lines, note, requested, steps)| Return {
            lines,
            note: note.into(),
            requested,
            steps,
        })
        .boxed()
}

fn refund() -> BoxedStrategy<Refund> {
    (amount(), ".{0,20}", stamp())
        .prop_map(|(amount, note, refunded)| Refund {
            amount,
            note: note.into(),
            refunded,
        })
        .boxed()
}

fn provider() -> impl Strategy<Value = ProviderName> {
    "[a-z0-9_-]{1,32}"
        .prop_filter("an account is no provider", |text| text != "account")
        .prop_map(|text| ProviderName::new(&text).unwrap())
}

fn payment_outcome() -> BoxedStrategy<PaymentOutcome> {
    prop_oneof![
        ".{0,20}".prop_map(|reference| PaymentOutcome::Done {
            reference: reference.into()
        }),
        ".{0,20}".prop_map(|reason| PaymentOutcome::Declined {
            reason: reason.into()
        }),
    ]
    .boxed()
}

fn provider_payment() -> BoxedStrategy<ProviderPayment> {
    let step = (
        prop::sample::select(PaymentKind::ALL.to_vec()),
        1..=u8::MAX,
        amount(),
        any::<u32>(),
        stamp(),
        option::of((payment_outcome(), stamp())),
        option::of(stamp()),
    );
    let step = step.prop_map(
        |(kind, payment, amount, group, due, outcome, retried)| PaymentStep {
            kind,
            payment,
            amount,
            group,
            due,
            outcome,
            retried,
        },
    );
    (provider(), vec(step, 0..4))
        .prop_map(|(name, steps)| ProviderPayment { name, steps })
        .boxed()
}

fn edit() -> BoxedStrategy<Edit> {
    let ended = (stamp(), option::of(rejection())).prop_map(|(at, refused)| EditEnd {
        at,
        refused: refused.map(Box::new),
    });
    (line_quantities(), line_quantities(), stamp(), option::of(ended))
        .prop_map(|(before, after, begun, ended)| Edit {
            before,
            after,
            begun,
            ended,
        })
        .boxed()
}

fn fulfilment_state() -> impl Strategy<Value = FulfilmentState> {
    proptest::sample::select(FulfilmentState::ALL.to_vec())
}

fn life() -> BoxedStrategy<OrderLife> {
    let shipped = (
        line_quantities(),
        ".{0,20}",
        ".{0,20}",
        amount(),
        // Planned, or else sent.
        prop_oneof![
            stamp().prop_map(|shipped| (None, Some(shipped))),
            stamp().prop_map(|opened| (Some(opened), None)),
            (stamp(), stamp()).prop_map(|(opened, shipped)| (Some(opened), Some(shipped))),
        ],
        option::of(stamp()),
        option::of(stamp()),
    );
    let fulfilment = shipped.prop_map(
        |(lines, carrier, tracking, captured, (opened, shipped), delivered, cancelled)| Fulfilment {
            lines,
            carrier: carrier.into(),
            tracking: tracking.into(),
            captured,
            opened,
            shipped,
            delivered,
            cancelled,
        },
    );
    let cancellation =
        (line_quantities(), amount(), stamp()).prop_map(|(lines, voided, cancelled)| LineCancellation {
            lines,
            voided,
            cancelled,
        });
    let gone = (
        vec(hold(), 0..3),
        vec(fulfilment, 0..3),
        vec(cancellation, 0..3),
        skus(),
    );
    let restocking = vec((any::<u32>(), sku()), 0..3);
    let news = (line_quantities(), any::<bool>(), stamp()).prop_map(|(lines, filled, heard)| BackorderNews {
        lines,
        filled,
        heard,
    });
    let back = (
        vec(return_of(), 0..3),
        vec(refund(), 0..3),
        restocking,
        vec(edit(), 0..3),
        vec(news, 0..3),
    );
    (gone, back)
        .prop_map(
            |(
                (holds, fulfilments, cancellations, consuming),
                (returns, refunds, restocking, edits, backorders),
            )| {
                OrderLife {
                    holds,
                    fulfilments,
                    cancellations,
                    consuming,
                    returns,
                    refunds,
                    restocking: restocking.into(),
                    edits,
                    backorders,
                }
            },
        )
        .boxed()
}

fn order_event() -> BoxedStrategy<OrderEvent> {
    prop_oneof![
        Just(OrderEvent::Confirmed),
        Just(OrderEvent::Cancelled),
        Just(OrderEvent::Released),
        Just(OrderEvent::Consumed),
        Just(OrderEvent::Restocked),
        (line_quantities(), ".{0,20}", username()).prop_map(|(lines, note, by)| {
            OrderEvent::ReturnRequested {
                lines,
                note: note.into(),
                by,
            }
        }),
        (1..=u32::MAX, return_step(), username()).prop_map(|(number, step, by)| OrderEvent::ReturnMoved {
            number,
            step,
            by
        }),
        (amount(), ".{0,20}", username()).prop_map(|(amount, note, by)| OrderEvent::Refunded {
            amount,
            note: note.into(),
            by,
        }),
        (line_quantities(), ".{0,20}", ".{0,20}", username()).prop_map(|(lines, carrier, tracking, by)| {
            OrderEvent::Shipped {
                lines,
                carrier: carrier.into(),
                tracking: tracking.into(),
                by,
            }
        }),
        (1..=u32::MAX, username()).prop_map(|(fulfilment, by)| OrderEvent::Delivered { fulfilment, by }),
        (line_quantities(), username()).prop_map(|(lines, by)| OrderEvent::FulfilmentOpened { lines, by }),
        (1..=u32::MAX, ".{0,20}", ".{0,20}", username()).prop_map(|(fulfilment, carrier, tracking, by)| {
            OrderEvent::FulfilmentShipped {
                fulfilment,
                carrier: carrier.into(),
                tracking: tracking.into(),
                by,
            }
        }),
        (1..=u32::MAX, username())
            .prop_map(|(fulfilment, by)| OrderEvent::FulfilmentCancelled { fulfilment, by }),
        (line_quantities(), option::of(username()))
            .prop_map(|(lines, by)| OrderEvent::LinesCancelled { lines, by }),
        line_quantities().prop_map(|lines| OrderEvent::Backordered { lines }),
        line_quantities().prop_map(|lines| OrderEvent::BackorderFilled { lines }),
        (hold_reason(), ".{0,20}", username()).prop_map(|(reason, note, by)| OrderEvent::Held {
            reason,
            note: note.into(),
            by,
        }),
        (hold_reason(), username()).prop_map(|(reason, by)| OrderEvent::HoldReleased { reason, by }),
        (
            customer_id(),
            currency(),
            vec(line(), 0..6),
            option::of(provider())
        )
            .prop_map(|(customer, currency, lines, provider)| OrderEvent::Placed {
                customer,
                currency,
                lines: lines.into(),
                provider,
            }),
        Just(OrderEvent::Reserved),
        Just(OrderEvent::EditReserved),
        Just(OrderEvent::Expired),
        Just(OrderEvent::Closed),
        ".{0,20}".prop_map(|reference| OrderEvent::Authorized {
            reference: reference.into()
        }),
        (1..=u32::MAX, payment_outcome())
            .prop_map(|(number, outcome)| OrderEvent::PaymentAnswered { number, outcome }),
        (1..=u32::MAX, username()).prop_map(|(number, by)| OrderEvent::PaymentRetried { number, by }),
        (line_quantities(), username()).prop_map(|(lines, by)| OrderEvent::EditBegun { lines, by }),
        (line_quantities(), username()).prop_map(|(lines, by)| OrderEvent::Edited { lines, by }),
        rejection().prop_map(|rejection| OrderEvent::EditRefused {
            rejection: Box::new(rejection),
        }),
        (rejection(), skus()).prop_map(|(rejection, release)| OrderEvent::Rejected {
            rejection: Box::new(rejection),
            release,
        }),
    ]
    .boxed()
}

fn customer_event() -> BoxedStrategy<CustomerEvent> {
    prop_oneof![
        (display_name(), currency(), amount()).prop_map(|(display_name, currency, credit_limit)| {
            CustomerEvent::Created {
                display_name,
                currency,
                credit_limit,
            }
        }),
        (display_name(), amount()).prop_map(|(display_name, credit_limit)| CustomerEvent::Updated {
            display_name,
            credit_limit
        }),
        amount().prop_map(|amount| CustomerEvent::Credited { amount }),
        (order_id(), amount()).prop_map(|(order, amount)| CustomerEvent::Held { order, amount }),
        (order_id(), amount()).prop_map(|(order, amount)| CustomerEvent::Released { order, amount }),
        (order_id(), amount()).prop_map(|(order, amount)| CustomerEvent::Captured { order, amount }),
        (order_id(), amount()).prop_map(|(order, amount)| CustomerEvent::Refunded { order, amount }),
    ]
    .boxed()
}

fn item_event() -> BoxedStrategy<ItemEvent> {
    prop_oneof![
        (display_name(), currency(), amount(), quantity()).prop_map(
            |(display_name, currency, unit_price, on_hand)| ItemEvent::Created {
                display_name,
                currency,
                unit_price,
                on_hand,
            }
        ),
        (display_name(), amount(), quantity()).prop_map(|(display_name, unit_price, backorder_limit)| {
            ItemEvent::Updated {
                display_name,
                unit_price,
                backorder_limit,
            }
        }),
        quantity().prop_map(|delta| ItemEvent::Adjusted { delta }),
        (order_id(), quantity()).prop_map(|(order, quantity)| ItemEvent::Reserved { order, quantity }),
        (order_id(), quantity()).prop_map(|(order, quantity)| ItemEvent::Released { order, quantity }),
        (order_id(), quantity()).prop_map(|(order, quantity)| ItemEvent::Consumed { order, quantity }),
        (order_id(), quantity()).prop_map(|(order, quantity)| ItemEvent::Restocked { order, quantity }),
        (order_id(), quantity()).prop_map(|(order, quantity)| ItemEvent::Raised { order, quantity }),
    ]
    .boxed()
}

fn request() -> impl Strategy<Value = Request> {
    (any::<u128>(), count()).prop_map(|(key, fingerprint)| Request { key, fingerprint })
}

fn event() -> BoxedStrategy<Event> {
    let fact = prop_oneof![
        (order_id(), order_event()).prop_map(|(id, event)| Fact::Order(id, event)),
        order_id().prop_map(Fact::Archived),
        (customer_id(), customer_event()).prop_map(|(id, event)| Fact::Customer(id, event)),
        (sku(), item_event()).prop_map(|(sku, event)| Fact::Item(sku, event)),
    ];
    (count(), any::<u32>(), fact)
        .prop_map(|(version, decider, fact)| Event {
            version: Version(version),
            decider: docket_engine::Decider(decider),
            fact,
        })
        .boxed()
}

fn unchanged() -> BoxedStrategy<Unchanged> {
    let entity = prop_oneof![
        order_id().prop_map(EntityId::Order),
        customer_id().prop_map(EntityId::Customer),
        sku().prop_map(EntityId::Item),
    ];
    (count(), any::<u32>(), entity)
        .prop_map(|(version, decider, entity)| Unchanged {
            entity,
            version: Version(version),
            decider: docket_engine::Decider(decider),
        })
        .boxed()
}

pub fn record() -> BoxedStrategy<Record> {
    (
        time(),
        vec(event(), 0..5),
        option::of(request()),
        option::of(unchanged()),
        option::of(origin().prop_map(|origin| Option::from(&origin).unwrap())),
    )
        .prop_map(|(time, events, request, unchanged, origin)| Record {
            time,
            events,
            request,
            unchanged,
            origin,
        })
        .boxed()
}

fn customer() -> BoxedStrategy<Customer> {
    let numbers = (amount(), amount(), amount(), count(), count(), time(), time());
    (customer_id(), display_name(), currency(), numbers)
        .prop_map(|(id, display_name, currency, n)| Customer {
            id,
            display_name,
            currency,
            credit_limit: n.0,
            balance: n.1,
            held: n.2,
            version: Version(n.3),
            revision: n.4,
            created: n.5,
            updated: n.6,
        })
        .boxed()
}

fn item() -> BoxedStrategy<Item> {
    let numbers = (amount(), quantity(), quantity(), count(), count(), time(), time());
    let place = (order_id(), 1..=1_000_000_000i64).prop_map(|(order, quantity)| Backorder {
        order,
        quantity: Quantity(quantity),
    });
    let backorders = (0..=1_000_000_000i64, vec(place, 0..4));
    let backorders =
        backorders.prop_map(|(limit, row)| Backorders::new(Quantity(limit), row.into_iter().collect()));
    (sku(), display_name(), currency(), numbers, backorders)
        .prop_map(|(sku, display_name, currency, n, backorders)| Item {
            backorders,
            sku,
            display_name,
            currency,
            unit_price: n.0,
            on_hand: n.1,
            reserved: n.2,
            version: Version(n.3),
            revision: n.4,
            created: n.5,
            updated: n.6,
        })
        .boxed()
}

/// Orders whose total fits, as it does of every order that was placed.
pub fn order() -> BoxedStrategy<Order> {
    let line = (sku(), 1..=1_000_000_000i64, 0..=10_000_000i64).prop_map(|(sku, quantity, price)| Line {
        sku,
        quantity: Quantity(quantity),
        unit_price: Amount(price),
    });
    let what = (order_id(), customer_id(), currency(), vec(line, 0..6), state());
    let then = (
        option::of(rejection().prop_map(Box::new)),
        skus(),
        life(),
        option::of(provider_payment()),
        count(),
        time(),
        time(),
        vec((1..300_u64, time(), option::of(origin())), 0..4),
    );
    (what, then)
        .prop_map(
            |(
                (id, customer, currency, lines, state),
                (rejection, releasing, life, provider, version, created, updated, trail),
            )| {
                Order {
                    id,
                    customer,
                    currency,
                    total: order::total(&lines).unwrap(),
                    lines: lines.into(),
                    state,
                    rejection,
                    releasing,
                    life: (life != OrderLife::default()).then(|| Box::new(life)),
                    version: Version(version),
                    created,
                    updated,
                    provider: provider.map(Box::new),
                    trail: trail_of(trail, created),
                }
            },
        )
        .boxed()
}

/// Entries, each with how many versions it is behind the one before.
fn trail_of(entries: Vec<(u64, Time, Option<Origin>)>, created: Time) -> Trail {
    let mut version = 0;
    let entries = entries.into_iter().map(|(since, at, origin)| {
        version += since;
        let version = Version(version);
        TrailEntry { version, at, origin }
    });
    Trail::of(&entries.collect::<Vec<_>>(), created).unwrap()
}

/// Never nothing at all.
fn origin() -> BoxedStrategy<Origin> {
    let by = "[a-zA-Z0-9._@-]{1,64}".prop_map(|name| Username::new(&name).unwrap());
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let request_id = prop_oneof!["[ -~]{1,64}", uuid].prop_map(Arc::<str>::from);
    let trace = any::<[u8; 16]>().prop_map(TraceId);
    (option::of(by), option::of(request_id), option::of(trace))
        .prop_map(|(by, request_id, trace)| Origin {
            by,
            request_id,
            trace,
        })
        .prop_filter("something is known", |origin| *origin != Origin::default())
        .boxed()
}

fn stored_request() -> BoxedStrategy<StoredRequest> {
    let reply = prop_oneof![
        order_id().prop_map(StoredReply::Order),
        order().prop_map(|o| StoredReply::OrderThen(Arc::new(o))),
        customer().prop_map(|c| StoredReply::CustomerThen(Arc::new(c))),
        item().prop_map(|i| StoredReply::ItemThen(Arc::new(i))),
    ];
    (request(), time(), option::of(reply))
        .prop_map(|(request, time, reply)| StoredRequest { request, time, reply })
        .boxed()
}

fn feed_position() -> BoxedStrategy<FeedPosition> {
    (any::<u64>(), any::<u32>())
        .prop_map(|(index, ordinal)| FeedPosition { index, ordinal })
        .boxed()
}

fn kept_change() -> BoxedStrategy<KeptChange> {
    let kind = prop::sample::select(ChangeKind::ALL.to_vec());
    (feed_position(), order_id(), kind, any::<u64>(), time())
        .prop_map(|(position, order, kind, version, at)| KeptChange {
            position,
            order,
            change: Change {
                kind,
                version: Version(version),
                at,
            },
        })
        .boxed()
}

pub fn snapshot_record() -> BoxedStrategy<SnapshotRecord> {
    prop_oneof![
        (time(), option::of((any::<u64>(), feed_position())), any::<u64>()).prop_map(
            |(last_time, feed, archived)| {
                SnapshotRecord::Head(Head {
                    format: FORMAT,
                    last_time,
                    feed: feed.map(|(next, floor)| FeedStart { next, floor }),
                    archived,
                })
            }
        ),
        vec(kept_change(), 0..5).prop_map(SnapshotRecord::Changes),
        customer().prop_map(SnapshotRecord::Customer),
        item().prop_map(SnapshotRecord::Item),
        order().prop_map(SnapshotRecord::Order),
        (any::<u64>(), order()).prop_map(|(number, order)| SnapshotRecord::Archived(number, order)),
        (sku(), order_id(), quantity()).prop_map(|(sku, order, quantity)| SnapshotRecord::Reservation(
            Reservation { sku, order, quantity }
        )),
        stored_request().prop_map(SnapshotRecord::Request),
        (any::<u32>(), time())
            .prop_map(|(decider, time)| { SnapshotRecord::Fence(docket_engine::Decider(decider), time) }),
    ]
    .boxed()
}

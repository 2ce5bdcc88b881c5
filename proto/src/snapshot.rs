//! A shard's state in the bytes of its snapshots: `docket.journal.v1.SnapshotChunk`.
//!
//! A chunk is its records one after the other: the `put_*` functions append one each, and [`records`] reads them back.
//! The first record of a snapshot is its [`Head`]. Nothing about these bytes may change but by a new [`FORMAT`].

mod backorder;
mod changes;
mod edit;
mod life;
mod payment;

use std::sync::Arc;

use docket_engine::{
    Amount, Currency, Customer, CustomerId, Decider, Item, Order, OrderId, OrderLife, OrderState,
    ProviderPayment, Quantity, Request, Sku, Time, Trail, Version, few, order,
};

use crate::{
    parts::{self, Intern, required},
    refusal,
    wire::{self, DecodeError, Field, Problem, fields},
};

pub use changes::{FeedStart, KeptChange, put_changes};

/// The format that this version writes: 7, with what items promise beyond what there is, what orders know of it, and the payments that edits have had
/// authorised; 6 has orders that were closed, not those that are in the archive, and fulfilments that are planned, 5 payments by providers and what is
/// kept of who changed orders, 4 what was shipped of them and cancelled in part, 3 their holds, and 2 the changes that the feed keeps.
pub const FORMAT: u32 = 7;
/// What is written where no item may promise more than there is, or did, and no edit has had a provider authorise more, also of what is in the
/// archive: an older program can go on from there.
pub const FORMAT_WITHOUT_BACKORDERS: u32 = 6;
/// What is written where no order was ever closed, none is in the archive, and nothing was ever planned: an older program can go on from there.
pub const FORMAT_WITHOUT_CLOSED: u32 = 5;
/// What is written where no provider ever moved an order's money, and nothing is kept of who changed one: an older program can go on from there.
pub const FORMAT_WITHOUT_TRAILS: u32 = 4;
/// What is written where nothing ever came after an order's confirmation but its cancellation: an older program can go on from there.
pub const FORMAT_WITHOUT_LIFE: u32 = 2;
/// The oldest format that this version reads: 1, which is the same without those.
pub const FORMAT_OLDEST: u32 = 1;

/// One piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotRecord {
    /// What the snapshot is.
    Head(Head),
    /// A customer.
    Customer(Customer),
    /// An item.
    Item(Item),
    /// An order.
    Order(Order),
    /// What an order has reserved of an item.
    Reservation(Reservation),
    /// A client request and its answer.
    Request(StoredRequest),
    /// A life of an actor of which no event is taken any more, and since when.
    Fence(Decider, Time),
    /// Changes of orders that are kept for the feed, oldest first.
    Changes(Vec<KeptChange>),
    /// An order that is in the archive, and its number there: what a snapshot leaves aside, and another node is sent behind it.
    Archived(u64, Order),
}

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The format of what follows. Readers refuse one that they do not know.
    pub format: u32,
    /// The newest time that the shard has applied.
    pub last_time: Time,
    /// What is kept for the feed; `None` in format 1.
    pub feed: Option<FeedStart>,
    /// How many orders are in the shard's archive: the first so many that ever came into it.
    pub archived: u64,
}

/// What an order has reserved of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The item.
    pub sku: Sku,
    /// The order.
    pub order: OrderId,
    /// How many.
    pub quantity: Quantity,
}

/// A client request, when it was decided, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// Its key and fingerprint.
    pub request: Request,
    /// When it was decided.
    pub time: Time,
    /// What it was answered; `None` where nothing is to be shown for it.
    pub reply: Option<StoredReply>,
}

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredReply {
    /// This order, as it is now.
    Order(OrderId),
    /// An order as it was then.
    OrderThen(Arc<Order>),
    /// A customer as it was then.
    CustomerThen(Arc<Customer>),
    /// An item as it was then.
    ItemThen(Arc<Item>),
}

impl SnapshotRecord {
    /// Appends the record to a chunk.
    pub fn put(&self, chunk: &mut Vec<u8>) {
        match self {
            Self::Head(head) => put_head(head, chunk),
            Self::Customer(customer) => put_customer(customer, chunk),
            Self::Item(item) => put_item(item, chunk),
            Self::Order(order) => put_order(order, chunk),
            Self::Reservation(reservation) => {
                put_reservation(&reservation.sku, reservation.order, reservation.quantity, chunk);
            }
            Self::Request(request) => put_request(request, chunk),
            Self::Fence(decider, time) => put_fence(*decider, *time, chunk),
            Self::Changes(changes) => put_changes(changes.iter().copied(), chunk),
            Self::Archived(number, order) => put_archived(*number, order, chunk),
        }
    }
}

/// Appends a snapshot's head to its first chunk.
pub fn put_head(head: &Head, chunk: &mut Vec<u8>) {
    record(chunk, 1, |out| {
        wire::number(out, 1, head.format.into());
        wire::signed(out, 2, head.last_time.0);
        if let Some(feed) = &head.feed {
            wire::nested(out, 3, |out| changes::start_fields(out, feed));
        }
        wire::number(out, 4, head.archived);
    });
}

/// Appends a customer to a chunk.
pub fn put_customer(customer: &Customer, chunk: &mut Vec<u8>) {
    record(chunk, 2, |out| customer_fields(out, customer));
}

/// Appends an item to a chunk.
pub fn put_item(item: &Item, chunk: &mut Vec<u8>) {
    record(chunk, 3, |out| item_fields(out, item));
}

/// Appends an order to a chunk.
pub fn put_order(order: &Order, chunk: &mut Vec<u8>) {
    record(chunk, 4, |out| order_fields(out, order));
}

/// Appends to a chunk what an order has reserved of an item.
pub fn put_reservation(sku: &Sku, order: OrderId, quantity: Quantity, chunk: &mut Vec<u8>) {
    record(chunk, 5, |out| {
        wire::text(out, 1, sku.as_str());
        parts::put_order_id(out, 2, order);
        wire::signed(out, 3, quantity.0);
    });
}

/// Appends to a chunk a life of an actor of which no event is taken any more.
pub fn put_fence(decider: Decider, time: Time, chunk: &mut Vec<u8>) {
    record(chunk, 7, |out| {
        wire::number(out, 1, decider.0.into());
        wire::signed(out, 2, time.0);
    });
}

/// Appends a client request and its answer to a chunk.
pub fn put_request(request: &StoredRequest, chunk: &mut Vec<u8>) {
    record(chunk, 6, |out| {
        parts::put_request(out, 1, &request.request);
        wire::signed(out, 2, request.time.0);
        match &request.reply {
            None => {}
            Some(StoredReply::Order(id)) => parts::put_order_id(out, 3, *id),
            Some(StoredReply::OrderThen(order)) => wire::nested(out, 4, |out| order_fields(out, order)),
            Some(StoredReply::CustomerThen(customer)) => {
                wire::nested(out, 5, |out| customer_fields(out, customer));
            }
            Some(StoredReply::ItemThen(item)) => wire::nested(out, 6, |out| item_fields(out, item)),
        }
    });
}

/// Appends to a chunk an order that is in the archive.
pub fn put_archived(number: u64, order: &Order, chunk: &mut Vec<u8>) {
    record(chunk, 9, |out| {
        wire::number(out, 1, number);
        wire::nested(out, 2, |out| order_fields(out, order));
    });
}

fn record(chunk: &mut Vec<u8>, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
    wire::nested(chunk, 1, |out| wire::nested(out, kind, write));
}

fn customer_fields(out: &mut Vec<u8>, customer: &Customer) {
    wire::text(out, 1, customer.id.as_str());
    wire::text(out, 2, &customer.display_name);
    wire::text(out, 3, customer.currency.as_str());
    wire::signed(out, 4, customer.credit_limit.0);
    wire::signed(out, 5, customer.balance.0);
    wire::signed(out, 6, customer.held.0);
    wire::number(out, 7, customer.version.0);
    wire::number(out, 8, customer.revision);
    wire::signed(out, 9, customer.created.0);
    wire::signed(out, 10, customer.updated.0);
}

fn item_fields(out: &mut Vec<u8>, item: &Item) {
    wire::text(out, 1, item.sku.as_str());
    wire::text(out, 2, &item.display_name);
    wire::text(out, 3, item.currency.as_str());
    wire::signed(out, 4, item.unit_price.0);
    wire::signed(out, 5, item.on_hand.0);
    wire::signed(out, 6, item.reserved.0);
    wire::number(out, 7, item.version.0);
    wire::number(out, 8, item.revision);
    wire::signed(out, 9, item.created.0);
    wire::signed(out, 10, item.updated.0);
    if let Some(backorders) = &item.backorders {
        backorder::put_row(out, backorders);
    }
}

fn order_fields(out: &mut Vec<u8>, order: &Order) {
    parts::put_order_id(out, 1, order.id);
    wire::text(out, 2, order.customer.as_str());
    wire::text(out, 3, order.currency.as_str());
    for line in order.lines.iter() {
        parts::put_line(out, 4, line);
    }
    wire::number(out, 5, parts::state_number(order.state).into());
    if let Some(rejection) = &order.rejection {
        refusal::put(out, 6, rejection);
    }
    for sku in &order.releasing {
        wire::element(out, 7, sku.as_str());
    }
    wire::number(out, 8, order.version.0);
    wire::signed(out, 9, order.created.0);
    wire::signed(out, 10, order.updated.0);
    if let Some(life) = &order.life {
        life::put(out, life);
    }
    if let Some(provider) = &order.provider {
        payment::put(out, provider);
    }
    let edits = order.life.iter().flat_map(|life| &life.edits);
    edits.for_each(|edit| edit::put(out, edit));
    if !order.trail.is_empty() {
        wire::data(out, 28, order.trail.as_bytes());
    }
    let news = order.life.iter().flat_map(|life| &life.backorders);
    news.for_each(|news| backorder::put_news(out, news));
}

/// The records of a chunk, one at a time, with ids that `ids` makes. After an error in the chunk's own shape there are
/// no more.
pub fn records<'a>(
    chunk: &'a [u8],
    ids: &'a dyn Intern,
) -> impl Iterator<Item = Result<SnapshotRecord, DecodeError>> + 'a {
    fields("SnapshotChunk", chunk).map(move |field| {
        let field = field?;
        match field.number {
            1 => snapshot_record(field, ids),
            _ => Err(field.unknown()),
        }
    })
}

fn snapshot_record(field: Field<'_>, ids: &dyn Intern) -> Result<SnapshotRecord, DecodeError> {
    const MESSAGE: &str = "SnapshotRecord";
    let mut record = None;
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        record = Some(match field.number {
            1 => SnapshotRecord::Head(head(field)?),
            2 => SnapshotRecord::Customer(customer(field, ids)?),
            3 => SnapshotRecord::Item(item(field, ids)?),
            4 => SnapshotRecord::Order(order(field, ids)?),
            5 => SnapshotRecord::Reservation(reservation(field, ids)?),
            6 => SnapshotRecord::Request(stored_request(field, ids)?),
            7 => fence(field)?,
            8 => SnapshotRecord::Changes(changes::kept(field)?),
            9 => archived(field, ids)?,
            _ => return Err(field.unknown()),
        });
    }
    required(MESSAGE, 1, record)
}

fn archived(field: Field<'_>, ids: &dyn Intern) -> Result<SnapshotRecord, DecodeError> {
    const MESSAGE: &str = "ArchivedOrder";
    let (mut number, mut archived) = (0, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => number = field.number()?,
            2 => archived = Some(order(field, ids)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(SnapshotRecord::Archived(number, required(MESSAGE, 2, archived)?))
}

fn fence(field: Field<'_>) -> Result<SnapshotRecord, DecodeError> {
    let (mut decider, mut time) = (0, Time(0));
    for field in fields("Fence", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => decider = field.number32()?,
            2 => time = parts::time(field)?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(SnapshotRecord::Fence(Decider(decider), time))
}

fn head(field: Field<'_>) -> Result<Head, DecodeError> {
    let mut head = Head {
        format: 0,
        last_time: Time(0),
        feed: None,
        archived: 0,
    };
    for field in fields("SnapshotHead", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => head.format = field.number32()?,
            2 => head.last_time = parts::time(field)?,
            3 => head.feed = Some(changes::start(field)?),
            4 => head.archived = field.number()?,
            _ => return Err(field.unknown()),
        }
    }
    if !(FORMAT_OLDEST..=FORMAT).contains(&head.format) {
        return Err(DecodeError {
            message: "SnapshotHead",
            problem: Problem::Value {
                field: 1,
                value: head.format.into(),
            },
        });
    }
    Ok(head)
}

/// What customers and items have alike, by the numbers of their fields.
#[derive(Default)]
struct Kept<'a> {
    id: &'a str,
    display_name: &'a str,
    currency: &'a str,
    /// Fields 4, 5 and 6.
    numbers: [i64; 3],
    version: u64,
    revision: u64,
    created: Time,
    updated: Time,
}

/// `other` takes in what only one of them has.
fn kept<'a>(
    message: &'static str,
    field: Field<'a>,
    mut other: impl FnMut(Field<'a>) -> Result<(), DecodeError>,
) -> Result<(Kept<'a>, Currency), DecodeError> {
    let mut kept = Kept::default();
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => kept.id = field.text()?,
            2 => kept.display_name = field.text()?,
            3 => kept.currency = field.text()?,
            4 => kept.numbers[0] = field.signed()?,
            5 => kept.numbers[1] = field.signed()?,
            6 => kept.numbers[2] = field.signed()?,
            7 => kept.version = field.number()?,
            8 => kept.revision = field.number()?,
            9 => kept.created = parts::time(field)?,
            10 => kept.updated = parts::time(field)?,
            _ => other(field)?,
        }
    }
    let currency = parts::currency(message, kept.currency)?;
    Ok((kept, currency))
}

fn customer(field: Field<'_>, ids: &dyn Intern) -> Result<Customer, DecodeError> {
    let (kept, currency) = kept("Customer", field, |field| Err(field.unknown()))?;
    let [credit_limit, balance, held] = kept.numbers;
    Ok(Customer {
        id: parts::customer_id("Customer", kept.id, ids)?,
        display_name: kept.display_name.into(),
        currency,
        credit_limit: Amount(credit_limit),
        balance: Amount(balance),
        held: Amount(held),
        version: Version(kept.version),
        revision: kept.revision,
        created: kept.created,
        updated: kept.updated,
    })
}

fn item(field: Field<'_>, ids: &dyn Intern) -> Result<Item, DecodeError> {
    let mut row = backorder::Row::default();
    let (kept, currency) = kept("Item", field, |field| {
        match field.number {
            11 => row.limit = field.signed()?,
            12 => row.places.push_back(backorder::place(field)?),
            _ => return Err(field.unknown()),
        }
        Ok(())
    })?;
    let [unit_price, on_hand, reserved] = kept.numbers;
    Ok(Item {
        sku: parts::sku("Item", kept.id, ids)?,
        display_name: kept.display_name.into(),
        currency,
        unit_price: Amount(unit_price),
        on_hand: Quantity(on_hand),
        reserved: Quantity(reserved),
        backorders: row.backorders(),
        version: Version(kept.version),
        revision: kept.revision,
        created: kept.created,
        updated: kept.updated,
    })
}

fn order(field: Field<'_>, ids: &dyn Intern) -> Result<Order, DecodeError> {
    const MESSAGE: &str = "Order";
    let (mut id, mut state, mut rejection) = (None, None, None);
    let (mut customer, mut currency) = (None::<CustomerId>, "");
    let mut lines = Vec::with_capacity(4);
    let mut releasing = Vec::new();
    let (mut life, mut provider, mut steps) = (OrderLife::default(), None, Vec::new());
    let (mut version, mut created, mut updated) = (0, Time(0), Time(0));
    let mut trail = Trail::default();
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => customer = Some(parts::customer_id(MESSAGE, field.text()?, ids)?),
            3 => currency = field.text()?,
            4 => lines.push(parts::line(field, ids)?),
            5 => state = Some(order_state(field)?),
            6 => rejection = Some(Box::new(refusal::get(field, ids)?)),
            7 => releasing.push(parts::sku(MESSAGE, field.text()?, ids)?),
            8 => version = field.number()?,
            9 => created = parts::time(field)?,
            10 => updated = parts::time(field)?,
            18 => provider = Some(parts::provider(field)?),
            19 => few::add(&mut steps, payment::step(field)?),
            22 => few::add(&mut life.edits, edit::edit(field, ids)?),
            28 => trail = trail_of(field)?,
            29 => life.backorders.push(backorder::news(field)?),
            _ => life::get(field, &mut life, ids)?,
        }
    }
    let overflow = |_| DecodeError {
        message: MESSAGE,
        problem: Problem::Total,
    };
    Ok(Order {
        trail,
        id: required(MESSAGE, 1, id)?,
        customer: required(MESSAGE, 2, customer)?,
        currency: parts::currency(MESSAGE, currency)?,
        // Not written: it follows from the lines.
        total: order::total(&lines).map_err(overflow)?,
        lines: lines.into(),
        state: required(MESSAGE, 5, state)?,
        rejection,
        releasing: releasing.into(),
        life: (life != OrderLife::default()).then(|| Box::new(life)),
        provider: provider.map(|name| Box::new(ProviderPayment { name, steps })),
        version: Version(version),
        created,
        updated,
    })
}

fn trail_of(field: Field<'_>) -> Result<Trail, DecodeError> {
    let bytes = field.bytes()?;
    Trail::of_bytes(bytes).ok_or_else(|| field.has_no_meaning(bytes.len() as u64))
}

fn order_state(field: Field<'_>) -> Result<OrderState, DecodeError> {
    let number = field.number()?;
    parts::state_of(number).ok_or_else(|| field.has_no_meaning(number))
}

fn reservation(field: Field<'_>, ids: &dyn Intern) -> Result<Reservation, DecodeError> {
    const MESSAGE: &str = "Reservation";
    let (mut sku, mut order, mut quantity) = ("", None, 0);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => sku = field.text()?,
            2 => order = Some(parts::order_id(field)?),
            3 => quantity = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(Reservation {
        sku: parts::sku(MESSAGE, sku, ids)?,
        order: required(MESSAGE, 2, order)?,
        quantity: Quantity(quantity),
    })
}

fn stored_request(field: Field<'_>, ids: &dyn Intern) -> Result<StoredRequest, DecodeError> {
    const MESSAGE: &str = "StoredRequest";
    let (mut request, mut time, mut reply) = (None, Time(0), None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => request = Some(parts::request(field)?),
            2 => time = parts::time(field)?,
            3 => reply = Some(StoredReply::Order(parts::order_id(field)?)),
            4 => reply = Some(StoredReply::OrderThen(Arc::new(order(field, ids)?))),
            5 => reply = Some(StoredReply::CustomerThen(Arc::new(customer(field, ids)?))),
            6 => reply = Some(StoredReply::ItemThen(Arc::new(item(field, ids)?))),
            _ => return Err(field.unknown()),
        }
    }
    Ok(StoredRequest {
        request: required(MESSAGE, 1, request)?,
        time,
        reply,
    })
}

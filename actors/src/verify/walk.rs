//! One shard, as of one entry of its log.
//!
//! The state is read as a snapshot writes it: customers, items, orders and reservations, each in the order of their keys, while the log goes on
//! being applied. What the shard's maps say of each other now ([`indexes`](super::indexes)) is looked at beside that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::CaptureError;
use docket_engine::{
    Change, Customer, CustomerId, History, Item, Order, OrderId, OrderState, Quantity, Sku, order,
};
use docket_proto::{
    feed::FeedPosition,
    snapshot::{Reservation, SnapshotRecord, records},
};
use tokio_util::sync::CancellationToken;

use super::{
    DiscrepancyKind as Kind, Effect, Found, ShardBooks, looks::Of, paid_in::PaidIn, scheduled::pause,
};
use crate::{
    Docket,
    committed::Committed,
    feed::Captured,
    machine::KnownIds,
    shard::{Router, Shard},
    snapshot::View,
};

/// How long an entry may take to be applied until the shard is left out.
const ENTRY_MAX: Duration = Duration::from_secs(2);
/// Before the records of a piece is their length.
const LENGTH_BYTES: usize = 4;

/// What a walk needs.
pub(super) struct Ground {
    pub(super) router: Arc<Router>,
    pub(super) ids: KnownIds,
    pub(super) shard: Arc<Shard>,
    /// Which shards have replicas on this node.
    pub(super) here: Arc<[bool]>,
    pub(super) stop: CancellationToken,
    /// What was paid in to the shard's customers when it was walked before.
    pub(super) paid_in_before: Arc<PaidIn>,
    /// Whose work goes first; `None` where somebody waits for the walk.
    pub(super) gives_way_to: Option<Docket>,
}

impl Ground {
    pub(super) fn committed(&self) -> &Arc<Committed> {
        self.shard.committed()
    }

    /// Pauses behind a piece that was worked at, where others go first.
    pub(super) fn give_way(&self, worked: &mut Instant) {
        if let Some(docket) = &self.gives_way_to {
            std::thread::sleep(docket.pause_of_verifying(worked.elapsed()));
            *worked = Instant::now();
        }
    }

    /// Pauses behind a piece of the walk that was worked at, whoever waits for it.
    pub(super) fn pause(&self, worked: &mut Instant) {
        let is_at_work = self.gives_way_to.as_ref().is_some_and(Docket::is_at_work);
        std::thread::sleep(pause(worked.elapsed(), is_at_work));
        *worked = Instant::now();
    }

    /// Whether a shard can be looked at here.
    pub(super) fn is_here(&self, shard: &Shard) -> bool {
        let at = usize::from(shard.id().number());
        self.here.get(at).copied().unwrap_or_default()
    }
}

/// Why a shard was not walked through.
pub(super) enum NotWalked {
    /// Nobody waits for it any more.
    Stopped,
    /// It cannot be looked at now.
    Because(&'static str),
}

const REPLACED: NotWalked = NotWalked::Because("its state is being replaced");

/// How many there were of everything at that entry, as the maps and their indexes count.
pub(super) struct Counts {
    pub(super) customers: usize,
    pub(super) customer_ids: usize,
    pub(super) items: usize,
    pub(super) skus: usize,
    pub(super) orders: usize,
    pub(super) order_index: usize,
    pub(super) reservations: usize,
}

impl Counts {
    /// Between two entries.
    fn of(committed: &Committed) -> Self {
        Self {
            customers: committed.customers.len(),
            customer_ids: committed.customer_ids.read().len(),
            items: committed.items.len(),
            skus: committed.skus.read().len(),
            orders: committed.orders.len(),
            order_index: committed.order_index.read().count(&[]),
            reservations: committed.reservations.len(),
        }
    }
}

/// What a customer's books say, and what its orders do.
#[derive(Default)]
pub(super) struct OfCustomer {
    /// `None` where there is no such customer.
    books: Option<Books>,
    pub(super) held: i128,
    /// What its orders took of its balance, less what was given back.
    pub(super) taken: i128,
    pub(super) events: u64,
}

/// What a customer says.
#[derive(Default)]
struct Books {
    held: i64,
    /// How many events were no person's.
    events: u64,
    balance: i64,
    revision: u64,
}

/// A walk that is going on.
pub(super) struct Walk<'a> {
    pub(super) ground: &'a Ground,
    pub(super) found: Found,
    pub(super) counts: Counts,
    pub(super) books: ShardBooks,
    /// Orders that are known not to be where they belong.
    pub(super) misplaced: BTreeSet<OrderId>,
    pub(super) customers: BTreeMap<CustomerId, OfCustomer>,
    /// What an item says is reserved, there or not, and what its reservations add up to.
    items: BTreeMap<Sku, (i128, i128)>,
    pub(super) changes: BTreeMap<OrderId, Vec<Change>>,
    /// Nothing was ever forgotten of the feed.
    is_feed_whole: bool,
    last: Option<OrderId>,
}

/// Walks through a shard.
pub(super) fn walk(ground: &Ground) -> Result<Found, NotWalked> {
    let committed = ground.committed();
    let times_replaced = || (committed.restores(), committed.drops());
    let (view, counts, before) = {
        // So that all of it is of one entry.
        let _entry = committed.between_entries_within(ENTRY_MAX).ok_or(REPLACED)?;
        (View::of(committed), Counts::of(committed), times_replaced())
    };
    if before.0.is_none() {
        return Err(REPLACED);
    }
    let mut walk = Walk::new(ground, &view, counts);
    let archived = view.archived();
    let mut worked = Instant::now();
    let written = view.write_entities(&mut |piece| {
        if ground.stop.is_cancelled() {
            return Err(CaptureError::new("nobody waits for it"));
        }
        for record in records(piece.get(LENGTH_BYTES..).unwrap_or_default(), &ground.ids) {
            walk.record(record.map_err(CaptureError::new)?);
        }
        ground.pause(&mut worked);
        Ok(())
    });
    if written.is_ok() {
        walk.archived(archived);
    }
    if ground.stop.is_cancelled() {
        return Err(NotWalked::Stopped);
    }
    let is_replaced = || before != times_replaced();
    if let Err(error) = written {
        tracing::warn!(group = %walk.books.group, %error, "the shard could not be walked through");
        return Err(match is_replaced() {
            true => REPLACED,
            false => NotWalked::Because("its state cannot be read"),
        });
    }
    walk.end();
    match (ground.stop.is_cancelled(), is_replaced()) {
        (true, _) => Err(NotWalked::Stopped),
        (_, true) => Err(REPLACED),
        _ => Ok(walk.into_found()),
    }
}

impl<'a> Walk<'a> {
    fn new(ground: &'a Ground, view: &View, counts: Counts) -> Self {
        let feed = view.feed();
        let mut walk = Self {
            ground,
            found: Found::default(),
            counts,
            books: ShardBooks {
                group: ground.shard.group().id(),
                led: ground.shard.is_leading(),
                applied_index: view.next().saturating_sub(1),
                customers: 0,
                items: 0,
                orders: 0,
                archived: 0,
                reservations: 0,
                changes: 0,
            },
            misplaced: BTreeSet::new(),
            customers: BTreeMap::new(),
            items: BTreeMap::new(),
            changes: BTreeMap::new(),
            is_feed_whole: feed
                .start
                .is_some_and(|start| start.floor == FeedPosition::default()),
            last: None,
        };
        walk.take_changes(feed);
        walk
    }

    pub(super) fn add(&mut self, kind: Kind, entity: String, why: impl Into<String>) {
        self.found.report.add(self.books.group, kind, entity, why);
    }

    fn take_changes(&mut self, feed: &Captured) {
        let mut last = None;
        for kept in feed.chunks().flatten() {
            if last.is_some_and(|last| last >= kept.position) {
                let group = self.books.group.to_string();
                self.add(
                    Kind::FeedDiffers,
                    group,
                    "its changes are not in the order of the log",
                );
            }
            last = Some(kept.position);
            self.books.changes += 1;
            self.changes.entry(kept.order).or_default().push(kept.change);
        }
    }

    fn record(&mut self, record: SnapshotRecord) {
        match record {
            SnapshotRecord::Customer(customer) => self.customer(&customer),
            SnapshotRecord::Item(item) => self.item(&item),
            SnapshotRecord::Order(order) => self.order(&order),
            SnapshotRecord::Reservation(reservation) => self.reservation(&reservation),
            SnapshotRecord::Head(_)
            | SnapshotRecord::Request(_)
            | SnapshotRecord::Fence(..)
            | SnapshotRecord::Changes(_)
            | SnapshotRecord::Archived(..) => {}
        }
    }

    fn customer(&mut self, customer: &Customer) {
        self.books.customers += 1;
        if let Err(broken) = customer.validate() {
            self.add(Kind::CustomerInvalid, of_customer(&customer.id), broken.why);
        }
        let events = customer.version.0.saturating_sub(customer.revision);
        let of_it = self.customers.entry(customer.id.clone()).or_default();
        of_it.books = Some(Books {
            held: customer.held.0,
            events,
            balance: customer.balance.0,
            revision: customer.revision,
        });
    }

    fn item(&mut self, item: &Item) {
        self.books.items += 1;
        if let Err(broken) = item.validate() {
            self.add(Kind::ItemInvalid, of_item(&item.sku), broken.why);
        }
        let promised = i128::from(item.reserved.0) + i128::from(item.backordered().0);
        self.items.insert(item.sku.clone(), (promised, 0));
        // An order that is here is looked at below; one that is not would be missed.
        for place in item.backorders.iter().flat_map(|it| it.row()) {
            let committed = self.ground.committed();
            if committed.reservations.get(&item.sku, place.order).is_none() {
                self.found.suspect(place.order, &item.sku);
            }
        }
    }

    fn order(&mut self, order: &Order) {
        // One that the index has twice is shown twice, and found below.
        if self.last.replace(order.id) == Some(order.id) {
            return;
        }
        self.books.orders += 1;
        if let Err(broken) = order.validate() {
            self.add(Kind::OrderInvalid, of_order(order.id), broken.why);
        }
        let history = order.history();
        if let Err(broken) = &history {
            self.add(Kind::VersionChain, of_order(order.id), broken.why);
        }
        let of_it = self.customers.entry(order.customer.clone()).or_default();
        of_it.held += i128::from(order.held().0);
        of_it.events += order.customer_events();
        if order.provider.is_none() {
            of_it.taken += i128::from(order.captured().0) - i128::from(order.refunded().0);
        }
        self.check_places(order);
        let changes = self.changes.remove(&order.id);
        if let Some(why) = self.differs_from(order, history.ok().as_ref(), changes.as_deref()) {
            self.add(Kind::FeedDiffers, of_order(order.id), why);
        }
        if !order.is_settled() {
            self.found.report.half_open += 1;
            match self.books.led {
                true => self.found.open(order.id, Effect::Items),
                false => self.found.report.owned_elsewhere += 1,
            }
        }
        if order.provider.is_some() && order.next_payment().is_some() {
            self.found.report.due_payments += 1;
            match self.books.led {
                true => self.found.open(order.id, Effect::Payment),
                false => self.found.report.owned_elsewhere += 1,
            }
        }
        self.check_wanted(order);
    }

    /// Why the changes that are kept of an order are not those that made it.
    pub(super) fn differs_from(
        &self,
        order: &Order,
        history: Option<&History>,
        changes: Option<&[Change]>,
    ) -> Option<String> {
        let changes = changes.unwrap_or_default();
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
            return self.is_feed_whole.then(|| "no change of it is kept".to_owned());
        };
        if self.is_feed_whole && first.version.0 != 1 {
            return Some(format!(
                "its first change that is kept made version {}",
                first.version.0
            ));
        }
        if let Some(gap) = changes
            .windows(2)
            .find(|two| two[0].version.next() != two[1].version)
        {
            let (one, other) = (gap[0].version.0, gap[1].version.0);
            return Some(format!(
                "its change to version {one} is followed by one to version {other}"
            ));
        }
        if last.version != order.version {
            let (last, version) = (last.version.0, order.version.0);
            return Some(format!(
                "its last change made version {last}, and it is of version {version}"
            ));
        }
        changes.iter().find_map(|change| {
            let version = change.version.0;
            let made_by = history.and_then(|history| history.kind(change.version));
            if made_by.is_some_and(|made_by| made_by != change.kind) {
                return Some(format!("version {version} was not made by {}", change.kind));
            }
            // What whoever watches is shown.
            let broken = order.after(change).validate().err()?;
            Some(format!("as it was in version {version}: {}", broken.why))
        })
    }

    /// What an order wants of its items, and what these have reserved for it now.
    fn check_wanted(&mut self, order: &Order) {
        let ends = matches!(
            order.state,
            OrderState::Fulfilled
                | OrderState::Closed
                | OrderState::Cancelled
                | OrderState::Rejected
                | OrderState::Expired
        );
        if ends && order.is_settled() {
            // It wants nothing: where something is reserved for it all the same, that is found at the reservation.
            return;
        }
        for sku in order::skus(&order.lines) {
            let shard = self.ground.router.of_key(sku.as_str());
            if !self.ground.is_here(shard) {
                self.found.report.unpaired += 1;
                continue;
            }
            let found = Of::item(shard.committed(), &sku, order.id);
            // As both are now: what went on since the shard's state was taken is no suspicion.
            let allows = |now: &Order| found.is_allowed_by(now, &sku);
            let home = self.ground.committed();
            if home.orders.see(order.id, allows) != Some(true) {
                self.found.suspect(order.id, &sku);
            }
        }
    }

    fn reservation(&mut self, reservation: &Reservation) {
        let Reservation { sku, order, quantity } = reservation;
        self.books.reservations += 1;
        match self.items.get_mut(sku) {
            Some((_, sum)) => *sum += i128::from(quantity.0),
            None => self.add(
                Kind::ReservationOrphan,
                of_item(sku),
                format!(
                    "{} are reserved for order {order}, and there is no such item",
                    quantity.0
                ),
            ),
        }
        let Some(home) = self.ground.router.of_order(*order) else {
            let why = format!("{} are reserved for {order}, which is no order's id", quantity.0);
            return self.add(Kind::ReservationOrphan, of_item(sku), why);
        };
        if !self.ground.is_here(home) {
            self.found.report.unpaired += 1;
            return;
        }
        // As above.
        let found = Of::item(self.ground.committed(), sku, *order);
        let allows = |now: &Order| found.is_allowed_by(now, sku);
        if found.reserved > Quantity::ZERO && home.committed().orders.see(*order, allows) != Some(true) {
            self.found.suspect(*order, sku);
        }
    }

    /// What can be said when all has been seen.
    fn end(&mut self) {
        let before = Arc::clone(&self.ground.paid_in_before);
        let mut paid_in = PaidIn::new(self.books.applied_index);
        let mut compared = Vec::new();
        for (id, of_it) in std::mem::take(&mut self.customers) {
            let OfCustomer {
                books,
                held,
                taken,
                events,
            } = of_it;
            if let Some(books) = &books {
                let now = i128::from(books.balance) + taken;
                let expected = paid_in.note(&before, id.clone(), (books.revision, now));
                compared.extend(expected.map(|expected| (id.clone(), now - expected)));
            }
            let Books {
                held: has_held,
                events: has_had,
                ..
            } = books.unwrap_or_default();
            if i128::from(has_held) != held {
                let why = format!("it has {has_held} held, and its orders hold {held}");
                self.add(Kind::HeldSum, of_customer(&id), why);
            }
            if has_had != events {
                let why = format!(
                    "its money was held, released and captured {has_had} times, and {events} times by what its orders tell"
                );
                self.add(Kind::CustomerEvents, of_customer(&id), why);
            }
        }
        for (sku, (promised, sum)) in std::mem::take(&mut self.items) {
            if promised != sum {
                let why = format!("it has {promised} reserved, there or not, and its reservations are {sum}");
                self.add(Kind::ReservedSum, of_item(&sku), why);
            }
        }
        for order in std::mem::take(&mut self.changes).into_keys() {
            let why = "a change of it is kept, and there is no such order";
            self.add(Kind::FeedDiffers, of_order(order), why);
        }
        self.check_indexes();
        // What an order took that was not seen would be missing in the sums.
        if self.has_seen_all_orders() {
            self.found.report.balances_compared += compared.len() as u64;
            for (id, moved) in compared {
                self.check_balance(&id, moved);
            }
            self.found.paid_in = Some(paid_in);
        }
    }

    /// Whether no order can have been missed, or seen twice: each is where the indexes and the archive's numbers say.
    fn has_seen_all_orders(&self) -> bool {
        let by_kind = &self.found.report.by_kind;
        !by_kind.contains_key(&Kind::ArchiveDiffers) && !by_kind.contains_key(&Kind::IndexDiffers)
    }

    /// Whether a customer's balance is what it was, less what its orders took since.
    fn check_balance(&mut self, id: &CustomerId, moved: i128) {
        if moved != 0 {
            let why = format!(
                "its balance has moved by {moved} since it was verified before, by what neither its orders nor a person did"
            );
            self.add(Kind::BalanceMoved, of_customer(id), why);
        }
    }

    fn into_found(mut self) -> Found {
        self.found.report.shards.push(self.books);
        self.found
    }
}

pub(super) fn of_order(id: OrderId) -> String {
    format!("orders/{id}")
}

pub(super) fn of_customer(id: &CustomerId) -> String {
    format!("customers/{id}")
}

pub(super) fn of_item(sku: &Sku) -> String {
    format!("items/{sku}")
}

//! Looks at what is suspicious, until it is gone or proven.
//!
//! An order and an item of another shard change at different moments, and where this node follows, replicas of their shards are behind by
//! different times. So that they do not fit at one look says nothing. Each look begins behind a read barrier of both shards, and what
//! was the same at [`LOOKS`] looks in a row, and did not fit, is wrong:
//!
//! ```text
//!   barrier look 1        barrier look 2        barrier look 3
//!              ├── the order is of version v, everywhere ─┤
//!                              └ the item has what was seen ┘, at some moment in here
//! ```
//!
//! The order was of version v when the first look saw it, or had been; it still was when the third barrier passed, behind which it was
//! seen so. What the second look saw of the item was so at a moment between these two. At that moment the two did not fit.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::ShardId;
use docket_engine::{Order, OrderId, OrderState, Quantity, Sku, Version, Wanted};
use docket_proto::peer_call::Reservation;
use futures::future::join_all;

use super::{
    DiscrepancyKind as Kind, Effect, Found, VerifyPace, VerifyReport,
    walk::{of_item, of_order},
};
use crate::{
    Docket,
    committed::Committed,
    shard::{Router, Shard},
};

/// What was the same at so many looks in a row is no chance.
const LOOKS: u32 = 3;
/// So many suspects are looked at without a pause.
pub(super) const BATCH: usize = 256;
/// How long a look waits for its barriers.
const BARRIER_MAX: Duration = Duration::from_secs(2);

/// What was seen again and again.
struct Streak<T> {
    seen: Option<T>,
    looks: u32,
    since: Instant,
}

impl<T: PartialEq> Streak<T> {
    fn new() -> Self {
        Self {
            seen: None,
            looks: 0,
            since: Instant::now(),
        }
    }

    fn see(&mut self, seen: T) {
        if self.seen.as_ref() == Some(&seen) {
            self.looks += 1;
            return;
        }
        *self = Self {
            seen: Some(seen),
            looks: 1,
            since: Instant::now(),
        };
    }

    fn lasts(&self, grace: Duration) -> bool {
        self.looks >= LOOKS && self.since.elapsed() >= grace
    }
}

/// What an item says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Of {
    pub(super) reserved: Quantity,
    /// How much of that waits.
    waiting: Quantity,
}

impl Of {
    /// As the item's shard has it.
    pub(super) fn item(committed: &Committed, sku: &Sku, order: OrderId) -> Self {
        let reserved = committed.reservations.get(sku, order);
        let waiting = committed.items.get(sku).map(|item| item.waiting_of(order));
        Self {
            reserved: reserved.unwrap_or_default(),
            waiting: waiting.unwrap_or_default(),
        }
    }

    /// Whether an order may find that.
    pub(super) fn is_allowed_by(self, order: &Order, sku: &Sku) -> bool {
        let known = known(order, sku);
        order.wanted_of(sku).allows(self.reserved) && self.is_known(known)
    }

    /// An order may believe more to wait than does, and never less.
    fn is_known(self, known: Option<Quantity>) -> bool {
        self.waiting <= self.reserved && known.is_none_or(|known| self.waiting <= known)
    }
}

/// How much an order knows to wait of an item; `None` where that is being asked for.
fn known(order: &Order, sku: &Sku) -> Option<Quantity> {
    order.is_settled().then(|| order.backordered_of(sku))
}

/// What an order and an item say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    version: Version,
    /// `None` where there is no such order.
    wanted: Option<Wanted>,
    known: Option<Quantity>,
    found: Of,
}

impl Pair {
    fn fits(self) -> bool {
        self.has_what_it_wants() && self.found.is_known(self.known)
    }

    fn has_what_it_wants(self) -> bool {
        let reserved = self.found.reserved;
        self.wanted
            .map_or(reserved == Quantity::ZERO, |wanted| wanted.allows(reserved))
    }

    /// Whether nobody wants what is reserved.
    fn is_orphan(self) -> bool {
        self.wanted
            .is_none_or(|wanted| wanted.quantity() == Quantity::ZERO)
    }

    fn tell(self, router: &Router, order: OrderId, sku: &Sku, report: &mut VerifyReport) {
        let reserved = self.found.reserved.0;
        let items = router.of_key(sku.as_str()).group().id();
        match self.wanted {
            _ if self.has_what_it_wants() => {
                let (waiting, known) = (self.found.waiting.0, self.known.unwrap_or_default().0);
                let why = match self.found.waiting <= self.found.reserved {
                    true => format!("{waiting} of order {order} wait for it, and the order knows of {known}"),
                    false => format!("{waiting} of order {order} wait for it, which has reserved {reserved}"),
                };
                report.add(items, Kind::BackorderDiffers, of_item(sku), why);
            }
            None => report.add(
                items,
                Kind::ReservationOrphan,
                of_item(sku),
                format!("{reserved} are reserved for order {order}, which does not exist"),
            ),
            Some(_) if self.is_orphan() => report.add(
                items,
                Kind::ReservationOrphan,
                of_item(sku),
                format!("{reserved} are reserved for order {order}, which wants none"),
            ),
            Some(wanted) => report.add(
                router.of_order(order).map_or(items, |home| home.group().id()),
                Kind::ReservationDiffers,
                of_order(order),
                format!(
                    "item {sku} has {reserved} reserved for it, and it wants {}",
                    wanted.quantity().0
                ),
            ),
        }
    }
}

type Suspects = BTreeMap<(OrderId, Sku), Streak<Pair>>;
type Open = BTreeMap<(OrderId, Effect), Streak<Version>>;

/// Looks again at what walks have found to be suspicious or half-open, with pauses where others go first.
pub(super) async fn look_again(
    router: &Arc<Router>,
    found: &mut Found,
    pace: VerifyPace,
    gives_way_to: Option<&Docket>,
) {
    let begun = Instant::now();
    let suspects = std::mem::take(&mut found.suspects).into_iter();
    let mut suspects: Suspects = suspects.map(|pair| (pair, Streak::new())).collect();
    let open = std::mem::take(&mut found.open).into_iter();
    let mut open: Open = open.map(|effect| (effect, Streak::new())).collect();
    while !suspects.is_empty() || !open.is_empty() {
        if begun.elapsed() >= pace.give_up {
            found.report.undecided += (suspects.len() + open.len()) as u64;
            return;
        }
        tokio::time::sleep(pace.look_every).await;
        let (drops, until) = (router.drops(), Instant::now() + BARRIER_MAX);
        let readable = readable(router, shards_of(router, &suspects, &open), until).await;
        let restores = router.restores();
        let absent = look_at_pairs(router, &readable, &mut suspects, gives_way_to).await;
        look_at_open(router, &readable, &mut open, &mut found.report, gives_way_to).await;
        if restores.is_none() || restores != router.restores() || drops != router.drops() {
            // What was seen may be nothing, where there was something.
            suspects.values_mut().for_each(|streak| *streak = Streak::new());
            open.values_mut().for_each(|streak| *streak = Streak::new());
            continue;
        }
        if !absent.is_empty() {
            leave_owned(router, absent, &mut suspects).await;
        }
        suspects.retain(|(order, sku), streak| {
            let grace = match streak.seen {
                Some(pair) if pair.is_orphan() => pace.grace,
                _ => Duration::ZERO,
            };
            let is_proven = streak.lasts(grace);
            if let Some(pair) = streak.seen.filter(|_| is_proven) {
                pair.tell(router, *order, sku, &mut found.report);
            }
            !is_proven
        });
        open.retain(|(order, effect), streak| {
            let is_proven = streak.lasts(pace.grace);
            if is_proven && let Some(home) = router.of_order(*order) {
                let (kind, why) = (Kind::EffectWithoutOwner, why_open(router, *order, *effect));
                found.report.add(home.group().id(), kind, of_order(*order), why);
            }
            !is_proven
        });
    }
}

fn shards_of(router: &Router, suspects: &Suspects, open: &Open) -> BTreeMap<ShardId, Arc<Shard>> {
    let orders = suspects
        .keys()
        .map(|(order, _)| order)
        .chain(open.keys().map(|(order, _)| order));
    let homes = orders.filter_map(|order| router.of_order(*order));
    let items = suspects.keys().map(|(_, sku)| router.of_key(sku.as_str()));
    let shards = homes.chain(items);
    shards.map(|shard| (shard.id(), Arc::clone(shard))).collect()
}

/// Those of some shards whose state here has all that was committed before.
async fn readable(
    router: &Router,
    shards: BTreeMap<ShardId, Arc<Shard>>,
    until: Instant,
) -> BTreeSet<ShardId> {
    let passed = shards.values().map(|shard| async move {
        let passed = router.barrier(&[shard], until).await;
        passed.is_ok().then(|| shard.id())
    });
    join_all(passed).await.into_iter().flatten().collect()
}

/// Keeps what is to be looked at again, a batch at a time.
async fn retain_in_batches<K: Ord + Clone, T>(
    all: &mut BTreeMap<K, T>,
    gives_way_to: Option<&Docket>,
    mut keeps: impl FnMut(&K, &mut T) -> bool,
) {
    let (mut worked, mut behind) = (Instant::now(), Bound::Unbounded);
    loop {
        let rest = all.range_mut((behind.as_ref(), Bound::Unbounded));
        let (mut gone, mut looked_at, mut last) = (Vec::new(), 0, None);
        for (key, streak) in rest.take(BATCH) {
            looked_at += 1;
            if !keeps(key, streak) {
                gone.push(key.clone());
            }
            if looked_at == BATCH {
                last = Some(key.clone());
            }
        }
        for key in gone {
            all.remove(&key);
        }
        let Some(last) = last else { return };
        behind = Bound::Excluded(last);
        if let Some(docket) = gives_way_to {
            tokio::time::sleep(docket.pause_of_verifying(worked.elapsed())).await;
            worked = Instant::now();
        }
    }
}

/// Looks at every pair that can be read, and forgets those that fit. Of orders that do not exist here it says which.
async fn look_at_pairs(
    router: &Router,
    readable: &BTreeSet<ShardId>,
    suspects: &mut Suspects,
    gives_way_to: Option<&Docket>,
) -> Vec<Reservation> {
    let mut absent = Vec::new();
    retain_in_batches(suspects, gives_way_to, |(order, sku), streak| {
        let items = router.of_key(sku.as_str());
        let Some(home) = router.of_order(*order) else {
            return false;
        };
        if !readable.contains(&home.id()) || !readable.contains(&items.id()) {
            *streak = Streak::new();
            return true;
        }
        let wanted = home.committed().orders.see(*order, |order| {
            (order.version, order.wanted_of(sku), known(order, sku))
        });
        let pair = Pair {
            version: wanted.map_or(Version(0), |(version, ..)| version),
            wanted: wanted.map(|(_, wanted, _)| wanted),
            known: wanted.and_then(|(.., known)| known),
            found: Of::item(items.committed(), sku, *order),
        };
        if pair.fits() {
            return false;
        }
        streak.see(pair);
        if pair.wanted.is_none() {
            let (order, sku) = (*order, sku.clone());
            absent.push(Reservation { order, sku });
        }
        true
    })
    .await;
    absent
}

/// An order may be on its way into the log while its items have reserved already: where it has an actor, which is told by who leads its shard,
/// what is reserved for it is owned.
async fn leave_owned(router: &Arc<Router>, absent: Vec<Reservation>, suspects: &mut Suspects) {
    let is_led_here = |of: &Reservation| router.of_order(of.order).is_some_and(|home| home.is_leading());
    let (here, elsewhere): (Vec<_>, Vec<_>) = absent.into_iter().partition(is_led_here);
    let has_actor = |of: &&Reservation| {
        let home = router.of_order(of.order);
        home.is_some_and(|home| home.orders().contains(&of.order))
    };
    let mut owned: Vec<Reservation> = here.iter().filter(has_actor).cloned().collect();
    let orphaned = router.orphaned_elsewhere(elsewhere.clone()).await;
    owned.extend(elsewhere.into_iter().filter(|of| !orphaned.contains(of)));
    for Reservation { order, sku } in owned {
        if let Some(streak) = suspects.get_mut(&(order, sku)) {
            *streak = Streak::new();
        }
    }
}

/// Looks at every order that was half-way, and forgets those that have gone on or have an owner.
async fn look_at_open(
    router: &Router,
    readable: &BTreeSet<ShardId>,
    open: &mut Open,
    report: &mut VerifyReport,
    gives_way_to: Option<&Docket>,
) {
    let now = Instant::now();
    retain_in_batches(open, gives_way_to, |(order, effect), streak| {
        let Some(home) = router.of_order(*order) else {
            return false;
        };
        if !home.is_leading() {
            report.owned_elsewhere += 1;
            return false;
        }
        if !readable.contains(&home.id()) {
            *streak = Streak::new();
            return true;
        }
        let half_way = home
            .committed()
            .orders
            .see(*order, |order| (order.version, effect.is_done(order)));
        let Some((version, false)) = half_way else {
            return false;
        };
        let has_owner = match effect {
            Effect::Items => home.orders().contains(order) || home.setbacks().holds_up(*order, now),
            Effect::Payment => is_driven(home, *order),
        };
        if has_owner {
            return false;
        }
        let has_gone_on = streak.seen.is_some_and(|seen| seen != version);
        streak.see(version);
        !has_gone_on
    })
    .await;
}

impl Effect {
    fn is_done(self, order: &Order) -> bool {
        match self {
            Self::Items => order.is_settled(),
            Self::Payment => order.provider.is_none() || order.next_payment().is_none(),
        }
    }
}

/// Whether an order's provider will be asked: it is where whoever drives the payments of this leadership finds it, and somebody does.
fn is_driven(home: &Shard, order: OrderId) -> bool {
    let committed = home.committed();
    committed.payments.is_driven(home.era().term) && committed.order_index.read().is_paying(order)
}

fn why_open(router: &Router, order: OrderId, effect: Effect) -> String {
    if effect == Effect::Payment {
        return "its payment provider is to be asked, and nobody does".to_owned();
    }
    let what = |order: &Order| match order.state {
        OrderState::Pending => "its items are to be asked for what it wants",
        _ if order.open_edit().is_some() => "its items are to be asked for what an edit needs more of",
        _ if !order.releasing.is_empty() => "its items are to give back what it does not want any more",
        _ if !order.restocking().is_empty() => "its items are to take back what was returned",
        _ => "its items are to take off what was shipped",
    };
    let home = router.of_order(order);
    let what = home.and_then(|home| home.committed().orders.see(order, what));
    format!(
        "{}, and nobody asks them",
        what.unwrap_or("its items are to be asked")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_in_between_begins_anew() {
        let mut streak = Streak::new();
        for (seen, lasts) in [
            (1, false),
            (1, false),
            (2, false),
            (2, false),
            (2, true),
            (1, false),
        ] {
            streak.see(seen);
            assert_eq!(streak.lasts(Duration::ZERO), lasts);
        }
        streak.see(1);
        streak.see(1);
        assert!(streak.lasts(Duration::ZERO) && !streak.lasts(Duration::from_secs(60)));
    }
}

//! What a node does beside its work, once a second: passivates idle actors, takes up orders that nobody drives, releases
//! stock that was reserved for orders which never came to be, forgets changes that are too old for the feed, and counts.
//!
//! **Orphaned reservations.** An order's items are asked while its first event is still on its way to the disk. If that
//! event is lost (a crash, a lost leadership), an item may hold a reservation of an order that does not exist. After a
//! start, and after every incident that can leave one, the reservations are compared with the orders: one whose order
//! does not exist and has no actor, or does not want it any more, is released when two looks in a row have found it. Later looks
//! leave out what was placed since: with millions of orders a look takes seconds of a core. Whoever
//! leads the item's shard looks; where the order's is led elsewhere, what the replica here knows is a suspicion, and who leads
//! it is asked before anything is released. Nodes tell each other of incidents; that a leader has changed all see by themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use docket_cluster::{ShardId, clock::wall_clock};
use docket_engine::{Order, OrderId, Sku, Time};
use docket_proto::peer_call::Reservation;

use crate::{
    docket::Inner,
    entity::item::ItemMessage,
    feed::AsFeed as _,
    shard::{Router, Shard},
};

/// The time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How often the reservations are looked at after an incident: at once, when whatever was on its way then has come or never will, and once
/// more for what took longer than anything should.
const LOOKS: u32 = 3;
/// An order that was placed so long after an incident was noticed has nothing to do with it, also where its node's clock goes before ours.
const PLACED_AFTER: Duration = Duration::from_secs(5);
/// How long after a first look that found nothing the second one is: longer than an item may take over a question of an order that is gone
/// (`peers::asking::STEP_MAX`), so that a machine with much to do does not keep stock for an order that never was until the third.
const LOOK_AGAIN_SOON: Duration = Duration::from_secs(6);
/// The same of the third.
const LOOK_AGAIN_LATE: Duration = Duration::from_secs(30);
/// The most orders that one round takes up, per shard.
const RESUMED_MAX: usize = 1_000;

/// A younger order has most likely been confirmed, and what says so is on its way into the log.
const RESUMED_AFTER: Duration = Duration::from_secs(1);

/// Whether an order is old enough to be taken up. One of the future is: a clock was set back.
fn is_grown_up(order: &OrderId) -> bool {
    let placed = UNIX_EPOCH + Duration::from_millis(order.time_ms());
    let age = wall_clock().duration_since(placed);
    age.map_or(true, |age| age >= RESUMED_AFTER)
}

/// The time so long ago.
pub(crate) fn before(age: Duration) -> Time {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.saturating_sub(age).as_micros()).unwrap_or(i64::MAX))
}

/// How much further a round forgets than time has passed since the one before.
const FORGETS_AHEAD: Duration = Duration::from_secs(60);

/// Before which time something is too old: as old as it may become, but never much more at once than time has passed, so that a clock which is
/// wrong for a moment makes next to nothing old.
pub(crate) struct Cutoff {
    /// How much further it may go, each time, than time has passed.
    ahead: Duration,
    last: Option<(Time, Instant)>,
}

impl Cutoff {
    pub(crate) fn new(ahead: Duration) -> Self {
        Self { ahead, last: None }
    }

    /// One that goes on from here.
    pub(crate) fn from(ahead: Duration, begin: Time, now: Instant) -> Self {
        Self {
            ahead,
            last: Some((begin, now)),
        }
    }

    /// Goes on from so many microseconds later, or earlier: something else is wanted, by the same clock.
    pub(crate) fn shift(&mut self, by_us: i64) {
        if let Some((last, _)) = &mut self.last {
            last.0 = last.0.saturating_add(by_us);
        }
    }

    pub(crate) fn advance(&mut self, wanted: Time, now: Instant) -> Time {
        let furthest = self.last.map(|(last, at)| {
            let passed = now.duration_since(at) + self.ahead;
            Time(last.0.saturating_add(passed.as_micros() as i64))
        });
        let cutoff = furthest.map_or(wanted, |furthest| wanted.min(furthest));
        // A clock that is behind for a moment makes less old, and takes nothing back of how far it may go.
        let base = self.last.map_or(cutoff, |(last, _)| last.max(cutoff));
        self.last = Some((base, now));
        cutoff
    }
}

/// Runs until the node closes.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut suspects = BTreeSet::new();
    let mut cutoff = Cutoff::new(FORGETS_AHEAD);
    let (mut looks_left, mut last_look) = (0_u32, Instant::now());
    let mut noticed = wall_clock();
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = inner.closing.cancelled() => return,
        }
        let router = &inner.router;
        router.look_who_keeps_origins();
        let wanted = inner.feed.retained_for.map(before);
        let too_old = wanted.map(|wanted| cutoff.advance(wanted, Instant::now()));
        for shard in &router.shards {
            if let Some(too_old) = too_old {
                shard.committed().feed().forget_before(too_old);
            }
            let (now_s, idle_s) = (shard.count_uptime(), inner.actors.idle_s);
            shard.orders().passivate_idle(now_s, idle_s);
            shard.customers().passivate_idle(now_s, idle_s);
            shard.items().passivate_idle(now_s, idle_s);
            if shard.is_leading() {
                let committed = shard.committed();
                shard
                    .setbacks()
                    .keep(|id| committed.orders.see(id, |order| !order.is_settled()) == Some(true));
                shard.resume_open(RESUMED_MAX, is_grown_up);
            } else {
                // One that was started while leadership was being lost would wait for answers that nobody sends.
                shard.discard_all(None);
            }
        }
        crate::seen::round(&inner);
        if router.take_tell_peers() {
            router.tell_peers_to_look().await;
        }
        let led = router.shards.iter().filter(|shard| shard.is_leading()).count();
        // Alone, a node knows of no order of a shard that it does not lead.
        let waits = !router.node().has_peers() && led < router.shards.len();
        if waits || led == 0 {
            continue;
        }
        let asked = take_asked(router);
        if asked {
            // Orders that had an actor at the first look are looked at again when that has long ended.
            looks_left = LOOKS;
            noticed = wall_clock();
        }
        let due = looks_left > 0
            && (asked || !suspects.is_empty() || last_look.elapsed() >= look_again(looks_left));
        if !due {
            continue;
        }
        looks_left -= 1;
        last_look = Instant::now();
        let all = router.clone();
        // It walks every reservation; later looks leave out what was placed since.
        let since = (!asked).then(|| placed_since(noticed + PLACED_AFTER)).flatten();
        let Ok(found) = docket_cluster::off_thread(move || orphans(&all, since.as_ref())).await else {
            continue;
        };
        let found: BTreeSet<_> = found.into_iter().collect();
        release(router, found.intersection(&suspects).cloned().collect()).await;
        if !found.is_empty() {
            looks_left = LOOKS;
        }
        suspects = found;
    }
}

/// How long a look that found nothing stays the last one, where so many are left.
fn look_again(looks_left: u32) -> Duration {
    match looks_left + 1 {
        LOOKS => LOOK_AGAIN_SOON,
        _ => LOOK_AGAIN_LATE,
    }
}

/// The ids of orders that are placed from then on and before now; `None` where that is no time at all.
fn placed_since(then: SystemTime) -> Option<Range<OrderId>> {
    let id_of = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        OrderId::compose(since.as_millis() as u64, 0, 0)
    };
    let span = id_of(then)..id_of(wall_clock());
    (!span.is_empty()).then_some(span)
}

/// Whether something may have left reservations that no order wants, with items of a shard that is led here.
fn take_asked(router: &Router) -> bool {
    let led = router.shards.iter().filter(|shard| shard.is_leading());
    led.filter(|shard| shard.take_needs_reconciling()).count() > 0
}

/// Releases reservations that two looks have found to be nobody's, if nobody wants them still: the walk takes its time, and the order
/// may have come to be meanwhile. Who leads the order's shard is asked, and an item that its order asks in between keeps what it has.
async fn release(router: &Arc<Router>, suspects: Vec<Reservation>) {
    let mut by_shard = BTreeMap::<ShardId, (Arc<Shard>, Vec<Reservation>)>::new();
    for suspect in suspects {
        let shard = router.of_key(suspect.sku.as_str());
        let of_shard = by_shard
            .entry(shard.id())
            .or_insert_with(|| (shard.clone(), Vec::new()));
        of_shard.1.push(suspect);
    }
    let mut suspects = Vec::new();
    for (shard, of_shard) in by_shard.into_values() {
        let pairs = of_shard
            .iter()
            .map(|suspect| (suspect.order, suspect.sku.clone()));
        shard.watched().begin(pairs);
        suspects.extend(of_shard);
    }
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for suspect in suspects {
        let home = router.of_order(suspect.order);
        let is_led = home.is_some_and(|home| home.is_leading());
        if is_led { &mut here } else { &mut elsewhere }.push(suspect);
    }
    let mut orphans = Vec::new();
    for suspect in here {
        // A home that others have left behind does not know all orders.
        let home = router.of_order(suspect.order).cloned();
        let Some(home) = home else { continue };
        if home.group().read_barrier().await.is_ok() && is_orphan(router, suspect.order, &suspect.sku) {
            orphans.push(suspect);
        }
    }
    orphans.extend(router.orphaned_elsewhere(elsewhere).await);
    for Reservation { order, sku } in orphans {
        tracing::warn!(%order, %sku, "releasing stock that was reserved for an order that does not want it");
        let shard = router.of_key(sku.as_str());
        shard.tell_own_item(&sku, ItemMessage::ReleaseOrphan { order });
    }
}

/// Reservations of items that are led here (or, alone, of all) whose order does not exist and is not on its way, or does not want them
/// any more: as far as is known here, and only a suspicion where the order's shard is led elsewhere. Without those of `span`, where one is
/// given.
pub(crate) fn orphans(router: &Router, span: Option<&Range<OrderId>>) -> Vec<Reservation> {
    let mut orphans = Vec::new();
    for shard in router.shards.iter().filter(|shard| shard.is_leading()) {
        for (sku, order) in shard.committed().reservations.orders_outside(span) {
            if is_orphan(router, order, &sku) {
                orphans.push(Reservation { order, sku });
            }
        }
    }
    orphans
}

/// Whether nothing wants a reservation, and nothing will, if the order's shard is led here.
pub(crate) fn is_orphan(router: &Router, order: OrderId, sku: &Sku) -> bool {
    let Some(home) = router.of_order(order) else {
        return false;
    };
    // An actor may be about to commit the order, or to release.
    if home.orders().contains(&order) {
        return false;
    }
    let wants = |o: &Order| o.wants(sku) || !o.is_settled();
    home.committed().orders.see(order, wants) != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_look_leaves_out_what_was_placed_since_and_nothing_else() {
        let now = wall_clock();
        let id_at = |time: SystemTime| {
            let ms = time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
            OrderId::compose(ms, 7, 7)
        };
        let minute = Duration::from_secs(60);
        let span = placed_since(now - minute).unwrap();
        assert!(!span.contains(&id_at(now - minute - PLACED_AFTER)));
        assert!(span.contains(&id_at(now - minute / 2)));
        // A clock that goes before ours.
        assert!(!span.contains(&id_at(now + minute)));
        assert_eq!(placed_since(now + minute), None);
    }

    #[test]
    fn a_clock_that_is_wrong_for_a_moment_makes_little_be_forgotten() {
        const DAY: i64 = 24 * 60 * 60 * 1_000_000;
        let (mut cutoff, begun) = (Cutoff::new(FORGETS_AHEAD), Instant::now());
        let at = |s: u64| begun + Duration::from_secs(s);
        assert_eq!(cutoff.advance(Time(DAY), at(0)), Time(DAY));
        assert_eq!(
            cutoff.advance(Time(DAY + 1_000_000), at(1)),
            Time(DAY + 1_000_000)
        );
        // A day ahead.
        assert_eq!(cutoff.advance(Time(2 * DAY), at(2)), Time(DAY + 62_000_000));
        assert_eq!(
            cutoff.advance(Time(DAY + 3_000_000), at(3)),
            Time(DAY + 3_000_000)
        );
    }
}

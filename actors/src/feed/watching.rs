//! A watch: a position in each shard, and what comes behind it.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_engine::{CustomerId, Order, OrderState, Time};
use docket_proto::{
    feed::{FeedFrom, FeedPosition},
    peer_call::NoChanges,
};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use tokio::{sync::Notify, time::sleep_until};

use super::{
    AsFeed, Found, Interest, OrderChange, WatchError, WatchOrders,
    elsewhere::{Asked, ask_elsewhere},
    ring::TooOld,
};
use crate::{
    Call, Docket,
    committed::Committed,
    shard::{Router, Shard},
    weight::{ORDERS_BYTES_MAX, weight},
};

/// How long the leaders of the shards may be silent: then nobody knows whether something is missed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A watch makes sure so often that it has heard of all that was committed, also where there is always something new.
const SURE_EVERY: Duration = Duration::from_secs(5);
/// What is waited for one shard after the other is looked at again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// Which changes are let through.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) customer: Option<CustomerId>,
    pub(super) slot: Option<u16>,
    pub(super) states: Vec<OrderState>,
    /// The customer is not one that the caller may see: it answers as one that has no orders.
    pub(super) hidden: bool,
}

/// A position in a shard.
struct Cursor {
    shard: Arc<Shard>,
    at: FeedPosition,
    /// Another node is being asked for what comes.
    asking: bool,
    /// When one last answered, or was not needed.
    heard: Instant,
    interest: Interest,
    /// It has looked through the ring since that was made: what comes from its position on is noted.
    is_caught_up: bool,
}

impl Filter {
    /// The customer, and its slot.
    pub(super) fn of_slot(&self) -> Option<(u16, CustomerId)> {
        Some((self.slot?, self.customer.clone()?))
    }
}

/// A running watch. Dropping it ends it.
pub struct OrderWatch {
    router: Arc<Router>,
    filter: Filter,
    cursors: Vec<Cursor>,
    /// The shard that is looked at first.
    turn: usize,
    woken: Arc<Notify>,
    asked: FuturesUnordered<BoxFuture<'static, Asked>>,
    /// When the replicas here last had all that was committed.
    sure: Instant,
    /// Whether they have it now, while that is being found out, and since when it is not known.
    finding_out: Option<BoxFuture<'static, bool>>,
    unsure: Option<Instant>,
}

impl Docket {
    /// Watches orders. The first changes are asked for with [`OrderWatch::next`].
    ///
    /// # Errors
    /// Why it cannot begin there, or not now.
    pub async fn watch_orders(&self, call: &Call, watch: WatchOrders) -> Result<OrderWatch, WatchError> {
        let (router, shards) = self.watched(watch.customer.as_ref());
        if shards.len() != watch.from.len() {
            return Err(WatchError::Unknown);
        }
        let slot = watch
            .customer
            .as_ref()
            .map(|customer| docket_cluster::slot_of(customer.as_str().as_bytes()).number());
        let filter = Filter {
            hidden: call.owner.is_some() && call.owner != watch.customer,
            customer: watch.customer,
            slot,
            states: watch.states,
        };
        let deadline = Instant::now() + SURE_EVERY;
        let deadline = call.deadline.map_or(deadline, |at| at.min(deadline));
        let from = shards.iter().cloned().zip(watch.from).collect();
        let begun = router.begin_feed(from, deadline).await?;
        Ok(OrderWatch::new(router, filter, shards, begun))
    }

    /// Goes on watching orders for nobody in particular, from positions or, in shards where what comes behind is not kept any more or is
    /// not there, from the oldest that is kept: then changes may be missed, and true is returned.
    ///
    /// # Errors
    /// Why it cannot begin now.
    pub async fn follow_orders(
        &self,
        customer: Option<CustomerId>,
        states: Vec<OrderState>,
        from: Vec<FeedFrom>,
    ) -> Result<(OrderWatch, bool), WatchError> {
        let call = Call::default();
        let deadline = Instant::now() + SURE_EVERY;
        let (router, shards) = self.watched(customer.as_ref());
        if shards.len() != from.len() {
            return Err(WatchError::Unknown);
        }
        let asked = shards.iter().cloned().zip(from.iter().copied()).collect();
        let begun = router.look_where_to_begin(asked, deadline).await?;
        let is_kept = begun.iter().all(Result::is_ok);
        let kept = |(begun, from): (Result<FeedPosition, NoChanges>, FeedFrom)| match begun {
            Ok(_) => from,
            Err(NoChanges::TooOld | NoChanges::Unknown) => FeedFrom::Oldest,
        };
        let watch = WatchOrders {
            customer,
            states,
            from: begun.into_iter().zip(from).map(kept).collect(),
        };
        Ok((self.watch_orders(&call, watch).await?, !is_kept))
    }

    /// Where each shard that a watch reads begins so that it shows all changes from this time on that are kept. It may show some from before:
    /// those behind the first one, and all of shards that have no replica here.
    pub fn feed_since(&self, customer: Option<&CustomerId>, time: Time) -> Vec<FeedFrom> {
        let (router, shards) = self.watched(customer);
        let from = |shard: &Arc<Shard>| match router.is_read_here(shard) {
            true => shard.committed().feed().first_since(time),
            false => None,
        };
        let from = shards.iter().map(from);
        from.map(|at| at.map_or(FeedFrom::Oldest, FeedFrom::At)).collect()
    }

    /// The shards that a watch reads.
    fn watched(&self, customer: Option<&CustomerId>) -> (Arc<Router>, Vec<Arc<Shard>>) {
        let router = Arc::clone(&self.inner.router);
        let shards = match customer {
            Some(customer) => vec![Arc::clone(router.of_key(customer.as_str()))],
            None => router.shards.clone(),
        };
        (router, shards)
    }
}

impl OrderWatch {
    fn new(router: Arc<Router>, filter: Filter, shards: Vec<Arc<Shard>>, begun: Vec<FeedPosition>) -> Self {
        let woken = Arc::new(Notify::new());
        let cursors = shards.into_iter().zip(begun).map(|(shard, at)| Cursor {
            interest: Interest::new(shard.committed().clone(), filter.of_slot(), Arc::clone(&woken)),
            is_caught_up: false,
            asking: false,
            heard: Instant::now(),
            shard,
            at,
        });
        Self {
            cursors: cursors.collect(),
            router,
            filter,
            turn: 0,
            woken,
            asked: FuturesUnordered::new(),
            sure: Instant::now(),
            finding_out: None,
            unsure: None,
        }
    }
}

impl OrderWatch {
    /// The next changes, at most so many, as soon as there are some; none after `until`. Then all that is known here to be
    /// committed has been looked at, which is all that was committed some seconds ago (`SURE_EVERY`), and
    /// [`Self::positions`] are behind it.
    ///
    /// Cancelling it loses nothing.
    ///
    /// # Errors
    /// Why the watch cannot go on. It can be begun anew at the positions that it had before this call.
    pub async fn next(&mut self, limit: usize, until: Instant) -> Result<Vec<OrderChange>, WatchError> {
        loop {
            let is_over = Instant::now() >= until;
            self.find_out()?;
            let (found, more) = self.look(limit)?;
            if !found.is_empty() || (is_over && !more) {
                return Ok(found);
            }
            if more {
                // Others have their turn.
                tokio::task::yield_now().await;
                continue;
            }
            self.ask(limit);
            let asked: OptionFuture<_> = (!self.asked.is_empty()).then(|| self.asked.next()).into();
            tokio::select! {
                () = self.woken.notified() => {}
                Some(is_sure) = OptionFuture::from(self.finding_out.as_mut()) => self.found_out(is_sure)?,
                Some(Some(answer)) = asked => {
                    let found = self.take(answer)?;
                    if !found.is_empty() {
                        return Ok(found);
                    }
                }
                () = sleep_until(until.into()) => {}
            }
        }
    }

    /// Where the watch is in each of its shards: behind all that [`Self::next`] has returned.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = FeedPosition> + '_ {
        self.cursors.iter().map(|cursor| cursor.at)
    }

    /// Changes of the shards that have a replica here. True where there is more to be looked at.
    fn look(&mut self, limit: usize) -> Result<(Vec<OrderChange>, bool), WatchError> {
        let (mut found, mut more, mut room) = (Vec::new(), false, Room::new(limit));
        let shards = self.cursors.len();
        for i in 0..shards {
            let at = (self.turn + i) % shards;
            let cursor = &mut self.cursors[at];
            if cursor.asking || !self.router.is_read_here(&cursor.shard) {
                continue;
            }
            if room.is_full() {
                self.turn = at;
                return Ok((found, true));
            }
            let Some(read) = cursor.read(&self.filter, &mut room)? else {
                // Its state is being replaced: look again in a moment.
                let woken = Arc::clone(&self.woken);
                tokio::spawn(async move {
                    tokio::time::sleep(AGAIN).await;
                    woken.notify_one();
                });
                continue;
            };
            found.extend(read.changes);
            (cursor.at, cursor.heard) = (read.next, Instant::now());
            more |= read.more;
        }
        self.turn = (self.turn + 1) % shards.max(1);
        Ok((found, more))
    }

    /// Asks other nodes for what comes in the shards that have no replica here, a node once for all of its own.
    fn ask(&mut self, limit: usize) {
        let mut from = Vec::new();
        for (i, cursor) in self.cursors.iter_mut().enumerate() {
            if !cursor.asking && !self.router.is_read_here(&cursor.shard) {
                cursor.asking = true;
                from.push((i, Arc::clone(&cursor.shard), cursor.at));
            }
        }
        if !from.is_empty() {
            let asked = ask_elsewhere(Arc::clone(&self.router), from, self.filter.clone(), limit);
            self.asked.extend(asked);
        }
    }

    /// Takes an answer in.
    fn take(&mut self, answer: Asked) -> Result<Vec<OrderChange>, WatchError> {
        let mut found = Vec::new();
        for (i, told) in answer.told {
            let Some(cursor) = self.cursors.get_mut(i) else {
                continue;
            };
            cursor.asking = false;
            let Some(told) = told else {
                if cursor.heard.elapsed() >= SILENCE_MAX {
                    return Err(WatchError::Unavailable);
                }
                // It is asked again, of whoever leads by then.
                continue;
            };
            cursor.heard = Instant::now();
            cursor.at = told.next.map_err(|why| match why {
                NoChanges::TooOld => WatchError::TooOld,
                NoChanges::Unknown => WatchError::Unknown,
            })?;
            let shown = told.changes.into_iter().filter(|_| !self.filter.hidden);
            found.extend(shown.map(|(change, order)| OrderChange { change, order }));
        }
        Ok(found)
    }

    /// Now and then begins to find out whether the replicas here have all that was committed, and looks whether it is known.
    /// Meanwhile what comes goes on to be shown.
    fn find_out(&mut self) -> Result<(), WatchError> {
        if let Some(finding_out) = &mut self.finding_out {
            return match finding_out.now_or_never() {
                Some(is_sure) => self.found_out(is_sure),
                None => Ok(()),
            };
        }
        if self.sure.elapsed() < SURE_EVERY {
            return Ok(());
        }
        self.unsure.get_or_insert_with(Instant::now);
        let router = Arc::clone(&self.router);
        let here = self.cursors.iter().map(|cursor| &cursor.shard);
        let here = here.filter(|shard| router.is_read_here(shard)).cloned();
        let here: Vec<Arc<Shard>> = here.collect();
        let finding_out = async move {
            let shards: Vec<&Arc<Shard>> = here.iter().collect();
            let passed = router.barrier(&shards, Instant::now() + SURE_EVERY).await.is_ok();
            if !passed {
                tokio::time::sleep(AGAIN).await;
            }
            passed
        };
        self.finding_out = Some(finding_out.boxed());
        Ok(())
    }

    fn found_out(&mut self, is_sure: bool) -> Result<(), WatchError> {
        self.finding_out = None;
        if is_sure {
            (self.sure, self.unsure) = (Instant::now(), None);
            return Ok(());
        }
        match self.unsure {
            Some(since) if since.elapsed() >= SILENCE_MAX => Err(WatchError::Unavailable),
            _ => Ok(()),
        }
    }
}

impl Cursor {
    /// What comes behind it; `None` while the state is being replaced.
    fn read(&mut self, filter: &Filter, room: &mut Room) -> Result<Option<Read>, WatchError> {
        let committed = self.shard.committed();
        if self.is_caught_up {
            let Some(restores) = committed.restores() else {
                return Ok(None);
            };
            if let Some(found) = self.interest.noted(self.at, room.changes) {
                return show(committed, restores, found, filter, room);
            }
            self.is_caught_up = false;
        }
        let read = read(committed, self.at, filter, room)?;
        self.is_caught_up = self.interest.notes() && read.as_ref().is_some_and(|read| !read.more);
        Ok(read)
    }
}

/// Changes of one shard, read from its state here.
pub(super) struct Read {
    pub(super) changes: Vec<OrderChange>,
    pub(super) next: FeedPosition,
    pub(super) more: bool,
}

/// What still fits into an answer.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// So many changes.
    changes: usize,
    /// So many bytes, and what the change has that passes it.
    bytes: usize,
}

impl Room {
    /// For so many changes.
    pub(super) fn new(changes: usize) -> Self {
        Self {
            changes,
            bytes: ORDERS_BYTES_MAX,
        }
    }

    pub(super) fn is_full(self) -> bool {
        self.changes == 0 || self.bytes == 0
    }

    fn take(&mut self, order: &Order) {
        self.changes = self.changes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight(order));
    }
}

/// So many orders are read from the archive with one look: that is to read the disk on a thread of the runtime.
const ARCHIVED_MAX: usize = 32;

/// Changes from a position on; `None` while the state is being replaced.
pub(super) fn read(
    committed: &Arc<Committed>,
    from: FeedPosition,
    filter: &Filter,
    room: &mut Room,
) -> Result<Option<Read>, WatchError> {
    let Some(restores) = committed.restores() else {
        return Ok(None);
    };
    // Before the changes: what was applied by then is among them.
    let applied = FeedPosition::of_entry(committed.applied_next());
    let found = committed.feed().read(from, filter.slot, room.changes);
    let (kept, next, more) = match found {
        Ok(found) => found,
        Err(TooOld) if committed.restores() == Some(restores) => return Err(WatchError::TooOld),
        Err(TooOld) => return Ok(None),
    };
    let next = if more { next } else { next.max(applied) };
    show(committed, restores, (kept, next, more), filter, room)
}

/// Changes that were found, with their orders, as many as there is room for; `None` where the state was replaced since it was restored
/// so often.
fn show(
    committed: &Arc<Committed>,
    restores: u64,
    (kept, mut next, mut more): Found,
    filter: &Filter,
    room: &mut Room,
) -> Result<Option<Read>, WatchError> {
    let is_steady = || committed.restores() == Some(restores);
    // Whoever is told of none needs none to be looked for.
    let kept = if filter.hidden { Vec::new() } else { kept };
    let mut changes = Vec::with_capacity(kept.len());
    let last = kept.last().map(|kept| kept.position());
    let mut archived = 0;
    for kept in kept {
        let change = kept.change().ok_or(WatchError::Broken("a change has no kind"))?;
        let shown = |order: &Order| {
            let is_theirs = filter
                .customer
                .as_ref()
                .is_none_or(|customer| *customer == order.customer);
            let state = order.state_after(&change);
            let is_shown = is_theirs && (filter.states.is_empty() || filter.states.contains(&state));
            is_shown.then(|| order.after(&change))
        };
        let seen = match committed.orders.see(kept.order(), shown) {
            None if committed.archive.count() > 0 => {
                if archived == ARCHIVED_MAX {
                    // Others have their turn.
                    (next, more) = (kept.position(), true);
                    break;
                }
                archived += 1;
                match committed.archive.get(kept.order()) {
                    Ok(found) => found.map(|order| shown(&order)),
                    Err(_) if !changes.is_empty() => {
                        // First what comes before it.
                        (next, more) = (kept.position(), true);
                        break;
                    }
                    Err(error) => {
                        // Of this replica: another has it.
                        metrics::counter!("docket_archive_unreadable_total").increment(1);
                        tracing::error!(order = %kept.order(), %error, "a change's order cannot be read from the archive");
                        return Err(WatchError::Unavailable);
                    }
                }
            }
            seen => seen,
        };
        match seen {
            Some(Some(order)) => {
                room.take(&order);
                changes.push(OrderChange { change, order });
            }
            Some(None) => {}
            None if is_steady() => return Err(WatchError::Broken("a change has no order")),
            None => return Ok(None),
        }
        if room.bytes == 0 && last != Some(kept.position()) {
            (next, more) = (kept.position().next(), true);
            break;
        }
    }
    if !is_steady() {
        return Ok(None);
    }
    Ok(Some(Read { changes, next, more }))
}

impl Router {
    /// Whether a shard's changes are read here.
    pub(super) fn is_read_here(&self, shard: &Shard) -> bool {
        !self.node().has_peers() || self.node().has_replica(shard.group().id())
    }

    /// Where watches of these shards begin, which have replicas here, behind all that was committed before.
    pub(super) async fn begin_feed_here(
        &self,
        from: &[(Arc<Shard>, FeedFrom)],
        deadline: Instant,
    ) -> Result<Vec<Result<FeedPosition, NoChanges>>, WatchError> {
        let shards: Vec<&Arc<Shard>> = from.iter().map(|(shard, _)| shard).collect();
        let drops = self.drops();
        self.barrier(&shards, deadline)
            .await
            .map_err(|_| WatchError::Unavailable)?;
        let begin = || {
            let begun = from.iter().map(|(shard, from)| {
                let committed = shard.committed();
                let applied = FeedPosition::of_entry(committed.applied_next());
                match from {
                    FeedFrom::Now => Ok(applied),
                    FeedFrom::Oldest => Ok(committed.feed().floor().unwrap_or(applied)),
                    // What was applied is all that was committed when the barrier was passed: nothing can be behind it.
                    FeedFrom::At(at) if *at > applied => Err(NoChanges::Unknown),
                    FeedFrom::At(at) if committed.feed().floor().is_some_and(|floor| *at < floor) => {
                        Err(NoChanges::TooOld)
                    }
                    FeedFrom::At(at) => Ok(*at),
                }
            });
            begun.collect()
        };
        let begun = self.steadily(deadline, begin).await;
        let begun = begun.and_then(|begun| self.nothing_dropped_since(drops).map(|()| begun));
        begun.map_err(|_| WatchError::Unavailable)
    }
}

/// Which shards are named more than once, or not at all here.
pub(super) fn are_distinct(shards: &[u16], of: usize) -> bool {
    let distinct: HashSet<u16> = shards.iter().copied().collect();
    distinct.len() == shards.len() && shards.iter().all(|shard| usize::from(*shard) < of)
}

#[cfg(test)]
mod tests {
    use docket_engine::OrderId;
    use docket_persistence::mem::MemKeyed;

    use super::*;
    use crate::archive::tests::{id, machine_on};

    #[test]
    fn a_damaged_order_of_the_archive_is_not_read_here_and_what_comes_before_it_is() {
        let keyed = MemKeyed::new();
        let (_machine, committed) = machine_on(&keyed, 8, 8);
        let key = id(5).0.to_be_bytes();
        keyed.damage("3/values", &key, Some(b"not an order"));
        let filter = |hidden: bool| Filter {
            customer: None,
            slot: None,
            states: Vec::new(),
            hidden,
        };
        let read = |from: FeedPosition, hidden: bool| {
            read(&committed, from, &filter(hidden), &mut Room::new(100)).map(|read| read.unwrap())
        };
        let begin = committed.feed().floor().unwrap_or(FeedPosition::of_entry(0));
        let found = read(begin, false).unwrap();
        assert!(found.more);
        // Two changes each.
        let told: Vec<OrderId> = found.changes.iter().map(|it| it.order.id).collect();
        assert_eq!(told, [1, 1, 2, 2, 3, 3, 4, 4].map(id));
        assert_eq!(read(found.next, false).err(), Some(WatchError::Unavailable));
        // It is as well whole again as read by another.
        let whole = MemKeyed::new();
        machine_on(&whole, 8, 8);
        let value = docket_persistence::archive::Keyed::get(&whole, "3/values", &key).unwrap();
        keyed.damage("3/values", &key, value.as_deref());
        assert_eq!(read(found.next, false).unwrap().changes.len(), 8);
        // Whoever may see none is told of none, and nothing is read for that.
        keyed.damage("3/values", &key, Some(b"not an order"));
        let hidden = read(begin, true).unwrap();
        assert!(hidden.changes.is_empty() && !hidden.more && hidden.next > found.next);
    }
}

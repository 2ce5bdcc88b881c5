//! Orders of all shards, in lists and by their ids: of shards that have a replica here from here, and of the others from who leads them.
//!
//! A shard that cannot be read fails a list, or is left out and named where that was asked for. Then each is asked by itself, for a short
//! time, so that one that hears from no leader keeps nobody from the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::{NodeId, ReadError, ShardId};
use docket_engine::{Order, OrderFilter, OrderId};
use docket_proto::{
    api::page_token::LEFT_OUT_MAX,
    peer_call::{Page, PageOf},
};
use futures::future::{join_all, try_join};
use parking_lot::Mutex;

use crate::{
    archive::{self, Unreadable},
    committed::AsOf,
    listing::{Found, LEFT_OUT_ONLY, LIST_ROWS_MAX, ListOrders, Listing, OrderPage},
    shard::{Router, Shard},
};

/// How often a page is gathered anew, because orders came into it about which other nodes had to be asked.
const TRIES_MAX: u32 = 8;
/// When a page is gathered again that met a shard whose state was being replaced.
const RESTORED_AGAIN: Duration = Duration::from_millis(50);
/// How long a shard is waited for that may be left out.
const LEFT_OUT_AFTER: Duration = Duration::from_secs(1);

/// A shard, and below which id it is looked at.
type Below<'a> = (&'a Arc<Shard>, OrderId);

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    /// Which orders.
    pub(crate) filter: &'a OrderFilter,
    /// How many.
    pub(crate) limit: usize,
    /// Whether shards are left out that cannot be read.
    pub(crate) partial: bool,
    /// Until when.
    pub(crate) deadline: Instant,
}

impl Search<'_> {
    /// Until when a shard is waited for.
    fn patience(&self) -> Instant {
        match self.partial {
            true => self.deadline.min(Instant::now() + LEFT_OUT_AFTER),
            false => self.deadline,
        }
    }
}

impl Router {
    /// A page of orders of these shards, newest first.
    ///
    /// # Errors
    /// A shard that cannot be read now, unless it may be left out.
    pub(crate) async fn list_orders(
        &self,
        shards: Vec<&Arc<Shard>>,
        query: &ListOrders,
        deadline: Instant,
    ) -> Result<OrderPage, ReadError> {
        let below = |shard: &Arc<Shard>| {
            let left_out = query.left_out.get(&number(shard)).copied();
            match query.before {
                Some(LEFT_OUT_ONLY) => left_out,
                before if left_out.is_none() => Some(before.unwrap_or(OrderId(u128::MAX))),
                _ => None,
            }
        };
        let leg: Vec<Below<'_>> = shards
            .into_iter()
            .filter_map(|shard| Some((shard, below(shard)?)))
            .collect();
        let numbers: Vec<_> = leg.iter().map(|(shard, below)| (number(shard), *below)).collect();
        let search = Search {
            filter: &query.filter,
            limit: query.limit,
            partial: query.partial,
            deadline,
        };
        let (here, elsewhere) = self.by_replica(leg);
        let found = if elsewhere.is_empty() {
            self.orders_here(here, search).await?
        } else {
            let found = try_join(
                self.orders_here(here, search),
                self.orders_elsewhere(elsewhere, search),
            );
            let (here, mut elsewhere) = found.await?;
            elsewhere.push(here);
            merge(elsewhere, query.limit).bounded()
        };
        let home = |id| self.of_order(id).map(number);
        let page = OrderPage::new(query, &numbers, found, home);
        match page.left_out.len() > LEFT_OUT_MAX {
            true => Err(ReadError::NotLeader { leader: None }),
            false => Ok(page),
        }
    }

    /// The orders among these that there are, in no order, as whoever asks is told of them; and whether some of them were too much for
    /// the answer of another node.
    ///
    /// # Errors
    /// A shard that cannot be read now.
    pub(crate) async fn named_orders(
        &self,
        ids: &BTreeSet<OrderId>,
        deadline: Instant,
    ) -> Result<(Vec<Arc<Order>>, bool), ReadError> {
        let mut by_shard = BTreeMap::<u16, Vec<OrderId>>::new();
        for id in ids {
            if let Some(shard) = self.of_order(*id) {
                by_shard.entry(number(shard)).or_default().push(*id);
            }
        }
        let shards = by_shard.keys().filter_map(|at| self.shards.get(usize::from(*at)));
        let (here, elsewhere) = self.by_replica(shards.map(|shard| (shard, OrderId(0))).collect());
        let ids_of = |shards: &[Below<'_>]| -> Vec<OrderId> {
            let ids = shards
                .iter()
                .filter_map(|(shard, _)| by_shard.get(&number(shard)));
            ids.flatten().copied().collect()
        };
        let named_here = async {
            let shards: Vec<_> = here.iter().map(|(shard, _)| *shard).collect();
            self.named_here(&shards, &ids_of(&here), deadline).await
        };
        if elsewhere.is_empty() {
            return Ok((named_here.await?, false));
        }
        let named_elsewhere = async {
            let mut by_leader = BTreeMap::<NodeId, Vec<Below<'_>>>::new();
            for (shard, below) in elsewhere {
                let leader = self.leader_of(shard, deadline).await?;
                by_leader.entry(leader).or_default().push((shard, below));
            }
            let asked = by_leader.into_iter().map(|(node, shards)| {
                let numbers = shards.iter().map(|(shard, _)| number(shard)).collect();
                let what = PageOf::Named(ids_of(&shards));
                self.page_of(node, numbers, what, deadline)
            });
            futures::future::try_join_all(asked).await
        };
        let (mut found, pages) = try_join(named_here, named_elsewhere).await?;
        let is_cut = pages.iter().any(|page| page.next.is_some());
        found.extend(pages.into_iter().flat_map(|page| page.orders).map(Arc::new));
        Ok((found, is_cut))
    }

    /// The same of shards that are read here.
    pub(crate) async fn named_here(
        &self,
        shards: &[&Arc<Shard>],
        ids: &[OrderId],
        deadline: Instant,
    ) -> Result<Vec<Arc<Order>>, ReadError> {
        let drops = self.drops();
        self.barrier(shards, deadline).await?;
        let as_of: Vec<AsOf> = shards.iter().map(|shard| shard.committed().as_of()).collect();
        let look = || {
            let order = |id: &OrderId| self.of_order(*id)?.committed().orders.get(*id);
            ids.iter().filter_map(order).collect::<Vec<_>>()
        };
        let mut orders = self.steadily(deadline, look).await?;
        if orders.len() < ids.len() {
            let found: BTreeSet<OrderId> = orders.iter().map(|order| order.id).collect();
            for (shard, as_of) in shards.iter().zip(as_of) {
                let is_its = |id: &&OrderId| self.of_order(**id).is_some_and(|home| Arc::ptr_eq(home, shard));
                let missing = ids.iter().filter(|id| !found.contains(id)).filter(is_its);
                orders.extend(
                    self.archived_orders(shard, missing.copied().collect(), as_of)
                        .await?,
                );
            }
        }
        self.nothing_dropped_since(drops)?;
        let (mut told, mut unknown) = (Vec::with_capacity(orders.len()), Vec::new());
        for order in orders {
            match self.confirmed(order) {
                Ok(order) => told.push(order),
                Err(order) => unknown.push(order),
            }
        }
        if !unknown.is_empty() {
            told.extend(Box::pin(self.confirmed_elsewhere(unknown, deadline)).await?);
        }
        Ok(told)
    }

    /// What is found in shards that are read here.
    pub(crate) async fn orders_here(
        &self,
        mut shards: Vec<Below<'_>>,
        search: Search<'_>,
    ) -> Result<Found, ReadError> {
        let drops = self.drops();
        let mut unreachable = BTreeSet::new();
        if search.partial {
            let all = shards.iter().map(|(shard, _)| *shard).collect();
            unreachable = self.unreadable(all, search.patience()).await;
            shards.retain(|(shard, _)| !unreachable.contains(&number(shard)));
        } else {
            let all: Vec<_> = shards.iter().map(|(shard, _)| *shard).collect();
            self.barrier(&all, search.deadline).await?;
        }
        // Pending orders about which other nodes were asked.
        let mut known = HashMap::<OrderId, Arc<Order>>::new();
        for _ in 0..TRIES_MAX {
            let unknown = Mutex::new(Vec::new());
            let shown = |order: Arc<Order>| {
                self.confirmed(order)
                    .unwrap_or_else(|order| match known.get(&order.id) {
                        Some(known) => Arc::clone(known),
                        None => {
                            unknown.lock().push(Arc::clone(&order));
                            order
                        }
                    })
            };
            let before = self.restores();
            let states = shards.iter().map(|(shard, below)| (&**shard.committed(), *below));
            let mut listing = Listing::new(states.collect(), search.filter, search.limit, &shown);
            while !listing.step() {
                // Others have their turn.
                tokio::task::yield_now().await;
            }
            let mut found = listing.found();
            if before.is_none() || before != self.restores() {
                tokio::time::sleep(RESTORED_AGAIN).await;
                continue;
            }
            self.nothing_dropped_since(drops)?;
            let unknown = unknown.into_inner();
            if unknown.is_empty() {
                // Behind memory: what left that meanwhile is in both, and nothing is in neither.
                found = self.with_archived(found, &shards, search, before).await?;
                self.nothing_dropped_since(drops)?;
                found.unreachable = unreachable.into_iter().collect();
                return Ok(found.bounded());
            }
            let asked = Box::pin(self.ask_about(unknown, search, &mut unreachable)).await?;
            known.extend(asked.into_iter().map(|order| (order.id, order)));
        }
        // They change faster than they are listed.
        Err(ReadError::NotLeader { leader: None })
    }

    /// What was found in memory, with what the archives of these shards have, where no state was replaced since (`restores`, from before memory
    /// was looked at).
    async fn with_archived(
        &self,
        found: Found,
        shards: &[Below<'_>],
        search: Search<'_>,
        restores: Option<u64>,
    ) -> Result<Found, ReadError> {
        let is_used = |(shard, _): &&Below<'_>| shard.committed().archive.count() > 0;
        let shards: Vec<_> = shards
            .iter()
            .filter(is_used)
            .map(|(shard, below)| (Arc::clone(shard.committed()), *below))
            .collect();
        // Of what is in an archive nothing is to come, and so nothing is planned.
        if shards.is_empty() || search.filter.planned_before.is_some() {
            return match restores == self.restores() {
                true => Ok(found),
                false => Err(ReadError::NotLeader { leader: None }),
            };
        }
        // Below that the page does not go.
        let (filter, limit, from) = (search.filter.clone(), search.limit, found.next);
        let read = move || archive::newest(&shards, &filter, from, limit, LIST_ROWS_MAX);
        let archived = self.archives().read(read).await.map_err(unread)?;
        if restores.is_none() || restores != self.restores() {
            return Err(ReadError::NotLeader { leader: None });
        }
        Ok(merge(vec![found, archived], search.limit))
    }

    /// Orders of a shard that are not in memory, where that was looked into behind `as_of`: those that are in its archive, in no order.
    ///
    /// # Errors
    /// It cannot be read, or its state was replaced since.
    pub(crate) async fn archived_orders(
        &self,
        shard: &Arc<Shard>,
        ids: Vec<OrderId>,
        as_of: AsOf,
    ) -> Result<Vec<Arc<Order>>, ReadError> {
        let found = self
            .archives()
            .named(shard.committed(), ids)
            .await
            .map_err(unread)?;
        // While a state is replaced, its archive counts for nothing.
        match shard.committed().is_steady_since(as_of) {
            true => Ok(found),
            false => Err(ReadError::NotLeader { leader: None }),
        }
    }

    /// Pending orders as their caller is told of them. Where it cannot be known what is reserved for one, and that may be left out, it is
    /// told of as pending, and the shard that does not say is named.
    async fn ask_about(
        &self,
        orders: Vec<Arc<Order>>,
        search: Search<'_>,
        unreachable: &mut BTreeSet<u16>,
    ) -> Result<Vec<Arc<Order>>, ReadError> {
        let asked = self.confirmed_elsewhere(orders.clone(), search.patience());
        let error = match asked.await {
            Ok(told) => return Ok(told),
            Err(error) if !search.partial => return Err(error),
            Err(error) => error,
        };
        let items_of = |order: &Order| {
            let items = order.lines.iter().map(|line| self.of_key(line.sku.as_str()));
            items.map(number).collect::<BTreeSet<_>>()
        };
        let items: BTreeSet<u16> = orders.iter().flat_map(|order| items_of(order)).collect();
        let items = items.iter().filter_map(|at| self.shards.get(usize::from(*at)));
        let silent = self.unreadable(items.collect(), search.patience()).await;
        if silent.is_empty() {
            return Err(error);
        }
        let (mut told, askable): (Vec<_>, Vec<_>) = orders
            .into_iter()
            .partition(|order| !items_of(order).is_disjoint(&silent));
        if !askable.is_empty() {
            told.extend(self.confirmed_elsewhere(askable, search.patience()).await?);
        }
        unreachable.extend(silent);
        Ok(told)
    }

    /// Which of these shards cannot be read here until then.
    async fn unreadable(&self, shards: Vec<&Arc<Shard>>, until: Instant) -> BTreeSet<u16> {
        let looks = shards.into_iter().map(|shard| async move {
            let barrier = self.node().read_barrier([shard.group().id()], until);
            let passed = tokio::time::timeout_at(until.into(), barrier).await;
            (!matches!(passed, Ok(Ok(())))).then(|| number(shard))
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// What is found in shards that have no replica here, by who leads them.
    async fn orders_elsewhere(
        &self,
        shards: Vec<Below<'_>>,
        search: Search<'_>,
    ) -> Result<Vec<Found>, ReadError> {
        let mut pages = Vec::new();
        let mut together = BTreeMap::<(NodeId, OrderId), Vec<u16>>::new();
        for (shard, below) in shards {
            match self.leader_of(shard, search.patience()).await {
                Ok(node) => together.entry((node, below)).or_default().push(number(shard)),
                Err(_) if search.partial => pages.push(without(number(shard))),
                Err(error) => return Err(error),
            }
        }
        let asked = together.into_iter().map(|((node, below), shards)| async move {
            let what = PageOf::Orders {
                filter: search.filter.clone(),
                before: Some(below),
                limit: search.limit,
                partial: search.partial,
            };
            let page = self.page_of(node, shards.clone(), what.clone(), search.patience());
            let error = match page.await {
                Ok(page) => return Ok(vec![Found::from(page)]),
                Err(error) => error,
            };
            if !search.partial {
                return Err(error);
            }
            if let [shard] = shards[..] {
                return Ok(vec![without(shard)]);
            }
            // It may be one of them.
            let each = shards.into_iter().map(|shard| {
                let page = self.page_of(node, vec![shard], what.clone(), search.patience());
                async move { page.await.map_or_else(|_| without(shard), Found::from) }
            });
            Ok(join_all(each).await)
        });
        let asked = futures::future::try_join_all(asked).await?;
        pages.extend(asked.into_iter().flatten());
        Ok(pages)
    }

    /// Shards that can be read here, and others.
    fn by_replica<'a>(&self, shards: Vec<Below<'a>>) -> (Vec<Below<'a>>, Vec<Below<'a>>) {
        if !self.node().has_peers() {
            return (shards, Vec::new());
        }
        let is_here = |(shard, _): &Below<'_>| self.node().has_replica(shard.group().id());
        shards.into_iter().partition(is_here)
    }
}

impl From<Page> for Found {
    fn from(page: Page) -> Self {
        Self {
            orders: page.orders.into_iter().map(Arc::new).collect(),
            next: page.next,
            unreachable: page.unreachable,
        }
    }
}

/// Nothing, since this shard cannot be read.
fn without(shard: u16) -> Found {
    Found {
        unreachable: vec![shard],
        ..Found::default()
    }
}

/// The archive cannot be read here: whoever asks is told that the shard cannot be.
fn unread(error: Unreadable) -> ReadError {
    tracing::error!(%error, "the archive cannot be read");
    ReadError::Stopped {
        reason: error.to_string().into(),
    }
}

fn number(shard: &Arc<Shard>) -> u16 {
    ShardId::number(shard.id())
}

/// What was found together. What lies below where the least thorough of them stopped looking is left for the next page.
fn merge(pages: Vec<Found>, limit: usize) -> Found {
    let stopped = pages.iter().filter_map(|page| page.next).max();
    let unreachable = pages.iter().flat_map(|page| page.unreachable.iter().copied());
    let unreachable = unreachable.collect();
    let mut orders: Vec<_> = pages.into_iter().flat_map(|page| page.orders).collect();
    orders.sort_by_key(|order| std::cmp::Reverse(order.id));
    // What left memory for the archive meanwhile.
    orders.dedup_by_key(|order| order.id);
    if let Some(stopped) = stopped {
        orders.retain(|order| order.id >= stopped);
    }
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next = match orders.last() {
        Some(last) if more => Some(last.id),
        _ => stopped,
    };
    Found {
        orders,
        next,
        unreachable,
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Amount, CustomerId, Line, OrderEvent, Quantity, Sku, Time};

    use super::*;

    fn page(ids: &[u128], next: Option<u128>) -> Found {
        let order = |id: &u128| {
            let placed = OrderEvent::Placed {
                customer: CustomerId::new("ada").unwrap(),
                currency: "EUR".parse().unwrap(),
                lines: Arc::new([Line {
                    sku: Sku::new("tea").unwrap(),
                    quantity: Quantity(1),
                    unit_price: Amount(1),
                }]),
                provider: None,
            };
            Arc::new(Order::create(OrderId(*id), &placed, Time(1)).unwrap())
        };
        Found {
            orders: ids.iter().map(order).collect(),
            next: next.map(OrderId),
            unreachable: Vec::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_page_is_of_the_memory_of_one_state_and_the_archive_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (docket, order) = crate::shop::shop(crate::Options::new(dir.path())).await;
        let router = docket.inner.router.clone();
        let shard = router.of_key(order.customer.as_str());
        let (filter, before) = (OrderFilter::default(), router.restores());
        let search = Search {
            filter: &filter,
            limit: 10,
            partial: false,
            deadline: Instant::now() + Duration::from_secs(5),
        };
        let shards = [(shard, OrderId(u128::MAX))];
        let page = || router.with_archived(page(&[], None), &shards, search, before);
        assert!(page().await.is_ok());
        // Between memory and the archive.
        shard.committed().begin_anew();
        assert!(page().await.is_err());
        docket.close(Duration::from_secs(10)).await.unwrap();
    }

    #[test]
    fn a_page_of_several_has_nothing_that_one_of_them_has_not_looked_at_yet() {
        let check = |pages: Vec<Found>, limit: usize, ids: &[u128], next: Option<u128>| {
            let merged = merge(pages, limit);
            let found: Vec<u128> = merged.orders.iter().map(|order| order.id.0).collect();
            assert_eq!((&found[..], merged.next), (ids, next.map(OrderId)));
        };
        check(
            vec![page(&[9, 5], None), page(&[8, 2], None)],
            10,
            &[9, 8, 5, 2],
            None,
        );
        // The first has looked down to 5 only.
        check(
            vec![page(&[9, 5], Some(5)), page(&[8, 2], None)],
            10,
            &[9, 8, 5],
            Some(5),
        );
        check(
            vec![page(&[9, 5], Some(5)), page(&[8, 2], None)],
            2,
            &[9, 8],
            Some(8),
        );
        check(vec![page(&[], Some(7)), page(&[8, 2], None)], 2, &[8], Some(7));
        check(vec![page(&[], None), page(&[], None)], 2, &[], None);
    }
}

//! Lists over all shards: of those that have a replica here from here, and of the others from who leads them.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::{Lane, Leader, NodeId, ReadError, ShardId};
use docket_engine::{Customer, CustomerId, Item, Order, OrderId, Sku};
use docket_proto::peer_call::{Page, PageAsk, PageOf, kind};
use futures::future::try_join_all;
use parking_lot::Mutex;

use crate::{
    listing::{ListOrders, Listing, OrderPage},
    shard::{Router, Shard},
};

/// How often a page is gathered anew, because orders came into it about which other nodes had to be asked.
const TRIES_MAX: u32 = 8;
/// When a page is gathered again that met a shard whose state was being replaced.
const RESTORED_AGAIN: Duration = Duration::from_millis(50);

/// Customers, or items, in the order of their ids.
#[derive(Default)]
pub(crate) struct Behind {
    pub(crate) customers: Vec<Arc<Customer>>,
    pub(crate) items: Vec<Arc<Item>>,
}

impl Router {
    /// A page of orders of these shards, newest first.
    ///
    /// # Errors
    /// A shard that cannot be read now.
    pub(crate) async fn list_orders(
        &self,
        shards: Vec<&Arc<Shard>>,
        query: &ListOrders,
        deadline: Instant,
    ) -> Result<OrderPage, ReadError> {
        let (here, elsewhere) = self.by_replica(shards);
        if elsewhere.is_empty() {
            return self.orders_here(&here, query, deadline).await;
        }
        let what = PageOf::Orders {
            customer: query.customer.clone(),
            states: query.states.clone(),
            before: query.before,
            limit: query.limit,
        };
        let (here, elsewhere) = futures::future::try_join(
            self.orders_here(&here, query, deadline),
            self.pages_elsewhere(elsewhere, what, deadline),
        )
        .await?;
        let pages = elsewhere.into_iter().map(|page| OrderPage {
            orders: page.orders.into_iter().map(Arc::new).collect(),
            next: page.next,
        });
        Ok(merge(pages.chain([here]).collect(), query.limit).bounded())
    }

    async fn orders_here(
        &self,
        shards: &[&Arc<Shard>],
        query: &ListOrders,
        deadline: Instant,
    ) -> Result<OrderPage, ReadError> {
        let drops = self.drops();
        self.barrier(shards, deadline).await?;
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
            let states = shards.iter().map(|shard| &**shard.committed()).collect();
            let mut listing = Listing::new(states, query, &shown);
            while !listing.step() {
                // Others have their turn.
                tokio::task::yield_now().await;
            }
            let page = listing.page();
            if before.is_none() || before != self.restores() {
                tokio::time::sleep(RESTORED_AGAIN).await;
                continue;
            }
            self.nothing_dropped_since(drops)?;
            let unknown = unknown.into_inner();
            if unknown.is_empty() {
                return Ok(page.bounded());
            }
            let asked = Box::pin(self.confirmed_elsewhere(unknown, deadline)).await?;
            known.extend(asked.into_iter().map(|order| (order.id, order)));
        }
        // They change faster than they are listed.
        Err(ReadError::NotLeader { leader: None })
    }

    /// A page of customers, or of items, of these shards.
    ///
    /// # Errors
    /// A shard that cannot be read now.
    pub(crate) async fn list_behind(
        &self,
        shards: Vec<&Arc<Shard>>,
        what: PageOf,
        deadline: Instant,
    ) -> Result<Behind, ReadError> {
        let drops = self.drops();
        let (here, elsewhere) = self.by_replica(shards);
        self.barrier(&here, deadline).await?;
        let mut page = self.steadily(deadline, || behind_here(&here, &what)).await?;
        self.nothing_dropped_since(drops)?;
        if !elsewhere.is_empty() {
            for other in self.pages_elsewhere(elsewhere, what.clone(), deadline).await? {
                page.customers.extend(other.customers.into_iter().map(Arc::new));
                page.items.extend(other.items.into_iter().map(Arc::new));
            }
        }
        if let PageOf::Customers { limit, .. } | PageOf::Items { limit, .. } = what {
            page.customers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            page.items.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
            page.customers.truncate(limit);
            page.items.truncate(limit);
        }
        Ok(page)
    }

    /// Answers another node, which has no replica of these shards: this one leads them all, or the answer is an error.
    pub(crate) async fn answer_page(&self, ask: PageAsk, deadline: Instant) -> Result<Page, ReadError> {
        let not_led = ReadError::NotLeader { leader: None };
        let shards = ask
            .shards
            .iter()
            .map(|shard| self.shards.get(usize::from(*shard)));
        let shards: Option<Vec<_>> = shards.collect();
        let shards = shards.ok_or_else(|| not_led.clone())?;
        if !shards.iter().all(|shard| shard.is_leading()) {
            return Err(not_led);
        }
        match ask.what {
            PageOf::Orders {
                customer,
                states,
                before,
                limit,
            } => {
                let query = ListOrders {
                    customer,
                    states,
                    before,
                    limit,
                };
                let page = self.orders_here(&shards, &query, deadline).await?;
                Ok(Page {
                    orders: page.orders.iter().map(|order| Order::clone(order)).collect(),
                    next: page.next,
                    ..Page::default()
                })
            }
            what => {
                let drops = self.drops();
                self.barrier(&shards, deadline).await?;
                let page = self.steadily(deadline, || behind_here(&shards, &what)).await?;
                self.nothing_dropped_since(drops)?;
                Ok(Page {
                    customers: page
                        .customers
                        .iter()
                        .map(|customer| Customer::clone(customer))
                        .collect(),
                    items: page.items.iter().map(|item| Item::clone(item)).collect(),
                    ..Page::default()
                })
            }
        }
    }

    /// Pages of shards that have no replica here, from who leads them.
    async fn pages_elsewhere(
        &self,
        shards: Vec<&Arc<Shard>>,
        what: PageOf,
        deadline: Instant,
    ) -> Result<Vec<Page>, ReadError> {
        let mut by_node = BTreeMap::<NodeId, Vec<u16>>::new();
        for shard in shards {
            let leader = self.node().find_leader(shard.group().id(), deadline).await;
            let Leader::Node { node, .. } = leader else {
                return Err(ReadError::NotLeader { leader: None });
            };
            by_node.entry(node).or_default().push(ShardId::number(shard.id()));
        }
        let asked = by_node.into_iter().map(|(node, shards)| {
            let ask = PageAsk {
                shards,
                what: what.clone(),
            };
            async move {
                let answer = self
                    .node()
                    .call(node, (Lane::Request, kind::PAGE), ask.encode(), deadline)
                    .await;
                let page = answer.map(Page::decode).map_err(|error| error.to_string());
                page.and_then(|page| page.map_err(|error| error.to_string()))
                    .map_err(|error| {
                        tracing::debug!(%node, %error, "a page was not answered");
                        ReadError::NotLeader { leader: Some(node) }
                    })
            }
        });
        try_join_all(asked).await
    }

    /// Shards that can be read here, and others.
    fn by_replica<'a>(&self, shards: Vec<&'a Arc<Shard>>) -> (Vec<&'a Arc<Shard>>, Vec<&'a Arc<Shard>>) {
        if !self.node().has_peers() {
            return (shards, Vec::new());
        }
        let is_here = |shard: &&Arc<Shard>| self.node().has_replica(shard.group().id());
        shards.into_iter().partition(is_here)
    }

    /// Passes when the committed state of these shards here has all that was answered before.
    ///
    /// # Errors
    /// One cannot be read now.
    pub(crate) async fn barrier(&self, shards: &[&Arc<Shard>], deadline: Instant) -> Result<(), ReadError> {
        if !self.node().has_peers() {
            for shard in shards {
                shard.group().read_barrier().await?;
            }
            return Ok(());
        }
        let groups = shards.iter().map(|shard| shard.group().id());
        // Boxed: a node that stands alone carries none of it.
        Box::pin(self.node().read_barrier(groups, deadline)).await
    }
}

/// Customers, or items, of these shards: each one's first, unsorted.
fn behind_here(shards: &[&Arc<Shard>], what: &PageOf) -> Behind {
    let mut page = Behind::default();
    for committed in shards.iter().map(|shard| shard.committed()) {
        match what {
            PageOf::Customers { after, limit } => {
                let ids = committed.customer_ids.read();
                let found = ids.range::<CustomerId, _>((from(after.as_ref()), Bound::Unbounded));
                let found = found.filter_map(|id| committed.customers.get(id).map(|c| c.clone()));
                page.customers.extend(found.take(*limit));
            }
            PageOf::Items { after, limit } => {
                let skus = committed.skus.read();
                let found = skus.range::<Sku, _>((from(after.as_ref()), Bound::Unbounded));
                let found = found.filter_map(|sku| committed.items.get(sku).map(|i| i.clone()));
                page.items.extend(found.take(*limit));
            }
            PageOf::Orders { .. } => {}
        }
    }
    page
}

fn from<T>(after: Option<&T>) -> Bound<&T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// One page of several. What lies below where the least thorough of them stopped looking is left for the next.
fn merge(pages: Vec<OrderPage>, limit: usize) -> OrderPage {
    let stopped = pages.iter().filter_map(|page| page.next).max();
    let mut orders: Vec<_> = pages.into_iter().flat_map(|page| page.orders).collect();
    orders.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
    if let Some(stopped) = stopped {
        orders.retain(|order| order.id >= stopped);
    }
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next = match orders.last() {
        Some(last) if more => Some(last.id),
        _ => stopped,
    };
    OrderPage { orders, next }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Amount, Line, OrderEvent, Quantity, Time};

    use super::*;

    fn page(ids: &[u128], next: Option<u128>) -> OrderPage {
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
        OrderPage {
            orders: ids.iter().map(order).collect(),
            next: next.map(OrderId),
        }
    }

    #[test]
    fn a_page_of_several_has_nothing_that_one_of_them_has_not_looked_at_yet() {
        let check = |pages: Vec<OrderPage>, limit: usize, ids: &[u128], next: Option<u128>| {
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

//! Lists of customers and items over all shards: of those that have a replica here from here, and of the others from who leads them.
//! And what other nodes ask of those that are led here; lists of orders are in `order_pages`.

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Instant};

use docket_cluster::{Lane, Leader, NodeId, ReadError, ShardId};
use docket_engine::{Customer, CustomerId, Item, Order, OrderId, Sku};
use docket_proto::peer_call::{Page, PageAsk, PageOf, kind};
use futures::future::try_join_all;

use super::order_pages::Search;
use crate::{
    listing::Found,
    shard::{Router, Shard},
};

/// Customers, or items, in the order of their ids.
#[derive(Default)]
pub(crate) struct Behind {
    pub(crate) customers: Vec<Arc<Customer>>,
    pub(crate) items: Vec<Arc<Item>>,
}

impl Router {
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
        let (here, elsewhere) = self.by_replica_of(shards);
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
                filter,
                before,
                limit,
                partial,
            } => {
                let below = before.unwrap_or(OrderId(u128::MAX));
                let search = Search {
                    filter: &filter,
                    limit,
                    partial,
                    deadline,
                };
                let shards = shards.into_iter().map(|shard| (shard, below));
                let found = self.orders_here(shards.collect(), search).await?;
                Ok(Page {
                    orders: found.orders.iter().map(|order| Order::clone(order)).collect(),
                    next: found.next,
                    unreachable: found.unreachable,
                    ..Page::default()
                })
            }
            PageOf::Named(ids) => {
                let is_asked = |id: &OrderId| {
                    let home = self.of_order(*id);
                    home.is_some_and(|home| shards.iter().any(|shard| Arc::ptr_eq(shard, home)))
                };
                if !ids.iter().all(is_asked) {
                    return Err(not_led);
                }
                let orders = self.named_here(&shards, &ids, deadline).await?;
                let found = Found {
                    orders,
                    ..Found::default()
                };
                let found = found.bounded();
                Ok(Page {
                    orders: found.orders.iter().map(|order| Order::clone(order)).collect(),
                    next: found.next,
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
            let node = self.leader_of(shard, deadline).await?;
            by_node.entry(node).or_default().push(ShardId::number(shard.id()));
        }
        let asked = by_node
            .into_iter()
            .map(|(node, shards)| self.page_of(node, shards, what.clone(), deadline));
        try_join_all(asked).await
    }

    /// Who leads a shard that has no replica here.
    pub(crate) async fn leader_of(&self, shard: &Shard, deadline: Instant) -> Result<NodeId, ReadError> {
        match self.node().find_leader(shard.group().id(), deadline).await {
            Leader::Node { node, .. } => Ok(node),
            _ => Err(ReadError::NotLeader { leader: None }),
        }
    }

    /// A page of these shards from this node.
    pub(crate) async fn page_of(
        &self,
        node: NodeId,
        shards: Vec<u16>,
        what: PageOf,
        deadline: Instant,
    ) -> Result<Page, ReadError> {
        let ask = PageAsk { shards, what };
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

    /// Shards that can be read here, and others.
    fn by_replica_of<'a>(&self, shards: Vec<&'a Arc<Shard>>) -> (Vec<&'a Arc<Shard>>, Vec<&'a Arc<Shard>>) {
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
            PageOf::Orders { .. } | PageOf::Named(_) => {}
        }
    }
    page
}

fn from<T>(after: Option<&T>) -> Bound<&T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

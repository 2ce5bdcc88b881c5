//! Orders, customers and items, one by one and in lists: read from committed state behind a read check of each shard that
//! is looked at, and without an actor. A shard that is led elsewhere is read here all the same, from its replica, once that has
//! what its leader had.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::ReadError;
use docket_engine::{Customer, CustomerId, Item, Order, OrderId, Rejection, Sku};
use parking_lot::Mutex;

use super::{Docket, NO_LEADER, RETRY_AFTER, not_hidden};
use crate::{
    Call, CallError,
    listing::{ListOrders, Listing, OrderPage},
    shard::Shard,
};

/// How long a read waits for other nodes when its caller waits longer.
const READ_MAX: Duration = Duration::from_secs(5);
/// How often a page is gathered anew, because orders came into it about which other nodes had to be asked.
const PAGE_TRIES_MAX: u32 = 8;

impl Docket {
    /// An order.
    ///
    /// # Errors
    /// [`Rejection::OrderNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_order(&self, call: Call, id: OrderId) -> Result<Arc<Order>, CallError> {
        let shard = self.of_order(id)?;
        let order = self
            .read(&call, &[shard], || shard.committed().orders.get(id))
            .await?;
        let hidden = |order: &Arc<Order>| call.owner.as_ref().is_some_and(|owner| *owner != order.customer);
        let order = order.filter(|order| !hidden(order));
        let order = order.ok_or(Rejection::OrderNotFound { order: id })?;
        match self.inner.router.confirmed(order) {
            Ok(order) => Ok(order),
            Err(order) => {
                let shown = self.ask_confirmed(&call, vec![Arc::clone(&order)]).await?;
                Ok(shown.into_iter().next().unwrap_or(order))
            }
        }
    }

    /// A customer.
    ///
    /// # Errors
    /// [`Rejection::CustomerNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_customer(&self, call: Call, id: CustomerId) -> Result<Arc<Customer>, CallError> {
        not_hidden(&call, &id)?;
        let shard = self.inner.router.of_key(id.as_str());
        let look = || {
            let customer = shard.committed().customers.get(&id);
            customer.map(|customer| Arc::clone(&customer))
        };
        let customer = self.read(&call, &[shard], look).await?;
        customer.ok_or_else(|| Rejection::CustomerNotFound { customer: id }.into())
    }

    /// An item.
    ///
    /// # Errors
    /// [`Rejection::ItemNotFound`]; or why it cannot be read.
    pub async fn get_item(&self, call: Call, sku: Sku) -> Result<Arc<Item>, CallError> {
        let shard = self.inner.router.of_key(sku.as_str());
        let look = || {
            let item = shard.committed().items.get(&sku);
            item.map(|item| Arc::clone(&item))
        };
        let item = self.read(&call, &[shard], look).await?;
        item.ok_or_else(|| Rejection::ItemNotFound { line: None, sku }.into())
    }

    /// A page of orders, newest first: at most [`LIST_ROWS_MAX`](crate::LIST_ROWS_MAX) orders are looked at for it.
    ///
    /// # Errors
    /// Why they cannot be read. A customer that the caller may not see has no orders.
    pub async fn list_orders(&self, call: Call, query: ListOrders) -> Result<OrderPage, CallError> {
        if call.owner.is_some() && call.owner != query.customer {
            return Ok(OrderPage::default());
        }
        let router = &self.inner.router;
        let shards: Vec<_> = match &query.customer {
            Some(customer) => vec![router.of_key(customer.as_str())],
            None => router.shards.iter().collect(),
        };
        self.barrier(&call, &shards).await?;
        // Pending orders about which other nodes were asked.
        let mut known = HashMap::<OrderId, Arc<Order>>::new();
        for _ in 0..PAGE_TRIES_MAX {
            let unknown = Mutex::new(Vec::new());
            let shown = |order: Arc<Order>| {
                router
                    .confirmed(order)
                    .unwrap_or_else(|order| match known.get(&order.id) {
                        Some(known) => Arc::clone(known),
                        None => {
                            unknown.lock().push(Arc::clone(&order));
                            order
                        }
                    })
            };
            let before = router.restores();
            let states = shards.iter().map(|shard| &**shard.committed()).collect();
            let mut listing = Listing::new(states, &query, &shown);
            while !listing.step() {
                // Others have their turn.
                tokio::task::yield_now().await;
            }
            let page = listing.page();
            if before.is_none() || before != router.restores() {
                tokio::time::sleep(RESTORED_AGAIN).await;
                continue;
            }
            let unknown = unknown.into_inner();
            if unknown.is_empty() {
                return Ok(page);
            }
            let asked = self.ask_confirmed(&call, unknown).await?;
            known.extend(asked.into_iter().map(|order| (order.id, order)));
        }
        Err(CallError::Unavailable {
            reason: "the orders change faster than they are listed",
            retry_after: RETRY_AFTER,
        })
    }

    /// Customers in the order of their ids, after `after`.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list_customers(
        &self,
        call: Call,
        after: Option<CustomerId>,
        limit: usize,
    ) -> Result<Vec<Arc<Customer>>, CallError> {
        if let Some(owner) = call.owner.clone() {
            let is_next = after.is_none_or(|after| after < owner);
            let own = match is_next && limit > 0 {
                true => self.get_customer(call, owner).await,
                false => return Ok(Vec::new()),
            };
            return match own {
                Err(CallError::Rejected(Rejection::CustomerNotFound { .. })) => Ok(Vec::new()),
                own => own.map(|own| vec![own]),
            };
        }
        let shards: Vec<_> = self.inner.router.shards.iter().collect();
        let look = || {
            let mut customers = Vec::new();
            for committed in shards.iter().map(|shard| shard.committed()) {
                let ids = committed.customer_ids.read();
                let found = ids.range::<CustomerId, _>((from(after.as_ref()), std::ops::Bound::Unbounded));
                customers.extend(
                    found
                        .filter_map(|id| committed.customers.get(id).map(|c| c.clone()))
                        .take(limit),
                );
            }
            customers
        };
        let mut customers = self.read(&call, &shards, look).await?;
        customers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        customers.truncate(limit);
        Ok(customers)
    }

    /// Items in the order of their skus, after `after`.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list_items(
        &self,
        call: Call,
        after: Option<Sku>,
        limit: usize,
    ) -> Result<Vec<Arc<Item>>, CallError> {
        let shards: Vec<_> = self.inner.router.shards.iter().collect();
        let look = || {
            let mut items = Vec::new();
            for committed in shards.iter().map(|shard| shard.committed()) {
                let skus = committed.skus.read();
                let found = skus.range::<Sku, _>((from(after.as_ref()), std::ops::Bound::Unbounded));
                items.extend(
                    found
                        .filter_map(|sku| committed.items.get(sku).map(|i| i.clone()))
                        .take(limit),
                );
            }
            items
        };
        let mut items = self.read(&call, &shards, look).await?;
        items.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        items.truncate(limit);
        Ok(items)
    }

    /// What a look at these shards finds: all that was answered before the call, and nothing of a state that is just being replaced.
    async fn read<T>(
        &self,
        call: &Call,
        shards: &[&Arc<Shard>],
        look: impl FnMut() -> T,
    ) -> Result<T, CallError> {
        self.barrier(call, shards).await?;
        let steady = self.inner.router.steadily(read_until(call), look).await;
        steady.map_err(unreadable)
    }

    /// Passes when the committed state of these shards has all that was answered before the call.
    async fn barrier(&self, call: &Call, shards: &[&Arc<Shard>]) -> Result<(), CallError> {
        if !self.inner.node.has_peers() {
            for shard in shards {
                barrier(shard).await?;
            }
            return Ok(());
        }
        let groups = shards.iter().map(|shard| shard.group().id());
        // Boxed, as what follows of other nodes is: a node that stands alone carries none of it.
        let passed = Box::pin(self.inner.node.read_barrier(groups, read_until(call)));
        passed.await.map_err(unreadable)
    }

    /// Pending orders as their caller is told of them, where other nodes have to be asked.
    async fn ask_confirmed(
        &self,
        call: &Call,
        orders: Vec<Arc<Order>>,
    ) -> Result<Vec<Arc<Order>>, CallError> {
        let asked = self.inner.router.confirmed_elsewhere(orders, read_until(call));
        Box::pin(asked).await.map_err(unreadable)
    }
}

/// When a page is gathered again that met a shard whose state was being replaced.
const RESTORED_AGAIN: Duration = Duration::from_millis(50);

/// Until when a read waits.
fn read_until(call: &Call) -> Instant {
    let latest = Instant::now() + READ_MAX;
    call.deadline.map_or(latest, |deadline| deadline.min(latest))
}

/// Passes when this node leads the shard, and its committed state has all that was answered before.
pub(super) async fn barrier(shard: &Shard) -> Result<(), CallError> {
    shard.group().read_barrier().await.map_err(unreadable)
}

fn unreadable(error: ReadError) -> CallError {
    match error {
        ReadError::NotLeader { .. } => NO_LEADER,
        ReadError::Stopped { .. } => CallError::Unavailable {
            reason: "the shard has stopped",
            retry_after: RETRY_AFTER,
        },
    }
}

fn from<T>(after: Option<&T>) -> std::ops::Bound<&T> {
    after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded)
}

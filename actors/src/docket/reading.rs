//! Orders, customers and items, one by one and in lists: read from committed state behind a read check of each shard that
//! is looked at, and without an actor. A shard that is led elsewhere is read here all the same, from its replica, once that has
//! what its leader had.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::ReadError;
use docket_engine::{Customer, CustomerId, Item, Order, OrderId, OrderState, Rejection, Sku};
use docket_proto::peer_call::PageOf;

use super::{Docket, NO_LEADER, RETRY_AFTER, batch::Gathering, not_hidden, pages::Behind};
use crate::{
    Call, CallError,
    aging::CLOSING_SINCE,
    committed::AsOf,
    listing::{ListOrders, OrderBatch, OrderPage},
    shard::Shard,
};

/// Since which version of the peer protocol a node knows every condition of a list, and orders by their ids.
const LISTS_SINCE: u32 = 5;
/// How long a read waits for other nodes when its caller waits longer.
const READ_MAX: Duration = Duration::from_secs(5);

impl Docket {
    /// An order.
    ///
    /// # Errors
    /// [`Rejection::OrderNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_order(&self, call: Call, id: OrderId) -> Result<Arc<Order>, CallError> {
        let shard = self.of_order(id)?;
        let mut as_of = shard.committed().as_of();
        let look = || {
            as_of = shard.committed().as_of();
            shard.committed().orders.get(id)
        };
        let order = self.read(&call, &[shard], look).await?;
        let order = match order {
            None => self.archived_order(shard, id, as_of).await?,
            order => order,
        };
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

    /// An order that is not in memory, where that was looked into behind `as_of`, if it is in its shard's archive. Nothing in there changes, so that
    /// what is found is right.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) async fn archived_order(
        &self,
        shard: &Arc<Shard>,
        id: OrderId,
        as_of: AsOf,
    ) -> Result<Option<Arc<Order>>, CallError> {
        let found = self.inner.router.archived_orders(shard, vec![id], as_of).await;
        Ok(found.map_err(unreadable)?.pop())
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
        if call.owner.is_some() && call.owner != query.filter.customer {
            return Ok(OrderPage::default());
        }
        let router = &self.inner.router;
        let shards: Vec<_> = match &query.filter.customer {
            Some(customer) => vec![router.of_key(customer.as_str())],
            None => router.shards.iter().collect(),
        };
        // Who leads what is not here may not know these conditions.
        if query.filter.is_detailed() && self.asks_others_before(LISTS_SINCE, &shards) {
            return Err(CallError::OlderNodes);
        }
        // Nor this state.
        if query.filter.states.contains(&OrderState::Closed)
            && self.asks_others_before(CLOSING_SINCE, &shards)
        {
            return Err(CallError::OlderNodes);
        }
        let page = router.list_orders(shards, &query, read_until(&call)).await;
        page.map_err(unreadable)
    }

    /// Several orders, in the order of these ids: all, each as often as it is asked for.
    ///
    /// # Errors
    /// [`Rejection::OrderNotFound`] of the first that is not there, or that the caller may not see; or why they cannot be read.
    pub async fn batch_get_orders(&self, call: Call, ids: &[OrderId]) -> Result<OrderBatch, CallError> {
        let mut shards = Vec::with_capacity(ids.len());
        for id in ids {
            shards.push(self.of_order(*id)?);
        }
        if self.asks_others_before(LISTS_SINCE, &shards) {
            return Err(CallError::OlderNodes);
        }
        let until = read_until(&call);
        let mut gathering = Gathering::new(ids, call.owner.as_ref());
        loop {
            let found = self.inner.router.named_orders(gathering.missing(), until).await;
            let (orders, is_cut) = found.map_err(unreadable)?;
            if !gathering.add(orders, is_cut) {
                return gathering.batch();
            }
        }
    }

    /// Whether some of these shards are read by asking other nodes, one of which may speak an older version of the peer protocol than this.
    fn asks_others_before(&self, version: u32, shards: &[&Arc<Shard>]) -> bool {
        let node = self.inner.router.node();
        node.has_peers()
            && node.oldest_version_spoken() < version
            && shards.iter().any(|shard| !node.has_replica(shard.group().id()))
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
        let what = PageOf::Customers { after, limit };
        let page = self.list_behind(&call, what).await?;
        Ok(page.customers)
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
        let what = PageOf::Items { after, limit };
        let page = self.list_behind(&call, what).await?;
        Ok(page.items)
    }

    async fn list_behind(&self, call: &Call, what: PageOf) -> Result<Behind, CallError> {
        let router = &self.inner.router;
        let page = router
            .list_behind(router.shards.iter().collect(), what, read_until(call))
            .await;
        page.map_err(unreadable)
    }

    /// What a look at these shards finds: all that was answered before the call, and nothing of a state that is just being replaced.
    async fn read<T>(
        &self,
        call: &Call,
        shards: &[&Arc<Shard>],
        look: impl FnMut() -> T,
    ) -> Result<T, CallError> {
        let router = &self.inner.router;
        let drops = router.drops();
        router
            .barrier(shards, read_until(call))
            .await
            .map_err(unreadable)?;
        let steady = router.steadily(read_until(call), look).await;
        let found = steady.map_err(unreadable)?;
        router.nothing_dropped_since(drops).map_err(unreadable)?;
        Ok(found)
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

/// Until when a read waits.
fn read_until(call: &Call) -> Instant {
    let latest = Instant::now() + READ_MAX;
    call.deadline.map_or(latest, |deadline| deadline.min(latest))
}

/// Passes when this node leads the shard, and its committed state has all that was answered before.
pub(super) async fn barrier(shard: &Shard) -> Result<(), CallError> {
    shard.group().read_barrier().await.map_err(unreadable)
}

pub(super) fn unreadable(error: ReadError) -> CallError {
    match error {
        ReadError::NotLeader { .. } => NO_LEADER,
        ReadError::Stopped { .. } => CallError::Unavailable {
            reason: "the shard has stopped",
            retry_after: RETRY_AFTER,
        },
    }
}

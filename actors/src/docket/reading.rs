//! Orders, customers and items, one by one and in lists: read from committed state behind a read check of each shard that
//! is looked at, and without an actor.

use std::sync::Arc;

use docket_cluster::ReadError;
use docket_engine::{Customer, CustomerId, Item, Order, OrderId, Rejection, Sku};

use super::{Docket, NO_LEADER, RETRY_AFTER, not_hidden};
use crate::{
    Call, CallError,
    listing::{ListOrders, Listing, OrderPage},
    shard::Shard,
};

impl Docket {
    /// An order.
    ///
    /// # Errors
    /// [`Rejection::OrderNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_order(&self, call: Call, id: OrderId) -> Result<Arc<Order>, CallError> {
        let shard = self.of_order(id)?;
        barrier(shard).await?;
        let order = shard.committed().orders.get(id);
        order
            .map(|order| self.inner.router.confirmed(order))
            .filter(|order| call.owner.as_ref().is_none_or(|owner| *owner == order.customer))
            .ok_or_else(|| Rejection::OrderNotFound { order: id }.into())
    }

    /// A customer.
    ///
    /// # Errors
    /// [`Rejection::CustomerNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_customer(&self, call: Call, id: CustomerId) -> Result<Arc<Customer>, CallError> {
        not_hidden(&call, &id)?;
        let shard = self.inner.router.of_key(id.as_str());
        barrier(shard).await?;
        let customer = shard
            .committed()
            .customers
            .get(&id)
            .map(|customer| customer.clone());
        customer.ok_or_else(|| Rejection::CustomerNotFound { customer: id }.into())
    }

    /// An item.
    ///
    /// # Errors
    /// [`Rejection::ItemNotFound`]; or why it cannot be read.
    pub async fn get_item(&self, _call: Call, sku: Sku) -> Result<Arc<Item>, CallError> {
        let shard = self.inner.router.of_key(sku.as_str());
        barrier(shard).await?;
        let item = shard.committed().items.get(&sku).map(|item| item.clone());
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
        for shard in &shards {
            barrier(shard).await?;
        }
        let shards = shards.into_iter().map(|shard| &**shard.committed()).collect();
        let confirmed = |order| router.confirmed(order);
        let mut listing = Listing::new(shards, &query, &confirmed);
        while !listing.step() {
            // Others have their turn.
            tokio::task::yield_now().await;
        }
        Ok(listing.page())
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
        let mut customers = Vec::new();
        for shard in &self.inner.router.shards {
            barrier(shard).await?;
            let committed = shard.committed();
            let ids = committed.customer_ids.read();
            let found = ids.range::<CustomerId, _>((from(after.as_ref()), std::ops::Bound::Unbounded));
            customers.extend(
                found
                    .filter_map(|id| committed.customers.get(id).map(|c| c.clone()))
                    .take(limit),
            );
        }
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
        _call: Call,
        after: Option<Sku>,
        limit: usize,
    ) -> Result<Vec<Arc<Item>>, CallError> {
        let mut items = Vec::new();
        for shard in &self.inner.router.shards {
            barrier(shard).await?;
            let committed = shard.committed();
            let skus = committed.skus.read();
            let found = skus.range::<Sku, _>((from(after.as_ref()), std::ops::Bound::Unbounded));
            items.extend(
                found
                    .filter_map(|sku| committed.items.get(sku).map(|i| i.clone()))
                    .take(limit),
            );
        }
        items.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        items.truncate(limit);
        Ok(items)
    }
}

pub(super) async fn barrier(shard: &Shard) -> Result<(), CallError> {
    shard.group().read_barrier().await.map_err(|error| match error {
        ReadError::NotLeader { .. } => NO_LEADER,
        _ => CallError::Unavailable {
            reason: "the shard has stopped",
            retry_after: RETRY_AFTER,
        },
    })
}

fn from<T>(after: Option<&T>) -> std::ops::Bound<&T> {
    after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded)
}

//! Lists of orders, newest first, a page at a time.
//!
//! A page is gathered in steps: ids are copied out of an index under its lock, a few hundred at a time, and the orders
//! themselves are looked at without it, so that a list never holds up the log for longer than such a copy takes. The
//! smallest of the indexes is walked that have all that can be wanted: the orders in the wanted states, the customer's, those that are
//! held, those whose payment has failed. Ids begin with the time, so that of none of them more is walked than a range of time. What else is
//! wanted is looked for in the orders, [`LIST_ROWS_MAX`] a page.
//!
//! A shard that cannot be read is left out where that was asked for: the list goes on without it, and comes back to it at the end. So it
//! has two legs: the shards that were there from its begin on, newest first, and then those that were left out, newest first among
//! them, each from where it was left out.
//!
//! A pending order that is confirmed by what is committed is listed as confirmed, before the log says so
//! (`Router::confirmed`): so whoever asks for confirmed orders has the pending ones looked at too.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use docket_engine::{Order, OrderFilter, OrderId, OrderState};

use crate::{
    committed::Committed,
    order_index::newest,
    weight::{ORDERS_BYTES_MAX, weight},
};

/// The most orders that are looked at for one page. A page that ends there may be shorter than asked for, or empty, and
/// says where to go on.
pub const LIST_ROWS_MAX: usize = 8_192;
/// The fewest and the most ids that are copied under one lock.
const STEP_IDS: (usize, usize) = (64, 256);
/// Where a list goes on that is at its end but for the shards that were left out: below the lowest id.
pub const LEFT_OUT_ONLY: OrderId = OrderId(0);

/// Which orders to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct ListOrders {
    /// Only these.
    pub filter: OrderFilter,
    /// Only orders with an id below this one: [`OrderPage::next`] of the page before.
    pub before: Option<OrderId>,
    /// [`OrderPage::left_out`] of the page before.
    pub left_out: BTreeMap<u16, OrderId>,
    /// At most this many.
    pub limit: usize,
    /// Whether shards that cannot be read are left out; else the list fails there.
    pub partial: bool,
}

/// A page of orders.
#[derive(Debug, Clone, Default)]
pub struct OrderPage {
    /// Newest first.
    pub orders: Vec<Arc<Order>>,
    /// Where the next page begins: what to ask for as [`ListOrders::before`]. `None` at the end.
    pub next: Option<OrderId>,
    /// The shards to which the list comes back, and from where on.
    pub left_out: BTreeMap<u16, OrderId>,
    /// The shards that could not be read for this page, in the order of their numbers.
    pub unreachable: Vec<u16>,
}

impl OrderPage {
    /// What becomes of a list with what was found of its leg; `home` is an order's shard. What was found of a shard that is left out, since it fell silent
    /// while it was asked what is reserved, is not in the page: the list comes back to it.
    pub(crate) fn new(
        query: &ListOrders,
        leg: &[(u16, OrderId)],
        found: Found,
        home: impl Fn(OrderId) -> Option<u16>,
    ) -> Self {
        let Found {
            mut orders,
            next,
            unreachable,
        } = found;
        orders.retain(|order| home(order.id).is_none_or(|shard| !unreachable.contains(&shard)));
        let mut left_out = query.left_out.clone();
        let is_last_leg = query.before == Some(LEFT_OUT_ONLY);
        for (shard, below) in leg {
            if unreachable.contains(shard) {
                left_out.insert(*shard, *below);
            } else if is_last_leg {
                match next {
                    Some(next) => left_out.insert(*shard, next.min(*below)),
                    None => left_out.remove(shard),
                };
            }
        }
        let next = match next {
            Some(next) if !is_last_leg => Some(next),
            _ => (!left_out.is_empty()).then_some(LEFT_OUT_ONLY),
        };
        let mut unreachable = unreachable;
        unreachable.sort_unstable();
        unreachable.dedup();
        Self {
            orders,
            next,
            left_out,
            unreachable,
        }
    }
}

/// Several orders that were asked for by their ids.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderBatch {
    /// All of them, in their order.
    All(Vec<Arc<Order>>),
    /// They are more than an answer has room for.
    TooLarge {
        /// So many of the first ones would fit.
        fitting: usize,
    },
}

impl OrderBatch {
    pub(crate) fn new(orders: Vec<Arc<Order>>) -> Self {
        let mut bytes = 0;
        let passes = |order: &Arc<Order>| {
            bytes += weight(order);
            bytes > ORDERS_BYTES_MAX
        };
        match orders.iter().position(passes) {
            Some(fitting) if orders.len() > 1 => Self::TooLarge {
                fitting: fitting.max(1),
            },
            _ => Self::All(orders),
        }
    }
}

/// What was found of some shards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Newest first.
    pub(crate) orders: Vec<Arc<Order>>,
    /// Below it nothing has been looked at; `None` where all has.
    pub(crate) next: Option<OrderId>,
    /// The shards that could not be read.
    pub(crate) unreachable: Vec<u16>,
}

impl Found {
    /// The same as far as an answer has room for it: at least one order.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        let mut bytes = 0;
        let passes = |order: &Arc<Order>| {
            bytes += weight(order);
            bytes > ORDERS_BYTES_MAX
        };
        if let Some(last) = self.orders.iter().position(passes)
            && last + 1 < self.orders.len()
        {
            self.orders.truncate(last + 1);
            self.next = self.orders.last().map(|order| order.id);
        }
        self
    }
}

/// Makes of an order as it is stored what it is shown as.
pub(crate) type Shown<'a> = dyn Fn(Arc<Order>) -> Arc<Order> + Send + Sync + 'a;

/// A page that is being gathered.
pub(crate) struct Listing<'a> {
    /// The shards, and below which id each is looked at.
    shards: Vec<(&'a Committed, OrderId)>,
    filter: &'a OrderFilter,
    limit: usize,
    /// The states in which the index may have what is asked for; any when empty.
    states: Vec<OrderState>,
    /// The ids that what is asked for may have.
    ids: Range<OrderId>,
    /// What an order is shown as.
    shown: &'a Shown<'a>,
    rows_left: usize,
    found: Found,
}

impl<'a> Listing<'a> {
    /// At most `limit` orders of these shards, which are all that can have what is asked for, each below an id.
    pub(crate) fn new(
        shards: Vec<(&'a Committed, OrderId)>,
        filter: &'a OrderFilter,
        limit: usize,
        shown: &'a Shown<'a>,
    ) -> Self {
        let mut states = filter.states.clone();
        if states.contains(&OrderState::Confirmed) && !states.contains(&OrderState::Pending) {
            states.push(OrderState::Pending);
        }
        Self {
            shards,
            filter,
            limit,
            states,
            ids: filter.ids_from()..filter.ids_below().unwrap_or(OrderId(u128::MAX)),
            shown,
            rows_left: LIST_ROWS_MAX,
            found: Found::default(),
        }
    }

    /// Looks at some more orders. True when the page is complete.
    pub(crate) fn step(&mut self) -> bool {
        let (fewest, most) = STEP_IDS;
        let missing = self.limit - self.found.orders.len();
        // One more than is missing tells whether there is another page.
        let most = missing.saturating_add(1).clamp(fewest, most).min(self.rows_left);
        let rows = self.rows(most);
        let at_end = rows.len() < most;
        for (id, shard) in rows {
            let order = self.shards[shard].0.orders.get(id);
            // Whoever is not wanted whatever becomes of it is nobody to ask about.
            let order = order.filter(|order| self.filter.may_want(order)).map(self.shown);
            // It may have changed since its id was read, and an index knows only one thing of it.
            if let Some(order) = order.filter(|order| self.filter.wants(order)) {
                if self.found.orders.len() == self.limit {
                    self.found.next = Some(self.ids.end);
                    return true;
                }
                self.found.orders.push(order);
            }
            // Everything from here on has been looked at.
            self.ids.end = id;
            self.rows_left -= 1;
        }
        if !at_end && self.rows_left == 0 {
            self.found.next = Some(self.ids.end);
        }
        at_end || self.rows_left == 0
    }

    pub(crate) fn found(self) -> Found {
        self.found
    }

    /// The next rows, newest first, and in which shard each is.
    fn rows(&self, most: usize) -> Vec<(OrderId, usize)> {
        let mut rows = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let ids = self.ids(*shard, most);
            rows.extend(ids.into_iter().map(|id| (id, number)));
        }
        if self.shards.len() > 1 {
            rows.sort_unstable_by(|a, b| b.cmp(a));
            rows.truncate(most);
        }
        rows
    }

    fn ids(&self, (shard, below): (&Committed, OrderId), most: usize) -> Vec<OrderId> {
        let range = self.ids.start..self.ids.end.min(below);
        if let Some(customer) = &self.filter.customer {
            let others = shard
                .order_index
                .read()
                .narrowest(self.filter, &self.states)
                .len();
            let ids = shard.customer_orders.get(customer);
            let Some(ids) = ids else { return Vec::new() };
            if ids.len() <= others {
                return newest(&ids, &range, most).collect();
            }
        }
        let index = shard.order_index.read();
        index.narrowest(self.filter, &self.states).newest(&range, most)
    }
}

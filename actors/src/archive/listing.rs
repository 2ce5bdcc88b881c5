//! Pages of orders out of archives, newest first, over several shards.
//!
//! In steps: of each shard some of the newest that may be wanted are read, by the narrowest index that has all of them. Down to where the
//! least thorough of the shards stopped all have been seen; what lies below is left for the next step. At most so many are looked at for
//! one page, and no more bytes of them are taken than an answer has room for: one that ends there says where to go on.

use std::{ops::Range, sync::Arc};

use docket_engine::{OrderFilter, OrderId, OrderState, PaymentState};

use super::{BY_CUSTOMER, BY_STATE, Stretch, Unreadable, by_customer, by_state};
use crate::{
    committed::Committed,
    listing::Found,
    weight::{ORDERS_BYTES_MAX, weight},
};

/// The states in which orders come to an archive.
const OVER: [OrderState; 4] = [
    OrderState::Closed,
    OrderState::Cancelled,
    OrderState::Rejected,
    OrderState::Expired,
];
/// The fewest and the most orders of one step.
const STEP_ORDERS: (usize, usize) = (32, 256);
/// The fewest of one shard.
const SHARD_ORDERS_MIN: usize = 4;

/// In which states orders of an archive may be that are asked for; none, where none can be there at all.
fn states_of(filter: &OrderFilter) -> Vec<OrderState> {
    let is_asked = |state: &OrderState| filter.states.is_empty() || filter.states.contains(state);
    // What is over is held for nothing, and its payment failed only where it was refused.
    let may_be = |state: &OrderState| {
        filter.holds.is_empty()
            && (filter.payments != [PaymentState::Failed] || *state == OrderState::Rejected)
    };
    OVER.into_iter().filter(is_asked).filter(may_be).collect()
}

/// A page of what these shards have in their archives, each below an id, and from one on where that is given: at most `limit` that are asked
/// for, and at most `rows` that are looked at.
///
/// # Errors
/// One cannot be read.
pub(crate) fn newest(
    shards: &[(Arc<Committed>, OrderId)],
    filter: &OrderFilter,
    from: Option<OrderId>,
    limit: usize,
    rows: usize,
) -> Result<Found, Unreadable> {
    let states = states_of(filter);
    let shards: Vec<_> = shards
        .iter()
        .filter(|(committed, _)| committed.archive.count() > 0)
        .collect();
    let mut found = Found::default();
    if states.is_empty() || shards.is_empty() {
        return Ok(found);
    }
    let first = filter.ids_from().max(from.unwrap_or(OrderId(0)));
    let mut ids = first..filter.ids_below().unwrap_or(OrderId(u128::MAX));
    let (mut rows_left, mut bytes) = (rows, 0);
    loop {
        let (fewest, most) = STEP_ORDERS;
        let missing = (limit - found.orders.len()).saturating_add(1);
        let of_shard = missing
            .clamp(fewest, most)
            .div_ceil(shards.len())
            .max(SHARD_ORDERS_MIN);
        let mut seen = Vec::new();
        // Below it not all shards were looked at.
        let mut frontier = None;
        for (committed, below) in &shards {
            let of_it = ids.start..ids.end.min(*below);
            let Stretch { orders, until } = committed.archive.newest(filter, &states, &of_it, of_shard)?;
            seen.extend(orders);
            frontier = frontier.max(until);
        }
        seen.retain(|order| Some(order.id) >= frontier);
        seen.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
        for order in seen {
            let is_wanted = filter.wants(&order);
            if rows_left == 0 || is_wanted && found.orders.len() == limit {
                found.next = Some(ids.end);
                return Ok(found);
            }
            // Everything from here on has been looked at.
            ids.end = order.id;
            rows_left -= 1;
            if is_wanted {
                bytes += weight(&order);
                found.orders.push(order);
            }
            if bytes > ORDERS_BYTES_MAX {
                found.next = Some(ids.end);
                return Ok(found);
            }
        }
        let Some(frontier) = frontier else {
            return Ok(found);
        };
        ids.end = frontier;
    }
}

impl super::OrderArchive {
    /// The newest in a range of ids that are in one of these states, as far as an index tells; about so many.
    fn newest(
        &self,
        filter: &OrderFilter,
        states: &[OrderState],
        ids: &Range<OrderId>,
        most: usize,
    ) -> Result<Stretch, Unreadable> {
        if let Some(customer) = &filter.customer {
            return self.stretch(Some((BY_CUSTOMER, &by_customer(customer))), ids, most);
        }
        let indexed: Option<Vec<_>> = states.iter().map(|state| by_state(*state)).collect();
        let Some(indexed) = indexed else {
            return self.stretch(None, ids, most);
        };
        let mut all = Stretch::default();
        for state in indexed {
            let of_state = self.stretch(Some((BY_STATE, &state)), ids, most)?;
            all.orders.extend(of_state.orders);
            all.until = all.until.max(of_state.until);
        }
        let until = all.until;
        all.orders.retain(|order| Some(order.id) >= until);
        Ok(all)
    }
}

//! Several orders by their ids, some of which other nodes have: these answer with no more than an answer has room for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use docket_engine::{CustomerId, Order, OrderId, Rejection};

use crate::{CallError, listing::OrderBatch};

/// What is known of them. A customer is told no more of another's order than of one that is not there, and so not that these are too large together
/// either: the rest is asked for until it is known whose they are.
pub(super) struct Gathering<'a> {
    ids: &'a [OrderId],
    owner: Option<&'a CustomerId>,
    missing: BTreeSet<OrderId>,
    found: HashMap<OrderId, Arc<Order>>,
    /// What is missing by now is not asked for: there is no room for it.
    is_cut: bool,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(ids: &'a [OrderId], owner: Option<&'a CustomerId>) -> Self {
        Self {
            ids,
            owner,
            missing: ids.iter().copied().collect(),
            found: HashMap::with_capacity(ids.len()),
            is_cut: false,
        }
    }

    /// Of which nothing is known yet.
    pub(super) fn missing(&self) -> &BTreeSet<OrderId> {
        &self.missing
    }

    /// Those of the missing ones that there are, as far as an answer had room for them. Whether it is to be asked again for those that are still missing.
    pub(super) fn add(&mut self, orders: Vec<Arc<Order>>, is_cut: bool) -> bool {
        let before = self.missing.len();
        for order in orders {
            self.missing.remove(&order.id);
            if self.owner.is_none_or(|owner| *owner == order.customer) {
                self.found.insert(order.id, order);
            }
        }
        // Each answer brings some of them; whoever brings others is not asked for ever.
        let asks_again = is_cut && self.missing.len() < before && self.owner.is_some();
        self.is_cut = is_cut && !asks_again;
        asks_again
    }

    /// All of them, in their order.
    pub(super) fn batch(self) -> Result<OrderBatch, CallError> {
        if self.is_cut {
            let is_found = |id: &&OrderId| self.found.contains_key(id);
            let fitting = self.ids.iter().take_while(is_found).count();
            return Ok(OrderBatch::TooLarge {
                fitting: fitting.max(1),
            });
        }
        let order = |id: &OrderId| {
            let order = self.found.get(id).cloned();
            order.ok_or(Rejection::OrderNotFound { order: *id })
        };
        let orders = self.ids.iter().map(order).collect::<Result<Vec<_>, _>>()?;
        Ok(OrderBatch::new(orders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::{id, refused};

    /// What another node answers that has room for three: in the order of their ids.
    fn gathered(ids: &[u64], owner: Option<&str>) -> Result<OrderBatch, CallError> {
        let ids: Vec<OrderId> = ids.iter().map(|number| id(*number)).collect();
        let owner = owner.map(|owner| CustomerId::new(owner).unwrap());
        let all = refused(12);
        let mut gathering = Gathering::new(&ids, owner.as_ref());
        loop {
            let missing = gathering.missing().iter();
            let mut there: Vec<_> = missing.filter_map(|id| all.orders.get(*id)).collect();
            let is_cut = there.len() > 3;
            there.truncate(3);
            if !gathering.add(there, is_cut) {
                return gathering.batch();
            }
        }
    }

    #[test]
    fn a_customer_is_not_told_how_large_the_orders_of_another_are() {
        let missing = |number| {
            let order = id(number);
            Err(CallError::Rejected(Rejection::OrderNotFound { order }))
        };
        // Ada's are 3, 6, 9 and 12. What is another's, and what is not there, is the same, wherever it stands.
        for other in [2, 4, 10, 99] {
            for ids in [[3, 6, 9, 12, other], [other, 3, 6, 9, 12], [3, other, 6, 9, 12]] {
                let found = gathered(&ids, Some("ada"));
                assert_eq!(found, missing(other), "{ids:?}");
            }
            let of_others = gathered(&[1, 4, 7, 10, other], Some("ada"));
            assert_eq!(of_others, missing(1));
        }
        let Ok(OrderBatch::All(own)) = gathered(&[12, 3, 6, 9, 3], Some("ada")) else {
            panic!("they are hers, and few");
        };
        let own: Vec<OrderId> = own.iter().map(|order| order.id).collect();
        assert_eq!(own, [12, 3, 6, 9, 3].map(id));
    }

    #[test]
    fn who_sees_all_orders_is_told_how_many_fit() {
        let fit = |fitting| Ok(OrderBatch::TooLarge { fitting });
        assert_eq!(gathered(&[1, 2, 3, 4], None), fit(3));
        assert_eq!(gathered(&[3, 1, 5, 2, 4], None), fit(2));
        assert_eq!(gathered(&[9, 1, 2, 3], None), fit(1));
    }
}

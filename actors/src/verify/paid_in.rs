//! What was ever paid in to a customer's account, as far as can be told: its balance, and what its orders took of it.
//!
//! That sum is stored nowhere, so at one look it proves nothing. But only a person can change it, and each time the customer's revision rises: a
//! customer that has the revision it had when it was verified before must have had as much paid in. So a balance that moved by what no order
//! and no person did is found by the second verification behind it, and by each one from then on until a person changes it. What one node remembers
//! of that is lost when it stops.
//!
//! Only what a whole report says is remembered, and only of shards all of whose orders were seen: else what it was before is.

use std::{collections::BTreeMap, sync::Arc};

use docket_cluster::ShardId;
use docket_engine::CustomerId;
use parking_lot::Mutex;

/// Customers of one node of which it is remembered, 60 bytes each; the balances of others are not compared.
const CUSTOMERS_MAX: usize = 500_000;

/// What was paid in to the customers of one shard, as of an entry of its log.
#[derive(Debug, Default)]
pub(super) struct PaidIn {
    pub(super) applied_index: u64,
    /// With the customer's revision.
    of: BTreeMap<CustomerId, (u64, i128)>,
}

impl PaidIn {
    pub(super) fn new(applied_index: u64) -> Self {
        Self {
            applied_index,
            of: BTreeMap::new(),
        }
    }

    /// Notes what was paid in to a customer at a revision, where there is room; how much it should be at that revision, where `before` is older
    /// and knows it. That is then what is noted.
    pub(super) fn note(
        &mut self,
        before: &Self,
        customer: CustomerId,
        (revision, paid_in): (u64, i128),
    ) -> Option<i128> {
        let known = before.of.get(&customer).filter(|(then, _)| *then == revision);
        let is_later = before.applied_index <= self.applied_index;
        let expected = known.filter(|_| is_later).map(|(_, expected)| *expected);
        if self.of.len() < CUSTOMERS_MAX {
            self.of.insert(customer, (revision, expected.unwrap_or(paid_in)));
        }
        expected
    }
}

/// What a node remembers of its last verification.
#[derive(Default)]
pub(crate) struct AllPaidIn(Mutex<BTreeMap<ShardId, Arc<PaidIn>>>);

impl AllPaidIn {
    /// What is remembered of a shard; of one that knows nothing yet, nothing.
    pub(super) fn before(&self, shard: ShardId) -> Arc<PaidIn> {
        self.0.lock().get(&shard).cloned().unwrap_or_default()
    }

    /// Remembers what was found of a shard, as far as there is room beside the others.
    pub(super) fn remember(&self, shard: ShardId, mut found: PaidIn) {
        let mut all = self.0.lock();
        all.remove(&shard);
        let others: usize = all.values().map(|of| of.of.len()).sum();
        while others + found.of.len() > CUSTOMERS_MAX && found.of.pop_last().is_some() {}
        all.insert(shard, Arc::new(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> CustomerId {
        CustomerId::new("ada").unwrap()
    }

    #[test]
    fn what_was_paid_in_is_expected_again_at_the_same_revision_alone() {
        let mut first = PaidIn::new(1);
        assert_eq!(first.note(&PaidIn::default(), ada(), (3, 100)), None);
        let all = AllPaidIn::default();
        let shard = ShardId::new(2);
        all.remember(shard, first);
        let before = all.before(shard);
        let mut next = PaidIn::new(2);
        assert_eq!(next.note(&before, ada(), (3, 90)), Some(100));
        assert_eq!(next.note(&before, ada(), (4, 90)), None);
        let other = all.before(ShardId::new(1));
        assert_eq!(next.note(&other, ada(), (3, 90)), None);
    }

    #[test]
    fn what_was_expected_is_expected_until_the_revision_changes() {
        let all = AllPaidIn::default();
        let shard = ShardId::new(2);
        for (index, revision, paid_in, expected) in [
            (1, 3, 100, None),
            (2, 3, 90, Some(100)),
            (3, 3, 90, Some(100)),
            (4, 4, 90, None),
            (5, 4, 90, Some(90)),
            // Of a state that is older than what is remembered nothing is expected.
            (2, 4, 80, None),
        ] {
            let mut found = PaidIn::new(index);
            let noted = found.note(&all.before(shard), ada(), (revision, paid_in));
            assert_eq!(noted, expected, "{index}");
            all.remember(shard, found);
        }
    }
}

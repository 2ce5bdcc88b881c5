//! What a verification tells.

use std::{collections::BTreeMap, fmt};

use docket_cluster::GroupId;

/// The most discrepancies that are told one by one; all are counted.
const DISCREPANCIES_MAX: usize = 1_000;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiscrepancyKind {
    /// An order breaks its own invariants.
    OrderInvalid,
    /// A customer does.
    CustomerInvalid,
    /// An item does.
    ItemInvalid,
    /// An order's version is not the number of the events that its state tells of, or they cannot have come in that order.
    VersionChain,
    /// What a customer has held is not the sum of what its orders hold.
    HeldSum,
    /// A customer's money was not held, released and captured as often as its orders tell.
    CustomerEvents,
    /// A customer's balance has moved by what neither its orders nor a person did.
    BalanceMoved,
    /// What an item has reserved, with what waits for it, is not the sum of its reservations.
    ReservedSum,
    /// An item has another quantity reserved for an order than the order wants.
    ReservationDiffers,
    /// An item has something reserved for an order that does not exist, or wants nothing of it.
    ReservationOrphan,
    /// More waits for an item than its order knows of, or than it has reserved.
    BackorderDiffers,
    /// Something is not in the index that it belongs in, or the other way round.
    IndexDiffers,
    /// The changes that the feed keeps of an order are not those that made it.
    FeedDiffers,
    /// Nobody sees to it that what an order has begun is ended.
    EffectWithoutOwner,
    /// An order that left memory is not in the archive, or is not what it was there.
    ArchiveDiffers,
}

impl DiscrepancyKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::OrderInvalid,
        Self::CustomerInvalid,
        Self::ItemInvalid,
        Self::VersionChain,
        Self::HeldSum,
        Self::CustomerEvents,
        Self::BalanceMoved,
        Self::ReservedSum,
        Self::ReservationDiffers,
        Self::ReservationOrphan,
        Self::BackorderDiffers,
        Self::IndexDiffers,
        Self::FeedDiffers,
        Self::EffectWithoutOwner,
        Self::ArchiveDiffers,
    ];

    /// Its name, for ever.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderInvalid => "ORDER_INVALID",
            Self::CustomerInvalid => "CUSTOMER_INVALID",
            Self::ItemInvalid => "ITEM_INVALID",
            Self::VersionChain => "VERSION_CHAIN",
            Self::HeldSum => "HELD_SUM",
            Self::CustomerEvents => "CUSTOMER_EVENTS",
            Self::BalanceMoved => "BALANCE_MOVED",
            Self::ReservedSum => "RESERVED_SUM",
            Self::ReservationDiffers => "RESERVATION_DIFFERS",
            Self::ReservationOrphan => "RESERVATION_ORPHAN",
            Self::BackorderDiffers => "BACKORDER_DIFFERS",
            Self::IndexDiffers => "INDEX_DIFFERS",
            Self::FeedDiffers => "FEED_DIFFERS",
            Self::EffectWithoutOwner => "EFFECT_WITHOUT_OWNER",
            Self::ArchiveDiffers => "ARCHIVE_DIFFERS",
        }
    }
}

impl fmt::Display for DiscrepancyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discrepancy {
    /// Of what kind.
    pub kind: DiscrepancyKind,
    /// What of: `orders/…`, `customers/…`, `items/…`, or a shard.
    pub entity: String,
    /// What does not hold.
    pub why: String,
}

/// What was looked at of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardBooks {
    /// Which.
    pub group: GroupId,
    /// Whether it was led here.
    pub led: bool,
    /// The entry of its log as of which it was looked at.
    pub applied_index: u64,
    /// Its customers.
    pub customers: u64,
    /// Its items.
    pub items: u64,
    /// Its orders that are in memory.
    pub orders: u64,
    /// And those that are in the archive.
    pub archived: u64,
    /// What its items have reserved, one for each order and item.
    pub reservations: u64,
    /// The changes of its orders that are kept.
    pub changes: u64,
}

/// A shard that was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLookedAt {
    /// Which.
    pub group: GroupId,
    /// Why.
    pub why: &'static str,
}

/// What a verification has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// What was looked at, shard by shard.
    pub shards: Vec<ShardBooks>,
    /// What was not.
    pub not_looked_at: Vec<NotLookedAt>,
    /// Orders that were half-way: pending, or with something that items were still to do.
    pub half_open: u64,
    /// Orders whose payment provider was still to be asked something.
    pub due_payments: u64,
    /// Of both, the ones whose owner is on another node, which is the one to ask about them.
    pub owned_elsewhere: u64,
    /// Customers whose balance was held against what it was when the node verified it before.
    pub balances_compared: u64,
    /// Reservations of which one side alone is on this node.
    pub unpaired: u64,
    /// Suspicions that could not be decided: they changed all the time, or a shard could not be read; and shards that are here and could not
    /// be walked.
    pub undecided: u64,
    /// What is wrong: the first thousand.
    pub discrepancies: Vec<Discrepancy>,
    /// How much is wrong.
    pub discrepancies_total: u64,
    /// How much of each kind.
    pub by_kind: BTreeMap<DiscrepancyKind, u64>,
    /// And of each shard.
    pub by_shard: BTreeMap<GroupId, BTreeMap<DiscrepancyKind, u64>>,
}

/// Why a shard is left out that is none of this node's.
pub(super) const NO_REPLICA: &str = "it has no replica on this node";

impl VerifyReport {
    /// Whether nothing is wrong, and nothing suspicious is left.
    pub fn is_clean(&self) -> bool {
        self.discrepancies_total == 0 && self.undecided == 0
    }

    pub(super) fn add(
        &mut self,
        group: GroupId,
        kind: DiscrepancyKind,
        entity: String,
        why: impl Into<String>,
    ) {
        self.discrepancies_total += 1;
        *self.by_kind.entry(kind).or_default() += 1;
        *self.by_shard.entry(group).or_default().entry(kind).or_default() += 1;
        if self.discrepancies.len() < DISCREPANCIES_MAX {
            let why = why.into();
            self.discrepancies.push(Discrepancy { kind, entity, why });
        }
    }

    pub(super) fn leave_out(&mut self, group: GroupId, why: &'static str) {
        self.not_looked_at.push(NotLookedAt { group, why });
    }

    /// Leaves a shard out that is here: nobody knows how it is.
    pub(super) fn leave_undecided(&mut self, group: GroupId, why: &'static str) {
        self.undecided += 1;
        self.leave_out(group, why);
    }

    /// Suspicions that could not be decided, without the shards that could not be walked.
    pub(super) fn undecided_suspicions(&self) -> u64 {
        let not_walked = self.not_looked_at.iter().filter(|it| it.why != NO_REPLICA);
        self.undecided.saturating_sub(not_walked.count() as u64)
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.shards.extend(other.shards);
        self.not_looked_at.extend(other.not_looked_at);
        self.half_open += other.half_open;
        self.due_payments += other.due_payments;
        self.balances_compared += other.balances_compared;
        self.owned_elsewhere += other.owned_elsewhere;
        self.unpaired += other.unpaired;
        self.undecided += other.undecided;
        self.discrepancies_total += other.discrepancies_total;
        for (kind, count) in other.by_kind {
            *self.by_kind.entry(kind).or_default() += count;
        }
        for (group, of_it) in other.by_shard {
            let found = self.by_shard.entry(group).or_default();
            for (kind, count) in of_it {
                *found.entry(kind).or_default() += count;
            }
        }
        let room = DISCREPANCIES_MAX.saturating_sub(self.discrepancies.len());
        self.discrepancies
            .extend(other.discrepancies.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_discrepancies_are_told_and_all_are_counted() {
        let mut all = VerifyReport::default();
        let group = GroupId::META;
        for _ in 0..3 {
            let mut some = VerifyReport::default();
            for n in 0..700 {
                some.add(
                    group,
                    DiscrepancyKind::HeldSum,
                    format!("customers/c{n}"),
                    "too much",
                );
            }
            all.absorb(some);
        }
        assert_eq!((all.discrepancies.len(), all.discrepancies_total), (1_000, 2_100));
        assert_eq!(all.by_kind, BTreeMap::from([(DiscrepancyKind::HeldSum, 2_100)]));
        assert_eq!(all.by_shard, BTreeMap::from([(group, all.by_kind.clone())]));
        assert!(!all.is_clean() && VerifyReport::default().is_clean());
    }

    #[test]
    fn names_are_the_kinds_in_capitals() {
        for kind in DiscrepancyKind::ALL {
            let letters = kind.as_str().replace('_', "").to_lowercase();
            assert_eq!(letters, format!("{kind:?}").to_lowercase());
        }
    }
}

//! The ring: keys hash to slots, and each shard owns an arc of slots.
//!
//! The number of slots and the hash are fixed for ever, because slots are written into ids. The number of shards is chosen when a
//! cluster is made and appears in no id, so that shards can be split without changing one.

use std::fmt;
use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Slots of the ring. Fixed for ever: ids carry slot numbers.
pub const SLOTS: u16 = 4096;

/// Seed of the slot hash: the ASCII bytes `DocketV1`, big-endian. Fixed for ever, as [`SLOTS`] is.
const SLOT_SEED: u64 = u64::from_be_bytes(*b"DocketV1");

/// A position on the ring, below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of this number, or `None` from [`SLOTS`] up.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// The slot's number, below [`SLOTS`].
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The slot of a key: XXH3-64 of its bytes with a fixed seed, modulo [`SLOTS`]. The same on every machine and in every version.
pub fn slot_of(key: &[u8]) -> Slot {
    Slot((xxh3_64_with_seed(key, SLOT_SEED) % u64::from(SLOTS)) as u16)
}

/// Numbers the shards of a cluster from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The shard of this number. Whether a cluster has it is for its [`Ring`] to say.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// The shard's number, from 0.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The Raft group that replicates this shard.
    pub fn group(self) -> GroupId {
        GroupId(u32::from(self.0) + 1)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a Raft group: 0 is the meta group, `n + 1` is shard `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group of nodes, placement, accounts, keys and settings.
    pub const META: Self = Self(0);

    /// The shard that this group replicates; `None` for the meta group.
    pub fn shard(self) -> Option<ShardId> {
        self.0
            .checked_sub(1)
            .and_then(|number| u16::try_from(number).ok())
            .map(ShardId)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard() {
            None if *self == Self::META => f.write_str("meta"),
            None => write!(f, "group-{}", self.0),
            Some(shard) => write!(f, "shard-{shard}"),
        }
    }
}

/// Which shard owns which slots: the ring cut into contiguous arcs whose lengths differ by one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    shards: u16,
}

impl Ring {
    /// A ring of this many shards; `None` unless it is from 1 to [`SLOTS`].
    pub fn new(shards: u16) -> Option<Self> {
        (1..=SLOTS).contains(&shards).then_some(Self { shards })
    }

    /// How many shards there are.
    pub fn shards(self) -> u16 {
        self.shards
    }

    /// Every shard, in the order of the ring.
    pub fn shard_ids(self) -> impl ExactSizeIterator<Item = ShardId> {
        (0..self.shards).map(ShardId)
    }

    /// The shard that owns the slot.
    pub fn shard_of(self, slot: Slot) -> ShardId {
        // The inverse of `first_slot`: the greatest shard whose first slot is not above this one.
        let shard = ((u32::from(slot.0) + 1) * u32::from(self.shards) - 1) / u32::from(SLOTS);
        ShardId(shard as u16)
    }

    /// The arc of the shard; `None` if the ring has no such shard.
    pub fn slots_of(self, shard: ShardId) -> Option<RangeInclusive<u16>> {
        (shard.0 < self.shards).then(|| self.first_slot(shard.0)..=self.first_slot(shard.0 + 1) - 1)
    }

    /// First slot of a shard, or [`SLOTS`] for the one after the last.
    fn first_slot(self, shard: u16) -> u16 {
        (u32::from(shard) * u32::from(SLOTS) / u32::from(self.shards)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with another implementation (the reference library). These numbers are in ids on disk. A change that moves one of them breaks every cluster there is.
    #[test]
    fn slots_of_known_keys_never_change() {
        for (key, slot) in [
            ("", 1237),
            ("a", 1238),
            ("customer-1", 93),
            ("customer-2", 2824),
            ("sku-000001", 284),
            ("\u{20ac}uro", 3777),
        ] {
            assert_eq!(slot_of(key.as_bytes()).number(), slot, "slot of {key:?}");
        }
    }

    #[test]
    fn arcs_cover_the_ring_in_order_and_differ_by_one_slot_at_most() {
        for shards in (1..=256).chain([1000, 4095, 4096]) {
            let ring = Ring::new(shards).unwrap();
            let mut next = 0;
            let (mut shortest, mut longest) = (SLOTS, 0);
            for shard in ring.shard_ids() {
                let arc = ring.slots_of(shard).unwrap();
                assert_eq!(
                    *arc.start(),
                    next,
                    "{shards} shards: a gap or an overlap before shard {shard}"
                );
                assert!(
                    arc.start() <= arc.end(),
                    "{shards} shards: shard {shard} owns nothing"
                );
                for number in arc.clone() {
                    assert_eq!(
                        ring.shard_of(Slot(number)),
                        shard,
                        "{shards} shards, slot {number}"
                    );
                }
                next = arc.end() + 1;
                let length = arc.end() - arc.start() + 1;
                (shortest, longest) = (shortest.min(length), longest.max(length));
            }
            assert_eq!(next, SLOTS, "{shards} shards leave slots without an owner");
            assert!(
                longest - shortest <= 1,
                "{shards} shards: arcs of {shortest} to {longest} slots"
            );
            assert_eq!(ring.slots_of(ShardId(shards)), None);
        }
    }

    #[test]
    fn a_ring_without_shards_or_with_more_shards_than_slots_does_not_exist() {
        assert_eq!(Ring::new(0), None);
        assert_eq!(Ring::new(SLOTS + 1), None);
    }

    #[test]
    fn groups_and_shards_name_each_other() {
        assert_eq!(GroupId::META.shard(), None);
        assert_eq!(ShardId(0).group(), GroupId(1));
        assert_eq!(GroupId(8).shard(), Some(ShardId(7)));
        assert_eq!(GroupId::META.to_string(), "meta");
        assert_eq!(GroupId(1).to_string(), "shard-0");
    }

    #[test]
    fn keys_spread_over_the_ring() {
        let ring = Ring::new(8).unwrap();
        let mut counts = [0_u32; 8];
        for n in 0..80_000 {
            counts[usize::from(
                ring.shard_of(slot_of(format!("customer-{n}").as_bytes()))
                    .number(),
            )] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_500..10_500).contains(count)),
            "{counts:?}"
        );
    }
}

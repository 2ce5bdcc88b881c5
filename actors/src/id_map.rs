//! A sorted map from orders to something small, in sorted chunks: hardly more than the bytes of its entries, since nearly
//! every id is put at the end. An order's id begins with its time.

use docket_engine::OrderId;

/// The most entries in one chunk.
const CHUNK_IDS: usize = 256;
/// So many chunks at the end are looked at first.
const NEAR_CHUNKS: usize = 4;

/// A sorted set of ids.
pub(crate) type IdSet = IdMap<()>;

/// A sorted map in chunks, none of which is empty.
pub(crate) struct IdMap<V> {
    chunks: Vec<Vec<(OrderId, V)>>,
    ids: usize,
    /// No id that is in it, or ever was, is higher: so that a new one is known as such without a look at any chunk.
    highest: Option<OrderId>,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            ids: 0,
            highest: None,
        }
    }
}

impl<V: Copy> IdMap<V> {
    /// Puts an id in, or another value where it is there already.
    pub(crate) fn insert(&mut self, id: OrderId, value: V) {
        if Some(id) > self.highest {
            self.highest = Some(id);
            self.ids += 1;
            return match self.chunks.last_mut() {
                Some(last) if last.len() < CHUNK_IDS => last.push((id, value)),
                _ => self.chunks.push(vec![(id, value)]),
            };
        }
        let Some(at) = self.chunk_of(id) else {
            match self.chunks.first_mut() {
                Some(first) if first.len() < CHUNK_IDS => first.insert(0, (id, value)),
                _ => self.chunks.insert(0, vec![(id, value)]),
            }
            self.ids += 1;
            return;
        };
        let chunk = &mut self.chunks[at];
        let place = match place_in(chunk, id) {
            Ok(place) => return chunk[place].1 = value,
            Err(place) => place,
        };
        self.ids += 1;
        if chunk.len() < CHUNK_IDS {
            chunk.insert(place, (id, value));
        } else if place == CHUNK_IDS {
            self.chunks.insert(at + 1, vec![(id, value)]);
        } else {
            // Ids come nearly in order: what stays in front will not grow any more, and is left as full as it can be.
            let behind = chunk.split_off(place.max(CHUNK_IDS / 2));
            chunk.insert(place, (id, value));
            self.chunks.insert(at + 1, behind);
        }
    }

    pub(crate) fn remove(&mut self, id: OrderId) {
        let Some(at) = self.chunk_of(id) else { return };
        let chunk = &mut self.chunks[at];
        let Ok(place) = place_in(chunk, id) else {
            return;
        };
        chunk.remove(place);
        self.ids -= 1;
        if chunk.is_empty() {
            self.chunks.remove(at);
        } else if chunk.len() < chunk.capacity() / 4 {
            chunk.shrink_to(chunk.len() * 2);
        }
    }

    pub(crate) fn get(&self, id: OrderId) -> Option<V> {
        if Some(id) > self.highest {
            return None;
        }
        let chunk = &self.chunks[self.chunk_of(id)?];
        place_in(chunk, id).ok().map(|place| chunk[place].1)
    }

    pub(crate) fn contains(&self, id: OrderId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.ids
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids == 0
    }

    /// All, from the lowest id up.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OrderId, V)> {
        self.chunks.iter().flatten().copied()
    }

    /// The highest id.
    pub(crate) fn last(&self) -> Option<OrderId> {
        Some(self.chunks.last()?.last()?.0)
    }

    /// Those behind this id (all, where it is `None`), from the lowest id up.
    pub(crate) fn above(&self, behind: Option<OrderId>) -> impl Iterator<Item = (OrderId, V)> {
        let is_before =
            |chunk: &Vec<(OrderId, V)>| chunk.last().is_some_and(|(last, _)| Some(*last) <= behind);
        let chunks = &self.chunks[self.chunks.partition_point(is_before)..];
        let place = chunks
            .first()
            .map_or(0, |first| first.partition_point(|(id, _)| Some(*id) <= behind));
        let (first, rest) = chunks.split_at(chunks.len().min(1));
        let first = first.iter().flat_map(move |chunk| &chunk[place..]);
        first.chain(rest.iter().flatten()).copied()
    }

    /// Ids before this one, from the highest down.
    pub(crate) fn below(&self, before: OrderId) -> impl Iterator<Item = OrderId> {
        let chunks = self.chunks.partition_point(|chunk| chunk[0].0 < before);
        let entries = self.chunks[..chunks]
            .iter()
            .rev()
            .flat_map(|chunk| chunk.iter().rev());
        entries.map(|(id, _)| *id).skip_while(move |id| *id >= before)
    }

    /// The last chunk that begins at this id or before it.
    fn chunk_of(&self, id: OrderId) -> Option<usize> {
        let begins_before = |chunk: &Vec<(OrderId, V)>| chunk[0].0 <= id;
        // Nearly always one of the last: the others, each of which is looked at somewhere else in memory, are only searched where it is not.
        let near = self.chunks.iter().rev().take(NEAR_CHUNKS).position(begins_before);
        if let Some(from_behind) = near {
            return Some(self.chunks.len() - 1 - from_behind);
        }
        let far = self.chunks.len().saturating_sub(NEAR_CHUNKS);
        self.chunks[..far].partition_point(begins_before).checked_sub(1)
    }
}

fn place_in<V>(chunk: &[(OrderId, V)], id: OrderId) -> Result<usize, usize> {
    match chunk.last() {
        Some((last, _)) if *last < id => Err(chunk.len()),
        _ => chunk.binary_search_by_key(&id, |(other, _)| *other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Ids near the end, as they come, and anywhere; enough of them for several chunks.
        #[test]
        fn a_map_of_ids_is_a_sorted_map(steps in proptest::collection::vec((any::<bool>(), 0..2_000_u128), 0..3_000)) {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            for (n, (remove, number)) in steps.iter().enumerate() {
                let id = OrderId(if n % 4 == 0 { *number } else { n as u128 * 2 + number % 8 });
                if *remove && n % 3 == 0 {
                    map.remove(id);
                    model.remove(&id);
                } else {
                    map.insert(id, n);
                    model.insert(id, n);
                }
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.is_empty(), model.is_empty());
            prop_assert_eq!(map.last(), model.keys().next_back().copied());
            prop_assert!(map.above(None).eq(map.iter()));
            prop_assert!(map.iter().eq(model.iter().map(|(id, n)| (*id, *n))));
            prop_assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_IDS).contains(&chunk.len())));
            for (_, number) in steps.iter().take(20) {
                let id = OrderId(*number);
                prop_assert_eq!(map.get(id), model.get(&id).copied());
                prop_assert_eq!(map.contains(id), model.contains_key(&id));
                prop_assert!(map.above(Some(id)).eq(model.range(OrderId(id.0 + 1)..).map(|(id, n)| (*id, *n))));
                prop_assert!(map.below(id).eq(model.range(..id).rev().map(|(id, _)| *id)));
            }
        }
    }

    #[test]
    fn ids_that_come_nearly_in_order_fill_their_chunks() {
        let mut set = IdSet::default();
        for n in 0..100_000_u128 {
            // Every third comes after its successor.
            let id = match n % 3 {
                1 => n + 1,
                2 => n - 1,
                _ => n,
            };
            set.insert(OrderId(id), ());
        }
        let room: usize = set.chunks.iter().map(Vec::capacity).sum();
        assert!(room < 110_000, "room for {room} ids");
    }

    #[test]
    fn an_entry_is_as_small_as_its_parts() {
        assert_eq!(size_of::<(OrderId, ())>(), 16);
        assert_eq!(size_of::<(OrderId, docket_engine::Quantity)>(), 24);
    }
}

//! A shard's orders by their state, each in one set of ids, so that no list of any state walks over orders of another.
//!
//! ```text
//!   pending ── confirmed ── cancelled ── rejected     every order is in exactly one
//!                          └─────── releasing ──┘     of those two, the ones that still give stock back
//! ```
//!
//! A set is a row of sorted chunks: 16 bytes an id and little more, since nearly every id is put at the end.

use docket_engine::{Order, OrderId, OrderState};

/// The most ids in one chunk of a set.
const CHUNK_IDS: usize = 256;

const STATES: [OrderState; 4] = [
    OrderState::Pending,
    OrderState::Confirmed,
    OrderState::Cancelled,
    OrderState::Rejected,
];

/// The ids of a shard's orders, by state.
#[derive(Default)]
pub(crate) struct OrderIndex {
    by_state: [IdSet; STATES.len()],
    /// Cancelled or rejected, and not settled.
    releasing: IdSet,
}

impl OrderIndex {
    /// Puts a new order in.
    pub(crate) fn insert(&mut self, order: &Order) {
        self.by_state[order.state as usize].insert(order.id);
        if is_releasing(order) {
            self.releasing.insert(order.id);
        }
    }

    /// Puts an order where it belongs now, which was in another state before.
    pub(crate) fn change(&mut self, from: OrderState, order: &Order) {
        if from != order.state {
            self.by_state[from as usize].remove(order.id);
            self.by_state[order.state as usize].insert(order.id);
        }
        if is_releasing(order) {
            self.releasing.insert(order.id);
        } else {
            self.releasing.remove(order.id);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many orders are in one of these states; in any, where none is named.
    pub(crate) fn count(&self, states: &[OrderState]) -> usize {
        self.sets(states).map(|set| set.ids).sum()
    }

    /// The newest orders before this one in these states (in any, where none is named), newest first, at most so many.
    pub(crate) fn below(&self, states: &[OrderState], before: OrderId, most: usize) -> Vec<OrderId> {
        let mut ids = Vec::new();
        for set in self.sets(states) {
            ids.extend(set.below(before).take(most));
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.truncate(most);
        ids
    }

    /// Orders that are not settled.
    pub(crate) fn open(&self) -> impl Iterator<Item = OrderId> {
        let pending = &self.by_state[OrderState::Pending as usize];
        pending.iter().chain(self.releasing.iter())
    }

    /// How many orders are not settled.
    pub(crate) fn open_len(&self) -> usize {
        self.by_state[OrderState::Pending as usize].ids + self.releasing.ids
    }

    /// Whether an order is exactly where it belongs.
    pub(crate) fn agrees_on(&self, order: &Order) -> bool {
        STATES
            .into_iter()
            .all(|state| self.by_state[state as usize].contains(order.id) == (state == order.state))
            && self.releasing.contains(order.id) == is_releasing(order)
    }

    fn sets(&self, states: &[OrderState]) -> impl Iterator<Item = &IdSet> {
        let wanted = move |state: &OrderState| states.is_empty() || states.contains(state);
        STATES
            .into_iter()
            .filter(wanted)
            .map(|state| &self.by_state[state as usize])
    }
}

fn is_releasing(order: &Order) -> bool {
    order.state != OrderState::Pending && !order.is_settled()
}

/// A sorted set of ids in chunks, none of which is empty.
#[derive(Default)]
struct IdSet {
    chunks: Vec<Vec<OrderId>>,
    ids: usize,
}

impl IdSet {
    fn insert(&mut self, id: OrderId) {
        let Some(at) = self.chunk_of(id) else {
            match self.chunks.first_mut() {
                Some(first) if first.len() < CHUNK_IDS => first.insert(0, id),
                _ => self.chunks.insert(0, vec![id]),
            }
            self.ids += 1;
            return;
        };
        let chunk = &mut self.chunks[at];
        let Err(place) = chunk.binary_search(&id) else {
            return;
        };
        self.ids += 1;
        if chunk.len() < CHUNK_IDS {
            chunk.insert(place, id);
        } else if place == CHUNK_IDS {
            self.chunks.insert(at + 1, vec![id]);
        } else {
            // Ids come nearly in order: what stays in front will not grow any more, and is left as full as it can be.
            let behind = chunk.split_off(place.max(CHUNK_IDS / 2));
            chunk.insert(place, id);
            self.chunks.insert(at + 1, behind);
        }
    }

    fn remove(&mut self, id: OrderId) {
        let Some(at) = self.chunk_of(id) else { return };
        let chunk = &mut self.chunks[at];
        let Ok(place) = chunk.binary_search(&id) else {
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

    fn contains(&self, id: OrderId) -> bool {
        self.chunk_of(id)
            .is_some_and(|at| self.chunks[at].binary_search(&id).is_ok())
    }

    fn iter(&self) -> impl Iterator<Item = OrderId> {
        self.chunks.iter().flatten().copied()
    }

    /// Ids before this one, from the highest down.
    fn below(&self, before: OrderId) -> impl Iterator<Item = OrderId> {
        let chunks = self.chunks.partition_point(|chunk| chunk[0] < before);
        let ids = self.chunks[..chunks]
            .iter()
            .rev()
            .flat_map(|chunk| chunk.iter().rev());
        ids.copied().skip_while(move |id| *id >= before)
    }

    /// The last chunk that begins at this id or before it.
    fn chunk_of(&self, id: OrderId) -> Option<usize> {
        self.chunks.partition_point(|chunk| chunk[0] <= id).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Ids near the end, as they come, and anywhere; enough of them for several chunks.
        #[test]
        fn a_set_of_ids_is_a_sorted_set(steps in proptest::collection::vec((any::<bool>(), 0..2_000_u128), 0..3_000)) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for (n, (remove, number)) in steps.iter().enumerate() {
                let id = OrderId(if n % 4 == 0 { *number } else { n as u128 * 2 + number % 8 });
                if *remove && n % 3 == 0 {
                    set.remove(id);
                    model.remove(&id);
                } else {
                    set.insert(id);
                    model.insert(id);
                }
            }
            prop_assert_eq!(set.ids, model.len());
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.chunks.iter().all(|chunk| (1..=CHUNK_IDS).contains(&chunk.len())));
            for (_, number) in steps.iter().take(20) {
                let id = OrderId(*number);
                prop_assert_eq!(set.contains(id), model.contains(&id));
                prop_assert!(set.below(id).eq(model.range(..id).rev().copied()));
            }
        }
    }

    #[test]
    fn ids_that_come_nearly_in_order_fill_their_chunks() {
        let mut set = IdSet::default();
        for n in 0..100_000_u128 {
            // Every third comes after its successor.
            set.insert(OrderId(match n % 3 {
                1 => n + 1,
                2 => n - 1,
                _ => n,
            }));
        }
        let room: usize = set.chunks.iter().map(Vec::capacity).sum();
        assert!(room < 110_000, "room for {room} ids");
    }
}

//! Orders of earlier rounds that are remembered, so that somebody can ask for them for as long as the run is.

use std::sync::Arc;

use crate::{Acknowledged, Chance, Ledger, Workload};

/// Orders that are remembered. When there are so many, each new one takes the place of any.
const REMEMBERED_MAX: usize = 512;
/// Orders of a round that are remembered.
const EACH_ROUND: usize = 32;

/// An order that was checked.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Says what it asked for.
    pub workload: Arc<Workload>,
    /// The order.
    pub order: Acknowledged,
    /// Whether it was cancelled.
    pub cancelled: bool,
}

/// Orders of all earlier rounds, some of them.
#[derive(Clone, Debug, Default)]
pub struct Memory(Vec<Remembered>);

impl Memory {
    /// Remembers some of a round's orders, but none that is somebody else's (`others`).
    pub fn keep(
        &mut self,
        workload: &Arc<Workload>,
        ledger: &Ledger,
        cancelled: impl Fn(u64) -> bool,
        others: impl Fn(u64) -> bool,
        chance: &mut Chance,
    ) {
        let orders = &ledger.acknowledged;
        for _ in 0..EACH_ROUND.min(orders.len()) {
            let order = orders[chance.below(orders.len() as u64) as usize];
            let remembered = Remembered {
                workload: Arc::clone(workload),
                order,
                cancelled: cancelled(order.n),
            };
            // Once only: whoever cancels one must know all that is remembered of it.
            if others(order.n) || self.0.iter().any(|other| other.order == order) {
                continue;
            }
            if self.0.len() < REMEMBERED_MAX {
                self.0.push(remembered);
            } else {
                let at = chance.below(REMEMBERED_MAX as u64) as usize;
                self.0[at] = remembered;
            }
        }
    }

    /// Any of them.
    pub fn any(&mut self, chance: &mut Chance) -> Option<&mut Remembered> {
        if self.0.is_empty() {
            return None;
        }
        let at = chance.below(self.0.len() as u64) as usize;
        self.0.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    #[test]
    fn any_number_of_rounds_is_remembered_in_bounded_memory_and_no_order_twice() {
        let workload = Arc::new(Workload::new(Shape::default()).unwrap());
        let (mut memory, mut chance) = (Memory::default(), Chance::new(1, 1));
        assert!(memory.any(&mut chance).is_none());
        for round in 0..100 {
            let order = |n: u64| Acknowledged::new(&format!("orders/{n:026}"), n).unwrap();
            let ledger = Ledger {
                acknowledged: (round * 40..round * 40 + 40).map(order).collect(),
                ..Ledger::default()
            };
            memory.keep(&workload, &ledger, |n| n % 2 == 0, |n| n % 40 == 7, &mut chance);
        }
        assert_eq!(memory.0.len(), REMEMBERED_MAX);
        let mut numbers: Vec<u64> = memory.0.iter().map(|one| one.order.n).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REMEMBERED_MAX);
        assert!(memory.0.iter().all(|one| one.cancelled == (one.order.n % 2 == 0)));
        assert!(numbers.iter().all(|n| n % 40 != 7));
    }
}

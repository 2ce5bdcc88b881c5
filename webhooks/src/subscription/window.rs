//! What was taken from the feed and has no outcome yet, and how far the webhook is.

use std::collections::{HashMap, VecDeque};

use docket_engine::{
    Order, OrderId, Time,
    webhook::{DeliveryId, FeedPositions},
};

use crate::deliverer::Due;

/// Changes that were taken at once, and where the feed was behind them.
struct Batch {
    positions: FeedPositions,
    outstanding: usize,
    oldest: Option<Time>,
}

/// Batches whose changes are delivered: of each order one at a time, in their order.
#[derive(Default)]
pub(super) struct Window {
    /// What may begin.
    ready: VecDeque<(Due, Order)>,
    /// What waits for an earlier change of its order. Every order has an entry that has a change ready or in flight.
    behind: HashMap<OrderId, VecDeque<(Due, Order)>>,
    /// In which batch each change is that has no outcome.
    of: HashMap<DeliveryId, u64>,
    /// The oldest first, which has this number.
    batches: VecDeque<Batch>,
    first: u64,
    /// Behind the last batch of which all have an outcome, as have all before it; until that is recorded.
    resolved: Option<FeedPositions>,
}

impl Window {
    /// How many have no outcome.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// When the oldest of them happened.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.batches.iter().find_map(|batch| batch.oldest)
    }

    /// How far the webhook is, where that was not recorded.
    pub(super) fn resolved(&self) -> Option<FeedPositions> {
        self.resolved.clone()
    }

    /// It was recorded.
    pub(super) fn recorded(&mut self) {
        self.resolved = None;
    }

    /// Takes a batch in, which may be empty.
    pub(super) fn push(&mut self, jobs: Vec<(Due, Order)>, positions: FeedPositions) {
        let number = self.first + self.batches.len() as u64;
        let mut outstanding = 0;
        let oldest = jobs.first().map(|(due, _)| due.at);
        for job in jobs {
            let id = job.0.id;
            // The feed shows a change once; whoever shows it twice has it delivered once.
            if self.of.contains_key(&id) {
                continue;
            }
            self.of.insert(id, number);
            outstanding += 1;
            match self.behind.get_mut(&id.order) {
                Some(behind) => behind.push_back(job),
                None => {
                    self.behind.insert(id.order, VecDeque::new());
                    self.ready.push_back(job);
                }
            }
        }
        self.batches.push_back(Batch {
            positions,
            outstanding,
            oldest,
        });
        self.resolve();
    }

    /// The next that may begin.
    pub(super) fn next(&mut self) -> Option<(Due, Order)> {
        self.ready.pop_front()
    }

    /// One has an outcome.
    pub(super) fn done(&mut self, id: DeliveryId) {
        let Some(number) = self.of.remove(&id) else { return };
        let at = usize::try_from(number.saturating_sub(self.first)).ok();
        if let Some(batch) = at.and_then(|at| self.batches.get_mut(at)) {
            batch.outstanding = batch.outstanding.saturating_sub(1);
        }
        match self.behind.get_mut(&id.order).map(VecDeque::pop_front) {
            Some(Some(next)) => self.ready.push_back(next),
            _ => {
                self.behind.remove(&id.order);
            }
        }
        self.resolve();
    }

    /// Forgets all, and says what had no outcome.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = DeliveryId> + use<> {
        std::mem::take(self).of.into_keys()
    }

    fn resolve(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.outstanding == 0)
            && let Some(batch) = self.batches.pop_front()
        {
            self.first += 1;
            self.resolved = Some(batch.positions);
        }
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Amount, ChangeKind, CustomerId, Line, OrderEvent, Quantity, Sku, Version};

    use super::*;

    fn job(order: u128, version: u64) -> (Due, Order) {
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: [Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(1),
            }]
            .into(), provider: None, };
        let due = Due {
            id: id(order, version),
            kind: ChangeKind::Placed,
            at: Time(version as i64),
        };
        (due, Order::create(OrderId(order), &placed, Time(1)).unwrap())
    }

    fn id(order: u128, version: u64) -> DeliveryId {
        DeliveryId {
            order: OrderId(order),
            version: Version(version),
        }
    }

    fn at(index: u64) -> FeedPositions {
        FeedPositions([(index, 0)].into())
    }

    fn next(window: &mut Window) -> Option<DeliveryId> {
        window.next().map(|(due, _)| due.id)
    }

    #[test]
    fn changes_of_one_order_are_delivered_one_after_the_other_and_others_beside() {
        let mut window = Window::default();
        window.push(vec![job(1, 1), job(2, 1), job(1, 2)], at(5));
        window.push(vec![job(1, 3)], at(6));
        assert_eq!(
            [next(&mut window), next(&mut window), next(&mut window)],
            [Some(id(1, 1)), Some(id(2, 1)), None]
        );
        window.done(id(1, 1));
        assert_eq!([next(&mut window), next(&mut window)], [Some(id(1, 2)), None]);
        window.done(id(1, 2));
        assert_eq!(next(&mut window), Some(id(1, 3)));
        assert_eq!((window.len(), window.oldest()), (2, Some(Time(1))));
    }

    #[test]
    fn the_position_moves_behind_batches_that_are_done_in_their_order() {
        let mut window = Window::default();
        window.push(Vec::new(), at(4));
        assert_eq!(window.resolved(), Some(at(4)));
        window.recorded();
        window.push(vec![job(1, 1), job(2, 1)], at(5));
        window.push(vec![job(3, 1)], at(6));
        window.push(Vec::new(), at(7));
        window.done(id(3, 1));
        window.done(id(1, 1));
        assert_eq!(window.resolved(), None);
        window.done(id(2, 1));
        assert_eq!(window.resolved(), Some(at(7)));
        // What is not there has no outcome.
        window.done(id(9, 9));
        window.recorded();
        window.push(vec![job(1, 2)], at(8));
        assert_eq!(window.clear().collect::<Vec<_>>(), [id(1, 2)]);
        assert_eq!((window.len(), window.resolved()), (0, None));
    }
}

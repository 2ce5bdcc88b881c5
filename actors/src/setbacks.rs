//! Orders that cannot go on because an actor they need panics over them: taken up again later, and later each time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use docket_engine::OrderId;
use parking_lot::Mutex;

/// How long an order waits after its first setback; twice as long after each further one.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// The longest that it waits.
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// The orders of a shard that had setbacks. Each is open, so that their number is bounded as that of open orders is.
#[derive(Default)]
pub(crate) struct Setbacks {
    orders: Mutex<BTreeMap<OrderId, Setback>>,
}

struct Setback {
    wait: Duration,
    until: Instant,
}

impl Setbacks {
    /// Notes that an order could not go on.
    pub(crate) fn note(&self, id: OrderId, now: Instant) {
        let mut orders = self.orders.lock();
        let wait = orders
            .get(&id)
            .map_or(WAIT_MIN, |last| (last.wait * 2).min(WAIT_MAX));
        let until = now + wait;
        orders.insert(id, Setback { wait, until });
    }

    /// Whether an order is still to wait.
    pub(crate) fn holds_up(&self, id: OrderId, now: Instant) -> bool {
        self.orders.lock().get(&id).is_some_and(|last| now < last.until)
    }

    /// Forgets the orders that are not open any more.
    pub(crate) fn keep(&self, mut is_open: impl FnMut(OrderId) -> bool) {
        self.orders.lock().retain(|id, _| is_open(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_waits_twice_as_long_each_time_up_to_a_bound_and_others_do_not() {
        let setbacks = Setbacks::default();
        let (id, other, mut now) = (OrderId(1), OrderId(2), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            setbacks.note(id, now);
            let began = now;
            while setbacks.holds_up(id, now) {
                now += Duration::from_secs(1);
            }
            waits.push((now - began).as_secs());
            assert!(!setbacks.holds_up(other, began));
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
        setbacks.keep(|open| open != id);
        setbacks.note(id, now);
        assert!(!setbacks.holds_up(id, now + WAIT_MIN));
    }
}

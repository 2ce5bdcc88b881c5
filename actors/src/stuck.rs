//! Orders that wait for longer than they ever should, of the shards that are led here: a person is to look.
//!
//! An order waits for its items for milliseconds and for its provider for seconds. Ids begin with their time, so that the oldest of a state
//! are the first of its set, and nobody has to walk the others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use docket_cluster::clock::wall_clock;
use docket_engine::{OrderId, OrderState};
use metrics::{Unit, describe_gauge, gauge};

use crate::docket::Inner;

/// In which states an order waits, what they are called, and for how long it does when all is well.
const WAITS: [(OrderState, &str, Duration); 2] = [
    (OrderState::Pending, "pending", Duration::from_secs(60)),
    (OrderState::Authorizing, "authorizing", Duration::from_secs(300)),
];

/// So many are counted of a shard; that there are more makes no difference to anybody.
const COUNTED_MAX: usize = 100_000;

const STUCK: &str = "docket_orders_stuck";
const OLDEST: &str = "docket_orders_oldest_seconds";

/// Sets the gauges.
pub(crate) fn measure(inner: &Inner) {
    let now = wall_clock();
    for (state, name, patience) in WAITS {
        let below = first_of(now.checked_sub(patience).unwrap_or(UNIX_EPOCH));
        let (mut stuck, mut oldest) = (0, None::<OrderId>);
        for shard in inner.router.shards.iter().filter(|shard| shard.is_leading()) {
            let (older, first) = shard
                .committed()
                .order_index
                .read()
                .waiting(state, below, COUNTED_MAX);
            stuck += older;
            oldest = oldest.into_iter().chain(first).min();
        }
        gauge!(STUCK, "state" => name).set(stuck as f64);
        let age = oldest.map_or(Duration::ZERO, |id| age(id, now));
        gauge!(OLDEST, "state" => name).set(age.as_secs_f64());
    }
}

/// The lowest id of a time.
fn first_of(time: SystemTime) -> OrderId {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    OrderId::compose(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), 0, 0)
}

/// How long ago an id was chosen; nothing where that is still to come, since a clock was set back.
fn age(id: OrderId, now: SystemTime) -> Duration {
    let chosen = UNIX_EPOCH.checked_add(Duration::from_millis(id.time_ms()));
    let age = chosen.and_then(|chosen| now.duration_since(chosen).ok());
    age.unwrap_or_default()
}

/// Describes what is measured here.
pub(crate) fn describe_metrics() {
    describe_gauge!(
        STUCK,
        Unit::Count,
        "Orders of shards led here that have been pending for a minute, or whose payment has not been authorised for five, by state."
    );
    describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "Age of the oldest order of shards led here that is pending or whose payment is to be authorised, by state; 0 without one."
    );
}

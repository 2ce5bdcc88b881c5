//! What time it is.

use std::{sync::Arc, time::UNIX_EPOCH};

use docket_actors::wall_clock;
use docket_engine::Time;

/// A clock that can be another in tests. Cloning it is cheap.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Time + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
            Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that shows what this function returns.
    pub fn new(now: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Microseconds since 1970.
    pub fn now(&self) -> Time {
        (self.0)()
    }
}

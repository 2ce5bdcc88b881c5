//! What the environment says about how much a run does, and with which seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// The number in a variable of the environment; none where it is not set.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// `DOCKET_SEED`, or one that is drawn. Whoever uses it prints it.
pub fn seed() -> u64 {
    number("DOCKET_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000
    })
}

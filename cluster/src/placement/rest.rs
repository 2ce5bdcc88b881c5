//! For how long nothing has moved in the cluster, as the leader of the meta group sees it.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::LEADS_EVERY_MS;

/// Since when the registry is as it is.
#[derive(Default)]
pub(super) struct Rest {
    /// The version, and from when on it counts as having been at rest.
    since: Option<(u64, Instant)>,
}

impl Rest {
    /// Whether it has been `quiet`, and at this version, for so long.
    pub(super) fn is_long(&mut self, quiet: bool, version: u64, after: Duration) -> bool {
        if !quiet {
            self.since = None;
            return false;
        }
        match self.since {
            Some((seen, since)) if seen == version => since.elapsed() >= after,
            _ => {
                self.since = Some((version, Instant::now()));
                after.is_zero()
            }
        }
    }

    /// What was changed since was the doing of whoever waited: the next step need not wait as long again.
    pub(super) fn go_on(&mut self, version: u64, after: Duration) {
        let every = Duration::from_millis(LEADS_EVERY_MS).min(after);
        let now = Instant::now();
        let since = now.checked_sub(after.saturating_sub(every)).unwrap_or(now);
        self.since = Some((version, since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn whatever_moves_begins_the_rest_anew_but_what_it_was_waited_for() {
        let mut rest = Rest::default();
        tokio::time::advance(2 * AFTER).await;
        assert!(!rest.is_long(true, 1, AFTER));
        tokio::time::advance(AFTER / 2).await;
        assert!(!rest.is_long(true, 2, AFTER), "the registry changed");
        tokio::time::advance(AFTER / 2).await;
        assert!(!rest.is_long(true, 2, AFTER));
        tokio::time::advance(AFTER / 2).await;
        assert!(rest.is_long(true, 2, AFTER));
        rest.go_on(3, AFTER);
        assert!(!rest.is_long(true, 3, AFTER), "one at a time");
        tokio::time::advance(Duration::from_millis(LEADS_EVERY_MS)).await;
        assert!(rest.is_long(true, 3, AFTER));
        assert!(!rest.is_long(false, 3, AFTER), "a node is away");
        assert!(!rest.is_long(true, 3, AFTER));
        tokio::time::advance(AFTER).await;
        assert!(rest.is_long(true, 3, AFTER));
    }
}

//! The tasks of the runtime, by what they are for: how many there are, how often and how long they are carried out, and how long they wait for a thread to do
//! it. Of a slow node it says which part of it keeps the threads busy.
//!
//! Actors are tasks of their framework's, and consensus of its own: they are in the runtime's figures, and not here. Nor is what a node does once
//! in a while for itself (samples, elections, what it sends to peers).

use std::time::Duration;

use tokio_metrics::{Instrumented, TaskMonitorCore};

/// A task that goes on longer than this holds up those that wait for its thread; one that waits longer is late.
pub const LONG: Duration = Duration::from_millis(10);

/// What tasks are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskKind {
    /// A client's connection; of REST, with its calls.
    Connection,
    /// A client's call, to its answer; a stream's, its whole life.
    Call,
    /// What places the orders of a client's stream.
    Stream,
    /// A client's watch of orders.
    Watch,
    /// A connection to the admin port.
    Admin,
    /// What puts a shard's changes into its log.
    Proposer,
    /// What tells watches of a shard's changes.
    Feed,
    /// What asks payment providers, and each time it does.
    Payments,
    /// What delivers webhooks, and each delivery.
    Webhooks,
    /// Background work: expiry, closing, archiving, verification, scrubs, backups.
    Background,
    /// A connection that a peer has made, and what it asks for.
    Peer,
}

const KINDS: [TaskKind; 11] = [
    TaskKind::Connection,
    TaskKind::Call,
    TaskKind::Stream,
    TaskKind::Watch,
    TaskKind::Admin,
    TaskKind::Proposer,
    TaskKind::Feed,
    TaskKind::Payments,
    TaskKind::Webhooks,
    TaskKind::Background,
    TaskKind::Peer,
];

static MONITORS: [TaskMonitorCore; KINDS.len()] = [const {
    TaskMonitorCore::builder()
        .with_slow_poll_threshold(LONG)
        .with_long_delay_threshold(LONG)
        .build()
}; KINDS.len()];

/// A future that is measured.
pub type Measured<F> = Instrumented<F, &'static TaskMonitorCore>;

/// What was measured of a kind of task since the process began.
#[derive(Clone, Copy, Debug)]
pub struct TaskFigures {
    /// Tasks that began.
    pub started: u64,
    /// Tasks that have not ended.
    pub alive: u64,
    /// How often one was carried out, until it waited for something or ended.
    pub polls: u64,
    /// How long that took, all of it.
    pub busy: Duration,
    /// How long they waited for a thread: when they were new, and whenever there was something to do.
    pub waited: Duration,
    /// How often one was carried out for longer than [`LONG`] at once.
    pub long_polls: u64,
    /// How often one waited longer than [`LONG`] for a thread, since it was first carried out.
    pub long_waits: u64,
}

impl TaskKind {
    /// Measures a future, which is to be a task.
    pub fn measure<F>(self, task: F) -> Measured<F> {
        self.monitor().instrument(task)
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Call => "call",
            Self::Stream => "stream",
            Self::Watch => "watch",
            Self::Admin => "admin",
            Self::Proposer => "proposer",
            Self::Feed => "feed",
            Self::Payments => "payments",
            Self::Webhooks => "webhooks",
            Self::Background => "background",
            Self::Peer => "peer",
        }
    }

    fn monitor(self) -> &'static TaskMonitorCore {
        &MONITORS[self as usize]
    }
}

/// What was measured of each kind.
pub fn task_figures() -> impl Iterator<Item = (TaskKind, TaskFigures)> {
    KINDS.into_iter().map(|kind| {
        let found = kind.monitor().cumulative();
        let figures = TaskFigures {
            started: found.instrumented_count,
            alive: found.instrumented_count.saturating_sub(found.dropped_count),
            polls: found.total_poll_count,
            busy: found.total_poll_duration,
            waited: found.total_first_poll_delay + found.total_scheduled_duration,
            long_polls: found.total_slow_poll_count,
            long_waits: found.total_long_delay_count,
        };
        (kind, figures)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_by_what_they_are_for() {
        let of = |kind| task_figures().find(|(found, _)| *found == kind).unwrap().1;
        for (at, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{}", kind.name());
        }
        // No other test of this crate delivers webhooks.
        let before = of(TaskKind::Webhooks);
        let task = tokio::spawn(TaskKind::Webhooks.measure(async {
            tokio::task::yield_now().await;
            std::thread::sleep(2 * LONG);
            std::future::pending::<()>().await;
        }));
        while of(TaskKind::Webhooks).polls < before.polls + 2 {
            tokio::task::yield_now().await;
        }
        let during = of(TaskKind::Webhooks);
        assert_eq!(
            (during.started, during.alive),
            (before.started + 1, before.alive + 1)
        );
        assert_eq!(during.long_polls, before.long_polls + 1);
        assert!(during.busy >= before.busy + 2 * LONG, "{during:?}");
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(of(TaskKind::Webhooks).alive, before.alive);
    }
}

//! Chaos on demand: an operator has this node go wrong, to see that the rest goes on.
//!
//! | fault | what goes wrong | at most |
//! |---|---|---|
//! | kill | the process is gone, as by kill -9 | – |
//! | pause | all threads that decide, hear and answer stand still | [`PAUSE_MAX`] |
//! | slow disk | each sync of the journal takes longer | [`SLOWER_MAX`] a sync, for [`FOR_MAX`] |
//! | drop peer | nothing is sent to another node, and nothing heard from it | [`FOR_MAX`] |
//!
//! What it guarantees:
//! - Nothing of this is done unless the node was opened for it ([`Options::chaos`](crate::Options)).
//! - Each fault has an end from its begin on, which a thread of its own keeps, whether anybody waits for it or not; and all end with the node.
//! - A fault of a kind that goes on is replaced by the new one, of a peer by the same one's.
//!
//! A pause is threads that sleep, and no signal: a process that is stopped by one cannot let itself go on, and a helper that should might be gone first.
//! The journal's own thread and those that read files go on with what they had; there is nobody who gives them more, or hears them.

mod faults;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use docket_cluster::{Node, NodeId};
use metrics::{counter, gauge};
use tokio::runtime::Handle;

use faults::Faults;

/// The longest that the node may stand still.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest that any other fault may go on.
pub const FOR_MAX: Duration = Duration::from_secs(5 * 60);
/// The most that a sync may be held up: less than it takes until a leader is given up.
pub const SLOWER_MAX: Duration = Duration::from_secs(1);
/// So long the answer has before the process is gone, or stands still.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);

const ENABLED: &str = "docket_chaos_enabled";
const ACTIVE: &str = "docket_chaos_active";
const BEGUN: &str = "docket_chaos_faults_total";

/// Something that is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process is gone.
    Kill,
    /// It stands still.
    Pause,
    /// Each sync takes so much longer.
    SlowDisk {
        /// By how much.
        by: Duration,
    },
    /// Another node is neither sent anything nor heard.
    DropPeer {
        /// Which.
        node: NodeId,
    },
}

impl Fault {
    /// Its name, as the command has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::SlowDisk { .. } => "slow-disk",
            Self::DropPeer { .. } => "drop-peer",
        }
    }
}

const NAMES: [&str; 4] = ["kill", "pause", "slow-disk", "drop-peer"];

/// A fault that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveFault {
    /// What goes wrong.
    pub fault: Fault,
    /// For how long it still does.
    pub left: Duration,
}

/// Why a fault is not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChaosError {
    /// The node was not opened for it.
    #[error("this node was not started for chaos: chaos.enabled is false")]
    Off,
    /// It would go on for too long, or for no time, or hold a sync up by too much.
    #[error("{what} must be more than 0, and at most {most:?}")]
    OutOfBounds {
        /// What.
        what: &'static str,
        /// The bound.
        most: Duration,
    },
    /// The node is none of this one's peers.
    #[error("node {0} is no peer of this node")]
    NoPeer(NodeId),
    /// No thread could be begun that would end it.
    #[error("nothing was begun: no thread could be that would end it")]
    NoThread,
}

/// The faults of a node.
pub struct Chaos {
    faults: Option<Faults>,
}

impl Chaos {
    pub(crate) fn new(node: Node, is_enabled: bool) -> Self {
        gauge!(ENABLED).set(f64::from(u8::from(is_enabled)));
        if !is_enabled {
            return Self { faults: None };
        }
        for name in NAMES {
            gauge!(ACTIVE, "fault" => name).set(0.0);
            counter!(BEGUN, "fault" => name).increment(0);
        }
        tracing::warn!(
            "CHAOS IS ON (chaos.enabled): an administrator may have this node be killed, stand still, be slow, or lose its peers"
        );
        Self {
            faults: Some(Faults::new(node)),
        }
    }

    /// Whether the node was opened for it.
    pub fn is_enabled(&self) -> bool {
        self.faults.is_some()
    }

    /// What goes wrong now, and for how long still.
    pub fn active(&self) -> Vec<ActiveFault> {
        self.faults.as_ref().map(Faults::active).unwrap_or_default()
    }

    /// Has something go wrong for so long, from now on; of a kill and a pause from a moment later on, so that whoever asked is answered.
    ///
    /// # Errors
    /// The node was not opened for it, or a bound is passed. Then nothing goes wrong.
    pub fn begin(&self, fault: Fault, lasts: Duration) -> Result<(), ChaosError> {
        let faults = self.faults.as_ref().ok_or(ChaosError::Off)?;
        let most = if fault == Fault::Pause { PAUSE_MAX } else { FOR_MAX };
        if fault != Fault::Kill && (lasts.is_zero() || lasts > most) {
            return Err(ChaosError::OutOfBounds {
                what: "how long",
                most,
            });
        }
        if let Fault::SlowDisk { by } = fault
            && (by.is_zero() || by > SLOWER_MAX)
        {
            let (what, most) = ("by how much", SLOWER_MAX);
            return Err(ChaosError::OutOfBounds { what, most });
        }
        let begun = match fault {
            Fault::Kill => begin_kill(),
            Fault::Pause => faults
                .note(fault, lasts + ANSWERED_WITHIN)
                .and_then(|()| begin_pause(lasts)),
            Fault::SlowDisk { .. } | Fault::DropPeer { .. } => faults.begin(fault, lasts),
        };
        if begun.is_ok() {
            tracing::warn!(
                fault = fault.name(),
                ?lasts,
                "chaos: this goes wrong since somebody asked for it"
            );
            counter!(BEGUN, "fault" => fault.name()).increment(1);
        }
        begun
    }

    /// Ends all that goes wrong; what that was.
    pub fn undo(&self) -> Vec<ActiveFault> {
        self.faults.as_ref().map(Faults::undo).unwrap_or_default()
    }
}

/// The process is gone in a moment, whatever it is at.
fn begin_kill() -> Result<(), ChaosError> {
    let kill = || {
        thread::sleep(ANSWERED_WITHIN);
        // As by a signal from outside: nothing is flushed, closed or told.
        std::process::abort();
    };
    spawn("docket-chaos-kill", kill)
}

/// In a moment each of the runtime's threads sleeps until the pause is over. What they sleep in comes from outside of them, so that each takes one.
fn begin_pause(lasts: Duration) -> Result<(), ChaosError> {
    let runtime = Handle::try_current().map_err(|_| ChaosError::NoThread)?;
    spawn("docket-chaos-pause", move || {
        thread::sleep(ANSWERED_WITHIN);
        let until = Instant::now() + lasts;
        for _ in 0..runtime.metrics().num_workers() {
            runtime.spawn(async move { thread::sleep(until.saturating_duration_since(Instant::now())) });
        }
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), ChaosError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|_| ChaosError::NoThread)
}

/// Describes what is measured of it.
pub(crate) fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(
        ENABLED,
        Unit::Count,
        "1 where the node may be asked to go wrong (`chaos.enabled`)."
    );
    describe_gauge!(
        ACTIVE,
        Unit::Count,
        "1 while something goes wrong since somebody asked for it, by what; how many peers are dropped."
    );
    describe_counter!(
        BEGUN,
        Unit::Count,
        "What went wrong since somebody asked for it, by what."
    );
}

impl crate::Docket {
    /// What may be asked to go wrong here.
    pub fn chaos(&self) -> &Arc<Chaos> {
        &self.inner.chaos
    }
}

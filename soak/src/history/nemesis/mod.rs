//! What goes wrong, and when: rounds of faults that a seed repeats, each fault carried out and undone.
//!
//! ```text
//!   calm ──▶ a fault begins ──▶ lasts ──────────▶ undone ──▶ all are well ──▶ calm ──▶ the next round …
//!              another one begins ──▶ lasts ──────────────▶ undone
//! ```
//!
//! Up to [`TOGETHER_MAX`] faults are there at a time, none lasts longer than [`LASTS_MAX`], and when a round is over, or a
//! part of it fails, the network is healed, the clocks are right and every process is started. What a machine does not allow is
//! not planned, and says why ([`Able`]).

mod act;
pub mod disk;
mod plan;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

pub use act::{Happened, Stage, run};
pub use plan::{LASTS_MAX, LASTS_MIN, Plan, Planned, Round, TOGETHER_MAX};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, and a start after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// A node hears nobody, and nobody hears it.
    Split,
    /// A node and the next one are cut off from the others; clients reach both sides.
    Halves,
    /// A node hears everybody, and nobody hears it.
    Mute,
    /// A node is heard, and hears nobody.
    Deaf,
    /// A node's links are cut and healed, again and again.
    Flapping,
    /// The node that leads most is cut off from the others; its clients still reach it.
    LonelyLeader,
    /// Everything between a node and the others is late.
    Late,
    /// Connections between a node and the others lose pieces and are reset.
    Lossy,
    /// Somebody else writes to a node's disk and syncs all the time.
    SlowDisk,
    /// A node's disk has no room left.
    FullDisk,
    /// No file of a node may grow beyond the largest that there is: a full disk where none can be filled.
    NoRoom,
    /// A node's clock jumps, forwards or backwards, by up to some hours; and back.
    ClockJump,
    /// A new node joins, or one that joined leaves.
    Change,
    /// A replica moves to a node that has none of its group.
    Move,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Kill,
        Self::Pause,
        Self::Split,
        Self::Halves,
        Self::Mute,
        Self::Deaf,
        Self::Flapping,
        Self::LonelyLeader,
        Self::Late,
        Self::Lossy,
        Self::SlowDisk,
        Self::FullDisk,
        Self::NoRoom,
        Self::ClockJump,
        Self::Change,
        Self::Move,
    ];

    /// Whether a process ends or stands still by it.
    pub fn stops_a_process(self) -> bool {
        matches!(self, Self::Kill | Self::Pause | Self::FullDisk | Self::NoRoom)
    }

    /// Whether it is no fault, but something that the cluster is asked to do meanwhile.
    pub fn changes_the_cluster(self) -> bool {
        matches!(self, Self::Change | Self::Move)
    }
}

/// What can be done on this machine, and why the rest cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Able {
    /// What can be done.
    pub kinds: Vec<Kind>,
    /// What is left out, and why.
    pub left_out: Vec<(Kind, String)>,
}

impl Able {
    /// What can be done to so many nodes, whose data is below `data`. `moves_clocks` says whether their program can be told another time.
    pub fn of(nodes: usize, data: &Path, moves_clocks: bool) -> Self {
        let mut able = Self::default();
        for kind in Kind::ALL {
            match why_not(kind, nodes, data, moves_clocks) {
                None => able.kinds.push(kind),
                Some(why) => able.left_out.push((kind, why)),
            }
        }
        able
    }
}

impl fmt::Display for Able {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faults: {:?}", self.kinds)?;
        self.left_out
            .iter()
            .try_for_each(|(kind, why)| write!(f, "\n  skipped: {kind:?}: {why}"))
    }
}

fn why_not(kind: Kind, nodes: usize, data: &Path, moves_clocks: bool) -> Option<String> {
    match kind {
        Kind::Kill | Kind::Pause | Kind::SlowDisk | Kind::NoRoom => None,
        Kind::FullDisk => disk::why_not_full(data),
        Kind::ClockJump if moves_clocks => None,
        Kind::ClockJump => Some("the program does not move its clock: it has no debug assertions".into()),
        _ if nodes < 2 => Some("one node has no links to others".into()),
        Kind::Halves if nodes < 4 => Some("half of so few is one".into()),
        _ => None,
    }
}

//! What goes wrong, and when: a plan of faults that a seed repeats, carried out one after the other, each of them undone.
//!
//! ```text
//!   calm ──▶ fault begins ──▶ lasts ──▶ undone ──▶ calm ──▶ the next one …
//! ```
//!
//! At most one fault is there at a time, none lasts longer than [`LASTS_MAX`], and when the plan is over, or a part of it
//! fails, the network is healed and every process runs. What a machine does not allow is not planned, and says why
//! ([`Able`]).

pub mod disk;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    net::{Link, Net, Who},
    text::Ms,
};
use crate::Chance;

/// No fault lasts longer.
pub const LASTS_MAX: Duration = Duration::from_secs(4);
/// None is shorter.
pub const LASTS_MIN: Duration = Duration::from_millis(800);
/// Between two faults it is calm for at least this long, and at most twice as long.
const CALM: Duration = Duration::from_millis(1_500);
/// A bad link is late by this, and up to as much again.
const LATE: Duration = Duration::from_millis(40);
/// A lossy link loses one piece of so many.
const LOSS: u32 = 40;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, and a start after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// A node hears nobody, and nobody hears it.
    Split,
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
    /// A node's clock jumps.
    ClockJump,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Pause,
        Self::Split,
        Self::Mute,
        Self::Deaf,
        Self::Flapping,
        Self::LonelyLeader,
        Self::Late,
        Self::Lossy,
        Self::SlowDisk,
        Self::FullDisk,
        Self::ClockJump,
    ];
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
    /// What can be done to so many nodes, whose data is below `data`.
    pub fn of(nodes: usize, data: &Path) -> Self {
        let mut able = Self::default();
        for kind in Kind::ALL {
            match why_not(kind, nodes, data) {
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

fn why_not(kind: Kind, nodes: usize, data: &Path) -> Option<String> {
    match kind {
        Kind::Kill | Kind::Pause | Kind::SlowDisk => None,
        Kind::FullDisk => disk::why_not_full(data),
        // The library has to be in the server from its start, which nothing here does yet.
        Kind::ClockJump => Some("no libfaketime is put into the servers".into()),
        _ if nodes < 2 => Some("one node has no links to others".into()),
        _ => None,
    }
}

/// A fault that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// How long it is calm before.
    pub calm: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub kind: Kind,
    /// To whom it happens; of a lonely leader, whoever leads then.
    pub node: u8,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} of node {} for {} ms",
            self.kind,
            self.node,
            self.lasts.as_millis()
        )
    }
}

/// Faults that fill `lasts`, drawn from the seed: every kind once before any comes again.
pub fn plan(seed: u64, nodes: &[u8], kinds: &[Kind], lasts: Duration) -> Vec<Planned> {
    let mut chance = Chance::new(seed, 0);
    let (mut plan, mut filled, mut bag) = (Vec::new(), Duration::ZERO, Vec::new());
    if nodes.is_empty() || kinds.is_empty() {
        return plan;
    }
    loop {
        if bag.is_empty() {
            bag = kinds.to_vec();
        }
        let planned = Planned {
            kind: bag.swap_remove(chance.below(bag.len() as u64) as usize),
            node: nodes[chance.below(nodes.len() as u64) as usize],
            calm: CALM + CALM.mul_f64(chance.unit()),
            lasts: LASTS_MIN + (LASTS_MAX - LASTS_MIN).mul_f64(chance.unit()),
        };
        filled += planned.calm + planned.lasts;
        if filled > lasts {
            return plan;
        }
        plan.push(planned);
    }
}

/// The processes that faults happen to.
pub trait Stage {
    /// SIGKILL.
    fn kill(&mut self, node: u8) -> Result<(), String>;
    /// Starts it again where it was killed, and waits until it serves.
    fn start(&mut self, node: u8) -> impl Future<Output = Result<(), String>>;
    /// Starts it again where it has ended by itself, as a node does that cannot write.
    fn revive(&mut self, node: u8) -> impl Future<Output = Result<(), String>>;
    /// SIGSTOP.
    fn pause(&mut self, node: u8) -> Result<(), String>;
    /// SIGCONT.
    fn resume(&mut self, node: u8) -> Result<(), String>;
    /// The node that leads most shards.
    fn leader(&mut self) -> impl Future<Output = Option<u8>>;
    /// Where a node's data is.
    fn data(&self, node: u8) -> std::path::PathBuf;
}

/// What happened, and when since the begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Microseconds since the begin.
    pub at: u64,
    /// What.
    pub what: String,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} ms  {}", Ms(self.at), self.what)
    }
}

/// Carries the plan out. Whatever happens, the network is good and every node runs at the end.
///
/// # Errors
/// What could not be done or undone.
pub async fn run(
    plan: &[Planned],
    nodes: &[u8],
    net: &Net,
    stage: &mut impl Stage,
    seed: u64,
) -> Result<Vec<Happened>, String> {
    let begun = Instant::now();
    let mut line = Vec::new();
    let mut chance = Chance::new(seed, 1);
    let mut tell = |what: String| {
        let at = begun.elapsed().as_micros() as u64;
        line.push(Happened { at, what });
    };
    for planned in plan {
        sleep(planned.calm).await;
        let mut planned = planned.clone();
        if planned.kind == Kind::LonelyLeader
            && let Some(leader) = stage.leader().await
        {
            planned.node = leader;
        }
        tell(planned.to_string());
        let done = happen(&planned, nodes, net, stage, &mut chance).await;
        let undone = undo(&planned, net, stage).await;
        done.and(undone).map_err(|why| format!("{planned}: {why}"))?;
        tell(format!("node {} is well again", planned.node));
    }
    Ok(line)
}

async fn happen(
    planned: &Planned,
    nodes: &[u8],
    net: &Net,
    stage: &mut impl Stage,
    chance: &mut Chance,
) -> Result<(), String> {
    let node = Who::Node(planned.node);
    let peers: Vec<Who> = nodes
        .iter()
        .filter(|other| **other != planned.node)
        .map(|other| Who::Node(*other))
        .collect();
    let peers_and_clients: Vec<Who> = peers.iter().copied().chain([Who::Client]).collect();
    // Dropped at the end of the fault.
    let mut _hog = None;
    let mut _ballast = None;
    match planned.kind {
        Kind::Kill => stage.kill(planned.node)?,
        Kind::Pause => stage.pause(planned.node)?,
        Kind::Split => net.set_between(&[node], &peers_and_clients, Link::Cut),
        Kind::Mute => peers.iter().for_each(|peer| net.set(node, *peer, Link::Cut)),
        Kind::Deaf => peers.iter().for_each(|peer| net.set(*peer, node, Link::Cut)),
        Kind::Flapping => {
            net.flap(&[node], &peers, planned.lasts, chance).await;
            return Ok(());
        }
        Kind::LonelyLeader => net.set_between(&[node], &peers, Link::Cut),
        Kind::Late => {
            let late = Link::Late {
                by: LATE,
                jitter: LATE,
            };
            net.set_between(&[node], &peers, late);
        }
        Kind::Lossy => net.set_between(&[node], &peers, Link::Lossy { one_in: LOSS }),
        Kind::SlowDisk => _hog = Some(disk::Hog::begin(&stage.data(planned.node))?),
        Kind::FullDisk => _ballast = Some(disk::Ballast::fill(&stage.data(planned.node))?),
        Kind::ClockJump => return Err("the clocks cannot be moved".into()),
    }
    sleep(planned.lasts).await;
    Ok(())
}

async fn undo(planned: &Planned, net: &Net, stage: &mut impl Stage) -> Result<(), String> {
    net.heal();
    match planned.kind {
        Kind::Kill => stage.start(planned.node).await,
        Kind::Pause => stage.resume(planned.node),
        Kind::FullDisk => stage.revive(planned.node).await,
        _ => Ok(()),
    }
}

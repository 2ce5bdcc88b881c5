//! A round of faults, carried out and undone.

use std::{fmt, path::PathBuf, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{Kind, Planned, Round, disk};
use crate::{
    Chance,
    history::{
        net::{Link, Net, Who},
        text::Ms,
    },
};

/// A bad link is late by this, and up to as much again.
const LATE: Duration = Duration::from_millis(40);
/// A lossy link loses one piece of so many.
const LOSS: u32 = 40;
/// How far clocks jump, in milliseconds: less than an election, a bit, far beyond every time limit, and beyond what decisions are
/// remembered for (`actors/` forgets fences after an hour). Not beyond the 24 hours for which requests are.
const JUMPS_MS: [i64; 4] = [500, 5_000, 120_000, 3 * 3_600_000];

/// The processes that faults happen to.
pub trait Stage {
    /// SIGKILL.
    fn kill(&mut self, node: u8) -> Result<(), String>;
    /// Starts it again where it was killed or has ended by itself, as a node does that cannot write. Does not wait until it serves.
    fn start(&mut self, node: u8) -> impl Future<Output = Result<(), String>>;
    /// SIGSTOP.
    fn pause(&mut self, node: u8) -> Result<(), String>;
    /// SIGCONT.
    fn resume(&mut self, node: u8) -> Result<(), String>;
    /// Says what is to be added to its clock, in milliseconds.
    fn move_clock(&mut self, node: u8, by_ms: i64) -> Result<(), String>;
    /// No file of it may become longer than so many bytes; none: any length.
    fn limit_files(&mut self, node: u8, bytes: Option<u64>) -> Result<(), String>;
    /// Has a node join or leave, and does not wait for it; what it was. `draw` says who leaves.
    fn change(&mut self, draw: u64) -> impl Future<Output = String>;
    /// Has a replica go elsewhere, and does not wait for it; what it was. `draw` says which.
    fn relocate(&mut self, draw: u64) -> impl Future<Output = String>;
    /// The node that leads most shards.
    fn leader(&mut self) -> impl Future<Output = Option<u8>>;
    /// Where a node's data is.
    fn data(&self, node: u8) -> PathBuf;
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

/// A fault that is there, and what ends with it.
enum Begun {
    /// Only to be undone by the stage.
    Process,
    Links(Vec<(Who, Who, Link)>),
    Flapping(JoinHandle<()>),
    Slow(disk::Hog),
    Full(disk::Ballast),
}

/// Carries a round out. Whatever happens, the network is good, the clocks are right and every process was started again at the
/// end; whether they serve is to be waited for.
///
/// # Errors
/// What could not be done or undone.
pub async fn run(
    round: &Round,
    nodes: &[u8],
    net: &Net,
    stage: &mut impl Stage,
    chance: &mut Chance,
) -> Result<Vec<Happened>, String> {
    sleep(round.calm).await;
    let begun_at = Instant::now();
    let mut line = Vec::new();
    let mut tell = |what: String| {
        let at = (begun_at.elapsed() + round.calm).as_micros() as u64;
        line.push(Happened { at, what });
    };
    let mut moments: Vec<(Duration, bool, usize)> = Vec::new();
    for (number, planned) in round.faults.iter().enumerate() {
        moments.push((planned.after, true, number));
        moments.push((planned.after + planned.lasts, false, number));
    }
    moments.sort_unstable_by_key(|(at, begins, number)| (*at, !begins, *number));
    let mut faults: Vec<(Planned, Option<Begun>)> = round
        .faults
        .iter()
        .map(|planned| (planned.clone(), None))
        .collect();
    let mut failed = None;
    for (at, begins, number) in moments {
        if failed.is_some() && begins {
            continue;
        }
        if failed.is_none() {
            sleep_until(begun_at + at).await;
        }
        let ended = match begins {
            true => begin(&mut faults[number], nodes, net, stage, chance, &mut tell).await,
            false => end(number, &mut faults, net, stage, &mut tell).await,
        };
        if let Err(why) = ended {
            failed.get_or_insert(format!("{}: {why}", faults[number].0));
        }
    }
    net.heal();
    match failed {
        None => Ok(line),
        Some(why) => Err(why),
    }
}

async fn begin(
    (planned, begun): &mut (Planned, Option<Begun>),
    nodes: &[u8],
    net: &Net,
    stage: &mut impl Stage,
    chance: &mut Chance,
    tell: &mut impl FnMut(String),
) -> Result<(), String> {
    if planned.kind == Kind::LonelyLeader
        && let Some(leader) = stage.leader().await
    {
        planned.node = leader;
    }
    let node = planned.node;
    tell(planned.to_string());
    // Also where it cannot be done there is something to undo.
    *begun = Some(Begun::Process);
    match planned.kind {
        Kind::Kill => stage.kill(node)?,
        Kind::Pause => stage.pause(node)?,
        Kind::SlowDisk => *begun = Some(Begun::Slow(disk::Hog::begin(&stage.data(node))?)),
        Kind::FullDisk => *begun = Some(Begun::Full(disk::Ballast::fill(&stage.data(node))?)),
        Kind::NoRoom => {
            let largest = disk::largest_file(&stage.data(node));
            stage.limit_files(node, Some(largest))?;
        }
        Kind::ClockJump => {
            let by_ms = JUMPS_MS[chance.below(JUMPS_MS.len() as u64) as usize];
            let by_ms = if chance.below(2) == 0 { by_ms } else { -by_ms };
            tell(format!("  its clock is moved by {by_ms} ms"));
            stage.move_clock(node, by_ms)?;
        }
        Kind::Change => tell(format!("  {}", stage.change(chance.draw()).await)),
        Kind::Move => tell(format!("  {}", stage.relocate(chance.draw()).await)),
        Kind::Flapping => {
            let (net, lasts, peers) = (net.clone(), planned.lasts, peers(node, nodes));
            let mut chance = Chance::new(chance.draw(), 0);
            *begun = Some(Begun::Flapping(tokio::spawn(async move {
                net.flap(&[Who::Node(node)], &peers, lasts, &mut chance).await;
            })));
        }
        Kind::Split
        | Kind::Halves
        | Kind::Mute
        | Kind::Deaf
        | Kind::LonelyLeader
        | Kind::Late
        | Kind::Lossy => {
            let links = links(planned.kind, node, nodes);
            set(net, &links);
            *begun = Some(Begun::Links(links));
        }
    }
    Ok(())
}

async fn end(
    number: usize,
    faults: &mut [(Planned, Option<Begun>)],
    net: &Net,
    stage: &mut impl Stage,
    tell: &mut impl FnMut(String),
) -> Result<(), String> {
    let Some(begun) = faults[number].1.take() else {
        // It never began.
        return Ok(());
    };
    let planned = faults[number].0.clone();
    match begun {
        Begun::Links(_) => net.heal(),
        // It heals by itself, and cannot fail.
        Begun::Flapping(flapping) => drop(flapping.await),
        Begun::Slow(hog) => drop(hog),
        Begun::Full(ballast) => drop(ballast),
        Begun::Process => {}
    }
    // What others have cut is healed with it.
    for (_, other) in faults.iter() {
        if let Some(Begun::Links(links)) = other {
            set(net, links);
        }
    }
    let node = planned.node;
    match planned.kind {
        Kind::Kill | Kind::FullDisk => stage.start(node).await?,
        Kind::Pause => stage.resume(node)?,
        Kind::NoRoom => {
            stage.limit_files(node, None)?;
            stage.start(node).await?;
        }
        Kind::ClockJump => stage.move_clock(node, 0)?,
        _ => {}
    }
    if !planned.kind.changes_the_cluster() {
        tell(format!("{:?} of node {node} is over", planned.kind));
    }
    Ok(())
}

fn set(net: &Net, links: &[(Who, Who, Link)]) {
    for (from, to, link) in links {
        net.set(*from, *to, *link);
    }
}

fn peers(node: u8, nodes: &[u8]) -> Vec<Who> {
    let others = nodes.iter().filter(|other| **other != node);
    others.map(|other| Who::Node(*other)).collect()
}

/// The links that are bad by a fault, and how.
fn links(kind: Kind, node: u8, nodes: &[u8]) -> Vec<(Who, Who, Link)> {
    let next = nodes
        .iter()
        .position(|other| *other == node)
        .map(|at| nodes[(at + 1) % nodes.len()]);
    let one = Who::Node(node);
    let side = match (kind, next) {
        (Kind::Halves, Some(next)) => vec![one, Who::Node(next)],
        _ => vec![one],
    };
    let mut others: Vec<Who> = peers(node, nodes);
    others.retain(|other| !side.contains(other));
    if kind == Kind::Split {
        others.push(Who::Client);
    }
    let link = match kind {
        Kind::Late => Link::Late {
            by: LATE,
            jitter: LATE,
        },
        Kind::Lossy => Link::Lossy { one_in: LOSS },
        _ => Link::Cut,
    };
    let mut links = Vec::new();
    for one in side {
        for other in &others {
            if kind != Kind::Deaf {
                links.push((one, *other, link));
            }
            if kind != Kind::Mute {
                links.push((*other, one, link));
            }
        }
    }
    links
}

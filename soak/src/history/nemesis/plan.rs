//! What goes wrong, and when: rounds of faults that a seed repeats.

use std::{fmt, time::Duration};

use super::Kind;
use crate::Chance;

/// No fault lasts longer.
pub const LASTS_MAX: Duration = Duration::from_secs(4);
/// None is shorter.
pub const LASTS_MIN: Duration = Duration::from_millis(800);
/// At most so many faults are there at a time.
pub const TOGETHER_MAX: u64 = 3;
/// Before a round it is calm for at least this long, and at most twice as long.
const CALM: Duration = Duration::from_millis(600);
/// The other faults of a round begin at most so long after the first.
const APART_MAX: Duration = Duration::from_millis(1_500);

/// A fault that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// How long after the begin of its round.
    pub after: Duration,
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

/// Faults that overlap. All of them are undone before the next round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// How long it is calm before.
    pub calm: Duration,
    /// The faults, of which the first begins at once; at least one.
    pub faults: Vec<Planned>,
}

/// Rounds without end.
#[derive(Clone, Debug)]
pub struct Plan {
    chance: Chance,
    kinds: Vec<Kind>,
    /// The kinds that have not come since it was full.
    bag: Vec<Kind>,
}

impl Plan {
    /// Rounds of these kinds, drawn from the seed: every kind comes once before any comes again.
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        Self {
            chance: Chance::new(seed, 0),
            kinds: kinds.to_vec(),
            bag: Vec::new(),
        }
    }

    /// The next round, among these nodes; `can` says what can happen to which of them. None where there is nobody or nothing to
    /// draw from.
    pub fn next(&mut self, nodes: &[u8], can: impl Fn(Kind, u8) -> bool) -> Option<Round> {
        if nodes.is_empty() || self.kinds.is_empty() {
            return None;
        }
        let calm = CALM + CALM.mul_f64(self.chance.unit());
        let count = 1 + self.chance.below(TOGETHER_MAX);
        let mut faults: Vec<Planned> = Vec::new();
        for _ in 0..count {
            if self.bag.is_empty() {
                self.bag = self.kinds.clone();
            }
            let kind = self
                .bag
                .swap_remove(self.chance.below(self.bag.len() as u64) as usize);
            let mut free = free_for(kind, nodes, &faults);
            free.retain(|node| can(kind, *node));
            let Some(node) = free.get(self.chance.below(free.len().max(1) as u64) as usize) else {
                // In a later round, then.
                self.bag.push(kind);
                break;
            };
            faults.push(Planned {
                after: match faults.is_empty() {
                    true => Duration::ZERO,
                    false => APART_MAX.mul_f64(self.chance.unit()),
                },
                lasts: LASTS_MIN + (LASTS_MAX - LASTS_MIN).mul_f64(self.chance.unit()),
                kind,
                node: *node,
            });
        }
        Some(Round { calm, faults })
    }
}

/// To whom such a fault can happen beside these: a process stands still, dies or has no room for one reason at a time, a clock
/// is moved by one, and the cluster is changed once.
fn free_for(kind: Kind, nodes: &[u8], faults: &[Planned]) -> Vec<u8> {
    let is_taken = |node: &u8| {
        faults.iter().any(|fault| match kind {
            _ if kind.changes_the_cluster() => fault.kind.changes_the_cluster(),
            _ if kind.stops_a_process() => fault.kind.stops_a_process() && fault.node == *node,
            _ => fault.kind == kind && fault.node == *node,
        })
    };
    nodes.iter().copied().filter(|node| !is_taken(node)).collect()
}

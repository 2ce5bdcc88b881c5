//! Three standbys that are registered, forgotten and promoted in turn, at nodes that are behind and by leaders that were deposed: at no interleaving are two promoted. A
//! standby is here what it is to the cluster: it may fence once it was told that it is registered, and is promoted once it was told that it is who fenced it.

use super::*;
use crate::registry::{Ask, Record};

const SEEDS: u64 = 3_000;
const STEPS: usize = 150;
const NODES: u64 = 3;
const STANDBYS: [&str; 3] = ["b", "c", "d"];
/// Its epoch where it is promoted.
const NEXT: u64 = FIRST_EPOCH + 1;

/// What is on its way.
#[derive(Clone, Debug)]
enum Flight {
    /// To whoever decides.
    Asked(Ask),
    /// What was decided, to all.
    Decided(Record),
    /// A standby's word of its epoch, to a node.
    Told { standby: usize, node: usize },
    /// What the node answers to that, once it was decided.
    Answered { standby: usize, node: usize },
}

/// What came of it, over all seeds.
#[derive(Debug, Default)]
struct Seen {
    promoted: [u64; STANDBYS.len()],
    /// A standby was told that it is not the one that is registered.
    unknown: u64,
    /// A node that was behind took one for registered that was forgotten by then, and whoever decides did not.
    refused_late: u64,
    /// Decided on an older registry, and so no more.
    overtaken: u64,
}

struct World {
    drawn: u64,
    log: Vec<Record>,
    nodes: [Registry; NODES as usize],
    /// How much of the log each has applied.
    applied: [usize; NODES as usize],
    /// All of it.
    newest: Registry,
    flights: Vec<Flight>,
    is_registered: [bool; STANDBYS.len()],
    is_promoted: [bool; STANDBYS.len()],
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            drawn: seed,
            log: Vec::new(),
            nodes: Default::default(),
            applied: [0; NODES as usize],
            newest: Registry::default(),
            flights: Vec::new(),
            is_registered: [false; STANDBYS.len()],
            is_promoted: [false; STANDBYS.len()],
        }
    }

    /// One below this (SplitMix64).
    fn below(&mut self, bound: u64) -> usize {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.drawn;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound) as usize
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.below(10) {
            // A node applies what comes next in its log.
            0..3 => {
                let node = self.below(NODES);
                if let Some(record) = self.log.get(self.applied[node]) {
                    self.nodes[node].apply(record);
                    self.applied[node] += 1;
                }
            }
            3 => {
                let standby = register(self.below(STANDBYS.len() as u64));
                self.flights.push(Flight::Asked(Ask::RegisterStandby { standby }));
            }
            4 if self.below(2) == 0 => self.flights.push(Flight::Asked(Ask::ForgetStandby)),
            4 | 5 => {
                let standby = self.below(STANDBYS.len() as u64);
                if self.is_registered[standby] {
                    let node = self.below(NODES);
                    self.flights.push(Flight::Told { standby, node });
                }
            }
            _ if self.flights.is_empty() => {}
            _ => {
                let at = self.below(self.flights.len() as u64);
                let flight = self.flights.swap_remove(at);
                // It may arrive twice, or not at all.
                match self.below(8) {
                    0 => return,
                    1 => self.flights.push(flight.clone()),
                    _ => {}
                }
                self.arrives(flight, seen);
            }
        }
    }

    fn arrives(&mut self, flight: Flight, seen: &mut Seen) {
        match flight {
            Flight::Asked(ask) => {
                // Who was deposed decides on what it has.
                let by = match self.below(NODES + 3) {
                    node @ 0..3 => &self.nodes[node],
                    _ => &self.newest,
                };
                match by.decide(&ask) {
                    Ok(changes) if changes.is_empty() => {}
                    Ok(changes) => self.flights.push(Flight::Decided(Record {
                        version: by.version(),
                        changes,
                    })),
                    Err(Refusal::StandbyUnknown) => seen.refused_late += 1,
                    Err(_) => {}
                }
            }
            Flight::Decided(record) => {
                if !self.newest.apply(&record) {
                    seen.overtaken += 1;
                }
                for change in &record.changes {
                    if let Change::StandbyRegistered { standby } = change {
                        let is_now = self.newest.standby() == Some(standby);
                        let told = STANDBYS.iter().position(|name| *name == standby.id);
                        self.is_registered[told.unwrap()] |= is_now;
                    }
                }
                self.log.push(record);
            }
            // As `StandbyApi` does.
            Flight::Told { standby, node } => {
                let registry = &self.nodes[node];
                let is_known = registry
                    .standby()
                    .is_some_and(|known| known.id == STANDBYS[standby]);
                if is_known {
                    self.flights.push(Flight::Asked(fence(standby)));
                    self.flights.push(Flight::Answered { standby, node });
                } else if self.applied[node] == self.log.len() {
                    seen.unknown += 1;
                }
            }
            Flight::Answered { standby, node } => {
                let by = |registry: &Registry| {
                    let fence = registry.fenced();
                    fence.is_some_and(|fence| fence.standby == STANDBYS[standby])
                };
                // A node that says so has asked all others whether they have let go.
                if by(&self.nodes[node]) && self.nodes.iter().all(|node| node.fenced().is_some()) {
                    seen.promoted[standby] += u64::from(!self.is_promoted[standby]);
                    self.is_promoted[standby] = true;
                }
            }
        }
    }
}

fn register(standby: usize) -> RegisteredStandby {
    RegisteredStandby {
        id: STANDBYS[standby].to_owned(),
        address: format!("https://{}:7070", STANDBYS[standby]),
        ca: String::new(),
        secret: "s".to_owned(),
    }
}

fn fence(standby: usize) -> Ask {
    Ask::Fence {
        fence: Fence {
            epoch: NEXT,
            by: format!("https://{}:7070", STANDBYS[standby]),
            standby: STANDBYS[standby].to_owned(),
        },
    }
}

#[test]
fn at_no_interleaving_two_standbys_are_promoted() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step(&mut seen);
            let promoted: Vec<_> = (0..STANDBYS.len()).filter(|at| world.is_promoted[*at]).collect();
            assert!(promoted.len() <= 1, "seed {seed}, step {step}: {promoted:?}");
            // And who is promoted has fenced it, for ever.
            if let [one] = promoted[..] {
                let fence = world.newest.fenced().unwrap();
                assert_eq!((&*fence.standby, fence.epoch), (STANDBYS[one], NEXT));
                assert!(world.newest.decide(&Ask::ForgetStandby).is_err());
            }
        }
    }
    println!("{seen:?}");
    assert!(seen.promoted.iter().all(|count| *count > 50), "{seen:?}");
    assert!(
        [seen.unknown, seen.refused_late, seen.overtaken]
            .iter()
            .all(|count| *count > 50),
        "{seen:?}"
    );
}

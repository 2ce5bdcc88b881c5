//! What goes wrong: crashes, partitions, held and slow messages, slow disks, leads that move, all drawn from the seed.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use docket_cluster::Leader;
use docket_soak::Chance;
use futures::FutureExt;
use turmoil::Sim;

use crate::seat::{NODES, Seat, id, name};

/// How long things go wrong, in simulated milliseconds.
pub const TROUBLE_MS: u64 = 12_000;
/// The longest pause between two faults.
const PAUSE_MS: u64 = 1_500;
/// How late messages are between nodes that are well, at most.
pub const LATENCY_MS: u64 = 4;
const SLOW_LATENCY_MS: u64 = 150;
const SLOW_SYNC_MS: u64 = 400;
/// How long a failure of power waits for something to be written, at most.
const AMBUSH_MS: u64 = 1_000;
/// For how many milliseconds of something being written and not synced it waits on average.
const STRIKES_IN_MS: u64 = 4;
/// How long a lead is lent, at most.
const LENT_MS: u64 = 400;

/// Something that is wrong, and until when.
struct Trouble {
    until: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A node is off. `power`: what was not synced is lost; else only its process died. `silent`: its peers are not told.
    Down {
        at: usize,
        power: bool,
        silent: bool,
    },
    /// Nothing passes from one to the other, or in both directions.
    Cut {
        from: usize,
        to: usize,
        both: bool,
    },
    /// What one says to the other waits.
    Held(usize, usize),
    Slow(usize, usize),
    SlowDisk(usize),
    /// The leads that a node had are with another, which is to give them back.
    Lent {
        from: usize,
        to: usize,
    },
}

/// A node whose power is to fail while something is written and not synced: most of the time nothing is.
struct Ambush {
    at: usize,
    silent: bool,
    /// It strikes then, whatever there is.
    latest: u64,
    for_ms: u64,
}

pub struct Nemesis {
    chance: Chance,
    seats: Vec<Arc<Seat>>,
    began: Option<u64>,
    next: u64,
    troubles: Vec<Trouble>,
    ambush: Option<Ambush>,
    pub faults: u64,
}

impl Nemesis {
    pub fn new(seed: u64, seats: Vec<Arc<Seat>>) -> Self {
        Self {
            chance: Chance::new(seed, 77),
            seats,
            began: None,
            next: 0,
            troubles: Vec::new(),
            ambush: None,
            faults: 0,
        }
    }

    /// Whether everything is healed for good.
    pub fn step(&mut self, sim: &mut Sim<'_>, now: u64) -> bool {
        let began = *self.began.get_or_insert(now);
        let over = now >= began + TROUBLE_MS;
        let (ended, rest) = std::mem::take(&mut self.troubles)
            .into_iter()
            .partition(|trouble| over || trouble.until <= now);
        self.troubles = rest;
        for Trouble { what, .. } in ended {
            self.end(sim, what);
        }
        if !over {
            self.strike(sim, now);
        }
        if !over && now >= self.next {
            self.next = now + 20 + self.chance.below(PAUSE_MS);
            self.trouble(sim, now);
        }
        over
    }

    /// Lets the power fail that is to fail, in one of the moments that something is written in.
    fn strike(&mut self, sim: &mut Sim<'_>, now: u64) {
        let Some(ambush) = &self.ambush else { return };
        let seat = &self.seats[ambush.at];
        let may_lose = seat.running().is_some() && seat.disk.has_unsynced();
        let strikes = may_lose && self.chance.below(STRIKES_IN_MS) == 0;
        if !strikes && now < ambush.latest {
            return;
        }
        if let Some(Ambush {
            at, silent, for_ms, ..
        }) = self.ambush.take()
        {
            self.begin(
                sim,
                now + for_ms,
                What::Down {
                    at,
                    power: true,
                    silent,
                },
            );
        }
    }

    fn trouble(&mut self, sim: &mut Sim<'_>, now: u64) {
        let any = self.chance.below(NODES as u64) as usize;
        let leader = self.seats.iter().position(|seat| self.leads(seat));
        // Who leads is worth more.
        let at = match (self.chance.below(2), leader) {
            (0, Some(leader)) => leader,
            _ => any,
        };
        let other = (at + 1 + self.chance.below(NODES as u64 - 1) as usize) % NODES;
        let short = 50 + self.chance.below(1_000);
        // A cut of a moment loses what is just on its way, and the connections that it belongs to.
        let long = match self.chance.below(4) {
            0 => 1 + self.chance.below(30),
            _ => 300 + self.chance.below(4_500),
        };
        let third = NODES - at - other;
        match self.chance.below(14) {
            0..=3 => {
                let (power, silent) = (self.chance.below(3) > 0, self.chance.below(3) == 0);
                let for_ms = 100 + self.chance.below(3_000);
                match power && self.ambush.is_none() {
                    true => {
                        self.ambush = Some(Ambush {
                            at,
                            silent,
                            latest: now + AMBUSH_MS,
                            for_ms,
                        });
                    }
                    false => self.begin(sim, now + for_ms, What::Down { at, power, silent }),
                }
            }
            4 | 5 => {
                for to in [other, third] {
                    self.begin(
                        sim,
                        now + long,
                        What::Cut {
                            from: at,
                            to,
                            both: true,
                        },
                    );
                }
            }
            6 => self.begin(
                sim,
                now + long,
                What::Cut {
                    from: at,
                    to: other,
                    both: true,
                },
            ),
            7 => {
                for to in [other, third] {
                    self.begin(
                        sim,
                        now + long,
                        What::Cut {
                            from: at,
                            to,
                            both: false,
                        },
                    );
                }
            }
            8 => self.begin(
                sim,
                now + long,
                What::Cut {
                    from: at,
                    to: other,
                    both: false,
                },
            ),
            9 => self.begin(sim, now + short, What::Held(at, other)),
            10 => self.begin(sim, now + long, What::Slow(at, other)),
            11 => self.begin(sim, now + long, What::SlowDisk(at)),
            _ => {
                self.move_lead(at, other);
                // What was decided at the old leader and not committed comes back to it while it is remembered there.
                if self.chance.below(2) == 0 {
                    let for_ms = 1 + self.chance.below(LENT_MS);
                    self.begin(sim, now + for_ms, What::Lent { from: at, to: other });
                }
            }
        }
    }

    fn leads(&self, seat: &Seat) -> bool {
        seat.running().is_some_and(|running| {
            let groups = running.node.groups();
            groups
                .iter()
                .any(|group| running.node.leader_of(group.id()) == Leader::Here)
        })
    }

    /// Asks for the lead of what is led at a node to be taken over.
    fn move_lead(&mut self, at: usize, to: usize) {
        let asked = self.seats[at].run(move |running| async move {
            for group in running.node.groups() {
                if running.node.leader_of(group.id()) == Leader::Here {
                    let _ = group.transfer_lead(id(to)).await;
                }
            }
        });
        self.faults += 1;
        tracing::info!(target: "nemesis", at, to, "the lead is to move");
        // It is begun when it is polled once; what comes of it shows by itself.
        let _ = asked.now_or_never();
    }

    fn begin(&mut self, sim: &mut Sim<'_>, until: u64, what: What) {
        // One thing at a time for each node and each pair.
        if self.troubles.iter().any(|trouble| trouble.what.touches(what)) {
            return;
        }
        self.faults += 1;
        tracing::info!(target: "nemesis", ?what, until, "begins");
        match what {
            What::Down { at, power, silent } => {
                if silent {
                    (0..NODES)
                        .filter(|other| *other != at)
                        .for_each(|other| sim.partition(name(at), name(other)));
                }
                let seat = &self.seats[at];
                seat.vacate();
                seat.disk.kill_process();
                sim.crash(name(at));
                match power {
                    true => seat.disk.restart_machine(self.chance.draw()),
                    false => seat.disk.restart_process(),
                }
            }
            What::Cut { from, to, both: true } => sim.partition(name(from), name(to)),
            What::Cut {
                from,
                to,
                both: false,
            } => sim.partition_oneway(name(from), name(to)),
            What::Held(from, to) => sim.hold(name(from), name(to)),
            What::Slow(from, to) => {
                let latency = Duration::from_millis(SLOW_LATENCY_MS);
                sim.set_link_max_message_latency(name(from), name(to), latency);
            }
            What::SlowDisk(at) => self.seats[at].slow_ms.store(SLOW_SYNC_MS, Ordering::Relaxed),
            What::Lent { .. } => {}
        }
        self.troubles.push(Trouble { until, what });
    }

    fn end(&mut self, sim: &mut Sim<'_>, what: What) {
        tracing::info!(target: "nemesis", ?what, "ends");
        match what {
            What::Down { at, silent, .. } => {
                if silent {
                    (0..NODES)
                        .filter(|other| *other != at)
                        .for_each(|other| sim.repair(name(at), name(other)));
                }
                sim.bounce(name(at));
            }
            What::Cut { from, to, both: true } => sim.repair(name(from), name(to)),
            What::Cut {
                from,
                to,
                both: false,
            } => sim.repair_oneway(name(from), name(to)),
            What::Held(from, to) => sim.release(name(from), name(to)),
            What::Slow(from, to) => {
                let latency = Duration::from_millis(LATENCY_MS);
                sim.set_link_max_message_latency(name(from), name(to), latency);
            }
            What::SlowDisk(at) => self.seats[at].slow_ms.store(0, Ordering::Relaxed),
            What::Lent { from, to } => self.move_lead(to, from),
        }
    }
}

impl What {
    /// Whether both change the same.
    fn touches(self, other: Self) -> bool {
        let is_lent = |what| matches!(what, Self::Lent { .. });
        if is_lent(self) || is_lent(other) {
            return is_lent(self) && is_lent(other);
        }
        match (self.pair(), other.pair()) {
            (Some(this), Some(other)) => this == other,
            // A silent crash cuts the node's pairs, and their repair would heal another's cut.
            (None, Some((a, b))) => self.cuts_off(a) || self.cuts_off(b),
            (Some((a, b)), None) => other.cuts_off(a) || other.cuts_off(b),
            (None, None) => self.node() == other.node() || (self.is_silent() && other.is_silent()),
        }
    }

    fn pair(self) -> Option<(usize, usize)> {
        match self {
            Self::Cut { from, to, .. } | Self::Held(from, to) | Self::Slow(from, to) => {
                Some((from.min(to), from.max(to)))
            }
            Self::Down { .. } | Self::SlowDisk(_) | Self::Lent { .. } => None,
        }
    }

    fn node(self) -> Option<usize> {
        match self {
            Self::Down { at, .. } | Self::SlowDisk(at) => Some(at),
            _ => None,
        }
    }

    fn is_silent(self) -> bool {
        matches!(self, Self::Down { silent: true, .. })
    }

    fn cuts_off(self, node: usize) -> bool {
        matches!(self, Self::Down { at, silent: true, .. } if at == node)
    }
}

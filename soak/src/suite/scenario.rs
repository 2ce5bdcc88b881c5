//! The scenarios: what each asks, what it shows, and when its turn is.

use std::time::Duration;

use crate::Shape;

/// A way to use a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// So many orders a second, all along.
    Steady,
    /// Nothing much, then everything at once.
    Burst,
    /// More and more, until it is too much, and back.
    Overload,
    /// One customer places all orders.
    HotCustomer,
    /// One item is in all orders.
    HotItem,
    /// Orders of many lines.
    LargeOrders,
    /// Nine reads an order, then nothing but reads.
    ReadHeavy,
    /// Clients that connect, order once, and vanish.
    ReconnectStorm,
    /// The process is killed under load, and started again.
    Kill,
    /// Of three nodes each is restarted in order.
    RollingRestart,
    /// Of three nodes one is killed, and comes back after a while.
    NodeLoss,
    /// Of three nodes one gives away all that it holds, and gets it back.
    Rebalance,
    /// Of three nodes one is cut off from the others, or heard by nobody.
    Partition,
}

impl Scenario {
    /// All, in the order in which they run.
    pub const ALL: [Self; 13] = [
        Self::Steady,
        Self::Burst,
        Self::Overload,
        Self::HotCustomer,
        Self::HotItem,
        Self::LargeOrders,
        Self::ReadHeavy,
        Self::ReconnectStorm,
        Self::Kill,
        Self::RollingRestart,
        Self::NodeLoss,
        Self::Rebalance,
        Self::Partition,
    ];

    /// Whether it is one of a cluster of three nodes.
    pub fn is_together(self) -> bool {
        matches!(
            self,
            Self::RollingRestart | Self::NodeLoss | Self::Rebalance | Self::Partition
        )
    }

    /// What it is called on the command line, in reports and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Burst => "burst",
            Self::Overload => "overload",
            Self::HotCustomer => "hot-customer",
            Self::HotItem => "hot-item",
            Self::LargeOrders => "large-orders",
            Self::ReadHeavy => "read-heavy",
            Self::ReconnectStorm => "reconnect-storm",
            Self::Kill => "kill",
            Self::RollingRestart => "rolling-restart",
            Self::NodeLoss => "node-loss",
            Self::Rebalance => "rebalance",
            Self::Partition => "partition",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// What it asks.
    pub fn asks(self) -> &'static str {
        match self {
            Self::Steady => "calls at a fixed rate, before all others and once more after them",
            Self::Burst => "a second of streams as full as they may be, then two of little",
            Self::Overload => "a rate that doubles from 1,000 to 64,000 a second, then 1,000 again",
            Self::HotCustomer => "all orders of one customer",
            Self::HotItem => "all orders of one item, over streams",
            Self::LargeOrders => "orders of 50 lines",
            Self::ReadHeavy => "nine reads an order, then reads only",
            Self::ReconnectStorm => "connections that are opened, order once, and are dropped",
            Self::Kill => "kill -9 under load, a restart, and the same again",
            Self::RollingRestart => "three nodes, each stopped and started in its turn",
            Self::NodeLoss => "three nodes, the one that leads most killed, and back later",
            Self::Rebalance => "three nodes, one drained, and given its replicas back",
            Self::Partition => "three nodes, one cut off, and one that nobody hears",
        }
    }

    /// What it shows.
    pub fn shows(self) -> &'static str {
        match self {
            Self::Steady => "that latency does not drift while orders pile up",
            Self::Burst => "that a burst is taken or refused at once, and leaves nothing behind",
            Self::Overload => "that too much is refused, what is accepted is kept, and that it recovers",
            Self::HotCustomer => "that one customer's money is exact where all decisions queue for it",
            Self::HotItem => "that one item's stock is exact where all reservations queue for it",
            Self::LargeOrders => "that orders across all shards are whole or not at all",
            Self::ReadHeavy => "that reads leave no memory behind: nothing is stored while they run",
            Self::ReconnectStorm => "that connections leave no memory and no open files behind",
            Self::Kill => "that what was acknowledged is there after every kill, and nothing twice",
            Self::RollingRestart => "that no call fails, whichever node is away",
            Self::NodeLoss => "that a node is missed for seconds, and has all when it is back",
            Self::Rebalance => "that replicas and leads move without a trace in the books",
            Self::Partition => "that two nodes go on without the third, and all agree again",
        }
    }

    /// What its orders are like, drawn from `seed`, in a shop of so many customers and items.
    pub fn shape(self, customers: u64, items: u64, seed: u64) -> Shape {
        let shape = Shape {
            customers,
            items,
            lines: items.min(2) as u32,
            seed,
            ..Shape::default()
        };
        match self {
            Self::HotCustomer => Shape {
                customers: 1,
                ..shape
            },
            Self::HotItem => Shape {
                items: 1,
                lines: 1,
                ..shape
            },
            Self::LargeOrders => Shape {
                lines: items.min(50) as u32,
                ..shape
            },
            Self::ReadHeavy => Shape {
                read_share: 0.9,
                ..shape
            },
            _ => shape,
        }
    }
}

/// One scenario's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which.
    pub scenario: Scenario,
    /// How much of the time it gets, against the others.
    pub weight: u32,
}

/// The turns of `chosen`, which are in the order of [`Scenario::ALL`]. Steady load comes first and, if there are others,
/// again when they have left behind whatever they leave: that is the same load on the same server with a history. Those of a
/// cluster, which are on other servers, come last.
pub fn phases(chosen: &[Scenario]) -> Vec<Phase> {
    let phase = |scenario, weight| Phase { scenario, weight };
    let alone = chosen.iter().filter(|scenario| !scenario.is_together());
    let mut again = alone.count() > 1 && chosen.contains(&Scenario::Steady);
    let mut phases = Vec::new();
    for scenario in Scenario::ALL.into_iter().filter(|one| chosen.contains(one)) {
        if again && (scenario == Scenario::Kill || scenario.is_together()) {
            phases.push(phase(Scenario::Steady, 1));
            again = false;
        }
        // Twice: with orders, and without.
        let weight = if scenario == Scenario::ReadHeavy { 2 } else { 1 };
        phases.push(phase(scenario, weight));
    }
    if again {
        phases.push(phase(Scenario::Steady, 1));
    }
    phases
}

/// What is left for phase `index`, if `left` is left for it and all that follow it.
pub fn share(phases: &[Phase], index: usize, left: Duration) -> Duration {
    let weights: u32 = phases[index..].iter().map(|phase| phase.weight).sum();
    left * phases[index].weight / weights.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenarios(chosen: &[Scenario]) -> Vec<Scenario> {
        phases(chosen).iter().map(|phase| phase.scenario).collect()
    }

    #[test]
    fn every_name_is_found_and_every_scenario_has_its_turn() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name()), Some(scenario));
            assert_eq!(scenarios(&[scenario]), [scenario]);
            assert!(scenarios(&Scenario::ALL).contains(&scenario));
        }
        assert_eq!(Scenario::named("all"), None);
    }

    #[test]
    fn steady_load_comes_again_when_the_others_are_over_and_before_the_process_is_another() {
        let all = scenarios(&Scenario::ALL);
        assert_eq!(all[0], Scenario::Steady);
        assert_eq!(all[8..10], [Scenario::Steady, Scenario::Kill] as [Scenario; 2]);
        assert!(all[10..].iter().all(|scenario| scenario.is_together()), "{all:?}");
        let two = scenarios(&[Scenario::Steady, Scenario::Burst]);
        assert_eq!(two, [Scenario::Steady, Scenario::Burst, Scenario::Steady]);
        let of_both = scenarios(&[Scenario::Steady, Scenario::Burst, Scenario::Partition]);
        assert_eq!(of_both[2..], [Scenario::Steady, Scenario::Partition]);
        let both = [Scenario::Steady, Scenario::Partition];
        assert_eq!(scenarios(&both), both);
    }

    #[test]
    fn all_time_is_shared() {
        let phases = phases(&Scenario::ALL);
        let mut left = Duration::from_secs(150);
        let shares = (0..phases.len()).map(|index| {
            let share = share(&phases, index, left);
            left -= share;
            share.as_secs()
        });
        assert_eq!(
            shares.collect::<Vec<_>>(),
            [10, 10, 10, 10, 10, 10, 20, 10, 10, 10, 10, 10, 10, 10]
        );
        assert_eq!(left, Duration::ZERO);
    }
}

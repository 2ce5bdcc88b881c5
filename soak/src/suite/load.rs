//! How each scenario loads the server in a round.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Plan, scenario::Scenario, scene::Scene, storm};
use crate::{Error, Load, Mode, Pace, Tally, Target, Workload, drive};

/// Orders a second of steady load, where the run may place so many.
pub const STEADY_PER_SECOND: f64 = 2_000.0;
/// Of steady load at most so many are in flight.
const STEADY_IN_FLIGHT: usize = 1_024;
/// A burst: how long, how much is in flight, on how many streams; and then how long little is asked, and how little.
const BURST: (Duration, usize, usize) = (Duration::from_secs(1), 2_048, 8);
const LULL: (Duration, f64) = (Duration::from_secs(2), 200.0);
/// The rates of a ramp, in orders a second. The last one shows whether the server recovers.
const RAMP_PER_SECOND: [f64; 8] = [
    1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0, 32_000.0, 64_000.0, 1_000.0,
];
/// What a ramp has in flight at most, on how many connections: more than a server admits by default.
const RAMP: (usize, usize) = (8_192, 16);
/// Large orders in flight.
const LARGE_IN_FLIGHT: usize = 16;
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A load shorter than that is none.
const SHORTEST: Duration = Duration::from_millis(20);

/// Where a round's load goes, and how long.
#[derive(Clone)]
pub struct Round {
    pub scene: Arc<Scene>,
    pub target: Target,
    pub workload: Arc<Workload>,
    /// When it ends.
    pub end: Instant,
    /// So many orders it may place.
    pub allowance: u64,
    /// Counts rounds, for those that alternate.
    pub number: u64,
}

impl Round {
    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.left() < SHORTEST || self.scene.progress.is_over()
    }

    /// Drives a part of the round, at most for as long as is left of it.
    async fn drive(
        &self,
        mode: Mode,
        pace: Pace,
        flight: (usize, usize),
        most: Duration,
    ) -> Result<Tally, Error> {
        self.drive_for(mode, pace, flight, self.left().min(most)).await
    }

    /// Drives a part of the round, even beyond its end.
    async fn drive_for(
        &self,
        mode: Mode,
        pace: Pace,
        flight: (usize, usize),
        duration: Duration,
    ) -> Result<Tally, Error> {
        let load = Load {
            mode,
            pace,
            in_flight: flight.0.max(flight.1),
            connections: flight.1,
            threads: 1,
            duration,
            patience: PATIENCE,
        };
        drive(&self.target, &self.workload, &load, &self.scene.progress).await
    }
}

/// Loads the server as `scenario` does, until the round is over or has placed what it may.
///
/// # Errors
/// There is no connection to be had.
pub async fn load(scenario: Scenario, plan: &Plan, round: &Round) -> Result<Tally, Error> {
    let (flight, all) = ((plan.in_flight, plan.connections), round.left());
    let closed = Pace::Closed;
    match scenario {
        Scenario::Steady => {
            let per_second = (round.allowance as f64 / all.as_secs_f64().max(1e-3)).min(STEADY_PER_SECOND);
            let pace = Pace::Open {
                per_second: per_second.max(1.0),
            };
            round
                .drive(Mode::Unary, pace, (STEADY_IN_FLIGHT, plan.connections), all)
                .await
        }
        Scenario::Burst => burst(plan, round).await,
        Scenario::Overload => ramp(round).await,
        Scenario::HotItem => round.drive(Mode::Stream, closed, flight, all).await,
        Scenario::LargeOrders => {
            round
                .drive(
                    Mode::Unary,
                    closed,
                    (LARGE_IN_FLIGHT, plan.connections.min(LARGE_IN_FLIGHT)),
                    all,
                )
                .await
        }
        Scenario::Kill if round.number.is_multiple_of(2) => {
            round.drive(Mode::Stream, closed, flight, all).await
        }
        Scenario::HotCustomer | Scenario::ReadHeavy | Scenario::Kill => {
            round.drive(Mode::Unary, closed, flight, all).await
        }
        Scenario::ReconnectStorm => storm::storm(round).await,
        Scenario::RollingRestart | Scenario::NodeLoss | Scenario::Rebalance | Scenario::Partition => {
            Err(Error::Broken("a scenario of three nodes was run by one"))
        }
    }
}

/// Adds a load that came after all others, and not beside them.
fn follow(tally: &mut Tally, next: Tally) {
    let elapsed = tally.elapsed + next.elapsed;
    tally.add(next);
    tally.elapsed = elapsed;
}

async fn burst(plan: &Plan, round: &Round) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let lull = Pace::Open { per_second: LULL.1 };
    while !round.is_over() {
        follow(
            &mut tally,
            round
                .drive(Mode::Stream, Pace::Closed, (BURST.1, BURST.2), BURST.0)
                .await?,
        );
        if round.is_over() {
            break;
        }
        let flight = (plan.in_flight, plan.connections);
        follow(&mut tally, round.drive(Mode::Unary, lull, flight, LULL.0).await?);
    }
    Ok(tally)
}

async fn ramp(round: &Round) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let step = (round.left() / RAMP_PER_SECOND.len() as u32).max(SHORTEST);
    for per_second in RAMP_PER_SECOND {
        if round.scene.progress.is_over() {
            break;
        }
        // Answers to what is too much come late. The last step has its time all the same: it shows whether the server recovers.
        let pace = Pace::Open { per_second };
        follow(&mut tally, round.drive_for(Mode::Unary, pace, RAMP, step).await?);
    }
    Ok(tally)
}

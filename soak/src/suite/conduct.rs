//! Conducts a run: phases, their rounds, kills and restarts.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use tempfile::TempDir;
use tokio::{
    sync::{oneshot, watch as watched},
    task::JoinHandle,
    time::Instant,
};

use super::{
    Plan, Scenario, Scene, Told,
    clerk::{Clerk, Done},
    judge,
    keeper::{Keepers, Lives},
    lives::sections,
    load::{self, load},
    memory::Memory,
    outcome::{Event, Kept, Outcome, PhaseReport, Restart},
    round::{Closing, Model},
    sample::Activity,
    scenario::{Phase, phases, share},
    watch::{Probe, watch},
};
use crate::{Chance, Error, Server, Tally, Target, Workload, books, disk};

/// A round takes so long, at least while there is as much time.
const ROUND: Duration = Duration::from_secs(300);
/// However long a run is, it has no more rounds than that; of kills there are as many rounds as kills.
const ROUNDS_MAX: u32 = 288;
/// Even a round whose time went to the check before it loads the server so long.
const LOAD_MIN: Duration = Duration::from_millis(300);
/// A process is killed about so often, but no more often in a run than that.
const KILL_EVERY: Duration = Duration::from_secs(4);
const KILLS_MAX: u32 = 24;
/// Load before a kill, at most.
const KILL_LOAD_MAX: Duration = Duration::from_secs(5);
/// How long it may take until nothing is in flight when nothing is asked.
pub(super) const QUIET_MAX: Duration = Duration::from_secs(3);
pub(super) const QUIET_LOOK: Duration = Duration::from_millis(100);
/// How often somebody looks whether the server still runs.
const DEATH_LOOK: Duration = Duration::from_millis(200);
/// Rounds of reads without orders begin behind this share of the rounds.
const READS_WITH_ORDERS: (u32, u32) = (1, 4);

/// Runs `plan`. `scene` can end it early; `told` hears of every sample.
///
/// # Errors
/// The plan makes no sense, or there is no server. What goes wrong later is a fault, and there is a report of it.
pub async fn run(plan: Plan, scene: Arc<Scene>, told: Told) -> Result<Outcome, Error> {
    let shop = Arc::new(plan.validate()?);
    let folder = tempfile::Builder::new()
        .prefix("docket-soak-")
        .tempdir_in(&plan.dir)
        .map_err(Error::system("make a folder for the server"))?;
    let in_memory = disk::is_memory(folder.path())?;
    let (mut server, mut target) = (None, None);
    if plan.scenarios.iter().any(|scenario| !scenario.is_together()) {
        let sections = sections(plan.paying.as_ref());
        let started = Server::start_as(&plan.program, folder.path(), &sections, None).await?;
        let way = started.target()?;
        scene.server(Some(Probe::of(&started, folder.path())));
        scene.activity(Activity::Check);
        books::open(&way, &shop).await?;
        (server, target) = (Some(started), Some(way));
    }
    let watching = tokio::spawn(watch(Arc::clone(&scene), plan.sample, told));
    let mut run = Run {
        chance: Chance::new(plan.seed, 0x50a4),
        model: Model {
            paying: plan.paying.clone(),
            ..Model::of(shop)
        },
        plan,
        scene,
        folder,
        server,
        target,
        phases: Vec::new(),
        restarts: Vec::new(),
        events: Vec::new(),
        rounds: 0,
    };
    run.all().await;
    watching.abort();
    Ok(run.end(in_memory))
}

/// What a round is told that has nobody to ask.
const NO_SERVER: Error = Error::Broken("there is no server");

/// A clerk at work (what it did, and the memory it was given), and keepers beside it.
pub(super) struct AtWork {
    stop: oneshot::Sender<()>,
    clerk: JoinHandle<Result<(Done, Memory), Error>>,
    stop_keepers: watched::Sender<bool>,
    keepers: JoinHandle<Lives>,
}

impl AtWork {
    /// Stops them, and waits for what they did.
    pub(super) async fn end(self, model: &mut Model) -> Result<(Done, Lives), Error> {
        // They may have ended by themselves, with an error that is told below.
        let _ = self.stop.send(());
        let _ = self.stop_keepers.send(true);
        let lives = self
            .keepers
            .await
            .map_err(|_| Error::Broken("the keepers panicked"))?;
        let (done, memory) = self
            .clerk
            .await
            .map_err(|_| Error::Broken("the clerk panicked"))??;
        model.memory = memory;
        Ok((done, lives))
    }
}

/// A run.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) scene: Arc<Scene>,
    pub(super) folder: TempDir,
    /// None between a kill and the restart, and while there is a cluster.
    server: Option<Server>,
    /// The server, or the cluster's first node; none before either is there.
    pub(super) target: Option<Target>,
    pub(super) model: Model,
    pub(super) phases: Vec<PhaseReport>,
    restarts: Vec<Restart>,
    pub(super) events: Vec<Event>,
    rounds: u64,
    pub(super) chance: Chance,
}

impl Run {
    /// Everything up to the server's end. A run that cannot go on is one that failed.
    async fn all(&mut self) {
        let phases = phases(&self.plan.scenarios);
        let deadline = Instant::now() + self.plan.duration;
        let ran = self.every_phase(&phases, deadline).await;
        let server = self.server.take();
        self.scene.server(None);
        let ran = match (ran, &self.target, &server) {
            (Ok(()), Some(target), Some(_)) => self.model.end(std::slice::from_ref(target)).await,
            (ran, ..) => ran,
        };
        let ended = match (ran, server) {
            (Ok(()), Some(server)) => server.stop().await,
            // A server that failed, or is gone, need not stop in order: it is killed when it is dropped.
            (ran, _) => ran,
        };
        let ended = match ended {
            Ok(()) => self.together(&phases, deadline).await,
            failed => failed,
        };
        if let Err(cause) = ended {
            self.model.faults.add(format!("the run ended early: {cause}"));
            if let Some(phase) = self.phases.last_mut() {
                phase.to_s = self.scene.at_s();
            }
        }
    }

    async fn every_phase(&mut self, phases: &[Phase], deadline: Instant) -> Result<(), Error> {
        for (index, phase) in phases.iter().enumerate() {
            if phase.scenario.is_together() || self.scene.is_interrupted() {
                break;
            }
            // What checks took more than expected is taken from all that follow.
            let left = deadline.saturating_duration_since(Instant::now());
            let took = share(phases, index, left);
            self.phase(index, phase.scenario, took).await?;
        }
        Ok(())
    }

    async fn phase(&mut self, index: usize, scenario: Scenario, time: Duration) -> Result<(), Error> {
        let began = Instant::now();
        // Request ids follow from the seed: those of two phases must not meet.
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(index as u64 * 2);
        let shape = scenario.shape(self.plan.customers, self.plan.items, seed);
        self.scene.phase(index, shape.lines);
        let mut reading = shape.clone();
        (reading.read_share, reading.seed) = (1.0, seed.wrapping_add(1));
        let (placing, reading) = (Arc::new(Workload::new(shape)?), Arc::new(Workload::new(reading)?));
        self.phases.push(PhaseReport::begun(scenario, self.scene.at_s()));
        let rounds = rounds_of(scenario, time, self.plan.duration);
        for number in 0..rounds {
            if self.scene.is_interrupted() {
                break;
            }
            let reads = scenario == Scenario::ReadHeavy
                && number >= (rounds * READS_WITH_ORDERS.0).div_ceil(READS_WITH_ORDERS.1);
            let end = (began + time * (number + 1) / rounds).max(Instant::now() + LOAD_MIN);
            let workload = if reads { &reading } else { &placing };
            let name = format!("{} (phase {}, round {})", scenario.name(), index + 1, number + 1);
            let round = self.begin(workload, end)?;
            let (tally, (done, lives)) = match scenario {
                Scenario::Kill => self.kill(&round, number).await?,
                _ => self.load(scenario, &round, reads).await?,
            };
            self.scene.activity(Activity::Check);
            let ledger = self
                .phases
                .last_mut()
                .map(|phase| phase.add(tally))
                .unwrap_or_default();
            let closing = Closing {
                workload: Arc::clone(workload),
                ledger,
                done,
                lives,
                name,
            };
            let targets: Vec<_> = self.target.iter().cloned().collect();
            self.model
                .close(&self.scene, &targets, closing, &mut self.chance)
                .await?;
            self.settle().await?;
            if scenario == Scenario::Kill {
                self.scene.activity(Activity::Rest);
                self.scene.wait(end).await;
            }
            if let Some(phase) = self.phases.last_mut() {
                phase.to_s = self.scene.at_s();
            }
        }
        Ok(())
    }

    /// The next round, which may place its share of all orders.
    pub(super) fn begin(&mut self, workload: &Arc<Workload>, end: Instant) -> Result<load::Round, Error> {
        let target = self.target.clone().ok_or(NO_SERVER)?;
        self.rounds += 1;
        if let Some(mut watched) = self.scene.progress.watch() {
            // Those are of another workload.
            watched.begin_anew();
        }
        let time = end.saturating_duration_since(Instant::now());
        let share = time.as_secs_f64() / self.plan.duration.as_secs_f64();
        Ok(load::Round {
            scene: Arc::clone(&self.scene),
            target,
            workload: Arc::clone(workload),
            end,
            allowance: ((self.plan.orders_max as f64 * share) as u64).max(1),
            number: self.rounds,
        })
    }

    /// A load with the clerk beside it, and the rest of the round's time.
    async fn load(
        &mut self,
        scenario: Scenario,
        round: &load::Round,
        reads: bool,
    ) -> Result<(Tally, (Done, Lives)), Error> {
        self.scene
            .activity(if reads { Activity::Reads } else { Activity::Load });
        // Reads place next to nothing, and go on for as long as they may.
        self.scene.allow((!reads).then_some(round.allowance));
        let at_work = self.at_work(round, vec![round.target.clone()], !reads).await?;
        let loading = async {
            let tally = load(scenario, &self.plan, round).await;
            if Instant::now() < round.end {
                self.scene.activity(Activity::Rest);
                self.scene.wait(round.end).await;
            }
            tally
        };
        let ended = async {
            loop {
                tokio::time::sleep(DEATH_LOOK).await;
                if let Some(cause) = self.server.as_mut().and_then(Server::ended) {
                    break cause;
                }
            }
        };
        let tally = tokio::select! {
            tally = loading => tally,
            // Nobody will ever answer what is in flight.
            cause = ended => Err(cause),
        };
        if tally.is_err() {
            // The threads of the load end by themselves.
            self.scene.progress.stop_at(0);
        }
        let tally = tally?;
        Ok((tally, at_work.end(&mut self.model).await?))
    }

    /// The clerk, and keepers, who ask these; they change nothing without `changes`.
    pub(super) async fn at_work(
        &mut self,
        round: &load::Round,
        targets: Vec<Target>,
        changes: bool,
    ) -> Result<AtWork, Error> {
        if let Some(paying) = self.model.paying.as_ref().filter(|_| changes) {
            paying.fail().await?;
        }
        let clerk = Clerk {
            scene: Arc::clone(&self.scene),
            target: round.target.clone(),
            shop: Arc::clone(&self.model.shop),
            workload: Arc::clone(&round.workload),
            round: self.rounds,
            memory: std::mem::take(&mut self.model.memory),
            changes,
        };
        let keepers = Keepers {
            scene: Arc::clone(&self.scene),
            targets,
            workload: Arc::clone(&round.workload),
            round: self.rounds,
            carried: std::mem::take(&mut self.model.carried),
            paid: self.model.paying.is_some(),
        };
        let (stop, stopped) = oneshot::channel();
        // Where nothing is to change they end at once, with what they were given.
        let (stop_keepers, keepers_stopped) = watched::channel(!changes);
        Ok(AtWork {
            stop,
            clerk: tokio::spawn(clerk.work(stopped)),
            stop_keepers,
            keepers: tokio::spawn(keepers.work(keepers_stopped)),
        })
    }

    /// Kills the process at some moment of a load, and starts it again.
    async fn kill(&mut self, round: &load::Round, number: u32) -> Result<(Tally, (Done, Lives)), Error> {
        self.scene.activity(Activity::Load);
        self.scene.allow(None);
        let at_work = self.at_work(round, vec![round.target.clone()], true).await?;
        let time = round.end.saturating_duration_since(Instant::now());
        let most = time.mul_f64(0.6).min(KILL_LOAD_MAX);
        let moment = Instant::now() + most.mul_f64(0.3 + 0.7 * self.chance.unit());
        let endless = load::Round {
            end: moment + KILL_LOAD_MAX,
            number: number.into(),
            ..round.clone()
        };
        let plan = self.plan.clone();
        let loading = tokio::spawn(async move { load(Scenario::Kill, &plan, &endless).await });
        self.scene.wait(moment).await;
        let server = self
            .server
            .take()
            .ok_or(Error::Broken("there is no server to kill"))?;
        self.scene.activity(Activity::Down);
        self.scene.server(None);
        server.kill()?;
        self.scene.progress.stop_at(0);
        let tally = loading.await.map_err(|_| Error::Broken("the load panicked"))??;
        let done = at_work.end(&mut self.model).await?;

        let (at_s, began) = (self.scene.at_s(), Clock::now());
        let sections = sections(self.plan.paying.as_ref());
        let server = Server::start_as(&self.plan.program, self.folder.path(), &sections, None).await?;
        self.restarts.push(Restart {
            at_s,
            ready_s: began.elapsed().as_secs_f64(),
            orders: self.model.accounts.orders,
        });
        self.target = Some(server.target()?);
        self.scene.server(Some(Probe::of(&server, self.folder.path())));
        self.server = Some(server);
        Ok((tally, done))
    }

    /// Waits until nothing is in flight, and notes how the server is then.
    async fn settle(&self) -> Result<(), Error> {
        let Some(probe) = self.scene.probe() else {
            return Ok(());
        };
        let end = Instant::now() + QUIET_MAX;
        loop {
            let (mut gauges, _) = probe.look().await?;
            if gauges.in_flight == 0.0 && gauges.orders_open == 0.0 || Instant::now() > end {
                gauges.explained_bytes = self.scene.explained();
                self.scene.settled(gauges);
                return Ok(());
            }
            tokio::time::sleep(QUIET_LOOK).await;
        }
    }

    /// The judgement, and what becomes of the folder: whoever looks for a fault needs it.
    fn end(self, in_memory: bool) -> Outcome {
        let (samples, settled) = self.scene.recorded();
        let nodes_settled = self.scene.nodes_settled();
        let judged = judge::Evidence {
            phases: &self.phases,
            samples: &samples,
            settled: &settled,
        };
        let mut judgements = judge::all(&judged);
        judgements.extend(judge::nodes(&judged, &nodes_settled));
        let passed = self.model.faults.count == 0 && judgements.iter().all(judge::Judgement::is_fine);
        let kept: Option<PathBuf> = if passed {
            // What cannot be removed is in nobody's way.
            let _ = self.folder.close();
            None
        } else {
            Some(self.folder.keep())
        };
        Outcome {
            kept: Kept {
                folder: kept,
                in_memory,
            },
            took_s: self.scene.at_s(),
            interrupted: self.scene.is_interrupted(),
            plan: self.plan,
            phases: self.phases,
            restarts: self.restarts,
            events: self.events,
            samples,
            settled,
            nodes_settled,
            faults: self.model.faults,
            sums: self.model.sums,
            deeds: self.model.deeds,
            judgements,
        }
    }
}

/// How many rounds a phase has.
fn rounds_of(scenario: Scenario, time: Duration, all: Duration) -> u32 {
    let round = ROUND.max(all / ROUNDS_MAX);
    let rounds = time.as_secs_f64() / round.as_secs_f64();
    let rounds = (rounds.ceil() as u32).clamp(1, ROUNDS_MAX);
    match scenario {
        Scenario::Kill => ((time.as_secs_f64() / KILL_EVERY.as_secs_f64()) as u32).clamp(1, KILLS_MAX),
        Scenario::ReadHeavy => rounds.max(4),
        _ => rounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_no_more_rounds_than_are_kept_in_mind() {
        let (minutes, days) = (Duration::from_secs(120), Duration::from_secs(3 * 86_400));
        assert_eq!(rounds_of(Scenario::Steady, minutes / 11, minutes), 1);
        assert_eq!(rounds_of(Scenario::Kill, minutes / 11, minutes), 2);
        assert_eq!(rounds_of(Scenario::ReadHeavy, minutes / 6, minutes), 4);
        assert_eq!(rounds_of(Scenario::Kill, days / 11, days), KILLS_MAX);
        let all: u32 = phases(&Scenario::ALL)
            .iter()
            .filter(|phase| !phase.scenario.is_together())
            .map(|phase| rounds_of(phase.scenario, days / 11 * phase.weight, days))
            .sum();
        assert!((200..ROUNDS_MAX + KILLS_MAX + 20).contains(&all), "{all}");
    }
}

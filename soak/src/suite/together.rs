//! The scenarios of a cluster: three processes under the load of clients that call all of them, while nodes restart, are lost and come
//! back, give all they hold away, or cannot hear each other. After each round every node is held against the model.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Scenario,
    conduct::{QUIET_LOOK, QUIET_MAX, Run},
    lives::sections,
    outcome::{Event, PhaseReport},
    round::{Closing, Model},
    sample::{Activity, NodeGauges},
    scenario::{Phase, share},
    spread::Spread,
    watch::{Probe, look_at_nodes},
};
use crate::{
    Error, Workload, books,
    cluster::{Cluster, NODES},
    history::net::{Link, Net, Who},
};

/// A round takes about so long.
const ROUND: Duration = Duration::from_secs(60);
/// However long a run is, a scenario has no more rounds than that.
const ROUNDS_MAX: u32 = 24;
/// A round may place so many orders, however little its share of them is: what happens in it must meet a load.
const ORDERS_MIN: u64 = 20_000;
/// A node is away, or cut off, for at least this long and at most three times as long.
const AWAY: Duration = Duration::from_secs(2);
/// Load before and after what happens in a round, at least.
const CALM: Duration = Duration::from_millis(500);
/// How often somebody looks whether the nodes still run.
const DEATH_LOOK: Duration = Duration::from_millis(200);

impl Run {
    /// The turns of these scenarios, `phases` of which is all that the run has.
    pub(super) async fn together(&mut self, phases: &[Phase], deadline: Instant) -> Result<(), Error> {
        let Some(first) = phases.iter().position(|phase| phase.scenario.is_together()) else {
            return Ok(());
        };
        if self.scene.is_interrupted() {
            return Ok(());
        }
        self.scene.activity(Activity::Check);
        let folder = self.folder.path().join("cluster");
        let mut cluster = Cluster::found(
            &self.plan.program,
            &folder,
            Net::new(self.plan.seed),
            &sections(self.plan.paying.as_ref()),
        )
        .await?;
        self.event("three nodes are a cluster".to_owned());
        (1..=NODES).for_each(|node| self.watch_node(&cluster, node));
        // Another shop: what was checked before stays counted.
        let shop = Arc::new(self.plan.validate()?);
        let before = std::mem::replace(&mut self.model, Model::of(Arc::clone(&shop)));
        self.model = Model {
            faults: before.faults,
            sums: before.sums,
            deeds: before.deeds,
            paying: before.paying,
            ..Model::of(Arc::clone(&shop))
        };
        let targets = cluster.targets()?;
        books::open(&targets[0], &shop).await?;
        self.target = targets.first().cloned();
        for (index, phase) in phases.iter().enumerate().skip(first) {
            if self.scene.is_interrupted() {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let time = share(phases, index, left);
            self.phase_together(&mut cluster, index, phase.scenario, time)
                .await?;
        }
        cluster.settled().await?;
        self.model.end(&cluster.targets()?).await?;
        (1..=NODES).for_each(|node| self.scene.node(node, None));
        cluster.end().await
    }

    /// From now on this process of a node is sampled.
    fn watch_node(&self, cluster: &Cluster, node: u8) {
        let process = cluster.process(node);
        self.scene
            .node(node, process.map(|(server, folder)| Probe::of(server, folder)));
    }

    async fn phase_together(
        &mut self,
        cluster: &mut Cluster,
        index: usize,
        scenario: Scenario,
        time: Duration,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(index as u64 * 2);
        let shape = scenario.shape(self.plan.customers, self.plan.items, seed);
        self.scene.phase(index, shape.lines);
        let workload = Arc::new(Workload::new(shape)?);
        self.phases.push(PhaseReport::begun(scenario, self.scene.at_s()));
        let rounds = (time.as_secs_f64() / ROUND.as_secs_f64()).ceil() as u32;
        let rounds = rounds.clamp(1, ROUNDS_MAX);
        for number in 0..rounds {
            if self.scene.is_interrupted() {
                break;
            }
            let end = began + time * (number + 1) / rounds;
            let name = format!("{} (phase {}, round {})", scenario.name(), index + 1, number + 1);
            let closing = self
                .round_together(cluster, scenario, &workload, end, name)
                .await?;
            self.scene.activity(Activity::Check);
            cluster.settled().await?;
            let targets = cluster.targets()?;
            self.model
                .close(&self.scene, &targets, closing, &mut self.chance)
                .await?;
            self.settle_nodes().await;
            if let Some(phase) = self.phases.last_mut() {
                phase.to_s = self.scene.at_s();
            }
        }
        Ok(())
    }

    /// A load with the clerk beside it, and what happens meanwhile. It takes as long as that does, also beyond `end`.
    async fn round_together(
        &mut self,
        cluster: &mut Cluster,
        scenario: Scenario,
        workload: &Arc<Workload>,
        end: Instant,
        name: String,
    ) -> Result<Closing, Error> {
        let round = self.begin(workload, end)?;
        self.scene.activity(Activity::Load);
        self.scene.allow(Some(round.allowance.max(ORDERS_MIN)));
        let stop = Arc::<AtomicBool>::default();
        let spread = Spread {
            scene: Arc::clone(&self.scene),
            workload: Arc::clone(workload),
            addresses: cluster.addresses(),
            key: cluster.key().to_owned(),
            clients: self.plan.connections,
            in_flight: self.plan.in_flight,
            stop: Arc::clone(&stop),
        };
        let at_work = self.at_work(&round, cluster.targets()?, true).await?;
        let loading = tokio::spawn(spread.place());
        let happened = self.happen(cluster, scenario).await;
        if happened.is_ok() {
            self.scene.wait(end.max(Instant::now() + CALM)).await;
        }
        stop.store(true, Ordering::Release);
        self.scene.progress.stop_at(0);
        let tally = loading.await.map_err(|_| Error::Broken("the load panicked"))?;
        let worked = at_work.end(&mut self.model).await;
        // What happened to the nodes is the cause, where both failed.
        happened?;
        if let Some(cause) = cluster.ended() {
            return Err(cause);
        }
        let (done, lives) = worked?;
        let tally = tally?;
        let ledger = self.phases.last_mut().map(|phase| phase.add(tally));
        let ledger = ledger.unwrap_or_default();
        Ok(Closing {
            workload: Arc::clone(workload),
            ledger,
            done,
            lives,
            name,
        })
    }

    /// What a round of the scenario is about.
    async fn happen(&mut self, cluster: &mut Cluster, scenario: Scenario) -> Result<(), Error> {
        self.scene.wait(Instant::now() + CALM).await;
        match scenario {
            Scenario::RollingRestart => {
                for node in 1..=NODES {
                    self.event(format!("node {node} restarts"));
                    self.scene.node(node, None);
                    cluster.stop(node).await?;
                    cluster.start(node).await?;
                    self.watch_node(cluster, node);
                    self.event(format!("node {node} is back"));
                }
            }
            Scenario::NodeLoss => {
                // Who leads is missed the most.
                let node = cluster.leader().await?;
                self.event(format!("node {node} is killed"));
                self.scene.node(node, None);
                cluster.kill(node)?;
                self.away(cluster).await?;
                cluster.start(node).await?;
                self.watch_node(cluster, node);
                self.event(format!("node {node} is back"));
            }
            Scenario::Rebalance => {
                let node = self.any_node();
                self.event(format!("node {node} is drained"));
                cluster.drain(node).await?;
                self.event(format!("node {node} has no replicas, and gets them back"));
                cluster.undrain(node).await?;
                self.event("every group is everywhere".to_owned());
            }
            Scenario::Partition => {
                let node = cluster.leader().await?;
                let others: Vec<_> = (1..=NODES)
                    .filter(|other| *other != node)
                    .map(Who::Node)
                    .collect();
                self.event(format!("node {node} is cut off from the others"));
                cluster.net.set_between(&[Who::Node(node)], &others, Link::Cut);
                self.away(cluster).await?;
                cluster.net.heal();
                self.event("the network is whole".to_owned());
                self.scene.wait(Instant::now() + AWAY).await;
                let node = self.any_node();
                self.event(format!("node {node} is heard by nobody"));
                for other in (1..=NODES).filter(|other| *other != node) {
                    cluster.net.set(Who::Node(node), Who::Node(other), Link::Cut);
                }
                self.away(cluster).await?;
                cluster.net.heal();
                self.event("the network is whole".to_owned());
            }
            _ => return Err(Error::Broken("a scenario of one node was run by three")),
        }
        Ok(())
    }

    /// The time for which a node is away.
    async fn away(&mut self, cluster: &mut Cluster) -> Result<(), Error> {
        let end = Instant::now() + AWAY.mul_f64(1.0 + 2.0 * self.chance.unit());
        while Instant::now() < end && !self.scene.is_interrupted() {
            if let Some(cause) = cluster.ended() {
                return Err(cause);
            }
            self.scene.wait(end.min(Instant::now() + DEATH_LOOK)).await;
        }
        Ok(())
    }

    /// Waits until nothing is in flight, and notes how each node is then.
    async fn settle_nodes(&self) {
        let end = Instant::now() + QUIET_MAX;
        loop {
            let nodes = look_at_nodes(&self.scene)
                .await
                .map(|node| node.map(|(node, _)| node));
            let is_busy = |node: &NodeGauges| node.gauges.in_flight > 0.0 || node.gauges.orders_open > 0.0;
            if Instant::now() < end && nodes.iter().flatten().any(is_busy) {
                tokio::time::sleep(QUIET_LOOK).await;
                continue;
            }
            for (at, node) in nodes.into_iter().enumerate() {
                if let Some(NodeGauges { life, mut gauges }) = node {
                    gauges.explained_bytes = self.scene.explained();
                    self.scene.node_settled(at, life, gauges);
                }
            }
            return;
        }
    }

    fn any_node(&mut self) -> u8 {
        1 + self.chance.below(u64::from(NODES)) as u8
    }

    fn event(&mut self, what: String) {
        let at_s = self.scene.at_s();
        self.events.push(Event { at_s, what });
    }
}

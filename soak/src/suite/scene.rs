//! What all parts of a run see: how far it is, under which circumstances, and what was sampled.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    sample::{Activity, Gauges, OfNodes, Sample, Series, Stage},
    watch::Probe,
};
use crate::{Progress, cluster::NODES};

/// Memory of a stored order without its lines, as declared: what [`Scene::explained`] counts.
const ORDER_BYTES: f64 = 430.0;
/// Memory of each of its lines.
const LINE_BYTES: f64 = 60.0;
/// Memory of a request that is remembered for nothing but that it is not done twice.
const REMEMBERED_BYTES: f64 = 200.0;

/// Memory that a stored order of so many lines explains, in bytes.
pub fn order_bytes(lines: u32) -> f64 {
    ORDER_BYTES + LINE_BYTES * f64::from(lines)
}

/// How the server was when nothing was asked of it, after a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settled {
    /// When, in seconds since the run began.
    pub at_s: f64,
    /// The number of the server's process.
    pub life: u32,
    /// How it was.
    pub gauges: Gauges,
}

/// How each node of a cluster was after each round.
pub type AfterRounds = [Vec<Settled>; NODES as usize];

/// What all parts of a run see.
#[derive(Debug)]
pub struct Scene {
    /// Counts all loads of the run.
    pub progress: std::sync::Arc<Progress>,
    began: Instant,
    seen: Mutex<Seen>,
    interrupted: AtomicBool,
    interrupt: Notify,
}

#[derive(Debug)]
struct Seen {
    stage: Stage,
    probe: Option<Probe>,
    /// Where each node can be seen that runs.
    nodes: OfNodes<Probe>,
    /// How often each was started.
    lives: [u32; NODES as usize],
    /// Memory of each order that is stored now.
    order_bytes: f64,
    explained_bytes: f64,
    /// Orders that are in `explained_bytes`.
    counted: u64,
    series: Series,
    settled: Vec<Settled>,
    nodes_settled: AfterRounds,
}

impl Scene {
    /// A run that begins now and is sampled so often.
    pub fn new(interval: Duration) -> Self {
        Self {
            progress: std::sync::Arc::new(Progress::watched()),
            began: Instant::now(),
            seen: Mutex::new(Seen {
                stage: Stage {
                    phase: 0,
                    activity: Activity::Down,
                    life: 0,
                },
                probe: None,
                nodes: [const { None }; _],
                lives: [0; _],
                order_bytes: order_bytes(2),
                explained_bytes: 0.0,
                counted: 0,
                series: Series::new(interval.as_secs_f64()),
                settled: Vec::new(),
                nodes_settled: [const { Vec::new() }; _],
            }),
            interrupted: AtomicBool::new(false),
            interrupt: Notify::new(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Every change under the lock is a whole one.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the run began.
    pub fn at_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// What goes on.
    pub fn stage(&self) -> Stage {
        self.seen().stage
    }

    /// The phase `phase` begins, whose orders have so many lines.
    pub fn phase(&self, phase: usize, lines: u32) {
        self.explained();
        let mut seen = self.seen();
        seen.stage.phase = phase;
        seen.order_bytes = order_bytes(lines);
    }

    /// Something else goes on.
    pub fn activity(&self, activity: Activity) {
        self.seen().stage.activity = activity;
    }

    /// Another process serves; none while there is none.
    pub fn server(&self, probe: Option<Probe>) {
        let mut seen = self.seen();
        if probe.is_some() && seen.stage.activity == Activity::Down && seen.probe.is_none() {
            seen.stage.life += 1;
        }
        seen.probe = probe;
    }

    /// What serves.
    pub fn probe(&self) -> Option<Probe> {
        self.seen().probe.clone()
    }

    /// Another process is node `number` of the cluster, counted from 1; none while it does not run.
    pub fn node(&self, number: u8, probe: Option<Probe>) {
        let mut seen = self.seen();
        let at = usize::from(number).wrapping_sub(1);
        if at >= seen.nodes.len() {
            return;
        }
        seen.lives[at] += u32::from(probe.is_some());
        seen.nodes[at] = probe;
    }

    /// The nodes that run: the number of the process of each, and where it can be seen.
    pub fn nodes(&self) -> OfNodes<(u32, Probe)> {
        let seen = self.seen();
        std::array::from_fn(|at| Some((seen.lives[at], seen.nodes[at].clone()?)))
    }

    /// Adds how a node is while nothing is asked of the cluster.
    pub fn node_settled(&self, at: usize, life: u32, gauges: Gauges) {
        let at_s = self.at_s();
        if let Some(settled) = self.seen().nodes_settled.get_mut(at) {
            settled.push(Settled { at_s, life, gauges });
        }
    }

    /// How the nodes were after each round.
    pub fn nodes_settled(&self) -> AfterRounds {
        self.seen().nodes_settled.clone()
    }

    /// A request is remembered that is no order.
    pub fn remembered(&self) {
        self.seen().explained_bytes += REMEMBERED_BYTES;
    }

    /// Memory that everything that is stored explains.
    pub fn explained(&self) -> f64 {
        let orders = self.progress.orders.load(Relaxed);
        let mut seen = self.seen();
        let new = orders.saturating_sub(seen.counted) as f64 * seen.order_bytes;
        seen.counted = orders;
        seen.explained_bytes += new;
        seen.explained_bytes
    }

    /// Adds a sample.
    pub fn sampled(&self, sample: Sample) {
        self.seen().series.push(sample);
    }

    /// Adds how the server is while nothing is asked of it.
    pub fn settled(&self, gauges: Gauges) {
        let at_s = self.at_s();
        let mut seen = self.seen();
        let life = seen.stage.life;
        seen.settled.push(Settled { at_s, life, gauges });
    }

    /// All that was sampled.
    pub fn recorded(&self) -> (Vec<Sample>, Vec<Settled>) {
        let seen = self.seen();
        (seen.series.clone().into_samples(), seen.settled.clone())
    }

    /// Ends the run early, in order: what is in flight is answered and checked.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Relaxed);
        self.progress.stop_at(0);
        self.interrupt.notify_waiters();
    }

    /// Whether it is to end early.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Relaxed)
    }

    /// Lets no load begin an order beyond so many more.
    pub fn allow(&self, orders: Option<u64>) {
        let now = self.progress.orders.load(Relaxed);
        self.progress
            .stop_at(orders.map_or(u64::MAX, |orders| now.saturating_add(orders)));
        // Whoever interrupts meanwhile must not be overruled.
        if self.is_interrupted() {
            self.progress.stop_at(0);
        }
    }

    /// Waits until `end`, or the end of the run.
    pub async fn wait(&self, end: Instant) {
        let interrupted = self.interrupt.notified();
        if self.is_interrupted() {
            return;
        }
        tokio::select! {
            () = sleep_until(end) => {}
            () = interrupted => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_explained_by_the_lines_of_the_phase_in_which_they_came() {
        let scene = Scene::new(Duration::from_secs(1));
        scene.phase(0, 2);
        scene.progress.orders.store(10, Relaxed);
        scene.phase(1, 50);
        scene.progress.orders.store(11, Relaxed);
        let explained = scene.explained();
        assert_eq!(explained, 10.0 * order_bytes(2) + order_bytes(50));
        scene.remembered();
        assert_eq!(scene.explained(), explained + REMEMBERED_BYTES);
    }

    #[test]
    fn nodes_have_processes_of_their_own() {
        let scene = Scene::new(Duration::from_secs(1));
        assert!(scene.nodes().iter().all(Option::is_none));
        let probe = || Some(Probe::at(1, "127.0.0.1:1".into(), "nowhere".into()));
        for (number, probe) in [(1, probe()), (2, probe()), (1, None), (1, probe()), (4, probe())] {
            scene.node(number, probe);
        }
        let lives = scene.nodes().map(|node| node.map(|(life, _)| life));
        assert_eq!(lives, [Some(2), Some(1), None]);
        scene.node_settled(1, 1, Gauges::default());
        scene.node_settled(7, 1, Gauges::default());
        let settled = scene.nodes_settled().map(|of_node| of_node.len());
        assert_eq!(settled, [0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_interrupted() {
        let scene = Scene::new(Duration::from_secs(1));
        let (began, hour) = (Instant::now(), Duration::from_secs(3_600));
        tokio::join!(scene.wait(began + hour), async { scene.interrupt() });
        scene.wait(began + hour).await;
        assert!(began.elapsed() < hour);
        scene.allow(Some(5));
        assert!(scene.progress.is_over());
    }
}

//! Watches a server's process from outside: `/proc`, its `/metrics`, and its folder.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    sample::{Gauges, NodeGauges, OfNodes, Quantiles, Sample},
    scene::Scene,
};
use crate::{Error, Latencies, Server, Usage, metric, metric_sum, process, server};

/// What `du` counts in.
const BLOCK_BYTES: u64 = 512;
/// The folder of the snapshots below the data directory.
const SNAPSHOTS: &str = "snapshots";

/// Where a server's process can be seen.
#[derive(Clone, Debug)]
pub struct Probe {
    pid: u32,
    admin: String,
    data: PathBuf,
}

/// Whoever hears of each sample.
pub type Told = Box<dyn Fn(&Sample) + Send + Sync>;

impl Probe {
    /// That of a server in `folder`.
    pub fn of(server: &Server, folder: &Path) -> Self {
        Self {
            pid: server.pid(),
            admin: server.announced().admin.clone(),
            data: Server::data_dir(folder),
        }
    }

    #[cfg(test)]
    pub(super) fn at(pid: u32, admin: String, data: PathBuf) -> Self {
        Self { pid, admin, data }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What the server has and uses; the time that it used is told beside.
    ///
    /// # Errors
    /// It has ended, or does not answer.
    pub async fn look(&self) -> Result<(Gauges, Duration), Error> {
        let page = server::metrics_at(self.admin.clone()).await?;
        let (pid, data) = (self.pid, self.data.clone());
        let of_system = tokio::task::spawn_blocking(move || {
            let usage = Usage::of(pid)?;
            let (files, threads) = process::files_and_threads(pid)?;
            let snapshots = bytes_below(&data.join(SNAPSHOTS));
            Ok::<_, io::Error>((usage, files, threads, snapshots, bytes_below(&data)))
        });
        let (usage, files, threads, snapshots, all) = of_system
            .await
            .map_err(|_| Error::Broken("looking at the server panicked"))?
            .map_err(Error::system("see what the server uses"))?;
        let gauges = Gauges {
            rss_bytes: usage.rss_bytes as f64,
            explained_bytes: 0.0,
            cpu_cores: 0.0,
            open_files: files as f64,
            threads: threads as f64,
            journal_bytes: metric(&page, "docket_journal_bytes"),
            snapshot_bytes: snapshots as f64,
            data_bytes: all as f64,
            actors: metric_sum(&page, "docket_actors"),
            in_flight: metric_sum(&page, "docket_requests_in_flight"),
            connections: metric_sum(&page, "docket_connections_open"),
            streams: metric_sum(&page, "docket_streams_open"),
            orders: metric(&page, "docket_orders"),
            orders_open: metric(&page, "docket_orders_open"),
        };
        Ok((gauges, usage.cpu))
    }
}

/// What everything below `folder` takes on the disk. Files come and go meanwhile: those that are gone take nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    });
    bytes.sum()
}

/// Counts at some moment.
#[derive(Clone, Copy)]
struct Counts {
    at: Instant,
    orders: u64,
    reads: u64,
    failed: u64,
    refused: u64,
    cpu: Option<Duration>,
    /// Of each node, with the number of its process.
    nodes_cpu: OfNodes<(u32, Duration)>,
}

/// Samples until it is dropped.
pub async fn watch(scene: Arc<Scene>, every: Duration, told: Told) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut before = counts(&scene, None, [None; _]);
    loop {
        ticks.tick().await;
        // A server that does not answer is told by the load; here it only cannot be seen.
        let looked = match scene.probe() {
            Some(probe) => probe.look().await.ok(),
            None => None,
        };
        let nodes = look_at_nodes(&scene).await;
        let cpu = nodes.map(|node| node.map(|(node, cpu)| (node.life, cpu)));
        let now = counts(&scene, looked.map(|(_, cpu)| cpu), cpu);
        let nodes = nodes.map(|node| node.map(|(node, _)| node));
        let sample = sample(&scene, &before, &now, looked.map(|(gauges, _)| gauges), nodes);
        before = now;
        told(&sample);
        scene.sampled(sample);
    }
}

/// All nodes of the cluster that can be seen, and the time that each has used.
pub async fn look_at_nodes(scene: &Scene) -> OfNodes<(NodeGauges, Duration)> {
    let looks = scene.nodes().into_iter().map(async |node| {
        let (life, probe) = node?;
        let (gauges, cpu) = probe.look().await.ok()?;
        Some((NodeGauges { life, gauges }, cpu))
    });
    let mut seen = join_all(looks).await.into_iter();
    std::array::from_fn(|_| seen.next().flatten())
}

fn counts(scene: &Scene, cpu: Option<Duration>, nodes_cpu: OfNodes<(u32, Duration)>) -> Counts {
    let progress = &scene.progress;
    Counts {
        at: Instant::now(),
        orders: progress.orders.load(Relaxed),
        reads: progress.reads.load(Relaxed),
        failed: progress.failed.load(Relaxed),
        refused: progress.refused.load(Relaxed),
        cpu,
        nodes_cpu,
    }
}

fn sample(
    scene: &Scene,
    before: &Counts,
    now: &Counts,
    gauges: Option<Gauges>,
    nodes: OfNodes<NodeGauges>,
) -> Sample {
    let span_s = now.at.duration_since(before.at).as_secs_f64().max(1e-6);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span_s;
    let taken = scene
        .progress
        .watch()
        .map(|mut watched| std::mem::take(&mut watched.latencies));
    let refused = rate(now.refused, before.refused);
    let used = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / span_s;
    // A new process has used less than the one before it.
    let cpu_cores = now
        .cpu
        .zip(before.cpu)
        .map_or(0.0, |(now, before)| used(now, before));
    let explained_bytes = scene.explained();
    let node = |number: usize| {
        let mut node = nodes[number]?;
        let cpu = now.nodes_cpu[number].zip(before.nodes_cpu[number]);
        let cpu = cpu.filter(|(now, before)| now.0 == before.0);
        node.gauges.cpu_cores = cpu.map_or(0.0, |(now, before)| used(now.1, before.1));
        node.gauges.explained_bytes = explained_bytes;
        Some(node)
    };
    Sample {
        at_s: scene.at_s(),
        span_s,
        stage: scene.stage(),
        mixed: false,
        orders: rate(now.orders, before.orders),
        reads: rate(now.reads, before.reads),
        refused,
        failed: (rate(now.failed, before.failed) - refused).max(0.0),
        latency: taken.as_ref().and_then(quantiles),
        gauges: gauges.map(|gauges| Gauges {
            explained_bytes,
            cpu_cores,
            ..gauges
        }),
        nodes: std::array::from_fn(node),
    }
}

fn quantiles(latencies: &Latencies) -> Option<Quantiles> {
    (latencies.count() > 0).then(|| Quantiles {
        count: latencies.count() as f64,
        p50: latencies.us(0.5) as f64,
        p99: latencies.us(0.99) as f64,
        p99_9: latencies.us(0.999) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_summed_up_with_all_that_is_below_them() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), vec![1; 100_000]).unwrap();
        assert!(bytes_below(folder.path()) >= 100_000);
        assert_eq!(bytes_below(&folder.path().join("missing")), 0);
    }

    #[test]
    fn rates_are_of_what_came_since_the_last_sample() {
        let scene = Scene::new(Duration::from_secs(1));
        let before = counts(&scene, None, [None; _]);
        scene.progress.orders.store(500, Relaxed);
        scene.progress.failed.store(30, Relaxed);
        scene.progress.refused.store(20, Relaxed);
        let now = Counts {
            at: before.at + Duration::from_secs(2),
            ..counts(&scene, None, [None; _])
        };
        let sample = sample(&scene, &before, &now, None, [None; _]);
        assert_eq!((sample.orders, sample.refused, sample.failed), (250.0, 10.0, 5.0));
        assert_eq!(sample.latency, None);
    }

    #[test]
    fn the_time_of_a_node_is_that_of_one_process() {
        let scene = Scene::new(Duration::from_secs(1));
        let cpu = |first: (u32, u64), second: (u32, u64)| {
            let of = |(life, ms)| Some((life, Duration::from_millis(ms)));
            [of(first), of(second), None]
        };
        let before = counts(&scene, None, cpu((1, 1_000), (1, 1_000)));
        let now = Counts {
            at: before.at + Duration::from_secs(2),
            ..counts(&scene, None, cpu((1, 2_000), (2, 1_500)))
        };
        let node = |life| {
            Some(NodeGauges {
                life,
                gauges: Gauges::default(),
            })
        };
        let sample = sample(&scene, &before, &now, None, [node(1), node(2), None]);
        let cores = sample.nodes.map(|node| node.map(|node| node.gauges.cpu_cores));
        assert_eq!(cores, [Some(0.5), Some(0.0), None]);
    }
}

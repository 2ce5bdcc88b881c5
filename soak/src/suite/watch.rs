//! Watches a server's process from outside: `/proc`, its `/metrics`, and its folder.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use super::{
    sample::{Gauges, Quantiles, Sample},
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
}

/// Samples until it is dropped.
pub async fn watch(scene: Arc<Scene>, every: Duration, told: Told) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut before = counts(&scene, None);
    loop {
        ticks.tick().await;
        // A server that does not answer is told by the load; here it only cannot be seen.
        let looked = match scene.probe() {
            Some(probe) => probe.look().await.ok(),
            None => None,
        };
        let now = counts(&scene, looked.map(|(_, cpu)| cpu));
        let sample = sample(&scene, &before, &now, looked.map(|(gauges, _)| gauges));
        before = now;
        told(&sample);
        scene.sampled(sample);
    }
}

fn counts(scene: &Scene, cpu: Option<Duration>) -> Counts {
    let progress = &scene.progress;
    Counts {
        at: Instant::now(),
        orders: progress.orders.load(Relaxed),
        reads: progress.reads.load(Relaxed),
        failed: progress.failed.load(Relaxed),
        refused: progress.refused.load(Relaxed),
        cpu,
    }
}

fn sample(scene: &Scene, before: &Counts, now: &Counts, gauges: Option<Gauges>) -> Sample {
    let span_s = now.at.duration_since(before.at).as_secs_f64().max(1e-6);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span_s;
    let taken = scene
        .progress
        .watch()
        .map(|mut watched| std::mem::take(&mut watched.latencies));
    let refused = rate(now.refused, before.refused);
    let cpu = now.cpu.zip(before.cpu);
    // A new process has used less than the one before it.
    let cpu_s = cpu.map_or(0.0, |(now, before)| now.saturating_sub(before).as_secs_f64());
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
            explained_bytes: scene.explained(),
            cpu_cores: cpu_s / span_s,
            ..gauges
        }),
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
        let before = counts(&scene, None);
        scene.progress.orders.store(500, Relaxed);
        scene.progress.failed.store(30, Relaxed);
        scene.progress.refused.store(20, Relaxed);
        let now = Counts {
            at: before.at + Duration::from_secs(2),
            ..counts(&scene, None)
        };
        let sample = sample(&scene, &before, &now, None);
        assert_eq!((sample.orders, sample.refused, sample.failed), (250.0, 10.0, 5.0));
        assert_eq!(sample.latency, None);
    }
}

//! SIGKILL at each of the journal's write and sync calls in turn, under clients that place and cancel orders: the rules
//! are those of `kill.rs`, which also lends the clients and the books. The process is killed by strace at its nth call of
//! a kind, before the call is carried out, for rising n: while it opens its journal, while it works, while it stops.
//!
//! An ordinary run takes a few n of each kind. The full one takes every n until a run ends by itself, and that again until
//! it has killed as often as the server makes such a call:
//!
//! ```text
//! DOCKET_KILL_POINTS=all cargo test --test e2e kill_points -- --nocapture
//! ```
//!
//! `DOCKET_KILL_POINTS=5` takes five of each kind; `DOCKET_SEED=n` sends the same requests again. Where strace is missing
//! or may not trace, a line says so.

mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use docket_persistence::mem::Seeded;
use rustix::process::Signal;

use self::trace::{File, Hit, Point, Seen, Since};
use crate::{
    api::Api,
    environment::seed,
    kill::{
        books::Books,
        workload::{Client, unanswered},
    },
    server::{Home, PATIENCE, Server, verify},
};

const CLIENTS: u64 = 4;
/// What each of them asks in a run that is not killed.
const REQUESTS: usize = 18;
/// Of each kind of call, so many are taken in an ordinary run.
const OF_EACH_KIND: usize = 2;
/// Of what is seldom done, so many are met in a full run.
const OF_EACH_KIND_IN_FULL: usize = 12;
/// After so many runs there are enough orders to make the books slow: the next begins with none.
const RUNS_OF_A_SHOP: usize = 25;
/// A server whose ports were taken by others is started again so often.
const STARTS: usize = 5;

/// How many calls of each kind are taken.
#[derive(Clone, Copy)]
enum Spread {
    All,
    Some(usize),
}

impl Spread {
    fn from_environment() -> Self {
        match std::env::var("DOCKET_KILL_POINTS") {
            Err(_) => Self::Some(OF_EACH_KIND),
            Ok(all) if all == "all" => Self::All,
            Ok(some) => Self::Some(some.parse().expect("DOCKET_KILL_POINTS is `all` or a number")),
        }
    }

    /// Which call the next run is killed at. `watched` was seen in a run to its end.
    fn next(self, so_far: &SoFar, watched: &Seen) -> Option<usize> {
        match self {
            Self::All => {
                let enough = watched.calls.max(OF_EACH_KIND_IN_FULL);
                let goes_on = so_far.kills < enough && so_far.runs < 2 * enough;
                // Again from 1 after a run that was not killed: sled's threads share their work differently every time.
                goes_on.then(|| so_far.last_killed.map_or(1, |nth| nth + 1))
            }
            // From the middles of as many equal parts. Which thread of a pool makes a call is different every time, and strace
            // counts per thread: after runs that came to their end, the first call of whichever thread is met by any run that
            // makes one at all.
            Self::Some(some) if so_far.runs < some => {
                Some(1 + watched.most_of_one_thread * (2 * so_far.runs + 1) / (2 * some))
            }
            Self::Some(some) => (so_far.kills == 0 && so_far.runs == some).then_some(1),
        }
    }
}

/// What was done about one kind of call.
#[derive(Default)]
struct SoFar {
    runs: usize,
    kills: usize,
    /// The call that the last run was killed at; none where it came to its end.
    last_killed: Option<usize>,
    /// Which calls of the process it was.
    met: BTreeSet<usize>,
    phases: BTreeMap<Phase, usize>,
}

/// Where a run was when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Opening,
    Working,
    Stopping,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_write_of_frames() {
    check(&Point::of("pwrite64", Since::Start, File::NewestSegment)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_write_of_the_mark() {
    check(&Point::of("pwrite64", Since::Start, File::Mark)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_an_fdatasync() {
    check(&Point::of("fdatasync", Since::Start, File::Any)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_sync_file_range() {
    let calls = "?sync_file_range,?sync_file_range2";
    check(&Point::of(calls, Since::Start, File::Any)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_an_fsync() {
    check(&Point::of("fsync", Since::Start, File::Any)).await;
    check(&Point::of("fsync", Since::Ready, File::Any)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_rename() {
    let calls = "?rename,?renameat,?renameat2";
    check(&Point::of(calls, Since::Start, File::Any)).await;
    check(&Point::of(calls, Since::Ready, File::Any)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_removal() {
    let calls = "?unlink,?unlinkat,?rmdir";
    check(&Point::of(calls, Since::Start, File::Any)).await;
    check(&Point::of(calls, Since::Ready, File::Any)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_truncation() {
    check(&Point::of("ftruncate", Since::Start, File::Any)).await;
}

/// Kills at calls of one kind, each time with the books checked after it.
async fn check(point: &Point) {
    let (seed, spread) = (seed(), Spread::from_environment());
    println!("{point}: DOCKET_SEED={seed}");
    let mut random = Seeded::new(seed);
    let mut shop = Shop::open(seed, &mut random).await;
    if let Some(why) = trace::missing(&shop.folder()) {
        return println!("SKIPPED: {point}: {why}");
    }
    let Some(watched) = shop.run(point, None).await else {
        return println!("SKIPPED: {point}: strace may not attach to a process");
    };
    let watched = watched.seen;
    println!(
        "{point}: {} calls in a run that is only watched, {} of them by one thread",
        watched.calls, watched.most_of_one_thread
    );
    let mut so_far = SoFar::default();
    while let Some(nth) = spread.next(&so_far, &watched) {
        if (so_far.runs + 1).is_multiple_of(RUNS_OF_A_SHOP) {
            shop = Shop::open(seed, &mut random).await;
        }
        let run = shop.run(point, Some(nth)).await.expect("it did attach before");
        so_far.runs += 1;
        so_far.last_killed = run.seen.hit.as_ref().map(|_| nth);
        if let Some(hit) = run.seen.hit {
            so_far.kills += 1;
            so_far.met.insert(hit.of_process);
            *so_far.phases.entry(run.phase).or_default() += 1;
        }
    }
    println!(
        "{point}: {} runs, {} kills {:?}, at {} different calls of the process",
        so_far.runs,
        so_far.kills,
        so_far.phases,
        so_far.met.len()
    );
    assert!(
        so_far.kills > 0 || !point.is_certain(),
        "{point} was never reached"
    );
}

/// A data directory, its clients, and what they were told.
struct Shop {
    home: Home,
    books: Books,
    clients: Vec<Client>,
}

/// How a run ended.
struct Run {
    phase: Phase,
    seen: Seen,
}

impl Shop {
    async fn open(seed: u64, random: &mut Seeded) -> Self {
        let home = Home::new()
            // Snapshots are taken and the journal is cut within a run or two.
            .set("cluster.snapshot_bytes_min", "4096")
            .set("journal.segment_bytes", "65536");
        let server = Server::start(&home);
        let books = Books::open(&Api::admin(&server, &home).await).await;
        server.stop(&home);
        let clients = (0..CLIENTS).map(|number| Client::new(seed, number, random.draw()));
        Self {
            books,
            clients: clients.collect(),
            home,
        }
    }

    fn folder(&self) -> PathBuf {
        self.home.data().parent().unwrap().to_owned()
    }

    /// One life of the server, ended by a kill at the nth call, or in order where there is no such call; then the books.
    /// None where strace may not attach.
    async fn run(&mut self, point: &Point, nth: Option<usize>) -> Option<Run> {
        let begun = Instant::now();
        let (run, acknowledged) = self.until_killed(point, nth).await?;
        let unknown = unanswered(&mut self.clients).count();
        let orders = self.check().await;
        let Some(nth) = nth else { return Some(run) };
        let told = match &run.seen.hit {
            Some(Hit {
                of_process,
                call,
                file,
            }) => {
                format!(
                    "killed at {call} of {file}, the process's {of_process}, {:?}",
                    run.phase
                )
            }
            None => "not reached".to_owned(),
        };
        println!(
            "{point} {nth}: {told}; {acknowledged} acknowledged, {unknown} without an answer; {orders}; {:.1?}",
            begun.elapsed()
        );
        Some(run)
    }

    async fn until_killed(&mut self, point: &Point, nth: Option<usize>) -> Option<(Run, u64)> {
        let (data, trace) = (self.home.data(), self.folder().join("trace"));
        let acknowledged = Arc::new(AtomicU64::new(0));
        for _ in 0..STARTS {
            let mut server = Server::launch_under(&self.home, &point.starter(&data, &trace, nth));
            let process = server.id();
            let (mut phase, mut follower) = (Phase::Opening, None);
            if server.ready(&self.home) {
                follower = match point.follow(process, &trace, nth) {
                    Ok(follower) => follower,
                    Err(why) => {
                        println!("{point}: {why}");
                        server.stop(&self.home);
                        return None;
                    }
                };
                phase = Phase::Working;
                self.work(&server, &acknowledged).await;
                if unanswered(&mut self.clients).next().is_none() && !server.has_ended() {
                    phase = Phase::Stopping;
                    server.terminate();
                }
            }
            let status = tokio::task::spawn_blocking(|| server.ended()).await.unwrap();
            let seen = trace::read(&trace, process, &data, nth);
            if let Some(mut follower) = follower {
                follower.wait().unwrap();
            }
            if phase == Phase::Opening && status.code() == Some(1) && seen.hit.is_none() {
                let log = self.home.log();
                assert!(log.contains("cannot listen on"), "it does not start: {log}");
                continue;
            }
            // It was strace that killed it, and at that call; or it lived to its end.
            assert_eq!(
                (status.signal(), status.code()),
                match seen.hit {
                    Some(_) => (Some(Signal::KILL.as_raw()), None),
                    None => (None, Some(0)),
                },
                "{point} {nth:?}: {seen:?}: {}",
                self.home.log()
            );
            return Some((Run { phase, seen }, acknowledged.load(Ordering::Acquire)));
        }
        panic!("{STARTS} pairs of free ports were taken by others");
    }

    /// Every client asks what it has to ask, or until the server is gone.
    async fn work(&mut self, server: &Server, acknowledged: &Arc<AtomicU64>) {
        let api = Api::admin_later(server, &self.home);
        let working: Vec<_> = self
            .clients
            .drain(..)
            .map(|client| tokio::spawn(client.work(api.clone(), acknowledged.clone(), REQUESTS)))
            .collect();
        for client in working {
            let ended = tokio::time::timeout(PATIENCE, client).await;
            self.clients
                .push(ended.expect("a call ends when the server is gone").unwrap());
        }
    }

    /// The rules, after a restart without strace; at last what had no answer is sent again.
    async fn check(&mut self) -> String {
        verify(&self.home);
        let server = Server::start(&self.home);
        let api = Api::admin(&server, &self.home).await;
        server.settled().await;
        self.books.check_acknowledged(&api, &self.clients).await;
        for request in unanswered(&mut self.clients) {
            request.send_until_answered(&api).await;
        }
        server.settled().await;
        let orders = self.books.check_all(&api, &self.clients).await;
        server.stop(&self.home);
        orders.to_string()
    }
}

//! Alerts fire when what they are about happens: causes are made on nodes of the built program, and a real Prometheus with the rules of
//! `docs/monitoring` looks at them. Each alert's cause is made somewhere here, and its page (`docs/runbooks`) read where it is: what that has
//! an operator ask of Prometheus has an answer, and what it says of the log is there.
//!
//! | file | causes of |
//! |---|---|
//! | `alone.rs` | a node that stands alone, its provider, its receivers |
//! | `operated.rs` | what is wrong with a node's disk, files, configuration, callers, or program |
//! | `slow.rs` | a disk that is slow |
//! | `cluster.rs` | three nodes, of which one after the other goes wrong |
//! | `pending.rs` | orders whose items do not answer |
//! | `standby.rs` | a cluster that another one follows is lost |

mod alone;
mod cluster;
mod disk;
mod operated;
mod pending;
mod prometheus;
mod slow;
mod standby;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

pub use cluster::leads;

use crate::{
    api::{Api, order},
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

/// How long a call may take, where that is not what is tried.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// A node's clock is followed by builds with debug assertions alone.
pub const CLOCK: &str = "DOCKET_TEST_CLOCK";
/// And so are faults.
pub const FAULTS: &str = "DOCKET_TEST_FAULTS";
pub const MINUTE_MS: i64 = 60_000;
pub const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// What a machine with much to do, and its disk, may be the cause of.
const OF_THE_MACHINE: [&str; 7] = [
    "DocketDiskLow",
    "DocketDiskFullPredicted",
    "DocketDiskReserveReached",
    "DocketJournalSyncSlow",
    "DocketOrderLatencyBudgetBurn",
    // A look that takes half a second, which is believed after one here and after two minutes elsewhere.
    "DocketClockOffset",
    // An election that is late, likewise.
    "DocketLeaderChanges",
];

/// What a page asks about and the test's cause is without, by the alert: another cause of it has it.
const OF_OTHERS: [(&str, &str); 4] = [
    // Nobody logs in, and callers have all the attempts that they want.
    ("DocketCredentialsRefused", "docket_auth_logins_total"),
    ("DocketCredentialsRefused", "limiter=\"failure\""),
    // The actor's panic is told of as a refusal.
    ("DocketPanics", "code=\"INTERNAL\""),
    // A file is gone; there is no server.
    (
        "DocketSecretsFailing",
        "docket_vault_token_expiry_timestamp_seconds",
    ),
];

/// A file that a node follows: how far its clock is moved, or what goes wrong.
pub struct Followed(tempfile::TempDir);

impl Followed {
    pub fn new(says: &str) -> Self {
        let followed = Self(tempfile::tempdir().unwrap());
        followed.says(says);
        followed
    }

    pub fn path(&self) -> String {
        self.0.path().join("followed").to_str().unwrap().to_owned()
    }

    fn says(&self, text: &str) {
        // Whole at any moment.
        let next = self.0.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    /// Has things go wrong on a node from now on.
    pub fn goes_wrong(&self, home: &Home, faults: &str) {
        let heeded = || home.whole_log().matches("since a test wants it").count();
        let (before, begun) = (heeded(), Instant::now());
        self.says(faults);
        while heeded() == before {
            assert!(
                begun.elapsed() < PATIENCE,
                "{faults:?} is not heeded: {}",
                home.log()
            );
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Moves a clock.
    pub fn moves(&self, by_ms: i64) {
        self.says(&by_ms.to_string());
    }
}

/// Whether the program that is tested moves its clock, and has things go wrong on demand: it is built as this one is.
pub fn obeys_tests() -> bool {
    cfg!(debug_assertions)
}

/// Places an order, whatever comes of it.
async fn place(api: &Api, request_id: &str, item: &str, method: &str) -> Result<String, tonic::Status> {
    let mut request = order(request_id, "ada", &[(item, 1, 5)]);
    request.payment_method = method.to_owned();
    let mut request = tonic::Request::new(request);
    request.set_timeout(ANSWERS_WITHIN);
    let placed = api.orders().place_order(request).await?;
    Ok(placed.into_inner().name)
}

/// Runs a command of an administrator.
fn docket(home: &Home, server: &Server, command: &str) -> Output {
    let key = home.data().join("admin.key");
    let address = format!("http://{}", server.grpc);
    let mut args: Vec<&str> = command.split(' ').collect();
    args.extend(["--addr", &address, "--api-key-file", key.to_str().unwrap()]);
    home.command(&args).output().unwrap()
}

/// The page of an alert.
fn page(alert: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/runbooks/{alert}.md"));
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// Whether what a page quotes is a question for Prometheus.
fn is_question(quoted: &str) -> bool {
    quoted.contains("docket_") && !quoted.starts_with("docket ")
}

/// Waits until a node's log says what the alert's page says that it does.
#[track_caller]
fn log_says(home: &Home, alert: &str, words: &str) {
    assert!(
        page(alert).contains(words),
        "the page of {alert} does not say {words:?}"
    );
    let begun = Instant::now();
    while !home.whole_log().contains(words) {
        assert!(
            begun.elapsed() < PATIENCE,
            "{alert}: no {words:?} in: {}",
            home.log()
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn every_alert_has_its_cause_made_here_and_the_page_says_by_what() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let mut alerts = BTreeSet::new();
    for entry in fs::read_dir(top.join("docs/monitoring/rules")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let named = |line: &str| Some(line.trim().strip_prefix("- alert: ")?.to_owned());
            alerts.extend(read(&path).lines().filter_map(named));
        }
    }
    assert!(alerts.len() > 30, "the rules are not read: {alerts:?}");
    let sources = [
        include_str!("alerts/alone.rs"),
        include_str!("alerts/cluster.rs"),
        include_str!("alerts/operated.rs"),
        include_str!("alerts/pending.rs"),
        include_str!("alerts/slow.rs"),
        include_str!("alerts/standby.rs"),
    ];
    let sources: String = sources.concat().split_whitespace().collect();
    let made = sources.split(".fires(\"").skip(1);
    let made: BTreeSet<String> = made
        .map(|call| call.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(alerts, made, "each alert, and where its cause is made");
    let monitoring = read(&top.join("docs/monitoring.md"));
    let rows = monitoring.lines().filter(|line| line.starts_with("| `Docket"));
    let told: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(alerts, told, "each alert, and the table of docs/monitoring.md");
}

//! What is wrong with a node's disk, its files, its configuration, its callers, or its program.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use docket_proto::v1::AdjustStockRequest;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};

use super::{
    CLOCK, DAY_MS, FAULTS, Followed, MINUTE_MS, disk::Disk, docket, log_says, obeys_tests, place,
    prometheus::Prometheus,
};
use crate::{
    api::{Api, Credentials},
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

/// Groups beside the first.
const SHARDS: usize = 3;
const MIB: usize = 1024 * 1024;
const DISK_BYTES: usize = 128 * MIB;
const AUDIT_BYTES: usize = 64 * 1024;
/// Who call at a time, without a valid key, and with one: more than the node lets in.
const CALLERS: usize = 24;
const LET_IN: usize = 4;
/// The server is started by a shell that has it told by an error, not by a signal, that a file may not grow.
const STARTER: [&str; 4] = ["/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

/// What the node is configured with; `more` is a line of its own.
fn configuration(more: &str) -> String {
    format!(
        "[log]\nlevel = \"info\"\n\n[scrub]\nevery_s = 1\n\n[verify]\nevery_s = 1\ngives_way_s = 0\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_a_node_that_is_badly_off_fire_when_their_causes_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount("a disk that fills up", &folder.path().join("disk"), DISK_BYTES);
    let (clock, faults) = (Followed::new("0"), Followed::new(""));
    let backups = folder.path().join("backups");
    let below = disk.as_ref().map_or(folder.path(), Disk::path);
    let mut home = Home::below(below)
        .set("admission.max_calls", &LET_IN.to_string())
        .set("admission.max_refusals_per_second", "1000000")
        .set("limits.failure.per_second", "1000000")
        .set("limits.failure.burst", "1000000")
        .set("cluster.snapshot_bytes_min", "4096")
        .set("journal.disk_reserve_bytes", &(8 * MIB).to_string())
        .set("server.failed_ms", "60000")
        .set("backup.to", backups.to_str().unwrap())
        .set("backup.every_s", "10")
        .set("payments.providers.bank.url", "http://127.0.0.1:9")
        .set("payments.providers.bank.token", "file:bank.token");
    if obeys_tests() {
        // It begins an hour ago.
        clock.moves(-60 * MINUTE_MS);
        home = home
            .variable(CLOCK, &clock.path())
            .variable(FAULTS, &faults.path());
    }
    home.configure(&configuration(""));
    fs::write(home.file("bank.token"), "first").unwrap();
    fs::create_dir(home.data()).unwrap();
    let audit = Disk::mount(
        "an audit log whose disk is full",
        &home.data().join("audit"),
        AUDIT_BYTES,
    );
    let mut server = Server::launch_under(&home, &STARTER.map(str::to_owned));
    assert!(server.ready(&home), "{}", home.log());
    let jobs = [("docket", vec![server.admin])];
    let Some(prometheus) = Prometheus::start("a node that is badly off", &jobs) else {
        return;
    };
    let api = Api::admin(&server, &home).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000).await;
    place(&api, "well", "nut", "").await.unwrap();

    // Backups that end an hour ago; then none, since a file is where they are to be.
    if obeys_tests() {
        prometheus.fires("DocketBackupOld", ("job", "docket"));
        // So do what it verifies, and what it reads once more.
        prometheus.fires("DocketVerifyOld", ("job", "docket"));
        prometheus.fires("DocketScrubOld", ("job", "docket"));
        clock.moves(0);
    }
    // There is none where the first was not begun yet.
    let _ = fs::rename(&backups, folder.path().join("backups-before"));
    fs::write(&backups, "").unwrap();

    // Callers that nobody knows; then more of those at a time whom it knows than are let in.
    let calling: Vec<_> = callers(&api.by(Credentials::key("docket_nobody_has_this_key"))).collect();
    prometheus.fires("DocketCredentialsRefused", ("job", "docket"));
    calling.iter().for_each(tokio::task::JoinHandle::abort);
    let calling: Vec<_> = callers(&api).collect();
    prometheus.fires("DocketOverloaded", ("job", "docket"));
    calling.iter().for_each(tokio::task::JoinHandle::abort);

    // A configuration with a mistake, a secret that is gone, an audit log that cannot be written, and a defect: all at once.
    home.configure(&configuration("every_day = true\n"));
    if let Some(audit) = &audit {
        audit.fill(0);
        let begun = Instant::now();
        while docket(&home, &server, "auth key create --scope read")
            .status
            .success()
        {
            assert!(begun.elapsed() < PATIENCE, "its disk is not full");
        }
    }
    if obeys_tests() {
        faults.goes_wrong(&home, "items-panic");
        place(&api, "panics", "nut", "").await.unwrap_err();
        faults.goes_wrong(&home, "");
    }
    prometheus.fires("DocketConfigurationInvalid", ("job", "docket"));
    log_says(
        &home,
        "DocketConfigurationInvalid",
        "the configuration stays as it was",
    );
    home.configure(&configuration(""));
    fs::rename(home.file("bank.token"), home.file("gone")).unwrap();
    server.signal(Signal::HUP);
    prometheus.fires("DocketSecretsFailing", ("job", "docket"));
    log_says(
        &home,
        "DocketSecretsFailing",
        "the one that was read before is in force",
    );
    fs::rename(home.file("gone"), home.file("bank.token")).unwrap();
    if let Some(audit) = &audit {
        prometheus.fires("DocketAuditFailing", ("job", "docket"));
        log_says(&home, "DocketAuditFailing", "the audit log cannot be written");
        audit.clear();
    }
    if obeys_tests() {
        prometheus.fires("DocketPanics", ("job", "docket"));
        log_says(&home, "DocketPanics", "panicked at");
    }
    prometheus.fires("DocketBackupFailing", ("job", "docket"));
    log_says(&home, "DocketBackupFailing", "no backup was made");

    // Nearly as many files as it may have.
    let most = set_limit(&server, Resource::Nofile, |open| Some(open + open / 8));
    prometheus.fires("DocketFilesNearLimit", ("job", "docket"));
    set_limit(&server, Resource::Nofile, |_| most);

    // Snapshots that cannot be written behind one that could; and days pass.
    let mut adjusted = 0;
    until_logged(&api, &home, &mut adjusted, "stored a snapshot").await;
    // One of its bits is not what was written; then it is again.
    let stored = stored_snapshot(&home);
    flip_a_bit(&stored);
    prometheus.fires("DocketScrubFoundDamage", ("kind", "snapshot"));
    log_says(&home, "DocketScrubFoundDamage", "what is stored is damaged");
    flip_a_bit(&stored);
    let of_groups = spoil_snapshots(&home);
    until_logged(&api, &home, &mut adjusted, "no snapshot could be stored").await;
    prometheus.fires("DocketSnapshotFailures", ("job", "docket"));
    if obeys_tests() {
        clock.moves(3 * DAY_MS);
        adjust(&api, &mut adjusted, 100).await;
        prometheus.fires("DocketSnapshotOld", ("job", "docket"));
    }
    for (folder, aside) in of_groups {
        fs::remove_file(&folder).unwrap();
        if aside.exists() {
            fs::rename(aside, folder).unwrap();
        }
    }

    // The disk fills up.
    if let Some(disk) = &disk {
        disk.fill(DISK_BYTES / 3);
        prometheus.fires("DocketDiskFullPredicted", ("job", "docket"));
        disk.clear();
    }

    // An item that counts a reservation twice.
    if obeys_tests() {
        faults.goes_wrong(&home, "stock-is-wrong");
        place(&api, "wrong", "nut", "").await.unwrap();
        faults.goes_wrong(&home, "");
        prometheus.fires("DocketBooksDisagree", ("job", "docket"));
    }

    // And the journal cannot be written any more: the node tells so for a while, and ends.
    set_limit(&server, Resource::Fsize, |_| Some(0));
    place(&api, "lost", "nut", "").await.unwrap_err();
    prometheus.fires("DocketJournalFailed", ("job", "docket"));
    let begun = Instant::now();
    while !server
        .get("/readyz?verbose")
        .is_some_and(|(_, why)| why.contains("the node has failed"))
    {
        assert!(begun.elapsed() < PATIENCE, "it does not say why: {}", home.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    server.terminate();
    assert_eq!(server.ended().code(), Some(1), "{}", home.log());
}

/// Callers that place one order after the other, whatever comes of it, until they are aborted.
fn callers(api: &Api) -> impl Iterator<Item = tokio::task::JoinHandle<()>> {
    (0..CALLERS).map(|caller| {
        let api = api.clone();
        tokio::spawn(async move {
            for number in 0_u64.. {
                let _ = place(&api, &format!("call-{caller}-{number}"), "nut", "").await;
                // Of a server that is gone each call fails at once.
                tokio::task::yield_now().await;
            }
        })
    })
}

/// Sets how much a server may have of something, by what it has now of files; what it might have before.
fn set_limit(server: &Server, of: Resource, to: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count();
    let maximum = getrlimit(of).maximum;
    let limit = Rlimit {
        current: to(open as u64),
        maximum,
    };
    prlimit(Some(server.pid()), of, limit).unwrap().current
}

/// Adjusts the stock so often, one time after the other: an entry each.
async fn adjust(api: &Api, adjusted: &mut u64, times: u64) {
    for _ in 0..times {
        *adjusted += 1;
        let request = AdjustStockRequest {
            name: "items/nut".into(),
            delta: 1,
            request_id: format!("adjust-{adjusted}"),
            ..Default::default()
        };
        api.items().adjust_stock(request).await.unwrap();
    }
}

/// Adjusts the stock until the log has a line with these words about a shard.
async fn until_logged(api: &Api, home: &Home, adjusted: &mut u64, words: &str) {
    let begun = Instant::now();
    let is_told = |log: String| {
        log.lines()
            .any(|line| line.contains(words) && line.contains("shard-"))
    };
    while !is_told(home.whole_log()) {
        assert!(begun.elapsed() < PATIENCE, "no {words:?} in: {}", home.log());
        adjust(api, adjusted, 10).await;
    }
}

/// The bytes of a snapshot that was stored.
fn stored_snapshot(home: &Home) -> PathBuf {
    let groups = (0..=SHARDS).map(|group| home.data().join(format!("snapshots/{group}")));
    let entries = groups.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let mut data = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none())
        .map(|path| path.join("data"))
        .filter(|data| data.exists());
    data.next().unwrap()
}

/// Flips one bit in the middle of a file.
fn flip_a_bit(path: &Path) {
    let middle = fs::metadata(path).unwrap().len() / 2;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

/// Puts files where snapshots of groups are to be, and the snapshots aside: both, of each group.
fn spoil_snapshots(home: &Home) -> Vec<(PathBuf, PathBuf)> {
    let spoilt = (0..=SHARDS).map(|group| {
        let folder = home.data().join(format!("snapshots/{group}"));
        let aside = home.file(&format!("snapshots-{group}"));
        // Of some there is none yet.
        if folder.exists() {
            fs::rename(&folder, &aside).unwrap();
        }
        fs::write(&folder, "").unwrap();
        (folder, aside)
    });
    spoilt.collect()
}

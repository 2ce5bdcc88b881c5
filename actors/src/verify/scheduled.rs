//! Verifications that a node begins by itself, and what the last one found.
//!
//! ```text
//!   first after at most an hour, then every ──▶ waits while the node is at work, so long at most ──▶ walks, slowly while it is ──▶ last result
//! ```
//!
//! It takes the one turn that there is to verify, as whoever asks for a verification does, on one thread of those that may block. Foreground work
//! goes first: it begins while there is little of that, and where it cannot wait for it any longer, or some comes in between, it leaves
//! nineteen parts of twenty of a core to others. What is kept while it walks grows with what is changed meanwhile, so that it does not stand still.
//! Whoever asks for a verification meanwhile breaks it off and has the turn; it is begun anew later.
//!
//! What was found wrong of a shard stands until that shard is looked at again and found right: a verification that left it out, or left suspicions
//! undecided, says nothing of that.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use docket_cluster::{GroupId, clock::wall_clock};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{DiscrepancyKind, NO_REPLICA, VerifyError, VerifyPace, VerifyReport, paid_in::AllPaidIn};
use crate::{Docket, docket::Inner};

/// A node that was just started begins within so long, also where it verifies less often: else one that is started anew every day never would.
const FIRST_WITHIN: Duration = Duration::from_secs(60 * 60);
/// How often it is looked whether the node is at work still.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What cannot be verified now is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// While it walks: it pauses so many times as long as it worked,
const PAUSES: u32 = 1;
/// and while the node is at work so many,
const PAUSES_AT_WORK: u32 = 19;
/// but never longer, so that what is kept of changes meanwhile does not grow for long.
const PAUSE_MAX: Duration = Duration::from_millis(20);
const PAUSE_MAX_AT_WORK: Duration = Duration::from_millis(400);

/// How a node verifies its books by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyOptions {
    /// How often; `None` for never. Default once a day.
    pub every: Option<Duration>,
    /// How long it waits at most for the node to be at work no more. Default an hour.
    pub gives_way_for: Duration,
    /// How patient it is.
    pub pace: VerifyPace,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(24 * 60 * 60)),
            gives_way_for: Duration::from_secs(60 * 60),
            pace: VerifyPace::default(),
        }
    }
}

/// What became of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The node began it by itself.
    pub by_itself: bool,
    /// What was found.
    pub report: Arc<VerifyReport>,
}

/// What a node knows of its verifications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyStatus {
    /// One goes on.
    pub is_running: bool,
    /// The node wants to begin one by itself, and waits for less work.
    pub gives_way: bool,
    /// The last that was carried out.
    pub last: Option<Verification>,
    /// How much is wrong of each kind: of each shard as of the last time that it was looked at.
    pub standing: BTreeMap<DiscrepancyKind, u64>,
    /// The same of each shard that was looked at.
    pub by_group: BTreeMap<GroupId, u64>,
}

/// What is wrong of each shard that is here, as of the last time that it was looked at.
#[derive(Default)]
struct Standing(BTreeMap<GroupId, BTreeMap<DiscrepancyKind, u64>>);

impl Standing {
    fn take(&mut self, report: &VerifyReport) {
        let gone = report.not_looked_at.iter().filter(|it| it.why == NO_REPLICA);
        for shard in gone {
            self.0.remove(&shard.group);
        }
        // What was wrong may be among what could not be decided.
        let is_decided = report.undecided_suspicions() == 0;
        for shard in &report.shards {
            let stands = self.0.entry(shard.group).or_default();
            if is_decided {
                stands.clear();
            }
            for (kind, count) in report.by_shard.get(&shard.group).into_iter().flatten() {
                let stands = stands.entry(*kind).or_default();
                *stands = (*stands).max(*count);
            }
        }
    }

    /// How much is wrong of each shard.
    fn by_group(&self) -> BTreeMap<GroupId, u64> {
        let sum = |kinds: &BTreeMap<DiscrepancyKind, u64>| kinds.values().sum();
        self.0.iter().map(|(group, kinds)| (*group, sum(kinds))).collect()
    }

    fn by_kind(&self) -> BTreeMap<DiscrepancyKind, u64> {
        let mut sum = BTreeMap::new();
        for (kind, count) in self.0.values().flatten() {
            *sum.entry(*kind).or_default() += count;
        }
        sum
    }
}

/// The verifications of a node.
#[derive(Default)]
pub(crate) struct Verifications {
    status: Mutex<VerifyStatus>,
    standing: Mutex<Standing>,
    /// Of one that the node has begun by itself, until somebody has broken it off.
    breaks_off: Mutex<Option<CancellationToken>>,
    /// How often one has paused for what goes first.
    pub(super) pauses: AtomicU64,
    /// How often the node has begun one by itself.
    pub(super) begun_by_itself: AtomicU64,
    pub(super) paid_in: AllPaidIn,
}

impl Verifications {
    pub(crate) fn status(&self) -> VerifyStatus {
        self.status.lock().clone()
    }

    pub(super) fn begin(&self) {
        self.status.lock().is_running = true;
    }

    fn gives_way(&self, gives_way: bool) {
        self.status.lock().gives_way = gives_way;
    }

    /// One has ended: with a report, where it was carried out.
    pub(super) fn end(&self, by_itself: bool, done: Option<Verification>) {
        let by = if by_itself { "itself" } else { "request" };
        let result = done.as_ref().map_or("broken_off", |done| result(&done.report));
        metrics::counter!("docket_verifications_total", "by" => by, "result" => result).increment(1);
        let mut status = self.status.lock();
        status.is_running = false;
        if let Some(done) = done {
            let mut standing = self.standing.lock();
            standing.take(&done.report);
            let gone = status
                .by_group
                .keys()
                .filter(|group| !standing.0.contains_key(group));
            gone.for_each(|group| show_group(*group, 0));
            status.by_group = standing.by_group();
            status
                .by_group
                .iter()
                .for_each(|(group, count)| show_group(*group, *count));
            status.standing = standing.by_kind();
            show(&done, &status.standing);
            status.last = Some(done);
        }
    }

    /// Breaks off the one that the node has begun by itself; whether there was one, and nobody else has.
    pub(super) fn break_off(&self) -> bool {
        let breaks_off = self.breaks_off.lock().take();
        breaks_off.is_some_and(|breaks_off| {
            breaks_off.cancel();
            true
        })
    }

    /// Lets one be broken off that the node has begun by itself.
    pub(super) fn let_break_off(&self, by_itself: bool) -> BreaksOff<'_> {
        let token = CancellationToken::new();
        if by_itself {
            *self.breaks_off.lock() = Some(token.clone());
        }
        BreaksOff {
            token,
            of: by_itself.then_some(self),
        }
    }
}

/// Until this is dropped a verification may be broken off, where the node has begun it by itself.
pub(super) struct BreaksOff<'a> {
    token: CancellationToken,
    of: Option<&'a Verifications>,
}

impl BreaksOff<'_> {
    pub(super) async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for BreaksOff<'_> {
    fn drop(&mut self) {
        if let Some(of) = self.of {
            of.breaks_off.lock().take();
        }
    }
}

impl Docket {
    /// How long one that gives way pauses behind a piece that it worked at for so long.
    pub(super) fn pause_of_verifying(&self, worked: Duration) -> Duration {
        self.inner.verifications.pauses.fetch_add(1, Ordering::Relaxed);
        pause(worked, self.is_at_work())
    }
}

/// What came of one, for who counts.
fn result(report: &VerifyReport) -> &'static str {
    match (report.discrepancies_total, report.undecided) {
        (0, 0) => "clean",
        (0, _) => "undecided",
        _ => "discrepancies",
    }
}

/// How long a walk pauses behind a piece that it worked at for so long.
pub(super) fn pause(worked: Duration, is_at_work: bool) -> Duration {
    match is_at_work {
        true => (worked * PAUSES_AT_WORK).min(PAUSE_MAX_AT_WORK),
        false => (worked * PAUSES).min(PAUSE_MAX),
    }
}

/// Verifies as often as is configured, until the node closes.
pub(crate) async fn run(inner: Arc<Inner>) {
    let docket = Docket { inner };
    let closing = docket.inner.closing.clone();
    let verifying = async {
        let mut settings = docket.inner.verify.subscribe();
        let (mut since, mut most) = (tokio::time::Instant::now(), FIRST_WITHIN);
        loop {
            let options = settings.borrow_and_update().clone();
            metrics::gauge!("docket_verify_every_seconds")
                .set(options.every.unwrap_or_default().as_secs_f64());
            let due = async {
                match options.every {
                    Some(every) => tokio::time::sleep(every.min(most).saturating_sub(since.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                // What has been waited counts.
                Ok(()) = settings.changed() => continue,
            }
            give_way(&docket, options.gives_way_for).await;
            docket
                .inner
                .verifications
                .begun_by_itself
                .fetch_add(1, Ordering::Relaxed);
            most = match docket.verify_at(options.pace, true).await {
                Ok(report) => {
                    tell(&report);
                    Duration::MAX
                }
                // Somebody has asked for it, or does now.
                Err(VerifyError::Busy) => AGAIN,
                Err(VerifyError::Stopping) => return,
            };
            since = tokio::time::Instant::now();
        }
    };
    tokio::select! {
        () = verifying => {}
        () = closing.cancelled() => {}
    }
}

/// Waits until the node is at work no more, so long at most.
async fn give_way(docket: &Docket, most: Duration) {
    let begun = Instant::now();
    while docket.is_at_work() && begun.elapsed() < most {
        docket.inner.verifications.gives_way(true);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    docket.inner.verifications.gives_way(false);
}

/// Tells in the log what is wrong: a line for each kind, with the first of it.
fn tell(report: &VerifyReport) {
    for (kind, count) in &report.by_kind {
        let first = report.discrepancies.iter().find(|found| found.kind == *kind);
        let (name, why) = first.map_or(("", ""), |first| (&*first.entity, &*first.why));
        tracing::error!(%kind, count, first = name, why, "the books do not agree (`docket verify` tells all of it)");
    }
    let (undecided, left_out) = (report.undecided, report.not_looked_at.len());
    if undecided > 0 {
        tracing::warn!(undecided, left_out, "not all of the books could be verified");
    }
}

fn show_group(group: GroupId, count: u64) {
    metrics::gauge!("docket_verify_group_discrepancies", "group" => group.to_string()).set(count as f64);
}

/// Sets the gauges.
fn show(done: &Verification, standing: &BTreeMap<DiscrepancyKind, u64>) {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!("docket_verify_end_timestamp_seconds").set(since(done.begun + done.took).as_secs_f64());
    metrics::gauge!("docket_verify_seconds").set(done.took.as_secs_f64());
    metrics::gauge!("docket_verify_undecided").set(done.report.undecided as f64);
    let orders = done.report.shards.iter().map(|shard| shard.orders);
    metrics::gauge!("docket_verify_orders").set(orders.sum::<u64>() as f64);
    for kind in DiscrepancyKind::ALL {
        let count = standing.get(&kind).copied().unwrap_or_default();
        metrics::gauge!("docket_verify_discrepancies", "kind" => kind.as_str()).set(count as f64);
    }
}

/// Describes what is measured of verifications.
pub(crate) fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(
        "docket_verifications_total",
        Unit::Count,
        "Verifications of the books that have ended, by who began them and what came of them."
    );
    describe_gauge!(
        "docket_verify_end_timestamp_seconds",
        Unit::Seconds,
        "When the books were last verified, in seconds since 1970."
    );
    describe_gauge!(
        "docket_verify_every_seconds",
        Unit::Seconds,
        "How often the node verifies its books by itself (`verify.every_s`); 0 for never."
    );
    describe_gauge!(
        "docket_verify_group_discrepancies",
        Unit::Count,
        "What is wrong with the books of a shard, as of the last time that it was looked at."
    );
    describe_gauge!(
        "docket_verify_seconds",
        Unit::Seconds,
        "How long the last verification of the books took."
    );
    describe_gauge!(
        "docket_verify_orders",
        Unit::Count,
        "Orders that the last verification of the books looked at."
    );
    describe_gauge!(
        "docket_verify_undecided",
        Unit::Count,
        "Suspicions that the last verification of the books could not decide, and shards that it could not walk."
    );
    describe_gauge!(
        "docket_verify_discrepancies",
        Unit::Count,
        "What is wrong with the books, by kind: of each shard as of the last time that it was looked at."
    );
}

/// When a verification begins now.
pub(super) fn now() -> (SystemTime, Instant) {
    (wall_clock(), Instant::now())
}

#[cfg(test)]
mod tests {
    use docket_cluster::ShardId;

    use super::*;
    use crate::verify::ShardBooks;

    #[test]
    fn what_is_wrong_of_a_shard_stands_until_that_shard_is_looked_at_and_found_right() {
        use DiscrepancyKind::{HeldSum, IndexDiffers};
        let group = |number| ShardId::new(number).group();
        let looked_at = |report: &mut VerifyReport, number, found: &[DiscrepancyKind]| {
            report.shards.push(ShardBooks {
                group: group(number),
                led: true,
                applied_index: 1,
                customers: 0,
                items: 0,
                orders: 0,
                archived: 0,
                reservations: 0,
                changes: 0,
            });
            for kind in found {
                report.add(group(number), *kind, String::new(), "planted");
            }
        };
        let mut standing = Standing::default();
        let mut check = |name: &str, report: &VerifyReport, expected: &[(DiscrepancyKind, u64)]| {
            standing.take(report);
            let stands: Vec<_> = standing.by_kind().into_iter().collect();
            assert_eq!(stands, expected, "{name}");
        };
        let mut both = VerifyReport::default();
        looked_at(&mut both, 0, &[HeldSum, HeldSum]);
        looked_at(&mut both, 1, &[HeldSum, IndexDiffers]);
        check("both", &both, &[(HeldSum, 3), (IndexDiffers, 1)]);
        let mut one = VerifyReport::default();
        looked_at(&mut one, 0, &[]);
        one.leave_undecided(group(1), "it is being replaced");
        check("one left out", &one, &[(HeldSum, 1), (IndexDiffers, 1)]);
        let mut unsure = VerifyReport::default();
        looked_at(&mut unsure, 0, &[HeldSum]);
        looked_at(&mut unsure, 1, &[]);
        unsure.undecided += 1;
        check("undecided", &unsure, &[(HeldSum, 2), (IndexDiffers, 1)]);
        let mut moved = VerifyReport::default();
        looked_at(&mut moved, 0, &[HeldSum]);
        moved.leave_out(group(1), NO_REPLICA);
        check("moved away", &moved, &[(HeldSum, 1)]);
        let mut right = VerifyReport::default();
        looked_at(&mut right, 0, &[]);
        check("right", &right, &[]);
    }

    #[test]
    fn a_walk_takes_half_of_a_core_and_while_the_node_is_at_work_a_twentieth() {
        let ms = Duration::from_millis;
        for (worked, is_at_work, pauses) in [
            (ms(3), false, ms(3)),
            (ms(30), false, ms(20)),
            (ms(3), true, ms(57)),
            (ms(300), true, ms(400)),
            (ms(0), true, ms(0)),
        ] {
            assert_eq!(pause(worked, is_at_work), pauses, "{worked:?} {is_at_work}");
        }
    }
}

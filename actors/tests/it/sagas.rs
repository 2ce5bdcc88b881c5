//! Sagas under fire: every fault of a provider, at every kind of step, and the node's power gone after each record that is committed and at
//! each answer of the provider, once or, in the next life, again. Whatever went wrong, money and stock are exact in the end, and nothing is
//! stuck.
//!
//! An ordinary run plays a spread of them, `DOCKET_SAGAS=all` every one. `-- --nocapture` prints the table.
//! `DOCKET_SAGAS="Whole Capture drop-reply"` plays that row of it, `"Whole Capture drop-reply committed 7,"` what begins so.

mod leaders;
mod power;
mod script;
mod stage;

use std::{collections::BTreeMap, fmt::Write as _, panic::AssertUnwindSafe, time::Instant};

use docket_engine::PaymentKind;
use docket_payments::stub::What;
use docket_persistence::mem::MemDisk;
use futures::{FutureExt as _, StreamExt as _, stream};

use power::Crash;
use script::Story;
use stage::{Case, Outcome, declined, furnished, play};

/// So many cases are played at a time: most of them wait most of the time.
const AT_ONCE: usize = 12;

/// So many crashes of each row in an ordinary run: thirteen faults of a story have all of its crashes between them.
const CRASHES: usize = 2;
/// A second crash is after one of the first so many records of its life.
const AGAIN: u64 = 5;

/// What a provider does wrong.
fn faults() -> Vec<(&'static str, What)> {
    let status = |status, retry_after| What::Status { status, retry_after };
    vec![
        ("decline", declined()),
        ("hold-request", What::HoldRequest),
        ("hold-reply", What::HoldReply),
        ("drop-request", What::DropRequest),
        ("drop-reply", What::DropReply),
        ("twice", What::Twice),
        ("500", status(500, None)),
        ("500-after", What::StatusAfter { status: 500 }),
        ("429", status(429, Some(1))),
        ("garbage", What::Garbage),
        ("flood", What::Flood { bytes: 100_000 }),
        ("die-before", What::DieBefore),
        ("die-after", What::DieAfter),
    ]
}

fn steps(story: Story) -> &'static [PaymentKind] {
    match story {
        Story::Whole => &PaymentKind::ALL,
        Story::Declined => &[PaymentKind::Authorize],
        Story::Retried => &[PaymentKind::Capture],
        // Those of its second payment.
        Story::Raised => &PaymentKind::ALL,
        _ => &[PaymentKind::Void],
    }
}

/// When the power goes, and when in the life after that.
type Crashes = (Crash, Crash);

/// A story, and what the provider does wrong at which step.
#[derive(Debug, Clone)]
struct Row {
    story: Story,
    step: PaymentKind,
    fault: (&'static str, What),
}

impl Row {
    fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for story in Story::ALL {
            for step in steps(story) {
                let row = |fault| Self {
                    story,
                    step: *step,
                    fault,
                };
                rows.extend(faults().into_iter().map(row));
            }
        }
        rows
    }

    fn case(&self, (crash, again): Crashes) -> Case {
        Case {
            story: self.story,
            step: self.step,
            fault: self.fault.1.clone(),
            crash,
            again,
        }
    }

    fn name(&self, (crash, again): Crashes) -> String {
        let named = |crash| match crash {
            Crash::Never => "never".to_owned(),
            Crash::Committed(number) => format!("committed {number}"),
            Crash::Answered(number) => format!("answered {number}"),
        };
        let (story, step, fault) = (self.story, self.step, self.fault.0);
        format!("{story:?} {step:?} {fault} {}, {}", named(crash), named(again))
    }
}

#[derive(Default)]
struct Table {
    /// By row: what became of its cases.
    played: BTreeMap<usize, Vec<(Crashes, Outcome)>>,
    failed: Vec<String>,
}

impl Table {
    /// Plays these.
    async fn play(&mut self, rows: &[Row], cases: Vec<(usize, Crashes)>, disk: &MemDisk) {
        let played = cases.into_iter().map(|(at, crash)| {
            let (case, disk) = (rows[at].case(crash), disk.fork());
            let played = AssertUnwindSafe(play(case, disk)).catch_unwind();
            async move { (at, crash, played.await) }
        });
        let mut played = stream::iter(played).buffer_unordered(AT_ONCE);
        while let Some((at, crash, outcome)) = played.next().await {
            match outcome {
                Ok(outcome) => self.played.entry(at).or_default().push((crash, outcome)),
                Err(_) => self.failed.push(rows[at].name(crash)),
            }
        }
    }

    fn cases(&self) -> usize {
        self.played.values().map(Vec::len).sum()
    }

    fn print(&self, rows: &[Row]) {
        for (at, cases) in &self.played {
            let mut ends = BTreeMap::<String, Vec<&(Crashes, Outcome)>>::new();
            for case in cases {
                let outcome = &case.1;
                let state = outcome.state.map(|state| state.to_string()).unwrap_or_default();
                let [authorized, captured, voided, refunded] = outcome.money;
                let end = format!(
                    "{state} authorised {authorized} captured {captured} voided {voided} refunded {refunded}"
                );
                ends.entry(end).or_default().push(case);
            }
            let row = &rows[*at];
            for (end, mut cases) in ends {
                let order = |crash: &Crash| match *crash {
                    Crash::Never => (0, 0),
                    Crash::Committed(number) => (1, number),
                    Crash::Answered(number) => (2, number),
                };
                cases.sort_by_key(|((crash, again), _)| (order(crash), order(again)));
                let mut crashes = String::new();
                for ((crash, again), outcome) in cases {
                    let _ = match (crash, outcome.crashed_at) {
                        (_, None) => write!(crashes, " never"),
                        (Crash::Answered(number), _) => write!(crashes, " answer-{number}"),
                        (Crash::Never | Crash::Committed(_), Some(what)) => {
                            write!(crashes, " {}-{}", outcome.counted.0, what.replace(' ', "-"))
                        }
                    };
                    if let Crash::Committed(number) = again {
                        let _ = write!(crashes, "+{number}");
                    }
                }
                let story = format!("{:?}", row.story);
                let step = row.step.to_string();
                println!(
                    "{story:<15} | {step:<9} | {:<12} | {end:<77} |{crashes}",
                    row.fault.0
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_provider_does_and_whenever_the_power_goes_money_and_stock_are_exact() {
    let begun = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let disk = furnished(dir.path()).await;
    let rows = Row::all();
    let wanted = std::env::var("DOCKET_SAGAS").unwrap_or_default();
    let mut table = Table::default();
    // Without a crash each row tells how much there is that a crash can come after.
    let prefix = |at: usize| {
        let name = rows[at].name((Crash::Never, Crash::Never));
        name.trim_end_matches(" never, never").to_owned()
    };
    let is_all = wanted.is_empty() || wanted == "all";
    let is_chosen = |at: &usize| is_all || wanted.starts_with(&prefix(*at));
    let unharmed = (0..rows.len()).filter(is_chosen);
    let unharmed = unharmed.map(|at| (at, (Crash::Never, Crash::Never)));
    table.play(&rows, unharmed.collect(), &disk).await;
    let mut cases = Vec::new();
    for (at, played) in &table.played {
        let (records, answers) = played[0].1.counted;
        let committed = (1..=records).map(Crash::Committed);
        let crashes: Vec<_> = committed.chain((1..=answers).map(Crash::Answered)).collect();
        let count = match wanted.is_empty() {
            true => CRASHES,
            false => crashes.len(),
        };
        // Each story's rows share its crashes out, so that each comes beside some fault.
        let before = rows[..*at].iter().filter(|row| row.story == rows[*at].story);
        let from = if wanted.is_empty() {
            before.count() * count
        } else {
            0
        };
        for nth in from..from + count {
            let crash = crashes[nth % crashes.len()];
            cases.push((*at, (crash, Crash::Never)));
            if !wanted.is_empty() || nth == from {
                let again = Crash::Committed(1 + nth as u64 % AGAIN);
                cases.push((*at, (crash, again)));
            }
        }
    }
    cases.retain(|(at, crashes)| is_all || rows[*at].name(*crashes).starts_with(&wanted));
    table.play(&rows, cases, &disk).await;
    table.print(&rows);
    println!("{} cases in {:.1?}", table.cases(), begun.elapsed());
    assert_eq!(table.failed, Vec::<String>::new(), "of {} cases", table.cases());
}

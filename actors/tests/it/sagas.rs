//! Sagas under fire: every fault of a provider, at every kind of step, and the node's power gone after each record that is committed and at
//! each answer of the provider. Whatever went wrong, money and stock are exact in the end, and nothing is stuck.
//!
//! An ordinary run plays a spread of them, `DOCKET_SAGAS=all` every one. `-- --nocapture` prints the table.
//! `DOCKET_SAGAS="Whole Capture drop-reply committed 7"` plays those whose names begin so.

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
        _ => &[PaymentKind::Void],
    }
}

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

    fn case(&self, crash: Crash) -> Case {
        Case {
            story: self.story,
            step: self.step,
            fault: self.fault.1.clone(),
            crash,
        }
    }

    fn name(&self, crash: Crash) -> String {
        let crash = match crash {
            Crash::Never => "never".to_owned(),
            Crash::Committed(number) => format!("committed {number}"),
            Crash::Answered(number) => format!("answered {number}"),
        };
        format!("{:?} {:?} {} {crash}", self.story, self.step, self.fault.0)
    }
}

#[derive(Default)]
struct Table {
    /// By row: what became of its cases.
    played: BTreeMap<usize, Vec<(Crash, Outcome)>>,
    failed: Vec<String>,
}

impl Table {
    /// Plays these.
    async fn play(&mut self, rows: &[Row], cases: Vec<(usize, Crash)>, disk: &MemDisk) {
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
            let mut ends = BTreeMap::<String, Vec<&(Crash, Outcome)>>::new();
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
                cases.sort_by_key(|(crash, _)| match crash {
                    Crash::Never => (0, 0),
                    Crash::Committed(number) => (1, *number),
                    Crash::Answered(number) => (2, *number),
                });
                let mut crashes = String::new();
                for (crash, outcome) in cases {
                    let _ = match (crash, outcome.crashed_at) {
                        (_, None) => write!(crashes, " never"),
                        (Crash::Answered(number), _) => write!(crashes, " answer-{number}"),
                        (Crash::Never | Crash::Committed(_), Some(what)) => {
                            write!(crashes, " {}-{}", outcome.counted.0, what.replace(' ', "-"))
                        }
                    };
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
    let is_chosen = |name: &str| wanted.is_empty() || wanted == "all" || wanted.starts_with(name);
    let unharmed =
        (0..rows.len()).filter(|at| is_chosen(rows[*at].name(Crash::Never).trim_end_matches(" never")));
    table
        .play(&rows, unharmed.map(|at| (at, Crash::Never)).collect(), &disk)
        .await;
    let mut cases = Vec::new();
    for (at, played) in &table.played {
        let (records, answers) = played[0].1.counted;
        let committed = (1..=records).map(Crash::Committed);
        let crashes: Vec<_> = committed.chain((1..=answers).map(Crash::Answered)).collect();
        // Each story's rows share its crashes out: a few each, so that each comes, beside another fault.
        let nth = (0..*at)
            .filter(|other| rows[*other].story == rows[*at].story)
            .count();
        let crashes = crashes.iter().cycle().skip(match wanted.is_empty() {
            true => nth * CRASHES,
            false => 0,
        });
        let count = match wanted.is_empty() {
            true => CRASHES,
            false => usize::try_from(records + answers).unwrap(),
        };
        cases.extend(crashes.take(count).map(|crash| (*at, *crash)));
    }
    if !wanted.is_empty() && wanted != "all" {
        cases.retain(|(at, crash)| rows[*at].name(*crash).starts_with(&wanted));
    }
    table.play(&rows, cases, &disk).await;
    table.print(&rows);
    println!("{} cases in {:.1?}", table.cases(), begun.elapsed());
    assert_eq!(table.failed, Vec::<String>::new(), "of {} cases", table.cases());
}

//! `docket audit`: reads a node's audit log from its files, and proves that it is whole.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use clap::{Subcommand, ValueEnum};
use docket_audit::{
    AUDIT_DIR, Keyring, Outcome, Position, Record,
    verify::{self, Expected, Report},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{args::OutputArgs, keys::KeysArgs};
use crate::{
    failure::Failure,
    output::{Field, Format, Output, Records, Tone},
    values::time,
};

/// `docket audit`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket audit verify
  docket audit show --since 1d --outcome denied
  docket audit head >> /somewhere/else/audit-heads")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with an audit log.
#[derive(Debug, Subcommand)]
enum Command {
    /// Prove that the log is whole, and name the line where it is not
    Verify(Verify),
    /// Show who did what, newest last
    Show(Show),
    /// Print the last record's number and hash, to be kept elsewhere
    Head(Head),
}

/// Verify.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket audit verify
  docket audit verify --data-dir /var/lib/docket
  docket audit verify /mnt/copy/audit --head 4711:9f2c…
  docket audit verify -o json | jq '.problems[].file'

Each record has the hash of the one before: a line that was changed, taken out,
put in or exchanged with another is named, and so is a file that is missing. The
server may be running. Each node has a log of its own; verify each.

That records were cut off at the end is told by the file `head` beside them.
Whoever may write these files can write all of them anew: only a head that was
kept elsewhere (`docket audit head`), given with --head, tells of that.
Exit codes: 0 whole, 10 not, 1 cannot be read.")]
struct Verify {
    #[command(flatten)]
    place: Place,
    /// What `docket audit head` said before, or a hash alone; several can be given
    #[arg(long, value_name = "HEAD", value_parser = head)]
    head: Vec<Expected>,
}

/// Show.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket audit show
  docket audit show --since 2h --who admin
  docket audit show --action key --outcome done --limit 1000
  docket audit show --outcome denied -o json | jq '.records[].who.peer'

A record of an administrator's change comes twice: as it is begun, and when it
is done.")]
struct Show {
    #[command(flatten)]
    place: Place,
    /// From when on: a moment, a day, or a span before now such as 2h
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    since: Option<Timestamp>,
    /// By whom: an account, a key or session, a role, or an address
    #[arg(long, value_name = "WHO")]
    who: Option<String>,
    /// What: key.create, or all that begins with `key`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// What came of it
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<OutcomeArg>,
    /// No more than the newest so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

/// Head.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket audit head
  docket audit head --data-dir /var/lib/docket >> /somewhere/else/audit-heads

Kept where whoever may write the log may not, it proves later that everything up
to here is still there, as it is now: docket audit verify --head.")]
struct Head {
    #[command(flatten)]
    place: Place,
}

/// Where a log is.
#[derive(Debug, Default, clap::Args)]
struct Place {
    /// A folder with the log, or a server's folder
    #[arg(value_name = "DIR", conflicts_with = "data_dir")]
    folder: Option<PathBuf>,
    /// The server's folder [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArgs,
}

/// What came of something, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutcomeArg {
    /// It was about to be done
    Begun,
    /// It was done
    Done,
    /// It was asked for in a way, or at a time, that it was not done
    Refused,
    /// Whoever asked may not
    Denied,
    /// Nobody waited for what came of it
    Unknown,
}

impl Args {
    /// Does it, with the data directory from in front of the command beneath its own.
    pub fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Verify(args) => args.run(outer, output),
            Command::Show(args) => args.run(outer, output),
            Command::Head(args) => {
                let report = read(&args.place.find(outer)?, &[], |_, _| {})?;
                let head = report.last.unwrap_or_else(Position::origin);
                match output.format() {
                    Format::Json => output.json(&json!({"sequence": head.sequence, "hash": head.hash})),
                    Format::Table => output.line(&head.to_string()),
                }
            }
        }
    }
}

impl Place {
    /// The folder, and the keys that it may be sealed with.
    fn find(self, outer: Option<PathBuf>) -> Result<(PathBuf, Keyring), Failure> {
        let (keys, configured) = self.keys.open_now()?;
        let given = self.folder.or(self.data_dir).or(outer).or(configured);
        let given = given.unwrap_or_else(|| crate::config::Config::default().server.data_dir);
        let within = given.join(AUDIT_DIR);
        match (within.is_dir(), given.is_dir()) {
            (true, _) => Ok((within, keys)),
            (false, true) => Ok((given, keys)),
            (false, false) => Err(Failure::Usage(format!(
                "there is no folder {}: name it, or the server's with --data-dir",
                given.display()
            ))),
        }
    }
}

impl Verify {
    fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let place = self.place.find(outer)?;
        let report = read(&place, &self.head, |_, _| {})?;
        let (folder, _) = place;
        // Where a head tells of records that there were, the files were taken away.
        if report.segments == 0 && report.is_whole() && self.head.is_empty() {
            return Err(Failure::Usage(format!(
                "there is no audit log in {}",
                folder.display()
            )));
        }
        show(&report, &folder, output)?;
        if report.is_whole() {
            return Ok(());
        }
        let count = report.problems.len() as u64 + report.problems_unlisted;
        let plural = if count == 1 { "" } else { "s" };
        Err(Failure::Unhealthy(format!(
            "the audit log {} is not whole: {count} problem{plural}",
            folder.display()
        )))
    }
}

fn show(report: &Report, folder: &Path, output: &Output) -> Result<(), Failure> {
    let whole = Field::flag("whole", report.is_whole());
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|one| json!({"file": one.path.display().to_string(), "line": one.line, "problem": one.text}))
        .collect();
    let records = match (report.first, &report.last) {
        (Some(first), Some(last)) => format!("{first} to {}", last.sequence),
        _ => "none".to_owned(),
    };
    let begin = match report.pruned {
        true => "what was before was removed by the node",
        false => "",
    };
    output.fields(&[
        Field::text("folder", &folder.display().to_string()),
        whole.tone(if report.is_whole() { Tone::Good } else { Tone::Bad }),
        Field::shown("records", json!(report.records), records),
        Field::shown("first", json!(report.first), begin),
        Field::shown(
            "head",
            json!(report.last.as_ref().map(ToString::to_string)),
            report.last.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
        Field::number("files", report.segments as u64),
        Field::shown("problems", json!(problems), report.problems.len().to_string()),
        Field::number("problems_unlisted", report.problems_unlisted).hidden(),
    ])?;
    if output.format() != Format::Table || report.is_whole() {
        return Ok(());
    }
    let row = |problem: &verify::Problem| {
        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
        vec![
            Field::text("line", &format!("{}{line}", problem.path.display())),
            Field::text("problem", &problem.text).tone(Tone::Bad),
        ]
    };
    output.line("")?;
    output.records(
        "problems",
        &Records {
            columns: &["line", "problem"],
            rows: report.problems.iter().map(row).collect(),
        },
    )
}

impl Show {
    fn run(mut self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let place = std::mem::take(&mut self.place);
        let place = place.find(outer)?;
        let mut found: VecDeque<Record> = VecDeque::new();
        let limit = self.limit as usize;
        let report = read(&place, &[], |record, _| {
            if self.wants(record) {
                if found.len() == limit {
                    found.pop_front();
                }
                found.push_back(record.clone());
            }
        })?;
        if !report.is_whole() {
            output.note("warning: this log is not whole: see `docket audit verify`");
        }
        if output.format() == Format::Json {
            return output.json(&json!({ "records": found }));
        }
        let row = |record: &Record| {
            let times = match record.times {
                1 => String::new(),
                times => format!("{times} times"),
            };
            let details = record
                .details
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let more: Vec<String> = [record.reason.clone(), times]
                .into_iter()
                .chain(details)
                .filter(|text| !text.is_empty())
                .collect();
            vec![
                Field::number("sequence", record.sequence),
                Field::text("time", &record.time),
                Field::text("who", &called(record)),
                Field::text("action", &record.action),
                Field::text("target", &record.target),
                Field::text("outcome", record.outcome.as_str()).tone(match record.outcome {
                    Outcome::Denied | Outcome::Refused => Tone::Bad,
                    Outcome::Begun | Outcome::Unknown => Tone::Pending,
                    Outcome::Done => Tone::Plain,
                }),
                Field::text("more", &more.join(" ")),
            ]
        };
        output.records(
            "records",
            &Records {
                columns: &["sequence", "time", "who", "action", "target", "outcome", "more"],
                rows: found.iter().map(row).collect(),
            },
        )
    }

    fn wants(&self, record: &Record) -> bool {
        let is_since = self.since.is_none_or(|since| {
            let at = record.time.parse::<Timestamp>();
            // What cannot be read is shown.
            at.map_or(true, |at| at >= since)
        });
        let who = &record.who;
        let is_by = |wanted: &String| [&who.account, &who.credential, &who.role, &who.peer].contains(&wanted);
        let is_action = |wanted: &String| {
            let rest = record.action.strip_prefix(wanted.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        is_since
            && self.who.as_ref().is_none_or(is_by)
            && self.action.as_ref().is_none_or(is_action)
            && self
                .outcome
                .is_none_or(|wanted| Outcome::from(wanted) == record.outcome)
    }
}

impl From<OutcomeArg> for Outcome {
    fn from(outcome: OutcomeArg) -> Self {
        match outcome {
            OutcomeArg::Begun => Self::Begun,
            OutcomeArg::Done => Self::Done,
            OutcomeArg::Refused => Self::Refused,
            OutcomeArg::Denied => Self::Denied,
            OutcomeArg::Unknown => Self::Unknown,
        }
    }
}

/// Who did it, in short: the account, else what is known; and from where.
fn called(record: &Record) -> String {
    let who = &record.who;
    let name = match who.account.is_empty() {
        true => &who.role,
        false => &who.account,
    };
    match (name.is_empty(), who.peer.is_empty()) {
        (_, true) => name.clone(),
        (true, false) => who.peer.clone(),
        (false, false) => format!("{name} at {}", who.peer),
    }
}

fn read(
    (folder, keys): &(PathBuf, Keyring),
    expected: &[Expected],
    each: impl FnMut(&Record, &str),
) -> Result<Report, Failure> {
    verify::read_with(folder, keys, expected, each).map_err(|cause| Failure::Other(cause.to_string()))
}

/// A head as it was printed, or its hash alone.
fn head(text: &str) -> Result<Expected, String> {
    match text.contains(':') {
        true => text.parse().map(Expected::Position),
        false => format!("0:{text}")
            .parse()
            .map(|position: Position| Expected::Hash(position.hash)),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_are_no_files_is_wrong_usage_only_where_nothing_tells_of_any() {
        let folder = tempfile::tempdir().unwrap();
        let position = format!("{:020}:{}", 7, "0123456789abcdef".repeat(4));
        let run = |head: &[&str]| {
            let verify = Verify {
                place: Place {
                    folder: Some(folder.path().to_owned()),
                    ..Place::default()
                },
                head: head.iter().map(|text| super::head(text).unwrap()).collect(),
            };
            verify.run(None, &Output::new(Format::Json))
        };
        assert!(matches!(run(&[]), Err(Failure::Usage(_))));
        assert!(matches!(run(&[position.as_str()]), Err(Failure::Unhealthy(_))));
        std::fs::write(folder.path().join("head"), position + "\n").unwrap();
        assert!(matches!(run(&[]), Err(Failure::Unhealthy(_))));
    }

    #[test]
    fn a_head_is_what_was_printed_or_its_hash() {
        let hash = "0123456789abcdef".repeat(4);
        let position = Position {
            sequence: 7,
            hash: hash.clone(),
        };
        assert_eq!(head(&position.to_string()), Ok(Expected::Position(position)));
        assert_eq!(head(&hash), Ok(Expected::Hash(hash)));
        for text in ["", "7", "7:", "7:00", "x:0123456789abcdef", "0123"] {
            assert!(head(text).is_err(), "{text}");
        }
    }
}

//! `docket journal`: looks at the data of a server that is not running.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use docket_cluster::verify;
use docket_persistence::{Problem, VerifyReport};
use serde_json::json;

use super::args::OutputArgs;
use crate::{
    failure::Failure,
    output::{Field, Format, Output, Records, Tone, bytes},
};

/// `docket journal`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket journal verify
  docket journal verify --data-dir /var/lib/docket -o json")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with a journal.
#[derive(Debug, Subcommand)]
enum Command {
    /// Walk frames, chain and snapshots, and name everything that is wrong
    Verify(Verify),
}

/// Verify.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket journal verify
  docket journal verify --data-dir /var/lib/docket -o json

The server must not be running. Nothing is repaired, made or removed; only the
storage engine renews its own bookkeeping in the files that it opens. A warning
is what the next start copes with.
Exit codes: 0 sound, 1 not.")]
struct Verify {
    /// The server's folder [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Args {
    /// Does it, with the data directory from in front of the command beneath its own.
    pub fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let Command::Verify(args) = self.command;
        let data_dir = args
            .data_dir
            .or(outer)
            .unwrap_or_else(|| crate::config::Config::default().server.data_dir);
        if !data_dir.is_dir() {
            return Err(Failure::Usage(format!(
                "there is no folder {}: name it with --data-dir",
                data_dir.display()
            )));
        }
        let report = verify(&data_dir).map_err(|cause| Failure::Other(cause.to_string()))?;
        show(&report, &data_dir, output)?;
        if report.is_sound() {
            return Ok(());
        }
        let count = report.problems.len() as u64 + report.problems_unlisted;
        let plural = if count == 1 { "" } else { "s" };
        Err(Failure::Other(format!(
            "{} is not sound: {count} problem{plural}",
            data_dir.display()
        )))
    }
}

fn show(report: &VerifyReport, data_dir: &Path, output: &Output) -> Result<(), Failure> {
    let segments: Vec<_> = report
        .segments
        .iter()
        .map(|one| {
            json!({
                "file": one.path.display().to_string(),
                "first_sequence": one.first_seq,
                "last_sequence": one.last_seq,
                "frames": one.frames,
            })
        })
        .collect();
    let snapshots: Vec<_> = report
        .snapshots
        .iter()
        .map(
            |one| json!({"group": one.group, "id": one.id, "bytes": one.bytes, "disk_bytes": one.disk_bytes}),
        )
        .collect();
    let sequences = match (report.first_seq, report.last_seq) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "none".to_owned(),
    };
    let torn = report.torn_tail.as_ref();
    let torn_text = torn.map_or_else(String::new, |cut| {
        format!(
            "{} frames behind {}: the next start cuts them, none was acknowledged",
            cut.frames, cut.after
        )
    });
    let sound = Field::flag("sound", report.is_sound());
    output.fields(&[
        Field::text("data_dir", &data_dir.display().to_string()),
        sound.tone(if report.is_sound() { Tone::Good } else { Tone::Bad }),
        Field::shown(
            "sequences",
            json!({"first": report.first_seq, "last": report.last_seq}),
            sequences,
        ),
        Field::number("frames", report.frames),
        Field::number("records", report.records),
        Field::shown(
            "payload_bytes",
            json!(report.payload_bytes),
            bytes(report.payload_bytes),
        ),
        Field::shown(
            "acknowledged",
            json!(report.mark.map(|mark| mark.last)),
            match report.mark {
                Some(mark) => format!("up to {}", mark.last),
                None => String::new(),
            },
        ),
        Field::shown(
            "torn_tail",
            json!(torn.map(|cut| json!({"after": cut.after, "frames": cut.frames}))),
            torn_text,
        ),
        Field::shown("segments", json!(segments), segments.len().to_string()),
        Field::shown("snapshots", json!(snapshots), snapshots.len().to_string()),
        Field::shown(
            "warnings",
            json!(listed(&report.warnings)),
            report.warnings.len().to_string(),
        ),
        Field::shown(
            "problems",
            json!(listed(&report.problems)),
            report.problems.len().to_string(),
        ),
    ])?;
    table(&["file", "warning"], &report.warnings, Tone::Plain, output)?;
    table(&["file", "problem"], &report.problems, Tone::Bad, output)
}

fn listed(problems: &[Problem]) -> Vec<serde_json::Value> {
    let listed = |one: &Problem| json!({"file": one.path.display().to_string(), "problem": one.text});
    problems.iter().map(listed).collect()
}

/// What is wrong, one line each; nothing where there is none or the fields hold them already.
fn table(
    columns: &'static [&'static str; 2],
    problems: &[Problem],
    tone: Tone,
    output: &Output,
) -> Result<(), Failure> {
    if output.format() != Format::Table || problems.is_empty() {
        return Ok(());
    }
    let row = |problem: &Problem| {
        vec![
            Field::text(columns[0], &problem.path.display().to_string()),
            Field::text(columns[1], &problem.text).tone(tone),
        ]
    };
    output.line("")?;
    output.records(
        "problems",
        &Records {
            columns,
            rows: problems.iter().map(row).collect(),
        },
    )
}

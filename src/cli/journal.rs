//! `docket journal`: looks at the data of a server that is not running.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use docket_cluster::verify;
use docket_persistence::{Problem, VerifyReport};
use serde_json::json;

use super::{args::OutputArgs, keys::KeysArgs};
use crate::{
    failure::Failure,
    output::{Field, Format, Output, Records, Tone, bytes},
    serve,
};

/// `docket journal`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket journal verify
  docket journal verify --data-dir /var/lib/docket -o json
  docket journal keys --data-dir /var/lib/docket")]
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
    /// Show with which keys the files are sealed, also while the server runs
    Keys(Keys),
}

/// Verify.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket journal verify
  docket journal verify --data-dir /var/lib/docket -o json
  docket journal verify --config /etc/docket.toml

The server must not be running. Nothing is repaired, made or removed; only the
storage engine renews its own bookkeeping in the files that it opens. A warning
is what the next start copes with.
Exit codes: 0 sound, 1 not.")]
struct Verify {
    /// The server's folder [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArgs,
}

/// Keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket journal keys
  docket journal keys --data-dir /var/lib/docket -o json

Each segment of the journal, each snapshot, the archive and each file of the
audit log is sealed with one key of encryption.keys, or plain. A key that has no
line here is not needed any more. No key is read for this.")]
struct Keys {
    /// The server's folder [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Args {
    /// Does it, with the data directory from in front of the command beneath its own.
    pub fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Verify(args) => args.run(outer, output),
            Command::Keys(args) => args.run(outer, output),
        }
    }
}

/// The folder that was named, or the default one; it is there.
fn folder(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let data_dir = named.unwrap_or_else(|| crate::config::Config::default().server.data_dir);
    match data_dir.is_dir() {
        true => Ok(data_dir),
        false => Err(Failure::Usage(format!(
            "there is no folder {}: name it with --data-dir",
            data_dir.display()
        ))),
    }
}

impl Keys {
    fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let data_dir = folder(self.data_dir.or(outer))?;
        let serve::InUse {
            sealed,
            plain,
            unreadable,
        } = serve::in_use(&data_dir);
        let mut rows: Vec<_> = sealed
            .iter()
            .map(|(key, files)| vec![Field::text("key", key.as_str()), Field::number("files", *files)])
            .collect();
        if plain > 0 || rows.is_empty() {
            rows.push(vec![
                Field::shown("key", json!(null), "plain"),
                Field::number("files", plain),
            ]);
        }
        output.records(
            "keys",
            &Records {
                columns: &["key", "files"],
                rows,
            },
        )?;
        match unreadable.first() {
            None => Ok(()),
            Some(first) => Err(Failure::Other(format!(
                "{} of these files do not say with which key they are sealed, {} first",
                unreadable.len(),
                first.display()
            ))),
        }
    }
}

impl Verify {
    fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let (keys, configured) = self.keys.open_now()?;
        let data_dir = folder(self.data_dir.or(outer).or(configured))?;
        let report = verify(&data_dir, &keys).map_err(|cause| Failure::Other(cause.to_string()))?;
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

//! `docket debug profile`

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;

use super::{BEHIND, Nodes, new_file, write};
use crate::{failure::Failure, output::Field};

/// What the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// `pprof`
    Pprof,
    /// A browser
    Svg,
    /// Whatever draws flames
    Folded,
}

/// Profile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket debug profile
  docket debug profile --seconds 30 --file docket.pb.gz
  docket debug profile --format svg --file docket.svg

Whichever thread is at work is looked at 99 times a second of processor time,
for so long; before and behind it costs the node nothing. `go tool pprof`, and
whatever else reads its format, shows the file. With --format svg it is a flame
graph, which a browser shows; with --format folded it has a line a stack and how
often that was seen.

One at a time is taken of a node. See docs/diagnostics.md.")]
pub struct Args {
    /// The node's address for operators [env: DOCKET_ADMIN_ADDR]
    /// [default: http://127.0.0.1:7071]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// For how long, 1 to 60
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The file's format: pprof, svg or folded
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "pprof",
        hide_possible_values = true
    )]
    format: FormatArg,
    /// The file that is written; it must not be there
    /// [default: docket-cpu-TIME.pb.gz, .svg or .folded.txt]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, Nodes { nodes, output }: &Nodes) -> Result<(), Failure> {
        let (format, ending) = match self.format {
            FormatArg::Pprof => ("pprof", "pb.gz"),
            FormatArg::Svg => ("svg", "svg"),
            FormatArg::Folded => ("folded", "folded.txt"),
        };
        let file = new_file(self.file.as_deref(), "cpu", ending)?;
        let path = format!("/debug/profile?seconds={}&format={format}", self.seconds);
        let within = Duration::from_secs(self.seconds) + BEHIND;
        for node in nodes {
            let taken = node.get(&path, within).await;
            let bytes = taken.map_err(|error| Failure::Other(error.to_string()))?;
            write(&file, &bytes)?;
            output.fields(&[
                Field::text("file", &file.display().to_string()),
                Field::text("node", node.address()),
                Field::number("seconds", self.seconds),
                Field::number("bytes", bytes.len() as u64),
            ])?;
        }
        Ok(())
    }
}

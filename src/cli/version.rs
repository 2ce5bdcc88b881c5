//! `docket version`: which program this is, and which formats it writes and reads.

use serde_json::json;

use super::args::OutputArgs;
use crate::{
    failure::Failure,
    output::{Field, Format, Output, Records},
};

/// `docket version`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket version
  docket version --formats
  docket version --formats -o json | jq '.formats[] | select(.name == \"registry\")'

Data of any version up to the newest is read. What is written is of the newest
only where something of it is used that older ones have no place for.")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Show the versions of journal, snapshots, archive and peer protocol, too
    #[arg(long)]
    formats: bool,
}

impl Args {
    /// Shows it.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let version = docket_actors::version();
        if !self.formats {
            return output.fields(&[Field::text("version", version)]);
        }
        let formats = docket_actors::formats();
        if output.format() == Format::Json {
            let shown = formats
                .iter()
                .map(|format| json!({"name": format.name, "oldest": format.oldest, "newest": format.newest}));
            return output.json(&json!({"version": version, "formats": shown.collect::<Vec<_>>()}));
        }
        output.fields(&[Field::text("version", version)])?;
        output.line("")?;
        let row = |format: &docket_actors::Format| {
            vec![
                Field::text("format", format.name),
                Field::number("oldest", format.oldest),
                Field::number("newest", format.newest),
            ]
        };
        output.records(
            "formats",
            &Records {
                columns: &["format", "oldest", "newest"],
                rows: formats.iter().map(row).collect(),
            },
        )
    }
}

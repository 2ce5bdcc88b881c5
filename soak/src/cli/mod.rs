//! The command line of `docket-soak`.

mod hostile;
mod progress;
mod run;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::{Error, suite::Scenario};

/// Exit code: a fault was found, or the run could not be made.
pub const FAILED: u8 = 1;
/// Exit code: the command line makes no sense; nothing was tried.
pub const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  docket-soak list
  docket-soak run                              two minutes of everything
  docket-soak run --duration 6h --seed 7 --out soak-6h
  docket-soak run --scenario kill --scenario steady --duration 10m
  docket-soak run -o json > soak.json
  docket-soak hostile                          attacks, beside an honest client

Exit codes: 0 passed, 1 a fault was found or the run could not be made, 2 usage.";

/// The soak suite of Docket: one server under changing loads for minutes or days,
/// watched for leaks and drift, its books checked all along
#[derive(Debug, Parser)]
#[command(name = "docket-soak", version, max_term_width = 80, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios against a server of its own, and write the report
    Run(Box<run::Args>),
    /// Attack a server of its own while an honest client goes on
    #[command(mut_arg("format", |arg| arg.help("How the result is printed: table or json")))]
    Hostile(Box<hostile::Args>),
    /// List the scenarios, and what each shows
    #[command(mut_arg("format", |arg| arg.help("How the list is printed: table or json")))]
    List {
        #[command(flatten)]
        output: Output,
    },
}

/// How a command's result is printed.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Output {
    /// How the result is printed: table or json
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Does what the command line asks.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap too, and know that they belong on stdout with exit code 0.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Run(args) => args.run(),
        Command::Hostile(args) => args.run(),
        Command::List { output } => list(output.format).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Whoever closed stderr is told by the exit code.
        let _ = writeln!(std::io::stderr(), "error: {error}");
        ExitCode::from(match error {
            Error::Shape(_) => USAGE,
            _ => FAILED,
        })
    })
}

fn list(format: Format) -> Result<(), Error> {
    let text = match format {
        Format::Json => {
            let one =
                |one: &Scenario| json!({ "scenario": one.name(), "asks": one.asks(), "shows": one.shows() });
            format!("{:#}\n", json!(Scenario::ALL.iter().map(one).collect::<Vec<_>>()))
        }
        Format::Table => Scenario::ALL
            .iter()
            .map(|one| format!("{}\n  {}\n  shows {}\n", one.name(), one.asks(), one.shows()))
            .collect(),
    };
    print(&text)
}

/// To stdout; who closed it wants no more.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::system("write to stdout")(cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_help_fits_a_terminal() {
        Cli::command().debug_assert();
        for name in ["run", "hostile", "list"] {
            let mut command = Cli::command();
            command.build();
            let help = command
                .find_subcommand_mut(name)
                .unwrap()
                .render_long_help()
                .to_string();
            let longest = help.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(80), "{name}: {longest:?}\n{help}");
        }
    }
}

//! `docket upgrade`: from one version of the program to the next, and back as long as nobody has said that it is final.

mod check;
mod run;
mod status;

use std::path::PathBuf;

use clap::Subcommand;

use super::args::ClientArgs;
use crate::{failure::Failure, output::Output};

/// `docket upgrade`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket upgrade check --data-dir /var/lib/docket
  docket upgrade run --node 3=10.0.0.3:7071 --node 2=10.0.0.2:7071 \\
      --node 1=10.0.0.1:7071 --exchange ./to-new --restore ./to-old

docs/upgrading.md has all steps, in order.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done about an upgrade.
#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a stopped node's data by this program, and compare the states
    Check(check::Check),
    /// Show which versions the nodes have, and what the cluster is finalised at
    Status(status::Status),
    /// Let what is new be written, after which no node can go back
    Finalize(status::Finalize),
    /// Exchange the program of one node after another, and take back what is bad
    Run(run::Run),
}

impl Args {
    /// Whether it works on a data directory and calls no server.
    pub fn is_offline(&self) -> bool {
        matches!(self.command, Command::Check(_))
    }

    /// Whether it asks no server as a client does.
    pub fn is_operators(&self) -> bool {
        matches!(self.command, Command::Run(_))
    }

    /// Works on a data directory, with the flag from in front of the command beneath its own.
    pub fn check(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        self.client.refuse("upgrade check")?;
        match self.command {
            Command::Check(args) => args.run(outer, output),
            _ => Err(Failure::Usage("this command needs nodes".to_owned())),
        }
    }

    /// Asks nodes.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        match self.command {
            Command::Status(args) => {
                args.run(&self.client.or(outer).link(output)?.connect().await?)
                    .await
            }
            Command::Finalize(args) => {
                args.run(&self.client.or(outer).link(output)?.connect().await?)
                    .await
            }
            Command::Run(args) => {
                self.client.refuse("upgrade run")?;
                args.run(&output).await
            }
            Command::Check(_) => Err(Failure::Usage("check needs no server".to_owned())),
        }
    }
}

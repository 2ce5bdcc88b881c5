//! `docket dev`: a cluster on this machine.

use std::path::PathBuf;

use clap::Subcommand;

use super::args::OutputArgs;
use crate::{
    dev::{self, Request, Wanted},
    failure::Failure,
    output::Output,
};

/// `docket dev`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket dev
  docket dev --nodes 5
  docket dev kill 2
  docket dev restart 2

Nodes on loopback with throw-away certificates: clients at ports 7070, 7080,
7090 …, operators at the next one each, peers at the one after that.
Everything is in a folder that is removed at the end.")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Folder for certificates, data and logs; must not exist
    #[arg(long, value_name = "DIR", default_value = dev::FOLDER, global = true)]
    folder: PathBuf,
    /// How many nodes, 1 to 9
    #[arg(long, value_name = "N", default_value_t = dev::NODES as u64,
        value_parser = clap::value_parser!(u64).range(1..=dev::NODES_MAX as u64))]
    nodes: u64,
    /// How many shards [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    shards: Option<u16>,
    /// First of ten ports for each node
    #[arg(long, value_name = "PORT", default_value_t = 7_070)]
    port: u16,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What can be asked of one that runs.
#[derive(Debug, Subcommand)]
enum Command {
    /// Kill a node, without a last word
    Kill(One),
    /// Start a node again
    Restart(One),
}

/// One node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket dev kill 2
  docket dev restart 2")]
struct One {
    /// The node, from 1
    #[arg(value_name = "NODE")]
    node: usize,
}

impl Args {
    /// Runs the cluster, or asks the one that runs.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        match self.command {
            None => {
                let wanted = Wanted {
                    folder: &self.folder,
                    count: self.nodes as usize,
                    port: self.port,
                    shards: self.shards,
                    config: None,
                };
                dev::run(wanted, &output).await
            }
            Some(Command::Kill(one)) => dev::ask(&self.folder, Request::Kill, one.node).await,
            Some(Command::Restart(one)) => dev::ask(&self.folder, Request::Restart, one.node).await,
        }
    }
}

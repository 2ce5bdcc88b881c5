//! `docket cluster`: a cluster's first node, and what becomes of the others.

use std::path::PathBuf;

use clap::Subcommand;
use docket_cluster::{Identity, NodeId};

use super::args::OutputArgs;
use crate::{
    failure::Failure,
    output::{Field, Output},
    serve,
};

/// `docket cluster`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster init --id shop

How one node becomes three is told by `docket cluster init --help`.")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory the first node of a new cluster
    Init(Init),
}

/// Init.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket certs ca --out ca
  docket cluster init --id shop
  docket certs node --ca ca --cluster shop --node 1 --out node-1
  docket serve --peer-listen 10.0.0.1:7072      (and the files, see below)

A data directory in which a server stood alone keeps its data, its shards and
its id, which is printed. The server takes notice when it is started again.

The files go into [cluster] of the configuration, or into variables:
DOCKET__CLUSTER__CA, DOCKET__CLUSTER__CERTIFICATE, DOCKET__CLUSTER__KEY. Every
further node has an empty folder, a certificate of its own, and one command:

  docket certs node --ca ca --cluster shop --node 2 --out node-2
  DOCKET__CLUSTER__ID=shop docket serve --node-id 2 \\
      --peer-listen 10.0.0.2:7072 --join 10.0.0.1:7072

With three nodes each shard has three replicas.")]
struct Init {
    /// The server's folder [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The cluster's id [default: the folder's own, or a random one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The node's id [default: the folder's own, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: Option<u64>,
    /// Shards of the cluster, for ever, where the folder is new [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
}

impl Args {
    /// Does it, with the data directory from in front of the command beneath its own.
    pub fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let Command::Init(args) = self.command;
        let data_dir = args
            .data_dir
            .or(outer)
            .unwrap_or_else(|| crate::config::Config::default().server.data_dir);
        serve::make_data_dir(&data_dir)?;
        let founded = Identity::found(&data_dir, args.id.as_deref(), args.node.map(NodeId), args.shards)
            .map_err(|cause| Failure::Other(cause.to_string()))?;
        output.fields(&[
            Field::text("cluster_id", &founded.cluster_id),
            Field::number("node_id", founded.node_id.0),
            Field::number("shards", u64::from(founded.shards)),
            Field::text("data_dir", &data_dir.display().to_string()),
        ])
    }
}

//! `docket certs`: the authority and the certificates of a cluster's nodes.

use std::path::PathBuf;

use clap::Subcommand;
use docket_cluster::{NodeId, is_cluster_id};

use super::args::OutputArgs;
use crate::{
    certs::{self, CertsError, NodeCertificate, Pair},
    failure::Failure,
    output::{Field, Output},
};

/// `docket certs`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket certs ca --out ca
  docket certs node --ca ca --cluster shop --node 1 --out node-1

Nodes of a cluster talk to one another over mutual TLS, and trust nobody but
the cluster's own authority. Its key signs certificates and does nothing else:
keep it away from the nodes.")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be made.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make the authority of a cluster
    Ca(Ca),
    /// Make the certificate of a node
    Node(Node),
}

/// Ca.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket certs ca --out ca

Writes ca.pem, which every node needs, and ca.key, which none does.")]
struct Ca {
    /// Folder for the files; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long it is valid, in days
    #[arg(long, value_name = "N", default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Leave what is there already, and call that done
    #[arg(long)]
    if_absent: bool,
}

/// Node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket certs node --ca ca --cluster shop --node 1 --out node-1
  docket certs node --ca ca --cluster shop --node 2 --out node-2 \\
      --host db2.example.org --host 10.0.0.2

Writes node-N.pem and node-N.key, and the authority's ca.pem beside them: the
files for cluster.certificate, cluster.key and cluster.ca. The cluster's id is
what `docket cluster init` prints, or what it is given.")]
struct Node {
    /// Folder of the authority
    #[arg(long, value_name = "DIR", default_value = "./ca")]
    ca: PathBuf,
    /// The cluster's id
    #[arg(long, value_name = "ID")]
    cluster: String,
    /// The node's id, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// Further name or address in the certificate, for clients that check it too
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Folder for the files; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long it is valid, in days
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Leave what is there already, and call that done
    #[arg(long)]
    if_absent: bool,
}

impl Args {
    /// Makes it.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let (if_absent, made) = match self.command {
            Command::Ca(args) => (args.if_absent, certs::make_authority(&args.out, args.days)),
            Command::Node(args) => {
                if !is_cluster_id(&args.cluster) {
                    return Err(Failure::Usage(format!(
                        "--cluster {}: {}",
                        args.cluster,
                        docket_cluster::CLUSTER_ID_RULE
                    )));
                }
                let wanted = NodeCertificate {
                    cluster_id: args.cluster,
                    node: NodeId(args.node),
                    hosts: args.hosts,
                    days: args.days,
                };
                (args.if_absent, certs::make_node(&args.ca, &wanted, &args.out))
            }
        };
        match made {
            Err(CertsError::Exists { found, others }) if if_absent => {
                // Where a part of it is gone nobody would be helped by calling it done.
                match others.into_iter().find(|other| !other.is_file()) {
                    None => output.fields(&[Field::text("kept", &found.display().to_string())]),
                    Some(missing) => Err(Failure::Other(format!(
                        "{} is there, and {} is not: move what is there away, or give another folder with --out",
                        found.display(),
                        missing.display()
                    ))),
                }
            }
            Err(cause) => Err(Failure::Other(cause.to_string())),
            Ok(made) => show(&made, output),
        }
    }
}

fn show(made: &Pair, output: &Output) -> Result<(), Failure> {
    output.fields(&[
        Field::text("ca", &made.ca.display().to_string()),
        Field::text("certificate", &made.certificate.display().to_string()),
        Field::text("key", &made.key.display().to_string()),
        Field::text("valid_until", &made.until.to_string()),
    ])
}

//! `docket cluster`: a cluster's first node, and what becomes of the others.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use docket_audit::{AUDIT_DIR, Audit, AuditError, AuditOptions, Entry, Keyring, Who, actions};
use docket_cluster::{ClusterError, Identity, NodeId};
use docket_proto::v1::{
    BalanceLeadersRequest, DrainNodeRequest, GetClusterStatusRequest, MoveReplicaRequest, RemoveNodeRequest,
    UndrainNodeRequest,
};

use super::{
    args::{ClientArgs, Context},
    keys::KeysArgs,
    node::cluster_status,
};
use crate::{
    failure::Failure,
    output::{Field, Output},
    serve,
};

/// How often a drained node is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `docket cluster`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster init --id shop
  docket cluster status
  docket cluster drain 3 --wait && docket cluster remove 3

How one node becomes three is told by `docket cluster init --help`. All other
commands need an admin's credentials with scope operations, and may be sent to
any node. What they ask for is decided when they return, and done one replica
at a time after that: `docket cluster status` shows how far it is.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory the first node of a new cluster
    Init(Init),
    /// Show the nodes, and where the replicas are and should be
    Status(Status),
    /// Have the replicas and leads of a node go elsewhere
    Drain(Drain),
    /// Have a node that was to be drained stay
    Undrain(Undrain),
    /// Take a drained node out of the cluster, for ever
    Remove(Remove),
    /// Have a replica of a group go from one node to another
    Move(Move),
    /// Spread the leaders evenly over the nodes
    Balance(Balance),
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
    /// Where the folder is a node of a cluster already, of those that are given,
    /// leave it as it is, and call that done
    #[arg(long)]
    if_absent: bool,
    #[command(flatten)]
    keys: KeysArgs,
}

/// Status.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster status
  docket cluster status -o json | jq '.placements[] | select(.moving)'

The nodes are those that the cluster ever had. Whether all is well is shown by
`docket status`; with -o json both print the same.
Exit codes: 0 every replica is where it should be, 10 one is on its way.")]
struct Status {}

/// Drain.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster drain 3
  docket cluster drain 3 --wait

The node goes on serving, and may be stopped when it has no replicas.")]
struct Drain {
    /// The node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// Return when it has no replicas any more
    #[arg(long)]
    wait: bool,
}

/// Undrain.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster undrain 3")]
struct Undrain {
    /// The node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
}

/// Remove.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster remove 3
  docket cluster remove 3 --force --reason 'its disk burnt'

A node that holds replicas is not removed, unless by force, which is for one
that will not come back. Its id is never used again.")]
struct Remove {
    /// The node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// Also where it holds replicas
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why, which is kept
    #[arg(long, value_name = "TEXT", requires = "force")]
    reason: Option<String>,
}

/// Move.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster move shard-2 --from 1 --to 4")]
struct Move {
    /// The group: meta or shard-N
    #[arg(value_name = "GROUP")]
    group: String,
    /// The node that has the replica
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// The node that is to have it
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    to: u64,
}

/// Balance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket cluster balance

Who comes back after a failure gets its leads back.")]
struct Balance {}

impl Args {
    /// Whether it works on a data directory and calls no server.
    pub fn is_offline(&self) -> bool {
        matches!(self.command, Command::Init(_))
    }

    /// Makes a data directory a cluster's first, with the flag from in front of the command beneath its own.
    pub fn init(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        self.client.refuse("cluster init")?;
        let Command::Init(args) = self.command else {
            return Err(Failure::Usage("this command needs a server".to_owned()));
        };
        let (keys, configured) = args.keys.open_now()?;
        let data_dir = args
            .data_dir
            .or(outer)
            .or(configured)
            .unwrap_or_else(|| crate::config::Config::default().server.data_dir);
        serve::make_data_dir(&data_dir)?;
        let node = args.node.map(NodeId);
        let founded = match Identity::found(&data_dir, args.id.as_deref(), node, args.shards) {
            Err(ClusterError::MemberAlready {
                cluster, node: is, ..
            }) if args.if_absent
                && args.id.as_ref().is_none_or(|id| *id == cluster)
                && node.is_none_or(|node| node == is) =>
            {
                return output.fields(&[
                    Field::text("kept", &data_dir.display().to_string()),
                    Field::text("cluster_id", &cluster),
                    Field::number("node_id", is.0),
                ]);
            }
            founded => founded.map_err(|cause| Failure::Other(cause.to_string()))?,
        };
        record(&data_dir, &founded, keys)?;
        output.fields(&[
            Field::text("cluster_id", &founded.cluster_id),
            Field::number("node_id", founded.node_id.0),
            Field::number("shards", u64::from(founded.shards)),
            Field::text("data_dir", &data_dir.display().to_string()),
        ])
    }

    /// Connects and asks.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let Self { client, command } = self;
        let context = client.or(outer).link(output)?.connect().await?;
        let Context { client, output } = &context;
        match command {
            Command::Init(_) => Err(Failure::Usage("init needs no server".to_owned())),
            Command::Status(_) => status(&context).await,
            Command::Drain(args) => {
                let request = DrainNodeRequest { node_id: args.node };
                let mut member = client.answer(client.node().drain_node(request).await)?;
                while args.wait && member.replicas > 0 {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    let cluster = client.node().get_cluster_status(GetClusterStatusRequest {}).await;
                    let members = client.answer(cluster)?.members;
                    let found = members.into_iter().find(|one| one.node_id == args.node);
                    member = found.unwrap_or_default();
                }
                output.one(&member)
            }
            Command::Undrain(args) => {
                let request = UndrainNodeRequest { node_id: args.node };
                output.one(&client.answer(client.node().undrain_node(request).await)?)
            }
            Command::Remove(args) => {
                let request = RemoveNodeRequest {
                    node_id: args.node,
                    force: args.force,
                    reason: args.reason.unwrap_or_default(),
                };
                output.one(&client.answer(client.node().remove_node(request).await)?)
            }
            Command::Move(args) => {
                let request = MoveReplicaRequest {
                    group: args.group,
                    from_node_id: args.from,
                    to_node_id: args.to,
                };
                output.one(&client.answer(client.node().move_replica(request).await)?)
            }
            Command::Balance(_) => {
                client.answer(client.node().balance_leaders(BalanceLeadersRequest {}).await)?;
                output.line("the leaders are being spread")
            }
        }
    }
}

/// The first record of the node's audit log: that it was made.
fn record(data_dir: &Path, founded: &Identity, keys: Keyring) -> Result<(), Failure> {
    let failed = |cause: AuditError| Failure::Other(format!("cannot write the audit log: {cause}"));
    let node = founded.node_id.0;
    let audit = Audit::open_with(&data_dir.join(AUDIT_DIR), node, AuditOptions::default(), keys);
    let audit = audit.map_err(failed)?;
    let cluster = format!("clusters/{}", founded.cluster_id);
    let made = Entry::new(Who::operator(), actions::CLUSTER_INIT, cluster);
    let made = made.detail("node", format!("nodes/{node}"));
    super::wait(async {
        let recorded = audit.record(made).await;
        audit.close().await;
        recorded.map_err(failed)
    })
}

async fn status(Context { client, output }: &Context) -> Result<(), Failure> {
    let cluster = cluster_status(client).await?;
    if cluster.members.is_empty() {
        output.note("this node stands alone: `docket cluster init` makes it the first of a cluster");
    }
    output.membership(&cluster)?;
    let moving = cluster
        .placements
        .iter()
        .filter(|one| one.wanted_ids != one.placed_ids)
        .count();
    if moving == 0 {
        return Ok(());
    }
    Err(Failure::Unhealthy(format!(
        "{moving} of {} groups are not where they should be yet",
        cluster.placements.len()
    )))
}

//! `docket debug`: what is taken off running nodes to find out what is wrong with them.

mod bundle;
mod profile;

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use jiff::Timestamp;

use super::args::ClientArgs;
use crate::{
    client::{Asked, Credentials, DEFAULT_OPERATORS, DEFAULT_TIMEOUT, Operators},
    failure::Failure,
    output::Output,
};

/// How long an answer may take behind the time that was asked for: names are looked up then, and all of it is compressed.
const BEHIND: Duration = Duration::from_secs(60);
/// What is taken off a node is for its operators alone.
const FILE_MODE: u32 = 0o600;

/// `docket debug`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket debug bundle
  docket debug profile --seconds 30

Both ask a node's address for operators (7071), which is on the node's own
machine alone unless admin.listen says otherwise. Needs an admin's credentials
with scope operations; the node records who asked. See docs/diagnostics.md.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be taken off a node.
#[derive(Debug, Subcommand)]
enum Command {
    /// Take everything that tells how nodes are, as one archive
    Bundle(bundle::Args),
    /// Take a profile of what a node's processors are busy with
    Profile(profile::Args),
}

/// How to reach nodes, and what to do with what they give.
pub(super) struct Nodes {
    pub(super) nodes: Vec<Operators>,
    pub(super) output: Output,
}

impl Args {
    /// Asks, and writes what comes.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let client = self.client.or(outer);
        match self.command {
            Command::Bundle(args) => {
                let nodes = Nodes::find("debug", &args.admin, client, output)?;
                args.run(&nodes).await
            }
            Command::Profile(args) => {
                let nodes = Nodes::find("debug", args.admin.as_slice(), client, output)?;
                args.run(&nodes).await
            }
        }
    }
}

impl Nodes {
    /// Those that are named, else the one of the environment, else the one here.
    pub(super) fn find(
        command: &str,
        named: &[String],
        client: ClientArgs,
        output: Output,
    ) -> Result<Self, Failure> {
        for (flag, given) in [("--addr", client.addr.is_some()), ("--ca", client.ca.is_some())] {
            if given {
                return Err(Failure::Usage(format!(
                    "{flag} is of the address for gRPC; `docket {command}` asks that for operators: name it with --admin"
                )));
            }
        }
        let connect_max = client.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let credentials = Credentials::find(Asked {
            token: client.token,
            api_key: client.api_key,
            api_key_file: client.api_key_file,
        })?;
        let addresses = match named {
            [] => {
                let variable = env::var("DOCKET_ADMIN_ADDR").ok();
                vec![
                    variable
                        .filter(|it| !it.is_empty())
                        .unwrap_or(DEFAULT_OPERATORS.to_owned()),
                ]
            }
            named => named.to_vec(),
        };
        let nodes = addresses
            .iter()
            .map(|address| Operators::new(address, &credentials, connect_max))
            .collect::<Result<Vec<_>, _>>();
        let nodes = nodes.map_err(|error| Failure::Usage(error.to_string()))?;
        for node in nodes.iter().filter(|node| node.exposes()) {
            output.note(&format!(
                "warning: {} has no TLS: the credentials travel in the clear",
                node.address()
            ));
        }
        Ok(Self { nodes, output })
    }
}

/// The file that was named, or one with the time in its name, here. One that is there is not found out after a minute.
fn new_file(named: Option<&Path>, kind: &str, ending: &str) -> Result<PathBuf, Failure> {
    let file: PathBuf = named.map_or_else(
        || {
            format!(
                "docket-{kind}-{}.{ending}",
                Timestamp::now().strftime("%Y%m%dT%H%M%SZ")
            )
            .into()
        },
        Path::to_owned,
    );
    match file.exists() {
        true => Err(Failure::Usage(format!("{} is there already", file.display()))),
        false => Ok(file),
    }
}

/// Writes a file that is new.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(|cause| Failure::Other(format!("cannot write {}: {cause}", path.display())))
}

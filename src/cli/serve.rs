//! `docket serve` and `docket demo`.

use std::env;

use super::{
    args::{OutputArgs, ServeArgs},
    config,
};
use crate::{
    demo,
    failure::Failure,
    output::Output,
    serve::{self, Lifetime, Source},
};

/// `docket serve`
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  docket serve
  docket serve --data-dir /var/lib/docket --config /etc/docket.toml
  DOCKET__LOG__FORMAT=json docket serve --listen 127.0.0.1:0 -o json

The first start makes an administrator's API key and keeps it in
DATA_DIR/admin.key. Values come from the defaults, the file, DOCKET__SECTION__KEY
variables and flags, each over the one before: see `docket config show`.

A node of a cluster (see `docket cluster init --help`) has --peer-listen, and
--join where its folder is new.

Signals: SIGTERM and SIGINT stop in order: not ready, no new connections, what
is in flight is finished (server.drain_ms at most), everything is synced, exit
code 0. A second one exits at once with 143 or 130. A failed write or sync ends
the server with exit code 1.

The file and the certificates are read again where they change, and at SIGHUP.
What takes effect at once, and what needs a restart, is in `docket config
reference`; a file with anything wrong in it changes nothing, and the log says
which line.")]
pub struct Args {
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Stop in order when stdin ends: with the process that holds its other end, however that ends
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}

/// `docket demo`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket demo
  docket demo -o json | jq .checks

The server runs on free ports, in a folder that is removed afterwards. Four
clients place orders at the same time: some are refused for lack of stock or of
credit, some are sent twice, some are cancelled. Then the books are checked,
the server is started again, and they are checked once more.

Exit codes: 0 the books balance, 1 they do not.")]
pub struct DemoArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Args {
    /// Runs the server, with the flags from in front of the command beneath its own.
    pub fn run(self, outer: ServeArgs, output: &Output) -> Result<(), Failure> {
        let lifetime = match self.until_stdin_ends {
            true => Lifetime::Stdin,
            false => Lifetime::Own,
        };
        let given = self.serve.or(outer);
        let loaded = config::load(given.clone())?;
        let (file, flags) = given.layers();
        let source = Source {
            file,
            flags,
            variables: env::vars_os().collect(),
        };
        serve::run(loaded, source, lifetime, output)
    }
}

/// Runs the demo: on several threads, as a server does.
pub fn demo(output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::Other(format!("cannot start the runtime: {cause}")))?;
    runtime.block_on(demo::run(output))
}

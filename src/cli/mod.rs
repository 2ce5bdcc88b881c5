//! The command line: what can be asked, and who does it.

mod args;
mod audit;
mod auth;
mod backup;
mod bench;
mod certs;
mod chaos;
mod cluster;
mod completions;
mod config;
mod customer;
mod debug;
mod dev;
mod drill;
mod edit;
mod flag;
mod fulfil;
mod history;
mod item;
mod journal;
mod keys;
mod limit;
mod listing;
mod man;
mod node;
mod order;
mod payment;
mod returns;
mod scrub;
mod secret;
mod serve;
mod standby;
mod upgrade;
mod verify;
mod version;
mod watch;
mod webhook;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use args::Link;
use args::{ClientArgs, OutputArgs, ServeArgs};

use crate::{
    failure::{Failure, USAGE},
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  docket                                     start a server here
  docket demo                                see it work, leaving nothing behind
  docket bench                               measure it on this machine
  docket item create tea --price 4.50 --currency EUR --on-hand 100
  docket customer create acme --currency EUR --credit-limit 500.00
  docket order place --customer acme tea:2
  docket order list --customer acme -o json

Exit codes: 0 ok, 1 failure, 2 usage, 10 unhealthy (status, health, verify).";

/// Docket, the order engine: the server and its clients in one program
#[derive(Debug, Parser)]
#[command(name = "docket", version, max_term_width = 80, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server (also without a command)
    Serve(serve::Args),
    /// Start a throw-away server, let clients use it, and check its books
    Demo(serve::DemoArgs),
    /// Measure a server under load, and check its books afterwards
    Bench(bench::Args),
    /// What `bench` measures a server against
    #[command(hide = true)]
    BenchEcho,
    /// Place, show, hold and cancel orders
    Order(order::Args),
    /// Create, show and change customers, and book money to them
    Customer(customer::Args),
    /// Create, show and change items, and adjust their stock
    Item(item::Args),
    /// Accounts, sessions and API keys
    Auth(auth::Args),
    /// Tell receivers on HTTP of changes of orders
    Webhook(webhook::Args),
    /// Switch features on and off, for all or for some
    Flag(flag::Args),
    /// Say how often single callers may call
    Limit(limit::Args),
    /// Show how a server is (exit code 10 when it is not ready)
    Status(node::StatusArgs),
    /// Ask whether a server serves, without credentials (exit code 10 if not)
    Health(node::HealthArgs),
    /// Verify the books of a running server (exit code 10 if they do not agree)
    Verify(verify::Args),
    /// Read what a running server has stored once more (exit code 10 if damaged)
    Scrub(scrub::Args),
    /// Verify the journal and snapshots of a server that is not running
    Journal(journal::Args),
    /// Take off running nodes what tells what is wrong with them
    Debug(debug::Args),
    /// Have a node go wrong for a while, where it was started for that
    Chaos(chaos::Args),
    /// Make backups, list and verify them, and restore one to a new folder
    Backup(backup::Args),
    /// Show, promote or forget a second cluster that follows a first one
    Standby(standby::Args),
    /// Lose a primary under load, promote its standby, and measure what is lost
    Drill(drill::Args),
    /// Show who changed what, and prove that the log of it is whole
    Audit(audit::Args),
    /// Check and show the server's configuration
    Config(config::Args),
    /// Make a cluster of several nodes, show it, and change it
    Cluster(cluster::Args),
    /// Go from one version of the program to the next, and back
    Upgrade(upgrade::Args),
    /// Run a cluster on this machine, leaving nothing behind
    Dev(dev::Args),
    /// Make the authority and the certificates of a cluster's nodes
    Certs(certs::Args),
    /// Show which program this is, and which formats it reads
    Version(version::Args),
    /// Print a script that completes commands in a shell
    Completions(completions::Args),
    /// Print a manual page, or write those of all commands
    Man(man::Args),
}

/// Does what the command line asks.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap too, and know that they belong on stdout with exit code 0.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let asked = cli
        .command
        .as_ref()
        .and_then(Command::output)
        .and_then(|args| args.output);
    let output = Output::new(asked.or(cli.client.output.output).unwrap_or_default());
    match dispatch(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

/// The grammar. The client flags stand in front of a command as well as behind it; clap would hand those in front down
/// to every command, so that they are its own here, and the client commands take them over.
fn command() -> clap::Command {
    let clients = ClientArgs::augment_args(clap::Command::new("clients"));
    let ids: Vec<_> = clients.get_arguments().map(|arg| arg.get_id().clone()).collect();
    // What makes a data directory a cluster's first calls no server: it refuses these flags, and its help does not offer them.
    let refused: Vec<_> = clients
        .get_arguments()
        .filter(|arg| arg.get_id() != "output")
        .map(|arg| arg.clone().global(false).hide(true))
        .collect();
    let command = Cli::command().mut_args(|arg| {
        if ids.contains(arg.get_id()) {
            arg.global(false)
        } else {
            arg
        }
    });
    let of_check = refused.clone();
    let of_run = refused.clone();
    command
        .mut_subcommand("cluster", |cluster| {
            cluster.mut_subcommand("init", |init| init.args(refused))
        })
        .mut_subcommand("upgrade", |upgrade| {
            upgrade
                .mut_subcommand("check", |check| check.args(of_check))
                .mut_subcommand("run", |run| run.args(of_run))
        })
}

impl Command {
    /// The output flag behind the command; none for commands that have none.
    fn output(&self) -> Option<OutputArgs> {
        match self {
            Self::Bench(args) => Some(args.client.output),
            Self::Order(args) => Some(args.client.output),
            Self::Customer(args) => Some(args.client.output),
            Self::Item(args) => Some(args.client.output),
            Self::Auth(args) => Some(args.client.output),
            Self::Webhook(args) => Some(args.client.output),
            Self::Flag(args) => Some(args.client.output),
            Self::Limit(args) => Some(args.client.output),
            Self::Status(args) => Some(args.client.output),
            Self::Health(args) => Some(args.client.output),
            Self::Verify(args) => Some(args.client.output),
            Self::Scrub(args) => Some(args.client.output),
            Self::Debug(args) => Some(args.client.output),
            Self::Chaos(args) => Some(args.client.output),
            Self::Serve(args) => Some(args.output),
            Self::Demo(args) => Some(args.output),
            Self::Journal(args) => Some(args.output),
            Self::Audit(args) => Some(args.output),
            Self::Backup(args) => Some(args.client.output),
            Self::Standby(args) => Some(args.client.output),
            Self::Drill(args) => Some(args.output),
            Self::Config(args) => Some(args.output),
            Self::Certs(args) => Some(args.output),
            Self::Dev(args) => Some(args.output),
            Self::Cluster(args) => Some(args.client.output),
            Self::Upgrade(args) => Some(args.client.output),
            Self::Version(args) => Some(args.output),
            Self::BenchEcho | Self::Completions(_) | Self::Man(_) => None,
        }
    }

    /// Its name, and which of the flags in front of it it takes over.
    fn takes(&self) -> (&'static str, Takes) {
        match self {
            Self::Serve(_) => ("serve", Takes::Server),
            Self::Demo(_) => ("demo", Takes::Nothing),
            Self::Bench(_) => ("bench", Takes::Client),
            Self::BenchEcho => (crate::bench::ECHO_COMMAND, Takes::Nothing),
            Self::Order(_) => ("order", Takes::Client),
            Self::Customer(_) => ("customer", Takes::Client),
            Self::Item(_) => ("item", Takes::Client),
            Self::Auth(_) => ("auth", Takes::Client),
            Self::Webhook(_) => ("webhook", Takes::Client),
            Self::Flag(_) => ("flag", Takes::Client),
            Self::Limit(_) => ("limit", Takes::Client),
            Self::Status(_) => ("status", Takes::Client),
            Self::Health(_) => ("health", Takes::Client),
            Self::Verify(_) => ("verify", Takes::Client),
            Self::Scrub(_) => ("scrub", Takes::Client),
            Self::Debug(_) => ("debug", Takes::Client),
            Self::Chaos(_) => ("chaos", Takes::Client),
            Self::Journal(_) => ("journal", Takes::DataDir),
            Self::Audit(_) => ("audit", Takes::DataDir),
            Self::Backup(args) if args.asks_a_server() => ("backup create", Takes::Client),
            Self::Backup(_) => ("backup", Takes::DataDir),
            Self::Standby(_) => ("standby", Takes::Client),
            Self::Drill(_) => ("drill", Takes::Nothing),
            Self::Config(_) => ("config", Takes::Server),
            Self::Certs(_) => ("certs", Takes::Nothing),
            Self::Dev(_) => ("dev", Takes::Nothing),
            Self::Cluster(args) if args.is_offline() => ("cluster init", Takes::DataDir),
            Self::Cluster(_) => ("cluster", Takes::Client),
            Self::Upgrade(args) if args.is_offline() => ("upgrade check", Takes::DataDir),
            Self::Upgrade(args) if args.is_operators() => ("upgrade run", Takes::Nothing),
            Self::Upgrade(_) => ("upgrade", Takes::Client),
            Self::Version(_) => ("version", Takes::Nothing),
            Self::Completions(_) => ("completions", Takes::Nothing),
            Self::Man(_) => ("man", Takes::Nothing),
        }
    }
}

/// Which of the flags in front of a command it takes over; the output's it always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Those of the server.
    Server,
    /// `--data-dir`.
    DataDir,
    /// Those of the clients.
    Client,
    /// None.
    Nothing,
}

fn dispatch(cli: Cli, output: Output) -> Result<(), Failure> {
    let Cli {
        serve,
        client,
        command,
    } = cli;
    docket_cluster::program::follow_variable().map_err(Failure::Other)?;
    let (name, takes) = command.as_ref().map_or(("serve", Takes::Server), Command::takes);
    if takes != Takes::Client {
        client.refuse(name)?;
    }
    match takes {
        Takes::Server => {}
        Takes::DataDir => ServeArgs {
            data_dir: None,
            ..serve.clone()
        }
        .refuse(name)?,
        Takes::Client | Takes::Nothing => serve.refuse(name)?,
    }
    let Some(command) = command else {
        return serve::Args::default().run(serve, &output);
    };
    match command {
        Command::Serve(args) => args.run(serve, &output),
        Command::Demo(_) => serve::demo(&output),
        Command::Bench(args) => wait(args.run(client, output)),
        Command::BenchEcho => bench::echo(),
        Command::Order(args) => wait(async { args.command.run(&args.client.or(client).link(output)?).await }),
        Command::Customer(args) => {
            wait(async { args.command.run(&args.client.or(client).link(output)?).await })
        }
        Command::Item(args) => wait(async { args.command.run(&args.client.or(client).link(output)?).await }),
        Command::Auth(args) => wait(args.run(client, output)),
        Command::Webhook(args) => {
            wait(async { args.command.run(&args.client.or(client).link(output)?).await })
        }
        Command::Flag(args) => wait(async { args.command.run(&args.client.or(client).link(output)?).await }),
        Command::Limit(args) => wait(async { args.command.run(&args.client.or(client).link(output)?).await }),
        Command::Status(args) => wait(args.run(client, output)),
        Command::Health(args) => wait(args.run(client, output)),
        Command::Verify(args) => wait(args.run(client, output)),
        Command::Scrub(args) => wait(args.run(client, output)),
        Command::Debug(args) => wait(args.run(client, output)),
        Command::Chaos(args) => wait(args.run(client, output)),
        Command::Journal(args) => args.run(serve.data_dir, &output),
        Command::Audit(args) => args.run(serve.data_dir, &output),
        Command::Backup(args) => wait(args.run(client, serve.data_dir, output)),
        Command::Standby(args) => wait(args.run(client, output)),
        Command::Drill(args) => wait(args.run(output)),
        Command::Config(args) => args.run(serve, &output),
        Command::Certs(args) => args.run(&output),
        Command::Dev(args) => wait(args.run(output)),
        Command::Cluster(args) if args.is_offline() => args.init(serve.data_dir, &output),
        Command::Cluster(args) => wait(args.run(client, output)),
        Command::Upgrade(args) if args.is_offline() => args.check(serve.data_dir, &output),
        Command::Upgrade(args) => wait(args.run(client, output)),
        Command::Version(args) => args.run(&output),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// Runs a client command: one thread is enough for one call at a time.
fn wait<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|cause| Failure::Other(format!("cannot start the runtime: {cause}")))?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    /// Every command that something can be asked of, and the groups above.
    fn check(command: &clap::Command, path: &str) {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        let name = path.split(' ').next_back().unwrap_or_default();
        let shown = examples
            .take_while(|line| line.starts_with("  "))
            .filter(|line| line.contains(name));
        assert!(shown.count() > 0, "the help of `{path}` has no example of it");
        // A hidden one is started by the program itself.
        for beneath in command.get_subcommands().filter(|beneath| !beneath.is_hide_set()) {
            check(beneath, &format!("{path} {}", beneath.get_name()));
        }
    }

    #[test]
    fn every_command_s_help_has_an_example_of_it() {
        check(&super::command(), "docket");
    }
}

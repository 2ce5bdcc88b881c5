//! `docket config`: check and show the server's configuration.

use std::env;

use clap::Subcommand;
use docket_edge::auth::ApiKeyText;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::args::{OutputArgs, ServeArgs};
use crate::{
    config::{Loaded, Setting, reference},
    failure::Failure,
    output::{Field, Format, Output, Records},
};

/// How wide the reference is, at most: wherever it is read.
const REFERENCE_COLUMNS: usize = 80;

/// `docket config`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket config check --config docket.toml
  docket config show
  docket config reference > docket.toml
  docket config admin-key > /run/secrets/docket-admin-key")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check it: names the file and line of everything that is wrong
    Check(Check),
    /// Show every value and where it came from; secrets are not shown
    Show(Show),
    /// Print every key with what it means: a file to begin from
    Reference(Reference),
    /// Print a new API key, for auth.admin_key of a first start
    AdminKey(AdminKey),
}

/// Check.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket config check --config docket.toml
  DOCKET__JOURNAL__CACHE_BYTES=1048576 docket config check

Exit codes: 0 valid, 2 not.")]
struct Check {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Show.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket config show --config docket.toml
  docket config show -o json | jq '.[\"server.listen\"]'")]
struct Show {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Reference.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every key is commented out, with its default: the file sets nothing until you
take a # away. With -o json each key has its type, unit and default, and whether
a change takes effect while the server runs.

Examples:
  docket config reference > docket.toml
  docket config reference -o json | jq '.[\"limits.customer.per_second\"]'")]
struct Reference {}

/// Admin key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The key is random, and kept nowhere: put it where auth.admin_key refers to, and
the node that makes the cluster's first account makes it with this key.

Examples:
  docket config admin-key > /run/secrets/docket-admin-key
  docket config admin-key | bao kv put secret/docket admin_key=-")]
struct AdminKey {}

impl Args {
    /// Does it, with the server's flags from in front of the command beneath its own.
    pub fn run(self, outer: ServeArgs, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Check(args) => {
                load(args.serve.or(outer))?;
                output.note("the configuration is valid");
                Ok(())
            }
            Command::Show(args) => show(&load(args.serve.or(outer))?, output),
            Command::AdminKey(AdminKey {}) => {
                let key = ApiKeyText::generate().map_err(|cause| Failure::Other(cause.to_string()))?;
                let text = key.text();
                match output.format() {
                    Format::Json => output.json(&json!({ "admin_key": text.expose_secret() })),
                    Format::Table => output.text(&format!("{}\n", text.expose_secret())),
                }
            }
            Command::Reference(Reference {}) => match output.format() {
                Format::Json => output.json(&reference::for_programs()),
                Format::Table => output.text(&reference::file(REFERENCE_COLUMNS)),
            },
        }
    }
}

/// The configuration that `docket serve` would run with.
pub fn load(serve: ServeArgs) -> Result<Loaded, Failure> {
    let (file, flags) = serve.layers();
    Ok(Loaded::load(file.as_deref(), env::vars_os(), &flags)?)
}

fn show(loaded: &Loaded, output: &Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return output.json(&loaded.shown());
    }
    let row = |setting: &Setting| {
        vec![
            Field::text("key", &setting.key),
            Field::text("value", &setting.text()),
            Field::text("origin", &setting.origin.to_string()),
        ]
    };
    let rows = loaded.settings.iter().map(row).collect();
    output.records(
        "settings",
        &Records {
            columns: &["key", "value", "origin"],
            rows,
        },
    )
}

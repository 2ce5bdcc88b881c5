//! `docket standby`: a second cluster that follows a first one, and takes its place.

use std::time::Duration;

use clap::Subcommand;
use docket_proto::v1::{ForgetStandbyRequest, GetStandbyRequest, PromoteStandbyRequest, Standby};
use serde_json::json;

use super::args::{ClientArgs, Context};
use crate::{
    failure::Failure,
    output::{Field, Output, Tone},
};

/// `docket standby`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket standby status --addr https://standby:7070
  docket standby promote --addr https://standby:7070
  docket standby promote --addr https://standby:7070 --force
  docket standby forget --addr https://primary:7070

A server with standby.of in its configuration follows the cluster there.
docs/standby.md tells the whole.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

/// What can be asked about standbys.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a cluster is to another, and how far a standby is behind
    Status(Status),
    /// Have a standby take its primary's place
    Promote(Promote),
    /// Have a primary forget its standby, so that it can have another
    Forget(Forget),
}

/// Status.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket standby status
  docket standby status -o json | jq .lag_seconds

What a standby has is what the primary had acknowledged before applied_time:
if the primary were gone now, the rest would be lost.")]
struct Status {}

/// Promote.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket standby promote --addr https://standby:7070
  docket standby promote --addr https://standby:7070 --force

Asked of the standby. The primary is fenced first, and read for the last time:
nothing that it acknowledged is lost. Where it is not reached that is refused;
with --force the standby is promoted all the same, and what the primary had
acknowledged after what is here is lost. It takes no writes when it returns.

Needs an admin's credentials with the scope access.")]
struct Promote {
    /// Also where the primary cannot be fenced or read
    #[arg(long)]
    force: bool,
}

/// Forget.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket standby forget --addr https://primary:7070

Asked of the primary. The standby follows no more, and cannot be promoted; a
new one can register.

Needs an admin's credentials with the scope access.")]
struct Forget {}

impl Args {
    /// Asks a server.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let context = self.client.or(outer).link(output)?.connect().await?;
        match self.command {
            Command::Status(_) => status(&context).await,
            Command::Promote(args) => args.run(&context).await,
            Command::Forget(_) => forget(&context).await,
        }
    }
}

async fn status(Context { client, output }: &Context) -> Result<(), Failure> {
    let asked = client.standby().get_standby(GetStandbyRequest {}).await;
    output.fields(&fields(&client.answer(asked)?))
}

fn fields(standby: &Standby) -> Vec<Field> {
    let follows = standby.role == "standby";
    let lag = standby.lag.as_ref().map(seconds);
    let shown = lag.map(|lag| format!("{lag:.1} s")).unwrap_or_default();
    let mut fields = vec![
        Field::text("role", &standby.role).tone(match &*standby.role {
            "primary" => Tone::Good,
            "fenced" => Tone::Bad,
            _ => Tone::Plain,
        }),
        Field::number("epoch", standby.epoch),
        Field::text("primary", &standby.primary_address),
        Field::text("standby", &standby.standby_address),
    ];
    if follows {
        fields.extend([
            Field::moment("applied_time", standby.applied_time.as_ref()),
            Field::shown("lag_seconds", json!(lag), shown),
            Field::number("lag_orders", standby.lag_orders),
            Field::number("lag_entries", standby.lag_entries),
            Field::text("error", &standby.error).tone(match standby.error.is_empty() {
                true => Tone::Plain,
                false => Tone::Bad,
            }),
        ]);
    }
    if standby.role == "fenced" {
        fields.push(Field::flag("drained", standby.drained));
    }
    fields
}

fn seconds(duration: &prost_types::Duration) -> f64 {
    Duration::try_from(*duration).map_or(0.0, |duration| duration.as_secs_f64())
}

impl Promote {
    async fn run(self, Context { client, output }: &Context) -> Result<(), Failure> {
        // The primary may take its time to let go.
        let request = PromoteStandbyRequest { force: self.force };
        let asked = client.unbounded().standby().promote_standby(request).await;
        let promoted = client.answer(asked)?;
        output.fields(&[
            Field::number("epoch", promoted.epoch),
            Field::flag("clean", promoted.clean).tone(match promoted.clean {
                true => Tone::Good,
                false => Tone::Bad,
            }),
            Field::moment("applied_time", promoted.applied_time.as_ref()),
            Field::text("missing", &promoted.missing),
        ])
    }
}

async fn forget(Context { client, output }: &Context) -> Result<(), Failure> {
    let asked = client.standby().forget_standby(ForgetStandbyRequest {}).await;
    let forgotten = client.answer(asked)?;
    let address = forgotten.address;
    let shown = match address.as_str() {
        "" => "nobody: no standby is registered".to_owned(),
        address => address.to_owned(),
    };
    output.fields(&[Field::shown("forgotten", json!(address), shown)])
}

//! `docket order watch`: what happens to orders, as it happens.

use std::time::Duration;

use docket_proto::v1::{WatchOrdersRequest, WatchOrdersResponse, order::State, watch_orders_request::Start};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    args::{Context, Link},
    order::state,
};
use crate::{failure::Failure, values::names};

/// How long is waited before a watch that was lost is resumed, at first and at most.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Watch orders change.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order watch
  docket order watch --customer acme --state confirmed
  docket order watch --oldest -o json

Ends with Ctrl-C, and tells the token with which the next watch goes on where
this one was: nothing is missed and nothing is shown twice. A connection that
is lost, or a server that restarts, is waited for.

With -o json each change is one line; the last of those that came together
has a resume_token.")]
pub struct Watch {
    /// Only this customer's: ID or customers/ID
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer)]
    customer: Option<String>,
    /// Only changes that leave an order in this state: pending, confirmed,
    /// partially_fulfilled, fulfilled, cancelled, rejected, expired or closed; may be given
    /// several times
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<State>,
    /// Go on where a watch with the same flags ended
    #[arg(long, value_name = "TOKEN", conflicts_with = "oldest")]
    resume: Option<String>,
    /// Begin with the oldest change that is kept [default: from now on]
    #[arg(long)]
    oldest: bool,
}

impl Watch {
    /// Shows changes until Ctrl-C.
    pub async fn run(self, link: &Link) -> Result<(), Failure> {
        let context = link.connect().await?;
        let start = if self.oldest { Start::Oldest } else { Start::Now };
        let mut request = WatchOrdersRequest {
            customer: self.customer.unwrap_or_default(),
            states: self.state.iter().map(|state| (*state).into()).collect(),
            resume_token: self.resume.unwrap_or_default(),
            start: start.into(),
        };
        let asked_to_end = tokio::signal::ctrl_c();
        tokio::pin!(asked_to_end);
        let ended = tokio::select! {
            ended = show(&context, &mut request) => ended,
            _ = asked_to_end => Ok(()),
        };
        if !request.resume_token.is_empty() {
            context
                .output
                .note(&format!("go on with: --resume {}", request.resume_token));
        }
        ended
    }
}

/// Shows changes for as long as the watch can be resumed.
async fn show(context: &Context, request: &mut WatchOrdersRequest) -> Result<(), Failure> {
    let mut wait = WAIT_MIN;
    loop {
        let status = match watch(context, request, &mut wait).await {
            Ok(never) => match never {},
            Err(Ended::Output(failure)) => return Err(failure),
            Err(Ended::Status(status)) => status,
        };
        // Before anything came, a server that cannot be reached is told as by any other command.
        if request.resume_token.is_empty() || !is_passing(&status) {
            return context
                .client
                .answer(Err::<tonic::Response<()>, _>(status))
                .map_err(Failure::from);
        }
        if wait == WAIT_MIN {
            context.output.note("the watch was interrupted and is resumed …");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Why a watch ended.
enum Ended {
    Status(Status),
    Output(Failure),
}

async fn watch(
    context: &Context,
    request: &mut WatchOrdersRequest,
    wait: &mut Duration,
) -> Result<std::convert::Infallible, Ended> {
    let mut orders = context.client.unbounded().orders();
    let mut messages = orders
        .watch_orders(request.clone())
        .await
        .map_err(Ended::Status)?
        .into_inner();
    loop {
        let message = messages.message().await.map_err(Ended::Status)?;
        let Some(message) = message else {
            return Err(Ended::Status(Status::unavailable("the watch ended")));
        };
        *wait = WAIT_MIN;
        let WatchOrdersResponse {
            changes,
            resume_token,
        } = message;
        for (i, change) in changes.iter().enumerate() {
            let token = (i + 1 == changes.len()).then_some(resume_token.as_str());
            context.output.change(change, token).map_err(Ended::Output)?;
        }
        request.resume_token = resume_token;
    }
}

/// Whether a watch that ended so can be resumed.
fn is_passing(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match status.code() {
        Code::Unavailable => true,
        // What a broken connection looks like: a server's own answers say why.
        Code::Unknown | Code::Internal | Code::Cancelled => reason.is_none(),
        Code::ResourceExhausted => true,
        _ => false,
    }
}

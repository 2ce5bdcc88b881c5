//! `docket order return` and `refund`.

use clap::Subcommand;
use docket_proto::v1::{
    CloseReturnRequest, GetOrderRequest, ReceiveReturnRequest, RefundOrderRequest, RequestReturnRequest,
    ResolveReturnRequest,
};

use super::{
    args::{Context, Link, RequestArgs},
    fulfil::Part,
};
use crate::{
    failure::Failure,
    values::{money::Amount, names},
};

/// Returns of an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order return request 01M83JXAHCC6MXR3EASG000000 tea:1 --note broken
  docket order return approve 01M83JXAHCC6MXR3EASG000000 1
  docket order return receive 01M83JXAHCC6MXR3EASG000000 1 --restock
  docket order refund 01M83JXAHCC6MXR3EASG000000 4.50

`docket order get` shows the numbers of an order's returns.")]
pub struct Returns {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with returns.
#[derive(Debug, Subcommand)]
enum Command {
    /// Ask to send back what was shipped, or some of it
    Request(Request),
    /// Say that a return may be sent
    Approve(Numbered),
    /// Say that a return may not be sent
    Decline(Decline),
    /// Say that a return has arrived
    Receive(Receive),
    /// Say that nothing more comes of a return
    Close(Numbered),
}

/// Ask for a return.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order return request 01M83JXAHCC6MXR3EASG000000
  docket order return request 01M83JXAHCC6MXR3EASG000000 tea:1 --note broken")]
struct Request {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    #[command(flatten)]
    part: Part,
    /// Why, in your words
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Which return.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order return approve 01M83JXAHCC6MXR3EASG000000 1
  docket order return close 01M83JXAHCC6MXR3EASG000000 1")]
struct Numbered {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// The return's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
    number: i32,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Decline a return.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order return decline 01M83JXAHCC6MXR3EASG000000 1 --note worn")]
struct Decline {
    #[command(flatten)]
    which: Numbered,
    /// Why not, in your words
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// Receive a return.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order return receive 01M83JXAHCC6MXR3EASG000000 1
  docket order return receive 01M83JXAHCC6MXR3EASG000000 1 --restock")]
struct Receive {
    #[command(flatten)]
    which: Numbered,
    /// It goes back on the stock
    #[arg(long)]
    restock: bool,
}

/// Refund an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order refund 01M83JXAHCC6MXR3EASG000000 4.50 --note \"late\"

Gives back what was captured for what was shipped, to the customer's account.")]
pub struct Refund {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// How much, in the order's currency, for instance 4.50
    #[arg(value_name = "AMOUNT")]
    amount: Amount,
    /// Why, in your words
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

impl Returns {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let mut orders = client.orders();
        let (request_id, answer) = match self.command {
            Command::Request(Request {
                name,
                part,
                note,
                etag,
                request,
            }) => {
                let lines = part.lines(&client, &name).await?;
                let request_id = request.id(&output);
                let request = RequestReturnRequest {
                    name,
                    request_id: request_id.clone(),
                    etag: etag.unwrap_or_default(),
                    lines,
                    note,
                };
                (request_id, orders.request_return(request).await)
            }
            Command::Approve(which) => {
                let request_id = which.request.id(&output);
                let request = which.resolve(&request_id, true, String::new());
                (request_id, orders.resolve_return(request).await)
            }
            Command::Decline(Decline { which, note }) => {
                let request_id = which.request.id(&output);
                let request = which.resolve(&request_id, false, note);
                (request_id, orders.resolve_return(request).await)
            }
            Command::Receive(Receive { which, restock }) => {
                let request_id = which.request.id(&output);
                let request = ReceiveReturnRequest {
                    name: which.name,
                    request_id: request_id.clone(),
                    etag: which.etag.unwrap_or_default(),
                    return_number: which.number,
                    restock,
                };
                (request_id, orders.receive_return(request).await)
            }
            Command::Close(which) => {
                let request_id = which.request.id(&output);
                let request = CloseReturnRequest {
                    name: which.name,
                    request_id: request_id.clone(),
                    etag: which.etag.unwrap_or_default(),
                    return_number: which.number,
                };
                (request_id, orders.close_return(request).await)
            }
        };
        let order = client
            .answer(answer)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Numbered {
    fn resolve(self, request_id: &str, approve: bool, note: String) -> ResolveReturnRequest {
        ResolveReturnRequest {
            name: self.name,
            request_id: request_id.to_owned(),
            etag: self.etag.unwrap_or_default(),
            return_number: self.number,
            approve,
            note,
        }
    }
}

impl Refund {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = GetOrderRequest {
            name: self.name.clone(),
        };
        let order = client.answer(client.orders().get_order(request).await)?;
        let amount = self.amount.minor_units(&order.currency_code)?;
        let request_id = self.request.id(&output);
        let request = RefundOrderRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            amount,
            note: self.note,
        };
        let order = client
            .answer(client.orders().refund_order(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

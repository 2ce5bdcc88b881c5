//! `docket order plan`, `unplan`, `ship` and `deliver`, and how a command names a part of an order.

use docket_proto::v1::{
    CancelFulfilmentRequest, DeliverFulfilmentRequest, GetOrderRequest, LineQuantity, OpenFulfilmentRequest,
    Order, ShipOrderRequest,
};

use super::args::{Context, Link, RequestArgs};
use crate::{
    client::Client,
    failure::Failure,
    values::{Line, names},
};

/// Which part of an order is meant.
#[derive(Debug, clap::Args)]
pub struct Part {
    /// How much of what, any number of SKU:QTY [default: all of it]
    #[arg(value_name = "LINE")]
    pub(super) lines: Vec<Line>,
    /// How much of a line by its number, from 1, where several lines are of one
    /// item; may be given several times
    #[arg(long = "line", value_name = "NUMBER:QTY", value_parser = numbered)]
    pub(super) numbered: Vec<LineQuantity>,
}

/// Ship an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order ship 01M83JXAHCC6MXR3EASG000000
  docket order ship 01M83JXAHCC6MXR3EASG000000 tea:1 --carrier DHL --tracking JD014
  docket order ship 01M83JXAHCC6MXR3EASG000000 --fulfilment 1 --tracking JD015

Takes the stock off what is on hand and captures its share of the money that the
order holds. An order that is held ships nothing. What was planned is shipped by
its number; without one, what nobody has planned.")]
pub struct Ship {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    #[command(flatten)]
    part: Part,
    /// The number of the open fulfilment that is shipped: see `docket order plan`
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(i32).range(1..),
        conflicts_with_all = ["lines", "numbered"],
    )]
    fulfilment: Option<i32>,
    /// Who carries it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    carrier: String,
    /// How the carrier names it
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true)]
    tracking: String,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Plan a fulfilment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order plan 01M83JXAHCC6MXR3EASG000000
  docket order plan 01M83JXAHCC6MXR3EASG000000 tea:1 pot:1

A warehouse takes what is open upon itself: nobody else ships it, and it is not
cancelled or edited away, until it is shipped or the plan is given up.")]
pub struct Plan {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    #[command(flatten)]
    part: Part,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Give a planned fulfilment up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order unplan 01M83JXAHCC6MXR3EASG000000 1

What it had taken is open for others again.")]
pub struct Unplan {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// The fulfilment's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
    fulfilment: i32,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Deliver a shipment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order deliver 01M83JXAHCC6MXR3EASG000000 1

`docket order get` shows the numbers of an order's shipments.")]
pub struct Deliver {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// The shipment's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
    fulfilment: i32,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

impl Ship {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let lines = self.part.lines(&client, &self.name).await?;
        let request_id = self.request.id(&output);
        let request = ShipOrderRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            lines,
            carrier: self.carrier,
            tracking_code: self.tracking,
            fulfilment: self.fulfilment.unwrap_or_default(),
        };
        let order = client
            .answer(client.orders().ship_order(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Plan {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let lines = self.part.lines(&client, &self.name).await?;
        let request_id = self.request.id(&output);
        let request = OpenFulfilmentRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            lines,
        };
        let order = client
            .answer(client.orders().open_fulfilment(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Unplan {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = CancelFulfilmentRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            fulfilment: self.fulfilment,
        };
        let order = client
            .answer(client.orders().cancel_fulfilment(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Deliver {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = DeliverFulfilmentRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            fulfilment: self.fulfilment,
        };
        let order = client
            .answer(client.orders().deliver_fulfilment(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Part {
    /// Whether all is meant.
    pub(super) fn is_all(&self) -> bool {
        self.lines.is_empty() && self.numbered.is_empty()
    }

    /// The part as the server names it: by the order's lines. None where all is meant.
    pub(super) async fn lines(&self, client: &Client, order: &str) -> Result<Vec<LineQuantity>, Failure> {
        let mut lines = self.numbered.clone();
        if !self.lines.is_empty() {
            let request = GetOrderRequest {
                name: order.to_owned(),
            };
            let order = client.answer(client.orders().get_order(request).await)?;
            for line in &self.lines {
                lines.push(line_quantity(&order, line)?);
            }
        }
        Ok(lines)
    }
}

/// The order's line that is meant. It does not depend on what became of the order since, so that a repeat means the same.
fn line_quantity(order: &Order, part: &Line) -> Result<LineQuantity, Failure> {
    let (item, quantity) = (names::bare(&part.item), part.quantity);
    if part.price.is_some() {
        return Err(Failure::Usage(format!(
            "what part of an order is meant has no price: write {item}:{quantity}"
        )));
    }
    let of_item = order
        .lines
        .iter()
        .zip(0..)
        .filter(|(line, _)| line.item == part.item);
    let numbers: Vec<i32> = of_item.map(|(_, number)| number).collect();
    match numbers[..] {
        [] => Err(Failure::Usage(format!("the order has no line of {item}"))),
        [line] => Ok(LineQuantity { line, quantity }),
        [first, ..] => Err(Failure::Usage(format!(
            "the order has several lines of {item}: say which, for instance --line {}:{quantity}",
            first + 1
        ))),
    }
}

/// Reads NUMBER:QTY, for clap.
pub(super) fn numbered(text: &str) -> Result<LineQuantity, String> {
    let read = || {
        let (number, quantity) = text.split_once(':')?;
        let line = number
            .parse::<i32>()
            .ok()?
            .checked_sub(1)
            .filter(|line| *line >= 0)?;
        let quantity = quantity.parse().ok()?;
        Some(LineQuantity { line, quantity })
    };
    read().ok_or_else(|| "write NUMBER:QTY, for instance 1:2".to_owned())
}

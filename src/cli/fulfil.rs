//! `docket order ship` and `deliver`, and how a command names a part of an order.

use docket_proto::v1::{DeliverFulfilmentRequest, GetOrderRequest, LineQuantity, Order, ShipOrderRequest};

use super::args::{Context, Link, RequestArgs};
use crate::{
    client::Client,
    failure::Failure,
    values::{Line, names},
};

/// Which part of an order is meant.
#[derive(Debug, clap::Args)]
pub struct Part {
    /// How much of what, any number of SKU:QTY [default: all that is open]
    #[arg(value_name = "LINE")]
    lines: Vec<Line>,
}

/// Ship an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order ship 01M83JXAHCC6MXR3EASG000000
  docket order ship 01M83JXAHCC6MXR3EASG000000 tea:1 --carrier DHL --tracking JD014

Takes the stock off what is on hand and captures its share of the money that the
order holds. An order that is held ships nothing.")]
pub struct Ship {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    #[command(flatten)]
    part: Part,
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
        };
        let order = client
            .answer(client.orders().ship_order(request).await)
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
    /// The part as the server names it: by the order's lines. None where all is meant.
    pub(super) async fn lines(&self, client: &Client, order: &str) -> Result<Vec<LineQuantity>, Failure> {
        if self.lines.is_empty() {
            return Ok(Vec::new());
        }
        let request = GetOrderRequest {
            name: order.to_owned(),
        };
        let order = client.answer(client.orders().get_order(request).await)?;
        line_quantities(&order, &self.lines)
    }
}

/// How much of which lines these are, each item's first open lines first. What is more than there is open goes to the last of them, so
/// that the server says so.
fn line_quantities(order: &Order, part: &[Line]) -> Result<Vec<LineQuantity>, Failure> {
    let open = order.lines.iter().map(|line| {
        let open = line.quantity - line.fulfilled_quantity - line.cancelled_quantity;
        (line, open)
    });
    let mut left: Vec<i64> = open.map(|(_, open)| open).collect();
    let mut wanted = vec![0_i64; left.len()];
    for Line {
        item,
        quantity,
        price,
    } in part
    {
        if price.is_some() {
            return Err(Failure::Usage(format!(
                "what part of an order is meant has no price: write {}:{quantity}",
                names::bare(item)
            )));
        }
        let of_item = |(_, line): &(usize, &docket_proto::v1::OrderLine)| line.item == *item;
        let of_item: Vec<usize> = order
            .lines
            .iter()
            .enumerate()
            .filter(of_item)
            .map(|(i, _)| i)
            .collect();
        let Some(last) = of_item.last().copied() else {
            return Err(Failure::Usage(format!(
                "the order has no line of {}",
                names::bare(item)
            )));
        };
        let mut more = *quantity;
        for i in of_item {
            let taken = more.min(left[i]);
            left[i] -= taken;
            wanted[i] += taken;
            more -= taken;
        }
        wanted[last] = wanted[last].saturating_add(more);
    }
    let some = wanted.into_iter().zip(0..).filter(|(quantity, _)| *quantity > 0);
    Ok(some
        .map(|(quantity, line)| LineQuantity { line, quantity })
        .collect())
}

//! `docket order edit`.

use docket_proto::v1::{EditOrderRequest, LineQuantity};

use super::{
    args::{Context, Link, RequestArgs},
    fulfil::{Part, numbered},
};
use crate::{
    failure::Failure,
    values::{Line, names},
};

/// Change how much is ordered of an order's lines.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order edit 01M83JXAHCC6MXR3EASG000000 tea:5 --etag v2
  docket order edit 01M83JXAHCC6MXR3EASG000000 --line 1:3 --line 2:0 --etag v2

Each line that is named has so many in all from then on, at the price that it
has: no fewer than were shipped or cancelled of it. What it costs more is held,
or authorised by the order's payment provider, which may take a while, and what
it needs more of reserved; where there is not enough, all stays as it was.")]
pub struct Edit {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// How many of what in all, any number of SKU:QTY
    #[arg(value_name = "LINE", required_unless_present = "numbered")]
    lines: Vec<Line>,
    /// How many of a line in all by its number, from 1, where several lines are
    /// of one item; may be given several times
    #[arg(long = "line", value_name = "NUMBER:QTY", value_parser = numbered)]
    numbered: Vec<LineQuantity>,
    /// The order's etag, as `docket order get` shows it
    #[arg(long, value_name = "ETAG")]
    etag: String,
    #[command(flatten)]
    request: RequestArgs,
}

impl Edit {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let part = Part {
            lines: self.lines,
            numbered: self.numbered,
        };
        let lines = part.lines(&client, &self.name).await?;
        let request_id = self.request.id(&output);
        let request = EditOrderRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag,
            lines,
        };
        let order = client
            .answer(client.orders().edit_order(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

//! `docket order history`: what happened to an order, as a time line.

use docket_proto::v1::ListOrderEventsRequest;

use super::args::{Context, Link};
use crate::{failure::Failure, values::names};

/// What the contract allows on one page.
const PAGE_SIZE_MAX: i32 = 1_000;

/// Show what happened to an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order history 01M83JXAHCC6MXR3EASG000000
  docket order history 01M83JXAHCC6MXR3EASG000000 -o json

What, when, who, by which request, and how the order stood before and after;
oldest first. JSON has all of it, the trace of the request too.")]
pub struct History {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
}

impl History {
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let (mut events, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListOrderEventsRequest {
                parent: self.name.clone(),
                page_size: PAGE_SIZE_MAX,
                page_token,
            };
            let page = client.answer(client.orders().list_order_events(request).await)?;
            events.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return output.page(&events, "", None);
            }
        }
    }
}

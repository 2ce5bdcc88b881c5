//! `docket order retry-payment`.

use docket_proto::v1::RetryPaymentRequest;

use super::args::{Context, Link, RequestArgs};
use crate::{failure::Failure, values::names};

/// Have a declined step of a payment tried again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order list --payment failed
  docket order get 01M83JXAHCC6MXR3EASG000000
  docket order retry-payment 01M83JXAHCC6MXR3EASG000000 2

`docket order get` shows the steps that were declined, and why. An order whose
capture was declined is held for `payment`: release it when the money is there.")]
pub struct RetryPayment {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// The number of the step that was declined
    #[arg(value_name = "STEP", value_parser = clap::value_parser!(i32).range(1..))]
    step: i32,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

impl RetryPayment {
    /// Does it.
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = RetryPaymentRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            step: self.step,
        };
        let order = client
            .answer(client.orders().retry_payment(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

//! `docket order get` and `docket order list`: orders found by their names, and by what is known of them.

use docket_proto::v1::{
    BatchGetOrdersRequest, GetOrderRequest, ListOrdersRequest, order::State, order_hold::Reason,
    order_payment::State as PaymentState,
};
use jiff::Timestamp;

use super::{
    args::{Context, Link, Page, PageArgs},
    order::{reason, state},
};
use crate::{
    failure::Failure,
    values::{names, time},
};

/// What the contract allows in one batch.
const BATCH_MAX: usize = 1_000;
/// The reason with which orders are refused that are too much for one answer.
const BATCH_TOO_LARGE: &str = "BATCH_TOO_LARGE";

/// Show one order, or several.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order get 01M83JXAHCC6MXR3EASG000000
  docket order get orders/01M83JXAHCC6MXR3EASG000000 -o json
  docket order get 01M83JXAHCC6MXR3EASG000000 01M83JXAHCC6MXR3EASG000001

Several are shown as a list. Where there is none of a name, none is shown.")]
pub struct Get {
    /// The order: ID or orders/ID; may be given several times
    #[arg(value_name = "ORDER", value_parser = names::order, required = true)]
    names: Vec<String>,
}

/// List orders.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order list
  docket order list --customer acme --state confirmed --state pending
  docket order list --item tea --from 2h
  docket order list --from 2026-11-01 --to 2026-12-01 --all -o json
  docket order list --held address --held fraud_review
  docket order list --payment failed --from 1d
  docket order list --planned-before 2d

All that is given has to be met; of what is given several times, one.
A TIME is a moment (2026-11-01T08:00:00Z), a day (2026-11-01: its begin,
UTC), or a span before now (30m, 2h, 7d). Shards that cannot be read now
are left out, and named on stderr.")]
pub struct List {
    /// Only this customer's: ID or customers/ID
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer)]
    customer: Option<String>,
    /// Only in this state: pending, confirmed, partially_fulfilled,
    /// fulfilled, cancelled, rejected, expired or closed; may be given several
    /// times
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<State>,
    /// Only with a line of this item: SKU or items/SKU
    #[arg(long, value_name = "ITEM", value_parser = names::item)]
    item: Option<String>,
    /// Only held now for this reason: fraud_review, address, stock, payment
    /// or operator; may be given several times
    #[arg(long, value_name = "REASON", value_parser = reason)]
    held: Vec<Reason>,
    /// Only with the payment in this state, such as failed, authorized,
    /// captured or refunded; may be given several times
    #[arg(long, value_name = "STATE", value_parser = payment)]
    payment: Vec<PaymentState>,
    /// Only with a fulfilment that is open and was planned before this time
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    planned_before: Option<Timestamp>,
    /// Only placed at this time or later
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    from: Option<Timestamp>,
    /// Only placed before this time
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    to: Option<Timestamp>,
    #[command(flatten)]
    page: PageArgs,
}

impl Get {
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        if let [name] = &self.names[..] {
            let request = GetOrderRequest { name: name.clone() };
            return output.one(&client.answer(client.orders().get_order(request).await)?);
        }
        let (mut found, mut rest, mut most) = (Vec::new(), &self.names[..], BATCH_MAX);
        while !rest.is_empty() {
            let (asked, behind) = rest.split_at(rest.len().min(most));
            let request = BatchGetOrdersRequest {
                names: asked.to_vec(),
            };
            match client.answer(client.orders().batch_get_orders(request).await) {
                Ok(answer) => {
                    found.extend(answer.orders);
                    rest = behind;
                }
                Err(refusal) if asked.len() > 1 && refusal.reason().as_deref() == Some(BATCH_TOO_LARGE) => {
                    most = asked.len() / 2;
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        output.page(&found, "", None)
    }
}

impl List {
    pub(super) async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let wanted = ListOrdersRequest {
            customer: self.customer.unwrap_or_default(),
            states: self.state.iter().map(|state| (*state).into()).collect(),
            item: self.item.unwrap_or_default(),
            hold_reasons: self.held.iter().map(|reason| (*reason).into()).collect(),
            payment_states: self.payment.iter().map(|state| (*state).into()).collect(),
            create_time_from: self.from.map(time::to_proto),
            create_time_to: self.to.map(time::to_proto),
            return_partial_success: true,
            open_fulfilment_before: self.planned_before.map(time::to_proto),
            ..ListOrdersRequest::default()
        };
        let ask = async |page_size, page_token| {
            let request = ListOrdersRequest {
                page_size,
                page_token,
                ..wanted.clone()
            };
            let page = client.answer(client.orders().list_orders(request).await)?;
            Ok(Page {
                found: page.orders,
                next: page.next_page_token,
                unreachable: Some(page.unreachable),
            })
        };
        self.page.show(&output, ask).await
    }
}

/// Reads a state of an order's payment in small or capital letters, for clap.
fn payment(text: &str) -> Result<PaymentState, String> {
    match PaymentState::from_str_name(&text.to_ascii_uppercase()) {
        Some(state) if state != PaymentState::Unspecified => Ok(state),
        _ => Err(
            "write authorized, partially_captured, captured, partially_refunded, refunded, voided or failed"
                .to_owned(),
        ),
    }
}

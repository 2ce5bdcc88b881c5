//! `docket order`: place, cancel, hold; what finds orders, ships and returns them, and `watch`, are beside it.

use clap::Subcommand;
use docket_proto::v1::{
    CancelOrderLinesRequest, CancelOrderRequest, GetCustomerRequest, GetItemRequest, HoldOrderRequest,
    OrderLine, PlaceOrderRequest, ReleaseOrderHoldRequest, order::State, order_hold::Reason,
};

use super::{
    args::{ClientArgs, Context, Link, RequestArgs},
    edit::Edit,
    fulfil::{Deliver, Part, Plan, Ship, Unplan},
    history::History,
    listing::{Get, List},
    payment::RetryPayment,
    returns::{Refund, Returns},
    watch::Watch,
};
use crate::{
    client::Refusal,
    failure::Failure,
    values::{Line, money, names},
};

/// `docket order`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order place --customer acme tea:2
  docket order list --customer acme --state confirmed --from 7d
  docket order plan 01M83JXAHCC6MXR3EASG000000 tea:1
  docket order ship 01M83JXAHCC6MXR3EASG000000 --carrier DHL --tracking JD014
  docket order cancel 01M83JXAHCC6MXR3EASG000000
  docket order hold 01M83JXAHCC6MXR3EASG000000 address --note \"no such street\"
  docket order history 01M83JXAHCC6MXR3EASG000000
  docket order watch --customer acme")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with orders.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Place an order: holds the money, reserves the stock, answers when durable
    Place(Place),
    /// Show one order, or several
    Get(Get),
    /// List orders, newest first
    List(List),
    /// Cancel what is open of an order, or some of it: gives back its stock and its money
    Cancel(Cancel),
    /// Change how much is ordered of an order's lines
    Edit(Edit),
    /// Plan a fulfilment: take what is open of an order, or some of it, upon yourself
    Plan(Plan),
    /// Give a planned fulfilment up: what it had is open for others again
    Unplan(Unplan),
    /// Ship what is open of an order, or some of it: captures its share of the money
    Ship(Ship),
    /// Say that a shipment has arrived
    Deliver(Deliver),
    /// Send back what was shipped: ask, approve, decline, receive, close
    Return(Returns),
    /// Give back money that was captured
    Refund(Refund),
    /// Have a step of a payment that its provider declined tried again
    RetryPayment(RetryPayment),
    /// Hold a confirmed order: it goes no further until that is released
    Hold(Hold),
    /// Release what holds an order
    Release(Release),
    /// Show what happened to an order: when, who, before and after
    History(History),
    /// Watch orders change, live, until Ctrl-C
    Watch(Watch),
}

/// Place an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order place --customer acme tea:2
  docket order place --customer acme tea:2@4.50 pot:1@19.90 --currency EUR
  docket order place --customer acme tea:2 --request-id 7f3c -o json
  docket order place --customer acme tea:2 --pay-by cards

A price is in the currency's main unit with at most its decimals (12 or
12.34). An item whose price is another by now refuses the order.")]
pub struct Place {
    /// Who orders: ID or customers/ID
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer)]
    customer: String,
    /// ISO 4217 code of all prices [default: the customer's]
    #[arg(long, value_name = "CODE", value_parser = money::currency)]
    currency: Option<String>,
    /// Who moves the money: account, the customer's balance and credit, or a
    /// payment provider that the server is configured with
    #[arg(long, value_name = "PROVIDER", default_value = "account")]
    pay_by: String,
    /// What is ordered, 1 to 100 times SKU:QTY or SKU:QTY@PRICE; without a
    /// price, the one that the item has now
    #[arg(value_name = "LINE", required = true)]
    lines: Vec<Line>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Cancel an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order cancel 01M83JXAHCC6MXR3EASG000000
  docket order cancel 01M83JXAHCC6MXR3EASG000000 tea:1 --etag v2

What was shipped is not cancelled.")]
pub struct Cancel {
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

/// Hold an order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order hold 01M83JXAHCC6MXR3EASG000000 fraud_review
  docket order hold 01M83JXAHCC6MXR3EASG000000 address --note \"no such street\"

An order may be held for several reasons at a time, for each of them once.")]
pub struct Hold {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// Why: fraud_review, address, stock, payment or operator
    #[arg(value_name = "REASON", value_parser = reason)]
    reason: Reason,
    /// The same in your words
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Release a hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket order release 01M83JXAHCC6MXR3EASG000000 address")]
pub struct Release {
    /// The order: ID or orders/ID
    #[arg(value_name = "ORDER", value_parser = names::order)]
    name: String,
    /// The hold's reason: fraud_review, address, stock, payment or operator
    #[arg(value_name = "REASON", value_parser = reason)]
    reason: Reason,
    /// Only if this is still the order's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

impl Command {
    /// Does it.
    pub async fn run(self, link: &Link) -> Result<(), Failure> {
        match self {
            Self::Place(args) => args.run(link).await,
            Self::Get(args) => args.run(link).await,
            Self::List(args) => args.run(link).await,
            Self::Cancel(args) => args.run(link).await,
            Self::Edit(args) => args.run(link).await,
            Self::Plan(args) => args.run(link).await,
            Self::Unplan(args) => args.run(link).await,
            Self::Ship(args) => args.run(link).await,
            Self::Deliver(args) => args.run(link).await,
            Self::Return(args) => args.run(link).await,
            Self::Refund(args) => args.run(link).await,
            Self::RetryPayment(args) => args.run(link).await,
            Self::Hold(args) => args.run(link).await,
            Self::Release(args) => args.run(link).await,
            Self::History(args) => args.run(link).await,
            Self::Watch(args) => args.run(link).await,
        }
    }
}

impl Place {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        if let Some(currency) = &self.currency {
            // Prices that cannot be are refused before anybody is asked.
            for price in self.lines.iter().filter_map(|line| line.price.as_ref()) {
                price.minor_units(currency)?;
            }
        }
        let Context { client, output } = link.connect().await?;
        let currency = match self.currency {
            Some(currency) => currency,
            None => {
                let request = GetCustomerRequest {
                    name: self.customer.clone(),
                };
                client
                    .answer(client.customers().get_customer(request).await)?
                    .currency_code
            }
        };
        let mut lines = Vec::with_capacity(self.lines.len());
        for Line {
            item,
            quantity,
            price,
        } in self.lines
        {
            let unit_price = match price {
                Some(price) => price.minor_units(&currency)?,
                None => {
                    let request = GetItemRequest { name: item.clone() };
                    client.answer(client.items().get_item(request).await)?.unit_price
                }
            };
            lines.push(OrderLine {
                item,
                quantity,
                unit_price,
                ..OrderLine::default()
            });
        }
        let request_id = self.request.id(&output);
        let request = PlaceOrderRequest {
            request_id: request_id.clone(),
            customer: self.customer,
            currency_code: currency,
            lines,
            payment_method: self.pay_by,
        };
        let order = client
            .answer(client.orders().place_order(request).await)
            .map_err(|refusal: Refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Cancel {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let lines = self.part.lines(&client, &self.name).await?;
        let request_id = self.request.id(&output);
        let etag = self.etag.unwrap_or_default();
        let answer = if self.part.is_all() {
            let request = CancelOrderRequest {
                name: self.name,
                request_id: request_id.clone(),
                etag,
            };
            client.orders().cancel_order(request).await
        } else {
            let request = CancelOrderLinesRequest {
                name: self.name,
                request_id: request_id.clone(),
                etag,
                lines,
            };
            client.orders().cancel_order_lines(request).await
        };
        let order = client
            .answer(answer)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Hold {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = HoldOrderRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            reason: self.reason.into(),
            note: self.note,
        };
        let order = client
            .answer(client.orders().hold_order(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

impl Release {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = ReleaseOrderHoldRequest {
            name: self.name,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
            reason: self.reason.into(),
        };
        let order = client
            .answer(client.orders().release_order_hold(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&order)
    }
}

/// Reads why an order is held, in small or capital letters, for clap.
pub(super) fn reason(text: &str) -> Result<Reason, String> {
    match Reason::from_str_name(&text.to_ascii_uppercase()) {
        Some(reason) if reason != Reason::Unspecified => Ok(reason),
        _ => Err("write fraud_review, address, stock, payment or operator".to_owned()),
    }
}

/// Reads a state in small or capital letters, for clap.
pub(super) fn state(text: &str) -> Result<State, String> {
    match State::from_str_name(&text.to_ascii_uppercase()) {
        Some(state) if state != State::Unspecified => Ok(state),
        _ => Err(
            "write pending, confirmed, partially_fulfilled, fulfilled, cancelled, rejected, expired or closed"
                .to_owned(),
        ),
    }
}

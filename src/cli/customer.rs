//! `docket customer`: create, get, update, list, credit.

use clap::Subcommand;
use docket_proto::v1::{
    CreateCustomerRequest, CreditAccountRequest, Customer, GetCustomerRequest, ListCustomersRequest,
    UpdateCustomerRequest,
};
use prost_types::FieldMask;

use super::args::{ClientArgs, Context, Link, Page, PageArgs, RequestArgs};
use crate::{
    client::Client,
    failure::Failure,
    values::{Amount, money, names},
};

/// `docket customer`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket customer create acme --currency EUR --credit-limit 500.00
  docket customer credit acme 250.00
  docket customer get acme")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with customers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a customer with an empty balance
    Create(Create),
    /// Show one customer
    Get(Get),
    /// Change a customer's display name or credit limit
    Update(Update),
    /// List customers in the order of their ids
    List(List),
    /// Add to a customer's balance, or take from it what no order holds
    Credit(Credit),
}

/// Create a customer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket customer create acme --currency EUR --credit-limit 500.00
  docket customer create 4711 --currency JPY --display-name \"Sato & Co\"")]
pub struct Create {
    /// The new customer's id: ID or customers/ID
    #[arg(value_name = "CUSTOMER", value_parser = names::customer)]
    name: String,
    /// ISO 4217 code of the account; every order must use it
    #[arg(long, value_name = "CODE", value_parser = money::currency)]
    currency: String,
    /// How far orders may go beyond the balance, in the main unit [default: 0]
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    credit_limit: Option<Amount>,
    /// A name for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    display_name: String,
    #[command(flatten)]
    request: RequestArgs,
}

/// Show one customer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket customer get acme
  docket customer get acme -o json | jq .available")]
pub struct Get {
    /// The customer: ID or customers/ID
    #[arg(value_name = "CUSTOMER", value_parser = names::customer)]
    name: String,
}

/// Change a customer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket customer update acme --credit-limit 800.00
  docket customer update acme --display-name \"Acme Ltd\" --etag v3",
    override_usage = "docket customer update [OPTIONS] <CUSTOMER>",
    group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["credit_limit", "display_name"]))]
#[group(skip)]
pub struct Update {
    /// The customer: ID or customers/ID
    #[arg(value_name = "CUSTOMER", value_parser = names::customer)]
    name: String,
    /// The new credit limit, in the main unit of the customer's currency
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    credit_limit: Option<Amount>,
    /// The new name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Only if this is still the customer's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// List customers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket customer list
  docket customer list --all -o json")]
pub struct List {
    #[command(flatten)]
    page: PageArgs,
}

/// Book money.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket customer credit acme 250.00     pay in
  docket customer credit acme -20        pay out, as far as no order holds it")]
pub struct Credit {
    /// The customer: ID or customers/ID
    #[arg(value_name = "CUSTOMER", value_parser = names::customer)]
    name: String,
    /// How much, in the main unit of the customer's currency; negative takes
    /// money out
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    amount: Amount,
    /// Only if this is still the customer's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

impl Command {
    /// Does it.
    pub async fn run(self, link: &Link) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(link).await,
            Self::Get(args) => args.run(link).await,
            Self::Update(args) => args.run(link).await,
            Self::List(args) => args.run(link).await,
            Self::Credit(args) => args.run(link).await,
        }
    }
}

impl Create {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let credit_limit = match self.credit_limit {
            Some(amount) => amount.minor_units(&self.currency)?,
            None => 0,
        };
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = CreateCustomerRequest {
            customer_id: names::bare(&self.name).to_owned(),
            customer: Some(Customer {
                display_name: self.display_name,
                currency_code: self.currency,
                credit_limit,
                ..Customer::default()
            }),
            request_id: request_id.clone(),
        };
        let customer = client
            .answer(client.customers().create_customer(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&customer)
    }
}

impl Get {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        output.one(&get(&client, self.name).await?)
    }
}

impl Update {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let mut customer = Customer {
            name: self.name,
            etag: self.etag.unwrap_or_default(),
            ..Customer::default()
        };
        let mut paths = Vec::new();
        if let Some(amount) = self.credit_limit {
            let currency = get(&client, customer.name.clone()).await?.currency_code;
            customer.credit_limit = amount.minor_units(&currency)?;
            paths.push("credit_limit".to_owned());
        }
        if let Some(display_name) = self.display_name {
            customer.display_name = display_name;
            paths.push("display_name".to_owned());
        }
        let request_id = self.request.id(&output);
        let request = UpdateCustomerRequest {
            customer: Some(customer),
            update_mask: Some(FieldMask { paths }),
            request_id: request_id.clone(),
        };
        let customer = client
            .answer(client.customers().update_customer(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&customer)
    }
}

impl List {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let ask = async |page_size, page_token| {
            let request = ListCustomersRequest {
                page_size,
                page_token,
            };
            let page = client.answer(client.customers().list_customers(request).await)?;
            Ok(Page::whole(page.customers, page.next_page_token))
        };
        self.page.show(&output, ask).await
    }
}

impl Credit {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let currency = get(&client, self.name.clone()).await?.currency_code;
        let amount = self.amount.minor_units(&currency)?;
        let request_id = self.request.id(&output);
        let request = CreditAccountRequest {
            name: self.name,
            amount,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
        };
        let customer = client
            .answer(client.customers().credit_account(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&customer)
    }
}

async fn get(client: &Client, name: String) -> Result<Customer, Failure> {
    Ok(client.answer(client.customers().get_customer(GetCustomerRequest { name }).await)?)
}

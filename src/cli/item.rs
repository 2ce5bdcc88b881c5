//! `docket item`: create, get, update, list, adjust.

use clap::Subcommand;
use docket_proto::v1::{
    AdjustStockRequest, CreateItemRequest, GetItemRequest, Item, ListItemsRequest, UpdateItemRequest,
};
use prost_types::FieldMask;

use super::args::{ClientArgs, Context, Link, Page, PageArgs, RequestArgs};
use crate::{
    client::Client,
    failure::Failure,
    values::{Amount, money, names},
};

/// `docket item`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket item create tea --price 4.50 --currency EUR --on-hand 100
  docket item adjust tea 50
  docket item get tea")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with items.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an item with its first stock
    Create(Create),
    /// Show one item
    Get(Get),
    /// Change an item's name, price or backorder limit
    Update(Update),
    /// List items in the order of their skus
    List(List),
    /// Add to an item's stock, or take from it what no order has reserved
    Adjust(Adjust),
}

/// Create an item.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket item create tea --price 4.50 --currency EUR --on-hand 100
  docket item create pot --price 1990 --currency JPY --display-name Teapot")]
pub struct Create {
    /// The new item's sku: SKU or items/SKU
    #[arg(value_name = "ITEM", value_parser = names::item)]
    name: String,
    /// ISO 4217 code of the price
    #[arg(long, value_name = "CODE", value_parser = money::currency)]
    currency: String,
    /// The price of one, in the main unit
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    price: Amount,
    /// How many are there [default: 0]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    on_hand: i64,
    /// A name for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    display_name: String,
    #[command(flatten)]
    request: RequestArgs,
}

/// Show one item.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket item get tea
  docket item get tea -o json | jq .available")]
pub struct Get {
    /// The item: SKU or items/SKU
    #[arg(value_name = "ITEM", value_parser = names::item)]
    name: String,
}

/// Change an item.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket item update tea --price 4.80
  docket item update tea --display-name \"Green tea\" --etag v3
  docket item update tea --backorder-limit 100",
    override_usage = "docket item update [OPTIONS] <ITEM>",
    group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["price", "display_name", "backorder_limit"]))]
#[group(skip)]
pub struct Update {
    /// The item: SKU or items/SKU
    #[arg(value_name = "ITEM", value_parser = names::item)]
    name: String,
    /// The new price of one, in the main unit of the item's currency
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    price: Option<Amount>,
    /// The new name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// How many more may be sold than there are; 0 for none
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    backorder_limit: Option<i64>,
    /// Only if this is still the item's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// List items.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket item list
  docket item list --all -o json")]
pub struct List {
    #[command(flatten)]
    page: PageArgs,
}

/// Adjust stock.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket item adjust tea 50      fifty arrived
  docket item adjust tea -3      three broke")]
pub struct Adjust {
    /// The item: SKU or items/SKU
    #[arg(value_name = "ITEM", value_parser = names::item)]
    name: String,
    /// Added to what is on hand; negative takes away
    #[arg(value_name = "DELTA", allow_negative_numbers = true)]
    delta: i64,
    /// Only if this is still the item's etag
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
            Self::Adjust(args) => args.run(link).await,
        }
    }
}

impl Create {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let unit_price = self.price.minor_units(&self.currency)?;
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = CreateItemRequest {
            sku: names::bare(&self.name).to_owned(),
            item: Some(Item {
                display_name: self.display_name,
                currency_code: self.currency,
                unit_price,
                on_hand: self.on_hand,
                ..Item::default()
            }),
            request_id: request_id.clone(),
        };
        let item = client
            .answer(client.items().create_item(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&item)
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
        let mut item = Item {
            name: self.name,
            etag: self.etag.unwrap_or_default(),
            ..Item::default()
        };
        let mut paths = Vec::new();
        if let Some(price) = self.price {
            let currency = get(&client, item.name.clone()).await?.currency_code;
            item.unit_price = price.minor_units(&currency)?;
            paths.push("unit_price".to_owned());
        }
        if let Some(display_name) = self.display_name {
            item.display_name = display_name;
            paths.push("display_name".to_owned());
        }
        if let Some(limit) = self.backorder_limit {
            item.backorder_limit = limit;
            paths.push("backorder_limit".to_owned());
        }
        let request_id = self.request.id(&output);
        let request = UpdateItemRequest {
            item: Some(item),
            update_mask: Some(FieldMask { paths }),
            request_id: request_id.clone(),
        };
        let item = client
            .answer(client.items().update_item(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&item)
    }
}

impl List {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let ask = async |page_size, page_token| {
            let page = client.answer(
                client
                    .items()
                    .list_items(ListItemsRequest {
                        page_size,
                        page_token,
                    })
                    .await,
            )?;
            Ok(Page::whole(page.items, page.next_page_token))
        };
        self.page.show(&output, ask).await
    }
}

impl Adjust {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = AdjustStockRequest {
            name: self.name,
            delta: self.delta,
            request_id: request_id.clone(),
            etag: self.etag.unwrap_or_default(),
        };
        let item = client
            .answer(client.items().adjust_stock(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&item)
    }
}

async fn get(client: &Client, name: String) -> Result<Item, Failure> {
    Ok(client.answer(client.items().get_item(GetItemRequest { name }).await)?)
}

//! `docket limit`: how often single callers may call.

use clap::Subcommand;
use docket_proto::v1::{CallerLimit, GetLimitRequest, ListLimitsRequest, SetLimitRequest, UnsetLimitRequest};

use super::args::{ClientArgs, Context, Link, Page, PageArgs};
use crate::{failure::Failure, values::names};

/// `docket limit`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket limit set shop --rate 500 --burst 1000
  docket limit list
  docket limit unset shop

A caller without a limit of its own has its role's (limits.customer,
limits.service, limits.admin). Limits hold for all nodes together: see
docs/limits.md.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with limits.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give an account or an API key a limit of its own
    Set(Set),
    /// Show a caller's own limit, as the node that answers goes by it
    Get(Get),
    /// List callers' own limits, as the node that answers goes by them
    List(List),
    /// Hold an account or an API key to its role's limit again
    Unset(Unset),
}

/// Whose limit it is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// The account: USERNAME or accounts/USERNAME
    #[arg(value_name = "ACCOUNT", value_parser = names::account)]
    account: Option<String>,
    /// This API key instead, ID or apiKeys/ID: its calls do not count as its
    /// account's
    #[arg(long, value_name = "KEY", value_parser = names::api_key)]
    key: Option<String>,
}

/// Give an account or an API key a limit of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket limit set shop --rate 500
  docket limit set shop --rate 500 --burst 1000
  docket limit set --key 5f0c2a7d9b3e4c1a8d6f7e21 --rate 5
  docket limit set importer --unlimited")]
pub struct Set {
    #[command(flatten)]
    whose: Whose,
    /// So many calls a second, on the average; a stream's orders are calls
    #[arg(long, value_name = "N", required_unless_present = "unlimited",
          value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    rate: Option<i64>,
    /// So many may come at once [default: as many as the rate]
    #[arg(long, value_name = "N", conflicts_with = "unlimited",
          value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    burst: Option<i64>,
    /// No limit
    #[arg(long, conflicts_with = "rate")]
    unlimited: bool,
    /// Only if this is still the limit's etag; v0: only if there is none
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// Show a caller's own limit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket limit get shop
  docket limit get --key 5f0c2a7d9b3e4c1a8d6f7e21")]
pub struct Get {
    #[command(flatten)]
    whose: Whose,
}

/// List callers' own limits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket limit list
  docket limit list --all -o json")]
pub struct List {
    #[command(flatten)]
    page: PageArgs,
}

/// Hold an account or an API key to its role's limit again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket limit unset shop
  docket limit unset --key 5f0c2a7d9b3e4c1a8d6f7e21")]
pub struct Unset {
    #[command(flatten)]
    whose: Whose,
    /// Only if this is still the limit's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

impl Command {
    /// Does it.
    pub async fn run(self, link: &Link) -> Result<(), Failure> {
        match self {
            Self::Set(args) => args.run(link).await,
            Self::Get(args) => args.run(link).await,
            Self::List(args) => args.run(link).await,
            Self::Unset(args) => args.run(link).await,
        }
    }
}

impl Whose {
    fn name(self) -> String {
        // The grammar has one of them.
        format!("limits/{}", self.account.or(self.key).unwrap_or_default())
    }
}

impl Set {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let per_second = self.rate.unwrap_or(0);
        let limit = CallerLimit {
            name: self.whose.name(),
            per_second,
            burst: self.burst.unwrap_or(per_second),
            etag: self.etag.unwrap_or_default(),
            ..CallerLimit::default()
        };
        let request = SetLimitRequest { limit: Some(limit) };
        output.one(&client.answer(client.node().set_limit(request).await)?)
    }
}

impl Get {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = GetLimitRequest {
            name: self.whose.name(),
        };
        output.one(&client.answer(client.node().get_limit(request).await)?)
    }
}

impl List {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let ask = async |page_size, page_token| {
            let request = ListLimitsRequest {
                page_size,
                page_token,
            };
            let page = client.answer(client.node().list_limits(request).await)?;
            Ok(Page::whole(page.limits, page.next_page_token))
        };
        self.page.show(&output, ask).await
    }
}

impl Unset {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let name = self.whose.name();
        let request = UnsetLimitRequest {
            name,
            etag: self.etag.unwrap_or_default(),
        };
        client.answer(client.node().unset_limit(request).await)?;
        output.note("it is held to its role's limit");
        Ok(())
    }
}

//! `docket flag`: feature flags.

use clap::Subcommand;
use docket_proto::v1::{
    FeatureFlag, FlagRule, GetFlagRequest, ListFlagsRequest, Role, SetFlagRequest, UnsetFlagRequest,
};

use super::{
    args::{ClientArgs, Context, Link},
    auth::role,
};
use crate::{failure::Failure, values::names};

/// Hundredths of a percent.
const ALL: i32 = 10_000;

/// `docket flag`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket flag list
  docket flag set backorders --percent 10
  docket flag get backorders --customer acme
  docket flag unset backorders

Every node goes by a change within a second. See docs/flags.md.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with flags.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Switch a flag on, off, or on for some
    Set(Set),
    /// Show one flag, as the node that answers goes by it
    Get(Get),
    /// List flags, as the node that answers goes by them
    List(List),
    /// Have a flag be what it is by default
    Unset(Unset),
}

/// Switch a flag on, off, or on for some.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket flag set webhooks --off
  docket flag set backorders --percent 12.5 --customer acme
  docket flag set streaming_placement --off --role service
  docket flag set custom.new-checkout --percent 5

What is said replaces all that was said before. Who is in at one percentage is
in at every larger one. With --off or --percent a flag is on for those beside
that --customer and --role name.

A name that the server does not know is refused, since it would switch nothing;
one that begins with custom. is yours.",
    override_usage = "docket flag set [OPTIONS] <--on|--off|--percent <PERCENT>> <FLAG>",
    group = clap::ArgGroup::new("share").required(true).args(["on", "off", "percent"]))]
#[group(skip)]
pub struct Set {
    /// The flag: NAME or flags/NAME
    #[arg(value_name = "FLAG", value_parser = names::flag)]
    name: String,
    /// On for all
    #[arg(long)]
    on: bool,
    /// Off, but for those who are named
    #[arg(long)]
    off: bool,
    /// On for a part of all: 0 to 100, down to hundredths
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    percent: Option<i32>,
    /// On for this customer, ID or customers/ID; may be given several times
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer, conflicts_with = "on")]
    customer: Vec<String>,
    /// On for callers of this role: customer, service or admin; may be given
    /// several times
    #[arg(long, value_name = "ROLE", value_parser = role, conflicts_with = "on")]
    role: Vec<Role>,
    /// Only if this is still the flag's etag; v0: only if it is not set
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    /// Although the server may not know the flag
    #[arg(long)]
    force: bool,
}

/// Show one flag.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket flag get webhooks
  docket flag get backorders --customer acme
  docket flag get webhooks --addr http://127.0.0.1:7020 -o json | jq .etag")]
pub struct Get {
    /// The flag: NAME or flags/NAME
    #[arg(value_name = "FLAG", value_parser = names::flag)]
    name: String,
    /// Also show whether it is on for this customer: ID or customers/ID
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer)]
    customer: Option<String>,
    /// Also show whether it is on for callers of this role
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Option<Role>,
}

/// List flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket flag list
  docket flag list -o json | jq '.flags[] | select(.rule != null)'")]
pub struct List {}

/// Have a flag be what it is by default.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket flag unset webhooks
  docket flag unset webhooks --etag v7")]
pub struct Unset {
    /// The flag: NAME or flags/NAME
    #[arg(value_name = "FLAG", value_parser = names::flag)]
    name: String,
    /// Only if this is still the flag's etag
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

impl Set {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let share = match (self.on, self.percent) {
            (true, _) => ALL,
            (false, share) => share.unwrap_or(0),
        };
        let request = SetFlagRequest {
            name: self.name,
            rule: Some(FlagRule {
                share,
                customers: self.customer,
                roles: self.role.into_iter().map(i32::from).collect(),
            }),
            etag: self.etag.unwrap_or_default(),
            force: self.force,
        };
        let flag: FeatureFlag = client.answer(client.node().set_flag(request).await)?;
        output.one(&flag)
    }
}

impl Get {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = GetFlagRequest {
            name: self.name,
            customer: self.customer.unwrap_or_default(),
            role: self.role.unwrap_or_default().into(),
        };
        output.one(&client.answer(client.node().get_flag(request).await)?)
    }
}

impl List {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let found = client.answer(client.node().list_flags(ListFlagsRequest {}).await)?;
        output.page(&found.flags, "", None)
    }
}

impl Unset {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = UnsetFlagRequest {
            name: self.name,
            etag: self.etag.unwrap_or_default(),
        };
        output.one(&client.answer(client.node().unset_flag(request).await)?)
    }
}

/// Reads a percentage with up to two decimals, as hundredths of a percent, for clap.
fn percent(text: &str) -> Result<i32, String> {
    let wrong = || "write 0 to 100, with two decimals at most".to_owned();
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) || decimals.len() > 2 {
        return Err(wrong());
    }
    let hundredths: i32 = format!("{whole}{decimals:0<2}").parse().map_err(|_| wrong())?;
    match hundredths {
        0..=ALL => Ok(hundredths),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_two_decimals_at_most() {
        for (text, hundredths) in [
            ("0", 0),
            ("10", 1_000),
            ("12.5%", 1_250),
            ("0.01", 1),
            ("100", 10_000),
        ] {
            assert_eq!(percent(text), Ok(hundredths), "{text}");
        }
        for text in ["", "%", "100.01", "101", "-1", "1.234", "1e1", ".5", "+5"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}

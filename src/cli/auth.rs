//! `docket auth`: accounts, sessions, API keys and roles.

use std::path::PathBuf;

use clap::Subcommand;
use docket_proto::v1::{
    AssignRoleRequest, CreateApiKeyRequest, ListApiKeysRequest, LoginRequest, LogoutRequest, RefreshRequest,
    RegisterRequest, RevokeApiKeyRequest, Role, Scope,
};
use jiff::Timestamp;

use super::{
    args::{ClientArgs, Context, Link, Page, PageArgs},
    secret::Secret,
};
use crate::{
    failure::Failure,
    output::Output,
    values::{names, time},
};

const PASSWORD: Secret = Secret {
    what: "password",
    flag: "--password-file",
    variable: "DOCKET_PASSWORD",
};
const REFRESH_TOKEN: Secret = Secret {
    what: "refresh token",
    flag: "--refresh-token-file",
    variable: "DOCKET_REFRESH_TOKEN",
};

/// `docket auth`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth register bob --role customer --customer acme
  docket auth login bob
  docket auth key create --scope read --expires 90d")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with accounts, sessions and keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an account (needs an admin)
    Register(Register),
    /// Open a session with a username and a password
    Login(Login),
    /// Exchange a refresh token for a new pair; each works once
    Refresh(Refresh),
    /// End the session of a refresh token
    Logout(Logout),
    /// Create, list and revoke API keys
    #[command(
        subcommand,
        after_help = "\
Examples:
  docket auth key create --scope read --scope orders --expires 90d
  docket auth key list
  docket auth key revoke 5f0c2a7d9b3e4c1a8d6f7e21"
    )]
    Key(Key),
    /// Give an account another role; ends its sessions and keys (needs an admin)
    Role(AssignRole),
}

/// What can be done with API keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Create an API key; its secret is shown this once
    Create(CreateKey),
    /// List API keys: an admin sees all, others their own
    List(ListKeys),
    /// End an API key at once
    Revoke(RevokeKey),
}

/// Create an account.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth register ana --role service --password-file ana.password
  docket auth register bob --role customer --customer acme

Without --password-file, DOCKET_PASSWORD is taken, or the terminal is asked.")]
pub struct Register {
    /// The account: USERNAME or accounts/USERNAME
    #[arg(value_name = "ACCOUNT", value_parser = names::account)]
    account: String,
    #[command(flatten)]
    role: RoleArgs,
    /// File with the password, `-` for stdin
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A role and, for customers, whose.
#[derive(Debug, clap::Args)]
pub struct RoleArgs {
    /// What the account may do: customer, service or admin
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// Whose data a customer's account is for: ID or customers/ID
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer)]
    customer: Option<String>,
}

/// Open a session.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth login ana
  export DOCKET_TOKEN=$(docket auth login ana -o json | jq -r .access_token)")]
pub struct Login {
    /// The account: USERNAME or accounts/USERNAME
    #[arg(value_name = "ACCOUNT", value_parser = names::account)]
    account: String,
    /// File with the password, `-` for stdin
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Exchange a refresh token.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth refresh --refresh-token-file ana.refresh
  docket auth login ana -o json | jq -r .refresh_token |
    docket auth refresh --refresh-token-file -")]
pub struct Refresh {
    #[command(flatten)]
    token: RefreshTokenArgs,
}

/// End a session.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth logout --refresh-token-file ana.refresh
  DOCKET_REFRESH_TOKEN=$TOKEN docket auth logout")]
pub struct Logout {
    #[command(flatten)]
    token: RefreshTokenArgs,
}

/// Where a refresh token is.
#[derive(Debug, clap::Args)]
pub struct RefreshTokenArgs {
    /// File with the refresh token, `-` for stdin
    /// [env: DOCKET_REFRESH_TOKEN holds the token itself]
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<PathBuf>,
}

/// Create an API key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth key create --scope read --scope orders --expires 90d
  docket auth key create --account ana --scope read --display-name nightly")]
pub struct CreateKey {
    /// What the key may be used for: read, orders, customers, items, access or
    /// operations; may be given several times
    #[arg(long, value_name = "SCOPE", value_parser = scope, required = true)]
    scope: Vec<Scope>,
    /// Whom it acts for: USERNAME or accounts/USERNAME [default: the caller]
    #[arg(long, value_name = "ACCOUNT", value_parser = names::account)]
    account: Option<String>,
    /// A name for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    display_name: String,
    /// When it ends: a span from now (90d, 12h) or a moment in RFC 3339
    /// [default: never]
    #[arg(long, value_name = "WHEN", value_parser = time::expiry)]
    expires: Option<Timestamp>,
}

/// List API keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth key list
  docket auth key list --all -o json")]
pub struct ListKeys {
    #[command(flatten)]
    page: PageArgs,
}

/// End an API key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth key revoke 5f0c2a7d9b3e4c1a8d6f7e21
  docket auth key revoke apiKeys/5f0c2a7d9b3e4c1a8d6f7e21")]
pub struct RevokeKey {
    /// The key: ID or apiKeys/ID
    #[arg(value_name = "KEY", value_parser = names::api_key)]
    name: String,
}

/// Give an account another role.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket auth role ana --role admin
  docket auth role bob --role customer --customer acme")]
pub struct AssignRole {
    /// The account: USERNAME or accounts/USERNAME
    #[arg(value_name = "ACCOUNT", value_parser = names::account)]
    account: String,
    #[command(flatten)]
    role: RoleArgs,
}

impl Args {
    /// Does it, with credentials where the command needs them.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let client = self.client.or(outer);
        match self.command {
            Command::Login(args) => args.run(&client.link_without_credentials(output)).await,
            Command::Refresh(args) => args.run(&client.link_without_credentials(output)).await,
            Command::Logout(args) => args.run(&client.link_without_credentials(output)).await,
            Command::Register(args) => args.run(&client.link(output)?).await,
            Command::Role(args) => args.run(&client.link(output)?).await,
            Command::Key(Key::Create(args)) => args.run(&client.link(output)?).await,
            Command::Key(Key::List(args)) => args.run(&client.link(output)?).await,
            Command::Key(Key::Revoke(args)) => args.run(&client.link(output)?).await,
        }
    }
}

impl Register {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = RegisterRequest {
            username: names::bare(&self.account).to_owned(),
            password: PASSWORD.read(self.password_file)?,
            role: self.role.role.into(),
            customer: self.role.customer.unwrap_or_default(),
        };
        output.one(&client.answer(client.auth().register(request).await)?)
    }
}

impl Login {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = LoginRequest {
            username: names::bare(&self.account).to_owned(),
            password: PASSWORD.read(self.password_file)?,
        };
        output.one(&client.answer(client.auth().login(request).await)?)
    }
}

impl Refresh {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let refresh_token = REFRESH_TOKEN.read(self.token.refresh_token_file)?;
        output.one(&client.answer(client.auth().refresh(RefreshRequest { refresh_token }).await)?)
    }
}

impl Logout {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let refresh_token = REFRESH_TOKEN.read(self.token.refresh_token_file)?;
        client.answer(client.auth().logout(LogoutRequest { refresh_token }).await)?;
        output.note("the session has ended");
        Ok(())
    }
}

impl CreateKey {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = CreateApiKeyRequest {
            display_name: self.display_name,
            account: self.account.unwrap_or_default(),
            scopes: self.scope.into_iter().map(i32::from).collect(),
            expire_time: self.expires.map(time::to_proto),
        };
        let created = client.answer(client.auth().create_api_key(request).await)?;
        output.one(&created)?;
        output.note("the secret cannot be shown again: keep it now");
        Ok(())
    }
}

impl ListKeys {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let ask = async |page_size, page_token| {
            let page = client.answer(
                client
                    .auth()
                    .list_api_keys(ListApiKeysRequest {
                        page_size,
                        page_token,
                    })
                    .await,
            )?;
            Ok(Page::whole(page.api_keys, page.next_page_token))
        };
        self.page.show(&output, ask).await
    }
}

impl RevokeKey {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = RevokeApiKeyRequest { name: self.name };
        output.one(&client.answer(client.auth().revoke_api_key(request).await)?)
    }
}

impl AssignRole {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = AssignRoleRequest {
            name: self.account,
            role: self.role.role.into(),
            customer: self.role.customer.unwrap_or_default(),
        };
        output.one(&client.answer(client.auth().assign_role(request).await)?)
    }
}

/// Reads a role in small or capital letters, for clap.
pub(super) fn role(text: &str) -> Result<Role, String> {
    match Role::from_str_name(&text.to_ascii_uppercase()) {
        Some(role) if role != Role::Unspecified => Ok(role),
        _ => Err("write customer, service or admin".to_owned()),
    }
}

/// Reads a scope in small or capital letters, for clap.
fn scope(text: &str) -> Result<Scope, String> {
    match Scope::from_str_name(&text.to_ascii_uppercase()) {
        Some(scope) if scope != Scope::Unspecified => Ok(scope),
        _ => Err("write read, orders, customers, items, access or operations".to_owned()),
    }
}

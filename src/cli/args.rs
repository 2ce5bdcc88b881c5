//! Flags that several commands share.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use docket_soak::Credential;
use uuid::Uuid;

use crate::{
    client::{self, Asked, Client, Credentials, DEFAULT_ADDRESS, DEFAULT_TIMEOUT, Source, Target},
    config::Flags,
    failure::Failure,
    output::{Format, Output, Resource},
    values::time,
};

/// The flags of the server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server options")]
pub struct ServeArgs {
    /// Folder that keeps everything [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for gRPC [default: 127.0.0.1:7070]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Address for health, metrics and status [default: 127.0.0.1:7071]
    #[arg(long, value_name = "IP:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// Address for the other nodes of the cluster [default: none, standing alone]
    #[arg(long, value_name = "IP:PORT")]
    pub peer_listen: Option<SocketAddr>,
    /// This node's id in the cluster, where its folder is new
    #[arg(long, value_name = "N")]
    pub node_id: Option<u64>,
    /// Peer address of a node of the cluster to join; several: repeat, or commas
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ServeArgs {
    /// These where given, `outer` elsewhere.
    pub fn or(self, outer: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(outer.data_dir),
            listen: self.listen.or(outer.listen),
            admin_listen: self.admin_listen.or(outer.admin_listen),
            peer_listen: self.peer_listen.or(outer.peer_listen),
            node_id: self.node_id.or(outer.node_id),
            join: if self.join.is_empty() {
                outer.join
            } else {
                self.join
            },
            config: self.config.or(outer.config),
        }
    }

    /// Refuses flags of the server in front of a command that starts none.
    ///
    /// # Errors
    /// Names the first such flag.
    pub fn refuse(&self, command: &str) -> Result<(), Failure> {
        let given = [
            ("--data-dir", self.data_dir.is_some()),
            ("--listen", self.listen.is_some()),
            ("--admin-listen", self.admin_listen.is_some()),
            ("--peer-listen", self.peer_listen.is_some()),
            ("--node-id", self.node_id.is_some()),
            ("--join", !self.join.is_empty()),
            ("--config", self.config.is_some()),
        ];
        refuse(&given, "a flag of the server", command)
    }

    /// The file, and the flags as the topmost layer of the configuration.
    pub fn layers(self) -> (Option<PathBuf>, Flags) {
        let flags = Flags {
            data_dir: self.data_dir,
            listen: self.listen,
            admin_listen: self.admin_listen,
            peer_listen: self.peer_listen,
            node_id: self.node_id,
            join: self.join,
        };
        (self.config, flags)
    }
}

/// The flags of every command that talks to a server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Client options")]
pub struct ClientArgs {
    /// The server [env: DOCKET_ADDR] [default: http://127.0.0.1:7070]
    #[arg(long, value_name = "URL", global = true)]
    pub addr: Option<String>,
    /// API key; others on this machine can see it, so prefer a file
    /// [env: DOCKET_API_KEY]
    #[arg(long, value_name = "KEY", global = true, conflicts_with_all = ["api_key_file", "token"])]
    pub api_key: Option<String>,
    /// File with an API key [env: DOCKET_API_KEY_FILE]
    /// [default: ./docket-data/admin.key if it exists]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "token")]
    pub api_key_file: Option<PathBuf>,
    /// Access token of a session, see `docket auth login` [env: DOCKET_TOKEN]
    #[arg(long, value_name = "JWT", global = true)]
    pub token: Option<String>,
    /// PEM certificates to trust for https [default: the system's]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// How long connecting, and each call, may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time::duration, global = true)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The flag of every command that prints results.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// How results are printed: table or json [default: table]
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        global = true,
        hide_possible_values = true
    )]
    pub output: Option<Format>,
}

impl ClientArgs {
    /// These where given, `outer` elsewhere.
    pub fn or(self, outer: Self) -> Self {
        // One way to say who the caller is replaces all others: credentials further out must not win over nearer ones.
        let own = self.token.is_some() || self.api_key.is_some() || self.api_key_file.is_some();
        let caller = if own { &self } else { &outer };
        Self {
            addr: self.addr.clone().or(outer.addr.clone()),
            api_key: caller.api_key.clone(),
            api_key_file: caller.api_key_file.clone(),
            token: caller.token.clone(),
            ca: self.ca.clone().or(outer.ca.clone()),
            timeout: self.timeout.or(outer.timeout),
            output: OutputArgs {
                output: self.output.output.or(outer.output.output),
            },
        }
    }

    /// Refuses flags of clients in front of a command that is none.
    ///
    /// # Errors
    /// Names the first such flag.
    pub fn refuse(&self, command: &str) -> Result<(), Failure> {
        let given = [
            ("--addr", self.addr.is_some()),
            ("--api-key", self.api_key.is_some()),
            ("--api-key-file", self.api_key_file.is_some()),
            ("--token", self.token.is_some()),
            ("--ca", self.ca.is_some()),
            ("--timeout", self.timeout.is_some()),
        ];
        refuse(&given, "a flag of the client commands", command)
    }

    /// The way to the server, with the credentials that there are.
    ///
    /// # Errors
    /// Credentials that cannot be used.
    pub fn link(self, output: Output) -> Result<Link, Failure> {
        let Self {
            token,
            api_key,
            api_key_file,
            ..
        } = self.clone();
        let credentials = Credentials::find(Asked {
            token,
            api_key,
            api_key_file,
        })?;
        Ok(self.link_as(credentials, output))
    }

    /// The way to the server, for calls that need no credentials.
    pub fn link_without_credentials(self, output: Output) -> Link {
        self.link_as(Credentials::none(), output)
    }

    fn link_as(self, credentials: Credentials, output: Output) -> Link {
        let variable = || env::var("DOCKET_ADDR").ok().filter(|address| !address.is_empty());
        let target = Target {
            address: self
                .addr
                .or_else(variable)
                .unwrap_or_else(|| DEFAULT_ADDRESS.to_owned()),
            ca: self.ca,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
        };
        Link {
            target,
            credentials,
            output,
        }
    }
}

/// The way to a server. Nothing is connected yet, so that a command can check what it was given first.
#[derive(Debug)]
pub struct Link {
    target: Target,
    credentials: Credentials,
    output: Output,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn connect(&self) -> Result<Context, Failure> {
        let Self {
            target,
            credentials,
            output,
        } = self;
        if target.exposes() && *credentials.source() != Source::None {
            output.note(&format!(
                "warning: {} has no TLS: the credentials travel in the clear",
                target.address
            ));
        }
        let client = Client::connect(target, credentials.clone()).await?;
        Ok(Context {
            client,
            output: *output,
        })
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.target.address
    }

    /// The way for a load: connections are made by whoever drives it, and calls have no deadline of their own.
    ///
    /// # Errors
    /// An address or certificates that cannot be used.
    pub fn load(&self) -> Result<docket_soak::Target, Failure> {
        let credential = self.credentials.as_header();
        Ok(docket_soak::Target {
            endpoint: client::endpoint(&self.target)?,
            others: Vec::new(),
            credential: credential.map(|(name, value)| Credential::new(name, value)),
        })
    }
}

/// What a client command works with.
#[derive(Debug)]
pub struct Context {
    /// The server.
    pub client: Client,
    /// Where results go.
    pub output: Output,
}

/// The flag of every command that changes something.
#[derive(Args, Clone, Debug, Default)]
pub struct RequestArgs {
    /// Id of this request: a repeat with the same id is applied once, however
    /// often it is sent [default: a new UUID, shown on stderr]
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
}

impl RequestArgs {
    /// The id: the one given, or a new one, which is told.
    pub fn id(&self, output: &Output) -> String {
        self.request_id.clone().unwrap_or_else(|| {
            let id = Uuid::now_v7().to_string();
            output.note(&format!("request id: {id}"));
            id
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page<R> {
    /// What is on it.
    pub found: Vec<R>,
    /// The token of the next one; empty at the end.
    pub next: String,
    /// The shards that could not be read for it, where a list may leave some out.
    pub unreachable: Option<Vec<String>>,
}

impl<R> Page<R> {
    /// A page of a list that leaves no shard out.
    pub fn whole(found: Vec<R>, next: String) -> Self {
        Self {
            found,
            next,
            unreachable: None,
        }
    }

    /// Whether nothing comes of going on now: only shards are left that cannot be read.
    fn is_stuck(&self) -> bool {
        self.found.is_empty() && self.unreachable.as_ref().is_some_and(|shards| !shards.is_empty())
    }
}

/// The flags of every command that lists.
#[derive(Args, Clone, Debug, Default)]
pub struct PageArgs {
    /// How many to show, up to 1000 [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub page_size: Option<i32>,
    /// Go on where a page ended
    #[arg(long, value_name = "TOKEN")]
    pub page_token: Option<String>,
    /// Show all pages
    #[arg(long)]
    pub all: bool,
}

impl PageArgs {
    /// Asks for the page, or all pages from there, and shows them.
    ///
    /// # Errors
    /// Those of `ask`, and output that cannot be written.
    pub async fn show<R: Resource>(
        &self,
        output: &Output,
        ask: impl AsyncFn(i32, String) -> Result<Page<R>, Failure>,
    ) -> Result<(), Failure> {
        let size = self.page_size.unwrap_or(if self.all { PAGE_SIZE_MAX } else { 0 });
        let mut page = ask(size, self.page_token.clone().unwrap_or_default()).await?;
        let mut found = std::mem::take(&mut page.found);
        while self.all && !page.next.is_empty() {
            page = ask(size, page.next).await?;
            if page.is_stuck() {
                break;
            }
            found.append(&mut page.found);
        }
        output.page(&found, &page.next, page.unreachable.as_deref())
    }
}

/// What the contract allows on one page.
const PAGE_SIZE_MAX: i32 = 1_000;

fn refuse(given: &[(&str, bool)], kind: &str, command: &str) -> Result<(), Failure> {
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::Usage(format!(
            "{flag} is {kind}; it has no meaning for {command}"
        ))),
        None => Ok(()),
    }
}

//! The connection of the client commands: where to, with which credentials, and what to say when it does not come about.

mod credentials;
mod error;
mod operators;
mod refusal;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use docket_proto::v1::{
    auth_service_client::AuthServiceClient, backup_service_client::BackupServiceClient,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
    node_service_client::NodeServiceClient, order_service_client::OrderServiceClient,
    standby_service_client::StandbyServiceClient, webhook_service_client::WebhookServiceClient,
};
use tonic::{
    Response, Status,
    codegen::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::health_client::HealthClient;

pub use credentials::{Asked, Credentials, CredentialsError, DEFAULT_KEY_FILE, Source};
pub use error::ConnectError;
pub use operators::{DEFAULT_OPERATORS, NoAnswer, Operators};
pub use refusal::Refusal;

/// Where a server is looked for when nobody says otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7070";
/// How long connecting, and each call, may take when nobody says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest piece of a backup.
const BACKUP_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// How often an idle connection is tried: a server that vanished is noticed although nothing is sent.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Where to connect to and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub address: String,
    /// PEM certificates to trust for `https`; those of the system where there are none.
    pub ca: Option<PathBuf>,
    /// How long connecting, and each call, may take.
    pub timeout: Duration,
}

impl Target {
    /// Whether what is sent can be read on the way: no TLS, and not to this machine.
    pub fn exposes(&self) -> bool {
        let Some(authority) = self.address.strip_prefix("http://") else {
            return false;
        };
        let authority = authority.split('/').next().unwrap_or_default();
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host)
            .trim_matches(['[', ']']);
        let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        !loopback && host != "localhost"
    }
}

/// A channel that carries credentials and a deadline with every call.
pub type Authenticated = InterceptedService<Channel, Credentials>;

/// A connection to one server.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    credentials: Credentials,
}

impl Client {
    /// Connects, once.
    ///
    /// # Errors
    /// Says what was tried, what failed and what to do.
    pub async fn connect(target: &Target, credentials: Credentials) -> Result<Self, ConnectError> {
        let channel = connect(target).await?;
        Ok(Self {
            channel,
            credentials: credentials.with_timeout(target.timeout).with_trace(),
        })
    }

    /// The same without a deadline, for what has no end.
    pub fn unbounded(&self) -> Self {
        Self {
            channel: self.channel.clone(),
            credentials: self.credentials.clone().without_timeout(),
        }
    }

    /// Orders.
    pub fn orders(&self) -> OrderServiceClient<Authenticated> {
        OrderServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// Customers.
    pub fn customers(&self) -> CustomerServiceClient<Authenticated> {
        CustomerServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// Items.
    pub fn items(&self) -> ItemServiceClient<Authenticated> {
        ItemServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// Accounts, sessions and keys.
    pub fn auth(&self) -> AuthServiceClient<Authenticated> {
        AuthServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// Webhooks.
    pub fn webhooks(&self) -> WebhookServiceClient<Authenticated> {
        WebhookServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// The node.
    pub fn node(&self) -> NodeServiceClient<Authenticated> {
        NodeServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// Backups, whose pieces are larger than other messages.
    pub fn backup(&self) -> BackupServiceClient<Authenticated> {
        let client = BackupServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone());
        client.max_decoding_message_size(BACKUP_MESSAGE_BYTES_MAX)
    }

    /// A second cluster, and what it reads, whose pieces are larger than other messages.
    pub fn standby(&self) -> StandbyServiceClient<Authenticated> {
        let client = StandbyServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone());
        client.max_decoding_message_size(BACKUP_MESSAGE_BYTES_MAX)
    }

    /// The standard health service, which asks for no credentials.
    pub fn health(&self) -> HealthClient<Authenticated> {
        HealthClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    /// The answer of a call, or why there is none together with what this connection knows about it.
    ///
    /// # Errors
    /// The server's refusal, or the connection's failure.
    pub fn answer<T>(&self, result: Result<Response<T>, Status>) -> Result<T, Refusal> {
        result
            .map(Response::into_inner)
            .map_err(|status| Refusal::new(status, self.credentials.source().clone()))
    }
}

/// How connections to `target` are made.
///
/// # Errors
/// An address or certificates that cannot be used.
pub fn endpoint(target: &Target) -> Result<Endpoint, ConnectError> {
    let invalid = |why: &str| ConnectError::Address {
        address: target.address.clone(),
        why: why.to_owned(),
    };
    let endpoint = Endpoint::from_shared(target.address.clone()).map_err(|_| invalid("it is not a URL"))?;
    if endpoint.uri().host().is_none() {
        return Err(invalid("it names no host"));
    }
    let secure = match endpoint.uri().scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(invalid("it must begin with http:// or https://")),
    };
    let mut endpoint = endpoint
        .connect_timeout(target.timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_while_idle(true);
    match (&target.ca, secure) {
        (Some(_), false) => return Err(invalid("--ca makes sense only with https://")),
        (None, false) => {}
        (ca, true) => {
            let tls = match ca {
                Some(path) => {
                    let pem = std::fs::read(path).map_err(|cause| ConnectError::Ca {
                        path: path.clone(),
                        cause: cause.to_string(),
                    })?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|cause| ConnectError::tls_setup(target, &cause))?;
        }
    }
    Ok(endpoint)
}

/// Opens the channel of `target`.
async fn connect(target: &Target) -> Result<Channel, ConnectError> {
    match tokio::time::timeout(target.timeout, endpoint(target)?.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(cause)) => Err(ConnectError::failed(target, &cause)),
        Err(_) => Err(ConnectError::timed_out(target)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_exposes_credentials_only_beyond_this_machine() {
        for (address, exposes) in [
            ("http://127.0.0.1:7070", false),
            ("http://localhost:7070", false),
            ("http://[::1]:7070/", false),
            ("http://10.0.0.1:7070", true),
            ("http://docket.example", true),
            ("https://docket.example", false),
        ] {
            let target = Target {
                address: address.to_owned(),
                ca: None,
                timeout: DEFAULT_TIMEOUT,
            };
            assert_eq!(target.exposes(), exposes, "{address}");
        }
    }
}

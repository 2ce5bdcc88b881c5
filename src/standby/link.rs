//! How the two clusters call one another.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use docket_proto::v1::{
    ExchangeEpochsRequest, ExchangeEpochsResponse, standby_service_client::StandbyServiceClient,
};
use secrecy::SecretString;
use tonic::{
    Code, Status,
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

use crate::{
    client::{Client, Credentials, Source, Target},
    config::Config,
    failure::Failure,
};

/// How long connecting, and each call but those that read, may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The cluster that is followed.
#[derive(Clone)]
pub struct Primary {
    addresses: Vec<String>,
    /// Which of them is asked first.
    first: Arc<AtomicUsize>,
    ca: Option<std::path::PathBuf>,
    key: SecretString,
}

impl Primary {
    pub fn of(config: &Config, key: SecretString) -> Self {
        Self {
            addresses: config.standby.of.clone(),
            first: Arc::default(),
            ca: config.standby.ca.clone(),
            key,
        }
    }

    /// As people write it.
    pub fn name(&self) -> String {
        self.addresses.first().cloned().unwrap_or_default()
    }

    fn target(&self, address: &str) -> Target {
        Target {
            address: address.to_owned(),
            ca: self.ca.clone().filter(|_| address.starts_with("https://")),
            timeout: TIMEOUT,
        }
    }

    /// The next connection is to another of its nodes: one that takes it and cannot be read is passed over, where the others can.
    pub fn pass_on(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection to the first of its nodes that takes one, beginning with the one whose turn it is.
    ///
    /// # Errors
    /// Why the last does not.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let credentials = Credentials::api_key(&self.key, Source::Flag("standby.api_key"))?;
        let mut last = Failure::Other("standby.of names no node".to_owned());
        let count = self.addresses.len();
        let first = self.first.load(Ordering::Relaxed);
        for at in (0..count).map(|after| first.wrapping_add(after) % count) {
            match Client::connect(&self.target(&self.addresses[at]), credentials.clone()).await {
                Ok(client) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(client);
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Tells each of its nodes of an epoch, until one answers. That this standby is not known is an answer too: a node says so for all of them, and that another is not
    /// reached takes nothing from it.
    ///
    /// # Errors
    /// It is not known there, or why the last did not answer.
    pub async fn exchange(&self, request: &ExchangeEpochsRequest) -> Result<ExchangeEpochsResponse, Status> {
        let ca = self.ca.as_deref().map(read_ca).transpose();
        let ca = ca
            .map_err(|why| Status::unavailable(why.to_string()))?
            .unwrap_or_default();
        let mut last = Status::unavailable("standby.of names no node");
        for address in &self.addresses {
            match exchange(address, &ca, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(status) if is_unknown(&status) => return Err(status),
                Err(status) => last = status,
            }
        }
        Err(last)
    }
}

/// PEM certificates.
///
/// # Errors
/// They cannot be read.
pub fn read_ca(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|cause| Failure::Other(format!("cannot read {}: {cause}", path.display())))
}

/// Tells the other cluster of an epoch, and hears what it is.
///
/// # Errors
/// It is not reached, or refuses.
pub async fn exchange(
    address: &str,
    ca: &str,
    request: ExchangeEpochsRequest,
) -> Result<ExchangeEpochsResponse, Status> {
    let unusable = |why: &dyn std::fmt::Display| Status::unavailable(format!("{address}: {why}"));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|why| unusable(&why))?;
    let mut endpoint = endpoint.connect_timeout(TIMEOUT).timeout(TIMEOUT);
    if address.starts_with("https://") {
        let tls = match ca.is_empty() {
            true => ClientTlsConfig::new().with_native_roots(),
            false => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        };
        endpoint = endpoint.tls_config(tls).map_err(|why| unusable(&why))?;
    }
    let channel = endpoint.connect().await.map_err(|why| unusable(&why))?;
    let answer = StandbyServiceClient::new(channel).exchange_epochs(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Whether the other cluster does not know who asks: it was forgotten there.
pub fn is_unknown(status: &Status) -> bool {
    use tonic_types::StatusExt as _;
    let told = status.get_details_error_info();
    status.code() == Code::FailedPrecondition && told.is_some_and(|info| info.reason == "STANDBY_UNKNOWN")
}

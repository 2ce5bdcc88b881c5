//! Where the load goes, and as whom.

use std::{error::Error as _, fmt};

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::Error;

/// A header with a credential.
#[derive(Clone)]
pub struct Credential {
    name: &'static str,
    value: MetadataValue<Ascii>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// The header `name` with `value`.
    pub fn new(name: &'static str, value: MetadataValue<Ascii>) -> Self {
        Self { name, value }
    }

    /// An API key; none where the text cannot be one.
    pub fn api_key(key: &str) -> Option<Self> {
        let mut value = MetadataValue::try_from(key.trim()).ok()?;
        value.set_sensitive(true);
        Some(Self::new("x-api-key", value))
    }
}

/// Where the load goes, and as whom.
#[derive(Clone)]
pub struct Target {
    /// The server. Its settings are the connections'.
    pub endpoint: Endpoint,
    /// Other nodes of its cluster: connections take turns among all of them.
    pub others: Vec<Endpoint>,
    /// Sent with every call.
    pub credential: Option<Credential>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("endpoint", self.endpoint.uri())
            .finish_non_exhaustive()
    }
}

impl Target {
    /// A server at `http://address` or `https://address`, with the settings that suit a load.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(address: &str, credential: Option<Credential>) -> Result<Self, Error> {
        Ok(Self {
            endpoint: endpoint(address)?,
            others: Vec::new(),
            credential,
        })
    }

    /// Another node of the same cluster takes its turn.
    ///
    /// # Errors
    /// An address that is none.
    pub fn and(mut self, address: &str) -> Result<Self, Error> {
        self.others.push(endpoint(address)?);
        Ok(self)
    }

    /// Opens a connection, which belongs to the runtime it is opened in.
    ///
    /// # Errors
    /// There is none to be had.
    pub async fn connect(&self) -> Result<Channel, Error> {
        self.connect_in_turn(0).await
    }

    /// Opens the connection of this number, to the node whose turn it is.
    ///
    /// # Errors
    /// There is none to be had.
    pub async fn connect_in_turn(&self, number: usize) -> Result<Channel, Error> {
        let turn = number % (1 + self.others.len());
        let endpoint = turn
            .checked_sub(1)
            .map_or(&self.endpoint, |other| &self.others[other]);
        endpoint.connect().await.map_err(|cause| Error::Connect {
            address: endpoint.uri().to_string(),
            cause: cause
                .source()
                .map_or_else(|| cause.to_string(), ToString::to_string),
        })
    }

    /// The message as a call, with the credential.
    pub fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(Credential { name, value }) = &self.credential {
            request.metadata_mut().insert(*name, value.clone());
        }
        request
    }
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|cause| Error::Connect {
        address: address.to_owned(),
        cause: cause.to_string(),
    })?;
    Ok(endpoint.tcp_nodelay(true))
}

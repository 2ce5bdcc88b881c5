//! The nodes that a client knows, its connections to them, and who was last seen to lead what.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rapidhash::fast::RandomState;
use tokio::sync::Mutex;
use tonic::Status;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::{Options, OptionsError, asked_for, is_stopping};

/// What leaders are remembered by: keys that share a place cost each other a hop.
const HINTS: usize = 4_096;
/// Nodes that are known at most, those included that hints have named.
const ENDPOINTS_MAX: usize = 1_024;
/// How often a connection that stands is asked whether it lives, and how long that may take.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_MAX: Duration = Duration::from_secs(5);

/// All of them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Endpoints {
    shared: Arc<Shared>,
}

struct Shared {
    /// Those that were given, then those that hints have named.
    known: RwLock<Vec<Arc<Node>>>,
    given: usize,
    /// Which node a call without a hint begins with: each with another.
    next: AtomicUsize,
    /// A node's place in `known`, counted from 1.
    hints: Box<[AtomicUsize]>,
    hasher: RandomState,
    scheme: &'static str,
    tls: ClientTlsConfig,
    connect_max: Duration,
}

struct Node {
    address: String,
    endpoint: Endpoint,
    channel: Mutex<Option<Channel>>,
}

/// Where one attempt goes.
pub(crate) struct Way {
    node: Arc<Node>,
}

impl Endpoints {
    pub(crate) fn new(options: &Options) -> Result<Self, OptionsError> {
        let is_tls = options
            .addresses
            .first()
            .ok_or(OptionsError::NoAddress)?
            .starts_with("https");
        let known = options.addresses.iter().map(|address| {
            let node = node(address, &options.tls, options.connect_max);
            node.map_err(|cause| OptionsError::Address {
                address: address.clone(),
                cause,
            })
        });
        let known = known.collect::<Result<Vec<_>, _>>()?;
        let start = getrandom::u32().unwrap_or_default() as usize;
        let shared = Shared {
            given: known.len(),
            known: RwLock::new(known),
            next: AtomicUsize::new(start),
            hints: (0..HINTS).map(|_| AtomicUsize::new(0)).collect(),
            hasher: RandomState::default(),
            scheme: if is_tls { "https" } else { "http" },
            tls: options.tls.clone(),
            connect_max: options.connect_max,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How many addresses were given.
    pub(crate) fn given(&self) -> usize {
        self.shared.given
    }

    /// How long the node that answered so asks to wait before the next attempt. One that stops speaks of itself: where there are others, the next
    /// attempt goes to them at once.
    pub(crate) fn asked_by(&self, status: &Status) -> Duration {
        match is_stopping(status) && self.given() > 1 {
            true => Duration::ZERO,
            false => asked_for(status),
        }
    }

    /// Where an attempt goes: first to who leads what it is about, as far as that is known, and then from node to node.
    pub(crate) fn way(&self, about: Option<&str>, attempt: u32) -> Way {
        let shared = &*self.shared;
        let hint = about
            .filter(|_| attempt == 0)
            .map(|about| self.hint(about).load(Ordering::Relaxed));
        let known = shared.known.read();
        let hinted = hint.and_then(|hint| known.get(hint.checked_sub(1)?));
        let node = hinted.unwrap_or_else(|| {
            let next = shared.next.fetch_add(1, Ordering::Relaxed);
            &known[next % shared.given]
        });
        Way {
            node: Arc::clone(node),
        }
    }

    /// A connection, made if there is none.
    pub(crate) async fn connect(&self, way: &Way) -> Result<Channel, Status> {
        let mut channel = way.node.channel.lock().await;
        if let Some(channel) = &*channel {
            return Ok(channel.clone());
        }
        let made = way.node.endpoint.connect().await.map_err(|error| {
            let address = &way.node.address;
            Status::unavailable(format!("{address} cannot be reached: {}", causes(&error)))
        })?;
        Ok(channel.insert(made).clone())
    }

    /// A node has answered; `leader` is who it had to ask.
    pub(crate) fn answered(&self, about: Option<&str>, way: &Way, leader: Option<&str>) {
        let Some(about) = about else { return };
        let at = match leader {
            Some(leader) => self.place_of(&format!("{}://{leader}", self.shared.scheme)),
            None => self.place_of(&way.node.address),
        };
        if let Some(at) = at {
            self.hint(about).store(at + 1, Ordering::Relaxed);
        }
    }

    /// A node did not answer, or not well: it is not asked first again. A connection that may have broken is made anew.
    pub(crate) fn failed(&self, about: Option<&str>, way: &Way, status: &Status) {
        if let Some(about) = about {
            self.hint(about).store(0, Ordering::Relaxed);
        }
        if status.details().is_empty()
            && let Ok(mut channel) = way.node.channel.try_lock()
        {
            *channel = None;
        }
    }

    fn hint(&self, about: &str) -> &AtomicUsize {
        let hash = self.shared.hasher.hash_one(about) as usize;
        &self.shared.hints[hash % HINTS]
    }

    /// The place of an address among those that are known, where it is put if there is room.
    fn place_of(&self, address: &str) -> Option<usize> {
        let at = |known: &[Arc<Node>]| known.iter().position(|node| node.address == address);
        if let Some(at) = at(&self.shared.known.read()) {
            return Some(at);
        }
        let new = node(address, &self.shared.tls, self.shared.connect_max).ok()?;
        let mut known = self.shared.known.write();
        if let Some(at) = at(&known) {
            return Some(at);
        }
        if known.len() >= ENDPOINTS_MAX {
            return None;
        }
        known.push(new);
        Some(known.len() - 1)
    }
}

fn node(address: &str, tls: &ClientTlsConfig, connect_max: Duration) -> Result<Arc<Node>, String> {
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| causes(&error))?;
    if endpoint.uri().host().is_none() {
        return Err("it names no host".into());
    }
    let endpoint = endpoint
        .connect_timeout(connect_max)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_MAX)
        .tcp_nodelay(true);
    let endpoint = match address.starts_with("https") {
        true => endpoint.tls_config(tls.clone()).map_err(|error| causes(&error))?,
        false => endpoint,
    };
    Ok(Arc::new(Node {
        address: address.to_owned(),
        endpoint,
        channel: Mutex::new(None),
    }))
}

/// An error with what is behind it: tonic says "transport error", and its sources say which.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

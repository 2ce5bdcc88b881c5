//! Clients' calls that came to one node and are done by another: where that is, and the way there.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use docket_cluster::{Answer, Calling, Group, GroupId, Lane, Leader, NodeId, PeerCallError};
use docket_engine::{CustomerId, OrderId, Sku};
use docket_proto::{
    peer::forward_reply::Result as Forwarded,
    peer_call::{Forward, decode_forwarded, kind},
};

use super::asking::led_otherwise;
use crate::{Docket, shard::Shard};

/// How long a node waits until it knows of accounts what their leader has just done.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// What a call is about: it is done where that is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A customer, or what is its.
    Customer(CustomerId),
    /// An item.
    Item(Sku),
    /// An order.
    Order(OrderId),
    /// Accounts, sessions, keys; webhooks.
    Accounts,
}

/// Where something is led, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Here,
    /// On this node.
    Node(u64),
    /// Nobody knows, or it is changing.
    Unknown,
}

/// Answers clients' calls that came to other nodes, and that they have let in.
pub trait AnswerForwarded: Send + Sync + 'static {
    /// Does what a call asks, until `deadline`, and says what became of it, as [`encode_forwarded`](docket_proto::peer_call::encode_forwarded)
    /// writes it. It is not forwarded again: where this node does not lead what it is about, that is the answer.
    fn answer(&self, call: Forward, deadline: Instant) -> Answer;
}

/// Where a node serves clients, as `host:port`, where that is known.
pub type ClientAddresses = dyn Fn(u64) -> Option<String> + Send + Sync;

/// Why a forwarded call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ForwardError {
    /// What went wrong.
    pub why: String,
    /// Whether it may have been done all the same.
    pub may_be_done: bool,
}

/// An order that another node places. It has no timer, and nobody tells it that the other leads no more: whoever has many of these looks at
/// [`Forwarding::is_led`] now and then.
#[must_use = "nobody is told what becomes of the order"]
pub struct Forwarding {
    calling: Calling,
    shard: Arc<Shard>,
    /// It is heard here who leads.
    is_heard: bool,
}

impl Forwarding {
    /// The node that is asked.
    pub fn node(&self) -> u64 {
        self.calling.node().0
    }

    /// Whether that node leads the order's shard, as far as is known here. Where it does not, it may be gone without a word, and its answer counts
    /// only if it comes within [`ANSWER_GRACE`](crate::ANSWER_GRACE).
    pub fn is_led(&self) -> bool {
        !self.is_heard || self.shard.group().follows(self.calling.node())
    }
}

impl Future for Forwarding {
    type Output = Result<Forwarded, ForwardError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.calling).poll(cx).map(forwarded)
    }
}

fn forwarded(answer: Result<Bytes, PeerCallError>) -> Result<Forwarded, ForwardError> {
    let answer = answer.map_err(|error| ForwardError {
        why: error.to_string(),
        may_be_done: error.may_be_done(),
    })?;
    decode_forwarded(answer).map_err(|error| ForwardError {
        why: error.to_string(),
        may_be_done: true,
    })
}

impl Docket {
    /// Whether there are other nodes, so that things may be led elsewhere.
    pub fn has_peers(&self) -> bool {
        self.inner.node.has_peers()
    }

    /// Where something is led.
    pub fn place_of(&self, key: &Key) -> Place {
        // To be read here; what is to be changed is refused.
        if self.inner.node.leads_nothing_by().is_some() {
            return Place::Here;
        }
        let Some(shard) = self.shard_of(key) else {
            return match key {
                Key::Accounts => place(self.inner.node.leader_of(GroupId::META)),
                // There is no such order, which everyone can say.
                _ => Place::Here,
            };
        };
        match place(self.inner.router.leader(shard)) {
            // Its actors are let in a moment after the log says so.
            Place::Here if !shard.is_leading() => Place::Unknown,
            place => place,
        }
    }

    /// The shard of a key; `None` for accounts, and for an order that no shard can have.
    fn shard_of(&self, key: &Key) -> Option<&Arc<Shard>> {
        let router = &self.inner.router;
        match key {
            Key::Customer(id) => Some(router.of_key(id.as_str())),
            Key::Item(sku) => Some(router.of_key(sku.as_str())),
            Key::Order(id) => router.of_order(*id),
            Key::Accounts => None,
        }
    }

    /// Looks for who leads something, where this node does not hear of that by itself.
    pub async fn look_for(&self, key: &Key, deadline: Instant) {
        if let Some(group) = self.group_of(key) {
            self.inner.node.find_leader(group.id(), deadline).await;
        }
    }

    fn group_of(&self, key: &Key) -> Option<Group> {
        match key {
            Key::Accounts => Some(self.inner.node.meta()),
            key => Some(self.shard_of(key)?.group().clone()),
        }
    }

    /// Where another node is connected to, `HOST:PORT`; `None` where that is not known.
    pub fn address_of(&self, node: u64) -> Option<Arc<str>> {
        self.inner.node.address_of(NodeId(node))
    }

    /// Has another node, which leads what a call is about, do what a client asks.
    ///
    /// # Errors
    /// Why there is no answer, and whether it may have been done.
    pub async fn forward(
        &self,
        key: &Key,
        node: u64,
        call: Forward,
        deadline: Instant,
    ) -> Result<Forwarded, ForwardError> {
        let (to, node) = ((Lane::Request, kind::FORWARD), NodeId(node));
        let asked = self.inner.node.call(node, to, call.encode(), deadline);
        let answer = match self.group_of(key) {
            None => asked.await,
            Some(group) => tokio::select! {
                answer = asked => answer,
                // Who led may be gone without a word.
                () = led_otherwise(group, node) => Err(PeerCallError::Unknown {
                    node,
                    cause: "it leads no more, and has not answered".into(),
                }),
            },
        };
        forwarded(answer)
    }

    /// Has another node place an order, at once: `order` is the call, as [`Forward::encode_order`] writes it. `None` where nothing was
    /// sent, since that would have to wait: then [`Docket::forward`] does.
    pub fn begin_forward(
        &self,
        customer: &CustomerId,
        node: u64,
        order: Bytes,
        deadline: Instant,
    ) -> Option<Forwarding> {
        let (to, node) = ((Lane::Request, kind::FORWARD), NodeId(node));
        let calling = self.inner.node.begin_call(node, to, order, deadline)?;
        let shard = Arc::clone(self.inner.router.of_key(customer.as_str()));
        Some(Forwarding {
            is_heard: shard.group().follows(node),
            calling,
            shard,
        })
    }

    /// Says who answers what clients asked of other nodes. Until then such calls are declined.
    ///
    /// True if nobody did before.
    pub fn answer_forwarded(&self, answers: Arc<dyn AnswerForwarded>) -> bool {
        self.inner.answering.set_forwarded(answers)
    }

    /// Says who knows where nodes serve clients. Without it the cluster's registry is looked into.
    ///
    /// True if it was not said before.
    pub fn set_client_addresses(&self, addresses: Arc<ClientAddresses>) -> bool {
        self.inner.client_addresses.set(addresses).is_ok()
    }

    /// Where a node serves clients, where that was said or is in the cluster's registry.
    pub fn client_address(&self, node: u64) -> Option<String> {
        if let Some(addresses) = self.inner.client_addresses.get() {
            return addresses(node);
        }
        let registry = self.inner.node.registry()?;
        let address = &registry.node(NodeId(node))?.client_address;
        (!address.is_empty()).then(|| address.clone())
    }

    /// Waits until this node knows of accounts what was done with them before, so that who was just given a credential can use it here.
    /// For a moment at most: who is not known by then is refused, and may try again.
    pub async fn catch_up_accounts(&self, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + CATCH_UP_MAX);
        let caught_up = self.inner.node.read_barrier([GroupId::META], deadline).await;
        if let Err(error) = caught_up {
            tracing::debug!(%error, "what the meta group's leader did has not arrived here yet");
        }
    }
}

fn place(leader: Leader) -> Place {
    match leader {
        Leader::Here => Place::Here,
        Leader::Node { node, .. } => Place::Node(node.0),
        Leader::Unknown => Place::Unknown,
    }
}

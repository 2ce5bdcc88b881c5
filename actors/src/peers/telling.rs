//! How other nodes are: each is asked, and tells of itself what it tells anybody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::{Lane, NodeId, PeerCallError, PeerStatus};
use docket_proto::{
    peer_call::{decode_status, encode_status_ask, kind},
    v1,
};
use futures::future::join_all;

use crate::Docket;

/// How long other nodes are waited for: whoever asks how the cluster is wants to know just when one of them is not well.
const ASK_MAX: Duration = Duration::from_millis(900);

/// Tells how this node is, as long as it runs. It must not block.
pub type TellStatus = dyn Fn() -> Option<v1::NodeStatus> + Send + Sync;

/// What is known of another node.
#[derive(Clone, Debug)]
pub struct PeerAnswer {
    /// Which.
    pub node: NodeId,
    /// Whether it answers, or has done so lately.
    pub alive: bool,
    /// How long it has not been heard of; `None` where it never was.
    pub silence: Option<Duration>,
    /// How it is, as it says; or why it does not.
    pub status: Result<v1::NodeStatus, String>,
}

impl Docket {
    /// Says who tells other nodes how this one is. Until then that is declined.
    ///
    /// True if nobody did before.
    pub fn answer_status(&self, tell: Arc<TellStatus>) -> bool {
        self.inner.answering.set_status(tell)
    }

    /// Asks every other node of the cluster how it is, all at once, and waits for less than a second. In the order of their ids; empty
    /// where this node stands alone.
    pub async fn ask_peers(&self) -> Vec<PeerAnswer> {
        let deadline = Instant::now() + ASK_MAX;
        let peers = self.inner.node.peers();
        join_all(peers.iter().map(|peer| self.ask_peer(*peer, deadline))).await
    }

    async fn ask_peer(&self, peer: PeerStatus, deadline: Instant) -> PeerAnswer {
        let to = (Lane::Step, kind::STATUS);
        let asked = self.inner.node.call(peer.node, to, encode_status_ask(), deadline);
        let (alive, status) = match asked.await {
            Ok(answer) => (true, decode_status(answer).map_err(|error| error.to_string())),
            // It is there, and does not know the question, or is just starting.
            Err(PeerCallError::Declined { cause, .. }) => (true, Err(cause)),
            // It may only be late, or this node too busy to ask it.
            Err(PeerCallError::NotSent { cause, .. } | PeerCallError::Unknown { cause, .. }) => {
                (peer.is_alive(), Err(cause))
            }
        };
        PeerAnswer {
            node: peer.node,
            alive,
            silence: match status {
                Ok(_) => Some(Duration::ZERO),
                Err(_) => peer.silence,
            },
            status,
        }
    }
}

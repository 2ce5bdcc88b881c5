//! Whether other nodes live: each is asked for nothing, once a second, and remembered is when it last answered.
//!
//! Heartbeats would tell only who is led by whom: two followers have nothing to say to one another, and whoever is asked how the cluster
//! is may be either of them. What it costs is one small message a second and pair of nodes, away from all else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_proto::peer::call_frame_reply::Result as Outcome;
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{PeerLinks, Peers, READ, StreamError};
use crate::NodeId;
use crate::call::Lane;
use crate::limits::{PULSE_EVERY_MS, PULSE_MS};

/// Asks every node that `members` names, until `closing`.
pub(crate) async fn pulse(
    peers: Arc<Peers>,
    members: impl Fn() -> Vec<NodeId> + Send,
    closing: CancellationToken,
) {
    let mut turns = interval(Duration::from_millis(PULSE_EVERY_MS));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            () = closing.cancelled() => return,
        }
        let links: Vec<_> = members()
            .into_iter()
            .filter_map(|node| peers.links(node).ok())
            .collect();
        let asked = links.iter().map(|links| {
            // Who cannot be reached is not heard of, and that is all.
            timeout(Duration::from_millis(PULSE_MS), feel(links))
        });
        tokio::select! {
            _ = join_all(asked) => {}
            () = closing.cancelled() => return,
        }
    }
}

/// Asks one node, and notes that it has answered, if it has.
async fn feel(links: &PeerLinks) {
    let link = &links.calls.link;
    let Ok(connection) = link.connection().await else {
        return;
    };
    let Ok(stream) = connection.calls().await else {
        return link.discard(&connection);
    };
    let deadline = Instant::now() + Duration::from_millis(PULSE_MS);
    // A read of no groups.
    let to = (Lane::Step, READ);
    let asked = stream.call(&links.calls.steps, to, Bytes::new(), deadline).await;
    let ended = match asked {
        Ok(called) => called.until(deadline).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(Outcome::Answered(_) | Outcome::Declined(_) | Outcome::Failed(_)) => {
            *links.heard.lock() = Some(Instant::now());
        }
        Err(StreamError::Ended | StreamError::Lost) => link.discard(&connection),
        Err(StreamError::Late | StreamError::NoRoom | StreamError::TooLarge(_)) => {}
    }
}

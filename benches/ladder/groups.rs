//! Raft groups over one journal, with a proposer each that gathers records into entries, as Docket's shards do.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
};

use bytes::BytesMut;
use docket_cluster::{Group, Node, NodeOptions};
use futures::{StreamExt as _, stream::FuturesOrdered};
use tokio::sync::{mpsc, oneshot};

use crate::forgetful::Forgetful;
use crate::steps::{ORDER_BYTES, RECORDS};

/// Entries of a group on their way, and records of one entry: as Docket has them.
const IN_FLIGHT_MAX: usize = 2;
const RECORDS_MAX: usize = 2_048;

/// Answers a call when the last of what holds it is done with it.
pub struct Tally(Option<oneshot::Sender<()>>);

impl Tally {
    pub fn new() -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, answer) = oneshot::channel();
        (Arc::new(Self(Some(sender))), answer)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // Who asked may have gone.
            let _ = sender.send(());
        }
    }
}

pub struct Groups {
    // Its journal is open as long as it is there.
    _node: Node,
    proposers: Vec<mpsc::UnboundedSender<Arc<Tally>>>,
}

impl Groups {
    pub async fn open(dir: &Path) -> Self {
        let node = Node::open(NodeOptions::new(dir), &|_| Arc::new(Forgetful))
            .await
            .unwrap();
        node.ready().await;
        // The first is the accounts'.
        let proposers = node.groups()[1..].iter().map(|group| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(propose(group.clone(), receiver));
            sender
        });
        Self {
            proposers: proposers.collect(),
            _node: node,
        }
    }

    /// Has a record in the group that a key falls to. The tally goes when it is durable and applied.
    pub fn submit(&self, key: &str, tally: Arc<Tally>) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let group = hasher.finish() as usize % self.proposers.len();
        self.proposers[group].send(tally).unwrap();
    }
}

async fn propose(group: Group, mut records: mpsc::UnboundedReceiver<Arc<Tally>>) {
    let mut in_flight = FuturesOrdered::new();
    loop {
        let mut waiting = Vec::new();
        tokio::select! {
            count = records.recv_many(&mut waiting, RECORDS_MAX), if in_flight.len() < IN_FLIGHT_MAX => {
                if count == 0 {
                    return;
                }
                let payload = BytesMut::zeroed(count * ORDER_BYTES / RECORDS).freeze();
                let pending = group.submit(payload).await.unwrap();
                in_flight.push_back(async move { pending.await.map(|_| waiting) });
            }
            Some(applied) = in_flight.next() => drop(applied.unwrap()),
        }
    }
}

//! Linearizable read checks, shared: however many readers wait, one check with the Raft core answers all that came before it began.

use std::sync::Arc;

use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{Raft, ReadPolicy};
use tokio::sync::{mpsc, oneshot};

use crate::apply::Applier;
use crate::limits::READS_PER_CHECK_MAX;
use crate::progress::Stop;
use crate::raft::TypeConfig;
use crate::{NodeId, ReadError};

type Answer = oneshot::Sender<Result<(), ReadError>>;

/// The readers' side. The task that checks ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct ReadChecks {
    readers: mpsc::Sender<Answer>,
    stop: Stop,
}

impl ReadChecks {
    pub(crate) fn start(raft: Raft<TypeConfig, Applier>, stop: Stop) -> Self {
        let (readers, waiting) = mpsc::channel(READS_PER_CHECK_MAX);
        tokio::spawn(check_for_all(raft, stop.clone(), waiting));
        Self { readers, stop }
    }

    /// Waits for a check that begins after this call.
    pub(crate) async fn check(&self) -> Result<(), ReadError> {
        let stopped = || ReadError::Stopped {
            reason: self.stop.reason(),
        };
        let (answer, checked) = oneshot::channel();
        self.readers.send(answer).await.map_err(|_| stopped())?;
        checked.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn check_for_all(raft: Raft<TypeConfig, Applier>, stop: Stop, mut waiting: mpsc::Receiver<Answer>) {
    let mut readers = Vec::new();
    while waiting.recv_many(&mut readers, READS_PER_CHECK_MAX).await > 0 {
        let result = check(&raft).await.map_err(|error| match error {
            Refusal::NotLeader { leader } => ReadError::NotLeader { leader },
            Refusal::Stopped(reason) => ReadError::Stopped {
                reason: stop.get().unwrap_or(reason),
            },
        });
        for reader in readers.drain(..) {
            // A reader that went away needs no answer.
            let _ = reader.send(result.clone());
        }
    }
}

enum Refusal {
    NotLeader { leader: Option<NodeId> },
    Stopped(Arc<str>),
}

async fn check(raft: &Raft<TypeConfig, Applier>) -> Result<(), Refusal> {
    let linearizer = raft
        .get_read_linearizer(ReadPolicy::ReadIndex)
        .await
        .map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => Refusal::NotLeader {
                leader: to.leader_id.map(NodeId),
            },
            RaftError::APIError(_) => Refusal::NotLeader { leader: None },
            RaftError::Fatal(fatal) => Refusal::Stopped(fatal.to_string().into()),
        })?;
    linearizer
        .await_ready(raft)
        .await
        .map(drop)
        .map_err(|fatal| Refusal::Stopped(fatal.to_string().into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use docket_persistence::mem::MemDisk;

    use super::*;
    use crate::conformance::Nothing;
    use crate::{Node, NodeOptions};

    /// A node of one answers reads from memory; this is the way that a node among others goes.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_check_with_the_core_passes_on_a_leader_for_all_who_wait() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
        let options = NodeOptions {
            shards: Some(1),
            ..NodeOptions::new(dir.path())
        };
        let (store, mark) = (Box::new(disk.store()), Box::new(disk.mark()));
        let node = Node::open_with(options, store, mark, &|_| Arc::new(Nothing))
            .await
            .unwrap();
        node.ready().await;
        let group = node.meta();
        assert!(group.progress().leads_alone());
        group.propose(Bytes::from_static(b"x")).await.unwrap();
        let checks = ReadChecks::start(group.raft(), Stop::new(tokio::sync::watch::Sender::new(None)));
        let readers: Vec<_> = (0..200)
            .map(|_| checks.clone())
            .map(|checks| async move { checks.check().await })
            .collect();
        for passed in futures::future::join_all(readers).await {
            passed.unwrap();
        }
        node.shutdown().await.unwrap();
        assert!(matches!(
            checks.check().await.unwrap_err(),
            ReadError::Stopped { .. }
        ));
    }
}

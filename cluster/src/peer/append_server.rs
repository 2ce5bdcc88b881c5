//! The receiving end of the stream that carries the appends of all groups: each session's appends go to its group's core in their order,
//! several at a time, and no group waits for another.

use std::collections::HashMap;

use docket_proto::peer::append_frame::Action;
use docket_proto::peer::{AppendFrame, AppendFrameReply, AppendReply, AppendRequest};
use futures::StreamExt;
use openraft::raft::AppendEntriesRequest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::service::Groups;
use super::wire;
use crate::limits::{PEER_APPENDS_MAX, PEER_REPLIES_MAX, PEER_SESSIONS_MAX};
use crate::raft::TypeConfig;
use crate::{Group, NodeId, TaskKind};

pub(super) type Replies = ReceiverStream<Result<AppendFrameReply, Status>>;
type Tell = mpsc::Sender<Result<AppendFrameReply, Status>>;

/// Serves the stream until it ends or breaks the protocol.
pub(super) fn serve(frames: Streaming<AppendFrame>, from: NodeId, groups: Groups) -> Replies {
    let (tell, replies) = mpsc::channel(PEER_REPLIES_MAX);
    tokio::spawn(TaskKind::Peer.measure(async move {
        let mut receiver = Receiver {
            from,
            groups,
            tell: tell.clone(),
            open: HashMap::new(),
            next: 0,
            running: JoinSet::new(),
        };
        let ended = tokio::select! {
            ended = receiver.run(frames) => ended,
            () = tell.closed() => Ok(()),
        };
        if let Err(status) = ended {
            tracing::debug!(%from, %status, "a stream of appends ended");
            // Who sent it may have gone.
            let _ = tell.send(Err(status)).await;
        }
    }));
    ReceiverStream::new(replies)
}

struct Receiver {
    from: NodeId,
    groups: Groups,
    tell: Tell,
    open: HashMap<u64, Open>,
    /// Sessions below it have been begun.
    next: u64,
    /// They end with the stream.
    running: JoinSet<u64>,
}

struct Open {
    group: Group,
    appends: mpsc::Sender<AppendEntriesRequest<TypeConfig>>,
}

impl Receiver {
    async fn run(&mut self, mut frames: Streaming<AppendFrame>) -> Result<(), Status> {
        loop {
            tokio::select! {
                frame = frames.message() => match frame? {
                    Some(AppendFrame { session, action: Some(action) }) => self.take(session, action).await?,
                    Some(AppendFrame { action: None, .. }) => {
                        return Err(Status::invalid_argument("a frame without an action"));
                    }
                    None => return Ok(()),
                },
                Some(ended) = self.running.join_next() => if let Ok(session) = ended {
                    self.open.remove(&session);
                },
            }
        }
    }

    async fn take(&mut self, session: u64, action: Action) -> Result<(), Status> {
        match action {
            Action::First(request) => {
                if session < self.next {
                    return Err(Status::invalid_argument("a session was begun twice"));
                }
                self.next = session.saturating_add(1);
                self.begin(session, request).await
            }
            // What was on its way when its session ended is passed over.
            Action::Next(request) => match self.open.get(&session) {
                Some(open) if open.group.is_leaving() => {
                    let group = open.group.id();
                    self.open.remove(&session);
                    self.refuse(session, format!("the replica of {group} leaves this node"))
                        .await
                }
                Some(open) => open.queue(request, self.from),
                None => Ok(()),
            },
            Action::End(_) => {
                self.open.remove(&session);
                Ok(())
            }
        }
    }

    async fn refuse(&self, session: u64, why: String) -> Result<(), Status> {
        let failed = wire::put_append_failure(why);
        tell(&self.tell, session, failed)
            .await
            .map_err(|_| Status::cancelled("nobody listens"))
    }

    async fn begin(&mut self, session: u64, request: AppendRequest) -> Result<(), Status> {
        if self.running.len() >= 2 * PEER_SESSIONS_MAX {
            return Err(Status::resource_exhausted(
                "more groups append than a cluster has",
            ));
        }
        let group = request.group;
        let Ok(target) = self.groups.replica(group) else {
            return self
                .refuse(session, format!("there is no replica of group {group} here now"))
                .await;
        };
        let (appends, queue) = mpsc::channel(PEER_APPENDS_MAX);
        let open = Open {
            group: target.clone(),
            appends,
        };
        open.queue(request, self.from)?;
        self.open.insert(session, open);
        self.running.spawn(TaskKind::Peer.measure(append_all(
            session,
            target.clone(),
            queue,
            self.tell.clone(),
        )));
        Ok(())
    }
}

impl Open {
    fn queue(&self, request: AppendRequest, from: NodeId) -> Result<(), Status> {
        if request.group != self.group.id().0 {
            return Err(Status::invalid_argument("a session of two groups"));
        }
        let request =
            wire::take_append(request, from).map_err(|error| Status::invalid_argument(error.to_string()))?;
        match self.appends.try_send(request) {
            // Closed: an append before was not accepted, and its answer is on the way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Status::resource_exhausted(
                "more appends in one session than may be",
            )),
        }
    }
}

/// Runs one session: hands appends to the core, and answers in their order. Returns its number.
async fn append_all(
    session: u64,
    group: Group,
    queue: mpsc::Receiver<AppendEntriesRequest<TypeConfig>>,
    tell_to: Tell,
) -> u64 {
    let raft = group.raft();
    let mut results = std::pin::pin!(raft.stream_append(ReceiverStream::new(queue)));
    while let Some(result) = results.next().await {
        let reply = match &result {
            Ok(result) => wire::put_appended(result),
            Err(fatal) => wire::put_append_failure(fatal),
        };
        if tell(&tell_to, session, reply).await.is_err() {
            break;
        }
    }
    session
}

async fn tell(to: &Tell, session: u64, reply: AppendReply) -> Result<(), ()> {
    let reply = AppendFrameReply {
        session,
        reply: Some(reply),
    };
    to.send(Ok(reply)).await.map_err(drop)
}

//! The sending end of the one stream that carries the appends of all groups to a peer.
//!
//! A session is one group's run of appends. Its answers come in the order of its appends, so that they need no numbers. How many are on
//! their way is bounded in count for each session and in bytes for the stream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use docket_proto::peer::append_frame::Action;
use docket_proto::peer::peer_client::PeerClient;
use docket_proto::peer::{AppendFrame, AppendFrameReply, AppendReply, AppendRequest, Blank};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::limits::{
    PEER_APPEND_BYTES_MAX, PEER_APPENDS_MAX, PEER_MESSAGE_BYTES_MAX, PEER_QUEUE_MAX, PEER_SESSIONS_MAX,
    PEER_STALL_MS,
};

/// The stream. It ends with its connection.
pub(crate) struct AppendStream {
    frames: mpsc::Sender<AppendFrame>,
    sessions: Arc<Mutex<Sessions>>,
    bytes: Arc<Semaphore>,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    ended: bool,
    open: HashMap<u64, mpsc::Sender<AppendReply>>,
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the stream of appends has ended")]
    Ended,
    #[error("an append was not answered within {0} ms")]
    Stalled(u64),
    #[error("{0} groups at a time append to this peer, and no more may")]
    TooMany(usize),
    #[error("an append of {0} bytes")]
    TooLarge(usize),
}

impl AppendStream {
    pub(super) async fn open(mut client: PeerClient<Channel>) -> Result<Self, Status> {
        let (frames, queue) = mpsc::channel(PEER_QUEUE_MAX);
        let replies = client.append(ReceiverStream::new(queue)).await?.into_inner();
        let sessions = Arc::<Mutex<Sessions>>::default();
        tokio::spawn(hand_out(replies, Arc::clone(&sessions)));
        Ok(Self {
            frames,
            sessions,
            bytes: Arc::new(Semaphore::new(PEER_APPEND_BYTES_MAX)),
        })
    }

    /// Begins a session.
    pub(crate) fn session(&self) -> Result<Session, SessionError> {
        let (tell, replies) = mpsc::channel(PEER_APPENDS_MAX);
        let mut sessions = self.sessions.lock();
        if sessions.ended {
            return Err(SessionError::Ended);
        }
        if sessions.open.len() >= PEER_SESSIONS_MAX {
            return Err(SessionError::TooMany(PEER_SESSIONS_MAX));
        }
        let id = sessions.next;
        sessions.next += 1;
        sessions.open.insert(id, tell);
        drop(sessions);
        Ok(Session {
            id,
            begun: false,
            frames: self.frames.clone(),
            sessions: Arc::clone(&self.sessions),
            bytes: Arc::clone(&self.bytes),
            replies,
            in_flight: VecDeque::new(),
        })
    }
}

/// Gives each answer to its session, until the stream ends.
async fn hand_out(mut replies: Streaming<AppendFrameReply>, sessions: Arc<Mutex<Sessions>>) {
    let ended = loop {
        match replies.message().await {
            Ok(Some(AppendFrameReply { session, reply })) => {
                let mut sessions = sessions.lock();
                let Some(tell) = sessions.open.get(&session) else {
                    continue;
                };
                // Full only if there are more answers than appends: a session that is lied to ends.
                if tell.try_send(reply.unwrap_or_default()).is_err() {
                    sessions.open.remove(&session);
                }
            }
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    if let Some(status) = ended {
        tracing::debug!(%status, "a stream of appends ended");
    }
    let mut sessions = sessions.lock();
    sessions.ended = true;
    sessions.open.clear();
}

/// One group's run of appends.
pub(crate) struct Session {
    id: u64,
    begun: bool,
    frames: mpsc::Sender<AppendFrame>,
    sessions: Arc<Mutex<Sessions>>,
    bytes: Arc<Semaphore>,
    replies: mpsc::Receiver<AppendReply>,
    /// What is on its way: when it was sent, and its part of the stream's bytes.
    in_flight: VecDeque<(Instant, OwnedSemaphorePermit)>,
}

impl Session {
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < PEER_APPENDS_MAX
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Sends an append, once there is room in the stream; how many bytes it has.
    pub(crate) async fn send(&mut self, request: AppendRequest) -> Result<usize, SessionError> {
        let bytes = request.encoded_len();
        if bytes > PEER_MESSAGE_BYTES_MAX {
            return Err(SessionError::TooLarge(bytes));
        }
        let deadline = Instant::now() + STALL;
        let stalled = |_| SessionError::Stalled(PEER_STALL_MS);
        let acquire = Arc::clone(&self.bytes).acquire_many_owned(bytes as u32);
        let permit = timeout_at(deadline, acquire)
            .await
            .map_err(stalled)?
            .map_err(|_| SessionError::Ended)?;
        let action = if self.begun {
            Action::Next(request)
        } else {
            Action::First(request)
        };
        let frame = AppendFrame {
            session: self.id,
            action: Some(action),
        };
        timeout_at(deadline, self.frames.send(frame))
            .await
            .map_err(stalled)?
            .map_err(|_| SessionError::Ended)?;
        self.begun = true;
        self.in_flight.push_back((Instant::now(), permit));
        Ok(bytes)
    }

    /// The answer to the oldest append that is on its way. Pending while there is none.
    pub(crate) async fn answer(&mut self) -> Result<AppendReply, SessionError> {
        let Some((sent, _)) = self.in_flight.front() else {
            return std::future::pending().await;
        };
        let answer = timeout_at(*sent + STALL, self.replies.recv())
            .await
            .map_err(|_| SessionError::Stalled(PEER_STALL_MS))?
            .ok_or(SessionError::Ended)?;
        self.in_flight.pop_front();
        Ok(answer)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.lock().open.remove(&self.id);
        if self.begun {
            let end = AppendFrame {
                session: self.id,
                action: Some(Action::End(Blank {})),
            };
            if let Err(mpsc::error::TrySendError::Full(end)) = self.frames.try_send(end) {
                // The peer must be told, or it keeps the session until the connection ends.
                let frames = self.frames.clone();
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { frames.send(end).await });
                }
            }
        }
    }
}

const STALL: Duration = Duration::from_millis(PEER_STALL_MS);

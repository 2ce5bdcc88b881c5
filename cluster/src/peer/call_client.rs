//! The sending end of the one stream that carries the calls of the layer above to a peer.
//!
//! A call that is in flight is an entry of one map, with whom to tell. Answers are told by the task that reads them; one other task looks
//! now and then for calls that are late, or whose node leads no more what it was asked about as its leader, and rests while there are none.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_proto::peer::call_frame_reply::Result as Outcome;
use docket_proto::peer::peer_client::PeerClient;
use docket_proto::peer::{CallFrame, CallFrameReply, CallLane};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout_at;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::{Connection, Link};
use crate::call::{CallTold, Lane, PeerCallError};
use crate::limits::{
    CALL_BYTES_IN_FLIGHT_MAX, CALL_BYTES_MAX, CALL_BYTES_MIN, CALL_GRACE_MS, CALL_LOOK_MS,
    CALLS_IN_FLIGHT_MAX,
};
use crate::metrics::Calls;
use crate::{Group, NodeId};

/// The stream. It ends with its connection.
pub(crate) struct CallStream {
    /// Each frame in it has its share of the bounds.
    frames: mpsc::UnboundedSender<CallFrame>,
    counted: Calls,
    waiting: Arc<Waiting>,
}

struct Waiting {
    calls: Mutex<InFlight>,
    /// Told when there is something to look after again, or nothing ever more.
    look: Notify,
}

#[derive(Default)]
struct InFlight {
    next: u64,
    ended: bool,
    /// Nobody looks for late calls, since there was none in flight.
    rests: bool,
    calls: HashMap<u64, InHand>,
}

/// A call that is in flight.
struct InHand {
    then: Then,
    deadline: Instant,
    heeds: Option<Heeds>,
    _share: Share,
}

/// The group that the node was asked about as its leader.
struct Heeds {
    group: Group,
    node: NodeId,
    /// Since when it is known not to lead any more.
    lost: Option<Instant>,
}

/// Who is told.
pub(crate) enum Then {
    /// A future that waits.
    Tell(oneshot::Sender<Result<Outcome, StreamError>>),
    /// A function.
    Run {
        told: CallTold,
        node: NodeId,
        /// Let go of, should it break.
        over: (Link, Arc<Connection>),
    },
}

/// What may be in flight in one lane, in number and in bytes: a small call takes as many bytes as make both bounds one.
pub(crate) struct Bounds(Arc<Semaphore>);

/// A call's share of its lane; given back when dropped.
pub(crate) struct Share {
    _bytes: OwnedSemaphorePermit,
}

impl Bounds {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CALL_BYTES_IN_FLIGHT_MAX)))
    }

    /// A share, when it is this call's turn; `None` only at the end.
    async fn share(&self, bytes: usize) -> Option<Share> {
        let bytes = Arc::clone(&self.0).acquire_many_owned(weight(bytes)).await;
        bytes.ok().map(|_bytes| Share { _bytes })
    }

    /// A share, if there is one now.
    pub(crate) fn try_share(&self, bytes: usize) -> Option<Share> {
        let bytes = Arc::clone(&self.0).try_acquire_many_owned(weight(bytes));
        bytes.ok().map(|_bytes| Share { _bytes })
    }
}

/// The place of one call in bytes.
const PLACE_BYTES: usize = CALL_BYTES_IN_FLIGHT_MAX / CALLS_IN_FLIGHT_MAX;

fn weight(bytes: usize) -> u32 {
    // No longer than a message, which the limits keep far below 4 GiB.
    (bytes.min(CALL_BYTES_MAX) + CALL_BYTES_MIN).max(PLACE_BYTES) as u32
}

/// Why a call has no outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The stream was over before the call was put into it.
    #[error("the connection has ended")]
    Ended,
    #[error("there was no room for it within its time")]
    NoRoom,
    #[error("its body has {0} bytes, and may have {CALL_BYTES_MAX}")]
    TooLarge(usize),
    /// Behind this it may have been done.
    #[error("the connection ended before the answer came")]
    Lost,
    #[error("no answer came within its time")]
    Late,
    #[error("it leads no more, and has not answered")]
    LeadLost,
}

/// What is asked, and until when.
pub(crate) struct Question {
    pub(crate) to: (Lane, u32),
    pub(crate) body: Bytes,
    pub(crate) deadline: Instant,
    /// Which group the node is asked about as its leader.
    pub(crate) leads: Option<Group>,
}

impl CallStream {
    pub(super) async fn open(mut client: PeerClient<Channel>, node: NodeId) -> Result<Self, Status> {
        let (frames, queue) = mpsc::unbounded_channel();
        let replies = client
            .call(UnboundedReceiverStream::new(queue))
            .await?
            .into_inner();
        let waiting = Arc::new(Waiting {
            calls: Mutex::default(),
            look: Notify::new(),
        });
        tokio::spawn(hand_out(replies, Arc::clone(&waiting)));
        tokio::spawn(look_after(Arc::clone(&waiting)));
        Ok(Self {
            frames,
            counted: Calls::to(node),
            waiting,
        })
    }

    /// Sends a call and waits for what becomes of it.
    pub(crate) async fn call(
        &self,
        bounds: &Bounds,
        node: NodeId,
        question: Question,
    ) -> Result<Outcome, StreamError> {
        let bytes = question.body.len();
        if bytes > CALL_BYTES_MAX {
            return Err(StreamError::TooLarge(bytes));
        }
        let share = match bounds.try_share(bytes) {
            Some(share) => share,
            None => {
                let share = timeout_at(question.deadline.into(), bounds.share(bytes)).await;
                share
                    .map_err(|_elapsed| StreamError::NoRoom)?
                    .ok_or(StreamError::Ended)?
            }
        };
        let (tell, told) = oneshot::channel();
        let begun = self.begin(share, node, question, Then::Tell(tell));
        let mut waits = Waits {
            stream: self,
            id: Some(begun.map_err(|(error, _)| error)?),
        };
        let outcome = told.await.unwrap_or(Err(StreamError::Lost));
        waits.id = None;
        outcome
    }

    /// Sends a call; `then` is told what becomes of it, and is given back with the reason where the call is not sent.
    pub(crate) fn begin(
        &self,
        share: Share,
        node: NodeId,
        question: Question,
        then: Then,
    ) -> Result<u64, (StreamError, Then)> {
        let Question {
            to: (lane, kind),
            body,
            deadline,
            leads,
        } = question;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err((StreamError::NoRoom, then));
        }
        let heeds = leads.filter(|group| group.follows(node)).map(|group| Heeds {
            group,
            node,
            lost: None,
        });
        let bytes = body.len() as u64;
        let in_hand = InHand {
            then,
            deadline,
            heeds,
            _share: share,
        };
        let id = {
            let mut waiting = self.waiting.calls.lock();
            if waiting.ended {
                return Err((StreamError::Ended, in_hand.then));
            }
            let id = waiting.next;
            waiting.next += 1;
            waiting.calls.insert(id, in_hand);
            if std::mem::take(&mut waiting.rests) {
                self.waiting.look.notify_one();
            }
            id
        };
        let lane = match lane {
            Lane::Request => CallLane::Request,
            Lane::Step => CallLane::Step,
        };
        let sent = self.frames.send(CallFrame {
            id,
            lane: lane.into(),
            kind,
            body,
            wait_us: u64::try_from(left.as_micros()).unwrap_or(u64::MAX),
        });
        if sent.is_err()
            && let Some(in_hand) = self.waiting.calls.lock().calls.remove(&id)
        {
            return Err((StreamError::Ended, in_hand.then));
        }
        self.counted.sent.increment(1);
        self.counted.bytes.increment(bytes);
        Ok(id)
    }
}

/// Somebody waits for a call, and may go.
struct Waits<'a> {
    stream: &'a CallStream,
    /// `None` once it is told.
    id: Option<u64>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let gone = self.stream.waiting.calls.lock().calls.remove(&id);
            drop(gone);
        }
    }
}

impl Then {
    fn tell(self, outcome: Result<Outcome, StreamError>) {
        match self {
            // Whoever asked may have gone.
            Self::Tell(tell) => drop(tell.send(outcome)),
            Self::Run {
                told,
                node,
                over: (link, connection),
            } => {
                if matches!(outcome, Err(StreamError::Ended | StreamError::Lost)) {
                    link.discard(&connection);
                }
                let outcome =
                    outcome.map_or_else(|error| Err(error.of(node)), |outcome| answer(node, outcome));
                // Who is told of others must hear of them, whatever this one does.
                if catch_unwind(AssertUnwindSafe(|| told(outcome))).is_err() {
                    tracing::error!(%node, "whoever was told of a call panicked");
                }
            }
        }
    }
}

impl StreamError {
    /// The same as whoever called is told it.
    pub(crate) fn of(&self, node: NodeId) -> PeerCallError {
        let cause = self.to_string();
        match self {
            Self::Ended | Self::NoRoom | Self::TooLarge(_) => PeerCallError::NotSent { node, cause },
            Self::Lost | Self::Late | Self::LeadLost => PeerCallError::Unknown { node, cause },
        }
    }
}

/// What a node has said.
pub(crate) fn answer(node: NodeId, outcome: Outcome) -> Result<Bytes, PeerCallError> {
    match outcome {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Declined(cause) => Err(PeerCallError::Declined { node, cause }),
        Outcome::Failed(cause) => Err(PeerCallError::Unknown { node, cause }),
    }
}

/// Gives each answer to its call, until the stream ends.
async fn hand_out(mut replies: Streaming<CallFrameReply>, waiting: Arc<Waiting>) {
    let ended = loop {
        match replies.message().await {
            Ok(Some(CallFrameReply { id, result })) => {
                let call = waiting.calls.lock().calls.remove(&id);
                if let Some(call) = call {
                    let missing = || Outcome::Failed("the answer is empty".into());
                    call.then.tell(Ok(result.unwrap_or_else(missing)));
                }
            }
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    if let Some(status) = ended {
        tracing::debug!(%status, "a stream of calls ended");
    }
    let lost = {
        let mut waiting = waiting.calls.lock();
        waiting.ended = true;
        std::mem::take(&mut waiting.calls)
    };
    waiting.look.notify_one();
    // In the order in which they were sent.
    let mut lost: Vec<_> = lost.into_iter().collect();
    lost.sort_unstable_by_key(|(id, _)| *id);
    for (_, call) in lost {
        call.then.tell(Err(StreamError::Lost));
    }
}

/// Gives calls up that are late, and those whose node does not lead any more, until the stream ends.
async fn look_after(waiting: Arc<Waiting>) {
    let every = Duration::from_millis(CALL_LOOK_MS);
    loop {
        let (given_up, rests) = {
            let mut waiting = waiting.calls.lock();
            if waiting.ended {
                return;
            }
            let given_up = waiting.give_up(Instant::now());
            waiting.rests = waiting.calls.is_empty();
            (given_up, waiting.rests)
        };
        for (call, error) in given_up {
            call.then.tell(Err(error));
        }
        match rests {
            true => waiting.look.notified().await,
            false => tokio::time::sleep(every).await,
        }
    }
}

impl InFlight {
    /// Takes out what is not waited for any longer, and why, in the order in which it was sent.
    fn give_up(&mut self, now: Instant) -> Vec<(InHand, StreamError)> {
        let mut ids: Vec<u64> = Vec::new();
        for (id, call) in &mut self.calls {
            if call.deadline <= now || call.heeds.as_mut().is_some_and(|heeds| heeds.is_over(now)) {
                ids.push(*id);
            }
        }
        ids.sort_unstable();
        let given_up = ids.into_iter().filter_map(|id| self.calls.remove(&id));
        given_up
            .map(|call| match call.deadline <= now {
                true => (call, StreamError::Late),
                false => (call, StreamError::LeadLost),
            })
            .collect()
    }
}

impl Heeds {
    /// Whether the node has led no more for so long that no answer is waited for: who led may be gone without a word.
    fn is_over(&mut self, now: Instant) -> bool {
        if self.lost.is_none() && !self.group.follows(self.node) {
            self.lost = Some(now);
        }
        self.lost
            .is_some_and(|lost| now.duration_since(lost) >= Duration::from_millis(CALL_GRACE_MS))
    }
}

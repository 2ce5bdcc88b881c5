//! The sending end of the one stream that carries the calls of the layer above to a peer.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use docket_proto::peer::call_frame_reply::Result as Outcome;
use docket_proto::peer::peer_client::PeerClient;
use docket_proto::peer::{CallFrame, CallFrameReply, CallLane};
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::NodeId;
use crate::call::Lane;
use crate::clock::CausalClock;
use crate::limits::{
    CALL_BYTES_IN_FLIGHT_MAX, CALL_BYTES_MAX, CALL_BYTES_MIN, CALL_QUEUE_MAX, CALLS_IN_FLIGHT_MAX,
};
use crate::metrics::Calls;

/// The stream. It ends with its connection.
pub(crate) struct CallStream {
    frames: mpsc::Sender<CallFrame>,
    clock: CausalClock,
    counted: Calls,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    ended: bool,
    calls: HashMap<u64, oneshot::Sender<Outcome>>,
}

/// What may be in flight in one lane, in number and in bytes.
pub(crate) struct Bounds {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A call's share of its lane; given back when dropped.
pub(crate) struct Share {
    _call: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Bounds {
    pub(crate) fn new() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_IN_FLIGHT_MAX)),
            bytes: Arc::new(Semaphore::new(CALL_BYTES_IN_FLIGHT_MAX)),
        }
    }

    /// A share, when it is this call's turn; `None` only at the end.
    async fn share(&self, bytes: usize) -> Option<Share> {
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(weight(bytes));
        let bytes = bytes.await.ok()?;
        let call = Arc::clone(&self.calls).acquire_owned().await.ok()?;
        Some(Share {
            _call: call,
            _bytes: bytes,
        })
    }

    /// A share, if there is one now.
    pub(super) fn try_share(&self, bytes: usize) -> Option<Share> {
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(weight(bytes));
        let bytes = bytes.ok()?;
        let call = Arc::clone(&self.calls).try_acquire_owned().ok()?;
        Some(Share {
            _call: call,
            _bytes: bytes,
        })
    }
}

fn weight(bytes: usize) -> u32 {
    // No longer than a message, which the limits keep far below 4 GiB.
    (bytes.min(CALL_BYTES_MAX) + CALL_BYTES_MIN) as u32
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
}

impl CallStream {
    pub(super) async fn open(
        mut client: PeerClient<Channel>,
        node: NodeId,
        clock: CausalClock,
    ) -> Result<Self, Status> {
        let (frames, queue) = mpsc::channel(CALL_QUEUE_MAX);
        let replies = client.call(ReceiverStream::new(queue)).await?.into_inner();
        let waiting = Arc::<Mutex<Waiting>>::default();
        tokio::spawn(hand_out(replies, clock.clone(), Arc::clone(&waiting)));
        Ok(Self {
            frames,
            clock,
            counted: Calls::to(node),
            waiting,
        })
    }

    /// Sends a call, when there is room for it.
    pub(crate) async fn call(
        &self,
        bounds: &Bounds,
        to: (Lane, u32),
        body: Bytes,
        deadline: Instant,
    ) -> Result<Called, StreamError> {
        if body.len() > CALL_BYTES_MAX {
            return Err(StreamError::TooLarge(body.len()));
        }
        let sending = async {
            let share = bounds.share(body.len()).await.ok_or(StreamError::Ended)?;
            let place = self.frames.reserve().await.map_err(|_| StreamError::Ended)?;
            Ok((share, place))
        };
        let (share, place) = timeout_at(deadline.into(), sending)
            .await
            .map_err(|_elapsed| StreamError::NoRoom)??;
        self.send(share, place, to, body, deadline)
    }

    /// Sends a call, if there is room for it now.
    pub(crate) fn try_call(
        &self,
        bounds: &Bounds,
        to: (Lane, u32),
        body: Bytes,
        deadline: Instant,
    ) -> Result<Called, StreamError> {
        if body.len() > CALL_BYTES_MAX {
            return Err(StreamError::TooLarge(body.len()));
        }
        let share = bounds.try_share(body.len()).ok_or(StreamError::NoRoom)?;
        let place = self.frames.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => StreamError::NoRoom,
            TrySendError::Closed(()) => StreamError::Ended,
        })?;
        self.send(share, place, to, body, deadline)
    }

    fn send(
        &self,
        share: Share,
        place: mpsc::Permit<'_, CallFrame>,
        (lane, kind): (Lane, u32),
        body: Bytes,
        deadline: Instant,
    ) -> Result<Called, StreamError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(StreamError::NoRoom);
        }
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting.lock();
            if waiting.ended {
                return Err(StreamError::Ended);
            }
            let id = waiting.next;
            waiting.next += 1;
            waiting.calls.insert(id, answer);
            id
        };
        let lane = match lane {
            Lane::Request => CallLane::Request,
            Lane::Step => CallLane::Step,
        };
        self.counted.sent.increment(1);
        self.counted.bytes.increment(body.len() as u64);
        place.send(CallFrame {
            id,
            lane: lane.into(),
            kind,
            body,
            wait_us: u64::try_from(left.as_micros()).unwrap_or(u64::MAX),
            clock_us: self.clock.latest_us(),
        });
        Ok(Called {
            id,
            answered,
            waiting: Some(Arc::clone(&self.waiting)),
            _share: share,
        })
    }
}

/// A call that is in flight; whoever waits for it may go. It has no timer.
pub(crate) struct Called {
    id: u64,
    answered: oneshot::Receiver<Outcome>,
    /// `None` once it is answered.
    waiting: Option<Arc<Mutex<Waiting>>>,
    _share: Share,
}

impl Called {
    /// What becomes of it by then.
    pub(crate) async fn until(self, deadline: Instant) -> Result<Outcome, StreamError> {
        let ended = timeout_at(deadline.into(), self).await;
        ended.unwrap_or(Err(StreamError::Late))
    }
}

impl Future for Called {
    type Output = Result<Outcome, StreamError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.answered).poll(cx));
        self.waiting = None;
        Poll::Ready(answered.map_err(|_| StreamError::Lost))
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.lock().calls.remove(&self.id);
        }
    }
}

/// Gives each answer to its call, until the stream ends.
async fn hand_out(mut replies: Streaming<CallFrameReply>, clock: CausalClock, waiting: Arc<Mutex<Waiting>>) {
    let ended = loop {
        match replies.message().await {
            Ok(Some(CallFrameReply { id, result, clock_us })) => {
                // Before whoever asked stamps what comes of the answer.
                let _ = clock.observe(clock_us);
                let call = waiting.lock().calls.remove(&id);
                if let Some(call) = call {
                    let missing = || Outcome::Failed("the answer is empty".into());
                    // Whoever asked may have gone.
                    let _ = call.send(result.unwrap_or_else(missing));
                }
            }
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    if let Some(status) = ended {
        tracing::debug!(%status, "a stream of calls ended");
    }
    let mut waiting = waiting.lock();
    waiting.ended = true;
    waiting.calls.clear();
}

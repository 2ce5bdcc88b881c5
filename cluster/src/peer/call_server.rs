//! The receiving end of the stream that carries the calls of the layer above: each is handed over as it arrives and answered when it is
//! done. Calls are read whatever is in flight, so that none waits behind another; what is beyond the bounds, which no correct peer
//! sends, is declined.
//!
//! ```text
//!   frames ──▶ serve ──▶ AnswerCalls ──▶ CallReply, wherever it is taken ──▶ queue ──▶ the stream of answers
//!                 └──── short work, done here; long work, a task each ──────────┘
//! ```
//!
//! A call's share of the bounds is its own until its answer is taken by the connection: that bounds the queue.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_proto::peer::call_frame_reply::Result as Outcome;
use docket_proto::peer::{CallFrame, CallFrameReply, CallLane};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout_at};
use tonic::{Status, Streaming};

use super::read_index;
use super::service::Groups;
use crate::NodeId;
use crate::call::{AnswerCalls, CallWork, Declined, PeerCall};
use crate::limits::{
    CALL_BYTES_IN_FLIGHT_MAX, CALL_BYTES_MAX, CALL_BYTES_MIN, CALL_FORGET_MS, CALL_WAIT_MAX_MS,
    CALLS_DECLINED_MAX, CALLS_IN_FLIGHT_MAX, CALLS_PER_TURN_MAX,
};

/// What the cluster itself asks; every other kind is the layer's above.
pub(crate) const READ: u32 = 0;

/// Who answers calls, from when the layer above has said so.
#[derive(Clone, Default)]
pub(crate) struct Answering(Arc<OnceLock<Arc<dyn AnswerCalls>>>);

impl Answering {
    /// False where somebody answers already.
    pub(crate) fn set(&self, answers: Arc<dyn AnswerCalls>) -> bool {
        self.0.set(answers).is_ok()
    }
}

/// The answer of one call, to be sent from wherever it is known. Where it is dropped instead, the caller is told that it is not known what was done.
pub struct CallReply {
    line: Arc<Line>,
    id: u64,
    sent: bool,
}

impl CallReply {
    /// Sends it. Whoever asked may have gone.
    pub fn send(mut self, answer: Result<Bytes, Declined>) {
        self.put(outcome(answer));
    }

    /// Sends what comes of a future.
    pub fn after(
        self,
        answer: impl Future<Output = Result<Bytes, Declined>> + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        async move { self.send(answer.await) }.boxed()
    }

    fn put(&mut self, outcome: Outcome) {
        self.sent = true;
        self.line.put(self.id, outcome);
    }
}

impl Drop for CallReply {
    fn drop(&mut self) {
        if !self.sent {
            self.put(Outcome::Failed(match std::thread::panicking() {
                true => PANICKED.into(),
                false => "whoever was to answer it has let go of it".into(),
            }));
        }
    }
}

impl std::fmt::Debug for CallReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallReply({})", self.id)
    }
}

/// One stream of calls.
struct Line {
    tell: mpsc::UnboundedSender<Told>,
    lanes: Arc<Lanes>,
    /// Calls that have no answer yet.
    open: Mutex<HashMap<u64, Open>>,
}

struct Open {
    share: Share,
    deadline: Instant,
}

/// What is in flight in the stream.
#[derive(Default)]
struct Lanes {
    requests: Used,
    steps: Used,
    /// Answers that decline what is beyond the bounds.
    declined: AtomicUsize,
}

#[derive(Default)]
struct Used {
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// A call's part of it, to be given back when its answer has been taken.
#[derive(Clone, Copy)]
enum Share {
    Of { lane: CallLane, bytes: usize },
    Declined,
}

/// An answer on its way to the connection.
struct Told {
    reply: CallFrameReply,
    share: Share,
}

impl Line {
    fn put(&self, id: u64, outcome: Outcome) {
        let open = self.open.lock().remove(&id);
        // Not there: nobody waits any longer, and that is said already.
        if let Some(Open { share, .. }) = open {
            self.tell(id, outcome, share);
        }
    }

    fn tell(&self, id: u64, outcome: Outcome, share: Share) {
        let reply = CallFrameReply {
            id,
            result: Some(outcome),
        };
        // Who asked may have gone.
        let _ = self.tell.send(Told { reply, share });
    }

    /// Answers calls whose callers have given them up, so that what may be in flight is not used up by what is stuck here.
    fn forget_late(&self, now: Instant) {
        let mut open = self.open.lock();
        let late = open.iter().filter(|(_, call)| call.deadline <= now);
        let mut late: Vec<u64> = late.map(|(id, _)| *id).collect();
        late.sort_unstable();
        for id in late {
            if let Some(call) = open.remove(&id) {
                self.tell(id, Outcome::Failed(LATE.into()), call.share);
            }
        }
    }
}

impl Lanes {
    fn of(&self, lane: CallLane) -> &Used {
        match lane {
            CallLane::Request => &self.requests,
            CallLane::Step => &self.steps,
        }
    }

    /// A share, if there is one now. Only the task that reads takes any.
    fn take(&self, lane: CallLane, bytes: usize) -> Option<Share> {
        let (used, bytes) = (self.of(lane), bytes + CALL_BYTES_MIN);
        let calls = used.calls.load(Ordering::Acquire) + 1;
        let all = used.bytes.load(Ordering::Acquire) + bytes;
        if calls > CALLS_IN_FLIGHT_MAX || all > CALL_BYTES_IN_FLIGHT_MAX {
            return None;
        }
        used.calls.fetch_add(1, Ordering::AcqRel);
        used.bytes.fetch_add(bytes, Ordering::AcqRel);
        Some(Share::Of { lane, bytes })
    }

    fn give_back(&self, share: Share) {
        match share {
            Share::Of { lane, bytes } => {
                let used = self.of(lane);
                used.calls.fetch_sub(1, Ordering::AcqRel);
                used.bytes.fetch_sub(bytes, Ordering::AcqRel);
            }
            Share::Declined => {
                self.declined.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// The stream of answers.
pub(super) struct Replies {
    queue: mpsc::UnboundedReceiver<Told>,
    lanes: Arc<Lanes>,
}

impl Stream for Replies {
    type Item = Result<CallFrameReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_recv(cx).map(|told| {
            told.map(|Told { reply, share }| {
                self.lanes.give_back(share);
                Ok(reply)
            })
        })
    }
}

/// Serves the stream until it ends.
pub(super) fn serve(
    frames: Streaming<CallFrame>,
    from: NodeId,
    groups: Groups,
    answering: Answering,
) -> Replies {
    let (tell, queue) = mpsc::unbounded_channel();
    let lanes = Arc::<Lanes>::default();
    let server = Server {
        from,
        groups,
        answering,
        line: Arc::new(Line {
            tell,
            lanes: Arc::clone(&lanes),
            open: Mutex::default(),
        }),
        short: FuturesUnordered::new(),
        long: JoinSet::new(),
    };
    tokio::spawn(server.run(frames));
    Replies { queue, lanes }
}

struct Server {
    from: NodeId,
    groups: Groups,
    answering: Answering,
    line: Arc<Line>,
    short: FuturesUnordered<Short>,
    /// They end with the stream.
    long: JoinSet<()>,
}

/// A panic in it is its own.
type Short = futures::future::CatchUnwind<AssertUnwindSafe<BoxFuture<'static, ()>>>;

impl Server {
    async fn run(mut self, mut frames: Streaming<CallFrame>) {
        let gone = self.line.tell.clone();
        let mut gone = pin!(gone.closed());
        let mut looks = interval(Duration::from_millis(CALL_FORGET_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reading = true;
        poll_fn(|cx| {
            let mut turn = CALLS_PER_TURN_MAX;
            while reading {
                if turn == 0 {
                    // The others have their turn first.
                    cx.waker().wake_by_ref();
                    break;
                }
                turn -= 1;
                match frames.poll_next_unpin(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => {
                        if !self.take(frame) {
                            return Poll::Ready(());
                        }
                    }
                    // The peer has said all, and waits for the rest.
                    Poll::Ready(None) => reading = false,
                    Poll::Ready(Some(Err(status))) => {
                        tracing::debug!(from = %self.from, %status, "a stream of calls ended");
                        return Poll::Ready(());
                    }
                }
            }
            while let Poll::Ready(Some(_)) = self.short.poll_next_unpin(cx) {}
            while let Poll::Ready(Some(_)) = self.long.poll_join_next(cx) {}
            while looks.poll_tick(cx).is_ready() {
                self.line.forget_late(Instant::now());
            }
            let all_done = !reading && self.short.is_empty() && self.long.is_empty();
            match all_done || gone.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Hands a call over. False where the peer does what no correct one does.
    fn take(&mut self, frame: CallFrame) -> bool {
        let (id, lane) = (frame.id, frame.lane());
        let Some(share) = self.line.lanes.take(lane, frame.body.len()) else {
            let declined = &self.line.lanes.declined;
            if declined.fetch_add(1, Ordering::AcqRel) >= CALLS_DECLINED_MAX {
                tracing::warn!(from = %self.from, "a peer makes more calls than may be, and its stream ends");
                return false;
            }
            let why = Outcome::Declined("more calls are in flight than may be".into());
            self.line.tell(id, why, Share::Declined);
            return true;
        };
        let wait = Duration::from_micros(frame.wait_us).min(Duration::from_millis(CALL_WAIT_MAX_MS));
        let deadline = Instant::now() + wait;
        let twice = self.line.open.lock().insert(id, Open { share, deadline });
        if twice.is_some() {
            tracing::warn!(from = %self.from, "a peer gives two calls one number, and its stream ends");
            return false;
        }
        let reply = CallReply {
            line: Arc::clone(&self.line),
            id,
            sent: false,
        };
        let call = PeerCall {
            from: self.from,
            kind: frame.kind,
            body: frame.body,
            deadline,
        };
        match self.begin(call, reply) {
            CallWork::None => {}
            CallWork::Short(work) => self.short.push(AssertUnwindSafe(work).catch_unwind()),
            CallWork::Long(work) => {
                let line = Arc::clone(&self.line);
                self.long.spawn(async move {
                    let mut work = AssertUnwindSafe(work).catch_unwind();
                    if timeout_at(deadline.into(), &mut work).await.is_err() {
                        line.put(id, Outcome::Failed(LATE.into()));
                    }
                });
            }
        }
        true
    }

    fn begin(&self, call: PeerCall, reply: CallReply) -> CallWork {
        if call.kind == READ {
            return CallWork::Long(reply.after(read_index::answer(self.groups.clone(), call.body)));
        }
        let Some(answers) = self.answering.0.get() else {
            reply.send(Err(Declined("the node is starting, or answers no calls".into())));
            return CallWork::None;
        };
        // The reply is dropped by a panic, and says so.
        catch_unwind(AssertUnwindSafe(|| answers.answer(call, reply))).unwrap_or(CallWork::None)
    }
}

const PANICKED: &str = "whoever answers it panicked";
const LATE: &str = "it took longer than its caller waits";

fn outcome(answer: Result<Bytes, Declined>) -> Outcome {
    match answer {
        Ok(bytes) if bytes.len() > CALL_BYTES_MAX => Outcome::Failed(format!(
            "its answer has {} bytes, and may have {CALL_BYTES_MAX}",
            bytes.len()
        )),
        Ok(bytes) => Outcome::Answered(bytes),
        Err(Declined(why)) => Outcome::Declined(why),
    }
}

//! The receiving end of the stream that carries the calls of the layer above: each is handed over as it arrives and answered when it is
//! done. Calls are read whatever is in flight, so that none waits behind another; what is beyond the bounds, which no correct peer
//! sends for long, is declined.
//!
//! What is only waited for is polled by the one task that reads the calls, which a thousand answers of one commit wake once; what is worked on has
//! a task of its own, so that nothing waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use docket_proto::peer::call_frame_reply::Result as Outcome;
use docket_proto::peer::{CallFrame, CallFrameReply, CallLane};
use futures::future::{BoxFuture, CatchUnwind};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep_until, timeout_at};
use tonic::{Status, Streaming};

use super::call_client::{Bounds, Share};
use super::read_index;
use super::service::Groups;
use crate::call::{Answer, AnswerCalls, Answered, PeerCall};
use crate::clock::CausalClock;
use crate::limits::{CALL_BYTES_MAX, CALL_WAIT_MAX_MS};
use crate::{NodeId, TaskKind};

/// What the cluster itself asks; every other kind is the layer's above.
pub(crate) const READ: u32 = 0;

/// How often at most it is looked whose caller waits no more.
const LATE_EVERY: Duration = Duration::from_millis(50);

/// So many calls are taken on before it is looked which ones are answered.
const READ_AT_ONCE: usize = 128;

/// Who answers calls, from when the layer above has said so.
#[derive(Clone, Default)]
pub(crate) struct Answering(Arc<OnceLock<Arc<dyn AnswerCalls>>>);

impl Answering {
    /// False where somebody answers already.
    pub(crate) fn set(&self, answers: Arc<dyn AnswerCalls>) -> bool {
        self.0.set(answers).is_ok()
    }
}

/// The answers, as the connection takes them. Each has its call's share of the bounds until then.
pub(super) struct Replies {
    queue: mpsc::UnboundedReceiver<Result<(CallFrameReply, Share), Status>>,
    clock: CausalClock,
}

impl Stream for Replies {
    type Item = Result<CallFrameReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reply = ready!(self.queue.poll_recv(cx));
        let clock_us = self.clock.latest_us();
        Poll::Ready(reply.map(|reply| reply.map(|(reply, _share)| CallFrameReply { clock_us, ..reply })))
    }
}

/// Serves the stream until it ends.
pub(super) fn serve(
    frames: Streaming<CallFrame>,
    from: NodeId,
    groups: Groups,
    answering: Answering,
    clock: CausalClock,
) -> Replies {
    let (tell, replies) = mpsc::unbounded_channel();
    let told = tell.clone();
    let serving = Serving {
        frames,
        is_over: false,
        from,
        groups,
        answering,
        clock: clock.clone(),
        requests: Bounds::new(),
        steps: Bounds::new(),
        declined: Bounds::new(),
        waiting: FuturesUnordered::new(),
        late: None,
        working: JoinSet::new(),
        closed: async move { told.closed().await }.boxed(),
        tell,
    };
    tokio::spawn(TaskKind::Peer.measure(serving));
    Replies {
        queue: replies,
        clock,
    }
}

/// One stream of calls.
struct Serving {
    frames: Streaming<CallFrame>,
    /// The peer has said all, and waits for the rest.
    is_over: bool,
    from: NodeId,
    groups: Groups,
    answering: Answering,
    clock: CausalClock,
    requests: Bounds,
    steps: Bounds,
    /// What is beyond those.
    declined: Bounds,
    waiting: FuturesUnordered<Waiting>,
    /// For those whose caller waits no more.
    late: Option<Pin<Box<Sleep>>>,
    /// They end with the stream.
    working: JoinSet<()>,
    tell: mpsc::UnboundedSender<Result<(CallFrameReply, Share), Status>>,
    /// Nobody takes answers any more.
    closed: BoxFuture<'static, ()>,
}

/// A call that is in flight.
struct Waiting {
    id: u64,
    deadline: Instant,
    answer: CatchUnwind<AssertUnwindSafe<BoxFuture<'static, Answered>>>,
    share: Option<Share>,
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.closed.poll_unpin(cx).is_ready() || this.read(cx).is_err() {
            return Poll::Ready(());
        }
        this.give_up(cx);
        while let Poll::Ready(Some((id, outcome, share))) = this.waiting.poll_next_unpin(cx) {
            if let Some(share) = share {
                tell(&this.tell, id, outcome, share);
            }
        }
        while let Poll::Ready(Some(_)) = this.working.poll_join_next(cx) {}
        match this.is_over && this.waiting.is_empty() && this.working.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// The stream is not to be served any further.
struct Broken;

impl Serving {
    /// Takes on what has arrived.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        for _ in 0..READ_AT_ONCE {
            if self.is_over {
                return Ok(());
            }
            match self.frames.poll_next_unpin(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(frame))) => self.begin(frame)?,
                Poll::Ready(Some(Err(status))) => {
                    tracing::debug!(from = %self.from, %status, "a stream of calls ended");
                    return Err(Broken);
                }
                Poll::Ready(None) => self.is_over = true,
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Takes a call on.
    fn begin(&mut self, frame: CallFrame) -> Result<(), Broken> {
        // Before anything that comes of it is stamped.
        let _ = self.clock.observe(frame.clock_us);
        let bounds = match frame.lane() {
            CallLane::Request => &self.requests,
            CallLane::Step => &self.steps,
        };
        let (id, bytes) = (frame.id, frame.body.len());
        let Some(share) = bounds.try_share(bytes) else {
            return self.decline(id);
        };
        let wait = Duration::from_micros(frame.wait_us).min(Duration::from_millis(CALL_WAIT_MAX_MS));
        let deadline = Instant::now() + wait;
        let call = PeerCall {
            from: self.from,
            kind: frame.kind,
            body: frame.body,
            deadline,
        };
        let answer = match call.kind {
            READ => Ok(Answer::Works(
                read_index::answer(self.groups.clone(), self.clock.clone(), call.body).boxed(),
            )),
            _ => match self.answering.0.get() {
                None => {
                    let starting = Outcome::Declined("the node is starting, or answers no calls".into());
                    tell(&self.tell, id, starting, share);
                    return Ok(());
                }
                Some(answers) => catch_unwind(AssertUnwindSafe(|| answers.answer(call))),
            },
        };
        match answer {
            Err(_panic) => tell(&self.tell, id, panicked(), share),
            Ok(Answer::Waits(answer)) => {
                match &mut self.late {
                    None => self.late = Some(timer(deadline)),
                    Some(first) if first.deadline().into_std() > deadline => {
                        let soon = tokio::time::Instant::now() + LATE_EVERY;
                        first.as_mut().reset(soon.max(deadline.into()));
                    }
                    Some(_) => {}
                }
                self.waiting.push(Waiting {
                    id,
                    deadline,
                    answer: AssertUnwindSafe(answer).catch_unwind(),
                    share: Some(share),
                });
            }
            Ok(Answer::Works(answer)) => {
                let told = self.tell.clone();
                self.working.spawn(TaskKind::Peer.measure(async move {
                    let answer = AssertUnwindSafe(answer).catch_unwind();
                    let outcome = match timeout_at(deadline.into(), answer).await {
                        Ok(Ok(answered)) => outcome(answered),
                        Ok(Err(_panic)) => panicked(),
                        Err(_elapsed) => late(),
                    };
                    tell(&told, id, outcome, share);
                }));
            }
        }
        Ok(())
    }

    /// Says no to what is beyond the bounds: callers that have given up free their share sooner than what they asked for ends. Who does
    /// not even take those answers is not served any further.
    fn decline(&self, id: u64) -> Result<(), Broken> {
        let why = "more calls are in flight than may be";
        match self.declined.try_share(0) {
            Some(share) => {
                tell(&self.tell, id, Outcome::Declined(why.into()), share);
                Ok(())
            }
            None => {
                tracing::warn!(from = %self.from, "a stream of calls is ended: {why}");
                // Where nobody takes it, there is nobody to tell.
                let _ = self.tell.send(Err(Status::resource_exhausted(why)));
                Err(Broken)
            }
        }
    }

    /// Ends those whose caller waits no more.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        while let Some(timer) = &mut self.late {
            if timer.poll_unpin(cx).is_pending() {
                return;
            }
            // By the timer's clock.
            let now = tokio::time::Instant::now().into_std();
            let is_late = |waiting: &Waiting| waiting.deadline <= now;
            if self.waiting.iter().any(is_late) {
                for mut waiting in std::mem::take(&mut self.waiting) {
                    match waiting.share.take_if(|_| waiting.deadline <= now) {
                        Some(share) => tell(&self.tell, waiting.id, late(), share),
                        None => self.waiting.push(waiting),
                    }
                }
            }
            let next = self.waiting.iter().map(|waiting| waiting.deadline).min();
            // To look at all of them for each that is late would be to look without end.
            self.late = next.map(|next| self::timer(next.max(now + LATE_EVERY)));
        }
    }
}

impl Future for Waiting {
    type Output = (u64, Outcome, Option<Share>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.poll_unpin(cx));
        let outcome = answer.map_or_else(|_panic| panicked(), outcome);
        Poll::Ready((self.id, outcome, self.share.take()))
    }
}

fn timer(until: Instant) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(until.into()))
}

/// Has an answer sent.
fn tell(
    replies: &mpsc::UnboundedSender<Result<(CallFrameReply, Share), Status>>,
    id: u64,
    outcome: Outcome,
    share: Share,
) {
    let result = Some(outcome);
    // Who asked may have gone.
    let reply = CallFrameReply {
        id,
        result,
        // Told when it leaves.
        clock_us: 0,
    };
    let _ = replies.send(Ok((reply, share)));
}

fn panicked() -> Outcome {
    Outcome::Failed("whoever answers it panicked".into())
}

fn late() -> Outcome {
    Outcome::Failed("it took longer than its caller waits".into())
}

fn outcome(answered: Answered) -> Outcome {
    match answered {
        Ok(bytes) if bytes.len() > CALL_BYTES_MAX => Outcome::Failed(format!(
            "its answer has {} bytes, and may have {CALL_BYTES_MAX}",
            bytes.len()
        )),
        Ok(bytes) => Outcome::Answered(bytes),
        Err(declined) => Outcome::Declined(declined.0),
    }
}

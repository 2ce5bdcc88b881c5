//! The receiving end of the stream that carries the calls of the layer above: each is handed over as it arrives and answered when it is
//! done. Calls are read whatever is in flight, so that none waits behind another; what is beyond the bounds, which no correct peer
//! sends, is declined.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_proto::peer::call_frame_reply::Result as Outcome;
use docket_proto::peer::{CallFrame, CallFrameReply, CallLane};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::call_client::{Bounds, Share};
use super::read_index;
use super::service::Groups;
use crate::NodeId;
use crate::call::{AnswerCalls, Declined, PeerCall};
use crate::limits::{CALL_BYTES_MAX, CALL_QUEUE_MAX, CALL_WAIT_MAX_MS};

pub(super) type Replies = ReceiverStream<Result<CallFrameReply, Status>>;

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

/// Serves the stream until it ends.
pub(super) fn serve(
    mut frames: Streaming<CallFrame>,
    from: NodeId,
    groups: Groups,
    answering: Answering,
) -> Replies {
    let (tell, replies) = mpsc::channel(CALL_QUEUE_MAX);
    tokio::spawn(async move {
        let (requests, steps) = (Bounds::new(), Bounds::new());
        // They end with the stream.
        let mut running = JoinSet::new();
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                Some(_) = running.join_next() => continue,
                () = tell.closed() => return,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(status) => {
                    tracing::debug!(%from, %status, "a stream of calls ended");
                    return;
                }
            };
            let bounds = match frame.lane() {
                CallLane::Request => &requests,
                CallLane::Step => &steps,
            };
            let (id, share) = (frame.id, bounds.try_share(frame.body.len()));
            let answer = match share {
                Some(share) => begin(frame, from, &groups, &answering, share),
                None => declined("more calls are in flight than may be"),
            };
            let tell = tell.clone();
            running.spawn(async move {
                let (outcome, share) = answer.await;
                let reply = CallFrameReply {
                    id,
                    result: Some(outcome),
                };
                // Who asked may have gone.
                let _ = tell.send(Ok(reply)).await;
                drop(share);
            });
        }
        // The peer has said all, and waits for the rest.
        while running.join_next().await.is_some() {}
    });
    ReceiverStream::new(replies)
}

type Answer = BoxFuture<'static, (Outcome, Option<Share>)>;

fn declined(why: &'static str) -> Answer {
    async move { (Outcome::Declined(why.into()), None) }.boxed()
}

/// Hands a call over; what comes of it is in the future.
fn begin(frame: CallFrame, from: NodeId, groups: &Groups, answering: &Answering, share: Share) -> Answer {
    let wait = Duration::from_micros(frame.wait_us).min(Duration::from_millis(CALL_WAIT_MAX_MS));
    let deadline = Instant::now() + wait;
    let call = PeerCall {
        from,
        kind: frame.kind,
        body: frame.body,
        deadline,
    };
    let answer = if call.kind == READ {
        Ok(read_index::answer(groups.clone(), call.body).boxed())
    } else {
        match answering.0.get() {
            None => return declined("the node is starting, or answers no calls"),
            Some(answers) => catch_unwind(AssertUnwindSafe(|| answers.answer(call))),
        }
    };
    async move {
        let outcome = match answer {
            Err(_panic) => Outcome::Failed("whoever answers it panicked".into()),
            Ok(answer) => {
                let answer = AssertUnwindSafe(answer).catch_unwind();
                match timeout_at(deadline.into(), answer).await {
                    Ok(Ok(answer)) => outcome(answer),
                    Ok(Err(_panic)) => Outcome::Failed("whoever answers it panicked".into()),
                    Err(_elapsed) => Outcome::Failed("it took longer than its caller waits".into()),
                }
            }
        };
        (outcome, Some(share))
    }
    .boxed()
}

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

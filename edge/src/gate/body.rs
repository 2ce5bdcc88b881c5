//! The two bodies of a call: the request's, whose bytes are counted as they arrive, and the reply's, whose end is the
//! call's end.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::{Peer, admission::Permit};
use crate::{errors::Refusal, telemetry::Telemetry};

/// A request's body.
pub struct RequestBody {
    incoming: Incoming,
    permit: Option<Arc<Permit>>,
}

impl RequestBody {
    /// Counts the bytes under the permit, where there is one.
    pub(super) fn new(incoming: Incoming, permit: Option<Arc<Permit>>) -> Self {
        Self { incoming, permit }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(Box::new(error))))),
            Some(Ok(frame)) => frame,
        };
        if let (Some(permit), Some(data)) = (&self.permit, frame.data_ref())
            && let Err(full) = permit.grow(data.len())
        {
            return Poll::Ready(Some(Err(permit.refusal(full).into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Counts a call once, when it ends; one that is dropped before has been cancelled by the client.
pub(super) struct Ending {
    telemetry: Arc<Telemetry>,
    peer: Arc<Peer>,
    row: usize,
    started: Instant,
    code: Option<Code>,
}

impl Ending {
    /// The call begins.
    pub(super) fn begin(telemetry: Arc<Telemetry>, peer: Arc<Peer>, row: usize, started: Instant) -> Self {
        peer.calls.fetch_add(1, Relaxed);
        peer.active.fetch_add(1, Relaxed);
        Self {
            telemetry,
            peer,
            row,
            started,
            code: None,
        }
    }

    /// It is known how the call ends. The first to know is right.
    fn end(&mut self, code: Code) {
        self.code.get_or_insert(code);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.peer.active.fetch_sub(1, Relaxed);
        self.telemetry.call(
            self.row,
            self.code.unwrap_or(Code::Cancelled),
            self.started.elapsed(),
        );
    }
}

/// A reply's body.
pub struct ReplyBody {
    inner: tonic::body::Body,
    ending: Ending,
    deadline: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl ReplyBody {
    /// A body that ends with the status of its trailers. After `deadline`, where there is one, it ends with
    /// DEADLINE_EXCEEDED.
    pub(super) fn new(inner: tonic::body::Body, ending: Ending, deadline: Option<Pin<Box<Sleep>>>) -> Self {
        Self {
            inner,
            ending,
            deadline,
            over: false,
        }
    }

    /// No body: the status is in the headers.
    pub(super) fn empty(code: Code, mut ending: Ending) -> Self {
        ending.end(code);
        Self {
            inner: tonic::body::Body::empty(),
            ending,
            deadline: None,
            over: false,
        }
    }

    /// Ends the body with trailers of its own.
    fn cut(&mut self, status: Status) -> Frame<Bytes> {
        self.over = true;
        self.ending.end(status.code());
        let mut trailers = HeaderMap::with_capacity(3);
        if status.add_header(&mut trailers).is_err() {
            trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
        }
        Frame::trailers(trailers)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let inner = &mut this.inner;
        // A stream's handler runs inside its body: a panic there must end this call only.
        let polled =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        let Ok(polled) = polled else {
            let refusal = super::panicked(&this.ending.telemetry, super::path_of(this.ending.row));
            return Poll::Ready(Some(Ok(this.cut(refusal.into()))));
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.ending.end(code_of(trailers).unwrap_or(Code::Unknown));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(status))) => {
                let frame = this.cut(status);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(deadline) = &mut this.deadline else {
                    return Poll::Pending;
                };
                ready!(deadline.as_mut().poll(cx));
                let frame = this.cut(Refusal::deadline().into());
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            SizeHint::with_exact(0)
        } else {
            self.inner.size_hint()
        }
    }
}

/// The status that headers or trailers carry.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

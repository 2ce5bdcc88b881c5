//! The two bodies of a call: the request's, whose bytes are counted as they arrive, and the reply's, whose end is the
//! call's end.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use docket_engine::access::Principal;
use docket_traces::Span;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::{
    Peer,
    admission::{Bound, Permit},
    sleep_box, traced,
    unread::{Held, ReplyData},
    whole::{FIELDS_MAX, Whole, has_too_many_fields},
};
use crate::{
    audit::is_denial,
    errors::Refusal,
    rest::{JsonBody, Piece},
    telemetry::Telemetry,
};

/// A reply goes out in pieces of at most this many bytes: the next one waits until there is a window for it, so that what
/// is not taken stays in the call's hands.
const PIECE_BYTES: usize = 32 * 1_024;

/// A request that takes longer than this to arrive is not kept among the calls in flight.
const SLOW_AFTER: Duration = Duration::from_millis(500);

/// A request's body.
pub struct RequestBody {
    source: Source,
    permit: Arc<Permit>,
    telemetry: Arc<Telemetry>,
    /// Whether its bytes count under the permit.
    counted: bool,
    /// Of one that arrives.
    whole: Whole,
    /// Of a stream.
    times: Option<Box<StreamTimes>>,
    /// Of a call with one message, from when more of it was first waited for: until then nobody is kept out by it.
    slow: Option<Pin<Box<Sleep>>>,
}

/// Where a body comes from.
pub(crate) enum Source {
    /// From its client.
    Arriving(Incoming),
    /// From its client, as JSON.
    Json(Box<JsonBody>),
    /// It has arrived, and been counted.
    Whole(Bytes),
}

/// What makes a body of one that has arrived.
pub(super) struct Arrived {
    permit: Arc<Permit>,
    telemetry: Arc<Telemetry>,
}

impl Arrived {
    /// A body of these bytes.
    pub(super) fn body(&self, bytes: Bytes) -> RequestBody {
        RequestBody::whole(bytes, Arc::clone(&self.permit), Arc::clone(&self.telemetry))
    }
}

/// When the requests of a stream end though nobody ends them.
struct StreamTimes {
    /// How long one message may take to arrive, where that is bounded.
    message_max: Option<Duration>,
    /// Since when a message is incomplete.
    incomplete: Option<Pin<Box<Sleep>>>,
    /// The end of all.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// Of a call with one message. Its bytes are counted; the call's deadline ends it.
    pub(super) fn unary(source: Source, permit: Arc<Permit>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            source,
            permit,
            telemetry,
            counted: true,
            whole: Whole::new(0),
            times: None,
            slow: None,
        }
    }

    /// Messages of up to so many bytes are read when all of them has arrived.
    pub(super) fn whole_messages(mut self, message_bytes_max: usize) -> Self {
        self.whole = Whole::new(message_bytes_max);
        self
    }

    /// Of a call whose message has arrived, by this or by another node, and counts under the permit.
    pub(super) fn whole(bytes: Bytes, permit: Arc<Permit>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            source: Source::Whole(bytes),
            permit,
            telemetry,
            counted: false,
            whole: Whole::new(0),
            times: None,
            slow: None,
        }
    }

    /// What makes others of it when it has arrived.
    pub(super) fn arrived(&self) -> Arrived {
        Arrived {
            permit: Arc::clone(&self.permit),
            telemetry: Arc::clone(&self.telemetry),
        }
    }

    /// Of a stream whose reader says when it has read a message ([`Permit::read`]): what has arrived of the next one is
    /// counted, and must be all of it after `message_max`.
    pub(super) fn stream(
        source: Source,
        permit: Arc<Permit>,
        telemetry: Arc<Telemetry>,
        deadline: Option<Instant>,
        message_max: Duration,
    ) -> Self {
        let times = StreamTimes {
            message_max: Some(message_max),
            incomplete: None,
            deadline: deadline.map(sleep_box),
        };
        Self {
            times: Some(Box::new(times)),
            ..Self::unary(source, permit, telemetry)
        }
    }

    /// Of a stream that needs no credentials. Its messages are too small to be counted.
    pub(super) fn open_stream(
        source: Source,
        permit: Arc<Permit>,
        telemetry: Arc<Telemetry>,
        deadline: Option<Instant>,
    ) -> Self {
        let times = StreamTimes {
            message_max: None,
            incomplete: None,
            deadline: deadline.map(sleep_box),
        };
        Self {
            counted: false,
            times: Some(Box::new(times)),
            ..Self::unary(source, permit, telemetry)
        }
    }
}

impl RequestBody {
    /// More of it has to come: gives why that is not waited for any longer.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if let Some(times) = &mut self.times {
            ready!(times.poll_over(self.permit.bytes(), cx));
            return Poll::Ready(Refusal::deadline().into());
        }
        self.permit.await_request();
        let slow = self
            .slow
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(SLOW_AFTER)));
        if !slow.is_elapsed() {
            ready!(slow.as_mut().poll(cx));
        }
        match self.permit.request_is_slow() {
            Ok(()) => Poll::Pending,
            Err(full) => Poll::Ready(self.no_room(full)),
        }
    }

    /// What has been waited for is there.
    fn arrived_in_time<T>(&self, came: T) -> Result<T, Status> {
        match self.permit.request_arrived() {
            Ok(()) => Ok(came),
            Err(full) => Err(self.no_room(full)),
        }
    }

    fn no_room(&self, full: Bound) -> Status {
        self.telemetry.denied(full.limiter());
        self.permit.refusal(full).into()
    }

    /// What JSON has become of its message. It counts as it arrives, as that of gRPC does.
    fn poll_json(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Source::Json(json) = &mut self.source else {
            return Poll::Ready(None);
        };
        loop {
            match json.poll_piece(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(Some(Ok(Piece::Message(framed)))) => {
                    return Poll::Ready(Some(self.arrived_in_time(Frame::data(framed))));
                }
                Poll::Ready(Some(Ok(Piece::Arrived(bytes)))) => {
                    if self.counted
                        && let Err(full) = self.permit.grow(bytes)
                    {
                        return Poll::Ready(Some(Err(self.no_room(full))));
                    }
                }
                Poll::Pending => {
                    let why = ready!(self.poll_too_late(cx));
                    return Poll::Ready(Some(Err(why)));
                }
            }
        }
    }
}

impl StreamTimes {
    /// Whether the next bytes come too late.
    fn poll_over(&mut self, unread: usize, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        match self.message_max.filter(|_| unread > 0) {
            Some(max) => self
                .incomplete
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(max)))
                .as_mut()
                .poll(cx),
            None => {
                self.incomplete = None;
                Poll::Pending
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            let incoming = match &mut this.source {
                Source::Arriving(incoming) => incoming,
                Source::Json(_) => return this.poll_json(cx),
                Source::Whole(bytes) => {
                    let bytes = std::mem::take(bytes);
                    return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
                }
            };
            let frame = match Pin::new(incoming).poll_frame(cx) {
                Poll::Ready(None) => {
                    let rest = this.whole.rest().map(Frame::data);
                    return Poll::Ready(this.arrived_in_time(rest).transpose());
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(Status::from_error(Box::new(error)))));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Pending => {
                    let why = ready!(this.poll_too_late(cx));
                    return Poll::Ready(Some(Err(why)));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                // Nothing is read behind it: what is left goes before.
                Err(trailers) => {
                    let rest = this.whole.rest().map(Frame::data);
                    return Poll::Ready(Some(this.arrived_in_time(rest.unwrap_or(trailers))));
                }
            };
            if this.counted
                && let Err(full) = this.permit.grow(data.len())
            {
                return Poll::Ready(Some(Err(this.no_room(full))));
            }
            if let Some(ready) = this.whole.arrived(data) {
                if has_too_many_fields(&ready) {
                    let why = format!("has more than {FIELDS_MAX} fields, or elements of lists");
                    return Poll::Ready(Some(Err(Refusal::invalid([("", why)]).into())));
                }
                return Poll::Ready(Some(this.arrived_in_time(Frame::data(ready))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Arriving(incoming) => self.whole.is_empty() && incoming.is_end_stream(),
            Source::Json(_) => false,
            Source::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Arriving(incoming) => incoming.size_hint(),
            Source::Json(_) => SizeHint::default(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Counts a call once, when it ends; one that is dropped before has been cancelled by the client, or was not taken by it
/// in time.
pub(super) struct Ending {
    telemetry: Arc<Telemetry>,
    peer: Arc<Peer>,
    row: usize,
    started: Instant,
    deadline: Option<Instant>,
    code: Option<Code>,
    /// Who calls, where that is known and may matter.
    caller: Option<Arc<Principal>>,
    /// Why it was denied.
    reason: String,
    /// Where the call is sampled.
    span: Option<Span>,
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
            deadline: None,
            code: None,
            caller: None,
            reason: String::new(),
            span: None,
        }
    }

    /// Who calls: whoever is denied something is recorded.
    pub(super) fn called_by(&mut self, principal: Arc<Principal>) {
        self.caller = Some(principal);
    }

    /// Why it ends with this code; that is of interest only where somebody is denied.
    pub(super) fn because(&mut self, code: Code, reason: impl FnOnce() -> String) {
        if is_denial(code) {
            self.reason = reason();
        }
    }

    /// The call is sampled, where there is a span.
    pub(super) fn traced(&mut self, span: Option<Span>) {
        self.span = span;
    }

    /// It is known how the call ends. The first to know is right.
    fn end(&mut self, code: Code) {
        self.code.get_or_insert(code);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.peer.active.fetch_sub(1, Relaxed);
        let now = Instant::now();
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        let dropped = if late {
            Code::DeadlineExceeded
        } else {
            Code::Cancelled
        };
        let code = self.code.unwrap_or(dropped);
        self.telemetry.call(self.row, code, now - self.started);
        if is_denial(code) {
            let address = self.peer.address.ip();
            let caller = self.caller.as_deref().map(|caller| (caller, address));
            let reason = std::mem::take(&mut self.reason);
            self.telemetry
                .denied_to(caller.ok_or(address), self.row, code, reason);
        }
        if let Some(span) = self.span.take() {
            traced::end(span, code);
        }
    }
}

/// A reply's body.
pub struct ReplyBody {
    inner: tonic::body::Body,
    ending: Ending,
    permit: Option<Arc<Permit>>,
    /// The reply of a unary call, from its first byte on.
    held: Option<Arc<Held>>,
    /// What has been encoded and not been asked for.
    rest: Bytes,
    /// Of a stream.
    deadline: Option<Pin<Box<Sleep>>>,
    unary: bool,
    over: bool,
}

impl ReplyBody {
    /// The one message of a reply, which counts under the permit until it has left the process.
    pub(super) fn unary(
        inner: tonic::body::Body,
        mut ending: Ending,
        permit: Arc<Permit>,
        deadline: Option<Instant>,
    ) -> Self {
        ending.deadline = deadline;
        Self {
            permit: Some(permit),
            unary: true,
            ..Self::over(inner, ending)
        }
    }

    /// Replies that end with the status of their trailers, and after `deadline`, where there is one, with
    /// DEADLINE_EXCEEDED.
    pub(super) fn stream(
        inner: tonic::body::Body,
        mut ending: Ending,
        permit: Arc<Permit>,
        deadline: Option<Instant>,
    ) -> Self {
        ending.deadline = deadline;
        Self {
            permit: Some(permit),
            deadline: deadline.map(sleep_box),
            ..Self::over(inner, ending)
        }
    }

    /// No body: the status is in the headers.
    pub(super) fn empty(code: Code, mut ending: Ending) -> Self {
        ending.end(code);
        Self::over(tonic::body::Body::empty(), ending)
    }

    fn over(inner: tonic::body::Body, ending: Ending) -> Self {
        Self {
            inner,
            ending,
            permit: None,
            held: None,
            rest: Bytes::new(),
            deadline: None,
            unary: false,
            over: false,
        }
    }

    /// Ends the body with trailers of its own.
    fn cut(&mut self, mut status: Status) -> Frame<ReplyData> {
        self.over = true;
        if status.details().is_empty() {
            status = Refusal::unexplained(&status).into();
        }
        self.ending.end(status.code());
        let mut trailers = HeaderMap::with_capacity(3);
        put_status(&status, &mut trailers);
        Frame::trailers(trailers)
    }

    /// Ends the body with the status of its service, which says why where that did not.
    fn end(&mut self, mut trailers: HeaderMap) -> Frame<ReplyData> {
        let code = code_of(&trailers).unwrap_or(Code::Unknown);
        self.ending.end(code);
        if code != Code::Ok && !trailers.contains_key(Status::GRPC_STATUS_DETAILS) {
            let told = Status::from_header_map(&trailers).unwrap_or_else(|| Status::new(code, ""));
            put_status(&Refusal::unexplained(&told).into(), &mut trailers);
        }
        Frame::trailers(trailers)
    }

    /// The next piece of what has been encoded.
    fn piece(&mut self) -> Frame<ReplyData> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        Frame::data(ReplyData::new(piece, self.held.clone()))
    }

    /// Counts the bytes of a unary reply.
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let Some(permit) = self.permit.take_if(|_| self.unary) else {
            return Ok(());
        };
        if let Err(full) = permit.reply(bytes) {
            self.ending.telemetry.denied(full.limiter());
            return Err(permit.refusal(full).into());
        }
        self.held = Some(Arc::new(Held::new(Some(permit), Arc::clone(&self.ending.peer))));
        Ok(())
    }
}

impl Body for ReplyBody {
    type Data = ReplyData;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ReplyData>, Status>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            let frame = this.cut(Refusal::deadline().into());
            return Poll::Ready(Some(Ok(frame)));
        }
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(this.piece())));
        }
        let inner = &mut this.inner;
        // A stream's handler runs inside its body: a panic there must end this call only.
        let polled =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        let Ok(polled) = polled else {
            let refusal = super::panicked(&this.ending.telemetry, super::path_of(this.ending.row));
            return Poll::Ready(Some(Ok(this.cut(refusal.into()))));
        };
        let frame = match ready!(polled) {
            None => return Poll::Ready(None),
            Some(Err(status)) => return Poll::Ready(Some(Ok(this.cut(status)))),
            Some(Ok(frame)) => frame,
        };
        let frame = match frame.into_data() {
            Ok(data) => match this.hold(data.len()) {
                Ok(()) => {
                    this.rest = data;
                    this.piece()
                }
                Err(status) => this.cut(status),
            },
            Err(frame) => this.end(frame.into_trailers().unwrap_or_default()),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.over || (self.rest.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            SizeHint::with_exact(0)
        } else {
            self.inner.size_hint()
        }
    }
}

/// Puts a status into headers or trailers, in place of any other.
pub(super) fn put_status(status: &Status, headers: &mut HeaderMap) {
    if status.add_header(headers).is_err() {
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
}

/// The status that headers or trailers carry.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

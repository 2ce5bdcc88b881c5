//! Replies: one message as JSON, or a line or an event for each message of a stream.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use docket_rest::{Route, status_json};
use http::{HeaderMap, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::{Code, Status};

use super::{EVENTS, JSON, NDJSON};
use crate::{
    errors::Refusal,
    gate::{Gate, Peer, ReplyBody, ReplyData, message_in},
};

/// gRPC's frame: a flag and a length.
const FRAME_HEAD: usize = 5;
/// A reply goes out in pieces of at most this many bytes.
const PIECE_BYTES: usize = 32 * 1_024;

/// A reply's body.
pub(crate) struct RestBody(Inner);

enum Inner {
    /// All of it, under the hold of its call, where there is one.
    Whole { rest: Bytes, held: ReplyData },
    /// What is still to come.
    Stream(Box<Stream>),
}

struct Stream {
    inner: ReplyBody,
    gate: Arc<Gate>,
    peer: Arc<Peer>,
    route: Arc<Route>,
    events: bool,
    /// Part of a message.
    begun: BytesMut,
    is_over: bool,
}

/// Why there is no reply, with the headers to tell beside it.
type Refused = (Status, HeaderMap);

/// What of the gate's headers a reply over HTTP has, too: what is left of the caller's limits, and who leads.
pub(super) fn carried(told: &HeaderMap) -> HeaderMap {
    let told = told.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.starts_with("ratelimit") || name.starts_with("docket-")
    });
    told.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The reply of a method that has one.
pub(super) async fn unary(
    gate: &Gate,
    route: &Route,
    response: Response<ReplyBody>,
) -> Result<Response<RestBody>, Refused> {
    let (headers, mut body) = begun(response)?;
    let (mut framed, mut held) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(status) => return Err((status, headers)),
        };
        match frame.into_data() {
            Ok(data) => {
                // Bounded by the largest reply that a service makes, and counted by the call's permit.
                framed.extend_from_slice(data.chunk());
                held = Some(data);
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                if let Some(status) = refusal_in(&trailers) {
                    return Err((status, headers));
                }
            }
        }
    }
    let held = held.unwrap_or_else(|| ReplyData::free(Bytes::new()));
    let message = message_in(&framed.freeze());
    let json = message
        .ok_or_else(|| "there is no message".to_owned())
        .and_then(|message| {
            let json = route.json(&message).map_err(|error| error.to_string())?;
            Ok((json, message.len()))
        });
    let (json, counted) = match json {
        Ok(told) => told,
        Err(error) => return Err((unshown(gate, route, &error), headers)),
    };
    let more = json.len().saturating_sub(counted);
    if !route.only_reads() {
        // It may be done, and who is told that there is no room takes it for not done.
        held.hold_more_anyway(more);
    } else if let Err(full) = held.hold_more(more) {
        return Err((gate.no_room(full).into(), headers));
    }
    let mut response = Response::new(RestBody(Inner::Whole {
        rest: json.into(),
        held,
    }));
    *response.headers_mut() = headers;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    Ok(response)
}

/// The reply of a method that answers with a stream.
pub(super) fn stream(
    gate: &Arc<Gate>,
    peer: &Arc<Peer>,
    route: &Arc<Route>,
    response: Response<ReplyBody>,
    events: bool,
) -> Result<Response<RestBody>, Refused> {
    let (headers, inner) = begun(response)?;
    let mut response = Response::new(RestBody(Inner::Stream(Box::new(Stream {
        inner,
        gate: Arc::clone(gate),
        peer: Arc::clone(peer),
        route: Arc::clone(route),
        events,
        begun: BytesMut::new(),
        is_over: false,
    }))));
    *response.headers_mut() = headers;
    let kind = if events { EVENTS } else { NDJSON };
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let no_store = http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// Headers and body of what the gate let through.
fn begun(response: Response<ReplyBody>) -> Result<(HeaderMap, ReplyBody), Refused> {
    let (parts, body) = response.into_parts();
    let headers = carried(&parts.headers);
    match refusal_in(&parts.headers) {
        Some(status) => Err((status, headers)),
        None => Ok((headers, body)),
    }
}

/// The status of headers or trailers, where it is a refusal.
fn refusal_in(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

/// What is told where a reply cannot be shown: what was asked for may be done.
fn unshown(gate: &Gate, route: &Route, error: &str) -> Status {
    let incident = gate.incident();
    tracing::error!(
        method = route.method(),
        incident,
        error,
        "a reply cannot be shown as JSON"
    );
    Refusal::internal(&incident).into()
}

impl Stream {
    /// All messages that have arrived, as they are shown.
    fn shown(&mut self) -> Result<Vec<u8>, Status> {
        let mut shown = Vec::new();
        while let Some(head) = self.begun.get(..FRAME_HEAD) {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if self.begun.len() < FRAME_HEAD + length {
                break;
            }
            self.begun.advance(FRAME_HEAD);
            let message = self.begun.split_to(length);
            let told = self.route.json_and_token(&message);
            let (json, token) = told.map_err(|error| unshown(&self.gate, &self.route, &error.to_string()))?;
            if self.events {
                if let Some(token) = token {
                    shown.extend_from_slice(format!("id: {token}\n").as_bytes());
                }
                shown.extend_from_slice(b"data: ");
                shown.extend_from_slice(&json);
                shown.extend_from_slice(b"\n\n");
            } else {
                shown.extend_from_slice(&json);
                shown.push(b'\n');
            }
        }
        Ok(shown)
    }

    /// The last of it, where it ends with a refusal.
    fn end(&mut self, status: &Status) -> Bytes {
        self.is_over = true;
        let status = status_json(status);
        match self.events {
            true => format!("event: error\ndata: {status}\n\n").into(),
            false => format!("{{\"error\":{status}}}\n").into(),
        }
    }

    /// Bytes on their way. A call that is under way is cut where they are not taken; the last are on their way when it has ended.
    fn piece(&self, bytes: Bytes) -> ReplyData {
        match self.is_over {
            true => ReplyData::unread(bytes, &self.peer),
            false => ReplyData::free(bytes),
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                None => {
                    self.is_over = true;
                    continue;
                }
                Some(Err(status)) => return Poll::Ready(Some(self.end(&status))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.begun.extend_from_slice(data.chunk());
                    match self.shown() {
                        Ok(shown) if shown.is_empty() => {}
                        Ok(shown) => return Poll::Ready(Some(shown.into())),
                        Err(status) => return Poll::Ready(Some(self.end(&status))),
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    match refusal_in(&trailers) {
                        Some(status) => return Poll::Ready(Some(self.end(&status))),
                        None => self.is_over = true,
                    }
                }
            }
        }
    }
}

impl RestBody {
    /// Bytes that no call holds. A connection that does not take them ends all the same.
    pub(super) fn free(bytes: Bytes, peer: &Arc<Peer>) -> Self {
        Self(Inner::Whole {
            rest: bytes,
            held: ReplyData::unread(Bytes::new(), peer),
        })
    }
}

impl Body for RestBody {
    type Data = ReplyData;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ReplyData>, Infallible>>> {
        match &mut self.0 {
            Inner::Whole { rest, .. } if rest.is_empty() => Poll::Ready(None),
            Inner::Whole { rest, held } => {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                let piece = held.holding(piece);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Inner::Stream(stream) => {
                let bytes = ready!(stream.poll_bytes(cx));
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(stream.piece(bytes)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole { rest, .. } => rest.is_empty(),
            Inner::Stream(stream) => stream.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole { rest, .. } => SizeHint::with_exact(rest.len() as u64),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

//! A request's body: JSON as it arrives, and the message that it was in the end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use docket_rest::{Asked, Wrong};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::{IDEMPOTENCY_KEY, LAST_EVENT_ID};
use crate::{errors::Refusal, gate::frame, gently::gently};

/// The media type of a body.
const JSON: &str = "application/json";

/// Adds what headers say.
///
/// # Errors
/// A header that is no text, or does not protect whoever relies on it.
pub(super) fn with_headers(mut asked: Asked, headers: &HeaderMap) -> Result<Asked, Refusal> {
    if let Some(id) = request_id(headers)? {
        asked = asked.with_request_id(id.to_owned());
    }
    if let Some(token) = headers.get(LAST_EVENT_ID) {
        let token = token
            .to_str()
            .map_err(|_| Refusal::invalid([("last-event-id", "must be the id of an event of a watch")]))?;
        // Whoever has seen no event has an empty one, and what the query says holds.
        if !token.is_empty() {
            asked = asked.with_resume_token(token.to_owned());
        }
    }
    Ok(asked)
}

/// Under which id the request may be repeated, where a header says that.
fn request_id(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let wrong = |why: &str| Refusal::invalid([("idempotency-key", why)]);
    let mut ids = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(id) = ids.next() else {
        return Ok(None);
    };
    if ids.next().is_some() {
        return Err(wrong("is given more than once"));
    }
    let id = id.to_str().unwrap_or_default();
    // The draft has it in quotes; not everybody writes them.
    let quoted = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'));
    match quoted.unwrap_or(id) {
        "" => Err(wrong("must be 1 to 64 printable ASCII characters")),
        id => Ok(Some(id)),
    }
}

/// Whether a body says that it is JSON. One that does not could come from a form on anybody's page.
///
/// # Errors
/// Where it does not.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    match essence.eq_ignore_ascii_case(JSON) {
        true => Ok(()),
        false => Err(Refusal::new(
            Code::InvalidArgument,
            "CONTENT_TYPE_UNSUPPORTED",
            "a body must be JSON, and say so: content-type: application/json",
        )),
    }
}

/// A body of more bytes is read on a thread of its own ([`gently`]), of which there is one at a time: a megabyte of JSON can take a tenth of a
/// second, for which every order would wait that is served on the same thread.
const COSTLY_BYTES: usize = 16 * 1_024;

/// What somebody is told whose body could not be read, for no fault of it; and what the log says then.
const INCIDENT: &str = "json-body";

/// What has become of a body that is costly; an error where that cannot be told.
type Reading = BoxFuture<'static, Result<Result<Vec<u8>, Wrong>, Status>>;

/// A body that is JSON.
pub(crate) struct JsonBody {
    /// Until it has been told.
    asked: Option<Result<Asked, Refusal>>,
    /// It is being read.
    reading: Option<Reading>,
    /// One costly body at a time.
    costly: Arc<Semaphore>,
    /// What is still to come.
    incoming: Option<Incoming>,
    read: Vec<u8>,
    bytes_max: usize,
}

/// What came of a body.
pub(crate) enum Piece {
    /// So many bytes more of its JSON, which are kept.
    Arrived(usize),
    /// The message that it was, as gRPC carries it.
    Message(Bytes),
}

impl JsonBody {
    /// Of this request; or why it is none, which is told behind all that is looked at first.
    pub(super) fn new(
        asked: Result<Asked, Refusal>,
        incoming: Option<Incoming>,
        bytes_max: usize,
        costly: &Arc<Semaphore>,
    ) -> Self {
        Self {
            asked: Some(asked),
            reading: None,
            costly: Arc::clone(costly),
            incoming,
            read: Vec::new(),
            bytes_max,
        }
    }

    /// Of a request that leads nowhere.
    pub(super) fn none(incoming: Incoming, costly: &Arc<Semaphore>) -> Self {
        Self {
            asked: None,
            reading: None,
            costly: Arc::clone(costly),
            incoming: Some(incoming),
            read: Vec::new(),
            bytes_max: 0,
        }
    }

    /// What has not been read.
    pub(crate) fn into_incoming(self) -> Option<Incoming> {
        self.incoming
    }

    /// The next of it; `None` behind the message.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Status>>> {
        if let Some(reading) = &mut self.reading {
            let message = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            return Poll::Ready(Some(message.and_then(piece_of)));
        }
        let Some(Ok(asked)) = &self.asked else {
            let told = self.asked.take();
            return Poll::Ready(told.and_then(Result::err).map(|refusal| Err(refusal.into())));
        };
        loop {
            let Some(incoming) = &mut self.incoming else {
                let read = std::mem::take(&mut self.read);
                if read.len() <= COSTLY_BYTES {
                    let message = asked.message(&read);
                    self.asked = None;
                    return Poll::Ready(Some(piece_of(message)));
                }
                if let Some(Ok(asked)) = self.asked.take() {
                    self.reading = Some(read_gently(asked, read, Arc::clone(&self.costly)).boxed());
                }
                return self.poll_piece(cx);
            };
            let data = match ready!(Pin::new(incoming).poll_frame(cx)) {
                None => {
                    self.incoming = None;
                    continue;
                }
                Some(Err(error)) => {
                    self.asked = None;
                    return Poll::Ready(Some(Err(Status::from_error(Box::new(error)))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            if self.read.len() + data.len() > self.bytes_max {
                let larger = format!("a request may have {} bytes, and this has more", self.bytes_max);
                self.asked = None;
                self.read = Vec::new();
                let refusal = Refusal::unreadable(&Status::out_of_range(larger));
                return Poll::Ready(Some(Err(refusal.into())));
            }
            self.read.extend_from_slice(&data);
            return Poll::Ready(Some(Ok(Piece::Arrived(data.len()))));
        }
    }
}

/// The message, as gRPC carries it, or which field of it is wrong.
fn piece_of(message: Result<Vec<u8>, Wrong>) -> Result<Piece, Status> {
    let message = message.map_err(|Wrong { field, why }| Refusal::invalid([(field, why)]))?;
    Ok(Piece::Message(frame(&message.into())))
}

/// Reads a body that is costly, when it is its turn.
async fn read_gently(
    asked: Asked,
    read: Vec<u8>,
    costly: Arc<Semaphore>,
) -> Result<Result<Vec<u8>, Wrong>, Status> {
    let failed = |why: String| {
        tracing::error!(why, incident = INCIDENT, "a body could not be read");
        Status::from(Refusal::internal(INCIDENT))
    };
    let turn = costly
        .acquire_owned()
        .await
        .map_err(|error| failed(error.to_string()))?;
    // Whoever asks may go; the next one's turn is when this is done.
    let work = move || {
        let message = asked.message(&read);
        drop(turn);
        message
    };
    let told = gently("docket-json", work).map_err(|error| failed(error.to_string()))?;
    match told.await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(_)) | Err(_) => Err(failed("it panicked".to_owned())),
    }
}

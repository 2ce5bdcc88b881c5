//! Which orders of a stream are sampled: each has a span, since a stream may have a million of them and last for weeks.
//!
//! Where the stream's client says that its trace is sampled, so are its orders, under the stream's span; where it says that it is not, they are not. Where it
//! says nothing each order begins a trace of its own, by chance as a call does, which is linked to the stream's where that is sampled as well.

use std::time::Instant;

use docket_engine::TraceId;
use docket_traces::{Context, Kind, Scope, Span, Tracer};
use http::HeaderMap;

use crate::gate::traced;

/// What an order of a stream is called.
const ORDER: &str = "docket.v1.OrderService/PlaceOrders order";

/// How the orders of a stream are sampled.
pub(super) enum Orders {
    /// Not.
    Unsampled,
    /// Each, under this.
    Under(Scope),
    /// By chance; linked to this, where the stream is sampled.
    ByChance(Option<Scope>),
}

impl Orders {
    /// Of a stream with these headers, with what is sampled of it.
    pub(super) fn of(headers: &HeaderMap, stream: Option<&Scope>) -> Self {
        match (traced::given(headers), stream) {
            (None, stream) => Self::ByChance(stream.cloned()),
            (Some(Context { sampled: true, .. }), Some(stream)) => Self::Under(stream.clone()),
            (Some(_), _) => Self::Unsampled,
        }
    }

    /// The span of an order that was read then, if it is sampled.
    #[inline]
    pub(super) fn begin(&self, tracer: &Tracer, path: &'static str, started: Instant) -> Option<Span> {
        let what = (ORDER, Kind::Server);
        let span = match self {
            Self::Unsampled => return None,
            Self::Under(stream) => stream.child_since(ORDER, Kind::Server, started),
            Self::ByChance(stream) => {
                let mut span = tracer.begin(what, None, started)?;
                if let Some(stream) = stream {
                    span.link(stream);
                }
                span
            }
        };
        Some(traced::described(span, path))
    }
}

/// What an order's events keep of its trace: its own, where it is sampled, else what the stream's client has said.
pub(super) fn trace_of(span: Option<&Span>, stream: Option<TraceId>) -> Option<TraceId> {
    span.map(|span| traced::id_of(span.scope().context())).or(stream)
}

//! What happened to a call on its way, as OpenTelemetry has it: spans of one trace, over all nodes that had to do with it.
//!
//! ```text
//!   a call ─▶ Tracer: sampled? ─no──▶ None: a branch on an Option is all that anybody sees of it
//!                        └─yes─▶ Span ─▶ Scope ─▶ further spans ─▶ queue (bounded) ─▶ a thread of its own ─▶ OTLP over gRPC
//! ```
//!
//! What it guarantees:
//! - **What is not sampled makes nothing.** Whether a call is sampled is decided once, where it comes in ([`Tracer::begin`]); from there on
//!   an `Option<Scope>` travels with it, which is `None`.
//! - **The client decides where it says something** (parent-based): a `traceparent` with the sampled flag is sampled, one without is not. Where it says
//!   nothing the configured share is, by chance.
//! - **Nobody waits for the export.** A span that has ended lies in a queue with a bound; what finds it full is dropped and counted. An endpoint that is
//!   away costs memory for that queue and nothing else.
//!
//! Spans have names of the contract or of this program, numbers, and the ids of orders: nothing that a person wrote, no customer, no account, no address.

#![forbid(unsafe_code)]

mod context;
mod encoded;
mod export;
mod otlp;
mod queue;
mod span;
mod tracer;

pub use context::{Context, TRACEPARENT_BYTES_MAX, TRACESTATE_BYTES_MAX};
pub use export::{Endpoint, ExportError, ExportOptions, Exporter, describe_metrics};
pub use otlp::Resource;
pub use span::{Kind, Part, Scope, Span, Value};
pub use tracer::{Tracer, TracerOptions};

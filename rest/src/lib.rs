//! The public contract for those without gRPC: which method is which verb and path, requests and replies as JSON, refusals as JSON with
//! a status of HTTP, and the OpenAPI document of all that.
//!
//! ```text
//!   POST /v1/orders/01M8…:cancel ──Gateway::find──▶ Asked ──message(body)──▶ CancelOrderRequest, as gRPC has it
//!   Order, as gRPC has it ──Route::json──▶ {"name": "orders/01M8…", …}
//! ```
//!
//! Nothing here does I/O, and nothing knows who calls: what comes out is what a gRPC client would have sent, and goes the same way.
//! JSON is protobuf's canonical mapping, made from the contract that is compiled in, so that nothing can be forgotten here that is added there.

#![forbid(unsafe_code)]

mod asked;
mod contract;
mod errors;
mod openapi;
mod routes;
mod template;

pub use asked::{Asked, Wrong};
pub use contract::{ContractError, Found, Gateway, Route};
pub use errors::{http_status, retry_after, status_json};
pub use openapi::document;
pub use routes::{Body, ROUTES, Rule, UNROUTED, Verb};

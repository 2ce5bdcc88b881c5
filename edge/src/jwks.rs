//! `/.well-known/jwks.json`: the public keys of access tokens, so that others can verify them.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use docket_actors::access::Access;

use crate::auth::{Clock, published_keys};

/// For how long whoever asked may use the answer. A key is published before it signs, by default for five times as long.
const CACHE: &str = "public, max-age=60";
/// As RFC 7517 has it.
const CONTENT_TYPE: &str = "application/jwk-set+json";

/// The document; not yet there where the node is still being opened.
pub(crate) fn answer(access: Option<&Access>) -> Response {
    let Some(access) = access else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node is being opened\n").into_response();
    };
    let document = published_keys(access, Clock::system().now());
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, CACHE),
    ];
    (headers, document.to_string()).into_response()
}

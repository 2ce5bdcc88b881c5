//! What every request to the console passes before anything looks at it.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Console, Inner, Refused, pages};
use crate::errors::Refusal;

/// What every request passes, and every answer gets.
pub(super) async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let mut response = match is_let_in(&console.inner, request.method().is_safe(), request.headers()) {
        Ok(()) => {
            let answer = tokio::time::timeout(console.inner.answer_max, next.run(request));
            answer
                .await
                .unwrap_or_else(|_elapsed| Refused::from(Refusal::deadline()).into_response())
        }
        Err((code, why)) => (code, why).into_response(),
    };
    pages::harden(response.headers_mut());
    response
}

/// Whether a request is for this host and, where it changes something (the session), from a page of its own.
fn is_let_in(inner: &Inner, is_safe: bool, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if inner.loopback && !host.is_some_and(is_of_loopback) {
        let why = "this port is for this machine: ask for 127.0.0.1, [::1] or localhost\n";
        return Err((StatusCode::MISDIRECTED_REQUEST, why));
    }
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let from_elsewhere = text("sec-fetch-site").is_some_and(|site| site != "same-origin")
        || text("origin").is_some_and(|origin| origin.split_once("://").map(|it| it.1) != host);
    if !is_safe && from_elsewhere {
        return Err((
            StatusCode::FORBIDDEN,
            "only the console's own page may ask for this\n",
        ));
    }
    Ok(())
}

/// Whether a Host header names a loopback address, with or without a port.
fn is_of_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_loopback_address_are_its_own() {
        for host in [
            "localhost",
            "LOCALHOST:7071",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:7071",
            "[::1]",
        ] {
            assert!(is_of_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example:7071",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:7071",
            "[::1]evil",
            "[::1",
            "0.0.0.0",
        ] {
            assert!(!is_of_loopback(host), "{host}");
        }
    }
}

//! Requests of HTTP, from path, query, headers and JSON to what the engine is asked; and what it answers, as JSON.
//!
//! ```text
//!  GET /v1/orders?pageSize=7\n
//!  idempotency key\n
//!  token of a stream\n
//!  body …                      of a verb that nobody has: what gRPC would have answered
//! ```

use std::sync::LazyLock;

use docket_rest::{Asked, Found, Gateway};
use http::Method;

use crate::request;

static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| Gateway::new().expect("routes of the contract"));
/// The verb of an input whose body is an answer.
pub const ANSWERED: &str = "ANSWER";

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let (Some(asked), Some(id), Some(token)) = (text(), text(), text()) else {
        return;
    };
    let body = parts.next().unwrap_or_default();
    let Some((verb, path)) = asked.split_once(' ') else {
        return;
    };
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    if verb == ANSWERED {
        return answered(path, body);
    }
    let Ok(verb) = Method::from_bytes(verb.as_bytes()) else {
        return;
    };
    match GATEWAY.find(&verb, path, query) {
        Found::Asked(asked) => {
            let asked = match id {
                "" => asked,
                id => asked.with_request_id(id.to_owned()),
            };
            let asked = match token {
                "" => asked,
                token => asked.with_resume_token(token.to_owned()),
            };
            message(&asked, body);
        }
        Found::OtherVerbs(verbs) => assert!(!verbs.is_empty() && !verbs.contains(&verb.as_str())),
        Found::NoText | Found::Nothing => {}
    }
}

fn message(asked: &Asked, body: &[u8]) {
    match asked.message(body) {
        Ok(message) => {
            assert_eq!(
                asked.message(body).as_ref(),
                Ok(&message),
                "it is another each time"
            );
            request::check_method(asked.route().method(), &message);
        }
        Err(wrong) => assert!(!wrong.why.is_empty()),
    }
}

/// The method whose number the path is answers so.
fn answered(number: &str, body: &[u8]) {
    let routes = GATEWAY.routes().count();
    let Some(route) = number
        .parse::<usize>()
        .ok()
        .and_then(|number| GATEWAY.routes().nth(number % routes))
    else {
        return;
    };
    if let Ok((json, _)) = route.json_and_token(body) {
        assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
    }
}

//! What a reply means: docs/payments.md has the same as a table.

use std::{sync::Arc, time::Duration};

use docket_engine::{PAYMENT_TEXT_BYTES_MAX, PaymentOutcome};
use http::{StatusCode, header::RETRY_AFTER};

use super::transport::Reply;
use crate::wire::{Outcome, Refusal, StepReply};

/// The longest pause that a provider can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Which question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Do this.
    Do,
    /// What became of this?
    WhatHappened,
}

/// What a reply, or its absence, means.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is settled.
    Settled(PaymentOutcome),
    /// The provider has never seen the key.
    Unseen,
    /// The provider is there, and does not say, or will not do it, just now.
    NotNow {
        why: String,
        retry_after: Option<Duration>,
    },
    /// It is not known whether the provider did anything.
    Unknown {
        why: String,
        retry_after: Option<Duration>,
    },
    /// The two do not understand each other: asking again does not help before somebody has seen to it.
    Broken { why: String },
}

impl Answer {
    /// What counts and labels call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Settled(PaymentOutcome::Done { .. }) => "done",
            Self::Settled(PaymentOutcome::Declined { .. }) => "declined",
            Self::Unseen => "unseen",
            Self::NotNow { .. } => "not_now",
            Self::Unknown { .. } => "unknown",
            Self::Broken { .. } => "broken",
        }
    }
}

/// Reads the reply to `question` about `key`. `secret` is struck out of whatever is taken from it.
pub fn read(question: Question, key: &str, reply: &Reply, secret: Option<&str>) -> Answer {
    let status = reply.status;
    match status {
        StatusCode::OK | StatusCode::PAYMENT_REQUIRED => outcome(key, reply, secret),
        StatusCode::NOT_FOUND if question == Question::WhatHappened => Answer::Unseen,
        StatusCode::ACCEPTED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::CONFLICT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Answer::NotNow {
            why: refusal(reply, secret),
            retry_after: retry_after(reply),
        },
        _ if status.is_server_error() => Answer::Unknown {
            why: refusal(reply, secret),
            retry_after: retry_after(reply),
        },
        _ => Answer::Broken {
            why: format!("{}: not in the contract", refusal(reply, secret)),
        },
    }
}

fn outcome(key: &str, reply: &Reply, secret: Option<&str>) -> Answer {
    let unknown = |why: String| Answer::Unknown {
        why: format!("{}, but {why}", reply.status),
        retry_after: None,
    };
    let body: StepReply = match serde_json::from_slice(&reply.body) {
        Ok(body) => body,
        // What serde says repeats what it read, which may be anything.
        Err(error) => {
            return unknown(format!(
                "the reply is not JSON of the contract (line {}, column {})",
                error.line(),
                error.column()
            ));
        }
    };
    if body.key != key {
        return unknown("the reply is to another key".to_owned());
    }
    match body.outcome {
        Outcome::Done { .. } if reply.status == StatusCode::PAYMENT_REQUIRED => {
            unknown("the reply says that it was done".to_owned())
        }
        // It is sent back with later steps, so that it cannot be cut.
        Outcome::Done { reference }
            if reference.len() > PAYMENT_TEXT_BYTES_MAX || reference.chars().any(char::is_control) =>
        {
            Answer::Broken {
                why: format!(
                    "it was done, but the reference is longer than {PAYMENT_TEXT_BYTES_MAX} bytes or has control \
                     characters: not in the contract"
                ),
            }
        }
        Outcome::Done { reference } => Answer::Settled(PaymentOutcome::Done {
            reference: Arc::from(reference),
        }),
        Outcome::Declined { reason } => Answer::Settled(PaymentOutcome::Declined {
            reason: Arc::from(tidy(&reason, secret)),
        }),
    }
}

/// The status, and what the provider says to it.
fn refusal(reply: &Reply, secret: Option<&str>) -> String {
    let said: Refusal = serde_json::from_slice(&reply.body).unwrap_or_default();
    match tidy(&said.reason, secret) {
        reason if reason.is_empty() => reply.status.to_string(),
        reason => format!("{} ({reason})", reply.status),
    }
}

/// A text of somebody else's as it may be shown: no secret, no control characters, and short.
fn tidy(text: &str, secret: Option<&str>) -> String {
    let text = match secret {
        Some(secret) => text.replace(secret, "(redacted)"),
        None => text.to_owned(),
    };
    let mut text = text.replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(PAYMENT_TEXT_BYTES_MAX));
    text
}

/// How long the provider wants to be left alone. A date is not read: the two clocks need not agree.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let seconds = reply.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than fit are more than the bound as well.
    digits.then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    const KEY: &str = "order/capture-2/1";

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        }
    }

    fn done(reference: &str) -> String {
        format!(r#"{{"key":"{KEY}","status":"done","reference":{reference:?}}}"#)
    }

    #[track_caller]
    fn check(question: Question, status: u16, body: &str, expected: &str) -> String {
        let answer = read(question, KEY, &reply(status, body), Some("hunter2"));
        assert_eq!(answer.name(), expected, "{status} {body}: {answer:?}");
        let told = format!("{answer:?}");
        assert!(!told.contains("hunter2"), "{told}");
        told
    }

    #[test]
    fn each_status_and_body_means_one_thing() {
        use Question::{Do, WhatHappened};
        for question in [Do, WhatHappened] {
            check(question, 200, &done("ref-1"), "done");
            check(question, 200, &done(""), "done");
            let declined = format!(r#"{{"key":"{KEY}","status":"declined","reason":"no","more":[1]}}"#);
            check(question, 200, &declined, "declined");
            check(question, 402, &declined, "declined");
            check(
                question,
                200,
                &format!(r#"{{"key":"{KEY}","status":"done"}}"#),
                "done",
            );
            check(question, 402, &done("ref-1"), "unknown");
            check(question, 200, "<html>hunter2</html>", "unknown");
            check(
                question,
                200,
                r#"{"status":"done","reference":"hunter2"}"#,
                "unknown",
            );
            check(
                question,
                200,
                r#"{"key":"other/capture-2/1","status":"done","reference":""}"#,
                "unknown",
            );
            check(
                question,
                200,
                &format!(r#"{{"key":"{KEY}","status":"hunter2"}}"#),
                "unknown",
            );
            check(question, 200, &done(&"r".repeat(129)), "broken");
            check(question, 200, &done("r\n"), "broken");
            for status in [202, 408, 409, 425, 429] {
                check(question, status, "", "not_now");
            }
            for status in [500, 502, 503, 504, 599] {
                check(question, status, "hunter2", "unknown");
            }
            for status in [201, 204, 301, 307, 400, 401, 403, 405, 410, 422] {
                check(question, status, "", "broken");
            }
        }
        check(Do, 404, "", "broken");
        check(WhatHappened, 404, "", "unseen");
    }

    #[test]
    fn what_a_provider_says_is_shown_short_and_without_our_secret() {
        let said = check(
            Question::Do,
            401,
            r#"{"reason":"token hunter2\u001b[1m is unknown"}"#,
            "broken",
        );
        assert!(said.contains("token (redacted) [1m is unknown"), "{said}");
        let long = format!(
            r#"{{"key":"{KEY}","status":"declined","reason":"{}"}}"#,
            "ü".repeat(100)
        );
        let Answer::Settled(PaymentOutcome::Declined { reason }) =
            read(Question::Do, KEY, &reply(402, &long), None)
        else {
            panic!("was not declined");
        };
        assert_eq!(&*reason, "ü".repeat(64));
    }

    #[test]
    fn retry_after_is_seconds_and_bounded() {
        #[track_caller]
        fn check(value: &str, expected: Option<u64>) {
            let mut reply = reply(429, "");
            reply.headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&reply), expected.map(Duration::from_secs), "{value}");
        }
        check("0", Some(0));
        check(" 7 ", Some(7));
        check("86400", Some(3_600));
        check("99999999999999999999999", Some(3_600));
        check("-1", None);
        check("+1", None);
        check("", None);
        check("Wed, 21 Oct 2015 07:28:00 GMT", None);
    }
}

//! Credentials in headers, of a node that has one administrator: nobody is let in who does not have its key.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use docket_actors::access::{Access, AccessLog, AccessMachine};
use docket_cluster::{Entry, ProposeError, ReadError, StateMachine};
use docket_edge::auth::{ApiKeyText, AuthOptions, Authenticator, Clock, bootstrap};
use docket_engine::Time;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};

const NOW: Time = Time(1_795_000_000_000_000);

/// A log that applies at once.
struct Immediate {
    machine: AccessMachine,
    index: AtomicU64,
}

impl AccessLog for Immediate {
    fn barrier(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async { Ok(()) })
    }

    fn propose(&self, record: Bytes) -> BoxFuture<'_, Result<Bytes, ProposeError>> {
        let index = self.index.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            Ok(self.machine.apply(Entry {
                index,
                term: 1,
                payload: &record,
            }))
        })
    }
}

static NODE: LazyLock<Authenticator> = LazyLock::new(|| {
    let machine = AccessMachine::new();
    let log = Immediate {
        machine: machine.clone(),
        index: AtomicU64::new(1),
    };
    let access = Access::new(&machine, log);
    let key = ApiKeyText::generate().expect("random bytes");
    futures::executor::block_on(bootstrap(&access, &key, NOW)).expect("an administrator");
    Authenticator::new(access, &AuthOptions::default(), Clock::new(|| NOW))
});

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((is_token, values, key)) = crate::input::<(bool, Vec<&[u8]>, &str)>(bytes) else {
        return;
    };
    let _ = ApiKeyText::parse(key);
    let mut headers = HeaderMap::new();
    for value in values {
        let (name, value) = match is_token {
            true => ("authorization", [b"Bearer ", value].concat()),
            false => ("x-api-key", value.to_vec()),
        };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    assert!(
        NODE.authenticate_at(&headers, NOW).is_err(),
        "somebody was let in"
    );
}

//! What a provider can answer that the contract does not have: bounded, never guessed, and told without secrets.

use std::time::Duration;

use docket_engine::PaymentKind::Authorize;
use docket_payments::{
    http::{HttpConfig, HttpProvider},
    stub::{Fault, On, Stub, StubOptions, What},
};
use tokio::time::Instant;

use crate::scene::{Scene, config, name, order};

/// Asks once with this fault, and says what was told.
async fn told(what: What) -> String {
    let scene = Scene::with(&HttpConfig {
        attempts: 1,
        ..config()
    });
    let fault = Fault::at(On::Authorize, what);
    scene.stub.add_faults(vec![fault]).unwrap();
    let refused = scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap_err();
    refused.to_string()
}

#[tokio::test(start_paused = true)]
async fn each_is_told_for_what_it_is() {
    let status = |status| What::Status {
        status,
        retry_after: None,
    };
    for (what, expected) in [
        (status(500), "500 Internal Server Error (on demand)"),
        (status(400), "400 Bad Request (on demand): not in the contract"),
        (status(404), "404 Not Found (on demand): not in the contract"),
        (
            status(307),
            "307 Temporary Redirect (on demand): not in the contract",
        ),
        (status(204), "204 No Content: not in the contract"),
        (status(409), "409 Conflict (on demand)"),
        (
            What::Garbage,
            "200 OK, but the reply is not JSON of the contract (line 1, column 1)",
        ),
        (
            What::Flood { bytes: 65_537 },
            "the reply is longer than 65536 bytes",
        ),
        (What::HoldReply, "no reply within 10s"),
    ] {
        assert_eq!(told(what).await, expected);
    }
    let lost = told(What::DropReply).await;
    assert!(lost.starts_with("client error (SendRequest)"), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn a_reply_may_be_as_long_as_is_allowed() {
    let scene = Scene::new();
    let fault = Fault::at(On::Authorize, What::Flood { bytes: 65_536 });
    scene.stub.add_faults(vec![fault]).unwrap();
    scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_no_longer_than_its_timeout() {
    let timeout = Duration::from_millis(1_234);
    let scene = Scene::with(&HttpConfig {
        attempts: 1,
        timeout,
        ..config()
    });
    let fault = Fault::at(On::Authorize, What::HoldRequest);
    scene.stub.add_faults(vec![fault]).unwrap();
    let began = Instant::now();
    let request = scene.request(Authorize, 1, 100);
    assert!(scene.settle(&request).await.is_err());
    // The clock has milliseconds.
    let took = began.elapsed();
    assert!(
        (timeout..timeout + Duration::from_millis(10)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_told_without_it_and_a_right_one_works() {
    let stub = Stub::open(StubOptions {
        token: Some("hunter2".into()),
        data: None,
    })
    .unwrap();
    for (token, fits) in [(Some("hunter3"), false), (None, false), (Some("hunter2"), true)] {
        let config = HttpConfig {
            token: token.map(Into::into),
            ..config()
        };
        let provider = HttpProvider::over(name(), &config, stub.connector()).unwrap();
        let scene = Scene {
            stub: stub.clone(),
            provider,
            order: order(1),
        };
        let settled = scene.settle(&scene.request(Authorize, 1, 100)).await;
        assert_eq!(settled.is_ok(), fits, "{settled:?}");
        let shown = format!("{settled:?} {:?} {config:?} {:?}", scene.provider, scene.stub);
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_token_is_sent_from_the_next_request_on_and_one_that_cannot_be_is_not() {
    let stub = Stub::open(StubOptions {
        token: Some("hunter2".into()),
        data: None,
    })
    .unwrap();
    let config = HttpConfig {
        token: Some("hunter1".into()),
        ..config()
    };
    let scene = Scene {
        provider: HttpProvider::over(name(), &config, stub.connector()).unwrap(),
        stub,
        order: order(1),
    };
    let authorize = scene.request(Authorize, 1, 100);
    assert!(scene.settle(&authorize).await.is_err());
    scene.provider.set_token("hunter2".into()).unwrap();
    assert!(scene.settle(&authorize).await.is_ok());
    let refused = scene.provider.set_token("hunter\n3".into()).unwrap_err();
    assert_eq!(refused.option, "token");
    assert!(scene.settle(&scene.request(Authorize, 2, 100)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_asked_with_something_else_is_refused_and_not_declined() {
    let scene = Scene::new();
    scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    let refused = scene.settle(&scene.request(Authorize, 1, 200)).await.unwrap_err();
    assert_eq!(
        refused.why,
        "422 Unprocessable Entity (the key was asked before, with something else): not in the contract"
    );
    assert_eq!(scene.money(), [100, 0, 0, 0]);
}

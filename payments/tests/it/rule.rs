//! Who may have been asked is asked what happened first; and what is late takes nothing.

use std::time::Duration;

use docket_engine::{PaymentKind, PaymentOutcome, PaymentRequest};
use docket_payments::{
    NotSettled, PaymentProvider as _,
    http::HttpConfig,
    stub::{Fault, On, What},
};
use tokio::time::Instant;

use crate::scene::{Scene, config};
use PaymentKind::{Authorize, Capture, Void};

#[tokio::test(start_paused = true)]
async fn who_was_never_asked_is_asked_at_once_and_who_may_have_been_is_asked_what_happened() {
    let scene = Scene::new();
    scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    assert_eq!(scene.asked(), ["authorize"]);

    let scene = Scene::new();
    let request = scene.request(Authorize, 1, 100);
    scene.provider.settle(&request, true).await.unwrap();
    assert_eq!(scene.asked(), ["lookup", "authorize"], "it was never seen");
    scene.provider.settle(&request, true).await.unwrap();
    assert_eq!(scene.asked(), ["lookup", "authorize", "lookup"], "it was done");
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_asked_for_and_a_lost_request_is_made_again() {
    let scene = Scene::new();
    let fault = Fault::at(On::Authorize, What::DropReply);
    scene.stub.add_faults(vec![fault]).unwrap();
    scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    assert_eq!(scene.asked(), ["authorize", "lookup"]);

    let scene = Scene::new();
    let fault = Fault::at(On::Authorize, What::DropRequest);
    scene.stub.add_faults(vec![fault]).unwrap();
    scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    assert_eq!(scene.asked(), ["authorize", "lookup", "authorize"]);
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gave_up_asks_what_happened_when_it_comes_back() {
    let scene = Scene::new();
    let fault = Fault::at(On::Authorize, What::HoldReply);
    scene.stub.add_faults(vec![fault]).unwrap();
    let request = scene.request(Authorize, 1, 100);
    tokio::select! {
        biased;
        _ = scene.settle(&request) => panic!("the reply is held"),
        () = scene.stub.holds(1) => {}
    }
    let outcome = scene.provider.settle(&request, true).await.unwrap();
    assert!(matches!(outcome, PaymentOutcome::Done { .. }));
    assert_eq!(scene.asked(), ["authorize", "lookup"]);
    scene.stub.release();
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn a_late_authorisation_of_an_order_that_was_voided_takes_nothing() {
    let scene = Scene::new();
    let late = Fault::at(On::Authorize, What::HoldRequest);
    scene.stub.add_faults(vec![late]).unwrap();
    let authorize = scene.request(Authorize, 1, 100);
    // On its way when whoever asks gives up, and the order dies.
    tokio::select! {
        biased;
        _ = scene.settle(&authorize) => panic!("the request is held"),
        () = scene.stub.holds(1) => {}
    }
    scene.done(&scene.request(Void, 2, 100)).await;
    scene.stub.holds_nothing().await;

    let payment = scene.payment();
    assert!(payment.barred);
    assert_eq!(scene.money(), [0, 0, 0, 0]);
    let outcome = scene.provider.settle(&authorize, true).await.unwrap();
    let reason = "voided".into();
    assert_eq!(outcome, PaymentOutcome::Declined { reason });
    assert_eq!(scene.money(), [0, 0, 0, 0]);
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn an_authorisation_whose_reply_was_lost_is_given_back_by_the_void() {
    let scene = Scene::new();
    let lost = Fault::at(On::Authorize, What::HoldReply);
    scene.stub.add_faults(vec![lost]).unwrap();
    let authorize = scene.request(Authorize, 1, 100);
    tokio::select! {
        biased;
        _ = scene.settle(&authorize) => panic!("the reply is held"),
        () = scene.stub.holds(1) => {}
    }
    assert_eq!(scene.money(), [100, 0, 0, 0]);
    scene.done(&scene.request(Void, 2, 100)).await;
    assert_eq!(scene.money(), [100, 0, 100, 0]);
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_late_finds_its_key_settled() {
    let scene = Scene::with(&HttpConfig {
        timeout: Duration::from_secs(1),
        ..config()
    });
    let late = Fault::at(On::Authorize, What::HoldRequest);
    scene.stub.add_faults(vec![late]).unwrap();
    let outcome = scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    assert_eq!(scene.asked(), ["authorize", "lookup", "authorize"]);
    assert_eq!(scene.stub.release(), 1);
    scene.stub.holds_nothing().await;
    assert_eq!(scene.money(), [100, 0, 0, 0]);
    let again = scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    assert_eq!(again, outcome);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_the_pauses_between_them_grow_by_chance() {
    let scene = Scene::with(&HttpConfig {
        attempts: 4,
        ..config()
    });
    let fault = Fault {
        count: 100,
        ..Fault::at(On::Authorize, What::DropRequest)
    };
    scene.stub.add_faults(vec![fault]).unwrap();
    let began = Instant::now();
    let refused = scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap_err();
    assert_eq!(refused.retry_after, None);
    let asked = scene.asked();
    assert_eq!(asked.iter().filter(|on| *on == "authorize").count(), 4);
    assert_eq!(asked.iter().filter(|on| *on == "lookup").count(), 3);
    // 100 + 200 + 400 ms, and up to as much again.
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(700)..=Duration::from_millis(1_400)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_kept_or_handed_on_where_it_is_long() {
    let status = |retry_after| {
        let retry_after = Some(retry_after);
        Fault::at(
            On::Authorize,
            What::Status {
                status: 429,
                retry_after,
            },
        )
    };
    let scene = Scene::new();
    scene.stub.add_faults(vec![status(2)]).unwrap();
    let began = Instant::now();
    scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));

    let scene = Scene::new();
    scene.stub.add_faults(vec![status(60)]).unwrap();
    let began = Instant::now();
    let NotSettled { why, retry_after } = scene.settle(&scene.request(Authorize, 1, 100)).await.unwrap_err();
    assert_eq!(retry_after, Some(Duration::from_secs(60)));
    assert_eq!(why, "429 Too Many Requests (on demand)");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(scene.asked(), ["authorize"]);
}

/// Each has sums of its own, and is barred by itself; and none takes what was authorised for another.
#[tokio::test(start_paused = true)]
async fn a_later_payment_of_an_order_is_a_payment_of_its_own() {
    let scene = Scene::new();
    let of_second = |kind, number, amount| PaymentRequest {
        payment: 2,
        ..scene.request(kind, number, amount)
    };
    let first = scene.done(&scene.request(Authorize, 1, 100)).await;
    // Given up before it came, and it comes late.
    scene.done(&of_second(Void, 3, 20)).await;
    let late = scene.settle(&of_second(Authorize, 2, 20)).await.unwrap();
    assert!(matches!(late, PaymentOutcome::Declined { .. }), "{late:?}");
    let third = |kind, number, amount| PaymentRequest {
        payment: 3,
        ..scene.request(kind, number, amount)
    };
    let reference = scene.done(&third(Authorize, 4, 30)).await;
    let captured = PaymentRequest {
        authorization: Some(first),
        ..scene.request(Capture, 5, 100)
    };
    scene.done(&captured).await;
    let rest = PaymentRequest {
        authorization: Some(reference),
        ..third(Capture, 6, 10)
    };
    // Asked for again it is asked about by its own name.
    let fault = Fault::at(On::Capture, What::DropReply);
    scene.stub.add_faults(vec![fault]).unwrap();
    scene.done(&rest).await;
    let money = |payment: &str| {
        let payment = scene.stub.payment(&format!("{}{payment}", scene.order));
        [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
        ]
    };
    assert_eq!(
        ["", "-2", "-3"].map(money),
        [[100, 100, 0, 0], [0; 4], [30, 10, 0, 0]]
    );
    assert!(rest.key().starts_with(&format!("{}/capture-6/", scene.order)));
    scene.is_blameless();
    // What is of another payment is not there.
    let wrong = PaymentRequest {
        payment: 3,
        ..captured
    };
    let wrong = PaymentRequest { number: 7, ..wrong };
    let refused = scene.settle(&wrong).await.unwrap();
    assert!(matches!(refused, PaymentOutcome::Declined { .. }), "{refused:?}");
    assert_eq!(scene.stub.report().violations.len(), 1);
}

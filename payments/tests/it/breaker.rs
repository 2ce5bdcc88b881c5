//! Who fails again and again is left alone, then tried once.

use std::time::Duration;

use docket_engine::{PaymentKind, PaymentOutcome};
use docket_payments::{
    PaymentProvider as _,
    http::{BreakerConfig, HttpConfig},
    stub::{Fault, On, What},
};
use tokio::time::advance;

use crate::scene::{Scene, config};

const OPEN_FOR: Duration = Duration::from_secs(10);

fn scene() -> Scene {
    Scene::with(&HttpConfig {
        attempts: 1,
        breaker: BreakerConfig {
            failures_max: 2,
            open_for: OPEN_FOR,
        },
        ..config()
    })
}

fn failing(count: u64) -> Fault {
    Fault {
        on: None,
        count,
        ..Fault::at(On::Lookup, What::DropRequest)
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_is_tried_and_closes() {
    let scene = scene();
    let request = scene.request(PaymentKind::Authorize, 1, 100);
    scene.stub.add_faults(vec![failing(3)]).unwrap();
    assert!(scene.provider.settle(&request, false).await.is_err());
    assert!(scene.provider.settle(&request, true).await.is_err());

    let left_alone = scene.provider.settle(&request, true).await.unwrap_err();
    assert_eq!(left_alone.retry_after, Some(OPEN_FOR));
    assert_eq!(
        left_alone.why,
        "the provider failed too often and is left alone for a while"
    );
    assert_eq!(scene.asked().len(), 2, "nothing was asked");

    advance(OPEN_FOR).await;
    assert!(scene.provider.settle(&request, true).await.is_err());
    assert_eq!(scene.asked().len(), 3, "it was tried with one request");
    let left_alone = scene.provider.settle(&request, true).await.unwrap_err();
    assert_eq!(left_alone.retry_after, Some(OPEN_FOR));

    advance(OPEN_FOR).await;
    let outcome = scene.provider.settle(&request, true).await.unwrap();
    assert!(matches!(outcome, PaymentOutcome::Done { .. }));
    assert_eq!(scene.money(), [100, 0, 0, 0]);
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn one_request_tries_while_others_are_left_waiting() {
    let scene = scene();
    let request = scene.request(PaymentKind::Authorize, 1, 100);
    scene.stub.add_faults(vec![failing(2)]).unwrap();
    for _ in 0..2 {
        assert!(scene.provider.settle(&request, true).await.is_err());
    }
    advance(OPEN_FOR).await;
    let held = Fault::at(On::Lookup, What::HoldReply);
    scene.stub.add_faults(vec![held]).unwrap();
    let trial = scene.provider.settle(&request, true);
    let others = async {
        scene.stub.holds(1).await;
        assert!(scene.provider.settle(&request, true).await.is_err());
        assert_eq!(scene.asked().len(), 3, "only the trial was asked");
        scene.stub.release();
    };
    let (outcome, ()) = futures::join!(trial, others);
    assert!(matches!(outcome, Ok(PaymentOutcome::Done { .. })));
    scene.is_blameless();
}

#[tokio::test(start_paused = true)]
async fn refusals_and_declines_do_not_open_it() {
    let scene = scene();
    for status in [400, 401, 409, 422, 425, 429] {
        let fault = Fault {
            count: 5,
            ..Fault::at(
                On::Authorize,
                What::Status {
                    status,
                    retry_after: None,
                },
            )
        };
        scene.stub.add_faults(vec![fault]).unwrap();
        for number in 1..=5 {
            let request = scene.request(PaymentKind::Authorize, number, 1);
            let refused = scene.settle(&request).await.unwrap_err();
            assert!(refused.why.starts_with(&status.to_string()), "{refused}");
        }
    }
    let decline = What::Decline {
        reason: String::new(),
    };
    let fault = Fault {
        count: 5,
        ..Fault::at(On::Authorize, decline)
    };
    scene.stub.add_faults(vec![fault]).unwrap();
    for number in 1..=6 {
        let request = scene.request(PaymentKind::Authorize, number, 1);
        assert!(scene.provider.settle(&request, true).await.is_ok());
    }
    assert_eq!(scene.money(), [1, 0, 0, 0]);
}

//! Each fault at each kind of step: the money is exact, nothing is done twice, and whoever asks again has asked first.

use docket_engine::{PaymentKind, PaymentOutcome};
use docket_payments::stub::{Fault, On, What};

use crate::scene::Scene;
use PaymentKind::{Authorize, Capture, Refund, Void};

/// Every fault but `decline`, which changes what becomes of a step.
pub fn faults() -> Vec<What> {
    let status = |status, retry_after| What::Status { status, retry_after };
    vec![
        What::HoldRequest,
        What::HoldReply,
        What::DropRequest,
        What::DropReply,
        What::Twice,
        status(500, None),
        status(503, Some(1)),
        status(429, Some(1)),
        status(429, Some(60)),
        status(409, None),
        status(425, None),
        status(408, None),
        status(400, None),
        status(401, None),
        status(307, None),
        What::StatusAfter { status: 500 },
        What::StatusAfter { status: 502 },
        What::StatusAfter { status: 202 },
        What::Garbage,
        What::Flood { bytes: 100_000 },
        What::DieBefore,
        What::DieAfter,
    ]
}

/// What an order asks in turn, and how much.
type Steps = &'static [(PaymentKind, i64)];

/// Each kind of step behind those that come before it, and the money when all are done.
const SCRIPTS: [(Steps, [i64; 4]); 4] = [
    (&[(Authorize, 100)], [100, 0, 0, 0]),
    (&[(Authorize, 100), (Capture, 60)], [100, 60, 0, 0]),
    (&[(Authorize, 100), (Capture, 60), (Void, 40)], [100, 60, 40, 0]),
    (
        &[(Authorize, 100), (Capture, 100), (Refund, 30)],
        [100, 100, 0, 30],
    ),
];

/// Does the steps, with these faults at the last one.
#[track_caller]
fn check(steps: &[(PaymentKind, i64)], faults: &[Fault], money: [i64; 4]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let scene = Scene::new();
        let mut authorization = None;
        for (at, (kind, amount)) in steps.iter().enumerate() {
            if at + 1 == steps.len() {
                scene.stub.add_faults(faults.to_vec()).unwrap();
            }
            let mut request = scene.request(*kind, at as u32 + 1, *amount);
            request.authorization.clone_from(&authorization);
            let reference = scene.done(&request).await;
            authorization.get_or_insert(reference);
        }
        assert_eq!(scene.money(), money, "{faults:?}: {:#?}", scene.stub.requests());
        scene.is_blameless();
        assert_eq!(scene.stub.faults(), [], "all faults happened");
    });
}

#[test]
fn a_fault_at_a_step_changes_nothing_about_the_money() {
    for what in faults() {
        for (steps, money) in SCRIPTS {
            let (kind, _) = steps[steps.len() - 1];
            check(steps, &[Fault::at(kind.into(), what.clone())], money);
        }
    }
}

#[test]
fn a_fault_at_the_question_what_happened_changes_nothing_about_the_money() {
    for what in faults() {
        for lost in [What::DropRequest, What::DropReply] {
            for (steps, money) in SCRIPTS {
                let (kind, _) = steps[steps.len() - 1];
                let faults = [
                    Fault::at(kind.into(), lost.clone()),
                    Fault::at(On::Lookup, what.clone()),
                ];
                check(steps, &faults, money);
            }
        }
    }
}

#[test]
fn a_fault_that_stays_for_a_while_changes_nothing_about_the_money() {
    for what in faults() {
        for (steps, money) in SCRIPTS {
            let (kind, _) = steps[steps.len() - 1];
            let fault = |on| Fault {
                count: 3,
                ..Fault::at(on, what.clone())
            };
            // Of those that are done and not told, the question what happened tells.
            let settles_at_once = matches!(
                what,
                What::HoldReply
                    | What::HoldRequest
                    | What::DropReply
                    | What::StatusAfter { .. }
                    | What::Garbage
                    | What::Flood { .. }
                    | What::Twice
                    | What::DieAfter
            );
            let faults = match settles_at_once {
                true => vec![Fault::at(kind.into(), what.clone())],
                false => vec![fault(kind.into())],
            };
            check(steps, &faults, money);
            // The same for the question alone, which is settled by what is only said twice.
            let question = match what {
                What::Twice => Fault::at(On::Lookup, What::Twice),
                _ => fault(On::Lookup),
            };
            check(steps, &[Fault::at(kind.into(), What::DropReply), question], money);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_declined_stays_declined_under_its_key_and_not_under_another() {
    for (steps, _) in SCRIPTS {
        let scene = Scene::new();
        let (last, before) = steps.split_last().unwrap();
        for (at, (kind, amount)) in before.iter().enumerate() {
            scene.done(&scene.request(*kind, at as u32 + 1, *amount)).await;
        }
        let money = scene.money();
        let reason = "no reason".to_owned();
        let decline = Fault::at(last.0.into(), What::Decline { reason });
        scene.stub.add_faults(vec![decline]).unwrap();
        let mut request = scene.request(last.0, steps.len() as u32, last.1);
        for may_be_asked in [false, true] {
            use docket_payments::PaymentProvider as _;
            let outcome = scene.provider.settle(&request, may_be_asked).await.unwrap();
            let reason = "no reason".into();
            assert_eq!(outcome, PaymentOutcome::Declined { reason });
        }
        assert_eq!(scene.money(), money);
        request.group = 2;
        scene.done(&request).await;
        assert_ne!(scene.money(), money);
        scene.is_blameless();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_twice_is_no_answer_to_the_next_question() {
    let scene = Scene::new();
    for kind in PaymentKind::ALL {
        let twice = Fault::at(kind.into(), What::Twice);
        scene.stub.add_faults(vec![twice]).unwrap();
    }
    let authorized = scene.settle(&scene.request(Authorize, 1, 100)).await;
    assert!(matches!(authorized, Ok(PaymentOutcome::Done { .. })));
    let captured = scene.done(&scene.request(Capture, 2, 60)).await;
    assert_eq!(&*captured, "capture-2");
    let voided = scene.done(&scene.request(Void, 3, 40)).await;
    assert_eq!(&*voided, "void-3");
    assert_eq!(scene.money(), [100, 60, 40, 0]);
    scene.is_blameless();
}

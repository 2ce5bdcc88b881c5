//! Whatever goes wrong in whatever order: when all is settled, both sides have the same books.

use docket_engine::{PaymentKind, PaymentOutcome};
use docket_payments::stub::{Fault, On, What};
use proptest::{prelude::*, sample::select};

use crate::{faults::faults, scene::Scene};
use PaymentKind::{Authorize, Capture, Refund, Void};

fn fault() -> impl Strategy<Value = Fault> {
    let mut all = faults();
    all.push(What::Decline {
        reason: "by chance".into(),
    });
    let on = prop_oneof![3 => select(&On::ALL[..]).prop_map(Some), 1 => Just(None)];
    (on, 1_u64..6, 1_u64..3, select(all)).prop_map(|(on, nth, count, what)| Fault {
        on,
        order: None,
        nth,
        count,
        what,
    })
}

/// An order's life: set aside, taken in part, the rest given back, and some of what was taken. What was declined is not built upon;
/// a third of the orders die before they hear of their authorisation.
async fn live(scene: &Scene, dies: bool) -> [i64; 4] {
    let mut money = [0; 4];
    let authorize = scene.request(Authorize, 1, 100);
    if dies {
        // Whoever asks gives up somewhere on the way.
        tokio::select! {
            biased;
            _ = scene.settle(&authorize) => {}
            () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
        }
        let voided = scene.settle_at_last(&scene.request(Void, 2, 100), false).await;
        let authorized = scene.settle_at_last(&authorize, true).await;
        return match (authorized, voided) {
            (PaymentOutcome::Done { .. }, PaymentOutcome::Done { .. }) => [100, 0, 100, 0],
            (PaymentOutcome::Done { .. }, _) => [100, 0, 0, 0],
            (PaymentOutcome::Declined { .. }, _) => money,
        };
    }
    let PaymentOutcome::Done { reference } = scene.settle_at_last(&authorize, false).await else {
        return money;
    };
    money[0] = 100;
    for (number, kind, amount) in [(2, Capture, 60), (3, Void, 40), (4, Refund, 10), (5, Refund, 50)] {
        if kind == Refund && money[1] == 0 {
            continue;
        }
        let mut request = scene.request(kind, number, amount);
        request.authorization = Some(reference.clone());
        if let PaymentOutcome::Done { .. } = scene.settle_at_last(&request, false).await {
            let at = PaymentKind::ALL.iter().position(|one| *one == kind).unwrap();
            money[at] += amount;
        }
    }
    money
}

proptest! {
    #[test]
    fn both_sides_have_the_same_books(faults in prop::collection::vec(fault(), 0..12), dies in prop::bool::weighted(0.3)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let scene = Scene::new();
            scene.stub.add_faults(faults).unwrap();
            let money = live(&scene, dies).await;
            assert_eq!(scene.money(), money, "{:#?}", scene.stub.requests());
            scene.is_blameless();
        });
    }
}

//! A run fails where, and only where, the server is wrong.

use std::{sync::Arc, time::Duration};

use docket_soak::{
    Chance, Load, Mode, Pace, Shape, Workload, books, drive,
    suite::{Clerk, Closing, Keepers, Model, Scene},
};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    report::outcome,
    shop::{Shop, Wrong},
};

/// Two rounds with a clerk beside them, on a shop that is wrong in this way: the model afterwards.
async fn rounds(wrong: Wrong) -> Model {
    rounds_with(wrong, 0).await
}

/// The same, where in each round the answers of so many orders are lost.
async fn rounds_with(wrong: Wrong, lost: usize) -> Model {
    let target = Shop::open(wrong).await;
    let shape = |seed| Shape {
        customers: 5,
        items: 5,
        seed,
        ..Shape::default()
    };
    let shop = Arc::new(Workload::new(shape(1)).unwrap());
    books::open(&target, &shop).await.unwrap();
    let scene = Arc::new(Scene::new(Duration::from_secs(1)));
    let mut model = Model::of(Arc::clone(&shop));
    let mut chance = Chance::new(1, 1);
    for (round, mode) in [(1, Mode::Unary), (2, Mode::Stream)] {
        let workload = Arc::new(Workload::new(shape(10 + round)).unwrap());
        // Those of the round before are of another workload.
        scene.progress.watch().unwrap().begin_anew();
        scene.allow(Some(300));
        let load = Load {
            mode,
            pace: Pace::Open { per_second: 400.0 },
            in_flight: 16,
            connections: 2,
            threads: 1,
            duration: Duration::from_secs(1),
            patience: Duration::from_secs(10),
        };
        let clerk = Clerk {
            scene: Arc::clone(&scene),
            target: target.clone(),
            shop: Arc::clone(&shop),
            workload: Arc::clone(&workload),
            round,
            memory: std::mem::take(&mut model.memory),
            changes: true,
        };
        let keepers = Keepers {
            scene: Arc::clone(&scene),
            targets: vec![target.clone()],
            workload: Arc::clone(&workload),
            round,
            carried: std::mem::take(&mut model.carried),
            paid: false,
        };
        let (stop, stopped) = oneshot::channel();
        let (stop_keepers, keepers_stopped) = watch::channel(false);
        let clerk = tokio::spawn(clerk.work(stopped));
        let keepers = tokio::spawn(keepers.work(keepers_stopped));
        let mut tally = drive(&target, &workload, &load, &scene.progress).await.unwrap();
        tally.ledger.unknown.extend((0..lost).map(|_| workload.take()));
        // The clerk has its say about every kind of thing.
        sleep(Duration::from_millis(1_200)).await;
        stop.send(()).unwrap();
        stop_keepers.send_replace(true);
        let lives = keepers.await.unwrap();
        let (done, memory) = clerk.await.unwrap().unwrap();
        model.memory = memory;
        let closing = Closing {
            workload,
            ledger: tally.ledger,
            done,
            lives,
            name: format!("round {round}"),
        };
        model
            .close(&scene, std::slice::from_ref(&target), closing, &mut chance)
            .await
            .unwrap();
    }
    model
}

/// Asserts that the run fails, and that its faults say why.
#[track_caller]
fn check(wrong: Wrong, model: Model, said: &[&str]) {
    let faults = model.faults.clone();
    for said in said {
        assert!(
            faults.told.iter().any(|fault| fault.contains(said)),
            "{wrong:?}: no `{said}` in {faults:#?}"
        );
    }
    let outcome = outcome(model, Vec::new());
    assert_eq!(outcome.passed(), said.is_empty(), "{wrong:?}: {faults:#?}");
    assert_eq!(
        outcome.to_json()["verdict"],
        if said.is_empty() { "passed" } else { "failed" }
    );
}

#[tokio::test]
async fn a_shop_that_is_right_passes_and_all_of_it_was_looked_at() {
    let model = rounds(Wrong::Nothing).await;
    let sums = model.sums;
    assert!(sums.acknowledged >= 300, "{sums:?}");
    assert_eq!(sums.acknowledged, sums.read);
    assert!(sums.cancelled > 0 && sums.looks > 100, "{sums:?}");
    assert!(
        sums.led > 5 && model.deeds["ship"] > 5,
        "{sums:?} {:?}",
        model.deeds
    );
    check(Wrong::Nothing, model, &[]);
}

#[tokio::test]
async fn a_doubled_order_fails_the_run_even_where_the_sums_hide_it() {
    let doubled = rounds(Wrong::Doubled).await;
    check(
        Wrong::Doubled,
        doubled,
        &["never acknowledged", "held", "reserved"],
    );
    let silent = rounds(Wrong::DoubledInSilence).await;
    check(Wrong::DoubledInSilence, silent, &["never acknowledged"]);
}

#[tokio::test]
async fn a_lost_order_and_a_changed_one_fail_the_run() {
    check(Wrong::Lost, rounds(Wrong::Lost).await, &["is not listed"]);
    check(
        Wrong::Changed,
        rounds(Wrong::Changed).await,
        &["must be Confirmed"],
    );
}

#[tokio::test]
async fn stock_and_money_that_are_off_by_one_fail_the_run() {
    check(Wrong::Stock, rounds(Wrong::Stock).await, &["on hand, reserved"]);
    check(Wrong::Money, rounds(Wrong::Money).await, &["balance, held"]);
}

#[tokio::test]
async fn what_is_cancelled_or_counted_in_and_not_given_back_fails_the_run() {
    check(
        Wrong::KeepsStock,
        rounds(Wrong::KeepsStock).await,
        &["on hand, reserved"],
    );
    check(
        Wrong::ForgetsStock,
        rounds(Wrong::ForgetsStock).await,
        &["on hand, reserved"],
    );
}

#[tokio::test]
async fn what_is_wrong_with_orders_that_are_led_fails_the_run() {
    for (wrong, said) in [
        (Wrong::KeepsWhatIsSent, "on hand, reserved"),
        (Wrong::ForgetsRefunds, "balance, held"),
        (Wrong::HidesShipments, "its life is not what was answered"),
    ] {
        check(wrong, rounds(wrong).await, &[said]);
    }
}

#[tokio::test]
async fn where_answers_were_lost_what_is_held_too_long_may_be_given_back_and_nothing_else_may_mend() {
    let late = rounds_with(Wrong::GivesBackLate, 1).await;
    assert_eq!(late.sums.lost_answers, 2);
    check(Wrong::GivesBackLate, late, &[]);
    let hidden = rounds_with(Wrong::HiddenAtFirst, 1).await;
    check(Wrong::HiddenAtFirst, hidden, &["is not listed"]);
    let off = rounds(Wrong::GivesBackLate).await;
    check(Wrong::GivesBackLate, off, &["on hand, reserved"]);
}

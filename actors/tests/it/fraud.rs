//! Orders that are suspect are held as they are confirmed, and say why; others are not, and nobody waits for more.

use std::sync::Arc;

use docket_actors::{Call, Docket, Options, Shipment};
use docket_engine::{Amount, ChangeKind, FraudRules, HoldReason, Order, OrderState, Quantity, Sku};

use crate::shop::{Shop, part, reason, request, small, user};

fn rules() -> FraudRules {
    FraudRules {
        threshold: 60,
        velocity_orders: 3,
        new_customer_within: 0,
        ..FraudRules::default()
    }
}

/// Places an order, and reads how it stands: whoever places it is not told that it is held.
async fn placed(shop: &Shop, id: &str, customer: &str, lines: &[(&str, i64, i64)]) -> Arc<Order> {
    let placed = shop.place(id, customer, lines).await.unwrap();
    assert_eq!(
        (placed.state, placed.active_holds().count()),
        (OrderState::Confirmed, 0)
    );
    shop.docket.get_order(Call::default(), placed.id).await.unwrap()
}

async fn shop(dir: &std::path::Path, fraud: Option<FraudRules>) -> Shop {
    Shop::open_with(Options { fraud, ..small(dir) }).await
}

async fn ship(docket: &Docket, id: docket_engine::OrderId) -> &'static str {
    let shipment = Shipment {
        lines: part(&[]),
        fulfilment: None,
        carrier: "".into(),
        tracking: "".into(),
    };
    reason(
        docket
            .ship_order(Call::default(), id, shipment, user("shop"), None)
            .await,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_that_is_one_too_many_is_held_and_a_person_lets_it_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = shop(dir.path(), Some(rules())).await;
    open.customer("ada", 1_000_000).await;
    open.customer("bob", 1_000_000).await;
    open.item("tea", 7, 1_000).await;
    let mut all = Vec::new();
    for n in 0..4 {
        all.push(placed(&open, &n.to_string(), "ada", &[("tea", 1, 7)]).await);
        // Others have their own.
        let other = placed(&open, &n.to_string(), "bob", &[("tea", 1, 7)]).await;
        assert_eq!(other.active_holds().count(), usize::from(n == 3));
    }
    let is_held: Vec<_> = all.iter().map(|order| order.active_holds().count()).collect();
    assert_eq!(is_held, [0, 0, 0, 1]);
    let last = all.pop().unwrap();
    let hold = last.active_holds().next().unwrap();
    assert_eq!(
        (last.state, hold.reason),
        (OrderState::Confirmed, HoldReason::FraudReview)
    );
    assert_eq!(&*hold.note, "score 60: 4 orders or more within 600 s (60)");
    assert_eq!(hold.by.as_str(), "docket");
    assert_eq!(ship(&open.docket, last.id).await, "ORDER_HELD");
    // The repeat of the request is answered with the order, and nothing is held twice.
    let again = placed(&open, "3", "ada", &[("tea", 1, 7)]).await;
    assert_eq!((again.id, again.state), (last.id, OrderState::Confirmed));

    open.close().await;
    open = shop(dir.path(), None).await;
    let kept = open.docket.get_order(Call::default(), last.id).await.unwrap();
    assert_eq!(kept, last);
    let free =
        open.docket
            .release_order_hold(request("ok"), last.id, HoldReason::FraudReview, user("ops"), None);
    assert_eq!(free.await.unwrap().active_holds().count(), 0);
    // Without rules nobody is held.
    let more = placed(&open, "5", "ada", &[("tea", 1, 7)]).await;
    assert_eq!(more.active_holds().count(), 0);
    open.docket.validate().unwrap();
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_or_called_off_does_not_count_for_what_a_customer_mostly_spends() {
    let dir = tempfile::tempdir().unwrap();
    let rules = FraudRules {
        velocity_score: 0,
        ..rules()
    };
    let shop = shop(dir.path(), Some(rules)).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 10, 100_000).await;
    // Large, and called off.
    let large = shop.place("large", "ada", &[("tea", 100_000, 10)]);
    let large = large.await.unwrap();
    shop.docket
        .cancel_order(Call::default(), large.id, None)
        .await
        .unwrap();
    for n in 0..3 {
        placed(&shop, &n.to_string(), "ada", &[("tea", 1, 10)]).await;
    }
    let usual = placed(&shop, "usual", "ada", &[("tea", 5, 10)]).await;
    assert_eq!(usual.active_holds().count(), 0);
    // Four orders of 20 on average.
    let odd = placed(&shop, "odd", "ada", &[("tea", 11, 10)]).await;
    let hold = odd.active_holds().next().unwrap();
    assert_eq!(
        &*hold.note,
        "score 60: 5 times what the customer mostly spends (60)"
    );
    assert_eq!(odd.total, Amount(110));
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_made_large_by_an_edit_is_held_as_one_that_was_placed_so() {
    let dir = tempfile::tempdir().unwrap();
    let rules = FraudRules {
        velocity_score: 0,
        ..rules()
    };
    let shop = shop(dir.path(), Some(rules)).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 10, 100_000).await;
    for n in 0..4 {
        placed(&shop, &n.to_string(), "ada", &[("tea", 2, 10)]).await;
    }
    let order = placed(&shop, "edited", "ada", &[("tea", 2, 10)]).await;
    let edit = async |id: &str, order: &Order, many: i64| {
        let lines = part(&[(0, many)]);
        let edited = shop
            .docket
            .edit_order(request(id), order.id, lines, user("ada"), order.version);
        edited.await.unwrap();
        shop.docket.get_order(Call::default(), order.id).await.unwrap()
    };
    // Up to five times what is usual, and less again, is nothing odd.
    let larger = edit("larger", &order, 10).await;
    assert_eq!((larger.total, larger.active_holds().count()), (Amount(100), 0));
    let less = edit("less", &larger, 9).await;
    let odd = edit("odd", &less, 11).await;
    assert_eq!((odd.total, odd.state), (Amount(110), OrderState::Confirmed));
    let hold = odd.active_holds().next().unwrap();
    assert_eq!(
        (hold.reason, hold.by.as_str(), &*hold.note),
        (
            HoldReason::FraudReview,
            "docket",
            "score 60: 5 times what the customer mostly spends (60)"
        )
    );
    assert_eq!(ship(&shop.docket, odd.id).await, "ORDER_HELD");
    let changes = odd.changes(docket_engine::Version(0), 100).unwrap();
    let [.., edited, held] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!((edited.kind, held.kind), (ChangeKind::Edited, ChangeKind::Held));
    assert_eq!(held.details.note.as_deref(), Some(&*hold.note));
    // Whoever asks again for it holds nothing twice; and it is held once, however large it becomes.
    let again = edit("odd", &less, 11).await;
    assert_eq!(again, odd);
    let huge = edit("huge", &odd, 50).await;
    assert_eq!(huge.active_holds().count(), 1);
    let free =
        shop.docket
            .release_order_hold(request("ok"), odd.id, HoldReason::FraudReview, user("ops"), None);
    // What costs less than a person has let go is let go.
    let free = free.await.unwrap();
    let smaller = edit("smaller", &free, 40).await;
    assert_eq!(smaller.active_holds().count(), 0);
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_order_of_a_new_customer_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let rules = FraudRules {
        threshold: 60,
        ..FraudRules::default()
    };
    let shop = shop(dir.path(), Some(rules)).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("pot", 25_000, 100).await;
    let small = placed(&shop, "small", "ada", &[("pot", 1, 25_000)]).await;
    assert_eq!(small.active_holds().count(), 0);
    let large = placed(&shop, "large", "ada", &[("pot", 2, 25_000)]).await;
    let note = large.active_holds().next().unwrap().note.clone();
    assert!(
        note.starts_with("score 60: large, of a customer that is "),
        "{note}"
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_waits_for_stock_is_held_against_the_rules_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let rules = FraudRules {
        threshold: 60,
        new_customer_amount: Amount(400),
        ..FraudRules::default()
    };
    let shop = shop(dir.path(), Some(rules)).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 10, 5).await;
    let limit = Some(Quantity(100));
    let updated = shop
        .docket
        .update_item(Call::default(), Sku::new("tea").unwrap(), None, None, limit, None);
    updated.await.unwrap();
    let small = placed(&shop, "small", "ada", &[("tea", 1, 10)]).await;
    assert_eq!(small.active_holds().count(), 0);
    let edited = shop.docket.edit_order(
        request("edit"),
        small.id,
        part(&[(0, 50)]),
        user("ada"),
        small.version,
    );
    edited.await.unwrap();
    let large = shop.docket.get_order(Call::default(), small.id).await.unwrap();
    assert!(large.is_backordered());
    let kinds: Vec<_> = large.changes(docket_engine::Version(0), 100).unwrap();
    let kinds: Vec<_> = kinds.iter().rev().take(3).map(|change| change.kind).collect();
    assert_eq!(
        kinds,
        [ChangeKind::Held, ChangeKind::Backordered, ChangeKind::Edited]
    );
    assert_eq!(large.active_holds().count(), 1);
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_come_while_it_runs_hold_the_next_order_and_none_when_they_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path(), None).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("pot", 25_000, 100).await;
    let rules = FraudRules {
        threshold: 60,
        ..FraudRules::default()
    };
    for (id, rules, held) in [("one", None, 0), ("two", Some(rules), 1), ("three", None, 0)] {
        shop.docket.set_fraud_rules(rules);
        let order = placed(&shop, id, "ada", &[("pot", 2, 25_000)]).await;
        assert_eq!(order.active_holds().count(), held, "{id}");
    }
    shop.close().await;
}

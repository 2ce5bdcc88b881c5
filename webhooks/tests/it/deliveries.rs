//! What is delivered, to whom, and that nothing is missed.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{
    ChangeKind, CustomerId, OrderState,
    webhook::{WebhookFilter, WebhookRequest, WebhookSecret},
};
use docket_webhooks::{WebhookOptions, sign};

use crate::{
    receiver::{Got, Receiver, Reply},
    shop::{HOUR, Shop, lenient},
};

/// What came of each order, in the order in which it came: its versions.
fn by_order(got: &[Got]) -> BTreeMap<String, Vec<u64>> {
    let mut orders = BTreeMap::<_, Vec<_>>::new();
    for got in got {
        let (order, version) = got.id.split_once('-').unwrap();
        orders
            .entry(order.to_owned())
            .or_default()
            .push(version.parse().unwrap());
    }
    orders
}

fn ids(got: &[Got]) -> BTreeSet<String> {
    got.iter().map(|got| got.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_delivered_signed_and_recorded_as_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let before = shop.place("ada").await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    let order = shop.place("ada").await;
    shop.cancel(&order).await;
    let is_of = |got: &Got| got.id.starts_with(&order.id.to_string());
    let all = receiver
        .until(|got| got.iter().filter(|got| is_of(got)).count() >= 4)
        .await;
    assert!(
        !ids(&all).contains(&format!("{}-1", before.id)),
        "what was before is not told"
    );
    // That it was confirmed is recorded behind the answer, which may be behind the webhook.
    let got: Vec<Got> = all.into_iter().filter(|got| is_of(got)).collect();
    assert_eq!(
        by_order(&got),
        BTreeMap::from([(order.id.to_string(), vec![1, 2, 3, 4])])
    );
    let types: Vec<_> = got
        .iter()
        .map(|got| got.json()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        types,
        [
            "docket.order.placed",
            "docket.order.confirmed",
            "docket.order.cancelled",
            "docket.order.released"
        ]
    );
    for got in &got {
        assert_eq!(
            got.header("content-type"),
            "application/cloudevents+json; charset=utf-8"
        );
        assert_eq!(got.json()["id"], got.id.as_str());
        let at: i64 = got.header("webhook-timestamp").parse().unwrap();
        assert!((shop.clock.now().0 / 1_000_000 - at).abs() < 30);
        assert_eq!(
            got.header("webhook-signature"),
            sign(&[7; 32], &got.id, at, &got.body)
        );
    }
    assert_eq!(got[0].json()["data"]["order"]["state"], "PENDING");
    let recorded = shop.until(webhook, |webhook| webhook.delivered >= 4).await;
    assert!(recorded.deferred.is_empty() && recorded.last_delivered.is_some());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_filter_lets_through_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada", "bob"]).await;
    let receivers = [
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    ];
    let of_ada = WebhookFilter {
        customer: Some(CustomerId::new("ada").unwrap()),
        ..WebhookFilter::default()
    };
    let cancelled = WebhookFilter {
        states: [OrderState::Cancelled].into(),
        ..WebhookFilter::default()
    };
    let confirmed = WebhookFilter {
        kinds: [ChangeKind::Confirmed].into(),
        ..WebhookFilter::default()
    };
    for (i, (receiver, filter)) in receivers.iter().zip([of_ada, cancelled, confirmed]).enumerate() {
        // Ids here go by the URL's length.
        let url = format!("{}{}", receiver.url(), "x".repeat(i));
        shop.webhook_with(&url, filter).await;
    }
    let ada = shop.place("ada").await;
    let bob = shop.place("bob").await;
    shop.cancel(&bob).await;
    let [of_ada, cancelled, confirmed] = &receivers;
    let got = of_ada.until(|got| got.len() >= 2).await;
    assert_eq!(by_order(&got), BTreeMap::from([(ada.id.to_string(), vec![1, 2])]));
    let got = cancelled.until(|got| got.len() >= 2).await;
    assert_eq!(by_order(&got), BTreeMap::from([(bob.id.to_string(), vec![3, 4])]));
    let got = confirmed.until(|got| got.len() >= 2).await;
    let both = BTreeMap::from([(ada.id.to_string(), vec![2]), (bob.id.to_string(), vec![2])]);
    assert_eq!(by_order(&got), both);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_delivers_next_goes_on_from_what_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    let first = shop.place("ada").await;
    shop.until(webhook, |webhook| webhook.delivered == 2).await;
    // From here on nothing is recorded: the node delivers, and stops before it could.
    shop.stop_delivering();
    let second = shop.place("ada").await;
    shop.close().await;
    let mut shop = Shop::open(dir.path()).await;
    let third = shop.place("ada").await;
    let got = receiver.until(|got| ids(got).len() >= 6).await;
    for order in [&first, &second, &third] {
        for version in 1..=2 {
            assert!(ids(&got).contains(&format!("{}-{version}", order.id)));
        }
    }
    let of_first = got
        .iter()
        .filter(|got| got.id.starts_with(&first.id.to_string()))
        .count();
    assert_eq!(of_first, 2, "what was recorded as delivered does not come again");
    // Killed between the delivery and the record of it: it comes again, under the same id.
    shop.until(webhook, |webhook| webhook.delivered == 6).await;
    let fourth = shop.place("ada").await;
    receiver.until(|got| ids(got).len() >= 8).await;
    shop.stop_delivering();
    if shop.look(webhook).delivered == 6 {
        shop.deliver();
        let id = format!("{}-2", fourth.id);
        receiver
            .until(|got| got.iter().filter(|got| got.id == id).count() == 2)
            .await;
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_sign_during_the_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    shop.ask(WebhookRequest::RotateSecret {
        webhook,
        expected: None,
        secret: WebhookSecret([9; 32]),
        overlap_us: HOUR,
    })
    .await;
    shop.place("ada").await;
    let got = receiver.until(|got| got.len() >= 2).await;
    let signatures = |got: &Got, secrets: &[u8]| {
        let at: i64 = got.header("webhook-timestamp").parse().unwrap();
        let of = secrets.iter().map(|n| sign(&[*n; 32], &got.id, at, &got.body));
        of.collect::<Vec<_>>().join(" ")
    };
    for got in &got {
        assert_eq!(got.header("webhook-signature"), signatures(got, &[9, 7]));
    }
    shop.clock.advance(HOUR);
    shop.place("ada").await;
    let got = receiver.until(|got| got.len() >= 4).await;
    for got in &got[2..] {
        assert_eq!(got.header("webhook-signature"), signatures(got, &[9]));
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_webhook_is_told_what_it_missed_when_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    shop.place("ada").await;
    shop.until(webhook, |webhook| webhook.delivered == 2).await;
    shop.pause(webhook, true).await;
    let missed = shop.place("ada").await;
    shop.pause(webhook, false).await;
    let got = receiver.until(|got| got.len() >= 4).await;
    assert_eq!(by_order(&got)[&missed.id.to_string()], [1, 2]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_again_from_a_time_or_a_position_on() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    let first = shop.place("ada").await;
    let behind_first = shop.until(webhook, |webhook| webhook.delivered == 2).await;
    let second = shop.place("ada").await;
    shop.until(webhook, |webhook| webhook.delivered == 4).await;
    shop.ask(WebhookRequest::ReplayFrom {
        webhook,
        positions: behind_first.positions.clone(),
        since: None,
    })
    .await;
    let got = receiver.until(|got| got.len() >= 6).await;
    assert_eq!(by_order(&got)[&second.id.to_string()], [1, 2, 1, 2]);
    assert_eq!(by_order(&got)[&first.id.to_string()], [1, 2]);
    shop.ask(WebhookRequest::ReplayFrom {
        webhook,
        positions: shop.positions_since(second.created).await,
        since: Some(second.created),
    })
    .await;
    let got = receiver.until(|got| got.len() >= 8).await;
    assert_eq!(by_order(&got)[&second.id.to_string()], [1, 2, 1, 2, 1, 2]);
    let third = shop.place("ada").await;
    let got = receiver.until(|got| ids(got).len() >= 6).await;
    assert_eq!(by_order(&got)[&third.id.to_string()], [1, 2]);
    assert_eq!(by_order(&got)[&first.id.to_string()], [1, 2]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_a_time_passes_over_nothing_that_was_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    let told = shop.place("ada").await;
    shop.until(webhook, |webhook| webhook.delivered == 2).await;
    shop.pause(webhook, true).await;
    let missed = shop.place("ada").await;
    let later = shop.place("ada").await;
    shop.ask(WebhookRequest::ReplayFrom {
        webhook,
        positions: shop.positions_since(later.created).await,
        since: Some(later.created),
    })
    .await;
    shop.pause(webhook, false).await;
    let got = receiver.until(|got| ids(got).len() >= 6).await;
    for (order, times) in [(told, [1, 2]), (missed, [1, 2]), (later, [1, 2])] {
        assert_eq!(by_order(&got)[&order.id.to_string()], times);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_any_more_is_a_gap_that_is_shown_and_the_rest_comes() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(dir.path(), lenient(), |options| {
        options.feed.retained_max = 4;
    })
    .await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    shop.pause(webhook, true).await;
    for _ in 0..10 {
        shop.place("ada").await;
    }
    let last = shop.place("ada").await;
    shop.pause(webhook, false).await;
    let gap = shop.until(webhook, |webhook| webhook.gaps == 1).await;
    assert!(gap.last_gap.is_some());
    let id = format!("{}-2", last.id);
    let got = receiver.until(|got| ids(got).contains(&id)).await;
    assert!(ids(&got).len() <= 5, "only what is kept can come");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_nothing_holds_up_no_order() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_, _| Reply::Silence);
    let webhook = shop.webhook(&receiver.url()).await;
    // More than may wait for the receiver: were orders to wait for it, each would take a second and more.
    let begun = std::time::Instant::now();
    for _ in 0..700 {
        shop.place("ada").await;
    }
    let took = begun.elapsed();
    assert!(took.as_secs() < 60, "700 orders took {took:?}");
    shop.until(webhook, |webhook| !webhook.deferred.is_empty()).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_options_are_gone_by_from_the_next_delivery_on() {
    let dir = tempfile::tempdir().unwrap();
    let guarded = WebhookOptions {
        allow_private: false,
        ..lenient()
    };
    let shop = Shop::open_with(dir.path(), guarded, |_| {}).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    let webhook = shop.webhook(&receiver.url()).await;
    shop.place("ada").await;
    shop.until(webhook, |webhook| !webhook.deferred.is_empty()).await;
    assert!(receiver.got().is_empty());
    let deliverer = shop.deliverer.as_ref().unwrap();
    deliverer.set_options(&lenient()).unwrap();
    let order = shop.place("ada").await;
    let is_of = |got: &Got| got.id.starts_with(&order.id.to_string());
    receiver.until(|got| got.iter().any(is_of)).await;
    // What cannot be used changes nothing.
    let broken = WebhookOptions {
        ca: Some("/gone.pem".into()),
        ..lenient()
    };
    assert!(deliverer.set_options(&broken).is_err());
    let order = shop.place("ada").await;
    let is_of = |got: &Got| got.id.starts_with(&order.id.to_string());
    receiver.until(|got| got.iter().any(is_of)).await;
    shop.close().await;
}

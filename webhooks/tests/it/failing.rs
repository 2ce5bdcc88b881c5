//! What fails is tried again, and is given up in the end.

use docket_engine::webhook::{DeliveryFailure, FeedPositions, PauseCause, WebhookRequest};
use docket_webhooks::WebhookOptions;

use crate::{
    receiver::{Receiver, Reply},
    shop::{HOUR, Shop, lenient},
};

const S: i64 = 1_000_000;

/// Moves the clock on until a webhook's deliveries, which fail, are given up.
async fn until_dead(shop: &Shop, webhook: docket_engine::webhook::WebhookId, letters: usize) {
    loop {
        let now = shop.look(webhook);
        if now.dead.len() >= letters {
            return;
        }
        if let Some(due) = now.deferred.values().map(|deferred| deferred.due).min() {
            let ahead = due.0 - shop.clock.now().0;
            shop.clock.advance(ahead.max(0));
        }
        let before = now;
        shop.until(webhook, |now| {
            (&now.deferred, &now.dead) != (&before.deferred, &before.dead)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_fails_is_tried_again_and_others_go_on_meanwhile() {
    for reply in [
        Reply::status(500),
        Reply::status(302),
        Reply::Silence,
        Reply::Drop,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let shop = Shop::open(dir.path()).await;
        shop.stock(&["ada"]).await;
        let receiver = Receiver::start().await;
        let failing = shop.place("ada").await;
        let webhook = shop.webhook(&receiver.url()).await;
        shop.cancel(&failing).await;
        let id = format!("{}-3", failing.id);
        let (of, kind) = (id.clone(), reply.clone());
        receiver.answers(move |id, before| match *id == *of && before == 0 {
            true => kind.clone(),
            false => Reply::ok(),
        });
        let later = shop.place("ada").await;
        let recorded = shop
            .until(webhook, |webhook| {
                webhook.deferred.len() + webhook.delivered as usize >= 4
            })
            .await;
        // It may have been delivered before the receiver was told to refuse it.
        if let Some((_, deferred)) = recorded.deferred.iter().next() {
            let expected = match reply {
                Reply::Status(status, _) => DeliveryFailure::Status(status),
                Reply::Silence => DeliveryFailure::TimedOut,
                Reply::Drop => DeliveryFailure::NotConnected,
            };
            assert_eq!((deferred.failure, deferred.failures), (expected, 1));
            shop.clock.advance(6 * S);
            let settled = shop.until(webhook, |webhook| webhook.deferred.is_empty()).await;
            assert!(settled.dead.is_empty());
            let got = receiver.got();
            assert_eq!(got.iter().filter(|got| got.id == id).count(), 2, "{reply:?}");
            let (at, latest) = (format!("{}-2", later.id), got.len() - 1);
            assert!(
                got.iter().position(|got| got.id == at).unwrap() < latest,
                "what came later did not wait"
            );
        }
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_day_is_a_dead_letter_that_can_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_, _| Reply::status(503));
    let webhook = shop.webhook(&receiver.url()).await;
    let begun = shop.clock.now();
    let order = shop.place("ada").await;
    until_dead(&shop, webhook, 2).await;
    let elapsed = shop.clock.now().0 - begun.0;
    assert!((20 * HOUR..=25 * HOUR).contains(&elapsed), "{elapsed}");
    let dead = shop.look(webhook);
    assert!(dead.deferred.is_empty() && dead.delivered == 0);
    let letter = dead.dead.values().next().unwrap();
    assert_eq!(letter.failure, DeliveryFailure::Status(503));
    assert!(letter.failures > 10, "{letter:?}");
    receiver.answers(|_, _| Reply::ok());
    shop.replay_dead(webhook).await;
    let settled = shop.until(webhook, |webhook| webhook.delivered == 2).await;
    assert!(settled.dead.is_empty() && settled.deferred.is_empty());
    let got = receiver.got();
    let last = got
        .iter()
        .rfind(|got| got.id == format!("{}-1", order.id))
        .unwrap();
    assert_eq!(last.status, 204);
    // The order as it was then, not as it is by now.
    assert_eq!(last.json()["data"]["order"]["state"], "PENDING");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_ask_to_be_tried_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_, _| Reply::Status(429, vec![("retry-after", "3600".to_owned())]));
    let webhook = shop.webhook(&receiver.url()).await;
    shop.place("ada").await;
    let now = shop.until(webhook, |webhook| webhook.deferred.len() == 2).await;
    for deferred in now.deferred.values() {
        let wait = deferred.due.0 - deferred.first.0;
        assert_eq!(wait, HOUR);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_told_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_, _| Reply::status(410));
    let webhook = shop.webhook(&receiver.url()).await;
    let order = shop.place("ada").await;
    shop.until(webhook, |webhook| webhook.paused == Some(PauseCause::Gone))
        .await;
    receiver.answers(|_, _| Reply::ok());
    shop.pause(webhook, false).await;
    shop.clock.advance(HOUR);
    receiver
        .until(|got| {
            (1..=2).all(|version| {
                got.iter()
                    .any(|got| got.id == format!("{}-{version}", order.id) && got.status == 204)
            })
        })
        .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_tried_again_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_, _| Reply::status(500));
    let webhook = shop.webhook(&receiver.url()).await;
    shop.place("ada").await;
    let before = shop.until(webhook, |webhook| webhook.deferred.len() == 2).await;
    shop.stop_delivering();
    shop.close().await;
    receiver.answers(|_, _| Reply::ok());
    let shop = Shop::open(dir.path()).await;
    assert_eq!(shop.look(webhook).deferred, before.deferred);
    shop.clock.advance(HOUR);
    shop.until(webhook, |webhook| {
        webhook.deferred.is_empty() && webhook.delivered == 2
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_though_the_feed_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.stock(&["ada"]).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_, _| Reply::status(503));
    let webhook = shop.webhook(&receiver.url()).await;
    shop.place("ada").await;
    shop.until(webhook, |webhook| webhook.deferred.len() == 2).await;
    // A position of no shard: as where a shard has no leader, it cannot begin.
    shop.ask(WebhookRequest::ReplayFrom {
        webhook,
        positions: FeedPositions([(0, 0)].into()),
        since: None,
    })
    .await;
    receiver.answers(|_, _| Reply::ok());
    shop.clock.advance(6 * S);
    let settled = shop.until(webhook, |webhook| webhook.deferred.is_empty()).await;
    assert_eq!((settled.delivered, settled.dead.len(), settled.gaps), (2, 0, 0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_nothing_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let options = WebhookOptions {
        in_flight_max: 2,
        // Longer than any test: what it holds it keeps.
        timeout_ms: 300_000,
        ..lenient()
    };
    let shop = Shop::open_with(dir.path(), options, |_| {}).await;
    shop.stock(&["ada"]).await;
    let (dead, well) = (Receiver::start().await, Receiver::start().await);
    dead.answers(|_, _| Reply::Silence);
    let silent = shop.webhook(&dead.url()).await;
    // Here a webhook's id is of the length of its URL.
    let answering = shop.webhook(&format!("{}/well", well.url())).await;
    for _ in 0..4 {
        shop.place("ada").await;
    }
    shop.until(answering, |webhook| webhook.delivered == 8).await;
    let silent = shop.look(silent);
    assert_eq!(
        (silent.delivered, silent.deferred.len()),
        (0, 0),
        "it has not even failed"
    );
    shop.close().await;
}

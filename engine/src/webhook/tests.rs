use super::limits::{
    DEAD_LETTERS_MAX, OLD_SECRETS_MAX, REQUESTS_KEPT_US, REQUESTS_MAX, RETRIED_FOR_US, RETRIES_MAX,
    WEBHOOKS_MAX,
};
use super::*;
use crate::{ChangeKind, OrderId, Request, Time, Version};

const S: i64 = 1_000_000;

fn webhook_id(n: u8) -> WebhookId {
    WebhookId([n; 12])
}

fn positions(index: u64) -> FeedPositions {
    FeedPositions([(index, 0), (index, 0)].into())
}

fn new(n: u8) -> NewWebhook {
    NewWebhook {
        id: webhook_id(n),
        secret: WebhookSecret([n; 32]),
        url: "https://shop.example/hook".into(),
        description: "the shop".into(),
        filter: WebhookFilter::default(),
        positions: positions(1),
    }
}

fn id(n: u64) -> DeliveryId {
    DeliveryId {
        order: OrderId(u128::from(n)),
        version: Version(2),
    }
}

fn outcome(n: u64, attempt: Attempt) -> Outcome {
    Outcome {
        id: id(n),
        kind: ChangeKind::Confirmed,
        at: Time(1),
        attempt,
    }
}

fn failed() -> Attempt {
    Attempt::Failed {
        failure: DeliveryFailure::Status(500),
        retry_after_us: None,
        jitter: 0,
    }
}

fn progress(positions: Option<FeedPositions>, outcomes: Vec<Outcome>) -> Progress {
    Progress {
        webhook: webhook_id(1),
        epoch: 1,
        positions,
        delivered: 0,
        outcomes,
        is_gone: false,
        is_gap: false,
    }
}

/// A state with its clock.
struct Shop {
    state: WebhookState,
    now: i64,
}

impl Shop {
    /// With one webhook.
    fn new() -> Self {
        let mut shop = Self {
            state: WebhookState::default(),
            now: 1,
        };
        shop.done(WebhookRequest::Create(new(1)));
        shop
    }

    fn ask(
        &mut self,
        request: WebhookRequest,
        request_id: Option<Request>,
    ) -> Result<WebhookId, WebhookRejection> {
        let command = WebhookCommand {
            time: Time(self.now),
            request_id,
            request,
        };
        let (webhook, record) = self.state.decide(&command)?;
        if let Some(record) = record {
            self.state.apply(&record).unwrap();
            self.state.validate().unwrap();
            assert!(!self.state.fits(&record), "a record fits once");
        }
        Ok(webhook)
    }

    #[track_caller]
    fn done(&mut self, request: WebhookRequest) {
        self.ask(request, None).unwrap();
    }

    #[track_caller]
    fn fails(&mut self, n: u64) {
        self.done(WebhookRequest::Progress(progress(
            None,
            vec![outcome(n, failed())],
        )));
    }

    fn webhook(&self) -> &Webhook {
        self.state.webhook(webhook_id(1)).unwrap()
    }
}

#[test]
fn a_position_moves_with_what_came_of_all_before_it_in_one_record() {
    let mut shop = Shop::new();
    let mut recorded = progress(Some(positions(9)), vec![outcome(1, failed())]);
    recorded.delivered = 3;
    shop.done(WebhookRequest::Progress(recorded));
    let webhook = shop.webhook();
    assert_eq!((webhook.positions.clone(), webhook.delivered), (positions(9), 3));
    let deferred = webhook.deferred[&id(1)];
    assert_eq!(
        (deferred.failures, deferred.due, deferred.first),
        (1, Time(1 + 5 * S), Time(1))
    );
    assert_eq!(shop.state.version(), Version(2));
}

#[test]
fn what_was_begun_before_a_replay_does_not_move_the_webhook() {
    let mut shop = Shop::new();
    shop.done(WebhookRequest::ReplayFrom {
        webhook: webhook_id(1),
        positions: positions(0),
        since: Some(Time(5)),
    });
    shop.done(WebhookRequest::Progress(progress(
        Some(positions(9)),
        vec![outcome(1, failed())],
    )));
    let webhook = shop.webhook();
    assert_eq!(
        (webhook.epoch, webhook.positions.clone(), webhook.since),
        (2, positions(0), None)
    );
    assert_eq!(
        webhook.deferred.len(),
        1,
        "what failed is tried again all the same"
    );
}

#[test]
fn a_delivery_is_tried_again_for_a_day_and_is_a_dead_letter_then() {
    let mut shop = Shop::new();
    let mut tries = 0;
    while shop.webhook().dead.is_empty() {
        shop.fails(1);
        tries += 1;
        if let Some(deferred) = shop.webhook().deferred.get(&id(1)) {
            assert!(deferred.due.0 <= 1 + RETRIED_FOR_US, "{tries}");
            shop.now = deferred.due.0;
        }
    }
    let letter = shop.webhook().dead[&id(1)];
    assert_eq!((letter.failures, letter.first, tries), (19, Time(1), 19));
    assert!(
        letter.died.0 > RETRIED_FOR_US - 2 * 3_600 * S,
        "the last try is near the end"
    );
    assert!(shop.webhook().deferred.is_empty());
    assert_eq!(
        shop.webhook().last_failure,
        Some((letter.died, DeliveryFailure::Status(500)))
    );
}

#[test]
fn what_is_delivered_at_last_is_settled_once() {
    let mut shop = Shop::new();
    shop.fails(1);
    let delivered = WebhookRequest::Progress(progress(None, vec![outcome(1, Attempt::Delivered)]));
    shop.done(delivered.clone());
    assert!(shop.webhook().deferred.is_empty());
    let version = shop.state.version();
    shop.done(delivered);
    assert_eq!(
        shop.state.version(),
        version,
        "what is known already is no record"
    );
    assert_eq!(shop.webhook().delivered, 1);
}

#[test]
fn where_there_is_no_room_to_defer_a_failure_is_a_dead_letter_and_the_oldest_are_forgotten() {
    let mut shop = Shop::new();
    let fail = |from: u64, to: u64| (from..to).map(|n| outcome(n, failed())).collect();
    shop.done(WebhookRequest::Progress(progress(
        None,
        fail(0, RETRIES_MAX as u64 + 1),
    )));
    assert_eq!(
        (shop.webhook().deferred.len(), shop.webhook().dead.len()),
        (RETRIES_MAX, 1)
    );
    assert_eq!(shop.webhook().room(), 0);
    shop.now += S;
    let more = (RETRIES_MAX + 1 + DEAD_LETTERS_MAX) as u64;
    shop.done(WebhookRequest::Progress(progress(
        None,
        fail(RETRIES_MAX as u64 + 1, more),
    )));
    assert_eq!(
        (shop.webhook().dead.len(), shop.webhook().dead_forgotten),
        (DEAD_LETTERS_MAX, 1)
    );
    assert!(!shop.webhook().dead.contains_key(&id(RETRIES_MAX as u64)));
    let all = WebhookRequest::ReplayDead {
        webhook: webhook_id(1),
        letters: DeadLetters::All,
    };
    assert_eq!(shop.ask(all, None), Err(WebhookRejection::TooManyRetries));
}

#[test]
fn a_dead_letter_is_replayed_by_its_id_or_with_all() {
    let mut shop = Shop::new();
    for n in 1..=3 {
        while shop.webhook().dead.len() < n as usize {
            shop.fails(n);
            shop.now += 2 * 3_600 * S;
        }
    }
    let replay = |letters| WebhookRequest::ReplayDead {
        webhook: webhook_id(1),
        letters,
    };
    let unknown = replay(DeadLetters::These(vec![id(1), id(9)]));
    assert_eq!(shop.ask(unknown, None), Err(WebhookRejection::DeadLetterNotFound));
    shop.done(replay(DeadLetters::These(vec![id(2), id(2)])));
    let webhook = shop.webhook();
    assert_eq!((webhook.dead.len(), webhook.deferred.len()), (2, 1));
    let deferred = webhook.deferred[&id(2)];
    assert_eq!(
        (deferred.failures, deferred.due, deferred.first),
        (0, Time(shop.now), Time(shop.now))
    );
    shop.done(replay(DeadLetters::All));
    assert_eq!(shop.webhook().deferred.len(), 3);
    shop.done(replay(DeadLetters::All));
    // Delivered again after it had died once more, while somebody replayed from the feed.
    shop.done(WebhookRequest::Progress(progress(
        None,
        vec![outcome(1, Attempt::Delivered)],
    )));
    assert_eq!(shop.webhook().deferred.len(), 2);
}

#[test]
fn both_secrets_sign_during_the_overlap_and_one_after_it() {
    let mut shop = Shop::new();
    let rotate = |n: u8, overlap_us| WebhookRequest::RotateSecret {
        webhook: webhook_id(1),
        expected: None,
        secret: WebhookSecret([n; 32]),
        overlap_us,
    };
    shop.done(rotate(2, 60 * S));
    let signing = |shop: &Shop, at: i64| -> Vec<u8> {
        shop.webhook()
            .secrets(Time(at))
            .map(|secret| secret.0[0])
            .collect()
    };
    assert_eq!(signing(&shop, shop.now), [2, 1]);
    assert_eq!(signing(&shop, shop.now + 60 * S), [2]);
    shop.done(rotate(3, 0));
    assert_eq!(signing(&shop, shop.now), [3, 1]);
    for n in 4..20 {
        shop.done(rotate(n, 60 * S));
    }
    assert_eq!(shop.webhook().old_secrets.len(), OLD_SECRETS_MAX);
    assert_eq!(signing(&shop, shop.now), [19, 18, 17, 16, 15]);
}

#[test]
fn a_webhook_is_changed_at_the_revision_that_was_seen_only() {
    let mut shop = Shop::new();
    let update = |expected, paused| WebhookRequest::Update {
        webhook: webhook_id(1),
        expected,
        change: WebhookChange {
            paused: Some(paused),
            ..WebhookChange::default()
        },
    };
    shop.done(update(Some(1), true));
    assert_eq!(
        (shop.webhook().paused, shop.webhook().revision),
        (Some(PauseCause::Asked), 2)
    );
    assert_eq!(
        shop.ask(update(Some(1), false), None),
        Err(WebhookRejection::StaleEtag)
    );
    // The same once more changes nothing.
    shop.done(update(Some(2), true));
    shop.done(update(Some(2), false));
    assert_eq!((shop.webhook().paused, shop.webhook().revision), (None, 3));
    let delete = |expected| WebhookRequest::Delete {
        webhook: webhook_id(1),
        expected,
    };
    assert_eq!(shop.ask(delete(Some(2)), None), Err(WebhookRejection::StaleEtag));
    shop.done(delete(None));
    assert_eq!(shop.ask(delete(None), None), Err(WebhookRejection::NotFound));
    assert_eq!(shop.state.webhooks().len(), 0);
}

#[test]
fn another_customer_begins_elsewhere_and_other_states_do_not() {
    let mut shop = Shop::new();
    let update = |filter: WebhookFilter| WebhookRequest::Update {
        webhook: webhook_id(1),
        expected: None,
        change: WebhookChange {
            filter: Some((filter, Some(FeedPositions([(7, 0)].into())))),
            ..WebhookChange::default()
        },
    };
    let kinds = WebhookFilter {
        kinds: [ChangeKind::Shipped].into(),
        ..WebhookFilter::default()
    };
    shop.done(update(kinds));
    assert_eq!(
        (shop.webhook().epoch, shop.webhook().positions.clone()),
        (1, positions(1))
    );
    let ada = WebhookFilter {
        customer: Some("ada".parse().unwrap()),
        ..WebhookFilter::default()
    };
    shop.done(update(ada));
    assert_eq!((shop.webhook().epoch, shop.webhook().positions.0.len()), (2, 1));
}

#[test]
fn a_receiver_that_is_gone_pauses_its_webhook_and_a_gap_is_shown() {
    let mut shop = Shop::new();
    let mut gone = progress(None, vec![outcome(1, failed())]);
    gone.is_gone = true;
    shop.done(WebhookRequest::Progress(gone));
    assert_eq!(shop.webhook().paused, Some(PauseCause::Gone));
    assert_eq!(shop.webhook().deferred.len(), 1);
    let mut gap = progress(Some(positions(40)), Vec::new());
    gap.is_gap = true;
    shop.done(WebhookRequest::Progress(gap));
    let webhook = shop.webhook();
    assert_eq!(
        (webhook.gaps, webhook.last_gap, webhook.epoch),
        (1, Some(Time(1)), 2)
    );
}

#[test]
fn a_request_is_done_once_and_remembered_for_a_day() {
    let mut shop = Shop::new();
    let request = |key, fingerprint| Some(Request { key, fingerprint });
    let asked = WebhookRequest::Create(new(2));
    assert_eq!(shop.ask(asked, request(1, 1)), Ok(webhook_id(2)));
    // The repeat has drawn another id, and is answered with the first.
    let repeat = WebhookRequest::Create(new(3));
    assert_eq!(shop.ask(repeat.clone(), request(1, 1)), Ok(webhook_id(2)));
    assert_eq!(shop.state.webhooks().len(), 2);
    assert_eq!(
        shop.ask(repeat.clone(), request(1, 2)),
        Err(WebhookRejection::RequestIdReused)
    );
    shop.now += REQUESTS_KEPT_US;
    let pause = WebhookRequest::Update {
        webhook: webhook_id(1),
        expected: None,
        change: WebhookChange::default(),
    };
    // What changes nothing is remembered too.
    shop.ask(pause.clone(), request(2, 2)).unwrap();
    assert_eq!(shop.ask(repeat, request(1, 1)), Ok(webhook_id(3)));
    for key in 0..2 * REQUESTS_MAX as u128 {
        shop.ask(pause.clone(), request(1_000 + key, 3)).unwrap();
    }
    assert_eq!(shop.state.requests().len(), REQUESTS_MAX);
}

#[test]
fn there_are_so_many_webhooks_and_no_more() {
    let mut shop = Shop::new();
    for n in 2..=WEBHOOKS_MAX as u8 {
        shop.done(WebhookRequest::Create(new(n)));
    }
    let one_more = WebhookRequest::Create(new(200));
    assert_eq!(shop.ask(one_more, None), Err(WebhookRejection::TooMany));
    let mut shop = Shop::new();
    assert_eq!(
        shop.ask(WebhookRequest::Create(new(1)), None),
        Err(WebhookRejection::IdTaken)
    );
}

#[test]
fn time_does_not_go_back() {
    let mut shop = Shop::new();
    shop.now = 100 * S;
    shop.fails(1);
    shop.now = 1;
    shop.fails(2);
    assert_eq!(shop.webhook().deferred[&id(2)].first, Time(100 * S));
    assert_eq!(shop.state.last_time(), Time(100 * S));
}

#[test]
fn what_was_tried_twice_at_once_counts_once_and_has_arrived_if_it_did_either_time() {
    let arrived = Attempt::Delivered;
    for (first, second) in [
        (arrived, arrived),
        (arrived, failed()),
        (failed(), arrived),
        (failed(), failed()),
    ] {
        let mut shop = Shop::new();
        shop.fails(1);
        let both = vec![outcome(1, first), outcome(2, failed()), outcome(1, second)];
        shop.done(WebhookRequest::Progress(progress(None, both)));
        let has_arrived = first == arrived || second == arrived;
        let failures = shop
            .webhook()
            .deferred
            .get(&id(1))
            .map(|deferred| deferred.failures);
        assert_eq!(failures, (!has_arrived).then_some(2), "{first:?}, {second:?}");
        assert!(shop.webhook().deferred.contains_key(&id(2)));
    }
}

#[test]
fn a_replay_passes_over_nothing_that_was_not_gone_through_yet() {
    let mut shop = Shop::new();
    shop.done(WebhookRequest::Progress(progress(Some(positions(5)), Vec::new())));
    for (asked, then) in [(9, 5), (3, 3)] {
        shop.done(WebhookRequest::ReplayFrom {
            webhook: webhook_id(1),
            positions: positions(asked),
            since: None,
        });
        assert_eq!(shop.webhook().positions, positions(then));
    }
}

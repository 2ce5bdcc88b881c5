use bytes::Bytes;
use docket_cluster::{Entry, PROTOCOL_VERSION_OLDEST, StateMachine};
use docket_engine::{
    Time,
    webhook::{FeedPositions, NewWebhook, WebhookChange, WebhookFilter, WebhookSecret},
};

use super::*;
use crate::access::BoxFuture;

/// A log of one, whose other nodes speak an older version of the peer protocol.
struct Alone {
    machine: AccessMachine,
    speaks: u32,
}

impl AccessLog for Alone {
    fn barrier(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async { Ok(()) })
    }

    fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Bytes, ProposeError>> {
        Box::pin(async move { Ok(apply(&self.machine, &payload)) })
    }

    fn disk_low(&self) -> Option<u64> {
        (self.speaks > WEBHOOKS_SINCE).then_some(7)
    }

    fn oldest_version_spoken(&self) -> u32 {
        self.speaks
    }
}

fn apply(machine: &AccessMachine, payload: &Bytes) -> Bytes {
    machine.apply(Entry {
        index: 1,
        term: 1,
        payload,
    })
}

fn id(n: u8) -> WebhookId {
    WebhookId([n; 12])
}

fn command(request: WebhookRequest) -> WebhookCommand {
    WebhookCommand {
        time: Time(1),
        request_id: None,
        request,
    }
}

fn create(n: u8) -> WebhookCommand {
    command(WebhookRequest::Create(NewWebhook {
        id: id(n),
        secret: WebhookSecret([n; 32]),
        url: "https://shop.example".into(),
        description: "".into(),
        filter: WebhookFilter::default(),
        positions: FeedPositions([(1, 0)].into()),
    }))
}

fn pause(n: u8) -> WebhookCommand {
    command(WebhookRequest::Update {
        webhook: id(n),
        expected: None,
        change: WebhookChange {
            paused: Some(true),
            ..WebhookChange::default()
        },
    })
}

fn handle(machine: &AccessMachine, speaks: u32) -> Webhooks {
    let machine = machine.clone();
    Webhooks::new(&machine.clone(), Alone { machine, speaks })
}

fn snapshot(machine: &AccessMachine) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = machine.capture().write(&mut |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    });
    written.unwrap();
    bytes
}

#[tokio::test]
async fn while_a_node_cannot_read_of_webhooks_none_is_made() {
    let machine = AccessMachine::new();
    let done = handle(&machine, WEBHOOKS_SINCE - 1).execute(&create(1)).await;
    assert_eq!(done, Err(WebhookError::OlderNodes));
    let mut newer = create(1);
    if let WebhookRequest::Create(new) = &mut newer.request {
        new.filter.kinds = [ChangeKind::Placed, ChangeKind::Backordered].into();
    }
    let done = handle(&machine, 6).execute(&newer).await;
    assert_eq!(done, Err(WebhookError::OlderNodes));
    assert_eq!(machine.snapshots_since(), PROTOCOL_VERSION_OLDEST);
    handle(&machine, WEBHOOKS_SINCE)
        .execute(&create(1))
        .await
        .unwrap();
    assert_eq!(
        machine.snapshots_since(),
        WEBHOOKS_SINCE,
        "it is sent to nobody who cannot read it"
    );
}

#[tokio::test]
async fn where_the_disk_is_full_nothing_is_added_and_what_is_there_can_be_paused() {
    let machine = AccessMachine::new();
    handle(&machine, WEBHOOKS_SINCE)
        .execute(&create(1))
        .await
        .unwrap();
    let full = handle(&machine, WEBHOOKS_SINCE + 1);
    assert_eq!(
        full.execute(&create(2)).await,
        Err(WebhookError::LowSpace { free_bytes: 7 })
    );
    assert_eq!(full.execute(&pause(1)).await, Ok(id(1)));
}

#[tokio::test]
async fn a_snapshot_has_the_webhooks_and_is_restored_whatever_chunks_it_comes_in() {
    let machine = AccessMachine::new();
    let webhooks = handle(&machine, WEBHOOKS_SINCE);
    for command in [create(1), create(2), pause(2)] {
        webhooks.execute(&command).await.unwrap();
    }
    let bytes = snapshot(&machine);
    for chunk in [1, 7, bytes.len()] {
        let restored = AccessMachine::new();
        let mut changed = handle(&restored, WEBHOOKS_SINCE).watch();
        let mut chunks = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        restored.restore(&mut chunks).unwrap();
        assert!(webhooks.read(|state| restored.webhooks.read(|other| state == other)));
        assert!(changed.has_changed().unwrap() && *changed.borrow_and_update() == 3);
        restored.clear();
        assert_eq!(restored.webhooks.read(|state| state.webhooks().len()), 0);
    }
    for end in 0..bytes.len() {
        let mut cut = [Ok(Bytes::copy_from_slice(&bytes[..end]))].into_iter();
        assert!(AccessMachine::new().restore(&mut cut).is_err(), "{end}");
    }
}

#[tokio::test]
async fn what_an_entry_has_left_of_a_webhook_tells_replicas_apart_and_other_entries_tell_nothing() {
    let (one, other) = (AccessMachine::new(), AccessMachine::new());
    for machine in [&one, &other] {
        handle(machine, WEBHOOKS_SINCE).execute(&create(1)).await.unwrap();
    }
    assert!(one.effects() != 0 && one.effects() == other.effects());
    handle(&one, WEBHOOKS_SINCE).execute(&pause(1)).await.unwrap();
    assert_ne!(one.effects(), other.effects());
    one.skip(2);
    assert_eq!(one.effects(), 0);
}

#[test]
fn a_kind_is_known_since_the_program_that_brought_it() {
    let of = |since: u32| {
        ChangeKind::ALL
            .into_iter()
            .filter(move |kind| known_since(*kind) == since)
    };
    assert_eq!(
        of(6).collect::<Vec<_>>(),
        [
            ChangeKind::Closed,
            ChangeKind::FulfilmentOpened,
            ChangeKind::FulfilmentCancelled
        ]
    );
    assert_eq!(
        of(7).collect::<Vec<_>>(),
        [
            ChangeKind::Backordered,
            ChangeKind::BackorderFilled,
            ChangeKind::EditReserved
        ]
    );
    assert_eq!(of(WEBHOOKS_SINCE).count(), ChangeKind::ALL.len() - 6);
}

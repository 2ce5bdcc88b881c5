//! What is written of webhooks must be read back for ever.

use docket_engine::webhook::{
    Attempt, DeadLetters, DeliveryFailure, DeliveryId, FeedPositions, NewWebhook, Outcome, Progress,
    WebhookChange, WebhookCommand, WebhookEvent, WebhookFilter, WebhookId, WebhookRecord, WebhookRequest,
    WebhookSecret, WebhookState, limits::RETRIED_FOR_US,
};
use docket_engine::{
    ChangeKind, CustomerId, OrderId, OrderState, Request, Time, Version, access::AccessState,
    steering::Steering,
};
use docket_proto::access::{
    AccessDecodeError, AccessEntry, decode_access_entry, decode_access_record, encode_access_snapshot,
};
use docket_proto::webhook::{
    WebhookRestore, decode_webhook_record, encode_webhook_record, is_webhook_record,
};

fn id(n: u8) -> WebhookId {
    WebhookId([n; 12])
}

fn delivery(n: u128) -> DeliveryId {
    DeliveryId {
        order: OrderId(n),
        version: Version(3),
    }
}

fn failed(n: u128, failure: DeliveryFailure) -> Outcome {
    let attempt = Attempt::Failed {
        failure,
        retry_after_us: None,
        jitter: 7,
    };
    Outcome {
        id: delivery(n),
        kind: ChangeKind::Shipped,
        at: Time(5),
        attempt,
    }
}

fn progress(outcomes: Vec<Outcome>) -> Progress {
    Progress {
        webhook: id(1),
        epoch: 1,
        positions: Some(FeedPositions([(9, 1), (u64::MAX, u32::MAX)].into())),
        delivered: 4,
        outcomes,
        is_gone: false,
        is_gap: false,
    }
}

/// Commands with every kind of fact.
fn commands() -> Vec<WebhookCommand> {
    let new = |n| NewWebhook {
        id: id(n),
        secret: WebhookSecret([n; 32]),
        url: "https://shop.example/hooks".into(),
        description: "the shop".into(),
        filter: WebhookFilter {
            customer: Some(CustomerId::new("ada").unwrap()),
            states: [OrderState::Confirmed, OrderState::Fulfilled].into(),
            kinds: [ChangeKind::Placed, ChangeKind::Refunded].into(),
        },
        positions: FeedPositions([(8, 0), (7, 2)].into()),
    };
    let all = [
        DeliveryFailure::Status(503),
        DeliveryFailure::TimedOut,
        DeliveryFailure::NotResolved,
        DeliveryFailure::NotAllowed,
        DeliveryFailure::NotConnected,
        DeliveryFailure::NotTrusted,
        DeliveryFailure::NotHttp,
        DeliveryFailure::NotReadable,
    ];
    let failures: Vec<Outcome> = (0..).zip(all).map(|(n, failure)| failed(n, failure)).collect();
    let delivered = Outcome {
        attempt: Attempt::Delivered,
        ..failed(0, DeliveryFailure::TimedOut)
    };
    let change = WebhookChange {
        url: Some("https://shop.example/other".into()),
        description: Some("other".into()),
        filter: Some((WebhookFilter::default(), Some(FeedPositions([(1, 1)].into())))),
        paused: Some(true),
    };
    let update = |change| WebhookRequest::Update {
        webhook: id(2),
        expected: None,
        change,
    };
    let resume = WebhookChange {
        paused: Some(false),
        ..WebhookChange::default()
    };
    let rotate = WebhookRequest::RotateSecret {
        webhook: id(1),
        expected: None,
        secret: WebhookSecret([9; 32]),
        overlap_us: 1_000,
    };
    let mut gap = progress(vec![failed(4, DeliveryFailure::Status(410))]);
    gap.is_gone = true;
    gap.is_gap = true;
    let requests = [
        (10, WebhookRequest::Create(new(1))),
        (11, WebhookRequest::Create(new(2))),
        (12, WebhookRequest::Create(new(3))),
        (13, rotate),
        (14, update(change)),
        (15, update(resume)),
        (16, WebhookRequest::Progress(progress(failures))),
        (17, WebhookRequest::Progress(progress(vec![delivered]))),
        (
            18 + RETRIED_FOR_US,
            WebhookRequest::Progress(progress(vec![
                failed(1, DeliveryFailure::Status(599)),
                failed(2, DeliveryFailure::TimedOut),
            ])),
        ),
        (
            19 + RETRIED_FOR_US,
            WebhookRequest::ReplayDead {
                webhook: id(1),
                letters: DeadLetters::These(vec![delivery(2)]),
            },
        ),
        (20 + RETRIED_FOR_US, WebhookRequest::Progress(gap)),
        (
            21 + RETRIED_FOR_US,
            WebhookRequest::ReplayFrom {
                webhook: id(3),
                positions: FeedPositions([(0, 0)].into()),
                since: Some(Time(-1)),
            },
        ),
        (
            22 + RETRIED_FOR_US,
            WebhookRequest::Delete {
                webhook: id(3),
                expected: None,
            },
        ),
    ];
    let command = |(time, request)| WebhookCommand {
        time: Time(time),
        request_id: (time == 22 + RETRIED_FOR_US).then_some(Request {
            key: 1 << 100,
            fingerprint: u64::MAX,
        }),
        request,
    };
    requests.into_iter().map(command).collect()
}

/// The records of these commands, and the state that they make.
fn records() -> (Vec<WebhookRecord>, WebhookState) {
    let mut state = WebhookState::default();
    let mut records = Vec::new();
    for command in commands() {
        let (_, record) = state.decide(&command).unwrap();
        let record = record.unwrap();
        state.apply(&record).unwrap();
        records.push(record);
    }
    state.validate().unwrap();
    (records, state)
}

/// As the first program recorded them: where a webhook went on from a time, what was older was passed over.
fn first_records() -> (Vec<WebhookRecord>, WebhookState) {
    let (mut records, _) = records();
    for event in records.iter_mut().flat_map(|record| &mut record.events) {
        if let WebhookEvent::Rewound { webhook, since, .. } = event
            && *webhook == id(3)
        {
            *since = Some(Time(-1));
        }
    }
    let mut state = WebhookState::default();
    for record in &records {
        state.apply(record).unwrap();
    }
    (records, state)
}

fn snapshot(state: &WebhookState) -> Vec<Vec<u8>> {
    encode_access_snapshot(&AccessState::default(), state, &Steering::default()).collect()
}

fn restore(pieces: &[Vec<u8>]) -> WebhookState {
    let mut webhooks = WebhookRestore::default();
    let (mut entries, mut found) = (0, 0);
    for piece in pieces {
        let mut rest = piece.as_slice();
        prost::decode_length_delimiter(&mut rest).unwrap();
        match decode_access_entry(rest).unwrap() {
            AccessEntry::Head { entries: of, .. } => entries = of,
            AccessEntry::Webhook(entry) => {
                found += 1;
                webhooks.take(entry).unwrap();
            }
            other => panic!("there are no accounts: {other:?}"),
        }
    }
    assert_eq!(entries, found);
    webhooks.done().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_fact_and_the_whole_state_are_read_as_they_were_written() {
    let (records, state) = records();
    for record in &records {
        let bytes = encode_webhook_record(record);
        assert!(is_webhook_record(&bytes));
        assert!(
            decode_access_record(&bytes).is_err(),
            "it is no record of accounts"
        );
        assert_eq!(decode_webhook_record(&bytes).as_ref(), Ok(record));
        for end in 0..bytes.len() {
            assert_ne!(decode_webhook_record(&bytes[..end]).as_ref(), Ok(record));
        }
        // Field 99, a number; and a format to come.
        let later = [bytes.as_slice(), &[0x98, 0x06, 0x01]].concat();
        assert_eq!(decode_webhook_record(&later), Err(AccessDecodeError::Unknown));
        let mut later = bytes.clone();
        later[8] += 1;
        assert_eq!(decode_webhook_record(&later), Err(AccessDecodeError::Unknown));
    }
    assert_eq!(restore(&snapshot(&state)), state);
}

#[test]
fn a_state_that_never_had_a_webhook_is_written_as_before_there_were_any() {
    let pieces = snapshot(&WebhookState::default());
    assert_eq!(pieces.len(), 1);
    assert_eq!(
        hex(&pieces[0]),
        "040a020801",
        "a head of format 1 and nothing else"
    );
}

/// Written when there first were webhooks. It must be read for ever: where this test fails, the program has forgotten how.
#[test]
fn the_first_format_is_still_read() {
    let (records, state) = first_records();
    let fixture = include_str!("../fixtures/webhooks_1.hex");
    let lines: Vec<Vec<u8>> = fixture.lines().map(unhex).collect();
    let (logged, pieces) = lines.split_at(records.len());
    let mut read = WebhookState::default();
    for (bytes, record) in logged.iter().zip(&records) {
        let found = decode_webhook_record(bytes).unwrap();
        assert_eq!(&found, record);
        read.apply(&found).unwrap();
    }
    assert_eq!(read, state);
    assert_eq!(restore(pieces), state);
}

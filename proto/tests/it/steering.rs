//! What is written of flags and limits must be read back for ever.

use std::collections::BTreeSet;

use docket_engine::steering::{
    FlagName, FlagRule, Limited, RateLimit, Share, Steering, SteeringCommand, SteeringEvent, SteeringRecord,
    SteeringRequest,
};
use docket_engine::webhook::WebhookState;
use docket_engine::{
    CustomerId, Time, Version,
    access::{AccessState, ApiKeyId, Role, Username},
};
use docket_proto::access::{
    AccessDecodeError, AccessEntry, decode_access_entry, decode_access_record, encode_access_snapshot,
};
use docket_proto::steering::{
    SteeringRestore, decode_steering_record, encode_steering_record, is_steering_record,
};
use docket_proto::webhook::is_webhook_record;
use proptest::prelude::*;

fn snapshot(state: &Steering) -> Vec<Vec<u8>> {
    encode_access_snapshot(&AccessState::default(), &WebhookState::default(), state).collect()
}

fn restore(pieces: &[Vec<u8>]) -> Steering {
    let mut steering = SteeringRestore::default();
    let (mut entries, mut found) = (0, 0);
    for piece in pieces {
        let mut rest = piece.as_slice();
        prost::decode_length_delimiter(&mut rest).unwrap();
        match decode_access_entry(rest).unwrap() {
            AccessEntry::Head { entries: of, .. } => entries = of,
            AccessEntry::Steering(entry) => {
                found += 1;
                steering.take(entry).unwrap();
            }
            other => panic!("there is nothing else: {other:?}"),
        }
    }
    assert_eq!(entries, found);
    steering.done().unwrap()
}

/// One record of every kind, and what they make.
fn first_records() -> (Vec<SteeringRecord>, Steering) {
    let flag = |text| FlagName::new(text).unwrap();
    let account = |text| Limited::Account(Username::new(text).unwrap());
    let set_flag = |name, rule| SteeringRequest::SetFlag {
        flag: flag(name),
        rule,
        expected: None,
        force: true,
    };
    let set_limit = |of, per_second, burst| SteeringRequest::SetLimit {
        of,
        limit: RateLimit { per_second, burst },
        expected: None,
    };
    let some = FlagRule {
        share: Share::new(1_250).unwrap(),
        customers: ["acme", "zoe"].map(|id| CustomerId::new(id).unwrap()).into(),
        roles: BTreeSet::new(),
    };
    let services = FlagRule {
        roles: [Role::Service, Role::Admin].into(),
        ..FlagRule::of(Share::NOBODY)
    };
    let requests = [
        set_flag("backorders", some),
        set_flag("streaming_placement", services),
        set_flag("webhooks", FlagRule::of(Share::NOBODY)),
        set_flag("custom.cart", FlagRule::of(Share::ALL)),
        SteeringRequest::UnsetFlag {
            flag: flag("webhooks"),
            expected: Some(3),
        },
        set_limit(account("shop"), 500, 1_000),
        set_limit(account("free"), 0, 0),
        set_limit(Limited::ApiKey(ApiKeyId([0xab; 12])), 5, 10),
        SteeringRequest::UnsetLimit {
            of: account("free"),
            expected: None,
        },
    ];
    let mut state = Steering::default();
    let mut records = Vec::new();
    for (at, request) in requests.into_iter().enumerate() {
        let command = SteeringCommand {
            time: Time(1_795_000_000_000_000 + at as i64),
            by: Username::new("root").unwrap(),
            request,
        };
        let record = state.decide(&command).unwrap().unwrap();
        state.apply(&record).unwrap();
        records.push(record);
    }
    (records, state)
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
    let (records, state) = first_records();
    for record in &records {
        let bytes = encode_steering_record(record);
        assert!(is_steering_record(&bytes) && !is_webhook_record(&bytes));
        assert!(
            decode_access_record(&bytes).is_err(),
            "it is none of the accounts'"
        );
        assert_eq!(decode_steering_record(&bytes).as_ref(), Ok(record));
        for end in 0..bytes.len() {
            assert_ne!(decode_steering_record(&bytes[..end]).as_ref(), Ok(record));
        }
        // A field that this program does not know, and a format.
        let mut later = bytes.clone();
        later.extend([0xf8, 0x07, 1]);
        assert_eq!(decode_steering_record(&later), Err(AccessDecodeError::Unknown));
        let mut later = bytes.clone();
        later[8] += 1;
        assert_eq!(decode_steering_record(&later), Err(AccessDecodeError::Unknown));
    }
    assert_eq!(restore(&snapshot(&state)), state);
}

#[test]
fn a_state_in_which_nothing_was_ever_steered_is_written_as_before_that_could_be() {
    let pieces = snapshot(&Steering::default());
    assert_eq!(pieces.len(), 1);
    assert_eq!(
        hex(&pieces[0]),
        "040a020801",
        "a head of format 1 and nothing else"
    );
}

#[test]
fn customers_that_are_out_of_order_or_named_twice_are_no_record() {
    let (records, _) = first_records();
    let bytes = encode_steering_record(&records[0]);
    let at = bytes.windows(4).position(|four| four == b"acme").unwrap();
    let mut damaged = bytes.clone();
    damaged[at..at + 4].copy_from_slice(b"zzzz");
    assert!(decode_steering_record(&damaged).is_err());
}

/// Written when there first were flags and limits (format 8 of the journal's content). It must be read for ever: where this test fails, the
/// program has forgotten how.
#[test]
fn the_first_format_is_still_read() {
    let (records, state) = first_records();
    let fixture = include_str!("../fixtures/steering_1.hex");
    let lines: Vec<Vec<u8>> = fixture.lines().map(unhex).collect();
    let (logged, pieces) = lines.split_at(records.len());
    let mut read = Steering::default();
    for (bytes, record) in logged.iter().zip(&records) {
        let found = decode_steering_record(bytes).unwrap();
        assert_eq!(&found, record);
        read.apply(&found).unwrap();
    }
    assert_eq!(read, state);
    assert_eq!(restore(pieces), state);
}

fn rules() -> impl Strategy<Value = FlagRule> {
    let customers = prop::collection::btree_set(
        "[a-zA-Z0-9._-]{1,64}".prop_map(|text| CustomerId::new(&text).unwrap()),
        0..8,
    );
    let roles = prop::sample::subsequence(Role::ALL.to_vec(), 0..=3);
    (0u32..=10_000, customers, roles).prop_map(|(share, customers, roles)| FlagRule {
        share: Share::new(share).unwrap(),
        customers,
        roles: roles.into_iter().collect(),
    })
}

fn callers() -> impl Strategy<Value = Limited> {
    prop_oneof![
        "[a-zA-Z0-9._@-]{1,64}".prop_map(|text| Limited::Account(Username::new(&text).unwrap())),
        any::<[u8; 12]>().prop_map(|id| Limited::ApiKey(ApiKeyId(id))),
    ]
}

fn events() -> impl Strategy<Value = SteeringEvent> {
    let names = || "[a-z][a-z0-9._-]{0,63}".prop_map(|text| FlagName::new(&text).unwrap());
    prop_oneof![
        (names(), rules()).prop_map(|(flag, rule)| SteeringEvent::FlagSet { flag, rule }),
        names().prop_map(|flag| SteeringEvent::FlagUnset { flag }),
        (callers(), any::<(u32, u32)>()).prop_map(|(of, (per_second, burst))| SteeringEvent::LimitSet {
            of,
            limit: RateLimit { per_second, burst },
        }),
        callers().prop_map(|of| SteeringEvent::LimitUnset { of }),
    ]
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(
        version in any::<u64>(),
        time in any::<i64>(),
        by in "[a-zA-Z0-9._@-]{1,64}",
        events in prop::collection::vec(events(), 0..4),
    ) {
        let record = SteeringRecord {
            version: Version(version),
            time: Time(time),
            by: Username::new(&by).unwrap(),
            events,
        };
        prop_assert_eq!(decode_steering_record(&encode_steering_record(&record)), Ok(record));
    }

    #[test]
    fn bytes_that_are_read_are_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = [b"\0steered\x01".as_slice(), &bytes].concat();
        if let Ok(record) = decode_steering_record(&bytes) {
            prop_assert_eq!(decode_steering_record(&encode_steering_record(&record)), Ok(record));
        }
    }
}

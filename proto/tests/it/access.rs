//! What the meta group writes must be read back for ever.

use docket_engine::access::{
    AccessCommand, AccessEvent, AccessRecord, AccessState, ApiKeyId, Caller, End, NewApiKey, PasswordHash,
    Request, Role, Scope, Scopes, SecretHash, SessionId, SigningKeyId, SigningSeed, Username,
};
use docket_engine::steering::Steering;
use docket_engine::webhook::WebhookState;
use docket_engine::{CustomerId, Time, Version};
use docket_proto::access::{
    AccessDecodeError, AccessEntry, decode_access_entry, decode_access_record, encode_access_record,
    encode_access_snapshot,
};
use docket_proto::journal as wire;
use proptest::prelude::*;
use prost::Message;

fn names() -> impl Strategy<Value = Username> {
    "[a-zA-Z0-9._@-]{1,64}".prop_map(|text| Username::new(&text).unwrap())
}

fn customers() -> impl Strategy<Value = Option<CustomerId>> {
    prop::option::of("[a-zA-Z0-9._-]{1,64}".prop_map(|text| CustomerId::new(&text).unwrap()))
}

fn passwords() -> impl Strategy<Value = Option<PasswordHash>> {
    prop::option::of("[ -~]{1,256}".prop_map(|text| PasswordHash::new(&text).unwrap()))
}

fn hashes() -> impl Strategy<Value = SecretHash> {
    any::<[u8; 32]>().prop_map(SecretHash)
}

fn keys() -> impl Strategy<Value = NewApiKey> {
    let scopes = prop::collection::vec(prop::sample::select(Scope::ALL.to_vec()), 0..6);
    let parts = (
        any::<[u8; 12]>(),
        hashes(),
        ".{0,32}",
        scopes,
        prop::option::of(any::<i64>()),
    );
    parts.prop_map(|(id, secret, name, scopes, expires)| NewApiKey {
        id: ApiKeyId(id),
        secret,
        display_name: name.into(),
        scopes: scopes.into_iter().collect(),
        expires: expires.map(Time),
    })
}

fn events() -> impl Strategy<Value = AccessEvent> {
    let role = || prop::sample::select(Role::ALL.to_vec());
    let session = || any::<[u8; 16]>().prop_map(SessionId);
    let key = || any::<[u8; 12]>().prop_map(ApiKeyId);
    let signing = || any::<[u8; 8]>().prop_map(SigningKeyId);
    let time = || any::<i64>().prop_map(Time);
    let cause = [
        End::LoggedOut,
        End::Replayed,
        End::Expired,
        End::Evicted,
        End::RoleAssigned,
    ];
    prop_oneof![
        (names(), passwords(), role(), customers()).prop_map(|(username, password, role, customer)| {
            AccessEvent::AccountCreated {
                username,
                password,
                role,
                customer,
            }
        }),
        (names(), role(), customers()).prop_map(|(account, role, customer)| AccessEvent::RoleAssigned {
            account,
            role,
            customer
        }),
        (session(), names(), hashes(), hashes(), time()).prop_map(
            |(session, account, family, token, expires)| {
                AccessEvent::SessionOpened {
                    session,
                    account,
                    family,
                    token,
                    expires,
                }
            }
        ),
        (session(), hashes(), time()).prop_map(|(session, token, expires)| AccessEvent::SessionRefreshed {
            session,
            token,
            expires
        }),
        (session(), prop::sample::select(cause.to_vec()))
            .prop_map(|(session, cause)| AccessEvent::SessionEnded { session, cause }),
        (names(), keys()).prop_map(|(account, key)| AccessEvent::ApiKeyCreated { account, key }),
        key().prop_map(|key| AccessEvent::ApiKeyRevoked { key }),
        key().prop_map(|key| AccessEvent::ApiKeyForgotten { key }),
        (signing(), any::<[u8; 32]>()).prop_map(|(key, seed)| AccessEvent::SigningKeyCreated {
            key,
            seed: SigningSeed(seed)
        }),
        signing().prop_map(|key| AccessEvent::SigningKeyRetired { key }),
        signing().prop_map(|key| AccessEvent::SigningKeyForgotten { key }),
    ]
}

proptest! {
    #[test]
    fn every_record_survives_its_bytes(
        version: u64,
        time: i64,
        events in prop::collection::vec(events(), 0..8),
    ) {
        let record = AccessRecord { version: Version(version), time: Time(time), events };
        prop_assert_eq!(decode_access_record(&encode_access_record(&record)), Ok(record));
    }

    #[test]
    fn bytes_that_are_no_record_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(record) = decode_access_record(&bytes) {
            prop_assert_eq!(decode_access_record(&encode_access_record(&record)), Ok(record));
        }
        let _ = decode_access_entry(&bytes);
    }
}

/// A state with one of everything in it.
fn state() -> AccessState {
    let root = Username::new("root").unwrap();
    let by = Caller {
        account: root.clone(),
        role: Role::Admin,
        scopes: Role::Admin.scopes(),
    };
    let ada = Username::new("ada").unwrap();
    let read = Scopes::of(&[Scope::Read]);
    let key = |n: u8, expires| NewApiKey {
        id: ApiKeyId([n; 12]),
        secret: SecretHash([n; 32]),
        display_name: "für Ada".into(),
        scopes: read,
        expires,
    };
    let mut state = AccessState::default();
    for request in [
        Request::Bootstrap {
            username: root,
            key: ApiKeyId([9; 12]),
            secret: SecretHash([9; 32]),
        },
        Request::CreateSigningKey {
            key: SigningKeyId([1; 8]),
            seed: SigningSeed([1; 32]),
            replaces: None,
        },
        Request::CreateSigningKey {
            key: SigningKeyId([2; 8]),
            seed: SigningSeed([2; 32]),
            replaces: Some(SigningKeyId([1; 8])),
        },
        Request::Register {
            by: by.clone(),
            username: ada.clone(),
            password: PasswordHash::new("$argon2id$x").unwrap(),
            role: Role::Customer,
            customer: Some(CustomerId::new("c-1").unwrap()),
        },
        Request::OpenSession {
            account: ada.clone(),
            version: Version(1),
            session: SessionId([3; 16]),
            family: SecretHash([4; 32]),
            token: SecretHash([5; 32]),
            expires: Time(1_000),
        },
        Request::CreateApiKey {
            by: by.clone(),
            account: ada.clone(),
            key: key(6, None),
        },
        Request::CreateApiKey {
            by: by.clone(),
            account: ada,
            key: key(7, Some(Time(900))),
        },
        Request::RevokeApiKey {
            by,
            key: ApiKeyId([6; 12]),
        },
    ] {
        let command = AccessCommand {
            time: Time(100),
            request,
        };
        let decision = state.decide(&command);
        assert_eq!(decision.rejection, None);
        state.apply(&state.record(&command, decision.events)).unwrap();
    }
    state
}

fn restore(pieces: impl Iterator<Item = Vec<u8>>) -> AccessState {
    let mut state = AccessState::default();
    for piece in pieces {
        let mut rest = piece.as_slice();
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        assert_eq!(length, rest.len());
        match decode_access_entry(rest).unwrap() {
            AccessEntry::Head {
                version, last_time, ..
            } => state = AccessState::restored(version, last_time),
            AccessEntry::Account(account) => state.insert_account(account).unwrap(),
            AccessEntry::Session(session) => state.insert_session(session).unwrap(),
            AccessEntry::ApiKey(key) => state.insert_api_key(key).unwrap(),
            AccessEntry::SigningKey(key) => state.insert_signing_key(key).unwrap(),
            AccessEntry::Webhook(_) => panic!("there are no webhooks"),
            AccessEntry::Steering(_) => panic!("nothing is steered"),
        }
    }
    state.validate().unwrap();
    state
}

#[test]
fn a_snapshot_restores_the_whole_state() {
    let state = state();
    assert_eq!(
        restore(encode_access_snapshot(
            &state,
            &WebhookState::default(),
            &Steering::default()
        )),
        state
    );
    let pieces =
        encode_access_snapshot(&state, &WebhookState::default(), &Steering::default()).count() as u64;
    let head = encode_access_snapshot(&state, &WebhookState::default(), &Steering::default())
        .next()
        .unwrap();
    let head = decode_access_entry(&head[1..]).unwrap();
    assert_eq!(
        head,
        AccessEntry::Head {
            version: Version(8),
            last_time: Time(100),
            entries: pieces - 1
        }
    );
}

/// Written by format 1. It must be read for ever: where this test fails, the program has forgotten how.
#[test]
fn the_first_format_is_still_read() {
    let fixture = include_str!("../fixtures/access_snapshot_1.hex");
    let bytes: Vec<u8> = (0..fixture.trim().len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&fixture[at..at + 2], 16).unwrap())
        .collect();
    let mut pieces = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let before = rest;
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let piece = before.len() - rest.len() + length;
        pieces.push(before[..piece].to_vec());
        rest = &before[piece..];
    }
    assert_eq!(restore(pieces.into_iter()), state());
}

#[test]
fn what_a_newer_program_wrote_is_refused_by_name() {
    let event = |fact| wire::AccessRecord {
        version: 0,
        time: 0,
        events: vec![wire::AccessEvent { fact: Some(fact) }],
    };
    use wire::access_event::Fact;
    let session = vec![1; 16];
    let cases = [
        (
            event(Fact::SessionEnded(wire::SessionEnded {
                session: session.clone(),
                cause: 6,
            })),
            "cause",
        ),
        (
            event(Fact::SessionEnded(wire::SessionEnded {
                session: vec![1; 15],
                cause: 1,
            })),
            "session",
        ),
        (
            event(Fact::RoleAssigned(wire::RoleAssigned {
                account: "a".into(),
                role: 4,
                customer: String::new(),
            })),
            "role",
        ),
        (
            event(Fact::RoleAssigned(wire::RoleAssigned {
                account: "a/b".into(),
                role: 1,
                customer: String::new(),
            })),
            "username",
        ),
        (
            event(Fact::RoleAssigned(wire::RoleAssigned {
                account: "a".into(),
                role: 1,
                customer: "/".into(),
            })),
            "customer",
        ),
        (
            wire::AccessRecord {
                version: 0,
                time: 0,
                events: vec![wire::AccessEvent { fact: None }],
            },
            "fact",
        ),
    ];
    for (record, field) in cases {
        let answer = decode_access_record(&record.encode_to_vec());
        assert_eq!(answer, Err(AccessDecodeError::Field { field }));
    }
    // Field 99, a number.
    let mut later = encode_access_record(&AccessRecord {
        version: Version(1),
        time: Time(1),
        events: vec![],
    });
    later.extend([0x98, 0x06, 0x01]);
    assert_eq!(decode_access_record(&later), Err(AccessDecodeError::Unknown));
    let head = wire::AccessSnapshotHead {
        format: 4,
        version: 1,
        last_time: 1,
        entries: 0,
    };
    let head = wire::AccessSnapshotRecord {
        entry: Some(wire::access_snapshot_record::Entry::Head(head)),
    };
    assert_eq!(
        decode_access_entry(&head.encode_to_vec()),
        Err(AccessDecodeError::Format { found: 4 })
    );
}

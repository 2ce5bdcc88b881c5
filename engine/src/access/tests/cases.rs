//! One case per rule.

use super::*;
use crate::access::limits::*;

#[track_caller]
fn check_refused(given_requests: impl IntoIterator<Item = Request>, when: Request, then: AccessRejection) {
    let mut state = given(given_requests);
    let before = state.clone();
    assert_eq!(execute(&mut state, 1, when).rejection, Some(then));
    assert_eq!(state, before, "a refused command changed something");
}

#[test]
fn only_the_first_account_comes_from_nowhere() {
    let mut state = given([bootstrap()]);
    let root = state.api_key_principal(key_id(0), Time(0)).unwrap();
    assert_eq!((root.role, root.scopes), (Role::Admin, Role::Admin.scopes()));
    assert!(state.account("root").unwrap().password.is_none());
    let again = execute(&mut state, 1, bootstrap());
    assert_eq!(again.rejection, Some(AccessRejection::NotEmpty));
}

#[test]
fn accounts_are_made_by_administrators_only() {
    use AccessRejection::*;
    let ada = || register("ada", Role::Customer, Some("c1"));
    let by = |by: Caller, role| Request::Register {
        by,
        username: name("bob"),
        password: password(),
        role,
        customer: None,
    };
    check_refused(
        [bootstrap()],
        by(caller("nobody", Role::Admin), Role::Service),
        CallerRole,
    );
    check_refused(
        [bootstrap(), ada()],
        by(caller("ada", Role::Admin), Role::Service),
        CallerRole,
    );
    check_refused(
        [bootstrap(), ada()],
        by(caller("ada", Role::Customer), Role::Service),
        CallerRole,
    );
    let narrow = Caller {
        scopes: Scopes::of(&[Scope::Access]),
        ..admin()
    };
    check_refused([bootstrap()], by(narrow, Role::Service), BeyondCaller);
    check_refused([bootstrap(), ada()], ada(), UsernameTaken);
    check_refused(
        [bootstrap()],
        register("ada", Role::Customer, None),
        CustomerMissing,
    );
    check_refused(
        [bootstrap()],
        register("ada", Role::Service, Some("c1")),
        CustomerUnexpected,
    );
}

#[test]
fn another_role_ends_every_credential() {
    let mut state = given([
        bootstrap(),
        register("ada", Role::Customer, Some("c1")),
        open("ada", 1, DAY),
        open("ada", 2, DAY),
        create_key(admin(), "ada", new_key(3, Scopes::of(&[Scope::Read]), None)),
        create_key(admin(), "ada", new_key(4, Scopes::of(&[Scope::Read]), Some(5))),
    ]);
    assert!(
        state
            .session_principal(session_id(1), Version(1), Time(1))
            .is_some()
    );

    assert_eq!(
        execute(&mut state, 9, assign("ada", Role::Customer, Some("c1"))).events,
        []
    );
    assert!(
        state
            .session_principal(session_id(1), Version(1), Time(9))
            .is_some()
    );

    let decision = execute(&mut state, 10, assign("ada", Role::Customer, Some("c2")));
    assert_eq!(decision.rejection, None);
    for n in [1, 2] {
        assert_eq!(state.session_principal(session_id(n), Version(1), Time(10)), None);
        assert_eq!(state.session_principal(session_id(n), Version(2), Time(10)), None);
    }
    assert_eq!(state.api_key_principal(key_id(3), Time(10)), None);
    assert_eq!(state.api_key(key_id(3)).unwrap().revoked, Some(Time(10)));
    let account = state.account("ada").unwrap();
    assert_eq!(
        (account.version, account.customer.clone()),
        (Version(2), Some(customer("c2")))
    );
}

#[test]
fn roles_go_to_accounts_that_exist_and_not_from_the_last_administrator() {
    use AccessRejection::*;
    check_refused([bootstrap()], assign("ada", Role::Service, None), AccountNotFound);
    check_refused(
        [bootstrap()],
        assign("root", Role::Customer, None),
        CustomerMissing,
    );
    check_refused([bootstrap()], assign("root", Role::Service, None), LastWayIn);
    check_refused([bootstrap()], revoke_key(admin(), 0), LastWayIn);
    // A key that ends, or that cannot do everything, is no way in for ever.
    let second = |scopes, expires| create_key(admin(), "root", new_key(1, scopes, expires));
    check_refused(
        [bootstrap(), second(Role::Admin.scopes(), Some(9))],
        revoke_key(admin(), 0),
        LastWayIn,
    );
    check_refused(
        [bootstrap(), second(Scopes::of(&[Scope::Access]), None)],
        revoke_key(admin(), 0),
        LastWayIn,
    );

    let mut state = given([bootstrap(), second(Role::Admin.scopes(), None)]);
    assert_eq!(execute(&mut state, 1, revoke_key(admin(), 0)).rejection, None);
    assert_eq!(
        execute(&mut state, 1, revoke_key(admin(), 1)).rejection,
        Some(LastWayIn)
    );
    let mut state = given([bootstrap(), register("ada", Role::Admin, None)]);
    assert_eq!(
        execute(&mut state, 1, assign("root", Role::Service, None)).rejection,
        None
    );
    let by_ada = Request::AssignRole {
        by: caller("ada", Role::Admin),
        account: name("ada"),
        role: Role::Service,
        customer: None,
    };
    assert_eq!(execute(&mut state, 1, by_ada).rejection, Some(LastWayIn));
}

#[test]
fn a_session_opens_for_the_account_that_was_verified() {
    use AccessRejection::*;
    let ada = || register("ada", Role::Service, None);
    check_refused([bootstrap()], open("ada", 1, DAY), AccountNotFound);
    check_refused(
        [bootstrap(), ada(), assign("ada", Role::Admin, None)],
        open("ada", 1, DAY),
        AccountChanged,
    );
    check_refused([bootstrap(), ada()], open("ada", 1, 1), ExpiryPassed);
    check_refused(
        [bootstrap(), ada(), open("ada", 1, DAY)],
        open("ada", 1, DAY),
        IdTaken,
    );
}

#[test]
fn a_refresh_token_works_once_and_its_replay_ends_the_session() {
    let mut state = given([
        bootstrap(),
        register("ada", Role::Service, None),
        open("ada", 1, DAY),
    ]);
    assert_eq!(
        execute(&mut state, 1, refresh(1, 101, 50, 2 * DAY)).rejection,
        None
    );
    let session = state.session(session_id(1)).unwrap();
    assert_eq!((session.generation, session.expires), (2, Time(2 * DAY)));
    assert!(
        state
            .session_principal(session_id(1), Version(1), Time(DAY))
            .is_some()
    );

    let replay = execute(&mut state, 2, refresh(1, 101, 51, 2 * DAY));
    assert_eq!(replay.rejection, Some(AccessRejection::RefreshTokenReplayed));
    assert_eq!(
        replay.events,
        [AccessEvent::SessionEnded {
            session: session_id(1),
            cause: End::Replayed
        }]
    );
    assert_eq!(state.session_principal(session_id(1), Version(1), Time(2)), None);
    let newest = execute(&mut state, 3, refresh(1, 50, 52, 2 * DAY));
    assert_eq!(newest.rejection, Some(AccessRejection::RefreshTokenUnknown));
}

#[test]
fn a_forged_refresh_token_ends_nothing() {
    let mut forged = refresh(1, 101, 50, 2 * DAY);
    if let Request::Refresh { family, .. } = &mut forged {
        *family = hash(99);
    }
    let given = || {
        [
            bootstrap(),
            register("ada", Role::Service, None),
            open("ada", 1, DAY),
        ]
    };
    check_refused(given(), forged, AccessRejection::RefreshTokenUnknown);
    check_refused(
        given(),
        refresh(2, 101, 50, 2 * DAY),
        AccessRejection::RefreshTokenUnknown,
    );
    check_refused(given(), refresh(1, 101, 50, 1), AccessRejection::ExpiryPassed);
    let forged = Request::Logout {
        session: session_id(1),
        family: hash(99),
    };
    check_refused(given(), forged, AccessRejection::RefreshTokenUnknown);
}

#[test]
fn a_session_ends_by_time_however_often_it_is_refreshed() {
    let mut state = given([
        bootstrap(),
        register("ada", Role::Service, None),
        open("ada", 1, 1_000 * DAY),
    ]);
    assert_eq!(
        state.session(session_id(1)).unwrap().expires,
        Time(SESSION_LIFETIME_MAX_US)
    );
    let near = SESSION_LIFETIME_MAX_US - 1;
    assert_eq!(
        execute(&mut state, near, refresh(1, 101, 50, near + DAY)).rejection,
        None
    );
    assert_eq!(
        state.session(session_id(1)).unwrap().expires,
        Time(SESSION_LIFETIME_MAX_US)
    );
    assert!(
        state
            .session_principal(session_id(1), Version(1), Time(near))
            .is_some()
    );
    assert_eq!(
        state.session_principal(session_id(1), Version(1), Time(near + 1)),
        None
    );
    let late = execute(&mut state, near + 1, refresh(1, 50, 51, near + DAY));
    assert_eq!(late.rejection, Some(AccessRejection::RefreshTokenExpired));
}

#[test]
fn logging_out_twice_is_as_good_as_once() {
    let mut state = given([
        bootstrap(),
        register("ada", Role::Service, None),
        open("ada", 1, DAY),
    ]);
    let logout = Request::Logout {
        session: session_id(1),
        family: hash(1),
    };
    assert_eq!(execute(&mut state, 1, logout.clone()).events.len(), 1);
    assert_eq!(state.session(session_id(1)), None);
    assert_eq!(
        execute(&mut state, 2, logout),
        Decision {
            events: vec![],
            rejection: None
        }
    );
}

#[test]
fn a_key_does_no_more_than_its_account_and_its_maker() {
    use AccessRejection::*;
    let read = Scopes::of(&[Scope::Read]);
    let given = || {
        [
            bootstrap(),
            register("ada", Role::Customer, Some("c1")),
            register("bob", Role::Service, None),
        ]
    };
    let ada = || caller("ada", Role::Customer);
    check_refused(
        given(),
        create_key(caller("bob", Role::Admin), "bob", new_key(1, read, None)),
        CallerRole,
    );
    let items = Scopes::of(&[Scope::Items]);
    check_refused(
        given(),
        create_key(ada(), "ada", new_key(1, items, None)),
        BeyondCaller,
    );
    let narrow = Caller {
        scopes: Scopes::of(&[Scope::Access]),
        ..admin()
    };
    check_refused(
        given(),
        create_key(narrow, "bob", new_key(1, read, None)),
        BeyondCaller,
    );
    check_refused(
        given(),
        create_key(admin(), "eve", new_key(1, read, None)),
        AccountNotFound,
    );
    check_refused(
        given(),
        create_key(ada(), "bob", new_key(1, read, None)),
        AccountNotFound,
    );
    check_refused(
        given(),
        create_key(admin(), "bob", new_key(1, read, Some(1))),
        ExpiryPassed,
    );
    let mut long = new_key(1, read, None);
    long.display_name = "x".repeat(KEY_NAME_BYTES_MAX + 1).into();
    check_refused(given(), create_key(admin(), "bob", long), KeyNameTooLong);
    check_refused(
        given(),
        create_key(admin(), "bob", new_key(1, Scopes::NONE, None)),
        NoScopes,
    );
    check_refused(
        given(),
        create_key(admin(), "ada", new_key(1, items, None)),
        BeyondRole,
    );
    check_refused(
        given(),
        create_key(admin(), "bob", new_key(0, read, None)),
        IdTaken,
    );
}

#[test]
fn a_revoked_or_expired_key_is_dead_and_listed_for_a_while() {
    let read = Scopes::of(&[Scope::Read]);
    let mut state = given([
        bootstrap(),
        register("bob", Role::Service, None),
        create_key(admin(), "bob", new_key(1, read, None)),
        create_key(admin(), "bob", new_key(2, read, Some(DAY))),
    ]);
    assert_eq!(
        execute(&mut state, 7, revoke_key(caller("bob", Role::Service), 1))
            .events
            .len(),
        1
    );
    assert_eq!(
        execute(&mut state, 8, revoke_key(admin(), 1)).events,
        [],
        "the first end stands"
    );
    assert_eq!(state.api_key_principal(key_id(1), Time(8)), None);
    assert!(state.api_key_principal(key_id(2), Time(DAY - 1)).is_some());
    assert_eq!(state.api_key_principal(key_id(2), Time(DAY)), None);
    assert_eq!(state.api_keys(Some("bob"), None).count(), 2);

    execute(
        &mut state,
        DEAD_API_KEY_KEPT_US + 7,
        register("eve", Role::Service, None),
    );
    let listed: Vec<_> = state.api_keys(Some("bob"), None).map(|key| key.id).collect();
    assert_eq!(listed, [key_id(2)]);
    execute(
        &mut state,
        DEAD_API_KEY_KEPT_US + DAY,
        register("fay", Role::Service, None),
    );
    assert_eq!(
        state.api_keys(None, None).map(|key| key.id).collect::<Vec<_>>(),
        [key_id(0)]
    );
}

#[test]
fn keys_of_others_are_not_there() {
    use AccessRejection::ApiKeyNotFound;
    let given = || {
        let key = new_key(1, Scopes::of(&[Scope::Read]), None);
        let (bob, eve) = (
            register("bob", Role::Service, None),
            register("eve", Role::Service, None),
        );
        [bootstrap(), bob, eve, create_key(admin(), "bob", key)]
    };
    check_refused(
        given(),
        revoke_key(caller("eve", Role::Service), 1),
        ApiKeyNotFound,
    );
    check_refused(
        given(),
        revoke_key(caller("eve", Role::Service), 9),
        ApiKeyNotFound,
    );
    check_refused(
        given(),
        revoke_key(caller("eve", Role::Customer), 1),
        AccessRejection::CallerRole,
    );
}

#[test]
fn too_many_sessions_end_the_oldest() {
    let mut state = given([bootstrap(), register("ada", Role::Service, None)]);
    let most = SESSIONS_PER_ACCOUNT_MAX as u8;
    for n in 0..most {
        execute(&mut state, i64::from(n), open("ada", n, DAY));
    }
    let decision = execute(&mut state, 50, open("ada", most, DAY));
    assert_eq!(
        decision.events[0],
        AccessEvent::SessionEnded {
            session: session_id(0),
            cause: End::Evicted
        }
    );
    assert_eq!(state.sessions().len(), SESSIONS_PER_ACCOUNT_MAX);
}

#[test]
fn too_many_keys_forget_a_dead_one_or_are_refused() {
    let read = Scopes::of(&[Scope::Read]);
    let mut state = given([bootstrap(), register("ada", Role::Service, None)]);
    let most = API_KEYS_PER_ACCOUNT_MAX as u8;
    for n in 1..=most {
        execute(&mut state, 1, create_key(admin(), "ada", new_key(n, read, None)));
    }
    let next = || create_key(admin(), "ada", new_key(most + 1, read, None));
    assert_eq!(
        execute(&mut state, 2, next()).rejection,
        Some(AccessRejection::TooManyApiKeys)
    );
    execute(&mut state, 3, revoke_key(admin(), 9));
    execute(&mut state, 4, revoke_key(admin(), 8));
    let decision = execute(&mut state, 5, next());
    assert_eq!(
        decision.events[0],
        AccessEvent::ApiKeyForgotten { key: key_id(9) }
    );
    assert_eq!(decision.rejection, None);
}

#[test]
fn the_state_has_a_size() {
    let mut state = given([bootstrap()]);
    let ada = state.account("root").unwrap().as_ref().clone();
    for n in 1..ACCOUNTS_MAX {
        state
            .insert_account(Account {
                username: name(&format!("a{n}")),
                ..ada.clone()
            })
            .unwrap();
    }
    for n in 0..SESSIONS_MAX {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
        let account = name(&format!("a{}", 1 + n % (ACCOUNTS_MAX - 1)));
        let (opened, expires) = (Time(0), Time(DAY + n as i64));
        let (family, token) = (hash(1), hash(2));
        let session = Session {
            id: SessionId(id),
            account,
            family,
            token,
            generation: 1,
            opened,
            expires,
        };
        state.insert_session(session).unwrap();
    }
    let root_key = state.api_key(key_id(0)).unwrap().as_ref().clone();
    for n in 1..API_KEYS_MAX {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let account = name(&format!("a{}", 1 + n % (ACCOUNTS_MAX - 1)));
        state
            .insert_api_key(ApiKey {
                id: ApiKeyId(id),
                account,
                ..root_key.clone()
            })
            .unwrap();
    }

    // Without `execute`, which checks every invariant again: that takes a while at this size.
    let refused = |request| {
        state
            .decide(&AccessCommand {
                time: Time(1),
                request,
            })
            .rejection
    };
    assert_eq!(
        refused(register("more", Role::Service, None)),
        Some(AccessRejection::TooManyAccounts)
    );
    let key = new_key(200, Scopes::of(&[Scope::Read]), None);
    assert_eq!(
        refused(create_key(admin(), "a1", key)),
        Some(AccessRejection::TooManyApiKeys)
    );
    let more = execute(&mut state, 1, open("a9", 99, DAY));
    assert_eq!(more.rejection, None);
    assert_eq!(
        state.sessions().len(),
        SESSIONS_MAX,
        "the one that would end first made room"
    );

    let pruned = execute(&mut state, 2 * DAY, open("a10", 98, 3 * DAY));
    assert!(pruned.events.len() <= PRUNED_PER_COMMAND_MAX + 2);
    assert_eq!(state.sessions().len(), SESSIONS_MAX - PRUNED_PER_COMMAND_MAX + 1);
}

#[test]
fn one_key_signs_and_the_retired_ones_verify_for_a_while() {
    use AccessRejection::*;
    check_refused([], signing_key(1, Some(9)), SigningKeyChanged);
    check_refused([signing_key(1, None)], signing_key(2, None), SigningKeyChanged);
    check_refused([signing_key(1, None)], signing_key(1, Some(1)), IdTaken);

    let mut state = given([signing_key(1, None)]);
    for n in 2..=SIGNING_KEYS_MAX as u8 {
        assert_eq!(
            execute(&mut state, 0, signing_key(n, Some(n - 1))).rejection,
            None
        );
    }
    let last = SIGNING_KEYS_MAX as u8;
    assert_eq!(state.active_signing_key().unwrap().id, signing_id(last));
    assert_eq!(state.signing_key(signing_id(1)).unwrap().retired, Some(Time(0)));
    let next = || signing_key(last + 1, Some(last));
    let early = execute(&mut state, RETIRED_SIGNING_KEY_KEPT_US - 1, next());
    assert_eq!(early.rejection, Some(TooManySigningKeys));
    assert_eq!(
        execute(&mut state, RETIRED_SIGNING_KEY_KEPT_US, next()).rejection,
        None
    );
    let left: Vec<_> = state.signing_keys().map(|key| key.id).collect();
    assert_eq!(left, [signing_id(last), signing_id(last + 1)]);
}

#[test]
fn logged_time_never_runs_backwards() {
    let mut state = given([
        bootstrap(),
        register("ada", Role::Service, None),
        open("ada", 1, DAY),
    ]);
    execute(&mut state, DAY, register("bob", Role::Service, None));
    let command = AccessCommand {
        time: Time(3),
        request: refresh(1, 101, 50, 2 * DAY),
    };
    assert_eq!(
        state.decide(&command).rejection,
        Some(AccessRejection::RefreshTokenUnknown),
        "pruned at {DAY}"
    );
    assert_eq!(state.record(&command, vec![]).time, Time(DAY));
}

#[test]
fn a_record_that_was_decided_elsewhere_does_not_fit() {
    let mut state = given([bootstrap()]);
    let command = AccessCommand {
        time: Time(1),
        request: register("ada", Role::Service, None),
    };
    let record = state.record(&command, state.decide(&command).events);
    state.apply(&record).unwrap();
    assert!(!state.fits(&record));
    let before = state.clone();
    assert!(state.apply(&record).is_err());
    assert_eq!(state, before);
}

#[test]
fn facts_about_what_is_not_there_break_the_state_by_name() {
    let events = [
        AccessEvent::RoleAssigned {
            account: name("x"),
            role: Role::Admin,
            customer: None,
        },
        AccessEvent::SessionRefreshed {
            session: session_id(1),
            token: hash(1),
            expires: Time(1),
        },
        AccessEvent::SessionEnded {
            session: session_id(1),
            cause: End::Expired,
        },
        AccessEvent::SessionOpened {
            session: session_id(1),
            account: name("x"),
            family: hash(1),
            token: hash(1),
            expires: Time(1),
        },
        AccessEvent::ApiKeyCreated {
            account: name("x"),
            key: new_key(1, Scopes::NONE, None),
        },
        AccessEvent::ApiKeyRevoked { key: key_id(1) },
        AccessEvent::ApiKeyForgotten { key: key_id(1) },
        AccessEvent::SigningKeyRetired { key: signing_id(1) },
        AccessEvent::SigningKeyForgotten { key: signing_id(1) },
    ];
    for event in events {
        assert!(
            AccessState::default().evolve(&event, Time(0)).is_err(),
            "{event:?}"
        );
    }
}

//! What a credential proves, and when it stops to.

use docket_engine::access::Credential;

use crate::authenticate::Authenticate;

use super::*;

#[tokio::test]
async fn one_credential_and_one_only() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let session = world.open_session("ada", 7).await;
    let token = format!("Bearer {}", world.token("ada", session).await);
    let key = world.create_key("ada", &[Scope::Read], None).await.text();
    let key = key.expose_secret();
    let check = |pairs: &[(&'static str, &str)], expected: Result<(), AuthError>| {
        let answer = world.authenticator.authenticate_at(&headers(pairs), world.now());
        assert_eq!(
            answer.map(|_| ()),
            expected,
            "{:?}",
            pairs.iter().map(|(header, _)| header).collect::<Vec<_>>()
        );
    };
    check(&[], Err(AuthError::Missing));
    check(&[("authorization", &token)], Ok(()));
    check(&[("x-api-key", key)], Ok(()));
    check(
        &[("authorization", &token), ("x-api-key", key)],
        Err(AuthError::Ambiguous),
    );
    check(
        &[("authorization", &token), ("authorization", &token)],
        Err(AuthError::Ambiguous),
    );
    check(
        &[("x-api-key", key), ("x-api-key", key)],
        Err(AuthError::Ambiguous),
    );
    check(
        &[("authorization", &token), ("x-api-key", "")],
        Err(AuthError::Ambiguous),
    );
    check(&[("authorization", "")], Err(AuthError::Invalid));
    check(&[("authorization", "Bearer")], Err(AuthError::Invalid));
    check(&[("authorization", "Bearer ")], Err(AuthError::Invalid));
    check(
        &[("authorization", "Basic cm9vdDpyb290")],
        Err(AuthError::Invalid),
    );
    check(&[("authorization", &token[7..])], Err(AuthError::Invalid));
    check(
        &[("authorization", &format!("Bearer {key}"))],
        Err(AuthError::Invalid),
    );
    check(&[("x-api-key", &token)], Err(AuthError::Invalid));
    check(&[("x-api-key", &token[7..])], Err(AuthError::Invalid));
    check(&[("authorization", "Bearer é")], Err(AuthError::Invalid));
    check(&[("x-api-key", "é")], Err(AuthError::Invalid));
}

#[tokio::test]
async fn a_key_acts_for_its_account_within_its_scopes() {
    let world = World::new().await;
    world.register("ada", Role::Customer, Some("c1")).await;
    let key = world.create_key("ada", &[Scope::Read], None).await;
    let principal = world.by_key(key.text().expose_secret()).unwrap();
    let expected = Principal {
        account: name("ada"),
        role: Role::Customer,
        customer: Some(CustomerId::new("c1").unwrap()),
        scopes: Scopes::of(&[Scope::Read]),
        credential: Credential::ApiKey(key.id()),
    };
    assert_eq!(*principal, expected);
}

#[tokio::test]
async fn only_what_was_verified_is_known() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let session = world.open_session("ada", 7).await;
    let token = format!("Bearer {}", world.token("ada", session).await);
    let sent = headers(&[("authorization", &token)]);
    assert!(world.authenticator.known(&sent).is_none());
    let principal = world.authenticator.authenticate(&sent).unwrap();
    assert_eq!(world.authenticator.known(&sent), Some(principal));
    assert!(world.authenticator.known(&headers(&[])).is_none());
    world.pass(DAY);
    assert!(world.authenticator.known(&sent).is_none(), "it has expired");
}

#[tokio::test]
async fn a_key_that_was_seen_to_hold_stops_when_it_is_revoked() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let key = world.create_key("ada", &[Scope::Read], None).await;
    let text = key.text();
    for _ in 0..3 {
        assert!(world.by_key(text.expose_secret()).is_ok());
    }
    world
        .execute(Request::RevokeApiKey {
            by: root(),
            key: key.id(),
        })
        .await;
    assert_eq!(world.by_key(text.expose_secret()), Err(AuthError::Invalid));
}

#[tokio::test]
async fn a_key_that_was_seen_to_hold_stops_at_its_end() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let key = world
        .create_key("ada", &[Scope::Read], Some(Time(START + DAY)))
        .await;
    let text = key.text();
    world.pass(DAY - 1);
    assert!(world.by_key(text.expose_secret()).is_ok());
    world.pass(1);
    assert_eq!(world.by_key(text.expose_secret()), Err(AuthError::Invalid));
}

#[tokio::test]
async fn a_key_with_another_secret_or_a_typo_is_no_key() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let key = world.create_key("ada", &[Scope::Read], None).await;
    let text = key.text();
    let text = text.expose_secret();
    // Right in form, with the id of a key that exists.
    let id = &text[3..27];
    let other = ApiKeyText::generate().unwrap().text();
    let body = format!("dk_{id}_{}", &other.expose_secret()[28..92]);
    let checksum: String = secret_text::sha256(body.as_bytes())[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let forged = format!("{body}_{checksum}");
    assert!(ApiKeyText::parse(&forged).is_some_and(|forged| forged.id() == key.id()));
    assert_eq!(world.by_key(&forged), Err(AuthError::Invalid));
    assert_eq!(
        world.by_key(other.expose_secret()),
        Err(AuthError::Invalid),
        "nobody's key"
    );
    for at in [0, 3, 30, text.len() - 1] {
        let mut typo = text.to_owned();
        let swapped = if &typo[at..=at] == "0" { "1" } else { "0" };
        typo.replace_range(at..=at, swapped);
        assert_eq!(world.by_key(&typo), Err(AuthError::Invalid));
    }
    assert!(world.by_key(text).is_ok());
}

#[tokio::test]
async fn a_token_that_was_seen_to_hold_stops_with_its_session() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let tokens = [
        world.open_session("ada", 7).await,
        world.open_session("ada", 8).await,
    ];
    let tokens = [
        world.token("ada", tokens[0]).await,
        world.token("ada", tokens[1]).await,
    ];
    for token in &tokens {
        assert!(world.by_token(token).is_ok());
        assert!(world.by_token(token).is_ok());
    }
    world
        .execute(Request::Logout {
            session: SessionId([7; 16]),
            family: SecretHash([7; 32]),
        })
        .await;
    assert_eq!(world.by_token(&tokens[0]), Err(AuthError::Invalid));
    assert!(world.by_token(&tokens[1]).is_ok(), "another session goes on");

    // A refresh token that is used twice: access tokens of that session end, too.
    let replay = Request::Refresh {
        session: SessionId([8; 16]),
        family: SecretHash([8; 32]),
        token: SecretHash([99; 32]),
        next: SecretHash([98; 32]),
        expires: Time(START + DAY),
    };
    assert!(
        world
            .access
            .execute(&AccessCommand {
                time: world.now(),
                request: replay
            })
            .await
            .is_err()
    );
    assert_eq!(world.by_token(&tokens[1]), Err(AuthError::Invalid));
}

#[tokio::test]
async fn another_role_ends_what_was_seen_to_hold() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let session = world.open_session("ada", 7).await;
    let token = world.token("ada", session).await;
    let key = world
        .create_key("ada", &[Scope::Read, Scope::Items], None)
        .await
        .text();
    assert!(world.by_token(&token).is_ok() && world.by_key(key.expose_secret()).is_ok());
    world.assign("ada", Role::Admin).await;
    assert_eq!(world.by_token(&token), Err(AuthError::Invalid));
    assert_eq!(world.by_key(key.expose_secret()), Err(AuthError::Invalid));
}

#[tokio::test]
async fn what_was_seen_to_hold_is_looked_up_again_and_holds_when_others_change() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let session = world.open_session("ada", 7).await;
    let token = world.token("ada", session).await;
    for n in 0..5 {
        let principal = world.by_token(&token).unwrap();
        assert_eq!(principal.credential, Credential::Session(session));
        world.register(&format!("other{n}"), Role::Service, None).await;
    }
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let session = world.open_session("ada", 7).await;
    let token = world.token("ada", session).await;
    let key = world.create_key("ada", &[Scope::Read], None).await;
    let signing = world.signing_key().await;
    let principal = world.by_token(&token).unwrap();
    let state = world.access.read(|state| format!("{state:?}"));
    let printed = format!("{principal:?} {key:?} {signing:?} {state}");
    let seed: String = signing.seed.0.iter().map(|b| format!("{b:02x}")).collect();
    let bytes = format!("{:?}", signing.seed.0);
    let secret = key.text().expose_secret()[28..92].to_owned();
    for hidden in [&seed[..], &bytes, &secret, "$argon2id"] {
        assert!(!printed.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_with_the_same_key_again() {
    let machine = AccessMachine::new();
    let access = Access::new(
        &machine.clone(),
        Immediate {
            machine,
            index: AtomicU64::new(1),
        },
    );
    let key = ApiKeyText::generate().unwrap();
    assert_eq!(bootstrap(&access, &key, Time(START)).await, Ok(true));
    assert_eq!(
        bootstrap(&access, &key, Time(START)).await,
        Ok(true),
        "after a crash, say"
    );
    assert_eq!(
        bootstrap(&access, &ApiKeyText::generate().unwrap(), Time(START)).await,
        Ok(false)
    );
    assert!(create_admin_key(&access, Time(START)).await.unwrap().is_none());
    let authenticator = Authenticator::new(access, &AuthOptions::default(), Clock::system());
    let text = key.text();
    let principal =
        authenticator.authenticate_at(&headers(&[("x-api-key", text.expose_secret())]), Time(START));
    assert_eq!(principal.unwrap().scopes, Role::Admin.scopes());

    let machine = AccessMachine::new();
    let access = Access::new(
        &machine.clone(),
        Immediate {
            machine,
            index: AtomicU64::new(1),
        },
    );
    let text = create_admin_key(&access, Time(START)).await.unwrap().unwrap();
    assert!(ApiKeyText::parse(text.expose_secret()).is_some());
}

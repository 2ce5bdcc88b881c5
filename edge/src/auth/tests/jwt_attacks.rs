//! Tokens that look like ours and must not be taken for one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

use super::*;

const PKCS8: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

fn ed25519(seed: &[u8; 32]) -> EncodingKey {
    EncodingKey::from_ed_der(&[&PKCS8[..], seed].concat())
}

/// A world with a session of `ada`, the key that signs, and a token's header and claims as they should be.
struct Attack {
    world: World,
    key: Arc<SigningKey>,
    header: Value,
    claims: Value,
}

impl Attack {
    async fn new() -> Self {
        let world = World::new().await;
        world.register("ada", Role::Customer, Some("c1")).await;
        let session = world.open_session("ada", 7).await;
        let key = world.signing_key().await;
        let now = START / S;
        let header = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": key.id.to_string() });
        let claims = json!({
            "iss": "us", "aud": "them", "sub": "ada", "iat": now, "nbf": now, "exp": now + 600,
            "sid": session.to_string(), "ver": 1,
        });
        Self {
            world,
            key,
            header,
            claims,
        }
    }

    fn header_with(&self, field: &str, value: Value) -> Value {
        with(&self.header, field, value)
    }

    fn claims_with(&self, field: &str, value: Value) -> Value {
        with(&self.claims, field, value)
    }

    /// Signed with our key.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        sign(header, claims, &ed25519(&self.key.seed.0), Algorithm::EdDSA)
    }

    #[track_caller]
    fn check(&self, what: &str, token: &str, expected: AuthError) {
        assert_eq!(self.world.by_token(token).unwrap_err(), expected, "{what}");
        assert_eq!(self.world.by_token(token).unwrap_err(), expected, "{what}, again");
    }
}

fn with(object: &Value, field: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[field] = value;
    object
}

fn without(object: &Value, field: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove(field);
    object
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Signs whatever the header says.
fn sign(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_token_of_ours_is_taken_so_that_the_attacks_fail_for_their_own_reason() {
    let attack = Attack::new().await;
    let principal = attack
        .world
        .by_token(&attack.sign(&attack.header, &attack.claims))
        .unwrap();
    assert_eq!(
        (principal.account.as_str(), principal.role),
        ("ada", Role::Customer)
    );
    let minted = attack.world.token("ada", SessionId([7; 16])).await;
    assert_eq!(attack.world.by_token(&minted).unwrap(), principal);
    let lower = headers(&[("authorization", &format!("bearer {minted}"))]);
    assert!(
        attack
            .world
            .authenticator
            .authenticate_at(&lower, Time(START))
            .is_ok(),
        "a scheme has no case"
    );
}

#[tokio::test]
async fn no_other_algorithm_is_taken() {
    let attack = Attack::new().await;
    let good = attack.sign(&attack.header, &attack.claims);
    let signature = good.rsplit('.').next().unwrap();
    for alg in [
        "none", "None", "NONE", "", "HS256", "HS384", "HS512", "ES256", "RS256", "PS256", "eddsa", "Ed25519",
    ] {
        let header = attack.header_with("alg", json!(alg));
        let message = format!("{}.{}", part(&header), part(&attack.claims));
        attack.check(alg, &format!("{message}."), AuthError::Invalid);
        attack.check(alg, &format!("{message}.{signature}"), AuthError::Invalid);
        attack.check(alg, &attack.sign(&header, &attack.claims), AuthError::Invalid);
    }
    // The public key, and the secret one, as the secret of an HMAC.
    let public = DecodingKey::from_jwk(
        &Jwk::from_encoding_key(&ed25519(&attack.key.seed.0), Algorithm::EdDSA).unwrap(),
    );
    let public = public.unwrap().try_get_as_bytes().unwrap().to_vec();
    for secret in [public, attack.key.seed.0.to_vec(), Vec::new()] {
        for (alg, algorithm) in [("HS256", Algorithm::HS256), ("EdDSA", Algorithm::HS256)] {
            let header = attack.header_with("alg", json!(alg));
            let token = sign(
                &header,
                &attack.claims,
                &EncodingKey::from_secret(&secret),
                algorithm,
            );
            attack.check("an HMAC", &token, AuthError::Invalid);
        }
    }
}

#[tokio::test]
async fn no_other_key_is_taken() {
    let attack = Attack::new().await;
    let theirs = ed25519(&[9; 32]);
    let token = sign(&attack.header, &attack.claims, &theirs, Algorithm::EdDSA);
    attack.check("another key under our id", &token, AuthError::Invalid);
    let jwk = serde_json::to_value(Jwk::from_encoding_key(&theirs, Algorithm::EdDSA).unwrap()).unwrap();
    let header = attack.header_with("jwk", jwk);
    let token = sign(&header, &attack.claims, &theirs, Algorithm::EdDSA);
    attack.check("a key that the token brings along", &token, AuthError::Invalid);
    for kid in [
        json!("0011223344556677"),
        json!(""),
        json!("../key"),
        json!("x".repeat(64)),
        Value::Null,
        json!(1),
    ] {
        let token = attack.sign(&attack.header_with("kid", kid.clone()), &attack.claims);
        attack.check(&format!("kid {kid}"), &token, AuthError::Invalid);
    }
    attack.check(
        "no kid",
        &attack.sign(&without(&attack.header, "kid"), &attack.claims),
        AuthError::Invalid,
    );
}

#[tokio::test]
async fn only_access_tokens_are_taken() {
    let attack = Attack::new().await;
    for typ in [
        json!("JWT"),
        json!("id+jwt"),
        json!(""),
        Value::Null,
        json!("at+jwt "),
    ] {
        let token = attack.sign(&attack.header_with("typ", typ.clone()), &attack.claims);
        attack.check(&format!("typ {typ}"), &token, AuthError::Invalid);
    }
    attack.check(
        "no typ",
        &attack.sign(&without(&attack.header, "typ"), &attack.claims),
        AuthError::Invalid,
    );
    let header = attack.header_with("crit", json!(["b64"]));
    attack.check(
        "an extension that must be understood",
        &attack.sign(&header, &attack.claims),
        AuthError::Invalid,
    );
}

#[tokio::test]
async fn every_claim_is_needed_and_checked() {
    let attack = Attack::new().await;
    for claim in ["iss", "aud", "sub", "iat", "nbf", "exp", "sid", "ver"] {
        let token = attack.sign(&attack.header, &without(&attack.claims, claim));
        attack.check(claim, &token, AuthError::Invalid);
        for value in [Value::Null, json!(true), json!({}), json!([])] {
            let token = attack.sign(&attack.header, &attack.claims_with(claim, value.clone()));
            attack.check(&format!("{claim} {value}"), &token, AuthError::Invalid);
        }
    }
    let wrong = [
        ("iss", json!("them")),
        ("iss", json!(["us"])),
        ("iss", json!("")),
        ("aud", json!("us")),
        ("aud", json!(["them"])),
        ("aud", json!(["them", "others"])),
        ("aud", json!("THEM")),
        ("sub", json!("root")),
        ("sub", json!("")),
        ("sid", json!(SessionId([8; 16]).to_string())),
        ("sid", json!("7")),
        ("ver", json!(2)),
        ("ver", json!(0)),
        ("ver", json!(-1)),
        ("exp", json!("1795000600")),
        ("exp", json!(1.8e9)),
        ("nbf", json!(1.0)),
    ];
    for (claim, value) in wrong {
        let token = attack.sign(&attack.header, &attack.claims_with(claim, value.clone()));
        attack.check(&format!("{claim} {value}"), &token, AuthError::Invalid);
    }
}

#[tokio::test]
async fn a_token_holds_in_its_time_and_five_seconds_around_it() {
    let attack = Attack::new().await;
    let token = attack.sign(&attack.header, &attack.claims);
    let at = |us: i64| {
        attack
            .world
            .authenticator
            .authenticate_at(&bearer(&token), Time(START + us))
            .map(|_| ())
    };
    assert_eq!(at(-5 * S - 1), Err(AuthError::Invalid), "not yet");
    assert_eq!(at(-5 * S), Ok(()));
    assert_eq!(at(605 * S - 1), Ok(()));
    assert_eq!(at(605 * S), Err(AuthError::Expired));
    assert_eq!(
        at(-5 * S - 1),
        Err(AuthError::Invalid),
        "not yet, although it was seen to hold"
    );
    for (value, expected) in [
        (START / S - 6, AuthError::Expired),
        (0, AuthError::Expired),
        (-1, AuthError::Invalid),
        (i64::MIN, AuthError::Invalid),
    ] {
        let token = attack.sign(&attack.header, &attack.claims_with("exp", json!(value)));
        attack.check(&format!("exp {value}"), &token, expected);
    }
    for value in [START / S + 6, i64::MAX] {
        let token = attack.sign(&attack.header, &attack.claims_with("nbf", json!(value)));
        attack.check("nbf", &token, AuthError::Invalid);
    }
}

#[tokio::test]
async fn an_expired_token_is_told_so_only_where_it_is_ours() {
    let attack = Attack::new().await;
    let claims = attack.claims_with("exp", json!(START / S - 60));
    let token = sign(&attack.header, &claims, &ed25519(&[9; 32]), Algorithm::EdDSA);
    attack.check("expired, and signed by another", &token, AuthError::Invalid);
}

#[tokio::test]
async fn garbage_is_refused_however_long() {
    let attack = Attack::new().await;
    let good = attack.sign(&attack.header, &attack.claims);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let long = "A".repeat(2_000);
    let cases = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        header.into(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{signature}."),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!(" {good}"),
        format!("{good} "),
        format!("{claims}.{header}.{signature}"),
        good[..good.len() - 1].into(),
        good.to_lowercase(),
        long.clone(),
        format!("{header}.{long}.{signature}"),
        format!("{good}.{}", "x".repeat(1 << 20)),
    ];
    for token in cases {
        attack.check(&token[..token.len().min(40)], &token, AuthError::Invalid);
    }
    // One bit off, anywhere.
    for at in (0..good.len()).step_by(7) {
        let mut token = good.clone().into_bytes();
        token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(token).unwrap();
        if token != good {
            attack.check("a flipped character", &token, AuthError::Invalid);
        }
    }
}

#[tokio::test]
async fn an_oversized_token_is_refused_although_its_signature_is_right() {
    let attack = Attack::new().await;
    let claims = attack.claims_with("pad", json!("x".repeat(1_000)));
    attack.check(
        "oversized",
        &attack.sign(&attack.header, &claims),
        AuthError::Invalid,
    );
    let claims = attack.claims_with("pad", json!("x"));
    assert!(
        attack
            .world
            .by_token(&attack.sign(&attack.header, &claims))
            .is_ok(),
        "a claim more does no harm"
    );
}

#[tokio::test]
async fn a_retired_key_verifies_what_it_signed_and_no_longer() {
    let attack = Attack::new().await;
    let world = &attack.world;
    world.pass(30 * DAY - 60 * S);
    let session = world.open_session("ada", 8).await;
    let token = world.token("ada", session).await;
    world.pass(60 * S);
    assert_eq!(
        world.signing_key().await.id,
        attack.key.id,
        "another is made, and published first"
    );
    world.pass(300 * S);
    let next = world.signing_key().await;
    assert_ne!(next.id, attack.key.id, "after 30 days another key signs");
    assert_eq!(world.signing_key().await.id, next.id);
    assert!(world.by_token(&token).is_ok());

    // Whoever has the old key makes tokens with it as long as they like; they end with the key.
    world.pass(2 * 3_600 * S);
    let now = world.now().0 / S;
    let claims = with(&attack.claims, "sid", json!(session.to_string()));
    let claims = with(&with(&claims, "nbf", json!(now - 60)), "exp", json!(now + 600));
    attack.check(
        "signed by a key that is over",
        &attack.sign(&attack.header, &claims),
        AuthError::Invalid,
    );
}

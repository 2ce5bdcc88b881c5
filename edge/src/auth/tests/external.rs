//! Tokens of another issuer: what lets them in, and everything that does not.

use std::{fs, path::PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A world that lets in tokens of `https://id.example.org` by the keys in a file.
struct Abroad {
    world: World,
    folder: TempDir,
    key: EncodingKey,
    claims: Value,
}

fn key() -> EncodingKey {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    EncodingKey::from_ec_der(&pair.serialize_der())
}

fn jwk(key: &EncodingKey, id: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    serde_json::to_value(jwk).unwrap()
}

impl Abroad {
    async fn new(change: fn(&mut ExternalIssuer)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The library's own back end, as everywhere.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut world = World::new().await;
        let key = key();
        let external = &mut world.options.external;
        external.issuer = Some("https://id.example.org".into());
        external.audience = Some("docket".into());
        external.jwks_file = Some(folder.path().join("jwks.json"));
        change(external);
        world.options.validate().unwrap();
        world.authenticator = Authenticator::new(world.access.clone(), &world.options, world.clock.clone());
        let now = START / S;
        let abroad = Self {
            world,
            folder,
            claims: json!({
                "iss": "https://id.example.org", "aud": ["docket", "shop"], "sub": "ada", "iat": now, "exp": now + 600,
                "docket_role": "customer", "docket_customer": "c1",
            }),
            key,
        };
        abroad.publish(&json!({ "keys": [jwk(&abroad.key, "k1")] }));
        abroad.world.authenticator.load_external_keys().unwrap();
        abroad
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    fn publish(&self, document: &Value) {
        fs::write(self.file(), document.to_string()).unwrap();
    }

    fn sign_with(&self, key: &EncodingKey, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.key, Some("k1"), claims)
    }

    fn with(&self, changes: &[(&str, Value)]) -> Value {
        let mut claims = self.claims.clone();
        for (name, value) in changes {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(*name)),
                value => claims[*name] = value.clone(),
            }
        }
        claims
    }

    #[track_caller]
    fn refuses(&self, what: &str, token: &str) {
        assert_eq!(
            self.world.by_token(token).unwrap_err(),
            AuthError::Invalid,
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_token_says_its_role_and_its_customer() {
    let abroad = Abroad::new(|_| {}).await;
    let world = &abroad.world;
    let principal = world.by_token(&abroad.sign(&abroad.claims)).unwrap();
    assert_eq!(principal.account.as_str(), "external@ada");
    assert_eq!(principal.role, Role::Customer);
    assert_eq!(principal.customer, Some(CustomerId::new("c1").unwrap()));
    let claims = abroad.with(&[
        ("docket_role", json!(["editor", "service"])),
        ("docket_customer", Value::Null),
    ]);
    let principal = world.by_token(&abroad.sign(&claims)).unwrap();
    assert_eq!((principal.role, &principal.customer), (Role::Service, &None));
    // A subject that can be no name is somebody all the same, and always the same.
    let odd = abroad.sign(&abroad.with(&[("sub", json!("auth0|ada@example.org/ö"))]));
    let name = world.by_token(&odd).unwrap().account.to_string();
    assert!(name.starts_with("external@sha256-"), "{name}");
    // The cluster's own are as good as ever.
    world.register("bob", Role::Service, None).await;
    let session = world.open_session("bob", 9).await;
    let own = world.token("bob", session).await;
    assert_eq!(world.by_token(&own).unwrap().account.as_str(), "bob");
}

#[tokio::test]
async fn what_is_not_as_it_should_be_is_refused() {
    let abroad = Abroad::new(|_| {}).await;
    let now = START / S;
    let claims: &[(&str, &[(&str, Value)])] = &[
        ("for somebody else", &[("aud", json!("shop"))]),
        ("without an audience", &[("aud", Value::Null)]),
        ("without a subject", &[("sub", Value::Null)]),
        ("of nobody", &[("sub", json!(""))]),
        ("without an end", &[("exp", Value::Null)]),
        ("without a begin", &[("iat", Value::Null)]),
        ("that lasts too long", &[("exp", json!(now + 3_601))]),
        (
            "from later",
            &[("iat", json!(now + 60)), ("exp", json!(now + 100))],
        ),
        ("not before later", &[("nbf", json!(now + 60))]),
        ("without a role", &[("docket_role", Value::Null)]),
        ("with a role that is none", &[("docket_role", json!("root"))]),
        (
            "with a role that is not given",
            &[("docket_role", json!("admin"))],
        ),
        (
            "with two roles",
            &[("docket_role", json!(["customer", "service"]))],
        ),
        (
            "of a customer without its id",
            &[("docket_customer", Value::Null)],
        ),
        (
            "with a role in another shape",
            &[("docket_role", json!({ "customer": true }))],
        ),
    ];
    for (what, changes) in claims {
        abroad.refuses(what, &abroad.sign(&abroad.with(changes)));
    }
    let good = abroad.sign(&abroad.claims);
    assert!(abroad.world.by_token(&good).is_ok());
    abroad.refuses(
        "of a key that is not known",
        &abroad.sign_with(&abroad.key, Some("k2"), &abroad.claims),
    );
    abroad.refuses(
        "of somebody else's key",
        &abroad.sign_with(&key(), Some("k1"), &abroad.claims),
    );
    abroad.refuses("cut", &good[..good.len() - 4]);
    let long = abroad.sign(&abroad.with(&[("more", json!("x".repeat(8_000)))]));
    abroad.refuses("too long", &long);
    // Signed by a secret: the public key as text, as in the oldest of attacks.
    let secret = EncodingKey::from_secret(jwk(&abroad.key, "k1").to_string().as_bytes());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".into());
    abroad.refuses(
        "by a secret",
        &jsonwebtoken::encode(&header, &abroad.claims, &secret).unwrap(),
    );
    // And later it is over.
    abroad.world.pass(700 * S);
    assert_eq!(abroad.world.by_token(&good).unwrap_err(), AuthError::Expired);
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused() {
    let abroad = Abroad::new(|external| external.algorithms = vec!["RS256".into()]).await;
    abroad.refuses("ES256", &abroad.sign(&abroad.claims));
}

#[tokio::test]
async fn an_administrator_is_let_in_where_that_role_is_given() {
    let abroad = Abroad::new(|external| external.roles = vec!["admin".into()]).await;
    let claims = abroad.with(&[("docket_role", json!("admin"))]);
    let principal = abroad.world.by_token(&abroad.sign(&claims)).unwrap();
    assert_eq!(principal.role, Role::Admin);
    // It has no account, so that it manages none.
    let request = Request::AssignRole {
        by: principal.caller(),
        account: name("root"),
        role: Role::Service,
        customer: None,
    };
    let command = AccessCommand {
        time: abroad.world.now(),
        request,
    };
    assert!(abroad.world.access.execute(&command).await.is_err());
}

#[tokio::test]
async fn nobody_passes_for_somebody_who_has_an_account() {
    let abroad = Abroad::new(|_| {}).await;
    let token = abroad.sign(&abroad.claims);
    assert!(abroad.world.by_token(&token).is_ok());
    abroad.world.register("external@ada", Role::Service, None).await;
    abroad.refuses("somebody has that name now", &token);
}

#[tokio::test]
async fn keys_that_are_taken_out_of_the_file_verify_no_more_and_a_bad_file_changes_nothing() {
    let abroad = Abroad::new(|_| {}).await;
    let authenticator = &abroad.world.authenticator;
    let (old, second) = (abroad.sign(&abroad.claims), key());
    let new = abroad.sign_with(&second, Some("k2"), &abroad.claims);
    assert!(abroad.world.by_token(&old).is_ok());
    abroad.refuses("not there yet", &new);
    abroad.publish(&json!({ "keys": [jwk(&abroad.key, "k1"), jwk(&second, "k2")] }));
    authenticator.load_external_keys().unwrap();
    assert!(abroad.world.by_token(&old).is_ok() && abroad.world.by_token(&new).is_ok());
    for (bad, why) in [
        ("", "it is no JWKS document"),
        ("{\"keys\": [", "it is no JWKS document"),
        ("{}", "it is no JWKS document"),
    ] {
        fs::write(abroad.file(), bad).unwrap();
        let refused = authenticator.load_external_keys().unwrap_err().to_string();
        assert!(
            refused.contains(why) && refused.contains("jwks.json"),
            "{refused}"
        );
        assert!(abroad.world.by_token(&old).is_ok() && abroad.world.by_token(&new).is_ok());
    }
    // The first one goes, and what was verified by it and kept goes with it.
    abroad.publish(&json!({ "keys": [jwk(&second, "k2")] }));
    authenticator.load_external_keys().unwrap();
    abroad.refuses("its key is gone", &old);
    assert!(abroad.world.by_token(&new).is_ok());
}

#[tokio::test]
async fn a_file_without_a_key_that_can_be_used_locks_the_issuer_out() {
    let abroad = Abroad::new(|_| {}).await;
    let authenticator = &abroad.world.authenticator;
    let token = abroad.sign(&abroad.claims);
    let mut to_encrypt = jwk(&abroad.key, "k1");
    to_encrypt["use"] = "enc".into();
    for (what, keys) in [
        ("no key", json!([])),
        ("a secret", json!([{ "kty": "oct", "k": "aHVudGVyMg" }])),
        ("a key to encrypt", json!([to_encrypt])),
    ] {
        abroad.publish(&json!({ "keys": [jwk(&abroad.key, "k1")] }));
        authenticator.load_external_keys().unwrap();
        assert!(abroad.world.by_token(&token).is_ok());
        abroad.publish(&json!({ "keys": keys }));
        authenticator.load_external_keys().unwrap();
        abroad.refuses(what, &token);
    }
}

#[test]
fn settings_that_cannot_be_are_named() {
    #[track_caller]
    fn check(option: &str, change: fn(&mut ExternalIssuer)) {
        let mut options = AuthOptions {
            external: ExternalIssuer {
                issuer: Some("https://id.example.org".into()),
                audience: Some("docket".into()),
                jwks_file: Some("jwks.json".into()),
                ..ExternalIssuer::default()
            },
            ..AuthOptions::default()
        };
        options.validate().unwrap();
        change(&mut options.external);
        assert_eq!(options.validate().unwrap_err().option, option);
    }
    check("external.issuer", |it| it.issuer = None);
    check("external.issuer", |it| it.issuer = Some("docket".into()));
    check("external.audience", |it| it.audience = None);
    check("external.jwks_file", |it| it.jwks_file = None);
    check("external.algorithms", |it| it.algorithms = vec!["HS256".into()]);
    check("external.algorithms", |it| it.algorithms.clear());
    check("external.roles", |it| it.roles = vec!["root".into()]);
    check("external.role_claim", |it| it.role_claim.clear());
    check("external.token_s_max", |it| it.token_s_max = 0);
}

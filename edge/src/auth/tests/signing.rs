//! Which key signs when another is made, and what is published.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docket_engine::access::{SigningKeyId, limits::RETIRED_SIGNING_KEY_KEPT_US};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;

use super::*;

/// For how long a key is published before it signs, by default.
const PUBLISHED: i64 = 300 * S;

fn given(byte: u8) -> SigningKeyText {
    SigningKeyText::parse(&STANDARD.encode([byte; 32]).into()).unwrap()
}

impl World {
    fn published(&self) -> JwkSet {
        serde_json::from_value(published_keys(&self.access, self.now())).unwrap()
    }

    fn published_ids(&self) -> BTreeSet<String> {
        let keys = self.published().keys.into_iter();
        keys.map(|key| key.common.key_id.unwrap()).collect()
    }

    async fn signs(&self, tokens: &Tokens) -> SigningKeyId {
        tokens.signing_key(self.now()).await.unwrap().id
    }
}

#[tokio::test]
async fn a_key_signs_when_it_was_published_and_the_one_before_until_then() {
    let world = World::new().await;
    let tokens = world.tokens();
    let first = world.signs(&tokens).await;
    tokens.sign_with(given(2));
    let second = given(2).id();
    assert_eq!(world.signs(&tokens).await, first, "nobody knows the second yet");
    assert_eq!(
        world.published_ids(),
        BTreeSet::from([first.to_string(), second.to_string()])
    );
    world.pass(PUBLISHED - S);
    assert_eq!(world.signs(&tokens).await, first);
    world.pass(S);
    assert_eq!(world.signs(&tokens).await, second);
    // What the first signed at last is over before it is.
    world.pass(RETIRED_SIGNING_KEY_KEPT_US - PUBLISHED - S);
    assert_eq!(world.published_ids().len(), 2);
    world.pass(S);
    assert_eq!(world.published_ids(), BTreeSet::from([second.to_string()]));
}

#[tokio::test]
async fn keys_that_come_faster_than_they_are_published_sign_in_their_turn() {
    let world = World::new().await;
    let tokens = world.tokens();
    let mut made = vec![world.signs(&tokens).await];
    for byte in 2..=4 {
        world.pass(PUBLISHED / 3);
        tokens.sign_with(given(byte));
        made.push(given(byte).id());
        world.signs(&tokens).await;
    }
    // They were made 100 seconds after one another; each signs 300 seconds after it was made.
    let mut signed = vec![world.signs(&tokens).await];
    for _ in 0..5 {
        world.pass(PUBLISHED / 3);
        signed.push(world.signs(&tokens).await);
    }
    let [first, second, third, fourth] = made[..] else {
        panic!("{made:?}")
    };
    assert_eq!(signed, [first, second, third, fourth, fourth, fourth]);
    // All that they signed verifies.
    assert_eq!(world.published_ids().len(), 4);
}

#[tokio::test]
async fn a_given_key_is_the_same_on_every_node_and_is_not_taken_back() {
    let world = World::new().await;
    let (one, other) = (world.tokens(), world.tokens());
    one.sign_with(given(7));
    other.sign_with(given(7));
    assert_eq!(world.signs(&one).await, given(7).id());
    assert_eq!(world.signs(&other).await, given(7).id());
    assert_eq!(world.published_ids().len(), 1);
    // One of them hears of the next later.
    one.sign_with(given(8));
    world.signs(&one).await;
    world.pass(PUBLISHED);
    for _ in 0..3 {
        assert_eq!(world.signs(&other).await, given(8).id());
        assert_eq!(world.signs(&one).await, given(8).id());
    }
    // By age none is made.
    world.pass(60 * DAY);
    assert_eq!(world.signs(&one).await, given(8).id());
    assert_eq!(world.published_ids().len(), 1);
}

#[tokio::test]
async fn whoever_reads_the_published_keys_verifies_what_is_signed() {
    let world = World::new().await;
    world.register("ada", Role::Customer, Some("c1")).await;
    let session = world.open_session("ada", 3).await;
    let token = world.token("ada", session).await;
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let set = world.published();
    let jwk = set.find(&header.kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["them"]);
    validation.set_issuer(&["us"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["sub"], "ada");
    // Public, and nothing else.
    let document = published_keys(&world.access, world.now());
    let key = document["keys"][0].as_object().unwrap();
    let members: BTreeSet<&str> = key.keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["alg", "crv", "kid", "kty", "use", "x"]));
    assert_eq!(
        (&key["alg"], &key["use"], &key["crv"]),
        (&"EdDSA".into(), &"sig".into(), &"Ed25519".into())
    );
}

#[test]
fn a_given_key_is_pem_or_base64_and_nothing_prints_it() {
    // RFC 8410, section 10.3, and its seed.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let seed = "1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI=";
    let (from_pem, from_seed) = (
        SigningKeyText::parse(&pem.into()).unwrap(),
        SigningKeyText::parse(&format!("{seed}\n").into()).unwrap(),
    );
    assert_eq!(from_pem, from_seed);
    let printed = format!("{from_pem:?}");
    assert!(!printed.contains("seed") && !printed.contains("213"), "{printed}");
    for bad in [
        "",
        "hunter2",
        "1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WA==",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    ] {
        let refused = SigningKeyText::parse(&bad.into()).unwrap_err();
        assert!(!refused.to_string().contains("hunter2"));
    }
}

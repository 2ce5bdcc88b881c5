//! Tokens of another issuer, at a server that runs.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::{
    server::{Server, until},
    support::{Run, Shell},
};

const ISSUER: &str = "https://id.example.org";
const JWKS: &str = "issuer.jwks.json";

fn key() -> EncodingKey {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    EncodingKey::from_ec_der(&pair.serialize_der())
}

/// Exchanges the file for one with this key alone.
fn publish(shell: &Shell, key: &EncodingKey) {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k1".to_owned());
    fs::write(
        shell.path().join("new.json"),
        json!({ "keys": [jwk] }).to_string(),
    )
    .unwrap();
    fs::rename(shell.path().join("new.json"), shell.path().join(JWKS)).unwrap();
}

/// A token for ada that says this, too, by the key that the file calls `k1`.
fn token(key: &EncodingKey, says: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": "docket", "sub": "ada", "iat": now, "exp": now + 600, "docket_role": "service",
    });
    for (name, value) in says.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k1".to_owned());
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

#[test]
fn a_token_of_the_other_issuer_lets_in_and_one_by_another_key_does_not() {
    // The library's own back end, as everywhere.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let config =
        format!("[auth.external]\nissuer = \"{ISSUER}\"\naudience = \"docket\"\njwks_file = \"{JWKS}\"\n");
    let shell = Shell::new().file("docket.toml", &config);
    let (theirs, others) = (key(), key());
    publish(&shell, &theirs);
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    let flags = server.flags();
    for made in [
        "customer create acme --currency EUR --credit-limit 1000",
        "customer create zoe --currency EUR --credit-limit 1000",
        "item create tea --currency EUR --price 1 --on-hand 1000",
    ] {
        shell.run(&format!("{made} {flags}")).ends(0);
    }
    let by = |token: &str, command: &str| -> Run { shell.run(&format!("{command} --token {token} {flags}")) };
    let order = "order place --customer acme tea:1";

    // By its role, and by its customer.
    let service = token(&theirs, &json!({}));
    by(&service, order).ends(0);
    let of_acme = json!({ "docket_role": "customer", "docket_customer": "acme" });
    let customer = token(&theirs, &of_acme);
    by(&customer, order).ends(0);
    by(&customer, "order place --customer zoe tea:1")
        .ends(1)
        .says("CUSTOMER_NOT_FOUND");
    by(
        &service,
        "auth register bob --role service --password-file docket.toml",
    )
    .ends(1)
    .says("PERMISSION_DENIED");
    // What it leaves names whom it stands for.
    let denied = until(
        "what was denied to be recorded",
        || {
            let shown = shell
                .run("audit show --outcome denied --who external@ada -o json")
                .ends(0)
                .json();
            shown["records"].as_array().unwrap().first().cloned()
        },
        || server.log(),
    );
    assert_eq!(denied["who"]["account"], "external@ada", "{denied}");

    // Everything that is not so.
    let forged = token(&others, &json!({}));
    for (what, refused) in [
        ("another key", &forged),
        ("another audience", &token(&theirs, &json!({ "aud": "shop" }))),
        (
            "a role that is not let in",
            &token(&theirs, &json!({ "docket_role": "admin" })),
        ),
        ("over", &token(&theirs, &json!({ "iat": 1_000, "exp": 1_600 }))),
    ] {
        let run = by(refused, order).ends(1);
        assert!(run.stderr.contains("UNAUTHENTICATED"), "{what}: {}", run.stderr);
    }
    by(&service, order).ends(0);

    // The issuer has another key: what the one before has signed is worth nothing from then on.
    publish(&shell, &others);
    until(
        "the other key to count",
        || (by(&forged, order).code == 0).then_some(()),
        || server.log(),
    );
    by(&service, order).ends(1).says("UNAUTHENTICATED");
    server.stop();
}

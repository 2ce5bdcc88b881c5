//! Secrets of a real OpenBao server, renewed and rotated while the node serves.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{
    bao::{Bao, Kubernetes},
    http::Answering,
};
use crate::{
    server::{Server, until},
    support::Shell,
};

const PASSWORD: &str = "correct horse battery";

/// A payment provider that does everything for whoever shows one of its tokens.
struct Cards {
    served: Answering,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Cards {
    fn start() -> Self {
        let tokens = Arc::new(Mutex::new(vec![
            "card-token-1".to_owned(),
            "card-token-2".to_owned(),
        ]));
        let known = Arc::clone(&tokens);
        let served = Answering::start(move |asked| {
            let shown = asked.authorization.strip_prefix("Bearer ").unwrap_or_default();
            match (
                known.lock().unwrap().iter().any(|token| token == shown),
                &*asked.method,
            ) {
                (false, _) => (401, json!({ "reason": "who are you?" })),
                (true, "POST") => (
                    200,
                    json!({ "key": asked.key, "status": "done", "reference": "r1" }),
                ),
                (true, _) => (404, json!({ "reason": "not seen" })),
            }
        });
        Self { served, tokens }
    }

    /// How often this token was shown.
    fn shown(&self, token: &str) -> usize {
        let header = format!("Bearer {token}");
        self.served
            .asked()
            .iter()
            .filter(|asked| asked.authorization == header)
            .count()
    }
}

fn fields(admin_key: &str, generation: u8) -> Value {
    json!({
        "admin_key": admin_key,
        "signing_key": STANDARD.encode([generation; 32]),
        "card_token": format!("card-token-{generation}"),
    })
}

fn config(bao: &Bao, cards: &Cards, more: &str) -> String {
    format!(
        "[secrets]\nrefresh_s = 1\nopen_within_s = 2\n\
         [secrets.vault]\naddress = \"http://{}\"\nkubernetes_role = \"docket\"\nkubernetes_jwt_file = \"jwt\"\n\
         [auth]\nsigning_key = \"vault:secret/docket#signing_key\"\nsigning_key_published_s = 3\nlogin_burst = 1000\n\
         admin_key = \"vault:secret/docket#admin_key\"\n\
         [payments.providers.cards]\nurl = \"http://{}\"\ntoken = \"vault:secret/docket#card_token\"\n{more}",
        bao.address, cards.served.address
    )
}

/// The key that a token says it was signed by.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

fn published(server: &Server) -> BTreeSet<String> {
    let (status, body) = server.admin("/.well-known/jwks.json").unwrap();
    assert_eq!(status, 200, "{body}");
    let document: Value = serde_json::from_str(&body).unwrap();
    let keys = document["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// A sample of the metrics; 0 where there is none yet.
fn metric(server: &Server, sample: &str) -> f64 {
    let (_, metrics) = server.admin("/metrics").unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn secrets_of_a_real_server_are_renewed_and_rotated_while_orders_are_placed() {
    let Some(mut bao) = Bao::start() else { return };
    let kubernetes = Kubernetes::start();
    bao.trusts(&kubernetes, "3s");
    let cards = Cards::start();
    let admin_key = Shell::new()
        .run("config admin-key")
        .ends(0)
        .stdout
        .trim()
        .to_owned();
    bao.put(&fields(&admin_key, 1));
    let shell = Shell::new()
        .variable("DOCKET_API_KEY", &admin_key)
        .variable("DOCKET_PASSWORD", PASSWORD)
        .file("jwt", &kubernetes.jwt)
        .file("docket.toml", &config(&bao, &cards, ""));
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    assert!(
        !shell.path().join("docket-data/admin.key").exists(),
        "the key is the one that was given"
    );
    assert!(kubernetes.reviewed() >= 1);
    let logins = "docket_vault_logins_total{result=\"ok\"}";
    // The first administrator's key is read by itself: only this start needs it.
    assert_eq!(metric(&server, logins), 2.0);
    let flags = server.flags();
    for command in [
        "customer create acme --currency eur --credit-limit 1000000",
        "item create tea --currency EUR --price 1 --on-hand 1000000",
        "auth register ana --role service",
        "auth register ben --role service",
    ] {
        shell.run(&format!("{command} {flags}")).ends(0);
    }
    let log_in = |account: &str| {
        let session = shell
            .run(&format!("auth login {account} -o json {flags}"))
            .ends(0)
            .json();
        session["access_token"].as_str().unwrap().to_owned()
    };
    let read_with = |token: &str| {
        shell
            .run(&format!("item get tea --token {token} {flags}"))
            .ends(0);
    };
    let first = log_in("ana");
    assert_eq!(published(&server), BTreeSet::from([kid(&first)]));

    let (over, placed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen_from = Instant::now();
    thread::scope(|scope| {
        for pay_by in ["account", "cards"] {
            let (over, placed, shell, flags) = (&over, &placed, &shell, &flags);
            scope.spawn(move || {
                let place = format!("order place --customer acme tea:1 --pay-by {pay_by} -o json {flags}");
                while !over.load(Ordering::Relaxed) {
                    let order = shell.run(&place).ends(0).json();
                    assert_eq!(order["state"], "CONFIRMED", "{order}");
                    placed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // However a check fails, the orders end.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&over);
        let tell = || server.log();

        let renewed = "docket_vault_token_renewals_total{result=\"ok\"}";
        until(
            "the token to be renewed",
            || (metric(&server, renewed) >= 2.0).then_some(()),
            tell,
        );
        until(
            "a payment",
            || (cards.shown("card-token-1") > 0).then_some(()),
            tell,
        );

        bao.put(&fields(&admin_key, 2));
        until(
            "the provider to be shown its new token",
            || (cards.shown("card-token-2") > 0).then_some(()),
            tell,
        );
        *cards.tokens.lock().unwrap() = vec!["card-token-2".to_owned()];
        until(
            "the new key to be published",
            || (published(&server).len() == 2).then_some(()),
            tell,
        );
        let before = log_in("ana");
        let new = until(
            "a token by the new key",
            || {
                // Of somebody else: each login of an account beyond a few ends an older one.
                let token = log_in("ben");
                (kid(&token) != kid(&first)).then_some(token)
            },
            tell,
        );
        assert!(published(&server).contains(&kid(&new)));
        for token in [&first, &before, &new] {
            read_with(token);
        }
        assert!(metric(&server, "docket_secret_changes_total") >= 2.0);
        assert_eq!(metric(&server, logins), 2.0, "it was renewed, not made anew");

        // The server goes: what was read is in force.
        bao.kill();
        until(
            "it to be told that the server is gone",
            || (metric(&server, "docket_secrets_failing") == 2.0).then_some(()),
            tell,
        );
        let before = placed.load(Ordering::Relaxed);
        until(
            "more orders",
            || (placed.load(Ordering::Relaxed) > before + 4).then_some(()),
            tell,
        );
        read_with(&log_in("ana"));
    });
    println!(
        "{} orders in {:?}, {} payments by the first token and {} by the second, {} renewals",
        placed.load(Ordering::Relaxed),
        seen_from.elapsed(),
        cards.shown("card-token-1"),
        cards.shown("card-token-2"),
        metric(&server, "docket_vault_token_renewals_total{result=\"ok\"}"),
    );
    let log = server.log();
    assert!(log.contains("the one that was read before is in force"), "{log}");
    server.stop();

    // Without its server it does not start, and says why within the time that is configured.
    let begun = Instant::now();
    let refused = shell
        .run("serve --config docket.toml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0")
        .ends(1);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    refused
        .says("vault:secret/docket#")
        .says("within 2s")
        .says(&format!("http://{}", bao.address));
}

#[test]
fn a_token_from_a_file_opens_a_real_server_and_one_that_ends_is_exchanged() {
    let Some(bao) = Bao::start() else { return };
    let cards = Cards::start();
    let admin_key = Shell::new()
        .run("config admin-key")
        .ends(0)
        .stdout
        .trim()
        .to_owned();
    bao.put(&fields(&admin_key, 1));
    let config = config(&bao, &cards, "").replace(
        "kubernetes_role = \"docket\"\nkubernetes_jwt_file = \"jwt\"\n",
        "token = \"file:bao-token\"\n",
    );
    let shell = Shell::new()
        .variable("DOCKET_API_KEY", &admin_key)
        .file("docket.toml", &config)
        .file("bao-token", &bao.token("2s"));
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    let tell = || server.log();
    let renewed = "docket_vault_token_renewals_total{result=\"ok\"}";
    until(
        "the token to be renewed",
        || (metric(&server, renewed) >= 1.0).then_some(()),
        tell,
    );
    // It is taken away, and another lies in its place.
    let old = fs::read_to_string(shell.path().join("bao-token")).unwrap();
    let next = bao.token("1h");
    fs::write(shell.path().join("new"), &next).unwrap();
    fs::rename(shell.path().join("new"), shell.path().join("bao-token")).unwrap();
    bao.set("auth/token/revoke", &json!({ "token": old }));
    let changed = metric(&server, "docket_secret_changes_total");
    bao.put(&fields(&admin_key, 2));
    until(
        "the secrets to be read with the other token",
        || (metric(&server, "docket_secret_changes_total") >= changed + 2.0).then_some(()),
        tell,
    );
    assert_eq!(metric(&server, "docket_secrets_failing"), 0.0);
    assert!(metric(&server, "docket_vault_logins_total{result=\"ok\"}") >= 3.0);
    server.stop();
}

//! Distinctive secrets, given in every way there is, are looked for in everything that the program says.

mod backups;
mod standby;

use std::{fs, io::Read as _, process::Command};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use flate2::read::GzDecoder;
use rustix::process::Signal;
use serde_json::json;

use self::{backups::backups, standby::standby};
use super::{bao::Bao, beside::Beside, http::Answering};
use crate::{
    debug::unpack,
    server::{Server, serve_args, until},
    support::{Run, Shell},
};

const PASSWORD: &str = "canary-password-9Jq2";
/// What the files are sealed with: 32 bytes, given in hexadecimal.
const AT_REST: &str = "canary-rest-key-with-32-bytes-0Z";
/// What backups are sealed with, likewise; and one of somebody else's.
const OF_BACKUPS: &str = "canary-backup-key-of-32-bytes-0T";
const OF_OTHER_BACKUPS: &str = "canary-others-key-of-32-bytes-3V";
/// The key of the bucket that they are in, and what goes with it.
const BUCKET_KEY: &str = "canary-bucket-6Fn3";
const BUCKET_SESSION: &str = "canary-session-1Ws7";
const BUCKET: &str = "s3://backups/shop/eu";
/// A standby is given this for a key of the primary's, and it is none.
const NO_KEY: &str = "canary-standby-8Gd4";
/// It is configured where no secret belongs, so that it is found: by that the search is known to look.
const PLANTED: &str = "canary-planted-5Hx8";

/// What the program has said, and where.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn run(&mut self, place: &str, run: &Run) {
        self.add(place, format!("{}\n{}", run.stdout, run.stderr));
    }

    /// Where one of these secrets is, in any of the forms in which it may get somewhere.
    fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for secret in secrets {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let forms = [
                secret.clone(),
                secret.replace('\n', "\\n"),
                STANDARD_NO_PAD.encode(secret),
                hex,
                format!("{:?}", secret.as_bytes()),
            ];
            for (place, text) in &self.0 {
                if forms.iter().any(|form| text.contains(form)) {
                    found.push(format!("{secret} in {place}"));
                }
            }
        }
        found
    }
}

#[test]
fn the_search_finds_a_secret_in_each_of_its_forms() {
    let secret = "canary-of-the-search\nsecond line".to_owned();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    for planted in [
        format!("level=TRACE token={secret}"),
        json!({ "token": secret }).to_string(),
        format!("dG9rZW4{}", STANDARD_NO_PAD.encode(&secret)),
        format!("0x{hex}"),
        format!("{:?}", secret.as_bytes()),
    ] {
        let mut said = Said::default();
        said.add("the log", "nothing to see");
        assert_eq!(said.leaks(std::slice::from_ref(&secret)), Vec::<String>::new());
        said.add("planted", &*planted);
        assert_eq!(said.leaks(std::slice::from_ref(&secret)).len(), 1, "{planted}");
    }
}

/// A provider that repeats the token that it is shown, and fails where it sees one for the first time.
fn echoing() -> Answering {
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    Answering::start(move |asked| {
        if seen.lock().unwrap().insert(asked.authorization.clone()) {
            return (500, json!({ "reason": format!("no {}", asked.authorization) }));
        }
        match &*asked.method {
            "POST" => (
                200,
                json!({ "key": asked.key, "status": "done", "reference": "r1" }),
            ),
            _ => (
                404,
                json!({ "reason": format!("not with {}", asked.authorization) }),
            ),
        }
    })
}

/// The key of a file as `openssl genpkey` writes it, and its seed in the two forms of base64 that it has there and here.
fn pem(byte: u8) -> (String, [String; 2]) {
    let seed = [byte; 32];
    let mut der = vec![
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    der.extend(seed);
    let inner = STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{inner}\n-----END PRIVATE KEY-----\n");
    (pem, [inner, STANDARD.encode(seed)])
}

fn hex(secret: &str) -> String {
    secret.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn secrets_given_in_every_way_are_nowhere_to_be_found() {
    let bao = Bao::start();
    let (provider, beside) = (echoing(), Beside::start());
    let new_key = || {
        Shell::new()
            .run("config admin-key")
            .ends(0)
            .stdout
            .trim()
            .to_owned()
    };
    let (admin_key, unknown_key) = (new_key(), new_key());
    let (first, first_forms) = pem(0x5b);
    let (second, second_forms) = pem(0x6d);
    let tokens = [
        "canary-file-7Kd1",
        "canary-file-next-3Wz9",
        "canary-env-4Tp6",
        "canary-bao-8Rm0",
        "canary-bao-next-2Vc5",
    ];
    let mut secrets: Vec<String> = tokens.map(str::to_owned).to_vec();
    secrets.extend([PASSWORD, AT_REST, "canary-plain-1Ly7"].map(str::to_owned));
    secrets.extend([OF_BACKUPS, OF_OTHER_BACKUPS, BUCKET_KEY, BUCKET_SESSION, NO_KEY].map(str::to_owned));
    // The key is told apart from its id, which is not secret.
    for key in [&admin_key, &unknown_key] {
        secrets.push(key.split('_').nth(2).unwrap().to_owned());
    }
    secrets.extend(first_forms.into_iter().chain(second_forms));

    let section = |name: &str, token: &str| {
        format!(
            "[payments.providers.{name}]\nurl = \"http://{}\"\nbackoff_min_ms = 5\nbreaker_open_ms = 50\ntoken = \"{token}\"\n",
            provider.address
        )
    };
    let mut config = format!(
        "[log]\nlevel = \"trace\"\n[auth]\naudience = \"{PLANTED}\"\nadmin_key = \"env:CANARY_ADMIN_KEY\"\n\
         signing_key = \"file:signing.pem\"\nsigning_key_published_s = 0\n[encryption]\ncurrent = \"canary\"\nkeys = [\"canary=env:CANARY_AT_REST\"]\n[webhooks]\nallow_http = true\nallow_private = true\n\
         [backup]\nto = \"{BUCKET}\"\nevery_s = 10\nkey = \"env:CANARY_BACKUPS\"\n[tracing]\nendpoint = \"http://{}\"\nratio = 1.0\n",
        beside.traces
    );
    config.push_str(&section("by-file", "file:cards.token"));
    config.push_str(&section("by-env", "env:CANARY_CARDS"));
    let mut shell = Shell::new()
        .variable("CANARY_CARDS", tokens[2])
        .variable("CANARY_ADMIN_KEY", &admin_key)
        .variable("CANARY_AT_REST", &hex(AT_REST))
        .variable("CANARY_BACKUPS", &hex(OF_BACKUPS))
        .variable("CANARY_OTHER_BACKUPS", &hex(OF_OTHER_BACKUPS))
        .variable("AWS_ENDPOINT_URL", &format!("http://{}", beside.bucket))
        .variable("AWS_ACCESS_KEY_ID", "key")
        .variable("AWS_SECRET_ACCESS_KEY", BUCKET_KEY)
        .variable("AWS_SESSION_TOKEN", BUCKET_SESSION)
        .variable("DOCKET_API_KEY", &admin_key)
        .variable("DOCKET_PASSWORD", PASSWORD)
        .file("cards.token", &format!("{}\n", tokens[0]))
        .file("signing.pem", &first);
    let mut providers = vec!["by-file", "by-env"];
    if let Some(bao) = &bao {
        bao.put(&json!({ "card_token": tokens[3] }));
        let token = bao.token("1h");
        config.push_str(&format!(
            "[secrets]\nrefresh_s = 1\n[secrets.vault]\naddress = \"http://{}\"\ntoken = \"env:CANARY_BAO_TOKEN\"\n",
            bao.address
        ));
        config.push_str(&section("by-bao", "vault:secret/docket#card_token"));
        shell = shell.variable("CANARY_BAO_TOKEN", &token);
        secrets.push(token);
        providers.push("by-bao");
    }
    let shell = shell.file("docket.toml", &config).file(
        "plain.toml",
        "[payments.providers.cards]\nurl = \"https://pay.example.org\"\ntoken = \"canary-plain-1Ly7\"\n",
    );
    let mut said = Said::default();

    // What only looks at the configuration.
    for command in ["config show", "config show -o json", "config check"] {
        said.run(
            command,
            &shell.run(&format!("{command} --config docket.toml")).ends(0),
        );
    }
    let refused = shell.run("config check --config plain.toml").ends(2);
    refused
        .clone()
        .says("plain.toml:3: payments.providers.cards.token: a secret is not written here");
    said.run("a plain secret", &refused);
    let mut in_variable = shell.command(["config", "check", "--config", "docket.toml"]);
    in_variable.env("DOCKET__PAYMENTS__PROVIDERS__BY-ENV__TOKEN", "canary-plain-1Ly7");
    said.add("a plain secret in a variable", output(&mut in_variable, 2));

    // What a node says that has them, uses them, and is given others.
    let server = Server::spawn(&shell, shell.command(serve_args(&["--config", "docket.toml"])));
    let flags = server.flags();
    let mut ask = |command: &str| {
        let run = shell.run(&format!("{command} {flags}")).ends(0);
        said.run(command, &run);
        run
    };
    ask("customer create acme --currency eur --credit-limit 1000");
    ask("item create tea --currency EUR --price 1 --on-hand 1000");
    ask("auth register ana --role service");
    for provider in &providers {
        ask(&format!("order place --customer acme tea:1 --pay-by {provider}"));
    }
    // What is planted in a trace is exported with it.
    let mut traced = shell.command(format!("order place --customer acme tea:1 {flags}").split(' '));
    traced.env(
        "TRACEPARENT",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    traced.env("TRACESTATE", format!("shop={PLANTED}"));
    said.add("a traced order", output(&mut traced, 0));
    backups(&shell, &server, &beside, &mut said);
    standby(&server, &admin_key, &unknown_key, &mut said);
    // What it gives to its owner is shown to nobody else.
    let session = shell
        .run(&format!("auth login ana -o json {flags}"))
        .ends(0)
        .json();
    for token in ["access_token", "refresh_token"] {
        secrets.push(session[token].as_str().unwrap().to_owned());
    }
    // Both secrets of a webhook, each of them whole, without what stands in front of it, and as the bytes that it is.
    let hook = format!("webhook create http://{}/hook -o json {flags}", provider.address);
    let hook = shell.run(&hook).ends(0).json();
    let name = hook["name"].as_str().unwrap().to_owned();
    let rotated = shell.run(&format!("webhook rotate-secret {name} -o json {flags}"));
    for made in [&hook, &rotated.ends(0).json()] {
        let secret = made["secret"].as_str().unwrap();
        let inner = secret.strip_prefix("whsec_").unwrap();
        let bytes = STANDARD.decode(inner).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.extend([secret.to_owned(), inner.to_owned(), hex, format!("{bytes:?}")]);
    }
    for command in [
        format!("webhook show {name}"),
        format!("webhook show {name} -o json"),
        "webhook list -o json".to_owned(),
        format!("webhook test {name}"),
        format!(
            "webhook update {name} --url http://{}/elsewhere",
            provider.address
        ),
    ] {
        let run = shell.run(&format!("{command} {flags}"));
        said.run(&command, &run);
    }
    let access_token = session["access_token"].as_str().unwrap().to_owned();
    shell
        .run(&format!("item get tea --token {access_token} {flags}"))
        .ends(0);

    fs::write(shell.path().join("cards.token"), tokens[1]).unwrap();
    fs::write(shell.path().join("signing.pem"), &second).unwrap();
    if let Some(bao) = &bao {
        bao.put(&json!({ "card_token": tokens[4] }));
    }
    server.signal(Signal::HUP);
    let shown = |token: &str| {
        provider
            .asked()
            .iter()
            .any(|asked| asked.authorization == format!("Bearer {token}"))
    };
    let mut next = vec![("by-file", tokens[1])];
    next.extend(bao.as_ref().map(|_| ("by-bao", tokens[4])));
    for (name, token) in next {
        let place = format!("order place --customer acme tea:1 --pay-by {name} {flags}");
        until(
            "the provider to be shown another token",
            || {
                said.run(&place, &shell.run(&place).ends(0));
                shown(token).then_some(())
            },
            || server.log(),
        );
    }
    // A token that cannot be one, a key that is none, and a server that is gone.
    fs::write(
        shell.path().join("cards.token"),
        format!("{}\n{}\n", tokens[0], tokens[1]),
    )
    .unwrap();
    fs::write(shell.path().join("signing.pem"), "canary-plain-1Ly7").unwrap();
    let had_bao = bao.is_some();
    drop(bao);
    let mut expected = vec!["the token stays as it was", "the key that signs stays as it was"];
    expected.extend(had_bao.then_some("the one that was read before is in force"));
    for line in expected {
        until(
            line,
            || server.log().contains(line).then_some(()),
            || server.log(),
        );
    }
    beside.refuse();
    until(
        "a backup to fail",
        || server.log().contains("no backup was made").then_some(()),
        || server.log(),
    );
    // Both, while neither is in force.
    until(
        "what cannot be used to be counted",
        || {
            server
                .admin("/metrics")?
                .1
                .contains("docket_secrets_unusable 2")
                .then_some(())
        },
        || server.log(),
    );
    for path in [
        "/metrics",
        "/status",
        "/status?local",
        "/readyz?verbose",
        "/",
        "/.well-known/jwks.json",
    ] {
        said.add(path, server.admin(path).unwrap().1);
    }
    console(&server, &admin_key, &mut said);
    let admin = server.announced["admin"].as_str().unwrap();
    let bundle = format!("debug bundle --seconds 1 --file bundle.tar.gz --admin {admin}");
    said.run("debug bundle", &shell.run(&bundle).ends(0));
    for (name, content) in unpack(&shell.path().join("bundle.tar.gz")) {
        let mut whole = content.clone();
        // One that is compressed, as it is and as it was.
        let _ = GzDecoder::new(&*content).read_to_end(&mut whole);
        said.add(&format!("bundle {name}"), String::from_utf8_lossy(&whole));
    }
    for command in [
        "status",
        "config --help",
        "serve --help",
        "--help",
        "config reference",
        "auth --help",
    ] {
        let run = shell.run(command);
        said.run(command, &run);
    }
    let refused = shell
        .run(&format!("item get tea --token {access_token}x {flags}"))
        .ends(1);
    said.run("a token that is refused", &refused);
    let log = server.log();
    assert!(log.contains("TRACE"), "the log is not at trace level");
    said.add("the log", log);
    said.add("what was announced", server.announced.to_string());
    server.stop();
    let exported = beside.exported();
    assert!(
        exported.contains("docket.v1.OrderService/PlaceOrder"),
        "{exported}"
    );
    said.add("the exported spans", exported);
    for file in fs::read_dir(shell.path().join("docket-data/audit")).unwrap() {
        let path = file.unwrap().path();
        said.add("the audit log", fs::read_to_string(path).unwrap());
    }
    // And one that does not start.
    fs::remove_file(shell.path().join("signing.pem")).unwrap();
    said.run(
        "a start without a key",
        &shell.run("serve --config docket.toml").ends(1),
    );
    fs::write(shell.path().join("signing.pem"), "canary-plain-1Ly7").unwrap();
    said.run(
        "a start with what is no key",
        &shell.run("serve --config docket.toml").ends(1),
    );

    assert_eq!(said.leaks(&secrets), Vec::<String>::new());
    // The same search finds what was configured where no secret belongs: in the configuration that is shown, and in the log.
    let planted = said.leaks(&[PLANTED.to_owned()]).join("\n");
    let places = [
        "in config show",
        "in config show -o json",
        "in the log",
        "configuration.json",
        "in the exported spans",
    ];
    for place in places {
        assert!(planted.contains(place), "not {place}: {planted}");
    }
    let sizes: usize = said.0.iter().map(|(_, text)| text.len()).sum();
    println!(
        "{} secrets, looked for in {} texts of {sizes} bytes",
        secrets.len(),
        said.0.len()
    );
}

/// What the console shows to who has this key: its pages, and all that they ask.
fn console(server: &Server, key: &str, said: &mut Said) {
    let body = json!({ "api_key": key }).to_string();
    let json = "content-type: application/json\r\n";
    let (code, head, body) = server
        .ask_admin("POST", "/console/api/session", json, &body)
        .unwrap();
    assert_eq!(code, 200, "{body}");
    said.add("the console's session", body);
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    let mut ask = |path: &str| {
        let (code, _, body) = server.ask_admin("GET", path, &cookie, "").unwrap();
        assert_eq!(code, 200, "{path}: {body}");
        said.add(path, &*body);
        body
    };
    for path in [
        "/console",
        "/console/api/session",
        "/console/api/cluster",
        "/console/api/traffic",
        "/console/api/orders/counts",
        "/console/api/access",
    ] {
        ask(path);
    }
    let orders: serde_json::Value = serde_json::from_str(&ask("/console/api/orders")).unwrap();
    let order = orders["orders"][0]["id"].as_str().unwrap().to_owned();
    ask(&format!("/console/api/orders/{order}"));
    ask(&format!("/console/api/orders/{order}/events"));
}

/// What a command says that ends so.
fn output(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    all
}

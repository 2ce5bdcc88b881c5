//! The layers over each other, and what is refused.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;

struct Given {
    folder: TempDir,
}

impl Given {
    fn file(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("docket.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("docket.toml")
    }

    fn load(&self, environment: &[(&str, &str)], flags: &Flags) -> Result<Loaded, ConfigError> {
        let variables = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Loaded::load(Some(&self.path()), variables, flags)
    }

    /// Asserts that loading finds exactly these problems, each `LINE: text` for the file or `NAME: text`.
    #[track_caller]
    fn refused(&self, environment: &[(&str, &str)], expected: &[&str]) {
        let Err(ConfigError::Problems(problems)) = self.load(environment, &Flags::default()) else {
            panic!("was not refused");
        };
        let prefix = format!("{}:", self.path().display());
        let told: Vec<String> = problems
            .iter()
            .map(|one| one.to_string().trim_start_matches(&prefix).to_owned())
            .collect();
        assert_eq!(told, expected);
    }
}

#[track_caller]
fn origin(loaded: &Loaded, key: &str) -> Origin {
    loaded
        .settings
        .iter()
        .find(|setting| setting.key == key)
        .unwrap()
        .origin
        .clone()
}

#[test]
fn nothing_set_means_the_defaults() {
    let loaded = Loaded::load(None, [], &Flags::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(
        loaded
            .settings
            .iter()
            .all(|setting| setting.origin == Origin::Default)
    );
    assert!(
        loaded
            .settings
            .iter()
            .any(|setting| setting.key == "tls.certificate" && setting.value.is_null())
    );
}

#[test]
fn each_layer_lies_over_the_one_before_and_is_remembered() {
    let given = Given::file(
        "[server]\nlisten = \"127.0.0.1:1\"\ndrain_ms = 5\n\n[admin]\nlisten = \"127.0.0.1:2\"\n\n[journal]\n\
         cache_bytes = 1048576\n",
    );
    let environment = [
        ("DOCKET__SERVER__LISTEN", "127.0.0.1:11"),
        ("DOCKET__ADMIN__LISTEN", "127.0.0.1:12"),
        ("HOME", "/"),
    ];
    let flags = Flags {
        listen: Some("127.0.0.1:21".parse().unwrap()),
        ..Flags::default()
    };
    let loaded = given.load(&environment, &flags).unwrap();

    assert_eq!(loaded.config.server.listen.port(), 21);
    assert_eq!(loaded.config.admin.listen.port(), 12);
    assert_eq!(loaded.config.server.drain_ms, 5);
    assert_eq!(loaded.config.journal.cache_bytes, 1_048_576);
    assert_eq!(
        loaded.config.journal.segment_bytes,
        Config::default().journal.segment_bytes
    );

    assert_eq!(origin(&loaded, "server.listen"), Origin::Flag("--listen"));
    assert_eq!(
        origin(&loaded, "admin.listen"),
        Origin::Variable("DOCKET__ADMIN__LISTEN".into())
    );
    assert_eq!(origin(&loaded, "server.drain_ms"), Origin::File(given.path(), 3));
    assert_eq!(
        origin(&loaded, "journal.cache_bytes"),
        Origin::File(given.path(), 9)
    );
    assert_eq!(origin(&loaded, "journal.segment_bytes"), Origin::Default);
}

#[test]
fn variables_are_read_by_the_type_of_their_key() {
    let given = Given::file("");
    let environment = [
        ("DOCKET__LOG__LEVEL", "debug"),
        ("DOCKET__LOG__FORMAT", "json"),
        ("DOCKET__TLS__CERTIFICATE", "42"),
        ("DOCKET__TLS__KEY", "key.pem"),
        ("DOCKET__SERVER__DRAIN_MS", "1_000"),
    ];
    let config = given.load(&environment, &Flags::default()).unwrap().config;
    assert_eq!(
        config.log,
        Log {
            level: "debug".into(),
            format: LogFormat::Json,
            ..Log::default()
        }
    );
    assert_eq!(config.tls.certificate, Some("42".into()));
    assert_eq!(config.server.drain_ms, 1_000);
}

#[test]
fn unknown_keys_are_refused_with_their_line_and_what_was_meant() {
    Given::file(
        "[server]\nlisten = \"127.0.0.1:1\"\nlissten = \"x\"\n\n[jornal]\ncache_bytes = 1\n\n[server.what]\n",
    )
    .refused(
        &[],
        &[
            "3: unknown key `server.lissten`; did you mean `server.listen`?",
            "5: unknown key `jornal`; did you mean `journal`?",
            "8: unknown key `server.what`",
        ],
    );
    Given::file("cache_bytes = 5\nzzz = 1\n").refused(
        &[],
        &[
            "1: unknown key `cache_bytes`; did you mean `journal.cache_bytes`?",
            "2: unknown key `zzz`",
        ],
    );
    Given::file("").refused(
        &[("DOCKET__JOURNAL__CACHE_BYTE", "1"), ("DOCKET__SERVER", "1")],
        &[
            "DOCKET__JOURNAL__CACHE_BYTE: there is no key `journal.cache_byte`; did you mean \
             DOCKET__JOURNAL__CACHE_BYTES?",
            "DOCKET__SERVER: there is no key `server`",
        ],
    );
}

#[test]
fn values_of_another_type_are_refused_with_their_line() {
    Given::file("[server]\nlisten = 7070\ndrain_ms = -1\n[log]\nformat = \"xml\"\n").refused(
        &[("DOCKET__JOURNAL__CACHE_BYTES", "many")],
        &[
            "2: server.listen: invalid type: integer `7070`, expected socket address",
            "3: server.drain_ms: invalid value: integer `-1`, expected u64",
            "5: log.format: unknown variant `xml`, expected one of `auto`, `text`, `json`",
            "DOCKET__JOURNAL__CACHE_BYTES: journal.cache_bytes: invalid type: string \"many\", expected u64",
        ],
    );
    Given::file("server = 1\n").refused(&[], &["1: server is a section: write [server]"]);
    Given::file("[server]\ndata_dir = 1979-05-27\n")
        .refused(&[], &["2: server.data_dir: a plain value is expected"]);
}

#[test]
fn values_out_of_range_are_refused_where_they_were_written() {
    Given::file("[journal]\n\nsegment_bytes = 5\n[tls]\ncertificate = \"c.pem\"\n[log]\nlevel = \"a=b=c\"\n")
        .refused(
            &[],
            &[
                "default: tls.key = null: is needed beside tls.certificate",
                "3: journal.segment_bytes = 5: must be at least 64 KiB",
                "7: log.level = \"a=b=c\": not a level or list of directives (error parsing level filter: \
             expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5)",
            ],
        );
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_line() {
    let given = Given::file("[server]\nlisten = \n");
    let Err(ConfigError::Problems(problems)) = given.load(&[], &Flags::default()) else {
        panic!("was not refused")
    };
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].origin, Origin::File(given.path(), 2));
    assert!(
        problems[0].message.starts_with("this is not TOML"),
        "{}",
        problems[0].message
    );
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = Loaded::load(Some(Path::new("/nowhere/docket.toml")), [], &Flags::default()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/docket.toml"), "{error}");
}

#[test]
fn a_provider_has_a_name_of_its_own_and_every_key() {
    let given = Given::file(
        "[payments.providers.cards]\nurl = \"https://pay.example.org\"\ntimeout_ms = 5000\n\n\
         [payments.providers.gift-cards]\nurl = \"http://127.0.0.1:7090\"\n",
    );
    let environment = [
        ("DOCKET__PAYMENTS__PROVIDERS__CARDS__ATTEMPTS", "5"),
        (
            "DOCKET__PAYMENTS__PROVIDERS__OTHER__URL",
            "https://other.example.org",
        ),
    ];
    let loaded = given.load(&environment, &Flags::default()).unwrap();
    let providers = &loaded.config.payments.providers;
    let names: Vec<_> = providers.keys().map(String::as_str).collect();
    assert_eq!(names, ["cards", "gift-cards", "other"]);
    let cards = &providers["cards"];
    assert_eq!(cards.url.as_deref(), Some("https://pay.example.org"));
    assert_eq!((cards.timeout_ms, cards.attempts), (5_000, 5));
    assert_eq!(cards.backoff_max_ms, Provider::default().backoff_max_ms);
    assert_eq!(
        origin(&loaded, "payments.providers.cards.timeout_ms"),
        Origin::File(given.path(), 3)
    );
    assert_eq!(
        origin(&loaded, "payments.providers.gift-cards.token_file"),
        Origin::Default
    );
}

#[test]
fn what_is_wrong_with_a_provider_is_told_with_its_line() {
    Given::file(
        "[payments.providers.Cards]\nurl = \"x\"\n[payments.providers.account]\nurl = \"x\"\n\
         [payments.providers.a]\nurl = \"http://pay.example.org\"\nurll = \"x\"\n[payments.providers.b]\n\
         [payments.providers.c]\nurl = \"https://pay.example.org\"\nattempts = 0\ntimeout_ms = \"5 s\"\n",
    )
    .refused(
        &[("DOCKET__PAYMENTS__PROVIDERS__A.B__URL", "x")],
        &[
            "default: payments.providers.b.url = null: is needed: https://HOST[:PORT][/PATH] of the provider",
            "1: payments.providers: the name `Cards` must be 1 to 32 characters of a-z 0-9 - _, and not `account`",
            "3: payments.providers: the name `account` must be 1 to 32 characters of a-z 0-9 - _, and not `account`",
            "6: payments.providers.a.url = \"http://pay.example.org\": must begin with https, unless it is a loopback \
             address or allow_http is true",
            "7: unknown key `payments.providers.a.urll`; did you mean `payments.providers.a.url`?",
            "11: payments.providers.c.attempts = 0: must be from 1 to 100",
            "12: payments.providers.c.timeout_ms: invalid type: string \"5 s\", expected u64",
            "DOCKET__PAYMENTS__PROVIDERS__A.B__URL: there is no key `payments.providers.a.b.url`; did you mean \
             DOCKET__PAYMENTS__PROVIDERS__A__URL?",
        ],
    );
    Given::file("[payments]\nproviders = 5\n").refused(
        &[],
        &["2: payments.providers is a section: write [payments.providers]"],
    );
    let twice = Given::file("[payments.providers.a]\n[payments.providers.a]\n");
    let Err(ConfigError::Problems(problems)) = twice.load(&[], &Flags::default()) else {
        panic!("was not refused");
    };
    assert_eq!(problems[0].origin, Origin::File(twice.path(), 2));
}

#[test]
fn a_secret_in_the_configuration_is_refused_and_not_repeated() {
    const WHY: &str =
        "a secret is not written here, only where it is: file:PATH, env:VARIABLE or vault:MOUNT/PATH#FIELD";
    Given::file(
        "[auth]\nsigning_key = \"hunter2\"\nadmin_key = 5\n[payments.providers.a]\nurl = \"https://a.example.org\"\ntoken = \"hunter2\"\n",
    )
    .refused(
        &[("DOCKET__SECRETS__VAULT__TOKEN", "hunter2")],
        &[
            &format!("2: auth.signing_key: {WHY}"),
            &format!("3: auth.admin_key: {WHY}"),
            &format!("6: payments.providers.a.token: {WHY}"),
            &format!("DOCKET__SECRETS__VAULT__TOKEN: secrets.vault.token: {WHY}"),
        ],
    );
    // Nor a password in an address, which has no place there.
    Given::file(
        "[tracing]\nendpoint = \"https://ada:hunter2@c:4317\"\n[secrets.vault]\naddress = \"https://ada:hunter2@bao\"\ntoken = \"env:BAO\"\n",
    )
    .refused(
        &[],
        &[
            "2: tracing.endpoint = \"(redacted)\": must be http://HOST:PORT or https://HOST:PORT",
            "4: secrets.vault.address = \"(redacted)\": must be https://HOST[:PORT], without a user, a path or a query",
        ],
    );
    let given = Given::file("[auth]\nsigning_key = \"file:signing.pem\"\n");
    let loaded = given.load(&[], &Flags::default()).unwrap();
    let setting = loaded
        .settings
        .iter()
        .find(|it| it.key == "auth.signing_key")
        .unwrap();
    assert_eq!(setting.text(), "file:signing.pem");
}

#[test]
fn what_cannot_be_of_payments_is_named_with_its_range() {
    let numbers = |[within, at_once, timeout, failures, open, idle]: [u64; 6]| {
        Given::file(&format!(
            "[payments]\nauthorize_within_s = {within}\nat_once = {at_once}\n\
             [payments.providers.a]\nurl = \"https://a.example.org\"\ntimeout_ms = {timeout}\n\
             [payments.providers.b]\nurl = \"https://b.example.org\"\nbreaker_failures_max = {failures}\n\
             [payments.providers.c]\nurl = \"https://c.example.org\"\nbreaker_open_ms = {open}\n\
             [payments.providers.d]\nurl = \"https://d.example.org\"\nidle_connections_max = {idle}\n"
        ))
    };
    let refused = |numbers: [u64; 6]| {
        let [within, at_once, timeout, failures, open, idle] = numbers;
        [
            format!(
                "2: payments.authorize_within_s = {within}: must be from 1 to 2,592,000, which is 30 days"
            ),
            format!("3: payments.at_once = {at_once}: must be from 1 to 1,024"),
            format!(
                "6: payments.providers.a.timeout_ms = {timeout}: must be from 1 to 3,600,000 ms, which is an hour"
            ),
            format!("9: payments.providers.b.breaker_failures_max = {failures}: must be from 1 to 1,000"),
            format!(
                "12: payments.providers.c.breaker_open_ms = {open}: must be from 1 to 3,600,000 ms, which is an hour"
            ),
            format!("15: payments.providers.d.idle_connections_max = {idle}: must be from 0 to 1,024"),
        ]
    };
    let most = [2_592_000, 1_024, 3_600_000, 1_000, 3_600_000, 1_024];
    numbers(most).load(&[], &Flags::default()).unwrap();
    let more = most.map(|most| most + 1);
    let told = refused(more);
    numbers(more).refused(&[], &told.each_ref().map(String::as_str));
    let none = numbers([0; 6]).load(&[], &Flags::default());
    let Err(ConfigError::Problems(problems)) = none else {
        panic!("was not refused");
    };
    // No idle connections are some that can be.
    assert_eq!(problems.len(), 5);
}

//! The audit log of a real node: who did what is there, it can be proven, and what is done to it is found.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    disk::Disk,
    server::{Server, serve_args, until},
    support::Shell,
};

const PASSWORD: &str = "correct horse battery";
const KIB: usize = 1_024;

/// The log's files, oldest first.
fn files(shell: &Shell) -> Vec<PathBuf> {
    let folder = fs::read_dir(shell.path().join("docket-data/audit")).unwrap();
    let mut files: Vec<_> = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    files.sort();
    files
}

/// The records that `docket audit show` shows with these flags.
#[track_caller]
fn show(shell: &Shell, flags: &str) -> Vec<Value> {
    let shown = shell.run(&format!("audit show -o json {flags}")).ends(0).json();
    shown["records"].as_array().unwrap().clone()
}

/// Waits for a record: what nobody waits for is recorded within a second.
#[track_caller]
fn recorded(shell: &Shell, flags: &str) -> Value {
    until(
        flags,
        || show(shell, flags).pop(),
        || format!("{:#?}", show(shell, "")),
    )
}

#[test]
fn who_did_what_is_there_and_can_be_proven_and_a_line_that_is_changed_is_named() {
    let shell = Shell::new().variable("DOCKET_PASSWORD", PASSWORD);
    let server = Server::start(&shell);
    let flags = server.flags();
    let run = |command: &str| shell.run(&format!("{command} {flags}"));
    run("auth register bob --role service").ends(0);
    let key = run("auth key create --account bob --scope read -o json")
        .ends(0)
        .json();
    let secret = key["secret"].as_str().unwrap().to_owned();
    let name = key["name"].as_str().unwrap().to_owned();
    run("auth role bob --role customer --customer acme").ends(0);
    run(&format!("auth key revoke {name}")).ends(0);
    let hook = run("webhook create https://hooks.example.org/in -o json")
        .ends(0)
        .json();
    let hook_secret = hook["secret"].as_str().unwrap().to_owned();
    run("verify").ends(0);

    // What is refused, and who is denied.
    run("auth register bob --role service")
        .ends(1)
        .says("USERNAME_TAKEN");
    let session = run("auth login bob -o json").ends(0).json();
    let token = session["access_token"].as_str().unwrap();
    run(&format!("cluster drain 1 --token {token}"))
        .ends(1)
        .says("PERMISSION_DENIED");
    let wrong = shell.path().join("wrong");
    fs::write(&wrong, "not the password at all").unwrap();
    run("auth login bob --password-file wrong").ends(1);
    run("auth login nobody --password-file wrong").ends(1);
    run("item list --token nonsense").ends(1).says("UNAUTHENTICATED");

    let done = |action: &str| recorded(&shell, &format!("--action {action} --outcome done"));
    let registered = done("account.register");
    assert_eq!(registered["target"], "accounts/bob");
    assert_eq!(registered["who"]["account"], "admin");
    assert_eq!(registered["who"]["role"], "admin");
    assert_eq!(registered["who"]["peer"], "127.0.0.1");
    assert!(
        registered["who"]["credential"]
            .as_str()
            .unwrap()
            .starts_with("apiKeys/")
    );
    // Begun before it was done.
    let begun = recorded(&shell, "--action account.register --outcome begun");
    assert!(
        begun["sequence"].as_u64() > registered["sequence"].as_u64(),
        "the second one, refused"
    );
    assert_eq!(done("key.create")["details"]["key"], *name);
    assert_eq!(done("role.assign")["details"]["role"], "CUSTOMER");
    assert_eq!(done("webhook.create")["details"]["webhook"], hook["name"]);
    assert_eq!(done("books.verify")["details"]["discrepancies"], "0");
    assert_eq!(done("account.login")["target"], "accounts/bob");
    assert_eq!(done("account.bootstrap")["who"]["role"], "node");
    assert!(done("server.start")["details"]["version"].is_string());
    let refused = recorded(&shell, "--action account.register --outcome refused");
    assert_eq!(refused["reason"], "USERNAME_TAKEN");

    let denied = recorded(&shell, "--outcome denied --who bob");
    assert_eq!(denied["action"], "/docket.v1.NodeService/DrainNode");
    assert_eq!(
        (denied["who"]["role"].as_str(), denied["reason"].as_str()),
        (Some("customer"), Some("ROLE_NOT_ALLOWED"))
    );
    until(
        "whose passwords were wrong",
        || {
            let tried = show(&shell, "--action account.login --outcome denied");
            let targets: Vec<_> = tried
                .iter()
                .filter_map(|record| record["target"].as_str())
                .collect();
            (targets.contains(&"accounts/bob") && targets.contains(&"accounts/(unknown)")).then_some(())
        },
        || format!("{:#?}", show(&shell, "--outcome denied")),
    );
    let unknown = recorded(&shell, "--outcome denied --action /docket");
    assert!(unknown["sequence"].is_u64());

    // While the server runs, and behind it.
    shell.run("audit verify").ends(0);
    server.stop();
    assert_eq!(recorded(&shell, "--action server.stop")["outcome"], "done");
    let verified = shell.run("audit verify -o json").ends(0).json();
    assert_eq!(
        (&verified["whole"], &verified["first"]),
        (&true.into(), &1.into())
    );
    let head = shell.run("audit head").ends(0).stdout;
    shell.run(&format!("audit verify --head {}", head.trim())).ends(0);

    // No secret is in it.
    let path = files(&shell).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for secret in [
        PASSWORD,
        &secret,
        &hook_secret,
        token,
        "not the password",
        "nonsense",
        "nobody",
    ] {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }

    // Somebody would rather not have made that key.
    let changed = text.replace("\"key.create\"", "\"key.remove\"");
    assert_ne!(text, changed);
    fs::write(&path, &changed).unwrap();
    let line = 1 + text
        .lines()
        .position(|line| line.contains("\"key.create\""))
        .unwrap();
    let found = shell.run("audit verify -o json").ends(10).json();
    let first = &found["problems"][0];
    assert_eq!(
        (first["line"].as_u64(), &found["whole"]),
        (Some(line as u64), &false.into())
    );
    assert!(
        first["file"]
            .as_str()
            .unwrap()
            .ends_with(path.file_name().unwrap().to_str().unwrap())
    );
    let table = shell.run("audit verify").ends(10).says("is not whole");
    assert!(
        table.stdout.contains(&format!(".jsonl:{line}")) && table.stdout.contains("was changed"),
        "{}",
        table.stdout
    );

    // Or anything at all: what is beside the files, or was kept, tells of them.
    fs::remove_file(&path).unwrap();
    shell.run("audit verify").ends(10).says("is not whole");
    let beside = shell.path().join("docket-data/audit/head");
    let kept = fs::read(&beside).unwrap();
    fs::remove_file(&beside).unwrap();
    let expected = format!("audit verify --head {}", head.trim());
    shell.run(&expected).ends(10).says("is not whole");
    shell.run("audit verify").ends(2).says("there is no audit log in");
    fs::write(&beside, kept).unwrap();

    // Or nobody to see how it ended.
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&path, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    let cut = shell.run("audit verify").ends(10);
    assert!(cut.stdout.contains("was cut off"), "{}", cut.stdout);
    fs::write(&path, &text).unwrap();
    shell.run("audit verify").ends(0);
}

#[test]
fn what_an_administrator_was_answered_is_recorded_whenever_the_node_is_killed() {
    let shell = Shell::new();
    let mut answered = Vec::new();
    for round in 0..3 {
        let mut server = Server::start(&shell);
        let flags = server.flags();
        let (stop, made) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let begun = AtomicUsize::new(0);
        thread::scope(|scope| {
            for maker in 0..3 {
                let (shell, flags, stop, made, begun) = (&shell, &flags, &stop, &made, &begun);
                scope.spawn(move || {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        begun.fetch_add(1, Ordering::Relaxed);
                        let named = format!("{round}-{maker}-{n}");
                        let run = shell.run(&format!(
                            "auth key create --scope read --display-name {named} -o json {flags}"
                        ));
                        if run.code == 0 {
                            made.lock().unwrap().push(run.json()["name"].clone());
                        }
                    }
                });
            }
            until(
                "some to be made",
                || (made.lock().unwrap().len() >= 5).then_some(()),
                || server.log(),
            );
            server.signal(Signal::KILL);
            server.ended();
            stop.store(true, Ordering::Relaxed);
        });
        assert!(begun.into_inner() > 0);
        answered.extend(made.into_inner().unwrap());
    }
    let server = Server::start(&shell);
    shell.run("audit verify").ends(0);
    let records = show(&shell, "--action key.create --outcome done --limit 10000");
    let recorded: Vec<&Value> = records.iter().map(|record| &record["details"]["key"]).collect();
    for name in &answered {
        assert!(
            recorded.contains(&name),
            "{name} was answered and is not recorded"
        );
    }
    assert!(answered.len() >= 15);
    // Whatever is there was made by somebody who is in the log, answered or not.
    let keys = shell
        .run(&format!("auth key list --all -o json {}", server.flags()))
        .ends(0)
        .json();
    let begun = show(&shell, "--action key.create --outcome begun --limit 10000").len();
    // But for the one that the first start makes.
    assert!(keys["api_keys"].as_array().unwrap().len() - 1 <= begun);
    server.stop();
}

#[test]
fn where_nothing_can_be_recorded_nothing_is_changed_and_orders_go_on() {
    let shell = Shell::new();
    fs::create_dir(shell.path().join("docket-data")).unwrap();
    let disk = match Disk::mount(&shell.path().join("docket-data/audit"), 64 * KIB) {
        Ok(disk) => disk,
        Err(why) => {
            let line = format!("SKIPPED: an audit log on a full disk: no tmpfs can be mounted: {why}\n");
            return std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
    };
    let server = Server::start(&shell);
    let flags = server.flags();
    let run = |command: &str| shell.run(&format!("{command} {flags}"));
    run("customer create acme --currency EUR --credit-limit 500.00").ends(0);
    run("item create tea --price 4.50 --currency EUR --on-hand 100").ends(0);
    disk.fill(0);
    // What is left of the last page is written; then nothing is.
    let refused = until(
        "a change to be refused",
        || {
            let made = run("auth key create --scope read");
            (made.code != 0).then_some(made)
        },
        || server.log(),
    );
    assert!(
        refused.stderr.contains("AUDIT_UNAVAILABLE") && refused.stderr.contains("cannot write its audit log"),
        "{}",
        refused.stderr
    );
    let keys = || {
        let keys = run("auth key list --all -o json").ends(0).json();
        keys["api_keys"].as_array().unwrap().len()
    };
    let before = keys();
    run("auth key create --scope read")
        .ends(1)
        .says("AUDIT_UNAVAILABLE");
    assert_eq!(keys(), before, "nothing was done");
    run("order place --customer acme tea:1").ends(0);
    let (_, metrics) = server.admin("/metrics").unwrap();
    assert!(metrics.contains("docket_audit_failing 1"), "{metrics}");

    disk.clear();
    run("auth key create --scope read").ends(0);
    assert_eq!(keys(), before + 1);
    shell.run("audit verify").ends(0);
    server.stop();
    shell.run("audit verify").ends(0);
}

/// Exchanges a file as a careful program does: nobody sees half of it.
fn exchange(shell: &Shell, name: &str, text: &str) {
    fs::write(shell.path().join("new"), text).unwrap();
    fs::rename(shell.path().join("new"), shell.path().join(name)).unwrap();
}

#[test]
fn files_that_are_read_again_are_recorded_as_what_they_are_and_where_they_have_changed() {
    fn certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }
    let ((first, first_key), (second, second_key)) = (certificate(), certificate());
    let config = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[auth.external]\nissuer = \"https://id.example.org\"\n\
                  audience = \"docket\"\njwks_file = \"keys.json\"\n";
    let shell = Shell::new()
        .file("docket.toml", config)
        .file("cert.pem", &first)
        .file("key.pem", &first_key)
        .file("keys.json", "{\"keys\": []}");
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    // Soon after the start all files are looked at once more.
    until(
        "the first looks",
        || server.log().contains("nothing in it has changed").then_some(()),
        || server.log(),
    );
    exchange(&shell, "cert.pem", &first);
    exchange(&shell, "keys.json", "{\"keys\": [ ]}");
    let loaded = recorded(&shell, "--action issuer_keys.reload --outcome done");
    assert_eq!(loaded["target"], "https://id.example.org");
    assert_eq!(loaded["who"]["role"], "operator");
    let all = |action: &str| show(&shell, &format!("--action {action}"));
    assert_eq!(all("issuer_keys.reload").len(), 1);
    assert_eq!(all("certificates.reload"), Vec::<Value>::new());

    exchange(&shell, "key.pem", &second_key);
    exchange(&shell, "cert.pem", &second);
    let renewed = recorded(&shell, "--action certificates.reload --outcome done");
    assert_eq!(renewed["target"], "clients");
    assert_eq!(all("issuer_keys.reload").len(), 1);
    exchange(&shell, "keys.json", "nonsense");
    let refused = recorded(&shell, "--action issuer_keys.reload --outcome refused");
    assert_eq!(refused["reason"], "INVALID");
    server.stop();
}

#[test]
fn a_node_that_is_stopped_before_it_is_ready_has_its_start_and_its_end_recorded() {
    // The first administrator's key is at a server that does not answer, and there is time to wait for it.
    let config = "[secrets]\nopen_within_s = 600\n[secrets.vault]\naddress = \"http://127.0.0.1:1\"\ntoken = \"env:BAO\"\n\
                  [auth]\nadmin_key = \"vault:secret/docket#admin_key\"\n";
    let shell = Shell::new().variable("BAO", "token").file("docket.toml", config);
    let log = shell.path().join("server.log");
    let mut command = shell.command(serve_args(&["--config", "docket.toml"]));
    command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let told = || fs::read_to_string(&log).unwrap();
    let audit = shell.path().join("docket-data/audit");
    until(
        "the audit log",
        || audit.join("head").exists().then_some(()),
        told,
    );
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = until("the node to end", || child.try_wait().unwrap(), told);
    assert_eq!(status.code(), Some(0), "{}", told());
    let records = show(&shell, "--action server");
    let actions: Vec<&str> = records.iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["server.start", "server.stop"], "{}", told());
    assert_eq!(records[1]["details"]["ready"], "false");
    shell.run("audit verify").ends(0);
}

//! Every key that takes effect while the server runs is changed under load, and every kind of mistake is made.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    server::{Server, until},
    support::Shell,
};

const FILE: &str = "docket.toml";

/// Another value than the default of each key that takes effect: a key of the reference that is not here fails the test.
const OTHERS: [(&str, &str); 66] = [
    ("admission.max_bytes", "67108865"),
    ("admission.max_calls", "2049"),
    ("admission.max_open_calls", "257"),
    ("admission.max_open_per_address", "65"),
    ("admission.max_open_streams", "513"),
    ("admission.max_per_customer", "129"),
    ("admission.max_probes", "1025"),
    ("admission.max_refusals_per_second", "12001"),
    ("admission.max_reply_bytes", "134217729"),
    ("admission.max_streams", "2049"),
    ("admission.order_ms", "201"),
    ("admission.retry_ms", "101"),
    ("audit.age_max_days", "400"),
    ("audit.denials_per_minute", "61"),
    ("audit.segment_bytes", "1048576"),
    ("audit.segments_max", "65"),
    ("cluster.snapshot_bytes_per_second", "33554432"),
    ("feed.buffer_bytes", "262145"),
    ("feed.gather_ms", "201"),
    ("feed.heartbeat_ms", "5001"),
    ("feed.stalled_ms", "10001"),
    ("feed.watches_max", "1023"),
    ("feed.watches_per_account", "63"),
    ("fraud.amount_factor", "6"),
    ("fraud.amount_orders", "4"),
    ("fraud.amount_score", "61"),
    ("fraud.enabled", "true"),
    ("fraud.new_customer_amount", "50001"),
    ("fraud.new_customer_score", "61"),
    ("fraud.new_customer_within_s", "86401"),
    ("fraud.threshold", "101"),
    ("fraud.velocity_orders", "11"),
    ("fraud.velocity_score", "61"),
    ("fraud.velocity_within_s", "601"),
    ("limits.address.burst", "200001"),
    ("limits.address.per_second", "200001"),
    ("limits.admin.burst", "200001"),
    ("limits.admin.per_second", "200001"),
    ("limits.customer.burst", "101"),
    ("limits.customer.per_second", "51"),
    ("limits.failure.burst", "201"),
    ("limits.failure.per_second", "51"),
    ("limits.open.burst", "101"),
    ("limits.open.per_second", "21"),
    ("limits.probe.burst", "501"),
    ("limits.probe.per_second", "101"),
    ("limits.service.burst", "200001"),
    ("limits.service.per_second", "200001"),
    ("log.kept_lines", "1001"),
    ("log.level", "\"info,docket_cluster=warn\""),
    ("log.repeats_max", "51"),
    ("tracing.ratio", "0.2"),
    ("orders.archive_after_s", "604801"),
    ("orders.close_after_s", "2592001"),
    ("payments.at_once", "17"),
    ("payments.authorize_within_s", "901"),
    ("scrub.bytes_per_second", "8388609"),
    ("scrub.every_s", "86401"),
    ("verify.every_s", "86401"),
    ("verify.gives_way_s", "3601"),
    ("webhooks.allow_http", "true"),
    ("webhooks.allow_private", "true"),
    ("webhooks.ca", "\"ca/ca.pem\""),
    ("webhooks.in_flight_max", "65"),
    ("webhooks.in_flight_per_webhook", "17"),
    ("webhooks.timeout_ms", "10001"),
];

/// A mistake: what stands in the file from its line 3 on, and what is said of it. Lines 1 and 2 would change something.
const MISTAKES: [(&str, &str); 8] = [
    (
        "[limits.admin]\nbursst = 1\n",
        "docket.toml:4: unknown key `limits.admin.bursst`",
    ),
    ("[lmits]\n", "docket.toml:3"),
    ("[limits.admin]\nburst = \"many\"\n", "docket.toml:4"),
    ("[limits.admin]\nburst = 0\n", "docket.toml:4"),
    ("[audit]\nsegments_max = 1\n", "docket.toml:4"),
    ("[log]\nlevel = \"info,=,\"\n", "docket.toml:4"),
    ("[limits.admin\nburst = 1\n", "docket.toml:3"),
    ("[webhooks]\nca = \"gone.pem\"\n", "docket.toml:4"),
];

/// As a careful program does: nobody sees half of it.
fn write(shell: &Shell, text: &str) {
    fs::write(shell.path().join("new.toml"), text).unwrap();
    fs::rename(shell.path().join("new.toml"), shell.path().join(FILE)).unwrap();
}

/// A file that sets these.
fn file(set: &BTreeMap<&str, &str>) -> String {
    let mut sections = BTreeMap::<&str, String>::new();
    for (key, value) in set {
        let (section, name) = key.rsplit_once('.').unwrap();
        sections
            .entry(section)
            .or_insert_with(|| format!("[{section}]\n"))
            .push_str(&format!("{name} = {value}\n"));
    }
    sections.into_values().collect()
}

/// Runs `work` while customers place orders, each on a connection of its own, of which none fails. How many were placed.
fn under_load(shell: &Shell, flags: &str, work: impl FnOnce()) -> usize {
    let run = |command: &str| shell.run(&format!("{command} {flags}"));
    run("customer create acme --currency EUR --credit-limit 100000.00").ends(0);
    run("item create tea --price 0.50 --currency EUR --on-hand 100000").ends(0);
    let (stop, placed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    shell
                        .run(&format!("order place --customer acme tea:1 {flags}"))
                        .ends(0);
                    placed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        /// Ends the load also where the work panics.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        work();
    });
    placed.into_inner()
}

#[test]
fn every_key_that_takes_effect_does_so_under_load_and_no_call_fails() {
    let shell = Shell::new();
    shell.run("certs ca --out ca").ends(0);
    let reference = shell.run("config reference -o json").ends(0).json();
    let reloads: Vec<&String> = reference
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, key)| key["reloads"] == true)
        .map(|(key, _)| key)
        .collect();
    let others: BTreeMap<&str, &str> = OTHERS.into_iter().collect();
    for key in &reloads {
        assert!(
            others.contains_key(key.as_str()),
            "{key} takes effect, and is not tried"
        );
    }
    for key in others.keys() {
        assert!(
            reloads.iter().any(|known| known == key),
            "{key} does not take effect"
        );
    }
    for (key, known) in reference.as_object().unwrap() {
        let why = &known["restart"];
        assert_eq!(known["reloads"] == true, *why == Value::Null, "{key}");
    }

    let mut set = BTreeMap::new();
    write(&shell, "[limits.admin]\nburst = 200000\n");
    let server = Server::start_with(&shell, &["--config", FILE]);
    let mut took = Vec::new();
    let placed = under_load(&shell, &server.flags(), || {
        for (key, value) in OTHERS {
            set.insert(key, value);
            let begun = Instant::now();
            write(&shell, &file(&set));
            let said = format!("\"key\":\"{key}\"");
            until(
                key,
                || {
                    let log = server.log();
                    let mut lines = log.lines();
                    lines
                        .any(|line| line.contains("configured anew") && line.contains(&said))
                        .then_some(())
                },
                || server.log(),
            );
            took.push(begun.elapsed());
        }
    });
    let log = server.log();
    assert!(
        !log.contains("stays as it was") && !log.contains("takes effect with a restart"),
        "{log}"
    );
    let (_, metrics) = server.admin("/metrics").unwrap();
    assert!(
        metrics.contains("docket_config_restart_needed_keys 0"),
        "{metrics}"
    );
    took.sort();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    let line = format!(
        "{} keys were changed while {placed} orders were placed: in force after {median:.0?} (median), {most:.0?} (most)\n",
        took.len()
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(placed > 10, "{placed}");
    assert!(median < Duration::from_secs(1), "{line}");
    // It is in the audit log which they were, and nothing of what they are.
    let shown = shell
        .run("audit show --action configuration.reload -o json")
        .ends(0)
        .json();
    let records = shown["records"].as_array().unwrap();
    let of = |key: &&str| {
        let is_in = |record: &Value| {
            record["details"]["in_force"]
                .as_str()
                .is_some_and(|keys| keys.contains(*key))
        };
        records.iter().any(is_in)
    };
    assert!(others.keys().all(of), "{records:#?}");
    shell.run("audit verify").ends(0);
    server.stop();
}

#[test]
fn whatever_mistake_a_file_has_it_changes_nothing_and_the_line_is_named() {
    let shell = Shell::new();
    write(&shell, "[orders]\nclose_after_s = 1000000\n");
    let server = Server::start_with(&shell, &["--config", FILE]);
    let invalid = |count: usize| {
        let (_, metrics) = server.admin("/metrics").unwrap();
        metrics.contains(&format!(
            "docket_config_reloads_total{{result=\"invalid\"}} {count}\n"
        ))
    };
    under_load(&shell, &server.flags(), || {
        for (n, (mistake, said)) in MISTAKES.into_iter().enumerate() {
            write(&shell, &format!("[orders]\nclose_after_s = 2000000\n{mistake}"));
            until(mistake, || invalid(n + 1).then_some(()), || server.log());
            let log = server.log();
            let last = log.lines().rfind(|line| line.contains("stays as it was"));
            assert!(
                last.is_some_and(|line| line.contains(said)),
                "{mistake}: {last:?}"
            );
            assert!(!log.contains("configured anew"), "{log}");
        }
    });
    // What is in force is what was.
    let unchanged = || server.log().matches("nothing in it has changed").count();
    let before = unchanged();
    write(&shell, "[orders]\nclose_after_s = 1000000 \n");
    until(
        "nothing to have changed",
        || (unchanged() > before).then_some(()),
        || server.log(),
    );
    assert!(!server.log().contains("configured anew"));
    server.stop();
}

/// Writes the file in its place, and as if it had not been touched: nobody who only looks at it sees that.
fn write_unseen(shell: &Shell, text: &str) {
    let path = shell.path().join(FILE);
    let before = fs::metadata(&path).unwrap();
    assert_eq!(before.len(), text.len() as u64, "its length is seen");
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn a_signal_has_a_configuration_read_that_has_changed_under_load_and_no_call_fails() {
    let burst = |burst: u32| format!("[limits.admin]\nburst = {burst}\n");
    let shell = Shell::new();
    write(&shell, &burst(200_000));
    let server = Server::start_with(&shell, &["--config", FILE]);
    let anew = || server.log().matches("configured anew").count();
    let placed = under_load(&shell, &server.flags(), || {
        for round in 1..=10 {
            write_unseen(&shell, &burst(200_000 + round));
            assert_eq!(anew(), round as usize - 1, "it was seen without a signal");
            server.signal(Signal::HUP);
            until(
                "the configuration to be read",
                || (anew() == round as usize).then_some(()),
                || server.log(),
            );
        }
        // A mistake changes nothing, and its line is named.
        let mistake = burst(200_000).replace("burst", "brust");
        write_unseen(&shell, &mistake);
        server.signal(Signal::HUP);
        let said = "docket.toml:2: unknown key `limits.admin.brust`";
        until(
            said,
            || server.log().contains(said).then_some(()),
            || server.log(),
        );
    });
    assert_eq!(anew(), 10, "{}", server.log());
    assert!(placed > 1, "{placed}");
    server.stop();
}

#[test]
fn certificates_for_clients_are_exchanged_under_load_and_no_call_fails() {
    let shell = Shell::new();
    let run = |command: &str| shell.run(command).ends(0);
    // Two authorities, of which a client trusts both, or one.
    for authority in ["one", "two"] {
        run(&format!("certs ca --out {authority}"));
        run(&format!(
            "certs node --ca {authority} --cluster shop --node 1 --host 127.0.0.1 --out of-{authority}"
        ));
    }
    let read = |file: &str| fs::read_to_string(shell.path().join(file)).unwrap();
    let both = read("one/ca.pem") + &read("two/ca.pem");
    fs::write(shell.path().join("both.pem"), both).unwrap();
    // As a careful program does, one file after the other: for a moment they do not fit.
    let exchange = |authority: &str| {
        for (from, to) in [("node-1.pem", "served.pem"), ("node-1.key", "served.key")] {
            fs::copy(
                shell.path().join(format!("of-{authority}/{from}")),
                shell.path().join("new"),
            )
            .unwrap();
            fs::rename(shell.path().join("new"), shell.path().join(to)).unwrap();
        }
    };
    exchange("one");
    write(
        &shell,
        "[tls]\ncertificate = \"served.pem\"\nkey = \"served.key\"\n",
    );
    let server = Server::start_with(&shell, &["--config", FILE]);
    let asked = |authority: &str| {
        let flags = server.flags();
        let run = shell.run(&format!("item get tea {flags} --ca {authority}/ca.pem"));
        assert!(
            run.code == 0 || run.stderr.contains("certificate"),
            "{}",
            run.stderr
        );
        run.code == 0
    };
    let placed = under_load(&shell, &format!("{} --ca both.pem", server.flags()), || {
        for round in 0..6 {
            let (now, before) = match round % 2 {
                0 => ("two", "one"),
                _ => ("one", "two"),
            };
            assert!(asked(before) && !asked(now), "round {round}");
            exchange(now);
            // By itself, and where somebody says so.
            if round >= 3 {
                server.signal(Signal::HUP);
            }
            until(
                "the certificate to be served",
                || asked(now).then_some(()),
                || server.log(),
            );
            assert!(!asked(before), "round {round}: {}", server.log());
        }
        // What is no certificate is not taken.
        fs::write(shell.path().join("new"), "no certificate").unwrap();
        fs::rename(shell.path().join("new"), shell.path().join("served.pem")).unwrap();
        let said = "the certificate stays as it was";
        until(
            said,
            || server.log().contains(said).then_some(()),
            || server.log(),
        );
        assert!(asked("one"));
    });
    assert!(placed > 10, "{placed}");
    server.stop();
}

//! Grafana's dashboards, made from the tables below and kept beside the rules: `DOCKET_WRITE_DOCS=1 cargo test --test cli dashboards`
//! writes them.

use std::{collections::BTreeSet, env, fs, process::Command};

use serde_json::{Value, json};

use super::{asked_for, documented, files, promtool, root};

const FOLDER: &str = "docs/monitoring/dashboards";
/// What each query is narrowed to: the cluster and the nodes that were chosen.
const CHOSEN: &str = "job=~\"$job\",instance=~\"$instance\"";
/// Grafana's grid is so wide.
const GRID: usize = 24;
const HEIGHT: usize = 8;

struct Dashboard {
    uid: &'static str,
    title: &'static str,
    panels: &'static [Panel],
}

/// A panel: what it shows, in which unit, and its queries with their legends. `$$` stands for [`CHOSEN`].
struct Panel {
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    /// The most that is good; none where nothing is bad by itself.
    good_below: Option<f64>,
    queries: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        about,
        unit,
        good_below: None,
        queries,
    }
}

const fn limited(good_below: f64, panel: Panel) -> Panel {
    Panel {
        good_below: Some(good_below),
        ..panel
    }
}

const DASHBOARDS: [Dashboard; 4] = [
    Dashboard {
        uid: "docket-overview",
        title: "Docket: overview",
        panels: &[
            panel(
                "Nodes ready",
                "1 for each node that serves.",
                "short",
                &[("docket_ready{$$}", "{{instance}}")],
            ),
            panel(
                "Orders acknowledged",
                "By calls and by streams.",
                "ops",
                &[
                    (
                        "sum(rate(docket_requests_total{$$,method=\"docket.v1.OrderService/PlaceOrder\",code=\"OK\"}[$__rate_interval]))",
                        "calls",
                    ),
                    (
                        "sum(rate(docket_stream_orders_total{$$,code=\"OK\"}[$__rate_interval]))",
                        "streams",
                    ),
                ],
            ),
            limited(
                0.05,
                panel(
                    "Time to acknowledge, by call",
                    "The objective: 99.9 % within 50 ms.",
                    "s",
                    &[
                        (
                            "histogram_quantile(0.5, sum by (le) (rate(docket_request_seconds_bucket{$$,method=\"docket.v1.OrderService/PlaceOrder\",code=\"OK\"}[$__rate_interval])))",
                            "p50",
                        ),
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(docket_request_seconds_bucket{$$,method=\"docket.v1.OrderService/PlaceOrder\",code=\"OK\"}[$__rate_interval])))",
                            "p99",
                        ),
                        (
                            "histogram_quantile(0.999, sum by (le) (rate(docket_request_seconds_bucket{$$,method=\"docket.v1.OrderService/PlaceOrder\",code=\"OK\"}[$__rate_interval])))",
                            "p99.9",
                        ),
                    ],
                ),
            ),
            limited(
                0.05,
                panel(
                    "Time to acknowledge, by stream",
                    "The objective: 99.9 % within 50 ms.",
                    "s",
                    &[
                        (
                            "histogram_quantile(0.5, sum by (le) (rate(docket_stream_order_seconds_bucket{$$,code=\"OK\"}[$__rate_interval])))",
                            "p50",
                        ),
                        (
                            "histogram_quantile(0.999, sum by (le) (rate(docket_stream_order_seconds_bucket{$$,code=\"OK\"}[$__rate_interval])))",
                            "p99.9",
                        ),
                    ],
                ),
            ),
            panel(
                "Calls that failed",
                "By status code; OK and what callers got wrong among them.",
                "ops",
                &[(
                    "sum by (code) (rate(docket_requests_total{$$,code!=\"OK\"}[$__rate_interval]))",
                    "{{code}}",
                )],
            ),
            panel(
                "Refused",
                "By what refused it.",
                "ops",
                &[(
                    "sum by (limiter) (rate(docket_limiter_denials_total{$$}[$__rate_interval])) > 0",
                    "{{limiter}}",
                )],
            ),
            panel(
                "In flight",
                "Against the most that is let in.",
                "short",
                &[
                    ("docket_orders_in_flight{$$}", "orders {{instance}}"),
                    ("docket_orders_in_flight_max{$$}", "orders at most {{instance}}"),
                    ("docket_requests_in_flight{$$}", "calls {{instance}}"),
                ],
            ),
            panel(
                "Memory",
                "Resident.",
                "bytes",
                &[("docket_process_resident_memory_bytes{$$}", "{{instance}}")],
            ),
            panel(
                "Processor",
                "Cores in use.",
                "short",
                &[("rate(docket_process_cpu_seconds_total{$$}[5m])", "{{instance}}")],
            ),
            panel(
                "Runtime",
                "Tasks that have not ended, and those that wait for a thread.",
                "short",
                &[
                    ("docket_runtime_tasks{$$}", "tasks {{instance}}"),
                    ("docket_runtime_queue_tasks{$$}", "waiting {{instance}}"),
                ],
            ),
            panel(
                "Threads",
                "Of the runtime, kept busy by what kind of task. Those of actors and of consensus are not told apart.",
                "short",
                &[(
                    "sum by (kind) (rate(docket_tasks_busy_seconds_total{$$}[5m]))",
                    "{{kind}}",
                )],
            ),
            panel(
                "Connections and files",
                "Of the gRPC port; and all that is open.",
                "short",
                &[
                    ("docket_connections_open{$$}", "connections {{instance}}"),
                    ("docket_process_open_fds{$$}", "files {{instance}}"),
                ],
            ),
            panel(
                "Certificates",
                "How long they hold.",
                "s",
                &[(
                    "docket_certificate_expiry_timestamp_seconds{$$} - time()",
                    "{{certificate}} {{instance}}",
                )],
            ),
        ],
    },
    Dashboard {
        uid: "docket-orders",
        title: "Docket: orders",
        panels: &[
            panel(
                "Orders settled",
                "By outcome.",
                "ops",
                &[(
                    "sum by (outcome) (rate(docket_orders_settled_total{$$}[$__rate_interval]))",
                    "{{outcome}}",
                )],
            ),
            panel(
                "Orders rejected",
                "By reason.",
                "ops",
                &[(
                    "sum by (reason) (rate(docket_orders_rejected_total{$$}[$__rate_interval]))",
                    "{{reason}}",
                )],
            ),
            panel(
                "Orders not settled",
                "In memory, on all nodes.",
                "short",
                &[("docket_orders_open{$$}", "{{instance}}")],
            ),
            limited(
                1.0,
                panel(
                    "Orders stuck",
                    "Pending for a minute, or unauthorised for five.",
                    "short",
                    &[("sum by (state) (docket_orders_stuck{$$})", "{{state}}")],
                ),
            ),
            panel(
                "Age of the oldest that waits",
                "By state.",
                "s",
                &[("max by (state) (docket_orders_oldest_seconds{$$})", "{{state}}")],
            ),
            panel(
                "Orders kept",
                "In memory, and in the archive.",
                "short",
                &[
                    ("docket_orders{$$}", "memory {{instance}}"),
                    ("docket_orders_archived{$$}", "archive {{instance}}"),
                ],
            ),
            panel(
                "Payments due",
                "Steps to be asked of providers; and what a person is to look at.",
                "short",
                &[
                    ("sum(docket_payments_due{$$})", "due"),
                    ("sum(docket_payments_declined{$$})", "declined"),
                ],
            ),
            panel(
                "Payment providers",
                "Requests, by provider and answer.",
                "ops",
                &[(
                    "sum by (provider, answer) (rate(docket_payment_requests_total{$$}[$__rate_interval]))",
                    "{{provider}} {{answer}}",
                )],
            ),
            panel(
                "Fulfilments open",
                "Planned, and neither sent nor given up.",
                "short",
                &[("sum(docket_fulfilments_open{$$})", "open")],
            ),
            panel(
                "Held for review",
                "Since their score was too high.",
                "ops",
                &[(
                    "sum(rate(docket_fraud_holds_total{$$}[$__rate_interval]))",
                    "held",
                )],
            ),
            panel(
                "Webhooks",
                "What was given up, what is tried again, who is behind.",
                "short",
                &[
                    ("max(docket_webhook_dead_letters{$$})", "dead letters"),
                    ("max(docket_webhook_retries{$$})", "tried again"),
                    ("max(docket_webhooks_behind{$$})", "webhooks behind"),
                ],
            ),
            panel(
                "Watches",
                "WatchOrders streams that are open, and changes that they took.",
                "short",
                &[
                    ("sum(docket_feed_watches{$$})", "open"),
                    (
                        "sum(rate(docket_feed_changes_total{$$}[$__rate_interval]))",
                        "changes a second",
                    ),
                ],
            ),
        ],
    },
    Dashboard {
        uid: "docket-storage",
        title: "Docket: storage",
        panels: &[
            limited(
                0.05,
                panel(
                    "Syncs of the journal",
                    "Each order waits for one at least.",
                    "s",
                    &[
                        (
                            "histogram_quantile(0.5, sum by (instance, le) (rate(docket_journal_sync_seconds_bucket{$$}[$__rate_interval])))",
                            "p50 {{instance}}",
                        ),
                        (
                            "histogram_quantile(0.99, sum by (instance, le) (rate(docket_journal_sync_seconds_bucket{$$}[$__rate_interval])))",
                            "p99 {{instance}}",
                        ),
                    ],
                ),
            ),
            panel(
                "Syncs a second",
                "One a commit.",
                "ops",
                &[(
                    "rate(docket_journal_syncs_total{$$}[$__rate_interval])",
                    "{{instance}}",
                )],
            ),
            panel(
                "Records of a commit",
                "The mean.",
                "short",
                &[(
                    "rate(docket_journal_batch_records_sum{$$}[$__rate_interval]) / rate(docket_journal_batch_records_count{$$}[$__rate_interval])",
                    "{{instance}}",
                )],
            ),
            panel(
                "Queue",
                "Records that a commit has taken, or that wait for the next.",
                "short",
                &[("docket_journal_queue_records{$$}", "{{instance}}")],
            ),
            panel(
                "Bytes made durable",
                "Of records.",
                "Bps",
                &[(
                    "rate(docket_journal_payload_bytes_total{$$}[$__rate_interval])",
                    "{{instance}}",
                )],
            ),
            panel(
                "Journal",
                "On the disk.",
                "bytes",
                &[("docket_journal_bytes{$$}", "{{instance}}")],
            ),
            panel(
                "Disk",
                "Left, and what is reserved of it.",
                "bytes",
                &[
                    ("docket_disk_free_bytes{$$}", "free {{instance}}"),
                    ("docket_disk_reserve_bytes{$$}", "reserve {{instance}}"),
                ],
            ),
            panel(
                "Disk in use",
                "Share of the whole.",
                "percentunit",
                &[(
                    "1 - docket_disk_free_bytes{$$} / docket_disk_size_bytes{$$}",
                    "{{instance}}",
                )],
            ),
            panel(
                "Age of snapshots",
                "The newest of each group.",
                "s",
                &[("docket_raft_snapshot_age_seconds{$$}", "{{group}} {{instance}}")],
            ),
            panel(
                "Snapshots",
                "How long they took, the mean; and those that failed.",
                "s",
                &[(
                    "rate(docket_raft_snapshot_seconds_sum{$$}[1h]) / rate(docket_raft_snapshot_seconds_count{$$}[1h])",
                    "{{group}} {{instance}}",
                )],
            ),
            limited(
                1.0,
                panel(
                    "Discrepancies of the books",
                    "What the verification that runs by itself has found.",
                    "short",
                    &[(
                        "sum by (instance, kind) (docket_verify_discrepancies{$$})",
                        "{{kind}} {{instance}}",
                    )],
                ),
            ),
            limited(
                1.0,
                panel(
                    "Damage on the disk",
                    "Places that are not what was written, as of the last time that all was read.",
                    "short",
                    &[(
                        "sum by (instance, kind) (docket_scrub_damaged{$$})",
                        "{{kind}} {{instance}}",
                    )],
                ),
            ),
        ],
    },
    Dashboard {
        uid: "docket-cluster",
        title: "Docket: cluster",
        panels: &[
            panel(
                "Leads",
                "Groups that each node leads.",
                "short",
                &[("docket_raft_groups{$$,role=\"leader\"}", "{{instance}}")],
            ),
            panel(
                "Groups without a leader",
                "That no node knows a leader of.",
                "short",
                &[(
                    "count(max by (group) (docket_raft_has_leader{$$}) == 0) or vector(0)",
                    "groups",
                )],
            ),
            panel(
                "Elections",
                "Terms with a leader, by group.",
                "short",
                &[(
                    "max by (group) (increase(docket_raft_elections_total{$$}[15m]))",
                    "{{group}}",
                )],
            ),
            limited(
                500.0,
                panel(
                    "Followers behind",
                    "Entries that they lack, as their leaders know.",
                    "short",
                    &[(
                        "max by (group, node) (docket_raft_replica_lag_entries{$$})",
                        "{{group}} node {{node}}",
                    )],
                ),
            ),
            limited(
                500.0,
                panel(
                    "Committed and not applied",
                    "Entries, by group and node.",
                    "short",
                    &[("docket_raft_apply_lag_entries{$$}", "{{group}} {{instance}}")],
                ),
            ),
            panel(
                "Entries applied",
                "All groups.",
                "ops",
                &[(
                    "sum by (instance) (rate(docket_raft_applied_entries_total{$$}[$__rate_interval]))",
                    "{{instance}}",
                )],
            ),
            limited(
                10.0,
                panel(
                    "Silence of peers",
                    "How long ago a node last answered another.",
                    "s",
                    &[("docket_peer_silence_seconds{$$}", "{{instance}} of node {{node}}")],
                ),
            ),
            panel(
                "Connections to peers that failed",
                "Attempts.",
                "ops",
                &[(
                    "rate(docket_peer_connect_failures_total{$$}[$__rate_interval])",
                    "{{instance}} to node {{node}}",
                )],
            ),
            panel(
                "Sent to peers",
                "Entries, snapshots and calls.",
                "Bps",
                &[
                    (
                        "sum by (instance) (rate(docket_peer_append_bytes_sent_total{$$}[$__rate_interval]))",
                        "entries {{instance}}",
                    ),
                    (
                        "sum by (instance) (rate(docket_peer_snapshot_bytes_sent_total{$$}[$__rate_interval]))",
                        "snapshots {{instance}}",
                    ),
                    (
                        "sum by (instance) (rate(docket_peer_call_bytes_sent_total{$$}[$__rate_interval]))",
                        "calls {{instance}}",
                    ),
                ],
            ),
            panel(
                "Calls forwarded",
                "That other nodes were asked to do.",
                "ops",
                &[(
                    "sum by (outcome) (rate(docket_forwarded_calls_total{$$}[$__rate_interval]))",
                    "{{outcome}}",
                )],
            ),
            panel(
                "Replicas on their way",
                "Groups whose replicas are not where they should be.",
                "short",
                &[("max(docket_cluster_moves_in_progress{$$})", "groups")],
            ),
            limited(
                0.5,
                panel(
                    "Clocks",
                    "How far each is off, as it was read.",
                    "s",
                    &[(
                        "docket_time_seconds{$$} - timestamp(docket_time_seconds{$$})",
                        "{{instance}}",
                    )],
                ),
            ),
        ],
    },
];

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// As Grafana has it.
fn made(dashboard: &Dashboard) -> Value {
    let panels = dashboard.panels.iter().enumerate();
    let panels: Vec<Value> = panels.map(|(number, panel)| panel_made(number, panel)).collect();
    let chosen = |name: &str, label: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": datasource(),
            "query": { "query": query, "refId": name }, "definition": query,
            "includeAll": name == "instance", "multi": name == "instance", "refresh": 2, "sort": 1,
        })
    };
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["docket"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "links": [{ "type": "dashboards", "tags": ["docket"], "title": "Docket", "asDropdown": true, "keepTime": true, "includeVars": true }],
        "templating": { "list": [
            { "name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus" },
            chosen("job", "Cluster", "label_values(docket_build_info, job)"),
            chosen("instance", "Node", "label_values(docket_build_info{job=~\"$job\"}, instance)"),
        ] },
        "panels": panels,
    })
}

fn panel_made(number: usize, panel: &Panel) -> Value {
    let queries = panel.queries.iter().zip('A'..);
    let targets: Vec<Value> = queries
        .map(|((expression, legend), letter)| {
            json!({
                "refId": letter.to_string(),
                "expr": expression.replace("$$", CHOSEN),
                "legendFormat": legend,
                "datasource": datasource(),
            })
        })
        .collect();
    let mut steps = vec![json!({ "color": "green", "value": null })];
    steps.extend(
        panel
            .good_below
            .map(|value| json!({ "color": "red", "value": value })),
    );
    let drawn = if panel.good_below.is_some() {
        "dashed"
    } else {
        "off"
    };
    let half = GRID / 2;
    json!({
        "id": number + 1,
        "title": panel.title,
        "description": panel.about,
        "type": "timeseries",
        "datasource": datasource(),
        "gridPos": { "x": number % 2 * half, "y": number / 2 * HEIGHT, "w": half, "h": HEIGHT },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": if panel.title == "Clocks" || panel.title == "Certificates" { Value::Null } else { 0.into() },
                "thresholds": { "mode": "absolute", "steps": steps },
                "custom": { "fillOpacity": 8, "lineWidth": 1, "showPoints": "never", "thresholdsStyle": { "mode": drawn } },
            },
            "overrides": [],
        },
        "options": {
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        },
        "targets": targets,
    })
}

#[test]
fn the_dashboards_are_what_the_tables_say_and_ask_for_what_is_measured() {
    let documented = documented();
    let mut uids = BTreeSet::new();
    let mut there: BTreeSet<_> = fs::read_dir(root().join(FOLDER))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
        .unwrap_or_default();
    for dashboard in &DASHBOARDS {
        let made = made(dashboard);
        let text = format!("{}\n", serde_json::to_string_pretty(&made).unwrap());
        let name = format!("{}.json", dashboard.uid);
        let path = root().join(FOLDER).join(&name);
        if env::var_os("DOCKET_WRITE_DOCS").is_some() {
            fs::create_dir_all(root().join(FOLDER)).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == text,
            "{name} is not what its table says; run this with DOCKET_WRITE_DOCS=1"
        );
        there.remove(std::ffi::OsStr::new(&name));
        valid(&made, &documented);
        assert!(uids.insert(dashboard.uid), "two are called {}", dashboard.uid);
    }
    assert!(there.is_empty(), "of no table: {there:?}");
}

/// What Grafana puts in the place of its variables.
const PUT_IN: [(&str, &str); 3] = [
    ("$job", "docket"),
    ("$instance", ".+"),
    ("$__rate_interval", "1m"),
];

/// Each question as a rule of a file, which promtool reads.
fn rules(dashboard: &Value) -> Value {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<Value> = targets
        .zip(0..)
        .map(|(target, number)| {
            let mut expression = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in PUT_IN {
                expression = expression.replace(variable, value);
            }
            json!({ "record": format!("asked:{number}"), "expr": expression })
        })
        .collect();
    // The file is YAML, of which JSON is a part.
    json!({ "groups": [{ "name": dashboard["uid"], "rules": rules }] })
}

#[test]
fn promtool_understands_each_question_of_the_dashboards() {
    if !promtool("the questions of the dashboards") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, rules: &Value| {
        let path = folder.path().join(format!("{name}.yml"));
        fs::write(&path, rules.to_string()).unwrap();
        let run = Command::new("promtool")
            .args(["check", "rules"])
            .arg(path)
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr)
        );
        (run.status.success(), said)
    };
    let mut questions = 0;
    for path in files(FOLDER, ".json") {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut rules = rules(&dashboard);
        let name = dashboard["uid"].as_str().unwrap();
        let (understood, said) = check(name, &rules);
        assert!(understood, "{}: {said}", path.display());
        let all = rules["groups"][0]["rules"].as_array_mut().unwrap();
        questions += all.len();
        // It is looked at: one with a mistake is found.
        let last = all.last_mut().unwrap();
        last["expr"] = format!("{} or", last["expr"].as_str().unwrap()).into();
        let (understood, said) = check(name, &rules);
        assert!(
            !understood && said.contains("could not parse expression"),
            "{said}"
        );
    }
    assert!(questions > 50, "{questions}");
}

/// What Grafana needs to show it, and that whatever it asks for is measured.
#[track_caller]
fn valid(dashboard: &Value, documented: &BTreeSet<String>) {
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["type"], "datasource");
    let named: Vec<_> = variables
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(titles.insert(title), "two panels are called {title}");
        let place = &panel["gridPos"];
        assert!(
            taken.insert((place["x"].as_u64(), place["y"].as_u64())),
            "{title} lies over another"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let asked = asked_for(expression);
            assert!(
                !asked.is_empty() && asked.is_subset(documented),
                "{title}: {expression}"
            );
            assert_eq!(
                expression.matches("docket_").count(),
                expression.matches("job=~\"$job\"").count(),
                "{title} does not choose a cluster: {expression}"
            );
            for variable in expression.split('$').skip(1) {
                let name: String = variable.chars().take_while(|c| c.is_ascii_lowercase()).collect();
                assert!(
                    named.contains(&name.as_str()) || variable.starts_with("__rate_interval"),
                    "{title}: ${variable}"
                );
            }
            let opened = expression.matches(['(', '{', '[']).count();
            assert_eq!(
                opened,
                expression.matches([')', '}', ']']).count(),
                "{title}: {expression}"
            );
        }
    }
}

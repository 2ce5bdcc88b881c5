//! A real Prometheus with the rules of this repository, which looks every second.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{LOOK_AGAIN, PATIENCE, free_port};

const RULES: &str = "docs/monitoring/rules";
/// What is another in the rules here, beside what `for:` asks for: how many entries are many, and how late is late. Each is there once.
const SMALLER: [(&str, &str); 4] = [
    (
        "increase(docket_raft_applied_entries_total[1d]) > 100000",
        "increase(docket_raft_applied_entries_total[1d]) > 100",
    ),
    (
        "(docket_raft_replica_lag_entries) > 500",
        "(docket_raft_replica_lag_entries) > 100",
    ),
    (
        "expr: docket_raft_apply_lag_entries > 500",
        "expr: docket_raft_apply_lag_entries > 100",
    ),
    (
        "expr: docket_standby_lag_seconds > 60",
        "expr: docket_standby_lag_seconds > 3",
    ),
];
/// Rates of minutes need some looks, and some causes take ten seconds until they are believed.
const FIRES_WITHIN: Duration = PATIENCE.saturating_mul(2);

/// It, until it is dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that looks at these, by the names of their jobs; `None`, and a line says so, where it is not installed. What `for:` asks
    /// for is shortened to a second, and [`SMALLER`] is replaced: rules are copied, and nothing else of them is changed.
    pub fn start(what: &str, jobs: &[(&str, Vec<SocketAddr>)]) -> Option<Self> {
        if Command::new("prometheus").arg("--version").output().is_err() {
            // Written as it is: what is printed by a test that passes is not shown.
            let line = format!("SKIPPED: {what}: prometheus is not installed here\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        copy_rules(folder.path());
        let mut config = String::from(
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files: [\"*.yml\"]\nscrape_configs:\n",
        );
        for (job, nodes) in jobs {
            let nodes: Vec<String> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
            config += &format!(
                "  - job_name: {job}\n    static_configs: [ {{ targets: [{}] }} ]\n",
                nodes.join(", ")
            );
        }
        fs::write(folder.path().join("prometheus.yaml"), config).unwrap();
        let free = free_port();
        let address = free.local_addr().unwrap();
        drop(free);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yaml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self {
            child,
            address,
            folder,
        };
        let begun = Instant::now();
        while started.get("/-/ready").is_none_or(|body| !body.contains("Ready")) {
            let ended = started.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "it is not ready: {}",
                started.log()
            );
            std::thread::sleep(LOOK_AGAIN);
        }
        Some(started)
    }

    /// Waits until an alert fires with this in a label, and says how long that took.
    #[track_caller]
    pub fn fires(&self, alert: &str, (label, value): (&str, &str)) {
        let begun = Instant::now();
        loop {
            let firing = self.firing();
            let found = firing
                .iter()
                .find(|one| one["labels"]["alertname"] == alert && one["labels"][label] == value);
            if let Some(found) = found {
                let summary = found["annotations"]["summary"].as_str().unwrap();
                println!("{alert} fires after {:.1?}: {summary}", begun.elapsed());
                return self.answers_its_page(alert);
            }
            assert!(
                begun.elapsed() < FIRES_WITHIN,
                "{alert} does not fire for {label} {value}: {firing:#?}\n{}",
                self.log()
            );
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Asks what the alert's page has an operator ask, in the cause's presence: each question is one that Prometheus understands, and has an
    /// answer.
    #[track_caller]
    fn answers_its_page(&self, alert: &str) {
        let page = super::page(alert);
        let asked = page.split('`').skip(1).step_by(2);
        for question in asked.filter(|quoted| super::is_question(quoted)) {
            let answer = self.ask(question);
            assert_eq!(answer["status"], "success", "{alert}: `{question}`: {answer}");
            let is_answered = answer["data"]["result"]
                .as_array()
                .is_some_and(|all| !all.is_empty());
            let may_be_none = super::OF_OTHERS
                .iter()
                .any(|(of, name)| *of == alert && question.contains(name));
            assert!(
                is_answered || may_be_none,
                "{alert}: nothing answers `{question}` while it fires"
            );
        }
    }

    /// Waits until there are recorded samples of every node and looks whether anything fires but these: their names.
    pub fn quiet(&self, but: &[&str]) {
        self.quiet_after(10.0, but);
    }

    /// The same after so many samples.
    pub fn quiet_after(&self, samples: f64, but: &[&str]) {
        self.reaches("min(count_over_time(docket_ready[1m]))", samples);
        let firing = self.firing();
        let names = firing
            .iter()
            .filter_map(|one| one["labels"]["alertname"].as_str());
        let loud: Vec<_> = names.filter(|name| !but.contains(name)).collect();
        assert!(loud.is_empty(), "{loud:?} fire when all is well: {firing:#?}");
    }

    /// Waits until an expression is so much at least.
    #[track_caller]
    pub fn reaches(&self, expression: &str, least: f64) {
        assert!(
            self.comes_to(expression, least, PATIENCE),
            "{expression} is {}: {}",
            self.value(expression),
            self.log()
        );
    }

    /// Waits for that; whether it is so within this time.
    pub fn comes_to(&self, expression: &str, least: f64, within: Duration) -> bool {
        let begun = Instant::now();
        while self.value(expression) < least {
            if begun.elapsed() > within {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        true
    }

    /// What is answered to a question.
    fn ask(&self, expression: &str) -> Value {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={escaped}"));
        answer
            .and_then(|body| serde_json::from_str(&body).ok())
            .unwrap_or_default()
    }

    /// What an expression of one sample is; 0 where there is none.
    pub fn value(&self, expression: &str) -> f64 {
        let answer = self.ask(expression);
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    fn firing(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/alerts").unwrap_or_default();
        let mut answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let alerts = match answer["data"]["alerts"].take() {
            Value::Array(alerts) => alerts,
            _ => Vec::new(),
        };
        alerts
            .into_iter()
            .filter(|one| one["state"] == "firing")
            .collect()
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut tcp = TcpStream::connect(self.address).ok()?;
        tcp.set_read_timeout(Some(PATIENCE)).ok()?;
        // Without chunks.
        let request = format!("GET {path} HTTP/1.0\r\nhost: prometheus\r\n\r\n");
        tcp.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // A failing test must leave no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy_rules(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
    let mut replaced = [0; SMALLER.len()];
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| match line.split_once("for: ") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s\n"),
            _ => format!("{line}\n"),
        });
        let mut rules: String = lines.collect();
        for (found, (rule, smaller)) in replaced.iter_mut().zip(SMALLER) {
            *found += rules.matches(rule).count();
            rules = rules.replace(rule, smaller);
        }
        fs::write(to.join(path.file_name().unwrap()), rules).unwrap();
    }
    assert_eq!(replaced, [1; SMALLER.len()], "the rules are others: {SMALLER:?}");
}

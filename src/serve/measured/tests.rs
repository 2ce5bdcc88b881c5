//! The page of the metrics is what the program knows, and the program describes whatever it measures.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::describe;

/// What is said of a metric.
#[derive(Clone, PartialEq)]
struct Described {
    kind: &'static str,
    unit: Option<Unit>,
    text: String,
}

/// Keeps what is described.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Described>>);

impl Kept {
    fn keep(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        let described = Described {
            kind,
            unit,
            text: text.to_string(),
        };
        let before = self
            .0
            .lock()
            .unwrap()
            .insert(name.as_str().to_owned(), described.clone());
        // The edge describes the node's, since a server that is only an edge has them too.
        assert!(
            before.is_none_or(|before| before == described),
            "{} is described in two ways",
            name.as_str()
        );
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.keep("counter", &name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.keep("gauge", &name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.keep("histogram", &name, unit, &text);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn described() -> BTreeMap<String, Described> {
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, describe);
    kept.0.into_inner().unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    let mut out = String::from(
        "# Metrics\n\nEvery metric at `/metrics` of the admin port, in Prometheus' text format. `docs/monitoring.md` says what to make of them: objectives, \
         alerts,\ndashboards. Labels are methods, status codes, names of limiters, groups, nodes and names of the configuration, never ids of customers, orders or \
         items. A counter\nwith labels is there from when it first counts.\n\nA histogram of seconds has the bounds 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 25, 50, 100, 250 and \
         500 ms, 1, 5 and 30 s; 50 ms is what the objective for orders asks for.\nThere are no exemplars: the exporter (`metrics-exporter-prometheus` 0.18) writes none, and the text \
         format has none.\n\nThis page is made from the program: a test compares it, and `DOCKET_WRITE_DOCS=1 cargo test --bin docket measured` writes it.\n",
    );
    out.push_str("\n| metric | kind | unit | |\n|---|---|---|---|\n");
    for (name, of) in described() {
        let unit = match of.unit {
            None | Some(Unit::Count) => "",
            Some(unit) => unit.as_str(),
        };
        out.push_str(&format!(
            "| `{name}` | {} | {unit} | {} |\n",
            of.kind,
            of.text.replace('|', "\\|")
        ));
    }
    out
}

#[test]
fn the_page_of_the_metrics_is_what_the_program_knows() {
    let (page, path) = (page(), root().join("docs/metrics.md"));
    if env::var_os("DOCKET_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/metrics.md is not what the program knows; run this with DOCKET_WRITE_DOCS=1 and look at what changes"
    );
}

#[test]
fn names_and_units_are_as_prometheus_has_them() {
    for (name, of) in described() {
        let has = |ending: &str| name.ends_with(ending);
        assert_eq!(of.kind == "counter", has("_total"), "{name} is a {}", of.kind);
        let base = name.strip_suffix("_total").unwrap_or(&name);
        assert_eq!(
            of.unit == Some(Unit::Seconds),
            base.ends_with("_seconds"),
            "{name}"
        );
        let bytes = base.contains("_bytes");
        assert_eq!(of.unit == Some(Unit::Bytes), bytes, "{name}");
        assert!(
            of.text.ends_with('.') && of.text.len() > 10,
            "{name}: {}",
            of.text
        );
    }
}

/// Every text of the sources that is the name of a metric.
fn named_in(folder: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let texts = text.split('"').filter(|text| text.starts_with("docket_"));
            let names =
                texts.filter(|text| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            found.extend(names.map(|name| (name.to_owned(), path.clone())));
        }
    }
}

#[test]
fn whatever_is_measured_is_described() {
    let mut named = BTreeMap::new();
    for part in [
        "src",
        "edge",
        "actors",
        "cluster",
        "persistence",
        "payments",
        "webhooks",
        "audit",
        "secrets",
        "traces",
    ] {
        let folder = root().join(part);
        let sources = if part == "src" { folder } else { folder.join("src") };
        named_in(&sources, &mut named);
    }
    assert!(named.len() > 100, "the sources are not read: {}", named.len());
    let described = described();
    // Crates by their names, of which logs are filtered; a cookie; and what a token of another issuer has.
    named.retain(|name, _| {
        !matches!(
            name.as_str(),
            "docket_engine"
                | "docket_edge"
                | "docket_cluster"
                | "docket_console_"
                | "docket_customer"
                | "docket_role"
        )
    });
    // As a histogram is exported.
    let of = |name: &str| described.contains_key(name.strip_suffix("_bucket").unwrap_or(name));
    let missing: Vec<_> = named.iter().filter(|(name, _)| !of(name)).collect();
    assert!(missing.is_empty(), "measured and not described: {missing:#?}");
    let unused: Vec<_> = described
        .keys()
        .filter(|name| !named.contains_key(*name))
        .collect();
    assert!(unused.is_empty(), "described and nowhere to be found: {unused:?}");
}

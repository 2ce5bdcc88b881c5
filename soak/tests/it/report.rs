//! The report: well-formed, self-contained, and the same as its JSON.

use std::{path::PathBuf, time::Duration};

use docket_soak::{
    Tally,
    report::{HTML, JSON, html, write},
    suite::{
        Event, Kept, Model, Outcome, PhaseReport, Plan, Restart, SCHEMA_VERSION, Scenario, Settled,
        judge::{Evidence, Verdict, all},
        sample::{Activity, Gauges, Quantiles, Sample, Stage},
    },
};

/// A run with this model and these samples.
pub fn outcome(model: Model, samples: Vec<Sample>) -> Outcome {
    let mut phases = Vec::new();
    for (at, scenario) in Scenario::ALL.into_iter().enumerate() {
        let mut tally = Tally::default();
        tally.orders.record(Duration::from_millis(3));
        tally.errors.insert("RESOURCE_EXHAUSTED", 5);
        let mut phase = PhaseReport::begun(scenario, 10.0 * at as f64);
        phase.to_s = phase.from_s + 10.0;
        phase.add(tally);
        phases.push(phase);
    }
    let settled = vec![Settled {
        at_s: 5.0,
        life: 1,
        gauges: Gauges::default(),
    }];
    let judgements = all(&Evidence {
        phases: &phases,
        samples: &samples,
        settled: &settled,
    });
    let mut plan = Plan::new("docket".into(), PathBuf::from("/tmp"));
    plan.command = "docket-soak run --out '<b>&amp;\"".to_owned();
    Outcome {
        plan,
        took_s: 90.0,
        interrupted: false,
        phases,
        restarts: vec![Restart {
            at_s: 85.0,
            ready_s: 0.5,
            orders: 1_000,
        }],
        events: vec![Event {
            at_s: 88.0,
            what: "node 2 is <killed>".to_owned(),
        }],
        samples,
        settled,
        nodes_settled: Default::default(),
        faults: model.faults,
        sums: model.sums,
        deeds: model.deeds,
        judgements,
        kept: Kept {
            folder: None,
            in_memory: false,
        },
    }
}

fn model() -> Model {
    let shop = Plan::new(std::env::current_exe().unwrap(), PathBuf::new())
        .validate()
        .unwrap();
    Model::of(shop.into())
}

/// A minute and a half; the server is down for some of it.
fn samples() -> Vec<Sample> {
    let sample = |at: usize| Sample {
        at_s: (at + 1) as f64,
        span_s: 1.0,
        stage: Stage {
            phase: at / 10,
            activity: if at < 85 { Activity::Load } else { Activity::Down },
            life: 1,
        },
        mixed: false,
        orders: 1_000.0 + at as f64,
        reads: 0.0,
        refused: 0.0,
        failed: 0.0,
        latency: (!at.is_multiple_of(7)).then_some(Quantiles {
            count: 1_000.0,
            p50: 900.0,
            p99: 12_000.0,
            p99_9: 2e6,
        }),
        gauges: (at < 85).then_some(Gauges {
            rss_bytes: 1e8 + 1e6 * at as f64,
            explained_bytes: 1e6 * at as f64,
            ..Gauges::default()
        }),
        nodes: [None; 3],
    };
    (0..90).map(sample).collect()
}

/// Whether every element of a page is closed in order, every attribute quoted and every `&` the begin of an entity: what
/// XML asks for. What it finds wrong is told.
fn well_formed(page: &str) -> Result<usize, String> {
    let (mut open, mut elements): (Vec<&str>, usize) = (Vec::new(), 0);
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some(at) = rest.find(['<', '&']) {
        let (text, tag) = (&rest[..at], &rest[at + 1..]);
        if text.contains('>') && open.last() != Some(&"style") {
            return Err(format!("a > in {text:?}"));
        }
        if rest[at..].starts_with('&') {
            let entity = tag.split_once(';').map(|(entity, _)| entity).unwrap_or_default();
            if !["lt", "gt", "amp", "quot", "#39"].contains(&entity) {
                return Err(format!("no entity: &{entity}"));
            }
            rest = &tag[entity.len() + 1..];
            continue;
        }
        let (inside, after) = tag.split_once('>').ok_or("a tag without an end")?;
        rest = after;
        if let Some(name) = inside.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        let (name, attributes) = inside
            .split_once(' ')
            .unwrap_or((inside.trim_end_matches('/'), ""));
        if attributes.matches('"').count() % 2 != 0 {
            return Err(format!("a quote is missing in {inside}"));
        }
        elements += 1;
        if !inside.ends_with('/') {
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(elements)
    } else {
        Err(format!("not closed: {open:?}"))
    }
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_from_anywhere() {
    let mut wrong = model();
    for n in 0..60 {
        wrong
            .faults
            .add(format!("fault {n} <script>alert(\"x\")</script> & more"));
    }
    for outcome in [
        outcome(model(), samples()),
        outcome(model(), Vec::new()),
        outcome(wrong, samples()),
    ] {
        let page = html(&outcome);
        let elements = well_formed(&page).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(elements > 200, "{elements}");
        assert!(
            !page.contains("<script") && !page.contains("NaN") && !page.contains("inf "),
            "{page}"
        );
        for outside in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            let allowed = page.replace("http://www.w3.org/", "");
            assert!(!allowed.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), 7);
        for scenario in Scenario::ALL {
            assert!(page.contains(scenario.name()), "{}", scenario.name());
        }
        let verdict = if outcome.passed() { "PASSED" } else { "FAILED" };
        assert!(page.contains(verdict));
        assert_eq!(outcome.passed(), !page.contains("<h2>Faults</h2>"));
    }
}

#[test]
fn both_files_are_written_and_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = outcome(model(), samples());
    let page = write(&outcome, &folder.path().join("a/b")).unwrap();
    assert!(page.ends_with(HTML));
    let text = std::fs::read_to_string(page.with_file_name(JSON)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert_eq!(json["verdict"], "passed");
    assert_eq!(json["samples"].as_array().unwrap().len(), 90);
    assert_eq!(json["samples"][0]["scenario"], "steady");
    assert_eq!(json["phases"][2]["refused"], 5);
    assert_eq!(
        json["judgements"].as_array().unwrap().len(),
        outcome.judgements.len()
    );
    assert!(
        std::fs::read_to_string(page)
            .unwrap()
            .contains(&outcome.headline())
    );
}

#[test]
fn the_headline_claims_nothing_that_was_not_judged() {
    let mut outcome = outcome(model(), samples());
    let open = outcome.judgements.iter().any(|one| one.verdict == Verdict::Open);
    assert!(
        open && outcome.headline().contains("could be judged"),
        "{}",
        outcome.headline()
    );
    outcome.judgements.retain(|one| one.verdict == Verdict::Passed);
    assert!(
        outcome.headline().ends_with("no leak, no drift"),
        "{}",
        outcome.headline()
    );
    outcome.judgements[0].verdict = Verdict::Failed;
    outcome.faults.add("the run ended early".to_owned());
    let headline = outcome.headline();
    assert!(
        headline.starts_with("1 fault; ") && headline.contains("judged as failed: "),
        "{headline}"
    );
}

#[test]
fn a_page_that_is_not_well_formed_is_found() {
    for wrong in ["<p>", "<p></b>", "<p a=\"></p>", "a & b", "<b>1 > 0</b>"] {
        assert!(
            well_formed(&format!("<!DOCTYPE html>{wrong}")).is_err(),
            "{wrong}"
        );
    }
}

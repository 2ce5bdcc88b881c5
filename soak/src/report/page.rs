//! The page.

use std::fmt::Write as _;

use super::{
    plots::{self, Plot},
    text::{bytes, count, escaped, micros, seconds},
};
use crate::suite::{
    Outcome, PhaseReport,
    judge::{Judgement, Verdict},
    sample::Sample,
};

/// Its looks. No font, image or script comes from anywhere.
const STYLE: &str = include_str!("page.css");

/// The report of a run as one page of well-formed XML.
pub fn html(outcome: &Outcome) -> String {
    let mut page = String::new();
    let verdict = if outcome.passed() { "passed" } else { "failed" };
    let _ = write!(
        page,
        r#"<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>Docket soak: {verdict}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
"#
    );
    verdict_of(&mut page, outcome, verdict);
    faults(&mut page, outcome);
    judgements(&mut page, outcome);
    for plot in plots::all(outcome) {
        figure(&mut page, &plot);
    }
    phases(&mut page, outcome);
    restarts(&mut page, outcome);
    events(&mut page, outcome);
    setup(&mut page, outcome);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn verdict_of(page: &mut String, outcome: &Outcome, verdict: &str) {
    let orders = outcome.sums.acknowledged;
    let last = outcome.samples.iter().rev().find_map(|sample| sample.gauges);
    let peak = outcome
        .samples
        .iter()
        .filter_map(Sample::rss_bytes)
        .fold(0.0, f64::max);
    let _ = write!(
        page,
        r#"<header class="{verdict}">
<h1><span>{}</span> Docket soak, {}</h1>
<p>{}.</p>
</header>
<section class="tiles">
"#,
        verdict.to_uppercase(),
        escaped(&seconds(outcome.took_s)),
        escaped(&outcome.headline())
    );
    let mut tile = |value: String, what: &str| {
        let _ = writeln!(page, "<div><b>{}</b> {}</div>", escaped(&value), escaped(what));
    };
    tile(count(orders as f64), "orders acknowledged, and checked");
    tile(count(outcome.sums.read as f64), "read back, each once");
    tile(outcome.faults.count.to_string(), "faults");
    tile(count(outcome.sums.cancelled as f64), "cancelled");
    tile(count(outcome.sums.led as f64), "led through their lives");
    tile(outcome.restarts.len().to_string(), "kills survived");
    tile(bytes(peak), "memory at most");
    tile(
        last.map_or_else(|| "-".to_owned(), |last| bytes(last.data_bytes)),
        "on disk at the end",
    );
    page.push_str("</section>\n");
}

fn faults(page: &mut String, outcome: &Outcome) {
    if outcome.faults.count == 0 {
        return;
    }
    let told = outcome.faults.told.len() as u64;
    let _ = writeln!(page, "<section class=\"faults\">\n<h2>Faults</h2>\n<ol>");
    for fault in &outcome.faults.told {
        let _ = writeln!(page, "<li>{}</li>", escaped(fault));
    }
    page.push_str("</ol>\n");
    if outcome.faults.count > told {
        let _ = writeln!(page, "<p>and {} more</p>", outcome.faults.count - told);
    }
    page.push_str("</section>\n");
}

fn judgements(page: &mut String, outcome: &Outcome) {
    page.push_str("<section>\n<h2>Leaks and drift</h2>\n<table class=\"judged\">\n");
    page.push_str("<tr><th>judged</th><th>verdict</th><th>found</th><th>would fail with</th></tr>\n");
    for one in &outcome.judgements {
        let Judgement {
            name,
            verdict,
            found,
            limit,
            ..
        } = one;
        let class = match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Open => "open",
        };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"{class}\">{}</td><td>{}</td><td class=\"limit\">{}</td></tr>",
            escaped(name),
            crate::suite::word(*verdict),
            escaped(found),
            escaped(limit)
        );
    }
    page.push_str("</table>\n</section>\n");
}

fn figure(page: &mut String, plot: &Plot) {
    let _ = write!(page, "<figure>\n<figcaption><b>{}</b>", escaped(plot.title));
    for (name, colour, dashed) in &plot.key {
        let dashed = if *dashed { " dashed" } else { "" };
        let _ = write!(page, r#" <i class="key k{colour}{dashed}"></i>{}"#, escaped(name));
    }
    let _ = write!(
        page,
        "<small>{}</small></figcaption>\n{}\n</figure>\n",
        escaped(plot.hint),
        plot.svg
    );
}

fn phases(page: &mut String, outcome: &Outcome) {
    page.push_str("<section>\n<h2>Scenarios</h2>\n<table class=\"numbers\">\n<tr><th>scenario</th><th>from</th><th>took</th>");
    page.push_str(
        "<th>orders</th><th>a second</th><th>reads</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th>",
    );
    page.push_str("<th>refused</th><th>failed</th><th>what it shows</th></tr>\n");
    for phase in &outcome.phases {
        let PhaseReport {
            scenario,
            from_s,
            to_s,
            orders,
            reads,
            ..
        } = phase;
        let us = |quantile: f64| micros(orders.us(quantile) as f64);
        let cells = [
            seconds(*from_s),
            seconds(to_s - from_s),
            count(orders.count() as f64),
            count(phase.per_second(orders.count())),
            count(reads.count() as f64),
            us(0.5),
            us(0.99),
            us(0.999),
            micros(orders.max_us() as f64),
            count(phase.refused() as f64),
            count(phase.failed() as f64),
        ];
        let cells: String = cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escaped(cell)))
            .collect();
        let _ = writeln!(
            page,
            "<tr><td title=\"{}\">{}</td>{cells}<td class=\"limit\">{}</td></tr>",
            escaped(scenario.asks()),
            escaped(scenario.name()),
            escaped(scenario.shows())
        );
    }
    page.push_str("</table>\n<p class=\"note\">Orders a second are of the time in which the load was on, whatever it asked for. ");
    page.push_str("Failed calls of a storm or a kill are lost connections; each of their orders was asked for again.</p>\n</section>\n");
}

fn restarts(page: &mut String, outcome: &Outcome) {
    if outcome.restarts.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>Kills</h2>\n<table class=\"numbers\">\n");
    page.push_str(
        "<tr><th>killed at</th><th>orders stored before that round</th><th>ready again after</th></tr>\n",
    );
    for restart in &outcome.restarts {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.2} s</td></tr>",
            escaped(&seconds(restart.at_s)),
            count(restart.orders as f64),
            restart.ready_s
        );
    }
    page.push_str("</table>\n</section>\n");
}

fn events(page: &mut String, outcome: &Outcome) {
    if outcome.events.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>What happened to the cluster</h2>\n<table>\n");
    page.push_str("<tr><th>at</th><th>what</th></tr>\n");
    for event in &outcome.events {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(&seconds(event.at_s)),
            escaped(&event.what)
        );
    }
    page.push_str("</table>\n</section>\n");
}

fn setup(page: &mut String, outcome: &Outcome) {
    let plan = &outcome.plan;
    let mut rows = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("command", plan.command.clone()),
        ("server", plan.program.display().to_string()),
        ("seed", plan.seed.to_string()),
        ("cores, shared with the load", crate::suite::cores().to_string()),
        (
            "shop",
            format!(
                "{} customers, {} items, at most {} orders",
                plan.customers, plan.items, plan.orders_max
            ),
        ),
        (
            "load",
            format!("{} in flight on {} connections", plan.in_flight, plan.connections),
        ),
        (
            "checked",
            format!(
                "{} rounds; {} answers lost and asked for again; {} looks under load",
                outcome.sums.rounds, outcome.sums.lost_answers, outcome.sums.looks
            ),
        ),
        ("led through their lives", lives(outcome)),
    ];
    if outcome.kept.in_memory {
        rows.push((
            "disk",
            "only in memory, where a sync costs nothing: see --dir".to_owned(),
        ));
    }
    if let Some(folder) = &outcome.kept.folder {
        rows.push(("the server's folder, kept", folder.display().to_string()));
    }
    page.push_str("<section>\n<h2>Set-up</h2>\n<table class=\"setup\">\n");
    for (name, value) in rows {
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td>{}</td></tr>",
            escaped(name),
            escaped(&value)
        );
    }
    page.push_str("</table>\n</section>\n");
}

/// What became of the orders that were led.
fn lives(outcome: &Outcome) -> String {
    let sums = outcome.sums;
    let deeds: Vec<String> = (outcome.deeds.iter())
        .map(|(deed, count)| format!("{deed} {count}"))
        .collect();
    format!(
        "{} orders, {} of them paid by a provider, {} seen closed; {}; servers verified {} orders at the end",
        sums.led,
        sums.paid_by_provider,
        sums.closed,
        deeds.join(", "),
        sums.verified
    )
}

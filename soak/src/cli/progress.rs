//! One line a sample: over itself on a terminal, and nothing elsewhere.

use std::io::{self, IsTerminal as _, Write as _};

use crate::{
    report::text::{bytes, count, micros, seconds},
    suite::{Plan, Told, sample::Sample, scenario::phases},
};

/// What fits on a terminal.
const COLUMNS: usize = 80;
/// Back to the line's begin, and away with the rest of it.
const CLEAR: &str = "\r\x1b[K";

/// Whoever tells of the samples of a run.
pub fn told(plan: &Plan) -> Told {
    let names: Vec<&'static str> = phases(&plan.scenarios)
        .iter()
        .map(|phase| phase.scenario.name())
        .collect();
    let (terminal, all_s) = (io::stderr().is_terminal(), plan.duration.as_secs_f64());
    Box::new(move |sample| {
        if terminal {
            let name = names.get(sample.stage.phase).copied().unwrap_or_default();
            // Whoever closed the terminal sees nothing more.
            let _ = write!(io::stderr(), "{CLEAR}{}", line(sample, name, all_s));
        }
    })
}

/// Takes the line away.
pub fn done() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "{CLEAR}");
    }
}

fn line(sample: &Sample, name: &str, all_s: f64) -> String {
    let latency = sample
        .latency
        .map_or_else(String::new, |latency| format!(", p99 {}", micros(latency.p99)));
    let memory = sample
        .rss_bytes()
        .map_or_else(String::new, |rss_bytes| format!(", {}", bytes(rss_bytes)));
    let refused = sample.refused + sample.failed;
    let refused = if refused > 0.0 {
        format!(", {} refused", count(refused))
    } else {
        String::new()
    };
    let text = format!(
        "{} of {} {name} {}: {} orders/s{latency}{refused}{memory}",
        seconds(sample.at_s),
        seconds(all_s),
        sample.stage.activity.name(),
        count(sample.orders)
    );
    text.chars().take(COLUMNS - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::sample::{Gauges, Quantiles, tests::second};

    #[test]
    fn a_line_fits_a_terminal_whatever_the_numbers_are() {
        let mut sample = second(123_456.0, 7);
        (sample.orders, sample.refused) = (65_432.1, 7e7);
        sample.latency = Some(Quantiles {
            p99: 123_456.0,
            ..Quantiles::default()
        });
        sample.gauges = Some(Gauges {
            rss_bytes: 12e9,
            ..Gauges::default()
        });
        let text = line(&sample, "reconnect-storm", 259_200.0);
        assert!(
            text.starts_with("1d 10h of 3d reconnect-storm load: 65.4k orders/s, p99 123 ms"),
            "{text}"
        );
        assert!(text.chars().count() < COLUMNS);
    }
}

//! Runs that never were: each leaks, or drifts, or does not, and is judged accordingly.

use std::time::Duration;

use super::*;
use crate::{
    Chance, Latencies,
    suite::{
        AfterRounds,
        sample::{NodeGauges, Quantiles, Stage, tests::second},
    },
};

/// A run as it is drawn.
struct Drawn {
    phases: Vec<PhaseReport>,
    samples: Vec<Sample>,
    settled: Vec<Settled>,
}

/// A run of `hours`: steady load, reads only, steady load. `of` says how the server is, by hours and noise from -1 to 1.
fn drawn(hours: f64, samples: usize, of: impl Fn(f64, f64) -> Gauges) -> Drawn {
    let mut chance = Chance::new(11, samples as u64);
    let mut noise = || 2.0 * chance.unit() - 1.0;
    let phase = |scenario| {
        let mut phase = PhaseReport::begun(scenario, 0.0);
        if samples > 0 {
            phase.load_s = hours * HOUR_S / 3.0;
            phase.orders.record(Duration::from_millis(2));
            phase.errors.insert("RESOURCE_EXHAUSTED", 3);
        }
        phase
    };
    let span_s = hours * HOUR_S / samples as f64;
    let at = |n: usize| (n + 1) as f64 * span_s;
    let samples: Vec<Sample> = (0..samples)
        .map(|n| {
            let phase = 3 * n / samples;
            Sample {
                span_s,
                stage: Stage {
                    phase,
                    activity: if phase == 1 {
                        Activity::Reads
                    } else {
                        Activity::Load
                    },
                    life: 1,
                },
                latency: (phase != 1).then(|| Quantiles {
                    count: 1_000.0,
                    p50: 2_000.0 * (1.0 + 0.3 * noise()),
                    p99: 9_000.0 * (1.0 + 0.5 * noise()),
                    p99_9: 20_000.0,
                }),
                gauges: Some(of(at(n) / HOUR_S, noise())),
                ..second(at(n), phase)
            }
        })
        .collect();
    let every = (samples.len() / 20).max(1);
    let settled = samples.iter().step_by(every).map(|sample| Settled {
        at_s: sample.at_s,
        life: 1,
        gauges: Gauges {
            in_flight: 0.0,
            ..sample.gauges.unwrap()
        },
    });
    Drawn {
        phases: vec![
            phase(Scenario::Steady),
            phase(Scenario::ReadHeavy),
            phase(Scenario::Steady),
        ],
        settled: settled.collect(),
        samples,
    }
}

/// A server on which orders pile up as they should: a gigabyte of them, but none while they are only read.
fn sound(hours: f64) -> impl Fn(f64, f64) -> Gauges {
    move |at, noise| {
        let third = hours / 3.0;
        let stored = at.min(third) + (at - 2.0 * third).max(0.0);
        let explained = 1_024.0 * MIB * stored / hours;
        Gauges {
            rss_bytes: 100.0 * MIB + 1.1 * explained + 0.5 * MIB * noise,
            explained_bytes: explained,
            data_bytes: 1.2 * explained + 0.5 * MIB * noise,
            open_files: (80.0 + 10.0 * noise).round(),
            threads: 20.0,
            actors: 3_000.0 + 500.0 * noise,
            in_flight: 3.0,
            ..Gauges::default()
        }
    }
}

/// A minute and a day of a server that is `of`.
fn minutes_and_a_day(change: impl Fn(&mut Gauges, f64, f64) + Copy) -> [Drawn; 2] {
    [(2.0 / 60.0, 120), (24.0, 3_000)].map(|(hours, samples)| {
        let sound = sound(hours);
        drawn(hours, samples, move |at, noise| {
            let mut gauges = sound(at, noise);
            change(&mut gauges, at, hours);
            gauges
        })
    })
}

impl Drawn {
    fn judged(&self) -> Vec<Judgement> {
        all(&Evidence {
            phases: &self.phases,
            samples: &self.samples,
            settled: &self.settled,
        })
    }

    /// Asserts which judgements fail.
    #[track_caller]
    fn fails(&self, names: &[&str]) {
        let judged = self.judged();
        let failed: Vec<&str> = judged
            .iter()
            .filter(|one| !one.is_fine())
            .map(|one| one.name)
            .collect();
        assert_eq!(failed, names, "{judged:#?}");
    }
}

#[test]
fn a_sound_server_passes_in_minutes_and_in_days_and_everything_is_judged() {
    for run in minutes_and_a_day(|_, _, _| {}) {
        run.fails(&[]);
        let open: Vec<Judgement> = run
            .judged()
            .into_iter()
            .filter(|one| one.verdict == Verdict::Open)
            .collect();
        assert_eq!(open, []);
    }
}

#[test]
fn a_megabyte_an_hour_is_found_in_a_day_and_is_noise_in_minutes() {
    let [minutes, day] = minutes_and_a_day(|gauges, at, _| gauges.rss_bytes += 1e6 * at);
    minutes.fails(&[]);
    day.fails(&["memory while nothing is stored"]);
}

#[test]
fn a_fast_leak_is_found_in_minutes() {
    let [minutes, _] = minutes_and_a_day(|gauges, at, hours| gauges.rss_bytes += 150.0 * MIB * at / hours);
    minutes.fails(&["memory while nothing is stored"]);
}

#[test]
fn a_step_is_no_leak() {
    // In the middle of what is only read, and large.
    for run in minutes_and_a_day(|gauges, at, hours| {
        if at > 0.5 * hours {
            gauges.rss_bytes += 200.0 * MIB;
        }
    }) {
        run.fails(&[]);
    }
}

#[test]
fn noise_is_no_leak_and_does_not_hide_a_large_one() {
    let noisy = |gauges: &mut Gauges, at: f64| {
        let noise = (at * 1e5).sin() + (at * 3.7e4).cos();
        gauges.rss_bytes += 20.0 * MIB * noise;
    };
    for run in minutes_and_a_day(|gauges, at, _| noisy(gauges, at)) {
        run.fails(&[]);
    }
    let [_, day] = minutes_and_a_day(|gauges, at, _| {
        noisy(gauges, at);
        gauges.rss_bytes += 10.0 * MIB * at;
    });
    day.fails(&["memory while nothing is stored"]);
}

#[test]
fn orders_that_take_twice_what_is_declared_are_found() {
    for run in minutes_and_a_day(|gauges, _, _| gauges.rss_bytes += gauges.explained_bytes) {
        run.fails(&["memory of what is stored"]);
    }
}

#[test]
fn a_journal_that_is_never_cut_and_one_that_grows_by_itself_are_found() {
    for run in minutes_and_a_day(|gauges, _, _| gauges.data_bytes += 5.0 * gauges.explained_bytes) {
        run.fails(&["disk of what is stored"]);
    }
    let [_, day] = minutes_and_a_day(|gauges, at, _| gauges.data_bytes += 20.0 * MIB * at);
    day.fails(&["disk while nothing is stored"]);
}

#[test]
fn files_and_threads_that_pile_up_are_found() {
    for run in minutes_and_a_day(|gauges, at, hours| gauges.open_files += (200.0 * at / hours).round()) {
        run.fails(&["open files"]);
    }
    for run in minutes_and_a_day(|gauges, at, hours| gauges.threads += (100.0 * at / hours).round()) {
        run.fails(&["threads"]);
    }
}

#[test]
fn too_many_actors_and_calls_that_never_end_are_found() {
    for run in minutes_and_a_day(|gauges, _, _| gauges.actors += 100_000.0) {
        run.fails(&["actors"]);
    }
    for mut run in minutes_and_a_day(|_, _, _| {}) {
        let rounds = run.settled.len();
        run.settled[rounds - 4..]
            .iter_mut()
            .for_each(|one| one.gauges.in_flight = 1.0);
        run.fails(&["left in flight"]);
        run.settled[rounds - 1].gauges.in_flight = 0.0;
        run.fails(&[]);
    }
}

#[test]
fn what_is_on_its_way_after_the_only_round_is_not_left_behind() {
    for mut run in minutes_and_a_day(|_, _, _| {}) {
        for rounds in [2, 1] {
            run.settled.truncate(rounds);
            run.settled.iter_mut().for_each(|one| one.gauges.in_flight = 1.0);
            run.fails(&[]);
        }
    }
}

#[test]
fn a_scenario_that_comes_to_nothing_is_found() {
    for mut run in minutes_and_a_day(|_, _, _| {}) {
        run.phases[2].orders = Latencies::default();
        run.fails(&["orders in every scenario"]);
        // It was ended as soon as it had begun.
        run.phases[2].load_s = LOADED_S / 2.0;
        run.fails(&[]);
        run.phases[2].load_s = LOADED_S;
        run.fails(&["orders in every scenario"]);
        // The machine left whoever loads it no time to begin anything.
        run.phases[2].scenario = Scenario::Overload;
        run.phases[2].errors.clear();
        run.phases[2].reads = Latencies::default();
        run.phases[2].missed = 10_000;
        run.fails(&[]);
        // One refusal is an answer.
        run.phases[2].errors.insert("RESOURCE_EXHAUSTED", 1);
        run.fails(&["orders in every scenario"]);
    }
}

#[test]
fn calls_that_fail_or_are_not_answered_are_found_where_nothing_explains_them() {
    for code in ["INTERNAL", "NO_ANSWER"] {
        for mut run in minutes_and_a_day(|_, _, _| {}) {
            run.phases[1].errors.insert(code, 1);
            run.fails(&["calls that failed"]);
            run.phases[1].scenario = Scenario::Kill;
            run.phases[1].load_s = 0.5;
            run.fails(&[]);
        }
    }
}

#[test]
fn latency_that_drifts_is_found_and_a_slow_second_is_none() {
    for (mut run, factor) in minutes_and_a_day(|_, _, _| {}).into_iter().zip([12.0, 2.5]) {
        let count = run.samples.len() as f64;
        for (n, sample) in run.samples.iter_mut().enumerate() {
            let grown = 1.0 + (factor - 1.0) * n as f64 / count;
            if let Some(latency) = &mut sample.latency {
                latency.p50 *= grown;
                latency.p99 *= grown;
            }
        }
        run.fails(&["drift of the median latency", "drift of the 99th percentile"]);
    }
    for mut run in minutes_and_a_day(|_, _, _| {}) {
        for sample in run.samples.iter_mut().rev().take(5) {
            sample.latency = sample.latency.map(|latency| Quantiles {
                p50: 1e6,
                p99: 1e7,
                ..latency
            });
        }
        run.fails(&[]);
    }
}

#[test]
fn where_there_is_nothing_nothing_is_judged() {
    let nothing = drawn(0.01, 0, |_, _| Gauges::default());
    nothing.fails(&[]);
    let judged = nothing.judged();
    let open = judged.iter().filter(|one| one.verdict == Verdict::Open).count();
    assert_eq!(open, judged.len() - 1, "all but the actors: {judged:#?}");
}

/// The run of a cluster: each node has its own processes, and stores what `of` says.
fn cluster(change: impl Fn(usize, &mut Gauges, f64)) -> (Drawn, AfterRounds) {
    let sound = sound(1.0);
    let mut run = drawn(1.0, 1_200, &sound);
    run.phases
        .iter_mut()
        .for_each(|phase| phase.scenario = Scenario::NodeLoss);
    for sample in &mut run.samples {
        let at = sample.at_s / HOUR_S;
        sample.gauges = None;
        sample.nodes = std::array::from_fn(|node| {
            let mut gauges = sound(at, 0.0);
            change(node, &mut gauges, at);
            // The second node has been away, and is another process since.
            let away = node == 1 && (0.30..0.32).contains(&at);
            let life = if node == 1 && at > 0.3 { 2 } else { 1 };
            (!away).then_some(NodeGauges { life, gauges })
        });
    }
    let after = std::array::from_fn(|node| {
        let settled = run.samples.iter().step_by(60).filter_map(|sample| {
            let node = sample.nodes[node]?;
            Some(Settled {
                at_s: sample.at_s,
                life: node.life,
                gauges: node.gauges,
            })
        });
        settled.collect()
    });
    run.settled.clear();
    (run, after)
}

/// What fails of the nodes, and what was found.
fn failing((run, after): &(Drawn, AfterRounds)) -> Vec<(&'static str, String)> {
    let evidence = Evidence {
        phases: &run.phases,
        samples: &run.samples,
        settled: &run.settled,
    };
    let judged = nodes(&evidence, after);
    assert_eq!(judged.len(), 6, "{judged:#?}");
    let failed = judged.into_iter().filter(|one| !one.is_fine());
    failed.map(|one| (one.name, one.found)).collect()
}

#[test]
fn a_sound_cluster_passes_also_where_a_node_was_away() {
    assert_eq!(failing(&cluster(|_, _, _| {})), []);
}

#[test]
fn the_node_that_leaks_is_named() {
    let leaks = cluster(|node, gauges, _| {
        if node == 1 {
            gauges.rss_bytes += gauges.explained_bytes;
        }
    });
    let failed = failing(&leaks);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, "memory of what nodes store");
    assert!(failed[0].1.starts_with("node 2: "), "{failed:?}");

    let fills = cluster(|node, gauges, _| {
        if node == 0 {
            gauges.data_bytes += 6.0 * gauges.explained_bytes;
        }
    });
    let failed = failing(&fills);
    assert!(
        failed.len() == 1 && failed[0].1.starts_with("node 1: "),
        "{failed:?}"
    );

    let opens = cluster(|node, gauges, at| {
        if node == 2 {
            gauges.open_files += (400.0 * at).round();
        }
    });
    let failed = failing(&opens);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, "open files of nodes");
    assert!(failed[0].1.starts_with("node 3: "), "{failed:?}");
}

#[test]
fn a_cluster_that_gets_slower_and_slower_is_found_and_a_slow_event_is_not() {
    let mut run = cluster(|_, _, _| {});
    let each = run.0.samples.len() / 3;
    for (n, sample) in run.0.samples.iter_mut().enumerate() {
        // In each scenario anew, which is no drift.
        let slow = if (n % each) < each / 8 { 20.0 } else { 1.0 };
        if let Some(latency) = &mut sample.latency {
            (latency.p50, latency.p99) = (latency.p50 * slow, latency.p99 * slow);
        }
    }
    assert_eq!(failing(&run), []);
    for (n, sample) in run.0.samples.iter_mut().enumerate() {
        if let Some(latency) = &mut sample.latency {
            let grown = 1.0 + 40.0 * (n % each) as f64 / each as f64;
            (latency.p50, latency.p99) = (2_000.0 * grown, 20_000.0 * grown);
        }
    }
    let failed: Vec<&str> = failing(&run).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        failed,
        [
            "drift of a cluster's median",
            "drift of a cluster's 99th percentile"
        ]
    );
}

#[test]
fn of_a_server_that_stands_alone_no_nodes_are_judged() {
    let [run, _] = minutes_and_a_day(|_, _, _| {});
    let evidence = Evidence {
        phases: &run.phases,
        samples: &run.samples,
        settled: &run.settled,
    };
    assert_eq!(nodes(&evidence, &[const { Vec::new() }; 3]), []);
}

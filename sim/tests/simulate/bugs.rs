//! The planted bugs: each must be found, and how many seeds that took is told.

use std::{env, process::ExitCode, thread};

use docket_cluster::planted::{Bug, plant as plant_bug};

use crate::{
    many::{BUG, Came, one, uptime},
    number,
};

/// At most so many seeds for each bug.
const SEEDS: &str = "DOCKET_SIM_BUGS";
/// Only the bug of this name.
const ONLY: &str = "DOCKET_SIM_ONLY";

pub fn are_asked_for() -> bool {
    number(SEEDS).is_some()
}

/// Plants the bug that this process is told of.
pub fn plant() {
    if let Some(bug) = number(BUG).and_then(|at| Bug::ALL.get(at as usize)) {
        plant_bug(*bug);
    }
}

pub fn run() -> ExitCode {
    let most = number(SEEDS).unwrap_or(1);
    let first = number("DOCKET_SIM_FIRST").unwrap_or(1);
    let only = env::var(ONLY).ok();
    let mut missed = 0;
    for (at, bug) in Bug::ALL.iter().enumerate() {
        let name = format!("{bug:?}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let began = uptime();
        match hunt(at, first, most) {
            Some(found) => {
                let seeds = found.seed - first + 1;
                let how: Vec<&str> = found.told.lines().skip(1).take(2).map(str::trim).collect();
                let how: String = how.join(" / ").chars().take(240).collect();
                println!("{name}: found in {seeds} seeds, {:.0} s: {how}", uptime() - began);
            }
            None => {
                missed += 1;
                println!("{name}: NOT FOUND in {most} seeds, {:.0} s", uptime() - began);
            }
        }
    }
    println!("{missed} planted bugs were not found");
    ExitCode::from(u8::from(missed > 0))
}

/// The first seed that shows the bug.
fn hunt(bug: usize, first: u64, most: u64) -> Option<Came> {
    let workers = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut next = first;
    while next < first + most {
        let end = (next + workers).min(first + most);
        let came: Vec<Came> = thread::scope(|scope| {
            let runs: Vec<_> = (next..end)
                .map(|seed| scope.spawn(move || one(seed, false, Some(bug.to_string()))))
                .collect();
            runs.into_iter().filter_map(|run| run.join().ok()).collect()
        });
        if let Some(found) = came.into_iter().find(|came| !came.good) {
            return Some(found);
        }
        next = end;
    }
    None
}

//! Docket, simulated: three real nodes (openraft, ractor, the actors, the journal and the peer protocol) on turmoil's network and time, on
//! disks in memory that lose what was not synced. Everything comes from one seed, and a seed repeats itself to the last byte.
//!
//! ```text
//!   parent ── one process a seed ──▶ run: hosts n1 n2 n3 (seat), clients (shop), consumers, what goes wrong (nemesis), the trace's hash
//! ```
//!
//! | variable | means |
//! |---|---|
//! | `DOCKET_SIM_SEEDS` | how many seeds; default 24 |
//! | `DOCKET_SIM_FIRST` | the first of them; default 1 |
//! | `DOCKET_SIM_TRACE` | the one seed whose whole trace is printed |
//! | `DOCKET_SIM_BUGS` | how many seeds each planted bug has at most to be found in; needs the feature `planted-bugs` |
//! | `DOCKET_SIM_ONLY` | the one of them that is looked for |

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ask;
mod ask_order;
#[cfg(feature = "planted-bugs")]
mod bugs;
mod consumer;
mod keeper;
mod many;
mod nemesis;
mod net;
mod provider;
mod run;
mod seat;
mod shop;
mod trace;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    match number(many::CHILD) {
        Some(seed) => {
            #[cfg(feature = "planted-bugs")]
            bugs::plant();
            run::run(seed, number(many::PRINT).is_some())
        }
        #[cfg(feature = "planted-bugs")]
        None if bugs::are_asked_for() => bugs::run(),
        None if is_another_test_asked_for() => ExitCode::SUCCESS,
        None => many::run(),
    }
}

/// Whether the whole workspace's tests were asked for by a name that is not this one's, or only to be listed.
fn is_another_test_asked_for() -> bool {
    let mut asked = env::args().skip(1);
    asked.any(|word| {
        let is_name = !word.starts_with('-') && word.contains(char::is_alphabetic);
        word == "--list" || (is_name && !env!("CARGO_CRATE_NAME").contains(&word))
    })
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

//! How long the benchmarks measure.
//!
//! The short mode only proves that they run, with little of everything: `DOCKET_BENCH_SHORT=1 cargo bench`, and
//! `cargo bench -- --test`, which runs each once. Its figures say nothing.

use std::{env, time::Duration};

use criterion::Criterion;

/// Whether little is enough.
pub fn is_short() -> bool {
    let asked = |name: &str| env::args().any(|arg| arg == name);
    // Without `--bench` criterion only tests, as with `cargo test --benches`.
    env::var_os("DOCKET_BENCH_SHORT").is_some_and(|value| value != "0")
        || asked("--test")
        || asked("--list")
        || !asked("--bench")
}

/// `usual`, or `little` in the short mode.
pub fn or_short<T>(usual: T, little: T) -> T {
    if is_short() { little } else { usual }
}

/// The setting of every benchmark; the command line's flags come on top.
pub fn criterion() -> Criterion {
    let (warm_up, measured) = or_short(
        (Duration::from_secs(1), Duration::from_secs(5)),
        (Duration::from_millis(10), Duration::from_millis(50)),
    );
    Criterion::default()
        .sample_size(or_short(20, 10))
        .warm_up_time(warm_up)
        .measurement_time(measured)
        .configure_from_args()
}

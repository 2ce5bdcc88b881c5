//! The hostile clients against the built program, in small: bounds hold by name, and an honest client is served throughout. How long it waits is
//! the slow suite's (`docket-soak hostile`).

use std::{path::Path, time::Duration};

use docket_soak::hostile::{self, Attack, Outcome, Plan};

use crate::support::Shell;

/// Few enough connections, calls of a customer and failures of an address that a second of an attack reaches their bounds, however busy the machine is.
const FEW: &str = "\
[connections]
handshake_ms = 1000
max = 2048
max_per_address = 80

[admission]
max_per_customer = 16

[limits]
failure = { per_second = 5, burst = 20 }

[rest]
listen = \"127.0.0.1:0\"

[log]
level = \"error\"
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_runs_into_its_bound_and_an_honest_client_is_served() {
    // Some attacks reach their bounds only where nothing else keeps the machine busy.
    if std::env::var_os("DOCKET_HOSTILE").is_none() {
        return println!("SKIPPED: DOCKET_HOSTILE is not set");
    }
    let shell = Shell::new();
    let plan = Plan {
        windows: 1,
        window: Duration::from_millis(1_200),
        quiet: Duration::ZERO,
        rate: 20.0,
        configuration: FEW.to_owned(),
        ..Plan::new(
            Path::new(env!("CARGO_BIN_EXE_docket")).to_owned(),
            shell.path().to_owned(),
        )
    };
    let outcomes = hostile::run(&plan, |outcome| println!("{:#}", outcome.to_json()))
        .await
        .unwrap();
    assert_eq!(outcomes.len(), Attack::ALL.len());
    for outcome in &outcomes {
        let Outcome { attacked, visits, .. } = outcome;
        assert!(
            attacked.orders.count() > 0 && *visits > 0,
            "{}",
            outcome.to_json()
        );
        assert_eq!(outcome.faults(false), [], "{:#}", outcome.to_json());
    }
}

# Everything that CI checks, exactly as CI does. Changes no file of the work tree. With DOCKET_SLOW=1 also the slow suite.
verify:
    .ci/run

# The same, and the slow suite behind it: two minutes of soak on a release build.
verify-slow:
    DOCKET_SLOW=1 .ci/run

# Two minutes of every soak scenario on a release build; `just soak --duration 6h` is longer. The report: target/soak.
soak *ARGS:
    cargo build --release --package docket --bin docket --package docket-soak --bin docket-soak
    cargo build --release --package docket-payments --features stub --bin docket-payment-stub
    target/release/docket-soak run --out target/soak {{ARGS}}

# Every attack of the hostile clients, beside an honest one, on a release build; `just hostile --attack login-storm` is one of them.
hostile *ARGS:
    cargo build --release --package docket --bin docket --package docket-soak --bin docket-soak
    target/release/docket-soak hostile {{ARGS}}

# An hour of histories of one, three and five nodes under faults, checked; `just history 86400` is a day. DOCKET_SEED repeats one.
history SECONDS="3600":
    DOCKET_HISTORY_SECONDS={{SECONDS}} cargo test --test e2e history -- --nocapture

# A thousand seeds of the simulated cluster, the first three of them twice; `just simulate 100 7000` is a hundred from 7000 on.
simulate SEEDS="1000" FIRST="1":
    DOCKET_SIM_SEEDS={{SEEDS}} DOCKET_SIM_FIRST={{FIRST}} cargo test --package docket-sim

# The bugs that are planted in turn, and in how many seeds each is found, of at most so many.
simulate-bugs SEEDS="1000":
    DOCKET_SIM_BUGS={{SEEDS}} cargo test --package docket-sim --features planted-bugs

# What tracing costs at a tenth and at all of the calls, in one server by turns: release builds, so many turns. `just bench-tracing 9 --mode stream`.
bench-tracing ROUNDS="10" *ARGS:
    cargo build --release --package docket --bin docket
    cargo build --release --package docket-traces --features sink --bin docket-trace-sink
    benches/tracing target/release/docket target/release/docket-trace-sink {{ROUNDS}} {{ARGS}}

# Formats, and applies what clippy can mend by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Everything that CI checks, exactly as CI does. Changes no file of the work tree.
verify:
    .ci/run

# Formats, and applies what clippy can mend by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

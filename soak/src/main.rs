//! `docket-soak`: the soak suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    docket_soak::cli::run(std::env::args_os())
}

//! Docket, the order engine: the server and its clients in one program.

mod allocator;
mod backup;
mod bench;
mod certs;
mod cli;
mod client;
mod config;
mod demo;
mod dev;
mod drill;
mod failure;
mod logging;
mod output;
mod payments;
mod serve;
mod standby;
mod upgrade;
mod values;

use std::process::ExitCode;

/// Spawning and stopping actors is mostly allocation; mimalloc is the faster there.
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}

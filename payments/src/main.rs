//! `docket-payment-stub`: a payment provider that keeps the contract and fails on demand.

use std::{fs, io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use docket_payments::stub::{Fault, Stub, StubOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code: it cannot start, or go on.
const FAILED: u8 = 1;
/// Exit code: it died on demand. It has what was on its disk when it is started again.
const DIED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  docket-payment-stub
  docket-payment-stub --listen 127.0.0.1:7090 --data ledger.jsonl
  docket-payment-stub --faults faults.json --token-file token
  curl -d '{\"on\":\"capture\",\"fault\":\"drop-reply\"}' localhost:7090/faults
  curl localhost:7090/ledger

Exit codes: 0 stopped by a signal, 1 it cannot start, 2 usage, 3 it died on
demand.";

/// A payment provider for tests: keeps the contract, remembers everything in a
/// file, and fails on demand
#[derive(Debug, Parser)]
#[command(name = "docket-payment-stub", version, max_term_width = 80, after_help = EXAMPLES)]
struct Cli {
    /// Where it listens; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7090")]
    listen: SocketAddr,
    /// File that is its memory [default: none, it forgets when it ends]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// JSON list of faults to begin with
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// File with the token that callers must show [default: none is needed]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = runtime
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| runtime.block_on(run(cli)));
    match ended {
        Ok(code) => code,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, String> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let token = cli.token_file.as_ref().map(read).transpose()?;
    let options = StubOptions {
        token: token.map(|token| token.trim_end().into()),
        data: cli.data.clone(),
    };
    let stub = Stub::open(options).map_err(|error| match &cli.data {
        Some(path) => format!("cannot use {}: {error}", path.display()),
        None => error.to_string(),
    })?;
    if let Some(path) = &cli.faults {
        let faults: Vec<Fault> = serde_json::from_str(&read(path)?)
            .map_err(|error| format!("{} is no list of faults: {error}", path.display()))?;
        stub.add_faults(faults)
            .map_err(|why| format!("{}: {why}", path.display()))?;
    }
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let address = stub
        .listen(cli.listen)
        .await
        .map_err(|error| format!("cannot listen at {}: {error}", cli.listen))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listens at http://{address}")
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot say where it listens: {error}"))?;
    tokio::select! {
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        () = stub.died() => {
            eprintln!("died");
            Ok(ExitCode::from(DIED))
        }
    }
}

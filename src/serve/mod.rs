//! `docket serve`: starts a node, says where it is, and stops it in order.
//!
//! ```text
//!  open ──▶ serve, not ready ──▶ every shard has a leader ──▶ ready ──SIGTERM, SIGINT──▶ drain ──▶ sync ──▶ exit 0
//!   │                                                           │                          └─ a second signal ──▶ exit now
//!   └─ cannot ──▶ exit 1                                        └─ a write or sync failed ──▶ tell why for a while ──▶ exit 1
//! ```

mod admin_key;
mod announce;
mod at_rest;
mod backups;
mod certificates;
mod failed;
mod files;
mod measured;
mod peers;
mod reloading;
mod running;
mod secrets;
mod signals;
mod sources;
mod supervisor;
mod traces;

use std::{io, sync::Arc, thread, time::Duration};

use docket_edge::config::AdminConfig;
use docket_persistence::Lull;
use tokio::runtime::Runtime;

use crate::{
    config::{Loaded, Origin},
    failure::Failure,
    logging,
    output::Output,
};
use reloading::{Changed, Reloader};
use signals::Signal;

pub use at_rest::{InUse, in_use};
pub use reloading::Source;
pub use running::{Running, make_data_dir};
pub use secrets::keys_at_rest;
pub use signals::Signals;

/// How long a node that cannot write any more gives its callers to hear of it, and then as long for each step of what is left.
const FAILED_GRACE: Duration = Duration::from_secs(2);

/// What ends a server beside a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Nothing.
    Own,
    /// The end of stdin. Whoever starts a throw-away server holds the other end of it, and lets go of it even when killed.
    Stdin,
}

/// Runs the server until a signal stops it.
///
/// # Errors
/// The server cannot be started, or could not go on.
pub fn run(loaded: Loaded, source: Source, lifetime: Lifetime, output: &Output) -> Result<(), Failure> {
    let level = logging::start(&loaded.config.log)?;
    docket_cluster::clock::follow_variable().map_err(Failure::Other)?;
    docket_cluster::program::follow_variable().map_err(Failure::Other)?;
    docket_cluster::faults::follow_variable().map_err(Failure::Other)?;
    for setting in loaded
        .settings
        .iter()
        .filter(|setting| setting.origin != Origin::Default)
    {
        tracing::info!(key = setting.key, value = setting.text(), origin = %setting.origin, "configured");
    }
    let (runtime, lull) =
        runtime().map_err(|cause| Failure::Other(format!("cannot start the runtime: {cause}")))?;
    let reloader = Reloader::new(source, loaded, level);
    let ended = runtime.block_on(serve(reloader, lifetime, lull, output));
    // What still runs has been given its time.
    runtime.shutdown_background();
    ended
}

/// A thread for each core, and who tells the journal when all of them have nothing to do.
fn runtime() -> io::Result<(Runtime, Lull)> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let lull = Lull::new(threads);
    let (parked, unparked) = (lull.clone(), lull.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .on_thread_park(move || parked.parked())
        .on_thread_unpark(move || unparked.unparked())
        .enable_all()
        .build()?;
    Ok((runtime, lull))
}

async fn serve(
    mut reloader: Reloader,
    lifetime: Lifetime,
    lull: Lull,
    output: &Output,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let sources = reloader.sources();
    if lifetime == Lifetime::Stdin {
        signals::terminate_with_stdin();
    }
    let server = tokio::select! {
        started = supervisor::while_starting(Running::start(reloader.config(), Some(lull), sources)) => started?,
        signal = signals.stop() => {
            tracing::info!(%signal, "stopped before it was ready");
            return Ok(());
        }
    };
    announce::announce(&server, reloader.config(), output)?;
    supervisor::ready(server.grpc_address());
    let admin = AdminConfig {
        listen: server.admin_address(),
        console: false,
        ..reloader.config().admin.clone()
    };
    let failed = server.failed();
    let alive = supervisor::keep_alive();
    tokio::pin!(failed, alive);
    let reason = loop {
        tokio::select! {
            reason = &mut failed => break reason,
            () = &mut alive => {}
            changed = reloader.changed() => reloader.reload(&changed, &server),
            signal = signals.next() => match signal {
                Signal::Hangup => reloader.reload(&Changed::ALL, &server),
                signal => {
                    tracing::info!(%signal, "stopping; a second signal stops at once");
                    signals.exit_at_the_next();
                    supervisor::stopping();
                    return server.stop().await;
                }
            },
        }
    };
    tracing::error!(%reason, "the node cannot go on");
    supervisor::stopping();
    // Nothing is acknowledged any more; what is refused now is refused for that reason.
    tokio::select! {
        () = server.give_up(FAILED_GRACE) => {}
        () = &mut alive => {}
    }
    let tell_for = Duration::from_millis(reloader.config().server.failed_ms);
    tokio::select! {
        () = failed::tell(&admin, running::recorder()?, &reason, (tell_for, &mut signals)) => {}
        () = &mut alive => {}
    }
    Err(gone(reason))
}

fn gone(reason: Arc<str>) -> Failure {
    Failure::Other(format!(
        "the node stopped because it cannot go on: {reason}\n      do: see to the disk and start it again; everything \
         that was acknowledged is in the journal"
    ))
}

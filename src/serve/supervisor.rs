//! What a service manager is told (systemd's `Type=notify`, sd_notify(3)): that the node is ready, that it stops, and that it lives.
//!
//! Where there is none (no `NOTIFY_SOCKET`) nobody is told anything, and nothing is done.

use std::{future::Future, io, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// While the node starts, more time is asked for so often: reading a long journal takes as long as it takes.
const STARTING_EVERY: Duration = Duration::from_secs(10);
/// And that much of it.
const STARTING_FOR_US: u32 = 60_000_000;

/// Tells that the node starts for as long as it does.
pub async fn while_starting<T>(starting: impl Future<Output = T>) -> T {
    tokio::pin!(starting);
    let mut every = interval(STARTING_EVERY);
    loop {
        tokio::select! {
            started = &mut starting => return started,
            _ = every.tick() => tell(&[
                NotifyState::Status("starting: the journal is read, and each shard gets a leader"),
                NotifyState::ExtendTimeoutUsec(STARTING_FOR_US),
            ]),
        }
    }
}

/// Tells that the node serves.
pub fn ready(address: impl std::fmt::Display) {
    let status = format!("serving gRPC on {address}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Tells that it stops: what is in flight is finished.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: what is in flight is finished"),
    ]);
}

/// Tells that the node lives, twice in the time that its manager waits for that (`WatchdogSec=`); for ever, and never where it does not wait.
pub async fn keep_alive() {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return std::future::pending().await;
    };
    let mut every = interval((within / 2).max(Duration::from_millis(1)));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    match sd_notify::notify(states) {
        Ok(()) => {}
        // Its manager is not there any more: the node is no worse for it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "the service manager cannot be told how the node is"),
    }
}

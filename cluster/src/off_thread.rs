//! Work that blocks, away from the runtime's threads.

use std::io;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what blocks where blocking is allowed. On a runtime of one thread, which only tests and simulations have, it runs in place:
/// when a thread of its own ends is chance, and a simulation must repeat itself.
///
/// # Errors
/// The work panicked.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, io::Error> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

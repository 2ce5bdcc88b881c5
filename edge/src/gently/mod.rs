//! Work that takes tens of milliseconds of a processor and that nobody who orders is to wait for: on a thread of its own, which gives way to
//! all that serve.
//!
//! A lower priority alone does not do that: a thread that has a processor keeps it to the next tick of the system's clock, up to four milliseconds, and an
//! order needs several threads one after the other. So it begins as one that is *idle*, which whoever has something to do displaces at once, and which
//! gets next to nothing where the processors have enough to do. What takes longer than [`PATIENCE`] goes on as any other thread: so a node that is busy with orders
//! verifies passwords, too, as many at a time as it may.

#[cfg(target_os = "linux")]
mod policy;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

/// So long the work gives way.
const PATIENCE: Duration = Duration::from_millis(200);

/// Does it, and tells what came of it; an error where it panicked. It goes on to its end also where nobody waits any more.
///
/// # Errors
/// The system has no thread for it.
///
/// # Panics
/// Outside of a runtime.
pub(crate) fn gently<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<thread::Result<T>>> {
    let (tell, told) = oneshot::channel();
    // Dropped when the work is done.
    let (thread, running) = oneshot::channel();
    let (doing, done) = oneshot::channel::<()>();
    let work = move || {
        // Where it is not allowed, it takes as much as anything else.
        let _ = thread.send(give_way());
        let outcome = catch_unwind(AssertUnwindSafe(work));
        drop(doing);
        // Whoever has asked may not wait any more.
        let _ = tell.send(outcome);
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    tokio::spawn(async move {
        if tokio::time::timeout(PATIENCE, done).await.is_err()
            && let Ok(Some(thread)) = running.await
        {
            go_on(thread);
        }
    });
    Ok(told)
}

/// This thread gives way from now on. Gives what it is told apart by, where it does.
#[cfg(target_os = "linux")]
fn give_way() -> Option<policy::Thread> {
    policy::Thread::this().set(policy::IDLE)
}

/// It has waited for long enough.
#[cfg(target_os = "linux")]
fn go_on(thread: policy::Thread) {
    let _ = thread.set(policy::USUAL);
}

#[cfg(not(target_os = "linux"))]
fn give_way() -> Option<()> {
    None
}

#[cfg(not(target_os = "linux"))]
fn go_on((): ()) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_done_and_a_panic_is_told() {
        assert_eq!(gently("adds", || 1 + 1).unwrap().await.unwrap().unwrap(), 2);
        let told = gently("panics", || panic!("on purpose")).unwrap();
        assert!(told.await.unwrap().is_err());
    }

    /// The policy of a thread is the field that is the 41st in all, of which the first two are left out.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_gives_way_and_not_for_ever() {
        let policy_of = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            fields.split(' ').nth(38).unwrap().parse::<i32>().unwrap()
        };
        let work = move || {
            let (first, begun) = (policy_of(), std::time::Instant::now());
            while policy_of() == first && begun.elapsed() < Duration::from_secs(30) {
                thread::yield_now();
            }
            (first, policy_of(), begun.elapsed())
        };
        let (first, then, took) = gently("waits", work).unwrap().await.unwrap().unwrap();
        assert_eq!((first, then), (policy::IDLE, policy::USUAL));
        assert!(took >= PATIENCE / 2, "{took:?}");
    }
}

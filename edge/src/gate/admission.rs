//! Admission: how much may be in flight, in calls and in bytes. What is more is refused before it is read, so that the
//! work that was admitted keeps its pace and memory stays flat whatever is offered.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{Notify, futures::OwnedNotified};
use tonic::Code;

use crate::{config::AdmissionConfig, errors::Refusal};

/// The counters: one for all connections.
#[derive(Debug)]
pub struct Admission {
    calls: AtomicUsize,
    open_calls: AtomicUsize,
    bytes: AtomicUsize,
    config: AdmissionConfig,
    freed: Arc<Notify>,
    /// How many wait for `freed`.
    waiting: AtomicUsize,
}

/// Somebody who waits until there may be room. Who has waited longest is woken first.
#[derive(Debug)]
pub struct Waiting {
    admission: Arc<Admission>,
    freed: Pin<Box<OwnedNotified>>,
}

/// One admitted call; it is in flight until this is dropped or released.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    calls: AtomicUsize,
    open_calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Too many calls.
    Calls,
    /// Too many of those that need no credentials.
    OpenCalls,
    /// Too many bytes.
    Bytes,
}

impl Full {
    /// For metrics.
    pub fn limiter(self) -> &'static str {
        match self {
            Self::Calls => "calls_in_flight",
            Self::OpenCalls => "open_calls_in_flight",
            Self::Bytes => "bytes_in_flight",
        }
    }
}

impl Admission {
    /// Nothing is in flight.
    pub fn new(config: AdmissionConfig) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            open_calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            config,
            freed: Arc::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Whether somebody waits: then it is not the turn of who comes now.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Waits from now on. Try once more after the first poll: there may have been room in between.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, SeqCst);
        let freed = Box::pin(Arc::clone(&self.freed).notified_owned());
        Waiting {
            admission: Arc::clone(self),
            freed,
        }
    }

    /// Admits a call whose request has this many bytes, as far as they are known.
    ///
    /// # Errors
    /// What is full.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit, Full> {
        if self.calls.fetch_add(1, SeqCst) >= self.config.max_calls {
            self.calls.fetch_sub(1, Relaxed);
            return Err(Full::Calls);
        }
        let permit = Permit {
            admission: Arc::clone(self),
            calls: AtomicUsize::new(1),
            open_calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        };
        permit.grow(bytes)?;
        Ok(permit)
    }

    /// Admits a call that needs no credentials; its bytes are not known yet.
    ///
    /// # Errors
    /// What is full.
    pub fn admit_open(self: &Arc<Self>) -> Result<Permit, Full> {
        let permit = self.admit(0)?;
        permit.open_calls.store(1, Relaxed);
        if self.open_calls.fetch_add(1, Relaxed) >= self.config.max_open_calls {
            return Err(Full::OpenCalls);
        }
        Ok(permit)
    }

    /// What a caller is told.
    pub fn refusal(&self, full: Full) -> Refusal {
        let subject = match full {
            Full::Calls => "node:calls_in_flight",
            Full::OpenCalls => "node:open_calls_in_flight",
            Full::Bytes => "node:bytes_in_flight",
        };
        Refusal::new(
            Code::ResourceExhausted,
            "OVERLOADED",
            "the node has as much in flight as it can do in time",
        )
        .with("limiter", full.limiter())
        .quota(subject)
        .retry(Duration::from_millis(self.config.retry_ms))
    }

    /// Calls in flight.
    pub fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Bytes in flight.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

impl Permit {
    /// More bytes of the same call arrived.
    ///
    /// # Errors
    /// Where they do not fit; then they are not counted.
    pub fn grow(&self, bytes: usize) -> Result<(), Full> {
        if bytes == 0 {
            return Ok(());
        }
        let before = self.admission.bytes.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.admission.config.max_bytes {
            self.admission.bytes.fetch_sub(bytes, Relaxed);
            return Err(Full::Bytes);
        }
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }

    /// What a caller is told whose bytes do not fit.
    pub fn refusal(&self, full: Full) -> Refusal {
        self.admission.refusal(full)
    }

    /// The call is done, though somebody may still hold this.
    pub fn release(&self) {
        let calls = self.calls.swap(0, Relaxed);
        if calls == 0 {
            return;
        }
        let admission = &self.admission;
        admission
            .open_calls
            .fetch_sub(self.open_calls.swap(0, Relaxed), Relaxed);
        admission.bytes.fetch_sub(self.bytes.swap(0, Relaxed), Relaxed);
        // Either this sees who waits, or who waits sees the room: both orders are total.
        admission.calls.fetch_sub(calls, SeqCst);
        if admission.waiting.load(SeqCst) > 0 {
            admission.freed.notify_one();
        }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.freed.as_mut().poll(cx)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.admission.waiting.fetch_sub(1, SeqCst);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        Admission::new(AdmissionConfig {
            max_calls: 2,
            max_open_calls: 1,
            max_bytes: 10,
            retry_ms: 5,
        })
    }

    #[test]
    fn calls_are_bounded_and_come_back() {
        let admission = admission();
        let first = admission.admit(0).unwrap();
        let second = admission.admit(0).unwrap();
        assert_eq!(admission.admit(0).unwrap_err(), Full::Calls);
        assert_eq!(admission.calls(), 2);
        drop(first);
        let third = admission.admit(0).unwrap();
        second.release();
        second.release();
        drop(second);
        assert_eq!(admission.calls(), 1, "released once");
        drop(third);
        assert_eq!(admission.calls(), 0);
    }

    #[test]
    fn calls_without_credentials_leave_room_for_others() {
        let admission = admission();
        let first = admission.admit_open().unwrap();
        assert_eq!(admission.admit_open().unwrap_err(), Full::OpenCalls);
        assert_eq!(admission.calls(), 1, "a refused call leaves nothing behind");
        let other = admission.admit(0).unwrap();
        assert_eq!(admission.admit_open().unwrap_err(), Full::Calls);
        drop((first, other));
        admission.admit_open().unwrap();
        assert_eq!((admission.calls(), admission.open_calls.load(Relaxed)), (0, 0));
    }

    #[test]
    fn bytes_are_bounded_and_come_back() {
        let admission = admission();
        let first = admission.admit(6).unwrap();
        assert_eq!(admission.admit(5).unwrap_err(), Full::Bytes);
        assert_eq!(
            (admission.calls(), admission.bytes()),
            (1, 6),
            "a refused call leaves nothing behind"
        );
        let second = admission.admit(3).unwrap();
        assert_eq!(second.grow(2), Err(Full::Bytes));
        assert_eq!(second.grow(1), Ok(()));
        drop(first);
        assert_eq!(admission.bytes(), 4);
        drop(second);
        assert_eq!((admission.calls(), admission.bytes()), (0, 0));
    }
}

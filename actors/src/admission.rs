//! Admission: how much may be in flight on a node, in count and in bytes. ractor's mailboxes have no bound, so the bound
//! is here, before them: a call that does not fit is refused at once, and one that fits holds its share until it is
//! answered, also when its client has gone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Calls in flight. Default 4,096.
    pub calls_max: usize,
    /// Bytes of their requests in flight. Default 64 MiB.
    pub bytes_max: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            calls_max: 4_096,
            bytes_max: 64 << 20,
        }
    }
}

/// What is in flight.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: AdmissionLimits,
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        })
    }

    /// A share for one call of this many bytes; `None` where it does not fit.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let calls = self.calls.fetch_add(1, Ordering::AcqRel);
        let held = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let permit = Permit {
            admission: self.clone(),
            bytes,
        };
        // One call always fits, however large, or it could never be made.
        let fits = calls < self.limits.calls_max && (held == 0 || held + bytes <= self.limits.bytes_max);
        fits.then_some(permit)
    }

    /// Calls in flight.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }
}

/// One call's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.calls.fetch_sub(1, Ordering::AcqRel);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_ends_makes_room() {
        let admission = Admission::new(AdmissionLimits {
            calls_max: 2,
            bytes_max: 100,
        });
        let a = admission.admit(60).unwrap();
        assert!(admission.admit(50).is_none(), "60 + 50 bytes are too many");
        let b = admission.admit(40).unwrap();
        assert!(admission.admit(0).is_none(), "three calls are too many");
        drop(a);
        let c = admission.admit(60).unwrap();
        drop((b, c));
        assert_eq!(
            (admission.calls(), admission.bytes.load(Ordering::Relaxed)),
            (0, 0)
        );
    }

    #[test]
    fn one_call_larger_than_the_bound_still_gets_through_alone() {
        let admission = Admission::new(AdmissionLimits {
            calls_max: 2,
            bytes_max: 100,
        });
        let _large = admission.admit(1_000).unwrap();
        assert!(admission.admit(1).is_none());
    }
}

//! How the system schedules a thread. Neither the standard library nor `rustix` has a function for that, and the C library's is none with musl: so
//! the system is called.

#![allow(unsafe_code, reason = "see above")]

/// Whoever has something to do comes first (`SCHED_IDLE`, `sched(7)`).
pub(super) const IDLE: i32 = libc::SCHED_IDLE;
/// Threads share a processor (`SCHED_OTHER`).
pub(super) const USUAL: i32 = libc::SCHED_OTHER;

/// A thread of this process, by its number. One that has ended may have another one's: that one can only be set to what is usual.
#[derive(Clone, Copy)]
pub(super) struct Thread(rustix::thread::Pid);

impl Thread {
    pub(super) fn this() -> Self {
        Self(rustix::thread::gettid())
    }

    /// Schedules it so; itself, where the system lets it.
    pub(super) fn set(self, policy: i32) -> Option<Self> {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the system reads the parameters during the call and keeps nothing of them.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_sched_setscheduler,
                self.0.as_raw_nonzero().get(),
                policy,
                &raw const parameters,
            )
        };
        (failed == 0).then_some(self)
    }
}

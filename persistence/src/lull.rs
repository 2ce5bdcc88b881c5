//! When nothing more is to come: what a commit waits for.
//!
//! A commit costs the same whether it holds one record or a thousand, so it pays to wait for whatever is being decided
//! at this moment, and for nothing else. The threads that decide say when they have nothing to do ([`Lull::parked`]); once none has,
//! every record that will come of what has arrived is in the queue.
//!
//! While all of them are at work all the time, more is to be done than they can do: what they are short of is themselves, and not commits. Then it
//! pays to wait longer, since a commit takes a part of them ([`BUSY_TIMES`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a thread may take to begin with what it has just been given: so long, threads that are all parked do not mean
/// that there is nothing to do.
const WAKE_MAX: Duration = Duration::from_micros(100);

/// While every thread is at work, a wait may take so many times as long. (Measured: at two cores' full load, streams of orders make 358 commits
/// a second without this, and 188 with three times, which is 5 % more orders; at eight times they are fewer again.)
const BUSY_TIMES: u32 = 3;

/// Watches the threads that decide. Clones watch the same ones.
#[derive(Clone)]
pub struct Lull(Arc<Inner>);

struct Inner {
    threads: usize,
    parked: AtomicUsize,
    /// How often a thread has begun to work again.
    wakes: AtomicU64,
    /// How many threads must be parked for whoever waits to look again; more than there are where nobody waits.
    wanted: AtomicUsize,
    lock: Mutex<()>,
    quiet: Condvar,
}

impl Lull {
    /// Of this many threads, all of them at work.
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Inner {
            threads,
            parked: AtomicUsize::new(0),
            wakes: AtomicU64::new(0),
            wanted: AtomicUsize::new(usize::MAX),
            lock: Mutex::new(()),
            quiet: Condvar::new(),
        }))
    }

    /// A thread has nothing to do. To be called by that thread.
    pub fn parked(&self) {
        let inner = &*self.0;
        let parked = inner.parked.fetch_add(1, SeqCst) + 1;
        if parked >= inner.wanted.load(SeqCst) {
            // Either it has not looked yet, or it hears of this.
            drop(inner.lock.lock());
            inner.quiet.notify_one();
        }
    }

    /// A thread goes on. To be called by that thread.
    pub fn unparked(&self) {
        // In this order: whoever sees that it has begun sees that it is at work.
        self.0.parked.fetch_sub(1, SeqCst);
        self.0.wakes.fetch_add(1, SeqCst);
    }

    /// How often a thread has gone on, to be told to [`Self::wait`].
    pub(crate) fn wakes(&self) -> u64 {
        self.0.wakes.load(SeqCst)
    }

    /// Waits until no thread has anything to do, and no longer than `at_most`, or than [`BUSY_TIMES`] that while all have. Where
    /// something was given to the threads, `wakes` is from before that.
    pub(crate) fn wait(&self, wakes: u64, at_most: Duration) {
        let inner = &*self.0;
        let (begun, mut lock) = (Instant::now(), inner.lock.lock());
        inner.wanted.store(inner.threads, SeqCst);
        loop {
            let waited = begun.elapsed();
            // In this order, for the same reason.
            let has_begun = self.wakes() != wakes || waited >= WAKE_MAX;
            let is_late = waited >= at_most;
            if is_late {
                // From here on one that has nothing to do is enough.
                inner.wanted.store(1, SeqCst);
            }
            let parked = inner.parked.load(SeqCst);
            let idle = parked >= inner.threads;
            if (idle && has_begun) || (is_late && parked > 0) || waited >= at_most * BUSY_TIMES {
                break;
            }
            let until = match (idle, is_late) {
                (true, _) => at_most.min(WAKE_MAX),
                (false, false) => at_most,
                (false, true) => at_most * BUSY_TIMES,
            };
            inner.quiet.wait_for(&mut lock, until.saturating_sub(waited));
        }
        inner.wanted.store(usize::MAX, SeqCst);
    }
}

impl fmt::Debug for Lull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lull of {} threads", self.0.threads)
    }
}

/// The same threads are watched.
impl PartialEq for Lull {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Lull {}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    /// How often something is given to a thread that has nothing to do.
    const HANDED_OVER: u64 = 20_000;

    fn waited(lull: &Lull, wakes: u64, at_most: Duration) -> Duration {
        let begun = Instant::now();
        lull.wait(wakes, at_most);
        begun.elapsed()
    }

    #[test]
    fn it_ends_with_the_last_thread_that_works() {
        let lull = Lull::new(2);
        lull.parked();
        let (other, begun) = (lull.clone(), Instant::now());
        let works = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            other.parked();
        });
        lull.wait(lull.wakes() + 1, LONG);
        // From before the other began: however late this thread runs, it is no less than the other took.
        let waited = begun.elapsed();
        assert!(waited < LONG / 2, "{waited:?}");
        assert!(waited >= Duration::from_millis(20), "{waited:?}: one was at work");
        works.join().unwrap();
    }

    #[test]
    fn it_does_not_wait_for_ever_for_threads_that_always_work() {
        let lull = Lull::new(2);
        let at_most = Duration::from_millis(20);
        assert!(waited(&lull, lull.wakes(), at_most) >= at_most * BUSY_TIMES);
    }

    #[test]
    fn it_waits_no_longer_than_it_must_for_one_that_works_while_another_has_nothing_to_do() {
        let lull = Lull::new(2);
        lull.parked();
        let at_most = Duration::from_secs(1);
        let waited = waited(&lull, lull.wakes(), at_most);
        assert!(waited >= at_most && waited < at_most * BUSY_TIMES, "{waited:?}");
    }

    #[test]
    fn it_ends_with_the_first_that_has_nothing_to_do_when_it_is_late() {
        let lull = Lull::new(2);
        let at_most = Duration::from_secs(1);
        let (other, begun) = (lull.clone(), Instant::now());
        let works = thread::spawn(move || {
            thread::sleep(at_most + at_most / 10);
            other.parked();
        });
        lull.wait(lull.wakes(), at_most);
        let waited = begun.elapsed();
        assert!(waited >= at_most && waited < at_most * BUSY_TIMES, "{waited:?}");
        works.join().unwrap();
    }

    #[test]
    fn who_was_just_given_something_is_given_time_to_begin_with_it() {
        let lull = Lull::new(1);
        lull.parked();
        let before = lull.wakes();
        assert!(waited(&lull, before, LONG) >= WAKE_MAX, "it may not have begun");
        lull.unparked();
        lull.parked();
        lull.wait(before, LONG);
        assert_eq!(lull.wakes(), before + 1);
    }

    #[test]
    fn threads_that_come_and_go_are_never_missed() {
        let lull = Lull::new(2);
        let over = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (lull, over) = (lull.clone(), over.clone());
                thread::spawn(move || {
                    while !over.load(SeqCst) {
                        lull.parked();
                        thread::yield_now();
                        lull.unparked();
                    }
                    lull.parked();
                })
            })
            .collect();
        for _ in 0..1_000 {
            lull.wait(lull.wakes(), Duration::from_millis(5));
        }
        over.store(true, SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
        // Both are parked for good: nothing keeps it.
        assert!(waited(&lull, 0, LONG) < LONG / 2);
    }

    #[test]
    fn who_begins_is_not_taken_for_one_that_has_ended() {
        let lull = Lull::new(1);
        let (given, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut too_early = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                lull.parked();
                for turn in 1..=HANDED_OVER {
                    while given.load(SeqCst) < turn {
                        thread::yield_now();
                    }
                    lull.unparked();
                    done.store(turn, SeqCst);
                    lull.parked();
                }
            });
            for turn in 1..=HANDED_OVER {
                let (wakes, begun) = (lull.wakes(), Instant::now());
                given.store(turn, SeqCst);
                lull.wait(wakes, LONG);
                // Who has not begun after that time is not waited for.
                let in_time = done.load(SeqCst) == turn || begun.elapsed() >= WAKE_MAX;
                while done.load(SeqCst) < turn {
                    thread::yield_now();
                }
                too_early += u64::from(!in_time);
            }
        });
        assert_eq!(too_early, 0, "of {HANDED_OVER}");
    }
}

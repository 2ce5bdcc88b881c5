//! The brake on connections whose calls are refused.
//!
//! A refusal is cheap, and still costs a good part of what a small order costs, most of it HTTP/2. Who sends far more than
//! the node takes, and does not wait as a refusal asks, would have it do nothing but refuse. So there is a bound to
//! refusals a second: beyond it a connection that was refused is not read until its turn, and what it sends waits at its own
//! end, as TCP has it. Connections that are not refused notice nothing.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        },
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Sleep, sleep_until},
};

/// So many refusals' time may be saved up.
const BURST: Duration = Duration::from_millis(10);
/// No connection is left unread for longer at a time.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// So many bytes that are thrown away cost what a refusal costs, besides.
const BYTES_OF_ONE: usize = 8 * 1_024;
/// So long after a refusal the brake is on.
const ON: Duration = Duration::from_millis(20);
/// While the brake is on, a connection is read in pieces of at most this many bytes, and what is in a piece is looked at
/// before the next: otherwise hundreds of calls are read before the first of them is refused.
pub const PIECE_BYTES: usize = 4 * 1_024;

/// What refusals cost, over all connections: a virtual clock that each one puts on (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Brakes {
    began: Instant,
    /// In nanoseconds; 0 where there is no bound.
    each_ns: AtomicU64,
    /// When all refusals so far are paid for, in nanoseconds since `began`.
    paid_ns: AtomicU64,
    /// There is room: whoever has paused longest is read.
    room: Arc<Notify>,
    /// How many pause.
    pausing: AtomicUsize,
}

/// A connection is not read meanwhile.
#[derive(Debug)]
pub struct Pause {
    all: Arc<Brakes>,
    until: Pin<Box<Sleep>>,
    room: Pin<Box<OwnedNotified>>,
}

/// The brake of one connection.
#[derive(Debug)]
pub struct Brake {
    all: Arc<Brakes>,
    /// It is not read before, in nanoseconds since the brakes began.
    until_ns: AtomicU64,
    /// When a call was last refused; 0 for never.
    refused_ns: AtomicU64,
}

impl Brakes {
    /// For so many refusals a second; 0 for no bound.
    pub fn new(per_second: u32) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            each_ns: AtomicU64::new(each_ns(per_second)),
            paid_ns: AtomicU64::new(0),
            room: Arc::default(),
            pausing: AtomicUsize::new(0),
        })
    }

    /// For so many refusals a second from now on.
    pub fn set_rate(&self, per_second: u32) {
        self.each_ns.store(each_ns(per_second), Release);
    }

    /// For one more connection.
    pub fn brake(self: &Arc<Self>) -> Brake {
        Brake {
            all: Arc::clone(self),
            until_ns: AtomicU64::new(0),
            refused_ns: AtomicU64::new(0),
        }
    }

    /// There is room for calls: one connection that pauses is read, for as much as a piece.
    pub fn room(&self) {
        if self.pausing.load(SeqCst) > 0 {
            self.room.notify_one();
        }
    }

    /// One more at `now`; when it is paid for. What would be paid for later than anybody pauses is let off: it would slow
    /// nobody down now, and whoever is refused once long after an overload would still pause for it.
    fn charge(&self, each: Duration, now: Duration) -> Duration {
        let (earliest, latest) = (now.saturating_sub(BURST), now + PAUSE_MAX);
        let charged = |paid_ns| {
            let paid = Duration::from_nanos(paid_ns).max(earliest) + each;
            paid.min(latest).as_nanos() as u64
        };
        let before = self
            .paid_ns
            .fetch_update(AcqRel, Acquire, |paid_ns| Some(charged(paid_ns)));
        Duration::from_nanos(charged(before.unwrap_or_default()))
    }
}

impl Brake {
    /// A call of this connection was refused, or so many bytes of one that was were thrown away.
    pub fn refused(&self, bytes: usize) {
        self.refused_at(self.all.began.elapsed(), bytes);
    }

    fn refused_at(&self, now: Duration, bytes: usize) {
        let each = match self.all.each_ns.load(Acquire) {
            0 => return,
            each => Duration::from_nanos(each),
        };
        let each = match bytes {
            0 => each,
            _ => each * u32::try_from(bytes / BYTES_OF_ONE).unwrap_or(u32::MAX),
        };
        let paid = self.all.charge(each, now);
        if paid > now {
            self.until_ns.fetch_max(paid.as_nanos() as u64, Release);
        }
        self.refused_ns.store(now.as_nanos() as u64, Release);
    }

    /// How long the connection is not read; none where it is.
    pub fn pause(&self) -> Option<Pause> {
        let until = self.until()?;
        self.all.pausing.fetch_add(1, SeqCst);
        Some(Pause {
            all: Arc::clone(&self.all),
            until: Box::pin(sleep_until(until.into())),
            room: Box::pin(Arc::clone(&self.all.room).notified_owned()),
        })
    }

    fn until(&self) -> Option<Instant> {
        let until_ns = self.until_ns.load(Acquire);
        if until_ns == 0 {
            return None;
        }
        let until = self.all.began + Duration::from_nanos(until_ns);
        if until > Instant::now() {
            return Some(until);
        }
        // Where it was put on again in between, that stays.
        let _ = self.until_ns.compare_exchange(until_ns, 0, AcqRel, Relaxed);
        None
    }

    /// Whether calls were refused just now.
    pub fn is_on(&self) -> bool {
        // The clock is read only where there was a refusal.
        self.refused_ns.load(Acquire) > 0 && self.is_on_at(self.all.began.elapsed())
    }

    fn is_on_at(&self, now: Duration) -> bool {
        let refused_ns = self.refused_ns.load(Acquire);
        if refused_ns == 0 {
            return false;
        }
        let on = now < Duration::from_nanos(refused_ns) + ON;
        if !on {
            // Where there was one more in between, that stays.
            let _ = self.refused_ns.compare_exchange(refused_ns, 0, AcqRel, Relaxed);
        }
        on
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.room.as_mut().poll(cx)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.all.pausing.fetch_sub(1, SeqCst);
    }
}

/// What each refusal costs; 0 for nothing.
fn each_ns(per_second: u32) -> u64 {
    match per_second {
        0 => 0,
        per_second => (1_000_000_000 / u64::from(per_second)).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn until(brake: &Brake) -> Duration {
        Duration::from_nanos(brake.until_ns.load(Relaxed))
    }

    #[test]
    fn a_few_refusals_cost_nothing_and_many_their_time() {
        let brakes = Brakes::new(1_000);
        let (one, other) = (brakes.brake(), brakes.brake());
        for _ in 0..10 {
            one.refused_at(NOW, 0);
        }
        assert_eq!(until(&one), Duration::ZERO);
        for _ in 0..20 {
            one.refused_at(NOW, 0);
        }
        assert_eq!(until(&one), NOW + Duration::from_millis(20));
        other.refused_at(NOW, 0);
        assert_eq!(until(&other), NOW + Duration::from_millis(21));
        assert_eq!(until(&one), NOW + Duration::from_millis(20));
        other.refused_at(2 * NOW, 0);
        assert_eq!(
            until(&other),
            NOW + Duration::from_millis(21),
            "paid for long ago"
        );
    }

    #[test]
    fn nobody_is_left_unread_for_long() {
        let brakes = Brakes::new(1_000);
        let brake = brakes.brake();
        for _ in 0..100_000 {
            brake.refused_at(NOW, 0);
        }
        assert_eq!(until(&brake), NOW + PAUSE_MAX);
    }

    #[test]
    fn an_overload_is_paid_for_as_soon_as_it_is_over() {
        let brakes = Brakes::new(1_000);
        let (pushing, calm) = (brakes.brake(), brakes.brake());
        for _ in 0..100_000 {
            pushing.refused_at(NOW, 0);
        }
        calm.refused_at(NOW + 2 * PAUSE_MAX, 0);
        assert_eq!(until(&calm), Duration::ZERO);
    }

    #[test]
    fn a_connection_is_read_again_when_its_time_has_come() {
        let brakes = Brakes::new(1);
        let (brake, quiet) = (brakes.brake(), brakes.brake());
        brake.refused_at(brakes.began.elapsed(), 0);
        assert!(brake.until().is_some());
        assert!(quiet.until().is_none(), "whoever is not refused notices nothing");
        brake.until_ns.store(1, Relaxed);
        assert!(brake.until().is_none());
        assert_eq!(until(&brake), Duration::ZERO);
        assert!(brake.is_on() && !quiet.is_on());
        let refused = Duration::from_nanos(brake.refused_ns.load(Relaxed));
        assert!(!brake.is_on_at(refused + ON));
        assert_eq!(brake.refused_ns.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn whoever_pauses_is_read_when_there_is_room() {
        let brakes = Brakes::new(1);
        let brake = brakes.brake();
        brakes.room();
        brake.refused(0);
        let mut first = brake.pause().unwrap();
        let mut second = brake.pause().unwrap();
        assert!(
            futures::poll!(&mut first).is_pending(),
            "nobody paused when there was room"
        );
        assert!(futures::poll!(&mut second).is_pending());
        brakes.room();
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut first).is_ready());
        drop((first, second));
        assert_eq!(brakes.pausing.load(Relaxed), 0);
    }

    #[test]
    fn without_a_bound_there_is_no_brake() {
        let brake = Brakes::new(0).brake();
        for _ in 0..1_000 {
            brake.refused(0);
        }
        assert!(brake.until().is_none());
        assert!(!brake.is_on());
    }
}

//! When the next operation is meant to start.
//!
//! In an open loop that is a row of moments that knows nothing of the answers. Whoever comes late to its moment still has it:
//! the latency counts from there, so that a server that stalls for a second is seen by every call that was meant for
//! that second (Tene, "How NOT to Measure Latency": coordinated omission).

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{io::unix::AsyncFd, sync::Mutex, time::Instant};

/// The moments of one connection, for everybody who calls on it.
pub struct Pacer {
    end: Instant,
    /// None in a closed loop.
    clock: Option<Mutex<Clock>>,
}

struct Clock {
    first: Instant,
    interval_s: f64,
    /// Moments that were given out.
    given: u64,
    timer: Timer,
}

impl Pacer {
    /// Now, whenever somebody asks before `end`.
    pub fn closed(end: Instant) -> Self {
        Self { end, clock: None }
    }

    /// From `first` on one every `interval_s` seconds, until `end`.
    pub fn open(first: Instant, interval_s: f64, end: Instant, timer: Timer) -> Self {
        let clock = Clock {
            first,
            interval_s,
            given: 0,
            timer,
        };
        Self {
            end,
            clock: Some(Mutex::new(clock)),
        }
    }

    /// Waits for the next moment and returns it; none when the time is up. Who stops waiting loses none.
    pub async fn turn(&self) -> Option<Instant> {
        let Some(clock) = &self.clock else {
            let now = Instant::now();
            return (now < self.end).then_some(now);
        };
        // Fair: whoever waits longest is next, and only that one waits for the timer.
        let mut clock = clock.lock().await;
        let due = clock.due();
        if due >= self.end || Instant::now() >= self.end {
            return None;
        }
        clock.timer.until(due).await;
        clock.given += 1;
        Some(due)
    }

    /// Whether the time is up.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Whether operations start at moments of their own.
    pub fn is_open(&self) -> bool {
        self.clock.is_some()
    }

    /// How many moments came and nobody was free to start then.
    pub fn missed(&mut self) -> u64 {
        let Some(clock) = &mut self.clock else {
            return 0;
        };
        let clock = clock.get_mut();
        let all = self.end.duration_since(clock.first).as_secs_f64() / clock.interval_s;
        (all.ceil() as u64).saturating_sub(clock.given)
    }
}

impl Clock {
    fn due(&self) -> Instant {
        // Not summed up, so that nothing is rounded twice.
        self.first + Duration::from_secs_f64(self.given as f64 * self.interval_s)
    }
}

/// Waits for a moment.
pub enum Timer {
    /// The system's timer: on time by some microseconds, while tokio's own wakes by whole milliseconds.
    Precise {
        /// A timerfd.
        fd: AsyncFd<OwnedFd>,
        /// What it is set to.
        armed: Option<Instant>,
    },
    /// Tokio's clock, which tests can stop.
    #[cfg(test)]
    Tokio,
}

impl Timer {
    /// The system's timer, in the runtime that is entered.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; the descriptor is owned here and stays the same one"
    )]
    pub fn precise() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self::Precise {
            fd: AsyncFd::new(fd)?,
            armed: None,
        })
    }

    async fn until(&mut self, at: Instant) {
        match self {
            #[cfg(test)]
            Self::Tokio => tokio::time::sleep_until(at).await,
            Self::Precise { fd, armed } => {
                if precisely(fd, armed, at).await.is_err() {
                    // A late start is told as such; a load without a timer would be none.
                    tokio::time::sleep_until(at).await;
                }
            }
        }
    }
}

async fn precisely(fd: &AsyncFd<OwnedFd>, armed: &mut Option<Instant>, at: Instant) -> io::Result<()> {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if *armed != Some(at) {
            let value = Timespec::try_from(left).map_err(io::Error::other)?;
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: value,
            };
            timerfd_settime(fd, TimerfdTimerFlags::empty(), &once)?;
            *armed = Some(at);
        }
        let mut ready = fd.readable().await?;
        let read = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
        if let Ok(read) = read {
            read?;
            *armed = None;
        }
    }
}

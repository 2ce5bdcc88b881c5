//! Lines that repeat themselves: of one place in the program so many a second are written, and how many were left out is said in a line of its own. A
//! fault that meets every call would fill the disk otherwise, and hide what else is logged.
//!
//! What was asked for in detail (`debug`, `trace`) is not bounded.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// For so long lines of a place are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Places that are known at once; lines of others are written.
const PLACES_MAX: usize = 1_024;
/// What says how many were left out, which is not left out itself.
const TARGET: &str = "docket::repeats";
/// What says what is wrong with a file, a line each: there are as many as somebody made mistakes, and each is needed to mend it.
pub const MISTAKES: &str = "docket::mistakes";

/// Counts lines by the place that logs them.
pub struct Repeats {
    /// Lines of one place in a window; 0 for no bound.
    lines_max: AtomicU32,
    places: Mutex<HashMap<Identifier, Place>>,
    now: fn() -> Instant,
}

struct Place {
    since: Instant,
    written: u32,
    left_out: u64,
    metadata: &'static Metadata<'static>,
}

/// A place of which lines were left out.
struct LeftOut {
    lines: u64,
    metadata: &'static Metadata<'static>,
}

impl Repeats {
    pub fn new(lines_max: u32) -> Self {
        Self {
            lines_max: AtomicU32::new(lines_max),
            places: Mutex::default(),
            now: Instant::now,
        }
    }

    /// Writes so many from now on.
    pub fn set_lines_max(&self, lines_max: u32) {
        self.lines_max.store(lines_max, Relaxed);
    }

    /// Whether a line of this place is written.
    fn admits(&self, metadata: &'static Metadata<'static>) -> bool {
        let lines_max = self.lines_max.load(Relaxed);
        let is_bounded = ![TARGET, MISTAKES].contains(&metadata.target());
        if lines_max == 0 || *metadata.level() > Level::INFO || !is_bounded {
            return true;
        }
        let now = (self.now)();
        let mut places = self.places.lock();
        if places.len() >= PLACES_MAX && !places.contains_key(&metadata.callsite()) {
            return true;
        }
        let place = places.entry(metadata.callsite()).or_insert(Place {
            since: now,
            written: 0,
            left_out: 0,
            metadata,
        });
        // As long as it has not been said what was left out the window is not over.
        if place.left_out == 0 && now.duration_since(place.since) >= WINDOW {
            (place.since, place.written) = (now, 0);
        }
        if place.written >= lines_max {
            place.left_out += 1;
            return false;
        }
        place.written += 1;
        true
    }

    /// What was left out in windows that are over; they begin anew.
    fn take(&self) -> Vec<LeftOut> {
        let now = (self.now)();
        let mut found = Vec::new();
        for place in self.places.lock().values_mut() {
            if place.left_out > 0 && now.duration_since(place.since) >= WINDOW {
                found.push(LeftOut {
                    lines: std::mem::take(&mut place.left_out),
                    metadata: place.metadata,
                });
                (place.since, place.written) = (now, 0);
            }
        }
        found
    }

    /// Says how many lines were left out, of which place.
    fn tell(&self) {
        for LeftOut { lines, metadata } in self.take() {
            let place = format!(
                "{}:{}",
                metadata.file().unwrap_or("?"),
                metadata.line().unwrap_or(0)
            );
            let of = metadata.target();
            match *metadata.level() {
                Level::ERROR => {
                    tracing::error!(target: TARGET, lines, of, place, "left out lines like those before")
                }
                Level::WARN => {
                    tracing::warn!(target: TARGET, lines, of, place, "left out lines like those before")
                }
                _ => tracing::info!(target: TARGET, lines, of, place, "left out lines like those before"),
            }
        }
    }

    /// Tells from time to time, on a thread of its own, for as long as there is who logs.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn tell_every_second(self: &Arc<Self>) -> std::io::Result<()> {
        let repeats = Arc::downgrade(self);
        thread::Builder::new()
            .name("docket-repeats".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(WINDOW);
                    let Some(repeats) = repeats.upgrade() else { return };
                    repeats.tell();
                }
            })?;
        Ok(())
    }
}

/// Writes the lines that are to be written, as `F` does.
pub struct Bounded<F> {
    pub format: F,
    pub repeats: Arc<Repeats>,
}

impl<S, N, F> FormatEvent<S, N> for Bounded<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.repeats.admits(event.metadata()) {
            true => self.format.format_event(context, writer, event),
            // Nothing is written of it.
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::OnceLock};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    impl Lines {
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock());
            String::from_utf8(bytes)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect()
        }
    }

    /// A clock that a test sets: seconds since it was looked at first.
    static SECONDS: AtomicU32 = AtomicU32::new(0);

    fn set_clock() -> Instant {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        let began = *BEGAN.get_or_init(Instant::now);
        began + Duration::from_secs(u64::from(SECONDS.load(Relaxed)))
    }

    fn fault(n: u32) {
        tracing::warn!(n, "it is broken");
    }

    #[test]
    fn of_what_repeats_itself_few_lines_are_written_and_how_many_were_not() {
        let (lines, repeats) = (Lines::default(), Arc::new(Repeats::new(3)));
        let repeats = Arc::new(Repeats {
            now: set_clock,
            ..Arc::into_inner(repeats).unwrap()
        });
        let bounded = Arc::clone(&repeats);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .map_event_format(|format| Bounded {
                format,
                repeats: bounded,
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            (0..500).for_each(fault);
            // Others are not bounded with it.
            tracing::info!("all else is well");
            let written = lines.take();
            assert_eq!(written.len(), 4, "{written:?}");
            assert!(written[2].contains("it is broken") && written[2].contains("n=2"));
            assert!(written[3].contains("all else is well"));
            repeats.tell();
            assert_eq!(lines.take(), [""; 0], "the second is not over");

            SECONDS.store(1, Relaxed);
            repeats.tell();
            let told = lines.take();
            assert_eq!(told.len(), 1);
            for part in ["WARN", "left out lines", "lines=497", "repeats.rs:"] {
                assert!(told[0].contains(part), "{part}: {told:?}");
            }
            // And again.
            (0..5).for_each(fault);
            assert_eq!(lines.take().len(), 3);
            SECONDS.store(2, Relaxed);
            repeats.tell();
            assert!(lines.take()[0].contains("lines=2"));
            repeats.tell();
            assert_eq!(lines.take(), [""; 0]);

            // Each is another.
            (0..5).for_each(|n| tracing::error!(target: MISTAKES, n, "it is not so"));
            assert_eq!(lines.take().len(), 5);

            // What was asked for in detail, and where there is no bound.
            (0..50).for_each(|n| tracing::debug!(n, "detail"));
            assert_eq!(lines.take().len(), 50);
            repeats.set_lines_max(0);
            (0..50).for_each(fault);
            assert_eq!(lines.take().len(), 50);
        });
    }
}

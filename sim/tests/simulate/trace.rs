//! The trace of a run, in order and hashed: each message with its bytes when it is sent, and when it is dropped, delivered and received;
//! what the nodes log, openraft among it; every call with its answer, and every fault.

use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::Registry,
};
use xxhash_rust::xxh3::Xxh3;

/// Simulated milliseconds since the run began.
static NOW_MS: AtomicU64 = AtomicU64::new(0);
static HASH: Mutex<Option<Hash>> = Mutex::new(None);

/// What turmoil tells.
const NETWORK: &str = "turmoil";
/// A message's bytes, and the event with which they are traced: they are the same in the others.
const BYTES: &str = "protocol";
const WITH_BYTES: &str = "Send";

struct Hash {
    sum: Xxh3,
    events: u64,
    print: bool,
}

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.sum.update(text.as_bytes());
        if self.print {
            eprint!("{text}");
        }
        Ok(())
    }
}

struct Trace;

/// Everything from here on is hashed, and printed if `print`.
pub fn begin(print: bool) {
    *HASH.lock() = Some(Hash {
        sum: Xxh3::new(),
        events: 0,
        print,
    });
    let subscriber = Registry::default().with(Trace);
    // It is the only one of this process.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// How late it is.
pub fn tick(now_ms: u64) {
    NOW_MS.store(now_ms, Ordering::Relaxed);
}

/// The hash of everything so far, and how many events that was.
pub fn end() -> (u64, u64) {
    let hash = HASH.lock().take();
    hash.map_or((0, 0), |hash| (hash.sum.digest(), hash.events))
}

impl<S: Subscriber> Layer<S> for Trace {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = ["docket", "client", "nemesis"];
        let most = match metadata.target() {
            NETWORK => Level::TRACE,
            target if ours.iter().any(|ours| target.starts_with(ours)) => Level::DEBUG,
            _ => Level::INFO,
        };
        metadata.is_event() && *metadata.level() <= most
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(hash) = &mut *HASH.lock() {
            hash.events += 1;
            let (level, target) = (event.metadata().level(), event.metadata().target());
            let _ = write!(hash, "{:>6} {level} {target}", NOW_MS.load(Ordering::Relaxed));
            let mut fields = Fields {
                hash: &mut *hash,
                bytes: target != NETWORK,
            };
            event.record(&mut fields);
            let _ = hash.write_char('\n');
        }
    }
}

struct Fields<'a> {
    hash: &'a mut Hash,
    /// Whether a message's bytes are traced.
    bytes: bool,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let message = format!("{value:?}");
            self.bytes |= message == WITH_BYTES;
            let _ = write!(self.hash, " {message}");
        } else if self.bytes || field.name() != BYTES {
            let _ = write!(self.hash, " {}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.hash, " {}={value}", field.name());
    }
}

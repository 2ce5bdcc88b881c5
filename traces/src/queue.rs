//! Spans that have ended and wait for their export: so many at most. What finds no room is dropped and counted, since to wait would make the call wait.

use metrics::{Counter, counter};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::span::Ended;

/// With so many the exporter is woken; it looks by itself from time to time. As many are sent in one request, of some 300 KiB: collectors take 4 MiB, and
/// what is sent less often wakes the collector, and this program's thread, less often.
pub(crate) const BATCH_SPANS: usize = 2_048;

pub(crate) struct Queue {
    waiting: Mutex<Vec<Ended>>,
    spans_max: usize,
    full: Counter,
    pub(crate) wake: Notify,
}

impl Queue {
    pub(crate) fn new(spans_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            spans_max,
            full: counter!("docket_trace_spans_dropped_total", "reason" => "queue_full"),
            wake: Notify::new(),
        }
    }

    pub(crate) fn put(&self, span: Ended) {
        self.put_all(std::iter::once(span));
    }

    /// Puts several in, for which the queue is locked once.
    pub(crate) fn put_all(&self, spans: impl Iterator<Item = Ended>) {
        let mut waiting = self.waiting.lock();
        let (before, mut dropped) = (waiting.len(), 0);
        for span in spans {
            if waiting.len() < self.spans_max {
                waiting.push(span);
            } else {
                dropped += 1;
            }
        }
        let is_due = before < BATCH_SPANS && waiting.len() >= BATCH_SPANS;
        drop(waiting);
        if is_due {
            self.wake.notify_one();
        }
        if dropped > 0 {
            self.full.increment(dropped);
        }
    }

    /// All that waits. Its place is made before it is looked at, so that nobody who puts a span waits while it grows.
    pub(crate) fn take(&self) -> Vec<Ended> {
        let place = Vec::with_capacity(BATCH_SPANS.min(self.spans_max));
        std::mem::replace(&mut *self.waiting.lock(), place)
    }
}

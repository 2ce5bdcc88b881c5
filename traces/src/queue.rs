//! Spans that have ended and wait for their export: so many at most. What finds no room is dropped and counted, since to wait would make the call wait.

use metrics::{Counter, counter};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::span::Ended;

/// With so many the exporter is woken; it looks by itself from time to time. As many are sent in one request.
pub(crate) const BATCH_SPANS: usize = 512;

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
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.spans_max {
            drop(waiting);
            return self.full.increment(1);
        }
        waiting.push(span);
        let is_due = waiting.len() == BATCH_SPANS;
        drop(waiting);
        if is_due {
            self.wake.notify_one();
        }
    }

    /// All that waits.
    pub(crate) fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

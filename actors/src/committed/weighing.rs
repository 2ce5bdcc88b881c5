//! What a snapshot of the state weighs, and which format it needs.

use std::sync::atomic::{AtomicU64, Ordering};

use docket_engine::Order;
use docket_proto::snapshot::{
    FORMAT, FORMAT_WITHOUT_BACKORDERS, FORMAT_WITHOUT_CLOSED, FORMAT_WITHOUT_LIFE, FORMAT_WITHOUT_TRAILS,
};

use super::Committed;

/// The format that an order needs which is over: the newest where it heard of what it waits for, or has been paid more than once.
pub(crate) fn format_of(order: &Order) -> u32 {
    let is_of_more = order.payment_steps().iter().any(|step| step.payment > 1);
    match is_of_more || !order.backorder_news().is_empty() {
        true => FORMAT,
        false => FORMAT_WITHOUT_BACKORDERS,
    }
}

/// Takes so many off.
pub(super) fn less(bytes: &AtomicU64, by: u64) {
    let take = |bytes: u64| Some(bytes.saturating_sub(by));
    // One thread writes.
    let _ = bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
}

impl Committed {
    /// Roughly the bytes of a snapshot. A line of an order counts with its reservation. Too much would have no snapshot become due: the log
    /// of an order of two lines has 305 bytes, and what is here of it 220.
    pub fn state_bytes(&self) -> u64 {
        let bytes = self.orders.len() * 75
            + self.requests.len() * 55
            + self.reservations.len() * 45
            + (self.customers.len() + self.items.len()) * 110
            + self.feed.len() * 35;
        let more = [
            &self.life_bytes,
            &self.newer_bytes,
            &self.plan_bytes,
            &self.backorder_bytes,
            &self.trail_bytes,
        ];
        let more: u64 = more.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        bytes as u64 + more
    }

    /// Remembers whether what came needs the newest format. It is not forgotten before all is: what goes again may be told of elsewhere.
    pub(crate) fn note_newest(&self, needs_it: bool) {
        if needs_it {
            self.has_newest.store(true, Ordering::Relaxed);
        }
    }

    /// The same of an order, which is not looked at where something needs it already.
    pub(crate) fn note_newest_of(&self, order: &Order) {
        if !self.has_newest.load(Ordering::Relaxed) {
            self.note_newest(format_of(order) == FORMAT);
        }
    }

    /// The format of a snapshot of what is here now: the oldest that has a place for all of it.
    pub(crate) fn snapshot_format(&self) -> u32 {
        let is_there = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) > 0;
        // What is in the archive may have had what is not counted any more; and whatever is, no format before these has a place for it.
        let archived = self.archive.format();
        if self.has_newest.load(Ordering::Relaxed) || archived == FORMAT {
            return FORMAT;
        }
        if is_there(&self.closed) || archived == FORMAT_WITHOUT_BACKORDERS {
            return FORMAT_WITHOUT_BACKORDERS;
        }
        match is_there(&self.trail_bytes) || is_there(&self.newer_bytes) {
            _ if is_there(&self.plan_bytes) => FORMAT_WITHOUT_BACKORDERS,
            true => FORMAT_WITHOUT_CLOSED,
            false if is_there(&self.life_bytes) => FORMAT_WITHOUT_TRAILS,
            false => FORMAT_WITHOUT_LIFE,
        }
    }
}

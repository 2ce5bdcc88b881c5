//! What a snapshot of the state weighs, and which format it needs.

use std::sync::atomic::{AtomicU64, Ordering};

use docket_proto::snapshot::{
    FORMAT, FORMAT_WITHOUT_BACKORDERS, FORMAT_WITHOUT_CLOSED, FORMAT_WITHOUT_LIFE, FORMAT_WITHOUT_TRAILS,
};

use super::Committed;

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

    /// The format of a snapshot of what is here now: the oldest that has a place for all of it.
    pub(crate) fn snapshot_format(&self) -> u32 {
        let is_there = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) > 0;
        // What is in the archive may have had what is not counted any more.
        if is_there(&self.backorder_bytes) || is_there(&self.more_payments) || self.archive.count() > 0 {
            return FORMAT;
        }
        if is_there(&self.closed) {
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

//! Orders hear of stock that has come in: whoever leads a shard looks at its orders of which something waits.
//!
//! An item fills who waits in the event that brings the stock, and tells nobody: it would have to be known who leads each order, and what is not
//! told has to be looked for anyway. So five times a second some of the orders that wait are looked at, from where the last look ended. Where a
//! replica of an item here says that less waits than an order knows, the order is told to ask; it asks whoever leads the item, and records what that says. An
//! order whose items have no replica here is told to ask now and then.
//!
//! It gives way: the more calls are in flight on the node, the fewer are looked at, and told. Nothing rests on it: before anything is sent
//! that an order does not know to be there, it asks by itself.

use std::{sync::Arc, time::Duration};

use docket_engine::{Order, OrderCommand, OrderId, order};

use crate::{
    docket::{AT_WORK_CALLS, Inner},
    entity::order::OrderMessage,
    shard::{Router, Shard},
};

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// So many orders of a shard are looked at with one look, where nothing else is done, and at least so many in any case.
const LOOKED_AT: usize = 512;
const LOOKED_AT_LEAST: usize = 32;
/// So many of a shard are told with one look, where nothing else is done, and one in any case.
const TOLD: usize = 64;
/// An order whose items have no replica here is told in one round of so many.
const BLIND_EVERY: u32 = 16;

/// Runs until the node closes.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut rounds: Vec<Round> = inner.router.shards.iter().map(|_| Round::default()).collect();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = inner.closing.cancelled() => return,
        }
        // Where the disk is nearly full only what makes room goes on.
        if inner.router.node().disk_low().is_some() {
            continue;
        }
        let idle = AT_WORK_CALLS.saturating_sub(inner.admission.calls());
        for (shard, round) in inner.router.shards.iter().zip(&mut rounds) {
            match shard.is_leading() {
                true => round.look(&inner.router, shard, idle),
                false => *round = Round::default(),
            }
        }
    }
}

/// A walk over a shard's orders of which something waits, again and again.
#[derive(Default)]
struct Round {
    /// Up to here they were looked at this time.
    behind: Option<OrderId>,
    /// Which time this is.
    number: u32,
}

impl Round {
    /// `idle` is how much of the node is, of [`AT_WORK_CALLS`].
    fn look(&mut self, router: &Router, shard: &Arc<Shard>, idle: usize) {
        let looked_at = (LOOKED_AT * idle / AT_WORK_CALLS).max(LOOKED_AT_LEAST);
        let mut left = (TOLD * idle / AT_WORK_CALLS).max(1);
        let mut ids = Vec::new();
        shard
            .committed()
            .order_index
            .read()
            .backordered(self.behind, looked_at, &mut ids);
        let is_end = ids.len() < looked_at;
        let is_blind = self.number.is_multiple_of(BLIND_EVERY);
        for id in ids {
            let orders = &shard.committed().orders;
            let is_due = |order: &Order| hears_something(router, order, is_blind);
            if orders.get(id).is_some_and(|order| is_due(&order)) {
                if left == 0 {
                    return;
                }
                left -= 1;
                shard.tell_order(id, OrderMessage::HearBackorders);
            }
            self.behind = Some(id);
        }
        if is_end {
            // From the oldest on again.
            self.behind = None;
            self.number = self.number.wrapping_add(1);
        }
    }
}

/// Whether an order would hear something if it asked, as far as is known here.
fn hears_something(router: &Router, order: &Order, is_blind: bool) -> bool {
    let (mut waiting, mut is_hidden) = (Vec::new(), false);
    for sku in order.backordered_items() {
        let shard = router.of_key(sku.as_str());
        if !router.node().has_replica(shard.group().id()) {
            is_hidden = true;
            continue;
        }
        let item = shard.committed().items.get(&sku);
        let now = item.map(|item| item.waiting_of(order.id)).unwrap_or_default();
        // What is behind here may not have heard yet of what an edit wants more.
        let now = now.min(order.backordered_of(&sku));
        waiting.push((sku, now));
    }
    let hears = OrderCommand::HearBackorders { waiting };
    is_hidden && is_blind || order::decide(Some(order), &hears).is_ok_and(|it| !it.events.is_empty())
}

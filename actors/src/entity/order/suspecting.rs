//! Whether an order is held as it is confirmed, or as an edit has it cost more, since something about it is odd: what its customer has done before is
//! looked up, and the rules (`docket_engine::fraud`) say what that makes of it.

use std::sync::{Arc, Weak};

use docket_engine::{
    Amount, CustomerPast, FRAUD_ORDERS_MAX, FraudRules, HELD_BY_ITSELF, HOLDS_MAX, HoldReason, Order,
    OrderEvent, OrderId, OrderState, Time, access::Username, steering::Flag,
};

use super::OrderEntity;
use crate::{docket::HOLDS_SINCE, shard::Shard};

impl OrderEntity {
    /// What holds the order, if it is suspect. None where no rules are set.
    pub(super) fn suspicion(&self, shard: &Arc<Shard>) -> Option<OrderEvent> {
        let order = self.order.as_ref()?;
        suspicion(shard, order, order.created)
    }

    /// What holds the order behind these events, if one is an edit by which it costs more, and it is suspect then. An order that is held for it already
    /// waits for a person anyway.
    pub(super) fn suspicion_of_edit(&self, shard: &Arc<Shard>, events: &[OrderEvent]) -> Option<OrderEvent> {
        // It may come with its provider's answer, or with what waits.
        let is_edited = |event: &OrderEvent| matches!(event, OrderEvent::Edited { .. });
        if !events.iter().any(is_edited) {
            return None;
        }
        // Most nodes have no rules, and copy nothing.
        shard.fraud()?;
        let (order, now) = (self.order.as_ref()?, shard.now());
        let mut edited = Order::clone(order);
        for event in events {
            edited.evolve(event, now).ok()?;
        }
        let is_open = matches!(
            edited.state,
            OrderState::Confirmed | OrderState::PartiallyFulfilled
        );
        let is_held = || {
            edited
                .active_holds()
                .any(|hold| hold.reason == HoldReason::FraudReview)
        };
        if edited.total <= order.total || !is_open || is_held() || edited.holds().len() >= HOLDS_MAX {
            return None;
        }
        suspicion(shard, &edited, now)
    }
}

/// What holds an order that is as it is since this time, if it is suspect.
fn suspicion(shard: &Arc<Shard>, order: &Order, since: Time) -> Option<OrderEvent> {
    let rules = shard.fraud()?;
    if !shard.flags().is_on_for(Flag::FraudScoring, &order.customer) {
        return None;
    }
    let router = shard.router().and_then(Weak::upgrade)?;
    if router.node().oldest_version_spoken() < HOLDS_SINCE {
        return None;
    }
    let suspect = rules.suspects(order.total, since, &past(shard, &rules, order, since)?)?;
    metrics::counter!("docket_fraud_holds_total").increment(1);
    Some(OrderEvent::Held {
        reason: HoldReason::FraudReview,
        note: suspect.to_string().into(),
        by: Username::new(HELD_BY_ITSELF).ok()?,
    })
}

/// What an order's customer has done until then, as far as that is committed: its orders are of the same shard.
fn past(shard: &Shard, rules: &FraudRules, order: &Order, until: Time) -> Option<CustomerPast> {
    let committed = shard.committed();
    let created = committed.customers.get(&order.customer)?.created;
    let since = until.0.saturating_sub(rules.velocity_within).max(0) / 1_000;
    let since = OrderId::compose(u64::try_from(since).unwrap_or_default(), 0, 0);
    let most = usize::try_from(rules.velocity_orders).unwrap_or(usize::MAX);
    let (recent, earlier) = {
        let all = committed.customer_orders.get(&order.customer)?;
        let others = all.below(OrderId(u128::MAX)).filter(|id| *id != order.id);
        // One more than there may be, with the order itself.
        let recent = others.take_while(|id| *id >= since).take(most).count();
        let earlier: Vec<OrderId> = all.below(order.id).take(FRAUD_ORDERS_MAX).collect();
        (recent, earlier)
    };
    let totals = earlier.iter().filter_map(|id| {
        committed
            .orders
            .see(*id, |order| is_real(order).then_some(order.total))
            .flatten()
    });
    let (mut orders, mut spent) = (0, 0_i64);
    for total in totals.chain(past_archived(shard, order, FRAUD_ORDERS_MAX - earlier.len())) {
        orders += 1;
        spent = spent.saturating_add(total.0);
    }
    Some(CustomerPast {
        created,
        recent: u32::try_from(recent + 1).unwrap_or(u32::MAX),
        orders,
        spent: Amount(spent),
    })
}

/// Whether an order came to something.
fn is_real(order: &Order) -> bool {
    !matches!(
        order.state,
        OrderState::Rejected | OrderState::Cancelled | OrderState::Expired
    )
}

/// What those of its customer's orders cost that are in the archive: the newest, and few, so that they are read in the actor's turn.
fn past_archived(shard: &Shard, order: &Order, most: usize) -> Vec<Amount> {
    let archive = &shard.committed().archive;
    if most == 0 || archive.count() == 0 {
        return Vec::new();
    }
    let found = archive.of_customer(&order.customer, order.id, most);
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(order = %order.id, %error, "what its customer did long ago is not looked at");
        Vec::new()
    });
    let real = found.iter().filter(|order| is_real(order));
    real.map(|order| order.total).collect()
}

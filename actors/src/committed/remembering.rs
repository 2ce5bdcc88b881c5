//! What is remembered of requests that were done, and what repeats of them are answered.

use std::sync::{Arc, atomic::Ordering};

use docket_engine::{EntityId, Fact, Order, OrderId, OrderState, Record, Request, Time};

use super::{CLOCKS_APART_US, Committed};
use crate::remembered::{RETENTION_US, StoredRequest, Target};

impl Committed {
    pub(super) fn remember(&self, request: Request, record: &Record) {
        let target = record.events.iter().find_map(|event| match &event.fact {
            Fact::Order(id, _) => Some(Target::Order(*id)),
            _ => None,
        });
        let target = target.or_else(|| {
            record.events.last().and_then(|event| match &event.fact {
                Fact::Customer(id, _) => self.customers.get(id).map(|c| Target::Customer(c.clone())),
                Fact::Item(sku, _) => self.items.get(sku).map(|i| Target::Item(i.clone())),
                Fact::Order(id, _) | Fact::Archived(id) => Some(Target::Order(*id)),
            })
        });
        let target = target.or_else(|| match &record.unchanged.as_ref()?.entity {
            EntityId::Order(id) => Some(Target::Order(*id)),
            EntityId::Customer(id) => self.customers.get(id).map(|c| Target::Customer(c.clone())),
            EntityId::Item(sku) => self.items.get(sku).map(|i| Target::Item(i.clone())),
        });
        if let Some(target) = target {
            self.requests.insert(
                record.time,
                request.key,
                StoredRequest {
                    fingerprint: request.fingerprint,
                    target,
                },
            );
        }
    }

    pub(super) fn forget_requests(&self) {
        let oldest = Time(self.last_time.load(Ordering::Relaxed) - RETENTION_US);
        self.requests.forget_before(oldest);
        self.first_settled.forget_before(oldest);
    }

    /// Whether a request of this time, by the clock of another shard's leader, may have been done and be forgotten.
    pub(crate) fn may_have_forgotten(&self, time: Time) -> bool {
        let until = Time(time.0.saturating_sub(CLOCKS_APART_US));
        let oldest = Time(self.last_time().0.saturating_sub(RETENTION_US));
        until < oldest || self.requests.has_forgotten(until)
    }

    /// The order as it was when it was first settled; `None` while it is not, or where there is none.
    pub fn first_settled(&self, id: OrderId) -> Option<Arc<Order>> {
        self.first_settled.get(id).or_else(|| {
            let order = self.orders.get(id);
            order.filter(|order| order.is_settled() && order.state != OrderState::Authorizing)
        })
    }
}

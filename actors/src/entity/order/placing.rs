//! The placing of an order: its first event, which goes into the log with its customer's hold, or the refusal to give it one.

use std::sync::Arc;

use docket_engine::{OrderCommand, Record, Rejection, Request, Version, order};

use super::{Birth, OrderEntity, Stage};
use crate::{
    docket::PlaceOrder,
    reply::{Caller, Failure, Reply, Step, StepError},
    shard::Shard,
};

impl OrderEntity {
    pub(super) fn place(
        &mut self,
        shard: &Arc<Shard>,
        place: Arc<PlaceOrder>,
        request: Option<Request>,
        caller: Caller,
    ) {
        if self.order.is_some() || self.stage != Stage::Idle {
            return self.wait(shard, caller);
        }
        if caller.is_expired() {
            return caller.fail(Failure::Expired);
        }
        let command = OrderCommand::Place {
            customer: place.customer.clone(),
            currency: place.currency,
            lines: place.lines.clone(),
        };
        match order::decide(None, &command) {
            Ok(decision) => {
                let mut record = Record {
                    time: shard.now(),
                    events: Vec::with_capacity(2),
                    request,
                    unchanged: None,
                };
                self.push_events(&mut record, Version::default(), decision.events);
                self.placing = Some((place, record));
                self.callers.push(caller);
                self.birth = Birth::Decided;
                self.stage = Stage::Holding;
                self.ask(shard, Step::Hold);
            }
            Err(rejection) => shard.answer(self.life, caller, Reply::Rejected(rejection)),
        }
    }

    /// The customer has answered.
    pub(super) fn held(&mut self, shard: &Arc<Shard>, result: Result<(), StepError>) {
        let Some((place, mut record)) = self.placing.take() else {
            return;
        };
        let rejection = match result {
            Ok(()) => {
                let order = self.evolve(shard, &record);
                let effects = order::open_effects(order);
                self.stage = Stage::Reserving;
                return self.ask_items(shard, effects);
            }
            Err(StepError::Duplicate(order)) => return self.dismiss(shard, Reply::Elsewhere(order), None),
            Err(StepError::Rejected(
                rejection @ (Rejection::CustomerNotFound { .. } | Rejection::RequestIdReused),
            )) => return self.dismiss(shard, Reply::Rejected(rejection), None),
            Err(StepError::Rejected(rejection)) => rejection,
            // Failures are asked again, before this.
            Err(StepError::Failed(_)) => return,
        };
        let command = OrderCommand::Refuse {
            customer: place.customer.clone(),
            currency: place.currency,
            lines: place.lines.clone(),
            rejection,
        };
        match order::decide(None, &command) {
            Ok(decision) => {
                record.events.clear();
                self.push_events(&mut record, Version::default(), decision.events);
                self.evolve(shard, &record);
                self.settle_with(shard, record);
            }
            Err(rejection) => self.dismiss(shard, Reply::Rejected(rejection), None),
        }
    }
}

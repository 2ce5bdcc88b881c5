//! The placing of an order: its first event, which goes into the log with its customer's hold, or the refusal to give it one.

use std::sync::Arc;

use docket_engine::{OrderEvent, OrderId, Record, Request, Version, order};

use super::{Birth, OrderEntity, Placing, Stage};
use crate::{
    docket::PlaceOrder,
    entity::customer::CustomerMessage,
    reply::{Caller, Failure, Reply, StepError},
    shard::Shard,
};

impl OrderEntity {
    /// The begin of an order that is new, and what is to be asked of its customer once the order can be told the answer. `None` where it
    /// does not begin: then the caller was told why.
    pub(crate) fn begin(
        shard: &Arc<Shard>,
        id: OrderId,
        place: &Arc<PlaceOrder>,
        request: Option<Request>,
        caller: Caller,
    ) -> Option<(Self, CustomerMessage)> {
        let mut order = Self::new(id, None, shard.begin_life());
        if caller.is_expired() {
            caller.fail(Failure::Expired);
            return None;
        }
        let hold = order.begin_placing(shard, place.clone(), request, caller)?;
        Some((order, hold))
    }

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
        let customer = place.customer.clone();
        if let Some(hold) = self.begin_placing(shard, place, request, caller) {
            shard.tell_customer(&customer, hold);
        }
    }

    /// Decides the first event. Gives what the customer is to be asked; or answers the caller, where the order cannot be.
    fn begin_placing(
        &mut self,
        shard: &Arc<Shard>,
        place: Arc<PlaceOrder>,
        request: Option<Request>,
        caller: Caller,
    ) -> Option<CustomerMessage> {
        let time = shard.now();
        let placing = Placing {
            place,
            time,
            request,
            origin: caller.origin(),
        };
        match order::decide(None, &placing.place.command()) {
            Ok(decision) => {
                self.callers.push(caller);
                self.birth = Birth::Decided;
                self.stage = Stage::Holding;
                let hold = self.hold(shard, &placing, decision);
                self.placing = Some(placing);
                Some(hold)
            }
            Err(rejection) => {
                shard.answer(self.life, caller, Reply::Rejected(rejection));
                None
            }
        }
    }

    /// Becomes what the first event makes, which is in the log or on its way there.
    fn be_placed(&mut self, shard: &Arc<Shard>, placing: &Placing) {
        let PlaceOrder {
            customer,
            currency,
            lines,
            provider,
        } = &*placing.place;
        let placed = OrderEvent::Placed {
            customer: customer.clone(),
            currency: *currency,
            lines: lines.clone(),
            provider: provider.clone(),
        };
        self.evolve_by(shard, &placed, placing.time, placing.origin.as_ref());
    }

    /// The order's first event and all of its reservations are committed: so it is confirmed.
    pub(super) fn complete(&mut self, shard: &Arc<Shard>) {
        let (Some(tally), Some(placing)) = (self.tally.take(), self.placing.take()) else {
            return;
        };
        self.be_placed(shard, &placing);
        self.birth = Birth::Committed;
        (_, self.answers) = tally.take();
        self.settle(shard);
    }

    /// Not all is well with an item: the order takes what was counted, and looks at every answer by itself from here on.
    pub(super) fn break_up(&mut self, shard: &Arc<Shard>) {
        let Some(tally) = self.tally.take() else { return };
        if let Some(placing) = self.placing.take() {
            // An item was asked, so the customer has agreed.
            self.be_placed(shard, &placing);
            self.awaiting = order::skus(&placing.place.lines).len();
            self.answers.clear();
            self.repeats.clear();
            self.stage = Stage::Reserving;
        }
        let (placed, reserved) = tally.take();
        if placed {
            self.birth = Birth::Committed;
        }
        for (sku, answer) in reserved {
            self.take_answer(sku, || answer);
        }
    }

    /// The customer does not hold what the order costs.
    pub(super) fn not_held(&mut self, shard: &Arc<Shard>, error: StepError) {
        self.tally = None;
        let Some(Placing {
            place,
            time,
            request,
            origin,
        }) = self.placing.take()
        else {
            return;
        };
        let rejection = match error {
            StepError::Duplicate(order) => return self.dismiss(shard, Reply::Elsewhere(order), None),
            StepError::Rejected(rejection) => return self.dismiss(shard, Reply::Rejected(rejection), None),
            StepError::Refused(rejection) => rejection,
            // Failures are asked again, before this.
            StepError::Failed(_) => return,
        };
        // As the customer has recorded it.
        match order::decide(None, &place.refusal(rejection)) {
            Ok(decision) => {
                let mut record = Record {
                    time,
                    events: Vec::with_capacity(2),
                    request,
                    unchanged: None,
                    origin,
                };
                self.push_events(&mut record, Version::default(), decision.events);
                self.evolve(shard, &record);
                let (reply, settled) = (self.reply(), Some(self.id));
                self.dismiss(shard, reply, settled);
            }
            Err(rejection) => self.dismiss(shard, Reply::Rejected(rejection), None),
        }
    }
}

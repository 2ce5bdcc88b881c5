//! Shipments that are planned first.

use docket_engine::{Amount, CustomerCommand, Effect, OrderCommand, OrderId, Version};
use proptest::sample::Index;

use super::{
    Run, changed,
    fulfil::{named, shop},
};
use crate::{
    model::Plan,
    ops::{Etag, Meant},
};

impl Run {
    pub(super) fn plan(&mut self, id: OrderId, meant: &Meant, etag: Etag) {
        let free = self.model.orders[&id].free();
        let lines = self.resolve(&free, meant);
        let expected = self.version(id, etag);
        let plan = OrderCommand::OpenFulfilment {
            lines: named(&lines),
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &plan));
        let model = self.model.plan(id, &lines, expected);
        if model.is_ok() {
            let order = &self.model.orders[&id];
            let (state, is_held) = (order.state, order.holds.iter().any(|(_, holds)| *holds));
            self.reach(format!("{state} is planned"));
            if is_held {
                self.reach("a held order is planned");
            }
        }
        self.same("OpenFulfilment", engine, model);
    }

    /// Any of them, and one that is not there.
    fn any_of(&self, id: OrderId, fulfilment: &Index) -> u32 {
        let order = &self.model.orders[&id];
        // Mostly those that are still to be sent.
        let open: Vec<usize> = order
            .plans
            .iter()
            .filter(|(_, plan)| **plan == Plan::Open)
            .map(|(place, _)| *place)
            .collect();
        let all = order.shipments.len() + 2;
        let at = fulfilment.index(all + 3 * open.len());
        match at.checked_sub(all) {
            Some(of_open) => open[of_open / 3] as u32 + 1,
            None => at as u32,
        }
    }

    pub(super) fn ship_plan(&mut self, id: OrderId, fulfilment: &Index, etag: Etag) {
        let fulfilment = self.any_of(id, fulfilment);
        let expected = self.version(id, etag);
        let ship = OrderCommand::ShipFulfilment {
            fulfilment,
            carrier: "Ape".into(),
            tracking: "".into(),
            by: shop(),
            expected: expected.map(Version),
        };
        let (before, held) = (self.model.orders[&id].state, self.model.orders[&id].held());
        let answer = self.world.ask_order(id, &ship);
        let model = self.model.ship_plan(id, fulfilment, expected);
        let engine = match answer {
            Ok((events, effects)) => {
                assert_eq!(events, 1, "what is open is sent once");
                let order = &self.model.orders[&id];
                let amount = Amount(i64::try_from(held - order.held()).unwrap());
                let customer = order.customer.clone();
                let capture = Effect::CaptureCredit {
                    customer: customer.clone(),
                    amount,
                };
                assert_eq!(effects, [capture]);
                let capture = CustomerCommand::Capture { order: id, amount };
                assert_eq!(changed(self.world.ask_customer(&customer, &capture)), Ok(true));
                self.next_step(id);
                self.reach(format!(
                    "{before} to {}, as planned",
                    self.model.orders[&id].state
                ));
                Ok(true)
            }
            Err(rejection) => Err(rejection),
        };
        self.same("ShipFulfilment", engine, model);
    }

    pub(super) fn unplan(&mut self, id: OrderId, fulfilment: &Index, etag: Etag) {
        let fulfilment = self.any_of(id, fulfilment);
        let expected = self.version(id, etag);
        let cancel = OrderCommand::CancelFulfilment {
            fulfilment,
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &cancel));
        let model = self.model.unplan(id, fulfilment, expected);
        match model {
            Ok(true) => self.reach("a plan is given up"),
            Ok(false) => self.reach("CancelFulfilment again"),
            Err(_) => {}
        }
        self.same("CancelFulfilment", engine, model);
    }
}

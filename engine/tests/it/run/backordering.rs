//! What orders hear of what they wait for.

use std::collections::BTreeMap;

use docket_engine::{OrderCommand, OrderId, Quantity, Rejection, Sku};

use super::Run;
use crate::model::Outcome;

/// As a command has them.
pub(super) fn told(
    answers: &BTreeMap<Sku, Result<i128, Rejection>>,
) -> Vec<(Sku, Result<Quantity, Rejection>)> {
    let quantity = |waiting: i128| Quantity(i64::try_from(waiting).unwrap());
    let told = answers.iter();
    told.map(|(sku, answer)| (sku.clone(), answer.clone().map(quantity)))
        .collect()
}

impl Run {
    /// What an item that was asked says, with how many wait.
    pub(super) fn agreed(&mut self, id: OrderId, sku: &Sku, model: &Outcome) -> Result<i128, Rejection> {
        model.clone()?;
        let is = self.world.items[sku].waiting_of(id);
        let should = self.model.waiting_of(id, sku);
        assert_eq!(i128::from(is.0), should, "{sku} of {id}");
        if should > 0 && should < self.model.reservations[&(id, sku.clone())] {
            self.reach("some is there, and some waits");
        }
        Ok(should)
    }

    pub(super) fn hear_backorders(&mut self, id: OrderId) {
        let waiting = self.world.waiting_of(id);
        let before: i128 = self.model.orders[&id].backordered().iter().sum();
        let (events, effects) = self
            .world
            .ask_order(id, &OrderCommand::HearBackorders { waiting })
            .unwrap();
        let model = self.model.hear_backorders(id);
        assert_eq!((events, effects), (usize::from(model), Vec::new()));
        let after: i128 = self.model.orders[&id].backordered().iter().sum();
        match (model, after) {
            (true, 0) => self.reach(format!("{} hears that nothing waits any more", self.state_of(id))),
            (true, _) => self.reach(format!("{} hears that less waits", self.state_of(id))),
            (false, _) => {}
        }
        assert!(after <= before, "{id} hears that more waits");
    }
}

//! Orders that are edited.

use docket_engine::{
    Amount, CustomerCommand, Effect, ItemCommand, OrderCommand, OrderId, Quantity, Rejection, Sku, Version,
    order,
};

use super::{
    Run,
    backordering::told,
    changed,
    fulfil::{named, shop},
};
use crate::{model, ops::Etag};

impl Run {
    /// Each line that is drawn is to have so many more, or fewer, than it has.
    pub(super) fn edit(
        &mut self,
        id: OrderId,
        drawn: &[(Option<proptest::sample::Index>, i64)],
        (etag, may_authorize): (Etag, bool),
    ) {
        let ordered = &self.model.orders[&id].lines;
        let lines = drawn.iter().map(|(line, more)| {
            let line = line.map_or(ordered.len(), |line| line.index(ordered.len()));
            let now = ordered.get(line).map_or(0, |line| line.quantity.0);
            (line as u16, now.saturating_add(*more).max(0))
        });
        let mut lines: Vec<(u16, i64)> = lines.collect();
        lines.sort_unstable();
        lines.dedup_by_key(|it| it.0);
        let expected = self.version(id, etag);
        let edit = OrderCommand::Edit {
            lines: named(&lines),
            by: shop(),
            expected: expected.map(Version),
            may_authorize,
        };
        let (total, held) = (model::cost(ordered), self.model.orders[&id].held());
        let (version, state) = (self.model.orders[&id].version, self.model.orders[&id].state);
        let engine = self.ask_to_edit(id, &edit);
        let model = self.model.edit(id, &lines, expected, may_authorize);
        match &model {
            Ok(true) => {
                let order = &self.model.orders[&id];
                assert_eq!(order.version, version + 1);
                let (is_open, more) = (order.edit.is_some(), order.held() - held);
                let (costs, now) = (model::cost(&order.lines), order.state);
                self.told.remove(&id);
                if is_open {
                    assert_eq!(costs, total, "nothing is so before the items have agreed");
                    self.reach(format!("an edit of a {state} order is begun"));
                    if more == 0 {
                        self.reach("an edit that holds nothing more is begun");
                    }
                } else {
                    self.reach(format!("{state} to {now}, edited at once"));
                    if self.model.orders[&id].releasing.is_empty() {
                        self.reach("an edit that gives nothing back");
                    }
                }
            }
            Ok(false) => self.reach("Edit to what it is"),
            Err(Rejection::InsufficientCredit { .. }) => {
                assert_eq!(self.world.orders[&id].version.0, version);
            }
            Err(_) => {}
        }
        self.same("Edit", engine, model);
    }

    /// As a shard does it: what is decided counts when the customer holds what it costs more.
    fn ask_to_edit(&mut self, id: OrderId, edit: &OrderCommand) -> Result<bool, Rejection> {
        let decision = order::decide(self.world.orders.get(&id), edit)?;
        let Some(effect) = decision.effects.first() else {
            assert!(decision.events.is_empty(), "an edit concerns its customer");
            return changed(self.world.ask_order(id, edit));
        };
        let currency = self.world.orders[&id].currency;
        let (customer, command) = match effect {
            Effect::HoldCredit { customer, amount } => {
                let amount = *amount;
                let hold = CustomerCommand::Hold {
                    order: id,
                    amount,
                    currency,
                };
                (customer, hold)
            }
            Effect::ReleaseCredit { customer, amount } => {
                let amount = *amount;
                (customer, CustomerCommand::Release { order: id, amount })
            }
            other => panic!("an edit does not ask {other:?}"),
        };
        assert!(changed(self.world.ask_customer(customer, &command))?);
        let (events, effects) = self.world.ask_order(id, edit)?;
        assert_eq!((events, effects), (decision.events.len(), decision.effects));
        Ok(true)
    }

    /// An item is asked for more.
    pub(super) fn raise(&mut self, id: OrderId, sku: &Sku, line: u16, quantity: Quantity) {
        let order = id;
        let raise = ItemCommand::Raise {
            order,
            line,
            quantity,
        };
        let engine = changed(self.world.ask_item(sku, &raise));
        let model = self.model.raise(id, sku);
        if model == Ok(false) {
            self.reach("Raise again");
        }
        let waits = self.agreed(id, sku, &model);
        let told = self.told.entry(id).or_default();
        // The first answer counts: an item that agreed has reserved it.
        told.raised.entry(sku.clone()).or_insert(waits);
        self.same("Raise", engine, model);
    }

    /// The order hears what the items answered.
    pub(super) fn raised(&mut self, id: OrderId) {
        let answers = self.told.entry(id).or_default().raised.clone();
        let held = self.model.orders[&id].held();
        let lines = self.model.orders[&id].lines.clone();
        let raised = OrderCommand::Raised {
            answers: told(&answers),
        };
        let (events, effects) = self.world.ask_order(id, &raised).unwrap();
        let version = self.model.orders[&id].version;
        let ended = self.model.raised(id, &answers);
        assert_eq!(events as u64, self.model.orders[&id].version - version);
        if events > 1 {
            self.reach("an edit with something that waits");
        }
        if !ended {
            assert_eq!(effects, []);
            return self.reach("Raised too early");
        }
        let order = &self.model.orders[&id];
        if order.awaited.is_some() {
            assert_eq!(effects, [], "its customer's account has no part in it");
            assert_eq!(order.lines, lines, "nothing is so before its provider has agreed");
            self.told.remove(&id);
            return self.reach("an edit waits for its provider");
        }
        let (given_back, is_edited) = (held - order.held(), order.lines != lines);
        assert!(Amount(i64::try_from(given_back).unwrap()) >= Amount(0));
        self.give_back(id, given_back, &effects);
        self.told.remove(&id);
        self.reach(match is_edited {
            true => "an edit that was begun is done",
            false => "an edit that was begun is refused",
        });
    }
}

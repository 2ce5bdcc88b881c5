//! Orders, until they are confirmed or refused.

use std::sync::Arc;

use docket_engine::{
    Amount, Currency, CustomerCommand, CustomerId, Effect, ItemCommand, Line, OrderCommand, OrderId,
    OrderState, Quantity, Rejection, order,
};

use super::{Run, backordering::told, changed, paying::mint, sku};
use crate::{
    model::{self, Outcome},
    ops::Price,
};

impl Run {
    pub(super) fn place(
        &mut self,
        customer: &CustomerId,
        currency: Currency,
        ordered: &[(usize, i64, Price)],
        by_provider: bool,
    ) {
        let price_of = |number: usize, price: Price| match price {
            Price::Other(price) => price,
            Price::Current => {
                let item = self.model.items.get(&sku(number));
                item.map_or(1, |item| i64::try_from(item.price).unwrap())
            }
        };
        let lines: Arc<[Line]> = ordered
            .iter()
            .map(|&(number, quantity, price)| Line {
                sku: sku(number),
                quantity: Quantity(quantity),
                unit_price: Amount(price_of(number, price)),
            })
            .collect();
        self.placed += 1;
        let id = OrderId::compose(self.placed, 7, 0);
        let held_before = self.model.held(customer);

        let engine = self.ask_to_place(id, customer, currency, &lines, by_provider);
        let model = match by_provider {
            false => self.model.place(id, customer, currency, &lines),
            true => self.model.place_with(id, customer, currency, &lines, true),
        };
        if by_provider && model.is_ok() {
            self.reach("placed with a provider");
        }
        if by_provider && model.is_err() && self.model.orders.contains_key(&id) {
            self.reach("refused with a provider");
        }
        match &model {
            Ok(_) => self.reach("none to PENDING"),
            Err(Rejection::Overflow { .. }) if self.model.orders.contains_key(&id) => {
                assert!(held_before + model::cost(&lines) > i128::from(i64::MAX));
                self.reach("an order held beyond what an amount can add up");
                self.reach("none to REJECTED");
            }
            Err(_) if self.model.orders.contains_key(&id) => self.reach("none to REJECTED"),
            Err(_) => {}
        }
        if model.is_err() {
            self.unpaid.insert(id);
        }
        if model::first_lines(&lines).len() < lines.len() {
            self.reach("an item on several lines");
        }
        self.same("Place", engine, model);
    }

    /// As a shard does it: the customer holds, then the order is placed; or refused, if the customer cannot.
    fn ask_to_place(
        &mut self,
        id: OrderId,
        customer: &CustomerId,
        currency: Currency,
        lines: &[Line],
        by_provider: bool,
    ) -> Outcome {
        let total = order::total(lines)?;
        let amount = if by_provider { Amount(0) } else { total };
        let hold = CustomerCommand::Hold {
            order: id,
            amount,
            currency,
        };
        match changed(self.world.ask_customer(customer, &hold)) {
            Ok(held) => {
                assert!(held);
                let place = OrderCommand::Place {
                    customer: customer.clone(),
                    currency,
                    lines: lines.into(),
                    provider: by_provider.then(mint),
                };
                let (events, effects) = self.world.ask_order(id, &place)?;
                assert_eq!(events, 1);
                let held = Effect::HoldCredit {
                    customer: customer.clone(),
                    amount,
                };
                assert_eq!(effects[0], held);
                assert_eq!(effects[1..], order::open_effects(&self.world.orders[&id]));
                Ok(true)
            }
            Err(unknown @ Rejection::CustomerNotFound { .. }) => Err(unknown),
            Err(rejection) => {
                let refuse = OrderCommand::Refuse {
                    customer: customer.clone(),
                    currency,
                    lines: lines.into(),
                    rejection: rejection.clone(),
                    provider: by_provider.then(mint),
                };
                assert_eq!(self.world.ask_order(id, &refuse)?, (2, Vec::new()));
                Err(rejection)
            }
        }
    }

    pub(super) fn place_again(&mut self, id: OrderId, refuse: bool) {
        let (customer, currency, lines) = {
            let order = &self.world.orders[&id];
            (order.customer.clone(), order.currency, order.lines.clone())
        };
        let command = match refuse {
            true => OrderCommand::Refuse {
                customer,
                currency,
                lines,
                rejection: Rejection::Overflow { line: None },
                provider: None,
            },
            false => OrderCommand::Place {
                customer,
                currency,
                lines,
                provider: None,
            },
        };
        assert_eq!(self.world.ask_order(id, &command), Ok((0, Vec::new())));
        self.reach("Place again");
    }

    pub(super) fn deliver(&mut self, id: OrderId, effect: &Effect) {
        match effect {
            Effect::ReserveStock { sku, currency, lines } => {
                let reserve = ItemCommand::Reserve {
                    order: id,
                    currency: *currency,
                    lines: lines.clone(),
                };
                let engine = changed(self.world.ask_item(sku, &reserve));
                let model = self.model.reserve(id, sku);
                if model == Ok(false) {
                    self.reach("Reserve again");
                }
                let waits = self.agreed(id, sku, &model);
                self.told
                    .entry(id)
                    .or_default()
                    .answers
                    .insert(sku.clone(), waits);
                self.same("Reserve", engine, model);
            }
            Effect::RaiseStock { sku, line, quantity } => self.raise(id, sku, *line, *quantity),
            Effect::ReleaseStock { sku, remaining } => {
                self.reduce(id, sku, *remaining, false);
                self.told.entry(id).or_default().done.insert(sku.clone());
            }
            Effect::ConsumeStock { sku, remaining } => {
                self.reduce(id, sku, *remaining, true);
                self.told.entry(id).or_default().done.insert(sku.clone());
            }
            Effect::RestockStock {
                sku,
                number,
                quantity,
            } => {
                self.restock(id, *number, sku, *quantity);
                self.told.entry(id).or_default().done.insert(sku.clone());
            }
            Effect::HoldCredit { .. }
            | Effect::ReleaseCredit { .. }
            | Effect::CaptureCredit { .. }
            | Effect::RefundCredit { .. } => {
                panic!("{effect:?} is done with the order's own events")
            }
        }
        let edits = self.model.orders[&id].edits;
        self.sent.entry(id).or_default().push((edits, effect.clone()));
    }

    pub(super) fn settle(&mut self, id: OrderId) {
        let answers = self.told.entry(id).or_default().answers.clone();
        let state = self.model.orders[&id].state;
        let all = model::first_lines(&self.model.orders[&id].lines).len();
        let settle = OrderCommand::Settle {
            answers: told(&answers),
        };
        let (events, effects) = self.world.ask_order(id, &settle).unwrap();
        let version = self.model.orders[&id].version;
        self.model.settle(id, &answers);
        assert_eq!(events as u64, self.model.orders[&id].version - version);
        if self.model.orders[&id].heard > 0 && events > 1 {
            self.reach(format!("{} with something that waits", self.state_of(id)));
        }
        match (state, self.model.orders[&id].state) {
            (OrderState::Pending, OrderState::Confirmed) => {
                assert_eq!(effects, []);
                self.reach("PENDING to CONFIRMED");
                if self.model.orders[&id].steps.is_some() {
                    self.reach("confirmed, with a provider, for nothing");
                }
            }
            (OrderState::Pending, OrderState::Authorizing) => {
                assert_eq!(effects, []);
                self.reach("PENDING to AUTHORIZING");
            }
            (OrderState::Pending, OrderState::Rejected) => {
                let order = &self.model.orders[&id];
                let cost = match order.steps {
                    None => model::cost(&order.lines),
                    Some(_) => 0,
                };
                self.give_back(id, cost, &effects);
                self.reach("PENDING to REJECTED");
                if answers.len() < all {
                    self.reach("Settle before all have answered");
                }
            }
            (OrderState::Pending, _) => {
                assert_eq!(effects, []);
                self.reach("Settle too early");
            }
            _ => {
                assert_eq!(effects, []);
                self.reach("Settle again");
            }
        }
    }
}

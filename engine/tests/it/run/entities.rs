//! Customers and items.

use docket_engine::{Amount, CustomerCommand, ItemCommand, Quantity};

use super::{NAMES, Run, changed, currency, customer, pick, sku};
use crate::ops::Op;

impl Run {
    pub(super) fn keep_customer(&mut self, op: &Op) {
        match *op {
            Op::CreateCustomer {
                customer: who,
                name,
                currency: code,
                limit,
            } => {
                let command = CustomerCommand::Create {
                    display_name: NAMES[name].into(),
                    currency: currency(code),
                    credit_limit: Amount(limit),
                };
                let engine = changed(self.world.ask_customer(&customer(who), &command));
                let model = self
                    .model
                    .create_customer(&customer(who), NAMES[name], currency(code), limit);
                self.same("CreateCustomer", engine, model);
            }
            Op::UpdateCustomer {
                customer: who,
                name,
                limit,
                etag,
            } => {
                let id = customer(who);
                let name = name.map(|name| NAMES[name]);
                let expected = pick(etag, self.model.customers.get(&id).map(|c| c.revision));
                let command = CustomerCommand::Update {
                    display_name: name.map(Into::into),
                    credit_limit: limit.map(Amount),
                    expected,
                };
                let engine = changed(self.world.ask_customer(&id, &command));
                let model = self.model.update_customer(&id, name, limit, expected);
                if model == Ok(false) {
                    self.reach("Update changes nothing");
                }
                self.same("UpdateCustomer", engine, model);
            }
            Op::Credit {
                customer: who,
                amount,
                etag,
            } => {
                let id = customer(who);
                let expected = pick(etag, self.model.customers.get(&id).map(|c| c.revision));
                let command = CustomerCommand::Credit {
                    amount: Amount(amount),
                    expected,
                };
                let engine = changed(self.world.ask_customer(&id, &command));
                let model = self.model.credit(&id, amount, expected);
                self.same("Credit", engine, model);
            }
            _ => unreachable!("not a customer's: {op:?}"),
        }
    }

    pub(super) fn keep_item(&mut self, op: &Op) {
        match *op {
            Op::CreateItem {
                item,
                name,
                currency: code,
                price,
                on_hand,
            } => {
                let command = ItemCommand::Create {
                    display_name: NAMES[name].into(),
                    currency: currency(code),
                    unit_price: Amount(price),
                    on_hand: Quantity(on_hand),
                };
                let engine = changed(self.world.ask_item(&sku(item), &command));
                let model = self
                    .model
                    .create_item(&sku(item), NAMES[name], currency(code), price, on_hand);
                self.same("CreateItem", engine, model);
            }
            Op::UpdateItem {
                item,
                name,
                price,
                limit,
                etag,
            } => {
                let sku = sku(item);
                let name = name.map(|name| NAMES[name]);
                let expected = pick(etag, self.model.items.get(&sku).map(|i| i.revision));
                let command = ItemCommand::Update {
                    display_name: name.map(Into::into),
                    unit_price: price.map(Amount),
                    backorder_limit: limit.map(Quantity),
                    expected,
                };
                let engine = changed(self.world.ask_item(&sku, &command));
                let model = self.model.update_item(&sku, name, price, limit, expected);
                if model.is_ok() && limit.is_some_and(|limit| i128::from(limit) < self.model.waiting(&sku)) {
                    self.reach("fewer may wait than do");
                }
                if model == Ok(false) {
                    self.reach("Update changes nothing");
                }
                self.same("UpdateItem", engine, model);
            }
            Op::Adjust { item, delta, etag } => {
                let sku = sku(item);
                let expected = pick(etag, self.model.items.get(&sku).map(|i| i.revision));
                let command = ItemCommand::Adjust {
                    delta: Quantity(delta),
                    expected,
                };
                let engine = changed(self.world.ask_item(&sku, &command));
                let waiting = self.model.waiting(&sku);
                let model = self.model.adjust(&sku, delta, expected);
                if self.model.waiting(&sku) < waiting {
                    self.reach("stock that comes in goes to whoever waits");
                }
                self.same("Adjust", engine, model);
            }
            _ => unreachable!("not an item's: {op:?}"),
        }
    }
}

//! How much of an order's lines is ordered, changed after its confirmation, for the [`Model`].

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{Amount, Line, OrderId, OrderState, PaymentKind, Quantity, Rejection, Sku};

use super::{
    model::{Model, Order, Outcome, agreed, cost},
    paying::PAYMENTS_MAX,
};

/// So often an order is edited, with the edits that were refused.
pub const EDITS_MAX: usize = 64;
/// So many are on a line at most.
const LINE_MAX: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128;

fn amount(number: i128) -> Amount {
    Amount(i64::try_from(number).unwrap())
}

fn quantity(number: i128) -> Quantity {
    Quantity(i64::try_from(number).unwrap())
}

/// How many of which lines in all.
pub type Edit = BTreeMap<u16, i128>;

impl Order {
    /// Its lines as an edit wants them.
    fn edited_lines(&self, edit: &Edit) -> Vec<Line> {
        let mut lines = self.lines.clone();
        for (&line, &many) in edit {
            lines[usize::from(line)].quantity = quantity(many);
        }
        lines
    }

    /// What it costs more with an edit; less than 0 where it costs less.
    pub fn costs_more(&self, edit: &Edit) -> i128 {
        cost(&self.edited_lines(edit)) - cost(&self.lines)
    }

    /// What an open edit holds beyond that.
    pub fn held_for_edit(&self) -> i128 {
        match &self.edit {
            Some(edit) if self.steps.is_none() => self.costs_more(edit).max(0),
            _ => 0,
        }
    }

    /// How much more of each item an edit wants; less than 0 where it wants less.
    pub fn wants_more(&self, edit: &Edit) -> BTreeMap<Sku, i128> {
        let mut more = BTreeMap::new();
        for (&line, many) in edit {
            let line = &self.lines[usize::from(line)];
            *more.entry(line.sku.clone()).or_default() += many - i128::from(line.quantity.0);
        }
        more
    }

    /// The items that are asked for more for an open edit, and how many are to be reserved of each.
    pub fn raising(&self) -> BTreeMap<Sku, i128> {
        match self.awaited {
            None => self.raised(),
            // They have agreed.
            Some(_) => BTreeMap::new(),
        }
    }

    /// The items that an open edit wants more of.
    fn raised(&self) -> BTreeMap<Sku, i128> {
        let more = self.edit.as_ref().map(|edit| self.wants_more(edit));
        let more = more.into_iter().flatten().filter(|(_, more)| *more > 0);
        more.map(|(sku, more)| (sku.clone(), self.open_of(&sku) + more))
            .collect()
    }

    /// Whether an item has promised beyond what there is to an edit that its provider is to be asked for.
    fn is_beyond(&self, edit: &Edit, answers: &BTreeMap<Sku, Result<i128, Rejection>>) -> bool {
        let waits = |(sku, waiting): (Sku, i128)| waiting > self.waits_for(&sku);
        self.steps.is_some() && self.costs_more(edit) > 0 && agreed(answers).into_iter().any(waits)
    }

    /// Its provider, where it pays, is asked for what the open edit has it cost more, if it does.
    fn await_payment(&mut self, edit: &Edit) -> bool {
        let more = self.costs_more(edit);
        if self.steps.is_none() || more <= 0 {
            return false;
        }
        self.owe_of(self.payments() + 1, PaymentKind::Authorize, more);
        self.awaited = Some(self.steps.as_ref().unwrap().len() as u32);
        true
    }

    /// The open edit is done, or all is as it was before.
    pub fn end_edit(&mut self, is_done: bool) {
        let asked = self.raised();
        self.awaited = None;
        let Some(edit) = self.edit.take() else { return };
        match is_done {
            true => self.be_edited(&edit),
            false => self.releasing = asked.into_keys().collect(),
        }
    }

    fn be_edited(&mut self, edit: &Edit) {
        let less = -self.costs_more(edit);
        for (sku, more) in self.wants_more(edit) {
            if more < 0 {
                self.waits_for_less(&sku, -more);
            }
        }
        let wants = self.wants_more(edit).into_iter();
        self.releasing = wants.filter(|(_, more)| *more < 0).map(|(sku, _)| sku).collect();
        self.more += (-less).max(0);
        self.owe(PaymentKind::Void, less);
        self.lines = self.edited_lines(edit);
        let lines = self.lines.iter().zip(&self.gone);
        self.open = lines
            .map(|(line, (sent, called_off))| i128::from(line.quantity.0) - sent - called_off)
            .collect();
        self.edit = None;
        if self.open.iter().all(|open| *open == 0) {
            self.state = OrderState::Fulfilled;
            self.holds.iter_mut().for_each(|hold| hold.1 = false);
        }
    }
}

impl Model {
    /// So many of these lines in all.
    pub fn edit(
        &mut self,
        id: OrderId,
        lines: &[(u16, i64)],
        expected: Option<u64>,
        may_authorize: bool,
    ) -> Outcome {
        let order = &self.orders[&id];
        order.check_etag(expected)?;
        match order.state {
            OrderState::Pending | OrderState::Authorizing => return Err(Rejection::OrderPending),
            OrderState::Confirmed | OrderState::PartiallyFulfilled => {}
            state => return Err(Rejection::NotEditable { state }),
        }
        if order.is_busy() {
            return Err(Rejection::OrderPending);
        }
        let mut edit = Edit::new();
        let wanted: BTreeMap<u16, i128> = lines.iter().map(|&(line, many)| (line, many.into())).collect();
        for (line, many) in wanted {
            let Some((sent, called_off)) = order.gone.get(usize::from(line)) else {
                return Err(Rejection::LineNotFound { line });
            };
            if many < sent + called_off {
                return Err(Rejection::QuantityTooLow {
                    line,
                    wanted: quantity(many),
                    gone: quantity(sent + called_off),
                });
            }
            let planned = order.planned()[usize::from(line)];
            if many < sent + called_off + planned {
                return Err(Rejection::QuantityPlanned {
                    line,
                    planned: quantity(planned),
                });
            }
            if many > LINE_MAX {
                return Err(Rejection::Overflow { line: Some(line) });
            }
            if many != i128::from(order.lines[usize::from(line)].quantity.0) {
                edit.insert(line, many);
            }
        }
        if edit.is_empty() {
            return Ok(false);
        }
        if order.edits == EDITS_MAX {
            return Err(Rejection::TooManyEdits);
        }
        let new = order.edited_lines(&edit);
        if cost(&new) > MAX {
            let line = (0..new.len()).find(|i| cost(&new[..=*i]) > MAX);
            return Err(Rejection::Overflow {
                line: line.map(|line| line as u16),
            });
        }
        let mut left = new.iter().zip(&order.gone);
        let is_left = left.any(|(line, (sent, off))| *sent > 0 || i128::from(line.quantity.0) > sent + off);
        if !is_left {
            return Err(Rejection::EditLeavesNothing);
        }
        let mut more = order.costs_more(&edit);
        if more > 0 && order.steps.is_some() {
            if !may_authorize {
                return Err(Rejection::EditNeedsAuthorization { more: amount(more) });
            }
            if usize::from(order.payments()) == PAYMENTS_MAX {
                return Err(Rejection::TooManyAuthorizations);
            }
            // Its customer's account has no part in it.
            more = 0;
        }
        let customer = order.customer.clone();
        let held = self.held(&customer);
        let payer = self.customers.get_mut(&customer).unwrap();
        let can_spend = (payer.balance + payer.limit - held).clamp(0, MAX);
        if more > 0 && more > can_spend {
            return Err(Rejection::InsufficientCredit {
                needed: amount(more),
                available: amount(can_spend),
            });
        }
        if more > 0 && held + more > MAX {
            return Err(Rejection::Overflow { line: None });
        }
        payer.version += 1;
        let order = self.orders.get_mut(&id).unwrap();
        order.edits += 1;
        order.version += 1;
        match order.wants_more(&edit).values().any(|more| *more > 0) {
            true => order.edit = Some(edit),
            false => order.be_edited(&edit),
        }
        Ok(true)
    }

    /// An item is asked for what an open edit wants more of it.
    pub fn raise(&mut self, id: OrderId, sku: &Sku) -> Outcome {
        let order = &self.orders[&id];
        let wanted = order.raising()[sku];
        let lines = order.edit.iter().flat_map(|edit| edit.keys());
        let mut lines = lines.filter(|line| order.lines[usize::from(**line)].sku == *sku);
        let line = *lines.next().unwrap();
        let key = (id, sku.clone());
        let has = self.reservations.get(&key).copied().unwrap_or(0);
        if has >= wanted {
            return Ok(false);
        }
        let available = self.obtainable(sku);
        if wanted - has > available {
            return Err(Rejection::InsufficientStock {
                line,
                sku: sku.clone(),
                wanted: quantity(wanted - has),
                available: quantity(available),
            });
        }
        self.items.get_mut(sku).unwrap().version += 1;
        self.promise(id, sku, wanted - has);
        Ok(true)
    }

    /// All agreed: edited, or its provider is asked. One refused, or promised beyond what there is where its provider is to be asked: nothing is,
    /// and all that were asked give back what they may have reserved. Otherwise it waits on.
    pub fn raised(&mut self, id: OrderId, answers: &BTreeMap<Sku, Result<i128, Rejection>>) -> bool {
        let order = self.orders.get_mut(&id).unwrap();
        let Some(edit) = order.edit.clone().filter(|_| order.awaited.is_none()) else {
            return false;
        };
        let asked: BTreeSet<Sku> = order.raising().into_keys().collect();
        if answers.values().any(Result::is_err) {
            order.end_edit(false);
        } else if !asked.iter().all(|sku| answers.contains_key(sku)) {
            return false;
        } else if order.is_beyond(&edit, answers) {
            order.end_edit(false);
        } else if order.await_payment(&edit) {
            order.version += 1;
            return true;
        } else {
            order.end_edit(true);
            order.hear(&agreed(answers));
        }
        order.version += 1;
        self.customers.get_mut(&order.customer).unwrap().version += 1;
        true
    }
}

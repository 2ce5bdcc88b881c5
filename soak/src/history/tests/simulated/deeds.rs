//! What becomes of confirmed orders: each of it at one moment, with all that it does to items and customers, and what follows behind.

use super::{super::*, Simulated, shop::next};
use crate::history::{
    ChangeKind,
    clients::deeds,
    life::{Deed, each_item},
};

impl Simulated {
    pub fn ask_an_order(&mut self, request_id: String) -> Ask {
        let at = self.chance.below(self.known.len() as u64) as usize;
        let seen = self.known.values().nth(at).unwrap().clone();
        let (deed, is_picky) = deeds::draw(&mut self.chance, &seen);
        Ask::Do {
            request_id,
            order: seen.name,
            deed,
            etag: if is_picky { seen.etag } else { String::new() },
        }
    }

    /// Whether something of it was sent or called off.
    pub fn is_led_on(&self, name: &str) -> bool {
        let lines = &self.orders[name].life.lines;
        let is_whole = lines.iter().all(|line| line.open() == line.ordered);
        let phase = self.orders[name].phase;
        !is_whole && !matches!(phase, Phase::Cancelled | Phase::Rejected)
    }

    /// What is asked of an order; none is its end.
    pub fn does(&mut self, name: &str, deed: Option<&Deed>, etag: &str) -> Outcome {
        let mut order = self.orders[name].clone();
        if order.phase == Phase::Pending {
            return refused("ORDER_PENDING", "", &[]);
        }
        if !etag.is_empty() && etag != order.etag {
            return refused("STALE_ETAG", "", &[]);
        }
        let prices: Vec<i64> = order.lines.iter().map(|line| line.unit_price).collect();
        if order.phase == Phase::Rejected {
            return refused("NOT_CANCELLABLE", "", &[]);
        }
        let before = order.life.clone();
        let after = match deed {
            None => before.cancelled(),
            Some(deed) => before.after(deed, &prices),
        };
        let after = match after {
            Ok(after) => after,
            Err(reason) => return refused(reason, "", &[]),
        };
        if after == before {
            return Outcome::Ok(Reply::Order(Box::new(order)));
        }
        if let Some(refusal) = self.lacks(&order, &before, &after) {
            return refusal;
        }
        self.moves(&order, &before, &after);
        for (line, of) in order.lines.iter_mut().zip(&after.lines) {
            line.quantity = of.ordered;
        }
        order.total = Ask::total(&order.lines);
        order.phase = after.phase();
        order.life = after;
        let kind = kind_of(deed, order.phase);
        self.becomes(&mut order, kind);
        if deed.is_none_or(|deed| deed.changes_behind() > 0) {
            let behind = match deed {
                Some(Deed::Ship(_)) => ChangeKind::Consumed,
                Some(Deed::Move(..)) => ChangeKind::Restocked,
                _ => ChangeKind::Released,
            };
            let mut done = order.clone();
            self.becomes(&mut done, behind);
            // Whoever asked need not have heard of that.
            if self.chance.below(2) == 0 {
                order = done;
            }
        }
        Outcome::Ok(Reply::Order(Box::new(order)))
    }

    fn becomes(&mut self, order: &mut OrderSeen, kind: ChangeKind) {
        order.etag = next(&order.etag);
        self.tell(kind, order);
        self.orders.insert(order.name.clone(), order.clone());
    }

    /// Why there is not enough for it.
    fn lacks(&self, order: &OrderSeen, before: &Life, after: &Life) -> Option<Outcome> {
        let lines = before.lines.iter().zip(&after.lines).enumerate();
        let more: Vec<_> = lines
            .map(|(at, (was, is))| (at, is.ordered - was.ordered))
            .collect();
        let costs: i64 = more
            .iter()
            .map(|(at, many)| order.lines[*at].unit_price * many)
            .sum();
        let available = self.customers[&order.customer].available;
        if costs > 0 && costs > available {
            return Some(refused("INSUFFICIENT_CREDIT", "", &[("available", available)]));
        }
        let short = each_item(&order.lines, more)
            .into_iter()
            .find(|(item, many)| *many > 0 && *many > self.items[*item].available)?;
        let figures = [("available", self.items[short.0].available)];
        Some(refused("INSUFFICIENT_STOCK", short.0, &figures))
    }

    fn moves(&mut self, order: &OrderSeen, before: &Life, after: &Life) {
        let back = after.put_back().into_iter().zip(before.put_back());
        let back: Vec<i64> = back.map(|(after, before)| after - before).collect();
        let customer = self.customers.get_mut(&order.customer).unwrap();
        for (at, line) in order.lines.iter().enumerate() {
            let (was, is) = (before.lines[at], after.lines[at]);
            let (sent, open) = (is.shipped - was.shipped, is.open() - was.open());
            let item = self.items.get_mut(&line.item).unwrap();
            item.on_hand += back[at] - sent;
            item.reserved += open;
            item.available = item.on_hand - item.reserved;
            customer.balance -= sent * line.unit_price;
            customer.held += open * line.unit_price;
        }
        customer.balance += after.refunded() - before.refunded();
        customer.available = customer.balance + customer.credit_limit - customer.held;
    }
}

fn kind_of(deed: Option<&Deed>, phase: Phase) -> ChangeKind {
    match deed {
        None | Some(Deed::CancelLines(_)) if phase == Phase::Cancelled => ChangeKind::Cancelled,
        None | Some(Deed::CancelLines(_)) => ChangeKind::LinesCancelled,
        Some(Deed::Hold(_) | Deed::Release(_)) => ChangeKind::Holds,
        Some(Deed::Ship(_) | Deed::ShipPlanned(_)) => ChangeKind::Shipped,
        // No client of a history plans anything.
        Some(Deed::Plan(_) | Deed::GiveUp(_)) => ChangeKind::Odd,
        Some(Deed::Deliver(_)) => ChangeKind::Delivered,
        Some(Deed::Edit(_)) => ChangeKind::Edited,
        Some(Deed::Return(_) | Deed::Move(..)) => ChangeKind::Returns,
        Some(Deed::Refund(_)) => ChangeKind::Refunded,
    }
}

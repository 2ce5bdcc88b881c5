//! What an order knows of what its items have promised it and do not have yet.
//!
//! An item says how much of its promise waits with each answer to a question, and when it is asked for that alone. What it says is recorded
//! behind the event that the answers lead to (the confirmation, an edit), or before a shipment for which they were asked. Stock that comes in is
//! heard of later, or before something is to be sent. So an order believes as much to wait as does, or more:
//!
//! - what waits of its promise becomes more only by a question for more, and the answer to that is recorded with what came of it;
//! - what is called off is taken off what waits first, here as by the item, and what is sent is none of it.

use super::{Order, OrderCommand, OrderEvent, OrderState, editing, planning};
use crate::{
    BACKORDER_NEWS_MAX, BackorderNews, Broken, Decision, LineQuantity, Quantity, Rejection, Sku, Time,
    backorder::BACKORDER_LOOKS_MAX, money::QUANTITY_MAX,
};

/// What an order makes of what some of its items say that it waits for.
pub(super) fn hear(order: &Order, waiting: &[(Sku, Quantity)]) -> Decision<OrderEvent> {
    let event = order.is_heard().then(|| order.news_of(waiting)).flatten();
    let is_told = |event: &OrderEvent| match event {
        // The last of it is always told.
        OrderEvent::BackorderFilled { lines } if lines.is_empty() => true,
        _ => order.backorder_news().len() < BACKORDER_LOOKS_MAX,
    };
    event
        .filter(is_told)
        .map_or_else(Decision::nothing, Decision::event)
}

/// What is told of waiting behind an event that the items' answers lead to; `None` where nothing of it is new.
pub(super) fn behind(
    order: &Order,
    event: &OrderEvent,
    answers: &[(Sku, Result<Quantity, Rejection>)],
) -> Option<OrderEvent> {
    let waiting = |(sku, answer): &(Sku, Result<Quantity, Rejection>)| {
        let waiting = *answer.as_ref().ok()?;
        Some((sku.clone(), waiting))
    };
    let waits = |(_, answer): &(Sku, Result<Quantity, Rejection>)| {
        answer.as_ref().is_ok_and(|waiting| *waiting > Quantity::ZERO)
    };
    if order.backorder_news().is_empty() && !answers.iter().any(waits) {
        return None;
    }
    let mut then = order.clone();
    then.evolve(event, order.updated).ok()?;
    let waiting: Vec<_> = answers.iter().filter_map(waiting).collect();
    then.news_of(&waiting)
}

/// What of the lines that are meant can be sent: these, or where none is named what is free and there.
pub(super) fn sendable(order: &Order, lines: &[LineQuantity]) -> Result<Box<[LineQuantity]>, Rejection> {
    let meant = planning::free(order, lines)?;
    if order.backorder_news().is_empty() {
        return Ok(meant);
    }
    if !lines.is_empty() {
        return all_there(order, &meant).map(|()| meant);
    }
    let there = order.there_quantities();
    let of_it = |it: &LineQuantity| {
        let there = there.get(usize::from(it.line)).copied().unwrap_or_default();
        LineQuantity {
            line: it.line,
            quantity: it.quantity.min(there),
        }
    };
    let some: Box<[_]> = meant.iter().map(of_it).filter(|it| it.quantity.0 > 0).collect();
    match (some.is_empty(), meant.first()) {
        (true, Some(first)) => Err(Rejection::QuantityBackordered {
            line: first.line,
            wanted: first.quantity,
            there: Quantity::ZERO,
        }),
        _ => Ok(some),
    }
}

/// Refuses what is not there yet.
pub(super) fn all_there(order: &Order, lines: &[LineQuantity]) -> Result<(), Rejection> {
    if order.backorder_news().is_empty() {
        return Ok(());
    }
    let there = order.there_quantities();
    for &LineQuantity { line, quantity } in lines {
        let there = there.get(usize::from(line)).copied().unwrap_or_default();
        if quantity > there {
            return Err(Rejection::QuantityBackordered {
                line,
                wanted: quantity,
                there,
            });
        }
    }
    Ok(())
}

/// Whether an order is to ask its items what it waits for before it answers a command: with what it knows it would send less, or nothing.
pub fn asks_first(order: &Order, command: &OrderCommand) -> bool {
    let is_of_all = match command {
        OrderCommand::Ship { lines, .. } => lines.is_empty(),
        OrderCommand::ShipFulfilment { .. } => false,
        _ => return false,
    };
    if !order.is_backordered() {
        return false;
    }
    match super::decide(Some(order), command) {
        Ok(_) => is_of_all,
        Err(rejection) => matches!(rejection, Rejection::QuantityBackordered { .. }),
    }
}

impl Order {
    /// What it heard of what it waits for, in the order in which it did.
    pub fn backorder_news(&self) -> &[BackorderNews] {
        self.life.as_ref().map_or(&[], |life| &life.backorders)
    }

    /// Whether it waits for anything, as far as it has heard.
    pub fn is_backordered(&self) -> bool {
        !self.backorder_news().is_empty() && self.backordered_quantities().iter().any(|waiting| waiting.0 > 0)
    }

    /// How much of each line waits, as far as it has heard: of what is open, and no less than really does.
    pub fn backordered_quantities(&self) -> Vec<Quantity> {
        match self.backorder_news().last() {
            None => vec![Quantity::ZERO; self.lines.len()],
            Some(_) => self.spread(self.known_waiting()),
        }
    }

    /// How much of an item it waits for, as far as it has heard.
    pub fn backordered_of(&self, sku: &Sku) -> Quantity {
        if self.backorder_news().is_empty() {
            return Quantity::ZERO;
        }
        let waiting = self.backordered_quantities();
        let of_it = self
            .lines
            .iter()
            .zip(waiting)
            .filter(|(line, _)| line.sku == *sku);
        of_it.map(|(_, waiting)| waiting).sum()
    }

    /// The items that it waits for, each once, as far as it has heard.
    pub fn backordered_items(&self) -> Vec<Sku> {
        let mut items: Vec<Sku> = Vec::new();
        for (line, waiting) in self.lines.iter().zip(self.backordered_quantities()) {
            if waiting.0 > 0 && !items.contains(&line.sku) {
                items.push(line.sku.clone());
            }
        }
        items
    }

    /// The order with what its items say now, as it has to be to decide about a command that was sent to it as it is, and what says so; `None`
    /// where it is nothing new.
    pub fn hearing(&self, waiting: &[(Sku, Quantity)]) -> Option<(OrderEvent, Self)> {
        let event = self.is_heard().then(|| self.news_of(waiting)).flatten()?;
        let mut then = self.clone();
        then.evolve(&event, self.updated).ok()?;
        then.version = self.version;
        Some((event, then))
    }

    /// Whether it hears of what it waits for: nothing is asked of its items for which that matters, and no edit waits that has had them promise more.
    fn is_heard(&self) -> bool {
        let is_open = matches!(
            self.state,
            OrderState::Authorizing | OrderState::Confirmed | OrderState::PartiallyFulfilled
        );
        is_open && self.is_quiet()
    }

    /// How much of each line that is open is there.
    fn there_quantities(&self) -> Vec<Quantity> {
        let open = self.open_quantities().into_iter();
        open.zip(self.backordered_quantities())
            .map(|(open, waiting)| Quantity(open.0.saturating_sub(waiting.0)))
            .collect()
    }

    /// How much of each item waits: what was heard last, without what was called off or edited away since, as its item has it.
    fn known_waiting(&self) -> Vec<(Sku, i64)> {
        let mut waiting: Vec<(Sku, i64)> = Vec::new();
        let Some(last) = self.backorder_news().last() else {
            return waiting;
        };
        let mut add = |sku: &Sku, more: i64| match waiting.iter_mut().find(|(of, _)| of == sku) {
            Some((_, sum)) => *sum = sum.saturating_add(more),
            None => waiting.push((sku.clone(), more)),
        };
        let sku_of = |it: &LineQuantity| self.lines.get(usize::from(it.line)).map(|line| &line.sku);
        for it in &last.lines {
            if let Some(sku) = sku_of(it) {
                add(sku, it.quantity.0);
            }
        }
        let since = |version| version > last.heard.version;
        let gone = self
            .cancellations()
            .iter()
            .filter(|it| since(it.cancelled.version));
        for it in gone.flat_map(|it| &it.lines) {
            if let Some(sku) = sku_of(it) {
                add(sku, it.quantity.0.saturating_neg());
            }
        }
        for edit in self.edits().iter().filter(|edit| edit.is_done()) {
            if !edit.ended.as_ref().is_some_and(|end| since(end.at.version)) {
                continue;
            }
            for (sku, less) in editing::less_of(&self.lines, edit) {
                add(&sku, less.saturating_neg());
            }
        }
        waiting
    }

    /// Spreads what waits of each item over its lines: of what is open, the last line's waits first.
    fn spread(&self, mut waiting: Vec<(Sku, i64)>) -> Vec<Quantity> {
        let mut quantities = self.open_quantities();
        for (line, quantity) in self.lines.iter().zip(&mut quantities).rev() {
            let of_item = waiting.iter_mut().find(|(sku, _)| *sku == line.sku);
            let left = of_item.map_or(0, |(_, left)| {
                let here = quantity.0.min((*left).max(0));
                *left -= here;
                here
            });
            *quantity = Quantity(left);
        }
        quantities
    }

    /// What these items' saying changes of what it knows; `None` where nothing.
    fn news_of(&self, answered: &[(Sku, Quantity)]) -> Option<OrderEvent> {
        let known = self.backordered_quantities();
        let mut waiting = self.known_waiting();
        for (sku, now) in answered {
            match waiting.iter_mut().find(|(of, _)| of == sku) {
                Some((_, known)) => *known = now.0,
                None => waiting.push((sku.clone(), now.0)),
            }
        }
        let now = self.spread(waiting);
        if now == known {
            return None;
        }
        let is_less = now.iter().zip(&known).all(|(now, known)| now <= known);
        let lines = now.into_iter().zip(0_u16..).filter(|(waiting, _)| waiting.0 > 0);
        let lines = lines.map(|(quantity, line)| LineQuantity { line, quantity });
        let lines = lines.collect();
        Some(match is_less {
            true => OrderEvent::BackorderFilled { lines },
            false => OrderEvent::Backordered { lines },
        })
    }

    /// Carries an event of what it waits for into the order; `None` where it is none that fits.
    pub(super) fn evolve_backorder(&mut self, event: &OrderEvent, at: Time) -> Option<()> {
        let (lines, filled) = match event {
            OrderEvent::Backordered { lines } => (lines, false),
            OrderEvent::BackorderFilled { lines } => (lines, true),
            _ => return None,
        };
        let is_open = matches!(
            self.state,
            OrderState::Authorizing | OrderState::Confirmed | OrderState::PartiallyFulfilled
        );
        let is_whole = are_sorted(lines) && (filled || !lines.is_empty());
        if !is_open || !is_whole || self.backorder_news().len() >= BACKORDER_NEWS_MAX {
            return None;
        }
        let (open, known) = (self.open_quantities(), self.backordered_quantities());
        let bound = if filled { &known } else { &open };
        let of = |quantities: &[Quantity], it: &LineQuantity| quantities.get(usize::from(it.line)).copied();
        if !lines
            .iter()
            .all(|it| of(bound, it).is_some_and(|most| it.quantity <= most))
        {
            return None;
        }
        let is_known = |(known, line): (&Quantity, u16)| {
            let now = lines.iter().find(|it| it.line == line);
            now.map_or(Quantity::ZERO, |it| it.quantity) == *known
        };
        if known.iter().zip(0..).all(is_known) {
            return None;
        }
        let news = BackorderNews {
            lines: lines.clone(),
            filled,
            heard: self.stamp(at, None),
        };
        self.life.get_or_insert_default().backorders.push(news);
        Some(())
    }

    /// Checks the invariants of what it heard.
    pub(super) fn validate_backorders(&self) -> Result<(), Broken> {
        let news = self.backorder_news();
        let Some(first) = news.first() else { return Ok(()) };
        let broken = |why| Err(Broken::new(self.id, why));
        if news.len() > BACKORDER_NEWS_MAX {
            return broken("it has heard too often of what it waits for");
        }
        if first.filled || self.state == OrderState::Pending {
            return broken("it has heard of what it waits for before it waited");
        }
        let are_lines = |it: &BackorderNews| {
            let is_there = |it: &LineQuantity| usize::from(it.line) < self.lines.len();
            are_sorted(&it.lines) && it.lines.iter().all(is_there) && (it.filled || !it.lines.is_empty())
        };
        match news.iter().all(are_lines) {
            true => Ok(()),
            false => broken("it waits for what it has not ordered"),
        }
    }

    /// Whether it is as it was when it was confirmed, and nothing came since.
    pub fn is_as_confirmed(&self) -> bool {
        if self.state != OrderState::Confirmed {
            return false;
        }
        let Some(life) = &self.life else {
            // Placed, and reserved where a provider was to authorise its payment.
            return self.version.0 == if self.needs_authorization() { 3 } else { 2 };
        };
        match self.payment_steps().first() {
            Some(authorized) => authorized
                .outcome
                .as_ref()
                .is_some_and(|(_, stamp)| stamp.version == self.version),
            // What waits is told with it.
            None => self.version.0 == 3 && life.backorders.len() == 1,
        }
    }
}

/// Whether some quantities are each of a line of its own, in their order, and of something.
fn are_sorted(lines: &[LineQuantity]) -> bool {
    let is_sorted = lines.windows(2).all(|two| two[0].line < two[1].line);
    is_sorted && lines.iter().all(|it| (1..=QUANTITY_MAX).contains(&it.quantity.0))
}

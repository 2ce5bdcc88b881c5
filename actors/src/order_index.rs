//! A shard's orders by their state, each in one set of ids, so that no list of any state walks over orders of another.
//!
//! ```text
//!   pending ── authorizing ── confirmed ── partially fulfilled ── fulfilled ── cancelled ── rejected ── expired ── closed   every order is in exactly one
//!             │              └────────────────────── releasing ──────────────────────────────────────────┘    of these, the ones that still give stock back
//!             │              └────────────── held ──────────────┘                                             the ones that are held now
//!             └────────────────────── backordered ──────────────┘                                             the ones of which something waits for stock
//!             └───────────────────────────── paying, declined ───────────────────────────────────────────┘    the ones whose provider is to be asked something, or has declined it
//!                            amending                                                                            those whose edit waits for their provider
//!   unpaid                                                                                                    the ones whose payment has failed
//!             └────────────── planned ────────────┘                                                           the ones that somebody is to send some of
//! ```
//!
//! That is 16 bytes an order, and little more: few are in one of the others.

use std::ops::Range;

use docket_engine::{Order, OrderFilter, OrderId, OrderState, PaymentState};

use crate::{
    OrderCounts,
    id_map::{IdMap, IdSet},
};

const STATES: [OrderState; 9] = [
    OrderState::Pending,
    OrderState::Authorizing,
    OrderState::Confirmed,
    OrderState::PartiallyFulfilled,
    OrderState::Fulfilled,
    OrderState::Cancelled,
    OrderState::Rejected,
    OrderState::Expired,
    OrderState::Closed,
];

/// The ids of a shard's orders, by state.
#[derive(Default)]
pub(crate) struct OrderIndex {
    by_state: [IdSet; STATES.len()],
    /// Not pending, and not settled: what they release, or have shipped, is still to be asked of items.
    releasing: IdSet,
    /// Their provider is to be asked something.
    paying: IdSet,
    /// Their provider has declined something, and a person is to look.
    declined: IdSet,
    /// Their edit waits for their provider.
    amending: IdSet,
    /// Held now, for whatever reason.
    held: IdSet,
    /// Some of them waits for stock, as far as they know.
    backordered: IdSet,
    /// Their payment has failed.
    unpaid: IdSet,
    /// Somebody has taken some of them upon itself, and not sent it yet.
    planned: IdSet,
    /// Of each of these: how many of its fulfilments are open.
    plans: IdMap<u32>,
    /// All of those together.
    plans_len: usize,
}

/// Some of an index's sets, each order in at most one of them.
pub(crate) struct Sets<'a>(Vec<&'a IdSet>);

impl OrderIndex {
    /// Puts a new order in.
    pub(crate) fn insert(&mut self, order: &Order) {
        self.by_state[order.state as usize].insert(order.id, ());
        self.mark(order);
    }

    /// Puts an order where it belongs now, which was in another state before.
    pub(crate) fn change(&mut self, from: OrderState, order: &Order) {
        if from != order.state {
            self.by_state[from as usize].remove(order.id);
            self.by_state[order.state as usize].insert(order.id, ());
        }
        self.mark(order);
    }

    /// Takes an order out of all.
    pub(crate) fn remove(&mut self, order: &Order) {
        self.by_state[order.state as usize].remove(order.id);
        for set in [
            &mut self.releasing,
            &mut self.paying,
            &mut self.declined,
            &mut self.amending,
            &mut self.held,
            &mut self.backordered,
            &mut self.unpaid,
            &mut self.planned,
        ] {
            set.remove(order.id);
        }
        self.plan(order.id, 0);
    }

    /// Adds the ids of the oldest orders in a state, behind this one and below that, oldest first, at most so many.
    pub(crate) fn oldest(
        &self,
        state: OrderState,
        (behind, below): (Option<OrderId>, OrderId),
        most: usize,
        ids: &mut Vec<OrderId>,
    ) {
        let set = self.by_state[state as usize].above(behind).map(|(id, ())| id);
        ids.extend(set.take_while(|id| *id < below).take(most));
    }

    /// Puts it into the sets of few where it belongs, and takes it out of the others.
    fn mark(&mut self, order: &Order) {
        let open = plans(order);
        for (is_in, set) in [
            (is_releasing(order), &mut self.releasing),
            (is_held(order), &mut self.held),
            (is_unpaid(order), &mut self.unpaid),
            (open > 0, &mut self.planned),
        ] {
            match is_in {
                true => set.insert(order.id, ()),
                false => set.remove(order.id),
            }
        }
        // Of most orders nothing ever waited.
        if !order.backorder_news().is_empty() {
            match order.is_backordered() {
                true => self.backordered.insert(order.id, ()),
                false => self.backordered.remove(order.id),
            }
        }
        self.plan(order.id, open);
        if order.provider.is_some() {
            for (is_in, set) in [
                (is_paying(order), &mut self.paying),
                (is_declined(order), &mut self.declined),
                (is_amending(order), &mut self.amending),
            ] {
                match is_in {
                    true => set.insert(order.id, ()),
                    false => set.remove(order.id),
                }
            }
        }
    }

    /// So many fulfilments of an order are open now.
    fn plan(&mut self, id: OrderId, open: u32) {
        let before = self.plans.get(id).unwrap_or_default();
        match open {
            open if open == before => return,
            0 => self.plans.remove(id),
            open => self.plans.insert(id, open),
        }
        self.plans_len = self.plans_len - before as usize + open as usize;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many orders are in one of these states; in any, where none is named.
    pub(crate) fn count(&self, states: &[OrderState]) -> usize {
        self.sets(states).map(IdSet::len).sum()
    }

    /// Adds how many orders are in which set.
    pub(crate) fn add_to(&self, counts: &mut OrderCounts) {
        if counts.by_state.is_empty() {
            counts.by_state.extend(STATES.map(|state| (state, 0)));
        }
        for (set, (_, count)) in self.by_state.iter().zip(&mut counts.by_state) {
            *count += set.len() as u64;
        }
        for (set, count) in [
            (&self.held, &mut counts.held),
            (&self.backordered, &mut counts.backordered),
            (&self.unpaid, &mut counts.unpaid),
            (&self.declined, &mut counts.declined),
            (&self.paying, &mut counts.paying),
            (&self.releasing, &mut counts.releasing),
            (&self.planned, &mut counts.planned),
        ] {
            *count += set.len() as u64;
        }
    }

    /// The fewest orders among which all are that a filter may want, where those in any but these states (in any, where none is named)
    /// are not wanted.
    pub(crate) fn narrowest(&self, filter: &OrderFilter, states: &[OrderState]) -> Sets<'_> {
        let by_state = Sets(self.sets(states).collect());
        let held = (!filter.holds.is_empty()).then(|| Sets(vec![&self.held]));
        let unpaid = (filter.payments == [PaymentState::Failed]).then(|| Sets(vec![&self.unpaid]));
        let planned = filter.planned_before.map(|_| Sets(vec![&self.planned]));
        let narrower = held.into_iter().chain(unpaid).chain(planned);
        narrower.fold(
            by_state,
            |best, sets| if sets.len() < best.len() { sets } else { best },
        )
    }

    /// Adds the ids of the oldest orders behind this one and up to `until`, oldest first, at most so many.
    pub(crate) fn above(&self, behind: Option<OrderId>, until: OrderId, most: usize, ids: &mut Vec<OrderId>) {
        let begin = ids.len();
        for set in self.sets(&[]) {
            let set = set.above(behind).map(|(id, ())| id);
            ids.extend(set.take_while(|id| *id <= until).take(most));
        }
        // Runs that are sorted already.
        ids[begin..].sort();
        ids.truncate(begin + most);
    }

    /// Adds the ids of the oldest orders behind this one that are in one of the sets of few, oldest first and each once, at most so many.
    pub(crate) fn few_above(&self, behind: Option<OrderId>, most: usize, ids: &mut Vec<OrderId>) {
        let begin = ids.len();
        for set in self.few() {
            ids.extend(set.above(behind).map(|(id, ())| id).take(most));
        }
        ids[begin..].sort();
        ids.dedup();
        ids.truncate(begin + most);
    }

    /// Whether an order is in one of those.
    pub(crate) fn is_in_few(&self, id: OrderId) -> bool {
        self.few().iter().any(|set| set.contains(id))
    }

    fn few(&self) -> [&IdSet; 8] {
        let Self {
            by_state: _,
            releasing,
            paying,
            declined,
            amending,
            held,
            backordered,
            unpaid,
            planned,
            // Of the same orders.
            plans: _,
            plans_len: _,
        } = self;
        [
            releasing,
            paying,
            declined,
            amending,
            held,
            backordered,
            unpaid,
            planned,
        ]
    }

    /// The newest order; 0 where there is none.
    pub(crate) fn newest(&self) -> OrderId {
        let newest = self.sets(&[]).filter_map(IdSet::last).max();
        newest.unwrap_or(OrderId(0))
    }

    /// Orders that are not settled.
    pub(crate) fn open(&self) -> impl Iterator<Item = OrderId> {
        let pending = &self.by_state[OrderState::Pending as usize];
        pending.iter().chain(self.releasing.iter()).map(|(id, ())| id)
    }

    /// How many orders are not settled.
    pub(crate) fn open_len(&self) -> usize {
        self.by_state[OrderState::Pending as usize].len() + self.releasing.len()
    }

    /// How many orders of a state have ids below this one, counted up to so many, and which of the state is the oldest.
    pub(crate) fn waiting(&self, state: OrderState, below: OrderId, most: usize) -> (usize, Option<OrderId>) {
        let mut ids = self.by_state[state as usize].iter().map(|(id, ())| id);
        let oldest = ids.next();
        let older = oldest
            .into_iter()
            .chain(ids)
            .take_while(|id| *id < below)
            .take(most);
        (older.count(), oldest)
    }

    /// Orders behind this one whose provider is to be asked something, oldest first.
    pub(crate) fn paying(&self, behind: Option<OrderId>) -> impl Iterator<Item = OrderId> {
        self.paying.above(behind).map(|(id, ())| id)
    }

    /// Orders whose payment is to be authorised, oldest first.
    pub(crate) fn authorizing(&self) -> impl Iterator<Item = OrderId> {
        let authorizing = &self.by_state[OrderState::Authorizing as usize];
        authorizing.iter().map(|(id, ())| id)
    }

    /// Orders behind this one whose edit waits for their provider.
    pub(crate) fn amending(&self, behind: Option<OrderId>) -> impl Iterator<Item = OrderId> {
        self.amending.above(behind).map(|(id, ())| id)
    }

    /// Whether an order's provider is to be asked something.
    pub(crate) fn is_paying(&self, id: OrderId) -> bool {
        self.paying.contains(id)
    }

    /// How many those are.
    pub(crate) fn paying_len(&self) -> usize {
        self.paying.len()
    }

    /// How many wait for a person to look at what their provider has declined.
    pub(crate) fn declined_len(&self) -> usize {
        self.declined.len()
    }

    /// Adds the ids of the oldest orders behind this one of which something waits for stock, oldest first, at most so many.
    pub(crate) fn backordered(&self, behind: Option<OrderId>, most: usize, ids: &mut Vec<OrderId>) {
        let waiting = self.backordered.above(behind).map(|(id, ())| id);
        ids.extend(waiting.take(most));
    }

    /// How many fulfilments are open: somebody is to send them.
    pub(crate) fn plans_len(&self) -> usize {
        self.plans_len
    }

    /// Whether an order is exactly where it belongs.
    pub(crate) fn agrees_on(&self, order: &Order) -> bool {
        STATES
            .into_iter()
            .all(|state| self.by_state[state as usize].contains(order.id) == (state == order.state))
            && self.releasing.contains(order.id) == is_releasing(order)
            && self.paying.contains(order.id) == is_paying(order)
            && self.declined.contains(order.id) == is_declined(order)
            && self.amending.contains(order.id) == is_amending(order)
            && self.held.contains(order.id) == is_held(order)
            && self.backordered.contains(order.id) == order.is_backordered()
            && self.unpaid.contains(order.id) == is_unpaid(order)
            && self.planned.contains(order.id) == (plans(order) > 0)
            && self.plans.get(order.id).unwrap_or_default() == plans(order)
    }

    fn sets(&self, states: &[OrderState]) -> impl Iterator<Item = &IdSet> {
        let wanted = move |state: &OrderState| states.is_empty() || states.contains(state);
        STATES
            .into_iter()
            .filter(wanted)
            .map(|state| &self.by_state[state as usize])
    }
}

fn is_declined(order: &Order) -> bool {
    order.provider.is_some() && order.declined_payments().next().is_some()
}

fn is_amending(order: &Order) -> bool {
    order.open_edit().is_some() && order.awaits_authorization().is_some()
}

fn is_paying(order: &Order) -> bool {
    order.provider.is_some() && order.next_payment().is_some()
}

impl Sets<'_> {
    /// How many orders are in them.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|set| set.len()).sum()
    }

    /// The newest of them in a range of ids, newest first, at most so many.
    pub(crate) fn newest(&self, range: &Range<OrderId>, most: usize) -> Vec<OrderId> {
        let mut ids = Vec::new();
        for set in &self.0 {
            ids.extend(newest(set, range, most));
        }
        if self.0.len() > 1 {
            ids.sort_unstable_by(|a, b| b.cmp(a));
            ids.truncate(most);
        }
        ids
    }
}

/// The newest of a set in a range of ids, newest first, at most so many.
pub(crate) fn newest(set: &IdSet, range: &Range<OrderId>, most: usize) -> impl Iterator<Item = OrderId> {
    let from = range.start;
    set.below(range.end).take_while(move |id| *id >= from).take(most)
}

fn is_held(order: &Order) -> bool {
    order.life.is_some() && order.active_holds().next().is_some()
}

/// How many of its fulfilments are open.
fn plans(order: &Order) -> u32 {
    let open = order.fulfilments().iter().filter(|it| it.is_open()).count();
    // There are far fewer.
    u32::try_from(open).unwrap_or(u32::MAX)
}

fn is_unpaid(order: &Order) -> bool {
    // Told without its figures of nearly every order: who paid it on account has what it costs.
    let is_held = order.state == OrderState::Confirmed && order.provider.is_none();
    !is_held && order.payment().state == PaymentState::Failed
}

fn is_releasing(order: &Order) -> bool {
    order.state != OrderState::Pending && !order.is_settled()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use docket_engine::{
        Amount, CustomerId, Line, LineQuantity, OrderEvent, Quantity, Sku, Time, access::Username,
    };

    use super::*;

    #[test]
    fn open_fulfilments_are_counted_and_their_orders_found_until_they_are_sent_or_given_up() {
        let by = || Username::new("shop").unwrap();
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(5),
                unit_price: Amount(1),
            }]),
            provider: None,
        };
        let opened = OrderEvent::FulfilmentOpened {
            lines: [LineQuantity {
                line: 0,
                quantity: Quantity(1),
            }]
            .into(),
            by: by(),
        };
        let given_up = OrderEvent::FulfilmentCancelled {
            fulfilment: 1,
            by: by(),
        };
        let sent = OrderEvent::FulfilmentShipped {
            fulfilment: 2,
            carrier: "".into(),
            tracking: "".into(),
            by: by(),
        };
        let mut index = OrderIndex::default();
        let mut order = Order::create(OrderId(7), &placed, Time(1)).unwrap();
        index.insert(&order);
        let wanted = OrderFilter {
            planned_before: Some(Time(9)),
            ..OrderFilter::default()
        };
        let steps = [
            (OrderEvent::Confirmed, 0),
            (opened.clone(), 1),
            (opened, 2),
            (given_up, 1),
            (sent, 0),
        ];
        for (event, open) in steps {
            let from = order.state;
            order.evolve(&event, Time(2)).unwrap();
            index.change(from, &order);
            assert_eq!(index.plans_len(), open, "{event:?}");
            let few = index
                .narrowest(&wanted, &[])
                .newest(&(OrderId(0)..OrderId(99)), 9);
            let there = if open > 0 { vec![order.id] } else { Vec::new() };
            assert_eq!(few, there, "{event:?}");
            assert_eq!(
                index.is_in_few(order.id),
                open > 0 || is_releasing(&order),
                "{event:?}"
            );
            assert!(index.agrees_on(&order), "{event:?}");
        }
        let mut other = OrderIndex::default();
        order.evolve(&OrderEvent::Consumed, Time(3)).unwrap();
        other.insert(&order);
        other.remove(&order);
        assert_eq!((other.plans_len(), other.newest()), (0, OrderId(0)));
    }
}

//! Which orders are asked for: conditions, all of which an order has to meet.

use crate::{CustomerId, HoldReason, Order, OrderId, OrderState, PaymentState, Sku, Time};

/// So long after its id was chosen an order is placed at most: whoever waits for one has given up long before. In milliseconds.
pub const PLACED_WITHIN_MS: u64 = 60_000;

/// Which orders are asked for. What is empty asks for nothing in particular.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Only this customer's.
    pub customer: Option<CustomerId>,
    /// Only in one of these states.
    pub states: Vec<OrderState>,
    /// Only placed at this time or later.
    pub placed_from: Option<Time>,
    /// Only placed before this time.
    pub placed_before: Option<Time>,
    /// Only with a line of this item.
    pub item: Option<Sku>,
    /// Only held now, for one of these reasons.
    pub holds: Vec<HoldReason>,
    /// Only where their money stands in one of these ways.
    pub payments: Vec<PaymentState>,
    /// Only with a fulfilment that is open, and was planned before this time.
    pub planned_before: Option<Time>,
}

impl OrderFilter {
    /// Whether an order may be asked for, by what never changes of it.
    pub fn may_want(&self, order: &Order) -> bool {
        self.customer.as_ref().is_none_or(|id| *id == order.customer)
            && self.placed_from.is_none_or(|from| from <= order.created)
            && self.placed_before.is_none_or(|before| order.created < before)
            && (self.item.as_ref()).is_none_or(|sku| order.lines.iter().any(|line| line.sku == *sku))
    }

    /// Whether an order is asked for, as it is now.
    pub fn wants(&self, order: &Order) -> bool {
        let is_planned = |before: Time| {
            let mut open = order.fulfilments().iter().filter(|it| it.is_open());
            open.any(|it| it.opened.as_ref().is_some_and(|opened| opened.at < before))
        };
        let is_held = || order.active_holds().any(|hold| self.holds.contains(&hold.reason));
        self.may_want(order)
            && (self.states.is_empty() || self.states.contains(&order.state))
            && (self.holds.is_empty() || is_held())
            && (self.payments.is_empty() || self.payments.contains(&order.payment().state))
            && self.planned_before.is_none_or(is_planned)
    }

    /// All that are asked for have an id below this one; `None` where any may.
    pub fn ids_below(&self) -> Option<OrderId> {
        // An id is chosen before its order is placed.
        let last_us = self
            .placed_before?
            .0
            .checked_sub(1)
            .and_then(|us| u64::try_from(us).ok());
        Some(last_us.map_or(OrderId(0), |us| first_of(us / 1_000 + 1)))
    }

    /// All that are asked for have this id or a higher one.
    pub fn ids_from(&self) -> OrderId {
        let from_us = self.placed_from.and_then(|from| u64::try_from(from.0).ok());
        let from_ms = from_us.map_or(0, |us| us / 1_000);
        first_of(from_ms.saturating_sub(PLACED_WITHIN_MS))
    }

    /// Whether there is more to it than a customer and states.
    pub fn is_detailed(&self) -> bool {
        let Self {
            customer: _,
            states: _,
            placed_from,
            placed_before,
            item,
            holds,
            payments,
            planned_before,
        } = self;
        placed_from.is_some()
            || placed_before.is_some()
            || item.is_some()
            || !holds.is_empty()
            || !payments.is_empty()
            || planned_before.is_some()
    }
}

/// The first id of a millisecond; ids have no later one than that of 48 bits.
fn first_of(ms: u64) -> OrderId {
    OrderId::compose(ms.min((1 << 48) - 1), 0, 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Amount, Line, LineQuantity, OrderEvent, Quantity, Rejection, access::Username};

    const PLACED: Time = Time(1_795_000_000_123_456);

    fn placed() -> Order {
        let line = |sku: &str| Line {
            sku: Sku::new(sku).unwrap(),
            quantity: Quantity(2),
            unit_price: Amount(350),
        };
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([line("tea"), line("jam")]),
            provider: None,
        };
        Order::create(OrderId::compose(1_795_000_000_123, 7, 1), &placed, PLACED).unwrap()
    }

    fn held() -> Order {
        let mut order = placed();
        order.evolve(&OrderEvent::Confirmed, PLACED).unwrap();
        let held = OrderEvent::Held {
            reason: HoldReason::Address,
            note: "".into(),
            by: Username::new("shop").unwrap(),
        };
        order.evolve(&held, PLACED).unwrap();
        order
    }

    /// One whose first plan was given up, and whose second is open since a second after its placing.
    fn planned() -> Order {
        let mut order = placed();
        order.evolve(&OrderEvent::Confirmed, PLACED).unwrap();
        let (by, lines) = (
            Username::new("shop").unwrap(),
            [LineQuantity {
                line: 0,
                quantity: Quantity(1),
            }],
        );
        let opened = OrderEvent::FulfilmentOpened {
            lines: lines.into(),
            by: by.clone(),
        };
        order.evolve(&opened, PLACED).unwrap();
        let given_up = OrderEvent::FulfilmentCancelled { fulfilment: 1, by };
        order.evolve(&given_up, PLACED).unwrap();
        order.evolve(&opened, Time(PLACED.0 + 1_000_000)).unwrap();
        order
    }

    #[test]
    fn what_somebody_took_upon_itself_before_a_time_and_did_not_send_is_found() {
        let before = |micros: i64| OrderFilter {
            planned_before: Some(Time(PLACED.0 + micros)),
            ..OrderFilter::default()
        };
        let mut order = planned();
        assert!(before(1_000_001).wants(&order) && before(1_000_001).is_detailed());
        // It is not older than that; what is older was given up.
        assert!(!before(1_000_000).wants(&order));
        assert!(!before(i64::MAX - PLACED.0).wants(&held()));
        let sent = OrderEvent::FulfilmentShipped {
            fulfilment: 2,
            carrier: "".into(),
            tracking: "".into(),
            by: Username::new("shop").unwrap(),
        };
        order.evolve(&sent, Time(PLACED.0 + 2_000_000)).unwrap();
        assert!(!before(9_000_000).wants(&order));
    }

    fn unpaid() -> Order {
        let mut order = placed();
        let rejected = OrderEvent::Rejected {
            rejection: Box::new(Rejection::InsufficientCredit {
                needed: Amount(1_400),
                available: Amount(0),
            }),
            release: Box::default(),
        };
        order.evolve(&rejected, PLACED).unwrap();
        order
    }

    #[test]
    fn an_order_is_wanted_where_it_meets_every_condition() {
        type Condition = fn(&mut OrderFilter);
        let with = |change: Condition| {
            let mut filter = OrderFilter::default();
            change(&mut filter);
            filter
        };
        let of_ada = |filter: &mut OrderFilter| filter.customer = CustomerId::new("ada").ok();
        let cases: [(Condition, [bool; 3]); 12] = [
            (|_| {}, [true, true, true]),
            (|it| it.customer = CustomerId::new("bob").ok(), [false; 3]),
            (|it| it.states = vec![OrderState::Confirmed], [false, true, false]),
            (|it| it.placed_from = Some(PLACED), [true; 3]),
            (|it| it.placed_from = Some(Time(PLACED.0 + 1)), [false; 3]),
            (|it| it.placed_before = Some(PLACED), [false; 3]),
            (|it| it.placed_before = Some(Time(PLACED.0 + 1)), [true; 3]),
            (|it| it.item = Sku::new("jam").ok(), [true; 3]),
            (|it| it.item = Sku::new("ja").ok(), [false; 3]),
            (
                |it| it.holds = vec![HoldReason::Stock, HoldReason::Address],
                [false, true, false],
            ),
            (|it| it.holds = vec![HoldReason::Stock], [false; 3]),
            (
                |it| it.payments = vec![PaymentState::Failed],
                [false, false, true],
            ),
        ];
        let orders = [placed(), held(), unpaid()];
        for (number, (change, wanted)) in cases.into_iter().enumerate() {
            let mut filter = with(change);
            let found = orders.each_ref().map(|order| filter.wants(order));
            assert_eq!(found, wanted, "{number}");
            if number != 1 {
                of_ada(&mut filter);
                assert_eq!(orders.each_ref().map(|order| filter.wants(order)), wanted);
            }
            let in_range = |order: &Order| {
                order.id >= filter.ids_from() && filter.ids_below().is_none_or(|below| order.id < below)
            };
            let missed = orders
                .iter()
                .find(|order| filter.wants(order) && !in_range(order));
            assert_eq!(missed, None, "{number}: it is wanted, and outside of the range");
        }
        assert!(!with(|it| it.states = vec![OrderState::Pending]).is_detailed());
        assert!(with(|it| it.placed_from = Some(Time(0))).is_detailed());
    }

    #[test]
    fn times_are_ranges_of_ids() {
        let filter = |from: Option<i64>, before: Option<i64>| OrderFilter {
            placed_from: from.map(Time),
            placed_before: before.map(Time),
            ..OrderFilter::default()
        };
        let ms = |ms| OrderId::compose(ms, 0, 0);
        for (before, below) in [
            (None, None),
            (Some(i64::MIN), Some(OrderId(0))),
            (Some(0), Some(OrderId(0))),
            (Some(1), Some(ms(1))),
            (Some(1_000), Some(ms(1))),
            (Some(1_001), Some(ms(2))),
        ] {
            assert_eq!(filter(None, before).ids_below(), below, "{before:?}");
        }
        for (from, first) in [
            (None, OrderId(0)),
            (Some(-1), OrderId(0)),
            (Some(60_000_999), OrderId(0)),
            (Some(61_000_000), ms(1_000)),
        ] {
            assert_eq!(filter(from, None).ids_from(), first, "{from:?}");
        }
    }
}

//! An order that somebody has led on from its placing: what it must be by all that was answered, and what the books have of it.

use std::sync::Arc;

use docket_proto::v1::{self, order::State, payment_step};

use crate::{
    Acknowledged, Basket, Workload,
    history::{
        Phase,
        clients::seen,
        life::{Life, OfLine, ReturnPhase},
    },
    price,
};

/// An order that somebody leads, and nobody else.
#[derive(Clone, Debug)]
pub struct Led {
    /// Says what it asked for.
    pub workload: Arc<Workload>,
    /// The order.
    pub order: Acknowledged,
    /// What became of it since.
    pub life: Life,
    /// Whether a provider pays for it, and its customer's account has nothing to do with it.
    pub by_provider: bool,
    /// Whether it was seen closed: it stays so.
    pub closed: bool,
}

/// What the books have of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// What its customer's account holds for it.
    pub held: i64,
    /// And what was taken and given back for it.
    pub balance: i64,
    /// Of each line: the item, what is reserved of it, and by how much there is more of it.
    pub lines: Vec<(u64, i64, i64)>,
}

impl Led {
    /// One that was just confirmed.
    pub fn new(workload: &Arc<Workload>, order: Acknowledged, by_provider: bool) -> Self {
        let line = |(_, quantity): &(u64, i64)| OfLine {
            ordered: *quantity,
            ..OfLine::default()
        };
        let life = Life {
            lines: workload.basket(order.n).lines.iter().map(line).collect(),
            ..Life::default()
        };
        Self {
            workload: Arc::clone(workload),
            order,
            life,
            by_provider,
            closed: false,
        }
    }

    /// What it asked for.
    pub fn basket(&self) -> Basket {
        self.workload.basket(self.order.n)
    }

    /// The price of each line.
    pub fn prices(&self) -> Vec<i64> {
        let lines = self.basket().lines;
        lines.iter().map(|(item, _)| price(*item)).collect()
    }

    /// What the books have of it.
    pub fn posted(&self) -> Posted {
        let (basket, prices, back) = (self.basket(), self.prices(), self.life.put_back());
        let lines = basket.lines.iter().zip(&self.life.lines).zip(back);
        let on_account = |amount: i64| if self.by_provider { 0 } else { amount };
        Posted {
            held: on_account(self.life.held(&prices)),
            balance: on_account(self.life.refunded() - self.life.captured(&prices)),
            lines: lines
                .map(|(((item, _), line), back)| (*item, line.open(), back - line.shipped))
                .collect(),
        }
    }

    /// Whether it may be closed by itself: all of it was sent, and nothing of it is under way.
    pub fn may_be_closed(&self) -> bool {
        use ReturnPhase::{Approved, Received, Requested};
        let is_open = |phase: ReturnPhase| matches!(phase, Requested | Approved | Received);
        self.life.phase() == Phase::Shipped && !self.life.returns.iter().any(|it| is_open(it.phase))
    }

    /// Looks at it as it is shown, which may be closed by now; how it differs from what it must be, if it does.
    pub fn see(&mut self, order: &v1::Order) -> Option<String> {
        self.closed |= order.state() == State::Closed && self.may_be_closed();
        self.difference(order)
    }

    /// How the order differs from what it must be.
    pub fn difference(&self, order: &v1::Order) -> Option<String> {
        let basket = self.basket();
        let (prices, is_closed) = (self.prices(), order.state() == State::Closed);
        let state = match self.life.phase() {
            Phase::Confirmed => State::Confirmed,
            Phase::PartlyShipped => State::PartiallyFulfilled,
            Phase::Cancelled => State::Cancelled,
            _ if self.closed || is_closed && self.may_be_closed() => State::Closed,
            _ => State::Fulfilled,
        };
        let asked = |(item, _): &(u64, i64)| (self.workload.item_name(*item), price(*item));
        let asked = basket.lines.iter().map(asked);
        let shown = order
            .lines
            .iter()
            .map(|line| (line.item.clone(), line.unit_price));
        let ordered = self.life.lines.iter().zip(&prices);
        let total: i64 = ordered.map(|(line, price)| line.ordered * price).sum();
        let told = [
            ("name", order.name == self.order.name()),
            (
                "customer",
                order.customer == self.workload.customer_name(basket.customer),
            ),
            ("state", order.state() == state),
            ("items", shown.eq(asked)),
            ("total", order.total == total),
            ("life", seen::life(order) == self.life),
            // What a provider was asked it may not have done yet.
            ("money", is_due(order) || self.is_paid(order, &prices)),
        ];
        let (what, _) = told.iter().find(|(_, is_so)| !is_so)?;
        Some(format!(
            "{}: its {what} is not what was answered: it is {order:?}, and must be {state:?} of {total} with {:?}",
            order.name, self.life
        ))
    }

    fn is_paid(&self, order: &v1::Order, prices: &[i64]) -> bool {
        let payment = order.payment.clone().unwrap_or_default();
        let outstanding = payment.authorized - payment.captured - payment.voided;
        let must = (
            self.life.held(prices),
            self.life.captured(prices),
            self.life.refunded(),
        );
        (outstanding, payment.captured, payment.refunded) == must
            && payment.provider.is_empty() != self.by_provider
    }
}

/// Whether a provider is still to do something for an order.
pub fn is_due(order: &v1::Order) -> bool {
    let steps = order.payment.iter().flat_map(|payment| &payment.steps);
    steps
        .into_iter()
        .any(|step| step.state() == payment_step::State::Due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Shape,
        history::life::{Deed, Moved},
    };

    /// An order of two lines, led through these.
    fn led(deeds: &[Deed]) -> Led {
        let workload = Arc::new(Workload::new(Shape::default()).unwrap());
        let order = Acknowledged::new("orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q", 1).unwrap();
        let mut led = Led::new(&workload, order, false);
        // Enough of each for what is asked of them.
        led.life.lines.iter_mut().for_each(|line| line.ordered = 3);
        for deed in deeds {
            led.life = led.life.after(deed, &led.prices()).unwrap();
        }
        led
    }

    /// The same as a server would show it.
    fn shown(led: &Led) -> v1::Order {
        let (basket, life, prices) = (led.basket(), &led.life, led.prices());
        let line = |((item, _), of): (&(u64, i64), &OfLine)| v1::OrderLine {
            item: led.workload.item_name(*item),
            quantity: of.ordered,
            unit_price: price(*item),
            fulfilled_quantity: of.shipped,
            cancelled_quantity: of.cancelled,
            ..v1::OrderLine::default()
        };
        let state = match life.phase() {
            Phase::Confirmed => State::Confirmed,
            Phase::Cancelled => State::Cancelled,
            Phase::PartlyShipped => State::PartiallyFulfilled,
            _ => State::Fulfilled,
        };
        let named = |lines: &[(usize, i64)]| -> Vec<v1::LineQuantity> {
            let line = |(line, quantity): &(usize, i64)| v1::LineQuantity {
                line: *line as i32,
                quantity: *quantity,
            };
            lines.iter().map(line).collect()
        };
        let total: i64 = life
            .lines
            .iter()
            .zip(&prices)
            .map(|(of, price)| of.ordered * price)
            .sum();
        v1::Order {
            name: led.order.name(),
            customer: led.workload.customer_name(basket.customer),
            state: state.into(),
            total,
            lines: basket.lines.iter().zip(&life.lines).map(line).collect(),
            fulfilments: life
                .shipments
                .iter()
                .map(|(lines, _)| v1::Fulfilment {
                    state: v1::fulfilment::State::Shipped.into(),
                    lines: named(lines),
                    ..v1::Fulfilment::default()
                })
                .collect(),
            payment: Some(v1::OrderPayment {
                authorized: total,
                captured: life.captured(&prices),
                voided: total - life.captured(&prices) - life.held(&prices),
                refunded: life.refunded(),
                ..v1::OrderPayment::default()
            }),
            ..v1::Order::default()
        }
    }

    #[test]
    fn what_an_order_takes_is_what_is_open_of_it_and_what_was_sent_and_came_back() {
        let led = led(&[
            Deed::Ship(vec![(0, 2)]),
            Deed::CancelLines(vec![(1, 1)]),
            Deed::Return(vec![(0, 1)]),
            Deed::Move(1, Moved::Approve),
            Deed::Move(1, Moved::Receive),
            Deed::Refund(7),
        ]);
        let (items, prices) = (led.basket().lines, led.prices());
        let posted = Posted {
            held: prices[0] + 2 * prices[1],
            balance: 7 - 2 * prices[0],
            lines: vec![(items[0].0, 1, -1), (items[1].0, 2, 0)],
        };
        assert_eq!(led.posted(), posted);
        let by_provider = Led {
            by_provider: true,
            ..led
        };
        let on_account = by_provider.posted();
        assert_eq!((on_account.held, on_account.balance), (0, 0));
        assert_eq!(on_account.lines, posted.lines);
    }

    #[test]
    fn an_order_that_is_not_what_was_answered_is_told_apart() {
        let sent = led(&[Deed::Ship(vec![(0, 2)])]);
        let good = shown(&sent);
        assert_eq!(sent.difference(&good), None);
        type Wrong = fn(&mut v1::Order);
        let wrongs: [(&str, Wrong); 7] = [
            ("state", |it| it.set_state(State::Confirmed)),
            ("items", |it| it.lines.swap(0, 1)),
            ("total", |it| it.total += 1),
            ("life", |it| it.lines[0].fulfilled_quantity = 1),
            ("life", |it| it.fulfilments.clear()),
            ("money", |it| it.payment.as_mut().unwrap().captured -= 1),
            ("money", |it| it.payment.as_mut().unwrap().provider = "x".into()),
        ];
        for (what, wrong) in wrongs {
            let mut shown = good.clone();
            wrong(&mut shown);
            let told = sent.difference(&shown).unwrap();
            assert!(told.contains(&format!("its {what} is not")), "{what}: {told}");
        }
    }

    #[test]
    fn only_what_was_sent_whole_may_be_closed_and_then_it_stays_so() {
        let mut part = led(&[Deed::Ship(vec![(0, 2)])]);
        let mut closed = shown(&part);
        closed.set_state(State::Closed);
        assert!(part.see(&closed).is_some());
        let all = [Deed::Ship(vec![(0, 3)]), Deed::Ship(vec![(1, 3)])];
        let mut whole = led(&all);
        let mut shown = shown(&whole);
        assert_eq!(whole.see(&shown), None);
        shown.set_state(State::Closed);
        assert_eq!(whole.see(&shown), None);
        shown.set_state(State::Fulfilled);
        assert!(whole.see(&shown).is_some(), "it was closed before");
        let returns = [&all[..], &[Deed::Return(vec![(0, 1)])]].concat();
        assert!(!led(&returns).may_be_closed());
    }
}

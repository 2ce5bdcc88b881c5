//! What becomes of this shop's orders: what the model that is under test makes of them, but for what is wrong.

use docket_proto::v1::{
    Fulfilment, LineQuantity, Order, OrderHold, OrderLine, OrderPayment, OrderRefund, OrderReturn,
    fulfilment, order::State, order_hold, order_return,
};
use docket_soak::history::{
    Phase,
    life::{Life, Named, OfLine, ReturnPhase, ReturnSeen, Sent},
};
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Books, Shop, Wrong};

impl Shop {
    /// Something is asked of an order, which makes of its life what it makes of any.
    pub(super) fn lead(
        &self,
        name: &str,
        request_id: String,
        asked: impl FnOnce(&Life, &[i64]) -> Result<Life, &'static str>,
    ) -> Result<Response<Order>, Status> {
        let mut books = self.books();
        if let Some(answer) = books.answers.get(&request_id) {
            return Ok(Response::new(answer.clone()));
        }
        let Some(order) = books.orders.get(name).cloned() else {
            return Err(Status::not_found("there is none"));
        };
        let prices: Vec<i64> = order.lines.iter().map(|line| line.unit_price).collect();
        let before = books.lives.get(name).cloned().unwrap_or_else(|| life_of(&order));
        let after = asked(&before, &prices).map_err(|reason| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, "docket", []);
            Status::with_error_details(Code::FailedPrecondition, reason, details)
        })?;
        books.post(self.wrong, &order, &before, -1);
        books.post(self.wrong, &order, &after, 1);
        let shown = show(order, &after, &prices);
        books.lives.insert(name.to_owned(), after);
        books.orders.insert(name.to_owned(), shown.clone());
        books.answers.insert(request_id, shown.clone());
        Ok(Response::new(shown))
    }
}

fn life_of(order: &Order) -> Life {
    let line = |line: &OrderLine| OfLine {
        ordered: line.quantity,
        ..OfLine::default()
    };
    Life {
        lines: order.lines.iter().map(line).collect(),
        ..Life::default()
    }
}

pub(super) fn named(lines: &[LineQuantity]) -> Named {
    let lines = lines.iter();
    lines.map(|it| (it.line as usize, it.quantity)).collect()
}

/// The order with this life.
fn show(mut order: Order, life: &Life, prices: &[i64]) -> Order {
    let lines = |named: &Named| -> Vec<LineQuantity> {
        let line = |&(line, quantity): &(usize, i64)| LineQuantity {
            line: line as i32,
            quantity,
        };
        named.iter().map(line).collect()
    };
    for (line, of) in order.lines.iter_mut().zip(&life.lines) {
        line.quantity = of.ordered;
        (line.fulfilled_quantity, line.cancelled_quantity) = (of.shipped, of.cancelled);
    }
    order.total = order
        .lines
        .iter()
        .map(|line| line.quantity * line.unit_price)
        .sum();
    order.set_state(match life.phase() {
        Phase::Confirmed => State::Confirmed,
        Phase::PartlyShipped => State::PartiallyFulfilled,
        Phase::Cancelled => State::Cancelled,
        _ => State::Fulfilled,
    });
    let fulfilment = |(of, sent): &(Named, Sent)| Fulfilment {
        state: match sent {
            Sent::Planned => fulfilment::State::Open,
            Sent::GivenUp => fulfilment::State::Cancelled,
            Sent::There => fulfilment::State::Delivered,
            _ => fulfilment::State::Shipped,
        }
        .into(),
        lines: lines(of),
        ..Fulfilment::default()
    };
    let back = |it: &ReturnSeen| OrderReturn {
        state: match it.phase {
            ReturnPhase::Approved => order_return::State::Approved,
            ReturnPhase::Declined => order_return::State::Declined,
            ReturnPhase::Received => order_return::State::Received,
            ReturnPhase::Closed => order_return::State::Closed,
            _ => order_return::State::Requested,
        }
        .into(),
        lines: lines(&it.lines),
        restocked: it.restocked,
        ..OrderReturn::default()
    };
    let hold = |reason: &String| OrderHold {
        reason: order_hold::Reason::from_str_name(reason).unwrap().into(),
        ..OrderHold::default()
    };
    let refund = |amount: &i64| OrderRefund {
        amount: *amount,
        ..OrderRefund::default()
    };
    let captured = life.captured(prices);
    Order {
        fulfilments: life.shipments.iter().map(fulfilment).collect(),
        returns: life.returns.iter().map(back).collect(),
        holds: life.holds.iter().map(hold).collect(),
        refunds: life.refunds.iter().map(refund).collect(),
        payment: Some(OrderPayment {
            authorized: captured + life.held(prices),
            captured,
            refunded: life.refunded(),
            ..OrderPayment::default()
        }),
        ..order
    }
}

impl Books {
    /// What a life takes of stock and money.
    fn post(&mut self, wrong: Wrong, order: &Order, life: &Life, sign: i64) {
        let prices: Vec<i64> = order.lines.iter().map(|line| line.unit_price).collect();
        let customer = self.customers.get_mut(&order.customer).unwrap();
        customer.held += sign * life.held(&prices);
        let refunded = match wrong {
            Wrong::ForgetsRefunds => 0,
            _ => life.refunded(),
        };
        customer.balance += sign * (refunded - life.captured(&prices));
        let lines = order.lines.iter().zip(&life.lines).zip(life.put_back());
        for ((line, of), back) in lines {
            let item = self.items.get_mut(&line.item).unwrap();
            item.reserved += sign * of.open();
            let sent = match wrong {
                Wrong::KeepsWhatIsSent => 0,
                _ => of.shipped,
            };
            item.on_hand += sign * (back - sent);
        }
    }
}

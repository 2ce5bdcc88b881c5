//! What the requests for orders and for bookings do to items and customers.

use super::{
    super::{
        models::account::{self, ForNow, LOST},
        operation::{Ask, History, Line, Operation, Outcome, Refusal, Reply, by_item},
        requests::{Request, given_up},
    },
    Keys, Span,
};

/// A certain failure with this reason may leave something reserved for a while: the order's shard lost its lead behind it.
const LOST_LEAD: &str = "SHARD_UNAVAILABLE";

impl Keys {
    /// What a request for an order does to its items and its customer.
    pub(super) fn place(&mut self, history: &History, request: &Request<'_>, customer: &str, lines: &[Line]) {
        let total = Ask::total(lines);
        let span = Span {
            begin: request.begin,
            end: request.until(history),
            source: request.answer.unwrap_or(request.attempts[0]),
        };
        match request.answered(history).map(|answer| &answer.outcome) {
            Some(Outcome::Ok(_)) => {
                for (item, quantity) in by_item(lines) {
                    self.account(item, span, account::Step::Take(quantity));
                }
                self.account(customer, span, account::Step::Take(total));
                self.left_overs(history, request, lines);
            }
            Some(Outcome::Refused(refusal)) => {
                self.refused(history, request, span, refusal, customer, lines);
                self.left_overs(history, request, lines);
            }
            _ if request.may_be_done(history) => {
                for (item, quantity) in by_item(lines) {
                    self.lost_now(item, span, quantity, false);
                }
                self.lost_now(customer, span, total, false);
                // One of the attempts may have come to be; each of the others may have left something all the same.
                for (number, operation) in request.unknown(history).skip(1) {
                    self.left_over(history, number, operation, lines);
                }
            }
            _ => {}
        }
        for (number, operation) in of_attempts(history, request) {
            let lost_lead = matches!(&operation.outcome, Outcome::Failed(why) if why.starts_with(LOST_LEAD));
            if lost_lead {
                self.left_over(history, number, operation, lines);
            }
        }
    }

    /// An attempt that was lost may have left reservations for an order that never came to be. They are given back in time.
    fn left_overs(&mut self, history: &History, request: &Request<'_>, lines: &[Line]) {
        for (number, operation) in request.unknown(history) {
            self.left_over(history, number, operation, lines);
        }
    }

    fn left_over(&mut self, history: &History, number: usize, operation: &Operation, lines: &[Line]) {
        let span = Span {
            begin: operation.invoked,
            end: history.quiet_after(given_up(operation)),
            source: number,
        };
        for (item, quantity) in by_item(lines) {
            self.lost_now(item, span, quantity, true);
        }
    }

    fn refused(
        &mut self,
        history: &History,
        request: &Request<'_>,
        span: Span,
        refusal: &Refusal,
        customer: &str,
        lines: &[Line],
    ) {
        let available = refusal.figures.get("available").copied();
        match refusal.reason.as_str() {
            "INSUFFICIENT_CREDIT" => {
                if let Some(available) = available {
                    self.account(customer, span, account::Step::SeeAvailable(available));
                }
                return;
            }
            "CUSTOMER_NOT_FOUND" | "REQUEST_ID_REUSED" | "INVALID_ARGUMENT" | "AMOUNT_OVERFLOW" => return,
            _ => {}
        }
        // It has given everything back when it is answered. The answer to a repeat may come before, and the repeat may come
        // when all was quiet in between.
        let given_back = match request
            .unknown(history)
            .map(|(_, operation)| given_up(operation))
            .max()
        {
            None => span.end,
            Some(last) => history.quiet_after(last.max(span.end.unwrap_or_default())),
        };
        let for_now = Span {
            end: given_back,
            ..span
        };
        let is_short = refusal.reason == "INSUFFICIENT_STOCK";
        for (item, quantity) in by_item(lines) {
            match available.filter(|_| is_short && refusal.resource == item) {
                Some(available) => self.account(item, span, account::Step::SeeAvailable(available)),
                None => self.refused_now(item, for_now, quantity),
            }
        }
        self.refused_now(customer, for_now, Ask::total(lines));
    }

    /// Something may be taken and given back.
    fn for_now(&mut self, key: &str, span: Span, order: ForNow) {
        self.account(key, span, account::Step::TakeForNow(order));
        self.account(key, span, account::Step::GiveBackForNow(order));
    }

    /// A refused order has given back what it took when it is answered.
    pub(super) fn refused_now(&mut self, key: &str, span: Span, amount: i64) {
        self.next_number += 1;
        let order = ForNow {
            number: self.next_number,
            amount,
            must: true,
        };
        self.for_now(key, span, order);
    }

    pub(super) fn lost_now(&mut self, key: &str, span: Span, amount: i64, must: bool) {
        let order = ForNow {
            number: LOST,
            amount,
            must,
        };
        self.for_now(key, span, order);
    }

    /// What a booking does.
    pub(super) fn book(&mut self, history: &History, request: &Request<'_>, key: &str, delta: i64) {
        let span = Span {
            begin: request.begin,
            end: request.until(history),
            source: request.answer.unwrap_or(request.attempts[0]),
        };
        let step = match request.answered(history).map(|answer| &answer.outcome) {
            Some(Outcome::Ok(reply)) => {
                let told = match reply {
                    Reply::Item(item) => (item.on_hand, item.reserved, self.etag(key, &item.etag)),
                    Reply::Customer(customer) => {
                        (customer.balance, customer.held, self.etag(key, &customer.etag))
                    }
                    Reply::Order(_) | Reply::Items(_) | Reply::Customers(_) | Reply::Orders { .. } => return,
                };
                account::Step::Book {
                    delta,
                    told: Some(told),
                }
            }
            Some(Outcome::Refused(refusal)) => match refused_booking(refusal) {
                Some(step) => step,
                None => return,
            },
            _ if request.may_be_done(history) => account::Step::Book { delta, told: None },
            _ => return,
        };
        self.account(key, span, step);
    }
}

fn of_attempts<'h>(
    history: &'h History,
    request: &Request<'_>,
) -> impl Iterator<Item = (usize, &'h Operation)> {
    request
        .attempts
        .iter()
        .map(|number| (*number, &history.operations[*number]))
}

fn refused_booking(refusal: &Refusal) -> Option<account::Step> {
    let figure = |name: &str| refusal.figures.get(name).copied();
    match refusal.reason.as_str() {
        "STOCK_RESERVED" => Some(account::Step::SeeFigures {
            within: figure("on_hand")?,
            taken: figure("reserved")?,
        }),
        "BALANCE_HELD" => Some(account::Step::SeeFree(figure("available")?)),
        _ => None,
    }
}

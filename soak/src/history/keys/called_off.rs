//! What an order gives back of what it has taken.
//!
//! Who calls some lines off says how many. Who calls off the rest does not: that is what is missing at the end. Where nobody knows which of
//! several was done, it is given back piece by piece, each at some time of all of them: which allows more than a server may do, and nothing less.

use std::collections::BTreeMap;

use super::{
    super::{
        life::{Deed, cost, each_item},
        models::account,
        operation::{Ask, History, Line, Micros, OrderSeen},
        requests::Request,
    },
    Keys, Span,
    deeds::{About, together},
};

impl Keys {
    pub(super) fn called_off(&mut self, history: &History, about: &About<'_>, order: &OrderSeen) {
        // Of each line: what somebody was told to be called off.
        let mut certain: BTreeMap<usize, i64> = BTreeMap::new();
        let mut perhaps = Vec::new();
        for request in &about.in_part {
            let Ask::Do {
                deed: Deed::CancelLines(lines),
                ..
            } = request.ask
            else {
                continue;
            };
            if !request.is_done(history) {
                perhaps.push(*request);
                continue;
            }
            for (line, many) in lines {
                *certain.entry(*line).or_default() += many;
            }
            let many = lines.iter().copied();
            self.give_back(request.span(history), order, many, true);
        }
        let all: Vec<&Request<'_>> = about
            .cancels
            .iter()
            .copied()
            .chain(perhaps.iter().copied())
            .collect();
        if all.is_empty() {
            return;
        }
        let (at_the_end, is_known) = at_the_end(history, &about.cancels, order);
        let rest = |(line, gone): (usize, i64)| {
            let certain = certain.get(&line).copied().unwrap_or_default();
            (line, (gone - certain).max(0))
        };
        let rest: Vec<(usize, i64)> = at_the_end.into_iter().enumerate().map(rest).collect();
        let is_one = is_known && perhaps.is_empty();
        match is_one {
            true => self.give_back(cancelled_in(history, &about.cancels), order, rest, true),
            false => {
                let span = together(history, &all);
                for (line, many) in rest {
                    for _ in 0..many {
                        self.give_back(span, order, [(line, 1)], is_known);
                    }
                }
            }
        }
    }

    fn give_back(
        &mut self,
        span: Span,
        order: &OrderSeen,
        many: impl IntoIterator<Item = (usize, i64)>,
        must: bool,
    ) {
        let many: Vec<_> = many.into_iter().filter(|(_, many)| *many > 0).collect();
        for (item, amount) in each_item(&order.lines, many.iter().copied()) {
            self.account(item, span, account::Step::GiveBack { amount, must });
        }
        let amount = cost(&order.lines, many.iter().copied());
        if amount > 0 {
            self.account(&order.customer, span, account::Step::GiveBack { amount, must });
        }
    }
}

/// Of each line: how many are called off in the end, and whether that is known; else all that there can be.
fn at_the_end(history: &History, cancels: &[&Request<'_>], order: &OrderSeen) -> (Vec<i64>, bool) {
    let in_books = history.books.iter().flat_map(|books| &books.orders);
    let mut in_books = in_books.filter(|it| it.name == order.name);
    // Who was told that the rest is called off has seen the end of it.
    let told = cancels
        .iter()
        .filter_map(|request| request.answered(history)?.order());
    let last = in_books.next().or_else(|| told.into_iter().next());
    match last {
        Some(last) => (last.life.lines.iter().map(|line| line.cancelled).collect(), true),
        None => {
            let all = |line: &Line| line.quantity;
            (order.lines.iter().map(all).collect(), false)
        }
    }
}

/// Who cancels an order a second time is answered at once, even while it gives back: so all is certain only when all of them are answered.
fn cancelled_in(history: &History, cancels: &[&Request<'_>]) -> Span {
    let done = cancels.iter().filter(|request| request.answer.is_some());
    let last = done.max_by_key(|request| request.end);
    let begins = cancels.iter().map(|request| request.begin);
    let begin: Micros = begins.min().unwrap_or_default();
    match last {
        Some(last) => Span {
            begin,
            end: last.end,
            source: last.answer.unwrap_or(last.attempts[0]),
        },
        None => together(history, cancels),
    }
}

//! What is asked of orders that are there, and what it does to them, to their items and to their customers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        life::{Deed, Moved, Named, cost, each_item},
        models::{UNSEEN, account, order},
        operation::{Ask, History, OrderSeen, Outcome},
        requests::Request,
    },
    Keys, Span,
    orders::Orders,
};

/// The requests about one order.
#[derive(Default)]
pub(super) struct About<'a> {
    /// To cancel all that is open.
    pub cancels: Vec<&'a Request<'a>>,
    /// To cancel some of it.
    pub in_part: Vec<&'a Request<'a>>,
    others: Vec<&'a Request<'a>>,
}

impl Keys {
    /// All that may have been done.
    pub(super) fn deeds(&mut self, history: &History, requests: &[Request<'_>], orders: &Orders<'_>) {
        let mut by_order: BTreeMap<&str, About<'_>> = BTreeMap::new();
        for request in requests {
            match request.ask {
                Ask::Cancel { order, .. } if request.may_be_done(history) => {
                    by_order.entry(order).or_default().cancels.push(request);
                }
                Ask::Do { order, deed, .. } => {
                    if let Deed::Edit(_) = deed {
                        self.begin_edit(history, request, order, orders);
                    }
                    if !request.may_be_done(history) {
                        continue;
                    }
                    let about = by_order.entry(order).or_default();
                    match deed {
                        Deed::CancelLines(_) => about.in_part.push(request),
                        _ => about.others.push(request),
                    }
                }
                _ => {}
            }
        }
        for (name, about) in by_order {
            let all = about.cancels.iter().chain(&about.in_part).chain(&about.others);
            for request in all {
                self.does(history, request, name);
            }
            let Some(known) = orders.known.get(name) else {
                continue;
            };
            for request in &about.others {
                self.moves(history, request, known.order, orders);
            }
            self.comes_back(history, &about.others, known.order);
            self.called_off(history, &about, known.order);
        }
    }

    /// What a request does to its order.
    fn does(&mut self, history: &History, request: &Request<'_>, name: &str) {
        let (span, must) = (request.span(history), request.is_done(history));
        let (deed, etag) = match request.ask {
            Ask::Cancel { etag, .. } => (None, etag),
            Ask::Do { deed, etag, .. } => (Some(deed), etag),
            _ => return,
        };
        let at = match etag.is_empty() {
            true => UNSEEN,
            false => self.etag(name, etag),
        };
        let step = match deed {
            None => order::Step::Cancel { at, must },
            Some(deed) => order::Step::Do {
                deed: Arc::new(deed.clone()),
                at,
                must,
            },
        };
        self.order(name, span, step);
    }

    /// An edit may be begun even where it is refused then: its items had no more.
    fn begin_edit(&mut self, history: &History, request: &Request<'_>, name: &str, orders: &Orders<'_>) {
        let Ask::Do {
            etag,
            deed: Deed::Edit(lines),
            ..
        } = request.ask
        else {
            return;
        };
        if request.attempts.is_empty() || !orders.known.contains_key(name) {
            return;
        }
        let at = self.etag(name, etag);
        let span = request.span(history);
        self.order(name, span, order::Step::BeginEdit { at });
        let answer = request.answered(history).map(|answer| &answer.outcome);
        let Some(seen) = orders.at(name, etag) else { return };
        let more = more(seen, lines);
        let costs = cost(&seen.lines, more.iter().copied());
        let Some(Outcome::Refused(refusal)) = answer else {
            return;
        };
        let available = refusal.figures.get("available").copied();
        match (refusal.reason.as_str(), available) {
            ("INSUFFICIENT_CREDIT", Some(available)) => {
                self.account(&seen.customer, span, account::Step::SeeAvailable(available));
            }
            ("INSUFFICIENT_STOCK", _) => {
                for (item, many) in each_item(&seen.lines, more) {
                    match available.filter(|_| refusal.resource == item) {
                        Some(available) => self.account(item, span, account::Step::SeeAvailable(available)),
                        None if many > 0 => self.refused_now(item, span, many),
                        None => {}
                    }
                }
                if costs > 0 {
                    self.refused_now(&seen.customer, span, costs);
                }
            }
            _ => {}
        }
    }

    /// What a request takes out for good, or takes or gives back with an edit.
    fn moves(&mut self, history: &History, request: &Request<'_>, order: &OrderSeen, orders: &Orders<'_>) {
        let Ask::Do { deed, etag, .. } = request.ask else {
            return;
        };
        let (span, must) = (request.span(history), request.is_done(history));
        match deed {
            Deed::Ship(lines) => {
                for (item, amount) in each_item(&order.lines, lines.iter().copied()) {
                    self.account(item, span, account::Step::Spend { amount, must });
                }
                let amount = cost(&order.lines, lines.iter().copied());
                self.account(&order.customer, span, account::Step::Spend { amount, must });
            }
            Deed::Refund(amount) => {
                let amount = *amount;
                self.account(&order.customer, span, account::Step::ComeBack { amount, must });
            }
            Deed::Edit(lines) => {
                let Some(seen) = orders.at(&order.name, etag) else {
                    return;
                };
                let more = more(seen, lines);
                for (item, many) in each_item(&order.lines, more.iter().copied()) {
                    self.edited(item, span, many, must);
                }
                let costs = cost(&order.lines, more);
                self.edited(&order.customer, span, costs, must);
            }
            // No client of a history plans anything.
            Deed::Plan(_)
            | Deed::ShipPlanned(_)
            | Deed::GiveUp(_)
            | Deed::Hold(_)
            | Deed::Release(_)
            | Deed::CancelLines(_)
            | Deed::Deliver(_)
            | Deed::Return(_)
            | Deed::Move(..) => {}
        }
    }

    fn edited(&mut self, key: &str, span: Span, more: i64, must: bool) {
        match (more, must) {
            (0, _) => {}
            (1.., true) => self.account(key, span, account::Step::Take(more)),
            (1.., false) => self.lost_now(key, span, more, false),
            (_, _) => self.account(key, span, account::Step::GiveBack { amount: -more, must }),
        }
    }

    /// What returns put back on the stock: each once, however often somebody says that it has arrived, and a moment behind that.
    fn comes_back(&mut self, history: &History, requests: &[&Request<'_>], order: &OrderSeen) {
        let mut arrived: BTreeMap<usize, Vec<&Request<'_>>> = BTreeMap::new();
        for request in requests {
            if let Ask::Do {
                deed: Deed::Move(number, Moved::Receive),
                ..
            } = request.ask
            {
                arrived.entry(*number).or_default().push(request);
            }
        }
        for (number, requests) in arrived {
            let seen = history.orders_seen().map(|(_, seen)| seen);
            let seen = seen.filter(|seen| seen.name == order.name);
            let found = seen
                .filter_map(|seen| seen.life.returns.get(number.checked_sub(1)?))
                .next();
            let Some(lines) = found.map(|found| found.lines.clone()) else {
                continue;
            };
            let must = requests.iter().any(|request| request.is_done(history));
            let span = together(history, &requests);
            let end = span.end.and_then(|end| history.quiet_after(end));
            for (item, amount) in each_item(&order.lines, lines) {
                self.account(
                    item,
                    Span { end, ..span },
                    account::Step::ComeBack { amount, must },
                );
            }
        }
    }
}

/// How many more an edit wants of which lines, of an order as it was seen.
fn more(seen: &OrderSeen, lines: &Named) -> Named {
    let now = |line: usize| seen.lines.get(line).map_or(0, |line| line.quantity);
    lines
        .iter()
        .map(|(line, many)| (*line, many - now(*line)))
        .collect()
}

/// The time in which one of these takes effect, or all of them.
pub(super) fn together(history: &History, requests: &[&Request<'_>]) -> Span {
    let spans: Vec<Span> = requests.iter().map(|request| request.span(history)).collect();
    let ends = spans.iter().map(|span| span.end).collect::<Option<Vec<_>>>();
    Span {
        begin: spans.iter().map(|span| span.begin).min().unwrap_or_default(),
        end: ends.and_then(|ends| ends.into_iter().max()),
        source: spans.first().map_or(0, |span| span.source),
    }
}

impl Request<'_> {
    /// The time in which it takes effect, where it does.
    pub(super) fn span(&self, history: &History) -> Span {
        Span {
            begin: self.begin,
            end: self.until(history),
            source: self.answer.unwrap_or(self.attempts[0]),
        }
    }
}

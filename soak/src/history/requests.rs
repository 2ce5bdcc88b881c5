//! Requests: all calls with one request id and one content are one request, which is done once at most.

use std::collections::{HashMap, HashSet};

use super::{
    check::Fault,
    life::Deed,
    operation::{Ask, History, Line, Micros, Operation, OrderSeen, Outcome, Phase},
};

/// Refusals that are not the request's answer: the same is to be asked again.
const ASK_AGAIN: [&str; 1] = ["ORDER_PENDING"];

/// One request and all of its attempts.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked.
    pub ask: &'a Ask,
    /// The numbers of the operations that asked it, in the order of time.
    pub attempts: Vec<usize>,
    /// The one that was answered first of those that were answered at all.
    pub answer: Option<usize>,
    /// From when on it may have been done: without the attempts that were not done for certain.
    pub begin: Micros,
    /// When it was done, or refused, at the latest; none where nobody knows.
    pub end: Option<Micros>,
}

impl<'a> Request<'a> {
    /// All requests of a history that have an id, in the order of their first attempt.
    pub fn all(history: &'a History) -> Vec<Self> {
        let mut requests: Vec<Self> = Vec::new();
        let mut by_ask: HashMap<&Ask, usize> = HashMap::new();
        for (number, operation) in history.operations.iter().enumerate() {
            if operation.ask.request_id().is_none() {
                continue;
            }
            let at = *by_ask.entry(&operation.ask).or_insert_with(|| {
                requests.push(Self {
                    ask: &operation.ask,
                    attempts: Vec::new(),
                    answer: None,
                    begin: Micros::MAX,
                    end: None,
                });
                requests.len() - 1
            });
            requests[at].attempt(number, operation, history);
        }
        requests
    }

    fn attempt(&mut self, number: usize, operation: &Operation, history: &History) {
        self.attempts.push(number);
        let is_answer = is_answer(operation);
        if is_answer || operation.is_unknown() {
            self.begin = self.begin.min(operation.invoked);
        }
        if !is_answer {
            return;
        }
        self.end = match (self.end, operation.completed) {
            (Some(end), Some(completed)) => Some(end.min(completed)),
            (end, completed) => end.or(completed),
        };
        let completed = |number: usize| history.operations[number].completed;
        if self
            .answer
            .is_none_or(|answer| completed(number) < completed(answer))
        {
            self.answer = Some(number);
        }
    }

    /// The operation that was answered.
    pub fn answered(&self, history: &'a History) -> Option<&'a Operation> {
        Some(&history.operations[self.answer?])
    }

    /// Its attempts of which nobody knows what became of them.
    pub fn unknown<'h>(&self, history: &'h History) -> impl Iterator<Item = (usize, &'h Operation)> {
        let attempts = self.attempts.iter();
        attempts
            .map(|number| (*number, &history.operations[*number]))
            .filter(|(_, operation)| operation.is_unknown())
    }

    /// Whether it was done, or may have been.
    pub fn may_be_done(&self, history: &History) -> bool {
        match self.answered(history) {
            Some(Operation {
                outcome: Outcome::Refused(_),
                ask: Ask::Do { .. },
                ..
            }) => {
                // A refusal of these is not remembered: what was asked before may still come behind it.
                self.unknown(history).next().is_some()
            }
            Some(answer) => matches!(answer.outcome, Outcome::Ok(_)),
            None => self.begin != Micros::MAX,
        }
    }

    /// Whether it was done.
    pub fn is_done(&self, history: &History) -> bool {
        let answer = self.answered(history);
        answer.is_some_and(|answer| matches!(answer.outcome, Outcome::Ok(_)))
    }

    /// Until when it may still be done: its answer, or the quiet moment behind its last attempt.
    pub fn until(&self, history: &History) -> Option<Micros> {
        let was_refused = matches!(self.ask, Ask::Do { .. }) && !self.is_done(history);
        self.end.filter(|_| !was_refused).or_else(|| {
            let last = self
                .unknown(history)
                .map(|(_, operation)| given_up(operation))
                .max()?;
            history.quiet_after(last)
        })
    }
}

/// When its client stopped waiting.
pub fn given_up(operation: &Operation) -> Micros {
    operation.completed.unwrap_or(operation.invoked)
}

fn is_answer(operation: &Operation) -> bool {
    match &operation.outcome {
        Outcome::Ok(_) => true,
        Outcome::Refused(refusal) => !ASK_AGAIN.contains(&refusal.reason.as_str()),
        Outcome::Failed(_) | Outcome::Unknown(_) => false,
    }
}

/// Every request is done at most once and always answered the same; every order is one request's, confirmed when its client
/// hears of it, and keeps what it was placed with.
pub fn check_once(history: &History, requests: &[Request<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut owner: HashMap<&str, &Request<'_>> = HashMap::new();
    for request in requests {
        let answers = request
            .attempts
            .iter()
            .filter(|number| is_answer(&history.operations[**number]));
        let answers: Vec<usize> = answers.copied().collect();
        let Some((&first, others)) = answers.split_first() else {
            continue;
        };
        let same = |other: &&usize| {
            let (one, other) = (&history.operations[first], &history.operations[**other]);
            match request.ask {
                // Answered with the order as it is then; and a refusal is decided anew.
                Ask::Cancel { .. } | Ask::Do { .. } => {
                    let names = (one.order().map(|it| &it.name), other.order().map(|it| &it.name));
                    matches!(names, (None, _) | (_, None)) || names.0 == names.1
                }
                _ => one.outcome == other.outcome,
            }
        };
        if !others.iter().all(|other| same(&other)) {
            faults.push(Fault::of("two replies for one request id", history, &answers));
        }
        if let (Ask::Place { .. }, Some(order)) = (request.ask, history.operations[first].order()) {
            if order.phase != Phase::Confirmed {
                faults.push(Fault::of(
                    "an order was acknowledged and is not confirmed",
                    history,
                    &[first],
                ));
            }
            if let Some(other) = owner.insert(&order.name, request) {
                let both: Vec<usize> = other.attempts.iter().chain(&request.attempts).copied().collect();
                faults.push(Fault::of(
                    "two requests were answered with one order",
                    history,
                    &both,
                ));
            }
        }
    }
    faults.extend(check_same(history, &owner, &edited(requests)));
    faults
}

/// The orders of which anybody asked to edit them.
pub fn edited<'a>(requests: &[Request<'a>]) -> HashSet<&'a str> {
    let edits = requests.iter().filter_map(|request| match request.ask {
        Ask::Do {
            order,
            deed: Deed::Edit(_),
            ..
        } => Some(order.as_str()),
        _ => None,
    });
    edits.collect()
}

/// What an order never changes, every client sees alike.
fn check_same(history: &History, owner: &HashMap<&str, &Request<'_>>, edited: &HashSet<&str>) -> Vec<Fault> {
    let mut faults = Vec::new();
    // How many there are of each line, edits change: the order's own steps say to what.
    let is_asked_for = |lines: &[Line], order: &OrderSeen| match edited.contains(order.name.as_str()) {
        true => kinds(lines) == kinds(&order.lines),
        false => lines == order.lines,
    };
    let mut first_seen: HashMap<&str, (usize, &OrderSeen)> = HashMap::new();
    for (number, order) in history.orders_seen() {
        let (first, before) = *first_seen.entry(&order.name).or_insert((number, order));
        let unlike =
            |is_other: bool, what: &str| is_other.then(|| format!("an order has another {what} than it had"));
        let told = [
            unlike(order.customer != before.customer, "customer"),
            unlike(kinds(&order.lines) != kinds(&before.lines), "list of lines"),
            unlike(order.created != before.created, "time of creation"),
            unlike(
                order.total != Ask::total(&order.lines),
                "total than its lines cost, or",
            ),
            unlike(
                order.rejection.is_empty() == (order.phase == Phase::Rejected),
                "reason of refusal than its state says, or",
            ),
            unlike(order.phase == Phase::Odd, "state than the contract knows, or"),
        ];
        faults.extend(
            told.into_iter()
                .flatten()
                .map(|what| Fault::of(what, history, &[first, number])),
        );
        if let Some(request) = owner.get(order.name.as_str())
            && let Ask::Place { customer, lines, .. } = request.ask
            && (*customer != order.customer || !is_asked_for(lines, order))
        {
            let both = [request.attempts[0], number];
            faults.push(Fault::of("an order is not what was asked for", history, &both));
        }
    }
    faults
}

/// What lines are for, and at which price: that never changes.
pub fn kinds(lines: &[Line]) -> Vec<(&str, i64)> {
    lines
        .iter()
        .map(|line| (line.item.as_str(), line.unit_price))
        .collect()
}

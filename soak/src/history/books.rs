//! The books at the end, against all that was asked: stock and money are conserved, every acknowledged order is there, and no
//! other than somebody asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    check::Fault,
    life::each_item,
    operation::{Ask, Books, CustomerSeen, History, Line, Operation, OrderSeen, Phase},
    requests::Request,
};

/// At most so many different sums are thought of for one account; beyond them nobody can tell.
pub const SUMS_MAX: usize = 100_000;
/// Refusals of orders that are not recorded as orders.
const NOT_RECORDED: [&str; 4] = [
    "CUSTOMER_NOT_FOUND",
    "REQUEST_ID_REUSED",
    "INVALID_ARGUMENT",
    "AMOUNT_OVERFLOW",
];

/// What is wrong with the books, and what takes too much work to tell.
pub fn check_books(history: &History, requests: &[Request<'_>], books: &Books) -> (Vec<Fault>, Vec<String>) {
    let (mut faults, mut undecided) = (Vec::new(), Vec::new());
    let mut listed = HashMap::new();
    for order in &books.orders {
        if listed.insert(order.name.as_str(), order).is_some() {
            faults.push(Fault::new(format!("{} is listed twice", order.name)));
        }
    }
    let mut newest_first: HashMap<&str, &str> = HashMap::new();
    for order in &books.orders {
        let before = newest_first.insert(&order.customer, &order.name);
        if before.is_some_and(|before| before < order.name.as_str()) {
            faults.push(Fault::new(format!(
                "the orders of {} are not listed newest first",
                order.customer
            )));
        }
    }
    let acknowledged = check_acknowledged(history, requests, &listed, &mut faults);
    check_others(history, requests, books, &acknowledged, &mut faults);
    check_accounts(history, requests, books, &mut faults, &mut undecided);
    (faults, undecided)
}

/// Every acknowledged order is listed, and stands where its cancels left it. The names of those that were acknowledged.
fn check_acknowledged<'a>(
    history: &'a History,
    requests: &[Request<'a>],
    listed: &HashMap<&str, &OrderSeen>,
    faults: &mut Vec<Fault>,
) -> HashSet<&'a str> {
    // By order: whether a cancel was acknowledged, or else may have been done.
    let mut cancelled: HashMap<&str, (bool, usize)> = HashMap::new();
    for request in requests {
        if let Ask::Cancel { order, .. } = request.ask
            && request.may_be_done(history)
        {
            let is_certain = request.answer.is_some();
            let entry = cancelled
                .entry(order)
                .or_insert((is_certain, request.attempts[0]));
            entry.0 |= is_certain;
        }
    }
    // What else was asked of orders, their own steps tell of.
    let done_to: HashSet<&str> = requests
        .iter()
        .filter_map(|request| match request.ask {
            Ask::Do { order, .. } => Some(order.as_str()),
            _ => None,
        })
        .collect();
    let mut acknowledged = HashSet::new();
    for request in requests {
        let Ask::Place { .. } = request.ask else { continue };
        let Some(placed) = request.answered(history).and_then(Operation::order) else {
            continue;
        };
        acknowledged.insert(placed.name.as_str());
        let cancel = cancelled.get(placed.name.as_str());
        let told: Vec<usize> = request
            .attempts
            .iter()
            .copied()
            .chain(cancel.map(|(_, at)| *at))
            .collect();
        let Some(order) = listed.get(placed.name.as_str()) else {
            faults.push(Fault::of("an order was acknowledged and is lost", history, &told));
            continue;
        };
        if done_to.contains(placed.name.as_str()) {
            continue;
        }
        let may_be = match cancel {
            None => &[Phase::Confirmed][..],
            Some((true, _)) => &[Phase::Cancelled],
            Some((false, _)) => &[Phase::Confirmed, Phase::Cancelled],
        };
        if !may_be.contains(&order.phase) {
            let what = format!("{order} at the end, and must be {may_be:?}");
            faults.push(Fault::of(what, history, &told));
        }
        if (&order.customer, &order.lines, order.created) != (&placed.customer, &placed.lines, placed.created)
        {
            let what = format!("{order} is not at the end what was acknowledged");
            faults.push(Fault::of(what, history, &told));
        }
    }
    acknowledged
}

/// The orders that nobody was answered with: refused ones, each recorded once, and those whose answers were lost.
fn check_others(
    history: &History,
    requests: &[Request<'_>],
    books: &Books,
    acknowledged: &HashSet<&str>,
    faults: &mut Vec<Fault>,
) {
    #[derive(Default)]
    struct Alike {
        listed: usize,
        listed_rejected: usize,
        refused: usize,
        unknown: usize,
        asked_by: Vec<usize>,
    }
    let mut alike: BTreeMap<(&str, &[Line]), Alike> = BTreeMap::new();
    for order in &books.orders {
        if order.phase == Phase::Pending {
            faults.push(Fault::new(format!(
                "{order} at the end, when everything has settled"
            )));
        }
        if !acknowledged.contains(order.name.as_str()) {
            let alike = alike.entry((&order.customer, &order.lines)).or_default();
            alike.listed += 1;
            alike.listed_rejected += usize::from(order.phase == Phase::Rejected);
        }
    }
    for request in requests {
        let Ask::Place { customer, lines, .. } = request.ask else {
            continue;
        };
        let alike = alike.entry((customer, lines)).or_default();
        match request.answered(history) {
            Some(answer) => match answer.refusal() {
                Some(refusal) if !NOT_RECORDED.contains(&refusal.reason.as_str()) => alike.refused += 1,
                _ => continue,
            },
            None if request.may_be_done(history) => alike.unknown += 1,
            None => continue,
        }
        alike.asked_by.extend(&request.attempts);
    }
    for ((customer, _), alike) in alike {
        let most = alike.refused + alike.unknown;
        if alike.listed > most {
            let what = format!(
                "{customer} has {} orders of one kind that nobody was answered with, and at most {most} can be",
                alike.listed
            );
            faults.push(Fault::of(what, history, &alike.asked_by));
        } else if alike.listed_rejected < alike.refused {
            let what = format!(
                "{customer} has {} refused orders of a kind of which {} were refused",
                alike.listed_rejected, alike.refused
            );
            faults.push(Fault::of(what, history, &alike.asked_by));
        } else if alike.listed - alike.listed_rejected > alike.unknown {
            let what = format!("{customer} has orders that are not refused, and were");
            faults.push(Fault::of(what, history, &alike.asked_by));
        }
    }
}

/// What is in every account is what was put in, and what is taken is what is open of confirmed orders.
fn check_accounts(
    history: &History,
    requests: &[Request<'_>],
    books: &Books,
    faults: &mut Vec<Fault>,
    undecided: &mut Vec<String>,
) {
    let (taken, gone) = (books.taken(), books.gone());
    let items = books
        .items
        .iter()
        .map(|item| (&item.name, item.on_hand, item.reserved, item.available, 0));
    let customers = books.customers.iter().map(|customer| {
        let CustomerSeen {
            name,
            balance,
            held,
            credit_limit,
            available,
            ..
        } = customer;
        (name, *balance, *held, *available, *credit_limit)
    });
    let opened = history.stock.keys().chain(history.credit.keys());
    let mut missing: BTreeSet<&String> = opened.collect();
    for (name, within, is_taken, available, limit) in items.chain(customers) {
        missing.remove(name);
        let must = taken.get(name.as_str()).copied().unwrap_or_default();
        if is_taken != must {
            let what =
                format!("of {name} {is_taken} is taken at the end, and its confirmed orders take {must}");
            faults.push(Fault::new(what));
        }
        let rest = within.saturating_add(limit).saturating_sub(is_taken);
        if rest < 0 || available != rest {
            let what = format!(
                "{name}: {within} within, {is_taken} taken, limit {limit}, and {available} available"
            );
            faults.push(Fault::new(what));
        }
        let first = history.stock.get(name).copied().unwrap_or_default();
        // What orders have taken out for good, or brought back, is in the orders.
        let gone = gone.get(name.as_str()).copied().unwrap_or_default();
        match sums(history, requests, name, first) {
            Some((sums, bookings)) if !sums.contains(&within.saturating_add(gone)) => {
                let orders = match gone {
                    0 => String::new(),
                    gone => format!(", and orders have taken {gone} of that for good"),
                };
                let what = format!(
                    "of {name} there is {within} at the end: what was booked adds up to {sums:?}{orders}"
                );
                faults.push(Fault::of(what, history, &bookings));
            }
            Some(_) => {}
            None => undecided.push(format!("{name}: the sums of too many bookings without an answer")),
        }
    }
    faults.extend(
        missing
            .into_iter()
            .map(|name| Fault::new(format!("{name} is not listed"))),
    );
}

impl Books {
    /// Whether no order is pending, and nothing is taken but what confirmed orders take.
    pub fn is_settled(&self) -> bool {
        let taken = self.taken();
        let must = |name: &String| taken.get(name.as_str()).copied().unwrap_or_default();
        let mut items = self.items.iter();
        let mut customers = self.customers.iter();
        self.orders.iter().all(|order| order.phase != Phase::Pending)
            && items.all(|item| item.reserved == must(&item.name))
            && customers.all(|customer| customer.held == must(&customer.name))
    }

    /// What of confirmed orders is open takes of each item and each customer.
    fn taken(&self) -> HashMap<&str, i64> {
        let mut taken: HashMap<&str, i64> = HashMap::new();
        let has_some = |phase: Phase| matches!(phase, Phase::Confirmed | Phase::PartlyShipped);
        for order in self.orders.iter().filter(|order| has_some(order.phase)) {
            let open = order.life.lines.iter().map(|line| line.open()).enumerate();
            for (item, quantity) in each_item(&order.lines, open) {
                *taken.entry(item).or_default() += quantity;
            }
            *taken.entry(&order.customer).or_default() += order.life.held(&prices(order));
        }
        taken
    }

    /// What orders have taken for good of each item and each customer, without what they brought back.
    fn gone(&self) -> HashMap<&str, i64> {
        let mut gone: HashMap<&str, i64> = HashMap::new();
        for order in &self.orders {
            let sent = order.life.lines.iter().map(|line| line.shipped);
            let net = sent.zip(order.life.put_back()).map(|(sent, back)| sent - back);
            for (item, quantity) in each_item(&order.lines, net.enumerate()) {
                *gone.entry(item).or_default() += quantity;
            }
            let paid = order.life.captured(&prices(order)) - order.life.refunded();
            *gone.entry(&order.customer).or_default() += paid;
        }
        gone
    }
}

fn prices(order: &OrderSeen) -> Vec<i64> {
    order.lines.iter().map(|line| line.unit_price).collect()
}

/// What may be in an account: all that was acknowledged, and any part of what is unknown; and the bookings.
fn sums(
    history: &History,
    requests: &[Request<'_>],
    key: &str,
    first: i64,
) -> Option<(BTreeSet<i64>, Vec<usize>)> {
    let (mut certain, mut unknown, mut bookings) = (first, Vec::new(), Vec::new());
    for request in requests {
        let delta = match request.ask {
            Ask::Adjust { item, delta, .. } if item == key => *delta,
            Ask::Credit { customer, amount, .. } if customer == key => *amount,
            _ => continue,
        };
        if request.may_be_done(history) {
            bookings.extend(&request.attempts);
            match request.answer {
                Some(_) => certain += delta,
                None => unknown.push(delta),
            }
        }
    }
    let mut sums = BTreeSet::from([certain]);
    for delta in unknown {
        let more: Vec<i64> = sums.iter().map(|sum| sum + delta).collect();
        sums.extend(more);
        if sums.len() > SUMS_MAX {
            return None;
        }
    }
    Some((sums, bookings))
}

//! A history is held against everything that it must be.

use std::fmt;

use super::{
    books::check_books,
    etags::check_etags,
    feeds::check_feeds,
    keys::Keys,
    linear::{self, Found, Interval, Model, Part, WORK_MAX},
    models::{
        account::Account,
        order::{OrderRules, Standing},
    },
    operation::History,
    requests::{Request, check_once},
    text::Ms,
};

/// At most so many operations are shown with one fault.
const SHOWN_MAX: usize = 40;
/// At most so many faults are kept; all are counted.
const FAULTS_MAX: usize = 20;

/// Something that must not be, with the operations that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// The operations that show it, one a line.
    pub shown: Vec<String>,
}

impl Fault {
    /// Something that no single operation shows.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            shown: Vec::new(),
        }
    }

    /// Something that these operations show.
    pub fn of(what: impl Into<String>, history: &History, operations: &[usize]) -> Self {
        let mut numbers = operations.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        let left_out = numbers.len().saturating_sub(SHOWN_MAX);
        // The newest are nearest to what went wrong.
        let mut shown: Vec<String> = match left_out {
            0 => Vec::new(),
            more => vec![format!("({more} earlier operations)")],
        };
        shown.extend(numbers[left_out..].iter().map(|number| told(history, *number)));
        Self {
            what: what.into(),
            shown,
        }
    }
}

/// An operation, or what is behind all of them.
fn told(history: &History, number: usize) -> String {
    let operation = history.operations.get(number);
    operation.map_or_else(|| "the books at the end".to_owned(), ToString::to_string)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.shown.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// What a check of a history found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong; the first of it.
    pub faults: Vec<Fault>,
    /// How much is wrong.
    pub fault_count: usize,
    /// What nobody can tell: it would take too much work.
    pub undecided: Vec<String>,
    /// How many operations were held against the rules.
    pub operations: usize,
    /// How many items, customers and orders they concern.
    pub keys: usize,
    /// How many changes all consumers of the feed were told of.
    pub told: usize,
}

impl Verdict {
    /// Whether all is well, and known to be.
    pub fn is_good(&self) -> bool {
        self.fault_count == 0 && self.undecided.is_empty()
    }

    fn fault(&mut self, fault: Fault) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faults,
            fault_count,
            undecided,
            operations,
            keys,
            told,
        } = self;
        write!(
            f,
            "{operations} operations on {keys} keys, {told} changes in feeds: {fault_count} faults, {} undecided",
            undecided.len()
        )?;
        faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))?;
        undecided
            .iter()
            .try_for_each(|what| write!(f, "\n  undecided: {what}"))
    }
}

/// Holds a history against all rules: each key linearizable, each request done once, the feeds whole, and the books at the end exact.
pub fn check(history: &History) -> Verdict {
    check_within(history, WORK_MAX)
}

/// The same with another bound of the work for each key.
pub fn check_within(history: &History, work_max: usize) -> Verdict {
    let requests = Request::all(history);
    let keys = Keys::new(history, &requests);
    let mut verdict = Verdict {
        operations: history.operations.len(),
        keys: keys.accounts.len() + keys.orders.len(),
        told: history.feeds.iter().map(|feed| feed.changes.len()).sum(),
        ..Verdict::default()
    };
    check_once(history, &requests)
        .into_iter()
        .for_each(|fault| verdict.fault(fault));
    for (name, operation) in &keys.unlisted {
        verdict.fault(Fault::of(
            format!("{name} is there, and is not listed"),
            history,
            &[*operation],
        ));
    }
    for (name, seen_by) in &keys.unasked {
        let what = format!("{name} is there, and nobody asked for it");
        verdict.fault(Fault::of(what, history, seen_by.as_slice()));
    }
    for (key, steps) in &keys.accounts {
        let account = Account {
            limit: history.credit.get(key).copied().unwrap_or_default(),
        };
        let opened = Account::opened(history.stock.get(key).copied().unwrap_or_default());
        check_key(history, key, &account, opened, steps, work_max, &mut verdict);
    }
    for (key, steps) in &keys.orders {
        let rules = OrderRules {
            prices: keys.prices.get(key).cloned().unwrap_or_default(),
        };
        check_key(
            history,
            key,
            &rules,
            Standing::default(),
            steps,
            work_max,
            &mut verdict,
        );
    }
    check_etags(history, &keys)
        .into_iter()
        .for_each(|fault| verdict.fault(fault));
    check_feeds(history, &requests)
        .into_iter()
        .for_each(|fault| verdict.fault(fault));
    if let Some(books) = &history.books {
        let (faults, undecided) = check_books(history, &requests, books);
        faults.into_iter().for_each(|fault| verdict.fault(fault));
        verdict.undecided.extend(undecided);
    }
    verdict
}

fn check_key<M: Model>(
    history: &History,
    key: &str,
    model: &M,
    state: M::State,
    steps: &[Interval<M::Step>],
    work_max: usize,
    verdict: &mut Verdict,
) {
    match linear::check(model, state, steps, work_max) {
        Found::Linearizable => {}
        Found::Undecided => verdict.undecided.push(format!(
            "{key}: its {} steps take more than {work_max} configurations, or too many of them overlap",
            steps.len()
        )),
        Found::Impossible(part) => verdict.fault(explained(history, key, &part)),
    }
}

fn explained<S: fmt::Debug>(history: &History, key: &str, part: &Part<S>) -> Fault {
    let Part {
        from,
        state,
        sources,
        stuck_at,
    } = part;
    let what = format!(
        "{key} is not linearizable: from {} ms, when it was {state:?}, nothing explains how this ended:\n    {}\n  \
         among",
        Ms(*from),
        told(history, *stuck_at)
    );
    Fault::of(what, history, sources)
}

//! What consumers of the feed were told, against the rules of the feed and against all that clients asked and heard.
//!
//! ```text
//!                        ┌▶ CONFIRMED ──▶ CANCELLED ─┐
//!   (nothing) ──▶ PLACED ┤     │                     ├──▶ RELEASED
//!                        └▶ REJECTED ────────────────┘
//!                              └──▶ whatever else may become of it, any number of times
//! ```
//!
//! Every consumer is told of each order along this way, each step once, up to what the books at the end say of the order. Consumers
//! agree on the order of all changes of one customer. Nothing is told before it was asked for, nor of what was refused; and
//! what was told is committed: no read that begins behind it shows the order as it was before.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    check::Fault,
    life::Deed,
    operation::{
        Ask, Books, Change, ChangeKind, Feed, History, Micros, Operation, OrderSeen, Outcome, Phase,
    },
    requests::{Request, kinds},
};

/// What one consumer was told of each order.
type Lives<'a> = BTreeMap<&'a str, Vec<&'a Change>>;

/// What is wrong with what the consumers were told.
pub fn check_feeds(history: &History, requests: &[Request<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let asked = Asked::of(history, requests);
    for (number, feed) in history.feeds.iter().enumerate() {
        let teller = Teller { history, number };
        if let Some(why) = &feed.broken {
            faults.push(Fault::new(format!(
                "the feed of consumer {number} broke off: {why}"
            )));
        }
        let mut lives = Lives::new();
        for change in &feed.changes {
            lives.entry(&change.order.name).or_default().push(change);
        }
        for (name, life) in &lives {
            teller.check_life(name, life, &mut faults);
            teller.check_asked(name, life, &asked, &mut faults);
        }
        teller.check_reads(&lives, &mut faults);
        if let Some(books) = &history.books {
            teller.check_end(books, &lives, &asked, &mut faults);
        }
    }
    check_alike(history, &mut faults);
    faults
}

impl ChangeKind {
    /// Whether it may happen behind these.
    fn may_follow(self, before: &[&Change]) -> bool {
        let last = before.last().map(|last| last.kind);
        let is_live = last.is_some_and(|last| last >= Self::Confirmed && last != Self::Rejected);
        let follows = |is_cause: fn(Self) -> bool| {
            let causes = before.iter().filter(|change| is_cause(change.kind)).count();
            let so_far = before.iter().filter(|change| change.kind == self).count();
            so_far < causes
        };
        match self {
            Self::Placed => last.is_none(),
            Self::Confirmed | Self::Rejected => last == Some(Self::Placed),
            // What comes by itself comes once for each that has it follow.
            Self::Released => follows(|kind| {
                matches!(
                    kind,
                    Self::Rejected
                        | Self::Cancelled
                        | Self::LinesCancelled
                        | Self::Edited
                        | Self::EditRefused
                )
            }),
            Self::Consumed => follows(|kind| kind == Self::Shipped),
            Self::Restocked => follows(|kind| kind == Self::Returns),
            Self::Odd => false,
            _ => is_live,
        }
    }

    /// Whether it happens to an order once at most.
    fn is_once(self) -> bool {
        matches!(
            self,
            Self::Placed | Self::Confirmed | Self::Rejected | Self::Cancelled
        )
    }

    /// Whether it is what clients have asked for with this; none is the end of what is open.
    fn is_asked_by(self, deed: Option<&Deed>) -> bool {
        let Some(deed) = deed else {
            return self == Self::LinesCancelled;
        };
        match self {
            Self::Holds => matches!(deed, Deed::Hold(_) | Deed::Release(_)),
            Self::Shipped => matches!(deed, Deed::Ship(_)),
            Self::Delivered => matches!(deed, Deed::Deliver(_)),
            Self::LinesCancelled => matches!(deed, Deed::CancelLines(_)),
            Self::Returns => matches!(deed, Deed::Return(_) | Deed::Move(..)),
            Self::Refunded => matches!(deed, Deed::Refund(_)),
            Self::EditBegun | Self::Edited | Self::EditRefused => matches!(deed, Deed::Edit(_)),
            _ => false,
        }
    }

    /// Whether an order can stand so after it.
    fn leaves(self, phase: Phase) -> bool {
        match self {
            Self::Placed => phase == Phase::Pending,
            Self::Confirmed => phase == Phase::Confirmed,
            Self::Rejected => phase == Phase::Rejected,
            // Also what is called off of one of which something was sent.
            Self::Cancelled => matches!(phase, Phase::Cancelled | Phase::Shipped),
            Self::Shipped => matches!(phase, Phase::PartlyShipped | Phase::Shipped),
            Self::Odd => false,
            Self::Released => phase != Phase::Pending,
            _ => !matches!(phase, Phase::Pending | Phase::Rejected),
        }
    }
}

/// How far an order has come: it never goes back.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Pending | Phase::Odd => 0,
        Phase::Confirmed | Phase::Rejected => 1,
        Phase::PartlyShipped => 2,
        Phase::Cancelled | Phase::Shipped => 3,
    }
}

/// What clients asked of orders, by the orders' names.
struct Asked<'a> {
    /// The request that was answered with an order.
    placed: HashMap<&'a str, &'a Request<'a>>,
    /// When its end was asked for first, of those that may be done.
    cancelled: HashMap<&'a str, Micros>,
    /// The operation that was told that it is cancelled.
    surely_cancelled: HashMap<&'a str, usize>,
    /// What else may have been done.
    deeds: HashMap<&'a str, Vec<Done<'a>>>,
}

/// Something that was asked of an order.
struct Done<'a> {
    /// None is the end of what is open.
    deed: Option<&'a Deed>,
    /// From when on it may be done.
    begin: Micros,
    /// The operation that was told that it was done.
    answer: Option<usize>,
}

impl<'a> Asked<'a> {
    fn of(history: &'a History, requests: &'a [Request<'a>]) -> Self {
        let mut asked = Self {
            placed: HashMap::new(),
            cancelled: HashMap::new(),
            surely_cancelled: HashMap::new(),
            deeds: HashMap::new(),
        };
        for request in requests {
            match request.ask {
                Ask::Place { .. } => {
                    if let Some(order) = request.answered(history).and_then(Operation::order) {
                        asked.placed.insert(&order.name, request);
                    }
                }
                Ask::Cancel { order, .. } => asked.about(history, request, order, None),
                Ask::Do { order, deed, .. } => asked.about(history, request, order, Some(deed)),
                _ => {}
            }
        }
        asked
    }

    /// A request about an order. Also where it is refused an edit may have been begun.
    fn about(&mut self, history: &'a History, request: &Request<'a>, order: &'a str, deed: Option<&'a Deed>) {
        let may_be_done = request.may_be_done(history);
        if may_be_done || matches!(deed, Some(Deed::Edit(_))) {
            self.deeds.entry(order).or_default().push(Done {
                deed,
                begin: request.begin,
                answer: request.answer.filter(|_| request.is_done(history)),
            });
        }
        // Who calls off some lines may have called off all that was left.
        if may_be_done && matches!(deed, None | Some(Deed::CancelLines(_))) {
            let first = self.cancelled.entry(order).or_insert(request.begin);
            *first = request.begin.min(*first);
            let told = request.answered(history).and_then(Operation::order);
            if let Some(answer) = request.answer
                && told.is_some_and(|told| told.phase == Phase::Cancelled)
            {
                self.surely_cancelled.insert(order, answer);
            }
        }
    }
}

impl ChangeKind {
    /// Those that somebody has to ask for, beside the end of an order.
    const ASKED_FOR: [Self; 9] = [
        Self::Holds,
        Self::Shipped,
        Self::Delivered,
        Self::LinesCancelled,
        Self::Returns,
        Self::Refunded,
        Self::EditBegun,
        Self::Edited,
        Self::EditRefused,
    ];
}

/// Tells of the faults of one consumer's feed.
#[derive(Clone, Copy)]
struct Teller<'a> {
    history: &'a History,
    number: usize,
}

impl Teller<'_> {
    /// A fault, with what this consumer was told of the order and what clients asked and saw of it.
    fn fault(&self, what: String, name: &str, operations: &[usize]) -> Fault {
        let mut fault = Fault::of(
            format!("consumer {}: {what}", self.number),
            self.history,
            operations,
        );
        let feed = self.history.feeds.get(self.number);
        let changes = feed.map_or(&[][..], |feed| &feed.changes);
        let of_order = changes.iter().filter(|change| change.order.name == name);
        fault.shown.extend(of_order.map(ToString::to_string));
        fault
    }

    /// Each step of an order's life is told once and in order, and shows the order as it was then.
    fn check_life(&self, name: &str, life: &[&Change], faults: &mut Vec<Fault>) {
        let mut etags = HashSet::new();
        let mut before: Option<&Change> = None;
        for (at, change) in life.iter().enumerate() {
            let kind = change.kind;
            let last = before.map(|before| before.kind);
            let mut fault = |what: String| faults.push(self.fault(what, name, &[]));
            let is_told_again = |earlier: &&Change| {
                earlier.kind == kind && (kind.is_once() || earlier.order.etag == change.order.etag)
            };
            if life[..at].iter().any(is_told_again) {
                fault(format!("{name} is told twice to be {kind:?}"));
            } else if !kind.may_follow(&life[..at]) {
                let comes_later = life[at..]
                    .iter()
                    .any(|later| later.kind.is_once() && later.kind < kind);
                let what = if comes_later { "out of order" } else { "a gap" };
                let last = last.map_or("nothing".to_owned(), |last| format!("{last:?}"));
                fault(format!("{what}: {name} is told to be {kind:?} behind {last}"));
            } else if !etags.insert(&change.order.etag) {
                fault(format!(
                    "{name} is told to have changed, and has the etag that it had"
                ));
            }
            let was = before.map(|before| before.order.phase);
            if !kind.leaves(change.order.phase)
                || (kind == ChangeKind::Released && was.is_some_and(|was| was != change.order.phase))
            {
                fault(format!(
                    "{name} is told to be {kind:?}, and shown as {:?}",
                    change.order.phase
                ));
            }
            if change.order.rejection.is_empty() == (change.order.phase == Phase::Rejected) {
                fault(format!(
                    "{name} is shown with a reason of refusal that its state does not have"
                ));
            }
            if before.is_some_and(|before| before.at > change.at) {
                fault(format!("the time of {name} goes back"));
            }
            if before.is_some_and(|before| !is_same(&before.order, &change.order))
                || before.is_some_and(|before| {
                    kind != ChangeKind::Edited && before.order.lines != change.order.lines
                })
            {
                fault(format!("{name} is told to be another order than it was"));
            }
            before = Some(change);
        }
    }

    /// Nothing is told before it was asked for, and no cancel that nobody asked for.
    fn check_asked(&self, name: &str, life: &[&Change], asked: &Asked<'_>, faults: &mut Vec<Fault>) {
        let placed = asked.placed.get(name);
        if let (Some(request), Some(first)) = (placed, life.first())
            && first.seen < request.begin
        {
            let what = format!("{name} is told before it was asked for");
            faults.push(self.fault(what, name, &request.attempts));
        }
        if let Some(request) = placed
            && let Some(placed) = request.answered(self.history).and_then(Operation::order)
            && life.iter().any(|change| !is_same(placed, &change.order))
        {
            let what = format!("{name} is told otherwise than it was acknowledged");
            faults.push(self.fault(what, name, &request.attempts));
        }
        let cancelled = life.iter().find(|change| change.kind == ChangeKind::Cancelled);
        if let Some(change) = cancelled
            && asked.cancelled.get(name).is_none_or(|first| change.seen < *first)
        {
            let what = format!("{name} is told to be cancelled, and by then nobody had asked for that");
            faults.push(self.fault(what, name, &[]));
        }
        let deeds = asked.deeds.get(name).map_or(&[][..], Vec::as_slice);
        for kind in ChangeKind::ASKED_FOR {
            let told: Vec<Micros> = life
                .iter()
                .filter(|change| change.kind == kind)
                .map(|change| change.seen)
                .collect();
            let asked: Vec<&Done> = deeds.iter().filter(|it| kind.is_asked_by(it.deed)).collect();
            let too_early = told.iter().enumerate().find(|(before, seen)| {
                let by_then = asked.iter().filter(|it| it.begin <= **seen);
                by_then.count() <= *before
            });
            if too_early.is_some() {
                let what =
                    format!("{name} is told to be {kind:?}, more often than anybody had asked for by then");
                faults.push(self.fault(what, name, &[]));
            }
        }
    }

    /// What was told is committed: who reads behind that sees it, and what has one etag is one order.
    fn check_reads(&self, lives: &Lives<'_>, faults: &mut Vec<Fault>) {
        for (number, order) in self.history.orders_seen() {
            let Some(life) = lives.get(order.name.as_str()) else {
                continue;
            };
            let Operation { invoked, ask, .. } = &self.history.operations[number];
            let told = life.iter().filter(|change| change.seen < *invoked);
            let newest = told.max_by_key(|change| rank(change.order.phase));
            // Commands are answered as they were the first time.
            if ask.request_id().is_none()
                && let Some(newest) = newest
                && rank(order.phase) < rank(newest.order.phase)
            {
                let what = format!(
                    "{} was told to be {:?}, and read as {:?} behind that",
                    order.name, newest.kind, order.phase
                );
                faults.push(self.fault(what, &order.name, &[number]));
            }
            if life
                .iter()
                .any(|change| change.order.etag == order.etag && !is_alike(&change.order, order))
            {
                let what = format!("{order} was seen, and told otherwise of the same etag");
                faults.push(self.fault(what, &order.name, &[number]));
            }
        }
        for (number, operation) in self.history.operations.iter().enumerate() {
            if let (Ask::GetOrder { order }, Outcome::Refused(refusal)) = (&operation.ask, &operation.outcome)
                && refusal.reason == "ORDER_NOT_FOUND"
                && let Some(first) = lives.get(order.as_str()).and_then(|life| life.first())
                && first.seen < operation.invoked
            {
                let what = format!("{order} was told, and not found behind that");
                faults.push(self.fault(what, order, &[number]));
            }
        }
    }

    /// Every order was told of up to what it is at the end, and none that is not there.
    fn check_end(&self, books: &Books, lives: &Lives<'_>, asked: &Asked<'_>, faults: &mut Vec<Fault>) {
        let mut listed: HashSet<&str> = HashSet::new();
        for order in &books.orders {
            let name = order.name.as_str();
            listed.insert(name);
            let placed = asked.placed.get(name);
            let mut told_by: Vec<usize> = placed.map_or(Vec::new(), |request| request.attempts.clone());
            told_by.extend(asked.surely_cancelled.get(name));
            let life = lives.get(name).map_or(&[][..], Vec::as_slice);
            let Some(last) = life.last() else {
                let what = format!("a gap: nothing is told of {order}");
                faults.push(self.fault(what, name, &told_by));
                continue;
            };
            if !is_same(&last.order, order) {
                let what = format!("{name} is told to be another order than it is at the end");
                faults.push(self.fault(what, name, &told_by));
            }
            // The end of giving back may come between the books and the last look at the feed.
            let is_at_end =
                |change: &&Change| change.order.etag == order.etag && is_alike(&change.order, order);
            let comes_by_itself = |kind| {
                matches!(
                    kind,
                    ChangeKind::Released | ChangeKind::Consumed | ChangeKind::Restocked
                )
            };
            let before_release = match life {
                [.., before, last] if comes_by_itself(last.kind) => Some(before),
                _ => None,
            };
            if !is_at_end(last) && !before_release.is_some_and(is_at_end) {
                let what = format!(
                    "{order} at the end, and the last that is told of it is {:?}",
                    last.kind
                );
                faults.push(self.fault(what, name, &told_by));
            }
            let must = [
                (placed.is_some(), ChangeKind::Confirmed),
                (asked.surely_cancelled.contains_key(name), ChangeKind::Cancelled),
            ];
            for (_, kind) in must.into_iter().filter(|(must, _)| *must) {
                if !life.iter().any(|change| change.kind == kind) {
                    let what = format!("a gap: {name} was acknowledged to be {kind:?}, and that is not told");
                    faults.push(self.fault(what, name, &told_by));
                }
            }
            self.check_all_told(name, life, asked, faults);
        }
        for name in lives.keys().filter(|name| !listed.contains(**name)) {
            let what = format!("{name} is told, and is not there");
            faults.push(self.fault(what, name, &[]));
        }
    }
}

impl Teller<'_> {
    /// What was surely done to an order is told, as often as it was.
    fn check_all_told(&self, name: &str, life: &[&Change], asked: &Asked<'_>, faults: &mut Vec<Fault>) {
        let deeds = asked.deeds.get(name).map_or(&[][..], Vec::as_slice);
        // Others change nothing where it is so already.
        for kind in [
            ChangeKind::Shipped,
            ChangeKind::LinesCancelled,
            ChangeKind::Refunded,
        ] {
            let sure: Vec<usize> = deeds
                .iter()
                .filter(|it| it.deed.is_some() && kind.is_asked_by(it.deed))
                .filter_map(|it| it.answer)
                .collect();
            let is_told = |told| {
                // Who called off the last lines of which nothing was sent has cancelled it.
                told == kind || (kind == ChangeKind::LinesCancelled && told == ChangeKind::Cancelled)
            };
            let told = life.iter().filter(|change| is_told(change.kind)).count();
            if told < sure.len() {
                let what = format!(
                    "a gap: {name} was {} times acknowledged to be {kind:?}, and that is told {told} times",
                    sure.len()
                );
                faults.push(self.fault(what, name, &sure));
            }
        }
    }
}

/// Consumers are told of the changes of one customer in one order.
fn check_alike(history: &History, faults: &mut Vec<Fault>) {
    let by_customer = |feed: &'_ Feed| {
        let mut changes: BTreeMap<String, Vec<(String, ChangeKind)>> = BTreeMap::new();
        for change in &feed.changes {
            let step = (change.order.name.clone(), change.kind);
            changes
                .entry(change.order.customer.clone())
                .or_default()
                .push(step);
        }
        changes
    };
    let mut feeds = history.feeds.iter().map(by_customer);
    let Some(first) = feeds.next() else { return };
    for (other, feed) in feeds.enumerate() {
        for (customer, changes) in &feed {
            let expected = first.get(customer).map_or(&[][..], Vec::as_slice);
            let differs = changes.iter().zip(expected).find(|(told, first)| told != first);
            if let Some(((name, kind), (first_name, first_kind))) = differs {
                faults.push(Fault::new(format!(
                    "consumers 0 and {} are told otherwise of {customer}: {first_name} {first_kind:?}, and {name} {kind:?}",
                    other + 1
                )));
            }
        }
    }
}

/// Whether what an order never changes is the same.
fn is_same(one: &OrderSeen, other: &OrderSeen) -> bool {
    (&one.customer, kinds(&one.lines), one.created) == (&other.customer, kinds(&other.lines), other.created)
}

/// Whether all of it is.
fn is_alike(one: &OrderSeen, other: &OrderSeen) -> bool {
    let all = |order: &'_ OrderSeen| (order.phase, order.total, order.life.clone());
    all(one) == all(other)
}

impl Feed {
    /// Whether it was told of each of these orders as it is in the books.
    pub fn has_all_of(&self, books: &Books) -> bool {
        let told = self.changes.iter();
        let told: HashSet<(&str, &str)> = told
            .map(|change| (change.order.name.as_str(), change.order.etag.as_str()))
            .collect();
        let mut orders = books.orders.iter();
        orders.all(|order| told.contains(&(order.name.as_str(), order.etag.as_str())))
    }
}

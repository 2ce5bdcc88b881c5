//! Right histories of a simulated shop, many of them, and the same with one thing made wrong.

use super::{
    super::{Change, ChangeKind},
    simulated::history,
    *,
};
use crate::Chance;

/// How many right histories are made, and how many are made wrong in every way; `DOCKET_HISTORY_SEEDS` makes more.
const HISTORIES: u64 = 100;
const SPOILT: u64 = 12;
const CLIENTS: u32 = 6;
const CALLS: usize = 250;
/// At most one of so many wrong histories may stay undecided.
const UNDECIDED_ODDS: usize = 50;

/// The seeds of a run: some that are drawn from the clock, or the one that `DOCKET_SEED` says.
fn seeds(histories: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("DOCKET_SEED") {
        return seed..seed + 1;
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let first = now.as_nanos() as u64 % 1_000_000;
    let seeds = first..first + number("DOCKET_HISTORY_SEEDS").unwrap_or(histories);
    println!("DOCKET_SEED from {} to {}", seeds.start, seeds.end - 1);
    seeds
}

#[test]
fn what_a_right_shop_makes_is_accepted() {
    let (mut operations, mut unknown, mut confirmed, mut refused) = (0, 0, 0, 0);
    for seed in seeds(HISTORIES) {
        let history = history(seed, CLIENTS, CALLS);
        let verdict = check(&history);
        assert!(verdict.is_good(), "DOCKET_SEED={seed}: {verdict}");
        operations += verdict.operations;
        for operation in &history.operations {
            unknown += usize::from(operation.is_unknown());
            refused += usize::from(operation.refusal().is_some());
            confirmed += usize::from(operation.order().is_some());
        }
    }
    println!(
        "{operations} operations: {unknown} unknown, {refused} refused, {confirmed} answered with an order"
    );
    assert!(unknown > 0 && refused > 0 && confirmed > 0);
}

/// Makes one thing wrong; false where the history has nothing of its kind.
type Spoil = fn(&mut History, &mut Chance) -> bool;

/// Every way to make a history wrong.
const SPOILS: &[(&str, Spoil)] = &[
    ("an item has more than was ever there", |history, chance| {
        with_one(history, chance, |operation| match &mut operation.outcome {
            Outcome::Ok(Reply::Item(item)) => {
                item.on_hand += 1_000;
                item.available += 1_000;
                true
            }
            _ => false,
        })
    }),
    ("a customer holds what it never held", |history, chance| {
        with_one(history, chance, |operation| match &mut operation.outcome {
            Outcome::Ok(Reply::Customer(customer)) => {
                customer.held += 1;
                customer.available -= 1;
                true
            }
            _ => false,
        })
    }),
    ("an acknowledged order is lost", |history, chance| {
        let Some(name) = acknowledged(history, chance) else {
            return false;
        };
        books(history).orders.retain(|order| order.name != name);
        true
    }),
    ("an acknowledged order is not found", |history, chance| {
        let Some(order) = acknowledged(history, chance) else {
            return false;
        };
        at_the_end(
            history,
            Ask::GetOrder { order },
            refused("ORDER_NOT_FOUND", "", &[]),
        );
        true
    }),
    ("an acknowledged order is pending again", |history, chance| {
        let Some(name) = acknowledged(history, chance) else {
            return false;
        };
        let mut seen = books(history)
            .orders
            .iter()
            .find(|order| order.name == name)
            .unwrap()
            .clone();
        seen.phase = Phase::Pending;
        let ask = Ask::GetOrder { order: name };
        at_the_end(history, ask, Outcome::Ok(Reply::Order(Box::new(seen))));
        true
    }),
    ("a cancelled order is confirmed again", |history, _| {
        let cancelled = books(history)
            .orders
            .iter()
            .find(|order| order.phase == Phase::Cancelled);
        let Some(mut seen) = cancelled.cloned() else {
            return false;
        };
        let is_told = |operation: &Operation| {
            operation
                .order()
                .is_some_and(|order| order.name == seen.name && order.phase == Phase::Cancelled)
        };
        if !history.operations.iter().any(is_told) {
            return false;
        }
        seen.phase = Phase::Confirmed;
        let ask = Ask::GetOrder {
            order: seen.name.clone(),
        };
        at_the_end(history, ask, Outcome::Ok(Reply::Order(Box::new(seen))));
        true
    }),
    ("an order is there twice", |history, chance| {
        let Some(name) = acknowledged(history, chance) else {
            return false;
        };
        let mut twin = books(history)
            .orders
            .iter()
            .find(|order| order.name == name)
            .unwrap()
            .clone();
        // Different lines from all that were lost, so that it is no one's.
        twin.name = "orders/99999".into();
        twin.lines[0].quantity += 100;
        twin.total = Ask::total(&twin.lines);
        books(history).orders.insert(0, twin);
        true
    }),
    ("a repeat is answered otherwise", |history, chance| {
        let Some(name) = acknowledged(history, chance) else {
            return false;
        };
        let is_it = |operation: &&Operation| {
            matches!(operation.ask, Ask::Place { .. })
                && operation.order().is_some_and(|order| order.name == name)
        };
        let first = history.operations.iter().find(is_it).unwrap().clone();
        let mut other = first.order().unwrap().clone();
        other.etag.push('x');
        at_the_end(history, first.ask, Outcome::Ok(Reply::Order(Box::new(other))));
        true
    }),
    ("a list lacks an order", |history, chance| {
        let Some(name) = acknowledged(history, chance) else {
            return false;
        };
        let orders = &books(history).orders;
        let customer = orders
            .iter()
            .find(|order| order.name == name)
            .unwrap()
            .customer
            .clone();
        let others = orders
            .iter()
            .filter(|order| order.customer == customer && order.name != name);
        let orders = others.cloned().collect();
        let reply = Reply::Orders {
            orders,
            complete: true,
        };
        at_the_end(history, Ask::ListOrders { customer }, Outcome::Ok(reply));
        true
    }),
    ("stock is gone", |history, _| {
        books(history).items[0].on_hand -= 1;
        books(history).items[0].available -= 1;
        history.operations.iter().all(|operation| {
            // What is unknown could explain it.
            !(operation.is_unknown()
                && matches!(&operation.ask, Ask::Adjust { item, .. } if item == "items/i0"))
        })
    }),
    ("money stays held", |history, _| {
        books(history).customers[0].held += 1;
        books(history).customers[0].available -= 1;
        true
    }),
    ("more is sold than is there", |history, _| {
        let ask = Ask::Place {
            request_id: "one-more".into(),
            customer: "customers/c0".into(),
            lines: lines(&[("items/i0", 1_000)]),
        };
        let seen = OrderSeen {
            customer: "customers/c0".into(),
            ..order("orders/99999", Phase::Confirmed, "2", &[("items/i0", 1_000)])
        };
        at_the_end(history, ask, Outcome::Ok(Reply::Order(Box::new(seen))));
        true
    }),
    ("a read is stale", |history, chance| {
        // A booking was acknowledged, and then somebody read the etag of before.
        let mut before: Vec<ItemSeen> = Vec::new();
        for operation in &history.operations {
            if let (Ask::GetItem { .. }, Outcome::Ok(Reply::Item(item))) =
                (&operation.ask, &operation.outcome)
            {
                before.push(item.clone());
            }
        }
        let now = books(history).items.clone();
        before.retain(|old| {
            let is = now.iter().find(|item| item.name == old.name).unwrap();
            let told = |operation: &Operation| match (&operation.ask, &operation.outcome) {
                (Ask::Adjust { .. }, Outcome::Ok(Reply::Item(item))) => {
                    *item.etag == *is.etag && item.name == is.name
                }
                _ => false,
            };
            old.etag != is.etag && history.operations.iter().any(told)
        });
        if before.is_empty() {
            return false;
        }
        let old = before.swap_remove(chance.below(before.len() as u64) as usize);
        let ask = Ask::GetItem {
            item: old.name.clone(),
        };
        at_the_end(history, ask, Outcome::Ok(Reply::Item(old)));
        true
    }),
    ("a feed has a gap", |history, chance| {
        let feed = &mut history.feeds[0].changes;
        let at = chance.below(feed.len() as u64) as usize;
        feed.remove(at);
        true
    }),
    ("a feed tells a change twice", |history, chance| {
        let feed = &mut history.feeds[1].changes;
        let at = chance.below(feed.len() as u64) as usize;
        let again = at as u64 + 1 + chance.below((feed.len() - at) as u64);
        let change = feed[at].clone();
        feed.insert(again as usize, change);
        true
    }),
    (
        "a feed tells an order's changes out of order",
        |history, chance| {
            let feed = &mut history.feeds[0].changes;
            let at = chance.below(feed.len() as u64) as usize;
            let is_next = |later: &&Change| later.order.name == feed[at].order.name;
            let Some(next) = feed[at + 1..].iter().position(|later| is_next(&later)) else {
                return false;
            };
            feed.swap(at, at + 1 + next);
            true
        },
    ),
    ("a feed tells that a refused order is confirmed", |history, _| {
        let feed = &mut history.feeds[0].changes;
        let refused = feed.iter_mut().find(|change| change.kind == ChangeKind::Rejected);
        let Some(refused) = refused else { return false };
        refused.kind = ChangeKind::Confirmed;
        refused.order.phase = Phase::Confirmed;
        refused.order.rejection.clear();
        true
    }),
    ("a feed tells of an order that is not there", |history, chance| {
        let feed = &mut history.feeds[1].changes;
        let at = chance.below(feed.len() as u64) as usize;
        let name = feed[at].order.name.clone();
        let renamed = feed.iter_mut().filter(|change| change.order.name == name);
        renamed.for_each(|change| change.order.name = "orders/99999".into());
        true
    }),
    ("a feed tells before it was asked", |history, chance| {
        let feed = &mut history.feeds[0].changes;
        let at = chance.below(feed.len() as u64) as usize;
        let cancelled = feed[at..]
            .iter_mut()
            .find(|change| change.kind == ChangeKind::Cancelled);
        cancelled.is_some_and(|change| {
            change.seen = 0;
            true
        })
    }),
    ("a feed is not told in one order to all", |history, chance| {
        // Two changes of one customer's two orders, beside each other, and at one time.
        let feed = &mut history.feeds[1].changes;
        let first = chance.below(feed.len() as u64) as usize;
        for at in first..feed.len() {
            let next = feed[at + 1..]
                .iter()
                .position(|later| later.order.customer == feed[at].order.customer);
            if let Some(next) = next.map(|next| at + 1 + next)
                && feed[next].order.name != feed[at].order.name
            {
                let time = feed[at].at;
                feed[next].at = time;
                feed.swap(at, next);
                return true;
            }
        }
        false
    }),
];

#[test]
fn what_is_made_wrong_is_refused() {
    let mut spoilt = vec![0; SPOILS.len()];
    let mut undecided = 0;
    for seed in seeds(SPOILT) {
        let right = history(seed, CLIENTS, CALLS);
        for (number, (what, spoil)) in SPOILS.iter().enumerate() {
            let mut wrong = right.clone();
            if !spoil(&mut wrong, &mut Chance::new(seed, 1 + number as u64)) {
                continue;
            }
            spoilt[number] += 1;
            let verdict = check(&wrong);
            assert!(
                !verdict.is_good(),
                "DOCKET_SEED={seed}: {what}, and it was accepted: {verdict}"
            );
            undecided += usize::from(verdict.fault_count == 0);
        }
    }
    for ((what, _), count) in SPOILS.iter().zip(&spoilt) {
        println!("{count:>5} × {what}");
    }
    let all: usize = spoilt.iter().sum();
    println!("{undecided} of {all} take too much work to tell");
    assert!(undecided * UNDECIDED_ODDS <= all);
    if std::env::var_os("DOCKET_SEED").is_none() {
        assert!(spoilt.iter().all(|count| *count > 0));
    }
}

/// Changes one of the operations that can be changed so.
fn with_one(history: &mut History, chance: &mut Chance, change: fn(&mut Operation) -> bool) -> bool {
    let operations = history.operations.len() as u64;
    let first = chance.below(operations);
    let at = (0..operations).map(|n| ((first + n) % operations) as usize);
    for at in at {
        if change(&mut history.operations[at]) {
            return true;
        }
    }
    false
}

/// An order whose placing was acknowledged.
fn acknowledged(history: &History, chance: &mut Chance) -> Option<String> {
    let placed = history
        .operations
        .iter()
        .filter(|operation| matches!(operation.ask, Ask::Place { .. }));
    let names: Vec<&String> = placed
        .filter_map(|operation| Some(&operation.order()?.name))
        .collect();
    let at = chance.below(names.len().max(1) as u64) as usize;
    names.get(at).map(|name| (*name).clone())
}

fn books(history: &mut History) -> &mut Books {
    history.books.as_mut().unwrap()
}

/// One more call when all was quiet.
fn at_the_end(history: &mut History, ask: Ask, outcome: Outcome) {
    let invoked = history.quiet.last().unwrap() + 10;
    history.operations.push(Operation {
        process: 99,
        invoked,
        completed: Some(invoked + 10),
        ask,
        outcome,
    });
}

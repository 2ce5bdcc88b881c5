//! An etag that a key had and has no more never comes back.
//!
//! The models know an etag until the next change that nobody saw, so that one which was lost may explain a figure that was there before. It
//! explains no etag: whoever saw one behind another has seen it for good.

use std::collections::{BTreeMap, HashMap};

use super::{
    check::Fault,
    keys::{Keys, Span},
    models::{account, order},
    operation::{History, Micros},
};

/// What is wrong with the etags of all keys, and of the books at the end.
pub fn check_etags(history: &History, keys: &Keys) -> Vec<Fault> {
    let mut seen: BTreeMap<&str, Vec<(u32, Span)>> = BTreeMap::new();
    for (key, steps) in &keys.accounts {
        let etags = steps.iter().filter_map(|it| match it.step {
            account::Step::See { etag, .. } => Some((etag, Span::from(it))),
            account::Step::Book {
                told: Some((_, _, etag)),
                ..
            } => Some((etag, Span::from(it))),
            _ => None,
        });
        seen.entry(key).or_default().extend(etags);
    }
    for (key, steps) in &keys.orders {
        let etags = steps.iter().filter_map(|it| match it.step {
            order::Step::See(_, etag, _) => Some((etag, Span::from(it))),
            _ => None,
        });
        seen.entry(key).or_default().extend(etags);
    }
    for (key, etag, span) in keys.at_the_end(history) {
        seen.entry(key).or_default().push((etag, span));
    }
    seen.iter()
        .filter_map(|(key, seen)| comes_back(history, key, seen))
        .collect()
}

/// When an etag was there for certain, and who says so.
#[derive(Clone, Copy)]
struct There {
    /// The first moment by which it had been there.
    since: (Micros, usize),
    /// The last one at which it was still to be there.
    until: (Micros, usize),
}

fn comes_back(history: &History, key: &str, seen: &[(u32, Span)]) -> Option<Fault> {
    let mut there: HashMap<u32, There> = HashMap::new();
    let mut between: Vec<(u32, Span)> = Vec::new();
    for (etag, span) in seen {
        let Some(end) = span.end else { continue };
        let (since, until) = ((end, span.source), (span.begin, span.source));
        let is = there.entry(*etag).or_insert(There { since, until });
        is.since = is.since.min(since);
        is.until = is.until.max(until);
        between.push((*etag, *span));
    }
    between.sort_unstable_by_key(|(_, span)| span.begin);
    let mut etags: Vec<(&u32, &There)> = there.iter().collect();
    etags.sort_unstable_by_key(|(etag, _)| **etag);
    for (etag, There { since, until }) in etags {
        let behind = between.partition_point(|(_, span)| span.begin <= since.0);
        let other = between[behind..]
            .iter()
            .take_while(|(_, span)| span.begin < until.0)
            .find(|(other, span)| other != etag && span.end.is_some_and(|end| end < until.0));
        if let Some((_, span)) = other {
            let what = format!("{key} has an etag again that it had before another one");
            return Some(Fault::of(what, history, &[since.1, span.source, until.1]));
        }
    }
    None
}

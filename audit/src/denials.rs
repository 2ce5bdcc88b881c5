//! Denials, counted: who is denied the same again and again has one record a minute.
//!
//! Whoever denies only counts: under a lock that nothing waits behind, or, where somebody else has it, under "others". What is counted is taken
//! out by the log's thread, when it is due and there is a record to be had for it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{Entry, Outcome, Who};

/// So many different ones are told apart at a time; all others are counted together.
const KEYS_MAX: usize = 256;
/// How long the same is counted before it has another record.
const WINDOW: Duration = Duration::from_secs(60);
/// What a denial of nobody in particular is about.
const OTHERS: &str = "(others)";

/// Something that somebody may not, or that was refused them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    /// Who.
    pub who: Who,
    /// What: a method, or the action that a method is.
    pub action: String,
    /// About what, where that is known.
    pub target: String,
    /// Why: a code or reason that never changes its meaning.
    pub reason: String,
    /// Denied, or refused.
    pub outcome: Outcome,
}

#[derive(Default)]
struct Counts {
    of: HashMap<Denial, Count>,
    /// Records that may be written now.
    budget: f64,
    budgeted: Option<Instant>,
}

struct Count {
    /// Not recorded yet.
    times: u64,
    first: SystemTime,
    last: SystemTime,
    /// When it may have the next record.
    due: Instant,
}

/// The counts.
#[derive(Default)]
pub(crate) struct Denials {
    counts: Mutex<Counts>,
    /// Of those that there was no room for.
    others: AtomicU64,
}

impl Denials {
    /// One more.
    pub(crate) fn add(&self, denial: Denial) {
        self.add_at(denial, 1, Instant::now());
    }

    fn add_at(&self, denial: Denial, times: u64, now: Instant) {
        let Some(mut counts) = self.counts.try_lock() else {
            self.others.fetch_add(times, Relaxed);
            return;
        };
        let at = SystemTime::now();
        let is_full = counts.of.len() >= KEYS_MAX;
        match counts.of.get_mut(&denial) {
            Some(count) => {
                if count.times == 0 {
                    count.first = at;
                }
                count.times += times;
                count.last = at;
            }
            None if is_full => {
                self.others.fetch_add(times, Relaxed);
            }
            None => {
                let count = Count {
                    times,
                    first: at,
                    last: at,
                    due: now,
                };
                counts.of.insert(denial, count);
            }
        }
    }

    /// What is to be recorded now, of at most so many records a minute. Whoever cannot record it gives it back ([`Self::give_back`]).
    pub(crate) fn take(&self, now: Instant, per_minute: u32) -> Vec<(Denial, Entry)> {
        self.taken(now, f64::from(per_minute), false)
    }

    /// All that is counted: nothing comes behind it.
    pub(crate) fn take_all(&self) -> Vec<(Denial, Entry)> {
        self.taken(Instant::now(), f64::INFINITY, true)
    }

    fn taken(&self, now: Instant, per_minute: f64, all: bool) -> Vec<(Denial, Entry)> {
        let mut counts = self.counts.lock();
        let passed = counts
            .budgeted
            .replace(now)
            .map(|at| now.saturating_duration_since(at));
        let earned = passed.map_or(per_minute, |passed| {
            passed.as_secs_f64() * per_minute / WINDOW.as_secs_f64()
        });
        counts.budget = (counts.budget + earned).min(per_minute);
        let (mut taken, mut budget) = (Vec::new(), counts.budget);
        // What is neither counted nor would have to wait is new when it comes again.
        counts.of.retain(|_, count| count.times > 0 || count.due > now);
        let others = self.others.swap(0, Relaxed);
        if others > 0 {
            let denial = Denial {
                who: Who::default(),
                action: OTHERS.to_owned(),
                target: String::new(),
                reason: String::new(),
                outcome: Outcome::Denied,
            };
            // They count for one that comes in its window as any other does, and always have their place.
            let at = SystemTime::now();
            let count = counts.of.entry(denial).or_insert(Count {
                times: 0,
                first: at,
                last: at,
                due: now,
            });
            count.times += others;
            count.last = at;
        }
        for (denial, count) in &mut counts.of {
            if count.times == 0 || !all && (count.due > now || budget < 1.0) {
                continue;
            }
            budget -= 1.0;
            taken.push((denial.clone(), entry(denial, count)));
            count.times = 0;
            count.due = now + WINDOW;
        }
        counts.budget = budget;
        taken
    }

    /// They were not recorded.
    pub(crate) fn give_back(&self, taken: Vec<(Denial, Entry)>) {
        let mut counts = self.counts.lock();
        for (denial, entry) in taken {
            match counts.of.get_mut(&denial) {
                Some(count) => {
                    count.times += entry.times;
                    count.due = Instant::now();
                }
                None => {
                    self.others.fetch_add(entry.times, Relaxed);
                }
            }
        }
    }
}

fn entry(denial: &Denial, count: &Count) -> Entry {
    let at = |time: SystemTime| Timestamp::try_from(time).map(|time| format!("{time:.3}"));
    let mut entry = Entry::new(denial.who.clone(), denial.action.clone(), denial.target.clone())
        .outcome(denial.outcome, denial.reason.clone());
    entry.times = count.times;
    if count.times > 1
        && let (Ok(first), Ok(last)) = (at(count.first), at(count.last))
    {
        entry = entry.detail("first", first).detail("last", last);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(account: &str) -> Denial {
        Denial {
            who: Who {
                account: account.to_owned(),
                ..Who::default()
            },
            action: "/docket.v1.NodeService/DrainNode".to_owned(),
            target: String::new(),
            reason: "PERMISSION_DENIED".to_owned(),
            outcome: Outcome::Denied,
        }
    }

    fn times(taken: &[(Denial, Entry)]) -> Vec<u64> {
        taken.iter().map(|(_, entry)| entry.times).collect()
    }

    #[test]
    fn the_same_has_a_record_at_once_and_then_one_a_minute_with_how_often() {
        let (denials, began) = (Denials::default(), Instant::now());
        denials.add_at(denial("shop"), 1, began);
        assert_eq!(times(&denials.take(began, 60)), [1]);
        for _ in 0..1_000 {
            denials.add_at(denial("shop"), 1, began);
        }
        assert_eq!(times(&denials.take(began + WINDOW / 2, 60)), [0; 0]);
        let taken = denials.take(began + WINDOW, 60);
        assert_eq!(times(&taken), [1_000]);
        assert!(taken[0].1.details.contains_key("first") && taken[0].1.details.contains_key("last"));
        assert!(denials.take(began + 2 * WINDOW, 60).is_empty());
        assert!(
            denials.counts.lock().of.is_empty(),
            "what comes no more is forgotten"
        );
    }

    #[test]
    fn a_flood_of_different_ones_has_so_many_records_and_each_is_counted() {
        const FLOOD: u64 = 100_000;
        let (denials, began) = (Denials::default(), Instant::now());
        let (mut records, mut counted) = (0, 0);
        for n in 0..FLOOD {
            denials.add_at(denial(&format!("account-{n}")), 1, began);
            if n % 1_000 == 0 {
                // 100 looks within 10 minutes.
                let taken = denials.take(
                    began + Duration::from_secs(6) * u32::try_from(n / 1_000).unwrap(),
                    60,
                );
                records += taken.len();
                counted += times(&taken).iter().sum::<u64>();
            }
            assert!(denials.counts.lock().of.len() <= KEYS_MAX + 1);
        }
        assert!((400..=60 * 11).contains(&records), "{records}");
        counted += times(&denials.take_all()).iter().sum::<u64>();
        assert_eq!(counted, FLOOD);
    }

    #[test]
    fn what_could_not_be_recorded_is_counted_on() {
        let (denials, began) = (Denials::default(), Instant::now());
        denials.add_at(denial("shop"), 3, began);
        denials.give_back(denials.take(began, 60));
        denials.add_at(denial("shop"), 1, began);
        assert_eq!(times(&denials.take(Instant::now(), 60)), [4]);
    }

    #[test]
    fn who_cannot_have_the_lock_counts_all_the_same() {
        let denials = Denials::default();
        let held = denials.counts.lock();
        denials.add(denial("shop"));
        drop(held);
        assert_eq!(times(&denials.take_all()), [1]);
    }
}

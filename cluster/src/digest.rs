//! A running hash of what applying a group's log has made of its state, so that replicas can be shown to be equal.
//!
//! ```text
//!  value(n) = XXH3-64( value(n-1) ‖ n ‖ hash of entry n's payload ‖ hash of its reply ‖ what the machine says of its effects )
//! ```
//!
//! It is begun at entry 0 and again at every [`RESTART_EVERY`]th entry, on every replica alike; in between it rides in snapshots, so
//! that a replica which restores one carries on with what the others have. Digests of one index that were begun at the same entry
//! must be equal: if they are not, two replicas have made different things of the same log, and at least one of them is wrong.
//!
//! A snapshot of a version that had no digests leaves a replica with one that was begun there: it compares with nobody's until the next
//! restart. So does one whose digest is of an older kind ([`VALUES`]): what is hashed is part of what is compared, and two versions of the
//! program must not take one another for wrong.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::limits::{DIGEST_MARK_EVERY, DIGEST_MARKS_MAX, DIGEST_RESTART_EVERY};

/// In `since` of a digest into which the values go that entries leave in a shard. Older ones, without it, had only what was applied and
/// answered, and compare with none of these.
const VALUES: u64 = 1 << 62;

/// The digest after some entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    /// Index of the entry that it was begun with, and [`VALUES`].
    pub(crate) since: u64,
    pub(crate) value: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self::begin(0)
    }
}

impl Digest {
    /// One that begins with the entry of this index.
    pub(crate) fn begin(index: u64) -> Self {
        Self {
            since: index | VALUES,
            value: 0,
        }
    }

    /// Whether it is of the kind that this program goes on with.
    pub(crate) fn is_of_values(&self) -> bool {
        self.since & VALUES != 0
    }

    /// Takes the next entry in.
    pub(crate) fn add(&mut self, index: u64, payload: &[u8], reply: &[u8], effects: u64) {
        if index.is_multiple_of(DIGEST_RESTART_EVERY) {
            *self = Self::begin(index);
        }
        let mut hash = Xxh3Default::new();
        for part in [self.value, index, xxh3_64(payload), xxh3_64(reply), effects] {
            hash.update(&part.to_le_bytes());
        }
        self.value = hash.digest();
    }
}

/// The digest after the entry of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) index: u64,
    pub(crate) digest: Digest,
}

/// A replica's recent digests: what it compares with others.
#[derive(Default)]
pub(crate) struct Marks(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    newest: Option<Mark>,
    /// One of every so many entries, oldest first.
    marks: VecDeque<Mark>,
}

impl Marks {
    /// Notes the digest after an entry.
    pub(crate) fn note(&self, index: u64, digest: Digest) {
        let (mut kept, mark) = (self.0.lock(), Mark { index, digest });
        kept.newest = Some(mark);
        if index.is_multiple_of(DIGEST_MARK_EVERY) {
            if kept.marks.len() == DIGEST_MARKS_MAX {
                kept.marks.pop_front();
            }
            kept.marks.push_back(mark);
        }
    }

    /// Forgets everything: the state was replaced, as of this index.
    pub(crate) fn restart(&self, mark: Option<Mark>) {
        *self.0.lock() = Kept {
            newest: mark,
            marks: VecDeque::new(),
        };
    }

    /// All that there are, oldest first.
    pub(crate) fn all(&self) -> Vec<Mark> {
        let kept = self.0.lock();
        let newest = kept
            .newest
            .filter(|newest| kept.marks.back().is_none_or(|last| last.index < newest.index));
        kept.marks.iter().copied().chain(newest).collect()
    }
}

/// Digests that another program has noted of the same log, which a replay is held against.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    marks: BTreeMap<u64, Digest>,
    outcome: NotedOutcome,
}

/// What a replay was found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotedOutcome {
    /// Digests that were equal.
    pub(crate) equal: u64,
    /// Digests that say nothing of those of the replay: they were begun elsewhere, or are of another kind.
    pub(crate) unlike: u64,
    /// The newest entry after which both were equal, before the first difference.
    pub(crate) equal_at: Option<u64>,
    /// The first entry after which they differed.
    pub(crate) different_at: Option<u64>,
}

impl Noted {
    pub(crate) fn new(marks: impl IntoIterator<Item = Mark>) -> Self {
        let marks = marks.into_iter().map(|mark| (mark.index, mark.digest));
        Self {
            marks: marks.collect(),
            outcome: NotedOutcome::default(),
        }
    }

    /// Holds the digest after an entry against what was noted of it, if anything was.
    pub(crate) fn hold(&mut self, index: u64, digest: Digest) {
        let Some(noted) = self.marks.get(&index) else {
            return;
        };
        let outcome = &mut self.outcome;
        if noted.since != digest.since {
            outcome.unlike += 1;
        } else if *noted != digest {
            outcome.different_at.get_or_insert(index);
        } else {
            outcome.equal += 1;
            if outcome.different_at.is_none() {
                outcome.equal_at = Some(index);
            }
        }
    }

    pub(crate) fn outcome(&self) -> NotedOutcome {
        self.outcome
    }
}

/// What two replicas' digests say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// They have none in common: one is too far behind, or was begun elsewhere.
    Nothing,
    /// They were equal after this entry.
    Equal { index: u64 },
    /// They differed after this entry.
    Different { index: u64 },
}

/// Compares two replicas at the newest entry of which both know the digest. Both oldest first.
pub(crate) fn compare(ours: &[Mark], theirs: &[Mark]) -> Compared {
    let other = |mark: &Mark| {
        let at = theirs.binary_search_by_key(&mark.index, |theirs| theirs.index);
        let found = at.ok().map(|at| theirs[at].digest);
        found.filter(|theirs| theirs.since == mark.digest.since)
    };
    let common = ours.iter().rev().find_map(|mark| Some((mark, other(mark)?)));
    match common {
        None => Compared::Nothing,
        Some((mark, theirs)) if mark.digest == theirs => Compared::Equal { index: mark.index },
        Some((mark, _)) => Compared::Different { index: mark.index },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(digest: &mut Digest, entries: impl IntoIterator<Item = u64>, effects: u64) -> Marks {
        let marks = Marks::default();
        for index in entries {
            digest.add(index, b"entry", b"reply", effects);
            marks.note(index, *digest);
        }
        marks
    }

    #[test]
    fn replicas_that_did_the_same_are_equal_though_one_lags_and_one_began_with_a_snapshot() {
        let mut ahead = Digest::default();
        let leader = marks(&mut ahead, 0..1_000, 7);
        let mut behind = Digest::default();
        let follower = marks(&mut behind, 0..990, 7);
        let at = 990 / DIGEST_MARK_EVERY * DIGEST_MARK_EVERY;
        let equal = Compared::Equal { index: at };
        assert_eq!(compare(&leader.all(), &follower.all()), equal);

        let mut carried = behind;
        let restored = marks(&mut carried, 990..1_000, 7);
        assert_eq!(
            compare(&restored.all(), &leader.all()),
            Compared::Equal { index: 999 }
        );
    }

    #[test]
    fn whatever_differs_once_differs_from_then_on() {
        for (payload, reply, effects) in [("x", "reply", 7), ("entry", "x", 7), ("entry", "reply", 8)] {
            let (mut good, mut bad) = (Digest::default(), Digest::default());
            good.add(0, b"entry", b"reply", 7);
            bad.add(0, payload.as_bytes(), reply.as_bytes(), effects);
            let ours = marks(&mut good, 1..500, 7);
            let theirs = marks(&mut bad, 1..500, 7);
            let different = Compared::Different { index: 499 };
            assert_eq!(compare(&ours.all(), &theirs.all()), different);
        }
    }

    #[test]
    fn digests_that_were_begun_elsewhere_say_nothing_until_all_begin_anew() {
        let (mut old, mut new) = (Digest::default(), Digest::begin(100));
        let (ours, theirs) = (marks(&mut old, 0..500, 7), marks(&mut new, 100..500, 7));
        assert_eq!(compare(&ours.all(), &theirs.all()), Compared::Nothing);
        let last = DIGEST_RESTART_EVERY + 3;
        let (ours, theirs) = (marks(&mut old, 500..=last, 7), marks(&mut new, 500..=last, 7));
        assert_eq!(
            compare(&ours.all(), &theirs.all()),
            Compared::Equal { index: last }
        );
    }

    #[test]
    fn digests_of_the_older_kind_say_nothing_of_these() {
        let older = Digest { since: 0, value: 0 };
        assert!(!older.is_of_values() && Digest::default().is_of_values());
        let (mut old, mut new) = (older, Digest::default());
        let (ours, theirs) = (marks(&mut new, 0..500, 7), marks(&mut old, 1..500, 0));
        assert_eq!(compare(&ours.all(), &theirs.all()), Compared::Nothing);
    }

    #[test]
    fn a_replay_is_held_against_what_was_noted_and_the_first_difference_is_named() {
        let mut noted_by = Digest::default();
        let mut all = Vec::new();
        for index in 0..300 {
            noted_by.add(index, b"entry", b"reply", 7);
            all.push(Mark {
                index,
                digest: noted_by,
            });
        }
        let some = || all.iter().copied().filter(|mark| mark.index % 100 == 99);
        let replayed = |differs_at: u64| {
            let (mut noted, mut digest) = (Noted::new(some()), Digest::default());
            for index in 0..300 {
                digest.add(index, b"entry", b"reply", 7 + u64::from(index == differs_at));
                noted.hold(index, digest);
            }
            noted.outcome()
        };
        let outcome = replayed(u64::MAX);
        assert_eq!((outcome.equal, outcome.equal_at), (3, Some(299)));
        assert_eq!(outcome.different_at, None);
        let outcome = replayed(150);
        assert_eq!((outcome.equal, outcome.equal_at), (1, Some(99)));
        assert_eq!(outcome.different_at, Some(199));

        // Begun elsewhere, it says nothing.
        let (mut noted, mut digest) = (Noted::new(some()), Digest::begin(50));
        for index in 50..300 {
            digest.add(index, b"entry", b"reply", 7);
            noted.hold(index, digest);
        }
        let expected = NotedOutcome {
            unlike: 3,
            ..NotedOutcome::default()
        };
        assert_eq!(noted.outcome(), expected);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let marks = marks(&mut Digest::default(), 0..100_000, 7);
        assert_eq!(marks.all().len(), DIGEST_MARKS_MAX + 1);
        marks.restart(None);
        assert_eq!(marks.all(), Vec::new());
    }
}

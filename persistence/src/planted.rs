//! Bugs on purpose, one at a time, which the simulation must find: so that it is known to find such bugs. Only with the feature
//! `planted-bugs`, which nothing but the simulation switches on, and only where there are debug assertions.

use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature `planted-bugs` makes Docket lose data: it is for tests, and is not built into a release"
);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Bug {
    /// A commit is acknowledged without a sync.
    SkipSync = 1,
    /// A commit is acknowledged when it is written, before its sync.
    AckBeforeSync,
    /// A follower says that it has entries before they are durable.
    FollowerAcksUnsynced,
    /// A leader takes what it has sent to a follower for what that has stored.
    AckBeforeQuorum,
    /// A vote is given and not written down.
    ForgetVote,
    /// Entries that a new leader takes back stay in the journal.
    ForgetTruncation,
    /// A leader answers reads without asking whether it still leads.
    ReadWithoutCheck,
    /// A follower answers reads from what it has, whatever its leader has.
    ReadBehind,
    /// A request that was done is not remembered.
    ForgetRequest,
    /// What an order reserves of an item is booked twice.
    ReserveTwice,
    /// A hold that is given back is given back twice.
    ReleaseTwice,
    /// An order is answered when its first event is committed, whether its items have reserved or not.
    AnswerBeforeReservations,
    /// A record that was refused counts as done.
    ConflictIsDone,
    /// An actor survives the loss of the lead.
    KeepActors,
    /// A refusal is answered without asking whether this node still leads.
    RefuseWithoutCheck,
    /// Whoever applies a change of an item stamps it with its own clock, so that replicas make different things of one entry. No client is
    /// shown that time: only the comparison of replicas can find it.
    ApplyReadsClock,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::SkipSync,
        Self::AckBeforeSync,
        Self::FollowerAcksUnsynced,
        Self::AckBeforeQuorum,
        Self::ForgetVote,
        Self::ForgetTruncation,
        Self::ReadWithoutCheck,
        Self::ReadBehind,
        Self::ForgetRequest,
        Self::ReserveTwice,
        Self::ReleaseTwice,
        Self::AnswerBeforeReservations,
        Self::ConflictIsDone,
        Self::KeepActors,
        Self::RefuseWithoutCheck,
        Self::ApplyReadsClock,
    ];
}

static PLANTED: AtomicUsize = AtomicUsize::new(0);

/// Plants a bug in this process, instead of the one before.
pub fn plant(bug: Bug) {
    PLANTED.store(bug as usize, Ordering::Relaxed);
}

/// Whether this one is planted.
pub fn is(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as usize
}

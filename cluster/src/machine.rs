//! What a group replicates: the deterministic state machine of the layer above.

use std::fmt;
use std::io;

use bytes::Bytes;

use crate::PROTOCOL_VERSION_OLDEST;

/// One committed entry, handed to [`StateMachine::apply`].
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its place in the group's log, rising by one from entry to entry (blank and membership entries included).
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// The bytes that were proposed.
    pub payload: &'a Bytes,
}

/// The state that a group's log builds.
///
/// Every replica applies the same entries in the same order and must end in the same state: [`apply`](Self::apply) reads no clock, draws
/// no random number and depends on nothing but the state and the entry. Readers may look at the state from any thread meanwhile, hence
/// `&self`; only one thread applies at a time.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies a committed entry and returns what its proposer is answered. Empty bytes are an answer too.
    ///
    /// A panic here stops the group and is reported by [`Node::failed`](crate::Node::failed): a state that cannot apply a committed
    /// entry cannot go on.
    fn apply(&self, entry: Entry<'_>) -> Bytes;

    /// What the entry that was applied last has made of the state: any number that replicas which are equal before and after it agree on,
    /// a hash of the values that it changed for instance. Replicas are held against each other by it.
    fn effects(&self) -> u64 {
        0
    }

    /// Notes that the entry of this index holds nothing for the machine (a leader's first entry, a change of members), so that a
    /// machine that records its applied index stays right.
    fn skip(&self, index: u64) {
        let _ = index;
    }

    /// A view of the state as of the last applied entry, unmoved by what is applied after it. Called between two entries, on the thread
    /// that applies: it must be cheap (clone `Arc`s, not data), because nothing is applied until it returns.
    fn capture(&self) -> Box<dyn Capture>;

    /// Roughly how many bytes a snapshot would weigh now. A snapshot is due when the log since the last one outweighs it.
    fn state_bytes(&self) -> u64;

    /// Since which version of the peer protocol nodes can read what [`capture`](Self::capture) writes. A node that speaks an older one is
    /// not sent it: it would stop, and not start again.
    fn snapshots_since(&self) -> u32 {
        PROTOCOL_VERSION_OLDEST
    }

    /// How much is here of what the state keeps *aside*: an append-only sequence on disk, of which a snapshot only says how long it is. Whoever
    /// sends a snapshot is told, and sends what is missing behind it.
    fn kept_aside(&self) -> u64 {
        0
    }

    /// Makes all of that durable, and says how much it is: whoever is told may leave it out of what it sends, and what it sends may stand for the
    /// log. Blocks.
    ///
    /// # Errors
    /// The disk's.
    fn sync_aside(&self) -> Result<u64, StateError> {
        Ok(self.kept_aside())
    }

    /// That sequence from there on, as far as it is here now: bytes that [`restore`](Self::restore) takes behind those of a snapshot. The bytes of
    /// one thing in it never change, so that a transfer that broke off can go on. Reading blocks.
    fn read_aside(&self, from: u64) -> Box<dyn Iterator<Item = io::Result<Bytes>> + Send> {
        let _ = from;
        Box::new(std::iter::empty())
    }

    /// Replaces the whole state by a snapshot: the bytes that [`Capture::write`] wrote, in the same order, and, where it comes from a peer, of
    /// what is kept aside all that was missing here. How they are cut into chunks may differ from how they were written.
    ///
    /// # Errors
    /// The snapshot cannot be read or is not one of this machine's; the state may then be anything, and the group does not start.
    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError>;

    /// Forgets everything, as if no entry had been applied ever, and gives its memory back: the replica was moved to another node. It may
    /// come back, and begins then with a snapshot or with the first entry.
    ///
    /// What is kept aside counts for nothing from here on, and stays on the disk: a start that reads of an old drop in the journal clears a state
    /// whose aside may be of the life that came after it.
    fn clear(&self);

    /// Removes what is kept aside from the disk: the replica is dropped, nothing of it has come back yet, and the state was cleared. Blocks.
    fn forget_aside(&self) {}
}

/// Takes the pieces of a snapshot, one call a piece.
pub type SnapshotSink<'a> = dyn FnMut(&[u8]) -> Result<(), CaptureError> + 'a;

/// A frozen view of a state machine that can write itself as a snapshot.
pub trait Capture: Send {
    /// Writes the snapshot, piece by piece (a few KiB to 1 MiB each). Runs on a thread where blocking is allowed, while the machine goes
    /// on applying.
    ///
    /// # Errors
    /// What the sink returned, passed on; or the capture's own failure.
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError>;
}

/// A snapshot could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("writing a snapshot: {0}")]
pub struct CaptureError(pub String);

impl CaptureError {
    /// An error with this cause.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// A snapshot could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("restoring a snapshot: {0}")]
pub struct StateError(pub String);

impl StateError {
    /// An error with this cause.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

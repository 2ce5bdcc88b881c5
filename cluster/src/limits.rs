//! Every bound of this crate, in one place, with the relations between them checked when it compiles.

/// Proposals that one group holds between [`Group::submit`](crate::Group::submit) and their reply. The next one waits.
pub const PROPOSALS_IN_FLIGHT_MAX: usize = 4_096;

/// Payload bytes of the proposals that one group holds. The next one waits. A single entry may use all of it.
pub const PROPOSAL_BYTES_IN_FLIGHT_MAX: usize = 16 * 1024 * 1024;

/// Payload bytes of one proposal; a larger one is refused by [`ProposeError::TooLarge`](crate::ProposeError::TooLarge).
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Messages in the queue of a group's Raft core. Above [`PROPOSALS_IN_FLIGHT_MAX`], so that the permit, which keeps the order of its
/// waiters, is what a proposer waits for, and the queue is not.
pub const CORE_QUEUE_MAX: usize = 2 * PROPOSALS_IN_FLIGHT_MAX;

/// Reads that one leadership check may answer at once; further ones wait for the next check.
pub const READS_PER_CHECK_MAX: usize = 16_384;

/// Bytes of recent entries that a node keeps in memory, shared evenly by its groups. Entries that are not yet durable or not yet applied
/// stay beyond it; [`PROPOSAL_BYTES_IN_FLIGHT_MAX`] bounds those.
pub const LOG_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Records that one read of the journal fetches when entries are no longer in memory.
pub const READ_RECORDS_MAX: usize = 1_024;

/// Bytes that one read of the journal fetches when entries are no longer in memory, and that one batch sent to a follower may have.
pub const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries that wait for one of the threads which apply them while the journal is replayed. The replay waits when it is full.
pub const REPLAY_QUEUE_MAX: usize = 256;

/// Shards of a cluster: the ring could be cut finer, but every shard is a Raft group with tasks of its own.
pub const SHARDS_MAX: u16 = 1_024;

const _: () = assert!(
    PAYLOAD_BYTES_MAX <= PROPOSAL_BYTES_IN_FLIGHT_MAX,
    "one entry must fit what is in flight"
);
const _: () = assert!(
    PROPOSAL_BYTES_IN_FLIGHT_MAX <= u32::MAX as usize,
    "permits are counted in u32"
);
const _: () = assert!(SHARDS_MAX <= crate::SLOTS, "every shard owns a slot");

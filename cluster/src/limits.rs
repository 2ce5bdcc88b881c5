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

/// Bytes of one message between peers. Above [`PAYLOAD_BYTES_MAX`] and [`READ_BYTES_MAX`]: an append has one entry at least.
pub const PEER_MESSAGE_BYTES_MAX: usize = 9 * 1024 * 1024;

/// Bytes of appends on their way to one peer. A group waits when they are reached.
pub const PEER_APPEND_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Appends of one group on their way to one peer.
pub const PEER_APPENDS_MAX: usize = 16;

/// Appends in front of the connection to one peer, of all groups.
pub const PEER_QUEUE_MAX: usize = 64;

/// Groups that append to one peer at a time, those included whose last run has just ended.
pub const PEER_SESSIONS_MAX: usize = 2 * (SHARDS_MAX as usize + 1);

/// Answers in front of one peer's stream of appends.
pub const PEER_REPLIES_MAX: usize = 256;

/// How much of a message may be on its way unasked, and the bound of what a connection keeps for a reader that is slow.
pub const PEER_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Connections from all peers at a time.
pub const PEER_CONNECTIONS_MAX: usize = 256;

/// Beside them, connections that have not shown a certificate: with more the oldest of them goes, so that whoever only connects keeps no peer out.
pub const PEER_HANDSHAKES_MAX: usize = 128;

/// Calls on one connection at a time.
pub const PEER_CALLS_MAX: u32 = 4_096;

/// How long connecting may take, with TLS and Hello, in milliseconds.
pub const PEER_CONNECT_MS: u64 = 3_000;

/// How long a peer is left alone after the first failed attempt to connect, in milliseconds; twice as long after each further one.
pub const PEER_BACK_OFF_MIN_MS: u64 = 50;

/// And at most this long.
pub const PEER_BACK_OFF_MAX_MS: u64 = 1_000;

/// How often a connection is asked whether it lives, in milliseconds.
pub const PEER_KEEPALIVE_MS: u64 = 2_000;

/// How long it may take to answer, in milliseconds.
pub const PEER_KEEPALIVE_TIMEOUT_MS: u64 = 4_000;

/// How long an append or a part of a snapshot may wait to be sent or answered, in milliseconds, before its connection is given up.
pub const PEER_STALL_MS: u64 = 10_000;

/// How long nothing of a snapshot is sent before the peer hears that there is more to come, in milliseconds.
pub const PEER_ALIVE_MS: u64 = PEER_STALL_MS / 4;

/// How long a cluster is at rest, with every node there and active and no replica on its way, before its leads are evened out, in
/// milliseconds. Long enough for a node that restarts to have come back.
pub const LEADS_REST_MS: u64 = 30_000;

/// How long the next lead waits for the one before, in milliseconds: each costs its group a moment without a leader.
pub const LEADS_EVERY_MS: u64 = 5_000;

/// Bytes of a snapshot in one message.
pub const PEER_CHUNK_BYTES: usize = 256 * 1024;

/// Chunks of a snapshot between the disk and the connection.
pub const PEER_CHUNKS_MAX: usize = 4;

/// Snapshots that a node takes in at a time. The next one is refused, and sent again later.
pub const PEER_SNAPSHOTS_IN_MAX: usize = 1;

/// Snapshots that broke off and that a node keeps, so that they may be gone on with: their files use its disk.
pub const PEER_SNAPSHOTS_KEPT_MAX: usize = 4;

/// How long it keeps one, in milliseconds.
pub const PEER_SNAPSHOTS_KEPT_MS: u64 = 600_000;

/// The slowest pace of snapshots, in bytes a second: a message must leave well within [`PEER_STALL_MS`], whoever shares the pace.
pub const SNAPSHOT_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// How long a snapshot may take from its first byte until the peer has installed it, in milliseconds. Large, because it bounds the whole:
/// a connection that died is found by its keepalive, and one that stands still by whoever receives, after [`PEER_STALL_MS`].
pub const PEER_SNAPSHOT_MS: u64 = 3_600_000;

/// Calls of one lane on their way to one peer, or being answered there. The next one waits.
pub const CALLS_IN_FLIGHT_MAX: usize = 8_192;

/// Bytes of their bodies. The next one waits.
pub const CALL_BYTES_IN_FLIGHT_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the body of one call, and of one answer.
pub const CALL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a call counts beside its body, in bytes.
pub const CALL_BYTES_MIN: usize = 128;

/// Calls, and answers, in front of one connection.
pub const CALL_QUEUE_MAX: usize = 256;

/// How long a call may wait for its answer when its deadline is later, in milliseconds.
pub const CALL_WAIT_MAX_MS: u64 = 600_000;

/// Groups about which one peer is asked at once how far they have applied.
pub const READ_GROUPS_MAX: usize = SHARDS_MAX as usize + 1;

/// How often each other node is asked whether it lives, in milliseconds.
pub const PULSE_EVERY_MS: u64 = 1_000;

/// How long it may take to answer that, in milliseconds.
pub const PULSE_MS: u64 = 1_000;

/// How long a node may be silent and still count as alive, in milliseconds.
pub const ALIVE_MS: u64 = 3_000;

/// How long ago most of a group may have answered its leader and still count as led by it, in milliseconds.
pub const LED_MS: u64 = 5_000;

/// How often gauges of groups and peers are set, in milliseconds.
pub const SAMPLE_EVERY_MS: u64 = 1_000;

/// How often a leader compares its state with its followers', in milliseconds.
pub const COMPARE_EVERY_MS: u64 = 10_000;

/// How long a follower may take to answer that, in milliseconds.
pub const COMPARE_MS: u64 = 5_000;

/// How long replicas may be known to differ before those that answer decide without the others, in milliseconds.
pub const UNDECIDED_MS: u64 = 60_000;

/// Groups that are compared in one message.
pub const COMPARE_GROUPS_MAX: usize = 256;

/// Of one of so many entries the digest is kept for a while, so that a follower that lags is compared, too.
pub const DIGEST_MARK_EVERY: u64 = 64;

/// Digests that are kept of a group: of its last 4,096 entries.
pub const DIGEST_MARKS_MAX: usize = 64;

/// With one of so many entries the digest begins anew, so that replicas compare again whose digests were begun at different entries.
pub const DIGEST_RESTART_EVERY: u64 = 65_536;

const _: () = assert!(
    PULSE_EVERY_MS + PULSE_MS < ALIVE_MS,
    "one answer that comes late makes nobody dead"
);
const _: () = assert!(
    COMPARE_GROUPS_MAX * (DIGEST_MARKS_MAX + 1) * 40 < PEER_MESSAGE_BYTES_MAX,
    "the digests of so many groups must fit a message"
);
const _: () = assert!(
    DIGEST_RESTART_EVERY.is_multiple_of(DIGEST_MARK_EVERY),
    "where a digest begins anew, one is kept"
);
const _: () = assert!(
    CALL_BYTES_MAX + CALL_BYTES_MIN < PEER_MESSAGE_BYTES_MAX
        && CALL_BYTES_MAX + CALL_BYTES_MIN <= CALL_BYTES_IN_FLIGHT_MAX,
    "every call must fit a message, and what may be on its way"
);
const _: () = assert!(
    CALL_BYTES_IN_FLIGHT_MAX <= u32::MAX as usize,
    "permits are counted in u32"
);
const _: () = assert!(
    PEER_MESSAGE_BYTES_MAX > PAYLOAD_BYTES_MAX + READ_BYTES_MAX / 8
        && PEER_MESSAGE_BYTES_MAX > READ_BYTES_MAX,
    "one entry, and what is read of the log at once, must fit a message"
);
const _: () = assert!(
    PEER_MESSAGE_BYTES_MAX <= PEER_APPEND_BYTES_MAX && PEER_APPEND_BYTES_MAX <= u32::MAX as usize,
    "every append must fit what may be on its way"
);
const _: () = assert!(
    PEER_CHUNK_BYTES as u64 * 1_000 * 16 <= SNAPSHOT_BYTES_PER_SECOND_MIN * PEER_STALL_MS,
    "16 peers may share the slowest pace of snapshots"
);
const _: () = assert!(
    PEER_KEEPALIVE_MS + PEER_KEEPALIVE_TIMEOUT_MS < PEER_STALL_MS,
    "a dead connection is found before its appends are given up one by one"
);
const _: () = assert!(
    PAYLOAD_BYTES_MAX <= PROPOSAL_BYTES_IN_FLIGHT_MAX,
    "one entry must fit what is in flight"
);
const _: () = assert!(
    PROPOSAL_BYTES_IN_FLIGHT_MAX <= u32::MAX as usize,
    "permits are counted in u32"
);
const _: () = assert!(SHARDS_MAX <= crate::SLOTS, "every shard owns a slot");

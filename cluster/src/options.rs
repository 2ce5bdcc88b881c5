//! How a node is opened.

use std::path::PathBuf;
use std::time::Duration;

use docket_persistence::{JOURNAL_DIR, JournalOptions};

use crate::clock::CausalClock;
use crate::limits::{
    LEADS_REST_MS, PROPOSAL_BYTES_IN_FLIGHT_MAX, PROPOSALS_IN_FLIGHT_MAX, SNAPSHOT_BYTES_PER_SECOND_MIN,
};
use crate::{ClusterError, MemberOptions, PeerOptions, Posture, Versions};

const MIB: u64 = 1024 * 1024;

/// Shards of a new cluster when none are asked for.
pub const SHARDS_DEFAULT: u16 = 8;

/// How a node is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOptions {
    /// The data directory; created if it is not there.
    pub data_dir: PathBuf,
    /// Shards of the cluster, from 1 to [`SHARDS_MAX`](crate::limits::SHARDS_MAX). Only a new data directory takes it (default
    /// [`SHARDS_DEFAULT`]); an old one refuses any number but its own.
    pub shards: Option<u16>,
    /// The journal. Default: in `journal` under the data directory.
    pub journal: JournalOptions,
    /// A group's snapshot is due when its log since the last one weighs more than its state and more than this, or a part of it down to
    /// the half, another one for each group, so that those that grow alike are not all due at the same time. Default 64 MiB.
    pub snapshot_bytes_min: u64,
    /// Bytes that this node sends to others each second, at most, of what is not urgent: snapshots, and the log to replicas that only
    /// catch up. 0: no bound; else at least [`SNAPSHOT_BYTES_PER_SECOND_MIN`]. Default 64 MiB.
    pub snapshot_bytes_per_second: u64,
    /// How long the cluster has to be at rest before its leads are evened out, one after another, where this node leads the meta group; `None`:
    /// they stay where they are until somebody asks. Default [`LEADS_REST_MS`].
    pub balance_leads_after: Option<Duration>,
    /// How often a leader tells its followers that it lives, in milliseconds. Default 200.
    pub heartbeat_ms: u64,
    /// How long a follower waits for its leader before it stands for election: at least this, in milliseconds. Default 1000.
    pub election_timeout_min_ms: u64,
    /// And at most this, in milliseconds. Default 2000.
    pub election_timeout_max_ms: u64,
    /// How it talks to the other nodes of its cluster. Default: not at all; it is a cluster of one, and listens for no peer.
    pub peers: Option<PeerOptions>,
    /// Which versions of the peer protocol it says that it speaks. Default: those that this program speaks. For tests, which have it
    /// claim others.
    pub peer_versions: Versions,
    /// Whether the cluster is finalised at a newer version of the peer protocol as soon as all of its nodes speak it, by who leads the meta group.
    /// Default: no, so that each node can go back to the program before.
    pub auto_finalize: bool,
    /// How it takes part in a cluster that keeps a registry of its nodes, which forms and changes while it runs. Default: it does not;
    /// with `peers` it is then one of voters that are given for ever.
    pub member: Option<MemberOptions>,
    /// What the layer above stamps records with. Default: a clock of its own.
    pub clock: CausalClock,
    /// What it may lead at first. Default [`Posture::Open`]. Where its cluster is fenced that wins.
    pub posture: Posture,
    /// Whether a node whose cluster has a standby leads nothing before [`Node::open_up`](crate::Node::open_up) was called. Default: no.
    pub asks_standby: bool,
}

impl NodeOptions {
    /// The defaults, in this data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            journal: JournalOptions::new(data_dir.join(JOURNAL_DIR)),
            data_dir,
            shards: None,
            snapshot_bytes_min: 64 * MIB,
            snapshot_bytes_per_second: 64 * MIB,
            balance_leads_after: Some(Duration::from_millis(LEADS_REST_MS)),
            heartbeat_ms: 200,
            election_timeout_min_ms: 1_000,
            election_timeout_max_ms: 2_000,
            peers: None,
            peer_versions: Versions::default(),
            auto_finalize: false,
            member: None,
            clock: CausalClock::default(),
            posture: Posture::Open,
            asks_standby: false,
        }
    }

    /// Checks every option but those that the data directory decides.
    ///
    /// # Errors
    /// The first option that is out of range.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let check = |good: bool, option: &'static str, value: u64, requirement: &'static str| {
            if good {
                Ok(())
            } else {
                Err(ClusterError::Option {
                    option,
                    value: value.to_string(),
                    requirement,
                })
            }
        };
        check(
            self.snapshot_bytes_min >= 4096,
            "snapshot_bytes_min",
            self.snapshot_bytes_min,
            "at least 4096",
        )?;
        let pace = self.snapshot_bytes_per_second;
        check(
            pace == 0 || pace >= SNAPSHOT_BYTES_PER_SECOND_MIN,
            "snapshot_bytes_per_second",
            pace,
            "at least 1048576 (1 MiB), or 0 for no bound",
        )?;
        check(
            self.heartbeat_ms >= 10,
            "heartbeat_ms",
            self.heartbeat_ms,
            "at least 10",
        )?;
        // Two heartbeats and a tick may pass before a follower hears from an idle leader.
        check(
            self.election_timeout_min_ms >= self.heartbeat_ms * 3,
            "election_timeout_min_ms",
            self.election_timeout_min_ms,
            "at least three times heartbeat_ms",
        )?;
        check(
            self.election_timeout_max_ms > self.election_timeout_min_ms,
            "election_timeout_max_ms",
            self.election_timeout_max_ms,
            "more than election_timeout_min_ms",
        )?;
        check(
            self.member.is_none() || self.peers.as_ref().is_some_and(|peers| peers.founders.is_empty()),
            "member",
            u64::from(self.member.is_some()),
            "only beside peers, and without founders: who founded the cluster is in the data directory",
        )?;
        if let Some(peers) = &self.peers {
            check(
                peers.node_id.0 > 0,
                "peers.node_id",
                peers.node_id.0,
                "at least 1",
            )?;
            check(
                peers.founders.is_empty() || peers.founders.contains(&peers.node_id),
                "peers.founders",
                peers.founders.len() as u64,
                "none, or this node among them",
            )?;
        }
        let queue = &self.journal;
        let bytes_min = 2 * PROPOSAL_BYTES_IN_FLIGHT_MAX;
        check(
            queue.queue_bytes_max >= bytes_min,
            "journal.queue_bytes_max",
            queue.queue_bytes_max as u64,
            "at least 32 MiB: what one group has in flight must fit, with its overhead",
        )?;
        check(
            queue.queue_records_max >= 2 * PROPOSALS_IN_FLIGHT_MAX,
            "journal.queue_records_max",
            queue.queue_records_max as u64,
            "at least 8,192: what one group has in flight must fit",
        )?;
        self.journal.validate().map_err(ClusterError::Journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let fine = NodeOptions::new("/nowhere");
        fine.validate().unwrap();
        let check = |name: &str, change: fn(&mut NodeOptions)| {
            let mut options = fine.clone();
            change(&mut options);
            let refused = options.validate().unwrap_err();
            assert!(
                matches!(&refused, ClusterError::Option { option, .. } if *option == name),
                "{refused}"
            );
        };
        check("snapshot_bytes_min", |options| options.snapshot_bytes_min = 0);
        check("snapshot_bytes_per_second", |options| {
            options.snapshot_bytes_per_second = 1_000
        });
        check("heartbeat_ms", |options| options.heartbeat_ms = 0);
        check("election_timeout_min_ms", |options| {
            options.election_timeout_min_ms = 599
        });
        check("election_timeout_max_ms", |options| {
            options.election_timeout_max_ms = 1_000
        });
        check("journal.queue_bytes_max", |options| {
            options.journal.queue_bytes_max = 1 << 20
        });
        check("journal.queue_records_max", |options| {
            options.journal.queue_records_max = 16
        });
    }
}

//! Which versions of the peer protocol a node speaks, and which of them two nodes speak to one another.
//!
//! Hello carries a range, so that a program that speaks a new version goes on speaking the one before it, and a cluster is upgraded one
//! node at a time. Two nodes speak the newest version that both know. Where there is none, whoever is called refuses, and says who
//! speaks what.
//!
//! | version | since then |
//! |---|---|
//! | 1 | all that the others do not name |
//! | 2 | snapshots of shards may be of format 2 (`docket_proto::snapshot`): to who speaks 1 they are not sent |
//! | 3 | snapshots of shards may be of format 3, and logs have the holds of orders: while a node speaks 2, no order is held or released |
//! | 4 | snapshots of shards may be of format 4, and logs have what is shipped of orders and cancelled in part: while a node speaks 3, none is |
//! | 5 | lists of orders may have other conditions than a customer and states, and orders may be read in a batch, also where other nodes have them; logs say
//!       where changes of orders come from, and snapshots of shards may be of format 5: as long as it is not known of every node that it speaks 5, nothing of that is logged;
//!       logs have payments by providers: while a node speaks 4, no order is placed with one; the log of the meta group may have
//!       webhooks, and its snapshots be of format 2: while a node speaks 4, no webhook is made |
//! | 6 | logs say that orders were closed, and have left memory for the archive, and have fulfilments that are planned, and snapshots of shards may be of
//!       format 6: as long as it is not known of every node that it speaks 6, none is closed or archived; while a node speaks 5, none is planned |
//! | 7 | logs have items that promise more than there is, and what orders wait for, and say that a provider is to authorise what an edit has its order cost more,
//!       and snapshots of shards may be of format 7: while a node speaks 6, no item may begin to, and no such edit is begun; an item promises nothing that is not
//!       there to an order that is led by a node which speaks 6 |
//! | 8 | the log of the meta group may have flags and limits of callers, and its snapshots be of format 3: while a node speaks 7, none is set;
//!       nodes tell one another what callers have taken: who speaks 7 is told nothing |
//! | 9 | the registry may say at which of these versions the cluster is *finalised*: while a node speaks 8, it does not |
//! | 10 | the registry may have a standby, a fence and an epoch (`registry/standby.rs`): while a node speaks 9, no standby is registered |
//!
//! What a version brings to logs and snapshots is put there only once the cluster is finalised at it (`finalizing.rs`), so that each node can
//! go back to the program before until then.

use std::fmt;

use docket_proto::peer::HelloRequest;

use crate::NodeId;

/// The newest version of the peer protocol that this program speaks.
pub const PROTOCOL_VERSION: u32 = 10;

/// The oldest.
pub const PROTOCOL_VERSION_OLDEST: u32 = 1;

/// The version at which a cluster is finalised that does not say so: the newest before there was anything to say it.
pub const FINALISED_IMPLIED: u32 = 8;

/// A range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest in it.
    pub oldest: u32,
    /// The newest in it.
    pub newest: u32,
}

impl Versions {
    /// What a caller speaks. One that names no range speaks one version.
    pub(super) fn of(hello: &HelloRequest) -> Self {
        let newest = hello.protocol_version;
        let oldest = match hello.oldest_version {
            0 => newest,
            oldest => oldest,
        };
        Self { oldest, newest }
    }

    pub(crate) fn contain(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// The newest that is in both.
    pub(super) fn common(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (self.contain(newest) && other.contain(newest)).then_some(newest)
    }
}

impl Default for Versions {
    /// What this program speaks.
    fn default() -> Self {
        Self {
            oldest: PROTOCOL_VERSION_OLDEST,
            newest: PROTOCOL_VERSION,
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "version {}", self.newest),
            false => write!(f, "versions {} to {}", self.oldest, self.newest),
        }
    }
}

/// Two nodes that cannot talk to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node {node} speaks {speaks} of the peer protocol and node {other} {other_speaks}, and they have none in common: upgrade the \
     older one step by step, through each version in between"
)]
pub struct NoCommonVersion {
    /// The one.
    pub node: NodeId,
    /// What it speaks.
    pub speaks: Versions,
    /// The other.
    pub other: NodeId,
    /// What that speaks.
    pub other_speaks: Versions,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(oldest: u32, newest: u32) -> Versions {
        Versions { oldest, newest }
    }

    #[test]
    fn two_nodes_speak_the_newest_version_that_both_know() {
        for (one, other, common) in [
            (versions(1, 1), versions(1, 1), Some(1)),
            (versions(1, 2), versions(1, 1), Some(1)),
            (versions(1, 2), versions(2, 3), Some(2)),
            (versions(1, 4), versions(2, 3), Some(3)),
            (versions(1, 1), versions(2, 3), None),
            (versions(3, 4), versions(1, 2), None),
            // What no program says.
            (versions(2, 1), versions(1, 2), None),
        ] {
            assert_eq!(one.common(other), common, "{one}, {other}");
            assert_eq!(other.common(one), common, "{other}, {one}");
        }
    }

    #[test]
    fn a_caller_without_a_range_speaks_one_version() {
        let hello = HelloRequest {
            protocol_version: 3,
            ..HelloRequest::default()
        };
        assert_eq!(Versions::of(&hello), versions(3, 3));
        let oldest_version = 2;
        let hello = HelloRequest {
            oldest_version,
            ..hello
        };
        assert_eq!(Versions::of(&hello), versions(2, 3));
    }
}

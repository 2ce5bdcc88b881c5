//! Which versions of each format this program writes and reads: all that outlives it on a disk, and what nodes speak.

use docket_persistence::Format;
use docket_proto::{access, snapshot, steering, webhook};

/// All of them. What of each is in use is the state's to say: whatever has nothing new in it is written in an older version.
pub fn formats() -> Vec<Format> {
    let format = |name, oldest, newest| Format { name, oldest, newest };
    let own = [
        format("shard snapshots", snapshot::FORMAT_OLDEST, snapshot::FORMAT),
        format("archived orders", snapshot::FORMAT_OLDEST, snapshot::FORMAT),
        format("accounts snapshots", 1, access::ACCESS_SNAPSHOT_FORMAT),
        format("webhook records", 1, webhook::FORMAT.into()),
        format("steering records", 1, steering::FORMAT.into()),
    ];
    docket_cluster::formats().into_iter().chain(own).collect()
}

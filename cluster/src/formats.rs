//! Which versions of each format this program writes and reads, with those of what is below.

use docket_persistence::Format;

use crate::{PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST};
use crate::{identity, log, noted, registry, snapshots};

/// Those of this crate and of the journal's.
pub fn formats() -> Vec<Format> {
    let format = |name, oldest, newest| Format { name, oldest, newest };
    let own = [
        format("peer protocol", PROTOCOL_VERSION_OLDEST, PROTOCOL_VERSION),
        format("data directory", 1, identity::FORMAT_VERSION),
        format("log records", 1, log::RECORD_VERSION.into()),
        format("registry", 1, registry::FORMAT.into()),
        format("snapshot meta data", 1, snapshots::VERSION.into()),
        format("noted digests", 1, noted::FORMAT_VERSION),
    ];
    own.into_iter().chain(docket_persistence::FORMATS).collect()
}

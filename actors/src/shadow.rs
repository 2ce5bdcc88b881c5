//! A replay of a node's data by this program, beside the node: see `docket_cluster::shadow`.

use std::{path::Path, sync::Arc};

use docket_cluster::{GroupId, ShadowError, ShadowReport, StateMachine};
use docket_persistence::{
    StoreError,
    archive::{ARCHIVE_DIR, Archive},
    sealing::Keyring,
};

use crate::{
    access::AccessMachine, archive::OrderArchive, committed::Committed, feed::FeedLimits,
    machine::ShardMachine,
};

/// There is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ShadowOpenError {
    /// Of journal and snapshots.
    #[error(transparent)]
    Shadow(#[from] ShadowError),
    /// The archive beside them.
    #[error("the archive cannot be opened: {0}")]
    Archive(#[from] StoreError),
}

/// Replays what is in `data_dir`, a copy that nobody else uses, opened with these keys where it is sealed, and holds the states against what was noted of them by who wrote it. Blocks.
///
/// # Errors
/// The directory is not sound, or this program cannot read what is in it. States that are others are in the report.
pub fn shadow(data_dir: &Path, keys: &Keyring) -> Result<ShadowReport, ShadowOpenError> {
    shadow_with(data_dir, keys, &|_, machine| machine)
}

/// The same with machines that `around` makes of this program's: for tests, which have one decide otherwise.
///
/// # Errors
/// As [`shadow`].
pub fn shadow_with(
    data_dir: &Path,
    keys: &Keyring,
    around: &dyn Fn(GroupId, Arc<dyn StateMachine>) -> Arc<dyn StateMachine>,
) -> Result<ShadowReport, ShadowOpenError> {
    let archive = Archive::open(&data_dir.join(ARCHIVE_DIR), keys)?;
    let (ids, meta) = (Arc::default(), AccessMachine::new());
    let machine = |group: GroupId| -> Arc<dyn StateMachine> {
        let own: Arc<dyn StateMachine> = match group.shard() {
            Some(shard) => {
                let archive = OrderArchive::of(&archive, shard.number(), &ids);
                // What of orders' changes is kept decides nothing.
                let committed = Arc::new(Committed::new(FeedLimits::default(), archive));
                Arc::new(ShardMachine::new(committed, Arc::clone(&ids), Arc::default()))
            }
            None => Arc::new(meta.clone()),
        };
        around(group, own)
    };
    let report = docket_cluster::shadow(data_dir, keys, &machine);
    archive.close();
    Ok(report?)
}

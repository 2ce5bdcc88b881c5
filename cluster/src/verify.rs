//! Offline verification: what the journal and the snapshots are in themselves ([`docket_persistence::verify`]), and whether they fit
//! together: a journal is cut behind snapshots, so that what is left of it is worth nothing without them.

use std::collections::BTreeMap;
use std::path::Path;

use docket_persistence::sealing::Keyring;
use docket_persistence::{
    Inspect, JOURNAL_DIR, JournalError, Position, SNAPSHOTS_DIR, SnapshotInfo, VerifyReport, verify_with,
};

use crate::GroupId;
use crate::log::{Record, decode};
use crate::snapshots::{self, StoredMeta};

/// Verifies the journal and the snapshots of `data_dir`, which no node may be using, and that each group has a good snapshot of all that its log
/// was purged of. What is sealed is opened with `keys`. Changes nothing.
///
/// # Errors
/// The directory is in use or cannot be read at all. What is wrong inside is in the report.
pub fn verify(data_dir: &Path, keys: &Keyring) -> Result<VerifyReport, JournalError> {
    look(data_dir, keys).map(|(report, _)| report)
}

/// The same, with what is there of each group.
pub(crate) fn look(
    data_dir: &Path,
    keys: &Keyring,
) -> Result<(VerifyReport, BTreeMap<u32, OfGroup>), JournalError> {
    let mut found = Found::default();
    let mut report = verify_with(data_dir, keys, &mut found)?;
    let snapshots_dir = data_dir.join(SNAPSHOTS_DIR);
    if let Some(why) = found.unreadable {
        report.problem(data_dir.join(JOURNAL_DIR), why);
    }
    for (group, of_group) in &found.groups {
        if let Some(why) = of_group.unreadable.clone() {
            report.problem(snapshots_dir.join(group.to_string()), why);
        }
        let (begins_at, held) = (of_group.log_begins_at, of_group.snapshot_next);
        if begins_at > held {
            let group = *group;
            let holds = match held {
                0 => "there is no good snapshot of it".to_owned(),
                _ => format!("the newest good snapshot of it ends before entry {held}"),
            };
            let group_id = GroupId(group);
            report.problem(
                snapshots_dir.join(group.to_string()),
                format!(
                    "{group_id}: the journal was cut and has its entries from {begins_at} on, and {holds}. \
                     Restore the data directory from a backup"
                ),
            );
        }
    }
    Ok((report, found.groups))
}

/// What is there of each group.
#[derive(Default)]
struct Found {
    groups: BTreeMap<u32, OfGroup>,
    /// The first record that is none of this version's.
    unreadable: Option<String>,
}

/// What is there of one group.
#[derive(Default)]
pub(crate) struct OfGroup {
    /// Whether an entry or a purge was seen.
    seen: bool,
    /// The first index of its log that the journal still has.
    pub(crate) log_begins_at: u64,
    /// The index after the last one that a good snapshot holds; 0 without one.
    snapshot_next: u64,
    /// Its good snapshots: their ids, and what each stands for.
    pub(crate) snapshots: Vec<(u64, StoredMeta)>,
    unreadable: Option<String>,
}

impl OfGroup {
    /// Whether the journal has anything of its log.
    pub(crate) fn is_seen(&self) -> bool {
        self.seen
    }
}

impl Inspect for Found {
    fn record(&mut self, position: Position, record: &[u8]) {
        let (group, record) = match decode(record) {
            Ok(decoded) => decoded,
            Err(error) => {
                let why = || format!("the record at {position} cannot be read: {error}");
                self.unreadable.get_or_insert_with(why);
                return;
            }
        };
        let of_group = self.groups.entry(group.0).or_default();
        match record {
            Record::Purge(upto) => of_group.log_begins_at = of_group.log_begins_at.max(upto.index + 1),
            Record::Entry(entry) if !of_group.seen => of_group.log_begins_at = entry.index,
            // What comes before counts no more, and snapshots are either younger or about to be removed.
            Record::Drop(_) => (of_group.seen, of_group.log_begins_at) = (false, 0),
            Record::Entry(_) | Record::Vote(_) | Record::Truncation(_) | Record::Dropped(_) => {}
        }
        of_group.seen |= matches!(record, Record::Purge(_) | Record::Entry(_));
    }

    fn snapshot(&mut self, info: &SnapshotInfo, meta: &[u8]) {
        let of_group = self.groups.entry(info.group).or_default();
        match snapshots::decode(meta) {
            Ok(meta) => {
                let next = meta.raft.last_log_id.map_or(0, |id| id.index + 1);
                of_group.snapshot_next = of_group.snapshot_next.max(next);
                of_group.snapshots.push((info.id, meta));
            }
            Err(error) => of_group.unreadable = Some(error.to_string()),
        }
    }
}

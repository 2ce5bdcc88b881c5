//! With which keys the files of a data directory are sealed, measured for whoever wants to let go of a key.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use docket_audit::AUDIT_DIR;
use docket_persistence::at_rest;
use docket_sealing::{KeyId, Keyring};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::measured::{FILES_PLAIN, FILES_SEALED};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How many files are sealed with which key. A file is a segment of the journal, a snapshot, the archive, or a file of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// By the key.
    pub sealed: BTreeMap<KeyId, u64>,
    /// Those that are not sealed.
    pub plain: u64,
    /// Those that do not say.
    pub unreadable: Vec<PathBuf>,
}

/// Looks at a data directory, whose node may be running. Blocks.
pub fn in_use(data_dir: &Path) -> InUse {
    let mut usage = at_rest::usage(data_dir);
    let folder = data_dir.join(AUDIT_DIR);
    match docket_audit::usage(&folder) {
        Ok(files) => files.into_iter().for_each(|key| usage.add(key)),
        Err(_) => usage.unreadable.push(folder),
    }
    let at_rest::Usage {
        sealed,
        plain,
        unreadable,
    } = usage;
    InUse {
        sealed,
        plain,
        unreadable,
    }
}

/// Measures it now and every minute, until it is dropped.
pub fn watch(data_dir: &Path, keys: &Keyring) -> AbortOnDropHandle<()> {
    let (data_dir, current) = (data_dir.to_owned(), keys.current());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: Vec<KeyId> = current.into_iter().collect();
        loop {
            ticks.tick().await;
            let dir = data_dir.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || in_use(&dir)).await else {
                continue;
            };
            for key in found.sealed.keys() {
                if !known.contains(key) {
                    known.push(*key);
                }
            }
            // One that nothing uses any more says so.
            for key in &known {
                let files = found.sealed.get(key).copied().unwrap_or(0);
                metrics::gauge!(FILES_SEALED, "key" => key.to_string()).set(files as f64);
            }
            metrics::gauge!(FILES_PLAIN).set(found.plain as f64);
        }
    }))
}

//! A data directory that is made of a backup: each group's state as its log had it at some entry, on the first node of a new cluster.
//!
//! ```text
//!  of the backup: a snapshot ──▶ the machine ◀── entries, in log order, up to the one that it is to end with
//!                                    │
//!                                    ▼
//!  in the directory:   a snapshot with this node as its only member  │  in the journal: a vote of that term, and that the log
//!                                                                    │  was purged up to that entry
//! ```
//!
//! Only what the machines hold comes over. Who the members were, where replicas are and which nodes there were is left behind: the new cluster
//! is its first node alone, under an id of its own, and grows as any other does. Terms and indexes go on where they were, so that positions in
//! the feed stay what they are.
//!
//! It is resumable: each group that is whole is noted in a file, which also keeps a node from being started on what is half there. Only when all
//! is there the directory gets its identity, and the file goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use docket_persistence::sealing::Keyring;
use docket_persistence::{JOURNAL_DIR, Journal, JournalError, JournalOptions, SNAPSHOTS_DIR};
use serde::{Deserialize, Serialize};

use crate::export::LoggedEntry;
use crate::following::PRIMARY;
use crate::identity::{Identity, write_whole};
use crate::limits::SHARDS_MAX;
use crate::log::record;
use crate::machine::{Entry, StateMachine};
use crate::raft::{Membership, SnapshotMeta, StoredMembership, Vote, log_id};
use crate::registry::{MetaMachine, SharedRegistry};
use crate::snapshots::{Snapshots, StoredMeta, Taken};
use crate::{ClusterError, GroupId, NodeId};

/// Notes how far a restore has come.
const FILE: &str = "restoring.json";
/// The node that the new cluster begins with.
const NODE: NodeId = NodeId(1);

/// Why a directory cannot be restored to, or a group not.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in it.
    #[error(
        "{} is not empty: a backup is restored to a new folder, and never over what is there",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Something else was begun to be restored to it.
    #[error(
        "{} is half of another restore ({begun}): go on with that one, or remove the folder",
        path.display()
    )]
    Another {
        /// The directory.
        path: PathBuf,
        /// What was begun.
        begun: String,
    },
    /// What the backup has of a group is not whole, or not this program's.
    #[error("{group}: {cause}")]
    Group {
        /// Which group.
        group: GroupId,
        /// What is wrong.
        cause: String,
    },
    /// The disk's.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The journal's or the identity's.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The journal's.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Up to where a group was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Index after that of the last entry; 0 where the group holds nothing.
    pub next: u64,
    /// The term of that entry's leader.
    pub term: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    /// What is restored.
    of: String,
    cluster_id: String,
    shards: u16,
    groups: BTreeMap<u32, Restored>,
}

/// A directory that is being restored to.
pub struct Restoring {
    dir: PathBuf,
    /// What all of it is sealed with.
    keys: Keyring,
    snapshots: Arc<Snapshots>,
    noted: Noted,
}

/// Whether a restore to this directory was begun and not finished.
pub(crate) fn is_unfinished(dir: &Path) -> bool {
    dir.join(FILE).exists()
}

impl Restoring {
    /// What was begun to be restored to a directory and is not finished, in the words that [`begin`](Self::begin) was given then.
    ///
    /// # Errors
    /// What is noted there cannot be read.
    pub fn begun(dir: &Path) -> Result<Option<String>, RestoreError> {
        Ok(noted(dir)?.map(|noted| noted.of))
    }

    /// Begins to restore to a directory that is empty or not there, or goes on where the same (`of`, in words) was begun. What is written is sealed as
    /// `keys` say.
    ///
    /// # Errors
    /// [`RestoreError::NotEmpty`], [`RestoreError::Another`], or the disk's.
    pub fn begin(dir: &Path, of: &str, shards: u16, keys: &Keyring) -> Result<Self, RestoreError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(ClusterError::Option {
                option: "shards",
                value: shards.to_string(),
                requirement: "it must be from 1 to 1024",
            }
            .into());
        }
        let failed = |source| RestoreError::Io {
            path: dir.to_owned(),
            source,
        };
        let noted = match noted(dir)? {
            Some(noted) if (noted.of.as_str(), noted.shards) != (of, shards) => {
                return Err(RestoreError::Another {
                    path: dir.to_owned(),
                    begun: noted.of,
                });
            }
            Some(noted) => noted,
            None => {
                fs::create_dir_all(dir).map_err(failed)?;
                if fs::read_dir(dir).map_err(failed)?.next().is_some() {
                    return Err(RestoreError::NotEmpty { path: dir.to_owned() });
                }
                Noted {
                    of: of.to_owned(),
                    cluster_id: uuid::Uuid::new_v4().to_string(),
                    shards,
                    groups: BTreeMap::new(),
                }
            }
        };
        let restoring = Self {
            snapshots: Snapshots::open(&dir.join(SNAPSHOTS_DIR), keys)?,
            dir: dir.to_owned(),
            keys: keys.clone(),
            noted,
        };
        restoring.note()?;
        Ok(restoring)
    }

    /// Up to where a group is restored, if it is.
    pub fn restored(&self, group: GroupId) -> Option<Restored> {
        self.noted.groups.get(&group.0).copied()
    }

    /// The id of the new cluster.
    pub fn cluster_id(&self) -> &str {
        &self.noted.cluster_id
    }

    /// Restores a group: has the machine, which is empty, read the snapshot (its last entry's index and term, and its bytes) if there is one, apply the entries
    /// behind it as far as they are `wanted`, and stores what it holds then, if that is accepted. Blocks.
    ///
    /// # Errors
    /// The backup's, or the disk's. The group can be restored again, with another machine.
    pub fn group(
        &mut self,
        group: GroupId,
        machine: Arc<dyn StateMachine>,
        snapshot: Option<(Restored, &mut dyn Iterator<Item = io::Result<Bytes>>)>,
        entries: &mut dyn Iterator<Item = io::Result<LoggedEntry>>,
        wanted: &mut dyn FnMut(&LoggedEntry) -> io::Result<bool>,
        accept: &dyn Fn() -> io::Result<()>,
    ) -> Result<Restored, RestoreError> {
        let failed = |cause: &dyn std::fmt::Display| RestoreError::Group {
            group,
            cause: cause.to_string(),
        };
        self.snapshots.remove(group).map_err(|error| failed(&error))?;
        let (machine, registry) = match group {
            GroupId::META => {
                let registry = SharedRegistry::new();
                let meta = MetaMachine::new(registry.clone(), machine, crate::program::speaks().newest);
                (Arc::new(meta) as Arc<dyn StateMachine>, Some(registry))
            }
            _ => (machine, None),
        };
        let restored = replay(&*machine, snapshot, entries, wanted).map_err(|error| failed(&error))?;
        accept().map_err(|error| failed(&error))?;
        if let Some(last) = restored.next.checked_sub(1) {
            if let Some(registry) = registry {
                // The nodes that there were are none of the new cluster's.
                registry.forget();
            }
            machine.sync_aside().map_err(|error| failed(&error))?;
            let last = log_id(restored.term, last);
            let members = Membership::new_with_defaults(vec![BTreeSet::from([NODE.0])], []);
            let meta = StoredMeta {
                raft: SnapshotMeta {
                    last_log_id: Some(last),
                    last_membership: StoredMembership::new(Some(last), members),
                },
                taken: Some(Taken::now()),
                digest: None,
            };
            let written = self.snapshots.write(group, &meta, machine.capture(), &|| Ok(()));
            written.map_err(|error| failed(&error))?;
        }
        self.noted.groups.insert(group.0, restored);
        self.note()?;
        Ok(restored)
    }

    /// All groups are there: makes the directory that of a node which can be started.
    ///
    /// # Errors
    /// A group is missing, or the disk's.
    pub fn finish(self) -> Result<(), RestoreError> {
        self.finish_for(false)
    }

    /// The same of a node that is going to follow another cluster: its votes are for that one's leaders.
    ///
    /// # Errors
    /// As [`finish`](Self::finish)'s.
    pub fn finish_standby(self) -> Result<(), RestoreError> {
        self.finish_for(true)
    }

    fn finish_for(self, standby: bool) -> Result<(), RestoreError> {
        for number in 0..=u32::from(self.noted.shards) {
            if !self.noted.groups.contains_key(&number) {
                return Err(RestoreError::Group {
                    group: GroupId(number),
                    cause: "it was not restored".to_owned(),
                });
            }
        }
        let mut records = Vec::new();
        for (number, restored) in &self.noted.groups {
            let Some(last) = restored.next.checked_sub(1) else {
                continue;
            };
            let group = GroupId(*number);
            let vote = match standby {
                true => Vote::new_committed(restored.term, PRIMARY),
                false => Vote::new(restored.term, NODE.0),
            };
            records.push(record::vote(group, &vote));
            records.push(record::purge(group, &log_id(restored.term, last)));
        }
        let options = JournalOptions {
            keys: self.keys.clone(),
            ..JournalOptions::new(self.dir.join(JOURNAL_DIR))
        };
        let (journal, _) = Journal::open(options, &mut |_, _| {})?;
        if !records.is_empty() {
            let (tell, told) = mpsc::channel();
            let done = move |result: Result<&[docket_persistence::Position], JournalError>| {
                // Who waits is here until it is told.
                let _ = tell.send(result.map(drop));
            };
            journal.append(records, Box::new(done))?;
            told.recv().map_err(|_| RestoreError::Io {
                path: self.dir.clone(),
                source: io::Error::other("the journal ended"),
            })??;
        }
        journal.close();
        self.snapshots.close();
        let node = Some((self.noted.cluster_id.as_str(), NODE));
        // A new cluster, of what this program speaks.
        let founded_at = Some(crate::program::speaks().newest);
        Identity::open(
            &self.dir,
            Some(self.noted.shards),
            self.noted.shards,
            node,
            founded_at,
        )?;
        let failed = |source| RestoreError::Io {
            path: self.dir.clone(),
            source,
        };
        fs::remove_file(self.dir.join(FILE)).map_err(failed)?;
        fs::File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)
    }

    fn note(&self) -> Result<(), RestoreError> {
        let json = serde_json::to_vec_pretty(&self.noted).map_err(|error| RestoreError::Io {
            path: self.dir.clone(),
            source: io::Error::other(error),
        })?;
        Ok(write_whole(&self.dir, FILE, &json)?)
    }
}

/// How far a restore to this directory has come, where one was begun and is not finished.
fn noted(dir: &Path) -> Result<Option<Noted>, RestoreError> {
    let failed = |source| RestoreError::Io {
        path: dir.to_owned(),
        source,
    };
    match fs::read(dir.join(FILE)) {
        Ok(json) => {
            let noted = serde_json::from_slice(&json);
            noted.map(Some).map_err(|error| failed(io::Error::other(error)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Has a machine read a snapshot and apply the entries behind it, as far as they are `wanted`. Blocks.
///
/// # Errors
/// What is there is not whole, or not this program's; the machine may then hold anything.
pub fn replay(
    machine: &dyn StateMachine,
    snapshot: Option<(Restored, &mut dyn Iterator<Item = io::Result<Bytes>>)>,
    entries: &mut dyn Iterator<Item = io::Result<LoggedEntry>>,
    wanted: &mut dyn FnMut(&LoggedEntry) -> io::Result<bool>,
) -> io::Result<Restored> {
    let mut at = Restored { next: 0, term: 0 };
    if let Some((end, chunks)) = snapshot {
        guard("reading its snapshot", || machine.restore(chunks))?.map_err(io::Error::other)?;
        at = end;
    }
    for entry in entries {
        let entry = entry?;
        // Segments may begin before the snapshot ends.
        if entry.index < at.next {
            continue;
        }
        if entry.index > at.next || entry.term < at.term {
            return Err(io::Error::other(format!(
                "entry {} of term {} follows entry {} of term {}: entries are missing",
                entry.index,
                entry.term,
                at.next.wrapping_sub(1),
                at.term
            )));
        }
        if !wanted(&entry)? {
            break;
        }
        let (index, term) = (entry.index, entry.term);
        guard("applying its entries", || match &entry.payload {
            Some(payload) => drop(machine.apply(Entry { index, term, payload })),
            None => machine.skip(index),
        })?;
        at = Restored {
            next: index + 1,
            term,
        };
    }
    Ok(at)
}

/// A machine panics over an entry that it cannot apply.
fn guard<T>(doing: &str, code: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        io::Error::other(format!("{doing}: {}", text.unwrap_or_default()))
    })
}

//! A replay beside the node: what this program makes of a journal that another one has written, before it takes its place.
//!
//! ```text
//!  a copy of a data directory
//!   ├─ the oldest snapshot that the journal goes on from, or nothing where the journal has all ─restore─▶ the state
//!   ├─ the journal behind it ───────────────────────────────────────────────────────────────────apply──▶ a digest after every entry
//!   └─ the digests that the other program has noted: in each newer snapshot, and as it stopped ──────────▶ equal?
//! ```
//!
//! The digests are those by which replicas are held against each other (`digest.rs`): a running hash of each entry, of what was answered, and
//! of the values that it has left. The first difference lies between the newest entry after which both were equal and the one that is named.
//!
//! The directory is opened as a node's is, and changed by that: it has to be a copy.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docket_persistence::sealing::Keyring;
use docket_persistence::{Journal, JournalError, JournalOptions, Problem, SNAPSHOTS_DIR, VerifyReport};
use tokio::sync::{Notify, watch};

use crate::apply::Applier;
use crate::digest::{Digest, Mark, Noted};
use crate::node::group_ids;
use crate::noted::{self, NotedDigests};
use crate::progress::{Progress, Stop};
use crate::recovery::{OpenJournal, recover};
use crate::registry::{MetaMachine, SharedRegistry};
use crate::snapshots::{Snapshots, StoredMeta};
use crate::verify::{OfGroup, look};
use crate::{ClusterError, GroupId, Identity, Ring, StateMachine};

/// Bytes of log since the last snapshot from which on a replay would take one.
const SNAPSHOTS_NEVER: u64 = u64::MAX;

/// What a replay has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowReport {
    /// Whose directory it is.
    pub identity: Identity,
    /// The newest version of the peer protocol that the program spoke which noted its digests as it stopped; `None` where none has.
    pub noted_by: Option<u32>,
    /// What the journal is.
    pub frames: u64,
    /// Its groups, the meta group first.
    pub groups: Vec<ShadowGroup>,
}

/// What the replay of one group has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowGroup {
    /// The group.
    pub group: GroupId,
    /// The last entry in the snapshot that it was begun with; `None` where it was begun with nothing.
    pub snapshot: Option<u64>,
    /// Entries that were applied.
    pub replayed: u64,
    /// The last one; `None` where the group has none.
    pub last: Option<u64>,
    /// How its states are, held against those of who wrote the journal.
    pub outcome: Shadowed,
}

/// How the states of a replay are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadowed {
    /// As noted, after this many entries, the last of which is this one.
    Equal {
        /// Entries of which both programs' digests are known.
        compared: u64,
        /// The newest of them.
        at: u64,
    },
    /// Another one after this entry than was noted.
    Different {
        /// The first entry after which they differed.
        at: u64,
        /// The newest entry before it after which they were equal, if there is one.
        equal_at: Option<u64>,
    },
    /// Nothing was noted that the replay has come by.
    NothingNoted,
    /// What was noted is of another kind, or was begun elsewhere: nothing can be said.
    Unlike,
}

impl ShadowReport {
    /// The groups whose states are others.
    pub fn different(&self) -> impl Iterator<Item = &ShadowGroup> {
        let differs = |group: &&ShadowGroup| matches!(group.outcome, Shadowed::Different { .. });
        self.groups.iter().filter(differs)
    }
}

/// There is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The directory is nobody's.
    #[error("{} has no identity: it is no server's data directory", path.display())]
    NoIdentity {
        /// The directory.
        path: PathBuf,
    },
    /// What is in it is not whole.
    #[error("the data is not sound: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unsound {
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// It cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What was noted cannot be read.
    #[error("the digests that were noted cannot be read: {0}")]
    Noted(#[from] io::Error),
    /// This program cannot make anything of it.
    #[error("this program cannot replay it: {0}")]
    Replay(#[from] ClusterError),
}

/// Replays the journal in `data_dir`, a copy that nobody else uses, opened with these keys where it is sealed, and holds the states against what was noted of them. `machine` is asked
/// once for the state machine of each group, the meta group first, then the shards in order. Blocks.
///
/// # Errors
/// The directory is not sound, or this program cannot read what is in it. States that are others are in the report.
pub fn shadow(
    data_dir: &Path,
    keys: &Keyring,
    machine: &dyn Fn(GroupId) -> Arc<dyn StateMachine>,
) -> Result<ShadowReport, ShadowError> {
    let identity = Identity::read(data_dir)?.ok_or_else(|| ShadowError::NoIdentity {
        path: data_dir.to_owned(),
    })?;
    let ring = Ring::new(identity.shards).ok_or_else(|| ShadowError::NoIdentity {
        path: data_dir.to_owned(),
    })?;
    let (VerifyReport { problems, frames, .. }, found) = look(data_dir, keys)?;
    if !problems.is_empty() {
        return Err(ShadowError::Unsound { problems });
    }
    let noted = noted::read(data_dir)?;
    let plans = Plans::new(ring, &found, &noted);
    let snapshots = Snapshots::open_chosen(&data_dir.join(SNAPSHOTS_DIR), keys, plans.chosen())?;

    let (failed, _) = watch::channel(None);
    let registry = SharedRegistry::new();
    let appliers = plans.0.values().map(|plan| {
        let call = Arc::new(Notify::new());
        let progress = Arc::new(Progress::new(
            plan.group,
            identity.node_id.0,
            call,
            SNAPSHOTS_NEVER,
        ));
        let machine: Arc<dyn StateMachine> = match plan.group {
            GroupId::META => Arc::new(MetaMachine::new(
                registry.clone(),
                machine(plan.group),
                crate::program::speaks().newest,
            )),
            _ => machine(plan.group),
        };
        let stop = Stop::new(failed.clone());
        let mut applier = Applier::new(machine, progress, Arc::clone(&snapshots), stop);
        applier.hold_against(Noted::new(plan.marks.iter().copied()));
        applier
    });
    let appliers = appliers.collect();
    let committed: Vec<u64> = plans.0.values().map(Plan::committed_next).collect();
    let journal = JournalOptions {
        keys: keys.clone(),
        ..JournalOptions::new(data_dir.join(docket_persistence::JOURNAL_DIR))
    };
    let open: OpenJournal = Box::new(|replay| Journal::open(journal, replay));
    let recovered = recover(appliers, 0, &snapshots, open, &committed);
    snapshots.close();
    let (journal, _, recovered) = recovered?;
    journal.close();
    let groups = plans
        .0
        .values()
        .zip(recovered)
        .map(|(plan, recovered)| plan.report(&recovered.applier));
    Ok(ShadowReport {
        identity,
        noted_by: noted.protocol_version,
        frames,
        groups: groups.collect(),
    })
}

/// With what each group's replay begins, and what it is held against.
struct Plans(BTreeMap<GroupId, Plan>);

struct Plan {
    group: GroupId,
    /// The snapshot that it begins with, and what that stands for.
    base: Option<(u64, StoredMeta)>,
    marks: Vec<Mark>,
}

impl Plans {
    fn new(ring: Ring, found: &BTreeMap<u32, OfGroup>, noted: &NotedDigests) -> Self {
        let plan = |group: GroupId| {
            let (nothing, none) = (OfGroup::default(), Vec::new());
            let of_group = found.get(&group.0).unwrap_or(&nothing);
            Plan::new(group, of_group, noted.groups.get(&group).unwrap_or(&none))
        };
        Self(group_ids(ring).map(|group| (group, plan(group))).collect())
    }

    fn chosen(&self) -> HashMap<GroupId, Option<u64>> {
        let chosen = |plan: &Plan| (plan.group, plan.base.as_ref().map(|(id, _)| *id));
        self.0.values().map(chosen).collect()
    }
}

impl Plan {
    fn new(group: GroupId, of_group: &OfGroup, noted: &[Mark]) -> Self {
        let next = |meta: &StoredMeta| meta.raft.last_log_id.map_or(0, |id| id.index + 1);
        let mut snapshots: Vec<_> = of_group.snapshots.iter().collect();
        snapshots.sort_by_key(|(id, _)| *id);
        // A log that is there from its begin needs no snapshot; any other is gone on with from the oldest that it reaches back to.
        let reached = |(_, meta): &&&(u64, StoredMeta)| next(meta) >= of_group.log_begins_at;
        let base = match of_group.log_begins_at {
            0 if of_group.is_seen() => None,
            _ => snapshots.iter().find(reached).map(|found| (*found).clone()),
        };
        let in_snapshots = snapshots.iter().filter_map(|(_, meta)| {
            let index = meta.raft.last_log_id?.index;
            let digest = meta.digest.filter(Digest::is_of_values)?;
            Some(Mark { index, digest })
        });
        Self {
            group,
            base,
            marks: in_snapshots.chain(noted.iter().copied()).collect(),
        }
    }

    /// What was applied was committed, whether or not the journal says so by now.
    fn committed_next(&self) -> u64 {
        self.marks.iter().map(|mark| mark.index + 1).max().unwrap_or(0)
    }

    fn report(&self, applier: &Applier) -> ShadowGroup {
        let snapshot = self.base.as_ref().and_then(|(_, meta)| meta.raft.last_log_id);
        let last = applier.applied().map(|id| id.index);
        let first = snapshot.map_or(0, |id| id.index + 1);
        let outcome = applier.noted().map(Noted::outcome).unwrap_or_default();
        let outcome = match (outcome.different_at, outcome.equal_at) {
            (Some(at), equal_at) => Shadowed::Different { at, equal_at },
            (None, Some(at)) => Shadowed::Equal {
                compared: outcome.equal,
                at,
            },
            (None, None) if outcome.unlike > 0 => Shadowed::Unlike,
            (None, None) => Shadowed::NothingNoted,
        };
        ShadowGroup {
            group: self.group,
            snapshot: snapshot.map(|id| id.index),
            replayed: last.map_or(0, |last| (last + 1).saturating_sub(first)),
            last,
            outcome,
        }
    }
}

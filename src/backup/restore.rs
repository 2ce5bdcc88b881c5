//! Reads backups: to see whether they can be read, or into a new data directory.

use std::{collections::VecDeque, io, path::Path, sync::Arc};

use bytes::Bytes;
use docket_actors::backup::{Blank, Blanks, stamped};
use docket_backup::{Base, Manifest, Object, Reading, Repository};
use docket_cluster::{GroupId, LoggedEntry, Restored, Restoring, replay};
use docket_sealing::Keyring;
use tokio::runtime::Handle;

use crate::failure::Failure;

/// A backup, and up to which time it is read.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// It and those before it, the newest first, as far as they are needed.
    pub chain: Vec<Manifest>,
    /// In microseconds since 1970.
    pub until_us: i64,
}

/// The backup of this name, or the first that reaches this time, or the newest.
///
/// # Errors
/// There is none such, or it is not whole.
pub async fn choose(
    repository: &Repository,
    id: Option<&str>,
    at_us: Option<i64>,
) -> Result<Chosen, Failure> {
    let mut ids = repository.backups().await.map_err(failed)?;
    let place = repository.place();
    let Some(newest) = ids.pop() else {
        return Err(Failure::Other(format!("{place} has no finished backup")));
    };
    let mut chosen = match id {
        Some(id) => repository.manifest(id).await.map_err(failed)?.0,
        None => repository.manifest(&newest).await.map_err(failed)?.0,
    };
    let until_us = at_us.unwrap_or(chosen.until_us);
    if until_us > chosen.until_us {
        return Err(Failure::Other(format!(
            "backup {} ends at {}, before that time",
            chosen.id,
            moment(chosen.until_us)
        )));
    }
    // The oldest that reaches it: least is read in vain.
    while id.is_none()
        && let Some(before) = ids.pop()
    {
        let (before, _) = repository.manifest(&before).await.map_err(failed)?;
        if before.until_us < until_us {
            break;
        }
        chosen = before;
    }
    let chain = repository.chain(&chosen.id, until_us).await.map_err(failed)?;
    Ok(Chosen { chain, until_us })
}

impl Chosen {
    fn newest(&self) -> Result<&Manifest, Failure> {
        let newest = self.chain.first();
        newest.ok_or_else(|| Failure::Other("a backup without a manifest".to_owned()))
    }

    fn reading(&self, group: u32) -> Result<Reading<'_>, Failure> {
        let reading = Reading::of(&self.chain, group, self.until_us);
        reading.ok_or_else(|| Failure::Other(format!("{}: something of it is missing", GroupId(group))))
    }

    /// How a group is read, by itself.
    fn plan(&self, group: GroupId) -> Result<Plan, Failure> {
        let newest = self.newest()?;
        let reading = self.reading(group.0)?;
        let objects = |objects: &[&Object]| objects.iter().map(|object| (*object).clone()).collect();
        let base = reading.base.cloned();
        let of_base: Vec<_> = base.iter().flat_map(|base| base.objects.clone()).collect();
        let archive: Vec<Object> = objects(&reading.archive);
        Ok(Plan {
            group,
            base,
            state: of_base.into_iter().chain(archive).collect(),
            segments: reading
                .segments
                .iter()
                .map(|segment| segment.object.clone())
                .collect(),
            next: reading.next,
            // The meta group's clock is another: where all of a backup is wanted, all that it has of it is.
            until_us: (group != GroupId::META || self.until_us != newest.until_us).then_some(self.until_us),
        })
    }
}

/// What is read of a group.
struct Plan {
    group: GroupId,
    base: Option<Base>,
    /// The base, and what it leaves aside.
    state: VecDeque<Object>,
    segments: VecDeque<Object>,
    /// Entries before this one.
    next: u64,
    /// Nothing that was stamped later.
    until_us: Option<i64>,
}

impl Plan {
    /// Has it read by `read`, which gets the snapshot, the entries, and which of them are wanted. Blocks.
    fn run<T>(
        self,
        objects: &Objects,
        read: impl FnOnce(
            Option<(Restored, &mut dyn Iterator<Item = io::Result<Bytes>>)>,
            &mut dyn Iterator<Item = io::Result<LoggedEntry>>,
            &mut dyn FnMut(&LoggedEntry) -> io::Result<bool>,
        ) -> T,
    ) -> T {
        let mut chunks = Chunks {
            objects: objects.clone(),
            left: self.state,
        };
        let mut entries = EntriesOf {
            chunks: Chunks {
                objects: objects.clone(),
                left: self.segments,
            },
            rest: Bytes::new(),
        };
        let (group, next, until_us) = (self.group, self.next, self.until_us);
        let mut wanted = |entry: &LoggedEntry| {
            let time = stamped(group, entry)?;
            let is_late = until_us.is_some_and(|until_us| time.is_some_and(|time| time.0 > until_us));
            Ok(entry.index < next && !is_late)
        };
        let base = self.base.map(|base| Restored {
            next: base.next,
            term: base.term,
        });
        let chunks: &mut dyn Iterator<Item = io::Result<Bytes>> = &mut chunks;
        read(base.map(|base| (base, chunks)), &mut entries, &mut wanted)
    }
}

/// Where objects are read from, on a thread that may block.
#[derive(Clone)]
struct Objects {
    repository: Arc<Repository>,
    runtime: Handle,
}

/// The bytes of objects, in order.
struct Chunks {
    objects: Objects,
    left: VecDeque<Object>,
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let object = self.left.pop_front()?;
        let Objects { repository, runtime } = &self.objects;
        Some(
            runtime
                .block_on(repository.get(&object))
                .map_err(io::Error::other),
        )
    }
}

/// The entries of segments, in order.
struct EntriesOf {
    chunks: Chunks,
    rest: Bytes,
}

impl Iterator for EntriesOf {
    type Item = io::Result<LoggedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.is_empty() {
            match self.chunks.next()? {
                Ok(bytes) => self.rest = bytes,
                Err(error) => return Some(Err(error)),
            }
        }
        LoggedEntry::take(&mut self.rest)
            .map_err(io::Error::other)
            .transpose()
    }
}

/// What was found of a backup that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files.
    pub objects: u64,
    /// What they weigh.
    pub bytes: u64,
    /// Entries of logs that were applied, and snapshots' too.
    pub entries: u64,
}

/// Reads all that restoring a backup reads. With `deep` its logs are applied, too, to states in memory.
///
/// # Errors
/// The first file that is missing or not what was written, or the first entry that cannot be applied.
pub async fn verify(
    repository: &Arc<Repository>,
    chosen: &Chosen,
    deep: bool,
    progress: &mut dyn FnMut(usize, &Checked),
) -> Result<Checked, Failure> {
    let newest = chosen.newest()?;
    let mut checked = Checked::default();
    for (done, part) in newest.groups.iter().enumerate() {
        progress(done, &checked);
        let group = GroupId(part.group);
        let reading = chosen.reading(part.group)?;
        for object in reading.objects() {
            checked.objects += 1;
            checked.bytes += object.bytes;
            if !deep {
                repository.get(object).await.map_err(failed)?;
            }
        }
        if deep {
            let (plan, objects) = (chosen.plan(group)?, objects(repository));
            let read = tokio::task::spawn_blocking(move || {
                let blank = Blanks::in_memory().of(group);
                let read = plan.run(&objects, |state, entries, wanted| {
                    replay(&*blank.machine, state, entries, wanted)
                });
                read.map(|end| end.next)
            });
            let next = read.await.map_err(panicked)?;
            checked.entries += next.map_err(|cause| Failure::Other(format!("{group}: {cause}")))?;
        }
    }
    progress(newest.groups.len(), &checked);
    Ok(checked)
}

/// A data directory that is being restored to.
pub struct Restore {
    restoring: Restoring,
    blanks: Blanks,
    is_standby: bool,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredBackup {
    /// The id of the new cluster.
    pub cluster_id: String,
    /// Groups that an earlier try had restored.
    pub resumed: usize,
    /// Entries of all logs up to where they were restored.
    pub entries: u64,
}

impl Restore {
    /// Which backup was begun to be restored to this directory and is not finished, and up to which time.
    ///
    /// # Errors
    /// What is noted there cannot be read.
    pub fn begun(data_dir: &Path) -> Result<Option<(String, i64)>, Failure> {
        let begun = Restoring::begun(data_dir).map_err(failed)?;
        Ok(begun.as_deref().and_then(backup_described))
    }

    /// Begins to restore to a directory that is empty, or goes on where the same was begun. It is sealed as `keys` say.
    ///
    /// # Errors
    /// It is not empty, or cannot be written.
    pub fn begin(chosen: &Chosen, data_dir: &Path, keys: &Keyring) -> Result<Self, Failure> {
        let newest = chosen.newest()?;
        let of = described(&newest.id, chosen.until_us);
        let restoring = Restoring::begin(data_dir, &of, newest.shards, keys).map_err(failed)?;
        let blanks = Blanks::in_directory(data_dir, keys).map_err(failed)?;
        Ok(Self {
            restoring,
            blanks,
            is_standby: false,
        })
    }

    /// The same, of a node that is going to follow the cluster whose backup it is.
    pub fn of_a_standby(self) -> Self {
        Self {
            is_standby: true,
            ..self
        }
    }

    /// Restores what is not there yet. Tells of each group that is begun.
    ///
    /// # Errors
    /// The backup's, or the disk's. The next try goes on behind the groups that are whole.
    pub async fn run(
        self,
        repository: &Arc<Repository>,
        chosen: &Chosen,
        progress: &mut dyn FnMut(usize, u64),
    ) -> Result<RestoredBackup, Failure> {
        let groups: Vec<_> = chosen
            .newest()?
            .groups
            .iter()
            .map(|part| GroupId(part.group))
            .collect();
        let mut restored = RestoredBackup {
            cluster_id: self.restoring.cluster_id().to_owned(),
            resumed: 0,
            entries: 0,
        };
        let mut this = self;
        for (done, group) in groups.iter().copied().enumerate() {
            progress(done, restored.entries);
            if let Some(end) = this.restoring.restored(group) {
                restored.resumed += 1;
                restored.entries += end.next;
                continue;
            }
            let (plan, objects) = (chosen.plan(group)?, objects(repository));
            let until_us = chosen.until_us;
            let work = move || {
                let blank = this.blanks.of(group);
                let end = plan.run(&objects, |state, entries, wanted| {
                    let machine = Arc::clone(&blank.machine);
                    let accept = || in_time(&blank, until_us);
                    this.restoring
                        .group(group, machine, state, entries, wanted, &accept)
                });
                (this, end.map_err(failed))
            };
            let (back, end) = tokio::task::spawn_blocking(work).await.map_err(panicked)?;
            this = back;
            restored.entries += end?.next;
        }
        progress(groups.len(), restored.entries);
        let Self {
            restoring,
            blanks,
            is_standby,
        } = this;
        let finish = move || {
            blanks.close();
            match is_standby {
                true => restoring.finish_standby(),
                false => restoring.finish(),
            }
        };
        let finished = tokio::task::spawn_blocking(finish).await.map_err(panicked)?;
        finished.map_err(failed)?;
        Ok(restored)
    }
}

/// A state has nothing in it of after the time that was asked for.
fn in_time(blank: &Blank, until_us: i64) -> io::Result<()> {
    let last = blank.last_time().0;
    match last <= until_us {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "its state has changes up to {}, after {}",
            moment(last),
            moment(until_us)
        ))),
    }
}

fn objects(repository: &Arc<Repository>) -> Objects {
    Objects {
        repository: Arc::clone(repository),
        runtime: Handle::current(),
    }
}

/// What is restored, as the directory notes it.
fn described(id: &str, until_us: i64) -> String {
    format!("backup {id} up to {}", moment(until_us))
}

/// The backup and the time of such words.
fn backup_described(words: &str) -> Option<(String, i64)> {
    let (id, until) = words.strip_prefix("backup ")?.split_once(" up to ")?;
    let until: jiff::Timestamp = until.parse().ok()?;
    Some((id.to_owned(), until.as_microsecond()))
}

/// A time in RFC 3339.
fn moment(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us).map_or_else(|_| time_us.to_string(), |time| time.to_string())
}

fn failed(cause: impl std::fmt::Display) -> Failure {
    Failure::Other(cause.to_string())
}

fn panicked(cause: tokio::task::JoinError) -> Failure {
    Failure::Other(format!("reading the backup failed: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_a_restore_says_which_it_is() {
        for until_us in [0, 1, 1_796_015_700_123_456, 1_796_015_700_000_000] {
            let words = described("20261130T051500007Z-1f3a", until_us);
            let expected = ("20261130T051500007Z-1f3a".to_owned(), until_us);
            assert_eq!(backup_described(&words), Some(expected), "{words}");
        }
        assert_eq!(backup_described("another thing"), None);
    }
}

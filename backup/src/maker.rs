//! Fills one backup.
//!
//! The point comes first, and each log that goes on behind the last backup is read up to it. Bases are read then, and reading all of one may take
//! long: meanwhile the source goes on, takes newer snapshots, and forgets the log behind them. So while bases are read the logs that were begun are
//! followed: now and then a new point is taken, and they are read up to that. The last of these points is the backup's, and a base that is of later than
//! one belongs to the next.
//!
//! A source keeps the log behind the snapshot before its newest, so that a log which is followed that often is not lost on the way; where one is all
//! the same, that group alone is begun anew with a newer base.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::create::{CreateError, Pieces, Point, Progress, Source, SourceError, State, Tell, Wanted};
use crate::manifest::{Base, FORMAT, GroupPart, LogPart, Manifest, Object, Segment};
use crate::{OBJECT_BYTES, Repository, RepositoryError};

/// So much log behind its base a group may have, at least, before it gets another one.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// And so many times what the base weighs.
const LOG_FACTOR: u64 = 2;
/// So much of bases is read between two looks at the logs: no more than a node writes of one group's log between two snapshots, where it is configured as
/// it is shipped.
const FOLLOW_BYTES: u64 = 32 << 20;
/// Logs are also followed behind a base: behind each while these are few, and so often for each group at most, about, where they are many.
const FOLLOWS_MAX: usize = 8;
/// How often a group gets another base where its log was gone before it was read.
const BASES_MAX: usize = 4;

/// Why a backup is not filled.
pub(crate) enum Stopped {
    /// The source has not got any more what its point needs, or only what is of later.
    MovedOn(u32),
    Failed(CreateError),
}

impl From<RepositoryError> for Stopped {
    fn from(error: RepositoryError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SourceError> for Stopped {
    fn from(error: SourceError) -> Self {
        Self::Failed(error.into())
    }
}

impl Stopped {
    fn is_purged(&self) -> bool {
        matches!(self, Self::Failed(CreateError::Source(SourceError::Purged(_))))
    }
}

/// Who is told how far it is.
pub(crate) struct Told<'t, 'p> {
    /// Whether an earlier try is gone on with.
    pub(crate) resumed: bool,
    pub(crate) progress: &'t mut Tell<'p>,
}

/// Makes one backup.
pub(crate) struct Maker<'a, S> {
    repository: &'a Repository,
    source: &'a S,
    /// The token of this attempt.
    attempt: &'a str,
    pub(crate) manifest: Manifest,
    /// The backups before it, the newest first, as far as each group's newest base.
    before: Vec<Manifest>,
    /// Up to where the log of each group was read; none where nothing of it was.
    ends: Vec<Option<u64>>,
    /// Groups that are to have a base, in order.
    unbased: VecDeque<usize>,
    /// Groups whose base is being read, or is of later than the point: the manifest has none of them.
    pending: BTreeMap<usize, Pending>,
    /// How often each group's log was gone.
    lost: Vec<usize>,
    /// Bytes that were put by now.
    bytes: u64,
    /// What was read of bases since the logs were followed last: bytes, and whole ones.
    unfollowed: (u64, usize),
}

/// What there is of a group that is no part of the manifest yet.
#[derive(Default)]
struct Pending {
    /// Its log behind the base.
    segments: Vec<Segment>,
    /// All of it, once it is there.
    base: Option<(State, Base)>,
}

impl Pending {
    fn into_objects(self) -> impl Iterator<Item = Object> {
        let base = self.base.into_iter();
        let of_base = base.flat_map(|(_, base)| base.objects.into_iter().chain(base.archive));
        of_base.chain(self.segments.into_iter().map(|segment| segment.object))
    }
}

impl<'a, S: Source> Maker<'a, S> {
    /// Begins a new one, at a point of now.
    pub(crate) async fn begin(
        repository: &'a Repository,
        source: &'a S,
        wanted: &Wanted,
        attempt: &'a str,
    ) -> Result<Option<Self>, CreateError> {
        let point = source.point().await?;
        let newest = repository.backups().await?.pop();
        let (before, parent) = match &newest {
            Some(newest) => {
                let (_, parent) = repository.manifest(newest).await?;
                (repository.as_far_as_bases(newest).await?, Some(parent))
            }
            None => (Vec::new(), None),
        };
        if let Some(before) = before.first() {
            if !is_of((before.cluster_id.as_str(), before.shards), &point) {
                let other = "the backups before this one are of another cluster";
                return Err(SourceError::Other(other.to_owned()).into());
            }
            if before.until_us >= point.until_us || before.id >= wanted.id {
                let back = format!(
                    "the clocks say that it is earlier than backup {} was made",
                    before.id
                );
                return Err(SourceError::Other(back).into());
            }
        }
        let groups = (0..).zip(&point.groups).map(|(group, point)| GroupPart {
            group,
            next: point.next,
            log: LogPart::default(),
            base: None,
        });
        let manifest = Manifest {
            format: FORMAT,
            id: wanted.id.clone(),
            cluster_id: point.cluster_id,
            shards: point.shards,
            node: point.node,
            begun_us: wanted.now_us,
            until_us: point.until_us,
            full: wanted.full || before.is_empty(),
            parent,
            groups: groups.collect(),
        };
        let maker = Self::of(repository, source, attempt, manifest, before);
        maker.note().await?;
        Ok(Some(maker))
    }

    /// Goes on with one that was begun; `None` where another one was finished meanwhile.
    pub(crate) async fn go_on(
        repository: &'a Repository,
        source: &'a S,
        begun: Manifest,
        attempt: &'a str,
    ) -> Result<Option<Self>, CreateError> {
        let newest = repository.backups().await?.pop();
        // It may be that one, of which all but the note was done.
        if newest.as_ref() != begun.parent.as_ref().map(|parent| &parent.id) {
            return Ok(None);
        }
        let before = match &newest {
            Some(newest) => repository.as_far_as_bases(newest).await?,
            None => Vec::new(),
        };
        Ok(Some(Self::of(repository, source, attempt, begun, before)))
    }

    fn of(
        repository: &'a Repository,
        source: &'a S,
        attempt: &'a str,
        manifest: Manifest,
        before: Vec<Manifest>,
    ) -> Self {
        let end = |part: &GroupPart| {
            let log = part.log.segments.last().map(|last| last.before);
            log.or_else(|| part.base.as_ref().map(|base| base.next))
        };
        Self {
            repository,
            source,
            attempt,
            ends: manifest.groups.iter().map(end).collect(),
            lost: vec![0; manifest.groups.len()],
            bytes: manifest.bytes(),
            manifest,
            before,
            unbased: VecDeque::new(),
            pending: BTreeMap::new(),
            unfollowed: (0, 0),
        }
    }

    /// Reads all that belongs to it.
    pub(crate) async fn fill(&mut self, told: &mut Told<'_, '_>) -> Result<(), Stopped> {
        let groups = self.manifest.groups.len();
        for at in 0..groups {
            self.tell(told);
            self.begin_group(at, told).await?;
        }
        loop {
            while let Some(at) = self.unbased.pop_front() {
                self.tell(told);
                self.read_base(at, told).await?;
            }
            // What follows has to be there now.
            match self.pending.is_empty() {
                true => break,
                false => self.follow(told).await?,
            }
            if let (Some(at), true) = (self.pending.keys().next(), self.unbased.is_empty()) {
                return Err(Stopped::MovedOn(self.group(*at).0));
            }
        }
        self.tell(told);
        let is_read = |(end, part): (&Option<u64>, &GroupPart)| *end == Some(part.next);
        match self
            .ends
            .iter()
            .zip(&self.manifest.groups)
            .position(|both| !is_read(both))
        {
            None => Ok(()),
            Some(at) => Err(Stopped::MovedOn(self.manifest.groups[at].group)),
        }
    }

    fn tell(&self, told: &mut Told<'_, '_>) {
        let done = |at: &usize| self.ends[*at].is_some() && !self.pending.contains_key(at);
        (told.progress)(&Progress {
            id: &self.manifest.id,
            resumed: told.resumed,
            done: (0..self.ends.len()).filter(done).count(),
            groups: self.ends.len(),
            bytes: self.bytes,
        });
    }

    /// Reads the log of a group where it goes on, or else has it wait for a base.
    async fn begin_group(&mut self, at: usize, told: &mut Told<'_, '_>) -> Result<(), Stopped> {
        let (group, next) = self.group(at);
        let wants_base = self.manifest.full || self.is_heavy(group);
        let from = match self.ends[at] {
            Some(end) => end,
            None if wants_base => {
                self.unbased.push_back(at);
                return Ok(());
            }
            None => self.held(group).unwrap_or(0),
        };
        match self.read_log(at, from, next, told).await {
            Err(stopped) if stopped.is_purged() => self.lose(at, told.resumed).await,
            read => read,
        }
    }

    /// A group's number, and up to where it belongs to the backup.
    fn group(&self, at: usize) -> (u32, u64) {
        let part = &self.manifest.groups[at];
        (part.group, part.next)
    }

    /// Up to where the backups before have the log of a group.
    fn held(&self, group: u32) -> Option<u64> {
        Some(self.before.first()?.group(group)?.next)
    }

    /// The newest base of a group.
    fn base_before(&self, group: u32) -> Option<&Base> {
        let parts = self.before.iter().filter_map(|manifest| manifest.group(group));
        parts.into_iter().find_map(|part| part.base.as_ref())
    }

    /// Whether so much log is behind the newest base that the next restore would take long.
    fn is_heavy(&self, group: u32) -> bool {
        let (mut log, mut base) = (0, 0);
        for part in self.before.iter().filter_map(|manifest| manifest.group(group)) {
            log += part
                .log
                .segments
                .iter()
                .map(|segment| segment.object.bytes)
                .sum::<u64>();
            if let Some(found) = &part.base {
                base = found.objects.iter().map(|object| object.bytes).sum();
                break;
            }
        }
        log > LOG_BYTES_MIN.max(base * LOG_FACTOR)
    }

    /// A group's log is gone before it was read: what there is of the group here is of no use, and it waits for a base.
    async fn lose(&mut self, at: usize, resumed: bool) -> Result<(), Stopped> {
        let (group, _) = self.group(at);
        let part = &mut self.manifest.groups[at];
        let mut useless: Vec<Object> = part.objects().cloned().collect();
        self.ends[at] = None;
        self.lost[at] += 1;
        // Instead of one that was begun long ago there may as well be one of now.
        if self.lost[at] == BASES_MAX || resumed && !useless.is_empty() {
            return Err(Stopped::MovedOn(group));
        }
        (part.base, part.log) = (None, LogPart::default());
        useless.extend(
            self.pending
                .remove(&at)
                .into_iter()
                .flat_map(Pending::into_objects),
        );
        self.unbased.push_back(at);
        self.note().await?;
        self.remove(&useless).await?;
        Ok(())
    }

    async fn remove(&mut self, objects: &[Object]) -> Result<(), RepositoryError> {
        for object in objects {
            self.repository.remove(object).await?;
            self.bytes = self.bytes.saturating_sub(object.bytes);
        }
        Ok(())
    }

    /// Reads the newest snapshot of a group, what it leaves aside, and the log behind it. Where there is none that could be used, the log has everything.
    async fn read_base(&mut self, at: usize, told: &mut Told<'_, '_>) -> Result<(), Stopped> {
        let (group, next) = self.group(at);
        let before = self.base_before(group).filter(|_| !self.manifest.full);
        let (before_next, archive_from) = before.map_or((0, 0), |before| (before.next, before.archive_until));
        let held = self.held(group);
        let found = self.source.state(group).await?;
        let Some((state, pieces)) = found.filter(|(state, _)| state.next > before_next) else {
            let from = held.filter(|_| !self.manifest.full).unwrap_or(0);
            return match self.read_log(at, from, next, told).await {
                Err(stopped) if stopped.is_purged() => self.lose(at, told.resumed).await,
                read => read,
            };
        };
        self.pending.insert(at, Pending::default());
        // As far back as there is any log: for the times before the base.
        let from = held.map_or(state.next, |held| held.min(state.next));
        let mut read = self.read_log(at, from, next, told).await;
        if from < state.next && read.as_ref().is_err_and(Stopped::is_purged) {
            // A part of it may have come.
            let begun = self.pending.insert(at, Pending::default());
            let begun: Vec<_> = begun.into_iter().flat_map(Pending::into_objects).collect();
            self.remove(&begun).await?;
            read = self.read_log(at, state.next, next, told).await;
        }
        match read {
            Err(stopped) if stopped.is_purged() => return self.lose(at, told.resumed).await,
            read => read?,
        }
        let archive_from = archive_from.min(state.archived);
        let (objects, archive) = self.read_state(at, &state, archive_from, pieces, told).await?;
        let Some(pending) = self.pending.get_mut(&at) else {
            // Its log is gone, and it has its next turn.
            self.remove(&[objects, archive].concat()).await?;
            return Ok(());
        };
        let base = Base {
            next: state.next,
            term: state.term,
            time_us: state.time_us,
            objects,
            archive_from,
            archive_until: state.archived,
            archive,
        };
        pending.base = Some((state, base));
        self.settle().await?;
        self.unfollowed.1 += 1;
        let begun = self.ends.iter().flatten().count();
        match self.unfollowed.1 * FOLLOWS_MAX >= begun {
            true => self.follow_if_it_can(told).await,
            false => Ok(()),
        }
    }

    /// The bytes of a snapshot, and of what it leaves aside.
    async fn read_state(
        &mut self,
        at: usize,
        state: &State,
        archive_from: u64,
        pieces: Pieces<Bytes>,
        told: &mut Told<'_, '_>,
    ) -> Result<(Vec<Object>, Vec<Object>), Stopped> {
        let (group, _) = self.group(at);
        let objects = self.put_all(at, &format!("{group}-base"), pieces, told).await?;
        let archive = match archive_from < state.archived {
            true => {
                let pieces = self.source.archive(group, archive_from, state.archived).await?;
                self.put_all(at, &format!("{group}-archive"), pieces, told)
                    .await?
            }
            false => Vec::new(),
        };
        Ok((objects, archive))
    }

    /// Takes over all bases that are of no later than the point.
    async fn settle(&mut self) -> Result<(), Stopped> {
        let before = self.pending.len();
        let manifest = &mut self.manifest;
        self.pending.retain(|at, pending| {
            let part = &mut manifest.groups[*at];
            let covered = |(state, _): &mut (State, Base)| {
                state.next <= part.next && state.time_us <= manifest.until_us
            };
            let Some((_, mut base)) = pending.base.take_if(covered) else {
                return true;
            };
            if part.group == 0 {
                // The meta group's snapshots do not say.
                base.time_us = manifest.until_us;
            }
            part.base = Some(base);
            part.log.segments = std::mem::take(&mut pending.segments);
            false
        });
        match self.pending.len() < before {
            true => Ok(self.note().await?),
            false => Ok(()),
        }
    }

    /// Takes a later point.
    async fn move_point(&mut self) -> Result<(), Stopped> {
        let point = self.source.point().await?;
        let manifest = &mut self.manifest;
        if !is_of((manifest.cluster_id.as_str(), manifest.shards), &point) {
            return Err(SourceError::Other("it is another cluster by now".to_owned()).into());
        }
        for (part, of) in manifest.groups.iter_mut().zip(&point.groups) {
            // Another node may tell now, and be behind.
            if of.next < part.next || point.until_us < manifest.until_us {
                return Err(Stopped::MovedOn(part.group));
            }
            part.next = of.next;
        }
        (manifest.node, manifest.until_us) = (point.node, point.until_us);
        Ok(())
    }

    /// Takes a later point, the bases that are of no later than that, and reads the logs up to it.
    async fn follow(&mut self, told: &mut Told<'_, '_>) -> Result<(), Stopped> {
        self.move_point().await?;
        self.unfollowed = (0, 0);
        self.settle().await?;
        self.read_logs(told).await
    }

    /// The same; where there is no point to be had now it is done later.
    async fn follow_if_it_can(&mut self, told: &mut Told<'_, '_>) -> Result<(), Stopped> {
        self.unfollowed = (0, 0);
        match self.move_point().await {
            Err(Stopped::Failed(CreateError::Source(_))) => return Ok(()),
            moved => moved?,
        }
        self.settle().await?;
        self.read_logs(told).await
    }

    /// Reads all logs that were begun up to the point.
    async fn read_logs(&mut self, told: &mut Told<'_, '_>) -> Result<(), Stopped> {
        for at in 0..self.ends.len() {
            let (_, next) = self.group(at);
            let Some(end) = self.ends[at] else { continue };
            match self.read_log(at, end, next, told).await {
                Err(stopped) if stopped.is_purged() => self.lose(at, told.resumed).await?,
                read => read?,
            }
        }
        Ok(())
    }

    /// Reads the entries of a log from one on and before another.
    async fn read_log(
        &mut self,
        at: usize,
        from: u64,
        next: u64,
        told: &mut Told<'_, '_>,
    ) -> Result<(), Stopped> {
        self.ends[at] = Some(from);
        if from >= next {
            return Ok(());
        }
        let (group, _) = self.group(at);
        let mut pages = self.source.log(group, from, next).await?;
        let (mut begins, mut ends, mut gathered) = (from, from, BytesMut::new());
        loop {
            let page = pages.recv().await.transpose()?;
            if let Some(page) = &page {
                if page.from != ends || page.before <= page.from || page.before > next {
                    let odd = format!(
                        "group {group}: entry {} came where {ends} was asked for",
                        page.from
                    );
                    return Err(SourceError::Other(odd).into());
                }
                gathered.extend_from_slice(&page.bytes);
                ends = page.before;
            }
            if (page.is_none() || gathered.len() >= OBJECT_BYTES) && ends > begins {
                let pending = self.pending.get(&at).map(|pending| &pending.segments);
                let number = pending.unwrap_or(&self.manifest.groups[at].log.segments).len();
                let object = self.put(&format!("{group}-log"), number, &gathered).await?;
                let segment = Segment {
                    from: begins,
                    before: ends,
                    object,
                };
                self.ends[at] = Some(ends);
                match self.pending.get_mut(&at) {
                    Some(pending) => pending.segments.push(segment),
                    None => {
                        self.manifest.groups[at].log.segments.push(segment);
                        self.note().await?;
                    }
                }
                self.tell(told);
                gathered.clear();
                begins = ends;
            }
            if page.is_none() {
                break;
            }
        }
        match ends == next {
            true => Ok(()),
            false => {
                let short =
                    format!("group {group}: its log ended before entry {ends}, and not before {next}");
                Err(SourceError::Other(short).into())
            }
        }
    }

    /// Puts what comes in objects. It is not read to its end where the group's log is lost meanwhile.
    async fn put_all(
        &mut self,
        at: usize,
        name: &str,
        mut pieces: Pieces<Bytes>,
        told: &mut Told<'_, '_>,
    ) -> Result<Vec<Object>, Stopped> {
        let (mut objects, mut gathered) = (Vec::new(), BytesMut::new());
        while self.pending.contains_key(&at) {
            let piece = pieces.recv().await.transpose()?;
            let is_last = piece.is_none();
            gathered.extend_from_slice(&piece.unwrap_or_default());
            while gathered.len() >= OBJECT_BYTES || is_last && !gathered.is_empty() {
                let content = gathered.split_to(OBJECT_BYTES.min(gathered.len()));
                let object = self.put(name, objects.len(), &content).await?;
                self.unfollowed.0 += object.bytes;
                objects.push(object);
                self.tell(told);
                if self.unfollowed.0 >= FOLLOW_BYTES {
                    self.follow_if_it_can(told).await?;
                }
            }
            if is_last {
                break;
            }
        }
        Ok(objects)
    }

    async fn put(&mut self, name: &str, number: usize, content: &[u8]) -> Result<Object, Stopped> {
        self.repository.is_mine(self.attempt).await?;
        let name = format!("{name}-{number:05}-{}", self.attempt);
        let object = self.repository.put(&self.manifest.id, &name, content).await?;
        self.bytes += object.bytes;
        Ok(object)
    }

    /// Notes how far it is.
    async fn note(&self) -> Result<(), RepositoryError> {
        self.repository.is_mine(self.attempt).await?;
        self.repository.note_unfinished(&self.manifest).await
    }
}

/// Whether a point is of the same cluster.
fn is_of((cluster_id, shards): (&str, u16), point: &Point) -> bool {
    (cluster_id, shards) == (point.cluster_id.as_str(), point.shards)
}

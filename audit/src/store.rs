//! Where records are written: the newest file, and those before it.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use docket_sealing::{KeyId, Keyring};
use jiff::Timestamp;

use crate::{
    AuditError, AuditOptions, Entry, Outcome, Position, Record, Who, actions,
    files::{self, HEAD, Lines, Segment},
    record::Line,
    sealed,
};

/// Nobody else's business.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// When it is tried again to remove a file that did not go.
const REMOVE_AGAIN: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The files, and where the log is.
pub(crate) struct Store {
    folder: PathBuf,
    node: u64,
    options: AuditOptions,
    /// Oldest first; the last one is written.
    segments: VecDeque<Segment>,
    file: File,
    /// Bytes of it that are records.
    bytes: u64,
    at: Position,
    head: File,
    /// What lines are sealed with, and those before opened.
    keys: Keyring,
    /// With which key the lines of the file are sealed; it tells nothing while there are none.
    file_key: Option<KeyId>,
    /// A sync failed, or what a write left could not be taken back.
    poisoned: bool,
    /// The oldest file, where it was to go and did not.
    stuck: Option<Stuck>,
}

/// A file that is not removed.
struct Stuck {
    /// The sequence of its first record.
    first: u64,
    /// When that was tried.
    tried: Instant,
    /// A record says that it was removed: it is not said again.
    is_recorded: bool,
}

/// What the end of a log is when it is opened.
struct Tail {
    at: Position,
    /// Bytes of the newest file that are whole lines.
    bytes: u64,
    /// Bytes behind them.
    torn: u64,
    /// What is wrong with it.
    damage: Option<String>,
    /// With which key the newest file's last line is sealed.
    key: Option<KeyId>,
}

impl Store {
    /// Opens the log in `folder`, which is made where it is not there. What a crash left of a line is cut; that, and what else is not as it was
    /// left, is returned, to be recorded first of all.
    pub(crate) fn open(
        folder: &Path,
        node: u64,
        options: AuditOptions,
        keys: Keyring,
    ) -> Result<(Self, Vec<Entry>), AuditError> {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|source| AuditError::file("make the folder", folder, source))?;
        let mut segments = VecDeque::from(files::segments(folder)?);
        let head = files::head(folder)?;
        // It may be longer than what is written over it.
        let said = head.as_ref().map(files::head_text);
        let tail = tail(&segments, head, &keys)?;
        let mut entries = Vec::new();
        let newest = match segments.back() {
            Some(newest) => newest.clone(),
            None => {
                let first = Segment::new(folder, tail.at.sequence + 1);
                segments.push_back(first.clone());
                first
            }
        };
        let file = open(&newest.path)?;
        if tail.torn > 0 {
            let cut = file.set_len(tail.bytes).and_then(|()| file.sync_all());
            cut.map_err(|source| AuditError::file("mend", &newest.path, source))?;
            let mended = Entry::new(Who::node(), actions::MENDED, name(&newest.path));
            entries.push(mended.detail("bytes_cut", tail.torn.to_string()));
        }
        if let Some(why) = tail.damage {
            let damaged = Entry::new(Who::node(), actions::DAMAGED, name(&newest.path));
            entries.push(damaged.detail("found", why));
        }
        let path = folder.join(HEAD);
        let head = OpenOptions::new()
            .create(true)
            .truncate(said.is_none())
            .write(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|source| AuditError::file("open", &path, source))?;
        if let Some(said) = said {
            let cut = head
                .metadata()
                .and_then(|found| match found.len() > said.len() as u64 {
                    true => head
                        .write_all_at(said.as_bytes(), 0)
                        .and_then(|()| head.set_len(said.len() as u64)),
                    false => Ok(()),
                });
            cut.map_err(|source| AuditError::file("mend", path, source))?;
        }
        let store = Self {
            folder: folder.to_owned(),
            node,
            options,
            segments,
            file,
            bytes: tail.bytes,
            at: tail.at,
            head,
            keys,
            file_key: tail.key,
            poisoned: false,
            stuck: None,
        };
        store.sync_folder()?;
        Ok((store, entries))
    }

    /// The last record that is synced.
    pub(crate) fn position(&self) -> &Position {
        &self.at
    }

    pub(crate) fn set_options(&mut self, options: AuditOptions) {
        self.options = options;
    }

    /// Records these, in their order, and syncs them; all of them, or none.
    pub(crate) fn append(&mut self, entries: &[&Entry]) -> Result<(), AuditError> {
        if self.poisoned {
            return Err(AuditError::Poisoned);
        }
        if entries.is_empty() {
            return Ok(());
        }
        let is_of_key = self.bytes == 0 || self.file_key == self.keys.current();
        if self.bytes >= self.options.segment_bytes || !is_of_key {
            self.rotate()?;
        }
        self.file_key = self.keys.current();
        let (mut lines, mut at) = (Vec::new(), self.at.clone());
        let time = now();
        for entry in entries {
            let (line, next) = Record::new(entry, &at, time.clone(), self.node).line();
            let line = sealed::stored(&self.keys, line).map_err(|why| AuditError::Sealed {
                path: self.path(),
                why,
            })?;
            lines.extend_from_slice(&line);
            at = next;
        }
        self.write(&lines)?;
        self.at = at;
        self.bytes += lines.len() as u64;
        // Behind the sync: it never says more than there is. That it may say less after a crash of the machine is no harm.
        if let Err(cause) = self.head.write_all_at(files::head_text(&self.at).as_bytes(), 0) {
            tracing::warn!(%cause, "the head of the audit log was not written");
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), AuditError> {
        if let Err(source) = self.file.write_all(lines) {
            // Some of it may be there.
            if let Err(cause) = self.file.set_len(self.bytes) {
                tracing::error!(%cause, "what was begun to be written of the audit log cannot be taken back");
                self.poisoned = true;
            }
            return Err(AuditError::file("write", self.path(), source));
        }
        if let Err(source) = self.file.sync_data() {
            // What is on the disk is not known, and another sync would not tell.
            self.poisoned = true;
            return Err(AuditError::file("sync", self.path(), source));
        }
        Ok(())
    }

    /// Goes on in another file.
    fn rotate(&mut self) -> Result<(), AuditError> {
        let next = Segment::new(&self.folder, self.at.sequence + 1);
        let file = open(&next.path)?;
        // One that was made for this before, and nothing could be written into.
        let emptied = file.set_len(0);
        emptied.map_err(|source| AuditError::file("write", &next.path, source))?;
        self.sync_folder()?;
        self.file = file;
        self.bytes = 0;
        if self.segments.back() != Some(&next) {
            self.segments.push_back(next);
        }
        Ok(())
    }

    /// Removes what is too much, or too old, each file behind a record that says so. How many. A file that does not go is told of, and tried again
    /// later; so is one of which it cannot be read where the next one goes on.
    ///
    /// # Errors
    /// That cannot be recorded.
    pub(crate) fn prune(&mut self, now: Instant) -> Result<usize, AuditError> {
        let mut removed = 0;
        while let Some((oldest, next)) = self.prunable() {
            let stuck = self.stuck.as_ref().filter(|stuck| stuck.first == oldest.first);
            if stuck.is_some_and(|stuck| now.saturating_duration_since(stuck.tried) < REMOVE_AGAIN) {
                break;
            }
            let mut is_recorded = stuck.is_some_and(|stuck| stuck.is_recorded);
            let gone = self.remove(&oldest, &next, &mut is_recorded)?;
            if !gone {
                self.stuck = Some(Stuck {
                    first: oldest.first,
                    tried: now,
                    is_recorded,
                });
                break;
            }
            self.stuck = None;
            self.segments.pop_front();
            removed += 1;
        }
        if removed > 0
            && let Err(error) = self.sync_folder()
        {
            // They may be there again behind a crash of the machine, and go then.
            tracing::warn!(%error, "that the oldest of the audit log was removed is not synced");
        }
        Ok(removed)
    }

    /// Removes a file behind a record that says so. Whether it is gone.
    fn remove(
        &mut self,
        oldest: &Segment,
        next: &Segment,
        is_recorded: &mut bool,
    ) -> Result<bool, AuditError> {
        if !*is_recorded {
            let upto = match before(next, &self.keys) {
                Ok(Some(upto)) => upto,
                // It is to be looked at.
                Ok(None) => {
                    tracing::warn!(file = %next.path.display(), "the first line of a file of the audit log is no record: the file before is not removed");
                    return Ok(false);
                }
                Err(error) => {
                    tracing::warn!(%error, "the oldest of the audit log is not removed");
                    return Ok(false);
                }
            };
            let pruned = Entry::new(Who::node(), actions::PRUNED, name(&oldest.path))
                .detail("up_to", upto.sequence.to_string())
                .detail("hash", upto.hash);
            self.append(&[&pruned])?;
            *is_recorded = true;
        }
        match fs::remove_file(&oldest.path) {
            Ok(()) => Ok(true),
            // Somebody else was faster.
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(true),
            Err(source) => {
                let error = AuditError::file("remove", &oldest.path, source);
                tracing::warn!(%error, "the oldest of the audit log is not removed");
                Ok(false)
            }
        }
    }

    /// The oldest file, where it is to go, and the next one.
    fn prunable(&self) -> Option<(Segment, Segment)> {
        let (oldest, next) = (self.segments.front()?, self.segments.get(1)?);
        let is_too_much = self.segments.len() > self.options.segments_max;
        (is_too_much || self.is_too_old(oldest)).then(|| (oldest.clone(), next.clone()))
    }

    fn is_too_old(&self, segment: &Segment) -> bool {
        let written = fs::metadata(&segment.path).and_then(|found| found.modified());
        let age = written
            .ok()
            .and_then(|written| SystemTime::now().duration_since(written).ok());
        self.options.age_max_days > 0 && age.is_some_and(|age| age > DAY * self.options.age_max_days)
    }

    fn path(&self) -> PathBuf {
        let newest = self.segments.back();
        newest.map_or_else(|| self.folder.clone(), |newest| newest.path.clone())
    }

    fn sync_folder(&self) -> Result<(), AuditError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| AuditError::file("sync", &self.folder, source))
    }
}

/// The last record before a file, as its first one says; `None` where that is no record.
fn before(segment: &Segment, keys: &Keyring) -> Result<Option<Position>, AuditError> {
    let mut line = Vec::new();
    Lines::open(&segment.path, keys)?.next(&mut line)?;
    let first = line
        .strip_suffix(b"\n")
        .and_then(Line::of)
        .and_then(|line| line.record());
    Ok(first.map(|first| Position {
        sequence: first.sequence.saturating_sub(1),
        hash: first.previous,
    }))
}

fn open(path: &Path) -> Result<File, AuditError> {
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .open(path);
    opened.map_err(|source| AuditError::file("open", path, source))
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What time it is, as records say it.
pub(crate) fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// Where the log ends. It goes on behind what its head says and what its last line says, whichever is further: what was cut off stays missing.
fn tail(segments: &VecDeque<Segment>, head: Option<Position>, keys: &Keyring) -> Result<Tail, AuditError> {
    let mut found = Tail {
        at: Position::origin(),
        bytes: 0,
        torn: 0,
        damage: None,
        key: None,
    };
    let mut unreadable = 0_u64;
    // The newest file may have been made and not written yet.
    for (nth, segment) in segments.iter().rev().enumerate() {
        let (mut lines, mut line, mut last) = (Lines::open(&segment.path, keys)?, Vec::new(), None);
        let (mut bytes, mut torn, mut lost) = (0, 0, 0);
        loop {
            let read = lines.next(&mut line)? as u64;
            if read == 0 {
                break;
            }
            let Some(whole) = line.strip_suffix(b"\n") else {
                torn = read;
                break;
            };
            bytes += read;
            match Line::of(whole).and_then(|line| Some((line.record()?.sequence, line.hash.to_owned()))) {
                Some((sequence, hash)) => (last, lost) = (Some(Position { sequence, hash }), 0),
                None => lost += 1,
            }
        }
        if nth == 0 {
            (found.bytes, found.torn, found.key) = (bytes, torn, lines.key());
        }
        unreadable += lost;
        if let Some(last) = last {
            found.at = last;
            break;
        }
    }
    if unreadable > 0 {
        found.damage = Some(format!("{unreadable} lines at its end cannot be read"));
        found.at.sequence += unreadable;
    }
    match head {
        Some(head) if head.sequence > found.at.sequence => {
            found.damage = Some(format!(
                "it ends with record {}, and was written up to {}",
                found.at.sequence, head.sequence
            ));
            found.at = head;
        }
        Some(head) if head.sequence == found.at.sequence && head.hash != found.at.hash => {
            found.damage = Some(format!(
                "record {} is not the one that was written",
                head.sequence
            ));
            found.at = head;
        }
        // Also behind a record that nobody of this log wrote: the first has number 1.
        None if found.at != Position::origin() => {
            found.damage.get_or_insert_with(|| "its head is gone".to_owned());
        }
        _ => {}
    }
    Ok(found)
}

impl Entry {
    /// So many things could not be recorded.
    pub(crate) fn missed(times: u64) -> Self {
        Self {
            times,
            ..Self::new(Who::node(), actions::MISSED, "").outcome(Outcome::Unknown, "NOT_WRITTEN")
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const FEW: AuditOptions = AuditOptions {
        segment_bytes: 4_096,
        segments_max: 2,
        age_max_days: 0,
        denials_per_minute: 60,
    };

    fn opened(folder: &Path) -> Store {
        Store::open(folder, 1, FEW, Keyring::default()).unwrap().0
    }

    #[test]
    fn a_head_that_says_nothing_is_written_over_whole() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than one is.
        fs::write(folder.path().join(HEAD), "x".repeat(120)).unwrap();
        let mut store = opened(folder.path());
        store.append(&[&Entry::new(Who::node(), "a.test", "")]).unwrap();
        assert_eq!(
            files::head(folder.path()).unwrap().as_ref(),
            Some(store.position())
        );
    }

    /// One with more files than are to be kept, which nobody pruned.
    fn too_many() -> (Store, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = opened(folder.path());
        while store.segments.len() < 4 {
            store.append(&[&Entry::new(Who::node(), "a.test", "")]).unwrap();
        }
        (store, folder)
    }

    /// How many records say that a file was removed.
    fn said(folder: &Path) -> usize {
        let files = files::segments(folder).unwrap();
        let texts = files
            .iter()
            .filter_map(|file| fs::read_to_string(&file.path).ok());
        texts.map(|text| text.matches(actions::PRUNED).count()).sum()
    }

    #[test]
    fn a_file_that_does_not_go_is_recorded_once_and_tried_again_in_a_minute() {
        let (mut store, folder) = too_many();
        // A folder cannot be removed as a file is, whoever tries.
        let path = store.segments[0].path.clone();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let began = Instant::now();
        for second in 0..150 {
            assert_eq!(store.prune(began + Duration::from_secs(second)).unwrap(), 0);
        }
        assert_eq!(said(folder.path()), 1);
        fs::remove_dir(&path).unwrap();
        assert_eq!(
            store.prune(began + Duration::from_secs(151)).unwrap(),
            0,
            "not yet"
        );
        assert_eq!(store.prune(began + Duration::from_secs(180)).unwrap(), 2);
        assert_eq!(said(folder.path()), 2);
    }

    #[test]
    fn a_file_stays_while_the_next_one_cannot_be_read_and_it_is_not_tried_all_the_time() {
        let (mut store, folder) = too_many();
        let next = store.segments[1].path.clone();
        let text = fs::read_to_string(&next).unwrap();
        fs::write(&next, "nothing\n").unwrap();
        let began = Instant::now();
        assert_eq!(store.prune(began).unwrap(), 0);
        fs::write(&next, text).unwrap();
        assert_eq!(store.prune(began + Duration::from_secs(59)).unwrap(), 0);
        assert_eq!(said(folder.path()), 0);
        assert_eq!(store.prune(began + Duration::from_secs(60)).unwrap(), 2);
    }

    #[test]
    fn a_line_that_is_too_long_cuts_off_nothing_behind_it() {
        use crate::record::LINE_BYTES_MAX;

        let folder = tempfile::tempdir().unwrap();
        let mut store = opened(folder.path());
        let append = |store: &mut Store| store.append(&[&Entry::new(Who::node(), "a.test", "")]);
        append(&mut store).unwrap();
        let path = store.path();
        let put = |bytes: &[u8]| {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(bytes).unwrap();
        };
        for more in [0, 1, LINE_BYTES_MAX] {
            put(&[&vec![b'x'; LINE_BYTES_MAX + more][..], b"\n"].concat());
            append(&mut store).unwrap();
        }
        let before = fs::read(&path).unwrap();
        let (store, entries) = Store::open(folder.path(), 1, FEW, Keyring::default()).unwrap();
        assert!(entries.is_empty(), "{entries:?}");
        assert_eq!(store.at.sequence, 4);
        assert_eq!(fs::read(&path).unwrap(), before);
        // One that nothing is behind was torn, however long it is.
        put(&vec![b'x'; 2 * LINE_BYTES_MAX]);
        let (_, entries) = Store::open(folder.path(), 1, FEW, Keyring::default()).unwrap();
        assert_eq!(entries[0].action, actions::MENDED);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

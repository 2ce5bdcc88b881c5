//! What the journal makes of sled's files when they are not as it left them: torn tails are cut, lost or damaged data is refused
//! by name, and `verify` says the same offline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use docket_persistence::frame::{Frame, Packer};
use docket_persistence::mark::FileMark;
use docket_persistence::store::Store;
use docket_persistence::{
    Cut, Journal, JournalError, JournalOptions, Position, Proof, RefusalReason, SledStore, verify,
};

use crate::support::{Opened, append_and_wait, copy_dir, number, options, record};

fn open(data: &Path) -> Result<Opened, JournalError> {
    let mut replayed = Vec::new();
    let (journal, recovery) = Journal::open(options(data.join("journal")), &mut |position, record| {
        replayed.push((position, Bytes::copy_from_slice(record)));
    })?;
    Ok((journal, recovery, replayed))
}

/// A closed journal of `records` commits of one record each, two frames long every third time.
fn written(records: u64) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let (journal, ..) = open(data.path()).unwrap();
    for number in 0..records {
        append_and_wait(
            &journal,
            vec![record(number, if number % 3 == 0 { 8_000 } else { 900 })],
        )
        .unwrap();
    }
    data
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.is_dir());
    paths.sort();
    paths
}

/// Opens the segment that holds `sequence` behind the journal's back.
fn sled_of(data: &Path, sequence: u64) -> sled::Db {
    let start = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let segment = segments(data)
        .into_iter()
        .rfind(|path| start(path) <= sequence)
        .unwrap();
    for _ in 0..1_000 {
        if let Ok(db) = sled::Config::new().path(&segment).flush_every_ms(None).open() {
            return db;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{} stays locked", segment.display());
}

fn edit(data: &Path, sequence: u64, change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>) {
    let db = sled_of(data, sequence);
    let key = sequence.to_be_bytes();
    match change(db.get(key).unwrap().map(|frame| frame.to_vec())) {
        Some(frame) => drop(db.insert(key, frame).unwrap()),
        None => drop(db.remove(key).unwrap()),
    }
}

fn last_seq(data: &Path) -> u64 {
    FileMark::inspect(&data.join("journal/mark"))
        .unwrap()
        .newest
        .unwrap()
        .last
}

/// Opening is refused at `sequence` for `reason`, in words that name file, frame and remedy; `verify` finds it too.
#[track_caller]
fn refused(data: &Path, sequence: u64, reason: &RefusalReason) {
    let error = match open(data) {
        Err(error @ JournalError::Refused(_)) => error,
        Err(error) => panic!("refused in another way: {error}"),
        Ok((_, recovery, _)) => panic!("not refused: {recovery:?}"),
    };
    if let JournalError::Refused(refusal) = &error {
        assert_eq!((refusal.sequence, &refusal.reason), (sequence, reason), "{error}");
        assert!(refusal.path.starts_with(data.join("journal")), "{error}");
    }
    let text = error.to_string();
    assert!(
        text.contains(&format!("frame {sequence}")) && text.contains("backup"),
        "{text}"
    );
    let report = verify(data).unwrap();
    assert!(
        report.problems.iter().any(|problem| problem.text == text),
        "verify says the same: {:?}",
        report.problems
    );
}

/// The segments below a folder whose files this process has open.
#[cfg(target_os = "linux")]
fn open_segments(data: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let of_db = files.filter(|file| file.starts_with(data) && file.ends_with("db"));
    let mut open: Vec<_> = of_db
        .filter_map(|file| file.parent().map(Path::to_owned))
        .collect();
    open.sort();
    open.dedup();
    open
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_replay_has_opened_is_closed_behind_it() {
    let data = written(60);
    let data_dir = data.path().canonicalize().unwrap();
    let all = segments(&data_dir);
    assert!(all.len() > 2, "{all:?}");
    let (journal, _, replayed) = open(&data_dir).unwrap();
    // sled's threads hold what was closed for a moment.
    for _ in 0..1_000 {
        if open_segments(&data_dir).len() == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(open_segments(&data_dir), all[all.len() - 1..]);
    // They are opened again for who reads there.
    let (position, record) = &replayed[0];
    assert_eq!(
        journal.read(*position, 1, usize::MAX).unwrap(),
        std::slice::from_ref(record)
    );
    assert!(open_segments(&data_dir).contains(&all[0]));
}

/// Of a segment larger than sled's cache too much would stay there: it is opened anew.
#[test]
fn a_large_segment_is_gone_on_with_behind_its_replay() {
    let data = tempfile::tempdir().unwrap();
    let open = || {
        let mut replayed = Vec::new();
        let options = JournalOptions {
            segment_bytes: 64 << 20,
            cache_bytes: 1 << 20,
            ..options(data.path().join("journal"))
        };
        let opened = Journal::open(options, &mut |_, record| {
            replayed.push(Bytes::copy_from_slice(record))
        });
        (opened.unwrap().0, replayed)
    };
    let mut written = Vec::new();
    for round in 0..3 {
        let (journal, replayed) = open();
        assert!(replayed == written, "round {round}");
        let records: Vec<_> = (0..100)
            .map(|number| record(100 * round + number, 8_000))
            .collect();
        written.extend(records.iter().cloned());
        append_and_wait(&journal, records).unwrap();
    }
    assert_eq!(segments(data.path()).len(), 1);
    assert!(open().1 == written);
}

#[test]
fn a_sound_journal_verifies_and_its_figures_add_up() {
    let data = written(30);
    let report = verify(data.path()).unwrap();
    assert!(report.is_sound() && report.torn_tail.is_none(), "{report:?}");
    assert_eq!(
        (report.records, report.frames, report.first_seq),
        (30, 40, Some(1))
    );
    assert_eq!(report.last_seq, report.mark.map(|mark| mark.last));
    assert_eq!(report.payload_bytes, 10 * 8_000 + 20 * 900);
    assert!(
        report.segments.len() > 1,
        "the journal went over several segments"
    );
    let (_journal, recovery, replayed) = open(data.path()).unwrap();
    assert_eq!((recovery.records, replayed.len(), recovery.cut), (30, 30, None));
}

/// Every file below a directory, and its bytes but for the databases that sled opens: it renews its own bookkeeping in them.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            contents.insert(path.clone(), Vec::new());
            contents.extend(self::contents(&path));
        } else if !name.starts_with("snap.") {
            let is_open = name == "db" && dir.extension().is_none();
            let bytes = if is_open {
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            contents.insert(path, bytes);
        }
    }
    contents
}

#[track_caller]
fn unchanged(dir: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = contents(dir);
    let paths = before.keys().chain(now.keys());
    let changed: Vec<_> = paths.filter(|path| before.get(*path) != now.get(*path)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn verification_makes_removes_and_repairs_nothing() {
    let data = written(30);
    let snapshots = docket_persistence::SnapshotStore::open(data.path().join("snapshots")).unwrap();
    for state in [&b"old"[..], b"new"] {
        let mut writer = snapshots.begin(7, b"meta").unwrap();
        writer.write(state).unwrap();
        writer.finish().unwrap();
    }
    let newest = snapshots.path(7, 2);
    drop(snapshots);
    // What a crash leaves, and databases that have lost their file.
    for left in [
        "journal/00000000000000087423.new",
        "journal/00000000000000000000.dropped",
        "snapshots/7/00000000000000000009.new",
        "snapshots/7/00000000000000000000.dropped",
    ] {
        std::fs::create_dir(data.path().join(left)).unwrap();
        std::fs::write(data.path().join(left).join("db"), "left").unwrap();
    }
    std::fs::write(data.path().join("journal/lock"), "4711").unwrap();
    std::fs::remove_file(newest.join("db")).unwrap();
    let before = contents(data.path());
    let report = verify(data.path()).unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(
        report.problems[0].path.starts_with(&newest),
        "{:?}",
        report.problems
    );
    unchanged(data.path(), &before);

    let names: Vec<_> = segments(data.path())
        .into_iter()
        .filter(|path| path.extension().is_none())
        .map(|path| path.strip_prefix(data.path()).unwrap().to_owned())
        .collect();
    for segment in [names.first().unwrap(), names.last().unwrap()] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(data.path(), copy.path());
        let file = copy.path().join(segment).join("db");
        std::fs::remove_file(&file).unwrap();
        let before = contents(copy.path());
        let report = verify(copy.path()).unwrap();
        assert!(
            report.problems.iter().any(|problem| problem.path == file),
            "{:?}",
            report.problems
        );
        unchanged(copy.path(), &before);
        // A node does not make an empty one in its place either.
        let refused = open(copy.path()).unwrap_err().to_string();
        assert!(!file.exists(), "{refused}");
    }
    open(data.path()).unwrap();
}

#[test]
fn a_second_journal_on_the_same_directory_is_told_who_has_it() {
    let data = written(1);
    let (_journal, ..) = open(data.path()).unwrap();
    for error in [open(data.path()).unwrap_err(), verify(data.path()).unwrap_err()] {
        assert!(matches!(error, JournalError::Locked { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
    }
}

#[test]
fn a_journal_copied_at_the_moment_of_an_acknowledgement_holds_all_that_was_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let (journal, ..) = open(data.path()).unwrap();
    for append in 0..25_u64 {
        let (from, to) = (data.path().to_owned(), copies.path().join(append.to_string()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let records = vec![record(append * 2, 3_000), record(append * 2 + 1, 7_000)];
        // While `done` runs the committer writes nothing: the files are what a crash right after it would leave.
        let done = Box::new(move |result: Result<&[Position], JournalError>| {
            assert!(result.is_ok());
            copy_dir(&from, &to);
            sender.send(()).unwrap();
        });
        journal.append(records, done).unwrap();
        receiver.recv().unwrap();
    }
    for append in 0..25_u64 {
        let (journal, recovery, replayed) = open(&copies.path().join(append.to_string())).unwrap();
        let numbers: Vec<u64> = replayed.iter().map(|(_, record)| number(record)).collect();
        assert_eq!(numbers, (0..append * 2 + 2).collect::<Vec<_>>());
        assert_eq!(recovery.cut, None);
        append_and_wait(&journal, vec![record(999, 10)]).unwrap();
    }
}

#[test]
fn a_torn_commit_is_cut_whole_and_reported_and_its_place_used_again() {
    let data = written(20);
    let last = last_seq(data.path());
    // Three frames of a commit whose end never came, as a process that died before its sync leaves them.
    let hash = {
        let bytes = sled_of(data.path(), last)
            .get(last.to_be_bytes())
            .unwrap()
            .unwrap();
        Frame::decode(last, &bytes).unwrap().hash()
    };
    let store = SledStore::open(&options(data.path().join("journal"))).unwrap();
    let mut packer = Packer::new(last + 1, hash);
    packer
        .push(&record(500, 20_000), &mut |sequence, frame: &[u8]| {
            store.append(sequence, frame)
        })
        .unwrap();
    store.sync().unwrap();
    drop(store);
    let report = verify(data.path()).unwrap();
    assert!(
        report.is_sound(),
        "a torn tail is no problem: {:?}",
        report.problems
    );
    assert_eq!(
        report.torn_tail,
        Some(Cut {
            after: last,
            frames: 3
        })
    );

    let (journal, recovery, replayed) = open(data.path()).unwrap();
    assert_eq!(
        recovery.cut,
        Some(Cut {
            after: last,
            frames: 3
        })
    );
    assert_eq!((replayed.len(), recovery.next_seq), (20, last + 1));
    let positions = append_and_wait(&journal, vec![record(600, 100)]).unwrap();
    assert_eq!(positions[0].seq(), last + 1);
    drop(journal);
    let (_journal, recovery, replayed) = open(data.path()).unwrap();
    assert_eq!((replayed.len(), recovery.cut), (21, None));
    assert_eq!(replayed[20].1, record(600, 100));
}

#[test]
fn frames_lost_from_the_end_are_found_out_by_the_mark() {
    let data = written(20);
    let last = last_seq(data.path());
    edit(data.path(), last, |_| None);
    refused(
        data.path(),
        last,
        &RefusalReason::Missing {
            proof: Proof::Mark(last),
        },
    );
    edit(data.path(), last - 1, |_| None);
    refused(
        data.path(),
        last - 1,
        &RefusalReason::Missing {
            proof: Proof::Mark(last),
        },
    );
}

#[test]
fn a_hole_a_damaged_frame_and_a_foreign_frame_in_the_middle_are_refused() {
    let pristine = written(20);
    let check =
        |sequence: u64, change: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>, at: u64, reason: RefusalReason| {
            let data = tempfile::tempdir().unwrap();
            copy_dir(pristine.path(), data.path());
            edit(data.path(), sequence, |frame| change(frame.unwrap()));
            refused(data.path(), at, &reason);
        };
    let later = |sequence| Proof::LaterFrame(sequence);
    check(9, &|_| None, 9, RefusalReason::Missing { proof: later(11) });
    let flipped = |mut frame: Vec<u8>| {
        frame[200] ^= 1;
        Some(frame)
    };
    let damage = docket_persistence::frame::FrameError::Checksum;
    check(
        10,
        &flipped,
        10,
        RefusalReason::Damaged {
            damage,
            proof: later(11),
        },
    );
    // Another frame 11, sound in itself, that does not continue frame 10.
    let foreign = |_| {
        let mut foreign = None;
        let mut packer = Packer::new(11, 42);
        let mut emit = |_, frame: &[u8]| {
            foreign = Some(frame.to_vec());
            Ok::<(), ()>(())
        };
        packer.push(b"another history", &mut emit).unwrap();
        packer.end_commit(&mut emit).unwrap();
        foreign
    };
    check(
        11,
        &foreign,
        11,
        RefusalReason::BrokenChain {
            proof: Proof::HeadOfCommit,
        },
    );
    let newer = |mut frame: Vec<u8>| {
        frame[4] = 9;
        let crc = crc32c::crc32c(&frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        Some(frame)
    };
    check(12, &newer, 12, RefusalReason::UnknownVersion { version: 9 });
    // The last frame replaced by a sound one that continues the chain: only the mark's hash knows.
    let last = last_seq(pristine.path());
    let replaced = |frame: Vec<u8>| {
        let previous = Frame::decode(last, &frame).unwrap().previous_hash();
        let mut replaced = None;
        let mut packer = Packer::new(last, previous);
        let mut emit = |_, frame: &[u8]| {
            replaced = Some(frame.to_vec());
            Ok::<(), ()>(())
        };
        packer.push(b"not what was acknowledged", &mut emit).unwrap();
        packer.end_commit(&mut emit).unwrap();
        replaced
    };
    check(last, &replaced, last, RefusalReason::NotTheAcknowledged);
}

#[test]
fn a_segment_that_is_gone_is_refused_wherever_it_was() {
    let pristine = written(60);
    let paths = segments(pristine.path());
    assert!(paths.len() == 3, "{paths:?}");
    let starts: Vec<u64> = paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    let last = last_seq(pristine.path());
    for (index, start) in starts.iter().enumerate() {
        let data = tempfile::tempdir().unwrap();
        copy_dir(pristine.path(), data.path());
        std::fs::remove_dir_all(&segments(data.path())[index]).unwrap();
        let error = open(data.path()).unwrap_err();
        let JournalError::Refused(refusal) = &error else {
            panic!("{error}")
        };
        assert_eq!(refusal.sequence, *start, "{error}");
        let RefusalReason::Missing { proof } = &refusal.reason else {
            panic!("{error}")
        };
        match starts.get(index + 1) {
            Some(next) => assert_eq!(*proof, Proof::LaterFrame(*next)),
            None => assert_eq!(*proof, Proof::Mark(last)),
        }
        assert!(!verify(data.path()).unwrap().is_sound());
    }
}

#[test]
fn one_damaged_slot_of_the_mark_is_tolerated_and_two_or_none_are_not() {
    let pristine = written(20);
    let damaged = |slots: &[u64]| {
        let data = tempfile::tempdir().unwrap();
        copy_dir(pristine.path(), data.path());
        let mark = std::fs::OpenOptions::new()
            .write(true)
            .open(data.path().join("journal/mark"))
            .unwrap();
        for slot in slots {
            std::os::unix::fs::FileExt::write_all_at(&mark, b"garbage", slot * 4096 + 10).unwrap();
        }
        data
    };
    for slot in 0..2 {
        let data = damaged(&[slot]);
        let report = verify(data.path()).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let [warning] = &report.warnings[..] else {
            panic!("slot {slot}: {:?}", report.warnings)
        };
        assert_eq!(warning.path, data.path().join("journal/mark"));
        assert!(warning.text.contains("1 of the mark's 2 slots"), "{warning}");
        let (journal, recovery, replayed) = open(data.path()).unwrap();
        assert_eq!(
            (recovery.mark_slots_damaged, replayed.len()),
            (1, 20),
            "slot {slot}"
        );
        append_and_wait(&journal, vec![record(20, 10)]).unwrap();
        drop(journal);
        let (_journal, recovery, replayed) = open(data.path()).unwrap();
        assert_eq!(
            (recovery.mark_slots_damaged, replayed.len()),
            (0, 21),
            "slot {slot} was written anew"
        );
    }
    refused(damaged(&[0, 1]).path(), 1, &RefusalReason::NoMark);
    let gone = damaged(&[]);
    std::fs::remove_file(gone.path().join("journal/mark")).unwrap();
    refused(gone.path(), 1, &RefusalReason::NoMark);
}

/// Whatever is done to sled's own file, the journal never opens with less than was acknowledged.
#[test]
fn a_flipped_byte_or_a_shortened_file_is_refused_or_harmless() {
    let pristine = written(20);
    let file = segments(pristine.path())[0].join("db");
    let len = std::fs::metadata(&file).unwrap().len();
    let relative = file.strip_prefix(pristine.path()).unwrap().to_owned();
    let (mut refusals, mut harmless) = (0, 0);
    let mut outcome = |what: &str, harm: &dyn Fn(&std::fs::File)| {
        let data = tempfile::tempdir().unwrap();
        copy_dir(pristine.path(), data.path());
        harm(
            &std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(data.path().join(&relative))
                .unwrap(),
        );
        match open(data.path()) {
            Ok((_journal, _, replayed)) => {
                let numbers: Vec<u64> = replayed.iter().map(|(_, record)| number(record)).collect();
                assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "{what}");
                harmless += 1;
            }
            Err(JournalError::Refused(_) | JournalError::Store(_)) => refusals += 1,
            Err(error) => panic!("{what}: {error}"),
        }
    };
    for step in 0..60 {
        let at = len.min(200_000) / 60 * step;
        outcome(&format!("a byte flipped at {at}"), &|file| {
            let mut byte = [0];
            std::os::unix::fs::FileExt::read_exact_at(file, &mut byte, at).unwrap();
            std::os::unix::fs::FileExt::write_all_at(file, &[byte[0] ^ 0x10], at).unwrap();
        });
    }
    for step in 0..20 {
        let shorter = len / 20 * step;
        outcome(&format!("cut to {shorter} bytes"), &|file| {
            file.set_len(shorter).unwrap()
        });
    }
    println!("{refusals} refused, {harmless} harmless");
    assert!(
        refusals > 20,
        "the harm must reach the data: {refusals} refused, {harmless} harmless"
    );
}

#[test]
fn what_a_crash_leaves_of_segments_in_the_making_and_in_removal_is_cleared_away() {
    let data = written(20);
    let journal = data.path().join("journal");
    for name in ["00000000000000000099.new", "00000000000000000000.dropped"] {
        std::fs::create_dir_all(journal.join(name).join("blobs")).unwrap();
        std::fs::write(journal.join(name).join("conf"), [0; 10]).unwrap();
    }
    let (_journal, recovery, _) = open(data.path()).unwrap();
    assert_eq!((recovery.records, recovery.cut), (20, None));
    let names: Vec<_> = segments(data.path())
        .iter()
        .map(|path| path.extension().is_some())
        .collect();
    assert!(!names.contains(&true));
}

#[test]
fn readers_go_on_while_segments_are_begun_and_dropped_under_them() {
    let data = tempfile::tempdir().unwrap();
    let (journal, ..) = open(data.path()).unwrap();
    let written = parking_lot::Mutex::new(Vec::new());
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (journal, written, ended) = (&journal, &written, &ended);
            scope.spawn(move || {
                let mut random = docket_persistence::mem::Seeded::new(reader);
                let mut read = 0;
                while !ended.load(std::sync::atomic::Ordering::Acquire) || read == 0 {
                    let chosen = {
                        let written = written.lock();
                        let chosen = random.below(written.len() as u64) as usize;
                        written
                            .get(chosen)
                            .copied()
                            .map(|position| (chosen as u64, position))
                    };
                    let Some((number, position)) = chosen else {
                        continue;
                    };
                    match journal.read(position, 1, usize::MAX) {
                        Ok(records) => {
                            assert_eq!(records, [record(number, 4_000)]);
                            read += 1;
                        }
                        Err(JournalError::NoRecord { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for number in 0..200 {
            let position = append_and_wait(&journal, vec![record(number, 4_000)]).unwrap()[0];
            let mut written = written.lock();
            written.push(position);
            if number % 40 == 39 {
                journal.truncate_before(written[number as usize - 30]).unwrap();
            }
        }
        ended.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(
        journal.status().segments < 7,
        "old segments were dropped: {:?}",
        journal.status()
    );
}

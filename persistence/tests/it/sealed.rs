//! What is sealed: it reads back, nobody else reads it, and a key that is missing costs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use docket_persistence::archive::{Archive, Put};
use docket_persistence::at_rest::{self, Usage};
use docket_persistence::frame::{Frame, FrameError, Opener};
use docket_persistence::mem::MemDisk;
use docket_persistence::sealing::{KeyId, Keyring, SealError};
use docket_persistence::store::Store;
use docket_persistence::{
    Inspect, Journal, JournalError, JournalOptions, Position, RefusalReason, SnapshotInfo, SnapshotStore,
    verify_with,
};

use crate::support::{append_and_wait, keyring, open_mem, options, record, with_keys};

/// What is looked for in files.
const SECRET: &[u8] = b"a customer's order, and where it goes";

fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

fn open(data: &Path, keys: &Keyring) -> Result<(Journal, Vec<Bytes>), JournalError> {
    let mut replayed = Vec::new();
    let options = JournalOptions {
        keys: keys.clone(),
        ..options(data.join("journal"))
    };
    let (journal, _) = Journal::open(options, &mut |_, record| {
        replayed.push(Bytes::copy_from_slice(record));
    })?;
    Ok((journal, replayed))
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Those that have a text in the clear.
fn that_have(dir: &Path, text: &[u8]) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).any(|part| part == text)
    };
    files(dir).into_iter().filter(has).collect()
}

fn usage(sealed: &[(&str, u64)], plain: u64) -> Usage {
    Usage {
        sealed: sealed.iter().map(|(key, files)| (id(key), *files)).collect(),
        plain,
        unreadable: Vec::new(),
    }
}

/// A secret in the journal, in a snapshot and in the archive, more than once.
fn write_all(data: &Path, keys: &Keyring) {
    let (journal, _) = open(data, keys).unwrap();
    for length in [10, 9_000] {
        let text = Bytes::from([&record(1, length)[..], SECRET].concat());
        append_and_wait(&journal, vec![text]).unwrap();
    }
    journal.close();
    let store = SnapshotStore::open_with(data.join("snapshots"), keys.clone()).unwrap();
    let mut writer = store.begin(3, SECRET).unwrap();
    for _ in 0..9_000 {
        writer.write(SECRET).unwrap();
    }
    writer.finish().unwrap();
    let archive = Archive::open(&data.join("archive"), keys).unwrap();
    for number in 0..3 {
        archive.shelf(1).put(&put(number)).unwrap();
    }
    archive.sync().unwrap();
    archive.close();
}

fn put(number: u64) -> Put<'static> {
    Put {
        number,
        key: u128::from(number).to_be_bytes(),
        value: SECRET,
        by: &[(1, SECRET)],
    }
}

fn read_all(data: &Path, keys: &Keyring) {
    let (journal, replayed) = open(data, keys).unwrap();
    let of_it: Vec<_> = replayed
        .iter()
        .filter(|record| record.ends_with(SECRET))
        .collect();
    assert_eq!(of_it.len(), 2);
    let read = journal.read(Position::new(1, 0), 2, usize::MAX).unwrap();
    assert_eq!(read, of_it.into_iter().cloned().collect::<Vec<_>>());
    journal.close();
    let store = SnapshotStore::open_with(data.join("snapshots"), keys.clone()).unwrap();
    let reader = store.latest(3).unwrap().unwrap();
    assert_eq!(reader.meta(), SECRET);
    assert_eq!(reader.info().bytes, 9_000 * SECRET.len() as u64);
    let content: Vec<Bytes> = reader.map(|chunk| chunk.unwrap()).collect();
    assert_eq!(content.concat(), SECRET.repeat(9_000));
    let archive = Archive::open(&data.join("archive"), keys).unwrap();
    let shelf = archive.shelf(1);
    let found = shelf.newest_by((1, SECRET), &[0; 16], &[0xff; 16], 2).unwrap();
    let numbers: Vec<_> = found.iter().map(|it| (it.number, &it.value[..])).collect();
    assert_eq!(numbers, [(2, SECRET), (1, SECRET)]);
    assert!(shelf.is_found_by((1, SECRET), &put(0).key).unwrap());
    assert!(!shelf.is_found_by((1, b"another"), &put(0).key).unwrap());
    archive.close();
}

#[test]
fn nothing_of_what_is_sealed_is_in_any_file_and_all_of_it_reads_back() {
    let plain = tempfile::tempdir().unwrap();
    write_all(plain.path(), &Keyring::default());
    read_all(plain.path(), &Keyring::default());
    let found = that_have(plain.path(), SECRET);
    for part in ["journal", "snapshots", "archive"] {
        let within = plain.path().join(part);
        assert!(
            found.iter().any(|file| file.starts_with(&within)),
            "the search finds what is not sealed in {part}: {found:?}"
        );
    }
    assert_eq!(at_rest::usage(plain.path()), usage(&[], 3));
    let names = |data: &Path| files(data).iter().any(|file| file.ends_with("sealed"));
    assert!(
        !names(plain.path()),
        "without a key there are the files that there were"
    );

    let sealed = tempfile::tempdir().unwrap();
    let keys = keyring("a", &[("a", 1)]);
    write_all(sealed.path(), &keys);
    assert_eq!(that_have(sealed.path(), SECRET), Vec::<PathBuf>::new());
    assert_eq!(at_rest::usage(sealed.path()), usage(&[("a", 3)], 0));
    read_all(sealed.path(), &keys);
    assert_eq!(that_have(sealed.path(), SECRET), Vec::<PathBuf>::new());
}

struct Count(u64);

impl Inspect for Count {
    fn record(&mut self, _position: Position, _record: &[u8]) {
        self.0 += 1;
    }

    fn snapshot(&mut self, _info: &SnapshotInfo, meta: &[u8]) {
        assert_eq!(meta, SECRET);
        self.0 += 1;
    }
}

#[test]
fn a_key_that_is_missing_or_wrong_is_named_and_costs_nothing() {
    let data = tempfile::tempdir().unwrap();
    let keys = keyring("a", &[("a", 1)]);
    write_all(data.path(), &keys);
    let wrong = keyring("a", &[("a", 2)]);
    for (other, expected) in [
        (Keyring::default(), SealError::NoKey { id: id("a") }),
        (keyring("b", &[("b", 1)]), SealError::NoKey { id: id("a") }),
        (wrong, SealError::WrongKey { id: id("a") }),
    ] {
        let refused = open(data.path(), &other).err().unwrap();
        let JournalError::Refused(refusal) = &refused else {
            panic!("{refused}")
        };
        assert_eq!(refusal.reason, RefusalReason::Sealed { why: expected });
        let text = refused.to_string();
        assert!(text.contains("`a`") && text.contains("Nothing is lost"), "{text}");
        let store = SnapshotStore::open_with(data.path().join("snapshots"), other.clone()).unwrap();
        let error = store.latest(3).unwrap_err().to_string();
        assert!(error.contains("`a`"), "{error}");
        drop(store);
        let error = Archive::open(&data.path().join("archive"), &other).err().unwrap();
        assert!(error.to_string().contains("`a`"), "{error}");
        let report = verify_with(data.path(), &other, &mut Count(0)).unwrap();
        assert!(!report.is_sound());
        let told = report.problems.iter().all(|problem| problem.text.contains("`a`"));
        assert!(told && report.problems.len() <= 3, "{:?}", report.problems);
    }
    read_all(data.path(), &keys);
    let mut count = Count(0);
    let report = verify_with(data.path(), &keys, &mut count).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((count.0, report.records), (3, 2));
}

/// A newer snapshot whose key is missing is not passed over for an older one that can be read: what is behind it would be lost.
#[test]
fn a_snapshot_without_its_key_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let write = |keys: Keyring| {
        let store = SnapshotStore::open_with(dir.path(), keys).unwrap();
        let mut writer = store.begin(1, b"meta").unwrap();
        writer.write(SECRET).unwrap();
        writer.finish().unwrap();
    };
    write(Keyring::default());
    write(keyring("a", &[("a", 1)]));
    let store = SnapshotStore::open(dir.path()).unwrap();
    assert!(store.latest(1).unwrap_err().to_string().contains("`a`"));
    assert!(store.read(1, 1).is_ok(), "the older one can be read");
}

#[test]
fn keys_are_exchanged_turned_on_and_turned_off_a_segment_and_a_snapshot_at_a_time() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path();
    let none = Keyring::default();
    write_all(path, &none);
    // On: what is there stays as it is.
    let with_a = keyring("a", &[("a", 1)]);
    read_all(path, &with_a);
    let append = |keys: &Keyring, number: u64| {
        let (journal, _) = open(path, keys).unwrap();
        append_and_wait(&journal, vec![record(number, 100)]).unwrap();
        journal.close();
    };
    append(&with_a, 1);
    // The archive has what is not sealed, and a key from now on.
    assert_eq!(at_rest::usage(path), usage(&[("a", 2)], 3));
    // The same key again begins nothing.
    append(&with_a, 2);
    assert_eq!(at_rest::usage(path), usage(&[("a", 2)], 3));
    // Another.
    let with_b = keyring("b", &[("a", 1), ("b", 2)]);
    append(&with_b, 3);
    let archive = Archive::open(&path.join("archive"), &with_b).unwrap();
    archive.shelf(1).put(&put(3)).unwrap();
    archive.sync().unwrap();
    archive.close();
    assert_eq!(at_rest::usage(path), usage(&[("a", 1), ("b", 2)], 3));
    // Off: what is sealed stays so, and its keys are needed.
    let off = keyring("", &[("a", 1), ("b", 2)]);
    append(&off, 4);
    let refused = open(path, &keyring("", &[("b", 2)])).err().unwrap();
    assert!(refused.to_string().contains("`a`"), "{refused}");
    let (journal, replayed) = open(path, &off).unwrap();
    assert_eq!(replayed[2..], [1, 2, 3, 4].map(|number| record(number, 100)));
    assert_eq!(at_rest::usage(path), usage(&[("a", 1), ("b", 2)], 4));
    // What was sealed before, and what was not, is found alike.
    let archive = Archive::open(&path.join("archive"), &off).unwrap();
    let found = archive
        .shelf(1)
        .newest_by((1, SECRET), &[0; 16], &[0xff; 16], 9)
        .unwrap();
    let numbers: Vec<_> = found.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [3, 2, 1, 0]);
    archive.close();
    // Once what was sealed with it is let go of, its key is not needed any more.
    let mut last = Position::new(1, 0);
    for number in 0..200 {
        last = append_and_wait(&journal, vec![record(number, 3_000)]).unwrap()[0];
    }
    journal.truncate_before(last).unwrap();
    journal.close();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while at_rest::usage(path).sealed.contains_key(&id("a")) {
        assert!(std::time::Instant::now() < deadline, "{:?}", at_rest::usage(path));
        std::thread::yield_now();
    }
    open(path, &keyring("", &[("b", 2)])).unwrap().0.close();
}

#[test]
fn an_archive_whose_key_is_gone_is_not_begun_anew() {
    let data = tempfile::tempdir().unwrap();
    let keys = keyring("a", &[("a", 1)]);
    write_all(data.path(), &keys);
    let dir = data.path().join("archive");
    let head = fs::read(dir.join("sealed")).unwrap();
    fs::remove_file(dir.join("sealed")).unwrap();
    for keys in [&keys, &Keyring::default()] {
        let error = Archive::open(&dir, keys).err().unwrap().to_string();
        assert!(error.contains("its key is gone"), "{error}");
        assert!(!dir.join("sealed").exists());
    }
    fs::write(dir.join("sealed"), head).unwrap();
    read_all(data.path(), &keys);
}

/// The only frame of a segment was torn, and the next one has another key: the segment is begun anew in place.
#[test]
fn a_segment_whose_frames_were_all_cut_takes_the_next_key() {
    let data = tempfile::tempdir().unwrap();
    let (with_a, with_b) = (keyring("a", &[("a", 1)]), keyring("b", &[("a", 1), ("b", 2)]));
    let (journal, _) = open(data.path(), &with_a).unwrap();
    append_and_wait(&journal, vec![record(1, 100)]).unwrap();
    journal.close();
    let store = docket_persistence::SledStore::open(&options(data.path().join("journal"))).unwrap();
    store.cut_after(0).unwrap();
    drop(store);
    // As of a journal whose first commit never came to be.
    let mark = data.path().join("journal/mark");
    fs::remove_file(&mark).unwrap();
    let keep = docket_persistence::mark::FileMark::open(&mark).unwrap();
    docket_persistence::mark::Mark::store(&keep, docket_persistence::mark::HighWater::NEW).unwrap();
    let (journal, replayed) = open(data.path(), &with_b).unwrap();
    assert_eq!(replayed.len(), 0);
    append_and_wait(&journal, vec![record(2, 100)]).unwrap();
    journal.close();
    assert_eq!(at_rest::usage(data.path()), usage(&[("b", 1)], 0));
    let (_journal, replayed) = open(data.path(), &keyring("", &[("b", 2)])).unwrap();
    assert_eq!(replayed, [record(2, 100)]);
}

#[test]
fn whichever_bit_of_a_sealed_frame_is_flipped_it_is_found_and_no_frame_stands_for_another() {
    let keys = keyring("a", &[("a", 1)]);
    let disk = MemDisk::new();
    with_keys(&keys, || {
        let (journal, ..) = open_mem(&disk).unwrap();
        for number in 1..=2 {
            append_and_wait(&journal, vec![record(number, 40)]).unwrap();
        }
        journal.close();
    });
    let (first, second) = (frame(&disk, 1), frame(&disk, 2));
    let mut opener = Opener::new(keys);
    assert!(Frame::decode_with(1, &first, &mut opener).unwrap().is_sealed());
    assert!(matches!(Frame::decode(1, &first), Err(FrameError::Sealed(_))));
    for bit in 0..first.len() * 8 {
        let mut flipped = first.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = Frame::decode_with(1, &flipped, &mut opener).map(|_| ());
        assert_eq!(found, Err(FrameError::Checksum), "bit {bit}");
        // And by who makes the checksum fit.
        let crc = crc32c::crc32c(&flipped[4..]).to_le_bytes();
        flipped[..4].copy_from_slice(&crc);
        let found = Frame::decode_with(1, &flipped, &mut opener).map(|_| ());
        assert!(bit < 32 || found.is_err(), "bit {bit}");
    }
    // In another's place, and under another's number.
    let found = Frame::decode_with(2, &first, &mut opener).map(|_| ());
    assert_eq!(found, Err(FrameError::Sequence { found: 1 }));
    let mut moved = second.to_vec();
    moved[8..16].copy_from_slice(&1_u64.to_le_bytes());
    let crc = crc32c::crc32c(&moved[4..]).to_le_bytes();
    moved[..4].copy_from_slice(&crc);
    let found = Frame::decode_with(1, &moved, &mut opener).map(|_| ());
    assert_eq!(found, Err(FrameError::Sealed(SealError::Changed { id: id("a") })));
}

fn frame(disk: &MemDisk, sequence: u64) -> Bytes {
    disk.store().read(sequence).unwrap().unwrap()
}

/// What was damaged is told from what has no key.
#[test]
fn a_sealed_snapshot_that_was_changed_is_refused_and_the_older_one_taken() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keyring("a", &[("a", 1)]);
    let store = SnapshotStore::open_with(dir.path(), keys.clone()).unwrap();
    for group in [1, 1, 2] {
        let mut writer = store.begin(group, b"meta").unwrap();
        writer.write(&SECRET.repeat(3_000)).unwrap();
        writer.finish().unwrap();
    }
    drop(store);
    let newest = store_path(dir.path(), 1, 2);
    // Another group's file, of the same content and the same key.
    let others = store_path(dir.path(), 2, 1);
    type Change = Box<dyn Fn(&Path)>;
    let changes: BTreeMap<&str, Change> = BTreeMap::from([
        ("data", Box::new(|file: &Path| flip(file, 70_000)) as Change),
        ("sealed", Box::new(|file: &Path| flip(file, 45))),
    ]);
    for (name, change) in changes {
        let file = newest.join(name);
        let whole = fs::read(&file).unwrap();
        change(&file);
        check_passed_over(dir.path(), &keys);
        fs::copy(others.join(name), &file).unwrap();
        check_passed_over(dir.path(), &keys);
        fs::write(&file, whole).unwrap();
    }
    fs::rename(newest.join("sealed"), dir.path().join("away")).unwrap();
    check_passed_over(dir.path(), &keys);
}

fn store_path(dir: &Path, group: u32, snapshot: u64) -> PathBuf {
    dir.join(group.to_string()).join(format!("{snapshot:020}"))
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[track_caller]
fn check_passed_over(dir: &Path, keys: &Keyring) {
    let store = SnapshotStore::open_with(dir, keys.clone()).unwrap();
    let reader = store.latest(1).unwrap().unwrap();
    assert_eq!((reader.info().id, reader.rejected().len()), (1, 1));
}

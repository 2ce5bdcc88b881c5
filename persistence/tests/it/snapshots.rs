//! Snapshots: visible whole or not at all, checked before they are believed, the newest two kept.

use bytes::Bytes;
use docket_persistence::{JournalError, SnapshotError, SnapshotReader, SnapshotStore};

use crate::support::record;

fn write(store: &SnapshotStore, group: u32, meta: &[u8], parts: &[Bytes]) -> u64 {
    let mut writer = store.begin(group, meta).unwrap();
    for part in parts {
        writer.write(part).unwrap();
    }
    let expected: u64 = parts.iter().map(|part| part.len() as u64).sum();
    assert_eq!(writer.bytes(), expected);
    let info = writer.finish().unwrap();
    assert_eq!((info.group, info.bytes), (group, expected));
    info.id
}

fn content(reader: SnapshotReader) -> Vec<u8> {
    reader.map(|chunk| chunk.unwrap()).collect::<Vec<_>>().concat()
}

#[test]
fn a_snapshot_comes_back_as_it_was_written_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let parts: Vec<Bytes> = [0, 1, 6_139, 6_140, 100_000, 7]
        .iter()
        .map(|len| Bytes::from(vec![*len as u8; *len]))
        .collect();
    let metas: [&[u8]; 3] = [b"", b"log id 5", &[7; 20_000]];
    for (group, meta) in metas.into_iter().enumerate() {
        let group = group as u32;
        let store = SnapshotStore::open(dir.path().join("snapshots")).unwrap();
        assert!(store.latest(group).unwrap().is_none());
        write(&store, group, meta, &parts);
        for store in [store.clone(), store] {
            let reader = store.latest(group).unwrap().unwrap();
            assert_eq!((reader.meta().as_ref(), reader.rejected().len()), (meta, 0));
            assert_eq!(content(reader), parts.concat());
        }
        let store = SnapshotStore::open(dir.path().join("snapshots")).unwrap();
        let reader = store.latest(group).unwrap().unwrap();
        assert_eq!(reader.meta().as_ref(), meta);
        assert_eq!(content(reader), parts.concat());
    }
    let store = SnapshotStore::open(dir.path().join("snapshots")).unwrap();
    assert_eq!(store.groups(), [0, 1, 2]);
    store.remove_group(1).unwrap();
    assert_eq!(store.groups(), [0, 2]);
    assert!(store.latest(1).unwrap().is_none());
}

#[test]
fn what_a_crash_left_of_a_group_that_has_left_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 7, b"", &[record(1, 1_000)]);
    write(&store, 8, b"", &[record(1, 1_000)]);
    drop(store);
    let away = dir.path().join("7.dropped");
    std::fs::rename(dir.path().join("7"), &away).unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    assert_eq!((store.groups(), away.exists()), (vec![8], false));
    // And removed once more it is no error.
    store.remove_group(7).unwrap();
    store.remove_group(8).unwrap();
    assert_eq!(store.groups(), Vec::<u32>::new());
    assert!(!dir.path().join("8").exists());
    // Who writes one meanwhile finds its place taken away, and the next begins a new one.
    write(&store, 8, b"", &[record(1, 1_000)]);
    assert_eq!(store.groups(), [8]);
}

#[test]
fn an_empty_state_is_a_snapshot_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 1, b"", &[]);
    assert_eq!(content(store.latest(1).unwrap().unwrap()), Vec::<u8>::new());
}

#[test]
fn the_newest_two_are_kept_and_readers_of_older_ones_finish() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let part = |number| vec![record(number, 300_000)];
    let first = write(&store, 3, b"a", &part(1));
    let reader = store.latest(3).unwrap().unwrap();
    let also = store.latest(3).unwrap().unwrap();
    let ids: Vec<u64> = (2..5)
        .map(|number| write(&store, 3, b"b", &part(number)))
        .collect();
    assert_eq!(store.ids(3), ids[1..]);
    assert_eq!(store.sizes().snapshots, 2);
    assert!(store.read(3, first).is_err());
    assert_eq!(content(reader), part(1).concat());
    assert_eq!(content(also), part(1).concat());
    assert_eq!(content(store.latest(3).unwrap().unwrap()), part(4).concat());
}

#[test]
fn an_unfinished_snapshot_is_never_seen_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let id = write(&store, 1, b"whole", &[record(1, 50_000)]);
    let mut dropped = store.begin(1, b"dropped").unwrap();
    dropped.write(&record(2, 50_000)).unwrap();
    drop(dropped);
    let mut crashed = store.begin(1, b"crashed").unwrap();
    crashed.write(&record(3, 50_000)).unwrap();
    assert_eq!(store.ids(1), [id]);
    std::mem::forget(crashed);
    drop(store);
    // The forgotten writer holds the lock of this process: what a crash leaves is a copy of the files.
    let after = tempfile::tempdir().unwrap();
    crate::support::copy_dir(dir.path(), after.path());
    assert_eq!(std::fs::read_dir(after.path().join("1")).unwrap().count(), 2);
    let store = SnapshotStore::open(after.path()).unwrap();
    assert_eq!(std::fs::read_dir(after.path().join("1")).unwrap().count(), 1);
    assert_eq!(content(store.latest(1).unwrap().unwrap()), record(1, 50_000));
    assert!(write(&store, 1, b"next", &[]) > id);
}

/// Bytes of a block of the data, with its header.
const BLOCK_BYTES: usize = 12 + 64 * 1024;

/// How each kind of damage to the data is made, and what is said of it.
type Damage = (&'static str, fn(&mut Vec<u8>), &'static str);

#[test]
fn a_damaged_snapshot_is_reported_and_the_older_one_taken_and_two_damaged_ones_are_an_error() {
    let damages: [Damage; 8] = [
        (
            "a bit of a block",
            |data| data[2 * BLOCK_BYTES + 700] ^= 4,
            "block 2 of it",
        ),
        (
            "a bit of a hash",
            |data| data[3 * BLOCK_BYTES] ^= 1,
            "block 3 of it",
        ),
        ("a length", |data| data[BLOCK_BYTES + 10] ^= 64, "block 1 of it"),
        (
            "cut within a block",
            |data| data.truncate(5 * BLOCK_BYTES + 99),
            "block 5 of it",
        ),
        (
            "cut within a header",
            |data| data.truncate(4 * BLOCK_BYTES + 7),
            "block 4 of it",
        ),
        (
            "cut between two blocks",
            |data| data.truncate(4 * BLOCK_BYTES),
            "what its end says does not match",
        ),
        (
            "two blocks for each other",
            |data| data[..2 * BLOCK_BYTES].rotate_left(BLOCK_BYTES),
            "block 0 of it",
        ),
        (
            "more of it",
            |data| data.extend_from_slice(&[0; 12]),
            "block 7 of it",
        ),
    ];
    for (damage, make, expected) in damages {
        let dir = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(dir.path()).unwrap();
        let ids: Vec<u64> = (0..2)
            .map(|number| write(&store, 9, &[number], &[record(number.into(), 400_000)]))
            .collect();
        let damaged = |id: u64| {
            let file = store.path(9, id).join("data");
            let mut data = std::fs::read(&file).unwrap();
            make(&mut data);
            std::fs::write(&file, data).unwrap();
        };
        damaged(ids[1]);
        let reader = store.latest(9).unwrap().unwrap();
        assert_eq!(reader.meta().as_ref(), [0]);
        let rejected = reader.rejected();
        assert!(rejected[0].contains(expected), "{damage}: {rejected:?}");
        assert_eq!(content(reader), record(0, 400_000));
        std::fs::remove_file(store.path(9, ids[0]).join("data")).unwrap();
        let error = store.latest(9).map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, SnapshotError::NoneGood { group: 9, rejected } if rejected.len() == 2),
            "{error}"
        );
        assert!(
            error.to_string().contains("its file `data` is missing"),
            "{error}"
        );
    }
}

#[test]
fn a_snapshot_whose_end_is_lost_or_of_a_newer_program_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let id = write(&store, 9, b"meta", &[record(1, 400_000)]);
    drop(store);
    let change = |change: &dyn Fn(&sled::Db)| {
        let path = dir.path().join(format!("9/{id:020}"));
        change(
            &sled::Config::new()
                .path(path)
                .flush_every_ms(None)
                .open()
                .unwrap(),
        );
        let store = SnapshotStore::open(dir.path()).unwrap();
        store.latest(9).map(|_| ()).unwrap_err().to_string()
    };
    let end = 1_u64.to_be_bytes();
    let newer = change(&|db| {
        let mut chunk = db.get(end).unwrap().unwrap().to_vec();
        chunk[5] = 4;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&end), &chunk[4..]);
        chunk[..4].copy_from_slice(&crc.to_le_bytes());
        db.insert(end, chunk).unwrap();
    });
    assert!(newer.contains("format version 4 is unknown"), "{newer}");
    let lost = change(&|db| drop(db.remove(end).unwrap()));
    assert!(lost.contains("chunk 1 is missing"), "{lost}");
}

#[test]
fn two_stores_cannot_have_the_same_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _store = SnapshotStore::open(dir.path()).unwrap();
    let error = SnapshotStore::open(dir.path()).unwrap_err();
    assert!(matches!(&error, JournalError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
}

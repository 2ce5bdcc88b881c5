//! Bytes that an earlier version wrote and every later one must read. The files are never rewritten: a new format gets new ones
//! (`DOCKET_WRITE_FIXTURES=1` makes those that are missing).

use std::path::PathBuf;

use bytes::Bytes;
use docket_persistence::archive::{Archive, Keyed, Put, SledKeyed};
use docket_persistence::frame::{Assembled, Assembler, Frame, Opener, Packer};
use docket_persistence::mark::{FileMark, HighWater, Mark};
use docket_persistence::mem::MemDisk;
use docket_persistence::sealing::Keyring;
use docket_persistence::store::Store;
use docket_persistence::{Position, SnapshotStore};

use crate::support::{append_and_wait, keyring, open_mem, record, with_keys};

/// The fixture `name`, made by `write` when it is missing and that was asked for.
fn fixture(name: &str, write: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    if !path.exists() && std::env::var_os("DOCKET_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, write()).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Two commits: whole records, an empty one, and one over three frames.
fn commits() -> [Vec<Bytes>; 2] {
    [
        vec![record(1, 100), Bytes::new(), record(2, 5_000)],
        vec![record(3, 14_000), record(4, 10)],
    ]
}

/// The frames of [`commits`] as today's program packs them, each behind its length (u32, little-endian).
fn packed() -> (Vec<u8>, Vec<Position>) {
    let mut file = Vec::new();
    let mut positions = Vec::new();
    let mut packer = Packer::new(1, 0);
    let mut emit = |_sequence, frame: &[u8]| {
        file.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        file.extend_from_slice(frame);
        Ok::<(), ()>(())
    };
    for commit in commits() {
        for record in commit {
            positions.push(packer.push(&record, &mut emit).unwrap());
        }
        packer.end_commit(&mut emit).unwrap();
    }
    (file, positions)
}

fn split(file: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = file;
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (part, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
        parts.push(part);
        rest = behind;
    }
    parts
}

#[test]
fn frames_of_format_1_decode_for_ever() {
    let file = fixture("frames-v1.bin", || packed().0);
    let frames = split(&file);
    assert_eq!(frames.len(), 4);
    let mut assembler = Assembler::default();
    let mut records = Vec::new();
    let mut previous_hash = 0;
    for (index, bytes) in frames.iter().enumerate() {
        let frame = Frame::decode(index as u64 + 1, bytes).unwrap();
        assert_eq!(frame.previous_hash(), previous_hash);
        previous_hash = frame.hash();
        for fragment in frame.fragments() {
            if let Assembled::Record(position, record) = assembler.push(frame.sequence(), fragment) {
                records.push((position, Bytes::copy_from_slice(record)));
            }
        }
    }
    let decoded = frames
        .iter()
        .zip(1..)
        .map(|(bytes, sequence)| Frame::decode(sequence, bytes).unwrap());
    let places: Vec<_> = decoded
        .map(|frame| (frame.commit_index(), frame.ends_commit(), frame.synced_before()))
        .collect();
    assert_eq!(places, [(0, true, 0), (0, false, 1), (1, false, 1), (2, true, 1)]);
    let expected: Vec<_> = packed().1.into_iter().zip(commits().concat()).collect();
    assert_eq!(records, expected);
}

#[test]
fn format_1_is_what_this_program_writes() {
    assert_eq!(
        packed().0,
        fixture("frames-v1.bin", || packed().0),
        "a changed format needs a new version and a new fixture"
    );
}

#[test]
fn marks_of_format_1_are_read_for_ever() {
    let high = HighWater {
        first: 17,
        last: 4_242,
        last_hash: 0x0123_4567_89ab_cdef,
    };
    let dir = tempfile::tempdir().unwrap();
    let file = fixture("mark-v1.bin", || {
        let mark = FileMark::open(&dir.path().join("written")).unwrap();
        mark.load().unwrap();
        mark.store(HighWater {
            first: 17,
            last: 4_000,
            last_hash: 5,
        })
        .unwrap();
        mark.sync().unwrap();
        mark.store(high).unwrap();
        std::fs::read(dir.path().join("written")).unwrap()
    });
    let path = dir.path().join("mark");
    std::fs::write(&path, &file).unwrap();
    let found = FileMark::inspect(&path).unwrap();
    assert_eq!((found.newest, found.damaged_slots), (Some(high), 0));
}

#[test]
fn snapshots_of_format_1_are_read_for_ever() {
    let parts = [record(1, 3_000), record(2, 9_000)];
    let meta = record(3, 40);
    let dir = tempfile::tempdir().unwrap();
    let open = |group: &str| {
        let path = dir.path().join(format!("{group}/{:020}", 1));
        sled::Config::new()
            .path(path)
            .flush_every_ms(None)
            .open()
            .unwrap()
    };
    // No program writes it any more.
    let file = fixture("snapshot-v1.bin", Vec::new);
    let db = open("2");
    for (key, chunk) in split(&file).into_iter().enumerate() {
        db.insert((key as u64).to_be_bytes(), chunk).unwrap();
    }
    drop(db);
    let reader = SnapshotStore::open(dir.path())
        .unwrap()
        .latest(2)
        .unwrap()
        .unwrap();
    assert_eq!(reader.meta(), &meta);
    let content: Vec<Bytes> = reader.map(|chunk| chunk.unwrap()).collect();
    assert_eq!(content.concat(), parts.concat());
}

#[test]
fn snapshots_with_their_data_in_a_file_are_read_for_ever() {
    let parts = [record(1, 3_000), record(2, 90_000)];
    let meta = record(3, 40);
    let dir = tempfile::tempdir().unwrap();
    let path = |group: &str| dir.path().join(format!("{group}/{:020}", 1));
    let open = |group: &str| {
        let config = sled::Config::new().path(path(group));
        config.flush_every_ms(None).open().unwrap()
    };
    let write = || {
        let store = SnapshotStore::open(dir.path()).unwrap();
        let mut writer = store.begin(1, &meta).unwrap();
        parts.iter().for_each(|part| writer.write(part).unwrap());
        writer.finish().unwrap();
        let mut file = Vec::new();
        for chunk in open("1").iter().values() {
            let chunk = chunk.unwrap();
            file.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
            file.extend_from_slice(&chunk);
        }
        let data = std::fs::read(path("1").join("data")).unwrap();
        (file, data)
    };
    let written = write();
    let chunks = fixture("snapshot-v2.bin", || written.0.clone());
    let data = fixture("snapshot-v2-data.bin", || written.1.clone());
    assert!(
        (&chunks, &data) == (&written.0, &written.1),
        "a changed format needs a new version and new fixtures"
    );
    let db = open("2");
    for (key, chunk) in split(&chunks).into_iter().enumerate() {
        db.insert((key as u64).to_be_bytes(), chunk).unwrap();
    }
    drop(db);
    std::fs::write(path("2").join("data"), data).unwrap();
    let reader = SnapshotStore::open(dir.path()).unwrap().latest(2).unwrap();
    let reader = reader.unwrap();
    assert_eq!(reader.meta(), &meta);
    let content: Vec<Bytes> = reader.map(|chunk| chunk.unwrap()).collect();
    assert_eq!(content.concat(), parts.concat());
}

/// What the fixtures that are sealed are sealed with.
fn keys() -> Keyring {
    keyring("fixture", &[("fixture", 0x5a)])
}

/// Some bytes, each behind its length (u32, little-endian).
fn joined(parts: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
    let mut file = Vec::new();
    for part in parts {
        file.extend_from_slice(&(part.len() as u32).to_le_bytes());
        file.extend_from_slice(&part);
    }
    file
}

#[test]
fn sealed_frames_of_format_2_open_for_ever() {
    let write = || {
        let disk = MemDisk::new();
        with_keys(&keys(), || {
            let (journal, ..) = open_mem(&disk).unwrap();
            for commit in commits() {
                append_and_wait(&journal, commit).unwrap();
            }
            journal.close();
        });
        joined((1..=4).map(|sequence| disk.store().read(sequence).unwrap().unwrap()))
    };
    let file = fixture("frames-v2.bin", write);
    let (mut opener, mut assembler) = (Opener::new(keys()), Assembler::default());
    let (mut records, mut previous_hash) = (Vec::new(), 0);
    for (bytes, sequence) in split(&file).into_iter().zip(1..) {
        assert_eq!((bytes[4], Frame::decode(sequence, bytes).is_err()), (2, true));
        let frame = Frame::decode_with(sequence, bytes, &mut opener).unwrap();
        assert_eq!(frame.previous_hash(), previous_hash);
        previous_hash = frame.hash();
        for fragment in frame.fragments() {
            if let Assembled::Record(_, record) = assembler.push(sequence, fragment) {
                records.push(Bytes::copy_from_slice(record));
            }
        }
    }
    assert_eq!(records, commits().concat());
}

#[test]
fn sealed_snapshots_of_format_3_open_for_ever() {
    let parts = [record(1, 3_000), record(2, 90_000)];
    let meta = record(3, 40);
    let dir = tempfile::tempdir().unwrap();
    let path = |group: &str| dir.path().join(format!("{group}/1/{:020}", 1));
    let open = |group: &str| {
        let config = sled::Config::new().path(path(group));
        config.flush_every_ms(None).open().unwrap()
    };
    let written = std::cell::OnceCell::new();
    let of = |name: &str, part: usize| {
        fixture(name, || {
            let [chunks, data, sealed] = written.get_or_init(|| {
                let store = SnapshotStore::open_with(dir.path().join("written"), keys()).unwrap();
                let mut writer = store.begin(1, &meta).unwrap();
                parts.iter().for_each(|part| writer.write(part).unwrap());
                writer.finish().unwrap();
                let chunks = open("written").iter().values();
                let chunks = joined(chunks.map(|chunk| Bytes::copy_from_slice(&chunk.unwrap())));
                let read = |name: &str| std::fs::read(path("written").join(name)).unwrap();
                [chunks, read("data"), read("sealed")]
            });
            [chunks, data, sealed][part].clone()
        })
    };
    let (chunks, data) = (of("snapshot-v3.bin", 0), of("snapshot-v3-data.bin", 1));
    let sealed = of("snapshot-v3-sealed.txt", 2);
    let db = open("read");
    for (key, chunk) in split(&chunks).into_iter().enumerate() {
        db.insert((key as u64).to_be_bytes(), chunk).unwrap();
    }
    drop(db);
    std::fs::write(path("read").join("data"), data).unwrap();
    std::fs::write(path("read").join("sealed"), sealed).unwrap();
    let store = SnapshotStore::open_with(dir.path().join("read"), keys()).unwrap();
    let reader = store.latest(1).unwrap().unwrap();
    assert_eq!(reader.meta(), &meta);
    let content: Vec<Bytes> = reader.map(|chunk| chunk.unwrap()).collect();
    assert_eq!(content.concat(), parts.concat());
}

#[test]
fn sealed_values_of_the_archive_open_for_ever() {
    let (key, value) = ([7; 16], record(5, 2_000));
    let put = Put {
        number: 3,
        key,
        value: &value,
        by: &[(1, b"acme")],
    };
    let dir = tempfile::tempdir().unwrap();
    let write = || {
        let dir = dir.path().join("written");
        let archive = Archive::open(&dir, &keys()).unwrap();
        archive.shelf(1).put(&put).unwrap();
        archive.sync().unwrap();
        archive.close();
        drop(archive);
        dir
    };
    let written = std::cell::OnceCell::new();
    let value_of = || {
        let keyed = SledKeyed::open(written.get_or_init(write)).unwrap();
        let value = keyed.get("1/values", &key).unwrap().unwrap().to_vec();
        keyed.close();
        value
    };
    let stored = fixture("archive-v2.bin", value_of);
    let sealed = fixture("archive-v2-sealed.txt", || {
        std::fs::read(written.get_or_init(write).join("sealed")).unwrap()
    });
    let read = dir.path().join("read");
    let keyed = SledKeyed::open(&read).unwrap();
    keyed.put("1/values", &key, &stored).unwrap();
    keyed.sync().unwrap();
    keyed.close();
    std::fs::write(read.join("sealed"), sealed).unwrap();
    let archive = Archive::open(&read, &keys()).unwrap();
    let found = archive.shelf(1).get(&key).unwrap().unwrap();
    assert_eq!((found.number, &found.value), (3, &value));
    archive.close();
}

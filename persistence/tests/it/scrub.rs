//! What is stored is read once more while it is used: what the disk has spoilt is found where it is, and nothing else ever.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use docket_persistence::archive::{Archive, Put, SledKeyed};
use docket_persistence::mem::MemDisk;
use docket_persistence::scrub::{Damage, Place, Scrub, Shelved};
use docket_persistence::{Journal, JournalOptions, SnapshotStore};

use crate::support::{append_and_wait, keyring, open_mem, options, record};

/// Notes what it is told, and reads as fast as it goes.
#[derive(Default)]
struct Noted {
    bytes: u64,
    found: Vec<Damage>,
}

impl Scrub for Noted {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.bytes += bytes;
        ControlFlow::Continue(())
    }

    fn found(&mut self, damage: Damage) {
        self.found.push(damage);
    }
}

fn journal(data: &Path) -> Journal {
    let (journal, _) = Journal::open(options(data.join("journal")), &mut |_, _| {}).unwrap();
    journal
}

fn scrubbed(journal: &Journal) -> Noted {
    let mut noted = Noted::default();
    assert!(journal.scrub(&mut noted).unwrap().is_continue());
    noted
}

/// The sealed segments' files, oldest first.
fn sealed(data: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<_> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    dirs.sort();
    dirs.pop();
    dirs.into_iter().map(|dir| dir.join("db")).collect()
}

/// Flips one bit of what is found in a file; where that was.
fn flip(file: &Path, needle: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(needle.len()).rposition(|window| window == needle);
    let at = at.unwrap_or_else(|| panic!("it is not in {}", file.display()));
    let middle = at + needle.len() / 2;
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[bytes[middle] ^ 1], middle as u64).unwrap();
}

#[test]
fn a_bit_that_flips_in_a_sealed_segment_is_found_by_its_frame_while_the_journal_is_written() {
    let data = tempfile::tempdir().unwrap();
    let journal = journal(data.path());
    let mut positions = Vec::new();
    for number in 0..400 {
        positions.extend(append_and_wait(&journal, vec![record(number, 900)]).unwrap());
    }
    let whole = scrubbed(&journal);
    assert_eq!(whole.found, []);
    assert!(whole.bytes > 400 * 900, "{}", whole.bytes);
    let segments = sealed(data.path());
    assert!(segments.len() > 3, "{segments:?}");
    // A record of the second segment, by its own bytes.
    let start: u64 = segments[1]
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let hit = positions.iter().position(|at| at.seq() == start + 5).unwrap();
    flip(&segments[1], &record(hit as u64, 900)[8..64]);
    let found = scrubbed(&journal).found;
    let [damage, ..] = &found[..] else {
        panic!("nothing is found")
    };
    assert!(
        damage.path.starts_with(segments[1].parent().unwrap()),
        "{damage:?}"
    );
    let is_hit = |damage: &Damage| match damage.place {
        Place::Frames { first, last } => (first..=last).contains(&(start + 5)),
        _ => false,
    };
    assert!(found.iter().any(is_hit), "{found:?}");
    // It goes on, and what comes is told from what was there.
    append_and_wait(&journal, vec![record(1_000, 900)]).unwrap();
    assert_eq!(scrubbed(&journal).found.len(), found.len());
    // Once nobody needs that segment any more there is nothing to be told.
    journal.truncate_before(*positions.last().unwrap()).unwrap();
    // The cut is made behind the first of these at the latest.
    for number in 1_001..1_003 {
        append_and_wait(&journal, vec![record(number, 900)]).unwrap();
    }
    assert_eq!(scrubbed(&journal).found, []);
}

#[test]
fn nothing_is_found_while_segments_are_begun_and_dropped_and_read_at_once() {
    let data = tempfile::tempdir().unwrap();
    let journal = journal(data.path());
    append_and_wait(&journal, vec![record(0, 900)]).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (of_writer, is_over) = (journal.clone(), over.clone());
        scope.spawn(move || {
            let mut kept = std::collections::VecDeque::new();
            for number in 0..1_200 {
                let at = append_and_wait(&of_writer, vec![record(number, 2_000)]).unwrap()[0];
                kept.push_back(at);
                if kept.len() > 200 {
                    let oldest = kept.pop_front().unwrap();
                    if number % 50 == 0 {
                        of_writer.truncate_before(oldest).unwrap();
                    }
                }
                // Others read as well, also what is old.
                if number % 7 == 0 {
                    let _ = of_writer.read(kept[kept.len() / 3], 2, 10_000);
                }
            }
            is_over.store(true, Ordering::Release);
        });
        let mut times = 0;
        while !over.load(Ordering::Acquire) {
            let noted = scrubbed(&journal);
            assert_eq!(noted.found, [], "the {times}th time");
            times += 1;
        }
        assert!(times > 1, "{times}");
    });
}

#[test]
fn a_journal_without_segments_is_read_too_and_a_missing_frame_is_told() {
    let disk = MemDisk::new();
    let (journal, ..) = open_mem(&disk).unwrap();
    let mut last = None;
    for number in 0..20 {
        last = append_and_wait(&journal, vec![record(number, 900)])
            .unwrap()
            .pop();
    }
    assert_eq!(scrubbed(&journal).found, []);
    journal.truncate_before(last.unwrap()).unwrap();
    append_and_wait(&journal, vec![record(20, 900)]).unwrap();
    assert_eq!(scrubbed(&journal).found, []);
    journal.close();
    assert!(journal.scrub(&mut Noted::default()).is_err());
}

#[test]
fn whoever_has_had_enough_ends_it() {
    struct Enough(u32);
    impl Scrub for Enough {
        fn read(&mut self, _: u64) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Break(())
        }
        fn found(&mut self, _: Damage) {}
    }
    let data = tempfile::tempdir().unwrap();
    let journal = journal(data.path());
    for number in 0..400 {
        append_and_wait(&journal, vec![record(number, 900)]).unwrap();
    }
    let mut enough = Enough(0);
    assert!(journal.scrub(&mut enough).unwrap().is_break());
    assert_eq!(enough.0, 1);
}

fn snapshot(store: &SnapshotStore, group: u32, number: u64) {
    let mut writer = store.begin(group, b"meta").unwrap();
    for part in 0..40 {
        writer.write(&record(number * 100 + part, 9_000)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_bit_that_flips_in_a_snapshot_is_found_by_its_file_and_group_and_a_replaced_one_is_not_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    (1..=3).for_each(|group| snapshot(&store, group, 1));
    let mut noted = Noted::default();
    assert!(store.scrub(&mut noted).is_continue());
    assert_eq!(noted.found, []);
    assert!(noted.bytes > 3 * 40 * 9_000, "{}", noted.bytes);
    let id = store.ids(2)[0];
    flip(&store.path(2, id).join("data"), &record(120, 9_000)[8..64]);
    let mut noted = Noted::default();
    assert!(store.scrub(&mut noted).is_continue());
    let [damage] = &noted.found[..] else {
        panic!("{:?}", noted.found)
    };
    assert_eq!(damage.place, Place::Snapshot { group: 2, id });
    assert!(
        damage.path.ends_with("data") && damage.why.contains("block"),
        "{damage:?}"
    );
    // Newer ones take its place.
    (2..=3).for_each(|number| snapshot(&store, 2, number));
    let mut noted = Noted::default();
    assert!(store.scrub(&mut noted).is_continue());
    assert_eq!(noted.found, []);
}

#[test]
fn nothing_is_found_while_snapshots_take_the_place_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    snapshot(&store, 1, 0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..60 {
                snapshot(&store, 1, number);
                if number % 20 == 0 {
                    store.remove_group(1).unwrap();
                }
            }
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            let mut noted = Noted::default();
            assert!(store.scrub(&mut noted).is_continue());
            assert_eq!(noted.found, []);
        }
    });
}

#[test]
fn what_the_archive_has_lost_is_found_by_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    let value = |number: u64| record(number, if number.is_multiple_of(5) { 9_000 } else { 700 });
    let open = || Archive::new(Arc::new(SledKeyed::open(&path).unwrap()));
    let scrub = |archive: &Archive, count: u64, is_still: bool| {
        let mut noted = Noted::default();
        let shelved = Shelved {
            shelf: 3,
            count,
            path: &path,
        };
        assert!(
            archive
                .shelf(3)
                .scrub(shelved, &|| is_still, &mut noted)
                .is_continue()
        );
        noted
    };
    let archive = open();
    for number in 0..200_u64 {
        let key = (u128::from(number * 7 % 200) << 64 | 1).to_be_bytes();
        let value: Bytes = value(number);
        let put = Put {
            number,
            key,
            value: &value,
            by: &[],
        };
        archive.shelf(3).put(&put).unwrap();
    }
    archive.sync().unwrap();
    // What is there beyond those that count is of a future that was not reached.
    for count in [0, 150, 200] {
        assert_eq!(scrub(&archive, count, true).found, [], "{count}");
    }
    assert!(scrub(&archive, 200, true).bytes >= 160 * 700 + 40 * 9_000);
    let missing = scrub(&archive, 203, true).found;
    let place = |first, last| Place::Values {
        shelf: 3,
        first,
        last,
    };
    assert_eq!(
        missing.iter().map(|one| one.place).collect::<Vec<_>>(),
        [place(200, 202)]
    );
    assert_eq!(scrub(&archive, 203, false).found, []);
    drop(archive);
    flip(&path.join("db"), &value(77)[8..64]);
    let found = scrub(&open(), 200, true).found;
    // sled itself cuts off what comes behind a page that it cannot read when it opens a file: which orders that costs is its own affair. Of one that
    // is open the number is told (`docket-actors`).
    let is_of_shelf = |damage: &Damage| matches!(damage.place, Place::Values { shelf: 3, .. });
    assert!(!found.is_empty() && found.iter().all(is_of_shelf), "{found:?}");
}

#[test]
fn what_is_sealed_is_read_once_more_as_well_and_a_bit_that_flips_in_it_is_found() {
    let (data, keys) = (tempfile::tempdir().unwrap(), keyring("a", &[("a", 1)]));
    let open = || {
        let options = JournalOptions {
            keys: keys.clone(),
            ..options(data.path().join("journal"))
        };
        Journal::open(options, &mut |_, _| {}).unwrap().0
    };
    let journal = open();
    for number in 0..400 {
        append_and_wait(&journal, vec![record(number, 900)]).unwrap();
    }
    assert_eq!(scrubbed(&journal).found, []);
    let store = SnapshotStore::open_with(data.path().join("snapshots"), keys.clone()).unwrap();
    let mut writer = store.begin(3, b"meta").unwrap();
    writer.write(&[7; 100_000]).unwrap();
    writer.finish().unwrap();
    let mut noted = Noted::default();
    assert!(store.scrub(&mut noted).is_continue());
    assert!(
        noted.found.is_empty() && noted.bytes >= 100_000,
        "{:?}",
        noted.found
    );
    let archive = Archive::open(&data.path().join("archive"), &keys).unwrap();
    for number in 0..3_u64 {
        let put = Put {
            number,
            key: u128::from(number).to_be_bytes(),
            value: b"value",
            by: &[(1, b"somebody")],
        };
        archive.shelf(1).put(&put).unwrap();
    }
    archive.sync().unwrap();
    let path = data.path().join("archive");
    let shelved = Shelved {
        shelf: 1,
        count: 3,
        path: &path,
    };
    let mut noted = Noted::default();
    assert!(
        archive
            .shelf(1)
            .scrub(shelved, &|| true, &mut noted)
            .is_continue()
    );
    assert_eq!(noted.found, []);
    archive.close();

    // What is sealed looks like chance, and nothing else in a segment does.
    let file = &sealed(data.path())[1];
    let bytes = std::fs::read(file).unwrap();
    let is_sealed = |part: &&[u8]| part.iter().collect::<std::collections::BTreeSet<_>>().len() > 48;
    flip(file, bytes.chunks(64).find(is_sealed).unwrap());
    let found = scrubbed(&journal).found;
    assert!(
        matches!(&found[..], [one] if matches!(one.place, Place::Frames { .. })),
        "{found:?}"
    );
    journal.close();
}

//! The archive, over sled and over the engine in memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use docket_persistence::{
    StoreError,
    archive::{Archive, ArchiveError, Entry, Key, Keyed, PART_BYTES_MAX, Put, Shelf, SledKeyed},
    mem::MemKeyed,
    sealing::Keyring,
};

use crate::support::keyring;

const LOWEST: Key = [0; 16];
const HIGHEST: Key = [0xff; 16];

fn key(number: u64) -> Key {
    // Not in the order of the numbers.
    (u128::from(number % 10) << 64 | u128::from(number)).to_be_bytes()
}

fn value(number: u64) -> Vec<u8> {
    // Of no part, of one, and of several.
    let length = (number as usize % 5) * PART_BYTES_MAX * 3 / 4;
    (0..length).map(|at| (at as u64 * 7 + number) as u8).collect()
}

fn put(shelf: &Shelf, number: u64) {
    let (of, value) = (format!("c{}\0", number % 3), value(number));
    let by: [(u8, &[u8]); 2] = [(0, of.as_bytes()), (1, b"odd")];
    let by = if number % 2 == 1 { &by[..] } else { &by[..1] };
    let put = Put {
        number,
        key: key(number),
        value: &value,
        by,
    };
    shelf.put(&put).unwrap();
}

fn check(shelf: &Shelf, count: u64) {
    for number in 0..count {
        let found = shelf.get(&key(number)).unwrap().unwrap();
        assert_eq!((found.number, &found.value[..]), (number, &value(number)[..]));
        assert_eq!(shelf.key_of(number).unwrap(), Some(key(number)));
    }
    assert_eq!(shelf.get(&key(count)).unwrap(), None);
    assert_eq!(shelf.key_of(count).unwrap(), None);
    let mut all: Vec<u64> = (0..count).collect();
    all.sort_by_key(|number| std::cmp::Reverse(key(*number)));
    let found = |most| -> Vec<u64> {
        let found = shelf.newest(&LOWEST, &HIGHEST, most).unwrap();
        found.iter().map(|it| it.number).collect()
    };
    assert_eq!(found(usize::MAX), all);
    assert_eq!(found(3), all[..3.min(all.len())]);
    // From one on, and below another.
    let range = shelf.newest(&key(3), &key(7), usize::MAX).unwrap();
    assert!(range.iter().all(|it| key(3) <= it.key && it.key < key(7)));
    assert_eq!(shelf.newest(&key(7), &key(3), 9).unwrap(), []);
    let by = |by: (u8, &[u8]), wanted: &dyn Fn(u64) -> bool| {
        let found = shelf.newest_by(by, &LOWEST, &HIGHEST, usize::MAX).unwrap();
        let found: Vec<u64> = found.iter().map(|it| it.number).collect();
        let should: Vec<u64> = all.iter().copied().filter(|number| wanted(*number)).collect();
        assert_eq!(found, should);
    };
    by((0, b"c1\0"), &|number| number % 3 == 1);
    by((0, b"c\0"), &|_| false);
    by((1, b"odd"), &|number| number % 2 == 1);
    if count > 4 {
        assert!(shelf.is_found_by((0, b"c1\0"), &key(4)).unwrap());
        assert!(!shelf.is_found_by((0, b"c2\0"), &key(4)).unwrap());
    }
}

fn both(run: impl Fn(Arc<dyn Keyed>)) {
    let dir = tempfile::tempdir().unwrap();
    run(Arc::new(SledKeyed::open(&dir.path().join("archive")).unwrap()));
    run(Arc::new(MemKeyed::new()));
}

#[test]
fn what_is_put_is_found_by_its_key_its_number_and_what_else_it_is_found_by() {
    both(|keyed| {
        let archive = Archive::new(keyed);
        let (shelf, other) = (archive.shelf(7), archive.shelf(70));
        check(&shelf, 0);
        for number in 0..40 {
            put(&shelf, number);
            put(&other, number);
        }
        check(&shelf, 40);
        // Once more is nothing more.
        (10..40).for_each(|number| put(&shelf, number));
        check(&shelf, 40);
        shelf.clear().unwrap();
        check(&shelf, 0);
        check(&other, 40);
        put(&shelf, 0);
        check(&shelf, 1);
    });
}

#[test]
fn the_first_value_of_a_mark_is_known_in_whatever_order_they_are_marked() {
    both(|keyed| {
        let archive = Archive::new(keyed);
        let (shelf, other) = (archive.shelf(7), archive.shelf(70));
        assert_eq!(shelf.since(7).unwrap(), None);
        for (number, since) in [(30, 30), (300, 30), (8, 8), (8, 8), (9, 8)] {
            shelf.mark(7, number).unwrap();
            assert_eq!(shelf.since(7).unwrap(), Some(since));
        }
        other.mark(7, 1).unwrap();
        assert_eq!(
            (shelf.since(8).unwrap(), shelf.since(7).unwrap()),
            (None, Some(8))
        );
        shelf.clear().unwrap();
        assert_eq!(
            (shelf.since(7).unwrap(), other.since(7).unwrap()),
            (None, Some(1))
        );
    });
}

#[test]
fn what_was_synced_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("archive");
    let open = || Archive::new(Arc::new(SledKeyed::open(&dir).unwrap()));
    // Nothing is made before something is put.
    check(&open().shelf(0), 0);
    open().sync().unwrap();
    assert!(!dir.exists());
    for from in [0, 40, 80] {
        let archive = open();
        let shelf = archive.shelf(3);
        check(&shelf, from);
        (from..from + 40).for_each(|number| put(&shelf, number));
        archive.sync().unwrap();
        check(&shelf, from + 40);
    }
}

#[test]
fn a_value_that_was_damaged_or_lost_in_part_is_told_of() {
    let keyed = MemKeyed::new();
    let shelf = Archive::new(Arc::new(keyed.clone())).shelf(1);
    (0..5).for_each(|number| put(&shelf, number));
    let damaged = |shelf: &Shelf| matches!(shelf.get(&key(4)), Err(ArchiveError::Damaged(_)));
    assert!(!damaged(&shelf));
    let whole = keyed.get("1/values", &key(4)).unwrap().unwrap();
    for at in [0, 2, 5, 12, 16, 40, whole.len() - 1] {
        let mut other = whole.to_vec();
        other[at] ^= 1;
        keyed.damage("1/values", &key(4), Some(&other));
        assert!(damaged(&shelf), "byte {at}");
    }
    keyed.damage("1/values", &key(4), Some(&whole[..10]));
    assert!(damaged(&shelf));
    keyed.damage("1/values", &key(4), Some(&whole));
    assert!(!damaged(&shelf));
    keyed.damage("1/more", &[&key(4)[..], &[0, 1]].concat(), None);
    assert!(damaged(&shelf));
    // What only an index has is none of it.
    keyed.damage("1/values", &key(1), None);
    assert!(shelf.newest_by((0, b"c1\0"), &LOWEST, &HIGHEST, 9).is_err());
}

#[test]
fn what_was_not_synced_may_be_lost_when_the_power_goes_and_is_put_again() {
    for seed in 0..50 {
        let keyed = MemKeyed::new();
        let archive = Archive::new(Arc::new(keyed.clone()));
        let shelf = archive.shelf(2);
        (0..20).for_each(|number| put(&shelf, number));
        archive.sync().unwrap();
        (20..30).for_each(|number| put(&shelf, number));
        keyed.restart_machine(seed);
        for number in 0..20 {
            assert_eq!(shelf.get(&key(number)).unwrap().unwrap().number, number);
        }
        (15..30).for_each(|number| put(&shelf, number));
        check(&shelf, 30);
    }
}

/// Counts what is put.
#[derive(Clone, Default)]
struct Counted {
    keyed: MemKeyed,
    puts: Arc<AtomicUsize>,
}

impl Keyed for Counted {
    fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.keyed.put(tree, key, value)
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.keyed.get(tree, key)
    }

    fn newest(&self, tree: &str, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, StoreError> {
        self.keyed.newest(tree, from, below, most)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.keyed.sync()
    }

    fn remove(&self, prefix: &str) -> Result<(), StoreError> {
        self.keyed.remove(prefix)
    }
}

/// A replay puts everything behind the last snapshot: of sled's pages each would be a fragment more.
#[test]
fn what_is_put_again_is_written_only_where_it_is_missing_or_damaged() {
    for keys in [Keyring::default(), keyring("k1", &[("k1", 7)])] {
        let dir = tempfile::tempdir().unwrap();
        let counted = Counted::default();
        let keyed = &counted.keyed;
        let is_sealed = keys.current().is_some();
        let open = || Archive::on(Arc::new(counted.clone()), dir.path(), &keys).unwrap();
        let puts = || counted.puts.swap(0, Ordering::Relaxed);
        let shelf = open().shelf(1);
        (0..20).for_each(|number| put(&shelf, number));
        assert!(puts() > 60);
        (0..20).for_each(|number| put(&shelf, number));
        assert_eq!(puts(), 0);
        // The same after a restart, which goes on with what is new.
        let shelf = open().shelf(1);
        (0..21).for_each(|number| put(&shelf, number));
        check(&shelf, 21);
        assert_eq!(puts(), 3);
        // A value of three parts, of which one is damaged; a number that is missing.
        let part = [&key(4)[..], &[0, 1]].concat();
        keyed.damage("1/more", &part, Some(b"other"));
        keyed.damage("1/numbers", &7_u64.to_be_bytes(), None);
        let entry = [b"c2\0", &key(8)[..]].concat();
        if !is_sealed {
            keyed.damage("1/by-0", &entry, None);
        }
        (0..21).for_each(|number| put(&shelf, number));
        check(&shelf, 21);
        // (Sealed, the value has a part more, and the index other entries.)
        assert_eq!(puts(), 5);
        // Another value is another, whatever was there.
        let another = Put {
            number: 3,
            key: key(3),
            value: b"another",
            by: &[],
        };
        shelf.put(&another).unwrap();
        assert_eq!(
            (puts(), &shelf.get(&key(3)).unwrap().unwrap().value[..]),
            (1, &b"another"[..])
        );
    }
}

/// Which number is the last is not known then: what is there and what is not is looked for.
#[test]
fn a_damaged_number_keeps_nothing_from_being_put() {
    let keyed = MemKeyed::new();
    let open = || Archive::new(Arc::new(keyed.clone())).shelf(1);
    (0..3).for_each(|number| put(&open(), number));
    keyed.put("1/numbers", &[0xff; 5], b"of no length").unwrap();
    let shelf = open();
    (0..6).for_each(|number| put(&shelf, number));
    check(&shelf, 6);
}

#[test]
fn a_sync_that_failed_once_is_never_said_to_be_done() {
    let keyed = MemKeyed::new();
    let archive = Archive::new(Arc::new(keyed.clone()));
    put(&archive.shelf(2), 0);
    keyed.kill_process();
    archive.sync().unwrap_err();
    keyed.restart_process();
    archive.clone().sync().unwrap_err();
    assert_eq!(keyed.syncs(), 0);
}

/// A reader that had found out that a tree is there, and kept what it opened when it had just gone, had all that was put behind it refused.
#[test]
fn what_is_put_behind_a_removal_is_there_whoever_reads_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let keyed = SledKeyed::open(&dir.path().join("archive")).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    keyed.get("7/numbers", b"1").unwrap();
                    keyed.newest("7/numbers", b"0", b"2", 9).unwrap();
                }
            });
        }
        let rounds = (0..300).try_for_each(|round| {
            keyed
                .put("7/numbers", b"1", b"one")
                .map_err(|error| format!("round {round}: {error}"))?;
            let found = keyed.get("7/numbers", b"1").unwrap();
            assert_eq!(found.as_deref(), Some(&b"one"[..]), "round {round}");
            keyed.remove("7/").map_err(|error| error.to_string())
        });
        is_done.store(true, Ordering::Relaxed);
        rounds.unwrap();
    });
}

//! Acknowledged ⊆ recovered ⊆ submitted, in order and whole, whatever a crash of the process or of the power does to what was
//! not synced: thousands of seeds over the engine that loses, tears and reorders.

use docket_persistence::JournalError;
use docket_persistence::mem::{Fault, MemDisk, Seeded};

use crate::support::{Acks, append_and_wait, keyring, len, number, open_mem, record, with_keys};

const SEEDS: u64 = 3_000;

/// What a run knows about the records that were ever submitted, by number.
#[derive(Default)]
struct Ledger {
    submitted: Vec<bytes::Bytes>,
    acknowledged: Vec<u64>,
}

/// The story: a process died between writing and syncing; the next one read its frames from the kernel's cache, took them for
/// durable and let the mark vouch for them; then the power went.
#[test]
fn frames_that_only_the_kernels_cache_held_are_synced_before_the_mark_vouches_for_them() {
    let disk = MemDisk::new();
    let (journal, ..) = open_mem(&disk).unwrap();
    disk.inject(Fault::Kill {
        call: 2,
        takes_effect: false,
    });
    assert!(append_and_wait(&journal, vec![record(1, 100)]).is_err());
    drop(journal);
    disk.restart_process();
    let (journal, recovery, replayed) = open_mem(&disk).unwrap();
    assert_eq!((recovery.records, replayed.len()), (1, 1));
    drop(journal);
    // This seed keeps nothing that was not synced.
    disk.restart_machine(seed_that_loses_everything());
    let (_journal, _, replayed) = open_mem(&disk).unwrap();
    assert_eq!(replayed.len(), 1);
}

/// The same where frames are sealed: a torn tail is told from a frame without one.
#[test]
fn whatever_a_crash_does_to_a_sealed_journal_acknowledged_records_are_recovered() {
    let mut cuts = 0;
    for seed in 0..SEEDS / 10 {
        cuts += with_keys(&keyring("b", &[("a", 1), ("b", 2)]), || {
            crash_again_and_again(seed)
        })
        .0;
    }
    assert!(cuts > SEEDS / 200, "{cuts} torn tails");
}

#[test]
fn whatever_a_crash_does_acknowledged_records_are_recovered_and_nothing_else_is_invented() {
    let first = std::env::var("DOCKET_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seeds = first.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (mut cuts, mut kills, mut kept) = (0, 0, 0);
    for seed in seeds {
        let (cut, killed, recovered) = crash_again_and_again(seed);
        cuts += cut;
        kills += killed;
        kept += recovered;
    }
    println!(
        "{SEEDS} seeds: {kills} crashes inside a commit, {cuts} torn tails cut, {kept} records recovered"
    );
    if first.is_none() {
        assert!(
            cuts > SEEDS / 20 && kills > SEEDS && kept > SEEDS * 10,
            "the seeds must reach the cases that matter"
        );
    }
}

/// The power losses of a seed are drawn in six kinds; number 1 loses everything that was not synced.
fn seed_that_loses_everything() -> u64 {
    (0..).find(|seed| Seeded::new(*seed).below(6) == 1).unwrap()
}

/// One life after another on the same disk, each ended by a crash somewhere; returns (tails cut, crashes, records recovered).
fn crash_again_and_again(seed: u64) -> (u64, u64, u64) {
    let mut random = Seeded::new(seed);
    let disk = MemDisk::new();
    let mut ledger = Ledger::default();
    // Where the recovered history ends: records of one life that were not recovered never come back later.
    let mut history: Vec<u64> = Vec::new();
    let (mut cuts, mut kills, mut recovered) = (0, 0, 0);
    for life in 0..6 {
        if random.below(3) > 0 {
            let takes_effect = random.below(2) == 0;
            disk.inject(Fault::Kill {
                call: 1 + random.below(40),
                takes_effect,
            });
        }
        match open_mem(&disk) {
            Ok((journal, recovery, replayed)) => {
                cuts += u64::from(recovery.cut.is_some());
                recovered += replayed.len() as u64;
                history = check(seed, life, &ledger, &history, &replayed);
                live(&mut random, &journal, &mut ledger, &replayed);
                kills += u64::from(journal.failure().is_some());
            }
            // The crash hit while opening.
            Err(JournalError::Store(_)) => kills += 1,
            Err(error) => panic!("seed {seed}, life {life}: {error}"),
        }
        if random.below(3) == 0 {
            disk.restart_process();
        } else {
            disk.restart_machine(random.draw());
        }
    }
    let (_journal, _, replayed) =
        open_mem(&disk).unwrap_or_else(|error| panic!("seed {seed}, the end: {error}"));
    check(seed, 6, &ledger, &history, &replayed);
    (cuts, kills, recovered)
}

/// Appends at random until the journal fails or enough is done.
fn live(
    random: &mut Seeded,
    journal: &docket_persistence::Journal,
    ledger: &mut Ledger,
    replayed: &[(docket_persistence::Position, bytes::Bytes)],
) {
    let acks = Acks::default();
    for _ in 0..random.below(25) {
        let mut records = Vec::new();
        let mut numbers = Vec::new();
        for _ in 0..random.below(6) {
            let number = ledger.submitted.len() as u64;
            let record = record(number, len(random));
            ledger.submitted.push(record.clone());
            records.push(record);
            numbers.push(number);
        }
        let queued = if random.below(8) == 0 {
            journal.append_quietly(records)
        } else {
            journal.append(records, acks.of(numbers))
        };
        if queued.is_err() {
            break;
        }
        if random.below(3) == 0 {
            // Let the committer finish what it has, so that commits vary in size.
            let (sender, receiver) = std::sync::mpsc::channel();
            let waited = journal.append(Vec::new(), Box::new(move |_| sender.send(()).unwrap()));
            if waited.is_ok() {
                receiver.recv().unwrap();
            }
        }
    }
    if random.below(6) == 0 && !replayed.is_empty() {
        let _ = journal.truncate_before(replayed[random.below(replayed.len() as u64) as usize].0);
    }
    journal.close();
    ledger.acknowledged.extend(acks.acknowledged());
}

/// Checks what a life found, and returns the history that it confirms.
fn check(
    seed: u64,
    life: u64,
    ledger: &Ledger,
    history: &[u64],
    replayed: &[(docket_persistence::Position, bytes::Bytes)],
) -> Vec<u64> {
    let told = || format!("seed {seed}, life {life} (DOCKET_SEED={seed} repeats it)");
    assert!(
        replayed.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "positions rise: {}",
        told()
    );
    let numbers: Vec<u64> = replayed.iter().map(|(_, record)| number(record)).collect();
    for (number, (_, record)) in numbers.iter().zip(replayed) {
        assert_eq!(
            ledger.submitted.get(*number as usize),
            Some(record),
            "record {number} was submitted: {}",
            told()
        );
    }
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "order is kept: {}",
        told()
    );
    // Truncation lets go of a prefix, never of anything behind it.
    let begin = numbers.first().copied().unwrap_or(u64::MAX);
    for acknowledged in ledger.acknowledged.iter().filter(|number| **number >= begin) {
        assert!(
            numbers.binary_search(acknowledged).is_ok(),
            "record {acknowledged} was acknowledged: {}",
            told()
        );
    }
    if !ledger.acknowledged.is_empty() {
        assert!(!numbers.is_empty(), "acknowledged records are there: {}", told());
    }
    for number in history.iter().filter(|number| **number >= begin) {
        assert!(
            numbers.binary_search(number).is_ok(),
            "record {number} was recovered once and is gone: {}",
            told()
        );
    }
    numbers
}

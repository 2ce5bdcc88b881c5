//! A failed write or sync is final, at whichever call it comes; and the bounds hold.

use std::collections::BTreeSet;
use std::sync::mpsc;

use docket_persistence::mem::{Fault, MemDisk};
use docket_persistence::{Disk, Journal, JournalError, JournalOptions};

use crate::support::{Acks, append_and_wait, keyring, number, open_mem, options, record, with_keys};

const APPENDS: u64 = 12;

/// Twelve commits of one to three frames each and a truncation, under a fault; then whatever survives must hold every acknowledgement.
/// Says whether the fault struck.
fn strike(fault: Fault) -> bool {
    let disk = MemDisk::new();
    let (journal, ..) = open_mem(&disk).unwrap();
    disk.inject(fault);
    let (told, hears) = mpsc::channel();
    journal.on_failure(Box::new(move |failure| told.send(failure).unwrap()));
    let acks = Acks::default();
    let mut submitted = Vec::new();
    let mut first = None;
    let mut failed = false;
    for append in 0..APPENDS {
        let records = vec![record(append, 4_000 + append as usize * 900)];
        submitted.extend(records.clone());
        // One at a time, so that the nth call is the same in every run.
        match append_and_wait(&journal, records) {
            Ok(positions) => {
                assert!(!failed, "{fault:?}: nothing is acknowledged after the failure");
                acks.of(vec![append])(Ok(&positions));
                first = first.or(Some(positions[0]));
                if append == 7 {
                    journal.truncate_before(positions[0]).unwrap();
                }
            }
            Err(JournalError::Poisoned(_)) => failed = true,
            Err(error) => panic!("{fault:?}: {error}"),
        }
    }
    journal.close();
    let failure = journal.failure();
    if let Some(failure) = &failure {
        assert_eq!(
            hears.try_recv().as_ref(),
            Ok(failure),
            "{fault:?}: it is told once"
        );
        assert!(
            failure.path.starts_with("memory") && !failure.cause.is_empty(),
            "{failure}"
        );
        let late = journal.append(vec![record(99, 9)], Box::new(|_| panic!("it was refused")));
        assert!(matches!(late, Err(JournalError::Poisoned(_))), "{fault:?}");
        assert!(matches!(
            journal.append_quietly(Vec::new()),
            Err(JournalError::Poisoned(_))
        ));
        assert!(matches!(
            journal.truncate_before(first.unwrap_or(docket_persistence::Position::new(1, 0))),
            Err(JournalError::Poisoned(_))
        ));
        let (told, hears) = mpsc::channel();
        journal.on_failure(Box::new(move |failure| told.send(failure).unwrap()));
        assert_eq!(
            hears.try_recv().as_ref(),
            Ok(failure),
            "{fault:?}: a late listener hears it at once"
        );
    }
    drop(journal);
    for seed in 0..12 {
        let disk = disk.fork();
        if seed == 0 {
            disk.restart_process()
        } else {
            disk.restart_machine(seed)
        }
        let (_journal, recovery, replayed) =
            open_mem(&disk).unwrap_or_else(|error| panic!("{fault:?}, seed {seed}: {error}"));
        let numbers: Vec<u64> = replayed.iter().map(|(_, record)| number(record)).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{fault:?}, seed {seed}: no holes, in order"
        );
        assert!(
            replayed.iter().all(|(_, record)| submitted.contains(record)),
            "{fault:?}, seed {seed}"
        );
        let recovered: BTreeSet<u64> = numbers.iter().copied().collect();
        let from = if recovery.first_seq > 1 { 7 } else { 0 };
        let lost: Vec<u64> = acks
            .acknowledged()
            .into_iter()
            .filter(|number| *number >= from && !recovered.contains(number))
            .collect();
        assert!(
            lost.is_empty(),
            "{fault:?}, seed {seed}: acknowledged and lost: {lost:?}"
        );
    }
    failure.is_some()
}

#[test]
fn whichever_call_fails_or_kills_nothing_acknowledged_is_lost() {
    strike_everything();
}

#[test]
fn nor_is_anything_of_a_sealed_journal() {
    with_keys(&keyring("a", &[("a", 1)]), strike_everything);
}

fn strike_everything() {
    let faults: [fn(u64) -> Fault; 5] = [
        Fault::FailAppend,
        Fault::FailSync,
        Fault::FailMark,
        |call| Fault::Kill {
            call,
            takes_effect: false,
        },
        |call| Fault::Kill {
            call,
            takes_effect: true,
        },
    ];
    let struck = faults.map(|fault| (1..).take_while(|nth| strike(fault(*nth))).count() as u64);
    assert!(
        struck[0] > APPENDS,
        "each frame written was failed once: {struck:?}"
    );
    assert_eq!(struck[1], APPENDS, "each sync was failed once: {struck:?}");
    assert!(
        struck[2] > APPENDS,
        "each write of the mark was failed once: {struck:?}"
    );
    assert!(
        struck[3] > 3 * APPENDS && struck[3] == struck[4],
        "every call was a death once: {struck:?}"
    );
}

#[test]
fn an_error_names_the_file_and_the_cause() {
    let disk = MemDisk::new();
    let (journal, ..) = open_mem(&disk).unwrap();
    disk.inject(Fault::FailSync(1));
    let error = append_and_wait(&journal, vec![record(1, 10)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the journal stopped: fdatasync memory/frames failed: Input/output error (os error 5)"
    );
}

#[test]
fn everything_that_waits_hears_of_the_failure() {
    let disk = MemDisk::new();
    let (journal, ..) = open_mem(&disk).unwrap();
    disk.inject(Fault::FailSync(2));
    let gate = hold_committer(&journal);
    let acks = Acks::default();
    for number in 0..50 {
        journal
            .append(vec![record(number, 2_000)], acks.of(vec![number]))
            .unwrap();
    }
    drop(gate);
    journal.close();
    assert_eq!(acks.acknowledged(), [0_u64; 0]);
    assert_eq!(acks.failed(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_panic_in_a_callers_done_stops_the_journal_and_is_no_silence() {
    let (journal, ..) = open_mem(&MemDisk::new()).unwrap();
    let (told, hears) = mpsc::channel();
    journal.on_failure(Box::new(move |failure| told.send(failure).unwrap()));
    journal
        .append(vec![record(1, 10)], Box::new(|_| panic!("a caller's mistake")))
        .unwrap();
    let failure = hears.recv().unwrap();
    assert!(failure.to_string().contains("a caller's mistake"), "{failure}");
    assert!(matches!(
        append_and_wait(&journal, vec![record(2, 10)]),
        Err(JournalError::Poisoned(_))
    ));
}

#[test]
fn a_full_queue_refuses_and_the_journal_goes_on() {
    let disk = MemDisk::new();
    let small = JournalOptions {
        queue_bytes_max: 64 * 1024,
        queue_records_max: 16,
        ..options("memory")
    };
    let (journal, _) = Journal::open_with(
        Box::new(disk.store()),
        Box::new(disk.mark()),
        small,
        &mut |_, _| {},
    )
    .unwrap();
    let gate = hold_committer(&journal);
    let acks = Acks::default();
    let append = |records: Vec<bytes::Bytes>| {
        let numbers = records.iter().map(|record| number(record)).collect();
        journal.append(records, acks.of(numbers))
    };
    for record_number in 0..16 {
        append(vec![record(record_number, 10)]).unwrap();
    }
    assert!(matches!(
        append(vec![record(50, 10)]),
        Err(JournalError::Full { records: 16, .. })
    ));
    drop(gate);
    drained(&journal);
    let gate = hold_committer(&journal);
    append(vec![record(16, 60 * 1024)]).unwrap();
    assert!(matches!(
        append(vec![record(51, 5 * 1024)]),
        Err(JournalError::Full { bytes: 61_440, .. })
    ));
    let too_large = append(vec![record(52, 65 * 1024)]);
    assert!(matches!(
        too_large,
        Err(JournalError::TooLarge {
            bytes: 66_560,
            bytes_max: 65_536,
            ..
        })
    ));
    drop(gate);
    drained(&journal);
    append_and_wait(&journal, vec![record(61, 10)]).unwrap();
    assert_eq!(acks.acknowledged(), (0..17).collect::<Vec<_>>());
}

#[test]
fn quiet_records_never_block_those_that_somebody_waits_for() {
    let disk = MemDisk::new();
    let small = JournalOptions {
        queue_bytes_max: 64 * 1024,
        ..options("memory")
    };
    let (journal, _) = Journal::open_with(
        Box::new(disk.store()),
        Box::new(disk.mark()),
        small,
        &mut |_, _| {},
    )
    .unwrap();
    for number in 0..4 {
        journal.append_quietly(vec![record(number, 16 * 1024)]).unwrap();
    }
    assert_eq!(
        journal.status().queue_records,
        4,
        "nobody waits, so nothing is written"
    );
    loop {
        match append_and_wait(&journal, vec![record(4, 16 * 1024)]) {
            Ok(_) => break,
            Err(JournalError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(journal.status().records, 5);
}

#[test]
fn a_low_disk_is_told_and_recovers_while_appends_go_on() {
    let disk = MemDisk::new();
    let reserve = JournalOptions {
        disk_reserve_bytes: 1_000_000,
        ..options("memory")
    };
    disk.set_free_bytes(Some(2_000_000));
    let (journal, _) = Journal::open_with(
        Box::new(disk.store()),
        Box::new(disk.mark()),
        reserve,
        &mut |_, _| {},
    )
    .unwrap();
    let table = [
        (Some(2_000_000), Disk::Ok),
        (Some(999_999), Disk::Low { free_bytes: 999_999 }),
        (
            Some(1_100_000),
            Disk::Low {
                free_bytes: 1_100_000,
            },
        ),
        (Some(1_250_000), Disk::Ok),
    ];
    for (free, expected) in table {
        disk.set_free_bytes(free);
        append_and_wait(&journal, vec![record(1, 10)]).unwrap();
        assert_eq!(journal.disk(), expected, "{free:?} bytes free");
    }
}

/// Keeps the committer busy until the returned end is dropped, so that what is appended meanwhile is one batch.
fn hold_committer(journal: &Journal) -> mpsc::Sender<()> {
    let (gate, opens) = mpsc::channel::<()>();
    let (entered, enters) = mpsc::channel();
    let hold = Box::new(move |_: Result<&[docket_persistence::Position], JournalError>| {
        entered.send(()).unwrap();
        let _ = opens.recv();
    });
    journal.append(vec![record(1_000, 8)], hold).unwrap();
    enters.recv().unwrap();
    gate
}

/// Waits until the committer has taken all that waited.
fn drained(journal: &Journal) {
    while journal.status().queue_records > 0 {
        std::thread::yield_now();
    }
}

//! A journal without a thread: nothing happens but by its steps, and a crash between two of them loses what was not synced.

use bytes::Bytes;
use docket_persistence::mem::{Fault, MemDisk};
use docket_persistence::{Journal, JournalError, Stepper};

use crate::support::{Acks, number, open_mem, options, record};

fn open(disk: &MemDisk) -> (Journal, Stepper, Vec<u64>) {
    let (mut found, store, mark) = (Vec::new(), disk.store(), disk.mark());
    let mut replay = |_, bytes: &[u8]| found.push(number(bytes));
    let opened = Journal::open_stepped(Box::new(store), Box::new(mark), options("memory"), &mut replay);
    let (journal, _, stepper) = opened.unwrap();
    (journal, stepper, found)
}

fn append(journal: &Journal, acks: &Acks, n: u64) {
    let records: Vec<Bytes> = vec![record(n, 100)];
    journal.append(records, acks.of(vec![n])).unwrap();
}

#[test]
fn nothing_is_written_but_by_a_step_and_nothing_acknowledged_before_the_sync() {
    let (disk, acks) = (MemDisk::new(), Acks::default());
    let (journal, mut stepper, _) = open(&disk);
    assert!(!stepper.write(), "nothing is due");
    append(&journal, &acks, 1);
    append(&journal, &acks, 2);
    assert!(disk.sequences().is_empty(), "no thread writes");
    assert!(stepper.write());
    assert_eq!(disk.sequences(), [1]);
    append(&journal, &acks, 3);
    assert!(stepper.write(), "the first commit is still to be synced");
    assert!(acks.acknowledged().is_empty());
    stepper.sync();
    assert_eq!(acks.acknowledged(), [1, 2]);
    assert!(stepper.write());
    stepper.sync();
    stepper.sync();
    assert_eq!(acks.acknowledged(), [1, 2, 3]);
}

#[test]
fn a_crash_between_the_write_and_the_sync_keeps_what_was_acknowledged_and_acknowledges_no_more() {
    let mut lost = 0;
    for seed in 0..50 {
        let (disk, acks) = (MemDisk::new(), Acks::default());
        let (journal, mut stepper, _) = open(&disk);
        append(&journal, &acks, 1);
        stepper.write();
        stepper.sync();
        append(&journal, &acks, 2);
        stepper.write();
        disk.kill_process();
        stepper.sync();
        assert_eq!((acks.acknowledged(), acks.failed()), (vec![1], vec![2]));
        drop((journal, stepper));
        disk.restart_machine(seed);
        let (_, _, found) = open(&disk);
        assert_eq!(found[0], 1, "seed {seed}");
        lost += usize::from(found.len() == 1);
    }
    assert!((1..50).contains(&lost), "some seeds lose it, some do not: {lost}");
}

#[test]
fn closing_is_done_by_the_next_steps_and_dropping_writes_nothing() {
    let (disk, acks) = (MemDisk::new(), Acks::default());
    let (journal, mut stepper, _) = open(&disk);
    append(&journal, &acks, 1);
    journal.close();
    assert!(!stepper.has_ended());
    stepper.write();
    stepper.sync();
    assert!(stepper.has_ended());
    assert_eq!(acks.acknowledged(), [1]);

    let (journal, stepper, found) = open(&disk);
    assert_eq!(found, [1]);
    append(&journal, &acks, 2);
    drop((journal, stepper));
    assert_eq!(open(&disk).2, [1]);
    // What steps wrote is an ordinary journal.
    assert_eq!(open_mem(&disk).unwrap().2.len(), 1);
}

#[test]
fn a_failed_sync_is_as_final_as_that_of_the_thread() {
    let (disk, acks) = (MemDisk::new(), Acks::default());
    let (journal, mut stepper, _) = open(&disk);
    disk.inject(Fault::FailSync(1));
    append(&journal, &acks, 1);
    stepper.write();
    stepper.sync();
    assert!(stepper.has_ended());
    assert_eq!(acks.failed(), [1]);
    let refused = journal.append(vec![record(2, 100)], acks.of(vec![2]));
    assert!(matches!(refused, Err(JournalError::Poisoned(_))), "{refused:?}");
    assert!(!stepper.write());
}

//! What every engine must do, once over sled and once over the engine in memory: as a store of frames, and with the journal on it.

use std::ops::ControlFlow;

use bytes::Bytes;
use docket_persistence::frame::FRAME_BYTES_MAX;
use docket_persistence::mark::{FileMark, Mark};
use docket_persistence::mem::MemDisk;
use docket_persistence::sealing::Keyring;
use docket_persistence::store::Store;
use docket_persistence::{Journal, JournalError, JournalOptions, Position, SledStore};

use crate::support::{Opened, append_and_wait, keyring, options, record, with_keys};

/// Somewhere that stores can be opened on again and again.
trait Engine {
    fn store(&self) -> Box<dyn Store>;
    fn mark(&self) -> Box<dyn Mark>;
    fn options(&self) -> JournalOptions;

    fn journal(&self) -> Result<Opened, JournalError> {
        let mut replayed = Vec::new();
        let (journal, recovery) = Journal::open_with(
            self.store(),
            self.mark(),
            self.options(),
            &mut |position, record| {
                replayed.push((position, Bytes::copy_from_slice(record)));
            },
        )?;
        Ok((journal, recovery, replayed))
    }
}

impl Engine for MemDisk {
    fn store(&self) -> Box<dyn Store> {
        Box::new(Self::store(self))
    }

    fn mark(&self) -> Box<dyn Mark> {
        Box::new(Self::mark(self))
    }

    fn options(&self) -> JournalOptions {
        options("memory")
    }
}

impl Engine for tempfile::TempDir {
    fn store(&self) -> Box<dyn Store> {
        Box::new(SledStore::open(&self.options()).unwrap())
    }

    fn mark(&self) -> Box<dyn Mark> {
        Box::new(FileMark::open(&self.path().join("journal/mark")).unwrap())
    }

    fn options(&self) -> JournalOptions {
        options(self.path().join("journal"))
    }
}

#[track_caller]
fn on_every_engine(check: impl Fn(&dyn Engine)) {
    for keys in [Keyring::default(), keyring("a", &[("a", 1)])] {
        with_keys(&keys, || {
            check(&MemDisk::new());
            check(&tempfile::tempdir().unwrap());
        });
    }
}

fn frame(sequence: u64) -> Bytes {
    record(sequence, 8 + (sequence as usize * 977) % (FRAME_BYTES_MAX - 8))
}

fn fill(store: &dyn Store, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        store.append(sequence, &frame(sequence)).unwrap();
    }
    store.sync().unwrap();
}

fn replayed(store: &dyn Store, from: u64) -> Vec<(u64, Bytes)> {
    let mut frames = Vec::new();
    store
        .replay(from, &mut |sequence, bytes| {
            frames.push((sequence, Bytes::copy_from_slice(bytes)));
            ControlFlow::Continue(())
        })
        .unwrap();
    frames
}

fn frames(sequences: std::ops::RangeInclusive<u64>) -> Vec<(u64, Bytes)> {
    sequences.map(|sequence| (sequence, frame(sequence))).collect()
}

#[test]
fn a_new_store_is_empty_and_an_early_sync_harmless() {
    on_every_engine(|engine| {
        let store = engine.store();
        store.sync().unwrap();
        assert_eq!(replayed(&*store, 1), []);
        assert_eq!(store.read(1).unwrap(), None);
        assert_eq!(store.newest_segment_start(), None);
    });
}

#[test]
fn frames_come_back_in_order_after_reopening() {
    on_every_engine(|engine| {
        fill(&*engine.store(), 1..=300);
        let store = engine.store();
        assert_eq!(replayed(&*store, 1), frames(1..=300));
        assert_eq!(replayed(&*store, 217), frames(217..=300));
        assert_eq!(replayed(&*store, 301), []);
    });
}

#[test]
fn frames_are_read_back_before_and_after_their_sync() {
    on_every_engine(|engine| {
        let store = engine.store();
        fill(&*store, 1..=40);
        store.append(41, &frame(41)).unwrap();
        for sequence in 1..=41 {
            assert_eq!(
                store.read(sequence).unwrap(),
                Some(frame(sequence)),
                "frame {sequence}"
            );
        }
        assert_eq!(store.read(42).unwrap(), None);
    });
}

#[test]
fn a_replay_can_be_broken_off() {
    on_every_engine(|engine| {
        let store = engine.store();
        fill(&*store, 1..=10);
        let mut seen = 0;
        store
            .replay(1, &mut |sequence, _| {
                seen = sequence;
                if sequence == 4 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(seen, 4);
    });
}

#[test]
fn a_cut_removes_the_end_for_good_and_its_sequences_are_used_again() {
    on_every_engine(|engine| {
        let store = engine.store();
        fill(&*store, 1..=5);
        store.cut_after(3).unwrap();
        assert_eq!(replayed(&*store, 1), frames(1..=3));
        drop(store);
        let store = engine.store();
        assert_eq!(replayed(&*store, 1), frames(1..=3));
        store.append(4, &frame(40)).unwrap();
        store.sync().unwrap();
        drop(store);
        assert_eq!(engine.store().read(4).unwrap(), Some(frame(40)));
    });
}

#[test]
fn a_truncation_keeps_all_that_is_needed_and_gives_space_back() {
    on_every_engine(|engine| {
        let store = engine.store();
        // Small batches, so that sled begins new segments between them.
        for batch in 0..40_u64 {
            fill(&*store, batch * 10 + 1..=batch * 10 + 10);
        }
        let before = store.sizes();
        store.truncate_before(321).unwrap();
        assert!(
            store.sizes().disk_bytes < before.disk_bytes / 2,
            "{before:?} then {:?}",
            store.sizes()
        );
        let check = |store: &dyn Store| {
            assert_eq!(replayed(store, 321), frames(321..=400));
            assert_eq!(store.read(1).unwrap(), None, "what is let go of is gone");
            assert_eq!(store.read(321).unwrap(), Some(frame(321)));
        };
        check(&*store);
        drop(store);
        check(&*engine.store());
    });
}

/// Records around every boundary of the format, in one append each or many.
fn batches() -> Vec<Vec<Bytes>> {
    let lens = [
        8, 100, 6_090, 6_110, 6_113, 6_114, 6_116, 12_230, 40_000, 1_000_000, 8,
    ];
    let mut batches: Vec<Vec<Bytes>> = lens
        .iter()
        .enumerate()
        .map(|(number, len)| vec![record(number as u64, *len)])
        .collect();
    batches.push(
        (100..200)
            .map(|number| record(number, 8 + number as usize * 7))
            .collect(),
    );
    batches.push(vec![Bytes::new(), record(300, 9), Bytes::new()]);
    batches.push(Vec::new());
    batches
}

#[test]
fn records_of_every_length_are_acknowledged_read_back_and_replayed() {
    on_every_engine(|engine| {
        let (journal, recovery, _) = engine.journal().unwrap();
        assert_eq!((recovery.records, recovery.next_seq, recovery.cut), (0, 1, None));
        let mut written: Vec<(Position, Bytes)> = Vec::new();
        for batch in batches() {
            let positions = append_and_wait(&journal, batch.clone()).unwrap();
            assert_eq!(positions.len(), batch.len());
            written.extend(positions.into_iter().zip(batch));
        }
        assert!(
            written.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "positions rise"
        );
        for (index, (position, _)) in written.iter().enumerate() {
            let read = journal.read(*position, 3, usize::MAX).unwrap();
            let expected: Vec<_> = written[index..]
                .iter()
                .take(3)
                .map(|(_, record)| record.clone())
                .collect();
            assert_eq!(read, expected, "from {position}");
        }
        journal.close();
        drop(journal);
        let (journal, recovery, replayed) = engine.journal().unwrap();
        assert_eq!(replayed, written);
        assert_eq!((recovery.records, recovery.cut), (written.len() as u64, None));
        assert_eq!(
            journal.read(written[0].0, usize::MAX, usize::MAX).unwrap().len(),
            written.len()
        );
    });
}

#[test]
fn a_read_ends_at_its_count_and_its_bytes_and_refuses_what_is_no_record() {
    on_every_engine(|engine| {
        let (journal, ..) = engine.journal().unwrap();
        let batch: Vec<_> = (0..20).map(|number| record(number, 1_000)).collect();
        let positions = append_and_wait(&journal, batch).unwrap();
        let read = |from, count, bytes_max| journal.read(from, count, bytes_max).map(|records| records.len());
        assert_eq!(read(positions[0], 7, usize::MAX).unwrap(), 7);
        assert_eq!(read(positions[0], 20, 3_500).unwrap(), 3);
        assert_eq!(
            read(positions[0], 20, 10).unwrap(),
            1,
            "the first comes whatever its length"
        );
        assert_eq!(read(positions[0], 0, 10).unwrap(), 0);
        assert_eq!(
            read(positions[15], 20, usize::MAX).unwrap(),
            5,
            "the end is the end"
        );
        let past = Position::new(positions[19].seq() + 1, 0);
        let inside = Position::new(positions[3].seq(), positions[3].offset() + 1);
        // The second frame begins with the end of the record that the first could not hold; where it is sealed it holds a little less, and begins anew.
        let continuation = Position::new(positions[0].seq() + 1, 0);
        let continuation = (engine.options().keys.current().is_none()).then_some(continuation);
        for from in [past, inside, Position::new(0, 0)]
            .into_iter()
            .chain(continuation)
        {
            assert!(
                matches!(read(from, 1, 1), Err(JournalError::NoRecord { position, .. }) if position == from),
                "{from}"
            );
        }
    });
}

#[test]
fn a_truncated_journal_replays_from_what_is_needed_and_goes_on() {
    on_every_engine(|engine| {
        let (journal, ..) = engine.journal().unwrap();
        let mut written = Vec::new();
        for number in 0..60 {
            let records = vec![record(number, 9_000)];
            written.push((
                append_and_wait(&journal, records.clone()).unwrap()[0],
                records[0].clone(),
            ));
        }
        journal.truncate_before(written[45].0).unwrap();
        written.push((
            append_and_wait(&journal, vec![record(60, 10)]).unwrap()[0],
            record(60, 10),
        ));
        journal.close();
        drop(journal);
        for life in 0..2 {
            let (journal, recovery, replayed) = engine.journal().unwrap();
            let needed = replayed
                .iter()
                .position(|(position, _)| *position == written[45].0);
            let needed = needed.unwrap();
            assert_eq!(replayed[needed..].to_vec(), written[45..].to_vec(), "life {life}");
            assert_eq!(recovery.first_seq, written[45].0.seq());
            let before = journal.read(written[3].0, 1, 10);
            assert!(matches!(before, Err(JournalError::NoRecord { .. })));
            let number = written.len() as u64;
            written.push((
                append_and_wait(&journal, vec![record(number, 10)]).unwrap()[0],
                record(number, 10),
            ));
        }
    });
}

#[test]
fn appends_of_many_threads_are_each_kept_whole_and_in_their_own_order() {
    on_every_engine(|engine| {
        const THREADS: u64 = 4;
        const APPENDS: u64 = 200;
        let (journal, ..) = engine.journal().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let journal = journal.clone();
                scope.spawn(move || {
                    for append in 0..APPENDS {
                        let number = thread * 1_000_000 + append * 2;
                        let records = vec![record(number, 200), record(number + 1, 50)];
                        if append % 50 == 49 {
                            append_and_wait(&journal, records).unwrap();
                        } else {
                            journal
                                .append(records, Box::new(|result| assert!(result.is_ok())))
                                .unwrap();
                        }
                    }
                });
            }
        });
        let status = journal.status();
        journal.close();
        assert_eq!(status.records, THREADS * APPENDS * 2);
        assert!(
            status.syncs < THREADS * APPENDS,
            "appends share their syncs: {status:?}"
        );
        drop(journal);
        let (_journal, _, replayed) = engine.journal().unwrap();
        let numbers: Vec<u64> = replayed
            .iter()
            .map(|(_, record)| crate::support::number(record))
            .collect();
        assert!(
            numbers.chunks(2).all(|pair| pair[0] + 1 == pair[1]),
            "an append stays together"
        );
        for thread in 0..THREADS {
            let own = numbers.iter().filter(|number| **number / 1_000_000 == thread);
            let expected: Vec<u64> = (0..APPENDS * 2)
                .map(|append| thread * 1_000_000 + append)
                .collect();
            assert!(own.eq(expected.iter()), "thread {thread}");
        }
    });
}

#[test]
fn quiet_records_ride_with_the_next_commit_and_closing_keeps_them() {
    on_every_engine(|engine| {
        let (journal, ..) = engine.journal().unwrap();
        journal.append_quietly(vec![record(0, 50)]).unwrap();
        assert_eq!(
            journal.status().queue_records,
            1,
            "nobody waits, so nothing is synced"
        );
        append_and_wait(&journal, vec![record(1, 50)]).unwrap();
        assert_eq!((journal.status().syncs, journal.status().records), (1, 2));
        journal.append_quietly(vec![record(2, 50)]).unwrap();
        journal.close();
        let refused = journal.append(vec![record(3, 50)], Box::new(|_| panic!("it was refused")));
        assert!(matches!(refused, Err(JournalError::Closed)));
        drop(journal);
        let (_journal, _, replayed) = engine.journal().unwrap();
        let expected: Vec<_> = (0..3).map(|number| record(number, 50)).collect();
        assert_eq!(
            replayed.into_iter().map(|(_, record)| record).collect::<Vec<_>>(),
            expected
        );
    });
}

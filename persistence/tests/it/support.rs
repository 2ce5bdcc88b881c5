//! What the tests share: records that tell where they come from, and acknowledgements that are written down.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use docket_persistence::mem::{MemDisk, Seeded};
use docket_persistence::sealing::Keyring;
use docket_persistence::{Journal, JournalError, JournalOptions, Position, Recovery};
use parking_lot::Mutex;
use secrecy::SecretString;

/// A record of `len` bytes whose content `number` decides.
pub fn record(number: u64, len: usize) -> Bytes {
    let mut random = Seeded::new(number);
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.len() < len {
        bytes.extend_from_slice(&random.draw().to_le_bytes());
    }
    bytes.truncate(len.max(8));
    bytes.into()
}

/// The number of a [`record`].
pub fn number(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[..8].try_into().unwrap())
}

/// Lengths around every boundary of the format, and ordinary ones.
pub fn len(random: &mut Seeded) -> usize {
    match random.below(10) {
        0 => 8,
        1 => 6_000 + random.below(200) as usize,
        2 => 12_000 + random.below(400) as usize,
        3 => 20_000 + random.below(20_000) as usize,
        _ => 8 + random.below(400) as usize,
    }
}

/// Numbers of the appends that were acknowledged, in the order of the acknowledgements, and of those that failed.
#[derive(Clone, Default)]
pub struct Acks {
    inner: Arc<Mutex<(Vec<u64>, Vec<u64>)>>,
}

impl Acks {
    pub fn of(&self, numbers: Vec<u64>) -> docket_persistence::Done {
        let acks = self.clone();
        Box::new(move |result| {
            let mut inner = acks.inner.lock();
            match result {
                Ok(positions) => {
                    assert_eq!(positions.len(), numbers.len(), "one position for each record");
                    inner.0.extend(numbers);
                }
                Err(JournalError::Poisoned(_)) => inner.1.extend(numbers),
                Err(error) => panic!("an append fails only because the journal failed: {error}"),
            }
        })
    }

    pub fn acknowledged(&self) -> Vec<u64> {
        self.inner.lock().0.clone()
    }

    pub fn failed(&self) -> Vec<u64> {
        self.inner.lock().1.clone()
    }
}

thread_local! {
    /// What the journals are sealed with that this test opens.
    static KEYS: RefCell<Keyring> = RefCell::default();
}

/// Has every journal that `body` opens on this thread sealed with these.
pub fn with_keys<T>(keys: &Keyring, body: impl FnOnce() -> T) -> T {
    let before = KEYS.replace(keys.clone());
    let done = body();
    KEYS.set(before);
    done
}

/// Keys, each of one byte 32 times; nothing is sealed with an id that is empty.
pub fn keyring(current: &str, keys: &[(&str, u8)]) -> Keyring {
    let secrets: Vec<_> = keys
        .iter()
        .map(|(id, byte)| {
            let secret = SecretString::from(format!("{byte:02x}").repeat(32));
            (id.parse().unwrap(), secret)
        })
        .collect();
    let current = (!current.is_empty()).then(|| current.parse().unwrap());
    Keyring::new(current, secrets.iter().map(|(id, secret)| (*id, secret))).unwrap()
}

/// Options small enough to reach every bound in a test.
pub fn options(dir: impl Into<std::path::PathBuf>) -> JournalOptions {
    JournalOptions {
        segment_bytes: 64 * 1024,
        cache_bytes: 4 << 20,
        disk_reserve_bytes: 0,
        gather_us: 0,
        keys: KEYS.with_borrow(Clone::clone),
        ..JournalOptions::new(dir)
    }
}

/// An open journal, what its recovery found, and what it replayed.
pub type Opened = (Journal, Recovery, Vec<(Position, Bytes)>);

/// Opens a journal on a disk in memory.
pub fn open_mem(disk: &MemDisk) -> Result<Opened, JournalError> {
    let mut replayed = Vec::new();
    let (journal, recovery) = Journal::open_with(
        Box::new(disk.store()),
        Box::new(disk.mark()),
        options("memory"),
        &mut |position, record| replayed.push((position, Bytes::copy_from_slice(record))),
    )?;
    Ok((journal, recovery, replayed))
}

/// Appends records and waits until they are durable.
pub fn append_and_wait(journal: &Journal, records: Vec<Bytes>) -> Result<Vec<Position>, JournalError> {
    let (sender, receiver) = mpsc::channel();
    journal.append(
        records,
        Box::new(move |result| sender.send(result.map(<[Position]>::to_vec)).unwrap()),
    )?;
    receiver.recv().unwrap()
}

/// Copies a directory as it is now, as a crash of the machine would leave it.
pub fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

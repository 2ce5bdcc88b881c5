//! Where the stub's records survive its death: one JSON object a line, synced before it is true.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use super::ledger::Record;

/// A file, or memory that a death of the stub spares, but not one of the process.
#[derive(Debug)]
pub enum Store {
    File(File),
    Memory(Vec<u8>),
}

impl Store {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        Ok(Self::File(file))
    }

    /// Every record, in order. What a death cut in half at the end is cut off.
    pub fn load(&mut self) -> io::Result<Vec<Record>> {
        let mut bytes = Vec::new();
        match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(0))?;
                file.read_to_end(&mut bytes)?;
            }
            Self::Memory(memory) => bytes.clone_from(memory),
        }
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let records = bytes[..whole]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
            .map(|(line, record)| {
                serde_json::from_slice(record).map_err(|error| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("record {}: {error}", line + 1),
                    )
                })
            })
            .collect::<io::Result<_>>()?;
        match self {
            Self::File(file) => {
                file.set_len(whole as u64)?;
                file.seek(SeekFrom::Start(whole as u64))?;
                file.sync_all()?;
            }
            Self::Memory(memory) => memory.truncate(whole),
        }
        Ok(records)
    }

    /// Appends a record: when this returns, it is on the disk.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let line = line(record)?;
        self.write(&line)
    }

    /// Appends half of a record, as who dies meanwhile does.
    pub fn append_half(&mut self, record: &Record) -> io::Result<()> {
        let line = line(record)?;
        self.write(&line[..line.len() / 2])
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.write_all(bytes)?;
                file.sync_data()
            }
            Self::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Outcome, StepBody, StepReply};

    fn record(key: &str) -> Record {
        Record {
            kind: 1,
            body: StepBody {
                order: "A".into(),
                customer: "c".into(),
                currency_code: "EUR".into(),
                amount: 1,
                step: 1,
                authorization: None,
            },
            reply: StepReply {
                key: key.into(),
                outcome: Outcome::Done {
                    reference: "r\n".into(),
                },
            },
            violation: None,
        }
    }

    #[test]
    fn what_was_appended_is_there_again_and_half_a_record_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), []);
        store.append(&record("1")).unwrap();
        store.append_half(&record("2")).unwrap();
        drop(store);
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), [record("1")]);
        store.append(&record("3")).unwrap();
        assert_eq!(store.load().unwrap(), [record("1"), record("3")]);
    }

    #[test]
    fn a_record_that_is_none_is_named() {
        let mut store = Store::Memory(b"{}\n".to_vec());
        assert!(store.load().unwrap_err().to_string().starts_with("record 1: "));
    }
}

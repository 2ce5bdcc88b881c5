//! One append-only sequence of values, and how they are found again.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};

use super::{ArchiveSeal, Entry, KEY_BYTES, Key, Keyed, PART_BYTES_MAX, VALUE_BYTES_MAX};
use crate::error::StoreError;

const VERSION: u8 = 1;
/// The same, sealed.
pub(crate) const SEALED_VERSION: u8 = 2;
const HEAD_BYTES: usize = 1 + 2 + 8 + 4 + 4;

/// Why something cannot be put or found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there is not what was put.
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    /// It is larger than any value may be.
    #[error("{0} bytes are more than a value of the archive may have")]
    TooLarge(usize),
}

/// A value that is put.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Its number: one more than that of the value before it, from 0.
    pub number: u64,
    /// Its key.
    pub key: Key,
    /// Its bytes.
    pub value: &'a [u8],
    /// By what else it is to be found: the number of the index, and of what all that are found together have in common.
    pub by: &'a [(u8, &'a [u8])],
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub number: u64,
    /// Its key.
    pub key: Key,
    /// Its bytes.
    pub value: Bytes,
}

/// A shelf of the archive; clones are the same.
#[derive(Clone)]
pub struct Shelf {
    keyed: Arc<dyn Keyed>,
    seal: Option<Arc<ArchiveSeal>>,
    prefix: String,
    values: String,
    more: String,
    numbers: String,
    since: String,
    /// Nothing has this number, or a higher one. Read where something is first put.
    next: Arc<OnceLock<AtomicU64>>,
}

impl Shelf {
    pub(super) fn new(keyed: Arc<dyn Keyed>, seal: Option<Arc<ArchiveSeal>>, number: u16) -> Self {
        let prefix = format!("{number}/");
        Self {
            keyed,
            seal,
            values: format!("{prefix}values"),
            more: format!("{prefix}more"),
            numbers: format!("{prefix}numbers"),
            since: format!("{prefix}since"),
            next: Arc::default(),
            prefix,
        }
    }

    /// Puts a value. The same again changes nothing, and writes only what is missing or damaged: a replay puts all that was put behind the last
    /// snapshot, and each would be one more fragment of sled's page. Not durable yet, also what was there: a sync makes it so.
    ///
    /// # Errors
    /// The disk's, or the value is too large.
    pub fn put(&self, put: &Put<'_>) -> Result<(), ArchiveError> {
        let next = self.next()?;
        let is_again = put.number < next.load(Ordering::Acquire);
        let seal = self.seal.as_ref().filter(|seal| seal.seals);
        if !is_again || !self.has_value(put, seal.is_some())? {
            self.put_value(put)?;
        }
        // Behind the value: an index has nothing that is not there.
        for (index, by) in put.by {
            let entry = match seal {
                None => [by, &put.key[..]].concat(),
                Some(seal) => [&seal.key.name(*index, by)[..], &put.key[..]].concat(),
            };
            self.put_entry(&self.index(*index), &entry, &[], is_again)?;
        }
        self.put_entry(&self.numbers, &put.number.to_be_bytes(), &put.key, is_again)?;
        next.fetch_max(put.number.saturating_add(1), Ordering::AcqRel);
        Ok(())
    }

    fn next(&self) -> Result<&AtomicU64, ArchiveError> {
        if let Some(next) = self.next.get() {
            return Ok(next);
        }
        let last = self.keyed.newest(&self.numbers, &[], &[0xff; 9], 1)?;
        // Of one that is damaged nothing is known, so that whatever is put is looked for first: damage keeps nothing from being put.
        let next = last.first().map_or(0, |(number, _)| {
            <[u8; 8]>::try_from(&**number).map_or(u64::MAX, |last| u64::from_be_bytes(last).saturating_add(1))
        });
        Ok(self.next.get_or_init(|| AtomicU64::new(next)))
    }

    /// Puts an entry of a tree, where `is_again` only if it is not there.
    fn put_entry(&self, tree: &str, key: &[u8], value: &[u8], is_again: bool) -> Result<(), ArchiveError> {
        let is_there = is_again && self.keyed.get(tree, key)?.is_some_and(|there| there == value);
        match is_there {
            true => Ok(()),
            false => Ok(self.keyed.put(tree, key, value)?),
        }
    }

    /// Whether a value is there as it would be put, and whole.
    fn has_value(&self, put: &Put<'_>, is_sealed: bool) -> Result<bool, ArchiveError> {
        let Some(stored) = self.keyed.get(&self.values, &put.key)? else {
            return Ok(false);
        };
        let version = if is_sealed { SEALED_VERSION } else { VERSION };
        if stored.first() != Some(&version) {
            return Ok(false);
        }
        match self.found(&put.key, &stored) {
            Ok(found) => Ok(found.number == put.number && found.value == put.value),
            Err(ArchiveError::Damaged(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn put_value(&self, put: &Put<'_>) -> Result<(), ArchiveError> {
        let too_large = ArchiveError::TooLarge(put.value.len());
        let seal = self.seal.as_ref().filter(|seal| seal.seals);
        let sealed = match seal {
            None => None,
            Some(seal) => {
                let sealed = seal.key.seal(&self.place(&put.key, put.number), put.value);
                Some(sealed.map_err(|_| too_large.clone())?)
            }
        };
        let (version, stored) = match &sealed {
            None => (VERSION, put.value),
            Some(sealed) => (SEALED_VERSION, &**sealed),
        };
        if stored.len() > VALUE_BYTES_MAX {
            return Err(too_large);
        }
        let (first, rest) = stored.split_at(stored.len().min(PART_BYTES_MAX));
        let mut parts = 0_u16;
        for part in rest.chunks(PART_BYTES_MAX) {
            parts += 1;
            self.keyed.put(&self.more, &part_key(&put.key, parts), part)?;
        }
        let mut value = BytesMut::with_capacity(HEAD_BYTES + first.len());
        value.put_u8(version);
        value.put_u16(parts);
        value.put_u64(put.number);
        value.put_u32(u32::try_from(stored.len()).map_err(|_| too_large)?);
        value.put_u32(checksum(put.number, stored));
        value.put_slice(first);
        Ok(self.keyed.put(&self.values, &put.key, &value)?)
    }

    /// Remembers that the value of this number has a mark, where none of a lower number has. Not durable yet: whoever does so before the value is
    /// put never has it without.
    ///
    /// # Errors
    /// As [`since`](Self::since), and the disk's.
    pub fn mark(&self, mark: u8, number: u64) -> Result<(), ArchiveError> {
        if self.since(mark)?.is_none_or(|since| number < since) {
            self.keyed.put(&self.since, &[mark], &number.to_be_bytes())?;
        }
        Ok(())
    }

    /// The lowest number of a value that has a mark; `None` where none has.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn since(&self, mark: u8) -> Result<Option<u64>, ArchiveError> {
        let number = self.keyed.get(&self.since, &[mark])?;
        let broken = |_| ArchiveError::Damaged("a mark is of no number");
        let number = number.map(|number| <[u8; 8]>::try_from(&*number).map_err(broken));
        Ok(number.transpose()?.map(u64::from_be_bytes))
    }

    /// The value under a key.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn get(&self, key: &Key) -> Result<Option<Found>, ArchiveError> {
        let value = self.keyed.get(&self.values, key)?;
        value.map(|value| self.found(key, &value)).transpose()
    }

    /// The key of the value of a number.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn key_of(&self, number: u64) -> Result<Option<Key>, ArchiveError> {
        let key = self.keyed.get(&self.numbers, &number.to_be_bytes())?;
        let broken = |_| ArchiveError::Damaged("a number has no key");
        key.map(|key| Key::try_from(&*key).map_err(broken)).transpose()
    }

    /// Values whose keys are from one on and below another, the highest first, at most so many.
    ///
    /// # Errors
    /// One cannot be read, or is damaged.
    pub fn newest(&self, from: &Key, below: &Key, most: usize) -> Result<Vec<Found>, ArchiveError> {
        let entries = self.keyed.newest(&self.values, from, below, most)?;
        let found = entries.into_iter().map(|(key, value)| {
            let key = Key::try_from(&*key).map_err(|_| ArchiveError::Damaged("a key has another length"))?;
            self.found(&key, &value)
        });
        found.collect()
    }

    /// The highest values whose keys are below this, at most so many, and the last of their keys; none at the end.
    ///
    /// # Errors
    /// One cannot be read, or is damaged.
    pub(crate) fn piece(&self, below: &[u8], most: usize) -> Result<(Vec<Found>, Option<Key>), ArchiveError> {
        let entries = self.keyed.newest(&self.values, &[], below, most)?;
        let found = entries.into_iter().map(|(key, value)| {
            let key = Key::try_from(&*key).map_err(|_| ArchiveError::Damaged("a key has another length"))?;
            self.found(&key, &value)
        });
        let found: Vec<Found> = found.collect::<Result<_, _>>()?;
        let last = found.last().map(|value| value.key);
        Ok((found, last))
    }

    /// The same of those that are found by something in an index.
    ///
    /// # Errors
    /// One cannot be read, or is damaged.
    pub fn newest_by(
        &self,
        (index, by): (u8, &[u8]),
        from: &Key,
        below: &Key,
        most: usize,
    ) -> Result<Vec<Found>, ArchiveError> {
        let mut keys: Vec<Key> = Vec::new();
        for by in self.forms(index, by) {
            let (from, below) = ([&*by, &from[..]].concat(), [&*by, &below[..]].concat());
            let entries: Vec<Entry> = self.keyed.newest(&self.index(index), &from, &below, most)?;
            for (entry, _) in entries {
                let key = entry.get(by.len()..).and_then(|key| Key::try_from(key).ok());
                keys.push(key.ok_or(ArchiveError::Damaged("an index has another entry"))?);
            }
        }
        // Of two forms, where there are two; and what was put again is in both.
        keys.sort_unstable_by(|one, other| other.cmp(one));
        keys.dedup();
        keys.truncate(most);
        let found = keys.iter().map(|key| {
            self.get(key)?
                .ok_or(ArchiveError::Damaged("an index has what is not there"))
        });
        found.collect()
    }

    /// Whether an index has a value.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_found_by(&self, (index, by): (u8, &[u8]), key: &Key) -> Result<bool, ArchiveError> {
        for by in self.forms(index, by) {
            let entry = [&*by, &key[..]].concat();
            if self.keyed.get(&self.index(index), &entry)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What may stand in an index for this.
    fn forms(&self, index: u8, by: &[u8]) -> Vec<Vec<u8>> {
        let Some(seal) = &self.seal else {
            return vec![by.to_vec()];
        };
        let mut forms = vec![seal.key.name(index, by).to_vec()];
        if seal.has_plain {
            forms.push(by.to_vec());
        }
        forms
    }

    /// Where a value is sealed.
    fn place(&self, key: &Key, number: u64) -> Vec<u8> {
        let number = number.to_be_bytes();
        [&key[..], &number, self.prefix.as_bytes()].concat()
    }

    /// Forgets all that is on the shelf.
    ///
    /// # Errors
    /// The disk's.
    pub fn clear(&self) -> Result<(), ArchiveError> {
        Ok(self.keyed.remove(&self.prefix)?)
    }

    fn index(&self, index: u8) -> String {
        format!("{}by-{index}", self.prefix)
    }

    fn found(&self, key: &Key, value: &[u8]) -> Result<Found, ArchiveError> {
        let damaged = ArchiveError::Damaged;
        let (head, first) = value
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or(damaged("a value has no head"))?;
        let is_sealed = head[0] == SEALED_VERSION;
        if head[0] != VERSION && !is_sealed {
            return Err(damaged(
                "a value is of another version; use the program that wrote it, or a newer one",
            ));
        }
        let parts = u16::from_be_bytes([head[1], head[2]]);
        let (mut number, mut length, mut sum) = ([0; 8], [0; 4], [0; 4]);
        number.copy_from_slice(&head[3..11]);
        length.copy_from_slice(&head[11..15]);
        sum.copy_from_slice(&head[15..]);
        let number = u64::from_be_bytes(number);
        let mut whole = BytesMut::with_capacity(u32::from_be_bytes(length) as usize % (VALUE_BYTES_MAX + 1));
        whole.put_slice(first);
        for part in 1..=parts {
            let part = self.keyed.get(&self.more, &part_key(key, part))?;
            whole.put_slice(&part.ok_or(damaged("a part of a value is missing"))?);
        }
        let is_whole = whole.len() == u32::from_be_bytes(length) as usize;
        if !is_whole || checksum(number, &whole) != u32::from_be_bytes(sum) {
            return Err(damaged("a value is not what was put"));
        }
        let value = match (is_sealed, &self.seal) {
            (false, _) => whole.freeze(),
            (true, None) => {
                return Err(damaged(
                    "a value is sealed, and its key, in the file `sealed`, is gone",
                ));
            }
            (true, Some(seal)) => {
                let opened = seal.key.open(&self.place(key, number), &whole);
                opened
                    .ok_or(damaged("a value is not what was sealed in its place"))?
                    .into()
            }
        };
        Ok(Found {
            number,
            key: *key,
            value,
        })
    }
}

fn part_key(key: &Key, part: u16) -> [u8; KEY_BYTES + 2] {
    let mut of_part = [0; KEY_BYTES + 2];
    of_part[..KEY_BYTES].copy_from_slice(key);
    of_part[KEY_BYTES..].copy_from_slice(&part.to_be_bytes());
    of_part
}

fn checksum(number: u64, value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_be_bytes()), value)
}

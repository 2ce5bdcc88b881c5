//! The engine under the archive: trees of sorted keys, small enough to have two: sled, and [`crate::mem::MemKeyed`], which loses what was
//! not synced.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{ARCHIVE_CACHE_BYTES, Entry};
use crate::durable_db::{DurableDb, guard};
use crate::error::StoreError;

/// Trees by their names, each of keys in order. A tree that nothing was put into is empty.
pub trait Keyed: Send + Sync {
    /// Puts a value under a key, in place of what was there. Not durable yet.
    ///
    /// # Errors
    /// The disk's.
    fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// What is under a key.
    ///
    /// # Errors
    /// The disk's, or what is there is damaged.
    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Entries from one key on and below another, the highest first, at most so many.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn newest(&self, tree: &str, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, StoreError>;

    /// Makes everything that was put durable.
    ///
    /// # Errors
    /// The disk's: it must not be tried again.
    fn sync(&self) -> Result<(), StoreError>;

    /// Lets go of what is open: from here on everything is refused.
    fn close(&self) {}

    /// Removes all trees whose names begin so, and what is in them.
    ///
    /// # Errors
    /// The disk's.
    fn remove(&self, prefix: &str) -> Result<(), StoreError>;
}

/// One sled database, which is made when the first value is put.
pub struct SledKeyed {
    dir: PathBuf,
    /// Goes with it when it is made.
    head: Option<String>,
    state: RwLock<State>,
}

enum State {
    NotMade,
    Open(Open),
    Closed,
}

struct Open {
    db: DurableDb,
    trees: RwLock<HashMap<String, sled::Tree>>,
}

impl SledKeyed {
    /// The database in this folder. What is there is opened.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let state = match dir.join("db").exists() {
            true => State::Open(Open::new(DurableDb::open(dir, ARCHIVE_CACHE_BYTES)?)),
            false => State::NotMade,
        };
        Ok(Self {
            dir: dir.to_owned(),
            head: None,
            state: RwLock::new(state),
        })
    }

    /// With the head of what is sealed in it, where it is still to be made.
    pub(super) fn made_with(self, head: Option<String>) -> Self {
        Self { head, ..self }
    }

    /// Looks into what is there, if anything is.
    fn look<T: Default>(&self, look: impl FnOnce(&Open) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.state.read() {
            State::NotMade => Ok(T::default()),
            State::Open(open) => look(open),
            State::Closed => Err(StoreError::other("use", &self.dir, "the archive is closed")),
        }
    }

    fn error<T>(&self, operation: &'static str, result: sled::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| StoreError::sled(operation, &self.dir, &error))
    }
}

impl Open {
    fn new(db: DurableDb) -> Self {
        Self {
            db,
            trees: RwLock::default(),
        }
    }

    /// A tree, if it is there or is to be made.
    fn tree(&self, name: &str, make: bool) -> Result<Option<sled::Tree>, StoreError> {
        if let Some(tree) = self.trees.read().get(name) {
            return Ok(Some(tree.clone()));
        }
        // Under the lock of who removes it: a handle of what is removed must not be kept.
        let mut trees = self.trees.write();
        if let Some(tree) = trees.get(name) {
            return Ok(Some(tree.clone()));
        }
        let tree = self.db.open_tree(name, make)?;
        if let Some(tree) = &tree {
            trees.insert(name.to_owned(), tree.clone());
        }
        Ok(tree)
    }
}

/// Whether the tree was removed since it was looked up.
fn is_removed<T>(found: &sled::Result<T>) -> bool {
    matches!(found, Err(sled::Error::CollectionNotFound(_)))
}

impl Keyed for SledKeyed {
    fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if matches!(&*self.state.read(), State::NotMade) {
            let mut state = self.state.write();
            if matches!(&*state, State::NotMade) {
                let head = self.head.as_deref();
                *state = State::Open(Open::new(DurableDb::create(
                    &self.dir,
                    ARCHIVE_CACHE_BYTES,
                    head,
                )?));
            }
        }
        self.look(|open| {
            let Some(tree) = open.tree(tree, true)? else {
                return Err(StoreError::other("write", &self.dir, "the tree cannot be made"));
            };
            let put = guard("write", &self.dir, || tree.insert(key, value))?;
            self.error("write", put).map(drop)
        })
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.look(|open| {
            let Some(tree) = open.tree(tree, false)? else {
                return Ok(None);
            };
            let found = guard("read", &self.dir, || tree.get(key))?;
            if is_removed(&found) {
                return Ok(None);
            }
            let found = self.error("read", found)?;
            Ok(found.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn newest(&self, tree: &str, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, StoreError> {
        if from >= below {
            return Ok(Vec::new());
        }
        self.look(|open| {
            let Some(tree) = open.tree(tree, false)? else {
                return Ok(Vec::new());
            };
            let mut range = tree.range(from..below);
            let mut entries = Vec::new();
            while entries.len() < most {
                let Some(entry) = guard("read", &self.dir, || range.next_back())? else {
                    break;
                };
                if is_removed(&entry) {
                    return Ok(Vec::new());
                }
                let (key, value) = self.error("read", entry)?;
                entries.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
            }
            Ok(entries)
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.look(|open| open.db.sync())
    }

    fn close(&self) {
        *self.state.write() = State::Closed;
    }

    fn remove(&self, prefix: &str) -> Result<(), StoreError> {
        self.look(|open| {
            for name in open.db.tree_names() {
                if name.starts_with(prefix) {
                    let mut trees = open.trees.write();
                    trees.remove(&name);
                    open.db.remove_tree(&name)?;
                }
            }
            Ok(())
        })
    }
}

//! The engine of an archive in memory, which loses what was not synced.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use super::Seeded;
use crate::archive::{Entry, Keyed};
use crate::error::StoreError;

type Trees = BTreeMap<String, BTreeMap<Vec<u8>, Bytes>>;

/// Trees in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemKeyed {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What a running process sees.
    visible: Trees,
    /// What is on the platter.
    durable: Trees,
    unsynced: Vec<(String, Vec<u8>, Bytes)>,
    syncs: u64,
    dead: bool,
}

impl MemKeyed {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process is dead from here on: whatever of it still runs puts and syncs nothing any more, until a restart.
    pub fn kill_process(&self) {
        self.state.lock().dead = true;
    }

    /// The process died and the machine lives: everything that was put is there.
    pub fn restart_process(&self) {
        self.state.lock().dead = false;
    }

    /// The power went: of what was not synced each is kept or lost as `seed` says, in any combination.
    pub fn restart_machine(&self, seed: u64) {
        let mut random = Seeded::new(seed);
        let mut state = self.state.lock();
        // Some seeds keep everything or nothing; those extremes matter and would be rare by chance.
        let keep = match random.below(4) {
            0 => 100,
            1 => 0,
            _ => random.below(101),
        };
        for (tree, key, value) in std::mem::take(&mut state.unsynced) {
            if random.below(100) < keep {
                state.durable.entry(tree).or_default().insert(key, value);
            }
        }
        state.visible = state.durable.clone();
        state.dead = false;
    }

    /// The power went, and nothing of what was not synced is there.
    pub fn lose_unsynced(&self) {
        let mut state = self.state.lock();
        state.unsynced.clear();
        state.visible = state.durable.clone();
        state.dead = false;
    }

    /// How many entries there are, in all trees.
    pub fn len(&self) -> usize {
        self.state.lock().visible.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Another with the same content, synced and unsynced: to try several crashes from one point.
    pub fn fork(&self) -> Self {
        let state = self.state.lock();
        let forked = State {
            visible: state.visible.clone(),
            durable: state.durable.clone(),
            unsynced: state.unsynced.clone(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(forked)),
        }
    }

    /// Takes an entry away, or puts another in its place, on the platter too: damage.
    pub fn damage(&self, tree: &str, key: &[u8], value: Option<&[u8]>) {
        let state = &mut *self.state.lock();
        for trees in [&mut state.visible, &mut state.durable] {
            let tree = trees.entry(tree.to_owned()).or_default();
            match value {
                Some(value) => tree.insert(key.to_vec(), Bytes::copy_from_slice(value)),
                None => tree.remove(key),
            };
        }
    }
}

impl Keyed for MemKeyed {
    fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.dead {
            return Err(dead("write"));
        }
        let value = Bytes::copy_from_slice(value);
        let of_tree = state.visible.entry(tree.to_owned()).or_default();
        of_tree.insert(key.to_vec(), value.clone());
        state.unsynced.push((tree.to_owned(), key.to_vec(), value));
        Ok(())
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let state = self.state.lock();
        Ok(state.visible.get(tree).and_then(|tree| tree.get(key)).cloned())
    }

    fn newest(&self, tree: &str, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, StoreError> {
        let state = self.state.lock();
        let Some(tree) = state.visible.get(tree).filter(|_| from < below) else {
            return Ok(Vec::new());
        };
        let range = tree.range(from.to_vec()..below.to_vec()).rev().take(most);
        Ok(range
            .map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()))
            .collect())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let state = &mut *self.state.lock();
        if state.dead {
            return Err(dead("fdatasync"));
        }
        for (tree, key, value) in state.unsynced.drain(..) {
            state.durable.entry(tree).or_default().insert(key, value);
        }
        state.syncs += 1;
        Ok(())
    }

    fn remove(&self, prefix: &str) -> Result<(), StoreError> {
        let state = &mut *self.state.lock();
        if state.dead {
            return Err(dead("remove from"));
        }
        state.visible.retain(|name, _| !name.starts_with(prefix));
        state.durable.retain(|name, _| !name.starts_with(prefix));
        state.unsynced.retain(|(name, ..)| !name.starts_with(prefix));
        Ok(())
    }
}

fn dead(operation: &'static str) -> StoreError {
    StoreError::other(operation, Path::new("memory/archive"), "the process is dead")
}

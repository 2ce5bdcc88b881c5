//! A state machine that remembers every payload in order, so that tests can compare states, and a node to put it in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use docket_cluster::{
    Capture, CaptureError, ClusterError, Entry, GroupId, Node, NodeOptions, PROTOCOL_VERSION, SnapshotSink,
    StateError, StateMachine,
};
use docket_persistence::mem::MemDisk;
use parking_lot::{Mutex, RwLock};

/// Everything one group applied.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
    /// Entries that were handed to `apply` in this life, replay included.
    pub applied: AtomicU64,
    /// How often the state was captured.
    pub captures: AtomicU64,
    /// What is made of an entry beside remembering it; something else on a replica that is wrong.
    pub effects: AtomicU64,
    /// How much it says to keep aside.
    pub aside: AtomicU64,
    /// How often that was made durable.
    pub asides_synced: AtomicU64,
    /// Called while a snapshot is written, behind its first piece.
    pub while_writing: Mutex<Option<WhileWriting>>,
}

pub type WhileWriting = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub payloads: Vec<Bytes>,
    pub last_index: Option<u64>,
    pub bytes: u64,
}

impl Ledger {
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }
}

impl State {
    fn note_index(&mut self, index: u64) {
        let expected = self.last_index.map_or(0, |last| last + 1);
        assert_eq!(index, expected, "an entry was left out or applied twice");
        self.last_index = Some(index);
    }
}

impl StateMachine for Ledger {
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        assert_ne!(&entry.payload[..], b"panic", "told to panic");
        self.applied.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.note_index(entry.index);
        state.bytes += entry.payload.len() as u64;
        state.payloads.push(entry.payload.clone());
        Bytes::from(format!("{}", state.payloads.len()))
    }

    fn effects(&self) -> u64 {
        self.effects.load(Ordering::Relaxed)
    }

    fn skip(&self, index: u64) {
        self.state.lock().note_index(index);
    }

    fn capture(&self) -> Box<dyn Capture> {
        self.captures.fetch_add(1, Ordering::Relaxed);
        Box::new(Frozen(self.state(), self.while_writing.lock().clone()))
    }

    fn snapshots_since(&self) -> u32 {
        // As if they had changed with the newest version.
        PROTOCOL_VERSION
    }

    fn kept_aside(&self) -> u64 {
        self.aside.load(Ordering::Relaxed)
    }

    fn sync_aside(&self) -> Result<u64, StateError> {
        self.asides_synced.fetch_add(1, Ordering::Relaxed);
        Ok(self.kept_aside())
    }

    fn state_bytes(&self) -> u64 {
        // A ledger that forgot most of what it was told, so that snapshots come due.
        self.state.lock().bytes / 8
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        let mut whole = Vec::new();
        for chunk in chunks {
            whole.extend_from_slice(&chunk.map_err(StateError::new)?);
        }
        let mut rest = Bytes::from(whole);
        let mut take = |length: usize| {
            if rest.len() < length {
                Err(StateError::new("cut short"))
            } else {
                Ok(rest.split_to(length))
            }
        };
        let mut number = |field: &str| {
            let bytes = take(8)?;
            <[u8; 8]>::try_from(&bytes[..])
                .map(u64::from_le_bytes)
                .map_err(|_| StateError::new(field))
        };
        let (last_next, count) = (number("last")?, number("count")?);
        let mut state = State {
            last_index: last_next.checked_sub(1),
            ..State::default()
        };
        for _ in 0..count {
            let length = u32::from_le_bytes(take(4)?[..].try_into().map_err(StateError::new)?);
            let payload = take(length as usize)?;
            state.bytes += payload.len() as u64;
            state.payloads.push(payload);
        }
        *self.state.lock() = state;
        Ok(())
    }

    fn clear(&self) {
        *self.state.lock() = State::default();
    }
}

struct Frozen(State, Option<WhileWriting>);

impl Capture for Frozen {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        let mut head = self
            .0
            .last_index
            .map_or(0, |last| last + 1)
            .to_le_bytes()
            .to_vec();
        head.extend_from_slice(&(self.0.payloads.len() as u64).to_le_bytes());
        sink(&head)?;
        if let Some(while_writing) = &self.1 {
            while_writing();
        }
        for payload in &self.0.payloads {
            let mut piece = (payload.len() as u32).to_le_bytes().to_vec();
            piece.extend_from_slice(payload);
            sink(&piece)?;
        }
        Ok(())
    }
}

/// The ledgers of one node's life, by group.
#[derive(Clone, Default)]
pub struct Ledgers(Arc<RwLock<Vec<Arc<Ledger>>>>);

impl Ledgers {
    pub fn of(&self, group: GroupId) -> Arc<Ledger> {
        Arc::clone(&self.0.read()[group.0 as usize])
    }

    pub fn make(&self, group: GroupId) -> Arc<dyn StateMachine> {
        let mut ledgers = self.0.write();
        assert_eq!(ledgers.len(), group.0 as usize, "machines are asked for in order");
        ledgers.push(Arc::default());
        Arc::clone(&ledgers[group.0 as usize]) as Arc<dyn StateMachine>
    }
}

/// A node on a disk in memory, with identity and snapshots in a directory of their own.
pub struct Bed {
    pub dir: tempfile::TempDir,
    pub disk: MemDisk,
}

impl Bed {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: MemDisk::new(),
        }
    }

    pub fn options(&self) -> NodeOptions {
        NodeOptions {
            shards: Some(2),
            ..NodeOptions::new(self.dir.path())
        }
    }

    pub async fn open(&self, options: NodeOptions) -> (Node, Ledgers) {
        self.try_open(options).await.unwrap()
    }

    pub async fn try_open(&self, options: NodeOptions) -> Result<(Node, Ledgers), ClusterError> {
        let ledgers = Ledgers::default();
        let (store, mark) = (Box::new(self.disk.store()), Box::new(self.disk.mark()));
        let node = Node::open_with(options, store, mark, &|group| ledgers.make(group)).await?;
        Ok((node, ledgers))
    }

    /// A node whose groups are led.
    pub async fn start(&self) -> (Node, Ledgers) {
        let (node, ledgers) = self.open(self.options()).await;
        node.ready().await;
        (node, ledgers)
    }
}

pub fn payload(text: impl ToString) -> Bytes {
    Bytes::from(text.to_string())
}

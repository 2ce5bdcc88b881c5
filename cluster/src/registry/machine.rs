//! The meta group's state machine: the registry, beside what the layer above keeps there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::Registry;
use super::record::{SNAPSHOT_HEAD_BYTES, decode_record, decode_snapshot, encode_snapshot, snapshot_length};
use crate::machine::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};

/// Since which version of the peer protocol nodes read at which version their cluster is finalised.
const FINALISED_SINCE: u32 = 9;
/// And of standbys, fences and epochs.
pub(crate) const STANDBY_SINCE: u32 = 10;

/// What a node of the registry weighs in a snapshot, roughly, in bytes.
const NODE_BYTES: u64 = 160;
/// What a group of the registry weighs.
const GROUP_BYTES: u64 = 40;

/// What became of a record, as its proposer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was applied.
    Done = 0,
    /// It was decided on another version, and changed nothing.
    Conflict = 1,
}

impl Applied {
    /// What an answer says; `None` where it is no answer to a record.
    pub(crate) fn of(answer: &[u8]) -> Option<Self> {
        match answer {
            [0] => Some(Self::Done),
            [1] => Some(Self::Conflict),
            _ => None,
        }
    }
}

/// The committed registry, shared between the machine that writes it and whoever reads it.
#[derive(Clone)]
pub(crate) struct SharedRegistry {
    registry: Arc<RwLock<Arc<Registry>>>,
    /// Its version, for those who wait for it to change.
    version: watch::Sender<u64>,
    /// At which version the cluster is finalised, as the registry says; 0 where it does not.
    finalised: Arc<AtomicU32>,
}

impl SharedRegistry {
    pub(crate) fn new() -> Self {
        Self {
            registry: Arc::default(),
            version: watch::Sender::new(0),
            finalised: Arc::default(),
        }
    }

    /// The registry as it is now; later changes make another one.
    pub(crate) fn now(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read())
    }

    /// Its version, now and from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// As if there had never been a node.
    pub(crate) fn forget(&self) {
        self.put(Registry::default());
    }

    /// At which version of the peer protocol the cluster is finalised, if it says so. Cheap.
    pub(crate) fn finalised(&self) -> Option<u32> {
        Some(self.finalised.load(Ordering::Acquire)).filter(|version| *version > 0)
    }

    fn put(&self, registry: Registry) {
        let version = registry.version();
        self.finalised
            .store(registry.finalised().unwrap_or(0), Ordering::Release);
        *self.registry.write() = Arc::new(registry);
        self.version.send_replace(version);
    }
}

/// The meta group's machine. What is not the registry's goes to the machine of the layer above, untouched.
pub(crate) struct MetaMachine {
    registry: SharedRegistry,
    above: Arc<dyn StateMachine>,
    /// The newest version of the peer protocol that this program speaks.
    newest: u32,
}

impl MetaMachine {
    pub(crate) fn new(registry: SharedRegistry, above: Arc<dyn StateMachine>, newest: u32) -> Self {
        Self {
            registry,
            above,
            newest,
        }
    }

    /// Why this program cannot go on with a cluster of this registry, if it cannot.
    fn too_new(&self, registry: &Registry) -> Option<String> {
        let finalised = registry
            .finalised()
            .filter(|finalised| *finalised > self.newest)?;
        Some(format!(
            "the cluster was finalised at version {finalised} of the peer protocol, and this program speaks up to {}: use the program \
             that it was finalised with, or a newer one",
            self.newest
        ))
    }
}

impl StateMachine for MetaMachine {
    #[expect(
        clippy::panic,
        reason = "an entry that was committed and cannot be applied must stop the group"
    )]
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        let record = match decode_record(entry.payload) {
            Ok(Some(record)) => record,
            Ok(None) => return self.above.apply(entry),
            Err(error) => panic!("entry {} of the registry cannot be read: {error}", entry.index),
        };
        self.above.skip(entry.index);
        let mut registry = Registry::clone(&self.registry.now());
        let applied = if registry.apply(&record) {
            if let Some(why) = self.too_new(&registry) {
                panic!("{why}");
            }
            self.registry.put(registry);
            Applied::Done
        } else {
            Applied::Conflict
        };
        Bytes::copy_from_slice(&[applied as u8])
    }

    fn effects(&self) -> u64 {
        // Of an entry that is not its own this is what an earlier one made of it, on every replica alike.
        self.above.effects()
    }

    fn skip(&self, index: u64) {
        self.above.skip(index);
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(View {
            registry: self.registry.now(),
            above: self.above.capture(),
        })
    }

    fn snapshots_since(&self) -> u32 {
        let own = match self.registry.now().tells_of_standbys() {
            true => STANDBY_SINCE,
            false => self.registry.finalised().map_or(0, |_| FINALISED_SINCE),
        };
        self.above.snapshots_since().max(own)
    }

    fn kept_aside(&self) -> u64 {
        self.above.kept_aside()
    }

    fn sync_aside(&self) -> Result<u64, StateError> {
        self.above.sync_aside()
    }

    fn read_aside(&self, from: u64) -> Box<dyn Iterator<Item = io::Result<Bytes>> + Send> {
        self.above.read_aside(from)
    }

    fn state_bytes(&self) -> u64 {
        let registry = self.registry.now();
        let own = registry.nodes.len() as u64 * NODE_BYTES + registry.groups.len() as u64 * GROUP_BYTES;
        own + self.above.state_bytes()
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        let mut start = BytesMut::new();
        fill(&mut start, chunks, SNAPSHOT_HEAD_BYTES)?;
        let registry = match snapshot_length(&start).map_err(StateError::new)? {
            None => Registry::default(),
            Some(length) => {
                let whole = SNAPSHOT_HEAD_BYTES + length;
                fill(&mut start, chunks, whole)?;
                if start.len() < whole {
                    return Err(StateError::new("it ends within the registry"));
                }
                let own = start.split_to(whole);
                decode_snapshot(&own[SNAPSHOT_HEAD_BYTES..]).map_err(StateError::new)?
            }
        };
        if let Some(why) = self.too_new(&registry) {
            return Err(StateError::new(why));
        }
        let rest = (!start.is_empty()).then(|| Ok(start.freeze()));
        self.above.restore(&mut rest.into_iter().chain(chunks))?;
        self.registry.put(registry);
        Ok(())
    }

    fn clear(&self) {
        self.above.clear();
        self.registry.put(Registry::default());
    }

    fn forget_aside(&self) {
        self.above.forget_aside();
    }
}

/// Reads on until there are this many bytes, or no more.
fn fill(
    start: &mut BytesMut,
    chunks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    bytes: usize,
) -> Result<(), StateError> {
    while start.len() < bytes {
        match chunks.next() {
            Some(chunk) => start.extend_from_slice(&chunk.map_err(StateError::new)?),
            None => break,
        }
    }
    Ok(())
}

/// Both states as they were when they were captured.
struct View {
    registry: Arc<Registry>,
    above: Box<dyn Capture>,
}

impl Capture for View {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        // A node that stands alone, and always did, writes what it wrote before there was a registry.
        if *self.registry != Registry::default() {
            sink(&encode_snapshot(&self.registry))?;
        }
        self.above.write(sink)
    }
}

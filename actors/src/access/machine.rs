//! The state machine of the meta group: applies access records, writes and reads snapshots.
//!
//! An entry is one `docket.journal.v1.AccessRecord`, or one record of the webhooks or of what is steered, which are kept beside; its answer is one byte,
//! [`DONE`] or [`CONFLICT`]. A snapshot is a sequence of length-delimited `AccessSnapshotRecord`s, the first of which says how many follow.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Buf, Bytes, BytesMut};
use docket_cluster::{
    Capture, CaptureError, Entry, PROTOCOL_VERSION_OLDEST, SnapshotSink, StateError, StateMachine,
};
use docket_engine::webhook::WebhookState;
use docket_engine::{Version, access::AccessState, steering::Steering};
use docket_proto::{
    access::{AccessEntry, decode_access_entry, decode_access_record, encode_access_snapshot},
    steering::{SteeringRestore, decode_steering_record, is_steering_record},
    webhook::{WebhookRestore, decode_webhook_record, is_webhook_record},
};
use parking_lot::RwLock;

use crate::{
    steering::{InForce, STEERING_SINCE, SharedSteering},
    webhooks::{SharedWebhooks, WEBHOOKS_SINCE},
};

/// The record was applied.
pub(crate) const DONE: u8 = 0;
/// The record was decided on another state, and changed nothing.
const CONFLICT: u8 = 1;

/// Pieces of a snapshot leave in chunks of about this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// No piece of a snapshot is longer.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// What an entry of a snapshot weighs, roughly, in bytes.
const ENTRY_BYTES: u64 = 200;

/// The committed state, shared between the machine that writes it and the handles that read it.
#[derive(Default)]
pub(super) struct Shared {
    state: RwLock<AccessState>,
    /// The state's version, to be read without its lock. Changes under it.
    version: AtomicU64,
}

impl Shared {
    pub(super) fn read<T>(&self, look: impl FnOnce(&AccessState) -> T) -> T {
        look(&self.state.read())
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn write<T>(&self, change: impl FnOnce(&mut AccessState) -> T) -> T {
        let mut state = self.state.write();
        let result = change(&mut state);
        self.version.store(state.version().0, Ordering::Release);
        result
    }
}

/// The state machine of the meta group. Cloning it is cheap, and every clone is the same machine.
#[derive(Clone, Default)]
pub struct AccessMachine {
    pub(super) shared: Arc<Shared>,
    pub(crate) webhooks: Arc<SharedWebhooks>,
    pub(crate) steering: Arc<SharedSteering>,
}

impl AccessMachine {
    /// A machine with an empty state.
    pub fn new() -> Self {
        Self::default()
    }

    /// The flags that whoever goes by this machine goes by.
    pub(crate) fn flags(&self) -> InForce {
        self.steering.in_force()
    }
}

impl StateMachine for AccessMachine {
    #[expect(
        clippy::panic,
        reason = "an entry that was committed and cannot be applied must stop the group"
    )]
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        self.webhooks.skip();
        self.steering.skip();
        if is_steering_record(entry.payload) {
            let record = match decode_steering_record(entry.payload) {
                Ok(record) => record,
                Err(error) => panic!("entry {} of what is steered cannot be read: {error}", entry.index),
            };
            let outcome = match self.steering.apply(&record) {
                Ok(true) => DONE,
                Ok(false) => CONFLICT,
                Err(broken) => panic!(
                    "entry {} of what is steered cannot be applied: {broken}",
                    entry.index
                ),
            };
            return Bytes::copy_from_slice(&[outcome]);
        }
        if is_webhook_record(entry.payload) {
            let record = match decode_webhook_record(entry.payload) {
                Ok(record) => record,
                Err(error) => panic!("entry {} of the webhooks cannot be read: {error}", entry.index),
            };
            let outcome = match self.webhooks.apply(&record) {
                Ok(true) => DONE,
                Ok(false) => CONFLICT,
                Err(broken) => panic!(
                    "entry {} of the webhooks cannot be applied: {broken}",
                    entry.index
                ),
            };
            return Bytes::copy_from_slice(&[outcome]);
        }
        let record = match decode_access_record(entry.payload) {
            Ok(record) => record,
            Err(error) => panic!("entry {} of the meta group cannot be read: {error}", entry.index),
        };
        let outcome = self.shared.write(|state| {
            if !state.fits(&record) {
                return CONFLICT;
            }
            if let Err(broken) = state.apply(&record) {
                panic!(
                    "entry {} of the meta group cannot be applied: {broken}",
                    entry.index
                );
            }
            DONE
        });
        Bytes::copy_from_slice(&[outcome])
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(View {
            access: self.shared.read(Clone::clone),
            webhooks: self.webhooks.read(Clone::clone),
            steering: self.steering.read(Clone::clone),
        })
    }

    fn effects(&self) -> u64 {
        // An entry is of one of them, and the other has none.
        self.webhooks.effects() ^ self.steering.effects()
    }

    fn skip(&self, _index: u64) {
        self.webhooks.skip();
        self.steering.skip();
    }

    fn snapshots_since(&self) -> u32 {
        match (
            self.steering.read(Steering::version),
            self.webhooks.read(WebhookState::version),
        ) {
            (Version(0), Version(0)) => PROTOCOL_VERSION_OLDEST,
            (Version(0), _) => WEBHOOKS_SINCE,
            _ => STEERING_SINCE,
        }
    }

    fn state_bytes(&self) -> u64 {
        let entries = self.shared.read(|state| {
            state.accounts().len()
                + state.sessions().len()
                + state.api_key_count()
                + state.signing_keys().len()
        });
        entries as u64 * ENTRY_BYTES + self.webhooks.bytes() + self.steering.bytes()
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        let mut pieces = Pieces {
            chunks,
            rest: BytesMut::new(),
        };
        let head = pieces
            .next_piece()?
            .ok_or_else(|| StateError::new("it is empty"))?;
        let AccessEntry::Head {
            version,
            last_time,
            entries,
        } = entry_of(&head)?
        else {
            return Err(StateError::new("it does not begin with its head"));
        };
        let mut state = AccessState::restored(version, last_time);
        let mut webhooks = WebhookRestore::default();
        let mut steering = SteeringRestore::default();
        let mut found = 0u64;
        while let Some(piece) = pieces.next_piece()? {
            let inserted = match entry_of(&piece)? {
                AccessEntry::Head { .. } => return Err(StateError::new("it has two heads")),
                AccessEntry::Account(account) => state.insert_account(account),
                AccessEntry::Session(session) => state.insert_session(session),
                AccessEntry::ApiKey(key) => state.insert_api_key(key),
                AccessEntry::SigningKey(key) => state.insert_signing_key(key),
                AccessEntry::Webhook(entry) => webhooks.take(entry),
                AccessEntry::Steering(entry) => steering.take(entry),
            };
            inserted.map_err(StateError::new)?;
            found += 1;
        }
        if found != entries {
            return Err(StateError::new(format!(
                "it has {found} entries and should have {entries}"
            )));
        }
        state.validate().map_err(StateError::new)?;
        let webhooks = webhooks.done().map_err(StateError::new)?;
        let steering = steering.done().map_err(StateError::new)?;
        self.shared.write(|current| *current = state);
        self.webhooks.put(webhooks);
        self.steering.put(steering);
        Ok(())
    }

    fn clear(&self) {
        self.shared.write(|current| *current = AccessState::default());
        self.webhooks.put(WebhookState::default());
        self.steering.put(Steering::default());
    }
}

fn entry_of(piece: &[u8]) -> Result<AccessEntry, StateError> {
    decode_access_entry(piece).map_err(StateError::new)
}

/// The states as they were when they were captured.
struct View {
    access: AccessState,
    webhooks: WebhookState,
    steering: Steering,
}

impl Capture for View {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        let mut chunk = Vec::with_capacity(2 * CHUNK_BYTES);
        for piece in encode_access_snapshot(&self.access, &self.webhooks, &self.steering) {
            chunk.extend_from_slice(&piece);
            if chunk.len() >= CHUNK_BYTES {
                sink(&chunk)?;
                chunk.clear();
            }
        }
        if !chunk.is_empty() {
            sink(&chunk)?;
        }
        Ok(())
    }
}

/// The pieces of a snapshot, whatever chunks they come in.
struct Pieces<'a> {
    chunks: &'a mut dyn Iterator<Item = io::Result<Bytes>>,
    rest: BytesMut,
}

impl Pieces<'_> {
    /// The next piece, without its length; `None` at the end.
    fn next_piece(&mut self) -> Result<Option<BytesMut>, StateError> {
        loop {
            let mut unread = &self.rest[..];
            if let Ok(length) = prost::decode_length_delimiter(&mut unread) {
                if length > PIECE_BYTES_MAX {
                    return Err(StateError::new(format!("a piece of it has {length} bytes")));
                }
                let delimiter = self.rest.len() - unread.len();
                if unread.len() >= length {
                    self.rest.advance(delimiter);
                    return Ok(Some(self.rest.split_to(length)));
                }
            }
            match self.chunks.next() {
                Some(chunk) => self.rest.extend_from_slice(&chunk.map_err(StateError::new)?),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(StateError::new("it ends within a piece")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{
        Time,
        access::{AccessCommand, ApiKeyId, Request, SecretHash, SigningKeyId, SigningSeed, Username},
    };
    use docket_proto::access::encode_access_record;

    use super::*;

    fn command(request: Request) -> AccessCommand {
        AccessCommand {
            time: Time(1),
            request,
        }
    }

    fn bootstrap() -> AccessCommand {
        let username = Username::new("root").unwrap();
        command(Request::Bootstrap {
            username,
            key: ApiKeyId([1; 12]),
            secret: SecretHash([2; 32]),
        })
    }

    fn signing_key() -> AccessCommand {
        let (key, seed) = (SigningKeyId([1; 8]), SigningSeed([1; 32]));
        command(Request::CreateSigningKey {
            key,
            seed,
            replaces: None,
        })
    }

    fn record(machine: &AccessMachine, command: &AccessCommand) -> Bytes {
        let record = machine
            .shared
            .read(|state| state.record(command, state.decide(command).events));
        encode_access_record(&record).into()
    }

    fn apply(machine: &AccessMachine, payload: &Bytes) -> Bytes {
        machine.apply(Entry {
            index: 1,
            term: 1,
            payload,
        })
    }

    fn snapshot_of(machine: &AccessMachine) -> Vec<u8> {
        let mut bytes = Vec::new();
        machine
            .capture()
            .write(&mut |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .unwrap();
        bytes
    }

    fn restore(bytes: &[u8], chunk: usize) -> Result<AccessMachine, StateError> {
        let machine = AccessMachine::new();
        let mut chunks = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        machine.restore(&mut chunks).map(|()| machine)
    }

    fn filled() -> AccessMachine {
        let machine = AccessMachine::new();
        for command in [bootstrap(), signing_key()] {
            let payload = record(&machine, &command);
            assert_eq!(apply(&machine, &payload), [DONE].as_slice());
        }
        machine
    }

    #[test]
    fn a_record_is_applied_once() {
        let machine = AccessMachine::new();
        let payload = record(&machine, &bootstrap());
        assert_eq!(apply(&machine, &payload), [DONE].as_slice());
        assert_eq!(machine.shared.version(), 1);
        assert_eq!(apply(&machine, &payload), [CONFLICT].as_slice());
        assert_eq!(machine.shared.version(), 1);
    }

    #[test]
    fn a_snapshot_is_restored_whatever_chunks_it_comes_in() {
        let machine = filled();
        let bytes = snapshot_of(&machine);
        for chunk in [1, 3, 50, bytes.len()] {
            let restored = restore(&bytes, chunk).unwrap();
            assert!(
                restored
                    .shared
                    .read(|state| machine.shared.read(|other| state == other))
            );
            assert_eq!(restored.shared.version(), 2);
        }
    }

    #[test]
    fn a_snapshot_that_is_not_whole_is_refused_and_changes_nothing() {
        let bytes = snapshot_of(&filled());
        for end in 0..bytes.len() {
            assert!(
                restore(&bytes[..end], 16).is_err(),
                "{end} of {} bytes",
                bytes.len()
            );
        }
        let machine = filled();
        assert!(machine.restore(&mut std::iter::empty()).is_err());
        assert_eq!(machine.shared.version(), 2);
        let mut failing = [Err(io::Error::other("disk"))].into_iter();
        assert!(machine.restore(&mut failing).is_err());
        let twice = [bytes.clone(), bytes].concat();
        assert!(restore(&twice, 16).is_err());
    }

    #[test]
    fn a_view_is_unmoved_by_what_is_applied_after_it() {
        let machine = AccessMachine::new();
        apply(&machine, &record(&machine, &bootstrap()));
        let view = machine.capture();
        apply(&machine, &record(&machine, &signing_key()));
        let mut bytes = Vec::new();
        view.write(&mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .unwrap();
        assert_eq!(restore(&bytes, 7).unwrap().shared.version(), 1);
    }

    #[test]
    #[should_panic(expected = "cannot be read")]
    fn an_entry_that_is_no_record_stops_the_group() {
        apply(&AccessMachine::new(), &Bytes::from_static(&[0xff, 0xff]));
    }
}

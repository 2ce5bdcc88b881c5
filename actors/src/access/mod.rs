//! Accounts, sessions, API keys and signing keys on the meta group: the state machine and the handle.
//!
//! ```text
//!   execute ─▶ one at a time ─▶ read barrier ─▶ decide on committed state ─▶ log ─▶ apply ─▶ answer
//!   read    ─▶ committed state, without waiting for any of that
//! ```
//!
//! What changes access is rare (somebody logs in, a session is refreshed), so that commands simply take turns; what reads
//! it is every call, so that a read is a lock held for a lookup. An answer of [`Access::execute`] is durable, and from
//! then on every read here sees it: a key that was revoked works for nobody any more.

mod machine;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use docket_cluster::{Node, PROTOCOL_VERSION, ProposeError, ReadError};
use docket_engine::access::{AccessCommand, AccessRejection, AccessState, Request};
use docket_proto::access::encode_access_record;
use tokio::sync::Mutex;

pub(crate) use machine::DONE;
use machine::Shared;

pub use machine::AccessMachine;

/// How often a command is decided again, because its record met another state than it was decided on. That takes a
/// change of leader in between.
const ATTEMPTS_MAX: usize = 4;

/// A future without a name.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The log that makes a record durable, agreed and applied: the meta group, or in tests something simpler.
pub trait AccessLog: Send + Sync + 'static {
    /// Passes when the local state has everything that was answered before.
    fn barrier(&self) -> BoxFuture<'_, Result<(), ReadError>>;

    /// Puts a record into the log and waits for what the machine made of it.
    fn propose(&self, record: Bytes) -> BoxFuture<'_, Result<Bytes, ProposeError>>;

    /// Bytes that are free on the disk, if they are so few that nothing should grow.
    fn disk_low(&self) -> Option<u64> {
        None
    }

    /// Bytes that are free on the disk, if they are so few that not even sessions should be opened.
    fn disk_nearly_full(&self) -> Option<u64> {
        None
    }

    /// The oldest version of the peer protocol that is spoken with another node: what it could not read is not to be put into the log.
    fn oldest_version_spoken(&self) -> u32 {
        PROTOCOL_VERSION
    }

    /// Whether every other node speaks this version of the peer protocol, or a newer one; not, as long as there is one that was not heard of since
    /// this node's start.
    fn is_spoken_by_all(&self, version: u32) -> bool {
        self.oldest_version_spoken() >= version
    }
}

/// The node's meta group.
impl AccessLog for Node {
    fn barrier(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async { self.meta().read_barrier().await })
    }

    fn propose(&self, record: Bytes) -> BoxFuture<'_, Result<Bytes, ProposeError>> {
        Box::pin(async { self.meta().propose(record).await })
    }

    fn disk_low(&self) -> Option<u64> {
        Self::disk_low(self)
    }

    fn disk_nearly_full(&self) -> Option<u64> {
        Self::disk_nearly_full(self)
    }

    fn oldest_version_spoken(&self) -> u32 {
        Self::oldest_version_spoken(self)
    }

    fn is_spoken_by_all(&self, version: u32) -> bool {
        Self::is_spoken_by_all(self, version)
    }
}

/// Why a command has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A domain answer.
    #[error(transparent)]
    Rejected(#[from] AccessRejection),
    /// This node does not lead the meta group, or nobody does. Nothing was done.
    #[error("the meta group has no leader here")]
    NotLeader,
    /// The disk is nearly full. Nothing was done; reads go on, what ends something does too, and sessions do for long.
    #[error("the node's disk is nearly full: {free_bytes} bytes are free")]
    LowSpace {
        /// What is free.
        free_bytes: u64,
    },
    /// The leadership was lost, or the node stops, while the command was on its way: it may have been done or not.
    #[error("the outcome is not known")]
    OutcomeUnknown,
    /// The state changed under the command again and again. Nothing was done.
    #[error("the access state changed {ATTEMPTS_MAX} times while a command was decided")]
    Contended,
}

/// The handle. Cloning it is cheap.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    log: Box<dyn AccessLog>,
    deciding: Mutex<()>,
}

impl Access {
    /// The handle of a machine and of the log that feeds it.
    pub fn new(machine: &AccessMachine, log: impl AccessLog) -> Self {
        let shared = Arc::clone(&machine.shared);
        Self {
            inner: Arc::new(Inner {
                shared,
                log: Box::new(log),
                deciding: Mutex::new(()),
            }),
        }
    }

    /// Does what a command asks. When it returns, what it did is durable and every [`Self::read`] sees it.
    ///
    /// Waits for the commands before it: who calls bounds how many wait. Dropping the future takes nothing back.
    ///
    /// # Errors
    /// Why it was not done, or is not known to be done.
    pub async fn execute(&self, command: &AccessCommand) -> Result<(), AccessError> {
        let inner = &*self.inner;
        let _turn = inner.deciding.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            // A refusal, too, must not come from a state that is out of date.
            inner.log.barrier().await.map_err(|error| match error {
                ReadError::NotLeader { .. } | ReadError::Stopped { .. } => AccessError::NotLeader,
            })?;
            let (record, rejection) = inner.shared.read(|state| {
                let decision = state.decide(command);
                let record = (!decision.events.is_empty()).then(|| state.record(command, decision.events));
                (record, decision.rejection)
            });
            let answer = rejection.map_or(Ok(()), |rejection| Err(rejection.into()));
            let Some(record) = record else { return answer };
            let short_of = match Room::of(&command.request) {
                Room::None => None,
                Room::Little => inner.log.disk_nearly_full(),
                Room::Usual => inner.log.disk_low(),
            };
            if let Some(free_bytes) = short_of.filter(|_| answer.is_ok()) {
                return Err(AccessError::LowSpace { free_bytes });
            }
            let outcome = inner.log.propose(encode_access_record(&record).into()).await?;
            if outcome.first() == Some(&DONE) {
                return answer;
            }
            metrics::counter!("docket_access_conflicts_total").increment(1);
        }
        Err(AccessError::Contended)
    }

    /// Looks at the committed state. The closure must be quick: it holds up the next command's application.
    pub fn read<T>(&self, look: impl FnOnce(&AccessState) -> T) -> T {
        self.inner.shared.read(look)
    }

    /// How many records the committed state has. While it stays the same, so does everything that [`Self::read`] would
    /// find, apart from what ends by time.
    pub fn version(&self) -> u64 {
        self.inner.shared.version()
    }
}

/// How much room on the disk a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It ends something, which is tiny and must not wait for space.
    None,
    /// Nobody could go on reading without it, since sessions and signing keys end by themselves. It is small, and there is a bound
    /// on how often it comes: it may use some of the reserve.
    Little,
    /// It adds to the state.
    Usual,
}

impl Room {
    fn of(request: &Request) -> Self {
        match request {
            Request::Logout { .. } | Request::RevokeApiKey { .. } | Request::AssignRole { .. } => Self::None,
            Request::OpenSession { .. } | Request::Refresh { .. } | Request::CreateSigningKey { .. } => {
                Self::Little
            }
            Request::Bootstrap { .. } | Request::Register { .. } | Request::CreateApiKey { .. } => {
                Self::Usual
            }
        }
    }
}

impl From<ProposeError> for AccessError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Self::NotLeader,
            // No record comes near the bound of an entry; if one ever does, nothing was done.
            ProposeError::TooLarge { .. } => Self::Contended,
            ProposeError::Unknown | ProposeError::Stopped { .. } => Self::OutcomeUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{
        Time, Version,
        access::{
            ApiKeyId, Caller, NewApiKey, PasswordHash, Role, SecretHash, SessionId, SigningKeyId,
            SigningSeed, Username,
        },
    };

    use super::*;

    fn name(text: &str) -> Username {
        Username::new(text).unwrap()
    }

    fn root() -> Caller {
        Caller {
            account: name("root"),
            role: Role::Admin,
            scopes: Role::Admin.scopes(),
        }
    }

    /// One request of every kind.
    fn requests() -> [Request; 9] {
        let (session, family, token) = (SessionId([1; 16]), SecretHash([1; 32]), SecretHash([2; 32]));
        let expires = Time(1_000_000);
        [
            Request::Bootstrap {
                username: name("root"),
                key: ApiKeyId([1; 12]),
                secret: SecretHash([1; 32]),
            },
            Request::Register {
                by: root(),
                username: name("ada"),
                password: PasswordHash::new("$argon2id$none").unwrap(),
                role: Role::Service,
                customer: None,
            },
            Request::CreateApiKey {
                by: root(),
                account: name("ada"),
                key: NewApiKey {
                    id: ApiKeyId([2; 12]),
                    secret: SecretHash([3; 32]),
                    display_name: "ci".into(),
                    scopes: Role::Service.scopes(),
                    expires: None,
                },
            },
            Request::OpenSession {
                account: name("ada"),
                version: Version(1),
                session,
                family,
                token,
                expires,
            },
            Request::Refresh {
                session,
                family,
                token,
                next: SecretHash([4; 32]),
                expires,
            },
            Request::CreateSigningKey {
                key: SigningKeyId([1; 8]),
                seed: SigningSeed([1; 32]),
                replaces: None,
            },
            Request::Logout { session, family },
            Request::RevokeApiKey {
                by: root(),
                key: ApiKeyId([2; 12]),
            },
            Request::AssignRole {
                by: root(),
                account: name("ada"),
                role: Role::Admin,
                customer: None,
            },
        ]
    }

    #[test]
    fn what_grows_waits_for_room_sessions_for_a_little_and_what_ends_something_for_none() {
        let rooms = requests().map(|request| Room::of(&request));
        let (usual, little, none) = (Room::Usual, Room::Little, Room::None);
        assert_eq!(
            rooms,
            [usual, usual, usual, little, little, little, none, none, none]
        );
    }
}

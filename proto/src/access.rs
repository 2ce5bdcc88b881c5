//! The access state's records and snapshot pieces as bytes, for the meta group's log.
//!
//! These bytes are on disk for ever. What is encoded decodes to the same; what cannot be decoded is named, never guessed.

use docket_engine::access::{
    AccessEvent, AccessRecord, AccessState, Account, ApiKey, ApiKeyId, End, NewApiKey, PasswordHash, Role,
    Scope, Scopes, SecretHash, Session, SessionId, SigningKey, SigningKeyId, SigningSeed, Username,
};
use docket_engine::steering::Steering;
use docket_engine::webhook::WebhookState;
use docket_engine::{CustomerId, Time, Version};
use prost::Message;

use crate::journal as wire;
use crate::steering::{SteeringEntry, steering_entry, steering_pieces};
use crate::webhook::{WebhookEntry, webhook_entry, webhook_pieces};
use wire::access_event::Fact;
use wire::access_snapshot_record::Entry;

/// The newest format of snapshots that this program reads and writes. Since 2 there are webhooks behind the accounts, and since 3 flags and limits
/// behind those; a state that never had any is written in the format before.
pub const ACCESS_SNAPSHOT_FORMAT: u32 = 3;
/// In which there is nothing that is steered.
const FORMAT_WITHOUT_STEERING: u32 = 2;
/// In which there are no webhooks either.
const FORMAT_WITHOUT_WEBHOOKS: u32 = 1;

/// Bytes that are no record or snapshot piece of the access state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessDecodeError {
    /// Not protobuf, or not of this message.
    #[error("it is not a message of the access journal: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field has a value that no version of this program wrote, or one that a newer program did.
    #[error("its field {field} has no meaning here: it was damaged, or written by a newer program")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// More than this program knows to read. Leaving out a part of a fact would mean another state than the others have.
    #[error("it holds more than this program knows: a newer program wrote it")]
    Unknown,
    /// A snapshot in a newer format.
    #[error(
        "it is a snapshot of format {found}, and this program reads up to {ACCESS_SNAPSHOT_FORMAT}: use a newer program"
    )]
    Format {
        /// Its format.
        found: u32,
    },
}

/// One piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessEntry {
    /// The first piece.
    Head {
        /// The state's version.
        version: Version,
        /// The time of its newest record.
        last_time: Time,
        /// How many pieces follow.
        entries: u64,
    },
    /// An account. Accounts come before what belongs to them.
    Account(Account),
    /// A session.
    Session(Session),
    /// An API key.
    ApiKey(ApiKey),
    /// A signing key.
    SigningKey(SigningKey),
    /// A piece of the webhooks.
    Webhook(WebhookEntry),
    /// A piece of what is steered.
    Steering(SteeringEntry),
}

/// The bytes of a record.
pub fn encode_access_record(record: &AccessRecord) -> Vec<u8> {
    let events = record
        .events
        .iter()
        .map(|event| wire::AccessEvent {
            fact: Some(fact_of(event)),
        })
        .collect();
    wire::AccessRecord {
        version: record.version.0,
        time: record.time.0,
        events,
    }
    .encode_to_vec()
}

/// The record of these bytes.
///
/// # Errors
/// Where they are none.
pub fn decode_access_record(bytes: &[u8]) -> Result<AccessRecord, AccessDecodeError> {
    let record: wire::AccessRecord = decode_whole(bytes)?;
    let events = record
        .events
        .into_iter()
        .map(|event| event_of(event.fact.ok_or_else(|| unknown("fact"))?));
    Ok(AccessRecord {
        version: Version(record.version),
        time: Time(record.time),
        events: events.collect::<Result<_, _>>()?,
    })
}

/// The pieces of a snapshot of these states, each as length-delimited bytes, in the order in which they are restored.
pub fn encode_access_snapshot<'a>(
    state: &'a AccessState,
    webhooks: &WebhookState,
    steering: &Steering,
) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    let (webhooks, steering) = (webhook_pieces(webhooks), steering_pieces(steering));
    let accounts = state
        .accounts()
        .map(|account| Entry::Account(account_to_wire(account)));
    let sessions = state
        .sessions()
        .map(|session| Entry::Session(session_to_wire(session)));
    let api_keys = state
        .api_keys(None, None)
        .map(|key| Entry::ApiKey(api_key_to_wire(key)));
    let signing_keys = state
        .signing_keys()
        .map(|key| Entry::SigningKey(signing_key_to_wire(key)));
    let key_count = state.api_key_count();
    let entries = state.accounts().len()
        + state.sessions().len()
        + key_count
        + state.signing_keys().len()
        + webhooks.len()
        + steering.len();
    let head = Entry::Head(wire::AccessSnapshotHead {
        format: match (steering.is_empty(), webhooks.is_empty()) {
            (false, _) => ACCESS_SNAPSHOT_FORMAT,
            (true, false) => FORMAT_WITHOUT_STEERING,
            (true, true) => FORMAT_WITHOUT_WEBHOOKS,
        },
        version: state.version().0,
        last_time: state.last_time().0,
        entries: entries as u64,
    });
    let pieces = [head]
        .into_iter()
        .chain(accounts)
        .chain(sessions)
        .chain(api_keys)
        .chain(signing_keys)
        .chain(webhooks.into_iter().map(Entry::Webhook))
        .chain(steering.into_iter().map(Entry::Steering));
    pieces.map(|entry| wire::AccessSnapshotRecord { entry: Some(entry) }.encode_length_delimited_to_vec())
}

/// The piece of these bytes, without the length before it.
///
/// # Errors
/// Where they are none, or of a newer format.
pub fn decode_access_entry(bytes: &[u8]) -> Result<AccessEntry, AccessDecodeError> {
    let entry = decode_whole::<wire::AccessSnapshotRecord>(bytes)?
        .entry
        .ok_or_else(|| unknown("entry"))?;
    Ok(match entry {
        Entry::Head(head) if head.format == 0 || head.format > ACCESS_SNAPSHOT_FORMAT => {
            return Err(AccessDecodeError::Format { found: head.format });
        }
        Entry::Head(head) => AccessEntry::Head {
            version: Version(head.version),
            last_time: Time(head.last_time),
            entries: head.entries,
        },
        Entry::Account(account) => AccessEntry::Account(account_of(account)?),
        Entry::Session(session) => AccessEntry::Session(session_of(session)?),
        Entry::ApiKey(key) => AccessEntry::ApiKey(api_key_of(key)?),
        Entry::SigningKey(key) => AccessEntry::SigningKey(signing_key_of(key)?),
        Entry::Webhook(piece) => AccessEntry::Webhook(webhook_entry(piece)?),
        Entry::Steering(piece) => AccessEntry::Steering(steering_entry(piece)?),
    })
}

/// Decodes a message and refuses fields that it does not have, which protobuf would leave out: what this crate encoded
/// encodes to the same bytes again.
fn decode_whole<M: Message + Default>(bytes: &[u8]) -> Result<M, AccessDecodeError> {
    let message = M::decode(bytes)?;
    if message.encode_to_vec() != bytes {
        return Err(AccessDecodeError::Unknown);
    }
    Ok(message)
}

fn fact_of(event: &AccessEvent) -> Fact {
    match event {
        AccessEvent::AccountCreated {
            username,
            password,
            role,
            customer,
        } => Fact::AccountCreated(wire::AccountCreated {
            username: username.to_string(),
            password_hash: password_text(password.as_ref()),
            role: role_number(*role),
            customer: customer_text(customer.as_ref()),
        }),
        AccessEvent::RoleAssigned {
            account,
            role,
            customer,
        } => Fact::RoleAssigned(wire::RoleAssigned {
            account: account.to_string(),
            role: role_number(*role),
            customer: customer_text(customer.as_ref()),
        }),
        AccessEvent::SessionOpened {
            session,
            account,
            family,
            token,
            expires,
        } => Fact::SessionOpened(wire::SessionOpened {
            session: session.0.to_vec(),
            account: account.to_string(),
            family_hash: family.0.to_vec(),
            token_hash: token.0.to_vec(),
            expires: expires.0,
        }),
        AccessEvent::SessionRefreshed {
            session,
            token,
            expires,
        } => Fact::SessionRefreshed(wire::SessionRefreshed {
            session: session.0.to_vec(),
            token_hash: token.0.to_vec(),
            expires: expires.0,
        }),
        AccessEvent::SessionEnded { session, cause } => Fact::SessionEnded(wire::SessionEnded {
            session: session.0.to_vec(),
            cause: cause_number(*cause),
        }),
        AccessEvent::ApiKeyCreated { account, key } => Fact::ApiKeyCreated(wire::ApiKeyCreated {
            key: key.id.0.to_vec(),
            account: account.to_string(),
            secret_hash: key.secret.0.to_vec(),
            display_name: key.display_name.to_string(),
            scopes: key.scopes.iter().map(scope_number).collect(),
            expires: key.expires.map(|time| time.0),
        }),
        AccessEvent::ApiKeyRevoked { key } => {
            Fact::ApiKeyRevoked(wire::ApiKeyRevoked { key: key.0.to_vec() })
        }
        AccessEvent::ApiKeyForgotten { key } => {
            Fact::ApiKeyForgotten(wire::ApiKeyForgotten { key: key.0.to_vec() })
        }
        AccessEvent::SigningKeyCreated { key, seed } => Fact::SigningKeyCreated(wire::SigningKeyCreated {
            key: key.0.to_vec(),
            seed: seed.0.to_vec(),
        }),
        AccessEvent::SigningKeyRetired { key } => {
            Fact::SigningKeyRetired(wire::SigningKeyRetired { key: key.0.to_vec() })
        }
        AccessEvent::SigningKeyForgotten { key } => {
            Fact::SigningKeyForgotten(wire::SigningKeyForgotten { key: key.0.to_vec() })
        }
    }
}

fn event_of(fact: Fact) -> Result<AccessEvent, AccessDecodeError> {
    Ok(match fact {
        Fact::AccountCreated(fact) => AccessEvent::AccountCreated {
            username: username(&fact.username)?,
            password: password(&fact.password_hash)?,
            role: role(fact.role)?,
            customer: customer(&fact.customer)?,
        },
        Fact::RoleAssigned(fact) => AccessEvent::RoleAssigned {
            account: username(&fact.account)?,
            role: role(fact.role)?,
            customer: customer(&fact.customer)?,
        },
        Fact::SessionOpened(fact) => AccessEvent::SessionOpened {
            session: SessionId(array(&fact.session, "session")?),
            account: username(&fact.account)?,
            family: SecretHash(array(&fact.family_hash, "family_hash")?),
            token: SecretHash(array(&fact.token_hash, "token_hash")?),
            expires: Time(fact.expires),
        },
        Fact::SessionRefreshed(fact) => AccessEvent::SessionRefreshed {
            session: SessionId(array(&fact.session, "session")?),
            token: SecretHash(array(&fact.token_hash, "token_hash")?),
            expires: Time(fact.expires),
        },
        Fact::SessionEnded(fact) => AccessEvent::SessionEnded {
            session: SessionId(array(&fact.session, "session")?),
            cause: cause(fact.cause)?,
        },
        Fact::ApiKeyCreated(fact) => AccessEvent::ApiKeyCreated {
            account: username(&fact.account)?,
            key: NewApiKey {
                id: api_key_id(&fact.key)?,
                secret: SecretHash(array(&fact.secret_hash, "secret_hash")?),
                display_name: fact.display_name.into(),
                scopes: scopes(&fact.scopes)?,
                expires: fact.expires.map(Time),
            },
        },
        Fact::ApiKeyRevoked(fact) => AccessEvent::ApiKeyRevoked {
            key: api_key_id(&fact.key)?,
        },
        Fact::ApiKeyForgotten(fact) => AccessEvent::ApiKeyForgotten {
            key: api_key_id(&fact.key)?,
        },
        Fact::SigningKeyCreated(fact) => AccessEvent::SigningKeyCreated {
            key: signing_key_id(&fact.key)?,
            seed: SigningSeed(array(&fact.seed, "seed")?),
        },
        Fact::SigningKeyRetired(fact) => AccessEvent::SigningKeyRetired {
            key: signing_key_id(&fact.key)?,
        },
        Fact::SigningKeyForgotten(fact) => AccessEvent::SigningKeyForgotten {
            key: signing_key_id(&fact.key)?,
        },
    })
}

fn account_to_wire(account: &Account) -> wire::AccessAccount {
    wire::AccessAccount {
        username: account.username.to_string(),
        password_hash: password_text(account.password.as_ref()),
        role: role_number(account.role),
        customer: customer_text(account.customer.as_ref()),
        version: account.version.0,
        created: account.created.0,
    }
}

fn account_of(account: wire::AccessAccount) -> Result<Account, AccessDecodeError> {
    Ok(Account {
        username: username(&account.username)?,
        password: password(&account.password_hash)?,
        role: role(account.role)?,
        customer: customer(&account.customer)?,
        version: Version(account.version),
        created: Time(account.created),
    })
}

fn session_to_wire(session: &Session) -> wire::AccessSession {
    wire::AccessSession {
        id: session.id.0.to_vec(),
        account: session.account.to_string(),
        family_hash: session.family.0.to_vec(),
        token_hash: session.token.0.to_vec(),
        generation: session.generation,
        opened: session.opened.0,
        expires: session.expires.0,
    }
}

fn session_of(session: wire::AccessSession) -> Result<Session, AccessDecodeError> {
    Ok(Session {
        id: SessionId(array(&session.id, "id")?),
        account: username(&session.account)?,
        family: SecretHash(array(&session.family_hash, "family_hash")?),
        token: SecretHash(array(&session.token_hash, "token_hash")?),
        generation: session.generation,
        opened: Time(session.opened),
        expires: Time(session.expires),
    })
}

fn api_key_to_wire(key: &ApiKey) -> wire::AccessApiKey {
    wire::AccessApiKey {
        id: key.id.0.to_vec(),
        account: key.account.to_string(),
        secret_hash: key.secret.0.to_vec(),
        display_name: key.display_name.to_string(),
        scopes: key.scopes.iter().map(scope_number).collect(),
        created: key.created.0,
        expires: key.expires.map(|time| time.0),
        revoked: key.revoked.map(|time| time.0),
    }
}

fn api_key_of(key: wire::AccessApiKey) -> Result<ApiKey, AccessDecodeError> {
    Ok(ApiKey {
        id: api_key_id(&key.id)?,
        account: username(&key.account)?,
        secret: SecretHash(array(&key.secret_hash, "secret_hash")?),
        display_name: key.display_name.into(),
        scopes: scopes(&key.scopes)?,
        created: Time(key.created),
        expires: key.expires.map(Time),
        revoked: key.revoked.map(Time),
    })
}

fn signing_key_to_wire(key: &SigningKey) -> wire::AccessSigningKey {
    wire::AccessSigningKey {
        id: key.id.0.to_vec(),
        seed: key.seed.0.to_vec(),
        created: key.created.0,
        retired: key.retired.map(|time| time.0),
    }
}

fn signing_key_of(key: wire::AccessSigningKey) -> Result<SigningKey, AccessDecodeError> {
    Ok(SigningKey {
        id: signing_key_id(&key.id)?,
        seed: SigningSeed(array(&key.seed, "seed")?),
        created: Time(key.created),
        retired: key.retired.map(Time),
    })
}

pub(crate) fn role_number(role: Role) -> u32 {
    match role {
        Role::Customer => 1,
        Role::Service => 2,
        Role::Admin => 3,
    }
}

pub(crate) fn role(number: u32) -> Result<Role, AccessDecodeError> {
    Role::ALL
        .into_iter()
        .find(|role| role_number(*role) == number)
        .ok_or_else(|| unknown("role"))
}

fn scope_number(scope: Scope) -> u32 {
    match scope {
        Scope::Read => 1,
        Scope::Orders => 2,
        Scope::Customers => 3,
        Scope::Items => 4,
        Scope::Access => 5,
        Scope::Operations => 6,
    }
}

fn scopes(numbers: &[u32]) -> Result<Scopes, AccessDecodeError> {
    let scope = |number: &u32| {
        Scope::ALL
            .into_iter()
            .find(|scope| scope_number(*scope) == *number)
    };
    numbers
        .iter()
        .map(|number| scope(number).ok_or_else(|| unknown("scopes")))
        .collect()
}

const CAUSES: [End; 5] = [
    End::LoggedOut,
    End::Replayed,
    End::Expired,
    End::Evicted,
    End::RoleAssigned,
];

fn cause_number(cause: End) -> u32 {
    match cause {
        End::LoggedOut => 1,
        End::Replayed => 2,
        End::Expired => 3,
        End::Evicted => 4,
        End::RoleAssigned => 5,
    }
}

fn cause(number: u32) -> Result<End, AccessDecodeError> {
    CAUSES
        .into_iter()
        .find(|cause| cause_number(*cause) == number)
        .ok_or_else(|| unknown("cause"))
}

fn password_text(password: Option<&PasswordHash>) -> String {
    password
        .map(|password| password.as_str().to_owned())
        .unwrap_or_default()
}

fn password(text: &str) -> Result<Option<PasswordHash>, AccessDecodeError> {
    match text {
        "" => Ok(None),
        text => PasswordHash::new(text)
            .map(Some)
            .ok_or_else(|| unknown("password_hash")),
    }
}

fn customer_text(customer: Option<&CustomerId>) -> String {
    customer.map(ToString::to_string).unwrap_or_default()
}

fn customer(text: &str) -> Result<Option<CustomerId>, AccessDecodeError> {
    match text {
        "" => Ok(None),
        text => CustomerId::new(text).map(Some).map_err(|_| unknown("customer")),
    }
}

pub(crate) fn username(text: &str) -> Result<Username, AccessDecodeError> {
    Username::new(text).map_err(|_| unknown("username"))
}

pub(crate) fn api_key_id(bytes: &[u8]) -> Result<ApiKeyId, AccessDecodeError> {
    array(bytes, "key").map(ApiKeyId)
}

fn signing_key_id(bytes: &[u8]) -> Result<SigningKeyId, AccessDecodeError> {
    array(bytes, "key").map(SigningKeyId)
}

fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], AccessDecodeError> {
    bytes.try_into().map_err(|_| unknown(field))
}

pub(crate) fn unknown(field: &'static str) -> AccessDecodeError {
    AccessDecodeError::Field { field }
}

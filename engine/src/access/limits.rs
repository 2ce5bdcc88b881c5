//! Every bound of the access state.

/// The most bytes of a username.
pub const USERNAME_BYTES_MAX: usize = 64;
/// The most bytes of an API key's display name.
pub const KEY_NAME_BYTES_MAX: usize = 128;
/// The most bytes of a password hash in PHC form. Those of argon2id are about 100.
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;

/// The most accounts.
pub const ACCOUNTS_MAX: usize = 100_000;
/// The most sessions of one account: opening another ends the one that was opened first.
pub const SESSIONS_PER_ACCOUNT_MAX: usize = 16;
/// The most sessions in all: opening another ends the one that would expire first.
pub const SESSIONS_MAX: usize = 200_000;
/// The most API keys of one account, dead ones included: making another forgets the one that died first, and is
/// refused where all are alive.
pub const API_KEYS_PER_ACCOUNT_MAX: usize = 64;
/// The most API keys in all; the next one is refused.
pub const API_KEYS_MAX: usize = 200_000;
/// The most signing keys, retired ones included; the next one is refused.
pub const SIGNING_KEYS_MAX: usize = 8;
/// The most ended things that one command clears away beside its own work.
pub const PRUNED_PER_COMMAND_MAX: usize = 32;

/// How long a session may last however often it is refreshed, in microseconds: 90 days.
pub const SESSION_LIFETIME_MAX_US: i64 = 90 * DAY_US;
/// How long an API key is still listed after its end, in microseconds: 30 days.
pub const DEAD_API_KEY_KEPT_US: i64 = 30 * DAY_US;
/// How long an access token may last, in microseconds: 1 hour.
pub const ACCESS_TOKEN_LIFETIME_MAX_US: i64 = 60 * 60 * 1_000_000;
/// How long a retired signing key still verifies, in microseconds: longer than any token that it signed can last.
pub const RETIRED_SIGNING_KEY_KEPT_US: i64 = 2 * 60 * 60 * 1_000_000;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

const _: () = assert!(RETIRED_SIGNING_KEY_KEPT_US > ACCESS_TOKEN_LIFETIME_MAX_US);
const _: () = assert!(SESSIONS_PER_ACCOUNT_MAX <= SESSIONS_MAX && API_KEYS_PER_ACCOUNT_MAX <= API_KEYS_MAX);

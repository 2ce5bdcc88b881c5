//! Every bound of the webhooks' state.

/// The most webhooks; the next one is refused.
pub const WEBHOOKS_MAX: usize = 64;
/// The most bytes of a webhook's URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// The most bytes of a webhook's description.
pub const DESCRIPTION_BYTES_MAX: usize = 256;
/// The most secrets that sign beside the newest: rotating once more ends the one that was replaced first.
pub const OLD_SECRETS_MAX: usize = 4;
/// The longest that a secret which was replaced still signs, in microseconds: 7 days.
pub const OVERLAP_MAX_US: i64 = 7 * DAY_US;
/// How long it does where the request does not say, in microseconds: 24 hours.
pub const OVERLAP_DEFAULT_US: i64 = DAY_US;
/// The most deliveries of one webhook that wait to be tried again: no further change is taken while there are as many.
pub const RETRIES_MAX: usize = 1_000;
/// The most dead letters of one webhook: one more and the oldest is forgotten, which is counted.
pub const DEAD_LETTERS_MAX: usize = 1_000;
/// The most outcomes of deliveries in one record.
pub const OUTCOMES_MAX: usize = 512;
/// The most shards that a position has.
pub const SHARDS_MAX: usize = 4_096;
/// The most requests that are remembered by their ids; the oldest is forgotten first.
pub const REQUESTS_MAX: usize = 1_000;
/// How long a request is remembered, in microseconds: 24 hours.
pub const REQUESTS_KEPT_US: i64 = DAY_US;

/// How long after its first failure a delivery is tried again, in microseconds: 24 hours.
pub const RETRIED_FOR_US: i64 = DAY_US;
/// The wait before the first repeat, in microseconds: 5 seconds.
pub const BACK_OFF_FIRST_US: i64 = 5 * 1_000_000;
/// Each wait is so many times the one before.
pub const BACK_OFF_FACTOR: i64 = 3;
/// The longest wait, in microseconds: 2 hours. `Retry-After` is honoured up to it.
pub const BACK_OFF_MAX_US: i64 = 2 * 60 * 60 * 1_000_000;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

const _: () = assert!(BACK_OFF_MAX_US < RETRIED_FOR_US && BACK_OFF_FIRST_US < BACK_OFF_MAX_US);
const _: () = assert!(OUTCOMES_MAX <= RETRIES_MAX && OVERLAP_DEFAULT_US <= OVERLAP_MAX_US);

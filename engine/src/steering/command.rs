//! What may be asked of what is steered, and what follows from it.

use super::{
    FlagName, FlagRule, Limited, RateLimit,
    limits::{FLAG_CUSTOMERS_MAX, FLAGS_MAX, LIMITS_MAX, RATE_MAX},
};
use crate::{Time, Version, access::Username};

/// A request, with the leader's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeringCommand {
    /// Now, by the leader's clock.
    pub time: Time,
    /// Who asks.
    pub by: Username,
    /// What is asked.
    pub request: SteeringRequest,
}

/// What may be asked. To ask for what is already so changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SteeringRequest {
    /// Have a flag be on for these, and for nobody else.
    SetFlag {
        /// Which.
        flag: FlagName,
        /// For whom.
        rule: FlagRule,
        /// Only at this revision; 0 for: only if it is not set.
        expected: Option<u64>,
        /// Although the program does not know the flag.
        force: bool,
    },
    /// Have a flag be what it is by default.
    UnsetFlag {
        /// Which.
        flag: FlagName,
        /// Only at this revision.
        expected: Option<u64>,
    },
    /// Give a caller a limit of its own.
    SetLimit {
        /// Whom.
        of: Limited,
        /// Which.
        limit: RateLimit,
        /// Only at this revision; 0 for: only if it is not set.
        expected: Option<u64>,
    },
    /// Have a caller be held to its role's limit again.
    UnsetLimit {
        /// Whom.
        of: Limited,
        /// Only at this revision.
        expected: Option<u64>,
    },
}

/// Why a command is refused, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SteeringRejection {
    /// The program does not know the flag, and nobody said that this is meant.
    #[error("this program knows no such flag")]
    UnknownFlag,
    /// Somebody has changed it since.
    #[error("it was changed meanwhile")]
    StaleEtag,
    /// The flag is asked for where no role is known.
    #[error(
        "no role is known where this flag is asked for: it can be on for a part of all, and for customers"
    )]
    RoleNotKnown,
    /// A rule names more than [`FLAG_CUSTOMERS_MAX`] customers.
    #[error("a flag may name {FLAG_CUSTOMERS_MAX} customers at most")]
    TooManyCustomers,
    /// There are [`FLAGS_MAX`] flags that are set.
    #[error("{FLAGS_MAX} flags are set, as many as there may be")]
    TooManyFlags,
    /// A limit that cannot be.
    #[error(
        "a limit has at most {RATE_MAX} tokens a second, and room for one at least; without a rate it has no room either"
    )]
    LimitOutOfRange,
    /// There are [`LIMITS_MAX`] callers with a limit of their own.
    #[error("{LIMITS_MAX} callers have limits of their own, as many as there may be")]
    TooManyLimits,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SteeringEvent {
    /// A flag is on for these, and for nobody else.
    FlagSet {
        /// Which.
        flag: FlagName,
        /// For whom.
        rule: FlagRule,
    },
    /// A flag is what it is by default.
    FlagUnset {
        /// Which.
        flag: FlagName,
    },
    /// A caller has a limit of its own.
    LimitSet {
        /// Who.
        of: Limited,
        /// Which.
        limit: RateLimit,
    },
    /// A caller is held to its role's limit.
    LimitUnset {
        /// Who.
        of: Limited,
    },
}

/// What one decision puts into the meta group's log: all of it, or (where the version does not fit) nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeringRecord {
    /// The state's version before it.
    pub version: Version,
    /// When it was decided.
    pub time: Time,
    /// Who asked for it.
    pub by: Username,
    /// In the order in which they happened.
    pub events: Vec<SteeringEvent>,
}

//! Limits of single callers.

use std::fmt;

use crate::access::{ApiKeyId, Username};

/// Who has a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limited {
    /// An account, by whatever credential it calls, but for API keys with a limit of their own.
    Account(Username),
    /// One API key: its calls take no tokens of its account.
    ApiKey(ApiKeyId),
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "accounts/{account}"),
            Self::ApiKey(key) => write!(f, "apiKeys/{key}"),
        }
    }
}

/// How often somebody may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Tokens that come back in a second; 0 for no limit.
    pub per_second: u32,
    /// Tokens that the bucket holds; 0 where there is no limit.
    pub burst: u32,
}

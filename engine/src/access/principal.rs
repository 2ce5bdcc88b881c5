//! Who makes a call.

use super::{ApiKeyId, Caller, Role, Scopes, SessionId, Username};
use crate::CustomerId;

/// Who makes a call, as the committed state has it: not as the token claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: Username,
    /// The account's role.
    pub role: Role,
    /// For role customer, and only there: whose data it is.
    pub customer: Option<CustomerId>,
    /// What this credential may be used for; within what the role allows.
    pub scopes: Scopes,
    /// By what it proved itself.
    pub credential: Credential,
}

/// By what a principal proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// An access token of this session.
    Session(SessionId),
    /// This API key.
    ApiKey(ApiKeyId),
}

impl Principal {
    /// The principal as a command names it.
    pub fn caller(&self) -> Caller {
        Caller {
            account: self.account.clone(),
            role: self.role,
            scopes: self.scopes,
        }
    }
}

//! Why nobody is known to call.

use crate::authenticate::Unauthenticated;

/// Why a credential does not hold. It tells apart only what its owner must do about it: nothing here says whether an
/// account, a session or a key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.message())]
pub enum AuthError {
    /// There is none.
    Missing,
    /// There are several.
    Ambiguous,
    /// It is none of ours, or was ended.
    Invalid,
    /// It is an access token of ours, and over.
    Expired,
}

impl AuthError {
    /// `ErrorInfo.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "CREDENTIALS_MISSING",
            Self::Ambiguous => "CREDENTIALS_AMBIGUOUS",
            Self::Invalid => "CREDENTIALS_INVALID",
            Self::Expired => "ACCESS_TOKEN_EXPIRED",
        }
    }

    /// For people.
    pub fn message(self) -> &'static str {
        match self {
            Self::Missing => {
                "send a credential: `authorization: Bearer <access token>` or `x-api-key: <key>`"
            }
            Self::Ambiguous => "send one credential only: either `authorization` or `x-api-key`, and once",
            Self::Invalid => "the credential is not valid",
            Self::Expired => "the access token has expired: call Refresh",
        }
    }
}

impl From<AuthError> for Unauthenticated {
    fn from(error: AuthError) -> Self {
        Self {
            reason: error.reason(),
            message: error.message(),
        }
    }
}

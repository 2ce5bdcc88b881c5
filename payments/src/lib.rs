//! Payment providers: what is asked of them, and how, until they have answered for good.
//!
//! What a customer pays out of its account here needs no provider. Everybody else is behind [`PaymentProvider`]: with the
//! feature `http` whoever keeps the contract of docs/payments.md, and with the feature `stub` somebody who keeps it and fails on
//! demand, for tests and for trying it by hand.

#![forbid(unsafe_code)]

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "stub")]
pub mod stub;
#[cfg(feature = "wire")]
mod wire;

use std::time::Duration;

use docket_engine::{PaymentOutcome, PaymentRequest};
use futures::future::BoxFuture;

/// Somebody outside who moves money.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Does what is asked, or says that it does not know yet. Dropping the future may leave the provider having done it.
    ///
    /// Where `may_be_asked` the same key may have been asked before, by whomever: the provider is asked what became of
    /// that before it is asked again.
    ///
    /// # Errors
    /// [`NotSettled`] where it is not known what came of it: to be asked again later, with `may_be_asked`.
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        may_be_asked: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>>;
}

/// It is not known what came of what a provider was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotSettled {
    /// What happened: for logs, and for people. Has no secret.
    pub why: String,
    /// Not worth asking before so long.
    pub retry_after: Option<Duration>,
}

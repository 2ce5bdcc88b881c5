//! The services of the contract: what a request says is checked and converted, asked of the node, and its answer
//! converted back. Nothing is decided here.

pub(crate) mod backup;
pub(crate) mod customer;
pub(crate) mod health;
pub(crate) mod item;
pub(crate) mod node;
pub(crate) mod order;
pub(crate) mod place_orders;
pub(crate) mod standby;
pub(crate) mod steering;
pub(crate) mod watch_orders;
pub(crate) mod webhook;

use docket_engine::access::{Denied, Owner, permit};
use docket_proto::api::Checked;
use tonic::{Code, Request};

use crate::{errors::Refusal, gate::CallContext};

/// Who calls; the gate put it there.
pub(crate) fn context<T>(request: &Request<T>) -> Result<CallContext, Refusal> {
    request.extensions().get::<CallContext>().cloned().ok_or_else(|| {
        // Only a method whose row in the permission table is open comes here without.
        Refusal::new(
            Code::Unauthenticated,
            "CREDENTIALS_MISSING",
            "this method needs credentials",
        )
    })
}

/// A request of the right shape, or INVALID_ARGUMENT with everything that is wrong with it.
pub(crate) fn accept<T>(checked: Checked<T>) -> Result<T, Refusal> {
    checked.map_err(|violations| Refusal::invalid(violations.into_iter().map(|v| (v.field, v.description))))
}

/// The second check, now that it is known whose the resource is. What the caller may not see answers as `hidden`: as
/// what does not exist.
fn allowed(context: &CallContext, owner: Owner<'_>, hidden: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
    permit(&context.principal, context.grant, owner).map_err(|denied| match denied {
        Denied::Hidden => hidden(),
        Denied::Role | Denied::Scope(_) => denied.into(),
    })
}

/// The page of at most `limit` entities, and its last one where there are more behind it.
fn page<T>(found: &[T], limit: usize) -> (&[T], Option<&T>) {
    match found.get(..limit) {
        Some(shown) if found.len() > limit => (shown, shown.last()),
        _ => (found, None),
    }
}

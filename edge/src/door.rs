//! Who is let in on the operators' port where more is asked for than anybody may see: an administrator, whose credential has the scope.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use docket_audit::{Audit, Denial};
use docket_engine::access::{Grant, Owner, Principal, Reach, Scope, permit};
use tonic::Code;

use crate::{CallContext, audit, console::Client, errors::Refusal, gate::Gate};

/// Who may: an administrator whose credential has the scope, as with `docket verify`.
const GRANT: Grant = Grant {
    scope: Scope::Operations,
    customer: Reach::Nothing,
    service: Reach::Nothing,
    admin: Reach::Everything,
};

/// The headers that say who asks.
static CREDENTIALS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), header::AUTHORIZATION];

/// The way in to an open node.
pub(crate) struct Door {
    gate: Arc<Gate>,
    pub(crate) audit: Audit,
    /// Its id.
    pub(crate) node: u64,
}

impl Door {
    pub(crate) fn new(gate: Arc<Gate>, audit: Audit, node: u64) -> Self {
        Self { gate, audit, node }
    }

    /// Whether this caller may. Whoever may not is recorded.
    pub(crate) async fn admit(
        &self,
        action: &'static str,
        (client, headers): (Client, &HeaderMap),
    ) -> Result<Arc<Principal>, Refusal> {
        let address = Some(client.0.ip());
        self.let_in(headers, client).await.map_err(|denied| {
            let (refusal, principal) = *denied;
            self.audit.denied(Denial {
                who: match &principal {
                    Some(principal) => audit::who(principal, address),
                    None => audit::nobody(address),
                },
                action: action.to_owned(),
                target: String::new(),
                reason: refusal.reason().to_owned(),
                outcome: audit::outcome_of(&refusal),
            });
            refusal
        })
    }

    /// The call of whoever was let in, for who records a change.
    pub(crate) fn context(principal: &Arc<Principal>, client: Client) -> CallContext {
        CallContext {
            principal: Arc::clone(principal),
            grant: &GRANT,
            deadline: None,
            trace: None,
            address: Some(client.0.ip()),
            scope: None,
        }
    }

    async fn let_in(&self, headers: &HeaderMap, client: Client) -> Result<Arc<Principal>, NotLetIn> {
        let sent = CREDENTIALS.iter().flat_map(|name| {
            let values = headers.get_all(name).iter();
            values.map(move |value| (name.clone(), value.clone()))
        });
        let credentials: HeaderMap<HeaderValue> =
            sent.fold(HeaderMap::new(), |mut all, (name, mut value)| {
                value.set_sensitive(true);
                all.append(name, value);
                all
            });
        let known = self.gate.whose(credentials, client.0).await;
        let principal = known.map_err(|refusal| Box::new((refusal, None)))?;
        match permit(&principal, &GRANT, Owner::Nobody) {
            Ok(()) => Ok(principal),
            Err(denied) => Err(Box::new((denied.into(), Some(principal)))),
        }
    }
}

/// Why somebody may not, and who that is, where it is known.
type NotLetIn = Box<(Refusal, Option<Arc<Principal>>)>;

/// Of a node that is not open yet, or that has failed: what it says of that itself.
pub(crate) fn unopened(reasons: &[String]) -> Refusal {
    let why = match reasons {
        [] => "the node is being opened".to_owned(),
        reasons => reasons.join("; "),
    };
    let message = format!("{why}: it does not know who may have this");
    Refusal::new(Code::Unavailable, "NOT_OPEN", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_open_or_has_failed_says_why() {
        let message = |reasons: &[String]| unopened(reasons).into_rpc_status().message;
        let failed = "the node has failed: the disk is full";
        assert!(message(&[failed.to_owned()]).starts_with(failed));
        assert!(message(&[]).contains("being opened"));
    }
}

//! What of the calls is recorded: every change that one makes to accounts, keys, webhooks, nodes and the like, and everybody who is denied.
//!
//! ```text
//!  an administrator's  ─▶ "begun", synced ─▶ done ─▶ "done", synced ─▶ answered
//!  anybody else's      ─────────────────────▶ done ─▶ "done", synced ─▶ answered
//! ```
//! So there is no change of an administrator's without a record, whenever the node stops. Where nothing can be recorded nothing is changed; orders
//! are no matter of this log, and go on.

use std::{net::IpAddr, time::Duration};

use docket_audit::{Audit, AuditError, Denial, Entry, Outcome, Who};
use docket_engine::access::{Credential, Principal, Role};
use docket_proto::api::auth::api_key_name;
use tonic::Code;

use crate::{CallContext, Refusal};

/// When to come back where nothing can be recorded: somebody has to see to the disk.
const RETRY: Duration = Duration::from_secs(5);

/// Why a change is refused then.
const UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// Why whoever asked is not told whether it was done.
const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// Who calls.
pub(crate) fn who(principal: &Principal, address: Option<IpAddr>) -> Who {
    Who {
        account: principal.account.to_string(),
        credential: match principal.credential {
            Credential::Session(session) => format!("sessions/{session}"),
            Credential::ApiKey(key) => api_key_name(key),
        },
        role: principal.role.to_string(),
        ..nobody(address)
    }
}

/// Whoever calls from there, and is not known.
pub(crate) fn nobody(address: Option<IpAddr>) -> Who {
    Who {
        peer: address
            .map(|address| address.to_canonical().to_string())
            .unwrap_or_default(),
        ..Who::default()
    }
}

/// Whether somebody is told so that may not.
pub(crate) fn is_denial(code: Code) -> bool {
    matches!(code, Code::PermissionDenied | Code::Unauthenticated)
}

/// What came of what was answered so: of what may have been done the log does not say that it was not.
pub(crate) fn outcome_of(refusal: &Refusal) -> Outcome {
    match refusal.reason() {
        OUTCOME_UNKNOWN => Outcome::Unknown,
        _ if is_denial(refusal.code()) => Outcome::Denied,
        _ => Outcome::Refused,
    }
}

/// A change that somebody asks for: what is recorded of it.
///
/// ```ignore
/// Change::of(&context, "node.drain", "nodes/3").run(&audit, async { … }).await
/// ```
#[must_use = "nothing is changed, and nothing recorded, before it is run"]
pub(crate) struct Change {
    entry: Entry,
    who: Who,
    is_admin: bool,
    action: &'static str,
}

impl Change {
    /// Somebody asks for this to be done to that.
    pub(crate) fn of(context: &CallContext, action: &'static str, target: impl Into<String>) -> Self {
        let who = who(&context.principal, context.address);
        let mut entry = Entry::new(who.clone(), action, target);
        if let Some(trace) = context.trace {
            entry = entry.trace(trace.to_string());
        }
        Self {
            entry,
            who,
            is_admin: context.principal.role == Role::Admin,
            action,
        }
    }

    /// The id of the request.
    pub(crate) fn request_id(mut self, id: Option<&str>) -> Self {
        self.entry = self.entry.request_id(id.unwrap_or_default());
        self
    }

    /// More about it.
    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.entry = self.entry.detail(name, value);
        self
    }

    /// Does it, and records what came of it.
    pub(crate) async fn run<T>(
        self,
        audit: &Audit,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.run_and_tell(audit, work, |_, entry| entry).await
    }

    /// The same; `tell` adds what is known only once it is done.
    pub(crate) async fn run_and_tell<T>(
        self,
        audit: &Audit,
        work: impl Future<Output = Result<T, Refusal>>,
        tell: impl FnOnce(&T, Entry) -> Entry,
    ) -> Result<T, Refusal> {
        let Self {
            entry,
            who,
            is_admin,
            action,
        } = self;
        let begun = match is_admin {
            true => audit.record(entry.clone().outcome(Outcome::Begun, "")).await,
            false => audit.check(),
        };
        if let Err(error) = begun {
            // Recorded when that can be done again.
            audit.note(entry.outcome(Outcome::Refused, UNAVAILABLE));
            return Err(not_begun(&error));
        }
        let mut waited = Waited {
            audit,
            entry: Some(entry),
        };
        let done = work.await;
        let Some(entry) = waited.entry.take() else {
            return done;
        };
        match &done {
            Ok(value) => {
                let entry = tell(value, entry);
                if let Err(error) = audit.record(entry.clone()).await {
                    audit.note(entry);
                    return Err(not_recorded(&error));
                }
            }
            // It may have been done.
            Err(refusal) if outcome_of(refusal) == Outcome::Unknown => {
                audit.note(entry.outcome(Outcome::Unknown, refusal.reason()));
            }
            // What is refused costs nothing: whoever is no administrator has it counted, as denials are.
            Err(refusal) if is_admin => audit.note(entry.outcome(Outcome::Refused, refusal.reason())),
            // The node that was called records those.
            Err(refusal) if is_denial(refusal.code()) => {}
            Err(refusal) => audit.denied(Denial {
                who,
                action: action.to_owned(),
                target: String::new(),
                reason: refusal.reason().to_owned(),
                outcome: Outcome::Refused,
            }),
        }
        done
    }
}

/// Records that nobody waited for what came of a change.
struct Waited<'a> {
    audit: &'a Audit,
    entry: Option<Entry>,
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.note(entry.outcome(Outcome::Unknown, "NOT_WAITED_FOR"));
        }
    }
}

fn not_begun(error: &AuditError) -> Refusal {
    tracing::error!(%error, "a change was refused that cannot be recorded");
    let message = format!(
        "nothing was done: this node cannot write its audit log ({})",
        error.told()
    );
    Refusal::new(Code::Unavailable, UNAVAILABLE, message).retry(RETRY)
}

fn not_recorded(error: &AuditError) -> Refusal {
    tracing::error!(%error, "a change was made and its end not recorded");
    let message = format!(
        "it was done, and this node could not write so into its audit log ({})",
        error.told()
    );
    Refusal::new(Code::Unavailable, UNAVAILABLE, message)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use docket_audit::{AuditOptions, Record, verify};
    use docket_engine::access::{ApiKeyId, METHOD_TABLE, Scope, Scopes, Username};

    use super::*;

    /// A change by somebody of this role.
    fn change(role: Role) -> Change {
        let context = CallContext {
            principal: Arc::new(Principal {
                account: Username::new("bob").unwrap(),
                role,
                scopes: Scopes::of(&Scope::ALL),
                customer: None,
                credential: Credential::ApiKey(ApiKeyId([7; 12])),
            }),
            grant: METHOD_TABLE.iter().find_map(|rule| rule.grant.as_ref()).unwrap(),
            deadline: None,
            trace: None,
            address: None,
            scope: None,
        };
        Change::of(&context, "key.revoke", "apiKeys/7")
    }

    fn records(folder: &Path) -> Vec<Record> {
        let mut records = Vec::new();
        verify::read(folder, &[], |record, _| records.push(record.clone())).unwrap();
        records
    }

    #[tokio::test]
    async fn what_may_have_been_done_is_not_said_to_be_refused() {
        for role in [Role::Admin, Role::Customer] {
            for (reason, outcome) in [
                ("OUTCOME_UNKNOWN", Outcome::Unknown),
                ("API_KEY_NOT_FOUND", Outcome::Refused),
            ] {
                let folder = tempfile::tempdir().unwrap();
                let audit = Audit::open(folder.path(), 1, AuditOptions::default()).unwrap();
                let done = async { Err::<(), _>(Refusal::new(Code::Unavailable, reason, "of a test")) };
                change(role).run(&audit, done).await.unwrap_err();
                audit.close().await;
                let last = records(folder.path()).pop().unwrap();
                assert_eq!((last.outcome, &*last.reason), (outcome, reason), "{role:?}");
            }
        }
    }
}

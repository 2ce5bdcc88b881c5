//! A client's call on its way to the node that does it, and what became of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use docket_engine::{
    CustomerId,
    access::{ApiKeyId, Credential, Principal, Role, Scope, SessionId, Username},
};
use prost::Message;

use super::{BadCall, VERSION, known, malformed};
use crate::{peer as pb, wire};

/// A client's call on its way to where it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The method's path.
    pub method: String,
    /// The request.
    pub message: Bytes,
    /// Who calls; `None` for methods that need no credentials.
    pub principal: Option<Arc<Principal>>,
    /// The client's IP address.
    pub address: String,
    /// W3C trace context; empty where there is none.
    pub traceparent: String,
}

/// The same before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Forwardable<'a> {
    /// The method's path.
    pub method: &'a str,
    /// The request.
    pub message: &'a [u8],
    /// Who calls; `None` for methods that need no credentials.
    pub principal: Option<&'a Principal>,
    /// The client's IP address.
    pub address: &'a str,
    /// W3C trace context; empty where there is none.
    pub traceparent: &'a str,
}

impl Forwardable<'_> {
    /// The call's bytes: a `ForwardRequest`, written at once, since most orders of a cluster come to another node than their leader.
    pub fn encode(&self) -> Bytes {
        let texts = self.method.len() + self.address.len() + self.traceparent.len();
        let mut out = Vec::with_capacity(self.message.len() + texts + HEAD_BYTES);
        wire::number(&mut out, 1, u64::from(VERSION));
        wire::text(&mut out, 2, self.method);
        if !self.message.is_empty() {
            wire::bytes(&mut out, 3, self.message);
        }
        if let Some(principal) = self.principal {
            wire::nested(&mut out, 4, |out| put_principal(principal, out));
        }
        wire::text(&mut out, 5, self.address);
        wire::text(&mut out, 6, self.traceparent);
        out.into()
    }
}

/// What a call has beside its message and its texts, in bytes, with a principal of usual length.
const HEAD_BYTES: usize = 160;

impl Forward {
    /// The call in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes, principals: &Principals) -> Result<Self, BadCall> {
        let request = pb::ForwardRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        Ok(Self {
            method: request.method,
            message: request.message,
            principal: match request.principal.is_empty() {
                true => None,
                false => Some(principals.of(&request.principal)?),
            },
            address: request.address,
            traceparent: request.traceparent,
        })
    }
}

/// Who has called lately, by the bytes that say so: few make many calls. It says nothing of whether they still may.
#[derive(Debug, Default)]
pub struct Principals(Mutex<HashMap<Bytes, Arc<Principal>>>);

/// How many are remembered before all are forgotten.
const PRINCIPALS_MAX: usize = 1_024;

impl Principals {
    fn of(&self, bytes: &Bytes) -> Result<Arc<Principal>, BadCall> {
        // Nobody panics while it is held, and a map that is half changed has no wrong entry.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(principal) = known.get(bytes) {
            return Ok(Arc::clone(principal));
        }
        let taken = pb::ForwardPrincipal::decode(bytes.clone()).map_err(malformed)?;
        let principal = Arc::new(take_principal(&taken)?);
        if known.len() >= PRINCIPALS_MAX {
            known.clear();
        }
        // A copy, which does not keep all that arrived with it.
        known.insert(Bytes::copy_from_slice(bytes), Arc::clone(&principal));
        Ok(principal)
    }
}

/// What became of a forwarded call.
pub fn encode_forwarded(result: pb::forward_reply::Result) -> Bytes {
    let reply = pb::ForwardReply { result: Some(result) };
    reply.encode_to_vec().into()
}

/// The same taken apart.
///
/// # Errors
/// Where there is nothing that this program knows.
pub fn decode_forwarded(body: Bytes) -> Result<pb::forward_reply::Result, BadCall> {
    let reply = pb::ForwardReply::decode(body).map_err(malformed)?;
    reply.result.ok_or(BadCall::Field("result"))
}

/// Writes a `ForwardPrincipal`.
fn put_principal(principal: &Principal, out: &mut Vec<u8>) {
    wire::text(out, 1, principal.account.as_str());
    wire::text(out, 2, principal.role.as_str());
    if let Some(customer) = &principal.customer {
        wire::text(out, 3, customer.as_str());
    }
    for scope in principal.scopes.iter() {
        wire::element(out, 4, scope.as_str());
    }
    match principal.credential {
        Credential::Session(SessionId(id)) => wire::bytes(out, 5, &id),
        Credential::ApiKey(ApiKeyId(id)) => wire::bytes(out, 6, &id),
    }
}

fn take_principal(taken: &pb::ForwardPrincipal) -> Result<Principal, BadCall> {
    use pb::forward_principal::Credential as C;
    let role = Role::ALL.into_iter().find(|role| role.as_str() == taken.role);
    let customer = match taken.customer.as_str() {
        "" => None,
        id => Some(CustomerId::new(id).map_err(|_| BadCall::Field("customer"))?),
    };
    // A scope that is not known here opens nothing here.
    let scopes = Scope::ALL
        .into_iter()
        .filter(|scope| taken.scopes.iter().any(|name| name == scope.as_str()));
    let credential = match taken.credential.as_ref().ok_or(BadCall::Field("credential"))? {
        C::Session(id) => id[..].try_into().ok().map(SessionId).map(Credential::Session),
        C::ApiKey(id) => id[..].try_into().ok().map(ApiKeyId).map(Credential::ApiKey),
    };
    Ok(Principal {
        account: Username::new(&taken.account).map_err(|_| BadCall::Field("account"))?,
        role: role.ok_or(BadCall::Field("role"))?,
        customer,
        scopes: scopes.collect(),
        credential: credential.ok_or(BadCall::Field("credential"))?,
    })
}

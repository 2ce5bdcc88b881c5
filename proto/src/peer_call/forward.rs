//! A client's call on its way to the node that does it, and what became of it.

use bytes::Bytes;
use docket_engine::{
    CustomerId,
    access::{ApiKeyId, Credential, Principal, Role, Scope, SessionId, Username},
};
use prost::Message;

use super::{BadCall, VERSION, known, malformed};
use crate::{ReceivedOrder, peer as pb, wire};

/// A client's call on its way to where it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The method's path.
    pub method: String,
    /// The request.
    pub message: Bytes,
    /// Who calls; `None` for methods that need no credentials.
    pub principal: Option<ForwardedPrincipal>,
    /// The client's IP address.
    pub address: String,
    /// W3C trace context; empty where there is none.
    pub traceparent: String,
    /// What belongs to it; empty where there is none.
    pub tracestate: String,
}

/// A principal on its way to another node. Whoever makes many calls is written once, and read once by who remembers what the bytes were.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardedPrincipal(Bytes);

impl ForwardedPrincipal {
    /// Writes a principal.
    pub fn of(principal: &Principal) -> Self {
        Self(put_principal(principal).encode_to_vec().into())
    }

    /// The principal.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(&self) -> Result<Principal, BadCall> {
        let taken = pb::ForwardPrincipal::decode(&*self.0).map_err(malformed)?;
        take_principal(&taken)
    }

    /// The same in memory of its own: what was received holds on to all that came with it.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Forward {
    /// The call's bytes.
    pub fn encode(self) -> Bytes {
        let request = pb::ForwardRequest {
            version: VERSION,
            method: self.method,
            message: self.message,
            principal: self.principal.map(|principal| principal.0).unwrap_or_default(),
            address: self.address,
            traceparent: self.traceparent,
            tracestate: self.tracestate,
        };
        request.encode_to_vec().into()
    }

    /// The bytes of the call that has an order placed, with as few copies as there can be: tens of thousands are written in a second.
    pub fn encode_order(
        method: &str,
        order: &ReceivedOrder,
        principal: &ForwardedPrincipal,
        (traceparent, tracestate): (&str, &str),
    ) -> Bytes {
        // Keys and lengths.
        const FRAMES: usize = 32;
        let parts = method.len() + order.bytes() + principal.0.len() + traceparent.len() + tracestate.len();
        let mut out = Vec::with_capacity(parts + FRAMES);
        wire::number(&mut out, 1, VERSION.into());
        wire::text(&mut out, 2, method);
        wire::nested(&mut out, 3, |out| order.write(out));
        wire::data(&mut out, 4, &principal.0);
        wire::text(&mut out, 6, traceparent);
        wire::text(&mut out, 7, tracestate);
        out.into()
    }

    /// The call in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let request = pb::ForwardRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        Ok(Self {
            method: request.method,
            message: request.message,
            principal: Some(ForwardedPrincipal(request.principal))
                .filter(|principal| !principal.0.is_empty()),
            address: request.address,
            traceparent: request.traceparent,
            tracestate: request.tracestate,
        })
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

fn put_principal(principal: &Principal) -> pb::ForwardPrincipal {
    use pb::forward_principal::Credential as C;
    let credential = match principal.credential {
        Credential::Session(SessionId(id)) => C::Session(Bytes::copy_from_slice(&id)),
        Credential::ApiKey(ApiKeyId(id)) => C::ApiKey(Bytes::copy_from_slice(&id)),
    };
    pb::ForwardPrincipal {
        account: principal.account.as_str().to_owned(),
        role: principal.role.as_str().to_owned(),
        customer: principal
            .customer
            .as_ref()
            .map_or_else(String::new, |customer| customer.as_str().to_owned()),
        scopes: principal
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        credential: Some(credential),
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

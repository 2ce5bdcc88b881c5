//! Calls that the node makes to its own services for somebody whom it knows: the console's.
//!
//! They pass what every call passes: the caller's bucket, admission, the table of permissions, a deadline; what is led elsewhere is done
//! there. They are counted by themselves, so that who looks at the traffic does not see itself.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use docket_engine::access::{Owner, Principal, permit};
use docket_proto::peer::forward_reply::Result as Forwarded;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Request, header};
use prost::Message;
use tokio::time::timeout_at;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    CallContext, GRPC_CONTENT_TYPE, Gate, RequestBody,
    admission::Bound,
    forward::{frame, is_keyed, take_status, taken},
    limits::Access,
    methods::{Flow, Method},
    panicked,
};
use crate::{audit::is_denial, auth::AuthError, errors::Refusal, telemetry};

/// The header of API keys.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

impl Gate {
    /// Whose API key this is. What does not hold is counted, and its address braked, as that of a call is.
    pub(crate) async fn log_in(
        &self,
        mut key: HeaderValue,
        address: SocketAddr,
    ) -> Result<Arc<Principal>, Refusal> {
        key.set_sensitive(true);
        self.whose(HeaderMap::from_iter([(API_KEY, key)]), address).await
    }

    /// Whose the credential in these headers is, which have nothing else in them. What does not hold is counted, as that of a call is.
    pub(crate) async fn whose(
        &self,
        headers: HeaderMap,
        address: SocketAddr,
    ) -> Result<Arc<Principal>, Refusal> {
        let (started, address, mut left) = (Instant::now(), address.ip(), None);
        self.take(|limits| limits.take_address(address), &mut left)?;
        self.take(|limits| limits.take_access(address, Access::Open), &mut left)?;
        if let Some(barred) = self.limits.barred(address) {
            let known = self.authenticator.known(&headers);
            return known.ok_or_else(|| self.empty(*barred, &mut left));
        }
        let mut found = self.authenticator.authenticate(&headers);
        if let Some(forwarder) = &self.forwarder
            && let Err(error) = &found
            && error.reason == AuthError::Invalid.reason()
        {
            // It may have been made at another node, a moment ago.
            forwarder.catch_up(started).await;
            found = self.authenticator.authenticate(&headers);
        }
        found.or_else(|error| {
            self.telemetry.unauthenticated(error.reason);
            self.take(|limits| limits.take_failure(address), &mut left)?;
            Err(error.into())
        })
    }

    /// Whether an address may look at what asks for no credentials, once more.
    pub(crate) fn look(&self, address: SocketAddr) -> Result<(), Refusal> {
        let (address, mut left) = (address.ip(), None);
        self.take(|limits| limits.take_address(address), &mut left)?;
        self.take(|limits| limits.take_access(address, Access::Open), &mut left)
    }

    /// What is told where there is no room for a reply.
    pub(crate) fn no_room(&self, full: Bound) -> Refusal {
        self.telemetry.denied(full.limiter());
        self.admission.refusal(full)
    }

    /// Under which name what failed is logged, and told.
    pub(crate) fn incident(&self) -> String {
        self.telemetry.incident()
    }

    /// Asks a method of the contract for a caller that is known.
    pub(crate) async fn ask<Q, A>(
        &self,
        (principal, address): (&Arc<Principal>, SocketAddr),
        path: &'static str,
        message: &Q,
        deadline: Instant,
    ) -> Result<A, Status>
    where
        Q: Message,
        A: Message + Default,
    {
        let found = self.methods.find(path);
        let found = found.filter(|(_, method)| method.flow == Flow::Unary);
        let answer = match found {
            Some((_, method)) => {
                self.do_inside((principal, address), method, message.encode_to_vec(), deadline)
                    .await
            }
            None => {
                let refusal = Refusal::new(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method");
                Err(refusal.with("method", path).into())
            }
        };
        let answer = answer.and_then(|bytes| {
            A::decode(&*bytes)
                .map_err(|error| Refusal::unreadable(&Status::internal(error.to_string())).into())
        });
        if let (Some((row, _)), Err(status)) = (found, &answer)
            && is_denial(status.code())
        {
            let reason = status.get_details_error_info().map(|info| info.reason);
            let (caller, reason) = ((&**principal, address.ip()), reason.unwrap_or_default());
            self.telemetry.denied_to(Ok(caller), row, status.code(), reason);
        }
        telemetry::console_call(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer
    }

    async fn do_inside(
        &self,
        (principal, address): (&Arc<Principal>, SocketAddr),
        method: &Method,
        message: Vec<u8>,
        deadline: Instant,
    ) -> Result<bytes::Bytes, Status> {
        let mut left = None;
        self.take(|limits| limits.take_principal(principal), &mut left)?;
        let permit_to_run = self
            .admission
            .admit(method.kind(), message.len())
            .map_err(|full| {
                self.telemetry.denied(full.limiter());
                self.admission.refusal(full)
            })?;
        // Only what asks for credentials is asked here.
        let Some(grant) = &method.rule.grant else {
            return Err(
                Refusal::new(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method").into(),
            );
        };
        permit(principal, grant, Owner::Unread).map_err(Refusal::from)?;
        permit_to_run.begin();
        let body = RequestBody::whole(
            frame(&message.into()),
            Arc::new(permit_to_run),
            Arc::clone(&self.telemetry),
        );
        let mut request = Request::new(body);
        *request.method_mut() = HttpMethod::POST;
        *request.uri_mut() = http::Uri::from_static(method.rule.path);
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        request.extensions_mut().insert(CallContext {
            principal: Arc::clone(principal),
            grant,
            deadline: Some(deadline),
            trace: None,
            address: Some(address.ip()),
            scope: None,
        });
        let answer = async {
            let response = match &self.forwarder {
                Some(forwarder) if is_keyed(method.rule.path) => {
                    let route = (method.rule.path, &*method.route);
                    forwarder.serve(route, request, address, deadline).await
                }
                _ => match method.route.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
            };
            match taken(response).await {
                Forwarded::Message(message) => Ok(message),
                Forwarded::Status(status) => Err(take_status(status)),
                // No service says so.
                Forwarded::NotLeader(_) => Err(Refusal::stopping().into()),
            }
        };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        match timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => Err(panicked(&self.telemetry, method.rule.path).into()),
            Err(_elapsed) => Err(Refusal::deadline().into()),
        }
    }
}

//! The methods that are served: a row of the permission table each, and the service behind it.

use std::{convert::Infallible, sync::Arc};

use docket_engine::access::{METHOD_TABLE, MethodRule};
use http::{Request, Response};
use tonic::{codegen::BoxFuture, server::NamedService};
use tower::Service;

use super::{RequestBody, admission::Kind, limits::Access};

/// Methods whose requests or replies are streams.
const STREAMS: [&str; 7] = [
    "/docket.v1.BackupService/ReadBackup",
    "/docket.v1.OrderService/PlaceOrders",
    "/docket.v1.OrderService/WatchOrders",
    "/docket.v1.StandbyService/FollowLogs",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// The order as a call.
pub(crate) const PLACE_ORDER: &str = "/docket.v1.OrderService/PlaceOrder";
/// What sends an order, or what is planned of it.
pub(crate) const SHIP_ORDER: &str = "/docket.v1.OrderService/ShipOrder";
const REMOVE_NODE: &str = "/docket.v1.NodeService/RemoveNode";
/// Services that must answer when the node has more to do than it can, since they tell how it is.
const PROBES: [&str; 2] = ["/grpc.health.v1.Health/", "/docket.v1.NodeService/"];
/// Calls that take as long as what there is to look through: their clients say how long they wait, and services how many go on at a time.
const LONG: [&str; 1] = ["/docket.v1.NodeService/VerifyBooks"];

/// Services of which nothing is written to the logs but what the node's own part in its cluster is.
const NO_WRITES: [&str; 3] = [
    "/grpc.",
    "/docket.v1.BackupService/",
    "/docket.v1.StandbyService/",
];

/// Whether a method changes something that a standby, or a cluster that was fenced, may not change.
fn writes(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let reads = ["Get", "List", "BatchGet", "Watch", "Verify"];
    !NO_WRITES.iter().any(|service| path.starts_with(service))
        && !reads.iter().any(|verb| name.starts_with(verb))
}

/// Whether a method is one question and one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It is.
    Unary,
    /// Its requests or its replies are streams.
    Stream,
}

/// A method that is served.
pub(crate) struct Method {
    pub(crate) rule: &'static MethodRule,
    pub(crate) flow: Flow,
    /// Tells how the node is.
    pub(crate) probe: bool,
    /// Takes longer than other calls may.
    pub(crate) long: bool,
    /// Changes something: refused where the node leads nothing.
    pub(crate) writes: bool,
    /// The same, but for a cluster that was fenced: a node of it that is gone can be removed, since its standby waits for all to let go.
    pub(crate) ends_fenced: bool,
    pub(crate) route: Arc<Route>,
}

impl Method {
    /// What it asks of its caller.
    pub(crate) fn access(&self) -> Access {
        match self.rule.grant {
            Some(_) => Access::Credentials,
            None if self.probe => Access::Probe,
            None => Access::Open,
        }
    }

    /// What a call of it counts as.
    pub(crate) fn kind(&self) -> Kind {
        match (self.flow, self.rule.grant.is_some()) {
            (Flow::Stream, true) => Kind::Stream,
            (Flow::Stream, false) => Kind::OpenStream,
            (Flow::Unary, _) if self.probe => Kind::Probe,
            (Flow::Unary, true) if self.rule.path == PLACE_ORDER => Kind::Order,
            (Flow::Unary, true) => Kind::Call,
            (Flow::Unary, false) => Kind::OpenCall,
        }
    }
}

/// A tonic service, ready to be called.
pub(crate) struct Route(Box<dyn Fn(Request<RequestBody>) -> RouteFuture + Send + Sync>);

type RouteFuture = BoxFuture<Response<tonic::body::Body>, Infallible>;

impl Route {
    /// The route of a generated service, with the service's name.
    pub(crate) fn of<S>(service: S) -> (&'static str, Self)
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: Service<Request<RequestBody>, Response = Response<tonic::body::Body>, Error = Infallible>,
        S: Service<Request<RequestBody>, Future = RouteFuture>,
    {
        (
            S::NAME,
            Self(Box::new(move |request| service.clone().call(request))),
        )
    }

    pub(super) fn call(&self, request: Request<RequestBody>) -> RouteFuture {
        (self.0)(request)
    }
}

/// Two services of one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the service {0} is served twice")]
pub(crate) struct ServedTwice(&'static str);

/// Every method, in the rows of the permission table. A row whose service is not served has none.
pub(crate) struct Methods(Vec<Option<Method>>);

impl Methods {
    pub(super) fn new(routes: Vec<(&'static str, Route)>) -> Result<Self, ServedTwice> {
        let mut served: Vec<(&'static str, Arc<Route>)> = Vec::with_capacity(routes.len());
        for (name, route) in routes {
            if served.iter().any(|(other, _)| *other == name) {
                return Err(ServedTwice(name));
            }
            served.push((name, Arc::new(route)));
        }
        let method = |rule: &'static MethodRule| {
            let service = rule.path.strip_prefix('/')?.split('/').next()?;
            let (_, route) = served.iter().find(|(name, _)| *name == service)?;
            let flow = if STREAMS.contains(&rule.path) {
                Flow::Stream
            } else {
                Flow::Unary
            };
            let long = LONG.contains(&rule.path);
            let probe = !long && PROBES.iter().any(|service| rule.path.starts_with(service));
            Some(Method {
                rule,
                flow,
                probe,
                long,
                writes: writes(rule.path),
                ends_fenced: rule.path == REMOVE_NODE,
                route: Arc::clone(route),
            })
        };
        Ok(Self(METHOD_TABLE.iter().map(method).collect()))
    }

    /// The method of a path, with its row. What has no row in the permission table is not served at all.
    pub(super) fn find(&self, path: &str) -> Option<(usize, &Method)> {
        let row = METHOD_TABLE.binary_search_by(|rule| rule.path.cmp(path)).ok()?;
        Some((row, self.0.get(row)?.as_ref()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_what_takes_long_are_in_the_contract() {
        for path in [PLACE_ORDER].into_iter().chain(LONG) {
            assert!(METHOD_TABLE.iter().any(|rule| rule.path == path), "{path}");
        }
    }

    #[test]
    fn the_streams_are_those_of_the_contract() {
        use prost::Message;
        let set = prost_types::FileDescriptorSet::decode(docket_proto::FILE_DESCRIPTOR_SET).unwrap();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let streams = method.client_streaming() || method.server_streaming();
                    assert_eq!(STREAMS.contains(&path.as_str()), streams, "{path}");
                }
            }
        }
    }
}

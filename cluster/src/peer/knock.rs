//! How a node that knows nobody meets the cluster: it connects to an address, hears whose it is, and holds the certificate against that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use docket_proto::peer::peer_client::PeerClient;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use super::dial::dial_at;
use super::link::{Greeted, channel, greet};
use super::service::ANYBODY;
use super::{Own, PeerError, tls};
use crate::NodeId;
use crate::limits::PEER_CONNECT_MS;

/// Somebody who was met.
pub(crate) struct Met {
    /// Who it is.
    pub(crate) node: NodeId,
    /// Where.
    pub(crate) address: SocketAddr,
    pub(crate) client: PeerClient<Channel>,
}

/// Connects to an address, `HOST:PORT`, and hears who is there: another node of this cluster, or an error. A name may have several
/// addresses, this node's own among them: they are tried one after the other.
pub(crate) async fn meet(own: &Own, address: &str) -> Result<Met, PeerError> {
    let nobody = |cause: &dyn std::fmt::Display| PeerError::Nobody {
        address: address.to_owned(),
        cause: cause.to_string(),
    };
    let limit = Duration::from_millis(PEER_CONNECT_MS);
    let late = |_elapsed| nobody(&format_args!("no answer within {limit:?}"));
    let found = timeout(limit, lookup_host(address)).await.map_err(late)?;
    let mut last = nobody(&"the name has no address");
    for found in found.map_err(|error| nobody(&error))? {
        match timeout(limit, connect(own, found)).await.map_err(late) {
            Ok(Ok(met)) if met.node != own.node_id => return Ok(met),
            Ok(Ok(_)) => last = nobody(&"only this node is there"),
            // Who is no part of the cluster hears it from anybody.
            Ok(Err(expelled @ PeerError::Expelled { .. })) => return Err(expelled),
            Ok(Err(error)) | Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(own: &Own, address: SocketAddr) -> Result<Met, PeerError> {
    let nobody = |cause: &dyn std::fmt::Display| PeerError::Nobody {
        address: address.to_string(),
        cause: cause.to_string(),
    };
    if let Some(net) = &own.net {
        let at = address.to_string();
        let wire = net.connect(&at).await.map_err(|error| nobody(&error))?;
        let channel = channel(wire).await.map_err(|error| nobody(&error))?;
        let Greeted { client, node, .. } = greet(own, NodeId(ANYBODY), &at, channel).await?;
        return Ok(Met {
            node,
            address,
            client,
        });
    }
    let tcp = dial_at(own.listen, address)
        .await
        .map_err(|error| nobody(&error))?;
    // Without it small messages wait for acknowledgements; a socket that refuses it works, slowly.
    let _ = tcp.set_nodelay(true);
    // The name is not asked for: who is there is not known yet. The signature of the authority is.
    let name = tls::server_name(&own.cluster_id, own.node_id)?;
    let stream = TlsConnector::from(Arc::clone(&own.ends().anybody))
        .connect(name, tcp)
        .await
        .map_err(|error| nobody(&error))?;
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain
        .and_then(<[_]>::first)
        .map(|first| first.clone().into_owned());
    let certificate = certificate.ok_or_else(|| nobody(&"it shows no certificate"))?;
    let channel = channel(stream).await.map_err(|error| nobody(&error))?;
    let Greeted { client, node, .. } = greet(own, NodeId(ANYBODY), &address.to_string(), channel).await?;
    tls::check_node(&certificate, &own.cluster_id, node)?;
    Ok(Met {
        node,
        address,
        client,
    })
}

//! How a node that knows nobody meets the cluster: it connects to an address, hears whose it is, and holds the certificate against that.

use std::sync::Arc;
use std::time::Duration;

use docket_proto::peer::peer_client::PeerClient;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

use super::link::{channel, greet};
use super::service::ANYBODY;
use super::{Own, PeerError, tls};
use crate::NodeId;
use crate::limits::PEER_CONNECT_MS;

/// Somebody who was met.
pub(crate) struct Met {
    /// Who it is.
    pub(crate) node: NodeId,
    pub(crate) client: PeerClient<Channel>,
}

/// Connects to an address, `HOST:PORT`, and hears who is there: a node of this cluster, or an error.
pub(crate) async fn meet(own: &Own, address: &str) -> Result<Met, PeerError> {
    let limit = Duration::from_millis(PEER_CONNECT_MS);
    timeout(limit, connect(own, address))
        .await
        .unwrap_or_else(|_elapsed| {
            Err(PeerError::Nobody {
                address: address.to_owned(),
                cause: format!("no answer within {limit:?}"),
            })
        })
}

async fn connect(own: &Own, address: &str) -> Result<Met, PeerError> {
    let nobody = |cause: &dyn std::fmt::Display| PeerError::Nobody {
        address: address.to_owned(),
        cause: cause.to_string(),
    };
    let tcp = TcpStream::connect(address)
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
    let (client, node) = greet(own, NodeId(ANYBODY), address, channel).await?;
    tls::check_node(&certificate, &own.cluster_id, node)?;
    Ok(Met { node, client })
}

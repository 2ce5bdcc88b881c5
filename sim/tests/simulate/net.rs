//! The network between nodes: turmoil's, in place of TLS over TCP.

use std::{io, net::SocketAddr};

use docket_cluster::net::{Door, Net, Wire};
use futures::{FutureExt, future::BoxFuture};
use turmoil::net::{TcpListener, TcpStream};

/// Where a node listens for its peers.
pub const PORT: u16 = 7_000;

/// The network of the host that it is used on.
#[derive(Debug)]
pub struct Simulated;

struct Listening {
    tcp: TcpListener,
    address: SocketAddr,
}

impl Net for Simulated {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Door>>> {
        async move {
            let tcp = TcpListener::bind(address).await?;
            let address = tcp.local_addr()?;
            let door: Box<dyn Door> = Box::new(Listening { tcp, address });
            Ok(door)
        }
        .boxed()
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Wire>> {
        async move {
            let stream = TcpStream::connect(address).await?;
            let wire: Wire = Box::new(stream);
            Ok(wire)
        }
        .boxed()
    }
}

impl Door for Listening {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(Wire, SocketAddr)>> {
        async move {
            let (stream, from) = self.tcp.accept().await?;
            let wire: Wire = Box::new(stream);
            Ok((wire, from))
        }
        .boxed()
    }
}

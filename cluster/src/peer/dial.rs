//! A TCP connection to a peer.
//!
//! Nodes on one machine, each of which listens on a loopback address of its own, are told apart by it: there a connection
//! comes from the address that its node listens on. Anywhere else the system chooses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Connects to `address`, `HOST:PORT`, from a node that listens on `own`: to the first of the name's addresses that answers.
pub(super) async fn dial(own: IpAddr, address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in lookup_host(address).await? {
        match dial_at(own, found).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The same to one address.
pub(super) async fn dial_at(own: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    if !(own.is_loopback() && address.ip().is_loopback() && own.is_ipv4() == address.is_ipv4()) {
        return TcpStream::connect(address).await;
    }
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind((own, 0).into())?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn on_one_machine_a_connection_comes_from_the_address_that_its_node_listens_on() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for (own, from) in [
            (Ipv4Addr::new(127, 0, 1, 7), Ipv4Addr::new(127, 0, 1, 7)),
            // Not an address to come from: the system chooses.
            (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST),
        ] {
            let _stream = dial(own.into(), &address).await.unwrap();
            let (_, seen) = listener.accept().await.unwrap();
            assert_eq!(seen.ip(), IpAddr::from(from));
        }
    }
}

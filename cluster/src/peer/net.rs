//! What carries bytes between nodes. In every real node that is TLS over TCP, and nothing of this is used; a simulation brings a network
//! of its own, which says by itself who is at the other end.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection.
pub type Wire = Box<dyn Io>;

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A network instead of TLS over TCP: for simulations. Nothing on it is encrypted or authenticated: a node is who it says it is.
pub trait Net: fmt::Debug + Send + Sync {
    /// Listens on an address.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Door>>>;

    /// Connects to an address, `HOST:PORT`.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Wire>>;
}

/// Where others connect.
pub trait Door: Send + Sync {
    /// Where it is.
    fn address(&self) -> SocketAddr;

    /// The next connection, and where it comes from. A future that is dropped loses none.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Wire, SocketAddr)>>;
}

//! Peers whom this node neither hears nor is heard by, since somebody who tries the cluster asked for that (`docket chaos drop-peer`).
//!
//! Nothing comes through a connection to or from such a node any more: it breaks with the first byte, in either direction, and no new one is made
//! or taken. Whoever meets a node by its address alone (a node that joins) is not kept from that.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::NodeId;

/// What is said of such a node.
pub(super) const DROPPED: &str =
    "this node was told to drop what it is sent by it, and to send it nothing (docket chaos)";

/// Who is cut off.
#[derive(Default)]
pub(crate) struct Cut {
    /// Whether anybody is: looked at with every piece that is read or written.
    any: AtomicBool,
    nodes: RwLock<BTreeSet<NodeId>>,
}

impl Cut {
    pub(crate) fn is(&self, node: NodeId) -> bool {
        self.any.load(Ordering::Relaxed) && self.nodes.read().contains(&node)
    }

    pub(crate) fn set(&self, node: NodeId, is_cut: bool) {
        let mut nodes = self.nodes.write();
        match is_cut {
            true => nodes.insert(node),
            false => nodes.remove(&node),
        };
        self.any.store(!nodes.is_empty(), Ordering::Relaxed);
    }
}

/// A connection, once it is known with whom.
pub(super) struct Cuttable<S> {
    stream: S,
    cut: Arc<Cut>,
    node: Arc<OnceLock<NodeId>>,
}

impl<S> Cuttable<S> {
    pub(super) fn new(stream: S, cut: Arc<Cut>, node: Arc<OnceLock<NodeId>>) -> Self {
        Self { stream, cut, node }
    }

    pub(super) fn to(stream: S, cut: Arc<Cut>, node: NodeId) -> Self {
        Self::new(stream, cut, Arc::new(OnceLock::from(node)))
    }

    fn check(&self) -> io::Result<()> {
        match self.node.get() {
            Some(node) if self.cut.is(*node) => Err(io::Error::new(io::ErrorKind::ConnectionReset, DROPPED)),
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn nothing_comes_through_either_way_while_a_node_is_cut_off_and_others_are_heard() {
        let cut = Arc::new(Cut::default());
        for (node, heard) in [(NodeId(2), false), (NodeId(3), true)] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut near = Cuttable::to(near, cut.clone(), node);
            near.write_all(b"a").await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), b'a');
            cut.set(NodeId(2), true);
            far.write_all(b"b").await.unwrap();
            assert_eq!(near.read_u8().await.is_ok(), heard);
            assert_eq!(near.write_all(b"c").await.is_ok(), heard);
            cut.set(NodeId(2), false);
            assert!(!cut.is(NodeId(2)));
            near.write_all(b"d").await.unwrap();
        }
    }
}

//! A connection's bytes, encrypted or not, from the first bytes of HTTP/2 on.
//!
//! The first 24 bytes of a connection are read here, under the handshake's time limit: hyper would wait for them for
//! ever. They are given back when the connection is read further.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::gate::{
    Peer, ReplyData,
    brake::{PIECE_BYTES, Pause},
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// So many bytes are collected before they are written.
const OUT_BYTES: usize = 32 * 1_024;
/// A connection that has nothing to write keeps no more room than this for it.
const OUT_KEPT_BYTES: usize = 8 * 1_024;
/// What a client is told that speaks HTTP/1, such as a browser.
const NOT_HTTP2: &[u8] =
    b"HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n\
    This port speaks gRPC over HTTP/2. Status and metrics are on the admin port.\n";

/// An open connection.
pub(super) struct Io {
    stream: MaybeTls,
    /// How much of [`PREFACE`] is still to be given back.
    preface_at: usize,
    peer: Arc<Peer>,
    /// Until it is read again, where the brake is on.
    pause: Option<Pause>,
    /// What is to be written. Replies come one by one, and a write costs what a dozen of them do.
    out: Vec<u8>,
    /// How much of that is written.
    out_at: usize,
    /// Flushing was put off until others have run.
    put_off: bool,
    /// A small piece was read: what is in it comes first.
    piece_read: bool,
    /// Over HTTP/1.1: whether what is written is taken is found out here. (Over HTTP/2 there are pings.)
    finds_stuck: bool,
    /// While nothing of what is written is taken: it counts as a reply that was not.
    stuck: Option<ReplyData>,
}

enum MaybeTls {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection does not come about.
pub(super) enum HandshakeError {
    /// Not TLS, or an end of it that we do not accept.
    Tls(io::Error),
    /// Closed, or broken.
    Closed,
    /// It speaks, but not HTTP/2.
    NotHttp2,
}

impl Io {
    /// TLS where there is a certificate, then the first bytes of HTTP/2. The caller limits the time.
    pub(super) async fn establish(
        tcp: TcpStream,
        tls: Option<TlsAcceptor>,
        peer: Arc<Peer>,
    ) -> Result<Self, HandshakeError> {
        let mut stream = MaybeTls::accept(tcp, tls).await?;
        let mut preface = [0; PREFACE.len()];
        stream
            .read_exact(&mut preface)
            .await
            .map_err(|_| HandshakeError::Closed)?;
        if preface != *PREFACE {
            // Whether it can read this is its own affair.
            let _ = stream.write_all(NOT_HTTP2).await;
            let _ = stream.shutdown().await;
            return Err(HandshakeError::NotHttp2);
        }
        Ok(Self {
            preface_at: 0,
            ..Self::over(stream, peer)
        })
    }

    /// TLS where there is a certificate, and then HTTP/1.1. The caller limits the time.
    pub(super) async fn establish_http1(
        tcp: TcpStream,
        tls: Option<TlsAcceptor>,
        peer: Arc<Peer>,
    ) -> Result<Self, HandshakeError> {
        Ok(Self {
            finds_stuck: true,
            ..Self::over(MaybeTls::accept(tcp, tls).await?, peer)
        })
    }

    /// With nothing to give back.
    fn over(stream: MaybeTls, peer: Arc<Peer>) -> Self {
        Self {
            stream,
            preface_at: PREFACE.len(),
            peer,
            pause: None,
            out: Vec::new(),
            out_at: 0,
            put_off: false,
            piece_read: false,
            finds_stuck: false,
            stuck: None,
        }
    }
}

impl MaybeTls {
    async fn accept(tcp: TcpStream, tls: Option<TlsAcceptor>) -> Result<Self, HandshakeError> {
        Ok(match tls {
            None => Self::Plain(tcp),
            Some(acceptor) => Self::Tls(Box::new(acceptor.accept(tcp).await.map_err(HandshakeError::Tls)?)),
        })
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(rest @ [_, ..]) = PREFACE.get(self.preface_at..) {
            let n = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..n]);
            self.preface_at += n;
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_brake(cx));
        if !self.peer.brake.is_on() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = PIECE_BYTES.min(buf.remaining());
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(length));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        buf.advance(read);
        self.piece_read = read > 0;
        Poll::Ready(Ok(()))
    }
}

impl Io {
    /// Ready when the connection may be read further.
    fn poll_brake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.piece_read) {
            // Behind the calls that were in it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.pause.is_none() {
            self.pause = self.peer.brake.pause();
        }
        if let Some(pause) = &mut self.pause {
            ready!(Pin::new(pause).poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

impl Io {
    /// Hands what was collected to the connection.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.out.get(self.out_at..) {
            let written = Pin::new(&mut self.stream).poll_write(cx, rest);
            if written.is_ready() {
                self.stuck = None;
            } else if self.finds_stuck && self.stuck.is_none() {
                // hyper copies short replies, so that nobody else knows that they are still here.
                self.stuck = Some(ReplyData::unread(Bytes::new(), &self.peer));
            }
            let n = ready!(written)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out_at += n;
        }
        self.out_at = 0;
        self.out.clear();
        if self.out.capacity() > OUT_KEPT_BYTES {
            self.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Room for more; where there is none, what was collected goes first.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.out.len() >= OUT_BYTES {
            ready!(self.poll_drain(cx))?;
        }
        Poll::Ready(Ok(OUT_BYTES - self.out.len()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx))?;
        let n = buf.len().min(room);
        self.out.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx))?;
        let mut written = 0;
        for buf in bufs {
            let n = buf.len().min(room - written);
            self.out.extend_from_slice(&buf[..n]);
            written += n;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.out.is_empty() {
            self.put_off = !self.put_off;
            if self.put_off {
                // Behind the calls whose replies are ready by now: theirs go with these.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_drain(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for MaybeTls {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::Ipv4Addr};

    use futures::future::try_join;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{config::AdmissionConfig, gate::admission::Admission};

    #[tokio::test]
    async fn what_is_collected_is_written_whole_and_its_room_given_back() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, (stream, from)) = try_join(TcpStream::connect(address), listener.accept())
            .await
            .unwrap();
        let brake = Admission::new(AdmissionConfig::default()).brake();
        let mut io = Io::over(MaybeTls::Plain(stream), Arc::new(Peer::new(from, brake)));
        // More than fits into the system's buffers, so that some of it is written in parts.
        let reply: Vec<u8> = (0..8 * 1_024 * 1_024_u32).map(|n| (n % 251) as u8).collect();
        let reading = tokio::spawn(async move {
            let (mut client, mut read) = (client, Vec::new());
            client.read_to_end(&mut read).await.unwrap();
            read
        });
        io.write_all(&reply[..OUT_BYTES]).await.unwrap();
        assert_eq!(
            io.out.len(),
            OUT_BYTES,
            "nothing is written before it is worth it"
        );
        io.flush().await.unwrap();
        assert!(
            io.out.is_empty() && io.out.capacity() <= OUT_KEPT_BYTES,
            "it has nothing to write, and keeps {} bytes for it",
            io.out.capacity()
        );
        io.write_all(&reply[OUT_BYTES..]).await.unwrap();
        assert!(io.out.capacity() <= OUT_BYTES);
        // What was not flushed is not lost.
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
        assert!(reading.await.unwrap() == reply);
        assert!(io.out.capacity() <= OUT_KEPT_BYTES);
    }
}

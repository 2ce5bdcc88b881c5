//! Connections: HTTP/1.1, each until it ends, or the stub does.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};

use super::Stub;

/// There is no reply: the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("there is no reply")]
pub struct Gone;

impl Stub {
    /// Serves one connection, until it ends or the stub dies.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let ended = self
            .shared
            .inner
            .lock()
            .life
            .as_ref()
            .map(|life| life.ended.clone());
        let Some(ended) = ended else { return };
        let twice = Arc::new(AtomicBool::new(false));
        let echo = Echo {
            stream,
            twice: Arc::clone(&twice),
            copy: Vec::new(),
        };
        let service = service_fn(|request: Request<Incoming>| {
            let (stub, ended, twice) = (self.clone(), ended.clone(), Arc::clone(&twice));
            async move { answer(stub, ended, twice, request).await }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(echo), service);
        tokio::select! {
            () = ended.cancelled() => {}
            // How a connection ends is its caller's to see.
            _ = connection => {}
        }
    }
}

/// A request that has arrived is dealt with even where its caller has gone meanwhile: that is what being late is.
async fn answer(
    stub: Stub,
    ended: tokio_util::sync::CancellationToken,
    twice: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Gone> {
    let work = tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => Err(Gone),
            reply = stub.route(request) => reply,
        }
    });
    let reply = work.await.map_err(|_| Gone)??;
    if reply.twice {
        twice.store(true, Ordering::Relaxed);
    }
    Ok(reply.response)
}

/// A connection that can send again what it has just sent.
struct Echo<S> {
    stream: S,
    /// Whether the reply that is written now is to be sent twice.
    twice: Arc<AtomicBool>,
    copy: Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Echo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Echo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        if self.twice.load(Ordering::Relaxed) {
            self.copy.extend_from_slice(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    /// A small reply is written whole before it is flushed.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, twice, copy } = &mut *self;
        while !copy.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, copy))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            copy.drain(..written);
            twice.store(false, Ordering::Relaxed);
        }
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

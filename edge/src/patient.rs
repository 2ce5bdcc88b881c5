//! A connection that is not waited for without an end: who asks and does not take the answer would keep its place for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream whose other end takes something within a time, or is given up.
pub(crate) struct Patient<S> {
    stream: S,
    taken_within: Duration,
    /// Since nothing was taken that waits to be.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, taken_within: Duration) -> Self {
        Self {
            stream,
            taken_within,
            waits: None,
        }
    }

    /// What came of trying to have something taken; an error where that takes too long.
    fn tried<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waits = None;
            return outcome;
        }
        let taken_within = self.taken_within;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(taken_within)));
        match waits.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.tried(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.tried(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.tried(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.tried(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_now_and_then_is_not() {
        // Each pause is far below the limit, and all of them together above it.
        let (limit, pause) = (Duration::from_secs(2), Duration::from_millis(70));
        let (mut slow, stream) = duplex(4);
        let taking = async {
            let mut all = Vec::new();
            while all.len() < 40 {
                sleep(pause).await;
                all.push(slow.read_u8().await.unwrap());
            }
            all
        };
        let mut patient = Patient::new(stream, limit);
        let (sent, taken) = tokio::join!(patient.write_all(&[7; 40]), taking);
        assert!(sent.is_ok() && taken == [7; 40]);

        let (_dead, stream) = duplex(4);
        let mut patient = Patient::new(stream, limit);
        let error = patient.write_all(&[7; 40]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

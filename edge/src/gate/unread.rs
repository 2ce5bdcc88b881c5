//! What a caller asked for and does not take.
//!
//! A reply waits in HTTP/2 until its caller has given it a window, which it may never do. So that nobody can make the
//! server keep replies for ever:
//! - A reply and its call's permit are held together ([`Held`]) until the last of its bytes has left the process: every
//!   piece on its way out has a share of the hold. So replies that are not taken use up the bounds of admission.
//! - A call whose reply has not been taken by the call's deadline is dropped ([`CallTasks`]), and its stream reset.
//! - A reply so short that HTTP/2 has all of it is out of the call's hands. Where it is still there a call's time later,
//!   its connection ends ([`Unread`]).
//! - A stream that has no deadline is dropped by who has found out that it is not read ([`call_cutter`]).

use std::{
    cell::{Cell, OnceCell},
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::Poll,
    time::Instant,
};

use bytes::{Buf, Bytes};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Peer, admission::Permit};

tokio::task_local! {
    /// What ends the call of this task.
    static CUT: Cut;
}

/// What ends a call before its reply was taken.
#[derive(Default)]
struct Cut {
    at: Cell<Option<Instant>>,
    /// Of the few calls that somebody may end at any time.
    by: OnceCell<CancellationToken>,
}

/// Runs every call of a connection in a task of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTasks;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for CallTasks {
    fn execute(&self, call: F) {
        tokio::spawn(CUT.scope(Cut::default(), until_cut(call)));
    }
}

/// Drops the call of this task then, if it is still under way.
pub(super) fn cut_call_at(deadline: Instant) {
    // Outside of a call's task there is nothing to drop.
    let _ = CUT.try_with(|cut| cut.at.set(Some(deadline)));
}

/// Whoever cancels it has the call of this task dropped and its stream reset, with all of its reply that has not left.
pub(crate) fn call_cutter() -> CancellationToken {
    // Outside of a call's task nobody waits for it.
    CUT.try_with(|cut| cut.by.get_or_init(CancellationToken::new).clone())
        .unwrap_or_default()
}

async fn until_cut(call: impl Future<Output = ()>) {
    let mut call = pin!(call);
    let mut cut: Option<Pin<Box<Sleep>>> = None;
    let mut cut_by: Option<Pin<Box<WaitForCancellationFutureOwned>>> = None;
    poll_fn(|cx| {
        if call.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if cut.is_none() {
            CUT.with(|found| {
                cut = found.at.get().map(|at| Box::pin(sleep_until(at.into())));
                if cut_by.is_none() {
                    let by = found.by.get().cloned();
                    cut_by = by.map(|by| Box::pin(by.cancelled_owned()));
                }
            });
        }
        if let Some(by) = &mut cut_by
            && by.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        match &mut cut {
            Some(cut) => cut.as_mut().poll(cx),
            None => Poll::Pending,
        }
    })
    .await;
}

/// How many replies the other end of a connection has not taken, in two generations by their age.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    turn: AtomicUsize,
    of_turn: [AtomicUsize; 2],
}

impl Unread {
    fn begin(&self) -> usize {
        let generation = self.turn.load(Acquire) % 2;
        self.of_turn[generation].fetch_add(1, Relaxed);
        generation
    }

    /// Whether a reply from before the last time this was asked is still there. Begins a new generation.
    pub(crate) fn is_stalled(&self) -> bool {
        let turn = self.turn.fetch_add(1, Release) + 1;
        self.of_turn[turn % 2].load(Relaxed) > 0
    }
}

/// A reply that has not left the process.
pub(super) struct Held {
    _permit: Arc<Permit>,
    peer: Arc<Peer>,
    generation: usize,
}

impl Held {
    pub(super) fn new(permit: Arc<Permit>, peer: Arc<Peer>) -> Self {
        let generation = peer.unread.begin();
        Self {
            _permit: permit,
            peer,
            generation,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.peer.unread.of_turn[self.generation].fetch_sub(1, Relaxed);
    }
}

/// A piece of a reply.
pub struct ReplyData {
    bytes: Bytes,
    _held: Option<Arc<Held>>,
}

impl ReplyData {
    pub(super) fn new(bytes: Bytes, held: Option<Arc<Held>>) -> Self {
        Self { bytes, _held: held }
    }
}

impl Buf for ReplyData {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_outlives_a_whole_generation_is_stalled() {
        let unread = Unread::default();
        let first = unread.begin();
        assert!(!unread.is_stalled(), "it may have begun just now");
        let second = unread.begin();
        assert!(unread.is_stalled());
        unread.of_turn[first].fetch_sub(1, Relaxed);
        assert!(unread.is_stalled(), "now the second is as old");
        unread.of_turn[second].fetch_sub(1, Relaxed);
        assert!(!unread.is_stalled());
    }

    #[tokio::test]
    async fn a_call_is_dropped_at_its_time_and_not_before() {
        let cut_at = Instant::now() + std::time::Duration::from_millis(50);
        let call = async {
            cut_call_at(cut_at);
            std::future::pending::<()>().await;
        };
        CUT.scope(Cut::default(), until_cut(call)).await;
        assert!(Instant::now() >= cut_at);

        let quick = async { cut_call_at(Instant::now() + std::time::Duration::from_secs(3_600)) };
        CUT.scope(Cut::default(), until_cut(quick)).await;
    }

    #[tokio::test]
    async fn a_call_is_dropped_by_who_has_its_cutter() {
        let (sender, cutter) = tokio::sync::oneshot::channel();
        let call = async {
            sender.send(call_cutter()).unwrap();
            std::future::pending::<()>().await;
        };
        let cut = async { cutter.await.unwrap().cancel() };
        tokio::join!(CUT.scope(Cut::default(), until_cut(call)), cut);
    }
}

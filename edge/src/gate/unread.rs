//! What a caller asked for and does not take.
//!
//! A reply waits in HTTP/2 until its caller has given it a window, which it may never do. So that nobody can make the
//! server keep replies for ever:
//! - A reply and its call's permit are held together ([`Held`]) until the last of its bytes has left the process: every
//!   piece on its way out has a share of the hold. So replies that are not taken use up the bounds of admission.
//! - A call whose reply has not been taken by the call's deadline is dropped ([`CallTasks`]), and its stream reset.
//! - A reply so short that HTTP/2 has all of it is out of the call's hands. Where it is still there a call's time later,
//!   its connection ends ([`Unread`]). So does one that does not take what no call holds (refusals over HTTP/1.1).
//! - A stream that has no deadline is dropped by who has found out that it is not read ([`call_cutter`]).

use std::{
    cell::{Cell, RefCell},
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
use docket_actors::TaskKind;
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Peer,
    admission::{Bound, Permit},
};

tokio::task_local! {
    /// What ends the call of this task.
    static CUT: Cut;
}

/// What ends a call before its reply was taken.
#[derive(Default)]
struct Cut {
    at: Cell<Option<Instant>>,
    /// Of the few calls that somebody may end at any time.
    by: RefCell<Option<CancellationToken>>,
    /// Where one call comes after another: which one this is.
    call: Cell<u64>,
}

/// Runs every call of a connection in a task of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTasks;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for CallTasks {
    fn execute(&self, call: F) {
        tokio::spawn(TaskKind::Call.measure(CUT.scope(Cut::default(), until_cut(call))));
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
    CUT.try_with(|cut| cut.by.borrow_mut().get_or_insert_default().clone())
        .unwrap_or_default()
}

/// A connection without streams of its own begins its next call: what was to end the one before is forgotten.
pub(crate) fn begin_call() {
    let _ = CUT.try_with(|cut| {
        cut.at.set(None);
        cut.by.take();
        cut.call.set(cut.call.get() + 1);
    });
}

/// Runs a connection on which one call is under way at a time, as HTTP/1.1 has it, to its end: `None` where that is the end of a call whose
/// reply was not taken.
pub(crate) async fn until_call_cut<F: Future>(connection: F, peer: &Peer) -> Option<F::Output> {
    CUT.scope(Cut::default(), until_any_cut(connection, peer)).await
}

async fn until_any_cut<F: Future>(connection: F, peer: &Peer) -> Option<F::Output> {
    let mut connection = pin!(connection);
    let mut cut: Option<(Instant, Pin<Box<Sleep>>)> = None;
    let mut cut_by: Option<Pin<Box<WaitForCancellationFutureOwned>>> = None;
    let mut call = 0;
    poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        CUT.with(|found| {
            if call != found.call.get() {
                (cut, cut_by, call) = (None, None, found.call.get());
            }
            let at = found.at.get();
            if at != cut.as_ref().map(|(at, _)| *at) {
                cut = at.map(|at| (at, Box::pin(sleep_until(at.into()))));
            }
            if cut_by.is_none() {
                let by = found.by.borrow().clone();
                cut_by = by.map(|by| Box::pin(by.cancelled_owned()));
            }
        });
        let is_cut = cut_by.as_mut().is_some_and(|by| by.as_mut().poll(cx).is_ready());
        let is_late = cut
            .as_mut()
            .is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
        if is_cut || is_late {
            // A call that has ended is not cut, and what is left of it to be written is.
            if peer.active.load(Relaxed) > 0 || peer.unread.is_any() {
                return Poll::Ready(None);
            }
            (cut, cut_by) = (None, None);
            begin_call();
        }
        Poll::Pending
    })
    .await
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
                    let by = found.by.borrow().clone();
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

    /// Whether any reply is still there.
    fn is_any(&self) -> bool {
        self.of_turn.iter().any(|of_turn| of_turn.load(Relaxed) > 0)
    }

    /// Whether a reply from before the last time this was asked is still there. Begins a new generation.
    pub(crate) fn is_stalled(&self) -> bool {
        let turn = self.turn.fetch_add(1, Release) + 1;
        self.of_turn[turn % 2].load(Relaxed) > 0
    }
}

/// A reply that has not left the process.
pub(super) struct Held {
    /// Its call's; what was never let in has none.
    permit: Option<Arc<Permit>>,
    peer: Arc<Peer>,
    generation: usize,
}

impl Held {
    pub(super) fn new(permit: Option<Arc<Permit>>, peer: Arc<Peer>) -> Self {
        let generation = peer.unread.begin();
        Self {
            permit,
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
    held: Option<Arc<Held>>,
}

impl ReplyData {
    pub(super) fn new(bytes: Bytes, held: Option<Arc<Held>>) -> Self {
        Self { bytes, held }
    }

    /// Bytes that no call holds.
    pub(crate) fn free(bytes: Bytes) -> Self {
        Self { bytes, held: None }
    }

    /// The same, of which it is noticed where this one does not take them.
    pub(crate) fn unread(bytes: Bytes, peer: &Arc<Peer>) -> Self {
        let held = Held::new(None, Arc::clone(peer));
        Self::new(bytes, Some(Arc::new(held)))
    }

    /// Other bytes under the same hold.
    pub(crate) fn holding(&self, bytes: Bytes) -> Self {
        Self {
            bytes,
            held: self.held.clone(),
        }
    }

    /// Counts more bytes under its hold, until all of them have left.
    pub(crate) fn hold_more(&self, bytes: usize) -> Result<(), Bound> {
        self.permit().map_or(Ok(()), |permit| permit.reply(bytes))
    }

    /// The same whether there is room or not: what they tell has been done.
    pub(crate) fn hold_more_anyway(&self, bytes: usize) {
        if let Some(permit) = self.permit() {
            permit.reply_anyway(bytes);
        }
    }

    fn permit(&self) -> Option<&Permit> {
        self.held.as_ref()?.permit.as_deref()
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
    use crate::{config::AdmissionConfig, gate::admission::Admission};

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

    #[test]
    fn what_no_call_holds_is_unread_until_it_has_left() {
        let brake = Admission::new(AdmissionConfig::default()).brake();
        let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), brake));
        let reply = ReplyData::unread(Bytes::from_static(b"{}"), &peer);
        let piece = reply.holding(Bytes::from_static(b"{}"));
        drop(reply);
        assert!(!peer.unread.is_stalled() && peer.unread.is_any());
        assert!(peer.unread.is_stalled());
        piece.hold_more_anyway(1);
        assert_eq!(piece.hold_more(1), Ok(()), "there is nothing to count it under");
        drop(piece);
        assert!(!peer.unread.is_any());
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
    async fn a_connection_outlives_calls_that_have_ended_and_no_other() {
        let brake = Admission::new(AdmissionConfig::default()).brake();
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), brake);
        let soon = || Instant::now() + std::time::Duration::from_millis(30);
        let (first, second) = (soon(), soon() + std::time::Duration::from_millis(60));
        let connection = async {
            cut_call_at(first);
            sleep_until((first + std::time::Duration::from_millis(30)).into()).await;
            begin_call();
            peer.active.fetch_add(1, Relaxed);
            cut_call_at(second);
            std::future::pending::<()>().await;
        };
        assert!(until_call_cut(connection, &peer).await.is_none());
        assert!(Instant::now() >= second, "the first call had ended");
        assert!(until_call_cut(async {}, &peer).await.is_some());
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

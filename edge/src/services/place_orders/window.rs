//! The window of a stream: how much of it may be in flight, or answered and not yet taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Context,
};

use futures::task::AtomicWaker;

/// How many orders were read and their answers not taken, and how many bytes those may have: what bounds both the orders
/// in flight and the queue.
pub(super) struct Window {
    taken: AtomicUsize,
    max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The driver, when it waits for room.
    room: AtomicWaker,
}

/// A place in the window, from when an order is read until its answer is taken.
pub(super) struct Place {
    window: Arc<Window>,
    bytes: usize,
}

impl Window {
    /// With room for so many orders, and for so many bytes of them.
    pub(super) fn new(max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            max,
            bytes: AtomicUsize::new(0),
            bytes_max,
            room: AtomicWaker::new(),
        })
    }

    fn is_full(&self) -> bool {
        self.taken.load(SeqCst) >= self.max || self.bytes.load(SeqCst) >= self.bytes_max
    }

    /// Whether there is a place; wakes this task when there is one.
    pub(super) fn has_room(&self, cx: &Context<'_>) -> bool {
        if !self.is_full() {
            return true;
        }
        self.room.register(cx.waker());
        // It may have been given back in between.
        !self.is_full()
    }

    /// Takes a place. One order may go beyond the bytes: how many it has is known when it has been read.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Place {
        self.taken.fetch_add(1, SeqCst);
        self.bytes.fetch_add(bytes, SeqCst);
        Place {
            window: Arc::clone(self),
            bytes,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let window = &self.window;
        let taken = window.taken.fetch_sub(1, SeqCst);
        let bytes = window.bytes.fetch_sub(self.bytes, SeqCst);
        if taken >= window.max || bytes >= window.bytes_max {
            window.room.wake();
        }
    }
}

//! Who waits for what is committed of orders that a provider is paid for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::{DashMap, mapref::entry::Entry};
use docket_engine::{Order, OrderId};
use parking_lot::Mutex;
use rapidhash::fast::RandomState;
use tokio::sync::Notify;

use crate::{CallError, shard::Shard};

/// Where whoever leads is looked at once more while somebody waits: it is told of changes of what is committed, not of those.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Whoever drives payments looks at all that are due once a second; where it has not for so long, nobody does.
const DRIVEN_WITHIN: Duration = Duration::from_secs(10);

/// More are not noted: who takes them looks through all from time to time.
const TOUCHED_MAX: usize = 4_096;

/// Those that wait.
#[derive(Default)]
pub(crate) struct Awaited {
    /// Each for one order. As long as anybody waits for it.
    orders: DashMap<OrderId, Arc<Notify>, RandomState>,
    /// Those that have changed since they were taken last, for who asks providers: at most [`TOUCHED_MAX`].
    touched: Mutex<Vec<OrderId>>,
    /// There are some.
    any: Notify,
    /// In which term somebody looks at what providers are to be asked, and when it last did.
    driven: Mutex<Option<(u64, Instant)>>,
}

impl Awaited {
    /// An order has changed, and that is committed.
    pub(crate) fn tell(&self, id: OrderId) {
        if let Some(waiting) = self.orders.get(&id) {
            waiting.notify_waiters();
        }
        let mut touched = self.touched.lock();
        if touched.len() < TOUCHED_MAX {
            touched.push(id);
        }
        drop(touched);
        // Kept for who looks next, where nobody waits at this moment.
        self.any.notify_one();
    }

    /// What is due in this term was looked at.
    pub(super) fn drive(&self, term: u64) {
        *self.driven.lock() = Some((term, Instant::now()));
    }

    /// Whether somebody looks at what is due in this term.
    pub(crate) fn is_driven(&self, term: u64) -> bool {
        let driven = *self.driven.lock();
        driven.is_some_and(|(driven, last)| driven == term && last.elapsed() < DRIVEN_WITHIN)
    }

    /// All has changed.
    pub(crate) fn tell_all(&self) {
        self.orders.iter().for_each(|waiting| waiting.notify_waiters());
        self.any.notify_one();
    }

    /// Waits until any order has changed since this was waited for last, and says which have. For one that waits.
    pub(crate) async fn any(&self) -> Vec<OrderId> {
        self.any.notified().await;
        std::mem::take(&mut self.touched.lock())
    }

    fn begin(&self, id: OrderId) -> Waiting<'_> {
        let notify = self.orders.entry(id).or_default().clone();
        Waiting {
            awaited: self,
            id,
            notify: Some(notify),
        }
    }
}

/// Somebody who waits for an order.
struct Waiting<'a> {
    awaited: &'a Awaited,
    id: OrderId,
    notify: Option<Arc<Notify>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        drop(self.notify.take());
        if let Entry::Occupied(waiting) = self.awaited.orders.entry(self.id)
            && Arc::strong_count(waiting.get()) == 1
        {
            waiting.remove();
        }
    }
}

impl Shard {
    /// Waits until a committed order is so.
    ///
    /// # Errors
    /// The shard is not led here any more; or there is no such order.
    pub(crate) async fn committed_when(
        &self,
        id: OrderId,
        is_so: impl Fn(&Order) -> bool,
    ) -> Result<(), CallError> {
        let waiting = self.committed().payments.begin(id);
        let Some(notify) = waiting.notify.clone() else {
            return Err(CallError::OutcomeUnknown);
        };
        loop {
            let notified = notify.notified();
            tokio::pin!(notified);
            // From here on: what is committed behind the look is told.
            notified.as_mut().enable();
            match self.committed().orders.see(id, &is_so) {
                Some(true) => return Ok(()),
                Some(false) if self.is_leading() => {}
                _ => return Err(CallError::OutcomeUnknown),
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, notified).await;
        }
    }
}

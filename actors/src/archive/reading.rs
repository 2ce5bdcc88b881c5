//! Reading of archives where no thread of the runtime waits for the disk: few at a time, the others wait for their turn.

use std::sync::Arc;

use docket_cluster::off_thread;
use docket_engine::{Order, OrderId};
use tokio::sync::Semaphore;

use super::{Unreadable, unreadable};
use crate::committed::Committed;

/// So many read archives at a time.
const READS_MAX: usize = 4;

/// The turns of those who read archives.
pub(crate) struct Reads(Arc<Semaphore>);

impl Default for Reads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READS_MAX)))
    }
}

impl Reads {
    /// What is found, off the runtime's threads.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Unreadable> + Send + 'static,
    ) -> Result<T, Unreadable> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(unreadable)?;
        // Also work that goes on behind a call that was dropped has its turn.
        let read = off_thread(move || {
            let _turn = turn;
            read()
        });
        read.await.map_err(unreadable)?
    }

    /// Orders that are not in memory, of one shard: those that are in its archive.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(crate) async fn named(
        &self,
        committed: &Arc<Committed>,
        ids: Vec<OrderId>,
    ) -> Result<Vec<Arc<Order>>, Unreadable> {
        if ids.is_empty() || committed.archive.count() == 0 {
            return Ok(Vec::new());
        }
        let committed = Arc::clone(committed);
        let found = self.read(move || {
            let found = ids.into_iter().map(|id| committed.archive.get(id));
            found.filter_map(Result::transpose).collect()
        });
        found.await
    }
}

//! A shard's archive, order by order: whether each is there that left memory, is what it was, is at its end, and is found.

use std::time::Instant;

use docket_engine::order;

use super::{
    DiscrepancyKind as Kind,
    walk::{Walk, of_customer, of_item, of_order},
};

/// So many orders are looked at without a pause.
const PIECE: u64 = 64;

impl Walk<'_> {
    /// Looks at the first so many orders that came into the archive: nothing of them changes any more, so that it does not matter when.
    pub(super) fn archived(&mut self, count: u64) {
        let mut worked = Instant::now();
        for number in 0..count {
            if number % PIECE == PIECE - 1 {
                if self.ground.stop.is_cancelled() {
                    return;
                }
                self.ground.pause(&mut worked);
            }
            self.archived_order(number);
        }
    }

    fn archived_order(&mut self, number: u64) {
        let committed = self.ground.committed().clone();
        let group = self.books.group.to_string();
        let order = match committed.archive.numbered(number) {
            Ok(Some(order)) => order,
            Ok(None) => {
                let why = format!("order {number} of its archive is missing");
                return self.add(Kind::ArchiveDiffers, group, why);
            }
            Err(error) => {
                let why = format!("order {number} of its archive cannot be read: {error}");
                return self.add(Kind::ArchiveDiffers, group, why);
            }
        };
        self.books.archived += 1;
        let id = order.id;
        if let Err(broken) = order.validate() {
            self.add(Kind::OrderInvalid, of_order(id), broken.why);
        }
        if !order.is_over() {
            self.add(
                Kind::ArchiveDiffers,
                of_order(id),
                "it is in the archive, and is not over",
            );
        }
        if committed.orders.see(id, |_| ()).is_some() {
            self.add(
                Kind::ArchiveDiffers,
                of_order(id),
                "it is in the archive, and in memory",
            );
        }
        match committed.archive.is_indexed(&order) {
            Ok(true) => {}
            Ok(false) => {
                let why =
                    "it is in the archive, and not among its customer's orders, or those in its state, there";
                self.add(Kind::ArchiveDiffers, of_order(id), why);
            }
            Err(error) => self.add(Kind::ArchiveDiffers, of_order(id), error.to_string()),
        }
        let history = order.history();
        if let Err(broken) = &history {
            self.add(Kind::VersionChain, of_order(id), broken.why);
        }
        if !committed.customers.contains_key(&order.customer) {
            let why = format!("order {id} of its archive is a customer's that is not there");
            self.add(Kind::ArchiveDiffers, of_customer(&order.customer), why);
        }
        let of_it = self.customers.entry(order.customer.clone()).or_default();
        of_it.held += i128::from(order.held().0);
        of_it.events += order.customer_events();
        if order.provider.is_none() {
            of_it.taken += i128::from(order.captured().0) - i128::from(order.refunded().0);
        }
        // Of these changes that are kept it may be that the older ones are not.
        if let Some(changes) = self.changes.remove(&id)
            && let Some(why) = self.differs_from(&order, history.ok().as_ref(), Some(&changes))
        {
            self.add(Kind::FeedDiffers, of_order(id), why);
        }
        for sku in order::skus(&order.lines) {
            let shard = self.ground.router.of_key(sku.as_str());
            if self.ground.is_here(shard)
                && let Some(reserved) = shard.committed().reservations.get(&sku, id)
            {
                let why = format!(
                    "{} are reserved for order {id}, which is over and archived",
                    reserved.0
                );
                self.add(Kind::ReservationOrphan, of_item(&sku), why);
            }
        }
    }
}

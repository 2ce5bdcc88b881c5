//! An order that is over leaves memory for the archive.

use docket_engine::{Broken, Event, Fact, Order, OrderId, Record, Version};

use super::{Committed, weighing::less};
use crate::weight::{bytes_of_backorders, bytes_of_edits, bytes_of_life, bytes_of_payment, bytes_of_plans};

impl Committed {
    /// Puts an order into the archive, and takes all that memory has of it away.
    pub(super) fn apply_archived(&self, id: OrderId) -> Result<(), Broken> {
        self.keep_order(id);
        let broken = |why| Broken {
            entity: id.to_string(),
            why,
        };
        let order = self
            .orders
            .get(id)
            .ok_or_else(|| broken("it goes into the archive, and is not there"))?;
        if !order.is_over() {
            return Err(broken("it goes into the archive, and is not over"));
        }
        let put = self.archive.put(&order);
        let number = put.map_err(|error| {
            tracing::error!(order = %id, %error, "an order cannot be put into the archive");
            broken("it cannot be put into the archive")
        })?;
        self.effects.archived(id, number);
        self.orders.remove(id, |order| {
            self.order_index.write().remove(order);
            let mut is_last = false;
            if let Some(mut of_customer) = self.customer_orders.get_mut(&order.customer) {
                of_customer.remove(id);
                is_last = of_customer.is_empty();
            }
            if is_last {
                self.customer_orders
                    .remove_if(&order.customer, |_, of_customer| of_customer.is_empty());
            }
        });
        self.first_settled.leave(id);
        self.weigh_less(&order);
        Ok(())
    }

    /// What is there weighs so much less. Some of what comes to an order is weighed otherwise than the whole, so that this is about right.
    /// (No older format is chosen for that: the archive is not empty.)
    fn weigh_less(&self, order: &Order) {
        if let Some(life) = &order.life {
            less(&self.life_bytes, bytes_of_life(life));
            less(&self.newer_bytes, bytes_of_edits(&life.edits));
            less(&self.plan_bytes, bytes_of_plans(life));
            less(&self.backorder_bytes, bytes_of_backorders(life));
        }
        if let Some(provider) = &order.provider {
            let bytes = provider.name.as_str().len() as u64 + bytes_of_payment(&provider.steps);
            less(&self.newer_bytes, bytes);
        }
        less(&self.trail_bytes, order.trail.as_bytes().len() as u64);
    }

    /// Whether a record places an order that is in the archive: its id is taken. (Nothing else that is said of such an order fits.)
    pub(super) fn is_of_archived(&self, record: &Record) -> Result<bool, Broken> {
        let placed = |event: &Event| match event.fact {
            Fact::Order(id, _) if event.version == Version(1) => Some(id),
            _ => None,
        };
        for id in record.events.iter().filter_map(placed) {
            if self.archive.may_be_taken(id, record.time) && self.orders.see(id, |_| ()).is_none() {
                let found = self.archive.get(id).map_err(|error| {
                    tracing::error!(order = %id, %error, "the archive cannot be read");
                    Broken {
                        entity: id.to_string(),
                        why: "the archive, in which it may be, cannot be read",
                    }
                })?;
                if found.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

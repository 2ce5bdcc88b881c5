//! Edits of orders: asked for as what else is asked of an order that is there, but that its provider, where it has one, may have to be waited for.

use std::{sync::Arc, time::Instant};

use docket_engine::{Edit, LineQuantity, Order, OrderCommand, OrderId, Version, access::Username};

use super::{Docket, command::within, life::Asked, orders::PROVIDERS_SINCE};
use crate::{Call, CallError, request::Content};

/// Since which version of the peer protocol a node reads in its log that a provider is to authorise what an edit has an order cost more. An older one would
/// stop.
const MORE_PAYMENTS_SINCE: u32 = 7;

impl Docket {
    /// Gives these lines of an order (at least one, each once, in their order; 0 or more) so many in all, at this version of it. Answers when
    /// what it costs more is held, or authorised by its provider, and what it needs more of reserved, and the rest given back.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn edit_order(
        &self,
        call: Call,
        id: OrderId,
        lines: Box<[LineQuantity]>,
        by: Username,
        expected: Version,
    ) -> Result<Arc<Order>, CallError> {
        let (version, deadline) = (expected, call.deadline);
        let expected = Some(expected);
        let asked = Asked {
            content: Content::of("EditOrder").version(expected).line_quantities(&lines),
            since: PROVIDERS_SINCE,
            bytes: 2 * size_of_val(&*lines),
            needs_id: true,
            command: OrderCommand::Edit {
                lines,
                by,
                expected,
                may_authorize: self.knows_more_payments(),
            },
        };
        let order = self.unhold_order(call, id, asked).await?;
        self.authorized_edit(order, version, deadline).await
    }

    /// Whether every node knows that a provider may be asked for more with an edit.
    fn knows_more_payments(&self) -> bool {
        self.inner.node.oldest_version_spoken() >= MORE_PAYMENTS_SINCE
    }

    /// The order, when the edit that was asked for at a version has ended, where that waits for its provider.
    async fn authorized_edit(
        &self,
        order: Arc<Order>,
        version: Version,
        deadline: Option<Instant>,
    ) -> Result<Arc<Order>, CallError> {
        let is_open = |order: &Order| order.edit_asked_at(version).is_some_and(Edit::is_open);
        if !is_open(&order) {
            return Ok(order);
        }
        let (shard, id) = (self.of_order(order.id)?, order.id);
        // And what its items give back is given back, as with any other edit.
        let is_over = |order: &Order| !is_open(order) && order.is_settled();
        within(deadline, shard.committed_when(id, is_over)).await??;
        let order = shard
            .committed()
            .orders
            .get(id)
            .ok_or(CallError::OutcomeUnknown)?;
        match order.edit_asked_at(version).and_then(|edit| edit.refusal()) {
            Some(refusal) => Err(refusal.clone().into()),
            None => Ok(order),
        }
    }
}

//! What is asked of orders that are there: they are cancelled, held, shipped, delivered, returned and refunded.

use std::sync::{Arc, atomic::Ordering};

use docket_engine::{
    Amount, CustomerId, HOLD_NOTE_BYTES_MAX, HoldReason, LineQuantity, Order, OrderCommand, OrderId,
    Quantity, RETURN_NOTE_BYTES_MAX, Rejection, Request, ReturnStep, SHIPPING_TEXT_BYTES_MAX, Version,
    access::Username, order,
};

use super::{
    Docket,
    command::{Steps, Tries, within},
    orders::PROVIDERS_SINCE,
    placing::order_in,
};
use crate::{Call, CallError, committed::AsOf, entity::order::OrderMessage, reply::Caller, request::Content};

/// Since which version of the peer protocol a node reads in its log that an order is held. An older one would stop.
pub(crate) const HOLDS_SINCE: u32 = 3;
/// And that some of it was shipped or cancelled.
const FULFILMENTS_SINCE: u32 = 4;
/// And that some of it was planned to be shipped.
pub(super) const PLANS_SINCE: u32 = 6;

/// What was sent of an order, already validated for shape: each line once, in their order, quantities ≥ 1.
#[derive(Debug, Clone)]
pub struct Shipment {
    /// How much of which lines; all that is open and planned by nobody when empty.
    pub lines: Box<[LineQuantity]>,
    /// Which open fulfilment it is, from 1; then no lines are named.
    pub fulfilment: Option<u32>,
    /// Who carries it; may be empty.
    pub carrier: Arc<str>,
    /// How the carrier names it; may be empty.
    pub tracking: Arc<str>,
}

/// A command, and what it needs to be taken in.
pub(super) struct Asked {
    pub(super) command: OrderCommand,
    /// What there is of it beside its name.
    pub(super) content: Content,
    /// The oldest version of the peer protocol that has a word for what it leads to.
    pub(super) since: u32,
    /// The bytes of its texts and lines, at most.
    pub(super) bytes: usize,
    /// Done twice it would do more, or be refused: where the client has no id for it, it gets one here, since it may be tried more than
    /// once.
    pub(super) needs_id: bool,
}

impl Docket {
    /// Cancels all of an order that is open, at this version of it where one is given. Answers when its stock and what it holds are given
    /// back.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn cancel_order(
        &self,
        call: Call,
        id: OrderId,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("CancelOrder").version(expected),
            since: 0,
            bytes: 0,
            // Of one that was shipped in part, the second time it would be refused.
            needs_id: true,
            command: OrderCommand::Cancel {
                lines: Box::default(),
                by: call.by.clone(),
                expected,
            },
        };
        self.unhold_order(call, id, asked).await
    }

    /// Cancels so much of these lines of an order (at least one, each once, in their order), at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn cancel_order_lines(
        &self,
        call: Call,
        id: OrderId,
        lines: Box<[LineQuantity]>,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("CancelOrderLines")
                .version(expected)
                .line_quantities(&lines),
            since: FULFILMENTS_SINCE,
            bytes: size_of_val(&*lines),
            needs_id: true,
            command: OrderCommand::Cancel {
                lines,
                by: call.by.clone(),
                expected,
            },
        };
        self.unhold_order(call, id, asked).await
    }

    /// Ships some of an order, at this version of it where one is given. Answers when its stock is taken off and its money captured.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn ship_order(
        &self,
        call: Call,
        id: OrderId,
        shipment: Shipment,
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let Shipment {
            lines,
            fulfilment,
            carrier,
            tracking,
        } = shipment;
        let content = Content::of("ShipOrder")
            .version(expected)
            .line_quantities(&lines)
            .text(&carrier)
            .text(&tracking);
        let bytes = size_of_val(&*lines) + 2 * SHIPPING_TEXT_BYTES_MAX;
        // One that was not planned is asked for as it ever was.
        let (content, since, command) = match fulfilment {
            None => {
                let ship = OrderCommand::Ship {
                    lines,
                    carrier,
                    tracking,
                    by,
                    expected,
                };
                (content, FULFILMENTS_SINCE, ship)
            }
            Some(fulfilment) => {
                let ship = OrderCommand::ShipFulfilment {
                    fulfilment,
                    carrier,
                    tracking,
                    by,
                    expected,
                };
                (content.number(fulfilment.into()), PLANS_SINCE, ship)
            }
        };
        let asked = Asked {
            content,
            since,
            bytes,
            needs_id: true,
            command,
        };
        self.unhold_order(call, id, asked).await
    }

    /// Plans a fulfilment of these lines of an order (each once, in their order), or of all that is free of it, at this version of it where one
    /// is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn open_fulfilment(
        &self,
        call: Call,
        id: OrderId,
        lines: Box<[LineQuantity]>,
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("OpenFulfilment")
                .version(expected)
                .line_quantities(&lines),
            since: PLANS_SINCE,
            bytes: size_of_val(&*lines),
            needs_id: true,
            command: OrderCommand::OpenFulfilment { lines, by, expected },
        };
        self.change_order(call, id, asked).await
    }

    /// Cancels an open fulfilment of an order, by its number from 1, at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn cancel_fulfilment(
        &self,
        call: Call,
        id: OrderId,
        fulfilment: u32,
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("CancelFulfilment")
                .version(expected)
                .number(fulfilment.into()),
            since: PLANS_SINCE,
            bytes: 0,
            needs_id: false,
            command: OrderCommand::CancelFulfilment {
                fulfilment,
                by,
                expected,
            },
        };
        self.change_order(call, id, asked).await
    }

    /// Says that a shipment of an order, by its number from 1, has arrived.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn deliver_fulfilment(
        &self,
        call: Call,
        id: OrderId,
        fulfilment: u32,
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("DeliverFulfilment")
                .version(expected)
                .number(fulfilment.into()),
            since: FULFILMENTS_SINCE,
            bytes: 0,
            needs_id: false,
            command: OrderCommand::Deliver {
                fulfilment,
                by,
                expected,
            },
        };
        self.change_order(call, id, asked).await
    }

    /// Holds an order for one reason, at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn hold_order(
        &self,
        call: Call,
        id: OrderId,
        (reason, note): (HoldReason, Arc<str>),
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("HoldOrder")
                .version(expected)
                .text(reason.as_str())
                .text(&note),
            since: HOLDS_SINCE,
            bytes: HOLD_NOTE_BYTES_MAX,
            needs_id: false,
            command: OrderCommand::Hold {
                reason,
                note,
                by,
                expected,
            },
        };
        self.change_order(call, id, asked).await
    }

    /// Releases what holds an order for one reason, at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn release_order_hold(
        &self,
        call: Call,
        id: OrderId,
        reason: HoldReason,
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("ReleaseOrderHold")
                .version(expected)
                .text(reason.as_str()),
            since: HOLDS_SINCE,
            bytes: 0,
            needs_id: false,
            command: OrderCommand::ReleaseHold { reason, by, expected },
        };
        self.change_order(call, id, asked).await
    }

    /// Asks to send some of an order back (these lines, or all that can be), at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn request_return(
        &self,
        call: Call,
        id: OrderId,
        (lines, note): (Box<[LineQuantity]>, Arc<str>),
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("RequestReturn")
                .version(expected)
                .line_quantities(&lines)
                .text(&note),
            since: FULFILMENTS_SINCE,
            bytes: size_of_val(&*lines) + RETURN_NOTE_BYTES_MAX,
            needs_id: true,
            command: OrderCommand::RequestReturn {
                lines,
                note,
                by,
                expected,
            },
        };
        self.change_order(call, id, asked).await
    }

    /// Says what becomes of a return of an order, by its number from 1, at this version of it where one is given. What goes back on the
    /// stock is there a moment after the answer.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn move_return(
        &self,
        call: Call,
        id: OrderId,
        (number, step): (u32, ReturnStep),
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let content = Content::of("MoveReturn")
            .version(expected)
            .number(number.into())
            .number(step.leads_to().number().into());
        let content = match &step {
            ReturnStep::Decline { note } => content.text(note),
            ReturnStep::Receive { restock } => content.number((*restock).into()),
            ReturnStep::Approve | ReturnStep::Close => content,
        };
        let asked = Asked {
            content,
            since: FULFILMENTS_SINCE,
            bytes: RETURN_NOTE_BYTES_MAX,
            needs_id: false,
            command: OrderCommand::MoveReturn {
                number,
                step,
                by,
                expected,
            },
        };
        self.change_order(call, id, asked).await
    }

    /// Gives some of what was captured for an order back, at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn refund_order(
        &self,
        call: Call,
        id: OrderId,
        (amount, note): (Amount, Arc<str>),
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("RefundOrder")
                .version(expected)
                .amount(Some(amount))
                .text(&note),
            since: FULFILMENTS_SINCE,
            bytes: RETURN_NOTE_BYTES_MAX,
            needs_id: true,
            command: OrderCommand::Refund {
                amount,
                note,
                by,
                expected,
            },
        };
        self.unhold_order(call, id, asked).await
    }

    /// Has a step of an order's payment that was declined tried again, at this version of it where one is given.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn retry_payment(
        &self,
        call: Call,
        id: OrderId,
        number: u32,
        by: Username,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let asked = Asked {
            content: Content::of("RetryPayment")
                .version(expected)
                .quantity(Quantity(number.into())),
            since: PROVIDERS_SINCE,
            bytes: 0,
            needs_id: true,
            command: OrderCommand::RetryPayment { number, by, expected },
        };
        self.change_order(call, id, asked).await
    }

    /// Asks an order for what concerns it alone.
    async fn change_order(&self, call: Call, id: OrderId, asked: Asked) -> Result<Arc<Order>, CallError> {
        self.ask_order(call, id, asked, Steps::One, |owner, command, request, caller| {
            OrderMessage::Change {
                owner,
                command,
                request,
                caller,
            }
        })
        .await
    }

    /// Asks an order for what its customer and its items have part in.
    pub(super) async fn unhold_order(
        &self,
        call: Call,
        id: OrderId,
        asked: Asked,
    ) -> Result<Arc<Order>, CallError> {
        self.ask_order(
            call,
            id,
            asked,
            Steps::Several,
            |owner, command, request, caller| OrderMessage::Unhold {
                owner,
                command,
                request,
                caller,
            },
        )
        .await
    }

    async fn ask_order(
        &self,
        call: Call,
        id: OrderId,
        asked: Asked,
        steps: Steps,
        message: impl Fn(Option<CustomerId>, OrderCommand, Option<Request>, Caller) -> OrderMessage,
    ) -> Result<Arc<Order>, CallError> {
        let Asked {
            command,
            content,
            since,
            bytes,
            needs_id,
        } = asked;
        let shard = self.of_order(id)?;
        let permit = self.admit(shard, bytes)?;
        let own_id = || needs_id.then(|| self.own_request_id());
        let request_id = call.request_id.clone().or_else(own_id);
        let request = request_id.map(|request_id| content.about_order(id, &request_id));
        // Whoever asks what became of a request that was done is answered all the same.
        let is_done = request.is_some_and(|request| shard.committed().requests.contains_key(request.key));
        if !is_done && self.inner.node.oldest_version_spoken() < since {
            return Err(CallError::OlderNodes);
        }
        self.has_room(shard, request)?;
        let origin = self.origin(&call);
        let as_of = shard.committed().as_of();
        let send = |caller: Caller| {
            let mut caller = caller.of(origin.as_ref());
            caller.about(id);
            let message = message(call.owner.clone(), command.clone(), request, caller);
            shard.tell_order(id, message);
        };
        let tries = Tries::new(steps).traced(call.scope.as_ref());
        let reply = self.run(shard, call.deadline, &permit, tries, send).await?;
        match order_in(reply) {
            Err(CallError::Rejected(Rejection::OrderNotFound { .. })) => {
                self.ask_archived(&call, as_of, id, &command, request).await
            }
            answer => answer,
        }
    }

    /// What an order makes of a command that is not in memory: it may be in the archive, and refuses there what it refused before. Nothing of it
    /// changes any more, so that nothing has to be recorded.
    async fn ask_archived(
        &self,
        call: &Call,
        as_of: AsOf,
        id: OrderId,
        command: &OrderCommand,
        request: Option<Request>,
    ) -> Result<Arc<Order>, CallError> {
        let shard = self.of_order(id)?;
        let found = within(call.deadline, self.archived_order(shard, id, as_of)).await??;
        let is_visible =
            |order: &Arc<Order>| call.owner.as_ref().is_none_or(|owner| *owner == order.customer);
        let order = found
            .filter(is_visible)
            .ok_or(Rejection::OrderNotFound { order: id })?;
        let stored = request.and_then(|request| {
            let stored = shard.committed().requests.get(request.key)?;
            Some(stored.fingerprint == request.fingerprint)
        });
        if stored == Some(false) {
            return Err(Rejection::RequestIdReused.into());
        }
        match order::decide(Some(&order), command)?.events.is_empty() {
            true => Ok(order),
            // What is over has no events to come.
            false => Err(CallError::Broken),
        }
    }

    /// An id for a request that no client can have chosen: theirs are printable.
    fn own_request_id(&self) -> String {
        let count = self.inner.unique.fetch_add(1, Ordering::Relaxed);
        format!("\0{:x}-{count:x}", self.inner.unique_prefix)
    }
}

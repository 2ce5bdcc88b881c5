//! The end of an order that was fulfilled: some time after nothing came of it any more it is closed, and takes nothing.
//!
//! What is closed, or ended otherwise, and is at rest never changes again. So it may be kept anywhere: whoever has it tells of it for ever.

use super::{Order, OrderCommand, OrderEvent, OrderState, check_version};
use crate::{Decision, Rejection, Return, Version};

/// Closes an order that was fulfilled and is at rest; any other is left alone.
pub(super) fn close(order: &Order) -> Decision<OrderEvent> {
    match order.state == OrderState::Fulfilled && order.is_at_rest() {
        true => Decision::event(OrderEvent::Closed),
        false => Decision::nothing(),
    }
}

/// What an order that is closed makes of a command.
pub(super) fn of_closed(order: &Order, command: &OrderCommand) -> Result<Decision<OrderEvent>, Rejection> {
    match of_person(command) {
        Some(expected) => {
            check_version(order, expected)?;
            Err(Rejection::OrderClosed)
        }
        None => Ok(Decision::nothing()),
    }
}

/// The version that a person's command expects of an order that is there; `None` for a command of the engine itself.
fn of_person(command: &OrderCommand) -> Option<Option<Version>> {
    match command {
        OrderCommand::Cancel { expected, .. }
        | OrderCommand::RetryPayment { expected, .. }
        | OrderCommand::Ship { expected, .. }
        | OrderCommand::OpenFulfilment { expected, .. }
        | OrderCommand::ShipFulfilment { expected, .. }
        | OrderCommand::CancelFulfilment { expected, .. }
        | OrderCommand::Deliver { expected, .. }
        | OrderCommand::RequestReturn { expected, .. }
        | OrderCommand::MoveReturn { expected, .. }
        | OrderCommand::Edit { expected, .. }
        | OrderCommand::Refund { expected, .. }
        | OrderCommand::Hold { expected, .. }
        | OrderCommand::ReleaseHold { expected, .. } => Some(*expected),
        OrderCommand::Place { .. }
        | OrderCommand::Refuse { .. }
        | OrderCommand::Settle { .. }
        | OrderCommand::Paid { .. }
        | OrderCommand::Expire { .. }
        | OrderCommand::Close
        | OrderCommand::Released
        | OrderCommand::Raised { .. }
        | OrderCommand::HearBackorders { .. }
        | OrderCommand::Consumed
        | OrderCommand::Restocked => None,
    }
}

impl Order {
    /// Whether nothing of it is under way: of its items, its payment, its returns, and nothing holds it up.
    pub fn is_at_rest(&self) -> bool {
        self.is_quiet()
            && self.next_payment().is_none()
            && self.declined_payments().next().is_none()
            && self.active_holds().next().is_none()
            && !self.returns().iter().any(Return::is_open)
    }

    /// Whether it has come to its end, and never changes again.
    pub fn is_over(&self) -> bool {
        let is_at_its_end = matches!(
            self.state,
            OrderState::Closed | OrderState::Cancelled | OrderState::Rejected | OrderState::Expired
        );
        is_at_its_end && self.is_at_rest()
    }
}

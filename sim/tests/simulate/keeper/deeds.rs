//! What keepers ask, put to a node.

use std::sync::Arc;

use docket_actors::{Call, CallError, Docket, Shipment};
use docket_engine::{Amount, LineQuantity, Order, OrderId, Quantity, access::Username};

use super::led::{Deed, Named};

impl Deed {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ship(_) => "shipped",
            Self::CancelLines(_) => "cancelled in part",
            Self::CancelRest => "cancelled",
            Self::Hold(_) => "held",
            Self::Release(_) => "hold released",
            Self::Deliver(_) => "delivered",
            Self::Edit(..) => "edited",
            Self::Return(_) => "return asked for",
            Self::Move(..) => "return moved",
            Self::Refund(_) => "refunded",
            Self::Retry(_) => "payment tried again",
        }
    }
}

/// Does it, as the edge would for an account. Texts tell which request it was.
pub async fn do_it(docket: &Docket, call: Call, id: OrderId, deed: Deed) -> Result<Arc<Order>, CallError> {
    let by = Username::new("keeper").unwrap();
    let text: Arc<str> = call.request_id.as_deref().unwrap_or_default().into();
    match deed {
        Deed::Ship(lines) => {
            let shipment = Shipment {
                fulfilment: None,
                lines: named(&lines),
                carrier: "Ape".into(),
                tracking: text,
            };
            docket.ship_order(call, id, shipment, by, None).await
        }
        Deed::CancelLines(lines) => docket.cancel_order_lines(call, id, named(&lines), None).await,
        Deed::CancelRest => docket.cancel_order(call, id, None).await,
        Deed::Hold(reason) => docket.hold_order(call, id, (reason, text), by, None).await,
        Deed::Release(reason) => docket.release_order_hold(call, id, reason, by, None).await,
        Deed::Deliver(number) => docket.deliver_fulfilment(call, id, number, by, None).await,
        Deed::Edit(lines, version) => docket.edit_order(call, id, named(&lines), by, version).await,
        Deed::Return(lines) => {
            docket
                .request_return(call, id, (named(&lines), text), by, None)
                .await
        }
        Deed::Move(number, step) => docket.move_return(call, id, (number, step), by, None).await,
        Deed::Refund(amount) => {
            docket
                .refund_order(call, id, (Amount(amount), text), by, None)
                .await
        }
        Deed::Retry(number) => docket.retry_payment(call, id, number, by, None).await,
    }
}

fn named(lines: &Named) -> Box<[LineQuantity]> {
    let lines = lines.iter().map(|&(line, many)| LineQuantity {
        line,
        quantity: Quantity(many),
    });
    lines.collect()
}

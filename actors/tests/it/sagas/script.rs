//! What clients do to an order, and a person where a payment was declined. Each can be done again from the beginning: every request has an id.

use std::{sync::Arc, time::Duration};

use docket_actors::{Call, CallError, Docket, ListOrders, PlaceOrder, Shipment};
use docket_engine::{Amount, HoldReason, Order, OrderId, OrderState, ProviderName, Version};
use docket_payments::stub::{Fault, On, Seen, Stub, What};

use crate::shop::{order, part, request, user};

/// The total of an order, and what is shipped of it where not all is.
pub const TOTAL: i64 = 2_035;
pub const SHIPPED: i64 = 1_014;
pub const REFUNDED: i64 = 14;
/// What three more of the first line cost, which is another payment; what is not shipped of them is one, and what of what was shipped is not given back.
pub const RAISED: i64 = 21;
pub const LEFT: i64 = 7;
pub const KEPT: i64 = 9;

const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// A life of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// Part of it is shipped, the rest cancelled, and some of what was paid given back.
    Whole,
    /// Its payment is declined, unless it went through before.
    Declined,
    /// It is cancelled while its authorisation is on its way, which comes too late.
    CancelledBefore,
    /// It is cancelled when it was authorised and that is not known.
    CancelledAfter,
    /// It is not authorised in time, and its authorisation comes too late.
    ExpiredBefore,
    /// It was authorised, and that was not known in time.
    ExpiredAfter,
    /// The payment of what was shipped is declined, and tried again by a person.
    Retried,
    /// It is edited to cost more, so that it has two payments: what is shipped is taken of both, and most of it is given back by both.
    Raised,
    /// It is edited to cost more, which is not authorised in time, and its authorisation comes too late; then all is shipped as it was.
    RaisedBefore,
    /// What it costs more was authorised, and that was not known in time.
    RaisedAfter,
}

impl Story {
    pub const ALL: [Self; 10] = [
        Self::Whole,
        Self::Declined,
        Self::CancelledBefore,
        Self::CancelledAfter,
        Self::ExpiredBefore,
        Self::ExpiredAfter,
        Self::Retried,
        Self::Raised,
        Self::RaisedBefore,
        Self::RaisedAfter,
    ];

    /// Whether its authorisation, or that of its edit, is not answered before it is called off.
    pub fn is_called_off(self) -> bool {
        self.expires() || self.is_cancelled() || self.is_given_up()
    }

    /// Whether its edit is not authorised in time.
    pub fn is_given_up(self) -> bool {
        matches!(self, Self::RaisedBefore | Self::RaisedAfter)
    }

    pub fn expires(self) -> bool {
        matches!(self, Self::ExpiredBefore | Self::ExpiredAfter)
    }

    pub fn is_cancelled(self) -> bool {
        matches!(self, Self::CancelledBefore | Self::CancelledAfter)
    }

    /// Has clients do their part, from the beginning.
    pub async fn tell(self, docket: &Docket, stub: &Stub) -> Result<(), CallError> {
        if self.is_cancelled() {
            let (placed, cancelled) = tokio::join!(place(docket), cancel_while_authorising(docket, stub));
            placed?;
            cancelled?;
            return person(docket).await;
        }
        let Some(id) = place(docket).await? else {
            return person(docket).await;
        };
        match self {
            Self::Whole => {
                ship_as_planned(docket, id, &[(0, 2), (1, 1)]).await?;
                person(docket).await?;
                docket.cancel_order(request("cancel"), id, None).await?;
                person(docket).await?;
                let refund = (Amount(REFUNDED), "".into());
                docket
                    .refund_order(request("refund"), id, refund, user("shop"), None)
                    .await?;
            }
            Self::Retried => {
                ship(docket, id, "ship", &[(0, 1)]).await?;
                person(docket).await?;
                ship(docket, id, "rest", &[]).await?;
            }
            Self::Raised => {
                let tea = if edit(docket, id, &[(0, 8)]).await? { 8 } else { 5 };
                ship(docket, id, "ship", &[(0, tea - 1), (1, 2)]).await?;
                person(docket).await?;
                docket.cancel_order(request("cancel"), id, None).await?;
                person(docket).await?;
                let captured = 7 * (tea - 1) + 2_000;
                let refund = (Amount(captured - KEPT), "".into());
                docket
                    .refund_order(request("refund"), id, refund, user("shop"), None)
                    .await?;
            }
            Self::RaisedBefore | Self::RaisedAfter => {
                self.hold_the_second(id, stub);
                edit(docket, id, &[(0, 8)]).await?;
                ship(docket, id, "rest", &[]).await?;
            }
            _ => ship(docket, id, "rest", &[]).await?,
        }
        person(docket).await
    }

    /// The provider does not answer about the order's second payment, or is not asked for it in time. Once: when that was given up, it does.
    fn hold_the_second(self, id: OrderId, stub: &Stub) {
        let payment = format!("{id}-2");
        let is_known = |seen: &Seen| seen.order == payment;
        if stub.requests().iter().any(is_known) || stub.faults().iter().any(|it| it.order.is_some()) {
            return;
        }
        let for_ever = |on, fault| Fault {
            count: u64::MAX,
            order: Some(payment.clone()),
            ..Fault::at(on, fault)
        };
        let unheard = What::Status {
            status: 503,
            retry_after: None,
        };
        stub.add_faults(match self {
            Self::RaisedBefore => vec![for_ever(On::Authorize, What::HoldRequest)],
            _ => vec![
                for_ever(On::Authorize, What::HoldReply),
                for_ever(On::Lookup, unheard),
            ],
        })
        .unwrap();
    }
}

/// So many of these lines in all, of the order as it was confirmed. Whether that is so now.
async fn edit(docket: &Docket, id: OrderId, lines: &[(u16, i64)]) -> Result<bool, CallError> {
    const CONFIRMED: Version = Version(3);
    let edited = docket.edit_order(request("edit"), id, part(lines), user("ada"), CONFIRMED);
    match edited.await {
        Ok(_) => Ok(true),
        Err(CallError::Rejected(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn cards() -> ProviderName {
    ProviderName::new("cards").unwrap()
}

/// All orders: there is one at most.
pub async fn orders(docket: &Docket) -> Result<Vec<Arc<Order>>, CallError> {
    let all = ListOrders {
        limit: 10,
        ..ListOrders::default()
    };
    Ok(docket.list_orders(Call::default(), all).await?.orders)
}

/// Waits until nothing is left to be done by anybody but people. (What an edit waits for is to be asked of its provider.)
pub async fn quiet(docket: &Docket) -> Result<(), CallError> {
    let is_quiet = |order: &Arc<Order>| {
        order.is_settled() && order.next_payment().is_none() && order.state != OrderState::Authorizing
    };
    while !orders(docket).await?.iter().all(is_quiet) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The order, unless it is refused.
async fn place(docket: &Docket) -> Result<Option<OrderId>, CallError> {
    let paid_by_cards = PlaceOrder {
        provider: Some(cards()),
        ..order("ada", &[("tea", 5, 7), ("pot", 2, 1_000)])
    };
    match docket.place_order(request("place"), paid_by_cards).await {
        Ok(order) => Ok(Some(order.id)),
        Err(CallError::Rejected(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn ship(docket: &Docket, id: OrderId, name: &str, lines: &[(u16, i64)]) -> Result<(), CallError> {
    let shipment = Shipment {
        lines: part(lines),
        fulfilment: None,
        carrier: "".into(),
        tracking: "".into(),
    };
    let shipped = docket.ship_order(request(name), id, shipment, user("shop"), None);
    shipped.await.map(drop)
}

/// Somebody takes it upon itself first: the order's first fulfilment.
async fn ship_as_planned(docket: &Docket, id: OrderId, lines: &[(u16, i64)]) -> Result<(), CallError> {
    docket
        .open_fulfilment(request("plan"), id, part(lines), user("depot"), None)
        .await?;
    let shipment = Shipment {
        lines: Box::default(),
        fulfilment: Some(1),
        carrier: "".into(),
        tracking: "".into(),
    };
    let shipped = docket.ship_order(request("ship"), id, shipment, user("depot"), None);
    shipped.await.map(drop)
}

/// Cancels the order once its provider was asked to authorise it.
async fn cancel_while_authorising(docket: &Docket, stub: &Stub) -> Result<(), CallError> {
    let id = loop {
        let found = orders(docket).await?;
        let is_called_off = |order: &&Arc<Order>| order.state == OrderState::Cancelled;
        // Whoever leads next only asks what happened.
        let was_asked = || !stub.requests().is_empty();
        let is_asked = |order: &&Arc<Order>| order.state == OrderState::Authorizing && was_asked();
        if let Some(order) = found.iter().find(|order| is_called_off(order) || is_asked(order)) {
            break order.id;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    docket.cancel_order(request("cancel"), id, None).await.map(drop)
}

/// Has what was declined tried again until it is not, and lets the order go on.
async fn person(docket: &Docket) -> Result<(), CallError> {
    loop {
        quiet(docket).await?;
        let mut is_done = true;
        for order in orders(docket).await? {
            for number in order.declined_payments() {
                is_done = false;
                let name = format!("retry-{number}");
                docket
                    .retry_payment(request(&name), order.id, number, user("ops"), None)
                    .await?;
            }
            for hold in order.active_holds() {
                assert_eq!(hold.reason, HoldReason::Payment);
                is_done = false;
                docket
                    .release_order_hold(Call::default(), order.id, hold.reason, user("ops"), None)
                    .await?;
            }
        }
        if is_done {
            return Ok(());
        }
    }
}

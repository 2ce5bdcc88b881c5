//! What clients ask of orders that are there, put to a node as its edge does.

use std::sync::Arc;

use docket_actors::{Call, CallError, Docket, Shipment};
use docket_engine::{Order, access::Username};
use docket_proto::api::{fulfil, orders};
use docket_soak::history::clients::deeds::Message;

use crate::ask::good;

pub async fn done(docket: &Docket, call: Call, message: Message) -> Result<Arc<Order>, CallError> {
    let by = Username::new("client").unwrap();
    match message {
        Message::Hold(it) => {
            let it = good(orders::hold_order(&it));
            let why = (it.reason, it.note);
            docket.hold_order(call, it.order, why, by, it.expected).await
        }
        Message::Release(it) => {
            let it = good(orders::release_order_hold(&it));
            docket
                .release_order_hold(call, it.order, it.reason, by, it.expected)
                .await
        }
        Message::Ship(it) => {
            let it = good(fulfil::ship_order(&it));
            let shipment = Shipment {
                fulfilment: it.fulfilment,
                lines: it.lines,
                carrier: it.carrier,
                tracking: it.tracking,
            };
            docket.ship_order(call, it.order, shipment, by, it.expected).await
        }
        Message::Plan(it) => {
            let it = good(fulfil::open_fulfilment(&it));
            docket
                .open_fulfilment(call, it.order, it.lines, by, it.expected)
                .await
        }
        Message::GiveUp(it) => {
            let it = good(fulfil::cancel_fulfilment(&it));
            docket
                .cancel_fulfilment(call, it.order, it.fulfilment, by, it.expected)
                .await
        }
        Message::CancelLines(it) => {
            let it = good(fulfil::cancel_order_lines(&it));
            docket
                .cancel_order_lines(call, it.order, it.lines, it.expected)
                .await
        }
        Message::Deliver(it) => {
            let it = good(fulfil::deliver_fulfilment(&it));
            docket
                .deliver_fulfilment(call, it.order, it.fulfilment, by, it.expected)
                .await
        }
        Message::Edit(it) => {
            let it = good(fulfil::edit_order(&it));
            docket.edit_order(call, it.order, it.lines, by, it.expected).await
        }
        Message::Return(it) => {
            let it = good(fulfil::request_return(&it));
            let what = (it.lines, it.note);
            docket.request_return(call, it.order, what, by, it.expected).await
        }
        Message::Resolve(it) => moved(docket, call, good(fulfil::resolve_return(&it)), by).await,
        Message::Receive(it) => moved(docket, call, good(fulfil::receive_return(&it)), by).await,
        Message::Close(it) => moved(docket, call, good(fulfil::close_return(&it)), by).await,
        Message::Refund(it) => {
            let it = good(fulfil::refund_order(&it));
            let what = (it.amount, it.note);
            docket.refund_order(call, it.order, what, by, it.expected).await
        }
    }
}

async fn moved(
    docket: &Docket,
    call: Call,
    it: fulfil::MoveReturn,
    by: Username,
) -> Result<Arc<Order>, CallError> {
    let what = (it.number, it.step);
    docket.move_return(call, it.order, what, by, it.expected).await
}

//! What a server answers to an order of a `PlaceOrders` stream, and what it tells who watches orders. On the wire these are
//! `docket.v1.PlaceOrdersResponse` and `docket.v1.WatchOrdersResponse`, and where the node has the order itself they are written straight from
//! the engine's: a message in between would be a dozen pieces of memory for each of tens of thousands of orders a second. The tests hold the
//! bytes against those of the generated code.

use std::sync::Arc;

use bytes::Bytes;
use docket_engine::{ChangeKind, Line, Order, Quantity, ReservationState, Time};
use prost::Message as _;

use crate::{
    api::feed::kind_to_proto,
    api::show::{
        fulfilments_to_proto, has_moved, hold_to_proto, line_amount, payment_to_proto, refund_to_proto,
        rejection_to_proto, reservation_to_proto, returns_to_proto, state_to_proto, timestamp,
    },
    v1, wire,
};

/// An answer of a `PlaceOrders` stream, as its server gives it.
#[derive(Debug, Clone)]
pub enum PlaceOrdersAnswer {
    /// The order was placed.
    Placed {
        /// The request's id.
        request_id: String,
        /// What it became.
        order: Arc<Order>,
    },
    /// Another node has placed it.
    Elsewhere {
        /// The request's id.
        request_id: String,
        /// The bytes of the `docket.v1.Order` that it became.
        order: Bytes,
    },
    /// Anything else: a message that is there already.
    Message(Box<v1::PlaceOrdersResponse>),
}

impl From<v1::PlaceOrdersResponse> for PlaceOrdersAnswer {
    fn from(message: v1::PlaceOrdersResponse) -> Self {
        Self::Message(Box::new(message))
    }
}

impl PlaceOrdersAnswer {
    /// Appends the bytes of its `docket.v1.PlaceOrdersResponse`.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Placed { request_id, order } => {
                wire::text(out, 1, request_id);
                wire::nested(out, 2, |out| put_order(out, order));
            }
            Self::Elsewhere { request_id, order } => {
                wire::text(out, 1, request_id);
                wire::name(out, 2, "", order);
            }
            // A vector has room for whatever is put into it.
            Self::Message(message) => message.encode_raw(out),
        }
    }
}

/// What a watch is told at once: some changes, and how it is resumed behind them.
#[derive(Debug, Clone, Default)]
pub struct WatchOrdersAnswer {
    bytes: Vec<u8>,
    changes: usize,
}

impl WatchOrdersAnswer {
    /// Adds a change, with its order as it was after it.
    pub fn tell(&mut self, kind: ChangeKind, at: Time, order: &Order) {
        self.changes += 1;
        wire::nested(&mut self.bytes, 1, |out| {
            wire::signed(out, 1, i32::from(kind_to_proto(kind)).into());
            wire::nested(out, 2, |out| put_order(out, order));
            put_time(out, 3, at);
        });
    }

    /// Adds a change that was made a message of before.
    pub fn tell_message(&mut self, change: &v1::OrderChange) {
        self.changes += 1;
        // A vector has room for whatever is put into it.
        wire::nested(&mut self.bytes, 1, |out| change.encode_raw(out));
    }

    /// Ends it with the token that resumes the watch behind all of them.
    #[must_use]
    pub fn ended_by(mut self, resume_token: &str) -> Self {
        wire::text(&mut self.bytes, 2, resume_token);
        self
    }

    /// How many changes are in it.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// The bytes of its `docket.v1.WatchOrdersResponse`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes of the answer to another node that an order was placed: a `docket.peer.v1.ForwardReply` with its `docket.v1.Order`.
pub fn encode_forwarded_order(order: &Order) -> Bytes {
    /// Of an order of a few lines.
    const BYTES: usize = 256;
    let mut out = Vec::with_capacity(BYTES);
    wire::nested(&mut out, 1, |out| put_order(out, order));
    out.into()
}

/// A `docket.v1.Order`: [`crate::api::show::order_to_proto`], in bytes.
fn put_order(out: &mut Vec<u8>, order: &Order) {
    wire::name(out, 1, "orders/", &order.id.chars());
    wire::name(out, 2, "customers/", order.customer.as_str().as_bytes());
    wire::signed(out, 3, i32::from(state_to_proto(order.state)).into());
    wire::text(out, 4, order.currency.as_str());
    match order.only_reservation() {
        // As with nearly all orders that are answered.
        Some(state) if !has_moved(order) => {
            for line in &*order.lines {
                wire::nested(out, 5, |out| {
                    put_line(out, line);
                    put_reservation(out, state, line.quantity);
                });
            }
        }
        _ => {
            let moved = order.fulfilled_quantities().into_iter();
            let moved = moved.zip(order.cancelled_quantities()).zip(order.reservations());
            for (line, ((fulfilled, cancelled), reservations)) in order.lines.iter().zip(moved) {
                wire::nested(out, 5, |out| {
                    put_line(out, line);
                    wire::signed(out, 5, fulfilled.0);
                    wire::signed(out, 6, cancelled.0);
                    for (state, quantity) in reservations {
                        put_reservation(out, state, quantity);
                    }
                });
            }
        }
    }
    wire::signed(out, 6, order.total.0);
    if let Some(rejection) = &order.rejection {
        let rejection = rejection_to_proto(rejection);
        wire::nested(out, 7, |out| rejection.encode_raw(out));
    }
    put_time(out, 8, order.created);
    put_time(out, 9, order.updated);
    put_etag(out, 10, order.version.0);
    for hold in order.active_holds() {
        let hold = hold_to_proto(hold);
        wire::nested(out, 11, |out| hold.encode_raw(out));
    }
    let payment = payment_to_proto(order);
    wire::nested(out, 12, |out| payment.encode_raw(out));
    for fulfilment in fulfilments_to_proto(order) {
        wire::nested(out, 13, |out| fulfilment.encode_raw(out));
    }
    for found in returns_to_proto(order) {
        wire::nested(out, 14, |out| found.encode_raw(out));
    }
    for refund in order.refunds() {
        let refund = refund_to_proto(refund);
        wire::nested(out, 15, |out| refund.encode_raw(out));
    }
}

fn put_line(out: &mut Vec<u8>, line: &Line) {
    wire::name(out, 1, "items/", line.sku.as_str().as_bytes());
    wire::signed(out, 2, line.quantity.0);
    wire::signed(out, 3, line.unit_price.0);
    wire::signed(out, 4, line_amount(line));
}

fn put_reservation(out: &mut Vec<u8>, state: ReservationState, quantity: Quantity) {
    let shown = reservation_to_proto(state, quantity);
    wire::nested(out, 7, |out| {
        wire::signed(out, 1, shown.state.into());
        wire::signed(out, 2, shown.quantity);
    });
}

fn put_time(out: &mut Vec<u8>, field: u32, time: Time) {
    let time = timestamp(time);
    wire::nested(out, field, |out| {
        wire::signed(out, 1, time.seconds);
        wire::signed(out, 2, time.nanos.into());
    });
}

fn put_etag(out: &mut Vec<u8>, field: u32, version: u64) {
    // Nearly all orders that are shown are new, or have been confirmed.
    match version {
        0..=9 => wire::name(out, field, "v", &[b'0' + version as u8]),
        _ => wire::text(out, field, &crate::api::names::etag(version)),
    }
}

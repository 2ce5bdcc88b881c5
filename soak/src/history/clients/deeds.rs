//! What clients ask of orders that are there: drawn, by what was last seen of them, and in the contract's words.

use docket_proto::v1::{
    CancelFulfilmentRequest, CancelOrderLinesRequest, CloseReturnRequest, DeliverFulfilmentRequest,
    EditOrderRequest, HoldOrderRequest, LineQuantity, OpenFulfilmentRequest, ReceiveReturnRequest,
    RefundOrderRequest, ReleaseOrderHoldRequest, RequestReturnRequest, ResolveReturnRequest,
    ShipOrderRequest, order_hold,
};

use crate::{
    Chance,
    history::{
        OrderSeen,
        life::{Deed, Moved, Named, ReturnPhase},
    },
};

/// For what clients hold orders: few reasons, so that they meet.
const REASONS: [order_hold::Reason; 2] = [order_hold::Reason::Address, order_hold::Reason::Stock];
/// So many more of a line an edit wants at most.
const MORE_MAX: u64 = 4;

/// Any request about an order, whose parts all of them have.
#[derive(Clone, Debug)]
pub enum Message {
    /// `HoldOrder`.
    Hold(HoldOrderRequest),
    /// `ReleaseOrderHold`.
    Release(ReleaseOrderHoldRequest),
    /// `ShipOrder`.
    Ship(ShipOrderRequest),
    /// `OpenFulfilment`.
    Plan(OpenFulfilmentRequest),
    /// `CancelFulfilment`.
    GiveUp(CancelFulfilmentRequest),
    /// `CancelOrderLines`.
    CancelLines(CancelOrderLinesRequest),
    /// `DeliverFulfilment`.
    Deliver(DeliverFulfilmentRequest),
    /// `EditOrder`.
    Edit(EditOrderRequest),
    /// `RequestReturn`.
    Return(RequestReturnRequest),
    /// `ResolveReturn`.
    Resolve(ResolveReturnRequest),
    /// `ReceiveReturn`.
    Receive(ReceiveReturnRequest),
    /// `CloseReturn`.
    Close(CloseReturnRequest),
    /// `RefundOrder`.
    Refund(RefundOrderRequest),
}

/// Something that may be asked of an order as it was seen, and whether it is to be asked at the etag that it had; now and then what cannot be done.
pub fn draw(chance: &mut Chance, seen: &OrderSeen) -> (Deed, bool) {
    let life = &seen.life;
    let is_picky = chance.below(4) == 0;
    let some_of = |chance: &mut Chance, there: Vec<i64>| -> Option<Named> {
        let lines: Vec<usize> = (0..there.len()).filter(|line| there[*line] > 0).collect();
        let line = *lines.get(chance.below(lines.len().max(1) as u64) as usize)?;
        Some(vec![(line, 1 + chance.below(there[line] as u64) as i64)])
    };
    let open = || life.lines.iter().map(|line| line.open()).collect();
    let reason = REASONS[chance.below(REASONS.len() as u64) as usize];
    let reason = reason.as_str_name().to_owned();
    let moving = life.returns.iter().enumerate().find_map(|(at, it)| {
        let moved = match it.phase {
            ReturnPhase::Requested => Moved::Approve,
            ReturnPhase::Approved => Moved::Receive,
            ReturnPhase::Received => Moved::Close,
            _ => return None,
        };
        Some((at + 1, moved))
    });
    let prices: Vec<i64> = seen.lines.iter().map(|line| line.unit_price).collect();
    let left = life.captured(&prices) - life.refunded();
    let deed = match chance.below(20) {
        0..6 if life.holds.is_empty() => some_of(chance, open()).map(Deed::Ship),
        0..3 => life.holds.iter().next().cloned().map(Deed::Release),
        3..8 => some_of(chance, open()).map(Deed::Ship),
        8 => some_of(chance, open()).map(Deed::CancelLines),
        9 => Some(Deed::Hold(reason.clone())),
        10 => {
            let number = 1 + chance.below(life.shipments.len() as u64 + 1) as usize;
            Some(Deed::Deliver(number))
        }
        11..15 => edit(chance, seen),
        15 | 16 => some_of(chance, life.returnable()).map(Deed::Return),
        17 | 18 => moving.map(|(number, moved)| {
            let declines = moved == Moved::Approve && chance.below(5) == 0;
            Deed::Move(number, if declines { Moved::Decline } else { moved })
        }),
        _ => Some(Deed::Refund(1 + chance.below(left.max(1) as u64) as i64)),
    };
    let deed = deed.unwrap_or(Deed::Hold(reason));
    let needs_etag = matches!(deed, Deed::Edit(_));
    (deed, needs_etag || is_picky)
}

fn edit(chance: &mut Chance, seen: &OrderSeen) -> Option<Deed> {
    let lines = &seen.life.lines;
    let at = chance.below(lines.len().max(1) as u64) as usize;
    let line = lines.get(at)?;
    let gone = line.shipped + line.cancelled;
    let most = line.ordered + chance.below(MORE_MAX) as i64;
    let many = gone + chance.below((most - gone).max(0) as u64 + 1) as i64;
    Some(Deed::Edit(vec![(at, many)]))
}

impl Message {
    /// The request for something of an order.
    pub fn new(name: String, request_id: String, etag: String, deed: &Deed) -> Self {
        let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let reason = |name: &str| {
            let reason = order_hold::Reason::from_str_name(name);
            reason.unwrap_or(order_hold::Reason::Unspecified).into()
        };
        match deed {
            Deed::Hold(why) => Self::Hold(HoldOrderRequest {
                name,
                request_id,
                etag,
                reason: reason(why),
                ..HoldOrderRequest::default()
            }),
            Deed::Release(why) => Self::Release(ReleaseOrderHoldRequest {
                name,
                request_id,
                etag,
                reason: reason(why),
            }),
            Deed::Ship(lines) => Self::Ship(ShipOrderRequest {
                name,
                request_id,
                etag,
                lines: named(lines),
                ..ShipOrderRequest::default()
            }),
            Deed::ShipPlanned(which) => Self::Ship(ShipOrderRequest {
                name,
                request_id,
                etag,
                fulfilment: number(*which),
                ..ShipOrderRequest::default()
            }),
            Deed::Plan(lines) => Self::Plan(OpenFulfilmentRequest {
                name,
                request_id,
                etag,
                lines: named(lines),
            }),
            Deed::GiveUp(which) => Self::GiveUp(CancelFulfilmentRequest {
                name,
                request_id,
                etag,
                fulfilment: number(*which),
            }),
            Deed::CancelLines(lines) => Self::CancelLines(CancelOrderLinesRequest {
                name,
                request_id,
                etag,
                lines: named(lines),
            }),
            Deed::Deliver(which) => Self::Deliver(DeliverFulfilmentRequest {
                name,
                request_id,
                etag,
                fulfilment: number(*which),
            }),
            Deed::Edit(lines) => Self::Edit(EditOrderRequest {
                name,
                request_id,
                etag,
                lines: named(lines),
            }),
            Deed::Return(lines) => Self::Return(RequestReturnRequest {
                name,
                request_id,
                etag,
                lines: named(lines),
                ..RequestReturnRequest::default()
            }),
            Deed::Move(which, moved @ (Moved::Approve | Moved::Decline)) => {
                Self::Resolve(ResolveReturnRequest {
                    name,
                    request_id,
                    etag,
                    return_number: number(*which),
                    approve: *moved == Moved::Approve,
                    ..ResolveReturnRequest::default()
                })
            }
            Deed::Move(which, Moved::Receive) => Self::Receive(ReceiveReturnRequest {
                name,
                request_id,
                etag,
                return_number: number(*which),
                restock: true,
            }),
            Deed::Move(which, Moved::Close) => Self::Close(CloseReturnRequest {
                name,
                request_id,
                etag,
                return_number: number(*which),
            }),
            Deed::Refund(amount) => Self::Refund(RefundOrderRequest {
                name,
                request_id,
                etag,
                amount: *amount,
                ..RefundOrderRequest::default()
            }),
        }
    }
}

fn named(lines: &Named) -> Vec<LineQuantity> {
    let line = |&(line, quantity): &(usize, i64)| LineQuantity {
        line: i32::try_from(line).unwrap_or(i32::MAX),
        quantity,
    };
    lines.iter().map(line).collect()
}

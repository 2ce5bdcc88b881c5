//! What may be asked.

use docket_engine::{Currency, CustomerId, HoldReason, Line, OrderId, ReturnStep, Sku};

use super::cards::{Mishap, Payer};

/// A request: what is asked, and the id under which it may be asked again; empty for none.
#[derive(Debug, Clone)]
pub struct Command {
    pub request_id: String,
    pub ask: Ask,
    /// What the provider does wrong at the first step that is due of it.
    pub mishap: Option<Mishap>,
}

/// What is asked. `None` leaves a field, or expects no etag.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    CreateCustomer {
        id: CustomerId,
        name: String,
        currency: Currency,
        limit: i64,
    },
    UpdateCustomer {
        id: CustomerId,
        name: Option<String>,
        limit: Option<i64>,
        etag: Option<u64>,
    },
    CreditAccount {
        id: CustomerId,
        amount: i64,
        etag: Option<u64>,
    },
    CreateItem {
        sku: Sku,
        name: String,
        currency: Currency,
        price: i64,
        on_hand: i64,
    },
    UpdateItem {
        sku: Sku,
        name: Option<String>,
        price: Option<i64>,
        etag: Option<u64>,
    },
    AdjustStock {
        sku: Sku,
        delta: i64,
        etag: Option<u64>,
    },
    PlaceOrder {
        customer: CustomerId,
        currency: Currency,
        lines: Vec<Line>,
        payer: Payer,
    },
    CancelOrder {
        order: OrderId,
        etag: Option<u64>,
    },
    CancelOrderLines {
        order: OrderId,
        lines: Meant,
        etag: Option<u64>,
    },
    /// So many of these lines in all.
    EditOrder {
        order: OrderId,
        lines: Meant,
        etag: Option<u64>,
    },
    ShipOrder {
        order: OrderId,
        lines: Meant,
        carrier: String,
        tracking: String,
        etag: Option<u64>,
    },
    OpenFulfilment {
        order: OrderId,
        lines: Meant,
        etag: Option<u64>,
    },
    /// What was planned.
    ShipFulfilment {
        order: OrderId,
        fulfilment: u32,
        carrier: String,
        tracking: String,
        etag: Option<u64>,
    },
    CancelFulfilment {
        order: OrderId,
        fulfilment: u32,
        etag: Option<u64>,
    },
    DeliverFulfilment {
        order: OrderId,
        fulfilment: u32,
        etag: Option<u64>,
    },
    HoldOrder {
        order: OrderId,
        reason: HoldReason,
        note: String,
        etag: Option<u64>,
    },
    ReleaseOrderHold {
        order: OrderId,
        reason: HoldReason,
        etag: Option<u64>,
    },
    RequestReturn {
        order: OrderId,
        lines: Meant,
        note: String,
        etag: Option<u64>,
    },
    MoveReturn {
        order: OrderId,
        number: u32,
        step: ReturnStep,
        etag: Option<u64>,
    },
    RefundOrder {
        order: OrderId,
        amount: i64,
        note: String,
        etag: Option<u64>,
    },
    /// A step of its payment that was declined is tried again.
    RetryPayment {
        order: OrderId,
        step: u32,
        etag: Option<u64>,
    },
}

/// How much of which lines of an order, each once. Where none is named, all that there is.
pub type Meant = Vec<(u16, i64)>;

/// What a request id belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    Customer(CustomerId),
    Item(Sku),
    Order(OrderId),
}

impl Ask {
    pub fn method(&self) -> &'static str {
        match self {
            Self::CreateCustomer { .. } => "CreateCustomer",
            Self::UpdateCustomer { .. } => "UpdateCustomer",
            Self::CreditAccount { .. } => "CreditAccount",
            Self::CreateItem { .. } => "CreateItem",
            Self::UpdateItem { .. } => "UpdateItem",
            Self::AdjustStock { .. } => "AdjustStock",
            Self::PlaceOrder { .. } => "PlaceOrder",
            Self::CancelOrder { .. } => "CancelOrder",
            Self::CancelOrderLines { .. } => "CancelOrderLines",
            Self::EditOrder { .. } => "EditOrder",
            Self::ShipOrder { .. } | Self::ShipFulfilment { .. } => "ShipOrder",
            Self::OpenFulfilment { .. } => "OpenFulfilment",
            Self::CancelFulfilment { .. } => "CancelFulfilment",
            Self::DeliverFulfilment { .. } => "DeliverFulfilment",
            Self::HoldOrder { .. } => "HoldOrder",
            Self::ReleaseOrderHold { .. } => "ReleaseOrderHold",
            Self::RequestReturn { .. } => "RequestReturn",
            Self::MoveReturn { step, .. } => match step {
                ReturnStep::Approve | ReturnStep::Decline { .. } => "ResolveReturn",
                ReturnStep::Receive { .. } => "ReceiveReturn",
                ReturnStep::Close => "CloseReturn",
            },
            Self::RefundOrder { .. } => "RefundOrder",
            Self::RetryPayment { .. } => "RetryPayment",
        }
    }

    pub fn entity(&self) -> Entity {
        match self {
            Self::CreateCustomer { id, .. }
            | Self::UpdateCustomer { id, .. }
            | Self::CreditAccount { id, .. }
            | Self::PlaceOrder { customer: id, .. } => Entity::Customer(id.clone()),
            Self::CreateItem { sku, .. } | Self::UpdateItem { sku, .. } | Self::AdjustStock { sku, .. } => {
                Entity::Item(sku.clone())
            }
            Self::CancelOrder { order, .. }
            | Self::CancelOrderLines { order, .. }
            | Self::EditOrder { order, .. }
            | Self::ShipOrder { order, .. }
            | Self::OpenFulfilment { order, .. }
            | Self::ShipFulfilment { order, .. }
            | Self::CancelFulfilment { order, .. }
            | Self::DeliverFulfilment { order, .. }
            | Self::HoldOrder { order, .. }
            | Self::ReleaseOrderHold { order, .. }
            | Self::RequestReturn { order, .. }
            | Self::MoveReturn { order, .. }
            | Self::RefundOrder { order, .. }
            | Self::RetryPayment { order, .. } => Entity::Order(*order),
        }
    }

    /// Which lines of an order are meant, where it names them.
    pub fn lines(&mut self) -> Option<&mut Meant> {
        match self {
            Self::CancelOrderLines { lines, .. }
            | Self::EditOrder { lines, .. }
            | Self::ShipOrder { lines, .. }
            | Self::OpenFulfilment { lines, .. }
            | Self::RequestReturn { lines, .. } => Some(lines),
            _ => None,
        }
    }

    /// Whether it is the same request: in which order it names an order's lines does not matter.
    pub fn is_same(&self, other: &Self) -> bool {
        let in_order = |ask: &Self| {
            let mut ask = ask.clone();
            if let Some(lines) = ask.lines() {
                lines.sort_unstable();
            }
            ask
        };
        in_order(self) == in_order(other)
    }
}

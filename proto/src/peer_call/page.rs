//! A page of what shards have, asked of who leads them by who has no replica of them.

use bytes::Bytes;
use docket_engine::{
    BATCH_ORDERS_MAX, Customer, CustomerId, HoldReason, Item, Order, OrderFilter, OrderId, PaymentState, Sku,
    Time,
};
use prost::Message;

use super::{BadCall, VERSION, known, malformed, put_order, take_order, take_sku};
use crate::{
    NoIntern,
    api::show::{payment_state_of, payment_state_to_proto},
    parts::{meant_states, state_of, told_states},
    peer as pb,
    snapshot::{self, SnapshotRecord},
    v1,
};

/// The version of a question for orders with other conditions than a customer and states: who does not know them must not pass them over.
const DETAILED: u32 = 2;
/// And what somebody has planned.
const PLANNED: u32 = 3;

/// A question for a page of what some shards have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAsk {
    /// Their numbers.
    pub shards: Vec<u16>,
    /// Of what.
    pub what: PageOf,
}

/// What a page is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOf {
    /// Orders, newest first.
    Orders {
        /// Only these.
        filter: OrderFilter,
        /// Only orders below it.
        before: Option<OrderId>,
        /// At most so many.
        limit: usize,
        /// Whether shards that cannot be read are left out.
        partial: bool,
    },
    /// These orders, as far as they are there.
    Named(Vec<OrderId>),
    /// Customers, by their ids.
    Customers {
        /// Behind this one.
        after: Option<CustomerId>,
        /// At most so many.
        limit: usize,
    },
    /// Items, by their skus.
    Items {
        /// Behind this one.
        after: Option<Sku>,
        /// At most so many.
        limit: usize,
    },
}

/// A page of some shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Orders.
    pub orders: Vec<Order>,
    /// Customers.
    pub customers: Vec<Customer>,
    /// Items.
    pub items: Vec<Item>,
    /// Orders below it have not been looked at; `None` at the end.
    pub next: Option<OrderId>,
    /// The numbers of the shards that could not be read.
    pub unreachable: Vec<u16>,
}

impl PageAsk {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::page_request::What;
        let limit_of = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let what = match &self.what {
            PageOf::Orders {
                filter,
                before,
                limit,
                partial,
            } => What::Orders(pb::PageOfOrders {
                customer: filter
                    .customer
                    .as_ref()
                    .map_or_else(String::new, |id| id.as_str().to_owned()),
                states: told_states(&filter.states).collect(),
                before: before.map(put_order).unwrap_or_default(),
                limit: limit_of(*limit),
                placed_from: filter.placed_from.map(|at| at.0),
                placed_before: filter.placed_before.map(|at| at.0),
                item: filter
                    .item
                    .as_ref()
                    .map_or_else(String::new, |sku| sku.as_str().to_owned()),
                holds: filter.holds.iter().map(|it| u32::from(it.number())).collect(),
                payments: filter
                    .payments
                    .iter()
                    .map(|state| payment_state_to_proto(*state) as u32)
                    .collect(),
                partial: *partial,
                planned_before: filter.planned_before.map(|at| at.0),
            }),
            PageOf::Named(orders) => What::Named(pb::PageOfNamed {
                orders: orders.iter().copied().map(put_order).collect(),
            }),
            PageOf::Customers { after, limit } => What::Customers(pb::PageBehind {
                after: after
                    .as_ref()
                    .map_or_else(String::new, |id| id.as_str().to_owned()),
                limit: limit_of(*limit),
            }),
            PageOf::Items { after, limit } => What::Items(pb::PageBehind {
                after: after
                    .as_ref()
                    .map_or_else(String::new, |sku| sku.as_str().to_owned()),
                limit: limit_of(*limit),
            }),
        };
        let request = pb::PageRequest {
            version: match &self.what {
                PageOf::Orders { filter, .. } if filter.planned_before.is_some() => PLANNED,
                PageOf::Orders { filter, .. } if filter.is_detailed() => DETAILED,
                _ => VERSION,
            },
            shards: self.shards.iter().copied().map(u32::from).collect(),
            what: Some(what),
        };
        request.encode_to_vec().into()
    }

    /// The question in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::page_request::What;
        let request = pb::PageRequest::decode(body).map_err(malformed)?;
        if !matches!(request.version, DETAILED | PLANNED) {
            known(request.version)?;
        }
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let customer = |text: &str| {
            let id = optional(text).map(|id| CustomerId::new(&id)).transpose();
            id.map_err(|_| BadCall::Field("customer"))
        };
        let what = match request.what.ok_or(BadCall::Field("kind of page"))? {
            What::Orders(orders) => PageOf::Orders {
                filter: OrderFilter {
                    customer: customer(&orders.customer)?,
                    states: meant_states(all_of(&orders.states, "state", state_of)?),
                    placed_from: orders.placed_from.map(Time),
                    placed_before: orders.placed_before.map(Time),
                    item: optional(&orders.item).map(|sku| take_sku(&sku)).transpose()?,
                    holds: all_of(&orders.holds, "hold", HoldReason::from_number)?,
                    payments: all_of(&orders.payments, "payment", payment_of)?,
                    planned_before: orders.planned_before.map(Time),
                },
                before: take_optional_order(&orders.before)?,
                limit: orders.limit as usize,
                partial: orders.partial,
            },
            What::Named(named) => {
                if named.orders.len() > BATCH_ORDERS_MAX {
                    return Err(BadCall::Field("number of orders"));
                }
                PageOf::Named(named.orders.iter().map(take_order).collect::<Result<_, _>>()?)
            }
            What::Customers(behind) => PageOf::Customers {
                after: customer(&behind.after)?,
                limit: behind.limit as usize,
            },
            What::Items(behind) => PageOf::Items {
                after: optional(&behind.after).map(|sku| take_sku(&sku)).transpose()?,
                limit: behind.limit as usize,
            },
        };
        let shards = shards_of(&request.shards)?;
        Ok(Self { shards, what })
    }
}

impl Page {
    /// The page's bytes.
    pub fn encode(&self) -> Bytes {
        let mut records = Vec::new();
        self.orders
            .iter()
            .for_each(|order| snapshot::put_order(order, &mut records));
        self.customers
            .iter()
            .for_each(|customer| snapshot::put_customer(customer, &mut records));
        self.items
            .iter()
            .for_each(|item| snapshot::put_item(item, &mut records));
        let reply = pb::PageReply {
            records: records.into(),
            next: self.next.map(put_order).unwrap_or_default(),
            unreachable: self.unreachable.iter().copied().map(u32::from).collect(),
        };
        reply.encode_to_vec().into()
    }

    /// The page in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let reply = pb::PageReply::decode(body).map_err(malformed)?;
        let mut page = Self {
            next: take_optional_order(&reply.next)?,
            unreachable: shards_of(&reply.unreachable)?,
            ..Self::default()
        };
        for record in snapshot::records(&reply.records, &NoIntern) {
            match record.map_err(malformed)? {
                SnapshotRecord::Order(order) => page.orders.push(order),
                SnapshotRecord::Customer(customer) => page.customers.push(customer),
                SnapshotRecord::Item(item) => page.items.push(item),
                _ => return Err(BadCall::Field("record")),
            }
        }
        Ok(page)
    }
}

fn shards_of(numbers: &[u32]) -> Result<Vec<u16>, BadCall> {
    let shards = numbers.iter().map(|shard| u16::try_from(*shard));
    shards
        .collect::<Result<_, _>>()
        .map_err(|_| BadCall::Field("shard"))
}

/// What these numbers mean.
fn all_of<T>(
    numbers: &[u32],
    field: &'static str,
    meaning: impl Fn(u64) -> Option<T>,
) -> Result<Vec<T>, BadCall> {
    let meanings = numbers.iter().map(|number| meaning(u64::from(*number)));
    meanings.map(|it| it.ok_or(BadCall::Field(field))).collect()
}

fn payment_of(number: u64) -> Option<PaymentState> {
    let state = v1::order_payment::State::try_from(i32::try_from(number).ok()?);
    state.ok().and_then(payment_state_of)
}

fn take_optional_order(bytes: &Bytes) -> Result<Option<OrderId>, BadCall> {
    match bytes.is_empty() {
        true => Ok(None),
        false => take_order(bytes).map(Some),
    }
}

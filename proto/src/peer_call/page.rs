//! A page of what shards have, asked of who leads them by who has no replica of them.

use bytes::Bytes;
use docket_engine::{Customer, CustomerId, Item, Order, OrderId, OrderState, Sku};
use prost::Message;

use super::{BadCall, VERSION, known, malformed, put_order, take_order, take_sku};
use crate::{
    NoIntern,
    parts::{state_number, state_of},
    peer as pb,
    snapshot::{self, SnapshotRecord},
};

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
        /// Only this customer's.
        customer: Option<CustomerId>,
        /// Only in these states; any when empty.
        states: Vec<OrderState>,
        /// Only orders below it.
        before: Option<OrderId>,
        /// At most so many.
        limit: usize,
    },
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
}

impl PageAsk {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::page_request::What;
        let limit_of = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let what = match &self.what {
            PageOf::Orders {
                customer,
                states,
                before,
                limit,
            } => What::Orders(pb::PageOfOrders {
                customer: customer
                    .as_ref()
                    .map_or_else(String::new, |id| id.as_str().to_owned()),
                states: states.iter().map(|state| state_number(*state)).collect(),
                before: before.map(put_order).unwrap_or_default(),
                limit: limit_of(*limit),
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
            version: VERSION,
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
        known(request.version)?;
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let customer = |text: &str| {
            let id = optional(text).map(|id| CustomerId::new(&id)).transpose();
            id.map_err(|_| BadCall::Field("customer"))
        };
        let what = match request.what.ok_or(BadCall::Field("kind of page"))? {
            What::Orders(orders) => PageOf::Orders {
                customer: customer(&orders.customer)?,
                states: orders
                    .states
                    .iter()
                    .map(|state| state_of(u64::from(*state)).ok_or(BadCall::Field("state")))
                    .collect::<Result<_, _>>()?,
                before: take_optional_order(&orders.before)?,
                limit: orders.limit as usize,
            },
            What::Customers(behind) => PageOf::Customers {
                after: customer(&behind.after)?,
                limit: behind.limit as usize,
            },
            What::Items(behind) => PageOf::Items {
                after: optional(&behind.after).map(|sku| take_sku(&sku)).transpose()?,
                limit: behind.limit as usize,
            },
        };
        let shards = request.shards.iter().map(|shard| u16::try_from(*shard));
        let shards = shards
            .collect::<Result<_, _>>()
            .map_err(|_| BadCall::Field("shard"))?;
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

fn take_optional_order(bytes: &Bytes) -> Result<Option<OrderId>, BadCall> {
    match bytes.is_empty() {
        true => Ok(None),
        false => take_order(bytes).map(Some),
    }
}

//! What a client asked, when, and what it was told: the parts of a history, in words of the public contract.

use std::collections::BTreeMap;

use super::life::{Deed, Life};

/// Microseconds since the history began.
pub type Micros = u64;

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who called: one process has one call in flight.
    pub process: u32,
    /// When the call was made.
    pub invoked: Micros,
    /// When its client heard of it; none where it never did.
    pub completed: Option<Micros>,
    /// What was asked.
    pub ask: Ask,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a client asks. Keys are resource names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// An order.
    Place {
        /// The same for every repeat, and for nothing else.
        request_id: String,
        /// `customers/…`.
        customer: String,
        /// What is ordered.
        lines: Vec<Line>,
    },
    /// The end of an order.
    Cancel {
        /// The same for every repeat, and for nothing else.
        request_id: String,
        /// `orders/…`.
        order: String,
        /// Only at this etag, where it is not empty.
        etag: String,
    },
    /// Something else of an order that is there.
    Do {
        /// The same for every repeat, and for nothing else.
        request_id: String,
        /// `orders/…`.
        order: String,
        /// What.
        deed: Deed,
        /// Only at this etag, where it is not empty. An edit always has one, of an order that somebody saw.
        etag: String,
    },
    /// More stock, or less.
    Adjust {
        /// The same for every repeat, and for nothing else.
        request_id: String,
        /// `items/…`.
        item: String,
        /// Not 0.
        delta: i64,
    },
    /// Money in, or out.
    Credit {
        /// The same for every repeat, and for nothing else.
        request_id: String,
        /// `customers/…`.
        customer: String,
        /// Minor units; not 0.
        amount: i64,
    },
    /// An order as it stands.
    GetOrder {
        /// `orders/…`.
        order: String,
    },
    /// An item as it stands.
    GetItem {
        /// `items/…`.
        item: String,
    },
    /// A customer as it stands.
    GetCustomer {
        /// `customers/…`.
        customer: String,
    },
    /// All items, one page after the other.
    ListItems,
    /// All customers, one page after the other.
    ListCustomers,
    /// The newest orders of a customer, in any state: the first page.
    ListOrders {
        /// `customers/…`.
        customer: String,
    },
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// `items/…`.
    pub item: String,
    /// How many.
    pub quantity: i64,
    /// The price of one, in minor units.
    pub unit_price: i64,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok(Reply),
    /// A domain answer: it was decided, and nothing lasting was done.
    Refused(Refusal),
    /// It was not done, for certain.
    Failed(String),
    /// It may be done at any time since it was asked, or never.
    Unknown(String),
}

/// What a refusal says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Refusal {
    /// `ErrorInfo.reason`.
    pub reason: String,
    /// The resource that it is about; empty where it names none.
    pub resource: String,
    /// The figures in `ErrorInfo.metadata`: what was there when it was decided.
    pub figures: BTreeMap<String, i64>,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An order.
    Order(Box<OrderSeen>),
    /// An item.
    Item(ItemSeen),
    /// A customer.
    Customer(CustomerSeen),
    /// All items.
    Items(Vec<ItemSeen>),
    /// All customers.
    Customers(Vec<CustomerSeen>),
    /// A page of orders, newest first.
    Orders {
        /// The orders.
        orders: Vec<OrderSeen>,
        /// Whether there are no older ones.
        complete: bool,
    },
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Its stock is being reserved.
    Pending,
    /// It holds money and stock.
    Confirmed,
    /// Some of it was sent.
    PartlyShipped,
    /// All of it was sent that was not called off.
    Shipped,
    /// It was confirmed, and holds nothing any more.
    Cancelled,
    /// It was refused.
    Rejected,
    /// None that the contract knows.
    Odd,
}

/// An order as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderSeen {
    /// `orders/…`; the ids are in time order.
    pub name: String,
    /// `customers/…`.
    pub customer: String,
    /// Where it stands.
    pub phase: Phase,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// Their sum, in minor units.
    pub total: i64,
    /// Changes whenever the order does.
    pub etag: String,
    /// When it was accepted, by the server's clock, in nanoseconds.
    pub created: i128,
    /// Why it was refused; empty unless it was.
    pub rejection: String,
    /// What became of it since.
    pub life: Life,
}

/// An item as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct ItemSeen {
    /// `items/…`.
    pub name: String,
    /// How many are there.
    pub on_hand: i64,
    /// How many of them orders have reserved.
    pub reserved: i64,
    /// on hand − reserved, as the server says.
    pub available: i64,
    /// Changes with every adjustment.
    pub etag: String,
}

/// A customer as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct CustomerSeen {
    /// `customers/…`.
    pub name: String,
    /// Paid in and not spent.
    pub balance: i64,
    /// What orders hold.
    pub held: i64,
    /// How far orders may go beyond the balance.
    pub credit_limit: i64,
    /// What a new order may cost, as the server says.
    pub available: i64,
    /// Changes with every booking.
    pub etag: String,
}

/// A history: all that was asked, on which shop, and what the books said when all was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Stock of each item before the first operation.
    pub stock: BTreeMap<String, i64>,
    /// Credit limit of each customer before the first operation; its balance was 0.
    pub credit: BTreeMap<String, i64>,
    /// What was asked, in the order of `invoked`.
    pub operations: Vec<Operation>,
    /// Moments at which nothing was on its way any more: whatever was asked before one of them and never answered is done by
    /// then, or never will be.
    pub quiet: Vec<Micros>,
    /// What consumers of the feed were told, each from before the first operation on.
    pub feeds: Vec<Feed>,
    /// The books at the end, read when all was quiet.
    pub books: Option<Books>,
}

/// What one consumer of the feed was told, over all of its resumptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// In the order in which it came.
    pub changes: Vec<Change>,
    /// Why it does not go on; none while it can.
    pub broken: Option<String>,
}

/// A change of an order, as the feed tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When the consumer had it.
    pub seen: Micros,
    /// What happened.
    pub kind: ChangeKind,
    /// The order as it was after it.
    pub order: OrderSeen,
    /// When it happened, by the server's clock, in nanoseconds.
    pub at: i128,
}

/// What the feed tells of an order, in the order in which it can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It was placed, and is pending.
    Placed,
    /// It holds its stock.
    Confirmed,
    /// It was refused.
    Rejected,
    /// It was cancelled.
    Cancelled,
    /// What was called off of it, or refused, its items have given back.
    Released,
    /// It is held for one more reason, or for one less.
    Holds,
    /// Some of it was sent.
    Shipped,
    /// Its items have taken that off their stock.
    Consumed,
    /// A shipment has arrived.
    Delivered,
    /// Some of it was called off.
    LinesCancelled,
    /// Something became of a return.
    Returns,
    /// Its items have put back what came back.
    Restocked,
    /// Some of what was taken was given back.
    Refunded,
    /// Its items are asked for more.
    EditBegun,
    /// It was edited.
    Edited,
    /// Its items had no more.
    EditRefused,
    /// None that the contract knows.
    Odd,
}

/// Everything there is, as it was listed at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Every item.
    pub items: Vec<ItemSeen>,
    /// Every customer.
    pub customers: Vec<CustomerSeen>,
    /// Every order, each customer's in the order in which they were listed.
    pub orders: Vec<OrderSeen>,
}

impl Ask {
    /// What some lines cost.
    pub fn total(lines: &[Line]) -> i64 {
        let amounts = lines
            .iter()
            .map(|line| line.quantity.saturating_mul(line.unit_price));
        amounts.fold(0, i64::saturating_add)
    }

    /// The request id, of all that have one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Place { request_id, .. }
            | Self::Cancel { request_id, .. }
            | Self::Do { request_id, .. }
            | Self::Adjust { request_id, .. }
            | Self::Credit { request_id, .. } => Some(request_id),
            Self::GetOrder { .. }
            | Self::GetItem { .. }
            | Self::GetCustomer { .. }
            | Self::ListItems
            | Self::ListCustomers
            | Self::ListOrders { .. } => None,
        }
    }
}

impl Operation {
    /// The refusal, where it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.outcome {
            Outcome::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The order that it was answered with.
    pub fn order(&self) -> Option<&OrderSeen> {
        match &self.outcome {
            Outcome::Ok(Reply::Order(order)) => Some(order),
            _ => None,
        }
    }

    /// Whether it may be done, without anybody knowing.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }
}

impl History {
    /// The first moment at or after `at` when nothing was on its way.
    pub fn quiet_after(&self, at: Micros) -> Option<Micros> {
        self.quiet.iter().copied().filter(|quiet| *quiet >= at).min()
    }

    /// Every order that any client saw, with the number of the operation.
    pub fn orders_seen(&self) -> impl Iterator<Item = (usize, &OrderSeen)> {
        let operations = self.operations.iter().enumerate();
        operations.flat_map(|(number, operation)| {
            let orders = match &operation.outcome {
                Outcome::Ok(Reply::Order(order)) => std::slice::from_ref(&**order),
                Outcome::Ok(Reply::Orders { orders, .. }) => orders,
                _ => &[],
            };
            orders.iter().map(move |order| (number, order))
        })
    }
}

/// How many of each item some lines are for, in the order of the items' first lines.
pub fn by_item(lines: &[Line]) -> Vec<(&str, i64)> {
    let mut sums: Vec<(&str, i64)> = Vec::new();
    for line in lines {
        match sums.iter_mut().find(|(item, _)| *item == line.item) {
            Some((_, sum)) => *sum = sum.saturating_add(line.quantity),
            None => sums.push((&line.item, line.quantity)),
        }
    }
    sums
}

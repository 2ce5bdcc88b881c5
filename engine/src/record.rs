//! What one decision puts into a shard's log.

use crate::{CustomerEvent, CustomerId, ItemEvent, OrderEvent, OrderId, PackedOrigin, Sku, Time, Version};

/// What one decision changes: all of it, or (where a version does not fit) nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was decided, by the leader's clock.
    pub time: Time,
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// The client request behind it, where there is one to remember.
    pub request: Option<Request>,
    /// What the decision rests on and leaves as it is: a request may change nothing, and an order is refused on its customer's account.
    pub unchanged: Option<Unchanged>,
    /// Who asked for what it changes of an order; `None` where nobody did, or not every node of the cluster could keep it.
    pub origin: Option<PackedOrigin>,
}

/// An entity that a decision rests on and does not change. Where it is already as a request wants it, the request is remembered all
/// the same: a repeat must not be done when somebody has changed the entity in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchanged {
    /// The entity.
    pub entity: EntityId,
    /// Its version, which stays.
    pub version: Version,
    /// Which life of the entity's actor decided it: see [`Decider`].
    pub decider: Decider,
}

/// Any entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityId {
    /// An order.
    Order(OrderId),
    /// A customer.
    Customer(CustomerId),
    /// An item.
    Item(Sku),
}

/// One fact about one entity, and the version that it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The entity's version after this event: one more than before it.
    pub version: Version,
    /// Which life of the entity's actor decided it: see [`Decider`].
    pub decider: Decider,
    /// What happened.
    pub fact: Fact,
}

/// Names one life of an entity's actor, from the state that it loaded to its end. Two lives that overlap can give the same
/// versions to different histories; so once an event of a life did not fit, nothing of that life is taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decider(pub u32);

/// What happened, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// To an order.
    Order(OrderId, OrderEvent),
    /// An order that is over leaves memory, and is kept in its shard's archive as it is. Nothing happens to the order itself: its version stays.
    /// (The event has the version that the order's next one would make, so that it fits as any other does.)
    Archived(OrderId),
    /// To a customer.
    Customer(CustomerId, CustomerEvent),
    /// To an item.
    Item(Sku, ItemEvent),
}

/// A client request, as far as it must be remembered to answer its repeat.
// As with order ids: a `u128` would have all that has one in it be aligned to 16 bytes, which allocators are slow at.
#[repr(Rust, packed(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// A hash of its scope (the entity that it is about) and its request id.
    pub key: u128,
    /// A hash of its method and content.
    pub fingerprint: u64,
}

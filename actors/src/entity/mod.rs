//! The entities that actors decide for.

pub(crate) mod customer;
pub(crate) mod item;
pub(crate) mod order;

//! What an item, a customer and an order are, as far as their clients can see.
//!
//! An item and a customer are the same thing: an [`account`], of which orders take. Etags are numbers here, given in the order
//! in which a key's etags were seen.

pub mod account;
pub mod order;

use std::collections::HashMap;

/// An etag that nobody has seen yet.
pub const UNSEEN: u32 = 0;

/// Gives numbers to the etags of one key.
#[derive(Debug, Default)]
pub struct Etags(HashMap<String, u32>);

impl Etags {
    /// The number of an etag, the same at every call, and never [`UNSEEN`].
    pub fn number(&mut self, etag: &str) -> u32 {
        let next = self.0.len() as u32 + 1;
        *self.0.entry(etag.to_owned()).or_insert(next)
    }

    /// The number of an etag that has one.
    pub fn known(&self, etag: &str) -> Option<u32> {
        self.0.get(etag).copied()
    }
}

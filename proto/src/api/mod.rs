//! The public API's messages to and from the engine's types.
//!
//! [`names`] holds resource names and etags, [`page_token`] page tokens, [`feed`] what a watch asks and its resume tokens; [`show`] makes replies of entities; [`orders`], [`listing`], [`customers`]
//! and [`items`] take requests apart and check their shape. A check reports everything that is wrong at once, each with
//! the path of its field; what only the state can tell (an unknown item, too little stock) is the engine's to refuse.

pub mod auth;
mod card;
pub mod check;
pub mod customers;
pub mod events;
pub mod feed;
pub mod fulfil;
pub mod items;
pub mod listing;
pub mod names;
pub mod orders;
pub mod page_token;
pub mod show;
pub mod steering;
pub mod webhooks;

pub use check::{Checked, FieldViolation};

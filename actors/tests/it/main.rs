//! The node without its edge: orders, customers and items through [`Docket`], on real storage and on storage that fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod access;
mod archive;
mod backorders;
mod backup;
mod chaos;
mod cluster;
mod counted;
mod edits;
mod faults;
mod feed;
mod fraud;
mod holds;
mod low_disk;
mod orders;
mod panics;
mod payments;
mod plans;
mod repeats;
mod residents;
mod returns;
mod sagas;
mod scrub;
mod shadow;
mod shipments;
mod shop;
mod three;
mod verify;

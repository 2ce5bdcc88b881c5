//! Docket's protobuf contracts: the public API (`docket.v1`), the journal's records (`docket.journal.v1`) and what
//! nodes say to one another (`docket.peer.v1`), the code generated from them, and explicit conversions to and from the engine's types.
//!
//! Nothing here does I/O. Wire types stay at the edges of the program; the engine never sees them.

#![forbid(unsafe_code)]

pub mod access;
mod answer;
pub mod api;
mod backup;
mod code;
mod codec;
mod fact;
pub mod feed;
mod parts;
pub mod peer_call;
mod received;
pub mod record;
mod refusal;
pub mod snapshot;
mod standby;
pub mod steering;
pub mod webhook;
mod wire;

pub use answer::{PlaceOrdersAnswer, WatchOrdersAnswer, encode_forwarded_order};
pub use code::code_name;
pub use parts::{Intern, NoIntern};
pub use received::{LineView, ReceivedOrder};
pub use wire::{DecodeError, Problem};

/// The public API, package `docket.v1`.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        reason = "generated code; the proto files document it"
    )]
    tonic::include_proto!("docket.v1");
}

/// `docket.v1.OrderService` for a server that has tens of thousands of orders a second: what is said for each of them is read and written
/// without the messages of [`v1`].
pub mod server {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        reason = "generated code; the proto files document it"
    )]
    include!(concat!(env!("OUT_DIR"), "/server/docket.v1.rs"));
}

/// The journal's records, package `docket.journal.v1`.
pub mod journal {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        reason = "generated code; the proto files document it"
    )]
    tonic::include_proto!("docket.journal.v1");
}

/// What nodes say to one another, package `docket.peer.v1`.
pub mod peer {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        missing_docs,
        unused_qualifications,
        reason = "generated code; the proto files document it"
    )]
    tonic::include_proto!("docket.peer.v1");
}

/// Google's error model on the wire.
pub mod google {
    /// Package `google.rpc`.
    pub mod rpc {
        /// `google.rpc.Status`: what a PlaceOrders stream answers for a refused order.
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct Status {
            /// A value of `google.rpc.Code`.
            #[prost(int32, tag = "1")]
            pub code: i32,
            /// For developers, in English.
            #[prost(string, tag = "2")]
            pub message: String,
            /// `ErrorInfo`, `BadRequest` and the like.
            #[prost(message, repeated, tag = "3")]
            pub details: Vec<prost_types::Any>,
        }
    }
}

/// The encoded `FileDescriptorSet` of the public API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docket.v1.bin"));

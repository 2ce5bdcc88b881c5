//! The one workload of `docket bench`, the benchmarks and the soak suite: what is asked of a server, how it is asked, what
//! is measured, and whether the server's books are exactly what it acknowledged.
//!
//! ```text
//!   Workload ──▶ drive ──▶ Tally: latencies, errors, ledger ──▶ books::check ──▶ faults (none, if the server is right)
//!   (n → order)    │
//!                  ├──▶ Server: a throw-away `docket serve` process, or any other
//!                  └──▶ echo: the same messages answered by bare tonic, the limit of the edge
//! ```
//!
//! [`suite`] is the soak suite: scenarios one after the other on one server, and then on three that are a cluster, watched for leaks and drift, in rounds that each
//! end with a check of the books; [`hostile`] has clients who mean no good attack it beside an honest one; `docket-soak` is their command line.
//!
//! The load generator usually shares its cores with what it measures. So it is lean: a thread or two, every connection
//! with many calls in flight, one allocation less where it was easy; and the echo is driven by the same code, so that the ratio
//! of the two tells about the server alone.

#![forbid(unsafe_code)]

pub mod books;
mod chance;
pub mod cli;
mod cluster;
pub mod disk;
mod drive;
pub mod echo;
mod error;
pub mod history;
pub mod hostile;
mod process;
pub mod report;
mod server;
pub mod suite;
mod tally;
mod target;
mod watchers;
mod workload;
mod zipf;

pub use chance::Chance;
pub use drive::{Load, Mode, Pace, Progress, Watched, drive};
pub use error::Error;
pub use process::Usage;
pub use server::{Announced, CONFIGURATION, Server, metric, metric_sum, metrics_at};
pub use tally::{Acknowledged, Latencies, Ledger, Tally};
pub use target::{Credential, Target};
pub use watchers::{Told, WatchOf, Watchers};
pub use workload::{Basket, CREDIT_LIMIT, CURRENCY, ON_HAND, Shape, Workload, price};
pub use zipf::Zipf;

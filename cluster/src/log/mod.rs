//! The replicated log of a group, kept in the node's one journal.

mod cut;
mod dropping;
mod index;
pub(crate) mod record;
mod store;

pub(crate) use cut::cut_journal;
pub(crate) use index::{IndexError, LogIndex, Place};
pub(crate) use record::VERSION as RECORD_VERSION;
pub(crate) use record::{Record, RecordError, decode};
pub(crate) use store::{GroupLog, NodeJournal};

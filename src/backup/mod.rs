//! Backups: made of what a server hands out, verified, and restored to a new data directory. How they are kept is `docket-backup`'s.

mod local;
mod place;
mod remote;
mod restore;

pub use local::Local;
pub use place::{new_id, place};
pub use remote::Remote;
pub use restore::{Checked, Restore, choose, verify};

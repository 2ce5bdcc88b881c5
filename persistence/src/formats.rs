//! Which versions of each format a program writes and reads.

use crate::{archive, frame, mark, snapshot};

/// A format that outlives the program that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// The oldest version that is read.
    pub oldest: u32,
    /// The newest version that is read. Nothing newer is ever written, and mostly something older where nothing of the newest is in it.
    pub newest: u32,
}

/// Those of this crate.
pub const FORMATS: [Format; 4] = [
    Format {
        name: "journal frames",
        oldest: 1,
        newest: frame::SEALED_VERSION as u32,
    },
    Format {
        name: "journal mark",
        oldest: 1,
        newest: mark::VERSION,
    },
    Format {
        name: "snapshot files",
        oldest: 1,
        newest: snapshot::FILES_VERSION as u32,
    },
    Format {
        name: "archive pages",
        oldest: 1,
        newest: archive::PAGES_VERSION as u32,
    },
];

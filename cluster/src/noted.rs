//! The digests of a node's states as it stopped: `digests.json` in its data directory. Another program that replays the same journal is
//! held against them (`shadow.rs`).
//!
//! It is a note and no part of the data: nothing is decided by it, and a node starts without it as with it. What is in it
//! stays true for as long as the journal is this node's, since an entry that was applied is never another one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Mark};
use crate::{GroupId, PROTOCOL_VERSION};

const FILE: &str = "digests.json";

/// The file's version. Of a newer one nothing is believed.
pub(crate) const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    /// The newest version of the peer protocol that the program spoke which noted them.
    protocol_version: u32,
    groups: BTreeMap<u32, Vec<StoredMark>>,
}

/// The index of an entry, where its digest was begun, and the digest behind it.
type StoredMark = [u64; 3];

/// What was noted.
#[derive(Default)]
pub(crate) struct NotedDigests {
    /// The newest version of the peer protocol that the program spoke; `None` where nothing was noted.
    pub(crate) protocol_version: Option<u32>,
    pub(crate) groups: BTreeMap<GroupId, Vec<Mark>>,
}

/// Notes them, in place of those from before.
pub(crate) fn write(dir: &Path, groups: &[(GroupId, Vec<Mark>)]) -> Result<(), io::Error> {
    let put = |mark: &Mark| [mark.index, mark.digest.since, mark.digest.value];
    let groups = groups
        .iter()
        .filter(|(_, marks)| !marks.is_empty())
        .map(|(group, marks)| (group.0, marks.iter().map(put).collect()));
    let stored = Stored {
        format_version: FORMAT_VERSION,
        protocol_version: PROTOCOL_VERSION,
        groups: groups.collect(),
    };
    let unfinished = dir.join(format!("{FILE}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(&stored)?)?;
    // Behind a lost power there is the whole note, or the one from before.
    file.sync_all()?;
    fs::rename(unfinished, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// Reads them; nothing where there is no such file, or a newer program's.
///
/// # Errors
/// It is there and cannot be read.
pub(crate) fn read(dir: &Path) -> Result<NotedDigests, io::Error> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let json = match fs::read(dir.join(FILE)) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(NotedDigests::default()),
        Err(error) => return Err(error),
    };
    let Version { format_version } = serde_json::from_slice(&json)?;
    if format_version > FORMAT_VERSION {
        return Ok(NotedDigests::default());
    }
    let stored: Stored = serde_json::from_slice(&json)?;
    let take = |[index, since, value]: [u64; 3]| Mark {
        index,
        digest: Digest { since, value },
    };
    let groups = stored
        .groups
        .into_iter()
        .map(|(group, marks)| (GroupId(group), marks.into_iter().map(take).collect()));
    Ok(NotedDigests {
        protocol_version: Some(stored.protocol_version),
        groups: groups.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_again_and_a_newer_note_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().groups.is_empty());
        let mut digest = Digest::default();
        digest.add(0, b"entry", b"reply", 7);
        let mark = Mark { index: 0, digest };
        write(
            dir.path(),
            &[(GroupId(0), Vec::new()), (GroupId(3), vec![mark, mark])],
        )
        .unwrap();
        let noted = read(dir.path()).unwrap();
        assert_eq!(noted.protocol_version, Some(PROTOCOL_VERSION));
        assert_eq!(noted.groups, BTreeMap::from([(GroupId(3), vec![mark, mark])]));

        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        let newer = text.replace("\"format_version\":1", "\"format_version\":2");
        fs::write(dir.path().join(FILE), newer).unwrap();
        assert!(read(dir.path()).unwrap().groups.is_empty());
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(read(dir.path()).is_err());
    }
}

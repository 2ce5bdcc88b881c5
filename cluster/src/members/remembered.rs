//! Where the other nodes were when this one last knew: `peers.json` in the data directory, for the start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::identity::write_whole;
use crate::{ClusterError, NodeId};

const FILE: &str = "peers.json";

/// The file's format.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    nodes: Vec<StoredNode>,
}

#[derive(Serialize, Deserialize)]
struct StoredNode {
    id: u64,
    peer_address: String,
}

/// The file.
pub(super) struct Remembered {
    dir: PathBuf,
    /// What it was last given.
    written: Mutex<Vec<(NodeId, String)>>,
}

impl Remembered {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            written: Mutex::default(),
        }
    }

    /// The nodes with their addresses; none where there is no file. One that cannot be understood is worth nothing, and no reason not to
    /// start: the seeds are asked then.
    pub(super) fn read(&self) -> Result<Vec<(NodeId, String)>, ClusterError> {
        let path = self.dir.join(FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(ClusterError::Io {
                    operation: "read",
                    path,
                    source,
                });
            }
        };
        match serde_json::from_slice::<Stored>(&json) {
            Ok(stored) if stored.format_version == FORMAT_VERSION => {
                let nodes = stored.nodes.into_iter();
                Ok(nodes.map(|node| (NodeId(node.id), node.peer_address)).collect())
            }
            Ok(stored) => {
                tracing::warn!(
                    version = stored.format_version,
                    "{} is of another version, and not used",
                    path.display()
                );
                Ok(Vec::new())
            }
            Err(error) => {
                tracing::warn!(%error, "{} cannot be understood, and is not used", path.display());
                Ok(Vec::new())
            }
        }
    }

    /// Replaces the file, if it would say something else.
    pub(super) fn write(&self, nodes: &[(NodeId, String)]) -> Result<(), ClusterError> {
        let mut written = self.written.lock();
        if *written == nodes {
            return Ok(());
        }
        let stored = Stored {
            format_version: FORMAT_VERSION,
            nodes: nodes
                .iter()
                .map(|(id, address)| StoredNode {
                    id: id.0,
                    peer_address: address.clone(),
                })
                .collect(),
        };
        let json = serde_json::to_vec_pretty(&stored).map_err(|error| ClusterError::Identity {
            path: self.dir.join(FILE),
            cause: error.to_string(),
        })?;
        write_whole(&self.dir, FILE, &json)?;
        *written = nodes.to_vec();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_remembered_and_a_damaged_file_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let remembered = Remembered::new(dir.path());
        assert_eq!(remembered.read().unwrap(), []);
        let nodes = [(NodeId(2), "b:1".to_owned()), (NodeId(3), "c:1".to_owned())];
        remembered.write(&nodes).unwrap();
        assert_eq!(Remembered::new(dir.path()).read().unwrap(), nodes);
        for damaged in ["", "{", r#"{"format_version": 2, "nodes": []}"#] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(Remembered::new(dir.path()).read().unwrap(), [], "{damaged}");
        }
    }
}

//! Who a data directory belongs to: written once, when it is created, and read at every start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::limits::SHARDS_MAX;
use crate::{ClusterError, NodeId};

const FILE: &str = "identity.json";

/// Version of the data directory's layout, this file's format included.
const FORMAT_VERSION: u32 = 1;

/// The cluster and node that a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, by a random name that it got when it was created.
    pub cluster_id: String,
    /// The node, within the cluster.
    pub node_id: NodeId,
    /// Shards of the cluster.
    pub shards: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format_version: u32,
    cluster_id: String,
    node_id: u64,
    shards: u16,
}

/// Read before the rest, so that a newer file is told by its version and not by a field that is new in it.
#[derive(Deserialize)]
struct StoredVersion {
    format_version: u32,
}

impl Identity {
    /// Reads the directory's identity, or creates it with these shards (or the default, if none are given) and as this node of this
    /// cluster (or the first of a new one, if none is given).
    pub(crate) fn open(
        dir: &Path,
        shards: Option<u16>,
        shards_default: u16,
        member: Option<(&str, NodeId)>,
    ) -> Result<Self, ClusterError> {
        if let Some(shards) = shards.filter(|shards| !(1..=SHARDS_MAX).contains(shards)) {
            return Err(ClusterError::Option {
                option: "shards",
                value: shards.to_string(),
                requirement: "it must be from 1 to 1024",
            });
        }
        match Self::read(dir)? {
            Some(found) => match shards {
                Some(asked) if asked != found.shards => Err(ClusterError::ShardsDiffer {
                    path: dir.to_owned(),
                    created: found.shards,
                    asked,
                }),
                _ => match member {
                    Some(asked) if asked != (found.cluster_id.as_str(), found.node_id) => {
                        Err(ClusterError::IdentityDiffers {
                            path: dir.to_owned(),
                            cluster: found.cluster_id,
                            node: found.node_id,
                        })
                    }
                    _ => Ok(found),
                },
            },
            None => {
                let (cluster_id, node_id) = match member {
                    Some((cluster, node)) => (cluster.to_owned(), node),
                    None => (uuid::Uuid::new_v4().to_string(), FIRST_NODE),
                };
                let identity = Self {
                    cluster_id,
                    node_id,
                    shards: shards.unwrap_or(shards_default),
                };
                identity.create(dir)?;
                Ok(identity)
            }
        }
    }

    /// Reads the directory's identity; `None` where there is none yet.
    pub fn read(dir: &Path) -> Result<Option<Self>, ClusterError> {
        let path = dir.join(FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(ClusterError::Io {
                    operation: "read",
                    path,
                    source,
                });
            }
        };
        let unreadable = |error: serde_json::Error| ClusterError::Identity {
            path: path.clone(),
            cause: error.to_string(),
        };
        let StoredVersion {
            format_version: found,
        } = serde_json::from_slice(&json).map_err(unreadable)?;
        if found > FORMAT_VERSION {
            return Err(ClusterError::FormatVersion {
                path,
                found,
                known: FORMAT_VERSION,
            });
        }
        let stored: Stored = serde_json::from_slice(&json).map_err(unreadable)?;
        if !(1..=SHARDS_MAX).contains(&stored.shards) {
            return Err(ClusterError::Identity {
                path,
                cause: format!("{} shards", stored.shards),
            });
        }
        Ok(Some(Self {
            cluster_id: stored.cluster_id,
            node_id: NodeId(stored.node_id),
            shards: stored.shards,
        }))
    }

    fn create(&self, dir: &Path) -> Result<(), ClusterError> {
        let stored = Stored {
            format_version: FORMAT_VERSION,
            cluster_id: self.cluster_id.clone(),
            node_id: self.node_id.0,
            shards: self.shards,
        };
        let json = serde_json::to_vec_pretty(&stored).map_err(|error| ClusterError::Identity {
            path: dir.join(FILE),
            cause: error.to_string(),
        })?;
        let write = || -> io::Result<()> {
            fs::create_dir_all(dir)?;
            let unfinished = dir.join("identity.json.new");
            let mut file = File::create(&unfinished)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&unfinished, dir.join(FILE))?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| ClusterError::Io {
            operation: "write",
            path: dir.join(FILE),
            source,
        })
    }
}

/// The node that founds a cluster.
const FIRST_NODE: NodeId = NodeId(1);

//! Who a data directory belongs to: written once, when it is created, and read at every start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::limits::SHARDS_MAX;
use crate::options::SHARDS_DEFAULT;
use crate::{ClusterError, FINALISED_IMPLIED, NodeId};

const FILE: &str = "identity.json";

/// Version of the data directory's layout, this file's format included. Version 2 says that the directory is a member of a cluster that
/// keeps a registry of its nodes; the directory of a node that stands alone has version 1. Version 3 says with which version of the peer
/// protocol it was founded.
pub(crate) const FORMAT_VERSION: u32 = 3;
const FORMAT_VERSION_MEMBER: u32 = 2;
const FORMAT_VERSION_ALONE: u32 = 1;

/// What a node that asks to join has before it has an identity.
const JOINING_FILE: &str = "joining.json";

/// What a cluster's id must be: it is part of a DNS name in every node's certificate.
pub const CLUSTER_ID_RULE: &str =
    "a cluster's id is 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end";

/// Whether this can be a cluster's id: see [`CLUSTER_ID_RULE`].
pub fn is_cluster_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&id.len()) && id.bytes().all(plain) && !id.starts_with('-') && !id.ends_with('-')
}

/// The cluster and node that a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, by a random name that it got when it was created.
    pub cluster_id: String,
    /// The node, within the cluster.
    pub node_id: NodeId,
    /// Shards of the cluster.
    pub shards: u16,
    /// What makes it a member of a cluster of many; `None` where it stands alone.
    pub membership: Option<Membership>,
    /// The version of the peer protocol at which its cluster was finalised when it was founded here; `None` where it was not founded here,
    /// or is as old as that this was not said.
    pub founded_at: Option<u32>,
}

/// What a member's data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The directory's random name: the registry knows its node by it, and refuses another directory with the same id.
    pub instance: String,
    /// Whether it founded its cluster.
    pub founder: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format_version: u32,
    cluster_id: String,
    node_id: u64,
    shards: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    founder: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    founded_at: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredJoining {
    format_version: u32,
    cluster_id: String,
    node_id: u64,
    instance: String,
}

/// Read before the rest, so that a newer file is told by its version and not by a field that is new in it.
#[derive(Deserialize)]
struct StoredVersion {
    format_version: u32,
}

impl Identity {
    /// Reads the directory's identity, or creates it with these shards (or the default, if none are given) and as this node of this
    /// cluster (or the first of a new one, if none is given). A new one is finalised at `founded_at`, if that is given.
    pub(crate) fn open(
        dir: &Path,
        shards: Option<u16>,
        shards_default: u16,
        member: Option<(&str, NodeId)>,
        founded_at: Option<u32>,
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
                    membership: None,
                    founded_at: founded_at.filter(is_said),
                };
                identity.write(dir)?;
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
        let founder = stored.founder;
        Ok(Some(Self {
            cluster_id: stored.cluster_id,
            node_id: NodeId(stored.node_id),
            shards: stored.shards,
            membership: stored.instance.map(|instance| Membership { instance, founder }),
            founded_at: stored.founded_at,
        }))
    }

    /// Makes a data directory the first node of a new cluster of many. A directory in which a node stood alone keeps its data, its shards
    /// and its cluster's id; a new one gets those that are given, or a random id and the default.
    ///
    /// The node that uses the directory now, if one does, goes on as it is until it is started again.
    ///
    /// # Errors
    /// The directory is a member already, or another's than is asked for, or cannot be read or written.
    pub fn found(
        dir: &Path,
        cluster_id: Option<&str>,
        node: Option<NodeId>,
        shards: Option<u16>,
    ) -> Result<Self, ClusterError> {
        if let Some(id) = cluster_id.filter(|id| !is_cluster_id(id)) {
            return Err(ClusterError::Option {
                option: "the cluster's id",
                value: id.to_owned(),
                requirement: CLUSTER_ID_RULE,
            });
        }
        let stands = Self::read(dir)?;
        if let Some(member) = stands.as_ref().filter(|stands| stands.membership.is_some()) {
            return Err(ClusterError::MemberAlready {
                path: dir.to_owned(),
                cluster: member.cluster_id.clone(),
                node: member.node_id,
            });
        }
        let new = uuid::Uuid::new_v4().to_string();
        let member = match &stands {
            Some(stands) => (
                cluster_id.unwrap_or(&stands.cluster_id),
                node.unwrap_or(stands.node_id),
            ),
            None => (cluster_id.unwrap_or(&new), node.unwrap_or(FIRST_NODE)),
        };
        let mut identity = match &stands {
            // A node's id is in the log that it wrote, and the cluster's in whatever was told of it.
            Some(_) => Self::open(dir, shards, SHARDS_DEFAULT, Some(member), None)?,
            None => Self {
                cluster_id: member.0.to_owned(),
                node_id: member.1,
                shards: shards.unwrap_or(SHARDS_DEFAULT),
                membership: None,
                founded_at: Some(crate::program::speaks().newest).filter(is_said),
            },
        };
        if !(1..=SHARDS_MAX).contains(&identity.shards) {
            return Err(ClusterError::Option {
                option: "shards",
                value: identity.shards.to_string(),
                requirement: "it must be from 1 to 1024",
            });
        }
        identity.membership = Some(Membership {
            instance: new_instance(),
            founder: true,
        });
        identity.write(dir)?;
        Ok(identity)
    }

    /// The random name of a directory that is to join a cluster as this node: kept before it is told to anybody, so that who asked and
    /// was stopped asks again as the same.
    pub(crate) fn instance_to_join(dir: &Path, cluster: &str, node: NodeId) -> Result<String, ClusterError> {
        let path = dir.join(JOINING_FILE);
        let unreadable = |cause: String| ClusterError::Identity {
            path: path.clone(),
            cause,
        };
        let json = match fs::read(&path) {
            Ok(json) => Some(json),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(ClusterError::Io {
                    operation: "read",
                    path,
                    source,
                });
            }
        };
        if let Some(json) = json {
            let found: StoredJoining =
                serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))?;
            if (found.cluster_id.as_str(), found.node_id) != (cluster, node.0) {
                return Err(ClusterError::IdentityDiffers {
                    path: dir.to_owned(),
                    cluster: found.cluster_id,
                    node: NodeId(found.node_id),
                });
            }
            return Ok(found.instance);
        }
        let joining = StoredJoining {
            format_version: FORMAT_VERSION_MEMBER,
            cluster_id: cluster.to_owned(),
            node_id: node.0,
            instance: new_instance(),
        };
        let json = serde_json::to_vec_pretty(&joining).map_err(|error| unreadable(error.to_string()))?;
        write_whole(dir, JOINING_FILE, &json)?;
        Ok(joining.instance)
    }

    /// Notes that the directory was let into its cluster.
    pub(crate) fn join(
        dir: &Path,
        cluster_id: &str,
        node_id: NodeId,
        shards: u16,
        instance: String,
    ) -> Result<Self, ClusterError> {
        let identity = Self {
            cluster_id: cluster_id.to_owned(),
            node_id,
            shards,
            membership: Some(Membership {
                instance,
                founder: false,
            }),
            founded_at: None,
        };
        identity.write(dir)?;
        // It has done its service; left behind, it is looked at by nobody.
        let _ = fs::remove_file(dir.join(JOINING_FILE));
        Ok(identity)
    }

    fn write(&self, dir: &Path) -> Result<(), ClusterError> {
        let member = self.membership.as_ref();
        let stored = Stored {
            format_version: match (self.founded_at, member) {
                (Some(_), _) => FORMAT_VERSION,
                (None, Some(_)) => FORMAT_VERSION_MEMBER,
                (None, None) => FORMAT_VERSION_ALONE,
            },
            cluster_id: self.cluster_id.clone(),
            node_id: self.node_id.0,
            shards: self.shards,
            instance: member.map(|member| member.instance.clone()),
            founder: member.is_some_and(|member| member.founder),
            founded_at: self.founded_at,
        };
        let json = serde_json::to_vec_pretty(&stored).map_err(|error| ClusterError::Identity {
            path: dir.join(FILE),
            cause: error.to_string(),
        })?;
        write_whole(dir, FILE, &json)
    }
}

/// What a cluster is without saying so need not be said.
fn is_said(founded_at: &u32) -> bool {
    *founded_at > FINALISED_IMPLIED
}

fn new_instance() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Replaces a file of the data directory, whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, content: &[u8]) -> Result<(), ClusterError> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let unfinished = dir.join(format!("{name}.new"));
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, dir.join(name))?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| ClusterError::Io {
        operation: "write",
        path: dir.join(name),
        source,
    })
}

/// The node that founds a cluster.
const FIRST_NODE: NodeId = NodeId(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// What programs have written, which must be read for ever: a node alone; a member; and since version 3, what says at which version of the
    /// peer protocol its cluster was founded.
    const WRITTEN: [(&str, Option<bool>, Option<u32>); 4] = [
        (
            r#"{"format_version":1,"cluster_id":"shop","node_id":1,"shards":4}"#,
            None,
            None,
        ),
        (
            r#"{"format_version":2,"cluster_id":"shop","node_id":1,"shards":4,"instance":"i","founder":true}"#,
            Some(true),
            None,
        ),
        (
            r#"{"format_version":3,"cluster_id":"shop","node_id":1,"shards":4,"founded_at":9}"#,
            None,
            Some(9),
        ),
        (
            r#"{"format_version":3,"cluster_id":"shop","node_id":1,"shards":4,"instance":"i","founder":true,"founded_at":9}"#,
            Some(true),
            Some(9),
        ),
    ];

    #[test]
    fn every_version_of_an_identity_is_read_and_written_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        for (written, founder, founded_at) in WRITTEN {
            fs::write(dir.path().join(FILE), written).unwrap();
            let identity = Identity::read(dir.path()).unwrap().unwrap();
            assert_eq!(identity.membership.as_ref().map(|one| one.founder), founder);
            assert_eq!(identity.founded_at, founded_at);
            identity.write(dir.path()).unwrap();
            let again: serde_json::Value =
                serde_json::from_slice(&fs::read(dir.path().join(FILE)).unwrap()).unwrap();
            assert_eq!(again, serde_json::from_str::<serde_json::Value>(written).unwrap());
        }
        let newer = WRITTEN[0]
            .0
            .replace("\"format_version\":1", "\"format_version\":4");
        fs::write(dir.path().join(FILE), newer).unwrap();
        let refused = Identity::read(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("Use a newer program"), "{refused}");
    }
}

//! A node among others: its certificates from their files, and who it is from its data directory or, where that is new, from the
//! configuration.

use std::{fs, path::PathBuf};

use docket_cluster::{Identity, MemberOptions, NodeId, PeerOptions, PeerTls};

use crate::{config::Config, failure::Failure};

/// How the node takes part in its cluster; none where it stands alone.
///
/// # Errors
/// A file cannot be read, or a new data directory is not said whose it is.
pub fn options(config: &Config) -> Result<Option<(PeerOptions, MemberOptions)>, Failure> {
    let cluster = &config.cluster;
    let (Some(listen), Some(files)) = (cluster.peer_listen, Files::of(config)) else {
        return Ok(None);
    };
    let known = Identity::read(&config.server.data_dir).map_err(|cause| Failure::Other(cause.to_string()))?;
    let needed = |key: &str, what: &str| {
        Failure::Usage(format!(
            "{} is new, and whose it is must be said: set cluster.{key} to {what} that its certificate was made for, or \
             make it the first node of a cluster with `docket cluster init`",
            config.server.data_dir.display()
        ))
    };
    let (id, node) = known.map_or((None, None), |known| {
        (Some(known.cluster_id), Some(known.node_id))
    });
    let cluster_id = cluster
        .id
        .clone()
        .or(id)
        .ok_or_else(|| needed("id", "the cluster"))?;
    let node_id = cluster
        .node_id
        .map(NodeId)
        .or(node)
        .ok_or_else(|| needed("node_id", "the node"))?;
    let peers = PeerOptions {
        listen,
        tls: files.read()?,
        cluster_id,
        node_id,
        founders: Vec::new(),
    };
    let member = MemberOptions {
        peer_address: cluster.peer_address.clone(),
        client_address: cluster
            .client_address
            .clone()
            .unwrap_or_else(|| config.server.listen.to_string()),
        seeds: cluster.seeds.clone(),
        // Until there is an administrator.
        closed: true,
    };
    Ok(Some((peers, member)))
}

/// The files that a node's certificate among its peers is in.
pub struct Files {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Files {
    /// As the configuration names them; none where the node stands alone.
    pub fn of(config: &Config) -> Option<Self> {
        let cluster = &config.cluster;
        cluster.peer_listen.map(|_| Self {
            ca: cluster.ca.clone(),
            certificate: cluster.certificate.clone(),
            key: cluster.key.clone(),
        })
    }

    /// What is in them.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(&self) -> Result<PeerTls, Failure> {
        Ok(PeerTls {
            authority: read("ca", self.ca.as_ref())?,
            certificate: read("certificate", self.certificate.as_ref())?,
            key: read("key", self.key.as_ref())?,
        })
    }
}

fn read(key: &str, path: Option<&PathBuf>) -> Result<String, Failure> {
    // The configuration was checked: where there is an address for peers there are the files.
    let path =
        path.ok_or_else(|| Failure::Usage(format!("cluster.{key} is needed beside cluster.peer_listen")))?;
    fs::read_to_string(path)
        .map_err(|cause| Failure::Other(format!("cannot read cluster.{key} {}: {cause}", path.display())))
}

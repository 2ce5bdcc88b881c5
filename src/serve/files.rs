//! How many files the process may have open: connections are files, and so are the journal's. A node that has as many connections as it may
//! have files could not begin its next segment, and would have to stop.

use docket_edge::config::ConnectionsConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is kept for the journal, snapshots, the archive, peers, operators and providers.
const OWN: u64 = 512;

/// Has the system allow as many as it may, and lets in no more connections than leave enough for the rest.
pub fn bound(connections: ConnectionsConfig) -> ConnectionsConfig {
    let allowed = raise();
    let bounded = within(connections, allowed);
    if bounded.max < connections.max {
        tracing::warn!(
            allowed,
            connections = bounded.max,
            configured = connections.max,
            "the process may not have as many files open as connections.max asks for: raise its limit (LimitNOFILE, ulimit -n)"
        );
    }
    bounded
}

/// How many there may be; no number where there is no limit.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, most) {
        Ok(()) => limit.maximum,
        // What there is, is enough or is told.
        Err(_) => limit.current,
    }
}

fn within(connections: ConnectionsConfig, allowed: Option<u64>) -> ConnectionsConfig {
    let Some(allowed) = allowed else {
        return connections;
    };
    let room = allowed.saturating_sub(OWN).max(allowed / 2).max(1);
    let max = connections.max.min(usize::try_from(room).unwrap_or(usize::MAX));
    ConnectionsConfig {
        max,
        max_per_address: connections.max_per_address.min(max),
        ..connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_journal() {
        let max = |allowed| within(ConnectionsConfig::default(), allowed).max;
        assert_eq!(max(None), 4_096);
        assert_eq!(max(Some(65_536)), 4_096);
        assert_eq!(max(Some(4_096)), 3_584);
        assert_eq!(max(Some(1_024)), 512);
        assert_eq!(max(Some(256)), 128);
        let bounded = within(ConnectionsConfig::default(), Some(1_024));
        assert_eq!(bounded.max_per_address, 512);
    }
}

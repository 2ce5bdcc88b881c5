//! What the section `[cluster]` must say where the node is one of several: all of it, and nothing that contradicts.

use std::path::PathBuf;

use docket_cluster::{CLUSTER_ID_RULE, is_cluster_id};

use super::sections::{Config, Invalid};

/// Everything that is wrong with it.
pub fn problems(config: &Config) -> Vec<Invalid> {
    let cluster = &config.cluster;
    let mut found = Vec::new();
    let mut refuse = |key: &str, requirement: String| {
        found.push(Invalid {
            key: format!("cluster.{key}"),
            requirement,
        });
    };
    if cluster.id.as_ref().is_some_and(|id| !is_cluster_id(id)) {
        refuse("id", CLUSTER_ID_RULE.to_owned());
    }
    if cluster.node_id == Some(0) {
        refuse("node_id", "must be at least 1".to_owned());
    }
    let addresses = [
        ("peer_address", cluster.peer_address.as_ref()),
        ("client_address", cluster.client_address.as_ref()),
    ];
    for (key, address) in addresses {
        if address.is_some_and(|address| !is_host_and_port(address)) {
            refuse(key, ADDRESS_RULE.to_owned());
        }
    }
    if let Some(seed) = cluster.seeds.iter().find(|seed| !is_host_and_port(seed)) {
        refuse("seeds", format!("{seed:?} is none: {ADDRESS_RULE}"));
    }
    match cluster.peer_listen {
        None => {
            if let Some(key) = first_of_a_member(config) {
                refuse(
                    "peer_listen",
                    format!(
                        "is needed beside cluster.{key}: where other nodes connect, such as 0.0.0.0:7072"
                    ),
                );
            }
        }
        Some(listen) => {
            let files: [(&str, &Option<PathBuf>); 3] = [
                ("ca", &cluster.ca),
                ("certificate", &cluster.certificate),
                ("key", &cluster.key),
            ];
            for (key, _) in files.iter().filter(|(_, file)| file.is_none()) {
                refuse(
                    key,
                    "is needed beside cluster.peer_listen: `docket certs ca` and `docket certs node` make it"
                        .to_owned(),
                );
            }
            let taken = [
                ("server.listen", config.server.listen),
                ("admin.listen", config.admin.listen),
            ];
            for (key, _) in taken
                .iter()
                .filter(|(_, address)| *address == listen && listen.port() != 0)
            {
                refuse(
                    "peer_listen",
                    format!("is {key} already: give it a port of its own"),
                );
            }
            if listen.ip().is_unspecified() && cluster.peer_address.is_none() {
                refuse(
                    "peer_address",
                    format!(
                        "is needed where cluster.peer_listen is {listen}: HOST:PORT as other nodes reach it"
                    ),
                );
            }
            if config.server.listen.ip().is_unspecified() && cluster.client_address.is_none() {
                refuse(
                    "client_address",
                    format!(
                        "is needed where server.listen is {}: HOST:PORT as clients reach it",
                        config.server.listen
                    ),
                );
            }
        }
    }
    found
}

const ADDRESS_RULE: &str = "must be HOST:PORT, such as node1.example.org:7072 or [::1]:7072";

/// The first key that only makes sense for a node among others.
fn first_of_a_member(config: &Config) -> Option<&'static str> {
    let cluster = &config.cluster;
    let given = [
        ("seeds", !cluster.seeds.is_empty()),
        ("certificate", cluster.certificate.is_some()),
        ("key", cluster.key.is_some()),
        ("ca", cluster.ca.is_some()),
        ("peer_address", cluster.peer_address.is_some()),
        ("client_address", cluster.client_address.is_some()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .map_or_else(
            || (!host.contains(':')).then_some(host),
            |host| host.contains(':').then_some(host),
        );
    let is_host = |host: &str| !host.is_empty() && host.len() <= 253 && !host.contains(['/', '@', ' ']);
    bare.is_some_and(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["a:1", "node-1.example.org:7072", "10.0.0.1:65535", "[::1]:7072"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            "a",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "::1:7072",
            "[a]:1",
            "http://a:1",
            "a b:1",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    /// Asserts that these keys, and no others, are refused after a change of a good configuration.
    #[track_caller]
    fn check(change: fn(&mut Config), expected: &[&str]) {
        let mut config = Config::default();
        let cluster = &mut config.cluster;
        cluster.peer_listen = Some("127.0.0.1:7072".parse().unwrap());
        cluster.ca = Some("ca.pem".into());
        cluster.certificate = Some("node-1.pem".into());
        cluster.key = Some("node-1.key".into());
        assert_eq!(problems(&config), []);
        change(&mut config);
        let found: Vec<_> = problems(&config).into_iter().map(|one| one.key).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_a_member_lacks_is_named_and_so_is_what_a_lone_node_has_too_much() {
        check(|config| config.cluster.ca = None, &["cluster.ca"]);
        check(
            |config| config.cluster.peer_listen = None,
            &["cluster.peer_listen"],
        );
        check(
            |config| {
                config.cluster.peer_listen = Some("0.0.0.0:7072".parse().unwrap());
                config.server.listen = "0.0.0.0:7070".parse().unwrap();
            },
            &["cluster.peer_address", "cluster.client_address"],
        );
        check(
            |config| config.cluster.peer_listen = Some(config.server.listen),
            &["cluster.peer_listen"],
        );
        check(
            |config| {
                config.cluster.id = Some("Shop".into());
                config.cluster.node_id = Some(0);
                config.cluster.seeds = vec!["node1".into()];
            },
            &["cluster.id", "cluster.node_id", "cluster.seeds"],
        );
    }
}

//! The section that lets a node be asked to go wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, sections::Invalid};

/// Whether an administrator may have the node go wrong, to see what the cluster makes of it: see docs/chaos.md. Not where orders are meant.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Chaos {
    /// Whether `docket chaos` does anything on this node. Default false.
    pub enabled: bool,
    /// Allows it also where the configuration looks like one of production: with backups (`backup.to`), or a payment provider that is not on this
    /// machine. Default false.
    pub in_production: bool,
}

/// What is wrong with it.
pub fn problems(config: &Config) -> Option<Invalid> {
    let Chaos {
        enabled,
        in_production,
    } = config.chaos;
    if !enabled || in_production {
        return None;
    }
    let why = looks_like_production(config)?;
    Some(Invalid {
        key: "chaos.enabled".to_owned(),
        requirement: format!("must be false where {why} is set, unless chaos.in_production is true"),
    })
}

/// The key that says so.
fn looks_like_production(config: &Config) -> Option<String> {
    if config.backup.to.is_some() {
        return Some("backup.to".to_owned());
    }
    let mut providers = config.payments.providers.iter();
    let remote = providers.find(|(_, provider)| !provider.url.as_deref().is_some_and(is_here));
    remote.map(|(name, _)| format!("payments.providers.{name}"))
}

fn is_here(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_refused_beside_what_is_of_production_unless_that_is_allowed_by_name() {
        let mut config = Config::default();
        config.chaos.enabled = true;
        assert_eq!(problems(&config), None);
        config.backup.to = Some("/mnt/backups".into());
        let problem = problems(&config).unwrap();
        assert!(problem.key == "chaos.enabled" && problem.requirement.contains("backup.to"));
        config.chaos.in_production = true;
        assert_eq!(problems(&config), None);
        config.chaos = Chaos::default();
        assert_eq!(problems(&config), None);
    }

    #[test]
    fn a_provider_on_this_machine_is_none_of_production() {
        for here in [
            "http://127.0.0.1:9/x",
            "http://localhost",
            "http://[::1]:80",
            "https://127.1.2.3?a",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "https://pay.example.org/docket",
            "http://localhost.example.org",
            "http://10.0.0.1",
            "",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}

//! The section `[secrets]`: how secrets are read that other keys only refer to. docs/secrets.md tells the whole.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use docket_edge::auth::AuthOptions;
use docket_secrets::{
    Options, Reference,
    vault::{Login, VaultOptions},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    encryption, payments,
    sections::{Config, Invalid},
};

/// Secrets that are read again less often than once a day are not rotated.
const REFRESH_S_MAX: u64 = 24 * 60 * 60;
/// Whoever starts a node wants to know whether it starts.
const OPEN_WITHIN_S_MAX: u64 = 600;
/// No request to the server takes longer, in milliseconds: a minute.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// How secrets are read that other keys refer to, by `file:PATH`, `env:VARIABLE` or `vault:MOUNT/PATH#FIELD`. None of them is in the
/// configuration itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// After how long secrets of the server are read again, in seconds, 1 to 86,400; sooner where it gives them for less. Files are looked
    /// at every second. Default 60.
    pub refresh_s: u64,
    /// How long the start may take while the server does not answer, in seconds, 1 to 600. Later the node goes on with what it has. Default 10.
    pub open_within_s: u64,
    /// A server that speaks Vault's API.
    pub vault: Vault,
}

/// A server that speaks Vault's API (HashiCorp Vault, OpenBao), for what is referred to as `vault:MOUNT/PATH#FIELD`: a field of a secret
/// of a KV version 2 mount.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vault {
    /// Where it is, `https://HOST[:PORT]`; `http` only for a loopback address, or with `allow_http`. Default none.
    pub address: Option<String>,
    /// Whether `http` is allowed to others: then everybody on the way reads all secrets. Default false.
    pub allow_http: bool,
    /// A PEM file with authorities that are trusted beside the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// The namespace. Default none.
    pub namespace: Option<String>,
    /// Where the token is that opens it, `file:PATH` or `env:VARIABLE`; either this or `kubernetes_role`. Default none.
    pub token: Option<Reference>,
    /// The role of a login with the token of a Kubernetes service account. Default none.
    pub kubernetes_role: Option<String>,
    /// Where that method of logging in is mounted. Default `kubernetes`.
    pub kubernetes_mount: String,
    /// The file with the service account's token. Default `/var/run/secrets/kubernetes.io/serviceaccount/token`.
    pub kubernetes_jwt_file: PathBuf,
    /// How long one request may take, in milliseconds, 1 to 60,000. Default 5,000.
    pub timeout_ms: u64,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            refresh_s: 60,
            open_within_s: 10,
            vault: Vault::default(),
        }
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self {
            address: None,
            allow_http: false,
            ca_file: None,
            namespace: None,
            token: None,
            kubernetes_role: None,
            kubernetes_mount: "kubernetes".to_owned(),
            kubernetes_jwt_file: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
            timeout_ms: 5_000,
        }
    }
}

impl Secrets {
    /// What a store is opened with.
    pub fn options(&self) -> Options {
        Options {
            refresh: Duration::from_secs(self.refresh_s),
            open_within: Duration::from_secs(self.open_within_s),
            vault: self.vault.options(),
        }
    }
}

impl Vault {
    /// `None` where there is none; where it is not said how to log in there, that is found before.
    fn options(&self) -> Option<VaultOptions> {
        let login = match (&self.token, &self.kubernetes_role) {
            (Some(token), _) => Login::Token(token.clone()),
            (None, Some(role)) => Login::Kubernetes {
                mount: self.kubernetes_mount.clone(),
                role: role.clone(),
                jwt_file: self.kubernetes_jwt_file.clone(),
            },
            (None, None) => return None,
        };
        Some(VaultOptions {
            address: self.address.clone()?,
            allow_http: self.allow_http,
            ca_file: self.ca_file.clone(),
            namespace: self.namespace.clone(),
            login,
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}

/// Every key that refers to a secret that a node needs whenever it serves, and to which. The first administrator's is none of them: whoever
/// made it may take it away once it was used.
pub fn references(config: &Config) -> Vec<(String, Reference)> {
    let AuthOptions { signing_key, .. } = &config.auth;
    let own = signing_key.clone().map(|it| ("auth.signing_key".to_owned(), it));
    let providers = config.payments.providers.iter();
    let of_providers = providers.filter_map(|(name, provider)| {
        Some((payments::key(name, provider.token_option()), provider.token()?))
    });
    let backup = config.backup.key.clone().map(|it| ("backup.key".to_owned(), it));
    let standby = config
        .standby
        .api_key
        .clone()
        .map(|it| ("standby.api_key".to_owned(), it));
    own.into_iter()
        .chain(of_providers)
        .chain(backup)
        .chain(standby)
        .chain(keys_at_rest(config))
        .collect()
}

/// Those of encryption at rest, which are read also where no node is started.
pub fn keys_at_rest(config: &Config) -> Vec<(String, Reference)> {
    let keys = config.encryption.keys.iter();
    keys.map(|key| (encryption::KEYS.to_owned(), key.at.clone()))
        .collect()
}

/// The first administrator's key, which only the start that makes it reads.
pub fn admin_key(config: &Config) -> Option<(String, Reference)> {
    Some(("auth.admin_key".to_owned(), config.auth.admin_key.clone()?))
}

/// Files with private keys, and the keys that name them.
pub fn private_keys(config: &Config) -> Vec<(&'static str, &Path)> {
    let named = [("tls.key", &config.tls.key), ("cluster.key", &config.cluster.key)];
    named
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.as_deref()?)))
        .collect()
}

/// Everything that is wrong with the section, or with what refers to it.
pub fn problems(config: &Config) -> Vec<Invalid> {
    let Secrets {
        refresh_s,
        open_within_s,
        vault,
    } = &config.secrets;
    let mut found = Vec::new();
    let mut refuse = |key: &str, requirement: &str| {
        found.push(Invalid {
            key: key.to_owned(),
            requirement: requirement.to_owned(),
        });
    };
    if !(1..=REFRESH_S_MAX).contains(refresh_s) {
        refuse("secrets.refresh_s", "must be from 1 to 86,400, which is a day");
    }
    if !(1..=OPEN_WITHIN_S_MAX).contains(open_within_s) {
        refuse("secrets.open_within_s", "must be from 1 to 600");
    }
    if !(1..=TIMEOUT_MS_MAX).contains(&vault.timeout_ms) {
        refuse("secrets.vault.timeout_ms", "must be from 1 to 60,000");
    }
    match (&vault.token, &vault.kubernetes_role) {
        (Some(_), Some(_)) => refuse(
            "secrets.vault.kubernetes_role",
            "cannot be beside secrets.vault.token: there is one login",
        ),
        (None, None) if vault.address.is_some() => refuse(
            "secrets.vault.token",
            "or secrets.vault.kubernetes_role is needed beside secrets.vault.address",
        ),
        (token, role) if vault.address.is_none() && (token.is_some() || role.is_some()) => {
            refuse(
                "secrets.vault.address",
                "is needed: https://HOST[:PORT] of the server",
            );
        }
        _ => {}
    }
    if let Some(Err(invalid)) = vault.options().map(|options| options.validate()) {
        refuse(&format!("secrets.vault.{}", invalid.option), &invalid.requirement);
    }
    if vault.address.is_none() {
        let all = admin_key(config).into_iter().chain(references(config));
        for (key, _) in all.filter(|(_, it)| matches!(it, Reference::Vault(_))) {
            refuse(&key, "needs secrets.vault.address: it is at that server");
        }
    }
    for (name, provider) in &config.payments.providers {
        if provider.token.is_some() && provider.token_file.is_some() {
            refuse(
                &format!("payments.providers.{name}.token"),
                "cannot be beside token_file: there is one token",
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;

    /// A configuration with a server that it logs in at with a token.
    fn good() -> Config {
        let mut config = Config::default();
        config.secrets.vault.address = Some("https://bao.example.org".to_owned());
        config.secrets.vault.token = Some("env:BAO_TOKEN".parse().unwrap());
        config.auth.signing_key = Some("vault:secret/docket#signing_key".parse().unwrap());
        config.auth.admin_key = Some("vault:secret/docket#admin_key".parse().unwrap());
        let provider = Provider {
            url: Some("https://pay.example.org".to_owned()),
            token_file: Some("cards.token".into()),
            ..Provider::default()
        };
        config.payments.providers.insert("cards".to_owned(), provider);
        config
    }

    /// Asserts that these keys, and no others, are refused after a change of a good configuration.
    #[track_caller]
    fn check(change: fn(&mut Config), expected: &[&str]) {
        let mut config = good();
        assert_eq!(problems(&config), []);
        change(&mut config);
        let found: Vec<_> = problems(&config).into_iter().map(|one| one.key).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_is_named() {
        check(|config| config.secrets.refresh_s = 0, &["secrets.refresh_s"]);
        check(
            |config| config.secrets.open_within_s = 601,
            &["secrets.open_within_s"],
        );
        check(
            |config| config.secrets.vault.timeout_ms = 0,
            &["secrets.vault.timeout_ms"],
        );
        check(
            |config| config.secrets.vault.token = None,
            &["secrets.vault.token"],
        );
        check(
            |config| config.secrets.vault.kubernetes_role = Some("docket".into()),
            &["secrets.vault.kubernetes_role"],
        );
        check(
            |config| config.secrets.vault.address = Some("http://bao.example.org".into()),
            &["secrets.vault.address"],
        );
        check(
            |config| config.secrets.vault.token = Some("vault:secret/docket#token".parse().unwrap()),
            &["secrets.vault.token"],
        );
        check(
            |config| config.secrets.vault.address = None,
            &["secrets.vault.address", "auth.admin_key", "auth.signing_key"],
        );
        check(
            |config| {
                let cards = config.payments.providers.get_mut("cards").unwrap();
                cards.token = Some("env:CARDS".parse().unwrap());
            },
            &["payments.providers.cards.token"],
        );
    }

    #[test]
    fn each_key_refers_to_its_secret() {
        let found = references(&good());
        let texts: Vec<_> = found.iter().map(|(key, it)| format!("{key} {it}")).collect();
        assert_eq!(
            texts,
            [
                "auth.signing_key vault:secret/docket#signing_key",
                "payments.providers.cards.token_file file:cards.token",
            ]
        );
    }
}

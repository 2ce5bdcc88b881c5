//! The payment providers that the configuration names.

use std::{collections::BTreeMap, sync::Arc};

use docket_engine::ProviderName;
use docket_payments::{
    PaymentProvider,
    http::{HttpConfigError, HttpProvider},
};
use docket_secrets::{Reference, Store};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::{Config, Provider, ProviderKind, provider_key},
    failure::Failure,
};

/// Everybody who can be asked for money.
#[derive(Default)]
pub struct Providers {
    /// By name.
    pub named: BTreeMap<ProviderName, Arc<dyn PaymentProvider>>,
    /// Those that are sent another token when there is one, and where that is.
    pub followers: Vec<Follower>,
}

/// A provider whose token may become another.
pub struct Follower {
    /// The key that says where the token is.
    pub key: String,
    /// Where it is.
    pub token: Reference,
    /// Who is sent it.
    pub provider: Arc<HttpProvider>,
}

impl Follower {
    /// From now on this token is sent.
    ///
    /// # Errors
    /// A text that is no token.
    pub fn take(&self, token: &SecretString) -> Result<(), HttpConfigError> {
        self.provider.set_token(trimmed(token))
    }
}

/// Everybody who can be asked for money. Reads the files of authorities that the configuration names; connects to nobody.
///
/// # Errors
/// A file or a token that cannot be used, with the key that names it.
pub fn providers(config: &Config, secrets: &Store) -> Result<Providers, Failure> {
    let mut made = Providers::default();
    for (text, provider) in &config.payments.providers {
        let name = ProviderName::new(text)
            .map_err(|rule| Failure::Other(format!("payments.providers: the name `{text}` {rule}")))?;
        make(name, provider, secrets, &mut made)?;
    }
    Ok(made)
}

fn make(
    name: ProviderName,
    provider: &Provider,
    secrets: &Store,
    made: &mut Providers,
) -> Result<(), Failure> {
    let token_key = provider_key(name.as_str(), provider.token_option());
    match provider.kind {
        ProviderKind::Http => {
            let reference = provider.token();
            let token = reference.as_ref().and_then(|it| secrets.get(it));
            let http = provider.http(token.as_ref().map(trimmed));
            let http = HttpProvider::new(name.clone(), &http).map_err(|invalid| {
                let key = match invalid.option {
                    "token" => token_key.clone(),
                    option => provider_key(name.as_str(), option),
                };
                Failure::Other(format!("{key}: {}", invalid.requirement))
            })?;
            let http = Arc::new(http);
            if let Some(token) = reference {
                made.followers.push(Follower {
                    key: token_key,
                    token,
                    provider: Arc::clone(&http),
                });
            }
            made.named.insert(name, http);
            Ok(())
        }
    }
}

/// White space at its ends is not part of a token.
fn trimmed(token: &SecretString) -> SecretString {
    token.expose_secret().trim().into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use docket_secrets::OpenError;
    use tempfile::TempDir;

    use super::*;

    fn config(folder: &TempDir, token: Option<&str>, change: fn(&mut Provider)) -> Config {
        let mut provider = Provider {
            url: Some("https://pay.example.org".to_owned()),
            ..Provider::default()
        };
        if let Some(token) = token {
            let file = folder.path().join("cards.token");
            fs::write(&file, token).unwrap();
            provider.token_file = Some(file);
        }
        change(&mut provider);
        let mut config = Config::default();
        config.payments.providers.insert("cards".to_owned(), provider);
        config
    }

    fn made(config: &Config) -> Result<Providers, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let opened = runtime.block_on(Store::open(
            &config.secrets.options(),
            crate::config::secrets::references(config),
        ));
        providers(
            config,
            &opened.map_err(|cause: OpenError| Failure::Other(cause.to_string()))?,
        )
    }

    #[test]
    fn each_is_made_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder, Some("hunter2\n"), |_| {});
        let second = config.payments.providers["cards"].clone();
        config.payments.providers.insert("vouchers".to_owned(), second);
        let all = made(&config).unwrap();
        let names: Vec<_> = all.named.keys().map(ProviderName::as_str).collect();
        assert_eq!(names, ["cards", "vouchers"]);
        let keys: Vec<_> = all.followers.iter().map(|follower| &*follower.key).collect();
        assert_eq!(
            keys,
            [
                "payments.providers.cards.token_file",
                "payments.providers.vouchers.token_file"
            ]
        );
        assert!(made(&Config::default()).unwrap().named.is_empty());
    }

    #[track_caller]
    fn refused(token: Option<&str>, change: fn(&mut Provider), expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let Err(failure) = made(&config(&folder, token, change)) else {
            panic!("was not refused");
        };
        let told = failure.to_string();
        for part in expected {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_with_its_key_and_without_what_is_in_it() {
        let token_file = "payments.providers.cards.token_file: ";
        refused(
            None,
            |provider| provider.token_file = Some("/gone/token".into()),
            &[token_file, "cannot read file:/gone/token", "No such file"],
        );
        refused(
            Some("hunter2\nhunter2"),
            |_| {},
            &[token_file, "must be one line"],
        );
        refused(Some(" \n"), |_| {}, &[token_file, "must be one line"]);
        refused(Some("\n"), |_| {}, &[token_file, "there is nothing in it"]);
        refused(
            None,
            |provider| provider.ca_file = Some("/gone/ca.pem".into()),
            &["payments.providers.cards.ca_file: /gone/ca.pem: "],
        );
    }
}

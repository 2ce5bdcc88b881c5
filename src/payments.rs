//! The payment providers that the configuration names.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use docket_engine::ProviderName;
use docket_payments::{PaymentProvider, http::HttpProvider};
use secrecy::SecretString;

use crate::{
    config::{Config, Provider, ProviderKind, provider_key},
    failure::Failure,
};

/// The most bytes of a token's file: what is longer is another file.
const TOKEN_BYTES_MAX: u64 = 16_384;

/// Everybody who can be asked for money, by name. Reads the files that the configuration names; connects to nobody.
///
/// # Errors
/// A file that cannot be read or used, with the key that names it.
pub fn providers(config: &Config) -> Result<BTreeMap<ProviderName, Arc<dyn PaymentProvider>>, Failure> {
    let providers = config.payments.providers.iter();
    providers
        .map(|(text, provider)| {
            let name = ProviderName::new(text)
                .map_err(|rule| Failure::Other(format!("payments.providers: the name `{text}` {rule}")))?;
            let made = make(name.clone(), provider)?;
            Ok((name, made))
        })
        .collect()
}

fn make(name: ProviderName, provider: &Provider) -> Result<Arc<dyn PaymentProvider>, Failure> {
    let key = |option: &str| provider_key(name.as_str(), option);
    match provider.kind {
        ProviderKind::Http => {
            let token = provider.token_file.as_deref().map(|file| {
                token(file).map_err(|why| {
                    Failure::Other(format!("{}: cannot use {}: {why}", key("token"), file.display()))
                })
            });
            let http = provider.http(token.transpose()?);
            let made = HttpProvider::new(name.clone(), &http).map_err(|invalid| {
                Failure::Other(format!("{}: {}", key(invalid.option), invalid.requirement))
            })?;
            Ok(Arc::new(made))
        }
    }
}

fn token(file: &Path) -> Result<SecretString, String> {
    let told = |error: std::io::Error| error.to_string();
    if fs::metadata(file).map_err(told)?.len() > TOKEN_BYTES_MAX {
        return Err(format!("it has more than {TOKEN_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(file).map_err(told)?;
    Ok(text.trim().into())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn each_is_made_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder, Some("hunter2\n"), |_| {});
        let second = config.payments.providers["cards"].clone();
        config.payments.providers.insert("vouchers".to_owned(), second);
        let made = providers(&config).unwrap();
        let names: Vec<_> = made.keys().map(ProviderName::as_str).collect();
        assert_eq!(names, ["cards", "vouchers"]);
        assert!(providers(&Config::default()).unwrap().is_empty());
    }

    #[track_caller]
    fn refused(token: Option<&str>, change: fn(&mut Provider), expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let Err(failure) = providers(&config(&folder, token, change)) else {
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
            &[token_file, "cannot use /gone/token", "No such file"],
        );
        refused(
            Some("hunter2\nhunter2"),
            |_| {},
            &[token_file, "must be one line"],
        );
        refused(Some(" \n"), |_| {}, &[token_file, "must be one line"]);
        refused(
            None,
            |provider| provider.ca_file = Some("/gone/ca.pem".into()),
            &["payments.providers.cards.ca_file: /gone/ca.pem: "],
        );
    }
}

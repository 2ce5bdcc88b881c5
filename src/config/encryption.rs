//! The section `[encryption]`: with which keys the files of the data directory are sealed. docs/encryption.md tells the whole.

use std::{fmt, str::FromStr};

use docket_sealing::{KEY_IDS_MAX, KeyId};
use docket_secrets::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::sections::{Config, Invalid};

/// The key, for what is said of it.
pub const KEYS: &str = "encryption.keys";

/// Encryption at rest: with a key, what is written to the data directory from the start on is sealed: the journal, snapshots, the archive, the audit
/// log. docs/encryption.md says what is and what is not.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Encryption {
    /// The id of the key that what is new is sealed with, one of `encryption.keys`. Default none: what is new is not sealed.
    pub current: Option<String>,
    /// The keys, each `ID=REFERENCE`: an id of 1 to 32 of `a-z 0-9 - _ .`, and where 32 random bytes are, as 64 hexadecimal digits:
    /// `file:PATH`, `env:VARIABLE` or `vault:MOUNT/PATH#FIELD`. A key stays as long as anything is sealed with it: `docket journal keys`
    /// says what is. At most 64. Default none.
    #[schemars(with = "Vec<String>")]
    pub keys: Vec<KeyAt>,
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAt {
    /// What it is called.
    pub id: KeyId,
    /// Where it is.
    pub at: Reference,
}

/// What is no key's place. The text is not repeated: somebody may have put the key itself there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is ID=REFERENCE, as in 2026-11=file:/etc/docket/2026-11.key: the id is 1 to 32 of a-z 0-9 - _ . and the reference file:PATH, \
     env:VARIABLE or vault:MOUNT/PATH#FIELD"
)]
pub struct NoKeyAt;

impl FromStr for KeyAt {
    type Err = NoKeyAt;

    fn from_str(text: &str) -> Result<Self, NoKeyAt> {
        let (id, at) = text.split_once('=').ok_or(NoKeyAt)?;
        Ok(Self {
            id: id.trim().parse().map_err(|_| NoKeyAt)?,
            at: at.trim().parse().map_err(|_| NoKeyAt)?,
        })
    }
}

impl fmt::Display for KeyAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.at)
    }
}

impl<'de> Deserialize<'de> for KeyAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)
            .map_err(|_| D::Error::custom(NoKeyAt))?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for KeyAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Encryption {
    /// The id of the key that is sealed with; none where that is none, which is found before.
    pub fn current(&self) -> Option<KeyId> {
        self.current.as_ref()?.parse().ok()
    }
}

/// Everything that is wrong with the section.
pub fn problems(config: &Config) -> Vec<Invalid> {
    let Encryption { current, keys } = &config.encryption;
    let mut found = Vec::new();
    let mut refuse = |key: &str, requirement: String| {
        found.push(Invalid {
            key: key.to_owned(),
            requirement,
        });
    };
    if keys.len() > KEY_IDS_MAX {
        refuse(KEYS, format!("must be at most {KEY_IDS_MAX}"));
    }
    for (nth, key) in keys.iter().enumerate() {
        if keys[..nth].iter().any(|before| before.id == key.id) {
            refuse(KEYS, format!("the id `{}` is there twice", key.id));
        }
    }
    if let Some(current) = current
        && !keys.iter().any(|key| key.id.as_str() == current)
    {
        refuse(
            "encryption.current",
            "must be the id of one of encryption.keys".to_owned(),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(current: Option<&str>, keys: &[&str], expected: &[&str]) {
        let encryption = Encryption {
            current: current.map(str::to_owned),
            keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
        };
        let config = Config {
            encryption,
            ..Config::default()
        };
        let found: Vec<_> = problems(&config).into_iter().map(|one| one.key).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_sealed_with_is_one_of_the_keys_and_no_id_is_there_twice() {
        check(None, &[], &[]);
        check(None, &["a=env:A"], &[]);
        check(Some("b"), &["a=env:A", "b=file:b.key"], &[]);
        check(Some("c"), &["a=env:A"], &["encryption.current"]);
        check(Some(""), &["a=env:A"], &["encryption.current"]);
        check(Some("a"), &["a=env:A", "a=env:B"], &[KEYS]);
    }

    #[test]
    fn a_key_that_is_put_in_place_of_where_it_is_is_not_repeated() {
        let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        for text in [key.to_owned(), format!("a={key}"), format!("A=env:{key}")] {
            let error = text.parse::<KeyAt>().unwrap_err().to_string();
            assert!(!error.contains("00112233"), "{error}");
            let error = serde_json::from_value::<Encryption>(serde_json::json!({ "keys": [text] }));
            let error = error.unwrap_err().to_string();
            assert!(!error.contains("00112233"), "{error}");
        }
        let read: KeyAt = "2026-11=vault:secret/docket#rest".parse().unwrap();
        assert_eq!(read.to_string(), "2026-11=vault:secret/docket#rest");
    }
}

//! Where a secret is.
//!
//! ```text
//!   file:/run/secrets/cards            what the file holds, without the end of its last line
//!   env:CARDS_TOKEN                    what the variable had when the node was started
//!   vault:secret/docket/cards#token    a field of a secret of a KV v2 mount: MOUNT/PATH#FIELD
//! ```

use std::{borrow::Cow, fmt, path::PathBuf, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most bytes of a reference.
const REFERENCE_BYTES_MAX: usize = 1_024;

/// Where a secret is. It is none itself: it may be shown and logged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Variable(String),
    /// At the Vault-compatible server that is configured.
    Vault(VaultPlace),
}

/// A field of a secret of a KV v2 mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultPlace {
    /// Where the engine is mounted.
    pub mount: String,
    /// The secret's path in there.
    pub path: String,
    /// The field of the secret.
    pub field: String,
}

/// A text that says no place. It may be a secret, so that it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is not written here, only where it is: file:PATH, env:VARIABLE or vault:MOUNT/PATH#FIELD")]
pub struct NotAReference;

impl FromStr for Reference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        if text.len() > REFERENCE_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(NotAReference);
        }
        let (kind, place) = text.split_once(':').ok_or(NotAReference)?;
        match kind {
            "file" if !place.is_empty() => Ok(Self::File(place.into())),
            "env" if is_variable(place) => Ok(Self::Variable(place.to_owned())),
            "vault" => vault_place(place).map(Self::Vault).ok_or(NotAReference),
            _ => Err(NotAReference),
        }
    }
}

fn is_variable(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn vault_place(text: &str) -> Option<VaultPlace> {
    let (path, field) = text.split_once('#')?;
    let (mount, path) = path.split_once('/')?;
    // It goes into a URL as it is: what would need quoting there is not taken, nor what would leave the mount.
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let fits = is_segment(mount) && path.split('/').all(is_segment) && !field.is_empty();
    fits.then(|| VaultPlace {
        mount: mount.to_owned(),
        path: path.to_owned(),
        field: field.to_owned(),
    })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Vault(VaultPlace { mount, path, field }) => write!(f, "vault:{mount}/{path}#{field}"),
        }
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("where a secret is")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reference, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_says_a_place_and_is_its_own_text() {
        for text in [
            "file:/run/secrets/cards",
            "file:cards.token",
            "env:CARDS_TOKEN",
            "env:_a1",
            "vault:secret/docket#token",
            "vault:kv-2/team/docket/cards#the token",
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
            assert_eq!(serde_json::to_value(&reference).unwrap(), text);
            assert_eq!(
                serde_json::from_value::<Reference>(text.into()).unwrap(),
                reference
            );
        }
    }

    #[test]
    fn what_says_no_place_is_refused_and_not_repeated() {
        for text in [
            "",
            "hunter2",
            "https://hunter2",
            "file:",
            "env:",
            "env:hunter2=1",
            "env:2hunter",
            "vault:hunter2",
            "vault:secret/hunter2",
            "vault:secret/hunter2#",
            "vault:secret/../sys/hunter2#a",
            "vault:secret//hunter2#a",
            "vault:secret/hunter2?version=1#a",
            "file:a\nhunter2",
        ] {
            let refused = text.parse::<Reference>().unwrap_err();
            assert!(!refused.to_string().contains("hunter2"));
            let refused = serde_json::from_value::<Reference>(text.into()).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
    }
}

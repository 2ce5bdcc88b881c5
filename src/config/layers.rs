//! Layers of values with their origins, over the keys that the defaults have.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::{Map, Value};

use docket_engine::ProviderName;
use docket_secrets::{NotAReference, Reference};

use super::{
    error::{ConfigError, Problem},
    payments::Provider,
    sections::Config,
};

/// Where a value came from, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file, from 1.
    File(PathBuf, usize),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One value of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its key, `section.name`.
    pub key: String,
    /// The value; null where there is none.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Setting {
    /// The value as it may be shown: secrets are not.
    pub fn shown(&self) -> Value {
        // No address may have a user, but who has written one has written the password beside it.
        let is_address = ADDRESS_ENDINGS.iter().any(|ending| self.key.ends_with(ending));
        let has_user = || has_user(&self.value, is_address);
        // Where it is may be shown.
        let is_reference = || {
            self.value
                .as_str()
                .is_some_and(|text| text.parse::<Reference>().is_ok())
        };
        if (is_secret(&self.key) && !self.value.is_null() && !is_reference()) || has_user() {
            REDACTED.into()
        } else {
            self.value.clone()
        }
    }

    /// The same for people.
    pub fn text(&self) -> String {
        match self.shown() {
            Value::Null => "-".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        }
    }
}

/// What stands where a secret is.
const REDACTED: &str = "(redacted)";

/// Endings of the names of keys whose values are never shown.
const SECRET_ENDINGS: [&str; 5] = ["secret", "password", "token", "signing_key", "admin_key"];

/// Endings of keys whose values are addresses, also where somebody left out the `://`.
const ADDRESS_ENDINGS: [&str; 3] = [".url", ".address", ".endpoint"];

/// The section whose sections have names of their owner's choice.
const NAMED: &str = "payments.providers";

/// How alike two names must be for one to be meant by the other, from 0 to 1.
const LIKENESS_MIN: f64 = 0.6;

/// The values set so far and what was wrong with the others.
pub struct Layers {
    settings: BTreeMap<String, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Layers {
    /// The lowest layer. Its keys are all that there are.
    pub fn of_defaults() -> Self {
        let mut settings = BTreeMap::new();
        collect(String::new(), &defaults(), &mut settings);
        Self {
            settings,
            problems: Vec::new(),
        }
    }

    /// Whether `key` names a value.
    pub fn knows(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    /// Whether `key` names a section.
    pub fn is_section(&self, key: &str) -> bool {
        let prefix = format!("{key}.");
        // There, also while nothing is in it.
        key == NAMED
            || NAMED.starts_with(&prefix)
            || self.settings.keys().any(|known| known.starts_with(&prefix))
    }

    /// Where `key` is a section with a name of its owner's choice, or in one, that section's keys are known from now on.
    ///
    /// # Errors
    /// That is no name.
    pub fn enter(&mut self, key: &str) -> Result<(), String> {
        let name = key
            .strip_prefix(NAMED)
            .and_then(|inside| inside.strip_prefix('.'))
            .and_then(|inside| inside.split('.').next());
        let Some(name) = name else { return Ok(()) };
        ProviderName::new(name).map_err(|rule| format!("{NAMED}: the name `{name}` {rule}"))?;
        let section = format!("{NAMED}.{name}");
        if !self.is_section(&section) {
            // As with the defaults of the whole.
            let provider = serde_json::to_value(Provider::default()).unwrap_or_default();
            collect(section, &provider, &mut self.settings);
        }
        Ok(())
    }

    /// The key or section that was probably meant by `key`: a sibling or a section of a similar name, else the key of
    /// that name in another section, else the most similar key.
    pub fn meant(&self, key: &str) -> Option<String> {
        let keys = || {
            self.settings
                .keys()
                .map(|known| known.rsplit_once('.').unwrap_or(("", known)))
        };
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let sibling = || {
            nearest(
                name,
                keys().filter(|(own, _)| *own == section).map(|(_, name)| name),
            )
        };
        let whole = |name: String| format!("{section}.{name}");
        let namesake = || {
            keys()
                .find(|(_, known)| *known == name)
                .map(|(section, name)| format!("{section}.{name}"))
        };
        match section {
            "" => nearest(name, keys().map(|(section, _)| section)).or_else(namesake),
            _ if self.is_section(section) => sibling().map(whole).or_else(namesake),
            _ => namesake().or_else(|| nearest(key, self.settings.keys().map(String::as_str))),
        }
    }

    /// Notes what is wrong at `origin`.
    pub fn refuse(&mut self, origin: Origin, message: String) {
        self.problems.push(Problem { origin, message });
    }

    /// Sets a known key to the first of `readings` that its type allows; none is a problem.
    pub fn set(&mut self, key: &str, readings: &[Value], origin: Origin) {
        let mut refusal = String::new();
        for value in readings {
            match fits(key, value) {
                Ok(()) => {
                    self.settings.insert(key.to_owned(), (value.clone(), origin));
                    return;
                }
                Err(why) => refusal = why,
            }
        }
        // What serde says repeats the value, which must not be shown where it is a secret.
        let why = if is_secret(key) {
            NotAReference.to_string()
        } else {
            refusal
        };
        self.refuse(origin, format!("{key}: {why}"));
    }

    /// The configuration that the layers make, and where each value came from.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish(mut self) -> Result<(Config, Vec<Setting>), ConfigError> {
        let mut root = defaults();
        for (key, (value, _)) in &self.settings {
            put(&mut root, key, value.clone());
        }
        // Each value fitted alone, so that all of them fit together.
        let config: Config = match serde_json::from_value(root) {
            Ok(config) => config,
            Err(cause) => {
                self.refuse(Origin::Default, cause.to_string());
                return Err(ConfigError::Problems(self.problems));
            }
        };
        for invalid in config.validate() {
            let (value, origin) = match self.settings.get(&invalid.key) {
                Some((value, origin)) => (value.clone(), origin.clone()),
                None => (Value::Null, Origin::Default),
            };
            let value = Setting {
                key: invalid.key.clone(),
                value,
                origin: origin.clone(),
            }
            .shown();
            self.refuse(
                origin,
                format!("{} = {value}: {}", invalid.key, invalid.requirement),
            );
        }
        if !self.problems.is_empty() {
            self.problems.sort_by(|one, other| one.origin.cmp(&other.origin));
            return Err(ConfigError::Problems(self.problems));
        }
        let settings = self.settings.into_iter();
        let settings = settings
            .map(|(key, (value, origin))| Setting { key, value, origin })
            .collect();
        Ok((config, settings))
    }
}

/// The most similar of `candidates`, if one is similar.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .filter(|candidate| similar(candidate, name))
        .max_by(|one, other| likeness(one, name).total_cmp(&likeness(other, name)))
        .map(str::to_owned)
}

fn similar(one: &str, other: &str) -> bool {
    likeness(one, other) >= LIKENESS_MIN
}

fn likeness(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(one, other)
}

/// Whether the value of `key` is never shown.
fn is_secret(key: &str) -> bool {
    SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Whether an address with a user is in it.
fn has_user(value: &Value, is_address: bool) -> bool {
    match value {
        Value::String(text) => text.contains('@') && (is_address || text.contains("://")),
        Value::Array(values) => values.iter().any(|value| has_user(value, is_address)),
        _ => false,
    }
}

fn defaults() -> Value {
    // A struct of plain values always serialises; were it not so, the first test to load anything would say so.
    serde_json::to_value(Config::default()).unwrap_or_default()
}

/// Whether the configuration could have `value` at `key`.
fn fits(key: &str, value: &Value) -> Result<(), String> {
    let mut root = defaults();
    put(&mut root, key, value.clone());
    serde_json::from_value::<Config>(root)
        .map(|_| ())
        .map_err(|cause| cause.to_string())
}

fn put(root: &mut Value, key: &str, value: Value) {
    let mut place = root;
    for segment in key.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[segment];
    }
    *place = value;
}

fn collect(prefix: String, value: &Value, settings: &mut BTreeMap<String, (Value, Origin)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                collect(key, member, settings);
            }
        }
        leaf => {
            settings.insert(prefix, (leaf.clone(), Origin::Default));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names_and_not_shown() {
        let setting = |key: &str, value: Value| Setting {
            key: key.into(),
            value,
            origin: Origin::Default,
        };
        assert_eq!(
            setting("auth.signing_key", "hunter2".into()).shown(),
            Value::from(REDACTED)
        );
        assert_eq!(setting("auth.signing_key", Value::Null).shown(), Value::Null);
        let place = Value::from("vault:secret/docket#key");
        assert_eq!(setting("auth.signing_key", place.clone()).shown(), place);
        for (address, text) in [
            (
                "payments.providers.cards.url",
                "https://ada:hunter2@pay.example.org",
            ),
            ("secrets.vault.address", "https://ada:hunter2@bao"),
            ("secrets.vault.address", "ada:hunter2@bao"),
            ("tracing.endpoint", "http://ada:hunter2@collector:4317"),
            ("auth.external.issuer", "https://ada:hunter2@id.example.org"),
        ] {
            assert_eq!(setting(address, text.into()).shown(), Value::from(REDACTED));
            let plain = Value::from("https://b");
            assert_eq!(setting(address, plain.clone()).shown(), plain);
        }
        let several = Value::from(vec!["a:1", "https://ada:hunter2@b"]);
        assert_eq!(setting("cluster.seeds", several).shown(), Value::from(REDACTED));
        assert_eq!(
            setting("tls.key_file", "key.pem".into()).shown(),
            Value::from("key.pem")
        );
    }
}

//! What can be configured, read from where it is declared: the keys, their types, units and defaults, and what is said of each.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Config, payments::Provider, reload};

/// A section of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Its name, `journal` or `limits.customer`; where somebody chooses a name, `NAME` stands for it.
    pub name: String,
    /// What it is about.
    pub text: String,
    /// What is in it.
    pub keys: Vec<Key>,
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `section.name`, as everywhere.
    pub key: String,
    /// What its values are: `integer`, `text`, or which words.
    pub kind: String,
    /// The unit of a number; none where it counts something, or is no number.
    pub unit: Option<&'static str>,
    /// What it is where nobody sets it; null for nothing.
    pub default: Value,
    /// A change takes effect while the server runs.
    pub reloads: bool,
    /// Why one does not.
    pub restart: Option<&'static str>,
    /// What it means.
    pub text: String,
}

/// Stands for a name of its owner's choice.
const NAME: &str = "NAME";

/// By what the name of a key ends in.
const UNITS: [(&str, &str); 11] = [
    ("_days", "days"),
    ("per_minute", "a minute"),
    ("_s_max", "seconds"),
    ("bytes_min", "bytes"),
    ("_us", "microseconds"),
    ("_ms", "milliseconds"),
    ("bytes_per_second", "bytes a second"),
    ("per_second", "a second"),
    ("_s", "seconds"),
    ("bytes", "bytes"),
    ("bytes_max", "bytes"),
];

/// All sections, in the order of their names.
pub fn sections() -> Vec<Section> {
    // Every type in its place: there is nothing to be looked up.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut found = Vec::new();
    walk("", schema.as_value(), &defaults, &mut found);
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn walk(name: &str, schema: &Value, defaults: &Value, found: &mut Vec<Section>) {
    let mut keys = Vec::new();
    for (own, member) in schema["properties"].as_object().into_iter().flatten() {
        let key = match name {
            "" => own.clone(),
            _ => format!("{name}.{own}"),
        };
        let default = &defaults[own];
        if member.get("properties").is_some() {
            walk(&key, member, default, found);
        } else if member["additionalProperties"].is_object() {
            let each = serde_json::to_value(Provider::default()).unwrap_or_default();
            let mut of_name = Vec::new();
            walk(
                &format!("{key}.{NAME}"),
                &member["additionalProperties"],
                &each,
                &mut of_name,
            );
            // What is said of all of them is said where there is one.
            of_name.iter_mut().for_each(|section| section.text = text(member));
            found.append(&mut of_name);
        } else {
            keys.push(Key {
                kind: kind(member),
                unit: unit(own).filter(|_| kind(member) == "integer"),
                default: default.clone(),
                reloads: reload::takes_effect(&key),
                restart: reload::needs_restart(&key),
                text: text(member),
                key,
            });
        }
    }
    if !name.is_empty() && !keys.is_empty() {
        found.push(Section {
            name: name.to_owned(),
            text: text(schema),
            keys,
        });
    }
}

/// What is said where it is declared, in one line.
fn text(schema: &Value) -> String {
    let said = schema["description"].as_str().unwrap_or_default();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unit(name: &str) -> Option<&'static str> {
    let found = UNITS.iter().find(|(ending, _)| name.ends_with(ending));
    found.map(|(_, unit)| *unit)
}

fn kind(schema: &Value) -> String {
    let words: Vec<&str> = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["const"].as_str())
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let kind = match &schema["type"] {
        // Of a value that may be missing the first is what it is where it is there.
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind.unwrap_or_default() {
        "string" => "text".to_owned(),
        "array" => "list".to_owned(),
        other => other.to_owned(),
    }
}

/// A file that sets nothing, and says of every key what it is and what it would be: to be begun from.
pub fn file(width: usize) -> String {
    let mut out = String::new();
    for section in sections() {
        if !out.is_empty() {
            out.push('\n');
        }
        comment(&mut out, &section.text, width);
        // There is none of a name until somebody chooses one.
        let mark = if section.name.contains(NAME) { "# " } else { "" };
        out.push_str(&format!("{mark}[{}]\n", section.name));
        for key in section.keys {
            out.push('\n');
            let takes_effect = match key.restart {
                None => "takes effect while the server runs".to_owned(),
                Some(why) => format!("needs a restart: {why}"),
            };
            let unit = key.unit.map(|unit| format!(", {unit}")).unwrap_or_default();
            comment(&mut out, &key.text, width);
            comment(&mut out, &format!("({}{unit}; {takes_effect})", key.kind), width);
            let name = key.key.rsplit('.').next().unwrap_or(&key.key);
            out.push_str(&match shown(&key.default) {
                Some(default) => format!("# {name} = {default}\n"),
                None => format!("# {name} =\n"),
            });
        }
    }
    out
}

/// A default as the file has it; `None` where there is none.
fn shown(default: &Value) -> Option<String> {
    match default {
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn comment(out: &mut String, text: &str, width: usize) {
    let mut line = "#".to_owned();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if line.len() > 1 && line.len() + 1 + word.len() > width {
            out.push_str(&line);
            out.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > 1 {
        out.push_str(&line);
        out.push('\n');
    }
}

/// For programs: each key with all that is known of it.
pub fn for_programs() -> Value {
    let keys = sections().into_iter().flat_map(|section| section.keys);
    let keys = keys.map(|key| {
        let known = json!({
            "type": key.kind,
            "unit": key.unit,
            "default": key.default,
            "reloads": key.reloads,
            "restart": key.restart,
            "description": key.text,
        });
        (key.key, known)
    });
    keys.collect::<Map<_, _>>().into()
}

/// The page of the documentation.
#[cfg(test)]
fn page() -> String {
    let mut out = String::from(
        "# Configuration\n\nEvery key that `docket serve` knows: defaults, below the file (`--config`), below variables of the environment, below flags. \
         `docket config show` says\nwhat each is and where it came from, `docket config check` what is wrong and in which line, and `docket config reference` prints this \
         page as a file to begin\nfrom. A key `section.name` is the variable `DOCKET__SECTION__NAME`.\n\nThis page is made from the program: a test compares it, and \
         `DOCKET_WRITE_DOCS=1 cargo test --bin docket reference` writes it.\n",
    );
    for section in sections() {
        out.push_str(&format!("\n## `[{}]`\n\n{}\n\n", section.name, section.text));
        out.push_str("| key | value | default | while it runs | |\n|---|---|---|---|---|\n");
        for key in section.keys {
            let name = key.key.rsplit('.').next().unwrap_or(&key.key);
            let kind = match key.unit {
                Some(unit) => unit.to_owned(),
                None => key.kind,
            };
            let default = shown(&key.default).map_or("–".to_owned(), |default| format!("`{default}`"));
            let reloads = key.restart.map_or("yes".to_owned(), |why| format!("no: {why}"));
            let text = key.text.replace('|', "\\|");
            out.push_str(&format!(
                "| `{name}` | {kind} | {default} | {reloads} | {text} |\n"
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use super::*;
    use crate::config::{Flags, Loaded};

    #[test]
    fn every_key_of_the_configuration_is_there_with_its_default_and_something_is_said_of_it() {
        let loaded = Loaded::load(None, [], &Flags::default()).unwrap();
        let sections = sections();
        let keys: Vec<&Key> = sections.iter().flat_map(|section| &section.keys).collect();
        let named = |key: &&&Key| key.key.contains(NAME);
        let known: BTreeSet<&str> = keys
            .iter()
            .filter(|key| !named(key))
            .map(|key| &*key.key)
            .collect();
        let settings: BTreeSet<&str> = loaded.settings.iter().map(|setting| &*setting.key).collect();
        assert_eq!(known, settings);
        assert!(keys.iter().any(|key| key.key == "payments.providers.NAME.url"));
        for key in &keys {
            assert!(!key.text.is_empty() && !key.kind.is_empty(), "{key:?}");
            if let Some(setting) = loaded.settings.iter().find(|setting| setting.key == key.key) {
                assert_eq!(setting.value, key.default, "{}", key.key);
            }
        }
        assert!(sections.iter().all(|section| !section.text.is_empty()));
        let of = |name: &str| *keys.iter().find(|key| key.key == name).unwrap();
        assert_eq!(of("calls.max_ms").unit, Some("milliseconds"));
        assert_eq!(of("limits.customer.per_second").unit, Some("a second"));
        assert_eq!(of("journal.segment_bytes").unit, Some("bytes"));
        assert_eq!(of("audit.age_max_days").unit, Some("days"));
        assert_eq!(of("audit.denials_per_minute").unit, Some("a minute"));
        assert_eq!(of("auth.external.token_s_max").unit, Some("seconds"));
        assert_eq!(of("cluster.snapshot_bytes_min").unit, Some("bytes"));
        assert_eq!(of("feed.watches_max").unit, None);
        assert_eq!(of("log.format").kind, "auto, text, json");
        assert_eq!(of("tls.key").kind, "text");
    }

    #[test]
    fn what_is_printed_is_a_file_that_sets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docket.toml");
        let text = file(80);
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        fs::write(&path, &text).unwrap();
        let loaded = Loaded::load(Some(&path), [], &Flags::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
        // And each line, once it is not commented out, sets what it says.
        let (mut set, mut is_of_name) = (String::new(), false);
        for line in text.lines() {
            if line.ends_with(']') && line.trim_start_matches("# ").starts_with('[') {
                is_of_name = line.contains(NAME);
            }
            let key = line.strip_prefix("# ").filter(|key| is_key(key) && !is_of_name);
            set.push_str(key.unwrap_or(line));
            set.push('\n');
        }
        assert!(set.contains("\nmax_ms = 30000\n"), "{set}");
        fs::write(&path, set).unwrap();
        let loaded = Loaded::load(Some(&path), [], &Flags::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
    }

    /// `name = value`, with a value.
    fn is_key(text: &str) -> bool {
        text.split_once(" = ").is_some_and(|(name, value)| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
                && !value.is_empty()
        })
    }

    #[test]
    fn the_page_about_the_configuration_says_what_the_program_knows() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let page = page();
        if env::var_os("DOCKET_WRITE_DOCS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == page,
            "docs/configuration.md is not what the program knows; run this with DOCKET_WRITE_DOCS=1 and look at what changes"
        );
    }
}

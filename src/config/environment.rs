//! The layer of the environment: `DOCKET__SECTION__NAME=value`.

use std::ffi::OsString;

use serde_json::Value;

use super::{
    file::value_to_json,
    layers::{Layers, Origin},
};

/// What the variables begin with. One underscore (`DOCKET_ADDR`) is for the client commands.
const PREFIX: &str = "DOCKET__";

/// Lays those of `variables` that are ours over `layers`.
pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>, layers: &mut Layers) {
    let ours = variables.into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
        Some((name, value))
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    for (name, value) in ours {
        let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        let origin = Origin::Variable(name);
        if let Err(why) = layers.enter(&key) {
            layers.refuse(origin, why);
            continue;
        }
        if !layers.knows(&key) {
            let meant = layers.meant(&key).filter(|meant| layers.knows(meant));
            let meant = meant
                .map(|meant| format!("; did you mean {}?", variable(&meant)))
                .unwrap_or_default();
            layers.refuse(origin, format!("there is no key `{key}`{meant}"));
            continue;
        }
        match value.into_string() {
            Ok(text) => layers.set(&key, &readings(&text), origin),
            Err(_) => layers.refuse(origin, "the value is not UTF-8".to_owned()),
        }
    }
}

/// What the text of a variable can mean: itself, or a number, a flag or a list as TOML writes them.
fn readings(text: &str) -> Vec<Value> {
    let literal = text
        .parse()
        .ok()
        .as_ref()
        .and_then(value_to_json)
        .filter(|value| !value.is_string());
    [Some(Value::from(text)), literal].into_iter().flatten().collect()
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

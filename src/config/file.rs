//! The layer of the TOML file: every value with its line.

use std::{fs, ops::Range, path::Path};

use serde_json::{Map, Number, Value};
use toml_edit::{Document, Item, TableLike};

use super::{
    error::ConfigError,
    layers::{Layers, Origin},
};

/// Lays the values of the file at `path` over `layers`.
///
/// # Errors
/// The file cannot be read. What is wrong in it is noted in `layers`.
pub fn read(path: &Path, layers: &mut Layers) -> Result<(), ConfigError> {
    let text = fs::read_to_string(path).map_err(|cause| ConfigError::File {
        path: path.to_owned(),
        cause,
    })?;
    let place = |span: Option<Range<usize>>| {
        let start = span.map_or(0, |span| span.start).min(text.len());
        Origin::File(
            path.to_owned(),
            text.as_bytes()[..start]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
        )
    };
    match Document::parse(text.as_str()) {
        Ok(document) => read_table("", document.as_table(), &place, layers),
        Err(cause) => layers.refuse(
            place(cause.span()),
            format!("this is not TOML: {}", cause.message()),
        ),
    }
    Ok(())
}

fn read_table(
    prefix: &str,
    table: &dyn TableLike,
    place: &dyn Fn(Option<Range<usize>>) -> Origin,
    layers: &mut Layers,
) {
    for (name, item) in table.iter() {
        let key = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        };
        let origin = place(
            table
                .key(name)
                .and_then(toml_edit::Key::span)
                .or_else(|| item.span()),
        );
        if let Err(why) = layers.enter(&key) {
            layers.refuse(origin, why);
            continue;
        }
        let section = layers.is_section(&key);
        match item.as_table_like() {
            Some(table) if section => read_table(&key, table, place, layers),
            _ if section => layers.refuse(origin, format!("{key} is a section: write [{key}]")),
            _ if layers.knows(&key) => match to_json(item) {
                Some(value) => layers.set(&key, &[value], origin),
                None => layers.refuse(origin, format!("{key}: a plain value is expected")),
            },
            _ => {
                let meant = layers
                    .meant(&key)
                    .map(|meant| format!("; did you mean `{meant}`?"))
                    .unwrap_or_default();
                layers.refuse(origin, format!("unknown key `{key}`{meant}"));
            }
        }
    }
}

/// The value as JSON; none where JSON has no such thing (dates, infinities).
fn to_json(item: &Item) -> Option<Value> {
    match item {
        Item::Value(value) => value_to_json(value),
        Item::Table(table) => {
            let members = table
                .iter()
                .map(|(name, item)| Some((name.to_owned(), to_json(item)?)));
            Some(Value::Object(members.collect::<Option<Map<_, _>>>()?))
        }
        Item::ArrayOfTables(_) | Item::None => None,
    }
}

/// See [`to_json`].
pub fn value_to_json(value: &toml_edit::Value) -> Option<Value> {
    match value {
        toml_edit::Value::String(text) => Some(text.value().as_str().into()),
        toml_edit::Value::Integer(number) => Some((*number.value()).into()),
        toml_edit::Value::Float(number) => Number::from_f64(*number.value()).map(Value::Number),
        toml_edit::Value::Boolean(flag) => Some((*flag.value()).into()),
        toml_edit::Value::Array(values) => values
            .iter()
            .map(value_to_json)
            .collect::<Option<Vec<_>>>()
            .map(Value::Array),
        toml_edit::Value::InlineTable(table) => {
            let members = table
                .iter()
                .map(|(name, value)| Some((name.to_owned(), value_to_json(value)?)));
            Some(Value::Object(members.collect::<Option<Map<_, _>>>()?))
        }
        toml_edit::Value::Datetime(_) => None,
    }
}

//! A result as an ordered list of fields, each with its value for programs and its text for people.

use comfy_table::CellAlignment;
use serde_json::{Map, Value, json};

use crate::values::{money, names, time};

/// Something that the contract returns and a command shows.
pub trait Resource {
    /// The key of a list of them in JSON.
    const PLURAL: &'static str;
    /// The columns of a list of them.
    const COLUMNS: &'static [&'static str];
    /// All of its fields.
    fn fields(&self) -> Vec<Field>;
    /// Lists inside it that people see as tables of their own.
    fn parts(&self) -> Vec<Records> {
        Vec::new()
    }
}

/// Rows under columns.
#[derive(Clone, Debug)]
pub struct Records {
    /// The names of the fields that are shown.
    pub columns: &'static [&'static str],
    /// The rows.
    pub rows: Vec<Vec<Field>>,
}

/// How a text feels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// As wished.
    Good,
    /// Not as wished.
    Bad,
    /// Not settled.
    Pending,
}

/// One value with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The contract's name of the field.
    pub name: &'static str,
    /// For programs.
    pub json: Value,
    /// For people; empty where there is nothing to show.
    pub text: String,
    /// How the text feels.
    pub tone: Tone,
}

impl Field {
    /// A text.
    pub fn text(name: &'static str, text: &str) -> Self {
        Self {
            name,
            json: json!(text),
            text: text.to_owned(),
            tone: Tone::Plain,
        }
    }

    /// A value whose text is made for people.
    pub fn shown(name: &'static str, json: Value, text: impl Into<String>) -> Self {
        Self {
            name,
            json,
            text: text.into(),
            tone: Tone::Plain,
        }
    }

    /// A resource name: programs get all of it, people the id.
    pub fn resource(name: &'static str, resource: &str) -> Self {
        Self::shown(name, json!(resource), names::bare(resource))
    }

    /// A number.
    pub fn number(name: &'static str, number: impl Into<Value> + ToString) -> Self {
        let text = number.to_string();
        Self::shown(name, number.into(), text)
    }

    /// An amount: programs get minor units, people the main unit.
    pub fn money(name: &'static str, minor_units: i64, currency: &str) -> Self {
        Self::shown(name, json!(minor_units), money::show(minor_units, currency))
    }

    /// A moment.
    pub fn moment(name: &'static str, moment: Option<&prost_types::Timestamp>) -> Self {
        Self::shown(
            name,
            json!(time::show(moment)),
            time::show_whole(moment).unwrap_or_default(),
        )
    }

    /// Yes or no.
    pub fn flag(name: &'static str, flag: bool) -> Self {
        Self::shown(name, json!(flag), if flag { "yes" } else { "no" })
    }

    /// The same for programs alone.
    pub fn hidden(self) -> Self {
        Self {
            text: String::new(),
            ..self
        }
    }

    /// The same with a feeling.
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// Numbers and amounts stand right.
    pub(super) fn alignment(&self) -> CellAlignment {
        if self.json.is_number() {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        }
    }
}

/// The fields as a JSON object.
pub fn object(fields: &[Field]) -> Value {
    let pairs = fields
        .iter()
        .map(|field| (field.name.to_owned(), field.json.clone()));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A field's name as people read it; the unit stands with the value.
pub fn title(name: &str) -> String {
    let name = name
        .strip_suffix("_seconds")
        .or_else(|| name.strip_suffix("_bytes"))
        .unwrap_or(name);
    name.replace('_', " ")
}

/// The text without anything that a terminal would obey: names come from whoever chose them.
pub fn visible(text: &str) -> String {
    let one = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(visible("Acme\u{1b}[2J\nLtd"), "Acme\\u{1b}[2J\\nLtd");
        assert_eq!(visible("Café Zürich"), "Café Zürich");
    }

    #[test]
    fn titles_leave_the_unit_to_the_value() {
        assert_eq!(title("uptime_seconds"), "uptime");
        assert_eq!(title("create_time"), "create time");
    }
}

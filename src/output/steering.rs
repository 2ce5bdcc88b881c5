//! Feature flags, and callers' own limits.

use docket_proto::v1::{CallerLimit, FeatureFlag, FlagRule, Role};
use serde_json::{Value, json};

use super::record::{Field, Resource, Tone};
use crate::values::names;

impl Resource for FeatureFlag {
    const PLURAL: &'static str = "flags";
    const COLUMNS: &'static [&'static str] = &["name", "state", "customers", "roles", "description"];

    fn fields(&self) -> Vec<Field> {
        let rule = self.rule.as_ref();
        let (state, tone) = state(self);
        let customers = rule.map(|rule| rule.customers.clone()).unwrap_or_default();
        let bare: Vec<_> = customers.iter().map(|name| names::bare(name)).collect();
        let roles: Vec<_> = rule
            .into_iter()
            .flat_map(FlagRule::roles)
            .map(role_name)
            .collect();
        let mut fields = vec![
            Field::resource("name", &self.name),
            Field::text("state", &state).tone(tone),
            Field::shown("percent", rule.map_or(Value::Null, percent_of), "").hidden(),
            Field::shown("customers", json!(customers), bare.join(" ")),
            Field::shown("roles", json!(roles), roles.join(" ")),
        ];
        fields.extend(self.on.map(|on| {
            let tone = if on { Tone::Good } else { Tone::Pending };
            Field::flag("on", on).tone(tone)
        }));
        fields.extend([
            Field::flag("default_on", self.default_on),
            Field::flag("known", self.known),
            Field::text("description", &self.description),
            Field::text("etag", &self.etag),
            Field::resource("changed_by", &self.changed_by),
            Field::moment("change_time", self.change_time.as_ref()),
        ]);
        fields
    }
}

/// What a flag is, in a word or two.
fn state(flag: &FeatureFlag) -> (String, Tone) {
    match &flag.rule {
        None if flag.default_on => ("ON (default)".to_owned(), Tone::Good),
        None => ("OFF (default)".to_owned(), Tone::Pending),
        Some(rule) => match rule.share {
            10_000 => ("ON".to_owned(), Tone::Good),
            0 if rule.customers.is_empty() && rule.roles.is_empty() => ("OFF".to_owned(), Tone::Bad),
            share => (format!("{} %", percent(share)), Tone::Pending),
        },
    }
}

/// Hundredths of a percent as a percentage.
fn percent(share: i32) -> String {
    match (share / 100, share % 100) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => {
            let decimals = format!("{rest:02}");
            format!("{whole}.{}", decimals.trim_end_matches('0'))
        }
    }
}

fn percent_of(rule: &FlagRule) -> Value {
    json!(f64::from(rule.share) / 100.0)
}

fn role_name(role: Role) -> &'static str {
    role.as_str_name()
}

impl Resource for CallerLimit {
    const PLURAL: &'static str = "limits";
    const COLUMNS: &'static [&'static str] = &["name", "per_second", "burst", "changed_by", "change_time"];

    fn fields(&self) -> Vec<Field> {
        let number = |name, number: i64| match self.per_second {
            0 => Field::shown(name, json!(number), "unlimited"),
            _ => Field::number(name, number),
        };
        vec![
            Field::resource("name", &self.name),
            number("per_second", self.per_second),
            number("burst", self.burst),
            Field::text("etag", &self.etag),
            Field::resource("changed_by", &self.changed_by),
            Field::moment("change_time", self.change_time.as_ref()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_what_it_is() {
        let flag = |rule| FeatureFlag {
            rule,
            default_on: true,
            ..FeatureFlag::default()
        };
        let rule = |share, customers: &[&str]| {
            Some(FlagRule {
                share,
                customers: customers.iter().map(ToString::to_string).collect(),
                roles: Vec::new(),
            })
        };
        for (rule, says) in [
            (None, "ON (default)"),
            (rule(10_000, &[]), "ON"),
            (rule(0, &[]), "OFF"),
            (rule(0, &["customers/acme"]), "0 %"),
            (rule(1_250, &[]), "12.5 %"),
            (rule(1, &[]), "0.01 %"),
            (rule(500, &[]), "5 %"),
        ] {
            assert_eq!(state(&flag(rule)).0, says);
        }
    }
}

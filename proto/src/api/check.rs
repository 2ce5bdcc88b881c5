//! The rules that requests share, and the collecting of what breaks them.

use std::{fmt, sync::Arc};

use docket_engine::{Amount, Currency, DISPLAY_NAME_BYTES_MAX};
use prost_types::FieldMask;

use super::{card::has_card_number, names::NameError};

/// The longest request id, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// The length of a page where the request does not say.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// The longest page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// The most paths in an update mask, far beyond what an entity has fields.
const MASK_PATHS_MAX: usize = 32;

/// One thing that is wrong with a request, as in `google.rpc.BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, for instance `lines[3].quantity`.
    pub field: String,
    /// What it should be. Never repeats what the client sent.
    pub description: String,
}

impl fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.description)
    }
}

/// A request taken apart, or everything that is wrong with it: at least one violation.
pub type Checked<T> = Result<T, Vec<FieldViolation>>;

/// Collects violations. Each check returns its value, or `None` after having noted why there is none.
#[derive(Debug, Default)]
pub(crate) struct Check {
    violations: Vec<FieldViolation>,
}

impl Check {
    pub fn violation(&mut self, field: impl Into<String>, description: impl ToString) {
        self.violations.push(FieldViolation {
            field: field.into(),
            description: description.to_string(),
        });
    }

    /// The value, unless a check has found something. `None` without a violation cannot be; it is refused all the same.
    pub fn done<T>(mut self, value: Option<T>) -> Checked<T> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => {
                if self.violations.is_empty() {
                    self.violation("", "the request is incomplete");
                }
                Err(self.violations)
            }
        }
    }

    pub fn ok<T, E: ToString>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.violation(field, e)).ok()
    }

    /// A name that may be left out: the outer `None` is a violation.
    pub fn optional_name<T>(
        &mut self,
        field: &str,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, NameError>,
    ) -> Option<Option<T>> {
        if name.is_empty() {
            return Some(None);
        }
        self.ok(field, parse(name)).map(Some)
    }

    /// A request id that may be left out.
    pub fn optional_request_id(&mut self, id: &str) -> Option<Option<String>> {
        if id.is_empty() {
            return Some(None);
        }
        self.request_id(id).map(Some)
    }

    pub fn request_id(&mut self, id: &str) -> Option<String> {
        let printable = id.bytes().all(|b| (b' '..=b'~').contains(&b));
        if id.is_empty() {
            self.violation("request_id", "is required: a UUID is best");
        } else if id.len() > REQUEST_ID_BYTES_MAX || !printable {
            let rule = format!("must be 1 to {REQUEST_ID_BYTES_MAX} printable ASCII characters");
            self.violation("request_id", rule);
        } else {
            return Some(id.to_owned());
        }
        None
    }

    pub fn display_name(&mut self, field: &str, name: &str) -> Option<Arc<str>> {
        self.line_of_text(field, name, DISPLAY_NAME_BYTES_MAX)
    }

    /// A text for people, of one line; may be empty. None has a card's number in it.
    pub fn line_of_text(&mut self, field: &str, text: &str, bytes_max: usize) -> Option<Arc<str>> {
        if text.len() <= bytes_max && has_card_number(text) {
            let rule = "must not have the number of a payment card: give the provider's reference instead";
            self.violation(field, rule);
            return None;
        }
        self.code_of_text(field, text, bytes_max)
    }

    /// A code that others gave, of one line; may be empty. It may be as long as the number of a card, and look like one.
    pub fn code_of_text(&mut self, field: &str, text: &str, bytes_max: usize) -> Option<Arc<str>> {
        if text.len() > bytes_max {
            self.violation(field, format!("must be at most {bytes_max} bytes of UTF-8"));
        } else if text.chars().any(char::is_control) {
            self.violation(field, "must not have control characters");
        } else {
            return Some(text.into());
        }
        None
    }

    /// The code of a currency that money can be in: amounts are in minor units, so that codes without any (gold,
    /// `XXX` …) are refused.
    pub fn currency(&mut self, field: &str, code: &str) -> Option<Currency> {
        if code.is_empty() {
            self.violation(field, "is required: an ISO 4217 code such as EUR");
            return None;
        }
        let known = iso_currency::Currency::from_code(code).is_some_and(|c| c.exponent().is_some());
        match code.parse() {
            Ok(currency) if known => Some(currency),
            _ => {
                self.violation(
                    field,
                    "must be the ISO 4217 code of a currency, three upper-case letters such as EUR",
                );
                None
            }
        }
    }

    pub fn amount_of_0_or_more(&mut self, field: &str, amount: i64) -> Option<Amount> {
        if amount < 0 {
            self.violation(field, "must be 0 or more");
            return None;
        }
        Some(Amount(amount))
    }

    pub fn not_0(&mut self, field: &str, number: i64) -> Option<i64> {
        if number == 0 {
            self.violation(field, "must not be 0");
            return None;
        }
        Some(number)
    }

    pub fn page_size(&mut self, size: i32) -> Option<usize> {
        match usize::try_from(size) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(size) => Some(size.min(PAGE_SIZE_MAX)),
            Err(_) => {
                self.violation("page_size", "must not be negative");
                None
            }
        }
    }

    /// Where the page before ended, as `parse` understands it; the inner `None` is the first page.
    pub fn page_token<T>(
        &mut self,
        query: &str,
        token: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Option<T>> {
        if token.is_empty() {
            return Some(None);
        }
        let last = super::page_token::parse_page_token(query, token).and_then(|last| parse(&last));
        if last.is_none() {
            self.violation(
                "page_token",
                "must be the next_page_token of a page of the same query, or empty for the first page",
            );
        }
        last.map(Some)
    }

    /// Whether a mask names each of these fields: `true` yes, `false` no. `set` says which of them the request has a value
    /// for, which is what an empty mask means.
    pub fn mask<const N: usize>(
        &mut self,
        mask: Option<&FieldMask>,
        known: [&str; N],
        set: [bool; N],
    ) -> Option<[bool; N]> {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        if paths.is_empty() {
            return Some(set);
        }
        let rule = format!("may only name {} or *", known.join(", "));
        if paths.len() > MASK_PATHS_MAX {
            self.violation("update_mask", rule);
            return None;
        }
        let mut named = Some([false; N]);
        for (i, path) in paths.iter().enumerate() {
            if path == "*" {
                named = named.map(|_| [true; N]);
            } else if let Some(k) = known.iter().position(|k| k == path) {
                named = named.map(|mut named| {
                    named[k] = true;
                    named
                });
            } else {
                self.violation(format!("update_mask.paths[{i}]"), &rule);
                named = None;
            }
        }
        named
    }
}

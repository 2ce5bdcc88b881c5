//! Paths with variables in them, as `google.api.http` writes them: `/v1/{name=orders/*}:cancel`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// One part of a path, between slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text.
    Literal(&'static str),
    /// Any text but none.
    Any,
}

/// Which parts of the path a field of the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The field, with dots between fields of fields.
    pub(crate) field: &'static str,
    /// The first of its segments.
    pub(crate) from: usize,
    /// Behind the last of them.
    pub(crate) to: usize,
}

/// A path with its variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    /// What stands behind the colon.
    pub(crate) custom: Option<&'static str>,
}

/// A path as somebody asks for it, taken apart and not yet decoded.
pub(crate) struct Path<'a> {
    segments: Vec<&'a str>,
    custom: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// Takes a path apart. No path with more segments than any template is looked at.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        const SEGMENTS_MAX: usize = 8;
        let path = path.strip_prefix('/')?;
        let (path, custom) = match path.rsplit_once(':') {
            Some((path, custom)) if !custom.contains('/') => (path, Some(custom)),
            _ => (path, None),
        };
        let segments: Vec<&str> = path.split('/').take(SEGMENTS_MAX + 1).collect();
        (segments.len() <= SEGMENTS_MAX).then_some(Self { segments, custom })
    }
}

impl Template {
    /// Reads a template, which is one of ours.
    pub(crate) fn of(text: &'static str) -> Option<Self> {
        let (mut segments, mut variables) = (Vec::new(), Vec::new());
        let segment = |part: &'static str| match part {
            "*" => Segment::Any,
            literal => Segment::Literal(literal),
        };
        let mut rest = text;
        let custom = loop {
            if let Some(custom) = rest.strip_prefix(':') {
                break Some(custom);
            }
            if rest.is_empty() {
                break None;
            }
            rest = rest.strip_prefix('/')?;
            if let Some(variable) = rest.strip_prefix('{') {
                let (inside, behind) = variable.split_once('}')?;
                let (field, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
                let from = segments.len();
                segments.extend(pattern.split('/').map(segment));
                variables.push(Variable {
                    field,
                    from,
                    to: segments.len(),
                });
                rest = behind;
            } else {
                let end = rest.find(['/', ':']).unwrap_or(rest.len());
                let (literal, behind) = rest.split_at(end);
                segments.push(segment(literal));
                rest = behind;
            }
        };
        Some(Self {
            segments,
            variables,
            custom,
        })
    }

    /// Whether this is such a path.
    pub(crate) fn fits(&self, path: &Path<'_>) -> bool {
        self.custom == path.custom
            && self.segments.len() == path.segments.len()
            && self
                .segments
                .iter()
                .zip(&path.segments)
                .all(|(wanted, found)| match wanted {
                    Segment::Literal(literal) => literal == found,
                    Segment::Any => !found.is_empty(),
                })
    }

    /// What its variables are in a path that fits; `None` where one is no UTF-8.
    pub(crate) fn captured(&self, path: &Path<'_>) -> Option<Vec<(&'static str, String)>> {
        let captured = self.variables.iter().map(|variable| {
            let mut text = String::new();
            for (at, segment) in path.segments[variable.from..variable.to].iter().enumerate() {
                if at > 0 {
                    text.push('/');
                }
                let decoded: Cow<'_, str> = percent_decode_str(segment).decode_utf8().ok()?;
                text.push_str(&decoded);
            }
            Some((variable.field, text))
        });
        captured.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &'static str, path: &str, expected: Option<&[(&str, &str)]>) {
        let template = Template::of(template).unwrap();
        let path = Path::of(path).unwrap();
        let captured = template
            .fits(&path)
            .then(|| template.captured(&path).unwrap())
            .map(|all| {
                all.into_iter()
                    .map(|(field, text)| (field.to_owned(), text))
                    .collect()
            });
        let expected: Option<Vec<(String, String)>> = expected.map(|all| {
            all.iter()
                .map(|(field, text)| ((*field).to_owned(), (*text).to_owned()))
                .collect()
        });
        assert_eq!(captured, expected);
    }

    #[test]
    fn variables_are_the_parts_of_the_path_that_they_stand_for() {
        check("/v1/orders", "/v1/orders", Some(&[]));
        check(
            "/v1/{name=orders/*}",
            "/v1/orders/7",
            Some(&[("name", "orders/7")]),
        );
        check(
            "/v1/{name=orders/*}:cancel",
            "/v1/orders/7:cancel",
            Some(&[("name", "orders/7")]),
        );
        check(
            "/v1/{parent=orders/*}/events",
            "/v1/orders/7/events",
            Some(&[("parent", "orders/7")]),
        );
        check(
            "/v1/nodes/{node_id}:drain",
            "/v1/nodes/3:drain",
            Some(&[("node_id", "3")]),
        );
        check(
            "/v1/{limit.name=limits/*/*}",
            "/v1/limits/accounts/a%20b",
            Some(&[("limit.name", "limits/accounts/a b")]),
        );
    }

    #[test]
    fn another_path_does_not_fit() {
        for path in [
            "/v1/orders/7",
            "/v1/orders:cancel",
            "/v1/orders/",
            "/v1/items/7:cancel",
            "/v1/orders/7:hold",
            "/v1/orders//7:cancel",
        ] {
            check("/v1/{name=orders/*}:cancel", path, None);
        }
        assert!(Path::of("orders").is_none());
        assert!(Path::of("/1/2/3/4/5/6/7/8/9").is_none());
    }
}

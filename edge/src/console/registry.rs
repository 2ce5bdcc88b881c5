//! Prometheus' text, read line by line: the registry shows what it has in no other way.

/// One measured value.
#[derive(Debug, PartialEq)]
pub(super) struct Measured<'a> {
    pub(super) name: &'a str,
    labels: &'a str,
    pub(super) value: f64,
}

impl<'a> Measured<'a> {
    /// The value of a label. None of the labels that are looked at has anything in it that would be escaped.
    pub(super) fn label(&self, wanted: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (name, behind) = rest.split_once("=\"")?;
            let (value, behind) = value_of(behind)?;
            if name == wanted {
                return Some(value);
            }
            rest = behind.strip_prefix(',')?;
        }
    }
}

/// What comes before the next quote that is not escaped, and what comes behind it.
fn value_of(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// Every value in the text. What is no line of the format is passed over, and so is what stands behind a value (a time, an exemplar).
pub(super) fn measured(text: &str) -> impl Iterator<Item = Measured<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, labels, rest) = match line.find(['{', ' ']) {
                Some(at) if line.as_bytes()[at] == b'{' => {
                    let behind = &line[at + 1..];
                    let end = end_of_labels(behind)?;
                    (&line[..at], &behind[..end], &behind[end + 1..])
                }
                Some(at) => (&line[..at], "", &line[at..]),
                None => return None,
            };
            let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
            Some(Measured { name, labels, value })
        })
}

/// Where the brace is that is in no label's value.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        match byte {
            b'"' if !escaped => quoted = !quoted,
            b'}' if !quoted => return true,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_labels() {
        let text = "# HELP a b\n# TYPE a counter\na 1\n\nb{} 2\n\
            c_bucket{method=\"x/Y\",code=\"OK\",le=\"+Inf\"} 3 # {trace_id=\"1\"} 0.1\n\
            d{odd=\"a\\\"}{,b\",le=\"0.5\"} 4.5 1700000000\nno value\n{ 1\ne{x=\"1 2\n";
        let all: Vec<_> = measured(text).collect();
        let names: Vec<_> = all.iter().map(|it| (it.name, it.value)).collect();
        assert_eq!(names, [("a", 1.0), ("b", 2.0), ("c_bucket", 3.0), ("d", 4.5)]);
        assert_eq!(all[2].label("method"), Some("x/Y"));
        assert_eq!(all[2].label("le"), Some("+Inf"));
        assert_eq!(all[2].label("l"), None);
        assert_eq!(all[3].label("le"), Some("0.5"));
        assert_eq!(all[0].label("le"), None);
    }
}

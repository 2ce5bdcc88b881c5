//! Tables on terminals that are narrower than they are: columns that do not fit stand below their row, each with its name.

/// Between two columns.
const GAP: usize = 2;
/// The same where the terminal is nearly wide enough.
const NARROW_GAP: usize = 1;
/// In front of what stands below.
const INDENT: &str = "    ";

/// How a table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// So many of its columns stand beside each other, at least one.
    pub beside: usize,
    /// So far apart.
    pub gap: usize,
}

impl Layout {
    /// Of columns of these widths; without a terminal all stand beside each other.
    pub fn of(widths: &[usize], terminal: Option<usize>) -> Self {
        let end = |columns: usize, gap: usize| {
            let own: usize = widths.iter().take(columns).sum();
            own + gap * columns.saturating_sub(1)
        };
        let all = widths.len();
        let Some(terminal) = terminal else {
            return Self {
                beside: all,
                gap: GAP,
            };
        };
        for gap in [GAP, NARROW_GAP] {
            if end(all, gap) <= terminal {
                return Self { beside: all, gap };
            }
        }
        let fits = (1..=all).rev().find(|columns| end(*columns, GAP) <= terminal);
        Self {
            beside: fits.unwrap_or(1),
            gap: GAP,
        }
    }
}

/// What stands below a row: names and texts, as many on a line as there is room for. None is broken: what is copied of it must be whole.
pub fn below(fields: &[(String, String)], terminal: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (name, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
        let field = format!("{name}: {text}");
        match lines.last_mut() {
            Some(line) if width(line) + GAP + width(&field) <= terminal => {
                line.push_str("  ");
                line.push_str(&field);
            }
            _ => lines.push(format!("{INDENT}{field}")),
        }
    }
    lines
}

/// How many columns of a terminal a text takes, nearly.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Without the blanks at its end, also those in front of what ends a colour.
pub fn without_blanks(line: &str) -> String {
    let mut rest = line.trim_end_matches(' ');
    let mut ends = Vec::new();
    while let Some((before, end)) = rest.rsplit_once('\x1b') {
        if !end.starts_with('[') || end.find(|c: char| c.is_ascii_alphabetic()) != Some(end.len() - 1) {
            break;
        }
        ends.push(&rest[before.len()..]);
        rest = before.trim_end_matches(' ');
    }
    let mut line = rest.to_owned();
    line.extend(ends.into_iter().rev());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_columns_stand_beside_each_other_as_fit() {
        let of = |terminal| {
            let layout = Layout::of(&[20, 15, 19], terminal);
            (layout.beside, layout.gap)
        };
        assert_eq!(of(None), (3, 2));
        assert_eq!(of(Some(58)), (3, 2));
        assert_eq!(of(Some(57)), (3, 1), "nearly wide enough");
        assert_eq!(of(Some(55)), (2, 2));
        assert_eq!(of(Some(5)), (1, 2));
    }

    #[test]
    fn what_does_not_fit_stands_below_with_its_name() {
        let fields = [
            ("request id", "r-1"),
            ("payment", ""),
            ("by", "ada"),
            ("details", "a long text"),
        ];
        let fields = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(
            below(&fields, 30),
            ["    request id: r-1  by: ada", "    details: a long text"]
        );
        assert_eq!(below(&fields, 3).len(), 3, "each is whole all the same");
    }

    #[test]
    fn blanks_end_with_the_line_in_colours_too() {
        assert_eq!(without_blanks("a b  "), "a b");
        assert_eq!(without_blanks("\x1b[1mTIME    \x1b[0m  "), "\x1b[1mTIME\x1b[0m");
        assert_eq!(
            without_blanks("\x1b[1m\x1b[31mTIME  \x1b[39m \x1b[0m"),
            "\x1b[1m\x1b[31mTIME\x1b[39m\x1b[0m"
        );
        assert_eq!(without_blanks(""), "");
    }
}

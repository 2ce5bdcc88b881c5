//! Values as people read them, and text that is safe in a page.

/// Text for a page, whatever is in it; also within a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no way to write most of them, and nobody can read any.
            control if control.is_control() && control != '\n' && control != '\t' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// A span, in the two largest of its units: `2m 5s`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (whole % 60, "s")];
    let first = parts.iter().position(|part| part.0 > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).enumerate();
    let shown: Vec<String> = shown
        .filter(|(index, part)| *index == 0 || part.0 > 0)
        .map(|(_, (count, unit))| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

/// Microseconds: `250 µs`, `12 ms`, `3 s`.
pub fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{} µs", short(us)),
        us if us < 1e6 => format!("{} ms", short(us / 1e3)),
        us => format!("{} s", short(us / 1e6)),
    }
}

/// Bytes in powers of 1,024.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value.abs() >= 1_024.0 && unit < UNITS.len() - 1 {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{} {}", short(value), UNITS[unit])
}

/// Counts: `950`, `12k`, `3.4M`.
pub fn count(count: f64) -> String {
    match count.abs() {
        small if small < 1e3 => short(count),
        middle if middle < 1e6 => format!("{}k", short(count / 1e3)),
        _ => format!("{}M", short(count / 1e6)),
    }
}

/// Three digits or so, and no zeros behind the point.
fn short(value: f64) -> String {
    let text = match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_long_as_they_need() {
        assert_eq!(
            [0.0, 59.4, 125.0, 7_200.0, 93_600.0].map(seconds),
            ["0s", "59s", "2m 5s", "2h", "1d 2h"]
        );
        assert_eq!(
            [0.0, 250.0, 12_000.0, 3.25e6].map(micros),
            ["0 µs", "250 µs", "12 ms", "3.25 s"]
        );
        assert_eq!([0.0, 1_536.0, 3e9].map(bytes), ["0 B", "1.5 KiB", "2.79 GiB"]);
        assert_eq!([950.0, 12_345.0, 3.4e6].map(count), ["950", "12.3k", "3.4M"]);
    }

    #[test]
    fn nothing_that_is_markup_gets_through() {
        assert_eq!(
            escaped("<script>alert('a' & \"b\")\u{0}</script>"),
            "&lt;script&gt;alert(&#39;a&#39; &amp; &quot;b&quot;)\u{fffd}&lt;/script&gt;"
        );
    }
}

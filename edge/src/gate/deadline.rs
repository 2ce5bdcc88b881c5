//! `grpc-timeout`: how long a client waits.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::errors::Refusal;

const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// The specification's bound of the number.
const DIGITS_MAX: usize = 8;

/// How long the client waits, where it says so.
///
/// # Errors
/// Where what it says is not a timeout: 1 to 8 digits and a unit of `H M S m u n`.
pub fn client_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    parse(value.as_bytes()).map(Some).ok_or_else(|| {
        Refusal::invalid([(
            "grpc-timeout",
            "must be 1 to 8 digits and a unit of H, M, S, m, u or n",
        )])
    })
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let cases = [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
            ("0S", Duration::ZERO),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "1.5S",
            "123456789S",
            " 1S",
            "1S ",
            "1SS",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}

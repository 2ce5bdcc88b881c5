//! Moments and spans: RFC 3339 and `1h 30m` in, RFC 3339 in UTC out.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil::Date, tz::TimeZone};

/// Reads a span of time such as `500ms`, `10s` or `2m`, longer than nothing, for clap.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "write a number and a unit, for instance 500ms, 10s or 2m".to_owned())?;
    match Duration::try_from(span) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than nothing".to_owned()),
    }
}

/// Reads when something ends: a moment in RFC 3339, or a span from now such as `30d` (a day is 24 hours), for clap.
pub fn expiry(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let refused = || "write a span such as 30d or 12h, or a moment such as 2030-01-31T00:00:00Z".to_owned();
    let span: Span = text.parse().map_err(|_| refused())?;
    let span = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| refused())?;
    if span <= SignedDuration::ZERO {
        return Err("must lie in the future".to_owned());
    }
    Timestamp::now()
        .checked_add(span)
        .map_err(|_| "is too far away".to_owned())
}

/// Reads a moment in RFC 3339, a day, which means its begin in UTC, or a span before now such as `2h` (a day is 24 hours), for clap.
pub fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    if let Ok(day) = text.parse::<Date>() {
        let begin = day
            .to_zoned(TimeZone::UTC)
            .map_err(|_| "is too far away".to_owned())?;
        return Ok(begin.timestamp());
    }
    let refused = || {
        "write a moment such as 2026-11-01T08:00:00Z, a day such as 2026-11-01, or a span such as 2h or 7d"
            .to_owned()
    };
    let span: Span = text.parse().map_err(|_| refused())?;
    let span = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| refused())?;
    if span < SignedDuration::ZERO {
        return Err("a span must not lie in the future".to_owned());
    }
    Timestamp::now()
        .checked_sub(span)
        .map_err(|_| "is too far away".to_owned())
}

/// A moment of the contract in RFC 3339, UTC; nothing where it is not set or not a moment.
pub fn show(moment: Option<&prost_types::Timestamp>) -> Option<String> {
    let moment = moment?;
    Some(Timestamp::new(moment.seconds, moment.nanos).ok()?.to_string())
}

/// The same for people, who have no use for parts of a second.
pub fn show_whole(moment: Option<&prost_types::Timestamp>) -> Option<String> {
    show(
        moment
            .map(|moment| prost_types::Timestamp { nanos: 0, ..*moment })
            .as_ref(),
    )
}

/// A moment as the contract carries it.
pub fn to_proto(moment: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: moment.as_second(),
        nanos: moment.subsec_nanosecond(),
    }
}

/// A span as people read it: `2h 5m 3s`; parts of a second are left away.
pub fn show_seconds(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds % 60, "s")];
    let first = parts
        .iter()
        .position(|(count, _)| *count > 0)
        .unwrap_or(parts.len() - 1);
    let shown: Vec<String> = parts[first..]
        .iter()
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units_and_are_positive() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "10", "0s", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_has_been_is_a_moment_a_day_or_a_span_before_now() {
        for (text, moment) in [
            ("2026-11-01T08:00:00Z", "2026-11-01T08:00:00Z"),
            ("2026-11-01T08:00:00+01:00", "2026-11-01T07:00:00Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
        ] {
            assert_eq!(since(text).unwrap().to_string(), moment);
        }
        let week = Timestamp::now().duration_since(since("7d").unwrap());
        assert!(
            (week - SignedDuration::from_hours(7 * 24)).abs() < SignedDuration::from_secs(60),
            "{week}"
        );
        for text in ["", "-1d", "2026-13-01", "whenever", "7"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_expiry_is_a_moment_or_a_span_from_now() {
        assert_eq!(
            expiry("2030-01-31T00:00:00Z").unwrap().to_string(),
            "2030-01-31T00:00:00Z"
        );
        let month = expiry("30d").unwrap().duration_since(Timestamp::now());
        assert!(
            (month - SignedDuration::from_hours(30 * 24)).abs() < SignedDuration::from_secs(60),
            "{month}"
        );
        for text in ["", "-1d", "0s", "2030-01-31", "whenever"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_shown_in_utc() {
        let moment = prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 5_000_000,
        };
        assert_eq!(show(Some(&moment)).as_deref(), Some("2023-11-14T22:13:20.005Z"));
        assert_eq!(show_whole(Some(&moment)).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(show(None), None);
        assert_eq!(show_seconds(0), "0s");
        assert_eq!(show_seconds(7_503), "2h 5m 3s");
        assert_eq!(show_seconds(86_400), "1d 0h 0m 0s");
    }
}

//! W3C Trace Context: who calls in which trace, in two headers.

use std::{fmt, sync::Arc};

/// No `traceparent` of a version that is known is longer; later ones may be.
pub const TRACEPARENT_BYTES_MAX: usize = 128;
/// A longer `tracestate` is left out, which the standard allows from 512 bytes on.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// The lowest bit of the flags.
const SAMPLED: u8 = 1;

/// A span, as those name it that hang another one under it.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    /// The trace's id: not all zero.
    pub trace_id: [u8; 16],
    /// The span's id: not all zero.
    pub span_id: [u8; 8],
    /// Whether who made it records the trace.
    pub sampled: bool,
    /// What tracing systems on the way have to say to one another; carried on as it is.
    pub state: Option<Arc<str>>,
}

impl Context {
    /// What the two headers say: `00-{32 digits}-{16 digits}-{2 digits}`, of a later version also with more behind it. `None` where that is not one:
    /// then the call begins a trace of its own, as one without.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        if traceparent.len() > TRACEPARENT_BYTES_MAX {
            return None;
        }
        let mut parts = traceparent.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = bytes_of_hex::<1>(version)?;
        let (trace_id, span_id) = (bytes_of_hex::<16>(trace)?, bytes_of_hex::<8>(parent)?);
        let [flags] = bytes_of_hex::<1>(flags)?;
        let is_closed = version != 0 || parts.next().is_none();
        let is_one = version != 0xff && is_closed && trace_id != [0; 16] && span_id != [0; 8];
        let is_state = |state: &&str| {
            !state.is_empty()
                && state.len() <= TRACESTATE_BYTES_MAX
                && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        is_one.then(|| Self {
            trace_id,
            span_id,
            sampled: flags & SAMPLED != 0,
            state: tracestate
                .map(|state| state.trim_matches([' ', '\t']))
                .filter(is_state)
                .map(Arc::from),
        })
    }

    /// The `traceparent` header of a call that this span makes.
    pub fn traceparent(&self) -> String {
        format!(
            "00-{}-{}-{:02x}",
            Hex(&self.trace_id),
            Hex(&self.span_id),
            u8::from(self.sampled)
        )
    }

    /// Its `tracestate` header; empty where there is none.
    pub fn tracestate(&self) -> &str {
        self.state.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

/// Bytes as digits in lower case.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes of so many digits, which are in lower case.
fn bytes_of_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_header_is_read_and_written_as_the_standard_has_it() {
        for (flags, sampled, written) in [
            ("00", false, "00"),
            ("01", true, "01"),
            ("03", true, "01"),
            ("fe", false, "00"),
        ] {
            let context = Context::read(&format!("00-{TRACE}-{PARENT}-{flags}"), None).unwrap();
            assert_eq!(context.sampled, sampled);
            assert_eq!(context.traceparent(), format!("00-{TRACE}-{PARENT}-{written}"));
        }
        // What a later version has behind it is passed over.
        let later = Context::read(&format!("cc-{TRACE}-{PARENT}-01-more"), None).unwrap();
        assert_eq!(later.traceparent(), format!("00-{TRACE}-{PARENT}-01"));
    }

    #[test]
    fn what_is_no_context_begins_none() {
        let upper = TRACE.to_uppercase();
        for header in [
            String::new(),
            "garbage".to_owned(),
            "€".repeat(30),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{upper}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}0-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-{}", "x".repeat(TRACEPARENT_BYTES_MAX)),
        ] {
            assert_eq!(Context::read(&header, None), None, "{header}");
        }
    }

    #[test]
    fn a_state_is_carried_on_where_it_is_one() {
        let read = |state: &str| {
            let context = Context::read(&format!("00-{TRACE}-{PARENT}-01"), Some(state)).unwrap();
            context.tracestate().to_owned()
        };
        assert_eq!(read("vendor=opaque,other=1"), "vendor=opaque,other=1");
        assert_eq!(
            read(&"x".repeat(TRACESTATE_BYTES_MAX)).len(),
            TRACESTATE_BYTES_MAX
        );
        for other in ["", " ", "a=\n", "a=ü", &"x".repeat(TRACESTATE_BYTES_MAX + 1)] {
            assert_eq!(read(other), "");
        }
    }
}

//! Where a change of an order comes from.

use std::{fmt, sync::Arc};

use crate::access::Username;

/// The longest request id that is kept, in bytes.
pub const REQUEST_ID_KEPT_BYTES_MAX: usize = 64;

/// The most bytes that are packed of one: what follows, an account, a request id, and a trace.
const PACKED_BYTES_MAX: usize = 1 + 65 + 1 + REQUEST_ID_KEPT_BYTES_MAX + 16;

const HAS_ACCOUNT: u8 = 1;
const HAS_TEXT: u8 = 2;
const HAS_UUID: u8 = 4;
const HAS_TRACE: u8 = 8;

/// The id of a trace, as W3C's Trace Context has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// The trace that a `traceparent` header names: `00-{32 digits}-{16 digits}-{2 digits}`, of a later version also with more behind it.
    /// `None` where it names none.
    pub fn of_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_one = is_hex(version, 2) && version != "ff" && is_hex(parent, 16) && is_hex(flags, 2);
        let is_closed = version != "00" || parts.next().is_none();
        let id = Self(bytes_of_hex(trace)?);
        (is_one && is_closed && id.0 != [0; 16]).then_some(id)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a change comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The account that asked for it.
    pub by: Option<Username>,
    /// The client's id of its request: 1 to [`REQUEST_ID_KEPT_BYTES_MAX`] bytes.
    pub request_id: Option<Arc<str>>,
    /// The trace to which the request belongs.
    pub trace: Option<TraceId>,
}

/// The same in few bytes, as a record carries it, and a [`Trail`](crate::Trail) keeps it:
///
/// ```text
///   what follows: 1 byte | account: 1 byte and its text | request id: 1 byte and its text, or a UUID's 16 bytes | trace id: 16 bytes
/// ```
///
/// It is packed once, where a request comes in: whoever carries it on copies bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedOrigin(Arc<[u8]>);

impl PackedOrigin {
    /// Of these parts. `None` where there is none of them, or the request id is not of 1 to [`REQUEST_ID_KEPT_BYTES_MAX`] bytes.
    pub fn of(by: Option<&Username>, request_id: Option<&str>, trace: Option<TraceId>) -> Option<Self> {
        let fits = |id: &str| (1..=REQUEST_ID_KEPT_BYTES_MAX).contains(&id.len());
        if !request_id.is_none_or(fits) {
            return None;
        }
        let uuid = request_id.and_then(bytes_of_uuid);
        let text = request_id.filter(|_| uuid.is_none());
        let has = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = has(by.is_some(), HAS_ACCOUNT)
            | has(text.is_some(), HAS_TEXT)
            | has(uuid.is_some(), HAS_UUID)
            | has(trace.is_some(), HAS_TRACE);
        let mut packed = Packing::new(flags);
        if let Some(by) = by {
            packed.text(by.as_str());
        }
        if let Some(uuid) = &uuid {
            packed.put(uuid);
        }
        if let Some(text) = text {
            packed.text(text);
        }
        if let Some(trace) = &trace {
            packed.put(&trace.0);
        }
        (flags != 0).then(|| Self(packed.bytes().into()))
    }

    /// What [`PackedOrigin::as_bytes`] gave. `None` where these are not the bytes of one.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let origin = take(&mut rest)??;
        // As it is packed, and in no other way.
        let packed: Self = Option::from(&origin)?;
        (rest.is_empty() && *packed.0 == *bytes).then_some(packed)
    }

    /// Its bytes, which are the same wherever the same is known.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is known.
    pub fn unpack(&self) -> Origin {
        take(&mut &*self.0).flatten().unwrap_or_default()
    }
}

impl From<&Origin> for Option<PackedOrigin> {
    fn from(origin: &Origin) -> Self {
        PackedOrigin::of(origin.by.as_ref(), origin.request_id.as_deref(), origin.trace)
    }
}

impl fmt::Debug for PackedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.unpack(), f)
    }
}

/// The bytes of one while it is packed: they are not longer than they may be, so that they need no place of their own.
struct Packing {
    bytes: [u8; PACKED_BYTES_MAX],
    length: usize,
}

impl Packing {
    fn new(flags: u8) -> Self {
        let mut bytes = [0; PACKED_BYTES_MAX];
        bytes[0] = flags;
        Self { bytes, length: 1 }
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }

    /// Account names and request ids have at most 64 bytes.
    fn text(&mut self, text: &str) {
        self.put(&[text.len() as u8]);
        self.put(text.as_bytes());
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Nobody in particular, as it is packed.
pub(crate) const NOBODY: &[u8] = &[0];

/// Takes what was packed off the front: `Some(None)` where that is nobody. `None` where the bytes are none that are ever packed.
pub(crate) fn take(rest: &mut &[u8]) -> Option<Option<Origin>> {
    let packed = Packed::take(rest)?;
    let mut origin = Origin {
        by: None,
        request_id: packed.text.map(Arc::from),
        trace: packed.trace.map(TraceId),
    };
    if let Some(by) = packed.by {
        origin.by = Some(Username::new(by).ok()?);
    }
    if let Some(uuid) = packed.uuid {
        origin.request_id = Some(uuid_text(uuid).into());
    }
    Some((origin != Origin::default()).then_some(origin))
}

/// The same, where only what is behind it is asked for. `None` at the end.
pub(crate) fn skip(rest: &mut &[u8]) -> Option<()> {
    Packed::take(rest).map(|_| ())
}

/// The parts of what is packed, where they lie.
struct Packed<'a> {
    by: Option<&'a str>,
    text: Option<&'a str>,
    uuid: Option<[u8; 16]>,
    trace: Option<[u8; 16]>,
}

impl<'a> Packed<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (flags, behind) = rest.split_first()?;
        *rest = behind;
        let has = |flag: u8| flags & flag != 0;
        Some(Self {
            by: if has(HAS_ACCOUNT) {
                Some(take_text(rest)?)
            } else {
                None
            },
            text: if has(HAS_TEXT) {
                Some(take_text(rest)?)
            } else {
                None
            },
            uuid: if has(HAS_UUID) { Some(take_16(rest)?) } else { None },
            trace: if has(HAS_TRACE) {
                Some(take_16(rest)?)
            } else {
                None
            },
        })
    }
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, behind) = rest.split_first()?;
    let (text, behind) = behind.split_at_checked(usize::from(*length))?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

fn take_16(rest: &mut &[u8]) -> Option<[u8; 16]> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*bytes)
}

/// Where a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// The bytes of a UUID as it is nearly always written: in lower case, with hyphens. Every order that is placed comes through here.
fn bytes_of_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let (mut digits, mut at) = ([0; 32], 0);
    for (i, byte) in text.iter().enumerate() {
        if HYPHENS.contains(&i) {
            if *byte != b'-' {
                return None;
            }
        } else {
            digits[at] = *byte;
            at += 1;
        }
    }
    bytes_of_digits(&digits)
}

/// The text of it. Every order that a snapshot has comes through here.
fn uuid_text(bytes: [u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for byte in bytes {
        if HYPHENS.contains(&text.len()) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

/// The bytes of 32 digits in lower case.
fn bytes_of_hex(digits: &str) -> Option<[u8; 16]> {
    bytes_of_digits(digits.as_bytes().try_into().ok()?)
}

fn bytes_of_digits(digits: &[u8; 32]) -> Option<[u8; 16]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 16];
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_other_bytes_are_refused() {
        let by = Username::new("shop").unwrap();
        let trace = TraceId([7; 16]);
        let longest = "x".repeat(REQUEST_ID_KEPT_BYTES_MAX);
        let uuid = "0192f7a0-5b1c-7d3e-8f00-0123456789ab";
        for request_id in [
            None,
            Some("r-1"),
            Some(uuid),
            Some(&*uuid.to_uppercase()),
            Some(&*longest),
        ] {
            for (by, trace) in [
                (None, None),
                (Some(&by), None),
                (None, Some(trace)),
                (Some(&by), Some(trace)),
            ] {
                let Some(packed) = PackedOrigin::of(by, request_id, trace) else {
                    assert_eq!((by, request_id, trace), (None, None, None));
                    continue;
                };
                let origin = Origin {
                    by: by.cloned(),
                    request_id: request_id.map(Arc::from),
                    trace,
                };
                assert_eq!(packed.unpack(), origin);
                assert_eq!(Option::from(&origin), Some(packed.clone()));
                let bytes = packed.as_bytes();
                assert_eq!(PackedOrigin::of_bytes(bytes), Some(packed.clone()));
                for cut in 0..bytes.len() {
                    assert_eq!(PackedOrigin::of_bytes(&bytes[..cut]), None);
                }
                assert_eq!(PackedOrigin::of_bytes(&[bytes, &[0]].concat()), None);
            }
        }
        let packed = |request_id| PackedOrigin::of(None, Some(request_id), None);
        assert_eq!(packed(uuid).unwrap().as_bytes().len(), 17);
        assert_eq!((packed(""), packed(&format!("{longest}x"))), (None, None));
        // Nobody, a name that is none, a flag without a meaning, a UUID as a text.
        let as_text = [&[HAS_TEXT, 36], uuid.as_bytes()].concat();
        for bytes in [
            NOBODY,
            &[HAS_ACCOUNT, 1, b' '],
            &[HAS_ACCOUNT | 16, 1, b'a'],
            &as_text,
        ] {
            assert_eq!(PackedOrigin::of_bytes(bytes), None);
        }
    }

    #[test]
    fn a_trace_is_named_as_w3c_says() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for header in [
            format!("00-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-00"),
            format!("cc-{id}-00f067aa0ba902b7-01-what-is-new"),
        ] {
            let trace = TraceId::of_traceparent(&header).map(|trace| trace.to_string());
            assert_eq!(trace.as_deref(), Some(id), "{header}");
        }
        for header in [
            String::new(),
            id.to_owned(),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", "é".repeat(16)),
        ] {
            assert_eq!(TraceId::of_traceparent(&header), None, "{header}");
        }
    }
}

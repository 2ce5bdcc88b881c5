//! Who changed an order, when, and by which request: for ever, and in few bytes, since most orders have it of their placing alone.
//!
//! One entry a change, behind each other, as they happened:
//!
//! ```text
//!   version, as the difference to the one before: varint | microseconds since the order was placed: varint, zigzag |
//!   what follows: 1 byte | account: 1 byte and its text | request id: 1 byte and its text, or a UUID's 16 bytes | trace id: 16 bytes
//! ```
//!
//! Only memory has these bytes: snapshots spell them out. A change without an entry is one that was made while not every node of the
//! cluster could keep it, or the confirmation, which is as old as the order ([`Order::confirmed`](crate::Order::confirmed)).

use std::{fmt, sync::Arc};

use crate::{Order, OrderEvent, Time, Version, access::Username};

/// The longest request id that is kept, in bytes.
pub const REQUEST_ID_KEPT_BYTES_MAX: usize = 64;

/// Room for an entry of a UUID, or a short request id.
const ENTRY_BYTES: usize = 48;

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

/// What is kept of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailEntry {
    /// The order's version after it.
    pub version: Version,
    /// When.
    pub at: Time,
    /// Where it comes from; `None` where nobody asked for it: it follows from another one.
    pub origin: Option<Origin>,
}

/// What is kept of an order's changes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trail(Box<[u8]>);

impl Trail {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes, which are the same wherever the same changes are kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// These entries, of an order that was placed then. `None` where they are not in the order of their versions, or a request id is too
    /// long.
    pub fn of(entries: &[TrailEntry], created: Time) -> Option<Self> {
        let (mut bytes, mut last) = (Vec::new(), Version(0));
        for TrailEntry { version, at, origin } in entries {
            put(&mut bytes, (last, *version), since(created, *at), origin.as_ref())?;
            last = *version;
        }
        Some(Self(bytes.into()))
    }

    /// Its entries, of an order that was placed then, oldest first.
    pub fn entries(&self, created: Time) -> impl Iterator<Item = TrailEntry> {
        let (mut rest, mut version) = (&*self.0, 0);
        std::iter::from_fn(move || {
            let (since, elapsed, origin) = take(&mut rest)?;
            version += since;
            Some(TrailEntry {
                version: Version(version),
                at: Time(created.0.wrapping_add(elapsed)),
                origin,
            })
        })
    }

    fn push(&mut self, version: Version, elapsed: i64, origin: Option<&Origin>) {
        let (mut rest, mut last) = (&*self.0, Version(0));
        // Without making texts of what is passed over.
        while let Some(newer) = skip(&mut rest) {
            last.0 += newer;
        }
        let mut bytes = Vec::with_capacity(self.0.len() + ENTRY_BYTES);
        bytes.extend_from_slice(&self.0);
        // Its version is the newest one, and its request id was checked where it came from.
        if put(&mut bytes, (last, version), elapsed, origin).is_some() {
            self.0 = bytes.into();
        }
    }

    fn until(&self, version: Version, created: Time) -> Self {
        let entries = self.entries(created).take_while(|entry| entry.version <= version);
        Self::of(&entries.collect::<Vec<_>>(), created).unwrap_or_default()
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries(Time(0))).finish()
    }
}

impl Order {
    /// Keeps where the event comes from that made it what it is. Of an order of which nothing is kept, it is not begun without an origin:
    /// whether every node can keep it is known only where there is one.
    pub fn note(&mut self, event: &OrderEvent, at: Time, origin: Option<&Origin>) {
        let is_kept = !self.trail.is_empty() && *event != OrderEvent::Confirmed;
        if origin.is_some() || is_kept {
            self.trail.push(self.version, since(self.created, at), origin);
        }
    }

    /// What is kept of its changes up to this version.
    pub(crate) fn trail_until(&self, version: Version) -> Trail {
        self.trail.until(version, self.created)
    }
}

/// Microseconds.
fn since(created: Time, at: Time) -> i64 {
    at.0.wrapping_sub(created.0)
}

/// Appends an entry behind that of the version `last`. `None`, and nothing, where it cannot come behind that, or its request id is too long.
fn put(
    out: &mut Vec<u8>,
    (last, version): (Version, Version),
    elapsed: i64,
    origin: Option<&Origin>,
) -> Option<()> {
    let request_id = origin.and_then(|origin| origin.request_id.as_deref());
    let fits = |id: &str| (1..=REQUEST_ID_KEPT_BYTES_MAX).contains(&id.len());
    let newer = version.0.checked_sub(last.0).filter(|newer| *newer > 0)?;
    if !request_id.is_none_or(fits) {
        return None;
    }
    put_varint(out, newer);
    put_varint(out, (elapsed.wrapping_shl(1) ^ (elapsed >> 63)) as u64);
    let nobody = Origin::default();
    let Origin {
        by,
        request_id,
        trace,
    } = origin.unwrap_or(&nobody);
    let uuid = request_id.as_deref().and_then(bytes_of_uuid);
    let has = |is: bool, flag: u8| if is { flag } else { 0 };
    out.push(
        has(by.is_some(), HAS_ACCOUNT)
            | has(request_id.is_some() && uuid.is_none(), HAS_TEXT)
            | has(uuid.is_some(), HAS_UUID)
            | has(trace.is_some(), HAS_TRACE),
    );
    if let Some(by) = by {
        put_text(out, by.as_str());
    }
    match (uuid, request_id) {
        (Some(uuid), _) => out.extend(uuid),
        (None, Some(text)) => put_text(out, text),
        (None, None) => {}
    }
    out.extend(trace.iter().flat_map(|trace| trace.0));
    Some(())
}

/// `None` at the end; and where the bytes are none of [`put`]'s, which they always are.
fn take(rest: &mut &[u8]) -> Option<(u64, i64, Option<Origin>)> {
    let since = take_varint(rest)?;
    let elapsed = take_varint(rest)?;
    let elapsed = (elapsed >> 1) as i64 ^ -((elapsed & 1) as i64);
    let (flags, behind) = rest.split_first()?;
    *rest = behind;
    let has = |flag: u8| flags & flag != 0;
    let mut origin = Origin::default();
    if has(HAS_ACCOUNT) {
        origin.by = Username::new(take_text(rest)?).ok();
    }
    if has(HAS_TEXT) {
        origin.request_id = Some(take_text(rest)?.into());
    } else if has(HAS_UUID) {
        origin.request_id = Some(uuid_text(take_16(rest)?).into());
    }
    if has(HAS_TRACE) {
        origin.trace = Some(TraceId(take_16(rest)?));
    }
    Some((since, elapsed, (*flags != 0).then_some(origin)))
}

/// How much newer the next entry's version is; the rest of it is passed over.
fn skip(rest: &mut &[u8]) -> Option<u64> {
    let since = take_varint(rest)?;
    take_varint(rest)?;
    let (flags, behind) = rest.split_first()?;
    *rest = behind;
    let has = |flag: u8| flags & flag != 0;
    if has(HAS_ACCOUNT) {
        take_text(rest)?;
    }
    if has(HAS_TEXT) {
        take_text(rest)?;
    } else if has(HAS_UUID) {
        take_16(rest)?;
    }
    if has(HAS_TRACE) {
        take_16(rest)?;
    }
    Some(since)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Account names and request ids have at most 64 bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
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

    const UUID: &str = "0192f7a0-5b1c-7d3e-8f00-0123456789ab";

    fn origin(by: &str, request_id: &str, trace: bool) -> Origin {
        Origin {
            by: Username::new(by).ok(),
            request_id: (!request_id.is_empty()).then(|| request_id.into()),
            trace: trace.then_some(TraceId([7; 16])),
        }
    }

    #[test]
    fn a_trail_gives_back_what_was_put_into_it_in_few_bytes() {
        let created = Time(1_795_000_000_000_000);
        let entry = |version, elapsed: i64, origin| TrailEntry {
            version: Version(version),
            at: Time(created.0 + elapsed),
            origin,
        };
        let longest = "x".repeat(REQUEST_ID_KEPT_BYTES_MAX);
        let entries = [
            entry(1, 0, Some(origin("shop", UUID, false))),
            entry(3, 5_000_000, Some(origin("a@b.c", &longest, true))),
            entry(4, -7, None),
            entry(
                1 << 40,
                i64::MAX - created.0,
                Some(origin("", &UUID.to_uppercase(), false)),
            ),
            entry((1 << 40) + 1, 1, Some(origin("", "", true))),
        ];
        let trail = Trail::of(&entries, created).unwrap();
        assert!(trail.entries(created).eq(entries.iter().cloned()));
        let placed = Trail::of(&entries[..1], created).unwrap();
        assert_eq!(placed.as_bytes().len(), 24);
        assert_eq!(trail.until(Version(2), created), placed);
        assert_eq!(trail.until(Version(4), created).entries(created).count(), 3);
        let backwards = [entries[1].clone(), entries[0].clone()];
        assert_eq!(Trail::of(&backwards, created), None);
        let too_long = entry(1, 0, Some(origin("shop", &format!("{longest}x"), false)));
        assert_eq!(Trail::of(&[too_long], created), None);
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

//! Who changed an order, when, and by which request: for ever, and in few bytes, since most orders have it of their placing alone.
//!
//! One entry a change, behind each other, as they happened:
//!
//! ```text
//!   version, as the difference to the one before: varint | microseconds since the order was placed: varint, zigzag | where it comes from: PackedOrigin
//! ```
//!
//! Memory and snapshots have these bytes. A change without an entry is one that was made while not every node of the
//! cluster could keep it, or the confirmation, which is as old as the order ([`Order::confirmed`](crate::Order::confirmed)).

use std::fmt;

use crate::{
    Order, OrderEvent, Time, Version,
    origin::{NOBODY, Origin, PackedOrigin, skip, take},
};

/// The longest two varints.
const NUMBERS_BYTES_MAX: usize = 2 * 10;

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
            let packed: Option<PackedOrigin> = match origin {
                Some(origin) if *origin != Origin::default() => Some(Option::from(origin)?),
                _ => None,
            };
            let numbers = Numbers::of((last, *version), since(created, *at))?;
            bytes.extend_from_slice(numbers.bytes());
            bytes.extend_from_slice(packed.as_ref().map_or(NOBODY, PackedOrigin::as_bytes));
            last = *version;
        }
        Some(Self(bytes.into()))
    }

    /// What [`Trail::as_bytes`] gave. `None` where these are not the bytes of one.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut last) = (bytes, 0_u64);
        while !rest.is_empty() {
            last = last.checked_add(take_varint(&mut rest).filter(|newer| *newer > 0)?)?;
            take_varint(&mut rest)?;
            let whole = rest;
            skip(&mut rest)?;
            let packed = &whole[..whole.len() - rest.len()];
            if packed != NOBODY {
                PackedOrigin::of_bytes(packed)?;
            }
        }
        Some(Self(bytes.into()))
    }

    /// Its entries, of an order that was placed then, oldest first.
    pub fn entries(&self, created: Time) -> impl Iterator<Item = TrailEntry> {
        let (mut rest, mut version) = (&*self.0, 0);
        std::iter::from_fn(move || {
            version += take_varint(&mut rest)?;
            let elapsed = take_varint(&mut rest)?;
            let elapsed = (elapsed >> 1) as i64 ^ -((elapsed & 1) as i64);
            Some(TrailEntry {
                version: Version(version),
                at: Time(created.0.wrapping_add(elapsed)),
                origin: take(&mut rest)?,
            })
        })
    }

    fn push(&mut self, version: Version, elapsed: i64, origin: Option<&PackedOrigin>) {
        let (mut rest, mut last) = (&*self.0, Version(0));
        // Without making texts of what is passed over.
        while let Some(newer) = skip_entry(&mut rest) {
            last.0 += newer;
        }
        // Its version is the newest one.
        let Some(numbers) = Numbers::of((last, version), elapsed) else {
            return;
        };
        let parts = [
            &*self.0,
            numbers.bytes(),
            origin.map_or(NOBODY, PackedOrigin::as_bytes),
        ];
        // As long as it is: nothing is moved once more.
        self.0 = parts.concat().into();
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
    pub fn note(&mut self, event: &OrderEvent, at: Time, origin: Option<&PackedOrigin>) {
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

/// How much newer an entry's version is, and when that was.
struct Numbers {
    bytes: [u8; NUMBERS_BYTES_MAX],
    length: usize,
}

impl Numbers {
    /// `None` where the version is not behind the one before it.
    fn of((last, version): (Version, Version), elapsed: i64) -> Option<Self> {
        let newer = version.0.checked_sub(last.0).filter(|newer| *newer > 0)?;
        let mut numbers = Self {
            bytes: [0; NUMBERS_BYTES_MAX],
            length: 0,
        };
        numbers.put(newer);
        numbers.put((elapsed.wrapping_shl(1) ^ (elapsed >> 63)) as u64);
        Some(numbers)
    }

    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// How much newer the next entry's version is; the rest of it is passed over. `None` at the end.
fn skip_entry(rest: &mut &[u8]) -> Option<u64> {
    let newer = take_varint(rest)?;
    take_varint(rest)?;
    skip(rest)?;
    Some(newer)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{REQUEST_ID_KEPT_BYTES_MAX, TraceId, access::Username};

    const UUID: &str = "0192f7a0-5b1c-7d3e-8f00-0123456789ab";

    fn origin(by: &str, request_id: &str, trace: bool) -> Origin {
        Origin {
            by: Username::new(by).ok(),
            request_id: (!request_id.is_empty()).then(|| Arc::from(request_id)),
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
        // Its bytes are taken as they are, and no others.
        assert_eq!(Trail::of_bytes(trail.as_bytes()), Some(trail.clone()));
        let ends: Vec<usize> = (0..=entries.len())
            .map(|most| Trail::of(&entries[..most], created).unwrap().as_bytes().len())
            .collect();
        for cut in 0..trail.as_bytes().len() {
            let is_one = Trail::of_bytes(&trail.as_bytes()[..cut]).is_some();
            assert_eq!(is_one, ends.contains(&cut), "{cut}");
        }
        assert_eq!(Trail::of_bytes(&[0, 0, 0]), None, "a version twice");
    }
}

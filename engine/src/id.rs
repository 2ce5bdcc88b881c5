//! Names of entities.
//!
//! An order id is 128 bits and sorts by time:
//!
//! ```text
//!   127            80 79       68 67                          0
//!   ┌────────────────┬───────────┬────────────────────────────┐
//!   │ ms since 1970  │   slot    │ unique within ms and slot  │
//!   │     48 bits    │  12 bits  │          68 bits           │
//!   └────────────────┴───────────┴────────────────────────────┘
//! ```
//!
//! Its text is 26 characters of Crockford's base 32 (no I, L, O, U), most significant first, like a ULID's.

use std::{fmt, str::FromStr, sync::Arc};

/// The longest customer id or sku, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// The characters of an order id's text.
pub const ORDER_ID_CHARS: usize = 26;

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const UNIQUE_BITS: u32 = 68;
const SLOT_BITS: u32 = 12;

/// A text that is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No characters at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`ID_BYTES_MAX`] bytes.
    #[error("must be at most {ID_BYTES_MAX} characters")]
    TooLong,
    /// A character outside `a-z A-Z 0-9 . _ -`.
    #[error("may only have the characters a-z A-Z 0-9 . _ -")]
    Character,
    /// Not 26 characters of Crockford's base 32.
    #[error("must be an order id: {ORDER_ID_CHARS} characters of 0-9 and A-Z without I, L, O, U")]
    NotAnOrder,
}

/// Checks the shape that customer ids and skus share.
fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong);
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        return Err(IdError::Character);
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Eq, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                // Nearly always one copy, and its text is in no cache.
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl $name {
            /// Takes a text as an id.
            ///
            /// # Errors
            /// Where it is empty, longer than [`ID_BYTES_MAX`], or has a character outside `a-z A-Z 0-9 . _ -`.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id! {
    /// A customer's id, chosen by the client.
    CustomerId
}

text_id! {
    /// An item's stock-keeping unit, chosen by the client.
    Sku
}

/// An order's id, chosen by the leader of its customer's shard.
// There are many beside fields of 8 bytes: aligned as `u128` is, each of those would take 16.
#[repr(Rust, packed(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u128);

impl OrderId {
    /// Puts an id together: milliseconds since 1970 (the low 48 bits count), slot (the low 12 bits), and what makes it
    /// unique among the ids of that slot and millisecond (the low 68 bits).
    pub fn compose(time_ms: u64, slot: u16, unique: u128) -> Self {
        let time = u128::from(time_ms) << (UNIQUE_BITS + SLOT_BITS);
        let slot = (u128::from(slot) & ((1 << SLOT_BITS) - 1)) << UNIQUE_BITS;
        Self(time | slot | (unique & ((1 << UNIQUE_BITS) - 1)))
    }

    /// Its text's characters, all of them ASCII.
    pub fn chars(self) -> [u8; ORDER_ID_CHARS] {
        // By parts of 60 bits and 12 characters: shifts of a u128 are the slow ones.
        const PART: u32 = 60;
        let mut chars = [0; ORDER_ID_CHARS];
        let mut rest = self.0;
        for part in chars.rchunks_mut(PART as usize / 5) {
            let mut bits = rest as u64;
            for char in part.iter_mut().rev() {
                *char = CROCKFORD[(bits & 31) as usize];
                bits >>= 5;
            }
            rest >>= PART;
        }
        chars
    }

    /// The slot of the order's customer.
    pub fn slot(self) -> u16 {
        ((self.0 >> UNIQUE_BITS) & ((1 << SLOT_BITS) - 1)) as u16
    }

    /// When it was chosen, in milliseconds since 1970.
    pub fn time_ms(self) -> u64 {
        (self.0 >> (UNIQUE_BITS + SLOT_BITS)) as u64
    }

    /// The upper and the lower half.
    pub fn halves(self) -> (u64, u64) {
        ((self.0 >> 64) as u64, self.0 as u64)
    }

    /// The id of these halves.
    pub fn from_halves(high: u64, low: u64) -> Self {
        Self((u128::from(high) << 64) | u128::from(low))
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.chars()).unwrap_or_default())
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OrderId {
    type Err = IdError;

    /// Takes upper or lower case; one text per id, so that ids compare as texts.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != ORDER_ID_CHARS {
            return Err(IdError::NotAnOrder);
        }
        let mut id = 0u128;
        for (i, b) in text.bytes().enumerate() {
            let upper = b.to_ascii_uppercase();
            let digit = CROCKFORD
                .iter()
                .position(|c| *c == upper)
                .ok_or(IdError::NotAnOrder)? as u128;
            // 26 × 5 bits are two more than 128: the first character is 0 to 7.
            if i == 0 && digit > 7 {
                return Err(IdError::NotAnOrder);
            }
            id = (id << 5) | digit;
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_carries_its_slot_and_time_and_survives_its_text() {
        let id = OrderId::compose(1_795_000_000_123, 4_095, u128::MAX);
        assert_eq!((id.slot(), id.time_ms()), (4_095, 1_795_000_000_123));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        let (high, low) = id.halves();
        assert_eq!(OrderId::from_halves(high, low), id);
    }

    #[test]
    fn texts_that_are_no_order_id_are_refused() {
        for text in [
            "",
            "0",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "0000000000000000000000000U",
            "é000000000000000000000000",
        ] {
            assert_eq!(text.parse::<OrderId>(), Err(IdError::NotAnOrder), "{text}");
        }
    }

    #[test]
    fn ids_of_clients_have_a_shape() {
        assert_eq!(Sku::new(""), Err(IdError::Empty));
        assert_eq!(Sku::new(&"a".repeat(65)), Err(IdError::TooLong));
        assert_eq!(Sku::new("a/b"), Err(IdError::Character));
        assert_eq!(Sku::new("ä"), Err(IdError::Character));
        assert!(Sku::new(&"aZ0._-".repeat(10)).is_ok());
    }
}

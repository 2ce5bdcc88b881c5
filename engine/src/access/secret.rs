//! Names of accounts, sessions and keys, and what is kept of their secrets.

use std::{fmt, str::FromStr, sync::Arc};

use super::limits::{PASSWORD_HASH_BYTES_MAX, USERNAME_BYTES_MAX};

/// A text that is no username.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// No characters at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`USERNAME_BYTES_MAX`] bytes.
    #[error("must be at most {USERNAME_BYTES_MAX} characters")]
    TooLong,
    /// A character outside `a-z A-Z 0-9 . _ - @`.
    #[error("may only have the characters a-z A-Z 0-9 . _ - @")]
    Character,
}

/// An account's name. Upper and lower case differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// Takes a text as a username.
    ///
    /// # Errors
    /// Where it is empty, longer than [`USERNAME_BYTES_MAX`], or has a character outside `a-z A-Z 0-9 . _ - @`.
    pub fn new(text: &str) -> Result<Self, UsernameError> {
        if text.is_empty() {
            return Err(UsernameError::Empty);
        }
        if text.len() > USERNAME_BYTES_MAX {
            return Err(UsernameError::TooLong);
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
        if !text.bytes().all(fits) {
            return Err(UsernameError::Character);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        Self::new(text)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Username {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// An id that is not as many lower-case hexadecimal digits as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {digits} of the digits 0-9 a-f")]
pub struct IdTextError {
    pub(crate) digits: usize,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdTextError;

            /// Takes lower case only, so that an id has one text.
            fn from_str(text: &str) -> Result<Self, IdTextError> {
                let error = IdTextError { digits: 2 * $bytes };
                let digit = |b: u8| match b {
                    b'0'..=b'9' => Ok(b - b'0'),
                    b'a'..=b'f' => Ok(b - b'a' + 10),
                    _ => Err(error),
                };
                if text.len() != 2 * $bytes {
                    return Err(error);
                }
                let mut id = [0; $bytes];
                for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
                }
                Ok(Self(id))
            }
        }
    };
}

pub(crate) use random_id;

random_id! {
    /// A session's id: random, not secret.
    SessionId, 16
}

random_id! {
    /// An API key's id: random, not secret.
    ApiKeyId, 12
}

random_id! {
    /// A signing key's id: random, public.
    SigningKeyId, 8
}

/// The SHA-256 of a random secret of at least 128 bits. Nothing prints it.
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

impl PartialEq for SecretHash {
    /// Takes the same time wherever the two differ.
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        difference == 0
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A password's hash in PHC form (`$argon2id$…`). Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// Takes a PHC text; `None` where it is empty or longer than [`PASSWORD_HASH_BYTES_MAX`].
    pub fn new(phc: &str) -> Option<Self> {
        (1..=PASSWORD_HASH_BYTES_MAX)
            .contains(&phc.len())
            .then(|| Self(Arc::from(phc)))
    }

    /// The PHC text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// The 32 random bytes that a signing key grows from. Nothing prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningSeed(pub [u8; 32]);

impl fmt::Debug for SigningSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSeed(…)")
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn usernames_have_a_shape() {
        assert_eq!(Username::new(""), Err(UsernameError::Empty));
        assert_eq!(Username::new(&"a".repeat(65)), Err(UsernameError::TooLong));
        for text in ["a b", "a/b", "ä", "a\0"] {
            assert_eq!(Username::new(text), Err(UsernameError::Character), "{text}");
        }
        assert_eq!(
            Username::new("Ada.L-1_@x").map(|name| name.to_string()),
            Ok("Ada.L-1_@x".to_owned())
        );
    }

    #[test]
    fn an_id_has_one_text() {
        let id = SigningKeyId([0, 1, 0xab, 0xff, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "0001abff04050607");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "0001ABFF04050607",
            "0001abff0405060",
            "0001abff040506071",
            "0001abff0405060é",
            "+001abff04050607",
        ] {
            assert!(text.parse::<SigningKeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let hash = PasswordHash::new("$argon2id$secret");
        let printed = format!(
            "{:?} {:?} {hash:?}",
            SecretHash([0x5e; 32]),
            SigningSeed([0x5e; 32])
        );
        assert!(
            !printed.contains("5e") && !printed.contains("94") && !printed.contains("argon2"),
            "{printed}"
        );
    }

    #[test]
    fn hashes_that_differ_anywhere_differ() {
        for i in 0..32 {
            let mut other = [7; 32];
            other[i] ^= 1;
            assert_ne!(SecretHash([7; 32]), SecretHash(other));
        }
        assert_eq!(SecretHash([7; 32]), SecretHash([7; 32]));
    }
}

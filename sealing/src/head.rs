//! What stands in the clear in front of what is sealed, or beside it: with which key, and under which salt. This is a disk format.
//!
//! ```text
//!  0              1         1+n          5+n           21+n
//!  +--------------+---------+------------+-------------+
//!  | n u8, 1..=32 | key id  | check 4    | salt 16     |        in frames, records and values
//!  +--------------+---------+------------+-------------+
//!
//!  docket sealed 1                                             in a file of its own, `sealed`, beside what it is of
//!  key 2026-11
//!  check 0a1b2c3d
//!  salt 000102030405060708090a0b0c0d0e0f
//! ```

use crate::{KeyId, keyring::hex};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
pub(crate) const CHECK_BYTES: usize = 4;
/// The first line of the file; the number is its version.
const FIRST_LINE: &str = "docket sealed 1";
const BEGINS: &str = "docket sealed ";

/// With which key something is sealed, and under which salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    key: KeyId,
    check: [u8; CHECK_BYTES],
    salt: [u8; SALT_BYTES],
}

/// Why a file is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is none.
    #[error("does not say with which key it is sealed")]
    Broken,
    /// It is one of another version.
    #[error(
        "is sealed in a way that this program does not know; use the program that wrote it, or a newer one"
    )]
    Version,
}

impl Head {
    pub(crate) fn new(key: KeyId, check: [u8; CHECK_BYTES], salt: [u8; SALT_BYTES]) -> Self {
        Self { key, check, salt }
    }

    /// The id of the key.
    pub fn key(&self) -> KeyId {
        self.key
    }

    pub(crate) fn check(&self) -> [u8; CHECK_BYTES] {
        self.check
    }

    pub(crate) fn salt(&self) -> &[u8; SALT_BYTES] {
        &self.salt
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        1 + self.key.as_str().len() + CHECK_BYTES + SALT_BYTES
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Puts its bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        let id = self.key.as_str().as_bytes();
        // An id has at most 32.
        out.push(id.len() as u8);
        out.extend_from_slice(id);
        out.extend_from_slice(&self.check);
        out.extend_from_slice(&self.salt);
    }

    /// Takes them off the front; `None` where there are none.
    pub fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (length, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (check, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let key = std::str::from_utf8(id).ok()?.parse().ok()?;
        Some((Self::new(key, *check, *salt), rest))
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let Self { key, check, salt } = self;
        format!(
            "{FIRST_LINE}\nkey {key}\ncheck {}\nsalt {}\n",
            hex(check),
            hex(salt)
        )
    }

    /// Reads the text of such a file; what is behind it is the rest.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn of_text(text: &str) -> Result<(Self, &str), HeadError> {
        let (first, rest) = line(text)?;
        if first != FIRST_LINE {
            return Err(match first.starts_with(BEGINS) {
                true => HeadError::Version,
                false => HeadError::Broken,
            });
        }
        let (key, rest) = field(rest, "key ")?;
        let (check, rest) = field(rest, "check ")?;
        let (salt, rest) = field(rest, "salt ")?;
        let head = Self {
            key: key.parse().map_err(|_| HeadError::Broken)?,
            check: of_hex(check)?,
            salt: of_hex(salt)?,
        };
        Ok((head, rest))
    }
}

fn line(text: &str) -> Result<(&str, &str), HeadError> {
    text.split_once('\n').ok_or(HeadError::Broken)
}

fn field<'a>(text: &'a str, name: &str) -> Result<(&'a str, &'a str), HeadError> {
    let (line, rest) = line(text)?;
    let value = line.strip_prefix(name).ok_or(HeadError::Broken)?;
    Ok((value, rest))
}

pub(crate) fn of_hex<const N: usize>(text: &str) -> Result<[u8; N], HeadError> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(HeadError::Broken);
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        let digits = std::str::from_utf8(digits).map_err(|_| HeadError::Broken)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| HeadError::Broken)?;
    }
    Ok(bytes)
}

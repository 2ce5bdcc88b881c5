//! Sealing: AES-256-GCM with a random nonce for each object, and HMAC-SHA-256 for what is not secret but must not be made by others.
//!
//! ```text
//!  0       3         4          5         17                      -16
//! ┌───────┬─────────┬──────────┬─────────┬───────────────────────┬─────────┐
//! │ "DKB" │ version │ sealed   │ nonce   │ content …             │ tag     │     nonce and tag only where it is sealed
//! │       │ u8 = 1  │ u8 0, 1  │ 12      │                       │ 16      │
//! └───────┴─────────┴──────────┴─────────┴───────────────────────┴─────────┘
//! ```
//!
//! The object's name is sealed with it (as what is authenticated beside), so that none can stand for another. The two keys are made of the one that
//! is given by HMAC under different labels. Nonces are random: with one key 2³² objects may be sealed, of some MiB each.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};

const MAGIC: [u8; 3] = *b"DKB";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const NONCE_BYTES: usize = 12;
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// A key that backups are sealed with.
#[derive(Clone)]
pub struct Key(Arc<Keys>);

struct Keys {
    seal: LessSafeKey,
    sign: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A text that is no key. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a backup's key is 32 random bytes, as 64 hexadecimal digits or in base64: make one with `openssl rand -hex 32`"
)]
pub struct KeyError;

impl Key {
    /// The key that a secret says.
    ///
    /// # Errors
    /// It is not 32 bytes, in hexadecimal digits or base64.
    pub fn of(secret: &SecretString) -> Result<Self, KeyError> {
        let text = secret.expose_secret().trim();
        let bytes = from_hex(text).or_else(|| STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| bytes.len() == KEY_BYTES).ok_or(KeyError)?;
        let given = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let derive = |label: &[u8]| hmac::sign(&given, label);
        let seal = UnboundKey::new(&AES_256_GCM, derive(b"docket backup seal 1").as_ref());
        Ok(Self(Arc::new(Keys {
            seal: LessSafeKey::new(seal.map_err(|_| KeyError)?),
            sign: hmac::Key::new(hmac::HMAC_SHA256, derive(b"docket backup sign 1").as_ref()),
        })))
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0.sign, bytes).as_ref().to_vec()
    }

    pub(crate) fn is_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.0.sign, bytes, signature).is_ok()
    }
}

/// Makes the file of an object.
///
/// # Errors
/// The system has no randomness, or the content is too large.
pub(crate) fn seal(key: Option<&Key>, name: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    let mut file = Vec::with_capacity(HEAD_BYTES + NONCE_BYTES + content.len() + AES_256_GCM.tag_len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&[VERSION, u8::from(key.is_some())]);
    let Some(key) = key else {
        file.extend_from_slice(content);
        return Ok(file);
    };
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
    file.extend_from_slice(&nonce);
    let mut sealed = content.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let done = key
        .0
        .seal
        .seal_in_place_append_tag(nonce, Aad::from(name.as_bytes()), &mut sealed);
    done.map_err(|_| "it cannot be sealed".to_owned())?;
    file.extend_from_slice(&sealed);
    Ok(file)
}

/// The content of an object's file.
///
/// # Errors
/// What does not fit.
pub(crate) fn open(key: Option<&Key>, name: &str, mut file: Vec<u8>) -> Result<Vec<u8>, String> {
    let is_sealed = match file.first_chunk::<HEAD_BYTES>() {
        Some([m, n, o, VERSION, sealed @ 0..=1]) if [*m, *n, *o] == MAGIC => *sealed == 1,
        Some([m, n, o, version, _]) if [*m, *n, *o] == MAGIC => {
            return Err(format!(
                "it has version {version}, and this program knows {VERSION}"
            ));
        }
        _ => return Err("it does not begin as an object does".to_owned()),
    };
    match (key, is_sealed) {
        (None, false) => {
            file.drain(..HEAD_BYTES);
            Ok(file)
        }
        (Some(key), true) => {
            let start = HEAD_BYTES + NONCE_BYTES;
            let nonce = file.get(HEAD_BYTES..start).and_then(<[u8]>::first_chunk);
            let nonce = Nonce::assume_unique_for_key(*nonce.ok_or("it is cut")?);
            let opened = key
                .0
                .seal
                .open_within(nonce, Aad::from(name.as_bytes()), &mut file, start..)
                .map_err(|_| "it was not sealed with this key, under this name, as it is")?;
            let length = opened.len();
            file.truncate(length);
            Ok(file)
        }
        (None, true) => Err("it is sealed, and its repository is not".to_owned()),
        (Some(_), false) => Err("it is not sealed, and its repository is".to_owned()),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn key(byte: u8) -> Key {
        Key::of(&SecretString::from(hex(&[byte; KEY_BYTES]))).unwrap()
    }

    #[test]
    fn a_key_is_32_bytes_in_hexadecimal_or_base64_and_nothing_else() {
        let bytes = [7; KEY_BYTES];
        let written = [hex(&bytes), STANDARD.encode(bytes), format!("{}\n", hex(&bytes))];
        let signatures: Vec<_> = written
            .iter()
            .map(|text| Key::of(&SecretString::from(text.clone())).unwrap().sign(b"x"))
            .collect();
        assert!(signatures.iter().all(|signature| *signature == signatures[0]));
        for text in ["", "correct horse battery staple", &hex(&[7; 31]), &hex(&[7; 33])] {
            assert!(Key::of(&SecretString::from(text)).is_err(), "{text}");
        }
        assert_eq!(format!("{:?}", key(7)), "Key(…)");
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_key_alone_and_whichever_bit_is_flipped_it_does_not() {
        let (own, other) = (key(1), key(2));
        let file = seal(Some(&own), "objects/a", b"orders").unwrap();
        assert_eq!(open(Some(&own), "objects/a", file.clone()).unwrap(), b"orders");
        assert!(!file.windows(6).any(|bytes| bytes == b"orders"));
        assert!(open(Some(&other), "objects/a", file.clone()).is_err());
        assert!(open(Some(&own), "objects/b", file.clone()).is_err());
        assert!(open(None, "objects/a", file.clone()).is_err());
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(Some(&own), "objects/a", flipped).is_err(), "bit {bit}");
        }
        for length in 0..file.len() {
            assert!(
                open(Some(&own), "objects/a", file[..length].to_vec()).is_err(),
                "{length}"
            );
        }
        assert_ne!(
            file,
            seal(Some(&own), "objects/a", b"orders").unwrap(),
            "another nonce"
        );
        let plain = seal(None, "objects/a", b"orders").unwrap();
        assert_eq!(plain, b"DKB\x01\x00orders", "for ever");
        assert_eq!(open(None, "objects/a", plain.clone()).unwrap(), b"orders");
        assert!(open(Some(&own), "objects/a", plain).is_err());
    }
}

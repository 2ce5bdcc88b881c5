//! A key of its own for what is kept longer than any key is in use: made once, and kept beside it, sealed with the key of the day. Another key of
//! the day seals it anew, and what it has sealed stays as it is.
//!
//! What it seals twice in the same place comes out the same: the salt is made of the value by HMAC, so that another value has another salt. That
//! tells that two values in one place are the same, and nothing else. (As in RFC 5297, where the nonce is made of what is sealed.)

use std::fmt;

use aws_lc_rs::hmac;
use secrecy::zeroize::Zeroizing;

use crate::{
    Head, Keyring, Nonce, SALT_BYTES, SealError, TAG_BYTES, cipher,
    head::of_hex,
    keyring::{KEY_BYTES, derive, hex},
};

const SEAL_LABEL: &[u8] = b"docket inner seal 1";
const SALT_LABEL: &[u8] = b"docket inner salt 1";
const NAME_LABEL: &[u8] = b"docket inner name 1";
/// In front of it in its file, behind the head.
const FIELD: &str = "inner ";
/// Bytes that sealing adds.
pub const INNER_ADDED_BYTES: usize = SALT_BYTES + TAG_BYTES;
/// Bytes of a name.
pub const NAME_BYTES: usize = 16;

/// Such a key.
pub struct InnerKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    salts: hmac::Key,
    names: hmac::Key,
}

impl InnerKey {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *bytes).map_err(|_| SealError::NoRandomness)?;
        Ok(Self::of(bytes))
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let given = hmac::Key::new(hmac::HMAC_SHA256, &*bytes);
        let made = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&given, label).as_ref());
        Self {
            salts: made(SALT_LABEL),
            names: made(NAME_LABEL),
            bytes,
        }
    }

    /// The text of a file that keeps it, sealed with the key of the day; `None` where there is none.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn wrapped(&self, keys: &Keyring, label: &[u8]) -> Result<Option<String>, SealError> {
        let Some(cipher) = keys.sealer(label)? else {
            return Ok(None);
        };
        let mut sealed = self.bytes.to_vec();
        cipher.seal(Nonce::ONE, &[], &mut sealed, 0)?;
        Ok(Some(format!("{}{FIELD}{}\n", cipher.head().text(), hex(&sealed))))
    }

    /// Reads what [`wrapped`](Self::wrapped) wrote behind its head, and what is behind that.
    ///
    /// # Errors
    /// The key is not there, or another one, or it is not what was written.
    pub fn unwrap<'a>(
        keys: &Keyring,
        head: &Head,
        rest: &'a str,
        label: &[u8],
    ) -> Result<(Self, &'a str), SealError> {
        let changed = SealError::Changed { id: head.key() };
        let cipher = keys.opener(head, label)?;
        let (line, rest) = rest.split_once('\n').ok_or(changed)?;
        let sealed = line.strip_prefix(FIELD).ok_or(changed)?;
        let sealed: [u8; KEY_BYTES + TAG_BYTES] = of_hex(sealed).map_err(|_| changed)?;
        let mut opened = Vec::new();
        cipher.open(Nonce::ONE, &[], &sealed, &mut opened)?;
        let opened = Zeroizing::new(opened);
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if opened.len() != KEY_BYTES {
            return Err(changed);
        }
        bytes.copy_from_slice(&opened);
        Ok((Self::of(bytes), rest))
    }

    /// Seals a value, to be opened in this place alone.
    ///
    /// # Errors
    /// It is too long.
    pub fn seal(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut context = hmac::Context::with_key(&self.salts);
        // The length first, so that no place and value are another place and value.
        context.update(&(place.len() as u64).to_le_bytes());
        context.update(place);
        context.update(value);
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&context.sign().as_ref()[..SALT_BYTES]);
        let key = derive(&self.bytes, &salt, SEAL_LABEL)?;
        let mut sealed = Vec::with_capacity(value.len() + INNER_ADDED_BYTES);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(value);
        cipher::seal(&key, Nonce::ONE, place, &mut sealed, SALT_BYTES)?;
        Ok(sealed)
    }

    /// Opens what was sealed in this place; `None` where that is something else.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, sealed) = sealed.split_first_chunk()?;
        let key = derive(&self.bytes, salt, SEAL_LABEL).ok()?;
        let mut opened = Vec::new();
        cipher::open(&key, Nonce::ONE, place, sealed, &mut opened)?;
        Some(opened)
    }

    /// What stands for something in an index: the same for the same, and no more can be told from it.
    pub fn name(&self, index: u8, of: &[u8]) -> [u8; NAME_BYTES] {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(&[index]);
        context.update(of);
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&context.sign().as_ref()[..NAME_BYTES]);
        name
    }
}

impl fmt::Debug for InnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InnerKey(…)")
    }
}

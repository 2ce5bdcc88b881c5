//! The form that API keys and refresh tokens share.
//!
//! ```text
//!   dk_0f1e2d3c4b5a69788796a5b4_9f86d081…(64 digits)…0f00a08_1a2b3c4d
//!   │  │                        │                            └ checksum: SHA-256 of all before its `_`, 4 bytes
//!   │  │                        └ secret
//!   │  └ id, not secret
//!   └ kind, so that scanners find a key that leaked
//! ```
//! All of it is lower-case hexadecimal: a double click selects it, and a value has one text only. The checksum tells a
//! typo from a key that was revoked, without asking anyone; it protects nothing.

use sha2::{Digest, Sha256};

/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = 4;

/// No randomness is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness to give: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Random bytes from the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The text of an id and a secret.
pub(super) fn join(kind: &str, id: &[u8], secret: &[u8]) -> String {
    let mut text = String::with_capacity(kind.len() + 2 * (id.len() + secret.len() + CHECKSUM_BYTES) + 3);
    text.push_str(kind);
    text.push('_');
    push_hex(&mut text, id);
    text.push('_');
    push_hex(&mut text, secret);
    let checksum = sha256(text.as_bytes());
    text.push('_');
    push_hex(&mut text, &checksum[..CHECKSUM_BYTES]);
    text
}

/// The id and the secret of a text that [`join`] made.
pub(super) fn split<const ID: usize, const SECRET: usize>(
    kind: &str,
    text: &str,
) -> Option<([u8; ID], [u8; SECRET])> {
    let (body, checksum) = text.rsplit_once('_')?;
    let (id, secret) = body.strip_prefix(kind)?.strip_prefix('_')?.split_once('_')?;
    let (id, secret) = (hex(id)?, hex(secret)?);
    let right = sha256(body.as_bytes());
    (hex::<CHECKSUM_BYTES>(checksum)? == right[..CHECKSUM_BYTES]).then_some((id, secret))
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_text_survives_and_every_typo_in_it_is_noticed() {
        let text = join("dk", &[1, 2, 3], &[0xfe; 8]);
        assert!(text.starts_with("dk_010203_fefefefefefefefe_"), "{text}");
        assert_eq!(split::<3, 8>("dk", &text), Some(([1, 2, 3], [0xfe; 8])));
        assert_eq!(split::<3, 8>("dr", &text), None);
        assert_eq!(split::<2, 9>("dk", &text), None);
        for at in 0..text.len() {
            for other in ['0', '1', 'f', '_', 'F', 'k'] {
                let mut typo = text.clone();
                typo.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
                assert_eq!(split::<3, 8>("dk", &typo).is_some(), typo == text, "{typo}");
            }
            assert_eq!(split::<3, 8>("dk", &text[..at]), None);
        }
        assert_eq!(split::<3, 8>("dk", &format!("{text}0")), None);
        assert_eq!(split::<3, 8>("dk", "dk_é_é_é"), None);
    }
}

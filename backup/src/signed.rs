//! Texts with a proof in front: a checksum, or, where there is a key, what only who has the key can make.
//!
//! ```text
//!   docket-backup 1 sha-256 9f2c…            or hmac-sha-256; over the file's name, a line's end, and all that follows
//!   { … }
//! ```

use aws_lc_rs::digest::{SHA256, digest};

use crate::seal::{Key, from_hex, hex};

const HEAD: &str = "docket-backup 1";
const CHECKSUM: &str = "sha-256";
const SIGNATURE: &str = "hmac-sha-256";

/// The file of a text.
pub(crate) fn put(key: Option<&Key>, name: &str, text: &str) -> Vec<u8> {
    let covered = covered(name, text);
    let (kind, proof) = match key {
        Some(key) => (SIGNATURE, key.sign(&covered)),
        None => (CHECKSUM, digest(&SHA256, &covered).as_ref().to_vec()),
    };
    format!("{HEAD} {kind} {}\n{text}", hex(&proof)).into_bytes()
}

/// What is wrong with the file of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRead {
    /// It is no such file, or damaged.
    Damaged(&'static str),
    /// It has a proof by a key, and there is none.
    NeedsKey,
    /// It has none, and there is a key.
    NoProof,
}

/// The text of a file.
pub(crate) fn get<'a>(key: Option<&Key>, name: &str, file: &'a [u8]) -> Result<&'a str, NotRead> {
    let file = std::str::from_utf8(file).map_err(|_| NotRead::Damaged("it is no text"))?;
    let (head, text) = file.split_once('\n').ok_or(NotRead::Damaged("it has one line"))?;
    let rest = head.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix(' '));
    let (kind, proof) = rest
        .and_then(|rest| rest.split_once(' '))
        .ok_or(NotRead::Damaged("its first line is none of a backup's"))?;
    // One way to write it, so that no bit may be another.
    let proof = Some(proof).filter(|proof| !proof.bytes().any(|byte| byte.is_ascii_uppercase()));
    let proof = proof
        .and_then(from_hex)
        .ok_or(NotRead::Damaged("its checksum is none"))?;
    let covered = covered(name, text);
    let holds = match (kind, key) {
        (CHECKSUM, None) => digest(&SHA256, &covered).as_ref() == proof,
        (SIGNATURE, Some(key)) => key.is_signed(&covered, &proof),
        (SIGNATURE, None) => return Err(NotRead::NeedsKey),
        (CHECKSUM, Some(_)) => return Err(NotRead::NoProof),
        _ => return Err(NotRead::Damaged("its first line is none of a backup's")),
    };
    match holds {
        true => Ok(text),
        false => Err(NotRead::Damaged("its checksum does not fit what it says")),
    }
}

fn covered(name: &str, text: &str) -> Vec<u8> {
    [name.as_bytes(), b"\n", text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tests::key;

    #[test]
    fn a_text_is_read_back_and_whichever_bit_is_flipped_it_is_not() {
        for own in [None, Some(key(1))] {
            let own = own.as_ref();
            let file = put(own, "backups/a", "{\"a\": 1}\n");
            assert_eq!(get(own, "backups/a", &file), Ok("{\"a\": 1}\n"));
            assert!(get(own, "backups/b", &file).is_err(), "another's");
            for bit in 0..file.len() * 8 {
                let mut flipped = file.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(get(own, "backups/a", &flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn with_a_key_a_checksum_is_not_enough_and_without_one_a_signature_too_much() {
        let own = key(1);
        assert_eq!(
            get(Some(&own), "a", &put(None, "a", "text")),
            Err(NotRead::NoProof)
        );
        assert_eq!(
            get(None, "a", &put(Some(&own), "a", "text")),
            Err(NotRead::NeedsKey)
        );
        assert!(get(Some(&key(2)), "a", &put(Some(&own), "a", "text")).is_err());
    }
}

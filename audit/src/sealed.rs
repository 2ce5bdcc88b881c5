//! Lines that are sealed: where the log has a key, each line is written so, and is itself when it is opened.
//!
//! ```text
//!  {"sealed":1,"data":"<base64 of: key id, check, salt (docket_sealing::Head) │ the line without its end, sealed>"}\n
//! ```
//! What the log proves it proves as it does without: hashes and sequences are of what is sealed, so that a line in another's place is found. All lines
//! of a file are sealed with one key, or none is.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docket_sealing::{Head, KeyId, Keyring, Nonce, SealError};

use crate::{AuditError, files, record::LINE_BYTES_MAX};

/// What the keys of lines are derived for: each line has a salt of its own.
const LABEL: &[u8] = b"docket audit line 1";
const OPENS: &[u8] = b"{\"sealed\":1,\"data\":\"";
const CLOSES: &[u8] = b"\"}";
/// No line that is sealed is longer, in bytes: base64 makes four of three.
pub(crate) const STORED_LINE_BYTES_MAX: usize = LINE_BYTES_MAX / 3 * 4 + 1_024;

/// A line as it is written, of one that ends.
pub(crate) fn stored(keys: &Keyring, line: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let Some(cipher) = keys.sealer(LABEL)? else {
        return Ok(line);
    };
    let mut data = Vec::with_capacity(line.len() + 64);
    cipher.head().put(&mut data);
    let from = data.len();
    data.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(&line));
    cipher.seal(Nonce::ONE, &[], &mut data, from)?;
    let mut stored = OPENS.to_vec();
    stored.extend_from_slice(STANDARD.encode(data).as_bytes());
    stored.extend_from_slice(CLOSES);
    stored.push(b'\n');
    Ok(stored)
}

/// What a line that ends is sealed with; `None` where it is not.
fn data(line: &[u8]) -> Option<Vec<u8>> {
    let text = line
        .strip_prefix(OPENS)?
        .strip_suffix(b"\n")?
        .strip_suffix(CLOSES)?;
    STANDARD.decode(text).ok()
}

/// Puts what is sealed in a line in its place, and says with which key it is. One that was changed is none any more.
///
/// # Errors
/// Its key is not there, or another one.
pub(crate) fn open(keys: &Keyring, line: &mut Vec<u8>) -> Result<Option<KeyId>, SealError> {
    if !line.starts_with(OPENS) || !line.ends_with(b"\n") {
        return Ok(None);
    }
    let data = data(line);
    line.clear();
    let Some((head, sealed)) = data.as_deref().and_then(Head::take) else {
        line.push(b'\n');
        return Ok(None);
    };
    let cipher = keys.opener(&head, LABEL)?;
    match cipher.open(Nonce::ONE, &[], sealed, line) {
        Ok(()) | Err(SealError::Changed { .. }) => {}
        Err(error) => return Err(error),
    }
    line.push(b'\n');
    Ok(Some(head.key()))
}

/// With which key each file of a log is sealed, and which are not; those that are empty are left out. The node may be running.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn usage(folder: &Path) -> Result<Vec<Option<KeyId>>, AuditError> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for segment in files::segments(folder)? {
        let mut line = Vec::new();
        if files::Lines::open(&segment.path, &Keyring::default())?.next_stored(&mut line)? == 0 {
            continue;
        }
        let data = data(&line);
        found.push(data.as_deref().and_then(Head::take).map(|(head, _)| head.key()));
    }
    Ok(found)
}

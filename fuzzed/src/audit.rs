//! The files of an audit log, sealed or not, as somebody left them: whoever verifies it says what is wrong, and a node that opens it goes on behind it.

use std::{cell::RefCell, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docket_audit::{
    Audit, AuditOptions,
    verify::{self, Expected},
};
use docket_sealing::Nonce;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    keys::{cipher, head, keys},
    tidy,
};

/// What the keys of lines are derived for.
const LABEL: &[u8] = b"docket audit line 1";
const FILES: [&str; 2] = [
    "audit-00000000000000000001.jsonl",
    "audit-00000000000000000009.jsonl",
];

/// What is made of a line: the byte in front of it.
pub mod kind {
    /// Nothing.
    pub const LINE: u8 = b'r';
    /// It has its hash put behind it.
    pub const HASHED: u8 = b'h';
    /// It is sealed.
    pub const SEALED: u8 = b's';
    /// Both.
    pub const BOTH: u8 = b'b';
    /// It is what the head says.
    pub const HEAD: u8 = b'p';
}

thread_local! {
    static FOLDER: RefCell<TempDir> = RefCell::new(tidy::folder());
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    FOLDER.with_borrow(|folder| files(folder.path(), bytes));
}

fn files(folder: &Path, bytes: &[u8]) {
    for entry in fs::read_dir(folder).expect("a folder") {
        fs::remove_file(entry.expect("an entry").path()).expect("a file");
    }
    let (mut stored, mut head_text, mut lines) = (Vec::new(), Vec::new(), 0);
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((kind, line)) = line.split_first() else {
            continue;
        };
        lines += 1;
        match *kind {
            kind::HASHED => stored.extend(hashed(line)),
            kind::SEALED => stored.extend(sealed(line)),
            kind::BOTH => stored.extend(sealed(&hashed(line))),
            kind::HEAD => {
                head_text = line.to_vec();
                continue;
            }
            _ => stored.extend_from_slice(line),
        }
        stored.push(b'\n');
    }
    fs::write(folder.join(FILES[0]), &stored).expect("a file");
    // Behind one that is not the newest nothing is waited for.
    fs::write(folder.join(FILES[1]), []).expect("a file");
    if !head_text.is_empty() {
        fs::write(folder.join("head"), &head_text).expect("a file");
    }
    let mut read = 0;
    let report = verify::read_with(folder, keys(), &[], |record, hash| {
        read += 1;
        assert_eq!(hash.len(), 64);
        assert!(!record.previous.contains('\n'));
    });
    let Ok(report) = report else {
        // A key that is not there: nothing was said of what is behind it.
        return;
    };
    assert_eq!(report.records, read);
    assert!(read <= lines, "{read} records in {lines} lines");
    // Without the key no more can be read of what is sealed, and it is said.
    let without = verify::read(folder, &[], |_, _| {});
    assert!(without.is_err() || without.is_ok_and(|without| without == report));
    goes_on(folder);
}

/// A node opens it and goes on: what it has written last is there, and its head says so.
fn goes_on(folder: &Path) {
    let Ok(audit) = Audit::open_with(folder, 1, AuditOptions::default(), keys().clone()) else {
        return;
    };
    let at = audit.position().expect("it is on");
    audit.close_blocking();
    let kept = [Expected::Position(at.clone())];
    let report = verify::read_with(folder, keys(), &kept, |_, _| {}).expect("a log");
    for problem in report.problems {
        let text = problem.text;
        assert!(!text.contains("the head that was kept"), "{at}: {text}");
        assert!(!text.contains("is not there: whether"), "{at}: {text}");
    }
}

fn hashed(line: &[u8]) -> Vec<u8> {
    // As somebody writes it who ends it: the record without the brace that closes it.
    let covered = line.strip_suffix(b"}").unwrap_or(line);
    let hash: String = Sha256::digest(covered)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    [covered, b",\"hash\":\"", hash.as_bytes(), b"\"}"].concat()
}

fn sealed(line: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    head().put(&mut data);
    let from = data.len();
    data.extend_from_slice(line);
    cipher(LABEL)
        .seal(Nonce::ONE, &[], &mut data, from)
        .expect("it is short");
    format!("{{\"sealed\":1,\"data\":\"{}\"}}", STANDARD.encode(data)).into_bytes()
}

//! A record, and its line.
//!
//! ```text
//!  {"sequence":7,"time":"…","node":1,"who":{…},"action":"role.assign","target":"shop","outcome":"done","previous":"<hex>","hash":"<hex>"}\n
//!  └──────────────────────────────── what the hash covers: these bytes, as they are ───────────────────────────────────┘
//! ```
//! The hash is SHA-256, over the bytes of the line up to the comma in front of it. The first record of all has 64 zeros for the hash of the
//! one before. Nothing is read again to be hashed, so that there is no second way to write the same record.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What stands before a line's hash, and behind it.
const HASH_OPENS: &[u8] = b",\"hash\":\"";
const HASH_CLOSES: &[u8] = b"\"}";
/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;
/// No text of a record is longer, in bytes: what a caller chooses must not make a line long.
const TEXT_BYTES_MAX: usize = 512;
/// No line is longer, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 192 * 1_024;
/// No log comes so far: a record that says more is none, and whatever is counted from one that is has room.
const SEQUENCE_MAX: u64 = 1 << 62;
/// So many details has a record at most.
const DETAILS_MAX: usize = 16;

/// Actions of the log itself, and of the node.
pub mod actions {
    /// A server begins to serve.
    pub const SERVER_START: &str = "server.start";
    /// It stops in order.
    pub const SERVER_STOP: &str = "server.stop";
    /// A data directory was made a cluster's first.
    pub const CLUSTER_INIT: &str = "cluster.init";
    /// The cluster made a backup by itself.
    pub const BACKUP_CREATE: &str = "backup.create";
    /// A data directory was made of a backup.
    pub const BACKUP_RESTORE: &str = "backup.restore";
    /// A node is in a cluster for the first time.
    pub const CLUSTER_JOIN: &str = "cluster.join";
    /// The configuration was read again.
    pub const CONFIGURATION_RELOAD: &str = "configuration.reload";
    /// The certificates were read again.
    pub const CERTIFICATES_RELOAD: &str = "certificates.reload";
    /// The keys of another issuer were read again.
    pub const ISSUER_KEYS_RELOAD: &str = "issuer_keys.reload";
    /// The first administrator was made.
    pub const FIRST_ADMINISTRATOR: &str = "account.bootstrap";
    /// A line that a crash cut off was taken away.
    pub const MENDED: &str = "audit.mended";
    /// The log is not what it was when the node last wrote it.
    pub const DAMAGED: &str = "audit.damaged";
    /// A file is removed.
    pub const PRUNED: &str = "audit.pruned";
    /// So much could not be recorded.
    pub const MISSED: &str = "audit.missed";
}

/// Where a record is in the log: what proves that all up to it were there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its number, from 1.
    pub sequence: u64,
    /// Its hash, in hexadecimal.
    pub hash: String,
}

impl Position {
    /// Before the first record.
    pub fn origin() -> Self {
        Self {
            sequence: 0,
            hash: "0".repeat(HASH_DIGITS),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head is SEQUENCE:HASH, with 64 hexadecimal digits, as `docket audit head` prints it")]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (sequence, hash) = text.trim().split_once(':').ok_or(NoPosition)?;
        let sequence = sequence.parse().map_err(|_| NoPosition)?;
        match is_hash(hash) && sequence <= SEQUENCE_MAX {
            true => Ok(Self {
                sequence,
                hash: hash.to_owned(),
            }),
            false => Err(NoPosition),
        }
    }
}

/// Whether it is a hash as it is written here.
pub(crate) fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Who did it. No more than what tells people and programs apart: no name, no address of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Who {
    /// The account; none where nobody is known to have asked, or the node did it by itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// By what it proved itself: `key:ID` or `session:ID`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credential: String,
    /// Its role; `node` for the node itself, `operator` for whoever runs the program on its machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The address that it called from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer: String,
}

impl Who {
    /// The node itself.
    pub fn node() -> Self {
        Self {
            role: "node".to_owned(),
            ..Self::default()
        }
    }

    /// Whoever runs the program on the node's machine.
    pub fn operator() -> Self {
        Self {
            role: "operator".to_owned(),
            ..Self::default()
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is about to be done: recorded before, so that what was done and not recorded is known of.
    Begun,
    /// It was done.
    Done,
    /// It was asked for in a way, or at a time, that it was not done.
    Refused,
    /// Whoever asked may not.
    Denied,
    /// Nobody waited for what came of it.
    Unknown,
}

impl Outcome {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(crate) who: Who,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) request_id: String,
    pub(crate) trace: String,
    pub(crate) details: BTreeMap<String, String>,
    pub(crate) times: u64,
}

impl Entry {
    /// Somebody has done this to that (`role.assign`, `shop`).
    pub fn new(who: Who, action: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            who,
            action: action.into(),
            target: target.into(),
            outcome: Outcome::Done,
            reason: String::new(),
            request_id: String::new(),
            trace: String::new(),
            details: BTreeMap::new(),
            times: 1,
        }
    }

    /// What came of it, and why where that was nothing: a code, `UNAVAILABLE` or `TOO_MANY_API_KEYS`.
    pub fn outcome(mut self, outcome: Outcome, reason: impl Into<String>) -> Self {
        self.outcome = outcome;
        self.reason = reason.into();
        self
    }

    /// The id of the request, where its client gave it one.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// The trace that it belongs to.
    pub fn trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = trace.into();
        self
    }

    /// Something more about it. Never a secret; never what tells of a person.
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if self.details.len() < DETAILS_MAX {
            self.details.insert(name.into(), value.into());
        }
        self
    }
}

/// One record, as its line says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1, without holes.
    pub sequence: u64,
    /// When it was recorded, in UTC, by the node's clock.
    pub time: String,
    /// The node.
    pub node: u64,
    /// Who did it.
    pub who: Who,
    /// What: `noun.verb`; of a call that was denied its method.
    pub action: String,
    /// To which account, key, webhook or node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, where that was nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The id of the request, where its client gave it one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// How often, where one record tells of several times.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u64,
    /// The hash of the record before.
    pub previous: String,
}

fn once() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_once(times: &u64) -> bool {
    *times == 1
}

impl Record {
    /// The record behind `after`.
    pub(crate) fn new(entry: &Entry, after: &Position, time: String, node: u64) -> Self {
        let details = entry.details.iter();
        Self {
            sequence: after.sequence + 1,
            time,
            node,
            who: Who {
                account: clipped(&entry.who.account),
                credential: clipped(&entry.who.credential),
                role: clipped(&entry.who.role),
                peer: clipped(&entry.who.peer),
            },
            action: clipped(&entry.action),
            target: clipped(&entry.target),
            outcome: entry.outcome,
            reason: clipped(&entry.reason),
            request_id: clipped(&entry.request_id),
            trace: clipped(&entry.trace),
            details: details
                .map(|(name, value)| (clipped(name), clipped(value)))
                .collect(),
            times: entry.times,
            previous: after.hash.clone(),
        }
    }

    /// Its line, with the line's end, and where it is.
    pub(crate) fn line(&self) -> (Vec<u8>, Position) {
        // A record is made of texts and numbers, which can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.pop();
        let hash = hash_of(&line);
        line.extend_from_slice(HASH_OPENS);
        line.extend_from_slice(hash.as_bytes());
        line.extend_from_slice(HASH_CLOSES);
        line.push(b'\n');
        let sequence = self.sequence;
        (line, Position { sequence, hash })
    }
}

/// A line taken apart.
pub(crate) struct Line<'a> {
    covered: &'a [u8],
    /// The hash that it names.
    pub(crate) hash: &'a str,
}

impl<'a> Line<'a> {
    /// Of a line without its end; `None` where it does not end as one does.
    pub(crate) fn of(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(HASH_CLOSES)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_DIGITS)?)?;
        let hash = std::str::from_utf8(hash).ok().filter(|hash| is_hash(hash))?;
        let covered = rest.strip_suffix(HASH_OPENS)?;
        Some(Self { covered, hash })
    }

    /// Whether that is the hash of what it says.
    pub(crate) fn is_whole(&self) -> bool {
        hash_of(self.covered) == self.hash
    }

    /// What it says.
    pub(crate) fn record(&self) -> Option<Record> {
        let mut object = self.covered.to_vec();
        object.push(b'}');
        let record: Option<Record> = serde_json::from_slice(&object).ok();
        record.filter(|record| record.sequence <= SEQUENCE_MAX)
    }
}

fn hash_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .fold(String::with_capacity(HASH_DIGITS), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            text
        })
}

fn clipped(text: &str) -> String {
    match text.len() <= TEXT_BYTES_MAX {
        true => text.to_owned(),
        false => {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
            format!("{}…", &text[..end.unwrap_or_default()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_its_record_says_and_has_its_hash() {
        let entry = Entry::new(Who::node(), "role.assign", "a \"shop\"\n").detail("role", "service");
        let record = Record::new(&entry, &Position::origin(), "2026-01-01T00:00:00Z".to_owned(), 3);
        let (bytes, position) = record.line();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line = Line::of(bytes.strip_suffix(b"\n").unwrap()).unwrap();
        assert!(line.is_whole());
        assert_eq!((line.hash, position.sequence), (&*position.hash, 1));
        assert_eq!(line.record().unwrap(), record);
        assert_eq!(position.to_string().parse(), Ok(position));
    }

    #[test]
    fn a_number_that_no_log_reaches_is_no_records() {
        let of = |sequence: u64| {
            let entry = Entry::new(Who::node(), "role.assign", "shop");
            let record = Record {
                sequence,
                ..Record::new(&entry, &Position::origin(), String::new(), 1)
            };
            let (bytes, _) = record.line();
            let line = Line::of(bytes.strip_suffix(b"\n").unwrap()).unwrap();
            assert!(line.is_whole());
            line.record().map(|record| record.sequence)
        };
        assert_eq!(
            [of(SEQUENCE_MAX), of(SEQUENCE_MAX + 1), of(u64::MAX)],
            [Some(SEQUENCE_MAX), None, None]
        );
        let position = |sequence: u64| format!("{sequence}:{}", "0".repeat(HASH_DIGITS)).parse::<Position>();
        assert!(position(7).is_ok() && position(u64::MAX).is_err());
    }

    #[test]
    fn the_longest_line_is_as_long_as_one_may_be() {
        // A control character is six bytes in JSON.
        let long = "\u{1}".repeat(10 * TEXT_BYTES_MAX);
        let who = Who {
            account: long.clone(),
            credential: long.clone(),
            role: long.clone(),
            peer: long.clone(),
        };
        let mut entry = Entry::new(who, long.clone(), long.clone())
            .outcome(Outcome::Refused, long.clone())
            .request_id(long.clone())
            .trace(long.clone());
        for n in 0..2 * DETAILS_MAX {
            entry = entry.detail(format!("{n}{long}"), long.clone());
        }
        let (bytes, _) = Record::new(&entry, &Position::origin(), String::new(), 1).line();
        assert!(
            (LINE_BYTES_MAX / 2..=LINE_BYTES_MAX).contains(&bytes.len()),
            "{}",
            bytes.len()
        );
    }
}

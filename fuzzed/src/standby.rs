//! What a standby takes in from its primary, and finds in its folder: pieces of logs, and the spool. And what the two ask of one another.

use std::{fs, path::Path};

use bytes::{BufMut as _, Bytes};
use docket_actors::{
    GroupId,
    backup::{LoggedEntry, stamped},
    standby::orders_in,
};
use docket_proto::v1::{self, FollowLogsResponse, follow_logs_response::Piece};
use prost::Message;
use tempfile::TempDir;

use crate::{Taken, tidy};

/// As the program has it, which is no library.
#[path = "../../src/standby/spool.rs"]
mod spool;

#[path = "../../src/standby/cut.rs"]
mod cut;

use cut::Cut;
use spool::{Reading, Start, Writing};

/// How an input is taken: its first byte.
pub mod kind {
    /// The file, as a disk gives it back.
    pub const FILE: u8 = 0;
    /// Frames, as they are spooled: a group and entries each.
    pub const FRAMES: u8 = 1;
    /// Messages of a primary, each with its length in front of it.
    pub const PIECES: u8 = 2;
    /// A message: a byte that says which.
    pub const MESSAGE: u8 = 3;
}

/// Groups of the standby: the accounts' and three shards'.
const GROUPS: usize = 4;
/// The first entry that is wanted of each.
pub const FROM: u64 = 5;

thread_local! {
    static FOLDER: TempDir = tidy::folder();
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    FOLDER.with(|folder| in_folder(folder.path(), bytes));
}

fn in_folder(folder: &Path, bytes: &[u8]) {
    spool::remove(folder).expect("a folder");
    let mut input = Taken(bytes);
    match input.byte().map(|kind| kind % 4) {
        Some(kind::FILE) => file(folder, input.0),
        Some(kind::FRAMES) => frames(folder, input),
        Some(kind::PIECES) => pieces(folder, input.0),
        Some(_) => message(input),
        None => {}
    }
}

fn from() -> Vec<Start> {
    vec![Start { next: FROM, term: 1 }; GROUPS]
}

/// All that is spooled, and how many entries that can be read.
fn read(folder: &Path) -> Option<Vec<(u32, Bytes)>> {
    let mut reading = Reading::open(folder).ok()??;
    assert!(reading.from.len() <= 4_096);
    let mut frames = Vec::new();
    while let Some(frame) = reading.next().ok()? {
        frames.push(frame);
    }
    for (group, entries) in &frames {
        look_at(*group, entries.clone());
    }
    Some(frames)
}

/// The entries of a group, as far as they can be read; what is read is written as the same again.
fn look_at(group: u32, entries: Bytes) {
    let (mut rest, mut again) = (entries.clone(), Vec::new());
    while let Ok(Some(entry)) = LoggedEntry::take(&mut rest) {
        entry.put(&mut again);
        let _ = stamped(GroupId(group), &entry);
        let _ = orders_in(GroupId(group), &entry);
    }
    assert!(entries.starts_with(&again) || has_blanks(&entries));
}

/// Of an entry that nothing was proposed in what stands behind its length is left out.
fn has_blanks(entries: &Bytes) -> bool {
    let mut rest = entries.clone();
    std::iter::from_fn(|| LoggedEntry::take(&mut rest).ok().flatten()).any(|entry| entry.payload.is_none())
}

fn file(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("standby.spool"), bytes).expect("a file");
    let _ = read(folder);
}

fn frames(folder: &Path, mut input: Taken<'_>) {
    let mut writing = Writing::begin(folder, 42, &from()).expect("a folder");
    let mut written = Vec::new();
    while let (Some(group), Some(entries)) = (input.byte(), input.piece()) {
        writing.put(u32::from(group), entries).expect("a file");
        written.push((u32::from(group), Bytes::copy_from_slice(entries)));
    }
    writing.finish().expect("a file");
    assert_eq!(read(folder), Some(written));
}

fn pieces(folder: &Path, mut bytes: &[u8]) {
    let mut next = || {
        FollowLogsResponse::decode_length_delimited(&mut bytes)
            .ok()?
            .piece
    };
    let Some(Piece::Point(point)) = next() else { return };
    let Ok(mut cut) = Cut::begin(folder, &point, from()) else {
        return;
    };
    let (mut sent, mut is_at) = (Vec::new(), true);
    while let Some(Piece::Entries(entries)) = next() {
        let data = Bytes::from(entries.data.clone());
        let group = entries.group;
        if cut.take(entries).is_err() {
            is_at = false;
            break;
        }
        sent.push((group, data));
    }
    // Whatever came, what is spooled can be appended: entries in their order, none stamped behind the point.
    let (until_us, entries) = (cut.until_us, cut.entries);
    if !is_at || !cut.finish().expect("a file") {
        return;
    }
    let reading = Reading::open(folder).expect("a file").expect("what was spooled");
    assert_eq!((reading.until_us, reading.from), (until_us, from()));
    let mut due = [FROM; GROUPS];
    let mut spooled = 0;
    for (group, mut entries) in read(folder).expect("what was spooled") {
        while let Some(entry) = LoggedEntry::take(&mut entries).expect("an entry") {
            assert_eq!(entry.index, due[group as usize]);
            due[group as usize] += 1;
            spooled += 1;
            let time = stamped(GroupId(group), &entry).expect("an entry");
            assert!(group == 0 || time.is_none_or(|time| time.0 <= until_us));
        }
    }
    assert_eq!(spooled, entries);
    assert!(sent.iter().map(|(_, data)| data.len()).sum::<usize>() > 0);
}

fn message(mut input: Taken<'_>) {
    let Some(which) = input.byte() else { return };
    match which % 8 {
        0 => again::<v1::RegisterStandbyRequest>(input.0),
        1 => again::<v1::RegisterStandbyResponse>(input.0),
        2 => again::<v1::FollowLogsRequest>(input.0),
        3 => again::<FollowLogsResponse>(input.0),
        4 => again::<v1::ExchangeEpochsRequest>(input.0),
        5 => again::<v1::ExchangeEpochsResponse>(input.0),
        6 => again::<v1::PromoteStandbyResponse>(input.0),
        _ => again::<v1::Standby>(input.0),
    }
}

fn again<M: Message + Default + PartialEq>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        assert!(M::decode(&*message.encode_to_vec()).is_ok_and(|again| again == message));
    }
}

/// An input of messages: a point, then these entries, each a piece of its own.
pub fn input_of(point_us: i64, entries: &[(u32, LoggedEntry)]) -> Vec<u8> {
    let mut input = vec![kind::PIECES];
    let point = v1::FollowPoint {
        time: Some(prost_types::Timestamp {
            seconds: point_us / 1_000_000,
            nanos: (point_us % 1_000_000) as i32 * 1_000,
        }),
        next_index: vec![FROM; GROUPS],
    };
    put(&mut input, Piece::Point(point));
    for (group, entry) in entries {
        let mut data = Vec::new();
        entry.put(&mut data);
        let entries = v1::FollowEntries {
            group: *group,
            from_index: entry.index,
            before_index: entry.index + 1,
            data,
        };
        put(&mut input, Piece::Entries(entries));
    }
    put(&mut input, Piece::End(v1::FollowEnd {}));
    input
}

fn put(input: &mut Vec<u8>, piece: Piece) {
    let message = FollowLogsResponse { piece: Some(piece) };
    input.put_slice(&message.encode_length_delimited_to_vec());
}

/// An input that is a file: these groups' entries, as they are spooled.
pub fn file_of(frames: &[(u32, &[u8])]) -> Vec<u8> {
    let folder = tidy::folder();
    let mut writing = Writing::begin(folder.path(), 42, &from()).expect("a folder");
    for (group, entries) in frames {
        writing.put(*group, entries).expect("a file");
    }
    writing.finish().expect("a file");
    let file = fs::read(folder.path().join("standby.spool")).expect("a file");
    [&[kind::FILE], &*file].concat()
}

//! A chunk of a snapshot: what is read is written as the same again.

use docket_proto::{
    NoIntern,
    snapshot::{SnapshotRecord, records},
};

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Ok(found) = records(bytes, &NoIntern).collect::<Result<Vec<SnapshotRecord>, _>>() else {
        return;
    };
    let mut again = Vec::new();
    for record in &found {
        record.put(&mut again);
    }
    let read: Result<Vec<_>, _> = records(&again, &NoIntern).collect();
    assert_eq!(read.as_ref(), Ok(&found));
}

//! A batch of the journal: what is read is written as the same record again.

use docket_proto::record::{decode_batch, decode_term, encode_record};

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let _ = decode_term(bytes);
    let Ok(records) = decode_batch(bytes) else { return };
    let mut again = Vec::new();
    for record in &records {
        encode_record(record, &mut again);
    }
    assert_eq!(decode_batch(&again).as_ref(), Ok(&records));
}

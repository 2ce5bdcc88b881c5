//! Flags and callers' own limits, as the meta group's log and its snapshots have them: what is read is written as the same, and a state that was
//! put together of them holds its invariants or is refused.

use docket_engine::{
    CustomerId,
    access::Role,
    steering::{Flag, Steering, Subject},
};
use docket_proto::{
    access::{AccessEntry, decode_access_entry, encode_access_snapshot},
    steering::{SteeringRestore, decode_steering_record, encode_steering_record, is_steering_record},
};

/// What every record begins with: a search would find it late.
const BEGIN: [u8; 9] = *b"\0steered\x01";

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((is_snapshot, pieces, who)) = crate::input::<(bool, Vec<&[u8]>, &str)>(bytes) else {
        return;
    };
    let state = match is_snapshot {
        true => restored(&pieces),
        false => Some(applied(&pieces)),
    };
    let Some(state) = state else { return };
    if state.validate().is_err() {
        return;
    }
    // Whoever goes by it gets an answer, and the same one again.
    let customer = CustomerId::new(who).ok();
    let subject = Subject {
        id: who,
        customer: customer.as_ref(),
        role: Some(Role::Customer),
    };
    let flags = state.in_force();
    for flag in [
        Flag::Backorders,
        Flag::FraudScoring,
        Flag::StreamingPlacement,
        Flag::Webhooks,
    ] {
        let is_on = flags.is_on(flag, &subject);
        assert_eq!(flags.is_on(flag, &subject), is_on);
        assert!(flags.is_on_for_all(flag).is_none_or(|all| all == is_on));
    }
    // And what a snapshot says of it is it.
    let mut again = SteeringRestore::default();
    for piece in encode_access_snapshot(&Default::default(), &Default::default(), &state) {
        let piece = without_length(&piece);
        if let AccessEntry::Steering(entry) = decode_access_entry(piece).expect("what was written is read") {
            again.take(entry).expect("what was written fits");
        }
    }
    if state.version() != Default::default() {
        assert_eq!(again.done().expect("a state that holds"), state);
    }
}

fn restored(pieces: &[&[u8]]) -> Option<Steering> {
    let mut restore = SteeringRestore::default();
    for piece in pieces {
        if let Ok(AccessEntry::Steering(entry)) = decode_access_entry(piece) {
            restore.take(entry).ok()?;
        }
    }
    restore.done().ok()
}

fn applied(pieces: &[&[u8]]) -> Steering {
    let mut state = Steering::default();
    for piece in pieces {
        let bytes = [&BEGIN, *piece].concat();
        assert!(is_steering_record(&bytes));
        let Ok(mut record) = decode_steering_record(&bytes) else {
            continue;
        };
        assert_eq!(encode_steering_record(&record), bytes);
        // As if it had been decided on this state.
        record.version = state.version();
        if state.apply(&record).is_err() {
            return Steering::default();
        }
    }
    state
}

/// A piece without the length before it.
fn without_length(piece: &[u8]) -> &[u8] {
    let length = prost::decode_length_delimiter(piece).expect("a length");
    &piece[piece.len() - length..]
}

//! What another node says that callers have taken: what is read is written as the same again, and is of no more callers than may be.

use bytes::Bytes;
use docket_engine::access::{ApiKeyId, Role, Username};
use docket_proto::peer_call::{CONSUMERS_MAX, Consumption, Taken, TakenBy};

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((bytes, run, number, callers)) =
        crate::input::<(&[u8], u64, u64, Vec<(&str, u8, [u8; 12], u32)>)>(bytes)
    else {
        return;
    };
    if let Ok(told) = Consumption::decode(Bytes::copy_from_slice(bytes)) {
        assert!(told.taken.len() <= CONSUMERS_MAX);
        assert_eq!(Consumption::decode(told.encode()).as_ref(), Ok(&told));
    }
    let taken = callers.iter().map(|(name, role, key, tokens)| {
        let by = match Username::new(name) {
            Ok(name) => TakenBy::Account(name, Role::ALL[usize::from(*role) % Role::ALL.len()]),
            Err(_) => TakenBy::ApiKey(ApiKeyId(*key)),
        };
        Taken { by, tokens: *tokens }
    });
    let told = Consumption {
        run,
        number,
        taken: taken.take(CONSUMERS_MAX).collect(),
    };
    assert_eq!(Consumption::decode(told.encode()), Ok(told));
}

//! A state machine that costs nothing.

use std::io;

use bytes::Bytes;
use docket_cluster::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};

/// What is measured is the way to it: it keeps nothing.
pub struct Forgetful;

impl StateMachine for Forgetful {
    fn apply(&self, _: Entry<'_>) -> Bytes {
        Bytes::new()
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(Self)
    }

    fn state_bytes(&self) -> u64 {
        0
    }

    fn restore(&self, _: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        Ok(())
    }

    fn clear(&self) {}
}

impl Capture for Forgetful {
    fn write(self: Box<Self>, _: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        Ok(())
    }
}

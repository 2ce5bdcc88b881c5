//! The other end of a connection, as all of its calls see it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use super::{brake::Brake, unread::Unread};

/// Of a connection's place: no call was let in yet.
const NEW: u8 = 0;
/// One was: it has its place for good.
const LET_IN: u8 = 1;
/// Another has it.
const DISPLACED: u8 = 2;

/// A connection's other end.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Calls that have begun, ever.
    pub(crate) calls: AtomicU64,
    /// Calls that have not ended.
    pub(crate) active: AtomicU32,
    /// Replies that it has not taken.
    pub(crate) unread: Unread,
    /// Put on when its calls are refused.
    pub(crate) brake: Brake,
    /// Whose its place is. Once it is not [`NEW`] any more it stays as it is.
    place: AtomicU8,
}

impl Peer {
    /// It has not called yet.
    pub(crate) fn new(address: SocketAddr, brake: Brake) -> Self {
        Self {
            address,
            brake,
            calls: AtomicU64::new(0),
            active: AtomicU32::new(0),
            unread: Unread::default(),
            place: AtomicU8::new(NEW),
        }
    }

    /// A call of it is let in whose credentials hold; false where another has taken its place, so that the call would be cut.
    pub(crate) fn let_in(&self) -> bool {
        self.place.load(Relaxed) == LET_IN || self.becomes(LET_IN)
    }

    /// Another takes its place; false where a call was let in.
    pub(crate) fn displace(&self) -> bool {
        self.becomes(DISPLACED)
    }

    /// Whether another has taken its place.
    pub(crate) fn is_displaced(&self) -> bool {
        self.place.load(Relaxed) == DISPLACED
    }

    /// Whether its place is this now, which the first to say so decides.
    fn becomes(&self, place: u8) -> bool {
        match self.place.compare_exchange(NEW, place, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(other) => other == place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::AdmissionConfig, gate::admission::Admission};

    #[test]
    fn a_place_is_its_own_or_anothers_and_stays_so() {
        let brake = || Admission::new(AdmissionConfig::default()).brake();
        let peer = || Peer::new(([127, 0, 0, 1], 1).into(), brake());
        let own = peer();
        assert!(!own.is_displaced() && own.let_in() && own.let_in());
        assert!(!own.displace() && !own.is_displaced());
        let lost = peer();
        assert!(lost.displace() && !lost.let_in() && lost.is_displaced());
    }
}

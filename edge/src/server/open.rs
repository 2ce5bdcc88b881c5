//! Which connections are open: as many as configured, and of one address, too.
//!
//! Where there are as many, somebody who only connects would keep all others out. So a newcomer takes the place of a connection of which no
//! call was let in yet: within an address the oldest of them, and else one of the address that has the most. Whoever holds many displaces its
//! own, and a client that connects and calls has its place for good, as long as fewer addresses than places do nothing else but connect. One that has
//! a call in flight, a login say, goes only where all that were looked at have one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::{
    config::ConnectionsConfig,
    gate::{Peer, limits::network_of},
};

/// Connections that were displaced and are not closed yet; while there are as many nobody displaces another.
const LEAVING_MAX: usize = 256;

/// Connections with a call in flight that are passed over for one that has none.
const BUSY_MAX: usize = 16;

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Open(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    leaving: usize,
    /// The number of the next connection: the older, the less.
    next: u64,
    networks: HashMap<IpAddr, Network>,
    /// The networks that have connections without a call, and last the one that has the most of them; of those with as many, the one with the
    /// oldest.
    crowds: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

#[derive(Debug, Default)]
struct Network {
    open: usize,
    /// By number, the connections of which no call was let in when they were last looked at.
    untried: BTreeMap<u64, Untried>,
}

#[derive(Debug)]
struct Untried {
    peer: Arc<Peer>,
    displaced: CancellationToken,
}

/// The place of a connection.
#[derive(Debug)]
pub(super) struct Slot {
    open: Arc<Open>,
    network: IpAddr,
    number: u64,
    displaced: CancellationToken,
}

impl Open {
    /// Takes a place, which may be another's, or says what there are too many of.
    pub(super) fn take(
        self: &Arc<Self>,
        config: &ConnectionsConfig,
        peer: &Arc<Peer>,
    ) -> Result<Slot, &'static str> {
        let network = network_of(peer.address.ip());
        let mut counts = self.0.lock();
        if counts.open_of(&network) >= config.max_per_address && !counts.displace(|_| Some(network)) {
            return Err("refused_address_full");
        }
        if counts.all >= config.max && !counts.displace(Counts::largest_crowd) {
            return Err("refused_full");
        }
        let (number, displaced) = (counts.next, CancellationToken::new());
        counts.next += 1;
        counts.all += 1;
        counts.change(network, |of_network| {
            of_network.open += 1;
            let (peer, displaced) = (Arc::clone(peer), displaced.clone());
            of_network.untried.insert(number, Untried { peer, displaced });
        });
        Ok(Slot {
            open: Arc::clone(self),
            network,
            number,
            displaced,
        })
    }
}

impl Counts {
    fn open_of(&self, network: &IpAddr) -> usize {
        self.networks.get(network).map_or(0, |network| network.open)
    }

    fn largest_crowd(&self) -> Option<IpAddr> {
        self.crowds.last().map(|(_, _, network)| *network)
    }

    /// Has the oldest connection without a call of a network go, and frees its place; false where there is none.
    fn displace(&mut self, of: impl Fn(&Self) -> Option<IpAddr>) -> bool {
        if self.leaving >= LEAVING_MAX {
            return false;
        }
        let (mut busy, mut gone) = (Vec::new(), None);
        // Each turn forgets one: those of which a call was let in meanwhile are only found here, so that calls have nothing to tell.
        while gone.is_none()
            && busy.len() < BUSY_MAX
            && let Some(network) = of(self)
        {
            let mut oldest = None;
            self.change(network, |network| oldest = network.untried.pop_first());
            let Some((number, untried)) = oldest else { break };
            if untried.peer.active.load(Relaxed) > 0 {
                busy.push((network, number, untried));
            } else if untried.peer.displace() {
                gone = Some((network, untried));
            }
        }
        for (network, number, untried) in busy {
            if gone.is_none() && untried.peer.displace() {
                gone = Some((network, untried));
            } else {
                self.change(network, |network| {
                    network.untried.insert(number, untried);
                });
            }
        }
        let Some((network, untried)) = gone else {
            return false;
        };
        untried.displaced.cancel();
        self.all -= 1;
        self.leaving += 1;
        self.change(network, |network| network.open -= 1);
        true
    }

    /// Changes a network, and keeps in order what is known of it.
    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut Network)) {
        let entry = self.networks.entry(network).or_default();
        if let Some(crowd) = entry.crowd(network) {
            self.crowds.remove(&crowd);
        }
        change(entry);
        match entry.crowd(network) {
            Some(crowd) => drop(self.crowds.insert(crowd)),
            None if entry.open == 0 => drop(self.networks.remove(&network)),
            None => {}
        }
    }
}

impl Network {
    fn crowd(&self, network: IpAddr) -> Option<(usize, Reverse<u64>, IpAddr)> {
        let (oldest, _) = self.untried.first_key_value()?;
        Some((self.untried.len(), Reverse(*oldest), network))
    }
}

impl Slot {
    /// Ready when another has taken this place.
    pub(super) fn displaced(&self) -> WaitForCancellationFuture<'_> {
        self.displaced.cancelled()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock();
        if self.displaced.is_cancelled() {
            counts.leaving -= 1;
            return;
        }
        counts.all -= 1;
        counts.change(self.network, |network| {
            network.open -= 1;
            network.untried.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::AdmissionConfig, gate::admission::Admission};

    struct Door {
        open: Arc<Open>,
        config: ConnectionsConfig,
    }

    impl Door {
        fn new(max: usize, max_per_address: usize) -> Self {
            Self {
                open: Arc::default(),
                config: ConnectionsConfig {
                    max,
                    max_per_address,
                    ..ConnectionsConfig::default()
                },
            }
        }

        fn take(&self, address: &str) -> Result<(Slot, Arc<Peer>), &'static str> {
            let brake = Admission::new(AdmissionConfig::default()).brake();
            let peer = Arc::new(Peer::new((address.parse::<IpAddr>().unwrap(), 1).into(), brake));
            let slot = self.open.take(&self.config, &peer)?;
            Ok((slot, peer))
        }

        /// One of which a call was let in.
        fn tried(&self, address: &str) -> Slot {
            let (slot, peer) = self.take(address).unwrap();
            assert!(peer.let_in());
            slot
        }

        fn counts(&self) -> (usize, usize, usize, usize) {
            let counts = self.open.0.lock();
            (
                counts.all,
                counts.leaving,
                counts.networks.len(),
                counts.crowds.len(),
            )
        }
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let door = Door::new(3, 2);
        let first = door.tried("192.0.2.1");
        let _second = door.tried("192.0.2.1");
        assert_eq!(door.take("192.0.2.1").unwrap_err(), "refused_address_full");
        let _third = door.tried("192.0.2.2");
        assert_eq!(door.take("192.0.2.3").unwrap_err(), "refused_full");
        drop(first);
        let fourth = door.take("192.0.2.3").unwrap();
        drop(fourth);
        assert_eq!(
            door.counts(),
            (2, 0, 2, 0),
            "an address without connections is forgotten, and who has called is of no crowd"
        );
    }

    #[test]
    fn who_only_connects_makes_room_for_who_comes_and_who_has_called_stays() {
        let door = Door::new(4, 4);
        let called = door.tried("192.0.2.1");
        let (honest, _) = door.take("192.0.2.2").unwrap();
        let crowd: Vec<Slot> = (0..2).map(|_| door.take("192.0.2.9").unwrap().0).collect();
        let (newcomer, peer) = door.take("192.0.2.3").unwrap();
        assert!(
            crowd[0].displaced.is_cancelled(),
            "the oldest of the address with most of them goes"
        );
        let others = [&called, &honest, &crowd[1], &newcomer];
        assert!(others.iter().all(|slot| !slot.displaced.is_cancelled()));
        assert!(peer.let_in());
        // One each: the oldest goes first. Of whom a call was let in meanwhile is found by then.
        let (_later, _) = door.take("192.0.2.4").unwrap();
        assert!(honest.displaced.is_cancelled() && !newcomer.displaced.is_cancelled());
        assert_eq!(door.counts().0, 4);
        drop((crowd, honest));
        assert_eq!(door.counts().1, 0, "those that are gone are not waited for");
    }

    #[test]
    fn within_an_address_the_oldest_without_a_call_goes_first() {
        let door = Door::new(10, 2);
        let (first, _) = door.take("192.0.2.1").unwrap();
        let (second, peer) = door.take("192.0.2.1").unwrap();
        let (other, _) = door.take("192.0.2.2").unwrap();
        assert!(peer.let_in());
        let (third, peer) = door.take("192.0.2.1").unwrap();
        assert!(first.displaced.is_cancelled() && !second.displaced.is_cancelled());
        assert!(peer.let_in());
        assert_eq!(door.take("192.0.2.1").unwrap_err(), "refused_address_full");
        assert!(!other.displaced.is_cancelled() && !third.displaced.is_cancelled());
    }

    #[test]
    fn who_has_a_call_in_flight_is_passed_over_unless_all_have() {
        let door = Door::new(10, 2);
        let (login, peer) = door.take("192.0.2.1").unwrap();
        let (idle, _) = door.take("192.0.2.1").unwrap();
        peer.active.store(1, Relaxed);
        let (next, peer) = door.take("192.0.2.1").unwrap();
        assert!(idle.displaced.is_cancelled() && !login.displaced.is_cancelled());
        peer.active.store(1, Relaxed);
        let (_last, _) = door.take("192.0.2.1").unwrap();
        assert!(
            login.displaced.is_cancelled() && !next.displaced.is_cancelled(),
            "the oldest of them"
        );
    }

    #[test]
    fn no_more_are_leaving_than_may() {
        let door = Door::new(1, 1);
        let mut held = vec![door.take("192.0.2.1").unwrap().0];
        held.extend((0..LEAVING_MAX).map(|_| door.take("192.0.2.1").unwrap().0));
        assert_eq!(door.counts().1, LEAVING_MAX);
        assert_eq!(door.take("192.0.2.1").unwrap_err(), "refused_address_full");
        held.remove(0);
        held.push(door.take("192.0.2.1").unwrap().0);
        drop(held);
        assert_eq!(door.counts(), (0, 0, 0, 0));
    }
}

//! How much of what may be in flight one caller may have: whoever fills all places with calls that do not end (a request that is sent a byte at a
//! time, a reply that is not taken) takes them from all others. Customers and addresses are many, and nobody in particular; services and
//! administrators are trusted with all there is.

use std::{collections::HashMap, hash::BuildHasher as _, net::IpAddr, sync::Arc, time::Duration};

use docket_engine::access::Username;
use parking_lot::Mutex;
use rapidhash::fast::RandomState;
use tonic::Code;

use crate::errors::Refusal;

/// The counts are in so many maps, so that callers do not wait for each other.
const MAPS: usize = 16;

/// Whose share it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A customer's calls, or its streams.
    Customer(Username, OfWhat),
    /// What an address has of what needs no credentials.
    Address(IpAddr, OfWhat),
}

/// Of which places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OfWhat {
    Calls,
    Streams,
    Probes,
}

/// How much each holder has in flight. Who has nothing is not in it.
#[derive(Debug, Default)]
pub(super) struct Shares {
    maps: [Mutex<HashMap<Holder, usize, RandomState>>; MAPS],
    hasher: RandomState,
}

/// One of a holder's places, until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    holder: Holder,
}

/// A caller has as much in flight as one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareFull {
    /// An account of role customer.
    Customer,
    /// An address, of what needs no credentials.
    Address,
}

impl Shares {
    /// A place for a holder that has fewer than `max`.
    pub(super) fn take(self: &Arc<Self>, holder: Holder, max: usize) -> Option<Share> {
        let mut map = self.map_of(&holder).lock();
        let held = map.get(&holder).copied().unwrap_or_default();
        if held >= max {
            return None;
        }
        map.insert(holder.clone(), held + 1);
        drop(map);
        Some(Share {
            shares: Arc::clone(self),
            holder,
        })
    }

    fn map_of(&self, holder: &Holder) -> &Mutex<HashMap<Holder, usize, RandomState>> {
        &self.maps[self.hasher.hash_one(holder) as usize % MAPS]
    }

    /// How many hold anything.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        self.maps.iter().map(|map| map.lock().len()).sum()
    }
}

impl ShareFull {
    /// For metrics.
    pub fn limiter(self) -> &'static str {
        match self {
            Self::Customer => "customer_in_flight",
            Self::Address => "address_in_flight",
        }
    }

    /// What a caller is told.
    pub fn refusal(self, retry: Duration) -> Refusal {
        let whose = match self {
            Self::Customer => "account",
            Self::Address => "address",
        };
        Refusal::new(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            format!("too much at a time: this {whose} has as many calls in flight as one may have"),
        )
        .with("limiter", self.limiter())
        .quota(self.limiter().to_owned())
        .retry(retry)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut map = self.shares.map_of(&self.holder).lock();
        match map.get_mut(&self.holder) {
            Some(held) if *held > 1 => *held -= 1,
            _ => drop(map.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_no_more_than_its_share_and_is_forgotten_when_it_has_nothing() {
        let shares = Arc::new(Shares::default());
        let ada = |what| Holder::Customer(Username::new("ada").unwrap(), what);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let first = shares.take(ada(OfWhat::Calls), 2).unwrap();
        let second = shares.take(ada(OfWhat::Calls), 2).unwrap();
        assert!(shares.take(ada(OfWhat::Calls), 2).is_none());
        let others = [
            shares.take(ada(OfWhat::Streams), 1).unwrap(),
            shares.take(Holder::Address(address, OfWhat::Calls), 1).unwrap(),
        ];
        assert_eq!(shares.holders(), 3);
        drop(first);
        let third = shares.take(ada(OfWhat::Calls), 2).unwrap();
        drop((second, third, others));
        assert_eq!(shares.holders(), 0);
    }
}

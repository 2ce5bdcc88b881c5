//! How often a login may be tried: a token bucket for each username and network that it is tried from.
//!
//! A try takes its token before the password is looked at, so that many at once are no way around it. Usernames alone are
//! not counted: whoever knows one could lock its owner out.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use docket_engine::access::Username;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use moka::sync::Cache;

use super::AuthOptions;

type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The buckets. As many as are remembered at most; one that is full again is forgotten.
pub(super) struct Throttle<C: Clock = DefaultClock> {
    buckets: Cache<(Username, Option<IpAddr>), Arc<Bucket<C>>>,
    quota: Quota,
    clock: C,
}

impl Throttle {
    pub(super) fn new(options: &AuthOptions) -> Self {
        Self::with_clock(options, DefaultClock::default())
    }
}

impl<C: Clock + Clone + Send + Sync + 'static> Throttle<C>
where
    Bucket<C>: Send + Sync,
{
    fn with_clock(options: &AuthOptions, clock: C) -> Self {
        let interval = Duration::from_secs(options.login_interval_s.max(1));
        let burst = NonZeroU32::new(options.login_burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval)
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let buckets = Cache::builder()
            .max_capacity(options.login_remembered_max)
            .time_to_idle(interval * burst.get())
            .build();
        Self {
            buckets,
            quota,
            clock,
        }
    }

    /// Takes a token for a try.
    ///
    /// # Errors
    /// Where there is none: when there is one again.
    pub(super) fn take(&self, username: &Username, address: Option<IpAddr>) -> Result<(), Duration> {
        let key = (username.clone(), address.map(network_of));
        let bucket = self.buckets.get_with(key, || {
            Arc::new(RateLimiter::direct_with_clock(self.quota, self.clock.clone()))
        });
        bucket
            .check()
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// Whoever has one IPv6 address has the other 2^64 of its network as well.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod unit {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn tries_are_counted_per_username_and_network() {
        let options = AuthOptions {
            login_burst: 2,
            login_interval_s: 5,
            ..AuthOptions::default()
        };
        let clock = FakeRelativeClock::default();
        let throttle = Throttle::with_clock(&options, clock.clone());
        let (ada, bob) = (Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let [home, away]: [Option<IpAddr>; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().ok());
        assert_eq!(throttle.take(&ada, home), Ok(()));
        assert_eq!(throttle.take(&ada, home), Ok(()));
        assert_eq!(throttle.take(&ada, home), Err(Duration::from_secs(5)));
        assert_eq!(
            throttle.take(&ada, away),
            Ok(()),
            "an attacker elsewhere locks nobody out"
        );
        assert_eq!(throttle.take(&bob, home), Ok(()));
        assert_eq!(throttle.take(&ada, None), Ok(()));
        clock.advance(Duration::from_secs(5));
        assert_eq!(throttle.take(&ada, home), Ok(()));
        assert!(throttle.take(&ada, home).is_err());
    }

    #[test]
    fn the_addresses_of_one_network_share_a_bucket() {
        let networks = [
            "2001:db8::1",
            "2001:db8::ffff:1",
            "2001:db8:0:1::1",
            "::ffff:10.0.0.1",
            "10.0.0.1",
        ]
        .map(|text| network_of(text.parse().unwrap()));
        assert_eq!(networks[0], networks[1]);
        assert_ne!(networks[0], networks[2]);
        assert_eq!(networks[3], networks[4]);
    }
}

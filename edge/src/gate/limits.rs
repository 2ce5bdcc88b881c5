//! Token buckets: per address before it is known who calls, per account after.
//!
//! Two addresses' buckets beside the general one are for what needs no credentials ([`Access`]), and one is for calls whose
//! credentials do not hold: only those take its tokens. While it is empty nothing is verified for that address any more,
//! since a signature costs more than all of the rest; callers that are known already go on.
//!
//! The buckets of addresses are governor's keyed stores, and a node's own: an address calls the node that it is connected to. Those of
//! accounts are what all nodes have together (`principals`, `sharing`). None forgets by itself: [`Limits::prune`] drops buckets that are
//! full again, which changes nothing for their callers.

mod principals;
mod sharing;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use bytes::{BufMut, Bytes, BytesMut};
use docket_engine::access::Principal;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock, Reference},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tonic::Code;

use crate::{
    config::{Limit, LimitsConfig},
    errors::Refusal,
};
pub(crate) use principals::Own;
use principals::Principals;
use sharing::Heard;
pub(crate) use sharing::Sharing;

/// What the bucket is (draft-ietf-httpapi-ratelimit-headers).
pub const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left in it.
pub const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Every bucket of a node's edge.
pub struct Limits<C: Clock = DefaultClock> {
    address: Policy<IpAddr, C>,
    open: Policy<IpAddr, C>,
    probe: Policy<IpAddr, C>,
    failure: Policy<IpAddr, C>,
    barred: Barred<C::Instant>,
    principals: Principals<C>,
    /// What other nodes have told.
    heard: Heard,
    clock: C,
}

/// The buckets of one policy, none where it is off. They are replaced by others where another limit is set.
struct Policy<K: Hash + Eq + Clone, C: Clock> {
    name: &'static str,
    buckets: ArcSwapOption<Buckets<K, C>>,
}

/// What a method asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Credentials.
    Credentials,
    /// None: it can be guessed at.
    Open,
    /// None: it tells how the node is.
    Probe,
}

/// The addresses whose bucket for failures is empty, and until when.
struct Barred<I> {
    until: Mutex<HashMap<IpAddr, I>>,
    /// How many those are, so that nobody waits for the lock while there is none.
    count: AtomicUsize,
}

/// What is left to a caller, for the reply's metadata.
#[derive(Debug, Clone)]
pub struct Left {
    policy: HeaderValue,
    name: &'static str,
    remaining: u32,
    full_in_s: u64,
}

/// A bucket has no token.
#[derive(Debug, Clone)]
pub struct Empty {
    /// For the reply's metadata.
    pub left: Left,
    /// Which limiter, for metrics: `address`, `open`, `probe`, `failure` or `principal`.
    pub limiter: &'static str,
    /// Whose bucket.
    pub subject: String,
    /// When there is a token again.
    pub retry_after: Duration,
}

impl Limits {
    /// Buckets as configured, by the machine's clock.
    pub fn new(config: &LimitsConfig) -> Self {
        Self::with_clock(config, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    /// Buckets as configured, by this clock.
    pub fn with_clock(config: &LimitsConfig, clock: &C) -> Self {
        Self {
            address: Policy::new("address", config.address, clock),
            open: Policy::new("open", config.open, clock),
            probe: Policy::new("probe", config.probe, clock),
            failure: Policy::new("failure", config.failure, clock),
            barred: Barred {
                until: Mutex::default(),
                count: AtomicUsize::new(0),
            },
            principals: Principals::new(config, clock),
            heard: Heard::default(),
            clock: clock.clone(),
        }
    }

    /// Has other limits from now on. The buckets of those that are as before stay as they are; of the others all are full.
    pub fn replace(&self, config: &LimitsConfig) {
        let clock = &self.clock;
        self.address.replace(config.address, clock);
        self.open.replace(config.open, clock);
        self.probe.replace(config.probe, clock);
        if self.failure.replace(config.failure, clock) {
            self.barred.clear();
        }
        self.principals.set_roles(config);
    }

    /// Has these callers, and no others, have limits of their own from now on. A bucket whose limit is another than before is full.
    pub(crate) fn set_own(&self, own: Own) {
        self.principals.set_own(own);
    }

    /// Takes a token of an address.
    ///
    /// # Errors
    /// Where its bucket has none.
    pub fn take_address(&self, address: IpAddr) -> Result<Option<Left>, Box<Empty>> {
        let buckets = self.address.load();
        buckets
            .as_ref()
            .map(|buckets| buckets.take(&network_of(address), "address"))
            .transpose()
    }

    /// Takes a token of an address for a method that needs no credentials, where it is one.
    ///
    /// # Errors
    /// Where its bucket has none.
    pub fn take_access(&self, address: IpAddr, access: Access) -> Result<Option<Left>, Box<Empty>> {
        let (buckets, limiter) = match access {
            Access::Credentials => return Ok(None),
            Access::Open => (&self.open, "open"),
            Access::Probe => (&self.probe, "probe"),
        };
        let buckets = buckets.load();
        buckets
            .as_ref()
            .map(|buckets| buckets.take(&network_of(address), limiter))
            .transpose()
    }

    /// Takes a token of an address whose call had no credentials, or some that do not hold.
    ///
    /// # Errors
    /// Where its bucket has none: then [`Self::barred`] is true until there is one again.
    pub fn take_failure(&self, address: IpAddr) -> Result<Option<Left>, Box<Empty>> {
        let buckets = self.failure.load();
        let Some(buckets) = &*buckets else {
            return Ok(None);
        };
        let network = network_of(address);
        buckets.take(&network, "failure").map(Some).inspect_err(|empty| {
            let until = buckets.clock.now() + empty.retry_after.into();
            self.barred.insert(network, until);
        })
    }

    /// Whether nothing is to be verified for an address now, since too much of what it sent did not hold.
    pub fn barred(&self, address: IpAddr) -> Option<Box<Empty>> {
        if self.barred.count.load(Relaxed) == 0 {
            return None;
        }
        let buckets = self.failure.load();
        let buckets = buckets.as_ref()?;
        let (network, now) = (network_of(address), buckets.clock.now());
        let until = self.barred.until(&network)?;
        (now < until).then(|| Box::new(buckets.empty(&network, "failure", until.duration_since(now).into())))
    }

    /// Takes a token of an account, or of an API key that has a limit of its own.
    ///
    /// # Errors
    /// Where its bucket has none.
    pub fn take_principal(&self, principal: &Principal) -> Result<Option<Left>, Box<Empty>> {
        self.principals.take(principal)
    }

    /// Which part of their limits callers get here, as a fraction.
    #[cfg(test)]
    fn part(&self) -> (u32, u32) {
        self.principals.part()
    }

    /// Forgets the buckets that are full again.
    pub fn prune(&self) {
        for policy in [&self.address, &self.open, &self.probe, &self.failure] {
            policy.prune();
        }
        self.barred.prune(self.clock.now());
        self.principals.prune();
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        let addresses = [&self.address, &self.open, &self.probe, &self.failure].map(Policy::count);
        addresses.iter().sum::<usize>() + self.principals.count()
    }
}

impl<I: Reference> Barred<I> {
    fn insert(&self, network: IpAddr, until: I) {
        let mut all = self.until.lock();
        all.insert(network, until);
        self.count.store(all.len(), Relaxed);
    }

    fn until(&self, network: &IpAddr) -> Option<I> {
        self.until.lock().get(network).copied()
    }

    fn clear(&self) {
        let mut all = self.until.lock();
        all.clear();
        self.count.store(0, Relaxed);
    }

    fn prune(&self, now: I) {
        let mut all = self.until.lock();
        all.retain(|_, until| now < *until);
        self.count.store(all.len(), Relaxed);
    }
}

impl<K: Hash + Eq + Clone + ToString, C: Clock + Clone> Policy<K, C> {
    fn new(name: &'static str, limit: Limit, clock: &C) -> Self {
        Self {
            name,
            buckets: ArcSwapOption::from(Buckets::new(name, limit, clock).map(Arc::new)),
        }
    }

    fn load(&self) -> Guard<Option<Arc<Buckets<K, C>>>> {
        self.buckets.load()
    }

    /// Whether it is another limit than before.
    fn replace(&self, limit: Limit, clock: &C) -> bool {
        let before = self.load().as_ref().map_or(Limit::OFF, |buckets| buckets.limit);
        let is_another = before != limit && (before, limit.per_second) != (Limit::OFF, 0);
        if is_another {
            let buckets = Buckets::new(self.name, limit, clock).map(Arc::new);
            self.buckets.store(buckets);
        }
        is_another
    }

    fn count(&self) -> usize {
        self.load().as_ref().map_or(0, |buckets| buckets.limiter.len())
    }

    fn prune(&self) {
        if let Some(buckets) = &*self.load() {
            buckets.prune();
        }
    }
}

/// The buckets of one limit.
struct Buckets<K: Hash + Eq + Clone, C: Clock> {
    limiter: RateLimiter<K, DashMapStateStore<K>, C, StateInformationMiddleware>,
    clock: C,
    name: &'static str,
    policy: HeaderValue,
    limit: Limit,
}

impl<K: Hash + Eq + Clone + ToString, C: Clock + Clone> Buckets<K, C> {
    fn new(name: &'static str, limit: Limit, clock: &C) -> Option<Self> {
        let (rate, burst) = (NonZeroU32::new(limit.per_second)?, NonZeroU32::new(limit.burst)?);
        let quota = Quota::per_second(rate).allow_burst(burst);
        let window_s = limit.burst.div_ceil(limit.per_second);
        let policy = format!("\"{name}\";q={burst};w={window_s}");
        Some(Self {
            limiter: RateLimiter::dashmap_with_clock(quota, clock.clone()).with_middleware(),
            clock: clock.clone(),
            name,
            policy: HeaderValue::from_str(&policy).ok()?,
            limit,
        })
    }

    fn take(&self, key: &K, limiter: &'static str) -> Result<Left, Box<Empty>> {
        match self.limiter.check_key(key) {
            Ok(state) => Ok(self.left(state.remaining_burst_capacity())),
            Err(not_until) => {
                let retry_after = not_until.wait_time_from(self.clock.now());
                Err(Box::new(self.empty(key, limiter, retry_after)))
            }
        }
    }

    fn empty(&self, key: &K, limiter: &'static str, retry_after: Duration) -> Empty {
        Empty {
            left: self.left(0),
            limiter,
            subject: format!("{limiter}:{}", key.to_string()),
            retry_after,
        }
    }

    fn left(&self, remaining: u32) -> Left {
        Left::new(self.policy.clone(), self.name, self.limit, remaining)
    }

    fn prune(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

impl Left {
    /// So many of what this limit's bucket holds.
    fn new(policy: HeaderValue, name: &'static str, limit: Limit, remaining: u32) -> Self {
        let missing = u64::from(limit.burst.saturating_sub(remaining));
        Self {
            policy,
            name,
            remaining,
            full_in_s: missing.div_ceil(limit.per_second.max(1).into()),
        }
    }

    /// Adds `ratelimit-policy` and `ratelimit`.
    pub fn write(self, headers: &mut HeaderMap) {
        let mut text = BytesMut::with_capacity(64);
        text.put_u8(b'"');
        text.put_slice(self.name.as_bytes());
        text.put_slice(b"\";r=");
        put_number(&mut text, self.remaining.into());
        text.put_slice(b";t=");
        put_number(&mut text, self.full_in_s);
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(LIMIT_HEADER, value);
        }
        headers.insert(POLICY_HEADER, self.policy);
    }
}

impl Empty {
    /// What the caller is told.
    pub fn refusal(&self) -> Refusal {
        let whose = if self.limiter == "principal" {
            "account"
        } else {
            "address"
        };
        Refusal::new(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            format!("too many requests: the rate limit of this {whose} is used up"),
        )
        .with("limiter", self.limiter)
        .with("policy", self.left.policy.to_str().unwrap_or_default())
        .quota(self.subject.clone())
        .retry(self.retry_after)
    }
}

/// An IPv6 caller has a whole /64 to call from: that is what counts as one address.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

fn put_number(text: &mut BytesMut, mut number: u64) {
    /// Digits of the largest `u64`.
    const DIGITS_MAX: usize = 20;
    let mut digits = [0u8; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.put_slice(&digits[at..]);
}

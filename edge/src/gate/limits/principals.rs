//! Buckets of principals, which mean the same whichever nodes a principal calls.
//!
//! A bucket is one moment: when it is full again (the generic cell rate algorithm; ITU-T I.371). Each token that is taken puts that off by
//! what one costs, and there is one to take as long as it is no further away than a whole bucket fills in. So what was taken at another node
//! is charged here by putting it off too, at once or late, and further than a caller here could: a *debt*, which is paid before the next
//! call is let in. `sharing` tells the other nodes what is taken here, and is told what is taken there.
//!
//! A call is decided on by what is known here. It waits for nobody.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use docket_engine::{
    access::{ApiKeyId, Credential, Principal, Role, Username},
    steering::{Limited, RateLimit},
};
use docket_proto::peer_call::{Taken, TakenBy};
use governor::clock::{Clock, Reference};
use http::HeaderValue;
use parking_lot::Mutex;
use rapidhash::fast::RandomState;

use super::{Empty, Left};
use crate::config::{Limit, LimitsConfig};

/// The buckets are in so many maps, so that callers do not wait for each other.
const MAPS: usize = 64;
/// What was taken elsewhere was taken up to so long ago, in nanoseconds: the bucket has filled meanwhile.
pub(super) const TOLD_AFTER_NS: u64 = 100_000_000;
/// No bucket owes more than what all nodes together can have taken of it while they did not hear of one another for so long, in
/// nanoseconds.
const DEBT_NS: u64 = 1_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The buckets of a node's principals.
pub(super) struct Principals<C: Clock> {
    maps: [Mutex<Map>; MAPS],
    hasher: RandomState,
    /// What holds for whom.
    rates: ArcSwap<Rates>,
    /// What `rates` is made of.
    parts: Mutex<(LimitsConfig, Own)>,
    /// Whether there is anybody to tell of what is taken.
    tells: AtomicBool,
    /// Nodes that can be heard, and all nodes, this one among them: where those that can be heard are not most of all, callers get that
    /// part of their limits.
    heard: AtomicU32,
    all: AtomicU32,
    clock: C,
    start: C::Instant,
}

/// Limits of single callers.
pub(crate) type Own = Vec<(Limited, RateLimit)>;

/// Whose bucket it is; of no role where the account has a limit of its own.
type Slot = (Username, Option<Role>);

#[derive(Default)]
struct Map {
    /// A bucket for each role that an account has called with: who has tokens of another issuer may have several.
    accounts: HashMap<Slot, Bucket, RandomState>,
    keys: HashMap<ApiKeyId, Bucket, RandomState>,
    /// Whose buckets have something untold.
    untold: Vec<TakenBy>,
}

/// A token bucket.
struct Bucket {
    limit: Limit,
    /// In nanoseconds since the start. In the past where it is full.
    full_at: u64,
    /// Tokens that were taken here, of which the other nodes have not been told.
    untold: u32,
}

/// What holds for whom.
#[derive(Default)]
struct Rates {
    /// Of customers, services and admins.
    roles: [Option<Rate>; 3],
    accounts: HashMap<Username, Option<Rate>, RandomState>,
    keys: HashMap<ApiKeyId, Option<Rate>, RandomState>,
}

#[derive(Clone)]
struct Rate {
    name: &'static str,
    policy: HeaderValue,
    limit: Limit,
    /// What a token costs, in nanoseconds.
    cost: u64,
}

impl<C: Clock + Clone> Principals<C> {
    pub(super) fn new(config: &LimitsConfig, clock: &C) -> Self {
        Self {
            maps: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            rates: ArcSwap::from_pointee(Rates::new(config, &[])),
            parts: Mutex::new((*config, Own::new())),
            tells: AtomicBool::new(false),
            heard: AtomicU32::new(1),
            all: AtomicU32::new(1),
            clock: clock.clone(),
            start: clock.now(),
        }
    }

    /// Has roles have other limits from now on. Buckets whose limit is another are full.
    pub(super) fn set_roles(&self, config: &LimitsConfig) {
        let mut parts = self.parts.lock();
        parts.0 = *config;
        self.renew(&parts);
    }

    /// Has these callers, and no others, have limits of their own from now on.
    pub(super) fn set_own(&self, own: Own) {
        let mut parts = self.parts.lock();
        parts.1 = own;
        self.renew(&parts);
    }

    fn renew(&self, (config, own): &(LimitsConfig, Own)) {
        let rates = Rates::new(config, own);
        for map in &self.maps {
            // A bucket whose limit is another is made anew by who takes of it; here those go that nobody takes of any more. Of which role
            // an account is only its next call says.
            let is_used = |bucket: &Bucket, own: Option<&Option<Rate>>| match own {
                Some(own) => own.as_ref().is_some_and(|rate| rate.limit == bucket.limit),
                None => rates
                    .roles
                    .iter()
                    .flatten()
                    .any(|rate| rate.limit == bucket.limit),
            };
            let mut map = map.lock();
            map.accounts.retain(|(account, role), bucket| {
                let own = rates.accounts.get(account);
                own.is_some() == role.is_none() && is_used(bucket, own)
            });
            map.keys
                .retain(|key, bucket| rates.keys.contains_key(key) && is_used(bucket, rates.keys.get(key)));
        }
        self.rates.store(rates.into());
    }

    /// Takes a token; `None` where there is no limit.
    pub(super) fn take(&self, principal: &Principal) -> Result<Option<Left>, Box<Empty>> {
        let rates = self.rates.load();
        if let Credential::ApiKey(key) = principal.credential
            && let Some(own) = rates.keys.get(&key)
        {
            let Some(rate) = own else { return Ok(None) };
            let map = &mut *self.map_of(&key.0).lock();
            let bucket = map.keys.entry(key).or_insert_with(|| Bucket::of(rate.limit));
            let left = self.take_of(bucket, rate, || format!("principal:{key}"))?;
            if self.note(bucket) {
                map.untold.push(TakenBy::ApiKey(key));
            }
            return Ok(Some(left));
        }
        let account = &principal.account;
        let Some(rate) = rates.of(account, principal.role) else {
            return Ok(None);
        };
        let map = &mut *self.map_of(account.as_str().as_bytes()).lock();
        let slot = rates.slot(account, principal.role);
        let bucket = map.accounts.entry(slot).or_insert_with(|| Bucket::of(rate.limit));
        let left = self.take_of(bucket, rate, || format!("principal:{account}"))?;
        if self.note(bucket) {
            map.untold.push(TakenBy::Account(account.clone(), principal.role));
        }
        Ok(Some(left))
    }

    fn take_of(
        &self,
        bucket: &mut Bucket,
        rate: &Rate,
        subject: impl Fn() -> String,
    ) -> Result<Left, Box<Empty>> {
        let now = self.now();
        bucket.follow(rate.limit);
        let cost = self.cost_of(rate);
        // However little of its limit a caller may have here, there is a token some day.
        let whole = rate.whole().max(cost);
        let full_at = bucket.full_at.max(now).saturating_add(cost);
        let latest = now.saturating_add(whole);
        if full_at > latest {
            return Err(Box::new(Empty {
                left: rate.left(0),
                limiter: "principal",
                subject: subject(),
                retry_after: Duration::from_nanos(full_at - latest),
            }));
        }
        bucket.full_at = full_at;
        let remaining = (latest - full_at) / cost;
        Ok(rate.left(u32::try_from(remaining).unwrap_or(u32::MAX)))
    }

    /// Notes that a token was taken; true where that is the first of which nobody was told.
    fn note(&self, bucket: &mut Bucket) -> bool {
        if !self.tells.load(Relaxed) {
            return false;
        }
        bucket.untold = bucket.untold.saturating_add(1);
        bucket.untold == 1
    }

    /// What a token costs here now: more where only some of the nodes can be heard.
    fn cost_of(&self, rate: &Rate) -> u64 {
        match self.part() {
            (heard, all) if heard < all => rate
                .cost
                .saturating_mul(all.into())
                .div_ceil(u64::from(heard.max(1))),
            _ => rate.cost,
        }
    }

    /// Has what is taken be noted, so that others can be told, or not.
    pub(super) fn set_tells(&self, tells: bool) {
        self.tells.store(tells, Release);
    }

    /// How many of all nodes can be heard. Most of them are as good as all: those that are missing are down, or know that they are cut off.
    pub(super) fn set_heard(&self, heard: u32, all: u32) {
        let heard = if heard.saturating_mul(2) > all { all } else { heard };
        self.all.store(all, Release);
        self.heard.store(heard, Release);
    }

    /// Which part of their limits callers get here, as a fraction.
    pub(super) fn part(&self) -> (u32, u32) {
        (self.heard.load(Acquire), self.all.load(Acquire))
    }

    /// What was taken since it was told last: of those who took most, so many, and how many others there are.
    pub(super) fn untold(&self, most: usize) -> (Vec<Taken>, usize) {
        let mut all = Vec::new();
        let rates = self.rates.load();
        for map in &self.maps {
            let map = &mut *map.lock();
            for by in std::mem::take(&mut map.untold) {
                let bucket = match &by {
                    TakenBy::Account(account, role) => map.accounts.get_mut(&rates.slot(account, *role)),
                    TakenBy::ApiKey(key) => map.keys.get_mut(key),
                };
                let tokens = bucket.map_or(0, |bucket| std::mem::take(&mut bucket.untold));
                if tokens > 0 {
                    all.push(Taken { by, tokens });
                }
            }
        }
        if all.len() <= most {
            return (all, 0);
        }
        all.select_nth_unstable_by_key(most, |taken| std::cmp::Reverse(taken.tokens));
        let rest = all.split_off(most);
        let left = rest.len();
        for taken in rest {
            self.tell_later(taken);
        }
        (all, left)
    }

    fn tell_later(&self, Taken { by, tokens }: Taken) {
        let rates = self.rates.load();
        let map = &mut *self.map_of(bytes_of(&by)).lock();
        let bucket = match &by {
            TakenBy::Account(account, role) => map.accounts.get_mut(&rates.slot(account, *role)),
            TakenBy::ApiKey(key) => map.keys.get_mut(key),
        };
        // One that is gone has nothing to tell: it was full.
        if let Some(bucket) = bucket {
            if bucket.untold == 0 {
                map.untold.push(by);
            }
            bucket.untold = bucket.untold.saturating_add(tokens);
        }
    }

    /// Takes tokens that were taken at another node.
    pub(super) fn charge(&self, Taken { by, tokens }: &Taken) {
        let rates = self.rates.load();
        let rate = match by {
            TakenBy::Account(account, role) => rates.of(account, *role),
            TakenBy::ApiKey(key) => rates.keys.get(key).and_then(Option::as_ref),
        };
        // Where it has no limit here, as far as is known here, nothing is owed.
        let Some(rate) = rate else { return };
        let now = self.now();
        let map = &mut *self.map_of(bytes_of(by)).lock();
        let bucket = match by {
            TakenBy::Account(account, role) => map
                .accounts
                .entry(rates.slot(account, *role))
                .or_insert_with(|| Bucket::of(rate.limit)),
            TakenBy::ApiKey(key) => map.keys.entry(*key).or_insert_with(|| Bucket::of(rate.limit)),
        };
        bucket.follow(rate.limit);
        let all = u64::from(self.all.load(Acquire));
        let most = rate.whole().saturating_add(DEBT_NS).saturating_mul(all);
        let since = bucket.full_at.max(now.saturating_sub(TOLD_AFTER_NS));
        let full_at = since.saturating_add(rate.cost.saturating_mul(u64::from(*tokens)));
        bucket.full_at = full_at.min(now.saturating_add(most)).max(bucket.full_at);
    }

    /// Forgets the buckets that are full again.
    pub(super) fn prune(&self) {
        let now = self.now();
        let is_used = |bucket: &Bucket| bucket.full_at > now || bucket.untold > 0;
        for map in &self.maps {
            let mut map = map.lock();
            map.accounts.retain(|_, bucket| is_used(bucket));
            map.keys.retain(|_, bucket| is_used(bucket));
            map.accounts.shrink_to_fit();
            map.keys.shrink_to_fit();
        }
    }

    /// How many buckets there are.
    pub(super) fn count(&self) -> usize {
        let count = |map: &Mutex<Map>| {
            let map = map.lock();
            map.accounts.len() + map.keys.len()
        };
        self.maps.iter().map(count).sum()
    }

    fn map_of(&self, name: &[u8]) -> &Mutex<Map> {
        &self.maps[self.hasher.hash_one(name) as usize % MAPS]
    }

    /// Nanoseconds since the start, and one longest telling time: what was taken elsewhere may have been before it.
    fn now(&self) -> u64 {
        let since = self.clock.now().duration_since(self.start);
        since.as_u64().saturating_add(TOLD_AFTER_NS)
    }
}

fn bytes_of(by: &TakenBy) -> &[u8] {
    match by {
        TakenBy::Account(account, _) => account.as_str().as_bytes(),
        TakenBy::ApiKey(key) => &key.0,
    }
}

impl Bucket {
    fn of(limit: Limit) -> Self {
        Self {
            limit,
            full_at: 0,
            untold: 0,
        }
    }

    /// Is full, where its limit is another than before.
    fn follow(&mut self, limit: Limit) {
        if self.limit != limit {
            self.limit = limit;
            self.full_at = 0;
        }
    }
}

impl Rates {
    fn new(config: &LimitsConfig, own: &[(Limited, RateLimit)]) -> Self {
        let mut rates = Self {
            roles: [
                Rate::new("customer", config.customer),
                Rate::new("service", config.service),
                Rate::new("admin", config.admin),
            ],
            ..Self::default()
        };
        for (of, RateLimit { per_second, burst }) in own {
            let (per_second, burst) = (*per_second, *burst);
            let rate = Rate::new("own", Limit { per_second, burst });
            match of {
                Limited::Account(account) => drop(rates.accounts.insert(account.clone(), rate)),
                Limited::ApiKey(key) => drop(rates.keys.insert(*key, rate)),
            }
        }
        rates
    }

    /// Whose bucket an account's calls in this role are taken of.
    fn slot(&self, account: &Username, role: Role) -> Slot {
        let has_own = !self.accounts.is_empty() && self.accounts.contains_key(account);
        (account.clone(), (!has_own).then_some(role))
    }

    /// What holds for an account of this role.
    fn of(&self, account: &Username, role: Role) -> Option<&Rate> {
        if !self.accounts.is_empty()
            && let Some(own) = self.accounts.get(account)
        {
            return own.as_ref();
        }
        let [customer, service, admin] = &self.roles;
        match role {
            Role::Customer => customer.as_ref(),
            Role::Service => service.as_ref(),
            Role::Admin => admin.as_ref(),
        }
    }
}

impl Rate {
    /// `None` where the limit is off.
    fn new(name: &'static str, limit: Limit) -> Option<Self> {
        let Limit { per_second, burst } = limit;
        if per_second == 0 || burst == 0 {
            return None;
        }
        let policy = format!("\"{name}\";q={burst};w={}", burst.div_ceil(per_second));
        Some(Self {
            name,
            policy: HeaderValue::from_str(&policy).ok()?,
            limit,
            cost: (SECOND_NS / u64::from(per_second)).max(1),
        })
    }

    /// How long a whole bucket takes to fill, in nanoseconds.
    fn whole(&self) -> u64 {
        self.cost.saturating_mul(self.limit.burst.into())
    }

    fn left(&self, remaining: u32) -> Left {
        Left::new(self.policy.clone(), self.name, self.limit, remaining)
    }
}

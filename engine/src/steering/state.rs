//! What is steered, how it is decided about and how it is read.
//!
//! Entries are behind `Arc`s, so that a clone of the whole (for a snapshot) copies pointers.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::{
    FlagName, FlagRule, Flags, Limited, RateLimit, SteeringCommand, SteeringEvent, SteeringRecord,
    SteeringRejection, SteeringRequest, declared,
    flag::FlagFor,
    limits::{FLAG_CUSTOMERS_MAX, FLAGS_MAX, LIMITS_MAX, RATE_MAX},
};
use crate::{Broken, Time, Version, access::Username};

/// A flag that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagEntry {
    /// For whom it is on.
    pub rule: FlagRule,
    /// Another with every change: never one that it had before.
    pub revision: u64,
    /// Who set it so.
    pub by: Username,
    /// When.
    pub at: Time,
}

/// A caller's limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitEntry {
    /// What it is.
    pub limit: RateLimit,
    /// Another with every change: never one that it had before.
    pub revision: u64,
    /// Who set it so.
    pub by: Username,
    /// When.
    pub at: Time,
}

/// All that is steered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steering {
    version: Version,
    last_time: Time,
    flags: BTreeMap<FlagName, Arc<FlagEntry>>,
    limits: BTreeMap<Limited, Arc<LimitEntry>>,
}

impl Steering {
    /// How many records made it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The time of the newest record.
    pub fn last_time(&self) -> Time {
        self.last_time
    }

    /// What was set of the flag of this name.
    pub fn flag(&self, name: &str) -> Option<&Arc<FlagEntry>> {
        self.flags.get(name)
    }

    /// Every flag that was set, by name.
    pub fn flags(&self) -> impl ExactSizeIterator<Item = (&FlagName, &Arc<FlagEntry>)> {
        self.flags.iter()
    }

    /// A caller's own limit.
    pub fn limit(&self, of: &Limited) -> Option<&Arc<LimitEntry>> {
        self.limits.get(of)
    }

    /// Every caller's own limit behind this one (or all): accounts by name, then API keys by id.
    pub fn limits(&self, after: Option<&Limited>) -> impl Iterator<Item = (&Limited, &Arc<LimitEntry>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.limits.range::<Limited, _>((from, Bound::Unbounded))
    }

    /// How many callers have limits of their own.
    pub fn limit_count(&self) -> usize {
        self.limits.len()
    }

    /// What the program goes by.
    pub fn in_force(&self) -> Flags {
        Flags::new(|name| {
            let rule = &self.flags.get(name)?.rule;
            Some(Arc::new(rule.clone()))
        })
    }

    /// What a command comes to: the record of it, where there is anything to be recorded. Changes nothing.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&self, command: &SteeringCommand) -> Result<Option<SteeringRecord>, SteeringRejection> {
        let event = match &command.request {
            SteeringRequest::SetFlag {
                flag,
                rule,
                expected,
                force,
            } => self.set_flag(flag, rule, *expected, *force)?,
            SteeringRequest::UnsetFlag { flag, expected } => {
                let set = self.flags.get(flag);
                if set.is_none() && !flag.is_known() {
                    return Err(SteeringRejection::UnknownFlag);
                }
                expect(*expected, set.map(|set| set.revision))?;
                set.map(|_| SteeringEvent::FlagUnset { flag: flag.clone() })
            }
            SteeringRequest::SetLimit { of, limit, expected } => self.set_limit(of, *limit, *expected)?,
            SteeringRequest::UnsetLimit { of, expected } => {
                let set = self.limits.get(of);
                expect(*expected, set.map(|set| set.revision))?;
                set.map(|_| SteeringEvent::LimitUnset { of: of.clone() })
            }
        };
        Ok(event.map(|event| SteeringRecord {
            version: self.version,
            // Logged time never runs backwards, even where the next leader's clock does.
            time: command.time.max(self.last_time),
            by: command.by.clone(),
            events: vec![event],
        }))
    }

    fn set_flag(
        &self,
        flag: &FlagName,
        rule: &FlagRule,
        expected: Option<u64>,
        force: bool,
    ) -> Result<Option<SteeringEvent>, SteeringRejection> {
        if !flag.is_known() && !force {
            return Err(SteeringRejection::UnknownFlag);
        }
        let set = self.flags.get(flag);
        expect(expected, set.map(|set| set.revision))?;
        let knows_roles =
            declared(flag.as_str()).is_none_or(|declared| declared.asked_for == FlagFor::Caller);
        if !knows_roles && !rule.roles.is_empty() {
            return Err(SteeringRejection::RoleNotKnown);
        }
        if rule.customers.len() > FLAG_CUSTOMERS_MAX {
            return Err(SteeringRejection::TooManyCustomers);
        }
        if set.is_none() && self.flags.len() >= FLAGS_MAX {
            return Err(SteeringRejection::TooManyFlags);
        }
        let is_another = set.is_none_or(|set| set.rule != *rule);
        Ok(is_another.then(|| SteeringEvent::FlagSet {
            flag: flag.clone(),
            rule: rule.clone(),
        }))
    }

    fn set_limit(
        &self,
        of: &Limited,
        limit: RateLimit,
        expected: Option<u64>,
    ) -> Result<Option<SteeringEvent>, SteeringRejection> {
        let set = self.limits.get(of);
        expect(expected, set.map(|set| set.revision))?;
        if !fits(limit) {
            return Err(SteeringRejection::LimitOutOfRange);
        }
        if set.is_none() && self.limits.len() >= LIMITS_MAX {
            return Err(SteeringRejection::TooManyLimits);
        }
        let is_another = set.is_none_or(|set| set.limit != limit);
        Ok(is_another.then(|| SteeringEvent::LimitSet {
            of: of.clone(),
            limit,
        }))
    }

    /// Whether a record was decided on this very state. One that was not is refused: decide again.
    pub fn fits(&self, record: &SteeringRecord) -> bool {
        record.version == self.version
    }

    /// Carries a whole record into the state.
    ///
    /// # Errors
    /// Where the record does not [`fit`](Self::fits), or a fact does not fit what is there: the log is not the one that
    /// made this state. The state is then of no use.
    pub fn apply(&mut self, record: &SteeringRecord) -> Result<(), Broken> {
        if !self.fits(record) {
            return Err(broken("a record was decided on another state"));
        }
        self.version = self.version.next();
        self.last_time = self.last_time.max(record.time);
        let (revision, at) = (self.version.0, record.time);
        for event in &record.events {
            let by = record.by.clone();
            match event {
                SteeringEvent::FlagSet { flag, rule } => {
                    let rule = rule.clone();
                    let entry = FlagEntry {
                        rule,
                        revision,
                        by,
                        at,
                    };
                    self.flags.insert(flag.clone(), Arc::new(entry));
                }
                SteeringEvent::FlagUnset { flag } => {
                    let unset = self.flags.remove(flag);
                    unset.ok_or_else(|| broken("no flag is unset"))?;
                }
                SteeringEvent::LimitSet { of, limit } => {
                    let limit = *limit;
                    let entry = LimitEntry {
                        limit,
                        revision,
                        by,
                        at,
                    };
                    self.limits.insert(of.clone(), Arc::new(entry));
                }
                SteeringEvent::LimitUnset { of } => {
                    let unset = self.limits.remove(of);
                    unset.ok_or_else(|| broken("no limit is unset"))?;
                }
            }
        }
        Ok(())
    }

    /// A state with nothing in it but how far the log has come: where a snapshot's entries are then put.
    pub fn restored(version: Version, last_time: Time) -> Self {
        Self {
            version,
            last_time,
            ..Self::default()
        }
    }

    /// Puts a flag in as it is.
    ///
    /// # Errors
    /// Where there is one of that name.
    pub fn insert_flag(&mut self, flag: FlagName, entry: FlagEntry) -> Result<(), Broken> {
        match self.flags.insert(flag, Arc::new(entry)) {
            None => Ok(()),
            Some(_) => Err(broken("two flags have one name")),
        }
    }

    /// Puts a limit in as it is.
    ///
    /// # Errors
    /// Where that caller has one.
    pub fn insert_limit(&mut self, of: Limited, entry: LimitEntry) -> Result<(), Broken> {
        match self.limits.insert(of, Arc::new(entry)) {
            None => Ok(()),
            Some(_) => Err(broken("a caller has two limits")),
        }
    }

    /// Checks every invariant.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        let revisions = self.flags.values().map(|entry| entry.revision);
        let mut revisions = revisions.chain(self.limits.values().map(|entry| entry.revision));
        if revisions.any(|revision| revision == 0 || revision > self.version.0) {
            return Err(broken("an entry is of a revision that there was not"));
        }
        if self.flags.len() > FLAGS_MAX || self.limits.len() > LIMITS_MAX {
            return Err(broken("there is more than there may be"));
        }
        let mut rules = self.flags.values().map(|entry| &entry.rule);
        if rules.any(|rule| rule.customers.len() > FLAG_CUSTOMERS_MAX) {
            return Err(broken("a flag names too many customers"));
        }
        if !self.limits.values().all(|entry| fits(entry.limit)) {
            return Err(broken("a limit is out of range"));
        }
        Ok(())
    }
}

/// Holds the revision that who asks knows (0: none) against the one that there is.
fn expect(expected: Option<u64>, is: Option<u64>) -> Result<(), SteeringRejection> {
    match expected {
        Some(expected) if expected != is.unwrap_or(0) => Err(SteeringRejection::StaleEtag),
        _ => Ok(()),
    }
}

fn fits(limit: RateLimit) -> bool {
    let RateLimit { per_second, burst } = limit;
    per_second <= RATE_MAX && (per_second == 0) == (burst == 0)
}

fn broken(why: &'static str) -> Broken {
    Broken::new("what is steered", why)
}

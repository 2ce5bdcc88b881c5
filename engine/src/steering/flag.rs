//! Feature flags: which there are, for whom each is on, and how some of all are chosen.

use std::{borrow::Borrow, collections::BTreeSet, fmt, sync::Arc};

use super::limits::FLAG_NAME_BYTES_MAX;
use crate::{CustomerId, access::Role};

/// A flag that the program goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Items promise more than there is, up to their limits.
    Backorders,
    /// Orders that are odd are held, where the configuration has rules for that.
    FraudScoring,
    /// `PlaceOrders`.
    StreamingPlacement,
    /// Webhooks are delivered to.
    Webhooks,
}

/// What a flag is asked for: whose share it is in, and by what it may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagFor {
    /// The customer of the order. No role is known where it is asked.
    Customer,
    /// Who calls: its customer, or its account where it has none; and its role.
    Caller,
    /// A webhook: the customer that its filter names, or its id where that names none. It has no role.
    Webhook,
}

/// A flag as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Which.
    pub flag: Flag,
    /// Its name.
    pub name: &'static str,
    /// Whether it is on as long as nobody has set it.
    pub default: bool,
    /// What it is asked for.
    pub asked_for: FlagFor,
    /// What it switches, for people.
    pub description: &'static str,
}

/// Every flag that the program goes by, in the order of their names. By default each is as if there were no flags.
pub static FLAGS: [Declared; 4] = [
    Declared {
        flag: Flag::Backorders,
        name: "backorders",
        default: true,
        asked_for: FlagFor::Customer,
        description: "Items promise orders more than there is, up to backorder_limit",
    },
    Declared {
        flag: Flag::FraudScoring,
        name: "fraud_scoring",
        default: true,
        asked_for: FlagFor::Customer,
        description: "Orders are held that the rules under [fraud] find odd",
    },
    Declared {
        flag: Flag::StreamingPlacement,
        name: "streaming_placement",
        default: true,
        asked_for: FlagFor::Caller,
        description: "Orders may be placed by stream (PlaceOrders)",
    },
    Declared {
        flag: Flag::Webhooks,
        name: "webhooks",
        default: true,
        asked_for: FlagFor::Webhook,
        description: "Changes of orders are delivered to webhooks; while off they wait",
    },
];

/// The flag of this name, where the program goes by one.
pub fn declared(name: &str) -> Option<&'static Declared> {
    FLAGS.iter().find(|declared| declared.name == name)
}

/// Names that begin with this are the operator's own: the program keeps, replicates and tells them, and goes by none of them.
pub const CUSTOM_PREFIX: &str = "custom.";

/// A flag's name: up to 64 of `a-z 0-9 . _ -`, the first of them a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlagName(Arc<str>);

/// A text that names no flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {FLAG_NAME_BYTES_MAX} of a-z 0-9 . _ - and begin with a letter")]
pub struct FlagNameError;

impl FlagName {
    /// The name in a text.
    ///
    /// # Errors
    /// Where it is none.
    pub fn new(text: &str) -> Result<Self, FlagNameError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || text.len() > FLAG_NAME_BYTES_MAX || !text.bytes().all(fits) {
            return Err(FlagNameError);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it may be set without more ado: the program goes by it, or it is the operator's own.
    pub fn is_known(&self) -> bool {
        declared(&self.0).is_some() || self.0.len() > CUSTOM_PREFIX.len() && self.0.starts_with(CUSTOM_PREFIX)
    }
}

impl Borrow<str> for FlagName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FlagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of all, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// Nobody.
    pub const NOBODY: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(BUCKETS);

    /// So many hundredths of a percent; `None` where that is more than all.
    pub fn new(hundredths: u32) -> Option<Self> {
        u16::try_from(hundredths)
            .ok()
            .filter(|share| *share <= BUCKETS)
            .map(Self)
    }

    /// In hundredths of a percent.
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// Whether what is in this bucket is in.
    pub fn has(self, bucket: u16) -> bool {
        bucket < self.0
    }
}

/// For whom a flag is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagRule {
    /// So many of all.
    pub share: Share,
    /// And these, wherever their buckets are: at most [`FLAG_CUSTOMERS_MAX`](super::limits::FLAG_CUSTOMERS_MAX).
    pub customers: BTreeSet<CustomerId>,
    /// And callers of these roles, where the role is known.
    pub roles: BTreeSet<Role>,
}

impl FlagRule {
    /// On for so many, and nobody beside.
    pub fn of(share: Share) -> Self {
        Self {
            share,
            customers: BTreeSet::new(),
            roles: BTreeSet::new(),
        }
    }

    /// Whether the flag of this name is on for somebody.
    pub fn is_on(&self, flag: &str, subject: &Subject<'_>) -> bool {
        self.share == Share::ALL
            || subject.customer.is_some_and(|id| self.customers.contains(id))
            || subject.role.is_some_and(|role| self.roles.contains(&role))
            || self.share > Share::NOBODY && self.share.has(bucket(flag, subject.id))
    }
}

/// For whom a flag is asked.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// By this its bucket is found.
    pub id: &'a str,
    /// Its customer, where it is one's.
    pub customer: Option<&'a CustomerId>,
    /// Its role, where that is known.
    pub role: Option<Role>,
}

impl<'a> Subject<'a> {
    /// A customer.
    pub fn customer(id: &'a CustomerId) -> Self {
        Self {
            id: id.as_str(),
            customer: Some(id),
            role: None,
        }
    }
}

/// In so many buckets all subjects fall, the same number of them into each.
const BUCKETS: u16 = 10_000;
/// Which hash it is. With another one other customers are in: it never changes for flags that there are.
const HASH_VERSION: u8 = 1;

/// The bucket of a subject, 0 to 9,999, for the flag of this name: the same in every version of this program, on every node and after every
/// restart. The flag's name counts, so that it is not always the same customers who try what is new.
///
/// It is FNV-1a with 64 bits (Fowler, Noll, Vo) of the version 1, the flag's name, a zero byte and the subject; mixed by the last step of
/// MurmurHash3 (Appleby), since FNV-1a leaves what texts have in common in its upper bits; and of that, taken as a fraction of 2^64, the
/// 10,000ths.
pub fn bucket(flag: &str, subject: &str) -> u16 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = [HASH_VERSION]
        .into_iter()
        .chain(flag.bytes())
        .chain([0])
        .chain(subject.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    ((u128::from(hash) * u128::from(BUCKETS)) >> 64) as u16
}

/// What the program goes by, as it is looked at: made anew whenever a flag changes.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    rules: [Option<Arc<FlagRule>>; FLAGS.len()],
}

impl Flags {
    /// Of the rules that are set for those of [`FLAGS`].
    pub(super) fn new(rule: impl Fn(&'static str) -> Option<Arc<FlagRule>>) -> Self {
        Self {
            rules: FLAGS.map(|declared| rule(declared.name)),
        }
    }

    /// Whether a flag is on for somebody.
    pub fn is_on(&self, flag: Flag, subject: &Subject<'_>) -> bool {
        let (declared, rule) = self.of(flag);
        match rule {
            None => declared.default,
            Some(rule) => rule.is_on(declared.name, subject),
        }
    }

    /// Whether a flag is on for all; `None` where it is for some only, and has to be asked for each.
    pub fn is_on_for_all(&self, flag: Flag) -> Option<bool> {
        let (declared, rule) = self.of(flag);
        let Some(rule) = rule else {
            return Some(declared.default);
        };
        match rule.share {
            Share::ALL => Some(true),
            Share::NOBODY if rule.customers.is_empty() && rule.roles.is_empty() => Some(false),
            _ => None,
        }
    }

    fn of(&self, flag: Flag) -> (&'static Declared, Option<&FlagRule>) {
        let at = flag as usize;
        (&FLAGS[at], self.rules[at].as_deref())
    }
}

// A flag's number is its place in the table.
const _: () = {
    let mut at = 0;
    while at < FLAGS.len() {
        assert!(FLAGS[at].flag as usize == at);
        at += 1;
    }
};

//! The requests about feature flags and callers' own limits taken apart, and their replies made.

use docket_engine::{
    CustomerId,
    access::{Role, Username},
    steering::{
        Declared, FlagEntry, FlagName, FlagRule, LimitEntry, Limited, RateLimit, Share, declared,
        limits::{FLAG_CUSTOMERS_MAX, FLAG_NAME_BYTES_MAX, RATE_MAX},
    },
};

use super::{
    auth::{account_name, role_to_proto},
    check::{Check, Checked},
    names::{customer_name, etag, parse_customer_name, parse_etag},
    page_token::page_token,
    show::timestamp,
};
use crate::v1;

const LIMIT: &str = "must have the form limits/accounts/{account} or limits/apiKeys/{api_key}";
/// What page tokens of `ListLimits` have in common.
const LIST: &str = "limits";
/// No entry has this revision.
const NEVER: u64 = u64::MAX;

/// A `SetFlagRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetFlag {
    /// Which.
    pub flag: FlagName,
    /// For whom it is on.
    pub rule: FlagRule,
    /// Only at this revision.
    pub expected: Option<u64>,
    /// Although the program may not know it.
    pub force: bool,
}

/// A `GetFlagRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetFlag {
    /// Which.
    pub flag: FlagName,
    /// Whether it is on for this customer.
    pub customer: Option<CustomerId>,
    /// Whether it is on for this role.
    pub role: Option<Role>,
}

/// A `SetLimitRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetLimit {
    /// Whom.
    pub of: Limited,
    /// Which.
    pub limit: RateLimit,
    /// Only at this revision.
    pub expected: Option<u64>,
}

/// A `ListLimitsRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListLimits {
    /// Where the page before ended.
    pub after: Option<Limited>,
    /// At most this many.
    pub limit: usize,
}

/// Takes a `SetFlagRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn set_flag(request: &v1::SetFlagRequest) -> Checked<SetFlag> {
    let mut check = Check::default();
    let flag = flag_in(&mut check, &request.name);
    let rule = match &request.rule {
        Some(rule) => rule_in(&mut check, rule),
        None => {
            check.violation("rule", "is required: for whom the flag is on");
            None
        }
    };
    let set = || {
        Some(SetFlag {
            flag: flag?,
            rule: rule?,
            expected: expected(&request.etag),
            force: request.force,
        })
    };
    check.done(set())
}

/// Takes an `UnsetFlagRequest` apart: which, and at which revision only.
///
/// # Errors
/// Everything that is wrong with it.
pub fn unset_flag(request: &v1::UnsetFlagRequest) -> Checked<(FlagName, Option<u64>)> {
    let mut check = Check::default();
    let flag = flag_in(&mut check, &request.name);
    check.done(flag.map(|flag| (flag, expected(&request.etag))))
}

/// Takes a `GetFlagRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn get_flag(request: &v1::GetFlagRequest) -> Checked<GetFlag> {
    let mut check = Check::default();
    let flag = flag_in(&mut check, &request.name);
    let customer = check.optional_name("customer", &request.customer, parse_customer_name);
    let role = match request.role {
        0 => Some(None),
        role => role_in(&mut check, "role", role).map(Some),
    };
    let get = || {
        Some(GetFlag {
            flag: flag?,
            customer: customer?,
            role: role?,
        })
    };
    check.done(get())
}

/// Takes a `SetLimitRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn set_limit(request: &v1::SetLimitRequest) -> Checked<SetLimit> {
    let mut check = Check::default();
    let Some(asked) = &request.limit else {
        check.violation("limit", "is required");
        return check.done(None);
    };
    let of = limited_in(&mut check, "limit.name", &asked.name);
    let number = |check: &mut Check, field, number: i64| {
        let fits = u32::try_from(number).ok().filter(|number| *number <= RATE_MAX);
        if fits.is_none() {
            check.violation(field, format!("must be 0 to {RATE_MAX}"));
        }
        fits
    };
    let per_second = number(&mut check, "limit.per_second", asked.per_second);
    let burst = number(&mut check, "limit.burst", asked.burst);
    match (per_second, burst) {
        (Some(1..), Some(0)) => check.violation("limit.burst", "must be at least 1 where there is a rate"),
        (Some(0), Some(1..)) => check.violation("limit.burst", "must be 0 where there is no limit"),
        _ => {}
    }
    let set = || {
        Some(SetLimit {
            of: of?,
            limit: RateLimit {
                per_second: per_second?,
                burst: burst?,
            },
            expected: expected(&asked.etag),
        })
    };
    check.done(set())
}

/// Takes a `GetLimitRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn get_limit(request: &v1::GetLimitRequest) -> Checked<Limited> {
    let mut check = Check::default();
    let of = limited_in(&mut check, "name", &request.name);
    check.done(of)
}

/// Takes an `UnsetLimitRequest` apart: whose, and at which revision only.
///
/// # Errors
/// Everything that is wrong with it.
pub fn unset_limit(request: &v1::UnsetLimitRequest) -> Checked<(Limited, Option<u64>)> {
    let mut check = Check::default();
    let of = limited_in(&mut check, "name", &request.name);
    check.done(of.map(|of| (of, expected(&request.etag))))
}

/// Takes a `ListLimitsRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_limits(request: &v1::ListLimitsRequest) -> Checked<ListLimits> {
    let mut check = Check::default();
    let limit = check.page_size(request.page_size);
    let after = check.page_token(LIST, &request.page_token, limited_of);
    let list = || {
        Some(ListLimits {
            after: after?,
            limit: limit?,
        })
    };
    check.done(list())
}

/// The token of the page behind `last`.
pub fn next_limit_page(last: &Limited) -> String {
    page_token(LIST, &last.to_string())
}

/// A flag as the API shows it; `set` is what was set of it.
pub fn flag_to_proto(flag: &str, set: Option<&FlagEntry>) -> v1::FeatureFlag {
    let declared = declared(flag);
    v1::FeatureFlag {
        name: flag_name(flag),
        description: declared.map_or("", |declared| declared.description).to_owned(),
        default_on: declared.is_some_and(|declared| declared.default),
        rule: set.map(|set| rule_to_proto(&set.rule)),
        etag: etag(set.map_or(0, |set| set.revision)),
        changed_by: set.map(|set| account_name(&set.by)).unwrap_or_default(),
        change_time: set.map(|set| timestamp(set.at)),
        on: None,
        known: declared.is_some(),
    }
}

/// Whether a flag is on by default, for whom nobody set it: one that the program does not go by is not.
pub fn is_on_by_default(flag: &str) -> bool {
    declared(flag).is_some_and(|Declared { default, .. }| *default)
}

/// A limit as the API shows it.
pub fn limit_to_proto(of: &Limited, set: &LimitEntry) -> v1::CallerLimit {
    v1::CallerLimit {
        name: limit_name(of),
        per_second: set.limit.per_second.into(),
        burst: set.limit.burst.into(),
        etag: etag(set.revision),
        changed_by: account_name(&set.by),
        change_time: Some(timestamp(set.at)),
    }
}

/// `flags/{flag}`.
pub fn flag_name(flag: &str) -> String {
    format!("flags/{flag}")
}

/// `limits/accounts/{account}` or `limits/apiKeys/{api_key}`.
pub fn limit_name(of: &Limited) -> String {
    format!("limits/{of}")
}

fn rule_to_proto(rule: &FlagRule) -> v1::FlagRule {
    v1::FlagRule {
        share: rule.share.hundredths().into(),
        customers: rule.customers.iter().map(customer_name).collect(),
        roles: rule
            .roles
            .iter()
            .map(|role| role_to_proto(*role).into())
            .collect(),
    }
}

fn rule_in(check: &mut Check, rule: &v1::FlagRule) -> Option<FlagRule> {
    let share = u32::try_from(rule.share).ok().and_then(Share::new);
    if share.is_none() {
        check.violation("rule.share", "must be 0 to 10000 hundredths of a percent");
    }
    if rule.customers.len() > FLAG_CUSTOMERS_MAX {
        check.violation("rule.customers", format!("must be at most {FLAG_CUSTOMERS_MAX}"));
        return None;
    }
    let customers = rule.customers.iter().enumerate().map(|(at, name)| {
        let field = format!("rule.customers[{at}]");
        check.ok(&field, parse_customer_name(name))
    });
    let customers: Vec<_> = customers.collect();
    let roles = rule.roles.iter().enumerate().map(|(at, role)| {
        let field = format!("rule.roles[{at}]");
        role_in(check, &field, *role)
    });
    let roles: Vec<_> = roles.collect();
    Some(FlagRule {
        share: share?,
        customers: customers.into_iter().collect::<Option<_>>()?,
        roles: roles.into_iter().collect::<Option<_>>()?,
    })
}

fn role_in(check: &mut Check, field: &str, number: i32) -> Option<Role> {
    let role = Role::ALL
        .into_iter()
        .find(|role| i32::from(role_to_proto(*role)) == number);
    if role.is_none() {
        check.violation(field, "must be CUSTOMER, SERVICE or ADMIN");
    }
    role
}

fn flag_in(check: &mut Check, name: &str) -> Option<FlagName> {
    let flag = name
        .strip_prefix("flags/")
        .and_then(|flag| FlagName::new(flag).ok());
    if flag.is_none() {
        let rule = format!(
            "must have the form flags/{{flag}}, with 1 to {FLAG_NAME_BYTES_MAX} of a-z 0-9 . _ -, the first a letter"
        );
        check.violation("name", rule);
    }
    flag
}

fn limited_in(check: &mut Check, field: &str, name: &str) -> Option<Limited> {
    let of = name.strip_prefix("limits/").and_then(limited_of);
    if of.is_none() {
        check.violation(field, LIMIT);
    }
    of
}

fn limited_of(text: &str) -> Option<Limited> {
    match text.split_once('/')? {
        ("accounts", account) => Username::new(account).ok().map(Limited::Account),
        ("apiKeys", key) => key.parse().ok().map(Limited::ApiKey),
        _ => None,
    }
}

/// What a request with this etag expects: nothing when it is empty, that there is none where it is `v0`. One that is none of ours is an old
/// one.
fn expected(text: &str) -> Option<u64> {
    (!text.is_empty()).then(|| parse_etag(text).unwrap_or(NEVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<T: std::fmt::Debug>(checked: Checked<T>) -> Vec<String> {
        let violations = checked.unwrap_err().into_iter();
        violations.map(|violation| violation.field).collect()
    }

    #[test]
    fn a_rule_says_all_that_is_wrong_with_it() {
        let request = v1::SetFlagRequest {
            name: "flags/Webhooks".into(),
            rule: Some(v1::FlagRule {
                share: 10_001,
                customers: vec!["customers/ada".into(), "ada".into()],
                roles: vec![2, 9],
            }),
            ..v1::SetFlagRequest::default()
        };
        let found = fields(set_flag(&request));
        assert_eq!(
            found,
            ["name", "rule.share", "rule.customers[1]", "rule.roles[1]"]
        );
        assert_eq!(fields(set_flag(&v1::SetFlagRequest::default())), ["name", "rule"]);
    }

    #[test]
    fn an_etag_says_at_which_revision_only() {
        for (etag, comes) in [("", None), ("v0", Some(0)), ("v7", Some(7)), ("w7", Some(NEVER))] {
            let request = v1::UnsetFlagRequest {
                name: "flags/webhooks".into(),
                etag: etag.into(),
            };
            assert_eq!(unset_flag(&request).unwrap().1, comes, "{etag}");
        }
    }

    #[test]
    fn limits_are_named_by_account_or_key_and_their_pages_go_on_behind_one() {
        let key = "0a".repeat(12);
        for name in ["limits/accounts/shop", &format!("limits/apiKeys/{key}")] {
            let request = v1::GetLimitRequest { name: name.into() };
            let of = get_limit(&request).unwrap();
            assert_eq!(limit_name(&of), name);
            let request = v1::ListLimitsRequest {
                page_size: 5,
                page_token: next_limit_page(&of),
            };
            let comes = ListLimits {
                after: Some(of),
                limit: 5,
            };
            assert_eq!(list_limits(&request), Ok(comes));
        }
        for name in [
            "",
            "accounts/shop",
            "limits/shop",
            "limits/apiKeys/0a",
            "limits/accounts/",
        ] {
            let request = v1::GetLimitRequest { name: name.into() };
            assert_eq!(fields(get_limit(&request)), ["name"], "{name}");
        }
    }

    #[test]
    fn a_limit_has_room_where_it_has_a_rate() {
        let check = |per_second, burst| {
            set_limit(&v1::SetLimitRequest {
                limit: Some(v1::CallerLimit {
                    name: "limits/accounts/shop".into(),
                    per_second,
                    burst,
                    ..v1::CallerLimit::default()
                }),
            })
        };
        assert!(check(5, 10).is_ok() && check(0, 0).is_ok());
        assert_eq!(fields(check(5, 0)), ["limit.burst"]);
        assert_eq!(fields(check(0, 5)), ["limit.burst"]);
        assert_eq!(
            fields(check(-1, 1_000_000_001)),
            ["limit.per_second", "limit.burst"]
        );
    }
}

use proptest::prelude::*;

use super::{
    limits::{FLAG_CUSTOMERS_MAX, FLAGS_MAX, LIMITS_MAX},
    *,
};
use crate::{
    CustomerId, Time,
    access::{ApiKeyId, Role, Username},
};

fn customer(text: &str) -> CustomerId {
    CustomerId::new(text).unwrap()
}

fn name(text: &str) -> FlagName {
    FlagName::new(text).unwrap()
}

fn share(hundredths: u32) -> FlagRule {
    FlagRule::of(Share::new(hundredths).unwrap())
}

fn account(text: &str) -> Limited {
    Limited::Account(Username::new(text).unwrap())
}

fn command(request: SteeringRequest) -> SteeringCommand {
    SteeringCommand {
        time: Time(7),
        by: Username::new("root").unwrap(),
        request,
    }
}

fn set_flag(flag: &str, rule: FlagRule) -> SteeringCommand {
    command(SteeringRequest::SetFlag {
        flag: name(flag),
        rule,
        expected: None,
        force: false,
    })
}

fn set_limit(of: &str, per_second: u32, burst: u32) -> SteeringCommand {
    command(SteeringRequest::SetLimit {
        of: account(of),
        limit: RateLimit { per_second, burst },
        expected: None,
    })
}

fn unset(flag: &str) -> SteeringCommand {
    command(SteeringRequest::UnsetFlag {
        flag: name(flag),
        expected: None,
    })
}

/// Does what a command asks; true where there was anything to be recorded.
fn execute(state: &mut Steering, command: &SteeringCommand) -> Result<bool, SteeringRejection> {
    let Some(record) = state.decide(command)? else {
        return Ok(false);
    };
    state.apply(&record).unwrap();
    state.validate().unwrap();
    Ok(true)
}

#[test]
fn what_nobody_set_is_as_it_was_before_there_were_flags() {
    let flags = Steering::default().in_force();
    for declared in &FLAGS {
        let ada = customer("ada");
        assert!(
            flags.is_on(declared.flag, &Subject::customer(&ada)),
            "{}",
            declared.name
        );
        assert_eq!(flags.is_on_for_all(declared.flag), Some(true));
        assert_eq!(super::declared(declared.name), Some(declared));
        assert!(name(declared.name).is_known());
    }
    assert!(FLAGS.is_sorted_by_key(|declared| declared.name));
}

#[test]
fn a_flag_is_on_for_its_share_its_customers_and_its_roles() {
    let (ada, bob) = (customer("ada"), customer("bob"));
    let mut state = Steering::default();
    let mut rule = share(0);
    rule.customers.insert(ada.clone());
    assert_eq!(
        execute(&mut state, &set_flag("backorders", rule.clone())),
        Ok(true)
    );
    let flags = state.in_force();
    assert!(flags.is_on(Flag::Backorders, &Subject::customer(&ada)));
    assert!(!flags.is_on(Flag::Backorders, &Subject::customer(&bob)));
    assert!(
        flags.is_on(Flag::FraudScoring, &Subject::customer(&bob)),
        "another flag"
    );
    assert_eq!(flags.is_on_for_all(Flag::Backorders), None);

    rule.customers.clear();
    rule.roles.insert(Role::Service);
    let refused = execute(&mut state, &set_flag("backorders", rule.clone()));
    assert_eq!(refused, Err(SteeringRejection::RoleNotKnown));
    execute(&mut state, &set_flag("streaming_placement", rule)).unwrap();
    let flags = state.in_force();
    let caller = |role| Subject {
        id: "shop",
        customer: None,
        role: Some(role),
    };
    assert!(flags.is_on(Flag::StreamingPlacement, &caller(Role::Service)));
    assert!(!flags.is_on(Flag::StreamingPlacement, &caller(Role::Admin)));

    execute(&mut state, &set_flag("backorders", share(0))).unwrap();
    assert_eq!(state.in_force().is_on_for_all(Flag::Backorders), Some(false));
    execute(&mut state, &unset("backorders")).unwrap();
    assert_eq!(state.in_force().is_on_for_all(Flag::Backorders), Some(true));
}

#[test]
fn each_change_says_who_made_it_and_when_and_has_a_revision_of_its_own() {
    let mut state = Steering::default();
    execute(&mut state, &set_flag("webhooks", share(0))).unwrap();
    let first = state.flag("webhooks").unwrap().clone();
    assert_eq!(
        (first.by.as_str(), first.at, first.revision),
        ("root", Time(7), 1)
    );
    assert_eq!(
        execute(&mut state, &set_flag("webhooks", share(0))),
        Ok(false),
        "the same again"
    );
    execute(&mut state, &unset("webhooks")).unwrap();
    assert_eq!(execute(&mut state, &unset("webhooks")), Ok(false));
    execute(&mut state, &set_flag("webhooks", share(0))).unwrap();
    assert_eq!(
        state.flag("webhooks").unwrap().revision,
        3,
        "never one that it had before"
    );

    for (expected, comes) in [
        (1, Err(SteeringRejection::StaleEtag)),
        (0, Err(SteeringRejection::StaleEtag)),
        (3, Ok(true)),
    ] {
        let asked = command(SteeringRequest::SetFlag {
            flag: name("webhooks"),
            rule: share(10_000),
            expected: Some(expected),
            force: false,
        });
        assert_eq!(execute(&mut state, &asked), comes, "{expected}");
    }
    // A clock that was set back does not set the log's back.
    let earlier = SteeringCommand {
        time: Time(3),
        ..set_flag("webhooks", share(1))
    };
    execute(&mut state, &earlier).unwrap();
    assert_eq!(state.flag("webhooks").unwrap().at, Time(7));
}

#[test]
fn a_name_that_the_program_does_not_know_is_set_only_where_that_is_meant() {
    let mut state = Steering::default();
    let typo = set_flag("webhook", share(0));
    assert_eq!(execute(&mut state, &typo), Err(SteeringRejection::UnknownFlag));
    assert_eq!(
        execute(&mut state, &unset("webhook")),
        Err(SteeringRejection::UnknownFlag)
    );
    let meant = command(SteeringRequest::SetFlag {
        flag: name("webhook"),
        rule: share(0),
        expected: Some(0),
        force: true,
    });
    assert_eq!(execute(&mut state, &meant), Ok(true));
    assert_eq!(execute(&mut state, &unset("webhook")), Ok(true));
    assert_eq!(
        execute(&mut state, &set_flag("custom.new-cart", share(500))),
        Ok(true)
    );
    assert!(!name("custom.").is_known());
    for text in ["", "1st", "Webhooks", "a b", ".x", &"x".repeat(65)] {
        assert_eq!(FlagName::new(text), Err(FlagNameError), "{text}");
    }
}

#[test]
fn there_is_an_end_to_flags_limits_and_the_customers_of_a_flag() {
    let mut state = Steering::default();
    let mut rule = share(0);
    rule.customers = (0..=FLAG_CUSTOMERS_MAX)
        .map(|n| customer(&n.to_string()))
        .collect();
    let refused = execute(&mut state, &set_flag("webhooks", rule.clone()));
    assert_eq!(refused, Err(SteeringRejection::TooManyCustomers));
    rule.customers.pop_first();
    execute(&mut state, &set_flag("webhooks", rule)).unwrap();
    for n in 1..FLAGS_MAX {
        execute(&mut state, &set_flag(&format!("custom.{n}"), share(1))).unwrap();
    }
    let refused = execute(&mut state, &set_flag("custom.more", share(1)));
    assert_eq!(refused, Err(SteeringRejection::TooManyFlags));
    execute(&mut state, &set_flag("custom.1", share(2))).unwrap();

    for n in 0..LIMITS_MAX {
        execute(&mut state, &set_limit(&n.to_string(), 1, 1)).unwrap();
    }
    let refused = execute(&mut state, &set_limit("more", 1, 1));
    assert_eq!(refused, Err(SteeringRejection::TooManyLimits));
    execute(&mut state, &set_limit("0", 0, 0)).unwrap();
}

#[test]
fn a_limit_has_room_for_one_or_is_none() {
    let mut state = Steering::default();
    for (rate, burst, comes) in [
        (5, 10, Ok(true)),
        (5, 10, Ok(false)),
        (0, 0, Ok(true)),
        (5, 0, Err(SteeringRejection::LimitOutOfRange)),
        (0, 5, Err(SteeringRejection::LimitOutOfRange)),
        (1_000_000_001, 5, Err(SteeringRejection::LimitOutOfRange)),
    ] {
        let done = execute(&mut state, &set_limit("ada", rate, burst));
        assert_eq!(done, comes, "{rate} {burst}");
    }
    let key = Limited::ApiKey(ApiKeyId([7; 12]));
    let asked = command(SteeringRequest::SetLimit {
        of: key.clone(),
        limit: RateLimit {
            per_second: 9,
            burst: 9,
        },
        expected: Some(0),
    });
    execute(&mut state, &asked).unwrap();
    let all: Vec<_> = state.limits(None).map(|(of, _)| of.to_string()).collect();
    assert_eq!(all, ["accounts/ada", "apiKeys/070707070707070707070707"]);
    let rest: Vec<_> = state
        .limits(Some(&account("ada")))
        .map(|(of, _)| of.clone())
        .collect();
    assert_eq!(rest, std::slice::from_ref(&key));
    let asked = command(SteeringRequest::UnsetLimit {
        of: key.clone(),
        expected: None,
    });
    assert_eq!(execute(&mut state, &asked), Ok(true));
    assert_eq!(state.limit(&key), None);
}

#[test]
fn buckets_are_what_they_were_in_every_version() {
    // For ever: with others, other customers are in.
    let found = ["ada", "bob", "acme", ""].map(|id| bucket("backorders", id));
    assert_eq!(found, KEPT_BUCKETS);
    assert_ne!(bucket("webhooks", "ada"), bucket("backorders", "ada"));
}

/// Of `backorders`, for those above.
const KEPT_BUCKETS: [u16; 4] = [9_120, 3_420, 4_236, 4_228];

#[test]
fn a_share_is_that_part_of_all_and_flags_do_not_choose_the_same() {
    const ALL: usize = 20_000;
    let ids: Vec<String> = (0..ALL).map(|n| format!("customer-{n}")).collect();
    let within = |flag: &str, hundredths: u32| {
        let share = Share::new(hundredths).unwrap();
        ids.iter().filter(|id| share.has(bucket(flag, id))).count()
    };
    for (hundredths, expected) in [(0, 0), (100, 200), (1_000, 2_000), (5_000, 10_000), (10_000, ALL)] {
        let found = within("webhooks", hundredths);
        // Five standard deviations of a fair choice.
        let part = f64::from(hundredths) / 10_000.0;
        let most = 5.0 * (ALL as f64 * part * (1.0 - part)).sqrt();
        assert!(
            (found as f64 - expected as f64).abs() <= most,
            "{hundredths}: {found}"
        );
    }
    let ten = Share::new(1_000).unwrap();
    let both = ids
        .iter()
        .filter(|id| ten.has(bucket("webhooks", id)) && ten.has(bucket("backorders", id)))
        .count();
    assert!((100..=300).contains(&both), "a tenth of a tenth is 200: {both}");
}

proptest! {
    #[test]
    fn who_is_in_at_one_share_is_in_at_every_larger_one(
        flag in "[a-z][a-z0-9_.]{0,20}",
        id in "[a-zA-Z0-9._-]{1,64}",
        less in 0u32..=10_000,
        more in 0u32..=10_000,
    ) {
        let (less, more) = (less.min(more), less.max(more));
        let ada = customer(&id);
        let on = |hundredths| share(hundredths).is_on(&flag, &Subject::customer(&ada));
        prop_assert!(!on(less) || on(more));
        prop_assert!(!on(0) && on(10_000));
        prop_assert!(bucket(&flag, &id) < 10_000);
        prop_assert_eq!(bucket(&flag, &id), bucket(&flag, &id));
    }

    #[test]
    fn what_is_decided_on_another_state_changes_nothing(first in 0u32..=10_000, second in 0u32..=10_000) {
        let mut state = Steering::default();
        let decided = state.decide(&set_flag("webhooks", share(first))).unwrap().unwrap();
        execute(&mut state, &set_flag("backorders", share(second))).unwrap();
        prop_assert!(!state.fits(&decided));
        prop_assert!(state.clone().apply(&decided).is_err());
    }
}

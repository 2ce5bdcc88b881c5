//! Which records a shard's state takes.

use docket_engine::Quantity;

use super::*;
use crate::remembered::Target;

fn record(key: u128, version: u64, decider: u32) -> Record {
    let sku = Sku::new("tea").unwrap();
    Record {
        time: Time(key as i64),
        events: Vec::new(),
        request: Some(Request { key, fingerprint: 7 }),
        unchanged: Some(Unchanged {
            entity: EntityId::Item(sku),
            version: Version(version),
            decider: Decider(decider),
        }),
        origin: None,
    }
}

#[test]
fn a_request_that_changes_nothing_is_refused_where_its_entity_has_changed_and_its_decider_with_it() {
    let committed = Committed::default();
    let created = Record {
        time: Time(0),
        events: vec![Event {
            version: Version(1),
            decider: Decider(1),
            fact: Fact::Item(
                Sku::new("tea").unwrap(),
                ItemEvent::Created {
                    display_name: "Tea".into(),
                    currency: "EUR".parse().unwrap(),
                    unit_price: docket_engine::Amount(1),
                    on_hand: Quantity(1),
                },
            ),
        }],
        request: None,
        unchanged: None,
        origin: None,
    };
    assert_eq!(committed.apply(&created), Ok(Applied::Done));
    assert_eq!(committed.apply(&record(1, 1, 1)), Ok(Applied::Done));
    assert!(matches!(
        committed.requests.get(1).unwrap().target,
        Target::Item(_)
    ));
    for (key, version, decider, why) in [
        (1, 1, 1, "its request was done before"),
        (2, 1, 1, "its life is fenced since"),
        (3, 2, 2, "there is no such version yet"),
        (4, 0, 3, "nor is it the one before any more"),
    ] {
        let applied = committed.apply(&record(key, version, decider));
        assert_eq!(applied, Ok(Applied::Conflict), "{why}");
    }
    assert_eq!(committed.apply(&record(5, 1, 4)), Ok(Applied::Done));
}

use bytes::Bytes;
use docket_cluster::{Entry, PROTOCOL_VERSION_OLDEST, StateMachine};
use docket_engine::{
    Time,
    access::Username,
    steering::{FlagName, FlagRule, Limited, RateLimit, Share},
};

use super::*;
use crate::access::BoxFuture;

/// A log of one, whose other nodes speak some version of the peer protocol.
struct Alone {
    machine: AccessMachine,
    speaks: u32,
    /// Another node was not heard of.
    is_missing: bool,
    is_low: bool,
}

impl AccessLog for Alone {
    fn barrier(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async { Ok(()) })
    }

    fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Bytes, ProposeError>> {
        Box::pin(async move { Ok(apply(&self.machine, &payload)) })
    }

    fn disk_low(&self) -> Option<u64> {
        self.is_low.then_some(7)
    }

    fn oldest_version_spoken(&self) -> u32 {
        self.speaks
    }

    fn is_spoken_by_all(&self, version: u32) -> bool {
        self.speaks >= version && !self.is_missing
    }
}

fn apply(machine: &AccessMachine, payload: &Bytes) -> Bytes {
    machine.apply(Entry {
        index: 1,
        term: 1,
        payload,
    })
}

fn handle(machine: &AccessMachine, speaks: u32, is_low: bool) -> Steering {
    let log = Alone {
        machine: machine.clone(),
        speaks,
        is_missing: false,
        is_low,
    };
    Steering::new(machine, log)
}

fn set_flag(flag: &str, share: Share) -> SteeringCommand {
    command(SteeringRequest::SetFlag {
        flag: FlagName::new(flag).unwrap(),
        rule: FlagRule::of(share),
        expected: None,
        force: false,
    })
}

fn set_limit() -> SteeringCommand {
    command(SteeringRequest::SetLimit {
        of: Limited::Account(Username::new("shop").unwrap()),
        limit: RateLimit {
            per_second: 5,
            burst: 10,
        },
        expected: None,
    })
}

fn command(request: SteeringRequest) -> SteeringCommand {
    SteeringCommand {
        time: Time(1),
        by: Username::new("root").unwrap(),
        request,
    }
}

fn snapshot(machine: &AccessMachine) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = machine.capture().write(&mut |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    });
    written.unwrap();
    bytes
}

fn is_on(machine: &AccessMachine, flag: Flag) -> bool {
    let ada = CustomerId::new("ada").unwrap();
    machine.steering.in_force.is_on_for(flag, &ada)
}

#[tokio::test]
async fn while_a_node_cannot_read_of_flags_none_is_set() {
    let machine = AccessMachine::new();
    let off = set_flag("backorders", Share::NOBODY);
    let done = handle(&machine, STEERING_SINCE - 1, false).execute(&off).await;
    assert_eq!(done, Err(SteeringError::OlderNodes));
    assert_eq!(machine.snapshots_since(), PROTOCOL_VERSION_OLDEST);
    assert!(is_on(&machine, Flag::Backorders));
    handle(&machine, STEERING_SINCE, false)
        .execute(&off)
        .await
        .unwrap();
    assert_eq!(
        machine.snapshots_since(),
        STEERING_SINCE,
        "it is sent to nobody who cannot read it"
    );
    assert!(!is_on(&machine, Flag::Backorders));
}

#[tokio::test]
async fn where_the_disk_is_full_no_limit_is_added_and_flags_can_still_be_switched() {
    let machine = AccessMachine::new();
    let full = handle(&machine, STEERING_SINCE, true);
    let refused = full.execute(&set_limit()).await;
    assert_eq!(refused, Err(SteeringError::LowSpace { free_bytes: 7 }));
    full.execute(&set_flag("webhooks", Share::NOBODY)).await.unwrap();
    assert!(!is_on(&machine, Flag::Webhooks));
}

#[tokio::test]
async fn what_is_steered_comes_back_from_a_snapshot_and_is_gone_by_at_once() {
    let machine = AccessMachine::new();
    let steering = handle(&machine, STEERING_SINCE, false);
    let mut heard = steering.watch();
    for command in [set_flag("fraud_scoring", Share::NOBODY), set_limit()] {
        steering.execute(&command).await.unwrap();
    }
    assert_eq!(*heard.borrow_and_update(), 2);
    let bytes = snapshot(&machine);
    for chunk in [1, 7, bytes.len()] {
        let restored = AccessMachine::new();
        let mut chunks = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        restored.restore(&mut chunks).unwrap();
        assert!(!is_on(&restored, Flag::FraudScoring));
        assert!(is_on(&restored, Flag::Webhooks));
        let same = |state: &State| machine.steering.read(|other| state == other);
        assert!(restored.steering.read(same));
        restored.clear();
        assert!(is_on(&restored, Flag::FraudScoring));
    }
}

#[tokio::test]
async fn a_record_that_was_decided_on_another_state_changes_nothing_and_leaves_no_effect() {
    let machine = AccessMachine::new();
    let off = set_flag("webhooks", Share::NOBODY);
    let record = machine
        .steering
        .read(|state| state.decide(&off))
        .unwrap()
        .unwrap();
    let payload: Bytes = encode_steering_record(&record).into();
    assert_eq!(apply(&machine, &payload), [DONE].as_slice());
    let effects = machine.effects();
    assert_ne!(effects, 0);
    assert_ne!(apply(&machine, &payload), [DONE].as_slice());
    assert_eq!(machine.effects(), 0);
    machine.skip(3);
    assert_eq!(machine.effects(), 0);
    assert_eq!(machine.steering.read(State::version).0, 1);
    let twin = AccessMachine::new();
    apply(&twin, &payload);
    assert_eq!(twin.effects(), effects, "every replica finds the same");
}

#[tokio::test]
async fn the_first_flag_waits_for_nodes_that_were_not_heard_of_and_the_next_ones_do_not() {
    let machine = AccessMachine::new();
    let missing = Steering::new(
        &machine,
        Alone {
            machine: machine.clone(),
            speaks: STEERING_SINCE,
            is_missing: true,
            is_low: false,
        },
    );
    let first = missing.execute(&set_flag("webhooks", Share::NOBODY)).await;
    assert_eq!(first, Err(SteeringError::OlderNodes));
    let all_here = handle(&machine, STEERING_SINCE, false);
    all_here.execute(&set_flag("webhooks", Share::ALL)).await.unwrap();
    missing
        .execute(&set_flag("webhooks", Share::NOBODY))
        .await
        .unwrap();
}

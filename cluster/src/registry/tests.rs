//! The registry by itself: what is decided and planned, and its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::record::{decode_record, decode_snapshot, encode_snapshot};
use super::*;
use crate::PROTOCOL_VERSION;
use crate::machine::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};

const GROUPS: u32 = 4;

fn id(node: u64) -> NodeId {
    NodeId(node)
}

fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

fn join(node: u64) -> Ask {
    Ask::Join {
        id: id(node),
        instance: format!("instance-{node}"),
        peer_address: format!("node{node}:7072"),
        client_address: format!("node{node}:7070"),
        founded_at: None,
    }
}

/// Decides and applies; how many changes that were.
fn ask(registry: &mut Registry, ask: &Ask) -> Result<usize, Refusal> {
    let changes = registry.decide(ask)?;
    let count = changes.len();
    if count > 0 {
        let record = Record {
            version: registry.version(),
            changes,
        };
        // What is applied went through its bytes, as it does in a log.
        let bytes = encode_record(&record);
        let read = decode_record(&bytes).unwrap().unwrap();
        assert_eq!(read, record);
        assert!(registry.apply(&read));
    }
    Ok(count)
}

/// A cluster of these nodes, all active, with every group on the first.
fn founded(nodes: u64) -> Registry {
    let mut registry = Registry::default();
    for node in 1..=nodes {
        ask(&mut registry, &join(node)).unwrap();
        ask(&mut registry, &Ask::Activate { id: id(node) }).unwrap();
    }
    for group in 0..GROUPS {
        report(&mut registry, group, &[1]);
    }
    registry
}

fn report(registry: &mut Registry, group: u32, voters: &[u64]) {
    report_of(registry, GroupId(group), &set(voters));
}

fn report_of(registry: &mut Registry, group: GroupId, voters: &BTreeSet<NodeId>) {
    let voters = voters.clone();
    ask(registry, &Ask::Report { group, voters }).unwrap();
}

/// Plans, and lets every group's leader do what is wanted, until nothing is. How many replicas changed.
fn settle(registry: &mut Registry) -> usize {
    let mut steps = 0;
    while ask(registry, &Ask::Plan { groups: GROUPS }).unwrap() > 0 {
        steps += 1;
        assert!(steps < 1_000, "it never ends: {registry:?}");
        let moving: Vec<_> = registry
            .groups()
            .iter()
            .filter(|(_, placement)| placement.is_moving())
            .map(|(group, placement)| (*group, placement.clone()))
            .collect();
        assert_eq!(moving.len(), 1, "one at a time");
        let (group, placement) = &moving[0];
        let changed = placement.wanted.symmetric_difference(&placement.placed);
        assert!(changed.count() <= 2, "one replica at a time: {placement:?}");
        let voters = placement.wanted.clone();
        ask(
            registry,
            &Ask::Report {
                group: *group,
                voters,
            },
        )
        .unwrap();
    }
    steps
}

/// How many replicas each node has.
fn load(registry: &Registry) -> BTreeMap<NodeId, usize> {
    let mut load = BTreeMap::new();
    for node in registry.groups().values().flat_map(|placement| &placement.placed) {
        *load.entry(*node).or_default() += 1;
    }
    load
}

#[track_caller]
fn all_have(registry: &Registry, replicas: usize) {
    for (group, placement) in registry.groups() {
        assert_eq!(placement.placed.len(), replicas, "{group}: {placement:?}");
        assert!(!placement.is_moving());
    }
}

#[test]
fn every_group_gets_three_replicas_or_one_on_every_node() {
    for (nodes, replicas) in [(1, 1), (2, 2), (3, 3), (4, 3), (7, 3)] {
        let mut registry = founded(nodes);
        settle(&mut registry);
        all_have(&registry, replicas);
        let load = load(&registry);
        let (least, most) = (load.values().min().unwrap(), load.values().max().unwrap());
        assert!(most - least <= 1, "{nodes} nodes: {load:?}");
        assert_eq!(settle(&mut registry), 0, "nothing is left to do");
    }
}

#[test]
fn nothing_is_planned_before_every_group_was_heard_of() {
    let mut registry = Registry::default();
    for node in 1..=3 {
        ask(&mut registry, &join(node)).unwrap();
        ask(&mut registry, &Ask::Activate { id: id(node) }).unwrap();
    }
    for group in 0..GROUPS - 1 {
        report(&mut registry, group, &[1]);
    }
    assert_eq!(settle(&mut registry), 0);
    report(&mut registry, GROUPS - 1, &[1]);
    assert!(settle(&mut registry) > 0);
}

#[test]
fn who_votes_before_it_is_known_or_active_keeps_its_replicas() {
    let mut registry = Registry::default();
    for group in 0..GROUPS {
        report(&mut registry, group, &[1]);
    }
    let stays = |registry: &mut Registry| {
        settle(registry);
        let keeps = |placement: &Placement| placement.placed.contains(&id(1));
        assert!(registry.groups().values().all(keeps), "{registry:?}");
    };
    // Another was quicker than the founder to say that it is there.
    ask(&mut registry, &join(3)).unwrap();
    ask(&mut registry, &Ask::Activate { id: id(3) }).unwrap();
    stays(&mut registry);
    ask(&mut registry, &join(1)).unwrap();
    stays(&mut registry);
    ask(&mut registry, &Ask::Activate { id: id(1) }).unwrap();
    stays(&mut registry);
    all_have(&registry, 2);
}

#[test]
fn a_node_that_joins_gets_no_replicas_before_it_is_active() {
    let mut registry = founded(2);
    settle(&mut registry);
    ask(&mut registry, &join(3)).unwrap();
    assert_eq!(settle(&mut registry), 0);
    ask(&mut registry, &Ask::Activate { id: id(3) }).unwrap();
    settle(&mut registry);
    all_have(&registry, 3);
}

#[test]
fn a_drained_node_gives_its_replicas_away_and_only_then_leaves() {
    let mut registry = founded(4);
    settle(&mut registry);
    let remove = |force: Option<&str>| Ask::Remove {
        id: id(2),
        force: force.map(str::to_owned),
    };
    assert!(matches!(
        ask(&mut registry, &remove(None)),
        Err(Refusal::NotDrained { .. })
    ));
    ask(&mut registry, &Ask::Drain { id: id(2) }).unwrap();
    assert!(matches!(
        ask(&mut registry, &remove(None)),
        Err(Refusal::NotDrained { .. })
    ));
    settle(&mut registry);
    all_have(&registry, 3);
    assert_eq!(registry.replicas_of(id(2)), 0);
    ask(&mut registry, &remove(None)).unwrap();
    let refused = ask(&mut registry, &join(2)).unwrap_err();
    assert!(matches!(refused, Refusal::Removed { .. }), "{refused}");
    // Asked twice is harmless.
    assert_eq!(ask(&mut registry, &remove(None)), Ok(0));
}

#[test]
fn a_drained_node_that_stays_gets_replicas_again() {
    let mut registry = founded(3);
    settle(&mut registry);
    ask(&mut registry, &Ask::Drain { id: id(3) }).unwrap();
    settle(&mut registry);
    all_have(&registry, 2);
    ask(&mut registry, &Ask::Undrain { id: id(3) }).unwrap();
    settle(&mut registry);
    all_have(&registry, 3);
}

#[test]
fn a_node_that_will_not_come_back_is_removed_by_force_with_a_reason() {
    let mut registry = founded(4);
    settle(&mut registry);
    let remove = |force: &str| Ask::Remove {
        id: id(1),
        force: Some(force.to_owned()),
    };
    assert_eq!(ask(&mut registry, &remove("")), Err(Refusal::NoReason));
    ask(&mut registry, &remove("its disk burnt")).unwrap();
    settle(&mut registry);
    all_have(&registry, 3);
    assert_eq!(registry.replicas_of(id(1)), 0);
    let refused = ask(&mut registry, &join(1)).unwrap_err().to_string();
    assert!(refused.contains("its disk burnt"), "{refused}");
}

/// A registry of four nodes in which a replica of a group is on its way, from where to where.
fn moving() -> (Registry, GroupId, NodeId, NodeId) {
    let mut registry = founded(4);
    settle(&mut registry);
    let (group, placement) = registry.groups().iter().last().unwrap();
    let (group, from) = (*group, *placement.placed.first().unwrap());
    let to = *registry.active().difference(&placement.placed).next().unwrap();
    ask(&mut registry, &Ask::Move { group, from, to }).unwrap();
    (registry, group, from, to)
}

#[test]
fn a_move_to_a_node_that_will_not_come_back_is_given_up() {
    let (mut registry, group, from, to) = moving();
    let before = registry.groups()[&group].placed.clone();
    let force = Some("its disk burnt".to_owned());
    ask(&mut registry, &Ask::Remove { id: to, force }).unwrap();
    ask(&mut registry, &Ask::Plan { groups: GROUPS }).unwrap();
    assert_eq!(registry.groups()[&group].wanted, before, "what was there stays");
    // Once its leader has brought it there.
    report_of(&mut registry, group, &before);
    settle(&mut registry);
    all_have(&registry, 3);
    assert!(registry.groups()[&group].placed.contains(&from));
    assert_eq!(registry.replicas_of(to), 0);
}

#[test]
fn a_move_is_given_up_even_where_its_source_leaves_too() {
    let (mut registry, group, from, to) = moving();
    ask(&mut registry, &Ask::Drain { id: from }).unwrap();
    let force = Some("its disk burnt".to_owned());
    ask(&mut registry, &Ask::Remove { id: to, force }).unwrap();
    ask(&mut registry, &Ask::Plan { groups: GROUPS }).unwrap();
    let wanted = registry.groups()[&group].wanted.clone();
    assert!(!wanted.contains(&from) && !wanted.contains(&to), "{wanted:?}");
    report_of(&mut registry, group, &wanted);
    settle(&mut registry);
    all_have(&registry, 2);
    assert_eq!((registry.replicas_of(from), registry.replicas_of(to)), (0, 0));
}

#[test]
fn a_move_may_be_taken_back_and_no_other_begun_meanwhile() {
    let (mut registry, group, from, to) = moving();
    let (other, placement) = registry.groups().iter().next().unwrap();
    let other_move = Ask::Move {
        group: *other,
        from: *placement.placed.first().unwrap(),
        to: *registry.active().difference(&placement.placed).next().unwrap(),
    };
    assert_ne!(*other, group);
    assert_eq!(MOVES_MAX, 1);
    assert_eq!(ask(&mut registry, &other_move), Err(Refusal::Moving { group }));
    let back = Ask::Move {
        group,
        from: to,
        to: from,
    };
    let before = registry.groups()[&group].placed.clone();
    ask(&mut registry, &back).unwrap();
    assert_eq!(registry.groups()[&group].wanted, before);
    // Its leader may be half-way: nothing else begins until that is undone.
    assert!(registry.groups()[&group].is_moving());
    assert_eq!(registry.plan(GROUPS), None);
    assert_eq!(ask(&mut registry, &other_move), Err(Refusal::Moving { group }));
    report_of(&mut registry, group, &before);
    assert!(!registry.groups()[&group].is_moving());
    ask(&mut registry, &other_move).unwrap();
}

/// Who leads, as far as the registry says so, and else the first node.
fn leads(registry: &Registry) -> BTreeMap<NodeId, usize> {
    let mut leads: BTreeMap<_, _> = registry.active().iter().map(|node| (*node, 0)).collect();
    for placement in registry.groups().values() {
        *leads.entry(placement.preferred.unwrap_or(id(1))).or_default() += 1;
    }
    leads
}

#[test]
fn leads_are_evened_out_one_by_one_and_then_stay() {
    let mut registry = founded(3);
    settle(&mut registry);
    let leaders: BTreeMap<_, _> = registry.groups().keys().map(|group| (*group, id(1))).collect();
    let even = Ask::EvenLeads {
        groups: GROUPS,
        leaders: leaders.clone(),
    };
    let mut steps = 0;
    while registry.even_leads(GROUPS, &leaders).is_some() {
        let before = leads(&registry);
        ask(&mut registry, &even).unwrap();
        let after = leads(&registry);
        let moved = after
            .iter()
            .filter(|(node, count)| before[node] < **count)
            .count();
        assert_eq!(moved, 1, "{before:?} {after:?}");
        steps += 1;
    }
    let even_now = leads(&registry);
    let (least, most) = (even_now.values().min().unwrap(), even_now.values().max().unwrap());
    assert!(
        most - least <= 1 && steps < GROUPS as usize,
        "{even_now:?} after {steps}"
    );
    // The one who decides it all goes on leading what it decides by.
    assert_eq!(registry.groups()[&GroupId(0)].preferred, None);
    // Whoever leads meanwhile where it is said who should, that changes nothing.
    let said = |group: &GroupId| registry.groups()[group].preferred.is_some();
    let meanwhile = leaders
        .iter()
        .map(|(group, node)| (*group, if said(group) { id(3) } else { *node }));
    assert_eq!(registry.even_leads(GROUPS, &meanwhile.collect()), None);
}

#[test]
fn no_lead_is_moved_while_anything_else_is() {
    let (mut registry, group, from, to) = moving();
    let leaders: BTreeMap<_, _> = registry.groups().keys().map(|group| (*group, id(1))).collect();
    assert_eq!(registry.even_leads(GROUPS, &leaders), None);
    let back = Ask::Move {
        group,
        from: to,
        to: from,
    };
    ask(&mut registry, &back).unwrap();
    let voters = registry.groups()[&group].wanted.clone();
    report_of(&mut registry, group, &voters);
    assert!(registry.even_leads(GROUPS, &leaders).is_some());
    ask(&mut registry, &Ask::Drain { id: id(4) }).unwrap();
    assert_eq!(registry.even_leads(GROUPS, &leaders), None);
}

#[test]
fn the_last_node_stays() {
    let mut registry = founded(1);
    let refused = ask(&mut registry, &Ask::Drain { id: id(1) }).unwrap_err();
    assert_eq!(refused, Refusal::LastNode { id: id(1) });
    let force = Some("no more".to_owned());
    let refused = ask(&mut registry, &Ask::Remove { id: id(1), force }).unwrap_err();
    assert_eq!(refused, Refusal::LastNode { id: id(1) });
    assert!(matches!(
        ask(&mut registry, &Ask::Drain { id: id(9) }),
        Err(Refusal::NoNode { .. })
    ));
}

#[test]
fn a_replica_is_moved_where_that_makes_sense() {
    let mut registry = founded(4);
    settle(&mut registry);
    let (group, placement) = registry.groups().iter().next().unwrap();
    let (group, placement) = (*group, placement.clone());
    let from = *placement.placed.first().unwrap();
    let to = *registry.active().difference(&placement.placed).next().unwrap();
    let relocate = |from, to| Ask::Move { group, from, to };
    assert!(matches!(
        ask(&mut registry, &relocate(to, from)),
        Err(Refusal::NoMove { .. })
    ));
    assert!(matches!(
        ask(&mut registry, &relocate(from, from)),
        Err(Refusal::NoMove { .. })
    ));
    ask(&mut registry, &relocate(from, to)).unwrap();
    assert_eq!(
        ask(&mut registry, &relocate(from, to)),
        Err(Refusal::Moving { group })
    );
    let wanted = registry.groups()[&group].wanted.clone();
    assert!(wanted.contains(&to) && !wanted.contains(&from));
    // It stays there, however uneven that is, until somebody asks for evenness.
    report_of(&mut registry, group, &wanted);
    settle(&mut registry);
    assert_eq!(registry.groups()[&group].placed, wanted);
    ask(&mut registry, &Ask::Balance).unwrap();
    settle(&mut registry);
    let load = load(&registry);
    assert!(
        load.values().max().unwrap() - load.values().min().unwrap() <= 1,
        "{load:?}"
    );
}

#[test]
fn leaders_are_spread_over_the_voters() {
    let mut registry = founded(3);
    settle(&mut registry);
    assert_eq!(ask(&mut registry, &Ask::Balance), Ok(GROUPS as usize));
    let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
    for placement in registry.groups().values() {
        *leads.entry(placement.preferred.unwrap()).or_default() += 1;
    }
    assert_eq!(leads.values().copied().collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(ask(&mut registry, &Ask::Balance), Ok(0));
    // Who gives its replica away is preferred no more.
    ask(&mut registry, &Ask::Drain { id: id(1) }).unwrap();
    settle(&mut registry);
    let preferred = |placement: &Placement| placement.preferred == Some(id(1));
    assert!(!registry.groups().values().any(preferred));
}

#[test]
fn an_id_belongs_to_one_data_directory_for_ever() {
    let mut registry = founded(2);
    let Ask::Join {
        id,
        peer_address,
        client_address,
        ..
    } = join(2)
    else {
        unreachable!("join makes a join")
    };
    let other = Ask::Join {
        id,
        instance: "another".into(),
        peer_address,
        client_address,
        founded_at: None,
    };
    let refused = ask(&mut registry, &other).unwrap_err();
    assert!(matches!(refused, Refusal::IdTaken { .. }), "{refused}");
    assert_eq!(ask(&mut registry, &join(2)), Ok(0), "the same node, where it was");
    assert!(
        registry.admit(NodeId(7), "anything").is_ok(),
        "who is not known may ask"
    );
}

#[test]
fn a_node_that_has_moved_is_found_where_it_is() {
    let mut registry = founded(2);
    let moved = Ask::Join {
        id: id(2),
        instance: "instance-2".into(),
        peer_address: "elsewhere:1".into(),
        client_address: "elsewhere:2".into(),
        founded_at: None,
    };
    assert_eq!(ask(&mut registry, &moved), Ok(1));
    let node = registry.node(id(2)).unwrap();
    assert_eq!(
        (node.peer_address.as_str(), node.state),
        ("elsewhere:1", NodeState::Active)
    );
}

#[test]
fn a_record_of_another_version_changes_nothing() {
    let mut registry = founded(2);
    let before = registry.clone();
    let record = Record {
        version: registry.version() - 1,
        changes: registry.decide(&Ask::Drain { id: id(2) }).unwrap(),
    };
    assert!(!registry.apply(&record));
    assert_eq!(registry, before);
}

/// What the layer above keeps: the bytes it was given.
#[derive(Default)]
struct Above(Mutex<Vec<u8>>);

impl StateMachine for Above {
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        self.0.lock().extend_from_slice(entry.payload);
        Bytes::from_static(b"above")
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(Frozen(self.0.lock().clone()))
    }

    fn state_bytes(&self) -> u64 {
        0
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        let mut state = Vec::new();
        for chunk in chunks {
            state.extend_from_slice(&chunk.map_err(StateError::new)?);
        }
        *self.0.lock() = state;
        Ok(())
    }

    fn clear(&self) {
        self.0.lock().clear();
    }
}

struct Frozen(Vec<u8>);

impl Capture for Frozen {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        sink(&self.0)
    }
}

struct Meta {
    registry: SharedRegistry,
    above: Arc<Above>,
    machine: MetaMachine,
}

impl Meta {
    fn new() -> Self {
        let (registry, above) = (SharedRegistry::new(), Arc::new(Above::default()));
        let machine = MetaMachine::new(
            registry.clone(),
            Arc::clone(&above) as Arc<dyn StateMachine>,
            PROTOCOL_VERSION,
        );
        Self {
            registry,
            above,
            machine,
        }
    }

    fn apply(&self, payload: &[u8]) -> Bytes {
        self.machine.apply(Entry {
            index: 1,
            term: 1,
            payload: &Bytes::copy_from_slice(payload),
        })
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.machine.capture().write(&mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        written.unwrap();
        bytes
    }

    fn restore(bytes: &[u8], chunk: usize) -> Result<Self, StateError> {
        let meta = Self::new();
        let mut chunks = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        meta.machine.restore(&mut chunks).map(|()| meta)
    }
}

#[test]
fn the_registry_and_what_the_layer_above_keeps_do_not_get_in_each_other_s_way() {
    let meta = Meta::new();
    assert_eq!(meta.apply(b"\x08one"), "above");
    let record = Record {
        version: 0,
        changes: Registry::default().decide(&join(1)).unwrap(),
    };
    assert_eq!(
        Applied::of(&meta.apply(&encode_record(&record))),
        Some(Applied::Done)
    );
    assert_eq!(
        Applied::of(&meta.apply(&encode_record(&record))),
        Some(Applied::Conflict)
    );
    assert_eq!(meta.apply(b"\x08two"), "above");
    assert_eq!(*meta.above.0.lock(), b"\x08one\x08two");
    assert!(meta.registry.now().node(id(1)).is_some());

    let bytes = meta.snapshot();
    for chunk in [1, 7, 64, bytes.len()] {
        let restored = Meta::restore(&bytes, chunk).unwrap();
        assert_eq!(*restored.above.0.lock(), b"\x08one\x08two");
        assert_eq!(restored.registry.now(), meta.registry.now());
    }
    // Cut within the registry it is refused; behind that it is the layer above's to say.
    let registry = encode_snapshot(&meta.registry.now()).len();
    for end in 9..registry {
        assert!(
            Meta::restore(&bytes[..end], 16).is_err(),
            "{end} of {registry} bytes"
        );
    }
}

#[test]
fn without_a_registry_a_snapshot_is_what_it_always_was() {
    let meta = Meta::new();
    meta.apply(b"\x08one");
    assert_eq!(meta.snapshot(), b"\x08one");
    let restored = Meta::restore(b"\x08one", 2).unwrap();
    assert_eq!(*restored.above.0.lock(), b"\x08one");
    assert_eq!(*restored.registry.now(), Registry::default());
    Meta::restore(b"", 1).unwrap();
}

#[test]
fn bytes_of_a_newer_program_are_refused_and_not_guessed_at() {
    let record = Record {
        version: 0,
        changes: Registry::default().decide(&join(1)).unwrap(),
    };
    let good = encode_record(&record);
    let mut newer = good.clone();
    newer[8] = FORMAT + 1;
    assert!(
        decode_record(&newer)
            .unwrap_err()
            .to_string()
            .contains("newer program")
    );
    let mut more = good;
    // A field 15 that this program has never heard of.
    more.extend_from_slice(&[0x78, 1]);
    assert!(decode_record(&more).is_err());
    assert_eq!(decode_record(b"\x08anything").unwrap(), None);
}

/// What the first program with a registry wrote: a record that registers node 1.
const RECORD_1: &[u8] = b"\0registr\x01\x12\x13\x0a\x11\x08\x01\x12\x01i\x1a\x03a:1\x22\x03a:2\x28\x01";

/// And a snapshot: that node, and a group of which a replica is on its way.
const SNAPSHOT_1: &[u8] =
    b"\0registr\x01\x26\0\0\0\x08\x01\x10\x05\x1a\x11\x08\x01\x12\x01i\x1a\x03a:1\x22\x03a:2\x28\x01\
    \x22\x0d\x08\x01\x12\x02\x01\x02\x1a\x01\x01\x20\x02\x28\x01";

#[test]
fn the_bytes_of_format_1_never_change() {
    let node = RegisteredNode {
        instance: "i".into(),
        peer_address: "a:1".into(),
        client_address: "a:2".into(),
        state: NodeState::Joining,
        reason: String::new(),
    };
    let record = Record {
        version: 0,
        changes: vec![Change::Registered {
            id: id(1),
            node: node.clone(),
        }],
    };
    assert_eq!(decode_record(RECORD_1).unwrap(), Some(record.clone()));
    assert_eq!(encode_record(&record), RECORD_1);
    let placement = Placement {
        wanted: set(&[1, 2]),
        placed: set(&[1]),
        preferred: Some(id(2)),
        pinned: true,
    };
    let registry = Registry {
        version: 5,
        finalised: None,
        nodes: BTreeMap::from([(id(1), node)]),
        groups: BTreeMap::from([(GroupId(1), placement)]),
        ..Registry::default()
    };
    assert_eq!(decode_snapshot(&SNAPSHOT_1[13..]).unwrap(), registry);
    assert_eq!(encode_snapshot(&registry), SNAPSHOT_1);
}

/// What the first program wrote that could finalise a cluster: a record that does so at version 9.
const RECORD_2: &[u8] = b"\0registr\x02\x08\x04\x12\x04\x3a\x02\x08\x09";

/// And a snapshot of a node that stands alone, and was.
const SNAPSHOT_2: &[u8] = b"\0registr\x02\x06\0\0\0\x08\x02\x10\x05\x28\x09";

#[test]
fn the_bytes_of_format_2_never_change() {
    let record = Record {
        version: 4,
        changes: vec![Change::Finalised { version: 9 }],
    };
    assert_eq!(decode_record(RECORD_2).unwrap(), Some(record.clone()));
    assert_eq!(encode_record(&record), RECORD_2);
    let registry = Registry {
        version: 5,
        finalised: Some(9),
        ..Registry::default()
    };
    assert_eq!(decode_snapshot(&SNAPSHOT_2[13..]).unwrap(), registry);
    assert_eq!(encode_snapshot(&registry), SNAPSHOT_2);
}

/// What the first program wrote that knew of standbys: a record with each of what is new.
const RECORD_3: &[u8] =
    b"\0registr\x03\x08\x04\x12\x0b\x42\x09\x0a\x01s\x12\x01a\x22\x01k\x12\x05\x4a\x03\x0a\x01s\
    \x12\x0a\x52\x08\x08\x02\x12\x01b\x1a\x01s\x12\x04\x5a\x02\x08\x02";

/// And a snapshot of a cluster that took another's place, and has a standby, which took its own.
const SNAPSHOT_3: &[u8] =
    b"\0registr\x03\x1d\0\0\0\x08\x03\x10\x05\x28\x0a\x30\x02\x3a\x09\x0a\x01s\x12\x01a\x22\x01k\x42\x08\x08\x03\x12\x01b\x1a\x01s";

#[test]
fn the_bytes_of_format_3_never_change() {
    let standby = RegisteredStandby {
        id: "s".into(),
        address: "a".into(),
        ca: String::new(),
        secret: "k".into(),
    };
    let fence = |epoch| Fence {
        epoch,
        by: "b".into(),
        standby: "s".into(),
    };
    let record = Record {
        version: 4,
        changes: vec![
            Change::StandbyRegistered {
                standby: standby.clone(),
            },
            Change::StandbyForgotten { id: "s".into() },
            Change::Fenced { fence: fence(2) },
            Change::Promoted { epoch: 2 },
        ],
    };
    assert_eq!(decode_record(RECORD_3).unwrap(), Some(record.clone()));
    assert_eq!(encode_record(&record), RECORD_3);
    let registry = Registry {
        version: 5,
        finalised: Some(10),
        epoch: Some(2),
        standby: Some(standby),
        fenced: Some(fence(3)),
        ..Registry::default()
    };
    assert_eq!(decode_snapshot(&SNAPSHOT_3[13..]).unwrap(), registry);
    assert_eq!(encode_snapshot(&registry), SNAPSHOT_3);
}

#[test]
fn a_cluster_is_finalised_once_and_never_back_and_one_that_is_founded_says_where_it_begins() {
    let mut registry = Registry::default();
    let Ask::Join {
        id,
        instance,
        peer_address,
        client_address,
        ..
    } = join(1)
    else {
        unreachable!("join makes a join")
    };
    let founds = Ask::Join {
        id,
        instance,
        peer_address,
        client_address,
        founded_at: Some(9),
    };
    assert_eq!(ask(&mut registry, &founds), Ok(2));
    assert_eq!(registry.finalised(), Some(9));
    // Who comes later says nothing of it.
    assert_eq!(ask(&mut registry, &join(2)), Ok(1));
    assert_eq!(ask(&mut registry, &Ask::Finalize { version: 9 }), Ok(0));
    assert_eq!(ask(&mut registry, &Ask::Finalize { version: 8 }), Ok(0));
    assert_eq!(ask(&mut registry, &Ask::Finalize { version: 10 }), Ok(1));
    assert_eq!(registry.finalised(), Some(10));
    let bytes = encode_snapshot(&registry);
    assert_eq!(decode_snapshot(&bytes[13..]).unwrap(), registry);

    // A directory whose cluster has never said so is none that was just founded.
    let mut old = founded(1);
    assert_eq!(old.finalised(), None);
    assert_eq!(ask(&mut old, &Ask::Finalize { version: 9 }), Ok(1));
}

#[test]
fn a_registry_that_is_finalised_at_what_this_program_does_not_speak_stops_it_by_name() {
    let meta = Meta::new();
    let record = Record {
        version: 0,
        changes: vec![Change::Finalised {
            version: PROTOCOL_VERSION + 1,
        }],
    };
    let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        meta.apply(&encode_record(&record))
    }));
    assert!(applied.is_err() && meta.registry.now().finalised().is_none());
    let registry = Registry {
        finalised: Some(PROTOCOL_VERSION + 1),
        ..Registry::default()
    };
    let refused = Meta::restore(&encode_snapshot(&registry), 64)
        .map(drop)
        .unwrap_err();
    assert!(refused.to_string().contains("use the program"), "{refused}");
}

#[test]
fn a_snapshot_holds_everything() {
    let mut registry = founded(4);
    settle(&mut registry);
    ask(&mut registry, &Ask::Balance).unwrap();
    ask(
        &mut registry,
        &Ask::Remove {
            id: id(3),
            force: Some("gone".into()),
        },
    )
    .unwrap();
    let bytes = encode_snapshot(&registry);
    assert_eq!(decode_snapshot(&bytes[13..]).unwrap(), registry);
}

/// What `docs/scaling.md` reckons with.
#[test]
fn a_node_takes_some_hundred_bytes_of_the_registry_and_a_group_some_ten() {
    let bytes = |nodes| encode_snapshot(&founded(nodes)).len();
    let of_a_node = (bytes(1_064) - bytes(1_000)) / 64;
    let mut registry = founded(3);
    let without = encode_snapshot(&registry).len();
    for group in GROUPS..GROUPS + 64 {
        report(&mut registry, group, &[1, 2, 3]);
    }
    let of_a_group = (encode_snapshot(&registry).len() - without) / 64;
    let changes = registry.decide(&join(1_000)).unwrap();
    let record = Record {
        version: registry.version(),
        changes,
    };
    let of_a_record = encode_record(&record).len();
    println!("a node {of_a_node} bytes, a group {of_a_group}, the record of a join {of_a_record}");
    assert!((32..128).contains(&of_a_node), "{of_a_node}");
    assert!((8..32).contains(&of_a_group), "{of_a_group}");
    assert!((32..160).contains(&of_a_record), "{of_a_record}");
}

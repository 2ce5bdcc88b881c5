//! Plans, and that all of them are undone.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use super::*;
use crate::{
    Chance,
    history::net::{Link, Net, Who},
};

const NODES: [u8; 3] = [1, 2, 3];
/// All that needs no right.
const KINDS: [Kind; 13] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Split,
    Kind::Mute,
    Kind::Deaf,
    Kind::Flapping,
    Kind::LonelyLeader,
    Kind::Late,
    Kind::Lossy,
    Kind::NoRoom,
    Kind::ClockJump,
    Kind::Change,
    Kind::Move,
];

/// Nodes that do what they are told.
#[derive(Default)]
struct Nodes {
    dead: HashSet<u8>,
    paused: HashSet<u8>,
    told: Vec<&'static str>,
    clocks: BTreeMap<u8, i64>,
    limits: BTreeMap<u8, u64>,
    /// How many links are bad, whenever something is done to a process.
    bad_links: Vec<usize>,
    net: Option<Net>,
    /// The next kill fails.
    cannot_kill: bool,
}

impl Stage for Nodes {
    fn kill(&mut self, node: u8) -> Result<(), String> {
        self.told.push("kill");
        self.dead.insert(node);
        if self.cannot_kill {
            Err("no".into())
        } else {
            Ok(())
        }
    }

    async fn start(&mut self, node: u8) -> Result<(), String> {
        self.told.push("start");
        self.dead.remove(&node);
        Ok(())
    }

    fn pause(&mut self, node: u8) -> Result<(), String> {
        self.bad_links.extend(self.net.iter().map(|net| net.bad().len()));
        self.told.push("pause");
        self.paused.insert(node);
        Ok(())
    }

    fn resume(&mut self, node: u8) -> Result<(), String> {
        self.bad_links.extend(self.net.iter().map(|net| net.bad().len()));
        self.told.push("resume");
        self.paused.remove(&node);
        Ok(())
    }

    fn move_clock(&mut self, node: u8, by_ms: i64) -> Result<(), String> {
        self.told.push("clock");
        self.clocks.insert(node, by_ms);
        Ok(())
    }

    fn limit_files(&mut self, node: u8, bytes: Option<u64>) -> Result<(), String> {
        match bytes {
            Some(bytes) => drop(self.limits.insert(node, bytes)),
            None => drop(self.limits.remove(&node)),
        }
        Ok(())
    }

    async fn change(&mut self, _: u64) -> String {
        self.told.push("change");
        "a node joins".into()
    }

    async fn relocate(&mut self, _: u64) -> String {
        self.told.push("relocate");
        "a replica moves".into()
    }

    async fn leader(&mut self) -> Option<u8> {
        Some(2)
    }

    fn data(&self, _: u8) -> PathBuf {
        std::env::temp_dir()
    }
}

fn everything(_: Kind, _: u8) -> bool {
    true
}

#[test]
fn a_seed_repeats_its_rounds_and_every_kind_comes_before_any_comes_again() {
    let rounds = |seed| {
        let mut plan = Plan::new(seed, &KINDS);
        let rounds: Vec<Round> = (0..500).map(|_| plan.next(&NODES, everything).unwrap()).collect();
        rounds
    };
    let made = rounds(5);
    assert_eq!(made, rounds(5));
    assert_ne!(made, rounds(6));
    let kinds: Vec<Kind> = made
        .iter()
        .flat_map(|round| &round.faults)
        .map(|planned| planned.kind)
        .collect();
    for all in kinds.chunks_exact(KINDS.len()) {
        let different: HashSet<&Kind> = all.iter().collect();
        assert_eq!(different.len(), KINDS.len());
    }
    for round in &made {
        assert!((1..=TOGETHER_MAX as usize).contains(&round.faults.len()) && round.faults[0].after.is_zero());
        for planned in &round.faults {
            assert!((LASTS_MIN..=LASTS_MAX).contains(&planned.lasts), "{planned}");
        }
        let stopped: Vec<u8> = (round.faults.iter())
            .filter(|planned| planned.kind.stops_a_process())
            .map(|planned| planned.node)
            .collect();
        let different: HashSet<&u8> = stopped.iter().collect();
        assert_eq!(different.len(), stopped.len(), "{round:?}");
        let changes = round
            .faults
            .iter()
            .filter(|planned| planned.kind.changes_the_cluster());
        assert!(changes.count() <= 1, "{round:?}");
    }
    assert!(
        made.iter()
            .any(|round| round.faults.len() == TOGETHER_MAX as usize)
    );
}

#[test]
fn nothing_is_planned_for_whom_it_cannot_happen_to_and_nothing_without_nodes() {
    let mut plan = Plan::new(3, &[Kind::SlowDisk, Kind::FullDisk]);
    for _ in 0..100 {
        let round = plan
            .next(&NODES, |kind, node| (kind == Kind::FullDisk) == (node == 2))
            .unwrap();
        assert!(
            round
                .faults
                .iter()
                .all(|planned| (planned.kind == Kind::FullDisk) == (planned.node == 2))
        );
    }
    assert!(plan.next(&[], everything).is_none());
    assert!(Plan::new(3, &[]).next(&NODES, everything).is_none());
}

#[tokio::test(start_paused = true)]
async fn whatever_was_done_is_undone() {
    let (net, mut nodes) = (Net::new(9), Nodes::default());
    let (mut plan, mut chance) = (Plan::new(9, &KINDS), Chance::new(9, 1));
    for _ in 0..60 {
        let round = plan.next(&NODES, everything).unwrap();
        let line = run(&round, &NODES, &net, &mut nodes, &mut chance).await.unwrap();
        assert!(line.len() >= round.faults.len() && line.is_sorted_by_key(|happened| happened.at));
        assert!(
            net.bad().is_empty() && nodes.dead.is_empty() && nodes.paused.is_empty(),
            "{round:?}"
        );
        assert!(
            nodes.limits.is_empty() && nodes.clocks.values().all(|by_ms| *by_ms == 0),
            "{round:?}"
        );
        let lonely = line
            .iter()
            .find(|happened| happened.what.starts_with("LonelyLeader"));
        assert!(
            lonely.is_none_or(|lonely| lonely.what.contains("of node 2 ")),
            "{lonely:?}"
        );
    }
    let count = |what| nodes.told.iter().filter(|told| **told == what).count();
    assert!(count("kill") > 1 && count("change") > 1 && count("relocate") > 1 && count("clock") > 1);
    assert_eq!(count("pause"), count("resume"));
}

#[tokio::test(start_paused = true)]
async fn what_one_fault_cut_stays_cut_when_another_one_ends() {
    let ms = Duration::from_millis;
    let planned = |after, lasts, kind, node| Planned {
        after: ms(after),
        lasts: ms(lasts),
        kind,
        node,
    };
    let round = Round {
        calm: ms(10),
        faults: vec![
            planned(0, 1_000, Kind::Split, 1),
            planned(100, 300, Kind::Deaf, 2),
            planned(150, 200, Kind::Flapping, 3),
            planned(600, 100, Kind::Pause, 2),
        ],
    };
    let net = Net::new(1);
    let mut nodes = Nodes {
        net: Some(net.clone()),
        ..Nodes::default()
    };
    run(&round, &NODES, &net, &mut nodes, &mut Chance::new(1, 0))
        .await
        .unwrap();
    // Node 1 and two nodes and the clients, in both directions: while node 2 pauses, the other faults are over.
    assert_eq!(nodes.bad_links, [6, 6]);
    assert!(net.bad().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_is_told_and_all_is_undone() {
    let planned = |kind, node, after| Planned {
        after: Duration::from_millis(after),
        lasts: LASTS_MIN,
        kind,
        node,
    };
    let round = Round {
        calm: Duration::ZERO,
        faults: vec![
            planned(Kind::Pause, 1, 0),
            planned(Kind::Split, 2, 10),
            planned(Kind::Kill, 3, 20),
            planned(Kind::Mute, 1, 30),
        ],
    };
    let mut nodes = Nodes {
        cannot_kill: true,
        ..Nodes::default()
    };
    let net = Net::new(1);
    let told = run(&round, &NODES, &net, &mut nodes, &mut Chance::new(1, 1))
        .await
        .unwrap_err();
    assert_eq!(told, "Kill of node 3 for 800 ms: no");
    assert!(nodes.dead.is_empty() && nodes.paused.is_empty() && net.bad().is_empty());
}

#[tokio::test(start_paused = true)]
async fn five_nodes_fall_into_two_and_three() {
    let five = [1, 2, 3, 4, 5];
    let round = Round {
        calm: Duration::ZERO,
        faults: vec![Planned {
            after: Duration::ZERO,
            lasts: LASTS_MIN,
            kind: Kind::Halves,
            node: 5,
        }],
    };
    let (net, mut nodes) = (Net::new(1), Nodes::default());
    let watched = net.clone();
    let mut chance = Chance::new(1, 1);
    let look = async {
        tokio::time::sleep(LASTS_MIN / 2).await;
        watched.bad()
    };
    let (done, bad) = tokio::join!(run(&round, &five, &net, &mut nodes, &mut chance), look);
    done.unwrap();
    assert_eq!(bad.len(), 12);
    for (from, to) in bad.keys() {
        let is_small = |who: &Who| matches!(who, Who::Node(5 | 1));
        assert_ne!(is_small(from), is_small(to));
    }
    assert!(bad.values().all(|link| *link == Link::Cut));
}

#[test]
fn what_cannot_be_done_says_why() {
    let able = Able::of(1, &std::env::temp_dir(), false);
    let text = able.to_string();
    assert!(
        able.kinds.contains(&Kind::Kill) && !able.kinds.contains(&Kind::Split),
        "{text}"
    );
    assert!(
        text.contains("skipped: Split: one node has no links to others"),
        "{text}"
    );
    assert!(text.contains("skipped: ClockJump: "), "{text}");
    let able = Able::of(3, &std::env::temp_dir(), true);
    assert!(able.kinds.contains(&Kind::LonelyLeader) && able.kinds.contains(&Kind::ClockJump));
    assert!(!able.kinds.contains(&Kind::Halves) && able.kinds.contains(&Kind::Move));
}

#[test]
fn a_disk_is_slowed_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    drop(disk::Hog::begin(&data).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // The machine's own disk is never filled.
    if let Some(why) = disk::why_not_full(&data) {
        assert_eq!(disk::Ballast::fill(&data).unwrap_err(), why);
    } else {
        drop(disk::Ballast::fill(&data).unwrap());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_small_disk_is_filled_and_has_room_again() {
    let small = match disk::SmallDisk::new(1 << 20) {
        Ok(small) => small,
        Err(cause) => return println!("skipped: no disk can be mounted here: {cause}"),
    };
    let data = small.path().join("data");
    std::fs::create_dir(&data).unwrap();
    assert_eq!(disk::why_not_full(&data), None);
    let ballast = disk::Ballast::fill(&data).unwrap();
    let full = std::fs::write(data.join("more"), [0; 64 << 10]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(ballast);
    std::fs::write(data.join("more"), [0; 64 << 10]).unwrap();
    assert_eq!(disk::largest_file(&data), 64 << 10);
}

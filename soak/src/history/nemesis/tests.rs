//! Plans, and that all of them are undone.

use std::{collections::HashSet, path::PathBuf};

use super::*;

const NODES: [u8; 3] = [1, 2, 3];
/// All that needs no right.
const KINDS: [Kind; 9] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Split,
    Kind::Mute,
    Kind::Deaf,
    Kind::Flapping,
    Kind::LonelyLeader,
    Kind::Late,
    Kind::Lossy,
];

/// Nodes that do what they are told.
#[derive(Default)]
struct Nodes {
    dead: HashSet<u8>,
    paused: HashSet<u8>,
    told: Vec<&'static str>,
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

    async fn revive(&mut self, node: u8) -> Result<(), String> {
        self.start(node).await
    }

    fn pause(&mut self, node: u8) -> Result<(), String> {
        self.told.push("pause");
        self.paused.insert(node);
        Ok(())
    }

    fn resume(&mut self, node: u8) -> Result<(), String> {
        self.told.push("resume");
        self.paused.remove(&node);
        Ok(())
    }

    async fn leader(&mut self) -> Option<u8> {
        Some(2)
    }

    fn data(&self, _: u8) -> PathBuf {
        std::env::temp_dir()
    }
}

#[test]
fn a_seed_repeats_its_plan_and_every_kind_comes_before_any_comes_again() {
    let hour = Duration::from_secs(3_600);
    let made = plan(5, &NODES, &KINDS, hour);
    assert_eq!(made, plan(5, &NODES, &KINDS, hour));
    assert_ne!(made, plan(6, &NODES, &KINDS, hour));
    for round in made.chunks_exact(KINDS.len()) {
        let kinds: HashSet<Kind> = round.iter().map(|planned| planned.kind).collect();
        assert_eq!(kinds.len(), KINDS.len());
    }
    let all: Duration = made.iter().map(|planned| planned.calm + planned.lasts).sum();
    assert!(all <= hour && all > hour - Duration::from_secs(10), "{all:?}");
    assert!(
        made.iter()
            .all(|planned| (LASTS_MIN..=LASTS_MAX).contains(&planned.lasts))
    );
    assert!(plan(5, &[], &KINDS, hour).is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_was_done_is_undone() {
    let made = plan(9, &NODES, &KINDS, Duration::from_secs(120));
    let (net, mut nodes) = (Net::new(9), Nodes::default());
    let line = run(&made, &NODES, &net, &mut nodes, 9).await.unwrap();
    assert_eq!(line.len(), 2 * made.len());
    assert!(line.is_sorted_by_key(|happened| happened.at));
    assert!(net.bad().is_empty() && nodes.dead.is_empty() && nodes.paused.is_empty());
    let count = |what| nodes.told.iter().filter(|told| **told == what).count();
    assert!(count("kill") > 1 && count("pause") > 1);
    assert_eq!((count("kill"), count("pause")), (count("start"), count("resume")));
    let lonely = line
        .iter()
        .find(|happened| happened.what.starts_with("LonelyLeader"));
    assert!(lonely.unwrap().what.contains("of node 2 "), "{lonely:?}");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_is_told_and_undone() {
    let planned = Planned {
        calm: CALM,
        lasts: LASTS_MIN,
        kind: Kind::Kill,
        node: 3,
    };
    let mut nodes = Nodes {
        cannot_kill: true,
        ..Nodes::default()
    };
    let told = run(&[planned], &NODES, &Net::new(1), &mut nodes, 1)
        .await
        .unwrap_err();
    assert_eq!(told, "Kill of node 3 for 800 ms: no");
    assert!(nodes.dead.is_empty());
}

#[test]
fn what_cannot_be_done_says_why() {
    let able = Able::of(1, &std::env::temp_dir());
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
    assert!(
        Able::of(3, &std::env::temp_dir())
            .kinds
            .contains(&Kind::LonelyLeader)
    );
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

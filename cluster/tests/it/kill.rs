//! The rule of durability through the whole Raft path: acknowledged ⊆ recovered ⊆ submitted, in order, wherever the process dies and
//! whatever the disk makes of what was not synced.

use std::collections::HashSet;

use bytes::Bytes;
use docket_cluster::{Group, GroupId, NodeOptions};
use docket_persistence::mem::{Fault, Seeded};

use crate::machine::{Bed, Ledgers};

/// Seeds in an ordinary run; `DOCKET_SEEDS` sets another number, `DOCKET_SEED` a single seed.
const SEEDS: u64 = 60;
const LIVES: u64 = 3;
const GROUPS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_recovered_wherever_the_process_dies() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match number("DOCKET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DOCKET_SEEDS").unwrap_or(SEEDS),
    };
    let mut snapshots = 0;
    for seed in seeds {
        println!("DOCKET_SEED={seed}");
        snapshots += die_and_recover(seed).await;
    }
    // With a single seed there may be none.
    assert!(
        snapshots > 0 || number("DOCKET_SEED").is_some(),
        "no life was long enough for a snapshot"
    );
}

/// What one group's proposers know.
#[derive(Default)]
struct Known {
    submitted: HashSet<Bytes>,
    acknowledged: Vec<Bytes>,
}

/// Returns how many snapshots there were in the end.
async fn die_and_recover(seed: u64) -> u64 {
    let mut random = Seeded::new(seed);
    let bed = Bed::new();
    let options = NodeOptions {
        snapshot_bytes_min: 4096 << random.below(4),
        ..bed.options()
    };
    let mut known: Vec<Known> = (0..GROUPS).map(|_| Known::default()).collect();
    for life in 0..LIVES {
        let (node, ledgers) = bed.open(options.clone()).await;
        node.ready().await;
        check(seed, &known, &ledgers);
        bed.disk.inject(Fault::Kill {
            call: 1 + random.below(120),
            takes_effect: random.below(2) == 0,
        });
        let proposers = node.groups().iter().cloned().zip(known).map(|(group, known)| {
            let tag = format!("{seed}/{life}/{}", group.id());
            let pace = 1 + random.below(20) as usize;
            tokio::spawn(propose_until_it_dies(group, known, tag, pace))
        });
        known = Vec::new();
        for proposer in proposers.collect::<Vec<_>>() {
            known.push(proposer.await.unwrap());
        }
        node.shutdown().await.unwrap_err();
        if random.below(4) == 0 {
            bed.disk.restart_process()
        } else {
            bed.disk.restart_machine(random.draw())
        }
    }
    let (node, ledgers) = bed.open(options).await;
    node.ready().await;
    check(seed, &known, &ledgers);
    let snapshots = node.status().snapshots.snapshots;
    node.shutdown().await.unwrap();
    snapshots
}

/// Proposes some at a time until a proposal fails.
async fn propose_until_it_dies(group: Group, mut known: Known, tag: String, pace: usize) -> Known {
    for round in 0.. {
        let mut pending = Vec::new();
        for n in 0..pace {
            let mut payload = format!("{tag}/{round}/{n}/").into_bytes();
            payload.resize(payload.len() + (n * 97) % 900, b'.');
            let payload = Bytes::from(payload);
            known.submitted.insert(payload.clone());
            match group.submit(payload.clone()).await {
                Ok(proposal) => pending.push((payload, proposal)),
                Err(_) => return known,
            }
        }
        let mut died = false;
        for (payload, proposal) in pending {
            match proposal.await {
                Ok(_) => known.acknowledged.push(payload),
                Err(_) => died = true,
            }
        }
        if died {
            return known;
        }
    }
    known
}

#[track_caller]
fn check(seed: u64, known: &[Known], ledgers: &Ledgers) {
    for (number, known) in (0..).zip(known) {
        let recovered = ledgers.of(GroupId(number)).state().payloads;
        let place: std::collections::HashMap<_, _> = recovered.iter().zip(0..).collect();
        assert_eq!(
            place.len(),
            recovered.len(),
            "seed {seed}, group {number}: an entry is there twice"
        );
        for payload in &recovered {
            assert!(
                known.submitted.contains(payload),
                "seed {seed}, group {number}: {payload:?} out of nowhere"
            );
        }
        let mut last: Option<usize> = None;
        for payload in &known.acknowledged {
            let at: Option<usize> = place.get(payload).copied();
            assert!(
                at.is_some(),
                "seed {seed}, group {number}: {payload:?} was acknowledged and is lost"
            );
            assert!(
                at > last,
                "seed {seed}, group {number}: {payload:?} is out of order"
            );
            last = at;
        }
    }
}

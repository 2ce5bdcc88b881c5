//! Who leads a group, told late rather than early: a leader is announced once it has applied an entry of its own term, which its term
//! begins with and which everything that earlier terms committed precedes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Raft, ServerState};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apply::Applier;
use crate::following::PRIMARY;
use crate::posture::Hush;
use crate::progress::{Progress, Stop};
use crate::raft::TypeConfig;
use crate::{Leadership, NodeId};

/// Follows the Raft core until it ends. If it ends unasked, and not because its replica has `left`, the group has failed, and this is
/// where that is noticed. While the node leads nothing by its posture nobody does, as far as it tells.
pub(crate) fn follow(
    raft: &Raft<TypeConfig, Applier>,
    progress: Arc<Progress>,
    publish: watch::Sender<Leadership>,
    (left, hush): (Arc<AtomicBool>, Hush),
    stop: Stop,
) -> JoinHandle<()> {
    let mut server = raft.server_metrics();
    let mut applied_term = progress.applied_term();
    let mut hushed = hush.watch();
    let core = raft.metrics();
    tokio::spawn(async move {
        let mut led_term = 0;
        loop {
            let now = {
                let server = server.borrow_and_update();
                let applied = *applied_term.borrow_and_update();
                let term = server.vote.leader_id.term;
                progress.metrics.term.set(term as f64);
                if server.current_leader.is_some() && term > led_term {
                    led_term = term;
                    progress.metrics.elections.increment(1);
                }
                match server.state {
                    _ if *hushed.borrow_and_update() => Leadership::Follower { leader: None },
                    ServerState::Leader if applied == term => Leadership::Leader { term },
                    // Another node, or nobody yet that may be named.
                    _ => Leadership::Follower {
                        leader: server
                            .current_leader
                            .filter(|leader| *leader != server.id && *leader != PRIMARY)
                            .map(NodeId),
                    },
                }
            };
            publish.send_if_modified(|last| {
                let changed = *last != now;
                if changed {
                    progress.hold_nobody_back();
                    progress.metrics.leader_changes.increment(1);
                    progress
                        .metrics
                        .leader
                        .set(if matches!(now, Leadership::Leader { .. }) {
                            1.0
                        } else {
                            0.0
                        });
                    *last = now;
                }
                changed
            });
            let core_lives = tokio::select! {
                changed = server.changed() => changed.is_ok(),
                // The sender is the progress itself, which this task keeps alive.
                changed = applied_term.changed() => changed.is_ok(),
                changed = hushed.changed() => changed.is_ok(),
            };
            if !core_lives {
                break;
            }
        }
        let cause = match &core.borrow_watched().running_state {
            Err(fatal) => fatal.to_string(),
            Ok(()) => "its Raft core ended without a word: it panicked".to_owned(),
        };
        publish.send_replace(Leadership::Follower { leader: None });
        progress.metrics.leader.set(0.0);
        if !left.load(Ordering::SeqCst) {
            stop.fail(format!("{}: {cause}", progress.group).into());
        }
    })
}

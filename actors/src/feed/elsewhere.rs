//! Changes of shards that have no replica here: asked of who leads them, again and again, and answered to others.
//!
//! A question waits for an answer where there is nothing yet (`POLL`), so that a change is told at once and a quiet shard costs
//! a message in some seconds. It names positions, and what it gets moves the asker's: so it can be lost, or come twice, and be
//! asked of another node, and nothing is missed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::{Lane, Leader, NodeId, ShardId};
use docket_proto::{
    feed::{FeedFrom, FeedPosition},
    peer_call::{Changes, ChangesAsk, NoChanges, ShardChanges, kind},
};
use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::{sync::Notify, time::timeout_at};

use super::{
    Interest, WatchError,
    watching::{Filter, Room, are_distinct, read},
};
use crate::shard::{Router, Shard};

/// How long a node that is asked waits for changes.
const POLL: Duration = Duration::from_secs(2);
/// And at most, whatever it is asked.
const POLL_MAX: Duration = Duration::from_secs(10);
/// What an answer may take beside.
const ANSWER: Duration = Duration::from_secs(3);
/// When a node is asked again after one that could not be.
const AGAIN: Duration = Duration::from_millis(100);
/// Changes in one answer.
const CHANGES_MAX: usize = 256;

/// What was answered: for each cursor what its shard has, or `None` where nobody answered.
pub(super) struct Asked {
    pub(super) told: Vec<(usize, Option<ShardChanges>)>,
}

/// Asks who leads these shards for what comes in each behind a position: a question for each node.
pub(super) fn ask_elsewhere(
    router: Arc<Router>,
    from: Vec<(usize, Arc<Shard>, FeedPosition)>,
    filter: Filter,
    limit: usize,
) -> Vec<BoxFuture<'static, Asked>> {
    let (mut by_node, mut unknown) = (BTreeMap::<NodeId, Vec<_>>::new(), Vec::new());
    for (cursor, shard, at) in from {
        match router.node().leader_of(shard.group().id()) {
            Leader::Node { node, .. } => by_node.entry(node).or_default().push((cursor, shard, at)),
            Leader::Here | Leader::Unknown => unknown.push((cursor, shard)),
        }
    }
    let mut asked: Vec<BoxFuture<'static, Asked>> = Vec::new();
    if !unknown.is_empty() {
        let router = Arc::clone(&router);
        asked.push(
            async move {
                let shards = unknown.iter().map(|(_, shard)| shard);
                find_leaders(&router, shards).await;
                Asked {
                    told: unknown.into_iter().map(|(cursor, _)| (cursor, None)).collect(),
                }
            }
            .boxed(),
        );
    }
    for (node, from) in by_node {
        let shards = from.iter().map(|(_, shard, at)| (shard.id(), FeedFrom::At(*at)));
        let ask = ChangesAsk {
            shards: shards.map(|(id, from)| (ShardId::number(id), from)).collect(),
            customer: filter.customer.clone(),
            states: filter.states.clone(),
            limit,
            wait: POLL,
        };
        let router = Arc::clone(&router);
        asked.push(
            async move {
                let answer = ask_node(&router, node, ask, Instant::now() + POLL + ANSWER).await;
                let told = match answer {
                    Some(shards) => {
                        let of = from.iter().zip(shards);
                        of.map(|((cursor, ..), told)| (*cursor, Some(told))).collect()
                    }
                    None => {
                        tokio::time::sleep(AGAIN).await;
                        find_leaders(&router, from.iter().map(|(_, shard, _)| shard)).await;
                        from.iter().map(|(cursor, ..)| (*cursor, None)).collect()
                    }
                };
                Asked { told }
            }
            .boxed(),
        );
    }
    asked
}

/// Has it found out who leads these shards, for the next question: what was found is known for a while.
async fn find_leaders(router: &Router, shards: impl Iterator<Item = &Arc<Shard>>) {
    let deadline = Instant::now() + ANSWER;
    let find = shards.map(|shard| router.node().find_leader(shard.group().id(), deadline));
    if join_all(find).await.contains(&Leader::Unknown) {
        tokio::time::sleep(AGAIN).await;
    }
}

/// What a node answers, of each of the shards that were asked for in their order.
async fn ask_node(
    router: &Router,
    node: NodeId,
    ask: ChangesAsk,
    deadline: Instant,
) -> Option<Vec<ShardChanges>> {
    let asked: Vec<u16> = ask.shards.iter().map(|(shard, _)| *shard).collect();
    let call = (Lane::Request, kind::CHANGES);
    let answer = router.node().call(node, call, ask.encode(), deadline).await;
    let answer = answer.map_err(|error| error.to_string());
    let answer = answer.and_then(|answer| Changes::decode(answer).map_err(|error| error.to_string()));
    match answer {
        Ok(changes) if changes.shards.iter().map(|of| of.shard).eq(asked.iter().copied()) => {
            Some(changes.shards)
        }
        Ok(_) => {
            tracing::warn!(%node, "changes of other shards were answered than were asked for");
            None
        }
        Err(error) => {
            tracing::debug!(%node, %error, "changes were not answered");
            None
        }
    }
}

impl Router {
    /// Where watches of these shards begin, wherever their replicas are.
    pub(super) async fn begin_feed(
        &self,
        from: Vec<(Arc<Shard>, FeedFrom)>,
        deadline: Instant,
    ) -> Result<Vec<FeedPosition>, WatchError> {
        let begun = self.look_where_to_begin(from, deadline).await?;
        let begun = begun.into_iter().map(|position| {
            position.map_err(|why| match why {
                NoChanges::TooOld => WatchError::TooOld,
                NoChanges::Unknown => WatchError::Unknown,
            })
        });
        begun.collect()
    }

    /// The same, of each shard alone.
    pub(super) async fn look_where_to_begin(
        &self,
        from: Vec<(Arc<Shard>, FeedFrom)>,
        deadline: Instant,
    ) -> Result<Vec<Result<FeedPosition, NoChanges>>, WatchError> {
        let mut begun: Vec<Option<Result<FeedPosition, NoChanges>>> = vec![None; from.len()];
        let (mut here, mut elsewhere) = (Vec::new(), BTreeMap::<NodeId, Vec<_>>::new());
        for (i, (shard, at)) in from.iter().enumerate() {
            if self.is_read_here(shard) {
                here.push((i, (Arc::clone(shard), *at)));
                continue;
            }
            match self.node().find_leader(shard.group().id(), deadline).await {
                Leader::Node { node, .. } => {
                    let number = ShardId::number(shard.id());
                    elsewhere.entry(node).or_default().push((i, (number, *at)));
                }
                Leader::Here | Leader::Unknown => return Err(WatchError::Unavailable),
            }
        }
        let (at, of_here): (Vec<usize>, Vec<_>) = here.into_iter().unzip();
        for (i, position) in at
            .into_iter()
            .zip(self.begin_feed_here(&of_here, deadline).await?)
        {
            begun[i] = Some(position);
        }
        let asked = elsewhere.into_iter().map(|(node, of_node)| async move {
            let (at, shards): (Vec<usize>, Vec<_>) = of_node.into_iter().unzip();
            let ask = ChangesAsk {
                shards,
                customer: None,
                states: Vec::new(),
                limit: 0,
                wait: Duration::ZERO,
            };
            (at, ask_node(self, node, ask, deadline).await)
        });
        for (at, told) in join_all(asked).await {
            for (i, told) in at.into_iter().zip(told.ok_or(WatchError::Unavailable)?) {
                begun[i] = Some(told.next);
            }
        }
        begun
            .into_iter()
            .collect::<Option<_>>()
            .ok_or(WatchError::Unavailable)
    }

    /// Answers another node, which has no replica of these shards: this one has one of each, or the answer is an error.
    pub(crate) async fn answer_changes(
        &self,
        ask: ChangesAsk,
        deadline: Instant,
    ) -> Result<Changes, WatchError> {
        let numbers: Vec<u16> = ask.shards.iter().map(|(shard, _)| *shard).collect();
        if !are_distinct(&numbers, self.shards.len()) {
            return Err(WatchError::Unknown);
        }
        let from: Vec<(Arc<Shard>, FeedFrom)> = ask
            .shards
            .iter()
            .map(|(shard, from)| (Arc::clone(&self.shards[usize::from(*shard)]), *from))
            .collect();
        if !from.iter().all(|(shard, _)| self.is_read_here(shard)) {
            return Err(WatchError::Unavailable);
        }
        let begun = self.begin_feed_here(&from, deadline).await?;
        let slot = ask
            .customer
            .as_ref()
            .map(|customer| docket_cluster::slot_of(customer.as_str().as_bytes()).number());
        let filter = Filter {
            customer: ask.customer,
            slot,
            states: ask.states,
            hidden: false,
        };
        let mut told: Vec<ShardChanges> = numbers
            .into_iter()
            .zip(begun)
            .map(|(shard, next)| ShardChanges {
                shard,
                next,
                changes: Vec::new(),
            })
            .collect();
        let limit = ask.limit.min(CHANGES_MAX);
        let until = deadline.min(Instant::now() + ask.wait.min(POLL_MAX));
        let woken = Arc::new(Notify::new());
        let _interests: Vec<Interest> = match limit {
            0 => return Ok(Changes { shards: told }),
            _ => {
                let of = from.iter().map(|(shard, _)| shard.committed().clone());
                of.map(|of| Interest::new(of, filter.of_slot(), Arc::clone(&woken)))
                    .collect()
            }
        };
        loop {
            let (mut room, mut more, mut any) = (Room::new(limit), false, false);
            for ((shard, _), told) in from.iter().zip(&mut told) {
                let Ok(at) = told.next else { continue };
                if room.is_full() {
                    more = true;
                    break;
                }
                match read(shard.committed(), at, &filter, &mut room) {
                    Ok(Some(found)) => {
                        any |= !found.changes.is_empty();
                        more |= found.more;
                        told.next = Ok(found.next);
                        let changes = found.changes.into_iter();
                        told.changes
                            .extend(changes.map(|change| (change.change, change.order)));
                    }
                    Ok(None) => return Err(WatchError::Unavailable),
                    Err(WatchError::TooOld) => told.next = Err(NoChanges::TooOld),
                    Err(error) => return Err(error),
                }
            }
            if any || told.iter().any(|told| told.next.is_err()) || Instant::now() >= until {
                return Ok(Changes { shards: told });
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            let _ = timeout_at(until.into(), woken.notified()).await;
        }
    }
}

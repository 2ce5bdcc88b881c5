//! What is asked of other nodes: an item, whether orders exist, what is reserved.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use docket_cluster::{Group, GroupId, Lane, Leader, Leadership, NodeId, ReadError};
use docket_engine::{Order, Sku};
use docket_proto::{
    peer::StepFailure,
    peer_call::{
        RESERVATIONS_MAX, Reservation, Step, StepAction, StepAnswer, decode_orphaned, encode_look,
        encode_wanted, kind,
    },
};
use docket_traces::Kind;
use futures::future::join_all;

use crate::{
    reply::{Answered, Ask, Failure, StepError},
    shard::{Router, Shard},
    traced,
};

/// How long a step waits for its answer before its order asks again.
const STEP_MAX: Duration = Duration::from_secs(5);
/// How long the chores wait for another node.
const CHORE_MAX: Duration = Duration::from_secs(2);

impl Router {
    /// Asks an item whose shard is not led here, and has the order answered.
    pub(crate) fn ask_elsewhere(self: &Arc<Self>, shard: &Shard, ask: Ask, sku: Sku, action: StepAction) {
        let Leader::Node { node, term } = self.leader(shard) else {
            return self.look_for_leader(shard, ask);
        };
        let order = ask.order();
        let step = Step {
            term,
            order,
            sku,
            edits: ask.edits(),
            knows_waiting: true,
            only_there: ask.is_only_there(),
            action,
        };
        let (router, group) = (Arc::clone(self), shard.group().clone());
        let span = ask.scope().map(|scope| {
            let mut span = scope.child(traced::STEP, Kind::Client);
            span.set(traced::SHARD, traced::shard_of(shard));
            span.set(traced::PEER, node.0 as i64);
            if let Some(address) = self.node().address_of(node) {
                span.calls(&address);
            }
            span
        });
        tokio::spawn(async move {
            let answer = tokio::select! {
                answer = router.step(node, step.encode()) => answer,
                // Who led may be gone without a word; the order asks the next one.
                () = led_otherwise(group, node) => Err(StepError::Failed(Failure::Unknown)),
            };
            if matches!(answer, Err(StepError::Failed(Failure::Unknown))) {
                // What is done there later, if it is, may find no order that wants it.
                router.needs_reconciling();
            }
            if let Some(span) = span {
                traced::end_step(span, &answer);
            }
            ask.answer(answer);
        });
    }

    /// Has the order ask again, once it is looked for who leads where that is to be asked of others.
    fn look_for_leader(self: &Arc<Self>, shard: &Shard, ask: Ask) {
        let (router, group) = (Arc::clone(self), shard.group().id());
        if !router.node().has_peers() || router.node().has_replica(group) {
            return ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
        tokio::spawn(async move {
            router.node().find_leader(group, Instant::now() + CHORE_MAX).await;
            ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        });
    }

    /// Where a shard is led.
    pub(crate) fn leader(&self, shard: &Shard) -> Leader {
        self.node().leader_of(shard.group().id())
    }

    async fn step(&self, node: NodeId, step: Bytes) -> Answered {
        let deadline = Instant::now() + STEP_MAX;
        let answer = self
            .node()
            .call(node, (Lane::Step, kind::STEP), step, deadline)
            .await;
        let answer = answer.map_err(|error| {
            tracing::debug!(%error, "an item was not asked");
            StepError::Failed(match error.may_be_done() {
                true => Failure::Unknown,
                false => Failure::NotLeader,
            })
        })?;
        match StepAnswer::decode(answer) {
            Ok(StepAnswer::Done(waiting)) => Ok(waiting),
            Ok(StepAnswer::Rejected(rejection)) => Err(StepError::Rejected(rejection)),
            Ok(StepAnswer::Failed(failure)) => Err(StepError::Failed(match failure {
                StepFailure::Unknown => Failure::Unknown,
                StepFailure::Gone => Failure::Gone,
                StepFailure::Panicked => Failure::Panicked,
                StepFailure::Conflict => Failure::Conflict,
                StepFailure::NotLeader => Failure::NotLeader,
            })),
            Err(error) => {
                tracing::warn!(%node, %error, "an item's answer is not understood");
                Err(StepError::Failed(Failure::Unknown))
            }
        }
    }

    /// Pending orders as whoever asks is told of them, where it takes a look at items that are led elsewhere.
    ///
    /// # Errors
    /// Who leads an item's shard, or an order's, cannot be asked.
    pub(crate) async fn confirmed_elsewhere(
        &self,
        orders: Vec<Arc<Order>>,
        deadline: Instant,
    ) -> Result<Vec<Arc<Order>>, ReadError> {
        let drops = self.drops();
        let missing = |order: &Order| {
            let lines = order.lines.iter().filter(|line| !self.has_all(order, line));
            lines
                .map(|line| self.of_key(line.sku.as_str()).group().id())
                .collect::<Vec<_>>()
        };
        let items: BTreeSet<GroupId> = orders.iter().flat_map(|order| missing(order)).collect();
        self.node().read_barrier(items, deadline).await?;
        let reserved: Vec<bool> = self
            .steadily(deadline, || {
                let all = |order: &Arc<Order>| order.lines.iter().all(|line| self.has_all(order, line));
                orders.iter().map(all).collect()
            })
            .await?;
        // One that is not reserved may have ended since it was read, and given back what it had: then it says so itself. If it is still
        // pending, then it was when its items were looked at, and they had given nothing back.
        let homes: BTreeSet<GroupId> = orders
            .iter()
            .zip(&reserved)
            .filter(|(_, reserved)| !**reserved)
            .filter_map(|(order, _)| Some(self.of_order(order.id)?.group().id()))
            .collect();
        self.node().read_barrier(homes, deadline).await?;
        let shown = self.steadily(deadline, || {
            let shown = |(order, reserved): (&Arc<Order>, &bool)| match *reserved {
                true => Arc::new(order.confirmed()),
                false => self.now(Arc::clone(order)),
            };
            orders.iter().zip(&reserved).map(shown).collect()
        });
        let shown = shown.await?;
        self.nothing_dropped_since(drops)?;
        Ok(shown)
    }

    /// What a look finds while no shard's state is being replaced.
    ///
    /// # Errors
    /// One is for longer than until the deadline.
    pub(crate) async fn steadily<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut() -> T,
    ) -> Result<T, ReadError> {
        loop {
            let before = self.restores();
            let found = look();
            if before.is_some() && before == self.restores() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(ReadError::NotLeader { leader: None });
            }
            tokio::time::sleep(RESTORE_POLL).await;
        }
    }

    /// How often replicas were dropped here.
    pub(crate) fn drops(&self) -> u64 {
        self.shards.iter().map(|shard| shard.committed().drops()).sum()
    }

    /// Whether what a look has found is to be believed, where it was first asked whether there are replicas here, and how many had been
    /// dropped by then: a replica that is dropped behind a read check is empty, and as steady as any.
    ///
    /// # Errors
    /// One was dropped meanwhile.
    pub(crate) fn nothing_dropped_since(&self, drops: u64) -> Result<(), ReadError> {
        match self.drops() == drops {
            true => Ok(()),
            false => Err(ReadError::NotLeader { leader: None }),
        }
    }

    /// How often the states of all shards were replaced; `None` while one is.
    pub(crate) fn restores(&self) -> Option<u64> {
        self.shards
            .iter()
            .map(|shard| shard.committed().restores())
            .sum::<Option<u64>>()
    }

    /// Which of these reservations nothing wants, and nothing will: asks who leads the orders' shards, where that is not this node.
    pub(crate) async fn orphaned_elsewhere(&self, suspects: Vec<Reservation>) -> Vec<Reservation> {
        let mut by_node = BTreeMap::<NodeId, Vec<Reservation>>::new();
        for suspect in suspects {
            let home = self.of_order(suspect.order);
            if let Some(Leader::Node { node, .. }) = home.map(|home| self.leader(home)) {
                by_node.entry(node).or_default().push(suspect);
            }
        }
        let asked = by_node
            .iter()
            .flat_map(|(node, suspects)| suspects.chunks(RESERVATIONS_MAX).map(|some| (*node, some)))
            .map(|(node, suspects)| async move {
                let deadline = Instant::now() + CHORE_MAX;
                let call = (Lane::Step, kind::WANTED);
                let answer = self
                    .node()
                    .call(node, call, encode_wanted(suspects), deadline)
                    .await;
                // Where there is no answer it is asked again with the next look.
                let orphaned = decode_orphaned(answer.ok()?, suspects.len()).ok()?;
                let orphans = suspects.iter().zip(orphaned).filter(|(_, orphaned)| *orphaned);
                Some(orphans.map(|(suspect, _)| suspect.clone()).collect::<Vec<_>>())
            });
        let found = join_all(asked).await;
        found.into_iter().flatten().flatten().collect()
    }

    /// Tells the nodes that lead shards that reservations without an order may have been left with their items.
    pub(crate) async fn tell_peers_to_look(&self) {
        let leaders: BTreeSet<NodeId> = self
            .shards
            .iter()
            .filter_map(|shard| match self.leader(shard) {
                Leader::Node { node, .. } => Some(node),
                Leader::Here | Leader::Unknown => None,
            })
            .collect();
        let told = leaders.into_iter().map(|node| async move {
            let deadline = Instant::now() + CHORE_MAX;
            let call = (Lane::Step, kind::LOOK);
            self.node()
                .call(node, call, encode_look(), deadline)
                .await
                .is_ok()
        });
        if !join_all(told).await.into_iter().all(|told| told) {
            self.tell_peers_again();
        }
    }
}

/// Returns when somebody else leads a group than this node, and whoever waits for an answer of it has waited for a while longer.
pub(super) async fn led_otherwise(group: Group, node: NodeId) {
    if !group.follows(node) {
        // Nothing is heard here of who leads.
        return std::future::pending().await;
    }
    let other = |now: &Leadership| *now != Leadership::Follower { leader: Some(node) };
    let changed = group.leadership().wait_for(other).await.is_ok();
    if !changed {
        // The group has ended: the answer says so, or its time.
        return std::future::pending().await;
    }
    tokio::time::sleep(ANSWER_GRACE).await;
}

/// How long an answer may still come from a node that does not lead any more.
pub const ANSWER_GRACE: Duration = Duration::from_millis(250);
/// How often it is looked whether a state has been replaced.
const RESTORE_POLL: Duration = Duration::from_millis(5);

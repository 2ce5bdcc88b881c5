//! What a node shows of itself: metrics, once a second, and its status.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docket_cluster::{GroupId, Leader, NodeStatus as ClusterStatus, Posture, clock::wall_clock};

use crate::{
    Docket,
    docket::Inner,
    host::Entity,
    residents::Residents,
    scrub::ScrubStatus,
    shard::{Shard, kind},
    stuck,
    verify::VerifyStatus,
};

/// How a node is.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Since when it runs.
    pub started: SystemTime,
    /// How long it has been running.
    pub uptime: Duration,
    /// Why it is not ready; empty when it is.
    pub reasons: Vec<String>,
    /// Its groups and its journal.
    pub cluster: ClusterStatus,
    /// Bytes of resident memory; 0 where the system does not tell.
    pub memory_bytes: u64,
    /// What it holds.
    pub entities: EntityStatus,
    /// Whether its books agree.
    pub books: VerifyStatus,
    /// Whether what it has stored is what was written.
    pub scrub: ScrubStatus,
}

/// What a node holds in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntityStatus {
    /// Committed orders.
    pub orders: u64,
    /// Committed customers.
    pub customers: u64,
    /// Committed items.
    pub items: u64,
    /// Actors that run now.
    pub actors: u64,
    /// Orders that are not settled.
    pub open_orders: u64,
    /// Orders that are in the archive.
    pub archived_orders: u64,
    /// Calls in flight.
    pub calls: u64,
}

impl Docket {
    /// How the node is.
    pub fn status(&self) -> NodeStatus {
        let inner = &self.inner;
        NodeStatus {
            started: inner.started,
            uptime: wall_clock().duration_since(inner.started).unwrap_or_default(),
            reasons: self.not_ready(),
            cluster: inner.node.status(),
            memory_bytes: memory_bytes(),
            entities: entities(inner),
            books: self.verified(),
            scrub: self.scrubbed(),
        }
    }

    /// Why the node does not serve; empty when it does.
    pub fn not_ready(&self) -> Vec<String> {
        let inner = &self.inner;
        let mut reasons = Vec::new();
        if inner.closing.is_cancelled() {
            reasons.push("the node is stopping".to_owned());
        }
        if let Some(posture) = inner.node.leads_nothing_by() {
            reasons.push(match &*posture {
                Posture::Standby { of } => format!("standby: it follows the cluster at {of}"),
                Posture::Asking { standby } => {
                    format!("asking: its standby at {standby} may have taken its place")
                }
                Posture::Fenced { epoch, by } => {
                    format!("fenced: {by} has taken its place, in epoch {epoch}")
                }
                Posture::Open => "about to lead".to_owned(),
            });
            return reasons;
        }
        // Among peers it is enough to hear who leads.
        let alone = !self.has_peers();
        let led = inner.node.led_groups();
        if !led.contains(&GroupId::META) && (alone || inner.node.has_replica(GroupId::META)) {
            reasons.push(self.unled(GroupId::META, "the meta group", false));
        }
        for shard in &inner.router.shards {
            let id = shard.group().id();
            let serves = match inner.node.leader_of(id) {
                Leader::Node { .. } => !alone,
                Leader::Here | Leader::Unknown => shard.is_leading(),
            };
            let is_here = alone || inner.node.has_replica(id);
            if is_here && !(serves && led.contains(&id)) {
                reasons.push(self.unled(id, &format!("shard {}", shard.id()), led.contains(&id)));
            }
        }
        let failed = inner.node.status().failed;
        reasons.extend(failed.map(|reason| format!("the node has failed: {reason}")));
        reasons
    }

    /// Why a group is not served: as who reads it beside the leader that was last heard of understands it.
    fn unled(&self, group: GroupId, name: &str, is_led: bool) -> String {
        match self.inner.node.leader_of(group) {
            Leader::Here if is_led => format!("{name} is led here and not served yet"),
            // It goes on taking itself for the leader.
            Leader::Here => format!("{name} is led here, and not enough of its replicas answer"),
            Leader::Node { node, .. } if self.has_peers() => {
                format!("{name} was last led by node {node}, which is not heard from")
            }
            Leader::Node { .. } | Leader::Unknown => format!("{name} has no leader here"),
        }
    }
}

fn entities(inner: &Inner) -> EntityStatus {
    let mut entities = EntityStatus {
        calls: inner.admission.calls() as u64,
        ..EntityStatus::default()
    };
    for shard in &inner.router.shards {
        // What a replica that was moved away has left behind is nobody's.
        if inner.node.has_peers() && !inner.node.has_replica(shard.group().id()) {
            continue;
        }
        let committed = shard.committed();
        entities.orders += committed.orders.len() as u64;
        entities.customers += committed.customers.len() as u64;
        entities.items += committed.items.len() as u64;
        entities.actors += shard.active() as u64;
        entities.archived_orders += committed.archive.count();
        entities.open_orders += committed.order_index.read().open_len() as u64;
    }
    entities
}

/// Sets the gauges and adds up the counters of one round.
pub(crate) fn round(inner: &Arc<Inner>) {
    let entities = entities(inner);
    metrics::gauge!("docket_orders").set(entities.orders as f64);
    metrics::gauge!("docket_orders_open").set(entities.open_orders as f64);
    metrics::gauge!("docket_orders_archived").set(entities.archived_orders as f64);
    metrics::gauge!("docket_customers").set(entities.customers as f64);
    metrics::gauge!("docket_items").set(entities.items as f64);
    let requests = inner
        .router
        .shards
        .iter()
        .map(|shard| shard.committed().requests.len());
    metrics::gauge!("docket_requests").set(requests.sum::<usize>() as f64);
    metrics::counter!("docket_poison_commands_total").increment(0);
    inner.node.measure();
    stuck::measure(inner);
    let (mut due, mut declined, mut planned) = (0, 0, 0);
    for shard in inner.router.shards.iter().filter(|shard| shard.is_leading()) {
        let index = shard.committed().order_index.read();
        due += index.paying_len();
        declined += index.declined_len();
        planned += index.plans_len();
    }
    metrics::gauge!("docket_payments_due").set(due as f64);
    metrics::gauge!("docket_payments_declined").set(declined as f64);
    metrics::gauge!("docket_fulfilments_open").set(planned as f64);
    metrics::gauge!("docket_calls_in_flight").set(entities.calls as f64);
    metrics::gauge!("docket_process_resident_memory_bytes").set(memory_bytes() as f64);
    count(inner, Shard::orders);
    count(inner, Shard::customers);
    count(inner, Shard::items);
}

fn count<E: Entity>(inner: &Inner, of: impl Fn(&Shard) -> &Residents<E>) {
    let (mut active, mut started, mut passivated) = (0, 0, 0);
    for shard in &inner.router.shards {
        let residents = of(shard);
        let counts = residents.take_counts();
        active += residents.active();
        started += counts.0;
        passivated += counts.1;
    }
    metrics::gauge!("docket_actors", "kind" => kind::<E>()).set(active as f64);
    metrics::counter!("docket_actors_started_total", "kind" => kind::<E>()).increment(started);
    metrics::counter!("docket_actors_passivated_total", "kind" => kind::<E>()).increment(passivated);
    // There from the start: of a counter that begins with 1 nobody sees that it grew.
    metrics::counter!("docket_actor_panics_total", "kind" => kind::<E>()).increment(0);
}

/// Describes this crate's metrics.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "docket_access_conflicts_total",
        Unit::Count,
        "Changes of accounts, sessions or keys that were decided again after a change of leader."
    );
    describe_counter!(
        "docket_steering_conflicts_total",
        Unit::Count,
        "Changes of flags or limits that were decided again after a change of leader."
    );
    describe_gauge!("docket_orders", Unit::Count, "Committed orders in memory.");
    describe_gauge!(
        "docket_orders_open",
        Unit::Count,
        "Orders that are not settled yet."
    );
    describe_gauge!(
        "docket_orders_archived",
        Unit::Count,
        "Orders that are over and in the archive, out of memory."
    );
    describe_gauge!("docket_customers", Unit::Count, "Committed customers in memory.");
    describe_gauge!("docket_items", Unit::Count, "Committed items in memory.");
    describe_gauge!(
        "docket_requests",
        Unit::Count,
        "Requests that are remembered, to answer repeats."
    );
    describe_counter!(
        "docket_requests_forgotten_early_total",
        Unit::Count,
        "Requests forgotten before 24 hours were over, since there were too many."
    );
    describe_gauge!(
        "docket_calls_in_flight",
        Unit::Count,
        "Writes that were admitted and not answered yet."
    );
    describe_gauge!(
        "docket_process_resident_memory_bytes",
        Unit::Bytes,
        "Resident memory of the process."
    );
    describe_gauge!(
        "docket_actors",
        Unit::Count,
        "Actors that have an identity, by kind."
    );
    describe_counter!(
        "docket_actors_started_total",
        Unit::Count,
        "Identities assumed by actors, by kind."
    );
    describe_counter!(
        "docket_actors_passivated_total",
        Unit::Count,
        "Identities given up by actors, by kind."
    );
    describe_counter!(
        "docket_actor_panics_total",
        Unit::Count,
        "Actors that panicked and were rebuilt, by kind."
    );
    describe_counter!(
        "docket_archive_unreadable_total",
        Unit::Count,
        "Looks of watches that ended at an order which the archive could not give back."
    );
    describe_counter!(
        "docket_poison_commands_total",
        Unit::Count,
        "Commands given up because they panic."
    );
    describe_counter!(
        "docket_shard_conflicts_total",
        Unit::Count,
        "Records refused because their version did not fit."
    );
    describe_histogram!(
        "docket_shard_batch_records",
        Unit::Count,
        "Decisions gathered into one log entry."
    );
    describe_counter!(
        "docket_fraud_holds_total",
        Unit::Count,
        "Orders held for review as they were confirmed or came to cost more, since their score was too high."
    );
    describe_gauge!(
        "docket_payments_due",
        Unit::Count,
        "Orders of shards led here whose payment provider is to be asked something."
    );
    describe_gauge!(
        "docket_payments_declined",
        Unit::Count,
        "Orders of shards led here of which their payment provider has declined something that a person is to look at."
    );
    describe_gauge!(
        "docket_fulfilments_open",
        Unit::Count,
        "Fulfilments of orders of shards led here that somebody has planned, and neither sent nor given up."
    );
    describe_counter!(
        "docket_payments_total",
        Unit::Count,
        "Questions to payment providers, by provider and outcome."
    );
    describe_histogram!(
        "docket_payment_seconds",
        Unit::Seconds,
        "How long payment providers took to settle a question, by provider."
    );
    describe_counter!(
        "docket_shipments_not_there_total",
        Unit::Count,
        "Shipments of which an item had less than its order knew: an invariant is broken, and a person is to look."
    );
    describe_counter!(
        "docket_orders_rejected_total",
        Unit::Count,
        "Orders that this node settled as rejected, by the reason that their callers were told."
    );
    describe_counter!(
        "docket_orders_settled_total",
        Unit::Count,
        "Orders settled by this node, by outcome."
    );
    stuck::describe_metrics();
    crate::chaos::describe_metrics();
    crate::scrub::describe_metrics();
    crate::verify::describe_metrics();
}

/// Resident bytes of this process: the second field of `/proc/self/statm`, in pages of 4 KiB.
fn memory_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or_default()
        * 4_096
}

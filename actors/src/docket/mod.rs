//! The handle through which a node's orders, customers and items are used: what it is made of, and what all its methods
//! share. They are in `opening` (the start and the end), `orders`, `customers` and `items` (the commands, which all go
//! through `command`) and `reading`.

mod batch;
mod command;
mod customers;
mod editing;
mod items;
mod life;
mod membership;
mod opening;
mod order_pages;
mod orders;
mod pages;
mod placing;
mod reading;

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use docket_cluster::{Leadership, Node, clock::CausalClock};
use docket_engine::{CustomerId, FraudRules, OrderId, PackedOrigin, Rejection, Time};
use docket_persistence::archive::Archive;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    AgingOptions, Call, CallError,
    access::Access,
    admission::Admission,
    chaos::Chaos,
    chores,
    feed::FeedLimits,
    machine::KnownIds,
    payments::Payments,
    peers::{Answering, ClientAddresses},
    scrub::{ScrubOptions, Scrubs},
    shard::{ActorLimits, Router, Shard},
    standby::StandbyControl,
    steering::Steering,
    verify::{Verifications, VerifyOptions},
    webhooks::Webhooks,
};

pub(crate) use command::PANICS_MAX;
pub use customers::NewCustomer;
pub use items::NewItem;
pub(crate) use life::HOLDS_SINCE;
pub use life::Shipment;
pub use opening::{ArchiveEngine, BeforeDecision, Interfere, OpenError, Options};
pub use orders::PlaceOrder;
pub use placing::Placing;

/// With so many commands in flight a machine of a few cores has nothing to spare.
pub(crate) const AT_WORK_CALLS: usize = 32;
/// What a client is told to wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A node of Docket. Clones are the same node.
#[derive(Clone)]
pub struct Docket {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    access: Access,
    webhooks: Webhooks,
    steering: Steering,
    pub(crate) node: Node,
    ids: KnownIds,
    /// What records are stamped with.
    pub(crate) clock: CausalClock,
    pub(crate) router: Arc<Router>,
    pub(crate) answering: Arc<Answering>,
    pub(crate) client_addresses: OnceLock<Arc<ClientAddresses>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) actors: ActorLimits,
    pub(crate) feed: FeedLimits,
    pub(crate) started: SystemTime,
    pub(crate) closing: CancellationToken,
    payments: Arc<Payments>,
    pub(crate) aging: RwLock<AgingOptions>,
    archive: Archive,
    fraud: Arc<ArcSwapOption<FraudRules>>,
    /// The one turn to verify the books.
    pub(crate) verifying: Arc<Semaphore>,
    pub(crate) verifications: Verifications,
    /// How it verifies by itself.
    pub(crate) verify: watch::Sender<VerifyOptions>,
    pub(crate) scrubs: Scrubs,
    pub(crate) chaos: Arc<Chaos>,
    /// Makes order ids unique: random bits of this process above a counter.
    unique: AtomicU64,
    unique_prefix: u64,
    /// Who follows another cluster, where this one does.
    pub(crate) standby: OnceLock<Arc<dyn StandbyControl>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Docket {
    /// Accounts, sessions and keys.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// Who is told of changes of orders on HTTP.
    pub fn webhooks(&self) -> &Webhooks {
        &self.inner.webhooks
    }

    /// Feature flags, and limits of single callers.
    pub fn steering(&self) -> &Steering {
        &self.inner.steering
    }

    /// What time it is: never before anything that this node has stamped, applied or heard of.
    pub fn now(&self) -> Time {
        Time(self.inner.clock.now_us())
    }

    /// Who leads the meta group, now and from now on: that node delivers to webhooks.
    pub fn meta_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.node.meta().leadership()
    }

    /// Has orders be closed and archived as this says from now on.
    pub fn set_aging(&self, aging: AgingOptions) {
        *self.inner.aging.write() = aging;
    }

    /// Has orders be held by these rules from now on, or by none.
    pub fn set_fraud_rules(&self, rules: Option<FraudRules>) {
        self.inner.fraud.store(rules.map(Arc::new));
    }

    /// Has orders wait for their payment so long from now on, and so many steps be asked of a provider at once, for each shard.
    pub fn set_payment_bounds(&self, authorize_within: Duration, at_once: usize) {
        self.inner.payments.set_bounds(authorize_within, at_once);
    }

    /// Sends other nodes snapshots, and the log to replicas that only catch up, at so many bytes a second from now on; 0 for no bound.
    pub fn set_snapshot_pace(&self, bytes_per_second: u64) {
        self.inner.node.set_snapshot_pace(bytes_per_second);
    }

    /// Verifies by itself as this says from now on. What is going on goes on.
    pub fn set_verify(&self, options: VerifyOptions) {
        self.inner.verify.send_replace(options);
    }

    /// Reads what it has stored by itself as this says from now on.
    pub fn set_scrub(&self, options: ScrubOptions) {
        self.inner.scrubs.set(options);
    }

    /// Whether so many commands are in flight that what can wait should.
    pub fn is_at_work(&self) -> bool {
        self.inner.admission.calls() >= AT_WORK_CALLS
    }

    /// Makes the ids that a request names: those of customers and items that exist share one copy each.
    pub fn ids(&self) -> &KnownIds {
        &self.inner.ids
    }

    /// The cluster's id, and how many shards it has: what positions of orders' changes belong to.
    pub fn positions_of(&self) -> (String, usize) {
        let id = self.inner.node.identity().cluster_id.clone();
        (id, self.inner.router.shards.len())
    }

    /// Checks every invariant that can be seen within a shard, and that every reservation has an order that wants it.
    /// For tests: it walks everything, and is exact only while nothing is in flight.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), docket_engine::Broken> {
        for shard in &self.inner.router.shards {
            shard.committed().validate()?;
        }
        match chores::orphans(&self.inner.router, None).first() {
            Some(orphan) => Err(docket_engine::Broken {
                entity: orphan.order.to_string(),
                why: "stock is reserved for it, and it does not want it",
            }),
            None => Ok(()),
        }
    }

    /// What is to be kept of where a change comes from, where every node of the cluster can keep it.
    fn origin(&self, call: &Call) -> Option<PackedOrigin> {
        match self.inner.router.keeps_origins() {
            true => call.origin(),
            false => None,
        }
    }

    fn of_order(&self, id: OrderId) -> Result<&Arc<Shard>, CallError> {
        self.inner
            .router
            .of_order(id)
            .ok_or_else(|| Rejection::OrderNotFound { order: id }.into())
    }
}

const NO_LEADER: CallError = CallError::Unavailable {
    reason: "the shard has no leader here",
    retry_after: RETRY_AFTER,
};

/// What a caller may not see answers as what does not exist.
fn not_hidden(call: &Call, customer: &CustomerId) -> Result<(), CallError> {
    match &call.owner {
        Some(owner) if owner != customer => Err(Rejection::CustomerNotFound {
            customer: customer.clone(),
        }
        .into()),
        _ => Ok(()),
    }
}

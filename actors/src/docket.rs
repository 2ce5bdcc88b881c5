//! The handle through which a node's orders, customers and items are used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use docket_cluster::{ClusterError, GroupId, Node, NodeOptions, ReadError, ShardId, slot_of};
use docket_engine::{
    Amount, Currency, Customer, CustomerCommand, CustomerId, Item, ItemCommand, Line, Order, OrderId,
    Quantity, Rejection, Request, Sku, Version,
};
use parking_lot::Mutex;
use ractor::Actor;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    AdmissionLimits, Call, CallError,
    access::{Access, AccessMachine},
    admission::{Admission, Permit},
    chores,
    committed::Committed,
    entity::{customer::CustomerMessage, item::ItemMessage, order::OrderMessage},
    listing::{ListOrders, Listing, OrderPage},
    machine::{Ids, ShardMachine},
    proposer,
    reply::{Caller, Failure, Reply},
    request::Content,
    shard::{ActorLimits, Router, Shard, ShardParts, Supervisor},
};

/// How often a command is sent again to an actor that was thrown away before it is given up.
const TRIES_MAX: u32 = 16;
/// How often a command may make its actor panic.
pub(crate) const PANICS_MAX: u32 = 3;
/// What a client is told to wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// What a call weighs beside its request's own bytes.
const CALL_BYTES: usize = 512;
/// How long a stopping node waits for what is recorded behind the last answers.
const RECORDED_WITHIN: Duration = Duration::from_millis(250);
/// How long a stopping node looks between two looks at what is in flight.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// How a node is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory, journal, Raft.
    pub node: NodeOptions,
    /// What may be in flight.
    pub admission: AdmissionLimits,
    /// What may be resident.
    pub actors: ActorLimits,
    /// Called before an actor decides: for tests of supervision, which make it panic. `None` in every real node.
    pub before_decision: Option<BeforeDecision>,
}

impl Options {
    /// The defaults, in this data directory.
    pub fn new(data_dir: impl Into<std::path::PathBuf>) -> Self {
        Self {
            node: NodeOptions::new(data_dir),
            admission: AdmissionLimits::default(),
            actors: ActorLimits::default(),
            before_decision: None,
        }
    }
}

/// Gets the kind of an entity (`order`, `customer`, `item`) and its id; `load` and its id before it is loaded from
/// committed state.
#[derive(Clone)]
pub struct BeforeDecision(pub Arc<Interfere>);

/// What a test does before a decision.
pub type Interfere = dyn Fn(&str, &str) + Send + Sync;

impl std::fmt::Debug for BeforeDecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeDecision")
    }
}

/// Why a node does not open or close.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Journal, snapshots or Raft.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A supervisor could not be started.
    #[error("the supervisor of a shard could not be started: {0}")]
    Supervisor(String),
}

/// A node of Docket. Clones are the same node.
#[derive(Clone)]
pub struct Docket {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    access: Access,
    pub(crate) node: Node,
    pub(crate) router: Arc<Router>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) actors: ActorLimits,
    pub(crate) started: SystemTime,
    pub(crate) closing: CancellationToken,
    /// Makes order ids unique: random bits of this process above a counter.
    unique: AtomicU64,
    unique_prefix: u64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A new order, already validated for shape: 1..=100 lines, quantities 1..=10⁹, prices ≥ 0.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    /// Whose it is.
    pub customer: CustomerId,
    /// Of all its amounts.
    pub currency: Currency,
    /// What is ordered.
    pub lines: Box<[Line]>,
}

/// A new customer.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// Its id.
    pub id: CustomerId,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the account.
    pub currency: Currency,
    /// 0 or more.
    pub credit_limit: Amount,
}

/// A new item.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// Its id.
    pub sku: Sku,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the price.
    pub currency: Currency,
    /// Of one; 0 or more.
    pub unit_price: Amount,
    /// The first stock; 0 or more.
    pub on_hand: Quantity,
}

impl Docket {
    /// Opens the node: recovers its journal, starts its groups, its shards and their chores. Leaders are elected by and
    /// by: see [`Docket::ready`].
    ///
    /// # Errors
    /// Where the data directory cannot be used; the message says why and what to do.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, async |options, machine| {
            Node::open(options, machine).await
        })
        .await
    }

    /// Opens the node on a node that `open` makes: for tests that bring their own storage.
    ///
    /// # Errors
    /// As [`Docket::open`].
    pub async fn open_with<F>(options: Options, open: F) -> Result<Self, OpenError>
    where
        F: AsyncFnOnce(
            NodeOptions,
            &dyn Fn(GroupId) -> Arc<dyn docket_cluster::StateMachine>,
        ) -> Result<Node, ClusterError>,
    {
        let ids = Arc::new(Ids::default());
        let meta = AccessMachine::new();
        let states = Mutex::new(Vec::<(ShardId, Arc<Committed>)>::new());
        let machine = |group: GroupId| -> Arc<dyn docket_cluster::StateMachine> {
            match group.shard() {
                Some(shard) => {
                    let committed = Arc::new(Committed::default());
                    states.lock().push((shard, committed.clone()));
                    Arc::new(ShardMachine::new(committed, ids.clone()))
                }
                None => Arc::new(meta.clone()),
            }
        };
        let node = open(options.node, &machine).await?;
        let mut shards = Vec::new();
        let mut tasks = Vec::new();
        for (id, committed) in states.into_inner() {
            let Some(group) = node.shard(id) else { continue };
            let supervisor = Actor::spawn(None, Supervisor, id).await;
            let (supervisor, _) = supervisor.map_err(|error| OpenError::Supervisor(error.to_string()))?;
            let (sender, queue) = mpsc::unbounded_channel();
            let shard = Shard::new(ShardParts {
                id,
                committed,
                group: group.clone(),
                queue: sender,
                supervisor: supervisor.get_cell(),
                limits: options.actors,
                before_decision: options.before_decision.clone(),
                decider: random_u64() as u32,
            });
            tasks.push(tokio::spawn(proposer::run(shard.clone(), group, queue)));
            shards.push(shard);
        }
        let router = Arc::new(Router {
            ring: node.ring(),
            shards,
        });
        for shard in &router.shards {
            shard.set_router(&router);
            tasks.push(tokio::spawn(shard.clone().follow_leadership()));
        }
        let inner = Arc::new(Inner {
            access: Access::new(&meta, node.clone()),
            node,
            router,
            admission: Admission::new(options.admission),
            actors: options.actors,
            started: SystemTime::now(),
            closing: CancellationToken::new(),
            unique: AtomicU64::new(0),
            unique_prefix: random_u64(),
            tasks: Mutex::new(tasks),
        });
        let chores = tokio::spawn(chores::run(inner.clone()));
        inner.tasks.lock().push(chores);
        Ok(Self { inner })
    }

    /// Accounts, sessions and keys.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// How long the journal's last sync took.
    pub fn last_sync(&self) -> Duration {
        self.inner.node.last_sync()
    }

    /// Waits until every shard has a leader and takes commands.
    pub async fn ready(&self) {
        self.inner.node.ready().await;
        for shard in &self.inner.router.shards {
            shard.led().await;
        }
    }

    /// Resolves with the reason when the node can go on no longer: its journal failed, or a group did.
    pub fn failed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        self.inner.node.failed()
    }

    /// Finishes what is in flight (for at most `grace`), makes everything durable and stops. New commands are refused.
    ///
    /// # Errors
    /// Where the node had failed before, or the journal cannot be closed.
    pub async fn close(&self, grace: Duration) -> Result<(), OpenError> {
        let inner = &self.inner;
        inner.closing.cancel();
        let end = Instant::now() + grace;
        while inner.admission.calls() > 0 && Instant::now() < end {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        // Confirmations that nobody waits for are still to be recorded. Where that takes longer the next start does it.
        let end = end.min(Instant::now() + RECORDED_WITHIN);
        while inner.router.has_open() && Instant::now() < end {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let closed = inner.node.shutdown().await;
        for shard in &inner.router.shards {
            shard.close();
        }
        let tasks = std::mem::take(&mut *inner.tasks.lock());
        tasks.iter().for_each(JoinHandle::abort);
        Ok(closed?)
    }

    /// Places an order. Answers with the order CONFIRMED, or with the rejection with which it was recorded as REJECTED.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn place_order(&self, call: Call, place: PlaceOrder) -> Result<Arc<Order>, CallError> {
        not_hidden(&call, &place.customer)?;
        let shard = self.inner.router.of_key(place.customer.as_str());
        let bytes = place.lines.len() * size_of::<Line>();
        let permit = self.admit(shard, bytes)?;
        let request = call.request_id.as_deref().map(|id| {
            Content::of("PlaceOrder")
                .order(place.currency, &place.lines)
                .about_customer(&place.customer, id)
        });
        if let Some(stored) = request.and_then(|request| shard.stored_reply(request)) {
            barrier(shard).await?;
            return self.follow(shard, &call, &permit, stored).await;
        }
        self.has_room(shard, request)?;
        let id = self.order_id(&place.customer);
        let place = Arc::new(place);
        for _ in 0..TRIES_MAX {
            let reply = self
                .run(shard, &call, &permit, Steps::Several, |caller| {
                    shard.tell_order(
                        id,
                        OrderMessage::Place {
                            place: place.clone(),
                            request,
                            caller,
                        },
                    );
                })
                .await?;
            match self.follow(shard, &call, &permit, reply).await {
                // The order that had the same request was not committed after all.
                Err(CallError::Rejected(Rejection::OrderNotFound { .. })) => {}
                result => return result,
            }
        }
        Err(CallError::OutcomeUnknown)
    }

    /// The order that a reply is about, or that it says to wait for.
    async fn follow(
        &self,
        shard: &Arc<Shard>,
        call: &Call,
        permit: &Arc<Permit>,
        reply: Reply,
    ) -> Result<Arc<Order>, CallError> {
        let reply = match reply {
            Reply::Elsewhere(id) => {
                self.run(shard, call, permit, Steps::Several, |caller| {
                    shard.tell_order(id, OrderMessage::Await { caller })
                })
                .await?
            }
            reply => reply,
        };
        match reply {
            Reply::Order(order) => Ok(order),
            Reply::Rejected(rejection) => Err(rejection.into()),
            _ => Err(CallError::Broken),
        }
    }

    /// Cancels an order, at this version of it where one is given. Answers when its stock and its hold are given back.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn cancel_order(
        &self,
        call: Call,
        id: OrderId,
        expected: Option<Version>,
    ) -> Result<Arc<Order>, CallError> {
        let shard = self.of_order(id)?;
        let permit = self.admit(shard, 0)?;
        let request = call.request_id.as_deref().map(|request_id| {
            Content::of("CancelOrder")
                .version(expected)
                .about_order(id, request_id)
        });
        self.has_room(shard, request)?;
        let owner = call.owner.clone();
        let reply = self
            .run(shard, &call, &permit, Steps::Several, |caller| {
                let message = OrderMessage::Cancel {
                    owner: owner.clone(),
                    expected,
                    request,
                    caller,
                };
                shard.tell_order(id, message);
            })
            .await?;
        match reply {
            Reply::Order(order) => Ok(order),
            Reply::Rejected(rejection) => Err(rejection.into()),
            _ => Err(CallError::Broken),
        }
    }

    /// Creates a customer.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn create_customer(&self, call: Call, new: NewCustomer) -> Result<Arc<Customer>, CallError> {
        let content = Content::of("CreateCustomer")
            .name(Some(&new.display_name))
            .currency(new.currency)
            .amount(Some(new.credit_limit));
        let command = CustomerCommand::Create {
            display_name: new.display_name,
            currency: new.currency,
            credit_limit: new.credit_limit,
        };
        self.command_customer(call, new.id, command, content).await
    }

    /// Changes a customer's display name or credit limit; `None` leaves it. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn update_customer(
        &self,
        call: Call,
        id: CustomerId,
        display_name: Option<Arc<str>>,
        credit_limit: Option<Amount>,
        expected: Option<u64>,
    ) -> Result<Arc<Customer>, CallError> {
        let content = Content::of("UpdateCustomer")
            .name(display_name.as_deref())
            .amount(credit_limit)
            .revision(expected);
        let command = CustomerCommand::Update {
            display_name,
            credit_limit,
            expected,
        };
        self.command_customer(call, id, command, content).await
    }

    /// Books money to a customer's balance. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn credit_account(
        &self,
        call: Call,
        id: CustomerId,
        amount: Amount,
        expected: Option<u64>,
    ) -> Result<Arc<Customer>, CallError> {
        let content = Content::of("CreditAccount")
            .amount(Some(amount))
            .revision(expected);
        let command = CustomerCommand::Credit { amount, expected };
        self.command_customer(call, id, command, content).await
    }

    async fn command_customer(
        &self,
        call: Call,
        id: CustomerId,
        command: CustomerCommand,
        content: Content,
    ) -> Result<Arc<Customer>, CallError> {
        not_hidden(&call, &id)?;
        let shard = self.inner.router.of_key(id.as_str());
        let permit = self.admit(shard, 0)?;
        let request = call
            .request_id
            .as_deref()
            .map(|request_id| content.about_customer(&id, request_id));
        self.has_room(shard, request)?;
        let reply = self
            .run(shard, &call, &permit, Steps::One, |caller| {
                let message = CustomerMessage::Command {
                    command: command.clone(),
                    request,
                    caller,
                };
                shard.tell_customer(&id, message);
            })
            .await?;
        match reply {
            Reply::Customer(customer) => Ok(customer),
            Reply::Rejected(rejection) => Err(rejection.into()),
            // The request id was an order's.
            Reply::Elsewhere(_) => Err(Rejection::RequestIdReused.into()),
            _ => Err(CallError::Broken),
        }
    }

    /// Creates an item.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn create_item(&self, call: Call, new: NewItem) -> Result<Arc<Item>, CallError> {
        let content = Content::of("CreateItem")
            .name(Some(&new.display_name))
            .currency(new.currency)
            .amount(Some(new.unit_price))
            .quantity(new.on_hand);
        let command = ItemCommand::Create {
            display_name: new.display_name,
            currency: new.currency,
            unit_price: new.unit_price,
            on_hand: new.on_hand,
        };
        self.command_item(call, new.sku, command, content).await
    }

    /// Changes an item's display name or unit price; `None` leaves it. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn update_item(
        &self,
        call: Call,
        sku: Sku,
        display_name: Option<Arc<str>>,
        unit_price: Option<Amount>,
        expected: Option<u64>,
    ) -> Result<Arc<Item>, CallError> {
        let content = Content::of("UpdateItem")
            .name(display_name.as_deref())
            .amount(unit_price)
            .revision(expected);
        let command = ItemCommand::Update {
            display_name,
            unit_price,
            expected,
        };
        self.command_item(call, sku, command, content).await
    }

    /// Changes an item's stock. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn adjust_stock(
        &self,
        call: Call,
        sku: Sku,
        delta: Quantity,
        expected: Option<u64>,
    ) -> Result<Arc<Item>, CallError> {
        let content = Content::of("AdjustStock").quantity(delta).revision(expected);
        let command = ItemCommand::Adjust { delta, expected };
        self.command_item(call, sku, command, content).await
    }

    async fn command_item(
        &self,
        call: Call,
        sku: Sku,
        command: ItemCommand,
        content: Content,
    ) -> Result<Arc<Item>, CallError> {
        let shard = self.inner.router.of_key(sku.as_str());
        let permit = self.admit(shard, 0)?;
        let request = call
            .request_id
            .as_deref()
            .map(|request_id| content.about_item(&sku, request_id));
        self.has_room(shard, request)?;
        let reply = self
            .run(shard, &call, &permit, Steps::One, |caller| {
                let message = ItemMessage::Command {
                    command: command.clone(),
                    request,
                    caller,
                };
                shard.tell_item(sku.clone(), message);
            })
            .await?;
        match reply {
            Reply::Item(item) => Ok(item),
            Reply::Rejected(rejection) => Err(rejection.into()),
            _ => Err(CallError::Broken),
        }
    }

    /// An order.
    ///
    /// # Errors
    /// [`Rejection::OrderNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_order(&self, call: Call, id: OrderId) -> Result<Arc<Order>, CallError> {
        let shard = self.of_order(id)?;
        barrier(shard).await?;
        let order = shard.committed().orders.get(&id).map(|order| order.clone());
        order
            .map(|order| self.inner.router.confirmed(order))
            .filter(|order| call.owner.as_ref().is_none_or(|owner| *owner == order.customer))
            .ok_or_else(|| Rejection::OrderNotFound { order: id }.into())
    }

    /// A customer.
    ///
    /// # Errors
    /// [`Rejection::CustomerNotFound`], also for one that the caller may not see; or why it cannot be read.
    pub async fn get_customer(&self, call: Call, id: CustomerId) -> Result<Arc<Customer>, CallError> {
        not_hidden(&call, &id)?;
        let shard = self.inner.router.of_key(id.as_str());
        barrier(shard).await?;
        let customer = shard
            .committed()
            .customers
            .get(&id)
            .map(|customer| customer.clone());
        customer.ok_or_else(|| Rejection::CustomerNotFound { customer: id }.into())
    }

    /// An item.
    ///
    /// # Errors
    /// [`Rejection::ItemNotFound`]; or why it cannot be read.
    pub async fn get_item(&self, _call: Call, sku: Sku) -> Result<Arc<Item>, CallError> {
        let shard = self.inner.router.of_key(sku.as_str());
        barrier(shard).await?;
        let item = shard.committed().items.get(&sku).map(|item| item.clone());
        item.ok_or_else(|| Rejection::ItemNotFound { line: None, sku }.into())
    }

    /// A page of orders, newest first: at most [`LIST_ROWS_MAX`](crate::LIST_ROWS_MAX) orders are looked at for it.
    ///
    /// # Errors
    /// Why they cannot be read. A customer that the caller may not see has no orders.
    pub async fn list_orders(&self, call: Call, query: ListOrders) -> Result<OrderPage, CallError> {
        if call.owner.is_some() && call.owner != query.customer {
            return Ok(OrderPage::default());
        }
        let router = &self.inner.router;
        let shards: Vec<_> = match &query.customer {
            Some(customer) => vec![router.of_key(customer.as_str())],
            None => router.shards.iter().collect(),
        };
        for shard in &shards {
            barrier(shard).await?;
        }
        let shards = shards.into_iter().map(|shard| &**shard.committed()).collect();
        let confirmed = |order| router.confirmed(order);
        let mut listing = Listing::new(shards, &query, &confirmed);
        while !listing.step() {
            // Others have their turn.
            tokio::task::yield_now().await;
        }
        Ok(listing.page())
    }

    /// Customers in the order of their ids, after `after`.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list_customers(
        &self,
        call: Call,
        after: Option<CustomerId>,
        limit: usize,
    ) -> Result<Vec<Arc<Customer>>, CallError> {
        if let Some(owner) = call.owner.clone() {
            let is_next = after.is_none_or(|after| after < owner);
            let own = match is_next && limit > 0 {
                true => self.get_customer(call, owner).await,
                false => return Ok(Vec::new()),
            };
            return match own {
                Err(CallError::Rejected(Rejection::CustomerNotFound { .. })) => Ok(Vec::new()),
                own => own.map(|own| vec![own]),
            };
        }
        let mut customers = Vec::new();
        for shard in &self.inner.router.shards {
            barrier(shard).await?;
            let committed = shard.committed();
            let ids = committed.customer_ids.read();
            let found = ids.range::<CustomerId, _>((from(after.as_ref()), std::ops::Bound::Unbounded));
            customers.extend(
                found
                    .filter_map(|id| committed.customers.get(id).map(|c| c.clone()))
                    .take(limit),
            );
        }
        customers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        customers.truncate(limit);
        Ok(customers)
    }

    /// Items in the order of their skus, after `after`.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list_items(
        &self,
        _call: Call,
        after: Option<Sku>,
        limit: usize,
    ) -> Result<Vec<Arc<Item>>, CallError> {
        let mut items = Vec::new();
        for shard in &self.inner.router.shards {
            barrier(shard).await?;
            let committed = shard.committed();
            let skus = committed.skus.read();
            let found = skus.range::<Sku, _>((from(after.as_ref()), std::ops::Bound::Unbounded));
            items.extend(
                found
                    .filter_map(|sku| committed.items.get(sku).map(|i| i.clone()))
                    .take(limit),
            );
        }
        items.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        items.truncate(limit);
        Ok(items)
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
        match chores::orphans(&self.inner.router).first() {
            Some((order, _)) => Err(docket_engine::Broken {
                entity: order.to_string(),
                why: "stock is reserved for it, and it does not want it",
            }),
            None => Ok(()),
        }
    }

    /// A share of the bounds for one write.
    fn admit(&self, shard: &Shard, bytes: usize) -> Result<Arc<Permit>, CallError> {
        if self.inner.closing.is_cancelled() {
            return Err(CallError::Unavailable {
                reason: "the node is stopping",
                retry_after: RETRY_AFTER,
            });
        }
        if !shard.is_leading() {
            return Err(NO_LEADER);
        }
        let permit = self.inner.admission.admit(bytes + CALL_BYTES);
        permit.map(Arc::new).ok_or(CallError::Overloaded {
            retry_after: RETRY_AFTER,
        })
    }

    /// Refuses what would grow where the disk is nearly full. Whoever asks what became of a request that was done is answered
    /// all the same.
    fn has_room(&self, shard: &Shard, request: Option<Request>) -> Result<(), CallError> {
        let is_done = |request: Request| shard.committed().requests.contains_key(&request.key);
        match self.inner.node.disk_low() {
            Some(free_bytes) if !request.is_some_and(is_done) => Err(CallError::LowSpace { free_bytes }),
            _ => Ok(()),
        }
    }

    /// Sends a command until an actor has taken it, and waits for the committed answer.
    async fn run(
        &self,
        shard: &Shard,
        call: &Call,
        permit: &Arc<Permit>,
        steps: Steps,
        send: impl Fn(Caller),
    ) -> Result<Reply, CallError> {
        let mut panics = 0;
        for tried in 0..TRIES_MAX {
            if !shard.is_leading() {
                return Err(steps.given_up(tried, NO_LEADER));
            }
            let (caller, answer) = Caller::new(call.deadline, permit.clone());
            send(caller);
            let answer = match call.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), answer)
                    .await
                    .map_err(|_| CallError::DeadlineExceeded)?,
                None => answer.await,
            };
            match answer.unwrap_or(Err(Failure::Gone)) {
                Ok(reply) => return Ok(reply),
                Err(Failure::Gone | Failure::Conflict) => {}
                Err(Failure::Panicked) => {
                    panics += 1;
                    if panics == PANICS_MAX {
                        metrics::counter!("docket_poison_commands_total").increment(1);
                        return Err(CallError::Poison);
                    }
                }
                // Counted where it was given up.
                Err(Failure::Poison) => return Err(CallError::Poison),
                Err(Failure::NotLeader) => return Err(steps.given_up(tried, NO_LEADER)),
                Err(Failure::Unknown) => return Err(CallError::OutcomeUnknown),
                Err(Failure::Expired) => return Err(CallError::DeadlineExceeded),
            }
        }
        Err(steps.given_up(TRIES_MAX, UNSETTLED))
    }

    fn of_order(&self, id: OrderId) -> Result<&Arc<Shard>, CallError> {
        self.inner
            .router
            .of_order(id)
            .ok_or_else(|| Rejection::OrderNotFound { order: id }.into())
    }

    fn order_id(&self, customer: &CustomerId) -> OrderId {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        let counter = self.inner.unique.fetch_add(1, Ordering::Relaxed);
        // 34 random bits of this process, 34 of its count.
        let unique = (u128::from(self.inner.unique_prefix) << 34) | u128::from(counter & ((1 << 34) - 1));
        OrderId::compose(now_ms, slot_of(customer.as_str().as_bytes()).number(), unique)
    }
}

/// Whether a command is one decision, or the begin of several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// One that comes back undone has left nothing in the log.
    One,
    /// One that comes back undone may have left its first steps in the log.
    Several,
}

impl Steps {
    /// What a command that was tried so often ends with.
    fn given_up(self, tried: u32, undone: CallError) -> CallError {
        if self == Self::Several && tried > 0 {
            CallError::OutcomeUnknown
        } else {
            undone
        }
    }
}

const NO_LEADER: CallError = CallError::Unavailable {
    reason: "the shard has no leader here",
    retry_after: RETRY_AFTER,
};

/// The command met one change after another. Nothing of it is in the log.
const UNSETTLED: CallError = CallError::Unavailable {
    reason: "the entity's actor is being rebuilt",
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

async fn barrier(shard: &Shard) -> Result<(), CallError> {
    shard.group().read_barrier().await.map_err(|error| match error {
        ReadError::NotLeader { .. } => NO_LEADER,
        _ => CallError::Unavailable {
            reason: "the shard has stopped",
            retry_after: RETRY_AFTER,
        },
    })
}

fn from<T>(after: Option<&T>) -> std::ops::Bound<&T> {
    after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded)
}

/// Random bits of the operating system; where it has none, the time, which only has to differ from process to process.
fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos() as u64
    })
}

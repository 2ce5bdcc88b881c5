//! The clerk: looks at the books all along, while the load is on, and changes what the load does not: it reads orders that
//! were acknowledged just now and long ago, customers and items; cancels orders; books stock and money in and out.
//!
//! It does one thing after the other, so that at any time it knows what every order must look like. What it asked for and
//! got no answer to is asked again after the load, until the server says.

use std::{collections::HashSet, sync::Arc, time::Duration};

use docket_proto::v1::{
    AdjustStockRequest, CancelOrderRequest, CreditAccountRequest, GetCustomerRequest, GetItemRequest,
    GetOrderRequest, Order, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order::State, order_service_client::OrderServiceClient,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tonic::{Code, Status, transport::Channel};

use super::{memory::Memory, scene::Scene};
use crate::{
    Acknowledged, Chance, Error, Target, Workload,
    books::{self, Accounts, difference},
    drive::may_be_done,
};

/// How long it rests between two things.
const PAUSE: Duration = Duration::from_millis(5);
/// So much is booked in or out at once, at most.
const AMOUNT_MAX: u64 = 1_000;
/// Faults that it tells.
const FAULTS_MAX: usize = 20;

/// What the clerk did in a round.
#[derive(Debug, Default)]
pub struct Done {
    /// Operations of this round's workload whose orders it cancelled.
    pub cancelled: HashSet<u64>,
    /// What it changed beside that, for the accounts.
    pub changes: Vec<Change>,
    /// Changes that were made or not.
    open: Vec<Change>,
    /// Answers that it looked at.
    pub looks: u64,
    /// What was wrong, told; the first of it.
    pub faults: Vec<String>,
}

/// A change that is not a placed order.
#[derive(Clone, Debug)]
pub enum Change {
    /// An order of this round was cancelled.
    Cancel(Arc<Workload>, Acknowledged),
    /// One of an earlier round was.
    CancelOld(Arc<Workload>, Acknowledged),
    /// Stock was added, or taken away; under this request id.
    Adjust(u64, i64, String),
    /// Money was paid in, or out.
    Credit(u64, i64, String),
}

impl Done {
    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    /// Compares an order with what was asked for.
    fn compare(&mut self, shown: &Order, workload: &Workload, order: Acknowledged, cancelled: bool) {
        let state = match cancelled {
            true => State::Cancelled,
            false => State::Confirmed,
        };
        if let Some(fault) = difference(shown, workload, order.n, state) {
            self.fault(format!("an acknowledged order was read: {fault}"));
        }
    }

    /// Enters what was changed beside the round's own orders.
    pub fn enter(&self, accounts: &mut Accounts) {
        for change in &self.changes {
            match change {
                Change::Cancel(..) => {}
                Change::CancelOld(workload, order) => accounts.cancel(&workload.basket(order.n)),
                Change::Adjust(item, delta, _) => accounts.adjust(*item, *delta),
                Change::Credit(customer, amount, _) => accounts.credit(*customer, *amount),
            }
        }
    }
}

/// The clerk of one round.
pub struct Clerk {
    /// The run.
    pub scene: Arc<Scene>,
    /// The server.
    pub target: Target,
    /// The whole shop.
    pub shop: Arc<Workload>,
    /// Who places orders in this round.
    pub workload: Arc<Workload>,
    /// The number of the round, which makes its request ids others than all before.
    pub round: u64,
    /// Orders of earlier rounds.
    pub memory: Memory,
    /// Whether it may change anything: not while what is judged is that nothing grows.
    pub changes: bool,
}

impl Clerk {
    /// Works until `stop` says so, or is gone; gives back the memory, which says what it cancelled.
    ///
    /// # Errors
    /// No connection.
    pub async fn work(mut self, mut stop: oneshot::Receiver<()>) -> Result<(Done, Memory), Error> {
        let channel = self.target.connect().await?;
        let mut desk = Desk::of(&self.target, channel);
        let mut done = Done::default();
        let mut chance = Chance::new(self.shop.shape().seed ^ 0xc1e7, self.round);
        for errand in 0.. {
            tokio::select! {
                _ = &mut stop => break,
                () = sleep(PAUSE) => {}
            }
            // Whoever stops it waits for the answer: an errand that is given up half-way is one whose end nobody knows.
            self.errand(errand, &mut desk, &mut chance, &mut done).await;
        }
        Ok((done, self.memory))
    }

    async fn errand(&mut self, errand: u64, desk: &mut Desk, chance: &mut Chance, done: &mut Done) {
        let looks = if self.changes { 100 } else { 80 };
        match chance.below(looks) {
            0..40 => self.read_recent(desk, chance, done).await,
            40..60 => self.read_old(desk, chance, done).await,
            60..70 => desk.look_at_item(&self.shop, chance, done).await,
            70..80 => desk.look_at_customer(&self.shop, chance, done).await,
            80..94 => {
                if let Some(order) = self
                    .recent(chance, true)
                    .filter(|order| !done.cancelled.contains(&order.n))
                {
                    let change = Change::Cancel(Arc::clone(&self.workload), order);
                    desk.change(&self.scene, &self.shop, change, done).await;
                }
            }
            94..98 => {
                let old = self.memory.any(chance).filter(|old| !old.cancelled);
                if let Some(old) = old {
                    let change = Change::CancelOld(Arc::clone(&old.workload), old.order);
                    // Whatever comes of it: it is asked for until it is done.
                    old.cancelled = true;
                    desk.change(&self.scene, &self.shop, change, done).await;
                }
            }
            of => {
                let shape = self.shop.shape();
                // Never 0, and as often in as out.
                let amount = 1 + chance.below(AMOUNT_MAX) as i64;
                let id = format!("clerk-{:x}-{}-{errand}", shape.seed, self.round);
                let change = match of {
                    98 => Change::Adjust(chance.below(shape.items), sign(chance) * amount, id),
                    _ => Change::Credit(chance.below(shape.customers), amount, id),
                };
                desk.change(&self.scene, &self.shop, change, done).await;
            }
        }
    }

    /// An order that was acknowledged just now; `take` so that nobody else gets it.
    fn recent(&self, chance: &mut Chance, take: bool) -> Option<Acknowledged> {
        let mut watched = self.scene.progress.watch()?;
        let count = watched.recent.len() as u64;
        if count == 0 {
            return None;
        }
        let at = chance.below(count) as usize;
        if take {
            // It is the clerk's from here on, who tells what becomes of it.
            watched.recent.swap_remove_back(at)
        } else {
            watched.recent.get(at).copied()
        }
    }

    async fn read_recent(&self, desk: &mut Desk, chance: &mut Chance, done: &mut Done) {
        if let Some(order) = self.recent(chance, false) {
            let cancelled = done.cancelled.contains(&order.n);
            let Some(shown) = desk.read(order, done).await else {
                return;
            };
            // Whoever has taken it meanwhile may have changed it already.
            let watched = self.scene.progress.watch();
            if watched.is_none_or(|watched| !watched.led.contains(&order.n)) {
                done.compare(&shown, &self.workload, order, cancelled);
            }
        }
    }

    async fn read_old(&mut self, desk: &mut Desk, chance: &mut Chance, done: &mut Done) {
        if let Some(old) = self.memory.any(chance) {
            let open = |change: &Change| matches!(change, Change::CancelOld(_, order) if *order == old.order);
            // Nobody knows yet whether it is cancelled.
            if !done.open.iter().any(open)
                && let Some(shown) = desk.read(old.order, done).await
            {
                done.compare(&shown, &old.workload, old.order, old.cancelled);
            }
        }
    }
}

fn sign(chance: &mut Chance) -> i64 {
    if chance.draw().is_multiple_of(2) { 1 } else { -1 }
}

/// Asks again for every change whose answer was lost, until the server says what became of it.
///
/// # Errors
/// It does not say within a minute.
pub async fn settle(scene: &Scene, target: &Target, shop: &Workload, done: &mut Done) -> Result<(), Error> {
    if done.open.is_empty() {
        return Ok(());
    }
    let mut desk = Desk::of(target, target.connect().await?);
    for change in std::mem::take(&mut done.open) {
        let answer = books::patiently(async || {
            // Changes are few: a copy a try is cheaper than to say how to lend them.
            desk.ask(shop, &change).await.map(tonic::Response::new)
        });
        let answer = answer.await;
        if let Err(status) = &answer
            && books::is_for_now(status.code())
        {
            return Err(Error::refused("changes whose answers were lost stay unknown")(
                status.clone(),
            ));
        }
        note(scene, change, answer, done);
    }
    Ok(())
}

/// What a change was answered with.
enum Answer {
    /// The order that was cancelled.
    Order(Box<Order>),
    /// Something that only says that it is done.
    Done,
}

/// Enters what was answered to a change.
fn note(scene: &Scene, change: Change, answer: Result<Answer, Status>, done: &mut Done) {
    done.looks += 1;
    let refused = |status: &Status| format!("{:?} ({})", status.code(), status.message());
    match (&change, answer) {
        (Change::Cancel(workload, order) | Change::CancelOld(workload, order), Ok(Answer::Order(shown))) => {
            if let Some(fault) = difference(&shown, workload, order.n, State::Cancelled) {
                done.fault(format!("an order was cancelled: {fault}"));
            }
            if matches!(change, Change::Cancel(..)) {
                done.cancelled.insert(order.n);
            }
            done.changes.push(change);
        }
        (Change::Adjust(..) | Change::Credit(..), Ok(_)) => {
            scene.remembered();
            done.changes.push(change);
        }
        (_, Err(status)) if may_be_done(status.code()) => done.open.push(change),
        // No room: nothing was done. An order of before is then asked to be cancelled at the end.
        (Change::CancelOld(..), Err(status)) if status.code() == Code::ResourceExhausted => {
            done.open.push(change)
        }
        (_, Err(status)) if status.code() == Code::ResourceExhausted => {}
        (Change::Cancel(_, order) | Change::CancelOld(_, order), Err(status)) => {
            done.fault(format!(
                "{}: cannot be cancelled: {}",
                order.name(),
                refused(&status)
            ));
        }
        (Change::Adjust(..) | Change::Credit(..), Err(status)) => {
            done.fault(format!("{change:?} was refused: {}", refused(&status)));
        }
        (Change::Cancel(..) | Change::CancelOld(..), Ok(Answer::Done)) => {}
    }
}

/// How the clerk calls.
struct Desk {
    target: Target,
    orders: OrderServiceClient<Channel>,
    items: ItemServiceClient<Channel>,
    customers: CustomerServiceClient<Channel>,
}

impl Desk {
    fn of(target: &Target, channel: Channel) -> Self {
        Self {
            target: target.clone(),
            orders: OrderServiceClient::new(channel.clone()),
            items: ItemServiceClient::new(channel.clone()),
            customers: CustomerServiceClient::new(channel),
        }
    }

    async fn change(&mut self, scene: &Scene, shop: &Workload, change: Change, done: &mut Done) {
        let answer = self.ask(shop, &change).await;
        note(scene, change, answer, done);
    }

    async fn ask(&mut self, shop: &Workload, change: &Change) -> Result<Answer, Status> {
        match change {
            Change::Cancel(_, order) | Change::CancelOld(_, order) => {
                // Without a request id: cancelling twice changes nothing, and nothing need be remembered for it.
                let request = CancelOrderRequest {
                    name: order.name(),
                    ..CancelOrderRequest::default()
                };
                let order = self.orders.cancel_order(self.target.call(request)).await?;
                Ok(Answer::Order(Box::new(order.into_inner())))
            }
            Change::Adjust(item, delta, request_id) => {
                let request = AdjustStockRequest {
                    name: shop.item_name(*item),
                    delta: *delta,
                    request_id: request_id.clone(),
                    etag: String::new(),
                };
                self.items.adjust_stock(self.target.call(request)).await?;
                Ok(Answer::Done)
            }
            Change::Credit(customer, amount, request_id) => {
                let request = CreditAccountRequest {
                    name: shop.customer_name(*customer),
                    amount: *amount,
                    request_id: request_id.clone(),
                    etag: String::new(),
                };
                self.customers.credit_account(self.target.call(request)).await?;
                Ok(Answer::Done)
            }
        }
    }

    /// Reads an order that was acknowledged. One that is not found is lost; that the server does not answer is another matter.
    async fn read(&mut self, order: Acknowledged, done: &mut Done) -> Option<Order> {
        let began = Instant::now();
        let call = self.target.call(GetOrderRequest { name: order.name() });
        match self.orders.get_order(call).await {
            Ok(shown) => {
                done.looks += 1;
                return Some(shown.into_inner());
            }
            Err(status) if status.code() == Code::NotFound => {
                done.fault(format!(
                    "{}: was acknowledged and is not found ({:?} after it was asked for)",
                    order.name(),
                    began.elapsed()
                ));
            }
            Err(_) => {}
        }
        None
    }

    async fn look_at_item(&mut self, shop: &Workload, chance: &mut Chance, done: &mut Done) {
        let name = shop.item_name(chance.below(shop.shape().items));
        let call = self.target.call(GetItemRequest { name });
        let Ok(item) = self.items.get_item(call).await.map(tonic::Response::into_inner) else {
            return;
        };
        done.looks += 1;
        if item.available < 0 || item.reserved < 0 || item.on_hand != item.available + item.reserved {
            done.fault(format!("the stock does not add up: {item:?}"));
        }
    }

    async fn look_at_customer(&mut self, shop: &Workload, chance: &mut Chance, done: &mut Done) {
        let name = shop.customer_name(chance.below(shop.shape().customers));
        let call = self.target.call(GetCustomerRequest { name });
        let Ok(customer) = self
            .customers
            .get_customer(call)
            .await
            .map(tonic::Response::into_inner)
        else {
            return;
        };
        done.looks += 1;
        let most = customer.balance + customer.credit_limit;
        if customer.held < 0 || customer.held > most || customer.available != most - customer.held {
            done.fault(format!("the money does not add up: {customer:?}"));
        }
    }
}

//! The books: the shop as it is opened, and the server's side of it held against what was acknowledged.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use docket_proto::v1::{
    CreateCustomerRequest, CreateItemRequest, GetCustomerRequest, GetItemRequest, ListOrdersRequest, Order,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient, order::State,
    order_service_client::OrderServiceClient,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    Acknowledged, CREDIT_LIMIT, Chance, Error, Ledger, ON_HAND, Target, Workload, drive::may_be_done,
};

/// Calls in flight while the shop is opened or checked.
const IN_FLIGHT: usize = 32;
/// The largest page that the contract allows.
const PAGE_SIZE: i32 = 1_000;
/// How long an order whose answer was lost is asked for again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon.
const RETRY: Duration = Duration::from_millis(50);
/// Replies with a page of large orders are larger than tonic takes unasked; Docket's own bound is this.
const REPLY_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Faults that are told.
const FAULTS_MAX: usize = 20;

/// Creates the customers and items.
///
/// # Errors
/// The server refuses.
pub async fn open(target: &Target, workload: &Workload) -> Result<(), Error> {
    let channel = target.connect().await?;
    let shape = workload.shape();
    let customers = stream::iter(0..shape.customers).map(|customer| {
        let mut client = CustomerServiceClient::new(channel.clone());
        let request = CreateCustomerRequest {
            customer_id: workload.customer_id(customer),
            customer: Some(Workload::new_customer()),
            request_id: workload.customer_id(customer),
        };
        patiently(async move || client.create_customer(target.call(request.clone())).await)
    });
    let opened = customers
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(async |_| Ok(()));
    opened
        .await
        .map_err(Error::refused("cannot create the customers"))?;
    let items = stream::iter(0..shape.items).map(|item| {
        let mut client = ItemServiceClient::new(channel.clone());
        let request = CreateItemRequest {
            sku: workload.sku(item),
            item: Some(Workload::new_item(item)),
            request_id: workload.sku(item),
        };
        patiently(async move || client.create_item(target.call(request.clone())).await)
    });
    let opened = items.buffer_unordered(IN_FLIGHT).try_for_each(async |_| Ok(()));
    opened.await.map_err(Error::refused("cannot create the items"))
}

/// Calls again while there is no room, or no connection: nobody measures these calls, and all of them can be repeated.
async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<Response<T>, Status>) -> Result<T, Status> {
    let end = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if Instant::now() < end && is_for_now(status.code()) => sleep(RETRY).await,
            Err(status) => return Err(status),
        }
    }
}

fn is_for_now(code: Code) -> bool {
    may_be_done(code) || code == Code::ResourceExhausted
}

/// Asks again for every order whose answer was lost, under its request id, until the server says what became of it.
///
/// # Errors
/// It does not say within a minute.
pub async fn settle(target: &Target, workload: &Workload, ledger: &mut Ledger) -> Result<(), Error> {
    let lost = std::mem::take(&mut ledger.unknown);
    if lost.is_empty() {
        return Ok(());
    }
    let channel = target.connect().await?;
    let asked = stream::iter(lost).map(|n| {
        let mut client = OrderServiceClient::new(channel.clone());
        async move {
            let (order, _) = workload.order(n);
            match patiently(async || client.place_order(target.call(order.clone())).await).await {
                Ok(order) => Ok((n, Some(order))),
                Err(status) if is_for_now(status.code()) => Err(Error::refused(
                    "orders whose answer was lost stay unknown",
                )(status)),
                Err(_) => Ok((n, None)),
            }
        }
    });
    let settled: Vec<(u64, Option<Order>)> = asked.buffer_unordered(IN_FLIGHT).try_collect().await?;
    for (n, order) in settled {
        match order.map(|order| (Acknowledged::new(&order.name, n), order)) {
            Some((Some(acknowledged), order)) if order.state() == State::Confirmed => {
                ledger.acknowledged.push(acknowledged);
            }
            Some((_, order)) => ledger.wrong(format!("operation {n} was answered with {order:?}")),
            None => {}
        }
    }
    Ok(())
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Orders that were acknowledged.
    pub acknowledged: u64,
    /// Orders that were read back.
    pub read: u64,
    /// Customers whose held money was compared.
    pub customers: u64,
    /// Items whose reserved stock was compared.
    pub items: u64,
    /// What is wrong, told; the first of it.
    pub faults: Vec<String>,
    /// How much is wrong.
    pub fault_count: u64,
}

impl Checked {
    fn fault(&mut self, what: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }
}

/// Holds the server's books against `ledger`, in which nothing may be unknown any more: the money that every customer holds
/// and the stock that is reserved of every item, to the unit; and of the customers of `share` (1 for all) every order, each
/// listed exactly once, with what was asked for, and none besides.
///
/// A server that crashed gives back some seconds after its start what it had reserved for orders that never came to be: until
/// then its stock may be off.
///
/// # Errors
/// The server does not answer. What is wrong is no error but a fault.
pub async fn check(
    target: &Target,
    workload: &Arc<Workload>,
    ledger: &Ledger,
    share: f64,
) -> Result<Checked, Error> {
    let mut checked = Checked {
        acknowledged: ledger.acknowledged.len() as u64,
        ..Checked::default()
    };
    ledger.wrong.iter().for_each(|what| checked.fault(what.clone()));
    let expected = Expected::of(workload, ledger);
    let channel = target.connect().await?;
    stock(target, &channel, workload, &expected, &mut checked).await?;
    money(target, &channel, workload, &expected, &mut checked).await?;
    let seed = workload.shape().seed;
    let read = expected.orders.into_iter().enumerate();
    let read = read.filter(|(customer, _)| Chance::new(seed, *customer as u64).unit() < share);
    let lists = stream::iter(read).map(|(customer, mut told)| {
        let client = OrderServiceClient::new(channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX);
        async move {
            // The list is newest first, and ids are in time order.
            told.sort_unstable_by(|one, other| other.cmp(one));
            orders_of(target, client, workload, customer as u64, told).await
        }
    });
    let mut lists = lists.buffer_unordered(IN_FLIGHT);
    while let Some(list) = lists.next().await {
        let (read, faults) = list?;
        checked.read += read;
        faults.into_iter().for_each(|fault| checked.fault(fault));
    }
    Ok(checked)
}

/// What the books must say.
struct Expected {
    /// By customer, what it holds.
    held: Vec<i64>,
    /// By item, what is reserved.
    reserved: Vec<i64>,
    /// By customer, its orders.
    orders: Vec<Vec<Acknowledged>>,
}

impl Expected {
    fn of(workload: &Workload, ledger: &Ledger) -> Self {
        let (customers, items) = (
            workload.shape().customers as usize,
            workload.shape().items as usize,
        );
        let mut expected = Self {
            held: vec![0; customers],
            reserved: vec![0; items],
            orders: vec![Vec::new(); customers],
        };
        for acknowledged in &ledger.acknowledged {
            let basket = workload.basket(acknowledged.n);
            expected.held[basket.customer as usize] += basket.total();
            for (item, quantity) in &basket.lines {
                expected.reserved[*item as usize] += quantity;
            }
            expected.orders[basket.customer as usize].push(*acknowledged);
        }
        expected
    }
}

async fn stock(
    target: &Target,
    channel: &Channel,
    workload: &Workload,
    expected: &Expected,
    checked: &mut Checked,
) -> Result<(), Error> {
    let items = stream::iter(0..workload.shape().items).map(|item| {
        let mut client = ItemServiceClient::new(channel.clone());
        let request = GetItemRequest {
            name: workload.item_name(item),
        };
        async move {
            let found = patiently(async || client.get_item(target.call(request.clone())).await).await;
            found.map(|found| (item, found))
        }
    });
    let mut items = items.buffer_unordered(IN_FLIGHT);
    while let Some(found) = items.next().await {
        let (item, found) = found.map_err(Error::refused("cannot read an item"))?;
        checked.items += 1;
        let reserved = expected.reserved[item as usize];
        let must = (ON_HAND, reserved, ON_HAND - reserved);
        let is = (found.on_hand, found.reserved, found.available);
        if is != must {
            checked.fault(format!(
                "{}: on hand, reserved, available are {is:?}, must be {must:?}",
                found.name
            ));
        }
    }
    Ok(())
}

async fn money(
    target: &Target,
    channel: &Channel,
    workload: &Workload,
    expected: &Expected,
    checked: &mut Checked,
) -> Result<(), Error> {
    let customers = stream::iter(0..workload.shape().customers).map(|customer| {
        let mut client = CustomerServiceClient::new(channel.clone());
        let request = GetCustomerRequest {
            name: workload.customer_name(customer),
        };
        async move {
            let found = patiently(async || client.get_customer(target.call(request.clone())).await).await;
            found.map(|found| (customer, found))
        }
    });
    let mut customers = customers.buffer_unordered(IN_FLIGHT);
    while let Some(found) = customers.next().await {
        let (customer, found) = found.map_err(Error::refused("cannot read a customer"))?;
        checked.customers += 1;
        let held = expected.held[customer as usize];
        let must = (0, held, CREDIT_LIMIT - held);
        let is = (found.balance, found.held, found.available);
        if is != must {
            checked.fault(format!(
                "{}: balance, held, available are {is:?}, must be {must:?}",
                found.name
            ));
        }
    }
    Ok(())
}

/// Reads all orders of a customer; how many, and what is wrong with them. `told` is sorted as the list is.
async fn orders_of(
    target: &Target,
    mut client: OrderServiceClient<Channel>,
    workload: &Workload,
    customer: u64,
    told: Vec<Acknowledged>,
) -> Result<(u64, Vec<String>), Error> {
    let (mut read, mut faults) = (0, Vec::new());
    let mut told = told.into_iter().peekable();
    let mut page_token = String::new();
    let mut last: Option<String> = None;
    loop {
        let request = ListOrdersRequest {
            customer: workload.customer_name(customer),
            // What was refused is recorded too, and holds nothing.
            states: vec![
                State::Pending.into(),
                State::Confirmed.into(),
                State::Cancelled.into(),
            ],
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = patiently(async || client.list_orders(target.call(request.clone())).await).await;
        let page = page.map_err(Error::refused("cannot list the orders of a customer"))?;
        for order in page.orders {
            read += 1;
            if last.as_ref().is_some_and(|last| *last <= order.name) {
                faults.push(format!("{}: is listed twice, or not in order", order.name));
            }
            let listed = order.name.strip_prefix("orders/").unwrap_or_default().as_bytes();
            while let Some(missing) = told.next_if(|told| told.id.as_slice() > listed) {
                faults.push(format!("{}: was acknowledged and is not listed", missing.name()));
            }
            match told.next_if(|told| told.id == listed) {
                Some(told) => faults.extend(difference(&order, workload, told.n)),
                None => faults.push(format!("{}: is listed and was never acknowledged", order.name)),
            }
            last = Some(order.name);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    faults.extend(told.map(|missing| format!("{}: was acknowledged and is not listed", missing.name())));
    Ok((read, faults))
}

/// How the order differs from what operation `n` asked for.
fn difference(order: &Order, workload: &Workload, n: u64) -> Option<String> {
    let (asked, total) = workload.order(n);
    let lines = |lines: &[docket_proto::v1::OrderLine]| -> BTreeMap<String, (i64, i64)> {
        lines
            .iter()
            .map(|line| (line.item.clone(), (line.quantity, line.unit_price)))
            .collect()
    };
    let same = order.state() == State::Confirmed
        && order.customer == asked.customer
        && order.total == total
        && order.lines.len() == asked.lines.len()
        && lines(&order.lines) == lines(&asked.lines);
    (!same).then(|| format!("{}: is {order:?}, was asked for as {asked:?}", order.name))
}

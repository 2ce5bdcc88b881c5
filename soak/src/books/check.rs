//! The server's side of the books, held against what it must be.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    pin::pin,
};

use docket_proto::v1::{
    GetCustomerRequest, GetItemRequest, ListOrdersRequest, Order,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient, order::State,
    order_service_client::OrderServiceClient,
};
use futures::{Stream, StreamExt as _, stream};
use tonic::transport::Channel;

use super::{Accounts, IN_FLIGHT, Led, accounts::Newest, patiently};
use crate::{Acknowledged, CREDIT_LIMIT, Chance, Error, Ledger, Target, Workload};

/// The largest page that the contract allows.
const PAGE_SIZE: i32 = 1_000;
/// Replies with a page of large orders are larger than tonic takes unasked; Docket's own bound is this.
const REPLY_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Faults that are told.
const FAULTS_MAX: usize = 20;

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
    /// Of that, how often more is held or reserved than must be, and nothing else is wrong: a server may still give it back.
    pub excess_count: u64,
}

impl Checked {
    fn fault(&mut self, what: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }
}

/// Orders that are checked one by one: those of one workload since the last check.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// Says what each asked for.
    pub workload: &'a Workload,
    /// What was acknowledged; nothing in it may be unknown any more.
    pub ledger: &'a Ledger,
    /// Operations whose orders were cancelled.
    pub cancelled: &'a HashSet<u64>,
    /// Orders that were led on, by their operations.
    pub led: &'a HashMap<u64, Led>,
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
    workload: &Workload,
    ledger: &Ledger,
    share: f64,
) -> Result<Checked, Error> {
    let round = Round {
        workload,
        ledger,
        cancelled: &HashSet::new(),
        led: &HashMap::new(),
    };
    let mut accounts = Accounts::opened(workload);
    accounts.enter(&round);
    check_round(target, workload, &accounts, &round, share).await
}

/// The same of one round of many: `accounts` are those of the whole `shop`, with this round entered, and of the orders only
/// those are read that are newer than all earlier rounds'.
///
/// # Errors
/// The server does not answer.
pub async fn check_round(
    target: &Target,
    shop: &Workload,
    accounts: &Accounts,
    round: &Round<'_>,
    share: f64,
) -> Result<Checked, Error> {
    let mut checked = Checked {
        acknowledged: round.ledger.acknowledged.len() as u64,
        ..Checked::default()
    };
    round
        .ledger
        .wrong
        .iter()
        .for_each(|what| checked.fault(what.clone()));
    let channel = target.connect().await?;
    let items = stream::iter(0..shop.shape().items);
    let items = items.map(|item| stock(target, &channel, shop, accounts, item));
    checked.items = compare("on hand, reserved, available", items, &mut checked).await?;
    let customers = stream::iter(0..shop.shape().customers);
    let customers = customers.map(|customer| money(target, &channel, shop, accounts, customer));
    checked.customers = compare("balance, held, available", customers, &mut checked).await?;
    let seed = round.workload.shape().seed;
    let read = by_customer(round).into_iter().enumerate();
    let read = read.filter(|(customer, _)| Chance::new(seed, *customer as u64).unit() < share);
    let lists = stream::iter(read).map(|(customer, told)| {
        let client = OrderServiceClient::new(channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX);
        let customer = customer as u64;
        orders_of(
            target,
            client,
            round,
            customer,
            accounts.customer(customer).newest,
            told,
        )
    });
    let mut lists = lists.buffer_unordered(IN_FLIGHT);
    while let Some(list) = lists.next().await {
        let (read, faults) = list?;
        checked.read += read;
        faults.into_iter().for_each(|fault| checked.fault(fault));
    }
    Ok(checked)
}

/// The orders of every customer that is drawn, sorted as they are listed: newest first, and ids are in time order.
fn by_customer(round: &Round) -> Vec<Vec<Acknowledged>> {
    let mut orders = vec![Vec::new(); round.workload.shape().customers as usize];
    for acknowledged in &round.ledger.acknowledged {
        orders[round.workload.basket(acknowledged.n).customer as usize].push(*acknowledged);
    }
    for told in &mut orders {
        told.sort_unstable_by(|one: &Acknowledged, other| other.cmp(one));
    }
    orders
}

/// The figures of a customer or an item: what they are by the server's books, and what they must be.
struct Figures {
    name: String,
    is: (i64, i64, i64),
    must: (i64, i64, i64),
}

/// Compares all of a kind; how many. `named` says what the figures are.
async fn compare(
    named: &str,
    figures: impl Stream<Item = impl Future<Output = Result<Figures, Error>>>,
    checked: &mut Checked,
) -> Result<u64, Error> {
    let mut figures = pin!(figures.buffer_unordered(IN_FLIGHT));
    let mut compared = 0;
    while let Some(one) = figures.next().await {
        let Figures { name, is, must } = one?;
        compared += 1;
        if is != must {
            // The second is what is held or reserved, and lacks in the third.
            let excess = is.1 - must.1;
            checked.excess_count += u64::from(excess > 0 && is == (must.0, must.1 + excess, must.2 - excess));
            checked.fault(format!("{name}: {named} are {is:?}, must be {must:?}"));
        }
    }
    Ok(compared)
}

async fn stock(
    target: &Target,
    channel: &Channel,
    shop: &Workload,
    accounts: &Accounts,
    item: u64,
) -> Result<Figures, Error> {
    let mut client = ItemServiceClient::new(channel.clone());
    let request = GetItemRequest {
        name: shop.item_name(item),
    };
    let found = patiently(async || client.get_item(target.call(request.clone())).await).await;
    let found = found.map_err(Error::refused("cannot read an item"))?;
    let stock = accounts.item(item);
    Ok(Figures {
        name: found.name,
        is: (found.on_hand, found.reserved, found.available),
        must: (stock.on_hand, stock.reserved, stock.on_hand - stock.reserved),
    })
}

async fn money(
    target: &Target,
    channel: &Channel,
    shop: &Workload,
    accounts: &Accounts,
    customer: u64,
) -> Result<Figures, Error> {
    let mut client = CustomerServiceClient::new(channel.clone());
    let request = GetCustomerRequest {
        name: shop.customer_name(customer),
    };
    let found = patiently(async || client.get_customer(target.call(request.clone())).await).await;
    let found = found.map_err(Error::refused("cannot read a customer"))?;
    let account = accounts.customer(customer);
    let available = CREDIT_LIMIT + account.balance - account.held;
    Ok(Figures {
        name: found.name,
        is: (found.balance, found.held, found.available),
        must: (account.balance, account.held, available),
    })
}

/// Reads the orders of a customer that are newer than `newest`; how many, and what is wrong with them. `told` is sorted as
/// the list is.
async fn orders_of(
    target: &Target,
    mut client: OrderServiceClient<Channel>,
    round: &Round<'_>,
    customer: u64,
    newest: Newest,
    told: Vec<Acknowledged>,
) -> Result<(u64, Vec<String>), Error> {
    let workload = round.workload;
    let (mut read, mut faults) = (0, Vec::new());
    let mut told = told.into_iter().peekable();
    let mut page_token = String::new();
    let mut last: Option<String> = None;
    'pages: loop {
        let request = ListOrdersRequest {
            customer: workload.customer_name(customer),
            // What was refused is recorded too, and holds nothing.
            states: vec![
                State::Pending.into(),
                State::Confirmed.into(),
                State::Cancelled.into(),
                State::PartiallyFulfilled.into(),
                State::Fulfilled.into(),
                State::Closed.into(),
            ],
            page_size: PAGE_SIZE,
            page_token,
            ..ListOrdersRequest::default()
        };
        let page = patiently(async || client.list_orders(target.call(request.clone())).await).await;
        let page = page.map_err(Error::refused("cannot list the orders of a customer"))?;
        for order in page.orders {
            let listed = order.name.strip_prefix("orders/").unwrap_or_default().as_bytes();
            // All from here on were checked when they were new.
            if newest.is_some_and(|newest| listed <= newest.as_slice()) {
                break 'pages;
            }
            read += 1;
            if last.as_ref().is_some_and(|last| *last <= order.name) {
                faults.push(format!("{}: is listed twice, or not in order", order.name));
            }
            while let Some(missing) = told.next_if(|told| told.id.as_slice() > listed) {
                faults.push(format!("{}: was acknowledged and is not listed", missing.name()));
            }
            match told.next_if(|told| told.id == listed) {
                Some(told) => {
                    let state = match round.cancelled.contains(&told.n) {
                        true => State::Cancelled,
                        false => State::Confirmed,
                    };
                    faults.extend(match round.led.get(&told.n) {
                        Some(led) => led.difference(&order),
                        None => difference(&order, workload, told.n, state),
                    });
                }
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

/// How the order differs from what operation `n` asked for, if it is to be in `state`.
pub fn difference(order: &Order, workload: &Workload, n: u64, state: State) -> Option<String> {
    let (asked, total) = workload.order(n);
    let lines = |lines: &[docket_proto::v1::OrderLine]| -> BTreeMap<String, (i64, i64)> {
        lines
            .iter()
            .map(|line| (line.item.clone(), (line.quantity, line.unit_price)))
            .collect()
    };
    let same = order.state() == state
        && order.customer == asked.customer
        && order.total == total
        && order.lines.len() == asked.lines.len()
        && lines(&order.lines) == lines(&asked.lines);
    (!same).then(|| format!("{}: is {order:?}, must be {state:?} as {asked:?}", order.name))
}

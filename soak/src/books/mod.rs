//! The books: the shop as it is opened, and the server's side of it held against what was acknowledged.
//!
//! What the books must say is kept as sums ([`Accounts`]), so that a load of any length needs no more memory than its shop: its
//! orders are checked in rounds, and an order that was checked is remembered only in the sums, and as one that is not
//! newer than its customer's newest one.

mod accounts;
mod check;
mod led;

use std::time::Duration;

use docket_proto::v1::{
    CreateCustomerRequest, CreateItemRequest, Order, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order::State, order_service_client::OrderServiceClient,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status};

use crate::{Acknowledged, Error, Ledger, Target, Workload, drive::may_be_done};

pub use accounts::Accounts;
pub use check::{Checked, Round, check, check_round, difference};
pub use led::{Led, Posted, is_due};

/// Calls in flight while the shop is opened or checked.
const IN_FLIGHT: usize = 32;
/// How long an order whose answer was lost is asked for again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon.
const RETRY: Duration = Duration::from_millis(50);

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
pub(crate) async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<T, Status> {
    let end = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if Instant::now() < end && is_for_now(status.code()) => sleep(RETRY).await,
            Err(status) => return Err(status),
        }
    }
}

pub(crate) fn is_for_now(code: Code) -> bool {
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

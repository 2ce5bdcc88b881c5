//! One node, asked over gRPC, and what its answer means.
//!
//! | the answer | the outcome |
//! |---|---|
//! | a reply | done |
//! | a refusal by a rule of the shop | refused: decided, and nothing lasting was done |
//! | RESOURCE_EXHAUSTED, and UNAVAILABLE with `RetryInfo` | failed: nothing was done, as the contract says |
//! | no credential or right | failed |
//! | no connection could be made | failed: nothing was sent |
//! | everything else, and no answer | unknown |

use std::{error::Error as _, io, time::Duration};

use docket_proto::v1::{
    self, AdjustStockRequest, CancelOrderRequest, CreditAccountRequest, GetCustomerRequest, GetItemRequest,
    GetOrderRequest, ListCustomersRequest, ListItemsRequest, ListOrdersRequest, OrderLine, PlaceOrderRequest,
    WatchOrdersRequest, WatchOrdersResponse, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order_service_client::OrderServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use super::{deeds::Message, seen};
use crate::{
    CURRENCY, Target,
    history::{Ask, Outcome, Refusal, Reply},
};

/// The server is told to give up after this long.
const DEADLINE: Duration = Duration::from_secs(4);
/// A client waits no longer than this.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How many of a customer's newest orders are listed.
pub const PAGE: i32 = 10;
/// The largest page that the contract allows: of items and customers.
const ACCOUNTS_PAGE: i32 = 1_000;

/// A way to a node.
#[derive(Clone, Debug)]
pub struct Node {
    target: Target,
    channel: Channel,
}

impl Node {
    /// Connects with the first call, and again whenever the connection is lost.
    pub fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            channel: target.endpoint.connect_lazy(),
        }
    }

    /// Asks, and waits for a bounded time.
    pub async fn ask(&self, ask: &Ask) -> Outcome {
        match timeout(WAIT_MAX, self.call(ask)).await {
            Ok(Ok(reply)) => Outcome::Ok(reply),
            Ok(Err(status)) => outcome(&status),
            Err(_) => Outcome::Unknown(format!("no answer within {WAIT_MAX:?}")),
        }
    }

    /// Asks what is answered with an order, and shows that as it came.
    ///
    /// # Errors
    /// What it means that there is none.
    pub async fn order(&self, ask: &Ask) -> Result<v1::Order, Outcome> {
        self.in_time(self.call_about(ask)).await
    }

    /// Places an order.
    ///
    /// # Errors
    /// What it means that there is none.
    pub async fn place(&self, order: PlaceOrderRequest) -> Result<v1::Order, Outcome> {
        let mut orders = OrderServiceClient::new(self.channel.clone());
        self.in_time(orders.place_order(self.request(order))).await
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Outcome> {
        match timeout(WAIT_MAX, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(outcome(&status)),
            Err(_) => Err(Outcome::Unknown(format!("no answer within {WAIT_MAX:?}"))),
        }
    }

    /// Opens a watch of all orders behind this token, or behind all that is committed now where it is empty.
    pub(super) async fn watch(&self, resume_token: &str) -> Result<Streaming<WatchOrdersResponse>, Status> {
        let request = WatchOrdersRequest {
            resume_token: resume_token.to_owned(),
            ..WatchOrdersRequest::default()
        };
        let mut orders = OrderServiceClient::new(self.channel.clone());
        // Without a deadline: it is to go on for as long as anybody reads.
        let opened = timeout(WAIT_MAX, orders.watch_orders(self.target.call(request))).await;
        let opened = opened.map_err(|_| Status::unavailable("no answer in time"))?;
        opened.map(Response::into_inner)
    }

    async fn call(&self, ask: &Ask) -> Result<Reply, Status> {
        let mut orders = OrderServiceClient::new(self.channel.clone());
        let mut items = ItemServiceClient::new(self.channel.clone());
        let mut customers = CustomerServiceClient::new(self.channel.clone());
        let order = |order: Response<_>| Reply::Order(Box::new(seen::order(order.into_inner())));
        let item = |item: Response<_>| Reply::Item(seen::item(item.into_inner()));
        let customer = |customer: Response<_>| Reply::Customer(seen::customer(customer.into_inner()));
        match ask.clone() {
            Ask::Place {
                request_id,
                customer,
                lines,
            } => {
                let line = |line: crate::history::Line| OrderLine {
                    item: line.item,
                    quantity: line.quantity,
                    unit_price: line.unit_price,
                    ..OrderLine::default()
                };
                let request = PlaceOrderRequest {
                    request_id,
                    customer,
                    currency_code: CURRENCY.into(),
                    lines: lines.into_iter().map(line).collect(),
                    payment_method: String::new(),
                };
                orders.place_order(self.request(request)).await.map(order)
            }
            Ask::Cancel { .. } | Ask::Do { .. } | Ask::GetOrder { .. } => {
                self.call_about(ask).await.map(order)
            }
            Ask::Adjust {
                request_id,
                item: name,
                delta,
            } => {
                let request = AdjustStockRequest {
                    name,
                    delta,
                    request_id,
                    etag: String::new(),
                };
                items.adjust_stock(self.request(request)).await.map(item)
            }
            Ask::Credit {
                request_id,
                customer: name,
                amount,
            } => {
                let request = CreditAccountRequest {
                    name,
                    amount,
                    request_id,
                    etag: String::new(),
                };
                customers
                    .credit_account(self.request(request))
                    .await
                    .map(customer)
            }
            Ask::GetItem { item: name } => items
                .get_item(self.request(GetItemRequest { name }))
                .await
                .map(item),
            Ask::GetCustomer { customer: name } => {
                let request = self.request(GetCustomerRequest { name });
                customers.get_customer(request).await.map(customer)
            }
            Ask::ListItems => {
                let mut listed = Vec::new();
                let mut request = ListItemsRequest {
                    page_size: ACCOUNTS_PAGE,
                    ..ListItemsRequest::default()
                };
                loop {
                    let page = items
                        .list_items(self.request(request.clone()))
                        .await?
                        .into_inner();
                    listed.extend(page.items.into_iter().map(seen::item));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        return Ok(Reply::Items(listed));
                    }
                }
            }
            Ask::ListCustomers => {
                let mut listed = Vec::new();
                let mut request = ListCustomersRequest {
                    page_size: ACCOUNTS_PAGE,
                    ..ListCustomersRequest::default()
                };
                loop {
                    let page = customers
                        .list_customers(self.request(request.clone()))
                        .await?
                        .into_inner();
                    listed.extend(page.customers.into_iter().map(seen::customer));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        return Ok(Reply::Customers(listed));
                    }
                }
            }
            Ask::ListOrders { customer } => {
                let request = ListOrdersRequest {
                    customer,
                    page_size: PAGE,
                    ..ListOrdersRequest::default()
                };
                let page = orders.list_orders(self.request(request)).await?.into_inner();
                Ok(Reply::Orders {
                    complete: page.next_page_token.is_empty(),
                    orders: page.orders.into_iter().map(seen::order).collect(),
                })
            }
        }
    }

    /// Calls what is about one order that is there.
    async fn call_about(&self, ask: &Ask) -> Result<Response<v1::Order>, Status> {
        let mut orders = OrderServiceClient::new(self.channel.clone());
        match ask.clone() {
            Ask::Cancel {
                request_id,
                order: name,
                etag,
            } => {
                let request = CancelOrderRequest {
                    name,
                    request_id,
                    etag,
                };
                orders.cancel_order(self.request(request)).await
            }
            Ask::Do {
                request_id,
                order: name,
                deed,
                etag,
            } => self.send(Message::new(name, request_id, etag, &deed)).await,
            Ask::GetOrder { order: name } => orders.get_order(self.request(GetOrderRequest { name })).await,
            other => Err(Status::internal(format!("is not about one order: {other:?}"))),
        }
    }

    /// Sends what is asked of an order.
    async fn send(&self, message: Message) -> Result<Response<v1::Order>, Status> {
        let mut orders = OrderServiceClient::new(self.channel.clone());
        match message {
            Message::Hold(it) => orders.hold_order(self.request(it)).await,
            Message::Release(it) => orders.release_order_hold(self.request(it)).await,
            Message::Ship(it) => orders.ship_order(self.request(it)).await,
            Message::Plan(it) => orders.open_fulfilment(self.request(it)).await,
            Message::GiveUp(it) => orders.cancel_fulfilment(self.request(it)).await,
            Message::CancelLines(it) => orders.cancel_order_lines(self.request(it)).await,
            Message::Deliver(it) => orders.deliver_fulfilment(self.request(it)).await,
            Message::Edit(it) => orders.edit_order(self.request(it)).await,
            Message::Return(it) => orders.request_return(self.request(it)).await,
            Message::Resolve(it) => orders.resolve_return(self.request(it)).await,
            Message::Receive(it) => orders.receive_return(self.request(it)).await,
            Message::Close(it) => orders.close_return(self.request(it)).await,
            Message::Refund(it) => orders.refund_order(self.request(it)).await,
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.target.call(message);
        request.set_timeout(DEADLINE);
        request
    }
}

/// What a status means for whether something was done.
pub fn outcome(status: &Status) -> Outcome {
    let Some(info) = status.get_details_error_info() else {
        return match was_never_sent(status) {
            true => Outcome::Failed(format!("not connected: {}", status.message())),
            false => Outcome::Unknown(format!("{:?}: {}", status.code(), status.message())),
        };
    };
    let told = || format!("{} ({:?})", info.reason, status.code());
    match status.code() {
        Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::InvalidArgument => {
            let figures = info
                .metadata
                .iter()
                .filter_map(|(name, figure)| Some((name.clone(), figure.parse().ok()?)));
            let resource = status.get_details_resource_info();
            Outcome::Refused(Refusal {
                figures: figures.collect(),
                resource: resource
                    .map(|resource| resource.resource_name)
                    .unwrap_or_default(),
                reason: info.reason,
            })
        }
        Code::ResourceExhausted | Code::PermissionDenied | Code::Unauthenticated => Outcome::Failed(told()),
        Code::Unavailable if status.get_details_retry_info().is_some() => Outcome::Failed(told()),
        _ => Outcome::Unknown(told()),
    }
}

/// Whether there was nobody to send it to.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn status(code: Code, reason: &str, retry: bool) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "docket", [("available".to_owned(), "7".to_owned())]);
        if retry {
            details.set_retry_info(Some(Duration::from_millis(50)));
        }
        details.set_resource_info("docket.v1.Item", "items/tea", "", "");
        Status::with_error_details(code, "why", details)
    }

    #[test]
    fn a_refusal_by_a_rule_is_told_with_its_figures() {
        let told = outcome(&status(Code::FailedPrecondition, "INSUFFICIENT_STOCK", false));
        let refusal = Refusal {
            reason: "INSUFFICIENT_STOCK".into(),
            resource: "items/tea".into(),
            figures: [("available".to_owned(), 7)].into(),
        };
        assert_eq!(told, Outcome::Refused(refusal));
    }

    #[test]
    fn what_says_when_to_come_back_was_not_done() {
        for (code, reason) in [
            (Code::Unavailable, "SHARD_UNAVAILABLE"),
            (Code::ResourceExhausted, "OVERLOADED"),
        ] {
            assert!(
                matches!(outcome(&status(code, reason, true)), Outcome::Failed(_)),
                "{reason}"
            );
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for status in [
            status(Code::Unavailable, "OUTCOME_UNKNOWN", false),
            status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", false),
            status(Code::Internal, "INTERNAL", false),
            // From the connection, not from the server.
            Status::unavailable("broken pipe"),
            Status::cancelled("the stream was reset"),
            Status::failed_precondition("by whom?"),
        ] {
            assert!(matches!(outcome(&status), Outcome::Unknown(_)), "{status:?}");
        }
    }

    #[tokio::test]
    async fn without_a_listener_nothing_was_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let node = Node::new(&Target::new(&nowhere, None).unwrap());
        let ask = Ask::GetItem {
            item: "items/tea".into(),
        };
        let told = node.ask(&ask).await;
        assert!(
            matches!(&told, Outcome::Failed(why) if why.starts_with("not connected")),
            "{told:?}"
        );
    }
}

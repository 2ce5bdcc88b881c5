//! The bare echo: a tonic server that answers the same messages with answers of the same size and does nothing else, neither
//! authenticate nor decide nor store. No server on tonic can be faster.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
};

use docket_proto::v1::{
    BatchGetOrdersRequest, BatchGetOrdersResponse, CancelFulfilmentRequest, CancelOrderLinesRequest,
    CancelOrderRequest, CloseReturnRequest, DeliverFulfilmentRequest, EditOrderRequest, GetOrderRequest,
    HoldOrderRequest, ListOrderEventsRequest, ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse,
    OpenFulfilmentRequest, Order, OrderLine, PlaceOrderRequest, PlaceOrdersResponse, ReceiveReturnRequest,
    RefundOrderRequest, ReleaseOrderHoldRequest, RequestReturnRequest, ResolveReturnRequest,
    RetryPaymentRequest, ShipOrderRequest, WatchOrdersRequest, WatchOrdersResponse,
    order::State,
    order_service_server::{OrderService, OrderServiceServer},
    place_orders_response,
};
use futures::{Stream, StreamExt as _};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use crate::{CURRENCY, Error, Target, Usage};

/// What is in flight on a stream without being read, and on a connection, in bytes: Docket's own bounds.
const WINDOWS: (u32, u32) = (256 * 1_024, 1_024 * 1_024);
/// The order that every call is answered with.
const NAME: &str = "orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q";

/// An echo in a process of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct Echo {
    child: Child,
    address: String,
}

impl Echo {
    /// Starts `program` with `args`, which must call [`serve`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, args: &[&str]) -> Result<Self, Error> {
        let spawned = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let child = spawned.map_err(Error::system(format!("start {}", program.display())))?;
        let mut echo = Self {
            child,
            address: String::new(),
        };
        let stdout = echo
            .child
            .stdout
            .take()
            .ok_or(Error::Broken("the echo has no stdout"))?;
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(Error::system("hear from the echo"))?;
        echo.address = format!("http://{}", line.trim());
        Ok(echo)
    }

    /// The way to it.
    ///
    /// # Errors
    /// It did not say where it is.
    pub fn target(&self) -> Result<Target, Error> {
        Target::new(&self.address, None)
    }

    /// What its process uses.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage, Error> {
        Usage::of(self.child.id()).map_err(Error::system("see what the echo uses"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It has nothing to finish, and may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the bare echo on a port that the system chooses, says which on stdout, and ends when stdin does: with whoever started it.
///
/// # Errors
/// It cannot be served.
pub async fn serve() -> Result<(), Error> {
    serve_as(Bare).await
}

/// The same with another service behind the messages, for what lies between the echo and Docket.
///
/// # Errors
/// It cannot be served.
pub async fn serve_as(service: impl OrderService) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(Error::system("listen"))?;
    println!("{}", listener.local_addr().map_err(Error::system("listen"))?);
    std::thread::spawn(|| {
        // Nobody writes: this ends with stdin, whatever the reason.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let served = Server::builder()
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .add_service(OrderServiceServer::new(service))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    served
        .await
        .map_err(|cause| Error::system("serve the echo")(std::io::Error::other(cause)))
}

struct Bare;

/// What the echo answers.
pub fn confirmed(request: PlaceOrderRequest) -> Order {
    Order {
        name: NAME.to_owned(),
        customer: request.customer,
        state: State::Confirmed.into(),
        currency_code: request.currency_code,
        total: request
            .lines
            .iter()
            .map(|line| line.quantity * line.unit_price)
            .sum(),
        lines: request.lines,
        create_time: Some(Default::default()),
        update_time: Some(Default::default()),
        etag: "v2".to_owned(),
        ..Order::default()
    }
}

#[tonic::async_trait]
impl OrderService for Bare {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<Order>, Status> {
        Ok(Response::new(confirmed(request.into_inner())))
    }

    type PlaceOrdersStream = Pin<Box<dyn Stream<Item = Result<PlaceOrdersResponse, Status>> + Send>>;

    async fn place_orders(
        &self,
        request: Request<Streaming<PlaceOrderRequest>>,
    ) -> Result<Response<Self::PlaceOrdersStream>, Status> {
        let answer = |request: Result<PlaceOrderRequest, Status>| {
            let mut request = request?;
            let request_id = std::mem::take(&mut request.request_id);
            let result = Some(place_orders_response::Result::Order(Box::new(confirmed(request))));
            Ok(PlaceOrdersResponse { request_id, result })
        };
        Ok(Response::new(Box::pin(request.into_inner().map(answer))))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let line = |quantity| OrderLine {
            item: "items/i500".to_owned(),
            quantity,
            unit_price: 500,
            ..OrderLine::default()
        };
        let order = confirmed(PlaceOrderRequest {
            customer: "customers/c500".to_owned(),
            currency_code: CURRENCY.to_owned(),
            lines: vec![line(1), line(2)],
            ..PlaceOrderRequest::default()
        });
        Ok(Response::new(Order {
            name: request.into_inner().name,
            ..order
        }))
    }

    async fn list_orders(
        &self,
        _: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        Err(Status::unimplemented("the echo lists nothing"))
    }

    type WatchOrdersStream = Pin<Box<dyn Stream<Item = Result<WatchOrdersResponse, Status>> + Send>>;

    async fn watch_orders(
        &self,
        _: Request<WatchOrdersRequest>,
    ) -> Result<Response<Self::WatchOrdersStream>, Status> {
        Err(Status::unimplemented("the echo watches nothing"))
    }

    async fn cancel_order(&self, _: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo cancels nothing"))
    }

    async fn ship_order(&self, _: Request<ShipOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo ships nothing"))
    }

    async fn open_fulfilment(&self, _: Request<OpenFulfilmentRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo ships nothing"))
    }

    async fn cancel_fulfilment(
        &self,
        _: Request<CancelFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo ships nothing"))
    }

    async fn deliver_fulfilment(
        &self,
        _: Request<DeliverFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo ships nothing"))
    }

    async fn batch_get_orders(
        &self,
        _: Request<BatchGetOrdersRequest>,
    ) -> Result<Response<BatchGetOrdersResponse>, Status> {
        Err(Status::unimplemented("the echo lists nothing"))
    }

    async fn list_order_events(
        &self,
        _: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        Err(Status::unimplemented("the echo lists nothing"))
    }

    async fn cancel_order_lines(
        &self,
        _: Request<CancelOrderLinesRequest>,
    ) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn edit_order(&self, _: Request<EditOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo edits nothing"))
    }

    async fn request_return(&self, _: Request<RequestReturnRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn resolve_return(&self, _: Request<ResolveReturnRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn receive_return(&self, _: Request<ReceiveReturnRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn close_return(&self, _: Request<CloseReturnRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn refund_order(&self, _: Request<RefundOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn retry_payment(&self, _: Request<RetryPaymentRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo returns nothing"))
    }

    async fn hold_order(&self, _: Request<HoldOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo holds nothing"))
    }

    async fn release_order_hold(
        &self,
        _: Request<ReleaseOrderHoldRequest>,
    ) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("the echo holds nothing"))
    }
}

//! The steps as servers.

use std::{path::Path, pin::Pin, sync::Arc};

use bytes::Bytes;
use docket_persistence::{Journal, JournalOptions};
use docket_proto::v1::{
    BatchGetOrdersRequest, BatchGetOrdersResponse, CancelFulfilmentRequest, CancelOrderLinesRequest,
    CancelOrderRequest, CloseReturnRequest, DeliverFulfilmentRequest, EditOrderRequest, GetOrderRequest,
    HoldOrderRequest, ListOrderEventsRequest, ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse,
    OpenFulfilmentRequest, Order, PlaceOrderRequest, PlaceOrdersResponse, ReceiveReturnRequest,
    RefundOrderRequest, ReleaseOrderHoldRequest, RequestReturnRequest, ResolveReturnRequest,
    RetryPaymentRequest, ShipOrderRequest, WatchOrdersRequest, WatchOrdersResponse,
    order_service_server::OrderService, place_orders_response,
};
use docket_soak::echo;
use futures::{Stream, StreamExt as _};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    actors::Actors,
    file::Log,
    groups::{Groups, Tally},
};

/// What all records of an order of two lines weigh together (`docs/performance.md`), and how many of them its answer waits for.
pub const ORDER_BYTES: usize = 313;
pub const RECORDS: usize = 3;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Echo,
    Actors,
    File,
    Journal,
    Groups,
    All,
}

impl Step {
    pub const ALL: [Self; 6] = [
        Self::Echo,
        Self::Actors,
        Self::File,
        Self::Journal,
        Self::Groups,
        Self::All,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Actors => "actors",
            Self::File => "file",
            Self::Journal => "journal",
            Self::Groups => "groups",
            Self::All => "all",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

/// Serves until stdin ends, with its journal in `folder`.
pub fn serve(step: Step, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let behind = match step {
            Step::Echo => Behind::Nothing,
            Step::Actors => Behind::Actors(Actors::start(None).await),
            Step::File => Behind::File(Log::open(folder)),
            Step::Journal => {
                let options = JournalOptions::new(folder);
                Behind::Journal(Journal::open(options, &mut |_, _| {}).unwrap().0)
            }
            Step::Groups => Behind::Groups(Arc::new(Groups::open(folder).await)),
            Step::All => {
                let groups = Arc::new(Groups::open(folder).await);
                Behind::Actors(Actors::start(Some(groups)).await)
            }
        };
        let behind = Arc::new(behind);
        echo::serve_as(Service { behind }).await.unwrap();
    });
}

enum Behind {
    Nothing,
    File(Log),
    Journal(Journal),
    Groups(Arc<Groups>),
    Actors(Actors),
}

impl Behind {
    async fn work(&self, request: &PlaceOrderRequest) {
        match self {
            Self::Nothing => {}
            Self::File(log) => {
                let (tally, answer) = Tally::new();
                log.append(tally);
                answer.await.unwrap();
            }
            Self::Journal(journal) => {
                let (sender, durable) = oneshot::channel();
                let done = Box::new(move |result: Result<&[_], _>| {
                    // Who asked may have gone.
                    let _ = sender.send(result.is_ok());
                });
                let record = Bytes::from_static(&[7; ORDER_BYTES]);
                journal.append(vec![record], done).unwrap();
                assert!(durable.await.unwrap());
            }
            Self::Groups(groups) => {
                let lines = request.lines.iter().map(|line| line.item.as_str());
                let (tally, answer) = Tally::new();
                for key in lines {
                    groups.submit(key, Arc::clone(&tally));
                }
                groups.submit(&request.customer, tally);
                answer.await.unwrap();
            }
            Self::Actors(actors) => actors.place(request).await,
        }
    }
}

struct Service {
    behind: Arc<Behind>,
}

/// Orders of one stream that are worked on at the same time: more than the load has in flight.
const STREAM_IN_FLIGHT_MAX: usize = 1_024;

fn answer(mut request: PlaceOrderRequest) -> PlaceOrdersResponse {
    let request_id = std::mem::take(&mut request.request_id);
    let result = Some(place_orders_response::Result::Order(Box::new(echo::confirmed(
        request,
    ))));
    PlaceOrdersResponse { request_id, result }
}

type Answers = Pin<Box<dyn Stream<Item = Result<PlaceOrdersResponse, Status>> + Send>>;

fn other<T>() -> Result<T, Status> {
    Err(Status::unimplemented("only orders are measured"))
}

#[tonic::async_trait]
impl OrderService for Service {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<Order>, Status> {
        let request = request.into_inner();
        self.behind.work(&request).await;
        Ok(Response::new(echo::confirmed(request)))
    }

    type PlaceOrdersStream = Answers;

    async fn place_orders(
        &self,
        request: Request<Streaming<PlaceOrderRequest>>,
    ) -> Result<Response<Self::PlaceOrdersStream>, Status> {
        let requests = request.into_inner();
        let behind = Arc::clone(&self.behind);
        if matches!(*behind, Behind::Nothing) {
            return Ok(Response::new(Box::pin(
                requests.map(|request| request.map(answer)),
            )));
        }
        let answers = requests.map(move |request| {
            let behind = Arc::clone(&behind);
            async move {
                let request = request?;
                behind.work(&request).await;
                Ok(answer(request))
            }
        });
        Ok(Response::new(Box::pin(
            answers.buffer_unordered(STREAM_IN_FLIGHT_MAX),
        )))
    }

    async fn get_order(&self, _: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn list_orders(
        &self,
        _: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        other()
    }

    async fn cancel_order(&self, _: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn ship_order(&self, _: Request<ShipOrderRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn open_fulfilment(&self, _: Request<OpenFulfilmentRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn cancel_fulfilment(
        &self,
        _: Request<CancelFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        other()
    }

    async fn deliver_fulfilment(
        &self,
        _: Request<DeliverFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        other()
    }

    async fn batch_get_orders(
        &self,
        _: Request<BatchGetOrdersRequest>,
    ) -> Result<Response<BatchGetOrdersResponse>, Status> {
        other()
    }

    async fn list_order_events(
        &self,
        _: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        other()
    }

    async fn cancel_order_lines(
        &self,
        _: Request<CancelOrderLinesRequest>,
    ) -> Result<Response<Order>, Status> {
        other()
    }

    async fn edit_order(&self, _: Request<EditOrderRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn request_return(&self, _: Request<RequestReturnRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn resolve_return(&self, _: Request<ResolveReturnRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn receive_return(&self, _: Request<ReceiveReturnRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn close_return(&self, _: Request<CloseReturnRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn refund_order(&self, _: Request<RefundOrderRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn retry_payment(&self, _: Request<RetryPaymentRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn hold_order(&self, _: Request<HoldOrderRequest>) -> Result<Response<Order>, Status> {
        other()
    }

    async fn release_order_hold(
        &self,
        _: Request<ReleaseOrderHoldRequest>,
    ) -> Result<Response<Order>, Status> {
        other()
    }

    type WatchOrdersStream = Pin<Box<dyn Stream<Item = Result<WatchOrdersResponse, Status>> + Send>>;

    async fn watch_orders(
        &self,
        _: Request<WatchOrdersRequest>,
    ) -> Result<Response<Self::WatchOrdersStream>, Status> {
        other()
    }
}

//! A stream of orders on a connection: as many in flight as its window, the next one when one is answered.

use docket_proto::v1::{
    GetOrderRequest, PlaceOrdersResponse, order_service_client::OrderServiceClient, place_orders_response,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Response, transport::Channel};

use super::lane::{Lane, Operation, Pending};
use crate::Target;

/// Why a stream is left.
enum Left {
    /// The time is up, and everything is answered.
    Done,
    /// It broke.
    Broken(Code),
}

/// Keeps a stream busy until the time is up; one that breaks is followed by a new one.
pub async fn run(lane: &Lane<'_>, mut client: OrderServiceClient<Channel>, target: &Target) {
    while let Left::Broken(code) = one(lane, &mut client, target).await {
        lane.broke(code);
        if lane.is_over() {
            return;
        }
        lane.pause().await;
    }
}

async fn one(lane: &Lane<'_>, client: &mut OrderServiceClient<Channel>, target: &Target) -> Left {
    // Never holds more than the window.
    let (sender, receiver) = mpsc::unbounded_channel();
    let reader = client.clone();
    let opened = client
        .place_orders(target.call(UnboundedReceiverStream::new(receiver)))
        .await;
    let mut answers = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Left::Broken(status.code()),
    };
    let mut reads = FuturesUnordered::new();
    let mut time_is_up = false;
    loop {
        let in_flight = lane.streamed.borrow().len() + reads.len();
        if time_is_up && in_flight == 0 {
            return Left::Done;
        }
        tokio::select! {
            biased;
            answer = answers.message() => match answer {
                Ok(Some(answer)) => answered(lane, answer),
                Ok(None) => return Left::Broken(Code::Unavailable),
                Err(status) => return Left::Broken(status.code()),
            },
            Some((order, intended, answer)) = reads.next(), if !reads.is_empty() => {
                lane.read(order, intended, answer);
            }
            turn = lane.turn(), if !time_is_up && in_flight < lane.window => {
                let Some(intended) = turn else {
                    time_is_up = true;
                    continue;
                };
                match lane.begin(intended) {
                    (n, Operation::Place) => {
                        let (order, total) = lane.workload.order(n);
                        lane.streamed.borrow_mut().insert(n, Pending::sent_now(intended, total));
                        if sender.send(order).is_err() {
                            return Left::Broken(Code::Unavailable);
                        }
                    }
                    (_, Operation::Read(order)) => {
                        let call = target.call(GetOrderRequest { name: order.name() });
                        let mut reader = reader.clone();
                        reads.push(async move {
                            let answer = reader.get_order(call).await;
                            (order, intended, answer.map(Response::into_inner).map_err(|status| status.code()))
                        });
                    }
                }
            }
        }
    }
}

fn answered(lane: &Lane<'_>, answer: PlaceOrdersResponse) {
    let n = lane.workload.number_of(&answer.request_id);
    let Some((n, pending)) = n.and_then(|n| Some((n, lane.streamed.borrow_mut().remove(&n)?))) else {
        return lane.wrong(format!(
            "an answer to {}, which is not in flight",
            answer.request_id
        ));
    };
    let answer = match answer.result {
        Some(place_orders_response::Result::Order(order)) => Ok(*order),
        Some(place_orders_response::Result::Status(status)) => Err(Code::from_i32(status.code)),
        None => Err(Code::Internal),
    };
    lane.placed(n, pending, answer);
}

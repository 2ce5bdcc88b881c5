//! A stream of orders that goes on over nodes and restarts.

use std::{collections::HashMap, time::Instant};

use docket_proto::v1::{PlaceOrderRequest, PlaceOrdersResponse, order_service_client::OrderServiceClient};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::{Client, back_off::BackOff, endpoints::Way, is_lost};

/// Orders that are sent and not answered at most: as many as a node takes of one stream by default.
const UNANSWERED_MAX: usize = 256;

/// Places the orders of a stream, and sends again, under its request id, what was not answered where a connection or a node
/// was lost: so each is placed once, and answered once.
pub struct OrderStream<S> {
    client: Client,
    orders: S,
    /// All of `orders` were read.
    is_over: bool,
    unanswered: HashMap<String, PlaceOrderRequest>,
    open: Option<Open>,
    back_off: BackOff,
    attempts: u32,
}

/// A stream to a node.
struct Open {
    way: Way,
    /// Bounded by what may be unanswered.
    sender: mpsc::UnboundedSender<PlaceOrderRequest>,
    answers: Streaming<PlaceOrdersResponse>,
}

impl Client {
    /// Places orders, each with a `request_id` that no other of them has. Nothing is sent before the first
    /// [`OrderStream::next`].
    pub fn place_orders<S>(&self, orders: S) -> OrderStream<S>
    where
        S: Stream<Item = PlaceOrderRequest> + Unpin,
    {
        OrderStream {
            client: self.clone(),
            orders,
            is_over: false,
            unanswered: HashMap::new(),
            open: None,
            back_off: BackOff::new(self.back_off),
            attempts: 0,
        }
    }
}

impl<S: Stream<Item = PlaceOrderRequest> + Unpin> OrderStream<S> {
    /// The next answer, in the order in which orders are settled; `None` when every order is answered. Cancelling it loses
    /// nothing.
    ///
    /// # Errors
    /// What a node answered that no other would answer better, or the last failure when none could be asked for as long as a
    /// call may take. Calling it again goes on trying: what was not answered is kept.
    pub async fn next(&mut self) -> Result<Option<PlaceOrdersResponse>, Status> {
        let end = Instant::now() + self.client.call_max;
        loop {
            if self.is_over && self.unanswered.is_empty() {
                self.open = None;
                return Ok(None);
            }
            let status = match self.answer().await {
                Ok(Some(answer)) => {
                    self.back_off = BackOff::new(self.client.back_off);
                    self.attempts = 0;
                    // One that is answered twice was sent twice.
                    if self.unanswered.remove(&answer.request_id).is_some() {
                        return Ok(Some(answer));
                    }
                    continue;
                }
                Ok(None) => continue,
                Err(status) => status,
            };
            if let Some(open) = self.open.take() {
                self.client.endpoints.failed(None, &open.way, &status);
            }
            if !is_lost(&status) {
                return Err(status);
            }
            let wait = self.back_off.next(self.client.endpoints.asked_by(&status));
            if Instant::now() + wait >= end {
                return Err(status);
            }
            tracing::debug!(?wait, %status, unanswered = self.unanswered.len(), "a stream of orders is begun anew");
            tokio::time::sleep(wait).await;
        }
    }

    /// An answer; `None` where something else happened first.
    async fn answer(&mut self) -> Result<Option<PlaceOrdersResponse>, Status> {
        if self.open.is_none() {
            let open = self.begin().await?;
            for order in self.unanswered.values() {
                // Where it is over already, the next answer says so.
                let _ = open.sender.send(order.clone());
            }
            self.open = Some(open);
        }
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        tokio::select! {
            order = self.orders.next(), if !self.is_over && self.unanswered.len() < UNANSWERED_MAX => {
                match order {
                    Some(order) => {
                        let _ = open.sender.send(order.clone());
                        self.unanswered.insert(order.request_id.clone(), order);
                    }
                    None => self.is_over = true,
                }
                Ok(None)
            }
            answer = open.answers.message() => {
                let answer = answer?;
                answer.map(Some).ok_or_else(|| Status::unavailable("the stream ended"))
            }
        }
    }

    async fn begin(&mut self) -> Result<Open, Status> {
        let way = self.client.endpoints.way(None, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        let begun = async {
            let channel = self.client.endpoints.connect(&way).await?;
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut request = Request::new(UnboundedReceiverStream::new(receiver));
            *request.metadata_mut() = self.client.headers.clone();
            let answers = OrderServiceClient::new(channel).place_orders(request).await?;
            Ok((sender, answers.into_inner()))
        };
        match begun.await {
            Ok((sender, answers)) => Ok(Open { way, sender, answers }),
            Err(status) => {
                self.client.endpoints.failed(None, &way, &status);
                Err(status)
            }
        }
    }
}

//! `PlaceOrders`: a stream of orders in, a stream of answers out.
//!
//! ```text
//!   client ──▶ Driver: reads, checks, places ──▶ queue of answers ──▶ Answers ──▶ client
//!                 ▲    (one task a stream)                               │
//!                 └──────────── the window: room for another ────────────┘
//! ```
//!
//! There is no task and no channel per order. As many orders as the window allows, in number and in bytes, are in flight or
//! answered and not yet taken by the client; then the stream is not read any further, which the client sees as HTTP/2's back-pressure. Answers
//! go out as orders are settled, several in one write where several are. The driver is a task of its own because a reply
//! is only looked at while its client reads: orders of a client that does not would be in flight for ever.
//!
//! Where the node is full, a stream waits until it is its turn: to refuse what comes next would cost more than to leave it
//! unread.
//!
//! An order that is refused, by its own shape, by a limit or by the node, is answered and does not end the stream. What
//! ends it: the client has said all (OK), its message does not decode, its deadline, the end of its session or key
//! (UNAUTHENTICATED), or the node stops (UNAVAILABLE). Whatever was not answered by then was not done.

mod elsewhere;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use docket_actors::Docket;
use docket_engine::{
    Order,
    access::{Owner, permit},
};
use docket_proto::{
    PlaceOrdersAnswer, ReceivedOrder,
    api::orders,
    v1::{PlaceOrdersResponse, place_orders_response::Result as Answer},
};
use futures::{FutureExt, Stream, future::BoxFuture, stream::FuturesUnordered, task::AtomicWaker};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::AbortOnDropHandle,
};
use tonic::{Code, Request, Status, Streaming};

use super::{accept, customer::own, order::taken};
use crate::{
    authenticate::Authenticate,
    errors::{Refusal, rpc_status},
    gate::{
        self, CallContext,
        admission::{Admission, Bound, Kind, Permit, Waiting},
        forward::{self, Forwarder},
        limits::Limits,
    },
    telemetry::Telemetry,
};
use elsewhere::{Asking, Outcome, place_where_led};

/// What bounds every stream.
#[derive(Clone)]
pub(crate) struct StreamBounds {
    /// Orders of one stream in flight.
    pub(crate) window: usize,
    /// How long one order may take.
    pub(crate) order_max: Duration,
    pub(crate) limits: Arc<Limits>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Cancelled when the node stops.
    pub(crate) draining: CancellationToken,
    /// Asked again while a stream runs: sessions and keys end.
    pub(crate) authenticator: Arc<dyn Authenticate>,
    /// Has orders placed where they are led; `None` on a node that stands alone.
    pub(crate) forwarder: Option<Arc<Forwarder>>,
}

/// What an order of a stream, or its answer, may have on average, in bytes, so that the window is full only by number.
const ORDER_BYTES: usize = 1_024;
/// What an answer has beside what its order had, in bytes: names, times, a refusal's details.
const ANSWER_BYTES: usize = 256;
/// What is logged of a stream that panicked.
const PLACE_ORDERS: &str = "/docket.v1.OrderService/PlaceOrders";
/// How long a stream may go on before it is asked again who sends it.
const CREDENTIALS_HOLD: Duration = Duration::from_millis(100);

/// The answers to a stream of orders, as the client takes them.
pub(crate) struct Answers {
    queue: mpsc::UnboundedReceiver<Result<(PlaceOrdersAnswer, Place), Status>>,
    /// `None` when it has ended.
    driver: Option<AbortOnDropHandle<()>>,
    telemetry: Arc<Telemetry>,
}

/// How many orders were read and their answers not taken, and how many bytes those may have: what bounds both the orders
/// in flight and the queue.
struct Window {
    taken: AtomicUsize,
    max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The driver, when it waits for room.
    room: AtomicWaker,
}

/// A place in the window, from when an order is read until its answer is taken.
struct Place {
    window: Arc<Window>,
    bytes: usize,
}

/// Reads a stream and places its orders.
struct Driver {
    docket: Docket,
    bounds: StreamBounds,
    context: CallContext,
    /// The headers of the call, with its credential.
    headers: HeaderMap,
    authenticated: Instant,
    incoming: Streaming<ReceivedOrder>,
    /// An order that was read when the node was full.
    held: Option<Read>,
    /// For room for it.
    turn: Turn,
    in_flight: FuturesUnordered<BoxFuture<'static, Settled>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    reading: Reading,
    answers: mpsc::UnboundedSender<Result<(PlaceOrdersAnswer, Place), Status>>,
    window: Arc<Window>,
    /// What the stream itself was admitted with.
    stream: Option<Arc<Permit>>,
}

/// Whose turn it is where the node is full.
#[derive(Default)]
struct Turn {
    /// This stream waits.
    waiting: Option<Waiting>,
}

/// An order that was read.
struct Read {
    request: ReceivedOrder,
    /// Of the request.
    bytes: usize,
    started: Instant,
    /// It had to wait for its turn.
    was_held: bool,
    place: Place,
}

/// Whether there is more to read.
enum Reading {
    /// There may be.
    On,
    /// No: when all that is in flight is answered, the stream ends like this.
    Over(Option<Status>),
}

/// An order that the node has answered.
struct Settled {
    request_id: String,
    started: Instant,
    place: Place,
    outcome: Outcome,
    permit: Permit,
}

impl Window {
    fn is_full(&self) -> bool {
        self.taken.load(SeqCst) >= self.max || self.bytes.load(SeqCst) >= self.bytes_max
    }

    /// Whether there is a place; wakes this task when there is one.
    fn has_room(&self, cx: &Context<'_>) -> bool {
        if !self.is_full() {
            return true;
        }
        self.room.register(cx.waker());
        // It may have been given back in between.
        !self.is_full()
    }

    /// Takes a place. One order may go beyond the bytes: how many it has is known when it has been read.
    fn take(self: &Arc<Self>, bytes: usize) -> Place {
        self.taken.fetch_add(1, SeqCst);
        self.bytes.fetch_add(bytes, SeqCst);
        Place {
            window: Arc::clone(self),
            bytes,
        }
    }
}

impl Turn {
    /// Room for one more order, when it is this stream's turn; none where there is none and the order is late. Then the
    /// stream waits no more: it may have nothing else to ask for, and what it is told another would not hear.
    fn poll(
        &mut self,
        admission: &Arc<Admission>,
        bytes: usize,
        is_late: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Permit>> {
        if self.waiting.is_none()
            && !admission.is_waited_for()
            && let Ok(permit) = admission.admit(Kind::Order, bytes)
        {
            return Poll::Ready(Some(permit));
        }
        loop {
            let new = self.waiting.is_none();
            let waiting = self.waiting.get_or_insert_with(|| admission.wait());
            let woken = Pin::new(waiting).poll(cx).is_ready();
            // There may have been room between looking and waiting; later on, only who is woken has a turn.
            if (woken || new)
                && let Ok(permit) = admission.admit(Kind::Order, bytes)
            {
                self.waiting = None;
                return Poll::Ready(Some(permit));
            }
            if is_late {
                self.waiting = None;
                return Poll::Ready(None);
            }
            if !woken {
                return Poll::Pending;
            }
            self.waiting = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let window = &self.window;
        let taken = window.taken.fetch_sub(1, SeqCst);
        let bytes = window.bytes.fetch_sub(self.bytes, SeqCst);
        if taken >= window.max || bytes >= window.bytes_max {
            window.room.wake();
        }
    }
}

impl Answers {
    /// Begins to read.
    pub(crate) fn new(
        docket: Docket,
        bounds: StreamBounds,
        context: CallContext,
        request: Request<Streaming<ReceivedOrder>>,
    ) -> Self {
        let (metadata, extensions, incoming) = request.into_parts();
        let window = Arc::new(Window {
            taken: AtomicUsize::new(0),
            max: bounds.window,
            bytes: AtomicUsize::new(0),
            bytes_max: bounds.window.saturating_mul(ORDER_BYTES),
            room: AtomicWaker::new(),
        });
        let (answers, queue) = mpsc::unbounded_channel();
        let telemetry = Arc::clone(&bounds.telemetry);
        let driver = Driver {
            draining: Box::pin(bounds.draining.clone().cancelled_owned()),
            docket,
            bounds,
            context,
            headers: metadata.into_headers(),
            authenticated: Instant::now(),
            incoming,
            held: None,
            turn: Turn::default(),
            in_flight: FuturesUnordered::new(),
            reading: Reading::On,
            answers,
            window,
            stream: extensions.get().cloned(),
        };
        Self {
            queue,
            driver: Some(AbortOnDropHandle::new(tokio::spawn(driver))),
            telemetry,
        }
    }
}

impl Stream for Answers {
    type Item = Result<PlaceOrdersAnswer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(answer) = ready!(self.queue.poll_recv(cx)) {
            return Poll::Ready(Some(answer.map(|(answer, _place)| answer)));
        }
        let Some(driver) = &mut self.driver else {
            return Poll::Ready(None);
        };
        let ended = ready!(Pin::new(driver).poll(cx));
        self.driver = None;
        // A stream whose driver panicked has orders without an answer: it must not look complete.
        let panicked = ended.is_err();
        Poll::Ready(panicked.then(|| Err(gate::panicked(&self.telemetry, PLACE_ORDERS).into())))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            this.read(cx);
            match Pin::new(&mut this.in_flight).poll_next(cx) {
                Poll::Ready(Some(settled)) => this.settle(settled),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    let Reading::Over(status) = &mut this.reading else {
                        return Poll::Pending;
                    };
                    if let Some(status) = status.take() {
                        this.send(Err(status));
                    }
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl Driver {
    /// Reads orders until there is none for now, or no room for another.
    fn read(&mut self, cx: &mut Context<'_>) {
        if matches!(self.reading, Reading::On) && self.draining.as_mut().poll(cx).is_ready() {
            self.end(Some(Refusal::stopping().into()));
        }
        while matches!(self.reading, Reading::On) {
            let Some(read) = self.next(cx) else {
                return;
            };
            // One that was held was read long ago; to look at a clock costs something.
            let now = if read.was_held {
                Instant::now()
            } else {
                read.started
            };
            if let Err(refusal) = self.authenticate(now) {
                return self.end(Some(refusal.into()));
            }
            let is_late = now.duration_since(read.started) >= self.bounds.order_max;
            let permit = match self.turn.poll(&self.bounds.admission, read.bytes, is_late, cx) {
                Poll::Ready(Some(permit)) => permit,
                Poll::Pending => {
                    self.held = Some(Read {
                        was_held: true,
                        ..read
                    });
                    return;
                }
                Poll::Ready(None) => {
                    self.bounds.telemetry.denied(Bound::Orders.limiter());
                    let refusal = self.bounds.admission.refusal(Bound::Orders);
                    self.answer(
                        read.request.into_request_id(),
                        read.started,
                        read.place,
                        Err(refusal),
                    );
                    continue;
                }
            };
            match self.check(&read.request) {
                Ok(asked) => self.begin(read, asked, permit),
                Err(refusal) => self.answer(
                    read.request.into_request_id(),
                    read.started,
                    read.place,
                    Err(refusal),
                ),
            }
        }
    }

    /// The next order.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<Read> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        if !self.window.has_room(cx) {
            return None;
        }
        match Pin::new(&mut self.incoming).poll_next(cx) {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(request))) => {
                if let Some(stream) = &self.stream {
                    stream.read();
                }
                let bytes = request.bytes();
                let place = self.window.take(bytes + ANSWER_BYTES);
                return Some(Read {
                    request,
                    bytes,
                    started: Instant::now(),
                    was_held: false,
                    place,
                });
            }
            Poll::Ready(None) => self.end(None),
            Poll::Ready(Some(Err(status))) => self.end(Some(broken_off(status))),
        }
        None
    }

    /// Nothing more is read.
    fn end(&mut self, status: Option<Status>) {
        self.reading = Reading::Over(status);
        // It is another's turn.
        self.turn = Turn::default();
    }

    /// Whether the stream's credential still holds, and what its owner may do by now.
    fn authenticate(&mut self, now: Instant) -> Result<(), Refusal> {
        if now.duration_since(self.authenticated) < CREDENTIALS_HOLD {
            return Ok(());
        }
        let principal = self
            .bounds
            .authenticator
            .authenticate(&self.headers)
            .map_err(|error| {
                self.bounds.telemetry.unauthenticated(error.reason);
                Refusal::from(error)
            })?;
        permit(&principal, self.context.grant, Owner::Unread)?;
        self.context.principal = principal;
        self.authenticated = now;
        Ok(())
    }

    /// What the gate checks of a unary call, for one message.
    fn check(&self, request: &ReceivedOrder) -> Result<orders::PlaceOrder, Refusal> {
        let StreamBounds {
            limits, telemetry, ..
        } = &self.bounds;
        limits.take_principal(&self.context.principal).map_err(|empty| {
            telemetry.denied(empty.limiter);
            empty.refusal()
        })?;
        let asked = accept(orders::streamed_order(request, self.docket.ids()))?;
        own(&self.context, &asked.customer, &[])?;
        Ok(asked)
    }

    /// Starts an order.
    fn begin(&mut self, read: Read, asked: orders::PlaceOrder, permit: Permit) {
        let Read {
            request,
            bytes: _,
            started,
            was_held: _,
            place,
        } = read;
        permit.begin();
        let (id, order) = taken(asked);
        let mut call = self.context.call(id);
        let deadline = started.checked_add(self.bounds.order_max);
        call.deadline = call.deadline.into_iter().chain(deadline).min();
        let docket = self.docket.clone();
        let Some(forwarder) = self.bounds.forwarder.clone() else {
            let request_id = request.into_request_id();
            let placing = async move {
                let outcome = Outcome::Here(docket.place_order(call, order).await);
                Settled {
                    request_id,
                    started,
                    place,
                    outcome,
                    permit,
                }
            };
            return self.in_flight.push(placing.boxed());
        };
        let asking = Asking {
            principal: Arc::clone(&self.context.principal),
            traceparent: forward::traceparent(&self.headers),
            deadline: call.deadline.unwrap_or(started + self.bounds.order_max),
        };
        let placing = async move {
            let outcome = place_where_led(&docket, &forwarder, asking, &request, call, order).await;
            Settled {
                request_id: request.into_request_id(),
                started,
                place,
                outcome,
                permit,
            }
        };
        self.in_flight.push(placing.boxed());
    }

    fn settle(&mut self, settled: Settled) {
        let Settled {
            request_id,
            started,
            place,
            outcome,
            permit,
        } = settled;
        drop(permit);
        match outcome {
            Outcome::Here(outcome) => self.answer(request_id, started, place, outcome.map_err(Refusal::from)),
            Outcome::There(order) => {
                let answer = message(request_id, Answer::Order(order));
                self.tell(answer, started, place, Code::Ok);
            }
            Outcome::Refused(status) => {
                let answer = message(request_id, Answer::Status(rpc_status(&status)));
                self.tell(answer, started, place, status.code());
            }
        }
    }

    fn answer(
        &self,
        request_id: String,
        started: Instant,
        place: Place,
        outcome: Result<Arc<Order>, Refusal>,
    ) {
        match outcome {
            Ok(order) => {
                let answer = PlaceOrdersAnswer::Placed { request_id, order };
                self.tell(answer, started, place, Code::Ok);
            }
            Err(refusal) => {
                let code = refusal.code();
                let answer = message(request_id, Answer::Status(refusal.into_rpc_status()));
                self.tell(answer, started, place, code);
            }
        }
    }

    fn tell(&self, answer: PlaceOrdersAnswer, started: Instant, place: Place, code: Code) {
        self.bounds.telemetry.stream_order(code, started.elapsed());
        self.send(Ok((answer, place)));
    }

    fn send(&self, answer: Result<(PlaceOrdersAnswer, Place), Status>) {
        // Where nobody takes answers any more, this task is about to be aborted.
        let _ = self.answers.send(answer);
    }
}

fn message(request_id: String, result: Answer) -> PlaceOrdersAnswer {
    let result = Some(result);
    PlaceOrdersResponse { request_id, result }.into()
}

/// How a stream ends that cannot be read further. What the edge itself has to say of it has details already.
fn broken_off(status: Status) -> Status {
    if status.details().is_empty() {
        Refusal::unreadable(&status).into()
    } else {
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdmissionConfig;

    #[tokio::test]
    async fn a_stream_whose_order_is_refused_for_being_late_takes_no_turn_from_another() {
        let admission = Admission::new(AdmissionConfig {
            max_calls: 1,
            ..AdmissionConfig::default()
        });
        let in_flight = admission.admit(Kind::Order, 0).unwrap();
        let (mut first, mut second) = (Turn::default(), Turn::default());
        let check = |turn: &mut Turn, is_late: bool| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            turn.poll(&admission, 1, is_late, &mut cx)
                .map(|permit| permit.is_some())
        };
        assert_eq!(check(&mut first, false), Poll::Pending);
        assert_eq!(check(&mut second, false), Poll::Pending);
        assert_eq!(check(&mut first, true), Poll::Ready(false));
        drop(in_flight);
        assert_eq!(check(&mut second, false), Poll::Ready(true));
        assert!(
            !admission.is_waited_for(),
            "nobody waits who has nothing to place"
        );
    }
}

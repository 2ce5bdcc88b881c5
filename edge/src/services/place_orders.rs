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
//! (UNAUTHENTICATED), that streams are switched off for its sender (FAILED_PRECONDITION), or the node stops (UNAVAILABLE). Whatever was not answered by then was not done.

mod elsewhere;
mod in_flight;
mod traced;
mod turn;
mod window;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use docket_actors::{Docket, TaskKind};
use docket_engine::{
    Order,
    access::{Owner, Principal, permit},
};
use docket_proto::{
    PlaceOrdersAnswer, ReceivedOrder,
    api::orders,
    peer_call::ForwardedPrincipal,
    v1::{PlaceOrdersResponse, place_orders_response::Result as Answer},
};
use docket_traces::{Span, Tracer};
use futures::{FutureExt as _, Stream, stream::FuturesUnordered};
use http::HeaderMap;
use tokio::{sync::mpsc, time::Sleep};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::AbortOnDropHandle,
};
use tonic::{Code, Request, Status, Streaming};

use super::{accept, customer::own, order::taken, steering::may_stream};
use crate::{
    authenticate::Authenticate,
    errors::{Refusal, rpc_status},
    gate::{
        self, CallContext,
        admission::{Admission, Bound, Permit},
        forward::Forwarder,
        limits::Limits,
        traced::Carried,
    },
    telemetry::Telemetry,
};
use elsewhere::{Anywhere, Outcome, Way};
use in_flight::{About, InFlight, Settled, timer};
use traced::{Orders, trace_of};
use turn::Turn;
use window::{Place, Window};

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
    /// Says which orders are sampled.
    pub(crate) tracer: Tracer,
}

/// What an order of a stream, or its answer, may have on average, in bytes, so that the window is full only by number.
const ORDER_BYTES: usize = 1_024;
/// What an answer has beside what its order had, in bytes: names, times, a refusal's details.
const ANSWER_BYTES: usize = 256;
/// What is logged of a stream that panicked.
const PLACE_ORDERS: &str = "/docket.v1.OrderService/PlaceOrders";
/// How often at most it is looked which orders are late.
const LATE_EVERY: Duration = Duration::from_millis(10);
/// How long a stream may go on before it is asked again who sends it.
const CREDENTIALS_HOLD: Duration = Duration::from_millis(100);

/// The answers to a stream of orders, as the client takes them.
pub(crate) struct Answers {
    queue: mpsc::UnboundedReceiver<Result<(PlaceOrdersAnswer, Place), Status>>,
    /// `None` when it has ended.
    driver: Option<AbortOnDropHandle<()>>,
    telemetry: Arc<Telemetry>,
}

/// Reads a stream and places its orders.
struct Driver {
    docket: Docket,
    bounds: StreamBounds,
    context: CallContext,
    /// The headers of the call, with its credential.
    headers: HeaderMap,
    authenticated: Instant,
    /// How other nodes are asked for this principal.
    way: Option<(Arc<Principal>, Arc<Way>)>,
    incoming: Streaming<ReceivedOrder>,
    /// An order that was read when the node was full.
    held: Option<Read>,
    /// For room for it.
    turn: Turn,
    in_flight: FuturesUnordered<InFlight>,
    /// For the first of them that will be late.
    late: Option<Pin<Box<Sleep>>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    reading: Reading,
    answers: mpsc::UnboundedSender<Result<(PlaceOrdersAnswer, Place), Status>>,
    window: Arc<Window>,
    /// What the stream itself was admitted with.
    stream: Option<Arc<Permit>>,
    /// How its orders are sampled.
    traced: Orders,
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

impl Answers {
    /// Begins to read.
    pub(crate) fn new(
        docket: Docket,
        bounds: StreamBounds,
        context: CallContext,
        request: Request<Streaming<ReceivedOrder>>,
    ) -> Self {
        let (metadata, extensions, incoming) = request.into_parts();
        let window = Window::new(bounds.window, bounds.window.saturating_mul(ORDER_BYTES));
        let (answers, queue) = mpsc::unbounded_channel();
        let telemetry = Arc::clone(&bounds.telemetry);
        let headers = metadata.into_headers();
        let driver = Driver {
            traced: Orders::of(&headers, context.scope.as_ref()),
            draining: Box::pin(bounds.draining.clone().cancelled_owned()),
            docket,
            bounds,
            context,
            headers,
            authenticated: Instant::now(),
            way: None,
            incoming,
            held: None,
            turn: Turn::default(),
            in_flight: FuturesUnordered::new(),
            late: None,
            reading: Reading::On,
            answers,
            window,
            stream: extensions.get().cloned(),
        };
        Self {
            queue,
            driver: Some(AbortOnDropHandle::new(tokio::spawn(
                TaskKind::Stream.measure(driver),
            ))),
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
            this.give_up(cx);
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
        may_stream(&self.docket, &principal)?;
        self.context.principal = principal;
        self.authenticated = now;
        Ok(())
    }

    /// How other nodes are asked, where there may be some: made anew only when it may have changed whose orders these are.
    fn way(&mut self) -> Option<Arc<Way>> {
        let forwarder = self.bounds.forwarder.as_ref()?;
        let principal = &self.context.principal;
        if let Some((of, way)) = &self.way
            && Arc::ptr_eq(of, principal)
        {
            return Some(Arc::clone(way));
        }
        let way = Arc::new(Way {
            docket: self.docket.clone(),
            forwarder: Arc::clone(forwarder),
            principal: ForwardedPrincipal::of(principal),
            carried: Carried::of(&self.headers),
        });
        self.way = Some((Arc::clone(principal), Arc::clone(&way)));
        Some(way)
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
        if asked.provider.is_some() {
            permit.wait_outside();
        }
        let (id, order) = taken(asked);
        let span = self.traced.begin(&self.bounds.tracer, PLACE_ORDERS, started);
        let mut call = self.context.call(id);
        call.trace = trace_of(span.as_ref(), call.trace);
        call.scope = span.as_ref().map(Span::scope).cloned();
        let deadline = started.checked_add(self.bounds.order_max);
        call.deadline = call.deadline.into_iter().chain(deadline).min();
        // An older node would have the customer's account pay: here it is refused.
        let may_be_forwarded = order.provider.is_none() || self.docket.knows_providers();
        let in_flight = match self.way().filter(|_| may_be_forwarded) {
            None => InFlight::Here {
                placing: self.docket.place_order(call, order).untimed(),
                about: Some(About {
                    request_id: request.into_request_id(),
                    started,
                    place,
                    permit,
                    span,
                }),
            },
            Some(way) => Anywhere {
                way,
                request,
                deadline: call.deadline.unwrap_or(started + self.bounds.order_max),
                call,
                order,
                started,
                place,
                permit,
                span,
            }
            .begin(),
        };
        if self.late.is_none() {
            self.late = in_flight.look_at(started).map(timer);
        }
        self.in_flight.push(in_flight);
    }

    /// Answers those that are late. There is one timer for all, since they are late in the order in which they were begun.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        while let Some(late) = &mut self.late {
            if late.poll_unpin(cx).is_pending() {
                return;
            }
            // By the timer's clock.
            let now = tokio::time::Instant::now().into_std();
            if self.in_flight.iter_mut().any(|in_flight| in_flight.is_over(now)) {
                for mut in_flight in std::mem::take(&mut self.in_flight) {
                    match in_flight.give_up(now, cx) {
                        Some(settled) => self.settle(settled),
                        None => self.in_flight.push(in_flight),
                    }
                }
            }
            let look_at = |in_flight: &InFlight| in_flight.look_at(now);
            let next = self.in_flight.iter().filter_map(look_at).min();
            // To look at all of them for each that is late would be to look without end.
            self.late = next.map(|next| timer(next.max(now + LATE_EVERY)));
        }
    }

    fn settle(&mut self, settled: Settled) {
        let Settled { about, outcome } = settled;
        let About {
            request_id,
            started,
            place,
            permit,
            span,
        } = about;
        drop(permit);
        // Before it is answered, so that a client that has its answers finds its spans.
        let end = |code| {
            if let Some(span) = span {
                gate::traced::end(span, code);
            }
        };
        match outcome {
            Outcome::Here(outcome) => {
                let outcome = outcome.map_err(Refusal::from);
                end(outcome.as_ref().map_or_else(Refusal::code, |_| Code::Ok));
                self.answer(request_id, started, place, outcome);
            }
            Outcome::There(order) => {
                end(Code::Ok);
                let answer = PlaceOrdersAnswer::Elsewhere { request_id, order };
                self.tell(answer, started, place, Code::Ok);
            }
            Outcome::Refused(status) => {
                end(status.code());
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

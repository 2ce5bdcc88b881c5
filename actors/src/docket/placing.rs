//! An order on its way: begun by its first try, whose answer is all that nearly every order needs. What few need, to be tried again or to
//! follow another, is a future of its own, so that it makes the others no larger: tens of thousands of these are made in a second.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use docket_engine::{Order, OrderId, OrderState, PackedOrigin, Rejection, Request};
use docket_traces::Scope;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{sync::oneshot, time::Sleep};

use super::{
    Docket, NO_LEADER, PlaceOrder,
    command::{Steps, TRIES_MAX, Tries, within},
};
use crate::{
    CallError,
    admission::Permit,
    entity::order::{OrderMessage, placed_reply},
    reply::{Caller, Failure, Reply},
    shard::Shard,
};

/// An order that was begun. Answers with the order CONFIRMED, or with the rejection with which it was recorded as REJECTED or EXPIRED.
#[must_use = "nobody is told what becomes of the order"]
pub struct Placing(State);

enum State {
    Asked {
        asked: Asked,
        answer: oneshot::Receiver<Result<Reply, Failure>>,
        late: Late,
    },
    Again(BoxFuture<'static, Result<Arc<Order>, CallError>>),
    Refused(CallError),
    /// It has answered.
    Done,
}

/// Who says when it is too late.
enum Late {
    Never,
    /// A timer, from the first poll on.
    Timer(Instant),
    Running(Pin<Box<Sleep>>),
    /// Whoever polls this.
    Poller(Instant),
}

/// What is asked for, and for whom.
pub(super) struct Asked {
    pub(super) docket: Docket,
    pub(super) shard: Arc<Shard>,
    pub(super) deadline: Option<Instant>,
    pub(super) permit: Arc<Permit>,
    pub(super) place: Arc<PlaceOrder>,
    pub(super) request: Option<Request>,
    pub(super) origin: Option<PackedOrigin>,
    pub(super) scope: Option<Scope>,
    pub(super) id: OrderId,
}

impl Placing {
    /// One that was not begun.
    pub(super) fn refused(error: CallError) -> Self {
        Self(State::Refused(error))
    }

    /// One whose request may have been done already: this answers.
    pub(super) fn repeated(answer: BoxFuture<'static, Result<Arc<Order>, CallError>>) -> Self {
        Self(State::Again(answer))
    }

    /// Begins it.
    pub(super) fn begin(asked: Asked) -> Self {
        // Nothing was done yet, which is known only here.
        if !asked.shard.is_leading() {
            return Self::refused(NO_LEADER);
        }
        let (caller, answer) = Caller::new(asked.deadline, asked.permit.clone());
        let caller = caller.of(asked.origin.as_ref());
        let mut caller = caller.traced(asked.scope.as_ref(), &asked.shard);
        caller.about(asked.id);
        asked
            .shard
            .place_order(asked.id, asked.place.clone(), asked.request, caller);
        let late = asked.deadline.map_or(Late::Never, Late::Timer);
        Self(State::Asked { asked, answer, late })
    }

    /// The same without a timer: whoever polls this looks at [`Placing::deadline`], and takes an order that is late for
    /// [`CallError::DeadlineExceeded`]. One timer for many orders costs less than one each.
    pub fn untimed(mut self) -> Self {
        if let State::Asked { late, .. } = &mut self.0
            && let Late::Timer(deadline) = *late
        {
            *late = Late::Poller(deadline);
        }
        self
    }

    /// After this it is too late, where whoever polls this is to say so.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.0 {
            State::Asked {
                late: Late::Poller(deadline),
                ..
            } => Some(*deadline),
            _ => None,
        }
    }
}

impl Future for Placing {
    type Output = Result<Arc<Order>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.0;
        if let State::Asked { answer, late, .. } = state {
            let answer = match answer.poll_unpin(cx) {
                Poll::Ready(answer) => answer.unwrap_or(Err(Failure::Gone)),
                Poll::Pending => {
                    ready!(late.poll(cx));
                    *state = State::Done;
                    return Poll::Ready(Err(CallError::DeadlineExceeded));
                }
            };
            let State::Asked { asked, .. } = std::mem::replace(state, State::Done) else {
                return Poll::Pending;
            };
            match answer {
                Ok(Reply::Order(order)) if order.state != OrderState::Authorizing => {
                    return Poll::Ready(Ok(order));
                }
                answer => *state = State::Again(asked.again(answer).boxed()),
            }
        }
        match state {
            State::Again(again) => {
                let answer = ready!(again.poll_unpin(cx));
                *state = State::Done;
                Poll::Ready(answer)
            }
            State::Refused(_) => match std::mem::replace(state, State::Done) {
                State::Refused(error) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
            // As futures say of themselves that are polled when they have answered.
            State::Asked { .. } | State::Done => Poll::Pending,
        }
    }
}

impl Late {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Timer(deadline) = *self {
            *self = Self::Running(Box::pin(tokio::time::sleep_until(deadline.into())));
        }
        match self {
            Self::Running(sleep) => sleep.poll_unpin(cx),
            Self::Never | Self::Timer(_) | Self::Poller(_) => Poll::Pending,
        }
    }
}

impl Asked {
    /// What becomes of an order whose first try came to this.
    async fn again(self, first: Result<Reply, Failure>) -> Result<Arc<Order>, CallError> {
        let order = self.tried(first).await?;
        self.authorized(order).await
    }

    /// The order, when its provider has authorised its payment, where it has one.
    pub(super) async fn authorized(self, order: Arc<Order>) -> Result<Arc<Order>, CallError> {
        if order.state != OrderState::Authorizing {
            return Ok(order);
        }
        let Self {
            shard,
            deadline,
            permit,
            ..
        } = self;
        // A provider that is slow is not to keep others' orders out.
        drop(permit);
        let id = order.id;
        // What was given back is, as with any order that is refused.
        let is_over = |order: &Order| {
            let is_settled = order.is_settled() && order.state != OrderState::Authorizing;
            is_settled || shard.committed().first_settled.get(id).is_some()
        };
        within(deadline, shard.committed_when(id, is_over)).await??;
        let settled = shard.committed().first_settled(id);
        match settled.as_ref().and_then(|order| order.rejection.as_deref()) {
            Some(rejection) => Err(rejection.clone().into()),
            None => settled.ok_or(CallError::OutcomeUnknown),
        }
    }

    async fn tried(&self, first: Result<Reply, Failure>) -> Result<Arc<Order>, CallError> {
        let tried = |tries: Tries| tries.traced(self.scope.as_ref());
        let mut tries = tried(Tries::begun(Steps::Several));
        let mut answer = Some(first);
        for _ in 0..TRIES_MAX {
            let reply = match answer.take() {
                Some(Ok(reply)) => reply,
                failed => {
                    if let Some(Err(failure)) = failed {
                        tries.failed(failure)?;
                    }
                    let send = |caller: Caller| {
                        let caller = caller.of(self.origin.as_ref());
                        let again = OrderMessage::Place {
                            place: self.place.clone(),
                            request: self.request,
                            caller,
                        };
                        self.shard.tell_order(self.id, again);
                    };
                    self.run(tries, send).await?
                }
            };
            let followed = match reply {
                Reply::Elsewhere(_) => self.follow(reply).await,
                reply => order_in(reply),
            };
            match followed {
                // The order that had the same request was not committed after all.
                Err(CallError::Rejected(Rejection::OrderNotFound { .. })) => {}
                result => return result,
            }
            tries = tried(Tries::new(Steps::Several));
        }
        Err(CallError::OutcomeUnknown)
    }

    async fn run(&self, tries: Tries, send: impl Fn(Caller)) -> Result<Reply, CallError> {
        self.docket
            .run(&self.shard, self.deadline, &self.permit, tries, send)
            .await
    }

    /// The order that a reply is about, or that it says to wait for.
    pub(super) async fn follow(&self, reply: Reply) -> Result<Arc<Order>, CallError> {
        let reply = match reply {
            Reply::Elsewhere(id) => {
                let send = |caller| self.shard.tell_order(id, OrderMessage::Await { caller });
                let as_of = self.shard.committed().as_of();
                let reply = self.run(Tries::new(Steps::Several), send).await?;
                let is_missing = matches!(reply, Reply::Rejected(Rejection::OrderNotFound { .. }));
                let archived = match is_missing {
                    true => self.docket.archived_order(&self.shard, id, as_of).await?,
                    false => None,
                };
                archived.map_or(reply, |order| placed_reply(&order))
            }
            reply => reply,
        };
        order_in(reply)
    }
}

/// The order that a command has led to.
pub(super) fn order_in(reply: Reply) -> Result<Arc<Order>, CallError> {
    match reply {
        Reply::Order(order) => Ok(order),
        Reply::Rejected(rejection) => Err(rejection.into()),
        _ => Err(CallError::Broken),
    }
}

//! Orders of a stream that are not answered yet.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use docket_actors::{CallError, Placing};
use docket_traces::Span;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    task::unconstrained,
    time::{Sleep, sleep_until},
};

use super::{
    elsewhere::{Next, Outcome, There},
    window::Place,
};
use crate::gate::admission::Permit;

/// What an answer needs to know of its order.
pub(super) struct About {
    pub(super) request_id: String,
    pub(super) started: Instant,
    pub(super) place: Place,
    pub(super) permit: Permit,
    /// Where it is sampled.
    pub(super) span: Option<Span>,
}

/// An order that the node has answered.
pub(super) struct Settled {
    pub(super) about: About,
    pub(super) outcome: Outcome,
}

/// An order that it has not.
#[allow(clippy::large_enum_variant, reason = "a box is what is spared here")]
pub(super) enum InFlight {
    /// Placed by this node.
    Here {
        placing: Placing,
        /// `None` when it is answered.
        about: Option<About>,
    },
    /// Placed by another one.
    There(There),
    /// By whichever leads it.
    Routed(BoxFuture<'static, Settled>),
}

impl InFlight {
    /// When it is to be looked whether it is over, where nothing else says so.
    pub(super) fn look_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Here { placing, .. } => placing.deadline(),
            Self::There(there) => Some(there.deadline().min(now + LEAD_EVERY)),
            Self::Routed(_) => None,
        }
    }

    /// Whether nobody has to wait for it any more.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        match self {
            Self::Here { placing, .. } => placing.deadline().is_some_and(|deadline| deadline <= now),
            Self::There(there) => there.is_over(now),
            Self::Routed(_) => false,
        }
    }

    /// Answers it, if it is over. What the node has said of it in time, and nobody has heard yet, counts.
    pub(super) fn give_up(&mut self, now: Instant, cx: &mut Context<'_>) -> Option<Settled> {
        let (placing, about) = match self {
            Self::Here { placing, about } => (placing, about),
            Self::There(there) => match there.give_up(now, cx)? {
                Next::Settled(settled) => return Some(settled),
                Next::Again(again) => {
                    *self = again;
                    return None;
                }
            },
            Self::Routed(_) => return None,
        };
        if placing.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        // Also where this task has polled so much that it is to let others go first: then nothing would seem to be said.
        let outcome = match unconstrained(&mut *placing).poll_unpin(cx) {
            Poll::Ready(outcome) => outcome,
            // It is tried again, which has a time limit of its own.
            Poll::Pending if placing.deadline().is_none() => return None,
            Poll::Pending => Err(CallError::DeadlineExceeded),
        };
        let (about, outcome) = (about.take()?, Outcome::Here(outcome));
        Some(Settled { about, outcome })
    }
}

impl Future for InFlight {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        loop {
            match &mut *self {
                Self::Here { placing, about } => {
                    let outcome = Outcome::Here(ready!(placing.poll_unpin(cx)));
                    return match about.take() {
                        Some(about) => Poll::Ready(Settled { about, outcome }),
                        None => Poll::Pending,
                    };
                }
                Self::There(there) => match ready!(there.poll_unpin(cx)) {
                    Next::Settled(settled) => return Poll::Ready(settled),
                    Next::Again(again) => *self = again,
                },
                Self::Routed(placing) => return placing.poll_unpin(cx),
            }
        }
    }
}

/// How often it is looked whether another node still leads what it was asked for.
const LEAD_EVERY: Duration = Duration::from_millis(100);

pub(super) fn timer(until: Instant) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(until.into()))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Waker, time::Duration};

    use docket_actors::{Call, Docket, Options, PlaceOrder};
    use docket_engine::{Amount, CustomerId, Line, Quantity, Sku};

    use super::{super::window::Window, *};
    use crate::{
        config::AdmissionConfig,
        gate::admission::{Admission, Kind},
    };

    #[tokio::test]
    async fn what_was_said_in_time_counts_also_where_it_is_heard_too_late() {
        let dir = tempfile::tempdir().unwrap();
        let docket = Docket::open(Options::new(dir.path())).await.unwrap();
        docket.ready().await;
        let nobody = PlaceOrder {
            customer: CustomerId::new("nobody").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("nut").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(1),
            }]),
            provider: None,
        };
        let deadline = Instant::now() + Duration::from_secs(1);
        let call = Call {
            deadline: Some(deadline),
            ..Call::default()
        };
        let admission = Admission::new(AdmissionConfig::default());
        let mut in_flight = InFlight::Here {
            placing: docket.place_order(call, nobody.clone()).untimed(),
            about: Some(About {
                request_id: "r".to_owned(),
                started: Instant::now(),
                place: Window::new(1, 1).take(1),
                permit: admission.admit(Kind::Order, 0).unwrap(),
                span: None,
            }),
        };
        // Whoever comes later is answered later.
        while Instant::now() <= deadline {
            docket
                .place_order(Call::default(), nobody.clone())
                .await
                .unwrap_err();
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            in_flight
                .give_up(deadline - Duration::from_millis(1), &mut cx)
                .is_none()
        );
        let settled = in_flight.give_up(Instant::now(), &mut cx).unwrap();
        assert!(
            matches!(settled.outcome, Outcome::Here(Err(CallError::Rejected(_)))),
            "it was refused, and not late"
        );
        docket.close(Duration::from_secs(10)).await.unwrap();
    }
}

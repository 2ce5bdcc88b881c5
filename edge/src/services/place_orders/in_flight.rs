//! Orders of a stream that are not answered yet.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use docket_actors::Placing;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::{Sleep, sleep_until};

use super::{elsewhere::Outcome, window::Place};
use crate::gate::admission::Permit;

/// What an answer needs to know of its order.
pub(super) struct About {
    pub(super) request_id: String,
    pub(super) started: Instant,
    pub(super) place: Place,
    pub(super) permit: Permit,
}

/// An order that the node has answered.
pub(super) struct Settled {
    pub(super) about: About,
    pub(super) outcome: Outcome,
}

/// An order that it has not.
#[allow(
    clippy::large_enum_variant,
    reason = "a node has either the one kind or the other, and a box is what is spared here"
)]
pub(super) enum InFlight {
    /// On a node that stands alone.
    Here {
        placing: Placing,
        /// `None` when it is answered.
        about: Option<About>,
    },
    /// In a cluster.
    Routed(BoxFuture<'static, Settled>),
}

impl InFlight {
    /// After this it is too late, where nothing else says so.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Here { placing, .. } => placing.deadline(),
            Self::Routed(_) => None,
        }
    }
}

impl Future for InFlight {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        match &mut *self {
            Self::Here { placing, about } => {
                let outcome = Outcome::Here(ready!(placing.poll_unpin(cx)));
                match about.take() {
                    Some(about) => Poll::Ready(Settled { about, outcome }),
                    None => Poll::Pending,
                }
            }
            Self::Routed(placing) => placing.poll_unpin(cx),
        }
    }
}

pub(super) fn timer(until: Instant) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(until.into()))
}

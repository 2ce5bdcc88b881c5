//! The placing of orders.

use std::sync::{Arc, atomic::Ordering};

use docket_cluster::slot_of;
use docket_engine::{
    Currency, CustomerId, Line, Order, OrderCommand, OrderId, ProviderName, Rejection, Time,
};
use futures::FutureExt as _;

use super::{
    Docket,
    command::within,
    not_hidden,
    placing::{Asked, Placing},
    reading::barrier,
};
use crate::{Call, CallError, reply::Reply, request::Content, shard::Shard};

/// Since which version of the peer protocol a node reads in its log that a provider moves an order's money. An older one would stop.
pub(super) const PROVIDERS_SINCE: u32 = 5;
/// What a line's question to its item weighs while it waits for the customer.
const QUESTION_BYTES: usize = 128;

/// A new order, already validated for shape: 1..=100 lines, quantities 1..=10⁹, prices ≥ 0.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    /// Whose it is.
    pub customer: CustomerId,
    /// Of all its amounts.
    pub currency: Currency,
    /// What is ordered.
    pub lines: Arc<[Line]>,
    /// Who moves its money; `None` for the customer's account.
    pub provider: Option<ProviderName>,
}

impl PlaceOrder {
    pub(crate) fn command(&self) -> OrderCommand {
        OrderCommand::Place {
            customer: self.customer.clone(),
            currency: self.currency,
            lines: self.lines.clone(),
            provider: self.provider.clone(),
        }
    }

    /// Placed and refused at once.
    pub(crate) fn refusal(&self, rejection: Rejection) -> OrderCommand {
        OrderCommand::Refuse {
            customer: self.customer.clone(),
            currency: self.currency,
            lines: self.lines.clone(),
            provider: self.provider.clone(),
            rejection,
        }
    }
}

impl Docket {
    /// Places an order: it is begun when this returns, and the future says what became of it, the order CONFIRMED, or the rejection with
    /// which it was recorded as REJECTED. Where nobody polls it the order runs to its end all the same.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn place_order(&self, call: Call, place: PlaceOrder) -> Placing {
        match self.asked(call, place) {
            Err(error) => Placing::refused(error),
            Ok((asked, Some(stored))) => {
                let repeated = async move {
                    within(asked.deadline, barrier(&asked.shard)).await??;
                    let order = asked.follow(stored).await?;
                    asked.authorized(order).await
                };
                Placing::repeated(repeated.boxed())
            }
            Ok((asked, None)) => Placing::begin(asked),
        }
    }

    /// What is asked for, and the answer that the same request has got already.
    fn asked(&self, call: Call, place: PlaceOrder) -> Result<(Asked, Option<Reply>), CallError> {
        not_hidden(&call, &place.customer)?;
        // Wherever it is led.
        if place.provider.is_some() && !self.knows_providers() {
            return Err(CallError::OlderNodes);
        }
        let shard = self.inner.router.of_key(place.customer.as_str());
        let bytes = place.lines.len() * (size_of::<Line>() + QUESTION_BYTES);
        let permit = self.admit(shard, bytes)?;
        let request = call.request_id.as_deref().map(|id| {
            let content = Content::of("PlaceOrder").order(place.currency, &place.lines);
            // As it ever was, where there is none.
            let content = match &place.provider {
                None => content,
                Some(provider) => content.text(provider.as_str()),
            };
            content.about_customer(&place.customer, id)
        });
        let stored = request.and_then(|request| shard.stored_reply(request));
        if stored.is_none() {
            self.has_room(shard, request)?;
            if let Some(provider) = &place.provider {
                self.may_be_paid_by(provider)?;
            }
        }
        let asked = Asked {
            docket: self.clone(),
            shard: shard.clone(),
            deadline: call.deadline,
            permit,
            id: self.order_id(shard, &place.customer),
            place: Arc::new(place),
            request,
            origin: self.origin(&call),
            scope: call.scope,
        };
        Ok((asked, stored))
    }

    /// Whether every node knows that somebody outside may move an order's money: one that does not would have the customer's account pay.
    pub fn knows_providers(&self) -> bool {
        self.inner.node.oldest_version_spoken() >= PROVIDERS_SINCE
    }

    /// Whether every node knows that a shipment may be of a plan: one that does not would send all that is open instead.
    pub fn knows_plans(&self) -> bool {
        self.inner.node.oldest_version_spoken() >= super::life::PLANS_SINCE
    }

    /// Until when what an order has reserved is held for it; `None` where nothing of it expires. Whoever leads its shard goes by its own settings.
    pub fn held_until(&self, order: &Order) -> Option<Time> {
        self.inner.payments.held_until(order)
    }

    /// Whether orders may be placed with a provider.
    fn may_be_paid_by(&self, provider: &ProviderName) -> Result<(), CallError> {
        match self.inner.payments.provider(provider) {
            Some(_) => Ok(()),
            None => Err(Rejection::ProviderNotFound {
                provider: provider.clone(),
            }
            .into()),
        }
    }

    /// A new order's id, never of a later time than the one at which it will be placed: both are told by the shard's clock, which does
    /// not go back.
    fn order_id(&self, shard: &Shard, customer: &CustomerId) -> OrderId {
        let now_ms = u64::try_from(shard.now().0 / 1_000).unwrap_or_default();
        let counter = self.inner.unique.fetch_add(1, Ordering::Relaxed);
        // 34 random bits of this process, 34 of its count.
        let unique = (u128::from(self.inner.unique_prefix) << 34) | u128::from(counter & ((1 << 34) - 1));
        OrderId::compose(now_ms, slot_of(customer.as_str().as_bytes()).number(), unique)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use docket_engine::OrderState;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        Options,
        entity::order::OrderMessage,
        reply::{Caller, Failure},
        shop::shop,
    };

    type Answer = oneshot::Receiver<Result<Reply, Failure>>;

    /// Begins an order, and gives what is not awaited yet: whatever is done before the next await is done before any actor's turn.
    fn begin(docket: &Docket, place: PlaceOrder) -> (OrderId, Arc<Shard>, Answer) {
        let (shard, caller, answer) = caller(docket, &place.customer);
        let id = docket.order_id(&shard, &place.customer);
        shard.place_order(id, Arc::new(place), None, caller);
        (id, shard, answer)
    }

    fn caller(docket: &Docket, customer: &CustomerId) -> (Arc<Shard>, Caller, Answer) {
        let shard = docket.inner.router.of_key(customer.as_str()).clone();
        let permit = docket.admit(&shard, 0).unwrap();
        let (caller, answer) = Caller::new(None, permit);
        (shard, caller, answer)
    }

    fn state(answered: Result<Result<Reply, Failure>, oneshot::error::RecvError>) -> OrderState {
        match answered.unwrap().unwrap() {
            Reply::Order(order) => order.state,
            other => panic!("{other:?}"),
        }
    }

    // On one thread, so that no actor has a turn in between.
    #[tokio::test]
    async fn an_order_that_is_told_something_before_its_actor_has_begun_takes_it_in_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (docket, place) = shop(Options::new(dir.path())).await;
        let customer = place.customer.clone();
        let (id, shard, placed) = begin(&docket, place.clone());
        assert!(shard.orders().contains(&id) && shard.orders().active() == 0);

        let (_, waits, awaited) = caller(&docket, &customer);
        shard.tell_order(id, OrderMessage::Await { caller: waits });
        let (_, cancels, cancelled) = caller(&docket, &customer);
        let cancel = OrderMessage::Unhold {
            owner: None,
            command: OrderCommand::Cancel {
                lines: Box::default(),
                by: None,
                expected: None,
            },
            request: None,
            caller: cancels,
        };
        shard.tell_order(id, cancel);
        assert_eq!(shard.orders().active(), 1);
        assert_eq!(state(placed.await), OrderState::Confirmed);
        assert_eq!(state(awaited.await), OrderState::Confirmed);
        assert_eq!(state(cancelled.await), OrderState::Cancelled);

        // And one that nobody tells anything has one turn, and is gone again.
        let (id, shard, placed) = begin(&docket, place);
        assert_eq!(state(placed.await), OrderState::Confirmed);
        while shard.orders().contains(&id) {
            tokio::task::yield_now().await;
        }
        assert_eq!(shard.orders().active(), 0);
        docket.validate().unwrap();
        docket.close(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn an_order_that_is_thrown_away_before_its_actor_has_begun_tells_its_caller() {
        let dir = tempfile::tempdir().unwrap();
        let (docket, place) = shop(Options::new(dir.path())).await;
        let (id, shard, placed) = begin(&docket, place);
        shard.orders().discard_all();
        assert!(!shard.orders().contains(&id));
        assert_eq!(placed.await.unwrap().unwrap_err(), Failure::Gone);
        docket.close(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn who_refuses_what_is_being_done_looks_again() {
        let dir = tempfile::tempdir().unwrap();
        let (docket, place) = shop(Options::new(dir.path())).await;
        let customer = place.customer.clone();
        let request = Content::of("PlaceOrder")
            .order(place.currency, &place.lines)
            .about_customer(&customer, "r");
        let refuse = |request| {
            let (shard, caller, answer) = caller(&docket, &customer);
            let rejection = Rejection::CustomerNotFound {
                customer: customer.clone(),
            };
            shard.refuse(shard.begin_life(), Some(request), caller, rejection);
            answer
        };
        let is_refused = |answered| matches!(answered, Ok(Ok(Reply::Rejected(_))));
        assert!(is_refused(refuse(request).await));

        // Its change may be seen, and it is not remembered yet.
        let (shard, ..) = caller(&docket, &customer);
        shard.committed().begin_remembering(Some(request));
        assert_eq!(refuse(request).await.unwrap().unwrap_err(), Failure::Gone);
        shard.committed().begin_remembering(None);
        // Nothing is known of it when it is refused, and it is done before anybody hears of that.
        let answer = refuse(request);
        shard.committed().begin_remembering(Some(request));
        assert_eq!(answer.await.unwrap().unwrap_err(), Failure::Gone);
        shard.committed().begin_remembering(None);
        assert!(is_refused(refuse(request).await));

        let call = Call {
            request_id: Some("r".to_owned()),
            ..Call::default()
        };
        docket.place_order(call, place).await.unwrap();
        assert_eq!(refuse(request).await.unwrap().unwrap_err(), Failure::Gone);
        docket.close(Duration::from_secs(10)).await.unwrap();
    }
}

//! Who waits for what: callers outside, and orders that have asked their customer or an item.
//!
//! Neither can be forgotten: a [`Caller`] or an [`Ask`] that is dropped without an answer (its actor panicked, or was
//! thrown away) says so to whoever waits.

use std::{sync::Arc, time::Instant};

use docket_engine::{Customer, Decider, Item, Order, OrderId, PackedOrigin, Quantity, Rejection, Sku};
use docket_traces::{Kind, Scope, Span};
use tokio::sync::oneshot;

use crate::{
    admission::Permit,
    entity::order::{Counted, OrderMessage, Tally},
    shard::Shard,
    traced,
};

/// A committed answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Order(Arc<Order>),
    Customer(Arc<Customer>),
    Item(Arc<Item>),
    Rejected(Rejection),
    /// The same request is this order's already: wait for that one.
    Elsewhere(OrderId),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The actor went away before it looked at the message. Nothing was done.
    Gone,
    /// The actor panicked while it looked at the message. Nothing was done.
    Panicked,
    /// The message made an actor panic again and again. An order that had begun is finished or undone later.
    Poison,
    /// What was decided did not fit the committed state. Nothing was done.
    Conflict,
    /// The shard is not led here. Nothing was done.
    NotLeader,
    /// The log cannot say whether it was done.
    Unknown,
    /// The deadline passed before it was decided. Nothing was done.
    Expired,
}

/// A client's call, waiting. Holds the call's share of the admission bound.
#[derive(Debug)]
pub(crate) struct Caller {
    reply: Option<oneshot::Sender<Result<Reply, Failure>>>,
    deadline: Deadline,
    /// What is to be kept of where it comes from.
    origin: Option<PackedOrigin>,
    /// Where the call is sampled: ends with the answer.
    span: Option<Span>,
    _permit: Arc<Permit>,
}

/// After this nobody waits for an answer; `None` for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(pub(crate) Option<Instant>);

impl Deadline {
    /// Somebody waits for ever.
    pub(crate) const NEVER: Self = Self(None);

    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// When the last of several callers gives up; at once where there is none.
    pub(crate) fn latest(callers: &[Caller]) -> Self {
        let [first, others @ ..] = callers else {
            return Self(Some(Instant::now()));
        };
        let latest = |latest: Option<Instant>, caller: &Caller| Some(latest?.max(caller.deadline.0?));
        Self(others.iter().fold(first.deadline.0, latest))
    }
}

impl Caller {
    pub(crate) fn new(
        deadline: Option<Instant>,
        permit: Arc<Permit>,
    ) -> (Self, oneshot::Receiver<Result<Reply, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        (
            Self {
                reply: Some(sender),
                deadline: Deadline(deadline),
                origin: None,
                span: None,
                _permit: permit,
            },
            receiver,
        )
    }

    /// The same, where what is to be kept of it is known.
    #[must_use]
    pub(crate) fn of(self, origin: Option<&PackedOrigin>) -> Self {
        let mut caller = self;
        caller.origin = origin.cloned();
        caller
    }

    /// The same, where what is done for it is under this.
    #[must_use]
    pub(crate) fn traced(self, scope: Option<&Scope>, shard: &Shard) -> Self {
        let mut caller = self;
        caller.span = scope.map(|scope| {
            let mut span = scope.child(traced::ACTOR, Kind::Internal);
            span.set(traced::SHARD, traced::shard_of(shard));
            span
        });
        caller
    }

    /// Where spans of what is done for it belong.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.span.as_ref().map(Span::scope)
    }

    /// Says of which order it is, where it is sampled.
    pub(crate) fn about(&mut self, order: OrderId) {
        if let Some(span) = &mut self.span {
            span.set(traced::ORDER, order.to_string());
        }
    }

    pub(crate) fn origin(&self) -> Option<PackedOrigin> {
        self.origin.clone()
    }

    pub(crate) fn answer(mut self, reply: Reply) {
        self.send(Ok(reply));
    }

    pub(crate) fn fail(mut self, failure: Failure) {
        self.send(Err(failure));
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.deadline.has_passed()
    }

    fn send(&mut self, result: Result<Reply, Failure>) {
        if let Some(mut span) = self.span.take()
            && result.is_err()
        {
            span.fail();
        }
        if let Some(reply) = self.reply.take() {
            // The caller may have gone: then nobody wants to know.
            let _ = reply.send(result);
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.send(Err(dropped()));
    }
}

/// What an order asks of another entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its customer to say when all is in the log that earlier lives of the order have asked of it.
    Wake,
    /// Its customer to hold money, and to put the order's own events into the log with that.
    Hold,
    /// Its customer to release the hold, or to have it captured, and to put the order's own events into the log with that.
    Unhold,
    /// An item to reserve.
    Reserve(Sku),
    /// An item to reserve more, for the order's edit of this number. (An answer to one that has ended says nothing of the next.)
    Raise { sku: Sku, edit: u32 },
    /// An item to release.
    Release(Sku),
    /// An item to take what was shipped off its stock.
    Consume(Sku),
    /// An item to take what came back on its stock.
    Restock(Sku),
    /// An item to say how much of what it has promised waits, since the order's edit of this number. (What it said before that may be less.)
    Waiting { sku: Sku, edit: u32 },
}

/// What became of a step. Of a good answer of an item: how much of what it has promised to the order waits; whoever else is asked, nothing does.
pub(crate) type Answered = Result<Quantity, StepError>;

/// The good answer where nothing waits.
pub(crate) const NOTHING_WAITS: Answered = Ok(Quantity::ZERO);

/// Why a step was not done.
#[derive(Debug, Clone)]
pub(crate) enum StepError {
    /// A domain answer.
    Rejected(Rejection),
    /// The customer's refusal of a new order, which is in the log: the order is there, and rejected.
    Refused(Rejection),
    /// The request behind the step belongs to another order already.
    Duplicate(OrderId),
    /// No answer.
    Failed(Failure),
}

/// An order's question, waiting for its answer.
pub(crate) struct Ask {
    order: OrderId,
    /// How often the order was edited when it asked.
    edits: u32,
    /// Nothing that it asks for is to wait.
    only_there: bool,
    /// `None` once it is answered, or needs no answer.
    from: Option<From>,
    /// Where the order asks for a call that is sampled.
    scope: Option<Scope>,
}

/// Who asks.
enum From {
    /// An order's life here: another would not know what to make of the answer.
    Life {
        shard: Arc<Shard>,
        decider: Decider,
        step: Step,
        /// Where good answers are counted before the order hears of them.
        tally: Option<Arc<Tally>>,
    },
    /// An order whose shard is led elsewhere, of who leads the item's in this term.
    Node {
        answer: oneshot::Sender<Answered>,
        term: u64,
        /// Whether the program there knows that what is promised may have to wait.
        knows_waiting: bool,
    },
}

impl Ask {
    /// A question of the order, which lives in this shard.
    pub(crate) fn new(shard: Arc<Shard>, order: OrderId, decider: Decider, step: Step) -> Self {
        let from = From::Life {
            shard,
            decider,
            step,
            tally: None,
        };
        Self {
            order,
            edits: 0,
            only_there: false,
            from: Some(from),
            scope: None,
        }
    }

    /// The same, where what is done for it is under this.
    pub(crate) fn traced(mut self, scope: Option<&Scope>) -> Self {
        self.scope = scope.cloned();
        self
    }

    /// Where spans of what is done for it belong.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// The same, with its good answer counted.
    pub(crate) fn counted(mut self, counted: Arc<Tally>) -> Self {
        self.scope = counted.scope().cloned();
        if let Some(From::Life { tally, .. }) = &mut self.from {
            *tally = Some(counted);
        }
        self
    }

    /// The same, of an order that was edited so often.
    pub(crate) fn edited(mut self, edits: u32) -> Self {
        self.edits = edits;
        self
    }

    /// The same; where `only_there`, nothing that it asks for is to wait.
    pub(crate) fn only_there(mut self, only_there: bool) -> Self {
        self.only_there = only_there;
        self
    }

    /// A question of an order whose shard is led elsewhere, and its answer.
    pub(crate) fn of_node(
        order: OrderId,
        term: u64,
        knows_waiting: bool,
    ) -> (Self, oneshot::Receiver<Answered>) {
        let (answer, answered) = oneshot::channel();
        let from = Some(From::Node {
            answer,
            term,
            knows_waiting,
        });
        let asks = Self {
            order,
            edits: 0,
            only_there: false,
            from,
            scope: None,
        };
        (asks, answered)
    }

    /// The life that asks.
    pub(crate) fn decider(&self) -> Decider {
        match &self.from {
            Some(From::Life { decider, .. }) => *decider,
            _ => Decider::default(),
        }
    }

    pub(crate) fn order(&self) -> OrderId {
        self.order
    }

    pub(crate) fn edits(&self) -> u32 {
        self.edits
    }

    /// Whether nothing more is to be promised for it than there is.
    pub(crate) fn is_only_there(&self) -> bool {
        self.only_there
    }

    /// Whether it is meant for who leads in this term: one that was on its way for long may have come to a later one.
    pub(crate) fn is_for(&self, led_in: u64) -> bool {
        match &self.from {
            Some(From::Node { term, .. }) => *term == led_in,
            _ => true,
        }
    }

    /// Whether who asks knows what it is to wait: what an older program is promised must be there.
    pub(crate) fn knows_waiting(&self) -> bool {
        match &self.from {
            Some(From::Node { knows_waiting, .. }) => *knows_waiting,
            _ => true,
        }
    }

    pub(crate) fn answer(mut self, result: Answered) {
        self.send(result);
    }

    /// The order needs no answer: it hears of what follows.
    pub(crate) fn needs_no_answer(mut self) {
        self.from = None;
    }

    fn send(&mut self, result: Answered) {
        let (shard, decider, step, tally) = match self.from.take() {
            Some(From::Life {
                shard,
                decider,
                step,
                tally,
            }) => (shard, decider, step, tally),
            Some(From::Node { answer, .. }) => {
                // Who asked may not wait any longer.
                let _ = answer.send(result);
                return;
            }
            None => return,
        };
        let message = match count(tally.as_deref(), &step, &result) {
            Counted::Waits => return,
            Counted::Complete => OrderMessage::Complete { decider },
            Counted::BrokenUp => OrderMessage::Answer {
                decider,
                step,
                result,
            },
        };
        shard.answer_order(self.order, message);
    }
}

fn count(tally: Option<&Tally>, step: &Step, result: &Answered) -> Counted {
    match (tally, step, result) {
        (None, ..) => Counted::BrokenUp,
        (Some(tally), Step::Reserve(sku), Ok(waiting)) => tally.reserved(sku, *waiting),
        (Some(tally), ..) => {
            tally.break_up();
            Counted::BrokenUp
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.send(Err(StepError::Failed(dropped())));
    }
}

/// Why a message is dropped: its actor panics over it, or was thrown away before it came to it.
fn dropped() -> Failure {
    if std::thread::panicking() {
        Failure::Panicked
    } else {
        Failure::Gone
    }
}

//! Orders that a provider is paid for: what it is to do, what it does wrong meanwhile, and what it says.
//!
//! It is a process of its own, as the node knows it: asked over HTTP, behind the answer of the node. Whatever becomes of its replies, it says in
//! the end what it has done, so that the model need only know what it declines.

use docket_engine::{OrderId, PaymentKind, ProviderName, Rejection};
use docket_proto::v1;
use serde_json::{Value, json};

use super::{
    commands::Ask,
    compare::Times,
    draw::Commands,
    oracle::Oracle,
    reference::{Order, Step},
    show::small,
};

/// How the node knows the provider.
pub const NAME: &str = "cards";
/// One that it does not know.
const NOBODY: &str = "nobody";
/// What the provider says where it declines.
pub const DECLINED: &str = "no";
/// Who holds an order whose payment is not certain.
pub const ITSELF: &str = "docket";

/// Who pays for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// Its customer, of what it has here.
    Account,
    /// The provider.
    Cards,
    /// A provider that there is not.
    Nobody,
}

impl Payer {
    /// As a request says it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Account => "",
            Self::Cards => NAME,
            Self::Nobody => NOBODY,
        }
    }

    pub fn another(self) -> Self {
        match self {
            Self::Account => Self::Cards,
            Self::Cards | Self::Nobody => Self::Account,
        }
    }
}

/// What the provider does wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It declines, for good.
    Declines,
    /// It has done it, and nobody hears of that.
    DropsReply,
    /// It never hears of it.
    DropsRequest,
    /// It does it as if asked twice.
    AnswersTwice,
    /// It is out of order, and does nothing.
    IsOutOfOrder,
    /// It has done it, and says something that nobody understands.
    AnswersGarbage,
    /// It has done it, and does not say so until the node was killed and started again.
    IsSilentOverAKill,
}

impl Mishap {
    pub const ALL: [Self; 7] = [
        Self::Declines,
        Self::DropsReply,
        Self::DropsRequest,
        Self::AnswersTwice,
        Self::IsOutOfOrder,
        Self::AnswersGarbage,
        Self::IsSilentOverAKill,
    ];

    /// As the provider is told it, of whatever step comes first.
    pub fn told(self) -> Value {
        let what = match self {
            Self::Declines => json!({"fault": "decline", "reason": DECLINED}),
            Self::DropsReply => json!({"fault": "drop-reply"}),
            Self::DropsRequest => json!({"fault": "drop-request"}),
            Self::AnswersTwice => json!({"fault": "twice"}),
            Self::IsOutOfOrder => json!({"fault": "status", "status": 500}),
            Self::AnswersGarbage => json!({"fault": "garbage"}),
            Self::IsSilentOverAKill => json!({"fault": "hold-reply"}),
        };
        let of_kind = PaymentKind::ALL.into_iter().map(|kind| {
            let mut fault = what.clone();
            fault["on"] = json!(kind.to_string());
            fault
        });
        of_kind.collect()
    }
}

impl Commands {
    pub(super) fn payer(&mut self) -> Payer {
        match self.random.below(40) {
            0 => Payer::Nobody,
            1..14 => Payer::Cards,
            _ => Payer::Account,
        }
    }

    /// What the provider does wrong at a step that may come of this.
    pub(super) fn mishap(&mut self, oracle: &Oracle, ask: &Ask) -> Option<Mishap> {
        let pays = |order: &OrderId| {
            let order = oracle.model.orders.get(order);
            order.is_some_and(Order::is_to_be_authorized)
        };
        // An edit is not answered before what it costs more is authorised.
        let costs_more = |order: &OrderId, lines: &[(u16, i64)]| {
            let Some(order) = oracle.model.orders.get(order) else {
                return false;
            };
            let is_there = |line: &u16| usize::from(*line) < order.lines.len();
            let edit = lines.iter().filter(|(line, _)| is_there(line));
            let edit = edit.map(|&(line, many)| (line, many.into())).collect();
            order.costs_more(&edit) > 0
        };
        let (is_by_provider, is_placed) = match ask {
            Ask::PlaceOrder { payer, .. } => (*payer == Payer::Cards, true),
            Ask::EditOrder { order, lines, .. } => (pays(order), costs_more(order, lines)),
            Ask::CancelOrder { order, .. }
            | Ask::CancelOrderLines { order, .. }
            | Ask::ShipOrder { order, .. }
            | Ask::RefundOrder { order, .. }
            | Ask::RetryPayment { order, .. } => (pays(order), false),
            _ => (false, false),
        };
        let mishap = *self.one_of(&Mishap::ALL);
        let happens = is_by_provider && self.random.below(3) == 0;
        // An order is not answered before it is authorised: nobody could be killed behind that.
        let may_be = happens && !(is_placed && mishap == Mishap::IsSilentOverAKill);
        may_be.then_some(mishap)
    }

    pub(super) fn retry_payment(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| !order.waiting().is_empty());
        let there = oracle.model.orders.get(&order);
        let waiting = there.map(Order::waiting).unwrap_or_default();
        let steps = there.and_then(|order| order.steps.as_ref()).map_or(0, Vec::len);
        let step = match self.random.below(5) {
            0 => 1 + self.random.below(steps as u64 + 1) as u32,
            _ if waiting.is_empty() => 1,
            _ => *self.one_of(&waiting),
        };
        Ask::RetryPayment {
            order,
            step,
            etag: self.version(oracle, order),
        }
    }
}

impl Oracle {
    /// The provider does all that it is to do for an order, and the order hears of it. Whether there was anything.
    pub(super) fn hear_provider(&mut self, id: OrderId) -> bool {
        let mut was_due = false;
        while let Some((number, kind)) = self.due_of(id) {
            let mishap = self.mishap.take();
            let is_done = mishap != Some(Mishap::Declines);
            let happened = self.model.paid(id, number, is_done, DECLINED);
            let answer = if is_done { "done" } else { "declined" };
            self.reached.add(format!("payment: {kind} {answer}"));
            if let Some(mishap) = mishap.filter(|_| is_done) {
                self.reached.add(format!("payment: {kind} done, {mishap:?}"));
            }
            let order = &self.model.orders[&id];
            if happened == 2 && kind == PaymentKind::Capture {
                self.texts.entry(id).or_default().notes.push(DECLINED.into());
                self.reached.add("order: held for a payment");
            }
            if order.rejection.is_some() {
                self.give_back(id);
            }
            was_due = true;
        }
        was_due
    }

    /// What the provider has done for all orders is what they know of, and nobody asked it for what must not be.
    pub fn compare_provider(&self, ledger: &Value) {
        assert_eq!(ledger["violations"], json!([]));
        let mut found = ledger["payments"].as_object().unwrap().clone();
        for (id, order) in self.model.orders.iter().filter(|(_, it)| it.steps.is_some()) {
            for payment in 1..=order.payments() {
                let name = match payment {
                    1 => id.to_string(),
                    _ => format!("{id}-{payment}"),
                };
                let found = found.remove(&name);
                let sum = |name: &str| found.as_ref().map_or(0, |it| it[name].as_i64().unwrap());
                let found = ["authorized", "captured", "voided", "refunded"].map(sum);
                let books = order.books_of(payment);
                let should = [books.authorized, books.captured, books.voided, books.refunded].map(small);
                assert_eq!(found, should, "{name}");
            }
        }
        assert!(found.is_empty(), "payments of no order: {found:?}");
    }

    /// The next step that its provider has not answered.
    fn due_of(&self, id: OrderId) -> Option<(u32, PaymentKind)> {
        let steps = self.model.orders.get(&id)?.steps.iter().flatten();
        let mut due = (1..).zip(steps).filter(|(_, step)| step.answer.is_none());
        due.next().map(|(number, step)| (number, step.kind))
    }

    /// Takes off what the provider says of itself, and when: it names what it did, and says so once.
    pub(super) fn without_answers(&mut self, order: &v1::Order, payment: &mut v1::OrderPayment) {
        use v1::payment_step::State;
        for step in &mut payment.steps {
            let what = format!("{}, step {}", order.name, step.number);
            let due = step.create_time.take().unwrap();
            self.times.check_moment(order, format!("{what} due"), due);
            let is_answered = step.state() != State::Due;
            assert_eq!(step.answer_time.is_some(), is_answered, "{order:?}");
            if let Some(answered) = step.answer_time.take() {
                self.times
                    .check_moment(order, format!("{what} answered"), answered);
            }
            assert_eq!(
                step.reference.is_empty(),
                step.state() != State::Done,
                "{order:?}"
            );
            let reference = std::mem::take(&mut step.reference);
            if !reference.is_empty() {
                self.times.check_reference(what, reference);
            }
        }
    }
}

impl Times {
    /// What a provider did has one name for ever.
    fn check_reference(&mut self, what: String, reference: String) {
        let before = self.references.entry(what).or_insert_with(|| reference.clone());
        assert_eq!(*before, reference);
    }
}

pub fn nobody_by_that_name() -> Rejection {
    Rejection::ProviderNotFound {
        provider: ProviderName::new(NOBODY).unwrap(),
    }
}

pub fn provider_of(order: &Order) -> String {
    let provider = order.steps.as_ref().map(|_| NAME);
    provider.unwrap_or_default().to_owned()
}

/// What became of the money of an order that its provider is asked for.
pub fn payment(order: &Order) -> v1::OrderPayment {
    use docket_engine::OrderState;
    use v1::order_payment::State;
    let books = order.books();
    let is_left = books.authorized > books.captured + books.voided;
    let mut asked = order.steps.iter().flatten();
    let is_void_open = asked.any(|it| it.kind == PaymentKind::Void && it.answer.is_none());
    let state = match order.state {
        _ if !order.waiting().is_empty() => State::Failed,
        OrderState::Pending | OrderState::Authorizing => State::Required,
        OrderState::Rejected => State::Failed,
        _ if books.captured == 0 && is_left => State::Authorized,
        _ if books.authorized == 0 && is_void_open => State::Required,
        _ if books.captured == 0 => State::Voided,
        _ if books.refunded == books.captured && !is_left => State::Refunded,
        _ if books.refunded > 0 => State::PartiallyRefunded,
        _ if is_left => State::PartiallyCaptured,
        _ => State::Captured,
    };
    let steps = (1..).zip(order.steps.iter().flatten());
    v1::OrderPayment {
        state: state.into(),
        authorized: small(books.authorized),
        captured: small(books.captured),
        voided: small(books.voided),
        refunded: small(books.refunded),
        provider: provider_of(order),
        steps: steps.map(|(number, step)| show_step(number, step)).collect(),
    }
}

fn show_step(number: i32, step: &Step) -> v1::PaymentStep {
    use v1::payment_step::{Kind, State};
    let state = match (step.answer, step.is_tried_again) {
        (None, _) => State::Due,
        (Some(true), _) => State::Done,
        (Some(false), false) => State::Declined,
        (Some(false), true) => State::Retried,
    };
    let kind = match step.kind {
        PaymentKind::Authorize => Kind::Authorize,
        PaymentKind::Capture => Kind::Capture,
        PaymentKind::Void => Kind::Void,
        PaymentKind::Refund => Kind::Refund,
    };
    let is_declined = step.answer == Some(false);
    v1::PaymentStep {
        number,
        kind: kind.into(),
        state: state.into(),
        amount: small(step.amount),
        payment: step.payment.into(),
        reference: String::new(),
        decline_reason: if is_declined {
            DECLINED.into()
        } else {
            String::new()
        },
        create_time: None,
        answer_time: None,
    }
}

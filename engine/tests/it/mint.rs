//! A provider outside, simulated: it answers about a key once, and for good, keeps books of its own, and stops the test where it is asked for what
//! it could not do.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{Order, OrderId, PaymentKind, PaymentOutcome, PaymentRequest};

use crate::paying::Books;

pub const REASON: &str = "no funds";

#[derive(Default)]
pub struct Mint {
    answers: BTreeMap<String, (PaymentRequest, PaymentOutcome)>,
    books: BTreeMap<(OrderId, u8), Books>,
    /// Payments that will never be authorised: they were voided before.
    blocked: BTreeSet<(OrderId, u8)>,
}

/// What whoever leads the order's shard, or did, asks about a step of it: it may have been answered, or called off, since.
pub fn request(order: &Order, number: u32) -> Option<PaymentRequest> {
    let step = order.payment_step(number)?;
    let mut steps = order.payment_steps().iter();
    let first = steps.find(|it| it.kind == PaymentKind::Authorize && it.payment == step.payment)?;
    let authorization = match &first.outcome {
        Some((PaymentOutcome::Done { reference }, _)) => Some(reference.clone()),
        _ => None,
    };
    Some(PaymentRequest {
        order: order.id,
        customer: order.customer.clone(),
        currency: order.currency,
        number,
        kind: step.kind,
        payment: step.payment,
        group: step.group,
        amount: step.amount,
        authorization,
    })
}

impl Mint {
    /// Of all its payments.
    pub fn books(&self, order: OrderId) -> Books {
        let mut sums = Books::default();
        for (_, of) in self.books.range((order, 0)..=(order, u8::MAX)) {
            sums.authorized += of.authorized;
            sums.captured += of.captured;
            sums.voided += of.voided;
            sums.refunded += of.refunded;
        }
        sums
    }

    pub fn books_of(&self, order: OrderId, payment: u8) -> Books {
        self.books.get(&(order, payment)).copied().unwrap_or_default()
    }

    pub fn ask(&mut self, request: &PaymentRequest, declines: bool) -> PaymentOutcome {
        let key = request.key();
        if let Some((first, answer)) = self.answers.get(&key) {
            // What names the authorisation may be known only now.
            let asks = |it: &PaymentRequest| (it.order, it.payment, it.number, it.kind, it.group, it.amount);
            assert_eq!(asks(first), asks(request), "two things are asked under {key}");
            return answer.clone();
        }
        let payment = (request.order, request.payment);
        let is_blocked = self.blocked.contains(&payment) && request.kind == PaymentKind::Authorize;
        let answer = match declines || is_blocked {
            true => PaymentOutcome::Declined {
                reason: REASON.into(),
            },
            false => {
                self.do_it(request);
                PaymentOutcome::Done {
                    reference: reference(payment),
                }
            }
        };
        self.answers.insert(key, (request.clone(), answer.clone()));
        answer
    }

    fn do_it(&mut self, request: &PaymentRequest) {
        let amount = i128::from(request.amount.0);
        let payment = (request.order, request.payment);
        let id = request.payment_name();
        let books = self.books.entry(payment).or_default();
        let left = books.authorized - books.captured - books.voided;
        let is_known = request.authorization == Some(reference(payment));
        match request.kind {
            PaymentKind::Authorize => {
                assert_eq!(*books, Books::default(), "{id} is authorised twice");
                books.authorized = amount;
            }
            PaymentKind::Capture => {
                assert!(
                    is_known && amount <= left,
                    "{id}: {amount} of {left} are captured"
                );
                books.captured += amount;
            }
            PaymentKind::Void if books.authorized == 0 => {
                assert_eq!(
                    request.authorization, None,
                    "{id} is voided, and was not authorised"
                );
                self.blocked.insert(payment);
            }
            PaymentKind::Void => {
                assert!(amount <= left, "{id}: {amount} of {left} are voided");
                books.voided += amount;
            }
            PaymentKind::Refund => {
                let left = books.captured - books.refunded;
                assert!(
                    is_known && amount <= left,
                    "{id}: {amount} of {left} are refunded"
                );
                books.refunded += amount;
            }
        }
    }
}

fn reference((order, payment): (OrderId, u8)) -> std::sync::Arc<str> {
    format!("auth-{order}-{payment}").into()
}

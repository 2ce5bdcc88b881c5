//! A provider outside, simulated: it answers about a key once, and for good, keeps books of its own, and stops the test where it is asked for what
//! it could not do.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{Order, OrderId, PaymentKind, PaymentOutcome, PaymentRequest};

use crate::paying::Books;

pub const REASON: &str = "no funds";

#[derive(Default)]
pub struct Mint {
    answers: BTreeMap<String, (PaymentRequest, PaymentOutcome)>,
    books: BTreeMap<OrderId, Books>,
    /// Orders that will never be authorised: they were voided before.
    blocked: BTreeSet<OrderId>,
}

/// What whoever leads the order's shard, or did, asks about a step of it: it may have been answered, or called off, since.
pub fn request(order: &Order, number: u32) -> Option<PaymentRequest> {
    let step = order.payment_step(number)?;
    let first = order.payment_step(1)?;
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
        group: step.group,
        amount: step.amount,
        authorization,
    })
}

impl Mint {
    pub fn books(&self, order: OrderId) -> Books {
        self.books.get(&order).copied().unwrap_or_default()
    }

    pub fn ask(&mut self, request: &PaymentRequest, declines: bool) -> PaymentOutcome {
        let key = request.key();
        if let Some((first, answer)) = self.answers.get(&key) {
            // What names the authorisation may be known only now.
            let asks = |it: &PaymentRequest| (it.order, it.number, it.kind, it.group, it.amount);
            assert_eq!(asks(first), asks(request), "two things are asked under {key}");
            return answer.clone();
        }
        let is_blocked = self.blocked.contains(&request.order) && request.kind == PaymentKind::Authorize;
        let answer = match declines || is_blocked {
            true => PaymentOutcome::Declined {
                reason: REASON.into(),
            },
            false => {
                self.do_it(request);
                PaymentOutcome::Done {
                    reference: reference(request.order),
                }
            }
        };
        self.answers.insert(key, (request.clone(), answer.clone()));
        answer
    }

    fn do_it(&mut self, request: &PaymentRequest) {
        let amount = i128::from(request.amount.0);
        let id = request.order;
        let books = self.books.entry(id).or_default();
        let left = books.authorized - books.captured - books.voided;
        let is_known = request.authorization == Some(reference(id));
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
                self.blocked.insert(id);
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

fn reference(order: OrderId) -> std::sync::Arc<str> {
    format!("auth-{order}").into()
}

//! A payment provider in memory: it keeps its books, does nothing twice, and fails as it is told to.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Mutex,
    time::Duration,
};

use docket_engine::{OrderId, PaymentKind, PaymentOutcome, PaymentRequest};
use docket_payments::{NotSettled, PaymentProvider};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::Notify;

/// What goes wrong with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It will not.
    Decline,
    /// It does it, and does not say so.
    Silent,
    /// It does nothing, and does not say so.
    Refuse,
    /// It neither does it nor says anything until the test has decided that.
    Held,
}

/// The provider.
#[derive(Default)]
pub struct Till {
    books: Mutex<Books>,
    changed: Notify,
}

#[derive(Default)]
struct Books {
    /// By order, and of that by payment: authorised, captured, voided, refunded.
    orders: BTreeMap<(OrderId, u8), [i64; 4]>,
    /// Payments that are to take nothing any more.
    barred: BTreeSet<(OrderId, u8)>,
    /// What was answered to each key.
    answers: BTreeMap<String, PaymentOutcome>,
    plans: BTreeMap<PaymentKind, VecDeque<Fault>>,
    held: Vec<PaymentRequest>,
    lost: BTreeSet<String>,
    asked: usize,
    /// Asked anew though it may have been done.
    careless: Vec<String>,
    unsettled: BTreeSet<String>,
}

impl Till {
    /// What goes wrong with the next questions of this kind, one each.
    pub fn plan(&self, kind: PaymentKind, faults: impl IntoIterator<Item = Fault>) {
        self.books
            .lock()
            .unwrap()
            .plans
            .insert(kind, faults.into_iter().collect());
    }

    /// What its books have of an order: authorised, captured, voided, refunded, of all of its payments.
    pub fn of(&self, order: OrderId) -> (i64, i64, i64, i64) {
        let books = self.books.lock().unwrap();
        let payments = books.orders.range((order, 0)..=(order, u8::MAX));
        payments.fold((0, 0, 0, 0), |sum, (_, of)| {
            (sum.0 + of[0], sum.1 + of[1], sum.2 + of[2], sum.3 + of[3])
        })
    }

    /// The same of one payment.
    pub fn of_payment(&self, order: OrderId, payment: u8) -> [i64; 4] {
        let books = self.books.lock().unwrap();
        books.orders.get(&(order, payment)).copied().unwrap_or_default()
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.books.lock().unwrap().asked
    }

    /// What was asked is never asked again as if it had not been.
    pub fn check(&self) {
        let books = self.books.lock().unwrap();
        assert!(books.careless.is_empty(), "asked anew: {:?}", books.careless);
        for [authorized, captured, voided, refunded] in books.orders.values() {
            assert!(captured + voided <= *authorized && refunded <= captured);
        }
    }

    /// The question that is held.
    pub async fn until_held(&self) -> PaymentRequest {
        loop {
            let changed = self.changed.notified();
            if let Some(held) = self.books.lock().unwrap().held.first() {
                return held.clone();
            }
            changed.await;
        }
    }

    /// A question that is held is done, whoever waits for it.
    pub fn deliver(&self, held: &PaymentRequest) {
        self.books.lock().unwrap().carry_out(held);
    }

    /// Whoever waits for a question that is held hears nothing.
    pub fn lose(&self, held: &PaymentRequest) {
        self.books.lock().unwrap().lost.insert(held.key());
        self.changed.notify_waiters();
    }

    async fn answer(
        &self,
        request: &PaymentRequest,
        may_be_asked: bool,
    ) -> Result<PaymentOutcome, NotSettled> {
        let key = request.key();
        let fault = {
            let mut books = self.books.lock().unwrap();
            books.asked += 1;
            if books.unsettled.contains(&key) && !may_be_asked {
                books.careless.push(key.clone());
            }
            if may_be_asked && let Some(answer) = books.answers.get(&key) {
                return Ok(answer.clone());
            }
            books.unsettled.insert(key.clone());
            books.plans.get_mut(&request.kind).and_then(VecDeque::pop_front)
        };
        match fault {
            None => Ok(self.books.lock().unwrap().carry_out(request)),
            Some(Fault::Decline) => {
                let declined = PaymentOutcome::Declined {
                    reason: "no money".into(),
                };
                let mut books = self.books.lock().unwrap();
                Ok(books.answers.entry(key).or_insert(declined).clone())
            }
            Some(Fault::Silent) => {
                self.books.lock().unwrap().carry_out(request);
                Err(silence())
            }
            Some(Fault::Refuse) => Err(silence()),
            Some(Fault::Held) => {
                self.books.lock().unwrap().held.push(request.clone());
                self.changed.notify_waiters();
                loop {
                    let changed = self.changed.notified();
                    if self.books.lock().unwrap().lost.contains(&key) {
                        return Err(silence());
                    }
                    changed.await;
                }
            }
        }
    }
}

fn silence() -> NotSettled {
    NotSettled {
        why: "the till says nothing".into(),
        retry_after: Some(Duration::from_millis(1)),
    }
}

impl Books {
    fn carry_out(&mut self, request: &PaymentRequest) -> PaymentOutcome {
        if let Some(answer) = self.answers.get(&request.key()) {
            return answer.clone();
        }
        let payment = (request.order, request.payment);
        let of_payment = self.orders.entry(payment).or_default();
        let [authorized, captured, voided, refunded] = *of_payment;
        let amount = request.amount.0;
        let is_good = match request.kind {
            PaymentKind::Authorize => !self.barred.contains(&payment) && authorized == 0,
            PaymentKind::Capture => captured + voided + amount <= authorized,
            PaymentKind::Void => authorized == 0 || captured + voided + amount <= authorized,
            PaymentKind::Refund => refunded + amount <= captured,
        };
        let answer = if is_good {
            match request.kind {
                PaymentKind::Void if authorized == 0 => drop(self.barred.insert(payment)),
                kind => of_payment[usize::from(kind.number()) - 1] += amount,
            }
            PaymentOutcome::Done {
                reference: format!("ref-{}", self.answers.len()).into(),
            }
        } else {
            PaymentOutcome::Declined {
                reason: "not possible".into(),
            }
        };
        self.answers.insert(request.key(), answer.clone());
        answer
    }
}

impl PaymentProvider for Till {
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        may_be_asked: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>> {
        self.answer(request, may_be_asked).boxed()
    }
}

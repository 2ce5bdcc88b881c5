//! The payment provider of the simulation: one for all nodes, as it is outside. It keeps its word, answers about a key once and for good, keeps books of
//! its own, and what it is asked and what it says may be late or lost, as the seed has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use docket_actors::PaymentOptions;
use docket_engine::{OrderId, PaymentKind, PaymentOutcome, PaymentRequest, ProviderName};
use docket_payments::{NotSettled, PaymentProvider};
use docket_soak::Chance;
use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::time::sleep;

/// What it is called.
const NAME: &str = "mint";
/// Where its chance begins, beside that of clients and consumers.
const CHANCES: u64 = 700;
/// How long it takes to hear, and to be heard, in milliseconds.
const TAKES_MS: u64 = 30;
/// How long an answer takes that is late: longer than a client waits, sometimes, or an order may.
const LATE_MS: u64 = 6_000;
/// How many questions in a row nobody answers, at most, when it is out of order.
const OUT_OF_ORDER_MAX: u64 = 12;
/// An order is not authorised in time after this.
const AUTHORIZE_WITHIN: Duration = Duration::from_secs(4);
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What an order's money came to, as the provider knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paid {
    pub authorized: i64,
    pub captured: i64,
    pub voided: i64,
    pub refunded: i64,
}

pub struct Provider {
    inner: Mutex<Inner>,
}

struct Inner {
    chance: Chance,
    is_healed: bool,
    out_of_order_for: u64,
    answers: BTreeMap<String, PaymentOutcome>,
    /// By order, and of that by payment.
    paid: BTreeMap<(OrderId, u8), Paid>,
    /// Payments that are never to be authorised: they were voided first.
    blocked: BTreeSet<(OrderId, u8)>,
    /// What nobody who keeps the contract would have asked.
    violations: Vec<String>,
    counts: Counts,
}

/// What happened, so that a run can show that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub done: u64,
    pub declined: u64,
    /// It was asked again about what it had answered.
    pub asked_again: u64,
    pub lost: u64,
}

/// What goes wrong with one question.
#[derive(Clone, Copy, Default)]
struct Mishap {
    never_heard: bool,
    never_told: bool,
    declines: bool,
    takes_ms: (u64, u64),
}

pub fn name() -> ProviderName {
    ProviderName::new(NAME).unwrap()
}

impl Provider {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                chance: Chance::new(seed, CHANCES),
                is_healed: false,
                out_of_order_for: 0,
                answers: BTreeMap::new(),
                paid: BTreeMap::new(),
                blocked: BTreeSet::new(),
                violations: Vec::new(),
                counts: Counts::default(),
            }),
        })
    }

    /// How a node knows it.
    pub fn options(self: &Arc<Self>) -> PaymentOptions {
        let provider: Arc<dyn PaymentProvider> = Arc::clone(self) as _;
        PaymentOptions {
            providers: BTreeMap::from([(name(), provider)]),
            authorize_within: AUTHORIZE_WITHIN,
            again_after: AGAIN_AFTER,
            ..PaymentOptions::default()
        }
    }

    /// Nothing goes wrong any more, and nothing is declined.
    pub fn heal(&self) {
        self.inner.lock().is_healed = true;
    }

    /// Every payment that it ever did anything for, by order.
    pub fn paid(&self) -> BTreeMap<(OrderId, u8), Paid> {
        self.inner.lock().paid.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }

    pub fn counts(&self) -> Counts {
        self.inner.lock().counts
    }
}

impl PaymentProvider for Provider {
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        _may_be_asked: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>> {
        async move {
            let mishap = self.inner.lock().mishap();
            sleep(Duration::from_millis(mishap.takes_ms.0)).await;
            if mishap.never_heard {
                return Err(lost("nobody heard of it"));
            }
            let outcome = self.inner.lock().perform(request, mishap.declines);
            sleep(Duration::from_millis(mishap.takes_ms.1)).await;
            match mishap.never_told {
                true => Err(lost("nobody was told")),
                false => Ok(outcome),
            }
        }
        .boxed()
    }
}

fn lost(why: &str) -> NotSettled {
    NotSettled {
        why: why.to_owned(),
        retry_after: None,
    }
}

impl Inner {
    fn mishap(&mut self) -> Mishap {
        let takes = |chance: &mut Chance| 1 + chance.below(TAKES_MS);
        let takes_ms = (takes(&mut self.chance), takes(&mut self.chance));
        let fine = Mishap {
            takes_ms,
            ..Mishap::default()
        };
        if self.is_healed {
            return fine;
        }
        if self.out_of_order_for > 0 {
            self.out_of_order_for -= 1;
            self.counts.lost += 1;
            return Mishap {
                never_heard: true,
                ..fine
            };
        }
        let mishap = match self.chance.below(24) {
            0..2 => Mishap {
                never_heard: true,
                ..fine
            },
            2..5 => Mishap {
                never_told: true,
                ..fine
            },
            5..7 => Mishap {
                declines: true,
                ..fine
            },
            7 => Mishap {
                takes_ms: (1 + self.chance.below(LATE_MS), takes_ms.1),
                ..fine
            },
            8 => Mishap {
                takes_ms: (takes_ms.0, 1 + self.chance.below(LATE_MS)),
                ..fine
            },
            9 => {
                self.out_of_order_for = self.chance.below(OUT_OF_ORDER_MAX);
                Mishap {
                    never_heard: true,
                    ..fine
                }
            }
            _ => fine,
        };
        self.counts.lost += u64::from(mishap.never_heard || mishap.never_told);
        mishap
    }

    /// Does it, unless it was answered before.
    fn perform(&mut self, request: &PaymentRequest, declines: bool) -> PaymentOutcome {
        let key = request.key();
        if let Some(answer) = self.answers.get(&key) {
            self.counts.asked_again += 1;
            return answer.clone();
        }
        let payment = (request.order, request.payment);
        let is_blocked = request.kind == PaymentKind::Authorize && self.blocked.contains(&payment);
        let answer = match declines || is_blocked {
            true => {
                self.counts.declined += 1;
                PaymentOutcome::Declined {
                    reason: "no funds".into(),
                }
            }
            false => {
                self.counts.done += 1;
                self.move_money(request);
                PaymentOutcome::Done {
                    reference: reference(payment),
                }
            }
        };
        self.answers.insert(key, answer.clone());
        answer
    }

    fn move_money(&mut self, request: &PaymentRequest) {
        let (id, amount) = ((request.order, request.payment), request.amount.0);
        let paid = self.paid.entry(id).or_default();
        let left = paid.authorized - paid.captured - paid.voided;
        let is_known = request.authorization == Some(reference(id));
        let is_allowed = match request.kind {
            PaymentKind::Authorize => {
                let is_new = *paid == Paid::default();
                paid.authorized = amount;
                is_new
            }
            PaymentKind::Capture => {
                paid.captured += amount;
                is_known && amount <= left
            }
            // It sees to it that it never is.
            PaymentKind::Void if paid.authorized == 0 => {
                self.blocked.insert(id);
                request.authorization.is_none()
            }
            PaymentKind::Void => {
                paid.voided += amount;
                amount <= left
            }
            PaymentKind::Refund => {
                paid.refunded += amount;
                is_known && paid.refunded <= paid.captured
            }
        };
        if !is_allowed {
            let paid = *paid;
            self.violations.push(format!("{request:?} makes {paid:?}"));
        }
    }
}

fn reference((order, payment): (OrderId, u8)) -> Arc<str> {
    format!("auth-{order}-{payment}").into()
}

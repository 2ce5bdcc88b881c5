//! What a correct provider knows: each key with what became of it, and each order's money.
//!
//! A step is decided first ([`Ledger::decide`]), written down by the caller, and then true ([`Ledger::apply`]). What came to be on a
//! disk is applied again after a death.

use std::collections::BTreeMap;

use docket_engine::PaymentKind;
use serde::{Deserialize, Serialize};

use crate::wire::{Outcome, StepBody, StepReply};

/// What a provider writes down of a step, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its [`PaymentKind::number`].
    pub kind: u8,
    /// What was asked.
    pub body: StepBody,
    /// What is answered, however often the key is asked.
    pub reply: StepReply,
    /// What nobody who keeps the contract would have asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violation: Option<String>,
}

/// An order's money, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Of all amounts.
    pub currency_code: String,
    /// What was set aside, in all.
    pub authorized: i64,
    /// What of it was taken.
    pub captured: i64,
    /// What of it was given back untaken.
    pub voided: i64,
    /// What was given back of what was taken.
    pub refunded: i64,
    /// Whether it was voided whole: nothing is set aside for the order any more.
    pub barred: bool,
    /// The steps that were done, `KIND-STEP`, each with the key.
    pub done: BTreeMap<String, String>,
    /// The references of its authorisations.
    pub authorizations: Vec<String>,
}

impl Payment {
    /// What is set aside now.
    fn held(&self) -> i64 {
        self.authorized - self.captured - self.voided
    }
}

/// What is to happen with a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The key was asked before: this is what became of it.
    Known(StepReply),
    /// To be written down, applied and answered.
    New(Box<Record>),
    /// The key was asked before with something else.
    OtherBody,
}

#[derive(Debug, Default)]
pub struct Ledger {
    keys: BTreeMap<String, (u8, StepBody, StepReply)>,
    payments: BTreeMap<String, Payment>,
    violations: Vec<String>,
}

impl Ledger {
    /// Decides a step that is asked under `key`; with `decline` it is declined whatever it is.
    pub fn decide(&self, kind: PaymentKind, key: &str, body: &StepBody, decline: Option<&str>) -> Decision {
        if let Some((known_kind, known, reply)) = self.keys.get(key) {
            // Whoever asks again may have learnt meanwhile what the authorisation is called.
            let same = StepBody {
                authorization: None,
                ..known.clone()
            } == StepBody {
                authorization: None,
                ..body.clone()
            };
            return match same && *known_kind == kind.number() {
                true => Decision::Known(reply.clone()),
                false => Decision::OtherBody,
            };
        }
        let (outcome, violation) = match decline {
            Some(reason) => (
                Outcome::Declined {
                    reason: reason.to_owned(),
                },
                None,
            ),
            None => self.judge(kind, key, body),
        };
        Decision::New(Box::new(Record {
            kind: kind.number(),
            body: body.clone(),
            reply: StepReply {
                key: key.to_owned(),
                outcome,
            },
            violation: violation.map(|what| format!("{key}: {what}")),
        }))
    }

    /// Whether the money is there; and what is wrong with the question.
    fn judge(&self, kind: PaymentKind, key: &str, body: &StepBody) -> (Outcome, Option<String>) {
        let declined = |reason: &str| Outcome::Declined {
            reason: reason.to_owned(),
        };
        let nobody = Payment::default();
        let payment = self.payments.get(&body.order).unwrap_or(&nobody);
        let amount = body.amount;
        let wrong = |what: String| (declined(&what), Some(what));
        if !payment.currency_code.is_empty() && payment.currency_code != body.currency_code {
            return wrong(format!("the payment is in {}", payment.currency_code));
        }
        if let Some(reference) = &body.authorization
            && !payment.authorizations.contains(reference)
        {
            return wrong(format!("there is no authorisation {reference:?}"));
        }
        match kind {
            PaymentKind::Authorize if payment.barred => return (declined("voided"), None),
            PaymentKind::Authorize if payment.authorized.checked_add(amount).is_none() => {
                return wrong("the sum is more than can be counted".to_owned());
            }
            PaymentKind::Authorize => {}
            PaymentKind::Capture if amount > payment.held() => {
                return wrong(format!("{amount} is more than is set aside, {}", payment.held()));
            }
            PaymentKind::Refund if amount > payment.captured - payment.refunded => {
                let left = payment.captured - payment.refunded;
                return wrong(format!("{amount} is more than can be given back, {left}"));
            }
            PaymentKind::Capture | PaymentKind::Refund => {}
            // Nothing was set aside, and nothing will be.
            PaymentKind::Void if payment.authorized == 0 || payment.barred => {}
            PaymentKind::Void if amount > payment.held() => {
                return wrong(format!("{amount} is more than is set aside, {}", payment.held()));
            }
            PaymentKind::Void => {}
        }
        let again = payment
            .done
            .get(&step_name(kind, body))
            .map(|first| format!("was done before, under {first}"));
        let reference = format!("{kind}-{}", self.keys.len() + 1);
        debug_assert!(!self.keys.contains_key(key));
        (Outcome::Done { reference }, again)
    }

    /// Makes a record true.
    pub fn apply(&mut self, record: Record) {
        let Record {
            kind,
            body,
            reply,
            violation,
        } = record;
        self.violations.extend(violation);
        if let (Some(of), Outcome::Done { reference }) =
            (PaymentKind::from_number(kind.into()), &reply.outcome)
        {
            let payment = self.payments.entry(body.order.clone()).or_default();
            payment.currency_code.clone_from(&body.currency_code);
            payment.done.insert(step_name(of, &body), reply.key.clone());
            match of {
                PaymentKind::Authorize => {
                    payment.authorized += body.amount;
                    payment.authorizations.push(reference.clone());
                }
                PaymentKind::Capture => payment.captured += body.amount,
                PaymentKind::Refund => payment.refunded += body.amount,
                PaymentKind::Void => {
                    if payment.authorized > 0 && !payment.barred {
                        payment.voided += body.amount;
                    }
                    payment.barred |= payment.captured == 0 && payment.held() == 0;
                }
            }
        }
        self.keys.insert(reply.key.clone(), (kind, body, reply));
    }

    /// What became of a key.
    pub fn lookup(&self, order: &str, key: &str) -> Option<&StepReply> {
        let (_, body, reply) = self.keys.get(key)?;
        (body.order == order).then_some(reply)
    }

    /// Each order's money.
    pub fn payments(&self) -> &BTreeMap<String, Payment> {
        &self.payments
    }

    /// What nobody who keeps the contract would have asked, and what does not add up.
    pub fn violations(&self) -> Vec<String> {
        let sums = self.payments.iter().filter_map(|(order, payment)| {
            let adds_up = 0 <= payment.refunded
                && payment.refunded <= payment.captured
                && payment.captured + payment.voided <= payment.authorized;
            (!adds_up).then(|| format!("{order}: the sums do not add up: {payment:?}"))
        });
        self.violations.iter().cloned().chain(sums).collect()
    }
}

fn step_name(kind: PaymentKind, body: &StepBody) -> String {
    format!("{kind}-{}", body.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PaymentKind::{Authorize, Capture, Refund, Void};

    /// Asks each of these in turn, of one order, and compares what became of it and what is held against whom.
    #[track_caller]
    fn check(asked: &[(PaymentKind, &str, i64)], expected: &[&str], violations: usize) -> Payment {
        let mut ledger = Ledger::default();
        let mut found = Vec::new();
        for (kind, key, amount) in asked {
            let step = key.split('/').next().unwrap().parse().unwrap();
            let body = StepBody {
                order: "A".into(),
                customer: "c".into(),
                currency_code: "EUR".into(),
                amount: *amount,
                step,
                authorization: None,
            };
            found.push(match ledger.decide(*kind, key, &body, None) {
                Decision::Known(_) => "known",
                Decision::OtherBody => "other",
                Decision::New(record) => {
                    let what = match record.reply.outcome {
                        Outcome::Done { .. } => "done",
                        Outcome::Declined { .. } => "declined",
                    };
                    ledger.apply(*record);
                    what
                }
            });
        }
        assert_eq!(found, expected);
        assert_eq!(ledger.violations().len(), violations, "{:?}", ledger.violations());
        ledger.payments().get("A").cloned().unwrap_or_default()
    }

    #[test]
    fn money_moves_as_it_was_set_aside() {
        let payment = check(
            &[
                (Authorize, "1/1", 100),
                (Capture, "2/1", 60),
                (Capture, "2/1", 60),
                (Void, "3/1", 40),
                (Refund, "4/1", 10),
                (Refund, "5/1", 50),
            ],
            &["done", "done", "known", "done", "done", "done"],
            0,
        );
        let Payment {
            authorized,
            captured,
            voided,
            refunded,
            ..
        } = payment;
        assert_eq!((authorized, captured, voided, refunded), (100, 60, 40, 60));
        assert!(!payment.barred);
    }

    #[test]
    fn a_void_of_what_was_never_seen_bars_what_comes_late() {
        let payment = check(
            &[
                (Void, "2/1", 100),
                (Authorize, "1/1", 100),
                (Authorize, "1/2", 100),
                (Void, "3/1", 100),
            ],
            &["done", "declined", "declined", "done"],
            0,
        );
        assert!(payment.barred);
        assert_eq!((payment.authorized, payment.voided), (0, 0));
        let payment = check(
            &[
                (Authorize, "1/1", 100),
                (Void, "2/1", 100),
                (Authorize, "3/1", 100),
            ],
            &["done", "done", "declined"],
            0,
        );
        assert_eq!((payment.authorized, payment.voided), (100, 100));
    }

    #[test]
    fn what_nobody_should_ask_is_held_against_the_caller() {
        check(
            &[
                (Authorize, "1/1", 100),
                (Capture, "2/1", 101),
                (Refund, "3/1", 1),
                (Void, "4/1", 101),
            ],
            &["done", "declined", "declined", "declined"],
            3,
        );
        check(
            &[
                (Authorize, "1/1", 100),
                (Capture, "2/1", 10),
                (Capture, "2/2", 10),
            ],
            &["done", "done", "done"],
            1,
        );
        check(
            &[(Authorize, "1/1", 100), (Authorize, "1/1", 200)],
            &["done", "other"],
            0,
        );
    }
}

//! What becomes of a payment by a provider: it is asked, it answers, the order hears of it, early, late or again.

use docket_engine::{OrderCommand, OrderId, OrderState, PaymentKind, PaymentOutcome, ProviderName, Version};
use proptest::sample::Index;

use super::{Run, changed, fulfil::shop};
use crate::{
    mint::{REASON, request},
    ops::Etag,
    paying::Books,
};

pub(super) fn mint() -> ProviderName {
    ProviderName::new("mint").unwrap()
}

impl Run {
    /// As whoever leads its shard does: for the next step. Or as somebody who led it and does not know better: for any.
    pub(super) fn ask_provider(&mut self, id: OrderId, step: Option<Index>, declines: bool) {
        let order = &self.world.orders[&id];
        let steps = order.payment_steps().len();
        let asked = match step {
            None => order.next_payment(),
            Some(_) if steps == 0 => None,
            Some(step) => request(order, step.index(steps) as u32 + 1),
        };
        let Some(asked) = asked else { return };
        let is_of_edit = asked.kind == PaymentKind::Authorize && asked.payment > 1;
        if asked.number > 1 && asked.kind == PaymentKind::Authorize && !is_of_edit {
            panic!("{id} is authorised by step {}", asked.number);
        }
        let is_given_up = order.payment_steps()[asked.number as usize - 1].is_open()
            && order.awaits_authorization() != Some(asked.number);
        if is_of_edit && is_given_up {
            self.reach("an edit that was given up is authorised late");
        }
        let order = &self.world.orders[&id];
        let is_off = matches!(order.state, OrderState::Cancelled | OrderState::Expired);
        if asked.kind == PaymentKind::Authorize && is_off {
            self.reach("an order that was called off is authorised late");
        }
        let outcome = self.world.mint.ask(&asked, declines);
        self.answers.entry(id).or_default().push((asked.number, outcome));
    }

    pub(super) fn hear_provider(&mut self, id: OrderId, answer: Option<Index>) {
        let answers = self.answers.get(&id).map_or(&[][..], |answers| answers);
        let answer = match answer {
            _ if answers.is_empty() => return,
            None => answers.last().cloned(),
            Some(index) => Some(answers[index.index(answers.len())].clone()),
        };
        let (number, outcome) = answer.unwrap();
        self.hear(id, number, &outcome);
    }

    pub(super) fn hear(&mut self, id: OrderId, number: u32, outcome: &PaymentOutcome) {
        let before = self.state_of(id);
        let order = &self.model.orders[&id];
        let (version, was_releasing) = (order.version, !order.releasing.is_empty());
        let is_early = order
            .steps
            .iter()
            .flatten()
            .take(number.saturating_sub(1) as usize)
            .any(|it| it.answer.is_none() && it.kind != PaymentKind::Authorize);
        let is_done = matches!(outcome, PaymentOutcome::Done { .. });
        let paid = OrderCommand::Paid {
            number,
            outcome: outcome.clone(),
        };
        let awaited = order.awaited == Some(number);
        let (events, effects) = self.world.ask_order(id, &paid).unwrap();
        let happened = self.model.paid(id, number, is_done, REASON);
        assert_eq!(events, happened, "{paid:?} of {id}");
        if awaited {
            assert_eq!(happened, 2);
            self.give_back(id, 0, &effects);
            self.told.remove(&id);
            return self.reach(match is_done {
                true => "an edit is authorised",
                false => "an edit is declined by its provider",
            });
        }
        match (before.as_str(), self.state_of(id).as_str()) {
            ("AUTHORIZING", "REJECTED") => self.give_back(id, 0, &effects),
            _ => assert_eq!(effects, [], "{paid:?} of {id}"),
        }
        if happened == 0 {
            let steps = self.model.orders[&id].steps.as_ref().map_or(0, Vec::len);
            match number as usize {
                0 => self.reach("Paid of step 0"),
                number if number > steps => self.reach("Paid of a step that is not there"),
                1 if before != "AUTHORIZING" && self.is_open(id, 1) => self.reach("authorised too late"),
                _ => self.reach("Paid again"),
            }
            return;
        }
        if is_early {
            self.reach("Paid before an earlier step");
        }
        let kind = self.model.orders[&id].steps.as_ref().unwrap()[number as usize - 1].kind;
        if kind == PaymentKind::Authorize {
            self.next_step(id);
            self.reach(format!("{before} to {}", self.state_of(id)));
            return;
        }
        let answer = if is_done { "done" } else { "declined" };
        self.reach(format!("{kind} {answer}"));
        if happened == 2 {
            self.reach(format!("{before} is held for a payment"));
        } else if !is_done && kind == PaymentKind::Capture {
            match before.as_str() {
                "FULFILLED" => self.reach("FULFILLED is not held for a payment"),
                _ => self.reach("what is held, or was held too often, is not held for a payment"),
            }
        }
        if matches!(before.as_str(), "CANCELLED" | "EXPIRED") {
            let when = if was_releasing { "before" } else { "behind" };
            self.reach(format!(
                "{kind} {answer} of what is {before}, {when} all is released"
            ));
        }
        assert_eq!(self.model.orders[&id].version, version + happened as u64);
    }

    fn is_open(&self, id: OrderId, number: usize) -> bool {
        let steps = self.model.orders[&id].steps.as_ref();
        steps.is_some_and(|steps| steps.get(number - 1).is_some_and(|it| it.answer.is_none()))
    }

    pub(super) fn hear_of_no_step(&mut self, id: OrderId, is_zero: bool) {
        let steps = self.world.orders[&id].payment_steps().len() as u32;
        let reference = "auth".into();
        let number = if is_zero { 0 } else { steps + 1 };
        self.hear(id, number, &PaymentOutcome::Done { reference });
    }

    pub(super) fn retry_payment(&mut self, id: OrderId, step: Option<Index>, etag: Etag) {
        let order = &self.model.orders[&id];
        let (waiting, steps) = (order.waiting(), order.steps.as_ref().map_or(0, Vec::len));
        let number = match step {
            Some(step) if !waiting.is_empty() => waiting[step.index(waiting.len())],
            Some(step) if steps > 0 => step.index(steps) as u32 + 1,
            _ => steps as u32 + 1,
        };
        let expected = self.version(id, etag);
        let retry = OrderCommand::RetryPayment {
            number,
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &retry));
        let model = self.model.retry(id, number, expected);
        if model.is_ok() {
            let steps = self.model.orders[&id].steps.as_ref().unwrap();
            let last = steps.last().unwrap();
            let (kind, group) = (last.kind, last.group);
            self.reach(format!("{kind} tried again"));
            if group > 2 {
                self.reach("tried again and again");
            }
        }
        self.same("RetryPayment", engine, model);
    }

    pub(super) fn expire(&mut self, id: OrderId) {
        let before = self.state_of(id);
        let (awaited, is_edit) = {
            let order = &self.world.orders[&id];
            (order.awaits_authorization(), order.open_edit().is_some())
        };
        let number = awaited.unwrap_or(1);
        // Of another step nothing comes.
        let other = OrderCommand::Expire { number: number + 1 };
        assert_eq!(self.world.ask_order(id, &other), Ok((0, Vec::new())));
        let (events, effects) = self
            .world
            .ask_order(id, &OrderCommand::Expire { number })
            .unwrap();
        let expired = self.model.expire(id);
        assert_eq!(events, usize::from(expired));
        if expired && is_edit {
            self.give_back(id, 0, &effects);
            self.told.remove(&id);
            return self.reach("an edit is given up");
        }
        match expired {
            false => {
                assert_eq!(effects, []);
                self.reach("Expire of what is not to be authorised");
            }
            true => {
                self.give_back(id, 0, &effects);
                self.next_step(id);
                self.reach(format!("{before} to {}", self.state_of(id)));
            }
        }
    }

    pub(super) fn close(&mut self, id: OrderId) {
        let before = self.state_of(id);
        let (events, effects) = self.world.ask_order(id, &OrderCommand::Close).unwrap();
        assert_eq!(effects, []);
        let closed = self.model.close(id);
        assert_eq!(events, usize::from(closed));
        self.reach(match closed {
            true => format!("{before} to {}", self.state_of(id)),
            false => "Close of what is not at rest".to_owned(),
        });
    }

    /// The provider does all that it is to do, as long as there is anything.
    pub(super) fn pay(&mut self, id: OrderId) {
        while let Some(next) = self.world.orders[&id].next_payment() {
            let outcome = self.world.mint.ask(&next, false);
            self.hear(id, next.number, &outcome);
        }
    }

    /// And what it declined before is tried again. Then nothing is left that it has set aside for an order that ended.
    pub(super) fn pay_in_full(&mut self, id: OrderId) {
        self.pay(id);
        while let Some(&number) = self.model.orders[&id].waiting().first() {
            let retry = OrderCommand::RetryPayment {
                number,
                by: shop(),
                expected: None,
            };
            let engine = changed(self.world.ask_order(id, &retry));
            let model = self.model.retry(id, number, None);
            let is_worn_out = model.is_err();
            self.same("RetryPayment", engine, model);
            if is_worn_out {
                return;
            }
            self.pay(id);
        }
        let (order, books) = (&self.world.orders[&id], self.world.mint.books(id));
        let shared = |kind| {
            let steps = order.payment_steps();
            let together = |two: &[docket_engine::PaymentStep]| {
                two[0].kind == kind && two[1].kind == kind && two[0].due == two[1].due
            };
            steps.windows(2).any(together)
        };
        let kinds = [PaymentKind::Capture, PaymentKind::Void, PaymentKind::Refund];
        let shared: Vec<_> = kinds.into_iter().filter(|kind| shared(*kind)).collect();
        let is_over = !matches!(
            order.state,
            OrderState::Confirmed | OrderState::PartiallyFulfilled
        );
        for payment in 1..=self.model.orders[&id].payments() {
            let should = self.model.orders[&id].books_of(payment);
            let books = self.world.mint.books_of(id, payment);
            if should.authorized > 0 || books.authorized == 0 {
                assert_eq!(books, should, "{id} knows what its provider did");
            } else {
                let left = books.authorized - books.voided;
                assert_eq!((left, books.captured), (0, 0), "what came late to {id} is let go");
            }
        }
        let taken = if order.needs_authorization() {
            order.captured().0
        } else {
            0
        };
        assert_eq!(books.captured, i128::from(taken), "what was sent of {id} is paid");
        if is_over {
            let left = books.authorized - books.captured - books.voided;
            assert_eq!((left, order.payment().outstanding().0), (0, 0), "{id}");
            let is_paid = books != Books::default();
            for kind in shared {
                self.reached.insert(format!("a {kind} is shared among payments"));
            }
            let what = if is_paid {
                "nothing more is set aside"
            } else {
                "nothing was set aside"
            };
            self.reach(format!("{}, and {what}", order.state));
        }
    }
}

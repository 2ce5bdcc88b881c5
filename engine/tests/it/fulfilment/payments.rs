//! Orders with several payments at their provider, since edits had them cost more: how what is due is shared among them, and what nobody could have
//! recorded.

use docket_engine::{
    Amount, Change, ChangeKind, Line, Order, OrderCommand, OrderEvent, PAYMENTS_MAX, PaymentKind,
    PaymentOutcome, PaymentState, PaymentStep, Rejection, Time, Version, Wanted,
};

use crate::stage::{
    Ask, Stage, ask, cancel, carry, declined, done, edit, line, move_return, paid, refund, request_return,
    retry, ship, sku,
};

/// `2/3 capture 18 done`: payment, step, what, and what came of it.
fn steps(order: &Option<Order>) -> Vec<String> {
    let steps = (1..).zip(order.as_ref().unwrap().payment_steps());
    let text = |(number, step): (u32, &PaymentStep)| {
        let came = match (step.is_open(), step.is_done()) {
            (true, _) => "open",
            (_, true) => "done",
            _ => "declined",
        };
        format!("{}/{number} {} {} {came}", step.payment, step.kind, step.amount)
    };
    steps.map(text).collect()
}

fn done_as(reference: &str) -> PaymentOutcome {
    PaymentOutcome::Done {
        reference: reference.into(),
    }
}

/// Has the provider answer every step that is due: with `done`.
fn pay(order: &mut Option<Order>) {
    while let Some(next) = order.as_ref().unwrap().next_payment() {
        carry(order, &paid(next.number, done_as(&format!("p-{}", next.payment))));
    }
}

/// Of the stage's order there are so many nuts on the first line, paid by another payment.
fn raise(order: &mut Option<Order>, nuts: i64) {
    carry(order, &edit(&[(0, nuts)]));
    carry(order, &Ask::RaiseAgreed.command());
    pay(order);
}

/// 18, 2 and 4: 24 in all.
fn paid_thrice() -> Option<Order> {
    let mut order = Stage::ProviderConfirmed.order();
    raise(&mut order, 4);
    raise(&mut order, 6);
    assert_eq!(
        steps(&order),
        [
            "1/1 authorize 18 done",
            "2/2 authorize 2 done",
            "3/3 authorize 4 done"
        ]
    );
    order
}

fn figures(order: &Option<Order>) -> (PaymentState, [i64; 4]) {
    let payment = order.as_ref().unwrap().payment();
    let amounts = [
        payment.authorized,
        payment.captured,
        payment.voided,
        payment.refunded,
    ];
    (payment.state, amounts.map(|it| it.0))
}

#[test]
fn each_payment_is_asked_for_by_its_own_name_and_authorisation() {
    let mut order = paid_thrice();
    carry(&mut order, &ship(&[]));
    let id = order.as_ref().unwrap().id;
    let mut asked = Vec::new();
    while let Some(next) = order.as_ref().unwrap().next_payment() {
        let of = next.authorization.clone().unwrap_or_default();
        assert_eq!(next.key(), format!("{id}/{}-{}/1", next.kind, next.number));
        asked.push((next.payment_name(), next.amount.0, of.to_string()));
        carry(&mut order, &paid(next.number, done()));
    }
    let of = |name: String, amount, reference: &str| (name, amount, reference.to_owned());
    assert_eq!(
        asked,
        [
            of(id.to_string(), 18, "p-1"),
            of(format!("{id}-2"), 2, "p-2"),
            of(format!("{id}-3"), 4, "p-3"),
        ]
    );
    assert_eq!(figures(&order), (PaymentState::Captured, [24, 24, 0, 0]));
}

#[test]
fn what_is_sent_is_taken_of_the_oldest_and_what_is_called_off_given_back_of_the_newest() {
    let mut order = paid_thrice();
    // A bolt, and all others that there are.
    carry(&mut order, &ship(&[(1, 1)]));
    carry(&mut order, &OrderCommand::Consumed);
    carry(&mut order, &cancel(&[(0, 1)]));
    carry(&mut order, &OrderCommand::Released);
    carry(&mut order, &edit(&[(0, 4)]));
    carry(&mut order, &OrderCommand::Released);
    assert_eq!(
        steps(&order)[3..],
        [
            "1/4 capture 5 open",
            "3/5 void 2 open",
            "3/6 void 2 open",
            "2/7 void 2 open"
        ]
    );
    carry(&mut order, &ship(&[(0, 3), (1, 1)]));
    carry(&mut order, &OrderCommand::Consumed);
    carry(&mut order, &ship(&[]));
    assert_eq!(steps(&order)[7..], ["1/8 capture 11 open", "1/9 capture 2 open"]);
    pay(&mut order);
    assert_eq!(figures(&order), (PaymentState::Captured, [24, 18, 6, 0]));
    order.unwrap().history().unwrap();
}

/// The first payment gives what it has; the second declines its part: what was taken is taken, a person is told, and the rest is tried again.
#[test]
fn a_capture_that_is_shared_and_declined_in_part_says_what_was_taken() {
    let mut order = paid_thrice();
    carry(&mut order, &ship(&[(0, 5), (1, 2)]));
    carry(&mut order, &OrderCommand::Consumed);
    assert_eq!(steps(&order)[3..], ["1/4 capture 18 open", "2/5 capture 2 open"]);
    carry(&mut order, &paid(4, done()));
    let second = carry(&mut order, &paid(5, declined()));
    assert_eq!(second.events, [ChangeKind::PaymentDeclined, ChangeKind::Held]);
    assert_eq!(figures(&order), (PaymentState::Failed, [24, 18, 0, 0]));
    // No more is given back than was taken, and nothing more is sent until somebody has looked.
    let too_much = ask(&mut order, &refund(19)).map(|it| it.events);
    let refundable = Amount(18);
    let wanted = Amount(19);
    assert_eq!(too_much, Err(Rejection::RefundTooLarge { wanted, refundable }));
    assert!(ask(&mut order, &ship(&[])).is_err());
    // What was declined is owed all the same: nobody else takes it.
    carry(&mut order, &cancel(&[]));
    carry(&mut order, &OrderCommand::Released);
    assert_eq!(steps(&order)[5..], ["3/6 void 4 open"]);
    carry(&mut order, &retry(5));
    assert_eq!(steps(&order)[6..], ["2/7 capture 2 open"]);
    pay(&mut order);
    assert_eq!(figures(&order), (PaymentState::Captured, [24, 20, 4, 0]));
    order.unwrap().history().unwrap();
}

#[test]
fn what_is_refunded_is_given_back_of_the_oldest_that_has_taken_more() {
    let mut order = paid_thrice();
    carry(&mut order, &ship(&[]));
    carry(&mut order, &OrderCommand::Consumed);
    let capture = |order: &mut Option<Order>, number| drop(carry(order, &paid(number, done())));
    // The second has taken nothing yet.
    capture(&mut order, 4);
    capture(&mut order, 6);
    carry(&mut order, &refund(17));
    carry(&mut order, &refund(3));
    assert_eq!(
        steps(&order)[6..],
        ["1/7 refund 17 open", "1/8 refund 1 open", "3/9 refund 2 open"]
    );
    capture(&mut order, 5);
    carry(&mut order, &refund(4));
    assert_eq!(steps(&order)[9..], ["2/10 refund 2 open", "3/11 refund 2 open"]);
    pay(&mut order);
    assert_eq!(figures(&order), (PaymentState::Refunded, [24, 24, 0, 24]));
    order.unwrap().history().unwrap();
}

#[test]
fn an_order_that_is_called_off_gives_back_every_payment() {
    let mut order = paid_thrice();
    carry(&mut order, &cancel(&[(1, 1)]));
    carry(&mut order, &OrderCommand::Released);
    carry(&mut order, &cancel(&[]));
    assert_eq!(
        steps(&order)[3..],
        [
            "3/4 void 4 open",
            "2/5 void 1 open",
            "2/6 void 1 open",
            "1/7 void 18 open"
        ]
    );
    pay(&mut order);
    carry(&mut order, &OrderCommand::Released);
    assert_eq!(figures(&order), (PaymentState::Voided, [24, 0, 24, 0]));
    let order = order.unwrap();
    assert!(order.is_over());
    order.history().unwrap();
}

/// Nobody knows whether it was authorised: that payment alone is barred, and what comes late is not heard. The next edit has another.
#[test]
fn an_edit_that_is_given_up_bars_its_own_payment_and_the_order_goes_on() {
    let mut order = Stage::EditGivenUp.order();
    let next = order.as_ref().unwrap().next_payment().unwrap();
    let name = format!("{}-2", order.as_ref().unwrap().id);
    assert_eq!(
        (next.payment_name(), next.kind, next.amount, next.authorization),
        (name, PaymentKind::Void, Amount(2), None)
    );
    for late in [done(), declined()] {
        assert_eq!(ask(&mut order, &paid(2, late)).unwrap().events, []);
    }
    let again = OrderCommand::Expire { number: 2 };
    assert_eq!(ask(&mut order, &again).unwrap().events, []);
    carry(&mut order, &OrderCommand::Released);
    carry(&mut order, &edit(&[(0, 5)]));
    carry(&mut order, &Ask::RaiseAgreed.command());
    // Asked before, and late: it is of another edit.
    for late in [paid(2, done()), OrderCommand::Expire { number: 2 }] {
        assert_eq!(ask(&mut order, &late).unwrap().events, []);
    }
    assert_eq!(order.as_ref().unwrap().awaits_authorization(), Some(4));
    pay(&mut order);
    carry(&mut order, &ship(&[]));
    carry(&mut order, &OrderCommand::Consumed);
    pay(&mut order);
    assert_eq!(
        steps(&order),
        [
            "1/1 authorize 18 done",
            "2/2 authorize 2 open",
            "2/3 void 2 done",
            "3/4 authorize 4 done",
            "1/5 capture 18 done",
            "3/6 capture 4 done",
        ]
    );
    assert_eq!(figures(&order), (PaymentState::Captured, [22, 22, 0, 0]));
    let order = order.unwrap();
    assert!(order.is_at_rest());
    order.history().unwrap();
}

#[test]
fn an_edit_that_waits_for_its_provider_keeps_all_else_that_has_to_do_with_stock_or_money_waiting() {
    let mut order = Stage::CaptureOpen.order();
    carry(&mut order, &request_return(&[(0, 1)]));
    carry(&mut order, &move_return(1, docket_engine::ReturnStep::Approve));
    carry(&mut order, &paid(3, done()));
    carry(&mut order, &edit(&[(0, 6)]));
    carry(&mut order, &Ask::RaiseAgreed.command());
    let found = order.clone().unwrap();
    assert!(found.is_settled() && !found.is_at_rest());
    assert_eq!(
        found.wanted_of(&sku("nut")),
        Wanted::Exactly(docket_engine::Quantity(6))
    );
    let restock = docket_engine::ReturnStep::Receive { restock: true };
    for command in [
        ship(&[]),
        cancel(&[]),
        edit(&[(0, 7)]),
        refund(1),
        move_return(1, restock),
    ] {
        let refused = ask(&mut order, &command).map(|it| it.events);
        assert_eq!(refused, Err(Rejection::OrderPending), "{command:?}");
    }
    assert_eq!(order.as_ref(), Some(&found));
    // What has no part in it goes on.
    for ask in [Ask::Hold, Ask::ReleaseHold, Ask::DeliverOnItsWay] {
        carry(&mut order, &ask.command());
    }
    pay(&mut order);
    assert_eq!(order.as_ref().unwrap().total, Amount(24));
}

#[test]
fn all_of_it_was_sent_and_more_is_ordered_of_a_line_while_another_is_open() {
    let mut order = Stage::ProviderConfirmed.order();
    carry(&mut order, &ship(&[(0, 3), (2, 1)]));
    carry(&mut order, &OrderCommand::Consumed);
    carry(&mut order, &edit(&[(0, 4)]));
    carry(&mut order, &Ask::RaiseAgreed.command());
    // No nut is open, and one is reserved: it has an owner.
    let waiting = order.as_ref().unwrap();
    assert!(waiting.wants(&sku("nut")) && waiting.open_of(&sku("nut")).0 == 0);
}

#[test]
fn an_edit_that_needs_no_more_of_any_item_is_authorised_all_the_same() {
    let lines: Vec<Line> = vec![line("nut", 2, 2), line("nut", 2, 3)];
    let mut order = super::paying::confirmed(lines);
    let begun = carry(&mut order, &edit(&[(0, 1), (1, 3)]));
    assert_eq!(begun.events, [ChangeKind::EditBegun, ChangeKind::EditReserved]);
    assert_eq!(steps(&order), ["1/1 authorize 10 done", "2/2 authorize 1 open"]);
    let mut refused = order.clone();
    carry(&mut refused, &paid(2, declined()));
    assert!(refused.as_ref().unwrap().is_settled());
    pay(&mut order);
    for (order, total) in [(order.unwrap(), 11), (refused.unwrap(), 10)] {
        assert_eq!(order.total, Amount(total));
        order.history().unwrap();
    }
}

#[test]
fn there_are_so_many_payments_and_no_more_whatever_became_of_them() {
    let mut order = Stage::ProviderConfirmed.order();
    for nuts in 4..(PAYMENTS_MAX as i64 + 3) {
        carry(&mut order, &edit(&[(0, nuts)]));
        carry(&mut order, &Ask::RaiseAgreed.command());
        let ended = [Ask::LastDeclined, Ask::Expire, Ask::LastDone][nuts as usize % 3];
        let ended = ended.command_of(order.as_ref());
        carry(&mut order, &ended);
        if nuts % 3 < 2 {
            carry(&mut order, &OrderCommand::Released);
        }
        pay(&mut order);
    }
    let edit_more = edit(&[(0, 1_000)]);
    let refused = ask(&mut order, &edit_more).map(|it| it.events);
    assert_eq!(refused, Err(Rejection::TooManyAuthorizations));
    let event = OrderEvent::EditBegun {
        lines: crate::stage::some(&[(0, 1_000)]),
        by: crate::stage::user("ada"),
    };
    assert!(order.as_mut().unwrap().evolve(&event, Time(9)).is_err());
    // Less it may always be.
    carry(&mut order, &edit(&[(0, 1)]));
}

#[test]
fn no_provider_is_asked_for_more_while_a_node_does_not_know_of_that() {
    let mut order = Stage::ProviderConfirmed.order();
    let of_an_older_node = |command: OrderCommand| match command {
        OrderCommand::Edit {
            lines, by, expected, ..
        } => OrderCommand::Edit {
            lines,
            by,
            expected,
            may_authorize: false,
        },
        other => other,
    };
    let more = of_an_older_node(Ask::EditMore.command());
    let refused = ask(&mut order, &more).map(|it| it.events);
    assert_eq!(
        refused,
        Err(Rejection::EditNeedsAuthorization { more: Amount(2) })
    );
    carry(&mut order, &of_an_older_node(Ask::EditLess.command()));
}

/// Each version of an order that was edited by way of its provider is told as it was.
#[test]
fn every_change_of_an_order_with_several_payments_is_told_as_it_was() {
    for end in [Ask::LastDone, Ask::LastDeclined, Ask::Expire] {
        let mut order = Stage::EditAuthorizing.order();
        let mut past = vec![order.clone().unwrap()];
        for command in [end.command_of(order.as_ref()), OrderCommand::Released, ship(&[])] {
            if ask(&mut order, &command).is_ok() {
                past.push(order.clone().unwrap());
            }
        }
        let order = order.unwrap();
        let history = order.history().unwrap();
        for was in past {
            let change = Change {
                kind: history.kind(was.version).unwrap(),
                version: was.version,
                at: was.updated,
            };
            let told = order.after(&change);
            told.validate().unwrap();
            assert_eq!(
                (told.total, told.payment(), told.payment_steps(), told.edits()),
                (was.total, was.payment(), was.payment_steps(), was.edits()),
                "{end:?}: {change:?}"
            );
        }
        let kinds: Vec<_> = (4..=6).filter_map(|at| history.kind(Version(at))).collect();
        let expected = match end {
            Ask::LastDone => [
                ChangeKind::EditBegun,
                ChangeKind::EditReserved,
                ChangeKind::PaymentDone,
            ],
            Ask::LastDeclined => [
                ChangeKind::EditBegun,
                ChangeKind::EditReserved,
                ChangeKind::PaymentDeclined,
            ],
            _ => [
                ChangeKind::EditBegun,
                ChangeKind::EditReserved,
                ChangeKind::EditRefused,
            ],
        };
        assert_eq!(kinds, expected, "{end:?}");
    }
}

/// What nobody could have recorded of several payments is found, each by its name.
#[test]
fn payments_that_do_not_add_up_are_found() {
    #[track_caller]
    fn check(order: &Option<Order>, plant: impl Fn(&mut Vec<PaymentStep>), why: &str) {
        let mut order = order.clone().unwrap();
        order.validate().unwrap();
        plant(&mut order.provider.as_mut().unwrap().steps);
        let found = order.validate().unwrap_err().to_string();
        assert!(found.contains(why), "{found}");
    }
    let mut sent = paid_thrice();
    carry(&mut sent, &ship(&[]));
    carry(&mut sent, &OrderCommand::Consumed);
    pay(&mut sent);
    carry(&mut sent, &refund(19));
    assert_eq!(
        steps(&sent)[3..],
        [
            "1/4 capture 18 done",
            "2/5 capture 2 done",
            "3/6 capture 4 done",
            "1/7 refund 18 open",
            "2/8 refund 1 open",
        ]
    );
    let too_much = "of a payment more is taken or given back than was authorised";
    // All of it of the first, though the sum is right.
    check(&sent, |steps| steps[4].payment = 1, too_much);
    check(
        &sent,
        |steps| {
            steps[4].amount.0 += 1;
            steps[5].amount.0 -= 1;
        },
        too_much,
    );
    check(
        &sent,
        |steps| steps[7].payment = 1,
        "of a payment more is refunded than was captured",
    );
    check(
        &sent,
        |steps| steps[1].payment = 1,
        "it has too many payments, or two that are one",
    );
    check(
        &sent,
        |steps| steps[5].payment = 4,
        "a step is of a payment that was not begun",
    );
    check(
        &sent,
        |steps| steps[5].payment = 0,
        "a step is of a payment that was not begun",
    );
    check(
        &sent,
        |steps| steps[2].amount.0 += 1,
        "what became of an edit is not what follows from its authorisation",
    );
    let given_up = Stage::EditGivenUp.order();
    check(
        &given_up,
        |steps| drop(steps.pop()),
        "what became of an edit is not what follows from its authorisation",
    );
    check(&given_up, |steps| steps[2].amount.0 -= 1, too_much);
    let edited = Stage::EditAuthorized.order();
    check(
        &edited,
        |steps| steps[1].outcome = None,
        "what became of an edit is not what follows from its authorisation",
    );
    check(
        &edited,
        |steps| drop(steps.pop()),
        "it was edited without what it costs more being authorised",
    );
    let of_none = Stage::EditDeclined.order();
    check(
        &of_none,
        |steps| {
            let more = PaymentStep {
                payment: 3,
                ..steps[1].clone()
            };
            steps.push(more);
        },
        "it has a payment that is of no edit",
    );
    // One that nobody asks anything for would stay for ever.
    let mut stuck = Stage::EditAuthorizing.order().unwrap();
    let answered = OrderEvent::PaymentAnswered {
        number: 2,
        outcome: done(),
    };
    stuck.evolve(&answered, Time(500)).unwrap();
    stuck.validate().unwrap();
    stuck.version = stuck.version.next();
    let found = stuck.validate().unwrap_err().to_string();
    assert!(found.contains("asks nobody for anything"), "{found}");
}

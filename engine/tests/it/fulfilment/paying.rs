//! What an order that is paid by a provider says of its money, what its provider is to be asked, and which events about it nobody could have decided.

use docket_engine::{
    Amount, Change, ChangeKind, HOLDS_MAX, HoldReason, Line, Order, OrderCommand, OrderEvent, OrderId,
    OrderState, PAYMENT_RETRIES_MAX, PaymentKind, PaymentOutcome, PaymentState, ProviderName, Quantity,
    Rejection, Time, Version,
};

use crate::stage::{Ask, Stage, ask, cancel, carry, declined, done, line, paid, refund, retry, ship, user};

/// An order by a provider of these lines, all of whose stock is reserved.
fn reserved(lines: Vec<Line>) -> Option<Order> {
    let answers = docket_engine::order::skus(&lines).into_iter();
    let answers = answers.map(|sku| (sku, Ok(Quantity::ZERO))).collect();
    let placed = OrderEvent::Placed {
        customer: docket_engine::CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: lines.into(),
        provider: Some(ProviderName::new("mint").unwrap()),
    };
    let mut order = Some(Order::create(OrderId(1), &placed, Time(1)).unwrap());
    carry(&mut order, &OrderCommand::Settle { answers });
    order
}

pub(super) fn confirmed(lines: Vec<Line>) -> Option<Order> {
    let mut order = reserved(lines);
    carry(&mut order, &Ask::Authorized.command());
    order
}

#[test]
fn each_stage_says_where_its_money_stands_by_what_its_provider_has_answered() {
    use PaymentState::{
        Authorized, Captured, Failed, PartiallyCaptured, PartiallyRefunded, Required, Voided,
    };
    // Authorised, captured, voided and refunded.
    let table = [
        (Stage::ProviderPending, Required, [0, 0, 0, 0]),
        (Stage::Authorizing, Required, [0, 0, 0, 0]),
        (Stage::ProviderConfirmed, Authorized, [18, 0, 0, 0]),
        (Stage::ProviderConfirmedReleasing, Authorized, [18, 0, 0, 0]),
        (Stage::ProviderEditing, Authorized, [18, 0, 0, 0]),
        (Stage::EditAuthorizing, Authorized, [18, 0, 0, 0]),
        (Stage::EditAuthorized, Authorized, [20, 0, 0, 0]),
        (Stage::EditDeclined, Authorized, [18, 0, 0, 0]),
        // What was never authorised is not given back.
        (Stage::EditGivenUp, Authorized, [18, 0, 0, 0]),
        // What is shipped is not taken before its provider says so.
        (Stage::CapturesOpen, Authorized, [18, 0, 0, 0]),
        (Stage::CaptureOpen, PartiallyCaptured, [18, 2, 0, 0]),
        (Stage::Captured, PartiallyCaptured, [18, 7, 0, 0]),
        // A person is to look.
        (Stage::CaptureDeclined, Failed, [18, 2, 0, 0]),
        (Stage::CaptureRetried, PartiallyCaptured, [18, 2, 0, 0]),
        (Stage::CaptureFreed, Failed, [18, 2, 0, 0]),
        (Stage::FulfilledCaptureOpen, PartiallyCaptured, [18, 7, 0, 0]),
        (Stage::FulfilledCaptureDeclined, Failed, [18, 7, 0, 0]),
        (Stage::FulfilledCaptured, Captured, [18, 18, 0, 0]),
        (Stage::RefundOpen, Captured, [18, 18, 0, 0]),
        (Stage::RefundDeclined, Failed, [18, 18, 0, 0]),
        (Stage::RefundRetried, Captured, [18, 18, 0, 0]),
        (Stage::RefundDone, PartiallyRefunded, [18, 18, 0, 1]),
        // Nobody knows whether it was authorised, until its provider says that it never is.
        (Stage::CalledOffReleasing, Required, [0, 0, 0, 0]),
        (Stage::CalledOff, Required, [0, 0, 0, 0]),
        (Stage::CalledOffVoided, Voided, [0, 0, 0, 0]),
        (Stage::CancelledVoidOpenReleasing, Authorized, [18, 0, 0, 0]),
        (Stage::CancelledVoidOpen, Authorized, [18, 0, 0, 0]),
        (Stage::CancelledVoidDoneReleasing, Voided, [18, 0, 18, 0]),
        (Stage::CancelledVoidDone, Voided, [18, 0, 18, 0]),
        (Stage::CancelledVoidDeclined, Failed, [18, 0, 0, 0]),
        (Stage::CancelledVoidRetried, Authorized, [18, 0, 0, 0]),
        (Stage::ExpiredReleasing, Required, [0, 0, 0, 0]),
        (Stage::ExpiredVoidOpen, Required, [0, 0, 0, 0]),
        (Stage::ExpiredVoidDoneReleasing, Voided, [0, 0, 0, 0]),
        (Stage::ExpiredVoidDone, Voided, [0, 0, 0, 0]),
        (Stage::ExpiredVoidDeclined, Failed, [0, 0, 0, 0]),
        (Stage::DeclinedReleasing, Failed, [0, 0, 0, 0]),
        (Stage::Declined, Failed, [0, 0, 0, 0]),
        (Stage::ProviderRejectedReleasing, Failed, [0, 0, 0, 0]),
        (Stage::ProviderRejected, Failed, [0, 0, 0, 0]),
        (Stage::ProviderRefused, Failed, [0, 0, 0, 0]),
    ];
    assert_eq!(table.map(|(stage, ..)| stage), Stage::BY_PROVIDER);
    for (stage, state, amounts) in table {
        let order = stage.order().unwrap();
        let payment = order.payment();
        assert_eq!(payment.state, state, "{stage:?}");
        let found = [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
        ];
        assert_eq!(found, amounts.map(Amount), "{stage:?}");
        assert_eq!(order.held(), Amount(0), "its account holds nothing: {stage:?}");
    }
}

/// `step 3: capture 5, group 1, of p-1`.
fn next(stage: Stage) -> Option<String> {
    let order = stage.order().unwrap();
    let request = order.next_payment()?;
    assert_eq!(
        (request.order, &request.customer, request.currency),
        (order.id, &order.customer, order.currency)
    );
    let step = request.number;
    let key = format!("{}/{}-{step}/{}", order.id, request.kind, request.group);
    assert_eq!(request.key(), key);
    let of = request
        .authorization
        .map_or(String::new(), |it| format!(", of {it}"));
    Some(format!(
        "step {step}: {} {}, group {}{of}",
        request.kind, request.amount, request.group
    ))
}

#[test]
fn its_provider_is_asked_for_the_first_step_that_is_open() {
    for stage in Stage::BY_PROVIDER {
        let expected = match stage {
            Stage::Authorizing => "step 1: authorize 18, group 1",
            Stage::ProviderConfirmedReleasing => "step 2: void 2, group 1, of p-1",
            Stage::EditAuthorizing => "step 2: authorize 2, group 1",
            Stage::EditGivenUp => "step 3: void 2, group 1",
            Stage::CapturesOpen => "step 2: capture 2, group 1, of p-1",
            Stage::CaptureOpen => "step 3: capture 5, group 1, of p-1",
            Stage::CaptureRetried => "step 4: capture 5, group 2, of p-1",
            Stage::FulfilledCaptureOpen => "step 4: capture 11, group 1, of p-1",
            Stage::RefundOpen => "step 5: refund 1, group 1, of p-1",
            Stage::RefundRetried => "step 6: refund 1, group 2, of p-1",
            // The authorisation itself is not asked for any more, and the provider knows the void by the order.
            Stage::CalledOffReleasing
            | Stage::CalledOff
            | Stage::ExpiredReleasing
            | Stage::ExpiredVoidOpen => "step 2: void 18, group 1",
            Stage::CancelledVoidOpenReleasing | Stage::CancelledVoidOpen => {
                "step 2: void 18, group 1, of p-1"
            }
            Stage::CancelledVoidRetried => "step 3: void 18, group 2, of p-1",
            _ => "",
        };
        assert_eq!(next(stage).unwrap_or_default(), expected, "{stage:?}");
    }
    for stage in Stage::ON_ACCOUNT
        .into_iter()
        .filter(|stage| *stage != Stage::NoOrder)
    {
        assert_eq!(next(stage), None, "{stage:?}");
    }
}

#[test]
fn a_step_that_was_declined_keeps_no_later_one_from_being_asked() {
    let mut order = Stage::CaptureDeclined.order();
    let number = |order: &Option<Order>| order.as_ref().unwrap().next_payment().map(|it| it.number);
    assert_eq!(number(&order), None);
    carry(&mut order, &cancel(&[(0, 1)]));
    assert_eq!(number(&order), Some(4));
    assert_eq!(
        order.as_ref().unwrap().declined_payments().collect::<Vec<_>>(),
        [3]
    );
    carry(&mut order, &retry(3));
    // What was due first is asked first.
    assert_eq!(number(&order), Some(4));
    assert_eq!(order.as_ref().unwrap().declined_payments().count(), 0);
    // Answers come as they come.
    carry(&mut order, &paid(5, done()));
    carry(&mut order, &paid(4, done()));
    let payment = order.unwrap().payment();
    assert_eq!((payment.captured, payment.voided), (Amount(7), Amount(2)));
    assert_eq!(payment.outstanding(), Amount(9));
}

#[test]
fn there_is_no_step_0_and_what_was_said_first_stays() {
    let mut order = Stage::CaptureOpen.order();
    for (number, outcome) in [(0, done()), (u32::MAX, done()), (2, declined())] {
        assert_eq!(ask(&mut order, &paid(number, outcome)).unwrap().events, []);
    }
    for number in [0, u32::MAX] {
        let refused = ask(&mut order, &retry(number)).map(|it| it.events);
        assert_eq!(refused, Err(Rejection::PaymentStepNotFound { number }));
    }
    carry(&mut order, &paid(3, declined()));
    assert_eq!(ask(&mut order, &paid(3, done())).unwrap().events, []);
    let step = &order.as_ref().unwrap().payment_steps()[2];
    let (outcome, stamp) = step.outcome.as_ref().unwrap();
    assert_eq!((outcome, stamp.by.as_ref()), (&declined(), None));
}

#[test]
fn an_order_whose_capture_is_declined_is_held_once_and_only_while_it_may_be() {
    let payment_holds = |order: &Option<Order>| {
        let holds = order.as_ref().unwrap().active_holds();
        let holds = holds.filter(|hold| hold.reason == HoldReason::Payment);
        holds
            .map(|hold| (hold.by.to_string(), hold.note.to_string()))
            .collect::<Vec<_>>()
    };
    let mut order = Stage::CaptureDeclined.order();
    assert_eq!(
        payment_holds(&order),
        [("docket".to_owned(), "no funds".to_owned())]
    );
    carry(&mut order, &retry(3));
    let again = carry(&mut order, &paid(4, declined()));
    assert_eq!(again.events, [ChangeKind::PaymentDeclined]);
    assert_eq!(payment_holds(&order).len(), 1);
    // What is called off holds up nothing of what is left.
    let mut order = Stage::ProviderConfirmedReleasing.order();
    let void = carry(&mut order, &paid(2, declined()));
    assert_eq!(void.events, [ChangeKind::PaymentDeclined]);
    // One that was held as often as it may be goes on.
    let mut order = Stage::CaptureOpen.order();
    for _ in 0..HOLDS_MAX {
        carry(&mut order, &Ask::Hold.command());
        carry(&mut order, &Ask::ReleaseHold.command());
    }
    let declined = carry(&mut order, &paid(3, declined()));
    assert_eq!(declined.events, [ChangeKind::PaymentDeclined]);
    assert_eq!(payment_holds(&order).len(), 0);
}

#[test]
fn steps_are_tried_again_so_often_and_no_more() {
    let mut order = Stage::RefundDeclined.order();
    let last = |order: &Option<Order>| order.as_ref().unwrap().payment_steps().len();
    for group in 2..=u32::try_from(PAYMENT_RETRIES_MAX).unwrap() + 1 {
        let number = u32::try_from(last(&order)).unwrap();
        carry(&mut order, &retry(number));
        carry(&mut order, &paid(number + 1, declined()));
        let step = &order.as_ref().unwrap().payment_steps()[last(&order) - 1];
        assert_eq!((step.group, step.amount), (group, Amount(1)));
        assert_eq!(step.due.by, Some(user("ops")));
    }
    let number = u32::try_from(last(&order)).unwrap();
    let refused = ask(&mut order, &retry(number)).map(|it| it.events);
    assert_eq!(refused, Err(Rejection::TooManyPayments));
    let event = OrderEvent::PaymentRetried {
        number,
        by: user("ops"),
    };
    assert!(is_refused(&order.unwrap(), &event));
}

#[test]
fn an_order_that_costs_nothing_asks_its_provider_for_nothing() {
    let mut order = Stage::NoOrder.order();
    let place = OrderCommand::Place {
        customer: docket_engine::CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: vec![line("nut", 2, 0)].into(),
        provider: Some(ProviderName::new("mint").unwrap()),
    };
    carry(&mut order, &place);
    let nut = vec![(crate::stage::sku("nut"), Ok(Quantity::ZERO))];
    let settled = carry(&mut order, &OrderCommand::Settle { answers: nut });
    assert_eq!(settled.events, [ChangeKind::Confirmed]);
    assert_eq!(order.as_ref().unwrap().payment().state, PaymentState::Authorized);
    let mut cancelled = order.clone();
    carry(&mut order, &ship(&[(0, 1)]));
    carry(&mut order, &OrderCommand::Consumed);
    carry(&mut order, &cancel(&[]));
    carry(&mut cancelled, &cancel(&[]));
    carry(&mut cancelled, &OrderCommand::Released);
    for order in [order.unwrap(), cancelled.unwrap()] {
        assert_eq!(order.payment_steps(), []);
        order.history().unwrap();
    }
}

#[test]
fn what_is_free_of_an_order_owes_no_step() {
    let mut order = confirmed(vec![line("nut", 2, 5), line("gift", 2, 0)]);
    carry(&mut order, &ship(&[(1, 1)]));
    carry(&mut order, &OrderCommand::Consumed);
    carry(&mut order, &cancel(&[(1, 1)]));
    carry(&mut order, &OrderCommand::Released);
    assert_eq!(order.as_ref().unwrap().payment_steps().len(), 1);
    carry(&mut order, &ship(&[]));
    let order = order.unwrap();
    let kinds: Vec<_> = order
        .payment_steps()
        .iter()
        .map(|it| (it.kind, it.amount))
        .collect();
    assert_eq!(
        kinds,
        [
            (PaymentKind::Authorize, Amount(10)),
            (PaymentKind::Capture, Amount(10))
        ]
    );
    order.history().unwrap();
}

/// All that costs something is called off, and then, with the rest, the order: its end owes its provider nothing. History took the void
/// of the part for that of the end.
#[test]
fn an_order_that_ends_with_what_is_free_tells_its_history() {
    use ChangeKind::{
        Cancelled, Confirmed, LinesCancelled, PaymentDeclined, PaymentDone, PaymentRetried, Placed, Released,
        Reserved,
    };
    let first = [Placed, Reserved, Confirmed, LinesCancelled, Released];
    let rest = |order: &Option<Order>, behind: &[ChangeKind]| {
        let order = order.as_ref().unwrap();
        let history = order.history().unwrap();
        let told: Vec<_> = (1..).map_while(|at| history.kind(Version(at))).collect();
        assert_eq!(told, [&first, behind].concat());
        for (version, kind) in (1..).zip(told) {
            let change = Change {
                kind,
                version: Version(version),
                at: Time(9),
            };
            let is_off = version >= 6 && order.state == OrderState::Cancelled;
            let after = order.state_after(&change);
            assert_eq!(after == OrderState::Cancelled, is_off, "version {version}");
            order.after(&change).validate().unwrap();
        }
    };
    let mut order = confirmed(vec![line("nut", 2, 5), line("gift", 1, 0)]);
    carry(&mut order, &cancel(&[(0, 2)]));
    carry(&mut order, &OrderCommand::Released);
    rest(&order, &[]);
    carry(&mut order, &cancel(&[]));
    rest(&order, &[Cancelled]);
    let mut answered = order.clone();
    carry(&mut answered, &paid(2, done()));
    rest(&answered, &[Cancelled, PaymentDone]);
    carry(&mut answered, &OrderCommand::Released);
    rest(&answered, &[Cancelled, PaymentDone, Released]);
    carry(&mut order, &OrderCommand::Released);
    rest(&order, &[Cancelled, Released]);
    carry(&mut order, &paid(2, declined()));
    carry(&mut order, &retry(2));
    carry(&mut order, &paid(3, done()));
    rest(
        &order,
        &[Cancelled, Released, PaymentDeclined, PaymentRetried, PaymentDone],
    );
}

#[test]
fn an_order_that_waits_for_its_authorisation_is_called_off_also_by_naming_all_of_it() {
    let mut order = Stage::Authorizing.order();
    let refused = ask(&mut order, &cancel(&[(0, 3), (1, 2)])).map(|it| it.events);
    assert_eq!(refused, Err(Rejection::OrderPending));
    let all = carry(&mut order, &cancel(&[(0, 2), (1, 2), (2, 1), (0, 1)]));
    assert_eq!(all.events, [ChangeKind::Cancelled]);
}

fn is_refused(order: &Order, event: &OrderEvent) -> bool {
    let mut after = order.clone();
    let refused = after.evolve(event, Time(9)).is_err();
    match refused {
        true => assert_eq!(after, *order, "{event:?} is refused and changes something"),
        false => after.validate().unwrap(),
    }
    refused
}

#[track_caller]
fn check(event: &OrderEvent, taken: &[Stage]) {
    for stage in Stage::all() {
        if let Some(order) = stage.order() {
            let is_taken = taken.contains(&stage);
            assert_eq!(is_refused(&order, event), !is_taken, "{event:?} of {stage:?}");
        }
    }
}

#[test]
fn each_event_of_a_payment_is_taken_only_where_it_could_have_been_decided() {
    let authorized = OrderEvent::Authorized {
        reference: "p-1".into(),
    };
    let answered = |number, outcome: PaymentOutcome| OrderEvent::PaymentAnswered { number, outcome };
    let retried = |number| OrderEvent::PaymentRetried {
        number,
        by: user("ops"),
    };
    let rejected = |rejection| OrderEvent::Rejected {
        rejection: Box::new(rejection),
        release: Box::default(),
    };
    let reason = "no funds".into();
    check(&OrderEvent::Reserved, &[Stage::ProviderPending]);
    check(&OrderEvent::Confirmed, &[Stage::Pending]);
    check(&authorized, &[Stage::Authorizing, Stage::WaitingAuthorizing]);
    check(
        &OrderEvent::Expired,
        &[Stage::Authorizing, Stage::WaitingAuthorizing],
    );
    check(
        &rejected(Rejection::PaymentDeclined { reason }),
        &[
            Stage::Pending,
            Stage::ProviderPending,
            Stage::Authorizing,
            Stage::WaitingAuthorizing,
        ],
    );
    check(
        &rejected(Rejection::StaleEtag),
        &[Stage::Pending, Stage::ProviderPending],
    );
    for number in [0, 1, 9, u32::MAX] {
        check(&answered(number, done()), &[]);
        check(&retried(number), &[]);
    }
    let second_is_open = [
        Stage::ProviderConfirmedReleasing,
        Stage::EditAuthorizing,
        Stage::CapturesOpen,
        Stage::CalledOffReleasing,
        Stage::CalledOff,
        Stage::CancelledVoidOpenReleasing,
        Stage::CancelledVoidOpen,
        Stage::ExpiredReleasing,
        Stage::ExpiredVoidOpen,
    ];
    for outcome in [done(), declined()] {
        check(&answered(2, outcome), &second_is_open);
    }
    check(
        &retried(2),
        &[Stage::CancelledVoidDeclined, Stage::ExpiredVoidDeclined],
    );
    check(&retried(3), &[Stage::CaptureDeclined, Stage::CaptureFreed]);
}

#[test]
fn no_more_is_refunded_than_the_provider_says_that_it_took() {
    let mut order = Stage::CaptureOpen.order();
    carry(&mut order, &refund(2));
    let event = OrderEvent::Refunded {
        amount: Amount(1),
        note: "".into(),
        by: user("shop"),
    };
    assert!(is_refused(order.as_ref().unwrap(), &event));
    carry(&mut order, &paid(3, done()));
    assert!(!is_refused(order.as_ref().unwrap(), &event));
}

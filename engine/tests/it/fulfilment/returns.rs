//! What comes back: how often, how much of each line, and what goes back on the stock.

use docket_engine::{
    Amount, Effect, Order, OrderCommand, OrderState, Quantity, RETURNS_MAX, Rejection, ReturnState,
    ReturnStep, order,
};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::bounds::confirmed;
use crate::stage::{Ask, Stage, ask, carry, line, move_return, refund, request_return, ship, sku, some};

/// All of it is shipped, and off the stock.
fn sent(lines: Vec<docket_engine::Line>) -> Option<Order> {
    let mut order = Some(confirmed(lines));
    carry(&mut order, &ship(&[]));
    carry(&mut order, &Ask::Consumed.command());
    order
}

fn events(order: &mut Option<Order>, command: &OrderCommand) -> Result<usize, Rejection> {
    ask(order, command).map(|outcome| outcome.events.len())
}

fn state_of(order: &Option<Order>, number: u32) -> ReturnState {
    order.as_ref().unwrap().return_of(number).unwrap().state()
}

const RECEIVE: ReturnStep = ReturnStep::Receive { restock: false };
const RESTOCK: ReturnStep = ReturnStep::Receive { restock: true };

fn decline() -> ReturnStep {
    ReturnStep::Decline { note: "worn".into() }
}

#[test]
fn an_order_is_returned_so_often_and_no_more_whatever_became_of_the_returns() {
    let mut order = sent(vec![line("nut", 1_000, 3)]);
    for number in 1..=RETURNS_MAX as u32 {
        carry(&mut order, &request_return(&[(0, 1)]));
        carry(&mut order, &move_return(number, decline()));
    }
    for one_more in [request_return(&[(0, 1)]), request_return(&[])] {
        assert_eq!(events(&mut order, &one_more), Err(Rejection::TooManyReturns));
    }
    // That there is less of it, or no such line, is told first.
    let too_many = events(&mut order, &request_return(&[(0, 1_001)]));
    assert!(matches!(too_many, Err(Rejection::QuantityNotReturnable { .. })));
    let missing = events(&mut order, &request_return(&[(1, 1)]));
    assert_eq!(missing, Err(Rejection::LineNotFound { line: 1 }));
    // Money is given back without any return.
    assert_eq!(events(&mut order, &refund(1)), Ok(1));
}

#[test]
fn an_order_is_refunded_so_often_and_no_more() {
    let mut order = sent(vec![line("nut", 1_000, 3)]);
    for _ in 0..RETURNS_MAX {
        carry(&mut order, &refund(1));
    }
    for one_more in [1, 3_000 - RETURNS_MAX as i64] {
        let refused = events(&mut order, &refund(one_more));
        assert_eq!(refused, Err(Rejection::TooManyReturns));
    }
    for too_much in [0, -1, i64::MIN, 3_001 - RETURNS_MAX as i64, i64::MAX] {
        let refused = events(&mut order, &refund(too_much));
        let expected = Rejection::RefundTooLarge {
            wanted: Amount(too_much),
            refundable: Amount(3_000 - RETURNS_MAX as i64),
        };
        assert_eq!(refused, Err(expected));
    }
    assert_eq!(events(&mut order, &request_return(&[])), Ok(1));
}

#[test]
fn what_was_declined_or_never_came_can_be_in_another_return_and_what_came_cannot() {
    let steps_and_whether_free: [(&[ReturnStep], bool); 8] = [
        (&[], false),
        (&[decline()], true),
        (&[ReturnStep::Approve], false),
        (&[ReturnStep::Approve, ReturnStep::Close], true),
        (&[ReturnStep::Approve, RECEIVE], false),
        (&[ReturnStep::Approve, RECEIVE, ReturnStep::Close], false),
        (&[ReturnStep::Approve, RESTOCK], false),
        (&[ReturnStep::Approve, RESTOCK, ReturnStep::Close], false),
    ];
    for (steps, is_free) in steps_and_whether_free {
        let mut order = sent(vec![line("nut", 5, 3), line("bolt", 1, 1)]);
        carry(&mut order, &request_return(&[(0, 4)]));
        for step in steps {
            carry(&mut order, &move_return(1, step.clone()));
        }
        let now = order.as_ref().unwrap();
        let left = if is_free { 5 } else { 1 };
        assert_eq!(
            now.returnable_quantities(),
            [Quantity(left), Quantity(1)],
            "{steps:?}"
        );
        assert_eq!(
            now.returned_quantities(),
            [Quantity(5 - left), Quantity(0)],
            "{steps:?}"
        );
        let refused = events(&mut order, &request_return(&[(0, left + 1)]));
        let expected = Rejection::QuantityNotReturnable {
            line: 0,
            wanted: Quantity(left + 1),
            returnable: Quantity(left),
        };
        assert_eq!(refused, Err(expected), "{steps:?}");
        carry(&mut order, &request_return(&[]));
        let all = some(&[(0, left), (1, 1)]);
        assert_eq!(order.unwrap().returns()[1].lines, all, "{steps:?}");
    }
}

#[test]
fn a_line_that_is_named_twice_is_meant_twice() {
    let start = vec![line("nut", 5, 3), line("bolt", 2, 1)];
    let mut order = Some(confirmed(start.clone()));
    carry(&mut order, &ship(&[(0, 1), (1, 1), (0, 2)]));
    assert_eq!(
        order.as_ref().unwrap().fulfilments()[0].lines,
        some(&[(0, 3), (1, 1)])
    );
    carry(&mut order, &Ask::Consumed.command());
    carry(&mut order, &request_return(&[(0, 1), (0, 1)]));
    assert_eq!(order.as_ref().unwrap().returns()[0].lines, some(&[(0, 2)]));
    let refused = events(&mut order, &request_return(&[(0, 1), (0, i64::MAX)]));
    let expected = Rejection::QuantityNotReturnable {
        line: 0,
        wanted: Quantity(i64::MAX),
        returnable: Quantity(1),
    };
    assert_eq!(refused, Err(expected));
    let refused = events(&mut order, &ship(&[(0, 2), (1, 1), (0, 1)]));
    let expected = Rejection::QuantityNotOpen {
        line: 0,
        wanted: Quantity(3),
        open: Quantity(2),
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn of_an_item_on_several_lines_the_sum_goes_back_on_the_stock() {
    let mut order = sent(vec![line("nut", 3, 1), line("bolt", 2, 1), line("nut", 4, 1)]);
    carry(&mut order, &request_return(&[(0, 1)]));
    carry(&mut order, &request_return(&[(2, 4), (0, 2), (1, 1)]));
    carry(&mut order, &move_return(2, ReturnStep::Approve));
    let received = carry(&mut order, &move_return(2, RESTOCK));
    let restock = |text, quantity| Effect::RestockStock {
        sku: sku(text),
        number: 2,
        quantity: Quantity(quantity),
    };
    let expected = [restock("nut", 6), restock("bolt", 1)];
    assert_eq!(received.effects, expected);
    // A new leader asks the same, also when nothing more comes of the return.
    carry(&mut order, &move_return(2, ReturnStep::Close));
    assert_eq!(order::open_effects(order.as_ref().unwrap()), expected);
    assert!(!order.as_ref().unwrap().is_settled());
    assert!(order.as_ref().unwrap().return_of(2).unwrap().was_restocked());
    carry(&mut order, &OrderCommand::Restocked);
    assert!(order.as_ref().unwrap().is_settled());
    assert_eq!(order::open_effects(order.as_ref().unwrap()), []);
}

#[test]
fn stock_is_put_back_one_return_after_the_other_and_only_when_what_was_sent_is_off_it() {
    let mut order = Some(confirmed(vec![line("nut", 5, 3), line("bolt", 2, 1)]));
    carry(&mut order, &ship(&[(0, 3)]));
    // It is requested and approved while the nuts are taken off the stock.
    for number in 1..=3 {
        carry(&mut order, &request_return(&[(0, 1)]));
        carry(&mut order, &move_return(number, ReturnStep::Approve));
    }
    let pending = Err(Rejection::OrderPending);
    assert_eq!(events(&mut order, &move_return(1, RESTOCK)), pending);
    // What goes nowhere waits for nobody.
    carry(&mut order, &move_return(3, RECEIVE));
    carry(&mut order, &Ask::Consumed.command());
    carry(&mut order, &move_return(1, RESTOCK));
    for waits in [
        move_return(2, RESTOCK),
        refund(1),
        ship(&[]),
        Ask::CancelAll.command(),
    ] {
        assert_eq!(events(&mut order, &waits), pending, "{waits:?}");
    }
    // A hold may begin, a shipment may arrive, and more may be wanted back.
    carry(&mut order, &Ask::Hold.command());
    carry(&mut order, &Ask::DeliverArrived.command());
    carry(&mut order, &OrderCommand::Restocked);
    // A hold holds up what is sent, and nothing that comes back.
    carry(&mut order, &move_return(2, RESTOCK));
    assert_eq!(state_of(&order, 2), ReturnState::Received);
    carry(&mut order, &OrderCommand::Restocked);
    carry(&mut order, &refund(9));
    assert_eq!(order.unwrap().state, OrderState::PartiallyFulfilled);
}

#[test]
fn what_comes_back_is_told_with_who_said_so_and_at_which_version() {
    let order = Stage::ReturnClosed.order().unwrap();
    let [found] = order.returns() else {
        panic!("{:?}", order.returns());
    };
    assert_eq!(&*found.note, "too many");
    assert_eq!(found.requested.by.as_ref().unwrap().as_str(), "ada");
    let steps: Vec<_> = found.steps.iter().map(|(step, _)| step.clone()).collect();
    assert_eq!(steps, [ReturnStep::Approve, RESTOCK, ReturnStep::Close]);
    let versions: Vec<u64> = found.steps.iter().map(|(_, stamp)| stamp.version.0).collect();
    let requested = found.requested.version.0;
    // That the stock is back has a version too.
    assert_eq!(versions, [requested + 1, requested + 2, requested + 4]);
    assert!(order.return_of(0).is_none() && order.return_of(2).is_none());
    assert!(order.return_of(u32::MAX).is_none());
    let refunded = Stage::Refunded.order().unwrap();
    let [found] = refunded.refunds() else {
        panic!("{:?}", refunded.refunds());
    };
    assert_eq!((found.amount, &*found.note), (Amount(18), "sorry"));
    assert_eq!(found.refunded.version, refunded.version);
}

/// Anything that may be asked of an order that was confirmed; whether it is done is up to the order.
fn anything() -> impl Strategy<Value = (u8, Vec<(u16, i64)>, Index)> {
    (0..10u8, vec((0..4u16, 1..6i64), 0..3), any::<Index>())
}

proptest! {
    #[test]
    fn no_more_of_a_line_comes_back_than_was_sent(all in vec(anything(), 1..60)) {
        let mut order = Some(confirmed(vec![line("nut", 9, 2), line("bolt", 7, 5), line("nut", 4, 1)]));
        // What the items were asked to put back, of all returns.
        let mut put_back = 0;
        for (what, lines, index) in all {
            let now = order.as_ref().unwrap();
            let number = 1 + index.index(now.returns().len() + 1) as u32;
            let command = match what {
                0 | 1 => ship(&lines),
                2 | 3 => request_return(&lines),
                4 => move_return(number, ReturnStep::Approve),
                5 => move_return(number, decline()),
                6 => move_return(number, RESTOCK),
                7 => move_return(number, RECEIVE),
                8 => move_return(number, ReturnStep::Close),
                _ => refund(1 + index.index(40) as i64),
            };
            if let Ok(outcome) = ask(&mut order, &command) {
                for effect in outcome.effects {
                    if let Effect::RestockStock { quantity, .. } = effect {
                        put_back += quantity.0;
                    }
                }
            }
            // The items do at once what they are asked.
            for done in [OrderCommand::Consumed, OrderCommand::Restocked] {
                if index.index(3) > 0 {
                    ask(&mut order, &done).unwrap();
                }
            }
            let now = order.as_ref().unwrap();
            let both = now.returned_quantities().into_iter().zip(now.returnable_quantities());
            for ((returned, returnable), fulfilled) in both.zip(now.fulfilled_quantities()) {
                prop_assert!(returned.0 >= 0 && returnable.0 >= 0);
                prop_assert_eq!(returned.0 + returnable.0, fulfilled.0);
            }
            let arrived: i64 = now
                .returns()
                .iter()
                .filter(|it| it.was_restocked())
                .flat_map(|it| &it.lines)
                .map(|it| it.quantity.0)
                .sum();
            prop_assert_eq!(arrived, put_back);
            prop_assert!(now.refunded() <= now.captured());
            prop_assert_eq!(now.refundable().0, now.captured().0 - now.refunded().0);
        }
    }
}

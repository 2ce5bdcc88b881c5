//! How an order was, told of how it is.

use docket_engine::{
    Change, ChangeKind, Order, OrderCommand, OrderEvent, OrderId, OrderState, ReturnStep, Time, order,
};

use crate::stage::{Ask, cancel, move_return, refund, request_return, ship, user};

/// An order after each of its changes.
struct Told {
    orders: Vec<Order>,
    changes: Vec<Change>,
}

fn tell(commands: &[OrderCommand]) -> Told {
    let mut told = Told {
        orders: Vec::new(),
        changes: Vec::new(),
    };
    for command in commands {
        let events = order::decide(told.orders.last(), command).unwrap().events;
        assert!(!events.is_empty(), "{command:?} does nothing");
        for event in &events {
            told.carry(event);
        }
    }
    told
}

impl Told {
    fn carry(&mut self, event: &OrderEvent) {
        let at = Time(self.orders.len() as i64 + 1);
        let order = match self.orders.last().cloned() {
            None => Order::create(OrderId(9), event, at).unwrap(),
            Some(mut order) => {
                order.evolve(event, at).unwrap();
                order
            }
        };
        order.validate().unwrap();
        self.changes.push(Change {
            kind: ChangeKind::of(event),
            version: order.version,
            at,
        });
        self.orders.push(order);
    }

    /// Of every later order every earlier one is told, without what it still had to ask of others.
    fn check(&self) {
        for (at_last, later) in self.orders.iter().enumerate() {
            for (then, change) in self.orders.iter().zip(&self.changes).take(at_last + 1) {
                let mut expected = then.clone();
                expected.releasing = Box::default();
                if let Some(life) = &mut expected.life {
                    life.consuming = Box::default();
                    life.restocking = Box::default();
                }
                let told = later.after(change);
                assert_eq!(told, expected, "{change:?} as version {}", later.version.0);
                assert_eq!(later.state_after(change), then.state);
                told.validate().unwrap();
                assert_eq!(told.held(), then.held());
                assert_eq!(told.payment(), then.payment());
                assert_eq!(told.open_quantities(), then.open_quantities());
                assert_eq!(told.returnable_quantities(), then.returnable_quantities());
                let states = |order: &Order| order.returns().iter().map(|it| it.state()).collect::<Vec<_>>();
                assert_eq!(states(&told), states(then));
            }
        }
    }
}

fn confirmed() -> Vec<OrderCommand> {
    vec![Ask::Place.command(), Ask::SettleAgreed.command()]
}

fn deliver(fulfilment: u32) -> OrderCommand {
    OrderCommand::Deliver {
        fulfilment,
        by: user("shop"),
        expected: None,
    }
}

#[track_caller]
fn check(then: &[OrderCommand], state: OrderState) {
    let told = tell(&[confirmed(), then.to_vec()].concat());
    assert_eq!(told.orders.last().unwrap().state, state);
    told.check();
}

#[test]
fn an_order_that_was_shipped_bit_by_bit_tells_how_it_was() {
    let consumed = OrderCommand::Consumed;
    check(
        &[
            ship(&[(0, 1)]),
            consumed.clone(),
            ship(&[(1, 1), (0, 1)]),
            deliver(2),
            consumed.clone(),
            deliver(1),
            ship(&[]),
            consumed,
            deliver(3),
        ],
        OrderState::Fulfilled,
    );
}

#[test]
fn an_order_that_was_held_shipped_and_cancelled_in_part_tells_how_it_was() {
    let (hold, release_hold) = (Ask::Hold.command(), Ask::ReleaseHold.command());
    let (released, consumed) = (OrderCommand::Released, OrderCommand::Consumed);
    let until_shipped = [
        hold.clone(),
        cancel(&[(0, 1)]),
        released.clone(),
        release_hold,
        ship(&[(2, 1)]),
        hold.clone(),
        consumed,
        cancel(&[(1, 1)]),
        deliver(1),
        released.clone(),
    ];
    check(&until_shipped, OrderState::PartiallyFulfilled);
    // All that is left is called off; its hold ends with it.
    let to_the_end = [&until_shipped[..], &[cancel(&[]), released]].concat();
    check(&to_the_end, OrderState::Fulfilled);
}

#[test]
fn an_order_that_was_cancelled_bit_by_bit_tells_how_it_was() {
    let (hold, released) = (Ask::Hold.command(), OrderCommand::Released);
    check(
        &[
            cancel(&[(0, 3)]),
            released.clone(),
            hold,
            cancel(&[(1, 2)]),
            released.clone(),
            // The last line: nothing is left, and nothing was shipped.
            cancel(&[(2, 1)]),
            released,
        ],
        OrderState::Cancelled,
    );
}

#[test]
fn an_order_of_which_some_came_back_tells_how_it_was() {
    let receive = |restock| ReturnStep::Receive { restock };
    let (consumed, restocked) = (OrderCommand::Consumed, OrderCommand::Restocked);
    let partly = [
        ship(&[(0, 2), (1, 1)]),
        // Before the stock was taken.
        request_return(&[(0, 1)]),
        consumed.clone(),
        refund(3),
        move_return(1, ReturnStep::Approve),
        request_return(&[(1, 1), (0, 1)]),
        Ask::Hold.command(),
        move_return(1, receive(true)),
        move_return(2, ReturnStep::Decline { note: "worn".into() }),
        restocked.clone(),
        request_return(&[]),
        move_return(3, ReturnStep::Approve),
        move_return(1, ReturnStep::Close),
        refund(6),
        Ask::ReleaseHold.command(),
        deliver(1),
    ];
    check(&partly, OrderState::PartiallyFulfilled);
    let to_the_end = [
        &partly[..],
        &[
            ship(&[]),
            consumed,
            refund(1),
            move_return(3, ReturnStep::Close),
            request_return(&[(0, 2), (1, 2)]),
            move_return(4, ReturnStep::Approve),
            move_return(4, receive(true)),
            // Nothing more comes of it while its stock is put back.
            move_return(4, ReturnStep::Close),
            restocked,
            refund(8),
            request_return(&[]),
            move_return(5, ReturnStep::Approve),
            move_return(5, receive(false)),
        ],
    ]
    .concat();
    check(&to_the_end, OrderState::Fulfilled);
}

#[test]
fn an_order_that_was_paid_back_and_then_cancelled_tells_how_it_was() {
    check(
        &[
            ship(&[(0, 1)]),
            OrderCommand::Consumed,
            refund(2),
            request_return(&[]),
            cancel(&[]),
            // The rest is given back by the items while the first nut comes home.
            move_return(1, ReturnStep::Approve),
            OrderCommand::Released,
            move_return(1, ReturnStep::Receive { restock: true }),
            OrderCommand::Restocked,
        ],
        OrderState::Fulfilled,
    );
}

#[test]
fn an_order_that_was_refused_tells_how_it_was() {
    let by_an_item = [
        Ask::Place.command(),
        Ask::SettleRefused.command(),
        OrderCommand::Released,
    ];
    tell(&by_an_item).check();
    tell(&[Ask::Refuse.command()]).check();
}

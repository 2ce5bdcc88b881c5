//! Entities as replies show them.

use std::sync::Arc;

use docket_engine::{
    Amount, Backorder, Backorders, ChangeKind, Customer, Item, Line, Order, OrderEvent, OrderId, OrderState,
    ProviderName, Quantity, Rejection, Time, Trail, Version,
};
use docket_proto::{
    PlaceOrdersAnswer, WatchOrdersAnswer,
    api::{feed::change_to_proto, show},
    encode_forwarded_order,
    peer::forward_reply::Result as Forwarded,
    peer_call::decode_forwarded,
    v1,
};
use proptest::prelude::*;
use prost::Message as _;

use super::{ada, id, nut};
use crate::arbitrary::order;

#[test]
fn an_order_is_shown_in_full() {
    let rejection = Rejection::PriceChanged {
        line: 0,
        sku: nut(),
        offered: Amount(3),
        current: Amount(4),
    };
    let order = Order {
        id: id(),
        customer: ada(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: nut(),
            quantity: Quantity(5),
            unit_price: Amount(3),
        }]),
        total: Amount(15),
        state: OrderState::Rejected,
        rejection: Some(Box::new(rejection)),
        releasing: Box::default(),
        life: None,
        version: Version(2),
        created: Time(1_795_000_000_123_456),
        updated: Time(-1),
        provider: None,
        trail: Trail::default(),
    };
    let shown = show::order_to_proto(&order);
    let expected = v1::Order {
        name: format!("orders/{}", id()),
        customer: "customers/ada".into(),
        state: v1::order::State::Rejected.into(),
        currency_code: "EUR".into(),
        lines: vec![v1::OrderLine {
            item: "items/nut".into(),
            quantity: 5,
            unit_price: 3,
            amount: 15,
            reservations: vec![v1::LineReservation {
                state: v1::line_reservation::State::Released.into(),
                quantity: 5,
                expire_time: None,
            }],
            ..v1::OrderLine::default()
        }],
        total: 15,
        rejection: Some(v1::Rejection {
            reason: "PRICE_CHANGED".into(),
            message: "item nut costs 4, not 3 (minor units)".into(),
            field: "lines[0].unit_price".into(),
        }),
        create_time: Some(prost_types::Timestamp {
            seconds: 1_795_000_000,
            nanos: 123_456_000,
        }),
        // A microsecond before 1970: nanoseconds count upwards all the same.
        update_time: Some(prost_types::Timestamp {
            seconds: -1,
            nanos: 999_999_000,
        }),
        etag: "v2".into(),
        holds: Vec::new(),
        payment: Some(v1::OrderPayment {
            state: v1::order_payment::State::Voided.into(),
            authorized: 15,
            captured: 0,
            voided: 15,
            refunded: 0,
            ..v1::OrderPayment::default()
        }),
        fulfilments: Vec::new(),
        returns: Vec::new(),
        refunds: Vec::new(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn what_is_held_says_until_when_and_nothing_else_does() {
    let placed = OrderEvent::Placed {
        customer: ada(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: nut(),
            quantity: Quantity(5),
            unit_price: Amount(3),
        }]),
        provider: Some(ProviderName::new("mint").unwrap()),
    };
    let mut order = Order::create(id(), &placed, Time(7)).unwrap();
    let shown = |order: &Order| {
        let mut shown = show::order_to_proto(order);
        if let Some(until) = order.held_until(3_000_000) {
            show::expire_at(&mut shown, until);
        }
        let reservation = &shown.lines[0].reservations[0];
        assert_eq!((shown.lines[0].reservations.len(), reservation.quantity), (1, 5));
        let until = reservation.expire_time;
        (
            reservation.state(),
            until.map(|until| (until.seconds, until.nanos)),
        )
    };
    use v1::line_reservation::State;
    // While it is being reserved, nothing ends that by itself.
    assert_eq!(shown(&order), (State::Held, None));
    order.evolve(&OrderEvent::Reserved, Time(8)).unwrap();
    assert_eq!(shown(&order), (State::Held, Some((3, 7_000))));
    let authorized = OrderEvent::Authorized {
        reference: "p-1".into(),
    };
    let mut confirmed = order.clone();
    confirmed.evolve(&authorized, Time(9)).unwrap();
    assert_eq!(shown(&confirmed), (State::Committed, None));
    order.evolve(&OrderEvent::Expired, Time(9)).unwrap();
    assert_eq!(shown(&order), (State::Expired, None));
}

#[test]
fn the_steps_of_an_order_say_of_which_payment_they_are_and_whether_anybody_waits_for_them() {
    use v1::payment_step::State;
    let by = docket_engine::access::Username::new("ada").unwrap();
    let placed = OrderEvent::Placed {
        customer: ada(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: nut(),
            quantity: Quantity(5),
            unit_price: Amount(3),
        }]),
        provider: Some(ProviderName::new("mint").unwrap()),
    };
    let mut order = Order::create(id(), &placed, Time(7)).unwrap();
    let authorized = OrderEvent::Authorized {
        reference: "p-1".into(),
    };
    let begun = OrderEvent::EditBegun {
        lines: Box::new([docket_engine::LineQuantity {
            line: 0,
            quantity: Quantity(7),
        }]),
        by,
    };
    for event in [OrderEvent::Reserved, authorized, begun, OrderEvent::EditReserved] {
        order.evolve(&event, Time(8)).unwrap();
    }
    let steps = |order: &Order| -> Vec<_> {
        let payment = show::order_to_proto(order).payment.unwrap();
        assert_eq!((payment.authorized, payment.provider.as_str()), (15, "mint"));
        let steps = payment.steps.iter();
        steps
            .map(|step| (step.number, step.payment, step.amount, step.state()))
            .collect()
    };
    assert_eq!(steps(&order), [(1, 1, 15, State::Done), (2, 2, 6, State::Due)]);
    let refused = OrderEvent::EditRefused {
        rejection: Box::new(Rejection::PaymentExpired),
    };
    order.evolve(&refused, Time(9)).unwrap();
    assert_eq!(
        steps(&order),
        [
            (1, 1, 15, State::Done),
            (2, 2, 6, State::Abandoned),
            (3, 2, 6, State::Due),
        ]
    );
}

#[test]
fn customers_and_items_show_their_revision_and_what_is_available() {
    let customer = show::customer_to_proto(&Customer {
        id: ada(),
        display_name: "Ada".into(),
        currency: "EUR".parse().unwrap(),
        credit_limit: Amount(100),
        balance: Amount(20),
        held: Amount(50),
        version: Version(9),
        revision: 2,
        created: Time(0),
        updated: Time(1),
    });
    assert_eq!(
        (&*customer.name, &*customer.etag, customer.available),
        ("customers/ada", "v2", 70)
    );
    let item = show::item_to_proto(&Item {
        backorders: Backorders::new(
            Quantity(9),
            [Backorder {
                order: OrderId(1),
                quantity: Quantity(4),
            }]
            .into(),
        ),
        sku: nut(),
        display_name: "Nut".into(),
        currency: "EUR".parse().unwrap(),
        unit_price: Amount(3),
        on_hand: Quantity(10),
        reserved: Quantity(4),
        version: Version(9),
        revision: 3,
        created: Time(0),
        updated: Time(1),
    });
    assert_eq!((&*item.name, &*item.etag, item.available), ("items/nut", "v3", 6));
    assert_eq!((item.backorder_limit, item.backordered), (9, 4));
}

#[test]
fn every_state_has_a_name_in_the_api() {
    for state in [
        OrderState::Pending,
        OrderState::Confirmed,
        OrderState::Cancelled,
        OrderState::Rejected,
    ] {
        let shown = show::state_to_proto(state);
        assert_eq!(shown.as_str_name(), state.to_string());
        assert_eq!(show::state_of(shown), Some(state));
    }
}

proptest! {
    /// What a stream's server writes is what its client's generated code reads and would have written.
    #[test]
    fn an_answer_of_a_stream_has_the_bytes_of_its_message(request_id in "[!-~]{0,64}", order in order()) {
        let message = v1::PlaceOrdersResponse {
            request_id: request_id.clone(),
            result: Some(v1::place_orders_response::Result::Order(Box::new(show::order_to_proto(&order)))),
        };
        let Ok(Forwarded::Message(elsewhere)) = decode_forwarded(encode_forwarded_order(&order)) else {
            panic!("it is a message");
        };
        let expected = message.encode_to_vec();
        for answer in [
            PlaceOrdersAnswer::Placed { request_id: request_id.clone(), order: Arc::new(order) },
            PlaceOrdersAnswer::Elsewhere { request_id, order: elsewhere },
            PlaceOrdersAnswer::from(message),
        ] {
            let mut bytes = Vec::new();
            answer.put(&mut bytes);
            prop_assert_eq!(&bytes, &expected);
        }
    }

    /// And what it writes to who watches.
    #[test]
    fn what_a_watch_is_told_has_the_bytes_of_its_message(
        token in "[!-~]{0,64}",
        orders in proptest::collection::vec((order(), kind(), any::<bool>(), 0..i64::MAX / 1_000), 0..4),
    ) {
        let changes = orders.iter().map(|(order, kind, _, at)| change_to_proto(*kind, Time(*at), order));
        let message = v1::WatchOrdersResponse { changes: changes.collect(), resume_token: token.clone() };
        let mut answer = WatchOrdersAnswer::default();
        for (change, (order, kind, is_message, at)) in message.changes.iter().zip(&orders) {
            match is_message {
                true => answer.tell_message(change),
                false => answer.tell(*kind, Time(*at), order),
            }
        }
        let answer = answer.ended_by(&token);
        prop_assert_eq!(answer.changes(), orders.len());
        prop_assert_eq!(answer.bytes(), message.encode_to_vec());
    }
}

fn kind() -> impl Strategy<Value = ChangeKind> {
    prop::sample::select(ChangeKind::ALL.to_vec())
}

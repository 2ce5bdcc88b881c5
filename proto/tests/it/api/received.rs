//! Orders as a server reads them, against what the generated code makes of the same bytes.

use docket_proto::{ReceivedOrder, v1};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z/]{1,20}", "\\PC{0,90}"]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 0..1_000i64, any::<i64>()]
}

fn line() -> impl Strategy<Value = v1::OrderLine> {
    (text(), number(), number(), number()).prop_map(|(item, quantity, unit_price, amount)| v1::OrderLine {
        item,
        quantity,
        unit_price,
        amount,
        ..v1::OrderLine::default()
    })
}

fn request() -> impl Strategy<Value = v1::PlaceOrderRequest> {
    (text(), text(), text(), vec(line(), 0..7)).prop_map(|(request_id, customer, currency_code, lines)| {
        v1::PlaceOrderRequest {
            request_id,
            customer,
            currency_code,
            lines,
            payment_method: String::new(),
        }
    })
}

/// What is read of the bytes, as the generated code's message.
fn read(bytes: &[u8]) -> Option<v1::PlaceOrderRequest> {
    let order = ReceivedOrder::decode(bytes).ok()?;
    assert_eq!(order.bytes(), bytes.len());
    let message = v1::PlaceOrderRequest::decode(&*order.encode()).unwrap();
    assert_eq!(order.request_id(), message.request_id);
    assert_eq!(order.customer(), message.customer);
    assert_eq!(order.currency_code(), message.currency_code);
    assert_eq!(order.lines().len(), message.lines.len());
    for (view, line) in order.lines().zip(&message.lines) {
        assert_eq!(
            (view.item, view.quantity, view.unit_price),
            (&*line.item, line.quantity, line.unit_price)
        );
    }
    assert_eq!(order.into_request_id(), message.request_id);
    Some(message)
}

/// What the generated code reads, without what only replies say of a line.
fn generated(bytes: &[u8]) -> Option<v1::PlaceOrderRequest> {
    let mut message = v1::PlaceOrderRequest::decode(bytes).ok()?;
    for line in &mut message.lines {
        (line.fulfilled_quantity, line.cancelled_quantity) = (0, 0);
        line.reservations.clear();
    }
    Some(message)
}

proptest! {
    #[test]
    fn an_order_is_read_as_it_was_written(request in request()) {
        prop_assert_eq!(read(&request.encode_to_vec()), Some(request.clone()));
        prop_assert_eq!(ReceivedOrder::from(&request).encode(), request.encode_to_vec());
    }

    /// The later of two texts counts, and lines add up, as in all of protobuf.
    #[test]
    fn messages_behind_one_another_are_one(first in request(), second in request()) {
        let bytes = [first.encode_to_vec(), second.encode_to_vec()].concat();
        prop_assert_eq!(read(&bytes), generated(&bytes));
    }

    #[test]
    fn changed_bytes_are_refused_or_read_as_the_generated_code_does(
        request in request(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        prop_assert_eq!(read(&bytes), generated(&bytes));
        bytes.truncate(cut.index(bytes.len() + 1));
        prop_assert_eq!(read(&bytes), generated(&bytes));
    }

    #[test]
    fn any_bytes_are_refused_or_read_as_the_generated_code_does(bytes in vec(any::<u8>(), 0..60)) {
        prop_assert_eq!(read(&bytes), generated(&bytes));
    }
}

#[test]
fn what_a_newer_client_says_besides_is_left_out() {
    let request = v1::PlaceOrderRequest {
        request_id: "r".into(),
        ..v1::PlaceOrderRequest::default()
    };
    // Field 99, a text.
    let bytes = [request.encode_to_vec(), vec![0x9a, 0x06, 1, b'x']].concat();
    assert_eq!(read(&bytes), Some(request));
}

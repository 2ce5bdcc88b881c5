//! Orders to be placed, and the rules that all requests share.

use docket_engine::{Amount, Line, Quantity};
use docket_proto::{
    NoIntern, ReceivedOrder,
    api::{
        customers, items,
        names::{parse_customer_name, parse_item_name, parse_order_name},
        orders,
    },
    v1,
};

use super::{ada, description, id, line, nut, place, refused};

#[test]
fn a_good_order_is_taken_apart() {
    let mut request = place(vec![line("items/nut", 1, 0), line("items/nut", 1_000_000_000, 3)]);
    // What the client says of amounts is ignored.
    request.lines[0].amount = -5;
    let order = orders::place_order(&ReceivedOrder::from(&request), &NoIntern).unwrap();
    let lines = [(1, 0), (1_000_000_000, 3)].map(|(quantity, price)| Line {
        sku: nut(),
        quantity: Quantity(quantity),
        unit_price: Amount(price),
    });
    assert_eq!(order.customer, ada());
    assert_eq!(order.currency, "EUR".parse().unwrap());
    assert_eq!(*order.lines, lines);
    assert_eq!(order.request_id.as_deref(), Some("r-1"));
}

#[test]
fn everything_wrong_with_an_order_is_said_at_once() {
    let request = v1::PlaceOrderRequest {
        request_id: "a\nb".into(),
        customer: "ada".into(),
        currency_code: "EURO".into(),
        lines: vec![
            line("items/nut", 1, 1),
            line("nut", 0, -1),
            line("items/", 1_000_000_001, i64::MIN),
            line("items/a b", i64::MIN, 1),
        ],
        payment_method: String::new(),
    };
    refused(
        orders::place_order(&ReceivedOrder::from(&request), &NoIntern),
        &[
            "request_id",
            "customer",
            "currency_code",
            "lines[1].item",
            "lines[1].quantity",
            "lines[1].unit_price",
            "lines[2].item",
            "lines[2].quantity",
            "lines[2].unit_price",
            "lines[3].item",
            "lines[3].quantity",
        ],
    );
}

#[test]
fn an_empty_order_lacks_everything() {
    let fields = ["customer", "currency_code", "lines"];
    refused(
        orders::place_order(&ReceivedOrder::from(&v1::PlaceOrderRequest::default()), &NoIntern),
        &fields,
    );
}

#[test]
fn a_request_id_is_required_where_a_repeat_would_hurt() {
    let mut request = place(vec![line("items/nut", 1, 1)]);
    request.request_id.clear();
    assert_eq!(
        orders::place_order(&ReceivedOrder::from(&request), &NoIntern)
            .unwrap()
            .request_id,
        None
    );
    refused(
        orders::streamed_order(&ReceivedOrder::from(&request), &NoIntern),
        &["request_id"],
    );
    let credit = v1::CreditAccountRequest::default();
    refused(
        customers::credit_account(&credit),
        &["request_id", "name", "amount"],
    );
    let adjust = v1::AdjustStockRequest::default();
    refused(items::adjust_stock(&adjust), &["request_id", "name", "delta"]);
}

#[test]
fn request_ids_are_1_to_64_printable_ascii_characters() {
    let all: String = (b' '..=b'~').map(char::from).collect();
    for good in ["a", &"x".repeat(64), &all[..64], &all[31..]] {
        let mut request = place(vec![line("items/nut", 1, 1)]);
        request.request_id = good.to_owned();
        assert_eq!(
            orders::streamed_order(&ReceivedOrder::from(&request), &NoIntern)
                .unwrap()
                .request_id
                .as_deref(),
            Some(good)
        );
    }
    for bad in [&"x".repeat(65), "ä", "a\0", "\x7f", "\t"] {
        let mut request = place(vec![line("items/nut", 1, 1)]);
        request.request_id = bad.to_owned();
        refused(
            orders::place_order(&ReceivedOrder::from(&request), &NoIntern),
            &["request_id"],
        );
    }
}

#[test]
fn orders_have_1_to_100_lines() {
    let lines = |n| vec![line("items/nut", 1, 1); n];
    assert_eq!(
        orders::place_order(&ReceivedOrder::from(&place(lines(100))), &NoIntern)
            .unwrap()
            .lines
            .len(),
        100
    );
    refused(
        orders::place_order(&ReceivedOrder::from(&place(lines(101))), &NoIntern),
        &["lines"],
    );
    // However many lines there are and whatever is wrong with them: one answer.
    refused(
        orders::place_order(
            &ReceivedOrder::from(&place(vec![line("", 0, -1); 50_000])),
            &NoIntern,
        ),
        &["lines"],
    );

    // Whether they add up is not a matter of shape: it has a reason of its own.
    let most = line("items/nut", 1_000_000_000, i64::MAX);
    assert!(orders::place_order(&ReceivedOrder::from(&place(vec![most; 2])), &NoIntern).is_ok());
}

#[test]
fn currencies_are_those_that_money_is_in() {
    for good in ["EUR", "USD", "JPY", "KWD", "CLF"] {
        let mut request = place(vec![line("items/nut", 1, 1)]);
        request.currency_code = good.into();
        assert!(
            orders::place_order(&ReceivedOrder::from(&request), &NoIntern).is_ok(),
            "{good}"
        );
    }
    for bad in ["eur", "EU", "ZZZ", "XXX", "XAU", "€", "ÄÖ", " EUR", "EUR "] {
        let mut request = place(vec![line("items/nut", 1, 1)]);
        request.currency_code = bad.into();
        refused(
            orders::place_order(&ReceivedOrder::from(&request), &NoIntern),
            &["currency_code"],
        );
    }
}

#[test]
fn names_say_what_they_should_look_like() {
    let check = |customer: &str| {
        let mut request = place(vec![line("items/nut", 1, 1)]);
        request.customer = customer.into();
        description(orders::place_order(&ReceivedOrder::from(&request), &NoIntern))
    };
    assert_eq!(
        check(""),
        "customer is required, in the form customers/{customer}"
    );
    assert_eq!(
        check("items/ada"),
        "customer must have the form customers/{customer}"
    );
    assert_eq!(
        check("customers/ada/orders"),
        "customer must have the form customers/{customer}; the part behind the slash may only have the characters \
         a-z A-Z 0-9 . _ -"
    );
    // A mebibyte of name is refused in a few words.
    let huge = check(&format!("customers/{}", "x".repeat(1 << 20)));
    assert!(huge.ends_with("must be at most 64 characters"), "{huge}");

    assert_eq!(parse_customer_name("customers/ada"), Ok(ada()));
    assert_eq!(parse_item_name("items/nut"), Ok(nut()));
    assert_eq!(parse_order_name(&format!("orders/{}", id())), Ok(id()));
    assert!(parse_order_name("orders/1").is_err());
}

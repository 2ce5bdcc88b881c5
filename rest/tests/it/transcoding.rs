//! From JSON to what gRPC would have carried, and back.

use docket_proto::v1;
use docket_rest::{Asked, Found, Gateway, Wrong};
use http::Method;
use prost::Message;
use prost_types::{FieldMask, Timestamp};
use serde_json::{Value, json};

fn asked(verb: Method, path: &str) -> Asked {
    let (path, query) = path
        .split_once('?')
        .map_or((path, None), |(path, query)| (path, Some(query)));
    match Gateway::new().unwrap().find(&verb, path, query) {
        Found::Asked(asked) => asked,
        other => panic!("{verb} {path}: {other:?}"),
    }
}

#[track_caller]
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(asked: &Asked, body: &str, expected: &M) {
    let message = asked.message(body.as_bytes()).unwrap();
    assert_eq!(M::decode(message.as_slice()).unwrap(), *expected);
}

#[track_caller]
fn check_wrong(asked: &Asked, body: &str, field: &str, why: &str) {
    let Wrong {
        field: found,
        why: told,
    } = asked.message(body.as_bytes()).unwrap_err();
    assert_eq!(found, field, "{told}");
    assert!(told.contains(why), "{told}");
}

#[test]
fn a_body_is_the_request() {
    let order = v1::PlaceOrderRequest {
        request_id: "r-1".into(),
        customer: "customers/acme".into(),
        currency_code: "EUR".into(),
        lines: vec![v1::OrderLine {
            item: "items/tea".into(),
            quantity: 2,
            unit_price: 450,
            ..v1::OrderLine::default()
        }],
        ..v1::PlaceOrderRequest::default()
    };
    let place = asked(Method::POST, "/v1/orders");
    // Numbers as texts or numbers, names as JSON or the contract has them.
    let body = r#"{"requestId": "r-1", "customer": "customers/acme", "currencyCode": "EUR",
                   "lines": [{"item": "items/tea", "quantity": "2", "unitPrice": 450}]}"#;
    check(&place, body, &order);
    let body = r#"{"request_id": "r-1", "customer": "customers/acme", "currency_code": "EUR",
                   "lines": [{"item": "items/tea", "quantity": 2, "unit_price": "450"}]}"#;
    check(&place, body, &order);
    check(&place, "", &v1::PlaceOrderRequest::default());
    check(&place, " {} ", &v1::PlaceOrderRequest::default());
}

#[test]
fn what_is_not_in_the_body_is_in_the_path_the_query_or_a_header() {
    let create = asked(Method::POST, "/v1/customers?customerId=acme").with_request_id("r-2".into());
    let customer = v1::Customer {
        currency_code: "EUR".into(),
        credit_limit: 500,
        ..v1::Customer::default()
    };
    let expected = v1::CreateCustomerRequest {
        customer_id: "acme".into(),
        customer: Some(customer),
        request_id: "r-2".into(),
    };
    check(
        &create,
        r#"{"currencyCode": "EUR", "creditLimit": "500"}"#,
        &expected,
    );

    let update = asked(
        Method::PATCH,
        "/v1/customers/acme?updateMask=displayName,creditLimit",
    );
    let expected = v1::UpdateCustomerRequest {
        customer: Some(v1::Customer {
            name: "customers/acme".into(),
            display_name: "Acme".into(),
            ..v1::Customer::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["display_name".into(), "credit_limit".into()],
        }),
        ..v1::UpdateCustomerRequest::default()
    };
    check(&update, r#"{"displayName": "Acme"}"#, &expected);
    check(
        &update,
        r#"{"displayName": "Acme", "name": "customers/acme"}"#,
        &expected,
    );

    let list = asked(
        Method::GET,
        "/v1/orders?customer=customers%2Facme&states=PENDING&states=CONFIRMED&pageSize=7&returnPartialSuccess=true\
         &create_time_from=2026-01-02T03:04:05Z",
    );
    let expected = v1::ListOrdersRequest {
        customer: "customers/acme".into(),
        states: vec![
            v1::order::State::Pending.into(),
            v1::order::State::Confirmed.into(),
        ],
        page_size: 7,
        return_partial_success: true,
        create_time_from: Some(Timestamp {
            seconds: 1_767_323_045,
            nanos: 0,
        }),
        ..v1::ListOrdersRequest::default()
    };
    check(&list, "", &expected);

    let drain = asked(Method::POST, "/v1/nodes/3:drain");
    check(&drain, "", &v1::DrainNodeRequest { node_id: 3 });
    let cancel = asked(Method::POST, "/v1/orders/01M8:cancel").with_request_id("r-3".into());
    let expected = v1::CancelOrderRequest {
        name: "orders/01M8".into(),
        request_id: "r-3".into(),
        etag: "v2".into(),
    };
    check(&cancel, r#"{"etag": "v2"}"#, &expected);
    check(
        &cancel,
        r#"{"etag": "v2", "requestId": "r-3", "name": "orders/01M8"}"#,
        &expected,
    );
}

#[test]
fn a_watch_goes_on_behind_what_its_header_says() {
    let watch = asked(Method::GET, "/v1/orders:watch?resumeToken=old&start=OLDEST");
    let expected = |token: &str| v1::WatchOrdersRequest {
        resume_token: token.into(),
        start: v1::watch_orders_request::Start::Oldest.into(),
        ..v1::WatchOrdersRequest::default()
    };
    check(&watch, "", &expected("old"));
    check(&watch.with_resume_token("new".into()), "", &expected("new"));
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let place = asked(Method::POST, "/v1/orders");
    let line =
        |line: &str| format!(r#"{{"customer": "customers/acme", "lines": [{{"quantity": 1}}, {line}]}}"#);
    check_wrong(
        &place,
        &line(r#"{"quantity": "many"}"#),
        "lines[1].quantity",
        "cannot be read",
    );
    check_wrong(
        &place,
        &line(r#"{"quantity": 1.5}"#),
        "lines[1].quantity",
        "cannot be read",
    );
    check_wrong(
        &place,
        &line(r#"{"amounts": 1}"#),
        "lines[1].amounts",
        "is no field",
    );
    check_wrong(&place, r#"{"customers": 1}"#, "customers", "is no field");
    check_wrong(&place, r#"{"customer": 1}"#, "customer", "cannot be read");
    check_wrong(&place, r#"{"customer": "a""#, "", "cannot be read");
    check_wrong(&place, "{} {}", "", "cannot be read");
    check_wrong(&place, "[]", "", "cannot be read");
    let many = format!("[{{}}{}]", ",{}".repeat(10_000));
    check_wrong(
        &place,
        &format!(r#"{{"lines": {many}}}"#),
        "lines",
        "has more than 10000 elements",
    );
    let deep = "[".repeat(100_000);
    check_wrong(
        &place,
        &format!(r#"{{"lines": {deep}"#),
        "lines[0]",
        "cannot be read",
    );

    let list = |query: &str| asked(Method::GET, &format!("/v1/orders?{query}"));
    check_wrong(&list("pageSize=many"), "", "pageSize", "cannot be read");
    check_wrong(&list("pageSize=1&pageSize=2"), "", "pageSize", "more than once");
    check_wrong(&list("states=LOST"), "", "states", "cannot be read");
    check_wrong(
        &list("returnPartialSuccess=maybe"),
        "",
        "returnPartialSuccess",
        "cannot be read",
    );
    check_wrong(&list("color=red"), "", "color", "is no parameter");
    check_wrong(
        &list(&"states=PENDING&".repeat(1_025)),
        "",
        "",
        "at most 1024 parameters",
    );
    check_wrong(
        &asked(Method::POST, "/v1/orders?customer=a"),
        "{}",
        "customer",
        "is no parameter",
    );
    check_wrong(
        &asked(Method::GET, "/v1/orders/1?name=orders/2"),
        "",
        "name",
        "is no parameter",
    );
    check_wrong(
        &asked(Method::POST, "/v1/nodes/three:drain"),
        "",
        "node_id",
        "cannot be read",
    );

    let cancel = asked(Method::POST, "/v1/orders/1:cancel").with_request_id("r-1".into());
    check_wrong(
        &cancel,
        r#"{"name": "orders/2"}"#,
        "name",
        "must be what the path says",
    );
    check_wrong(
        &cancel,
        r#"{"requestId": "r-2"}"#,
        "request_id",
        "must be what idempotency-key says",
    );
    let drain = asked(Method::POST, "/v1/nodes/3:drain").with_request_id("r-1".into());
    check_wrong(&drain, "", "idempotency-key", "is not known by this method");
}

#[test]
fn an_answer_has_all_that_has_no_presence() {
    let item = v1::Item {
        name: "items/tea".into(),
        unit_price: 9_007_199_254_740_993,
        create_time: Some(Timestamp {
            seconds: 1_700_000_000,
            nanos: 5_000_000,
        }),
        ..v1::Item::default()
    };
    let route = asked(Method::GET, "/v1/items/tea");
    let told: Value = serde_json::from_slice(&route.route().json(&item.encode_to_vec()).unwrap()).unwrap();
    assert_eq!(told["name"], "items/tea");
    assert_eq!(told["unitPrice"], "9007199254740993");
    assert_eq!(told["onHand"], "0");
    assert_eq!(told["createTime"], "2023-11-14T22:13:20.005Z");
    assert!(told.get("updateTime").is_none());
    let list = asked(Method::GET, "/v1/orders");
    let told: Value = serde_json::from_slice(&list.route().json(&[]).unwrap()).unwrap();
    assert_eq!(told["orders"], json!([]));
    assert!(route.route().json(b"\xff").is_err());
}

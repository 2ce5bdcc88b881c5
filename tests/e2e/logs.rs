//! What the log says, and what it never says.

use std::time::Instant;

use docket_proto::v1::{self, order_hold::Reason};
use serde_json::Value;
use tonic::Request;

use crate::{
    api::{Api, Credentials, order},
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// What a person wrote or is called begins with this, and so does what they know alone.
const CANARY: &str = "canary";

fn canary(what: &str) -> String {
    format!("{CANARY}-{what}")
}

/// A whole life of an order, with everything in it that people write, and with mistakes.
async fn live(api: &Api, password: &str) {
    let mut orders = api.orders();
    let ada = canary("ada");
    let placed = orders
        .place_order(order(&canary("request"), &ada, &[("nut", 5, 5)]))
        .await;
    let name = placed.unwrap().into_inner().name;
    let held = v1::HoldOrderRequest {
        name: name.clone(),
        reason: Reason::FraudReview.into(),
        note: canary("hold-note"),
        ..Default::default()
    };
    orders.hold_order(held).await.unwrap();
    let released = v1::ReleaseOrderHoldRequest {
        name: name.clone(),
        reason: Reason::FraudReview.into(),
        ..Default::default()
    };
    orders.release_order_hold(released).await.unwrap();
    let shipped = v1::ShipOrderRequest {
        name: name.clone(),
        carrier: canary("carrier"),
        tracking_code: canary("tracking"),
        ..Default::default()
    };
    orders.ship_order(shipped).await.unwrap();
    let delivered = v1::DeliverFulfilmentRequest {
        name: name.clone(),
        fulfilment: 1,
        ..Default::default()
    };
    orders.deliver_fulfilment(delivered).await.unwrap();
    let asked = v1::RequestReturnRequest {
        name: name.clone(),
        lines: vec![v1::LineQuantity { line: 0, quantity: 1 }],
        note: canary("return-note"),
        ..Default::default()
    };
    orders.request_return(asked).await.unwrap();
    let resolved = v1::ResolveReturnRequest {
        name: name.clone(),
        return_number: 1,
        approve: true,
        ..Default::default()
    };
    orders.resolve_return(resolved).await.unwrap();
    let refunded = v1::RefundOrderRequest {
        name: name.clone(),
        amount: 1,
        note: canary("refund-note"),
        ..Default::default()
    };
    orders.refund_order(refunded).await.unwrap();

    // Mistakes: what is refused is not quoted either.
    orders
        .place_order(order("r", &canary("stranger"), &[("nut", 1, 5)]))
        .await
        .unwrap_err();
    orders
        .place_order(order("r", &ada, &[(&canary("no-item"), 1, 5)]))
        .await
        .unwrap_err();
    orders
        .place_order(order("r", &canary("€"), &[("nut", 1, 5)]))
        .await
        .unwrap_err();
    let long = v1::HoldOrderRequest {
        name: name.clone(),
        reason: Reason::FraudReview.into(),
        note: canary(&"x".repeat(10_000)),
        ..Default::default()
    };
    orders.hold_order(long).await.unwrap_err();

    let account = canary("account");
    let registered = v1::RegisterRequest {
        username: account.clone(),
        password: password.to_owned(),
        role: v1::Role::Customer.into(),
        customer: format!("customers/{ada}"),
    };
    api.auth().register(registered).await.unwrap();
    let login = |password: &str| v1::LoginRequest {
        username: account.clone(),
        password: password.to_owned(),
    };
    api.auth()
        .login(login(&canary("wrong-password")))
        .await
        .unwrap_err();
    let session = api.auth().login(login(password)).await.unwrap().into_inner();
    let own = api.by(Credentials::token(&session.access_token));
    own.orders()
        .get_order(v1::GetOrderRequest { name })
        .await
        .unwrap();
    api.by(Credentials::token(&canary("token")))
        .orders()
        .list_orders(v1::ListOrdersRequest::default())
        .await
        .unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_wrote_is_in_no_line_however_much_is_logged() {
    let home = Home::new()
        .set("log.level", "trace")
        .set("tracing.endpoint", "http://127.0.0.1:1")
        .set("tracing.ratio", "1");
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    let created = v1::CreateCustomerRequest {
        customer_id: canary("ada"),
        customer: Some(v1::Customer {
            display_name: canary("display-name"),
            currency_code: "EUR".into(),
            credit_limit: 1_000_000,
            ..Default::default()
        }),
        ..Default::default()
    };
    api.customers().create_customer(created).await.unwrap();
    api.item("nut", 5, 1_000).await;
    let password = canary("password-of-sixteen");
    live(&api, &password).await;
    let key = home.admin_key();
    server.stop(&home);

    let log = home.whole_log();
    assert!(
        log.contains("\"DEBUG\"") && log.contains("\"TRACE\""),
        "all is logged"
    );
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains(CANARY))
        .take(10)
        .collect();
    assert!(said.is_empty(), "{said:#?}");
    assert!(!log.contains(&key), "nor the administrator's key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_lines_that_repeat_themselves_few_are_written_and_how_many_were_not_is_told() {
    // What a server says of each key of its configuration it says in one place.
    let counted = |home: &Home| {
        let log = home.whole_log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.fold((0, 0), |(written, left_out), line| {
            match (line["message"].as_str(), line["of"].as_str()) {
                (Some("configured"), _) => (written + 1, left_out),
                (_, Some("docket::serve")) => (written, left_out + number(&line["lines"])),
                _ => (written, left_out),
            }
        })
    };
    let start = |repeats_max: &str| {
        let home = Home::new().set("log.repeats_max", repeats_max);
        (Server::start(&home), home)
    };
    let (server, home) = start("0");
    server.stop(&home);
    let (all, none) = counted(&home);
    assert!(all > 4 && none == 0, "{all} and {none}");

    let (server, home) = start("2");
    let begun = Instant::now();
    // It is told within two seconds.
    let (written, left_out) = loop {
        let (written, left_out) = counted(&home);
        if written + left_out >= all {
            break (written, left_out);
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{written} and {left_out} of {all}: {}",
            home.whole_log()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    println!("of {all} lines {written} were written, {left_out} were said to be left out");
    assert!(written >= 2 && left_out > 0, "{}", home.whole_log());
    server.stop(&home);
}

/// A number, which may be written as a text.
fn number(value: &Value) -> u64 {
    let text = value
        .as_str()
        .map(str::to_owned)
        .unwrap_or_else(|| value.to_string());
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_call_name_its_trace_where_its_client_does() {
    let home = Home::new().set("log.level", "info,docket_edge=debug");
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    api.customer("ada", 1_000_000).await;
    api.item("nut", 5, 1_000).await;
    let mut request = Request::new(order("r", "ada", &[("nut", 1, 5)]));
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-00");
    request
        .metadata_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    api.orders().place_order(request).await.unwrap();
    server.stop(&home);

    let log = home.whole_log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answered: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "answered")
        .collect();
    assert!(answered.len() >= 3, "{log}");
    let traced: Vec<_> = answered
        .iter()
        .filter(|line| line["span"]["trace_id"] == TRACE)
        .collect();
    let [traced] = traced[..] else {
        panic!("{answered:#?}");
    };
    assert_eq!(traced["span"]["method"], "/docket.v1.OrderService/PlaceOrder");
    // It is not sampled, but it is named; who names none has none.
    assert_eq!(
        answered
            .iter()
            .filter(|line| line["span"]["trace_id"].is_string())
            .count(),
        1
    );
}

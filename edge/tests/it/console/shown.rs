//! What the console shows: orders, texts as texts, traffic.

use docket_proto::v1::{
    self, customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
    order_service_client::OrderServiceClient,
};
use serde_json::Value;

use super::{place, start};
use crate::support::{nuts, seed, with};

#[tokio::test]
async fn an_order_is_found_with_its_events_its_money_and_its_stock() {
    let (server, mut browser) = start(|_| {}).await;
    let channel = server.connect().await;
    seed(channel.clone(), &browser.key).await;
    let id = place(channel.clone(), &browser.key, nuts("one", "ada", 3)).await;
    let mut orders = OrderServiceClient::new(channel.clone());
    let ship = v1::ShipOrderRequest {
        name: format!("orders/{id}"),
        lines: vec![v1::LineQuantity { line: 0, quantity: 1 }],
        ..Default::default()
    };
    orders
        .ship_order(with("x-api-key", &browser.key, ship))
        .await
        .unwrap();
    browser.log_in().await;

    let list = browser.question("orders?customer=ada").await.json();
    assert_eq!(list["orders"].as_array().unwrap().len(), 1);
    assert_eq!(list["orders"][0]["id"], id.as_str());
    assert_eq!(list["orders"][0]["state"], "PARTIALLY_FULFILLED");
    assert_eq!(list["orders"][0]["total"], "15");
    for (question, found) in [
        ("orders?state=PARTIALLY_FULFILLED", 1),
        ("orders?state=REJECTED", 0),
        ("orders?customer=bob", 0),
        ("orders?item=nut", 1),
        ("orders?stuck=pending", 0),
        ("orders?stuck=held", 0),
        ("orders?stuck=unpaid", 0),
        ("orders?stuck=planned", 0),
    ] {
        let list = browser.question(question).await.json();
        assert_eq!(list["orders"].as_array().unwrap().len(), found, "{question}");
    }
    for wrong in [
        "orders?state=x",
        "orders?stuck=x",
        "orders?nothing=1",
        "orders/x",
        "orders?page_token=x",
    ] {
        assert_eq!(browser.question(wrong).await.code, 400, "{wrong}");
    }
    let other: String = id.chars().rev().collect();
    assert!([400, 404].contains(&browser.question(&format!("orders/{other}")).await.code));

    let hold = v1::HoldOrderRequest {
        name: format!("orders/{id}"),
        reason: v1::order_hold::Reason::Operator.into(),
        note: "a person looks".into(),
        ..Default::default()
    };
    orders
        .hold_order(with("x-api-key", &browser.key, hold))
        .await
        .unwrap();
    let held = browser.question("orders?stuck=held").await.json();
    assert_eq!(held["orders"][0]["holds"], serde_json::json!(["OPERATOR"]));

    let shown = browser.question(&format!("orders/{id}")).await.json();
    let order = &shown["order"];
    assert_eq!(order["payment"]["authorized"], "15");
    assert_eq!(order["payment"]["captured"], "5");
    assert_eq!(order["lines"][0]["fulfilled"], 1);
    assert_eq!(order["holds"][0]["note"], "a person looks");
    assert_eq!(shown["customer"]["held"], "10");
    assert_eq!(shown["items"][0]["item"]["reserved"], "2");
    assert_eq!(shown["items"][0]["item"]["on_hand"], "999999");

    let told = browser.question(&format!("orders/{id}/events")).await.json();
    let kinds: Vec<_> = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"CONFIRMED") && kinds.contains(&"SHIPPED"),
        "{kinds:?}"
    );
    assert_eq!(kinds.last(), Some(&"HELD"));
    let shipped = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["kind"] == "SHIPPED");
    let shipped = shipped.unwrap();
    assert_eq!(shipped["after"]["payment"]["captured"], "5");
    assert_eq!(shipped["lines"], serde_json::json!([{"line": 1, "quantity": 1}]));
    assert_eq!(shipped["by"], "admin");

    let counts = browser.question("orders/counts").await.json();
    assert_eq!(counts["states"]["PARTIALLY_FULFILLED"], 1);
    assert_eq!(
        (&counts["held"], &counts["shards"]),
        (&1.into(), &counts["of_shards"])
    );
    server.stop().await;
}

#[tokio::test]
async fn what_somebody_wrote_is_told_as_text() {
    const MARKUP: &str = "<img src=x onerror=alert(1)></script><b>&amp;";
    let (server, mut browser) = start(|_| {}).await;
    let channel = server.connect().await;
    let customer = v1::CreateCustomerRequest {
        customer_id: "eve".into(),
        customer: Some(v1::Customer {
            display_name: MARKUP.into(),
            currency_code: "EUR".into(),
            credit_limit: 1_000,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut customers = CustomerServiceClient::new(channel.clone());
    customers
        .create_customer(with("x-api-key", &browser.key, customer))
        .await
        .unwrap();
    let item = v1::CreateItemRequest {
        sku: "nut".into(),
        item: Some(v1::Item {
            display_name: MARKUP.into(),
            currency_code: "EUR".into(),
            unit_price: 5,
            on_hand: 10,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut items = ItemServiceClient::new(channel.clone());
    items
        .create_item(with("x-api-key", &browser.key, item))
        .await
        .unwrap();
    let id = place(channel, &browser.key, nuts("one", "eve", 1)).await;
    browser.log_in().await;
    let answer = browser.question(&format!("orders/{id}")).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let shown = answer.json();
    assert_eq!(shown["customer"]["display_name"], MARKUP);
    assert_eq!(shown["items"][0]["item"]["display_name"], MARKUP);

    // Nothing of what is asked for is written into a page.
    let odd = "/console/orders/%3Cimg%20src=x%3E";
    let answer = browser.get(odd).await;
    assert_eq!(answer.code, 404);
    assert!(!answer.body.contains("img"));
    server.stop().await;
}

#[tokio::test]
async fn what_the_node_does_is_counted_and_what_the_console_asks_is_not_among_it() {
    let (server, mut browser) = start(|_| {}).await;
    let channel = server.connect().await;
    seed(channel.clone(), &browser.key).await;
    browser.log_in().await;
    let first = browser.question("traffic").await.json();
    assert_eq!(first["node_id"], 1);
    for n in 0..20 {
        place(channel.clone(), &browser.key, nuts(&n.to_string(), "ada", 1)).await;
        browser.question("orders").await.json();
    }
    // It looks every two seconds.
    let orders = |answer: &Value| -> f64 {
        let methods = answer["minute"]["methods"].as_array();
        let found = methods.and_then(|all| {
            all.iter()
                .find(|it| it["method"] == "docket.v1.OrderService/PlaceOrder")
        });
        found.map_or(0.0, |it| it["calls"].as_f64().unwrap())
    };
    let answer = loop {
        let answer = browser.question("traffic").await.json();
        if orders(&answer) >= 20.0 {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let times = answer["points"]["t"].as_array().unwrap();
    assert!(!times.is_empty());
    for line in [
        "orders", "calls", "errors", "p50", "p99", "p999", "sync_p99", "denials",
    ] {
        assert_eq!(
            answer["points"][line].as_array().unwrap().len(),
            times.len(),
            "{line}"
        );
    }
    let placed = answer["points"]["orders"].as_array().unwrap();
    assert!(
        placed
            .iter()
            .any(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0))
    );
    let latency = answer["points"]["p99"].as_array().unwrap();
    assert!(
        latency
            .iter()
            .any(|p99| p99.as_f64().is_some_and(|p99| p99 > 0.0))
    );
    // The page shows these by their names in the registry.
    for name in [
        "docket_requests_in_flight",
        "docket_streams_open",
        "docket_connections_open",
        "docket_journal_bytes",
        "docket_journal_queue_records",
        "docket_journal_records_total",
        "docket_journal_payload_bytes_total",
        "docket_disk_free_bytes",
    ] {
        assert!(answer["minute"]["shown"][name].is_number(), "{name}");
    }
    for line in ["records", "bytes", "journal", "free"] {
        assert!(
            answer["points"][line]
                .as_array()
                .unwrap()
                .iter()
                .any(Value::is_number),
            "{line}"
        );
    }
    assert!(answer["minute"]["codes"]["OK"].as_f64().unwrap() >= 20.0);
    let since = times.last().unwrap().as_u64().unwrap();
    let later = browser.question(&format!("traffic?since={since}")).await.json();
    assert!(later["points"]["t"].as_array().unwrap().len() <= 2);
    // What it asks is counted by itself.
    let metrics = server.get("/metrics").await.1;
    let asked = metrics
        .lines()
        .find_map(|line| line.strip_prefix("docket_console_calls_total{code=\"OK\"} "));
    assert!(asked.unwrap().parse::<u64>().unwrap() >= 20);
    server.stop().await;
}

//! Bad input: each is refused with what is wrong, and the server goes on.

use bytes::Bytes;
use docket_proto::v1::{
    self, AdjustStockRequest, CreateCustomerRequest, CreateItemRequest, CreditAccountRequest,
    GetOrderRequest, ListOrdersRequest, PlaceOrderRequest, UpdateItemRequest,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
    order_service_client::OrderServiceClient,
};
use prost::Message;
use tonic::{Code, Status};

use crate::{
    calls::{head, http2},
    support::{Running, by, fields, nuts, reason, start},
};

fn order(change: impl FnOnce(&mut PlaceOrderRequest)) -> PlaceOrderRequest {
    let mut order = nuts("id", "ada", 1);
    change(&mut order);
    order
}

#[tokio::test]
async fn an_order_of_a_wrong_shape_names_every_wrong_field() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    let line = |change: fn(&mut v1::OrderLine)| order(|order| change(&mut order.lines[0]));
    let long = "x".repeat(65);
    let cases: Vec<(PlaceOrderRequest, &[&str])> = vec![
        (
            PlaceOrderRequest::default(),
            &["customer", "currency_code", "lines"],
        ),
        (order(|o| o.request_id = long.clone()), &["request_id"]),
        (order(|o| o.request_id = "tab\t".into()), &["request_id"]),
        (order(|o| o.customer = "ada".into()), &["customer"]),
        (order(|o| o.customer = format!("customers/{long}")), &["customer"]),
        (order(|o| o.customer = "customers/a b".into()), &["customer"]),
        (
            order(|o| o.customer = format!("customers/{}", "x".repeat(1_000_000))),
            &["customer"],
        ),
        (order(|o| o.currency_code = "XXZ".into()), &["currency_code"]),
        (order(|o| o.currency_code = "eur".into()), &["currency_code"]),
        (order(|o| o.lines.clear()), &["lines"]),
        (order(|o| o.lines = vec![o.lines[0].clone(); 101]), &["lines"]),
        (line(|l| l.quantity = 0), &["lines[0].quantity"]),
        (line(|l| l.quantity = -1), &["lines[0].quantity"]),
        (line(|l| l.quantity = i64::MAX), &["lines[0].quantity"]),
        (line(|l| l.unit_price = -1), &["lines[0].unit_price"]),
        (line(|l| l.unit_price = i64::MIN), &["lines[0].unit_price"]),
        (line(|l| l.item = String::new()), &["lines[0].item"]),
        (line(|l| l.item = "items/".into()), &["lines[0].item"]),
        (line(|l| l.item = "items/ü".into()), &["lines[0].item"]),
    ];
    for (request, expected) in cases {
        let status = client.place_order(by("ada", request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{expected:?}: {status:?}");
        assert_eq!(fields(&status), expected);
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
    }
    client
        .place_order(by("ada", nuts("good", "ada", 1)))
        .await
        .expect("the server is unmoved");
    server.stop().await;
}

#[tokio::test]
async fn so_does_everything_else() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut orders = OrderServiceClient::new(channel.clone());
    let mut items = ItemServiceClient::new(channel.clone());
    let mut customers = CustomerServiceClient::new(channel);
    #[track_caller]
    fn check<T: std::fmt::Debug>(outcome: Result<T, Status>, field: &str) {
        let status = outcome.unwrap_err();
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec![field.to_owned()]),
            "{status:?}"
        );
    }
    let get = |name: &str| by("root", GetOrderRequest { name: name.into() });
    for name in [
        "",
        "orders/",
        "orders/short",
        "customers/ada",
        "orders/8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    ] {
        check(orders.get_order(get(name)).await, "name");
    }
    let list = |change: fn(&mut ListOrdersRequest)| {
        let mut list = ListOrdersRequest::default();
        change(&mut list);
        by("root", list)
    };
    check(orders.list_orders(list(|l| l.page_size = -1)).await, "page_size");
    check(
        orders.list_orders(list(|l| l.states = vec![99])).await,
        "states[0]",
    );
    check(
        orders
            .list_orders(list(|l| l.page_token = "garbage".into()))
            .await,
        "page_token",
    );
    check(
        orders
            .list_orders(list(|l| l.page_token = "A".repeat(1_000_000)))
            .await,
        "page_token",
    );

    let item = v1::Item {
        currency_code: "EUR".into(),
        ..Default::default()
    };
    let create = |sku: &str, item: v1::Item| {
        by(
            "root",
            CreateItemRequest {
                sku: sku.into(),
                item: Some(item),
                ..Default::default()
            },
        )
    };
    check(items.create_item(create("", item.clone())).await, "sku");
    check(
        items
            .create_item(create(
                "a",
                v1::Item {
                    unit_price: -1,
                    ..item.clone()
                },
            ))
            .await,
        "item.unit_price",
    );
    check(
        items
            .create_item(create(
                "a",
                v1::Item {
                    on_hand: -1,
                    ..item.clone()
                },
            ))
            .await,
        "item.on_hand",
    );
    let named = v1::Item {
        display_name: "n".repeat(900_000),
        ..item.clone()
    };
    check(items.create_item(create("a", named)).await, "item.display_name");
    check(
        items
            .create_item(by(
                "root",
                CreateItemRequest {
                    sku: "a".into(),
                    ..Default::default()
                },
            ))
            .await,
        "item",
    );
    let adjust = |request_id: &str, delta| {
        by(
            "root",
            AdjustStockRequest {
                name: "items/nut".into(),
                delta,
                request_id: request_id.into(),
                ..Default::default()
            },
        )
    };
    check(items.adjust_stock(adjust("", 1)).await, "request_id");
    check(items.adjust_stock(adjust("a", 0)).await, "delta");
    let mask = prost_types::FieldMask {
        paths: vec!["on_hand".into()],
    };
    let update = v1::Item {
        name: "items/nut".into(),
        on_hand: 1,
        ..Default::default()
    };
    let update = UpdateItemRequest {
        item: Some(update),
        update_mask: Some(mask),
        ..Default::default()
    };
    check(
        items.update_item(by("root", update)).await,
        "update_mask.paths[0]",
    );

    let customer = v1::Customer {
        currency_code: "EUR".into(),
        credit_limit: -1,
        ..Default::default()
    };
    let create = CreateCustomerRequest {
        customer_id: "new".into(),
        customer: Some(customer),
        ..Default::default()
    };
    check(
        customers.create_customer(by("root", create)).await,
        "customer.credit_limit",
    );
    let credit = CreditAccountRequest {
        name: "customers/ada".into(),
        request_id: "a".into(),
        ..Default::default()
    };
    check(customers.credit_account(by("root", credit)).await, "amount");
    server.stop().await;
}

/// Calls PlaceOrder with these bytes for a body.
async fn raw(server: &Running, body: Vec<u8>) -> Status {
    let (mut sender, connection) = http2(server).await;
    let connection = tokio::spawn(connection);
    let (answer, mut stream) = sender
        .send_request(head("/docket.v1.OrderService/PlaceOrder"), false)
        .unwrap();
    stream.send_data(Bytes::from(body), true).unwrap();
    let answer = answer.await.unwrap();
    connection.abort();
    Status::from_header_map(answer.headers()).unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    body
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_client_s_fault() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut not_utf8 = nuts("id", "ada", 1).encode_to_vec();
    let at = not_utf8
        .windows(9)
        .position(|window| window == b"customers")
        .unwrap();
    not_utf8[at] = 0xff;
    let truncated = framed(&nuts("id", "ada", 1).encode_to_vec())[..20].to_vec();
    let mut compressed = framed(b"x");
    compressed[0] = 1;
    let cases = [
        (framed(&not_utf8), "MALFORMED_MESSAGE"),
        (framed(&[0xff; 64]), "MALFORMED_MESSAGE"),
        (truncated, "MALFORMED_MESSAGE"),
        (compressed, "MALFORMED_MESSAGE"),
        (vec![7; 5], "MALFORMED_MESSAGE"),
        (Vec::new(), "MALFORMED_MESSAGE"),
        (vec![0, 0xff, 0xff, 0xff, 0xff], "MESSAGE_TOO_LARGE"),
    ];
    for (body, expected) in cases {
        let status = raw(&server, body).await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, expected),
            "{status:?}"
        );
    }
    let mut client = OrderServiceClient::new(server.connect().await);
    let huge = order(|order| order.customer = format!("customers/{}", "x".repeat(2 << 20)));
    let status = client.place_order(by("ada", huge)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "MESSAGE_TOO_LARGE")
    );
    client
        .place_order(by("ada", nuts("good", "ada", 1)))
        .await
        .expect("the server is unmoved");
    server.stop().await;
}

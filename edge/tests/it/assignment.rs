//! What a client sends in fields that are the node's to fill is not taken, and no text for people takes the number of a card.

use docket_proto::v1::{
    CreateCustomerRequest, CreateItemRequest, Customer, GetOrderRequest, HoldOrderRequest, Item,
    UpdateCustomerRequest, UpdateItemRequest, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order::State, order_hold,
    order_service_client::OrderServiceClient,
};
use prost_types::{FieldMask, Timestamp};
use tonic::Code;

use crate::support::{by, fields, nuts, start};

/// A number that a scheme gives out for tests.
const CARD: &str = "4111 1111 1111 1111";

#[tokio::test]
async fn fields_that_only_the_node_sets_are_not_taken_from_a_client() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let (mut customers, mut items) = (
        CustomerServiceClient::new(channel.clone()),
        ItemServiceClient::new(channel.clone()),
    );
    let long_ago = Some(Timestamp { seconds: 1, nanos: 0 });
    let rich = Customer {
        name: "customers/root".into(),
        currency_code: "EUR".into(),
        credit_limit: 10,
        balance: 1_000_000,
        held: -1_000_000,
        available: 1_000_000,
        create_time: long_ago,
        update_time: long_ago,
        etag: "v99".into(),
        ..Default::default()
    };
    let request = CreateCustomerRequest {
        customer_id: "eve".into(),
        customer: Some(rich.clone()),
        ..Default::default()
    };
    let eve = customers
        .create_customer(by("shop", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (eve.name.as_str(), eve.balance, eve.held, eve.available),
        ("customers/eve", 0, 0, 10),
        "{eve:?}"
    );
    assert!(eve.etag != "v99" && eve.create_time != long_ago && eve.update_time != long_ago);

    let plenty = Item {
        name: "items/nut".into(),
        currency_code: "EUR".into(),
        unit_price: 5,
        on_hand: 3,
        reserved: -7,
        available: 1_000_000,
        backorder_limit: 1_000,
        backordered: -7,
        create_time: long_ago,
        etag: "v99".into(),
        ..Default::default()
    };
    let request = CreateItemRequest {
        sku: "bolt".into(),
        item: Some(plenty.clone()),
        ..Default::default()
    };
    let bolt = items.create_item(by("shop", request)).await.unwrap().into_inner();
    assert_eq!(
        (bolt.name.as_str(), bolt.on_hand, bolt.reserved, bolt.available),
        ("items/bolt", 3, 0, 3),
        "{bolt:?}"
    );
    assert_eq!((bolt.backorder_limit, bolt.backordered), (0, 0));

    // Neither does an update, whether it names such a field or means all that is not empty.
    for path in [
        "balance",
        "held",
        "available",
        "etag",
        "create_time",
        "name",
        "currency_code",
    ] {
        let request = UpdateCustomerRequest {
            customer: Some(Customer {
                name: eve.name.clone(),
                etag: eve.etag.clone(),
                ..rich.clone()
            }),
            update_mask: Some(FieldMask {
                paths: vec![path.into()],
            }),
            ..Default::default()
        };
        let refused = customers.update_customer(by("shop", request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
    }
    for path in ["on_hand", "reserved", "available", "backordered", "name"] {
        let request = UpdateItemRequest {
            item: Some(Item {
                name: bolt.name.clone(),
                etag: bolt.etag.clone(),
                ..plenty.clone()
            }),
            update_mask: Some(FieldMask {
                paths: vec![path.into()],
            }),
            ..Default::default()
        };
        let refused = items.update_item(by("shop", request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
    }

    // An order costs what its items do, and is as new as it is, whatever its lines say of that.
    let mut orders = OrderServiceClient::new(channel);
    let mut order = nuts("one", "ada", 4);
    (order.lines[0].amount, order.lines[0].fulfilled_quantity) = (1, 4);
    order.lines[0].cancelled_quantity = 3;
    let placed = orders.place_order(by("ada", order)).await.unwrap().into_inner();
    let name = placed.name.clone();
    let read = orders
        .get_order(by("ada", GetOrderRequest { name }))
        .await
        .unwrap()
        .into_inner();
    for shown in [&placed, &read] {
        let line = &shown.lines[0];
        assert_eq!((shown.total, line.amount), (20, 20), "{shown:?}");
        assert_eq!((line.fulfilled_quantity, line.cancelled_quantity), (0, 0));
        assert_eq!(shown.state(), State::Confirmed);
    }
    server.stop().await;
}

#[tokio::test]
async fn no_text_for_people_takes_the_number_of_a_card() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut orders = OrderServiceClient::new(channel.clone());
    let placed = orders
        .place_order(by("ada", nuts("one", "ada", 1)))
        .await
        .unwrap()
        .into_inner();
    let text = || format!("paid with {CARD}");

    let request = CreateCustomerRequest {
        customer_id: "eve".into(),
        customer: Some(Customer {
            display_name: text(),
            currency_code: "EUR".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = CustomerServiceClient::new(channel.clone())
        .create_customer(by("shop", request))
        .await;
    let customer = refused.map(drop).unwrap_err();
    let request = CreateItemRequest {
        sku: "bolt".into(),
        item: Some(Item {
            display_name: text(),
            currency_code: "EUR".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = ItemServiceClient::new(channel.clone())
        .create_item(by("shop", request))
        .await;
    let item = refused.map(drop).unwrap_err();
    let request = HoldOrderRequest {
        name: placed.name,
        reason: order_hold::Reason::Operator.into(),
        note: text(),
        ..Default::default()
    };
    let hold = orders
        .hold_order(by("shop", request))
        .await
        .map(drop)
        .unwrap_err();
    for (refused, field) in [
        (customer, "customer.display_name"),
        (item, "item.display_name"),
        (hold, "note"),
    ] {
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()])
        );
        assert!(
            !format!("{refused:?}").contains(CARD),
            "it is not repeated: {refused:?}"
        );
    }
    server.stop().await;
}

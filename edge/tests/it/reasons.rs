//! Every reason for which the shop refuses a request, as a client gets it: request, code, reason, field. What tells the
//! details of each apart is in `errors.rs`.
//!
//! Two are not here: ORDER_PENDING, which needs a cancellation between the two commits of one placement, and ITEM_FAILED,
//! which needs an actor that panics.

use std::collections::BTreeSet;

use docket_proto::v1::{
    AdjustStockRequest, CancelOrderRequest, CreateCustomerRequest, CreateItemRequest, CreditAccountRequest,
    Customer, GetCustomerRequest, GetItemRequest, GetOrderRequest, Item, Order, OrderLine, PlaceOrderRequest,
    UpdateCustomerRequest, UpdateItemRequest, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order_service_client::OrderServiceClient,
};
use prost_types::FieldMask;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::support::{Running, by, fields, reason, start};

/// What is told of a refusal.
#[track_caller]
fn check<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, why: &str, field: &str) -> String {
    let status = answer.expect_err(why);
    let told = status.get_details_error_info().unwrap();
    let told_field = told.metadata.get("field").map_or("", String::as_str);
    assert_eq!(
        (status.code(), told.reason.as_str(), told_field),
        (code, why, field),
        "{}",
        status.message()
    );
    reason(&status)
}

/// A shop, and one administrator who asks for everything.
struct Shop {
    orders: OrderServiceClient<Channel>,
    customers: CustomerServiceClient<Channel>,
    items: ItemServiceClient<Channel>,
}

impl Shop {
    /// `ada` can spend 1,000; `rich` as much as an amount can say, twice. There are `nut`s at 5, `gold` at as much as an
    /// amount can say, `full` of which there are as many as a quantity can say, and `dollar` in another currency.
    async fn open(server: &Running) -> Self {
        let channel = server.connect().await;
        let mut shop = Self {
            orders: OrderServiceClient::new(channel.clone()),
            customers: CustomerServiceClient::new(channel.clone()),
            items: ItemServiceClient::new(channel),
        };
        for (id, limit) in [("ada", 1_000), ("rich", i64::MAX)] {
            shop.create_customer(id, limit, "").await.unwrap();
        }
        shop.credit("rich", i64::MAX, "paid", "").await.unwrap();
        for (sku, currency, price, on_hand) in [
            ("nut", "EUR", 5, 100),
            ("gold", "EUR", i64::MAX, 10),
            ("full", "EUR", 1, i64::MAX),
            ("dollar", "USD", 5, 10),
        ] {
            shop.create_item(sku, currency, price, on_hand, "").await.unwrap();
        }
        shop
    }

    async fn place(&mut self, customer: &str, lines: &[(&str, i64, i64)]) -> Result<Order, Status> {
        self.place_as(customer, "EUR", lines, "").await
    }

    async fn place_as(
        &mut self,
        customer: &str,
        currency: &str,
        lines: &[(&str, i64, i64)],
        request_id: &str,
    ) -> Result<Order, Status> {
        let line = |(sku, quantity, unit_price): &(&str, i64, i64)| OrderLine {
            item: format!("items/{sku}"),
            quantity: *quantity,
            unit_price: *unit_price,
            ..OrderLine::default()
        };
        let request = PlaceOrderRequest {
            request_id: request_id.into(),
            customer: format!("customers/{customer}"),
            currency_code: currency.into(),
            lines: lines.iter().map(line).collect(),
            payment_method: String::new(),
        };
        Ok(self.orders.place_order(by("root", request)).await?.into_inner())
    }

    async fn cancel(&mut self, name: &str, etag: &str, request_id: &str) -> Result<Order, Status> {
        let request = CancelOrderRequest {
            name: name.into(),
            etag: etag.into(),
            request_id: request_id.into(),
        };
        Ok(self.orders.cancel_order(by("root", request)).await?.into_inner())
    }

    async fn create_customer(&mut self, id: &str, limit: i64, request_id: &str) -> Result<Customer, Status> {
        let request = CreateCustomerRequest {
            customer_id: id.into(),
            customer: Some(Customer {
                currency_code: "EUR".into(),
                credit_limit: limit,
                ..Default::default()
            }),
            request_id: request_id.into(),
        };
        let created = self.customers.create_customer(by("root", request)).await?;
        Ok(created.into_inner())
    }

    async fn update_customer(
        &mut self,
        id: &str,
        limit: i64,
        etag: &str,
        request_id: &str,
    ) -> Result<Customer, Status> {
        let request = UpdateCustomerRequest {
            customer: Some(Customer {
                name: format!("customers/{id}"),
                credit_limit: limit,
                etag: etag.into(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["credit_limit".into()],
            }),
            request_id: request_id.into(),
        };
        let updated = self.customers.update_customer(by("root", request)).await?;
        Ok(updated.into_inner())
    }

    async fn credit(
        &mut self,
        id: &str,
        amount: i64,
        request_id: &str,
        etag: &str,
    ) -> Result<Customer, Status> {
        let request = CreditAccountRequest {
            name: format!("customers/{id}"),
            amount,
            request_id: request_id.into(),
            etag: etag.into(),
        };
        let credited = self.customers.credit_account(by("root", request)).await?;
        Ok(credited.into_inner())
    }

    async fn create_item(
        &mut self,
        sku: &str,
        currency: &str,
        unit_price: i64,
        on_hand: i64,
        request_id: &str,
    ) -> Result<Item, Status> {
        let request = CreateItemRequest {
            sku: sku.into(),
            item: Some(Item {
                currency_code: currency.into(),
                unit_price,
                on_hand,
                ..Default::default()
            }),
            request_id: request_id.into(),
        };
        Ok(self.items.create_item(by("root", request)).await?.into_inner())
    }

    async fn update_item(
        &mut self,
        sku: &str,
        unit_price: i64,
        etag: &str,
        request_id: &str,
    ) -> Result<Item, Status> {
        let request = UpdateItemRequest {
            item: Some(Item {
                name: format!("items/{sku}"),
                unit_price,
                etag: etag.into(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["unit_price".into()],
            }),
            request_id: request_id.into(),
        };
        Ok(self.items.update_item(by("root", request)).await?.into_inner())
    }

    async fn adjust(&mut self, sku: &str, delta: i64, request_id: &str, etag: &str) -> Result<Item, Status> {
        let request = AdjustStockRequest {
            name: format!("items/{sku}"),
            delta,
            request_id: request_id.into(),
            etag: etag.into(),
        };
        Ok(self.items.adjust_stock(by("root", request)).await?.into_inner())
    }
}

/// How an order stays readable that was refused.
async fn recorded(shop: &mut Shop) -> (String, String) {
    let list = docket_proto::v1::ListOrdersRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = shop.orders.list_orders(by("root", list)).await.unwrap();
    let rejection = page.into_inner().orders.remove(0).rejection.unwrap();
    (rejection.reason, rejection.field)
}

#[tokio::test]
async fn every_refusal_has_its_own_reason_and_names_the_field() {
    const NAME: &str = "orders/00000000000000000000000000";
    let server = start(|_| {}).await;
    let mut shop = Shop::open(&server).await;
    let mut seen = BTreeSet::new();
    let nut = ("nut", 1, 5);
    let kept = shop.place_as("ada", "EUR", &[nut], "kept").await.unwrap();

    // Orders, of which the line that is wrong is not the first.
    let (p, n) = (Code::FailedPrecondition, Code::NotFound);
    for (customer, currency, lines, code, why, field) in [
        ("none", "EUR", vec![nut], n, "CUSTOMER_NOT_FOUND", "customer"),
        (
            "ada",
            "EUR",
            vec![nut, nut, ("none", 1, 5)],
            p,
            "ITEM_NOT_FOUND",
            "lines[2].item",
        ),
        (
            "ada",
            "EUR",
            vec![nut, ("nut", 1, 4)],
            p,
            "PRICE_CHANGED",
            "lines[1].unit_price",
        ),
        (
            "ada",
            "EUR",
            vec![("full", 1, 1), ("nut", 101, 5)],
            p,
            "INSUFFICIENT_STOCK",
            "lines[1].quantity",
        ),
        (
            "ada",
            "EUR",
            vec![nut, ("full", 1_000, 1)],
            p,
            "INSUFFICIENT_CREDIT",
            "lines",
        ),
        ("ada", "USD", vec![nut], p, "CURRENCY_MISMATCH", "currency_code"),
        (
            "ada",
            "EUR",
            vec![nut, ("dollar", 1, 5)],
            p,
            "CURRENCY_MISMATCH",
            "lines[1].item",
        ),
    ] {
        let answer = shop.place_as(customer, currency, &lines, "").await;
        seen.insert(check(answer, code, why, field));
        if code == p {
            assert_eq!(recorded(&mut shop).await, (why.to_owned(), field.to_owned()));
        }
    }

    // Sums: of the lines, which is wrong whatever there is, and with what there is.
    let alone = [("gold", 2, i64::MAX)];
    check(
        shop.place("rich", &alone).await,
        Code::InvalidArgument,
        "AMOUNT_OVERFLOW",
        "lines[0]",
    );
    let twice = [nut, ("gold", 1, i64::MAX), ("gold", 1, i64::MAX)];
    let refused = shop.place("rich", &twice).await.unwrap_err();
    assert_eq!(fields(&refused), ["lines[1]"]);
    seen.insert(check(
        Err::<(), _>(refused),
        Code::InvalidArgument,
        "AMOUNT_OVERFLOW",
        "lines[1]",
    ));
    let gold = [("gold", 1, i64::MAX)];
    shop.place("rich", &gold).await.unwrap();
    check(shop.place("rich", &gold).await, p, "AMOUNT_OVERFLOW", "lines");
    check(
        shop.credit("rich", 1, "more", "").await,
        p,
        "AMOUNT_OVERFLOW",
        "amount",
    );
    check(
        shop.adjust("full", i64::MAX, "more", "").await,
        p,
        "AMOUNT_OVERFLOW",
        "delta",
    );

    // What orders hold.
    seen.insert(check(
        shop.credit("ada", -1, "out", "").await,
        p,
        "BALANCE_HELD",
        "amount",
    ));
    seen.insert(check(
        shop.adjust("nut", -100, "out", "").await,
        p,
        "STOCK_RESERVED",
        "delta",
    ));

    // States.
    shop.place("ada", &[("none", 1, 5)]).await.unwrap_err();
    let list = docket_proto::v1::ListOrdersRequest {
        customer: "customers/ada".into(),
        page_size: 1,
        ..Default::default()
    };
    let page = shop
        .orders
        .list_orders(by("root", list))
        .await
        .unwrap()
        .into_inner();
    let rejected = shop.cancel(&page.orders[0].name, "", "").await;
    seen.insert(check(rejected, p, "NOT_CANCELLABLE", "name"));

    // What there is not.
    seen.insert(check(
        shop.cancel(NAME, "", "").await,
        n,
        "ORDER_NOT_FOUND",
        "name",
    ));
    let get = GetOrderRequest { name: NAME.into() };
    check(
        shop.orders.get_order(by("root", get)).await,
        n,
        "ORDER_NOT_FOUND",
        "name",
    );
    let get = GetCustomerRequest {
        name: "customers/none".into(),
    };
    let missing = "CUSTOMER_NOT_FOUND";
    check(
        shop.customers.get_customer(by("root", get)).await,
        n,
        missing,
        "name",
    );
    check(
        shop.update_customer("none", 1, "", "").await,
        n,
        missing,
        "customer.name",
    );
    check(shop.credit("none", 1, "none", "").await, n, missing, "name");
    let get = GetItemRequest {
        name: "items/none".into(),
    };
    let missing = "ITEM_NOT_FOUND";
    check(shop.items.get_item(by("root", get)).await, n, missing, "name");
    check(shop.update_item("none", 1, "", "").await, n, missing, "item.name");
    check(shop.adjust("none", 1, "none", "").await, n, missing, "name");

    // What there is already.
    let e = Code::AlreadyExists;
    seen.insert(check(
        shop.create_customer("ada", 1, "").await,
        e,
        "CUSTOMER_EXISTS",
        "customer_id",
    ));
    seen.insert(check(
        shop.create_item("nut", "EUR", 5, 1, "").await,
        e,
        "ITEM_EXISTS",
        "sku",
    ));

    // The same request id, and other content.
    let reused = "REQUEST_ID_REUSED";
    let id = "request_id";
    seen.insert(check(
        shop.place_as("ada", "EUR", &[("nut", 2, 5)], "kept").await,
        e,
        reused,
        id,
    ));
    shop.create_customer("eve", 1, "new").await.unwrap();
    check(shop.create_customer("eve", 2, "new").await, e, reused, id);
    shop.update_customer("eve", 3, "", "up").await.unwrap();
    check(shop.update_customer("eve", 4, "", "up").await, e, reused, id);
    check(shop.credit("rich", 2, "paid", "").await, e, reused, id);
    shop.create_item("pot", "EUR", 1, 1, "new").await.unwrap();
    check(shop.create_item("pot", "EUR", 2, 1, "new").await, e, reused, id);
    shop.update_item("pot", 3, "", "up").await.unwrap();
    check(shop.update_item("pot", 4, "", "up").await, e, reused, id);
    shop.adjust("pot", 1, "in", "").await.unwrap();
    check(shop.adjust("pot", 2, "in", "").await, e, reused, id);

    // An etag from before.
    let (a, stale) = (Code::Aborted, "STALE_ETAG");
    seen.insert(check(shop.cancel(&kept.name, "v1", "").await, a, stale, "etag"));
    check(
        shop.update_customer("eve", 9, "v1", "").await,
        a,
        stale,
        "customer.etag",
    );
    check(shop.credit("eve", 9, "stale", "v1").await, a, stale, "etag");
    check(shop.update_item("pot", 9, "v1", "").await, a, stale, "item.etag");
    check(shop.adjust("pot", 9, "stale", "v1").await, a, stale, "etag");
    shop.cancel(&kept.name, &kept.etag, "done").await.unwrap();
    check(shop.cancel(&kept.name, "v1", "done").await, e, reused, id);

    let all = [
        "AMOUNT_OVERFLOW",
        "BALANCE_HELD",
        "CURRENCY_MISMATCH",
        "CUSTOMER_EXISTS",
        "CUSTOMER_NOT_FOUND",
        "INSUFFICIENT_CREDIT",
        "INSUFFICIENT_STOCK",
        "ITEM_EXISTS",
        "ITEM_NOT_FOUND",
        "NOT_CANCELLABLE",
        "ORDER_NOT_FOUND",
        "PRICE_CHANGED",
        "REQUEST_ID_REUSED",
        "STALE_ETAG",
        "STOCK_RESERVED",
    ];
    assert!(seen.iter().map(String::as_str).eq(all), "{seen:?}");
    server.stop().await;
}

//! Bad input: each is refused with the field that is wrong, changes nothing, and the server goes on.

use docket_proto::v1::{
    AdjustStockRequest, CancelOrderRequest, CreateCustomerRequest, CreateItemRequest, CreditAccountRequest,
    Customer, GetOrderRequest, Item, ListCustomersRequest, ListItemsRequest, ListOrdersRequest, LoginRequest,
    OrderLine, PlaceOrderRequest, RegisterRequest, UpdateItemRequest, order::State,
    place_orders_response::Result as Placed,
};
use prost::Message;
use prost_types::FieldMask;
use tonic::Code;

use crate::{
    api::{Api, fields, order, raw, reason},
    server::{Home, Server},
};

/// More than anybody needs, and less than a message may have.
const HUGE: usize = 1_000_000;
const MIB: usize = 1024 * 1024;

/// A method, a message, and the fields that are wrong with it.
#[derive(Clone)]
struct Case(&'static str, Vec<u8>, &'static [&'static str]);

fn case(method: &'static str, message: impl Message, wrong: &'static [&'static str]) -> Case {
    Case(method, message.encode_to_vec(), wrong)
}

fn good() -> PlaceOrderRequest {
    order("id", "ada", &[("nut", 1, 5)])
}

fn order_cases() -> Vec<Case> {
    const PLACE: &str = "OrderService/PlaceOrder";
    let with = |change: &dyn Fn(&mut PlaceOrderRequest), wrong| {
        let mut order = good();
        change(&mut order);
        case(PLACE, order, wrong)
    };
    let line = |change: fn(&mut OrderLine), wrong| with(&|order| change(&mut order.lines[0]), wrong);
    vec![
        case(
            PLACE,
            PlaceOrderRequest::default(),
            &["customer", "currency_code", "lines"],
        ),
        with(&|o| o.request_id = "x".repeat(65), &["request_id"]),
        with(&|o| o.request_id = "line\nbreak".into(), &["request_id"]),
        with(&|o| o.request_id = "x".repeat(HUGE), &["request_id"]),
        with(&|o| o.customer = "ada".into(), &["customer"]),
        with(&|o| o.customer = "customers/".into(), &["customer"]),
        with(&|o| o.customer = "customers/../ada".into(), &["customer"]),
        with(
            &|o| o.customer = format!("customers/{}", "x".repeat(HUGE)),
            &["customer"],
        ),
        with(&|o| o.currency_code = "XXZ".into(), &["currency_code"]),
        with(&|o| o.currency_code = "XAU".into(), &["currency_code"]),
        with(&|o| o.currency_code = "eur".into(), &["currency_code"]),
        with(&|o| o.currency_code = "EUR".repeat(HUGE / 3), &["currency_code"]),
        with(&|o| o.lines.clear(), &["lines"]),
        with(&|o| o.lines = vec![o.lines[0].clone(); 101], &["lines"]),
        line(|l| l.quantity = 0, &["lines[0].quantity"]),
        line(|l| l.quantity = -1, &["lines[0].quantity"]),
        line(|l| l.quantity = 1_000_000_001, &["lines[0].quantity"]),
        line(|l| l.quantity = i64::MAX, &["lines[0].quantity"]),
        line(|l| l.quantity = i64::MIN, &["lines[0].quantity"]),
        line(|l| l.unit_price = -1, &["lines[0].unit_price"]),
        line(|l| l.unit_price = i64::MIN, &["lines[0].unit_price"]),
        line(|l| l.item = String::new(), &["lines[0].item"]),
        line(|l| l.item = "orders/nut".into(), &["lines[0].item"]),
        line(|l| l.item = "items/nüt".into(), &["lines[0].item"]),
        // Each line fits 64 bits or not; all together must.
        line(
            |l| (l.quantity, l.unit_price) = (1_000_000_000, i64::MAX),
            &["lines[0]"],
        ),
        with(
            &|o| {
                o.lines = vec![o.lines[0].clone(); 2];
                o.lines.iter_mut().for_each(|line| line.unit_price = i64::MAX);
            },
            &["lines[1]"],
        ),
    ]
}

fn other_cases() -> Vec<Case> {
    const CREATE_ITEM: &str = "ItemService/CreateItem";
    const CREATE_CUSTOMER: &str = "CustomerService/CreateCustomer";
    let euro = || "EUR".to_owned();
    let item = |sku: &str, item: Item| CreateItemRequest {
        sku: sku.into(),
        item: Some(item),
        ..Default::default()
    };
    let priced = |unit_price, on_hand| Item {
        currency_code: euro(),
        unit_price,
        on_hand,
        ..Default::default()
    };
    let customer = |id: &str, credit_limit, name: String| CreateCustomerRequest {
        customer_id: id.into(),
        customer: Some(Customer {
            currency_code: euro(),
            credit_limit,
            display_name: name,
            ..Default::default()
        }),
        ..Default::default()
    };
    let update = UpdateItemRequest {
        item: Some(Item {
            name: "items/nut".into(),
            ..Default::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["on_hand".into()],
        }),
        ..Default::default()
    };
    let get = |name: &str| GetOrderRequest { name: name.into() };
    vec![
        case("OrderService/GetOrder", get(""), &["name"]),
        case("OrderService/GetOrder", get("orders/short"), &["name"]),
        case("OrderService/GetOrder", get("customers/ada"), &["name"]),
        case("OrderService/GetOrder", get(&"x".repeat(HUGE)), &["name"]),
        case(
            "OrderService/CancelOrder",
            CancelOrderRequest::default(),
            &["name"],
        ),
        case(
            "OrderService/ListOrders",
            ListOrdersRequest {
                page_size: -1,
                states: vec![99],
                customer: "x".into(),
                ..Default::default()
            },
            &["customer", "states[0]", "page_size"],
        ),
        case(CREATE_ITEM, CreateItemRequest::default(), &["sku", "item"]),
        case(CREATE_ITEM, item("", priced(1, 1)), &["sku"]),
        case(CREATE_ITEM, item(&"x".repeat(HUGE), priced(1, 1)), &["sku"]),
        case(CREATE_ITEM, item("a", priced(-1, 1)), &["item.unit_price"]),
        case(CREATE_ITEM, item("a", priced(1, -1)), &["item.on_hand"]),
        case(
            CREATE_ITEM,
            item(
                "a",
                Item {
                    display_name: "n".repeat(257),
                    ..priced(1, 1)
                },
            ),
            &["item.display_name"],
        ),
        case(
            CREATE_CUSTOMER,
            customer("new", -1, String::new()),
            &["customer.credit_limit"],
        ),
        case(
            CREATE_CUSTOMER,
            customer("new", 1, "n".repeat(HUGE)),
            &["customer.display_name"],
        ),
        case(
            CREATE_CUSTOMER,
            customer("a b", 1, String::new()),
            &["customer_id"],
        ),
        case("ItemService/UpdateItem", update, &["update_mask.paths[0]"]),
        case(
            "ItemService/AdjustStock",
            AdjustStockRequest::default(),
            &["request_id", "name", "delta"],
        ),
        case(
            "CustomerService/CreditAccount",
            CreditAccountRequest::default(),
            &["request_id", "name", "amount"],
        ),
        case(
            "AuthService/Login",
            LoginRequest::default(),
            &["username", "password"],
        ),
        case(
            "AuthService/Register",
            RegisterRequest::default(),
            &["username", "password", "role", "customer"],
        ),
    ]
}

/// A PlaceOrderRequest whose text fields may be no text.
#[derive(Clone, PartialEq, Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    request_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    customer: Vec<u8>,
}

struct Shop {
    home: Home,
    server: Server,
    api: Api,
}

impl Shop {
    async fn open() -> Self {
        let home = Home::new();
        let server = Server::start(&home);
        let api = Api::admin(&server, &home).await;
        api.customer("ada", 10_000).await;
        api.item("nut", 5, 100).await;
        Self { home, server, api }
    }

    /// The server is unmoved: a good order is placed, and it is the only one that there is.
    async fn close(self) {
        self.api
            .orders()
            .place_order(good())
            .await
            .expect("a good order is placed");
        assert_eq!(
            self.api.all_orders().await.len(),
            1,
            "bad input has left an order"
        );
        assert_eq!(self.api.all_items().await.len(), 1);
        assert_eq!(self.api.all_customers().await.len(), 1);
        self.server.stop(&self.home);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_field_is_named() {
    let shop = Shop::open().await;
    let cases = [order_cases(), other_cases()].concat();
    println!("{} bad requests", cases.len());
    for Case(method, message, wrong) in cases {
        let status = raw(&shop.api, &format!("/docket.v1.{method}"), message)
            .await
            .unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{method} {wrong:?}: {status:?}"
        );
        assert_eq!(fields(&status), wrong, "{method}: {status:?}");
        // A line as a whole is wrong only where the sum of all lines does not fit.
        let whole = wrong.len() == 1 && wrong[0].starts_with("lines[") && wrong[0].ends_with(']');
        let expected = if whole {
            "AMOUNT_OVERFLOW"
        } else {
            "INVALID_ARGUMENT"
        };
        assert_eq!(reason(&status), expected, "{method}: {status:?}");
        assert!(status.message().len() < 1_000, "what was sent is not sent back");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_or_too_large_a_one_is_refused() {
    let shop = Shop::open().await;
    let not_utf8 = Bytes {
        request_id: b"id".to_vec(),
        customer: b"customers/\xff\xfe".to_vec(),
    };
    let truncated = {
        let mut message = good().encode_to_vec();
        message.truncate(message.len() - 3);
        message
    };
    let large = order(&"x".repeat(MIB), "ada", &[("nut", 1, 5)]).encode_to_vec();
    let malformed = "MALFORMED_MESSAGE";
    let cases = [
        ("wrong UTF-8", not_utf8.encode_to_vec(), malformed),
        ("a truncated message", truncated, malformed),
        (
            "a length beyond the end",
            vec![0x0a, 0xff, 0xff, 0xff, 0x7f],
            malformed,
        ),
        ("noise", vec![0xff; 4_096], malformed),
        ("a message of more than 1 MiB", large, "MESSAGE_TOO_LARGE"),
    ];
    for (what, message, why) in cases {
        let status = raw(&shop.api, "/docket.v1.OrderService/PlaceOrder", message)
            .await
            .unwrap_err();
        println!(
            "{what}: {} {}: {}",
            status.code(),
            reason(&status),
            status.message()
        );
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, why),
            "{what}: {status:?}"
        );
    }
    let unknown = raw(&shop.api, "/docket.v1.OrderService/Place", Vec::new())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_order_in_a_stream_is_answered_and_the_stream_goes_on() {
    let shop = Shop::open().await;
    let bad = PlaceOrderRequest {
        request_id: "bad".into(),
        ..Default::default()
    };
    let no_id = PlaceOrderRequest {
        request_id: String::new(),
        ..good()
    };
    let sent = tokio_stream::iter([bad, no_id, good()]);
    let mut answers = shop.api.orders().place_orders(sent).await.unwrap().into_inner();
    let mut codes = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let code = match answer.result.unwrap() {
            Placed::Order(_) => Code::Ok,
            Placed::Status(status) => Code::from(status.code),
        };
        codes.push((answer.request_id, code));
    }
    codes.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        (String::new(), Code::InvalidArgument),
        ("bad".into(), Code::InvalidArgument),
        ("id".into(), Code::Ok),
    ];
    assert_eq!(codes, expected);
    println!("3 orders on a stream, 2 of them bad: each was answered");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_is_good_for_its_query_only() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    for n in 0..3 {
        api.customer(&format!("c{n}"), 10_000).await;
        api.item(&format!("i{n}"), 5, 100).await;
    }
    for n in 0..3 {
        let order = order(&format!("r{n}"), "c0", &[("i0", 1, 5)]);
        api.orders().place_order(order).await.unwrap();
    }
    let of_orders = |customer: &str, states: Vec<i32>, page_token: &str| ListOrdersRequest {
        customer: customer.into(),
        states,
        page_size: 1,
        page_token: page_token.into(),
        ..ListOrdersRequest::default()
    };
    let page = api
        .orders()
        .list_orders(of_orders("customers/c0", vec![], ""))
        .await;
    let orders = page.unwrap().into_inner().next_page_token;
    let page = api.items().list_items(items_after("")).await;
    let items = page.unwrap().into_inner().next_page_token;
    assert!(!orders.is_empty() && !items.is_empty());

    let confirmed = vec![State::Confirmed.into()];
    let damaged = with_another_first_character(&orders);
    let cases = [
        ("another customer's", of_orders("customers/c1", vec![], &orders)),
        ("every customer's", of_orders("", vec![], &orders)),
        ("another state's", of_orders("customers/c0", confirmed, &orders)),
        ("that of items", of_orders("customers/c0", vec![], &items)),
        ("a damaged one", of_orders("customers/c0", vec![], &damaged)),
        ("an invented one", of_orders("customers/c0", vec![], "garbage")),
        ("a huge one", of_orders("customers/c0", vec![], &"A".repeat(HUGE))),
    ];
    for (what, request) in cases {
        let status = api.orders().list_orders(request).await.unwrap_err();
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec!["page_token".to_owned()]),
            "{what}: {status:?}"
        );
    }
    let of_items = ListCustomersRequest {
        page_size: 1,
        page_token: items.clone(),
    };
    let status = api.customers().list_customers(of_items).await.unwrap_err();
    assert_eq!(fields(&status), ["page_token"]);

    let next = api
        .orders()
        .list_orders(of_orders("customers/c0", vec![], &orders))
        .await;
    assert_eq!(
        next.unwrap().into_inner().orders.len(),
        1,
        "in its own query it is good"
    );
    let next = api.items().list_items(items_after(&items)).await;
    assert_eq!(next.unwrap().into_inner().items[0].name, "items/i1");
    println!("8 page tokens of other queries were refused");
    server.stop(&home);
}

/// Differs from `token` whatever that begins with: a fixed replacement is now and then the character that was there.
fn with_another_first_character(token: &str) -> String {
    let first = if token.starts_with('A') { 'B' } else { 'A' };
    format!("{first}{}", &token[1..])
}

fn items_after(page_token: &str) -> ListItemsRequest {
    ListItemsRequest {
        page_size: 1,
        page_token: page_token.into(),
    }
}

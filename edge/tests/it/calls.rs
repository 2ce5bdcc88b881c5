//! Single calls: who may make them, how they end, what they answer.

use docket_proto::v1::{
    self, CancelOrderRequest, GetCustomerRequest, GetItemRequest, GetNodeStatusRequest, GetOrderRequest,
    ListCustomersRequest, ListItemsRequest, ListOrdersRequest,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
    node_service_client::NodeServiceClient, order, order_service_client::OrderServiceClient,
};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::{by, fields, nuts, reason, start};

#[tokio::test]
async fn an_order_is_placed_read_listed_repeated_and_cancelled() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    let placed = client
        .place_order(by("ada", nuts("one", "ada", 2)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((placed.state(), placed.total), (order::State::Confirmed, 10));

    let again = client
        .place_order(by("ada", nuts("one", "ada", 2)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, placed);
    let other = client
        .place_order(by("ada", nuts("one", "ada", 3)))
        .await
        .unwrap_err();
    assert_eq!(
        (other.code(), reason(&other).as_str()),
        (Code::AlreadyExists, "REQUEST_ID_REUSED")
    );

    let get = || GetOrderRequest {
        name: placed.name.clone(),
    };
    let read = client.get_order(by("ada", get())).await.unwrap().into_inner();
    assert_eq!(read, placed);
    let list = ListOrdersRequest {
        customer: "customers/ada".into(),
        ..Default::default()
    };
    let listed = client.list_orders(by("ada", list)).await.unwrap().into_inner();
    assert_eq!(listed.orders, std::slice::from_ref(&placed));
    assert_eq!(listed.next_page_token, "");

    let stale = CancelOrderRequest {
        name: placed.name.clone(),
        etag: "v1".into(),
        ..Default::default()
    };
    let refused = client.cancel_order(by("ada", stale)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Aborted, "STALE_ETAG")
    );
    let cancel = CancelOrderRequest {
        name: placed.name.clone(),
        etag: placed.etag.clone(),
        ..Default::default()
    };
    let cancelled = client.cancel_order(by("ada", cancel)).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), order::State::Cancelled);

    let mut customers = CustomerServiceClient::new(server.connect().await);
    let request = GetCustomerRequest {
        name: "customers/ada".into(),
    };
    let ada = customers
        .get_customer(by("ada", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((ada.held, ada.available), (0, 1_000_000));
    server.stop().await;
}

#[tokio::test]
async fn a_refused_order_says_which_line_and_is_recorded() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    let refused = client
        .place_order(by("ada", nuts("big", "ada", 1_000_000)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "INSUFFICIENT_CREDIT")
    );
    let list = ListOrdersRequest {
        customer: "customers/ada".into(),
        states: vec![order::State::Rejected.into()],
        ..Default::default()
    };
    let listed = client.list_orders(by("ada", list)).await.unwrap().into_inner();
    assert_eq!(
        listed.orders[0].rejection.as_ref().unwrap().reason,
        "INSUFFICIENT_CREDIT"
    );
    server.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other_and_tokens_belong_to_their_query() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut orders = OrderServiceClient::new(channel.clone());
    for i in 0..5 {
        orders
            .place_order(by("ada", nuts(&i.to_string(), "ada", 1)))
            .await
            .unwrap();
    }
    let list = |page_size, page_token: String| {
        by(
            "ada",
            ListOrdersRequest {
                customer: "customers/ada".into(),
                page_size,
                page_token,
                ..Default::default()
            },
        )
    };
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = orders.list_orders(list(2, token)).await.unwrap().into_inner();
        assert!(page.orders.len() <= 2);
        names.extend(page.orders.into_iter().map(|order| order.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 5);
    assert!(names.is_sorted_by(|a, b| a > b), "newest first");

    let token = orders
        .list_orders(list(2, String::new()))
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    orders
        .list_orders(list(3, token.clone()))
        .await
        .expect("the page's size may change");
    let of_bob = ListOrdersRequest {
        customer: "customers/bob".into(),
        page_token: token.clone(),
        ..Default::default()
    };
    let mut refusals = vec![orders.list_orders(by("root", of_bob)).await.unwrap_err()];
    let items = ListItemsRequest {
        page_token: token.clone(),
        ..Default::default()
    };
    refusals.push(
        ItemServiceClient::new(channel.clone())
            .list_items(by("root", items))
            .await
            .unwrap_err(),
    );
    let customers = ListCustomersRequest {
        page_token: token,
        ..Default::default()
    };
    let mut client = CustomerServiceClient::new(channel);
    refusals.push(client.list_customers(by("root", customers)).await.unwrap_err());
    for refusal in refusals {
        assert_eq!(
            (refusal.code(), fields(&refusal)),
            (Code::InvalidArgument, vec!["page_token".to_owned()])
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn orders_of_all_customers_are_listed_newest_first_whatever_their_shard() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut customers = CustomerServiceClient::new(channel.clone());
    let mut orders = OrderServiceClient::new(channel);
    let mut placed = Vec::new();
    for i in 0..23 {
        // Of enough customers that both shards have some.
        let customer = format!("c{}", i % 8);
        if i < 8 {
            let request = v1::CreateCustomerRequest {
                customer_id: customer.clone(),
                customer: Some(v1::Customer {
                    currency_code: "EUR".into(),
                    credit_limit: 1_000,
                    ..Default::default()
                }),
                ..Default::default()
            };
            customers.create_customer(by("root", request)).await.unwrap();
        }
        let order = orders
            .place_order(by("root", nuts(&i.to_string(), &customer, 1)))
            .await;
        placed.push(order.unwrap().into_inner());
    }
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let list = ListOrdersRequest {
            page_size: 5,
            page_token: token,
            ..Default::default()
        };
        let page = orders.list_orders(by("root", list)).await.unwrap().into_inner();
        assert_eq!(page.orders.len(), (placed.len() - listed.len()).min(5));
        listed.extend(page.orders);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let time = |order: &v1::Order| {
        let time = order.create_time.unwrap();
        time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
    };
    assert!(listed.is_sorted_by_key(|order| std::cmp::Reverse(time(order))));
    placed.sort_by(|a, b| b.name.cmp(&a.name));
    assert_eq!(listed, placed);
    server.stop().await;
}

#[tokio::test]
async fn a_list_has_the_orders_that_meet_every_condition() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut orders = OrderServiceClient::new(server.connect().await);
    let mut placed = Vec::new();
    for i in 0..3 {
        let order = orders
            .place_order(by("ada", nuts(&i.to_string(), "ada", 1)))
            .await;
        placed.push(order.unwrap().into_inner());
    }
    let unpaid = orders.place_order(by("ada", nuts("big", "ada", 1_000_000))).await;
    assert_eq!(reason(&unpaid.unwrap_err()), "INSUFFICIENT_CREDIT");
    let hold = v1::HoldOrderRequest {
        name: placed[1].name.clone(),
        reason: v1::order_hold::Reason::Address.into(),
        ..Default::default()
    };
    orders.hold_order(by("root", hold)).await.unwrap();
    let list = |change: &dyn Fn(&mut ListOrdersRequest)| {
        let mut request = ListOrdersRequest::default();
        change(&mut request);
        let mut orders = orders.clone();
        async move {
            let page = orders
                .list_orders(by("root", request))
                .await
                .unwrap()
                .into_inner();
            let names = page.orders.into_iter().map(|order| order.name);
            (names.collect::<Vec<_>>(), page.next_page_token)
        }
    };
    let names = |of: &[usize]| -> Vec<String> { of.iter().map(|i| placed[*i].name.clone()).collect() };
    let (second, third) = (placed[1].create_time, placed[2].create_time);
    let (found, _) = list(&|it| {
        it.create_time_from = second;
        it.create_time_to = third;
    })
    .await;
    assert_eq!(found, names(&[1]));
    let confirmed = order::State::Confirmed.into();
    let (found, _) = list(&|it| {
        it.create_time_to = third;
        it.item = "items/nut".into();
        it.states = vec![confirmed];
    })
    .await;
    assert_eq!(found, names(&[1, 0]));
    let (found, _) = list(&|it| it.item = "items/none".into()).await;
    assert_eq!(found, names(&[]));
    let (found, _) = list(&|it| it.hold_reasons = vec![v1::order_hold::Reason::Address.into()]).await;
    assert_eq!(found, names(&[1]));
    let failed = v1::order_payment::State::Failed.into();
    let (found, _) = list(&|it| it.payment_states = vec![failed]).await;
    assert_eq!(found.len(), 1);
    let (found, _) = list(&|it| {
        it.payment_states = vec![failed];
        it.states = vec![confirmed];
    })
    .await;
    assert_eq!(found, names(&[]));
    // A token belongs to all of them.
    let (found, token) = list(&|it| {
        it.item = "items/nut".into();
        it.page_size = 1;
    })
    .await;
    assert_eq!(found.len(), 1);
    let other = ListOrdersRequest {
        create_time_from: second,
        page_token: token,
        ..Default::default()
    };
    let refused = orders.list_orders(by("root", other)).await.unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["page_token".to_owned()])
    );
    server.stop().await;
}

#[tokio::test]
async fn a_batch_has_every_order_in_the_order_of_their_names_or_nothing() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut orders = OrderServiceClient::new(server.connect().await);
    let mut placed = Vec::new();
    for (i, customer) in ["ada", "bob", "ada"].into_iter().enumerate() {
        let order = orders
            .place_order(by("root", nuts(&i.to_string(), customer, 1)))
            .await;
        placed.push(order.unwrap().into_inner());
    }
    let batch = |who: &'static str, names: Vec<String>| {
        let mut orders = orders.clone();
        async move {
            let answer = orders
                .batch_get_orders(by(who, v1::BatchGetOrdersRequest { names }))
                .await;
            answer.map(|answer| answer.into_inner().orders)
        }
    };
    let names = |of: &[usize]| -> Vec<String> { of.iter().map(|i| placed[*i].name.clone()).collect() };
    let found = batch("root", names(&[2, 0, 1, 2])).await.unwrap();
    let expected = [2, 0, 1, 2].map(|i: usize| placed[i].clone());
    assert_eq!(found, expected);
    // What is another's is as what is not there.
    assert_eq!(batch("ada", names(&[0, 2])).await.unwrap().len(), 2);
    let none = "orders/00000000000000000000000000".to_owned();
    let hidden = batch("ada", names(&[0, 1])).await.unwrap_err();
    let missing = batch("ada", vec![placed[0].name.clone(), none.clone()])
        .await
        .unwrap_err();
    assert_eq!(
        (hidden.code(), reason(&hidden)),
        (Code::NotFound, "ORDER_NOT_FOUND".to_owned())
    );
    assert_eq!(reason(&hidden), reason(&missing));
    assert_eq!(
        hidden.message().replace(&placed[1].name[7..], ""),
        missing.message().replace(&none[7..], "")
    );
    let refused = batch("root", vec![String::new()]).await.unwrap_err();
    assert_eq!(fields(&refused), ["names[0]"]);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_too_much_for_one_answer_says_how_much_is_not() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut orders = OrderServiceClient::new(server.connect().await);
    let line = nuts("", "ada", 1).lines.remove(0);
    let large = v1::PlaceOrderRequest {
        request_id: "large".into(),
        lines: vec![line; 100],
        ..nuts("", "ada", 1)
    };
    let name = orders
        .place_order(by("ada", large))
        .await
        .unwrap()
        .into_inner()
        .name;
    let batch = |count: usize| v1::BatchGetOrdersRequest {
        names: vec![name.clone(); count],
    };
    let refused = orders
        .batch_get_orders(by("ada", batch(1_000)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "BATCH_TOO_LARGE")
    );
    let info = refused.get_details_error_info().unwrap();
    let fitting: usize = info.metadata["fitting"].parse().unwrap();
    assert!((100..1_000).contains(&fitting), "{fitting}");
    let found = orders.batch_get_orders(by("ada", batch(fitting))).await.unwrap();
    assert_eq!(found.into_inner().orders.len(), fitting);
    let refused = orders
        .batch_get_orders(by("ada", batch(fitting + 1)))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "BATCH_TOO_LARGE");
    server.stop().await;
}

#[tokio::test]
async fn what_a_caller_may_not_see_answers_as_what_does_not_exist() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut orders = OrderServiceClient::new(channel.clone());
    let of_bob = orders
        .place_order(by("bob", nuts("one", "bob", 1)))
        .await
        .unwrap()
        .into_inner();
    let none = "orders/00000000000000000000000000";

    let read = |name: &str| by("ada", GetOrderRequest { name: name.into() });
    let hidden = orders.get_order(read(&of_bob.name)).await.unwrap_err();
    let missing = orders.get_order(read(none)).await.unwrap_err();
    assert_eq!(hidden.code(), Code::NotFound);
    assert_eq!(
        hidden.message().replace(&of_bob.name[7..], ""),
        missing.message().replace(&none[7..], "")
    );
    assert_eq!(reason(&hidden), reason(&missing));

    let cancel = |name: &str| {
        by(
            "ada",
            CancelOrderRequest {
                name: name.into(),
                ..Default::default()
            },
        )
    };
    let hidden = orders.cancel_order(cancel(&of_bob.name)).await.unwrap_err();
    let missing = orders.cancel_order(cancel(none)).await.unwrap_err();
    assert_eq!(
        (hidden.code(), reason(&hidden)),
        (missing.code(), reason(&missing))
    );
    assert_eq!(hidden.code(), Code::NotFound);

    for customer in ["bob", "nobody"] {
        let refused = orders
            .place_order(by("ada", nuts("two", customer, 1)))
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::NotFound, "CUSTOMER_NOT_FOUND")
        );
        let request = GetCustomerRequest {
            name: format!("customers/{customer}"),
        };
        let refused = CustomerServiceClient::new(channel.clone())
            .get_customer(by("ada", request))
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::NotFound, "CUSTOMER_NOT_FOUND")
        );
    }
    let list = |customer: &str| {
        by(
            "ada",
            ListOrdersRequest {
                customer: customer.into(),
                ..Default::default()
            },
        )
    };
    let of_bob = orders
        .list_orders(list("customers/bob"))
        .await
        .map(|page| page.into_inner().orders.len());
    let of_nobody = orders
        .list_orders(list("customers/nobody"))
        .await
        .map(|page| page.into_inner().orders.len());
    assert_eq!(of_bob.map_err(|e| e.code()), of_nobody.map_err(|e| e.code()));
    let everybody = orders.list_orders(list("")).await.unwrap_err();
    assert_eq!(
        (everybody.code(), reason(&everybody).as_str()),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED")
    );
    server.stop().await;
}

#[tokio::test]
async fn credentials_role_and_scope_are_asked_for_in_this_order() {
    let server = start(|_| {}).await;
    let channel = server.connect().await;
    let mut node = NodeServiceClient::new(channel.clone());
    let missing = node
        .get_node_status(Request::new(GetNodeStatusRequest {}))
        .await
        .unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::Unauthenticated, "CREDENTIALS_MISSING")
    );
    let wrong = node
        .get_node_status(by("mallory", GetNodeStatusRequest {}))
        .await
        .unwrap_err();
    assert_eq!(
        (wrong.code(), reason(&wrong).as_str()),
        (Code::Unauthenticated, "CREDENTIALS_INVALID")
    );
    let role = node
        .get_node_status(by("shop", GetNodeStatusRequest {}))
        .await
        .unwrap_err();
    assert_eq!(
        (role.code(), reason(&role).as_str()),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED")
    );
    let mut items = ItemServiceClient::new(channel);
    let scope = items
        .create_item(by("reader", v1::CreateItemRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(
        (scope.code(), reason(&scope).as_str()),
        (Code::PermissionDenied, "SCOPE_MISSING")
    );
    let read = items
        .get_item(by(
            "reader",
            GetItemRequest {
                name: "items/none".into(),
            },
        ))
        .await
        .unwrap_err();
    assert_eq!(read.code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_deadline_that_is_over_is_answered_as_such() {
    let server = start(|_| {}).await;
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    for path in [
        "/docket.v1.OrderService/PlaceOrder",
        "/docket.v1.OrderService/PlaceOrders",
    ] {
        let mut late = head(path);
        late.headers_mut().insert("grpc-timeout", "1n".parse().unwrap());
        let answer = sender.send_request(late, true).unwrap().0.await.unwrap();
        let late = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(
            (late.code(), reason(&late).as_str()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            "{path}"
        );
    }

    let mut client = OrderServiceClient::new(server.connect().await);
    let mut request = by("ada", nuts("odd", "ada", 1));
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let odd = client.place_order(request).await.unwrap_err();
    assert_eq!(
        (odd.code(), fields(&odd)),
        (Code::InvalidArgument, vec!["grpc-timeout".to_owned()])
    );
    server.stop().await;
}

#[tokio::test]
async fn a_call_without_a_deadline_gets_the_server_s() {
    let server = start(|config| config.calls.max_ms = 20).await;
    // Its head says that a message follows, which never comes.
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    let (answer, _body) = sender
        .send_request(head("/docket.v1.OrderService/PlaceOrder"), false)
        .unwrap();
    let answer = answer.await.unwrap();
    let status = tonic::Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so_in_http() {
    let server = start(|_| {}).await;
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    let mut get = head("/docket.v1.OrderService/PlaceOrder");
    *get.method_mut() = http::Method::GET;
    assert_eq!(
        sender.send_request(get, true).unwrap().0.await.unwrap().status(),
        405
    );
    let mut json = head("/docket.v1.OrderService/PlaceOrder");
    json.headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    assert_eq!(
        sender.send_request(json, true).unwrap().0.await.unwrap().status(),
        415
    );
    for path in [
        "/docket.v1.OrderService/Nothing",
        "/nothing",
        "/docket.v1.AuthService/Login/more",
    ] {
        let answer = sender.send_request(head(path), true).unwrap().0.await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unimplemented, "UNKNOWN_METHOD"),
            "{path}"
        );
    }
    server.stop().await;
}

/// A bare HTTP/2 connection, for what no gRPC client does.
pub async fn http2(
    server: &crate::support::Running,
) -> (
    h2::client::SendRequest<bytes::Bytes>,
    impl Future<Output = Result<(), h2::Error>> + Send + 'static,
) {
    let tcp = tokio::net::TcpStream::connect(server.grpc).await.unwrap();
    h2::client::handshake(tcp).await.unwrap()
}

/// The head of a gRPC call by `ada`.
pub fn head(path: &str) -> http::Request<()> {
    http::Request::post(format!("http://docket{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-api-key", "ada")
        .body(())
        .unwrap()
}

//! No caller has all places: neither a customer whose calls do not end, nor an address without credentials.

use std::time::Duration;

use bytes::Bytes;
use docket_proto::v1::{ListItemsRequest, item_service_client::ItemServiceClient};
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    calls::{head, http2},
    support::{Running, by, reason, start, start_with_accounts_on},
};

const PATIENCE: Duration = Duration::from_secs(20);
const LIST_ITEMS: &str = "/docket.v1.ItemService/ListItems";
const PLACE_ORDERS: &str = "/docket.v1.OrderService/PlaceOrders";
const LOGIN: &str = "/docket.v1.AuthService/Login";

/// A call whose request never comes to its end.
fn slow(sender: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let (answer, mut body) = sender.send_request(head(path), false).unwrap();
    // The first bytes of a message: it has a length.
    body.send_data(Bytes::from_static(&[0, 0]), false).unwrap();
    (answer, body)
}

async fn status_of(answer: ResponseFuture) -> Status {
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    Status::from_header_map(answer.headers()).expect("it is refused at once")
}

fn limiter(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata["limiter"].clone()
}

async fn list(server: &Running, account: &'static str) -> Result<(), Status> {
    let mut items = ItemServiceClient::new(server.connect().await);
    items
        .list_items(by(account, ListItemsRequest::default()))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_customer_whose_calls_do_not_end_leaves_places_to_others() {
    let server = start(|config| {
        config.admission.max_calls = 4;
        config.admission.max_streams = 4;
        config.admission.max_per_customer = 2;
    })
    .await;
    let (mut sender, connection) = http2(&server).await;
    let connection = tokio::spawn(connection);
    for (path, calls) in [(LIST_ITEMS, true), (PLACE_ORDERS, false)] {
        let mut held: Vec<_> = (0..2).map(|_| slow(&mut sender, path)).collect();
        let (refused, _body) = slow(&mut sender, path);
        let refused = status_of(refused).await;
        assert_eq!(
            (
                refused.code(),
                reason(&refused).as_str(),
                limiter(&refused).as_str()
            ),
            (Code::ResourceExhausted, "RATE_LIMITED", "customer_in_flight"),
            "{path}"
        );
        assert!(refused.get_details_retry_info().is_some());
        // Another customer, and the shop, have places.
        for other in ["bob", "shop"] {
            list(&server, other).await.unwrap();
        }
        assert_eq!(list(&server, "ada").await.is_err(), calls, "{path}");
        let (_, mut first) = held.pop().unwrap();
        first.send_reset(Reason::CANCEL);
        let back = async {
            while list(&server, "ada").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, back)
            .await
            .expect("its place comes back");
        for (_, body) in &mut held {
            body.send_reset(Reason::CANCEL);
        }
        tokio::time::timeout(PATIENCE, async {
            while list(&server, "ada").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    drop(sender);
    connection.abort();
    server.stop().await;
}

#[tokio::test]
async fn an_address_whose_logins_do_not_end_has_no_more_than_its_part_of_them() {
    let server = start_with_accounts_on(|config| config.admission.max_open_per_address = 2).await;
    let (mut sender, connection) = http2(&server).await;
    let connection = tokio::spawn(connection);
    let _held: Vec<_> = (0..2).map(|_| slow(&mut sender, LOGIN)).collect();
    let (refused, _body) = slow(&mut sender, LOGIN);
    let refused = status_of(refused).await;
    assert_eq!(
        (
            refused.code(),
            reason(&refused).as_str(),
            limiter(&refused).as_str()
        ),
        (Code::ResourceExhausted, "RATE_LIMITED", "address_in_flight")
    );
    // How the node is has places of its own.
    let (code, _) = server.get("/livez").await;
    assert_eq!(code, 200);
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.connect().await);
    let ask = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    health.check(ask).await.unwrap();
    drop(sender);
    connection.abort();
    server.stop().await;
}

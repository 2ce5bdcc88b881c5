//! Who has too much refused is read more slowly, and nobody else is.

use docket_proto::v1::{
    GetItemRequest, item_service_client::ItemServiceClient, order_service_client::OrderServiceClient,
};
use tonic::Code;

use crate::support::{by, nuts, start};

/// How often the two connections race: other tests share the cores.
const RACES: usize = 50;
/// Round trips that the other connection makes meanwhile.
const ROUND_TRIPS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_refused_too_often_waits_and_others_do_not() {
    // One refusal a second: each costs the longest pause.
    let server = start(|config| config.admission.max_refusals_per_second = 1).await;
    server.seed().await;
    let (pushing, calm) = (server.connect().await, server.connect().await);
    let mut orders = OrderServiceClient::new(pushing.clone());
    let item = || {
        let name = "items/nut".into();
        by("shop", GetItemRequest { name })
    };
    let overtaken = async || {
        // Without credentials.
        let refused = orders.place_order(nuts("x", "anna", 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let (mut pushing, mut calm) = (
            ItemServiceClient::new(pushing.clone()),
            ItemServiceClient::new(calm.clone()),
        );
        let braked = tokio::spawn(async move { pushing.get_item(item()).await });
        for _ in 0..ROUND_TRIPS {
            calm.get_item(item()).await.unwrap();
        }
        let overtaken = !braked.is_finished();
        braked.await.unwrap().unwrap();
        overtaken
    };
    let mut overtaken = overtaken;
    let mut races = 0;
    while !overtaken().await {
        races += 1;
        assert!(
            races < RACES,
            "a connection whose calls are refused is read like any other"
        );
    }
    server.stop().await;
}

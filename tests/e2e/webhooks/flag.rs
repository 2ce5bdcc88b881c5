//! The flag `webhooks`, on a server that runs.

use std::collections::BTreeSet;

use docket_proto::v1::{
    self, node_service_client::NodeServiceClient, webhook_service_client::WebhookServiceClient,
};

use super::{expected, home, receiver::Receiver};
use crate::{
    api::{Api, order},
    server::Server,
};

/// Orders of each customer in each part of the test.
const ORDERS: usize = 5;

/// Has somebody told of a customer's orders.
async fn tell(api: &Api, receiver: &Receiver, customer: &str) {
    let webhook = v1::Webhook {
        url: receiver.url(),
        filter: Some(v1::WebhookFilter {
            customer: format!("customers/{customer}"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = v1::CreateWebhookRequest {
        webhook: Some(webhook),
        ..Default::default()
    };
    let mut webhooks = WebhookServiceClient::new(api.authenticated());
    webhooks.create_webhook(request).await.unwrap();
}

/// Has webhooks be on for these customers and nobody else, or for all.
async fn set(api: &Api, share: i32, customers: &[&str]) {
    let rule = v1::FlagRule {
        share,
        customers: customers.iter().map(|id| format!("customers/{id}")).collect(),
        ..Default::default()
    };
    let request = v1::SetFlagRequest {
        name: "flags/webhooks".into(),
        rule: Some(rule),
        ..Default::default()
    };
    let mut node = NodeServiceClient::new(api.authenticated());
    node.set_flag(request).await.unwrap();
}

/// Places some orders of each; which changes of which customer that were by then.
async fn place(api: &Api, server: &Server, round: &str) -> [BTreeSet<String>; 2] {
    for n in 0..ORDERS {
        for customer in ["ada", "bob"] {
            let request = order(&format!("{round}-{n}"), customer, &[("nut", 1, 5)]);
            api.orders().place_order(request).await.unwrap();
        }
    }
    server.settled().await;
    let all = expected(api).await;
    let orders = api.all_orders().await;
    ["ada", "bob"].map(|customer| {
        let of_customer = orders
            .iter()
            .filter(|order| order.customer == format!("customers/{customer}"))
            .map(|order| order.name.strip_prefix("orders/").unwrap());
        let names: BTreeSet<_> = of_customer.collect();
        let is_theirs = |id: &&String| names.contains(id.rsplit_once('-').unwrap().0);
        all.iter().filter(is_theirs).cloned().collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_webhooks_are_off_no_delivery_begins_and_where_they_are_on_again_nothing_is_missing() {
    let home = home();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    for customer in ["ada", "bob"] {
        api.customer(customer, i64::MAX / 2).await;
    }
    api.item("nut", 5, 1_000_000).await;
    let (to_ada, to_bob) = (Receiver::start(0), Receiver::start(0));
    tell(&api, &to_ada, "ada").await;
    tell(&api, &to_bob, "bob").await;
    let [ada, bob] = place(&api, &server, "on").await;
    to_ada.until(&ada).await;
    to_bob.until(&bob).await;

    // Off, but for bob: what ada's receiver would have been told of came before what bob's is.
    set(&api, 0, &["bob"]).await;
    let [ada_off, bob] = place(&api, &server, "off").await;
    assert!(ada_off.len() > ada.len());
    to_bob.until(&bob).await;
    assert_eq!(to_ada.ids(), ada, "nothing is delivered that came since");
    // A server that starts goes by it as well.
    server.stop(&home);
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    let [ada_off, bob] = place(&api, &server, "still off").await;
    to_bob.until(&bob).await;
    assert_eq!(to_ada.ids(), ada, "nothing is delivered that came since");

    // On again, it goes on where it was.
    set(&api, 10_000, &[]).await;
    to_ada.until(&ada_off).await;
    // And off for bob: only ada's are told of.
    set(&api, 0, &["ada"]).await;
    let [ada, bob_off] = place(&api, &server, "other").await;
    to_ada.until(&ada).await;
    assert_eq!(to_bob.ids(), bob, "nothing is delivered that came since");
    set(&api, 10_000, &[]).await;
    to_bob.until(&bob_off).await;
    for (receiver, expected) in [(&to_ada, &ada), (&to_bob, &bob_off)] {
        assert_eq!(receiver.ids(), *expected, "and nothing else");
    }
    server.stop(&home);
}

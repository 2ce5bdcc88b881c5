//! Items that are asked on another node, and entries that are not taken: what came of them is in the trace.

use std::time::Instant;

use docket_proto::v1::{self, node_service_client::NodeServiceClient};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use rustix::process::Signal;

use super::{CLIENT, Collector, PLACE_ORDER, id, is_called, number, text, traced, traceparent, value};
use crate::{
    alerts::leads,
    api::{Api, order},
    cluster::nodes::Nodes,
    server::{LOOK_AGAIN, PATIENCE, Server},
};

/// Whether a span is an error, and why.
#[track_caller]
fn error_of(span: &Span) -> Option<String> {
    let is_error = span
        .status
        .as_ref()
        .is_some_and(|status| status.code() == StatusCode::Error);
    let why = value(&span.attributes, "error.type").map(|_| text(&span.attributes, "error.type"));
    assert_eq!(is_error, why.is_some(), "{span:#?}");
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_asked_on_another_node_and_an_entry_that_is_not_taken_say_what_came_of_it() {
    /// So many customers, and so many items, that each shard has some of them.
    const OF_EACH: usize = 12;
    let collector = Collector::default();
    let mut nodes = Nodes::new();
    nodes.set("tracing.endpoint", &collector.start().await);
    nodes.set("tracing.ratio", "0");
    nodes.set("cluster.balance_leads", "false");
    nodes.set("server.drain_ms", "1000");
    nodes.found();
    let first = Server::start(nodes.home(1));
    let mut second = nodes.launch(2);
    nodes.until_voters(&first, &[1, 2]).await;
    assert!(second.ready(nodes.home(2)), "{}", nodes.home(2).log());
    let api = Api::admin(&first, nodes.home(1)).await;
    let names = |of: &str| (0..OF_EACH).map(|n| format!("{of}-{n}")).collect::<Vec<_>>();
    let (customers, items, gone) = (names("customer"), names("item"), names("gone"));
    for ((customer, item), gone) in customers.iter().zip(&items).zip(&gone) {
        api.customer(customer, i64::MAX / 2).await;
        api.item(item, 5, 1_000_000).await;
        api.item(gone, 5, 0).await;
    }
    let begun = Instant::now();
    let leads_shards = |server: &Server| {
        let shards = ["shard-0", "shard-1", "shard-2"];
        shards.iter().filter(|shard| leads(server, shard)).count()
    };
    while leads_shards(&first) == 0 || leads_shards(&second) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the leads are not spread");
        // Asked again where it could not be done yet.
        let balanced = v1::BalanceLeadersRequest::default();
        let _ = NodeServiceClient::new(api.authenticated())
            .balance_leaders(balanced)
            .await;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let request = |id: &str, customer: &str, items: &[String], trace: u32| {
        let lines: Vec<_> = items.iter().map(|item| (item.as_str(), 1, 5)).collect();
        traced(order(id, customer, &lines), &traceparent(trace, "01"))
    };
    let all = |name: &'static str| {
        let spans = collector.all().into_iter();
        spans
            .filter(move |(_, span)| span.name == name)
            .collect::<Vec<_>>()
    };

    // Orders of all items: of some the order is led at the first node, and items at the second.
    let (mut trace, mut stepped) = (0, 0);
    for customer in &customers {
        trace += 1;
        let placed = api
            .orders()
            .place_order(request("all", customer, &items, trace))
            .await
            .unwrap();
        if placed.metadata().contains_key("docket-leader") {
            // It was forwarded.
            continue;
        }
        let whole = |spans: &[(String, Span)]| {
            let count = |name: &str| spans.iter().filter(|(_, span)| span.name == name).count();
            // Its own entry, and those of items that are led here.
            count(PLACE_ORDER) == 1 && count("item step") + count("log commit") == 1 + OF_EACH
        };
        let found = collector.trace(&id(trace), whole).await;
        found.is_a_tree_under(&CLIENT);
        let edge = found.one(&CLIENT, PLACE_ORDER, "1");
        let actor = found.one(&edge.span_id, "actor", "1");
        for (node, step) in found.under(&actor.span_id, "item step") {
            assert_eq!(node, "1");
            is_called(step, 2, nodes.peer(2));
            number(&step.attributes, "docket.shard");
            assert_eq!(error_of(step), None);
            assert!(value(&step.attributes, "docket.rejection").is_none());
            stepped += 1;
        }
        for (_, commit) in found.under(&actor.span_id, "log commit") {
            assert_eq!(error_of(commit), None);
        }
    }
    assert!(stepped > 0, "no item was asked at the second node");

    // An item that refuses has answered.
    for customer in &customers {
        trace += 1;
        let refused = api
            .orders()
            .place_order(request("gone", customer, &gone, trace))
            .await;
        refused.unwrap_err();
    }
    let refuses = |(_, step): &(String, Span)| {
        value(&step.attributes, "docket.rejection").is_some_and(|why| {
            assert_eq!(*why, Value::StringValue("INSUFFICIENT_STOCK".to_owned()));
            assert_eq!(error_of(step), None);
            true
        })
    };
    collector
        .until("an item to refuse at the other node", || {
            all("item step").iter().any(refuses)
        })
        .await;

    // Half of the cluster stands still: items there do not answer, and no entry is agreed upon.
    second.signal(Signal::STOP);
    let placing = customers.iter().map(|customer| {
        trace += 1;
        let (request, mut orders) = (request("late", customer, &items, trace), api.orders());
        tokio::spawn(async move { orders.place_order(request).await })
    });
    let placing: Vec<_> = placing.collect();
    let failed = |(_, span): &(String, Span)| error_of(span).is_some();
    collector
        .until("items not to answer", || all("item step").iter().any(failed))
        .await;
    for (_, step) in all("item step").iter().filter(|step| failed(step)) {
        is_called(step, 2, nodes.peer(2));
    }
    assert!(!all("log commit").iter().any(failed));
    // The first ends, and says of its entries what it knows.
    first.terminate();
    first.ended();
    collector
        .until("entries to fail", || all("log commit").iter().any(failed))
        .await;
    for (_, commit) in all("log commit").iter().filter(|commit| failed(commit)) {
        let why = error_of(commit).unwrap();
        assert!(["unknown", "not_leader"].contains(&&*why), "{commit:#?}");
    }
    second.kill();
    for placed in placing {
        assert!(placed.await.unwrap().is_err());
    }
}

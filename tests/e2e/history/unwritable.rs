//! A node that can write nothing any more, not even its log.

use std::time::Instant;

use docket_soak::history::{
    Ask,
    clients::{Node, Shop},
    nemesis::Stage as _,
    net::Net,
};

use super::stage::Servers;
use crate::server::{LOOK_AGAIN, PATIENCE};

/// The story of a disk that was full and was the log's as well: whoever was about to say that the journal had failed panicked over the
/// log, said so to nobody, and the node went on without a journal, and as if it were ready.
#[tokio::test]
async fn a_node_that_can_write_neither_its_journal_nor_its_log_stops_and_loses_nothing() {
    let mut servers = Servers::alone(&Net::new(1), false).await;
    let shop = Shop::open(&servers.target(1), 1, 0).await.unwrap();
    let node = Node::new(&servers.target(1));
    let credit = |number: u32| Ask::Credit {
        request_id: format!("r{number}"),
        customer: "customers/c0-0".into(),
        amount: 1,
    };
    node.ask(&credit(0)).await;
    let before = shop.books(&servers.target(1)).await.unwrap();

    servers.limit_files(1, Some(0)).unwrap();
    let begun = Instant::now();
    let mut number = 0;
    let code = loop {
        number += 1;
        node.ask(&credit(number)).await;
        if let Some(code) = servers.ended(1) {
            break code;
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on without a journal");
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    assert_eq!(code, 1);

    servers.start(1).await.unwrap();
    servers.well().await;
    let after = shop.books(&servers.target(1)).await.unwrap();
    let balance = after.customers[0].balance;
    assert!(
        (before.customers[0].balance..before.customers[0].balance + i64::from(number)).contains(&balance)
    );
    servers.stop();
}

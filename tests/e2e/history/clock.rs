//! A node whose clock is moved while it runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use docket_soak::history::{
    Ask, Line, Outcome, Reply,
    clients::{Node, Shop},
    nemesis::Stage as _,
    net::Net,
};

use super::{members::moves_clocks, stage::Servers};
use crate::server::{LOOK_AGAIN, PATIENCE};

const HOUR_MS: i64 = 3_600_000;

/// Without this, jumps of clocks in histories would prove nothing.
#[tokio::test]
async fn orders_are_stamped_with_the_clock_as_it_is_moved_and_never_earlier_than_those_before() {
    if !moves_clocks() {
        return println!("skipped: the program has no debug assertions, and does not move its clock");
    }
    let mut servers = Servers::alone(&Net::new(1), false).await;
    let shop = Shop::open(&servers.target(1), 1, 0).await.unwrap();
    let node = Node::new(&servers.target(1));
    let mut placed = 0;
    let mut place = async || {
        placed += 1;
        let ask = Ask::Place {
            request_id: format!("moved-{placed}"),
            customer: "customers/c0-0".into(),
            lines: vec![Line {
                item: "items/i0-0".into(),
                quantity: 1,
                unit_price: 100,
            }],
        };
        match node.ask(&ask).await {
            Outcome::Ok(Reply::Order(order)) => order.created,
            other => panic!("{other}"),
        }
    };
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i128;
    let first = place().await;
    assert!(
        (first / 1_000_000 - now_ms()).abs() < i128::from(HOUR_MS) / 2,
        "{first}"
    );

    servers.move_clock(1, HOUR_MS).unwrap();
    let begun = std::time::Instant::now();
    let mut ahead = place().await;
    while ahead / 1_000_000 < now_ms() + i128::from(HOUR_MS) / 2 {
        assert!(begun.elapsed() < PATIENCE, "the clock is not moved");
        tokio::time::sleep(LOOK_AGAIN).await;
        ahead = place().await;
    }

    servers.move_clock(1, -HOUR_MS).unwrap();
    // Long enough that it looks into its file again; if it did not, what follows would hold all the more.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..3 {
        let next = place().await;
        assert!(next >= ahead, "{next} after {ahead}");
        ahead = next;
    }
    drop(shop);
    servers.stop();
}

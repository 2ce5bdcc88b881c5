//! Far more than the node takes: what is too much is refused at once and says when to come back, the rest is done, and
//! afterwards all is as before. How fast is not asserted here: that is the soak suite's.

use std::time::Duration;

use futures::future::join_all;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    api::{Api, order, reason, retry_delay},
    server::{Home, Server},
};

/// Calls that the node lets in at a time.
const ADMITTED: usize = 4;
/// Calls that are offered at a time.
const OFFERED: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_and_afterwards_all_is_as_before() {
    let home = Home::new().set("admission.max_calls", &ADMITTED.to_string());
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    api.customer("ada", 1_000_000).await;
    api.item("nut", 5, 1_000).await;

    let answers = join_all((0..OFFERED).map(|n| {
        let mut orders = api.orders();
        async move {
            orders
                .place_order(order(&format!("r{n}"), "ada", &[("nut", 1, 5)]))
                .await
        }
    }))
    .await;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(order) => done.push((n, order.into_inner())),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert_eq!(reason(&status), "OVERLOADED");
                let delay = retry_delay(&status).expect("RetryInfo");
                assert!(
                    (Duration::from_millis(1)..=Duration::from_secs(5)).contains(&delay),
                    "{delay:?}"
                );
                assert!(status.get_details_quota_failure().is_some(), "{status:?}");
                refused.push(n);
            }
        }
    }
    println!(
        "{OFFERED} offered at once, {} done, {} refused",
        done.len(),
        refused.len()
    );
    assert!(!done.is_empty() && !refused.is_empty());
    assert_eq!(
        api.all_orders().await.len(),
        done.len(),
        "of what was refused nothing was done"
    );
    // One after the other everything is taken; with the same ids, what was done is not done again.
    for n in 0..OFFERED {
        let again = api
            .orders()
            .place_order(order(&format!("r{n}"), "ada", &[("nut", 1, 5)]))
            .await
            .unwrap()
            .into_inner();
        if let Some((_, before)) = done.iter().find(|(of, _)| *of == n) {
            assert_eq!(again, *before);
        }
    }
    assert_eq!(api.all_items().await[0].reserved, OFFERED as i64);
    server.stop(&home);
}

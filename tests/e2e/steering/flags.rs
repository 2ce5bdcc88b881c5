//! The flags that decide what becomes of an order, set by the command line at a node of the built program.

use serde_json::Value;

use crate::{
    api::Api,
    server::{Home, Server},
};

/// What a command at the server prints, or says.
fn run(home: &Home, server: &Server, command: &str) -> Result<Value, String> {
    let (address, key) = (format!("http://{}", server.grpc), home.data().join("admin.key"));
    let mut args: Vec<&str> = command.split(' ').collect();
    args.extend([
        "-o",
        "json",
        "--addr",
        &address,
        "--api-key-file",
        key.to_str().unwrap(),
    ]);
    let run = home.command(&args).output().unwrap();
    match run.status.success() {
        true => Ok(serde_json::from_slice(&run.stdout).unwrap_or_default()),
        false => Err(String::from_utf8_lossy(&run.stderr).into_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_decide_whether_orders_wait_for_what_is_not_there_and_whether_they_are_held() {
    // Whatever a new customer orders is odd here.
    let home = Home::new()
        .set("fraud.enabled", "true")
        .set("fraud.threshold", "1")
        .set("fraud.new_customer_amount", "1");
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    api.customer("ada", 1_000_000).await;
    api.item("nut", 5, 10).await;
    let docket = |command: &str| run(&home, &server, command);
    docket("item update nut --backorder-limit 100").unwrap();

    docket("flag set fraud_scoring --off").unwrap();
    docket("flag set backorders --off").unwrap();
    let refused = docket("order place --customer ada nut:11").unwrap_err();
    assert!(refused.contains("INSUFFICIENT_STOCK"), "{refused}");
    docket("flag set backorders --off --customer ada").unwrap();
    let placed = docket("order place --customer ada nut:11").unwrap();
    let name = placed["name"].as_str().unwrap();
    server.settled().await;
    let order = docket(&format!("order get {name}")).unwrap();
    assert_eq!(order["state"], "CONFIRMED", "{order}");
    assert!(
        order.to_string().contains("BACKORDERED"),
        "one of them waits: {order}"
    );
    let is_held = |order: &Value| order["holds"].as_array().is_some_and(|holds| !holds.is_empty());
    assert!(!is_held(&order), "nothing is looked for: {order}");

    // A flag that nobody set is as it is without one: both are on.
    for flag in ["fraud_scoring", "backorders"] {
        docket(&format!("flag unset {flag}")).unwrap();
    }
    let placed = docket("order place --customer ada nut:1").unwrap();
    let name = placed["name"].as_str().unwrap();
    server.settled().await;
    let order = docket(&format!("order get {name}")).unwrap();
    assert!(is_held(&order), "{order}");
    assert!(order.to_string().contains("FRAUD_REVIEW"), "{order}");
    server.stop(&home);
}

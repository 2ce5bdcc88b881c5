//! What a node of this program leaves when it is stopped, of all that it knows: it is read, replayed and opened again. So is what earlier programs have
//! left (`tests/cli/upgrade.rs`), which is kept for ever and was made here: `DOCKET_WRITE_DATA=FILE` writes one more, as a `.tar.gz`.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    provider::Provider,
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

/// A server's commands, in the words of whoever types them.
struct Shop<'a>(&'a Home, &'a Server);

impl Shop<'_> {
    fn command(&self, words: &str) -> Command {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = self.0.command(&words);
        command
            .env("DOCKET_ADDR", format!("http://{}", self.1.grpc))
            .env("DOCKET_API_KEY", self.0.admin_key());
        command
    }

    fn run(&self, words: &str) -> Value {
        let run = self.command(&format!("{words} -o json")).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{words}: {said}");
        serde_json::from_slice(&run.stdout).unwrap_or_default()
    }

    fn refused(&self, words: &str, reason: &str) {
        let run = self.command(words).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains(reason), "{words}: {said}");
    }

    /// Places an order; its name.
    fn place(&self, words: &str) -> String {
        let placed = self.run(&format!("order place {words}"));
        placed["name"].as_str().unwrap().to_owned()
    }

    fn order(&self, name: &str) -> Value {
        self.run(&format!("order get {name}"))
    }

    fn etag(&self, name: &str) -> String {
        self.order(name)["etag"].as_str().unwrap().to_owned()
    }

    fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) {
        let begun = std::time::Instant::now();
        while !is(&self.order(name)) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{name}: never {what}: {}",
                self.order(name)
            );
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Accounts and what steers the node; customers and items of each kind.
fn furnish(shop: &Shop<'_>, home: &Home) {
    fs::write(home.file("password"), "correct horse battery\n").unwrap();
    shop.run("customer create acme --currency EUR --credit-limit 1000 --display-name Acme");
    shop.run("customer create bistro --currency EUR --credit-limit 30");
    shop.run("customer credit acme 25.50");
    shop.run("item create tea --currency EUR --price 4.50 --on-hand 500");
    shop.run("item create pot --currency EUR --price 19.90 --on-hand 4");
    shop.run("item update pot --backorder-limit 10");
    shop.run("item adjust tea -20");
    shop.run("auth register ann --role customer --customer acme --password-file password");
    shop.run("auth register shop --role service --password-file password");
    shop.run("auth key create --account shop --scope orders --scope read --display-name till");
    shop.run("auth login ann --password-file password");
    shop.run("flag set fraud_scoring --percent 12.5 --customer acme");
    shop.run("limit set ann --rate 50 --burst 80");
    shop.run("webhook create https://shop.example/hook --kind shipped --description till");
}

/// Orders on account, one at each turn that a life takes.
fn live(shop: &Shop<'_>) {
    for number in 0..12 {
        shop.place(&format!(
            "--customer acme tea:{} --request-id r{number}",
            number % 3 + 1
        ));
    }
    shop.refused("order place --customer bistro tea:7", "INSUFFICIENT_CREDIT");
    let whole = shop.place("--customer acme tea:3 pot:1");
    shop.run(&format!("order hold {whole} address --note nowhere"));
    shop.run(&format!("order release {whole} address"));
    shop.run(&format!("order edit {whole} tea:5 --etag {}", shop.etag(&whole)));
    shop.run(&format!("order plan {whole} tea:2"));
    shop.run(&format!(
        "order ship {whole} --fulfilment 1 --carrier DHL --tracking JD014"
    ));
    shop.run(&format!("order deliver {whole} 1"));
    shop.run(&format!("order cancel {whole} tea:1"));
    shop.run(&format!("order ship {whole}"));
    shop.run(&format!("order return request {whole} tea:1 --note bitter"));
    shop.run(&format!("order return approve {whole} 1"));
    shop.run(&format!("order return receive {whole} 1 --restock"));
    shop.run(&format!("order return close {whole} 1"));
    shop.run(&format!("order refund {whole} 4.50 --note bitter"));
    let declined = shop.place("--customer acme tea:2");
    shop.run(&format!("order ship {declined}"));
    shop.run(&format!("order return request {declined}"));
    shop.run(&format!("order return decline {declined} 1 --note worn"));
    let cancelled = shop.place("--customer acme tea:4");
    shop.run(&format!("order cancel {cancelled}"));
    let held = shop.place("--customer bistro tea:1");
    shop.run(&format!("order hold {held} operator"));
    let planned = shop.place("--customer bistro tea:1");
    shop.run(&format!("order plan {planned}"));
    // Three are there: of the next one all waits, and of that two come in.
    let waits = shop.place("--customer acme pot:5");
    shop.run(&format!("order ship {waits}"));
    let all = shop.place("--customer acme pot:2");
    shop.refused(&format!("order ship {all}"), "QUANTITY_BACKORDERED");
    shop.run("item adjust pot 2");
}

/// Orders that a provider pays: one to its end, one that is cancelled, one that it declines, one whose capture it declines, and one for which it is not there.
fn pay(shop: &Shop<'_>, provider: &mut Provider) -> String {
    let by = |words: &str| shop.place(&format!("--customer acme --pay-by cards {words}"));
    let is_paid = |order: &Value| order["payment"]["state"] == "CAPTURED";
    let paid = by("tea:4");
    shop.run(&format!("order edit {paid} tea:6 --etag {}", shop.etag(&paid)));
    shop.run(&format!("order ship {paid}"));
    shop.until(&paid, "captured", is_paid);
    shop.run(&format!("order refund {paid} 4.50"));
    let cancelled = by("tea:1");
    shop.run(&format!("order cancel {cancelled}"));
    shop.until(&cancelled, "voided", |order| {
        order["payment"]["state"] == "VOIDED"
    });
    provider.fails(&json!([{"on": "capture", "nth": 1, "fault": "decline", "reason": "no funds"}]));
    let owed = by("tea:2");
    shop.run(&format!("order ship {owed} tea:1"));
    shop.until(&owed, "declined", |order| order["payment"]["state"] == "FAILED");
    shop.run(&format!("order retry-payment {owed} 2"));
    provider.fails(&json!([{"on": "authorize", "nth": 1, "fault": "decline", "reason": "no card"}]));
    shop.refused(
        "order place --customer acme --pay-by cards tea:1",
        "PAYMENT_DECLINED",
    );
    provider.kill();
    // What is asked of it waits for it, also behind the end of this node.
    let run = shop
        .command("order place --customer acme --pay-by cards tea:1 --timeout 1s -o json")
        .output()
        .unwrap();
    assert!(!run.status.success());
    paid
}

#[test]
fn what_this_program_leaves_is_read_replayed_and_opened() {
    let mut provider = Provider::start();
    let home = provider
        .known_to(Home::new(), "cards")
        .set("cluster.shards", "2")
        .set("cluster.snapshot_bytes_min", "4096")
        .set("orders.close_after_s", "0");
    let server = Server::start(&home);
    let shop = Shop(&home, &server);
    furnish(&shop, &home);
    live(&shop);
    let paid = pay(&shop, &mut provider);
    server.stop(&home);

    let home = home.set("orders.close_after_s", "1");
    let server = Server::start(&home);
    let shop = Shop(&home, &server);
    shop.until(&paid, "closed", |order| order["state"] == "CLOSED");
    let listed = shop.run("order list --page-size 100");
    shop.run("verify");
    server.stop(&home);

    let data = home.data();
    let check = [
        "upgrade",
        "check",
        "--data-dir",
        data.to_str().unwrap(),
        "-o",
        "json",
    ];
    let run = home.command(&check).output().unwrap();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["same"], true, "{report}");
    if let Some(file) = std::env::var_os("DOCKET_WRITE_DATA") {
        let parent = data.parent().unwrap();
        fs::rename(&data, parent.join("docket-data")).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "--numeric-owner", "-czf"])
            .arg(file);
        tar.arg("-C").arg(parent).arg("docket-data");
        assert!(tar.status().unwrap().success());
        fs::rename(parent.join("docket-data"), &data).unwrap();
    }

    let server = Server::start(&home);
    let shop = Shop(&home, &server);
    assert_eq!(shop.run("order list --page-size 100"), listed);
    shop.run("verify");
    server.stop(&home);
}

//! What the commands of those who run a cluster leave in its audit logs: who, what, and what came of it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    cluster::nodes::Nodes,
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

const PASSWORD: &str = "correct horse battery";

/// What is expected of a command's record.
struct Expected<'a> {
    action: &'a str,
    target: &'a str,
    outcome: &'a str,
    reason: &'a str,
    details: Value,
}

/// Four nodes that run, and who runs them.
struct Stage {
    nodes: Nodes,
    servers: Vec<Server>,
    /// A key, by which its account calls.
    key: String,
    /// How many commands' records were looked at.
    seen: usize,
}

impl Stage {
    async fn set() -> Self {
        let mut nodes = Nodes::new();
        nodes.found();
        nodes.one_more();
        nodes.set("cluster.balance_leads", "false");
        let mut servers = vec![Server::start(nodes.home(1))];
        servers.extend([2, 3].map(|node| nodes.launch(node)));
        nodes.until_voters(&servers[0], &[1, 2, 3]).await;
        // It finds three replicas of everything.
        servers.push(nodes.launch(4));
        let mut stage = Self {
            key: nodes.home(1).admin_key(),
            nodes,
            servers,
            seen: 0,
        };
        for node in 2..=4 {
            let home = stage.nodes.home(node);
            assert!(stage.servers[node - 1].ready(home), "{}", home.log());
        }
        stage
    }

    fn home(&self) -> &Home {
        self.nodes.home(1)
    }

    /// Runs a command at a node; what it printed, or why it failed.
    fn run(&self, node: usize, command: &str) -> Result<Value, String> {
        let address = format!("http://{}", self.servers[node - 1].grpc);
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(["-o", "json", "--addr", &address, "--api-key", &self.key]);
        let mut command = self.home().command(&args);
        let run = command.env("DOCKET_PASSWORD", PASSWORD).output().unwrap();
        match run.status.success() {
            true => Ok(serde_json::from_slice(&run.stdout).unwrap_or_default()),
            false => Err(String::from_utf8_lossy(&run.stderr).into_owned()),
        }
    }

    /// The records of all logs with this action that are not only the begin of something, as the program shows them.
    fn records(&self, action: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for node in 1..=4 {
            let data = self.nodes.home(node).data();
            let args = [
                "audit",
                "show",
                "-o",
                "json",
                "--action",
                action,
                "--data-dir",
                data.to_str().unwrap(),
            ];
            let run = self.home().command(&args).output().unwrap();
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(run.status.success(), "{said}");
            let shown: Value = serde_json::from_slice(&run.stdout).unwrap();
            all.extend(shown["records"].as_array().unwrap().iter().cloned());
        }
        all.retain(|record| record["action"] == action && record["outcome"] != "begun");
        all
    }

    /// Runs a command, and finds the one record that it leaves: whoever runs it, by which key, from where, and what came of it.
    #[track_caller]
    fn leaves(&mut self, account: &str, command: &str, expected: &Expected) -> Result<Value, String> {
        let before = self.records(expected.action).len();
        // Also where another node has it done.
        let answer = self.run(2, command);
        assert_eq!(
            answer.is_ok(),
            expected.outcome == "done",
            "{command}: {answer:?}"
        );
        let after = self.records(expected.action);
        assert_eq!(after.len(), before + 1, "{command}: {after:#?}");
        let newest = after
            .iter()
            .max_by_key(|record| record["time"].as_str().map(str::to_owned));
        let record = newest.unwrap();
        let who = &record["who"];
        let id = self.key.split('_').nth(1).unwrap();
        assert_eq!(who["account"], account, "{command}: {record}");
        assert_eq!(who["role"], "admin", "{command}: {record}");
        assert_eq!(who["peer"], "127.0.0.1", "{command}: {record}");
        let credential = who["credential"].as_str().unwrap().replace('-', "");
        assert!(
            credential.contains(&id.replace('-', "")),
            "{command}: {id}: {record}"
        );
        assert_eq!(record["outcome"], expected.outcome, "{command}: {record}");
        assert_eq!(
            record["target"].as_str().unwrap_or_default(),
            expected.target,
            "{command}: {record}"
        );
        assert_eq!(
            record["reason"].as_str().unwrap_or_default(),
            expected.reason,
            "{command}: {record}"
        );
        for (key, value) in expected.details.as_object().unwrap() {
            assert_eq!(record["details"][key], *value, "{command}: {record}");
        }
        self.seen += 1;
        answer
    }

    /// The same of one that is done.
    #[track_caller]
    fn does(&mut self, account: &str, command: &str, action: &str, target: &str, details: Value) -> Value {
        let expected = Expected {
            action,
            target,
            outcome: "done",
            reason: "",
            details,
        };
        self.leaves(account, command, &expected).unwrap()
    }

    /// And of one that is refused.
    #[track_caller]
    fn refuses(&mut self, account: &str, command: &str, action: &str, target: &str, reason: &str) {
        let expected = Expected {
            action,
            target,
            outcome: "refused",
            reason,
            details: json!({}),
        };
        let why = self.leaves(account, command, &expected).unwrap_err();
        assert!(why.contains(reason), "{command}: {why}");
    }

    /// Waits until every replica is where it should be; where they are.
    async fn at_rest(&self) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let rest = self.run(1, "cluster status");
            if let Ok(status) = &rest {
                return status["placements"].as_array().unwrap().clone();
            }
            assert!(begun.elapsed() < PATIENCE, "replicas go on moving: {rest:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until the fourth node has replicas; a group of which it has none, and another node that has one.
    async fn without_the_fourth(&self) -> (String, u64) {
        let begun = Instant::now();
        loop {
            let placements = self.at_rest().await;
            let has =
                |group: &Value, node: u64| group["placed_ids"].as_array().unwrap().contains(&node.into());
            let (with, without): (Vec<_>, Vec<_>) = placements.iter().partition(|group| has(group, 4));
            if let ([_, ..], [group, ..]) = (&with[..], &without[..]) {
                // Not who leads it, perhaps.
                let from = [3, 2].into_iter().find(|node| has(group, *node)).unwrap();
                return (group["group"].as_str().unwrap().to_owned(), from);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the fourth is given nothing: {placements:?}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_of_who_runs_a_cluster_leaves_who_what_and_what_came_of_it() {
    let mut stage = Stage::set().await;
    // The first administrator makes another, who goes on.
    let scopes = ["read", "orders", "customers", "items", "access", "operations"];
    let all = scopes.map(|scope| format!("--scope {scope}")).join(" ");
    stage.does(
        "admin",
        "auth register ops --role admin",
        "account.register",
        "accounts/ops",
        json!({}),
    );
    let made = stage.does(
        "admin",
        &format!("auth key create --account ops {all}"),
        "key.create",
        "accounts/ops",
        json!({}),
    );
    stage.key = made["secret"].as_str().unwrap().to_owned();

    // Keys and roles.
    let key = stage.does(
        "ops",
        "auth key create --scope read",
        "key.create",
        "accounts/ops",
        json!({}),
    );
    let key = key["name"].as_str().unwrap().to_owned();
    stage.does(
        "ops",
        &format!("auth key revoke {key}"),
        "key.revoke",
        &key,
        json!({ "account": "accounts/ops" }),
    );
    stage.does(
        "ops",
        "auth register bob --role service",
        "account.register",
        "accounts/bob",
        json!({}),
    );
    stage.refuses(
        "ops",
        "auth register bob --role service",
        "account.register",
        "accounts/bob",
        "USERNAME_TAKEN",
    );
    stage.does(
        "ops",
        "auth role bob --role admin",
        "role.assign",
        "accounts/bob",
        json!({ "role": "ADMIN" }),
    );

    // Flags and limits.
    let set = json!({ "share": "12.50 %", "customers": "1", "force": "false" });
    stage.does(
        "ops",
        "flag set backorders --percent 12.5 --customer acme",
        "flag.set",
        "flags/backorders",
        set,
    );
    stage.refuses(
        "ops",
        "flag set backorders --on --etag v99",
        "flag.set",
        "flags/backorders",
        "STALE_ETAG",
    );
    stage.does(
        "ops",
        "flag unset backorders",
        "flag.unset",
        "flags/backorders",
        json!({}),
    );
    let set = json!({ "per_second": "5", "burst": "10" });
    stage.does(
        "ops",
        "limit set bob --rate 5 --burst 10",
        "limit.set",
        "limits/accounts/bob",
        set,
    );
    stage.refuses(
        "ops",
        "limit set nobody --rate 5 --burst 10",
        "limit.set",
        "limits/accounts/nobody",
        "ACCOUNT_NOT_FOUND",
    );
    stage.does(
        "ops",
        "limit unset bob",
        "limit.unset",
        "limits/accounts/bob",
        json!({}),
    );

    // The fourth node has come by itself.
    let joined = stage.records("cluster.join");
    let of_fourth = joined.iter().find(|record| record["node"] == 4);
    assert_eq!(of_fourth.unwrap()["who"]["role"], "node", "{joined:#?}");
    // Replicas, leads and nodes. It was given three of the four groups meanwhile.
    let (group, from) = stage.without_the_fourth().await;
    let there = json!({ "from": format!("nodes/{from}"), "to": "nodes/4" });
    let moves = format!("cluster move {group} --from {from} --to 4");
    stage.does("ops", &moves, "replica.move", &group, there);
    stage.at_rest().await;
    stage.refuses("ops", &moves, "replica.move", &group, "CLUSTER_CHANGE_REFUSED");
    stage.does("ops", "cluster balance", "leaders.balance", "", json!({}));
    stage.refuses(
        "ops",
        "cluster remove 4",
        "node.remove",
        "nodes/4",
        "CLUSTER_CHANGE_REFUSED",
    );
    stage.does("ops", "cluster drain 3", "node.drain", "nodes/3", json!({}));
    stage.does("ops", "cluster undrain 3", "node.undrain", "nodes/3", json!({}));
    stage.does(
        "ops",
        "cluster drain 4 --wait",
        "node.drain",
        "nodes/4",
        json!({}),
    );
    stage.does(
        "ops",
        "cluster remove 4",
        "node.remove",
        "nodes/4",
        json!({ "force": "false" }),
    );

    // What is looked at, and said of the whole.
    stage.does(
        "ops",
        "verify",
        "books.verify",
        "nodes/2",
        json!({ "discrepancies": "0" }),
    );
    stage.does("ops", "upgrade finalize", "upgrade.finalize", "", json!({}));
    println!("{} commands, and what they left", stage.seen);

    for node in 1..=3 {
        let data = stage.nodes.home(node).data();
        stage
            .home()
            .run(&["audit", "verify", "--data-dir", data.to_str().unwrap()]);
    }
}

//! Backups of the built program under load, restored elsewhere: the books agree, and every order is as it was at the backup's point, or at a
//! time before. What it was is told by the server that went on: the story of each order up to then.

mod repository;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Instant, SystemTime},
};

use docket_proto::v1::{self, node_service_client::NodeServiceClient};
use prost_types::Timestamp;

use crate::{
    api::Api,
    cluster::nodes::Nodes,
    server::{Home, LOOK_AGAIN, PATIENCE, Server, verify},
};
use repository::Repository;
use work::{CLIENTS, Work, stock};

/// What has happened to each order up to a time, by its name.
type Stories = BTreeMap<String, Vec<v1::OrderEvent>>;

/// What all orders have come to by this time, as a server tells it.
async fn stories(api: &Api, until: &Timestamp) -> Stories {
    let mut stories = Stories::new();
    for order in api.all_orders().await {
        let request = v1::ListOrderEventsRequest {
            parent: order.name.clone(),
            page_size: 1_000,
            ..Default::default()
        };
        let told = api
            .orders()
            .list_order_events(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(told.next_page_token, "");
        let key = |time: &Timestamp| (time.seconds, time.nanos);
        let by_then = |event: &v1::OrderEvent| key(&event.event_time.unwrap()) <= key(until);
        let events: Vec<_> = told.events.into_iter().filter(by_then).collect();
        if !events.is_empty() {
            stories.insert(order.name, events);
        }
    }
    stories
}

/// What a restored server has to tell.
struct Expected<'a> {
    /// What the server that went on tells of the time until then.
    stories: Stories,
    until: Timestamp,
    /// So many requests were on their way then: what is stamped by then and was not answered may be missing.
    on_their_way: usize,
    /// What was answered by then, and so is not.
    acknowledged: &'a BTreeSet<String>,
}

/// Starts a server on what was restored, and holds all that it tells against what is known.
async fn check_restored(home: &Home, expected: &Expected<'_>) {
    let server = Server::start(home);
    let api = Api::admin(&server, home).await;
    server.settled().await;
    books_agree(home, &server);
    let found = stories(&api, &expected.until).await;
    let mut cut = 0;
    for (name, story) in &expected.stories {
        let found = found.get(name).map(Vec::as_slice).unwrap_or_default();
        assert!(story.starts_with(found), "{name} was {story:?} and is {found:?}");
        cut += usize::from(found.len() < story.len());
    }
    assert!(cut <= expected.on_their_way, "{cut} orders are not as they were");
    let lost: Vec<_> = expected
        .acknowledged
        .iter()
        .filter(|name| !found.contains_key(*name))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let odd: Vec<_> = found
        .keys()
        .filter(|name| !expected.stories.contains_key(*name))
        .collect();
    assert!(odd.is_empty(), "orders that there were not: {odd:?}");
    // What was shipped, and nothing else, has left the stock.
    let orders = api.all_orders().await;
    for item in api.all_items().await {
        let lines = orders.iter().flat_map(|order| &order.lines);
        let shipped: i64 = lines
            .filter(|line| line.item == item.name)
            .map(|line| line.fulfilled_quantity)
            .sum();
        assert_eq!(item.on_hand, stock() - shipped, "{}", item.name);
    }
    server.stop(home);
    verify(home);
}

/// `docket verify` has nothing to say.
fn books_agree(home: &Home, server: &Server) {
    let address = format!("http://{}", server.grpc);
    let run = home
        .command(&["verify", "--addr", &address, "--api-key", &home.admin_key()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_as_it_was_then_or_at_a_time_before() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    work::furnish(&api).await;
    let repository = Repository::new(Some("backup.key"));

    let work = Work::start(&api, "first");
    work.goes_on().await;
    let acknowledged = work.acknowledged();
    let first = repository.create(&server, &home);
    assert!(first.full, "{first:?}");
    work.goes_on().await;
    let between = Timestamp::from(SystemTime::now());
    work.goes_on().await;
    let second = repository.create(&server, &home);
    assert!(!second.full && second.bytes < first.bytes * 4, "{second:?}");
    work.end().await;
    server.settled().await;
    let last = repository.create(&server, &home);

    assert_eq!(repository.list(&home), [&*first.id, &*second.id, &*last.id]);
    repository.verify(&home);
    let then = async |until: Timestamp, on_their_way: usize, acknowledged| Expected {
        stories: stories(&api, &until).await,
        until,
        on_their_way,
        acknowledged,
    };
    // What was acknowledged before the backup was begun is in it.
    let expected = then(first.until, CLIENTS, &acknowledged).await;
    let restored = repository.restore(&[&first.id], &home);
    check_restored(&restored, &expected).await;

    let expected = then(between, CLIENTS, &acknowledged).await;
    let restored = repository.restore(&["--at", &between.to_string()], &home);
    check_restored(&restored, &expected).await;

    // At rest all of it is equal.
    let restored = repository.restore(&[], &home);
    let copy = Server::start(&restored);
    let of_copy = Api::admin(&copy, &restored).await;
    copy.settled().await;
    assert_eq!(of_copy.all_orders().await, api.all_orders().await);
    assert_eq!(of_copy.all_items().await, api.all_items().await);
    assert_eq!(of_copy.all_customers().await, api.all_customers().await);
    let expected = then(last.until, 0, &acknowledged).await;
    copy.stop(&restored);
    check_restored(&restored, &expected).await;
    println!(
        "{} orders, {} before the first backup; backups of {}, {} and {} bytes",
        expected.stories.len(),
        acknowledged.len(),
        first.bytes,
        second.bytes,
        last.bytes
    );
    server.stop(&home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_three_nodes_with_leads_and_clocks_apart_is_one_state() {
    let mut nodes = Nodes::new();
    nodes.found();
    // One is ahead of the others, and one behind: by more than anything takes that goes from one to the other.
    let clocks = tempfile::tempdir().unwrap();
    for (node, offset_ms) in [(2, "700"), (3, "-700")] {
        let clock = clocks.path().join(format!("{node}"));
        fs::write(&clock, offset_ms).unwrap();
        nodes.variable(node, docket_cluster::clock::VARIABLE, clock.to_str().unwrap());
    }
    let first = Server::start(nodes.home(1));
    let (second, third) = (nodes.launch(2), nodes.launch(3));
    nodes.until_voters(&first, &[1, 2, 3]).await;
    let api = Api::admin(&first, nodes.home(1)).await;
    work::furnish(&api).await;
    // Each of them leads something.
    let balance = v1::BalanceLeadersRequest {};
    NodeServiceClient::new(api.authenticated())
        .balance_leaders(balance)
        .await
        .unwrap();
    leads_are_apart(&[&first, &second, &third]).await;
    let repository = Repository::new(None);

    let work = Work::start(&api, "three");
    work.goes_on().await;
    let acknowledged = work.acknowledged();
    // Of one that leads one shard and follows in the others.
    let whole = repository.create(&second, nodes.home(1));
    work.goes_on().await;
    let between = Timestamp::from(SystemTime::now());
    work.goes_on().await;
    // And what came since, of another.
    let since = repository.create(&third, nodes.home(1));
    assert!(whole.full && !since.full);
    work.end().await;

    let at = between.to_string();
    // What was acknowledged before that time may have been stamped later.
    let nothing = BTreeSet::new();
    for (until, args, acknowledged) in [
        (whole.until, &[&*whole.id][..], &acknowledged),
        (between, &["--at", &at], &nothing),
        (since.until, &[], &acknowledged),
    ] {
        let expected = Expected {
            stories: stories(&api, &until).await,
            until,
            on_their_way: CLIENTS,
            acknowledged,
        };
        let restored = repository.restore(args, nodes.home(1));
        check_restored(&restored, &expected).await;
    }
    third.stop(nodes.home(3));
    second.stop(nodes.home(2));
    first.stop(nodes.home(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_with_one_flipped_bit_is_refused_and_a_restore_that_broke_off_is_gone_on_with() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    work::furnish(&api).await;
    let work = Work::start(&api, "bit");
    work.goes_on().await;
    let acknowledged = work.acknowledged();
    work.end().await;
    server.settled().await;
    for key in [None, Some("backup.key")] {
        let repository = Repository::new(key);
        let made = repository.create(&server, &home);
        for file in repository.files() {
            repository.flip_a_bit(&file);
            let refused = repository.fails(&["verify"], &home);
            assert!(
                refused.contains(file.file_name().unwrap().to_str().unwrap()),
                "{refused}"
            );
            let refused = repository.restore_fails(&home);
            assert!(
                refused.contains("damaged") || refused.contains("another key"),
                "{}: {refused}",
                file.display()
            );
            repository.flip_a_bit(&file);
        }
        repository.verify(&home);

        // A restore that broke off: a server is not started on it, and it is gone on with.
        let file = repository
            .files()
            .into_iter()
            .find(|file| {
                let name = file.file_name().unwrap().to_str().unwrap();
                name.starts_with("2-log-00000-")
            })
            .unwrap();
        repository.flip_a_bit(&file);
        let half = Home::new();
        let refused = repository.restore_to(&half, &[], &home).unwrap_err();
        assert!(refused.contains("shard-1"), "{refused}");
        let data = half.data();
        let free = "127.0.0.1:0";
        let serve = [
            "serve",
            "--listen",
            free,
            "--admin-listen",
            free,
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let run = half.command(&serve).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains("half restored"), "{said}");
        repository.flip_a_bit(&file);
        // Though there is a newer backup by now.
        assert!(repository.create(&server, &home).id > made.id);
        let done = repository.restore_to(&half, &[], &home).unwrap();
        assert_eq!(done["groups_resumed"], 2, "{done}");
        assert_eq!(done["backup"], made.id, "{done}");
        let full = repository.restore_to(&half, &[], &home).unwrap_err();
        assert!(full.contains("is not empty"), "{full}");
        let expected = Expected {
            stories: stories(&api, &made.until).await,
            until: made.until,
            on_their_way: 0,
            acknowledged: &acknowledged,
        };
        Repository::give_key(&home, &half);
        check_restored(&half, &expected).await;
    }
    server.stop(&home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_backs_itself_up_and_says_up_to_when() {
    let repository = Repository::new(Some("backup.key"));
    let place = repository.place();
    let home = Home::new()
        .set("backup.to", place.to_str().unwrap())
        .set("backup.key", repository.key().unwrap());
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    work::furnish(&api).await;
    let begun = Instant::now();
    let until = loop {
        let (_, metrics) = server.get("/metrics").unwrap();
        let mut lines = metrics.lines();
        let found = lines.find_map(|line| line.strip_prefix("docket_backup_until_timestamp_seconds "));
        if let Some(until) = found {
            break until.parse::<f64>().unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "no backup is made: {}", home.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!((now - 60.0..now).contains(&until), "{until}");
    assert_eq!(repository.list(&home).len(), 1);
    repository.verify(&home);
    let restored = repository.restore(&[], &home);
    let copy = Server::start(&restored);
    copy.stop(&restored);
    server.stop(&home);
}

/// Waits until each of these leads a shard.
async fn leads_are_apart(servers: &[&Server]) {
    let begun = Instant::now();
    let leads = |server: &Server| {
        let status = server
            .get("/status?local")
            .map(|(_, body)| body)
            .unwrap_or_default();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        let groups = status["groups"].as_array().cloned().unwrap_or_default();
        let is_led = |group: &serde_json::Value| group["leader"] == true && group["group"] != "meta";
        groups.iter().any(is_led)
    };
    while !servers.iter().all(|server| leads(server)) {
        assert!(begun.elapsed() < PATIENCE, "the leads stay together");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

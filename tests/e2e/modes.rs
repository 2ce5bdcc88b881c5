//! The modes of failure of `docs/failure-modes.md`, each made on real nodes: seen is what the page says is seen, done is what the page says is done
//! (its commands are read from it, not written down here), all is well behind it, and nothing that was acknowledged is lost.
//!
//! | file | modes of |
//! |---|---|
//! | `alone.rs` | a node that stands alone: its process, its memory (`memory.rs`), its callers, and the people who run it |
//! | `disk.rs` | its disk, with what the page says where that is gone |
//! | `others.rs` | those on whom it depends, who watches it, and its clock |
//! | `cluster.rs` | three nodes on a bad network |
//!
//! Those of `others.rs` and `cluster.rs` take 15 and 40 seconds, and run with `DOCKET_MODES` alone: `.ci/slow` sets it. Those that another test makes already
//! are named with it; what the page says of them is held against that test. That each alert fires is shown in `alerts.rs`.

mod alone;
mod cluster;
mod disk;
mod memory;
mod others;
mod page;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use self::page::Mode;
use crate::{
    api::{Api, order},
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

const ALONE: &str = "what_befalls_a_node_that_stands_alone_is_as_the_page_says";
const DISK: &str = "what_befalls_a_disk_is_as_the_page_says";
const OTHERS: &str = "what_befalls_those_it_depends_on_is_as_the_page_says";
const CLUSTER: &str = "what_befalls_three_nodes_is_as_the_page_says";
const OPERATED: &str = "alerts_of_a_node_that_is_badly_off_fire_when_their_causes_are_made";
const OF_THREE: &str = "alerts_of_a_cluster_fire_when_their_causes_are_made";

/// The longer of them run where this is set.
const ASKED_FOR: &str = "DOCKET_MODES";

/// Each mode of the page, and the test that makes it.
const MADE_BY: [(&str, &str); 39] = [
    ("a node is killed, or its machine", CLUSTER),
    ("a node that stands alone is killed", ALONE),
    ("it does not become ready", CLUSTER),
    ("it starts again and again", DISK),
    ("a panic in a call or an actor", ALONE),
    ("a command that panics each time", ALONE),
    (
        "it fills up",
        "a_disk_that_fills_up_refuses_writes_and_takes_them_again_when_there_is_space",
    ),
    (
        "a write or a sync fails",
        "a_journal_that_cannot_be_written_ends_the_server_and_names_the_file",
    ),
    (
        "its disk is slow",
        "orders_that_wait_for_a_slow_disk_use_up_the_budget",
    ),
    ("bytes of it change", DISK),
    ("it lost what it had reported as synced", DISK),
    (
        "it was taken away, or copied",
        "nothing_that_was_said_to_a_node_with_a_key_is_in_any_of_its_files",
    ),
    (
        "its key is lost, or another one is configured",
        "a_key_that_is_missing_or_wrong_is_named_and_another_takes_its_place",
    ),
    ("it is gone", CLUSTER),
    ("a node is cut off", CLUSTER),
    ("no part has most of a group", CLUSTER),
    ("the network is slow, or loses packets", CLUSTER),
    ("a certificate ends", OF_THREE),
    ("clocks are apart", OF_THREE),
    ("a clock jumps ahead", OTHERS),
    (
        "more orders than it does in time",
        "what_is_too_much_is_refused_and_afterwards_all_is_as_before",
    ),
    ("one caller is too much: too often, or too many at a time", ALONE),
    ("somebody guesses credentials", ALONE),
    ("connections or files run out", ALONE),
    ("a watch is not read", OTHERS),
    ("memory runs out", ALONE),
    ("a payment provider is down", OTHERS),
    ("a provider declines what was authorised", OTHERS),
    ("a webhook's receiver is down", OTHERS),
    ("the server of secrets is down", OPERATED),
    (
        "whoever collects traces is down",
        "a_collector_that_is_away_is_no_reason_to_answer_late_and_what_is_lost_is_counted",
    ),
    ("a mistake in the configuration", ALONE),
    (
        "two nodes with one data directory's copy",
        "a_lost_disk_and_a_copied_one_are_refused_by_name",
    ),
    ("a node with the wrong cluster's certificates", CLUSTER),
    ("the last administrator's key is lost", ALONE),
    ("a wrong price or stock", ALONE),
    ("replicas differ", OF_THREE),
    ("books disagree", OPERATED),
    ("an order is half-way for long", OTHERS),
];

/// The number that a series has; 0 where there is none yet.
fn metric(server: &Server, series: &str) -> f64 {
    let (_, page) = server.get("/metrics").unwrap();
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_default()
}

/// Waits for something.
async fn until(what: &str, home: &Home, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}: {}", home.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Orders that were acknowledged, by the ids of their requests.
#[derive(Default)]
struct Acknowledged {
    orders: BTreeMap<String, String>,
    placed: usize,
}

impl Acknowledged {
    /// Places one, which has to be done.
    async fn place(&mut self, api: &Api) -> String {
        self.try_to_place(api).await.unwrap()
    }

    /// Places one, whatever comes of it.
    async fn try_to_place(&mut self, api: &Api) -> Result<String, tonic::Status> {
        self.placed += 1;
        self.repeat(api, &format!("mode-{}", self.placed)).await
    }

    /// Sends a request, which may have been sent before.
    async fn repeat(&mut self, api: &Api, request_id: &str) -> Result<String, tonic::Status> {
        let request = order(request_id, "ada", &[("nut", 1, 5)]);
        let placed = api.orders().place_order(request).await?.into_inner();
        let before = self.orders.insert(request_id.to_owned(), placed.name.clone());
        assert!(
            before.is_none_or(|before| before == placed.name),
            "{request_id} is done twice"
        );
        Ok(placed.name)
    }

    /// All is well: orders are placed, and all that were acknowledged are there.
    async fn are_there(&mut self, api: &Api) {
        self.place(api).await;
        let there = api.all_orders().await.into_iter().map(|order| order.name);
        let there: BTreeSet<_> = there.collect();
        let lost: Vec<_> = self
            .orders
            .values()
            .filter(|name| !there.contains(*name))
            .collect();
        assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
    }
}

/// A shop with one customer and one item.
async fn furnish(api: &Api) {
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000).await;
}

#[test]
fn every_mode_of_the_page_has_its_test_and_what_it_names_is_seen_there() {
    let page: BTreeSet<String> = page::modes().into_iter().collect();
    assert!(page.len() > 30 && page::modes().len() == page.len(), "{page:?}");
    let made: BTreeSet<String> = MADE_BY.iter().map(|(mode, _)| (*mode).to_owned()).collect();
    assert_eq!(page, made, "each mode, and who makes it");
    let here = [
        include_str!("modes/alone.rs"),
        include_str!("modes/cluster.rs"),
        include_str!("modes/disk.rs"),
        include_str!("modes/others.rs"),
    ];
    let here: String = here.concat().split_whitespace().collect();
    for (what, test) in MADE_BY {
        let (_, source) = page::source_of(test).unwrap_or_else(|| panic!("{what}: there is no test {test}"));
        let call = format!("Mode::of(\"{what}\")").replace(' ', "");
        if [ALONE, CLUSTER, DISK, OTHERS].contains(&test) {
            assert!(here.contains(&call), "{test} does not make {what:?}");
            continue;
        }
        // Of a code its name in Rust, too.
        let camel = |name: &str| {
            let word = |word: &str| format!("{}{}", &word[..1], word[1..].to_lowercase());
            name.split('_')
                .filter(|part| !part.is_empty())
                .map(word)
                .collect::<String>()
        };
        let unseen = Mode::of(what).unseen();
        let unseen: Vec<_> = unseen
            .iter()
            .filter(|name| !source.contains(*name) && !source.contains(&camel(name)))
            .collect();
        assert!(
            unseen.is_empty(),
            "{what}: the page names {unseen:?}, and {test} sees nothing of that"
        );
    }
}

#[test]
fn the_page_says_which_test_makes_which_mode() {
    let mut by_test: Vec<(&str, Vec<&str>)> = Vec::new();
    for (what, test) in MADE_BY {
        match by_test.iter_mut().find(|(other, _)| *other == test) {
            Some((_, modes)) => modes.push(what),
            None => by_test.push((test, vec![what])),
        }
    }
    let line = |(test, modes): (&str, Vec<&str>)| {
        let (file, _) = page::source_of(test).unwrap();
        let is_slow = [CLUSTER, OTHERS].contains(&test);
        let slow = if is_slow { " (slow suite)" } else { "" };
        format!("- `{file}`, `{test}`{slow}: {}\n", modes.join("; "))
    };
    page::ends_with(&by_test.into_iter().map(line).collect::<String>());
}

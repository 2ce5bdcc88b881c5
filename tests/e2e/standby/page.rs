//! `docs/standby.md`, followed: changed over with nothing lost, the old one follows, the new one is lost, and the old one takes its place again. The commands
//! are the page's.

use docket_proto::v1;

use super::{Place, follows, refusal, status, until};
use crate::{
    api::{Api, Credentials, order, reason},
    server::Server,
};

/// What the page calls the standby.
const STANDBY: &str = "https://10.1.0.1:7070";

/// The page's commands with this word, which are in blocks of their own.
fn commands(with: &str) -> Vec<String> {
    let page = include_str!("../../../docs/standby.md");
    let blocks = page.split("```sh run-by=\"tests/e2e/standby/page.rs\"\n").skip(1);
    let commands = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
    commands
        .filter(|command| command.contains(with))
        .map(str::to_owned)
        .collect()
}

/// Types one of them: at this standby.
#[track_caller]
fn types(command: &str, at: &Place, key: &str) -> String {
    assert!(command.contains(STANDBY), "{command}");
    let command = command.replace(STANDBY, &at.url());
    let mut words: Vec<&str> = command.split_whitespace().skip(1).collect();
    words.extend(["--api-key", key]);
    let run = at.home.command(&words).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{command}: {said}: {}", at.home.log());
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// What a table of fields says of one.
fn field(told: &str, name: &str) -> String {
    let value = told.lines().find_map(|line| line.strip_prefix(name));
    value
        .unwrap_or_else(|| panic!("no {name} in {told}"))
        .trim()
        .to_owned()
}

async fn start(place: &Place) -> Server {
    let mut server = place.start();
    assert!(server.ready(&place.home), "{}", place.home.log());
    server
}

async fn place(api: &Api, request_id: &str) -> String {
    let placed = api
        .orders()
        .place_order(order(request_id, "ada", &[("nut", 1, 5)]))
        .await;
    placed.unwrap().into_inner().name
}

/// Waits until the standby has all that was acknowledged before now.
async fn catches_up(at: &Place, api: &Api, name: &str) {
    let begun = std::time::Instant::now();
    while !super::names(api).await.contains(name) {
        assert!(
            begun.elapsed() < crate::server::PATIENCE,
            "{name} does not arrive: {}",
            at.home.log()
        );
        tokio::time::sleep(crate::server::LOOK_AGAIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_followed_there_and_back() {
    let [in_order, by_force] = &commands("docket standby promote")[..] else {
        panic!("the page has other commands: {:?}", commands(""));
    };
    assert_eq!(commands("").len(), 2);
    assert!(by_force.ends_with("--force") && !in_order.contains("--force"));

    let (first, second) = (Place::new(), Place::new());
    let primary = start(&first).await;
    let key = first.home.admin_key();
    let at_first = Api::admin(&primary, &first.home).await;
    at_first.customer("ada", i64::MAX / 4).await;
    at_first.item("nut", 5, 1_000_000).await;
    let before = place(&at_first, "before").await;
    second.follow(&first, &key);
    let following = second.start();
    let at_second = Api::admin_later(&following, &first.home).by(Credentials::key(&key));
    until(&second, &at_second, "it does not follow", follows).await;

    // "Changing over, with nothing lost".
    let told = types(in_order, &second, &key);
    assert_eq!(
        (field(&told, "epoch"), field(&told, "clean")),
        ("2".into(), "yes".into())
    );
    assert_eq!(reason(&refusal(&at_first).await), "FENCED");
    let after = place(&at_second, "after").await;
    assert_eq!(
        place(&at_second, "before").await,
        before,
        "what was before is here"
    );

    // "When the old one comes back".
    primary.stop(&first.home);
    first.follow(&second, &key);
    let old = first.start();
    let told = until(&first, &at_first, "the old one does not follow", follows).await;
    assert_eq!(told.primary_address, second.url());
    assert!(first.home.data().join("fenced-epoch-2/identity.json").exists());
    catches_up(&first, &at_first, &after).await;

    // "When the primary is lost".
    following.kill();
    let told = types(by_force, &first, &key);
    assert_eq!(field(&told, "epoch"), "3");
    assert_ne!(field(&told, "missing"), "", "the primary was not reached");
    assert_eq!(place(&at_first, "after").await, after, "it was here, and is");
    let last = place(&at_first, "last").await;

    // The one that was lost hears of it before it takes a write.
    let lost = second.start();
    let fenced = |told: &v1::Standby| told.role == "fenced";
    until(&second, &at_second, "it is not fenced", fenced).await;
    assert_eq!(reason(&refusal(&at_second).await), "FENCED");
    assert_eq!(status(&at_first).await.unwrap().epoch, 3);
    assert!(super::names(&at_first).await.contains(&last));
    lost.stop(&second.home);
    old.stop(&first.home);
}

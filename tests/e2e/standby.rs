//! A second cluster follows a first one under load, takes its place with nothing lost, and is followed by it in turn; of two none can take its place twice; and what a
//! drill measures where the first one is killed.

#[path = "standby/blue_green.rs"]
mod blue_green;
#[path = "standby/page.rs"]
mod page;
#[path = "standby/three.rs"]
mod three;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use docket_proto::v1::{self, standby_service_client::StandbyServiceClient};
use parking_lot::Mutex;
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::{
    api::{Api, Authenticated, Credentials, order, reason, reason_of},
    server::{Home, LOOK_AGAIN, PATIENCE, Server, free_port, verify},
};

const CUSTOMERS: [&str; 4] = ["ada", "bob", "eve", "joe"];
const ITEMS: [&str; 3] = ["nut", "bolt", "gear"];
/// Orders that must be acknowledged between two events of a test.
const SOME: usize = 60;

/// A server at addresses that stay its own.
pub struct Place {
    pub home: Home,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    pub fn new() -> Self {
        let [grpc, admin] = [free_port(), free_port()];
        Self {
            grpc: grpc.local_addr().unwrap(),
            admin: admin.local_addr().unwrap(),
            home: Home::new(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Has it follow another one at its next start.
    pub fn follow(&self, other: &Self, key: &str) {
        self.follow_nodes(&[other.url()], key, "");
    }

    /// The same of a cluster with these nodes; `more` are lines of the section.
    fn follow_nodes(&self, nodes: &[String], key: &str, more: &str) {
        std::fs::write(self.home.file("primary.key"), key).unwrap();
        self.home.configure(&format!(
            "[standby]\nof = {nodes:?}\napi_key = \"file:{}\"\nadvertise = \"{}\"\npoll_ms = 100\n{more}",
            self.home.file("primary.key").display(),
            self.url()
        ));
    }

    pub fn start(&self) -> Server {
        Server::launch_at(&self.home, self.grpc, self.admin)
    }
}

fn standby(api: &Api) -> StandbyServiceClient<Authenticated> {
    StandbyServiceClient::new(api.authenticated())
}

async fn status(api: &Api) -> Result<v1::Standby, Status> {
    let asked = standby(api).get_standby(v1::GetStandbyRequest {}).await;
    asked.map(tonic::Response::into_inner)
}

/// Waits until a server answers, and it is so.
pub async fn until(
    place: &Place,
    api: &Api,
    what: &str,
    is_so: impl Fn(&v1::Standby) -> bool,
) -> v1::Standby {
    until_of(&place.home, api, what, is_so).await
}

/// The same of one that lives there.
async fn until_of(home: &Home, api: &Api, what: &str, is_so: impl Fn(&v1::Standby) -> bool) -> v1::Standby {
    let begun = Instant::now();
    loop {
        let told = status(api).await;
        match &told {
            Ok(told) if is_so(told) => return told.clone(),
            _ => {}
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {told:?}: {}", home.log());
        sleep(LOOK_AGAIN).await;
    }
}

pub fn follows(told: &v1::Standby) -> bool {
    told.role == "standby" && told.error.is_empty() && told.lag.is_some()
}

/// Clients that place orders until they are told to stop, and go on through whatever refuses them.
struct Load {
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(api: &Api, name: &'static str) -> Self {
        let (acknowledged, over) = (
            Arc::<Mutex<BTreeSet<String>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let client = |(number, customer): (usize, &'static str)| {
            let (api, over, acknowledged) = (api.clone(), Arc::clone(&over), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for round in 0.. {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    let id = format!("{name}-{customer}-{round}");
                    let item = |at: usize| ITEMS[(number + round + at) % ITEMS.len()];
                    let lines = [(item(0), 1, 5), (item(1), 2, 5)];
                    match api.orders().place_order(order(&id, customer, &lines)).await {
                        Ok(placed) => {
                            acknowledged.lock().insert(placed.into_inner().name);
                        }
                        Err(_) => sleep(LOOK_AGAIN).await,
                    }
                }
            })
        };
        Self {
            clients: CUSTOMERS.into_iter().enumerate().map(client).collect(),
            acknowledged,
            over,
        }
    }

    async fn goes_on(&self) {
        let (begun, target) = (Instant::now(), self.acknowledged.lock().len() + SOME);
        while self.acknowledged.lock().len() < target {
            assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged any more");
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn end(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Release);
        for client in self.clients {
            client.await.unwrap();
        }
        std::mem::take(&mut self.acknowledged.lock())
    }
}

async fn names(api: &Api) -> BTreeSet<String> {
    api.all_orders()
        .await
        .into_iter()
        .map(|order| order.name)
        .collect()
}

/// Why a server takes no order.
async fn refusal(api: &Api) -> Status {
    let asked = api.orders().place_order(order("", "ada", &[("nut", 1, 5)])).await;
    asked.expect_err("it takes orders")
}

fn books_agree(place: &Place, key: &str) {
    let run = place
        .home
        .command(&["verify", "--addr", &place.url(), "--api-key", key])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_follows_under_load_and_takes_over_with_nothing_lost() {
    let (first, second, third) = (Place::new(), Place::new(), Place::new());
    let mut primary = first.start();
    assert!(primary.ready(&first.home), "{}", first.home.log());
    let key = first.home.admin_key();
    let at_first = Api::admin(&primary, &first.home).await;
    for customer in CUSTOMERS {
        at_first.customer(customer, i64::MAX / 4).await;
    }
    for item in ITEMS {
        at_first.item(item, 5, 1_000_000).await;
    }
    let load = Load::start(&at_first, "before");
    load.goes_on().await;

    second.follow(&first, &key);
    let following = second.start();
    let at_second = Api::admin_later(&following, &first.home);
    let told = until(&second, &at_second, "it does not follow", follows).await;
    assert_eq!((told.epoch, told.primary_address), (1, first.url()));
    assert_eq!(status(&at_first).await.unwrap().standby_address, second.url());
    let (code, body) = following.get("/readyz?verbose").unwrap();
    assert!(code == 503 && body.contains("standby"), "{code} {body}");
    // What is here can be read, and nothing be written.
    let refused = refusal(&at_second).await;
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::FailedPrecondition, "STANDBY".to_owned())
    );
    assert!(refused.message().contains(&first.url()), "{refused}");
    load.goes_on().await;
    let begun = Instant::now();
    while names(&at_second).await.len() < SOME {
        assert!(begun.elapsed() < PATIENCE, "no orders arrive");
        sleep(LOOK_AGAIN).await;
    }

    // Of two none could know which of them is to take over.
    third.follow(&first, &key);
    let status_of_third = third.start().ended();
    assert!(
        !status_of_third.success() && third.home.whole_log().contains("standby forget"),
        "{}",
        third.home.log()
    );

    // Killed in the midst of it, it goes on.
    following.kill();
    load.goes_on().await;
    let following = second.start();
    until(&second, &at_second, "it does not go on", follows).await;
    load.goes_on().await;

    let request = v1::PromoteStandbyRequest { force: false };
    let promoted = standby(&at_second).promote_standby(request).await;
    let promoted = promoted
        .unwrap_or_else(|status| panic!("{status}: {}", second.home.log()))
        .into_inner();
    assert!(promoted.clean && promoted.epoch == 2, "{promoted:?}");
    let fenced = refusal(&at_first).await;
    assert_eq!(
        (fenced.code(), reason(&fenced)),
        (Code::FailedPrecondition, "FENCED".to_owned())
    );
    assert!(fenced.message().contains(&second.url()), "{fenced}");
    let acknowledged = load.end().await;
    let there = names(&at_second).await;
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged orders are lost",
        lost.len(),
        acknowledged.len()
    );
    let load = Load::start(&at_second, "after");
    load.goes_on().await;
    let after = load.end().await;

    // Nor is there a second promotion, of either.
    for force in [false, true] {
        let again = standby(&at_second)
            .promote_standby(v1::PromoteStandbyRequest { force })
            .await;
        assert_eq!(reason(&again.unwrap_err()), "ALREADY_PROMOTED");
        let other = standby(&at_first)
            .promote_standby(v1::PromoteStandbyRequest { force })
            .await;
        assert_eq!(reason(&other.unwrap_err()), "NO_STANDBY");
    }
    following.settled().await;
    books_agree(&second, &key);

    // Both come back as what they are.
    primary.kill();
    following.kill();
    let mut promoted = second.start();
    assert!(promoted.ready(&second.home), "{}", second.home.log());
    let told = until(&second, &at_second, "it is no primary", |told| {
        told.role == "primary"
    })
    .await;
    assert_eq!(told.epoch, 2);
    let old = first.start();
    until(&first, &at_first, "it forgot that it was fenced", |told| {
        told.role == "fenced"
    })
    .await;
    assert_eq!(reason(&refusal(&at_first).await), "FENCED");
    let begun = Instant::now();
    while !first.home.data().join("fenced.json").exists() {
        assert!(begun.elapsed() < PATIENCE, "the fence is not written down");
        sleep(LOOK_AGAIN).await;
    }
    old.stop(&first.home);

    // And the old one can follow; what it had is kept.
    first.follow(&second, &key);
    let old = first.start();
    until(&first, &at_first, "the old one does not follow", follows).await;
    assert!(
        first
            .home
            .data()
            .join("fenced-epoch-2")
            .join("identity.json")
            .exists()
    );
    let begun = Instant::now();
    while !after.is_subset(&names(&at_first).await) {
        assert!(
            begun.elapsed() < PATIENCE,
            "it does not get what the new one has taken"
        );
        sleep(LOOK_AGAIN).await;
    }
    old.stop(&first.home);
    promoted.stop(&second.home);
    verify(&second.home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_forgotten_is_promoted_by_nobody() {
    let (first, second) = (Place::new(), Place::new());
    let mut primary = first.start();
    assert!(primary.ready(&first.home), "{}", first.home.log());
    let key = first.home.admin_key();
    let at_first = Api::admin(&primary, &first.home).await;
    second.follow(&first, &key);
    let following = second.start();
    let at_second = Api::admin_later(&following, &first.home).by(Credentials::key(&key));
    until(&second, &at_second, "it does not follow", follows).await;

    let forgotten = standby(&at_first)
        .forget_standby(v1::ForgetStandbyRequest {})
        .await;
    assert_eq!(forgotten.unwrap().into_inner().address, second.url());
    until(
        &second,
        &at_second,
        "it does not hear that it was forgotten",
        |told| !told.error.is_empty(),
    )
    .await;
    primary.kill();
    for force in [false, true] {
        let promoted = standby(&at_second)
            .promote_standby(v1::PromoteStandbyRequest { force })
            .await;
        assert_eq!(
            reason_of(&promoted.unwrap_err()).as_deref(),
            Some("STANDBY_UNKNOWN")
        );
    }
    following.stop(&second.home);
}

#[test]
fn a_drill_measures_what_the_loss_of_a_primary_costs() {
    let home = Home::new();
    let run = home
        .command(&[
            "drill",
            "--for",
            "2s",
            "--clients",
            "4",
            "--report",
            "drill.json",
            "-o",
            "json",
        ])
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(run.status.success(), "{said}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.file("drill.json")).unwrap()).unwrap();
    println!("{report:#}");
    let number = |name: &str| {
        report[name]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    assert!(
        number("acknowledged") > 0.0 && number("acknowledged_after") > 0.0,
        "{report}"
    );
    assert!(
        number("rto_seconds") > 0.0 && number("rto_seconds") < 30.0,
        "{report}"
    );
    assert_eq!(number("lost_before_point"), 0.0);
    assert_eq!(report["old_primary_refused"], "FENCED");
    assert_eq!(report["promoted_twice"], "ALREADY_PROMOTED");
    assert_eq!(report["wrong"], serde_json::json!([]));
}

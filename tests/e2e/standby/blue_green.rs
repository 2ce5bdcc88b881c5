//! `deploy/upgrade/blue-green` under load: clients go from a cluster with the old program to one with the new, and back again where that is bad, and no order is lost or
//! refused for good.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::*;

/// What the programs say that they are, and what they speak of the peer protocol.
const PROGRAM: &str = "DOCKET_TEST_PROGRAM";
const OLD: &str = "0.1.0/10";
const NEW: &str = "0.2.0/10";
/// Refusals behind which the same request is made again: it was not done, or is not done twice.
const SAFE: [Code; 2] = [Code::FailedPrecondition, Code::Unavailable];

/// Clients that place orders where a file says, each again until it is acknowledged.
struct Moving {
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    /// How often a request was refused, by code; and the longest that one took with all its tries.
    refused: Arc<Mutex<BTreeMap<String, usize>>>,
    longest: Arc<Mutex<std::time::Duration>>,
    over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Moving {
    fn start(to: &Path, apis: &[(String, Api)]) -> Self {
        let moving = Self {
            acknowledged: Arc::default(),
            refused: Arc::default(),
            longest: Arc::default(),
            over: Arc::default(),
            clients: Vec::new(),
        };
        let client = |(number, customer): (usize, &'static str)| {
            let (to, apis) = (to.to_owned(), apis.to_vec());
            let (acknowledged, refused) = (Arc::clone(&moving.acknowledged), Arc::clone(&moving.refused));
            let (longest, over) = (Arc::clone(&moving.longest), Arc::clone(&moving.over));
            tokio::spawn(async move {
                for round in 0.. {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    let begun = Instant::now();
                    let item = ITEMS[(number + round) % ITEMS.len()];
                    let placed = order(&format!("moving-{customer}-{round}"), customer, &[(item, 1, 5)]);
                    loop {
                        let address = fs::read_to_string(&to).unwrap();
                        let (_, api) = apis.iter().find(|(at, _)| *at == address.trim()).unwrap();
                        match api.orders().place_order(placed.clone()).await {
                            Ok(placed) => {
                                acknowledged.lock().insert(placed.into_inner().name);
                                break;
                            }
                            Err(status) => {
                                assert!(SAFE.contains(&status.code()), "{status}");
                                *refused
                                    .lock()
                                    .entry(reason_of(&status).unwrap_or_default())
                                    .or_default() += 1;
                                sleep(LOOK_AGAIN).await;
                            }
                        }
                    }
                    let took = begun.elapsed();
                    let mut longest = longest.lock();
                    *longest = took.max(*longest);
                }
            })
        };
        let clients = CUSTOMERS.into_iter().enumerate().map(client).collect();
        Self { clients, ..moving }
    }

    async fn goes_on(&self) {
        let (begun, target) = (Instant::now(), self.acknowledged.lock().len() + SOME);
        while self.acknowledged.lock().len() < target {
            assert!(
                begun.elapsed() < PATIENCE,
                "nothing is acknowledged any more: {:?}",
                self.refused.lock()
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn end(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Release);
        for client in self.clients {
            client.await.unwrap();
        }
        println!(
            "  {} orders, the longest took {:.1?} with all its tries; refused meanwhile: {:?}",
            self.acknowledged.lock().len(),
            self.longest.lock(),
            self.refused.lock()
        );
        std::mem::take(&mut self.acknowledged.lock())
    }
}

/// The script, and what it is given.
struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Moves clients there; with a way back where its gate is a file that must be there.
    fn run(&self, green: &Place, key: &str, gate: Option<&Path>) -> tokio::task::JoinHandle<Output> {
        let to = self.file("to");
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/upgrade/blue-green"));
        command
            .arg(green.url())
            .arg(format!(
                "printf %s \"$DOCKET_TO\" > '{0}.new' && mv '{0}.new' '{0}'",
                to.display()
            ))
            .env("DOCKET", env!("CARGO_BIN_EXE_docket"))
            .env("DOCKET_API_KEY", key)
            .env("DOCKET_WATCH", "2")
            .stdin(Stdio::null());
        if let Some(gate) = gate {
            // The test starts blue again when it is told, and says when it has.
            let back = format!(
                "touch '{0}'; until [ -e '{1}' ]; do sleep 0.1; done",
                self.file("back").display(),
                self.file("started").display()
            );
            command
                .arg(back)
                .env("DOCKET_GATE", format!("test -e '{}'", gate.display()));
        }
        tokio::task::spawn_blocking(move || command.output().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_move_to_a_cluster_with_the_new_program_and_back_where_it_is_bad() {
    if !cfg!(debug_assertions) {
        println!(
            "SKIPPED: the program is built without debug assertions, and is no other version than its own"
        );
        return;
    }
    let (mut blue, mut green) = (Place::new(), Place::new());
    blue.home = blue.home.variable(PROGRAM, OLD);
    green.home = green.home.variable(PROGRAM, NEW);
    let mut of_blue = blue.start();
    assert!(of_blue.ready(&blue.home), "{}", blue.home.log());
    let key = blue.home.admin_key();
    let at_blue = Api::admin(&of_blue, &blue.home).await;
    for customer in CUSTOMERS {
        at_blue.customer(customer, i64::MAX / 4).await;
    }
    for item in ITEMS {
        at_blue.item(item, 5, 1_000_000).await;
    }
    green.follow(&blue, &key);
    let of_green = green.start();
    let at_green = Api::admin_later(&of_green, &blue.home);
    let script = Script::new();
    fs::write(script.file("to"), blue.url()).unwrap();
    let load = Moving::start(
        &script.file("to"),
        &[(blue.url(), at_blue.clone()), (green.url(), at_green.clone())],
    );
    load.goes_on().await;

    // To green, which is found to be bad: its gate is a file that is not there.
    let begun = Instant::now();
    let run = script.run(&green, &key, Some(&script.file("well")));
    while !script.file("back").exists() {
        assert!(
            begun.elapsed() < PATIENCE * 2 && !run.is_finished(),
            "the way back is not taken"
        );
        sleep(LOOK_AGAIN).await;
    }
    until(&green, &at_green, "it was not promoted", |told| {
        told.role == "primary"
    })
    .await;
    load.goes_on().await;
    of_blue.stop(&blue.home);
    blue.follow(&green, &key);
    let of_blue = blue.start();
    fs::write(script.file("started"), "").unwrap();
    let ended = run.await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    println!("{said}");
    assert_eq!(ended.status.code(), Some(10), "{said}");
    until(&blue, &at_blue, "it was not promoted", |told| {
        told.role == "primary" && told.epoch == 3
    })
    .await;
    load.goes_on().await;

    // And again, for good.
    of_green.stop(&green.home);
    green.follow(&blue, &key);
    let of_green = green.start();
    let ended = script.run(&green, &key, None).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    println!("{said}");
    assert_eq!(ended.status.code(), Some(0), "{said}");
    load.goes_on().await;
    let acknowledged = load.end().await;
    let there = names(&at_green).await;
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged orders are lost",
        lost.len(),
        acknowledged.len()
    );
    of_green.settled().await;
    books_agree(&green, &key);
    of_blue.stop(&blue.home);
    of_green.stop(&green.home);
    verify(&green.home);
}

//! A primary that is served on loopback, and standbys of it, all in this process: each begins from a copy of folders that are made once, as [`seed`](super::seed::seed) makes
//! them.

mod lossy;
mod races;
mod spooled;

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{Call, Docket, NewCustomer, Options, standby::Posture};
use docket_edge::{Authenticate, EdgeConfig, Parts, Server, Unauthenticated, auth::AuthOptions};
use docket_engine::{
    Amount, CustomerId,
    access::{ApiKeyId, Credential, Principal, Role, Scope, Scopes, Username},
};
use docket_sealing::Keyring;
use http::HeaderMap;
use metrics_exporter_prometheus::PrometheusBuilder;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

use super::{
    follow::{Follower, Standby},
    link::Primary as Link,
    seed::{register, seed},
    state::State,
};
use crate::config::Config;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// Beside the meta group.
const SHARDS: u16 = 2;
/// More customers than a test makes.
const MANY: usize = 10_000;

/// Whoever calls is an administrator.
struct Everybody;

impl Authenticate for Everybody {
    fn authenticate(&self, _: &HeaderMap) -> Result<Arc<Principal>, Unauthenticated> {
        Ok(Arc::new(Principal {
            account: Username::new("root").unwrap(),
            role: Role::Admin,
            customer: None,
            scopes: Scopes::of(&Scope::ALL),
            credential: Credential::ApiKey(ApiKeyId([7; 12])),
        }))
    }

    fn known(&self, headers: &HeaderMap) -> Option<Arc<Principal>> {
        self.authenticate(headers).ok()
    }
}

/// The cluster that is followed.
struct Primary {
    docket: Docket,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Primary {
    async fn open(dir: &Path) -> Self {
        let mut options = Options::new(dir);
        options.node.shards = Some(SHARDS);
        let docket = Docket::open(options).await.unwrap();
        docket.ready().await;
        let mut config = EdgeConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ..EdgeConfig::default()
        };
        config.admin.listen = config.listen;
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let parts = Parts {
            authenticator: Arc::new(Everybody),
            ..Parts::of(docket.clone(), &AuthOptions::default(), metrics).unwrap()
        };
        let server = Server::bind(config, parts).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            docket,
            address,
            stop,
            serving,
        }
    }

    async fn close(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap();
        // The server has closed it already, or does not.
        let _ = self.docket.close(PATIENCE).await;
    }
}

/// Folders of a primary, and of a standby that was seeded by it and forgotten.
struct Folders {
    primary: TempDir,
    standby: TempDir,
}

impl Folders {
    async fn make() -> Self {
        let (primary, standby) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let running = Primary::open(primary.path()).await;
        let config = config(standby.path(), running.address);
        seed(&config, &link(&config), standby.path(), &Keyring::default())
            .await
            .unwrap();
        running.docket.forget_standby().await.unwrap();
        running.close().await;
        Self { primary, standby }
    }
}

/// What a standby of a cluster at this address is configured with.
fn config(data_dir: &Path, primary: SocketAddr) -> Config {
    let mut config = Config::default();
    config.server.data_dir = data_dir.to_owned();
    config.standby.of = vec![format!("http://{primary}")];
    config.standby.advertise = Some("http://127.0.0.1:9".to_owned());
    config.standby.poll_ms = 50;
    config
}

fn link(config: &Config) -> Link {
    Link::of(config, "key".to_owned().into())
}

/// Opens a standby's node.
async fn open(dir: &Path) -> Docket {
    let mut options = Options::new(dir);
    options.node.posture = Posture::Standby {
        of: "there".to_owned(),
    };
    Docket::open(options).await.unwrap()
}

/// Registers under this name; what the standby is then.
async fn registered(config: &Config, name: &str) -> Result<State, crate::failure::Failure> {
    let link = link(config);
    let client = link.connect().await?;
    register(config, &link, &client, name.to_owned()).await
}

/// A customer more.
async fn customer(docket: &Docket, id: &str) -> bool {
    let new = NewCustomer {
        id: CustomerId::new(id).unwrap(),
        display_name: id.into(),
        currency: "EUR".parse().unwrap(),
        credit_limit: Amount(1),
    };
    docket.create_customer(Call::default(), new).await.is_ok()
}

async fn customers(docket: &Docket) -> BTreeSet<String> {
    let all = docket.list_customers(Call::default(), None, MANY).await.unwrap();
    all.iter()
        .map(|customer| customer.id.as_str().to_owned())
        .collect()
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        sleep(LOOK).await;
    }
}

/// A folder as a crash would leave it: nobody is told.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}

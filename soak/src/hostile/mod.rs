//! Hostile clients: the built program is attacked, one attack at a time, while an honest client goes on placing orders and others come anew.
//!
//! ```text
//!   quiet ─▶ attack ─▶ quiet ─▶ attack ─▶ …        the honest client's p99 under attack, over its p99 while it is quiet
//!                 └─ memory, connections, what the server answered
//! ```
//!
//! Windows take turns, so that whatever else the machine does is in both. The server is configured as it is shipped, but for
//! [`CONFIGURATION`]. Attackers come from other addresses of the loopback network than the honest client, at bounded rates
//! ([`Force`]): on one machine they share its processors with the server.

mod attack;
mod calls;
mod connections;
mod crew;
mod frames;
mod honest;
mod http1;
mod operators;
mod outcome;
mod rest;
mod wire;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use tonic::transport::{Certificate, ClientTlsConfig};

pub use self::{
    attack::{Attack, Force, Held},
    honest::Found,
    outcome::{GROWTH_MAX_BYTES, Outcome, RATIO_MAX, Verdict},
};
use self::{
    crew::{Crew, Ground, Notes},
    honest::Honest,
};
use crate::{Error, Server, server::exchange};

/// What differs from the defaults: a handshake that is waited for five seconds would outlast short windows; and there is REST.
pub const CONFIGURATION: &str =
    "[connections]\nhandshake_ms = 1000\n\n[rest]\nlisten = \"127.0.0.1:0\"\n\n[log]\nlevel = \"error\"\n";
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long what an attack left may take to be gone, before it is quiet again.
const SETTLED_MAX: Duration = Duration::from_secs(10);
/// Connections that are nobody's in particular: the honest client's, and those of who is about to go.
const SETTLED_CONNECTIONS: f64 = 8.0;
const OPEN: &str = "docket_connections_open";

/// What is attacked, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's program.
    pub program: PathBuf,
    /// Where its folders are made.
    pub dir: PathBuf,
    /// The attacks, in this order.
    pub attacks: Vec<Attack>,
    /// How often it is quiet and attacked, for each attack.
    pub windows: u32,
    /// How long, each time.
    pub window: Duration,
    /// How long it is quiet; where that is nothing there is no ratio.
    pub quiet: Duration,
    /// The honest client's orders a second.
    pub rate: f64,
    /// The server's configuration.
    pub configuration: String,
}

impl Plan {
    /// All attacks, five windows of three seconds each.
    pub fn new(program: PathBuf, dir: PathBuf) -> Self {
        Self {
            program,
            dir,
            attacks: Attack::ALL.to_vec(),
            windows: 5,
            window: Duration::from_secs(3),
            quiet: Duration::from_secs(3),
            rate: 100.0,
            configuration: CONFIGURATION.to_owned(),
        }
    }

    /// Checks what can be checked before anything is started.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Shape(why.to_owned()));
        if self.attacks.is_empty() || self.windows == 0 {
            return refuse("at least one attack and one window are needed");
        }
        if !self.rate.is_finite() || self.rate <= 0.0 {
            return refuse("the honest client needs a rate above nothing");
        }
        if !self.program.is_file() {
            return Err(Error::Shape(format!(
                "there is no program {}: build it with `cargo build --release`, or name one with --program",
                self.program.display()
            )));
        }
        Ok(())
    }
}

/// Runs every attack; `told` hears of each outcome as it comes.
///
/// # Errors
/// A server cannot be started, or the shop cannot be opened.
pub async fn run(plan: &Plan, mut told: impl FnMut(&Outcome)) -> Result<Vec<Outcome>, Error> {
    plan.validate()?;
    let mut outcomes = Vec::new();
    for with_tls in [false, true] {
        let attacks = plan
            .attacks
            .iter()
            .filter(|attack| attack.needs_tls() == with_tls);
        let mut place: Option<Place> = None;
        for attack in attacks {
            if place.is_none() {
                place = Some(Place::open(plan, with_tls).await?);
            }
            let Some(place) = &mut place else { continue };
            let outcome = place.stand(plan, *attack).await?;
            told(&outcome);
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// A server, its honest client, and what its attackers know.
struct Place {
    server: Server,
    honest: Honest,
    ground: Arc<Ground>,
    _folder: TempDir,
}

impl Place {
    async fn open(plan: &Plan, with_tls: bool) -> Result<Self, Error> {
        let folder =
            TempDir::with_prefix_in("hostile-", &plan.dir).map_err(Error::system("make a folder"))?;
        let (mut configuration, mut certificate) = (plan.configuration.clone(), None);
        if with_tls {
            let (pem, section) = tls(folder.path())?;
            configuration.push_str(&section);
            certificate = Some(pem);
        }
        let server = Server::start_configured(&plan.program, folder.path(), &configuration, None).await?;
        let mut target = server.target()?;
        if let Some(pem) = certificate {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(pem))
                .domain_name("localhost");
            let endpoint = target.endpoint.clone().tls_config(tls);
            target.endpoint =
                endpoint.map_err(|_| Error::Broken("a certificate that was just made is none"))?;
        }
        let address = |text: &str| -> Result<SocketAddr, Error> {
            let (_, address) = text.rsplit_once('/').unwrap_or(("", text));
            address
                .parse()
                .map_err(|_| Error::Broken("the server announced no address"))
        };
        let announced = server.announced().clone();
        let (honest, keys) = Honest::open(target, plan.rate).await?;
        let ground = Ground {
            grpc: address(&announced.grpc)?,
            admin: address(&announced.admin)?,
            rest: address(announced.rest.as_deref().unwrap_or_default())?,
            keys,
        };
        Ok(Self {
            server,
            honest,
            ground: Arc::new(ground),
            _folder: folder,
        })
    }

    /// Stands one attack.
    async fn stand(&mut self, plan: &Plan, attack: Attack) -> Result<Outcome, Error> {
        let notes = Arc::new(Notes::default());
        let (mut quiet, mut attacked) = (Found::default(), Found::default());
        let mut seen = Seen::default();
        let before = self.counted(attack).await;
        for _ in 0..plan.windows {
            self.settled().await;
            quiet.add(self.honest.serve(plan.quiet).await);
            let calm = self.server.usage()?;
            let crew = Crew::new(attack, Arc::clone(&self.ground), Arc::clone(&notes));
            let admin = self.server.announced().admin.clone();
            let pid = self.server.pid();
            // In a task of its own: the honest client waits for the server, and not for who attacks it.
            let mut attacking = JoinSet::new();
            attacking.spawn(crew.attack(attack));
            tokio::select! {
                found = self.honest.serve(plan.window) => attacked.add(found),
                // It does not end, but by a bug, which shows in what was done.
                _ = attacking.join_next() => {}
                () = watch(pid, admin, &mut seen) => {}
            }
            drop(attacking);
            let now = self.server.usage()?;
            seen.rss = seen.rss.max(now.rss_bytes);
            seen.calm = Some(seen.calm.unwrap_or(calm.rss_bytes).min(calm.rss_bytes));
            if let Some(error) = self.server.ended() {
                return Err(error);
            }
        }
        // What a bound refused may be counted a moment later.
        let held = self.held(attack, before, &notes).await;
        let (visits, bytes) = notes.offered();
        Ok(Outcome {
            attack,
            quiet,
            attacked,
            calm_bytes: seen.calm.unwrap_or_default(),
            most_bytes: seen.rss,
            connections: seen.connections as u64,
            answers: notes.all(),
            visits,
            bytes,
            held,
        })
    }

    /// The metric that an attack runs into; nothing where it is an answer.
    async fn counted(&self, attack: Attack) -> f64 {
        let Held::Metric(name) = attack.held_by() else {
            return 0.0;
        };
        match page(self.server.announced().admin.clone()).await {
            Some(page) => crate::metric(&page, name),
            None => 0.0,
        }
    }

    async fn held(&self, attack: Attack, before: f64, notes: &Notes) -> bool {
        let end = Instant::now() + SETTLED_MAX;
        loop {
            let held = match attack.held_by() {
                Held::Answer(answers) => notes
                    .all()
                    .iter()
                    .any(|(answer, _)| answers.contains(&answer.as_str())),
                Held::Metric(_) => self.counted(attack).await > before,
            };
            if held || Instant::now() > end {
                return held;
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the connections of an attack are gone.
    async fn settled(&self) {
        let end = Instant::now() + SETTLED_MAX;
        while Instant::now() < end {
            let page = page(self.server.announced().admin.clone()).await;
            if page.is_some_and(|page| crate::metric(&page, OPEN) <= SETTLED_CONNECTIONS) {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

/// What was seen of the server under attack.
#[derive(Debug, Default)]
struct Seen {
    rss: u64,
    calm: Option<u64>,
    connections: f64,
}

/// Looks at the server until it is dropped.
async fn watch(pid: u32, admin: String, seen: &mut Seen) {
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        if let Ok(usage) = crate::Usage::of(pid) {
            seen.rss = seen.rss.max(usage.rss_bytes);
        }
        // Under an attack on that port it may not answer.
        if let Some(page) = page(admin.clone()).await {
            seen.connections = seen.connections.max(crate::metric(&page, OPEN));
        }
    }
}

async fn page(admin: String) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || exchange(&admin, "GET", "/metrics", ""));
    asked.await.ok()?.ok()
}

/// A certificate, and the section that has the server use it.
fn tls(folder: &Path) -> Result<(String, String), Error> {
    let broken = |_| Error::Broken("a certificate cannot be made");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(broken)?;
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    let pem = made.cert.pem();
    fs::write(&certificate, &pem).map_err(Error::system("write a certificate"))?;
    fs::write(&key, made.signing_key.serialize_pem()).map_err(Error::system("write a key"))?;
    let section = format!("\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    Ok((pem, section))
}

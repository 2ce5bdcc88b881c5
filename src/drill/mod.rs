//! `docket drill`: the loss of a primary, rehearsed on this machine, and what it costs.
//!
//! ```text
//!  primary ◀── orders ── clients            killed                     started again: refuses writes, by name
//!     │                                       ┊                                      ▲
//!     └──▶ standby follows ───────────────────┊─▶ promoted by force ──▶ first order ─┴─▶ books verified, each acknowledged order looked for
//!                                  RPO: what was acknowledged and is not here │ RTO: from the kill to the first order that is acknowledged
//! ```

mod load;
mod node;
mod report;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use docket_proto::v1::{
    self, GetStandbyRequest, PromoteStandbyRequest, PromoteStandbyResponse, Standby, VerifyBooksRequest,
};
use tokio::time::sleep;

use crate::{client::Client, dev::free_ports, failure::Failure, output::Output};
use load::{Acknowledged, Load};
use node::{Node, PORTS};
use report::{Lag, OldPrimary, Report};

/// How long anything that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked how far the standby is behind.
const LAG_EVERY: Duration = Duration::from_millis(250);
/// A page of orders.
const PAGE: i32 = 1_000;
/// What the reason of a refusal has to be.
const FENCED: &str = "FENCED";
const ALREADY: &str = "ALREADY_PROMOTED";

/// What is to be rehearsed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How long clients place orders before the primary is killed.
    pub load_for: Duration,
    /// How many there are.
    pub clients: usize,
    /// Where the report goes as JSON.
    pub report: Option<PathBuf>,
    /// Where data and logs are kept; none: in a folder that is removed.
    pub folder: Option<PathBuf>,
}

/// Rehearses it. All processes end before this does.
///
/// # Errors
/// A server cannot be started, or something is not as it must be; the report says what.
pub async fn run(wanted: &Wanted, output: &Output) -> Result<(), Failure> {
    let kept;
    let folder: &Path = match &wanted.folder {
        Some(folder) if folder.exists() => {
            return Err(Failure::Usage(format!(
                "{} exists: name a new folder",
                folder.display()
            )));
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|cause| failed(&cause))?;
            folder
        }
        None => {
            kept = tempfile::tempdir().map_err(|cause| failed(&cause))?;
            kept.path()
        }
    };
    let folder = folder.canonicalize().map_err(|cause| failed(&cause))?;
    let report = rehearse(wanted, &folder, output).await?;
    if let Some(path) = &wanted.report {
        let json = serde_json::to_vec_pretty(&report.json()).map_err(|cause| failed(&cause))?;
        std::fs::write(path, json).map_err(|cause| Failure::Other(format!("{}: {cause}", path.display())))?;
    }
    output.fields(&report.fields())?;
    match report.wrong() {
        wrong if wrong.is_empty() => Ok(()),
        wrong => Err(Failure::Other(format!("not as it must be: {}", wrong.join("; ")))),
    }
}

async fn rehearse(wanted: &Wanted, folder: &Path, output: &Output) -> Result<Report, Failure> {
    let port = free_ports(2)?;
    let mut primary = Node::new(folder, "primary", port, "");
    let key_file = primary.data_dir().join("admin.key");
    let section = format!(
        "[standby]\nof = [\"{}\"]\napi_key = \"file:{}\"\nadvertise = \"http://127.0.0.1:{}\"\npoll_ms = 200\n",
        primary.address(),
        key_file.display(),
        port + PORTS
    );
    let mut standby = Node::new(folder, "standby", port + PORTS, &section);
    primary.start()?;
    let at_primary = primary.client(&key_file, PATIENCE).await?;
    load::furnish(&at_primary, wanted.clients).await?;
    standby.start()?;
    let at_standby = standby.client(&key_file, PATIENCE).await?;
    let before = Instant::now();
    until_it_follows(&at_standby).await?;
    output.note(&format!(
        "the standby follows after {} ms",
        before.elapsed().as_millis()
    ));

    let load = Load::start(&primary.address(), &key_file, wanted.clients, "before").await?;
    let lag = watch_lag(&at_standby, wanted.load_for).await?;
    // In the middle of it.
    let (killed, killed_at) = (Instant::now(), SystemTime::now());
    primary.kill()?;
    let acknowledged = load.end().await;
    output.note(&format!(
        "the primary was killed after {} orders",
        acknowledged.len()
    ));

    let promoted = promote(&at_standby).await?;
    let promoted_after = killed.elapsed();
    let load = Load::start(&standby.address(), &key_file, wanted.clients, "after").await?;
    load.first(PATIENCE).await?;
    let rto = killed.elapsed();
    let after = load.end().await;

    let books = at_standby
        .unbounded()
        .node()
        .verify_books(VerifyBooksRequest {})
        .await;
    let books = at_standby.answer(books)?;
    let there = orders(&at_standby).await?;
    let applied = promoted
        .applied_time
        .and_then(|time| SystemTime::try_from(time).ok());
    let applied =
        applied.ok_or_else(|| Failure::Other("the standby does not say how far it was".to_owned()))?;
    let lost: Vec<&Acknowledged> = acknowledged
        .iter()
        .filter(|one| !there.contains(&one.name))
        .collect();
    let early = lost.iter().filter(|one| one.at <= applied).count();
    let missing_after = after.iter().filter(|one| !there.contains(&one.name)).count();
    let last = acknowledged.iter().map(|one| one.at).max().unwrap_or(killed_at);

    let twice = at_standby
        .standby()
        .promote_standby(PromoteStandbyRequest { force: true })
        .await;
    let promoted_twice = reason(&at_standby, twice);
    let old_primary = start_again(&mut primary, &key_file).await?;
    let told = until_fenced(&at_standby).await?;
    let report = Report {
        clients: wanted.clients,
        acknowledged: acknowledged.len(),
        acknowledged_after: after.len(),
        lag,
        promoted_after,
        rto,
        // What was acknowledged last is the newest that can be lost.
        rpo: last.duration_since(applied).unwrap_or_default(),
        lost: lost.len(),
        lost_before_point: early + missing_after,
        epoch: promoted.epoch,
        discrepancies: books.discrepancy_count,
        undecided: books.undecided,
        orders: there.len(),
        promoted_twice,
        old_primary,
        has_fenced: told.has_fenced,
    };
    standby.stop().await?;
    primary.stop().await?;
    Ok(report)
}

/// Waits until the standby has a point.
async fn until_it_follows(client: &Client) -> Result<(), Failure> {
    until("the standby does not follow", async || {
        let standby = status(client).await?;
        Ok((standby.error.is_empty() && standby.lag.is_some()).then_some(()))
    })
    .await
}

/// Waits until the old primary has said that it is fenced.
async fn until_fenced(client: &Client) -> Result<Standby, Failure> {
    until("the old primary did not say that it is fenced", async || {
        let standby = status(client).await?;
        Ok(standby.has_fenced.then_some(standby))
    })
    .await
}

async fn status(client: &Client) -> Result<Standby, Failure> {
    Ok(client.answer(client.standby().get_standby(GetStandbyRequest {}).await)?)
}

async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if begun.elapsed() >= PATIENCE {
            return Err(Failure::Other(what.to_owned()));
        }
        sleep(LOOK).await;
    }
}

/// How far the standby is behind meanwhile.
async fn watch_lag(client: &Client, load_for: Duration) -> Result<Lag, Failure> {
    let (end, mut lag) = (Instant::now() + load_for, Lag::default());
    while Instant::now() < end {
        sleep(LAG_EVERY.min(end.saturating_duration_since(Instant::now()))).await;
        let told = status(client).await?;
        let seconds = told.lag.and_then(|lag| Duration::try_from(lag).ok());
        lag.note(seconds.unwrap_or_default(), told.lag_orders);
    }
    Ok(lag)
}

async fn promote(client: &Client) -> Result<PromoteStandbyResponse, Failure> {
    let request = PromoteStandbyRequest { force: true };
    let asked = client.unbounded().standby().promote_standby(request).await;
    Ok(client.answer(asked)?)
}

/// Why something was refused; empty where it was not.
fn reason<T>(client: &Client, asked: Result<tonic::Response<T>, tonic::Status>) -> String {
    match client.answer(asked) {
        Ok(_) => String::new(),
        Err(refusal) => refusal.reason().unwrap_or_else(|| refusal.to_string()),
    }
}

/// Starts the old primary, and asks it for an order.
async fn start_again(primary: &mut Node, key_file: &Path) -> Result<OldPrimary, Failure> {
    let started = Instant::now();
    primary.start()?;
    let client = primary.client(key_file, PATIENCE).await?;
    let (mut refused, mut taken) = (String::new(), 0);
    let begun = Instant::now();
    // While it asks its standby it refuses as well, by another name.
    while refused != FENCED && begun.elapsed() < PATIENCE {
        let asked = client.orders().place_order(load::order(0, "again")).await;
        taken += usize::from(asked.is_ok());
        refused = reason(&client, asked);
        sleep(LOOK).await;
    }
    Ok(OldPrimary {
        refused,
        taken,
        after: started.elapsed(),
    })
}

/// The name of every order.
async fn orders(client: &Client) -> Result<std::collections::BTreeSet<String>, Failure> {
    let (mut all, mut page_token) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let request = v1::ListOrdersRequest {
            page_size: PAGE,
            page_token,
            ..Default::default()
        };
        let page = client.answer(client.orders().list_orders(request).await)?;
        all.extend(page.orders.into_iter().map(|order| order.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn failed(cause: &dyn std::fmt::Display) -> Failure {
    Failure::Other(format!("the drill cannot be made: {cause}"))
}

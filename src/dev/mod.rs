//! `docket dev`: a cluster on loopback, for a developer, gone when it ends.
//!
//! ```text
//!  docket dev ──▶ folder: certificates, data directories ──▶ a `docket serve` process each ──▶ every replica in its place
//!      ▲                                                               │ they stop when this process does, however it ends
//!      └── docket dev kill 2, docket dev restart 2: a file in the folder, which is taken away when it is done
//! ```

mod nodes;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use docket_cluster::REPLICAS;
use docket_proto::v1::GetClusterStatusRequest;

use crate::{
    client::{Asked, Client, Credentials, Target},
    failure::Failure,
    output::{Field, Output},
    serve::Signals,
};
pub use nodes::{NODES, NODES_MAX, Nodes, Wanted, free_ports};

/// Where everything is kept while it runs.
pub const FOLDER: &str = "./docket-dev";

/// How often requests and processes are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a request waits to be taken up.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);
/// How long the cluster may take to form.
const FORMED_WITHIN: Duration = Duration::from_secs(120);
/// How long a call to a node may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What may be asked of a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGKILL, without a last word.
    Kill,
    /// Started again where it was killed; else killed before.
    Restart,
}

impl Request {
    const ALL: [Self; 2] = [Self::Kill, Self::Restart];

    fn file(self, node: usize) -> String {
        match self {
            Self::Kill => format!("kill-{node}"),
            Self::Restart => format!("restart-{node}"),
        }
    }
}

/// Runs the cluster until a signal ends it, and removes its folder.
///
/// # Errors
/// The folder is there already, a node cannot be started, or the cluster does not form.
pub async fn run(wanted: Wanted<'_>, output: &Output) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let started = Instant::now();
    let folder = wanted.folder;
    let mut nodes = Nodes::make(wanted)?;
    let formed = tokio::select! {
        formed = form(&mut nodes) => Some(formed),
        _ = signals.stop() => None,
    };
    let ended = match formed {
        Some(Ok(())) => {
            announce(&nodes, started.elapsed(), output)?;
            tokio::select! {
                served = serve(&mut nodes, output) => served,
                _ = signals.stop() => Ok(()),
            }
        }
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    nodes.stop().await;
    match ended {
        Ok(()) => fs::remove_dir_all(folder)
            .map_err(|cause| Failure::Other(format!("cannot remove {}: {cause}", folder.display()))),
        // Its logs tell more.
        Err(failure) => Err(failure),
    }
}

/// Asks a running one for something, and waits until it has done it.
///
/// # Errors
/// There is none in this folder, or it does not answer.
pub async fn ask(folder: &Path, request: Request, node: usize) -> Result<(), Failure> {
    if !folder.is_dir() {
        return Err(Failure::Other(format!(
            "there is no {}: start `docket dev` first, or name its folder with --folder",
            folder.display()
        )));
    }
    // Each has its folder, even the last to join.
    let of = (1..=NODES_MAX).take_while(|node| folder.join(nodes::log_name(*node)).exists());
    let count = of.count();
    if !(1..=count).contains(&node) {
        return Err(Failure::Usage(format!("there are nodes 1 to {count}")));
    }
    let file = folder.join(request.file(node));
    fs::write(&file, "")
        .map_err(|cause| Failure::Other(format!("cannot write {}: {cause}", file.display())))?;
    let asked = Instant::now();
    while file.exists() {
        if asked.elapsed() > TAKEN_UP_WITHIN {
            let _ = fs::remove_file(&file);
            return Err(Failure::Other(format!(
                "nothing takes up what is asked in {}: `docket dev` does not run there",
                folder.display()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Starts the nodes, and waits until every replica is in its place.
///
/// # Errors
/// One cannot be started, or ends, or they do not form a cluster in time.
pub async fn form(nodes: &mut Nodes) -> Result<(), Failure> {
    for node in nodes.all() {
        nodes.start(node)?;
    }
    let begun = Instant::now();
    while !is_formed(nodes).await {
        for node in nodes.all() {
            if let Some(end) = nodes.has_ended(node)? {
                return Err(Failure::Other(format!(
                    "node {node} ended ({end}): {}\nMore is in {}.",
                    nodes.last_word(node),
                    nodes.log(node).display()
                )));
            }
        }
        if begun.elapsed() > FORMED_WITHIN {
            return Err(Failure::Other(format!(
                "the cluster did not form within {FORMED_WITHIN:?}: see {}",
                nodes.log(1).display()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn is_formed(nodes: &Nodes) -> bool {
    let status = async {
        let asked = Asked {
            api_key_file: Some(nodes.key_file()),
            ..Asked::default()
        };
        let target = Target {
            address: nodes.address(1),
            ca: None,
            timeout: CALL_TIMEOUT,
        };
        let client = Client::connect(&target, Credentials::find(asked)?).await?;
        let status = client.node().get_cluster_status(GetClusterStatusRequest {}).await;
        Ok::<_, Failure>(client.answer(status)?)
    };
    // Until it is there it does not answer, for one reason or another.
    let Ok(status) = status.await else { return false };
    let whole = |group: &docket_proto::v1::GroupPlacement| {
        group.placed_ids.len() == nodes.all().count().min(REPLICAS) && group.placed_ids == group.wanted_ids
    };
    if status.placements.is_empty() || !status.placements.iter().all(whole) {
        return false;
    }
    // With more nodes than replicas these move until they are spread evenly.
    let held = nodes.all().map(|node| {
        let holds = |group: &&docket_proto::v1::GroupPlacement| group.placed_ids.contains(&(node as u64));
        status.placements.iter().filter(holds).count()
    });
    let (least, most) = held.fold((usize::MAX, 0), |(least, most), held| {
        (least.min(held), most.max(held))
    });
    most - least <= 1
}

fn announce(nodes: &Nodes, took: Duration, output: &Output) -> Result<(), Failure> {
    let addresses: Vec<_> = nodes.all().map(|node| nodes.address(node)).collect();
    output.line(&format!(
        "The cluster is ready after {:.1} s.\n",
        took.as_secs_f64()
    ))?;
    output.fields(&[
        Field::shown("nodes", addresses.clone().into(), addresses.join("  ")),
        Field::text("folder", &nodes.folder().display().to_string()),
        Field::text("key_file", &nodes.key_file().display().to_string()),
    ])?;
    output.line(&format!(
        "\nTry it from another terminal:\n\n  docket cluster status --addr {} --api-key-file {}\n  docket dev kill 2\n  \
         docket dev restart 2\n\nCtrl-C stops the nodes and removes the folder.",
        addresses[0],
        nodes.key_file().display()
    ))
}

/// Does what is asked in the folder, and says when a node ends by itself.
async fn serve(nodes: &mut Nodes, output: &Output) -> Result<(), Failure> {
    loop {
        for node in nodes.all() {
            for request in Request::ALL {
                let file = nodes.folder().join(request.file(node));
                if file.exists() {
                    nodes.kill(node)?;
                    if request == Request::Restart {
                        nodes.start(node)?;
                    }
                    output.note(&format!(
                        "node {node}: {}",
                        if request == Request::Kill {
                            "killed"
                        } else {
                            "started"
                        }
                    ));
                    take_away(&file)?;
                }
            }
            if let Some(end) = nodes.has_ended(node)? {
                output.note(&format!(
                    "node {node} ended ({end}): {}\n`docket dev restart {node}` starts it again; more is in {}",
                    nodes.last_word(node),
                    nodes.log(node).display()
                ));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn take_away(file: &PathBuf) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Failure::Other(format!(
            "cannot remove {}: {cause}",
            file.display()
        ))),
        _ => Ok(()),
    }
}

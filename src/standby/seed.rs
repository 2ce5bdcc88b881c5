//! How a standby gets what the primary has to begin with: a backup of it, restored beside what is there, and then exchanged.

use std::{fs, io, path::Path, sync::Arc};

use docket_backup::{Place, Progress, Repository, Wanted, create};
use docket_proto::v1::RegisterStandbyRequest;
use docket_sealing::Keyring;
use jiff::Timestamp;

use super::{
    link::{Primary, read_ca},
    state::State,
};
use crate::{
    backup::{Remote, Restore, choose, new_id},
    config::Config,
    failure::Failure,
};

/// Where it is made, in the data directory.
const SEEDING: &str = "seeding";
/// What makes a directory that of a node.
pub const IDENTITY: &str = "identity.json";
/// What a node has there, and what half a seeding may have left.
const MADE: [&str; 3] = ["journal", "snapshots", "archive"];

/// Registers with the primary, and fills the data directory, which has no node in it.
///
/// # Errors
/// The primary does not take it, or is not reached; or the disk's. The next try begins anew, under the same name.
pub async fn seed(
    config: &Config,
    primary: &Primary,
    data_dir: &Path,
    keys: &Keyring,
) -> Result<State, Failure> {
    let seeding = data_dir.join(SEEDING);
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::Other(format!("{} cannot be seeded: {cause}", data_dir.display()))
    };
    let begun = seeding.exists();
    for name in MADE.map(|name| data_dir.join(name)) {
        match (name.exists(), begun) {
            (true, true) => fs::remove_dir_all(&name).map_err(|cause| failed(&cause))?,
            (true, false) => {
                return Err(failed(&format!(
                    "{} is there: a standby begins with an empty folder",
                    name.display()
                )));
            }
            (false, _) => {}
        }
    }
    fs::create_dir_all(&seeding).map_err(|cause| failed(&cause))?;
    let id = match State::read(&seeding)? {
        Some(state) => state.id,
        None => uuid::Uuid::new_v4().to_string(),
    };
    let client = primary.connect().await?;
    let mut state = register(config, primary, &client, id).await?;
    state.write(&seeding).map_err(|cause| failed(&cause))?;
    tracing::info!(primary = %primary.name(), "registered as its standby; what it has is copied");

    let (kept, new) = (seeding.join("repository"), seeding.join("new"));
    for left in [&kept, &new] {
        if left.exists() {
            fs::remove_dir_all(left).map_err(|cause| failed(&cause))?;
        }
    }
    let repository = Repository::open_or_make(Place::Folder(kept), None, &state.cluster_id).await;
    let repository = Arc::new(repository.map_err(|cause| failed(&cause))?);
    let now = Timestamp::now();
    let wanted = Wanted {
        id: new_id(now),
        now_us: now.as_microsecond(),
        full: true,
    };
    let mut tell = |progress: &Progress<'_>| {
        tracing::info!(
            done = progress.done,
            of = progress.groups,
            bytes = progress.bytes,
            "copying"
        );
    };
    let made = create(&repository, &Remote::new(&client), &wanted, &mut tell).await;
    made.map_err(|cause| failed(&cause))?;
    let chosen = choose(&repository, None, None).await?;
    let restore = Restore::begin(&chosen, &new, keys)?.of_a_standby();
    restore.run(&repository, &chosen, &mut |_, _| {}).await?;
    state.until_us = chosen.until_us;
    exchange(data_dir, &seeding, &new, &state).map_err(|cause| failed(&cause))?;
    tracing::info!("seeded: it follows from here on");
    Ok(state)
}

pub(super) async fn register(
    config: &Config,
    primary: &Primary,
    client: &crate::client::Client,
    id: String,
) -> Result<State, Failure> {
    let address = config.standby.advertise.clone().unwrap_or_default();
    let own_ca = config.standby.own_ca.as_ref().or(config.standby.ca.as_ref());
    let ca = own_ca.filter(|_| address.starts_with("https://"));
    let ca = ca.map(|path| read_ca(path)).transpose()?;
    let request = RegisterStandbyRequest {
        standby_id: id.clone(),
        address: address.clone(),
        ca: ca.unwrap_or_default(),
    };
    let registered = client.standby().register_standby(request).await;
    let registered = client.answer(registered).map_err(Box::new)?;
    Ok(State::new(
        id,
        (primary.name(), address),
        registered.cluster_id,
        registered.epoch,
        registered.secret,
    ))
}

/// Moves what was made to where it belongs; what makes it a node's comes last.
fn exchange(data_dir: &Path, seeding: &Path, new: &Path, state: &State) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(new)? {
        names.push(entry?.file_name());
    }
    names.sort_by_key(|name| name == IDENTITY);
    state.write(data_dir)?;
    for name in names {
        fs::rename(new.join(&name), data_dir.join(&name))?;
    }
    fs::File::open(data_dir)?.sync_all()?;
    fs::remove_dir_all(seeding)
}

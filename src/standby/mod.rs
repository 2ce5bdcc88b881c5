//! A second cluster that follows a first one, and takes its place.
//!
//! ```text
//!  the primary ◀─ registers ── standby.json     who follows whom, by which secret, and whether it was promoted
//!       │
//!       ├── a backup, restored ──▶ the data directory          once (seed.rs)
//!       └── FollowLogs ──▶ standby.spool ──▶ its own logs      again and again (follow.rs): a cut through all logs, whole or not at all
//!
//!  promote (promote.rs):  fence the primary ─▶ read it for the last time ─▶ standby.json: promoted, in the next epoch ─▶ lead
//!  the primary's side (asking.rs):  ask the standby at the start ─▶ let writes in, or be fenced
//! ```

mod asking;
mod cut;
mod follow;
mod link;
mod promote;
mod seed;
mod spool;
mod state;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use docket_actors::{Docket, standby::Posture};
use docket_sealing::Keyring;
use docket_secrets::Store;

use crate::{config::Config, failure::Failure};
use asking::Asking;
use follow::Follower;
pub use follow::{APPLIED, FOLLOWS, LAG, LAG_ORDERS};
use link::Primary;
use seed::{IDENTITY, seed};
use state::State;

/// What the data directory is begun as.
pub enum Begun {
    /// A cluster of its own.
    Primary {
        /// What it may lead.
        posture: Posture,
    },
    /// One that follows another.
    Standby {
        /// Who that is.
        primary: Box<Primary>,
        /// How far it was.
        state: Box<State>,
    },
    /// One that did, and has taken its place.
    Promoted {
        /// Who that was, where it is still said.
        primary: Option<Box<Primary>>,
        /// Since when.
        state: Box<State>,
        /// What it may lead: it may have a standby of its own.
        posture: Posture,
    },
}

/// What runs beside a node for that.
pub struct Beside {
    _follower: Option<Follower>,
    _asking: Asking,
}

impl Begun {
    /// What the node may lead at first.
    pub fn posture(&self) -> Posture {
        match self {
            Self::Primary { posture } => posture.clone(),
            Self::Standby { primary, .. } => Posture::Standby { of: primary.name() },
            Self::Promoted { posture, .. } => posture.clone(),
        }
    }

    /// Begins to follow, or to ask who follows.
    ///
    /// # Errors
    /// What was spooled cannot be appended.
    pub async fn run(self, config: &Config, docket: &Docket) -> Result<Beside, Failure> {
        let (primary, state) = match self {
            Self::Primary { .. } => (None, None),
            Self::Standby { primary, state } => (Some(*primary), Some(*state)),
            Self::Promoted { primary, state, .. } => (primary.map(|primary| *primary), Some(*state)),
        };
        let follower = match state {
            Some(state) => Some(Follower::start(config, docket, primary, state).await?),
            None => None,
        };
        Ok(Beside {
            _follower: follower,
            // Also of one that follows: it may be promoted while it runs, and fenced then.
            _asking: Asking::start(
                docket,
                config.server.data_dir.clone(),
                config.standby.ask_within(),
            ),
        })
    }
}

/// What the data directory is, by what is in it and what the configuration says. One that is to follow and has no node in it yet is seeded; so is one whose cluster was
/// fenced, which is kept aside.
///
/// # Errors
/// It is something else than the configuration says, or cannot be seeded.
pub async fn begin(
    config: &Config,
    data_dir: &Path,
    store: &Store,
    keys: &Keyring,
) -> Result<Begun, Failure> {
    let state = State::read(data_dir)?.map(Box::new);
    let key = config.standby.api_key.as_ref().and_then(|key| store.get(key));
    let primary = key
        .filter(|_| config.standby.follows())
        .map(|key| Box::new(Primary::of(config, key)));
    let asks = state::asks(data_dir)?.filter(|_| config.standby.ask_within_s > 0);
    let fenced = state::fenced(data_dir)?;
    let is_node = || data_dir.join(IDENTITY).exists();
    // A fence is looked at first: it is newer than whatever the cluster was before, also where it took another's place itself.
    let (state, primary) = match (fenced, state, primary) {
        (Some(_), _, Some(primary)) => {
            alone(config)?;
            // Where nobody can be followed what there is stays where it can be read.
            primary.connect().await?;
            if let Some(aside) = state::put_aside(data_dir)? {
                tracing::warn!(aside = %aside.display(), "this cluster was fenced: what it had is kept aside, and the new primary is followed");
            }
            (None, Some(primary))
        }
        (Some(_), _, None) if !is_node() => {
            return Err(Failure::Other(format!(
                "{} was being put aside, so that its node could follow another cluster, and nothing says which\n      do: give it standby.of, and start it \
                 again",
                data_dir.display()
            )));
        }
        (Some(posture), Some(state), None) if state.promoted.is_some() => {
            return Ok(Begun::Promoted {
                primary: None,
                state,
                posture,
            });
        }
        (Some(posture), _, None) => return Ok(Begun::Primary { posture }),
        (None, state, primary) => (state, primary),
    };
    let (state, primary) = match (state, primary) {
        (Some(state), primary) if state.promoted.is_some() => {
            let posture = asks.unwrap_or_default();
            return Ok(Begun::Promoted {
                primary,
                state,
                posture,
            });
        }
        (None, None) => {
            let posture = asks.unwrap_or_default();
            return Ok(Begun::Primary { posture });
        }
        (Some(state), None) => {
            return Err(Failure::Other(format!(
                "{} is a standby of the cluster at {}, and nothing says that it is to follow that\n      do: keep standby.of in its \
                 configuration; `docket standby promote` has it take that cluster's place",
                data_dir.display(),
                state.primary
            )));
        }
        (state, Some(primary)) => (state, primary),
    };
    alone(config)?;
    let has_node = is_node();
    if let Some(state) = state.filter(|_| has_node) {
        return Ok(Begun::Standby { primary, state });
    }
    if has_node {
        return Err(Failure::Other(format!(
            "{} has a cluster of its own, which nobody fenced, and a standby begins with an empty folder\n      do: move it away, if nothing \
             in it is needed any more, and start again",
            data_dir.display()
        )));
    }
    // Nobody has it open: half of an earlier seeding is not worth more than a new one.
    let unseeded = data_dir.join("standby.json");
    if unseeded.exists() {
        fs::remove_file(&unseeded)
            .map_err(|cause| Failure::Other(format!("{}: {cause}", unseeded.display())))?;
    }
    let state = Box::new(seed(config, &primary, data_dir, keys).await?);
    Ok(Begun::Standby { primary, state })
}

/// Whether the configuration has it be one node, as a standby is.
fn alone(config: &Config) -> Result<(), Failure> {
    match config.cluster.peer_listen {
        None => Ok(()),
        Some(_) => Err(Failure::Other(
            "a standby is one node until it is promoted: take cluster.peer_listen and what belongs to it out of its configuration".to_owned(),
        )),
    }
}

//! The configuration of a server: defaults, a TOML file, `DOCKET__…` variables and flags, each over the one before.
//!
//! Every value knows where it came from; what is unknown or out of range is refused with its place.
//!
//! ```text
//! key               journal.segment_bytes
//! file              [journal]
//!                   segment_bytes = 268435456
//! environment       DOCKET__JOURNAL__SEGMENT_BYTES=268435456
//! ```

mod backup;
mod chaos;
mod cluster;
pub mod encryption;
mod environment;
mod error;
mod file;
mod fraud;
mod layers;
mod orders;
mod payments;
pub mod reference;
pub mod reload;
mod scrub;
pub mod secrets;
mod sections;
mod standby;
mod tracing;
mod upgrade;
mod verify;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

pub use error::ConfigError;
pub use layers::{Origin, Setting};
pub use payments::{Provider, ProviderKind, key as provider_key};
pub use sections::{Config, Log, LogFormat};

use layers::Layers;

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--admin-listen`
    pub admin_listen: Option<SocketAddr>,
    /// `--peer-listen`
    pub peer_listen: Option<SocketAddr>,
    /// `--node-id`
    pub node_id: Option<u64>,
    /// `--join`; empty where it was not given.
    pub join: Vec<String>,
}

/// A configuration that is valid, and where each value of it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Every value with its origin, in the order of the keys.
    pub settings: Vec<Setting>,
}

impl Loaded {
    /// Lays the layers over each other and checks the result.
    ///
    /// # Errors
    /// A file that cannot be read, or every problem that was found, each with its place.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::of_defaults();
        if let Some(path) = file {
            file::read(path, &mut layers)?;
        }
        environment::read(environment, &mut layers);
        let path = |path: &PathBuf| Value::from(path.to_string_lossy().into_owned());
        let address = |address: SocketAddr| Value::from(address.to_string());
        let join = (!flags.join.is_empty()).then(|| Value::from(flags.join.clone()));
        let given = [
            ("server.data_dir", "--data-dir", flags.data_dir.as_ref().map(path)),
            ("server.listen", "--listen", flags.listen.map(address)),
            ("admin.listen", "--admin-listen", flags.admin_listen.map(address)),
            (
                "cluster.peer_listen",
                "--peer-listen",
                flags.peer_listen.map(address),
            ),
            ("cluster.node_id", "--node-id", flags.node_id.map(Value::from)),
            ("cluster.seeds", "--join", join),
        ];
        for (key, flag, value) in given {
            if let Some(value) = value {
                layers.set(key, &[value], Origin::Flag(flag));
            }
        }
        let (config, settings) = layers.finish()?;
        Ok(Self { config, settings })
    }

    /// Every key, with its value and where that came from, as it may be shown: secrets are not.
    pub fn shown(&self) -> Value {
        let settings = self.settings.iter();
        let members = settings.map(|one| {
            (
                one.key.clone(),
                json!({ "value": one.shown(), "origin": one.origin.to_string() }),
            )
        });
        members.collect::<Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests;

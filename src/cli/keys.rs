//! The keys that the files of a data directory are sealed with, for commands that work on one.

use std::{env, path::PathBuf};

use docket_sealing::Keyring;

use super::wait;
use crate::{
    config::{Flags, Loaded},
    failure::Failure,
    serve,
};

/// By which a variable is one of the keys'.
const VARIABLES: &str = "DOCKET__ENCRYPTION__";

/// Where the keys are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KeysArgs {
    /// The server's configuration, where its files are sealed (see encryption)
    #[arg(long = "config", id = "keys_config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl KeysArgs {
    /// The keys, and the data directory that the configuration names, where one is given. Without one there are none, unless variables say so.
    ///
    /// # Errors
    /// The configuration is not valid, or a key cannot be read.
    pub async fn open(&self) -> Result<(Keyring, Option<PathBuf>), Failure> {
        let is_said = env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(VARIABLES));
        if self.file.is_none() && !is_said {
            return Ok((Keyring::default(), None));
        }
        let loaded = Loaded::load(self.file.as_deref(), env::vars_os(), &Flags::default())?;
        let keys = serve::keys_at_rest(&loaded.config).await?;
        let data_dir = self.file.is_some().then_some(loaded.config.server.data_dir);
        Ok((keys, data_dir))
    }

    /// The same where nothing else waits.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_now(&self) -> Result<(Keyring, Option<PathBuf>), Failure> {
        wait(self.open())
    }
}

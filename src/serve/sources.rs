//! What the program tells of itself to whoever takes a debug bundle: what its edge does not know.

use std::{path::Path, sync::Arc};

use docket_edge::Sources;
use parking_lot::RwLock;
use serde_json::Value;

use crate::{config::Loaded, logging::Kept};

/// The folder of the data directory for the files that are needed while a profile is taken.
const FOLDER: &str = "debug";

/// The configuration that is in force, as it may be shown.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<RwLock<Value>>);

impl Shown {
    /// Of this configuration.
    pub fn of(loaded: &Loaded) -> Self {
        Self(Arc::new(RwLock::new(loaded.shown())))
    }

    /// From now on this one is in force.
    pub fn set(&self, loaded: &Loaded) {
        *self.0.write() = loaded.shown();
    }
}

/// All of it.
pub fn sources(shown: Shown, kept: Arc<Kept>, data_dir: &Path) -> Sources {
    Sources {
        configuration: Some(Arc::new(move || shown.0.read().clone())),
        log: Some(Arc::new(move || kept.text())),
        folder: Some(data_dir.join(FOLDER)),
    }
}

//! What an administrator asks of one node on its operators' port: that it reads all that it has stored once more,
//! or goes wrong, where it was started for that.
//!
//! ```text
//!  x-api-key ──▶ door: whose key? ──▶ an administrator, with scope operations ──▶ recorded ──▶ begun; whoever asks again is told how far it is
//! ```

mod chaos;
mod scrub;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    routing::{get, post},
};
use docket_actors::Docket;

use crate::{
    console::Refused,
    door::{Door, unopened},
    readiness::Readiness,
};

/// What is asked of the node. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Operated {
    inner: Arc<Inner>,
}

struct Inner {
    readiness: Readiness,
    opened: OnceLock<Opened>,
}

struct Opened {
    docket: Docket,
    door: Door,
}

impl Operated {
    /// It does nothing before [`Self::opened`]: who may ask is not known before.
    pub(crate) fn new(readiness: Readiness) -> Self {
        let opened = OnceLock::new();
        Self {
            inner: Arc::new(Inner { readiness, opened }),
        }
    }

    /// From here on whoever is let in may ask this node.
    pub(crate) fn opened(&self, docket: Docket, door: Door) {
        // One server is bound with one of these.
        let _ = self.inner.opened.set(Opened { docket, door });
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/scrub", get(scrub::told).post(scrub::begun))
            .route("/chaos", get(chaos::told))
            .route("/chaos/{fault}", post(chaos::begun))
            .with_state(self)
    }

    fn node(&self) -> Result<&Opened, Refused> {
        let reasons = || self.inner.readiness.status().reasons;
        let opened = self.inner.opened.get();
        opened.ok_or_else(|| unopened(&reasons()).into())
    }
}

//! How a standby takes the primary's place.
//!
//! ```text
//!  fence the primary ──▶ all of its nodes have let go ──▶ one more look ──▶ standby.json: promoted ──▶ lead
//!         │ not reached          │ not in time                │ fails           (durable before)
//!         └──────────────────────┴────────────────────────────┴──▶ refused, or with force: what was acknowledged after what is here is lost
//! ```
//! A primary that was not reached is told again and again, until it has said that it is fenced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::standby::{PromoteError, Promotion, StandbyError};
use docket_proto::v1::{ExchangeEpochsRequest, ExchangeEpochsResponse};
use tokio::{task::block_in_place, time::sleep};

use super::{follow::Standby, link::is_unknown, state::State};
use crate::client::Client;

/// How often the primary is asked whether it has let go.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often a primary that was not fenced is told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often the last look is tried.
const LOOKS_MAX: usize = 3;

/// What came of fencing the primary.
enum Fenced {
    /// Nothing is acknowledged there any more.
    Drained,
    /// It is not known to be so.
    No {
        /// Why.
        why: String,
        /// Whether it answers, so that it can be read.
        is_reached: bool,
    },
}

/// That somebody promotes, as long as it lives.
struct Promoting<'a>(&'a Standby);

impl<'a> Promoting<'a> {
    fn begin(standby: &'a Standby) -> Self {
        standby.promoting.send_modify(|promoting| *promoting += 1);
        Self(standby)
    }
}

impl Drop for Promoting<'_> {
    fn drop(&mut self) {
        self.0.promoting.send_modify(|promoting| *promoting -= 1);
    }
}

impl Standby {
    /// Takes the primary's place.
    pub(super) async fn promote(self: Arc<Self>, force: bool) -> Result<Promotion, PromoteError> {
        let _promoting = Promoting::begin(&self);
        let mut client = self.turn.lock().await;
        self.promote_in_turn(&mut client, force).await
    }

    async fn promote_in_turn(
        self: &Arc<Self>,
        client: &mut Option<Client>,
        force: bool,
    ) -> Result<Promotion, PromoteError> {
        let state = self.state.lock().clone();
        if let Some(epoch) = state.promoted {
            return Err(PromoteError::Already { epoch });
        }
        if state.forgotten {
            return Err(not_ours());
        }
        let failed = |cause: &dyn std::fmt::Display| PromoteError::Failed(cause.to_string());
        // What was read is here, whatever comes.
        self.append_spooled().await.map_err(|cause| failed(&cause))?;
        let epoch = state.epoch.saturating_add(1);
        let fenced = self.fence(&state, epoch, force).await?;
        let missing = match &fenced {
            Fenced::Drained => self.look_again(client).await.err(),
            // Some of its nodes may not let go, and what the others have acknowledged is there to be read all the same.
            Fenced::No {
                why,
                is_reached: true,
            } if force => Some(match self.look_again(client).await {
                Ok(()) => why.clone(),
                Err(unread) => format!("{why}; {unread}"),
            }),
            Fenced::No { why, .. } => Some(why.clone()),
        };
        if self.state.lock().forgotten {
            return Err(not_ours());
        }
        if let Some(why) = missing.as_ref().filter(|_| !force) {
            return Err(PromoteError::NotClean(why.clone()));
        }
        let state = State {
            promoted: Some(epoch),
            has_fenced: matches!(fenced, Fenced::Drained),
            ..self.state.lock().clone()
        };
        // Before anything is led: from here on this cluster is the one that is written to.
        block_in_place(|| state.write(&self.data_dir)).map_err(|cause| failed(&cause))?;
        let applied = self.followed.read().applied;
        *self.state.lock() = state.clone();
        {
            let mut followed = self.followed.write();
            followed.promoted = Some(epoch);
            followed.has_fenced = state.has_fenced;
            followed.orders_behind = 0;
            followed.entries_behind = 0;
            followed.error.clear();
        }
        // It is promoted, whatever comes of this: who leads now or only after some tries is not for whoever asked to see to.
        let led = self.docket.lead(epoch).await;
        tokio::spawn(serve(Arc::clone(self), led.is_ok()));
        led.map_err(|cause| {
            failed(&format!(
                "promoted in epoch {epoch}, and does not lead yet, which is tried again by itself: {cause}"
            ))
        })?;
        tracing::warn!(
            epoch,
            missing = missing.as_deref().unwrap_or("nothing"),
            "promoted: this cluster is the primary"
        );
        Ok(Promotion {
            epoch,
            missing: missing.unwrap_or_default(),
            applied,
        })
    }

    /// Has the primary be written to no more, and waits until nothing is on its way there.
    /// By force it is not waited for one that is not reached.
    async fn fence(&self, state: &State, epoch: u64, force: bool) -> Result<Fenced, PromoteError> {
        let deadline = Instant::now() + self.fence_within;
        loop {
            let (is_reached, why) = match self.tell(state, epoch).await {
                Ok(answer) if answer.fenced && answer.drained => return Ok(Fenced::Drained),
                Ok(answer) if answer.fenced => {
                    let why =
                        "the primary is fenced, and not all of its nodes have said that they have let go";
                    (true, why.to_owned())
                }
                Ok(_) => (true, "the primary did not say that it is fenced".to_owned()),
                Err(status) if is_unknown(&status) => {
                    // So that neither a later start nor force goes against it.
                    self.note_forgotten(true)
                        .map_err(|cause| PromoteError::Failed(cause.to_string()))?;
                    return Err(not_ours());
                }
                Err(status) => (
                    false,
                    format!("the primary could not be fenced: {}", status.message()),
                ),
            };
            if Instant::now() >= deadline || force && !is_reached {
                return Ok(Fenced::No { why, is_reached });
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn tell(&self, state: &State, epoch: u64) -> Result<ExchangeEpochsResponse, tonic::Status> {
        let primary = self.primary.as_ref();
        let primary =
            primary.ok_or_else(|| tonic::Status::unavailable("nothing says where the primary is"))?;
        let request = ExchangeEpochsRequest {
            secret: state.secret.0.clone(),
            epoch,
            address: state.address.clone(),
        };
        primary.exchange(&request).await
    }

    /// The last look. Why it failed, if it did.
    async fn look_again(&self, client: &mut Option<Client>) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..LOOKS_MAX {
            match self.look(client).await {
                // Nothing is stamped after its time any more, so that nothing is left for a next one.
                Ok(()) if self.followed.read().entries_behind == 0 => return Ok(()),
                Ok(()) => last = "the primary had more than its point".to_owned(),
                Err(missed) => last = missed.why,
            }
            sleep(ASK_EVERY).await;
        }
        Err(format!("the primary could not be read for the last time: {last}"))
    }
}

/// Of one that has just been promoted: leads, with as many tries as it takes, and then as [`hold`].
async fn serve(standby: Arc<Standby>, mut leads: bool) {
    let epoch = standby.state.lock().promoted.unwrap_or_default();
    while !leads {
        sleep(TELL_EVERY).await;
        match standby.docket.lead(epoch).await {
            Ok(()) => {
                tracing::warn!(epoch, "this cluster leads, as the primary");
                leads = true;
            }
            Err(error) => tracing::warn!(epoch, %error, "promoted, and does not lead yet"),
        }
    }
    hold(standby).await;
}

/// Of a node that was promoted: notes that in its log, where an earlier life did not come so far, and tells the other.
pub(super) async fn hold(standby: Arc<Standby>) {
    let epoch = standby.state.lock().promoted.unwrap_or_default();
    loop {
        match standby.docket.note_promoted(epoch).await {
            Ok(()) => break,
            // Its own standby has taken its place since: nothing is noted there any more.
            Err(StandbyError::Fenced { .. }) => break,
            Err(error) => tracing::debug!(%error, "the epoch is not noted yet"),
        }
        sleep(TELL_EVERY).await;
    }
    if !standby.state.lock().has_fenced {
        tell(standby).await;
    }
}

/// Tells the cluster that was followed of the epoch, until it has said that it is fenced. One that knows nothing of this one is told again too: it may be restored, or another
/// at its address.
async fn tell(standby: Arc<Standby>) {
    let mut is_told = false;
    loop {
        let state = standby.state.lock().clone();
        let epoch = state.promoted.unwrap_or_default();
        match standby.tell(&state, epoch).await {
            Ok(answer) if answer.fenced => {
                tracing::warn!(epoch, primary = %state.primary, "the cluster that was followed is fenced");
                let state = State {
                    has_fenced: true,
                    ..state
                };
                if let Err(error) = block_in_place(|| state.write(&standby.data_dir)) {
                    tracing::warn!(%error, "that it is fenced was not written down");
                }
                *standby.state.lock() = state;
                standby.followed.write().has_fenced = true;
                return;
            }
            Ok(_) => {}
            Err(status) if is_unknown(&status) => {
                if !is_told {
                    tracing::warn!(primary = %state.primary, "the cluster that was followed knows nothing of this one");
                }
                is_told = true;
            }
            Err(status) => tracing::debug!(
                error = status.message(),
                "the cluster that was followed is not reached"
            ),
        }
        sleep(TELL_EVERY).await;
    }
}

fn not_ours() -> PromoteError {
    PromoteError::NotOurs(
        "the primary has forgotten this standby, or has another: of two only one may take its place"
            .to_owned(),
    )
}

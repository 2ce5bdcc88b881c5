//! The primary's side: whether its standby has taken its place. A node asks that at its start before it takes writes, and every few seconds from then on.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use docket_actors::{
    Docket,
    standby::{Fence, Posture, RegisteredStandby, StandbyError},
};
use docket_proto::v1::ExchangeEpochsRequest;
use tokio::{task::block_in_place, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    link::{exchange, is_unknown},
    state::{note_asks, note_fenced},
};

/// How often it is asked before it has answered, and looked whether the cluster was fenced.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// And from then on.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Asks until it is dropped, or the cluster is fenced.
pub struct Asking {
    docket: Docket,
    data_dir: PathBuf,
    _task: AbortOnDropHandle<()>,
}

/// What the standby says.
enum Said {
    /// It follows still.
    Follows,
    /// It is about to take this cluster's place, and may be refused that yet.
    Promoting,
    /// It was promoted.
    Promoted(Fence),
    /// Nothing.
    Nothing(String),
}

impl Asking {
    /// Begins. A node that waits for the answer waits no longer than this.
    pub fn start(docket: &Docket, data_dir: PathBuf, within: Duration) -> Self {
        let task = tokio::spawn(ask(docket.clone(), data_dir.clone(), within));
        Self {
            docket: docket.clone(),
            data_dir,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl Drop for Asking {
    /// A node that is stopped right behind its fence knows of it at its next start, so that it can follow.
    fn drop(&mut self) {
        if let Posture::Fenced { epoch, by } = &*self.docket.posture()
            && let Err(error) = note_fenced(&self.data_dir, *epoch, by)
        {
            tracing::warn!(%error, "the fence was not written down");
        }
    }
}

async fn ask(docket: Docket, data_dir: PathBuf, within: Duration) {
    let (deadline, mut next) = (Instant::now() + within, Instant::now());
    // Once it has said that it was promoted nothing opens this node any more.
    let mut is_over = false;
    let mut noted: Option<Option<String>> = None;
    loop {
        if let Posture::Fenced { epoch, by } = &*docket.posture() {
            match block_in_place(|| note_fenced(&data_dir, *epoch, by)) {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the fence was not written down"),
            }
        } else if Instant::now() < next {
            // It was asked a moment ago.
        } else if let Some(standby) = docket.registered_standby() {
            match said(&docket, &standby).await {
                Said::Promoted(fence) => {
                    is_over = true;
                    tracing::warn!(epoch = fence.epoch, by = %fence.by, "the standby has taken this cluster's place");
                    match docket.fence(fence).await {
                        Ok(()) => {}
                        Err(StandbyError::Unknown) => {
                            is_over = false;
                            tracing::warn!(
                                "another standby is registered since: that one does not take this cluster's place"
                            );
                        }
                        Err(error) => tracing::warn!(%error, "the cluster is not fenced yet"),
                    }
                }
                // The cluster may be fenced for that already, and this node have said before it was restarted that it has let go.
                Said::Promoting => {}
                Said::Follows if matches!(*docket.posture(), Posture::Asking { .. }) => {
                    // Fenced for a promotion that was refused it stays so; whether it is stands in what it may have to read first.
                    let is_known = docket.knows_registry().await || Instant::now() >= deadline;
                    if is_known && docket.fence_of().is_none() && !is_over {
                        docket.open_up();
                    }
                }
                Said::Follows => {}
                Said::Nothing(why) => {
                    if Instant::now() >= deadline
                        && !is_over
                        && matches!(*docket.posture(), Posture::Asking { .. })
                    {
                        tracing::warn!(standby = %standby.address, %why, "the standby does not answer: writes are let in");
                        docket.open_up();
                    }
                }
            }
        } else if !matches!(*docket.posture(), Posture::Asking { .. }) {
            // There is none, as far as this node knows.
        } else if docket.knows_registry().await {
            // It may have been read only now.
            if docket.registered_standby().is_none() {
                docket.open_up();
            }
        } else if Instant::now() >= deadline {
            docket.open_up();
        }
        let standby = docket.registered_standby().map(|standby| standby.address);
        let is_news = noted.as_ref() != Some(&standby) && docket.posture().is_open();
        // That there is none is believed once it is known.
        if is_news && (standby.is_some() || docket.knows_registry().await) {
            match block_in_place(|| note_asks(&data_dir, standby.as_deref())) {
                Ok(()) => noted = Some(standby),
                Err(error) => tracing::warn!(%error, "whether there is a standby was not written down"),
            }
        }
        if Instant::now() >= next && docket.posture().is_open() {
            next = Instant::now() + LOOK_EVERY;
        }
        sleep(ASK_EVERY).await;
    }
}

async fn said(docket: &Docket, standby: &RegisteredStandby) -> Said {
    let ours = docket.epoch();
    let request = ExchangeEpochsRequest {
        secret: standby.secret.clone(),
        epoch: ours,
        address: String::new(),
    };
    match exchange(&standby.address, &standby.ca, request).await {
        Ok(answer) if answer.promoted && answer.epoch > ours => Said::Promoted(Fence {
            epoch: answer.epoch,
            by: answer.address,
            standby: standby.id.clone(),
        }),
        Ok(answer) if answer.promoting => Said::Promoting,
        Ok(_) => Said::Follows,
        // Nothing is said of the standby that is registered: that may be elsewhere by now, and promoted.
        Err(status) if is_unknown(&status) => Said::Nothing(
            "whoever is there does not know this cluster: `docket standby forget`, if the standby is no more"
                .to_owned(),
        ),
        Err(status) => Said::Nothing(status.message().to_owned()),
    }
}

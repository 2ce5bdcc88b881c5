//! Backups that the cluster makes by itself (`[backup]`): whoever leads the accounts makes them, one after the other.
//!
//! When the next is due is told by the repository, so that who leads next goes on with it. What fails is told, counted, and tried again in a while;
//! the cluster is no worse for it.

use std::time::Duration;

use docket_actors::{Docket, Leadership, TaskKind};
use docket_audit::{Audit, Entry, Who, actions};
use docket_backup::{Key, Place, Repository, Wanted, create};
use docket_secrets::{Reference, Store};
use jiff::Timestamp;
use metrics::{counter, gauge};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::measured::{BACKUP_BYTES, BACKUP_EVERY, BACKUP_FAILURES, BACKUP_UNTIL};
use crate::{
    backup::{Local, new_id, place},
    config::Config,
    failure::Failure,
};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after one that failed the next is tried, at most.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Makes backups until it is dropped. One that is being made then is gone on with by whoever makes the next.
pub struct Backups {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// What it goes by.
struct Maker {
    place: Place,
    key: Option<Key>,
    every: Duration,
    docket: Docket,
    audit: Audit,
}

impl Backups {
    /// Begins; `None` where none are wanted.
    ///
    /// # Errors
    /// The place or the key cannot be used.
    pub fn start(
        config: &Config,
        store: &Store,
        docket: &Docket,
        audit: &Audit,
    ) -> Result<Option<Self>, Failure> {
        let Some(to) = &config.backup.to else {
            return Ok(None);
        };
        let unusable = |key: &str, why: String| Failure::Other(format!("{key}: {why}"));
        let secret = |key: &Reference| store.get(key).map(|secret| Key::of(&secret));
        let key = config.backup.key.as_ref().and_then(secret).transpose();
        let maker = Maker {
            place: place(to).map_err(|why| unusable("backup.to", why))?,
            key: key.map_err(|why| unusable("backup.key", why.to_string()))?,
            every: config.backup.every(),
            docket: docket.clone(),
            audit: audit.clone(),
        };
        gauge!(BACKUP_EVERY).set(maker.every.as_secs_f64());
        counter!(BACKUP_FAILURES).increment(0);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let making = async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = maker.run() => {}
            }
        };
        Ok(Some(Self {
            stop,
            task: AbortOnDropHandle::new(tokio::spawn(TaskKind::Background.measure(making))),
        }))
    }

    /// Makes none any more.
    pub async fn stop(self) {
        self.stop.cancel();
        // A panic there has cost the backup that it was at.
        let _ = self.task.await;
    }
}

impl Maker {
    async fn run(&self) {
        // Since when this node has led the accounts, and when the last was begun as far as it has asked; microseconds since 1970.
        let mut begun: Option<i64> = None;
        loop {
            sleep(LOOK_EVERY).await;
            if !self.leads() {
                begun = None;
                continue;
            }
            let outcome = match begun {
                Some(begun) if !self.is_due(begun) => continue,
                // Who leads next goes on with it, and is not to find this one at it.
                Some(_) => tokio::select! {
                    made = self.make() => made,
                    () = self.until_led_elsewhere() => continue,
                },
                None => self.last_begun().await,
            };
            match outcome {
                Ok(found) => begun = Some(found),
                Err(error) => {
                    counter!(BACKUP_FAILURES).increment(1);
                    tracing::error!(place = %self.place, %error, "no backup was made; it is tried again");
                    begun = None;
                    sleep(RETRY_AFTER.min(self.every)).await;
                }
            }
        }
    }

    fn leads(&self) -> bool {
        let groups = self.docket.status().cluster.groups;
        let meta = groups.first().map(|group| group.leadership);
        matches!(meta, Some(Leadership::Leader { .. }))
    }

    async fn until_led_elsewhere(&self) {
        while self.leads() {
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_due(&self, begun: i64) -> bool {
        let since = Timestamp::now().as_microsecond().saturating_sub(begun);
        // Where the clock was set back, too.
        since < 0 || since >= i64::try_from(self.every.as_micros()).unwrap_or(i64::MAX)
    }

    /// When the newest backup was begun; long ago where there is none.
    async fn last_begun(&self) -> Result<i64, String> {
        let repository = self.repository().await?;
        let Some(newest) = repository
            .backups()
            .await
            .map_err(|error| error.to_string())?
            .pop()
        else {
            return Ok(0);
        };
        let (newest, _) = repository
            .manifest(&newest)
            .await
            .map_err(|error| error.to_string())?;
        measure(newest.until_us);
        Ok(newest.begun_us)
    }

    async fn make(&self) -> Result<i64, String> {
        let repository = self.repository().await?;
        let now = Timestamp::now();
        let wanted = Wanted {
            id: new_id(now),
            now_us: now.as_microsecond(),
            full: false,
        };
        let source = Local(self.docket.clone());
        let made = create(&repository, &source, &wanted, &mut |_| {}).await;
        let made = made.map_err(|error| error.to_string())?;
        measure(made.until_us);
        counter!(BACKUP_BYTES).increment(made.bytes());
        tracing::info!(backup = %made.id, place = %self.place, bytes = made.bytes(), "a backup was made");
        let entry = Entry::new(Who::node(), actions::BACKUP_CREATE, made.id);
        self.audit.note(entry.detail("place", self.place.to_string()));
        Ok(made.begun_us)
    }

    async fn repository(&self) -> Result<Repository, String> {
        let cluster = self.docket.status().cluster.identity.cluster_id;
        let opened = Repository::open_or_make(self.place.clone(), self.key.clone(), &cluster).await;
        opened.map_err(|error| error.to_string())
    }
}

/// Up to when all can be restored.
fn measure(until_us: i64) {
    gauge!(BACKUP_UNTIL).set(until_us as f64 / 1e6);
}

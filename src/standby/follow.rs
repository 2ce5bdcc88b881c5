//! Follows the primary: again and again a point in all of its logs, and what they have up to it, spooled whole before any of it is appended.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use docket_actors::{
    Docket, GroupId,
    backup::LoggedEntry,
    standby::{Followed, LastEntry, PromoteError, Promotion, StandbyControl},
};
use docket_proto::v1::{FollowLogsRequest, FollowLogsResponse, follow_logs_response::Piece};
use futures::future::{BoxFuture, FutureExt as _, try_join_all};
use metrics::gauge;
use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq as _;
use tokio::{
    sync::{Mutex as Turn, watch},
    task::block_in_place,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Streaming};

use super::{
    cut::Cut,
    link::{Primary, is_unknown},
    promote,
    spool::{self, Reading, Start},
    state::State,
};
use crate::{client::Client, config::Config, failure::Failure};

/// Whether the node follows another cluster.
pub const FOLLOWS: &str = "docket_standby_follows";
/// How far a standby is behind, in seconds.
pub const LAG: &str = "docket_standby_lag_seconds";
/// The same in orders.
pub const LAG_ORDERS: &str = "docket_standby_lag_orders";
/// Up to when all that the primary had acknowledged is here.
pub const APPLIED: &str = "docket_standby_applied_timestamp_seconds";

/// How long the primary may send nothing of what it was asked for.
const STALL: Duration = Duration::from_secs(10);
/// How long after a look that failed the next is, at least.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Bytes of entries that are appended at once.
const BATCH_BYTES: usize = 8 << 20;
/// How often it is written down how far the standby is where nothing was appended.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How often the gauges are set.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// A node that follows another cluster, or did. Stops with it.
pub struct Follower {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// What it goes by.
pub(super) struct Standby {
    pub(super) docket: Docket,
    pub(super) data_dir: PathBuf,
    /// `None` where nothing says any more where it is.
    pub(super) primary: Option<Primary>,
    pub(super) fence_within: Duration,
    poll: Duration,
    pub(super) state: Mutex<State>,
    pub(super) followed: RwLock<Followed>,
    /// Whose turn it is to append. Holds the connection.
    pub(super) turn: Turn<Option<Client>>,
    /// How many promote it, in turn: a look that is on its way is given up for that.
    pub(super) promoting: watch::Sender<usize>,
}

impl Follower {
    /// Begins; of one that was promoted, to fence the other.
    ///
    /// # Errors
    /// What was spooled cannot be appended.
    pub async fn start(
        config: &Config,
        docket: &Docket,
        primary: Option<Primary>,
        state: State,
    ) -> Result<Self, Failure> {
        let is_promoted = state.promoted.is_some();
        let standby = Arc::new(Standby::new(config, docket, primary, state));
        docket.set_standby(Arc::new(Handle(Arc::clone(&standby))));
        let mut tasks = Vec::new();
        if is_promoted {
            tasks.push(tokio::spawn(promote::hold(standby)));
        } else {
            let appended = match docket.apply_followed().await {
                Ok(()) => standby.append_spooled().await,
                Err(cause) => Err(cause),
            };
            appended.map_err(|cause| {
                Failure::Other(format!(
                    "what was read of the primary cannot be appended: {cause}"
                ))
            })?;
            tasks.push(tokio::spawn(Arc::clone(&standby).run()));
            tasks.push(tokio::spawn(measure(standby)));
        }
        Ok(Self {
            _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect(),
        })
    }
}

/// What the edge asks.
struct Handle(Arc<Standby>);

impl StandbyControl for Handle {
    fn followed(&self) -> Followed {
        Followed {
            promoting: *self.0.promoting.borrow() > 0,
            ..self.0.followed.read().clone()
        }
    }

    fn promote(&self, force: bool) -> BoxFuture<'static, Result<Promotion, PromoteError>> {
        let standby = Arc::clone(&self.0);
        // It runs to its end, also where whoever asked goes away.
        let promoted = tokio::spawn(async move { standby.promote(force).await });
        let failed = |cause: tokio::task::JoinError| PromoteError::Failed(cause.to_string());
        promoted.map(move |done| done.map_err(failed)?).boxed()
    }

    fn knows(&self, secret: &str) -> bool {
        let state = self.0.state.lock();
        !secret.is_empty() && bool::from(state.secret.0.as_bytes().ct_eq(secret.as_bytes()))
    }

    fn own_address(&self) -> String {
        self.0.state.lock().address.clone()
    }
}

/// Why a look came to nothing.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) why: String,
    /// The primary does not know this standby any more.
    pub(super) forgotten: bool,
}

impl<E: std::fmt::Display> From<E> for Missed {
    fn from(error: E) -> Self {
        Self {
            why: error.to_string(),
            forgotten: false,
        }
    }
}

impl Standby {
    pub(super) fn new(config: &Config, docket: &Docket, primary: Option<Primary>, state: State) -> Self {
        let followed = Followed {
            primary: state.primary.clone(),
            applied: moment(state.until_us),
            promoted: state.promoted,
            has_fenced: state.has_fenced,
            ..Followed::default()
        };
        Self {
            docket: docket.clone(),
            data_dir: config.server.data_dir.clone(),
            primary,
            fence_within: config.standby.fence_within(),
            poll: config.standby.poll(),
            state: Mutex::new(state),
            followed: RwLock::new(followed),
            turn: Turn::new(None),
            promoting: watch::Sender::new(0),
        }
    }

    async fn run(self: Arc<Self>) {
        let mut promoting = self.promoting.subscribe();
        let mut told = String::new();
        loop {
            let missed = {
                let mut client = self.turn.lock().await;
                if self.state.lock().promoted.is_some() {
                    return;
                }
                tokio::select! {
                    looked = self.look(&mut client) => looked.err(),
                    // What is spooled is appended by whoever promotes it. The sender is this one's own.
                    _ = promoting.wait_for(|promoting| *promoting > 0) => None,
                }
            };
            let why = missed
                .as_ref()
                .map(|missed| missed.why.clone())
                .unwrap_or_default();
            if why != told {
                match why.is_empty() {
                    true => tracing::info!("the primary is followed"),
                    false => tracing::warn!(%why, "the primary is not followed"),
                }
                told.clone_from(&why);
            }
            let pause = match missed {
                None => self.poll,
                Some(_) => self.poll.max(RETRY_AFTER),
            };
            self.followed.write().error = why;
            sleep(pause).await;
            // Until it has failed, or is done.
            let _ = promoting.wait_for(|promoting| *promoting == 0).await;
        }
    }

    /// Looks once what the primary has, and appends it.
    pub(super) async fn look(&self, client: &mut Option<Client>) -> Result<(), Missed> {
        let primary = self.primary.as_ref().ok_or("nothing says where the primary is")?;
        let connected = match client.take() {
            Some(client) => client,
            None => primary.connect().await?,
        };
        let looked = self.look_by(&connected).await;
        match &looked {
            Ok(()) => {
                *client = Some(connected);
                self.note_forgotten(false)?;
            }
            Err(missed) => {
                primary.pass_on();
                if missed.forgotten {
                    self.note_forgotten(true)?;
                }
            }
        }
        looked
    }

    /// Notes whether the primary has forgotten this standby: as it said last.
    pub(super) fn note_forgotten(&self, forgotten: bool) -> io::Result<()> {
        let mut state = self.state.lock().clone();
        if state.forgotten != forgotten {
            state.forgotten = forgotten;
            block_in_place(|| state.write(&self.data_dir))?;
            *self.state.lock() = state;
        }
        Ok(())
    }

    async fn look_by(&self, client: &Client) -> Result<(), Missed> {
        let read = self.read(client).await?;
        if read.is_spooled {
            self.append_spooled().await?;
        } else {
            self.note(read.until_us, false)?;
        }
        self.behind(read.late.0, read.late.1);
        Ok(())
    }

    /// Reads what the primary has up to a point, and spools it.
    pub(super) async fn read(&self, client: &Client) -> Result<Read, Missed> {
        let from = self.from();
        let request = FollowLogsRequest {
            standby_id: self.state.lock().id.clone(),
            from_index: from.iter().map(|from| from.next).collect(),
        };
        let asked = timeout(STALL, client.unbounded().standby().follow_logs(request)).await;
        let mut stream = match asked.map_err(|_elapsed| "the primary does not answer")? {
            Ok(stream) => stream.into_inner(),
            Err(status) if status.code() == Code::OutOfRange => {
                return Err(Missed::from(
                    "the primary has purged of its log what comes next: `docket standby forget` there, then stop this node, empty its folder and start it: it is seeded anew",
                ));
            }
            Err(status) => {
                return Err(Missed {
                    forgotten: is_unknown(&status),
                    why: status.message().to_owned(),
                });
            }
        };
        let Some(Piece::Point(point)) = next(&mut stream).await? else {
            return Err(Missed::from("the primary sent no point"));
        };
        let mut cut = block_in_place(|| Cut::begin(&self.data_dir, &point, from))?;
        loop {
            match next(&mut stream).await? {
                Some(Piece::Entries(entries)) => {
                    block_in_place(|| cut.take(entries))?;
                    self.behind(cut.orders, cut.entries);
                }
                Some(Piece::End(_)) => break,
                Some(Piece::Point(_)) | None => return Err(Missed::from("the primary's answer broke off")),
            }
        }
        let (late, until_us) = (cut.late, cut.until_us);
        Ok(Read {
            until_us,
            late,
            is_spooled: block_in_place(|| cut.finish())?,
        })
    }

    /// From where each group is read.
    fn from(&self) -> Vec<Start> {
        let shards = self.docket.status().cluster.identity.shards;
        let of = |group| match self.docket.last_applied(GroupId(group)) {
            Some((index, term)) => Start {
                next: index + 1,
                term,
            },
            None => Start { next: 0, term: 0 },
        };
        (0..=u32::from(shards)).map(of).collect()
    }

    fn behind(&self, orders: u64, entries: u64) {
        let mut followed = self.followed.write();
        followed.orders_behind = orders;
        followed.entries_behind = entries;
    }

    /// Appends what is spooled, if anything is, and notes how far that is.
    pub(super) async fn append_spooled(&self) -> io::Result<()> {
        let whole = block_in_place(|| -> io::Result<bool> {
            let Some(mut reading) = Reading::open(&self.data_dir)? else {
                return Ok(false);
            };
            while reading.next()?.is_some() {}
            Ok(true)
        });
        if !whole? {
            return Ok(());
        }
        let Some(mut reading) = Reading::open(&self.data_dir)? else {
            return Ok(());
        };
        let before = |from: &Start| from.next.checked_sub(1).map(|index| (index, from.term));
        let mut previous: Vec<Option<LastEntry>> = reading.from.iter().map(before).collect();
        let (mut batch, mut bytes) = (BTreeMap::<u32, Vec<LoggedEntry>>::new(), 0);
        loop {
            let frame = block_in_place(|| reading.next())?;
            let is_last = frame.is_none();
            if let Some((group, mut entries)) = frame {
                bytes += entries.len();
                let batch = batch.entry(group).or_default();
                while let Some(entry) = LoggedEntry::take(&mut entries).map_err(io::Error::other)? {
                    batch.push(entry);
                }
            }
            if is_last || bytes >= BATCH_BYTES {
                let of = |group: u32| previous.get(group as usize).copied().flatten();
                let full = std::mem::take(&mut batch);
                let lasts: Vec<_> = full
                    .iter()
                    .filter_map(|(group, entries)| {
                        Some((*group, entries.last().map(|last| (last.index, last.term))?))
                    })
                    .collect();
                let appended = full
                    .into_iter()
                    .map(|(group, entries)| self.docket.follow_log(GroupId(group), of(group), entries));
                try_join_all(appended).await?;
                for (group, last) in lasts {
                    if let Some(previous) = previous.get_mut(group as usize) {
                        *previous = Some(last);
                    }
                }
                bytes = 0;
            }
            if is_last {
                break;
            }
        }
        self.note(reading.until_us, true)?;
        block_in_place(|| spool::remove(&self.data_dir))
    }

    /// Notes up to when all is here.
    fn note(&self, until_us: i64, appended: bool) -> io::Result<()> {
        let state = {
            let mut state = self.state.lock();
            let is_old = until_us.saturating_sub(state.until_us) >= NOTE_EVERY.as_micros() as i64;
            if !appended && !is_old {
                None
            } else {
                state.until_us = state.until_us.max(until_us);
                Some(state.clone())
            }
        };
        if let Some(state) = state {
            block_in_place(|| state.write(&self.data_dir))?;
        }
        let mut followed = self.followed.write();
        followed.applied = followed.applied.max(moment(until_us));
        Ok(())
    }
}

async fn next(stream: &mut Streaming<FollowLogsResponse>) -> Result<Option<Piece>, Missed> {
    let message = timeout(STALL, stream.message()).await;
    let message = message.map_err(|_elapsed| "the primary sends nothing")?;
    let message = message.map_err(|status| status.message().to_owned())?;
    Ok(message.and_then(|message| message.piece))
}

/// What was read.
pub(super) struct Read {
    /// What was acknowledged before is in it.
    pub(super) until_us: i64,
    /// Orders and entries that are left for the next look.
    late: (u64, u64),
    /// Whether there is anything to append.
    pub(super) is_spooled: bool,
}
/// Sets the gauges, until it leads.
async fn measure(standby: Arc<Standby>) {
    loop {
        let followed = standby.followed.read().clone();
        let is_promoted = followed.promoted.is_some();
        gauge!(FOLLOWS).set(f64::from(u8::from(!is_promoted)));
        if let Some(applied) = followed.applied {
            let since_epoch = applied.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            gauge!(APPLIED).set(since_epoch.as_secs_f64());
            let lag = SystemTime::now().duration_since(applied).unwrap_or_default();
            gauge!(LAG).set(if is_promoted { 0.0 } else { lag.as_secs_f64() });
        }
        gauge!(LAG_ORDERS).set(if is_promoted {
            0.0
        } else {
            followed.orders_behind as f64
        });
        if is_promoted {
            return;
        }
        sleep(MEASURE_EVERY).await;
    }
}

/// A time in microseconds since 1970; `None` for 0.
pub(super) fn moment(time_us: i64) -> Option<SystemTime> {
    let time_us = u64::try_from(time_us).ok().filter(|time_us| *time_us > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(time_us))
}

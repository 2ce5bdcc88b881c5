//! Makes a backup: asks a source for a point, and for what each group has up to it.
//!
//! ```text
//!   point ──▶ for each group:  its log goes on where the last backup ended?  ── yes ─▶ the entries up to the point
//!                                     │ no, or there is too much of it
//!                                     ▼
//!                              a base: the newest snapshot, what that leaves aside; the entries behind it
//!                                     │ it is of later than the point
//!                                     ▼
//!                              a later point, and the entries up to it, of all groups that were read
//!         ──▶ the manifest, last
//! ```
//!
//! After each object what there is so far is noted, and who makes the next backup goes on there: the point stays, unless a base is of later, or the
//! source has not got it any more. Whoever makes a backup takes over from whoever was at it, who stops before the next thing that it would write: before each
//! it is looked whose turn it is, and no two have names of objects in common. How a backup is filled is in `maker`.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::maker::{Maker, Stopped, Told};
use crate::{Manifest, Repository, RepositoryError};

/// How often a backup is begun anew where the source has moved on meanwhile.
const POINTS_MAX: usize = 4;

/// A point, as a source tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Whose it is.
    pub cluster_id: String,
    /// Which node tells.
    pub node: u64,
    /// How many shards there are.
    pub shards: u16,
    /// What was stamped up to this time belongs to it, in microseconds since 1970.
    pub until_us: i64,
    /// The meta group, then the shards in order.
    pub groups: Vec<PointOf>,
}

/// A point of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointOf {
    /// Its entries before this one.
    pub next: u64,
}

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Index after that of its last entry.
    pub next: u64,
    /// The term of that.
    pub term: u64,
    /// Nothing in it was stamped later.
    pub time_us: i64,
    /// How much of the archive it counts.
    pub archived: u64,
}

/// Some entries of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The first.
    pub from: u64,
    /// Before this one.
    pub before: u64,
    /// Their bytes.
    pub bytes: Bytes,
}

/// Why a source does not tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It has the first of the entries no more.
    #[error("{0}")]
    Purged(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// What comes, piece by piece; an error ends it.
pub type Pieces<T> = mpsc::Receiver<Result<T, SourceError>>;

/// Who has what is backed up.
pub trait Source: Sync {
    /// A point behind all that was answered before.
    fn point(&self) -> impl Future<Output = Result<Point, SourceError>> + Send;

    /// The newest snapshot of a group, if there is one, and its bytes.
    fn state(
        &self,
        group: u32,
    ) -> impl Future<Output = Result<Option<(State, Pieces<Bytes>)>, SourceError>> + Send;

    /// A part of a group's archive.
    fn archive(
        &self,
        group: u32,
        from: u64,
        before: u64,
    ) -> impl Future<Output = Result<Pieces<Bytes>, SourceError>> + Send;

    /// Entries of a group's log.
    fn log(
        &self,
        group: u32,
        from: u64,
        before: u64,
    ) -> impl Future<Output = Result<Pieces<Entries>, SourceError>> + Send;
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The repository's.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The source's.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The log of a group moves on faster than it is read.
    #[error("group {0}: its log is gone before it is read, again and again")]
    TooSlow(u32),
}

/// How a backup is made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of a new one.
    pub id: String,
    /// What time it is.
    pub now_us: i64,
    /// With a base for every group, whatever there is already, and the whole archive: it rests on no backup before it.
    pub full: bool,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Which backup.
    pub id: &'a str,
    /// Whether an earlier try is gone on with.
    pub resumed: bool,
    /// Groups that are done.
    pub done: usize,
    /// All groups.
    pub groups: usize,
    /// Bytes that were put by now, in all.
    pub bytes: u64,
}

/// Who is told how far it is.
pub type Tell<'a> = dyn FnMut(&Progress<'_>) + Send + 'a;

/// Makes a backup. One that was begun and not finished is finished first; the new one goes on from it.
///
/// # Errors
/// [`CreateError`]. What there is stays, and the next try goes on there.
pub async fn create(
    repository: &Repository,
    source: &impl Source,
    wanted: &Wanted,
    progress: &mut Tell<'_>,
) -> Result<Manifest, CreateError> {
    let mut moved_on = 0;
    loop {
        let attempt = repository.take_over().await?;
        let begun = repository.unfinished().await?;
        let resumed = begun.is_some();
        let mut maker = match begun {
            Some(begun) => Maker::go_on(repository, source, begun, &attempt).await?,
            None => Maker::begin(repository, source, wanted, &attempt).await?,
        };
        let filled = match &mut maker {
            Some(maker) => {
                maker
                    .fill(&mut Told {
                        resumed,
                        progress: &mut *progress,
                    })
                    .await
            }
            None => Err(Stopped::MovedOn(0)),
        };
        match (filled, maker) {
            (Ok(()), Some(maker)) => {
                repository.is_mine(&attempt).await?;
                repository.finish(&maker.manifest).await?;
                if !resumed {
                    return Ok(maker.manifest);
                }
            }
            (Err(Stopped::Failed(error)), _) => return Err(error),
            // What is left to read is not there any more: begun anew.
            (Ok(()) | Err(Stopped::MovedOn(_)), _) if resumed => {
                if let Some(begun) = repository.unfinished().await? {
                    repository.is_mine(&attempt).await?;
                    repository.abandon(&begun).await?;
                }
            }
            (Ok(()), None) => return Err(CreateError::TooSlow(0)),
            (Err(Stopped::MovedOn(group)), maker) => {
                if let Some(maker) = maker {
                    repository.is_mine(&attempt).await?;
                    repository.abandon(&maker.manifest).await?;
                }
                moved_on += 1;
                if moved_on == POINTS_MAX {
                    return Err(CreateError::TooSlow(group));
                }
            }
        }
    }
}

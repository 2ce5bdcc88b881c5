//! What can be wrong with a repository.

/// Why something is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The disk's or the store's.
    #[error("{place}: {cause}")]
    Place {
        /// What was read or written.
        place: String,
        /// What went wrong.
        cause: String,
    },
    /// There is no such file.
    #[error("{place} is not there")]
    Missing {
        /// Which one.
        place: String,
    },
    /// It is not what was written: changed, cut, or another's.
    #[error("{place} is damaged: {cause}")]
    Damaged {
        /// Which one.
        place: String,
        /// What does not fit.
        cause: String,
    },
    /// There is something else.
    #[error("{place} is no backup repository, and not empty: name an empty place for a new one")]
    NoRepository {
        /// Where.
        place: String,
    },
    /// A newer program wrote it.
    #[error(
        "{place} has format {found}, and this program knows {known}: use the program that wrote it, or a newer one"
    )]
    Format {
        /// What.
        place: String,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// It is sealed, and no key was given.
    #[error("{place} is sealed: give its key")]
    KeyMissing {
        /// Which repository.
        place: String,
    },
    /// It is not sealed, and a key was given.
    #[error("{place} is not sealed, so that a key is of no use: name another place for sealed backups")]
    KeyNotUsed {
        /// Which repository.
        place: String,
    },
    /// The key is another's.
    #[error("{place} is sealed with another key")]
    KeyWrong {
        /// Which repository.
        place: String,
    },
    /// It belongs to another cluster.
    #[error(
        "{place} has the backups of cluster {found}, and this is cluster {asked}: name a place of its own for each"
    )]
    AnotherCluster {
        /// Which repository.
        place: String,
        /// Whose it is.
        found: String,
        /// Who asks.
        asked: String,
    },
    /// Somebody else makes a backup there.
    #[error(
        "{place}: the backup that was being made here is made by another one now, or is finished: one is made at a time"
    )]
    TakenOver {
        /// Which repository.
        place: String,
    },
    /// No backup in it has what is asked for.
    #[error("{0}")]
    NotThere(String),
}

//! Backups as they are kept. It knows neither nodes nor orders: parts of groups come in as bytes, and go out as they were.
//!
//! ```text
//!   repository                                           what it is; whether it is sealed, and a proof that a key is its own
//!   objects/BACKUP/GROUP-KIND-NUMBER-ATTEMPT             at most some MiB each, never changed
//!   backups/BACKUP                                       a manifest: which objects, with their checksums, and the backup before
//!   unfinished                                           the manifest of one that was begun
//!   attempt                                              a random token of who is at it
//! ```
//!
//! - [`Place`]: a folder, or a bucket: whole files, put, read, listed, removed.
//! - [`Repository`]: objects with checksums, sealed where there is a key; manifests, which are written last.
//! - [`Manifest`]: what belongs to a backup, and the chain to those before it.
//!
//! Guarantees: a backup that is listed is whole, as it was written and read again; whatever byte of it changes afterwards is found
//! when it is read, and refused by name. With a key nobody reads it or makes another of it without that key.

#![forbid(unsafe_code)]

mod bucket;
mod create;
mod error;
mod maker;
mod manifest;
mod place;
mod repository;
mod seal;
mod signed;
mod sigv4;

pub use bucket::{Bucket, BucketOptions, NoBucket};
pub use create::{
    CreateError, Entries, Pieces, Point, PointOf, Progress, Source, SourceError, State, Wanted, create,
};
pub use error::RepositoryError;
pub use manifest::{Base, FORMAT, GroupPart, LogPart, Manifest, Object, Parent, Reading, Segment, is_whole};
pub use place::Place;
pub use repository::{OBJECT_BYTES, Repository};
pub use seal::{Key, KeyError};

//! Where a repository is: a folder, or a bucket of an S3-compatible store.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::RepositoryError;
use crate::bucket::Bucket;

/// A larger file is none of ours.
pub(crate) const FILE_BYTES_MAX: u64 = 256 << 20;

/// A backup is nobody else's business.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Where files are put whole, and read whole. Names have `/` between their parts.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A bucket, or a part of one.
    Bucket(Bucket),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl Place {
    /// What is called so here, in words.
    fn name(&self, name: &str) -> String {
        match self {
            _ if name.is_empty() => self.to_string(),
            Self::Folder(path) => path.join(name).display().to_string(),
            Self::Bucket(bucket) => format!("{bucket}/{name}"),
        }
    }

    fn failed(&self, name: &str, cause: impl fmt::Display) -> RepositoryError {
        RepositoryError::Place {
            place: self.name(name),
            cause: cause.to_string(),
        }
    }

    /// Puts a file, whole and durable, in the stead of one of the same name.
    ///
    /// # Errors
    /// The place's.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), RepositoryError> {
        match self {
            Self::Folder(folder) => {
                let path = self.path(folder, name)?;
                let put = blocking(move || put(&path, &bytes)).await;
                put.map_err(|cause| self.failed(name, cause))
            }
            Self::Bucket(bucket) => bucket
                .put(name, bytes)
                .await
                .map_err(|cause| self.failed(name, cause)),
        }
    }

    /// A file; `None` where there is none of this name.
    ///
    /// # Errors
    /// The place's.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        match self {
            Self::Folder(folder) => {
                let path = self.path(folder, name)?;
                let read = blocking(move || get(&path)).await;
                match read {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(self.failed(name, error)),
                }
            }
            Self::Bucket(bucket) => bucket.get(name).await.map_err(|cause| self.failed(name, cause)),
        }
    }

    /// The names of the files in a folder, without it, sorted.
    ///
    /// # Errors
    /// The place's.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, RepositoryError> {
        match self {
            Self::Folder(root) => {
                let path = self.path(root, folder)?;
                let listed = blocking(move || list(&path)).await;
                listed.map_err(|cause| self.failed(folder, cause))
            }
            Self::Bucket(bucket) => bucket
                .list(folder)
                .await
                .map_err(|cause| self.failed(folder, cause)),
        }
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// The place's.
    pub async fn remove(&self, name: &str) -> Result<(), RepositoryError> {
        match self {
            Self::Folder(folder) => {
                let path = self.path(folder, name)?;
                match blocking(move || fs::remove_file(path)).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(name, error)),
                    _ => Ok(()),
                }
            }
            Self::Bucket(bucket) => bucket
                .remove(name)
                .await
                .map_err(|cause| self.failed(name, cause)),
        }
    }

    /// Whether there is nothing there at all.
    ///
    /// # Errors
    /// The place's.
    pub async fn is_empty(&self) -> Result<bool, RepositoryError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.clone();
                let empty = blocking(move || match fs::read_dir(path) {
                    Ok(mut files) => Ok(files.next().is_none()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                    Err(error) => Err(error),
                });
                empty.await.map_err(|cause| self.failed("", cause))
            }
            Self::Bucket(bucket) => {
                let names = bucket.list("").await;
                names
                    .map(|names| names.is_empty())
                    .map_err(|cause| self.failed("", cause))
            }
        }
    }

    /// A name may come from a manifest, and must not lead out of the folder.
    fn path(&self, folder: &Path, name: &str) -> Result<PathBuf, RepositoryError> {
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        match Path::new(name).components().all(is_plain) && !name.is_empty() {
            true => Ok(folder.join(name)),
            false => Err(RepositoryError::Damaged {
                place: format!("{name:?}"),
                cause: "it is no name of a file here".to_owned(),
            }),
        }
    }
}

/// Runs what blocks where that is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

fn get(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it has {length} bytes, more than any file of a backup"
        )));
    }
    fs::read(path)
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let files = match fs::read_dir(path) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error),
    };
    for file in files {
        let name = file?.file_name();
        // What was not finished when its writer stopped is none.
        if let Some(name) = name.to_str().filter(|name| !name.ends_with(".new")) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_put_is_for_its_owner_alone() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("objects");
        let file = folder.join("one");
        put(&file, b"some").unwrap();
        for (path, expected) in [(folder, FOLDER_MODE), (file, FILE_MODE)] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected);
        }
    }
}

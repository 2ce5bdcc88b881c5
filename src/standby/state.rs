//! What a standby keeps of itself in its data directory, and what a node keeps of a fence: each a small file, replaced whole.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use docket_actors::standby::Posture;
use docket_persistence::{JOURNAL_DIR, SNAPSHOTS_DIR, hold};
use serde::{Deserialize, Serialize};

use super::seed::IDENTITY;
use crate::failure::Failure;

/// Who follows whom.
const STATE: &str = "standby.json";
/// That the node's cluster has a standby, which is asked at the next start: the registry is known only later.
const ASKS: &str = "has-standby.json";
/// That the node's cluster was fenced.
const FENCED: &str = "fenced.json";
/// Where a fenced cluster's folder is kept, below the data directory, once the node follows another.
const ASIDE: &str = "fenced-epoch-";
/// What stays where it is then.
const STAYS: [&str; 2] = ["audit", "admin.key"];
/// The format of both files.
const FORMAT: u32 = 1;
/// The secret in it is nobody else's business.
const MODE: u32 = 0o600;

/// Who follows whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The format of the file.
    pub format: u32,
    /// The random name of this standby.
    pub id: String,
    /// Where the cluster is that it follows, or followed.
    pub primary: String,
    /// Where that reaches this one.
    pub address: String,
    /// Its id.
    pub cluster_id: String,
    /// Its epoch.
    pub epoch: u64,
    /// By which the two know one another.
    pub secret: Secret,
    /// What was acknowledged there before is here; microseconds since 1970, 0 before the first point.
    pub until_us: i64,
    /// The primary has forgotten it: it cannot be promoted.
    pub forgotten: bool,
    /// The epoch that began as it was promoted.
    pub promoted: Option<u64>,
    /// The primary has said since that it is fenced.
    pub has_fenced: bool,
}

/// What nobody prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    format: u32,
    address: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fenced {
    format: u32,
    epoch: u64,
    by: String,
}

impl State {
    /// One that has registered.
    pub fn new(
        id: String,
        (primary, address): (String, String),
        cluster_id: String,
        epoch: u64,
        secret: String,
    ) -> Self {
        Self {
            format: FORMAT,
            id,
            primary,
            address,
            cluster_id,
            epoch,
            secret: Secret(secret),
            until_us: 0,
            forgotten: false,
            promoted: None,
            has_fenced: false,
        }
    }

    /// That of a data directory, if it has one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, Failure> {
        let state: Option<Self> = read(&data_dir.join(STATE))?;
        check(data_dir, state.as_ref().map(|state| state.format))?;
        Ok(state)
    }

    /// Makes it durable. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        write(data_dir, STATE, self)
    }
}

/// What the node may lead, where it knows that its cluster was fenced.
///
/// # Errors
/// The file cannot be read.
pub fn fenced(data_dir: &Path) -> Result<Option<Posture>, Failure> {
    let fenced: Option<Fenced> = read(&data_dir.join(FENCED))?;
    check(data_dir, fenced.as_ref().map(|fenced| fenced.format))?;
    Ok(fenced.map(|Fenced { epoch, by, .. }| Posture::Fenced { epoch, by }))
}

/// What the node may lead, where it knows that its cluster has a standby.
///
/// # Errors
/// The file cannot be read.
pub fn asks(data_dir: &Path) -> Result<Option<Posture>, Failure> {
    let asked: Option<Asked> = read(&data_dir.join(ASKS))?;
    check(data_dir, asked.as_ref().map(|asked| asked.format))?;
    Ok(asked.map(|Asked { address, .. }| Posture::Asking { standby: address }))
}

/// Notes whether the cluster has a standby, and where. Blocks.
///
/// # Errors
/// The disk's.
pub fn note_asks(data_dir: &Path, standby: Option<&str>) -> io::Result<()> {
    match standby {
        Some(address) => {
            let asked = Asked {
                format: FORMAT,
                address: address.to_owned(),
            };
            write(data_dir, ASKS, &asked)
        }
        None => match fs::remove_file(data_dir.join(ASKS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// Notes a fence, so that the next start knows of it before anything else. Blocks.
///
/// # Errors
/// The disk's.
pub fn note_fenced(data_dir: &Path, epoch: u64, by: &str) -> io::Result<()> {
    let fenced = Fenced {
        format: FORMAT,
        epoch,
        by: by.to_owned(),
    };
    write(data_dir, FENCED, &fenced)
}

/// Moves what a fenced cluster left aside, below the data directory, so that the node can follow. Where to; `None` where it was not fenced. Where it broke off
/// before, it goes on. Blocks.
///
/// # Errors
/// The disk's, or a node uses it.
pub fn put_aside(data_dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let Some(Posture::Fenced { epoch, .. }) = fenced(data_dir)? else {
        return Ok(None);
    };
    // A node that runs would go on writing to what it has open.
    let _held = [JOURNAL_DIR, SNAPSHOTS_DIR]
        .map(|folder| hold(&data_dir.join(folder)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| failed(data_dir, &cause))?;
    let aside = data_dir.join(format!("{ASIDE}{epoch}"));
    let moved = || -> io::Result<()> {
        fs::create_dir_all(&aside)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(data_dir)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if !text.starts_with(ASIDE) && !STAYS.contains(&&*text) {
                entries.push(name);
            }
        }
        // What makes it a node's goes first, so that half of one is never opened; what says that it was fenced goes last, and once the rest is there for good, so that
        // this is gone on with where it broke off.
        entries.retain(|name| name != FENCED);
        entries.sort_by_key(|name| name != IDENTITY);
        let put = |name: &OsStr| fs::rename(data_dir.join(name), aside.join(name));
        let sync = || {
            fs::File::open(&aside)?
                .sync_all()
                .and_then(|()| fs::File::open(data_dir)?.sync_all())
        };
        for name in entries {
            put(&name)?;
        }
        sync()?;
        put(OsStr::new(FENCED))?;
        sync()
    };
    moved().map_err(|cause| failed(data_dir, &cause))?;
    Ok(Some(aside))
}

fn check(data_dir: &Path, format: Option<u32>) -> Result<(), Failure> {
    match format {
        Some(format) if format != FORMAT => Err(Failure::Other(format!(
            "{}: a file of format {format}, and this program reads {FORMAT}: use a newer program",
            data_dir.display()
        ))),
        _ => Ok(()),
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, Failure> {
    match fs::read(path) {
        Ok(json) => {
            let state = serde_json::from_slice(&json);
            state.map(Some).map_err(|cause| failed(path, &cause))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(failed(path, &cause)),
    }
}

fn write<T: Serialize>(dir: &Path, name: &str, state: &T) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(state).map_err(io::Error::other)?;
    let unfinished = dir.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    let mut file = options.open(&unfinished)?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    fs::File::open(dir)?.sync_all()
}

fn failed(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::Other(format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_prints_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let state = State::new(
            "i".into(),
            ("http://a:1".into(), "http://b:1".into()),
            "c".into(),
            1,
            "hidden".into(),
        );
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), Some(state.clone()));
        assert!(!format!("{state:?}").contains("hidden"));
    }

    #[test]
    fn a_fenced_folder_is_put_aside_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity.json"), "{}").unwrap();
        fs::create_dir(dir.path().join("audit")).unwrap();
        assert_eq!(put_aside(dir.path()).unwrap(), None);
        note_fenced(dir.path(), 2, "http://b:1").unwrap();
        let aside = put_aside(dir.path()).unwrap().unwrap();
        assert!(aside.join("identity.json").exists() && aside.join(FENCED).exists());
        assert!(!dir.path().join("identity.json").exists() && dir.path().join("audit").exists());
        assert_eq!(put_aside(dir.path()).unwrap(), None, "it is done");
    }

    #[test]
    fn putting_aside_goes_on_where_it_broke_off() {
        let dir = tempfile::tempdir().unwrap();
        let aside = dir.path().join("fenced-epoch-2");
        // The process died behind the first of them.
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join("identity.json"), "{}").unwrap();
        fs::create_dir(dir.path().join("journal")).unwrap();
        note_fenced(dir.path(), 2, "http://b:1").unwrap();
        assert_eq!(put_aside(dir.path()).unwrap(), Some(aside.clone()));
        assert!(
            ["identity.json", "journal", FENCED]
                .iter()
                .all(|name| aside.join(name).exists())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! A repository: objects, manifests, and what it is.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::RepositoryError;
use crate::manifest::{FORMAT, Manifest, Object, Parent, is_whole};
use crate::place::Place;
use crate::seal::{self, Key, hex};
use crate::signed::{self, NotRead};

/// Bytes of an object at most, before it is sealed.
pub const OBJECT_BYTES: usize = 8 << 20;

const ABOUT: &str = "repository";
const BACKUPS: &str = "backups";
const OBJECTS: &str = "objects";
const UNFINISHED: &str = "unfinished";
const ATTEMPT: &str = "attempt";
/// Random bytes by which attempts are told apart.
const ATTEMPT_BYTES: usize = 8;

/// What a repository is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    format: u32,
    cluster_id: String,
}

/// Who makes a backup now.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    format: u32,
    token: String,
}

/// Only its version is read first, so that a newer file is told by that, and not by a field that is new in it.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repository {
    place: Place,
    key: Option<Key>,
    about: About,
}

impl Repository {
    /// Opens one that is there.
    ///
    /// # Errors
    /// There is none, its key is missing or wrong, or it cannot be read.
    pub async fn open(place: Place, key: Option<Key>) -> Result<Self, RepositoryError> {
        match Self::find(&place, key.as_ref()).await? {
            Some(about) => Ok(Self { place, key, about }),
            None => Err(RepositoryError::Missing {
                place: format!("{place}/{ABOUT}"),
            }),
        }
    }

    /// Opens this cluster's, which is made where there is nothing yet.
    ///
    /// # Errors
    /// It is another cluster's, something else is there, its key is missing or wrong, or it cannot be read or written.
    pub async fn open_or_make(
        place: Place,
        key: Option<Key>,
        cluster_id: &str,
    ) -> Result<Self, RepositoryError> {
        let about = match Self::find(&place, key.as_ref()).await? {
            Some(about) if about.cluster_id == cluster_id => about,
            Some(about) => {
                return Err(RepositoryError::AnotherCluster {
                    place: place.to_string(),
                    found: about.cluster_id,
                    asked: cluster_id.to_owned(),
                });
            }
            None if !place.is_empty().await? => {
                return Err(RepositoryError::NoRepository {
                    place: place.to_string(),
                });
            }
            None => {
                let about = About {
                    format: FORMAT,
                    cluster_id: cluster_id.to_owned(),
                };
                let text = written(ABOUT, &about)?;
                place.put(ABOUT, signed::put(key.as_ref(), ABOUT, &text)).await?;
                about
            }
        };
        Ok(Self { place, key, about })
    }

    async fn find(place: &Place, key: Option<&Key>) -> Result<Option<About>, RepositoryError> {
        let Some(file) = place.get(ABOUT).await? else {
            return Ok(None);
        };
        let text = match (signed::get(key, ABOUT, &file), key) {
            (Ok(text), _) => text,
            (Err(NotRead::NeedsKey), _) => {
                return Err(RepositoryError::KeyMissing {
                    place: place.to_string(),
                });
            }
            (Err(NotRead::NoProof), _) => {
                return Err(RepositoryError::KeyNotUsed {
                    place: place.to_string(),
                });
            }
            // Which of the two it is nobody can tell.
            (Err(NotRead::Damaged(_)), Some(_)) => {
                return Err(RepositoryError::KeyWrong {
                    place: place.to_string(),
                });
            }
            (Err(NotRead::Damaged(cause)), None) => {
                return Err(damaged(place, ABOUT, cause));
            }
        };
        read(place, ABOUT, text).map(Some)
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether only who has its key can read it.
    pub fn is_sealed(&self) -> bool {
        self.key.is_some()
    }

    /// Whose backups these are.
    pub fn cluster_id(&self) -> &str {
        &self.about.cluster_id
    }

    /// Puts an object, and reads it again.
    ///
    /// # Errors
    /// It cannot be written, or is not what was written when it is read.
    pub async fn put(&self, backup: &str, name: &str, content: &[u8]) -> Result<Object, RepositoryError> {
        let name = format!("{OBJECTS}/{backup}/{name}");
        let sealed = seal::seal(self.key.as_ref(), &name, content);
        let file = sealed.map_err(|cause| damaged(&self.place, &name, cause))?;
        let object = Object {
            bytes: file.len() as u64,
            sha256: sha256(&file),
            name,
        };
        self.place.put(&object.name, file).await?;
        let read = self.get(&object).await?;
        match read == content {
            true => Ok(object),
            false => Err(damaged(&self.place, &object.name, "it is not what was written")),
        }
    }

    /// The content of an object.
    ///
    /// # Errors
    /// It is not there, or not what was written.
    pub async fn get(&self, object: &Object) -> Result<Bytes, RepositoryError> {
        let name = &object.name;
        let file = self.place.get(name).await?;
        let file = file.ok_or_else(|| RepositoryError::Missing {
            place: format!("{}/{name}", self.place),
        })?;
        if file.len() as u64 != object.bytes {
            let cause = format!("it has {} bytes, and had {}", file.len(), object.bytes);
            return Err(damaged(&self.place, name, cause));
        }
        if sha256(&file) != object.sha256 {
            return Err(damaged(
                &self.place,
                name,
                "its checksum is not the one that it had",
            ));
        }
        let content = seal::open(self.key.as_ref(), name, file);
        let content = content.map_err(|cause| damaged(&self.place, name, cause))?;
        Ok(content.into())
    }

    /// Removes an object that no manifest names.
    ///
    /// # Errors
    /// The place's.
    pub(crate) async fn remove(&self, object: &Object) -> Result<(), RepositoryError> {
        self.place.remove(&object.name).await
    }

    /// The names of all backups, the oldest first.
    ///
    /// # Errors
    /// The place's.
    pub async fn backups(&self) -> Result<Vec<String>, RepositoryError> {
        self.place.list(BACKUPS).await
    }

    /// A backup's manifest, and how one that goes on from it names it.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub async fn manifest(&self, id: &str) -> Result<(Manifest, Parent), RepositoryError> {
        let name = format!("{BACKUPS}/{id}");
        let file = self.place.get(&name).await?;
        let file = file.ok_or_else(|| RepositoryError::Missing {
            place: format!("{}/{name}", self.place),
        })?;
        let manifest: Manifest = self.signed(&name, &file)?;
        if manifest.id != id || manifest.cluster_id != self.about.cluster_id {
            return Err(damaged(&self.place, &name, "it is another's"));
        }
        let parent = Parent {
            id: id.to_owned(),
            sha256: sha256(&file),
        };
        Ok((manifest, parent))
    }

    /// The manifests of a backup and of those before it, the newest first, as far as they are needed to have all as it was by a time.
    ///
    /// # Errors
    /// One is missing or damaged, does not fit to the one behind it, or something is needed that no backup has.
    pub async fn chain(&self, id: &str, by_us: i64) -> Result<Vec<Manifest>, RepositoryError> {
        let chain = self.walk(id, |chain| is_whole(chain, by_us)).await?;
        match is_whole(&chain, by_us) {
            true => Ok(chain),
            false => Err(RepositoryError::NotThere(format!(
                "{}: neither {id} nor the backups before it have all that is needed for that time",
                self.place
            ))),
        }
    }

    /// The same, as far as each group has a base, or to the first.
    pub(crate) async fn as_far_as_bases(&self, id: &str) -> Result<Vec<Manifest>, RepositoryError> {
        let has_bases = |chain: &[Manifest]| {
            let of = |group| {
                chain
                    .iter()
                    .any(|one| one.group(group).is_some_and(|part| part.base.is_some()))
            };
            chain
                .first()
                .is_some_and(|one| one.groups.iter().all(|part| of(part.group)))
        };
        self.walk(id, has_bases).await
    }

    async fn walk(
        &self,
        id: &str,
        enough: impl Fn(&[Manifest]) -> bool,
    ) -> Result<Vec<Manifest>, RepositoryError> {
        let damaged = |id: &str, cause: String| damaged(&self.place, &format!("{BACKUPS}/{id}"), cause);
        let (newest, _) = self.manifest(id).await?;
        let mut chain = vec![newest];
        while !enough(&chain) {
            let last = &chain[chain.len() - 1];
            let Some(parent) = last.parent.clone() else {
                last.check(None).map_err(|cause| damaged(&last.id, cause))?;
                break;
            };
            let (before, found) = self.manifest(&parent.id).await?;
            if found != parent {
                let cause = format!("it is not the one that {} goes on from", last.id);
                return Err(damaged(&parent.id, cause));
            }
            last.check(Some(&before))
                .map_err(|cause| damaged(&last.id, cause))?;
            chain.push(before);
        }
        Ok(chain)
    }

    /// Takes over what is being made here: whoever was at it stops when it looks next ([`Repository::is_mine`]). Its objects stay under names of
    /// their own. Returns the token of this attempt.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) async fn take_over(&self) -> Result<String, RepositoryError> {
        let mut random = [0_u8; ATTEMPT_BYTES];
        getrandom::fill(&mut random).map_err(|cause| RepositoryError::Place {
            place: ATTEMPT.to_owned(),
            cause: cause.to_string(),
        })?;
        let attempt = Attempt {
            format: FORMAT,
            token: hex(&random),
        };
        let text = written(ATTEMPT, &attempt)?;
        let file = signed::put(self.key.as_ref(), ATTEMPT, &text);
        self.place.put(ATTEMPT, file).await?;
        Ok(attempt.token)
    }

    /// Passes while nobody else has taken over.
    ///
    /// # Errors
    /// [`RepositoryError::TakenOver`]; it cannot be read.
    pub(crate) async fn is_mine(&self, token: &str) -> Result<(), RepositoryError> {
        if let Some(file) = self.place.get(ATTEMPT).await?
            && self.signed::<Attempt>(ATTEMPT, &file)?.token == token
        {
            return Ok(());
        }
        Err(RepositoryError::TakenOver {
            place: self.place.to_string(),
        })
    }

    /// Removes the notes of what was being made.
    async fn forget_unfinished(&self) -> Result<(), RepositoryError> {
        self.place.remove(UNFINISHED).await?;
        self.place.remove(ATTEMPT).await
    }

    /// Puts the manifest of a backup whose objects are all there: from here on it is listed.
    ///
    /// # Errors
    /// There is one of this name, or it cannot be written.
    pub async fn finish(&self, manifest: &Manifest) -> Result<Parent, RepositoryError> {
        let name = format!("{BACKUPS}/{}", manifest.id);
        if self.place.get(&name).await?.is_some() {
            let cause = "another backup of the same name has been finished meanwhile".to_owned();
            return Err(RepositoryError::Place {
                place: format!("{}/{name}", self.place),
                cause,
            });
        }
        let text = written(&name, manifest)?;
        self.place
            .put(&name, signed::put(self.key.as_ref(), &name, &text))
            .await?;
        let (found, parent) = self.manifest(&manifest.id).await?;
        if found != *manifest {
            return Err(damaged(&self.place, &name, "it is not what was written"));
        }
        self.forget_unfinished().await?;
        Ok(parent)
    }

    /// The manifest of a backup that was begun and not finished, as far as it had come.
    ///
    /// # Errors
    /// It is damaged.
    pub async fn unfinished(&self) -> Result<Option<Manifest>, RepositoryError> {
        match self.place.get(UNFINISHED).await? {
            Some(file) => self.signed(UNFINISHED, &file).map(Some),
            None => Ok(None),
        }
    }

    /// Notes how far a backup has come.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn note_unfinished(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let text = written(UNFINISHED, manifest)?;
        let file = signed::put(self.key.as_ref(), UNFINISHED, &text);
        self.place.put(UNFINISHED, file).await
    }

    /// Removes what there is of a backup that is not finished; of one that is, only the note that it was not.
    ///
    /// # Errors
    /// The place's.
    pub async fn abandon(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        if self
            .place
            .get(&format!("{BACKUPS}/{}", manifest.id))
            .await?
            .is_some()
        {
            return self.forget_unfinished().await;
        }
        let folder = format!("{OBJECTS}/{}", manifest.id);
        for object in self.place.list(&folder).await? {
            self.place.remove(&format!("{folder}/{object}")).await?;
        }
        self.forget_unfinished().await
    }

    fn signed<T: DeserializeOwned>(&self, name: &str, file: &[u8]) -> Result<T, RepositoryError> {
        let text = signed::get(self.key.as_ref(), name, file).map_err(|error| {
            let cause = match error {
                NotRead::Damaged(cause) => cause,
                NotRead::NeedsKey => "it is sealed, and its repository is not",
                NotRead::NoProof => "it is not sealed, and its repository is",
            };
            damaged(&self.place, name, cause)
        })?;
        read(&self.place, name, text)
    }
}

fn written(name: &str, value: &impl Serialize) -> Result<String, RepositoryError> {
    let text = serde_json::to_string_pretty(value);
    text.map_err(|cause| RepositoryError::Place {
        place: name.to_owned(),
        cause: cause.to_string(),
    })
}

fn read<T: DeserializeOwned>(place: &Place, name: &str, text: &str) -> Result<T, RepositoryError> {
    let unreadable = |cause: serde_json::Error| damaged(place, name, cause);
    let Version { format } = serde_json::from_str(text).map_err(unreadable)?;
    if format > FORMAT {
        return Err(RepositoryError::Format {
            place: format!("{place}/{name}"),
            found: format,
            known: FORMAT,
        });
    }
    serde_json::from_str(text).map_err(unreadable)
}

fn damaged(place: &Place, name: &str, cause: impl std::fmt::Display) -> RepositoryError {
    RepositoryError::Damaged {
        place: format!("{place}/{name}"),
        cause: cause.to_string(),
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_makers_the_one_that_took_over_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().join("backups"));
        let repository = Repository::open_or_make(place, None, "one").await.unwrap();
        let first = repository.take_over().await.unwrap();
        repository.is_mine(&first).await.unwrap();
        let second = repository.take_over().await.unwrap();
        assert_ne!(first, second);
        repository.is_mine(&second).await.unwrap();
        let taken = repository.is_mine(&first).await;
        assert!(
            matches!(taken, Err(RepositoryError::TakenOver { .. })),
            "{taken:?}"
        );
        // What is done is nobody's any more.
        repository.forget_unfinished().await.unwrap();
        repository.is_mine(&second).await.unwrap_err();
    }
}

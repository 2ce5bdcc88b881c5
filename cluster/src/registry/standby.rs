//! What the registry has of the cluster that follows this one, and of epochs: which of the two may be written to.
//!
//! A cluster is in epoch 1, or in the one that began when it took another's place. One standby may be registered; only it learns the secret with which it can
//! fence this cluster, so that of two standbys never both take its place.

use std::fmt;

use super::{Change, Refusal, Registry};

/// The epoch of a cluster that never took another's place.
pub const FIRST_EPOCH: u64 = 1;

/// A cluster that follows this one.
#[derive(Clone, PartialEq, Eq)]
pub struct RegisteredStandby {
    /// The random name of its data directory.
    pub id: String,
    /// Where clients reach it, a URL.
    pub address: String,
    /// PEM certificates by which it is known; empty where the system's are.
    pub ca: String,
    /// By which the two know one another.
    pub secret: String,
}

impl fmt::Debug for RegisteredStandby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredStandby")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// That a cluster's standby took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The epoch that began with that.
    pub epoch: u64,
    /// Where the new primary is.
    pub by: String,
    /// Its id, as it was registered.
    pub standby: String,
}

impl Registry {
    /// The epoch that the cluster is in.
    pub fn epoch(&self) -> u64 {
        self.epoch.unwrap_or(FIRST_EPOCH)
    }

    /// Who follows it.
    pub fn standby(&self) -> Option<&RegisteredStandby> {
        self.standby.as_ref()
    }

    /// Who has taken its place.
    pub fn fenced(&self) -> Option<&Fence> {
        self.fenced.as_ref()
    }

    /// Whether it holds what programs before protocol version 10 do not read.
    pub(crate) fn tells_of_standbys(&self) -> bool {
        self.epoch.is_some() || self.standby.is_some() || self.fenced.is_some()
    }

    fn not_fenced(&self) -> Result<(), Refusal> {
        match &self.fenced {
            None => Ok(()),
            Some(fence) => Err(Refusal::Fenced {
                epoch: fence.epoch,
                by: fence.by.clone(),
            }),
        }
    }

    /// The same standby may say anew where it is.
    pub(super) fn register_standby(&self, standby: &RegisteredStandby) -> Result<Vec<Change>, Refusal> {
        self.not_fenced()?;
        match &self.standby {
            Some(other) if other.id != standby.id => Err(Refusal::StandbyTaken {
                address: other.address.clone(),
            }),
            Some(same) if same == standby => Ok(Vec::new()),
            _ => Ok(vec![Change::StandbyRegistered {
                standby: standby.clone(),
            }]),
        }
    }

    pub(super) fn forget_standby(&self) -> Result<Vec<Change>, Refusal> {
        self.not_fenced()?;
        let forgotten = self.standby.as_ref().map(|standby| Change::StandbyForgotten {
            id: standby.id.clone(),
        });
        Ok(forgotten.into_iter().collect())
    }

    /// By the standby that is registered alone, which whoever asked may have seen in an older registry. Once it is decided that one stays registered.
    pub(super) fn fence(&self, fence: &Fence) -> Result<Vec<Change>, Refusal> {
        if self
            .standby
            .as_ref()
            .is_none_or(|standby| standby.id != fence.standby)
        {
            return Err(Refusal::StandbyUnknown);
        }
        if self
            .fenced
            .as_ref()
            .is_some_and(|before| before.epoch >= fence.epoch)
        {
            return Ok(Vec::new());
        }
        if fence.epoch <= self.epoch() {
            return Err(Refusal::StaleEpoch {
                asked: fence.epoch,
                ours: self.epoch(),
            });
        }
        Ok(vec![Change::Fenced { fence: fence.clone() }])
    }

    pub(super) fn promote(&self, epoch: u64) -> Result<Vec<Change>, Refusal> {
        self.not_fenced()?;
        Ok((epoch > self.epoch())
            .then_some(Change::Promoted { epoch })
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod races;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Ask, Record};

    fn standby(id: &str) -> RegisteredStandby {
        RegisteredStandby {
            id: id.to_owned(),
            address: format!("https://{id}:7070"),
            ca: String::new(),
            secret: "s".to_owned(),
        }
    }

    fn fence(epoch: u64, standby: &str) -> Ask {
        Ask::Fence {
            fence: Fence {
                epoch,
                by: format!("https://{standby}:7070"),
                standby: standby.to_owned(),
            },
        }
    }

    /// Decides and applies; how many changes that made.
    #[track_caller]
    fn done(registry: &mut Registry, ask: &Ask) -> Result<usize, Refusal> {
        let changes = registry.decide(ask)?;
        let made = changes.len();
        let record = Record {
            version: registry.version(),
            changes,
        };
        assert!(made == 0 || registry.apply(&record));
        Ok(made)
    }

    #[test]
    fn one_standby_at_a_time_and_a_fence_is_for_ever() {
        let mut registry = Registry::default();
        let register = |id: &str| Ask::RegisterStandby { standby: standby(id) };
        assert_eq!(done(&mut registry, &register("b")), Ok(1));
        assert_eq!(done(&mut registry, &register("b")), Ok(0), "asked again");
        let taken = done(&mut registry, &register("c")).unwrap_err();
        assert!(matches!(taken, Refusal::StandbyTaken { .. }), "{taken}");
        assert_eq!(done(&mut registry, &Ask::ForgetStandby), Ok(1));
        assert_eq!(done(&mut registry, &register("c")), Ok(1));

        assert_eq!(
            done(&mut registry, &fence(1, "c")),
            Err(Refusal::StaleEpoch { asked: 1, ours: 1 })
        );
        // "b" was seen where the registry was not there yet, and forgotten since.
        assert_eq!(done(&mut registry, &fence(2, "b")), Err(Refusal::StandbyUnknown));
        assert_eq!(done(&mut registry, &fence(2, "c")), Ok(1));
        assert_eq!(done(&mut registry, &fence(2, "c")), Ok(0), "asked again");
        assert_eq!(done(&mut registry, &fence(3, "b")), Err(Refusal::StandbyUnknown));
        for ask in [register("c"), Ask::ForgetStandby, Ask::Promote { epoch: 3 }] {
            let refused = done(&mut registry, &ask).unwrap_err();
            assert!(matches!(refused, Refusal::Fenced { epoch: 2, .. }), "{refused}");
        }
    }

    #[test]
    fn a_promotion_is_in_one_epoch_and_is_not_made_twice() {
        let mut registry = Registry::default();
        assert_eq!(registry.epoch(), FIRST_EPOCH);
        assert_eq!(done(&mut registry, &Ask::Promote { epoch: 2 }), Ok(1));
        assert_eq!(done(&mut registry, &Ask::Promote { epoch: 2 }), Ok(0));
        assert_eq!(registry.epoch(), 2);
    }

    #[test]
    fn no_secret_is_printed() {
        assert!(!format!("{:?}", standby("b")).contains("secret"));
    }
}

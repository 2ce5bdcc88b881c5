//! Snapshots, one by one.

use std::ops::ControlFlow;

use super::{Damage, PIECE_BYTES, Place, Scrub};
use crate::files;
use crate::snapshot::{SnapshotError, SnapshotStore};

impl SnapshotStore {
    /// Reads every finished snapshot once more that is there now, and tells which are not what was written. Blocks.
    pub fn scrub(&self, scrub: &mut dyn Scrub) -> ControlFlow<()> {
        for group in self.groups() {
            for id in self.ids(group) {
                self.scrub_one(group, id, scrub)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn scrub_one(&self, group: u32, id: u64, scrub: &mut dyn Scrub) -> ControlFlow<()> {
        let path = self.path(group, id);
        files::forget(&path);
        let mut since = 0;
        let read = self.check_slowly(group, id, &mut |bytes| {
            since += bytes;
            match since < PIECE_BYTES {
                true => ControlFlow::Continue(()),
                false => scrub.read(std::mem::take(&mut since)),
            }
        });
        files::forget(&path);
        scrub.read(since)?;
        let (path, why) = match read {
            Ok(went_on) => return went_on,
            Err(SnapshotError::Damaged { path, damage }) => (path, damage.to_string()),
            Err(SnapshotError::Store(error)) => (error.path.clone(), error.to_string()),
            Err(error @ SnapshotError::NoneGood { .. }) => (path, error.to_string()),
        };
        // One that a newer one has taken the place of goes while it is read.
        if self.ids(group).contains(&id) {
            scrub.found(Damage {
                path,
                place: Place::Snapshot { group, id },
                why,
            });
        }
        ControlFlow::Continue(())
    }
}

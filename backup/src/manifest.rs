//! What belongs to a backup.
//!
//! Each manifest names its own objects and the backup before it. Of a group there are *bases* (a snapshot of the node's, with what snapshots leave
//! aside, the archive, from where the last base ended), and *segments* of the log. To have a group at the end of a backup, or at a time
//! before: the newest base that is not of later, the archive of that and of all bases before it, and all segments behind it. Nothing of the
//! archive comes from behind the base: in another future there are other orders under its numbers.

use serde::{Deserialize, Serialize};

/// The format of manifests and of the repository. Readers refuse a newer one.
pub const FORMAT: u32 = 1;

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name: the time it was begun, and a few random letters. They sort by time.
    pub id: String,
    /// Whose it is.
    pub cluster_id: String,
    /// How many shards the cluster has.
    pub shards: u16,
    /// Which node it was read from.
    pub node: u64,
    /// When it was begun, in microseconds since 1970, by the clock of who made it.
    pub begun_us: i64,
    /// All that the cluster stamped up to this time is in it, in microseconds since 1970; and nothing later when it is restored.
    pub until_us: i64,
    /// Whether it rests on no backup before it, but for times before it.
    pub full: bool,
    /// The one that it goes on from.
    pub parent: Option<Parent>,
    /// The meta group, then the shards in order.
    pub groups: Vec<GroupPart>,
}

/// The backup before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its name.
    pub id: String,
    /// Of its manifest's file.
    pub sha256: String,
}

/// What a backup has of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPart {
    /// Its number; 0 is the meta group.
    pub group: u32,
    /// Its entries before this index belong to the backup.
    pub next: u64,
    /// Where the objects of this backup and those before it go on with the log.
    pub log: LogPart,
    /// A snapshot, where one was taken.
    pub base: Option<Base>,
}

/// What a backup has of a group's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPart {
    /// In order, without holes between them.
    pub segments: Vec<Segment>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Index after that of the last entry inside it.
    pub next: u64,
    /// The term of that entry.
    pub term: u64,
    /// Nothing in it was stamped later, in microseconds since 1970.
    pub time_us: i64,
    /// Its bytes, in order.
    pub objects: Vec<Object>,
    /// The archive from this number on; what comes before, the bases before have.
    pub archive_from: u64,
    /// As much of it as the snapshot counts.
    pub archive_until: u64,
    /// The bytes of that, in order.
    pub archive: Vec<Object>,
}

/// Some entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The first.
    pub from: u64,
    /// Before this one.
    pub before: u64,
    /// Whole entries.
    pub object: Object,
}

/// A file of the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Where.
    pub name: String,
    /// The length of the file.
    pub bytes: u64,
    /// Of the file.
    pub sha256: String,
}

impl Manifest {
    /// All objects of its own.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.groups.iter().flat_map(GroupPart::objects)
    }

    /// What its own objects weigh.
    pub fn bytes(&self) -> u64 {
        self.objects().map(|object| object.bytes).sum()
    }

    /// A group's part.
    pub fn group(&self, group: u32) -> Option<&GroupPart> {
        self.groups.iter().find(|part| part.group == group)
    }

    /// Whether what it says fits together, and to the one before it.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self, before: Option<&Self>) -> Result<(), String> {
        let numbers = self.groups.iter().map(|part| part.group);
        if !numbers.eq(0..=u32::from(self.shards)) {
            return Err("it does not have each group once".to_owned());
        }
        if let Some(before) = before
            && (before.cluster_id != self.cluster_id
                || before.shards != self.shards
                || before.until_us > self.until_us)
        {
            return Err(format!("it does not come behind {}", before.id));
        }
        for part in &self.groups {
            let held = before.and_then(|before| before.group(part.group));
            part.check(held.map_or(0, |held| held.next))
                .map_err(|cause| format!("group {}: {cause}", part.group))?;
        }
        Ok(())
    }
}

impl GroupPart {
    /// All objects of its own.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        let base = self
            .base
            .iter()
            .flat_map(|base| base.objects.iter().chain(&base.archive));
        let segments = self.log.segments.iter().map(|segment| &segment.object);
        base.chain(segments)
    }

    /// `held`: where the backup before ends.
    fn check(&self, held: u64) -> Result<(), String> {
        let mut at = None;
        for segment in &self.log.segments {
            if segment.from >= segment.before || at.is_some_and(|at| at != segment.from) {
                return Err(format!("its log has a hole before entry {}", segment.from));
            }
            at = Some(segment.before);
        }
        let from = self.log.segments.first().map_or(self.next, |first| first.from);
        let base = self.base.as_ref().map(|base| base.next);
        // It goes on where the one before ends, or behind a base of its own.
        if from > held && base.is_none_or(|base| from > base || base > self.next) {
            return Err(format!(
                "its log begins with entry {from}, and what comes before is not there"
            ));
        }
        if at.is_some_and(|at| at != self.next) {
            return Err(format!("its log does not end before entry {}", self.next));
        }
        Ok(())
    }
}

/// Whether these, the newest first, are all that is needed to have every group as the newest one has it by a time.
pub fn is_whole(newest_first: &[Manifest], by_us: i64) -> bool {
    let Some(newest) = newest_first.first() else {
        return false;
    };
    let mut groups = newest.groups.iter();
    groups.all(|part| Reading::of(newest_first, part.group, by_us).is_some())
}

/// How a group is read: a base, what it leaves aside, and the entries behind it.
#[derive(Debug)]
pub struct Reading<'a> {
    /// `None`: the log has everything.
    pub base: Option<&'a Base>,
    /// In order.
    pub archive: Vec<&'a Object>,
    /// In order.
    pub segments: Vec<&'a Segment>,
    /// Entries before this index.
    pub next: u64,
}

impl<'a> Reading<'a> {
    /// How a group is read as the first of these has it by a time; `None` where something is missing.
    pub fn of(newest_first: &'a [Manifest], group: u32, by_us: i64) -> Option<Self> {
        let next = newest_first.first()?.group(group)?.next;
        let parts = newest_first.iter().map_while(|manifest| manifest.group(group));
        let (mut segments, mut first) = (Vec::new(), next);
        let mut base: Option<&Base> = None;
        let (mut archive, mut archive_from) = (Vec::new(), 0);
        for part in parts {
            match (&part.base, base) {
                // Behind the base that was chosen: only what bases leave aside.
                (Some(before), Some(_)) if before.archive_until == archive_from => {
                    archive.extend(before.archive.iter().rev());
                    archive_from = before.archive_from;
                }
                (_, Some(_)) => {}
                (found, None) => {
                    for segment in part.log.segments.iter().rev() {
                        if segment.before >= first && segment.from < first {
                            first = segment.from;
                            segments.push(segment);
                        }
                    }
                    let fits = |base: &&Base| base.time_us <= by_us && (first..=next).contains(&base.next);
                    if let Some(found) = found.as_ref().filter(fits) {
                        archive.extend(found.archive.iter().rev());
                        archive_from = found.archive_from;
                        base = Some(found);
                    }
                }
            }
            let is_whole = match base {
                Some(_) => archive_from == 0,
                None => first == 0,
            };
            if is_whole {
                segments.reverse();
                archive.reverse();
                let behind = base.map_or(0, |base| base.next);
                segments.retain(|segment| segment.before > behind);
                return Some(Self {
                    base,
                    archive,
                    segments,
                    next,
                });
            }
        }
        None
    }

    /// All that is read, in order.
    pub fn objects(&self) -> impl Iterator<Item = &'a Object> {
        let base = self.base.iter().flat_map(|base| &base.objects);
        let segments = self.segments.iter().map(|segment| &segment.object);
        base.chain(self.archive.iter().copied()).chain(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> Object {
        Object {
            name: name.to_owned(),
            bytes: 1,
            sha256: String::new(),
        }
    }

    /// A backup of one group, with a base of (next, time) and a log.
    fn backup(next: u64, until_us: i64, base: Option<(u64, i64)>, log: &[(u64, u64)]) -> Manifest {
        let part = |group| GroupPart {
            group,
            next,
            log: LogPart {
                segments: log
                    .iter()
                    .map(|(from, before)| Segment {
                        from: *from,
                        before: *before,
                        object: object("log"),
                    })
                    .collect(),
            },
            // As many orders were archived as entries written.
            base: base.map(|(next, time_us)| Base {
                next,
                term: 1,
                time_us,
                objects: vec![object("base")],
                archive_from: 0,
                archive_until: next,
                archive: vec![object("archive")],
            }),
        };
        Manifest {
            format: FORMAT,
            id: format!("{until_us}"),
            cluster_id: "c".to_owned(),
            shards: 1,
            node: 1,
            begun_us: until_us,
            until_us,
            full: false,
            parent: None,
            groups: vec![part(0), part(1)],
        }
    }

    /// Where the base ends, if there is one, and the segments.
    type Read<'a> = (Option<u64>, &'a [(u64, u64)]);

    #[track_caller]
    fn check(newest_first: &[Manifest], by_us: i64, expected: Option<Read<'_>>) {
        let found = Reading::of(newest_first, 1, by_us);
        let found = found.as_ref().map(|start| {
            let segments: Vec<_> = start.segments.iter().map(|s| (s.from, s.before)).collect();
            (start.base.map(|base| base.next), segments)
        });
        let expected = expected.map(|(base, segments)| (base, segments.to_vec()));
        assert_eq!(found, expected);
        assert_eq!(is_whole(newest_first, by_us), expected.is_some());
    }

    #[test]
    fn a_group_is_read_from_the_newest_base_that_is_not_too_late_and_all_entries_behind_it() {
        let first = backup(10, 100, None, &[(0, 10)]);
        let second = backup(20, 200, Some((15, 150)), &[(10, 17), (17, 20)]);
        let third = backup(30, 300, None, &[(20, 30)]);
        check(std::slice::from_ref(&first), 100, Some((None, &[(0, 10)])));
        check(std::slice::from_ref(&third), 300, None);
        let all = [third, second.clone(), first.clone()];
        check(&all, 300, Some((Some(15), &[(10, 17), (17, 20), (20, 30)])));
        check(&all[..2], 160, Some((Some(15), &[(10, 17), (17, 20), (20, 30)])));
        // The base is of later than that.
        check(&all[..2], 149, None);
        check(&all, 149, Some((None, &[(0, 10), (10, 17), (17, 20), (20, 30)])));
        // Some of the log is gone: the time before the base cannot be had again.
        let behind_a_hole = backup(40, 400, Some((35, 350)), &[(35, 40)]);
        let with_a_hole = [behind_a_hole, second, first];
        check(&with_a_hole, 400, Some((Some(35), &[(35, 40)])));
        check(&with_a_hole, 349, None);
        assert!(with_a_hole.iter().all(|manifest| manifest.check(None).is_ok()));
    }

    #[test]
    fn what_a_base_leaves_aside_is_read_from_all_bases_up_to_it_and_from_none_behind_it() {
        let name = |mut manifest: Manifest, from: u64, name: &str| {
            let base = manifest.groups[1].base.as_mut().unwrap();
            (base.archive_from, base.archive) = (from, vec![object(name), object(&format!("{name}+"))]);
            manifest.groups[0].base.as_mut().unwrap().archive_from = from;
            manifest
        };
        let first = name(backup(10, 100, Some((8, 80)), &[(8, 10)]), 0, "a");
        let second = name(backup(20, 200, Some((15, 150)), &[(10, 20)]), 8, "b");
        let third = name(backup(30, 300, Some((25, 250)), &[(20, 30)]), 15, "c");
        let all = [third, second, first];
        let archive = |by_us| {
            let reading = Reading::of(&all, 1, by_us)?;
            Some(
                reading
                    .archive
                    .iter()
                    .map(|object| object.name.clone())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(archive(300).unwrap(), ["a", "a+", "b", "b+", "c", "c+"]);
        assert_eq!(archive(249).unwrap(), ["a", "a+", "b", "b+"]);
        assert_eq!(archive(149).unwrap(), ["a", "a+"]);
        assert_eq!(archive(79), None);
        assert!(
            !is_whole(&all[..2], 300),
            "the first part of the archive is missing"
        );
    }

    #[test]
    fn a_log_with_a_hole_is_none() {
        let good = backup(20, 200, None, &[(10, 20)]);
        let before = backup(10, 100, None, &[(0, 10)]);
        assert_eq!(good.check(Some(&before)), Ok(()));
        assert!(good.check(None).is_err(), "what comes before is missing");
        for (next, log) in [
            (20, &[(11, 20)][..]),
            (20, &[(10, 14), (15, 20)]),
            (20, &[(10, 19)]),
            (21, &[(10, 20)]),
            (20, &[(20, 10)]),
        ] {
            let bad = backup(next, 200, None, log);
            assert!(bad.check(Some(&before)).is_err(), "{log:?}");
        }
        let nothing_new = backup(10, 200, None, &[]);
        assert_eq!(nothing_new.check(Some(&before)), Ok(()));
        assert!(
            backup(20, 50, None, &[(10, 20)]).check(Some(&before)).is_err(),
            "it is older"
        );
        assert!(
            backup(30, 300, Some((31, 1)), &[]).check(None).is_err(),
            "its base is later than it"
        );
    }
}

//! Backups of a source that is made up: what is in a repository, how it goes on from a backup before and from a try that failed, and what is
//! refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod source;
mod store;

use std::{fs, path::PathBuf};

use docket_backup::{
    CreateError, Key, Manifest, Place, Reading, Repository, RepositoryError, SourceError, Wanted, create,
    is_whole,
};
use secrecy::SecretString;
use source::{CLUSTER, Made, entries_of};
use store::{Store, bucket};
use tempfile::TempDir;

fn key(digit: &str) -> Key {
    Key::of(&SecretString::from(digit.repeat(64))).unwrap()
}

fn place(folder: &TempDir) -> Place {
    Place::Folder(folder.path().join("repository"))
}

async fn repository(folder: &TempDir) -> Repository {
    Repository::open_or_make(place(folder), Some(key("5")), CLUSTER)
        .await
        .unwrap()
}

async fn back_up(repository: &Repository, source: &Made, full: bool) -> Result<Manifest, CreateError> {
    let now_us = source.now();
    let wanted = Wanted {
        id: format!("{now_us:020}"),
        now_us,
        full,
    };
    create(repository, source, &wanted, &mut |_| {}).await
}

/// Reads all groups as they were by a time, and compares them with what the source had.
async fn check(repository: &Repository, id: &str, source: &Made, by_us: i64) {
    let chain = repository.chain(id, by_us).await.unwrap();
    for group in 0..=1 {
        let reading = Reading::of(&chain, group, by_us).unwrap();
        let mut state = Vec::new();
        let base = reading.base.map_or(0, |base| base.next);
        for object in reading.base.iter().flat_map(|base| &base.objects) {
            state.extend_from_slice(&repository.get(object).await.unwrap());
        }
        let mut archive = Vec::new();
        for object in &reading.archive {
            archive.extend_from_slice(&repository.get(object).await.unwrap());
        }
        assert_eq!(state, source::state_of(base), "group {group} of {id}");
        assert_eq!(
            archive,
            source::archive_of(0, source::archived_by(base)),
            "group {group} of {id}"
        );
        let mut log = Vec::new();
        for segment in &reading.segments {
            log.extend(entries_of(&repository.get(&segment.object).await.unwrap()));
        }
        log.retain(|entry| (base..reading.next).contains(entry));
        log.dedup();
        let expected: Vec<_> = (base..reading.next).collect();
        assert_eq!(log, expected, "group {group} of {id}");
        assert!(
            reading.next as i64 >= by_us.min(source.now()),
            "all up to that time"
        );
        assert!(base as i64 <= by_us, "nothing of after it");
    }
}

#[tokio::test]
async fn each_backup_has_what_came_since_and_a_base_where_the_log_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder).await;
    let source = Made::new();
    source.write(100);
    let first = back_up(&repository, &source, false).await.unwrap();
    assert!(first.full && first.groups.iter().all(|part| part.base.is_none()));
    source.write(50);
    let second = back_up(&repository, &source, false).await.unwrap();
    assert!(!second.full && second.bytes() < first.bytes());
    assert_eq!(second.groups[1].log.segments[0].from, 100);
    // Nothing of what comes next can be had but from the snapshot on.
    source.write(50);
    source.snapshot();
    source.write(10);
    source.purge();
    let third = back_up(&repository, &source, false).await.unwrap();
    assert_eq!(third.groups[1].base.as_ref().unwrap().next, 200);
    source.write(10);
    let fourth = back_up(&repository, &source, false).await.unwrap();
    assert!(fourth.groups[1].base.is_none());

    let all = [&first, &second, &third, &fourth];
    assert_eq!(repository.backups().await.unwrap(), all.map(|one| one.id.clone()));
    for made in all {
        check(&repository, &made.id, &source, made.until_us).await;
    }
    check(&repository, &second.id, &source, 120).await;
    // Between the second and the base nothing is known.
    let gone = repository.chain(&fourth.id, 180).await.unwrap_err();
    assert!(matches!(gone, RepositoryError::NotThere(_)), "{gone}");
    // With a base of its own it needs none before it.
    let full = back_up(&repository, &source, true).await;
    assert!(
        matches!(full, Err(CreateError::Source(SourceError::Other(_)))),
        "the time stands still"
    );
    source.write(1);
    source.snapshot();
    let full = back_up(&repository, &source, true).await.unwrap();
    assert!(full.full && full.parent.is_some());
    assert!(is_whole(std::slice::from_ref(&full), full.until_us));
    check(&repository, &full.id, &source, full.until_us).await;
}

#[tokio::test]
async fn whichever_question_fails_the_next_try_goes_on_behind_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut most = 0;
    for failing in 1.. {
        let folder = folder.path().join(failing.to_string());
        let place = Place::Folder(folder);
        let repository = Repository::open_or_make(place, None, CLUSTER).await.unwrap();
        let source = Made::new();
        source.write(300);
        source.snapshot();
        source.write(100);
        source.purge();
        source.ticks();
        source.fail_at(failing);
        let failed = match back_up(&repository, &source, false).await {
            Err(failed) => failed,
            // It could do without, for now.
            Ok(made) if source.has_failed() => {
                check(&repository, &made.id, &source, made.until_us).await;
                continue;
            }
            Ok(_) => break,
        };
        assert!(failed.to_string().contains("as it was told"), "{failed}");
        assert_eq!(repository.backups().await.unwrap(), Vec::<String>::new());
        let begun = repository.unfinished().await.unwrap();
        let had = begun.as_ref().map_or(0, |begun| begun.objects().count());
        source.write(20);
        let made = back_up(&repository, &source, false).await.unwrap();
        check(&repository, &made.id, &source, made.until_us).await;
        let backups = repository.backups().await.unwrap();
        match begun {
            Some(begun) => {
                // It was finished first, with what it had.
                assert_eq!(backups, [begun.id.clone(), made.id]);
                let (finished, _) = repository.manifest(&begun.id).await.unwrap();
                assert!(finished.until_us >= begun.until_us);
                let kept: Vec<_> = begun.objects().collect();
                assert!(
                    kept.iter()
                        .all(|object| finished.objects().any(|found| found == *object))
                );
                check(&repository, &begun.id, &source, finished.until_us).await;
            }
            None => assert_eq!(backups, [made.id]),
        }
        most = most.max(had);
        assert_eq!(repository.unfinished().await.unwrap(), None);
    }
    assert!(most > 1, "none failed behind an object");
}

#[tokio::test]
async fn one_that_cannot_be_gone_on_with_is_begun_anew_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder).await;
    let source = Made::new();
    source.write(100);
    source.fail_at(3);
    back_up(&repository, &source, false).await.unwrap_err();
    let begun = repository.unfinished().await.unwrap().unwrap();
    source.write(100);
    source.snapshot();
    source.purge();
    let made = back_up(&repository, &source, false).await.unwrap();
    assert_eq!(
        repository.backups().await.unwrap(),
        std::slice::from_ref(&made.id)
    );
    check(&repository, &made.id, &source, made.until_us).await;
    let left = folder.path().join("repository/objects").join(&begun.id);
    assert!(!left.exists() || fs::read_dir(left).unwrap().next().is_none());
}

#[tokio::test]
async fn snapshots_may_be_as_frequent_as_bases_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder).await;
    let source = Made::new();
    source.write(2_000);
    source.snapshot();
    source.write(10);
    source.purge();
    // Each base is of later than all that was asked before.
    source.moves_on_every(24, 0);
    let first = back_up(&repository, &source, false).await.unwrap();
    assert!(first.full && first.until_us > 2_010);
    check(&repository, &first.id, &source, first.until_us).await;
    // And so is one that is to rest on none before it.
    source.write(1);
    let full = back_up(&repository, &source, true).await.unwrap();
    assert!(full.full && full.groups.iter().all(|part| part.base.is_some()));
    check(&repository, &full.id, &source, full.until_us).await;
    let bases = full.groups.iter().filter_map(|part| part.base.as_ref());
    assert!(bases.clone().any(|base| base.next as i64 > first.until_us));
    // Without bases the first point is the backup's, whatever comes meanwhile.
    source.write(10);
    let now = source.now();
    let more = back_up(&repository, &source, false).await.unwrap();
    assert_eq!(more.until_us, now);
    check(&repository, &more.id, &source, now).await;
}

#[tokio::test]
async fn while_a_large_base_is_read_the_logs_of_others_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder).await;
    let source = Made::new();
    // 70 MB, and a snapshot behind each 34 MB of them: of the first group's log nothing would be left when the second's base is read.
    source.write(58_000);
    source.snapshot();
    source.purge();
    source.moves_on_every(340, 0);
    let made = back_up(&repository, &source, false).await.unwrap();
    check(&repository, &made.id, &source, made.until_us).await;
    let first = &made.groups[0];
    let base = first.base.as_ref().unwrap();
    assert!(
        base.next < first.next && first.log.segments.len() > 1,
        "{first:?}"
    );
}

#[tokio::test]
async fn a_group_whose_log_is_gone_before_it_is_read_has_a_newer_base_and_others_keep_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder).await;
    let source = Made::new();
    source.write(2_000);
    source.snapshot();
    source.purge();
    source.moves_on_every(24, 2);
    let made = back_up(&repository, &source, false).await.unwrap();
    check(&repository, &made.id, &source, made.until_us).await;
    // What was read in vain is not kept.
    let folder = folder.path().join("repository/objects").join(&made.id);
    let mut kept: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut named: Vec<String> = made
        .objects()
        .map(|object| object.name.rsplit('/').next().unwrap().to_owned())
        .collect();
    kept.sort();
    named.sort();
    assert_eq!(kept, named);

    // One that forgets everything, always, cannot be backed up, and that is said.
    source.moves_on_every(24, u64::MAX);
    source.ticks();
    let never = back_up(&repository, &source, true).await.unwrap_err();
    assert!(matches!(never, CreateError::TooSlow(_)), "{never}");
    source.moves_on_every(0, 0);
    let made = back_up(&repository, &source, true).await.unwrap();
    check(&repository, &made.id, &source, made.until_us).await;
}

#[tokio::test]
async fn what_is_damaged_missing_or_another_s_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(&folder).await;
    let source = Made::new();
    source.write(100);
    let first = back_up(&repository, &source, false).await.unwrap();
    source.write(100);
    let second = back_up(&repository, &source, false).await.unwrap();
    let root = folder.path().join("repository");
    let object = |manifest: &Manifest| manifest.groups[1].log.segments[0].object.clone();
    let damaged = |error: RepositoryError, file: &str| {
        let told = error.to_string();
        assert!(
            matches!(error, RepositoryError::Damaged { .. }) && told.contains(file),
            "{told}"
        );
    };

    // One bit of an object, its end, all of it, and another in its place.
    let name = object(&first).name;
    let path = root.join(&name);
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    for bad in [flipped, good[..good.len() - 1].to_vec(), Vec::new()] {
        fs::write(&path, bad).unwrap();
        damaged(repository.get(&object(&first)).await.unwrap_err(), &name);
    }
    fs::copy(root.join(object(&second).name), &path).unwrap();
    damaged(repository.get(&object(&first)).await.unwrap_err(), &name);
    fs::remove_file(&path).unwrap();
    let missing = repository.get(&object(&first)).await.unwrap_err();
    assert!(matches!(missing, RepositoryError::Missing { .. }), "{missing}");
    fs::write(&path, &good).unwrap();

    // A manifest that was changed, and one that is another's in its stead.
    let path: PathBuf = root.join("backups").join(&first.id);
    let good = fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    fs::write(&path, text.replace("\"next\": 100", "\"next\": 101")).unwrap();
    damaged(
        repository.chain(&second.id, second.until_us).await.unwrap_err(),
        &first.id,
    );
    fs::copy(root.join("backups").join(&second.id), &path).unwrap();
    damaged(
        repository.chain(&second.id, second.until_us).await.unwrap_err(),
        &first.id,
    );
    fs::write(&path, &good).unwrap();
    check(&repository, &second.id, &source, second.until_us).await;
}

#[tokio::test]
async fn a_repository_is_of_one_cluster_and_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = repository(&folder).await;
    assert!(sealed.is_sealed() && sealed.cluster_id() == CLUSTER);
    let open = |key| Repository::open(place(&folder), key);
    assert!(matches!(
        open(None).await,
        Err(RepositoryError::KeyMissing { .. })
    ));
    assert!(matches!(
        open(Some(key("6"))).await,
        Err(RepositoryError::KeyWrong { .. })
    ));
    assert!(open(Some(key("5"))).await.is_ok());
    let other = Repository::open_or_make(place(&folder), Some(key("5")), "another").await;
    assert!(matches!(other, Err(RepositoryError::AnotherCluster { .. })));

    let folder = tempfile::tempdir().unwrap();
    Repository::open_or_make(place(&folder), None, CLUSTER)
        .await
        .unwrap();
    let unused = Repository::open(place(&folder), Some(key("5"))).await;
    assert!(matches!(unused, Err(RepositoryError::KeyNotUsed { .. })));

    let folder = tempfile::tempdir().unwrap();
    let nothing = Repository::open(place(&folder), None).await;
    assert!(matches!(nothing, Err(RepositoryError::Missing { .. })));
    fs::write(folder.path().join("letter"), "dear").unwrap();
    let taken = Place::Folder(folder.path().into());
    let taken = Repository::open_or_make(taken, None, CLUSTER).await;
    assert!(matches!(taken, Err(RepositoryError::NoRepository { .. })));
}

#[tokio::test]
async fn a_bucket_is_a_place_as_a_folder_is_also_where_it_fails_now_and_then() {
    let (store, address) = Store::start().await;
    store.fail_every(5);
    let place = || Place::Bucket(bucket(address, "backups", "key"));
    let repository = Repository::open_or_make(place(), Some(key("5")), CLUSTER)
        .await
        .unwrap();
    let source = Made::new();
    source.write(100);
    source.snapshot();
    let first = back_up(&repository, &source, false).await.unwrap();
    for _ in 0..4 {
        source.write(10);
        back_up(&repository, &source, false).await.unwrap();
    }
    let repository = Repository::open(place(), Some(key("5"))).await.unwrap();
    let backups = repository.backups().await.unwrap();
    assert_eq!(backups.len(), 5);
    for id in &backups {
        let (manifest, _) = repository.manifest(id).await.unwrap();
        check(&repository, id, &source, manifest.until_us).await;
    }
    let name = first.objects().next().unwrap().name.clone();
    store.flip_a_bit(&format!("shop/eu/{name}")).await;
    let refused = repository.get(first.objects().next().unwrap()).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::Damaged { .. }), "{refused}");
    // What one try leaves that cannot be gone on with is removed there, too.
    let objects = store.names().await.len();
    repository.abandon(&first).await.unwrap();
    assert_eq!(store.names().await.len(), objects, "it is finished");

    for (name, access_key, why) in [
        ("other", "key", "no such bucket"),
        ("backups", "another", "AccessDenied"),
    ] {
        let place = Place::Bucket(bucket(address, name, access_key));
        let refused = Repository::open_or_make(place, None, CLUSTER).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

/// Repositories of format 1 have these files and must be read for ever.
#[tokio::test]
async fn a_repository_of_format_1_is_read_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let source = Made::new();
    source.write(1);
    let repository = Repository::open_or_make(place(&folder), None, CLUSTER)
        .await
        .unwrap();
    let made = back_up(&repository, &source, false).await.unwrap();
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1");
    if std::env::var_os("DOCKET_WRITE_FIXTURES").is_some() {
        copy(&folder.path().join("repository"), &fixture);
    }
    let repository = Repository::open(Place::Folder(fixture), None).await.unwrap();
    assert_eq!(
        repository.backups().await.unwrap(),
        std::slice::from_ref(&made.id)
    );
    // Its objects' names are from before attempts were told apart.
    let mut expected = made.clone();
    for segment in expected.groups.iter_mut().flat_map(|part| &mut part.log.segments) {
        let end = segment.object.name.rfind('-').unwrap();
        segment.object.name.truncate(end);
    }
    assert_eq!(repository.manifest(&made.id).await.unwrap().0, expected);
    check(&repository, &made.id, &source, made.until_us).await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

//! A standby that is killed between the end of its spool and its removal goes on at its next start, whatever it had appended.

use docket_actors::{GroupId, backup::LoggedEntry};

use super::*;
use crate::standby::spool::{Reading, Start};

const SPOOL: &str = "standby.spool";

/// How far the standby is when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    /// The spool is whole.
    BeforeAppending,
    /// The first of the groups has what is in it.
    BehindTheFirstGroup,
    /// All groups have, and nothing says so.
    BeforeItIsNoted,
    /// All is done but that the spool is removed.
    BeforeItIsRemoved,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spooled_is_appended_at_the_next_start_wherever_the_first_was_killed() {
    let folders = Folders::make().await;
    for killed in [
        Killed::BeforeAppending,
        Killed::BehindTheFirstGroup,
        Killed::BeforeItIsNoted,
        Killed::BeforeItIsRemoved,
    ] {
        check(&folders, killed).await;
    }
}

async fn check(folders: &Folders, killed: Killed) {
    let [of_primary, lives, found] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    copy(folders.primary.path(), of_primary.path());
    copy(folders.standby.path(), lives.path());
    let primary = Primary::open(of_primary.path()).await;
    let config_of = |dir: &TempDir| config(dir.path(), primary.address);
    let config = config_of(&lives);
    let state = registered(&config, "one").await.unwrap();
    state.write(lives.path()).unwrap();
    for number in 0..20 {
        assert!(customer(&primary.docket, &format!("c-{number}")).await);
    }
    let expected = customers(&primary.docket).await;

    let docket = open(lives.path()).await;
    let standby = Standby::new(&config, &docket, Some(link(&config)), state.clone());
    let client = link(&config).connect().await.unwrap();
    let read = standby.read(&client).await.unwrap();
    assert!(read.is_spooled);
    let spool = fs::read(lives.path().join(SPOOL)).unwrap();
    match killed {
        Killed::BeforeAppending => {}
        Killed::BehindTheFirstGroup | Killed::BeforeItIsNoted => {
            let only = (killed == Killed::BehindTheFirstGroup).then_some(1);
            append(&docket, lives.path(), only).await;
        }
        Killed::BeforeItIsRemoved => {
            standby.append_spooled().await.unwrap();
            fs::write(lives.path().join(SPOOL), &spool).unwrap();
        }
    }
    copy(lives.path(), found.path());
    let before = customers(&docket).await;
    assert_eq!(
        before.is_superset(&expected),
        matches!(killed, Killed::BeforeItIsNoted | Killed::BeforeItIsRemoved),
        "{killed:?}: what the one that was killed had: {before:?}"
    );

    // The next start, on what the disk had.
    let state = State::read(found.path()).unwrap().unwrap();
    assert_eq!(
        state.until_us >= read.until_us,
        killed == Killed::BeforeItIsRemoved
    );
    let config = config_of(&found);
    let again = open(found.path()).await;
    let follower = Follower::start(&config, &again, Some(link(&config)), state)
        .await
        .unwrap();
    assert!(customers(&again).await.is_superset(&expected), "{killed:?}");
    assert!(State::read(found.path()).unwrap().unwrap().until_us >= read.until_us);
    // And it follows from there on.
    assert!(customer(&primary.docket, "later").await);
    until("it goes on", async || customers(&again).await.contains("later")).await;
    until("nothing is spooled", async || !found.path().join(SPOOL).exists()).await;
    for group in 0..=u32::from(SHARDS) {
        let group = GroupId(group);
        let last = primary.docket.last_applied(group);
        until("both are as far", async || again.last_applied(group) == last).await;
    }
    drop(follower);
    for docket in [docket, again] {
        let _ = docket.close(PATIENCE).await;
    }
    primary.close().await;
}

/// Appends what is spooled, of one group or of all, and notes nothing.
async fn append(docket: &Docket, dir: &Path, only: Option<u32>) {
    let mut reading = Reading::open(dir).unwrap().unwrap();
    let before = |Start { next, term }: &Start| next.checked_sub(1).map(|index| (index, *term));
    let mut previous: Vec<_> = reading.from.iter().map(before).collect();
    while let Some((group, mut entries)) = reading.next().unwrap() {
        if only.is_some_and(|only| only != group) {
            continue;
        }
        let mut batch = Vec::new();
        while let Some(entry) = LoggedEntry::take(&mut entries).unwrap() {
            batch.push(entry);
        }
        let last = batch.last().map(|last| (last.index, last.term));
        let behind = std::mem::replace(&mut previous[group as usize], last);
        docket.follow_log(GroupId(group), behind, batch).await.unwrap();
    }
}

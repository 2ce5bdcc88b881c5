//! Promotions that race: of one standby twice, of one that is forgotten meanwhile and another that is registered in its place, by force and without, over a way that loses
//! answers. Two are promoted at most where one of them was by force and did not reach the primary, as `docs/standby.md` says.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
};

use docket_actors::standby::{Fence, PromoteError, Promotion, StandbyControl};
use tokio::time::timeout;

use super::{
    lossy::{Drawn, Way},
    *,
};

/// How many are run; more where that asks for them.
const SEEDS: u64 = 24;
const SEEDS_ASKED: &str = "DOCKET_RACES";
/// The seed of the first.
const FIRST_ASKED: &str = "DOCKET_SEED";
/// How often a promotion is asked for that was refused for now.
const ASKED_MAX: usize = 6;
/// How late what races begins, in milliseconds.
const LATE_MS: u64 = 40;
/// Of so many connections one is refused, one loses its answers, one is late.
const OF_CONNECTIONS: u64 = 8;
/// What a promotion by force says that reached nobody.
const NOT_REACHED: &str = "the primary could not be fenced";

/// A standby, and what came of it.
struct Second {
    name: &'static str,
    dir: TempDir,
    docket: Docket,
    control: Arc<dyn StandbyControl>,
    _follower: Follower,
    _way: Way,
}

impl Second {
    /// Registers as one, over a way that loses nothing, and follows over one that does.
    async fn begin(
        folder: &Path,
        primary: SocketAddr,
        (name, seed, of): (&'static str, u64, u64),
    ) -> Result<Self, crate::failure::Failure> {
        let dir = tempfile::tempdir().unwrap();
        copy(folder, dir.path());
        let state = registered(&config(dir.path(), primary), name).await?;
        state.write(dir.path()).unwrap();
        let way = Way::to(primary, seed, of).await;
        let mut config = config(dir.path(), way.address);
        config.standby.fence_within_s = 1;
        let docket = open(dir.path()).await;
        let follower = Follower::start(&config, &docket, Some(link(&config)), state).await?;
        let control = Arc::clone(docket.standby().unwrap());
        Ok(Self {
            name,
            dir,
            docket,
            control,
            _follower: follower,
            _way: way,
        })
    }

    /// What its folder says, which is what it is at its next start.
    fn promoted(&self) -> Option<u64> {
        State::read(self.dir.path()).unwrap().unwrap().promoted
    }
}

/// Asks for a promotion, again as long as it is refused for now. Where `loses`, the first answer is not waited for.
async fn promote(
    control: Arc<dyn StandbyControl>,
    force: bool,
    loses: Option<Duration>,
) -> Option<Promotion> {
    if let Some(after) = loses
        && let Ok(Ok(promoted)) = timeout(after, control.promote(force)).await
    {
        return Some(promoted);
    }
    for _ in 0..ASKED_MAX {
        match control.promote(force).await {
            Ok(promoted) => return Some(promoted),
            Err(PromoteError::NotClean(_) | PromoteError::Failed(_)) => {}
            Err(PromoteError::Already { epoch }) => {
                assert_eq!(epoch, 2);
                return None;
            }
            Err(PromoteError::NotOurs(_)) => return None,
            Err(error @ PromoteError::NoStandby) => panic!("{error}"),
        }
    }
    None
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Nobody,
    First,
    Second,
    /// One of them by force, without having reached the primary.
    Both,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_promotions_that_race_one_is_made_and_two_only_where_force_reached_nobody() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = (
        number(FIRST_ASKED).unwrap_or(1),
        number(SEEDS_ASKED).unwrap_or(SEEDS),
    );
    let folders = Folders::make().await;
    let mut ended = Vec::new();
    for seed in first..first + count {
        let begun = Instant::now();
        let how = round(&folders, seed).await;
        println!("seed {seed}: {how:?}, {:.1?}", begun.elapsed());
        ended.push(how);
    }
    if count >= SEEDS {
        for how in [Ended::First, Ended::Second] {
            assert!(ended.contains(&how), "never {how:?}: {ended:?}");
        }
    }
}

async fn round(folders: &Folders, seed: u64) -> Ended {
    let mut drawn = Drawn::new(seed);
    let of_primary = tempfile::tempdir().unwrap();
    copy(folders.primary.path(), of_primary.path());
    let primary = Primary::open(of_primary.path()).await;
    let of = if drawn.one_in(3) { 0 } else { OF_CONNECTIONS };
    let begin = |name, seed| Second::begin(folders.standby.path(), primary.address, (name, seed, of));
    let one = begin("one", drawn.below(u64::MAX)).await.unwrap();

    // Customers are made all the while.
    let over = Arc::new(AtomicBool::new(false));
    let writing = {
        let (docket, over) = (primary.docket.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut made = BTreeSet::new();
            for number in 0.. {
                let id = format!("c-{number}");
                if over.load(Ordering::Acquire) {
                    break;
                }
                if customer(&docket, &id).await {
                    made.insert(id);
                }
                sleep(Duration::from_millis(1)).await;
            }
            made
        })
    };

    // One is promoted, by one or two who ask; meanwhile it may be forgotten, and another registered and promoted.
    let asks = 1 + drawn.below(2);
    let promoting: Vec<_> = (0..asks)
        .map(|_| {
            let (late, force) = (drawn.pause(LATE_MS), drawn.one_in(3));
            let loses = drawn.one_in(2).then(|| drawn.pause(LATE_MS));
            let control = Arc::clone(&one.control);
            tokio::spawn(async move {
                sleep(late).await;
                (force, promote(control, force, loses).await)
            })
        })
        .collect();
    let (late, force, is_replaced) = (drawn.pause(LATE_MS), drawn.one_in(3), !drawn.one_in(4));
    let of_two = drawn.below(u64::MAX);
    let (two, by_two) = if is_replaced {
        sleep(late).await;
        // Refused where the cluster was fenced by then.
        let _ = primary.docket.forget_standby().await;
        match begin("two", of_two).await {
            Ok(two) => {
                let promoted = promote(Arc::clone(&two.control), force, None).await;
                (Some(two), Some((force, promoted)))
            }
            Err(_taken_or_fenced) => (None, None),
        }
    } else {
        (None, None)
    };
    let mut by_one = Vec::new();
    for asked in promoting {
        by_one.push(asked.await.unwrap());
    }
    over.store(true, Ordering::Release);
    let made = writing.await.unwrap();

    // What somebody was told is what there is, and nobody was told twice.
    let told = |all: &[(bool, Option<Promotion>)]| {
        let told: Vec<_> = all
            .iter()
            .filter_map(|(force, promoted)| Some((*force, promoted.clone()?)))
            .collect();
        assert!(told.len() <= 1, "seed {seed}: promoted twice: {told:?}");
        told.into_iter().next()
    };
    let of_one = (&one, told(&by_one));
    let of_two = two.as_ref().map(|two| (two, told(by_two.as_slice())));
    let mut promoted = Vec::new();
    for (standby, told) in [Some(of_one), of_two].into_iter().flatten() {
        let Some(epoch) = standby.promoted() else {
            assert!(
                told.is_none(),
                "seed {seed}: {} is not promoted: {told:?}",
                standby.name
            );
            continue;
        };
        assert_eq!(epoch, 2);
        if let Some((_, promotion)) = &told
            && promotion.missing.is_empty()
        {
            assert!(matches!(
                *primary.docket.posture(),
                Posture::Fenced { epoch: 2, .. }
            ));
            assert_eq!(
                primary.docket.fence_of().map(|fence| fence.standby).as_deref(),
                Some(standby.name)
            );
            let there = customers(&standby.docket).await;
            let lost: Vec<_> = made.difference(&there).collect();
            assert!(lost.is_empty(), "seed {seed}: {} has lost {lost:?}", standby.name);
        }
        promoted.push((standby, told));
    }
    let ended = match &promoted[..] {
        [] => Ended::Nobody,
        [(one, _)] if one.name == "one" => Ended::First,
        [_] => Ended::Second,
        both => {
            // Whose answer was lost has told nobody; of that one the primary says whether it was reached.
            let fenced_by = primary.docket.fence_of().map(|Fence { standby, .. }| standby);
            let unreached = |(standby, told): &&(&Second, Option<(bool, Promotion)>)| {
                fenced_by.as_deref() != Some(standby.name)
                    && told
                        .as_ref()
                        .is_none_or(|(force, promotion)| *force && promotion.missing.contains(NOT_REACHED))
            };
            assert!(
                both.iter().any(|one| unreached(&one)),
                "seed {seed}: both are promoted"
            );
            let forced = by_one.iter().any(|(force, _)| *force) || force;
            assert!(
                forced && of > 0,
                "seed {seed}: both are promoted, and nobody forced it"
            );
            Ended::Both
        }
    };
    for standby in [Some(one), two].into_iter().flatten() {
        let _ = standby.docket.close(PATIENCE).await;
    }
    primary.close().await;
    ended
}

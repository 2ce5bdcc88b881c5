//! Places of deliveries in flight, of which every webhook gets a fair share.
//!
//! A receiver that does not answer holds each of its places for as long as a delivery may take. So that others do not wait for that:
//! - A place that is free goes to the webhook that waits and has the fewest; among those, to the one that got its last place longest ago.
//! - Where there are several webhooks none has more than half of the places.
//! - Webhooks whose last delivery failed get no more than half of the places together: the other half is free of receivers that do not answer.
//! - What they hold from when there were more places counts for no more than that half either. So there may be more in flight for a while than there
//!   are places now, and never more than there are at most.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use docket_engine::webhook::WebhookId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Says how many places there are now, of so many at most.
pub(crate) type Limit = Arc<dyn Fn(usize) -> usize + Send + Sync>;

/// The places. Clones are the same.
#[derive(Clone)]
pub(crate) struct Places {
    limit: Limit,
    /// In flight at most, however many places there were before.
    most: Arc<AtomicUsize>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<WebhookId, Share>,
    waiting: BTreeMap<WebhookId, VecDeque<oneshot::Sender<Place>>>,
    /// Their last delivery failed.
    failing: HashSet<WebhookId>,
    /// How many places were given so far.
    turn: u64,
}

#[derive(Clone, Copy, Default)]
struct Share {
    places: usize,
    last_turn: u64,
}

/// A place, until this is dropped.
pub(crate) struct Place {
    /// `None` where nobody took it.
    of: Option<(Places, WebhookId)>,
}

impl Places {
    pub(crate) fn new(limit: Limit, most: usize) -> Self {
        Self {
            limit,
            most: Arc::new(AtomicUsize::new(most)),
            taken: Arc::default(),
        }
    }

    /// There are so many at most from now on.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// A place for a delivery of this webhook, when it is its turn.
    pub(crate) async fn take(&self, webhook: WebhookId) -> Option<Place> {
        let (sender, place) = oneshot::channel();
        {
            let mut taken = self.taken.lock();
            let queue = taken.waiting.entry(webhook).or_default();
            queue.retain(|waits| !waits.is_closed());
            queue.push_back(sender);
        }
        self.give();
        place.await.ok()
    }

    /// What came of a webhook's last delivery.
    pub(crate) fn note(&self, webhook: WebhookId, is_delivered: bool) {
        let mut taken = self.taken.lock();
        match is_delivered {
            true => taken.failing.remove(&webhook),
            false => taken.failing.insert(webhook),
        };
    }

    /// There are these webhooks. Those that are gone are forgotten.
    pub(crate) fn keep(&self, webhooks: &[WebhookId]) {
        let mut taken = self.taken.lock();
        taken
            .of
            .retain(|id, share| share.places > 0 || webhooks.contains(id));
        for id in webhooks {
            taken.of.entry(*id).or_default();
        }
        taken.failing.retain(|id| webhooks.contains(id));
    }

    /// Gives places that are free to those that wait. There may be more than before.
    pub(crate) fn give(&self) {
        let most = self.most.load(Relaxed);
        let limit = (self.limit)(most);
        let mut taken = self.taken.lock();
        while taken.all < most
            && taken.used(limit) < limit
            && let Some(webhook) = taken.next(limit)
        {
            let Some(waits) = taken.pop(webhook) else { continue };
            let place = Place {
                of: Some((self.clone(), webhook)),
            };
            match waits.send(place) {
                Ok(()) => taken.give(webhook),
                // Nobody waits any more.
                Err(mut place) => place.of = None,
            }
        }
    }

    fn give_back(&self, webhook: WebhookId) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(share) = taken.of.get_mut(&webhook) {
            share.places = share.places.saturating_sub(1);
        }
        drop(taken);
        self.give();
    }
}

impl Taken {
    fn share(&self, webhook: WebhookId) -> Share {
        self.of.get(&webhook).copied().unwrap_or_default()
    }

    /// How many places are taken, of so many.
    fn used(&self, limit: usize) -> usize {
        let failing = self.of_failing();
        match self.is_alone() {
            true => self.all,
            false => self.all.saturating_sub(failing) + failing.min(for_failing(limit)),
        }
    }

    /// The places of those whose last delivery failed.
    fn of_failing(&self) -> usize {
        self.failing.iter().map(|id| self.share(*id).places).sum()
    }

    fn is_alone(&self) -> bool {
        let mut others = self.of.keys().chain(self.waiting.keys());
        let first = others.next();
        others.all(|other| Some(other) == first)
    }

    /// Whose turn it is, of those that wait.
    fn next(&self, limit: usize) -> Option<WebhookId> {
        let half = limit.div_ceil(2);
        let failing_are_many = self.of_failing() >= for_failing(limit);
        let is_alone = self.is_alone();
        let may = |id: &&WebhookId| {
            let is_few = is_alone || self.share(**id).places < half;
            let may_fail = is_alone || !failing_are_many || !self.failing.contains(*id);
            is_few && may_fail
        };
        let those = self.waiting.keys().filter(may);
        let first = those.min_by_key(|id| {
            let share = self.share(**id);
            (share.places, share.last_turn)
        });
        first.copied()
    }

    fn pop(&mut self, webhook: WebhookId) -> Option<oneshot::Sender<Place>> {
        let queue = self.waiting.get_mut(&webhook)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&webhook);
        }
        first
    }

    fn give(&mut self, webhook: WebhookId) {
        self.all += 1;
        self.turn += 1;
        let share = self.of.entry(webhook).or_default();
        share.places += 1;
        share.last_turn = self.turn;
    }
}

/// Of so many places those whose last delivery failed get so many: with two or more there is one that they never get.
fn for_failing(limit: usize) -> usize {
    (limit / 2).max(1)
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((places, webhook)) = self.of.take() {
            places.give_back(webhook);
        }
    }
}

#[cfg(test)]
mod tests {

    use futures::{FutureExt as _, future::BoxFuture};

    use super::*;

    const DEAD: WebhookId = WebhookId([1; 12]);
    const WELL: WebhookId = WebhookId([2; 12]);
    const THIRD: WebhookId = WebhookId([3; 12]);

    const MOST: usize = 64;

    fn places(limit: usize) -> (Places, Arc<AtomicUsize>) {
        let limit = Arc::new(AtomicUsize::new(limit));
        let now = Arc::clone(&limit);
        (Places::new(Arc::new(move |_| now.load(Relaxed)), MOST), limit)
    }

    /// Deliveries that want a place, and those that have one.
    struct Wanting {
        waiting: Vec<(WebhookId, BoxFuture<'static, Option<Place>>)>,
        have: Vec<(WebhookId, Place)>,
    }

    impl Wanting {
        fn new(places: &Places, wanted: &[(WebhookId, usize)]) -> Self {
            let all = wanted.iter().flat_map(|(id, count)| vec![*id; *count]);
            let waiting = all.map(|id| {
                let places = places.clone();
                (id, async move { places.take(id).await }.boxed())
            });
            let mut wanting = Self {
                waiting: waiting.collect(),
                have: Vec::new(),
            };
            wanting.look();
            wanting
        }

        fn look(&mut self) {
            // All wait before any is answered, as tasks of one moment do.
            for _ in 0..2 {
                for (id, mut wants) in std::mem::take(&mut self.waiting) {
                    match (&mut wants).now_or_never() {
                        Some(place) => self.have.push((id, place.unwrap())),
                        None => self.waiting.push((id, wants)),
                    }
                }
            }
        }

        /// One delivery ends.
        fn end(&mut self, of: WebhookId) {
            let at = self.have.iter().position(|(id, _)| *id == of).unwrap();
            drop(self.have.remove(at));
            self.look();
        }

        fn count(&self, of: WebhookId) -> usize {
            self.have.iter().filter(|(id, _)| *id == of).count()
        }
    }

    #[test]
    fn one_that_is_alone_has_all_and_of_several_none_has_more_than_half() {
        let (places, _) = places(6);
        places.keep(&[DEAD]);
        let alone = Wanting::new(&places, &[(DEAD, 10)]);
        assert_eq!(alone.count(DEAD), 6);
        drop(alone);
        places.keep(&[DEAD, WELL]);
        let mut both = Wanting::new(&places, &[(DEAD, 10)]);
        assert_eq!(both.count(DEAD), 3);
        let later = Wanting::new(&places, &[(WELL, 10)]);
        assert_eq!(later.count(WELL), 3, "it waits for nobody");
        both.end(DEAD);
        assert_eq!(both.count(DEAD), 3);
    }

    #[test]
    fn those_that_fail_have_half_together_and_others_the_rest() {
        let (places, _) = places(6);
        places.keep(&[DEAD, WELL, THIRD]);
        for id in [DEAD, THIRD] {
            places.note(id, false);
        }
        let mut failing = Wanting::new(&places, &[(DEAD, 9), (THIRD, 9)]);
        assert_eq!(failing.have.len(), 3);
        let well = Wanting::new(&places, &[(WELL, 9)]);
        assert_eq!(well.count(WELL), 3);
        drop(well);
        failing.look();
        assert_eq!(failing.have.len(), 3, "also while nobody else wants them");
        places.note(THIRD, true);
        places.give();
        failing.look();
        assert_eq!((failing.count(DEAD) + failing.count(THIRD)), 6);
        assert!(failing.count(THIRD) <= 3);
    }

    #[test]
    fn what_receivers_that_do_not_answer_hold_from_before_takes_no_more_than_half() {
        let (places, limit) = places(MOST);
        places.keep(&[DEAD, WELL, THIRD]);
        let mut dead = Wanting::new(&places, &[(DEAD, 16), (THIRD, 16)]);
        assert_eq!(dead.have.len(), 32);
        for id in [DEAD, THIRD] {
            places.note(id, false);
        }
        // The node is at work.
        limit.store(6, Relaxed);
        let mut well = Wanting::new(&places, &[(WELL, 9)]);
        assert_eq!(well.count(WELL), 3);
        let more = Wanting::new(&places, &[(DEAD, 9)]);
        assert_eq!(more.count(DEAD), 0);
        well.end(WELL);
        assert_eq!(well.count(WELL), 3, "a place that is free goes on");
        dead.end(DEAD);
        assert_eq!(well.count(WELL), 3);
        drop((more, well, dead));
        assert_eq!(places.taken.lock().all, 0);
    }

    #[test]
    fn of_two_places_a_receiver_that_does_not_answer_has_one() {
        let (places, _) = places(2);
        places.keep(&[DEAD, WELL]);
        places.note(DEAD, false);
        let dead = Wanting::new(&places, &[(DEAD, 5)]);
        assert_eq!(dead.count(DEAD), 1);
        let well = Wanting::new(&places, &[(WELL, 5)]);
        assert_eq!(well.count(WELL), 1);
    }

    #[test]
    fn there_are_never_more_in_flight_than_at_most() {
        let (places, _) = places(MOST);
        let ids: Vec<WebhookId> = (1..=5).map(|n| WebhookId([n; 12])).collect();
        places.keep(&ids);
        let wanted: Vec<_> = ids[..4].iter().map(|id| (*id, 16)).collect();
        let mut dead = Wanting::new(&places, &wanted);
        assert_eq!(dead.have.len(), MOST);
        for id in &ids[..4] {
            places.note(*id, false);
        }
        let mut well = Wanting::new(&places, &[(ids[4], 16)]);
        assert_eq!(well.have.len(), 0);
        for n in 1..=3 {
            dead.end(ids[0]);
            well.look();
            assert_eq!(well.have.len(), n);
        }
    }

    #[test]
    fn a_place_goes_to_who_has_the_fewest_and_then_in_turn() {
        let (places, limit) = places(2);
        places.keep(&[DEAD, WELL, THIRD]);
        let mut all = Wanting::new(&places, &[(DEAD, 5), (WELL, 5), (THIRD, 5)]);
        assert_eq!((all.count(DEAD), all.count(WELL), all.count(THIRD)), (1, 1, 0));
        all.end(DEAD);
        assert_eq!((all.count(DEAD), all.count(WELL), all.count(THIRD)), (0, 1, 1));
        all.end(WELL);
        assert_eq!((all.count(DEAD), all.count(WELL), all.count(THIRD)), (1, 0, 1));
        // There is less to do: there are more.
        limit.store(6, Relaxed);
        places.give();
        all.look();
        assert_eq!((all.count(DEAD), all.count(WELL), all.count(THIRD)), (2, 2, 2));
    }

    #[test]
    fn who_waits_no_more_has_no_place() {
        let (places, _) = places(1);
        places.keep(&[DEAD, WELL]);
        let mut first = Wanting::new(&places, &[(DEAD, 1)]);
        let gone = Wanting::new(&places, &[(WELL, 3)]);
        assert!(gone.have.is_empty());
        drop(gone);
        let mut last = Wanting::new(&places, &[(WELL, 1)]);
        first.end(DEAD);
        last.look();
        assert_eq!(last.count(WELL), 1);
        drop(last);
        assert_eq!(places.taken.lock().all, 0);
    }
}

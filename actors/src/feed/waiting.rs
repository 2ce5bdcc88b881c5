//! Who waits for changes of a shard, and which have come for them.
//!
//! A watch of one customer that looked for its own among all changes of its shard would have each looked at by every watch, under the lock
//! that the writer needs. So the dispatcher looks at each change once, finds out whose it is, and **notes** it for those who wait for that
//! customer: nobody else is woken. A watch looks through the ring itself only to catch up, where it begins at an earlier position or more
//! has come than is noted for it.
//!
//! ```text
//!   ring:   │ … looked through by the watch … │ noted for it by the dispatcher … │ not looked at yet │
//!                                             ▲                                  ▲                   ▲
//!                              it began to wait before                        noted                 end
//! ```

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use docket_engine::CustomerId;
use docket_proto::feed::FeedPosition;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{AsFeed, Feed, SCANNED_MAX, ring::Kept};

/// Changes that are noted for one watch, 40 bytes each. Where more have come it looks through the ring.
const NOTED_MAX: usize = 256;

/// Who waits for changes of a shard.
#[derive(Default)]
pub(super) struct Interests {
    next: u64,
    of_all: HashMap<u64, Arc<Notify>>,
    /// By the slot of their customer.
    of_slot: HashMap<u16, Vec<OfCustomer>>,
}

/// One who waits for a customer's changes.
struct OfCustomer {
    id: u64,
    customer: CustomerId,
    woken: Arc<Notify>,
    came: Arc<Mutex<Came>>,
}

/// What has come for somebody.
#[derive(Default)]
struct Came {
    changes: VecDeque<Kept>,
    /// And more than that.
    is_more: bool,
}

/// Somebody waits, until this is dropped.
pub(super) struct Interest {
    of: Arc<dyn AsFeed>,
    id: u64,
    slot: Option<u16>,
    came: Arc<Mutex<Came>>,
}

/// Changes from a position on, where it goes on behind them, and whether there may be more.
pub(super) type Found = (Vec<Kept>, FeedPosition, bool);

impl OfCustomer {
    fn tell(&self, kept: Kept) {
        let mut came = self.came.lock();
        match came.changes.len() < NOTED_MAX && !came.is_more {
            true => came.changes.push_back(kept),
            false => came.be_more(),
        }
        drop(came);
        self.woken.notify_one();
    }
}

impl Came {
    fn be_more(&mut self) {
        (self.changes, self.is_more) = (VecDeque::new(), true);
    }
}

impl Interests {
    fn all_of_customers(&self) -> impl Iterator<Item = &OfCustomer> {
        self.of_slot.values().flatten()
    }

    /// Has everybody who waits for a customer look through the ring.
    pub(super) fn tell_more(&self) {
        for waits in self.all_of_customers() {
            waits.came.lock().be_more();
            waits.woken.notify_one();
        }
    }

    fn tell(&self, of: &dyn AsFeed, kept: Kept) {
        let Some(waiting) = self.of_slot.get(&kept.order().slot()) else {
            return;
        };
        let customer = of.customer_of(kept.order());
        // Whose it is may not be known while the state is replaced.
        let is_told = |waits: &&OfCustomer| {
            customer
                .as_ref()
                .is_none_or(|customer| waits.customer == *customer)
        };
        waiting.iter().filter(is_told).for_each(|waits| waits.tell(kept));
    }
}

impl Feed {
    /// Wakes who waits for something that came since this was done last.
    pub(super) fn wake(&self, of: &dyn AsFeed) {
        let interests = self.interests.lock();
        interests.of_all.values().for_each(|waits| waits.notify_one());
        while !interests.of_slot.is_empty() {
            let (mut found, mut scanned, mut next) = (Vec::new(), 0, *self.noted.lock());
            let read = self.ring.lock().read(next, |kept| {
                if scanned == SCANNED_MAX {
                    return false;
                }
                scanned += 1;
                next = kept.position().next();
                if interests.of_slot.contains_key(&kept.order().slot()) {
                    found.push(*kept);
                }
                true
            });
            if read.is_err() {
                // More has come than is kept.
                interests.tell_more();
                next = self.floor().unwrap_or_default();
            }
            found.into_iter().for_each(|kept| interests.tell(of, kept));
            *self.noted.lock() = next;
            if read.is_err() || scanned < SCANNED_MAX {
                return;
            }
        }
    }
}

impl Interest {
    /// Wakes `woken` at changes of a customer, or at all, from now on. Also who was woken for nothing is.
    pub(super) fn new(of: Arc<dyn AsFeed>, customer: Option<(u16, CustomerId)>, woken: Arc<Notify>) -> Self {
        let feed = of.feed();
        feed.waiting.fetch_add(1, Ordering::SeqCst);
        let came = Arc::new(Mutex::new(Came::default()));
        let mut interests = feed.interests.lock();
        let id = interests.next;
        interests.next += 1;
        let slot = customer.as_ref().map(|(slot, _)| *slot);
        match customer {
            None => {
                interests.of_all.insert(id, woken);
            }
            Some((slot, customer)) => {
                if interests.of_slot.is_empty() {
                    // Nobody has noted anything lately.
                    *feed.noted.lock() = feed.ring.lock().end();
                }
                let came = Arc::clone(&came);
                let waits = OfCustomer {
                    id,
                    customer,
                    woken,
                    came,
                };
                interests.of_slot.entry(slot).or_default().push(waits);
            }
        }
        drop(interests);
        Self { of, id, slot, came }
    }

    /// Whether anything is noted for who waits.
    pub(super) fn notes(&self) -> bool {
        self.slot.is_some()
    }

    /// The changes that have come from a position on, at most so many; `None` where more came than is noted: look through the ring. The
    /// position must be one behind all that was in the ring at some moment since this was made, and since `None` was returned last.
    pub(super) fn noted(&self, from: FeedPosition, limit: usize) -> Option<Found> {
        // First: what is before it has been noted.
        let noted = *self.of.feed().noted.lock();
        let mut came = self.came.lock();
        if std::mem::take(&mut came.is_more) {
            return None;
        }
        let is_old = |kept: &Kept| kept.position() < from;
        let old = came.changes.iter().take_while(|kept| is_old(kept)).count();
        came.changes.drain(..old);
        let found: Vec<Kept> = came.changes.iter().copied().take(limit).collect();
        let behind = found.last().map_or(from, |last| last.position().next());
        match found.len() < came.changes.len() {
            true => Some((found, behind, true)),
            false => Some((found, behind.max(noted), false)),
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let feed = self.of.feed();
        feed.waiting.fetch_sub(1, Ordering::SeqCst);
        let mut interests = feed.interests.lock();
        match self.slot {
            None => {
                interests.of_all.remove(&self.id);
            }
            Some(slot) => {
                if let Some(waiting) = interests.of_slot.get_mut(&slot) {
                    waiting.retain(|waits| waits.id != self.id);
                    if waiting.is_empty() {
                        interests.of_slot.remove(&slot);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Change, ChangeKind, OrderId, Time, Version};
    use docket_proto::snapshot::KeptChange;
    use futures::FutureExt as _;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::FeedLimits;

    const SLOT: u16 = 7;

    /// A feed whose orders' customers are in their ids.
    struct Fake(Feed);

    impl AsFeed for Fake {
        fn feed(&self) -> &Feed {
            &self.0
        }

        fn customer_of(&self, order: OrderId) -> Option<CustomerId> {
            Some(customer(order.time_ms()))
        }
    }

    fn customer(number: u64) -> CustomerId {
        CustomerId::new(&format!("c{number}")).unwrap()
    }

    fn fake(retained_max: usize) -> Arc<Fake> {
        Arc::new(Fake(Feed::new(FeedLimits {
            retained_max,
            retained_for: None,
        })))
    }

    impl Fake {
        /// An order of a customer of this slot was placed, in an entry of its own.
        fn apply(&self, index: u64, number: u64, slot: u16) -> FeedPosition {
            let position = FeedPosition::of_entry(index);
            self.0.begin(index);
            self.0.put(&[KeptChange {
                position,
                order: OrderId::compose(number, slot, index.into()),
                change: Change {
                    kind: ChangeKind::Placed,
                    version: Version(1),
                    at: Time(1),
                },
            }]);
            position
        }
    }

    /// What a watch of a customer sees, as [`super::super::watching`] reads it.
    struct Watch {
        interest: Interest,
        customer: u64,
        woken: Arc<Notify>,
        at: FeedPosition,
        is_caught_up: bool,
        seen: Vec<FeedPosition>,
    }

    impl Watch {
        fn begin(of: &Arc<Fake>, number: u64, at: FeedPosition) -> Self {
            let woken = Arc::new(Notify::new());
            let of: Arc<dyn AsFeed> = of.clone();
            Self {
                interest: Interest::new(of, Some((SLOT, customer(number))), woken.clone()),
                customer: number,
                woken,
                at,
                is_caught_up: false,
                seen: Vec::new(),
            }
        }

        /// Reads at most so many; whether it looked through the ring.
        fn read(&mut self, of: &Fake, limit: usize) -> bool {
            let noted = self
                .is_caught_up
                .then(|| self.interest.noted(self.at, limit))
                .flatten();
            let looks = noted.is_none();
            let (kept, next, more) = noted.unwrap_or_else(|| of.0.read(self.at, Some(SLOT), limit).unwrap());
            if looks {
                self.is_caught_up = !more;
            }
            self.at = next;
            let its = kept.iter().filter(|kept| kept.order().time_ms() == self.customer);
            self.seen.extend(its.map(Kept::position));
            looks
        }

        fn is_woken(&self) -> bool {
            self.woken.notified().now_or_never().is_some()
        }
    }

    #[test]
    fn who_waits_for_a_customer_is_told_of_its_changes_and_woken_for_no_others() {
        let fake = fake(1_024);
        let before = fake.apply(1, 1, SLOT);
        let mut watch = Watch::begin(&fake, 1, FeedPosition::default());
        assert!(watch.read(&fake, 10), "it catches up");
        let others = [(2, 2, SLOT), (3, 1, SLOT + 1)];
        for (index, number, slot) in others {
            fake.apply(index, number, slot);
        }
        fake.0.wake(&*fake);
        assert!(!watch.is_woken());
        let own = fake.apply(4, 1, SLOT);
        fake.0.wake(&*fake);
        assert!(watch.is_woken());
        assert!(!watch.read(&fake, 10), "it need not look");
        assert_eq!(watch.seen, [before, own]);
        assert_eq!(watch.at, own.next());
        // What is not for it moves it, too.
        let last = fake.apply(5, 2, SLOT + 1);
        fake.0.wake(&*fake);
        assert!(!watch.is_woken() && !watch.read(&fake, 10));
        assert_eq!(watch.at, last.next());
    }

    #[test]
    fn who_takes_nothing_for_long_looks_through_the_ring_once() {
        let fake = fake(1_024);
        let mut watch = Watch::begin(&fake, 1, FeedPosition::default());
        watch.read(&fake, 10);
        let many = NOTED_MAX as u64 + 40;
        let expected: Vec<_> = (1..=many).map(|index| fake.apply(index, 1, SLOT)).collect();
        fake.0.wake(&*fake);
        assert!(watch.interest.came.lock().changes.is_empty());
        let looks = (0..60).filter(|_| watch.read(&fake, 8)).count();
        assert_eq!(watch.seen, expected);
        assert_eq!(looks, expected.len() / 8, "until it has caught up");
    }

    #[test]
    fn what_came_before_it_was_noted_and_is_not_kept_any_more_is_no_gap() {
        let fake = fake(8);
        let mut watch = Watch::begin(&fake, 1, FeedPosition::default());
        watch.read(&fake, 10);
        for index in 1..=100 {
            fake.apply(index, 1, SLOT);
        }
        fake.0.wake(&*fake);
        assert!(watch.is_woken());
        assert!(watch.interest.noted(watch.at, 10).is_none());
        assert!(fake.0.read(watch.at, Some(SLOT), 10).is_err(), "which it is told");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Apply { number: u64, slot: u16 },
        Wake,
        Read { watch: usize, limit: usize },
        Begin { number: u64, from: usize },
        End,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..3_u64, SLOT..SLOT + 2).prop_map(|(number, slot)| Step::Apply { number, slot }),
            3 => Just(Step::Wake),
            4 => (0..8_usize, 1..6_usize).prop_map(|(watch, limit)| Step::Read { watch, limit }),
            1 => (0..3_u64, 0..200_usize).prop_map(|(number, from)| Step::Begin { number, from }),
            1 => Just(Step::End),
        ]
    }

    proptest! {
        #[test]
        fn every_watch_sees_each_of_its_changes_once_and_in_order(steps in vec(step(), 1..200)) {
            let fake = fake(4_096);
            let (mut watches, mut all, mut index) = (Vec::<(Watch, FeedPosition)>::new(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Apply { number, slot } => {
                        index += 1;
                        all.push((number, slot, fake.apply(index, number, slot)));
                    }
                    Step::Wake => fake.0.wake(&*fake),
                    Step::Read { watch, limit } => {
                        if let Some((watch, _)) = watches.get_mut(watch) {
                            watch.read(&fake, limit);
                        }
                    }
                    Step::Begin { number, from } => {
                        let from = all.get(from).map_or(FeedPosition::default(), |(_, _, at)| *at);
                        watches.push((Watch::begin(&fake, number, from), from));
                    }
                    // Those that are dropped do not take the others' with them.
                    Step::End => drop(watches.pop()),
                }
            }
            fake.0.wake(&*fake);
            for (watch, from) in &mut watches {
                for _ in 0..200 {
                    watch.read(&fake, 3);
                }
                let its = all.iter().filter(|(number, slot, at)| {
                    (*number, *slot) == (watch.customer, SLOT) && at >= from
                });
                let its: Vec<_> = its.map(|(_, _, at)| *at).collect();
                prop_assert_eq!(&watch.seen, &its);
            }
        }
    }
}

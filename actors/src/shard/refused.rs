//! What keeps questions that come late, or twice, from doing harm: refusals that stand, and reservations that are looked at before
//! they are released.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use docket_engine::{OrderId, Rejection, Sku};
use parking_lot::Mutex;
use rapidhash::fast::RandomState;

/// How long a refusal stands: far longer than a question can be on its way, since the connection of one that is not delivered ends.
const STANDS: Duration = Duration::from_secs(60);
/// So many are remembered at most.
const REFUSED_MAX: usize = 65_536;

type Pair = (OrderId, Sku);

/// What items refused to orders lately.
///
/// An order that hears no answer from another node asks again, and the first question may arrive after the second. If the second was
/// refused the order is about to be refused, and the first must not reserve any more: whoever reads the order in between would find
/// all of it reserved.
#[derive(Default)]
pub(crate) struct Refused {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rejections: HashMap<Pair, Rejection, RandomState>,
    times: VecDeque<(Instant, Pair)>,
}

impl Refused {
    /// What an item answers to a question for a reservation, having decided so now: what it refused before it refuses again. `None` as
    /// a decision is that the order has the reservation, and stays.
    pub(crate) fn once_and_for_all<E>(
        &self,
        (order, sku): (OrderId, &Sku),
        decision: Result<Option<E>, Rejection>,
    ) -> Result<Option<E>, Rejection> {
        match decision {
            Ok(None) => Ok(None),
            Ok(Some(event)) => match self.get(order, sku) {
                None => Ok(Some(event)),
                Some(rejection) => Err(rejection),
            },
            Err(rejection) => {
                self.note((order, sku.clone()), rejection.clone());
                Err(rejection)
            }
        }
    }

    fn get(&self, order: OrderId, sku: &Sku) -> Option<Rejection> {
        let inner = self.inner.lock();
        if inner.rejections.is_empty() {
            return None;
        }
        inner.rejections.get(&(order, sku.clone())).cloned()
    }

    fn note(&self, pair: Pair, rejection: Rejection) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        while inner.times.len() >= REFUSED_MAX
            || inner
                .times
                .front()
                .is_some_and(|(since, _)| now.duration_since(*since) > STANDS)
        {
            let Some((_, oldest)) = inner.times.pop_front() else {
                break;
            };
            inner.rejections.remove(&oldest);
        }
        if !inner.rejections.contains_key(&pair) {
            inner.rejections.insert(pair.clone(), rejection);
            inner.times.push_back((now, pair));
        }
    }
}

/// What orders that were edited asked items last.
///
/// As above a question may arrive behind one that was asked later. As long as an order only comes to want less that does no harm: it says how
/// much is to stay, and that is more than what the later one said. An edit has it want more again. So a question says how often its order was
/// edited, and one from before what the item has heard is not listened to: a release would take what the edit has reserved, and a raise
/// reserve what nobody would give back.
#[derive(Default)]
pub(crate) struct LastAsked(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    /// The place of the last question among its order's, and when it came.
    last: HashMap<Pair, (u32, Instant), RandomState>,
    times: VecDeque<(Instant, Pair)>,
}

impl LastAsked {
    /// Notes a question of an order that was edited so often, and whether it is to be listened to. In each edit an item is asked for more
    /// first, if it is.
    pub(crate) fn is_next(&self, (order, sku): (OrderId, &Sku), edits: u32, raises: bool) -> bool {
        let (now, pair) = (Instant::now(), (order, sku.clone()));
        let place = edits.saturating_mul(2).saturating_add(u32::from(!raises));
        let mut asked = self.0.lock();
        if asked.last.get(&pair).is_some_and(|(last, _)| place < *last) {
            return false;
        }
        // Nothing can come late to an order that was never edited.
        if edits == 0 {
            return true;
        }
        let is_over = |front: Option<&(Instant, Pair)>| {
            front.is_some_and(|(since, _)| now.duration_since(*since) > STANDS)
        };
        while asked.times.len() >= REFUSED_MAX || is_over(asked.times.front()) {
            let Some((since, oldest)) = asked.times.pop_front() else {
                break;
            };
            // One that was noted again stands for longer.
            if asked.last.get(&oldest).is_some_and(|(_, last)| *last == since) {
                asked.last.remove(&oldest);
            }
        }
        asked.last.insert(pair.clone(), (place, now));
        asked.times.push_back((now, pair));
        true
    }
}

/// Reservations that nobody seems to want, while it is asked whether that is so. If an order asks for one meanwhile, it is wanted.
#[derive(Default)]
pub(crate) struct Watched {
    /// Whether there are any: all that an order's question costs otherwise.
    any: AtomicBool,
    pairs: Mutex<BTreeSet<Pair>>,
}

impl Watched {
    /// Watches these from now on, and no others.
    pub(crate) fn begin(&self, pairs: impl IntoIterator<Item = Pair>) {
        let mut watched = self.pairs.lock();
        *watched = pairs.into_iter().collect();
        self.any.store(!watched.is_empty(), Ordering::SeqCst);
    }

    /// An order asks for this reservation.
    pub(crate) fn note_asked(&self, order: OrderId, sku: &Sku) {
        if self.any.load(Ordering::SeqCst) {
            self.take(order, sku);
        }
    }

    /// Watches it no more. True if it was watched, and nobody has asked for it since.
    pub(crate) fn take(&self, order: OrderId, sku: &Sku) -> bool {
        self.pairs.lock().remove(&(order, sku.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::new(text).unwrap()
    }

    #[test]
    fn what_was_refused_stays_refused_but_what_is_reserved_is_not_taken_back() {
        let refused = Refused::default();
        let (tea, order) = (sku("tea"), OrderId(1));
        let no = Rejection::RequestIdReused;
        let decide = |order, decision| refused.once_and_for_all((order, &tea), decision);
        assert_eq!(decide(order, Ok(Some(()))), Ok(Some(())));
        assert_eq!(decide(order, Err(no.clone())), Err(no.clone()));
        assert_eq!(decide(order, Ok(Some(()))), Err(no.clone()));
        assert_eq!(decide(order, Ok(None)), Ok(None));
        assert_eq!(decide(OrderId(2), Ok(Some(()))), Ok(Some(())));
    }

    #[test]
    fn no_more_refusals_are_remembered_than_there_is_room_for() {
        let refused = Refused::default();
        for n in 0..REFUSED_MAX as u128 + 10 {
            refused.note((OrderId(n), sku("tea")), Rejection::RequestIdReused);
        }
        let inner = refused.inner.lock();
        assert_eq!(
            (inner.times.len(), inner.rejections.len()),
            (REFUSED_MAX, REFUSED_MAX)
        );
        drop(inner);
        assert!(refused.get(OrderId(0), &sku("tea")).is_none());
    }

    #[test]
    fn what_comes_behind_a_later_question_of_an_edited_order_is_not_listened_to() {
        let asked = LastAsked::default();
        let tea = sku("tea");
        let is_next = |edits, raises| asked.is_next((OrderId(1), &tea), edits, raises);
        // Released before any edit, and again; raised for the first, and again.
        assert!(is_next(0, false) && is_next(0, false) && is_next(1, true) && is_next(1, true));
        assert!(!is_next(0, false));
        // Given back: what would raise it again is late, and so is what was asked before.
        assert!(is_next(1, false) && is_next(1, false));
        assert!(!is_next(1, true) && !is_next(0, false));
        assert!(is_next(3, true) && !is_next(2, true) && !is_next(2, false));
        assert!(asked.is_next((OrderId(2), &tea), 0, false));
    }

    #[test]
    fn no_more_questions_are_remembered_than_there_is_room_for() {
        let (asked, tea) = (LastAsked::default(), sku("tea"));
        for n in 0..REFUSED_MAX as u128 + 10 {
            assert!(asked.is_next((OrderId(n), &tea), 1, true));
        }
        let inner = asked.0.lock();
        assert_eq!((inner.times.len(), inner.last.len()), (REFUSED_MAX, REFUSED_MAX));
    }

    #[test]
    fn a_reservation_that_is_asked_for_while_it_is_watched_is_not_released() {
        let watched = Watched::default();
        watched.begin([(OrderId(1), sku("tea")), (OrderId(2), sku("tea"))]);
        watched.note_asked(OrderId(1), &sku("tea"));
        assert!(!watched.take(OrderId(1), &sku("tea")));
        assert!(watched.take(OrderId(2), &sku("tea")));
        assert!(!watched.take(OrderId(2), &sku("tea")), "once");
    }
}

//! Whose turn it is where the node is full: streams wait for room instead of being refused.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::gate::admission::{Admission, Kind, Permit, Waiting};

/// Whose turn it is where the node is full.
#[derive(Default)]
pub(super) struct Turn {
    /// This stream waits.
    waiting: Option<Waiting>,
}

impl Turn {
    /// Room for one more order, when it is this stream's turn; none where there is none and the order is late. Then the
    /// stream waits no more: it may have nothing else to ask for, and what it is told another would not hear.
    pub(super) fn poll(
        &mut self,
        admission: &Arc<Admission>,
        bytes: usize,
        is_late: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Permit>> {
        if self.waiting.is_none()
            && !admission.is_waited_for()
            && let Ok(permit) = admission.admit(Kind::Order, bytes)
        {
            return Poll::Ready(Some(permit));
        }
        loop {
            let new = self.waiting.is_none();
            let waiting = self.waiting.get_or_insert_with(|| admission.wait());
            let woken = Pin::new(waiting).poll(cx).is_ready();
            // There may have been room between looking and waiting; later on, only who is woken has a turn.
            if (woken || new)
                && let Ok(permit) = admission.admit(Kind::Order, bytes)
            {
                self.waiting = None;
                return Poll::Ready(Some(permit));
            }
            if is_late {
                self.waiting = None;
                return Poll::Ready(None);
            }
            if !woken {
                return Poll::Pending;
            }
            self.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdmissionConfig;

    #[tokio::test]
    async fn a_stream_whose_order_is_refused_for_being_late_takes_no_turn_from_another() {
        let admission = Admission::new(AdmissionConfig {
            max_calls: 1,
            ..AdmissionConfig::default()
        });
        let in_flight = admission.admit(Kind::Order, 0).unwrap();
        let (mut first, mut second) = (Turn::default(), Turn::default());
        let check = |turn: &mut Turn, is_late: bool| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            turn.poll(&admission, 1, is_late, &mut cx)
                .map(|permit| permit.is_some())
        };
        assert_eq!(check(&mut first, false), Poll::Pending);
        assert_eq!(check(&mut second, false), Poll::Pending);
        assert_eq!(check(&mut first, true), Poll::Ready(false));
        drop(in_flight);
        assert_eq!(check(&mut second, false), Poll::Ready(true));
        assert!(
            !admission.is_waited_for(),
            "nobody waits who has nothing to place"
        );
    }
}

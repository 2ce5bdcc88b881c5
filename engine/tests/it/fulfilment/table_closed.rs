//! When an order that was fulfilled is closed, every command of one that is, and what nothing comes of any more.

use docket_engine::{ChangeKind, OrderEvent, OrderState, Time};

use super::table::{NOTHING, all_but, check, check_of};
use crate::stage::{
    Ask,
    Stage::{
        self, Cancelled, CancelledVoidDone, Closed, ClosedByProvider, Declined, ExpiredVoidDone, Fulfilled,
        FulfilledCaptured, ProviderRefused, ProviderRejected, RefundDone, Refunded, RefundedPartly, Rejected,
        RejectedUnpaid, ReturnClosed, ReturnDeclined,
    },
    ask,
};

/// Of those on account: all of it was sent, and nothing is to come.
const AT_REST: &[Stage] = &[Fulfilled, ReturnClosed, ReturnDeclined, RefundedPartly, Refunded];
/// And of those by a provider.
const PAID: &[Stage] = &[FulfilledCaptured, RefundDone];

#[test]
fn an_order_is_closed_when_all_was_sent_and_nothing_is_to_come() {
    check(Ask::Close, &[(AT_REST, "CLOSED"), (&all_but(AT_REST), NOTHING)]);
    let others: Vec<_> = Stage::BY_PROVIDER
        .into_iter()
        .filter(|stage| !PAID.contains(stage))
        .collect();
    check_of(
        &Stage::BY_PROVIDER,
        Ask::Close,
        &[(PAID, "CLOSED"), (&others, NOTHING)],
    );
}

#[test]
fn an_order_that_is_closed_refuses_whatever_a_person_asks_of_it_and_hears_nothing() {
    for command in Ask::ALL {
        let is_of_the_engine = matches!(
            command,
            Ask::Place
                | Ask::Refuse
                | Ask::PlaceWithProvider
                | Ask::RefuseWithProvider
                | Ask::SettleAgreed
                | Ask::SettleRefused
                | Ask::SettleEarly
                | Ask::Released
                | Ask::Consumed
                | Ask::Restocked
                | Ask::RaiseAgreed
                | Ask::RaiseRefused
                | Ask::Authorized
                | Ask::AuthorizationDeclined
                | Ask::LastDone
                | Ask::LastDeclined
                | Ask::PaidMissing
                | Ask::Expire
                | Ask::Close
                | Ask::SettleWaiting
                | Ask::HearNothing
                | Ask::HearSome
                | Ask::HearMore
        );
        let expected = if is_of_the_engine { NOTHING } else { "OrderClosed" };
        check_of(&Stage::CLOSED, command, &[(&Stage::CLOSED, expected)]);
    }
}

#[test]
fn only_what_was_fulfilled_and_is_at_rest_takes_the_event() {
    for stage in Stage::all() {
        let Some(order) = stage.order() else { continue };
        let mut after = order.clone();
        let taken = after.evolve(&OrderEvent::Closed, Time(9)).is_ok();
        assert_eq!(taken, [AT_REST, PAID].concat().contains(&stage), "{stage:?}");
        match taken {
            true => after.validate().unwrap(),
            false => assert_eq!(after, order, "{stage:?}"),
        }
    }
}

#[test]
fn what_was_closed_tells_what_it_was_and_is_otherwise_the_same() {
    for stage in Stage::CLOSED {
        let order = stage.order().unwrap();
        assert_eq!(order.state, OrderState::Closed);
        assert_eq!(
            order.history().unwrap().kind(order.version),
            Some(ChangeKind::Closed)
        );
        assert_eq!(order.open_quantities().iter().map(|it| it.0).sum::<i64>(), 0);
        let mut reopened = order.clone();
        reopened.state = OrderState::Fulfilled;
        assert_eq!(order.payment(), reopened.payment(), "{stage:?}");
        assert_eq!(order.fulfilled_quantities(), reopened.fulfilled_quantities());
        // With something still to come it could not have been closed.
        let mut broken = order.clone();
        broken.life.as_mut().unwrap().consuming = Box::new([crate::stage::sku("nut")]);
        broken.validate().unwrap_err();
    }
}

/// What may be kept anywhere, for ever: no command changes it.
#[test]
fn what_is_over_never_changes_again_whatever_it_is_asked() {
    let over = [
        Closed,
        ClosedByProvider,
        Cancelled,
        CancelledVoidDone,
        Stage::CalledOffVoided,
        Rejected,
        RejectedUnpaid,
        ExpiredVoidDone,
        Declined,
        ProviderRejected,
        ProviderRefused,
    ];
    for stage in Stage::all() {
        let Some(order) = stage.order() else { continue };
        assert_eq!(order.is_over(), over.contains(&stage), "{stage:?}");
        if !order.is_over() {
            continue;
        }
        assert_eq!(order.held().0, 0, "{stage:?}");
        for command in Ask::ALL {
            let mut after = Some(order.clone());
            if let Ok(outcome) = ask(&mut after, &command.command_of(Some(&order))) {
                assert_eq!(
                    (outcome.events, outcome.effects),
                    (vec![], vec![]),
                    "{command:?} of {stage:?}"
                );
            }
        }
    }
}

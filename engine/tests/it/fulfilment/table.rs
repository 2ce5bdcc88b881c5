//! Every stage of an order on account × every command. Those by a provider are in `table_paying.rs`.

use docket_engine::{Effect, Order, OrderCommand, Version};

use crate::stage::{
    Ask, Outcome,
    Stage::{
        self, AllReturned, Cancelled, CancelledReleasing, Confirmed, ConfirmedHeld, ConfirmedPlanned,
        ConfirmedReleasing, ConfirmedUnplanned, EditRefused, Editing, Fulfilled, FulfilledConsuming,
        FulfilledReleasing, NoOrder, Partly, PartlyConsuming, PartlyHeld, PartlyPlanned, PartlyRefunded,
        PartlyReleasing, PartlyRestocking, PartlyReturn, Pending, Refunded, RefundedPartly, Rejected,
        RejectedReleasing, RejectedUnpaid, ReturnApproved, ReturnClosed, ReturnDeclined, ReturnReceived,
        ReturnRequested, ReturnRestocking,
    },
    ask,
};

pub(super) const NOTHING: &str = "nothing";

/// `SHIPPED; capture 2; consume nut to 3`.
fn text(outcome: &Outcome) -> String {
    if outcome.events.is_empty() {
        assert_eq!(outcome.effects, [], "nothing happens, and others are asked");
        return NOTHING.to_owned();
    }
    let events: Vec<_> = outcome.events.iter().map(ToString::to_string).collect();
    let effects = outcome.effects.iter().map(|effect| match effect {
        Effect::HoldCredit { customer, amount } => format!("hold {amount} of {customer}"),
        Effect::ReleaseCredit { customer, amount } => format!("give {customer} {amount} back"),
        Effect::CaptureCredit { customer, amount } => format!("capture {amount} of {customer}"),
        Effect::ReserveStock { sku, lines, .. } => {
            let lines = lines
                .iter()
                .map(|it| format!(" {}:{}@{}", it.line, it.quantity, it.unit_price));
            format!("reserve {sku}{}", lines.collect::<String>())
        }
        Effect::RaiseStock { sku, line, quantity } => format!("raise {sku} to {quantity} for line {line}"),
        Effect::ReleaseStock { sku, remaining } => format!("release {sku} to {remaining}"),
        Effect::ConsumeStock { sku, remaining } => format!("consume {sku} to {remaining}"),
        Effect::RefundCredit { customer, amount } => format!("refund {amount} to {customer}"),
        Effect::RestockStock {
            sku,
            number,
            quantity,
        } => format!("restock {quantity} {sku} of return {number}"),
    });
    let effects = effects.map(|effect| format!("; {effect}"));
    events.join(" ") + &effects.collect::<String>()
}

/// What its provider is to do now, and was not before: `; step 4: capture 11`.
fn newly_due(before: Option<&Order>, after: Option<&Order>) -> String {
    let known = before.map_or(0, |order| order.payment_steps().len());
    let steps = (1..).zip(after.map_or(&[][..], Order::payment_steps));
    steps
        .skip(known)
        .map(|(number, step)| format!("; step {number}: {} {}", step.kind, step.amount))
        .collect()
}

/// What comes of one command, of every stage of an order on account once; a rejection as it is, with all that it says.
#[track_caller]
pub(super) fn check(command: Ask, expected: &[(&[Stage], &str)]) {
    check_of(&Stage::ON_ACCOUNT, command, expected);
}

/// As [`check`], of these stages.
#[track_caller]
pub(super) fn check_of(of: &[Stage], command: Ask, expected: &[(&[Stage], &str)]) {
    let mut told: Vec<Stage> = expected
        .iter()
        .flat_map(|(stages, _)| stages.iter().copied())
        .collect();
    told.sort();
    assert_eq!(told, of, "{command:?} is told of every stage, and of each once");
    for (stages, expected) in expected {
        for stage in *stages {
            let before = stage.order();
            let mut after = before.clone();
            let command_of_it = command.command_of(before.as_ref());
            let (found, changes) = match ask(&mut after, &command_of_it) {
                Ok(outcome) => (
                    text(&outcome) + &newly_due(before.as_ref(), after.as_ref()),
                    !outcome.events.is_empty(),
                ),
                Err(rejection) => (format!("{rejection:?}"), false),
            };
            assert_eq!(found, *expected, "{command:?} of {stage:?}");
            let version = |order: &Option<Order>| order.as_ref().map_or(0, |it| it.version.0);
            assert_eq!(changes, after != before, "{command:?} of {stage:?}");
            assert_eq!(changes, version(&after) > version(&before));
        }
    }
}

/// What waits for others.
const PENDING: &[Stage] = &[
    Pending,
    ConfirmedReleasing,
    Editing,
    EditRefused,
    PartlyConsuming,
    PartlyReleasing,
    PartlyRestocking,
];
/// Something of it was shipped and nothing is under way or holds it.
const PARTLY: &[Stage] = &[Partly, PartlyReturn, PartlyRefunded];
/// Of each a nut of the first line is in an open fulfilment.
const PLANNED: &[Stage] = &[ConfirmedPlanned, PartlyPlanned];
/// Something of it is open, and nothing is under way with its items or its money.
pub(super) const QUIET: &[Stage] = &[
    Confirmed,
    ConfirmedHeld,
    ConfirmedPlanned,
    ConfirmedUnplanned,
    Partly,
    PartlyHeld,
    PartlyPlanned,
    PartlyReturn,
    PartlyRefunded,
];
const HELD: &[Stage] = &[ConfirmedHeld, PartlyHeld];
const FULFILLED: &[Stage] = &[
    Fulfilled,
    FulfilledConsuming,
    FulfilledReleasing,
    ReturnRequested,
    ReturnApproved,
    ReturnRestocking,
    ReturnReceived,
    ReturnClosed,
    ReturnDeclined,
    AllReturned,
    RefundedPartly,
    Refunded,
];
pub(super) const CANCELLED: &[Stage] = &[Cancelled, CancelledReleasing];
pub(super) const REJECTED: &[Stage] = &[Rejected, RejectedReleasing, RejectedUnpaid];
/// Nothing was shipped of it.
pub(super) const UNSHIPPED: &[Stage] = &[
    Pending,
    Confirmed,
    ConfirmedHeld,
    ConfirmedReleasing,
    ConfirmedPlanned,
    ConfirmedUnplanned,
    Editing,
    EditRefused,
    Cancelled,
    CancelledReleasing,
    Rejected,
    RejectedReleasing,
    RejectedUnpaid,
];
const SHIPPED: &[Stage] = &[
    Partly,
    PartlyHeld,
    PartlyPlanned,
    PartlyConsuming,
    PartlyReleasing,
    PartlyReturn,
    PartlyRestocking,
    PartlyRefunded,
    Fulfilled,
    FulfilledConsuming,
    FulfilledReleasing,
    ReturnRequested,
    ReturnApproved,
    ReturnRestocking,
    ReturnReceived,
    ReturnClosed,
    ReturnDeclined,
    AllReturned,
    RefundedPartly,
    Refunded,
];
/// It may be held, and is not.
const HOLDABLE: &[Stage] = &[
    Confirmed,
    ConfirmedReleasing,
    ConfirmedPlanned,
    ConfirmedUnplanned,
    PartlyPlanned,
    Editing,
    EditRefused,
    Partly,
    PartlyConsuming,
    PartlyReleasing,
    PartlyReturn,
    PartlyRestocking,
    PartlyRefunded,
];

/// What is told of the first line, of which one is in an open fulfilment.
const IS_PLANNED: &str = "QuantityPlanned { line: 0, planned: Quantity(1) }";

/// Those of which nothing ever was planned.
fn unplanned(of: &[Stage]) -> Vec<Stage> {
    let was_planned = |stage: &Stage| PLANNED.contains(stage) || *stage == ConfirmedUnplanned;
    of.iter().copied().filter(|stage| !was_planned(stage)).collect()
}

/// Of those on account.
pub(super) fn all_but(but: &[Stage]) -> Vec<Stage> {
    Stage::ON_ACCOUNT
        .into_iter()
        .filter(|stage| !but.contains(stage))
        .collect()
}

#[test]
fn an_order_is_placed_or_refused_once() {
    let there = all_but(&[NoOrder]);
    check(
        Ask::Place,
        &[
            (
                &[NoOrder],
                "PLACED; hold 18 of ada; reserve nut 0:3@2 2:1@2; reserve bolt 1:2@5",
            ),
            (&there, NOTHING),
        ],
    );
    check(Ask::Refuse, &[(&[NoOrder], "PLACED REJECTED"), (&there, NOTHING)]);
}

#[test]
fn only_a_pending_order_is_settled() {
    let others = all_but(&[Pending]);
    check(
        Ask::SettleAgreed,
        &[(&[Pending], "CONFIRMED"), (&others, NOTHING)],
    );
    check(
        Ask::SettleRefused,
        &[
            (&[Pending], "REJECTED; give ada 18 back; release nut to 0"),
            (&others, NOTHING),
        ],
    );
    check(Ask::SettleEarly, &[(&Stage::ON_ACCOUNT, NOTHING)]);
}

#[test]
fn all_that_is_open_is_cancelled_when_nothing_is_under_way() {
    check(
        Ask::CancelAll,
        &[
            (&[NoOrder], NOTHING),
            (PENDING, "OrderPending"),
            (
                &[Confirmed, ConfirmedHeld, ConfirmedUnplanned],
                "CANCELLED; give ada 18 back; release nut to 0; release bolt to 0",
            ),
            (
                &[PARTLY, &[PartlyHeld]].concat(),
                "LINES_CANCELLED; give ada 11 back; release nut to 0; release bolt to 0",
            ),
            (PLANNED, IS_PLANNED),
            (FULFILLED, "NotCancellable { state: Fulfilled }"),
            (CANCELLED, NOTHING),
            (REJECTED, "NotCancellable { state: Rejected }"),
        ],
    );
}

#[test]
fn some_of_what_is_open_is_cancelled_when_nothing_is_under_way() {
    check(
        Ask::CancelSome,
        &[
            (&[NoOrder], NOTHING),
            (PENDING, "OrderPending"),
            (
                &[Confirmed, ConfirmedHeld, ConfirmedPlanned, ConfirmedUnplanned],
                "LINES_CANCELLED; give ada 2 back; release nut to 3",
            ),
            (
                &[PARTLY, &[PartlyHeld, PartlyPlanned]].concat(),
                "LINES_CANCELLED; give ada 2 back; release nut to 2",
            ),
            (FULFILLED, "NotCancellable { state: Fulfilled }"),
            // Nobody can call off some of what is called off altogether.
            (CANCELLED, "NotCancellable { state: Cancelled }"),
            (REJECTED, "NotCancellable { state: Rejected }"),
        ],
    );
}

#[test]
fn what_is_open_is_shipped_when_nothing_is_under_way_and_nothing_holds_it() {
    let check = |command, [of_confirmed, of_partly, of_planned, of_partly_planned]: [&str; 4]| {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (PENDING, "OrderPending"),
                (HELD, "OrderHeld { reason: Address }"),
                (&[Confirmed, ConfirmedUnplanned], of_confirmed),
                (PARTLY, of_partly),
                (&[ConfirmedPlanned], of_planned),
                (&[PartlyPlanned], of_partly_planned),
                (FULFILLED, "NotShippable { state: Fulfilled }"),
                (CANCELLED, "NotShippable { state: Cancelled }"),
                (REJECTED, "NotShippable { state: Rejected }"),
            ],
        );
    };
    check(
        Ask::ShipAll,
        [
            "SHIPPED; capture 18 of ada; consume nut to 0; consume bolt to 0",
            "SHIPPED; capture 11 of ada; consume nut to 0; consume bolt to 0",
            // All that is planned by nobody.
            "SHIPPED; capture 16 of ada; consume nut to 1; consume bolt to 0",
            "SHIPPED; capture 9 of ada; consume nut to 1; consume bolt to 0",
        ],
    );
    let (confirmed, partly) = (
        "SHIPPED; capture 2 of ada; consume nut to 3",
        "SHIPPED; capture 2 of ada; consume nut to 2",
    );
    check(Ask::ShipSome, [confirmed, partly, confirmed, partly]);
}

#[test]
fn how_much_is_ordered_is_changed_when_nothing_is_under_way() {
    let check = |command, of_confirmed, of_partly| {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (PENDING, "OrderPending"),
                // Also while it is held.
                (
                    &[Confirmed, ConfirmedHeld, ConfirmedPlanned, ConfirmedUnplanned],
                    of_confirmed,
                ),
                (&[PARTLY, &[PartlyHeld, PartlyPlanned]].concat(), of_partly),
                (FULFILLED, "NotEditable { state: Fulfilled }"),
                (CANCELLED, "NotEditable { state: Cancelled }"),
                (REJECTED, "NotEditable { state: Rejected }"),
            ],
        );
    };
    check(
        Ask::EditLess,
        "EDITED; give ada 2 back; release nut to 3",
        "EDITED; give ada 2 back; release nut to 2",
    );
    // So many in all, beside those of the third line.
    check(
        Ask::EditMore,
        "EDIT_BEGUN; hold 2 of ada; raise nut to 5 for line 0",
        "EDIT_BEGUN; hold 2 of ada; raise nut to 4 for line 0",
    );
    // Less is given back when more is there.
    check(
        Ask::EditBoth,
        "EDIT_BEGUN; hold 0 of ada; raise nut to 5 for line 0",
        "EDIT_BEGUN; hold 0 of ada; raise nut to 4 for line 0",
    );
}

#[test]
fn what_the_items_say_to_an_edit_is_heard_once() {
    let deaf = all_but(&[Editing]);
    check(
        Ask::RaiseAgreed,
        &[(&[Editing], "EDITED; give ada 0 back"), (&deaf, NOTHING)],
    );
    check(
        Ask::RaiseRefused,
        &[
            (&[Editing], "EDIT_REFUSED; give ada 2 back; release nut to 4"),
            (&deaf, NOTHING),
        ],
    );
}

#[test]
fn what_was_sent_arrives_once() {
    check(
        Ask::DeliverOnItsWay,
        &[
            (&[NoOrder], NOTHING),
            (UNSHIPPED, "FulfilmentNotFound { fulfilment: 2 }"),
            (SHIPPED, "DELIVERED"),
        ],
    );
    check(
        Ask::DeliverArrived,
        &[
            (&[NoOrder], NOTHING),
            (&unplanned(UNSHIPPED), "FulfilmentNotFound { fulfilment: 1 }"),
            (
                &[ConfirmedPlanned],
                "FulfilmentNotShipped { fulfilment: 1, state: Open }",
            ),
            (
                &[ConfirmedUnplanned],
                "FulfilmentNotShipped { fulfilment: 1, state: Cancelled }",
            ),
            (SHIPPED, NOTHING),
        ],
    );
    check(
        Ask::DeliverMissing,
        &[
            (&[NoOrder], NOTHING),
            (&all_but(&[NoOrder]), "FulfilmentNotFound { fulfilment: 9 }"),
        ],
    );
}

#[test]
fn what_is_open_is_planned_when_nothing_is_under_way_also_while_it_is_held() {
    for command in [Ask::OpenAll, Ask::OpenSome] {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (PENDING, "OrderPending"),
                (
                    &[&[Confirmed, ConfirmedUnplanned], PARTLY, PLANNED, HELD].concat(),
                    "FULFILMENT_OPENED",
                ),
                (FULFILLED, "NotShippable { state: Fulfilled }"),
                (CANCELLED, "NotShippable { state: Cancelled }"),
                (REJECTED, "NotShippable { state: Rejected }"),
            ],
        );
    }
}

#[test]
fn what_is_planned_is_shipped_or_given_up_once() {
    let (unshipped, shipped) = (unplanned(UNSHIPPED), unplanned(SHIPPED));
    let not_found = "FulfilmentNotFound { fulfilment: 1 }";
    let arrived = "FulfilmentNotOpen { fulfilment: 1, state: Delivered }";
    check(
        Ask::ShipPlanned,
        &[
            (&[NoOrder], NOTHING),
            (&unshipped, not_found),
            (&shipped, arrived),
            (&[ConfirmedPlanned], "SHIPPED; capture 2 of ada; consume nut to 3"),
            (&[PartlyPlanned], "SHIPPED; capture 2 of ada; consume nut to 2"),
            (
                &[ConfirmedUnplanned],
                "FulfilmentNotOpen { fulfilment: 1, state: Cancelled }",
            ),
        ],
    );
    check(
        Ask::CancelPlanned,
        &[
            (&[NoOrder], NOTHING),
            (&unshipped, not_found),
            (&shipped, arrived),
            (PLANNED, "FULFILMENT_CANCELLED"),
            (&[ConfirmedUnplanned], NOTHING),
        ],
    );
}

#[test]
fn an_order_is_held_while_something_of_it_is_open() {
    let check = |command, of_holdable, of_held| {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (&[Pending], "OrderPending"),
                (HOLDABLE, of_holdable),
                (HELD, of_held),
                (FULFILLED, "NotHoldable { state: Fulfilled }"),
                (CANCELLED, "NotHoldable { state: Cancelled }"),
                (REJECTED, "NotHoldable { state: Rejected }"),
            ],
        );
    };
    check(Ask::Hold, "HELD", "HoldExists { reason: Address }");
    check(
        Ask::ReleaseHold,
        "HoldNotFound { reason: Address }",
        "HOLD_RELEASED",
    );
}

#[test]
fn what_the_items_have_done_is_heard_once() {
    let releasing = [
        ConfirmedReleasing,
        EditRefused,
        PartlyReleasing,
        FulfilledReleasing,
        CancelledReleasing,
        RejectedReleasing,
    ];
    let consuming = [PartlyConsuming, FulfilledConsuming];
    check(
        Ask::Released,
        &[(&releasing, "RELEASED"), (&all_but(&releasing), NOTHING)],
    );
    check(
        Ask::Consumed,
        &[(&consuming, "CONSUMED"), (&all_but(&consuming), NOTHING)],
    );
}

/// The same command, only at a version. `None` where no etag comes with it.
fn at(command: OrderCommand, version: Version) -> Option<OrderCommand> {
    let mut command = command;
    match &mut command {
        OrderCommand::Cancel { expected, .. }
        | OrderCommand::Ship { expected, .. }
        | OrderCommand::OpenFulfilment { expected, .. }
        | OrderCommand::ShipFulfilment { expected, .. }
        | OrderCommand::CancelFulfilment { expected, .. }
        | OrderCommand::Deliver { expected, .. }
        | OrderCommand::Hold { expected, .. }
        | OrderCommand::RequestReturn { expected, .. }
        | OrderCommand::MoveReturn { expected, .. }
        | OrderCommand::Refund { expected, .. }
        | OrderCommand::RetryPayment { expected, .. }
        | OrderCommand::Edit { expected, .. }
        | OrderCommand::ReleaseHold { expected, .. } => *expected = Some(version),
        _ => return None,
    }
    Some(command)
}

#[test]
fn a_stale_etag_is_refused_before_all_else_and_the_current_one_is_as_none() {
    for stage in Stage::all().filter(|stage| *stage != NoOrder) {
        let order = stage.order();
        let version = order.as_ref().unwrap().version;
        for command in Ask::ALL {
            for stale in [0, version.0 - 1, version.0 + 1, u64::MAX] {
                if let Some(stale) = at(command.command_of(order.as_ref()), Version(stale)) {
                    let refused = format!("{:?}", ask(&mut order.clone(), &stale));
                    assert_eq!(refused, "Err(StaleEtag)", "{command:?} of {stage:?}");
                }
            }
            if let Some(current) = at(command.command_of(order.as_ref()), version) {
                let with = ask(&mut order.clone(), &current);
                let without = ask(&mut order.clone(), &command.command_of(order.as_ref()));
                assert_eq!(
                    format!("{with:?}"),
                    format!("{without:?}"),
                    "{command:?} of {stage:?}"
                );
            }
        }
    }
}

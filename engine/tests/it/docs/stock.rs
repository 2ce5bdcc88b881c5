//! What became of the stock of an order's lines.

use std::fmt::Write as _;

use docket_engine::{Quantity, ReservationState};

use crate::stage::Stage;

const SHOWN: [Stage; 10] = [
    Stage::Pending,
    Stage::Authorizing,
    Stage::Confirmed,
    Stage::ConfirmedPlanned,
    Stage::Partly,
    Stage::Fulfilled,
    Stage::FulfilledReleasing,
    Stage::Cancelled,
    Stage::Rejected,
    Stage::ExpiredVoidOpen,
];

pub(super) fn stock() -> String {
    let mut text = String::from(
        "## What became of a line's stock

Shown of every line (`reservations`), with quantities that add up to what is ordered of it. It follows from the order and is stored nowhere.
That of several lines of one item is one reservation in the item's books.

| State | What it says |
|---|---|
",
    );
    for state in [
        ReservationState::Held,
        ReservationState::Committed,
        ReservationState::Backordered,
        ReservationState::Consumed,
        ReservationState::Released,
        ReservationState::Expired,
    ] {
        let says = match state {
            ReservationState::Held => {
                "It is reserved, or is being reserved, for an order that is not confirmed yet. Where a provider is to authorise the payment \
                 it is given back when that has not happened in time: a read says when (`expire_time`)."
            }
            ReservationState::Committed => "It is reserved for an order that is confirmed, planned or not.",
            ReservationState::Backordered => {
                "It is promised, confirmed or not, and not there yet: its item had fewer, and may promise more. It is not shipped before it is there."
            }
            ReservationState::Consumed => "It was shipped.",
            ReservationState::Released => "It was given back, or never taken where the order was refused.",
            ReservationState::Expired => "It was given back since the payment was not authorised in time.",
        };
        writeln!(text, "| `{state}` | {says} |").unwrap();
    }
    text += "
Of the order of three nuts, two bolts, and a nut more:

| | Line 1 | Line 2 | Line 3 |
|---|---|---|---|
";
    for stage in SHOWN {
        let order = stage.order().unwrap();
        let lines = order.reservations();
        let cells: Vec<_> = lines.iter().map(|line| cell(line)).collect();
        writeln!(text, "| {} | {} |", stage.name(), cells.join(" | ")).unwrap();
        for (line, told) in order.lines.iter().zip(&lines) {
            let sum: Quantity = told.iter().map(|(_, quantity)| *quantity).sum();
            assert_eq!(sum, line.quantity, "{}", stage.name());
        }
    }
    text
}

fn cell(line: &[(ReservationState, Quantity)]) -> String {
    let states: Vec<_> = line
        .iter()
        .map(|(state, quantity)| format!("{quantity} {state}"))
        .collect();
    states.join(", ")
}

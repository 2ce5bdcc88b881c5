//! `docs/order-states.md`, drawn from what the engine decides, so that it cannot say anything else.

mod items;
mod money;
mod provider;
mod regions;
mod stock;

use std::{collections::BTreeMap, fmt::Write as _};

use docket_engine::{EDITS_MAX, FulfilmentState, Order, OrderState, RETURNS_MAX, ReturnState};

use crate::stage::{Ask, Stage, ask};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/order-states.md");

#[test]
fn the_page_about_states_says_what_the_engine_decides() {
    let page = page();
    #[expect(
        clippy::disallowed_methods,
        reason = "this test may be told to write the page"
    )]
    let is_to_write = std::env::var_os("DOCKET_WRITE_DOCS").is_some();
    if is_to_write {
        #[expect(clippy::disallowed_methods, reason = "and writes it then")]
        std::fs::write(FILE, &page).unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "it is compared with the file")]
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == page,
        "docs/order-states.md is not what the engine does; run this with DOCKET_WRITE_DOCS=1 and look at what changes"
    );
}

fn page() -> String {
    [
        HEAD.to_owned(),
        states(),
        tables(),
        items::reservations(),
        stock::stock(),
        money::payments(),
        provider::payments(),
        fulfilments(),
        returns(),
        regions::regions(),
    ]
    .join("\n")
}

const HEAD: &str = "# The states of an order

What an order is, what it can be asked, and what comes of it. Five things run side by side in one order: the order's own state, the
reservations that its items hold for it, its payment, its shipments, and its returns.

This page is drawn from the engine: a test compares it, and `DOCKET_WRITE_DOCS=1 cargo test -p docket-engine --test it docs` writes
it anew. Do not edit it by hand.
";

/// A name that can stand alone in a diagram. What is shown as PENDING has two here.
fn node(stage: Option<OrderState>) -> String {
    match stage {
        None => "[*]".to_owned(),
        Some(OrderState::Authorizing) => "AUTHORIZING".to_owned(),
        Some(state) => state.to_string(),
    }
}

/// Arrows, with all that leads along each of them.
#[derive(Default)]
struct Diagram(BTreeMap<(usize, usize), (String, String, Vec<String>)>);

impl Diagram {
    /// `rank` says where in the diagram an arrow is written: so that it reads from the start to the end.
    fn arrow(&mut self, rank: (usize, usize), from: String, to: String, label: &str) {
        let (_, _, labels) = self.0.entry(rank).or_insert_with(|| (from, to, Vec::new()));
        if !labels.iter().any(|known| known == label) {
            labels.push(label.to_owned());
        }
    }

    fn draw(&self) -> String {
        let arrows = self
            .0
            .values()
            .map(|(from, to, labels)| format!("    {from} --> {to} : {}\n", labels.join(" / ")));
        format!("```mermaid\nstateDiagram-v2\n{}```\n", arrows.collect::<String>())
    }
}

/// Every stage × every command that does something, with the order before and after.
fn moves() -> impl Iterator<Item = (Stage, Ask, Option<Order>, Order)> {
    let pairs = Stage::all().flat_map(|stage| Ask::ALL.map(|command| (stage, command)));
    pairs.filter_map(|(stage, command)| {
        let before = stage.order();
        // The last step is also the first one: that is a command of its own.
        let is_first = before.as_ref().is_some_and(|it| it.payment_steps().len() == 1);
        if is_first && matches!(command, Ask::LastDone | Ask::LastDeclined) {
            return None;
        }
        let mut after = before.clone();
        let outcome = ask(&mut after, &command.command_of(before.as_ref())).ok()?;
        (!outcome.events.is_empty()).then(|| (stage, command, before, after.unwrap()))
    })
}

fn states() -> String {
    let mut diagram = Diagram::default();
    let number = |state: Option<OrderState>| state.map_or(0, |state| state as usize + 1);
    let open = |order: &Order| order.open_quantities();
    for (_, command, before, after) in moves() {
        let from = before.as_ref().map(|it| it.state);
        // What leaves the state and all quantities as they are is in the tables.
        if before.is_some_and(|it| it.state == after.state && open(&it) == open(&after)) {
            continue;
        }
        let (from, to) = (from, Some(after.state));
        diagram.arrow((number(from), number(to)), node(from), node(to), command.name());
    }
    let mut text = String::from("## The order\n\n");
    text += &diagram.draw();
    text += "
| State | What it says |
|---|---|
";
    for (state, says) in [
        (
            OrderState::Pending,
            "Its money is held; its items are asked to reserve. Only the items' answers move it on.",
        ),
        (
            OrderState::Authorizing,
            "Only where a provider pays: its stock is reserved, and its provider is asked to authorise its payment. It can be called off \
             altogether meanwhile. It is shown as `PENDING`.",
        ),
        (
            OrderState::Confirmed,
            "Its money is held, or authorised, and its stock is reserved. Nothing of it was shipped; some of it may be called off.",
        ),
        (
            OrderState::PartiallyFulfilled,
            "Some of it was shipped, and some is open.",
        ),
        (
            OrderState::Fulfilled,
            "Nothing is open: it was shipped, or what was not shipped is called off.",
        ),
        (
            OrderState::Cancelled,
            "All of it was called off before anything was shipped.",
        ),
        (
            OrderState::Rejected,
            "Its customer could not pay, its provider declined to authorise that, or an item refused. It holds nothing.",
        ),
        (
            OrderState::Expired,
            "Its provider did not authorise its payment in time. It holds nothing; its provider is told, so that a late authorisation \
             takes nothing.",
        ),
        (
            OrderState::Closed,
            "It was fulfilled, and nothing came of it for as long as the shop has set. It is what it was, and takes nothing more.",
        ),
    ] {
        writeln!(text, "| `{}` | {says} |", node(Some(state))).unwrap();
    }
    text + &format!(
        "
Of every line, what was ordered is open, shipped or called off; `CONFIRMED`, `PARTIALLY_FULFILLED` and `FULFILLED` follow from
these quantities alone. An order that was refused, or has expired, has nothing open, shipped or called off.

How much of a line is ordered may be changed (an *edit*) while something of the order is open: to no less than what was shipped or called
off of it (`QUANTITY_TOO_LOW`), and not so that nothing is left of the order (`EDIT_LEAVES_NOTHING`). Where that needs no more of any item it
is done at once. Else it is begun: what the order comes to cost more is held, the items are asked (*editing*), and until all have answered the
order is what it was; where one has not enough it stays so, and what was held and reserved is given back. Where a provider pays, it is asked to
authorise what the order comes to cost more when the items have agreed (but not while a node of the cluster has a program that does not know of that:
`EDIT_NEEDS_AUTHORIZATION`). There are at most {EDITS_MAX} edits, with those that were refused (`TOO_MANY_EDITS`).

A hold is no state: a confirmed or partly shipped order may be held, for several reasons at a time. While one is active nothing is
shipped; cancelling goes on, and holds end by themselves when nothing is open any more.

While its items still give back, take off, put back or reserve what the last step asked of them (*releasing*, *consuming*, *restocking*,
*editing*), an
order can be held, its shipments can arrive and returns can be asked for and decided, but nothing more is shipped, called off, edited or
refunded, and nothing else goes back on the stock: `ORDER_PENDING`.

An order that was fulfilled is closed when nothing came of it for `orders.close_after_s`, and nothing is to come: its items have done what they
were asked, no return is on its way or to be closed, and no step of its payment is open, or declined and waits for a person. Whatever a person
asks of it then is refused (`ORDER_CLOSED`).
"
    )
}

/// What comes of a command, in a cell: the events in code, a refusal by its reason, a dash for nothing.
fn cell(stage: Stage, command: Ask) -> String {
    let mut order = stage.order();
    let asked = command.command_of(order.as_ref());
    match ask(&mut order, &asked) {
        Err(rejection) => rejection.reason().to_owned(),
        Ok(outcome) if outcome.events.is_empty() => "–".to_owned(),
        Ok(outcome) => {
            let events: Vec<_> = outcome.events.iter().map(ToString::to_string).collect();
            format!("**{}**", events.join(", "))
        }
    }
}

fn table(stages: &[Stage], commands: &[Ask]) -> String {
    let names: Vec<_> = commands.iter().map(|command| command.name()).collect();
    let mut text = format!(
        "| | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(commands.len())
    );
    for &stage in stages {
        let cells: Vec<_> = commands.iter().map(|command| cell(stage, *command)).collect();
        writeln!(text, "| {} | {} |", stage.name(), cells.join(" | ")).unwrap();
    }
    text
}

const ASKED: [Ask; 6] = [
    Ask::CancelAll,
    Ask::CancelSome,
    Ask::ShipAll,
    Ask::ShipSome,
    Ask::Hold,
    Ask::ReleaseHold,
];
/// Of a person, and what the items say to it.
const EDITS: [Ask; 5] = [
    Ask::EditLess,
    Ask::EditMore,
    Ask::EditBoth,
    Ask::RaiseAgreed,
    Ask::RaiseRefused,
];
/// What somebody takes upon itself before it is sent.
const PLANS: [Ask; 4] = [Ask::OpenAll, Ask::OpenSome, Ask::ShipPlanned, Ask::CancelPlanned];
const DELIVERIES: [Ask; 3] = [Ask::DeliverOnItsWay, Ask::DeliverArrived, Ask::DeliverMissing];
const BACKWARDS: [Ask; 8] = [
    Ask::RequestReturnAll,
    Ask::RequestReturnSome,
    Ask::ReturnApprove,
    Ask::ReturnDecline,
    Ask::ReturnReceive,
    Ask::ReturnRestock,
    Ask::ReturnClose,
    Ask::ReturnMissing,
];
const REFUNDS: [Ask; 3] = [Ask::RefundSome, Ask::RefundAll, Ask::RefundTooMuch];
const TOLD: [Ask; 13] = [
    Ask::Place,
    Ask::Refuse,
    Ask::SettleAgreed,
    Ask::SettleRefused,
    Ask::SettleEarly,
    Ask::SettleWaiting,
    Ask::HearNothing,
    Ask::HearSome,
    Ask::HearMore,
    Ask::Released,
    Ask::Consumed,
    Ask::Restocked,
    Ask::Close,
];
/// Placed with a provider, paid by it, and what a person does about that.
const PLACED: [Ask; 2] = [Ask::PlaceWithProvider, Ask::RefuseWithProvider];
const PAID: [Ask; 6] = [
    Ask::Authorized,
    Ask::AuthorizationDeclined,
    Ask::LastDone,
    Ask::LastDeclined,
    Ask::PaidMissing,
    Ask::Expire,
];
const RETRIES: [Ask; 3] = [Ask::Retry, Ask::RetryAuthorization, Ask::RetryMissing];

fn tables() -> String {
    let of_account = ASKED.len()
        + EDITS.len()
        + PLANS.len()
        + DELIVERIES.len()
        + BACKWARDS.len()
        + REFUNDS.len()
        + TOLD.len();
    assert_eq!(
        of_account + PLACED.len() + PAID.len() + RETRIES.len(),
        Ask::ALL.len(),
        "every command is shown"
    );
    let (closed, backordered) = ([Stage::Closed], Stage::BACKORDERED);
    let backordered = backordered
        .into_iter()
        .filter(|stage| *stage != Stage::WaitingAuthorizing);
    let stages: Vec<Stage> = Stage::ON_ACCOUNT
        .into_iter()
        .chain(backordered)
        .chain(closed)
        .collect();
    let table = |commands: &[Ask]| table(&stages, commands);
    format!(
        "## What comes of each command in each state

In bold what happens, as the feed of changes names it; in plain capitals why the command is refused; a dash where it changes
nothing. These are orders that their customer's account pays; those that a provider pays are below. Every command of a person may
carry an etag; a stale one is refused before all else (`STALE_ETAG`). Lines that the order does not have, or of which less is open, are
refused too (`LINE_NOT_FOUND`, `QUANTITY_NOT_OPEN`; `QUANTITY_PLANNED` where the rest of it is in open fulfilments), and so is one
shipment, plan or partial cancellation more than {most} (`TOO_MANY_FULFILMENTS`), but for one of all that is left; plans that were called off
do not count there, and there may be {plans} of all together. A line that is named twice is meant twice. In the tables all shipments that
there are but the first are on their way. *All* is also what names every line that is open, with all of it. (No command of a person
reaches the order that is not there: it is `ORDER_NOT_FOUND` before the order is asked.)

`ORDER_PENDING` in these tables is the engine's: a node lets calls wait until the last step is done, so that clients see it only of
an order that is still being placed.

Commands of a person:

{}
Edits: *less* is two nuts in all on the first line, *more* is four, *more and less* is four and a bolt fewer. *Raised* is what items say that
are asked for more.

{}
Plans: *as planned* is the open fulfilment that there is, and else the first. What is planned is not among what is *all*, but to be
cancelled.

{}
{}
Returns: the steps are of return 1, which is of a nut of the first line, or, where all is in it, of everything.

{}
Refunds: *some* is 1; *all* is what was captured and not refunded, or 1 where that is nothing; *too much* is 1 more than there is.

{}
Commands of the engine itself:

{}",
        table(&ASKED),
        table(&EDITS),
        table(&PLANS),
        table(&DELIVERIES),
        table(&BACKWARDS),
        table(&REFUNDS),
        table(&TOLD),
        most = docket_engine::FULFILMENTS_MAX,
        plans = docket_engine::PLANS_MAX,
    )
}

fn fulfilments() -> String {
    let name = |state: FulfilmentState| state.to_string();
    let rank = |state: FulfilmentState| match state {
        FulfilmentState::Open => 1,
        FulfilmentState::Shipped => 2,
        FulfilmentState::Delivered => 3,
        FulfilmentState::Cancelled => 4,
    };
    let mut diagram = Diagram::default();
    for (_, command, before, after) in moves() {
        for (i, shipment) in after.fulfilments().iter().enumerate() {
            let was = before.as_ref().and_then(|it| it.fulfilments().get(i));
            let (was, is) = (was.map(|it| it.state()), shipment.state());
            if was == Some(is) {
                continue;
            }
            let number = |state: Option<FulfilmentState>| state.map_or(0, rank);
            let from = was.map_or("[*]".to_owned(), name);
            diagram.arrow(
                (number(was), number(Some(is))),
                from,
                name(is),
                // Of what has arrived, or was never sent, nothing comes.
                command.name().trim_end_matches(", on its way"),
            );
        }
    }
    format!(
        "## Fulfilments

Each has its number within its order, from 1, its lines, its carrier and tracking code, what was captured for it, and when and by
whom it was planned, sent, said to have arrived, or given up. Arriving is told of each by itself, in any order, and changes nothing else.

What is planned (`OPEN`) is open still, its stock reserved and its money held, but it is nobody else's: no other fulfilment ships it, and it is
neither cancelled nor edited away (`QUANTITY_PLANNED`). Whoever has taken it may have it in a parcel already, and says first that it does not send it.
An order that is held may be planned: it ships nothing, and that goes for what was planned, too.

{}",
        diagram.draw()
    )
}

fn returns() -> String {
    let mut diagram = Diagram::default();
    let number = |state: Option<ReturnState>| state.map_or(0, |it| usize::from(it.number()));
    let name = |state: Option<ReturnState>| state.map_or("[*]".to_owned(), |it| it.to_string());
    for (_, command, before, after) in moves() {
        for (i, it) in after.returns().iter().enumerate() {
            let was = before.as_ref().and_then(|order| order.returns().get(i));
            let (from, to) = (was.map(|it| it.state()), Some(it.state()));
            if from != to {
                diagram.arrow((number(from), number(to)), name(from), name(to), command.name());
            }
        }
    }
    let mut text = format!(
        "## Returns

Each has its number within its order, from 1, its lines, a note, and when and by whom it was asked for and each of its steps was
taken. An order has at most {RETURNS_MAX} of them, whatever became of them (`TOO_MANY_RETURNS`).

{}
| State | What it says |
|---|---|
",
        diagram.draw()
    );
    for state in ReturnState::ALL {
        let says = match state {
            ReturnState::Requested => {
                "The customer wants to send something back that was shipped, arrived or not."
            }
            ReturnState::Approved => "It may be sent.",
            ReturnState::Declined => "It may not.",
            ReturnState::Received => {
                "It has arrived. With *restock* its items are asked to put it back on their stock."
            }
            ReturnState::Closed => "Nothing more comes of it: it has arrived, or it never will.",
        };
        writeln!(text, "| `{state}` | {says} |").unwrap();
    }
    text + "
Of every line, no more is in returns than was shipped (`QUANTITY_NOT_RETURNABLE`, and `NOT_RETURNABLE` where nothing is left of any). A
return that was declined, or closed without having arrived, counts no longer: what was in it can be in another one. A step that is
taken already is a dash, also where something arrived with *restock* and is then said to have arrived without, or the other way round;
a step that does not follow is `RETURN_NOT_OPEN`.

A return changes neither the order's state nor what was shipped of it, and no money: that is given back by a refund. While its items
put a return on their stock (*restocking*), it can be closed; the stock is put back all the same.
"
}

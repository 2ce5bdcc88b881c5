//! What items hold for orders.

use std::fmt::Write as _;

use docket_engine::{Amount, Item, ItemCommand, ItemEvent, OrderId, Quantity, Time, item};

use super::Diagram;
use crate::stage::sku;

/// An item of which an order has so many reserved.
fn nut(reserved: Option<Quantity>) -> Item {
    let created = ItemEvent::Created {
        display_name: "Nut".into(),
        currency: "EUR".parse().unwrap(),
        unit_price: Amount(2),
        on_hand: Quantity(9),
    };
    let mut item = Item::create(sku("nut"), &created, Time(1)).unwrap();
    if let Some(quantity) = reserved {
        let order = OrderId(1);
        item.evolve(&ItemEvent::Reserved { order, quantity }, Time(2))
            .unwrap();
    }
    item
}

pub(super) fn reservations() -> String {
    let order = OrderId(1);
    let reserve = |quantity| ItemCommand::Reserve {
        order,
        currency: "EUR".parse().unwrap(),
        lines: vec![item::ReserveLine {
            line: 0,
            quantity: Quantity(quantity),
            unit_price: Amount(2),
        }],
    };
    let raise = |quantity| ItemCommand::Raise {
        order,
        line: 0,
        quantity: Quantity(quantity),
    };
    let release = |left| ItemCommand::Release {
        order,
        remaining: Quantity(left),
    };
    let consume = |left| ItemCommand::Consume {
        order,
        remaining: Quantity(left),
    };
    let commands = [
        ("Reserve 5", reserve(5)),
        ("Reserve 10", reserve(10)),
        ("Raise to 7", raise(7)),
        ("Raise to 10", raise(10)),
        ("Release, 2 stay", release(2)),
        ("Release, none stays", release(0)),
        ("Consume, 2 stay", consume(2)),
        ("Consume, none stays", consume(0)),
    ];
    let stages = [
        ("NOT_RESERVED", None),
        ("RESERVED", Some(Quantity(5))),
        ("RESERVED", Some(Quantity(2))),
    ];
    let mut diagram = Diagram::default();
    let mut rows = String::new();
    for (from, reserved) in stages {
        let many = reserved.map_or(0, |it| it.0);
        write!(rows, "| {many} of 9 are reserved for it |").unwrap();
        for (name, command) in &commands {
            let decision = item::decide(&sku("nut"), Some(&nut(reserved)), reserved, command);
            let events = match decision {
                Err(rejection) => {
                    write!(rows, " {} |", rejection.reason()).unwrap();
                    continue;
                }
                Ok(decision) => decision.events,
            };
            let Some(event) = events.first() else {
                rows += " – |";
                continue;
            };
            let (what, gone) = match event {
                ItemEvent::Reserved { quantity, .. } => ("RESERVED", quantity),
                ItemEvent::Raised { quantity, .. } => ("RAISED", quantity),
                ItemEvent::Released { quantity, .. } => ("RELEASED", quantity),
                ItemEvent::Consumed { quantity, .. } => ("CONSUMED", quantity),
                other => panic!("{other:?}"),
            };
            write!(rows, " **{what} {gone}** |").unwrap();
            let to = match event.reserved_after(reserved) {
                None => "NOT_RESERVED",
                Some(_) => "RESERVED",
            };
            let rank = |name: &str| usize::from(name == "RESERVED");
            let label = name
                .replace(" 5", "")
                .replace(" to 7", "")
                .replace("2 stay", "some stay");
            diagram.arrow((rank(from), rank(to)), from.to_owned(), to.to_owned(), &label);
        }
        rows += "\n";
    }
    let names: Vec<_> = commands.iter().map(|(name, _)| *name).collect();
    format!(
        "## Reservations

One per order and item: of several lines of one item, the sum. An edit raises it, to so many in all. A refused or cancelled order releases, a shipped one consumes: the
stock on hand falls with it. The item is told how many are to stay and not how many are to go, so that what it is told twice, or
late, does nothing. What comes back of an order (*Restock*) goes on the stock on hand and is reserved for nobody; the item is told so
once of each return, which whoever tells it has to see to.

An item with a `backorder_limit` reserves more than there is, by so many at most; what is not there waits in the order in which it came, and is filled
by whatever comes in. What an order gives back of its own is taken off what waits at first.

{}
| | {} |
|---|{}
{rows}",
        diagram.draw(),
        names.join(" | "),
        "---|".repeat(names.len()),
    )
}

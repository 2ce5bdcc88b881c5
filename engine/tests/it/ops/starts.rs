//! How histories begin, where what is seldom met by chance is to be met.

use proptest::sample::Index;

use super::{CUSTOMERS, Etag, ITEMS, Op, OrderedLine, Portion, Price, Step};
use crate::{model::PARTS_MAX, paying::PAYMENTS_MAX};

/// A customer who can spend more than an amount can say, and does: seldom met by chance.
pub(super) fn beyond_measure() -> Vec<Op> {
    let create = Op::CreateCustomer {
        customer: 0,
        name: 0,
        currency: 0,
        limit: i64::MAX,
    };
    let credit = Op::Credit {
        customer: 0,
        amount: i64::MAX,
        etag: Etag::None,
    };
    let place = Op::Place {
        customer: 0,
        currency: 0,
        lines: vec![(0, 1, Price::Other(i64::MAX))],
        by_provider: false,
    };
    vec![create, credit, place]
}

/// A shop that works, so that orders get far.
pub(super) fn everyday() -> Vec<Op> {
    let customers = (0..CUSTOMERS - 1).map(|customer| Op::CreateCustomer {
        customer,
        name: customer,
        currency: 0,
        limit: 10_000,
    });
    // The last item is left out, so that it is often unknown.
    let items = (0..ITEMS - 1).map(|item| Op::CreateItem {
        item,
        name: item,
        currency: 0,
        price: 5,
        on_hand: 30,
    });
    customers.chain(items).collect()
}

/// A shop that works and has little, and promises more.
pub(super) fn short_of_stock() -> Vec<Op> {
    let limit = |item| Op::UpdateItem {
        item,
        name: None,
        price: None,
        limit: Some(12),
        etag: Etag::None,
    };
    let mut ops = everyday();
    for op in &mut ops {
        if let Op::CreateItem { on_hand, .. } = op {
            *on_hand = 3;
        }
    }
    ops.extend((0..ITEMS - 1).map(limit));
    ops
}

/// An order that waits for some of what it wants, of which so much comes in, before or behind a shipment of what is there.
pub(super) fn waiting((order, by_provider, ships, comes_in): (Index, bool, bool, i64)) -> Vec<Op> {
    let mut ops = short_of_stock();
    ops.push(Op::Place {
        customer: 0,
        currency: 0,
        lines: vec![
            (0, 2, Price::Current),
            (1, 4, Price::Current),
            (0, 3, Price::Current),
        ],
        by_provider,
    });
    ops.push(Op::ReserveAll);
    let etag = Etag::None;
    if ships {
        ops.extend(ship_all(order));
        // Fewer than wait.
        let (name, price, limit) = (None, None, Some(1));
        ops.push(Op::UpdateItem {
            item: 0,
            name,
            price,
            limit,
            etag,
        });
    } else {
        let lines = Vec::new();
        ops.push(Op::Plan { order, lines, etag });
        ops.push(Op::ShipPlan {
            order,
            fulfilment: order,
            etag,
        });
    }
    for item in 0..2 {
        let delta = comes_in;
        ops.push(Op::Adjust { item, delta, etag });
    }
    ops.push(Op::HearBackorders { order });
    ops
}

/// An order that is shipped, cancelled in part, or held as often as it may be, and then once more. It is the only one, so that
/// any index means it.
fn worn_out(step: &[Op], order: Index) -> Vec<Op> {
    worn_out_with(step, order, false)
}

fn worn_out_with(step: &[Op], order: Index, by_provider: bool) -> Vec<Op> {
    let place = Op::Place {
        customer: 0,
        currency: 0,
        lines: vec![(0, 1_000, Price::Current)],
        by_provider,
    };
    let customer = Op::CreateCustomer {
        customer: 0,
        name: 0,
        currency: 0,
        limit: 1_000,
    };
    let item = Op::CreateItem {
        item: 0,
        name: 0,
        currency: 0,
        price: 1,
        on_hand: 1_000,
    };
    let mut ops = vec![customer, item, place, Op::Finish { order }];
    ops.extend((0..=PARTS_MAX).flat_map(|_| step.iter().cloned()));
    ops
}

/// What is left goes even then, where it is sent.
pub(super) fn worn_out_by_shipments((order, is_sent): (Index, bool)) -> Vec<Op> {
    let ship = |lines| Op::Ship {
        order,
        lines,
        etag: Etag::None,
    };
    let one = ship(vec![(Some(order), Portion::One)]);
    let mut ops = worn_out(&[one, Op::Finish { order }], order);
    if is_sent {
        ops.push(ship(Vec::new()));
    }
    ops
}

pub(super) fn ship_all(order: Index) -> [Op; 2] {
    let ship = Op::Ship {
        order,
        lines: Vec::new(),
        etag: Etag::None,
    };
    [ship, Op::Finish { order }]
}

/// All of the only order is shipped, before a step of the rest.
pub(super) fn worn_out_backwards(step: Op, order: Index) -> Vec<Op> {
    let mut ops = worn_out(&[step], order);
    let there = ops.iter().position(|op| matches!(op, Op::Finish { .. }));
    let rest = ops.split_off(there.unwrap() + 1);
    ops.extend(ship_all(order));
    ops.extend(rest);
    ops
}

pub(super) fn worn_out_by_returns(order: Index) -> Vec<Op> {
    let request = Op::RequestReturn {
        order,
        lines: vec![(Some(order), Portion::One)],
        etag: Etag::None,
    };
    worn_out_backwards(request, order)
}

pub(super) fn worn_out_by_refunds(order: Index) -> Vec<Op> {
    let refund = Op::Refund {
        order,
        amount: Portion::One,
        etag: Etag::None,
    };
    worn_out_backwards(refund, order)
}

/// All that was sent of an order that has no return yet.
pub(super) fn come_back(order: Index) -> Vec<Op> {
    let etag = Etag::None;
    let request = Op::RequestReturn {
        order,
        lines: Vec::new(),
        etag,
    };
    let steps = [Step::Approve, Step::Receive { restock: true }];
    let steps = steps.map(|step| Op::MoveReturn {
        order,
        number: Some(order),
        step,
        etag,
    });
    [vec![request], steps.to_vec()].concat()
}

/// Money, and stock, that comes back to where no number can hold more of it.
pub(super) fn back_beyond_measure(order: Index) -> Vec<Op> {
    let etag = Etag::None;
    let customer = Op::CreateCustomer {
        customer: 0,
        name: 0,
        currency: 0,
        limit: 1_000,
    };
    let item = Op::CreateItem {
        item: 0,
        name: 0,
        currency: 0,
        price: 1,
        on_hand: i64::MAX,
    };
    let place = Op::Place {
        customer: 0,
        currency: 0,
        lines: vec![(0, 3, Price::Current)],
        by_provider: false,
    };
    let mut ops = vec![customer, item, place, Op::Finish { order }];
    ops.extend(ship_all(order));
    // It owes three, and three are gone.
    ops.extend([i64::MAX, 3].map(|amount| Op::Credit {
        customer: 0,
        amount,
        etag,
    }));
    ops.push(Op::Adjust {
        item: 0,
        delta: 2,
        etag,
    });
    ops.extend(come_back(order));
    ops.push(Op::Deliver { order, effect: order });
    ops.push(Op::Restocked { order });
    ops.push(Op::Refund {
        order,
        amount: Portion::One,
        etag,
    });
    ops
}

pub(super) fn worn_out_by_cancellations(order: Index) -> Vec<Op> {
    let cancel = Op::Cancel {
        order,
        lines: vec![(Some(order), Portion::One)],
        etag: Etag::None,
    };
    worn_out(&[cancel, Op::Finish { order }], order)
}

pub(super) fn worn_out_by_holds(order: Index) -> Vec<Op> {
    let (reason, etag) = (0, Etag::None);
    let hold = Op::Hold { order, reason, etag };
    let release = Op::ReleaseHold { order, reason, etag };
    worn_out(&[hold, release], order)
}

/// What is declined again and again, of an order of which something was shipped, and once more.
pub(super) fn worn_out_by_retries(order: Index) -> Vec<Op> {
    let decline = Op::AskProvider {
        order,
        step: None,
        declines: true,
    };
    let hear = Op::HearProvider { order, answer: None };
    let retry = Op::RetryPayment {
        order,
        step: Some(order),
        etag: Etag::None,
    };
    let mut ops = worn_out_with(&[retry, decline.clone(), hear.clone()], order, true);
    let there = ops.iter().position(|op| matches!(op, Op::Finish { .. }));
    let rest = ops.split_off(there.unwrap() + 1);
    let ship = Op::Ship {
        order,
        lines: vec![(Some(order), Portion::One)],
        etag: Etag::None,
    };
    ops.extend([ship, decline, hear]);
    ops.extend(rest);
    ops
}

/// An order by a provider that is edited upwards as often as that may be, and once more; and then sent, or called off, and refunded.
pub(super) fn worn_out_by_payments((order, is_sent): (Index, bool)) -> Vec<Op> {
    let etag = Etag::None;
    let mut ops = worn_out_with(&[], order, true);
    for op in &mut ops {
        match op {
            Op::CreateItem { on_hand, .. } => *on_hand = 100,
            Op::Place { lines, .. } => lines[0].1 = 5,
            _ => {}
        }
    }
    let finish = Op::Finish { order };
    let edit = Op::Edit {
        order,
        lines: vec![(Some(order), 1)],
        etag,
        may_authorize: true,
    };
    let edits = (0..PAYMENTS_MAX).flat_map(|_| [edit.clone(), finish.clone()]);
    ops.extend(edits);
    if !is_sent {
        let lines = vec![(Some(order), Portion::All)];
        ops.extend([Op::Cancel { order, lines, etag }, finish]);
        return ops;
    }
    ops.extend(ship_all(order));
    let paid = [
        Op::AskProvider {
            order,
            step: None,
            declines: false,
        },
        Op::HearProvider { order, answer: None },
    ];
    ops.extend((0..PAYMENTS_MAX).flat_map(|_| paid.iter().cloned()));
    let amount = Portion::All;
    ops.extend([Op::Refund { order, amount, etag }, finish]);
    ops
}

/// An order by a provider whose edit waits for that; which declines, is asked in vain until it is too late, or is too late itself.
pub(super) fn amended((order, step, far): (Index, Index, u8)) -> Vec<Op> {
    let mut ops = worn_out_by_payments((order, true));
    let begun = ops.iter().position(|op| matches!(op, Op::Edit { .. }));
    ops.truncate(begun.unwrap() + 1);
    ops.extend([Op::Deliver { order, effect: order }, Op::Raised { order }]);
    let ask = |step, declines| Op::AskProvider {
        order,
        step,
        declines,
    };
    let (hear, expire) = (Op::HearProvider { order, answer: None }, Op::Expire { order });
    ops.extend(match far % 3 {
        0 => [ask(None, true), hear, expire],
        1 => [ask(None, false), expire, hear],
        _ => [expire, ask(Some(step), false), hear],
    });
    ops
}

/// An order of which something was shipped, and then was held as often as it may be, before its capture is declined.
pub(super) fn declined_when_worn_out(order: Index) -> Vec<Op> {
    let (reason, etag) = (0, Etag::None);
    let hold = Op::Hold { order, reason, etag };
    let release = Op::ReleaseHold { order, reason, etag };
    let mut ops = worn_out_with(&[hold, release], order, true);
    ops.extend([
        Op::Ship {
            order,
            lines: vec![(Some(order), Portion::One)],
            etag,
        },
        Op::AskProvider {
            order,
            step: None,
            declines: true,
        },
        Op::HearProvider { order, answer: None },
    ]);
    ops
}

/// Orders by a provider that are to be authorised, or are, or of which something was sent, and may be paid; or all that costs something is called
/// off.
pub(super) fn provided((first, portion, far, is_free): (Index, Portion, u8, bool)) -> Vec<Op> {
    let etag = Etag::None;
    let place = |customer, lines: Vec<OrderedLine>| Op::Place {
        customer,
        currency: 0,
        lines,
        by_provider: true,
    };
    let line = |item, many| (item, many, Price::Current);
    let mut ops = everyday();
    if is_free {
        ops.push(Op::UpdateItem {
            item: 2,
            name: None,
            price: Some(0),
            limit: None,
            etag,
        });
    }
    ops.extend([place(0, vec![line(0, 5), line(2, 3)]), Op::ReserveAll]);
    let ask = Op::AskProvider {
        order: first,
        step: None,
        declines: false,
    };
    let decline = Op::AskProvider {
        order: first,
        step: None,
        declines: true,
    };
    let hear = Op::HearProvider {
        order: first,
        answer: None,
    };
    let lines = || vec![(Some(first), portion)];
    let ship = |lines| Op::Ship {
        order: first,
        lines,
        etag,
    };
    let finish = Op::Finish { order: first };
    match far {
        0 => {}
        1 => ops.push(finish),
        2 => ops.extend([finish.clone(), ship(lines()), finish, ask, hear]),
        // The second capture may be asked for, and heard of, before the first.
        3 | 8 | 9 => {
            ops.extend([
                finish.clone(),
                ship(lines()),
                finish.clone(),
                ship(lines()),
                finish,
            ]);
            let any = Op::AskProvider {
                order: first,
                step: Some(first),
                declines: false,
            };
            ops.extend([any, hear]);
        }
        4 => ops.extend([finish.clone(), ship(Vec::new()), finish, ask, hear]),
        5 => ops.extend([Op::Expire { order: first }, decline, hear]),
        6 => {
            let refund = Op::Refund {
                order: first,
                amount: portion,
                etag,
            };
            let retry = Op::RetryPayment {
                order: first,
                step: Some(first),
                etag,
            };
            ops.extend([finish.clone(), ship(Vec::new()), finish, ask, hear.clone()]);
            ops.extend([refund, decline, hear, retry]);
        }
        _ => {
            let cancel = |lines| Op::Cancel {
                order: first,
                lines,
                etag,
            };
            let all = vec![(Some(first), Portion::All)];
            ops.extend([finish.clone(), cancel(all), finish, cancel(Vec::new())]);
        }
    }
    ops.extend([
        place(1, vec![line(1, 7), line(0, 2)]),
        place(0, vec![line(2, 2)]),
        Op::ReserveAll,
    ]);
    ops
}

/// Orders that are confirmed, of few items, on several lines each.
pub(super) fn confirmed(first: Index) -> Vec<Op> {
    let place = |customer, lines: &[(usize, i64)]| Op::Place {
        by_provider: false,
        customer,
        currency: 0,
        lines: lines
            .iter()
            .map(|&(item, many)| (item, many, Price::Current))
            .collect(),
    };
    let mut ops = everyday();
    ops.extend([
        place(0, &[(0, 9), (1, 4), (0, 3)]),
        Op::Finish { order: first },
        place(1, &[(2, 7), (1, 5)]),
    ]);
    ops
}

/// Of one of them something was sent; it may have come back, and be on its way to the stock, or have come before it was off it.
pub(super) fn on_the_way_back((first, portion, is_off, comes_back): (Index, Portion, bool, bool)) -> Vec<Op> {
    let mut ops = confirmed(first);
    let ship = Op::Ship {
        order: first,
        lines: vec![(Some(first), portion)],
        etag: Etag::None,
    };
    let finish = Op::Finish { order: first };
    ops.extend([finish.clone(), ship]);
    if is_off {
        ops.push(finish);
    }
    if comes_back {
        ops.extend(come_back(first));
    }
    ops
}

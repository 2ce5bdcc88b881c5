//! The books that are right, and each way in which they can be wrong.

use super::{
    super::script::{CUP, KETTLE, Placed, TEA},
    *,
};

/// What a server that does everything right would have said and have.
fn right() -> (Books, Vec<Diary>) {
    let mut books = Books::default();
    let mut diaries = vec![Diary::default(); CLIENTS];
    for kind in Kind::ALL {
        for number in 0..kind.orders() {
            let request = kind.request();
            let confirmed = number < kind.confirmed();
            let total = request
                .lines
                .iter()
                .map(|line| line.quantity * line.unit_price)
                .sum();
            let order = Order {
                name: format!("orders/{kind:?}{number}"),
                customer: request.customer.clone(),
                state: if confirmed {
                    State::Confirmed
                } else {
                    State::Rejected
                }
                .into(),
                lines: request.lines.clone(),
                total,
                ..Order::default()
            };
            let answer = if confirmed {
                Ok(order.clone())
            } else {
                Err(kind.refusal().to_owned())
            };
            books.orders.push(order);
            diaries[number % CLIENTS].placed.push(Placed {
                kind,
                request,
                answer,
            });
        }
    }
    for diary in &mut diaries {
        diary.reused = Some("REQUEST_ID_REUSED".into());
        diary.repeated = [Kind::Plain, Kind::OldPrice]
            .into_iter()
            .filter_map(|kind| diary.placed.iter().find(|placed| placed.kind == kind))
            .map(|placed| (placed.answer.clone(), placed.answer.clone()))
            .collect();
        let last = diary
            .placed
            .iter()
            .rfind(|placed| placed.kind == Kind::Plain)
            .unwrap();
        let mut order = last.answer.clone().unwrap();
        order.set_state(State::Cancelled);
        books
            .orders
            .iter_mut()
            .filter(|one| one.name == order.name)
            .for_each(|one| *one = order.clone());
        diary.cancelled.push(order);
    }
    for order in diaries.iter().flat_map(acknowledged) {
        books.read.insert(order.name.clone(), order.clone());
    }
    books.customers = BUYERS
        .iter()
        .map(|buyer| {
            let name = format!("customers/{}", buyer.id);
            let held = confirmed(&books)
                .filter(|order| order.customer == name)
                .map(|order| order.total)
                .sum();
            let available = buyer.balance + buyer.credit_limit - held;
            Customer {
                name,
                balance: buyer.balance,
                held,
                available,
                ..Customer::default()
            }
        })
        .collect();
    let plain = (Kind::Plain.confirmed() - CLIENTS) as i64;
    let reserved = [
        2 * plain,
        plain + 4 * Kind::OnCredit.confirmed() as i64,
        KETTLE.on_hand,
    ];
    books.items = [TEA, CUP, KETTLE]
        .iter()
        .zip(reserved)
        .map(|(good, reserved)| Item {
            name: format!("items/{}", good.sku),
            on_hand: good.on_hand,
            reserved,
            available: good.on_hand - reserved,
            ..Item::default()
        })
        .collect();
    (books, diaries)
}

/// Asserts that after `tamper` exactly the rules with these beginnings do not hold.
#[track_caller]
fn broken(tamper: impl FnOnce(&mut Books, &mut Vec<Diary>), rules: &[&str]) {
    let (mut books, mut diaries) = right();
    tamper(&mut books, &mut diaries);
    let found = check(&books, &diaries);
    let faulty: Vec<_> = found.iter().filter(|check| !check.faults.is_empty()).collect();
    assert_eq!(faulty.len(), rules.len(), "{faulty:#?}");
    for (check, rule) in faulty.iter().zip(rules) {
        assert!(check.rule.starts_with(rule), "{check:?}");
    }
}

#[test]
fn right_books_balance() {
    broken(|_, _| {}, &[]);
}

#[test]
fn an_acknowledged_order_that_is_gone_or_changed_is_found() {
    broken(|books, _| drop(books.read.pop_first()), &["every acknowledged"]);
    broken(
        |books, _| books.read.values_mut().take(1).for_each(|order| order.total += 1),
        &["every acknowledged"],
    );
    broken(
        |books, _| books.orders.retain(|order| order.name != "orders/Scarce0"),
        &["there is no order", "stock", "credit"],
    );
}

#[test]
fn an_order_too_many_is_found() {
    broken(
        |books, _| books.orders.push(books.orders[0].clone()),
        &["there is no order", "stock", "credit"],
    );
    broken(
        |books, _| {
            books.orders.push(Order {
                name: "orders/x".into(),
                state: State::Pending.into(),
                ..Order::default()
            });
        },
        &["there is no order"],
    );
    broken(
        |books, _| {
            books.orders.push(Order {
                name: "orders/x".into(),
                state: State::Rejected.into(),
                ..Order::default()
            });
        },
        &["there is no order"],
    );
}

#[test]
fn stock_or_credit_from_nowhere_is_found() {
    broken(|books, _| books.items[0].reserved += 1, &["stock"]);
    broken(|books, _| books.items[2].on_hand += 1, &["stock"]);
    broken(|books, _| books.customers[1].held -= 1, &["credit"]);
    broken(|books, _| books.customers[0].available += 1, &["credit"]);
}

#[test]
fn one_confirmed_too_many_or_a_wrong_reason_is_found() {
    let scarce = |diaries: &mut Vec<Diary>| {
        let mut placed = diaries.iter_mut().flat_map(|diary| &mut diary.placed);
        placed
            .find(|placed| placed.kind == Kind::Scarce && placed.answer.is_err())
            .unwrap()
            .answer = Err("OTHER".into());
    };
    broken(|_, diaries| scarce(diaries), &["scarce"]);
}

#[test]
fn a_repeat_that_is_answered_otherwise_is_found() {
    broken(
        |_, diaries| diaries[0].repeated[0].1 = Err("X".into()),
        &["a repeated"],
    );
    broken(|_, diaries| diaries[1].reused = None, &["a repeated"]);
    broken(|_, diaries| diaries[2].repeated.clear(), &["a repeated"]);
}

//! Histories that no right server makes: one of every kind.

use super::*;

const OF: [(&str, i64); 1] = [(TEA, 2)];

fn confirmed() -> Outcome {
    is_order("orders/1", Phase::Confirmed, "2", &OF)
}

/// One order, acknowledged after a millisecond.
fn placed() -> Told {
    shop().then((0, 1), place("r1", &OF), confirmed())
}

fn books_of(told: Told, orders: &[OrderSeen]) -> Told {
    told.books(&[item(TEA, 10, 2, "a"), item(CUP, 10, 0, "a")], (0, 20), orders)
}

#[test]
fn a_stale_read_is_refused() {
    shop()
        .then((0, 1), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .then((2, 3), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(2, (4, 5), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn a_read_that_goes_back_is_refused_even_beside_the_write() {
    shop()
        .by(1, (0, 100), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(2, (10, 11), get_item(TEA), is_item(TEA, 15, 0, "b"))
        .by(3, (20, 21), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn a_stale_read_is_refused_though_a_lost_booking_explains_its_figures() {
    shop()
        .then((0, 1), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .then((2, 3), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(1, (4, 5), adjust("r2", TEA, -5), unknown())
        .by(2, (6, 7), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .is_refused("items/tea has an etag again that it had before another one");
}

#[test]
fn a_stale_read_is_refused_though_only_the_books_are_behind_the_write_for_certain() {
    shop()
        .by(1, (0, 10), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(2, (5, 6), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .by(1, (12, 13), adjust("r2", TEA, -5), unknown())
        .by(1, (12, 13), adjust("r3", TEA, 5), unknown())
        .by(2, (14, 15), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .books(&[item(TEA, 15, 0, "b"), item(CUP, 10, 0, "a")], (0, 0), &[])
        .is_refused("items/tea has an etag again that it had before another one");
}

#[test]
fn a_lost_update_is_refused() {
    shop()
        .by(1, (0, 10), adjust("r1", TEA, 1), is_item(TEA, 11, 0, "b"))
        .by(2, (0, 10), adjust("r2", TEA, 2), is_item(TEA, 12, 0, "c"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn an_acknowledged_order_that_is_not_found_is_refused() {
    placed()
        .then(
            (2, 3),
            get_order("orders/1"),
            refused("ORDER_NOT_FOUND", "orders/1", &[]),
        )
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn a_stale_list_of_items_is_refused() {
    let (tea, cup) = (item(TEA, 10, 0, "a"), item(CUP, 10, 0, "a"));
    shop()
        .then((0, 1), Ask::ListItems, is_items(&[tea.clone(), cup.clone()]))
        .then((2, 3), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(2, (4, 5), Ask::ListItems, is_items(&[tea, cup]))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn an_item_that_is_missing_in_a_list_is_refused() {
    shop()
        .then((0, 1), Ask::ListItems, is_items(&[item(TEA, 10, 0, "a")]))
        .is_refused("items/cup is there, and is not listed");
}

#[test]
fn a_customer_that_is_missing_in_a_list_is_refused() {
    shop()
        .then(
            (0, 1),
            Ask::ListCustomers,
            Outcome::Ok(Reply::Customers(Vec::new())),
        )
        .is_refused("customers/ann is there, and is not listed");
}

#[test]
fn an_acknowledged_order_that_is_missing_in_a_list_is_refused() {
    placed()
        .then((2, 3), list(), is_list(&[]))
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn an_acknowledged_order_that_is_missing_in_the_books_is_refused() {
    placed()
        .books(&[item(TEA, 10, 0, "a"), item(CUP, 10, 0, "a")], (0, 0), &[])
        .is_refused("an order was acknowledged and is lost");
}

#[test]
fn a_doubled_order_is_refused() {
    let doubled = [
        order("orders/2", Phase::Confirmed, "2", &OF),
        order("orders/1", Phase::Confirmed, "2", &OF),
    ];
    let told = shop().then((0, 1), place("r1", &OF), unknown());
    let told = told.then((2, 3), place("r1", &OF), confirmed());
    told.books(&[item(TEA, 10, 4, "a"), item(CUP, 10, 0, "a")], (0, 40), &doubled)
        .is_refused("1 orders of one kind that nobody was answered with, and at most 0 can be");
}

#[test]
fn a_doubled_order_is_seen_in_the_stock_alone() {
    let told = shop().then((0, 1), place("r1", &OF), unknown());
    let mut told = told.then((2, 3), place("r1", &OF), confirmed());
    told.0.quiet.push(5_000);
    told.then((6, 7), get_item(TEA), is_item(TEA, 10, 4, "a"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn an_order_that_was_confirmed_and_then_pending_is_refused() {
    let pending = || is_order("orders/1", Phase::Pending, "1", &OF);
    placed()
        .then((2, 3), get_order("orders/1"), pending())
        .is_refused("orders/1 is not linearizable");
    // Also before its client has heard of it.
    shop()
        .by(1, (0, 100), place("r1", &OF), confirmed())
        .by(2, (10, 11), get_order("orders/1"), confirmed())
        .by(2, (12, 13), get_order("orders/1"), pending())
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn stock_that_is_sold_twice_is_refused() {
    let six = [(TEA, 6)];
    shop()
        .by(
            1,
            (0, 10),
            place("r1", &six),
            is_order("orders/1", Phase::Confirmed, "2", &six),
        )
        .by(
            2,
            (0, 10),
            place("r2", &six),
            is_order("orders/2", Phase::Confirmed, "2", &six),
        )
        .is_refused("items/tea is not linearizable");
}

#[test]
fn credit_that_is_given_twice_is_refused() {
    let mut shop = shop();
    shop.0.stock.insert(TEA.into(), 1_000);
    let dear = [(TEA, 60)];
    shop.by(
        1,
        (0, 10),
        place("r1", &dear),
        is_order("orders/1", Phase::Confirmed, "2", &dear),
    )
    .by(
        2,
        (0, 10),
        place("r2", &dear),
        is_order("orders/2", Phase::Confirmed, "2", &dear),
    )
    .is_refused("customers/ann is not linearizable");
}

#[test]
fn a_value_that_was_never_written_is_refused() {
    shop()
        .then((0, 1), adjust("r1", TEA, 5), unknown())
        .then((2, 3), get_item(TEA), is_item(TEA, 12, 0, "b"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn an_acknowledged_cancel_that_is_undone_is_refused() {
    let cancelled = || is_order("orders/1", Phase::Cancelled, "4", &OF);
    let told = || placed().then((2, 3), cancel("r2", "orders/1"), cancelled());
    told()
        .then((4, 5), get_order("orders/1"), confirmed())
        .is_refused("orders/1 is not linearizable");
    books_of(told(), &[order("orders/1", Phase::Confirmed, "2", &OF)])
        .is_refused("orders/1 CONFIRMED etag 2 at the end, and must be [Cancelled]");
}

#[test]
fn a_cancel_that_gives_nothing_back_is_refused() {
    placed()
        .then(
            (2, 3),
            cancel("r2", "orders/1"),
            is_order("orders/1", Phase::Cancelled, "4", &OF),
        )
        .then((4, 5), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn an_order_that_is_cancelled_by_nobody_is_refused() {
    placed()
        .then(
            (2, 3),
            get_order("orders/1"),
            is_order("orders/1", Phase::Cancelled, "3", &OF),
        )
        .is_refused("orders/1 is not linearizable");
}

#[test]
fn two_replies_for_one_request_id_are_refused() {
    let other = is_order("orders/2", Phase::Confirmed, "2", &OF);
    placed()
        .then((2, 3), place("r1", &OF), other)
        .is_refused("two replies for one request id");
    let short = refused("INSUFFICIENT_STOCK", TEA, &[("available", 1)]);
    placed()
        .then((2, 3), place("r1", &OF), short)
        .is_refused("two replies for one request id");
}

#[test]
fn one_order_for_two_requests_is_refused() {
    placed()
        .then((2, 3), place("r2", &OF), confirmed())
        .is_refused("two requests were answered with one order");
}

#[test]
fn an_order_that_nobody_asked_for_is_refused() {
    let other = [order("orders/9", Phase::Confirmed, "2", &[(CUP, 1)])];
    shop()
        .then((0, 1), list(), is_list(&other))
        .is_refused("and nobody asked for it");
}

#[test]
fn an_order_with_other_lines_than_were_asked_for_is_refused() {
    let other = [(TEA, 3)];
    shop()
        .then(
            (0, 1),
            place("r1", &OF),
            is_order("orders/1", Phase::Confirmed, "2", &other),
        )
        .is_refused("an order is not what was asked for");
}

#[test]
fn money_that_is_lost_is_refused() {
    let books =
        |told: Told, balance| told.books(&[item(TEA, 10, 0, "a"), item(CUP, 10, 0, "a")], (balance, 0), &[]);
    let paid = || shop().then((0, 1), credit("r1", 50), is_ann(50, 0, "b"));
    books(paid(), 50).is_good();
    books(paid(), 0).is_refused("what was booked adds up to {50}");
    // What is unknown may be there, but not half of it.
    let perhaps = || paid().then((2, 3), credit("r2", 30), unknown());
    books(perhaps(), 50).is_good();
    books(perhaps(), 80).is_good();
    books(perhaps(), 65).is_refused("what was booked adds up to {50, 80}");
}

#[test]
fn money_that_stays_held_is_refused() {
    let cancelled = order("orders/1", Phase::Cancelled, "4", &OF);
    placed()
        .then(
            (2, 3),
            cancel("r2", "orders/1"),
            is_order("orders/1", Phase::Cancelled, "4", &OF),
        )
        .books(
            &[item(TEA, 10, 0, "a"), item(CUP, 10, 0, "a")],
            (0, 20),
            &[cancelled],
        )
        .is_refused("of customers/ann 20 is taken at the end, and its confirmed orders take 0");
}

#[test]
fn a_refusal_for_want_of_stock_that_is_there_is_refused() {
    let short = refused("INSUFFICIENT_STOCK", TEA, &[("wanted", 2), ("available", 1)]);
    shop()
        .then((0, 1), place("r1", &OF), short)
        .is_refused("items/tea is not linearizable");
}

#[test]
fn a_refused_order_that_keeps_its_stock_is_refused() {
    let of = [(TEA, 2), (CUP, 11)];
    let short = refused("INSUFFICIENT_STOCK", CUP, &[("wanted", 11), ("available", 10)]);
    shop()
        .then((0, 10), place("r1", &of), short)
        .then((11, 12), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn what_is_done_after_a_quiet_moment_is_refused() {
    let mut told = shop().then((0, 1), adjust("r1", TEA, 5), unknown());
    told.0.quiet.push(10_000);
    told.then((20, 21), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .then((30, 31), get_item(TEA), is_item(TEA, 15, 0, "b"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn what_failed_for_certain_is_not_done() {
    shop()
        .then((0, 1), adjust("r1", TEA, 5), Outcome::Failed("OVERLOADED".into()))
        .then((2, 3), get_item(TEA), is_item(TEA, 15, 0, "b"))
        .is_refused("items/tea is not linearizable");
}

#[test]
fn too_much_work_is_neither_good_nor_bad() {
    let mut told = shop();
    for n in 0..40 {
        told = told.by(n, (0, 100), adjust(&format!("r{n}"), TEA, 1 << n), unknown());
    }
    let told = told.by(50, (10, 20), get_item(TEA), is_item(TEA, 9, 0, "b"));
    let verdict = super::super::check_within(&told.0, 1_000);
    assert!(!verdict.is_good() && verdict.fault_count == 0, "{verdict}");
    assert!(verdict.undecided[0].contains("items/tea"), "{verdict}");
}

#[test]
fn a_fault_is_told_with_the_smallest_part_that_shows_it() {
    let mut told = shop();
    for n in 0..200 {
        told = told.then((n * 10, n * 10 + 5), get_item(TEA), is_item(TEA, 10, 0, "a"));
    }
    let told = told
        .then((2_001, 2_002), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(2, (2_003, 2_004), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .by(2, (2_005, 2_006), get_item(TEA), is_item(TEA, 15, 0, "b"));
    let verdict = told.verdict();
    let text = verdict.to_string();
    // From the last certain state on, only what was read wrongly is left.
    assert!(verdict.faults[0].shown.len() <= 2, "{text}");
    assert!(text.contains("2003.000 –   2004.000 ms"), "{text}");
    assert!(
        text.contains("on hand 10, reserved 0, available 10, etag a"),
        "{text}"
    );
}

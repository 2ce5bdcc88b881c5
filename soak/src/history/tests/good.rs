//! Histories that a right server can have made.

use super::*;

#[test]
fn a_list_reads_each_item_at_a_moment_of_its_own_and_minds_no_others() {
    let (tea, cup) = (item(TEA, 10, 0, "a"), item(CUP, 13, 0, "b"));
    shop()
        .by(
            1,
            (0, 10),
            Ask::ListItems,
            is_items(&[tea, cup, item("items/of-others", 7, 3, "z")]),
        )
        .by(2, (1, 2), adjust("r1", TEA, 5), is_item(TEA, 15, 0, "b"))
        .by(2, (3, 4), adjust("r2", CUP, 3), is_item(CUP, 13, 0, "b"))
        .is_good();
}

#[test]
fn a_history_in_turn_is_accepted() {
    let of = [(TEA, 2), (CUP, 1)];
    let confirmed = order("orders/1", Phase::Confirmed, "2", &of);
    let cancelled = order("orders/1", Phase::Cancelled, "4", &of);
    shop()
        .then((0, 1), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .then(
            (2, 3),
            place("r1", &of),
            is_order("orders/1", Phase::Confirmed, "2", &of),
        )
        .then(
            (4, 5),
            get_order("orders/1"),
            is_order("orders/1", Phase::Confirmed, "2", &of),
        )
        .then((6, 7), list(), is_list(&[confirmed]))
        .then((8, 9), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .then((10, 11), adjust("r2", TEA, 5), is_item(TEA, 15, 2, "b"))
        .then((12, 13), credit("r3", 50), is_ann(50, 30, "b"))
        .then(
            (14, 15),
            cancel("r4", "orders/1"),
            is_order("orders/1", Phase::Cancelled, "4", &of),
        )
        .then((16, 17), get_ann(), is_ann(50, 0, "b"))
        .books(
            &[item(TEA, 15, 0, "b"), item(CUP, 10, 0, "a")],
            (50, 0),
            &[cancelled],
        )
        .is_good();
}

#[test]
fn an_order_may_be_seen_half_way_while_it_is_placed() {
    let of = [(TEA, 2), (CUP, 1)];
    shop()
        .by(
            1,
            (0, 100),
            place("r1", &of),
            is_order("orders/1", Phase::Confirmed, "2", &of),
        )
        .by(2, (10, 11), get_ann(), is_ann(0, 30, "a"))
        .by(2, (12, 13), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .by(2, (14, 15), get_item(CUP), is_item(CUP, 10, 0, "a"))
        .by(
            2,
            (16, 17),
            list(),
            is_list(&[order("orders/1", Phase::Pending, "1", &of)]),
        )
        .by(
            2,
            (18, 19),
            cancel("r2", "orders/1"),
            refused("ORDER_PENDING", "", &[]),
        )
        .by(2, (20, 21), get_item(CUP), is_item(CUP, 10, 1, "a"))
        .is_good();
}

#[test]
fn of_concurrent_reads_and_writes_any_order_will_do() {
    shop()
        .by(1, (0, 100), adjust("r1", TEA, 1), is_item(TEA, 13, 0, "c"))
        .by(2, (0, 100), adjust("r2", TEA, 2), is_item(TEA, 12, 0, "b"))
        .by(3, (50, 60), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .by(4, (50, 60), get_item(TEA), is_item(TEA, 12, 0, "b"))
        .by(5, (55, 60), get_item(TEA), is_item(TEA, 13, 0, "c"))
        .is_good();
}

#[test]
fn what_is_unknown_may_be_done_late_or_never() {
    let late = shop().then((0, 1), adjust("r1", TEA, 5), unknown());
    late.is_good();
    late.then((50, 51), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .then((60, 61), get_item(TEA), is_item(TEA, 15, 0, "b"))
        .is_good();
}

#[test]
fn a_refused_order_may_have_held_something_for_a_while() {
    let of = [(TEA, 2), (CUP, 11)];
    let short = refused("INSUFFICIENT_STOCK", CUP, &[("wanted", 11), ("available", 10)]);
    shop()
        .by(1, (0, 100), place("r1", &of), short)
        .by(2, (10, 11), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .by(2, (12, 13), get_ann(), is_ann(0, 130, "a"))
        .by(2, (14, 15), get_ann(), is_ann(0, 0, "a"))
        .by(2, (110, 111), get_item(TEA), is_item(TEA, 10, 0, "a"))
        .is_good();
}

#[test]
fn a_lost_attempt_and_its_repeat_are_one_order() {
    let of = [(TEA, 2)];
    shop()
        .then((0, 5), place("r1", &of), unknown())
        .then((6, 7), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .then(
            (8, 9),
            place("r1", &of),
            is_order("orders/1", Phase::Confirmed, "2", &of),
        )
        .then((10, 11), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .then(
            (12, 13),
            place("r1", &of),
            is_order("orders/1", Phase::Confirmed, "2", &of),
        )
        .books(
            &[item(TEA, 10, 2, "a"), item(CUP, 10, 0, "a")],
            (0, 20),
            &[order("orders/1", Phase::Confirmed, "2", &of)],
        )
        .is_good();
}

#[test]
fn each_lost_attempt_of_a_request_may_have_reserved_for_a_while() {
    let of = [(TEA, 2)];
    let seen = |reserved| {
        shop()
            .then((0, 5), place("r1", &of), unknown())
            .then((6, 9), place("r1", &of), unknown())
            .then((10, 11), get_item(TEA), is_item(TEA, 10, reserved, "a"))
    };
    seen(4).is_good();
    seen(4)
        .then((20, 21), get_item(TEA), is_item(TEA, 10, 2, "a"))
        .is_good();
    seen(6).is_refused("not linearizable");
}

#[test]
fn an_order_that_nobody_was_answered_with_is_found_in_the_books() {
    let of = [(TEA, 2)];
    let confirmed = [order("orders/1", Phase::Confirmed, "2", &of)];
    let books = |told: Told| {
        told.books(
            &[item(TEA, 10, 2, "a"), item(CUP, 10, 0, "a")],
            (0, 20),
            &confirmed,
        )
    };
    books(shop().then((0, 5), place("r1", &of), unknown())).is_good();
    books(
        shop()
            .then((0, 5), place("r1", &of), unknown())
            .then((9, 10), list(), is_list(&confirmed)),
    )
    .is_good();
}

#[test]
fn an_etag_changes_once_more_when_all_is_given_back() {
    let of = [(TEA, 2)];
    shop()
        .then(
            (0, 1),
            place("r1", &of),
            is_order("orders/1", Phase::Confirmed, "2", &of),
        )
        .by(
            1,
            (10, 50),
            cancel("r2", "orders/1"),
            is_order("orders/1", Phase::Cancelled, "4", &of),
        )
        .by(
            2,
            (20, 21),
            get_order("orders/1"),
            is_order("orders/1", Phase::Cancelled, "3", &of),
        )
        .by(
            2,
            (60, 61),
            get_order("orders/1"),
            is_order("orders/1", Phase::Cancelled, "4", &of),
        )
        .is_good();
}

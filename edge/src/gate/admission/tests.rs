//! What is let in, what is not, and who is told when there is room.

use super::{super::pace::LEAST, *};

/// How often something small is let in while something too large is refused.
const TRIED: usize = 100_000;

fn admission() -> Arc<Admission> {
    Admission::new(AdmissionConfig {
        max_calls: 2,
        max_open_calls: 1,
        max_probes: 1,
        max_streams: 2,
        max_open_streams: 1,
        max_bytes: 10,
        max_reply_bytes: 50_000,
        retry_ms: 5,
        ..AdmissionConfig::default()
    })
}

fn in_flight(admission: &Admission) -> [usize; Bound::COUNT] {
    std::array::from_fn(|i| admission.in_flight[i].load(Relaxed))
}

#[test]
fn calls_are_bounded_and_come_back() {
    let admission = admission();
    let first = admission.admit(Kind::Call, 0).unwrap();
    let second = admission.admit(Kind::Call, 0).unwrap();
    assert_eq!(admission.admit(Kind::Call, 0).unwrap_err(), Bound::Calls);
    assert_eq!(admission.in_flight(Bound::Calls), 2);
    drop(first);
    let third = admission.admit(Kind::Call, 0).unwrap();
    drop((second, third));
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
}

#[test]
fn what_has_been_done_is_told_though_there_is_no_room_and_counts() {
    let admission = admission();
    let call = admission.admit(Kind::Call, 0).unwrap();
    assert_eq!(call.reply(60_000), Err(Bound::ReplyBytes));
    call.reply_anyway(60_000);
    assert_eq!(admission.in_flight(Bound::ReplyBytes), 60_000);
    drop(call);
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
}

#[test]
fn other_bounds_are_in_force_at_once_and_what_is_in_flight_stays() {
    let admission = admission();
    let held: Vec<_> = (0..2).map(|_| admission.admit(Kind::Call, 0).unwrap()).collect();
    let config = |max_calls| AdmissionConfig {
        max_calls,
        max_bytes: 10,
        retry_ms: 7,
        ..AdmissionConfig::default()
    };
    admission.set(&config(3));
    let third = admission.admit(Kind::Call, 0).unwrap();
    admission.set(&config(1));
    drop(third);
    assert_eq!(admission.admit(Kind::Call, 0).unwrap_err(), Bound::Calls);
    assert_eq!(admission.in_flight(Bound::Calls), 2);
    drop(held);
    let one = admission.admit(Kind::Order, 10).unwrap();
    assert_eq!(admission.admit(Kind::Order, 0).unwrap_err(), Bound::Orders);
    assert_eq!(admission.orders_max(), 1);
    drop(one);
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
    let retry = tonic::Status::from(admission.refusal(Bound::Calls));
    let retry = tonic_types::StatusExt::get_details_retry_info(&retry).unwrap();
    assert_eq!(retry.retry_delay, Some(Duration::from_millis(7)));
}

#[tokio::test]
async fn an_order_that_waits_outside_keeps_no_other_out_and_says_nothing_of_how_long_orders_take() {
    let admission = Admission::new(AdmissionConfig {
        max_calls: 1_000,
        order_ms: 1,
        ..AdmissionConfig::default()
    });
    let slow = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    let mut waiting: Vec<_> = (0..500)
        .map(|_| admission.admit(Kind::Order, 0).unwrap())
        .collect();
    for order in &mut waiting {
        order.since = Some(slow);
        order.begin();
        order.wait_outside();
        // As whoever forwards it and whoever places it say.
        order.wait_outside();
    }
    assert_eq!(
        (
            admission.in_flight(Bound::Orders),
            admission.in_flight(Bound::Calls)
        ),
        (0, 500)
    );
    let (most, rest) = (admission.orders_max(), waiting.split_off(250));
    admission.pace.end_window();
    for order in &rest {
        order.reply(10).unwrap();
    }
    drop((waiting, rest));
    assert_eq!(admission.orders_max(), most);
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
}

#[tokio::test]
async fn requests_that_are_slow_to_arrive_keep_nobody_out_and_say_nothing_of_how_long_orders_take() {
    let admission = Admission::new(AdmissionConfig {
        max_calls: 300,
        order_ms: 1,
        ..AdmissionConfig::default()
    });
    let counts = || [Bound::Orders, Bound::Calls, Bound::Arriving].map(|bound| admission.in_flight(bound));
    let since = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    let begin = |count: usize| {
        let begun = (0..count).map(|_| {
            let mut order = admission.admit(Kind::Order, 0).unwrap();
            order.since = Some(since);
            order.begin();
            order.await_request();
            order.await_request();
            order
        });
        begun.collect::<Vec<_>>()
    };
    let mut slow = begin(300);
    assert_eq!(counts(), [0, 300, 0]);
    for order in &slow {
        order.request_is_slow().unwrap();
        order.request_is_slow().unwrap();
    }
    assert_eq!(counts(), [0, 0, 300]);
    // No more of them may take their time, and the others have all places.
    let next = begin(300);
    assert_eq!(next[0].request_is_slow(), Err(Bound::Arriving));
    assert_eq!(counts(), [0, 300, 300]);
    next[0].request_arrived().unwrap();
    assert_eq!(counts(), [1, 300, 300]);
    // One for whom there is no room any more has done nothing.
    assert_eq!(slow[0].request_arrived(), Err(Bound::Calls));
    assert_eq!(counts(), [1, 300, 300]);
    drop(next);
    assert_eq!(counts(), [0, 0, 300]);
    // One goes, one is there in the end.
    drop(slow.remove(1));
    slow[0].request_arrived().unwrap();
    slow[0].request_arrived().unwrap();
    assert_eq!(counts(), [1, 1, 298]);
    let most = admission.orders_max();
    admission.pace.end_window();
    drop(slow);
    assert_eq!(admission.orders_max(), most);
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
}

#[tokio::test]
async fn orders_are_fewer_where_they_take_too_long_and_leave_room_for_other_calls() {
    let admission = Admission::new(AdmissionConfig {
        max_calls: 1_000,
        order_ms: 1,
        ..AdmissionConfig::default()
    });
    let slow = Duration::from_secs(1);
    let since = Instant::now().checked_sub(slow).unwrap();
    // A window in which few were done, and slowly.
    admission.pace.end_window();
    for _ in 0..16 {
        let mut order = admission.admit(Kind::Order, 0).unwrap();
        order.begin();
        order.since = Some(since);
    }
    assert_eq!(admission.orders_max(), LEAST);
    let orders: Vec<_> = (0..LEAST)
        .map(|_| admission.admit(Kind::Order, 0).unwrap())
        .collect();
    assert_eq!(admission.admit(Kind::Order, 0).unwrap_err(), Bound::Orders);
    let other = admission.admit(Kind::Call, 0).unwrap();
    assert_eq!(
        admission.in_flight(Bound::Calls),
        LEAST + 1,
        "a refused order leaves nothing behind"
    );
    let mut waiting = admission.wait();
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(admission.admit(Kind::Order, 0).unwrap_err(), Bound::Orders);
    assert!(
        futures::poll!(&mut waiting).is_pending(),
        "who finds no room wakes nobody who would find none"
    );
    drop(orders);
    assert!(futures::poll!(&mut waiting).is_ready());
    drop(other);
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
}

#[test]
fn orders_that_are_refused_at_once_do_not_have_the_others_look_quick() {
    let admission = Admission::new(AdmissionConfig {
        max_calls: 1_000,
        order_ms: 100,
        ..AdmissionConfig::default()
    });
    let since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    for _ in 0..1_000 {
        admission.admit(Kind::Order, 0).unwrap();
    }
    admission.pace.end_window();
    for _ in 0..16 {
        let mut order = admission.admit(Kind::Order, 0).unwrap();
        order.begin();
        order.since = Some(since);
    }
    assert_eq!(admission.orders_max(), LEAST);
}

#[test]
fn what_does_not_fit_takes_no_room_from_what_does() {
    let admission = admission();
    let (large, small) = (
        admission.admit(Kind::Call, 0).unwrap(),
        admission.admit(Kind::Call, 0).unwrap(),
    );
    let over = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                assert_eq!(large.grow(11), Err(Bound::Bytes));
            }
        });
        let refused = (0..TRIED).filter(|_| {
            let refused = small.grow(5).is_err();
            small.read();
            refused
        });
        let refused = refused.count();
        over.store(true, Relaxed);
        refused
    });
    assert_eq!(refused, 0, "of {TRIED}");
}

#[tokio::test]
async fn bytes_that_a_stream_gives_back_are_room_for_an_order_that_waits() {
    let admission = admission();
    let stream = admission.admit(Kind::Stream, 0).unwrap();
    stream.grow(8).unwrap();
    let mut waiting = admission.wait();
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(admission.admit(Kind::Order, 5).unwrap_err(), Bound::Bytes);
    // No call is in flight whose end would tell.
    stream.read();
    assert!(futures::poll!(&mut waiting).is_ready());
    admission.admit(Kind::Order, 5).unwrap();
}

#[test]
fn what_needs_no_credentials_leaves_room_for_what_has_some() {
    let admission = admission();
    for (open, other, bounds) in [
        (Kind::OpenCall, Kind::Call, (Bound::Calls, Bound::OpenCalls)),
        (
            Kind::OpenStream,
            Kind::Stream,
            (Bound::Streams, Bound::OpenStreams),
        ),
    ] {
        let first = admission.admit(open, 0).unwrap();
        assert_eq!(admission.admit(open, 0).unwrap_err(), bounds.1);
        assert_eq!(
            admission.in_flight(bounds.0),
            1,
            "a refused call leaves nothing behind"
        );
        let second = admission.admit(other, 0).unwrap();
        assert_eq!(admission.admit(open, 0).unwrap_err(), bounds.0);
        drop((first, second));
        admission.admit(open, 0).unwrap();
        assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
    }
}

#[test]
fn probes_have_room_of_their_own() {
    let admission = admission();
    let _calls = [Kind::Call; 2].map(|kind| admission.admit(kind, 0).unwrap());
    let _probe = admission.admit(Kind::Probe, 0).unwrap();
    assert_eq!(admission.admit(Kind::Probe, 0).unwrap_err(), Bound::Probes);
}

#[test]
fn bytes_are_bounded_and_come_back() {
    let admission = admission();
    let first = admission.admit(Kind::Call, 6).unwrap();
    assert_eq!(admission.admit(Kind::Call, 5).unwrap_err(), Bound::Bytes);
    let held = || {
        (
            admission.in_flight(Bound::Calls),
            admission.in_flight(Bound::Bytes),
        )
    };
    assert_eq!(held(), (1, 6), "a refused call leaves nothing behind");
    let second = admission.admit(Kind::Call, 3).unwrap();
    assert_eq!(second.grow(2), Err(Bound::Bytes));
    assert_eq!(second.grow(1), Ok(()));
    drop(first);
    assert_eq!(admission.in_flight(Bound::Bytes), 4);
    second.read();
    assert_eq!(held(), (1, 0));
    drop(second);
    assert_eq!(held(), (0, 0));
}

#[test]
fn replies_are_bounded_but_what_was_done_is_told() {
    let admission = admission();
    let first = admission.admit(Kind::Call, 3).unwrap();
    first.reply(40_000).unwrap();
    assert_eq!(
        (
            admission.in_flight(Bound::Bytes),
            admission.in_flight(Bound::ReplyBytes)
        ),
        (0, 40_000),
        "the request has been read"
    );
    let second = admission.admit(Kind::Call, 0).unwrap();
    assert_eq!(second.reply(SMALL_REPLY_BYTES + 1), Err(Bound::ReplyBytes));
    assert_eq!(second.reply(SMALL_REPLY_BYTES), Ok(()));
    drop(first);
    assert_eq!(admission.in_flight(Bound::ReplyBytes), SMALL_REPLY_BYTES);
    drop(second);
    assert_eq!(in_flight(&admission), [0; Bound::COUNT]);
}

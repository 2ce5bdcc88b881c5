//! Calls between three nodes, and reads of groups that are led elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::limits::{CALL_BYTES_MAX, CALLS_IN_FLIGHT_MAX};
use docket_cluster::{Answer, AnswerCalls, Declined, Lane, Leader, NodeId, PeerCall, PeerCallError};
use futures::FutureExt;
use futures::future::join_all;

use crate::machine::payload;
use crate::peers::{GROUP, Three, eventually};

/// Says what it was told, and by whom; what begins with a word is treated as it says.
#[derive(Default)]
struct Echo {
    answered: AtomicU64,
    last: AtomicU64,
}

impl AnswerCalls for Echo {
    fn answer(&self, call: PeerCall) -> Answer {
        self.answered.fetch_add(1, Ordering::SeqCst);
        if let Some(number) = call.body.strip_prefix(b"in order ") {
            let number = std::str::from_utf8(number).unwrap().parse().unwrap();
            let before = self.last.swap(number, Ordering::SeqCst);
            assert!(before < number, "{number} came behind {before}");
        }
        assert_ne!(&call.body[..], b"panic", "told to panic");
        // Either way is the same for who asks.
        let way = match call.kind % 2 {
            0 => Answer::Waits,
            _ => Answer::Works,
        };
        let answer = async move {
            match &call.body[..] {
                b"no" => Err(Declined("told not to".into())),
                b"panic later" => {
                    assert!(call.body.is_empty(), "told to panic");
                    Ok(Bytes::new())
                }
                b"never" => std::future::pending().await,
                body => Ok([&[call.from.0 as u8, call.kind as u8], body].concat().into()),
            }
        };
        way(answer.boxed())
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn echoing() -> (Three, Vec<Arc<Echo>>) {
    let three = Three::form(|_| {}).await;
    let echoes: Vec<_> = three.0.iter().map(|_| Arc::new(Echo::default())).collect();
    for (place, echo) in three.0.iter().zip(&echoes) {
        assert!(place.node().answer_calls(echo.clone()));
        assert!(!place.node().answer_calls(echo.clone()), "one answers, not two");
    }
    (three, echoes)
}

/// Which is worked on, and which is waited for.
const REQUEST: (Lane, u32) = (Lane::Request, 7);
const WAITED: (Lane, u32) = (Lane::Request, 8);

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_by_the_node_that_is_asked_and_many_are_in_flight() {
    let (three, _) = echoing().await;
    let first = three.0[0].node();
    let calls = (0..5_000u32).map(|n| async move {
        let lane = if n % 2 == 0 { Lane::Request } else { Lane::Step };
        let body = Bytes::from(n.to_string());
        let kind = 8 + n / 2 % 2;
        let answer = first
            .call(NodeId(2 + u64::from(n % 2)), (lane, kind), body, soon())
            .await;
        assert_eq!(
            answer.unwrap(),
            [&[1, kind as u8], n.to_string().as_bytes()].concat()
        );
    });
    join_all(calls).await;
    let large = Bytes::from(vec![1; CALL_BYTES_MAX - 2]);
    let answer = first.call(NodeId(2), REQUEST, large.clone(), soon()).await;
    assert_eq!(answer.unwrap().len(), large.len() + 2);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_whether_the_call_may_have_been_executed() {
    let (mut three, echoes) = echoing().await;
    let first = three.0[0].node().clone();
    let call_as = |to, node: u64, body: &'static [u8], deadline| {
        let first = first.clone();
        async move {
            let body = Bytes::from_static(body);
            let answer = first.call(NodeId(node), to, body, deadline).await;
            answer.unwrap_err()
        }
    };
    let call = |node, body, deadline| call_as(REQUEST, node, body, deadline);
    for to in [REQUEST, WAITED] {
        let declined = call_as(to, 2, b"no", soon()).await;
        assert_eq!(
            declined,
            PeerCallError::Declined {
                node: NodeId(2),
                cause: "told not to".into()
            }
        );
        assert!(!declined.may_be_done());
        for body in [&b"panic"[..], b"panic later"] {
            assert!(call_as(to, 2, body, soon()).await.may_be_done());
        }
        let late = call_as(to, 2, b"never", Instant::now() + Duration::from_millis(50)).await;
        assert!(late.may_be_done(), "{late}");
    }
    let nobody = call(9, b"x", soon()).await;
    assert!(matches!(nobody, PeerCallError::NotSent { .. }), "{nobody}");
    let over = call(2, b"x", Instant::now()).await;
    assert!(matches!(over, PeerCallError::NotSent { .. }), "{over}");
    let large = Bytes::from(vec![1; CALL_BYTES_MAX + 1]);
    let large = first.call(NodeId(2), REQUEST, large, soon()).await.unwrap_err();
    assert!(matches!(large, PeerCallError::NotSent { .. }), "{large}");

    // One that is under way when its node dies is not known to be done; the next is not sent.
    let under_way = tokio::spawn(call(3, b"never", soon()));
    eventually("the call to arrive", || {
        echoes[2].answered.load(Ordering::SeqCst) == 1
    })
    .await;
    three.stop(2).await;
    assert!(under_way.await.unwrap().may_be_done());
    let gone = call(3, b"x", soon()).await;
    assert!(matches!(gone, PeerCallError::NotSent { .. }), "{gone}");

    // It comes back, and nobody answers there before it is said who does.
    three.start(2).await;
    let asked = Instant::now();
    loop {
        match call(3, b"x", soon()).await {
            PeerCallError::NotSent { .. } => assert!(asked.elapsed() < Duration::from_secs(30)),
            starting => break assert!(matches!(starting, PeerCallError::Declined { .. }), "{starting}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    three.0[2].node().answer_calls(Arc::new(Echo::default()));
    let again = first
        .call(NodeId(3), REQUEST, Bytes::from_static(b"x"), soon())
        .await;
    assert_eq!(again.unwrap(), b"\x01\x07x"[..]);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_handed_over_in_the_order_in_which_they_were_sent() {
    let (three, _) = echoing().await;
    let first = three.0[0].node().clone();
    let mut calls = Vec::new();
    for n in 1..=2_000 {
        let body = Bytes::from(format!("in order {n}"));
        // Unconstrained: the runtime's budget for this one task must not put a call off.
        let call = first.call(NodeId(2), (Lane::Step, 1), body, soon());
        let mut call = Box::pin(tokio::task::unconstrained(call));
        // Once looked at it is on its way, but for those before the connection stands.
        if n == 1 {
            call.await.unwrap();
        } else {
            match futures::poll!(&mut call) {
                std::task::Poll::Pending => calls.push(call),
                std::task::Poll::Ready(answer) => drop(answer.unwrap()),
            }
        }
        if calls.len() == 100 {
            join_all(calls.drain(..))
                .await
                .into_iter()
                .for_each(|answer| drop(answer.unwrap()));
        }
    }
    drop(calls);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_begins_at_once_where_nothing_is_to_be_waited_for_and_ends_with_its_connection() {
    let (mut three, echoes) = echoing().await;
    let first = three.0[0].node().clone();
    let begin = |body: &'static [u8]| first.begin_call(NodeId(2), WAITED, Bytes::from_static(body), soon());
    assert!(
        first
            .begin_call(NodeId(9), WAITED, Bytes::new(), soon())
            .is_none(),
        "nobody is there"
    );
    let over = first.begin_call(NodeId(2), WAITED, Bytes::new(), Instant::now());
    assert!(over.is_none(), "its time is over");
    // The stream of calls is opened by the first that waits for it.
    first.call(NodeId(2), WAITED, Bytes::new(), soon()).await.unwrap();
    assert_eq!(begin(b"x").unwrap().await.unwrap(), b"\x01\x08x"[..]);

    // Those that nobody waits for any more free their places here at once.
    let before = echoes[1].answered.load(Ordering::SeqCst);
    let mut waiting = Vec::new();
    while let Some(calling) = begin(b"never") {
        waiting.push(calling);
        if waiting.len() == CALLS_IN_FLIGHT_MAX {
            break;
        }
        tokio::task::yield_now().await;
    }
    let begun = waiting.len();
    eventually("all to arrive", || {
        echoes[1].answered.load(Ordering::SeqCst) == before + begun as u64
    })
    .await;
    let kept = waiting.split_off(begun - 1);
    drop(waiting);
    eventually("room for one more", || begin(b"y").is_some()).await;

    three.stop(1).await;
    for calling in kept {
        assert!(calling.await.unwrap_err().may_be_done());
    }
    assert!(begin(b"x").is_none(), "the connection has ended");
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_more_is_forgotten_by_who_was_asked() {
    let (three, echoes) = echoing().await;
    let first = three.0[0].node().clone();
    let soon_over = || Instant::now() + Duration::from_millis(300);
    let never = Bytes::from_static(b"never");
    // Twice as many as may be in flight, half of them when the others are over.
    for round in 1..=2 {
        let calls =
            (0..CALLS_IN_FLIGHT_MAX).map(|_| first.call(NodeId(2), WAITED, never.clone(), soon_over()));
        for late in join_all(calls).await {
            late.unwrap_err();
        }
        let step = first.call(NodeId(2), (Lane::Step, 2), Bytes::new(), soon()).await;
        assert_eq!(step.unwrap(), [1, 2][..], "round {round}");
    }
    eventually("there is room again", || {
        echoes[1].answered.load(Ordering::SeqCst) > 0
    })
    .await;
    let declined = |error: &PeerCallError| matches!(error, PeerCallError::Declined { .. });
    let asked = Instant::now();
    while let Err(error) = first.call(NodeId(2), WAITED, Bytes::new(), soon()).await {
        assert!(
            declined(&error) && asked.elapsed() < Duration::from_secs(30),
            "{error}"
        );
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_more_is_forgotten_also_where_others_wait_for_longer() {
    let (three, _) = echoing().await;
    let first = three.0[0].node().clone();
    let never = Bytes::from_static(b"never");
    let longer = first.call(NodeId(2), WAITED, never.clone(), soon());
    let shorter = async {
        let over = || Instant::now() + Duration::from_millis(100);
        let calls = (1..CALLS_IN_FLIGHT_MAX).map(|_| first.call(NodeId(2), WAITED, never.clone(), over()));
        for late in join_all(calls).await {
            late.unwrap_err();
        }
        // Long before the one that came first is over.
        let asked = Instant::now();
        while let Err(error) = first.call(NodeId(2), WAITED, Bytes::new(), soon()).await {
            let is_full = matches!(error, PeerCallError::Declined { .. });
            assert!(is_full && asked.elapsed() < Duration::from_secs(10), "{error}");
        }
    };
    tokio::select! {
        biased;
        ended = longer => panic!("{ended:?}"),
        () = shorter => {}
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_do_not_hold_up_steps_and_wait_for_room_themselves() {
    let (three, echoes) = echoing().await;
    let first = three.0[0].node().clone();
    let never = || {
        let first = first.clone();
        let never = Bytes::from_static(b"never");
        tokio::spawn(async move { first.call(NodeId(2), REQUEST, never, soon()).await })
    };
    let waiting: Vec<_> = (0..CALLS_IN_FLIGHT_MAX).map(|_| never()).collect();
    let arrived = || echoes[1].answered.load(Ordering::SeqCst) == CALLS_IN_FLIGHT_MAX as u64;
    eventually("all to arrive", arrived).await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let full = first
        .call(NodeId(2), REQUEST, Bytes::new(), deadline)
        .await
        .unwrap_err();
    assert!(matches!(full, PeerCallError::NotSent { .. }), "{full}");
    let step = first.call(NodeId(2), (Lane::Step, 1), Bytes::new(), soon()).await;
    assert_eq!(step.unwrap(), [1, 1][..]);
    // Whoever no longer waits leaves its place when the other end has seen that its time is over; here they all go at once.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_replica_finds_who_leads_and_reads_nothing() {
    let three = Three::form(|options| {
        let peers = options.peers.as_mut().unwrap();
        peers.founders.retain(|founder| *founder != NodeId(3));
    })
    .await;
    three.propose(payload("entry")).await;
    let leader = three.leader().await;
    let outside = three.0[2].node();
    assert!(!outside.has_replica(GROUP) && three.0[leader].node().has_replica(GROUP));
    let found = outside.find_leader(GROUP, soon()).await;
    let term = three.0[leader].group().status().term;
    let node = NodeId(leader as u64 + 1);
    assert_eq!(found, Leader::Node { node, term });
    assert_eq!(outside.leader_of(GROUP), found, "it is remembered for a moment");
    outside.read_barrier([GROUP], soon()).await.unwrap_err();
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_a_replica_sees_what_was_answered_before_wherever_the_group_is_led() {
    let mut three = Three::form(|_| {}).await;
    for n in 0..50 {
        three.propose(payload(format!("entry-{n}"))).await;
        for place in &three.0 {
            // Whoever has not heard of the leader yet says so.
            let asked = Instant::now();
            while let Err(error) = place.node().read_barrier([GROUP], soon()).await {
                assert!(asked.elapsed() < Duration::from_secs(30), "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(place.payloads().len(), n + 1);
        }
    }
    let leader = three.leader().await;
    for (at, place) in three.0.iter().enumerate() {
        let leads = place.node().leader_of(GROUP);
        match leads {
            Leader::Here => assert_eq!(at, leader),
            Leader::Node { node, term } => {
                assert_eq!(
                    (node, term),
                    (NodeId(leader as u64 + 1), place.group().status().term)
                );
            }
            Leader::Unknown => panic!("node {at} does not know who leads"),
        }
    }
    // Without a quorum nobody can say what was answered.
    three.stop((leader + 1) % 3).await;
    three.stop(leader).await;
    let lonely = three.0[(leader + 2) % 3].node();
    let deadline = Instant::now() + Duration::from_millis(500);
    lonely.read_barrier([GROUP], deadline).await.unwrap_err();
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_elsewhere_says_what_time_it_is_there() {
    let three = Three::form(|options| {
        // A clock that nobody asks does not go.
        options.clock.now_us();
    })
    .await;
    three.propose(payload("entry")).await;
    let leader = three.leader().await;
    for (at, place) in three.0.iter().enumerate() {
        let asked = Instant::now();
        let earliest = loop {
            // Whoever has not heard of the leader yet says so.
            match place.node().read_barrier_by_clock([GROUP], soon()).await {
                Ok(earliest) => break earliest,
                Err(error) => assert!(asked.elapsed() < Duration::from_secs(30), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(earliest > 0, "node {at} hears no time");
        assert_eq!(earliest == i64::MAX, at == leader, "node {at}: {earliest}");
    }
    three.end().await;
}

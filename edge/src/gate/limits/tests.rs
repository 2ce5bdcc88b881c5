use std::time::Instant;

use docket_actors::Told;
use docket_engine::{
    access::{ApiKeyId, Credential, Role, Scopes, SessionId, Username},
    steering::{Limited, RateLimit},
};
use docket_proto::peer_call::{CONSUMERS_MAX, Consumption, Taken, TakenBy};
use governor::clock::FakeRelativeClock;

use super::{
    sharing::{Outbox, SILENT, TELL_EVERY},
    *,
};

fn principal(account: &str, role: Role) -> Principal {
    Principal {
        account: Username::new(account).unwrap(),
        role,
        customer: None,
        scopes: Scopes::NONE,
        credential: Credential::Session(SessionId([0; 16])),
    }
}

fn config(customer: Limit, address: Limit) -> LimitsConfig {
    LimitsConfig {
        customer,
        address,
        open: Limit::OFF,
        probe: Limit::OFF,
        failure: Limit::OFF,
        service: Limit::OFF,
        admin: Limit::OFF,
        ..LimitsConfig::default()
    }
}

const TWO_OF_ONE: Limit = Limit {
    per_second: 1,
    burst: 2,
};

fn headers(left: Left) -> (String, String) {
    let mut headers = HeaderMap::new();
    left.write(&mut headers);
    let text = |name: HeaderName| headers[name].to_str().unwrap().to_owned();
    (text(POLICY_HEADER), text(LIMIT_HEADER))
}

#[test]
fn a_bucket_empties_says_when_to_come_back_and_fills_again() {
    let clock = FakeRelativeClock::default();
    let limits = Limits::with_clock(&config(TWO_OF_ONE, Limit::OFF), &clock);
    let ann = principal("ann", Role::Customer);

    let first = limits.take_principal(&ann).unwrap().unwrap();
    assert_eq!(
        headers(first),
        ("\"customer\";q=2;w=2".into(), "\"customer\";r=1;t=1".into())
    );
    let second = limits.take_principal(&ann).unwrap().unwrap();
    assert_eq!(headers(second).1, "\"customer\";r=0;t=2");

    let empty = limits.take_principal(&ann).unwrap_err();
    assert_eq!(empty.retry_after, Duration::from_secs(1));
    assert_eq!(empty.subject, "principal:ann");
    assert_eq!(headers(empty.left).1, "\"customer\";r=0;t=2");

    clock.advance(Duration::from_millis(999));
    assert!(limits.take_principal(&ann).is_err());
    clock.advance(Duration::from_millis(1));
    assert!(limits.take_principal(&ann).is_ok());
    assert!(limits.take_principal(&ann).is_err());
}

#[test]
fn accounts_and_roles_do_not_share_buckets() {
    let limits = Limits::with_clock(&config(TWO_OF_ONE, Limit::OFF), &FakeRelativeClock::default());
    let (ann, bob) = (principal("ann", Role::Customer), principal("bob", Role::Customer));
    for _ in 0..2 {
        assert!(limits.take_principal(&ann).is_ok());
    }
    assert!(limits.take_principal(&ann).is_err());
    assert!(limits.take_principal(&bob).is_ok());
    for _ in 0..1_000 {
        assert!(
            limits
                .take_principal(&principal("ann", Role::Admin))
                .unwrap()
                .is_none(),
            "admins have no limit"
        );
    }
}

/// Another issuer's tokens say the role themselves.
#[test]
fn who_comes_in_two_roles_by_turns_is_held_to_the_limit_of_each() {
    let mut both = config(TWO_OF_ONE, Limit::OFF);
    both.service = Limit {
        per_second: 1,
        burst: 3,
    };
    let limits = Limits::with_clock(&both, &FakeRelativeClock::default());
    let (customer, service) = (principal("ann", Role::Customer), principal("ann", Role::Service));
    let let_in = |who: &Principal| limits.take_principal(who).is_ok();
    let turns: Vec<_> = (0..9).map(|_| (let_in(&customer), let_in(&service))).collect();
    let count = |of: fn(&(bool, bool)) -> bool| turns.iter().filter(|turn| of(turn)).count();
    assert_eq!((count(|turn| turn.0), count(|turn| turn.1)), (2, 3));
}

#[test]
fn another_limit_holds_at_once_and_those_that_are_as_before_keep_their_buckets() {
    let clock = FakeRelativeClock::default();
    let limits = Limits::with_clock(&config(TWO_OF_ONE, TWO_OF_ONE), &clock);
    let (ann, address) = (principal("ann", Role::Customer), "192.0.2.1".parse().unwrap());
    let takes = || (0..9).filter(|_| limits.take_principal(&ann).is_ok()).count();
    assert_eq!(takes(), 2);
    assert!(limits.take_address(address).is_ok());
    let five = Limit {
        per_second: 1,
        burst: 5,
    };
    limits.replace(&config(five, TWO_OF_ONE));
    assert_eq!(takes(), 5);
    assert!(limits.take_address(address).is_ok());
    assert!(
        limits.take_address(address).is_err(),
        "its bucket had one token left"
    );
    // Once more the same changes nothing; off is off, and on again begins full.
    limits.replace(&config(five, TWO_OF_ONE));
    assert_eq!(takes(), 0);
    limits.replace(&config(Limit::OFF, TWO_OF_ONE));
    assert_eq!((takes(), limits.buckets()), (9, 1));
    limits.replace(&config(TWO_OF_ONE, TWO_OF_ONE));
    assert_eq!(takes(), 2);
}

#[test]
fn who_was_barred_is_heard_again_where_the_limit_of_failures_is_another() {
    let failing = |burst| LimitsConfig {
        failure: Limit { per_second: 1, burst },
        ..config(Limit::OFF, Limit::OFF)
    };
    let limits = Limits::with_clock(&failing(1), &FakeRelativeClock::default());
    let address = "192.0.2.1".parse().unwrap();
    assert!(limits.take_failure(address).is_ok());
    assert!(limits.take_failure(address).is_err());
    assert!(limits.barred(address).is_some());
    limits.replace(&failing(1));
    assert!(limits.barred(address).is_some());
    limits.replace(&failing(2));
    assert!(limits.barred(address).is_none() && limits.take_failure(address).is_ok());
}

#[test]
fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_is_itself() {
    let limits = Limits::with_clock(&config(Limit::OFF, TWO_OF_ONE), &FakeRelativeClock::default());
    let take = |text: &str| limits.take_address(text.parse().unwrap()).is_ok();
    assert!(take("2001:db8::1"));
    assert!(take("2001:db8::2"));
    assert!(!take("2001:db8::3"));
    assert!(take("2001:db8:0:1::1"));
    assert!(take("192.0.2.1"));
    assert!(take("::ffff:192.0.2.1"));
    assert!(!take("192.0.2.1"));
    assert!(take("192.0.2.2"));
}

#[test]
fn methods_without_credentials_have_buckets_of_their_own() {
    let config = LimitsConfig {
        open: TWO_OF_ONE,
        probe: TWO_OF_ONE,
        ..config(Limit::OFF, Limit::OFF)
    };
    let limits = Limits::with_clock(&config, &FakeRelativeClock::default());
    let address = "192.0.2.1".parse().unwrap();
    for (access, limiter) in [(Access::Open, "open"), (Access::Probe, "probe")] {
        assert!(limits.take_access(address, access).unwrap().is_some());
        assert!(limits.take_access(address, access).is_ok());
        assert_eq!(limits.take_access(address, access).unwrap_err().limiter, limiter);
    }
    assert!(
        limits
            .take_access(address, Access::Credentials)
            .unwrap()
            .is_none()
    );
}

#[test]
fn an_address_that_fails_too_often_is_barred_until_it_has_a_token_again() {
    let config = LimitsConfig {
        failure: TWO_OF_ONE,
        ..config(Limit::OFF, Limit::OFF)
    };
    let clock = FakeRelativeClock::default();
    let limits = Limits::with_clock(&config, &clock);
    let (first, second) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    assert!(limits.take_failure(first).is_ok());
    assert!(limits.take_failure(first).is_ok());
    assert!(
        limits.barred(first).is_none(),
        "who fails no more is not asked for a token"
    );
    assert_eq!(limits.take_failure(first).unwrap_err().limiter, "failure");
    let barred = limits.barred(first).unwrap();
    assert_eq!(
        (barred.subject.as_str(), barred.retry_after),
        ("failure:192.0.2.1", Duration::from_secs(1))
    );
    assert!(limits.barred(second).is_none());
    clock.advance(Duration::from_millis(999));
    limits.prune();
    assert!(limits.barred(first).is_some());
    clock.advance(Duration::from_millis(1));
    assert!(limits.barred(first).is_none());
    limits.prune();
    assert_eq!(limits.barred.count.load(Relaxed), 0);
    assert!(limits.take_failure(first).is_ok());
}

#[test]
fn full_buckets_are_forgotten() {
    let clock = FakeRelativeClock::default();
    let limits = Limits::with_clock(&config(TWO_OF_ONE, TWO_OF_ONE), &clock);
    for i in 0..1_000u32 {
        limits.take_address(IpAddr::V4(i.into())).unwrap();
        limits
            .take_principal(&principal(&i.to_string(), Role::Customer))
            .unwrap();
    }
    assert_eq!(limits.buckets(), 2_000);
    limits.prune();
    assert_eq!(limits.buckets(), 2_000, "none is full yet");
    clock.advance(Duration::from_secs(3));
    limits.prune();
    assert_eq!(limits.buckets(), 0);
}

fn own(of: Limited, per_second: u32, burst: u32) -> (Limited, RateLimit) {
    (of, RateLimit { per_second, burst })
}

fn by_key(account: &str, key: u8) -> Principal {
    Principal {
        credential: Credential::ApiKey(ApiKeyId([key; 12])),
        ..principal(account, Role::Customer)
    }
}

#[test]
fn a_caller_with_a_limit_of_its_own_is_held_to_that_and_a_key_s_calls_are_not_its_account_s() {
    let limits = Limits::with_clock(&config(TWO_OF_ONE, Limit::OFF), &FakeRelativeClock::default());
    let takes = |of: &Principal| (0..9).filter(|_| limits.take_principal(of).is_ok()).count();
    let (ann, bob, root) = (
        principal("ann", Role::Customer),
        principal("bob", Role::Customer),
        principal("root", Role::Admin),
    );
    assert_eq!(takes(&ann), 2);
    let account = |name: &str| Limited::Account(Username::new(name).unwrap());
    limits.set_own(vec![
        own(account("ann"), 1, 5),
        own(account("root"), 1, 1),
        own(account("free"), 0, 0),
        own(Limited::ApiKey(ApiKeyId([7; 12])), 1, 3),
    ]);
    assert_eq!(takes(&by_key("ann", 7)), 3);
    assert_eq!(takes(&ann), 5, "its own bucket is full, whatever its key took");
    assert_eq!(takes(&by_key("ann", 8)), 0, "another key calls as the account");
    assert_eq!((takes(&bob), takes(&root)), (2, 1));
    assert_eq!(takes(&principal("free", Role::Customer)), 9);
    let empty = limits.take_principal(&by_key("ann", 7)).unwrap_err();
    assert_eq!(empty.subject, format!("principal:{}", "07".repeat(12)));
    assert_eq!(headers(empty.left).0, "\"own\";q=3;w=3");
    // The same again changes nothing; without limits of their own they are as all others.
    limits.set_own(vec![own(account("ann"), 1, 5)]);
    assert_eq!(takes(&ann), 0);
    limits.set_own(Vec::new());
    assert_eq!((takes(&ann), takes(&by_key("ann", 7))), (2, 0));
    assert_eq!(takes(&root), 9);
}

/// Nodes that tell one another what is taken, some time later.
struct Cluster {
    clock: FakeRelativeClock,
    began: Instant,
    nodes: Vec<Node>,
    /// Who is told what, and when it arrives.
    on_its_way: Vec<(Duration, usize, usize, Bytes)>,
    elapsed: Duration,
    /// Pairs that do not hear of one another.
    cut: Vec<(usize, usize)>,
    way: Duration,
}

struct Node {
    limits: Arc<Limits<FakeRelativeClock>>,
    outbox: Outbox<FakeRelativeClock>,
}

impl Cluster {
    fn of(nodes: usize, limit: Limit, way: Duration) -> Self {
        let clock = FakeRelativeClock::default();
        let node = |id: usize| {
            let limits = Arc::new(Limits::with_clock(&config(limit, Limit::OFF), &clock));
            Node {
                outbox: Outbox::new(Arc::clone(&limits), id as u64 + 1),
                limits,
            }
        };
        Self {
            nodes: (0..nodes).map(node).collect(),
            clock,
            began: Instant::now(),
            on_its_way: Vec::new(),
            elapsed: Duration::ZERO,
            cut: Vec::new(),
            way,
        }
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    fn now(&self) -> Instant {
        self.began + self.elapsed
    }

    /// Lets so much time go by: nodes tell one another, each in a turn of its own.
    fn advance(&mut self, by: Duration) {
        let end = self.elapsed + by;
        while self.elapsed < end {
            let step = Duration::from_millis(1);
            self.elapsed += step;
            self.clock.advance(step);
            let arrived: Vec<_> = self
                .on_its_way
                .extract_if(.., |(at, ..)| *at <= self.elapsed)
                .collect();
            for (_, from, to, told) in arrived {
                self.arrive(from, to, told);
            }
            for from in 0..self.nodes.len() {
                let turn = TELL_EVERY.as_millis() as u64;
                if (self.elapsed.as_millis() as u64 + 37 * from as u64).is_multiple_of(turn) {
                    self.turn(from);
                }
            }
        }
    }

    fn turn(&mut self, from: usize) {
        let peers: Vec<_> = (0..self.nodes.len())
            .filter(|to| *to != from)
            .map(|to| (to as u64, true))
            .collect();
        let now = self.now();
        for (to, told) in self.nodes[from].outbox.turn(&peers, now) {
            self.send(from, to as usize, told);
        }
    }

    fn send(&mut self, from: usize, to: usize, told: Bytes) {
        self.on_its_way.push((self.elapsed + self.way, from, to, told));
    }

    fn arrive(&mut self, from: usize, to: usize, told: Bytes) {
        let heard = match self.is_cut(from, to) {
            true => Told::Unknown,
            false => {
                let message = Consumption::decode(told).unwrap();
                self.nodes[to].limits.charge(from as u64, &message);
                Told::Heard
            }
        };
        let now = self.now();
        if let Some(next) = self.nodes[from].outbox.heard(to as u64, heard, now) {
            self.send(from, to, next);
        }
    }

    /// How many calls of one caller are let in while it calls these nodes in turns, as often as this, for so long.
    fn calls(&mut self, at: &[usize], every: Duration, during: Duration) -> u64 {
        let ann = principal("ann", Role::Customer);
        let (mut taken, end) = (0, self.elapsed + during);
        let mut next = 0;
        while self.elapsed < end {
            let node = &self.nodes[at[next % at.len()]];
            taken += u64::from(node.limits.take_principal(&ann).is_ok());
            next += 1;
            if next.is_multiple_of(at.len()) {
                self.advance(every);
            }
        }
        taken
    }
}

const MS: Duration = Duration::from_millis(1);
/// Within this a node that can be heard is.
const SEVERAL_TURNS: Duration = Duration::from_millis(500);

#[test]
fn a_caller_that_spreads_its_calls_gets_its_limit_within_the_stated_error() {
    for (nodes, per_second, burst, way_ms) in [
        (3, 100, 50, 1),
        (3, 100, 1, 20),
        (3, 20, 200, 5),
        (5, 300, 100, 50),
        (2, 1_000, 10, 1),
    ] {
        let limit = Limit { per_second, burst };
        let mut cluster = Cluster::of(nodes, limit, way_ms * MS);
        // Nodes know one another before anybody calls.
        cluster.advance(300 * MS);
        let all: Vec<_> = (0..nodes).collect();
        let seconds = 10;
        let taken = cluster.calls(&all, MS, Duration::from_secs(seconds));
        let (rate, burst, others) = (u64::from(per_second), u64::from(burst), nodes as u64 - 1);
        let due = burst + rate * seconds;
        let delay_ms = TELL_EVERY.as_millis() as u64 + u64::from(way_ms);
        let error = others * (burst + (rate * delay_ms).div_ceil(1_000));
        println!("{nodes} nodes, {rate}/s, burst {burst}: {taken} of {due}, and {error} at most beside");
        assert!(taken <= due + error, "{taken} of {due} + {error}");
        // What is lost is what filled a bucket while it was over its debt: less than a turn of each other node.
        assert!(taken + error >= due, "{taken} of {due} - {error}");
        // It goes on with its rate: what came beside was let in once.
        let taken = cluster.calls(&all, MS, Duration::from_secs(seconds));
        let slack = rate * delay_ms * (others + 1) / 1_000 + others + 1;
        let due = rate * seconds;
        assert!(taken.abs_diff(due) <= slack, "then {taken} of {due} ± {slack}");
    }
}

#[test]
fn a_caller_of_one_node_gets_what_it_would_get_of_that_node_alone() {
    let limit = Limit {
        per_second: 100,
        burst: 50,
    };
    let mut cluster = Cluster::of(3, limit, MS);
    cluster.advance(300 * MS);
    let taken = cluster.calls(&[1], MS, Duration::from_secs(5));
    assert!((549..=551).contains(&taken), "{taken}");
    // And at another node what it has left, which is nothing.
    cluster.advance(TELL_EVERY + 2 * MS);
    let elsewhere = cluster.calls(&[2], MS, 100 * MS);
    assert!(elsewhere <= 25, "{elsewhere}");
}

#[test]
fn what_is_told_twice_or_late_is_taken_once() {
    let limit = Limit {
        per_second: 1,
        burst: 10,
    };
    let limits = Limits::with_clock(&config(limit, Limit::OFF), &FakeRelativeClock::default());
    let ann = principal("ann", Role::Customer);
    let told = |run, number| Consumption {
        run,
        number,
        taken: vec![Taken {
            by: TakenBy::Account(ann.account.clone(), Role::Customer),
            tokens: 2,
        }],
    };
    let left = || limits.take_principal(&ann).unwrap().unwrap().remaining;
    limits.charge(2, &told(5, 1));
    assert_eq!(left(), 7);
    for (run, number) in [(5, 1), (5, 0)] {
        limits.charge(2, &told(run, number));
    }
    assert_eq!(left(), 6);
    limits.charge(2, &told(5, 3));
    limits.charge(3, &told(5, 1));
    assert_eq!(left(), 1, "another message, and another node's");
    // It was started anew.
    limits.charge(2, &told(6, 1));
    assert!(limits.take_principal(&ann).is_err());
    // However much it is, it is paid some day.
    let mut much = told(6, 2);
    much.taken[0].tokens = u32::MAX;
    limits.charge(2, &much);
    let empty = limits.take_principal(&ann).unwrap_err();
    assert!(
        empty.retry_after <= Duration::from_secs(12),
        "{:?}",
        empty.retry_after
    );
}

#[test]
fn a_node_that_is_cut_off_gives_its_part_and_most_of_the_nodes_give_all() {
    let limit = Limit {
        per_second: 90,
        burst: 9,
    };
    let mut cluster = Cluster::of(3, limit, MS);
    cluster.advance(300 * MS);
    cluster.cut = vec![(0, 1), (0, 2)];
    cluster.advance(SILENT + 2 * SEVERAL_TURNS);
    let parts: Vec<_> = cluster.nodes.iter().map(|node| node.limits.part()).collect();
    assert_eq!(parts, [(1, 3), (3, 3), (3, 3)]);
    let alone = cluster.calls(&[0], MS, Duration::from_secs(5));
    assert!(
        (3 + 145..=3 + 155).contains(&alone),
        "a third of 90 a second: {alone}"
    );
    let most = cluster.calls(&[1, 2], MS, Duration::from_secs(5));
    assert!((450..=9 + 450 + 2 * 20).contains(&most), "all of it: {most}");
    cluster.cut.clear();
    cluster.advance(2 * SEVERAL_TURNS);
    assert_eq!(cluster.nodes[0].limits.part(), (3, 3));
}

#[test]
fn where_two_nodes_do_not_hear_of_one_another_each_gives_half() {
    let limit = Limit {
        per_second: 1,
        burst: 1,
    };
    let mut cluster = Cluster::of(2, limit, MS);
    cluster.cut = vec![(0, 1)];
    cluster.advance(SILENT + 2 * SEVERAL_TURNS);
    assert_eq!(cluster.nodes[0].limits.part(), (1, 2));
    // A bucket of one is one token, however little of it there is.
    let taken = cluster.calls(&[0], MS, Duration::from_secs(10));
    assert!((5..=6).contains(&taken), "{taken}");
}

#[test]
fn a_node_with_an_older_program_is_told_nothing_and_holds_nobody_shorter() {
    let clock = FakeRelativeClock::default();
    let limits = Arc::new(Limits::with_clock(&config(TWO_OF_ONE, Limit::OFF), &clock));
    let mut outbox = Outbox::new(Arc::clone(&limits), 1);
    let began = Instant::now();
    limits.take_principal(&principal("ann", Role::Customer)).unwrap();
    for turn in 0..20 {
        let due = outbox.turn(&[(2, false), (3, true)], began + turn * TELL_EVERY);
        assert!(due.iter().all(|(node, _)| *node == 3), "{due:?}");
        for (node, _) in due {
            outbox.heard(node, Told::Heard, began + turn * TELL_EVERY);
        }
    }
    assert_eq!(limits.part(), (3, 3));
}

#[test]
fn of_many_callers_those_are_told_of_first_who_took_most_and_all_in_the_end() {
    let clock = FakeRelativeClock::default();
    let limits = Arc::new(Limits::with_clock(
        &config(
            Limit {
                per_second: 1,
                burst: 100,
            },
            Limit::OFF,
        ),
        &clock,
    ));
    let mut outbox = Outbox::new(Arc::clone(&limits), 1);
    let now = Instant::now();
    // That it is there, before anybody calls.
    for (node, _) in outbox.turn(&[(2, true)], now) {
        outbox.heard(node, Told::Heard, now);
    }
    let callers = 2 * CONSUMERS_MAX + 7;
    for caller in 0..callers {
        let takes = if caller == 5 { 9 } else { 1 };
        for _ in 0..takes {
            limits
                .take_principal(&principal(&caller.to_string(), Role::Customer))
                .unwrap();
        }
    }
    let mut told = 0;
    let mut first = None;
    for turn in 1..=5 {
        let mut due = outbox.turn(&[(2, true)], now + turn * TELL_EVERY);
        while let Some((_, bytes)) = due.pop() {
            let message = Consumption::decode(bytes).unwrap();
            if !message.taken.is_empty() {
                first.get_or_insert_with(|| message.taken.iter().map(|taken| taken.tokens).max());
            }
            told += message
                .taken
                .iter()
                .map(|taken| u64::from(taken.tokens))
                .sum::<u64>();
            let next = outbox.heard(2, Told::Heard, now + turn * TELL_EVERY);
            due.extend(next.map(|bytes| (2, bytes)));
        }
    }
    assert_eq!(first, Some(Some(9)));
    assert_eq!(told, callers as u64 + 8);
    assert!(outbox.late > 0);
}

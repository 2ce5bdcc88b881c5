use super::*;

fn line<'a>(answer: &'a Value, name: &str) -> &'a Vec<Value> {
    answer["points"][name].as_array().unwrap()
}

/// A registry after so many orders, of which some were refused, each within 2 to 3 ms.
fn registry(orders: u32, refused: u32, denied: u32) -> String {
    let method = "method=\"docket.v1.OrderService/PlaceOrder\"";
    let ok = orders - refused;
    format!(
        "docket_requests_total{{{method},code=\"OK\"}} {ok}\n\
         docket_requests_total{{{method},code=\"FAILED_PRECONDITION\"}} {refused}\n\
         docket_requests_total{{method=\"docket.v1.NodeService/GetNodeStatus\",code=\"OK\"}} 1000000\n\
         docket_request_seconds_bucket{{{method},code=\"OK\",le=\"0.002\"}} 0\n\
         docket_request_seconds_bucket{{{method},code=\"OK\",le=\"0.003\"}} {ok}\n\
         docket_request_seconds_bucket{{{method},code=\"OK\",le=\"+Inf\"}} {ok}\n\
         docket_request_seconds_bucket{{{method},code=\"FAILED_PRECONDITION\",le=\"0.002\"}} 0\n\
         docket_request_seconds_bucket{{{method},code=\"FAILED_PRECONDITION\",le=\"0.003\"}} {refused}\n\
         docket_request_seconds_bucket{{{method},code=\"FAILED_PRECONDITION\",le=\"+Inf\"}} {refused}\n\
         docket_limiter_denials_total{{limiter=\"principal\"}} {denied}\n\
         docket_disk_free_bytes 5\n"
    )
}

#[test]
fn rates_and_quantiles_are_of_what_came_between_two_looks() {
    let traffic = Traffic::default();
    traffic.look(&registry(1_000, 0, 7), 10_000);
    traffic.look(&registry(1_200, 20, 7), 12_000);
    traffic.look(&registry(1_200, 20, 9), 14_000);
    let answer = traffic.json(0);
    assert_eq!(answer["points"]["t"], json!([12_000, 14_000]));
    assert_eq!(line(&answer, "calls"), &[json!(100.0), json!(0.0)]);
    assert_eq!(line(&answer, "orders"), &[json!(100.0), json!(0.0)]);
    assert_eq!(line(&answer, "errors"), &[json!(10.0), json!(0.0)]);
    assert_eq!(line(&answer, "denials"), &[json!(0.0), json!(1.0)]);
    assert_eq!(
        line(&answer, "p50"),
        &[json!(0.0025), Value::Null],
        "nothing came in the second"
    );
    assert_eq!(line(&answer, "p99")[0], json!(0.002_99));
    assert_eq!(line(&answer, "free"), &[json!(5.0), json!(5.0)]);
    let minute = &answer["minute"];
    assert_eq!(minute["seconds"], 4.0);
    assert_eq!(minute["codes"], json!({"OK": 180.0, "FAILED_PRECONDITION": 20.0}));
    assert_eq!(minute["methods"].as_array().unwrap().len(), 1);
    assert_eq!(minute["limiters"]["principal"]["minute"], 2.0);
    assert_eq!(minute["limiters"]["principal"]["since_start"], 9.0);

    let later = traffic.json(12_000);
    assert_eq!(
        later["points"]["t"],
        json!([14_000]),
        "what is known is not sent again"
    );
}

#[test]
fn while_nobody_asks_it_is_looked_seldom_and_a_minute_stays_a_minute() {
    let traffic = Traffic::default();
    let mut looks = Vec::new();
    let mut go_on = |until_s: u64, from_s: u64| {
        let before = looks.len();
        for now_ms in (from_s..until_s).step_by(2).map(|s| s * 1_000) {
            if traffic.is_due(now_ms) {
                traffic.look("", now_ms);
                looks.push(now_ms);
            }
        }
        looks.len() - before
    };
    assert_eq!(go_on(3_600, 0), 120, "twice a minute");
    let answer = traffic.asked(0, 3_600_000);
    let points = line(&answer, "t").len();
    assert!((30..=31).contains(&points), "a quarter of an hour: {points}");
    assert!(
        answer["minute"]["seconds"].as_f64().unwrap() <= 90.0,
        "{}",
        answer["minute"]
    );
    assert_eq!(go_on(3_640, 3_600), 20, "somebody asks");
    let minute = traffic.asked(0, 3_640_000)["minute"]["seconds"].as_f64().unwrap();
    assert!((58.0..=90.0).contains(&minute), "{minute}");
    assert_eq!(go_on(3_700, 3_640), 30, "and for a minute");
    let minute = traffic.json(0)["minute"]["seconds"].as_f64().unwrap();
    assert!((58.0..=62.0).contains(&minute), "{minute}");
    assert!(go_on(3_760, 3_700) <= 3, "nobody asks any more");
    // The machine's clock may be set back.
    assert!(traffic.is_due(0));
}

#[test]
fn no_more_is_kept_than_may_be() {
    let traffic = Traffic::default();
    let mut text = String::new();
    for n in 0..10_000 {
        text.push_str(&format!(
            "docket_requests_total{{method=\"m{n}\",code=\"c{n}\"}} 1\n\
             docket_limiter_denials_total{{limiter=\"l{n}\"}} 1\n\
             docket_journal_sync_seconds_bucket{{le=\"{n}\"}} 1\n"
        ));
    }
    traffic.look(&text, 0);
    let kept = traffic.0.lock();
    let tally = kept.tallies.back().unwrap();
    assert!(tally.methods.len() <= METHOD_TABLE.len() + 1);
    assert_eq!(tally.counted[0].len(), NAMES_MAX);
    assert_eq!(tally.sync.0.len(), BUCKETS_MAX);
    drop(kept);
    for n in 0..2 * POINTS_MAX {
        traffic.look("", n as u64);
    }
    let kept = traffic.0.lock();
    assert_eq!((kept.points.len(), kept.tallies.len()), (POINTS_MAX, TALLIES_MAX));
}

#[test]
fn a_quantile_is_where_prometheus_has_it() {
    let of = |buckets: &[(f64, f64)]| Histogram(buckets.to_vec());
    let all = of(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)]);
    assert_eq!(all.quantile(0.25), Some(1.0));
    assert_eq!(all.quantile(0.375), Some(1.5));
    assert_eq!(all.quantile(0.99), Some(2.0), "beyond the last bound");
    assert_eq!(of(&[]).quantile(0.5), None);
    assert_eq!(of(&[(1.0, 0.0), (f64::INFINITY, 0.0)]).quantile(0.5), None);
}

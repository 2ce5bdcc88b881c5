//! Which method is where.

use std::collections::BTreeSet;

use docket_rest::{Found, Gateway, ROUTES, UNROUTED};
use http::Method;

#[test]
fn every_method_has_a_route_or_a_reason_to_have_none() {
    let methods: BTreeSet<String> = Gateway::new().unwrap().methods().into_iter().collect();
    assert!(methods.len() > 60, "{}", methods.len());
    let mut led: BTreeSet<String> = UNROUTED.iter().map(|(method, _)| (*method).to_owned()).collect();
    for rule in ROUTES {
        assert!(
            led.insert(rule.method.to_owned()),
            "{} is routed twice",
            rule.method
        );
    }
    assert_eq!(led, methods);
}

#[test]
fn no_two_methods_are_at_one_place() {
    let mut places = BTreeSet::new();
    for rule in ROUTES {
        // What a variable is called makes no other place.
        let shape: String = rule.path.split(['{', '}']).enumerate().map(shape).collect();
        assert!(places.insert((rule.verb, shape.clone())), "{shape}");
    }
}

fn shape((at, part): (usize, &str)) -> String {
    match at % 2 {
        0 => part.to_owned(),
        _ => part
            .split_once('=')
            .map_or("*", |(_, pattern)| pattern)
            .to_owned(),
    }
}

#[track_caller]
fn check(verb: Method, path: &str, expected: &str) {
    let gateway = Gateway::new().unwrap();
    let found = match gateway.find(&verb, path, None) {
        Found::Asked(asked) => asked.route().method().rsplit('/').next().unwrap().to_owned(),
        Found::OtherVerbs(verbs) => verbs.join(" "),
        Found::NoText => "no text".to_owned(),
        Found::Nothing => "nothing".to_owned(),
    };
    assert_eq!(found, expected, "{verb} {path}");
}

#[test]
fn a_verb_and_a_path_lead_to_a_method() {
    check(Method::POST, "/v1/orders", "PlaceOrder");
    check(Method::GET, "/v1/orders", "ListOrders");
    check(Method::GET, "/v1/orders:watch", "WatchOrders");
    check(Method::GET, "/v1/orders/01M8", "GetOrder");
    check(Method::GET, "/v1/orders/01M8/events", "ListOrderEvents");
    check(Method::POST, "/v1/orders/01M8:cancel", "CancelOrder");
    check(Method::PATCH, "/v1/customers/acme", "UpdateCustomer");
    check(Method::PUT, "/v1/limits/apiKeys/7", "SetLimit");
}

#[test]
fn what_leads_nowhere_says_how_far_it_came() {
    check(Method::DELETE, "/v1/orders", "POST GET");
    check(Method::GET, "/v1/orders/01M8:cancel", "POST");
    check(Method::HEAD, "/v1/node", "GET");
    check(Method::GET, "/v1/orders/", "nothing");
    check(Method::GET, "/", "nothing");
    check(Method::POST, "/docket.v1.OrderService/PlaceOrder", "nothing");
    check(Method::GET, "/v1/orders/%ff", "no text");
}

//! Feature flags and callers' own limits from the command line.

use crate::{server::Server, support::Shell};

#[test]
fn a_flag_is_set_shown_listed_and_unset() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    let run = |command: &str| shell.run(&format!("flag {command} {flags}"));
    let set = run("set backorders --percent 12.5 --customer acme -o json")
        .ends(0)
        .json();
    assert_eq!(set["percent"], 12.5);
    assert_eq!(set["customers"], serde_json::json!(["customers/acme"]));
    assert_eq!(set["known"], true);
    let asked = run("get backorders --customer acme -o json").ends(0).json();
    assert_eq!(asked["on"], true);
    assert_eq!(asked["etag"], set["etag"]);
    let off = run("set webhooks --off -o json").ends(0).json();
    assert_eq!((&off["state"], &off["percent"]), (&"OFF".into(), &0.0.into()));
    let listed = run("list -o json").ends(0).json();
    let named = listed["flags"].as_array().unwrap().iter();
    let state: Vec<_> = named.map(|flag| flag["state"].as_str().unwrap()).collect();
    assert_eq!(state, ["12.5 %", "ON (default)", "ON (default)", "OFF"]);

    // A typo switches nothing, and says so.
    run("set backorder --off").ends(1).says("UNKNOWN_FLAG");
    run("set backorder --off --force").ends(0);
    run("unset backorder").ends(0);
    run("set custom.cart --on").ends(0);
    run("set webhooks --role service --off")
        .ends(1)
        .says("no role is known");
    run("set webhooks --on --etag v99").ends(1).says("STALE_ETAG");
    for wrong in [
        "set webhooks",
        "set webhooks --on --off",
        "set webhooks --percent 101",
    ] {
        run(wrong).ends(2);
    }
    for flag in ["webhooks", "flags/backorders", "custom.cart"] {
        run(&format!("unset {flag}")).ends(0);
    }
    let listed = run("list -o json").ends(0).json();
    let all = listed["flags"].as_array().unwrap();
    assert!(all.len() == 4 && all.iter().all(|flag| flag["state"] == "ON (default)"));
    server.stop();
}

#[test]
fn a_limit_is_set_for_an_account_or_a_key_and_unset() {
    let shell = Shell::new().variable("DOCKET_PASSWORD", "correct horse battery");
    let server = Server::start(&shell);
    let flags = server.flags();
    let run = |command: &str| shell.run(&format!("{command} {flags}"));
    run("auth register shop --role service").ends(0);
    let key = run("auth key create --scope read -o json").ends(0).json();
    let key = key["name"].as_str().unwrap().to_owned();

    let set = run("limit set shop --rate 500 -o json").ends(0).json();
    assert_eq!((&set["per_second"], &set["burst"]), (&500.into(), &500.into()));
    assert_eq!(set["name"], "limits/accounts/shop");
    run(&format!("limit set --key {key} --rate 5 --burst 10")).ends(0);
    let unlimited = run("limit set accounts/shop --unlimited -o json").ends(0).json();
    assert_eq!(unlimited["per_second"], 0);
    let listed = run("limit list -o json").ends(0).json();
    assert_eq!(listed["limits"].as_array().unwrap().len(), 2);
    run("limit set nobody --rate 5").ends(1).says("ACCOUNT_NOT_FOUND");
    // Who comes with a token of another issuer has no account, and may have a limit.
    run("limit set external@ada --rate 5").ends(0);
    run("limit get external@ada").ends(0);
    run("limit unset external@ada").ends(0);
    run("limit set external@ --rate 5")
        .ends(1)
        .says("ACCOUNT_NOT_FOUND");
    for wrong in [
        "limit set shop",
        "limit set --rate 5",
        "limit set shop --rate 0",
        "limit set shop --unlimited --burst 5",
    ] {
        run(wrong).ends(2);
    }
    run("limit unset shop").ends(0).prints_nothing();
    run("limit get shop").ends(1).says("LIMIT_NOT_FOUND");
    run(&format!("limit get --key {key}")).ends(0);
    server.stop();
}

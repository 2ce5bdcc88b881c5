//! A command line that makes no sense: exit code 2, nothing on stdout, and what to write instead.

use crate::support::Shell;

#[track_caller]
fn refused(args: &str, part: &str) {
    Shell::new().run(args).ends(2).says(part).prints_nothing();
}

#[test]
fn wrong_words_are_refused_with_what_was_meant() {
    refused("ordr list", "similar");
    refused("order plce", "similar");
    refused("order list --custmer acme", "--customer");
    refused("order get", "ORDER");
    refused("order place --customer acme", "LINE");
    refused("customer update acme", "--credit-limit");
    // All that would do are named.
    refused("customer update acme --etag v3", "--display-name");
    refused("item update tea", "--backorder-limit");
}

#[test]
fn wrong_values_are_refused_before_anything_is_sent() {
    refused("order place --customer acme tea", "SKU:QTY");
    refused(
        "order place --customer acme tea:2@1.234 --currency EUR",
        "EUR has 2",
    );
    refused("order place --customer orders/1 tea:2", "customers/ID");
    refused(
        "order list --state broken",
        "pending, confirmed, partially_fulfilled, fulfilled, cancelled, rejected, expired or closed",
    );
    refused("item create tea --currency EURO --price 1", "ISO 4217");
    refused("item create tea --currency EUR --price 1.234", "EUR has 2");
    refused("item adjust tea many", "invalid digit");
    refused("customer credit acme 1e9", "is not an amount");
    refused("auth register ana --role king", "customer, service or admin");
    refused("auth key create --scope all", "read, orders");
    refused("auth key create --scope read --expires yesterday", "30d");
    refused("status --timeout 10", "500ms, 10s or 2m");
    refused("order list --page-size 1001", "1..=1000");
    refused("health -o xml", "xml");
}

#[test]
fn flags_in_front_of_a_command_that_has_no_use_for_them_are_refused() {
    refused("--data-dir x order list", "--data-dir is a flag of the server");
    refused(
        "--addr http://x config check",
        "--addr is a flag of the client commands",
    );
    refused("--api-key a --token b order list", "--token");
}

#[test]
fn credentials_that_cannot_be_read_are_named() {
    refused("--api-key-file missing.key order list", "missing.key");
    Shell::new()
        .variable("DOCKET_API_KEY_FILE", "gone.key")
        .run("order list")
        .ends(2)
        .says("gone.key");
    Shell::new()
        .variable("DOCKET_TOKEN", "a\nb")
        .run("order list")
        .ends(2)
        .says("DOCKET_TOKEN");
}

#[test]
fn a_password_is_never_taken_from_the_command_line() {
    refused("auth login ana --password x", "--password-file");
}

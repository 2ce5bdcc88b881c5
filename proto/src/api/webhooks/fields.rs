//! What a webhook is made of, looked at as it comes.

use std::sync::Arc;

use docket_engine::{
    ChangeKind,
    webhook::{
        WebhookFilter,
        limits::{DESCRIPTION_BYTES_MAX, URL_BYTES_MAX},
    },
};
use http::{Uri, uri::Scheme};

use crate::{
    api::{check::Check, feed::kind_to_proto, listing::states, names::parse_customer_name},
    v1,
};

pub(super) fn description(check: &mut Check, text: &str) -> Option<Arc<str>> {
    check.line_of_text("webhook.description", text, DESCRIPTION_BYTES_MAX)
}

/// A URL that can be delivered to. Where that is, is judged when it is connected to: names change their addresses.
pub(super) fn url(check: &mut Check, text: &str, allow_http: bool) -> Option<Arc<str>> {
    const FIELD: &str = "webhook.url";
    let rule = match allow_http {
        true => "must be a URL such as https://shop.example/hooks or http://…",
        false => "must be a URL such as https://shop.example/hooks",
    };
    if text.len() > URL_BYTES_MAX {
        check.violation(FIELD, format!("must be at most {URL_BYTES_MAX} bytes"));
        return None;
    }
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        let is_scheme = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) => allow_http && *scheme == Scheme::HTTP,
            None => false,
        };
        // A user name and a password would be shown with the URL, and a fragment is never sent.
        let has_user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        is_scheme && has_host && !has_user && !text.contains('#') && uri.port_u16() != Some(0)
    });
    if uri.is_none() {
        check.violation(FIELD, format!("{rule}, without a user name and a fragment"));
    }
    uri.map(|_| text.into())
}

pub(super) fn filter(check: &mut Check, filter: Option<&v1::WebhookFilter>) -> Option<WebhookFilter> {
    let Some(filter) = filter else {
        return Some(WebhookFilter::default());
    };
    let customer = check.optional_name("webhook.filter.customer", &filter.customer, parse_customer_name);
    let states = states(check, &filter.states);
    let kinds = kinds(check, &filter.kinds);
    Some(WebhookFilter {
        customer: customer?,
        states: states?.into(),
        kinds: kinds?,
    })
}

fn kinds(check: &mut Check, numbers: &[i32]) -> Option<Box<[ChangeKind]>> {
    // A set: what is named twice counts once.
    let known = |number: &i32| {
        ChangeKind::ALL
            .into_iter()
            .find(|kind| kind_to_proto(*kind) as i32 == *number)
    };
    let found: Option<Vec<ChangeKind>> = match numbers.len() <= 2 * ChangeKind::ALL.len() {
        true => numbers.iter().map(known).collect(),
        false => None,
    };
    let Some(mut found) = found else {
        check.violation(
            "webhook.filter.kinds",
            "must be kinds of OrderChange, each at most once",
        );
        return None;
    };
    found.sort_unstable();
    found.dedup();
    Some(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(text: &str, allow_http: bool, is_taken: bool) {
        let mut check = Check::default();
        assert_eq!(url(&mut check, text, allow_http).is_some(), is_taken, "{text}");
    }

    #[test]
    fn a_url_says_where_to_and_nothing_that_is_secret() {
        for text in [
            "https://shop.example/hooks",
            "https://shop.example",
            "https://shop.example:8443/a?b=c",
            "https://[2606:4700::1111]/",
            "https://192.0.2.1/",
        ] {
            check_url(text, false, true);
        }
        for text in [
            "",
            "shop.example/hooks",
            "/hooks",
            "ftp://shop.example",
            "https://",
            "https:///hooks",
            "https://ada:secret@shop.example/",
            "https://shop.example/#part",
            "https://shop.example:0/",
            "https://shop.example/ a",
            "https://shop.example/\r\nhost: x",
            "https://shöp.example/",
        ] {
            check_url(text, true, false);
        }
        check_url("http://shop.example/", false, false);
        check_url("http://shop.example/", true, true);
        check_url(&format!("https://a/{}", "b".repeat(URL_BYTES_MAX)), true, false);
    }
}

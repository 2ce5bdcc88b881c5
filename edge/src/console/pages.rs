//! What the browser is given: files that are compiled in, and the headers that keep it to them.

use std::collections::HashMap;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
};
use sha2::{Digest, Sha256};

/// Nothing is loaded from anywhere but here, nothing is inline, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of every answer of the console.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// The views, which are one page: its script looks which one is meant.
const VIEWS: [&str; 5] = ["cluster", "traffic", "orders", "storage", "access"];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($name:literal, $kind:expr) => {
        ($name, $kind, include_bytes!(concat!("assets/", $name)).as_slice())
    };
}

/// Their names below `assets/`, what they are, and their bytes.
const FILES: [(&str, &str, &[u8]); 19] = [
    file!("index.html", HTML),
    file!("console.css", STYLE),
    file!("icon.svg", "image/svg+xml"),
    file!("theme.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("parts.js", SCRIPT),
    file!("plot.js", SCRIPT),
    file!("views/login.js", SCRIPT),
    file!("views/cluster.js", SCRIPT),
    file!("views/traffic.js", SCRIPT),
    file!("views/orders.js", SCRIPT),
    file!("views/order.js", SCRIPT),
    file!("views/storage.js", SCRIPT),
    file!("views/access.js", SCRIPT),
    file!("vendor/uPlot.iife.min.js", SCRIPT),
    file!("vendor/uPlot.min.css", STYLE),
];

/// The files, each with a tag that tells its content.
pub(super) struct Pages(HashMap<&'static str, Page>);

struct Page {
    kind: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

impl Pages {
    pub(super) fn new() -> Self {
        let page = |(name, kind, bytes): (&'static str, &'static str, &'static [u8])| {
            let digest = Sha256::digest(bytes);
            let digits: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
            // Digits between quotes can always be a header.
            let tag = HeaderValue::try_from(format!("\"{digits}\"")).ok()?;
            Some((name, Page { kind, bytes, tag }))
        };
        Self(FILES.into_iter().filter_map(page).collect())
    }

    /// What is at a path below `/console`.
    pub(super) fn at(&self, path: &str, asked: &HeaderMap) -> Response<Body> {
        let path = path.trim_matches('/');
        let name = match path.strip_prefix("assets/") {
            Some(name) => name,
            None if path.is_empty() || VIEWS.contains(&path) || is_order(path) => "index.html",
            None => "",
        };
        let Some(page) = self.0.get(name) else {
            let mut response = Response::new(Body::from("there is no such page\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let is_known = asked
            .get(header::IF_NONE_MATCH)
            .is_some_and(|known| known == page.tag);
        let mut response = match is_known {
            true => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            false => Response::new(Body::from(page.bytes)),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.kind));
        // Kept, and asked for each time: a new version must not work with an old one's parts.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::ETAG, page.tag.clone());
        response
    }
}

fn is_order(path: &str) -> bool {
    path.strip_prefix("orders/")
        .is_some_and(|id| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Puts the headers of all answers on one. What is not a page is kept nowhere.
pub(super) fn harden(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

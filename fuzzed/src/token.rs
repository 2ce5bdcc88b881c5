//! Tokens of pages, names and etags: what a client gives back, or makes up.

use docket_proto::api::{
    names::{etag, parse_customer_name, parse_etag, parse_item_name, parse_order_name},
    page_token::{page_token, parse_page_token},
};

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((query, text)) = crate::input::<(&str, &str)>(bytes) else {
        return;
    };
    if let Some(last) = parse_page_token(query, text) {
        assert_eq!(
            parse_page_token(query, &page_token(query, &last)).as_deref(),
            Some(&*last)
        );
    }
    // What was given out is taken back, of the same query alone.
    let short: String = text.chars().take(16).collect();
    let given = page_token(query, &short);
    assert_eq!(parse_page_token(query, &given).as_deref(), Some(&*short));
    assert_eq!(parse_page_token(&format!("{query}!"), &given), None);
    if let Some(number) = parse_etag(text) {
        assert_eq!(parse_etag(&etag(number)), Some(number));
    }
    let _ = parse_order_name(text);
    let _ = parse_customer_name(text);
    let _ = parse_item_name(text);
}

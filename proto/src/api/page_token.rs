//! Page tokens: where a list goes on.
//!
//! A token is opaque to clients, says which format it has, belongs to one query, and carries a checksum, so that a
//! damaged or an invented one is told apart from a real one. It is no secret and gives no rights: who may see what is
//! decided anew for every page.
//!
//! ```text
//!   base64url( format: 1 byte | hash of the query: 8 bytes | last: 1 to 4,288 bytes | checksum of what is before: 8 bytes )
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use docket_engine::id::{ID_BYTES_MAX, ORDER_ID_CHARS};

const FORMAT: u8 = 1;
pub(super) const HASH_BYTES: usize = 8;
/// The most shards that a list has left out so far.
pub const LEFT_OUT_MAX: usize = 128;
/// Where a list goes on that has left a shard out: a comma, up to five digits, a colon, an order's id.
const LEFT_OUT_BYTES: usize = 1 + 5 + 1 + ORDER_ID_CHARS;
const LAST_BYTES_MAX: usize = ID_BYTES_MAX + LEFT_OUT_MAX * LEFT_OUT_BYTES;
const TOKEN_BYTES_MAX: usize = 1 + HASH_BYTES + LAST_BYTES_MAX + HASH_BYTES;
/// Base 64 makes four characters of three bytes.
const TOKEN_CHARS_MAX: usize = TOKEN_BYTES_MAX.div_ceil(3) * 4;

/// The token with which the list that `query` describes goes on behind `last`.
pub fn page_token(query: &str, last: &str) -> String {
    let mut token = Vec::with_capacity(TOKEN_BYTES_MAX);
    token.push(FORMAT);
    token.extend(fnv1a(query.as_bytes()));
    token.extend(last.as_bytes());
    token.extend(fnv1a(&token));
    URL_SAFE_NO_PAD.encode(token)
}

/// Where the page before ended; `None` where the token is none of ours, damaged, or that of another query.
pub fn parse_page_token(query: &str, token: &str) -> Option<String> {
    if token.len() > TOKEN_CHARS_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (body, checksum) = bytes.split_last_chunk::<HASH_BYTES>()?;
    let (head, rest) = body.split_first()?;
    let (of_query, last) = rest.split_first_chunk::<HASH_BYTES>()?;
    let real = *checksum == fnv1a(body) && *head == FORMAT && *of_query == fnv1a(query.as_bytes());
    real.then(|| String::from_utf8(last.to_vec()).ok()).flatten()
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo): stable across versions and nodes, and different for texts that differ in one
/// byte, which is all that is asked of it.
pub(super) fn fnv1a(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_its_end_to_the_same_query_only() {
        let last = "a".repeat(ID_BYTES_MAX);
        let token = page_token("orders?ada&", &last);
        assert_eq!(parse_page_token("orders?ada&", &token), Some(last));
        assert_eq!(parse_page_token("orders?bob&", &token), None);
        assert!(token.len() <= TOKEN_CHARS_MAX);
    }

    #[test]
    fn no_token_with_a_changed_bit_is_taken() {
        let bytes = URL_SAFE_NO_PAD.decode(page_token("items", "nut-1")).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                parse_page_token("items", &URL_SAFE_NO_PAD.encode(changed)),
                None,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_not_taken() {
        let huge = "A".repeat(1 << 20);
        for text in [
            "x",
            "====",
            "AAAA",
            "💥",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "nut-1",
            &huge,
        ] {
            assert_eq!(parse_page_token("items", text), None);
        }
    }

    #[test]
    fn tokens_of_a_format_to_come_are_not_taken() {
        let mut bytes = URL_SAFE_NO_PAD.decode(page_token("items", "nut-1")).unwrap();
        bytes.truncate(bytes.len() - HASH_BYTES);
        bytes[0] = FORMAT + 1;
        bytes.extend(fnv1a(&bytes));
        assert_eq!(parse_page_token("items", &URL_SAFE_NO_PAD.encode(bytes)), None);
    }
}

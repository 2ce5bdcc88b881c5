//! Requests of `WatchOrders`, and the tokens that resume it.
//!
//! A token is opaque to clients, says which format it has, belongs to one cluster and one filter, and carries a checksum.
//! It is no secret and gives no rights: who may see what is decided anew when a watch is resumed. It has a position for
//! every shard that the filter concerns: one where a customer is named, else all. So it has 17 bytes and 4 to 6 for each shard; at
//! 1,024 shards that is 6 to 8 KiB, which is why changes that come together share one.
//!
//! ```text
//!   base64url( format: 1 byte | hash of cluster and filter: 8 bytes | position … | checksum of what is before: 8 bytes )
//!   position = index of a log entry: varint | number of the change in it: varint
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use docket_engine::{ChangeKind, CustomerId, OrderState, Time};

use super::{
    check::{Check, Checked},
    listing::states,
    names::parse_customer_name,
    page_token::{HASH_BYTES, fnv1a},
    show::{order_to_proto, timestamp},
};
use crate::{
    feed::{FeedFrom, FeedPosition},
    v1,
};

const FORMAT: u8 = 1;
/// The longest varint of 64 bits and the longest of 32.
const POSITION_BYTES_MAX: usize = 10 + 5;

/// What tokens must agree on beside the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedOf {
    /// The cluster's id.
    pub cluster: String,
    /// How many shards it has.
    pub shards: usize,
}

/// A `WatchOrdersRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOrders {
    /// Only this customer's.
    pub customer: Option<CustomerId>,
    /// Only changes that leave an order in one of these states, each once and in order; any when empty.
    pub states: Vec<OrderState>,
    /// Where each of the shards begins: one where a customer is named, else all in their order.
    pub from: Vec<FeedFrom>,
}

/// Takes a `WatchOrdersRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn watch_orders(request: &v1::WatchOrdersRequest, of: &FeedOf) -> Checked<WatchOrders> {
    let mut check = Check::default();
    let customer = check.optional_name("customer", &request.customer, parse_customer_name);
    let states = states(&mut check, &request.states);
    let start = match v1::watch_orders_request::Start::try_from(request.start) {
        Ok(v1::watch_orders_request::Start::Oldest) => Some(FeedFrom::Oldest),
        Ok(_) => Some(FeedFrom::Now),
        Err(_) => {
            check.violation("start", "must be NOW or OLDEST");
            None
        }
    };
    let watch = || {
        let customer = customer?;
        let shards = if customer.is_some() { 1 } else { of.shards };
        Some(WatchOrders {
            customer,
            states: states?,
            from: vec![start?; shards],
        })
    };
    let watch = watch().and_then(|mut watch| {
        if request.resume_token.is_empty() {
            return Some(watch);
        }
        let Some(positions) = parse(&watch.token_query(of), &request.resume_token, watch.from.len()) else {
            check.violation(
                "resume_token",
                "must be the resume_token of a watch of this cluster with the same customer and states",
            );
            return None;
        };
        watch.from = positions.into_iter().map(FeedFrom::At).collect();
        Some(watch)
    });
    check.done(watch)
}

impl WatchOrders {
    /// What makes this watch's tokens.
    pub fn tokens(&self, of: &FeedOf) -> FeedTokens {
        let mut head = vec![FORMAT];
        head.extend(fnv1a(self.token_query(of).as_bytes()));
        FeedTokens { head }
    }

    fn token_query(&self, of: &FeedOf) -> String {
        let customer = self.customer.as_ref().map_or("", |customer| customer.as_str());
        let mut states: Vec<String> = self.states.iter().map(ToString::to_string).collect();
        // Two of them have one name.
        states.dedup();
        format!(
            "feed?{}&{}&{customer}&{}",
            of.cluster,
            of.shards,
            states.join(",")
        )
    }
}

/// Makes the tokens of one watch.
#[derive(Debug, Clone)]
pub struct FeedTokens {
    /// All that they have in common.
    head: Vec<u8>,
}

impl FeedTokens {
    /// The token that resumes the watch at these positions.
    pub fn token(&self, positions: impl ExactSizeIterator<Item = FeedPosition>) -> String {
        let mut token = Vec::with_capacity(self.head.len() + positions.len() * 6 + HASH_BYTES);
        token.extend(&self.head);
        for FeedPosition { index, ordinal } in positions {
            put_varint(&mut token, index);
            put_varint(&mut token, ordinal.into());
        }
        token.extend(fnv1a(&token));
        URL_SAFE_NO_PAD.encode(token)
    }
}

/// The positions of a token; `None` where it is none of ours, damaged, or of another watch.
fn parse(query: &str, token: &str, shards: usize) -> Option<Vec<FeedPosition>> {
    let bytes_max = 1 + HASH_BYTES + shards * POSITION_BYTES_MAX + HASH_BYTES;
    if token.len() > bytes_max.div_ceil(3) * 4 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (body, checksum) = bytes.split_last_chunk::<HASH_BYTES>()?;
    let (head, rest) = body.split_first()?;
    let (of_query, mut rest) = rest.split_first_chunk::<HASH_BYTES>()?;
    if *checksum != fnv1a(body) || *head != FORMAT || *of_query != fnv1a(query.as_bytes()) {
        return None;
    }
    let mut positions = Vec::with_capacity(shards);
    while !rest.is_empty() {
        positions.push(FeedPosition {
            index: take_varint(&mut rest)?,
            ordinal: u32::try_from(take_varint(&mut rest)?).ok()?,
        });
    }
    (positions.len() == shards).then_some(positions)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A change as the API shows it, with its order as it was after it.
pub fn change_to_proto(kind: ChangeKind, at: Time, order: &docket_engine::Order) -> v1::OrderChange {
    v1::OrderChange {
        kind: kind_to_proto(kind).into(),
        order: Some(order_to_proto(order)),
        change_time: Some(timestamp(at)),
    }
}

/// A kind of change as the API shows it.
pub fn kind_to_proto(kind: ChangeKind) -> v1::order_change::Kind {
    match kind {
        ChangeKind::Placed => v1::order_change::Kind::Placed,
        ChangeKind::Confirmed => v1::order_change::Kind::Confirmed,
        ChangeKind::Rejected => v1::order_change::Kind::Rejected,
        ChangeKind::Cancelled => v1::order_change::Kind::Cancelled,
        ChangeKind::Released => v1::order_change::Kind::Released,
        ChangeKind::Held => v1::order_change::Kind::Held,
        ChangeKind::HoldReleased => v1::order_change::Kind::HoldReleased,
        ChangeKind::Shipped => v1::order_change::Kind::Shipped,
        ChangeKind::Delivered => v1::order_change::Kind::Delivered,
        ChangeKind::LinesCancelled => v1::order_change::Kind::LinesCancelled,
        ChangeKind::Consumed => v1::order_change::Kind::Consumed,
        ChangeKind::ReturnRequested => v1::order_change::Kind::ReturnRequested,
        ChangeKind::ReturnApproved => v1::order_change::Kind::ReturnApproved,
        ChangeKind::ReturnDeclined => v1::order_change::Kind::ReturnDeclined,
        ChangeKind::ReturnReceived => v1::order_change::Kind::ReturnReceived,
        ChangeKind::ReturnClosed => v1::order_change::Kind::ReturnClosed,
        ChangeKind::Restocked => v1::order_change::Kind::Restocked,
        ChangeKind::Refunded => v1::order_change::Kind::Refunded,
        ChangeKind::Reserved => v1::order_change::Kind::Reserved,
        ChangeKind::Expired => v1::order_change::Kind::Expired,
        ChangeKind::Closed => v1::order_change::Kind::Closed,
        ChangeKind::PaymentDone => v1::order_change::Kind::PaymentDone,
        ChangeKind::PaymentDeclined => v1::order_change::Kind::PaymentDeclined,
        ChangeKind::PaymentRetried => v1::order_change::Kind::PaymentRetried,
        ChangeKind::EditBegun => v1::order_change::Kind::EditBegun,
        ChangeKind::EditReserved => v1::order_change::Kind::EditReserved,
        ChangeKind::Edited => v1::order_change::Kind::Edited,
        ChangeKind::EditRefused => v1::order_change::Kind::EditRefused,
        ChangeKind::FulfilmentOpened => v1::order_change::Kind::FulfilmentOpened,
        ChangeKind::FulfilmentCancelled => v1::order_change::Kind::FulfilmentCancelled,
        ChangeKind::Backordered => v1::order_change::Kind::Backordered,
        ChangeKind::BackorderFilled => v1::order_change::Kind::BackorderFilled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of() -> FeedOf {
        FeedOf {
            cluster: "c1".into(),
            shards: 3,
        }
    }

    fn request(customer: &str, token: &str) -> v1::WatchOrdersRequest {
        v1::WatchOrdersRequest {
            customer: customer.into(),
            resume_token: token.into(),
            ..v1::WatchOrdersRequest::default()
        }
    }

    fn at(index: u64, ordinal: u32) -> FeedPosition {
        FeedPosition { index, ordinal }
    }

    fn token(customer: &str, of: &FeedOf, positions: &[FeedPosition]) -> String {
        let watch = watch_orders(&request(customer, ""), of).unwrap();
        watch.tokens(of).token(positions.iter().copied())
    }

    #[track_caller]
    fn refused(customer: &str, token: &str) {
        let violations = watch_orders(&request(customer, token), &of()).unwrap_err();
        let fields: Vec<&str> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(fields, ["resume_token"], "{token:?}");
    }

    #[test]
    fn a_token_gives_its_positions_back_to_the_same_watch_only() {
        let positions = [at(0, 0), at(u64::MAX, u32::MAX), at(127, 128)];
        let all = token("", &of(), &positions);
        let resumed = watch_orders(&request("", &all), &of()).unwrap();
        assert_eq!(resumed.from, positions.map(FeedFrom::At));
        refused("customers/ada", &all);
        let ada = token("customers/ada", &of(), &[at(7, 1)]);
        let resumed = watch_orders(&request("customers/ada", &ada), &of()).unwrap();
        assert_eq!(resumed.from, [FeedFrom::At(at(7, 1))]);
        refused("customers/bob", &ada);
        refused("", &ada);
        let other = FeedOf {
            cluster: "c2".into(),
            ..of()
        };
        refused("", &token("", &other, &positions));
        let mut states = request("", &all);
        states.states = vec![1];
        assert!(watch_orders(&states, &of()).is_err());
    }

    #[test]
    fn no_token_that_is_changed_cut_or_invented_is_taken() {
        let all = token("", &of(), &[at(5, 0), at(1 << 40, 9), at(300, 2)]);
        let bytes = URL_SAFE_NO_PAD.decode(&all).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            refused("", &URL_SAFE_NO_PAD.encode(changed));
        }
        for end in 1..bytes.len() {
            refused("", &URL_SAFE_NO_PAD.encode(&bytes[..end]));
        }
        refused("", &"A".repeat(1 << 20));
        refused("", "💥");
        // Positions too many and too few, and numbers that are too long, with the right hash and checksum.
        refused("", &token("", &of(), &[at(5, 0); 2]));
        refused("", &token("", &of(), &[at(5, 0); 4]));
        for rest in [&[0xff; 11][..], &[0x80], &[5, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            let mut forged = bytes[..1 + HASH_BYTES].to_vec();
            forged.extend(rest);
            forged.extend(fnv1a(&forged));
            refused("", &URL_SAFE_NO_PAD.encode(forged));
        }
    }

    #[test]
    fn a_token_of_a_thousand_shards_has_a_few_kilobytes() {
        let of = FeedOf {
            cluster: "c1".into(),
            shards: 1_024,
        };
        let token = token("", &of, &[at(1 << 34, 200); 1_024]);
        assert!(token.len() < 10 * 1_024, "{}", token.len());
        assert!(watch_orders(&request("", &token), &of).is_ok());
    }
}

//! Names and fingerprints of client requests: XXH3, stable on disk.
//!
//! A request id counts within the entity that it is about. Its key is the 128-bit hash of (kind of entity, entity's id,
//! request id); its fingerprint the 64-bit hash of (method, content). Both are in the log, so their input never changes.

use docket_engine::{
    Amount, Currency, CustomerId, Line, LineQuantity, OrderId, Quantity, Request, Sku, Version,
    webhook::WebhookId,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// A request's content, field by field, to be hashed at once: the state of a hash that is fed piece by piece is larger than what most
/// requests have in them. Lengths go in before texts, so that no two contents run together.
pub(crate) struct Content(Vec<u8>);

/// Room for an order of two lines.
const CONTENT_BYTES: usize = 128;

impl Content {
    /// Begins with the method's name.
    pub(crate) fn of(method: &str) -> Self {
        Self(Vec::with_capacity(CONTENT_BYTES)).text(method)
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds a number.
    pub(crate) fn number(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn optional<T>(mut self, value: Option<T>, put: impl FnOnce(Self, T) -> Self) -> Self {
        self.0.push(u8::from(value.is_some()));
        match value {
            Some(value) => put(self, value),
            None => self,
        }
    }

    /// Adds an order's content.
    pub(crate) fn order(self, currency: Currency, lines: &[Line]) -> Self {
        let head = self.text(currency.as_str()).number(lines.len() as i64);
        lines.iter().fold(head, |content, line| {
            content
                .text(line.sku.as_str())
                .number(line.quantity.0)
                .number(line.unit_price.0)
        })
    }

    /// Adds how much of which lines.
    pub(crate) fn line_quantities(self, lines: &[LineQuantity]) -> Self {
        let count = self.number(lines.len() as i64);
        lines.iter().fold(count, |content, of_line| {
            content.number(of_line.line.into()).number(of_line.quantity.0)
        })
    }

    /// Adds an optional name.
    pub(crate) fn name(self, name: Option<&str>) -> Self {
        self.optional(name, Self::text)
    }

    /// Adds a currency.
    pub(crate) fn currency(self, currency: Currency) -> Self {
        self.text(currency.as_str())
    }

    /// Adds an optional amount.
    pub(crate) fn amount(self, amount: Option<Amount>) -> Self {
        self.optional(amount, |content, amount| content.number(amount.0))
    }

    /// Adds a quantity.
    pub(crate) fn quantity(self, quantity: Quantity) -> Self {
        self.number(quantity.0)
    }

    /// Adds an optional revision.
    pub(crate) fn revision(self, revision: Option<u64>) -> Self {
        self.optional(revision, |content, revision| content.number(revision as i64))
    }

    /// Adds an optional version.
    pub(crate) fn version(self, version: Option<Version>) -> Self {
        self.revision(version.map(|v| v.0))
    }

    fn request(self, key: u128) -> Request {
        Request {
            key,
            fingerprint: xxh3_64(&self.0),
        }
    }

    /// The request with this id about a customer (its orders' placing among it).
    pub(crate) fn about_customer(self, customer: &CustomerId, request_id: &str) -> Request {
        self.request(key(b'c', customer.as_str().as_bytes(), request_id))
    }

    /// The request with this id about an item.
    pub(crate) fn about_item(self, sku: &Sku, request_id: &str) -> Request {
        self.request(key(b'i', sku.as_str().as_bytes(), request_id))
    }

    /// The request with this id about an order.
    pub(crate) fn about_order(self, order: OrderId, request_id: &str) -> Request {
        self.request(key(b'o', &order.0.to_le_bytes(), request_id))
    }

    /// The request with this id about a webhook.
    pub(crate) fn about_webhook(self, webhook: WebhookId, request_id: &str) -> Request {
        self.request(key(b'w', &webhook.0, request_id))
    }
}

fn key(kind: u8, entity: &[u8], request_id: &str) -> u128 {
    let mut bytes = [0u8; 2 + 64 + 64];
    if entity.len() + request_id.len() + 2 > bytes.len() {
        return xxh3_128(&[&[kind, entity.len() as u8], entity, request_id.as_bytes()].concat());
    }
    bytes[0] = kind;
    bytes[1] = entity.len() as u8;
    bytes[2..2 + entity.len()].copy_from_slice(entity);
    let end = 2 + entity.len() + request_id.len();
    bytes[2 + entity.len()..end].copy_from_slice(request_id.as_bytes());
    xxh3_128(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_fingerprints_never_change() {
        let customer = CustomerId::new("alice").unwrap();
        let line = Line {
            sku: Sku::new("tea").unwrap(),
            quantity: Quantity(2),
            unit_price: Amount(350),
        };
        let request = Content::of("PlaceOrder")
            .order("EUR".parse().unwrap(), &[line])
            .about_customer(&customer, "r-1");
        // On disk in every journal: a new value here is a broken promise.
        assert_eq!(
            format!("{:032x} {:016x}", { request.key }, { request.fingerprint }),
            GOLDEN
        );
    }

    const GOLDEN: &str = "6678d572484b06b33bc8fdbe78eafda7 56a86af77a965870";

    #[test]
    fn contents_that_differ_have_other_fingerprints() {
        let order = OrderId(7);
        let with = |version| {
            Content::of("CancelOrder")
                .version(version)
                .about_order(order, "r")
                .fingerprint
        };
        assert_ne!(with(None), with(Some(Version(0))));
        assert_ne!(with(Some(Version(1))), with(Some(Version(2))));
    }
}

//! Resource names and etags.

use docket_engine::{CustomerId, IdError, OrderId, Sku};

use crate::parts::{Intern, NoIntern};

/// Why a text is not the name of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("is required, in the form {0}")]
    Empty(&'static str),
    /// Another collection, or none.
    #[error("must have the form {0}")]
    Form(&'static str),
    /// The right collection, but no id in it.
    #[error("must have the form {0}; the part behind the slash {1}")]
    Id(&'static str, IdError),
}

const CUSTOMER: &str = "customers/{customer}";
const ITEM: &str = "items/{sku}";
const ORDER: &str = "orders/{order}";

/// `customers/{id}`.
pub fn customer_name(id: &CustomerId) -> String {
    ["customers/", id.as_str()].concat()
}

/// `items/{sku}`.
pub fn item_name(sku: &Sku) -> String {
    ["items/", sku.as_str()].concat()
}

/// `orders/{id}`.
pub fn order_name(id: OrderId) -> String {
    let chars = id.chars();
    ["orders/", std::str::from_utf8(&chars).unwrap_or_default()].concat()
}

/// `shards/{number}`.
pub fn shard_name(number: u16) -> String {
    format!("shards/{number}")
}

/// The id in `customers/{id}`.
///
/// # Errors
/// Where the text has another form.
pub fn parse_customer_name(name: &str) -> Result<CustomerId, NameError> {
    customer_in(name, &NoIntern)
}

/// The sku in `items/{sku}`.
///
/// # Errors
/// Where the text has another form.
pub fn parse_item_name(name: &str) -> Result<Sku, NameError> {
    item_in(name, &NoIntern)
}

/// As [`parse_customer_name`], with an id that `ids` makes.
pub(crate) fn customer_in(name: &str, ids: &dyn Intern) -> Result<CustomerId, NameError> {
    let id = ids.customer(id_in(name, "customers/", CUSTOMER)?);
    id.map_err(|e| NameError::Id(CUSTOMER, e))
}

/// As [`parse_item_name`], with a sku that `ids` makes.
pub(crate) fn item_in(name: &str, ids: &dyn Intern) -> Result<Sku, NameError> {
    let sku = ids.sku(id_in(name, "items/", ITEM)?);
    sku.map_err(|e| NameError::Id(ITEM, e))
}

/// The id in `orders/{id}`.
///
/// # Errors
/// Where the text has another form.
pub fn parse_order_name(name: &str) -> Result<OrderId, NameError> {
    id_in(name, "orders/", ORDER)?
        .parse()
        .map_err(|e| NameError::Id(ORDER, e))
}

fn id_in<'a>(name: &'a str, collection: &str, form: &'static str) -> Result<&'a str, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty(form));
    }
    name.strip_prefix(collection).ok_or(NameError::Form(form))
}

/// What a reply shows of a version (of an order) or a revision (of a customer or an item).
pub fn etag(number: u64) -> String {
    // Nearly all orders that are shown are new, or have been confirmed.
    match number {
        1 => "v1".to_owned(),
        2 => "v2".to_owned(),
        _ => format!("v{number}"),
    }
}

/// The number in an etag; `None` where it is none of ours. Only the text that [`etag`] writes will do: etags are compared,
/// not interpreted.
pub fn parse_etag(text: &str) -> Option<u64> {
    let number: u64 = text.strip_prefix('v')?.parse().ok()?;
    (etag(number) == text).then_some(number)
}

/// What a request with this etag expects: nothing when it is empty. An etag that is none of ours is an old one, so it
/// becomes 0, which no entity has.
pub(crate) fn expected(text: &str) -> Option<u64> {
    (!text.is_empty()).then(|| parse_etag(text).unwrap_or(0))
}

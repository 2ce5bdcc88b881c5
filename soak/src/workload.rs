//! What is asked: the shop, and the row of operations that a seed repeats.
//!
//! Every operation has a number, and everything about it follows from the seed and that number. So an order that was
//! acknowledged under number n need not be remembered: whoever checks the books draws it again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use docket_proto::v1::{Customer, Item, OrderLine, PlaceOrderRequest};

use prost::encoding::{self, WireType};

use crate::{Error, chance::Chance, zipf::Zipf};

/// Every amount is in this currency.
pub const CURRENCY: &str = "EUR";
/// What a customer may owe: more than any run can order.
pub const CREDIT_LIMIT: i64 = 1 << 60;
/// How many there are of an item: more than any run can order.
pub const ON_HAND: i64 = 1 << 60;

/// Lines of one order, as the contract allows.
const LINES_MAX: u32 = 100;
/// Pieces of one line.
const QUANTITY_MAX: u64 = 3;
/// The cheapest item's price, in minor units, and how many prices there are above it.
const PRICES: (i64, i64) = (100, 900);
/// So many items' names are written once, since a load generator that shares the cores must be cheap.
const KNOWN_NAMES_MAX: u64 = 100_000;
/// What a request takes as it is sent, about, and each of its lines.
const WRITTEN_ORDER_BYTES: usize = 96;
const WRITTEN_LINE_BYTES: usize = 32;
/// Hexadecimal digits of an operation's number in a request id.
const NUMBER_DIGITS: usize = 12;

/// The shape of the load.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Customers who order.
    pub customers: u64,
    /// Items that are ordered.
    pub items: u64,
    /// Lines of each order, every one of another item.
    pub lines: u32,
    /// The Zipf exponent of customers and items: 0 is uniform, 1 makes the first of a thousand a seventh of all.
    pub skew: f64,
    /// Which share of the operations reads an order instead of placing one, 0 to 1.
    pub read_share: f64,
    /// Repeats the load.
    pub seed: u64,
    /// Begins every id, so that runs on one server do not meet; empty for a server of one's own.
    pub prefix: String,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            customers: 1_000,
            items: 1_000,
            lines: 2,
            skew: 0.0,
            read_share: 0.0,
            seed: 1,
            prefix: String::new(),
        }
    }
}

/// The operations of one run: drawn by number, handed out once.
#[derive(Debug)]
pub struct Workload {
    shape: Shape,
    /// Of the first items.
    item_names: Vec<String>,
    customers: Zipf,
    items: Zipf,
    request_ids: String,
    next: AtomicU64,
}

/// One order as drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basket {
    /// Who orders.
    pub customer: u64,
    /// Which item, and how many.
    pub lines: Vec<(u64, i64)>,
}

impl Basket {
    /// What it costs.
    pub fn total(&self) -> i64 {
        self.lines
            .iter()
            .map(|(item, quantity)| price(*item) * quantity)
            .sum()
    }
}

fn item_name(prefix: &str, item: u64) -> String {
    format!("items/{prefix}i{item}")
}

/// The price of an item, in minor units.
pub fn price(item: u64) -> i64 {
    PRICES.0 + (item.wrapping_mul(31) % PRICES.1 as u64) as i64
}

impl Workload {
    /// The operations of `shape`.
    ///
    /// # Errors
    /// A shape that cannot be drawn.
    pub fn new(shape: Shape) -> Result<Self, Error> {
        let refuse = |why: String| Err(Error::Shape(why));
        if shape.customers == 0 || shape.items == 0 {
            return refuse("at least one customer and one item are needed".into());
        }
        if shape.lines == 0 || shape.lines > LINES_MAX {
            return refuse(format!("an order has 1 to {LINES_MAX} lines"));
        }
        if u64::from(shape.lines) > shape.items {
            return refuse(format!(
                "{} lines need as many items, there are {}",
                shape.lines, shape.items
            ));
        }
        if !(0.0..=10.0).contains(&shape.skew) {
            return refuse("the skew must be from 0 to 10".into());
        }
        if !(0.0..=1.0).contains(&shape.read_share) {
            return refuse("the share of reads must be from 0 to 1".into());
        }
        // The form of a UUID: what clients send.
        let named = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        let run = Chance::new(shape.seed, shape.prefix.bytes().fold(0, named)).draw();
        let request_ids = format!("{:08x}-{:04x}-4000-8000-", run >> 32, run & 0xffff);
        let item_names = (0..shape.items.min(KNOWN_NAMES_MAX))
            .map(|item| item_name(&shape.prefix, item))
            .collect();
        Ok(Self {
            item_names,
            customers: Zipf::new(shape.customers, shape.skew),
            items: Zipf::new(shape.items, shape.skew),
            request_ids,
            next: AtomicU64::new(0),
            shape,
        })
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of the next operation; nobody else gets it.
    pub fn take(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// Whether operation `n` reads.
    pub fn is_read(&self, n: u64) -> bool {
        self.shape.read_share > 0.0 && Chance::new(!self.shape.seed, n).unit() < self.shape.read_share
    }

    /// The order of operation `n`.
    pub fn basket(&self, n: u64) -> Basket {
        let mut chance = Chance::new(self.shape.seed, n);
        let customer = self.customers.draw(&mut chance);
        let mut lines: Vec<(u64, i64)> = Vec::with_capacity(self.shape.lines as usize);
        while lines.len() < self.shape.lines as usize {
            let mut item = self.items.draw(&mut chance);
            while lines.iter().any(|(other, _)| *other == item) {
                item = (item + 1) % self.shape.items;
            }
            lines.push((item, 1 + chance.below(QUANTITY_MAX) as i64));
        }
        Basket { customer, lines }
    }

    /// The request of operation `n`, and what it will cost.
    pub fn order(&self, n: u64) -> (PlaceOrderRequest, i64) {
        let basket = self.basket(n);
        let line = |(item, quantity): &(u64, i64)| OrderLine {
            item: self.item_name(*item),
            quantity: *quantity,
            unit_price: price(*item),
            ..OrderLine::default()
        };
        let request = PlaceOrderRequest {
            request_id: self.request_id(n),
            customer: self.customer_name(basket.customer),
            currency_code: CURRENCY.to_owned(),
            lines: basket.lines.iter().map(line).collect(),
            payment_method: String::new(),
        };
        (request, basket.total())
    }

    /// The request of operation `n` as it is sent, without the generated types: some microseconds less for a load generator that
    /// has to be far ahead of its server. And what it will cost.
    pub fn written_order(&self, n: u64) -> (Bytes, i64) {
        let basket = self.basket(n);
        let mut bytes =
            BytesMut::with_capacity(WRITTEN_ORDER_BYTES + basket.lines.len() * WRITTEN_LINE_BYTES);
        encoding::string::encode(1, &self.request_id(n), &mut bytes);
        encoding::string::encode(2, &self.customer_name(basket.customer), &mut bytes);
        encoding::bytes::encode(3, &Bytes::from_static(CURRENCY.as_bytes()), &mut bytes);
        let mut other;
        for (item, quantity) in &basket.lines {
            let known = usize::try_from(*item)
                .ok()
                .and_then(|item| self.item_names.get(item));
            let name = match known {
                Some(known) => known,
                None => {
                    other = item_name(&self.shape.prefix, *item);
                    &other
                }
            };
            let length = encoding::string::encoded_len(1, name)
                + encoding::int64::encoded_len(2, quantity)
                + encoding::int64::encoded_len(3, &price(*item));
            encoding::encode_key(4, WireType::LengthDelimited, &mut bytes);
            encoding::encode_varint(length as u64, &mut bytes);
            encoding::string::encode(1, name, &mut bytes);
            encoding::int64::encode(2, quantity, &mut bytes);
            encoding::int64::encode(3, &price(*item), &mut bytes);
        }
        (bytes.freeze(), basket.total())
    }

    /// The request id of operation `n`.
    pub fn request_id(&self, n: u64) -> String {
        format!("{}{n:0width$x}", self.request_ids, width = NUMBER_DIGITS)
    }

    /// Which operation a request id belongs to; none where it is not of this run.
    pub fn number_of(&self, request_id: &str) -> Option<u64> {
        u64::from_str_radix(request_id.strip_prefix(&self.request_ids)?, 16).ok()
    }

    /// The id of a customer.
    pub fn customer_id(&self, customer: u64) -> String {
        format!("{}c{customer}", self.shape.prefix)
    }

    /// The resource name of a customer.
    pub fn customer_name(&self, customer: u64) -> String {
        format!("customers/{}c{customer}", self.shape.prefix)
    }

    /// The sku of an item.
    pub fn sku(&self, item: u64) -> String {
        format!("{}i{item}", self.shape.prefix)
    }

    /// The resource name of an item.
    pub fn item_name(&self, item: u64) -> String {
        let known = usize::try_from(item)
            .ok()
            .and_then(|item| self.item_names.get(item));
        known.map_or_else(|| item_name(&self.shape.prefix, item), String::clone)
    }

    /// A customer as created.
    pub fn new_customer() -> Customer {
        Customer {
            currency_code: CURRENCY.to_owned(),
            credit_limit: CREDIT_LIMIT,
            ..Customer::default()
        }
    }

    /// An item as created.
    pub fn new_item(item: u64) -> Item {
        Item {
            currency_code: CURRENCY.to_owned(),
            unit_price: price(item),
            on_hand: ON_HAND,
            ..Item::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn workload(shape: Shape) -> Workload {
        Workload::new(shape).unwrap()
    }

    #[test]
    fn a_seed_and_a_number_repeat_the_order() {
        let (one, same, other) = (
            workload(Shape::default()),
            workload(Shape::default()),
            workload(Shape {
                seed: 2,
                ..Shape::default()
            }),
        );
        let drawn = |workload: &Workload| (0..100).map(|n| workload.order(n)).collect::<Vec<_>>();
        assert_eq!(drawn(&one), drawn(&same));
        assert_ne!(drawn(&one), drawn(&other));
        let (request, total) = one.order(5);
        assert_eq!(
            request
                .lines
                .iter()
                .map(|line| line.unit_price * line.quantity)
                .sum::<i64>(),
            total
        );
        assert_eq!(one.number_of(&request.request_id), Some(5));
        assert_eq!(other.number_of(&request.request_id), None);
    }

    #[test]
    fn a_written_order_is_the_order() {
        for shape in [
            Shape::default(),
            Shape {
                items: 2 * KNOWN_NAMES_MAX,
                lines: 100,
                prefix: "bench-12345678-".into(),
                ..Shape::default()
            },
        ] {
            let workload = workload(shape);
            for n in 0..50 {
                let ((written, total), (request, same)) = (workload.written_order(n), workload.order(n));
                assert_eq!(PlaceOrderRequest::decode(written).unwrap(), request);
                assert_eq!(total, same);
            }
        }
    }

    #[test]
    fn lines_are_of_different_items_even_where_all_are_taken() {
        let workload = workload(Shape {
            items: 7,
            lines: 7,
            skew: 2.0,
            ..Shape::default()
        });
        for n in 0..50 {
            let mut items: Vec<u64> = workload.basket(n).lines.iter().map(|(item, _)| *item).collect();
            items.sort_unstable();
            assert_eq!(items, (0..7).collect::<Vec<_>>());
        }
    }

    #[test]
    fn as_many_operations_read_as_asked() {
        let workload = workload(Shape {
            read_share: 0.25,
            ..Shape::default()
        });
        let reads = (0..10_000).filter(|n| workload.is_read(*n)).count();
        assert!((2_300..2_700).contains(&reads), "{reads}");
    }

    #[test]
    fn a_shape_that_cannot_be_drawn_is_refused() {
        for shape in [
            Shape {
                customers: 0,
                ..Shape::default()
            },
            Shape {
                items: 2,
                lines: 3,
                ..Shape::default()
            },
            Shape {
                lines: 0,
                ..Shape::default()
            },
            Shape {
                skew: f64::NAN,
                ..Shape::default()
            },
            Shape {
                read_share: 1.5,
                ..Shape::default()
            },
        ] {
            assert!(Workload::new(shape.clone()).is_err(), "{shape:?}");
        }
    }
}

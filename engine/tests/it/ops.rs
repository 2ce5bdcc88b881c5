//! What may happen, drawn at random: small worlds, so that things meet, and numbers with a liking for the edges.

use proptest::{collection::vec, option, prelude::*, sample::Index};

/// Which etag comes with a request.
#[derive(Debug, Clone, Copy)]
pub enum Etag {
    None,
    Current,
    Stale,
}

/// Which price a line offers.
#[derive(Debug, Clone, Copy)]
pub enum Price {
    Current,
    Other(i64),
}

/// One line of an order: an item by its number, how many, at which price.
pub type OrderedLine = (usize, i64, Price);

#[derive(Debug, Clone)]
pub enum Op {
    CreateCustomer {
        customer: usize,
        name: usize,
        currency: usize,
        limit: i64,
    },
    UpdateCustomer {
        customer: usize,
        name: Option<usize>,
        limit: Option<i64>,
        etag: Etag,
    },
    Credit {
        customer: usize,
        amount: i64,
        etag: Etag,
    },
    CreateItem {
        item: usize,
        name: usize,
        currency: usize,
        price: i64,
        on_hand: i64,
    },
    UpdateItem {
        item: usize,
        name: Option<usize>,
        price: Option<i64>,
        etag: Etag,
    },
    Adjust {
        item: usize,
        delta: i64,
        etag: Etag,
    },
    Place {
        customer: usize,
        currency: usize,
        lines: Vec<OrderedLine>,
    },
    /// An order that exists is placed, or refused, again.
    PlaceAgain {
        order: Index,
        refuse: bool,
    },
    /// One of an order's open effects reaches its item: for the first time or again.
    Deliver {
        order: Index,
        effect: Index,
    },
    /// The order hears the answers that there are.
    Settle {
        order: Index,
    },
    Cancel {
        order: Index,
        etag: Etag,
    },
    /// The order hears that everything is released; early is nothing.
    Released {
        order: Index,
    },
    /// A crash: the answers that an order was given are lost, and its open effects start over.
    Forget {
        order: Index,
    },
    /// Everything that an order waits for happens.
    Finish {
        order: Index,
    },
}

pub const CUSTOMERS: usize = 3;
pub const ITEMS: usize = 4;

fn etag() -> impl Strategy<Value = Etag> {
    prop_oneof![6 => Just(Etag::None), 2 => Just(Etag::Current), 1 => Just(Etag::Stale)]
}

/// Mostly the first: those of the second currency are the odd ones out.
fn currency() -> impl Strategy<Value = usize> {
    prop_oneof![8 => Just(0), 1 => Just(1)]
}

/// 0 or more, of money.
fn money() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..100i64,
        4 => 1_000..1_000_000i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MAX - 1),
        1 => Just(0)
    ]
}

fn price() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..20i64, 1 => Just(i64::MAX), 1 => Just(i64::MAX / 1_000_000_000)]
}

/// Of stock.
fn stock() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..40i64, 2 => Just(3_000_000_000), 1 => Just(i64::MAX)]
}

/// Not 0.
fn change() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 1..50i64,
        4 => -50..0i64,
        2 => 1_000..1_000_000i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => Just(-i64::MAX)
    ]
}

fn line() -> impl Strategy<Value = OrderedLine> {
    let quantity = prop_oneof![12 => 1..6i64, 1 => Just(1_000_000_000)];
    let offer = prop_oneof![12 => Just(Price::Current), 1 => price().prop_map(Price::Other)];
    (0..ITEMS, quantity, offer)
}

fn op() -> impl Strategy<Value = Op> {
    let order = any::<Index>;
    let of_customer = 0..CUSTOMERS;
    let of_item = 0..ITEMS;
    let name = 0..3usize;
    prop_oneof![
        3 => (of_customer.clone(), name.clone(), currency(), money()).prop_map(
            |(customer, name, currency, limit)| Op::CreateCustomer { customer, name, currency, limit }),
        1 => (of_customer.clone(), option::of(name.clone()), option::of(money()), etag()).prop_map(
            |(customer, name, limit, etag)| Op::UpdateCustomer { customer, name, limit, etag }),
        3 => (of_customer.clone(), change(), etag()).prop_map(
            |(customer, amount, etag)| Op::Credit { customer, amount, etag }),
        4 => (of_item.clone(), name.clone(), currency(), price(), stock()).prop_map(
            |(item, name, currency, price, on_hand)| Op::CreateItem { item, name, currency, price, on_hand }),
        1 => (of_item.clone(), option::of(name), option::of(price()), etag()).prop_map(
            |(item, name, price, etag)| Op::UpdateItem { item, name, price, etag }),
        2 => (of_item, change(), etag()).prop_map(|(item, delta, etag)| Op::Adjust { item, delta, etag }),
        10 => (of_customer, currency(), vec(line(), 1..5)).prop_map(
            |(customer, currency, lines)| Op::Place { customer, currency, lines }),
        1 => (order(), any::<bool>()).prop_map(|(order, refuse)| Op::PlaceAgain { order, refuse }),
        14 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Deliver { order, effect }),
        8 => order().prop_map(|order| Op::Settle { order }),
        6 => (order(), etag()).prop_map(|(order, etag)| Op::Cancel { order, etag }),
        3 => order().prop_map(|order| Op::Released { order }),
        2 => order().prop_map(|order| Op::Forget { order }),
        6 => order().prop_map(|order| Op::Finish { order }),
    ]
}

/// A customer who can spend more than an amount can say, and does: seldom met by chance.
fn beyond_measure() -> Vec<Op> {
    let create = Op::CreateCustomer {
        customer: 0,
        name: 0,
        currency: 0,
        limit: i64::MAX,
    };
    let credit = Op::Credit {
        customer: 0,
        amount: i64::MAX,
        etag: Etag::None,
    };
    let place = Op::Place {
        customer: 0,
        currency: 0,
        lines: vec![(0, 1, Price::Other(i64::MAX))],
    };
    vec![create, credit, place]
}

/// A shop that works, so that orders get far.
fn everyday() -> Vec<Op> {
    let customers = (0..CUSTOMERS - 1).map(|customer| Op::CreateCustomer {
        customer,
        name: customer,
        currency: 0,
        limit: 10_000,
    });
    // The last item is left out, so that it is often unknown.
    let items = (0..ITEMS - 1).map(|item| Op::CreateItem {
        item,
        name: item,
        currency: 0,
        price: 5,
        on_hand: 30,
    });
    customers.chain(items).collect()
}

/// A history.
pub fn ops(length_max: usize) -> impl Strategy<Value = Vec<Op>> {
    let start = prop_oneof![4 => Just(Vec::new()), 4 => Just(everyday()), 2 => Just(beyond_measure())];
    (start, vec(op(), 1..length_max)).prop_map(|(start, then)| [start, then].concat())
}

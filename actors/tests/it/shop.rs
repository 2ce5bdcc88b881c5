//! A shop with one node: what the tests need to say what they mean.

use std::{path::Path, sync::Arc, time::Duration};

use docket_actors::{Call, CallError, Docket, NewCustomer, NewItem, Options, PlaceOrder};
use docket_engine::{
    Amount, CustomerId, Item, Line, LineQuantity, Order, Quantity, Rejection, Sku, access::Username,
};

pub(crate) struct Shop {
    pub(crate) docket: Docket,
}

impl Shop {
    pub(crate) async fn open(dir: &Path) -> Self {
        Self::open_with(Options::new(dir)).await
    }

    pub(crate) async fn open_with(options: Options) -> Self {
        let docket = Docket::open(options).await.unwrap();
        docket.ready().await;
        Self { docket }
    }

    pub(crate) async fn close(self) {
        self.docket.close(Duration::from_secs(5)).await.unwrap();
    }

    pub(crate) async fn customer(&self, id: &str, credit_limit: i64) {
        let new = NewCustomer {
            id: CustomerId::new(id).unwrap(),
            display_name: id.into(),
            currency: "EUR".parse().unwrap(),
            credit_limit: Amount(credit_limit),
        };
        self.docket.create_customer(Call::default(), new).await.unwrap();
    }

    pub(crate) async fn item(&self, sku: &str, unit_price: i64, on_hand: i64) {
        let new = NewItem {
            sku: Sku::new(sku).unwrap(),
            display_name: sku.into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(unit_price),
            on_hand: Quantity(on_hand),
        };
        self.docket.create_item(Call::default(), new).await.unwrap();
    }

    pub(crate) async fn place(
        &self,
        request_id: &str,
        customer: &str,
        lines: &[(&str, i64, i64)],
    ) -> Result<Arc<Order>, CallError> {
        let call = Call {
            request_id: Some(request_id.to_owned()),
            ..Call::default()
        };
        self.docket.place_order(call, order(customer, lines)).await
    }

    pub(crate) async fn stock(&self, sku: &str) -> (i64, i64) {
        let item: Arc<Item> = self
            .docket
            .get_item(Call::default(), Sku::new(sku).unwrap())
            .await
            .unwrap();
        (item.on_hand.0, item.reserved.0)
    }

    pub(crate) async fn held(&self, customer: &str) -> i64 {
        self.docket
            .get_customer(Call::default(), CustomerId::new(customer).unwrap())
            .await
            .unwrap()
            .held
            .0
    }
}

/// An order in EUR of lines (sku, quantity, unit price).
pub(crate) fn order(customer: &str, lines: &[(&str, i64, i64)]) -> PlaceOrder {
    let line = |(sku, quantity, unit_price): &(&str, i64, i64)| Line {
        sku: Sku::new(sku).unwrap(),
        quantity: Quantity(*quantity),
        unit_price: Amount(*unit_price),
    };
    PlaceOrder {
        customer: CustomerId::new(customer).unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: lines.iter().map(line).collect(),
        provider: None,
    }
}

#[track_caller]
pub(crate) fn reason(result: Result<Arc<Order>, CallError>) -> &'static str {
    match result.unwrap_err() {
        CallError::Rejected(rejection) => Rejection::reason(&rejection),
        other => panic!("not a rejection: {other}"),
    }
}

/// An account's name.
pub(crate) fn user(name: &str) -> Username {
    Username::new(name).unwrap()
}

/// A call with this request id.
pub(crate) fn request(id: &str) -> Call {
    Call {
        request_id: Some(id.to_owned()),
        ..Call::default()
    }
}

/// A node of few shards, which writes snapshots often.
pub(crate) fn small(dir: &Path) -> Options {
    let mut options = Options::new(dir);
    options.node.shards = Some(4);
    options.node.snapshot_bytes_min = 4_096;
    options
}

/// So many of these lines, from 0.
pub(crate) fn part(lines: &[(u16, i64)]) -> Box<[LineQuantity]> {
    let of_line = |(line, quantity): &(u16, i64)| LineQuantity {
        line: *line,
        quantity: Quantity(*quantity),
    };
    lines.iter().map(of_line).collect()
}

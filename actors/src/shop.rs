//! What tests inside this crate place orders with.

use docket_engine::{Amount, CustomerId, Line, Quantity, Sku};

use crate::{Call, Docket, NewCustomer, NewItem, Options, PlaceOrder};

/// A node, and an order that can be placed there: of a customer who can pay for everything, and of two of an item, which is of another shard
/// and has ten.
pub(crate) async fn shop(options: Options) -> (Docket, PlaceOrder) {
    let docket = Docket::open(options).await.unwrap();
    docket.ready().await;
    let (currency, customer) = ("EUR".parse().unwrap(), CustomerId::new("alice").unwrap());
    let router = &docket.inner.router;
    let home = router.of_key(customer.as_str()).id();
    let mut skus = (0..).map(|n| Sku::new(&format!("i{n}")).unwrap());
    let sku = skus.find(|sku| router.of_key(sku.as_str()).id() != home).unwrap();
    let alice = NewCustomer {
        id: customer.clone(),
        display_name: "Alice".into(),
        currency,
        credit_limit: Amount(1_000_000),
    };
    docket.create_customer(Call::default(), alice).await.unwrap();
    let item = NewItem {
        sku: sku.clone(),
        display_name: "An item".into(),
        currency,
        unit_price: Amount(1),
        on_hand: Quantity(10),
    };
    docket.create_item(Call::default(), item).await.unwrap();
    let line = Line {
        sku,
        quantity: Quantity(2),
        unit_price: Amount(1),
    };
    let place = PlaceOrder {
        customer,
        currency,
        lines: [line].into(),
        provider: None,
    };
    (docket, place)
}

//! Books that agree while they change, and faults of every kind that were planted in them.

mod payments;
mod planted;
mod scheduled;
mod serving;

use std::{sync::Arc, time::Duration};

use docket_engine::{CustomerId, HoldReason, LineQuantity, Order, OrderId, Quantity, Sku, access::Username};

use super::{DiscrepancyKind, VerifyPace, VerifyReport};
use crate::{Call, Docket, Options, PlaceOrder, Shipment, committed::Committed, shop::shop};

/// A node in whose books something of everything is, and nothing is half-way.
struct Shop {
    docket: Docket,
    place: PlaceOrder,
    /// Of two of an item, confirmed.
    order: OrderId,
    /// The same, and cancelled.
    cancelled: OrderId,
    _dir: tempfile::TempDir,
}

fn user() -> Username {
    Username::new("shop").unwrap()
}

fn part(quantity: i64) -> Box<[LineQuantity]> {
    let quantity = Quantity(quantity);
    Box::new([LineQuantity { line: 0, quantity }])
}

fn shipment(quantity: i64) -> Shipment {
    Shipment {
        lines: part(quantity),
        fulfilment: None,
        carrier: "post".into(),
        tracking: "1".into(),
    }
}

impl Shop {
    async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    async fn open_with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        change(&mut options);
        let (docket, place) = shop(options).await;
        let order = async || {
            docket
                .place_order(Call::default(), place.clone())
                .await
                .unwrap()
                .id
        };
        let (first, cancelled, shipped) = (order().await, order().await, order().await);
        let call = Call::default;
        docket.cancel_order(call(), cancelled, None).await.unwrap();
        let hold = (HoldReason::Address, "look".into());
        docket
            .hold_order(call(), shipped, hold, user(), None)
            .await
            .unwrap();
        let freed = docket.release_order_hold(call(), shipped, HoldReason::Address, user(), None);
        freed.await.unwrap();
        docket
            .ship_order(call(), shipped, shipment(1), user(), None)
            .await
            .unwrap();
        let called_off = docket.cancel_order_lines(call(), shipped, part(1), None);
        called_off.await.unwrap();
        docket
            .deliver_fulfilment(call(), shipped, 1, user(), None)
            .await
            .unwrap();
        let too_many = PlaceOrder {
            lines: Arc::new([docket_engine::Line {
                quantity: Quantity(1_000),
                ..place.lines[0].clone()
            }]),
            ..place.clone()
        };
        docket.place_order(call(), too_many).await.unwrap_err();
        let router = &docket.inner.router;
        let has_open = || {
            router
                .shards
                .iter()
                .any(|shard| shard.committed().order_index.read().open_len() > 0)
        };
        while has_open() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self {
            docket,
            place,
            order: first,
            cancelled,
            _dir: dir,
        }
    }

    fn customer(&self) -> &CustomerId {
        &self.place.customer
    }

    fn sku(&self) -> &Sku {
        &self.place.lines[0].sku
    }

    /// The shard of the customer and its orders.
    fn home(&self) -> &Committed {
        self.docket
            .inner
            .router
            .of_key(self.customer().as_str())
            .committed()
    }

    /// The shard of the item.
    fn stock(&self) -> &Committed {
        self.docket.inner.router.of_key(self.sku().as_str()).committed()
    }

    /// An id of an order of the same customer that there is not.
    fn other_id(&self) -> OrderId {
        OrderId(self.order.0 + 1)
    }

    fn get(&self) -> Order {
        Order::clone(&self.home().orders.get(self.order).unwrap())
    }

    fn change(&self, change: impl FnOnce(&mut Order)) {
        self.home()
            .orders
            .change(self.order, |order| change(Arc::make_mut(order)));
    }

    async fn verify(&self) -> Arc<VerifyReport> {
        self.docket.verify(SOON).await.unwrap()
    }

    async fn close(self) {
        self.docket.close(Duration::ZERO).await.unwrap();
    }
}

/// Nothing of what is planted is taken up by itself, so that nothing needs to be waited for.
const SOON: VerifyPace = VerifyPace {
    look_every: Duration::from_millis(20),
    grace: Duration::from_millis(200),
    give_up: Duration::from_secs(10),
};

fn kinds(report: &VerifyReport) -> Vec<DiscrepancyKind> {
    let mut kinds: Vec<_> = report.discrepancies.iter().map(|it| it.kind).collect();
    kinds.dedup();
    kinds
}

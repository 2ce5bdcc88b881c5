//! Many clients at the same time on few customers and items: no answer can be predicted, but the books can. Each client
//! knows what it was told; together that must add up to what there is, to the last revision.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use docket_engine::{Amount, CustomerId, HoldReason, Line, OrderId, Quantity, Sku};
use docket_persistence::mem::Seeded;
use docket_proto::v1;

use super::{
    books::check,
    cards::Payer,
    commands::{Ask, Command, Entity, Meant},
    send::Answer,
};
use crate::{
    api::Api,
    server::{Home, Server},
};

const CLIENTS: u64 = 12;
const COMMANDS_OF_A_CLIENT: u64 = 90;
/// So many of the newest orders are asked for something, so that clients meet.
const MEETING: usize = 20;
pub const CUSTOMERS: u64 = 3;
pub const ITEMS: u64 = 4;
const PRICE: i64 = 7;
pub const CREDIT_LIMIT: i64 = 3_000;
pub const ON_HAND: i64 = 240;

/// What may be refused to whom, when others act at the same time.
pub const REFUSALS: [(&str, &[&str]); 9] = [
    (
        "PlaceOrder",
        &["INSUFFICIENT_CREDIT", "INSUFFICIENT_STOCK", "PRICE_CHANGED"],
    ),
    ("CancelOrder", &["STALE_ETAG", "NOT_CANCELLABLE"]),
    (
        "CancelOrderLines",
        &["STALE_ETAG", "NOT_CANCELLABLE", "QUANTITY_NOT_OPEN"],
    ),
    (
        "ShipOrder",
        &["STALE_ETAG", "NOT_SHIPPABLE", "ORDER_HELD", "QUANTITY_NOT_OPEN"],
    ),
    ("DeliverFulfilment", &["STALE_ETAG", "FULFILMENT_NOT_FOUND"]),
    ("HoldOrder", &["STALE_ETAG", "NOT_HOLDABLE", "HOLD_EXISTS"]),
    (
        "ReleaseOrderHold",
        &["STALE_ETAG", "NOT_HOLDABLE", "HOLD_NOT_FOUND"],
    ),
    ("CreditAccount", &["STALE_ETAG", "BALANCE_HELD"]),
    ("AdjustStock", &["STALE_ETAG", "STOCK_RESERVED"]),
];

/// What the clients were told, counted.
pub struct Told(BTreeMap<String, usize>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CLIENTS} clients at the same time:")?;
        for (what, times) in &self.0 {
            write!(f, "\n{times:8}  {what}")?;
        }
        Ok(())
    }
}

pub async fn run(server: &Server, home: &Home, random: &mut Seeded) -> Told {
    let api = Api::admin(server, home).await;
    for n in 0..CUSTOMERS {
        api.customer(customer(n).as_str(), CREDIT_LIMIT).await;
    }
    for n in 0..ITEMS {
        api.item(sku(n).as_str(), PRICE, ON_HAND).await;
    }
    // Orders that anybody may cancel or ship, with the version at which they were seen.
    let placed = Arc::new(Mutex::new(Vec::new()));
    let mut working = Vec::new();
    for number in 0..CLIENTS {
        let api = Api::admin(server, home).await;
        let client = Client {
            name: format!("together{number}"),
            random: Seeded::new(random.draw()),
            placed: placed.clone(),
        };
        working.push(tokio::spawn(client.work(api)));
    }
    let mut told = Vec::new();
    for client in working {
        told.extend(client.await.unwrap());
    }
    server.settled().await;
    check(&api, &told).await;
    // What was recorded is answered alike, whatever has happened since; of an order that was there, with the order as it is now.
    let orders = api.all_orders().await.into_iter();
    let now: BTreeMap<_, _> = orders.map(|order| (order.name.clone(), order)).collect();
    let mut again = 0;
    for (command, answer) in &told {
        if is_recorded(command, answer) {
            let repeated = command.send(&api).await;
            let expected = match command.ask.entity() {
                Entity::Order(id) => Answer::Order(Box::new(now[&format!("orders/{id}")].clone())),
                Entity::Customer(_) | Entity::Item(_) => answer.clone(),
            };
            assert_eq!(
                repeated, expected,
                "{command:?} was answered with {answer:?} before"
            );
            again += 1;
        }
    }
    check(&api, &told).await;

    let mut counts = BTreeMap::new();
    for (command, answer) in &told {
        let how = match answer {
            Answer::Refused(refused) => &refused.reason,
            _ => "done",
        };
        *counts
            .entry(format!("{}: {how}", command.ask.method()))
            .or_default() += 1;
    }
    counts.insert("repeats, answered alike".into(), again);
    Told(counts)
}

struct Client {
    name: String,
    random: Seeded,
    placed: Arc<Mutex<Vec<(OrderId, u64)>>>,
}

impl Client {
    async fn work(mut self, api: Api) -> Vec<(Command, Answer)> {
        let mut told = Vec::new();
        for n in 0..COMMANDS_OF_A_CLIENT {
            let command = Command {
                request_id: format!("{}-{n}", self.name),
                ask: self.ask(&api).await,
                mishap: None,
            };
            let answer = match self.random.below(10) {
                // Twice at the same time is once.
                0 => {
                    let (one, other) = tokio::join!(command.send(&api), command.send(&api));
                    let recorded = [&one, &other].map(|answer| is_recorded(&command, answer));
                    // Of an order that was there, what others did in between may be seen.
                    if recorded == [true; 2] && !matches!(command.ask.entity(), Entity::Order(_)) {
                        assert_eq!(one, other, "{command:?} was answered in two ways");
                    }
                    if recorded[0] { one } else { other }
                }
                _ => command.send(&api).await,
            };
            if let (Ask::PlaceOrder { .. }, Answer::Order(order)) = (&command.ask, &answer) {
                let id = order.name.strip_prefix("orders/").unwrap().parse().unwrap();
                self.placed.lock().unwrap().push((id, number_in(&order.etag)));
            }
            told.push((command, answer));
        }
        told
    }

    async fn ask(&mut self, api: &Api) -> Ask {
        let (customer, sku) = (
            customer(self.random.below(CUSTOMERS)),
            sku(self.random.below(ITEMS)),
        );
        match self.random.below(18) {
            0 => {
                let name = format!("customers/{customer}");
                let seen = api
                    .customers()
                    .get_customer(v1::GetCustomerRequest { name })
                    .await;
                let etag = number_in(&seen.unwrap().get_ref().etag);
                Ask::CreditAccount {
                    id: customer,
                    amount: self.change(),
                    etag: (self.random.below(2) == 0).then_some(etag),
                }
            }
            1 => {
                let name = format!("items/{sku}");
                let seen = api.items().get_item(v1::GetItemRequest { name }).await;
                let etag = number_in(&seen.unwrap().get_ref().etag);
                Ask::AdjustStock {
                    sku,
                    delta: self.change(),
                    etag: (self.random.below(2) == 0).then_some(etag),
                }
            }
            2..11 if !self.placed.lock().unwrap().is_empty() => self.ask_an_order(),
            _ => {
                let lines = (0..1 + self.random.below(3)).map(|_| Line {
                    sku: self::sku(self.random.below(ITEMS)),
                    quantity: Quantity(1 + self.random.below(8) as i64),
                    unit_price: Amount(PRICE + i64::from(self.random.below(20) == 0)),
                });
                Ask::PlaceOrder {
                    lines: lines.collect(),
                    customer,
                    currency: "EUR".parse().unwrap(),
                    payer: Payer::Account,
                }
            }
        }
    }

    /// One of the newest ones, mostly.
    fn ask_an_order(&mut self) -> Ask {
        let (order, etag) = {
            let placed = self.placed.lock().unwrap();
            let newest = 1 + self.random.below(placed.len().min(MEETING) as u64) as usize;
            placed[placed.len() - newest]
        };
        let etag = (self.random.below(4) == 0).then_some(etag);
        let mut lines = Meant::new();
        if self.random.below(3) > 0 {
            lines.push((0, 1 + self.random.below(3) as i64));
        }
        let reason = HoldReason::Stock;
        match self.random.below(12) {
            0..3 if lines.is_empty() => Ask::CancelOrder { order, etag },
            0..3 => Ask::CancelOrderLines { order, lines, etag },
            3..8 => Ask::ShipOrder {
                order,
                lines,
                carrier: "Ape".into(),
                tracking: self.name.clone(),
                etag,
            },
            8 | 9 => Ask::DeliverFulfilment {
                order,
                fulfilment: 1 + self.random.below(2) as u32,
                etag,
            },
            10 => Ask::HoldOrder {
                order,
                reason,
                note: String::new(),
                etag,
            },
            _ => Ask::ReleaseOrderHold { order, reason, etag },
        }
    }

    /// Not 0.
    fn change(&mut self) -> i64 {
        let change = self.random.below(60) as i64 - 20;
        if change == 0 { 1 } else { change }
    }
}

/// Whether a repeat must be answered alike, and not be decided anew.
fn is_recorded(command: &Command, answer: &Answer) -> bool {
    match (&command.ask, answer) {
        // All of these refusals are an order's: it is there, and rejected.
        (Ask::PlaceOrder { .. }, _) => true,
        (_, Answer::Refused(_)) => false,
        _ => true,
    }
}

pub fn customer(number: u64) -> CustomerId {
    CustomerId::new(&format!("together{number}")).unwrap()
}

pub fn sku(number: u64) -> Sku {
    Sku::new(&format!("together{number}")).unwrap()
}

pub fn number_in(etag: &str) -> u64 {
    etag.strip_prefix('v')
        .and_then(|number| number.parse().ok())
        .unwrap()
}

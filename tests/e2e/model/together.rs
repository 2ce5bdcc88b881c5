//! Many clients at the same time on few customers and items: no answer can be predicted, but the books can. Each client
//! knows what it was told; together that must add up to what there is, to the last revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use docket_engine::{Amount, CustomerId, Line, OrderId, Quantity, Sku};
use docket_persistence::mem::Seeded;
use docket_proto::v1::{self, order::State};

use super::{
    commands::{Ask, Command},
    show::Answer,
};
use crate::{
    api::Api,
    server::{Home, Server},
};

const CLIENTS: u64 = 12;
const COMMANDS_OF_A_CLIENT: u64 = 60;
const CUSTOMERS: u64 = 3;
const ITEMS: u64 = 4;
const PRICE: i64 = 7;
const CREDIT_LIMIT: i64 = 900;
const ON_HAND: i64 = 120;

/// What may be refused to whom, when others act at the same time.
const REFUSALS: [(&str, &[&str]); 4] = [
    (
        "PlaceOrder",
        &["INSUFFICIENT_CREDIT", "INSUFFICIENT_STOCK", "PRICE_CHANGED"],
    ),
    ("CancelOrder", &["STALE_ETAG"]),
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
    // Orders that anybody may cancel, with the version at which they were seen.
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
    // What was recorded is answered alike, whatever has happened since.
    let mut again = 0;
    for (command, answer) in &told {
        if is_recorded(command, answer) {
            let repeated = command.send(&api).await;
            assert_eq!(repeated, *answer, "{command:?} was answered otherwise before");
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
            };
            let answer = match self.random.below(10) {
                // Twice at the same time is once.
                0 => {
                    let (one, other) = tokio::join!(command.send(&api), command.send(&api));
                    let recorded = [&one, &other].map(|answer| is_recorded(&command, answer));
                    if recorded == [true; 2] {
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
        match self.random.below(12) {
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
            2..6 if !self.placed.lock().unwrap().is_empty() => {
                let placed = self.placed.lock().unwrap();
                let (order, etag) = placed[self.random.below(placed.len() as u64) as usize];
                Ask::CancelOrder {
                    order,
                    etag: (self.random.below(2) == 0).then_some(etag),
                }
            }
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
                }
            }
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

/// What all clients were told, against what there is.
async fn check(api: &Api, told: &[(Command, Answer)]) {
    let (mut balance, mut on_hand) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    // How often each was changed: every change raises the revision by one, and nothing else does.
    let mut changes = BTreeMap::<String, u64>::new();
    let mut confirmed = BTreeMap::<&str, &v1::Order>::new();
    let mut cancelled = BTreeSet::<&str>::new();
    let mut rejected = 0;
    for (command, answer) in told {
        match (&command.ask, answer) {
            (ask, Answer::Refused(refused)) => {
                let (_, allowed) = REFUSALS
                    .iter()
                    .find(|(method, _)| *method == ask.method())
                    .unwrap();
                assert!(
                    allowed.contains(&&*refused.reason),
                    "{command:?} was answered with {refused:?}"
                );
                rejected += usize::from(matches!(ask, Ask::PlaceOrder { .. }));
            }
            (Ask::CreditAccount { amount, .. }, Answer::Customer(customer)) => {
                *balance.entry(customer.name.clone()).or_default() += amount;
                *changes.entry(customer.name.clone()).or_default() += 1;
            }
            (Ask::AdjustStock { delta, .. }, Answer::Item(item)) => {
                *on_hand.entry(item.name.clone()).or_default() += delta;
                *changes.entry(item.name.clone()).or_default() += 1;
            }
            (Ask::PlaceOrder { .. }, Answer::Order(order)) => {
                assert_eq!(order.state(), State::Confirmed);
                let before = confirmed.insert(&order.name, order);
                assert!(before.is_none(), "one order for two requests: {order:?}");
            }
            (Ask::CancelOrder { .. }, Answer::Order(order)) => {
                assert_eq!(order.state(), State::Cancelled);
                cancelled.insert(&order.name);
            }
            _ => panic!("{command:?} was answered with {answer:?}"),
        }
    }
    let (mut held, mut reserved) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    let mut found = BTreeMap::<State, usize>::new();
    for order in api.all_orders().await {
        let ours = (0..CUSTOMERS).any(|n| order.customer == format!("customers/{}", customer(n)));
        if !ours {
            continue;
        }
        *found.entry(order.state()).or_default() += 1;
        match order.state() {
            State::Confirmed => {
                assert_eq!(Some(&&order), confirmed.get(&*order.name));
                assert!(!cancelled.contains(&*order.name), "{order:?}");
                *held.entry(order.customer).or_default() += order.total;
                for line in order.lines {
                    *reserved.entry(line.item).or_default() += line.quantity;
                }
            }
            State::Cancelled => {
                assert!(confirmed.contains_key(&*order.name), "{order:?}");
                assert!(cancelled.contains(&*order.name), "{order:?}");
            }
            State::Rejected => {}
            state => panic!("{state:?} after everything has settled: {order:?}"),
        }
    }
    let count = |state| found.get(&state).copied().unwrap_or_default();
    assert_eq!(count(State::Rejected), rejected);
    assert_eq!(count(State::Cancelled), cancelled.len());
    assert_eq!(count(State::Confirmed), confirmed.len() - cancelled.len());

    let of = |sums: &BTreeMap<String, i64>, name: &str| sums.get(name).copied().unwrap_or_default();
    for n in 0..CUSTOMERS {
        let name = format!("customers/{}", customer(n));
        let request = v1::GetCustomerRequest { name: name.clone() };
        let found = api.customers().get_customer(request).await.unwrap().into_inner();
        assert_eq!(found.balance, of(&balance, &name), "{found:?}");
        assert_eq!(found.held, of(&held, &name), "{found:?}");
        assert_eq!(found.available, found.balance + CREDIT_LIMIT - found.held);
        assert!(found.balance >= 0 && found.available >= 0, "{found:?}");
        let changes = changes.get(&name).copied().unwrap_or_default();
        assert_eq!(number_in(&found.etag), 1 + changes, "{found:?}");
    }
    for n in 0..ITEMS {
        let name = format!("items/{}", sku(n));
        let request = v1::GetItemRequest { name: name.clone() };
        let found = api.items().get_item(request).await.unwrap().into_inner();
        assert_eq!(found.on_hand, ON_HAND + of(&on_hand, &name), "{found:?}");
        assert_eq!(found.reserved, of(&reserved, &name), "{found:?}");
        assert_eq!(found.available, found.on_hand - found.reserved);
        assert!(found.available >= 0, "{found:?}");
        let changes = changes.get(&name).copied().unwrap_or_default();
        assert_eq!(number_in(&found.etag), 1 + changes, "{found:?}");
    }
}

fn customer(number: u64) -> CustomerId {
    CustomerId::new(&format!("together{number}")).unwrap()
}

fn sku(number: u64) -> Sku {
    Sku::new(&format!("together{number}")).unwrap()
}

fn number_in(etag: &str) -> u64 {
    etag.strip_prefix('v')
        .and_then(|number| number.parse().ok())
        .unwrap()
}

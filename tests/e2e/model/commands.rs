//! What may be asked, drawn at random: small worlds, so that things meet, and numbers with a liking for the edges.

use std::collections::BTreeSet;

use docket_engine::{Amount, Currency, CustomerId, Line, OrderId, Quantity, Sku, money::QUANTITY_MAX};
use docket_persistence::mem::Seeded;

use super::oracle::Oracle;

/// A request: what is asked, and the id under which it may be asked again; empty for none.
#[derive(Debug, Clone)]
pub struct Command {
    pub request_id: String,
    pub ask: Ask,
}

/// What is asked. `None` leaves a field, or expects no etag.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    CreateCustomer {
        id: CustomerId,
        name: String,
        currency: Currency,
        limit: i64,
    },
    UpdateCustomer {
        id: CustomerId,
        name: Option<String>,
        limit: Option<i64>,
        etag: Option<u64>,
    },
    CreditAccount {
        id: CustomerId,
        amount: i64,
        etag: Option<u64>,
    },
    CreateItem {
        sku: Sku,
        name: String,
        currency: Currency,
        price: i64,
        on_hand: i64,
    },
    UpdateItem {
        sku: Sku,
        name: Option<String>,
        price: Option<i64>,
        etag: Option<u64>,
    },
    AdjustStock {
        sku: Sku,
        delta: i64,
        etag: Option<u64>,
    },
    PlaceOrder {
        customer: CustomerId,
        currency: Currency,
        lines: Vec<Line>,
    },
    CancelOrder {
        order: OrderId,
        etag: Option<u64>,
    },
}

/// What a request id belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    Customer(CustomerId),
    Item(Sku),
    Order(OrderId),
}

impl Ask {
    pub fn method(&self) -> &'static str {
        match self {
            Self::CreateCustomer { .. } => "CreateCustomer",
            Self::UpdateCustomer { .. } => "UpdateCustomer",
            Self::CreditAccount { .. } => "CreditAccount",
            Self::CreateItem { .. } => "CreateItem",
            Self::UpdateItem { .. } => "UpdateItem",
            Self::AdjustStock { .. } => "AdjustStock",
            Self::PlaceOrder { .. } => "PlaceOrder",
            Self::CancelOrder { .. } => "CancelOrder",
        }
    }

    pub fn entity(&self) -> Entity {
        match self {
            Self::CreateCustomer { id, .. }
            | Self::UpdateCustomer { id, .. }
            | Self::CreditAccount { id, .. }
            | Self::PlaceOrder { customer: id, .. } => Entity::Customer(id.clone()),
            Self::CreateItem { sku, .. } | Self::UpdateItem { sku, .. } | Self::AdjustStock { sku, .. } => {
                Entity::Item(sku.clone())
            }
            Self::CancelOrder { order, .. } => Entity::Order(*order),
        }
    }

    /// The same with one field changed, whichever.
    fn altered(&self, random: &mut Seeded) -> Self {
        let mut altered = self.clone();
        let which = random.below(4);
        match &mut altered {
            Self::CreateCustomer {
                name,
                currency,
                limit,
                ..
            } => match which {
                0 => name.push('!'),
                1 => *currency = another_currency(*currency),
                _ => *limit = another(*limit),
            },
            Self::CreateItem {
                name,
                currency,
                price,
                on_hand,
                ..
            } => match which {
                0 => name.push('!'),
                1 => *currency = another_currency(*currency),
                2 => *price = another(*price),
                _ => *on_hand = another(*on_hand),
            },
            Self::UpdateCustomer {
                name,
                limit: number,
                etag,
                ..
            }
            | Self::UpdateItem {
                name,
                price: number,
                etag,
                ..
            } => match which {
                0 => *name = name.as_ref().map_or(Some(String::new()), |_| None),
                1 => *number = number.map_or(Some(0), |_| None),
                2 => *number = Some(number.map_or(1, another)),
                _ => *etag = another_etag(*etag),
            },
            Self::CreditAccount {
                amount: number, etag, ..
            }
            | Self::AdjustStock {
                delta: number, etag, ..
            } => match which {
                0 => *etag = another_etag(*etag),
                _ => *number = another(*number),
            },
            Self::PlaceOrder { currency, lines, .. } => match which {
                0 => *currency = another_currency(*currency),
                1 => lines[0].quantity.0 = another(lines[0].quantity.0),
                2 => lines[0].unit_price.0 = another(lines[0].unit_price.0),
                _ => lines.push(lines[0].clone()),
            },
            Self::CancelOrder { etag, .. } => *etag = another_etag(*etag),
        }
        altered
    }
}

fn another(number: i64) -> i64 {
    if number == 1 { 2 } else { 1 }
}

fn another_etag(etag: Option<u64>) -> Option<u64> {
    if etag.is_none() { Some(0) } else { None }
}

fn another_currency(currency: Currency) -> Currency {
    let another = CURRENCIES.iter().find(|code| **code != currency.as_str());
    another.unwrap().parse().unwrap()
}

const CUSTOMERS: u64 = 3;
const ITEMS: u64 = 4;
const NAMES: [&str; 3] = ["", "Ada", "Grace"];
const CURRENCIES: [&str; 2] = ["EUR", "JPY"];

/// Draws commands.
pub struct Commands {
    random: Seeded,
    world: u64,
    asked: u64,
    /// What happens first in a world, last first.
    opening: Vec<Ask>,
    /// What was asked in this world under a request id.
    sent: Vec<Command>,
}

impl Commands {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Seeded::new(seed),
            world: 0,
            asked: 0,
            opening: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Other customers and items from here on. They are all there, or none, or one is rich beyond measure.
    pub fn enter_another_world(&mut self) {
        self.world += 1;
        self.sent.clear();
        let mut opening = match self.random.below(5) {
            0 => Vec::new(),
            1 => self.beyond_measure(),
            _ => self.everyday(),
        };
        opening.reverse();
        self.opening = opening;
    }

    pub fn next(&mut self, oracle: &Oracle) -> Command {
        self.asked += 1;
        if !self.sent.is_empty() && self.opening.is_empty() && self.random.below(5) == 0 {
            return self.again(oracle);
        }
        let ask = self.opening.pop().unwrap_or_else(|| self.ask(oracle));
        let needs_id = matches!(ask, Ask::CreditAccount { .. } | Ask::AdjustStock { .. });
        let request_id = match self.random.below(4) {
            0 if !needs_id => String::new(),
            _ => format!("r{}", self.asked),
        };
        let command = Command { request_id, ask };
        if !command.request_id.is_empty() {
            self.sent.push(command.clone());
        }
        command
    }

    /// What was asked before, or something else under its request id: with another field, or by another method about the
    /// same entity. Of each method alike, and mostly what was recorded.
    fn again(&mut self, oracle: &Oracle) -> Command {
        let methods: BTreeSet<_> = self.sent.iter().map(|command| command.ask.method()).collect();
        let method = methods
            .iter()
            .nth(self.random.below(methods.len() as u64) as usize);
        let sent = self
            .sent
            .iter()
            .filter(|command| Some(&command.ask.method()) == method);
        let recorded = sent.clone().filter(|command| oracle.remembers(command));
        let mut candidates: Vec<_> = match self.random.below(4) {
            0 => sent.collect(),
            _ => recorded.collect(),
        };
        if candidates.is_empty() {
            candidates.extend(&self.sent);
        }
        let mut again = candidates[self.random.below(candidates.len() as u64) as usize].clone();
        match self.random.below(8) {
            0 => {
                let entity = again.ask.entity();
                let mut others = self.sent.iter().filter(|other| other.ask.entity() == entity);
                if let Some(other) = others.next_back() {
                    again.ask = other.ask.clone();
                }
            }
            1..4 => again.ask = again.ask.altered(&mut self.random),
            _ => {}
        }
        again
    }

    fn ask(&mut self, oracle: &Oracle) -> Ask {
        match self.random.below(32) {
            0 | 1 => self.create_customer(),
            30 | 2 => {
                let id = self.customer();
                let revision = oracle.model.customers.get(&id).map(|customer| customer.revision);
                Ask::UpdateCustomer {
                    name: self.maybe(Self::name),
                    limit: self.maybe(Self::money),
                    etag: self.etag(revision),
                    id,
                }
            }
            3..6 => {
                let id = self.customer();
                let revision = oracle.model.customers.get(&id).map(|customer| customer.revision);
                Ask::CreditAccount {
                    amount: self.change(),
                    etag: self.etag(revision),
                    id,
                }
            }
            6..8 => self.create_item(),
            31 | 8 => {
                let sku = self.sku();
                let revision = oracle.model.items.get(&sku).map(|item| item.revision);
                Ask::UpdateItem {
                    name: self.maybe(Self::name),
                    price: self.maybe(Self::price),
                    etag: self.etag(revision),
                    sku,
                }
            }
            9..12 => {
                let sku = self.sku();
                let revision = oracle.model.items.get(&sku).map(|item| item.revision);
                Ask::AdjustStock {
                    delta: self.change(),
                    etag: self.etag(revision),
                    sku,
                }
            }
            12..23 => self.place(oracle),
            _ => self.cancel(oracle),
        }
    }

    fn place(&mut self, oracle: &Oracle) -> Ask {
        let lines = (0..1 + self.random.below(4)).map(|_| {
            let sku = self.sku();
            let current = oracle.model.items.get(&sku).map_or(1, |item| item.price);
            let unit_price = match self.random.below(13) {
                0 => self.price(),
                _ => i64::try_from(current).unwrap(),
            };
            let quantity = match self.random.below(13) {
                0 => QUANTITY_MAX,
                _ => 1 + self.random.below(5) as i64,
            };
            Line {
                sku,
                quantity: Quantity(quantity),
                unit_price: Amount(unit_price),
            }
        });
        let lines = lines.collect();
        Ask::PlaceOrder {
            customer: self.customer(),
            currency: self.currency(),
            lines,
        }
    }

    /// Nearly always one of this world's newest orders.
    fn cancel(&mut self, oracle: &Oracle) -> Ask {
        let orders = &oracle.placed;
        let newest = orders.len().min(12) as u64;
        let order = match self.random.below(12) {
            0 => OrderId(self.random.draw().into()),
            _ if orders.is_empty() => OrderId(self.random.draw().into()),
            _ => orders[orders.len() - 1 - self.random.below(newest) as usize],
        };
        let version = oracle.model.orders.get(&order).map(|order| order.version);
        Ask::CancelOrder {
            order,
            etag: self.etag(version),
        }
    }

    fn create_customer(&mut self) -> Ask {
        Ask::CreateCustomer {
            id: self.customer(),
            name: self.name(),
            currency: self.currency(),
            limit: self.money(),
        }
    }

    fn create_item(&mut self) -> Ask {
        Ask::CreateItem {
            sku: self.sku(),
            name: self.name(),
            currency: self.currency(),
            price: self.price(),
            on_hand: self.stock(),
        }
    }

    /// A shop that works, so that orders get far. The last customer and item are left out, so that they are often unknown.
    fn everyday(&mut self) -> Vec<Ask> {
        let customers = (0..CUSTOMERS - 1).map(|number| Ask::CreateCustomer {
            id: customer(self.world, number),
            name: "Ada".into(),
            currency: CURRENCIES[0].parse().unwrap(),
            limit: 400,
        });
        let items = (0..ITEMS - 1).map(|number| Ask::CreateItem {
            sku: sku(self.world, number),
            name: "tea".into(),
            // In every second world one of them is foreign.
            currency: CURRENCIES[usize::from(number == 0 && self.world.is_multiple_of(2))]
                .parse()
                .unwrap(),
            price: 5,
            on_hand: 25,
        });
        customers.chain(items).collect()
    }

    /// A customer who can spend more than an amount can say, and does: seldom met by chance.
    fn beyond_measure(&mut self) -> Vec<Ask> {
        let (id, currency) = (customer(self.world, 0), CURRENCIES[0].parse().unwrap());
        let place = |unit_price| Ask::PlaceOrder {
            customer: customer(self.world, 0),
            currency,
            lines: vec![Line {
                sku: sku(self.world, 0),
                quantity: Quantity(1),
                unit_price: Amount(unit_price),
            }],
        };
        let credit = |amount| Ask::CreditAccount {
            id: customer(self.world, 0),
            amount,
            etag: None,
        };
        vec![
            Ask::CreateCustomer {
                id,
                name: "Croesus".into(),
                currency,
                limit: i64::MAX,
            },
            credit(i64::MAX),
            credit(1),
            Ask::CreateItem {
                sku: sku(self.world, 0),
                name: "palace".into(),
                currency,
                price: i64::MAX,
                on_hand: 5,
            },
            place(i64::MAX),
            place(i64::MAX),
            place(i64::MAX - 1),
        ]
    }

    fn customer(&mut self) -> CustomerId {
        customer(self.world, self.random.below(CUSTOMERS))
    }

    fn sku(&mut self) -> Sku {
        sku(self.world, self.random.below(ITEMS))
    }

    fn name(&mut self) -> String {
        NAMES[self.random.below(NAMES.len() as u64) as usize].into()
    }

    /// Mostly the first: those of the second currency are the odd ones out.
    fn currency(&mut self) -> Currency {
        let second = self.random.below(9) == 0;
        CURRENCIES[usize::from(second)].parse().unwrap()
    }

    fn etag(&mut self, current: Option<u64>) -> Option<u64> {
        let current = current.unwrap_or(1);
        match self.random.below(9) {
            0 => Some(current - 1),
            1 | 2 => Some(current),
            _ => None,
        }
    }

    fn maybe<T>(&mut self, draw: fn(&mut Self) -> T) -> Option<T> {
        (self.random.below(2) == 0).then(|| draw(self))
    }

    /// 0 or more, of money.
    fn money(&mut self) -> i64 {
        match self.random.below(12) {
            0 => i64::MAX,
            1 => i64::MAX - 1,
            2..7 => 1_000 + self.random.below(1_000_000) as i64,
            _ => self.random.below(100) as i64,
        }
    }

    fn price(&mut self) -> i64 {
        match self.random.below(10) {
            0 => i64::MAX,
            1 => i64::MAX / QUANTITY_MAX,
            _ => self.random.below(20) as i64,
        }
    }

    fn stock(&mut self) -> i64 {
        match self.random.below(10) {
            0 => i64::MAX,
            1 | 2 => 3 * QUANTITY_MAX,
            _ => self.random.below(40) as i64,
        }
    }

    /// Not 0.
    fn change(&mut self) -> i64 {
        match self.random.below(14) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => -i64::MAX,
            3 | 4 => 1_000 + self.random.below(1_000_000) as i64,
            5..9 => -1 - self.random.below(50) as i64,
            _ => 1 + self.random.below(50) as i64,
        }
    }
}

fn customer(world: u64, number: u64) -> CustomerId {
    CustomerId::new(&format!("c{world}-{number}")).unwrap()
}

fn sku(world: u64, number: u64) -> Sku {
    Sku::new(&format!("i{world}-{number}")).unwrap()
}

//! What the demo does: the customers and items it begins with, and what each of its clients asks for.

use docket_proto::v1::{
    CancelOrderRequest, CreateCustomerRequest, CreateItemRequest, CreditAccountRequest, Customer, Item,
    Order, OrderLine, PlaceOrderRequest,
};
use uuid::Uuid;

use crate::{client::Client, failure::Failure};

/// How many clients place orders at the same time, each over a connection of its own.
pub const CLIENTS: usize = 4;
/// The currency of everything.
pub const CURRENCY: &str = "EUR";

const CENTS: i64 = 100;
/// Orders that nothing stands in the way of, for each client.
const PLAIN: usize = 20;
/// Orders of the scarce item, for each client: more than there are of it.
const SCARCE: usize = 5;
/// Orders of the customer with little credit, for each client: more than the credit covers.
const ON_CREDIT: usize = 2;

/// A customer that the demo begins with.
pub struct Buyer {
    pub id: &'static str,
    pub display_name: &'static str,
    pub credit_limit: i64,
    pub balance: i64,
}

/// An item that the demo begins with.
pub struct Good {
    pub sku: &'static str,
    pub display_name: &'static str,
    pub unit_price: i64,
    pub on_hand: i64,
}

pub const ACME: Buyer = Buyer {
    id: "acme",
    display_name: "Acme Ltd",
    credit_limit: 10_000 * CENTS,
    balance: 2_500 * CENTS,
};
/// Three orders of four cups fit, a fourth does not.
pub const BISTRO: Buyer = Buyer {
    id: "bistro",
    display_name: "Bistro Nord",
    credit_limit: 100 * CENTS,
    balance: 0,
};
pub const BUYERS: [Buyer; 2] = [ACME, BISTRO];

pub const TEA: Good = Good {
    sku: "tea",
    display_name: "Green tea, 100 g",
    unit_price: 450,
    on_hand: 1_000,
};
pub const CUP: Good = Good {
    sku: "cup",
    display_name: "Porcelain cup",
    unit_price: 800,
    on_hand: 500,
};
/// Ten for the twenty orders that want one.
pub const KETTLE: Good = Good {
    sku: "kettle",
    display_name: "Cast-iron kettle",
    unit_price: 2_990,
    on_hand: 10,
};
pub const GOODS: [Good; 3] = [TEA, CUP, KETTLE];

/// What an order is there to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing stands in its way.
    Plain,
    /// It wants a scarce item.
    Scarce,
    /// Its customer has little credit.
    OnCredit,
    /// Its price is yesterday's.
    OldPrice,
}

impl Kind {
    /// In the order in which a client places them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Scarce, Self::OnCredit, Self::OldPrice];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "2 tea and 1 cup for acme",
            Self::Scarce => "1 kettle for acme, of 10",
            Self::OnCredit => "4 cups for bistro, which has little credit",
            Self::OldPrice => "1 tea for acme at yesterday's price",
        }
    }

    /// How many of them each client places.
    fn count(self) -> usize {
        match self {
            Self::Plain => PLAIN,
            Self::Scarce => SCARCE,
            Self::OnCredit => ON_CREDIT,
            Self::OldPrice => 1,
        }
    }

    /// How many of them all clients place.
    #[cfg(test)]
    pub fn orders(self) -> usize {
        self.count() * CLIENTS
    }

    /// How many of all clients' orders must be confirmed, whatever the order in which they arrive.
    pub fn confirmed(self) -> usize {
        match self {
            Self::Plain => PLAIN * CLIENTS,
            Self::Scarce => KETTLE.on_hand as usize,
            Self::OnCredit => (BISTRO.credit_limit / (4 * CUP.unit_price)) as usize,
            Self::OldPrice => 0,
        }
    }

    /// The reason that must be given for the others.
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Scarce => "INSUFFICIENT_STOCK",
            Self::OnCredit => "INSUFFICIENT_CREDIT",
            Self::OldPrice => "PRICE_CHANGED",
        }
    }

    /// A request of this kind, with an id of its own.
    pub fn request(self) -> PlaceOrderRequest {
        let line = |good: &Good, quantity| OrderLine {
            item: format!("items/{}", good.sku),
            quantity,
            unit_price: good.unit_price,
            ..OrderLine::default()
        };
        let (buyer, lines) = match self {
            Self::Plain => (ACME, vec![line(&TEA, 2), line(&CUP, 1)]),
            Self::Scarce => (ACME, vec![line(&KETTLE, 1)]),
            Self::OnCredit => (BISTRO, vec![line(&CUP, 4)]),
            Self::OldPrice => (
                ACME,
                vec![OrderLine {
                    unit_price: TEA.unit_price - 50,
                    ..line(&TEA, 1)
                }],
            ),
        };
        PlaceOrderRequest {
            request_id: Uuid::now_v7().to_string(),
            customer: format!("customers/{}", buyer.id),
            currency_code: CURRENCY.to_owned(),
            lines,
            payment_method: String::new(),
        }
    }
}

/// One order that was asked for, and the answer.
#[derive(Clone, Debug)]
pub struct Placed {
    pub kind: Kind,
    pub request: PlaceOrderRequest,
    /// The order as it was acknowledged, or the reason why there is none.
    pub answer: Result<Order, String>,
}

/// What one client did and was told.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    /// Its orders.
    pub placed: Vec<Placed>,
    /// Requests that it sent a second time: the first answer and the second.
    pub repeated: Vec<(Result<Order, String>, Result<Order, String>)>,
    /// The reason it was given for using a request id again with other content.
    pub reused: Option<String>,
    /// Orders that it cancelled, as they were acknowledged.
    pub cancelled: Vec<Order>,
}

/// Creates the customers and the items.
pub async fn seed(client: &Client) -> Result<(), Failure> {
    for buyer in &BUYERS {
        let request = CreateCustomerRequest {
            customer_id: buyer.id.to_owned(),
            customer: Some(Customer {
                display_name: buyer.display_name.to_owned(),
                currency_code: CURRENCY.to_owned(),
                credit_limit: buyer.credit_limit,
                ..Customer::default()
            }),
            request_id: Uuid::now_v7().to_string(),
        };
        client.answer(client.customers().create_customer(request).await)?;
        if buyer.balance > 0 {
            let request = CreditAccountRequest {
                name: format!("customers/{}", buyer.id),
                amount: buyer.balance,
                request_id: Uuid::now_v7().to_string(),
                etag: String::new(),
            };
            client.answer(client.customers().credit_account(request).await)?;
        }
    }
    for good in &GOODS {
        let request = CreateItemRequest {
            sku: good.sku.to_owned(),
            item: Some(Item {
                display_name: good.display_name.to_owned(),
                currency_code: CURRENCY.to_owned(),
                unit_price: good.unit_price,
                on_hand: good.on_hand,
                ..Item::default()
            }),
            request_id: Uuid::now_v7().to_string(),
        };
        client.answer(client.items().create_item(request).await)?;
    }
    Ok(())
}

/// What one client does: its orders, one of them a second time, one under a used id, and one cancelled again.
pub async fn play(client: &Client) -> Result<Diary, Failure> {
    let mut diary = Diary::default();
    for kind in Kind::ALL {
        for _ in 0..kind.count() {
            let request = kind.request();
            let answer = place(client, request.clone()).await?;
            diary.placed.push(Placed {
                kind,
                request,
                answer,
            });
        }
    }
    for kind in [Kind::Plain, Kind::OldPrice] {
        let Some(first) = diary.placed.iter().find(|placed| placed.kind == kind).cloned() else {
            continue;
        };
        let second = place(client, first.request).await?;
        diary.repeated.push((first.answer, second));
    }
    let used = diary
        .placed
        .first()
        .map(|first| first.request.request_id.clone())
        .unwrap_or_default();
    let other = PlaceOrderRequest {
        request_id: used,
        ..Kind::Scarce.request()
    };
    diary.reused = place(client, other).await?.err();
    let plain = diary.placed.iter().rfind(|placed| placed.kind == Kind::Plain);
    if let Some(Placed {
        answer: Ok(order), ..
    }) = plain
    {
        let request = CancelOrderRequest {
            name: order.name.clone(),
            request_id: Uuid::now_v7().to_string(),
            etag: order.etag.clone(),
        };
        diary
            .cancelled
            .push(client.answer(client.orders().cancel_order(request).await)?);
    }
    Ok(diary)
}

/// Places an order: the order, or the reason it was refused with. Any other failure ends the demo.
async fn place(client: &Client, request: PlaceOrderRequest) -> Result<Result<Order, String>, Failure> {
    match client.answer(client.orders().place_order(request).await) {
        Ok(order) => Ok(Ok(order)),
        Err(refusal) => match refusal.reason() {
            Some(reason) => Ok(Err(reason)),
            None => Err(refusal.into()),
        },
    }
}

//! How a world begins, so that what is seldom met by chance is met.

use docket_engine::{Amount, HoldReason, Line, OrderId, Quantity};

use super::{
    cards::{Mishap, Payer},
    commands::{Ask, Meant},
    draw::{CURRENCIES, CUSTOMERS, Commands, ITEMS, customer, sku},
    editing::EDITS_MAX,
    life::{HOLDS_MAX, RETURNS_MAX},
    paying::RETRIES_MAX,
    reference::PARTS_MAX,
};

/// How much there is of what wears an order out.
const LARGE: i64 = 1_000;
/// And how much of that is in an order that a provider pays for.
const PAID: i64 = 50;

/// What happens in a world before anything may.
pub enum Opening {
    Ask(Ask),
    /// Of the newest order, whose id the node has chosen.
    Of(fn(OrderId) -> Ask),
    /// The same, and its provider does this wrong with what comes of it.
    With(Mishap, fn(OrderId) -> Ask),
    /// An order that a provider pays for is placed, of one of what there is; and the provider does this wrong.
    PlaceWith(Mishap),
    /// What was declined of the newest order is tried again, and perhaps declined again.
    Retry(Option<Mishap>),
    /// What was asked last is asked again.
    Again,
    /// The newest order is to have so many of these lines.
    Edit(&'static [(u16, i64)]),
    /// The same, and its provider does this wrong with what that costs more.
    EditWith(Mishap, &'static [(u16, i64)]),
}

/// Of so many worlds that follow each other, one each wears an order out by shipments, by returns and refunds, by edits, by cancellations, by payments that
/// are tried again, and by holds; and one has an order edited in all ways.
const WORLDS: u64 = 20;
const BY_EDITS: u64 = 9;
const EDITED: u64 = 12;
const BY_PAYMENTS: u64 = 14;
const BY_MISHAPS: u64 = 17;
const BY_SHIPMENTS: u64 = 4;
const BY_RETURNS: u64 = 7;
const BY_CANCELLATIONS: u64 = 10;
const BY_HOLDS: u64 = 16;

impl Commands {
    /// What happens first in this world. Its customers and items are all there, or none, or one is rich beyond measure, or an order is
    /// asked for the same as often as it may be.
    pub fn opening(&mut self) -> Vec<Opening> {
        let asks = match (self.world % WORLDS, self.random.below(6)) {
            (BY_SHIPMENTS, _) => return self.worn_out(None, PARTS_MAX, &[ship_one], ship_all),
            (BY_RETURNS, _) => {
                return self.worn_out(Some(ship_all), RETURNS_MAX, &[return_one, refund_one], return_all);
            }
            (BY_EDITS, _) => {
                let edits = (0..=EDITS_MAX).map(|n| match n % 2 {
                    0 => Opening::Edit(&[(0, 2)]),
                    _ => Opening::Edit(&[(0, 1)]),
                });
                return self.shop(Payer::Account).into_iter().chain(edits).collect();
            }
            (EDITED, _) => return self.edited(),
            (BY_PAYMENTS, _) => {
                let retries = (0..=RETRIES_MAX).map(|_| Opening::Retry(Some(Mishap::Declines)));
                let shop = self.shop(Payer::Cards).into_iter();
                let declined = [Opening::With(Mishap::Declines, ship_one)];
                return shop.chain(declined).chain(retries).collect();
            }
            (BY_MISHAPS, _) => return self.unlucky(),
            (BY_CANCELLATIONS, _) => return self.worn_out(None, PARTS_MAX, &[cancel_one], cancel_all),
            (BY_HOLDS, _) => return self.worn_out(None, HOLDS_MAX, &[hold, release], ship_all),
            (_, 0) => return Vec::new(),
            (_, 1) => return self.beyond_measure(),
            _ => self.everyday(),
        };
        asks.into_iter().map(Opening::Ask).collect()
    }

    /// An order is asked for this so often, and then once more; then for what is last.
    fn worn_out(
        &self,
        first: Option<fn(OrderId) -> Ask>,
        times: usize,
        step: &[fn(OrderId) -> Ask],
        last: fn(OrderId) -> Ask,
    ) -> Vec<Opening> {
        let steps = (0..=times).flat_map(|_| step.iter().copied());
        let steps = first.into_iter().chain(steps).chain([last]);
        let steps = steps.map(Opening::Of);
        self.shop(Payer::Account).into_iter().chain(steps).collect()
    }

    /// Everything goes wrong once with each step of a payment.
    fn unlucky(&self) -> Vec<Opening> {
        let mut opening = self.shop(Payer::Account);
        opening.push(Opening::Of(cancel_all));
        for mishap in Mishap::ALL {
            if mishap != Mishap::IsSilentOverAKill {
                opening.push(Opening::PlaceWith(mishap));
            }
            opening.push(Opening::Ask(self.place_by(Payer::Cards)));
            opening.extend([ship_one, cancel_one, refund_one].map(|ask| Opening::With(mishap, ask)));
        }
        opening.push(Opening::Ask(self.place_by(Payer::Cards)));
        opening.push(Opening::Of(ship_one));
        opening.push(Opening::With(Mishap::Declines, refund_one));
        // What was declined is done in the end, wherever the order stands by then.
        for declined in [cancel_one, ship_all, cancel_all] {
            opening.push(Opening::Ask(self.place_by(Payer::Cards)));
            opening.push(Opening::With(Mishap::Declines, declined));
            opening.push(Opening::Retry(None));
            opening.push(Opening::Again);
            opening.push(Opening::Of(cancel_all));
        }
        opening
    }

    /// An order that is edited as it can be, and as it cannot.
    fn edited(&self) -> Vec<Opening> {
        let edits = [
            // There are not so many, nor so much money.
            Opening::Edit(&[(0, LARGE + 1)]),
            Opening::Edit(&[(0, 0)]),
            Opening::Edit(&[(1, 1)]),
            Opening::Edit(&[(0, LARGE / 2)]),
            Opening::Again,
            Opening::Edit(&[(0, LARGE / 2)]),
            Opening::Edit(&[(0, LARGE / 2 + 1)]),
            // There is as much money, and no more of it.
            Opening::Ask(Ask::AdjustStock {
                sku: sku(self.world, 0),
                delta: LARGE / 2 + 1 - LARGE,
                etag: None,
            }),
            Opening::Edit(&[(0, LARGE / 2 + 2)]),
            Opening::Again,
            Opening::Ask(Ask::AdjustStock {
                sku: sku(self.world, 0),
                delta: LARGE,
                etag: None,
            }),
            Opening::Of(ship_one),
            Opening::Edit(&[(0, 0)]),
            // Nothing of it is open then.
            Opening::Edit(&[(0, 1)]),
            Opening::Edit(&[(0, 2)]),
        ];
        // And one that a provider pays.
        let paid = [
            Opening::Ask(self.place_by(Payer::Cards)),
            Opening::EditWith(Mishap::Declines, &[(0, PAID + 1)]),
            Opening::Again,
            Opening::EditWith(Mishap::DropsReply, &[(0, PAID + 1)]),
            Opening::Again,
            Opening::Edit(&[(0, PAID - 1)]),
            Opening::EditWith(Mishap::IsOutOfOrder, &[(0, PAID + 2)]),
            Opening::Of(hold),
            Opening::Of(ship_one),
            Opening::Of(release),
            Opening::Of(ship_one),
            Opening::Of(refund_one),
            Opening::Of(cancel_all),
        ];
        let shop = self.shop(Payer::Account).into_iter();
        shop.chain(edits).chain(paid).collect()
    }

    /// A customer, an item, and an order of it, by whom it is paid.
    fn shop(&self, payer: Payer) -> Vec<Opening> {
        let (id, sku) = (customer(self.world, 0), sku(self.world, 0));
        let currency = CURRENCIES[0].parse().unwrap();
        let asks = [
            Ask::CreateCustomer {
                id: id.clone(),
                name: "Ada".into(),
                currency,
                limit: LARGE,
            },
            Ask::CreateItem {
                sku,
                name: "tea".into(),
                currency,
                price: 1,
                on_hand: LARGE,
            },
            self.place_by(payer),
        ];
        asks.into_iter().map(Opening::Ask).collect()
    }

    /// All that there is of it, or some where a provider pays: it may be there beside others.
    pub(super) fn place_by(&self, payer: Payer) -> Ask {
        let quantity = if payer == Payer::Cards { PAID } else { LARGE };
        Ask::PlaceOrder {
            customer: customer(self.world, 0),
            currency: CURRENCIES[0].parse().unwrap(),
            lines: vec![Line {
                sku: sku(self.world, 0),
                quantity: Quantity(quantity),
                unit_price: Amount(1),
            }],
            payer,
        }
    }

    /// A shop that works, so that orders get far. The last customer and item are left out, so that they are often unknown.
    fn everyday(&self) -> Vec<Ask> {
        let customers = (0..CUSTOMERS - 1).map(|number| Ask::CreateCustomer {
            id: customer(self.world, number),
            name: "Ada".into(),
            currency: CURRENCIES[0].parse().unwrap(),
            // One can pay for little, and one for much.
            limit: if number == 0 { 300 } else { 3_000 },
        });
        let items = (0..ITEMS - 1).map(|number| Ask::CreateItem {
            sku: sku(self.world, number),
            name: "tea".into(),
            // In every second world one of them is foreign.
            currency: CURRENCIES[usize::from(number == 0 && self.world.is_multiple_of(2))]
                .parse()
                .unwrap(),
            price: 5,
            on_hand: 60,
        });
        customers.chain(items).collect()
    }

    /// A customer who can spend more than an amount can say, and does, and at last owes as much as an amount can say: seldom met
    /// by chance.
    fn beyond_measure(&self) -> Vec<Opening> {
        let (id, currency) = (customer(self.world, 0), CURRENCIES[0].parse().unwrap());
        let place = |unit_price| Ask::PlaceOrder {
            customer: customer(self.world, 0),
            currency,
            lines: vec![Line {
                sku: sku(self.world, 0),
                quantity: Quantity(1),
                unit_price: Amount(unit_price),
            }],
            payer: Payer::Account,
        };
        let credit = |amount| Ask::CreditAccount {
            id: customer(self.world, 0),
            amount,
            etag: None,
        };
        let asks = [
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
        ];
        let asks = asks.into_iter().map(Opening::Ask);
        let on_credit = [
            Opening::Of(ship_all),
            Opening::Ask(place(i64::MAX)),
            Opening::Of(ship_all),
        ];
        asks.chain(on_credit).collect()
    }
}

fn ship_one(order: OrderId) -> Ask {
    ship(order, vec![(0, 1)])
}

fn ship_all(order: OrderId) -> Ask {
    ship(order, Vec::new())
}

fn ship(order: OrderId, lines: Meant) -> Ask {
    Ask::ShipOrder {
        order,
        lines,
        carrier: String::new(),
        tracking: String::new(),
        etag: None,
    }
}

fn cancel_one(order: OrderId) -> Ask {
    let (lines, etag) = (vec![(0, 1)], None);
    Ask::CancelOrderLines { order, lines, etag }
}

fn cancel_all(order: OrderId) -> Ask {
    Ask::CancelOrder { order, etag: None }
}

fn hold(order: OrderId) -> Ask {
    Ask::HoldOrder {
        order,
        reason: HoldReason::Operator,
        note: String::new(),
        etag: None,
    }
}

fn release(order: OrderId) -> Ask {
    let (reason, etag) = (HoldReason::Operator, None);
    Ask::ReleaseOrderHold { order, reason, etag }
}

fn return_one(order: OrderId) -> Ask {
    request_return(order, vec![(0, 1)])
}

fn return_all(order: OrderId) -> Ask {
    request_return(order, Vec::new())
}

fn request_return(order: OrderId, lines: Meant) -> Ask {
    Ask::RequestReturn {
        order,
        lines,
        note: String::new(),
        etag: None,
    }
}

fn refund_one(order: OrderId) -> Ask {
    Ask::RefundOrder {
        order,
        amount: 1,
        note: String::new(),
        etag: None,
    }
}
